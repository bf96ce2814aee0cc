package tcproom

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"example.com/tcproom/internal/fold"
	"example.com/tcproom/internal/ledger"
)

// What comes back on the log's tail takes effect here, entry by entry, in a pass of the
// goroutine that reads the log: it calls no hook.

// A coming is a member that waits on a link for its join, or its resume, to come back.
type coming struct {
	stream  *stream
	member  *Member
	lane    *lane
	entry   entry
	limiter Limiter  // of a member that arrives
	arrives bool     // from another node, and OnJoin was called for it
	in      bool     // it has joined, or resumed
	seq     uint64   // of its welcome
	err     error    // why it cannot stay, although it is in
	over    bool     // nobody waits any more
	pos     Position // of a membership of a connection: from where on it goes on
}

// apply folds a record, and does what its entries say.
func (rp *replica) apply(rec Record) error {
	r := rp.room
	h, _, _, err := fold.ParseHeader(rec.Data)
	if err != nil {
		return rp.cannotRead(rec, err)
	}
	lost, unknown, err := rp.applyRecord(rec, h)
	if unknown > 0 {
		r.report(r.cfg.conn.logger, slog.LevelWarn, "unknown", logBurst, "log has entries that this version does not know, and passes over", "pos", rec.Pos, "entries", unknown)
	}
	if lost > 0 {
		r.report(r.cfg.conn.logger, slog.LevelError, "missing", logBurst, "log has lost records that it had taken", "pos", rec.Pos, "records", lost)
	}
	if errors.Is(err, fold.ErrFormat) || errors.Is(err, fold.ErrNewer) || errors.Is(err, fold.ErrPosition) {
		return rp.cannotRead(rec, err)
	}
	return err
}

// applyRecord is apply of a record with that header, in one pass. lost is how many records
// before it the log had taken and has not. unknown is how many entries were passed over so
// far, if this record has some.
func (rp *replica) applyRecord(rec Record, h fold.Header) (lost, unknown uint64, err error) {
	r := rp.room
	p := r.pass(rp.ctx, nil)
	defer p.end()
	if rp.phase == phaseOver {
		return 0, 0, errStopTail
	}
	switch {
	case rp.state.Pos() > 0:
	case rec.Pos > 1:
		rp.forgetLocked(rec.Pos - 1)
	default: // nothing was before, whatever epoch its writer believes in
		rp.begun = true
	}
	if h.Epoch != (fold.Epoch{}) && !rp.isLost(h.Epoch) && !rp.begun {
		return 0, 0, errNoBeginning
	}
	rp.unblockLocked()
	rp.unsaved++
	rp.unsavedBytes += len(rec.Data)
	rp.lost = time.Time{}
	if rec.Time.After(rp.time) {
		rp.time = rec.Time
	}
	rp.skew = time.Until(rec.Time)
	var f *flight
	if h.Node == rp.node {
		// Somebody else may have written it under this node's name.
		if f = rp.flights[h.Batch]; f != nil && !bytes.Equal(f.rec, rec.Data) {
			f = nil
		}
		if f != nil {
			delete(rp.flights, f.batch) // what becomes of it is told here, and nowhere else
			rp.flown -= len(f.rec)
			rp.lineLocked()
		}
	}
	opened, anew := false, false
	var fenced []queued
	rp.applying = true
	err = rp.state.Apply(rec.Pos, rec.Time, rec.Data, func(res *fold.Result) {
		rp.known = res.Seq
		var q *queued
		if f != nil {
			q = &f.items[res.Index]
		}
		if res.Missing > 0 {
			lost += res.Missing
			r.stats.logGaps += res.Missing
		}
		if res.Verdict == fold.Unknown {
			rp.unknown++
			unknown = rp.unknown
		}
		if res.Entry.Kind == fold.Reclaim && q != nil {
			p.reclaimed()
		}
		anew = anew || res.Differs && res.Entry.Kind == fold.Begin
		if res.Verdict == fold.Placed {
			opened = opened || res.Entry.Kind == fold.Open && h.Node == rp.node
			if rp.needsCheckpoint(res) {
				rp.resaves = max(rp.resaves, 1)
			}
			p.effect(res, h.Node, q)
		} else if q != nil && (res.Verdict == fold.Fenced || res.Verdict == fold.Stale) {
			fenced = append(fenced, *q)
		} else if q != nil {
			p.void(res)
			q.settle(outcome{err: rp.verdictError(res.Verdict)})
		}
	})
	rp.applying = false
	if err != nil {
		if f != nil { // the room ends, and tells who waits
			rp.flights[f.batch] = f
			rp.flown += len(f.rec)
		}
		return lost, unknown, err
	}
	if f != nil {
		f.told()
	}
	r.group.Wake() // for those who wait until this node has read so far
	switch {
	case h.Node != rp.node: // it has another name now, which is not open
		opened = false
	case len(fenced) > 0 && rp.phase <= phaseReady && !p.differs: // somebody else has used its name
		// They are queued again with what came behind them.
		f.items, rp.flights[f.batch] = fenced, f
		fenced = nil
		p.declaredDead()
	}
	for _, q := range fenced {
		q.settle(outcome{err: ErrUnavailable})
	}
	switch {
	case anew:
		return lost, unknown, errBegunAnew
	case p.differs:
		return lost, unknown, errDiffers
	}
	if rp.progressLocked(opened) {
		p.rejoin()
	}
	rp.lineLocked() // of what was on its way some may be of no more use
	rp.reapLocked()
	rp.checkpointLocked()
	return lost, unknown, nil
}

// needsCheckpoint reports whether another node has opened that knows of no stream, while
// there is one: it had no checkpoint that was of use. If the log has dropped its first
// records it waits for one, which else would be saved when much was said, or late.
func (rp *replica) needsCheckpoint(res *fold.Result) bool {
	h := res.Header
	return res.Entry.Kind == fold.Open && h.Node != rp.node && h.Epoch == (fold.Epoch{}) && rp.state.Epoch() != (fold.Epoch{})
}

// cannotRead ends the room: what is in the log is of a later version, or no room's.
func (rp *replica) cannotRead(rec Record, err error) error {
	r := rp.room
	r.report(r.cfg.conn.logger, slog.LevelError, "record", logBurst, "room ends: its log has a record that this version cannot read", "pos", rec.Pos, "cause", err)
	if !r.isNamed() {
		r.halt()
		return err
	}
	r.takeOutSoon("", nil) // here alone: others may be able to read it
	return err
}

// effect does what an entry says that has its place. q is the entry here, if it is this
// node's.
func (p *pass) effect(res *fold.Result, node fold.Node, q *queued) {
	r, e := p.r, res.Entry
	rp := r.replica
	switch e.Kind {
	default:
		if !rp.isLost(rp.state.Epoch()) && !rp.ofHub.ended { // else another stream is about to begin
			p.effectInStream(res, q)
		}
	case fold.Ban:
		r.noteBansLocked()
	case fold.Begin:
		if !rp.ofHub.ended {
			p.begins(fold.Epoch(e.Replaces))
		}
	case fold.End:
		p.ends(e.Force)
	case fold.Beat:
		if res.Differs {
			p.differs = true
		}
	case fold.NodeDown:
		if e.Node == rp.node {
			p.declaredDead()
		}
	case fold.NodeLeft:
		switch {
		case node != rp.node:
		case rp.phase == phaseLeaving:
			rp.left = true
			rp.overLocked()
		case rp.phase < phaseLeaving: // it has not said so
			p.declaredDead()
		}
	}
	if q != nil {
		o := outcome{seq: res.Seq, stream: rp.streams}
		if e.Kind == fold.Leave {
			o.number = res.Member.Number
		}
		q.settle(o)
	}
}

// effectInStream is effect of an entry about members, or what they say.
func (p *pass) effectInStream(res *fold.Result, q *queued) {
	switch e := res.Entry; e.Kind {
	case fold.Message:
		p.said(res, q)
	case fold.Join:
		p.joined(res, q)
	case fold.Resume:
		p.resumed(res, q)
	case fold.Leave:
		p.gone(res, Cause(e.Cause))
	case fold.Kick:
		p.gone(res, p.kickCause(res))
	case fold.Direct:
		p.told(res)
	case fold.Rename:
		p.renamed(res)
	case fold.Mute:
		p.r.muteLocked(e.ID, res.Member.Name, e.Until)
	}
}

// said orders a message.
func (p *pass) said(res *fold.Result, q *queued) {
	e := res.Entry
	p.from, p.guest, p.owner, p.read = nil, MemberInfo{}, nil, time.Time{}
	p.ev.From = MemberInfo{}
	switch {
	case e.Guest:
		p.guest = MemberInfo{ID: e.From, Name: e.Name}
		p.ev.From = p.guest
	case res.Member != nil:
		p.from = p.r.members.byID(e.From)
		p.ev.From = infoOf(res.Member)
	}
	if m := p.from; m != nil {
		if s := m.at.Load(); !s.link.cfg.echo {
			p.owner = s
		}
	}
	if q != nil {
		p.read = q.call.read
	}
	p.ev.Kind, p.ev.Body = Message, e.Body
	p.place(&p.ev, res.Seq)
	if m := p.from; m != nil && e.Number != 0 && m.session != nil && !m.adrift {
		m.take(e.Number, res.Seq)
	}
	p.from, p.guest, p.owner = nil, MemberInfo{}, nil
}

// joined lets a member in, here if it waits for that.
func (p *pass) joined(res *fold.Result, q *queued) {
	r, e := p.r, res.Entry
	rp := r.replica
	if r.cfg.notices {
		p.place(&Event{Kind: Join, From: infoOf(res.Member)}, res.Seq)
	}
	r.seq = max(r.seq, res.Seq) // without notices too, so that its welcome is not of before
	if m := r.members.byID(e.ID); m != nil && m.adrift {
		if res.Member.Home == rp.node {
			p.comesAshore(m)
		} else { // as another node, which this one was
			p.sendAway(m)
		}
		return
	}
	c := q.coming()
	if c == nil || !c.enters() {
		if res.Member.Home == rp.node { // nobody waits for it any more
			rp.queueAloneLocked(&fold.Entry{Kind: fold.Leave, ID: e.ID, Cause: string(errHandshakeTimeout)})
		}
		return
	}
	if n := res.Member.Number; n > 0 && c.member.session != nil { // it was here before, perhaps by another process
		c.member.take(n, 0)
	}
	past, err := r.historyLocked(p, c.stream, c.lane, c.entry)
	c.in, c.err = true, err
	if c.seq, err = p.comeIn(c.stream, c.lane, past, c.entry); err != nil {
		c.err = err
	}
	if c.err != nil {
		c.stream.link.setCause(c.err)
	}
}

// void is for an entry of this node that does not count. A leave of which the log does not
// know the member may have nobody who waits for it any more.
func (p *pass) void(res *fold.Result) {
	switch rp := p.r.replica; {
	case res.Entry.Kind == fold.Join:
		p.staysAdrift(res)
		return
	case res.Entry.Kind == fold.NodeDown && res.Entry.Node == rp.node:
		rp.moves = false // it has to say so again
		return
	}
	if res.Verdict != fold.NotMember || res.Entry.Kind != fold.Leave && res.Entry.Kind != fold.Kick {
		return
	}
	if m := p.r.members.byID(res.Entry.ID); m != nil && m.state == memberLeaving {
		p.departed(m)
		p.checkEmptySoon()
		p.r.group.Wake()
	}
}

// coming returns who waits for q; nil if it is of another node, or nobody does.
func (q *queued) coming() *coming {
	if q == nil || q.call.comes == nil || q.call.comes.over {
		return nil
	}
	return q.call.comes
}

// resumed has a member go on at another node, or here.
func (p *pass) resumed(res *fold.Result, q *queued) {
	r := p.r
	rp := r.replica
	if res.Member.Home != rp.node {
		if m := r.members.byID(res.Member.ID); m != nil {
			p.goOnElsewhere(m, ErrTakenOver, ErrElsewhere)
		}
		return
	}
	m := r.memberLocked(res.Member.ID)
	if m == nil {
		return
	}
	if c := q.coming(); c != nil {
		p.goOnHere(c, m, res)
	} else { // nobody waits for it any more
		p.stays(m)
	}
}

// goOnElsewhere ends what m, which was connected here, has of the room, and its connection
// with end: it is a member still, whose home is another node.
func (p *pass) goOnElsewhere(m *Member, end, cause Cause) {
	if m.presence != nil && cause == ErrElsewhere {
		m.presence.goElsewhere()
	}
	if l := m.conn(); m.state == memberPresent && l.setCause(end) {
		p.broken = append(p.broken, l)
	}
	p.drop(m, cause)
	p.r.group.Wake()
}

// goOnHere is for a member that has resumed here. It was connected here, or at another
// node.
func (p *pass) goOnHere(c *coming, m *Member, res *fold.Result) {
	if !c.stream.isMain() {
		p.partGoesOn(c, m, res)
		return
	}
	r, s := p.r, c.stream
	l, h := s.link, s.link.hello.Resume
	if m != c.member || m.Remote() != c.arrives {
		// It went elsewhere, or came from there, while its resume was on its way: it is
		// not the one for which hooks were called.
		c.err = ErrUnavailable
		p.stays(m)
		return
	}
	if m.state == memberLeaving { // that is on its way, and who had it go sees the member out
		if c.err = m.Err(); !errors.Is(c.err, ErrKicked) {
			c.err = ErrUnavailable
		}
		return
	}
	if h.Seq > res.Seq && s.form != formAside && ledger.Equal(h.Epoch, r.epoch.get()) { // which is behind all that there can be
		c.err = fmt.Errorf("%w: %d, the last event is %d", errFutureSeq, h.Seq, r.seq)
		p.stays(m)
		return
	}
	if m.Remote() {
		p.arrives(m, l)
		m.session = &session{start: res.Member.Joined, token: ledger.KeyOf(string(h.Token))}
		if n := res.Member.Number; n > 0 {
			m.session.taken.Take(n, 0)
		}
		m.limiter = c.limiter
		if m.turn == nil && (r.cfg.hooks.serial() || l.cfg.rate != nil) {
			m.turn = make(chan struct{}, 1)
		}
	}
	c.err = p.goOn(s, c.lane, m, h)
	if c.in = c.err == nil; !c.in {
		p.stays(m)
	}
}

// stays is for a member that has resumed here and has not got that connection: it has none,
// but for one that it had here before.
func (p *pass) stays(m *Member) {
	if m.Remote() || m.state == memberDetached {
		p.r.replica.detachLocked(m)
	}
}

// gone takes a member out.
func (p *pass) gone(res *fold.Result, cause error) {
	r := p.r
	if m := r.members.byID(res.Member.ID); m != nil {
		p.departs(m, cause, res.Seq)
		return
	}
	if r.cfg.notices {
		p.place(&Event{Kind: Leave, From: infoOf(res.Member)}, res.Seq)
	}
	p.goneElsewhere(res.Member.ID, cause)
}

// departs takes out a member that is connected here, or was. Up to its leave it gets what
// is ordered.
func (p *pass) departs(m *Member, cause error, seq uint64) {
	if m.isPart() {
		p.partDeparts(m, cause, seq)
		return
	}
	r, l, was := p.r, m.conn(), m.state
	switch was {
	case memberPresent:
		if l.setCause(cause) {
			p.broken = append(p.broken, l)
		}
		cause = l.Err()
	case memberDetached:
		r.keepLocked(l)
	}
	m.setCause(cause, causeOf(cause))
	if was != memberLeaving {
		r.moveLocked(m, memberLeaving)
	}
	if r.cfg.notices {
		p.owner = m.at.Load()
		p.place(&Event{Kind: Leave, From: m.Info()}, seq)
		p.owner = nil
	}
	if m.state == memberLeaving { // else the room was closed while its leave waited for a place
		p.departed(m)
	}
	if was == memberDetached {
		go r.dismiss(m)
	}
	r.group.Wake() // for those who wait for its end
}

// told sends a member what is for it alone, if it is connected here.
func (p *pass) told(res *fold.Result) {
	r, e := p.r, res.Entry
	m := r.members.byID(e.ID)
	if m == nil {
		return
	}
	var from MemberInfo
	if of := r.replica.state.Member(e.From); of != nil {
		from = infoOf(of)
	}
	s, v := m.at.Load(), m.voice()
	b, err := s.frameDirect(from, e.Body)
	if err == nil && v != s && v.put(b, maxQueued) {
		return
	}
	if err == nil && s.state == streamJoined {
		p.tell()
		p.events = s.cur.Insert(b, max(maxQueued, len(b))) || p.events
	}
}

// place gives ev the place that the log has given it, and appends it to every lane. It
// waits while flushers are behind, or members hold messages back. Only the room's end
// ends that.
func (p *pass) place(ev *Event, seq uint64) {
	r := p.r
	ev.Seq, ev.Time = seq, r.replica.time
	var blockedSince time.Time
	for !p.cut {
		p.enc.encodeOrdered(r.lanes, ev)
		p.mayWait(ev)
		ch := p.hasRoom(ev, &blockedSince)
		if ch == nil {
			p.commit(ev)
			return
		}
		// What comes behind one that has no place must not have one.
		p.cut = p.await(ch, blockedSince) != nil || r.state == roomClosed
		r.replica.heldBack = p.now
	}
}

// declaredDead is for a node that others take for dead, and that lives. It goes on as
// another one, which wants the members back that are connected here. What was on its way
// does not count any more, and is queued again.
func (p *pass) declaredDead() {
	rp := p.r.replica
	for m := p.r.members.first; m != nil; {
		next := m.next
		if rp.state.Member(m.Info().ID) != nil && m.state != memberPresent {
			p.goOnElsewhere(m, ErrUnavailable, ErrUnavailable)
		}
		m = next
	}
	if rp.phase > phaseReady {
		return
	}
	rp.fenced = rp.node
	flown, waits := rp.takeAllLocked()
	rp.requeueLocked(append(flown, waits...))
	rp.anewLocked()
}

// begins is for another stream than the one before, of which nobody is a member yet.
func (p *pass) begins(replaces fold.Epoch) {
	rp := p.r.replica
	rp.loseEpochLocked(replaces)
	rp.begun = true
	goesOn := p.r.hub == nil && rp.phase <= phaseReady
	p.forgetStream(goesOn)
	if rp.phase == phaseReady { // else it takes over the epoch when it is
		rp.setEpochLocked()
		rp.resaves = 2
		if goesOn {
			flown, waits := rp.takeAllLocked() // that is of another epoch, and void
			rp.requeueLocked(append(flown, waits...))
			p.rejoin()
		}
	}
}

// maxClaim is how many members a reclaim is about at most, so that a record holds it.
const maxClaim = 1000

// reclaimLocked wants the members back that are connected here and were those of the node
// that this one was.
func (rp *replica) reclaimLocked() {
	if rp.fenced == (fold.Node{}) {
		return
	}
	if rp.state.IsOpen(rp.fenced) { // only this node knows that it is not
		rp.controlLocked(&fold.Entry{Kind: fold.NodeDown, Node: rp.fenced})
	}
	e := fold.Entry{Kind: fold.Reclaim, Replaces: rp.fenced}
	for m := rp.room.members.first; m != nil; m = m.next {
		e.IDs = append(e.IDs, m.Info().ID)
		if len(e.IDs) == maxClaim || m.next == nil {
			rp.claims++
			rp.controlLocked(&e)
			e.IDs = e.IDs[:0]
		}
	}
	if rp.claims == 0 {
		rp.fenced = fold.Node{}
	}
}

// reclaimed is for the verdict on a reclaim of this node. When there is the last of them,
// members that it has not got back have gone on elsewhere, or are about to be told as left.
func (p *pass) reclaimed() {
	rp := p.r.replica
	if rp.claims--; rp.claims > 0 {
		return
	}
	rp.fenced = fold.Node{}
	for m := p.r.members.first; m != nil; {
		next := m.next
		if of := rp.state.Member(m.Info().ID); of != nil && of.Home != rp.node {
			p.goOnElsewhere(m, ErrUnavailable, ErrUnavailable)
		}
		m = next
	}
}

// overLocked ends what this node has of the log. After its node-left it gets nothing more: the
// cursors of those that are here end with what was ordered before that.
func (rp *replica) overLocked() {
	if rp.phase != phaseOver {
		rp.phase = phaseOver
		rp.lookLocked()
		close(rp.over)
	}
}

// reapLocked orders the leaves of members whose grace is over, and sees to it that
// somebody does so in time for those for whom that comes.
func (rp *replica) reapLocked() {
	if rp.reaper != nil {
		rp.reaper.Stop()
		rp.reaper = nil
	}
	next := rp.state.NextDue()
	if next.IsZero() || rp.phase != phaseReady || rp.reaping {
		return
	}
	due := next.Add(-rp.skew).Add(rp.turn())
	if d := time.Until(due); d > 0 {
		rp.reaper = time.AfterFunc(d, rp.reap)
		return
	}
	c := newCall()
	for _, m := range rp.state.Due(time.Now().Add(rp.skew)) {
		c.add(&fold.Entry{Kind: fold.Leave, ID: m.ID, Cause: string(errLeft)})
		if len(c.ends) == fold.MaxEntries {
			break
		}
	}
	if len(c.ends) == 0 { // the clocks differ a little
		rp.reaper = time.AfterFunc(rp.oneTurn(), rp.reap)
		return
	}
	rp.queueLocked(c)
	rp.reaping = true
	rp.room.wg.Add(1)
	go rp.reaped(c)
}

// reaped has the next ones looked for when the leaves of c are ordered. It ends then.
func (rp *replica) reaped(c *call) {
	r := rp.room
	defer r.wg.Done()
	select {
	case <-c.done:
	case <-rp.ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if rp.reaping = false; rp.ctx.Err() == nil {
		rp.reaper = time.AfterFunc(rp.oneTurn(), rp.reap)
	}
}

// reap is reapLocked when the timer goes off.
func (rp *replica) reap() {
	rp.room.mu.Lock()
	defer rp.room.mu.Unlock()
	if rp.ctx.Err() == nil {
		rp.reapLocked()
	}
}

// oneTurn is how long a node waits for the one before it to do what one of them has to.
func (rp *replica) oneTurn() time.Duration { return 250 * time.Millisecond }

// turn is how long this node waits before it does what one of all has to do: the one that
// is longest in the cluster does not.
func (rp *replica) turn() time.Duration {
	n := time.Duration(0)
	for node := range rp.state.Alive() {
		if node == rp.node {
			break
		}
		n++
	}
	return n * rp.oneTurn()
}

const (
	checkpointRecords = 2000    // after so many records a state is saved
	checkpointBytes   = 4 << 20 // or so many bytes of them
)

// checkpointLocked saves the state, if that is this node's turn, which is open for longest
// of all: there were many records since the last time, or that is long ago. So a log has
// still the record of the older one of the last two.
func (rp *replica) checkpointLocked() {
	if rp.saving || rp.applying || rp.unsaved == 0 || rp.phase != phaseReady {
		return
	}
	most := checkpointRecords
	if kept := rp.caps.Records; kept > 0 {
		most = min(most, max(kept/4, 1))
	}
	// The older of two is loaded: so a node that starts after the second checkpoint reads
	// all that is between them.
	late := rp.savedAt.IsZero() || rp.resaves > 0 || rp.caps.Age > 0 && time.Since(rp.savedAt) >= rp.caps.Age/4
	if lowest, _ := rp.state.Lowest(); lowest != rp.node || !late && rp.unsaved < most && rp.unsavedBytes < checkpointBytes {
		return
	}
	rp.saving, rp.unsaved, rp.unsavedBytes, rp.savedAt = true, 0, 0, time.Now()
	rp.resaves = max(rp.resaves-1, 0)
	rp.room.wg.Add(1)
	go rp.save(rp.state.Pos(), rp.state.Save())
}

// save saves a state. It ends when the log has it, or has failed.
func (rp *replica) save(pos uint64, state []byte) {
	r := rp.room
	defer r.wg.Done()
	err := rp.log.Save(rp.ctx, pos, state)
	if err != nil && rp.ctx.Err() == nil {
		r.report(r.cfg.conn.logger, slog.LevelWarn, "save", logBurst, "checkpoint not saved", "cause", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if rp.saving = false; err != nil {
		rp.unsaved, rp.savedAt = max(rp.unsaved, 1), time.Time{} // soon again
	}
}
