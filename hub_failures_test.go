package tcproom

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What goes wrong with rooms that come and go, and with those who are on their way into
// one: each row of the design's table of failures.

// jsonHub returns a hub for connections in JSON, which closes with the test.
func jsonHub(t testing.TB, opts ...HubOption) *Hub {
	t.Helper()
	h := NewHub(append([]HubOption{WithCodec(JSON{})}, opts...)...)
	t.Cleanup(func() {
		h.Close()
		soon(t, "the hub is done", func() bool {
			select {
			case <-h.Done():
				return true
			default:
				return false
			}
		})
	})
	return h
}

// soon waits until ok is true.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("not so: %s\n%s", what, buf[:runtime.Stack(buf, true)])
		}
	}
}

// visit connects somebody who names rooms, and reads the welcomes.
func visitHub(t testing.TB, h *Hub, name string, rooms ...string) *hubPeer {
	t.Helper()
	p := callHub(t, h)
	list, _ := json.Marshal(append([]string{}, rooms...))
	p.say(`{"type":"hello","name":%q,"rooms":%s}`, name, list)
	for welcomes := 0; welcomes <= len(rooms); {
		if p.said()["type"] == "welcome" {
			welcomes++
		}
	}
	return p
}

// next returns the next event, in few words, without what is said of joins and leaves.
func (p *hubPeer) next() string {
	p.t.Helper()
	for {
		m := p.said()
		if m["type"] != "join" && m["type"] != "leave" {
			return short(m)
		}
	}
}

func short(m map[string]any) string {
	var b strings.Builder
	fmt.Fprint(&b, m["type"])
	for _, k := range []string{"room", "code", "name", "body", "outcome"} {
		if v, ok := m[k]; ok {
			fmt.Fprint(&b, " ", v)
		}
	}
	return b.String()
}

func (p *hubPeer) wants(events ...string) {
	p.t.Helper()
	for _, want := range events {
		require.Equal(p.t, want, p.next())
	}
}

// wantsAll is wants, in any order.
func (p *hubPeer) wantsAll(events ...string) {
	p.t.Helper()
	var got []string
	for range events {
		got = append(got, p.next())
	}
	require.ElementsMatch(p.t, events, got)
}

// alive checks that the connection goes on.
func (p *hubPeer) alive() {
	p.t.Helper()
	p.say(`{"type":"ping"}`)
	p.wants("pong")
}

// ends reads until the connection is closed, and returns the last event.
func (p *hubPeer) ends() (last string) {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		s, err := p.r.ReadString('\n')
		if err != nil {
			require.NotErrorIs(p.t, err, context.DeadlineExceeded)
			require.NotContains(p.t, err.Error(), "timeout")
			return last
		}
		var m map[string]any
		require.NoError(p.t, json.Unmarshal([]byte(s), &m))
		last = short(m)
	}
}

// memberNamed returns the member of a room with that name.
func memberNamed(t testing.TB, r *Room, name string) *Member {
	t.Helper()
	var found *Member
	soon(t, name+" is in", func() bool {
		for m := range r.Members() {
			if m.Name() == name {
				found = m
			}
		}
		return found != nil
	})
	return found
}

func roomOf(t testing.TB, h *Hub, name string) *Room {
	t.Helper()
	r, ok := h.Lookup(name)
	require.True(t, ok, name)
	return r
}

func TestHubTwoMakeOneRoomAtOnce(t *testing.T) {
	var made atomic.Int64
	h := jsonHub(t, OnRoom(func(*Room, bool) { made.Add(1) }))
	const n = 16
	var peers []*hubPeer
	for i := range n {
		peers = append(peers, visitHub(t, h, fmt.Sprint("p", i)))
	}
	for _, p := range peers {
		p.say(`{"type":"enter","room":"new"}`)
	}
	for _, p := range peers {
		require.Contains(t, p.next(), "welcome new")
	}
	s := h.Stats()
	require.Equal(t, HubStats{Rooms: 1, Made: 1, Connections: n, Memberships: n}, s)
	require.EqualValues(t, 1, made.Load())
}

// Two goroutines enter one room that is removed as soon as it is empty.
func TestHubEnterWhileTheEmptyRoomGoes(t *testing.T) {
	h := jsonHub(t, WithRoomLinger(-1))
	var wg sync.WaitGroup
	for _, name := range []string{"ada", "bob"} {
		visitHub(t, h, name)
		m := memberNamed(t, h.All(), name)
		wg.Go(func() {
			for range 300 {
				part, err := h.Enter(context.Background(), m, "x")
				if err != nil {
					t.Errorf("enter: %v", err)
					return
				}
				if _, err := part.Post(context.Background(), []byte("here")); err != nil {
					t.Errorf("in a room that is gone: %v", err)
				}
				if err := h.Leave(part, ""); err != nil {
					t.Errorf("leave: %v", err)
				}
			}
		})
	}
	wg.Wait()
	soon(t, "the room is gone", func() bool { return h.Stats().Rooms == 0 })
	require.Equal(t, h.Stats().Made, h.Stats().Removed)
}

func TestHubKickCrossesMessage(t *testing.T) {
	h := jsonHub(t)
	ada, bob := visitHub(t, h, "ada", "a", "b"), visitHub(t, h, "bob", "a", "b")
	require.NoError(t, memberNamed(t, roomOf(t, h, "a"), "ada").Kick("out"))
	ada.say(`{"type":"message","room":"a","body":"one"}`)
	ada.say(`{"type":"message","room":"b","body":"two"}`)
	ada.wants("goodbye a kicked", "refused a not-member")
	ada.alive()
	bob.wants("message b two")
}

// The leave is ordered at once; OnLeave waits for OnMessage; the reader goes on.
func TestHubKickWhileOnMessageRuns(t *testing.T) {
	in, goOn := make(chan *Member), make(chan struct{})
	var inHook, overlap atomic.Bool
	left := make(chan error, 4)
	h := jsonHub(t,
		OnMessage(func(m *Member, body []byte) ([]byte, error) {
			if string(body) != "wait" {
				return body, nil
			}
			inHook.Store(true)
			defer inHook.Store(false)
			in <- m
			<-goOn
			_, err := m.Post(context.Background(), body)
			return nil, err // which says that m is no member any more
		}),
		OnLeave(func(m *Member, err error) { overlap.CompareAndSwap(false, inHook.Load()); left <- err }))
	ada, bob := visitHub(t, h, "ada", "a", "b"), visitHub(t, h, "bob", "a", "b")
	ada.say(`{"type":"message","room":"a","body":"wait"}`)
	ada.say(`{"type":"message","room":"b","body":"two"}`)
	m := <-in
	require.NoError(t, m.Kick("out"))
	for bob.said()["type"] != "leave" {
	}
	require.Empty(t, left)
	close(goOn)
	bob.wants("message b two")
	ada.wants("goodbye a kicked", "refused a not-member")
	ada.alive()
	require.ErrorIs(t, <-left, ErrKicked)
	require.False(t, overlap.Load(), "OnLeave ran beside OnMessage")
}

// G1: between a goodbye and the next welcome nothing of a room comes, and what came
// before the goodbye is complete, also if the peer reads nothing for a long time.
func TestHubEnterLeaveEnterWithAStalledReader(t *testing.T) {
	const rounds, messages = 5, 100
	h := jsonHub(t)
	bob := visitHub(t, h, "bob", "a")
	go func() { // who reads
		for {
			if _, err := bob.r.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	a := roomOf(t, h, "a")
	ada := visitHub(t, h, "ada")
	base := memberNamed(t, h.All(), "ada")
	ada.stall(base)
	body := []byte(strings.Repeat("x", 4<<10))
	for range rounds {
		m, err := h.Enter(t.Context(), base, "a")
		require.NoError(t, err)
		for range messages {
			_, err := a.Broadcast(t.Context(), body)
			require.NoError(t, err)
		}
		require.NoError(t, h.Leave(m, ""))
		_, err = a.Broadcast(t.Context(), []byte("not for ada"))
		require.NoError(t, err)
	}
	ada.catchUp()
	in, seq, got := false, 0.0, 0
	for left := 0; left < rounds; {
		m := ada.said()
		switch m["type"] {
		case "welcome":
			require.False(t, in)
			in, seq, got = true, m["seq"].(float64), 0
		case "goodbye":
			require.True(t, in)
			require.Equal(t, messages, got)
			in = false
			left++
		case "message":
			require.True(t, in, "a message outside: %v", m["seq"])
			require.Equal(t, seq+1, m["seq"])
			seq++
			got++
		default:
			t.Fatalf("not of a stay: %v", m)
		}
	}
	require.NoError(t, base.Kick("enough"))
	ada.wants("goodbye kicked")
}

// A goodbye of a room comes, however much waits in that room for the one who is put out.
func TestHubGoodbyeBehindALongDirect(t *testing.T) {
	h := jsonHub(t, WithMaxMessage(1<<20))
	ada := visitHub(t, h, "ada", "a", "b")
	ada.stall(memberNamed(t, h.All(), "ada"))
	const messages = 100
	for range messages {
		_, err := roomOf(t, h, "b").Broadcast(t.Context(), []byte(strings.Repeat("x", 8<<10)))
		require.NoError(t, err)
	}
	m := memberNamed(t, roomOf(t, h, "a"), "ada")
	require.NoError(t, m.Send(t.Context(), []byte(strings.Repeat("y", 2*maxQueued))))
	require.NoError(t, m.Kick("out"))
	ada.catchUp()
	got := map[string]string{} // by room: the last event
	for n := 0; n < messages || got["a"] == ""; {
		switch o := ada.said(); o["type"] {
		case "message":
			n++
		case "goodbye":
			got["a"] = short(o)
		}
	}
	require.Equal(t, "goodbye a kicked", got["a"])
}

// A message for a room that is removed, while the leave of its member waits for its place,
// is refused, and holds up nothing.
func TestHubMessageWhileALeaveWaitsInARemovedRoom(t *testing.T) {
	h := jsonHub(t)
	ada := visitHub(t, h, "ada", "a")
	a := roomOf(t, h, "a")
	m := memberNamed(t, a, "ada")
	a.mu.Lock() // as Kick and then Remove leave it when the flushers are far behind
	m.setCause(&kickError{}, ErrKicked)
	a.moveLocked(m, memberLeaving)
	a.state = roomClosed
	a.mu.Unlock()
	ada.say(`{"type":"message","room":"a","body":"x"}`)
	ada.wants("refused a not-member")
	ada.alive()
	p := a.pass(t.Context(), nil)
	p.finishLeave(m)
	a.dismissStreamLocked(m.at.Load(), m.Err(), 0)
	p.end()
	ada.wants("goodbye a kicked")
	ada.alive()
}

// stall makes the windows of p and of its connection of h's small, so that they are
// full soon.
func (p *hubPeer) stall(m *Member) {
	p.t.Helper()
	require.NoError(p.t, p.Conn.(*net.TCPConn).SetReadBuffer(16<<10))
	require.NoError(p.t, m.conn().nc.(*net.TCPConn).SetWriteBuffer(16<<10))
}

// catchUp lets p read fast again.
func (p *hubPeer) catchUp() {
	p.t.Helper()
	require.NoError(p.t, p.Conn.(*net.TCPConn).SetReadBuffer(4<<20))
}

// One whose goodbye ends its connection gets one goodbye.
func TestHubOneGoodbyeIfNoRoomsAreNamed(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(h *Hub, m *Member) error
		want string
	}{
		{"kick", func(_ *Hub, m *Member) error { return m.Kick("out") }, "goodbye kicked"},
		{"remove", func(h *Hub, _ *Member) error { return h.Remove("lobby", "out") }, "goodbye removed"},
		{"ban", func(h *Hub, _ *Member) error {
			_, err := h.Ban(Ban{Room: "lobby", Name: "ada"})
			return err
		}, "goodbye banned"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := jsonHub(t)
			ada := callHub(t, h)
			ada.say(`{"type":"hello","name":"ada"}`)
			ada.welcome()
			require.NoError(t, tt.end(h, memberNamed(t, roomOf(t, h, "lobby"), "ada")))
			ada.wants(tt.want)
			require.Empty(t, ada.ends())
			soon(t, "the connection is gone", func() bool { return h.All().Len() == 0 })
		})
	}
}

func TestHubFull(t *testing.T) {
	h := jsonHub(t, WithMaxRooms(2), WithRoomLinger(-1), WithRoom("fixed"))
	ada, bob := visitHub(t, h, "ada", "a"), visitHub(t, h, "bob")
	bob.say(`{"type":"enter","room":"b"}`)
	bob.say(`{"type":"enter","room":"a"}`)
	bob.say(`{"type":"enter","room":"fixed"}`)
	bob.wantsAll("refused b too-many-rooms", "welcome a bob", "welcome fixed bob")
	_, err := h.Room("b")
	require.ErrorIs(t, err, ErrTooManyRooms)
	ada.say(`{"type":"leave","room":"a"}`)
	bob.say(`{"type":"leave","room":"a"}`)
	ada.wants("goodbye a left")
	bob.wants("goodbye a left")
	soon(t, "a is gone", func() bool { return h.Stats().Rooms == 1 })
	bob.say(`{"type":"enter","room":"b"}`)
	bob.wants("welcome b bob")
}

// A refused enter leaves no room behind, whatever refuses it.
func TestHubRefusedEnterLeavesNoRoom(t *testing.T) {
	no := errors.New("no")
	for _, tt := range []struct {
		name string
		opts []HubOption
		code string
	}{
		{"OnEnter", []HubOption{OnEnter(func(context.Context, *Member, string) error { return no })}, "denied"},
		{"OnJoin", []HubOption{OnJoin(func(*Member) error { return no })}, "denied"},
		{"WithRoomOptions", []HubOption{WithRoomOptions(func(string) []RoomOption { return nil })}, "no-room"},
		{"WithRoomNames", []HubOption{WithRoomNames(func(string) error { return no })}, "room-name"},
		{"WithOpenRooms", []HubOption{WithOpenRooms(false)}, "no-room"},
		{"Ban", nil, "banned"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := jsonHub(t, tt.opts...)
			if tt.name == "Ban" {
				_, err := h.Ban(Ban{Room: "x", Name: "ada"})
				require.NoError(t, err)
			}
			ada := visitHub(t, h, "ada")
			ada.say(`{"type":"enter","room":"x"}`)
			ada.wants("refused x " + tt.code)
			ada.alive()
			soon(t, "no room is left", func() bool { return h.Stats().Rooms == 0 })
			require.Equal(t, 1, h.Stats().Connections)
		})
	}
	h := jsonHub(t)
	_, err := h.Room("kept") // of the program's, which stays for the linger
	require.NoError(t, err)
	time.Sleep(10 * time.Millisecond)
	require.Equal(t, 1, h.Stats().Rooms)
}

// Rooms that one connection enters and leaves keep nobody from making another one: the
// one that was empty first goes.
func TestHubEmptyRoomsMakePlace(t *testing.T) {
	h := jsonHub(t, WithMaxRooms(5), WithRoom("fixed"))
	_, err := h.Room("kept")
	require.NoError(t, err)
	ada := visitHub(t, h, "ada", "a")
	for _, name := range []string{"b", "c", "b"} {
		ada.say(`{"type":"enter","room":%q}`, name)
		ada.wants("welcome " + name + " ada")
		ada.say(`{"type":"leave","room":%q}`, name)
		ada.wants("goodbye " + name + " left")
	}
	ada.alive()
	require.NoError(t, h.Check("d"))
	bob := visitHub(t, h, "bob", "d")
	for _, name := range []string{"fixed", "kept", "a", "b", "d"} {
		roomOf(t, h, name)
	}
	visitHub(t, h, "eve", "e")
	for _, name := range []string{"fixed", "kept", "a", "d", "e"} {
		roomOf(t, h, name)
	}
	require.ErrorIs(t, h.Check("f"), ErrTooManyRooms)
	bob.say(`{"type":"enter","room":"f"}`)
	bob.wants("refused f too-many-rooms")
	require.EqualValues(t, 2, h.Stats().Removed)
}

// A room of WithRoom that was removed has its options when it is made again, and stays
// when it is empty.
func TestHubRoomOfAnOptionIsMadeAgain(t *testing.T) {
	none := func(string) []RoomOption { return nil }
	for _, more := range [][]HubOption{nil, {WithRoomOptions(none)}} {
		h := jsonHub(t, append(more, WithRoomLinger(-1), WithRoom("vip", Hidden()), WithRoom("x"), WithRoom("vip", OnJoin(func(m *Member) error {
			if m.Name() != "ada" {
				return errors.New("members only")
			}
			return nil
		})))...)
		require.NoError(t, h.Remove("vip", ""))
		bob := callHub(t, h)
		bob.say(`{"type":"hello","name":"bob","rooms":["vip"]}`)
		bob.wants("welcome * bob", "refused vip denied")
		vip := roomOf(t, h, "vip")
		require.True(t, vip.Hidden())
		ada := visitHub(t, h, "ada", "vip")
		ada.say(`{"type":"leave","room":"vip"}`)
		ada.wants("goodbye vip left")
		ada.alive()
		require.Same(t, vip, roomOf(t, h, "vip"))
	}
}

func TestHubUsersRoomAndMemberOutliveTheirs(t *testing.T) {
	h := jsonHub(t)
	ada := visitHub(t, h, "ada", "a", "b")
	room := roomOf(t, h, "a")
	m := memberNamed(t, room, "ada")
	ctx := t.Context()
	require.NoError(t, h.Remove("a", "old"))
	ada.wants("goodbye a removed")
	ada.say(`{"type":"enter","room":"a"}`)
	ada.wants("welcome a ada")
	_, err := room.Broadcast(ctx, []byte("x"))
	require.ErrorIs(t, err, ErrRoomClosed)
	_, err = room.Say(ctx, MemberInfo{"hook", "hook"}, []byte("x"))
	require.ErrorIs(t, err, ErrRoomClosed)
	require.ErrorIs(t, room.Mute(m.ID(), time.Now()), ErrNotMember)
	_, err = m.Post(ctx, []byte("x"))
	require.Error(t, err)
	require.ErrorIs(t, m.Send(ctx, []byte("x")), ErrNotMember)
	require.ErrorIs(t, m.Kick(""), ErrNotMember)
	require.ErrorIs(t, h.Leave(m, ""), ErrNotMember)
	_, err = h.Move(ctx, m, "c")
	require.ErrorIs(t, err, ErrNotMember)
	require.ErrorIs(t, m.Err(), Cause("removed"))
	require.ErrorIs(t, context.Cause(m.Context()), Cause("removed"))
	require.NoError(t, room.Close()) // which is not the room that has the name now
	require.NoError(t, room.Shutdown(ctx))
	now := roomOf(t, h, "a")
	require.NotSame(t, room, now)
	require.Equal(t, 1, now.Len())
	ada.alive()
	select {
	case <-room.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the room that was removed is not done")
	}
	back, err := h.Enter(ctx, m, "c") // any membership of the connection's will do
	require.NoError(t, err)
	require.Equal(t, m.ID(), back.ID())
	ada.wants("welcome c ada")
}

func TestHubRefusedCommandsEndNothing(t *testing.T) {
	h := jsonHub(t, WithMaxRoomsPerConn(2), WithUniqueNames(true))
	visitHub(t, h, "bob")
	ada := visitHub(t, h, "ada", "a")
	for _, tt := range [][2]string{
		{`{"type":"enter","ref":1,"room":"A B"}`, "refused room-name"},
		{`{"type":"enter","ref":1,"room":"*"}`, "refused * room-name"},
		{`{"type":"enter","ref":1,"room":""}`, "refused room-name"},
		{`{"type":"enter","ref":1}`, "refused room-name"},
		{`{"type":"leave","ref":1,"room":"b"}`, "refused b not-member"},
		{`{"type":"leave","ref":1,"room":"*"}`, "refused * not-member"},
		{`{"type":"leave","ref":1}`, "refused not-member"},
		{`{"type":"move","ref":1,"room":"b","to":"c"}`, "refused c not-member"},
		{`{"type":"move","ref":1,"room":"a","to":"*"}`, "refused * room-name"},
		{`{"type":"move","ref":1,"room":"*","to":"b"}`, "refused b not-member"},
		{`{"type":"move","ref":1,"room":"a","to":"a"}`, "members a"},
		{`{"type":"move","ref":1,"room":"a","to":""}`, "refused room-name"},
		{`{"type":"members","ref":1,"room":"*"}`, "refused * room-name"},
		{`{"type":"members","ref":1,"room":"b"}`, "refused b no-room"},
		{`{"type":"members","ref":1}`, "refused not-member"},
		{`{"type":"direct","ref":1,"to":"x","body":"y"}`, "refused recipient"},
		{`{"type":"direct","ref":1,"to":"","body":"y"}`, "refused recipient"},
		{`{"type":"rename","ref":1,"name":"bob"}`, "refused name-taken"},
		{`{"type":"rename","ref":1,"name":""}`, "refused name-invalid"},
		{`{"type":"message","room":"b","body":"y"}`, "refused b not-member"},
		{`{"type":"message","room":"*","body":"y"}`, "refused * not-member"},
		{`{"type":"message","body":"y"}`, "refused not-member"},
	} {
		ada.say("%s", tt[0])
		require.Equal(t, tt[1], ada.next(), tt[0])
	}
	ada.say(`{"type":"enter","room":"b"}`)
	ada.say(`{"type":"enter","room":"c"}`)
	ada.wantsAll("welcome b ada", "refused c too-many-rooms")
	ada.alive()
	require.Equal(t, 2, h.Stats().Memberships)
}

func TestHubRefusedTextCommandsEndNothing(t *testing.T) {
	h := NewHub(WithUniqueNames(true))
	defer h.Close()
	ada := callHub(t, h)
	ada.expect("* you are guest-1 in lobby")
	bob := callHub(t, h)
	bob.line()
	ada.expect("* guest-2 joined")
	for _, line := range []string{"/join", "/join A", "/join *", "/who no", "/who *", "/msg", "/msg x", "/msg x y", "/nick", "/nick guest-2", "/nick a b", "/dance", "/"} {
		ada.say("%s", line)
		require.Contains(t, ada.line(), "* not done: ", line)
	}
	ada.say("hi")
	for !strings.Contains(bob.line(), "guest-1: hi") {
	}
}

// parsed is a line of JSON.
func parsed(t testing.TB, line string) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Errorf("%q: %v", line, err)
	}
	return m
}

func newReader(nc net.Conn) *bufio.Reader { return bufio.NewReader(nc) }
