package tcproom_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// plainer is objects of one room without what differs from run to run, and without the
// name of the room: IDs and epochs are numbered in the order in which they come.
func plainer(objects []object) (lines []string) {
	known := map[string]string{}
	number := func(o object, field string) {
		if id, ok := o[field].(string); ok {
			if known[id] == "" {
				known[id] = fmt.Sprintf("%s-%d", field, len(known))
			}
			o[field] = known[id]
		}
	}
	for _, o := range objects {
		if o["room"] == "*" {
			continue
		}
		number(o, "id")
		number(o, "epoch")
		if from, ok := o["from"].(object); ok {
			number(from, "id")
		}
		members, _ := o["members"].([]any)
		for _, m := range members {
			number(m.(object), "id")
		}
		for _, field := range []string{"time", "token", "room"} {
			delete(o, field)
		}
		lines = append(lines, fmt.Sprint(o))
	}
	return lines
}

// playLobby has members come, speak, repeat themselves, be kicked, break a rule and
// leave, and returns what each of them got.
func playLobby(room *tcproom.Room, ride func(name string, history int) *rider) map[string][]string {
	riders := map[string]*rider{}
	join := func(name string, history int) *rider {
		riders[name] = ride(name, history)
		synctest.Wait()
		return riders[name]
	}
	say := func(r *rider, lines ...string) {
		for _, line := range lines { // those of a connection that names its rooms do
			if r.room != "" {
				line = strings.Replace(line, `"type":"message"`, `"type":"message","room":"`+r.room+`"`, 1)
			}
			r.say(line)
		}
		synctest.Wait()
	}
	join("ada", 0)
	say(join("bob", 0), `{"type":"message","id":1,"body":"one"}`, `{"type":"message","body":"two"}`)
	say(join("cat", -1), `{"type":"message","id":7,"body":"three"}`, `{"type":"message","id":7,"body":"three"}`, `{"type":"goodbye"}`)
	say(join("dan", 2), `{"type":"message","body":"four"}`)
	for m := range room.Members() {
		if m.Name() == "dan" {
			m.Kick("out")
		} else {
			m.Send(testContext(riders["ada"].t), []byte("psst "+m.Name()))
		}
	}
	broadcast(riders["ada"].t, room, []byte("five"))
	say(join("eve", 0), `{"type":"message","body":"`+strings.Repeat("x", 101)+`"}`)
	got := map[string][]string{}
	for name, r := range riders {
		got[name] = plainer(r.objects())
	}
	return got
}

// TestH1ARoomOfAHubIsARoom: members of a room of a hub get what those of a room of New
// get, object by object.
func TestH1ARoomOfAHubIsARoom(t *testing.T) {
	opts := []tcproom.RoomOption{
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}),
		tcproom.WithHistory(tcproom.History{Messages: 3}), tcproom.WithMaxMessage(100),
	}
	var want map[string][]string
	inBubble("lone", t, func(t *testing.T) {
		s, room := newLone(t, opts...)
		want = playLobby(room, func(name string, history int) *rider {
			return s.ride(s.json, "10.0.0.1", helloOf(object{"name": name, "history": history}))
		})
		require.Greater(t, len(want["ada"]), 10)
	})
	for _, way := range []struct {
		name  string
		hello object
	}{
		{name: "unlabelled", hello: object{}},
		{name: "labelled", hello: object{"rooms": []string{"lobby"}}},
	} {
		inBubble(way.name, t, func(t *testing.T) {
			var hubOpts []tcproom.HubOption
			for _, o := range opts {
				hubOpts = append(hubOpts, o)
			}
			s := newStable(t, append(hubOpts, tcproom.WithRoom("lobby"))...)
			got := playLobby(s.room("lobby"), func(name string, history int) *rider {
				way.hello["name"], way.hello["history"] = name, history
				r := s.ride(s.json, "10.0.0.1", helloOf(way.hello))
				if way.hello["rooms"] != nil {
					r.room = "lobby"
				}
				return r
			})
			for name := range want {
				require.Equal(t, want[name], got[name], "%s", name)
			}
		})
	}
}

// TestH2OneConnectionOneOrder: what a connection says is dealt with in the order in which
// it says it, whatever rooms it concerns.
func TestH2OneConnectionOneOrder(t *testing.T) {
	inBubble("labelled", t, func(t *testing.T) {
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}))
		watcher := s.labelled("bob", "a", "b")
		watcher.got()
		ada := s.labelled("ada")
		ada.got()
		ada.say(
			`{"type":"message","room":"a","body":"too early"}`,
			`{"type":"enter","room":"a","ref":1}`, `{"type":"message","room":"a","body":"1"}`,
			`{"type":"move","room":"a","to":"b","ref":2}`, `{"type":"message","room":"a","body":"too late"}`,
			`{"type":"message","room":"b","body":"2"}`, `{"type":"leave","room":"b","ref":3}`,
			`{"type":"message","room":"b","body":"too late"}`,
			`{"type":"enter","room":"b","ref":4}`, `{"type":"message","room":"b","body":"3"}`)
		require.Equal(t, map[string][]string{
			"a": {"2 join ada", "3 ada: 1", "4 leave ada"},
			"b": {"2 join ada", "3 ada: 2", "4 leave ada", "5 join ada", "6 ada: 3"},
		}, watcher.heard())
		heard := ada.heard()
		require.ElementsMatch(t, []string{"refused not-member", "refused not-member", "welcome 2 ref 1", "goodbye moved ref 2"}, heard["a"])
		require.ElementsMatch(t, []string{"welcome 2 ref 2", "goodbye left ref 3", "refused not-member", "welcome 5 ref 4"}, heard["b"])
	})
	inBubble("person", t, func(t *testing.T) {
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}))
		watcher := s.labelled("bob", "a", "b", "lobby")
		watcher.got()
		s.person("ada").say("1", "/join a", "2", "/join b", "3", "/nick eve", "4", "/join lobby", "5")
		require.Equal(t, map[string][]string{
			"lobby": {"2 join guest-1", "3 guest-1 is now ada", "4 ada: 1", "5 leave ada", "6 join eve", "7 eve: 5"},
			"a":     {"2 join ada", "3 ada: 2", "4 leave ada"},
			"b":     {"2 join ada", "3 ada: 3", "4 ada is now eve", "5 eve: 4", "6 leave eve"},
		}, watcher.heard())
	})
	inBubble("hooks", t, func(t *testing.T) {
		running, most := 0, 0
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			running++ // without a lock: the race detector sees it if two run at once
			most = max(most, running)
			time.Sleep(time.Millisecond) // of the bubble: others run meanwhile
			running--
			return append([]byte(m.Room().Name()+" "), body...), nil
		}))
		watcher := s.labelled("bob", "a", "b")
		watcher.got()
		ada := s.labelled("ada", "a", "b")
		var want []string
		for i := range 20 {
			ada.say(fmt.Sprintf(`{"type":"message","room":"a","body":"%d"}`, i), fmt.Sprintf(`{"type":"message","room":"b","body":"%d"}`, i))
			want = append(want, fmt.Sprint(i))
		}
		time.Sleep(time.Minute) // for all hooks
		heard := watcher.heard()
		for _, room := range []string{"a", "b"} {
			require.Len(t, heard[room], 21)
			for i, line := range heard[room][1:] {
				require.Equal(t, fmt.Sprintf("%d ada: %s %s", i+3, room, want[i]), line)
			}
		}
		require.Equal(t, 1, most)
	})
}
