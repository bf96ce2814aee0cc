package logtest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"example.com/tcproom"
)

var (
	lawPositions = &law{"C1", "the first record has a position above 0, and of two records the later one has the greater"}
	lawBegins    = &law{"C5", "Tail begins with the record at the position from, or the first one that is kept if from is 0"}
	lawSkips     = &law{"C5", "Tail never skips a record, and positions have no gaps"}
	lawTells     = &law{"C5", "Tail calls fn with each record that is there and each that comes, while nothing is wrong"}
	lawTailError = &law{"C5", "Tail returns an error: that of fn, that of a context that ended, or a doubt"}
	lawOverlap   = &law{"C6", "fn is called on one goroutine at a time"}
	lawAfter     = &law{"C6", "fn is not called after Tail or Watch has returned"}
	lawRuns      = &law{"C6", "Tail and Watch return when fn has"}
	lawLoan      = &law{"C6", "Data is valid until fn has returned"}
)

// A rec is a record that a Tail gave.
type rec struct {
	pos  uint64
	time time.Time
	data string
}

func (r rec) String() string { return fmt.Sprintf("%s at %d", quote(r.data), r.pos) }

// quote returns data as it can stand in a message.
func quote(data string) string {
	if most := 40; len(data) > most {
		return fmt.Sprintf("%q… (%d bytes)", data[:most], len(data))
	}
	return fmt.Sprintf("%q", data)
}

// A tailing is a Tail that runs, or has run. It checks what holds of every Tail.
type tailing struct {
	s      *suite
	name   string
	from   uint64
	hook   func(tcproom.Record) error // what fn does; nil: nothing
	cancel context.CancelFunc
	done   chan struct{} // closed when Tail has returned

	mu   sync.Mutex // guards what follows; not held by hook
	got  []rec
	busy bool
	over bool // Tail has returned
	err  error
	more chan struct{} // closed with the next record
}

// tail tails l from a position. Its name is for messages.
func (s *suite) tail(l tcproom.Log, name string, from uint64) *tailing {
	return s.tailWith(l, name, from, nil)
}

func (s *suite) tailWith(l tcproom.Log, name string, from uint64, hook func(tcproom.Record) error) *tailing {
	ctx, cancel := context.WithCancel(context.Background())
	tl := &tailing{s: s, name: fmt.Sprintf("the Tail of %s from %d", name, from), from: from, hook: hook,
		cancel: cancel, done: make(chan struct{}), more: make(chan struct{})}
	s.mu.Lock()
	s.tails = append(s.tails, tl)
	s.mu.Unlock()
	go tl.run(ctx, l)
	return tl
}

// run ends when Tail returns.
func (tl *tailing) run(ctx context.Context, l tcproom.Log) {
	err := l.Tail(ctx, tl.from, tl.take)
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if tl.busy {
		tl.s.add(lawRuns, "%s returned while fn ran", tl.name)
	}
	tl.over, tl.err = true, err
	close(tl.done)
}

// take is fn.
func (tl *tailing) take(r tcproom.Record) error {
	was := tl.begin(r)
	var err error
	if tl.hook != nil {
		err = tl.hook(r)
	}
	if !bytes.Equal(was, r.Data) {
		tl.s.add(lawLoan, "%s changed the record at %d while fn ran", tl.name, r.Pos)
	}
	tl.mu.Lock()
	defer tl.mu.Unlock()
	tl.busy = false
	return err
}

// begin notes the record, and returns a copy of its data.
func (tl *tailing) begin(r tcproom.Record) []byte {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if tl.over {
		tl.s.add(lawAfter, "%s called fn with the record at %d after it had returned", tl.name, r.Pos)
	}
	if tl.busy {
		tl.s.add(lawOverlap, "%s called fn with the record at %d while it ran", tl.name, r.Pos)
	}
	tl.busy = true
	if n := len(tl.got); n > 0 {
		switch last := tl.got[n-1].pos; {
		case r.Pos <= last:
			tl.s.add(lawPositions, "%s gave the record at %d after the one at %d", tl.name, r.Pos, last)
		case r.Pos > last+1:
			tl.s.add(lawSkips, "%s gave the record at %d after the one at %d", tl.name, r.Pos, last)
		}
	} else if tl.from > 0 && r.Pos != tl.from {
		tl.s.add(lawBegins, "%s began with the record at %d", tl.name, r.Pos)
	}
	if r.Pos == 0 {
		tl.s.add(lawPositions, "%s gave a record at the position 0", tl.name)
	}
	tl.got = append(tl.got, rec{r.Pos, r.Time, string(r.Data)})
	close(tl.more)
	tl.more = make(chan struct{})
	return bytes.Clone(r.Data)
}

// look returns what the Tail has given, and a channel that is closed when that is more.
func (tl *tailing) look() ([]rec, <-chan struct{}) {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	return tl.got, tl.more
}

// awaitUntil waits until enough says so of what the Tail has given. It reports false if
// the Tail returned before, or patience has an end.
func (tl *tailing) awaitUntil(enough func([]rec) bool) ([]rec, bool) {
	t := time.NewTimer(patience)
	defer t.Stop()
	for {
		got, more := tl.look()
		if enough(got) {
			return got, true
		}
		select {
		case <-more:
		case <-tl.done:
			got, _ = tl.look()
			return got, enough(got)
		case <-t.C:
			return got, false
		}
	}
}

// await returns what the Tail has given once that is n records, and gives up if it does
// not come.
func (tl *tailing) await(n int) []rec {
	got, ok := tl.awaitUntil(func(got []rec) bool { return len(got) >= n })
	if !ok {
		tl.s.giveUp(lawTells, "%s gave %d records of %d, %s", tl.name, len(got), n, tl.state())
	}
	return got
}

// awaitPos is await for the record at a position.
func (tl *tailing) awaitPos(pos uint64) []rec {
	got, ok := tl.awaitUntil(func(got []rec) bool { return len(got) > 0 && got[len(got)-1].pos >= pos })
	if !ok {
		tl.s.giveUp(lawTells, "%s gave %d records and not the one at %d, %s", tl.name, len(got), pos, tl.state())
	}
	return got
}

func (tl *tailing) state() string {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if tl.over {
		return fmt.Sprintf("and returned the error %q", fmt.Sprint(tl.err))
	}
	return fmt.Sprintf("and no more in %v", patience)
}

func (tl *tailing) hasReturned() bool {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	return tl.over
}

// stop ends the Tail and returns its error.
func (tl *tailing) stop() error {
	tl.cancel()
	return tl.ended(lawReturns, "its context has ended")
}

// ended returns the error of a Tail that must return, and gives up if it does not.
func (tl *tailing) ended(l *law, why string) error {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-tl.done:
	case <-t.C:
		tl.s.giveUp(l, "%s has not returned in %v, though %s", tl.name, patience, why)
	}
	if tl.err == nil {
		tl.s.add(lawTailError, "%s returned nil", tl.name)
	}
	return tl.err
}
