package tcproom

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAnswersInOrder: a person is in one room at a time, and gets the answers to commands
// in the order of the commands, and of what these make happen in that room.
func TestAnswersInOrder(t *testing.T) {
	h := NewHub()
	defer h.Close()
	for range 20 {
		a := callHub(t, h)
		a.say("/join attic")
		a.say("/nick a:b\n/nick bob\n/nick c:d\n/rooms att\n/nick eve\n/who\n/join kitchen\n/join Kitchen\n/nick ada\n/nick e:f\n/quit")
		for range 2 {
			a.line()
		}
		a.expect(`* not done: invalid name: "a:b": holds a colon`)
		a.line() // is now bob
		a.expect(`* not done: invalid name: "c:d": holds a colon`, "* rooms: attic 1", "* bob is now eve", "* in attic: eve", "* you are eve in kitchen",
			`* not done: invalid name of a room: "Kitchen": 'K' is not one of a to z, 0 to 9 and "._-"`, "* eve is now ada",
			`* not done: invalid name: "e:f": holds a colon`)
		_, err := io.Copy(io.Discard, a) // until it has left: the next one would see that
		require.NoError(t, err)
	}
}

// TestDirectInOrder: what one connection tells another that is in one room at a time, and
// says in that room, arrives in the order in which it does so.
func TestDirectInOrder(t *testing.T) {
	h := NewHub(WithNotices(false), OnRequest(func(m *Member, req *Request) error {
		if req.Kind == ReqOther {
			return m.Send(m.Context(), []byte(req.To))
		}
		return nil
	}))
	defer h.Close()
	a, b := callHub(t, h), callHub(t, h)
	a.line()
	b.line()
	a.say("/nick ada")
	a.line()
	b.line()
	b.say("/nick bob")
	a.line()
	b.line()
	for range 20 {
		a.say("/msg bob 1\n2\n/msg bob 3\n/msg bob 4\n5\n/dance\n/who\n/sing")
		b.expect("ada -> you: 1", "ada: 2", "ada -> you: 3", "ada -> you: 4", "ada: 5")
		a.expect("*: dance")
		require.Contains(t, a.line(), "* in lobby: ")
		a.expect("*: sing")
	}
}

// TestPutOutOfARoom: a person sees that it is in no room any more, and why, and not
// that it left one by moving.
func TestPutOutOfARoom(t *testing.T) {
	h := NewHub()
	defer h.Close()
	a := callHub(t, h)
	a.expect("* you are guest-1 in lobby")
	lobby, _ := h.Lookup("lobby")
	for m := range lobby.Members() {
		require.NoError(t, h.Leave(m, "by ada"))
	}
	a.expect("* you are out of lobby: by ada")
	a.say("hi")
	a.expect("* not done: not a member of this room: enter a room first")
	a.say("/join attic\n/join kitchen")
	a.expect("* you are guest-1 in attic", "* you are guest-1 in kitchen")
	require.NoError(t, h.Remove("kitchen", ""))
	a.expect("* you are out of kitchen: room removed")
	_, err := h.Ban(Ban{Room: "lobby", Name: "guest-1", Reason: "no spam"})
	require.NoError(t, err)
	a.say("/join lobby")
	a.expect("* not done: no spam")
}

// TestQuitIsAnswered: a person sees that /quit was heeded, for nc goes on after the end of
// its connection. One that just closes is told nothing.
func TestQuitIsAnswered(t *testing.T) {
	h := NewHub()
	defer h.Close()
	a := callHub(t, h)
	a.expect("* you are guest-1 in lobby")
	a.say("/quit good night")
	a.expect("* goodbye")
	a.expectEnd()
	b := callHub(t, h)
	b.expect("* you are guest-2 in lobby")
	require.NoError(t, b.Conn.(*net.TCPConn).CloseWrite())
	b.expectEnd()
}

// expectEnd reads the end of the connection.
func (p *hubPeer) expectEnd() {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(5 * time.Second))
	rest, err := io.ReadAll(p.r)
	require.NoError(p.t, err)
	require.Empty(p.t, string(rest))
}

// TestMovedBeforeItIsIn: a person whom the program moves, or puts out, before its first
// enter has returned is where the program wants it.
func TestMovedBeforeItIsIn(t *testing.T) {
	for _, row := range []struct {
		name string
		then func(h *Hub, m *Member) error
		want []string // what it sees, and to "hi"
	}{
		{name: "moved", then: func(h *Hub, m *Member) error { _, err := h.Move(t.Context(), m, "attic"); return err },
			want: []string{"* you are guest-1 in attic", "guest-1: hi"}},
		{name: "put out", then: func(h *Hub, m *Member) error { return h.Leave(m, "full") },
			want: []string{"* you are out of lobby: full", "* not done: not a member of this room: enter a room first"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var h *Hub
			h = NewHub(WithEcho(true), OnJoined(func(m *Member, _ uint64) {
				if m.Room().Name() == "lobby" {
					require.NoError(t, row.then(h, m))
				}
			}))
			defer h.Close()
			a := callHub(t, h)
			a.expect("* you are guest-1 in lobby")
			a.expect(row.want[0])
			a.say("hi")
			a.expect(row.want[1])
		})
	}
}

// TestRenameIsAnswered: also if no room says that there is a new name.
func TestRenameIsAnswered(t *testing.T) {
	h := NewHub(WithRoom("lobby"))
	defer h.Close()
	a := callHub(t, h)
	a.expect("* you are guest-1 in lobby")
	a.say("/nick ada\n/nick ada")
	a.expect("* guest-1 is now ada", "*: your name is ada")
	require.NoError(t, h.Remove("lobby", "closing time"))
	a.expect("* you are out of lobby: closing time")
	a.say("/nick eve")
	a.expect("*: your name is eve")

	b := callHub(t, h, WithCodec(JSON{}))
	b.say(`{"type":"hello","name":"bob","rooms":[]}`)
	b.expectJSON(`{"type":"welcome","room":"*","seq":0,"name":"bob","total":2}`)
	b.say(`{"type":"rename","name":"bert","ref":7}`)
	b.expectJSON(`{"type":"ack","ref":7}`)
	b.say(`{"type":"enter","room":"attic"}`)
	b.expectJSON(`{"type":"welcome","room":"attic","seq":1,"name":"bert","total":1}`)
	b.say(`{"type":"rename","name":"rob"}`)
	b.expectJSON(`{"type":"renamed","room":"attic","seq":2,"name":"rob"}`)
	b.say(`{"type":"rooms"}`)
	b.expectJSON(`{"type":"rooms","rooms":[{"name":"attic","members":1}],"total":1}`)
}

// TestCommandsThatLackSomething: the answer says how the command is written, and nothing
// is done or sent.
func TestCommandsThatLackSomething(t *testing.T) {
	h := NewHub()
	defer h.Close()
	a := callHub(t, h)
	a.expect("* you are guest-1 in lobby")
	for line, usage := range map[string]string{
		"/join": "/join ROOM", "/join  ": "/join ROOM", "/nick": "/nick NAME",
		"/msg": "/msg NAME TEXT", "/msg guest-1": "/msg NAME TEXT", "/msg guest-1 ": "/msg NAME TEXT",
	} {
		a.say("%s", line)
		a.expect("* not done: usage: " + usage)
	}
	a.say("/msg guest-1  hi")
	a.expect("guest-1 -> you:  hi")
}
