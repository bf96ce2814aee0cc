package tcproom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestH3NothingBetweenGoodbyeAndWelcome: a connection that reads nothing while it comes
// and goes gets each of its stays whole, and one after the other.
func TestH3NothingBetweenGoodbyeAndWelcome(t *testing.T) {
	inBubble("labelled", t, func(t *testing.T) {
		var c chronicle
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomOptions(c.options))
		bob, ada := s.labelled("bob", "a", "b"), s.labelled("ada")
		synctest.Wait()
		ada.nc.In(roomtest.Stall())
		for i := range 12 {
			room, other := "a", "b"
			if i%2 > 0 {
				room, other = other, room
			}
			ada.say(fmt.Sprintf(`{"type":"enter","room":%q}`, room))
			synctest.Wait()
			for n := range 5 {
				bob.say(fmt.Sprintf(`{"type":"message","room":%q,"body":"%d-%d %s"}`, room, i, n, strings.Repeat("x", 1<<10)))
			}
			synctest.Wait()
			switch i % 3 {
			case 0:
				ada.say(fmt.Sprintf(`{"type":"leave","room":%q}`, room))
			case 1:
				ada.say(fmt.Sprintf(`{"type":"move","room":%q,"to":%q}`, room, other), fmt.Sprintf(`{"type":"leave","room":%q}`, other))
			default:
				s.member(room, "ada").Kick("out")
			}
			synctest.Wait()
			bob.say(fmt.Sprintf(`{"type":"message","room":%q,"body":"%d after"}`, room, i))
		}
		synctest.Wait()
		ada.nc.In()
		tr := &trip{name: "ada", alone: true, alive: true, lines: ada.got()}
		c.follow(tr)
		require.Empty(t, c.faults)
		require.Equal(t, 16, strings.Count(strings.Join(tr.lines, "\n"), `"type":"goodbye"`))
	})
	inBubble("person", t, func(t *testing.T) {
		var c chronicle
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomOptions(c.options))
		bob, ada := s.labelled("bob", "a", "b"), s.person("ada")
		synctest.Wait()
		ada.nc.In(roomtest.Stall())
		for i := range 12 {
			room := []string{"a", "b", "lobby"}[i%3]
			ada.say("/join " + room)
			synctest.Wait()
			for n := range 10 {
				bob.say(fmt.Sprintf(`{"type":"message","room":%q,"body":"%d-%d %s"}`, []string{"a", "b"}[n%2], i, n, strings.Repeat("x", 1<<10)))
			}
		}
		synctest.Wait()
		id := s.member("*", "ada").ID()
		ada.nc.In()
		c.follow(&trip{name: "ada", text: true, id: id, alive: true, lines: ada.got()})
		require.Empty(t, c.faults)
	})
}

// TestH4MovesAreAtOneInstant: at every instant a connection that moves is in one of the
// two rooms: there is nothing in the order of either between its leave and its join, and
// nobody sees it in both or in neither.
func TestH4MovesAreAtOneInstant(t *testing.T) {
	var c chronicle
	h := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomOptions(c.options))
	defer h.Close()
	const movers, moves = 4, 100
	var members []*tcproom.Member
	for range movers {
		conn, err := h.Join(testContext(t), "a", tcproom.Identity{})
		require.NoError(t, err)
		defer conn.Close()
		go func() {
			for range conn.Events(context.Background()) {
			}
		}()
	}
	for m := range h.All().Members() {
		members = append(members, m)
	}
	require.Len(t, members, movers)
	var moving, looking sync.WaitGroup
	for i, base := range members {
		moving.Go(func() {
			for n := range moves {
				m := theOther(h, base)
				if m == nil {
					c.fail("H4: %v is in no room, or in several", base.Info())
					return
				}
				to := map[string]string{"a": "b", "b": "a"}[m.Room().Name()]
				if _, err := h.Move(context.Background(), m, to); err != nil {
					c.fail("move %d: %v", n, err)
				}
				if n%8 == i {
					m.Room().Broadcast(context.Background(), fmt.Appendf(nil, "x%d-%d", i, n+1))
				}
			}
		})
	}
	done := make(chan struct{})
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, base := range members {
				if theOther(h, base) == nil {
					c.fail("H4: %v is in no room, or in several", base.Info())
				}
			}
		}
	})
	moving.Wait()
	close(done)
	looking.Wait()
	c.checkOrders()
	require.Equal(t, uint64(movers*moves), c.checkMoves())
	require.Equal(t, uint64(movers*moves), h.Stats().Moves)
	require.Empty(t, c.faults)
}

// theOther returns the only membership of m's connection beside that in "*".
func theOther(h *tcproom.Hub, m *tcproom.Member) (other *tcproom.Member) {
	n := 0
	for part := range h.Memberships(m) {
		if part.Room() != h.All() {
			other = part
			n++
		}
	}
	if n != 1 {
		return nil
	}
	return other
}

// TestH4RefusedMoves: if a move is refused, nothing has happened.
func TestH4RefusedMoves(t *testing.T) {
	denied := errors.New("members only")
	for _, row := range []struct {
		name string
		opts []tcproom.HubOption
		to   string
		do   func(s *stable)
		want string
	}{
		{name: "name", to: "no no", want: "room-name"},
		{name: "hook", to: "b", opts: []tcproom.HubOption{tcproom.OnEnter(func(_ context.Context, _ *tcproom.Member, room string) error {
			if room == "b" {
				return denied
			}
			return nil
		})}, want: "denied"},
		{name: "join hook", to: "b", opts: []tcproom.HubOption{tcproom.WithRoom("b", tcproom.OnJoin(func(*tcproom.Member) error { return denied }))}, want: "denied"},
		{name: "full", to: "b", opts: []tcproom.HubOption{tcproom.WithRoom("b", tcproom.WithMaxMembers(1))}, do: func(s *stable) { s.labelled("cat", "b") }, want: "full"},
		{name: "not open", to: "b", opts: []tcproom.HubOption{tcproom.WithOpenRooms(false), tcproom.WithRoom("a")}, want: "no-room"},
		{name: "too many", to: "b", opts: []tcproom.HubOption{tcproom.WithMaxRooms(1)}, want: "too-many-rooms"},
		{name: "banned", to: "b", do: func(s *stable) { s.hub.Ban(tcproom.Ban{Room: "b", Name: "ada"}) }, want: "banned"},
		{name: "already in", to: "c", do: func(s *stable) { s.member("a", "ada"); s.enter("ada", "c") }, want: "denied"},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			s := newStable(t, append(row.opts, tcproom.WithCodec(tcproom.JSON{}))...)
			bob, ada := s.labelled("bob", "a"), s.labelled("ada", "a")
			synctest.Wait()
			if row.do != nil {
				row.do(s)
			}
			bob.got()
			ada.got()
			before, seq := s.hub.Stats(), s.room("a").Stats().Seq
			ada.say(fmt.Sprintf(`{"type":"move","room":"a","to":%q,"ref":1}`, row.to), `{"type":"message","room":"a","body":"still here"}`)
			var answer []string
			for _, heard := range ada.heard() {
				answer = append(answer, heard...)
			}
			require.Equal(t, []string{"refused " + row.want + " ref 1"}, answer)
			require.Equal(t, map[string][]string{"a": {fmt.Sprintf("%d ada: still here", seq+1)}}, bob.heard())
			if row.name != "join hook" {
				require.Equal(t, before, s.hub.Stats())
			}
			require.Equal(t, []string{"ada", "bob"}, s.names("a"))
		})
	}
}

// enter has somebody enter a room.
func (s *stable) enter(name, room string) *tcproom.Member {
	s.t.Helper()
	m, err := s.hub.Enter(testContext(s.t), s.member("*", name), room)
	require.NoError(s.t, err)
	return m
}

// TestHubGoodbyeComesBehindARoomThatWasLeft: what is left to be read of a room comes before
// the goodbye of the connection.
func TestHubGoodbyeComesBehindARoomThatWasLeft(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}))
		ada := s.labelled("ada", "a")
		ada.got()
		ada.nc.In(roomtest.Stall())
		body := bytes.Repeat([]byte("x"), 4<<10)
		var want []string
		for i := range 150 {
			_, err := s.room("a").Broadcast(t.Context(), body)
			require.NoError(t, err)
			want = append(want, fmt.Sprintf("a %d message", i+2))
		}
		require.NoError(t, s.member("a", "ada").Kick("out"))
		require.NoError(t, s.member("*", "ada").Kick("out"))
		require.Empty(t, ada.got())
		ada.nc.In(nil)
		var got []string
		for _, o := range ada.objects() {
			got = append(got, strings.TrimSpace(fmt.Sprint(o["room"], " ", o["seq"], " ", o["type"])))
		}
		require.Equal(t, append(want, "a <nil> goodbye", "<nil> <nil> goodbye"), got)
		require.True(t, ada.gone())
	})
}

// TestH4TwoMovesOfOneMember: of two moves at once one is done, and the other is refused
// as if it had come later.
func TestH4TwoMovesOfOneMember(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		var c chronicle
		held, asked := make(chan struct{}), false
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomOptions(c.options), tcproom.WithRoom("b", tcproom.OnJoin(func(m *tcproom.Member) error {
			asked = true
			<-held
			return nil
		})))
		ada := s.labelled("ada", "a")
		ada.got()
		m, moved := s.member("a", "ada"), make(chan error)
		go func() {
			_, err := s.hub.Move(context.Background(), m, "b")
			moved <- err
		}()
		synctest.Wait()
		require.True(t, asked)
		_, err := s.hub.Move(testContext(t), m, "c")
		require.NoError(t, err)
		close(held)
		require.ErrorIs(t, <-moved, tcproom.ErrNotMember)
		require.Equal(t, [][]string{{}, {}, {"ada"}}, [][]string{s.names("a"), s.names("b"), s.names("c")})
		require.Empty(t, c.faults)
	})
}

// TestH4OneEntryAtATime: if a connection and the program want it in rooms at once, it is
// in each once, and in no more than it may be.
func TestH4OneEntryAtATime(t *testing.T) {
	for _, row := range []struct {
		name string
		opts []tcproom.HubOption
		ride func(s *stable) *rider
		ask  string
		do   func(s *stable) error
		want error
	}{
		{name: "enter the same", ask: `{"type":"enter","room":"held"}`, want: tcproom.Cause("retry"), do: func(s *stable) error {
			_, err := s.hub.Enter(testContext(s.t), s.member("*", "ada"), "held")
			return err
		}},
		{name: "move to the same", ask: `{"type":"enter","room":"held"}`, want: tcproom.Cause("retry"), do: func(s *stable) error {
			s.enter("ada", "a")
			_, err := s.hub.Move(testContext(s.t), s.member("a", "ada"), "held")
			return err
		}},
		{name: "too many", opts: []tcproom.HubOption{tcproom.WithMaxRoomsPerConn(1)}, ask: `{"type":"enter","room":"held"}`, want: tcproom.ErrTooManyRooms, do: func(s *stable) error {
			_, err := s.hub.Enter(testContext(s.t), s.member("*", "ada"), "b")
			return err
		}},
		{name: "person", ride: func(s *stable) *rider {
			ada := s.person("ada")
			synctest.Wait()
			require.NoError(s.t, s.member("lobby", "ada").Kick(""))
			return ada
		}, ask: "/join held", want: tcproom.Cause("one-room"), do: func(s *stable) error {
			_, err := s.hub.Enter(testContext(s.t), s.member("*", "ada"), "b")
			return err
		}},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			held := make(chan struct{})
			letGo := sync.OnceFunc(func() { close(held) })
			defer letGo()
			s := newStable(t, append(row.opts, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoom("held", tcproom.OnJoin(func(*tcproom.Member) error {
				<-held
				return nil
			})))...)
			if row.ride == nil {
				row.ride = func(s *stable) *rider { return s.labelled("ada") }
			}
			ada := row.ride(s)
			synctest.Wait()
			ada.say(row.ask)
			synctest.Wait()
			require.ErrorIs(t, row.do(s), row.want)
			letGo()
			ada.got()
			require.Equal(t, []string{"ada"}, s.names("held"))
			require.Equal(t, uint64(1), s.room("held").Stats().Seq)
			require.Empty(t, s.names("b"))
		})
	}
}

// TestH4MoveInAHook: a hook may move the member that it is called for.
func TestH4MoveInAHook(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		var c chronicle
		var s *stable
		s = newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomOptions(c.options), tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			if string(body) == "move me" {
				_, err := s.hub.Move(context.Background(), m, "b")
				return nil, err
			}
			return body, nil
		}))
		bob, ada := s.labelled("bob", "b"), s.labelled("ada", "a")
		bob.got()
		ada.got()
		ada.say(`{"type":"message","room":"a","body":"move me"}`, `{"type":"message","room":"b","body":"thanks"}`)
		time.Sleep(time.Minute)
		require.Equal(t, map[string][]string{"b": {"2 join ada", "3 ada: thanks"}}, bob.heard())
		require.Empty(t, c.faults)
	})
}

// A watchedJSON tells of what it encodes, under the locks of the rooms.
type watchedJSON struct {
	tcproom.JSON
	encodes func(ev *tcproom.Event)
}

func (w *watchedJSON) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	w.encodes(ev)
	return w.JSON.AppendEvent(dst, ev)
}

// A brokenJSON cannot say who is in the room "b".
type brokenJSON struct{ tcproom.JSON }

func (b brokenJSON) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind == tcproom.Welcome && ev.Room == "b" {
		return dst, tcproom.ErrUnframeable
	}
	return b.JSON.AppendEvent(dst, ev)
}

// TestWelcomeThatCannotBeSent: a connection that could not know that it has come into a
// room ends, and leaves that room as the others do.
func TestWelcomeThatCannotBeSent(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(s *stable, ada *rider) error // nil: ada asked
	}{
		{"entered", func(s *stable, _ *rider) error {
			_, err := s.hub.Enter(testContext(s.t), s.member("a", "ada"), "b")
			return err
		}},
		{"moved", func(s *stable, _ *rider) error {
			_, err := s.hub.Move(testContext(s.t), s.member("a", "ada"), "b")
			return err
		}},
		{"asked to enter", func(_ *stable, ada *rider) error { ada.say(`{"type":"enter","room":"b"}`); return nil }},
		{"asked to move", func(_ *stable, ada *rider) error {
			ada.say(`{"type":"move","room":"a","to":"b"}`)
			return nil
		}},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			var c chronicle
			s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomOptions(c.options))
			bob := s.labelled("bob", "b")
			ada := s.ride(s.listen(brokenJSON{}), "10.0.0.1", helloOf(object{"name": "ada", "rooms": []string{"a"}}))
			bob.got()
			if err := row.do(s, ada); err != nil {
				require.ErrorIs(t, err, tcproom.ErrUnframeable)
			}
			require.True(t, ada.gone())
			require.Equal(t, map[string][]string{"b": {"2 join ada", "3 leave ada"}}, bob.heard())
			require.Empty(t, s.names("a"))
			require.Equal(t, 1, s.hub.All().Len())
			s.hub.Close()
			c.checkOrders()
			c.checkHooks()
			require.Empty(t, c.faults)
		})
	}
}

// TestH4DeathInAMove: if a connection ends while it is moved, its member leaves one of the
// two rooms, or waits there to be resumed.
func TestH4DeathInAMove(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(s *stable, ada *rider, base *tcproom.Member)
		over func(s *stable, base *tcproom.Member) bool
		want []string
	}{
		{name: "lost", want: []string{"ada"},
			end:  func(_ *stable, ada *rider, _ *tcproom.Member) { ada.nc.Reset() },
			over: func(s *stable, _ *tcproom.Member) bool { return s.hub.All().Stats().Detached > 0 }},
		{name: "left", want: []string{},
			end:  func(_ *stable, ada *rider, _ *tcproom.Member) { ada.say(`{"type":"goodbye"}`) },
			over: func(s *stable, _ *tcproom.Member) bool { return s.hub.All().Len() == 1 }},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			var c chronicle
			var s *stable
			var ada *rider
			var base *tcproom.Member
			done := false
			codec := &watchedJSON{encodes: func(ev *tcproom.Event) {
				if ev.Kind == tcproom.Leave && !done {
					done = true
					row.end(s, ada, base)
					over := make(chan struct{})
					go func() { // which holds no lock
						for !row.over(s, base) {
							runtime.Gosched()
						}
						close(over)
					}()
					<-over
				}
			}}
			s = newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithRoomOptions(c.options))
			s.ride(s.listen(codec), "10.0.0.1", helloOf(object{"name": "bob", "rooms": []string{"a"}})).got()
			ada = s.labelled("ada", "a")
			ada.got()
			base = s.member("*", "ada")
			s.hub.Move(testContext(t), s.member("a", "ada"), "b")
			synctest.Wait()
			require.True(t, done)
			in := append(slices.DeleteFunc(s.names("a"), func(name string) bool { return name == "bob" }), s.names("b")...)
			require.Equal(t, row.want, in)
			s.hub.Close()
			c.checkOrders()
			c.checkHooks()
			require.Empty(t, c.faults)
		})
	}
}
