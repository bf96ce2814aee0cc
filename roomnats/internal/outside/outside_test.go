//go:build unix

package outside

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seed   = flag.Uint64("outside.seed", 0, "of the faults; 0: any")
	length = flag.Duration("outside.for", 0, "how long there are faults; 0: 10 s, or 4 s with -short; longer if there was not a fault of each kind")
	keep   = flag.String("outside.keep", "", "a directory for what the processes have written")
	which  = flag.String("outside.faults", "all", "node, server, way, all or none")
)

// A world is a server, three nodes, and their clients.
type world struct {
	t      testing.TB
	server *process
	nodes  []*process
	ways   []*forwarder // from each node to the server
	addrs  []string
	grace  time.Duration
	began  time.Time

	gaps, expired, resumed atomic.Int64

	mu     sync.Mutex // guards what follows
	faults []string
	counts map[string]int
	log    strings.Builder
}

// fail notes that a promise was broken.
func (w *world) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.logf("FAULT %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, text)
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

func (w *world) logf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(&w.log, "%s "+format+"\n", append([]any{time.Now().Format(clock)}, args...)...)
}

const (
	lease  = 2 * time.Second
	grace  = 6 * time.Second
	outage = 4 * time.Second
)

// startServer starts a NATS server.
func startServer(t testing.TB) (p *process, url string) {
	t.Helper()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	n := natsRole{Store: t.TempDir()}
	fmt.Sscan(port, &n.Port)
	p = newProcess(t, "server", role{NATS: &n})
	require.True(t, p.start(20*time.Second), "the server starts")
	return p, "nats://" + addr
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, grace: grace, began: time.Now(), counts: make(map[string]int)}
	t.Cleanup(func() {
		if t.Failed() {
			dump(t, "world", []byte(w.log.String()))
		}
	})
	server, url := startServer(t)
	w.server = server
	addr := strings.TrimPrefix(url, "nats://")
	for i := range 3 {
		at, way := freeAddr(t), newForwarder(t, addr)
		w.ways = append(w.ways, way)
		w.addrs = append(w.addrs, at)
		w.nodes = append(w.nodes, newProcess(t, fmt.Sprintf("node%d", i), role{Rooms: &roomsRole{
			URL: "nats://" + way.addr, Names: [][]byte{[]byte("lobby")}, Addrs: []string{at},
			Lease: lease, Grace: grace, Outage: outage, Drain: 300 * time.Millisecond,
		}}))
	}
	w.startAll()
	return w
}

func (w *world) startAll() {
	var all sync.WaitGroup
	for _, n := range w.nodes {
		all.Go(func() { w.startNode(n) })
	}
	all.Wait()
}

// startNode starts a node, again if it cannot, because the server is away.
func (w *world) startNode(n *process) {
	for try := range 30 {
		if n.start(20 * time.Second) {
			return
		}
		w.logf("%s does not start, try %d", n.name, try)
		n.end(syscall.SIGKILL)
		time.Sleep(200 * time.Millisecond)
	}
	w.fail("%s does not start", n.name)
}

// A fault breaks something, and mends it before it returns.
type fault struct {
	name string
	of   *process
	do   func()
}

// kinds are what may happen. A pause is shorter than a lease, and a stop longer.
var kinds = []string{
	"kill node", "end node", "pause node", "stop node", "kill server", "end server", "pause server", "stop server", "cut way", "block way",
}

// chosen returns the kinds that the flag wants.
func chosen() (list []string) {
	for _, k := range kinds {
		if *which == "all" || strings.HasSuffix(k, " "+*which) {
			list = append(list, k)
		}
	}
	return list
}

// ms returns a time of so many milliseconds; with -short it is nearer to the least.
func ms(rng *rand.Rand, from, to int) time.Duration {
	if testing.Short() {
		to = from + (to-from)/4
	}
	return time.Duration(from+rng.IntN(to-from)) * time.Millisecond
}

// fault makes one of a kind, of any node that is concerned.
func (w *world) fault(rng *rand.Rand, kind string) fault {
	const held = int(lease / time.Millisecond)
	i := rng.IntN(len(w.nodes))
	what, of, _ := strings.Cut(kind, " ")
	p, way := w.nodes[i], w.ways[i]
	start := func() { w.startNode(p) }
	if of == "server" {
		p = w.server
		start = func() {
			if !p.start(20 * time.Second) {
				w.fail("the server does not start again")
			}
		}
	}
	how := map[string]struct {
		from, to   int
		begin, end func()
	}{
		"kill":  {0, 2500, func() { p.end(syscall.SIGKILL) }, start},
		"end":   {0, 2500, func() { p.end(syscall.SIGTERM) }, start},
		"pause": {200, held * 3 / 4, func() { p.signal(syscall.SIGSTOP) }, func() { p.signal(syscall.SIGCONT) }},
		"stop":  {held + 500, held + 4000, func() { p.signal(syscall.SIGSTOP) }, func() { p.signal(syscall.SIGCONT) }},
		"cut":   {0, 6000, way.cut, way.heal},
		"block": {200, 8000, func() { way.stop(true) }, func() { way.stop(false) }},
	}[what]
	pause := ms(rng, how.from, how.to)
	return fault{fmt.Sprintf("%s of %s for %v", kind, p.name, pause), p, func() {
		how.begin()
		time.Sleep(pause)
		how.end()
	}}
}

// disturb brings faults, at most two at a time, until d is over and there was one of each
// kind; when it returns all is mended.
func (w *world) disturb(rng *rand.Rand, d time.Duration) {
	var all sync.WaitGroup
	var mu sync.Mutex
	busy := make(map[*process]bool)
	if *which == "none" {
		time.Sleep(d)
		return
	}
	deck := chosen()
	for first, end := len(deck), time.Now().Add(d); first > 0 || time.Now().Before(end); {
		if len(deck) == 0 {
			deck = chosen()
		}
		time.Sleep(ms(rng, 0, 1500))
		n := rng.IntN(len(deck))
		f := w.fault(rng, deck[n])
		mu.Lock()
		free := len(busy) < 2 && !busy[f.of]
		if free {
			busy[f.of] = true
		}
		mu.Unlock()
		if !free {
			continue
		}
		w.logf("%s", f.name)
		w.count(deck[n])
		deck, first = slices.Delete(deck, n, n+1), first-1
		all.Go(func() {
			f.do()
			w.logf("over: %s", f.name)
			mu.Lock()
			delete(busy, f.of)
			mu.Unlock()
		})
	}
	all.Wait()
}

// TestOutside: clients that talk with three nodes get one order without loss, whatever
// happens to the nodes and to the server.
func TestOutside(t *testing.T) {
	w := newWorld(t)
	if *seed == 0 && testing.Short() {
		*seed = 1
	}
	if *seed == 0 {
		*seed = 1 + rand.Uint64N(1_000_000)
	}
	if *length == 0 {
		*length = 10 * time.Second
		if testing.Short() {
			*length = 4 * time.Second
		}
	}
	t.Logf("seed %d, for %v", *seed, *length)
	rng := rand.New(rand.NewPCG(*seed, 0))
	ended := make(chan struct{})
	var clients []*client
	var all sync.WaitGroup
	for i := range 20 {
		c := &client{name: fmt.Sprintf("c%02d", i), w: w, rng: rand.New(rand.NewPCG(*seed, uint64(i+1)))}
		clients = append(clients, c)
		all.Go(func() { c.run(ended) })
	}
	w.disturb(rng, *length)
	w.logf("no more faults")
	for _, c := range clients {
		c.quiet.Store(true)
	}
	calm := w.await(20*time.Second, func() string { return each(clients, "not calm", func(c *client) bool { return c.calm.Load() }) })
	if calm {
		w.logf("last words")
		for _, c := range clients {
			c.last.Store(true)
		}
		w.await(10*time.Second, func() string {
			return each(clients, "has not got all last words", func(c *client) bool { return c.heard.Load() == int64(len(clients)-1) })
		})
	}
	w.logf("leave")
	for _, c := range clients {
		c.over.Store(true)
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		w.fail("not all clients could leave")
		close(ended)
		<-done
	}
	w.ghosts()
	var lives []*life
	for _, c := range clients {
		lives = append(lives, c.lives...)
	}
	w.verify(lives)
	for _, kind := range chosen() {
		require.Positive(t, w.counts[kind], kind)
	}

	events, acked := 0, 0
	for _, l := range lives {
		events += len(l.events)
		acked += len(l.sent) - len(l.unacked)
	}
	t.Logf("%v: %d lives, %d events, %d acked; resumed %d, expired %d, gaps %d; %v", time.Since(w.began).Round(time.Millisecond),
		len(lives), events, acked, w.resumed.Load(), w.expired.Load(), w.gaps.Load(), w.counts)
	slices.Sort(w.faults)
	for i, f := range slices.Compact(w.faults) {
		if i == 30 {
			t.Errorf("… of %d", len(w.faults))
			break
		}
		t.Error(f)
	}
}

func each(clients []*client, what string, is func(*client) bool) string {
	var not []string
	for _, c := range clients {
		if !is(c) {
			not = append(not, c.name)
		}
	}
	if len(not) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %v", what, not)
}

// await waits until is returns nothing, and notes what it returned last if that takes too
// long.
func (w *world) await(most time.Duration, is func() string) bool {
	for end := time.Now().Add(most); ; time.Sleep(20 * time.Millisecond) {
		why := is()
		if why == "" {
			return true
		}
		if time.Now().After(end) {
			w.fail("after %v: %s", most, why)
			return false
		}
	}
}

// ghosts looks at each node for members that nobody is.
func (w *world) ghosts() {
	var there []string
	ok := w.await(grace+lease+6*time.Second, func() string {
		there = nil
		for i, addr := range w.addrs {
			f, err := look(addr)
			if err != nil {
				return fmt.Sprintf("node %d lets nobody in: %v", i, err)
			}
			for _, m := range f.Members {
				if !strings.HasPrefix(m.Name, "looker") {
					there = append(there, fmt.Sprintf("%s (%s) at node %d", m.Name, m.ID, i))
				}
			}
		}
		if len(there) > 0 {
			time.Sleep(200 * time.Millisecond)
			return fmt.Sprintf("ghosts: %v", there)
		}
		return ""
	})
	w.logf("no ghosts: %v", ok)
}

func newVisitor(addr string) *client {
	return &client{w: &world{addrs: []string{addr}}, rng: rand.New(rand.NewPCG(0, 0)), name: "looker"}
}

// look joins, and leaves again.
func look(addr string) (*frame, error) {
	c := newVisitor(addr)
	if err := c.dial(); err != nil {
		return nil, err
	}
	defer c.conn.Close()
	c.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	line, ok := <-c.lines
	if !ok {
		return nil, io.EOF
	}
	var f frame
	if err := decode(line, &f); err != nil {
		return nil, err
	}
	if f.Type != "welcome" {
		return nil, fmt.Errorf("%s", line)
	}
	return &f, c.write(map[string]any{"type": "goodbye"})
}

// verify looks at all that the lives were told.
func (w *world) verify(lives []*life) {
	epochs := make(map[string][]*life)
	for _, l := range lives {
		epochs[l.epoch] = append(epochs[l.epoch], l)
	}
	if len(epochs) > 1 {
		w.fail("there are %d epochs, and the log was never lost", len(epochs))
	}
	bodies := make(map[string]uint64)
	for _, lives := range epochs {
		w.verifyEpoch(lives, bodies)
	}
	for _, l := range lives {
		for _, s := range l.sent {
			if _, is := bodies[s.body]; !is && !s.acked.IsZero() {
				w.fail("%q of %s was acknowledged (seq %d), and nobody got it", s.body, l.id, s.seq)
			}
		}
	}
}

func (w *world) verifyEpoch(lives []*life, bodies map[string]uint64) {
	order := make(map[uint64]event)
	add := func(l *life, e event) {
		o, is := order[e.seq]
		switch {
		case !is:
			order[e.seq] = e
			return
		case o.time.IsZero():
			o.time = e.time
			order[e.seq] = o
		case e.time.IsZero():
			e.time = o.time
		}
		if o.kind != e.kind || o.id != e.id || o.name != e.name || o.body != e.body || !o.time.Equal(e.time) && !e.time.IsZero() {
			w.fail("two events have seq %d: %+v, and for %s %+v", e.seq, o, l.id, e)
		}
	}
	for _, l := range lives {
		add(l, event{seq: l.join, kind: "join", id: l.id, name: l.name})
		for _, e := range l.events {
			add(l, e)
		}
		for _, s := range l.sent {
			if s.seq != 0 {
				add(l, event{seq: s.seq, kind: "message", id: l.id, name: l.name, body: s.body})
			}
		}
	}
	seqs := slices.Sorted(maps.Keys(order))
	w.verifyStory(seqs, order, bodies)
	for _, l := range lives {
		w.verifyWhole(l, seqs, order)
	}
	w.verifyExpiries(lives, seqs, order)
	w.verifyRosters(lives, seqs, order)
	w.verifyRealTime(lives, bodies)
}

// verifyStory: joins and leaves alternate, members alone speak, each message is there
// once, and time does not fall.
func (w *world) verifyStory(seqs []uint64, order map[uint64]event, bodies map[string]uint64) {
	joined, left := make(map[string]uint64), make(map[string]uint64)
	number := make(map[string]uint64)
	var last event
	for _, seq := range seqs {
		e := order[seq]
		if !e.time.IsZero() {
			if e.time.Before(last.time) {
				w.fail("time falls: %+v after %+v", e, last)
			}
			last = e
		}
		if at := left[e.id]; at != 0 {
			w.fail("%s of %s at %d, which has left at %d", e.kind, e.id, seq, at)
		}
		switch e.kind {
		case "join":
			if at := joined[e.id]; at != 0 {
				w.fail("%s joins at %d, and has joined at %d", e.id, seq, at)
			}
			joined[e.id] = seq
		case "leave":
			left[e.id] = seq
			fallthrough
		default:
			if joined[e.id] == 0 {
				w.fail("%s of %s at %d, whose join nobody got", e.kind, e.id, seq)
				joined[e.id] = seq
			}
		}
		if e.kind != "message" {
			continue
		}
		if at, is := bodies[e.body]; is {
			w.fail("%q is there twice, at %d and %d", e.body, at, seq)
		}
		bodies[e.body] = seq
		var kind, id string
		var n uint64
		if _, err := fmt.Sscan(e.body, &kind, &id, &n); err != nil || id != e.id {
			w.fail("%q is of %s: %v", e.body, e.id, err)
		}
		if n <= number[e.id] {
			w.fail("%q at %d comes behind number %d of %s", e.body, seq, number[e.id], e.id)
		}
		number[e.id] = n
	}
}

// verifyWhole: a life got all that is between its join and its position, but what a gap
// names and its own.
func (w *world) verifyWhole(l *life, seqs []uint64, order map[uint64]event) {
	got := make(map[uint64]bool)
	for _, e := range l.events {
		got[e.seq] = true
	}
	missing, first := 0, uint64(0)
	for _, seq := range seqs {
		if seq <= l.join || seq > l.pos || got[seq] || order[seq].id == l.id ||
			slices.ContainsFunc(l.gaps, func(g [2]uint64) bool { return g[0] <= seq && seq <= g[1] }) {
			continue
		}
		if missing++; missing == 1 {
			first = seq
		}
	}
	if missing > 0 {
		var around []string
		for _, r := range l.rosters {
			around = append(around, fmt.Sprintf("%s node %d at %d", r.outcome, r.node, r.seq))
		}
		w.fail("%s (%s), from %d to %d, has missed %d, the first at %d: %+v; welcomes: %v", l.name, l.id, l.join, l.pos, missing, first, order[first], around)
	}
}

// verifyExpiries: who was told that its session has expired has left, and was away for
// the grace before that.
func (w *world) verifyExpiries(lives []*life, seqs []uint64, order map[uint64]event) {
	for _, l := range lives {
		x := l.expired
		if x == nil || x.epoch != l.epoch {
			continue
		}
		var left event
		for _, seq := range seqs {
			if e := order[seq]; e.id == l.id && e.kind == "leave" {
				left = e
			}
		}
		if away := x.at.Sub(l.lastByte); away < w.grace-200*time.Millisecond || left.seq == 0 || left.time.Sub(l.lastByte) < w.grace-200*time.Millisecond {
			w.fail("%s (%s), at %d, has expired at node %d at %v, when it was away for %v; its leave is at %d, %v", l.name, l.id, l.pos,
				x.node, x.at.Format(clock), away, left.seq, left.time.Local().Format(clock))
		}
	}
}

// verifyRosters: a welcome names those who have joined and not left up to its seq.
func (w *world) verifyRosters(lives []*life, seqs []uint64, order map[uint64]event) {
	joined, left := make(map[string]uint64), make(map[string]uint64)
	for _, seq := range seqs {
		switch e := order[seq]; e.kind {
		case "join":
			joined[e.id] = seq
		case "leave":
			left[e.id] = seq
		}
	}
	for _, l := range lives {
		for _, r := range l.rosters {
			listed := make(map[string]bool)
			for _, m := range r.members {
				listed[m.ID] = true
				if at := left[m.ID]; at != 0 && at <= r.seq {
					w.fail("the welcome of %s at %d (node %d, %s) names %s, which left at %d", l.id, r.seq, r.node, r.outcome, m.ID, at)
				}
				if at, is := joined[m.ID]; is && at > r.seq {
					w.fail("the welcome of %s at %d (node %d, %s) names %s, which joined at %d", l.id, r.seq, r.node, r.outcome, m.ID, at)
				}
			}
			if r.total != len(listed) {
				w.fail("the welcome of %s at %d names %d of %d", l.id, r.seq, len(listed), r.total)
			}
			for id, at := range joined {
				if gone := left[id]; at <= r.seq && (gone == 0 || gone > r.seq) && !listed[id] {
					w.fail("the welcome of %s at %d (node %d, %s) does not name %s, joined at %d, left at %d", l.id, r.seq, r.node, r.outcome, id, at, gone)
				}
			}
		}
	}
}

// verifyRealTime: what was sent after something was acknowledged is behind it.
func (w *world) verifyRealTime(lives []*life, bodies map[string]uint64) {
	type placed struct {
		*said
		at uint64
	}
	var acked, sent []placed
	for _, l := range lives {
		for _, s := range l.sent {
			at, is := bodies[s.body]
			if !is {
				continue
			}
			sent = append(sent, placed{s, at})
			if !s.acked.IsZero() {
				acked = append(acked, placed{s, at})
			}
		}
	}
	slices.SortFunc(acked, func(a, b placed) int { return a.acked.Compare(b.acked) })
	slices.SortFunc(sent, func(a, b placed) int { return a.first.Compare(b.first) })
	i, top := 0, placed{}
	for _, s := range sent {
		for ; i < len(acked) && acked[i].acked.Before(s.first); i++ {
			if acked[i].at > top.at {
				top = acked[i]
			}
		}
		if s.at < top.at {
			w.fail("%q at %d was sent at %v, after %q at %d was acknowledged", s.body, s.at, s.first.Format(clock), top.body, top.at)
		}
	}
}
