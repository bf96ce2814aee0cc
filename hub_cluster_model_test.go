package tcproom_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A hubNode is a node's life.
type hubNode struct {
	hub        *tcproom.Hub
	link       *roomtest.Backplane
	json, text string
	serving    sync.WaitGroup
	leaves     bool // nobody is to come any more; guarded by the lock of the world
	down       bool // without a word; guarded by that too
}

// A hubWorld is several nodes of one hub, and those who travel there.
type hubWorld struct {
	*storm
	*atlas
	log    *roomtest.Log
	net    roomtest.Network
	grace  time.Duration
	linger time.Duration
	opts   []tcproom.HubOption
	often  int            // of 24 things that a program does, so many more end a room
	lags   bool           // nodes read the log late now and then
	ending sync.WaitGroup // of rooms

	nodesMu sync.Mutex
	nodes   []*hubNode
	dialled map[string]*hubNode // by the address that it was dialled from
	quiet   *quiet              // nil: not yet
}

func (w *hubWorld) start() *hubNode {
	n := &hubNode{link: w.log.Attach()}
	dead := func() bool { w.nodesMu.Lock(); defer w.nodesMu.Unlock(); return n.down }
	opts := append(w.opts[:len(w.opts):len(w.opts)], tcproom.WithBackplane(n.link), tcproom.WithRoomOptions(w.node(dead)))
	n.hub = tcproom.NewHub(opts...)
	serve := func(codec tcproom.Codec) string {
		l, err := w.net.Listen("")
		require.NoError(w.storm.t, err)
		n.serving.Go(func() { n.hub.Serve(l, tcproom.WithCodec(codec)) })
		return l.Addr().String()
	}
	n.json, n.text = serve(tcproom.JSON{}), serve(tcproom.Text{Commands: true})
	require.NoError(w.storm.t, n.hub.Ready(testContext(w.storm.t)))
	return n
}

// any returns a node that runs.
func (w *hubWorld) any() *hubNode {
	w.nodesMu.Lock()
	defer w.nodesMu.Unlock()
	for {
		if n := w.nodes[rand.IntN(len(w.nodes))]; !n.leaves {
			return n
		}
	}
}

// crash ends a node without a word, and starts another one in its place after a while.
func (w *hubWorld) crash(i int) {
	w.nodesMu.Lock()
	n := w.nodes[i]
	n.leaves, n.down = true, true
	n.link.Cut()
	w.nodesMu.Unlock()
	n.hub.Close()
	n.serving.Wait()
	n.link.Close()
	time.Sleep(10 * time.Second)
	next := w.start()
	w.nodesMu.Lock()
	w.nodes[i] = next
	w.nodesMu.Unlock()
}

// restart stops a node in good order, and starts another one in its place.
func (w *hubWorld) restart(i int) {
	w.nodesMu.Lock()
	n := w.nodes[i]
	n.leaves = true
	w.nodesMu.Unlock()
	n.hub.Shutdown(testContext(w.storm.t))
	n.serving.Wait()
	n.link.Close()
	next := w.start()
	w.nodesMu.Lock()
	w.nodes[i] = next
	w.nodesMu.Unlock()
}

// stalls has a node get nothing of the log for a while, again and again.
func (w *hubWorld) stalls(r *rand.Rand, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-time.After(time.Duration(r.IntN(3000)) * time.Millisecond):
		}
		n := w.any()
		n.link.Stall()
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
		w.nodesMu.Lock()
		if !n.down {
			n.link.Heal()
		}
		w.nodesMu.Unlock()
	}
}

// rule is what programs do at nodes.
func (w *hubWorld) rule(r *rand.Rand, done <-chan struct{}) {
	ctx := context.Background()
	for said := 1; ; said++ {
		select {
		case <-done:
			return
		case <-time.After(time.Duration(r.IntN(200)) * time.Millisecond):
		}
		node := w.any()
		hub := node.hub
		name, to := pickOf(r, stormRooms), pickOf(r, stormRooms)
		room, ok := hub.Lookup(name)
		base := pickMember(r, hub.All())
		if !ok || base == nil {
			continue
		}
		m := pickMember(r, room)
		switch n := r.IntN(24 + w.often); {
		case n < 6:
			w.broadcasts(room, fmt.Sprintf("hub-%d", said))
		case n >= 24:
			how, again := r.IntN(3), r.IntN(2) == 0
			w.ending.Go(func() { w.ends(node, room, how, again) })
		case n == 6:
			hub.All().Broadcast(ctx, fmt.Appendf(nil, "all %d", said))
		case n < 9:
			hub.Enter(ctx, base, name)
		case n == 9:
			hub.Tell(ctx, nil, base.ID(), []byte("psst"))
		case m == nil:
		case n < 13:
			hub.Move(ctx, m, to)
		case n == 13:
			m.Kick("out")
		case n == 14:
			base.Kick("out of all")
		case n < 17:
			hub.Rename(m, fmt.Sprintf("n%d", w.names.Add(1)))
		case n == 17:
			room.Mute(m.ID(), time.Now().Add(time.Second))
		case n == 18:
			w.bans(hub, tcproom.Ban{Room: name, Name: m.Name()})
		case n == 19:
			w.bans(hub, tcproom.Ban{Name: m.Name()})
		}
	}
}

// bans bans for a moment, and looks.
func (w *hubWorld) bans(hub *tcproom.Hub, b tcproom.Ban) {
	r := hub.All()
	if b.Room != "" {
		r, _ = hub.Lookup(b.Room)
	}
	if _, err := hub.Ban(b); err != nil || r == nil {
		return
	}
	for m := range r.Members() {
		if m.Name() == b.Name {
			w.atlas.fail("H7: %s is in %q, and %v", m.Name(), r.Name(), b)
		}
	}
	hub.Unban(b)
}

// travels does things at any node.
func (w *hubWorld) travels(v *traveller, steps int) {
	v.begin()
	for range steps {
		time.Sleep(time.Duration(v.IntN(300)) * time.Millisecond)
		switch n := v.IntN(40); {
		case n < 18:
			v.say()
		case n < 35:
			v.ask()
		case n < 38:
			v.resume(false)
		case n == 38:
			v.resume(true)
		default:
			v.write(map[bool]string{true: "/quit", false: `{"type":"goodbye"}`}[v.text])
			v.hangUp()
			v.begin()
		}
	}
	v.learn()
}

// TestHubClusterModel has 8 connections and the programs of 3 nodes do what they can in
// several rooms at once, while nodes crash and are restarted, and rooms are ended and made
// again. It holds what each connection got against the orders of the rooms.
func TestHubClusterModel(t *testing.T) {
	seed, n := uint64(time.Now().UnixNano()), uint64(times(2, 100))
	if s := os.Getenv("TCPROOM_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
		n = 1
	}
	for i := range n {
		inBubble(fmt.Sprintf("seed %d", seed+i), t, func(t *testing.T) { runHubCluster(t, seed+i) })
	}
}

func runHubCluster(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	w := newHubWorld(t, r)
	for range 3 {
		n := w.start()
		n.link.Delay(time.Duration(r.IntN(3)) * time.Millisecond)
		w.nodes = append(w.nodes, n)
	}
	travellers := w.live(seed, r)
	time.Sleep(3*15*time.Second + 2*w.grace + w.linger)
	w.settles()
	for _, n := range w.nodes {
		n.hub.Shutdown(testContext(t))
		n.serving.Wait()
		n.link.Close()
	}
	for _, v := range travellers {
		v.hangUp()
	}
	w.split()
	w.atlas.checkOrders()
	if !w.lags { // else what was said in a room that a resume does not name has its place late, see H8
		w.atlas.checkSpoken()
	}
	w.checkEnds()
	for m, n := range w.hooks {
		if n != 0 {
			w.atlas.fail("P8: no OnLeave of %v in %s", m.Info(), m.Room().Name())
		}
	}
	for _, v := range travellers {
		w.judge(v)
	}
	require.Empty(t, w.atlas.faults[:min(len(w.atlas.faults), 10)])
}

func newHubWorld(t *testing.T, r *rand.Rand) *hubWorld {
	a := &atlas{chronicle: &chronicle{}, seqs: map[string][]uint64{}, streams: map[string][]*lifetime{}, rooms: map[string]*course{}, hooks: map[*tcproom.Member]int{}, removed: map[string]int{}}
	w := &hubWorld{storm: &storm{chronicle: a.chronicle, t: t, ids: map[string]string{}, json: "json", text: "text"}, atlas: a, log: roomtest.NewLog(), grace: 20 * time.Second, dialled: map[string]*hubNode{}}
	w.dial = func(addr string) (net.Conn, error) {
		n := w.any()
		nc, err := w.net.Dial(t.Context(), "tcp", map[string]string{"json": n.json, "text": n.text}[addr])
		if err == nil {
			w.nodesMu.Lock()
			w.dialled[nc.LocalAddr().String()] = n
			w.nodesMu.Unlock()
		}
		return nc, err
	}
	w.ended = func(tr *trip, addr string) {
		w.nodesMu.Lock()
		defer w.nodesMu.Unlock()
		tr.stops, tr.quiet = w.dialled[addr].leaves, w.quiet
	}
	w.often, w.lags = pickOf(r, []int{0, 1, 4}), r.IntN(2) == 0
	linger := pickOf(r, []time.Duration{-1, time.Second, time.Minute})
	w.linger = max(linger, 0)
	w.opts = []tcproom.HubOption{
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: w.grace}),
		tcproom.WithRoomLinger(linger), tcproom.WithUniqueNames(r.IntN(2) == 0),
		tcproom.OnConnect(func(m *tcproom.Member) error {
			w.idsMu.Lock()
			defer w.idsMu.Unlock()
			if !m.Remote() && m.Hello().Name == "" {
				w.ids[m.RemoteAddr().String()] = m.ID()
			}
			return nil
		}),
	}
	if r.IntN(2) == 0 {
		w.opts = append(w.opts, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil }))
	}
	if r.IntN(2) == 0 {
		w.opts = append(w.opts, tcproom.OnJoined(func(*tcproom.Member, uint64) {}))
	}
	return w
}

// live has everybody do what they do, until the travellers have had enough.
func (w *hubWorld) live(seed uint64, r *rand.Rand) (travellers []*traveller) {
	var travelling, ruling sync.WaitGroup
	done := make(chan struct{})
	for i := range 8 {
		v := &traveller{storm: w.storm, Rand: rand.New(rand.NewPCG(seed, uint64(i)+2)), name: fmt.Sprintf("t%d", i), text: i%4 == 3, labelled: true}
		travellers = append(travellers, v)
		travelling.Go(func() { w.travels(v, 150) })
	}
	ruling.Go(func() { w.rule(rand.New(rand.NewPCG(seed, 100)), done) })
	ruling.Go(func() {
		for i := range 4 {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(r.IntN(8000)) * time.Millisecond):
			}
			if i%2 == 0 {
				w.crash(r.IntN(3))
			} else {
				w.restart(r.IntN(3))
			}
		}
	})
	if w.lags {
		ruling.Go(func() { w.stalls(rand.New(rand.NewPCG(seed, 101)), done) })
	}
	travelling.Wait()
	close(done)
	ruling.Wait()
	w.ending.Wait()
	return travellers
}

// judge holds what a traveller got against the orders of the rooms.
func (w *hubWorld) judge(v *traveller) {
	t := w.storm.t
	if slices.ContainsFunc(w.atlas.faults, func(fault string) bool { return strings.Contains(fault, v.name+".") }) {
		for _, tr := range v.trips {
			t.Logf("%s from %v (id %q):\n%s", tr.name, tr.from, tr.id, strings.Join(tr.lines, "\n"))
		}
	}
	for i, tr := range v.trips {
		before := len(w.atlas.faults)
		raw := slices.Clone(tr.lines)
		w.dense(tr)
		w.atlas.follow(tr)
		if len(w.atlas.faults) > before {
			t.Logf("%s from %v (id %q):\n%s\n%v", tr.name, tr.from, tr.id, strings.Join(raw, "\n"), w.atlas.faults[before:])
			if i > 0 {
				t.Logf("before that, from %v:\n%s", v.trips[i-1].from, strings.Join(v.trips[i-1].lines, "\n"))
			}
		}
	}
}

// agree checks that all nodes know of the same members, and that each of these is in "*",
// by the same name. H5: who is in a room is in the hub.
func (w *hubWorld) agree() {
	who := func(r *tcproom.Room) (list []tcproom.MemberInfo) {
		for m := range r.Members() {
			list = append(list, m.Info())
		}
		slices.SortFunc(list, func(a, b tcproom.MemberInfo) int { return cmp.Compare(a.ID, b.ID) })
		return list
	}
	want := map[string][]tcproom.MemberInfo{}
	for _, n := range w.nodes {
		all := who(n.hub.All())
		if was, ok := want["*"]; ok && !slices.Equal(was, all) {
			w.atlas.fail("nodes do not agree who is there: %v and %v", was, all)
		}
		want["*"] = all
		for name, r := range n.hub.Rooms("") {
			in := who(r)
			if was, ok := want[name]; ok && !slices.Equal(was, in) {
				w.atlas.fail("nodes do not agree who is in %s: %v and %v", name, was, in)
			}
			want[name] = in
			for _, m := range in {
				if !slices.Contains(all, m) {
					w.atlas.fail("H1: %v is in %s, and there are %v", m, name, all)
				}
			}
		}
	}
}
