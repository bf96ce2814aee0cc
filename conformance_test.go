package tcproom_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// The testers that users are given hold for what the library brings itself.

func TestFramingsConform(t *testing.T) {
	for i, f := range []tcproom.Framing{
		tcproom.Lines{},
		tcproom.Delimiter(""), tcproom.Delimiter("\x00"), tcproom.Delimiter("\r\n"), tcproom.Delimiter("aa"), tcproom.Delimiter("aba"), tcproom.Delimiter("--boundary--"),
		tcproom.Length{}, tcproom.Length{Bytes: 1}, tcproom.Length{Bytes: 2}, tcproom.Length{Bytes: 4}, tcproom.Length{Bytes: 8},
		tcproom.Length{Bytes: 1, LittleEndian: true}, tcproom.Length{Bytes: 2, LittleEndian: true}, tcproom.Length{Bytes: 4, LittleEndian: true}, tcproom.Length{Bytes: 8, LittleEndian: true},
		tcproom.Varint{}, tcproom.Netstring{}, tcproom.ContentLength{},
		blocks(4),
	} {
		t.Run(fmt.Sprintf("%#v", f), func(t *testing.T) {
			if raceEnabled && i%3 != 0 {
				t.Skip("slow, and its own code is of one goroutine")
			}
			t.Parallel()
			require.NoError(t, roomtest.TestFraming(f))
		})
	}
}

func TestCodecsConform(t *testing.T) {
	for _, c := range []tcproom.Codec{tcproom.Text{}, tcproom.Text{Commands: true}, tcproom.Raw{}, tcproom.JSON{}} {
		t.Run(fmt.Sprintf("%#v", c), func(t *testing.T) {
			t.Parallel()
			require.NoError(t, roomtest.TestCodec(c))
		})
	}
}

func TestConnsConform(t *testing.T) {
	tcp := func() (a, b net.Conn, err error) { return connected(t, "tcp") }
	unix := func() (a, b net.Conn, err error) { return connected(t, "unix") }
	pipe := func() (a, b net.Conn, err error) {
		a, b = net.Pipe()
		return a, b, nil
	}
	memory := func() (a, b net.Conn, err error) {
		a, b = roomtest.Pipe()
		return a, b, nil
	}
	wrapped := func() (a, b net.Conn, err error) {
		if a, b, err = tcp(); err == nil {
			a = roomtest.Wrap(a)
		}
		return a, b, err
	}
	for name, mk := range map[string]func() (a, b net.Conn, err error){
		"pipe": pipe, "roomtest.Pipe": memory, "roomtest.Wrap": wrapped, "tcp": tcp, "unix": unix, "tls": overTLS(tcp), "tls over unix": overTLS(unix),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(name, "unix") && runtime.GOOS == "windows" {
				t.Skip("no unix sockets to rely on")
			}
			require.NoError(t, roomtest.TestConn(mk))
		})
	}
}

// connected returns the two ends of a connection.
func connected(t testing.TB, network string) (a, b net.Conn, err error) {
	l := listen(t, network)
	defer l.Close()
	if a, err = net.Dial(network, l.Addr().String()); err != nil {
		return nil, nil, err
	}
	b, err = l.Accept()
	return a, b, err
}

// overTLS returns mk with TLS over it, negotiated.
func overTLS(mk func() (a, b net.Conn, err error)) func() (a, b net.Conn, err error) {
	server, client := testTLS()
	client = client.Clone()
	client.ServerName = "localhost"
	return func() (net.Conn, net.Conn, error) {
		a, b, err := mk()
		if err != nil {
			return nil, nil, err
		}
		s, c := tls.Server(a, server), tls.Client(b, client)
		shaken := make(chan error, 1)
		go func() { shaken <- s.Handshake() }()
		err = c.Handshake()
		return s, c, errors.Join(<-shaken, err)
	}
}
