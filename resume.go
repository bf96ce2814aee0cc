package tcproom

import (
	"context"
	"fmt"
	"math"
	"time"

	"example.com/tcproom/internal/ledger"
)

// Sessions says how members resume, see [WithSessions].
type Sessions struct {
	// Grace is how long a member that vanished stays a member. Zero and
	// negative values mean 30 seconds.
	Grace time.Duration
	// Events bounds how many of the last events are kept for members that
	// resume, beside their bytes, which [WithBacklog] bounds: each is charged its
	// body and 128 bytes. Zero and negative values mean no bound of their number.
	Events int
	// Detached bounds how many vanished members there are at once. One more
	// makes the one leave that vanished first. Zero and negative values mean 1000.
	Detached int
	// RetryAfter is what a [Goodbye] or [Refused] tells clients to wait at least
	// before they come back. Zero and negative values say nothing.
	RetryAfter time.Duration
}

const (
	defaultGrace    = 30 * time.Second
	defaultDetached = 1000
)

// The outcomes in a Welcome, which [WelcomeInfo] explains.
const (
	outcomeJoined  = "joined"
	outcomeResumed = "resumed"
	outcomeGap     = "gap"
	outcomeExpired = "expired"
)

// mayResume reports whether members that speak like l can have sessions.
func (r *Room) mayResume(cfg *connConfig) bool {
	f := &cfg.features
	return r.cfg.sessions != nil && f.Numbers && f.Hello && f.Gaps
}

// beginSessionLocked gives m, which joins, a session and returns its token; ""
// if it cannot resume.
func (r *Room) beginSessionLocked(l *link, m *Member, e entry) Secret {
	if !r.mayResume(l.cfg) {
		return ""
	}
	if m.isPart() {
		m.session.start = r.seq
		return ""
	}
	if r.replica != nil { // by which the member is found
		m.session = &session{start: r.seq, token: ledger.KeyOf(string(e.token))}
		if m.presence != nil {
			m.presence.setHash(m.session.token)
		}
		return e.token
	}
	token, key := r.tokens.Issue(m)
	m.session = &session{start: r.seq, token: key}
	return Secret(token)
}

// resumableLocked returns the member that h wants to resume, nil if there is
// none, or not any more.
func (r *Room) resumableLocked(l *link, h *Resume) *Member {
	// One that names no rooms says where it is in its own room, and not here.
	if r.hub == nil || l.labelled {
		if !ledger.Equal(h.Epoch, r.epoch) {
			return nil
		}
	}
	return r.byTokenLocked(h.Token)
}

func (r *Room) byTokenLocked(token Secret) *Member {
	if r.replica != nil {
		return r.replica.byTokenLocked(token)
	}
	m, ok := r.tokens.Find(string(token))
	if !ok {
		return nil
	}
	return resumable(m)
}

// resumable returns m, or nil if that cannot be resumed, as it is about to leave.
func resumable(m *Member) *Member {
	if !m.state.in() {
		return nil
	}
	l := m.conn()
	if code := l.ended(); l.goodbye.Load() || code != "" && !vanished(code) { // about to leave
		return nil
	}
	return m
}

// vanished reports whether a member whose connection has ended so may come back.
func vanished(code Cause) bool {
	switch code {
	case errLeft, errCutOff, errReset, errIdleTimeout, errWriteTimeout, ErrSlow, ErrRestarting, ErrUnavailable:
		return true
	}
	return false
}

// resume makes l the next connection of the member that its hello names, if it
// names one. name is what a handshake hook says that it is.
func (r *Room) resume(l *link, name string) (resumed bool, err error) {
	if l.hello == nil || l.hello.Resume == nil || !r.mayResume(l.cfg) {
		return false, nil
	}
	if r.replica != nil {
		return r.resumeByLog(l, name)
	}
	h := l.hello.Resume
	addr := l.ip()
	p := r.pass(context.Background(), nil)
	defer p.end()
	if r.state != roomOpen {
		return false, ErrRoomClosed
	}
	m := r.resumableLocked(l, h)
	switch {
	case l.Err() != nil:
		return false, l.Err()
	case m == nil:
		l.newcomer.outcome = outcomeExpired
		return false, nil
	case h.Seq > r.seq && l.form != formAside:
		return false, fmt.Errorf("%w: %d, the last event is %d", errFutureSeq, h.Seq, r.seq)
	case m.state == memberPresent && l.born < m.conn().born: // its hello was held up, by a hook perhaps
		return false, fmt.Errorf("%w, which began later", ErrTakenOver)
	case name != "" && name != m.Info().Name:
		return false, otherName(name, m)
	}
	if err := r.banned(m.Info().Name, addr); err != nil {
		return false, err
	}
	lane, err := r.laneLocked(l.transport.cfg, l.form)
	if err != nil {
		return false, err
	}
	lane.members++
	if err = p.goOn(&l.stream, lane, m, h); err != nil {
		lane.members--
		r.tidyLanesLocked()
	}
	return err == nil, err
}

// otherName refuses one whom a handshake hook knows by another name than the room does.
func otherName(name string, m *Member) error {
	return refuse(fmt.Errorf("%w: the handshake says %q, the token is that of %q", ErrNotMember, name, m.Info().Name))
}

// goOn has m go on by s, in a lane that counts it already, from where h says.
func (p *pass) goOn(s *stream, lane *lane, m *Member, h *Resume) error {
	r, l := p.r, s.link
	missed, outcome, err := r.missedLocked(p, s, lane, m, h.Seq)
	if err != nil {
		return err
	}
	welcome, err := r.welcomeLocked(p, s, m, h.Token, entry{outcome: outcome})
	if err != nil {
		return err
	}
	if err := r.reseatLocked(l, m); err != nil {
		return err
	}
	l.member = m
	r.takeOverLocked(p, s)
	r.attachLocked(s, lane)
	l.owesLeave = true
	if l.labelled {
		l.sink.Queue(welcome, math.MaxInt)
	} else {
		l.cur.Insert(welcome, len(welcome))
	}
	l.cur.InsertShared(missed)
	return nil
}

// missedLocked returns the frames of what m, which is to go on by s, has not received
// after seq, with a gap for what the room does not know any more at their head, and the
// outcome.
func (r *Room) missedLocked(p *pass, s *stream, lane *lane, m *Member, seq uint64) (frames [][]byte, outcome string, err error) {
	if s.form == formAside { // which has no position
		return nil, outcomeResumed, nil
	}
	if lane.events == nil {
		lane.events = new(replay)
	}
	if err := lane.events.extend(p.enc, lane, r.events); err != nil {
		return nil, "", err
	}
	outcome = outcomeResumed
	from := max(seq, m.session.start) + 1
	if to := r.events.gone; from <= to {
		ev := &Event{Kind: Gap, Gap: Span{from, to}}
		if r.isDense() {
			ev.Skipped = ev.Gap.Len()
		}
		gap, err := s.encode(ev)
		if err != nil {
			return nil, "", err
		}
		outcome = outcomeGap
		frames = append(frames, gap)
	}
	id := m.Info().ID
	if s.link.cfg.echo {
		id = ""
	}
	return append(frames, lane.events.frames(r.events.since(from), id)...), outcome, nil
}

// takeOverLocked puts s in the place of the last stream of its member, whose link ends
// if it has not.
func (r *Room) takeOverLocked(p *pass, s *stream) {
	m := s.member
	old := m.at.Load()
	if m.isPart() && old.cur != nil {
		m.presence.abandon(old)
	}
	if old.state == streamJoined {
		r.moveStreamLocked(old, streamParted)
		if old.link.setCause(ErrTakenOver) {
			p.broken = append(p.broken, old.link)
		}
	}
	if m.state == memberDetached {
		r.vacateLocked(m.session.seat)
		r.moveLocked(m, memberPresent)
	}
	if r.replica != nil && old == r.replica.nowhere {
		r.comesHereLocked(m)
	}
	m.at.Store(s)
	r.stats.Resumed++
}

// detach keeps the member of l, which has ended with cause, if it is one that may
// resume, and reports whether it stays: it does so on another link too.
func (r *Room) detach(l *link, cause error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.detachLocked(l, cause)
}

func (r *Room) detachLocked(l *link, cause error) bool {
	m := l.member
	if l.state == streamParted { // taken over
		return true
	}
	if m.session == nil || l.goodbye.Load() || !vanished(l.ended()) || m.state != memberPresent || r.state != roomOpen {
		return false
	}
	r.moveStreamLocked(&l.stream, streamParted)
	s := m.session
	s.lost, s.code, s.until = cause, l.ended(), time.Now().Add(r.cfg.sessions.Grace)
	s.seat, l.seat = l.seat, nil // it counts until the member leaves
	r.moveLocked(m, memberDetached)
	if rp := r.replica; rp != nil && rp.phase <= phaseDraining { // else node-left does it, for all
		rp.detachLocked(m)
	}
	if r.detached.Len() > r.cfg.sessions.Detached {
		first, _, _ := r.detached.First()
		r.dismissLocked(first, first.session.lost, first.session.code)
	}
	return true
}

// expireLater sets the timer for the next of the members that are waited for. It
// counts as a goroutine of the room's until it has run or was stopped.
func (r *Room) expireLater() {
	if r.expiry != nil && r.expiry.Stop() {
		r.wg.Done()
	}
	r.expiry = nil
	if _, until, ok := r.detached.First(); ok {
		r.wg.Add(1)
		r.expiry = time.AfterFunc(time.Until(until), r.expire)
	}
}

// expire dismisses the members whose grace is over.
func (r *Room) expire() {
	defer r.wg.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for m, until, ok := r.detached.First(); ok && !now.Before(until); m, until, ok = r.detached.First() {
		r.dismissLocked(m, m.session.lost, m.session.code)
	}
	r.expireLater()
}

// dismissLocked makes m, which is detached, leave because of cause.
func (r *Room) dismissLocked(m *Member, cause error, code Cause) {
	r.keepLocked(m.conn())
	m.setCause(cause, code)
	r.moveLocked(m, memberLeaving)
	go r.dismiss(m)
}

// dismiss is the goroutine that sees out a member which had no connection any
// more. It ends when OnLeave has returned.
func (r *Room) dismiss(m *Member) {
	l := m.conn()
	defer r.forget(l, m)
	var left []*stream
	if p := m.presence; p != nil {
		r.hub.leaveAll(p, m.Err(), m.leftBy())
		left = p.takeOwed()
	}
	p := r.pass(context.Background(), nil)
	if m.state == memberLeaving {
		p.finishLeave(m)
	}
	p.end()
	m.unblock()
	cause := m.Err()
	l.logEnd(cause, m.leftBy(), true, false)
	defer r.notifyLeave(l, m) // also if a hook ends the goroutine
	l.notifyParts(left)
}
