package tcproom

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"example.com/tcproom/internal/ledger"
	"example.com/tcproom/internal/probe"
)

// In a room with a log a reader does not wait for what it has read: it reads on while
// that is on its way, and so the next batch has more in it. What becomes of messages is
// told in the order in which they were read. A reader waits for all of them before it
// ends, and before it does anything else that their sender could see.

const (
	maxAhead      = 512       // messages of one connection that are on their way
	maxAheadBytes = 256 << 10 // bytes of them
)

// An ahead is what a reader has on its way to the log.
type ahead struct {
	link *link

	// Guarded by the room's lock.
	runs     []run // in the order in which they were read
	messages int   // in them
	bytes    int
	telling  bool          // a goroutine tells the peer what has become of the first
	err      error         // with which the link ends: nothing more is told
	came     time.Time     // when the last one came back
	changed  chan struct{} // made by the reader when it waits, and closed to wake it

	probe probe.Ahead // nil: nobody asks
}

// A run is what one read has brought.
type run struct {
	call *call
	msgs []said // nil: none has a number
}

// newAhead returns one for a reader of l; nil if it waits for what it has read: a hook may
// look for the message before, and who is in several rooms sees them in one order.
func (l *link) newAhead() *ahead {
	r := l.room
	if r.replica == nil || r.hub != nil || r.cfg.hooks.onMessage != nil {
		return nil
	}
	a := &ahead{link: l}
	a.probe, _ = beneath(l.nc).(probe.Ahead)
	return a
}

// orderAhead is orderByLog without the wait. It reports false if some of the messages are
// not to be ordered: then all that were read before have been told of.
func (p *pass) orderAhead(in *inbox) (ok bool, err error) {
	a := in.ahead
	for a.err == nil && a.messages > 0 && a.messages+len(in.msgs) > maxAhead {
		p.awaitAhead(a)
	}
	msgs := in.said()
	c := &call{read: p.read, ahead: a}
	if !p.choose(c, msgs) {
		for !a.isTold() {
			p.awaitAhead(a)
		}
		return a.err != nil, a.err
	}
	for a.err == nil && a.messages > 0 && a.bytes+len(c.buf) > maxAheadBytes {
		p.awaitAhead(a)
	}
	if a.err != nil {
		return true, a.err
	}
	if err := p.enqueue(c, false); err != nil {
		return true, p.placeError(err)
	}
	if !slices.ContainsFunc(msgs, func(m said) bool { return m.number != 0 }) {
		msgs = nil
	}
	for i := range msgs {
		msgs[i].body = nil // which is the next read's
	}
	a.runs = append(a.runs, run{c, msgs})
	a.messages += len(c.ends)
	a.bytes += len(c.buf)
	if a.probe != nil {
		a.probe.Ahead(true)
	}
	if c.left == 0 { // it has come back before this goroutine knew that there was room for it
		a.settledLocked()
	}
	return true, nil
}

// awaitAhead lets go of the lock until something has changed.
func (p *pass) awaitAhead(a *ahead) {
	ch := a.changeLocked()
	p.letGo()
	<-ch
	p.r.mu.Lock()
	p.now = time.Now()
}

func (a *ahead) changeLocked() <-chan struct{} {
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	return a.changed
}

func (a *ahead) wakeLocked() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
	if a.probe != nil && a.isTold() {
		a.probe.Ahead(false)
	}
}

// isTold reports whether nothing is on its way, and all was told.
func (a *ahead) isTold() bool { return len(a.runs) == 0 && !a.telling }

// settledLocked is called when a run has come back.
func (a *ahead) settledLocked() {
	a.came = time.Now()
	for !a.telling && len(a.runs) > 0 && a.runs[0].call.left == 0 {
		if a.err == nil && !a.runs[0].isSilent() {
			a.telling = true
			go a.tell()
			return
		}
		a.removeLocked()
	}
}

// isSilent reports whether there is nothing to be told of a run.
func (r *run) isSilent() bool {
	return r.msgs == nil && !slices.ContainsFunc(r.call.outcomes, func(o outcome) bool { return o.err != nil })
}

func (a *ahead) removeLocked() {
	c := a.runs[0].call
	a.runs = slices.Delete(a.runs, 0, 1)
	a.messages -= len(c.ends)
	a.bytes -= len(c.buf)
	a.wakeLocked()
}

// tell tells the peer what has become of runs that have come back, until the first one
// has not. It is a goroutine for which the reader waits.
func (a *ahead) tell() {
	l, over := a.link, false
	r := l.room
	defer func() { // also if a codec ends the goroutine
		if !over {
			l.end(&HookError{Hook: codecHook(l.transport.cfg)})
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if !over {
			a.err = l.Err()
		}
		a.telling = false
		a.settledLocked() // those that came meanwhile
		a.wakeLocked()
	}()
	defer l.contain()
	for !over {
		over = a.tellFirst()
	}
}

// tellFirst tells what has become of the first run. It reports true if there is nothing
// more to tell for now.
func (a *ahead) tellFirst() (over bool) {
	l := a.link
	p := l.room.pass(context.Background(), l.member)
	if len(a.runs) == 0 || a.runs[0].call.left > 0 {
		p.end()
		return true
	}
	c, msgs := a.runs[0].call, a.runs[0].msgs
	if msgs == nil {
		msgs = make([]said, len(c.ends))
		for i := range msgs {
			msgs[i].i = i
		}
	}
	p.outcomes(c, msgs, nil)
	acks, err := p.heed(msgs, nil)
	stream := p.r.streamOf(l.member)
	p.end()
	err = l.room.orStop(err)
	if len(acks) > 0 {
		if unsaid := l.acknowledge(acks, stream); err == nil || err == error(ErrMuted) {
			err = cmpErr(unsaid, err)
		}
	}
	if err == error(ErrMuted) {
		err = l.refuse(&Request{Kind: ReqSay, Room: l.room.name}, err)
	}
	if err != nil {
		l.end(err)
	}
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	a.err = err
	a.removeLocked()
	return err != nil
}

// finish waits until all has come back, and was told.
func (a *ahead) finish() {
	mu := &a.link.room.mu
	mu.Lock()
	defer mu.Unlock()
	for !a.isTold() {
		ch := a.changeLocked()
		mu.Unlock()
		<-ch
		mu.Lock()
	}
}

// excuses reports whether err says that the peer was silent for too long, and that was
// while it waited for what it had sent: the time counts from then on.
func (a *ahead) excuses(err error) bool {
	l := a.link
	if l.silence == nil || !errors.Is(err, os.ErrDeadlineExceeded) || l.interrupted() {
		return false
	}
	a.finish()
	l.room.mu.Lock()
	silent := time.Since(a.came)
	l.room.mu.Unlock()
	if silent >= l.silence.waited {
		return false
	}
	*l.silence = silence{waited: silent}
	return true
}

// said returns the messages of in, of which it is not known what becomes of them.
func (in *inbox) said() []said {
	msgs := make([]said, len(in.msgs))
	for i := range in.msgs {
		msgs[i] = said{number: in.msgs[i].number, body: in.msgs[i].body}
	}
	return msgs
}

// heed returns what is to be acknowledged of msgs, and why their sender's connection
// ends; ErrMuted does not end it.
func (p *pass) heed(msgs []said, acks []ledger.Taken) (_ []ledger.Taken, err error) {
	for i := range msgs {
		msg := &msgs[i]
		if msg.err == error(ErrMuted) {
			err = msg.err
			if msg.number != 0 {
				acks = append(acks, p.from.take(msg.number, 0))
			}
			continue
		}
		if p.isLostWithTheLog(msg) {
			continue
		}
		if msg.err != nil {
			return acks, p.placeError(msg.err)
		}
		if msg.number != 0 {
			msg.taken.Seq = p.r.ofNow(p.from, msg.taken.Seq, msg.stream)
			acks = append(acks, msg.taken)
		}
	}
	return acks, err
}

// isLostWithTheLog reports whether it is not known what has become of a message because
// the log was lost. Its member is told that, and need not end if it waits for no ack.
func (p *pass) isLostWithTheLog(msg *said) bool {
	return msg.number == 0 && errors.Is(msg.err, ErrUncertain) && !p.r.isGivenUp(msg.err)
}

// placeError returns why a connection ends of which a message got no place because of err.
func (p *pass) placeError(err error) error {
	switch {
	case errors.Is(err, ErrRoomClosed): // here; it may be said elsewhere
		return ErrRestarting
	case p.r.isGivenUp(err): // the same
		return p.r.replica.awayLocked()
	}
	return err
}
