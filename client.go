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
	"sync/atomic"

	"example.com/tcproom/internal/outbox"
)

// A Client is a member that comes back: when it loses its connection it dials
// again, until its context ends, Close is called, or coming back would not help.
// With a room of [WithSessions] and a codec that has numbers, as [JSON] has, it
// resumes: it goes on from its place, gets what it missed, and nobody is told that it
// was away. With others it joins anew each time. With [Addresses] it goes to another
// process that has the room if one fails or restarts.
//
// Events come in one stream over all connections. A [Welcome] says that the client is
// connected, and [WelcomeInfo].Resumed whether the stream goes on where it stopped;
// with a codec that has no Welcome it is empty but for its Time. [Lost] says that the
// connection is lost, or that the first could not be made, at any of its addresses.
// [Gap] names what was missed for good. A [Refused] event is the answer to a request, or
// has in its Body a message that was not taken, and a [Goodbye] the end of the
// client or, with a Room, of the membership there. No event comes twice: of the history
// after an outcome of "expired", what was received before is left out. What a connection
// did not deliver of its history is not given again after a resume.
//
// With [InRooms] it is in several rooms of a hub at once, and all of this holds for each
// of them: it resumes in all of its rooms, and what it could not resume it enters again:
// those of InRooms and those that it has entered since, but not those that it has left,
// and not those that have put it out or refused it for good ([EndError].Final). Each
// begins with a Welcome with its Room, or with a Refused.
//
// A message is in the room's order at most once, whatever was cut where. In a room
// with sessions messages are numbered, and what was not acknowledged is sent again
// after a resume. If the room has forgotten the member, nobody knows what became of
// them: then they come back as [Uncertain] events, and are not sent again.
//
// The stream must be read. When 4 MiB of events wait, an event being charged 256
// bytes beside its body, the client reads nothing more from the room, and what
// would have to wait for the room fails at once.
//
// A connection that dies without a word shows only when something is sent over
// it: [WithHeartbeat] sees to that. One over which nothing can be sent any more is lost when
// what the room had sent before was received, or five seconds later.
//
// All methods may be called from many goroutines.
type Client struct {
	opts   dialConfig
	ctx    context.Context // done when run is to end
	cancel context.CancelCauseFunc
	done   chan struct{} // closed by run at its end
	events *eventLoop    // nil without OnEvent
	closed atomic.Bool   // Close was called

	mu       sync.Mutex    // guards what follows; never held during I/O
	changed  chan struct{} // closed when something that follows has changed; nil while nobody waits
	addr     string        // of the present connection, or of the last attempt
	online   bool
	acks     bool    // the room of the present connection acknowledges
	lost     error   // why it is not online
	err      error   // why it has ended
	closeErr error   // of Close
	unread   []Event // to be received
	size     int     // of their charge
	out      outbox.Box
	resume   Resume // Token is empty if it cannot resume
	received uint64 // the seq up to which history of this epoch was received

	// Of rooms of a hub, see client_rooms.go.
	refs      atomic.Uint64 // not guarded
	labelled  bool          // set once: it names its rooms
	rooms     map[string]*clientRoom
	names     []string     // of rooms, in the order in which they are entered
	unsettled int          // how many of the rooms are pending
	moved     string       // where one that names no rooms has moved to
	asks      []*clientAsk // to be sent
	asked     []*clientAsk // that wait for an answer
}

const (
	maxUnread = 4 << 20
	// maxOutbox bounds what waits while there is a connection, one message aside.
	maxOutbox = 1 << 20
)

// NewClient returns a client that is a member of the room at the TCP address addr, and
// at those of [Addresses], until ctx ends, as far as it can be reached. It does not wait
// for that: see Receive and Events for what becomes of it. Each attempt is a [Dial] with
// opts, for which dialling takes 30 seconds at most and the handshake
// [WithHandshakeTimeout].
//
// It ends by itself, and Err says why:
//   - when an option cannot work ([ErrOption]), and when addr or the name of
//     [WithName] make no sense;
//   - when the room refuses it for good ([RefusedError].Final: a failed
//     authentication, another protocol), or removes it for good (a [Goodbye] whose
//     End is Final: a kick, or another client with its token);
//   - when it receives what it would have to reject again after coming back: a
//     message above its own [WithMaxMessage], or malformed bytes after the welcome;
//   - when five attempts in a row find what is no room. Once it was welcomed at addr
//     it goes on trying: then it is a proxy that answers while its backend is away;
//   - when one end does not trust the other's certificate or speaks another version
//     of TLS.
//
// With [Addresses] the last two, and an addr that makes no sense, must be so of each.
//
// All else is tried again, as [WithBackoff] says.
//
// Receive and Err return such an end at once. When the client has rejected what it
// received it then tells a room with sessions that it leaves, which takes about half a
// second at most, less if ctx ends, and is not reported if it fails.
//
// [WithResume] makes it continue the stream of an earlier client at its first
// attempt. Two clients must not have one token: the later takes the member from
// the other, which ends with [ErrTakenOver].
func NewClient(ctx context.Context, addr string, opts ...DialOption) *Client {
	c := &Client{addr: addr, opts: newDialConfig(opts), done: make(chan struct{}), lost: errNoneYet}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	if r := c.opts.resume; r != nil {
		c.resume, c.received = *r, r.Seq
	}
	c.startRooms()
	if c.opts.onEvent != nil {
		c.events = c.opts.newEventLoop(c.fail, func() string { return c.opts.name }, c.address)
		go c.deliverEvents()
	}
	go c.run()
	return c
}

// address returns where c is connected, or last tried to be.
func (c *Client) address() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

// fail ends c because of cause, soon.
func (c *Client) fail(cause error) { c.cancel(endError(cause)) }

// deliverEvents hands each event to OnEvent. It ends when c has ended.
func (c *Client) deliverEvents() {
	defer close(c.events.done)
	for {
		ev, err := c.receive(context.Background())
		if err != nil || !c.events.call(ev) {
			return
		}
	}
}

// Send sends body to the room. It returns when the client has taken it, which
// keeps nothing of body, and does not wait until the room has. It blocks while
// more than 1 MiB waits to be sent or acknowledged, until ctx ends, or to no end:
// acknowledgements come between the events, which must be read. While there
// is no connection it does what [WithOffline] says.
//
// With an error the room does not get body. Errors are [ErrFrameTooLarge],
// [ErrUnframeable], [ErrOffline], the cause of ctx, one that says that too many events
// wait to be received, or what Err returns once c has ended, which is [net.ErrClosed]
// after Close.
func (c *Client) Send(ctx context.Context, body []byte) error {
	_, err := c.put(ctx, "", body, false)
	return err
}

// SendAcked is Send that waits until the room has taken body, over however
// many connections, and returns its seq; 0 if an [OnMessage] hook posted nothing for
// it, or the room does not know the seq any more, as when the client has left it since.
// An error that wraps [ErrUncertain] says that the room may have taken body, or may
// still do so; with others it does not get it. In a room that does not acknowledge it
// is one that wraps [errors.ErrUnsupported].
func (c *Client) SendAcked(ctx context.Context, body []byte) (seq uint64, err error) {
	return c.sendAcked(ctx, "", body)
}

func (c *Client) sendAcked(ctx context.Context, room string, body []byte) (seq uint64, err error) {
	m, err := c.put(ctx, room, body, true)
	if err != nil {
		return 0, err
	}
	err = c.await(ctx, func() (bool, error) {
		if _, over, _ := m.Outcome(); !over {
			return false, c.stuckLocked()
		}
		return true, nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq, over, err := m.Outcome(); over {
		return seq, err
	}
	if c.out.Withdraw(m) {
		c.changeLocked()
		return 0, err
	}
	return 0, fmt.Errorf("%w: %w", ErrUncertain, err)
}

// Receive returns the next event. It blocks until there is one or ctx ends, whose cause
// it then returns. When the client has ended and its last event was received, it
// returns what Err does. With [OnEvent] it returns an error that wraps
// [errors.ErrUnsupported].
func (c *Client) Receive(ctx context.Context) (Event, error) {
	if c.events != nil {
		return Event{}, errReceive
	}
	return c.receive(ctx)
}

// receive is Receive, also for the loop of OnEvent.
func (c *Client) receive(ctx context.Context) (ev Event, err error) {
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

// Events returns the events that Receive would, until an error, which it yields as
// the last. The loop ends without an error after one's own Close.
func (c *Client) Events(ctx context.Context) iter.Seq2[Event, error] {
	return events(ctx, c.Receive, func(error) bool { return c.closed.Load() })
}

// Err returns why c has ended, or nil while it has not: what is [net.ErrClosed] for
// errors.Is after Close, the cause of its context, a [*RefusedError], an [*EndError], or
// an error that wraps [ErrOption].
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends c. If there is a connection, it first sends what Send has taken, and waits
// for five seconds at most until the room has acknowledged it, if the room does so, or
// until it is handed to the connection. Then it leaves as [Conn.Close] does, which takes
// ten seconds at most. It does not dial again for that. The error says what has not, or
// may not have, reached the room. Events that come meanwhile are dropped; those that wait
// already can be received. It waits for five seconds more at most until [OnEvent] has got
// these, and not if that hook is running: in all this makes 20 seconds at most.
//
// If c has ended already, Close waits until it has left the room: it leaves in the same
// way if its context ended, and within about half a second if it rejected what it
// received. A second Close does nothing, and waits for nothing.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	// Whether it is the hook that calls cannot be known; that hook cannot be waited for.
	awaits := c.events != nil && !c.events.running.Load()
	c.mu.Lock()
	c.changeLocked()
	c.mu.Unlock()

	ctx, stop := context.WithTimeout(c.ctx, lingers)
	c.await(ctx, func() (bool, error) { return !c.online || c.out.Len() == 0, nil })
	stop()
	if c.Err() == nil { // otherwise it is taking leave already, and soon done
		c.cancel(errEnded)
	}
	<-c.done
	if awaits {
		c.events.wait()
	}
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

// changeLocked wakes all that wait.
func (c *Client) changeLocked() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// put takes a message when there is room for it.
func (c *Client) put(ctx context.Context, room string, body []byte, acked bool) (*outbox.Message, error) {
	if err := c.check(room, body); err != nil {
		return nil, err
	}
	m := &outbox.Message{Room: room, Body: bytes.Clone(body), Waits: acked}
	return m, c.await(ctx, func() (bool, error) {
		if ok, err := c.mayPutLocked(m); err != nil {
			return false, err
		} else if !ok {
			return false, c.stuckLocked()
		}
		c.out.Add(m)
		c.changeLocked()
		return true, nil
	})
}

// mayPutLocked reports whether m may be put into the outbox, as things are now.
func (c *Client) mayPutLocked(m *outbox.Message) (bool, error) {
	switch {
	case c.err != nil:
		return false, c.err
	case c.closed.Load():
		return false, net.ErrClosed
	case c.ctx.Err() != nil:
		return false, context.Cause(c.ctx)
	case c.online && m.Waits && !c.acks:
		return false, errNoAcks
	case c.online:
		return c.out.Len() == 0 || c.out.Fits(m, maxOutbox), nil
	case c.opts.offline < 0:
		return false, nil
	case c.opts.offline == 0:
		return false, fmt.Errorf("%w: %w", ErrOffline, c.lost)
	case !c.out.Fits(m, c.opts.offline):
		return false, fmt.Errorf("%w, and the buffer of %d bytes is full: %w", ErrOffline, c.opts.offline, c.lost)
	}
	return true, nil
}

// stuckLocked returns an error if nobody must wait for the room, because the
// goroutine that waits may be the one that should read.
func (c *Client) stuckLocked() error {
	if c.size >= maxUnread {
		return errUnread
	}
	return nil
}

var errNoneYet = errors.New("there was none yet")

var errNoAcks = fmt.Errorf("tcproom: the room does not acknowledge messages: it needs WithSessions, and both ends a codec that has numbers: %w", errors.ErrUnsupported)

// check returns why body cannot be sent, whenever that is.
func (c *Client) check(room string, body []byte) error {
	number := uint64(0)
	if c.opts.features.Numbers {
		number = math.MaxUint64
	}
	_, err := c.opts.encodeMessageTo(room, number, body)
	return err
}

// chargeOf is what an event that waits is charged.
func chargeOf(ev *Event) int {
	n := len(ev.Body) + 256
	if ev.Welcome != nil {
		n += 64 * len(ev.Welcome.Members)
	}
	if ev.List != nil {
		n += 64 * (len(ev.List.Members) + len(ev.List.Rooms))
	}
	return n
}
