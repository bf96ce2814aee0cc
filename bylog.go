package tcproom

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/tcproom/internal/fold"
	"example.com/tcproom/internal/ledger"
)

// The ways in which a room with a log has something ordered: each makes entries, and waits
// until they have come back.

const defaultMaxOutage = 15 * time.Second

// WithLog has the room's order given by a log, which several processes share: in each of
// them a room with a log of the same name is a part of one room. All members see the same
// order, and know of each other, whichever process they are connected to. See the package
// roomnats for such a log, PROMISES.md for what holds, and docs/operation.md for how to
// run it.
//
// A room with a log reads it from New on, until it is closed: it must be closed also if
// nobody has joined. It does not close l: do that when the room has stopped. It lets
// nobody in before it has caught up, see [Room.Ready]. Seqs rise and are the same in all
// processes, but are not 1, 2, 3, …: they are places in the log.
//
// Calls that order something wait until their place has come back from the log. If that
// does not answer, see [WithMaxOutage], they return [ErrUnavailable] for what is surely
// not ordered, and [ErrUncertain] for what may be, also if a context ends meanwhile.
//
// Hooks of a member run in the process to which it is connected. If it resumes in another
// one, that one calls [OnJoin], which may refuse, and the one before calls [OnLeave] with
// [ErrElsewhere]; other members are told nothing. If the one before has died, nobody
// calls OnLeave there.
//
// A log is one room's: Serve, Door, ServeConn, Join, Ready and what orders something
// return [ErrOption] in a second room with the same one, if a [WithMaxMessage] is above
// what a record holds, which is 4 KiB less than [Caps].MaxRecord, and if l is of a type
// that cannot be compared. The default, and nil, is no log. [NewHub] ignores this option,
// and logs that.
func WithLog(l Log) RoomOption { return roomOption(func(c *roomConfig) { c.log = l }) }

// WithMaxOutage says how long the log of [WithLog] may be silent before the room gives up
// what waits for it, and begins to end its members with [ErrUnavailable], so that they
// come back in another process. Until then all wait, and nobody is told. What is
// given up and was on its way fails with [ErrUncertain], what was queued with
// [ErrUnavailable]. Newcomers wait for the log for [WithHandshakeTimeout], and are
// refused with ErrUnavailable.
//
// Members end one after the other, over 15 seconds, and each is told to wait a millisecond
// longer than the one before ([EndError].RetryAfter). Those that have said something that
// was given up end at once, for they do not know what has become of it: a [Client] says it
// again if it was numbered. If the log answers before all have ended, those that are left
// stay, and have missed nothing.
//
// If d is longer than [Caps].Lease, other processes may take this one for dead before it
// gives up. When it has the log again it takes back the members that nobody has resumed
// elsewhere.
//
// The default, also for zero and negative values, is 15 seconds. A room without a log
// ignores it.
func WithMaxOutage(d time.Duration) RoomOption {
	return roomOption(func(c *roomConfig) { c.maxOutage = d })
}

// WithDrain has [Room.Shutdown] of a room with a log end its members with [ErrRestarting]
// one after the other, over a time of d, so that other processes do not get all of them
// at once. Members with sessions resume there, and nobody sees a leave. A member that
// sends something meanwhile may be sent on before its turn: a [Client] sends again in the
// other process what was numbered. The default, and zero and negative values, ends all
// together, and tells each to wait a millisecond longer than the one before
// ([EndError].RetryAfter). The context of Shutdown cuts it short, so that should last longer. A room
// without a log ignores it.
func WithDrain(d time.Duration) RoomOption { return roomOption(func(c *roomConfig) { c.drain = d }) }

// messageCharge is what the entry for a message takes beside its body, or a little more:
// its kind and flags, two lengths, an ID and a number.
const messageCharge = 32

// addMessage adds to c the entry for a message of whom the pass is about.
func (p *pass) addMessage(c *call, number uint64, body []byte) {
	e := fold.Entry{Kind: fold.Message, Number: number, Body: body}
	switch {
	case p.from != nil:
		e.From, e.Service = p.from.Info().ID, p.from.Remote()
	case p.guest != MemberInfo{}:
		e.From, e.Name, e.Guest = p.guest.ID, p.guest.Name, true
		e.Unique = p.r.cfg.unique || p.r.isNamed() && p.r.hub.all.cfg.unique
	}
	c.add(&e)
}

// maySay says whether a message may be ordered, as things are now here.
func (p *pass) maySay(ev *Event) error {
	if len(ev.Body) > p.r.cfg.conn.maxMessage {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrameTooLarge, len(ev.Body), p.r.cfg.conn.maxMessage)
	}
	if err := p.may(); err != nil {
		return err
	}
	// The frames are made again when the message has its place. Here they say whether
	// the framings can carry it, while there is somebody to tell.
	ev.Seq, ev.Time = p.r.seq+1, p.now
	return p.enc.encode(p.r.lanes, ev)
}

// sayInLog is order for a message.
func (p *pass) sayInLog(ev *Event) (seq uint64, err error) {
	if err := p.maySay(ev); err != nil {
		return 0, err
	}
	c := newCall()
	c.read, c.numbered = p.read, p.number != 0
	p.addMessage(c, p.number, ev.Body)
	if err := p.submit(c, false); err != nil {
		return 0, err
	}
	o := c.outcomes[0]
	if o.err == errDuplicate {
		return 0, errTaken
	}
	p.stream = o.stream
	return o.seq, o.err
}

// A said is a message that was read here, and what becomes of it.
type said struct {
	number uint64
	body   []byte
	i      int // its place in the call; -1: it is in none
	taken  ledger.Taken
	stream uint64 // of the seq of taken
	err    error
}

// sayAll orders messages of p.from, in one batch if the log has room, up to the first one
// that may not be ordered. It notes what became of each: those behind one that failed have
// its error.
func (p *pass) sayAll(msgs []said) {
	c := newCall()
	c.read = p.read
	p.choose(c, msgs)
	if len(c.ends) > 0 {
		p.outcomes(c, msgs, p.submit(c, false))
	}
}

// choose puts into c what of msgs may be ordered, as things are now here, and notes why
// the others may not. It reports whether all may be.
func (p *pass) choose(c *call, msgs []said) (all bool) {
	var failed error
	c.numbered = true
	size := 0
	for i := range msgs {
		size += len(msgs[i].body) + messageCharge
	}
	c.buf, c.ends = make([]byte, 0, size), make([]int, 0, len(msgs))
	for i := range msgs {
		msg := &msgs[i]
		if msg.i = -1; failed != nil {
			msg.err = failed
			continue
		}
		if msg.number != 0 {
			if taken, ok := p.from.find(msg.number); ok {
				msg.taken, msg.stream = taken, p.r.streamOf(p.from)
				continue
			}
		}
		p.ev.Kind, p.ev.Body = Message, msg.body
		switch err := p.maySay(&p.ev); {
		case err == error(ErrMuted):
			msg.err = err
		case err != nil:
			failed, msg.err = err, err
		default:
			msg.i = len(c.ends)
			c.numbered = c.numbered && msg.number != 0
			p.addMessage(c, msg.number, msg.body)
		}
	}
	return len(c.ends) == len(msgs)
}

// outcomes notes what has become of those of msgs that are in c. err is of submit.
func (p *pass) outcomes(c *call, msgs []said, err error) {
	for i := range msgs {
		msg := &msgs[i]
		if msg.i < 0 {
			continue
		}
		if c.outcomes == nil { // it was not even queued
			msg.err = err
			continue
		}
		o := c.outcomes[msg.i]
		if msg.err = o.err; o == (outcome{}) {
			msg.err = err
		}
		if msg.number == 0 {
			continue
		}
		if msg.taken, msg.stream = (ledger.Taken{Number: msg.number, Seq: o.seq}), o.stream; o.err == errDuplicate {
			msg.err = nil
			if taken, ok := p.from.find(msg.number); ok {
				msg.taken, msg.stream = taken, p.r.streamOf(p.from)
			}
		}
	}
}

// joinByLog is join in a room with a log: the member comes in when its join has come back.
func (r *Room) joinByLog(s *stream, m *Member, e entry) (seq uint64, err error) {
	l := s.link
	if s.isMain() && r.mayCrowd() {
		l.mayWait()
	}
	ctx, cancel := s.untilPlaced()
	defer cancel()
	addr := l.ip()
	p := r.pass(ctx, nil)
	defer p.end()
	if r.state != roomOpen {
		return 0, ErrRoomClosed
	}
	if err := r.banned(m.Name(), addr); err != nil {
		return 0, err
	}
	c := &coming{stream: s, member: m, entry: e}
	if c.lane, err = r.laneLocked(l.transport.cfg, s.form); err != nil {
		return 0, err
	}
	who := m.Info()
	join := &fold.Entry{Kind: fold.Join, ID: who.ID, Name: who.Name, Addr: addr, Unique: r.cfg.unique, MaxMembers: r.cfg.maxMembers}
	switch {
	case !r.mayResume(l.cfg):
	case m.isPart():
		join.Hash, join.Grace = m.presence.hashNow(), r.cfg.sessions.Grace
		join.Number = m.presence.most.Load()
	default:
		c.entry.token = Secret(rand.Text())
		join.Hash, join.Grace = fold.Hash(ledger.KeyOf(string(c.entry.token))), r.cfg.sessions.Grace
	}
	if err = p.comeByLog(c, join); err != nil {
		return 0, err
	}
	if c.err != nil && m.state == memberPresent && !m.isPart() {
		p.leave(m, l.Err(), l.ended())
	}
	return c.seq, c.err
}

// mayCrowd reports whether others may be admitted while one waits for the log. If there
// are slots only for those that a door runs ahead of, they wait to be accepted: else the
// room would turn away a crowd because the log takes its time.
func (r *Room) mayCrowd() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending+maxAccepted+2 < r.cfg.maxPending
}

// comeByLog has the entry ordered with which c comes in. An error says that it is not in.
func (p *pass) comeByLog(c *coming, e *fold.Entry) error {
	c.lane.members++ // stays, while the lock is let go of
	of := newCall()
	of.comes = c
	of.add(e)
	err := p.submit(of, false)
	if err == nil {
		err = of.outcomes[0].err
	}
	c.over = true
	if c.in {
		return nil
	}
	if err == error(ErrBanned) {
		err = cmpErr(p.r.banned(c.member.Name(), e.Addr), err)
	}
	c.lane.members--
	p.r.tidyLanesLocked()
	if errors.Is(err, ErrUncertain) { // if it comes back, what undoes it follows
		err = context.Cause(p.ctx)
	}
	return cmpErr(err, cmpErr(c.err, ErrUnavailable))
}

// resumeByLog is resume in a room with a log: a member resumes here, wherever it was
// connected.
func (r *Room) resumeByLog(l *link, name string) (resumed bool, err error) {
	l.mayWait()
	m, arrives, err := r.mayResumeByLog(l, name)
	if m == nil && err == nil { // as far as this node has read the log
		if err = r.catchUp(l); err == nil {
			m, arrives, err = r.mayResumeByLog(l, name)
		}
	}
	if err != nil {
		return false, err
	}
	if m == nil {
		l.newcomer.outcome = outcomeExpired
		return false, nil
	}
	c := &coming{stream: &l.stream, member: m, arrives: arrives}
	if !arrives {
		return r.comeBackByLog(l, c)
	}
	defer r.arrived(m)
	if l.cfg.rate != nil {
		if c.limiter, err = l.newLimiter(m); err != nil {
			return false, err
		}
	}
	if onJoin := r.cfg.hooks.onJoin; onJoin != nil {
		if err := l.call(hookOnJoin, func() error { return onJoin(m) }); err != nil {
			return false, refuse(err)
		}
	}
	resumed, err = r.comeBackByLog(l, c)
	if onLeave := r.cfg.hooks.onLeave; onLeave != nil && !resumed {
		cause := cmpErr(err, ErrNotMember)
		l.call(hookOnLeave, func() error { onLeave(m, cause); return nil })
	}
	return resumed, err
}

// arrived says that another connection may resume m here.
func (r *Room) arrived(m *Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.arrives = false
	r.group.Wake()
}

// comeBackByLog has it ordered that the member of c resumes here. It fails with
// ErrUnavailable if the member has resumed since as far as others know: perhaps that is
// where its client is now, and nobody is at the end of l any more.
func (r *Room) comeBackByLog(l *link, c *coming) (resumed bool, err error) {
	ctx, cancel := withDeadline(l.Context(), l.newcomer.deadline, ErrUnavailable)
	defer cancel()
	h, addr := l.hello.Resume, l.ip()
	p := r.pass(ctx, nil)
	defer p.end()
	known := max(l.newcomer.known, 1)
	if m := c.member; !m.Remote() { // it is known here which connection came later
		if m.state == memberPresent && l.born < m.conn().born {
			return false, fmt.Errorf("%w, which began later", ErrTakenOver)
		}
		known = max(known, r.replica.known)
	}
	if c.lane, err = r.laneLocked(l.transport.cfg, l.form); err != nil {
		return false, err
	}
	err = p.comeByLog(c, &fold.Entry{
		Kind: fold.Resume, ID: c.member.Info().ID, Number: known,
		Hash: fold.Hash(ledger.KeyOf(string(h.Token))), Addr: addr,
	})
	if err == error(ErrNotMember) && l.Err() == nil { // it has left meanwhile
		l.newcomer.outcome = outcomeExpired
		return false, nil
	}
	return err == nil, err
}

// catchUp waits until this node has read what was in the log when it was called: it has
// something ordered that means nothing, and waits for that.
func (r *Room) catchUp(l *link) error {
	ctx, cancel := withDeadline(l.Context(), l.newcomer.deadline, ErrUnavailable)
	defer cancel()
	return r.catchUpUntil(ctx)
}

// catchUpUntil is catchUp that ends with ctx.
func (r *Room) catchUpUntil(ctx context.Context) error {
	p := r.pass(ctx, nil)
	defer p.end()
	_, err := p.submitOne(&fold.Entry{Kind: fold.Resume}, false)
	switch {
	case err == error(ErrNotMember):
		return nil
	case errors.Is(err, ErrUncertain): // the time is over, or the log was given up
		return cmpErr(context.Cause(ctx), ErrUnavailable)
	}
	return err
}

// mayResumeByLog returns the member that l wants to resume, as things are now here; nil
// if there is none. If it arrives from another process, no other connection may resume it
// here until arrived is called: OnJoin is for the one that does. Who has seen more than
// this process has read of the log waits for that.
func (r *Room) mayResumeByLog(l *link, name string) (m *Member, arrives bool, err error) {
	ctx, cancel := withDeadline(l.Context(), l.newcomer.deadline, ErrUnavailable)
	defer cancel()
	h := l.hello.Resume
	p := r.pass(ctx, nil)
	defer p.end()
	for {
		m = nil
		if r.state == roomOpen {
			m = r.resumableLocked(l, h)
		}
		switch {
		case r.state != roomOpen:
			return nil, false, ErrRoomClosed
		case l.Err() != nil:
			return nil, false, l.Err()
		case m == nil && h.Seq > r.seq && ledger.Equal(h.Epoch, r.epoch.get()): // this node lags
		case m == nil:
			return nil, false, nil
		case name != "" && name != m.Info().Name:
			return nil, false, otherName(name, m)
		case !m.Remote():
			return m, false, nil
		case !m.arrives:
			m.arrives = true
			return m, true, nil
		}
		if err := p.await(r.group.Progress(), time.Time{}); err != nil {
			return nil, false, err
		}
	}
}

// leaveByLog is finishLeave in a room with a log. If that does not answer in time, the
// leave is ordered later.
func (p *pass) leaveByLog(m *Member) {
	r := p.r
	if s := m.at.Load(); r.replica.applying && s.state == streamJoined { // it may be m that holds back the tail
		r.moveStreamLocked(s, streamEnded)
		r.group.Wake()
	}
	e := &fold.Entry{Kind: fold.Leave, ID: m.Info().ID}
	m.mu.Lock()
	cause := m.ending
	m.mu.Unlock()
	var kick *kickError
	if errors.As(cause.cause, &kick) {
		e.Kind, e.Text = fold.Kick, inLog(kick.reason)
	} else {
		e.Cause = string(cause.code)
	}
	c := newCall()
	c.keep = true
	c.add(e)
	before := p.ctx
	ctx, cancel := context.WithTimeoutCause(context.Background(), r.cfg.maxOutage, ErrUnavailable)
	defer cancel()
	p.ctx = ctx
	err := p.submit(c, true)
	p.ctx = before
	if m.state != memberLeaving {
		return
	}
	if s := m.at.Load(); s.state == streamJoined {
		r.moveStreamLocked(s, streamEnded)
	}
	if c.outcomes == nil || err == nil || r.state != roomOpen { // the room stops, or the log knows no such member
		p.departed(m)
	}
}

// kickRemote is Kick of a member that is connected to another process.
func (r *Room) kickRemote(m *Member, reason string) error {
	p := r.pass(context.Background(), nil)
	defer p.end()
	_, err := p.submitOne(&fold.Entry{Kind: fold.Kick, ID: m.Info().ID, Text: inLog(reason)}, false)
	return err
}

// maxReason is how many bytes of a reason go into the log.
const maxReason = 4 << 10

// inLog returns what of a reason goes into the log: a record must hold it.
func inLog(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:maxReason], "")
}

// sendRemote is Send to a member that is connected to another process, or was a moment
// ago.
func (m *Member) sendRemote(ctx context.Context, from MemberInfo, body []byte) error {
	p := m.room.pass(ctx, nil)
	defer p.end()
	_, err := p.submitOne(&fold.Entry{Kind: fold.Direct, ID: m.Info().ID, From: from.ID, Body: body, Service: true}, false)
	return err
}

// muteByLog is Mute in a room with a log.
func (r *Room) muteByLog(id string, until time.Time) error {
	p := r.pass(context.Background(), nil)
	defer p.end()
	_, err := p.submitOne(&fold.Entry{Kind: fold.Mute, ID: id, Until: until}, false)
	return err
}

// drop takes out m, which was connected here, without telling the others: it goes on
// elsewhere, or the log in which it had joined is lost.
func (p *pass) drop(m *Member, cause Cause) {
	if m.isPart() {
		p.dropPart(m, cause)
		return
	}
	r, was := p.r, m.state
	if was == memberDetached {
		r.keepLocked(m.conn())
	}
	m.setCause(cause, cause)
	if was != memberLeaving {
		r.moveLocked(m, memberLeaving)
	}
	p.departed(m)
	if was == memberDetached {
		go r.dismiss(m)
	}
}

// byTokenLocked returns the member whose token that is; nil if there is none.
func (rp *replica) byTokenLocked(token Secret) *Member {
	of := rp.state.ByHash(fold.Hash(ledger.KeyOf(string(token))))
	if of == nil {
		return nil
	}
	m := rp.room.memberLocked(of.ID)
	if m == nil || m.Remote() {
		return m
	}
	return resumable(m)
}
