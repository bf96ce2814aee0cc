package tcproom

import (
	"bufio"
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// askTwice is a WithHandshake hook that takes the second message for a name.
func askTwice(ctx context.Context, n *Newcomer) (id Identity, err error) {
	for range 2 {
		b, err := n.Receive(ctx)
		if err != nil {
			return id, err
		}
		id.Name = string(b)
	}
	return id, nil
}

// TestCommandsBeforeTheJoin: a command inside the handshake is refused, and ends nothing.
func TestCommandsBeforeTheJoin(t *testing.T) {
	h := NewHub(WithHandshake(askTwice))
	defer h.Close()
	a := callHub(t, h)
	a.say("/help")
	require.Contains(t, a.line(), "* commands: /join ROOM")
	a.say("hm")
	a.say("/join kitchen")
	a.say("/dance")
	a.expect("* not done: you have not joined yet", "* not done: you have not joined yet")
	a.say("ada")
	a.expect("* you are ada in lobby")
	b := callHub(t, h)
	b.say("/quit")
	b.expect("* goodbye: the peer left")
	require.Equal(t, 1, h.All().Len())
}

// TestRequestsBeforeTheJoin is the same for programs. One whose refusal would be taken
// for that of the connection is malformed, and the hook gets that as an error.
func TestRequestsBeforeTheJoin(t *testing.T) {
	h := NewHub(WithHandshake(askTwice), WithCodec(JSON{}))
	defer h.Close()
	a := callHub(t, h)
	a.say(`{"type":"hello","rooms":["lobby"]}`)
	a.say(`{"type":"rooms","ref":3}`)
	a.expectJSON(`{"type":"refused","ref":3,"code":"not-member"}`)
	a.say(`{"type":"enter","room":"kitchen"}`)
	a.expectJSON(`{"type":"refused","room":"kitchen","code":"not-member"}`)
	a.say(`{"type":"message","body":"hm"}`)
	a.say(`{"type":"message","body":"ada"}`)
	a.expectJSON(`{"type":"welcome","room":"*","seq":0,"name":"ada","total":1}`)
	b := callHub(t, h)
	b.say(`{"type":"hello","rooms":["lobby"]}`)
	b.say(`{"type":"rooms"}`)
	b.expectJSON(`{"type":"refused","code":"denied","retry":false}`)
}

// TestCommandsBeforeARoom: a room that stands by itself knows no commands, before the
// join as after it.
func TestCommandsBeforeARoom(t *testing.T) {
	r := New(WithHandshake(askTwice), WithCodec(Text{Commands: true}))
	defer r.Close()
	here, there := tcpPairOf(t)
	t.Cleanup(func() { here.Close() })
	go r.ServeConn(there)
	a := &hubPeer{t: t, Conn: here, r: bufio.NewReader(here)}
	const refused = "* not done: there is only one room here: nothing can be asked of others"
	a.say("/help")
	a.expect(refused)
	a.say("hm")
	a.say("ada")
	a.say("/help")
	a.expect(refused)
}

// TestRefusedFirstRoom: a connection that names no rooms and may not enter its only one
// was not let in, and is told so as by a room that stands by itself.
func TestRefusedFirstRoom(t *testing.T) {
	full := &RefusedError{Cause: "members-only", Text: "members only"}
	for _, tt := range []struct {
		name string
		opts []HubOption
		want error
	}{
		{name: "OnEnter", opts: []HubOption{OnEnter(func(context.Context, *Member, string) error { return full })}, want: Cause("members-only")},
		{name: "OnJoin", opts: []HubOption{OnJoin(func(*Member) error { return errors.New("no") })}, want: ErrDenied},
		{name: "no default", opts: []HubOption{WithDefaultRoom("")}, want: ErrNoRoom},
		{name: "closed", opts: []HubOption{WithOpenRooms(false)}, want: ErrNoRoom},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := NewHub(append(tt.opts, WithCodec(JSON{}), WithSessions(Sessions{}))...)
			defer h.Close()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			go h.Serve(l)
			_, err = Dial(t.Context(), l.Addr().String(), WithCodec(JSON{}))
			refused, ok := errors.AsType[*RefusedError](err)
			require.True(t, ok, "%v", err)
			require.ErrorIs(t, refused, tt.want)
		})
	}
}

// The welcome of a connection comes behind all that its handshake has sent, also if that
// is not written yet.
func TestWelcomeBehindTheHandshake(t *testing.T) {
	h := jsonHub(t, WithSessions(Sessions{}), WithHandshake(func(ctx context.Context, n *Newcomer) (Identity, error) {
		for range 3 {
			if err := n.Send(ctx, []byte("hello")); err != nil {
				return Identity{}, err
			}
		}
		return Identity{Name: "ada"}, nil
	}))
	visit := func(hello string) *hubPeer {
		here, there := net.Pipe() // in which nothing is written before it is read
		go h.ServeConn(there)
		t.Cleanup(func() { here.Close() })
		p := &hubPeer{t: t, Conn: here, r: newReader(here)}
		p.say("%s", hello)
		return p
	}
	ada := visit(`{"type":"hello","name":"ada","rooms":["a"]}`)
	memberNamed(t, h.All(), "ada")
	ada.wants("direct hello", "direct hello", "direct hello")
	token, epoch, _, _ := ada.welcome()
	ada.wants("welcome a ada joined")
	ada.Close()
	soon(t, "it is lost", func() bool { return h.All().Stats().Detached == 1 })
	ada = visit(`{"type":"hello","name":"ada","rooms":[],"resume":{"token":"` + token + `","epoch":"` + epoch + `","seq":0,"rooms":{}}}`)
	soon(t, "it is back", func() bool { return h.All().Stats().Detached == 0 })
	ada.wants("direct hello", "direct hello", "direct hello", "welcome * ada resumed")
}
