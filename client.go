package tcproom

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/fanout"
)

// Dial connects to the room at the TCP address addr, such as
// "localhost:9000". With a codec that is a [Greeter] it returns when the room
// has welcomed the conn, or a [*RefusedError]; the [Welcome] is then the first
// event, but for what the room's hooks said to this conn before it. ctx bounds the dialling and the handshake; when it ends later, nothing happens.
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
	if _, ok := nc.(*tls.Conn); ok {
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
		if ctx.Err() != nil {
			err = context.Cause(ctx)
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
		if _, ok := nc.(*tls.Conn); !ok {
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
	in.name = cfg.name
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

	closing atomic.Bool   // CloseWrite or Close was called
	closed  atomic.Bool   // Close was
	reading chan struct{} // holds a token while somebody reads; guards what follows
	first   []Event       // read by greet
	ended   bool          // Receive has said why
	parsed  Event         // of parseEvent
	watched <-chan struct{}
	unwatch func() bool
	fired   chan struct{} // closed when the context that is watched has ended and was heeded
	expired bool          // guarded by the conn's lock: that context has ended
}

func newDialled(nc net.Conn, cfg dialConfig) *Conn {
	d := &dialer{cfg: cfg, fan: fanout.New(), reading: make(chan struct{}, 1)}
	c := &Conn{cfg: &connConfig{limits: cfg.limits}, dial: d, nc: nc, name: cfg.name}
	c.prepareSocket()
	c.connect(d.fan)
	if tc, ok := nc.(*tls.Conn); ok && !tc.ConnectionState().HandshakeComplete {
		c.deadline = time.Now().Add(cfg.handshakeTimeout)
		d.shaken = make(chan struct{})
		go c.shakeDialled(tc)
	}
	if g, ok := cfg.codec.(Greeter); ok {
		b, err := g.AppendHello(nil, &Hello{Name: cfg.name})
		if err == nil {
			b, err = cfg.framing.AppendFrame(nil, b)
		}
		if err != nil {
			c.end(fmt.Errorf("tcproom: hello: %w", err))
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
func (c *Conn) shakeDialled(tc *tls.Conn) {
	defer close(c.dial.shaken)
	if err := c.shakeTLS(tc); err != nil {
		c.end(err)
	}
}

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
		first, size = append(first, ev), size+len(ev.Body)
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

// Receive returns the next event. It blocks until there is one or ctx ends,
// which costs nothing but the wait: the conn goes on. At the end of the stream
// it returns [io.EOF]; when the room said that it refuses the conn, a
// [*RefusedError]; otherwise why the conn has ended, the same at every call.
//
// At the room's end it works inside the [Handshake] hook, where it returns a
// [Message] event with what the peer sent, and returns [ErrReceive] elsewhere;
// so it does at a dialling end with [OnEvent].
func (c *Conn) Receive(ctx context.Context) (Event, error) {
	if c.room != nil {
		return c.receiveShaking(ctx)
	}
	if c.dial.cfg.onEvent != nil {
		return Event{}, ErrReceive
	}
	return c.receive(ctx)
}

// Events returns the events that Receive would, until an error, which it
// yields as the last; the end of the stream is not an error.
func (c *Conn) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			ev, err := c.Receive(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// receiveShaking is Receive inside the handshake.
func (c *Conn) receiveShaking(ctx context.Context) (Event, error) {
	if c.hook.Load() != hookHandshake {
		return Event{}, ErrReceive
	}
	for {
		frame, err := c.shakenFrameUntil(ctx)
		if err != nil {
			return Event{}, err
		}
		body, err := c.cfg.codec.ParseMessage(frame)
		if errors.Is(err, ErrNoFrame) {
			continue
		}
		if err != nil {
			return Event{}, err
		}
		return Event{Kind: Message, From: c.member(), Time: time.Now(), Body: body}, nil
	}
}

// shakenFrameUntil is shakenFrame until ctx ends, which leaves c as it is.
func (c *Conn) shakenFrameUntil(ctx context.Context) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		c.setReadDeadline(past)
	})
	frame, err := c.shakenFrame()
	if stop() {
		return frame, err
	}
	<-fired
	c.setReadDeadline(c.deadline)
	if errors.Is(err, ErrHandshakeTimeout) {
		err = context.Cause(ctx)
	}
	return frame, err
}

// receive reads the next event, whoever asks.
func (c *Conn) receive(ctx context.Context) (Event, error) {
	d := c.dial
	if err := d.lock(ctx); err != nil {
		return Event{}, err
	}
	defer d.unlock()
	if len(d.first) > 0 {
		ev := d.first[0]
		d.first = d.first[1:]
		return ev, nil
	}
	if d.ended {
		return Event{}, c.Err()
	}
	_, limit := frameLimits(c.cfg.codec, c.cfg.maxMessage)
	for {
		ev, err := c.nextEvent(limit)
		if err == nil && ev.Kind == Refused {
			err = &RefusedError{Code: ev.Code, Message: ev.Text}
		}
		switch {
		case err == nil && ev.Kind != 0:
			return ev, nil
		case err != nil:
			c.end(err)
			d.ended = true
			return Event{}, c.Err()
		}
		if err := c.readMore(ctx, limit); err != nil {
			d.ended = c.Err() != nil
			return Event{}, err
		}
	}
}

// lock waits to be the one who reads.
func (d *dialer) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case d.reading <- struct{}{}:
		return nil
	default:
	}
	select {
	case d.reading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *dialer) unlock() { <-d.reading }

// nextEvent takes the next event from what has been read; its Kind is 0 where
// there is none.
func (c *Conn) nextEvent(limit int) (Event, error) {
	for {
		n, frame, err := c.split(c.src.Held(), limit)
		if err != nil {
			return Event{}, err
		}
		if n == 0 {
			if len(c.src.Held()) >= limit+maxHeader {
				return Event{}, ErrFrameTooLarge
			}
			return Event{}, nil
		}
		ev, err := c.parseEvent(frame)
		c.src.Consume(n)
		if errors.Is(err, ErrNoFrame) {
			continue
		}
		return ev, err
	}
}

// parseEvent decodes a frame into an event that owns its bytes.
func (c *Conn) parseEvent(frame []byte) (Event, error) {
	d := c.dial
	d.parsed = Event{}
	if err := c.cfg.codec.ParseEvent(append(make([]byte, 0, len(frame)), frame...), &d.parsed); errors.Is(err, ErrNoFrame) {
		return Event{}, err
	} else if err != nil {
		return Event{}, badInput(err)
	}
	ev := d.parsed
	if ev.Kind == Welcome {
		c.mu.Lock()
		c.id, c.name = ev.From.ID, ev.From.Name
		c.mu.Unlock()
	}
	return ev, nil
}

// readMore waits for more bytes. A ctx that ends while it waits ends the wait
// and nothing else.
func (c *Conn) readMore(ctx context.Context, limit int) error {
	if c.dial.shaken != nil {
		select {
		case <-c.dial.shaken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	c.watch(ctx)
	if idle := c.cfg.idleTimeout; idle > 0 {
		c.setIdleDeadline(time.Now().Add(idle))
	}
	_, err := c.src.Read(limit + maxHeader)
	if err == nil {
		return nil
	}
	if cause := c.Err(); cause != nil {
		return cause
	}
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	c.end(c.readCause(err, ErrIdleTimeout))
	return c.Err()
}

// watch sees to it that the end of ctx ends reading, instead of that of the
// context that was watched before. Contexts with one Done channel are watched
// as one, so that a loop over Receive costs nothing.
func (c *Conn) watch(ctx context.Context) {
	d := c.dial
	done := ctx.Done()
	if done == d.watched {
		return
	}
	if d.unwatch != nil && !d.unwatch() {
		<-d.fired
	}
	c.mu.Lock()
	if d.expired = false; c.cause == nil {
		c.nc.SetReadDeadline(time.Time{})
	}
	c.mu.Unlock()
	d.watched, d.unwatch = done, nil
	if done == nil {
		return
	}
	fired := make(chan struct{})
	d.fired = fired
	d.unwatch = context.AfterFunc(ctx, func() {
		defer close(fired)
		c.mu.Lock()
		defer c.mu.Unlock()
		d.expired = true
		c.nc.SetReadDeadline(past)
	})
}

// setIdleDeadline sets the read deadline, unless reading is to end.
func (c *Conn) setIdleDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil && !c.dial.expired {
		c.nc.SetReadDeadline(t)
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
	c.dial.closing.Store(true)
	done := c.sink.Finish()
	c.fan().Wake() // who waits in Send
	select {
	case <-done:
	case <-ctx.Done():
		return context.Cause(ctx)
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
		if !c.drain(lingers, lingers) {
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
		c.discard(lingers, lingers)
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
