package roomtest

import (
	"fmt"
	"net"
	"sync"
	"time"

	"example.com/tcproom"
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
// reads from it or has closed it, and how much of what came the room has dealt with.
type served struct {
	*Conn
	s   *Server
	who string

	mu      sync.Mutex // guards what follows
	read    int64      // bytes that the room was given
	handled int64      // bytes that it had been given when it last came to read, and had dealt with
	reading bool       // it has come to read
	waiting bool       // it waits for bytes
	ahead   bool       // it has read what is on its way to its log
	closed  bool
	changed chan struct{} // closed when handled, reading or closed changes; nil while nothing waits
}

func (s *Server) serving(nc *Conn, who string) *served {
	c := &served{Conn: nc, s: s, who: who}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served[c] = struct{}{}
	s.latest[nc.RemoteAddr().String()] = c
	if s.arrival != nil {
		close(s.arrival)
		s.arrival = nil
	}
	return c
}

// servedFrom returns the room's end of the latest connection from this address,
// one that a listener accepted, or nil. The channel is closed with the next.
func (s *Server) servedFrom(addr string) (*served, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.arrival == nil {
		s.arrival = make(chan struct{})
	}
	if addr == pipeAddr(1).String() { // all members of Join have it
		return nil, s.arrival
	}
	return s.latest[addr], s.arrival
}

// awaitLetIn waits until the room has let the client in, waits for it to send before
// that, or has closed the connection.
func (s *Server) awaitLetIn(cl *client, l *Listener) error {
	if l == nil || cl.local == "" || cl.conn.ID() != "" {
		return nil // it went somewhere else, or by a dialler of the test's; or is welcomed
	}
	patience := s.patience()
	t := time.NewTimer(patience)
	defer t.Stop()
	for {
		there, changed := s.servedFrom(cl.local)
		switch {
		case there == nil && l.refuses():
			return nil
		case there != nil:
			var settled bool
			if settled, changed = there.settled(); settled || s.memberFrom(cl.local) != nil {
				return nil
			}
		}
		select {
		case <-changed:
		case <-t.C:
			return fmt.Errorf("the room has not let it in within %v: is a hook busy?", patience)
		}
	}
}

// memberFrom returns the member from this address, or nil.
func (s *Server) memberFrom(addr string) *tcproom.Member {
	for m := range s.Room.Members() {
		if a := m.RemoteAddr(); a != nil && a.String() == addr {
			return m
		}
	}
	return nil
}

// Read hands the room what came. The room reads on only when it has dealt with
// all whole messages that it was given before, or says that they are on their way.
func (c *served) Read(b []byte) (int, error) {
	c.mu.Lock()
	c.waiting = true
	c.noteLocked()
	c.mu.Unlock()
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	c.read += int64(n)
	return n, err
}

// Ahead implements probe.Ahead.
func (c *served) Ahead(is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = is
	c.noteLocked()
}

// noteLocked notes what the room has dealt with, if it waits for more.
func (c *served) noteLocked() {
	if !c.waiting {
		return
	}
	handled := c.read
	if c.ahead {
		handled = c.handled
	}
	if c.handled != handled || !c.reading {
		c.handled, c.reading = handled, true
		c.changedLocked()
	}
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
	return false, c.changedWhenLocked()
}

// settled reports whether the room waits for the first byte, as it does from a
// member, or in a WithHandshake hook that talks with the client, or reads no more; if
// not, the channel is closed when to ask again. With TLS it reads more before.
func (c *served) settled() (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.reading && c.read == 0 {
		return true, nil
	}
	return false, c.changedWhenLocked()
}

func (c *served) changedWhenLocked() <-chan struct{} {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}
