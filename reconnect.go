package tcproom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"net"
	"sync"
	"time"
)

// A Client is a member that comes back: when it loses its connection it dials
// again, until its context ends, Close is called, or the room does not want it.
// With a room of [WithSessions] and a codec that is a [Resumer], as [JSON] is, it
// resumes: it goes on where it was, gets what it missed, and nobody hears that it
// was away. With others it joins anew each time.
//
// Events come in one stream over all connections. A [Welcome] says that the
// client is connected, and its Outcome how: [Joined], [Resumed], [ResumedGap] or
// [Expired]; with a codec that says no Welcome it is empty but for its Time. [Lost]
// says that the connection is lost, or that the first could not be made. [Gap]
// names what was missed for good. No event comes twice: of the history after
// Expired, what was heard before is left out. What a connection did not
// deliver of its history is not given again after a resume.
//
// A message is in the room's order at most once, whatever was cut where. In a room with sessions
// messages are numbered, and what was not acknowledged is sent again after a
// resume. Where the room has forgotten the member, nobody knows what became of
// them: then they come back as [Uncertain] events, and are not sent again.
//
// The stream must be read. When 4 MiB of events wait, an event being charged 256
// bytes beside its body, the client reads nothing more from the room, and what
// would have to wait for the room fails with [ErrUnread].
//
// A connection that dies without a word shows only when something is said over
// it: [WithHeartbeat] sees to that.
//
// All methods may be called from many goroutines.
type Client struct {
	addr   string
	cfg    clientConfig
	ctx    context.Context // done when run is to end
	cancel context.CancelCauseFunc
	done   chan struct{} // closed by run at its end

	mu       sync.Mutex    // guards what follows; never held during I/O
	changed  chan struct{} // closed when something that follows has changed; nil while nobody waits
	online   bool
	acks     bool // the room of the present connection acknowledges
	closing  bool
	lost     error   // why it is not online
	err      error   // why it has ended
	closeErr error   // of Close
	unread   []Event // to be received
	size     int     // of their charge
	out      outbox
	resume   Resume // Token is empty where it cannot resume
	heard    uint64 // up to which history of this epoch need not be heard
}

const (
	maxUnread = 4 << 20
	// maxOutbox bounds what waits while there is a connection, one message aside.
	maxOutbox = 1 << 20
	// attemptTimeout bounds an attempt to connect, beside the handshake's timeout.
	attemptTimeout = 30 * time.Second
)

// NewClient returns a client that is a member of the room at the TCP address addr
// until ctx ends, as far as it can be reached. It does not wait for that: see
// Receive and Events for what becomes of it. Each attempt is a [Dial] with
// opts, which takes 30 seconds at most and [WithHandshakeTimeout].
//
// It ends by itself, and Err says why, when the room refuses it for good
// ([RefusedError].Final: a failed authentication, another protocol), removes it for good ([Goodbye] with
// Final: a kick, or another client with its token), when one end does not trust the
// other's certificate or speaks another version of TLS, when what answers at addr is
// no such room ([ErrWrongDoor]) four times before there was one, and when addr or the name
// of [WithName] make no sense. All else is tried again, as [WithBackoff] says.
//
// [WithResume] makes it continue the stream of an earlier client at its first
// attempt. Two clients must not have one token: the later takes the member from
// the other, which ends with [ErrTakenOver]. [OnEvent] does not go with a client.
func NewClient(ctx context.Context, addr string, opts ...ClientOption) *Client {
	c := &Client{addr: addr, cfg: newClientConfig(opts), done: make(chan struct{}), lost: errNoneYet}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	if r := c.cfg.conn.resume; r != nil {
		c.resume, c.heard = *r, r.Seq
	}
	go c.run()
	return c
}

// Send sends body to the room. It returns when the client has taken it, which
// keeps nothing of body, and does not wait until the room has. It blocks while
// more than 1 MiB waits to be sent or acknowledged, until ctx ends, or to no end:
// acknowledgements come between the events, which must be read. While there
// is no connection it does what [WithOffline] says.
//
// With an error the room does not get body. Errors are [ErrFrameTooLarge],
// [ErrUnframeable], [ErrOffline], [ErrUnread], the cause of ctx, or that of c's end,
// which is [net.ErrClosed] after Close.
func (c *Client) Send(ctx context.Context, body []byte) error {
	_, err := c.put(ctx, body, false)
	return err
}

// SendAcked is Send that waits until the room has taken body, over however
// many connections, and returns its seq; 0 where an [OnMessage] hook posted
// nothing for it, or the room does not know the seq any more. An error that wraps [ErrUncertain] says that the room may have
// taken body, or may still do so; with others it does not get it. In a room that
// does not acknowledge it is one that wraps [errors.ErrUnsupported].
func (c *Client) SendAcked(ctx context.Context, body []byte) (seq uint64, err error) {
	s, err := c.put(ctx, body, true)
	if err != nil {
		return 0, err
	}
	err = c.await(ctx, func() (bool, error) {
		if !s.over {
			return false, c.stuckLocked()
		}
		return true, nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.over:
		return s.seq, s.err
	case c.out.withdraw(s):
		c.changeLocked()
		return 0, err
	}
	return 0, fmt.Errorf("%w: %w", ErrUncertain, err)
}

// Receive returns the next event. It blocks until there is one or ctx ends,
// whose cause it then returns. When the client has ended and its last event
// was received, it returns why the client has ended.
func (c *Client) Receive(ctx context.Context) (ev Event, err error) {
	err = c.await(ctx, func() (bool, error) {
		if len(c.unread) == 0 {
			return false, c.err
		}
		ev = c.unread[0]
		c.unread[0] = Event{}
		if c.unread = c.unread[1:]; len(c.unread) == 0 {
			c.unread = nil
		}
		c.size -= chargeOf(&ev)
		c.changeLocked()
		return true, nil
	})
	return ev, err
}

// Events returns the events that Receive would, until an error, which it
// yields as the last.
func (c *Client) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			ev, err := c.Receive(ctx)
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// Err returns why c has ended, or nil while it has not: the cause of its
// context, [net.ErrClosed], a [*RefusedError], or what the room said.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends c. Where there is a connection, it first sends what Send has taken,
// waits until the room has acknowledged it, if the room does so, and leaves as
// [Conn.Close] does; each takes five seconds at most. It does not dial again for
// that. The error says what has not, or may not have, reached the room. Events that come meanwhile are dropped.
// A second Close does nothing, and waits for nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return nil
	}
	c.closing = true
	c.changeLocked()
	c.mu.Unlock()

	ctx, stop := context.WithTimeout(c.ctx, lingers)
	c.await(ctx, func() (bool, error) { return !c.online || len(c.out.list) == 0, nil })
	stop()
	c.cancel(net.ErrClosed)
	<-c.done
	return c.closeErr
}

// await calls ready, with the lock held, whenever something has changed, until
// it is true or fails, or ctx ends.
func (c *Client) await(ctx context.Context, ready func() (bool, error)) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.mu.Lock()
		ok, err := ready()
		if ok || err != nil {
			c.mu.Unlock()
			return err
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// changeLocked wakes those who wait.
func (c *Client) changeLocked() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// put takes a message when there is room for it.
func (c *Client) put(ctx context.Context, body []byte, acked bool) (*sending, error) {
	if err := c.check(body); err != nil {
		return nil, err
	}
	s := &sending{body: bytes.Clone(body), waits: acked}
	return s, c.await(ctx, func() (bool, error) {
		if ok, err := c.mayPutLocked(s); err != nil {
			return false, err
		} else if !ok {
			return false, c.stuckLocked()
		}
		c.out.add(s)
		c.changeLocked()
		return true, nil
	})
}

// mayPutLocked reports whether s may be put into the outbox, as things are now.
func (c *Client) mayPutLocked(s *sending) (bool, error) {
	switch {
	case c.err != nil:
		return false, c.err
	case c.closing:
		return false, net.ErrClosed
	case c.ctx.Err() != nil:
		return false, context.Cause(c.ctx)
	case c.online && s.waits && !c.acks:
		return false, errNoAcks
	case c.online:
		return len(c.out.list) == 0 || c.out.fits(s, maxOutbox), nil
	case c.cfg.offline == OfflineWait:
		return false, nil
	case c.cfg.offline < 0:
		return false, fmt.Errorf("%w: %w", ErrOffline, c.lost)
	case !c.out.fits(s, int(c.cfg.offline)):
		return false, fmt.Errorf("%w, and the buffer of %d bytes is full: %w", ErrOffline, int(c.cfg.offline), c.lost)
	}
	return true, nil
}

// stuckLocked returns an error where nobody must wait for the room, because
// who waits may be who should read.
func (c *Client) stuckLocked() error {
	if c.size >= maxUnread {
		return ErrUnread
	}
	return nil
}

var errNoneYet = errors.New("there was none yet")

var errNoAcks = fmt.Errorf("tcproom: the room does not acknowledge messages: it needs WithSessions, and both ends a codec that is a Resumer: %w", errors.ErrUnsupported)

// check returns why body cannot be sent, whenever that is.
func (c *Client) check(body []byte) (err error) {
	l := &c.cfg.conn.limits
	if len(body) > l.maxMessage {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrameTooLarge, len(body), l.maxMessage)
	}
	if r, ok := l.codec.(Resumer); ok {
		_, err = l.frameNumbered(r, math.MaxUint64, body)
		return err
	}
	b, err := l.codec.AppendMessage(nil, body)
	if err == nil {
		_, err = l.framing.AppendFrame(nil, b)
	}
	return err
}

// chargeOf is what an event that waits is charged.
func chargeOf(ev *Event) int { return len(ev.Body) + 256 + 64*len(ev.Members) }
