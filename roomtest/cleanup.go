package roomtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	s.closing = true
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
	stopped := s.stopRoom(deadline)
	if stopped {
		resetLinks(clients)
	}
	deadline = orAMoment(deadline)
	for i, ch := range closed {
		if !waitUntil(deadline, ch) {
			t.Errorf("roomtest: the client %s hangs in Close: its net.Conn does not return from Read, Write or Close although it was closed", clients[i].name())
		}
	}
	s.endHearing(clients, deadline)
	if stopped {
		s.mu.Lock()
		var open []*served
		for c := range s.served {
			open = append(open, c)
		}
		s.mu.Unlock()
		for _, c := range open {
			t.Errorf("roomtest: the room has ended and not closed a connection, %s", c.who)
		}
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

// resetLinks ends clients of a room that is gone: a black hole may have
// swallowed its last words, for which they would wait.
func resetLinks(clients []*client) {
	for _, cl := range clients {
		if cl.link != nil {
			cl.link.Reset()
		}
	}
}

func (cl *client) name() string {
	if name := cl.conn.Name(); name != "" {
		return fmt.Sprintf("%q, %s,", name, cl.who)
	}
	return cl.who + ","
}

// close closes the client, and waits until its reader has ended.
func (cl *client) close(done chan<- struct{}) {
	defer close(done)
	cl.conn.Close()
	if cl.in != nil {
		<-cl.in.done
	}
}

// endHearing waits for the OnEvent hooks of clients: Close does not if the hook was
// running.
func (s *Server) endHearing(clients []*client, deadline time.Time) {
	if !slices.ContainsFunc(clients, (*client).hears) {
		return
	}
	stacks := s.watch.goroutines(").deliverEvents+")
	for stacks != "" && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
		stacks = s.watch.goroutines(").deliverEvents+")
	}
	if stacks != "" {
		s.watch.t.Errorf("roomtest: a client is still in its hook OnEvent: make the hook return before the test ends\n%s", stacks)
	}
}

// hears reports whether the client has an OnEvent hook.
func (cl *client) hears() bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := cl.conn.Receive(ctx)
	return errors.Is(err, errors.ErrUnsupported)
}

// stopRoom cuts what is left of the room, and reports whether it has ended.
func (s *Server) stopRoom(deadline time.Time) bool {
	t := s.watch.t
	t.Helper()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	s.Room.Shutdown(now)
	if waitUntil(deadline, s.Room.Done()) {
		ran := make(chan struct{})
		go s.awaitRunning(ran)
		if !waitUntil(orAMoment(deadline), ran) {
			if stacks := s.watch.goroutines(").run+"); stacks != "" { // and did not only come late
				t.Errorf("roomtest: the test has ended, and a Dial, Join or Accept of it still runs:\n%s", stacks)
			}
		}
		return true
	}
	var stop *tcproom.StopError
	if errors.As(s.Room.Shutdown(now), &stop) {
		for _, c := range stop.Stuck {
			t.Errorf("roomtest: %s", stuck(c))
		}
	}
	if stacks := s.watch.goroutines("/tcproom.", "/fanout."); stacks != "" {
		t.Errorf("roomtest: goroutines of the room have not ended:\n%s", stacks)
	} else {
		t.Errorf("roomtest: the room has not ended")
	}
	return false
}

// awaitRunning ends when what start began has.
func (s *Server) awaitRunning(ran chan<- struct{}) {
	s.running.Wait()
	close(ran)
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

// aMoment is how long what has just begun to end is waited for, even if something
// else has used up the grace.
const aMoment = 100 * time.Millisecond

func orAMoment(deadline time.Time) time.Time { return later(deadline, time.Now().Add(aMoment)) }

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
