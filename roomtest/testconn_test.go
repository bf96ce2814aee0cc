package roomtest_test

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/roomtest"
)

// A brokenConn is a net.Conn but for what is set.
type brokenConn struct {
	net.Conn
	read             func(b []byte) (int, error)
	write            func(b []byte) (int, error)
	close            func() error
	setDeadline      func(t time.Time) error
	setReadDeadline  func(t time.Time) error
	setWriteDeadline func(t time.Time) error
	remoteAddr       func() net.Addr
}

func (c *brokenConn) Read(b []byte) (int, error) {
	if c.read != nil {
		return c.read(b)
	}
	return c.Conn.Read(b)
}

func (c *brokenConn) Write(b []byte) (int, error) {
	if c.write != nil {
		return c.write(b)
	}
	return c.Conn.Write(b)
}

func (c *brokenConn) Close() error {
	if c.close != nil {
		return c.close()
	}
	return c.Conn.Close()
}

func (c *brokenConn) SetDeadline(t time.Time) error {
	if c.setDeadline != nil {
		return c.setDeadline(t)
	}
	return c.Conn.SetDeadline(t)
}

func (c *brokenConn) SetReadDeadline(t time.Time) error {
	if c.setReadDeadline != nil {
		return c.setReadDeadline(t)
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *brokenConn) SetWriteDeadline(t time.Time) error {
	if c.setWriteDeadline != nil {
		return c.setWriteDeadline(t)
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *brokenConn) RemoteAddr() net.Addr {
	if c.remoteAddr != nil {
		return c.remoteAddr()
	}
	return c.Conn.RemoteAddr()
}

// A halfConn has a CloseWrite.
type halfConn struct {
	*brokenConn
	closeWrite func() error
}

func (c halfConn) CloseWrite() error { return c.closeWrite() }

func nothing(time.Time) error { return nil }

// A connViolation is a net.Conn that breaks a rule of TestConn.
type connViolation struct {
	name  string
	spoil func(c *brokenConn, release <-chan struct{}) net.Conn
	law   string
	want  string // of what shows it
}

// requireConnViolations checks that TestConn finds each violation. release of spoil
// is closed after that.
func requireConnViolations(t *testing.T, violations []connViolation) {
	t.Helper()
	for _, tt := range violations {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				var inner []net.Conn
				defer func() {
					close(release)
					for _, nc := range inner {
						nc.Close()
					}
				}()
				err := roomtest.TestConn(func() (net.Conn, net.Conn, error) {
					a, b := net.Pipe()
					inner = append(inner, a, b)
					return tt.spoil(&brokenConn{Conn: a}, release), tt.spoil(&brokenConn{Conn: b}, release), nil
				})
				what := "conn *roomtest_test.brokenConn"
				if tt.law == "CloseWrite" {
					what = "conn roomtest_test.halfConn"
				}
				requireLaw(t, err, what, tt.law, tt.want)
			})
		})
	}
}

func TestConnViolationsOfReadAndWrite(t *testing.T) {
	requireConnViolations(t, []connViolation{
		{name: "changes a byte", law: "bytes", want: "Read returned", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.read = func(b []byte) (int, error) {
				n, err := c.Conn.Read(b)
				if n > 3 {
					b[n-1] ^= 1
				}
				return n, err
			}
			return c
		}},
		{name: "writes less without an error", law: "bytes", want: "and the error <nil>", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.write = func(b []byte) (int, error) { return c.Conn.Write(b[:(len(b)+1)/2]) }
			return c
		}},
		{name: "masks what it writes in place", law: "Write keeps nothing", want: "Write changed", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.write = func(b []byte) (int, error) {
				for i := range b {
					b[i] ^= 1
				}
				return c.Conn.Write(b)
			}
			return c
		}},
		{name: "waits for a full buffer", law: "Read returns what is there", want: "Read has not returned for 8s into 65536 bytes, where 1 was written", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.read = func(b []byte) (int, error) { return io.ReadFull(c.Conn, b) }
			return c
		}},
		{name: "reads nothing and says nothing", law: "Read returns what is there", want: "returned 0 and the error <nil>", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			var reads int
			var mu sync.Mutex
			c.read = func(b []byte) (int, error) {
				mu.Lock()
				reads++
				empty := reads%5 == 0
				mu.Unlock()
				if empty {
					return 0, nil
				}
				return c.Conn.Read(b)
			}
			return c
		}},
		{name: "no end", law: "end of the stream", want: `unexpected EOF`, spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.read = func(b []byte) (int, error) {
				n, err := c.Conn.Read(b)
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return n, err
			}
			return c
		}},
		{name: "a second Read waits for ever", law: "concurrent use", want: "Read has not returned for 8s after Close of both ends", spoil: func(c *brokenConn, release <-chan struct{}) net.Conn {
			turn := make(chan struct{}, 1)
			c.read = func(b []byte) (int, error) {
				select {
				case turn <- struct{}{}:
				case <-release:
				}
				n, err := c.Conn.Read(b)
				if !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, io.EOF) {
					<-turn
				}
				return n, err
			}
			return c
		}},
	})
}

func TestConnViolationsOfClose(t *testing.T) {
	requireConnViolations(t, []connViolation{
		{name: "Close does not unblock Read", law: "Close unblocks Read", want: "a.Read has not returned for 8s after a.Close", spoil: func(c *brokenConn, release <-chan struct{}) net.Conn {
			c.read = func(b []byte) (int, error) {
				n, err := c.Conn.Read(b)
				if errors.Is(err, io.ErrClosedPipe) {
					<-release
				}
				return n, err
			}
			return c
		}},
		{name: "Close waits for Read", law: "Close unblocks Read", want: "a.Close has not returned for 8s while a.Read was blocked", spoil: func(c *brokenConn, release <-chan struct{}) net.Conn {
			lock := make(chan struct{}, 1)
			c.read = func(b []byte) (int, error) {
				lock <- struct{}{}
				defer func() { <-lock }()
				return c.Conn.Read(b)
			}
			c.close = func() error {
				select {
				case lock <- struct{}{}:
					defer func() { <-lock }()
				case <-release:
				}
				return c.Conn.Close()
			}
			return c
		}},
		{name: "Close waits for Write", law: "Close unblocks Write", want: "a.Close has not returned for 8s while a.Write was blocked", spoil: func(c *brokenConn, release <-chan struct{}) net.Conn {
			lock := make(chan struct{}, 1)
			c.write = func(b []byte) (int, error) {
				lock <- struct{}{}
				defer func() { <-lock }()
				return c.Conn.Write(b)
			}
			c.close = func() error {
				select {
				case lock <- struct{}{}:
					defer func() { <-lock }()
				case <-release:
				}
				return c.Conn.Close()
			}
			return c
		}},
		{name: "Write ends without an error", law: "Close unblocks Write", want: "returned no error after a.Close", spoil: swallowsWriteErrors},
		{name: "writes to nobody", law: "Write to a closed peer", want: "200 calls of a.Write", spoil: swallowsWriteErrors},
		{name: "Write after Close", law: "after Close", want: "no error after a.Close", spoil: swallowsWriteErrors},
		{name: "Read after Close", law: "after Close", want: "a.Read has not returned", spoil: func(c *brokenConn, release <-chan struct{}) net.Conn {
			c.read = func(b []byte) (int, error) {
				n, err := c.Conn.Read(b)
				if errors.Is(err, io.ErrClosedPipe) {
					<-release
				}
				return n, err
			}
			return c
		}},
		{name: "closes a channel twice", law: "no panic", want: "Close panicked: close of closed channel", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			done := make(chan struct{})
			c.close = func() error { close(done); return c.Conn.Close() }
			return c
		}},
		{name: "second Close waits", law: "Close again", want: "Close has not returned", spoil: func(c *brokenConn, release <-chan struct{}) net.Conn {
			first := make(chan struct{}, 1)
			c.close = func() error {
				select {
				case first <- struct{}{}:
				case <-release:
				}
				return c.Conn.Close()
			}
			return c
		}},
		{name: "CloseWrite is Close", law: "CloseWrite", want: "answer", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			return halfConn{c, c.Close}
		}},
		{name: "CloseWrite is not supported", law: "CloseWrite", want: "a conn that cannot close one half needs no such method", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			return halfConn{c, func() error { return errors.ErrUnsupported }}
		}},
		{name: "CloseWrite does nothing", law: "CloseWrite", want: "has not returned for 8s after a.CloseWrite", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			return halfConn{c, func() error { return nil }}
		}},
	})
}

func TestConnViolationsOfReadDeadlines(t *testing.T) {
	requireConnViolations(t, []connViolation{
		{name: "no read deadline", law: "read deadline", want: "a.Read has not returned for 8s after a deadline in the past was set", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.setReadDeadline = nothing
			return c
		}},
		{name: "read deadlines are not supported", law: "read deadline", want: `SetReadDeadline returned the error "file type does not support deadline"`, spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.setReadDeadline = func(time.Time) error { return os.ErrNoDeadline }
			return c
		}},
		{name: "another error at the deadline", law: "read deadline", want: `returned 0 and the error took too long`, spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.read = func(b []byte) (int, error) {
				n, err := c.Conn.Read(b)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					err = errors.New("took too long")
				}
				return n, err
			}
			return c
		}},
		{name: "read deadline too soon", law: "read deadline", want: "after its deadline was set to 60ms", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.setReadDeadline = func(t time.Time) error {
				if !t.IsZero() {
					t = t.Add(-30 * time.Millisecond)
				}
				return c.Conn.SetReadDeadline(t)
			}
			return c
		}},
		{name: "read deadline only for the next Read", law: "read deadline", want: "after its deadline was set to the past while it was blocked", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			var mu sync.Mutex
			var at time.Time
			c.setReadDeadline = func(t time.Time) error {
				mu.Lock()
				defer mu.Unlock()
				at = t
				return nil
			}
			c.read = func(b []byte) (int, error) {
				mu.Lock()
				c.Conn.SetReadDeadline(at)
				mu.Unlock()
				return c.Conn.Read(b)
			}
			return c
		}},
	})
}

func TestConnViolationsOfDeadlines(t *testing.T) {
	requireConnViolations(t, []connViolation{
		{name: "no write deadline", law: "write deadline", want: "a.Write has not returned for 8s after a deadline in the past was set", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.setWriteDeadline = nothing
			return c
		}},
		{name: "write deadline only for the next Write", law: "write deadline", want: "while it was blocked", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			var mu sync.Mutex
			var at time.Time
			c.setWriteDeadline = func(t time.Time) error {
				mu.Lock()
				defer mu.Unlock()
				at = t
				return nil
			}
			c.write = func(b []byte) (int, error) {
				mu.Lock()
				c.Conn.SetWriteDeadline(at)
				mu.Unlock()
				return c.Conn.Write(b)
			}
			return c
		}},
		{name: "a deadline stays", law: "deadline cleared", want: "after a read deadline was set, cleared", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.setReadDeadline = func(t time.Time) error {
				if t.IsZero() {
					return nil
				}
				return c.Conn.SetReadDeadline(t)
			}
			c.setReadDeadline = staysUnlessPast(c.setReadDeadline, c.Conn.SetReadDeadline)
			return c
		}},
		{name: "a write deadline stays", law: "deadline cleared", want: "after a write deadline was set, cleared", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.setWriteDeadline = func(t time.Time) error {
				if t.IsZero() {
					return nil
				}
				return c.Conn.SetWriteDeadline(t)
			}
			return c
		}},
		{name: "a Read that timed out goes on", law: "deadline loses nothing", want: "after a Read had timed out", spoil: readsBehindTheDeadline},
		{name: "one deadline for both", law: "deadlines apart", want: "while the other direction's deadline had passed", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.setReadDeadline = c.Conn.SetDeadline
			return c
		}},
		{name: "SetDeadline is for Read", law: "deadlines apart", want: "a.Write has not returned for 8s after SetDeadline to the past", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.setDeadline = func(t time.Time) error {
				c.Conn.SetWriteDeadline(time.Time{})
				return c.Conn.SetReadDeadline(t)
			}
			return c
		}},
	})
}

func TestConnViolationsOfAddresses(t *testing.T) {
	requireConnViolations(t, []connViolation{
		{name: "no address", law: "no panic", want: "RemoteAddr or LocalAddr panicked: runtime error: invalid memory address", spoil: func(c *brokenConn, _ <-chan struct{}) net.Conn {
			c.remoteAddr = func() net.Addr { var none *net.TCPAddr; _ = none.IP; return none }
			return c
		}},
		{name: "no address after Close", law: "addresses", want: "RemoteAddr or LocalAddr has not returned for 8s after Close", spoil: func(c *brokenConn, release <-chan struct{}) net.Conn {
			closed := make(chan struct{})
			var once sync.Once
			c.close = func() error { once.Do(func() { close(closed) }); return c.Conn.Close() }
			c.remoteAddr = func() net.Addr {
				select {
				case <-closed:
					<-release
				default:
				}
				return nil
			}
			return c
		}},
	})
}

func swallowsWriteErrors(c *brokenConn, _ <-chan struct{}) net.Conn {
	c.write = func(b []byte) (int, error) {
		n, err := c.Conn.Write(b)
		if errors.Is(err, io.ErrClosedPipe) {
			return len(b), nil
		}
		return n, err
	}
	return c
}

// staysUnlessPast clears deadlines in the past only.
func staysUnlessPast(stays, real func(time.Time) error) func(time.Time) error {
	var mu sync.Mutex
	var last time.Time
	return func(t time.Time) error {
		mu.Lock()
		defer mu.Unlock()
		if t.IsZero() && !last.After(time.Now()) {
			return real(t)
		}
		last = t
		return stays(t)
	}
}

// readsBehindTheDeadline makes deadlines as many do: a Read that has timed
// out goes on behind the caller's back, and eats what comes.
func readsBehindTheDeadline(c *brokenConn, _ <-chan struct{}) net.Conn {
	type result struct {
		b   []byte
		err error
	}
	var mu sync.Mutex
	var at time.Time
	changed := make(chan struct{})
	c.setReadDeadline = func(t time.Time) error {
		mu.Lock()
		defer mu.Unlock()
		at = t
		close(changed)
		changed = make(chan struct{})
		return nil
	}
	c.read = func(b []byte) (int, error) {
		ch := make(chan result, 1)
		go func() {
			own := make([]byte, len(b))
			n, err := c.Conn.Read(own)
			ch <- result{own[:n], err}
		}()
		for {
			mu.Lock()
			deadline, wake := at, changed
			mu.Unlock()
			var expired <-chan time.Time
			if !deadline.IsZero() {
				expired = time.After(time.Until(deadline))
			}
			select {
			case r := <-ch:
				return copy(b, r.b), r.err
			case <-expired:
				return 0, os.ErrDeadlineExceeded
			case <-wake:
			}
		}
	}
	return c
}

func TestConnKeepsWhatItWrites(t *testing.T) {
	if raceEnabled {
		t.Skip("the conn is a data race")
	}
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		err := roomtest.TestConn(func() (net.Conn, net.Conn, error) {
			a, b := net.Pipe()
			return writesLater(a), writesLater(b), nil
		})
		requireLaw(t, err, "conn *roomtest_test.brokenConn", "Write keeps nothing", "Read returned")
	})
}

// writesLater queues what it is given, without a copy.
func writesLater(nc net.Conn) net.Conn {
	c := &brokenConn{Conn: nc}
	queue, done := make(chan []byte, 1000), make(chan struct{})
	var once sync.Once
	c.close = func() error { once.Do(func() { close(done) }); return nc.Close() }
	c.write = func(b []byte) (int, error) {
		select {
		case queue <- b:
			return len(b), nil
		case <-done:
			return 0, net.ErrClosed
		}
	}
	go func() {
		for {
			select {
			case b := <-queue:
				nc.Write(b)
			case <-done:
				return
			}
		}
	}()
	return c
}

func TestConnThatCannotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := errors.New("no")
		err := roomtest.TestConn(func() (net.Conn, net.Conn, error) { return nil, nil, no })
		require.ErrorIs(t, err, no)
		require.EqualError(t, err, "roomtest: conn: mk: no")
		err = roomtest.TestConn(func() (net.Conn, net.Conn, error) { return nil, nil, nil })
		require.EqualError(t, err, "roomtest: conn: mk returned a nil net.Conn and no error")
		release := make(chan struct{})
		defer close(release)
		err = roomtest.TestConn(func() (net.Conn, net.Conn, error) { <-release; return nil, nil, no })
		require.ErrorContains(t, err, "mk() has not returned for 8s")
		made := 0
		err = roomtest.TestConn(func() (net.Conn, net.Conn, error) {
			if made++; made > 3 {
				panic("no more")
			}
			a, b := net.Pipe()
			return a, b, nil
		})
		require.ErrorContains(t, err, "mk() panicked: no more")
	})
}

// In a bubble it costs no time, and leaves no goroutine.
func TestConnInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.NoError(t, roomtest.TestConn(func() (net.Conn, net.Conn, error) {
			a, b := net.Pipe()
			return a, b, nil
		}))
	})
}
