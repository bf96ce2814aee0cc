package logtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/tcproom"
)

var (
	lawNoState  = &law{"C8", "Load returns 0 and nil, without an error, if nothing was saved"}
	lawOlder    = &law{"C8", "Load returns the older one of the two states that were saved last, if the record at its position is there"}
	lawNewer    = &law{"C8", "Load returns the newer state if the record at the position of the older one is not there"}
	lawSame     = &law{"C8", "a state takes the place of the one saved last alone, if that is of the same position"}
	lawLast     = &law{"C8", "the state that was saved last is the newest, also if its position is the lesser one"}
	lawState    = &law{"C8", "Load returns a state as it was saved, at any node, also one of 4 MiB"}
	lawOwnState = &law{"C8", "Save keeps nothing of state itself, and what Load returns is the caller's"}
	lawStays    = &law{"C8", "states of a durable log outlive a restart of the engine"}
)

// big returns a state of 4 MiB.
func big(seed byte) []byte {
	b := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func (s *suite) save(l tcproom.Log, at uint64, state []byte) {
	lent := bytes.Clone(state)
	if err := s.call("Save", func(ctx context.Context) error { return l.Save(ctx, at, lent) }); err != nil {
		s.giveUp(lawWorks, "Save of %d bytes at %d returned the error %q", len(state), at, err)
	}
	if !bytes.Equal(lent, state) {
		s.add(lawOwnState, "Save changed the state that it was given")
	}
	clear(lent) // an owner may do so now
}

func (s *suite) load(l tcproom.Log) (at uint64, state []byte) {
	err := s.call("Load", func(ctx context.Context) (err error) {
		at, state, err = l.Load(ctx)
		return err
	})
	if err != nil {
		s.giveUp(lawWorks, "Load returned the error %q", err)
	}
	return at, state
}

// requireState checks what Load returns, twice.
func (s *suite) requireState(l tcproom.Log, broken *law, at uint64, state []byte) {
	for i := range 2 {
		got, loaded := s.load(l)
		if got != at {
			s.giveUp(broken, "Load returned the state at %d, not the one at %d", got, at)
		}
		if !bytes.Equal(loaded, state) {
			if i > 0 {
				s.giveUp(lawOwnState, "Load returned another state after the first one was changed")
			}
			s.giveUp(lawState, "Load returned %d bytes, which are not the %d that were saved at %d", len(loaded), len(state), at)
		}
		clear(loaded)
	}
}

// states: C8.
func (s *suite) states() {
	logs := s.openAll(2)
	first := s.put(logs[0], "first", "first")
	s.puts(logs[0], "record", 5)
	if at, state := s.load(logs[1]); at != 0 || state != nil {
		s.add(lawNoState, "Load returned %d and %d bytes", at, len(state))
	}
	one, three := big(1), big(3)[:500<<10]
	s.save(logs[0], first, one)
	s.requireState(logs[1], lawOlder, first, one)
	s.save(logs[1], first+1, []byte("two"))
	s.requireState(logs[0], lawOlder, first, one)
	s.save(logs[0], first+2, three)
	s.requireState(logs[1], lawOlder, first+1, []byte("two"))
	s.save(logs[1], first+3, []byte("four"))
	s.requireState(logs[0], lawOlder, first+2, three)
	s.save(logs[0], first+3, []byte("four again")) // takes the place of the last one alone
	s.requireState(logs[1], lawSame, first+2, three)
	s.save(logs[1], first+1, []byte("late")) // by a node that lags
	s.requireState(logs[0], lawLast, first+3, []byte("four again"))
	s.statesAtOnce(logs, first+4)
	if at, state := s.load(s.openRoom(0, "another")); at != 0 || state != nil {
		s.add(lawNoState, "Load returned %d and %d bytes in another room", at, len(state))
	}
}

// statesAtOnce: states that are saved at once are not mixed up.
func (s *suite) statesAtOnce(logs []tcproom.Log, at uint64) {
	each := [][]byte{big(4)[:600<<10], big(5)[:700<<10]}
	s.atOnce(2, func(i int) { s.save(logs[i], at+uint64(i), each[i]) })
	got, state := s.load(logs[0])
	if got != at && got != at+1 {
		s.giveUp(lawOlder, "Load returned the state at %d, after those at %d and %d were saved at once", got, at, at+1)
	}
	if !bytes.Equal(state, each[got-at]) {
		s.add(lawState, "Load returned %d bytes for the state at %d, which are not those that were saved; another one was saved at once", len(state), got)
	}
}

// statesTrimmed: C8.
func (s *suite) statesTrimmed() {
	logs := s.openAll(2)
	first := s.put(logs[0], "first", "first")
	s.puts(logs[0], "record", 4)
	s.save(logs[0], first+1, []byte("older"))
	s.save(logs[0], first+3, []byte("newer"))
	s.f.Trim(s.t, theRoom, 1)
	s.requireState(logs[1], lawOlder, first+1, []byte("older"))
	s.f.Trim(s.t, theRoom, 1)
	s.requireState(logs[1], lawNewer, first+3, []byte("newer"))
	s.f.Trim(s.t, theRoom, 3)
	s.requireState(logs[1], lawNewer, first+3, []byte("newer"))
}

// statesAfterRestart: C8.
func (s *suite) statesAfterRestart() {
	l := s.open(0)
	s.durable(l)
	first := s.put(l, "first", "first")
	s.puts(l, "record", 1)
	s.save(l, first, []byte("older"))
	s.save(l, first+1, []byte("newer"))
	s.f.Restart(s.t)
	deadline := time.Now().Add(patience)
	for {
		var at uint64
		var state []byte
		err := s.call("Load", func(ctx context.Context) (err error) {
			at, state, err = l.Load(ctx)
			return err
		})
		if err == nil {
			if at != first || string(state) != "older" {
				s.add(lawStays, "Load returned the state %s at %d after a restart, not the older one at %d", quote(string(state)), at, first)
			}
			return
		}
		if time.Now().After(deadline) {
			s.giveUp(lawWorks, "Load still returned the error %q %v after the fault", fmt.Sprint(err), patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
