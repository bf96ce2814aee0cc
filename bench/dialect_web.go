//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// webSocket is RFC 6455 with one binary message per line, masked by clients.
var webSocket = dialect{
	hello:   func(dst []byte, m membership) []byte { return appendUpgrade(dst, webSocketPath(m.room), "") },
	greeted: upgraded,
	publish: func(dst []byte, _ int, line []byte) []byte { return appendMasked(dst, binaryMessage, line) },
	around: func(_, size int) (before, after string) {
		return string(appendWebSocketHead(nil, binaryMessage, size, 0)), ""
	},
}

// webSocketText is the subprotocol tcproom.text of this library. The body of a message
// is the sender's line without its newline, and a delivery has the sender's name before
// it. All bear the same, of one letter, so that no more bytes than these are added to
// what is delivered over TCP.
var webSocketText = dialect{
	hello: func(dst []byte, m membership) []byte {
		return appendUpgrade(dst, webSocketPath(m.room)+"/ws?name="+webName, "Sec-WebSocket-Protocol: tcproom.text\r\n")
	},
	greeted: upgraded,
	publish: func(dst []byte, _ int, line []byte) []byte { return appendMasked(dst, textMessage, line[:len(line)-1]) },
	around: func(_, size int) (before, after string) {
		const name = webName + ": "
		return string(appendWebSocketHead(nil, textMessage, len(name)+size-1, 0)) + name, ""
	},
	bare: true,
}

// webName is the name that members by WebSocket give themselves.
const webName = "m"

// serverSentEvents is the event stream of this library. Nobody can send by it: senders
// speak webSocketText, and receive nothing.
var serverSentEvents = dialect{
	hello: func(dst []byte, m membership) []byte {
		if m.sends {
			return webSocketText.hello(dst, m)
		}
		return append(dst, "GET "+webSocketPath(m.room)+"/rooms/lobby/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"...)
	},
	greeted: func(reply []byte, m membership) (bool, error) {
		if m.sends {
			return upgraded(reply, m)
		}
		const ok = "HTTP/1.1 200 "
		if n := min(len(reply), len(ok)); string(reply[:n]) != ok[:n] {
			return false, fmt.Errorf("events: %q", reply)
		}
		// The answer, when to come back, and the welcome.
		return bytes.HasSuffix(reply, []byte("\n\n")) && bytes.Contains(reply, []byte("\ndata: {\"type\":\"welcome\",")), nil
	},
	publish:  webSocketText.publish,
	around:   func(int, int) (string, string) { return "", "" },
	unwrap:   unwrapEvent,
	newlines: 3,
}

// unwrapEvent is unwrapJSON for one of the three lines of an event. Of these the id and
// the empty one have no line of the sender's.
func unwrapEvent(dst, line []byte) []byte {
	if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
		return unwrapJSON(dst, data)
	}
	if string(line) == "\n" || bytes.HasPrefix(line, []byte("id: ")) {
		return dst
	}
	return append(dst, '\n')
}

// appendUpgrade appends a request for a WebSocket, with more as headers.
func appendUpgrade(dst []byte, path, more string) []byte {
	return append(dst, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+more+"\r\n"...)
}

// upgraded says whether reply is the whole answer to such a request.
func upgraded(reply []byte, _ membership) (bool, error) {
	if !bytes.HasSuffix(reply, []byte("\r\n\r\n")) {
		return false, nil
	}
	if !strings.HasPrefix(string(reply), "HTTP/1.1 101 ") {
		return false, fmt.Errorf("websocket: %q", reply)
	}
	return true, nil
}

// webSocketMask need not be random: no proxy is to be protected here.
var webSocketMask = [4]byte{0x5a, 0xc3, 0x17, 0x9e}

func webSocketPath(room int) string { return fmt.Sprintf("/%04d", room) }

// webSocketRoom is the room that a path of webSocketPath names.
func webSocketRoom(r *http.Request) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	return n
}

const (
	textMessage   = 0x81
	binaryMessage = 0x82
)

// appendMasked appends a client's message.
func appendMasked(dst []byte, kind byte, body []byte) []byte {
	const masked = 0x80
	dst = appendWebSocketHead(dst, kind, len(body), masked)
	dst = append(dst, webSocketMask[:]...)
	at := len(dst)
	dst = append(dst, body...)
	for i := range body {
		dst[at+i] ^= webSocketMask[i&3]
	}
	return dst
}

func appendWebSocketHead(dst []byte, kind byte, n int, masked byte) []byte {
	switch {
	case n < 126:
		return append(dst, kind, masked|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, kind, masked|126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, kind, masked|127), uint64(n))
}
