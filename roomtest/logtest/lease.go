package logtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"example.com/tcproom"
)

var (
	lawLease   = &law{"C7", "a node that does not renew its lease is dead 1 to 1.5 of Caps().Lease after the last Renew, and not before"}
	lawKeeps   = &law{"C7", "a node that renews its lease every third of Caps().Lease stays alive"}
	lawRelease = &law{"C7", "Release ends a lease at once, and is no error if it has ended"}
	lawWatch   = &law{"C7", "Watch tells of each lease that is there, and of each that is made and each that ends, once"}
	lawAlive   = &law{"C7", "Alive reports whether the node has a lease now, at all nodes"}
	lawRenewed = &law{"C7", "Renew returns nil only if the engine has confirmed it"}
)

// A watching is a Watch that runs, or has run.
type watching struct {
	s      *suite
	name   string
	cancel context.CancelFunc
	done   chan struct{} // closed when Watch has returned

	mu   sync.Mutex // guards what follows
	last map[string]tale
	ends map[string]int // how often a node was told to have ended
	busy bool
	over bool
	err  error
	more chan struct{} // closed with the next tale
}

// A tale is what a Watch told of a node last.
type tale struct {
	alive bool
	at    time.Time
}

func (s *suite) watch(n tcproom.Nodes, name string) *watching {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{s: s, name: "the Watch at " + name, cancel: cancel, done: make(chan struct{}),
		last: make(map[string]tale), ends: make(map[string]int), more: make(chan struct{})}
	s.watches = append(s.watches, w)
	go w.run(ctx, n)
	return w
}

// run ends when Watch returns.
func (w *watching) run(ctx context.Context, n tcproom.Nodes) {
	err := n.Watch(ctx, w.take)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy {
		w.s.add(lawRuns, "%s returned while fn ran", w.name)
	}
	w.over, w.err = true, err
	close(w.done)
}

// take is fn.
func (w *watching) take(node string, alive bool) {
	w.begin(node, alive)
	time.Sleep(time.Microsecond) // a call that overlaps would show
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = false
}

func (w *watching) begin(node string, alive bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		w.s.add(lawAfter, "%s called fn with %q, %v after it had returned", w.name, node, alive)
	}
	if w.busy {
		w.s.add(lawOverlap, "%s called fn with %q, %v while it ran", w.name, node, alive)
	}
	w.busy = true
	if last, told := w.last[node]; told && last.alive == alive {
		w.s.add(lawWatch, "%s told twice that %q is alive: %v", w.name, node, alive)
	} else if !told && !alive {
		w.s.add(lawWatch, "%s told that %q has ended, and not that it was alive", w.name, node)
	}
	w.last[node] = tale{alive, time.Now()}
	if !alive {
		w.ends[node]++
	}
	close(w.more)
	w.more = make(chan struct{})
}

// told returns what was told of a node, and a channel that is closed with the next.
func (w *watching) told(node string) (tale, bool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t, ok := w.last[node]
	return t, ok, w.more
}

func (w *watching) hasEnded(node string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ends[node] > 0
}

// await waits until fn was told of the node, and returns when that was.
func (w *watching) await(node string, alive bool) time.Time {
	return w.awaitFor(patience, lawWatch, node, alive)
}

func (w *watching) awaitFor(d time.Duration, l *law, node string, alive bool) time.Time {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		got, ok, more := w.told(node)
		if ok && got.alive == alive {
			return got.at
		}
		select {
		case <-more:
		case <-w.done:
			w.s.giveUp(l, "%s returned the error %q before it told that %q is alive: %v", w.name, fmt.Sprint(w.err), node, alive)
		case <-t.C:
			w.s.giveUp(l, "%s has not told in %v that %q is alive: %v", w.name, d, node, alive)
		}
	}
}

// ended waits until Watch has returned, and gives up if it does not.
func (w *watching) ended() {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-w.done:
	case <-t.C:
		w.s.giveUp(lawReturns, "%s has not returned in %v, though its context has ended or its Backplane was closed", w.name, patience)
	}
	if w.err == nil {
		w.s.add(lawReturns, "%s returned nil", w.name)
	}
}

// renew renews a lease.
func (s *suite) renew(b tcproom.Backplane, node string) {
	err := s.call("Renew", func(ctx context.Context) error { return b.Nodes().Renew(ctx, node) })
	if err != nil {
		s.giveUp(lawWorks, "Renew of %q returned the error %q", node, err)
	}
}

func (s *suite) release(b tcproom.Backplane, node string) {
	err := s.call("Release", func(ctx context.Context) error { return b.Nodes().Release(ctx, node) })
	if err != nil {
		s.add(lawRelease, "Release of %q returned the error %q", node, err)
	}
}

// alive checks Alive at all nodes that there are. k renews the lease, if it is not nil.
func (s *suite) alive(node string, want bool, k *keeper) {
	for i, b := range s.nodes {
		var got bool
		err := s.call("Alive", func(ctx context.Context) (err error) {
			got, err = b.Nodes().Alive(ctx, node)
			return err
		})
		if err != nil {
			s.giveUp(lawWorks, "Alive of %q returned the error %q", node, err)
		}
		if got != want && k.inTime() {
			s.add(lawAlive, "Alive of %q returned %v at node %d", node, got, i)
		}
	}
}

// slack is what the clock of a test may be late by.
func (s *suite) slack() time.Duration {
	if s.f.Bubble {
		return time.Millisecond
	}
	return 250 * time.Millisecond
}

// A lag is how late this process, or the engine, does what is due, because the machine
// has other things to do: bounds of time stretch by it.
type lag struct {
	end, done chan struct{}

	mu    sync.Mutex // guards what follows
	worst time.Duration
}

// measure begins to notice that, until stop; in a bubble nothing is late.
func (s *suite) measure() *lag {
	l := &lag{end: make(chan struct{}), done: make(chan struct{})}
	if s.f.Bubble {
		close(l.done)
		return l
	}
	go l.run()
	return l
}

// run ends with stop.
func (l *lag) run() {
	defer close(l.done)
	const every = 5 * time.Millisecond
	t := time.NewTimer(every)
	defer t.Stop()
	for {
		began := time.Now()
		select {
		case <-t.C:
			l.note(time.Since(began) - every)
			t.Reset(every)
		case <-l.end:
			return
		}
	}
}

func (l *lag) note(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.worst = max(l.worst, d)
}

// most is how much later than due something may be told of: several goroutines are on the
// way of that.
func (l *lag) most() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 4 * l.worst
}

func (l *lag) stop() {
	close(l.end)
	<-l.done
}

// leases: C7.
func (s *suite) leases() {
	logs := s.openAll(3)
	lease := logs[0].Caps().Lease
	a, b, c := s.node(0), s.node(1), s.node(2)
	lag := s.measure()
	defer lag.stop()
	watches := []*watching{s.watch(b.Nodes(), "node 1")}
	all := []string{"released", "keeps", "dies", "another"}
	keepers := make(map[string]*keeper)
	for _, node := range all {
		keepers[node] = s.keep(a, node, lag)
		defer keepers[node].stop()
	}
	keeper := keepers["keeps"]
	watches[0].await("keeps", true)
	watches = append(watches, s.watch(logs[2].Nodes(), "node 2")) // learns of those that are there
	for _, w := range watches {
		for _, node := range all {
			w.await(node, true)
		}
	}
	s.alive("keeps", true, keeper)
	s.releases(a, b, watches, keepers["released"], lag)
	third := s.watch(a.Nodes(), "node 0") // and not of the released one
	third.await("dies", true)
	watches = append(watches, third)

	dies := keepers["dies"]
	dies.stop()
	began := time.Now()
	s.renew(c, "dies")
	renewed := time.Now()
	for _, w := range watches {
		at := w.awaitFor(lease*3/2+patience, lawLease, "dies", false)
		if early := began.Add(lease).Sub(at); early > 0 && dies.inTime() {
			s.add(lawLease, "%s told that a node was dead %v too early: %v after Renew was called, of %v", w.name, early, at.Sub(began), lease)
		}
		if late := at.Sub(renewed.Add(lease * 3 / 2)); late > s.slack()+lag.most() {
			s.add(lawLease, "%s told that a node was dead %v too late: %v after Renew had returned, of %v", w.name, late, at.Sub(renewed), lease)
		}
	}
	s.alive("dies", false, nil)
	s.alive("keeps", true, keeper)
	again := s.keep(a, "dies", lag)
	defer again.stop()
	for _, w := range watches {
		w.await("dies", true)
		if w.hasEnded("keeps") && keeper.inTime() {
			s.add(lawKeeps, "%s told that a node was dead which renewed its lease every %v, of %v", w.name, lease/3, lease)
		}
		w.cancel()
		w.ended()
	}
}

// releases releases the lease that k keeps, from another node.
func (s *suite) releases(a, b tcproom.Backplane, watches []*watching, k *keeper, lag *lag) {
	k.stop()
	began := time.Now()
	s.release(b, "released")
	for _, w := range watches {
		at := w.awaitFor(patience, lawRelease, "released", false)
		if took := at.Sub(began); took > k.lease/2+lag.most() {
			s.add(lawRelease, "%s told %v after Release that the node had ended, of %v", w.name, took, k.lease)
		}
	}
	s.alive("released", false, nil)
	s.alive("unheard-of", false, nil)
	s.release(a, "released")
	s.release(a, "unheard-of")
}

// A keeper renews a lease three times in its length.
type keeper struct {
	s     *suite
	lease time.Duration
	lag   *lag // nil: nobody wants to know
	end   func()
	done  chan struct{}

	mu      sync.Mutex // guards what follows
	last    time.Time  // when the last Renew that has returned was called
	longest time.Duration
}

// keep renews the lease of a node until stop, for the first time before it returns.
func (s *suite) keep(b tcproom.Backplane, node string, lag *lag) *keeper {
	end := make(chan struct{})
	k := &keeper{s: s, lease: s.lease(), lag: lag, end: sync.OnceFunc(func() { close(end) }), done: make(chan struct{})}
	k.renew(b, node)
	go k.run(b, node, end)
	return k
}

// run ends with end.
func (k *keeper) run(b tcproom.Backplane, node string, end <-chan struct{}) {
	defer close(k.done)
	t := time.NewTicker(k.lease / 3)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			k.s.guard(func() { k.renew(b, node) })
		case <-end:
			return
		}
	}
}

func (k *keeper) renew(b tcproom.Backplane, node string) {
	began := time.Now()
	k.s.renew(b, node)
	if k.lag != nil {
		k.lag.note(time.Since(began))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.last.IsZero() {
		k.longest = max(k.longest, time.Since(k.last))
	}
	k.last = began
}

// inTime reports whether the lease was renewed each time before it can have ended, as it
// is not on a machine that has too much to do. A nil keeper says nothing against it.
func (k *keeper) inTime() bool {
	if k == nil {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	longest := k.longest
	select {
	case <-k.done:
	default:
		longest = max(longest, time.Since(k.last))
	}
	return longest < k.lease
}

// stop returns when the lease is not renewed any more. A second one does nothing.
func (k *keeper) stop() {
	k.end()
	<-k.done
}

// leasesWhileCut: C7.
func (s *suite) leasesWhileCut() {
	s.openAll(2)
	b := s.node(1)
	s.renew(b, "n")
	heal := s.f.Cut(s.t, 1)
	if err := s.callFor(moment, "Renew", func(ctx context.Context) error { return b.Nodes().Renew(ctx, "n") }); err == nil {
		s.add(lawRenewed, "Renew returned nil on a node that is cut off")
	}
	heal()
	deadline := time.Now().Add(patience)
	for {
		err := s.call("Renew", func(ctx context.Context) error { return b.Nodes().Renew(ctx, "n") })
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.giveUp(lawWorks, "Renew still returned the error %q %v after the fault", err, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
