package tcproom_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// firstPackets are what other programs say first, and what nobody says.
func firstPackets() map[string]string {
	packets := map[string]string{
		"HTTP":           "GET / HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
		"HTTP, long":     "GET /" + strings.Repeat("a\x1b[2J", 500) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"HTTP/2":         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"POST of JSON":   "POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"type\":\"hello\"}",
		"TLS":            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\n\x9b\x00\x1b", 126),
		"SSH":            "SSH-2.0-OpenSSH_9.6\r\n\x00\x00\x05\xdc\x07\x14",
		"SMTP":           "EHLO [127.0.0.1]\r\n",
		"IRC":            "NICK ada\r\nUSER ada 0 * :ada\r\n",
		"MQTT":           "\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06abcdef",
		"Redis":          "*1\r\n$4\r\nPING\r\n",
		"PROXY":          "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
		"PROXY, binary":  "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x01\x00\x02",
		"RDP":            "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
		"telnet":         "\xff\xfb\x1f\xff\xfb\x20\xff\xfb\x18\r\n",
		"zeros":          strings.Repeat("\x00", 100),
		"ones":           strings.Repeat("\xff", 100),
		"log forger":     "\nlevel=ERROR msg=\"all is lost\"\n\x1b]0;title\a\u202e\r\n",
		"a lone newline": "\n",
	}
	rnd := rand.New(rand.NewPCG(21, 21))
	for i := range 20 {
		b := make([]byte, 1+rnd.IntN(300))
		for j := range b {
			b[j] = byte(rnd.Uint32())
		}
		packets[fmt.Sprint("random ", i)] = string(b)
	}
	return packets
}

// TestF21WrongProtocol: another program's first packet gets at most 256 bytes
// back, ends its own conn or is read by the rules, is heard by others as messages
// only, and is never raw in the log.
func TestF21WrongProtocol(t *testing.T) {
	for _, config := range []struct {
		name    string
		framing tcproom.Framing
		codec   tcproom.Codec
		ends    bool // by the packet, whatever it is
	}{
		{name: "lines of text", framing: tcproom.Lines{}, codec: tcproom.Text{}, ends: false},
		{name: "lines of JSON", framing: tcproom.Lines{}, codec: tcproom.JSON{}, ends: false},
		{name: "lengths", framing: tcproom.Length{Bytes: 4}, codec: tcproom.Raw{}, ends: false},
		{name: "varints", framing: tcproom.Varint{}, codec: tcproom.JSON{}, ends: false},
		{name: "netstrings", framing: tcproom.Netstring{}, codec: tcproom.Text{}, ends: true},
		{name: "netstrings of JSON", framing: tcproom.Netstring{}, codec: tcproom.JSON{}, ends: true},
		{name: "header lines", framing: tcproom.ContentLength{}, codec: tcproom.JSON{}, ends: false},
	} {
		for name, packet := range firstPackets() {
			t.Run(config.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var lines logLines
					gone := newCauses()
					room := tcproom.New(tcproom.WithFraming(config.framing), tcproom.WithCodec(config.codec), tcproom.WithLogger(lines.Logger()),
						tcproom.WithIdleTimeout(time.Minute), tcproom.OnLeave(gone.Left), tcproom.OnReject(gone.Rejected))
					nc, served := pipe(room)
					said := make(chan []byte, 1)
					go func() {
						b, _ := io.ReadAll(nc)
						said <- b
					}()
					start := time.Now()
					go io.WriteString(nc, packet)
					err := <-served
					require.Error(t, err)
					if config.ends {
						require.Zero(t, time.Since(start))
						require.True(t, errors.Is(err, tcproom.ErrMalformed) || errors.Is(err, tcproom.ErrWrongDoor), "%v", err)
					} else {
						require.LessOrEqual(t, time.Since(start), time.Minute+time.Second, "the idle timeout at the latest")
					}
					nc.Close()
					back := <-said
					require.LessOrEqual(t, len(back), 256, "%q", back)
					for line := range strings.Lines(strings.Join(lines.With(""), "")) {
						require.True(t, strings.HasPrefix(line, "time="), "%q", line)
						require.False(t, bytes.ContainsFunc([]byte(line[:len(line)-1]), func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }), "%q", line)
					}
					require.LessOrEqual(t, len(strings.Join(lines.With(""), "")), 2048)
					require.NoError(t, room.Close())
				})
			})
		}
	}
}
