package roomtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"example.com/tcproom"
)

// A Backplane is the connection of one node to a [Log]. Its faults are that node's alone.
// They come into force at once, also for calls that have begun. [Backplane.Heal] ends
// them, but for a delay.
//
// All methods may be called from many goroutines.
type Backplane struct {
	log *Log

	// The lock of log guards what follows.
	logs   map[*nodeLog]struct{} // that are open
	closed bool
	delay  time.Duration
	state  linkState
	past   oldNews // while the state is stale
	lost   int     // how often the connection was lost
	fates  []Fate  // of the next appends
	held   []*sent // what arrives when the connection is healed
	turned signal  // something above has changed
}

var _ tcproom.Backplane = (*Backplane)(nil)

// A linkState says what goes through the connection of a node.
type linkState int

const (
	linked  linkState = iota
	cut               // nothing, and both ends know
	stalled           // nothing for now
	stale             // to an engine that is cut off from the others
)

// oldNews is what an engine that is cut off knows.
type oldNews struct {
	lists map[string]list // copies: end and what was saved
	alive map[string]bool
}

// A Fate is what becomes of a record whose append has no answer.
type Fate int

// The fates.
const (
	NotStored Fate = iota // nor will it be
	Stored                // and has its place
)

// Reasons of errors.
var (
	errCut       = errors.New("the connection to the log was lost")
	errStopped   = errors.New("the log has stopped")
	errNoAnswer  = errors.New("the log did not answer")
	errOtherList = errors.New("the log has lost records: tail it anew")
	errNoVerdict = errors.New("the log has no such record, and may be out of date")
)

// Delay lets everything that goes from the node to the log arrive d later, and what
// comes back too: an append takes 2d, and a tail gets records d after they were stored.
// Zero and negative values are no delay.
//
// An append whose context ends on the way there is uncertain, and is stored when it
// arrives, even if that is after later ones for which the delay was changed.
func (b *Backplane) Delay(d time.Duration) {
	b.turn(func() { b.delay = max(d, 0) })
}

// Cut cuts the connection, until [Backplane.Heal]. What is on the way is lost. Appends
// return [tcproom.ErrUncertain], those that have begun and new ones, and Tail and Watch,
// and all other calls, return an error at once. Leases go on to their end.
func (b *Backplane) Cut() {
	b.turn(func() {
		b.state, b.log.lost = cut, true
		b.loseLocked()
	})
}

// Stall lets nothing through the connection, until [Backplane.Heal], and no end of it
// learns of that: calls block until their contexts end, and tails get nothing. What was
// sent meanwhile arrives at Heal, also an append that has given up and so is uncertain.
func (b *Backplane) Stall() {
	b.turn(func() { b.state, b.log.lost = stalled, true })
}

// Stale leaves the node with a part of the engine that is cut off from the others, until
// [Backplane.Heal]. Reads show what was there when Stale was called: a Tail gets that and
// nothing newer. An append blocks until its context ends and is uncertain, though never
// stored. Other writes, and a new Watch, block until Heal.
func (b *Backplane) Stale() {
	b.turn(func() {
		b.state, b.log.lost = stale, true
		b.past = oldNews{lists: make(map[string]list), alive: make(map[string]bool)}
		for room, s := range b.log.lists {
			b.past.lists[room] = list{first: s.first, lives: s.lives, kept: slices.Clone(s.kept), saved: slices.Clone(s.saved)}
		}
		for node := range b.log.leases {
			b.past.alive[node] = true
		}
	})
}

// Heal ends Cut, Stall and Stale. Calls can be made again, and what blocks goes on.
func (b *Backplane) Heal() {
	b.turn(func() {
		b.state, b.past = linked, oldNews{}
		held := b.held
		b.held = nil
		for _, s := range held {
			s.arriveLocked()
		}
	})
}

// Uncertain lets the next append of this node return [tcproom.ErrUncertain], with its
// record [Stored] or [NotStored]. Called twice, it concerns the next two.
func (b *Backplane) Uncertain(f Fate) {
	b.turn(func() { b.fates = append(b.fates, f) })
}

func (b *Backplane) turn(change func()) {
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	change()
	b.turned.fire()
}

// loseLocked breaks what uses the connection: what was sent before never arrives.
func (b *Backplane) loseLocked() {
	b.lost++
	b.turned.fire()
}

// downLocked returns why nothing goes through, if both ends know that.
func (b *Backplane) downLocked() error {
	switch {
	case b.log.stopped:
		return errStopped
	case b.state == cut:
		return errCut
	}
	return nil
}

// Open implements [tcproom.Backplane]. It takes any name.
func (b *Backplane) Open(ctx context.Context, room string) (tcproom.Log, error) {
	n := &nodeLog{b: b, room: room, done: make(chan struct{})}
	err := b.do(ctx, nil, fmt.Sprintf("open the log of room %q", room), b.readable, func() {
		n.list = b.log.listLocked(room)
		b.logs[n] = struct{}{}
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// Nodes implements [tcproom.Backplane].
func (b *Backplane) Nodes() tcproom.Nodes { return nodes{b} }

// Close implements [tcproom.Backplane]. Leases of the node go on to their end.
func (b *Backplane) Close() error {
	b.turn(func() {
		b.closed = true
		for n := range b.logs {
			n.closeLocked()
		}
		delete(b.log.nodes, b)
	})
	return nil
}

// do runs fn under the lock as soon as may says that a request gets through. It is for
// the log n, unless that is nil.
func (b *Backplane) do(ctx context.Context, n *nodeLog, what string, may func() bool, fn func()) error {
	var done <-chan struct{}
	if n != nil {
		done = n.done
	}
	for {
		err := context.Cause(ctx)
		b.log.mu.Lock()
		switch {
		case b.closed, n != nil && n.closed:
			err = net.ErrClosed
		case err != nil:
		case b.downLocked() != nil:
			err = b.downLocked()
		case may():
			fn()
			b.log.mu.Unlock()
			return nil
		}
		turned := b.turned.next()
		b.log.mu.Unlock()
		if err != nil {
			return fmt.Errorf("roomtest: cannot %s: %w", what, err)
		}
		select {
		case <-turned:
		case <-done:
		case <-ctx.Done():
		}
	}
}

func (b *Backplane) readable() bool { return b.state != stalled }
func (b *Backplane) writable() bool { return b.state == linked }
