package logtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tcproom"
)

// patience is how long anything may take that should take a moment, also on a machine that
// has much else to do.
const patience = time.Minute

// A law is one sentence of the contract.
type law struct{ name, says string }

// A suite is the run of a row.
type suite struct {
	t      testing.TB // of Open and the faults; nothing else fails it
	f      Factory
	attach func() tcproom.Backplane
	nodes  []tcproom.Backplane
	over   chan struct{} // closed when the row has ended

	mu      sync.Mutex // guards what follows; not held while tested code runs
	found   []error
	laws    map[*law]bool // that were found broken
	skip    string        // why the row makes no sense for the engine
	tails   []*tailing    // that have begun
	watches []*watching   // as well
	leased  time.Duration // the length of a lease, as a log has said that was opened
}

// errSkipped is what run returns for an engine that the row makes no sense for.
var errSkipped = errors.New("logtest: not for this engine")

// stop is the value of a panic that ends a row.
type stop struct{}

// run runs the row on an engine of f, and returns what it finds.
func (r *row) run(t testing.TB, f Factory) error {
	s := &suite{t: t, f: f, over: make(chan struct{}), laws: make(map[*law]bool)}
	s.attach = f.Open(t)
	s.guard(func() { r.check(s) })
	s.guard(s.end)
	s.mu.Lock() // an engine may call fn yet
	defer s.mu.Unlock()
	if s.skip != "" && len(s.found) == 0 {
		return fmt.Errorf("%w: %s", errSkipped, s.skip)
	}
	return errors.Join(s.found...)
}

// guard runs fn, which giveUp may end.
func (s *suite) guard(fn func()) {
	defer func() {
		if v := recover(); v != nil && v != any(stop{}) {
			panic(v)
		}
	}()
	fn()
}

// end stops what the row has left running, in good order.
func (s *suite) end() {
	close(s.over)
	for _, tl := range s.tails {
		tl.cancel()
	}
	for _, w := range s.watches {
		w.cancel()
	}
	for _, tl := range s.tails {
		tl.stop()
	}
	for _, w := range s.watches {
		w.ended()
	}
	for _, b := range s.nodes {
		s.call("Close", func(context.Context) error { return b.Close() })
	}
}

// add notes that l is broken, once.
func (s *suite) add(l *law, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.laws[l] {
		return
	}
	s.laws[l] = true
	s.found = append(s.found, fmt.Errorf("logtest: %s: %s; the contract: %s", l.name, fmt.Sprintf(format, args...), l.says))
}

// giveUp is add for what the row cannot go on after.
func (s *suite) giveUp(l *law, format string, args ...any) {
	s.add(l, format, args...)
	panic(stop{})
}

// notFor ends the row, which makes no sense for the engine.
func (s *suite) notFor(why string) {
	s.skip = why
	panic(stop{})
}

var (
	lawWorks   = &law{"works", "a call succeeds while nothing is wrong with the engine"}
	lawReturns = &law{"returns", "a call returns when its context ends, if not before"}
	lawCaps    = &law{"caps", "MaxRecord is not below 64 KiB, Window and Lease are above 0, and a Log's Caps are always the same"}
)

// node returns a node, which it attaches if need be.
func (s *suite) node(i int) tcproom.Backplane {
	for len(s.nodes) <= i {
		s.nodes = append(s.nodes, s.attach())
	}
	return s.nodes[i]
}

// theRoom is the room of rows that need no other.
const theRoom = "lobby"

// open returns the log of theRoom at a node.
func (s *suite) open(node int) tcproom.Log { return s.openRoom(node, theRoom) }

func (s *suite) openRoom(node int, room string) tcproom.Log {
	b := s.node(node)
	var l tcproom.Log
	err := s.call("Open", func(ctx context.Context) (err error) {
		l, err = b.Open(ctx, room)
		return err
	})
	if err != nil {
		s.giveUp(lawWorks, "Open of room %q at node %d returned the error %q", room, node, err)
	}
	c := l.Caps()
	if c.MaxRecord < 64<<10 || c.Window <= 0 || c.Lease <= 0 || c != l.Caps() || s.f.Lease > 0 && c.Lease != s.f.Lease {
		s.giveUp(lawCaps, "Caps returned %+v, then %+v; the Factory's Lease is %v", c, l.Caps(), s.f.Lease)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leased = c.Lease
	return l
}

// lease returns how long a lease is. A log must have been opened.
func (s *suite) lease() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leased
}

// openAll opens theRoom at n nodes at once.
func (s *suite) openAll(n int) []tcproom.Log {
	s.node(n - 1)
	logs := make([]tcproom.Log, n)
	s.atOnce(n, func(i int) { logs[i] = s.open(i) })
	return logs
}

// atOnce runs fn on n goroutines, and gives up if one of them does.
func (s *suite) atOnce(n int, fn func(i int)) {
	var wg sync.WaitGroup
	gaveUp := make([]bool, n)
	for i := range n {
		wg.Go(func() {
			gaveUp[i] = true
			s.guard(func() {
				fn(i)
				gaveUp[i] = false
			})
		})
	}
	wg.Wait()
	for _, yes := range gaveUp {
		if yes {
			panic(stop{})
		}
	}
}

// call runs fn with so much time as patience, and gives up if it does not return then.
func (s *suite) call(what string, fn func(ctx context.Context) error) error {
	return s.callFor(patience, what, fn)
}

func (s *suite) callFor(d time.Duration, what string, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	late := time.NewTimer(d + patience)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		s.giveUp(lawReturns, "%s has not returned %v after its context ended", what, patience)
		return nil
	}
}

// put appends a record with the id, and returns its position. It makes another attempt if
// the engine was too slow to answer, as a room does.
func (s *suite) put(l tcproom.Log, id, rec string) uint64 {
	pos, err := s.try(l, patience, id, rec)
	for end := time.Now().Add(patience); errors.Is(err, tcproom.ErrUncertain) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		pos, err = s.try(l, patience, id, rec)
	}
	if err != nil {
		s.giveUp(lawWorks, "Append of the id %q returned the error %q", id, err)
	}
	return pos
}

// try appends a record and returns what Append does. It checks what holds of every call.
// In the id there are no spaces.
func (s *suite) try(l tcproom.Log, d time.Duration, id, rec string) (pos uint64, err error) {
	b := []byte(rec)
	id = strings.ReplaceAll(id, " ", "-")
	err = s.callFor(d, "Append", func(ctx context.Context) (err error) {
		pos, err = l.Append(ctx, id, b)
		return err
	})
	if string(b) != rec {
		s.add(lawKeepsNothing, "Append of the id %q changed the record", id)
	}
	clear(b) // an owner may do so now
	if err == nil && pos == 0 {
		s.add(lawPositions, "Append of the id %q returned the position 0", id)
	}
	return pos, err
}

// putAgain appends a record, and again with the same id until that succeeds, as after a
// fault.
func (s *suite) putAgain(l tcproom.Log, id, rec string) uint64 {
	deadline := time.Now().Add(patience)
	for {
		pos, err := s.try(l, patience, id, rec)
		if err == nil {
			return pos
		}
		if time.Now().After(deadline) {
			s.giveUp(lawWorks, "Append of the id %q still returned the error %q %v after the fault", id, err, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// puts appends n records, whose ids and data are what and their numbers from 1 on, and
// returns the position of the last.
func (s *suite) puts(l tcproom.Log, what string, n int) (last uint64) {
	for i := range n {
		rec := fmt.Sprint(what, " ", i+1)
		last = s.put(l, rec, rec)
	}
	return last
}
