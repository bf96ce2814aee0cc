package itest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/tcproom"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// A cutter is a proxy that ends every connection after some bytes: in the middle of
// frames, of the answer to a request, and sometimes without a word.
type cutter struct {
	l     net.Listener
	to    string
	calls sync.WaitGroup
	cuts  atomic.Int64
	least int64 // bytes to a client before a cut
}

// cut starts a cutter before a web door, and returns its address.
func cut(t *testing.T, url string, least int64) (c *cutter, through string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c = &cutter{l: l, to: strings.TrimPrefix(url, "http://"), least: least}
	c.calls.Go(c.serve)
	t.Cleanup(func() { l.Close(); c.calls.Wait() })
	return c, "http://" + l.Addr().String()
}

func (c *cutter) serve() {
	rnd := rand.New(rand.NewPCG(60, 60))
	for {
		nc, err := c.l.Accept()
		if err != nil {
			return
		}
		down, up, reset := c.least+rnd.Int64N(6000), 400+rnd.Int64N(4000), rnd.IntN(2) == 0
		c.calls.Go(func() { c.forward(nc.(*net.TCPConn), down, up, reset) })
	}
}

// forward passes on so many bytes, to the client and from it, and then ends both.
func (c *cutter) forward(client *net.TCPConn, down, up int64, reset bool) {
	defer client.Close()
	nc, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	server := nc.(*net.TCPConn)
	defer server.Close()
	var both sync.WaitGroup
	pass := func(to, from *net.TCPConn, most int64) {
		if n, _ := io.CopyN(to, from, most); n == most {
			c.cuts.Add(1)
			if reset {
				client.SetLinger(0)
				server.SetLinger(0)
			}
		}
		client.Close()
		server.Close()
	}
	both.Go(func() { pass(client, server, down) })
	both.Go(func() { pass(server, client, up) })
	both.Wait()
}

// TestCutConnections: members over WebSocket and readers of events whose proxy cuts
// every connection have, when all is said, what a member has that is never cut: each
// message once, in the room's order.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	const members, readers, each = 5, 3, 60
	room := tcproom.New(
		tcproom.WithSessions(tcproom.Sessions{Grace: within}), tcproom.WithHistory(tcproom.History{}),
	)
	direct := serveWeb(t, room)
	proxy, url := cut(t, direct, 500) // which is an answer and a welcome only sometimes
	ctx := testContext(t)
	observer, err := room.Join(ctx, tcproom.Identity{Name: "observer"}, tcproom.WithCodec(tcproom.JSON{}))
	require.NoError(t, err)
	defer observer.Close()

	talkers, readings := make([]*talker, members), make([]*reading, readers)
	// What was said before a member's first welcome is not of its stream.
	var joined sync.WaitGroup
	joined.Add(members)
	all := make(chan struct{})
	go func() { joined.Wait(); close(all) }()
	g, ctx := group(t, ctx)
	for i := range readings {
		readings[i] = &reading{want: members * each}
		g.Go(func() error { return readings[i].run(ctx, url) })
	}
	for i := range talkers {
		talkers[i] = &talker{name: fmt.Sprintf("m%d", i), each: each, want: (members - 1) * each, joined: joined.Done, all: all}
		g.Go(func() error { return talkers[i].run(ctx, url) })
	}
	var truth []placed
	for len(truth) < members*each {
		ev, err := observer.Receive(ctx)
		require.NoError(t, err)
		require.NotEqual(t, tcproom.Gap, ev.Kind)
		if ev.Kind == tcproom.Message {
			truth = append(truth, placed{ev.Seq, string(ev.Body)})
		}
	}
	late := &reading{want: members * each} // to which all is history
	readings = append(readings, late)
	g.Go(func() error { return late.run(ctx, url) })
	require.NoError(t, g.Wait())

	seen := map[string]bool{}
	for _, p := range truth {
		require.False(t, seen[p.body], "%q is twice in the order", p.body)
		seen[p.body] = true
	}
	connections := 0
	for _, m := range talkers {
		requireAll(t, except(truth, m.name), m.got)
		connections += m.connections
	}
	for _, r := range readings {
		requireAll(t, truth, r.got)
		connections += r.connections
	}
	t.Logf("%d connections, %d were cut", connections, proxy.cuts.Load())
	require.Greater(t, connections, 10*(members+readers))
}

// TestNodeEventSource: Node's own reader of events comes back by itself whenever it is
// cut, and has missed nothing.
func TestNodeEventSource(t *testing.T) {
	t.Parallel()
	node := nodeWith("typeof EventSource === 'function'")
	if node == nil {
		t.Skip("there is no Node, or it has no EventSource")
	}
	const count = 60
	room := tcproom.New(tcproom.WithHistory(tcproom.History{}))
	proxy, url := cut(t, serveWeb(t, room), 3000) // few, for it waits for two seconds each time
	p := start(t, append(node, filepath.Join("testdata", "interop", "ws_peer.js"), "builtin", url+"/rooms/lobby/events", "events", fmt.Sprint(count))...)
	for i := range count {
		if i == count/2 { // the other half is not history
			waitLen(t, testContext(t), room, 1)
		}
		_, err := room.Broadcast(t.Context(), fmt.Appendf(nil, "%d", i))
		require.NoError(t, err)
	}
	for i := range count {
		var got struct {
			ID, Body string
			Gap      bool
		}
		p.next(&got)
		require.False(t, got.Gap)
		require.Equal(t, fmt.Sprint(i), got.Body)
		require.Contains(t, got.ID, ":")
	}
	p.end()
	require.NotZero(t, proxy.cuts.Load())
}

// A placed is a message with its place in the order.
type placed struct {
	seq  uint64
	body string
}

func requireAll(t *testing.T, want, got []placed) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		require.Equal(t, want[i], got[i], "message %d", i)
	}
	require.Len(t, got, len(want))
}

func except(all []placed, name string) (rest []placed) {
	for _, p := range all {
		if !strings.HasPrefix(p.body, name+" ") {
			rest = append(rest, p)
		}
	}
	return rest
}

// A talker is a member over WebSocket that numbers its messages, and resumes whenever
// its connection ends.
type talker struct {
	name        string
	each, want  int
	joined      func()        // called once
	all         chan struct{} // closed when all have joined
	got         []placed
	connections int

	token, epoch string
	pos          uint64 // the position that the next hello names
	acked        int    // messages
}

func (m *talker) run(ctx context.Context, url string) error {
	for len(m.got) < m.want || m.acked < m.each {
		m.connections++
		if err := m.connect(ctx, url); err != nil {
			return fmt.Errorf("%s, over %d connections, received %d and has %d acks: %w", m.name, m.connections, len(m.got), m.acked, err)
		}
	}
	return nil
}

// connect stays connected for as long as it goes, or until all is done. It returns an
// error if something is wrong.
func (m *talker) connect(ctx context.Context, url string) error {
	c, _, err := websocket.Dial(ctx, wsURL(url), nil)
	if err != nil {
		return ctx.Err()
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.CloseNow()
	h := hello{Type: "hello", Name: m.name}
	if m.token != "" {
		h.Resume = &resume{m.token, m.epoch, m.pos}
	}
	b, _ := json.Marshal(h)
	if c.Write(ctx, websocket.MessageText, b) != nil {
		return ctx.Err()
	}
	for len(m.got) < m.want || m.acked < m.each {
		_, b, err := c.Read(ctx)
		if err != nil {
			return ctx.Err()
		}
		var ev said
		if err := json.Unmarshal(b, &ev); err != nil {
			// This reader takes a cut between the reads of a message for the message's
			// end. Then nothing follows.
			if _, _, ended := c.Read(ctx); ended != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: %q", err, b)
		}
		switch ev.Type {
		case "welcome":
			if (ev.Outcome == "resumed") != (m.token != "") {
				return fmt.Errorf("the outcome is %q", ev.Outcome)
			}
			if m.token == "" {
				m.pos = ev.Seq
				m.joined()
			}
			m.token, m.epoch = ev.Token, ev.Epoch
			first := m.acked + 1 // from now on it reads, and a message may be acknowledged
			sending.Go(func() { m.send(ctx, c, first) })
		case "message":
			if ev.From.Name == m.name {
				return errors.New("an echo")
			}
			m.got = append(m.got, placed{ev.Seq, ev.Body})
		case "ack":
			if id, _ := ev.ID.(float64); int(id) > m.acked {
				if int(id) != m.acked+1 {
					return fmt.Errorf("an ack of %v behind that of %d", ev.ID, m.acked)
				}
				m.acked++
			}
		case "join", "leave":
		default:
			return fmt.Errorf("said: %s", b)
		}
		if ev.Type != "welcome" {
			m.pos = max(m.pos, ev.Seq)
		}
	}
	c.Close(websocket.StatusNormalClosure, "") // which may be cut too
	return nil
}

// send sends what is not acknowledged, one after the other, until the connection ends.
// It begins when all have joined.
func (m *talker) send(ctx context.Context, c *websocket.Conn, first int) {
	select {
	case <-m.all:
	case <-ctx.Done():
	}
	for i := first; i <= m.each; i++ {
		b, _ := json.Marshal(map[string]any{"type": "message", "id": i, "body": fmt.Sprintf("%s %d", m.name, i)})
		if c.Write(ctx, websocket.MessageText, b) != nil {
			return
		}
	}
}

// A reading is of events, over many connections.
type reading struct {
	want        int
	got         []placed
	connections int
	last        string // the ID of the last event
}

func (r *reading) run(ctx context.Context, url string) error {
	for len(r.got) < r.want {
		r.connections++
		if err := r.connect(ctx, url); err != nil {
			return fmt.Errorf("events: %w", err)
		}
	}
	return nil
}

func (r *reading) connect(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/rooms/lobby/events", nil)
	if err != nil {
		return err
	}
	if r.last != "" {
		req.Header.Set("Last-Event-ID", r.last)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return ctx.Err()
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for len(r.got) < r.want {
		b, ok := readBlock(lines)
		if !ok {
			return ctx.Err()
		}
		if b.id != "" {
			r.last = b.id
		}
		if b.data == "" {
			continue
		}
		var ev said
		if err := json.Unmarshal([]byte(b.data), &ev); err != nil {
			return err
		}
		switch ev.Type {
		case "message":
			r.got = append(r.got, placed{ev.Seq, ev.Body})
		case "welcome", "join", "leave":
		default:
			return fmt.Errorf("said: %s", b.data)
		}
	}
	return nil
}
