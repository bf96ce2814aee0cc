//go:build unix

package main

import (
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/examples/internal/program"
)

// TestReconnectToAnotherServer kills the server under a chat and starts it again.
func TestReconnectToAnotherServer(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  os.Signal
	}{{name: "killed", end: os.Kill}, {name: "stopped", end: os.Interrupt}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			flags := []string{"-codec", "json", "-sessions", "-history", "10"}
			server, addr := serve(t, flags...)
			ada := client(t, "-codec", "json", "-reconnect", "-name", "ada", addr)
			require.Equal(t, "joined as ada, members: 1", ada.Err.Line(t))
			bob := client(t, "-codec", "json", "-reconnect", "-name", "bob", addr)
			require.Equal(t, "joined as bob, members: 2", bob.Err.Line(t))
			ada.Out.Expect(t, "* bob joined\n")
			ada.Say(t, "hi\n")
			bob.Out.Expect(t, "ada: hi\n")

			server.Signal(t, tt.end)
			ada.Err.Expect(t, "no connection: ")
			bob.Err.Expect(t, "no connection: ")
			server.Status(t)
			ada.Say(t, "is anybody there?\n")
			server = program.Start(t, program.Path("server"), append(flags, "-addr", addr)...)
			require.Equal(t, "listening on "+addr, server.Err.Line(t))
			ada.Err.Expect(t, "joined anew, for the room has forgotten who this was, as ada, members: ")
			bob.Err.Expect(t, "joined anew, for the room has forgotten who this was, as bob, members: ")
			bob.Out.Expect(t, "ada: is anybody there?\n") // live, or as history
			bob.Say(t, "yes\n")
			ada.Out.Expect(t, "bob: yes\n")
			ada.Say(t, "bye\n")
			ada.End()
			require.Zero(t, ada.Status(t))
			bob.Out.Expect(t, "ada: bye\n* ada left\n")
		})
	}
}

// TestReconnectToTheSameServer breaks the connection under a chat.
func TestReconnectToTheSameServer(t *testing.T) {
	t.Parallel()
	_, addr := serve(t, "-codec", "json", "-sessions")
	cable := plug(t, addr)
	ada := client(t, "-codec", "json", "-reconnect", "-name", "ada", cable.l.Addr().String())
	require.Equal(t, "joined as ada, members: 1", ada.Err.Line(t))
	bob := client(t, "-codec", "json", "-name", "bob", addr)
	require.Equal(t, "joined as bob, members: 2", bob.Err.Line(t))
	require.Equal(t, "* bob joined", ada.Out.Line(t))
	for range 3 {
		cable.pull()
		require.Contains(t, ada.Err.Line(t), "no connection: ")
		bob.Say(t, "are you there?\n")
		require.Equal(t, "resumed as ada, members: 2", ada.Err.Line(t))
		require.Equal(t, "bob: are you there?", ada.Out.Line(t))
		ada.Say(t, "yes\n")
		require.Equal(t, "ada: yes", bob.Out.Line(t))
	}
}

// TestOffline: what becomes of the input while there is no connection.
func TestOffline(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		input string // without a connection
		says  string
		heard []string // then, and of "end", which is sent after that
	}{
		{name: "waits", input: "one\n", heard: []string{"one", "end"}},
		{name: "keeps nothing", args: []string{"-offline", "0"}, input: "one\n", says: "client: not sent: tcproom: no connection to the room: ", heard: []string{"end"}},
		// A message of three bytes is counted as 131.
		{name: "keeps one line", args: []string{"-offline", "131"}, input: "one\ntwo\n", says: "client: not sent: tcproom: no connection to the room, and the buffer of 131 bytes is full: ", heard: []string{"one", "end"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, addr := serve(t, "-codec", "json")
			ada := client(t, append(tt.args, "-codec", "json", "-reconnect", "-name", "ada", addr)...)
			require.Equal(t, "joined as ada, members: 1", ada.Err.Line(t))
			server.Signal(t, os.Kill)
			ada.Err.Expect(t, "no connection: ")
			server.Status(t)
			ada.Say(t, tt.input)
			ada.Err.Expect(t, tt.says)
			server = program.Start(t, program.Path("server"), "-codec", "json", "-history", "10", "-addr", addr)
			require.Equal(t, "listening on "+addr, server.Err.Line(t))
			ada.Err.Expect(t, "joined as ada, members: 1")
			ada.Say(t, "end\n")
			bob := client(t, "-codec", "json", "-name", "bob", addr)
			bob.Out.Expect(t, "ada: end\n")
			var heard []string
			for line := range strings.Lines(bob.Out.Text()) {
				if _, body, ok := strings.Cut(line, "ada: "); ok { // live, or as history
					heard = append(heard, strings.TrimSuffix(body, "\n"))
				}
			}
			require.Equal(t, tt.heard, heard)
		})
	}
}

func TestInterruptSaysGoodbye(t *testing.T) {
	t.Parallel()
	_, addr := serve(t, "-codec", "json", "-sessions", "-grace", "1h")
	bob := client(t, "-codec", "json", "-name", "bob", addr)
	require.Equal(t, "joined as bob, members: 1", bob.Err.Line(t))
	ada := client(t, "-codec", "json", "-reconnect", "-name", "ada", addr)
	require.Equal(t, "joined as ada, members: 2", ada.Err.Line(t))
	ada.Signal(t, os.Interrupt)
	require.Equal(t, 1, ada.Status(t))
	require.Equal(t, "client: interrupt signal received", ada.Err.Line(t))
	bob.Out.Expect(t, "* ada joined\n* ada left\n")
}

func TestReconnectInText(t *testing.T) {
	t.Parallel()
	_, addr := serve(t)
	cable := plug(t, addr)
	ada, bob := client(t, "-reconnect", cable.l.Addr().String()), client(t, addr)
	require.Equal(t, "connected", ada.Err.Line(t))
	program.Meet(t, ada, bob)
	cable.pull()
	require.Contains(t, ada.Err.Line(t), "no connection: ")
	require.Equal(t, "connected", ada.Err.Line(t))
	bob.Out.Expect(t, "* guest-3 joined\n")
	ada.Say(t, "hi\n")
	bob.Out.Expect(t, "guest-3: hi\n")
	ada.End()
	require.Zero(t, ada.Status(t))
}

func TestReconnectEndsWhenItIsNotWanted(t *testing.T) {
	t.Parallel()
	_, addr := serve(t, "-codec", "json", "-max-message", "10")
	c := client(t, "-codec", "json", "-reconnect", addr)
	require.Equal(t, "joined as guest-1, members: 1", c.Err.Line(t))
	c.Say(t, "far more than ten bytes\n")
	require.Equal(t, 1, c.Status(t))
	require.Contains(t, c.Err.Text(), "client: tcproom: message too large\n")
}

// A cable is a way to a server that can be pulled out.
type cable struct {
	l net.Listener

	mu    sync.Mutex // guards what follows
	conns []net.Conn
}

// plug returns a cable to addr. It ends with the test.
func plug(t *testing.T, addr string) *cable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cable{l: l}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.carry(addr)
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		c.pull()
	})
	return c
}

// carry ends when the listener is closed.
func (c *cable) carry(addr string) {
	for {
		near, err := c.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", addr)
		if err != nil {
			near.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, near, far)
		c.mu.Unlock()
		go pass(near, far)
		go pass(far, near)
	}
}

// pass ends with what from sends, or when one of the two is closed.
func pass(from, to net.Conn) {
	io.Copy(to, from)
	to.(*net.TCPConn).CloseWrite()
}

// pull resets what goes over the cable.
func (c *cable) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.conns {
		nc.(*net.TCPConn).SetLinger(0)
		nc.Close()
	}
	c.conns = nil
}
