//go:build unix

package outside

import (
	"net"
	"sync"
	"testing"
)

// A forwarder is between a node and the server, and can be cut: then it accepts nothing,
// and what it has is lost. Or it can be stopped: then nothing passes, and nobody is told.
type forwarder struct {
	addr, to string

	mu    sync.Mutex // guards what follows
	l     net.Listener
	conns map[net.Conn]bool
	pass  chan struct{} // closed while bytes pass
}

func newForwarder(t testing.TB, to string) *forwarder {
	t.Helper()
	f := &forwarder{addr: freeAddr(t), to: to, conns: make(map[net.Conn]bool), pass: make(chan struct{})}
	close(f.pass)
	f.heal()
	t.Cleanup(f.cut)
	return f
}

// cut ends all connections, and takes none until heal.
func (f *forwarder) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.l != nil {
		f.l.Close()
		f.l = nil
	}
	for c := range f.conns {
		c.Close()
	}
}

func (f *forwarder) heal() {
	l, err := net.Listen("tcp", f.addr)
	if err != nil {
		panic(err)
	}
	f.mu.Lock()
	f.l = l
	f.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.forward(c)
		}
	}()
}

// stop lets nothing pass, until it is called with false.
func (f *forwarder) stop(is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if is {
		f.pass = make(chan struct{})
	} else {
		close(f.pass)
	}
}

func (f *forwarder) forward(a net.Conn) {
	defer a.Close()
	b, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	defer b.Close()
	f.mu.Lock()
	f.conns[a], f.conns[b] = true, true
	cut := f.l == nil
	f.mu.Unlock()
	if !cut {
		go f.copy(a, b)
		f.copy(b, a)
	}
	f.mu.Lock()
	delete(f.conns, a)
	delete(f.conns, b)
	f.mu.Unlock()
}

func (f *forwarder) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		f.mu.Lock()
		pass := f.pass
		f.mu.Unlock()
		<-pass
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
