package tcproom

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A roll counts the hooks of memberships: each OnJoin that let somebody in has its
// OnLeave, and OnJoined is between the two.
type roll struct {
	mu    sync.Mutex
	calls map[*Member][]string
	order []string
}

func (r *roll) note(m *Member, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = make(map[*Member][]string)
	}
	r.calls[m] = append(r.calls[m], what)
	r.order = append(r.order, what+" "+m.Room().Name())
}

func (r *roll) options() []HubOption {
	return []HubOption{
		OnJoin(func(m *Member) error { r.note(m, "join"); return nil }),
		OnJoined(func(m *Member, _ uint64) { r.note(m, "joined") }),
		OnLeave(func(m *Member, err error) { r.note(m, "leave") }),
	}
}

// paired checks that all who came have left, with their hooks in order.
func (r *roll) paired(t testing.TB) {
	t.Helper()
	soon(t, "all have left", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.calls {
			if c[len(c)-1] != "leave" {
				return false
			}
		}
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for m, c := range r.calls {
		require.Contains(t, []string{"join joined leave", "join leave"}, strings.Join(c, " "), m.Room().Name())
	}
}

// unused checks that nothing of a room is reserved or pinned.
func unused(t testing.TB, h *Hub, name string) {
	t.Helper()
	soon(t, name+" is gone", func() bool { _, ok := h.Lookup(name); return !ok })
}

func TestHubDeathInAMove(t *testing.T) {
	for _, at := range []string{"OnJoin", "OnJoined"} {
		t.Run(at, func(t *testing.T) {
			in, goOn, all := make(chan struct{}), make(chan struct{}), &roll{}
			wait := func(m *Member, hook string) {
				if m.Room().Name() == "to" && hook == at {
					close(in)
					<-goOn
				}
			}
			opts := append(all.options(), WithRoomLinger(-1), WithNotices(true),
				OnJoin(func(m *Member) error { all.note(m, "join"); wait(m, "OnJoin"); return nil }),
				OnJoined(func(m *Member, _ uint64) { all.note(m, "joined"); wait(m, "OnJoined") }))
			h := jsonHub(t, opts...)
			bob := visitHub(t, h, "bob", "from")
			ada := visitHub(t, h, "ada", "from")
			ada.say(`{"type":"move","room":"from","to":"to"}`)
			<-in
			ada.Close()
			m := memberNamed(t, h.All(), "ada")
			if at == "OnJoin" {
				memberNamed(t, roomOf(t, h, "from"), "ada")
				require.Zero(t, roomOf(t, h, "to").Len())
			} else {
				memberNamed(t, roomOf(t, h, "to"), "ada")
			}
			m.Kick("as the end of its connection is not seen in a hook")
			close(goOn)
			unused(t, h, "to")
			for bob.said()["type"] != "leave" {
			}
			bob.alive()
			bob.Close()
			all.paired(t)
		})
	}
}

// A hook of the room that is entered panics, or ends the goroutine, in a move and an
// enter: the connection ends, and nothing of the room stays behind.
func TestHubHookFailsOnTheWayIn(t *testing.T) {
	fails := map[string]func(){"panic": func() { panic("p") }, "goexit": runtime.Goexit}
	for how, fail := range fails {
		for _, hook := range []string{"OnJoin", "OnJoined", "OnRoom", "OnEnter", "OnRequest"} {
			for _, ask := range []string{`{"type":"move","room":"from","to":"to"}`, `{"type":"enter","room":"to"}`} {
				t.Run(fmt.Sprint(how, hook, ask[9:13]), func(t *testing.T) {
					all := &roll{}
					when := func(is, room string) {
						if is == hook && room == "to" {
							fail()
						}
					}
					h := jsonHub(t, append(all.options(), WithRoomLinger(-1),
						OnJoin(func(m *Member) error { when("OnJoin", m.Room().Name()); all.note(m, "join"); return nil }),
						OnJoined(func(m *Member, _ uint64) { all.note(m, "joined"); when("OnJoined", m.Room().Name()) }),
						OnEnter(func(_ context.Context, _ *Member, room string) error { when("OnEnter", room); return nil }),
						OnRequest(func(*Member, *Request) error { when("OnRequest", "to"); return nil }),
						OnRoom(func(r *Room, made bool) {
							if made {
								when("OnRoom", r.Name())
							}
						}))...)
					ada := visitHub(t, h, "ada", "from")
					ada.say("%s", ask)
					if hook == "OnRoom" && how == "panic" { // nobody's end
						ada.Close()
					} else {
						require.Equal(t, "goodbye hook", ada.ends())
						ada.Close()
					}
					unused(t, h, "to")
					unused(t, h, "from")
					all.paired(t)
					require.Zero(t, h.All().Len())
				})
			}
		}
	}
}

// OnLeave of a room panics, or ends the goroutine, whoever has the member leave: the
// connection ends, for that reason.
func TestHubHookFailsOnTheWayOut(t *testing.T) {
	fails := map[string]func(){"panic": func() { panic("p") }, "goexit": runtime.Goexit}
	ways := map[string]func(h *Hub, ada *hubPeer, m *Member){
		"asked":   func(_ *Hub, ada *hubPeer, _ *Member) { ada.say(`{"type":"leave","room":"from"}`) },
		"kicked":  func(_ *Hub, _ *hubPeer, m *Member) { m.Kick("") },
		"removed": func(h *Hub, _ *hubPeer, m *Member) { h.Remove("from", "") },
		"moved":   func(h *Hub, _ *hubPeer, m *Member) { h.Move(context.Background(), m, "to") },
	}
	for how, fail := range fails {
		for way, leave := range ways {
			t.Run(how+" "+way, func(t *testing.T) {
				ended := make(chan error, 1)
				h := jsonHub(t, OnLeave(func(m *Member, _ error) {
					if m.Room().Name() == "from" {
						fail()
					}
				}), OnDisconnect(func(_ *Member, cause error) { ended <- cause }))
				ada := visitHub(t, h, "ada", "from")
				leave(h, ada, memberNamed(t, roomOf(t, h, "from"), "ada"))
				require.Equal(t, "goodbye hook", ada.ends())
				ada.Close()
				hook, ok := errors.AsType[*HookError](<-ended)
				require.True(t, ok)
				require.Equal(t, "OnLeave", hook.Hook)
			})
		}
	}
}

// Enter and Move say that a connection has left, or is lost, if it does so meanwhile.
func TestHubCallsOfAConnectionThatEnds(t *testing.T) {
	for _, row := range []struct {
		name    string
		end     func(ada *hubPeer, base *Member)
		want    []error
		session bool
	}{
		{name: "kicked", end: func(_ *hubPeer, base *Member) { base.Kick("") }, want: []error{ErrNotMember, ErrKicked}},
		{name: "gone", end: func(ada *hubPeer, base *Member) { ada.Close() }, want: []error{ErrNotMember}},
		{name: "lost", end: func(ada *hubPeer, base *Member) { ada.Close() }, want: []error{ErrDetached}, session: true},
	} {
		for _, move := range []bool{true, false} {
			t.Run(fmt.Sprint(row.name, move), func(t *testing.T) {
				var ada *hubPeer
				opts := []HubOption{OnJoin(func(m *Member) error {
					if m.Room().Name() == "to" {
						base := memberNamed(t, m.Room().Hub().All(), "ada")
						row.end(ada, base)
						<-base.conn().Context().Done()
					}
					return nil
				})}
				if row.session {
					opts = append(opts, WithSessions(Sessions{}))
				}
				h := jsonHub(t, opts...)
				ada = visitHub(t, h, "ada", "from")
				m := memberNamed(t, roomOf(t, h, "from"), "ada")
				var err error
				if move {
					_, err = h.Move(context.Background(), m, "to")
				} else {
					_, err = h.Enter(context.Background(), m, "to")
				}
				for _, want := range row.want {
					require.ErrorIs(t, err, want)
				}
			})
		}
	}
}

// A hook fails likewise if the program moves or lets in a connection, on a goroutine of its own.
func TestHubHookFailsInACallOfThePrograms(t *testing.T) {
	fails := map[string]func(){"panic": func() { panic("p") }, "goexit": runtime.Goexit}
	for how, fail := range fails {
		for _, move := range []bool{true, false} {
			t.Run(fmt.Sprint(how, move), func(t *testing.T) {
				all := &roll{}
				h := jsonHub(t, append(all.options(), WithRoomLinger(-1), OnJoin(func(m *Member) error {
					if m.Room().Name() == "to" {
						fail()
					}
					all.note(m, "join")
					return nil
				}))...)
				ada := visitHub(t, h, "ada", "from")
				m := memberNamed(t, roomOf(t, h, "from"), "ada")
				done := make(chan struct{})
				go func() {
					defer close(done)
					if move {
						h.Move(context.Background(), m, "to")
					} else {
						h.Enter(context.Background(), m, "to")
					}
				}()
				<-done
				unused(t, h, "to")
				ada.Close()
				all.paired(t)
			})
		}
	}
}

// Moves and enters of one connection that come together end in one membership each.
func TestHubEntersAndMovesOfOneConnectionTogether(t *testing.T) {
	for range 30 {
		all := &roll{}
		h := jsonHub(t, append(all.options(), WithRoomLinger(-1))...)
		ada := visitHub(t, h, "ada", "from")
		base, m := memberNamed(t, h.All(), "ada"), memberNamed(t, roomOf(t, h, "from"), "ada")
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() { h.Move(context.Background(), m, "to") })
			wg.Go(func() { h.Move(context.Background(), m, fmt.Sprint("to", i)) })
			wg.Go(func() { h.Enter(context.Background(), base, "in") })
		}
		wg.Wait()
		rooms := map[string]int{}
		for m := range h.Memberships(base) {
			rooms[m.Room().Name()]++
		}
		for name, n := range rooms {
			require.Equal(t, 1, n, name)
			require.Equal(t, 1, roomOf(t, h, name).Len(), name)
		}
		require.Len(t, rooms, 3, "%v", rooms) // "*", in and one of the others
		require.EqualValues(t, 1, h.Stats().Moves)
		ada.Close()
		all.paired(t)
		unused(t, h, "in")
		h.Close()
	}
}

// A connection that names no rooms is never in two.
func TestHubEntersOfOneThatNamesNoRooms(t *testing.T) {
	h := jsonHub(t)
	ada := callHub(t, h)
	ada.say(`{"type":"hello","name":"ada"}`)
	ada.welcome()
	base := memberNamed(t, h.All(), "ada")
	for _, room := range []string{"b", "c"} {
		_, err := h.Enter(t.Context(), base, room)
		require.ErrorIs(t, err, Cause("one-room"))
	}
	m, err := h.Enter(t.Context(), base, "lobby")
	require.NoError(t, err)
	_, err = h.Move(t.Context(), m, "b")
	require.NoError(t, err)
	_, _, _, w := ada.welcome()
	require.EqualValues(t, 1, w["total"])
	require.Equal(t, 1, h.Stats().Memberships)
}

// The hooks of a membership may move it: OnLeave then waits for them.
func TestHubMoveInHooks(t *testing.T) {
	for _, hook := range []string{"OnJoined", "OnMessage"} {
		t.Run(hook, func(t *testing.T) {
			var h *Hub
			all := &roll{}
			moved := make(chan error, 1)
			h = jsonHub(t, append(all.options(), WithRoomLinger(-1),
				OnJoined(func(m *Member, _ uint64) {
					all.note(m, "joined")
					if hook == "OnJoined" && m.Room().Name() == "from" {
						_, err := h.Move(context.Background(), m, "to")
						moved <- err
					}
				}),
				OnMessage(func(m *Member, body []byte) ([]byte, error) {
					if hook == "OnMessage" {
						_, err := h.Move(context.Background(), m, "to")
						moved <- err
					}
					return nil, nil
				}))...)
			ada := callHub(t, h)
			ada.say(`{"type":"hello","name":"ada","rooms":["from"]}`)
			ada.welcome()
			ada.wants("welcome from ada")
			ada.say(`{"type":"message","room":"from","body":"go"}`)
			select {
			case err := <-moved:
				require.NoError(t, err)
			case <-time.After(10 * time.Second):
				t.Fatal("the move hangs")
			}
			ada.wants("goodbye from moved")
			if hook == "OnJoined" {
				ada.wantsAll("welcome to ada", "refused from not-member")
			} else {
				ada.wants("welcome to ada")
			}
			ada.alive()
			ada.Close()
			all.paired(t)
		})
	}
}

// What a hook has returned before a move of the program's has its place before that.
func TestHubMoveComesBehindWhatOnMessageReturned(t *testing.T) {
	in, goOn := make(chan struct{}), make(chan struct{})
	h := jsonHub(t, OnMessage(func(m *Member, body []byte) ([]byte, error) {
		if string(body) == "two" {
			close(in)
			<-goOn
		}
		return body, nil
	}))
	bob, ada := visitHub(t, h, "bob", "from"), visitHub(t, h, "ada", "from")
	ada.say("%s\n%s", `{"type":"message","room":"from","body":"one"}`, `{"type":"message","room":"from","body":"two"}`)
	<-in
	_, err := h.Move(t.Context(), memberNamed(t, roomOf(t, h, "from"), "ada"), "to")
	require.NoError(t, err)
	close(goOn)
	bob.wants("message from one")
	ada.wants("goodbye from moved")
	ada.wantsAll("welcome to ada", "refused from not-member")
	ada.alive()
	bob.alive()
}

// OnJoined is the first that is called, also if the program lets somebody in who speaks,
// or is put out, at once.
func TestHubOnJoinedComesFirst(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	note := func(s string) { mu.Lock(); defer mu.Unlock(); calls = append(calls, s) }
	entered := make(chan *Member, 1)
	h := jsonHub(t, WithRoomLinger(-1),
		OnJoin(func(m *Member) error { entered <- m; return nil }),
		OnJoined(func(*Member, uint64) { time.Sleep(time.Millisecond); note("joined") }),
		OnLeave(func(*Member, error) { note("leave") }))
	visitHub(t, h, "ada")
	base := memberNamed(t, h.All(), "ada")
	for i := range 50 {
		mu.Lock()
		calls = nil
		mu.Unlock()
		go func() {
			for { // the one before may be about to return
				if _, err := h.Enter(context.Background(), base, "x"); err != error(errEntering) {
					return
				}
				runtime.Gosched()
			}
		}()
		m := <-entered
		soon(t, "it has joined", func() bool { return m.Kick("") == nil })
		soon(t, "both are called", func() bool { mu.Lock(); defer mu.Unlock(); return len(calls) == 2 })
		require.Equal(t, []string{"joined", "leave"}, calls, i)
	}
}

// OnDisconnect comes behind every OnLeave, also if that is slow and of a room that the
// connection was put out of before.
func TestHubOnDisconnectComesLast(t *testing.T) {
	all := &roll{}
	goOn := make(chan struct{})
	h := jsonHub(t, append(all.options(), OnLeave(func(m *Member, _ error) { <-goOn; all.note(m, "leave") }),
		OnDisconnect(func(m *Member, _ error) { all.note(m, "disconnect") }))...)
	ada := visitHub(t, h, "ada", "a", "b")
	require.NoError(t, memberNamed(t, roomOf(t, h, "a"), "ada").Kick(""))
	ada.wants("goodbye a kicked")
	ada.Close()
	soon(t, "it is gone", func() bool { return h.All().Len() == 0 })
	time.Sleep(5 * time.Millisecond)
	close(goOn)
	soon(t, "OnDisconnect is called", func() bool {
		all.mu.Lock()
		defer all.mu.Unlock()
		return len(all.order) == 7
	})
	require.Equal(t, "disconnect *", all.order[6])
}

// The same if the program lets the connection into a room meanwhile, which its end
// prevents.
func TestHubOnDisconnectBehindAnEnter(t *testing.T) {
	in, goOn, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	all := &roll{}
	h := jsonHub(t, append(all.options(), WithRoomLinger(-1), OnJoin(func(m *Member) error {
		all.note(m, "join")
		if m.Room().Name() == "b" {
			close(in)
			<-goOn
		}
		return nil
	}), OnDisconnect(func(m *Member, _ error) { all.note(m, "disconnect"); close(over) }))...)
	ada := visitHub(t, h, "ada", "a")
	m := memberNamed(t, h.All(), "ada")
	entered := make(chan error)
	go func() { _, err := h.Enter(context.Background(), m, "b"); entered <- err }()
	<-in
	ada.Close()
	unused(t, h, "a")
	select {
	case <-over:
		t.Error("OnDisconnect is called before OnLeave")
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	require.Error(t, <-entered)
	<-over
	// The hooks of the two rooms are called on two goroutines: there is an order only within
	// a room, and behind all of them.
	callsIn := func(room string) (list []string) {
		for _, call := range all.order {
			if strings.HasSuffix(call, room) {
				list = append(list, call)
			}
		}
		return list
	}
	require.Equal(t, []string{"join a", "joined a", "leave a"}, callsIn(" a"))
	require.Equal(t, []string{"join b", "leave b"}, callsIn(" b"))
	require.Equal(t, "disconnect *", all.order[5])
}
