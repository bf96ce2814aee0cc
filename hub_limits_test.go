package tcproom_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestH5BroadcastReachesEachOnce: what the hub says to all reaches each connection once,
// in however many rooms it is.
func TestH5BroadcastReachesEachOnce(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}))
		many, none, plain, person := s.labelled("ada", "a", "b", "c"), s.labelled("bob"), s.unlabelled("cat"), s.person("dan")
		for _, r := range []*rider{many, none, plain, person} {
			r.got()
		}
		broadcast(t, s.hub.All(), []byte("noon"))
		require.Equal(t, map[string][]string{"*": {"1 <nil>: noon"}}, many.heard())
		require.Equal(t, map[string][]string{"*": {"1 <nil>: noon"}}, none.heard())
		require.Equal(t, map[string][]string{"": {"direct <nil>: noon"}}, plain.heard())
		require.Equal(t, []string{"*: noon"}, person.got())
	})
}

// TestH6RefusedEnterLeavesNothing: a refused enter makes no room and no event, and the
// connection goes on.
func TestH6RefusedEnterLeavesNothing(t *testing.T) {
	denied := errors.New("members only")
	for _, row := range []struct {
		name string
		opts []tcproom.HubOption
		room string
		do   func(s *stable)
		want string
	}{
		{name: "name", room: "no no", want: "room-name"},
		{name: "name of all", room: "*", want: "room-name"},
		{name: "own names", room: "b", opts: []tcproom.HubOption{tcproom.WithRoomNames(func(name string) error {
			if name == "b" {
				return denied
			}
			return nil
		})}, want: "room-name"},
		{name: "hook", room: "b", opts: []tcproom.HubOption{tcproom.OnEnter(func(_ context.Context, _ *tcproom.Member, room string) error {
			if room == "b" {
				return denied
			}
			return nil
		})}, want: "denied"},
		{name: "options", room: "b", opts: []tcproom.HubOption{tcproom.WithRoomOptions(func(name string) []tcproom.RoomOption {
			if name == "b" {
				return nil
			}
			return []tcproom.RoomOption{}
		})}, want: "no-room"},
		{name: "not open", room: "b", opts: []tcproom.HubOption{tcproom.WithOpenRooms(false), tcproom.WithRoom("a")}, want: "no-room"},
		{name: "too many", room: "b", opts: []tcproom.HubOption{tcproom.WithMaxRooms(1)}, want: "too-many-rooms"},
		{name: "too many of one", room: "b", opts: []tcproom.HubOption{tcproom.WithMaxRoomsPerConn(1)}, want: "too-many-rooms"},
		{name: "banned", room: "b", do: func(s *stable) { s.hub.Ban(tcproom.Ban{Room: "b", Name: "ada"}) }, want: "banned"},
		{name: "request", room: "b", opts: []tcproom.HubOption{tcproom.OnRequest(func(*tcproom.Member, *tcproom.Request) error { return denied })}, want: "denied"},
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
			ada.say(fmt.Sprintf(`{"type":"enter","room":%q,"ref":1}`, row.room), `{"type":"ping"}`)
			var answers []string
			for _, heard := range ada.heard() {
				answers = append(answers, heard...)
			}
			require.ElementsMatch(t, []string{"refused " + row.want + " ref 1", "pong"}, answers)
			require.Empty(t, bob.got())
			require.Equal(t, before, s.hub.Stats())
			require.Equal(t, seq, s.room("a").Stats().Seq)
		})
	}
}

// TestH6EmptyRoomsGo: a room is gone a while after its last member, with all that it
// kept, and the next of its name is another one.
func TestH6EmptyRoomsGo(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithHistory(tcproom.History{Messages: 100}))
		ada := s.labelled("ada", "a")
		ada.got()
		room := s.room("a")
		gone := weak.Make(room)
		epoch := tcproom.EpochOf(room)
		ada.say(`{"type":"message","room":"a","body":"hi"}`, `{"type":"leave","room":"a"}`)
		ada.got()
		time.Sleep(59 * time.Second)
		require.Same(t, room, s.room("a"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		_, there := s.hub.Lookup("a")
		require.False(t, there)
		_, err := room.Broadcast(testContext(t), nil)
		require.ErrorIs(t, err, tcproom.ErrRoomClosed)
		<-room.Done()
		room = nil
		ada.say(`{"type":"enter","room":"a"}`)
		require.Equal(t, map[string][]string{"a": {"welcome 1"}}, ada.heard())
		require.NotEqual(t, epoch, tcproom.EpochOf(s.room("a")))
		for range 10 {
			if runtime.GC(); gone.Value() == nil {
				return
			}
			time.Sleep(time.Second)
		}
		t.Fatal("something holds the room")
	})
}

// TestH7BansHold: when Ban has returned nobody whom it is about is in, and nobody comes
// in, whatever was under way.
func TestH7BansHold(t *testing.T) {
	byName, byAddr := tcproom.Ban{Name: "ada"}, tcproom.Ban{Addr: netip.MustParsePrefix("10.0.0.2/32")}
	for _, row := range []struct {
		name string
		ban  tcproom.Ban
		// in is how ada comes to be in the room "a" or about to be, when the ban comes.
		in func(s *stable, held chan struct{}) *rider
	}{
		{name: "there", ban: byName, in: func(s *stable, _ chan struct{}) *rider { return s.labelled("ada", "a") }},
		{name: "there by address", ban: byAddr, in: func(s *stable, _ chan struct{}) *rider {
			return s.ride(s.json, "10.0.0.2", helloOf(object{"name": "eve", "rooms": []string{"a"}}))
		}},
		{name: "there as a person", ban: byName, in: func(s *stable, _ chan struct{}) *rider {
			r := s.person("ada")
			r.say("/join a")
			return r
		}},
		{name: "in a hook", ban: byName, in: func(s *stable, _ chan struct{}) *rider {
			r := s.labelled("ada", "a")
			r.got()
			r.say(`{"type":"message","room":"a","body":"wait"}`, `{"type":"message","room":"a","body":"more"}`)
			return r
		}},
		{name: "joining", ban: byName, in: func(s *stable, _ chan struct{}) *rider { return s.labelled("ada", "held", "a") }},
		{name: "moving", ban: byName, in: func(s *stable, _ chan struct{}) *rider {
			r := s.labelled("ada", "a")
			r.got()
			r.say(`{"type":"move","room":"a","to":"held"}`)
			return r
		}},
		{name: "lost", ban: byName, in: func(s *stable, _ chan struct{}) *rider {
			r := s.labelled("ada", "a")
			r.got()
			r.nc.Reset()
			return r
		}},
		{name: "renamed afterwards", ban: byName, in: func(s *stable, held chan struct{}) *rider {
			r := s.labelled("eve", "a")
			go func() {
				<-held
				r.say(`{"type":"rename","name":"ada"}`)
			}()
			return r
		}},
	} {
		for _, room := range []string{"", "a", "held"} {
			inBubble(row.name+" "+room, t, func(t *testing.T) {
				held := make(chan struct{})
				wait, letGo := func() { <-held }, sync.OnceFunc(func() { close(held) })
				defer letGo()
				s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}),
					tcproom.WithRoom("held", tcproom.OnJoin(func(*tcproom.Member) error { wait(); return nil })),
					tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
						if string(body) == "wait" {
							wait()
						}
						return body, nil
					}))
				row.in(s, held)
				synctest.Wait()
				ban := row.ban
				ban.Room = room
				_, err := s.hub.Ban(ban)
				require.NoError(t, err)
				seq := uint64(0)
				look := func() {
					t.Helper()
					for _, name := range []string{"a", "held", "lobby"} {
						r, ok := s.hub.Lookup(name)
						if !ok || room != "" && name != room {
							continue
						}
						for m := range r.Members() {
							host := netip.MustParseAddrPort(m.RemoteAddr().String()).Addr()
							if ban.Name == m.Name() || ban.Addr.Contains(host) {
								t.Fatalf("%s is in %s", m.Name(), name)
							}
						}
						if name == "a" {
							seq = max(seq, r.Stats().Messages)
						}
					}
				}
				look()
				letGo()
				synctest.Wait()
				look()
				s.labelled("ada", "a", "held")
				s.ride(s.json, "10.0.0.2", helloOf(object{"name": "ada"}))
				synctest.Wait()
				look()
				if room != "held" {
					require.Zero(t, seq, "messages of somebody who is banned")
				}
			})
		}
	}
}

// TestBanOfNobody: one that is about nobody, or cannot be what was meant, is refused.
func TestBanOfNobody(t *testing.T) {
	h := tcproom.NewHub()
	defer h.Close()
	for _, ban := range []tcproom.Ban{{}, {Room: "a"}, {Addr: netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 33)},
		{Name: "ada", Addr: netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 33)}} {
		_, err := h.Ban(ban)
		require.ErrorIs(t, err, tcproom.ErrOption, "%v", ban)
		require.Empty(t, h.Bans())
	}
}

// TestH7BansHoldWhileTheyGo: nobody of a banned name is in a room when Ban has returned,
// also if the connection is renamed, or goes, at the same time.
func TestH7BansHoldWhileTheyGo(t *testing.T) {
	rooms := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, row := range []struct {
		name string
		then func(s *stable, m *tcproom.Member)
	}{
		{name: "renamed", then: func(s *stable, m *tcproom.Member) { s.hub.Rename(m, "was-"+m.Name()) }},
		{name: "kicked", then: func(_ *stable, m *tcproom.Member) { m.Kick("out") }},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			s := newStable(t, tcproom.WithCodec(tcproom.JSON{}))
			for i := range 100 {
				ban := tcproom.Ban{Name: fmt.Sprint("ada-", i)}
				s.labelled(ban.Name, rooms...)
				synctest.Wait()
				m := s.member("*", ban.Name)
				var going sync.WaitGroup
				begun := make(chan struct{})
				going.Go(func() { close(begun); row.then(s, m) })
				<-begun
				for range i % 20 {
					runtime.Gosched()
				}
				_, err := s.hub.Ban(ban)
				require.NoError(t, err)
				for _, room := range rooms {
					require.NotContains(t, s.names(room), ban.Name)
				}
				going.Wait()
				m.Kick("enough")
			}
		})
	}
}

// TestH7BansHoldForThoseWhoResume: who comes back from an address that is banned, or
// to a room from which it is, is not let in.
func TestH7BansHoldForThoseWhoResume(t *testing.T) {
	for _, row := range []struct {
		name  string
		room  string
		hello object
		names []string
	}{
		{name: "hub", hello: object{"rooms": []string{"a", "b"}}},
		{name: "hub, without rooms", hello: object{}},
		{name: "room", room: "a", hello: object{"rooms": []string{"a", "b"}}, names: []string{"ada"}},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}))
			row.hello["name"] = "ada"
			ada := s.ride(s.json, "10.0.0.1", helloOf(row.hello))
			again := resumeOf(ada.objects())
			ada.nc.Reset()
			synctest.Wait()
			s.hub.Ban(tcproom.Ban{Room: row.room, Addr: netip.MustParsePrefix("10.0.0.2/32")})
			next := s.ride(s.json, "10.0.0.2", again)
			synctest.Wait()
			for _, name := range []string{"a", "b", "lobby"} {
				if row.room != "" && row.room != name {
					continue
				}
				if r, ok := s.hub.Lookup(name); ok {
					for m := range r.Members() {
						require.NotContains(t, m.RemoteAddr().String(), "10.0.0.2", "%s is in %s", m.Name(), name)
					}
				}
			}
			require.Equal(t, row.room == "", next.gone())
			if row.names != nil {
				require.Equal(t, row.names, s.names("b"))
			}
		})
	}
}

// resumeOf returns the hello that resumes what these welcomes began.
func resumeOf(welcomes []object) string {
	res, rooms := object{}, object{}
	for _, o := range welcomes {
		if o["type"] != "welcome" {
			continue
		}
		if o["token"] != nil {
			res["token"], res["epoch"], res["seq"] = o["token"], o["epoch"], o["seq"]
		}
		if room, ok := o["room"].(string); ok && room != "*" {
			rooms[room] = object{"epoch": o["epoch"], "seq": o["seq"]}
		}
	}
	if welcomes[0]["room"] == nil {
		return helloOf(object{"resume": res})
	}
	res["rooms"] = rooms
	return helloOf(object{"resume": res, "rooms": []string{}})
}

// TestH7MutesHold: when Mute has returned nothing of the member gets a place.
func TestH7MutesHold(t *testing.T) {
	for _, hook := range []bool{false, true} {
		inBubble(fmt.Sprintf("hook %v", hook), t, func(t *testing.T) {
			held := make(chan struct{})
			opts := []tcproom.HubOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{})}
			if hook {
				opts = append(opts, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
					if string(body) == "wait" {
						<-held
					}
					return body, nil
				}))
			}
			s := newStable(t, opts...)
			ada := s.labelled("ada", "a", "b")
			again := resumeOf(ada.objects())
			room := s.room("a")
			if hook {
				ada.say(`{"type":"message","room":"a","body":"wait"}`)
				synctest.Wait()
			}
			m := s.member("a", "ada")
			require.NoError(t, room.Mute(m.ID(), time.Now().Add(time.Hour)))
			seq := room.Stats().Seq
			close(held)
			ada.say(`{"type":"message","room":"a","body":"one"}`, `{"type":"message","room":"a","id":1,"body":"two"}`, `{"type":"message","room":"b","body":"three"}`)
			ada.got()
			_, err := m.Post(testContext(t), nil)
			require.ErrorIs(t, err, tcproom.ErrMuted)
			ada.nc.Reset()
			synctest.Wait()
			ada = s.ride(s.json, "10.0.0.1", again) // it resumes
			ada.say(`{"type":"message","room":"a","body":"four"}`, `{"type":"leave","room":"a"}`, `{"type":"enter","room":"a"}`, `{"type":"message","room":"a","body":"five"}`)
			ada.got()
			require.Equal(t, seq+2, room.Stats().Seq, "but for its leave and join")
			require.Equal(t, uint64(1), s.room("b").Stats().Messages)
			require.Equal(t, []string{"ada"}, s.names("a"))
			time.Sleep(time.Hour)
			ada.say(`{"type":"message","room":"a","body":"six"}`)
			ada.got()
			require.Equal(t, seq+3, room.Stats().Seq)
		})
	}
}
