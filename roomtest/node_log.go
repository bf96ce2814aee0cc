package roomtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/scribble"
)

// A nodeLog is the [tcproom.Log] of one node.
type nodeLog struct {
	b    *Backplane
	room string
	list *list
	done chan struct{} // closed by closeLocked

	closed bool // the lock of the engine guards it
}

var _ tcproom.Log = (*nodeLog)(nil)

func (n *nodeLog) Nodes() tcproom.Nodes { return n.b.Nodes() }

func (n *nodeLog) Caps() tcproom.Caps { return n.b.log.caps }

func (n *nodeLog) Close() error {
	n.b.log.mu.Lock()
	defer n.b.log.mu.Unlock()
	n.closeLocked()
	return nil
}

func (n *nodeLog) closeLocked() {
	if !n.closed {
		n.closed = true
		close(n.done)
		delete(n.b.logs, n)
	}
}

// A pause is what a call waits for; zero values are nothing.
type pause struct {
	a, b  <-chan struct{}
	until time.Time
}

// wait returns when something of p is there, ctx ends or the log is closed.
func (n *nodeLog) wait(ctx context.Context, p pause) {
	var due <-chan time.Time
	if !p.until.IsZero() {
		t := time.NewTimer(time.Until(p.until))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-p.a:
	case <-p.b:
	case <-due:
	case <-n.done:
	case <-ctx.Done():
	}
}

// Append: what it has sent is a sent, which may outlive the call.
func (n *nodeLog) Append(ctx context.Context, id string, rec []byte) (uint64, error) {
	switch most := n.Caps().MaxRecord; {
	case ctx.Err() != nil:
		return 0, n.refused(context.Cause(ctx))
	case id == "":
		return 0, n.refused(errors.New("a record needs an id"))
	case len(rec) > most:
		return 0, n.refused(fmt.Errorf("the record has %d bytes, and at most %d are taken", len(rec), most))
	}
	s, err := n.send(id, rec)
	if err != nil {
		return 0, err
	}
	for {
		pos, p, err := s.answer()
		switch {
		case err != nil:
			return 0, n.uncertain(err)
		case pos > 0:
			return pos, nil
		case ctx.Err() != nil:
			return 0, n.uncertain(context.Cause(ctx))
		}
		n.wait(ctx, p)
	}
}

func (n *nodeLog) refused(why error) error {
	return fmt.Errorf("roomtest: the record for room %q was not stored: %w", n.room, why)
}

func (n *nodeLog) uncertain(why error) error {
	return fmt.Errorf("roomtest: the record for room %q was perhaps stored: %w: %w",
		n.room, why, tcproom.ErrUncertain)
}

// A sent is a record on its way to the engine. The engine's lock guards it.
type sent struct {
	n    *nodeLog
	id   string
	rec  []byte
	mute bool // it has no answer
	lost int  // that of the Backplane when it was sent

	pos     uint64 // 0: not stored
	at      time.Time
	dropped bool // by a stale engine
	arrived signal
}

// send lets a copy of rec go.
func (n *nodeLog) send(id string, rec []byte) (*sent, error) {
	b := n.b
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	if n.closed {
		return nil, n.refused(net.ErrClosed)
	}
	if err := b.downLocked(); err != nil {
		return nil, n.uncertain(err)
	}
	s := &sent{n: n, id: id, lost: b.lost}
	if len(b.fates) > 0 {
		fate := b.fates[0]
		b.fates = b.fates[1:]
		if fate == NotStored {
			return nil, n.uncertain(errNoAnswer)
		}
		s.mute = true
	}
	s.rec = bytes.Clone(rec)
	if b.delay > 0 {
		time.AfterFunc(b.delay, s.arrive)
	} else {
		s.arriveLocked()
	}
	return s, nil
}

func (s *sent) arrive() {
	s.n.b.log.mu.Lock()
	defer s.n.b.log.mu.Unlock()
	s.arriveLocked()
}

// arriveLocked brings the record to the engine, unless the connection lets nothing
// through.
func (s *sent) arriveLocked() {
	b := s.n.b
	switch {
	case s.lost != b.lost:
		return
	case b.state == stale:
		s.dropped = true
		return
	case b.state == stalled:
		b.held = append(b.held, s)
		return
	}
	s.at = time.Now()
	s.pos = s.n.list.store(s.id, kept{at: s.at, time: s.at.Add(b.log.skewed).Round(0), data: s.rec})
	s.arrived.fire()
}

// answer returns the position once the answer is there, and what to wait for before that.
func (s *sent) answer() (uint64, pause, error) {
	b := s.n.b
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	switch {
	case s.n.closed:
		return 0, pause{}, net.ErrClosed
	case s.lost != b.lost, s.dropped && b.state != stale:
		return 0, pause{}, errCut
	case s.pos == 0:
		return 0, pause{a: s.arrived.next(), b: b.turned.next()}, nil
	case s.mute:
		return 0, pause{}, errNoAnswer
	case b.state != linked:
		return 0, pause{a: b.turned.next()}, nil
	}
	if due := s.at.Add(b.delay); time.Now().Before(due) {
		return 0, pause{a: b.turned.next(), until: due}, nil
	}
	return s.pos, pause{}, nil
}

// Tail calls fn on its own goroutine.
func (n *nodeLog) Tail(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
	t := &tail{n: n, next: from}
	for {
		err := context.Cause(ctx)
		var rec *tcproom.Record
		var p pause
		if err == nil {
			rec, p, err = t.step()
		}
		switch {
		case err != nil:
			return fmt.Errorf("roomtest: the tail of room %q has ended: %w", n.room, err)
		case rec == nil:
			n.wait(ctx, p)
			continue
		}
		if err := t.give(*rec, fn); err != nil {
			return err
		}
	}
}

// A tail is a call of Tail.
type tail struct {
	n    *nodeLog
	next uint64 // position; 0: the first one
	buf  []byte // what fn has on loan

	attached    bool
	lost, lives int // those of the Backplane and the list when it was attached
}

// step returns the next record, or what to wait for.
func (t *tail) step() (*tcproom.Record, pause, error) {
	b := t.n.b
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	if t.n.closed {
		return nil, pause{}, net.ErrClosed
	}
	if err := b.downLocked(); err != nil {
		return nil, pause{}, err
	}
	if t.attached && t.lost != b.lost {
		return nil, pause{}, errCut
	}
	if b.state == stalled {
		return nil, pause{a: b.turned.next()}, nil
	}
	now := time.Now()
	t.n.list.dropAged(now)
	s := t.n.list
	if b.state == stale {
		s = b.past.of(t.n.room)
	}
	if err := t.attachLocked(s); err != nil {
		return nil, pause{}, err
	}
	if t.next < s.first {
		return nil, pause{}, lostError(s)
	}
	if !s.has(t.next) {
		return nil, pause{a: t.n.list.changed.next(), b: b.turned.next()}, nil
	}
	r := s.kept[t.next-s.first]
	if due := r.at.Add(b.delay); now.Before(due) {
		return nil, pause{a: b.turned.next(), until: due}, nil
	}
	t.next++
	return &tcproom.Record{Pos: t.next - 1, Time: r.time, Data: r.data}, pause{}, nil
}

// attachLocked finds where the tail begins in s, and looks whether it may go on.
func (t *tail) attachLocked(s *list) error {
	b := t.n.b
	if t.attached {
		if t.lives != s.lives { // also where an engine that was cut off knows the present again
			return errOtherList
		}
		return nil
	}
	t.attached, t.lost, t.lives = true, b.lost, s.lives
	switch {
	case t.next == 0:
		t.next = s.first
	case s.has(t.next):
	case b.state == stale && t.next >= s.end():
		return errNoVerdict
	default:
		return lostError(s)
	}
	return nil
}

// lostError says which record of s is the first.
func lostError(s *list) error {
	if len(s.kept) == 0 {
		return &tcproom.LostError{}
	}
	return &tcproom.LostError{First: s.first}
}

// give lends rec to fn.
func (t *tail) give(rec tcproom.Record, fn func(tcproom.Record) error) error {
	if !scribble.On() {
		rec.Data = slices.Clip(rec.Data)
		return fn(rec)
	}
	t.buf = append(t.buf[:0], rec.Data...)
	rec.Data = slices.Clip(t.buf)
	err := fn(rec)
	scribble.Over(rec.Data)
	return err
}

// of returns what was known of a room.
func (p *oldNews) of(room string) *list {
	if s, ok := p.lists[room]; ok {
		return &s
	}
	return &list{first: 1}
}

func (n *nodeLog) Save(ctx context.Context, at uint64, state []byte) error {
	if at == 0 {
		return fmt.Errorf("roomtest: cannot save the state of room %q: it must be of a position above 0", n.room)
	}
	return n.do(ctx, "save the state", n.b.writable, func() { n.list.save(saved{at, bytes.Clone(state)}) })
}

func (n *nodeLog) Load(ctx context.Context) (at uint64, state []byte, err error) {
	err = n.do(ctx, "load the state", n.b.readable, func() {
		n.list.dropAged(time.Now())
		s := n.list
		if n.b.state == stale {
			s = n.b.past.of(n.room)
		}
		if len(s.saved) == 0 {
			return
		}
		v := s.saved[0]
		if !s.has(v.at) {
			v = s.saved[len(s.saved)-1]
		}
		at, state = v.at, slices.Concat(v.state)
	})
	return at, state, err
}

// do is that of the Backplane for an open log, which Close ends.
func (n *nodeLog) do(ctx context.Context, what string, may func() bool, fn func()) error {
	return n.b.do(ctx, n, fmt.Sprintf("%s of room %q", what, n.room), may, fn)
}
