package tcproom

import (
	"context"
	"errors"
	"time"

	"example.com/tcproom/internal/fold"
)

// standing is what a replica has of the leases of its process. It is guarded by the
// room's lock.
type standing struct {
	attendance *attendance
	lease      *lease // of the node
	loaded     bool   // it has begun from a checkpoint, or there was none
	asked      bool   // the node's open was queued
	written    bool   // something of the node's was handed to the log
	left       bool   // the node has left
	moves      bool   // it was queued that the node goes on as another one
	sweep      bool   // somebody looks for dead nodes
}

// attend sees to what is due in time. It is called three times in a lease, and when one
// has ended.
func (rp *replica) attend() {
	if rp.ctx.Err() != nil {
		return
	}
	rp.room.mu.Lock()
	rp.openLocked()
	rp.moveLocked()
	rp.room.mu.Unlock()
	rp.askForVerdict()
	rp.giveUpLate()
	rp.beat()
	rp.declare()
}

// openLocked queues the entry with which the node opens, once this process has a lease.
func (rp *replica) openLocked() {
	if rp.phase == phaseOpening && rp.loaded && !rp.asked && !rp.blocked && rp.attendance.has(rp.lease) {
		rp.asked = true
		rp.controlLocked(&fold.Entry{Kind: fold.Open})
	}
}

// retireLocked is the end of what the replica has of the leases.
func (rp *replica) retireLocked() {
	if rp.lease != nil {
		rp.attendance.retire(rp, rp.node, rp.lease, rp.left || !rp.written)
		rp.lease = nil
	}
}

// moveLocked has the node go on as another one, with another lease, if its own is to run
// out because of another room's. It has ordered that it is dead, in a record of its own,
// so what follows is as if others had done so.
func (rp *replica) moveLocked() {
	if rp.phase == phaseReady && !rp.moves && rp.attendance.isSpoilt(rp.lease) {
		rp.moves = true
		rp.controlLocked(&fold.Entry{Kind: fold.NodeDown, Node: rp.node})
	}
}

// errSilent says that a log has taken a batch, and its tail does not tell of it.
var errSilent = errors.New("tcproom: the log's tail does not bring what it has taken")

// giveUpLate begins another life if the log is silent for too long: it does not bring back
// what it has taken, or has no tail.
func (rp *replica) giveUpLate() {
	most := rp.room.cfg.maxOutage
	rp.room.mu.Lock()
	var late *flight
	for _, f := range rp.flights {
		if rp.silentSince(f.began) >= most {
			late = f
		}
	}
	silent := !rp.lost.IsZero() && time.Since(rp.lost) >= most && rp.phase == phaseReady
	idle := rp.isIdleLocked()
	rp.room.mu.Unlock()
	switch {
	case late != nil || silent:
		rp.giveUp(late, errSilent)
	case idle:
		rp.giveUpWaiting()
	}
}

// isIdleLocked reports whether the node, which was ready before, has not been for too long,
// and has nothing on its way to be so again.
func (rp *replica) isIdleLocked() bool {
	return rp.phase < phaseReady && len(rp.flights)+len(rp.control) == 0 && !rp.unready.IsZero() && time.Since(rp.unready) >= rp.room.cfg.maxOutage
}

// errNotOpen says that a node which has another name cannot open.
var errNotOpen = errors.New("tcproom: this process was taken for dead, and gets no lease to go on")

// giveUpWaiting is for what waits until the node is ready again, which takes too long: it
// has another name, and gets no lease.
func (rp *replica) giveUpWaiting() {
	p := rp.room.pass(rp.ctx, nil)
	defer p.end()
	if !rp.isIdleLocked() { // since the lock was let go of
		return
	}
	rp.unready = time.Now()
	err := &givenUpError{rp, ErrUnavailable, errNotOpen}
	rp.requeueLocked(rp.failLocked(err, err))
	rp.sendAwayLocked()
}

// beat has a sign of life ordered, if it is this node's turn and nothing else was ordered
// for long: so the log never forgets all that it has, and the last checkpoint stays of
// use. It carries the sum of the state, by which a node sees that it differs.
func (rp *replica) beat() {
	r := rp.room
	r.mu.Lock()
	defer r.mu.Unlock()
	rp.checkpointLocked()
	lowest, _ := rp.state.Lowest()
	if rp.caps.Age <= 0 || rp.phase != phaseReady || lowest != rp.node || time.Since(rp.time.Add(-rp.skew)) < rp.caps.Age/4 {
		return
	}
	if len(rp.flights)+len(rp.queue) > 0 { // that is a sign of life, too, when it comes
		return
	}
	seq, sum := rp.state.LastBeat()
	rp.queueAloneLocked(&fold.Entry{Kind: fold.Beat, Number: seq, Sum: sum})
}

// declare looks for nodes that are open and have no lease, and has it ordered that they
// are dead. One that has not had its own lease confirmed for a whole lease does not judge:
// after an outage of the engine all leases are over at once.
func (rp *replica) declare() {
	r := rp.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if rp.sweep || rp.phase != phaseReady || !rp.attendance.isTrusted(rp.caps.Lease) || len(rp.suspectsLocked()) == 0 {
		return
	}
	rp.sweep = true
	r.wg.Add(1)
	go rp.judge(rp.turn())
}

// suspectsLocked returns the nodes that are open and do not live, as far as known here.
func (rp *replica) suspectsLocked() (list []fold.Node) {
	for node := range rp.state.Alive() {
		if lives, _ := rp.attendance.sees(node); node != rp.node && !lives {
			list = append(list, node)
		}
	}
	return list
}

// judge asks for the leases of those that seem to be dead, when it is this node's turn. It
// ends then.
func (rp *replica) judge(turn time.Duration) {
	r := rp.room
	defer r.wg.Done()
	pause(rp.ctx, turn)
	r.mu.Lock()
	suspects := rp.suspectsLocked()
	r.mu.Unlock()
	for _, node := range suspects {
		ctx, cancel := context.WithTimeout(rp.ctx, rp.caps.Lease/3)
		alive, err := rp.attendance.lives(ctx, node)
		cancel()
		r.mu.Lock()
		if err == nil && !alive && rp.phase == phaseReady && rp.attendance.isTrusted(rp.caps.Lease) && rp.state.IsOpen(node) {
			rp.queueAloneLocked(&fold.Entry{Kind: fold.NodeDown, Node: node})
		}
		r.mu.Unlock()
	}
	r.mu.Lock()
	rp.sweep = false
	r.mu.Unlock()
}
