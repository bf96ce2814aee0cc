package tcproom

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"log/slog"
	"maps"
	"slices"
	"time"

	"example.com/tcproom/internal/fold"
	"example.com/tcproom/internal/lockorder"
)

// An attendance is this process where leases are kept: it renews the lease by which
// others know that the process lives, and notes who else has one. All rooms of a hub
// share one, and a room of New has its own: so neither the renewals nor what others are
// told of them grows with the rooms.
//
// A node is this process in one log. The second half of its name is that of the lease.
// The first half is its own, so that a room that was declared dead, or that was closed
// and is made again, is another node, with the same lease.
type attendance struct {
	room  *Room // with which it ends: in a hub the one of all connections
	nodes Nodes
	ctx   context.Context
	stop  context.CancelFunc

	mu        lockorder.Mutex // guards what follows; taken under rooms' locks
	every     time.Duration   // a third of what a lease lasts, in the log in which that is least; zero: it has not begun
	lease     *lease          // for nodes that are to come
	held      []*lease        // all that are renewed, lease among them
	here      map[fold.Node]struct{}
	rooms     map[*replica]struct{} // that read their logs
	over      bool                  // room has ended
	since     time.Time             // from then on all renewals were confirmed in time; zero: the last was not
	confirmed time.Time             // when the last one began that was
	alive     map[string]struct{}   // leases that there are, as the last watch has told
	timer     *time.Timer           // for the next renewal; nil: it goes on, or nothing has begun
	early     bool                  // that is to be now
	visiting  bool                  // a goroutine visits the rooms
	visitMore bool                  // and it has to begin anew
}

// A lease is one of this process. The lock of its attendance guards it.
type lease struct {
	half      halfNode
	name      string
	users     int       // replicas whose node has it
	confirmed time.Time // when the last renewal began that was confirmed; zero: none was
	spoilt    bool      // it has to run out: a log may have a node with it that nobody attends to
}

// A halfNode is the half of a node's name that says which lease it has.
type halfNode [len(fold.Node{}) / 2]byte

func halfOf(n fold.Node) halfNode { return halfNode(n[len(n)/2:]) }

// leaseName returns what the lease of a node is called.
func (h halfNode) leaseName() string { return textOf(h[:]) }

// textOf returns the letters and digits that name what has those bytes for a name.
func textOf(name []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(name)
}

// newAttendance returns one that does nothing before enroll.
func newAttendance(r *Room, nodes Nodes) *attendance {
	a := &attendance{
		room: r, nodes: nodes,
		here: make(map[fold.Node]struct{}), rooms: make(map[*replica]struct{}), alive: make(map[string]struct{}),
	}
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.newLeaseLocked()
	return a
}

func (a *attendance) newLeaseLocked() {
	a.lease = new(lease)
	rand.Read(a.lease.half[:])
	a.lease.name = a.lease.half.leaseName()
	a.held = append(a.held, a.lease)
}

// newNode returns a name for a node, with its lease, in place of one that there was, or
// of none. That one leaves nobody in its log.
func (a *attendance) newNode(was fold.Node, of *lease) (fold.Node, *lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endNodeLocked(was, of)
	var n fold.Node
	rand.Read(n[:])
	copy(n[len(n)/2:], a.lease.half[:])
	a.here[n] = struct{}{}
	a.lease.users++
	return n, a.lease
}

func (a *attendance) endNodeLocked(n fold.Node, of *lease) {
	if of != nil {
		of.users--
		delete(a.here, n)
	}
}

// enroll has the leases attended to, and rp visited three times in one.
func (a *attendance) enroll(rp *replica) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rooms[rp] = struct{}{}
	begins := a.every == 0
	if every := max(rp.caps.Lease/3, time.Millisecond); begins || every < a.every {
		a.every = every
		a.attendSoonLocked()
	}
	if begins && a.ctx.Err() == nil {
		a.room.wg.Add(2)
		go a.attend()
		go a.watch()
	}
}

// retire is the end of what rp, which has that node, has of a. If the node may be in the
// log, and has not left it, its lease must run out, so that others declare it dead: then
// the other rooms take a new one.
func (a *attendance) retire(rp *replica, n fold.Node, of *lease, clean bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.rooms, rp)
	a.over = a.over || rp.room == a.room
	a.endNodeLocked(n, of)
	if !clean {
		a.spoilLocked(of)
	}
	if a.over && len(a.rooms) == 0 {
		a.stop()
		a.attendSoonLocked() // to release them
	}
}

// spoil has l run out, because a log may have a node with it that nobody attends to. The
// rooms whose nodes have it take another one.
func (a *attendance) spoil(l *lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spoilLocked(l)
}

func (a *attendance) spoilLocked(l *lease) {
	l.spoilt = true
	if l == a.lease && !a.over {
		a.newLeaseLocked()
		a.attendSoonLocked()
	}
}

// attendSoonLocked has the leases renewed now.
func (a *attendance) attendSoonLocked() {
	a.early = true
	if a.timer != nil && a.timer.Stop() {
		a.timer = nil
		go a.attend()
	}
}

func (a *attendance) attendSoon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attendSoonLocked()
}

// attend renews the leases, has the rooms visited, and sees to it that it is called again
// when the next renewal is due, or releases the leases if that was the end. It waits for
// no lock of a room. It has a place among the goroutines of the room until then.
func (a *attendance) attend() {
	a.mu.Lock()
	a.early, a.timer = false, nil
	a.mu.Unlock()
	var wait time.Duration
	began, ok := time.Now(), false
	if a.ctx.Err() == nil {
		wait, ok = a.renew()
		a.visitSoon()
	}
	a.mu.Lock()
	if a.ctx.Err() != nil {
		a.mu.Unlock()
		a.release()
		a.room.wg.Done()
		return
	}
	defer a.mu.Unlock()
	switch {
	case a.early:
		wait = 0
	case ok:
		wait -= time.Since(began)
	default:
		wait /= 10
	}
	a.timer = time.AfterFunc(wait, a.attend)
}

// renew renews all leases that are of use, and reports whether all were confirmed. The
// others run out.
func (a *attendance) renew() (every time.Duration, ok bool) {
	a.mu.Lock()
	every, ok = a.every, true
	a.held = slices.DeleteFunc(a.held, func(l *lease) bool { return l.users == 0 && l != a.lease })
	held := slices.Clone(a.held)
	a.mu.Unlock()
	for _, l := range held {
		began := time.Now()
		ctx, cancel := context.WithTimeout(a.ctx, every)
		err := a.nodes.Renew(ctx, l.name)
		cancel()
		a.renewed(l, began, err)
		ok = ok && err == nil
	}
	return every, ok
}

// renewed notes what became of a renewal.
func (a *attendance) renewed(l *lease, began time.Time, err error) {
	a.mu.Lock()
	switch {
	case err != nil:
		a.since = time.Time{}
	case a.since.IsZero() || time.Since(a.confirmed) >= 3*a.every: // or this process stood still
		a.since = time.Now()
	}
	if err == nil {
		l.confirmed, a.confirmed = began, began
	}
	a.mu.Unlock()
	if err != nil && a.ctx.Err() == nil {
		a.room.report(a.room.cfg.conn.logger, slog.LevelWarn, "lease", logBurst, "lease not renewed", "cause", err)
	}
}

// release gives back the leases of nodes that have all left. Others run out, for the
// members of their nodes are to be taken for lost.
func (a *attendance) release() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	a.mu.Lock()
	held := slices.DeleteFunc(a.held, func(l *lease) bool { return l.spoilt || l.confirmed.IsZero() })
	a.held = nil
	a.mu.Unlock()
	for _, l := range held {
		if err := a.nodes.Release(ctx, l.name); err != nil {
			a.room.report(a.room.cfg.conn.logger, slog.LevelWarn, "lease", logBurst, "lease not released", "cause", err)
		}
	}
}

// watch notes who lives. It is a goroutine of the room's.
func (a *attendance) watch() {
	defer a.room.wg.Done()
	wait := backoff{first: 100 * time.Millisecond, most: 5 * time.Second}
	for a.ctx.Err() == nil {
		began := time.Now()
		a.mu.Lock()
		clear(a.alive) // the watch tells of all that there are
		a.mu.Unlock()
		err := a.nodes.Watch(a.ctx, a.told)
		if a.ctx.Err() != nil {
			return
		}
		a.room.report(a.room.cfg.conn.logger, slog.LevelWarn, "watch", logBurst, "leases are not watched", "cause", err)
		pause(a.ctx, wait.next(time.Since(began), 0))
	}
}

// told notes that a lease has begun, or ended.
func (a *attendance) told(name string, alive bool) {
	a.mu.Lock()
	if alive {
		a.alive[name] = struct{}{}
	} else {
		delete(a.alive, name)
	}
	a.mu.Unlock()
	if !alive {
		a.visitSoon()
	}
}

// visitSoon has all rooms see to what is due. It does not wait for that.
func (a *attendance) visitSoon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.visitMore = true; !a.visiting {
		a.visiting = true
		a.room.wg.Add(1) // the caller counts there too
		go a.visit()
	}
}

// visit is a goroutine of the room's.
func (a *attendance) visit() {
	defer a.room.wg.Done()
	for {
		a.mu.Lock()
		if !a.visitMore || a.ctx.Err() != nil {
			a.visiting = false
			a.mu.Unlock()
			return
		}
		a.visitMore = false
		rooms := slices.Collect(maps.Keys(a.rooms))
		a.mu.Unlock()
		for _, rp := range rooms {
			rp.attend()
		}
	}
}

// has reports whether this process has l, as it was renewed a moment ago.
func (a *attendance) has(l *lease) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ctx.Err() == nil && !l.confirmed.IsZero() && time.Since(l.confirmed) < 2*a.every
}

// isSpoilt reports whether l has to run out.
func (a *attendance) isSpoilt(l *lease) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return l.spoilt
}

// isTrusted reports whether this process may declare others dead: its renewals were
// confirmed for a whole lease, and it has not stood still since.
func (a *attendance) isTrusted(whole time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.since.IsZero() && time.Since(a.since) >= whole && time.Since(a.confirmed) < whole
}

// sees reports whether the node lives as far as is known here. One that has a lease of
// this process is here, or nowhere. own says that it has.
func (a *attendance) sees(n fold.Node) (lives, own bool) {
	half := halfOf(n)
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.ContainsFunc(a.held, func(l *lease) bool { return l.half == half }) {
		_, lives = a.here[n]
		return lives, true
	}
	_, lives = a.alive[half.leaseName()]
	return lives, false
}

// lives asks for the lease of a node.
func (a *attendance) lives(ctx context.Context, n fold.Node) (bool, error) {
	if lives, own := a.sees(n); own {
		return lives, nil
	}
	return a.nodes.Alive(ctx, halfOf(n).leaseName())
}
