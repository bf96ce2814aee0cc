package roomtest

import (
	"fmt"
	"net"
	"sync"
)

// An acceptor is a listener whose connections the server keeps an eye on.
type acceptor struct {
	*Listener
	s         *Server
	accepting chan struct{} // closed when the room begins to accept, or does not
	once      sync.Once
}

func (a *acceptor) accepts() { a.once.Do(func() { close(a.accepting) }) }

// Accept implements net.Listener.
func (a *acceptor) Accept() (net.Conn, error) {
	a.accepts()
	nc, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return a.s.serving(nc.(*Conn), fmt.Sprintf("accepted from %s", nc.RemoteAddr())), nil
}

// A served conn is the room's end of a connection. It knows whether the room
// has closed it, and how much of what came the room has dealt with.
type served struct {
	*Conn
	s   *Server
	who string

	mu      sync.Mutex // guards what follows
	read    int64      // bytes that the room was given
	handled int64      // those that it was given when it last came to read
	closed  bool
	changed chan struct{} // closed when handled or closed changes; nil until somebody waits
}

func (s *Server) serving(nc *Conn, who string) *served {
	c := &served{Conn: nc, s: s, who: who}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served[c] = struct{}{}
	return c
}

// servedFrom returns the room's end of the connection from this address, which
// is a listener's, or nil.
func (s *Server) servedFrom(addr string) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.served {
		if addr != "" && addr != pipeAddr(1).String() && c.RemoteAddr().String() == addr {
			return c
		}
	}
	return nil
}

// Read hands the room what came. The room reads on only when it has dealt with
// all whole messages that it was given before.
func (c *served) Read(b []byte) (int, error) {
	c.mu.Lock()
	if c.handled != c.read {
		c.handled = c.read
		c.changedLocked()
	}
	c.mu.Unlock()
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read += int64(n)
	return n, err
}

// Close implements net.Conn.
func (c *served) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	c.closed = true
	c.changedLocked()
	c.mu.Unlock()
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.served, c)
	return err
}

func (c *served) changedLocked() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// dealtWith reports whether the room has dealt with the first n bytes, or reads
// no more; if not, the channel is closed when to ask again.
func (c *served) dealtWith(n int64) (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.handled >= n {
		return true, nil
	}
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return false, c.changed
}
