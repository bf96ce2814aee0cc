package logtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/tcproom"
)

var (
	lawOneOrder     = &law{"C1", "all Tails of a room see one sequence of records, with the same positions, times and data"}
	lawAnswerPos    = &law{"C1", "Append returns the position that the record has for Tail"}
	lawRooms        = &law{"C1", "rooms of different names have different lists, and all nodes have one for a name"}
	lawStored       = &law{"C2", "a record whose Append was answered is in the log, as it was given"}
	lawNotStored    = &law{"C2", "a record whose Append returned an error that does not wrap ErrUncertain is not in the log"}
	lawTooLong      = &law{"C2", "a record of more than MaxRecord bytes is refused, and not as uncertain; one of MaxRecord bytes is not"}
	lawEndedContext = &law{"C2", "Append returns an error if its context has ended before"}
	lawKeepsNothing = &law{"C2", "Append keeps nothing of rec, and does not write to it"}
	lawDurable      = &law{"C2", "records of a durable log outlive a restart of the engine, and positions go on"}
	lawOnce         = &law{"C3", "two Appends with the same id within Window store one record, and both return its position"}
	lawAfterAnswer  = &law{"C4", "what is appended after an answer has a greater position, over nodes too"}
)

// order: C1.
func (s *suite) order() {
	const nodes, each = 3, 20
	logs := s.openAll(nodes)
	var tails []*tailing
	for i, l := range logs {
		tails = append(tails, s.tail(l, fmt.Sprint("node ", i), 0))
	}
	answers := make([]map[uint64]string, nodes)
	s.atOnce(nodes, func(i int) {
		answers[i] = make(map[uint64]string)
		for k := range each {
			r := fmt.Sprintf("node %d record %d", i, k)
			answers[i][s.put(logs[i], r, r)] = r
		}
	})
	for i, l := range logs { // those that come late see the same
		tails = append(tails, s.tail(l, fmt.Sprint("node ", i), 0))
	}
	first := tails[0].await(nodes * each)
	for _, tl := range tails[1:] {
		for i, got := range tl.await(nodes * each) {
			want := first[i]
			if got.pos != want.pos || got.data != want.data || !got.time.Equal(want.time) {
				s.add(lawOneOrder, "%s gave %v of %v, where %s gave %v of %v", tl.name, got, got.time, tails[0].name, want, want.time)
			}
		}
	}
	at := make(map[uint64]string)
	for _, r := range first {
		at[r.pos] = r.data
		if r.time.IsZero() {
			s.add(lawOneOrder, "the record %v has no time", r)
		}
	}
	for _, answered := range answers {
		for pos, r := range answered {
			if at[pos] != r {
				s.add(lawAnswerPos, "Append of %q returned %d, where the record %q is", r, pos, at[pos])
			}
		}
	}
}

// rooms: C1, for names that an engine may have to escape.
func (s *suite) rooms() {
	names := []string{"a", "A", "a.b", "a b", "a.*", ">", "*", "a=2Eb", "a=2eb", "=2E", "a_b", "a-b", "a/b", "ä", `"`,
		"$SYS", strings.Repeat("x", 255), strings.Repeat("x", 254) + "y", strings.Repeat("ä", 127)}
	for i, name := range names {
		l, other := s.openRoom(0, name), s.openRoom(1, name)
		s.put(l, fmt.Sprint("first ", i), "of "+name)
		last := s.put(other, fmt.Sprint("second ", i), "also of "+name)
		tl := s.tail(other, fmt.Sprintf("room %q", name), 0)
		got := tl.awaitPos(last)
		if len(got) != 2 || got[0].data != "of "+name || got[1].data != "also of "+name {
			s.add(lawRooms, "the room %q has the records %v", name, got)
		}
		tl.stop()
		s.call("Close", func(context.Context) error { return l.Close() })
		s.call("Close", func(context.Context) error { return other.Close() })
	}
}

// answers: C2.
func (s *suite) answers() {
	logs := s.openAll(2)
	a := s.ledger()
	var all strings.Builder
	for i := range 256 {
		all.WriteByte(byte(i))
	}
	most := logs[0].Caps().MaxRecord
	a.try(logs[0], patience, "all bytes", all.String())
	a.try(logs[0], patience, "one byte", "\x00")
	if err := a.try(logs[0], patience, "the longest", strings.Repeat("m", most)); err != nil {
		s.add(lawTooLong, "Append of MaxRecord bytes, %d, returned the error %q", most, err)
	}
	if err := a.try(logs[0], patience, "too long", strings.Repeat("l", most+1)); err == nil || errors.Is(err, tcproom.ErrUncertain) {
		s.add(lawTooLong, "Append of %d bytes, one more than MaxRecord, returned the error %v", most+1, err)
	}
	if err := a.try(logs[0], 0, "too late", "too late"); err == nil {
		s.add(lawEndedContext, "Append returned nil")
	}
	for i := range 20 { // contexts that end somewhere on the way
		r := fmt.Sprint("short of time ", i)
		a.try(logs[0], time.Duration(i)*50*time.Microsecond, r, r)
	}
	for id, pos := range a.answered { // at the other node, at once
		tl := s.tail(logs[1], "node 1", pos)
		if got := tl.await(1); got[0].data != a.given[id] {
			s.add(lawStored, "the record %s, whose Append returned %d, is %s there", quote(a.given[id]), pos, quote(got[0].data))
		}
		tl.stop()
	}
	a.check(logs[1])
}

// A ledger knows what became of appends.
type ledger struct {
	s        *suite
	given    map[string]string // by id
	answered map[string]uint64
	refused  map[string]error // by another error than ErrUncertain
}

func (s *suite) ledger() *ledger {
	return &ledger{s, make(map[string]string), make(map[string]uint64), make(map[string]error)}
}

func (a *ledger) try(l tcproom.Log, d time.Duration, id, rec string) error {
	pos, err := a.s.try(l, d, id, rec)
	a.given[id] = rec
	switch {
	case err == nil:
		a.answered[id] = pos
	case !errors.Is(err, tcproom.ErrUncertain):
		a.refused[id] = err
	}
	return err
}

// check compares with what is in the log.
func (a *ledger) check(l tcproom.Log) {
	last := a.s.putAgain(l, "the end", "the end")
	there := make(map[string]uint64)
	for _, r := range a.s.untilTail(l, "a node", 0, last) {
		if _, twice := there[r.data]; twice {
			a.s.add(lawOnce, "the record %s is there twice, last at %d", quote(r.data), r.pos)
			continue
		}
		there[r.data] = r.pos
	}
	for id, pos := range a.answered {
		if there[a.given[id]] != pos {
			a.s.add(lawStored, "Append of the id %q returned %d, and Tail gave its record at %d (0: not at all)", id, pos, there[a.given[id]])
		}
	}
	for id, err := range a.refused {
		if pos := there[a.given[id]]; pos > 0 {
			a.s.add(lawNotStored, "Append of the id %q returned the error %q, and Tail gave its record at %d", id, err, pos)
		}
	}
}

// moment is how long a call is given that a fault keeps from an answer.
const moment = 200 * time.Millisecond

// answersWhileCut: C2.
func (s *suite) answersWhileCut() {
	logs := s.openAll(2)
	a := s.ledger()
	a.try(logs[1], patience, "before", "before")
	heal := s.f.Cut(s.t, 1)
	for i := range 3 {
		r := fmt.Sprint("while cut ", i)
		a.try(logs[1], moment, r, r)
	}
	if err := a.try(logs[0], patience, "elsewhere", "elsewhere"); err != nil {
		s.add(lawWorks, "Append at a node returned the error %q while another one was cut off", err)
	}
	heal()
	s.putAgain(logs[1], "healed", "healed")
	a.check(logs[0])
}

// durable ends the row for engines that lose records at a restart.
func (s *suite) durable(l tcproom.Log) {
	if !l.Caps().Durable {
		s.notFor("it is not durable")
	}
}

// answersAfterRestart: C2.
func (s *suite) answersAfterRestart() {
	logs := s.openAll(2)
	s.durable(logs[0])
	a := s.ledger()
	for i := range 5 {
		r := fmt.Sprint("before ", i)
		a.try(logs[i%2], patience, r, r)
	}
	s.f.Restart(s.t)
	next := s.putAgain(logs[1], "after", "after")
	for id, pos := range a.answered {
		if next <= pos {
			s.add(lawDurable, "Append returned %d after a restart, and %d for the id %q before", next, pos, id)
		}
	}
	a.check(logs[0])
}

// ids: C3.
func (s *suite) ids() {
	const nodes = 3
	logs := s.openAll(nodes)
	first := s.put(logs[0], "x", "x")
	for i, l := range logs {
		if pos := s.put(l, "x", "x"); pos != first {
			s.add(lawOnce, "Append of an id returned %d, then %d at node %d", first, pos, i)
		}
	}
	for round := range 5 {
		r := fmt.Sprint("at once ", round)
		var got [2 * nodes]uint64
		s.atOnce(len(got), func(i int) { got[i] = s.put(logs[i%nodes], r, r) })
		for _, pos := range got[1:] {
			if pos != got[0] {
				s.add(lawOnce, "Appends of an id at once returned the positions %v", got)
			}
		}
	}
	s.ledger().check(logs[0])
}

// idsAfterRestart: C3.
func (s *suite) idsAfterRestart() {
	l := s.open(0)
	s.durable(l)
	first := s.put(l, "x", "x")
	s.put(l, "y", "y")
	s.f.Restart(s.t)
	if pos := s.putAgain(l, "x", "x"); pos != first {
		s.add(lawOnce, "Append of an id returned %d, then %d after a restart", first, pos)
	}
	s.ledger().check(l)
}

// oneAfterTheOther: C4.
func (s *suite) oneAfterTheOther() {
	const nodes = 3
	logs := s.openAll(nodes)
	last := uint64(0)
	for i := range 10 * nodes {
		r := fmt.Sprint("record ", i)
		pos := s.put(logs[i%nodes], r, r)
		if pos <= last {
			s.add(lawAfterAnswer, "Append at node %d returned %d, after the one at node %d had returned %d", i%nodes, pos, (i+nodes-1)%nodes, last)
		}
		last = pos
	}
}
