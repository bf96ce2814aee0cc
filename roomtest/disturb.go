package roomtest

import "strings"

// Kick removes the members of this name, see [tcproom.Member.Kick]: their leaves
// are ordered when it returns. It ends the test when there is none.
func (s *Server) Kick(name, reason string) {
	s.watch.use("Server.Kick")
	s.watch.t.Helper()
	kicked := false
	for m := range s.Room.Members() {
		if m.Name() == name && m.Kick(reason) == nil {
			kicked = true
		}
	}
	if !kicked {
		s.watch.t.Fatalf("roomtest: Kick: no member is named %q; there are: %s", name, s.present())
	}
}

// Link returns the room's end of the connection of the member of this name, of
// several the first that joined. Put faults on it to be bad to a client: Out is what
// the client reads, so that
//
//	srv.Link("ada").Out(roomtest.ResetAfter(10))
//
// breaks the connection when ada has read ten more bytes, be that in the middle
// of a frame. To be bad to a client before it has joined, use
// [Listener.OnAccept]. For members that a test has made, see Member.Link.
//
// It ends the test when no connection that was accepted is a member of this name.
func (s *Server) Link(name string) *Conn {
	s.watch.use("Server.Link")
	s.watch.t.Helper()
	for m := range s.Room.Members() {
		if m.Name() != name {
			continue
		}
		if nc, _ := s.servedFrom(m.RemoteAddr().String()); nc != nil {
			return nc.Conn
		}
	}
	s.watch.t.Fatalf("roomtest: Link: no member that came through a listener is named %q; members are: %s", name, s.present())
	return nil
}

// present lists the names of the members.
func (s *Server) present() string {
	var names []string
	for m := range s.Room.Members() {
		names = append(names, safe([]byte(m.Name())))
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}
