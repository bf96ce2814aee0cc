package fake

import (
	"net"
	"sync"
	"time"
)

// A port is the listener of a fake for all its lives. A connection that one life does not
// accept any more is accepted by the next one.
type port struct {
	l     net.Listener
	conns chan net.Conn
	done  chan struct{} // closed by Close
	once  sync.Once
}

// newPort makes l, which it closes, a port.
func newPort(l net.Listener) *port {
	p := &port{l: l, conns: make(chan net.Conn), done: make(chan struct{})}
	go p.accept()
	return p
}

// accept hands connections out, until the port is closed.
func (p *port) accept() {
	for {
		nc, err := p.l.Accept()
		if err != nil {
			// Too many descriptors, for example: that may pass.
			again := time.NewTimer(10 * time.Millisecond)
			select {
			case <-p.done:
				again.Stop()
				return
			case <-again.C:
			}
			continue
		}
		select {
		case p.conns <- nc:
		case <-p.done:
			nc.Close()
		}
	}
}

// Close ends the port and what waits in it.
func (p *port) Close() {
	p.once.Do(func() {
		close(p.done)
		p.l.Close()
	})
}

// listen returns a listener for one life.
func (p *port) listen() net.Listener { return &turnListener{port: p, closed: make(chan struct{})} }

// A turnListener accepts from a port until it is closed.
type turnListener struct {
	port   *port
	once   sync.Once
	closed chan struct{}
}

func (l *turnListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case nc := <-l.port.conns:
		return nc, nil
	case <-l.closed:
	case <-l.port.done:
	}
	return nil, net.ErrClosed
}

func (l *turnListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *turnListener) Addr() net.Addr { return l.port.l.Addr() }
