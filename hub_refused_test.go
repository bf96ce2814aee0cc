package tcproom_test

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// memHub is a hub on a network in memory, which ends with the test.
func memHub(t testing.TB, opts ...tcproom.HubOption) (*tcproom.Hub, *roomtest.Network, string) {
	t.Helper()
	h := tcproom.NewHub(opts...)
	n := new(roomtest.Network)
	l, err := n.Listen("")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	t.Cleanup(func() {
		h.Close()
		<-h.Done()
		<-served
	})
	return h, n, l.Addr().String()
}

// sessionHub is a hub in JSON whose members may resume.
func sessionHub(t testing.TB, opts ...tcproom.HubOption) (*tcproom.Hub, *roomtest.Network, string) {
	t.Helper()
	return memHub(t, append([]tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{})}, opts...)...)
}

// TestNumberedMessagesAreAnswered: each is, by an ack or a refused with its number, also
// if its sender is put out of the room while the room deals with it.
func TestNumberedMessagesAreAnswered(t *testing.T) {
	numbered := func(id int, room, body string) string {
		return fmt.Sprintf(`{"type":"message","room":%q,"id":%d,"body":%q}`+"\n", room, id, body)
	}
	// visitor is in rooms a and b of h.
	visitor := func(t *testing.T, n *roomtest.Network, addr string) *visit {
		nc, err := n.Dial(t.Context(), "tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { nc.Close() })
		v := &visit{t: t, nc: nc, in: bufio.NewReader(nc)}
		v.hello(object{"name": "ada", "rooms": []string{"a", "b"}})
		for range 3 {
			require.Equal(t, "welcome", v.next()["type"])
		}
		return v
	}
	write := func(v *visit, frames ...string) {
		_, err := io.WriteString(v.nc, strings.Join(frames, ""))
		require.NoError(t, err)
	}
	answer := func(v *visit) string {
		o := v.next()
		return fmt.Sprint(o["type"], " ", o["room"], " ", o["id"], " ", o["seq"], " ", o["code"])
	}
	inBubble("to a room in which it is not", t, func(t *testing.T) {
		_, n, addr := sessionHub(t)
		v := visitor(t, n, addr)
		write(v, numbered(1, "a", "x"), numbered(2, "c", "y"), numbered(3, "a", "z"))
		var got []string
		for range 3 {
			got = append(got, answer(v))
		}
		require.ElementsMatch(t, []string{"ack a 1 2 <nil>", "refused c 2 <nil> not-member", "ack a 3 3 <nil>"}, got)
	})
	inBubble("put out while a hook has the first of them", t, func(t *testing.T) {
		hold, held := make(chan struct{}), make(chan *tcproom.Member, 10)
		_, n, addr := sessionHub(t, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			held <- m
			<-hold
			return body, nil
		}))
		v := visitor(t, n, addr)
		write(v, numbered(1, "a", "x"), numbered(2, "a", "y"))
		m := <-held
		require.NoError(t, m.Kick("be nice"))
		close(hold)
		require.Equal(t, "goodbye a <nil> <nil> kicked", answer(v))
		require.Equal(t, "refused a 1 <nil> not-member", answer(v))
		require.Equal(t, "refused a 2 <nil> not-member", answer(v))
		write(v, numbered(3, "b", "z"))
		require.Equal(t, "ack b 3 2 <nil>", answer(v))
	})
	inBubble("put out by the hook, which has posted it", t, func(t *testing.T) {
		_, n, addr := sessionHub(t, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			_, err := m.Post(t.Context(), body)
			require.NoError(t, err)
			require.NoError(t, m.Kick("be nice"))
			return nil, nil
		}))
		v := visitor(t, n, addr)
		write(v, numbered(1, "a", "x"))
		require.Equal(t, "goodbye a <nil> <nil> kicked", answer(v))
		require.Equal(t, "ack a 1 <nil> <nil>", answer(v))
	})
}

// TestResumeNamesRooms: a hello that names rooms in its resume names them.
func TestResumeNamesRooms(t *testing.T) {
	inBubble("", t, func(t *testing.T) {
		_, n, addr := sessionHub(t)
		come := func(hello object) *visit {
			nc, err := n.Dial(t.Context(), "tcp", addr)
			require.NoError(t, err)
			t.Cleanup(func() { nc.Close() })
			v := &visit{t: t, nc: nc, in: bufio.NewReader(nc)}
			v.hello(hello)
			return v
		}
		v := come(object{"rooms": []string{"a"}})
		all, a := v.next(), v.next()
		at := object{"token": all["token"], "epoch": all["epoch"], "seq": 0, "rooms": object{"a": object{"epoch": a["epoch"], "seq": 1}}}
		v = come(object{"resume": at})
		for _, room := range []string{"*", "a"} {
			w := v.next()
			require.Equal(t, []any{"welcome", room, "resumed"}, []any{w["type"], w["room"], w["outcome"]})
		}
		at["token"] = "another"
		v = come(object{"resume": at})
		w := v.next()
		require.Equal(t, []any{"welcome", "*", "expired"}, []any{w["type"], w["room"], w["outcome"]})
	})
}

// TestTellOneThatDoesNotRead: what cannot wait any more is refused, and the words are
// about messages, not about connections that wait to join.
func TestTellOneThatDoesNotRead(t *testing.T) {
	srv := roomtest.NewHub(t, tcproom.WithCodec(tcproom.JSON{}))
	bob := srv.Join("bob", tcproom.InRooms("lobby"))
	bob.Pause()
	m := slices.Collect(srv.Room.Members())[0]
	var err error
	for range 1000 {
		if err = srv.Hub.Tell(t.Context(), nil, m.ID(), make([]byte, 1000)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, tcproom.Cause("busy"))
	require.EqualError(t, err, `tcproom: too many direct messages wait for "bob"`)
}
