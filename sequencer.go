package tcproom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"example.com/tcproom/internal/fanout"
	"example.com/tcproom/internal/ledger"
)

// A pass is one run through the sequencer: it holds the room's lock between
// pass and end, but for the times in which a message is held back.
type pass struct {
	r      *Room
	ctx    context.Context
	from   *Member    // nil: the room itself, or guest
	guest  MemberInfo // that speaks without being a member; zero: none
	number uint64     // of from's message; 0: it has none
	stream uint64     // of the seq of what say has had a log order
	via    *link      // from speaks over it, and over no other; nil: it need not
	owner  *stream    // does not get the event
	now    time.Time
	read   time.Time // for traces: when the frame of a message was read, or the call was made
	ev     Event     // of say, or a welcome
	enc    *encoder
	events bool
	waits  bool // the event that is ordered is told later, with others
	// differs says that a node has another state than this one, see replica.
	differs bool
	cut     bool      // the room's end came while an event waited that the log has ordered
	broken  []*link   // their framing or codec failed for an event
	left    []*Member // of other processes, that have left
}

var passPool = sync.Pool{New: func() any { return &pass{enc: new(encoder)} }}

// pass begins one, for events of from.
func (r *Room) pass(ctx context.Context, from *Member) *pass {
	p := passPool.Get().(*pass)
	p.r, p.ctx, p.from = r, ctx, from
	if r.cfg.trace != nil {
		p.read = time.Now() // before it waits for anything
	}
	r.mu.Lock()
	p.nameSpeaker()
	p.now = time.Now() // with the lock, so that it rises with seq
	return p
}

// nameSpeaker sets from whom the events of say are.
func (p *pass) nameSpeaker() {
	p.ev.From = p.guest
	if p.from != nil {
		p.ev.From = p.from.Info()
	}
}

// say orders a message.
func (p *pass) say(body []byte) (seq uint64, err error) {
	p.ev.Kind, p.ev.Body = Message, body
	if p.r.replica != nil {
		return p.sayInLog(&p.ev)
	}
	return p.order(&p.ev)
}

// errTaken is why a message is not ordered whose number was taken while it was held back.
var errTaken = errors.New("taken already")

// sayOnce orders the message of from that has this number, which was free when the pass
// began, unless another pass does so while this one is held back.
func (p *pass) sayOnce(number uint64, body []byte) (ledger.Taken, error) {
	p.number = number
	seq, err := p.say(body)
	p.number = 0
	switch {
	case err == errTaken:
		t, _ := p.from.session.taken.Known(number)
		return t, nil
	case err != nil:
		return ledger.Taken{}, err
	case p.r.replica != nil: // when it came back
		return ledger.Taken{Number: number, Seq: seq}, nil
	}
	return p.from.take(number, seq), nil
}

// An entry is how a member comes into a room.
type entry struct {
	history int       // messages that it wants at most; 0: all, negative: none
	since   *Position // up to where it has seen the stream
	outcome string    // of resuming, for the welcome; empty: it did not try
	ref     uint64    // of the request for it
	token   Secret    // of the session of its connection, if that is not told otherwise
}

// join orders the join of m, gives s, which is m's, a cursor behind it, and welcomes m:
// member list, history and live stream are cut at one instant. It returns the seq of
// that.
func (r *Room) join(s *stream, m *Member, e entry) (seq uint64, err error) {
	if r.replica != nil {
		return r.joinByLog(s, m, e)
	}
	l := s.link
	addr := l.ip()
	p := r.pass(context.Background(), nil)
	defer p.end()
	if r.state != roomOpen {
		return 0, ErrRoomClosed
	}
	if r.hub != nil {
		if err := cmpErr(l.Err(), r.banned(m.Name(), addr)); err != nil { // nobody need see it come and go
			return 0, err
		}
	}
	lane, err := r.laneLocked(s.link.transport.cfg, s.form)
	if err != nil {
		return 0, err
	}
	lane.members++ // stays, while order lets go of the lock
	ordered := false
	giveUp := func(err error) (uint64, error) {
		lane.members--
		r.tidyLanesLocked()
		if ordered {
			p.orderLeave(m)
		}
		return 0, err
	}
	if r.cfg.notices {
		if _, err := p.order(&Event{Kind: Join, From: m.Info()}); err != nil {
			return giveUp(err)
		}
		ordered = true
	}
	if err := l.Err(); err != nil || r.state != roomOpen {
		// It ended, or the room did, while its join waited for a place.
		return giveUp(cmpErr(err, ErrRoomClosed))
	}
	if err := r.banned(m.Name(), addr); err != nil { // meanwhile
		return giveUp(err)
	}
	past, err := r.historyLocked(p, s, lane, e)
	if err != nil {
		return giveUp(err)
	}
	if m.isPart() && !m.presence.add(m, l) {
		return giveUp(cmpErr(l.Err(), ErrDetached))
	}
	if seq, err = p.comeIn(s, lane, past, e); err != nil && !m.isPart() {
		p.leave(m, err, ErrUnframeable)
	} // else the end of l takes it out: in a move its leave would wait under two locks
	return seq, err
}

// comeIn gives s a cursor in its lane, and welcomes its member, whose join has its place.
// If it cannot be welcomed, it has joined and is to leave.
func (p *pass) comeIn(s *stream, lane *lane, past [][]byte, e entry) (seq uint64, err error) {
	r, l, m := p.r, s.link, s.member
	token := r.beginSessionLocked(l, m, e)
	switch {
	case m.isPart():
		token = e.token
	case s.form == formAside:
		l.newcomer.token = token
	}
	s.owesLeave = true
	r.attachLocked(s, lane)
	switch {
	case s.follows:
		s.cur.HoldAll() // until what is before it has ended, and the hook has returned
	case r.cfg.hooks.onJoined != nil:
		s.cur.Hold() // until that has returned
	}
	r.moveLocked(m, memberPresent)
	welcome, err := r.welcomeLocked(p, s, m, token, e)
	if err != nil {
		l.setCause(err)
		return 0, err
	}
	switch {
	case s.isMain() && l.labelled: // before anything of a room that it enters next
		l.sink.Queue(welcome, math.MaxInt) // whatever the handshake has sent
	case s.follows: // it is held back, and must not take the room of what the member is sent alone
		s.cur.InsertShared([][]byte{welcome})
	default:
		s.cur.Insert(welcome, len(welcome))
	}
	s.cur.InsertShared(past)
	return r.seq, nil
}

// cmpErr returns err or, if that is nil, otherwise.
func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// attachLocked gives s, whose member is in the room now, a cursor at the head of its lane.
func (r *Room) attachLocked(s *stream, lane *lane) {
	lane.conns++
	s.lane = lane
	s.cur = lane.log.Attach(s.link.sink, r.cfg.slow == Skip && lane.saysGap)
	if lane.run != nil { // which the welcome counts
		lane.run.Begin(s.cur)
	}
	r.moveStreamLocked(s, streamJoined)
	if p := s.member.presence; p != nil && s.isMain() { // here, so that of two the later counts
		p.connect(s.link)
	}
}

// welcomeLocked returns the frame that tells m, by s, who it is and who is there;
// nil if its codec has none. A codec with control frames may have one without a hello: a
// dialling end, which could not tell whether to expect it, never speaks that.
func (r *Room) welcomeLocked(p *pass, s *stream, m *Member, token Secret, e entry) ([]byte, error) {
	l := s.link
	if f := &l.cfg.features; !f.Hello && !f.Requests && l.cfg.control == nil {
		return nil, nil
	}
	ev := &p.ev
	w := &WelcomeInfo{Epoch: r.epoch.get(), Total: r.lenLocked(), Token: token}
	*ev = Event{Kind: Welcome, Seq: r.seq, From: m.Info(), Time: p.now, Ref: e.ref, Welcome: w}
	if token != "" || !s.isMain() && m.session != nil || e.outcome == outcomeReset || e.outcome == outcomeGap {
		w.Outcome = cmp.Or(e.outcome, outcomeJoined)
	}
	if m.session != nil && (s.isMain() || e.outcome == outcomeResumed || e.outcome == outcomeGap) {
		ev.Number = m.lastTaken()
	}
	if !l.cfg.features.Hello { // it may have none: then no list is made for nothing
		if b, err := s.encode(ev); err == nil && len(b) == 0 {
			return nil, nil
		}
	}
	w.Members = make([]MemberInfo, 0, min(w.Total, maxWelcomeMembers))
	for who := range r.infosLocked("") {
		if r.name == allRooms || len(w.Members) == maxWelcomeMembers {
			break
		}
		w.Members = append(w.Members, who)
	}
	b, err := s.encode(ev)
	if err != nil { // whose methods are the codec's: not under the lock
		return nil, fmt.Errorf("%w: the welcome: %v", ErrUnframeable, err)
	}
	return b, nil
}

// leave makes m leave because of cause, and reports whether it did so by this
// call. by is the link whose end is the reason; nil for a kick. When it returns,
// the leave has its place.
func (r *Room) leave(m *Member, cause error, by *link) (left bool) {
	p := r.pass(context.Background(), nil)
	l := m.conn()
	detached := m.state == memberDetached
	defer func() {
		p.end()
		switch {
		case left && detached:
			go r.dismiss(m)
		case left:
			m.unblock()
			l.unblock()
		}
	}()
	switch m.state {
	case memberReserved:
		if by != nil {
			m.setCause(cause, by.ended())
			r.moveLocked(m, memberGone)
		}
		return by != nil
	case memberPresent:
		if by != nil && by != l {
			return false // it goes on over another link
		}
		l.setCause(cause)
		p.leave(m, l.Err(), l.ended()) // the first cause of its end
		return true
	case memberDetached:
		r.keepLocked(l)
		p.leave(m, cause, causeOf(cause))
		return true
	}
	if r.replica != nil { // then it may come later
		ctx, cancel := context.WithTimeout(p.ctx, r.cfg.maxOutage)
		defer cancel()
		p.ctx = ctx
	}
	// Until the leave that another call orders has its place, or that call has given up.
	for m.state == memberLeaving && (r.replica == nil || m.at.Load().state != streamEnded) {
		if p.await(r.group.Progress(), time.Time{}) != nil {
			break
		}
	}
	return false
}

// leave orders the leave of m, which then is gone. Until it has its place, m is a
// member like any other.
func (p *pass) leave(m *Member, cause error, code Cause) {
	m.setCause(cause, code)
	p.r.moveLocked(m, memberLeaving)
	p.finishLeave(m)
}

// finishLeave is leave for a member that is leaving already.
func (p *pass) finishLeave(m *Member) {
	if p.r.replica != nil {
		p.leaveByLog(m)
		return
	}
	p.owner = m.at.Load()
	p.orderLeave(m)
	p.owner = nil
	p.departed(m)
}

// departed ends what m, whose leave has its place, has of the room.
func (p *pass) departed(m *Member) { p.r.departedLocked(m) }

func (r *Room) departedLocked(m *Member) {
	r.moveLocked(m, memberGone)
	if s := m.at.Load(); s.state == streamJoined {
		r.moveStreamLocked(s, streamEnded)
	}
}

func (p *pass) orderLeave(m *Member) {
	if p.r.cfg.notices {
		p.order(&Event{Kind: Leave, From: m.Info()}) // fails only when the room stops
	}
}

// end lets go of the lock, gets the flushers going and then ends the members
// whose framing or codec failed.
func (p *pass) end() {
	p.letGo()
	broken, left := p.broken, p.left
	p.enc.trim()
	*p = pass{enc: p.enc}
	passPool.Put(p)
	for _, l := range broken {
		l.unblock()
	}
	for _, m := range left {
		m.unblock()
	}
}

// letGo unlocks, and gets the flushers going.
func (p *pass) letGo() {
	if p.events {
		p.events = false
		p.r.group.Flush()
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
		if err := p.may(); err != nil {
			return 0, err
		}
		ev.Seq, ev.Time = r.nextSeq(), p.now
		if err := p.enc.encode(r.lanes, ev); err != nil {
			return 0, err
		}
		p.mayWait(ev)
		ch := p.hasRoom(ev, &blockedSince)
		if ch == nil {
			return p.commit(ev), nil
		}
		// A member that has waited for less than that holds it back still: it has its
		// own time.
		if err := p.await(ch, blockedSince); err != nil {
			return 0, err
		}
		if p.via != nil && p.via.Err() != nil { // it was cut meanwhile
			return 0, p.via.Err()
		}
	}
}

// hasRoom returns nil if there is room for ev, whose frames are made, else a channel that is
// closed when there may be. blockedSince is since when members hold it back.
func (p *pass) hasRoom(ev *Event, blockedSince *time.Time) <-chan struct{} {
	slow := p.r.cfg.slow
	switch p.admit(ev, never) {
	case fanout.Fits:
		return nil
	case fanout.Blocked:
		if blockedSince.IsZero() {
			*blockedSince = time.Now()
		}
	}
	force := never
	if !blockedSince.IsZero() && time.Since(*blockedSince) >= slow.blocks() {
		force = slow.blocks()
	}
	ch := p.r.group.Progress()
	if p.admit(ev, force) == fanout.Fits {
		return nil
	}
	return ch
}

// may says whether ev may be ordered, as things are now, and sets who does not
// get it.
func (p *pass) may() error {
	m := p.from
	switch {
	case p.r.state != roomOpen:
		return ErrRoomClosed
	case m == nil:
		return p.r.mayBeLocked(p.guest)
	case !m.state.in():
		return ErrNotMember
	case p.r.isMutedLocked(m.Info(), p.now):
		return ErrMuted
	case p.number != 0:
		if _, ok := m.session.taken.Known(p.number); ok {
			return errTaken
		}
	}
	s := m.at.Load()
	if p.via != nil && p.via != s.link {
		return ErrTakenOver
	}
	if p.owner = s; s.link.cfg.echo {
		p.owner = nil
	}
	return nil
}

// await lets go of the lock until there may be room.
func (p *pass) await(ch <-chan struct{}, blockedSince time.Time) error {
	limit := time.Duration(0)
	if !blockedSince.IsZero() {
		limit = max(p.r.cfg.slow.blocks()-time.Since(blockedSince), 10*time.Millisecond)
	}
	p.letGo()
	err := p.r.group.Await(p.ctx, ch, limit)
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
			verdict = max(verdict, l.log.Admit(l.run.With(len(b)), ev.Kind != Message, force))
		}
	}
	return verdict
}

// named returns ev, in a hub a copy that has its room.
func (r *Room) named(ev *Event) *Event {
	if r.hub == nil {
		return ev
	}
	in := *ev
	in.Room = r.name
	return &in
}

// isDense reports whether seqs count the events.
func (r *Room) isDense() bool { return r.replica == nil && r.cfg.probe.Next == nil }

// nextSeq is the seq of the next event, which no log orders. Seqs rise strictly; only who
// asks isDense may take them to rise by one.
func (r *Room) nextSeq() uint64 {
	if next := r.cfg.probe.Next; next != nil {
		return next(r.seq)
	}
	return r.seq + 1
}

func (p *pass) commit(ev *Event) uint64 {
	r := p.r
	r.seq = ev.Seq
	if r.cfg.probe.Ordered != nil { // before a flusher that runs can tell a member
		r.cfg.probe.Ordered(r.named(ev))
	}
	waits := false
	for i, l := range r.lanes {
		if l.members == 0 {
			continue
		}
		if p.enc.failed(i) {
			p.breakLane(l)
			continue
		}
		if p.waits {
			waits = l.wait(p.enc.frame(i), r.seq) || waits
			continue
		}
		var owner *fanout.Cursor
		if p.owner != nil && p.owner.lane == l && p.owner.state == streamJoined {
			owner = p.owner.cur
		}
		l.log.Append(p.enc.frame(i), r.seq, owner)
	}
	if p.events = p.events || !p.waits; waits {
		r.waitLocked()
	}
	if ev.Kind == Message {
		r.said = r.seq
		r.stats.Messages++
		r.stats.Bytes += uint64(len(ev.Body))
		if r.history != nil {
			r.history.add(ev, false)
		}
		if r.cfg.trace != nil {
			p.traceLocked(ev)
		}
	}
	if r.events != nil {
		r.events.add(ev, p.guest != MemberInfo{})
	}
	return r.seq
}

// breakLane ends the members of a lane whose framing or codec failed for an event:
// what comes after the hole is not for them.
func (p *pass) breakLane(l *lane) {
	for m := p.r.members.first; m != nil; m = m.next {
		s := m.at.Load()
		if s.lane != l || s.state != streamJoined {
			continue
		}
		s.cur.End()
		if link := s.link; link.setCause(fmt.Errorf("%w: its framing or codec failed for an event", ErrUnframeable)) {
			p.broken = append(p.broken, link)
		}
	}
}

// historyLocked returns the frames of the messages that the member of s is given when
// it joins, in l, behind a gap if it would miss some without knowing.
func (r *Room) historyLocked(p *pass, s *stream, l *lane, e entry) (frames [][]byte, err error) {
	seen, knows := r.seen(e.since)
	var records []record
	if r.history != nil && e.history >= 0 {
		r.history.expire(p.now)
		records = r.history.since(seen + 1)
		if n := e.history; n > 0 && len(records) > n {
			records = records[len(records)-n:]
		}
	}
	if knows {
		missing := r.said
		if len(records) > 0 {
			missing = r.history.before(records)
		}
		if missing > seen {
			gap, err := s.encode(&Event{Kind: Gap, Gap: Span{seen + 1, missing}})
			if err != nil {
				return nil, err
			}
			frames = append(frames, gap)
		}
	}
	if len(records) == 0 {
		return frames, nil
	}
	if l.history == nil {
		l.history = &replay{history: true}
	}
	if err := l.history.extend(p.enc, l, r.history); err != nil {
		return nil, err
	}
	return append(frames, l.history.frames(records, "")...), nil
}

// seen returns the seq up to which a newcomer has seen the stream, and whether it has.
func (r *Room) seen(since *Position) (seq uint64, ok bool) {
	if since == nil || since.Epoch != r.epoch.get() {
		return 0, false
	}
	return since.Seq, true
}

// checkSince returns an error for a newcomer that says to have seen what is not there.
func (r *Room) checkSince(l *link) error {
	since := l.helloSaid().Since
	if since == nil {
		return nil
	}
	r.mu.Lock()
	seen, _ := r.seen(since)
	late := seen > r.seq && r.replica != nil
	r.mu.Unlock()
	if late { // as far as this node has read the log
		l.mayWait()
		if err := r.catchUp(l); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if seen > r.seq {
		return fmt.Errorf("%w: %d, the last event is %d", errFutureSeq, seen, r.seq)
	}
	return nil
}
