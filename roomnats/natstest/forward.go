package natstest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A Forwarder passes connections on to a server, and is where a test breaks them. Its
// methods may be called from many goroutines.
type Forwarder struct {
	to string
	l  net.Listener

	mu    sync.Mutex
	how   passing
	pairs map[*pair]struct{}
	ended bool

	running sync.WaitGroup
}

// passing is what a Forwarder does with bytes and with new connections.
type passing int

const (
	passes   passing = iota
	cuts             // connections are closed, new ones at once
	swallows         // they are open, and nothing gets through
	mutes            // they are open, and nothing gets through that the server sends
)

// A pair is the two connections of one client.
type pair struct{ client, server net.Conn }

// Forward starts a forwarder to an address such as that of [Server.Addr], and stops it
// when the test ends.
func Forward(t testing.TB, to string) *Forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("natstest: no forwarder to %s: %v", to, err)
	}
	f := &Forwarder{to: to, l: l, pairs: make(map[*pair]struct{})}
	f.running.Add(1)
	go f.accept()
	t.Cleanup(f.close)
	return f
}

// Addr returns the address to connect to in place of the server's.
func (f *Forwarder) Addr() string { return f.l.Addr().String() }

// URL returns the same as what nats.Connect takes.
func (f *Forwarder) URL() string { return "nats://" + f.Addr() }

// Cut closes all connections, and new ones at once, until Heal: a server that is gone.
func (f *Forwarder) Cut() { f.set(cuts, true) }

// Swallow leaves connections open and lets nothing through, until Heal: a network that is
// gone. What is sent meanwhile is lost.
func (f *Forwarder) Swallow() { f.set(swallows, false) }

// SwallowAnswers lets through what is sent to the server, and nothing that it sends, until
// Heal: it does what it is asked for, and nobody is told.
func (f *Forwarder) SwallowAnswers() { f.set(mutes, false) }

// Heal lets all through again. Connections from which bytes are missing are closed first.
func (f *Forwarder) Heal() {
	f.mu.Lock()
	broken := f.how == swallows || f.how == mutes
	f.mu.Unlock()
	f.set(passes, broken)
}

func (f *Forwarder) set(how passing, end bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.how = how
	if end {
		for p := range f.pairs {
			p.close()
		}
	}
}

func (p *pair) close() {
	p.client.Close()
	if p.server != nil {
		p.server.Close()
	}
}

// accept ends when the listener is closed.
func (f *Forwarder) accept() {
	defer f.running.Done()
	for {
		nc, err := f.l.Accept()
		if err != nil {
			return
		}
		f.running.Add(1)
		go f.serve(nc)
	}
}

// serve passes one connection on, and ends with either end of it.
func (f *Forwarder) serve(client net.Conn) {
	defer f.running.Done()
	defer client.Close()
	p := &pair{client: client}
	if !f.add(p) {
		return
	}
	defer f.remove(p)
	if f.now() == swallows {
		f.copy(nil, client, passes)
		return
	}
	server, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	f.mu.Lock()
	p.server = server
	dead := f.how == cuts || f.ended
	f.mu.Unlock()
	defer server.Close()
	if dead {
		return
	}
	f.running.Add(1)
	go f.back(p)
	f.copy(server, client, mutes)
}

// back passes what the server sends, and ends with either end of the connection.
func (f *Forwarder) back(p *pair) {
	defer f.running.Done()
	f.copy(p.client, p.server, passes)
	p.client.Close()
}

// copy passes bytes from src to dst, or loses them, as it is at the moment: they pass also
// while that is even.
func (f *Forwarder) copy(dst io.Writer, src io.Reader, even passing) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if how := f.now(); n > 0 && dst != nil && (how == passes || how == even) {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (f *Forwarder) now() passing {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.how
}

func (f *Forwarder) add(p *pair) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.how == cuts || f.ended {
		return false
	}
	f.pairs[p] = struct{}{}
	return true
}

func (f *Forwarder) remove(p *pair) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pairs, p)
}

func (f *Forwarder) close() {
	f.mu.Lock()
	f.ended = true
	for p := range f.pairs {
		p.close()
	}
	f.mu.Unlock()
	f.l.Close()
	f.running.Wait()
}
