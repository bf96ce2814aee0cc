package tcproom

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// A Newcomer is the peer of a connection that has not joined yet. A
// [WithHandshake] hook talks to it, and [OnReject] gets it if it was refused.
type Newcomer struct {
	link     *link
	deadline time.Time // of the handshake; zero: none
	held     []byte    // read before the connection was the room's; nil once its source has it
	read     int       // bytes
	outcome  string    // of resuming, for the welcome
	known    uint64    // the position in the log up to which the room was known when it came
	room     string    // of a hub, if its peer names none
	token    Secret    // of its session, until the welcome of its room has it
	wrong    error     // it is at the wrong door

	// turn holds a token while Receive reads in the hook; nil outside of it.
	turn chan struct{}

	identity *Identity  // of a member of Join, whose handshake is nobody's business
	joined   chan error // for Join: told once whether it has joined
	waits    func()     // called before the link's goroutine waits for anybody; nil: nobody cares
}

// RemoteAddr returns the address of the peer; nil only if the net.Conn that the
// user gave says so.
func (n *Newcomer) RemoteAddr() net.Addr { return n.link.RemoteAddr() }

// TLS returns the state of the TLS session, with the certificates of the peer,
// or nil without TLS. It does not block. A [WithHandshake] hook may take the
// identity from a client certificate that WithTLS's config, with
// tls.RequireAndVerifyClientCert, has verified.
func (n *Newcomer) TLS() *tls.ConnectionState { return tlsState(n.link.nc) }

// Hello returns what the peer said first, if its codec has a hello; otherwise what its
// [Arrival] says, or zero. It is what the peer claims, which proves nothing.
func (n *Newcomer) Hello() Hello { return n.link.helloSaid() }

// Send sends body to the peer, as a [Direct] event before its welcome. It works
// inside the [WithHandshake] hook; elsewhere it returns [ErrNotMember].
//
// It blocks while more than 4 KiB wait to be sent, until ctx ends; it takes the
// message whole or, with an error, not at all. It keeps nothing of body. Errors are
// [ErrFrameTooLarge], [ErrUnframeable], the cause of ctx, or that of the end of the
// connection.
func (n *Newcomer) Send(ctx context.Context, body []byte) error {
	l := n.link
	if l.running.hook() != hookHandshake {
		return ErrNotMember
	}
	if len(body) > l.cfg.maxMessage {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrameTooLarge, len(body), l.cfg.maxMessage)
	}
	b, err := l.frameDirect(MemberInfo{}, body)
	if err != nil {
		return err
	}
	if len(b) > maxShaken {
		return fmt.Errorf("%w: a frame of %d bytes, the limit before the join is %d", ErrFrameTooLarge, len(b), maxShaken)
	}
	return l.putWhole(ctx, b)
}

var errOutside = fmt.Errorf("tcproom: only the WithHandshake hook receives from a newcomer: %w", errors.ErrUnsupported)

// Receive returns the body of the next message of the peer, which the caller owns.
// It works inside the [WithHandshake] hook; elsewhere it returns an error that
// wraps [errors.ErrUnsupported].
//
// It blocks until there is one or ctx ends, which costs nothing but the wait. All
// that a peer sends before it joins must be at most 4 KiB, in a hub more by what it takes
// to name its rooms: after that it returns [ErrFrameTooLarge]. Other errors are those of the end of the connection.
func (n *Newcomer) Receive(ctx context.Context) ([]byte, error) {
	l := n.link
	if l.running.hook() != hookHandshake {
		return nil, errOutside
	}
	select {
	case n.turn <- struct{}{}:
		defer func() { <-n.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l.running.hook() != hookHandshake {
		return nil, errOutside // while it waited for its turn
	}
	for {
		frame, err := n.frameUntil(ctx)
		if err != nil {
			return nil, err
		}
		var req Request
		err = l.cfg.codec.ParseRequest(frame, &req)
		if err != nil && !errors.Is(err, ErrNoFrame) {
			return nil, badInput(err)
		}
		if err := l.answerWithin(&req, frame); err != nil {
			return nil, err
		}
		if err != nil {
			continue
		}
		switch req.Kind {
		case ReqSay:
			return req.Body, nil
		case ReqPing:
			l.beatShaken(frame)
		case ReqPong:
		case ReqGoodbye:
			return nil, l.heedGoodbye(&req, frame)
		default:
			if err := n.decline(ctx, &req); err != nil {
				return nil, err
			}
		}
	}
}

// errNotYet is why nothing that a member of a hub can ask for is done for a newcomer.
var errNotYet = &refusal{errors.New("you have not joined yet"), ErrNotMember}

// decline answers a request that only a member of a hub can make.
func (n *Newcomer) decline(ctx context.Context, req *Request) error {
	l := n.link
	ev := refusalOf(req, l.room.lastWords(errNotYet))
	switch {
	case !req.forHub() || !ev.answers(): // or it would pass for the refusal of the connection
		return fmt.Errorf("%w: a %v inside the handshake", ErrMalformed, req.Kind)
	case l.room.hub == nil:
		ev.End = onlyRoom()
	case req.Kind == ReqHelp:
		ev = &Event{Kind: Help, Time: time.Now(), Ref: req.Ref}
	}
	ctx, cancel := withDeadline(ctx, n.deadline, errHandshakeTimeout)
	defer cancel()
	b, err := encode(l.transport.cfg, ev)
	if err != nil || len(b) == 0 {
		return err
	}
	return l.putWhole(ctx, b)
}

// beatShaken answers a ping in frame before the join.
func (l *link) beatShaken(frame []byte) {
	if l.cfg.control != nil {
		l.answerPing(frame)
		return
	}
	if b, err := encode(l.transport.cfg, &Event{Kind: Pong}); err == nil && len(b) > 0 && l.sink.Queue(b, maxBeats) {
		l.sink.Flush()
	}
}

// mayWait is called before l's goroutine waits for its peer or a hook: a goroutine
// that admits one link after the other hands the others over then.
func (l *link) mayWait() {
	if n := l.newcomer; n.waits != nil {
		n.waits()
		n.waits = nil
	}
}

// handshake does what comes before the name is known: TLS, hello, hook.
func (r *Room) handshake(l *link) (id Identity, err error) {
	n := l.newcomer
	if tc, ok := l.nc.(tlsConn); ok {
		l.mayWait()
		ctx, cancel := withDeadline(l.Context(), n.deadline, errHandshakeTimeout)
		err := shakeTLS(ctx, tc)
		cancel()
		switch {
		case err == nil:
		case l.Err() == nil && isPlain(err):
			return id, l.plainPeer(err)
		default:
			return id, tlsCause(err)
		}
	}
	l.connect((*linkSink)(l))
	l.src.Prime(n.held)
	n.held = nil
	if r.full() && !r.mayResume(l.cfg) {
		return id, ErrRoomFull
	}
	if n.identity != nil && !l.cfg.features.Hello {
		return *n.identity, nil
	}
	greets, hook := l.cfg.features.Hello, l.cfg.handshake
	if !greets && hook == nil {
		return id, nil
	}
	l.mayWait()
	l.setReadDeadline(n.deadline)
	defer l.setReadDeadline(time.Time{})
	if greets {
		if err := n.readHello(); err != nil {
			return id, err
		}
	}
	if n.identity != nil {
		return *n.identity, nil
	}
	if hook == nil {
		return id, nil
	}
	id, err = r.callHandshake(l)
	if _, failed := err.(*HookError); !failed && n.wrong != nil {
		err = n.wrong // whatever the hook makes of it
	}
	return id, err
}

// callHandshake calls the user's hook.
func (r *Room) callHandshake(l *link) (id Identity, err error) {
	n := l.newcomer
	ctx, cancel := withDeadline(l.Context(), n.deadline, errHandshakeTimeout)
	defer cancel()
	n.turn = make(chan struct{}, 1)
	defer n.endTurns()
	err = l.call(hookHandshake, func() (err error) {
		if t := r.cfg.hookTimers; t != nil {
			defer t.end("WithHandshake", nil, time.Now())
		}
		id, err = l.cfg.handshake(ctx, n)
		return err
	})
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		err = context.Cause(ctx)
	}
	return id, refuse(err)
}

// endTurns waits for a Receive that outlives the hook, which is not to read
// what comes after it.
func (n *Newcomer) endTurns() {
	n.link.setReadDeadline(past)
	n.turn <- struct{}{}
	<-n.turn
}

// readHello reads the hello, with which the connections of some codecs begin.
func (n *Newcomer) readHello() error {
	l := n.link
	for {
		frame, err := n.frame()
		if err != nil {
			return err
		}
		var req Request
		err = l.cfg.codec.ParseRequest(frame, &req)
		switch {
		case errors.Is(err, ErrNoFrame):
			if len(frame) == 0 {
				continue // a load balancer's sign of life
			}
			return fmt.Errorf("tcproom: hello: %w: %w", ErrMalformed, err)
		case err != nil:
			return badInput(fmt.Errorf("tcproom: hello: %w", err))
		case l.cfg.control == nil: // else its own frames may come at any time
		case req.Kind == ReqPing:
			l.beatShaken(frame)
			continue
		case req.Kind == ReqPong:
			continue
		case req.Kind == ReqGoodbye:
			return l.heedGoodbye(&req, frame)
		}
		if req.Kind != ReqHello || req.Hello == nil {
			return fmt.Errorf("%w: a %v before the hello", ErrMalformed, req.Kind)
		}
		if l.hello != nil { // Join's, which asks for history
			req.Hello.History = l.hello.History
		}
		if err := l.answerWithin(&req, frame); err != nil {
			return err
		}
		l.hello = req.Hello
		l.beats = l.beats || l.cfg.features.Pings && req.Hello.Ping
		return nil
	}
}

// mayRead returns how many bytes are read before l carries a member: 4 KiB, and in a hub
// what a hello takes that names as many rooms as a connection may be in.
func (n *Newcomer) mayRead() int {
	h := n.link.room.hub
	if h == nil {
		return maxShaken
	}
	return maxShaken + min(h.cfg.maxPerConn, maxNamedRooms)*maxNamedRoom
}

const (
	maxNamedRoom  = 256 // bytes of a hello for a room and the position in it
	maxNamedRooms = 4096
)

// frame reads a frame before l carries a member, when all that it may consume
// is bounded.
func (n *Newcomer) frame() ([]byte, error) {
	l := n.link
	limit, _ := frameLimits(l.cfg.codec, l.cfg.maxMessage)
	most := n.mayRead()
	limit = min(max(limit, most-maxShaken), most-n.read)
	for {
		wait, err := n.knock(limit)
		size, frame := 0, []byte(nil)
		if err == nil && !wait {
			size, frame, err = l.split(l.src.Held(), limit)
		}
		if err != nil {
			return nil, err
		}
		if size > 0 {
			n.read += size
			frame = append([]byte(nil), frame...)
			l.consume(size)
			return frame, nil
		}
		if len(l.src.Held()) >= most-n.read {
			return nil, fmt.Errorf("%w: more than %d bytes before the join", ErrFrameTooLarge, most)
		}
		if err := n.readMore(); err != nil {
			return nil, err
		}
	}
}

// readMore waits for more bytes before the join.
func (n *Newcomer) readMore() error {
	_, err := n.link.src.Read(n.mayRead() - n.read)
	if err != nil && !n.link.heldBack(err) {
		return n.link.readCause(err, errHandshakeTimeout)
	}
	return nil
}

// knock is that of the link, unless it has passed.
func (n *Newcomer) knock(limit int) (wait bool, err error) {
	if n.link.door.passed {
		return false, nil
	}
	wait, err = n.link.knock(limit)
	n.wrong = err
	return wait, err
}

// frameUntil is frame until ctx ends, which leaves the link as it is.
func (n *Newcomer) frameUntil(ctx context.Context) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	l := n.link
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		l.setReadDeadline(past)
	})
	frame, err := n.frame()
	if stop() {
		return frame, err
	}
	<-fired
	l.setReadDeadline(n.deadline)
	if errors.Is(err, errHandshakeTimeout) {
		err = context.Cause(ctx)
	}
	return frame, err
}
