package tcproom

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"example.com/tcproom/internal/fold"
)

// leases are what a replica knows of who lives. It is guarded by the room's lock.
type leases struct {
	alive map[string]bool // by the name of a node, what the last watch has told
	since time.Time       // from then on all renewals of this node's lease were confirmed; zero: the last was not
	renew chan struct{}   // the node has another name
	sweep bool            // somebody looks for dead nodes
}

// attendLease keeps this node's lease, opens the node once it has one, and declares
// others dead. It is a goroutine of the room's.
func (rp *replica) attendLease() {
	defer rp.room.wg.Done()
	defer rp.releaseLease()
	every := max(rp.caps.Lease/3, time.Millisecond)
	t := time.NewTicker(every)
	defer t.Stop()
	for opened := ""; rp.ctx.Err() == nil; {
		name := rp.keepLease(every)
		if name != "" && name != opened {
			opened = name
			rp.open(name)
		}
		rp.askForVerdict()
		rp.giveUpLate()
		rp.beat()
		rp.declare()
		var soon <-chan time.Time
		if name == "" {
			soon = time.After(every / 10)
		}
		select {
		case <-t.C:
		case <-soon:
		case <-rp.renew:
		case <-rp.ctx.Done():
		}
	}
}

// keepLease renews the lease of the node, and returns the node's name if that was
// confirmed.
func (rp *replica) keepLease(within time.Duration) (name string) {
	r := rp.room
	r.mu.Lock()
	name = rp.name
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(rp.ctx, within)
	defer cancel()
	err := rp.log.Nodes().Renew(ctx, name)
	r.mu.Lock()
	switch {
	case err != nil:
		rp.since = time.Time{}
	case rp.since.IsZero():
		rp.since = time.Now()
	}
	r.mu.Unlock()
	if err != nil {
		if rp.ctx.Err() == nil {
			r.report(r.cfg.conn.logger, slog.LevelWarn, "lease", logBurst, "lease not renewed", "cause", err)
		}
		return ""
	}
	return name
}

// open queues the entry with which the node of that name opens.
func (rp *replica) open(name string) {
	rp.room.mu.Lock()
	defer rp.room.mu.Unlock()
	if rp.name == name && rp.phase == phaseOpening {
		rp.controlLocked(&fold.Entry{Kind: fold.Open})
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
		if time.Since(f.began) >= most {
			late = f
		}
	}
	silent := !rp.lost.IsZero() && time.Since(rp.lost) >= most && rp.phase == phaseReady
	idle := rp.phase < phaseReady && len(rp.flights)+len(rp.control) == 0 && !rp.unready.IsZero() && time.Since(rp.unready) >= most
	rp.room.mu.Unlock()
	switch {
	case late != nil || silent:
		rp.giveUp(late, errSilent)
	case idle:
		rp.giveUpWaiting()
	}
}

// errNotOpen says that a node which has another name cannot open.
var errNotOpen = errors.New("tcproom: this process was taken for dead, and gets no lease to go on")

// giveUpWaiting is for what waits until the node is ready again, which takes too long: it
// has another name, and gets no lease.
func (rp *replica) giveUpWaiting() {
	p := rp.room.pass(rp.ctx, nil)
	defer p.end()
	rp.unready = time.Now()
	rp.endLinksLocked(p, ErrUnavailable)
	err := fmt.Errorf("%w: %w", ErrUnavailable, errNotOpen)
	rp.requeueLocked(rp.failLocked(err, err))
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
	seq, sum := rp.state.LastBeat()
	rp.queueAloneLocked(&fold.Entry{Kind: fold.Beat, Number: seq, Sum: sum})
}

// watchLeases notes who lives. It is a goroutine of the room's.
func (rp *replica) watchLeases() {
	r := rp.room
	defer r.wg.Done()
	wait := backoff{first: 100 * time.Millisecond, most: 5 * time.Second}
	for rp.ctx.Err() == nil {
		began := time.Now()
		r.mu.Lock()
		clear(rp.alive) // the watch tells of all that there are
		r.mu.Unlock()
		err := rp.log.Nodes().Watch(rp.ctx, func(node string, alive bool) {
			r.mu.Lock()
			if alive {
				rp.alive[node] = true
			} else {
				delete(rp.alive, node)
			}
			r.mu.Unlock()
			if !alive {
				rp.declare()
			}
		})
		if rp.ctx.Err() != nil {
			return
		}
		r.report(r.cfg.conn.logger, slog.LevelWarn, "watch", logBurst, "leases are not watched", "cause", err)
		pause(rp.ctx, wait.next(time.Since(began), 0))
	}
}

// declare looks for nodes that are open and have no lease, and has it ordered that they
// are dead. One that has not had its own lease confirmed for a whole lease does not judge:
// after an outage of the engine all leases are over at once.
func (rp *replica) declare() {
	r := rp.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if rp.sweep || rp.phase != phaseReady || !rp.trustedLocked() || len(rp.suspectsLocked()) == 0 {
		return
	}
	rp.sweep = true
	r.wg.Add(1)
	go rp.judge(rp.turn())
}

// trustedLocked reports whether this node may declare others dead.
func (rp *replica) trustedLocked() bool {
	return !rp.since.IsZero() && time.Since(rp.since) >= rp.caps.Lease
}

// suspectsLocked returns the nodes that are open and have no lease that is known of.
func (rp *replica) suspectsLocked() (list []fold.Node) {
	for node := range rp.state.Alive() {
		if node != rp.node && !rp.alive[nodeName(node)] {
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
		alive, err := rp.log.Nodes().Alive(ctx, nodeName(node))
		cancel()
		r.mu.Lock()
		if err == nil && !alive && rp.phase == phaseReady && rp.trustedLocked() && rp.state.IsOpen(node) {
			rp.queueAloneLocked(&fold.Entry{Kind: fold.NodeDown, Node: node})
		}
		r.mu.Unlock()
	}
	r.mu.Lock()
	rp.sweep = false
	r.mu.Unlock()
}

// nodeName returns what a node is called where leases are kept.
func nodeName(n fold.Node) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(n[:])
}

// releaseLease gives the lease back of a node that has left the cluster. That of one which
// has not runs out, for its members are to be taken for lost.
func (rp *replica) releaseLease() {
	r := rp.room
	r.mu.Lock()
	name, left := rp.name, !rp.state.IsOpen(rp.node)
	r.mu.Unlock()
	if !left {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := rp.log.Nodes().Release(ctx, name); err != nil {
		r.report(r.cfg.conn.logger, slog.LevelWarn, "lease", logBurst, "lease not released", "cause", err)
	}
}
