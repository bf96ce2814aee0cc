package fanout

import (
	"math"
	"sync/atomic"
	"time"
)

// Traffic is what cursors of a group have taken to be written, all together.
type Traffic struct {
	Bytes   uint64 // of logs, inserts and gaps
	Frames  uint64 // of logs
	Skipped uint64 // frames of logs that cursors jumped over
}

// A Tally adds up traffic. It is not that of a log, whose cursors may take something when
// the log is dropped and its group forgotten. The zero Tally is ready for use.
type Tally struct{ bytes, frames, skipped atomic.Uint64 }

// Traffic returns the sum so far.
func (t *Tally) Traffic() Traffic {
	return Traffic{Bytes: t.bytes.Load(), Frames: t.frames.Load(), Skipped: t.skipped.Load()}
}

func (t *Tally) add(o Traffic) {
	t.bytes.Add(o.Bytes)
	t.frames.Add(o.Frames)
	if o.Skipped > 0 {
		t.skipped.Add(o.Skipped)
	}
}

// CountIn has the traffic of g counted in all, too. It is called before g has cursors.
func (g *Group) CountIn(all *Tally) { g.all = all }

// Traffic returns what cursors of g have taken so far, those included whose logs are
// dropped. What a walk has written counts when it ends.
func (g *Group) Traffic() Traffic { return g.tally.Traffic() }

func (g *Group) count(t Traffic) {
	if g.all != nil {
		g.all.add(t) // first: no group has more than all together
	}
	g.tally.add(t)
}

// Lag is how far the waiting cursors of a log are behind. Those that have ended or are
// held do not count.
type Lag struct {
	Cursors int
	Bytes   int           // that are there for the one that is furthest behind
	Since   time.Duration // for how long the first of them has been waiting
}

// Lag returns how things are. It looks at each waiting cursor.
func (l *Log) Lag() (lag Lag) {
	now := monotonic()
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := l.first; s != nil; s = s.next {
		for c := s.parked; c != nil; c = c.next {
			if c.stop(math.MaxInt64) != math.MaxInt64 {
				continue
			}
			lag.Cursors++
			lag.Bytes = max(lag.Bytes, int(l.head.Load()-c.pos.Load())+int(c.inserted))
			lag.Since = max(lag.Since, time.Duration(now-c.parkedAt))
		}
	}
	return lag
}

// Waited returns for how long c has been waiting, or had been when it was lost; 0 if it is
// held, for then its connection need not be the reason.
func (c *Cursor) Waited() time.Duration {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	switch {
	case !c.parked.Load(), c.IsHeld():
		return 0
	case c.lost:
		return time.Duration(c.parkedAt)
	}
	return time.Duration(monotonic() - c.parkedAt)
}

// A watch is a call of [Log.Watch].
type watch struct {
	pos int64
	fn  func(at time.Time, waiting int)
}

// Watch has fn called once, when all cursors have been brought to the head as it is
// now, the waiting ones aside: with the time, and with how many of these are behind
// that. Without a direct path the writer of a sink has the bytes then, and may be
// writing them. In a log that is dropped nobody waits. It runs on a goroutine of its own,
// for which [Fan.Wait] waits, and not at all after that.
func (l *Log) Watch(fn func(at time.Time, waiting int)) {
	f := l.group.fan
	f.mu.Lock()
	l.mu.Lock()
	l.watches = append(l.watches, watch{l.head.Load(), fn})
	l.watched.Store(true)
	due := l.dueLocked()
	// A transport that cannot tell whether it would block counts as waiting only when it is
	// looked at again, and perhaps no more is appended.
	if len(l.watches) > 0 && l.look == nil && !f.ended {
		f.wg.Add(1) // the timer counts as a goroutine until it has run or was stopped
		l.look = time.AfterFunc(patience, l.lookAgain)
	}
	l.mu.Unlock()
	f.mu.Unlock()
	f.notify(due)
}

// lookAgain has all cursors visited once more, while there are watches.
func (l *Log) lookAgain() {
	l.group.Flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.watches) > 0 {
		l.look.Reset(patience)
		return
	}
	l.look = nil
	l.group.fan.wg.Done()
}

func (l *Log) due() []func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dueLocked()
}

// dueLocked takes the watches whose time has come, as calls that are to be made.
func (l *Log) dueLocked() (calls []func()) {
	if len(l.watches) == 0 {
		return nil
	}
	now := time.Now()
	pos, _ := l.servedLocked()
	for len(l.watches) > 0 && (l.watches[0].pos <= pos || l.dropped) {
		w := l.watches[0]
		l.watches[0] = watch{}
		if l.watches = l.watches[1:]; len(l.watches) == 0 {
			l.watches = nil
			l.watched.Store(false)
			if l.look != nil && l.look.Stop() {
				l.look = nil
				l.group.fan.wg.Done()
			}
		}
		waiting := l.behindLocked(w.pos)
		calls = append(calls, func() { w.fn(now, waiting) })
	}
	return calls
}

// behindLocked counts the waiting cursors that have not taken all up to pos.
func (l *Log) behindLocked(pos int64) (n int) {
	for s := l.first; s != nil && s.start < pos; s = s.next {
		for c := s.parked; c != nil; c = c.next {
			if c.pos.Load() < c.bound(pos) {
				n++
			}
		}
	}
	return n
}

// notify makes the calls, in turn, on a goroutine of its own.
func (f *Fan) notify(calls []func()) {
	if len(calls) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	f.wg.Add(1)
	go f.call(calls)
}

// call makes the calls. It ends with the last, or with one that ends its goroutine: then
// another one makes the rest.
func (f *Fan) call(calls []func()) {
	defer func() {
		if len(calls) > 0 {
			go f.call(calls)
			return
		}
		f.wg.Done()
	}()
	for len(calls) > 0 {
		fn := calls[0]
		calls = calls[1:]
		fn()
	}
}
