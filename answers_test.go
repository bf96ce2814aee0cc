package tcproom_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// hubStream is what a hub tells a JSON client that is in several rooms, and kinds are its
// events.
var (
	hubStream = strings.Join([]string{
		`{"type":"welcome","room":"*","epoch":"E0","seq":4,"id":"x","name":"ada","members":[],"total":2,"outcome":"joined","token":"T"}`,
		`{"type":"refused","room":"vip","code":"denied","retry":false,"message":"members only"}`,
		`{"type":"welcome","room":"lobby","epoch":"E7","seq":57,"id":"x","name":"ada","members":[],"total":1,"outcome":"joined"}`,
		`{"type":"message","room":"lobby","seq":58,"body":"hi"}`,
		`{"type":"refused","ref":7,"code":"no-room","message":"no such room"}`,
		`{"type":"refused","code":"one-room","retry":false,"message":"without a ref"}`,
		`{"type":"ack","ref":12}`,
		`{"type":"rooms","ref":10,"rooms":[],"total":0}`,
		`{"type":"members","room":"lobby","ref":11,"seq":58,"members":[],"total":1}`,
		`{"type":"renamed","room":"lobby","seq":59,"from":{"id":"y","name":"bob"},"name":"eve"}`,
		`{"type":"goodbye","room":"lobby","ref":8,"code":"moved"}`,
		`{"type":"direct","body":"still here"}`,
		`{"type":"goodbye","room":"*","code":"kicked","retry":false,"reason":"be nice"}`,
	}, "\n") + "\n"
	hubKinds = []string{"Welcome *", "Refused vip", "Welcome lobby", "Message lobby", "Refused 7", "Refused", "Ack 12", "RoomList 10", "Roster lobby 11",
		"Renamed lobby", "Goodbye lobby 8", "Direct", "Goodbye *"}
)

// inHub returns kind, room and ref of an event.
func inHub(ev tcproom.Event) string {
	words := []string{ev.Kind.String()}
	if ev.Room != "" {
		words = append(words, ev.Room)
	}
	if ev.Ref != 0 {
		words = append(words, fmt.Sprint(ev.Ref))
	}
	return strings.Join(words, " ")
}

// TestAnswersEndNothing: a refusal of a request and the goodbye of one room are events
// like others, and the goodbye of the connection is the end.
func TestAnswersEndNothing(t *testing.T) {
	var dials int
	serve := serveRaw(&dials, func(int) string { return hubStream })
	t.Run("Conn", func(t *testing.T) {
		c, err := tcproom.Dial(testContext(t), "x", tcproom.WithCodec(tcproom.JSON{}), serve)
		require.NoError(t, err)
		var got []string
		for ev, err := range c.Events(testContext(t)) {
			if err != nil {
				require.ErrorIs(t, err, tcproom.ErrKicked)
				break
			}
			require.Equal(t, "ada", c.Name())
			got = append(got, inHub(ev))
		}
		require.Equal(t, hubKinds, got)
		require.ErrorIs(t, c.Err(), tcproom.ErrKicked)
		require.NoError(t, c.Close())
	})
	t.Run("Client", func(t *testing.T) {
		dials = 0
		c := tcproom.NewClient(testContext(t), "x", tcproom.WithCodec(tcproom.JSON{}), serve)
		var got []string
		for ev, err := range c.Events(testContext(t)) {
			if err != nil {
				require.ErrorIs(t, err, tcproom.ErrKicked)
				break
			}
			got = append(got, inHub(ev))
		}
		require.Equal(t, hubKinds, got)
		require.Equal(t, 1, dials)
		require.NoError(t, c.Close())
	})
	t.Run("Text", func(t *testing.T) {
		lines := "* you are guest-7 in lobby\n* not done: no such room\n* you are guest-7 in attic\nada -> you: psst\n* goodbye: kicked\n"
		for name, receive := range map[string]func(tcproom.DialOption) func(context.Context) (tcproom.Event, error){
			"Conn": func(serve tcproom.DialOption) func(context.Context) (tcproom.Event, error) {
				c, err := tcproom.Dial(testContext(t), "x", tcproom.WithCodec(tcproom.Text{Commands: true}), serve)
				require.NoError(t, err)
				t.Cleanup(func() { c.Close() })
				require.NoError(t, c.Send(testContext(t), []byte("hi")))
				return c.Receive
			},
			"Client": func(serve tcproom.DialOption) func(context.Context) (tcproom.Event, error) {
				c := tcproom.NewClient(testContext(t), "x", tcproom.WithCodec(tcproom.Text{Commands: true}), serve)
				t.Cleanup(func() { c.Close() })
				require.NoError(t, c.Send(testContext(t), []byte("hi")))
				ev, err := c.Receive(testContext(t))
				require.NoError(t, err)
				require.Equal(t, "Welcome", inHub(ev), "the client's own")
				return c.Receive
			},
		} {
			next := receive(serveRaw(&dials, func(int) string { return lines }))
			for _, want := range []string{"Welcome lobby", "Refused 1", "Welcome attic", "Direct", "Goodbye"} {
				ev, err := next(testContext(t))
				require.NoError(t, err, "%s: %s", name, want)
				require.Equal(t, want, inHub(ev), name)
			}
		}
	})
}

// TestRefusedBeforeTheWelcome: without a ref and a room it is that of the connection,
// and so it is with the room of all.
func TestRefusedBeforeTheWelcome(t *testing.T) {
	for _, line := range []string{`{"type":"refused","code":"full"}`, `{"type":"refused","room":"*","code":"full"}`} {
		var dials int
		_, err := tcproom.Dial(testContext(t), "x", tcproom.WithCodec(tcproom.JSON{}), serveRaw(&dials, func(int) string { return line + "\n" }))
		require.ErrorIs(t, err, tcproom.ErrRoomFull, line)
	}
}

// TestPositionsOfRoomsAreNoPosition: a client resumes at the seq of its connection's own
// room, whatever seqs of other rooms it has seen.
func TestPositionsOfRoomsAreNoPosition(t *testing.T) {
	hellos := make(chan string, 2)
	received := make(chan struct{})
	dials := 0
	dialer := tcproom.WithDialer(func(context.Context, string, string) (net.Conn, error) {
		a, b := roomtest.Pipe()
		dials++
		stays := dials > 1
		go func() {
			defer b.Close()
			line, _ := bufio.NewReader(b).ReadString('\n')
			hellos <- line
			io.WriteString(b, `{"type":"welcome","room":"*","epoch":"E0","seq":4,"id":"x","name":"ada","outcome":"joined","token":"T"}`+"\n"+
				`{"type":"welcome","room":"lobby","epoch":"E7","seq":57,"id":"x","name":"ada"}`+"\n"+
				`{"type":"message","room":"lobby","seq":58,"body":"hi"}`+"\n"+
				`{"type":"gap","room":"lobby","first":59,"last":70}`+"\n"+
				`{"type":"message","room":"*","seq":5,"body":"to all"}`+"\n"+
				`{"type":"message","room":"lobby","seq":3,"history":true,"body":"old"}`+"\n"+
				`{"type":"ack","room":"lobby","id":1,"seq":99}`+"\n")
			if stays {
				<-received
			}
		}()
		return a, nil
	})
	c := tcproom.NewClient(testContext(t), "x", tcproom.WithCodec(tcproom.JSON{}), dialer)
	for _, want := range []string{"Welcome *", "Welcome lobby", "Message lobby", "Gap lobby", "Message *", "Message lobby", "Lost", "Welcome *"} {
		ev, err := c.Receive(testContext(t))
		require.NoError(t, err)
		require.Equal(t, want, inHub(ev))
	}
	require.NotContains(t, <-hellos, "resume")
	require.Contains(t, <-hellos, `"resume":{"token":"T","epoch":"E0","seq":5}`)
	close(received)
	c.Close()
}

// TestGoodbyeToAHub: the welcome of one room, which has no token, does not make a
// session be forgotten: Close leaves it for good.
func TestGoodbyeToAHub(t *testing.T) {
	a, b := roomtest.Pipe()
	said := make(chan string, 1)
	go func() {
		defer b.Close()
		in := bufio.NewReader(b)
		in.ReadString('\n')
		io.WriteString(b, `{"type":"welcome","room":"*","epoch":"E0","seq":4,"id":"x","name":"ada","outcome":"joined","token":"T"}`+"\n"+
			`{"type":"welcome","room":"lobby","epoch":"E7","seq":57,"id":"x","name":"ada"}`+"\n")
		line, _ := in.ReadString('\n')
		said <- line
	}()
	c := tcproom.NewConn(a, tcproom.WithCodec(tcproom.JSON{}))
	for range 2 {
		_, err := c.Receive(testContext(t))
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	require.Equal(t, `{"type":"goodbye"}`+"\n", <-said)
}

// TestAskWithoutARef: what is done without a ref has no ack, which would be one of nothing,
// and is not refused for that.
func TestAskWithoutARef(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		s := newStable(t)
		ada, bob := s.labelled("ada", "a"), s.labelled("bob", "a")
		bob.got()
		ada.got()
		for _, ref := range []string{"", `"ref":7,`} {
			ada.say(`{"type":"direct",`+ref+`"to":"`+idOf(s.hub, "bob")+`","body":"x"}`, `{"type":"rename",`+ref+`"name":"ada"}`)
			var answers []string
			for _, o := range ada.objects() {
				answers = append(answers, inBrief(o))
			}
			if ref == "" {
				require.Empty(t, answers)
			} else {
				require.Equal(t, []string{"ack ref 7", "ack ref 7"}, answers)
			}
			require.Equal(t, map[string][]string{"": {"direct ada: x"}}, bob.heard())
		}
	})
}

// idOf returns the ID of the connection of that name.
func idOf(h *tcproom.Hub, name string) string {
	for m := range h.All().Members() {
		if m.Name() == name {
			return m.ID()
		}
	}
	return ""
}
