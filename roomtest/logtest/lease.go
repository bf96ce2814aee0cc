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
		last: make(map[string]tale), more: make(chan struct{})}
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

// alive checks Alive at all nodes that there are.
func (s *suite) alive(node string, want bool) {
	for i, b := range s.nodes {
		var got bool
		err := s.call("Alive", func(ctx context.Context) (err error) {
			got, err = b.Nodes().Alive(ctx, node)
			return err
		})
		if err != nil {
			s.giveUp(lawWorks, "Alive of %q returned the error %q", node, err)
		}
		if got != want {
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

// leases: C7.
func (s *suite) leases() {
	logs := s.openAll(3)
	lease := logs[0].Caps().Lease
	a, b, c := s.node(0), s.node(1), s.node(2)
	watches := []*watching{s.watch(b.Nodes(), "node 1")}
	all := []string{"released", "keeps", "dies", "another"}
	for _, node := range all {
		s.renew(a, node)
	}
	watches[0].await("keeps", true)
	keeper := s.keep(a, "keeps", lease/3)
	defer keeper.stop()
	watches = append(watches, s.watch(logs[2].Nodes(), "node 2")) // learns of those that are there
	for _, w := range watches {
		for _, node := range all {
			w.await(node, true)
		}
	}
	s.alive("keeps", true)
	s.release(b, "released") // from another node, too
	for _, w := range watches {
		w.awaitFor(lease/2, lawRelease, "released", false)
	}
	s.alive("released", false)
	s.alive("unheard-of", false)
	s.release(a, "released")
	s.release(a, "unheard-of")
	watches = append(watches, s.watch(a.Nodes(), "node 0")) // and not of the released one

	began := time.Now()
	s.renew(c, "dies")
	renewed := time.Now()
	for _, w := range watches {
		at := w.awaitFor(lease*3/2+patience, lawLease, "dies", false)
		if early := began.Add(lease).Sub(at); early > 0 {
			s.add(lawLease, "%s told that a node was dead %v too early: %v after Renew was called, of %v", w.name, early, at.Sub(began), lease)
		}
		if late := at.Sub(renewed.Add(lease * 3 / 2)); late > s.slack() {
			s.add(lawLease, "%s told that a node was dead %v too late: %v after Renew had returned, of %v", w.name, late, at.Sub(renewed), lease)
		}
	}
	s.alive("dies", false)
	s.alive("keeps", true)
	s.renew(a, "dies")
	for _, w := range watches {
		w.await("dies", true)
		if got, _, _ := w.told("keeps"); !got.alive {
			s.add(lawKeeps, "%s told that a node was dead which renewed its lease every %v, of %v", w.name, lease/3, lease)
		}
		w.cancel()
		w.ended()
	}
}

// A keeper renews a lease.
type keeper struct{ end, done chan struct{} }

func (s *suite) keep(b tcproom.Backplane, node string, every time.Duration) *keeper {
	k := &keeper{make(chan struct{}), make(chan struct{})}
	go k.run(s, b, node, every)
	return k
}

// run ends with stop.
func (k *keeper) run(s *suite, b tcproom.Backplane, node string, every time.Duration) {
	defer close(k.done)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.guard(func() { s.renew(b, node) })
		case <-k.end:
			return
		}
	}
}

func (k *keeper) stop() {
	close(k.end)
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
