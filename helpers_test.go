package tcproom_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// Causes without a constant.
const (
	errLeft               = tcproom.Cause("left")
	errCutOff             = tcproom.Cause("cut-off")
	errReset              = tcproom.Cause("reset")
	errEnded              = tcproom.Cause("ended")
	errWriteTimeout       = tcproom.Cause("write-timeout")
	errIdleTimeout        = tcproom.Cause("idle-timeout")
	errHandshakeTimeout   = tcproom.Cause("handshake-timeout")
	errRateLimited        = tcproom.Cause("rate-limited")
	errRetry              = tcproom.Cause("retry")
	errFutureSeq          = tcproom.Cause("future")
	errTooManyPending     = tcproom.Cause("busy")
	errTooManyFromAddress = tcproom.Cause("too-many-from-address")
	errTooManyLanes       = tcproom.Cause("too-many-lanes")
)

// frameCharge is what a frame costs a limiter beside its bytes.
const frameCharge = 32

// What these tests have in common with those of internal/suite.
const (
	within      = testkit.Within
	raceEnabled = testkit.RaceEnabled
)

type (
	causes   = testkit.Causes
	logLines = testkit.Log
)

var (
	testContext     = testkit.Context
	inBubble        = testkit.Bubble
	inBubbleEach    = testkit.BubbleEachSeqs
	eachSeqs        = testkit.EachSeqs
	serve           = testkit.Serve
	serveTCP        = testkit.ServeTCP
	listen          = testkit.Listen
	enter           = testkit.Enter
	pipe            = testkit.Pipe
	waitDone        = testkit.WaitDone
	dial            = testkit.Dial
	join            = testkit.Join
	dialRaw         = testkit.DialRaw
	next            = testkit.Next
	nextMessage     = testkit.NextMessage
	send            = testkit.Send
	chat            = testkit.Chat
	broadcast       = testkit.Broadcast
	memberOf        = testkit.MemberOf
	only            = testkit.Only
	kib             = testkit.KiB
	eventually      = testkit.Eventually
	waitLen         = testkit.WaitLen
	checkGoroutines = testkit.CheckGoroutines
	descriptors     = testkit.Descriptors
	memory          = testkit.Memory
	newCauses       = testkit.NewCauses
	testTLS         = testkit.TLS
)

// A visit is one connection of a JSON client that is as simple as can be.
type visit struct {
	t    testing.TB
	nc   net.Conn
	in   *bufio.Reader
	seqs testkit.Seqs // of the room
}

type object = map[string]any

// visits connects to the server and says hello with the given fields.
func visits(t testing.TB, srv *roomtest.Server, hello object) *visit {
	t.Helper()
	var nc net.Conn
	var err error
	if srv.Net != nil {
		nc, err = srv.Net.Dial(t.Context(), "tcp", srv.Addr)
	} else {
		nc, err = net.Dial("tcp", srv.Addr)
	}
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	v := &visit{t: t, nc: nc, in: bufio.NewReader(nc)}
	v.hello(hello)
	return v
}

// newVisit says hello over a connection.
func newVisit(t testing.TB, nc net.Conn) *visit {
	v := &visit{t: t, nc: nc, in: bufio.NewReader(nc)}
	v.hello(nil)
	return v
}

func (v *visit) hello(hello object) {
	o := object{"type": "hello"}
	for k, x := range hello {
		o[k] = x
	}
	v.say(o)
}

func (v *visit) say(o object) {
	v.t.Helper()
	b, err := json.Marshal(o)
	require.NoError(v.t, err)
	v.nc.Write(append(b, '\n')) // or the room has closed it: then the next read tells
}

func (v *visit) next() object {
	v.t.Helper()
	line, err := v.in.ReadBytes('\n')
	require.NoError(v.t, err, "%q", line)
	var o object
	require.NoError(v.t, json.Unmarshal(line, &o))
	return o
}

// short returns the next event in few words, with its place.
func (v *visit) short() string {
	v.t.Helper()
	o := v.next()
	from, _ := o["from"].(object)
	switch o["type"] {
	case "message":
		return fmt.Sprintf("%v %v: %v", v.place(o["seq"]), from["name"], o["body"])
	case "join", "leave":
		return fmt.Sprintf("%v %v %v", v.place(o["seq"]), o["type"], from["name"])
	case "gap":
		first, last := uint64(o["first"].(float64)), uint64(o["last"].(float64))
		require.Equal(v.t, v.seqs.At(v.seqs.Place(last)), last, "an event")
		return fmt.Sprintf("gap %v-%v", v.seqs.Place(first), v.seqs.Place(last))
	case "ack":
		return fmt.Sprintf("ack %v=%v", o["id"], v.place(o["seq"]))
	}
	return fmt.Sprint(o["type"], o["code"], o["retry"])
}

// place returns the place of a seq, or nil if there is none. No other is one of an event.
func (v *visit) place(seq any) any {
	v.t.Helper()
	if seq == nil {
		return nil
	}
	n := uint64(seq.(float64))
	require.Equal(v.t, v.seqs.At(v.seqs.Place(n)), n, "an event")
	return v.seqs.Place(n)
}

// welcomed reads the welcome and checks its outcome.
func (v *visit) welcomed(outcome string) (welcome object) {
	v.t.Helper()
	o := v.next()
	require.Equal(v.t, "welcome", o["type"], "%v", o)
	require.Equal(v.t, outcome, o["outcome"])
	require.NotEmpty(v.t, o["token"])
	return o
}

// resume is the field of a hello that continues w behind seq.
func resume(w object, seq any) object {
	return object{"resume": object{"token": w["token"], "epoch": w["epoch"], "seq": seq}}
}

// visitsAs is visits, in a room with such seqs.
func visitsAs(t testing.TB, srv *roomtest.Server, s testkit.Seqs, hello object) *visit {
	t.Helper()
	v := visits(t, srv, hello)
	v.seqs = s
	return v
}

func sessionServer(t testing.TB, s tcproom.Sessions, opts ...tcproom.RoomOption) *roomtest.Server {
	opts = append([]tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(s)}, opts...)
	return roomtest.NewMemServer(t, opts...)
}

// sayNumbered sends a numbered message.
func (v *visit) sayNumbered(id int, body string) {
	v.t.Helper()
	v.say(object{"type": "message", "id": id, "body": body})
}

// A link is how a client connects, and what breaks its connections.
type link struct {
	net *roomtest.Network

	mu    sync.Mutex // guards what follows
	conn  *roomtest.Conn
	fault func(*roomtest.Conn) // of the next connection; nil: none
	down  error                // instead of a connection
	dials int
}

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	l.dials++
	fault, down := l.fault, l.down
	l.fault = nil
	l.mu.Unlock()
	if down != nil {
		return nil, down
	}
	nc, err := l.net.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn := nc.(*roomtest.Conn)
	if fault != nil {
		fault(conn)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	return conn, nil
}

// now is the present connection.
func (l *link) now() *roomtest.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

func (l *link) setDown(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = err
}

func (l *link) setFault(fn func(*roomtest.Conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fn
}

func (l *link) dialled() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dials
}

// newClient starts a client of srv in JSON, which ends with the test.
func newClient(t testing.TB, srv *roomtest.Server, name string, opts ...tcproom.DialOption) (*tcproom.Client, *link) {
	t.Helper()
	l := &link{net: srv.Net}
	all := []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name), tcproom.WithDialer(l.dial)}
	c := tcproom.NewClient(context.Background(), srv.Addr, append(all, opts...)...)
	t.Cleanup(func() { c.Close() })
	return c, l
}

// hear returns the next event in few words.
func hear(t testing.TB, c *tcproom.Client) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ev, err := c.Receive(ctx)
	require.NoError(t, err)
	return inShort(ev)
}

func inShort(ev tcproom.Event) string {
	switch ev.Kind {
	case tcproom.Welcome:
		if ev.Welcome == nil {
			return "welcome"
		}
		return strings.TrimSpace("welcome " + ev.Welcome.Outcome)
	case tcproom.Lost:
		return "lost"
	case tcproom.Gap:
		return fmt.Sprintf("gap %d-%d", ev.Gap.First, ev.Gap.Last)
	case tcproom.Uncertain:
		return fmt.Sprintf("uncertain %s", ev.Body)
	case tcproom.Goodbye:
		return strings.TrimSpace("goodbye " + string(ev.End.Cause))
	case tcproom.Message:
		past := ""
		if ev.History {
			past = "history "
		}
		return fmt.Sprintf("%s%d %s", past, ev.Seq, ev.Body)
	}
	return fmt.Sprintf("%d %v %s", ev.Seq, ev.Kind, ev.From.Name)
}

func hearAll(t testing.TB, c *tcproom.Client, want ...string) {
	t.Helper()
	for i, w := range want {
		require.Equal(t, w, hear(t, c), "event %d", i)
	}
}

// ends returns why c ends, and throws away what comes before.
func ends(t testing.TB, c *tcproom.Client) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		_, err := c.Receive(ctx)
		if err != nil {
			require.NoError(t, ctx.Err(), "it has not ended")
			require.Equal(t, err, c.Err())
			return err
		}
	}
}

func say(t testing.TB, c *tcproom.Client, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, c.Send(ctx, []byte(body)))
}

func sayAcked(t testing.TB, c *tcproom.Client, body string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	seq, err := c.SendAcked(ctx, []byte(body))
	require.NoError(t, err)
	return seq
}

// numberless is JSON that says it has no numbers.
type numberless struct{ tcproom.JSON }

func (c numberless) Features() tcproom.Features {
	f := c.JSON.Features()
	f.Numbers = false
	return f
}

// lastEvent returns the last event of c, which is zero if there is none, and the error
// with which the loop ends, if it does so with one.
func lastEvent(t testing.TB, c *tcproom.Conn) (last tcproom.Event, end error) {
	t.Helper()
	for ev, err := range c.Events(testContext(t)) {
		if err != nil {
			require.NoError(t, end, "the error is the last")
			end = err
			continue
		}
		require.NoError(t, end, "the error is the last")
		last = ev
	}
	return last, end
}

const welcomeLine = `{"type":"welcome","epoch":"e","id":"x","name":"ada"}` + "\n"

var builtIn = []tcproom.Codec{tcproom.JSON{}, tcproom.Text{}, tcproom.Raw{}}

// serveRaw accepts connections for a client: what each of them is sent, when its hello
// has come, is up to answer. The connection is closed then.
func serveRaw(dials *int, answer func(n int) string) tcproom.DialOption {
	return tcproom.WithDialer(func(context.Context, string, string) (net.Conn, error) {
		*dials++
		said := answer(*dials)
		here, there := roomtest.Pipe()
		go func() {
			defer there.Close()
			bufio.NewReader(there).ReadString('\n')
			io.WriteString(there, said)
		}()
		return here, nil
	})
}

var errHook = errors.New("the hook says no")

// A stage is a room with three bystanders and a victim, for which one hook
// misbehaves.
type stage struct {
	room   *tcproom.Room
	addr   string
	hook   string                            // that misbehaves
	act    func(st *stage, of subject) error // how
	joined atomic.Int64                      // OnJoin returned nil
	left   sync.Map                          // ID to *atomic.Int64: calls of OnLeave
	ends   chan error                        // of the victim
	other  atomic.Value                      // string: ID of a bystander that hooks may kick
}

// A subject is what a hook of the room's is called for: one of the two.
type subject struct {
	member   *tcproom.Member
	newcomer *tcproom.Newcomer
}

// theHooks are those of a room that a stage has.
var theHooks = []string{"WithHandshake", "OnJoin", "OnMessage", "OnLeave", "OnReject"}

const victim = "victim"

func newStage(t *testing.T, hook string, act func(*stage, subject) error, opts ...tcproom.RoomOption) *stage {
	t.Helper()
	st := &stage{hook: hook, act: act, ends: make(chan error, 100)}
	may := func(hook, name string, of subject) error {
		if hook == st.hook && name == victim {
			return st.act(st, of)
		}
		return nil
	}
	opts = append([]tcproom.RoomOption{
		tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithHandshake(func(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
			name := n.Hello().Name
			if st.hook == "OnReject" && name == victim {
				return tcproom.Identity{}, errHook
			}
			return tcproom.Identity{}, may("WithHandshake", name, subject{newcomer: n})
		}),
		tcproom.OnJoin(func(m *tcproom.Member) error {
			if err := may("OnJoin", m.Name(), subject{member: m}); err != nil {
				return err
			}
			st.joined.Add(1)
			return nil
		}),
		tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			return body, may("OnMessage", m.Name(), subject{member: m})
		}),
		tcproom.OnLeave(func(m *tcproom.Member, cause error) {
			n, _ := st.left.LoadOrStore(m.ID(), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			if _, ok := st.room.Member(m.ID()); ok {
				cause = errors.New("OnLeave was called for one that is a member")
			}
			if m.Name() == victim {
				st.ends <- cause
			}
			may("OnLeave", m.Name(), subject{member: m})
		}),
		tcproom.OnReject(func(n *tcproom.Newcomer, cause error) {
			st.ends <- cause
			may("OnReject", victim, subject{newcomer: n})
		}),
	}, opts...)
	st.room = tcproom.New(opts...)
	st.addr = serveTCP(t, st.room)
	return st
}

func (st *stage) dial(t testing.TB, name string) *tcproom.Conn {
	t.Helper()
	return dial(t, st.addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name))
}

// enterVictim connects a victim and has it say, and leave, what brings it to
// the hook. It returns at once, and its conn, if any, later.
func (st *stage) enterVictim(t testing.TB) <-chan *tcproom.Conn {
	ch := make(chan *tcproom.Conn, 1)
	ctx := testContext(t)
	go func() {
		c, err := tcproom.Dial(ctx, st.addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(victim))
		if err != nil {
			ch <- nil
			return
		}
		if st.hook == "OnMessage" {
			c.Send(ctx, []byte("provocation"))
			for range c.Events(ctx) { // hears the goodbye
			}
			c.Close() // for which its end waits
		}
		if st.hook == "OnLeave" {
			c.Close()
		}
		ch <- c
	}()
	return ch
}

func (st *stage) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-st.ends:
		return err
	case <-time.After(within):
		t.Fatalf("%s: no end of the victim was reported", st.hook)
		return nil
	}
}

// checkPairs checks, once the room is done, that OnLeave was called once for
// each conn that OnJoin let in, and for no other.
func (st *stage) checkPairs(t testing.TB) {
	t.Helper()
	n := int64(0)
	st.left.Range(func(id, calls any) bool {
		n++
		require.EqualValues(t, 1, calls.(*atomic.Int64).Load(), "P8: OnLeave of %s", id)
		return true
	})
	require.Equal(t, st.joined.Load(), n, "P8: conns that OnJoin let in, and conns that left")
}

func waitPending(t testing.TB, room *tcproom.Room, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d pending", n), func() bool { return room.Stats().Pending == n })
}

// serveConn serves one end of a pipe and returns the other, and what
// ServeConn will return.
func serveConn(t testing.TB, room *tcproom.Room, opts ...tcproom.ConnOption) (net.Conn, <-chan error) {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- room.ServeConn(there, opts...) }()
	t.Cleanup(func() { here.Close() })
	return here, done
}

func ended(t testing.TB, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(within):
		t.Fatal("ServeConn has not returned")
		return nil
	}
}

// odd is a codec or framing of a user's with one thing wrong with it.
type odd struct {
	tcproom.Raw
	tcproom.Lines
	appendEvent  func(dst []byte, ev *tcproom.Event) ([]byte, error)
	parseRequest func(frame []byte, req *tcproom.Request) error
	maxFrame     func(int) (int, int)
	appendFrame  func(dst, body []byte) ([]byte, error)
	splitFrame   func(data []byte, max int) (int, []byte, error)
}

func (o *odd) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if o.appendEvent != nil {
		return o.appendEvent(dst, ev)
	}
	return o.Raw.AppendEvent(dst, ev)
}

func (o *odd) ParseRequest(frame []byte, req *tcproom.Request) error {
	if o.parseRequest != nil {
		return o.parseRequest(frame, req)
	}
	return o.Raw.ParseRequest(frame, req)
}

func (o *odd) MaxFrame(n int) (int, int) {
	if o.maxFrame != nil {
		return o.maxFrame(n)
	}
	return o.Raw.MaxFrame(n)
}

func (o *odd) AppendFrame(dst, body []byte) ([]byte, error) {
	if o.appendFrame != nil {
		return o.appendFrame(dst, body)
	}
	return o.Lines.AppendFrame(dst, body)
}

func (o *odd) SplitFrame(data []byte, max int) (int, []byte, error) {
	if o.splitFrame != nil {
		return o.splitFrame(data, max)
	}
	return o.Lines.SplitFrame(data, max)
}

var errOdd = errors.New("odd")

func jsonRoom(opts ...tcproom.RoomOption) *tcproom.Room {
	return tcproom.New(append([]tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{})}, opts...)...)
}

func requireEvent(t testing.TB, c *tcproom.Conn, kind tcproom.Kind, from, body string) tcproom.Event {
	t.Helper()
	ev := next(t, c)
	require.Equal(t, []string{kind.String(), from, body}, []string{ev.Kind.String(), ev.From.Name, string(ev.Body)})
	return ev
}

func announce(t testing.TB, room *tcproom.Room, format string, args ...any) uint64 {
	t.Helper()
	seq, err := room.Broadcast(t.Context(), fmt.Appendf(nil, format, args...))
	require.NoError(t, err)
	return seq
}

// limited returns the option for one limiter.
func limited(l tcproom.Limiter) tcproom.ConnOption {
	return tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter { return l })
}

// waitFunc is a Limiter.
type waitFunc func(ctx context.Context, n int) error

func (f waitFunc) WaitN(ctx context.Context, n int) error { return f(ctx, n) }

const small = 32 << 10 // of socket buffers

// dialSmall connects without the library and with the smallest buffers, and says hello.
func dialSmall(t testing.TB, addr, hello string) *net.TCPConn {
	t.Helper()
	nc := dialRaw(t, addr)
	require.NoError(t, nc.SetReadBuffer(small))
	_, err := io.WriteString(nc, hello)
	require.NoError(t, err)
	return nc
}

// flood has the room say n bodies of 1 KiB while w reads them, and checks that
// w gets them all.
func flood(t testing.TB, room *tcproom.Room, w *tcproom.Conn, from, n int) {
	t.Helper()
	failed := make(chan error, 1)
	window := make(chan struct{}, 16) // w must not become slow itself
	go func() {
		for i := range n {
			window <- struct{}{}
			if _, err := room.Broadcast(context.Background(), kib(from+i)); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	for i := range n {
		if got := nextMessage(t, w); got != string(kib(from+i)) {
			t.Fatalf("got %.20q at %d", got, i)
		}
		<-window
	}
	require.NoError(t, <-failed)
}

func slowRoom(opts ...tcproom.RoomOption) *tcproom.Room {
	return tcproom.New(append([]tcproom.RoomOption{
		tcproom.WithMaxMessage(4 << 10), tcproom.WithBacklog(64 << 10), tcproom.WithSocketBuffers(0, small),
	}, opts...)...)
}

// scriptedListener's Accept returns what the script says, and then waits.
type scriptedListener struct {
	script chan any // error or net.Conn
	closed chan struct{}
	once   sync.Once
}

func newScriptedListener() *scriptedListener {
	return &scriptedListener{script: make(chan any, 100), closed: make(chan struct{})}
}

func (l *scriptedListener) Accept() (net.Conn, error) {
	select {
	case x := <-l.script:
		if err, ok := x.(error); ok {
			return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
		}
		return x.(net.Conn), nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *scriptedListener) Close() error { l.once.Do(func() { close(l.closed) }); return nil }

func (l *scriptedListener) Addr() net.Addr { return &net.UnixAddr{Name: "scripted", Net: "unix"} }

// pipeFrom is pipe for a peer with an address.
func pipeFrom(room *tcproom.Room, addr string, opts ...tcproom.ConnOption) (net.Conn, <-chan error) {
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- room.ServeConn(&addrConn{Conn: there, addr: addr}, opts...) }()
	return here, served
}

// badConn is a transport that breaks the contract: one of its methods does not
// return because of Close.
type badConn struct {
	net.Conn
	bad     string
	release chan struct{}
}

func (c *badConn) stall(method string) {
	if c.bad == method {
		<-c.release
	}
}

func (c *badConn) Read(b []byte) (int, error) {
	c.stall("Read")
	return c.Conn.Read(b)
}

func (c *badConn) Write(b []byte) (int, error) {
	c.stall("Write")
	return c.Conn.Write(b)
}

func (c *badConn) Close() error {
	c.stall("Close")
	return c.Conn.Close()
}

// lockedAddr is an address whose String asks the room.
type lockedAddr struct{ room *tcproom.Room }

func (a lockedAddr) Network() string { return "test" }

func (a lockedAddr) String() string { a.room.Len(); return "asked" }

// askingConn is a badConn with such an address.
type askingConn struct {
	*badConn
	lockedAddr
}

func (c askingConn) RemoteAddr() net.Addr { return c.lockedAddr }

// heldConn is a transport at which a stop waits.
type heldConn struct {
	net.Conn
	stopped, release chan struct{}
}

func (c *heldConn) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		c.stopped <- struct{}{}
		<-c.release
	}
	return c.Conn.SetReadDeadline(t)
}

type parsePanics struct{ tcproom.Raw }

func (parsePanics) ParseEvent([]byte, *tcproom.Event) error { panic("parse") }

// addrConn is a conn with an address of the test's choice, which may have to
// be waited for, as one of a listener for the PROXY protocol has.
type addrConn struct {
	net.Conn
	addr  string
	known <-chan struct{} // nil: at once
}

func (c *addrConn) RemoteAddr() net.Addr {
	if c.known != nil {
		<-c.known
	}
	a, _ := net.ResolveTCPAddr("tcp", c.addr)
	return a
}

// times is how often a test does what it repeats: n, or many in a long run.
func times(n, many int) int {
	if os.Getenv("TCPROOM_LONG") != "" {
		return many
	}
	return n
}
