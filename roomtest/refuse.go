package roomtest

import (
	"errors"
	"fmt"

	"example.com/tcproom"
)

// TryDial is [Server.Dial] for a test in which that may fail: it returns the error
// and does not end the test. It is a [*tcproom.RefusedError] if the room has refused
// the client and the codec has a hello, see [tcproom.Features]. With other codecs a
// refusal is no error of TryDial, but the end of the client's stream.
//
// It blocks as long as Dial does, may be called from any goroutine, and leaves no
// connection open when it fails.
func (s *Server) TryDial(opts ...tcproom.DialOption) (*tcproom.Conn, error) {
	s.watch.use("Server.TryDial")
	return s.tryDial(s.Addr, opts)
}

// tryDial is TryDial to any address.
func (s *Server) tryDial(addr string, opts []tcproom.DialOption) (*tcproom.Conn, error) {
	c, cl, err := s.connect(addr, s.dialler(), opts)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	l := s.listeners[addr]
	s.mu.Unlock()
	if err := s.awaitLetIn(cl, l); err != nil {
		// Close may wait for a room that is busy; the cleanup waits for Close.
		_ = s.start(func() { _ = c.Close() })
		return nil, err
	}
	return c, nil
}

// TryJoin is [Server.Join] for a test in which that may fail: it returns the
// error, a [*tcproom.RefusedError] if the room has refused the member, and does
// not end the test. It blocks as long as Join does and may be called from any
// goroutine. In a hub it does not wait for the rooms that the hello names, and their
// welcomes are events like others.
func (s *Server) TryJoin(name string, opts ...tcproom.DialOption) (*Member, error) {
	s.watch.use("Server.TryJoin")
	return s.join(name, s.serveMember, opts)
}

// Refuses expects that the room refuses a connection, for this cause, and returns the
// refusal for further checks. It ends the test if the room lets the connection in,
// refuses it for another cause, or does not answer in time. The cause is one of
// package tcproom, such as [tcproom.ErrRoomFull], or a hook's own.
//
// It connects as [Server.Join] does, over memory and with a codec that carries the
// cause, whatever the server speaks. opts are as for Join, with [tcproom.WithName] for
// the name. To test what a refusal looks like with the server's own codec, use
// [Server.TryDial].
func (s *Server) Refuses(cause tcproom.Cause, opts ...tcproom.DialOption) *tcproom.RefusedError {
	s.watch.use("Server.Refuses")
	s.watch.t.Helper()
	m, err := s.joinWith("that of Refuses", s.serveMember, opts, nil)
	refused, ok := errors.AsType[*tcproom.RefusedError](err)
	if ok && refused.Cause == cause {
		return refused
	}
	s.watch.use("Server.Refuses") // while it waited
	but := fmt.Sprintf("joining failed: %v", err)
	switch {
	case err == nil:
		but = fmt.Sprintf("let %s in", safe([]byte(m.Conn.Name())))
	case ok:
		but = fmt.Sprintf("refused it with code %q: %q", string(refused.Cause), refused.Text)
	}
	s.watch.t.Fatalf("roomtest: the room was to refuse a connection with code %q, but %s", string(cause), but)
	return nil
}
