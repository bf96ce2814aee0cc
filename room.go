package tcproom

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/fanout"
)

// A Room is a set of members and one ordered stream of events: joins, leaves
// and messages. What one member sends goes to all others, in one order for all.
//
// All methods may be called from many goroutines and from hooks, Shutdown
// excepted, which in a hook would wait for that hook.
type Room struct {
	cfg   roomConfig
	epoch string
	fan   *fanout.Fan
	quiet *fanout.Lookout // for accepted members from which nothing has come
	done  chan struct{}   // closed by reap
	wg    sync.WaitGroup
	logs  logLimit

	patience atomic.Int64 // of the most patient Shutdown, in nanoseconds

	// mu is the sequencer: whoever holds it gives events their place. It is
	// never held during I/O or a hook; framings and codecs run under it.
	mu        sync.Mutex
	state     roomState
	seq       uint64
	lanes     []*lane
	history   *ring                          // of messages, for those who join; nil without WithHistory
	events    *ring                          // of all events, for those who resume; nil without WithSessions
	sessions  map[[sha256.Size]byte]*session // by the hash of their token
	detached  sessionList
	expiry    *time.Timer      // for the first of detached
	members   map[string]*Conn // by ID
	first     *Conn            // of the members, in join order
	last      *Conn
	reserved  int                 // slots of conns whose OnJoin runs
	names     map[string]struct{} // taken, where names are unique
	guests    uint64
	conns     map[*Conn]struct{}            // all that are served, members or not
	begun     uint64                        // conns that ever were
	pending   int                           // of them, those that have not joined
	addresses map[netip.Prefix]addressCount // by what addressOf returns
	acceptors map[*acceptor]struct{}
	rejects   map[*reject]struct{} // OnReject runs for conns that have no slot
	released  chan struct{}        // closed when a conn or acceptor is gone; nil until somebody waits
	cut       []CutMember          // while stopping
	stats     Stats
}

// roomState only grows.
type roomState uint8

const (
	roomOpen     roomState = iota
	roomDraining           // Shutdown: nothing new, and members get what was ordered
	roomClosed             // Close: at once
)

// New returns an open room. It listens nowhere and holds no goroutine until
// somebody joins. It never fails: every value of every option has a meaning.
func New(opts ...RoomOption) *Room {
	r := &Room{
		cfg:   newRoomConfig(opts),
		epoch: rand.Text(),
		fan:   fanout.New(),
		done:  make(chan struct{}),
	}
	r.quiet = fanout.NewLookout(r.fan, r.attendTo)
	r.history = newRing(r.cfg.history, r.cfg.backlog)
	if s := r.cfg.sessions; s != nil {
		r.events = newRing(&History{Messages: s.Events}, r.cfg.backlog)
	}
	r.lanes = append(r.lanes, r.newLane(&r.cfg.conn.limits))
	r.lanes[0].configured = 1
	return r
}

// Broadcast says body to everyone, from the room itself, and returns its
// place in the order. It blocks while messages are held back, by the room's own
// speed or by [Block], until ctx ends. The room keeps nothing of body.
//
// It returns [ErrRoomClosed], [ErrFrameTooLarge] or [ErrUnframeable], or the
// cause of ctx; with an error the message is not in the order.
func (r *Room) Broadcast(ctx context.Context, body []byte) (seq uint64, err error) {
	return r.message(ctx, nil, body)
}

// Post says body to everyone but c, from c, and returns its place in the
// order. With [WithEcho] c hears it too. It is what happens with a message of
// c unless [OnMessage] is set. Beside the errors of Broadcast it returns
// [ErrNotMember] when c is not a member of this room.
func (r *Room) Post(ctx context.Context, c *Conn, body []byte) (seq uint64, err error) {
	if c == nil || c.room != r {
		return 0, ErrNotMember
	}
	return r.message(ctx, c, body)
}

func (r *Room) message(ctx context.Context, from *Conn, body []byte) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	p := r.pass(ctx, from)
	defer p.end()
	p.follows = true
	seq, err := p.say(body)
	if err == nil && from != nil {
		from.posted = seq
	}
	return seq, err
}

// Kick removes c: its leave is ordered when Kick returns, and c is told
// goodbye with the reason, and closed once it has read that, or does not read.
// It does not wait for that. It returns [ErrNotMember] when c is
// not, or no longer, a member.
func (r *Room) Kick(c *Conn, reason string) error {
	if c == nil || c.room != r {
		return ErrNotMember
	}
	cause := &kickError{reason}
	p := r.pass(context.Background(), nil)
	if c.session != nil {
		c = c.session.conn
		if c.session.detached {
			r.undetachLocked(c.session, cause)
			r.expireLater()
			defer func() { go r.dismiss(c) }() // also where a codec ends this goroutine
		}
	}
	if !p.seeOff(c, cause) {
		return ErrNotMember
	}
	return nil
}

// Members returns those present at the moment of the call, in join order.
func (r *Room) Members() iter.Seq[*Conn] {
	r.mu.Lock()
	defer r.mu.Unlock()
	members := make([]*Conn, 0, len(r.members))
	for c := r.first; c != nil; c = c.next {
		members = append(members, c)
	}
	return func(yield func(*Conn) bool) {
		for _, c := range members {
			if !yield(c) {
				return
			}
		}
	}
}

// Member returns the member with the given ID.
func (r *Room) Member(id string) (*Conn, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.members[id]
	return c, ok
}

// Len returns the number of members.
func (r *Room) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members)
}

// Stats are counts of what a room has seen, taken at one moment.
type Stats struct {
	Members  int    // present
	Detached int    // of them, those that have lost their connection and may resume
	Pending  int    // connections that have not joined yet
	Joined   uint64 // members ever
	Resumed  uint64 // connections with which members came back
	Refused  uint64 // connections that did not join
	Messages uint64 // ordered, from members and the room itself
	Bytes    uint64 // of their bodies
	Skipped  uint64 // events that members jumped over, see [Skip]
	Seq      uint64 // of the last event
	// Left counts the members that are gone by cause, with the codes of
	// docs/wire.md: "left", "kicked", "slow", …
	Left map[string]uint64
}

// Stats returns the counts of this moment.
func (r *Room) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Members, s.Detached, s.Pending, s.Seq = len(r.members), r.detached.n, r.pending, r.seq
	for _, l := range r.lanes {
		s.Skipped += l.log.Skipped()
	}
	s.Left = make(map[string]uint64, len(r.stats.Left))
	for code, n := range r.stats.Left {
		s.Left[code] = n
	}
	return s
}

// reserve keeps a slot and a name for c until join or unreserve.
func (r *Room) reserve(c *Conn, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != roomOpen {
		return ErrRoomClosed
	}
	if r.fullLocked() {
		return ErrRoomFull
	}
	for name == "" {
		r.guests++
		name = "guest-" + strconv.FormatUint(r.guests, 10)
		if _, taken := r.names[name]; taken {
			name = ""
		}
	}
	if r.cfg.unique {
		if _, taken := r.names[name]; taken {
			return fmt.Errorf("%w: %q", ErrNameTaken, name)
		}
		if r.names == nil {
			r.names = make(map[string]struct{})
		}
		r.names[name] = struct{}{}
	}
	r.reserved++
	c.reserved = true
	c.setName(name)
	return nil
}

func (r *Room) fullLocked() bool {
	return r.cfg.maxMembers > 0 && len(r.members)+r.reserved >= r.cfg.maxMembers
}

func (r *Room) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fullLocked()
}

func (r *Room) unreserve(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.reserved {
		c.reserved = false
		r.reserved--
		r.freeNameLocked(c)
	}
}

func (r *Room) freeNameLocked(c *Conn) {
	if r.cfg.unique {
		delete(r.names, c.Name())
	}
}

// join orders c's join, gives it a cursor behind it, and welcomes it: member
// list, history and live stream are cut at one instant.
func (r *Room) join(c *Conn) error {
	p := r.pass(context.Background(), nil)
	defer p.end()
	if r.state != roomOpen {
		return ErrRoomClosed
	}
	lane, err := r.laneLocked(&c.cfg.limits)
	if err != nil {
		return err
	}
	lane.members++ // stays, while order lets go of the lock
	ordered, attached := false, false
	defer func() { // also where a codec ends the goroutine
		if attached {
			return
		}
		lane.members--
		r.tidyLanesLocked()
		if ordered {
			p.orderLeave(c)
		}
	}()
	if r.cfg.notices {
		if _, err := p.order(&Event{Kind: Join, From: c.member()}); err != nil {
			return err
		}
		ordered = true
	}
	if err := c.Err(); err != nil || r.state != roomOpen {
		// It ended, or the room did, while its join waited for a place.
		return cmpErr(err, ErrRoomClosed)
	}
	past, err := r.historyLocked(p, c, lane)
	if err != nil {
		return err
	}
	attached = true
	token := r.beginSessionLocked(c)
	r.attachLocked(c, lane)
	r.addMemberLocked(c)
	if err := r.welcomeLocked(p, c, token); err != nil {
		c.setCause(err)
		p.leave(c)
		return err
	}
	c.cur.InsertShared(past)
	return nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// attachLocked gives c a cursor at the head of l.
func (r *Room) attachLocked(c *Conn, l *lane) {
	l.conns++
	c.lane = l
	c.cur = l.log.Attach(c.sink, r.cfg.slow == Skip && l.saysGap)
	c.joined = true
	r.pending--
}

func (r *Room) addMemberLocked(c *Conn) {
	if r.members == nil {
		r.members = make(map[string]*Conn)
	}
	r.members[c.id] = c
	if c.prev = r.last; c.prev != nil {
		c.prev.next = c
	} else {
		r.first = c
	}
	r.last = c
	if c.reserved {
		c.reserved = false
		r.reserved--
	}
	r.stats.Joined++
}

func (r *Room) removeMemberLocked(c *Conn) {
	delete(r.members, c.id)
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		r.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		r.last = c.prev
	}
	c.prev, c.next = nil, nil
	c.joined = false
	if c.session != nil {
		delete(r.sessions, c.session.hash)
	}
	r.freeNameLocked(c)
	if r.stats.Left == nil {
		r.stats.Left = make(map[string]uint64)
	}
	r.stats.Left[c.leftBy()]++
}

// leftBy returns the code of the cause with which c leaves.
func (c *Conn) leftBy() string {
	if c.dismissed != nil {
		return codeOf(c.dismissed)
	}
	return c.ended()
}

// welcomeLocked says to c who it is and who is there, where its codec does.
func (r *Room) welcomeLocked(p *pass, c *Conn, token string) error {
	ev := &p.ev
	*ev = Event{Kind: Welcome, Seq: r.seq, From: c.member(), Time: p.now, Epoch: r.epoch, Total: len(r.members), Token: Secret(token)}
	if token != "" {
		ev.Outcome = cmp.Or(c.shaking.outcome, Joined)
	}
	if c.session != nil {
		ev.ID = c.session.lastID
	}
	if _, ok := c.cfg.codec.(Greeter); ok {
		for m := r.first; m != nil && len(ev.Members) < maxWelcomeMembers; m = m.next {
			ev.Members = append(ev.Members, m.member())
		}
	}
	b, err := encode(&c.cfg.limits, ev)
	if err != nil || b == nil {
		return err
	}
	c.cur.Insert(b, len(b))
	return nil
}

// leave ends c with cause and orders its leave, if it is a member. It reports
// whether it was.
func (r *Room) leave(c *Conn, cause error) (left bool) {
	return r.pass(context.Background(), nil).seeOff(c, cause)
}

// seeOff is leave. It ends p.
func (p *pass) seeOff(c *Conn, cause error) (left bool) {
	defer func() {
		if p.end(); left {
			c.unblock()
		}
	}()
	if left = c.joined && !c.leaving; left {
		c.setCause(cause)
		p.leave(c)
	}
	for c.joined { // until the leave that another call orders has its place
		p.await(p.r.fan.Progress(), time.Time{})
	}
	return left
}

// A refusal is the error with which a Handshake or OnJoin hook refused a conn.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// kickError is ErrKicked with the reason.
type kickError struct{ reason string }

func (e *kickError) Error() string { return fmt.Sprintf("%v: %q", ErrKicked, e.reason) }

func (e *kickError) Unwrap() error { return ErrKicked }

// codes are the short names of causes: those of Refused on the wire, and
// the keys of Stats.Left. The first that matches counts; what matches none is
// the error of a hook, "denied".
var codes = []struct {
	err  error
	code string
}{
	{ErrHook, "hook"},
	{ErrWrongDoor, "wrong-door"},
	{ErrKicked, "kicked"},
	{ErrTakenOver, "taken-over"},
	{ErrFutureSeq, "future"},
	{ErrRateLimited, "rate-limited"},
	{ErrSlow, "slow"},
	{ErrWriteTimeout, "write-timeout"},
	{ErrIdleTimeout, "idle-timeout"},
	{ErrHandshakeTimeout, "handshake-timeout"},
	{ErrRoomClosed, "closed"},
	{ErrRoomFull, "full"},
	{ErrTooManyPending, "busy"},
	{ErrTooManyFromAddress, "too-many-from-address"},
	{ErrTooManyLanes, "too-many-lanes"},
	{ErrNameTaken, "name-taken"},
	{ErrNameInvalid, "name-invalid"},
	{ErrFrameTooLarge, "too-large"},
	{ErrMalformed, "malformed"},
	{ErrUnframeable, "unframeable"},
	{ErrReset, "reset"},
	{io.ErrUnexpectedEOF, "cut-off"},
	{io.EOF, "left"},
	{net.ErrClosed, "ended"},
}

// final are the codes of ends that would only come again if the client did.
var final = map[string]bool{
	"kicked": true, "taken-over": true, "denied": true, "name-invalid": true, "future": true,
	"wrong-door": true, "malformed": true, "too-large": true, "unframeable": true, "hook": true,
}

func codeOf(cause error) string {
	if r, ok := cause.(*refusal); ok {
		// What happened to another conn of the hook's is not this one's end.
		switch code := codeOf(r.error); code {
		case "full", "busy", "too-many-from-address", "name-taken", "name-invalid", "too-many-lanes", "closed", "handshake-timeout":
			return code
		}
		return "denied"
	}
	for _, c := range codes {
		if errors.Is(cause, c.err) {
			return c.code
		}
	}
	return "denied"
}
