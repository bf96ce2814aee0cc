package logtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tcproom"
)

var (
	lawLost      = &law{"C5", "Tail returns a LostError if the record at from is not there, with the first position that is, or 0"}
	lawBeyond    = &law{"C5", "Tail gives nothing of a log that ends before from, and returns a LostError or a doubt"}
	lawOtherList = &law{"C5", "Tail does not go on in another list of records, but returns"}
	lawFnError   = &law{"C5", "Tail returns the error of fn, and does not call it again"}
)

// from: C5.
func (s *suite) from() {
	const n = 5
	logs := s.openAll(2)
	early := s.tail(logs[1], "an empty room", 0)
	s.tailGone(logs[0])
	first := s.put(logs[0], "record 0", "record 0")
	last := first
	for i := 1; i < n; i++ {
		r := fmt.Sprint("record ", i)
		last = s.put(logs[0], r, r)
	}
	var tails []*tailing
	for from := first; from <= last; from++ {
		tails = append(tails, s.tail(logs[1], "node 1", from))
	}
	beyond := []*tailing{
		s.tail(logs[1], "what is not there", last+1),
		s.tail(logs[1], "what is not there", last+1000),
	}
	for _, tl := range beyond {
		s.requireBeyond(tl, first)
	}
	enough := errors.New("enough")
	failing := s.tailWith(logs[0], "a fn that fails", first, func(r tcproom.Record) error {
		if r.Pos == first+1 {
			return enough
		}
		return nil
	})
	if err := failing.ended(lawFnError, "fn has returned an error"); !errors.Is(err, enough) {
		s.add(lawFnError, "%s returned the error %v, not fn's", failing.name, err)
	}
	if got, _ := failing.look(); len(got) != 2 {
		s.add(lawFnError, "%s called fn %d times, of which the second returned an error", failing.name, len(got))
	}
	live := s.put(logs[0], "live", "live")
	for i, tl := range append(tails, early) {
		got := tl.awaitPos(live)
		want := int(live-tl.from) + 1
		if tl.from == 0 {
			want = n + 1
		}
		if len(got) != want || got[0].data != fmt.Sprint("record ", i%n) || got[want-1].data != "live" {
			s.add(lawTells, "%s gave %v, where %d records are", tl.name, got, want)
		}
		if err := tl.stop(); !errors.Is(err, context.Canceled) {
			s.add(lawTailError, "%s, whose context ended, returned the error %v", tl.name, err)
		}
	}
}

// tailGone checks a Tail whose context has ended before.
func (s *suite) tailGone(l tcproom.Log) {
	err := s.callFor(0, "Tail", func(ctx context.Context) error {
		return l.Tail(ctx, 0, func(tcproom.Record) error { return nil })
	})
	if err == nil {
		s.add(lawTailError, "Tail, whose context had ended, returned nil")
	}
}

// requireLost checks that a Tail returns a LostError, with the position of the first
// record that is there.
func (s *suite) requireLost(tl *tailing, first uint64) {
	err := tl.ended(lawLost, "its record is not there")
	var lost *tcproom.LostError
	switch got, _ := tl.look(); {
	case len(got) > 0:
		s.add(lawLost, "%s gave %v", tl.name, got)
	case !errors.As(err, &lost):
		s.add(lawLost, "%s returned the error %q", tl.name, fmt.Sprint(err))
	case lost.First != first:
		s.add(lawLost, "%s returned the First %d, not %d", tl.name, lost.First, first)
	}
}

// requireBeyond checks that a Tail of a log that ends before from returns a LostError, or
// a doubt if the engine may have answered from the past.
func (s *suite) requireBeyond(tl *tailing, first uint64) {
	err := tl.ended(lawBeyond, "the log ends before its record")
	var lost *tcproom.LostError
	switch got, _ := tl.look(); {
	case len(got) > 0:
		s.add(lawBeyond, "%s gave %v", tl.name, got)
	case errors.As(err, &lost) && lost.First != first:
		s.add(lawLost, "%s returned the First %d, not %d", tl.name, lost.First, first)
	}
}

// hold holds fn up until open is closed.
func (s *suite) hold(open <-chan struct{}) error {
	select {
	case <-open:
		return nil
	case <-s.over:
		return errors.New("the test has ended")
	}
}

// lag: C5. It is so much that no engine has it all on the way to fn.
func (s *suite) lag() {
	const n, size = 150, 64 << 10
	logs := s.openAll(2)
	open := make(chan struct{})
	tl := s.tailWith(logs[1], "a slow fn", 0, func(tcproom.Record) error { return s.hold(open) })
	for i := range n {
		r := fmt.Sprintf("%04d", i)
		s.put(logs[0], r, r+strings.Repeat("r", size-len(r)))
		if i == 0 {
			tl.await(1)
		}
	}
	close(open)
	for i, got := range tl.await(n) {
		if want := fmt.Sprintf("%04d", i); len(got.data) != size || got.data[:4] != want {
			s.add(lawStored, "%s gave %v, where %q is, of %d bytes", tl.name, got, want, size)
		}
	}
}

// trimmed: C5.
func (s *suite) trimmed() {
	logs := s.openAll(2)
	open := make(chan struct{})
	slow := s.tailWith(logs[1], "a slow fn", 0, func(tcproom.Record) error { return s.hold(open) })
	first := s.put(logs[0], "record 0", "record 0")
	slow.await(1)
	last := s.puts(logs[0], "more", 9)
	s.f.Trim(s.t, theRoom, 7)
	close(open) // what was on the way may still come
	s.requireOver(slow, last, "records were dropped")
	s.requireLost(s.tail(logs[1], "what was dropped", first+2), first+7)
	if got := s.tail(logs[0], "the rest", 0).awaitPos(last); got[0].pos != first+7 {
		s.add(lawBegins, "a Tail from 0 began at %d, where the first record is at %d", got[0].pos, first+7)
	}
	s.f.Trim(s.t, theRoom, 3)
	s.requireLost(s.tail(logs[1], "what was dropped", last), 0)
	next := s.tail(logs[1], "an empty room", 0)
	if pos := s.put(logs[0], "next", "next"); pos != last+1 {
		s.add(lawSkips, "Append returned %d after records to %d, which were dropped", pos, last)
	}
	if got := next.await(1); got[0].pos != last+1 {
		s.add(lawBegins, "%s began at %d, where the first record is at %d", next.name, got[0].pos, last+1)
	}
}

// wiped: C5.
func (s *suite) wiped() {
	logs := s.openAll(2)
	s.puts(logs[0], "old", 5)
	running := s.tail(logs[1], "node 1", 0)
	old := running.await(5)
	at := old[4].pos
	s.f.Wipe(s.t, theRoom)
	first := s.putAgain(logs[0], "new 1", "new 1")
	last := first
	for i := 2; i <= 8; i++ {
		r := fmt.Sprint("new ", i)
		last = s.putAgain(logs[0], r, r)
	}
	got := s.untilTail(logs[1], "the new list", 0, last)
	if len(got) != 8 || got[0].pos != first || got[0].data != "new 1" {
		s.add(lawTells, "a Tail of a list of 8 new records from %d gave %v", first, got)
	}
	if first == at+1 { // positions go on: nothing was skipped
		return
	}
	running.ended(lawOtherList, "its list was replaced")
	if got, _ := running.look(); len(got) > 5 {
		s.add(lawOtherList, "%s gave %v of another list, which begins at %d", running.name, got[5], first)
	}
	again := s.tail(logs[1], "the new list", at)
	switch {
	case at > last:
		s.requireBeyond(again, first)
	case at < first:
		s.requireLost(again, first)
	default:
		if got := again.awaitPos(last); got[0].data != fmt.Sprint("new ", at-first+1) {
			s.add(lawBegins, "%s began with %v", again.name, got[0])
		}
	}
}

// untilTail tails until the record at a position is there, again if a Tail returns, as it
// may after a fault.
func (s *suite) untilTail(l tcproom.Log, name string, from, last uint64) []rec {
	deadline := time.Now().Add(patience)
	for {
		tl := s.tail(l, name, from)
		got, ok := tl.awaitUntil(func(got []rec) bool { return len(got) > 0 && got[len(got)-1].pos >= last })
		err := tl.stop()
		if ok {
			return got
		}
		if time.Now().After(deadline) {
			s.giveUp(lawWorks, "%s still returned the error %q %v after the fault", tl.name, fmt.Sprint(err), patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// requireOver checks that a Tail returns after a fault, or gives the record at last. That
// it skips nothing is checked by take.
func (s *suite) requireOver(tl *tailing, last uint64, fault string) {
	_, ok := tl.awaitUntil(func(got []rec) bool { return got[len(got)-1].pos >= last })
	if !ok && !tl.hasReturned() {
		s.add(lawTells, "%s neither returned nor went on in %v after %s", tl.name, patience, fault)
	}
}

// tailWhileCut: C5.
func (s *suite) tailWhileCut() {
	logs := s.openAll(2)
	first := s.put(logs[0], "before", "before")
	running := s.tail(logs[1], "node 1", 0)
	running.await(1)
	heal := s.f.Cut(s.t, 1)
	s.puts(logs[0], "meanwhile", 5)
	heal()
	last := s.puts(logs[0], "after", 5)
	s.requireOver(running, last, "the connection was mended")
	if got := s.untilTail(logs[1], "node 1", first, last); len(got) != 11 {
		s.add(lawTells, "a Tail gave %v of 11 records", got)
	}
}

// calls: C6.
func (s *suite) calls() {
	logs := s.openAll(2)
	busy := s.node(0)
	all := s.tail(logs[0], "all", 0)
	var n atomic.Int64
	more := func(k int) uint64 {
		return s.puts(logs[0], fmt.Sprint("round ", n.Add(1)), k)
	}
	more(3)
	for round := range 4 { // one that is ended while fn runs, and more is on the way
		begun, open := make(chan struct{}), make(chan struct{})
		first := true
		tl := s.tailWith(logs[1], fmt.Sprint("round ", round), 0, func(tcproom.Record) error {
			if !first {
				return nil
			}
			first = false
			close(begun)
			return s.hold(open)
		})
		s.await(begun, tl)
		all.awaitPos(more(5))
		if round%2 == 0 {
			tl.cancel()
			tl.mustNotReturn()
		}
		close(open)
		if round%2 == 1 {
			tl.await(1)
			tl.cancel()
		}
		tl.ended(lawReturns, "its context has ended")
		all.awaitPos(more(5))
	}
	l := s.open(1)
	closed := s.tail(l, "a log that is closed", 0)
	closed.await(1)
	s.mustClose("Log", l.Close)
	closed.ended(lawClose, "its log was closed")
	s.watchCalls(busy)
	all.awaitPos(more(5))
}

// mustNotReturn gives a Tail time to return, which run notes, though its fn runs.
func (tl *tailing) mustNotReturn() {
	t := time.NewTimer(5 * time.Millisecond)
	defer t.Stop()
	select {
	case <-tl.done:
	case <-t.C:
	}
}

// await waits until a fn has begun.
func (s *suite) await(begun <-chan struct{}, tl *tailing) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-begun:
	case <-t.C:
		s.giveUp(lawTells, "%s has not called fn", tl.name)
	}
}

// watchCalls: C6 for Watch, beside another one that shows that news has come.
func (s *suite) watchCalls(b tcproom.Backplane) {
	ended, other := s.watch(b.Nodes(), "node 0"), s.watch(s.node(1).Nodes(), "node 1")
	first := s.keep(b, "first", nil)
	defer first.stop()
	ended.await("first", true)
	ended.cancel()
	ended.ended()
	second := s.keep(b, "second", nil)
	defer second.stop()
	other.await("second", true)
	time.Sleep(time.Millisecond) // a call that is on its way would show
	other.cancel()
	other.ended()
}
