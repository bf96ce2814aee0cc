//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/olahol/melody"
)

// melodyServer is the WebSocket hub melody; a room is one of its instances.
var melodyServer = &server{
	name:   "melody",
	about:  "olahol/melody, a WebSocket hub with a channel (large enough here: it drops what does not fit) and a writing goroutine per session",
	speaks: webSocket,
	serve:  serveMelody,
	module: "github.com/olahol/melody",
	tls:    true,
	guest:  true,
	atMost: 1000, // a window to 10,000 takes it a quarter of a minute or more
}

func serveMelody(c *control) error {
	l, err := c.listen()
	if err != nil {
		return err
	}
	rooms := make(map[string]*melody.Melody)
	for i := range c.roomCount() {
		rooms[webSocketPath(i)] = newMelody(c.inFlight)
	}
	c.members = func() (n int) {
		for _, m := range rooms {
			n += m.Len()
		}
		return n
	}
	failed := make(chan error, 1)
	go func() {
		failed <- http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if m := rooms[r.URL.Path]; m != nil {
				_ = m.HandleRequest(w, r) // it has answered and ended the connection
			}
		}))
	}()
	c.ready(l.Addr().String())
	go func() { failed <- c.run() }()
	return <-failed
}

func newMelody(inFlight int) *melody.Melody {
	m := melody.New()
	m.Config.MaxMessageSize = 64 << 10
	m.Config.MessageBufferSize = max(m.Config.MessageBufferSize, 2*inFlight)
	m.Config.WriteWait = time.Minute
	m.Config.PingPeriod, m.Config.PongWait = time.Hour, 2*time.Hour
	m.HandleMessageBinary(func(s *melody.Session, b []byte) { _ = m.BroadcastBinaryOthers(b, s) })
	return m
}

// webSocket is RFC 6455 with one binary message per line, masked by clients.
var webSocket = dialect{
	hello: func(dst []byte, m membership) []byte {
		return append(dst, "GET "+webSocketPath(m.room)+" HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"...)
	},
	greeted: func(reply []byte, _ membership) (bool, error) {
		if !bytes.HasSuffix(reply, []byte("\r\n\r\n")) {
			return false, nil
		}
		if !strings.HasPrefix(string(reply), "HTTP/1.1 101 ") {
			return false, fmt.Errorf("websocket: %q", reply)
		}
		return true, nil
	},
	publish: func(dst []byte, _ int, line []byte) []byte {
		const masked = 0x80
		dst = appendWebSocketHead(dst, len(line), masked)
		dst = append(dst, webSocketMask[:]...)
		at := len(dst)
		dst = append(dst, line...)
		for i := range line {
			dst[at+i] ^= webSocketMask[i&3]
		}
		return dst
	},
	around: func(_, size int) (before, after string) {
		return string(appendWebSocketHead(nil, size, 0)), ""
	},
}

// webSocketMask need not be random: no proxy is to be protected here.
var webSocketMask = [4]byte{0x5a, 0xc3, 0x17, 0x9e}

func webSocketPath(room int) string { return fmt.Sprintf("/%04d", room) }

func appendWebSocketHead(dst []byte, n int, masked byte) []byte {
	const binaryMessage = 0x82
	switch {
	case n < 126:
		return append(dst, binaryMessage, masked|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, binaryMessage, masked|126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, binaryMessage, masked|127), uint64(n))
}
