package roomtest

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
)

// A Listener accepts connections in memory, see [Network.Listen], or the connections
// of another listener, see [WrapListener], and fails on request as listeners do. Its
// methods may be called from many goroutines.
type Listener struct {
	addr   net.Addr
	inner  net.Listener                             // nil: in memory
	forget func()                                   // notifies the network of the close; nil: none
	guard  func(c *Conn, fn func()) (returned bool) // calls the function of OnAccept; nil: call it directly

	mu       sync.Mutex // guards what follows
	changed  sync.Cond
	queue    []*Conn // in memory: not accepted yet; wrapped: held back by FailAccept
	closed   bool
	refusing bool
	failWith error
	failures int // how often Accept is still to return failWith
	onAccept func(*Conn)
}

var _ net.Listener = (*Listener)(nil)

// backlog is how many connections may wait for Accept.
const backlog = 128

func newListener(addr net.Addr) *Listener {
	l := &Listener{addr: addr}
	l.changed.L = &l.mu
	return l
}

// WrapListener returns a Listener that accepts from inner, which belongs to
// it from then on, and returns each conn as a [*Conn] of [Wrap].
func WrapListener(inner net.Listener) *Listener {
	l := newListener(inner.Addr())
	l.inner = inner
	return l
}

// Refuse sets whether connections are refused. In memory Dial then returns
// [syscall.ECONNREFUSED]; a wrapped listener accepts and resets them, if the conn has
// SetLinger, and closes them otherwise. Connections that wait for Accept already are
// not affected.
func (l *Listener) Refuse(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusing = on
	l.changed.Broadcast()
}

func (l *Listener) refuses() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusing || l.closed
}

// FailAccept makes Accept return err, such as [syscall.EMFILE], the next times calls,
// and then work again. Zero and negative values end the failures. Meanwhile
// connections wait, as they do in the kernel. A call that waits already counts: in
// memory it returns at once, and with a wrapped listener when a connection comes,
// which the call after the last failure returns.
func (l *Listener) FailAccept(err error, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failWith, l.failures = err, max(times, 0)
	l.changed.Broadcast()
}

// OnAccept sets a function that is called with each conn before Accept returns it, on
// the goroutine that called Accept or, with a server's listener, on one of its own.
// It can put faults on them: of a connection that is wrapped no byte has been read or
// written then, and of one in memory what its client has sent is on its way. It may
// block, which holds up that call, and call anything. nil is none. If it panics or calls
// runtime.Goexit, as a require in it does, the test of the server fails, and that conn is
// reset.
func (l *Listener) OnAccept(fn func(*Conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onAccept = fn
}

// Accept waits for a connection; it is a [*Conn]. After Close it returns
// [net.ErrClosed].
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, onAccept, err := l.accept()
		if err != nil {
			return nil, err
		}
		if onAccept == nil || l.call(onAccept, c) {
			c.splice.start()
			return c, nil
		}
		closeHard(c)
	}
}

// call calls the function of OnAccept and reports whether it returned.
func (l *Listener) call(onAccept func(*Conn), c *Conn) bool {
	if l.guard != nil {
		return l.guard(c, func() { onAccept(c) })
	}
	onAccept(c)
	return true
}

// accept also returns the function of OnAccept.
func (l *Listener) accept() (*Conn, func(*Conn), error) {
	for {
		if c, fn, err := l.take(l.inner == nil); c != nil || err != nil {
			return c, fn, err
		}
		nc, err := l.inner.Accept()
		if err != nil {
			return nil, nil, err
		}
		l.keep(nc)
	}
}

// take takes the first connection of the queue, waiting if wait is set, or
// returns an error that is due.
func (l *Listener) take(wait bool) (*Conn, func(*Conn), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, nil, l.opError(net.ErrClosed)
		case l.failures > 0:
			l.failures--
			return nil, nil, l.opError(l.failWith)
		case len(l.queue) > 0:
			c := l.queue[0]
			l.queue = l.queue[1:]
			l.changed.Broadcast()
			return c, l.onAccept, nil
		case !wait:
			return nil, nil, nil
		}
		l.changed.Wait()
	}
}

func (l *Listener) opError(err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError("accept", errno)
	}
	return &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: err}
}

// keep queues what the wrapped listener has accepted, or refuses it.
func (l *Listener) keep(nc net.Conn) {
	l.mu.Lock()
	refuse := l.refusing || l.closed
	l.mu.Unlock()
	if refuse {
		resetNC(nc)
		return
	}
	c := wrap(nc)
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.queue = append(l.queue, c)
	}
	l.mu.Unlock()
	if closed {
		closeHard(c)
	}
}

// offer queues far to be accepted.
func (l *Listener) offer(ctx context.Context, far *Conn) error {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case l.closed, l.refusing:
			return os.NewSyscallError("connect", syscall.ECONNREFUSED)
		case len(l.queue) < backlog:
			l.queue = append(l.queue, far)
			l.changed.Broadcast()
			return nil
		}
		l.changed.Wait()
	}
}

// Close ends the listener: what waits in Accept ends with [net.ErrClosed],
// connections that were not accepted are reset, and its address is free. A
// second Close returns net.ErrClosed. Conns that were accepted stay.
func (l *Listener) Close() error {
	l.mu.Lock()
	closed, queue := l.closed, l.queue
	l.closed, l.queue = true, nil
	l.changed.Broadcast()
	l.mu.Unlock()
	if closed {
		return &net.OpError{Op: "close", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
	}
	if l.forget != nil {
		l.forget()
	}
	var err error
	if l.inner != nil {
		err = l.inner.Close()
	}
	for _, c := range queue {
		closeHard(c)
	}
	return err
}

// closeHard closes c so that its peer gets a reset.
func closeHard(c *Conn) {
	c.SetLinger(0)
	c.Close()
}

// Addr returns the address that Dial reaches it at.
func (l *Listener) Addr() net.Addr { return l.addr }
