package roomnats_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
	"example.com/tcproom/roomtest"
)

// A site is a process of the one room that these tests have, as far as it can be one
// inside a test: it has a connection to the server of its own, and a way there that can
// be cut.
type site struct {
	*roomtest.Server
	nc  *nats.Conn
	way *natstest.Forwarder
}

// settings of a site.
type settings struct {
	nats []nats.Option
	log  []roomnats.Option
	room []tcproom.RoomOption
}

// newSite starts a site, which is ready when it returns.
func newSite(t testing.TB, s *natstest.Server, set settings) *site {
	t.Helper()
	way := natstest.Forward(t, s.Addr())
	nc := dial(t, way.URL(), set.nats...)
	return &site{newNode(t, nc, set), nc, way}
}

// newNode starts a part of the room on a connection.
func newNode(t testing.TB, nc *nats.Conn, set settings) *roomtest.Server {
	t.Helper()
	order, err := roomnats.Open(t.Context(), nc, "lobby", usual(set.log...)...)
	require.NoError(t, err)
	t.Cleanup(func() { order.Close() })
	srv := roomtest.NewMemServer(t, append([]tcproom.RoomOption{tcproom.WithLog(order), tcproom.WithCodec(tcproom.JSON{})}, set.room...)...)
	srv.Within(patience)
	ready(t, srv)
	return srv
}

func newSites(t testing.TB, s *natstest.Server, n int, set settings) (list []*site) {
	t.Helper()
	for range n {
		list = append(list, newSite(t, s, set))
	}
	return list
}

// ready waits until a room is.
func ready(t testing.TB, srv *roomtest.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for srv.Room.Ready(ctx) != nil {
		require.NoError(t, ctx.Err())
		time.Sleep(10 * time.Millisecond)
	}
}

// nodeOf returns what IDs begin with of those that join at a site: its node's name, which
// is another one if it was taken for dead. While nobody can join it waits.
func nodeOf(t testing.TB, srv *roomtest.Server) string {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		m, err := srv.TryJoin("visitor")
		if err == nil {
			node, _, _ := strings.Cut(m.Welcome.From.ID, "-")
			m.Leave()
			return node
		}
		if time.Now().After(end) {
			t.Fatalf("nobody can join: %v", err)
		}
	}
}

// said returns how often a site has seen a message.
func said(srv *roomtest.Server, body string) (n int) {
	for _, ev := range srv.Transcript().Events() {
		if ev.Kind == tcproom.Message && string(ev.Body) == body {
			n++
		}
	}
	return n
}

// leaves returns how often a site has seen somebody leave.
func leaves(srv *roomtest.Server, name string) (n int) {
	for _, ev := range srv.Transcript().Events() {
		if ev.Kind == tcproom.Leave && ev.From.Name == name {
			n++
		}
	}
	return n
}

// A tape is a Client with all that it has received.
type tape struct {
	*tcproom.Client
	t testing.TB

	mu     sync.Mutex // guards what follows
	events []tcproom.Event
	gone   map[string]bool // addresses at which nothing listens any more
	conn   net.Conn
}

// record starts a client of the sites, which dials the first one first.
func record(t testing.TB, name string, at ...*site) *tape {
	t.Helper()
	return recordWith(t, name, at)
}

func recordWith(t testing.TB, name string, at []*site, opts ...tcproom.DialOption) *tape {
	t.Helper()
	tp := &tape{t: t, gone: make(map[string]bool)}
	addrs := numbered("site:", 1, len(at))
	tp.Client = tcproom.NewClient(t.Context(), addrs[0], append(opts,
		tcproom.Addresses(addrs[1:]...), tcproom.WithName(name),
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithBackoff(time.Millisecond, 100*time.Millisecond),
		tcproom.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			tp.mu.Lock()
			defer tp.mu.Unlock()
			if tp.gone[addr] {
				return nil, fmt.Errorf("nothing listens at %s", addr)
			}
			srv := at[slices.Index(addrs, addr)]
			nc, err := srv.Net.Dial(ctx, network, srv.Addr)
			tp.conn = nc
			return nc, err
		}))...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev, err := range tp.Events(context.Background()) {
			if err != nil {
				return
			}
			tp.mu.Lock()
			tp.events = append(tp.events, ev)
			tp.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		for _, addr := range addrs { // a site that has no log would let it wait for its goodbye
			tp.lose(addr)
		}
		tp.Close()
		<-done
	})
	return tp
}

// lose breaks the client's connection, and nothing listens at that address any more.
func (tp *tape) lose(addr string) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.gone[addr] = true
	if tp.conn != nil {
		tp.conn.Close()
	}
}

func (tp *tape) all() []tcproom.Event {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return slices.Clone(tp.events)
}

// await waits until an event is there that is as is says, and returns it with its index.
func (tp *tape) await(what string, is func(ev tcproom.Event) bool) (int, tcproom.Event) {
	tp.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		events := tp.all()
		if i := slices.IndexFunc(events, is); i >= 0 {
			return i, events[i]
		}
		if time.Now().After(end) {
			tp.t.Fatalf("%s does not come: %v, %s", what, tp.Err(), tp.text())
		}
	}
}

func (tp *tape) awaitMessage(body string) {
	tp.t.Helper()
	tp.await(body, func(ev tcproom.Event) bool { return ev.Kind == tcproom.Message && string(ev.Body) == body })
}

// welcome waits for a welcome that is as is says.
func (tp *tape) welcome(is func(w *tcproom.WelcomeInfo) bool) (int, tcproom.Event) {
	tp.t.Helper()
	return tp.await("the welcome", func(ev tcproom.Event) bool { return ev.Kind == tcproom.Welcome && is(ev.Welcome) })
}

func anyWelcome(*tcproom.WelcomeInfo) bool { return true }

// text returns what has come, with a line for each event.
func (tp *tape) text() string {
	var b strings.Builder
	for _, ev := range tp.all() {
		fmt.Fprintf(&b, "\n%d %v %s %.40s", ev.Seq, ev.Kind, ev.From.Name, ev.Body)
		if ev.Welcome != nil {
			fmt.Fprintf(&b, " %s %s", ev.Welcome.Outcome, ev.Welcome.Epoch)
		}
		if ev.Kind == tcproom.Gap {
			fmt.Fprintf(&b, " %+v", ev.Gap)
		}
	}
	return b.String()
}
