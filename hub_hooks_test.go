package tcproom

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hubHooks are the hooks of a hub; each calls fn with a member of the connection, if it
// has one, and the room that it is about.
func hubHooks(fn func(hook string, m *Member, room string)) []HubOption {
	return []HubOption{
		WithRoomNames(func(name string) error { fn("WithRoomNames", nil, name); return nil }),
		WithRoomOptions(func(name string) []RoomOption { fn("WithRoomOptions", nil, name); return []RoomOption{} }),
		OnRoom(func(r *Room, made bool) { fn(fmt.Sprint("OnRoom ", made), nil, r.Name()) }),
		OnEnter(func(_ context.Context, m *Member, room string) error { fn("OnEnter", m, room); return nil }),
		OnRequest(func(m *Member, req *Request) error { fn("OnRequest", m, req.Room); return nil }),
		OnConnect(func(m *Member) error { fn("OnConnect", m, "*"); return nil }),
		OnDisconnect(func(m *Member, _ error) { fn("OnDisconnect", m, "*") }),
		OnJoin(func(m *Member) error { fn("OnJoin", m, m.Room().Name()); return nil }),
		OnJoined(func(m *Member, _ uint64) { fn("OnJoined", m, m.Room().Name()) }),
		OnMessage(func(m *Member, body []byte) ([]byte, error) { fn("OnMessage", m, m.Room().Name()); return body, nil }),
		OnLeave(func(m *Member, _ error) { fn("OnLeave", m, m.Room().Name()) }),
	}
}

var hookNamesOfHub = []string{"WithRoomNames", "WithRoomOptions", "OnRoom true", "OnRoom false", "OnEnter", "OnRequest",
	"OnConnect", "OnDisconnect", "OnJoin", "OnJoined", "OnMessage", "OnLeave"}

// hubCalls are what a hook may call.
var hubCalls = map[string]func(h *Hub, m *Member, room string){
	"Enter": func(h *Hub, m *Member, room string) {
		for other := range h.All().Members() {
			h.Enter(context.Background(), other, "side")
		}
	},
	"Leave": func(h *Hub, m *Member, room string) {
		for other := range h.All().Members() {
			for part := range h.Memberships(other) {
				if part.isPart() {
					h.Leave(part, "")
				}
			}
		}
	},
	"Move": func(h *Hub, m *Member, room string) {
		for other := range h.All().Members() {
			for part := range h.Memberships(other) {
				h.Move(context.Background(), part, "side")
			}
		}
	},
	"Remove": func(h *Hub, m *Member, room string) { h.Remove(room, ""); h.Remove("a", ""); h.Remove("side", "") },
	"Ban": func(h *Hub, m *Member, room string) {
		h.Ban(Ban{Room: room, Name: "ada"})
		h.Ban(Ban{Addr: netip.MustParsePrefix("127.0.0.0/8")})
		h.Unban(Ban{Addr: netip.MustParsePrefix("127.0.0.0/8")})
	},
	"Rename": func(h *Hub, m *Member, room string) {
		for other := range h.All().Members() {
			h.Rename(other, "eve")
			h.Tell(context.Background(), other, other.ID(), []byte("x"))
		}
	},
	"Broadcast": func(h *Hub, m *Member, room string) {
		h.All().Broadcast(context.Background(), []byte("x"))
		for _, r := range h.Rooms("") {
			r.Broadcast(context.Background(), []byte("x"))
			for m := range r.Members() {
				r.Mute(m.ID(), time.Now())
				m.Send(context.Background(), []byte("x"))
			}
		}
		h.Stats()
	},
	"Room": func(h *Hub, m *Member, room string) {
		if room != "side" {
			h.Room("side")
		}
	},
	"Close": func(h *Hub, m *Member, room string) { h.Close() },
}

// Each call inside each hook returns soon, whatever becomes of the connection, and the
// hub stops.
func TestHubCallsInHooks(t *testing.T) {
	for name, call := range hubCalls {
		for _, hook := range hookNamesOfHub {
			t.Run(fmt.Sprint(name, " in ", hook), func(t *testing.T) {
				t.Parallel()
				var h *Hub
				var once atomic.Bool
				called, returned := make(chan struct{}), make(chan time.Duration, 1)
				set := make(chan struct{})
				opts := hubHooks(func(is string, m *Member, room string) {
					if is != hook || room == "side" && !strings.Contains(is, "On") {
						return
					}
					if !once.CompareAndSwap(false, true) {
						return
					}
					close(called)
					<-set
					began := time.Now()
					call(h, m, room)
					returned <- time.Since(began)
				})
				h = NewHub(append(opts, WithCodec(JSON{}), WithRoomLinger(-1))...)
				close(set)
				ada := callHub(t, h)
				fmt.Fprintln(ada, `{"type":"hello","name":"ada","rooms":["a"]}`)
				fmt.Fprintln(ada, `{"type":"message","room":"a","body":"x"}`)
				fmt.Fprintln(ada, `{"type":"leave","room":"a"}`)
				fmt.Fprintln(ada, `{"type":"enter","room":"b"}`)
				fmt.Fprintln(ada, `{"type":"goodbye"}`)
				ada.ends()
				select {
				case <-called:
				case <-time.After(5 * time.Second):
					t.Skip("the hook is not called")
				}
				select {
				case d := <-returned:
					require.Less(t, d, closeTimeout-time.Second)
				case <-time.After(15 * time.Second):
					t.Fatal("the call hangs")
				}
				require.NoError(t, h.Close())
				select {
				case <-h.Done():
				case <-time.After(10 * time.Second):
					t.Fatal("the hub is not done")
				}
			})
		}
	}
}

// While any hook blocks, other connections and rooms go on.
func TestHubHooksThatBlock(t *testing.T) {
	for _, hook := range hookNamesOfHub {
		if hook == "OnConnect" || hook == "OnDisconnect" || hook == "WithRoomNames" {
			continue // as in a lone room; or called for each
		}
		t.Run(hook, func(t *testing.T) {
			var arm atomic.Bool
			in, goOn := make(chan struct{}, 100), make(chan struct{})
			opts := hubHooks(func(is string, m *Member, room string) {
				if is == hook && arm.Load() && (room == "slow" || is == "OnRequest" && m.Name() == "ada") {
					in <- struct{}{}
					<-goOn
				}
			})
			h := jsonHub(t, append(opts, WithRoomLinger(-1))...)
			ada, bob, eve := visitHub(t, h, "ada", "a"), visitHub(t, h, "bob", "a"), visitHub(t, h, "eve", "a")
			arm.Store(true)
			fmt.Fprintln(ada, `{"type":"enter","room":"slow"}`)
			fmt.Fprintln(ada, `{"type":"message","room":"slow","body":"x"}`)
			fmt.Fprintln(ada, `{"type":"leave","room":"slow"}`)
			<-in
			bob.say(`{"type":"enter","room":"b"}`)
			bob.say(`{"type":"message","room":"a","body":"hi"}`)
			eve.wants("message a hi")
			bob.wants("welcome b bob")
			bob.say(`{"type":"rooms"}`)
			bob.wants("rooms")
			_, err := h.All().Broadcast(t.Context(), []byte("to all"))
			require.NoError(t, err)
			eve.wants("message * to all")
			close(goOn)
		})
	}
}

// One who only waits for a room that OnRoom holds up does not wait for ever.
func TestHubOneThatWaitsForOnRoomMayGo(t *testing.T) {
	in, goOn := make(chan struct{}), make(chan struct{})
	h := jsonHub(t, OnRoom(func(r *Room, made bool) {
		if made {
			close(in)
			<-goOn
		}
	}))
	defer close(goOn)
	ada := visitHub(t, h, "ada")
	visitHub(t, h, "bob")
	ada.say(`{"type":"enter","room":"slow"}`)
	<-in
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := h.Enter(ctx, memberNamed(t, h.All(), "bob"), "slow")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// OnRoom is called once at a time for a room, also if it is removed in that hook.
func TestHubOnRoomOneAtATime(t *testing.T) {
	var h *Hub
	var mu sync.Mutex
	var calls []string
	h = jsonHub(t, OnRoom(func(r *Room, made bool) {
		mu.Lock()
		calls = append(calls, fmt.Sprint("begin ", made))
		mu.Unlock()
		if made {
			h.Remove(r.Name(), "")
			time.Sleep(20 * time.Millisecond)
		}
		mu.Lock()
		calls = append(calls, fmt.Sprint("end ", made))
		mu.Unlock()
	}))
	ada := visitHub(t, h, "ada")
	ada.say(`{"type":"enter","room":"x"}`)
	ada.wants("refused x closed")
	soon(t, "both are called", func() bool { mu.Lock(); defer mu.Unlock(); return len(calls) == 4 })
	require.Equal(t, []string{"begin true", "end true", "begin false", "end false"}, calls)
	ada.alive()
}

// What a hook refuses with is what its peer is told.
func TestHubRefusalsOfHooksSayWhy(t *testing.T) {
	for _, cause := range []Cause{ErrRoomName, ErrNoRoom, ErrTooManyRooms, ErrMuted, ErrBanned, errOneRoom, errRecipient, ErrRoomFull, ErrNameTaken} {
		t.Run(string(cause), func(t *testing.T) {
			h := jsonHub(t, OnEnter(func(context.Context, *Member, string) error { return fmt.Errorf("as it is: %w", cause) }))
			ada := visitHub(t, h, "ada")
			ada.say(`{"type":"enter","room":"x"}`)
			ada.wants("refused x " + string(cause))
		})
	}
	require.Equal(t, ErrDenied, refusalCause(ErrKicked), "of another connection")
	require.Equal(t, ErrDenied, refusalCause(errors.New("no")))
}

// What only a hub does is not done before the join, and ends nothing.
func TestHubRequestsInTheHandshake(t *testing.T) {
	ask := func(ctx context.Context, n *Newcomer) (Identity, error) {
		b, err := n.Receive(ctx)
		return Identity{Name: string(b)}, err
	}
	requests := []string{`{"type":"enter","room":"a","ref":1}`, `{"type":"leave","room":"a","ref":2}`, `{"type":"rooms","ref":3}`,
		`{"type":"members","room":"a","ref":4}`, `{"type":"direct","to":"x","body":"y","ref":5}`, `{"type":"rename","name":"x","ref":6}`,
		`{"type":"move","room":"a","to":"b","ref":7}`}
	h := jsonHub(t, WithHandshake(ask))
	lone := New(WithCodec(JSON{}), WithHandshake(ask))
	defer lone.Close()
	here, there := tcpPairOf(t)
	defer here.Close()
	go lone.ServeConn(there)
	for _, p := range []*hubPeer{callHub(t, h), {t: t, Conn: here, r: newReader(here)}} {
		p.say(`{"type":"hello"}`)
		for _, r := range requests {
			p.say("%s", r)
		}
		p.say(`{"type":"message","body":"ada"}`)
		for i := range requests {
			m := p.said()
			require.Equal(t, "refused", m["type"], "%v", m)
			require.EqualValues(t, i+1, m["ref"])
		}
		require.Contains(t, p.next(), "welcome ada")
	}
	text := NewHub(WithHandshake(ask))
	defer text.Close()
	p := callHub(t, text)
	p.say("/help")
	p.say("/join kitchen")
	require.Contains(t, p.line(), "* commands: ")
	require.Contains(t, p.line(), "* not done: ")
	p.say("ada")
	p.expect("* you are ada in lobby")
}

// A hello may be as long as one that resumes in as many rooms as a connection may be in.
func TestHubLongHello(t *testing.T) {
	h := jsonHub(t, WithSessions(Sessions{}), WithRoomNames(func(string) error { return nil }))
	var rooms []string
	for i := range defaultMaxPerConn {
		rooms = append(rooms, fmt.Sprintf("%0*d", 64, i))
	}
	ada := callHub(t, h)
	ada.say(`{"type":"hello","name":"ada","rooms":["%s"]}`, strings.Join(rooms, `","`))
	token, epoch, _, _ := ada.welcome()
	var at []string
	for range rooms {
		_, e, _, w := ada.welcome()
		at = append(at, fmt.Sprintf(`%q:{"epoch":%q,"seq":%d}`, w["room"], e, uint64(1<<53)-1))
	}
	for i := range at {
		at[i] = strings.Replace(at[i], fmt.Sprint(uint64(1<<53)-1), "1", 1)
	}
	ada.Close()
	soon(t, "it is lost", func() bool { return h.All().Stats().Detached == 1 })
	ada = callHub(t, h)
	ada.say(`{"type":"hello","rooms":[],"resume":{"token":%q,"epoch":%q,"seq":0,"rooms":{%s}}}`, token, epoch, strings.Join(at, ","))
	ada.wants("welcome * ada resumed")
	for range rooms {
		require.Contains(t, ada.next(), "resumed")
	}
	lone := New(WithCodec(JSON{}))
	defer lone.Close()
	here, there := tcpPairOf(t)
	defer here.Close()
	go lone.ServeConn(there)
	p := &hubPeer{t: t, Conn: here, r: newReader(here)}
	p.say(`{"type":"hello","name":"ada","rooms":["%s"]}`, strings.Join(rooms, `","`))
	require.Equal(t, "refused too-large", p.ends())
}

// Two who take one name: one has it, and each name is free or has one bearer.
func TestHubRenameRaces(t *testing.T) {
	h := jsonHub(t, WithUniqueNames(true))
	names := []string{"ada", "bob", "eve", "mal"}
	var members []*Member
	for _, name := range names {
		p := visitHub(t, h, name, "a", "b")
		go func() {
			for {
				if _, err := p.r.ReadString('\n'); err != nil {
					return
				}
			}
		}()
		members = append(members, memberNamed(t, h.All(), name))
	}
	var won atomic.Int64
	var wg sync.WaitGroup
	for _, m := range members {
		wg.Go(func() {
			switch err := h.Rename(m, "one"); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrNameTaken):
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, won.Load())
	for i, m := range members {
		for j := range 2 {
			wg.Go(func() {
				for k := range 50 {
					h.Rename(m, names[(i+j+k)%len(names)])
				}
			})
		}
		wg.Go(func() {
			for range 20 {
				part, err := h.Enter(context.Background(), m, "c")
				if err == nil {
					h.Leave(part, "")
				}
			}
		})
	}
	wg.Wait()
	r := h.All()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Len(t, r.names, len(members))
	var seen []string
	for _, m := range members {
		require.Same(t, m, r.names[m.Name()])
		seen = append(seen, m.Name())
		for part := range h.Memberships(m) {
			require.Equal(t, m.Info(), part.Info(), part.Room().Name())
		}
	}
	slices.Sort(seen)
	require.Len(t, slices.Compact(seen), len(members))
}
