package tcproom

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/fanout"
)

// Dial connects to the room at the TCP address addr, such as
// "localhost:9000". With a codec that is a [Greeter] it returns when the room
// has welcomed the conn, or a [*RefusedError]; the [Welcome] is then the first
// event, but for what the room's hooks said to this conn before it. ctx bounds the
// dialling and the handshake; when it ends later, nothing happens.
//
// The conn must be read, by Receive, Events or [OnEvent], also by a program that
// only sends: otherwise the room treats it as a slow member and may cut it, and
// a Send then fails because the peer has reset the connection.
func Dial(ctx context.Context, addr string, opts ...DialOption) (*Conn, error) {
	cfg := newDialConfig(opts)
	nc, err := cfg.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("tcproom: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.handshakeTimeout, ErrHandshakeTimeout)
	defer cancel()
	if cfg.tls != nil {
		if nc, err = dialTLS(ctx, nc, addr, cfg.tls); err != nil {
			return nil, err
		}
	}
	c := newDialled(nc, cfg)
	if err := c.greet(ctx); err != nil {
		c.giveUp()
		return nil, err
	}
	c.start()
	return c, nil
}

func dialTLS(ctx context.Context, nc net.Conn, addr string, cfg *tls.Config) (net.Conn, error) {
	if _, ok := nc.(tlsConn); ok {
		return nc, nil
	}
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		switch {
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case isPlain(err):
			err = errPlain
		}
		return nil, fmt.Errorf("tcproom: TLS handshake with %s: %w", addr, err)
	}
	return tc, nil
}

// NewConn returns the dialling end over any transport, which it owns from
// then on. It does not wait: with a codec that is a [Greeter] the hello is
// sent, and the [Welcome], or a [*RefusedError], is the first that Receive returns.
func NewConn(nc net.Conn, opts ...DialOption) *Conn {
	cfg := newDialConfig(opts)
	if cfg.tls != nil {
		if _, ok := nc.(tlsConn); !ok {
			nc = tls.Client(nc, cfg.tls)
		}
	}
	c := newDialled(nc, cfg)
	c.start()
	return c
}

// Join returns the dialling end of a new member in this process, over an
// in-memory pair. Framing and codec are the room's unless an option says
// otherwise; [WithName] holds with every codec; TLS, dialer and the [Handshake]
// hook are not used, [OnJoin] is. It returns when the member has joined, or why
// it was refused. The member must be read from like any other, or it is slow.
func (r *Room) Join(opts ...DialOption) (*Conn, error) {
	like := option(func(l *limits) { l.speakLike(&r.cfg.conn.limits) })
	cfg := newDialConfig(append([]DialOption{like, WithMaxMessage(r.cfg.conn.maxMessage)}, opts...))
	here, there := net.Pipe()

	side := r.cfg.conn
	side.speakLike(&cfg.limits)
	side.tls, side.handshake = nil, nil
	in := r.newConn(there, &side)
	in.name, in.knocked = cfg.name, true // no stranger
	in.shaking = &shaking{hello: Hello{History: cfg.replay}}
	admitted := make(chan error, 1)
	in.admitted = admitted
	c := newDialled(here, cfg)
	err := c.Err() // of the hello
	if err == nil {
		err = r.begin(in)
	}
	if err != nil {
		there.Close()
		c.giveUp()
		return nil, err
	}
	go r.serve(in)

	ctx, cancel := context.WithTimeoutCause(context.Background(), cfg.handshakeTimeout, ErrHandshakeTimeout)
	defer cancel()
	if err = c.greet(ctx); !errors.Is(err, ErrHandshakeTimeout) { // OnJoin may block still
		err = cmpErr(<-admitted, err)
	}
	if err != nil {
		c.giveUp()
		return nil, err
	}
	c.mu.Lock()
	c.id, c.name = in.id, in.Name()
	c.mu.Unlock()
	c.start()
	return c, nil
}

// A dialer is what a Conn has at the dialling end only.
type dialer struct {
	cfg    dialConfig
	fan    *fanout.Fan
	shaken chan struct{} // closed after a TLS handshake of NewConn's; nil where there is none
	heard  chan struct{} // closed when OnEvent has heard its last event; nil without OnEvent

	closing   atomic.Bool   // CloseWrite or Close was called
	closed    atomic.Bool   // Close was
	reading   chan struct{} // holds a token while somebody reads; guards what follows
	first     []Event       // read by greet
	ended     bool          // Receive has said why
	parsed    Event         // of parseEvent
	met       bool          // what answers has said an event
	suspect   error         // of the first bytes, if the stream ends with them
	watched   <-chan struct{}
	unwatch   func() bool
	fired     chan struct{} // closed when the context that is watched has ended and was heeded
	resumable bool          // guarded by the conn's lock: the room can be resumed
	expired   bool          // guarded by the conn's lock: that context has ended
}

func newDialled(nc net.Conn, cfg dialConfig) *Conn {
	d := &dialer{cfg: cfg, fan: fanout.New(), reading: make(chan struct{}, 1)}
	c := &Conn{cfg: &connConfig{limits: cfg.limits}, dial: d, nc: nc, name: cfg.name}
	c.prepareSocket()
	c.connect(d.fan)
	if tc, ok := nc.(tlsConn); ok && !tc.ConnectionState().HandshakeComplete {
		c.deadline = time.Now().Add(cfg.handshakeTimeout)
		d.shaken = make(chan struct{})
		go c.shakeDialled(tc)
	}
	if g, ok := cfg.codec.(Greeter); ok {
		b, err := g.AppendHello(nil, &Hello{Name: cfg.name, Ping: cfg.heartbeat > 0, History: cfg.replay, Auth: cfg.auth, Resume: cfg.resume})
		if err == nil {
			b, err = cfg.framing.AppendFrame(nil, b)
		}
		if err != nil {
			c.end(fmt.Errorf("%w: %w", errHello, err))
			return c
		}
		c.sink.Queue(b, len(b))
		c.sink.Flush()
	}
	return c
}

// shakeDialled negotiates TLS on a conn that [NewConn] was given. It has a
// goroutine because no context of a Receive may cut it short: a handshake that
// was interrupted cannot go on. It ends with the handshake.
func (c *Conn) shakeDialled(tc tlsConn) {
	defer close(c.dial.shaken)
	if err := c.shakeTLS(tc); err != nil {
		c.end(err)
	}
}

// errHello begins the error of a hello that cannot be said.
var errHello = errors.New("tcproom: hello")

// greet waits for the welcome, where the codec has one.
func (c *Conn) greet(ctx context.Context) error {
	if _, ok := c.cfg.codec.(Greeter); !ok {
		return nil
	}
	var first []Event
	for size := 0; ; {
		ev, err := c.receive(ctx)
		if err != nil {
			return err
		}
		first, size = append(first, ev), size+len(ev.Body)+256
		switch {
		case ev.Kind == Welcome:
			c.dial.first = first
			return nil
		case ev.Kind != Direct || size > maxQueued:
			return fmt.Errorf("%w: the room says a %v before its Welcome", ErrMalformed, ev.Kind)
		}
	}
}

func (c *Conn) start() {
	if c.dial.cfg.onEvent != nil {
		c.dial.heard = make(chan struct{})
		go c.hearEvents()
	}
}

// hearEvents hands each event to OnEvent. It ends when the conn has.
func (c *Conn) hearEvents() {
	defer close(c.dial.heard)
	defer c.endForExit()
	defer c.contain()
	for {
		ev, err := c.receive(context.Background())
		if err != nil {
			return
		}
		if c.call(hookOnEvent, func() error { c.dial.cfg.onEvent(c, ev); return nil }) != nil {
			return
		}
	}
}

// giveUp closes the transport, and waits for what belongs to it.
func (c *Conn) giveUp() {
	c.end(net.ErrClosed)
	c.sink.Close()
	c.drop()
	c.dial.fan.Wait()
	if c.dial.shaken != nil {
		<-c.dial.shaken
	}
}

// CloseWrite ends the sending half of a dialling end: it waits until what Send
// has taken is written, or ctx ends, and closes that half. Receive, Events and
// [OnEvent] go on with what the room still says; when they come to [io.EOF] the
// room has taken everything and closed too. Send returns [net.ErrClosed] from
// then on. It returns the cause of ctx, after which it may be called again, or
// that of c's end, and [errors.ErrUnsupported] at the room's end and where the
// transport cannot close one half.
func (c *Conn) CloseWrite(ctx context.Context) error {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if c.dial == nil || !ok {
		return errors.ErrUnsupported
	}
	if !c.dial.closing.Swap(true) {
		c.sayGoodbye()
	}
	done := c.sink.Finish()
	c.fan().Wake() // who waits in Send
	select {
	case <-done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := c.sink.Err(); err != nil {
		c.sinkFailed(err)
		return cmpErr(c.Err(), net.ErrClosed)
	}
	if err := c.Err(); err != nil {
		return err
	}
	if err := half.CloseWrite(); err != nil {
		return cmpErr(c.Err(), fmt.Errorf("%w: %w", ErrReset, err))
	}
	return nil
}

// closeDialled is Close at the dialling end.
func (c *Conn) closeDialled() (err error) {
	d := c.dial
	if d.closed.Swap(true) {
		return nil
	}
	// Whether it is the hook that calls cannot be known; that hook cannot be waited for.
	hears := d.heard != nil && c.hook.Load() != hookOnEvent
	if c.Err() == nil {
		d.closing.Store(true)
		c.fan().Wake() // who waits in Send
		c.sayGoodbye()
		if !c.drain(always(lingers), lingers) {
			err = fmt.Errorf("tcproom: close: the room did not take all that was sent: %w", cmpErr(c.sink.Err(), ErrWriteTimeout))
		} else if c.closeWrite() {
			c.readAway(hears)
		}
	}
	c.end(net.ErrClosed)
	c.giveUp()
	if hears {
		d.awaitHeard()
	}
	if d.lock(context.Background()) == nil {
		d.first, d.ended = nil, true
		if d.unwatch != nil {
			d.unwatch()
		}
		d.unlock()
	}
	return err
}

// sayGoodbye tells a room with sessions that this member leaves for good.
func (c *Conn) sayGoodbye() {
	c.mu.Lock()
	resumable := c.dial.resumable
	c.mu.Unlock()
	r, ok := c.cfg.codec.(Resumer)
	if !resumable || !ok {
		return
	}
	if b, err := c.cfg.framing.AppendFrame(nil, r.AppendGoodbye(nil)); err == nil {
		c.sink.Queue(b, math.MaxInt)
	}
}

// readAway waits until the room has closed its half too: until OnEvent has
// heard the end, where it hears, or else by reading.
func (c *Conn) readAway(hears bool) {
	d := c.dial
	if hears {
		d.awaitHeard()
		return
	}
	t := time.NewTimer(lingers)
	defer t.Stop()
	select {
	case d.reading <- struct{}{}:
		c.discard(always(lingers), lingers)
		d.unlock()
	case <-t.C:
	}
}

// awaitHeard waits, not for ever, until OnEvent has heard its last event.
func (d *dialer) awaitHeard() {
	t := time.NewTimer(lingers)
	defer t.Stop()
	select {
	case <-d.heard:
	case <-t.C:
	}
}
