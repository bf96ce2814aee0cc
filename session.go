package tcproom

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"sync"
	"time"
)

// Sessions says how members resume, see [WithSessions].
type Sessions struct {
	// Grace is how long a member that vanished stays a member. Zero and
	// negative values mean 30 seconds.
	Grace time.Duration
	// Events bounds how many of the last events are kept for those who
	// resume, beside their bytes, which [WithBacklog] bounds: each is charged its body and
	// 128 bytes. Zero and negative values mean no bound of their number.
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

// A Resume is what a hello says to continue a member's stream.
type Resume struct {
	Token Secret // of the last Welcome
	Epoch string // of the first
	Seq   uint64 // of the last event that was received, or what the Welcome said
}

// The outcomes in a Welcome of a room with [WithSessions].
const (
	// Joined: a new member.
	Joined = "joined"
	// Resumed: the stream goes on behind the Seq that the hello said; what
	// was missed follows.
	Resumed = "resumed"
	// ResumedGap: the same, after a Gap which is the next event.
	ResumedGap = "gap"
	// Expired: the hello wanted to resume what the room does not know any
	// more, so this is a new member.
	Expired = "expired"
)

// A Resumer is a [Greeter] whose members can resume: its hello says a Resume,
// its Welcome a Token and an Outcome, and it says an [Ack]. [JSON] is one.
type Resumer interface {
	Greeter
	// AppendNumbered is AppendMessage with a number above 0, which rises with
	// each message of a member.
	AppendNumbered(dst []byte, id uint64, body []byte) ([]byte, error)
	// ParseNumbered is ParseMessage for messages that may have a number, which
	// is 0 where they have none. It returns [ErrGoodbye] for a goodbye.
	ParseNumbered(frame []byte) (id uint64, body []byte, err error)
	// AppendGoodbye appends what a member says that leaves for good.
	AppendGoodbye(dst []byte) []byte
}

// A session is what makes several connections, one after the other, one
// member. It is guarded by the room's lock.
type session struct {
	conn  *Conn  // the last one
	start uint64 // what the first Welcome said: what came before is not for this member

	hash [sha256.Size]byte // of the token

	hearing sync.WaitGroup // connections that may be in OnMessage; not guarded

	// While it is detached: what ended conn, until when it is waited for, and
	// the list of all that are, those that vanished first at its head.
	detached   bool
	lost       error
	until      time.Time
	prev, next *session

	lastID uint64  // of a numbered message
	taken  []taken // the newest of them, in order
}

// taken is a numbered message that needs not be sent again.
type taken struct{ id, seq uint64 }

// maxTaken is how many numbered messages of a member the room can tell the
// seq of when they come again.
const maxTaken = 256

// take notes that the message of the given number was ordered, or is not to be.
func (s *session) take(id, seq uint64) {
	s.lastID = max(s.lastID, id)
	if len(s.taken) == maxTaken {
		s.taken = append(s.taken[:0], s.taken[1:]...)
	}
	s.taken = append(s.taken, taken{id, seq})
}

// seqOf returns the seq of a message that was taken; 0 where it has none, or
// where that is too long ago.
func (s *session) seqOf(id uint64) uint64 {
	for i := len(s.taken) - 1; i >= 0; i-- {
		if s.taken[i].id == id {
			return s.taken[i].seq
		}
	}
	return 0
}

// awaitEarlier waits until no OnMessage runs any more for the connection that
// the member had before c, so that its messages stay in order and one that
// failed with that connection can be taken from this one.
func (c *Conn) awaitEarlier() error {
	if c.earlier == nil || c.room.cfg.onMessage == nil {
		return nil
	}
	select {
	case <-c.earlier:
		c.room.mu.Lock()
		defer c.room.mu.Unlock()
		c.hears = true
		return nil
	case <-c.Context().Done():
		return c.Err()
	}
}

// beginTaking says that a hook gets the message of the given number. It is
// false, and the message acknowledged, where one has got it before.
func (c *Conn) beginTaking(id uint64, in *inbox) bool {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	s := c.session
	if s.conn != c {
		return false // its client says it again, on the other connection
	}
	if id <= s.lastID {
		in.acks = append(in.acks, taken{id, s.seqOf(id)})
		return false
	}
	c.posted = 0
	return true
}

// endTaking says that the hook has returned. Where it failed and has posted
// nothing, the message may come again, on another connection.
func (c *Conn) endTaking(id uint64, failed bool) taken {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	if !failed || c.posted != 0 {
		c.session.take(id, c.posted)
	}
	return taken{id, c.posted}
}

// acknowledge tells c's peer what was taken. It waits while too much waits for
// that peer, which holds up reading from it.
func (c *Conn) acknowledge(acks []taken) error {
	var frames []byte
	for _, a := range acks {
		b, err := encode(&c.cfg.limits, &Event{Kind: Ack, ID: a.id, Seq: a.seq})
		if err != nil {
			return err
		}
		frames = append(frames, b...)
	}
	return c.putWhole(context.Background(), frames)
}

// mayResume reports whether members that speak like c can have sessions.
func (r *Room) mayResume(c *Conn) bool {
	_, ok := c.cfg.codec.(Resumer)
	return ok && r.cfg.sessions != nil
}

// beginSessionLocked gives c, which joins, a session and returns its token; ""
// where c has none.
func (r *Room) beginSessionLocked(c *Conn) (token string) {
	if !r.mayResume(c) {
		return ""
	}
	token = rand.Text()
	c.session = &session{conn: c, start: r.seq, hash: sha256.Sum256([]byte(token))}
	if r.sessions == nil {
		r.sessions = make(map[[sha256.Size]byte]*session)
	}
	r.sessions[c.session.hash] = c.session
	c.session.hearing.Add(1)
	c.heard, c.hears = make(chan struct{}), true
	return token
}

// sessionLocked returns what h wants to resume, nil where there is no such
// thing, or not any more.
func (r *Room) sessionLocked(h *Resume) *session {
	// By its hash: how long a look-up takes says nothing about a token.
	hash := sha256.Sum256([]byte(h.Token))
	s := r.sessions[hash]
	if s == nil || subtle.ConstantTimeCompare(s.hash[:], hash[:]) == 0 {
		return nil
	}
	if s.conn.leaving || s.conn.forsaken.Load() || s.conn.Err() != nil && !s.conn.vanished() { // or about to leave
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(h.Epoch), []byte(r.epoch)) == 0 {
		return nil
	}
	return s
}

// resume makes c the next connection of the member that its hello names, if it
// names one. name is what a Handshake hook says that it is.
func (r *Room) resume(c *Conn, name string) (resumed bool, err error) {
	h := c.Hello().Resume
	if h == nil || !r.mayResume(c) {
		return false, nil
	}
	p := r.pass(context.Background(), nil)
	defer p.end()
	if r.state != roomOpen {
		return false, ErrRoomClosed
	}
	s := r.sessionLocked(h)
	switch {
	case c.Err() != nil:
		return false, c.Err()
	case s == nil:
		c.shaking.outcome = Expired
		return false, nil
	case h.Seq > r.seq:
		return false, fmt.Errorf("%w: %d, the last event is %d", ErrFutureSeq, h.Seq, r.seq)
	case !s.detached && c.born < s.conn.born: // its hello was held up, by a hook perhaps
		return false, fmt.Errorf("%w, which began later", ErrTakenOver)
	case name != "" && name != s.conn.Name():
		return false, refuse(fmt.Errorf("%w: the handshake says %q, the token is that of %q", ErrNotMember, name, s.conn.Name()))
	}
	lane, err := r.laneLocked(&c.cfg.limits)
	if err != nil {
		return false, err
	}
	lane.members++
	attached := false
	defer func() { // also where a codec ends the goroutine
		if !attached {
			lane.members--
			r.tidyLanesLocked()
		}
	}()
	missed, err := r.missedLocked(p, c, lane, s)
	if err != nil {
		return false, err
	}
	if err := r.settleAddressLocked(c, s.conn); err != nil {
		return false, err
	}
	attached = true
	r.takeOverLocked(p, s, c)
	r.attachLocked(c, lane)
	if err := r.welcomeLocked(p, c, string(h.Token)); err != nil {
		c.setCause(err)
		return false, err // it vanishes again
	}
	c.cur.InsertShared(missed)
	return true, nil
}

// missedLocked returns the frames of what c has not seen, a gap for what the
// room does not know any more at their head, and sets c's outcome.
func (r *Room) missedLocked(p *pass, c *Conn, l *lane, s *session) (frames [][]byte, err error) {
	if l.events == nil {
		l.events = new(replay)
	}
	if err := l.events.extend(p.enc, l, r.events); err != nil {
		return nil, err
	}
	c.shaking.outcome = Resumed
	from := max(c.shaking.hello.Resume.Seq, s.start) + 1
	if to := min(r.events.oldest(), r.seq+1) - 1; from <= to {
		gap, err := encode(&c.cfg.limits, &Event{Kind: Gap, GapFrom: from, GapTo: to})
		if err != nil {
			return nil, err
		}
		c.shaking.outcome = ResumedGap
		frames = append(frames, gap)
	}
	id := s.conn.ID()
	if c.cfg.echo {
		id = ""
	}
	return append(frames, l.events.frames(r.events.since(from), id)...), nil
}

// takeOverLocked puts c in the place of the last connection of s, which ends if
// it has not.
func (r *Room) takeOverLocked(p *pass, s *session, c *Conn) {
	old := s.conn
	if s.detached {
		r.reattachLocked(s)
		r.uncountAddressLocked(old)
	} else {
		old.cur.End()
		old.lane.members--
		if old.setCause(ErrTakenOver) {
			p.broken = append(p.broken, old)
		}
	}
	old.joined, old.stays = false, true
	c.setIdentity(old.member())
	c.session, s.conn = s, c
	s.hearing.Add(1)
	if c.earlier = old.heard; !old.hears {
		c.earlier = old.earlier // which it still waited for; it calls no hook now
	}
	c.heard = make(chan struct{})

	r.members[old.ID()] = c
	c.prev, c.next = old.prev, old.next
	if c.prev != nil {
		c.prev.next = c
	} else {
		r.first = c
	}
	if c.next != nil {
		c.next.prev = c
	} else {
		r.last = c
	}
	old.prev, old.next = nil, nil
	r.stats.Resumed++
}

// vanished reports whether the member of c, which has ended, may come back. A
// code says so rather than the cause, which may wrap what a hook or framing said.
func (c *Conn) vanished() bool {
	switch c.ended() {
	case "left", "cut-off", "reset", "idle-timeout", "write-timeout", "slow":
		return true
	}
	return false
}

// detach keeps c, whose connection has ended with cause, a member, if it is
// one that may resume, and reports whether it does, or is one with another
// connection by now.
func (r *Room) detach(c *Conn, cause error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := c.session
	if c.stays { // taken over
		return true
	}
	if s == nil || c.goodbye || !c.vanished() || !c.joined || c.leaving || r.state != roomOpen {
		return false
	}
	if c.away.Store(true); c.forsaken.Load() { // in the other order than giveUpOn
		return false
	}
	c.stays = true
	c.cur.End()
	c.lane.members--
	s.detached, s.lost, s.until = true, cause, time.Now().Add(r.cfg.sessions.Grace)
	r.detached.push(s)
	if r.detached.n > r.cfg.sessions.Detached {
		first := r.detached.first
		r.dismissLocked(first, first.lost)
	}
	r.expireLater()
	return true
}

// giveUpOn makes the member of c leave, if it waits for another connection or
// is about to.
func (r *Room) giveUpOn(c *Conn) {
	if c.forsaken.Store(true); !c.away.Load() {
		return // without the lock, which whoever calls Close may hold: a codec
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := c.session; s != nil && s.conn == c && s.detached {
		r.dismissLocked(s, net.ErrClosed)
		r.expireLater()
	}
}

// isDetached reports whether c is a member without a connection.
func (r *Room) isDetached(c *Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.session != nil && c.session.conn == c && c.session.detached
}

// counts reports whether c still counts for its address, although it has ended:
// that of a member without a connection does. It is called with the room's lock held.
func (c *Conn) counts() bool {
	return c.session != nil && c.session.conn == c && (c.session.detached || c.dismissed != nil)
}

// reattachLocked takes s out of those that are waited for.
func (r *Room) reattachLocked(s *session) {
	s.detached = false
	r.detached.remove(s)
	// The next would leave in time without this: expire, when it comes too early,
	// comes again. But often nobody is left, and then no timer either.
	r.expireLater()
}

// expireLater sets the timer for the next of those that are waited for. It
// counts as a goroutine of the room's until it has run or was stopped.
func (r *Room) expireLater() {
	if r.expiry != nil && r.expiry.Stop() {
		r.wg.Done()
	}
	r.expiry = nil
	if s := r.detached.first; s != nil {
		r.wg.Add(1)
		r.expiry = time.AfterFunc(time.Until(s.until), r.expire)
	}
}

// expire dismisses those whose grace is over.
func (r *Room) expire() {
	defer r.wg.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	for now := time.Now(); r.detached.first != nil && !now.Before(r.detached.first.until); {
		s := r.detached.first
		r.dismissLocked(s, s.lost)
	}
	r.expireLater()
}

// dismissLocked makes the member of s, which is detached, leave because of cause.
func (r *Room) dismissLocked(s *session, cause error) {
	c := r.undetachLocked(s, cause)
	go r.dismiss(c)
}

// undetachLocked ends the wait for s. The caller sees to it that dismiss runs.
func (r *Room) undetachLocked(s *session, cause error) *Conn {
	s.detached = false
	r.detached.remove(s)
	c := s.conn
	c.dismissed = cause
	delete(r.sessions, s.hash)
	r.keepLocked(c)
	return c
}

// dismiss is the goroutine that sees out a member which had no connection any
// more. It ends when OnLeave has returned.
func (r *Room) dismiss(c *Conn) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.uncountAddressLocked(c)
		r.forgetLocked(c)
	}()
	defer func() {
		c.logEnd(c.dismissed, codeOf(c.dismissed), true, false)
		if r.cfg.onLeave != nil {
			c.session.hearing.Wait()
			c.call(hookOnLeave, func() error { r.cfg.onLeave(c, c.dismissed); return nil })
		}
	}()
	r.leave(c, c.dismissed)
}

// sessionList is those that are detached, in the order in which they vanished.
type sessionList struct {
	first, last *session
	n           int
}

func (l *sessionList) push(s *session) {
	if s.prev = l.last; s.prev != nil {
		s.prev.next = s
	} else {
		l.first = s
	}
	l.last = s
	l.n++
}

func (l *sessionList) remove(s *session) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.last = s.prev
	}
	s.prev, s.next = nil, nil
	l.n--
}
