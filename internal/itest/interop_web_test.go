package itest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
	"github.com/stretchr/testify/require"
)

// A webPeer is a program that runs, and what it has printed: a JSON object a line.
type webPeer struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *bufio.Scanner
	errs problems
}

// problems is what a program prints as errors. It may be read before its end.
type problems struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *problems) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *problems) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

// start runs a program until it ends, or the test does.
func start(t testing.TB, args ...string) *webPeer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	p := &webPeer{t: t, cmd: exec.CommandContext(ctx, args[0], args[1:]...)}
	p.cmd.Stderr = &p.errs
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewScanner(out)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { cancel(); p.cmd.Wait() })
	return p
}

// line returns the next line; it fails the test at the end.
func (p *webPeer) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		require.Fail(p.t, "the peer printed no more", "%s", p.errs.String())
	}
	return p.out.Text()
}

func (p *webPeer) next(v any) {
	p.t.Helper()
	line := p.line()
	require.NoError(p.t, json.Unmarshal([]byte(line), v), line)
}

// end waits for the end of the program.
func (p *webPeer) end() {
	p.t.Helper()
	require.False(p.t, p.out.Scan(), "it printed more: %s", p.out.Text())
	require.NoError(p.t, p.cmd.Wait(), "%s", p.errs.String())
}

// nodeWith returns how to start a Node in which expr is true; nil if there is none.
func nodeWith(expr string) []string {
	path, err := exec.LookPath("node")
	if err != nil {
		return nil
	}
	for _, flags := range [][]string{nil, {"--experimental-websocket"}, {"--experimental-eventsource"}} {
		args := append([]string{path, "--no-warnings"}, flags...)
		if exec.Command(path, append(args[1:], "-e", "process.exit("+expr+" ? 0 : 1)")...).Run() == nil {
			return args
		}
	}
	return nil
}

const hasWS = "(() => { try { return /^8/.test(require('ws/package.json').version) } catch { return false } })()"

// sockets are the implementations of WebSocket in JavaScript.
var sockets = []struct{ name, expr string }{
	{name: "ws", expr: hasWS},
	{name: "builtin", expr: "typeof WebSocket === 'function'"},
}

// TestNodeWebSocket: what clients in JavaScript see of a member's life, and of its end.
func TestNodeWebSocket(t *testing.T) {
	t.Parallel()
	const count = 20
	kick := func(_ *testing.T, room *tcproom.Room) {
		for m := range room.Members() {
			if m.Name() == "node" {
				m.Kick("go")
			}
		}
	}
	shutdown := func(t *testing.T, room *tcproom.Room) { require.NoError(t, room.Shutdown(testContext(t))) }
	for _, impl := range sockets {
		for _, tt := range []struct {
			name, mode      string
			end             func(*testing.T, *tcproom.Room)
			code            int
			reason, goodbye string
		}{
			{name: "leaves", mode: "leave", code: 1000},
			{name: "leaves without a code", mode: "leaveSilently", code: 1000},
			{name: "is kicked", mode: "stay", end: kick, code: 1008, reason: "kicked", goodbye: "kicked"},
			{name: "the room stops", mode: "stay", end: shutdown, code: 1001, reason: "closed", goodbye: "closed"},
		} {
			t.Run(impl.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				node := nodeWith(impl.expr)
				if node == nil && impl.name == "builtin" {
					t.Skip("this Node has no WebSocket of its own")
				}
				if node == nil {
					missing(t, "ws 8 (npm, found by NODE_PATH)")
				}
				room := tcproom.New()
				url := serveWeb(t, room, roomhttp.WithConn(tcproom.WithHeartbeat(time.Second)))
				witness, err := room.Join(t.Context(), tcproom.Identity{Name: "witness"})
				require.NoError(t, err)
				p := start(t, append(node, filepath.Join("testdata", "interop", "ws_peer.js"), impl.name, wsURL(url), tt.mode, fmt.Sprint(count))...)
				require.Equal(t, "node", await(t, witness, tcproom.Join).From.Name)
				for i := range count {
					body := fmt.Sprintf("%d😀 \"\\", i)
					require.NoError(t, witness.Send(t.Context(), []byte(body)))
					require.Equal(t, body, string(await(t, witness, tcproom.Message).Body))
				}
				if tt.end != nil {
					require.JSONEq(t, `{"ready":true}`, p.line())
					require.NoError(t, witness.Close()) // of those that read on, nobody is to be cut
					waitLen(t, testContext(t), room, 1)
					tt.end(t, room)
				}
				if tt.goodbye != "" {
					require.JSONEq(t, fmt.Sprintf(`{"goodbye":%q}`, tt.goodbye), p.line())
				}
				require.JSONEq(t, fmt.Sprintf(`{"code":%d,"reason":%q,"wasClean":true,"protocol":"tcproom.json","extensions":""}`, tt.code, tt.reason), p.line())
				p.end()
			})
		}
	}
}

// await returns the next event of a kind, and passes over others.
func await(t testing.TB, c *tcproom.Conn, kind tcproom.Kind) tcproom.Event {
	t.Helper()
	for {
		ev, err := c.Receive(testContext(t))
		require.NoError(t, err)
		if ev.Kind == kind {
			return ev
		}
	}
}

// TestPythonWebsockets: a client that pings every 0.2 s, and leaves if that is not
// answered within 2, stays for longer than that.
func TestPythonWebsockets(t *testing.T) {
	t.Parallel()
	python := findPython(t, "websockets")
	room := tcproom.New()
	url := serveWeb(t, room)
	witness, err := room.Join(t.Context(), tcproom.Identity{Name: "witness"})
	require.NoError(t, err)
	p := start(t, python, filepath.Join("testdata", "interop", "websockets_peer.py"), wsURL(url), "3")
	require.Equal(t, "python", await(t, witness, tcproom.Join).From.Name)
	sent := 0
	for ; room.Len() == 2; sent++ {
		require.NoError(t, witness.Send(t.Context(), []byte("hi")))
		ev, err := witness.Receive(testContext(t))
		require.NoError(t, err)
		if ev.Kind != tcproom.Message {
			require.Equal(t, tcproom.Leave, ev.Kind)
			break
		}
	}
	var got struct{ Received, Pongs, Code int }
	p.next(&got)
	p.end()
	require.Equal(t, 1000, got.Code)
	require.Greater(t, got.Pongs, 10)
	require.Greater(t, got.Received, 10)
	require.InDelta(t, sent, got.Received, 1)
}

// A block is what an event stream holds between two empty lines.
type block struct{ id, data string }

// readBlock returns the next block of an event stream, but for comments. ok is false
// at its end.
func readBlock(lines *bufio.Scanner) (b block, ok bool) {
	for lines.Scan() {
		switch field, value, _ := strings.Cut(lines.Text(), ": "); {
		case lines.Text() == "" && b != (block{}):
			return b, true
		case field == "id":
			b.id = value
		case field == "data":
			b.data = value
		}
	}
	return block{}, false // what is not complete is nothing
}

// TestCurlEvents: curl -N shows each event at once, and gets what it has missed.
func TestCurlEvents(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		missing(t, "curl")
	}
	room := tcproom.New(tcproom.WithHistory(tcproom.History{}))
	url := serveWeb(t, room) + "/rooms/lobby/events?name=curl"
	last, count := "", 0
	for round := range 3 {
		args := []string{curl, "-sN", "--noproxy", "*", url}
		if last != "" {
			args = append(args, "-H", "Last-Event-ID: "+last)
		}
		p := start(t, args...)
		waitLen(t, testContext(t), room, 1)
		expected := max(0, count-5) // it has missed five, if it was there before
		for i := range 10 {
			if i < 5 {
				_, err := room.Broadcast(t.Context(), fmt.Appendf(nil, "%d", count))
				require.NoError(t, err)
				count++
			}
			for expected < count {
				b, ok := readBlock(p.out)
				require.True(t, ok, "round %d: %s", round, p.errs.String())
				var ev said
				if b.data != "" {
					require.NoError(t, json.Unmarshal([]byte(b.data), &ev))
				}
				require.NotEqual(t, "gap", ev.Type)
				if ev.Type == "message" {
					require.Equal(t, fmt.Sprint(expected), ev.Body)
					last, expected = b.id, expected+1
				}
			}
		}
		p.cmd.Process.Kill()
		waitLen(t, testContext(t), room, 0)
		for range 5 {
			_, err := room.Broadcast(t.Context(), fmt.Appendf(nil, "%d", count))
			require.NoError(t, err)
			count++
		}
	}
}
