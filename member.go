package tcproom

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/ledger"
	"example.com/tcproom/internal/lockorder"
)

// A Member is one that is in a room: it has an ID, a name and a place in the
// room's stream. Hooks and [Room.Members] give it. It is the same value over all
// connections of a session, see [WithSessions]. In a [Hub] a connection has a Member for
// each of its rooms, and one in [Hub.All]; one that leaves a room and enters it again has
// a new one there.
//
// All methods may be called from many goroutines and from hooks.
type Member struct {
	room     *Room
	who      atomic.Pointer[MemberInfo] // set with the room's lock held
	limiter  Limiter                    // nil: none
	presence *presence                  // of its connection of a hub; nil in a room of New
	// turn holds a token while hooks of the member may run on a goroutine. It is nil
	// if all of them run on one.
	turn chan struct{}

	at atomic.Pointer[stream] // of its connection, or the last one; set with the room's lock held

	mu     lockorder.Mutex // guards what follows
	ending *ending         // why it has left, once it has
	ctx    *endContext

	// Guarded by the room's lock.
	state      memberState
	arrives    bool     // a connection resumes it here, that was connected to another process
	adrift     bool     // it is connected here, and has still to join the stream of now: see reset.go
	prev, next *Member  // of those that are connected to this process, in join order
	session    *session // nil: it cannot resume
}

// memberState is where a member is. Room.moveLocked changes it, along these ways and
// no others:
//
//	reserved → present    its join has its place: it is in the list
//	reserved → gone       it was refused, or its connection ended before that
//	present  → detached   it lost its connection, and may resume on another one
//	detached → present    it has resumed
//	present  → leaving    its leave is getting its place; until then it is in the list
//	detached → leaving    the same
//	leaving  → gone       its leave has its place
type memberState uint8

const (
	memberReserved memberState = iota // has a name and a slot; OnJoin runs
	memberPresent
	memberDetached
	memberLeaving
	memberGone
)

func (s memberState) String() string {
	switch s {
	case memberReserved:
		return "joining"
	case memberDetached:
		return "detached"
	case memberGone:
		return "gone"
	}
	return "present"
}

var memberMoves = map[[2]memberState]bool{
	{memberReserved, memberPresent}: true,
	{memberReserved, memberGone}:    true,
	{memberPresent, memberDetached}: true,
	{memberDetached, memberPresent}: true,
	{memberPresent, memberLeaving}:  true,
	{memberDetached, memberLeaving}: true,
	{memberLeaving, memberGone}:     true,
}

// in reports whether a member in this state is one for the API.
func (s memberState) in() bool { return s == memberPresent || s == memberDetached }

// A session is what a member that can resume has beside others. It is guarded
// by the room's lock.
type session struct {
	start  uint64 // what the first Welcome said: what came before is not for this member
	token  ledger.Key
	taken  ledger.Window // the numbered messages that need not be sent again; see Member.find and take
	inHook Span          // the numbers of one read that OnMessage got, and not in taken yet
	queued int           // posts that wait for inHook
	posted uint64        // the seq of what was posted last as the member
	stream uint64        // while the member is adrift: which one of the room's it was in, see streamOf

	// While it is detached.
	lost  error     // what ended its connection
	code  Cause     // of that
	until time.Time // when its grace is over
	seat  *seat     // of its last connection, which counts still; nil: none
}

// find returns the message of the given number, and whether it need not be sent again. Of
// one that another room of the connection has taken the seq is not known.
func (m *Member) find(number uint64) (t ledger.Taken, ok bool) {
	if t, ok = m.session.taken.Find(number); !ok && m.presence != nil && number <= m.presence.most.Load() {
		return ledger.Taken{Number: number}, true
	}
	return t, ok
}

// take notes that the message of the given number was ordered at seq, or is not to be
// ordered, in any room of the connection.
func (m *Member) take(number, seq uint64) ledger.Taken {
	if p := m.presence; p != nil {
		p.took(number)
	}
	return m.session.taken.Take(number, seq)
}

// lastTaken returns the greatest number that was taken; 0 if there is none.
func (m *Member) lastTaken() uint64 {
	last := m.session.taken.Last()
	if m.presence != nil {
		last = max(last, m.presence.most.Load())
	}
	return last
}

// moveLocked brings m to another state, and with it what the room counts and lists. It
// is the only place that changes the state.
func (r *Room) moveLocked(m *Member, to memberState) {
	from := m.state
	if !memberMoves[[2]memberState{from, to}] {
		panic(fmt.Sprintf("tcproom: member moves from state %d to %d", from, to)) // a bug of ours
	}
	m.state = to
	switch from {
	case memberReserved:
		r.reserved--
	case memberDetached:
		if m.isPart() { // it waits with the member of its connection
			r.away--
			break
		}
		r.detached.Remove(m)
		// The next would leave in time without this: expire, when it comes too early,
		// comes again. But often nobody is left, and then no timer either.
		r.expireLater()
	}
	switch to {
	case memberPresent:
		if from == memberReserved {
			r.members.add(m)
			r.stats.Joined++
		}
	case memberDetached:
		if m.isPart() {
			r.away++
			break
		}
		r.detached.Add(m, m.session.until)
		r.expireLater()
	case memberGone:
		r.landedLocked(m)
		r.freeNameLocked(m)
		if from == memberLeaving {
			r.members.remove(m)
			r.stats.leftBy(m.leftBy())
		}
		if m.session != nil {
			r.tokens.Revoke(m.session.token)
		}
	}
}

// conn returns the connection of m, or the last one.
func (m *Member) conn() *link { return m.at.Load().link }

// ID returns what identifies the member: unique and never reused.
func (m *Member) ID() string { return m.Info().ID }

// Name returns the member's name.
func (m *Member) Name() string { return m.Info().Name }

// Info returns ID and name, as events have them.
func (m *Member) Info() MemberInfo { return *m.who.Load() }

// Room returns the member's room.
func (m *Member) Room() *Room { return m.room }

// RemoteAddr returns the address of the peer of its connection, or of the last
// one; nil only if the net.Conn that the user gave says so. Of a [Member.Remote] it is a
// [*net.IPAddr], without a port; nil if its process does not know that, and when it has
// left.
func (m *Member) RemoteAddr() net.Addr {
	if m.Remote() {
		return m.room.farAddr(m.ID())
	}
	return m.conn().RemoteAddr()
}

// farAddr returns the address of the peer of a member of another process.
func (r *Room) farAddr(id string) net.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.replica.state.Member(id); of != nil && of.Addr.IsValid() {
		return &net.IPAddr{IP: of.Addr.AsSlice()}
	}
	return nil
}

// TLS returns the state of the TLS session of its connection, or of the last
// one, with the certificates of the peer; nil without TLS. It does not block.
func (m *Member) TLS() *tls.ConnectionState { return tlsState(m.conn().nc) }

// Hello returns the hello of its connection, or of the last one. It is what the
// peer claimed, which proves nothing. If its codec has none, it is what its [Arrival]
// said, or zero.
func (m *Member) Hello() Hello { return m.conn().helloSaid() }

// Post sends body to everyone but m, from m, and returns its place in the
// order. With [WithEcho] m receives it too. It is what happens with a message of
// m unless [OnMessage] is set.
//
// It blocks like [Room.Broadcast], and keeps nothing of body. Beside the errors of
// Broadcast it returns [ErrNotMember] if m has not joined or has left. It may be called
// for a member that is [Member.Remote].
func (m *Member) Post(ctx context.Context, body []byte) (seq uint64, err error) {
	return m.room.message(ctx, m, body)
}

// Send sends body to m alone, from the room, as a [Direct] event that stands
// where the room's order is now.
//
// It blocks while too much is waiting to be sent to m, until ctx ends; it takes the
// message whole or, with an error, not at all, and does not wait until the peer
// has it. It keeps nothing of body. Errors are [ErrFrameTooLarge], [ErrUnframeable],
// [ErrDetached], [ErrNotMember], the cause of ctx, or that of the end of m's
// connection.
//
// If m is [Member.Remote] it goes through the log, which all processes of the room read.
// It blocks until it has its place there, and nil means that and not that m's process had
// room for it. Errors are [ErrFrameTooLarge], [ErrNotMember], [ErrUnavailable], also if m
// is detached, and those that wrap [ErrUncertain].
func (m *Member) Send(ctx context.Context, body []byte) error {
	return m.SendFrom(ctx, nil, body)
}

// SendFrom is Send of a message from another member of the room, or from the room itself
// if from is nil. [Raw] does not show from whom it is. If m is [Member.Remote], from must
// not be: it fails with [ErrNotMember].
func (m *Member) SendFrom(ctx context.Context, from *Member, body []byte) error {
	var info MemberInfo
	if from != nil {
		info = from.Info()
		m.room.tellNow() // m may not know of from yet
	}
	if l := m.conn(); len(body) > l.cfg.maxMessage {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrameTooLarge, len(body), l.cfg.maxMessage)
	}
	return m.send(ctx, info, body)
}

// send is Send without the limit of messages.
func (m *Member) send(ctx context.Context, from MemberInfo, body []byte) error {
	if err := m.room.orderHeld(ctx); err != nil {
		return err
	}
	for {
		if m.Remote() {
			return m.sendRemote(ctx, from, body)
		}
		s := m.voice()
		b, err := s.frameDirect(from, body)
		if err != nil {
			return err
		}
		err = s.putWhole(ctx, b)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if m.voice() == s { // else it goes on over another one
			return m.sendError(s.link, err)
		}
	}
}

// sendError is what Send returns if l, over which m is connected, has ended with cause.
func (m *Member) sendError(l *link, cause error) error {
	code := l.ended()
	m.room.mu.Lock()
	defer m.room.mu.Unlock()
	switch {
	case m.state == memberDetached, m.state == memberPresent && m.session != nil && vanished(code): // or about to be
		return fmt.Errorf("%w: %w", ErrDetached, cause)
	case m.state > memberDetached:
		return fmt.Errorf("%w: %w", ErrNotMember, cause)
	}
	return cause
}

// Kick removes m: its leave is ordered when Kick returns, and m is told
// goodbye with the reason. Its connection is closed once m has read that, or does
// not read. Kick does not wait for that. It returns [ErrNotMember] if m has not
// joined or has left.
//
// In a room with a log it blocks until the leave has its place there. If that takes
// longer than [WithMaxOutage], it returns nil for a member that is connected here, whose
// leave is ordered later, and [ErrUnavailable] or an error that wraps [ErrUncertain] for
// one that is [Member.Remote]; for that also [ErrRoomClosed]. Other processes get the first 4 KiB of the reason.
//
// In a [Hub] it ends the membership m alone, and the connection goes on, see [Hub.Leave];
// Kick of the member of [Hub.All] ends the connection and all of its memberships.
func (m *Member) Kick(reason string) error {
	if m.Remote() {
		return m.room.kickRemote(m, reason)
	}
	if !m.kick(&kickError{reason}) {
		return ErrNotMember
	}
	return nil
}

// kick is Kick because of cause. It reports whether m was a member.
func (m *Member) kick(cause error) bool {
	m.room.orderHeld(endedNow) // what is held back may be so because of m
	if m.isPart() {
		return m.kickPart(cause, causeOf(cause))
	}
	if !m.room.leave(m, cause, nil) {
		return false
	}
	if p := m.presence; p != nil { // its goroutine would do so when no hook runs
		m.room.hub.leaveAll(p, m.Err(), m.leftBy())
	}
	return true
}

// kickError is ErrKicked with the reason.
type kickError struct{ reason string }

func (e *kickError) Error() string { return fmt.Sprintf("%v: %q", ErrKicked, e.reason) }

func (e *kickError) Unwrap() error { return ErrKicked }

// Context returns a context that is done when m has left, or is about to because its
// connection has ended and it cannot resume, with the cause as its [context.Cause]. A
// hook of m may wait for it. It carries the values of [Identity].Context.
func (m *Member) Context() context.Context {
	parent := context.Background()
	if m.isPart() {
		parent = m.presence.base.Context()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil {
		m.ctx = newEndContext(parent)
		if m.ending != nil {
			m.ctx.cancel(m.ending.cause)
		}
	}
	return m.ctx.Context
}

// Err returns why m has left, or is about to; nil while its Context is not done.
func (m *Member) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ending.err()
}

// setCause notes why m leaves, and the code of that: a hook's error has methods of
// its own, which are not to run under a lock. The first cause counts.
func (m *Member) setCause(cause error, code Cause) {
	if l, ok := cause.(*laterError); ok {
		cause = l.Cause
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ending == nil {
		m.ending = &ending{cause, code}
	}
}

// leftBy returns the code of the cause.
func (m *Member) leftBy() Cause {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ending.code
}

// unblock tells the member's context that it has left.
func (m *Member) unblock() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx != nil && m.ending != nil {
		m.ctx.cancel(m.ending.cause)
	}
}

// valuesFrom is a context with another's values before its own.
type valuesFrom struct {
	context.Context
	values context.Context
}

func (v valuesFrom) Value(key any) any {
	if x := v.Context.Value(key); x != nil {
		return x
	}
	return v.values.Value(key)
}

// newMember returns a member that has no place in the room yet.
func (r *Room) newMember(l *link, id Identity) *Member {
	m := &Member{room: r}
	who := MemberInfo{Name: id.Name}
	if r.replica != nil {
		who.ID = r.replica.newID()
	} else {
		who.ID = rand.Text()
	}
	m.who.Store(&who)
	if id.Context != nil {
		m.ctx = newEndContext(context.Background())
		m.ctx.Context = valuesFrom{m.ctx.Context, id.Context}
	}
	m.at.Store(&l.stream)
	if r.mayResume(l.cfg) && (r.cfg.hooks.serial() || l.cfg.rate != nil) {
		m.turn = make(chan struct{}, 1)
	}
	return m
}

// serial reports whether there are hooks that must wait for each other if a
// member has several connections.
func (h *hooks) serial() bool { return h.onMessage != nil || h.onJoined != nil || h.onLeave != nil }

// takeTurn waits until no hook of m runs on another goroutine, or done is closed,
// and reports whether it has the turn.
func (m *Member) takeTurn(done <-chan struct{}) bool {
	if m.turn == nil {
		return true
	}
	select {
	case m.turn <- struct{}{}:
		return true
	case <-done:
		return false
	}
}

// tryTurn is takeTurn that does not wait.
func (m *Member) tryTurn() bool {
	if m.turn == nil {
		return true
	}
	select {
	case m.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

func (m *Member) giveTurn() {
	if m.turn != nil {
		<-m.turn
	}
}

// memberList is the members of a room that are connected to this process, or were last, in
// join order.
type memberList struct {
	first, last *Member
	n           int
	ids         map[string]*Member // nil while there never were more than fewMembers
}

// fewMembers are found as fast without a map, which would be the most of what a small room
// takes.
const fewMembers = 8

func (l *memberList) len() int { return l.n }

// byID returns the member with that ID; nil if there is none.
func (l *memberList) byID(id string) *Member {
	if l.ids != nil {
		return l.ids[id]
	}
	for m := l.first; m != nil; m = m.next {
		if m.Info().ID == id {
			return m
		}
	}
	return nil
}

// add adds m as the last one.
func (l *memberList) add(m *Member) {
	if l.n++; l.n > fewMembers && l.ids == nil {
		l.ids = make(map[string]*Member)
		for m := l.first; m != nil; m = m.next {
			l.ids[m.Info().ID] = m
		}
	}
	if l.ids != nil {
		l.ids[m.Info().ID] = m
	}
	if m.prev = l.last; m.prev != nil {
		m.prev.next = m
	} else {
		l.first = m
	}
	l.last = m
}

func (l *memberList) remove(m *Member) {
	l.n--
	delete(l.ids, m.Info().ID)
	if m.prev != nil {
		m.prev.next = m.next
	} else {
		l.first = m.next
	}
	if m.next != nil {
		m.next.prev = m.prev
	} else {
		l.last = m.prev
	}
	m.prev, m.next = nil, nil
}
