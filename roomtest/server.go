package roomtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/probe"
	"example.com/tcproom/internal/scribble"
)

// What a hook has returned is overwritten in tests. A program that links this package
// in, to be a fake for other programs' tests, may serve real rooms too.
func init() {
	if testing.Testing() {
		scribble.Turn()
	}
}

const (
	defaultWithin = 10 * time.Second
	// defaultGrace is more than Close of a Conn takes at most, which is twice
	// 5 seconds, and forgives a loaded machine.
	defaultGrace = 15 * time.Second
)

// A Server is a room that lives as long as a test, and serves connections.
//
// Its methods may be called from many goroutines, except for methods that end the
// test when they fail: like [testing.T.FailNow] they are for the goroutine of the
// test that made the server. For the goroutines of its subtests, see [Member.In].
// Once the test has ended, the methods of a Server and of a [Member], and Bot.Do,
// panic and name the caller's line. What the fields lead to does not panic: a room
// that has ended returns [tcproom.ErrRoomClosed], a [Conn] and a Network return that
// nothing is there, and a setting of a Listener or a fault does nothing.
type Server struct {
	// Room is the room, to be used like any other; of a hub that of all connections.
	Room *tcproom.Room
	// Hub is the hub of [NewHub], nil of a server with one room.
	Hub *tcproom.Hub
	// Addr is the address for clients: "127.0.0.1:port", or an address on Net.
	Addr string
	// Listener is what listens at Addr. Use it to refuse connections, to make
	// accepting fail, or to put faults on what it accepts.
	Listener *Listener
	// Net is the network of a server in memory, nil of one on loopback.
	Net *Network

	watch *watch
	rec   recorder
	bots  botNames
	dead  atomic.Bool // nothing can connect any more, see Cluster.Crash

	mu        sync.Mutex // guards what follows; never held while anything waits
	within    time.Duration
	grace     time.Duration
	dialling  map[string][]tcproom.DialOption // how to speak at an address
	clients   []*client
	served    map[*served]struct{} // not closed yet
	latest    map[string]*served   // by the client's address, closed ones too
	arrival   chan struct{}        // closed with the next one; nil while nothing waits
	listeners map[string]*Listener
	barriers  uint64
	closing   bool
	running   sync.WaitGroup // goroutines of start, which adds to it unless closing
}

// NewServer starts a room on a free port of 127.0.0.1. It ends with the test,
// see [Server] for what then fails it. Or it ends the test, when it cannot listen.
//
// opts are the options of [tcproom.New]. Unless they set a logger, the room's records
// of level Warn and above go to the test's log.
//
// At the end of the test the clients of Dial, Join and Watch are closed, which a
// test may forget, and the room is. What then has not ended within 15 seconds,
// or [Server.Grace], fails the test by name: hooks that have not returned,
// connections that were not closed, clients whose Close hangs, goroutines of
// the room. So does, at any time, a hook that panics or calls runtime.Goexit, as
// a require in a hook does.
func NewServer(t testing.TB, opts ...tcproom.RoomOption) *Server {
	t.Helper()
	return newServer(t, nil).withRoom(opts)
}

// NewMemServer is NewServer on a network of its own, in memory: it needs no port, and
// works inside a bubble of testing/synctest, with the bubble's time. Create it inside
// the bubble.
func NewMemServer(t testing.TB, opts ...tcproom.RoomOption) *Server {
	t.Helper()
	return newServer(t, new(Network)).withRoom(opts)
}

// newServer returns one without a room.
func newServer(t testing.TB, n *Network) *Server {
	return &Server{
		Net:       n,
		watch:     newWatch(t),
		within:    defaultWithin,
		grace:     defaultGrace,
		dialling:  make(map[string][]tcproom.DialOption),
		served:    make(map[*served]struct{}),
		latest:    make(map[string]*served),
		listeners: make(map[string]*Listener),
	}
}

// withRoom starts s with one room.
func (s *Server) withRoom(opts []tcproom.RoomOption) *Server {
	s.watch.t.Helper()
	all := []tcproom.RoomOption{tcproom.WithLogger(s.watch.logger())}
	all = append(all, opts...)
	all = append(all, s.probe().(tcproom.RoomOption))
	s.Room = tcproom.New(all...)
	s.begin(shared(opts))
	return s
}

// begin listens. Clients speak as speak says.
func (s *Server) begin(speak []tcproom.DialOption) {
	s.watch.t.Helper()
	s.watch.t.Cleanup(s.cleanup)
	s.Listener = s.listen(nil, speak)
	s.Addr = s.Listener.Addr().String()
}

func (s *Server) probe() any {
	return probe.Option(probe.Probe{Ordered: s.rec.ordered, HookFailed: s.watch.hookFailed, Aside: barrierMark})
}

// shared returns the options of a room that a dialling end has too, except for
// options that concern one end alone.
func shared[T any](opts []T) []tcproom.DialOption {
	var both []tcproom.DialOption
	for _, o := range opts {
		if d, ok := any(o).(tcproom.DialOption); ok {
			both = append(both, d)
		}
	}
	return append(both,
		tcproom.WithTLS(nil), tcproom.WithIdleTimeout(0), tcproom.WithHeartbeat(0), tcproom.WithWriteTimeout(0),
		tcproom.WithSocketBuffers(0, 0), tcproom.WithLogger(nil))
}

// Within sets how long expectations, Dial and Join wait before they fail. The
// default, and zero and negative values, is 10 seconds: of the bubble's clock
// in a bubble.
func (s *Server) Within(d time.Duration) {
	s.watch.use("Server.Within")
	if d <= 0 {
		d = defaultWithin
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.within = d
}

func (s *Server) patience() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.within
}

// Grace sets how long the end of the test waits for what has to end. The
// default, and zero and negative values, is 15 seconds.
func (s *Server) Grace(d time.Duration) {
	s.watch.use("Server.Grace")
	if d <= 0 {
		d = defaultGrace
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grace = d
}

// Listen opens one more listener of the room, on the same network, and returns
// its address. Its connections have the room's options as opts change them.
func (s *Server) Listen(opts ...tcproom.ConnOption) (addr string) {
	s.watch.use("Server.Listen")
	s.watch.t.Helper()
	l := s.listen(opts, s.speaking(opts))
	return l.Addr().String()
}

// speaking returns how to speak at one more listener, whose options are opts.
func (s *Server) speaking(opts []tcproom.ConnOption) []tcproom.DialOption {
	s.mu.Lock()
	defer s.mu.Unlock()
	speak := s.dialling[s.Addr]
	return append(speak[:len(speak):len(speak)], shared(opts)...)
}

// Serve makes the room accept from l too, which belongs to it from then on: a listener
// at an address that the test chooses, or one on loopback for a server in memory. It
// returns when the room does accept. What it returns is l, or a [Listener] around it, by
// which to refuse connections and to put faults on them. Its connections have the room's
// options as opts change them.
func (s *Server) Serve(l net.Listener, opts ...tcproom.ConnOption) *Listener {
	s.watch.use("Server.Serve")
	s.watch.t.Helper()
	own, ok := l.(*Listener)
	if !ok {
		own = WrapListener(l)
	}
	return s.listenAt(own, opts, s.speaking(opts))
}

// listen is listenAt of a listener on the server's network.
func (s *Server) listen(opts []tcproom.ConnOption, speak []tcproom.DialOption) *Listener {
	s.watch.t.Helper()
	l, err := s.newListener()
	if err != nil {
		s.watch.t.Fatalf("roomtest: cannot listen: %v", err)
	}
	return s.listenAt(l, opts, speak)
}

// listenAt returns when the room accepts from l.
func (s *Server) listenAt(l *Listener, opts []tcproom.ConnOption, speak []tcproom.DialOption) *Listener {
	s.mu.Lock()
	s.dialling[l.Addr().String()], s.listeners[l.Addr().String()] = speak, l
	s.mu.Unlock()
	l.guard = func(c *Conn, fn func()) bool {
		return s.watch.guard(fmt.Sprintf("hook OnAccept of %q", c.RemoteAddr()), fn)
	}
	a := &acceptor{Listener: l, s: s, accepting: make(chan struct{})}
	if s.start(func() { s.serve(a, opts) }) == nil {
		<-a.accepting
	}
	return l
}

var errEnded = errors.New("roomtest: the test has ended")

// start runs fn on a goroutine of the server's, which the cleanup waits for.
func (s *Server) start(fn func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errEnded
	}
	s.running.Add(1)
	go s.run(fn)
	return nil
}

// run ends with fn.
func (s *Server) run(fn func()) {
	defer s.running.Done()
	s.watch.label()
	fn()
}

func (s *Server) newListener() (*Listener, error) {
	if s.Net != nil {
		return s.Net.Listen("")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return WrapListener(l), nil
}

// serve returns when the room ends, or when the listener fails for good.
func (s *Server) serve(a *acceptor, opts []tcproom.ConnOption) {
	defer a.accepts()
	s.watch.serveEnded(s.Room.Serve(a, opts...))
}

// Dial connects a client to the server, or ends the test. If that may fail, or is
// to fail, use [Server.TryDial] or [Server.Refuses]. The room has let the client
// in when Dial returns, even with a codec that has no hello. With such a codec Dial
// also returns when the room has refused the client, or has a [tcproom.WithHandshake]
// hook that waits for the client; and at once if opts set a dialler.
//
// Framing, codec and message limit are the server's, unless opts set others; the
// other options of the server are not a client's. The client is closed at the end of
// the test.
func (s *Server) Dial(opts ...tcproom.DialOption) *tcproom.Conn {
	s.watch.use("Server.Dial")
	s.watch.t.Helper()
	return s.dial(s.Addr, opts)
}

// DialAddr is Dial to an address that Listen returned.
func (s *Server) DialAddr(addr string, opts ...tcproom.DialOption) *tcproom.Conn {
	s.watch.use("Server.DialAddr")
	s.watch.t.Helper()
	return s.dial(addr, opts)
}

func (s *Server) dial(addr string, opts []tcproom.DialOption) *tcproom.Conn {
	s.watch.t.Helper()
	c, err := s.tryDial(addr, opts)
	if err != nil {
		s.watch.use("Server.Dial") // while it waited
		s.watch.t.Fatalf("roomtest: cannot dial %s: %v", addr, err)
	}
	return c
}

// A dialler makes the transport of a client.
type dialler func(ctx context.Context, network, addr string) (net.Conn, error)

func (s *Server) dialler() dialler {
	if s.Net != nil {
		return s.Net.Dial
	}
	return new(net.Dialer).DialContext
}

// connect dials, from any goroutine, and sees to it that the client is closed.
func (s *Server) connect(addr string, dial dialler, opts []tcproom.DialOption) (*tcproom.Conn, *client, error) {
	cl := &client{who: "of Join"}
	if addr != "" {
		cl.who = fmt.Sprintf("of Dial to %s", addr)
	}
	s.mu.Lock()
	all := append([]tcproom.DialOption(nil), s.dialling[addr]...)
	s.mu.Unlock()
	all = append(all, tcproom.WithHandshakeTimeout(s.patience()), tcproom.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := dial(ctx, network, addr)
		if err == nil {
			cl.local = nc.LocalAddr().String()
			cl.link, _ = nc.(*Conn)
		}
		return nc, err
	}))
	all = append(all, opts...)
	all = append(all, s.probe().(tcproom.DialOption))
	ctx, cancel := context.WithTimeout(context.Background(), s.patience())
	defer cancel()
	var err error
	dialled := make(chan struct{})
	// On a goroutine of the server's, so that what it starts bears the label.
	if started := s.start(func() {
		defer close(dialled)
		cl.conn, err = tcproom.Dial(ctx, addr, all...)
	}); started != nil {
		return nil, nil, started
	}
	<-dialled
	if err == nil {
		err = s.addClient(cl)
	}
	return cl.conn, cl, err
}

// A client is a dialling end that the end of the test closes.
type client struct {
	conn  *tcproom.Conn
	link  *Conn  // nil if it is not in memory
	local string // its address; empty if it was not dialled here
	who   string
	in    *inbox          // nil unless it is a Member
	from  *tcproom.Resume // where it wanted to go on; nil: it is not known that it did
}

// addClient hands the client to the cleanup, or closes it.
func (s *Server) addClient(cl *client) error {
	s.mu.Lock()
	ended := s.closing
	if !ended {
		s.clients = append(s.clients, cl)
	}
	s.mu.Unlock()
	if ended {
		cl.conn.Close()
		return errEnded
	}
	return nil
}

// Transcript returns the room's order so far: all messages, joins and leaves, whether
// a member received them or not; of a hub the orders of its rooms. They are kept until the
// test ends.
func (s *Server) Transcript() *Transcript {
	s.watch.use("Server.Transcript")
	return s.rec.transcript()
}

// TranscriptAfter is Transcript when the room's order has more than n events: it waits
// for that, or until ctx ends, whose cause it returns with what there is then. A Member
// that waits is in the room, and others see it; this is for a test whose room is to hold
// its clients alone. It may be called from any goroutine. A call that waits when the test
// ends goes on waiting for ctx.
func (s *Server) TranscriptAfter(ctx context.Context, n int) (*Transcript, error) {
	s.watch.use("Server.TranscriptAfter")
	for {
		more := s.rec.after(n)
		tr := s.rec.transcript()
		if tr.Len() > n {
			return tr, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return tr, context.Cause(ctx)
		}
	}
}
