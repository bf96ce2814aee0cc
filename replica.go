package tcproom

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"example.com/tcproom/internal/fold"
)

// A replica keeps a room in step with its [Log], which gives the order. What is said or
// done here is queued, goes into the log in batches (submit.go), and takes effect when it
// comes back on the log's tail, as what other nodes have put there does (apply.go). So all
// nodes see one order. Nothing waits for the log with the room's lock held.
//
// A node is the stay of this process in the cluster. Other nodes know by the lease of the
// process that it lives (attendance.go), and declare it dead if it does not (lease.go).
type replica struct {
	room *Room
	log  Log // of a hub's room nil until it was opened
	caps Caps
	ctx  context.Context // ends when nothing more is wanted of the log
	stop context.CancelFunc
	err  error // why the log cannot be used; nil: it can

	// Guarded by the room's lock.
	state        *fold.State
	known        uint64 // the position of the last entry that has taken effect
	node         fold.Node
	name         string // of the node, in IDs
	phase        phase
	ready        chan struct{} // closed from phaseReady on, until the node is another one
	over         chan struct{} // closed by phaseOver
	nowhere      *stream       // of all members whose home is another node
	ids          uint64        // of members and guests that were made up
	time         time.Time     // of the last record, made not to fall
	skew         time.Duration
	lost         time.Time // since when the log has no tail; zero: it has one
	heldBack     time.Time // when members here held back what the tail has brought, the last time
	applying     bool      // a record takes effect: the state has a part of it
	cutTail      func()    // ends the tail
	other        bool      // the log has taken a record of ours at a position that was read already
	saving       bool      // a checkpoint is being saved
	savedAt      time.Time // when this node began the last one, or that was from which it began; zero: there is none
	unsaved      int       // records since then
	unsavedBytes int       // of them
	resaves      int       // checkpoints to be saved soon, in the place of those of a stream that is lost
	begun        bool      // the state knows how its stream began
	blocked      bool      // the log has no beginning that can be read
	begged       time.Time // when it has last said so; zero: it has not
	reaping      bool      // leaves of members whose grace is over are on the way
	reaper       *time.Timer
	fenced       fold.Node          // the node that this one was, and whose members it wants back; zero: none
	claims       int                // reclaims that are on the way
	streams      uint64             // how many were forgotten: which one a seq is of
	adrift       int                // members that are connected here, and not in the stream of now: see reset.go
	far          map[string]*Member // by ID: members of other nodes that somebody has asked for
	ofHub        hubReplica
	unknown      uint64 // entries of kinds that this version does not know
	// lostEpochs are those of which records are lost that were read here, the last ones. A log
	// that is rolled back twice may have one in force again.
	lostEpochs []fold.Epoch
	outbound
	standing
	outage
}

// phase is how far a node has come. It goes back to phaseOpening when the node is
// declared dead and takes another name.
type phase uint8

const (
	phaseOpening phase = iota // reads the log, until it comes to its own open
	phaseOpen                 // has caught up, and waits for an epoch
	phaseReady
	phaseDraining // Shutdown: lets nobody in, and sends members to other nodes
	phaseLeaving  // its node-left is on the way, the last that it has ordered
	phaseOver     // the rest of the log is not for this node
)

// logsInUse are the logs of all rooms: a log is one room's.
var logsInUse sync.Map

// newReplica returns the replica of r, which reads nothing before start.
func newReplica(r *Room, log Log) *replica {
	rp := emptyReplica(r, newAttendance(r, log.Nodes()))
	if rp.err = rp.use(log); rp.err != nil {
		rp.stop()
	}
	return rp
}

// emptyReplica returns one of r that has no log yet.
func emptyReplica(r *Room, a *attendance) *replica {
	rp := &replica{room: r, state: fold.New()}
	rp.attendance = a
	rp.ctx, rp.stop = context.WithCancel(context.Background())
	rp.ready, rp.over = make(chan struct{}), make(chan struct{})
	rp.flights = make(map[uint64]*flight)
	rp.more = make(chan struct{}, 1)
	rp.nowhere = newNowhere(r)
	rp.far = make(map[string]*Member)
	rp.cutTail = func() {}
	rp.rename()
	return rp
}

// use takes log for that of the room, or returns why it cannot be.
func (rp *replica) use(log Log) error {
	r := rp.room
	rp.log, rp.caps = log, log.Caps()
	if rp.caps.Lease <= 0 || rp.caps.MaxRecord < minRecord {
		return fmt.Errorf("%w: WithLog: Caps of %T say a lease of %v and records of %d bytes; a room needs a lease above 0 and records of %d bytes", ErrOption, log, rp.caps.Lease, rp.caps.MaxRecord, minRecord)
	}
	if !reflect.ValueOf(log).Comparable() {
		return fmt.Errorf("%w: WithLog: %T is not comparable; use a pointer", ErrOption, log)
	}
	if most := rp.maxBody(); r.cfg.conn.maxMessage > most {
		return fmt.Errorf("%w: WithMaxMessage(%d) with WithLog: a record of the log holds bodies of %d bytes at most", ErrOption, r.cfg.conn.maxMessage, most)
	}
	if _, taken := logsInUse.LoadOrStore(log, r); taken {
		return fmt.Errorf("%w: WithLog: this log is another room's; open one for each room", ErrOption)
	}
	return nil
}

// start begins to read the log.
func (rp *replica) start() {
	switch {
	case rp.err != nil:
		rp.room.cfg.conn.logger.Warn("tcproom: log cannot be used", "cause", rp.err)
		return
	case rp.log == nil:
		rp.startOpening()
		return
	}
	rp.beginRun()
	go rp.run()
	rp.attendance.enroll(rp)
}

// newNowhere returns the stream of members that have none in this process: its link has
// ended.
func newNowhere(r *Room) *stream {
	l := &link{cfg: &r.cfg.conn}
	l.transport = transport{cfg: &l.cfg.limits, group: r.group}
	l.stream = stream{link: l, room: r, state: streamEnded}
	l.setCause(ErrElsewhere)
	return &l.stream
}

// minRecord is how many bytes a record of a log must be able to hold.
const minRecord = 64 << 10

// maxBody is how long a body may be, so that a record holds it with all that belongs to
// it.
func (rp *replica) maxBody() int { return rp.caps.MaxRecord - 4<<10 }

// maxEntry is how long an entry may be.
func (rp *replica) maxEntry() int { return rp.caps.MaxRecord - 1<<10 }

// rename makes the node another one, which has not opened.
func (rp *replica) rename() {
	rp.node, rp.lease = rp.attendance.newNode(rp.node, rp.lease)
	rp.asked, rp.written, rp.moves = false, false, false
	rp.name = textOf(rp.node[:])
	rp.life, rp.batch = 1, 0
	rp.phase = phaseOpening
}

// newID returns the ID of a member that joins here.
func (rp *replica) newID() string {
	rp.ids++
	return fmt.Sprintf("%s-%d", rp.name[:8], rp.ids)
}

// guestName returns a name for a member that has none.
func (rp *replica) guestName(n uint64) string {
	return fmt.Sprintf("guest-%d-%d", rp.state.NodeNumber(rp.node), n)
}

// Ready returns nil once the room knows all that was in its log when it began to read,
// and can let members in: at once in a room without a log. It waits until then, again
// each time the log has been silent for [WithMaxOutage], has lost what was read, or says
// that others took this process for dead. It returns the cause of ctx if that ends first,
// [ErrRoomClosed] from the beginning of a stop on, and [ErrOption] if the log cannot be
// used. It may be called from many goroutines.
//
// A balancer that asks which processes may get connections can ask this, with a context
// of a second. That the log is silent it shows only after WithMaxOutage: until then
// members wait.
func (r *Room) Ready(ctx context.Context) error {
	rp := r.replica
	if rp == nil {
		if r.isStopping() {
			return ErrRoomClosed
		}
		return nil
	}
	return rp.becomeReady(ctx, false)
}

// becomeReady is Ready of a room with a log. If hasty is set, it does not wait while a log
// cannot be opened.
func (rp *replica) becomeReady(ctx context.Context, hasty bool) error {
	for {
		rp.room.mu.Lock()
		phase, ready, err := rp.phase, rp.ready, rp.err
		tried, failed := rp.ofHub.tried, rp.ofHub.failed
		rp.room.mu.Unlock()
		switch {
		case err != nil:
			return err
		case hasty && failed != nil:
			return failed
		case phase == phaseReady:
			return nil
		case phase > phaseReady:
			return ErrRoomClosed
		}
		select {
		case <-ready:
		case <-tried:
		case <-rp.over:
			return ErrRoomClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Remote reports whether m is connected to another process, or was last, see [WithLog].
// In a room without a log it is false. It does not block.
//
// A remote member that resumes here is the same value, and not remote any more. One that
// was connected here and resumes elsewhere is gone, with [ErrElsewhere], and another
// value stands for it in [Room.Members].
//
// Of a remote member [Member.Post], [Member.Kick], [Member.Send] and [Room.Mute] go
// through the log, and its process does the rest. TLS is nil, RemoteAddr an IP address, and
// Hello zero. Its Context is done when its leave is known here.
func (m *Member) Remote() bool { return m.room.replica != nil && m.at.Load() == m.room.replica.nowhere }

// run reads the log until nothing more is wanted of it. It is a goroutine of the room's.
func (rp *replica) run() {
	defer rp.endRun()
	defer logsInUse.Delete(rp.log)
	wait := backoff{first: 50 * time.Millisecond, most: 2 * time.Second}
	at := uint64(0) // of the checkpoint with which it has begun
	for loaded, behind := false, false; rp.ctx.Err() == nil; {
		var err error
		began := time.Now()
		if !loaded {
			if err = rp.load(behind); err == nil {
				loaded, behind, at = true, false, rp.state.Pos()
				continue
			}
		} else {
			err = rp.follow()
		}
		if rp.ctx.Err() != nil || errors.Is(err, errStopTail) {
			return
		}
		rp.room.report(rp.room.cfg.conn.logger, level(err), "log", logBurst, "log interrupted", "cause", err)
		rp.room.mu.Lock()
		if rp.lost.IsZero() {
			rp.lost = time.Now()
		}
		rp.room.mu.Unlock()
		var lost *LostError
		anew := errors.Is(err, errBegunAnew)
		other := anew || errors.Is(err, errOtherLog)
		if errors.Is(err, errNoBeginning) {
			loaded = false
			if rp.readAgain() {
				pause(rp.ctx, appendWithin) // or the next attempt would call off what it says
			}
		}
		if errors.As(err, &lost) && lost.First > rp.state.Pos() && rp.mayCatchUp() {
			loaded, behind = false, true // there is a checkpoint of later
		} else if lost != nil || other || errors.Is(err, errDiffers) {
			// A checkpoint with which it could not even begin is of another log, and one of
			// before another stream was begun may still be there.
			useless := anew || at > 0 && rp.state.Pos() == at
			if !rp.startOver(other || lost != nil && lost.First <= rp.state.Pos()) {
				return
			}
			if loaded, at = useless, 0; useless {
				continue
			}
		}
		pause(rp.ctx, wait.next(time.Since(began), 0))
	}
}

// errOtherLog says that the log has another record where the replica stands.
var errOtherLog = errors.New("tcproom: the log has another record at the position of the last one that was read")

// errBegunAnew says that another node, of whose log the beginning was missing, has begun
// another stream. It knows nothing of what this one has made of that.
var errBegunAnew = errors.New("tcproom: the log has lost its beginning, and another node has begun another stream")

// errDiffers says that this node has made another state of the log than the one that
// wrote the last beat: one of them is wrong, or of another version.
var errDiffers = errors.New("tcproom: the state that was made of the log is not that of another node: do the nodes run versions that go together?")

// errNoBeginning says that the log has dropped its first records, and that there is no
// checkpoint of them: who is in is not to be known.
var errNoBeginning = errors.New("tcproom: the log does not reach back to its beginning, and has no checkpoint that does: another node saves one soon, if there is one")

// errStopTail ends a Tail that is not wanted any more.
var errStopTail = errors.New("tcproom: enough of the log")

// load begins from a checkpoint, if there is one. If behind is set, the log has dropped
// what comes behind the state that there is: then it goes on from the checkpoint, or
// starts over.
func (rp *replica) load(behind bool) error {
	s, err := rp.checkpoint()
	if err != nil {
		return err
	}
	if behind {
		if s != nil && rp.catchUp(s) {
			return nil
		}
		if !rp.startOver(s != nil && s.Epoch() != rp.state.Epoch()) {
			return errStopTail
		}
	}
	p := rp.room.pass(rp.ctx, nil)
	defer p.end()
	rp.loaded = true
	defer rp.openLocked()
	if s == nil {
		return nil // the state is that of an empty log
	}
	rp.beginFromLocked(s)
	for m := p.r.members.first; m != nil; {
		next := m.next
		if m.adrift && s.Member(m.Info().ID) != nil && !rp.isLost(s.Epoch()) { // as another node, which this one was
			p.sendAway(m)
		}
		m = next
	}
	rp.setEpochLocked()
	if rp.phase == phaseOpening && len(rp.flights) > 0 {
		// The checkpoint may be of after an open that is on its way: then the tail, which
		// begins behind it, would not tell of that.
		flown, waits := rp.takeAllLocked()
		rp.requeueLocked(append(flown, waits...))
		rp.reopenLocked()
	}
	return nil
}

// checkpoint returns the state that the log has saved, nil if there is none that can be
// used.
func (rp *replica) checkpoint() (*fold.State, error) {
	at, state, err := rp.log.Load(rp.ctx)
	if err != nil {
		return nil, fmt.Errorf("the checkpoint: %w", err)
	}
	if at == 0 {
		return nil, nil
	}
	s, err := fold.Load(state)
	if err == nil && s.Pos() != at {
		err = fmt.Errorf("the checkpoint of %d says that it is of %d", at, s.Pos())
	}
	if err != nil {
		r := rp.room
		r.report(r.cfg.conn.logger, slog.LevelError, "checkpoint", logBurst, "checkpoint not used", "cause", err)
		return nil, nil
	}
	return s, nil
}

// beginFromLocked takes over the state of a checkpoint, but for its members and its epoch.
func (rp *replica) beginFromLocked(s *fold.State) {
	rp.state, rp.begun = s, true
	rp.savedAt, rp.unsaved, rp.unsavedBytes = s.Time(), 0, 0
	rp.forgetLocked(s.Pos())
	rp.room.noteBansLocked()
}

// forgetLocked says that the room does not know the events of the records up to pos.
func (rp *replica) forgetLocked(pos uint64) {
	r, last := rp.room, pos*fold.MaxEntries+fold.MaxEntries-1
	for _, g := range []*ring{r.history, r.events} {
		if g != nil {
			g.gone = last
		}
	}
	r.seq, r.said, rp.known = last, last, last
}

// follow applies the records from the one that was applied last on, until the log has a
// doubt.
func (rp *replica) follow() error {
	r := rp.room
	ctx, cut := context.WithCancel(rp.ctx)
	defer cut()
	r.mu.Lock()
	from, other := rp.state.Pos(), rp.other
	rp.cutTail = cut
	r.mu.Unlock()
	if other {
		return errOtherLog
	}
	again := from > 0
	err := rp.log.Tail(ctx, from, func(rec Record) error {
		if again {
			again = false
			return rp.checkSame(rec)
		}
		return rp.apply(rec)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if rp.other {
		return errOtherLog
	}
	return err
}

// checkSame says whether rec is the record that was applied last.
func (rp *replica) checkSame(rec Record) error {
	h, _, _, err := fold.ParseHeader(rec.Data)
	r := rp.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if node, batch := rp.state.LastID(); err != nil || rec.Pos != rp.state.Pos() || h.Node != node || h.Batch != batch {
		return errOtherLog
	}
	rp.lost = time.Time{}
	rp.unblockLocked()
	return nil
}

// startOver forgets what was read, for the log has lost it. If it has other records in
// their place, or may have, its stream is not the one that members know: then another one
// is begun, unless another node has done so, and they go on in that. It reports false if
// the node is about to stop: then it does so now, for what was on its way is not to be seen
// any more.
func (rp *replica) startOver(other bool) bool {
	p := rp.room.pass(rp.ctx, nil)
	defer p.end()
	if rp.phase > phaseReady {
		rp.overLocked()
		return false
	}
	if other {
		rp.loseEpochLocked(rp.state.Epoch())
		rp.resaves = 2
		p.r.epoch.set(rand.Text()) // what is read before one is in force is not of that
	}
	if other = other && p.r.hub == nil; other {
		p.forgetStream(true)
		rp.requeueSurvivorsLocked()
	} else {
		p.forgetStream(false)
		for _, q := range rp.failLocked(errLostOnTheWay, ErrUnavailable) {
			q.settle(outcome{err: ErrUnavailable})
		}
	}
	if rp.written { // the log may have the node still, which others are to declare dead
		rp.attendance.spoil(rp.lease)
	}
	rp.anewLocked()
	rp.fenced, rp.claims = fold.Node{}, 0
	rp.state, rp.known, rp.time = fold.New(), 0, time.Time{}
	rp.begun, rp.other = false, false
	rp.room.seq = 0
	rp.room.noteBansLocked()
	return true
}

// readAgain forgets what was read, of which the beginning is missing. Nobody was let in:
// members that are here come from a stream that was lost before. It reports whether it has
// the node say that it waits for a checkpoint.
func (rp *replica) readAgain() (begs bool) {
	r := rp.room
	r.mu.Lock()
	defer r.mu.Unlock()
	rp.state, rp.time = fold.New(), time.Time{}
	rp.blocked = true
	r.seq, r.said = 0, 0
	r.startRings()
	if rp.phase > phaseReady {
		return false
	}
	for _, q := range rp.failLocked(errLostOnTheWay, ErrUnavailable) {
		q.settle(outcome{err: ErrUnavailable})
	}
	since := rp.unready
	rp.reopenLocked()
	if !since.IsZero() { // members may wait since then, for another stream
		rp.unready = since
	}
	if begs = time.Since(rp.begged) >= begAgain && rp.attendance.has(rp.lease); begs {
		rp.begged, rp.asked = time.Now(), true
		rp.controlLocked(&fold.Entry{Kind: fold.Open}) // of no epoch, see needsCheckpoint
	}
	return begs
}

// begAgain is how often a node that waits for a checkpoint says so: the log may not have taken
// it, or the node that was to save has died.
const begAgain = time.Minute

// unblockLocked notes that the log has a beginning that can be read: while it has none, not
// each attempt is to leave an open there, but one in a while.
func (rp *replica) unblockLocked() {
	if rp.blocked {
		rp.blocked, rp.begged = false, time.Time{}
		rp.openLocked()
	}
}

// forgetStream ends the stream that the room had: members that are connected here are sent
// away, or, if they are to go on in another stream, are adrift until they are in that. All
// others are gone.
func (p *pass) forgetStream(goesOn bool) {
	r := p.r
	p.tell()
	for m := r.members.first; m != nil; {
		next := m.next
		if !goesOn || !p.castAdrift(m) {
			p.sendAway(m)
		}
		m = next
	}
	r.replica.streams++
	p.allGoneElsewhere(ErrUnavailable)
	r.said = 0
	r.forgetPastLocked()
}

// sendAway ends a member that is connected here, or was, and its connection: the stream in
// which it had joined is lost, or has gone on without it.
func (p *pass) sendAway(m *Member) {
	if s := m.at.Load(); s.state == streamJoined && s.link.setCause(ErrUnavailable) {
		p.broken = append(p.broken, s.link)
	}
	p.drop(m, ErrUnavailable)
}

// forgetPastLocked forgets what was said and done.
func (r *Room) forgetPastLocked() {
	r.startRings()
	for _, l := range r.lanes {
		l.history, l.events = nil, nil
	}
}

// maxLost is how many epochs are remembered that are lost.
const maxLost = 64

// loseEpochLocked notes that records of an epoch are lost.
func (rp *replica) loseEpochLocked(e fold.Epoch) {
	if e == (fold.Epoch{}) || rp.isLost(e) {
		return
	}
	if len(rp.lostEpochs) == maxLost {
		rp.lostEpochs = slices.Delete(rp.lostEpochs, 0, 1)
	}
	rp.lostEpochs = append(rp.lostEpochs, e)
}

func (rp *replica) isLost(e fold.Epoch) bool { return slices.Contains(rp.lostEpochs, e) }

// anewLocked makes the node another one, which has to open.
func (rp *replica) anewLocked() {
	if rp.phase > phaseReady {
		return
	}
	if rp.phase == phaseReady {
		rp.ready = make(chan struct{})
	}
	rp.rename()
	rp.lookLocked()
	rp.unready = time.Now()
	if rp.openLocked(); !rp.asked {
		rp.attendance.attendSoon()
	}
}

// setEpochLocked takes over the epoch in force.
func (rp *replica) setEpochLocked() {
	e := rp.state.Epoch()
	if e == (fold.Epoch{}) {
		return
	}
	r := rp.room
	epoch := textOf(e[:])
	r.epoch.set(epoch)
	for _, l := range r.lanes {
		l.epochs.begin(epoch, l.log.Head())
	}
}

// progressLocked brings the node on: once it has caught up, an epoch is in force, and it
// has back what it had under another name, it is ready. It reports whether it has become so.
func (rp *replica) progressLocked(opened bool) bool {
	if opened && rp.phase == phaseOpening {
		rp.phase = phaseOpen
		if e := rp.state.Epoch(); e == (fold.Epoch{}) || rp.isLost(e) {
			var next fold.Epoch
			rand.Read(next[:])
			rp.controlLocked(&fold.Entry{Kind: fold.Begin, Epoch: next, Replaces: e, Number: rp.known})
		}
		rp.claims = 0 // those of a life before do not count
		rp.reclaimLocked()
	}
	if e := rp.state.Epoch(); rp.phase == phaseOpen && e != (fold.Epoch{}) && !rp.isLost(e) && rp.claims == 0 {
		rp.setEpochLocked()
		rp.phase = phaseReady
		close(rp.ready)
		rp.startAppendingLocked()
		rp.lineLocked()
		rp.room.group.Wake()
		return true
	}
	return false
}

// awaitReady waits until newcomers can be let in, at most until deadline.
func (rp *replica) awaitReady(l *link) error {
	rp.room.mu.Lock()
	phase := rp.phase
	rp.room.mu.Unlock()
	if phase == phaseReady {
		return nil
	}
	l.mayWait()
	ctx, cancel := withDeadline(l.Context(), l.newcomer.deadline, ErrUnavailable)
	defer cancel()
	err := rp.becomeReady(ctx, true)
	if err == error(ErrRoomClosed) { // which goes on in other processes
		return ErrRestarting
	}
	return err
}

// drain lets nobody in any more, and sends members to other nodes if the option says so:
// what they say until then is ordered. Then it takes nothing more, and waits until what was
// queued has come back, and this node has left, or ctx ends.
func (rp *replica) drain(ctx context.Context) {
	if rp.beginDrain(ctx) {
		rp.leave(ctx, false)
	}
}

// beginDrain is drain without the wait. It reports whether there is one: if another call has
// begun, it waits until that is over, or ctx ends.
func (rp *replica) beginDrain(ctx context.Context) bool {
	r := rp.room
	r.mu.Lock()
	if rp.err != nil {
		r.mu.Unlock()
		return false
	}
	if rp.phase > phaseReady {
		r.mu.Unlock()
		select {
		case <-rp.over:
		case <-ctx.Done():
		}
		return false
	}
	ready := rp.phase == phaseReady
	rp.phase = phaseDraining
	rp.lineLocked()
	r.group.Wake()
	links := rp.linksLocked()
	r.mu.Unlock()
	if !ready {
		return false
	}
	if d := r.cfg.drain; d > 0 && !r.isNamed() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(rp.ctx, cancel)() // Close ends it
		began := time.Now()
		for i, l := range links {
			l.end(ErrRestarting)
			pause(ctx, untilTurn(began, d, i+1, len(links)))
		}
	}
	return true
}

// leave has this node leave behind all that was queued, and waits for that, until ctx ends.
// What else has come into force meanwhile, such as another epoch, is no reason to stay. If
// ends is set, the room ends if nobody is in it and all other nodes have left.
func (rp *replica) leave(ctx context.Context, ends bool) {
	ctx, cancel := mostOf(ctx, rp.room.cfg.maxOutage)
	defer cancel()
	rp.room.mu.Lock()
	defer rp.room.mu.Unlock()
	for rp.phase == phaseDraining && ctx.Err() == nil {
		if !rp.state.IsOpen(rp.node) { // others have declared it dead: nothing of it counts any more
			rp.left = true
			return
		}
		rp.phase = phaseLeaving
		rp.lookLocked()
		c := newCall()
		c.upkeep = true
		if ends { // in one record, so that of several that leave the last one ends the room
			c.add(&fold.Entry{Kind: fold.End})
			ends = false
		}
		c.add(&fold.Entry{Kind: fold.NodeLeft})
		rp.queueLocked(c)
		rp.room.mu.Unlock()
		select {
		case <-c.done:
		case <-rp.over:
		case <-ctx.Done():
		}
		rp.room.mu.Lock()
		if rp.phase == phaseLeaving && ctx.Err() == nil {
			rp.phase = phaseDraining
		}
	}
}

// mostOf returns a context that ends when three quarters of the time have passed which ctx
// has, or otherwise, if it has no end: the rest is for goodbyes.
func mostOf(ctx context.Context, otherwise time.Duration) (context.Context, context.CancelFunc) {
	d, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(ctx, otherwise)
	}
	return context.WithTimeout(ctx, time.Until(d)*3/4)
}

// linksLocked returns the links that carry a member.
func (rp *replica) linksLocked() (links []*link) {
	for m := rp.room.members.first; m != nil; m = m.next {
		if s := m.at.Load(); s.state == streamJoined {
			links = append(links, s.link)
		}
	}
	return links
}

// endLocked is the end of the replica, with the room's.
func (rp *replica) endLocked() {
	rp.overLocked()
	rp.retireLocked()
	rp.stop()
	flown, waits := rp.takeAllLocked()
	rp.room.unordered += len(flown) + len(waits)
	for _, q := range flown {
		q.settle(outcome{err: fmt.Errorf("%w: %w", ErrUncertain, ErrRoomClosed)})
	}
	for _, q := range waits {
		q.settle(outcome{err: ErrRoomClosed})
	}
	rp.endLeavesLocked()
	if rp.reaper != nil {
		rp.reaper.Stop()
	}
}

// endLeavesLocked takes out the members that are leaving: their leaves get no place any more,
// and perhaps nobody waits for that.
func (rp *replica) endLeavesLocked() {
	for m := rp.room.members.first; m != nil; {
		next := m.next
		if m.state == memberLeaving {
			rp.room.departedLocked(m)
		}
		m = next
	}
}

// level is how bad the end of a tail is.
func level(err error) slog.Level {
	if errors.Is(err, errDiffers) || errors.Is(err, errOtherLog) || errors.Is(err, errNoBeginning) || errors.Is(err, errBegunAnew) {
		return slog.LevelError
	}
	return slog.LevelWarn
}
