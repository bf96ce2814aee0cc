//go:build unix

package outside

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// badNames are names of rooms that mean something to NATS, or are long.
var badNames = []string{
	"a.b", "a", "b", "a.*", "*", ">", "a.>", "$JS.API.>", "_INBOX", "", // which cannot be
	"a b", " ", "\t\r\n", "\x00", "a=2Eb", "=", "==", "/", "Ä", "ä", "\xff\xfe", "A",
	strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat(".", 255), strings.Repeat("é", 127) + "x",
}

// TestOutsideNames: rooms of names that hurt are rooms like others, each over all nodes,
// and none gets what is said in another.
func TestOutsideNames(t *testing.T) {
	_, url := startServer(t)
	var names [][]byte
	for _, n := range badNames {
		if n != "" {
			names = append(names, []byte(n))
		}
	}
	var nodes [2]*roomsRole
	for i := range nodes {
		nodes[i] = &roomsRole{URL: url, Names: names, Lease: lease, Grace: grace, Outage: outage}
		for range names {
			nodes[i].Addrs = append(nodes[i].Addrs, freeAddr(t))
		}
		require.True(t, newProcess(t, fmt.Sprintf("node%d", i), role{Rooms: nodes[i]}).start(20*time.Second))
	}
	listeners := make([]*client, len(names))
	for i := range names {
		listeners[i] = visitor(t, nodes[0].Addrs[i])
	}
	for i := range names {
		visitor(t, nodes[1].Addrs[i]).write(map[string]any{"type": "message", "body": fmt.Sprint("in room ", i)})
	}
	for i, c := range listeners {
		var got []string
		for len(got) == 0 || got[len(got)-1] != "end" {
			f := c.next(t)
			if f.Type == "message" {
				got = append(got, f.Body)
				visitor(t, nodes[1].Addrs[i]).write(map[string]any{"type": "message", "body": "end"})
			}
		}
		require.Equal(t, fmt.Sprint("in room ", i), got[0], "%q", names[i])
		for _, body := range got[1:] {
			require.Equal(t, "end", body, "%q", names[i])
		}
	}
}

// visitor is a client that is in the room at addr.
func visitor(t *testing.T, addr string) *client {
	t.Helper()
	c := newVisitor(addr)
	require.NoError(t, c.dial())
	t.Cleanup(func() {
		c.conn.Close()
		for range c.lines { // the reader ends
		}
	})
	require.Equal(t, "welcome", c.next(t).Type)
	return c
}

// next returns what comes next.
func (c *client) next(t *testing.T) (f frame) {
	t.Helper()
	select {
	case line, ok := <-c.lines:
		require.True(t, ok, "the connection has ended")
		require.NoError(t, decode(line, &f))
	case <-time.After(10 * time.Second):
		t.Fatal("nothing comes")
	}
	return f
}
