package tcproom_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestH8ResumeRoomByRoom: one token resumes all memberships, and each room says by itself
// what became of it.
func TestH8ResumeRoomByRoom(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Events: 3}))
		bob := s.labelled("bob", "a", "b", "c", "d", "e")
		ada := s.labelled("ada", "a", "b", "c", "d")
		again := resumeOf(ada.objects())
		bob.got()
		ada.say(`{"type":"message","room":"a","id":1,"body":"mine"}`)
		synctest.Wait()
		ada.nc.Reset()
		bob.say(`{"type":"message","room":"a","body":"one"}`)
		for i := range 5 {
			bob.say(fmt.Sprintf(`{"type":"message","room":"b","body":"%d"}`, i))
		}
		synctest.Wait()
		require.NoError(t, s.hub.Remove("d", ""))
		bob.got()
		again = strings.Replace(again, `"rooms":{`, `"rooms":{"e":{"epoch":"E","seq":1},"f":{"epoch":"E","seq":1},`, 1)
		at := strings.Index(again, `"c":{`)
		require.Positive(t, at)
		again = strings.Replace(again, again[at:at+strings.Index(again[at:], "}")+2], "", 1)
		ada = s.ride(s.json, "10.0.0.1", again, `{"type":"message","room":"a","id":1,"body":"mine"}`, `{"type":"message","room":"a","id":2,"body":"more"}`)
		require.Equal(t, map[string][]string{
			"*": {"welcome 0 resumed"},
			"a": {"welcome 4 resumed", "4 bob: one", "ack 1=3", "ack 2=5"},
			"b": {"welcome 7 gap", "gap 3-4", "5 bob: 2", "6 bob: 3", "7 bob: 4"},
			"d": {"refused no-room"}, "e": {"refused not-member"}, "f": {"refused no-room"},
		}, ada.heard())
		require.Equal(t, map[string][]string{"a": {"5 ada: more"}, "c": {"3 leave ada"}}, bob.heard())
	})
}

// TestH8NumbersOverRooms: a numbered message is ordered once, whatever becomes of the
// memberships of its connection.
func TestH8NumbersOverRooms(t *testing.T) {
	one, two := `{"type":"message","id":1,"body":"t-1"}`, `{"type":"message","id":2,"body":"t-2"}`
	for _, row := range []struct {
		name  string
		hello object
		do    func(s *stable, ada *rider)
	}{
		{name: "moved", hello: object{}, do: func(s *stable, _ *rider) {
			_, err := s.hub.Move(testContext(s.t), s.member("lobby", "ada"), "b")
			require.NoError(s.t, err)
		}},
		{name: "moved by itself", hello: object{}, do: func(s *stable, ada *rider) { ada.say(`{"type":"move","to":"b"}`) }},
		{name: "moved and back", hello: object{}, do: func(s *stable, ada *rider) {
			ada.say(`{"type":"move","to":"b"}`, `{"type":"move","to":"lobby"}`)
		}},
		{name: "left and entered", hello: object{"rooms": []string{"lobby"}}, do: func(s *stable, ada *rider) {
			ada.say(`{"type":"leave","room":"lobby"}`, `{"type":"enter","room":"lobby"}`)
		}},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			c := &chronicle{}
			s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithRoomOptions(c.options))
			say := func(r *rider, lines ...string) {
				for _, line := range lines {
					if row.hello["rooms"] != nil {
						line = strings.Replace(line, `"id"`, `"room":"lobby","id"`, 1)
					}
					r.say(line)
				}
			}
			row.hello["name"] = "ada"
			ada := s.ride(s.json, "10.0.0.1", helloOf(row.hello))
			welcomes := ada.objects()
			say(ada, one)
			synctest.Wait()
			row.do(s, ada)
			synctest.Wait()
			for _, o := range ada.objects() {
				if o["type"] == "welcome" {
					if o["token"] == nil {
						o["token"] = welcomes[0]["token"]
					}
					if row.hello["rooms"] == nil {
						welcomes = []object{o}
					} else {
						delete(o, "token")
						welcomes[len(welcomes)-1] = o
					}
				}
			}
			ada.nc.Reset()
			synctest.Wait()
			ada = s.ride(s.json, "10.0.0.1", resumeOf(welcomes))
			say(ada, one, two)
			var acks []string
			for _, heard := range ada.heard() {
				for _, line := range heard {
					if strings.HasPrefix(line, "ack") {
						acks = append(acks, line[:len("ack 1=")])
					}
				}
			}
			require.Equal(t, []string{"ack 1=", "ack 2="}, acks)
			c.checkOrders()
			c.checkSpoken()
			require.Empty(t, c.faults)
			messages := uint64(0)
			for _, r := range s.hub.Rooms("") {
				messages += r.Stats().Messages
			}
			require.Equal(t, uint64(2), messages)
		})
	}
}

// TestH8RenamedWhileAway: a member that is renamed while it is away gets that too.
func TestH8RenamedWhileAway(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}))
		ada := s.labelled("ada", "a")
		again := resumeOf(ada.objects())
		ada.nc.Reset()
		synctest.Wait()
		require.NoError(t, s.hub.Rename(s.member("*", "ada"), "eve"))
		broadcast(t, s.room("a"), []byte("hi"))
		ada = s.ride(s.json, "10.0.0.1", again)
		require.Equal(t, []string{"welcome 3 resumed", "2 ada is now eve", "3 <nil>: hi"}, ada.heard()["a"])
	})
}

// TestH8ResumeWithoutRooms: a connection that names no rooms and cannot go on in its room
// comes anew, and leaves nothing behind.
func TestH8ResumeWithoutRooms(t *testing.T) {
	for _, row := range []struct {
		name string
		away func(s *stable, hello string) string
		want string
	}{
		{name: "in time", away: func(s *stable, hello string) string { return hello }, want: "resumed"},
		{name: "another epoch", away: func(s *stable, hello string) string {
			return strings.Replace(hello, `"epoch":"`, `"epoch":"X`, 1)
		}, want: "expired"},
		{name: "kicked", away: func(s *stable, hello string) string {
			s.member("lobby", "ada").Kick("out")
			return hello
		}, want: "expired"},
		{name: "removed", away: func(s *stable, hello string) string {
			s.hub.Remove("lobby", "")
			return hello
		}, want: "expired"},
		{name: "late", away: func(s *stable, hello string) string {
			time.Sleep(time.Hour)
			return hello
		}, want: "expired"},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			c := &chronicle{}
			s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithRoomOptions(c.options))
			ada := s.unlabelled("ada")
			hello := resumeOf(ada.objects())
			for range 2 { // the second time with the token of the first
				ada.nc.Reset()
				synctest.Wait()
				hello = row.away(s, hello)
				synctest.Wait()
				ada = s.ride(s.json, "10.0.0.1", strings.Replace(hello, `"resume"`, `"name":"ada","resume"`, 1))
				got := ada.objects()
				require.Len(t, got, 1, "%v", got)
				require.Equal(t, "welcome", got[0]["type"], "%v", got)
				require.Equal(t, row.want, got[0]["outcome"])
				require.NotEmpty(t, got[0]["token"])
				require.Equal(t, []string{"ada"}, s.names("lobby"))
				require.Equal(t, []string{"ada"}, s.names("*"))
				hello = resumeOf(got)
			}
			s.hub.Close()
			c.checkHooks()
			require.Empty(t, c.faults)
		})
	}
}

// TestH9RoomsDoNotDelayEachOther: whatever holds up one room, others go on.
func TestH9RoomsDoNotDelayEachOther(t *testing.T) {
	held := func(fn func() error) (wait func() error, letGo func()) {
		ch := make(chan struct{})
		return func() error { <-ch; return fn() }, func() { close(ch) }
	}
	ok := func() error { return nil }
	for _, row := range []struct {
		name string
		// slow returns the options of the room a, what makes it slow, and what ends that.
		slow func() (opts []tcproom.RoomOption, hold func(s *stable, bob, cat *rider), letGo func())
	}{
		{name: "full", slow: func() ([]tcproom.RoomOption, func(s *stable, bob, cat *rider), func()) {
			return []tcproom.RoomOption{tcproom.WithBacklog(1), tcproom.WithSlowMembers(tcproom.Block(time.Hour))}, func(s *stable, bob, cat *rider) {
				cat.nc.In(roomtest.Stall())
				for range 400 {
					go bob.say(`{"type":"message","room":"a","body":"` + strings.Repeat("x", 1<<10) + `"}`)
				}
			}, func() {}
		}},
		{name: "hook", slow: func() ([]tcproom.RoomOption, func(s *stable, bob, cat *rider), func()) {
			wait, letGo := held(ok)
			return []tcproom.RoomOption{tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, wait() })},
				func(s *stable, bob, cat *rider) { bob.say(`{"type":"message","room":"a","body":"x"}`) }, letGo
		}},
		{name: "join", slow: func() ([]tcproom.RoomOption, func(s *stable, bob, cat *rider), func()) {
			wait, letGo := held(ok)
			return []tcproom.RoomOption{tcproom.OnJoin(func(m *tcproom.Member) error {
				if m.Name() == "dan" {
					wait()
				}
				return nil
			})}, func(s *stable, bob, cat *rider) { s.labelled("dan", "a") }, letGo
		}},
		{name: "removed", slow: func() ([]tcproom.RoomOption, func(s *stable, bob, cat *rider), func()) {
			wait, letGo := held(ok)
			return []tcproom.RoomOption{tcproom.OnLeave(func(*tcproom.Member, error) { wait() })},
				func(s *stable, bob, cat *rider) { require.NoError(s.t, s.hub.Remove("a", "")) }, letGo
		}},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			opts, hold, letGo := row.slow()
			s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoom("a", opts...))
			bob, cat := s.labelled("bob", "a", "b"), s.labelled("cat", "a", "b")
			ada, eve := s.labelled("ada", "b"), s.labelled("eve", "b")
			synctest.Wait()
			hold(s, bob, cat)
			ada.got()
			eve.got()
			ada.say(`{"type":"message","room":"b","body":"1"}`, `{"type":"leave","room":"b"}`, `{"type":"enter","room":"c"}`, `{"type":"move","room":"c","to":"b"}`, `{"type":"message","room":"b","body":"2"}`)
			require.Equal(t, map[string][]string{"b": {"5 ada: 1", "6 leave ada", "7 join ada", "8 ada: 2"}}, eve.heard())
			_, err := s.hub.Enter(testContext(t), s.member("*", "eve"), "d")
			require.NoError(t, err)
			require.NoError(t, s.hub.Remove("d", ""))
			broadcast(t, s.room("b"), []byte("3"))
			letGo()
		})
	}
	inBubble("one connection is one stream", t, func(t *testing.T) {
		wait, letGo := held(ok)
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoom("a", tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, wait() })))
		ada, bob := s.labelled("ada", "a", "b"), s.labelled("bob", "b")
		bob.got()
		ada.say(`{"type":"message","room":"a","body":"1"}`, `{"type":"message","room":"b","body":"2"}`)
		require.Empty(t, bob.got())
		letGo()
		require.Equal(t, map[string][]string{"b": {"3 ada: 2"}}, bob.heard())
	})
}
