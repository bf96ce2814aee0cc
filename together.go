package tcproom

import (
	"time"

	"example.com/tcproom/internal/fanout"
)

// maxTogether bounds how many joins and leaves wait to be told together; the lanes bound
// their bytes.
const maxTogether = 1024

// together is the joins and leaves of a room that have their place in the order and are
// not told yet: their frames wait in the runs of the lanes. It is guarded by the room's
// lock. Whatever else comes into a lane comes behind them, so they are told first.
type together struct {
	after   time.Duration // of the first of them
	notices int           // that wait
	turn    uint64        // of the timer: how many times something was told
	timer   *time.Timer   // nil: nothing waits
}

// WithNoticesTogether tells members of joins and leaves together, at most d after the
// first of them. With it a storm of joins costs each member a write every d, and none of
// its own if a message comes: without it, one for each join.
//
// Only what is written is later. A join or leave has its place in the order and its seq
// at once, and so has what follows from it: hooks, [Room.Members], limits, and the
// welcome of a member that joins, which counts all of them and is told none of them
// again. They are told before d is over if a message or another event is ordered, a
// member resumes or sends to another one alone, the room stops, or 1,024 of them wait or
// 64 KiB, or an eighth of [WithBacklog]. A member that leaves is not told of those that
// wait, and what the room itself sends to one member comes before them. The default, and
// zero and negative values, tells each at once. In a room with a log each process does so
// for its own members.
func WithNoticesTogether(d time.Duration) RoomOption {
	return roomOption(func(c *roomConfig) { c.together = d })
}

// mayWait decides whether ev, whose frames are made, waits to be told with others. What
// it cannot wait with is told.
func (p *pass) mayWait(ev *Event) {
	t := p.r.together
	if p.waits = false; t == nil {
		return
	}
	if ev.Kind == Join || ev.Kind == Leave {
		alone, others := true, t.notices < maxTogether
		for i, l := range p.r.lanes {
			if b := p.enc.frame(i); l.members > 0 && len(b) > 0 {
				most, charge := min(l.log.MaxRun(), maxQueued), len(b)+eventCharge
				alone = alone && charge <= most
				others = others && l.run.Charge()+charge <= most
			}
		}
		if p.waits = alone; alone && others {
			return
		}
	}
	p.tell()
}

// tell tells what waits.
func (p *pass) tell() {
	if p.r.tellLocked() {
		p.events = true
	}
}

// wait adds a frame, if it is one, to what waits in l, and reports whether it is.
func (l *lane) wait(b []byte, seq uint64) bool {
	if len(b) == 0 {
		return false
	}
	if l.run == nil {
		l.run = new(fanout.Run)
	}
	l.run.Add(b, seq)
	return true
}

// waitLocked says that one more notice waits, for as long as the first one of them
// allows.
func (r *Room) waitLocked() {
	t := r.together
	t.notices++
	if t.timer != nil {
		return
	}
	r.wg.Add(1) // the timer counts as a goroutine until it has run or was stopped
	if r.hub != nil {
		r.hub.all.wg.Add(1)
	}
	turn := t.turn
	t.timer = time.AfterFunc(t.after, func() { r.tellLate(turn) })
}

// noTimer says that the timer is no more.
func (r *Room) noTimer() {
	if r.hub != nil {
		r.hub.all.wg.Done()
	}
	r.wg.Done()
}

// tellLate tells what waits, if the timer of that turn is not too late.
func (r *Room) tellLate(turn uint64) {
	defer r.noTimer()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.together.turn == turn && r.tellLocked() {
		r.group.Flush()
	}
}

// tellNow tells what waits, before something that is no event of the room.
func (r *Room) tellNow() {
	if r.together == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tellLocked() {
		r.group.Flush()
	}
}

// tellLocked appends what waits, in order, and reports whether there was anything. It is
// for who then has the flushers go. Each notice had a place in the logs when it was
// ordered; nothing has come into them since, so there is one still.
func (r *Room) tellLocked() (told bool) {
	t := r.together
	if t == nil || t.timer == nil {
		return false
	}
	if t.timer.Stop() {
		r.noTimer()
	}
	t.timer, t.notices = nil, 0
	t.turn++
	for _, l := range r.lanes {
		if l.run == nil {
			continue
		}
		if l.members > 0 {
			if v := l.log.Admit(l.run.With(0), true, never); v != fanout.Fits {
				panic("tcproom: a run was let in and has no place") // a bug of ours
			}
			l.log.AppendRun(l.run)
		}
		l.run = nil
	}
	return true
}
