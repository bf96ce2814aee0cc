package roomtest

import (
	"context"
	"fmt"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/internal/probe"
)

// NewHub is [NewMemServer] for a hub, whose options opts are: the Hub of the server that
// it returns, and whose Room is [tcproom.Hub.All]. A server's methods concern the hub
// then: [Server.Dial] connects a client of it, [Server.Kick] removes a connection, and
// [Server.Transcript] is the order of each of its rooms.
//
// [Server.Join] with [tcproom.InRooms] makes a member in these rooms, which has been let
// in, or refused, when Join returns; without it one in the default room. What it receives
// has its room, see [InRoom]. The welcome of a room that it enters later is an event like
// others, see [Entered]. [Server.BotIn] and [Server.AnswerIn] make bots of a room.
//
// Members of Join speak JSON in a hub too: for them "/join attic" is a message. To send
// lines as a person with commands does, watch a connection that takes each line as it is:
//
//	ada := hub.Watch(hub.Dial(tcproom.WithCodec(tcproom.Text{})))
//	ada.Send("/join attic")
//	ada.Await(roomtest.MessageLike("", "you are guest-1 in attic"))
func NewHub(t testing.TB, opts ...tcproom.HubOption) *Server {
	t.Helper()
	s := newServer(t, new(Network))
	all := []tcproom.HubOption{tcproom.WithLogger(s.watch.logger())}
	all = append(all, opts...)
	all = append(all, s.probe().(tcproom.HubOption))
	s.Hub = tcproom.NewHub(all...)
	s.Room = s.Hub.All()
	s.begin(append([]tcproom.DialOption{tcproom.WithCodec(tcproom.Text{Commands: true})}, shared(opts)...))
	return s
}

// roomNamed returns the room of a hub, the server's own without a name, nil if there is
// none.
func (s *Server) roomNamed(name string) *tcproom.Room {
	if name == "" {
		return s.Room
	}
	r, _ := s.Hub.Lookup(name)
	return r
}

// InRoom matches what m does, in the named room of a hub alone. Of a member that names no
// rooms nothing matches, because its events have none; "*" is the room of all
// connections.
func InRoom(room string, m Match) Match {
	return Match{m.String() + ", in " + safe([]byte(room)), func(ev *tcproom.Event) ([]string, bool) {
		if ev.Room != room {
			return nil, false
		}
		return m.match(ev)
	}}
}

// Entered matches the welcome to a room of a hub; "" is any room. That of the connection
// itself, and those of the rooms in which [Server.Join] has put a member, are no events
// for expectations, and neither are those of a member without [tcproom.InRooms], which
// name no room: where it is, [tcproom.Room.Members] tells.
func Entered(room string) Match {
	return Where("entered "+where(room), func(ev tcproom.Event) bool {
		return ev.Kind == tcproom.Welcome && inOneRoom(&ev) && (room == "" || ev.Room == room)
	})
}

func where(room string) string {
	if room == "" {
		return "a room"
	}
	return safe([]byte(room))
}

// SendTo is [Member.Send] to a room of a hub. If the member is not in it, it receives a
// [tcproom.Refused].
func (m *Member) SendTo(room, body string) {
	m.s.watch.use("Member.SendTo")
	m.t.Helper()
	m.ask(fmt.Sprintf("SendTo %s", safe([]byte(room))), body, func(ctx context.Context) error {
		return m.Conn.SendTo(ctx, room, []byte(body))
	})
}

// EnterRoom asks the hub to make the member one of the named room too, and waits until
// the hub has dealt with that, as [Member.Send] does. What it answers is an event, see
// [Entered].
func (m *Member) EnterRoom(room string) {
	m.s.watch.use("Member.EnterRoom")
	m.t.Helper()
	m.ask("EnterRoom", room, func(ctx context.Context) error { return m.Conn.EnterRoom(ctx, room) })
}

// LeaveRoom asks the hub to end the membership in the named room, and waits until the hub
// has dealt with that, as [Member.Send] does. What it answers is an event, such as
// InRoom(room, Goodbye()).
func (m *Member) LeaveRoom(room string) {
	m.s.watch.use("Member.LeaveRoom")
	m.t.Helper()
	m.ask("LeaveRoom", room, func(ctx context.Context) error { return m.Conn.LeaveRoom(ctx, room) })
}

// MoveRoom asks the hub to move the member from one room to another, see
// [tcproom.Conn.MoveRoom], and waits until the hub has dealt with that, as [Member.Send]
// does. What it answers are events.
func (m *Member) MoveRoom(from, to string) {
	m.s.watch.use("Member.MoveRoom")
	m.t.Helper()
	m.ask("MoveRoom to", to, func(ctx context.Context) error { return m.Conn.MoveRoom(ctx, from, to) })
}

// settle waits until the hub has let the member into the rooms that its hello names, and
// the member has received the welcomes of these, which no expectation gets.
func (m *Member) settle() {
	upTo := probe.Queued(m.Conn)
	for {
		ok, changed := m.there.dealtWith(upTo)
		if ok {
			break
		}
		select {
		case <-changed:
		case <-m.in.done:
			return
		}
	}
	m.sync()
	m.in.passWelcomes()
}

// BotIn is [Server.Bot] for a bot that joins the named room of a hub, and no other.
// Outside of it, its rules see what is ordered there.
func (s *Server) BotIn(room, name string, rules ...Rule) *Bot {
	s.watch.use("Server.BotIn")
	s.watch.t.Helper()
	return s.bot(room, name, rules)
}

// AnswerIn is [Server.Answer] for the named room of a hub. What it sends while there is no
// such room is lost.
func (s *Server) AnswerIn(room string, rules ...Rule) *Bot {
	s.watch.use("Server.AnswerIn")
	s.watch.t.Helper()
	return s.answer(room, rules)
}
