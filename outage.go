package tcproom

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// What becomes of members while the log of their room is silent, and how those that are
// sent away together come back one after the other.

// sentAwayOver is how long it takes to send away all members of a silent log.
const sentAwayOver = 15 * time.Second

// outage is what a replica has of the silence of its log. The room's lock guards it.
type outage struct {
	until chan struct{} // the replica's ready of that time; nil: there was none
	told  int           // how many members were sent away in it
}

// sendAwayLocked begins to end the links that carry a member, because the log has been
// silent for too long, unless it has done so before. That takes a while, so that other
// nodes, which perhaps have the log, do not get all members at once. Those that are left
// when the node is ready again stay: they are members as before, and miss nothing.
func (rp *replica) sendAwayLocked() {
	if rp.until == rp.ready {
		return
	}
	rp.until, rp.told = rp.ready, 0
	if links := rp.linksLocked(); len(links) > 0 {
		rp.room.wg.Add(1)
		go rp.sendAway(links, rp.until)
	}
}

// sendAway is a goroutine of the room's, which ends with the silence.
func (rp *replica) sendAway(links []*link, until <-chan struct{}) {
	r := rp.room
	defer r.wg.Done()
	began := time.Now()
	if r.isNamed() { // the logs of all rooms are silent, and many rooms have one member
		began = began.Add(rand.N(sentAwayOver / time.Duration(len(links))))
	}
	for i, l := range links {
		t := time.NewTimer(untilTurn(began, sentAwayOver, i, len(links)))
		select {
		case <-t.C:
		case <-until:
		case <-rp.ctx.Done():
		}
		t.Stop()
		r.mu.Lock()
		var cause error
		if rp.ready == until && rp.phase < phaseReady && rp.ctx.Err() == nil { // else that silence is over
			cause = rp.awayLocked()
		}
		r.mu.Unlock()
		if cause == nil {
			return
		}
		l.end(cause)
	}
}

// untilTurn is how long it is until the i-th of n has its turn, of which there is one
// after the other for d.
func untilTurn(began time.Time, d time.Duration, i, n int) time.Duration {
	return time.Until(began.Add(d / time.Duration(n) * time.Duration(i)))
}

// awayLocked returns why the next member is sent away.
func (rp *replica) awayLocked() error {
	rp.told++
	return later(ErrUnavailable, rp.told-1)
}

// A laterError is a cause with how long the peer is to wait before it comes back, beside
// what [Sessions].RetryAfter says. A member's own cause is never one.
type laterError struct {
	Cause
	after time.Duration
}

// later returns the cause of the i-th of those whose links end together. A thousand of
// them come back within a second.
func later(c Cause, i int) error {
	if i == 0 {
		return c
	}
	return &laterError{c, time.Duration(i) * time.Millisecond}
}

func (e *laterError) Unwrap() error { return e.Cause }

// A givenUpError is of what has waited for the log for too long.
type givenUpError struct {
	by   *replica
	code Cause // ErrUncertain, or ErrUnavailable if it is surely not ordered
	why  error // nil: it is not known
}

func (e *givenUpError) Error() string {
	if e.why == nil {
		return e.code.Error()
	}
	return fmt.Sprintf("%v: %v", e.code, e.why)
}

// Unwrap returns the code. The log's error may wrap ErrUncertain, which is so of what was
// on its way, and not of what was queued behind that.
func (e *givenUpError) Unwrap() []error {
	if e.why == nil || e.code != ErrUncertain {
		return []error{e.code}
	}
	return []error{e.code, e.why}
}

// errLostOnTheWay is of what was on its way to a log that has lost what was read, or has left
// this node behind.
var errLostOnTheWay = fmt.Errorf("%w: its log was lost", ErrUncertain)

// isOfLog reports whether err, which a hook has returned, is of a call that a room's log has
// let down: then it is not the hook's fault. What happened to a connection of the hook's own
// is none of this.
func isOfLog(err error) bool {
	_, ended := errors.AsType[*EndError](err)
	_, refused := errors.AsType[*RefusedError](err)
	if ended || refused {
		return false
	}
	_, givenUp := errors.AsType[*givenUpError](err)
	return givenUp || errors.Is(err, errLostOnTheWay) || errors.Is(err, ErrUnavailable)
}

// isGivenUp reports whether err is of what r, whose log is silent, has given up. The
// member that wanted it cannot go on, for it does not know what has become of that.
func (r *Room) isGivenUp(err error) bool {
	e, ok := errors.AsType[*givenUpError](err)
	return ok && e.by == r.replica
}

// wasCut reports whether the connection of the member that the pass is about has ended.
func (p *pass) wasCut() bool {
	return p.from != nil && !p.from.Remote() && p.from.conn().Err() != nil
}

// awayCause is awayLocked for a goroutine that has not the lock.
func (r *Room) awayCause() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replica.awayLocked()
}
