package roomtest

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// A Conn is one end of a connection in memory that behaves as TCP does: bytes
// are buffered both ways, one half or both may be closed, or the whole reset,
// and errors are a [*net.OpError] around what a [*net.TCPConn] has there. On top
// of that, each direction can have faults.
//
// [Pipe] and [Network] make them, and [Wrap] makes one of any other net.Conn.
// All methods may be called from many goroutines. Both ends must be used in
// the testing/synctest bubble in which they were made, if they were made in one.
type Conn struct {
	in, out       *pipe // share a lock
	local, remote net.Addr
	splice        *splice // to the conn that is wrapped; nil: none
	noLinger      bool    // guarded by the lock of in and out
}

var _ net.Conn = (*Conn)(nil)

// Pipe returns the two ends of a connection. It has no listener, and addresses
// of its own.
func Pipe() (*Conn, *Conn) {
	return newPair(pipeAddr(1), pipeAddr(2))
}

func pipeAddr(port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }

func newPair(a, b net.Addr) (*Conn, *Conn) {
	ab, ba := newPipes()
	return &Conn{in: ba, out: ab, local: a, remote: b}, &Conn{in: ab, out: ba, local: b, remote: a}
}

// In puts these faults, and no others, in force for what c reads, from now on
// and for what was not read yet. Without any the direction is healthy again.
func (c *Conn) In(fs ...Fault) { c.in.setFaults(fs) }

// Out puts these faults, and no others, in force for what c writes; it is the
// direction that In of the peer means. Without any it is healthy again.
func (c *Conn) Out(fs ...Fault) { c.out.setFaults(fs) }

// Read reads what has arrived, and blocks until something has. It returns
// io.EOF at the end of the stream, and otherwise an error like a TCP conn's: a
// timeout at the deadline, [net.ErrClosed] after Close, and
// [syscall.ECONNRESET] after a reset.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, c.opError("read", c.closedError())
	}
	c.splice.start()
	n, err := c.in.Read(b)
	return n, c.opError("read", err)
}

// Write writes b, which stays the caller's, and blocks until all of it is in the
// buffer. When it fails, the first n bytes are. Beside the errors of Read,
// [syscall.EPIPE] means that the stream was ended, by CloseWrite, or that the peer
// closed its end. Bytes of overlapping calls are not mixed.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.splice.start()
	n, err = c.out.Write(b)
	return n, c.opError("write", err)
}

// CloseWrite ends the stream of what c writes: the peer gets io.EOF when it has
// read that. It does not block. A wrapped conn that has no CloseWrite cannot do that:
// [errors.ErrUnsupported].
func (c *Conn) CloseWrite() error {
	if c.splice != nil && !c.splice.hasHalves() {
		return c.opError("close", errors.ErrUnsupported)
	}
	c.splice.start()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.in.abandoned {
		return c.opError("close", net.ErrClosed)
	}
	if c.out.writeErr != nil {
		return c.opError("close", c.out.writeErr)
	}
	c.out.finish(io.EOF)
	return nil
}

// Close closes both halves. What c wrote still arrives, and then io.EOF; but if
// there are bytes that c did not read, or after SetLinger(0), the connection is
// reset and nothing more arrives, as with TCP. What waits in c ends with
// [net.ErrClosed], as does a second Close. What the peer writes from then on fails.
//
// Close does not block, but see [Wrap] for a wrapped conn.
func (c *Conn) Close() error {
	if err := c.shut(); err != nil {
		return c.opError("close", err)
	}
	if c.splice != nil {
		return c.splice.close()
	}
	return nil
}

// shut is Close without what is wrapped.
func (c *Conn) shut() error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.in.abandoned {
		return net.ErrClosed
	}
	hard := c.noLinger || c.in.unread()
	c.in.abandon()
	c.in.readBy.setTo(time.Time{})
	c.out.writeBy.setTo(time.Time{})
	if hard && !c.out.faults.blackHole { // a black hole keeps it from the peer
		c.in.reset()
	}
	c.out.finish(io.EOF)
	return nil
}

// Reset breaks the connection as if the network had: at both ends Read and
// Write fail with [syscall.ECONNRESET], and what was not read is lost. No fault
// holds it up. Both ends are still to be closed. A wrapped conn is closed, with
// a reset if it has SetLinger.
func (c *Conn) Reset() {
	c.in.mu.Lock()
	c.in.reset()
	c.in.mu.Unlock()
	if c.splice != nil {
		c.splice.start()
		c.splice.resetNC()
	}
}

// SetLinger with 0 makes Close reset the connection. Any other value makes it close
// in good order again; Close never waits.
func (c *Conn) SetLinger(sec int) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.noLinger = sec == 0
	return c.opError("set", c.closedErrorLocked())
}

// SetReadBuffer sets how many bytes the peer may have written and c not read before
// the peer's Write blocks; bytes that [Latency] holds are not counted. The peer's
// SetWriteBuffer sets the same buffer: the last call counts. The default, and what 0
// and negative values mean, is 64 KiB. A smaller buffer keeps what is in it.
func (c *Conn) SetReadBuffer(n int) error {
	c.in.setLimit(n)
	if c.splice != nil {
		if nc, ok := c.splice.nc.(interface{ SetReadBuffer(int) error }); ok {
			return nc.SetReadBuffer(n)
		}
	}
	return c.opError("set", c.closedError())
}

// SetWriteBuffer is SetReadBuffer for what c writes.
func (c *Conn) SetWriteBuffer(n int) error {
	c.out.setLimit(n)
	if c.splice != nil {
		if nc, ok := c.splice.nc.(interface{ SetWriteBuffer(int) error }); ok {
			return nc.SetWriteBuffer(n)
		}
	}
	return c.opError("set", c.closedError())
}

// LocalAddr returns the address of this end. In memory it is a [*net.TCPAddr].
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the peer's end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.in.readBy, &c.out.writeBy)
}

// SetReadDeadline sets when Read, also one that waits already, fails with
// [os.ErrDeadlineExceeded]. After the deadline it fails even if there are bytes to
// read. A zero t is no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.in.readBy) }

// SetWriteDeadline is SetReadDeadline for Write.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.out.writeBy) }

func (c *Conn) setDeadlines(t time.Time, ds ...*deadline) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if err := c.closedErrorLocked(); err != nil {
		return c.opError("set", err)
	}
	for _, d := range ds {
		d.setTo(t)
	}
	return nil
}

func (c *Conn) closedError() error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.closedErrorLocked()
}

func (c *Conn) closedErrorLocked() error {
	if c.in.abandoned {
		return net.ErrClosed
	}
	return nil
}

// opError dresses err as package net does.
func (c *Conn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if _, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, err)
	} else if err != net.ErrClosed && err != os.ErrDeadlineExceeded && err != errors.ErrUnsupported {
		return err // of the conn that is wrapped
	}
	network := "tcp"
	if c.local != nil {
		network = c.local.Network()
	}
	if op == "set" {
		return &net.OpError{Op: op, Net: network, Addr: c.local, Err: err}
	}
	return &net.OpError{Op: op, Net: network, Source: c.local, Addr: c.remote, Err: err}
}
