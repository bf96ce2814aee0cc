package tcproom

import (
	"context"
	"fmt"
	"sync"
	"time"

	"example.com/tcproom/internal/fanout"
)

// A pass is one run through the sequencer: it holds the room's lock between
// pass and end, but for the times in which a message is held back.
type pass struct {
	r       *Room
	ctx     context.Context
	from    *Conn // nil: the room itself
	follows bool  // from is whichever connection its member has when the event gets its place
	speaker Member
	owner   *Conn // who does not get the event
	now     time.Time
	ev      Event // of say, or a welcome
	enc     *encoder
	events  bool
	broken  []*Conn // members whose framing or codec failed for an event
}

var passPool = sync.Pool{New: func() any { return &pass{enc: new(encoder)} }}

func (r *Room) pass(ctx context.Context, from *Conn) *pass {
	p := passPool.Get().(*pass)
	p.r, p.ctx, p.from = r, ctx, from
	if from != nil {
		p.speaker = from.member()
		if !from.cfg.echo {
			p.owner = from
		}
	}
	r.mu.Lock()
	p.now = time.Now() // with the lock, so that it rises with seq
	return p
}

// say orders a message.
func (p *pass) say(body []byte) (seq uint64, err error) {
	// An Event is large, and nothing else of it is set for a message.
	p.ev.Kind, p.ev.From, p.ev.Body = Message, p.speaker, body
	return p.order(&p.ev)
}

// leave takes c, which has a cause, out of the room, and orders its leave.
// Until that has its place, c is a member like any other.
func (p *pass) leave(c *Conn) {
	r := p.r
	c.leaving = true
	defer func() { // also where a codec ends the goroutine
		r.removeMemberLocked(c)
		c.cur.End()
		if c.dismissed == nil { // detached, it is not one of those any more
			c.lane.members--
		}
	}()
	p.owner = c
	p.orderLeave(c)
	p.owner = nil
}

// orderLeave orders c's leave, also where a codec ends the goroutine: then the
// room knows that codec, and does so once more.
func (p *pass) orderLeave(c *Conn) {
	if !p.r.cfg.notices || p.r.state != roomOpen {
		return
	}
	p.enc.exited = false
	defer func() {
		if p.enc.exited {
			p.orderLeave(c)
		}
	}()
	p.order(&Event{Kind: Leave, From: c.member()}) // fails only when the room stops
}

// end lets go of the lock, gets the flushers going and then ends the members
// whose framing or codec failed.
func (p *pass) end() {
	p.letGo()
	broken := p.broken
	p.enc.trim()
	*p = pass{enc: p.enc}
	passPool.Put(p)
	for _, c := range broken {
		c.unblock()
	}
}

// letGo unlocks, and gets the flushers going.
func (p *pass) letGo() {
	if p.events {
		p.events = false
		p.r.fan.Flush()
	}
	p.r.mu.Unlock()
}

// order gives ev its place and appends it to every lane. Messages may be held
// back before that: then the lock is let go of for a while.
func (p *pass) order(ev *Event) (seq uint64, err error) {
	r := p.r
	if ev.Kind == Message {
		if len(ev.Body) > r.cfg.conn.maxMessage {
			return 0, fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrameTooLarge, len(ev.Body), r.cfg.conn.maxMessage)
		}
	}
	var blockedSince time.Time
	for {
		if err := p.may(ev); err != nil {
			return 0, err
		}
		ev.Seq, ev.Time = r.seq+1, p.now
		if err := p.enc.encode(r.lanes, ev); err != nil {
			return 0, err
		}
		switch p.admit(ev, never) {
		case fanout.Fits:
			return p.commit(ev), nil
		case fanout.Blocked:
			if blockedSince.IsZero() {
				blockedSince = time.Now()
			}
		}
		force := never
		if !blockedSince.IsZero() && time.Since(blockedSince) >= r.cfg.maxWait {
			force = r.cfg.maxWait
		}
		ch := r.fan.Progress()
		switch p.admit(ev, force) {
		case fanout.Fits:
			return p.commit(ev), nil
		case fanout.Blocked:
			if force != never {
				// By one that keeps up, and could not take at once what others
				// said when those before it were cut.
				blockedSince = time.Now()
			}
		}
		if err := p.await(ch, blockedSince); err != nil {
			return 0, err
		}
	}
}

// follow makes the connection speak that the member of p.from has now.
func (p *pass) follow() {
	if p.from == nil || p.from.session == nil || p.from.session.conn == p.from {
		return
	}
	p.from = p.from.session.conn
	if p.owner = p.from; p.from.cfg.echo {
		p.owner = nil
	}
}

// may says whether ev may be ordered, as things are now.
func (p *pass) may(ev *Event) error {
	if p.follows {
		p.follow()
	}
	switch {
	case p.r.state != roomOpen:
		return ErrRoomClosed
	case p.from != nil && (!p.from.joined || p.from.leaving):
		return ErrNotMember
	}
	return nil
}

// await lets go of the lock until there may be room.
func (p *pass) await(ch <-chan struct{}, blockedSince time.Time) error {
	limit := time.Duration(0)
	if !blockedSince.IsZero() {
		limit = max(p.r.cfg.maxWait-time.Since(blockedSince), time.Millisecond)
	}
	p.letGo()
	err := p.r.fan.Await(p.ctx, ch, limit)
	p.r.mu.Lock()
	p.now = time.Now()
	return err
}

// never is a wait after which no member is cut.
const never time.Duration = -1

func (p *pass) admit(ev *Event, force time.Duration) fanout.Verdict {
	verdict := fanout.Fits
	for i, l := range p.r.lanes {
		if b := p.enc.frame(i); l.members > 0 && len(b) > 0 {
			verdict = max(verdict, l.log.Admit(len(b), ev.Kind != Message, force))
		}
	}
	return verdict
}

func (p *pass) commit(ev *Event) uint64 {
	r := p.r
	r.seq++
	if r.cfg.probe.Ordered != nil { // before a flusher that runs can tell a member
		r.cfg.probe.Ordered(ev)
	}
	for i, l := range r.lanes {
		if l.members == 0 {
			continue
		}
		if p.enc.failed(i) {
			for c := r.first; c != nil; c = c.next {
				if c.lane != l {
					continue
				}
				c.cur.End() // what comes after the hole is not for it
				if c.setCause(fmt.Errorf("%w: its framing or codec failed for an event", ErrUnframeable)) {
					p.broken = append(p.broken, c)
				}
			}
			continue
		}
		var owner *fanout.Cursor
		if p.owner != nil && p.owner.lane == l {
			owner = p.owner.cur
		}
		l.log.Append(p.enc.frame(i), r.seq, owner)
	}
	p.events = true
	if ev.Kind == Message {
		r.stats.Messages++
		r.stats.Bytes += uint64(len(ev.Body))
		if r.history != nil {
			r.history.add(ev)
		}
	}
	if r.events != nil {
		r.events.add(ev)
	}
	return r.seq
}
