package tcproom

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// Dial connects to the room at the TCP address addr, such as "localhost:9000".
//
// With a codec that has a hello it returns when the room has welcomed the
// connection, or a [*RefusedError]; the [Welcome] is then the first event, but for
// what the room's hooks sent to this member before it. With others it returns when the
// transport is connected. ctx bounds the dialling and the handshake, which
// [WithHandshakeTimeout] bounds too; when ctx ends later, nothing happens. An
// option that cannot work is [ErrOption].
//
// The Conn must be read, with Receive, Events or [OnEvent], also by a program that
// only sends: a member that does not read is slow, and the room ends it. It must be
// closed, whatever its end is.
func Dial(ctx context.Context, addr string, opts ...DialOption) (*Conn, error) {
	cfg := newDialConfig(opts)
	if err := cfg.checkConn(); err != nil {
		return nil, err
	}
	nc, err := cfg.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("tcproom: %w", err)
	}
	c, err := cfg.open(ctx, nc, addr)
	if err != nil {
		return nil, err
	}
	c.start()
	return c, nil
}

// open negotiates TLS over nc, which is connected to addr, and waits for the welcome.
func (o *dialConfig) open(ctx context.Context, nc net.Conn, addr string) (*Conn, error) {
	ctx, cancel := withDeadline(ctx, until(o.handshakeTimeout), errHandshakeTimeout)
	defer cancel()
	if o.tls != nil {
		var err error
		if nc, err = dialTLS(ctx, nc, addr, o.tls); err != nil {
			return nil, err
		}
	}
	c := newConn(nc, o, nil)
	if err := c.greet(ctx); err != nil {
		c.giveUp()
		return nil, err
	}
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

// greet waits for the welcome, if the codec has one.
func (c *Conn) greet(ctx context.Context) error {
	if !c.cfg.features.Hello {
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
			c.reader.first = first
			return nil
		case ev.Kind != Direct || size > maxQueued:
			return endError(fmt.Errorf("%w: the room sends a %v before its Welcome", ErrMalformed, ev.Kind))
		}
	}
}

// NewConn returns the dialling end over any transport, which it owns from then on.
// It does not wait: with a codec that has a hello, that is sent, and the [Welcome], or
// a [*RefusedError], is the first that Receive returns. An option that cannot work is
// its end, with [ErrOption]. It must be read and closed like one of [Dial].
func NewConn(nc net.Conn, opts ...DialOption) *Conn {
	cfg := newDialConfig(opts)
	if cfg.tls != nil {
		if _, ok := nc.(tlsConn); !ok {
			nc = tls.Client(nc, cfg.tls)
		}
	}
	c := newConn(nc, &cfg, cfg.checkConn())
	c.start()
	return c
}

// Join returns the dialling end of a new member in this process, over an
// in-memory pair. The member is what id says: its Name, which holds with every
// codec and of which an empty one means that of [WithName], and its Context.
// Framing and codec are the room's unless an option says otherwise, [WithReplay]
// holds with every codec, and TLS, dialer and the [WithHandshake] hook are not used;
// [OnJoin] is.
//
// It returns when the member has joined, or why it was refused: the error of the
// hook itself. ctx bounds the wait; when it ends later, nothing happens. Errors are
// also [ErrRoomClosed], [ErrOption], the cause of ctx, and those of [Dial]. The member
// must be read and closed like any other. Of a room of a [Hub] it is [Hub.Join].
func (r *Room) Join(ctx context.Context, id Identity, opts ...DialOption) (*Conn, error) {
	if r.isNamed() {
		return r.hub.all.joinRoom(ctx, r.name, id, opts)
	}
	return r.joinRoom(ctx, "", id, opts)
}

// joinRoom is Join, in a hub to the named room.
func (r *Room) joinRoom(ctx context.Context, room string, id Identity, opts []DialOption) (*Conn, error) {
	like := option(func(l *limits) { l.speakLike(&r.cfg.conn.limits) })
	cfg := newDialConfig(append([]DialOption{like, WithMaxMessage(r.cfg.conn.maxMessage)}, opts...))
	if id.Name == "" {
		id.Name = cfg.name
	}
	replay := cfg.replay
	cfg.name, cfg.replay = "", 0 // any codec will do for these
	if err := cfg.checkConn(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	cfg.name, cfg.replay = id.Name, replay

	if err := r.orderHeld(ctx); err != nil {
		return nil, err
	}
	if cfg.rooms != nil && room != "" {
		named := dialConfig{rooms: []string{room}}
		for _, name := range cfg.rooms {
			named.addRoom(name)
		}
		cfg.rooms = named.rooms
	}
	here, there := net.Pipe()
	l := r.newJoin(there, id, &cfg)
	l.newcomer.room = room
	joined := l.newcomer.joined
	c := newConn(here, &cfg, nil)
	err := c.Err() // of the hello
	if err == nil {
		err = r.open(l, nil)
	}
	if err != nil {
		there.Close()
		c.giveUp()
		return nil, err
	}
	go r.serve(l)
	if err := c.awaitJoin(ctx, joined); err != nil {
		c.giveUp()
		return nil, err
	}
	c.setMember(l.member.Info(), c.resumable)
	c.start()
	return c, nil
}

// newJoin returns the room's end of the member of a Join.
func (r *Room) newJoin(there net.Conn, id Identity, opts *dialConfig) *link {
	side := r.cfg.conn
	side.speakLike(&opts.limits)
	side.features = opts.features
	side.tls, side.handshake, side.control = nil, nil, nil
	l := r.newLink(there, &side, nil)
	l.hello = &Hello{History: opts.replay, Rooms: opts.rooms}
	l.newcomer.identity = &id
	l.newcomer.joined = make(chan error, 1)
	l.door.passed = true // it is no stranger
	return l
}

// awaitJoin waits until the room has let c in, or says why not.
func (c *Conn) awaitJoin(ctx context.Context, joined <-chan error) error {
	welcome, cancel := withDeadline(ctx, until(c.opts.handshakeTimeout), errHandshakeTimeout)
	defer cancel()
	err := c.greet(welcome)
	if err != nil && welcome.Err() != nil {
		return err // OnJoin may block still
	}
	select {
	case why := <-joined: // which says more than what was read
		return cmpErr(why, err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
