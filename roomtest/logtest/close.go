package logtest

import (
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tcproom"
)

var (
	lawClose     = &law{"C9", "Close ends Append, Tail and Watch, and calls after it return an error"}
	lawCloses    = &law{"C9", "Close succeeds, and a second one does nothing"}
	lawOthers    = &law{"C9", "Close ends nothing of other Logs, of other nodes, or of the records"}
	lawGoroutine = &law{"C9", "Close leaves no goroutine that was started by Open, or by a method of the Log or of Nodes"}
)

// mustClose closes twice.
func (s *suite) mustClose(what string, fn func() error) {
	for _, time := range []string{"first", "second"} {
		if err := s.call("Close", func(context.Context) error { return fn() }); err != nil {
			s.add(lawCloses, "the %s Close of a %s returned the error %q", time, what, err)
		}
	}
}

// closes: C9.
func (s *suite) closes() {
	other := s.open(0)
	b := s.node(1)
	var renewed time.Time
	s.labelled(func() {
		one, two := s.open(1), s.open(1)
		s.put(one, "one", "one")
		last := s.put(two, "two", "two")
		ended, goesOn := s.tail(one, "a log that is closed", 0), s.tail(two, "another log", 0)
		watch := s.watch(b.Nodes(), "node 1")
		n := s.keep(b, "n", nil)
		watch.await("n", true)
		n.stop()
		s.save(one, last, []byte("state"))
		ended.await(2)
		goesOn.await(2)

		s.mustClose("Log", one.Close)
		ended.ended(lawClose, "its log was closed")
		s.closed(one)
		last, err := s.try(two, patience, "three", "three")
		if err != nil {
			s.giveUp(lawOthers, "Append returned the error %q: another Log of the room was closed", err)
		}
		if got, ok := goesOn.awaitUntil(func(got []rec) bool { return got[len(got)-1].pos == last }); !ok {
			s.giveUp(lawOthers, "%s gave %v, %s, where %d is the last: another Log of the room was closed", goesOn.name, got, goesOn.state(), last)
		}

		renewed = time.Now()
		s.renew(b, "n")
		s.mustClose("Backplane", b.Close)
		goesOn.ended(lawClose, "its Backplane was closed")
		watch.ended()
		s.closed(two)
		if err := s.call("Open", func(ctx context.Context) error { _, err := b.Open(ctx, theRoom); return err }); err == nil {
			s.add(lawClose, "Open of a closed Backplane returned nil")
		}
	})
	pos := s.put(other, "four", "four")
	if got := s.tail(other, "node 0", 0).awaitPos(pos); len(got) != 4 {
		s.add(lawOthers, "a Tail gave %v of 4 records, after another node was closed", got)
	}
	s.alive0("n", renewed)
}

// alive0 checks at node 0 that a lease does not end with Close. It was renewed at some
// time before that.
func (s *suite) alive0(node string, renewed time.Time) {
	var alive bool
	err := s.call("Alive", func(ctx context.Context) (err error) {
		alive, err = s.node(0).Nodes().Alive(ctx, node)
		return err
	})
	if err == nil && time.Since(renewed) >= s.lease() { // it may have ended by itself
		return
	}
	if err != nil || !alive {
		s.add(lawOthers, "Alive returned %v and the error %v for a lease of a node that was closed a moment ago", alive, err)
	}
}

// closed checks that calls of a closed log return errors.
func (s *suite) closed(l tcproom.Log) {
	calls := []struct {
		name string
		fn   func(ctx context.Context) error
	}{
		{"Append", func(ctx context.Context) error { _, err := l.Append(ctx, "closed", []byte("closed")); return err }},
		{"Tail", func(ctx context.Context) error {
			return l.Tail(ctx, 0, func(tcproom.Record) error { return nil })
		}},
		{"Save", func(ctx context.Context) error { return l.Save(ctx, 1, []byte("closed")) }},
		{"Load", func(ctx context.Context) error { _, _, err := l.Load(ctx); return err }},
	}
	for _, c := range calls {
		began := time.Now()
		if err := s.call(c.name, c.fn); err == nil {
			s.add(lawClose, "%s of a closed Log returned nil", c.name)
		} else if time.Since(began) > patience/2 {
			s.add(lawClose, "%s of a closed Log returned after %v, with the error %q", c.name, time.Since(began), err)
		}
	}
}

// closesWhileCut: C9.
func (s *suite) closesWhileCut() {
	s.open(0)
	b := s.node(1)
	s.labelled(func() {
		l := s.open(1)
		s.put(l, "before", "before")
		tl := s.tail(l, "a log that is closed", 0)
		watch := s.watch(b.Nodes(), "node 1")
		tl.await(1)
		heal := s.f.Cut(s.t, 1)
		defer heal()
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, err := l.Append(ctx, "while cut", []byte("while cut"))
			done <- err
		}()
		time.Sleep(moment)
		began := time.Now()
		s.mustClose("Log", l.Close)
		s.mustClose("Backplane", b.Close)
		tl.ended(lawClose, "its log was closed")
		watch.ended()
		if err := <-done; err == nil {
			s.add(lawNotStored, "Append was answered on a node that is cut off")
		}
		if took := time.Since(began); took > patience/2 {
			s.add(lawClose, "an Append on a node that is cut off returned %v after Close", took)
		}
	})
}

// lastLabel numbers the runs of labelled.
var lastLabel atomic.Int64

// labelled runs fn, and looks for goroutines that were started by it and have not ended:
// they have its label.
func (s *suite) labelled(fn func()) {
	const key = "logtest"
	value := fmt.Sprint("goroutines of ", lastLabel.Add(1))
	pprof.Do(context.Background(), pprof.Labels(key, value), func(context.Context) { fn() })
	label := fmt.Sprintf("%q:%q", key, value)
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		left := goroutines(label)
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			s.add(lawGoroutine, "%v after Close there are:\n%s", patience, left)
			return
		}
		time.Sleep(pause)
	}
}

// goroutines returns the stacks of those that have a label.
func goroutines(label string) string {
	var b strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return "the profile of goroutines: " + err.Error()
	}
	var found []string
	for group := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(group, label) {
			found = append(found, strings.TrimSpace(group))
		}
	}
	return strings.Join(found, "\n\n")
}
