package roomtest

import (
	"fmt"

	"example.com/tcproom"
)

// Resume connects m again, to go on from what it has received until now, and returns what
// it is over the new connection. The server may be another node of the cluster, see
// [Cluster.Room], or that of a room's next life. It does not matter if m is still
// connected: the new connection takes it over. Welcome of what is returned says what came
// of it, see [tcproom.WelcomeInfo].Resumed; if m cannot resume, it is a new member of that
// name. It ends the test if the room refuses the connection; if it may, use
// [Server.TryResume].
//
// opts are those of [Server.Join].
func (s *Server) Resume(m *Member, opts ...tcproom.DialOption) *Member {
	s.watch.use("Server.Resume")
	s.watch.t.Helper()
	again, err := s.TryResume(m, opts...)
	if err != nil {
		s.watch.use("Server.Resume") // while it waited
		s.watch.t.Fatalf("roomtest: %s cannot resume: %v", safe([]byte(m.Conn.Name())), err)
	}
	return again
}

// TryResume is Resume for a test in which that may fail, see [Server.TryJoin].
func (s *Server) TryResume(m *Member, opts ...tcproom.DialOption) (*Member, error) {
	s.watch.use("Server.TryResume")
	at := m.position()
	all := append(opts[:len(opts):len(opts)], tcproom.WithName(m.Conn.Name()))
	if at.Token != "" {
		all = append(all, tcproom.WithResume(at))
	}
	return s.joinWith(fmt.Sprintf("that of the member %q, which resumes", m.Conn.Name()), s.serveMember, all, &at)
}

// position returns where m stands in its room's stream.
func (m *Member) position() (at tcproom.Resume) {
	if from := m.cl.from; from != nil {
		at = *from
	}
	for _, ev := range m.in.look().events {
		switch {
		case ev.Kind == tcproom.Welcome && ev.Welcome.Resumed():
			at.Token = ev.Welcome.Token
		case ev.Kind == tcproom.Welcome:
			at = tcproom.Resume{Token: ev.Welcome.Token, Epoch: ev.Welcome.Epoch, Seq: ev.Seq}
		case ev.Kind == tcproom.Gap:
			at.Seq = ev.Gap.Last
		case isOrdered(&ev) && !ev.History:
			at.Seq = ev.Seq
		}
	}
	return at
}
