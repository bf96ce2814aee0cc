package serve

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/cmd/tcproom/internal/cli"
)

func printed(t *testing.T, c *config) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, c.print(&b))
	return b.String()
}

func TestLoad(t *testing.T) {
	c := newConfig()
	require.NoError(t, c.load("f", []byte(`
addr: &here localhost:9000
http: localhost:8080
hosts: [a.example, b.example]
slow: block
max-wait: 1m
rooms:
  - {name: lobby, history: 3, slow: skip, backlog: 4096}
  - {name: ops, hidden: true}
listeners:
  - addr: *here
    framing: varint
`)))
	require.NoError(t, c.complete())
	require.Equal(t, "localhost:9000", c.addr)
	require.Equal(t, list{"a.example", "b.example"}, c.hosts)
	require.Equal(t, tcproom.Block(time.Minute), c.lag.policy())
	require.Len(t, c.rooms.described, 2)
	require.Equal(t, tcproom.Skip, c.rooms.described[0].lag.policy())
	require.Len(t, c.rooms.described[0].options(), 3)
	require.Len(t, c.rooms.described[1].options(), 1)
	require.Len(t, c.more, 1)
	require.Equal(t, "localhost:9000", c.more[0].addr)
	require.Equal(t, tcproom.Varint{}, c.more[0].framing.Value())
}

func TestEmptyFiles(t *testing.T) {
	for _, text := range []string{"", "\n", "# addr: :9000\n", "---\n", "null\n"} {
		c := newConfig()
		require.NoError(t, c.load("f", []byte(text)), "%q", text)
		require.Equal(t, printed(t, newConfig()), printed(t, c))
	}
}

// TestNoUnit: what a time lacks is told, and not that it cannot be parsed.
func TestNoUnit(t *testing.T) {
	require.EqualError(t, newConfig().load("f", []byte("grace: 10\n")), `f:1:8: grace: "10": want a time with its unit, such as 30s`)
	require.EqualError(t, newConfig().load("f", []byte("one-port: yes\n")), `f:1:11: one-port: "yes": want true or false`)
}

// TestDocument: the file in docs/tcproom.md is one.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/tcproom.md")
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(text), "```yaml\n")
	require.True(t, ok)
	block, _, ok = strings.Cut(block, "```\n")
	require.True(t, ok)
	c := newConfig()
	require.NoError(t, c.load("f", []byte(block)))
	require.NoError(t, c.complete())
	require.Len(t, c.rooms.described, 2)
	require.Len(t, c.more, 1)
}

// FuzzLoad: what is loaded is printed so that it is loaded again, and what is not is
// refused as a wrong argument that names the file.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"addr: localhost:9000\ncodec: json\nsessions: true\n",
		"rooms:\n  - name: a\n    history: 3\n  - name: b\n    hidden: true\nopen-rooms: true\n",
		"listeners: [{addr: ':1', tls-cert: \"a\\nb\", tls-key: '~'}]\nhosts: [x, y]\n",
		"a: &a [*a]\n", "rooms: &r [{name: x}]\nlisteners: *r\n", "rooms: true\nrooms: false\n",
		"tls-cert: 'null'\ntls-key: \"\"\nhttp: '#'\n", "? [a]\n: b\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := newConfig()
		if err := c.load("FILE", text); err != nil {
			require.ErrorIs(t, err, cli.ErrUsage)
			require.True(t, strings.HasPrefix(err.Error(), "FILE:"), "%v", err)
			return
		}
		want := printed(t, c)
		again := newConfig()
		if err := again.load("FILE", []byte(want)); err != nil {
			require.NoError(t, err, "%s", want)
		}
		require.Equal(t, want, printed(t, again))
	})
}
