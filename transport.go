package tcproom

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"example.com/tcproom/internal/fanout"
	"example.com/tcproom/internal/lockorder"
	"example.com/tcproom/internal/sock"
)

// A transport is a connection as both of its ends use it: a source of bytes that
// are split into frames, a sink for frames, and one cause for its end. A [link]
// and a [Conn] embed it.
type transport struct {
	cfg   *limits
	nc    net.Conn
	group *fanout.Group
	src   *sock.Source // its reader's; set and taken away with mu held, for others to look at
	sink  *fanout.Sink

	mu      lockorder.Mutex // guards what follows; never held during I/O, deadlines aside
	ending  *ending         // why it ended, once it has
	ctx     *endContext
	dropped chan struct{} // made by the goroutine that closes nc; closed when that is done
	expired bool          // the read deadline has passed on purpose, and stays
	aborted bool          // cut: nothing more is to be written

	// The reader's own.
	beats   bool     // heartbeats are agreed on, and this end may begin with them
	silence *silence // nil until it needs one
}

// An ending is why a connection or a member has ended.
type ending struct {
	cause error
	code  Cause
}

// err returns the cause, nil if there is none.
func (e *ending) err() error {
	if e == nil {
		return nil
	}
	return e.cause
}

// An endContext is a Context that is done at an end. Few are asked for theirs.
type endContext struct {
	context.Context
	cancel context.CancelCauseFunc
}

func newEndContext(parent context.Context) *endContext {
	ctx, cancel := context.WithCancelCause(parent)
	return &endContext{ctx, cancel}
}

// connect makes the two halves of t, over nc as it is now.
func (t *transport) connect(owner fanout.Owner) {
	src, sink := sock.NewSource(t.nc), t.group.NewSink(t.nc, owner, max(t.cfg.writeTimeout, 0))
	t.mu.Lock()
	t.src, t.sink = src, sink
	aborted := t.aborted
	t.mu.Unlock()
	if aborted {
		sink.Close()
	}
}

// Context returns a context that is done when the connection has ended, with the
// cause of the end as its [context.Cause].
func (t *transport) Context() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil {
		t.ctx = newEndContext(context.Background())
		if t.ending != nil {
			t.ctx.cancel(t.ending.cause)
		}
	}
	return t.ctx.Context
}

// Err returns why the connection has ended, or nil while it has not.
func (t *transport) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ending.err()
}

// setCause notes why t ends. The first cause counts.
func (t *transport) setCause(cause error) bool {
	if t.Err() != nil {
		return false
	}
	code := causeOf(cause) // a hook's error has methods of its own: no lock is held
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending != nil {
		return false
	}
	t.ending = &ending{cause, code}
	return true
}

// ended returns the code of the cause; empty while there is none.
func (t *transport) ended() Cause {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending == nil {
		return ""
	}
	return t.ending.code
}

// unblock wakes what waits for t, which has a cause: its reader, its context
// and all that want to send. It returns the source that may be in a Lookout.
func (t *transport) unblock() *sock.Source {
	t.mu.Lock()
	if t.ctx != nil {
		t.ctx.cancel(t.ending.err())
	}
	t.nc.SetReadDeadline(past)
	src := t.src
	t.mu.Unlock()
	t.group.Wake()
	return src
}

// past is a deadline that has expired.
var past = time.Unix(1, 0)

// setReadDeadline sets until when the reader waits, unless t has ended or is
// interrupted.
func (t *transport) setReadDeadline(until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending == nil && !t.expired {
		t.nc.SetReadDeadline(until)
	}
}

// interrupted reports whether the reader was to stop waiting for another
// reason than the time.
func (t *transport) interrupted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ending != nil || t.expired
}

// sinkCause makes of a sink's error the cause of the end; nil if it was closed.
func sinkCause(err error) error {
	switch {
	case errors.Is(err, fanout.ErrClosed):
		return nil
	case errors.Is(err, fanout.ErrWriteTimeout):
		return errWriteTimeout
	case errors.Is(err, fanout.ErrOverrun):
		return ErrSlow
	case errors.Is(err, ErrUnframeable):
		return err
	}
	return fmt.Errorf("%w: %w", errReset, err)
}

// readCause makes of a reader's error the cause of the end.
func (t *transport) readCause(err error, otherwise error) error {
	if cause := t.Err(); cause != nil {
		return cause
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return otherwise
	case errors.Is(err, io.EOF):
		if len(t.src.Held()) > 0 {
			return errCutOff
		}
		return errLeft
	case errors.Is(err, io.ErrUnexpectedEOF): // TLS without close_notify
		return errCutOff
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return errEnded
	}
	return fmt.Errorf("%w: %w", errReset, err)
}

// split finds the first frame in what has been read. n is 0 if there is none yet.
func (t *transport) split(data []byte, limit int) (n int, frame []byte, err error) {
	if len(data) == 0 {
		return 0, nil, nil
	}
	n, frame, err = t.cfg.framing.SplitFrame(data, limit)
	if err != nil {
		return 0, nil, badInput(fmt.Errorf("tcproom: read frame: %w", err))
	}
	if n < 0 || n > len(data) {
		return 0, nil, fmt.Errorf("%w: framing %T returned a frame of %d bytes out of %d", ErrMalformed, t.cfg.framing, n, len(data))
	}
	return n, frame[:len(frame):len(frame)], nil
}

// badInput makes of a Framing's or Codec's error a cause of the closed set.
func badInput(err error) error {
	if errors.Is(err, ErrMalformed) || errors.Is(err, ErrFrameTooLarge) || errors.Is(err, ErrWrongDoor) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// shakeTLS negotiates TLS until ctx ends, and returns the error of that.
func shakeTLS(ctx context.Context, tc tlsConn) error {
	err := tc.HandshakeContext(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// closeWrite closes the sending half, if the transport has one.
func (t *transport) closeWrite() bool {
	nc, ok := t.nc.(interface{ CloseWrite() error })
	return ok && nc.CloseWrite() == nil
}

// abort cuts t, which has ended: nothing more is written, and the connection
// is closed without waiting. Its own goroutine does the rest.
func (t *transport) abort() {
	t.mu.Lock()
	t.aborted = true
	sink := t.sink
	t.mu.Unlock()
	if sink != nil {
		sink.Close()
	}
	switch beneath(t.nc).(type) {
	case *net.TCPConn, *net.UnixConn:
		t.reset()
	default:
		go t.reset() // the user's Close; t's own goroutine waits for it
	}
}

// beneath returns what a TLS connection runs over: its own Close may wait to
// say so to the peer.
func beneath(nc net.Conn) net.Conn {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	if door, ok := nc.(*tlsDoor); ok {
		return door.Conn
	}
	return nc
}

// drop closes the transport. All callers return when that is done.
func (t *transport) drop() {
	t.dropOnce(func() { t.nc.Close() })
}

// reset closes the transport so that the kernel keeps nothing of it.
func (t *transport) reset() {
	t.dropOnce(func() {
		nc := beneath(t.nc)
		if l, ok := nc.(interface{ SetLinger(sec int) error }); ok {
			l.SetLinger(0)
		}
		nc.Close()
	})
}

// dropOnce closes the transport by the function of the first call. It is no
// sync.Once, under whose lock a user's Close would run.
func (t *transport) dropOnce(closeIt func()) {
	t.mu.Lock()
	first := t.dropped == nil
	if first {
		t.dropped = make(chan struct{})
	}
	dropped := t.dropped
	t.mu.Unlock()
	if !first {
		<-dropped
		return
	}
	defer close(dropped)
	closeIt()
}

// prepareSocket sets the sizes of the kernel's buffers.
func prepareSocket(nc net.Conn, cfg *limits) {
	type buffers interface {
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	}
	if nc, ok := beneath(nc).(buffers); ok {
		if cfg.readBuffer > 0 {
			nc.SetReadBuffer(cfg.readBuffer)
		}
		if cfg.writeBuffer > 0 {
			nc.SetWriteBuffer(cfg.writeBuffer)
		}
	}
}

const (
	// quiet is how long an ending connection may go without taking a byte, unless
	// WithPatience says something else.
	quiet = 500 * time.Millisecond
	// lingers bounds the end of a connection whose room goes on.
	lingers = 5 * time.Second
	// glance is how often an ending connection is looked at.
	glance = 100 * time.Millisecond
)

// A tide tells whether a connection still moves: it is over when nothing has
// changed for as long as the patience with it lasts, or all of limit is used up.
//
// A peer that reads looks no different from one that is dead as long as its
// window is closed. It opens the window when it has freed a good part of its
// buffer: its kernel answers either way, so TCP_INFO tells no more than the send
// queue.
type tide struct {
	t             *transport
	missed        func() uint64 // events that the peer has not been sent; nil: none
	patience      patience
	limit         time.Duration
	started, seen time.Time
	still         time.Duration
	mark          [3]int64
}

func (t *transport) newTide(missed func() uint64, p patience, limit time.Duration) *tide {
	now := time.Now()
	td := &tide{t: t, missed: missed, patience: p, limit: limit, started: now, seen: now}
	td.mark = td.now()
	return td
}

func (td *tide) over() bool { return td.look(time.Now(), td.now()) }

// look notes how the connection is now, and reports whether it is over. What went
// by since the last look counts as no more than one glance: while this process did
// not run, the peer cannot have moved as far as the process knows.
func (td *tide) look(now time.Time, mark [3]int64) bool {
	td.still += min(now.Sub(td.seen), glance)
	td.seen = now
	if mark != td.mark {
		td.mark, td.still = mark, 0
	}
	return td.still >= td.patience() || td.limit > 0 && now.Sub(td.started) >= td.limit
}

// now returns a mark that is different when the connection has moved.
func (td *tide) now() [3]int64 {
	unsent, _ := sock.Unsent(td.t.nc)
	mark := [3]int64{td.t.sink.Written(), int64(unsent), 0}
	if td.missed != nil {
		mark[2] = int64(td.missed())
	}
	return mark
}

// drain waits until everything is written and reports whether it was. It gives
// up when the tide is over.
func (t *transport) drain(missed func() uint64, p patience, limit time.Duration) bool {
	done := t.sink.Finish()
	select {
	case <-done:
		return t.sink.Err() == nil
	default:
	}
	td := t.newTide(missed, p, limit)
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return t.sink.Err() == nil
		case <-tick.C:
			if td.over() {
				return false
			}
		}
	}
}

// discard reads away until the peer closes too, so that the close that follows
// does not destroy what is on its way. It gives up as drain does.
func (t *transport) discard(p patience, limit time.Duration) {
	td := t.newTide(nil, p, limit)
	for {
		t.nc.SetReadDeadline(time.Now().Add(glance))
		_, err := t.src.Read(len(t.src.Held()) + 4<<10)
		t.src.Consume(len(t.src.Held()))
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || td.over() {
			return
		}
	}
}

// A patience says how long an ending connection may go without progress, as things
// are now: a later Shutdown may have more of it.
type patience func() time.Duration

// always is a patience that does not change.
func always(d time.Duration) patience { return func() time.Duration { return d } }
