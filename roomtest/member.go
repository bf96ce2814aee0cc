package roomtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/probe"
)

// A Member is a client that a test sends with and has expectations of.
//
// What it receives is collected from the start, so that it is never slow by
// accident; [Member.Pause] and the faults of Link make it so. Expectations look
// at the events in the order in which they came, each event once, and fail the
// test at once when the connection has ended, or a hook has failed, and what
// they wait for can no longer come. Whatever fails shows what came instead, and
// the room's order.
//
// Its methods are for the test's own goroutine, as [testing.T.FailNow] is; for the
// goroutines of subtests, see [Member.In].
type Member struct {
	// Conn is the client itself. Do not use its Receive and Events, and prefer
	// [Member.Send] to its Send; the reason is there.
	Conn *tcproom.Conn
	// Link is the client's end of the connection in memory, for faults:
	// Link.In(Stall()) stops it from reading. It is nil if the connection is not in
	// memory.
	Link *Conn
	// Welcome is the room's welcome; it is zero if [Server.Watch] made the Member.
	Welcome tcproom.Event

	s      *Server
	t      testing.TB // that expectations end when they fail
	in     *inbox
	cl     *client
	there  *served       // the room's end; nil if that is unknown
	within time.Duration // 0: the server's
}

// Join connects a member with this name, or ends the test. If the room may refuse
// the member, or is to refuse it, use [Server.TryJoin] or [Server.Refuses]. The
// member is in the room when Join returns, and its own stream begins there: it
// receives the joins of members that come later, not its own.
//
// It goes in through [tcproom.Room.ServeConn], over memory with either kind of
// server, with [tcproom.Lines] and [tcproom.JSON], which carry every body and every
// field. So it meets the room's limits and hooks as a connection from outside does;
// [tcproom.Room.Join] leaves the [tcproom.WithHandshake] hook out. That hook sees the
// name in its Newcomer.Hello; if it talks with the client, use [Server.Dial] and
// [Server.Watch].
//
// opts may set anything but name, framing, codec, TLS, dialer and OnEvent. The
// message limit is the largest that there is.
func (s *Server) Join(name string, opts ...tcproom.DialOption) *Member {
	s.watch.use("Server.Join")
	s.watch.t.Helper()
	m, err := s.join(name, s.serveMember, opts)
	if err != nil {
		s.watch.use("Server.Join") // while it waited
		s.watch.t.Fatalf("roomtest: %s cannot join: %v", safe([]byte(name)), err)
	}
	if s.Hub != nil && m.Welcome.Room != "" {
		m.settle()
	}
	return m
}

// join is Join from any goroutine.
func (s *Server) join(name string, serve func(*served), opts []tcproom.DialOption) (*Member, error) {
	return s.joinWith(fmt.Sprintf("that of the member %q", name), serve, append(opts[:len(opts):len(opts)], tcproom.WithName(name)), nil)
}

// joinWith is join with the name that opts set. who names the connection in a
// failure. from is where opts resume, if they do and that is known.
func (s *Server) joinWith(who string, serve func(*served), opts []tcproom.DialOption, from *tcproom.Resume) (*Member, error) {
	var room *served
	dial := func(context.Context, string, string) (net.Conn, error) {
		if s.dead.Load() {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}
		here, there := Pipe()
		room = s.serving(there, who)
		return here, s.start(func() { serve(room) })
	}
	all := append([]tcproom.DialOption{tcproom.WithMaxMessage(1 << 30)}, opts...)
	all = append(all, tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithTLS(nil), tcproom.OnEvent(nil))
	c, cl, err := s.connect("", dial, all)
	if err != nil {
		return nil, err
	}
	cl.from = from
	m := s.member(c, cl)
	m.there = room
	m.Link = cl.link
	m.Welcome = m.in.welcome()
	return m, nil
}

// serveMember is serveConn of a member that is no bot.
func (s *Server) serveMember(nc *served) { s.serveConn(nc) }

// serveConn returns when the member has left.
func (s *Server) serveConn(nc *served, opts ...tcproom.ConnOption) {
	s.Room.ServeConn(nc, append(opts, tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithTLS(nil))...)
}

// Watch makes a Member of any dialling end that has no OnEvent hook, and whose
// Receive and Events have no other caller. At the end of the test it closes c.
//
// For [Member.Send], and [Member.Sync] and [Member.Refute], see there what
// holds for such a Member.
func (s *Server) Watch(c *tcproom.Conn) *Member {
	s.watch.use("Server.Watch")
	cl := s.clientOf(c)
	if cl == nil {
		cl = &client{conn: c, who: "given to Watch"}
		s.addClient(cl)
	}
	return s.member(c, cl)
}

// clientOf returns what is known of c, or nil.
func (s *Server) clientOf(c *tcproom.Conn) *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cl := range s.clients {
		if cl.conn == c {
			return cl
		}
	}
	return nil
}

// member begins to read from c, once.
func (s *Server) member(c *tcproom.Conn, cl *client) *Member {
	s.mu.Lock()
	fresh := cl.in == nil
	if fresh {
		cl.in = newInbox(c, barrierMark+rand.Text()[:16]+"-")
	}
	s.mu.Unlock()
	if fresh {
		go cl.in.collect()
	}
	return &Member{Conn: c, Link: cl.link, s: s, t: s.watch.t, in: cl.in, cl: cl}
}

// In returns the same member for a subtest: what its methods find wrong ends t,
// and not the test of the server. Parallel subtests that share a server need it,
// each for members of its own that were made before the subtests began.
func (m *Member) In(t testing.TB) *Member {
	m.s.watch.use("Member.In")
	own := *m
	own.t = t
	return &own
}

// Name returns the member's name; it is empty if the codec does not carry it.
func (m *Member) Name() string {
	m.s.watch.use("Member.Name")
	return m.Conn.Name()
}

// Within returns the same member with expectations that wait for d before they fail;
// zero and negative values mean the time of [Server.Within].
func (m *Member) Within(d time.Duration) *Member {
	m.s.watch.use("Member.Within")
	patient := *m
	patient.within = max(d, 0)
	return &patient
}

func (m *Member) patience() time.Duration {
	if m.within > 0 {
		return m.within
	}
	return m.s.patience()
}

// Send sends body and waits until the room has dealt with it: until it is
// ordered, or OnMessage has returned, or the room has ended the connection for
// it. So what is sent by one member after another is ordered so. To send while
// the room cannot deal with it, as when a hook waits for the test, use
// [Member.SendAsync].
//
// It ends the test when that takes too long or the connection has ended. A
// Member of [Server.Watch] does not wait for the room.
func (m *Member) Send(body string) {
	m.s.watch.use("Member.Send")
	m.t.Helper()
	m.ask("Send", body, func(ctx context.Context) error { return m.Conn.Send(ctx, []byte(body)) })
}

// ask sends something and waits until the room has dealt with it, if that is known.
func (m *Member) ask(method, what string, send func(context.Context) error) {
	m.t.Helper()
	if m.there == nil {
		m.sendBy(method, what, send)
		return
	}
	lost := m.there.in.lost()
	m.sendBy(method, what, send)
	upTo := probe.Queued(m.Conn) - lost
	t := time.NewTimer(m.patience())
	defer t.Stop()
	for {
		ok, changed := m.there.dealtWith(upTo)
		if ok {
			return
		}
		select {
		case <-changed:
		case <-m.in.done:
			return
		case <-t.C:
			m.fail("sent %s, which the room has not dealt with within %v: is a hook busy, a fault on the link, or the room blocked? To go on without waiting, use SendAsync",
				short(safe([]byte(what))), m.patience())
		}
	}
}

// SendAsync sends body without waiting for the room. It blocks, and at last
// ends the test, while 64 KiB that the room has not read are waiting. A later
// Send waits for this message too, as it does for one that went through Conn.Send.
func (m *Member) SendAsync(body string) {
	m.s.watch.use("Member.SendAsync")
	m.t.Helper()
	m.sendBy("SendAsync", body, func(ctx context.Context) error { return m.Conn.Send(ctx, []byte(body)) })
}

func (m *Member) sendBy(method, what string, send func(context.Context) error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), m.patience())
	defer cancel()
	if err := send(ctx); err != nil {
		if end := m.Conn.Err(); end != nil {
			err = fmt.Errorf("its connection has ended: %w", end)
		}
		m.fail("cannot %s %s: %v", method, short(safe([]byte(what))), err)
	}
}

// Pause stops the member from reading, from when it returns: it becomes slow
// as soon as the room has sent more than the connection and the backlog hold.
// What it had received before, at most 64 KiB, may still come to light after
// Resume only. It is no fault, and needs no memory connection.
func (m *Member) Pause() {
	m.s.watch.use("Member.Pause")
	m.in.pause()
}

// Resume makes a paused member read again.
func (m *Member) Resume() {
	m.s.watch.use("Member.Resume")
	m.in.resume()
}

// Leave closes the client's end and returns when the room has let the member go: its
// leave is ordered. It ends the test when closing fails, or when that takes too long,
// for example because a fault keeps the close from the room; to leave without waiting
// for the room, close Conn.
//
// For a Member of Watch that the server did not dial, and whose codec does not carry
// its ID, it does not wait for the room.
func (m *Member) Leave() {
	m.s.watch.use("Member.Leave")
	m.t.Helper()
	if err := m.leave(context.Background()); err != nil {
		m.fail("%v", err)
	}
}

// leave is Leave from any goroutine. ctx ends the wait for the room.
func (m *Member) leave(ctx context.Context) error {
	patience := m.patience()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	there := m.there
	if there == nil {
		there, _ = m.s.servedFrom(m.cl.local)
	}
	if err := m.Conn.Close(); err != nil {
		return fmt.Errorf("cannot leave: %w", err)
	}
	for {
		gone, changed := true, (<-chan struct{})(nil)
		if there != nil {
			gone, changed = there.dealtWith(math.MaxInt64)
		} else {
			gone = m.roomEnd() == nil
		}
		if gone {
			return nil
		}
		select {
		case <-changed:
		case <-glance(changed):
		case <-ctx.Done():
			return fmt.Errorf("has closed its end, and the room has not let it go within %v: is a hook busy, or a fault on the link?", patience)
		}
	}
}

// glance returns a channel by which to look again after a millisecond, if changed is
// nil.
func glance(changed <-chan struct{}) <-chan time.Time {
	if changed != nil {
		return nil
	}
	return time.After(time.Millisecond)
}

// Events returns all that came so far, a Welcome included, whether or not an
// expectation has dealt with it. They must not be changed.
func (m *Member) Events() []tcproom.Event {
	m.s.watch.use("Member.Events")
	return m.in.look().events
}

// Expect waits until the next events are these, in this order and with nothing
// in between, returns them, and ends the test when another comes first or none
// does. Joins and leaves count; only a Welcome is passed over, but see [Entered]. To pass
// over what does not matter, use [Member.Await].
func (m *Member) Expect(want ...Match) []tcproom.Event {
	m.s.watch.use("Member.Expect")
	m.t.Helper()
	t := time.NewTimer(m.patience())
	defer t.Stop()
	var got []tcproom.Event
	for _, w := range want {
		ev, why := m.next(t)
		if why != "" {
			m.fail("%s%s", wanted(want, got), why)
		}
		if !w.Matches(ev) {
			m.fail("%sbut then came:\n%s", wanted(want, got), indent(line(&ev)))
		}
		got = append(got, ev)
	}
	return got
}

// Await waits for an event that matches, passing over others, and returns it.
// It ends the test when none comes.
func (m *Member) Await(want Match) tcproom.Event {
	m.s.watch.use("Member.Await")
	m.t.Helper()
	t := time.NewTimer(m.patience())
	defer t.Stop()
	var passed []tcproom.Event
	for {
		ev, why := m.next(t)
		if why != "" {
			m.fail("waited for:\n%s\n%s%s", indent(want.String()), passedOver(passed), why)
		}
		if want.Matches(ev) {
			return ev
		}
		passed = append(passed, ev)
	}
}

// AwaitEnd waits until the stream has ended, passing over what comes before,
// and returns why, as [tcproom.Conn.Receive] does: an [*tcproom.EndError] of the
// room's words if it said goodbye. It ends the test when the stream does not end.
func (m *Member) AwaitEnd() error {
	m.s.watch.use("Member.AwaitEnd")
	m.t.Helper()
	t := time.NewTimer(m.patience())
	defer t.Stop()
	for {
		l := m.in.look()
		if l.err != nil {
			m.in.know()
			for _, ok := m.in.take(); ok; _, ok = m.in.take() {
			}
			return l.err
		}
		select {
		case <-l.changed:
		case <-t.C:
			m.fail("waited for the end of its stream, which did not come within %v", m.patience())
		}
	}
}

// Sync waits until the member has received everything that was ordered, or
// sent to it alone, before the call; or its stream has ended. It ends the
// test when that takes too long, as it does for a member that does not read.
//
// For that the room sends a message to this member alone, which the Member keeps to
// itself; WithMaxMessage does not limit it, except for a client given to Watch that
// the server did not dial. It needs a framing that keeps messages apart and a codec
// with direct messages. A Member of Watch also needs a codec that carries its ID,
// unless [Server.Dial] connected it.
func (m *Member) Sync() {
	m.s.watch.use("Member.Sync")
	m.t.Helper()
	m.sync()
}

func (m *Member) sync() {
	m.t.Helper()
	t := time.NewTimer(m.patience())
	defer t.Stop()
	sent := m.sendBarriers(t)
	for {
		l := m.in.look()
		if m.in.came(sent) || l.err != nil {
			return
		}
		select {
		case <-l.changed:
		case <-t.C:
			m.fail("has not received everything within %v: it does not read, or the link is slow", m.patience())
		}
	}
}

// barrierMark is what every barrier begins with; what follows makes it at most
// probe.MaxAside bytes long.
const barrierMark = "roomtest-barrier-"

// sendBarriers sends a barrier to the member, in a hub by each of its memberships, and
// returns their numbers.
func (m *Member) sendBarriers(t *time.Timer) (sent []uint64) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), m.patience())
	defer cancel()
	for {
		if there := m.roomEnd(); there != nil {
			ways := []*tcproom.Member{there}
			if m.s.Hub != nil { // that of the connection last, behind streams that end meanwhile
				ways = slices.Collect(m.s.Hub.Memberships(there))
				slices.Reverse(ways)
			}
			for _, way := range ways {
				if n, ok := m.sendBarrier(ctx, way); ok {
					sent = append(sent, n)
				}
			}
			return sent
		}
		if m.ended() {
			return sent
		}
		select {
		case <-t.C:
			m.fail("is not in the room, and its stream has not ended: a Member of Watch must have an ID, or come from Server.Dial")
		case <-time.After(time.Millisecond): // it joins or ends just now
		}
	}
}

// sendBarrier sends one to there, and returns its number, unless that membership is over.
func (m *Member) sendBarrier(ctx context.Context, there *tcproom.Member) (n uint64, ok bool) {
	m.t.Helper()
	m.s.mu.Lock()
	m.s.barriers++
	n = m.s.barriers
	m.s.mu.Unlock()
	conn := probe.Link(there)
	err := probe.Tell(ctx, there, fmt.Appendf(nil, "%s%d", m.in.mark, n))
	switch {
	case err == nil || conn.Err() != nil:
		return n, true // or its end is on its way
	case errors.Is(err, tcproom.ErrNotMember) && there.Room() != m.s.Room:
		return 0, false
	case errors.Is(err, context.DeadlineExceeded):
		m.fail("takes nothing that the room sends it, within %v", m.patience())
	}
	m.fail("cannot find out whether it has received everything: %v", err)
	return 0, false
}

func (m *Member) ended() bool { return m.in.look().err != nil }

// roomEnd returns the member as the room knows it, or nil.
func (m *Member) roomEnd() *tcproom.Member {
	if id := m.Conn.ID(); id != "" {
		there, _ := m.s.Room.Member(id)
		return there
	}
	if m.cl.local == "" {
		return nil
	}
	return m.s.memberFrom(m.cl.local)
}

// Refute ends the test when one of the events that have come to this member matches:
// of all that the room ordered, or sent to it, before the call, and that no Expect or
// Await has dealt with yet. It does not guess by waiting, see [Member.Sync]. It also
// ends the test when the stream has ended, because a broken connection may have lost
// events, unless the room or the test has closed it in good order, or AwaitEnd has
// returned. To look at what may come later, use [Member.RefuteFor].
func (m *Member) Refute(not ...Match) {
	m.s.watch.use("Member.Refute")
	m.t.Helper()
	m.sync()
	l := m.in.look()
	m.refute(&l, not)
	m.refuteNoMore(l)
}

// refuteNoMore ends the test if the stream broke off, which may have lost what was
// not to come.
func (m *Member) refuteNoMore(l look) {
	m.t.Helper()
	if l.broke {
		m.fail("may have missed what was not to come: its connection has ended: %v; where the test means it to, call AwaitEnd before", l.err)
	}
}

// RefuteFor is Refute of what comes within d too. It takes that long.
func (m *Member) RefuteFor(d time.Duration, not ...Match) {
	m.s.watch.use("Member.RefuteFor")
	m.t.Helper()
	t := time.NewTimer(d)
	defer t.Stop()
	for over := false; !over; {
		l := m.in.look()
		m.refute(&l, not)
		if l.err != nil {
			m.refuteNoMore(l)
			return
		}
		select {
		case <-l.changed:
		case <-t.C:
			over = true
		}
	}
	m.Refute(not...)
}

func (m *Member) refute(l *look, not []Match) {
	m.t.Helper()
	for i := range l.fresh {
		for _, n := range not {
			if l.counts(i) && n.Matches(l.fresh[i]) {
				m.fail("was not to receive:\n%s\nbut did:\n%s", indent(n.String()), indent(line(&l.fresh[i])))
			}
		}
	}
}

// afterFailure is how long an expectation waits when a hook has failed: for
// what is on its way, but not for what the hook was to do.
const afterFailure = time.Second

// next returns the next event, or why there is none.
func (m *Member) next(t *time.Timer) (ev tcproom.Event, why string) {
	failed, hurry := m.s.watch.failed, (<-chan time.Time)(nil)
	for {
		l := m.in.look()
		if ev, ok := m.in.take(); ok {
			return ev, ""
		}
		if l.err != nil {
			return ev, fmt.Sprintf("but its connection has ended: %v", l.err)
		}
		select {
		case <-l.changed:
		case <-failed:
			failed, hurry = nil, time.After(afterFailure)
		case <-hurry:
			return ev, fmt.Sprintf("but nothing came, and %s has failed", m.s.watch.firstHook())
		case <-t.C:
			return ev, fmt.Sprintf("but nothing came within %v", m.patience())
		}
	}
}
