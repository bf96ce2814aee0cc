package roomtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/tcproom"
)

// goodTime is how long the room goes on for clients that leave in good order.
const goodTime = time.Second

// cleanup ends the server with its test, and fails the test for each thing
// that does not end.
func (s *Server) cleanup() {
	t := s.watch.t
	t.Helper()
	s.watch.begin()
	defer s.watch.end()
	s.mu.Lock()
	clients, grace := s.clients, s.grace
	s.mu.Unlock()
	deadline := time.Now().Add(grace)

	s.heal(clients)
	closed := make([]chan struct{}, len(clients))
	for i, cl := range clients {
		closed[i] = make(chan struct{})
		go cl.close(closed[i])
	}
	soon := time.Now().Add(min(goodTime, grace/2))
	for _, ch := range closed {
		waitUntil(soon, ch)
	}
	s.stopRoom(deadline)
	for i, ch := range closed {
		if !waitUntil(deadline, ch) {
			t.Errorf("roomtest: the client %s hangs in Close: a hook of it, or its net.Conn, does not return", clients[i].name())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.served {
		t.Errorf("roomtest: the room has not closed a connection: %s", c.who)
	}
}

// heal takes faults away, which would only make ending slow.
func (s *Server) heal(clients []*client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.served {
		c.In()
		c.Out()
	}
	for _, cl := range clients {
		if cl.link != nil {
			cl.link.In()
			cl.link.Out()
		}
	}
}

func (cl *client) name() string {
	if name := cl.conn.Name(); name != "" {
		return fmt.Sprintf("%q, %s,", name, cl.who)
	}
	return cl.who
}

// close closes the client, and waits until nobody reads from it.
func (cl *client) close(done chan<- struct{}) {
	defer close(done)
	cl.conn.Close()
	if cl.in != nil {
		<-cl.in.done
	}
}

// stopRoom cuts what is left of the room.
func (s *Server) stopRoom(deadline time.Time) {
	t := s.watch.t
	t.Helper()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	s.Room.Shutdown(now)
	served := make(chan struct{})
	if waitUntil(deadline, s.Room.Done()) {
		s.running.Wait()
		return
	}
	close(served)
	var stop *tcproom.StopError
	if errors.As(s.Room.Shutdown(now), &stop) {
		for _, c := range stop.Stuck {
			t.Errorf("roomtest: %s", stuck(c))
		}
	}
	if stacks := s.watch.goroutines(); stacks != "" {
		t.Errorf("roomtest: goroutines of the room have not ended:\n%s", strings.TrimRight(stacks, "\n"))
	} else {
		t.Errorf("roomtest: the room has not ended")
	}
}

func stuck(c tcproom.StuckConn) string {
	who := fmt.Sprintf("the connection of %q", c.Addr)
	if c.Member.Name != "" {
		who = fmt.Sprintf("the connection of %q at %q", c.Member.Name, c.Addr)
	}
	if c.Hook != "" {
		return fmt.Sprintf("%s is still in its hook %s: make the hook return before the test ends", who, c.Hook)
	}
	return who + " has not ended: its net.Conn, or listener, does not return from Read, Write, Accept or Close although it was closed"
}

// waitUntil reports whether ch was closed before the deadline.
func waitUntil(deadline time.Time, ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
		return false
	}
}
