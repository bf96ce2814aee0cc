package tcproom_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A farm is several nodes of one hub on a log in memory, each of them a stable.
type farm struct {
	t     testing.TB
	log   *roomtest.Log
	nodes []*stable
	links []*roomtest.Backplane
}

func newFarm(t testing.TB, n int, opts ...tcproom.HubOption) *farm {
	t.Helper()
	f := &farm{t: t, log: roomtest.NewLog()}
	for range n {
		f.start(opts...)
	}
	return f
}

// start starts one more node, and waits until it is ready.
func (f *farm) start(opts ...tcproom.HubOption) *stable {
	f.t.Helper()
	b := f.log.Attach()
	f.t.Cleanup(func() { b.Close() })
	s := newStable(f.t, append(opts[:len(opts):len(opts)], tcproom.WithBackplane(b))...)
	f.t.Cleanup(b.Heal) // before the hub ends
	f.nodes, f.links = append(f.nodes, s), append(f.links, b)
	require.NoError(f.t, s.hub.Ready(testContext(f.t)))
	return s
}

// settle waits until nothing is on its way any more.
func (f *farm) settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}

// positions are seqs of rooms with logs.
var positions = regexp.MustCompile(`=<nil>|=?\b\d{4,}\b ?`)

// told returns what r has heard, without seqs.
func (r *rider) told() map[string][]string {
	r.t.Helper()
	all := map[string][]string{}
	for room, lines := range r.heard() {
		for _, line := range lines {
			all[room] = append(all[room], strings.TrimSpace(positions.ReplaceAllString(line, "")))
		}
	}
	return all
}

// TestHubCluster: hubs on one log are one hub.
func TestHubCluster(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 3, tcproom.WithCodec(tcproom.JSON{}))
		ada := f.nodes[0].labelled("ada", "a", "b")
		f.settle()
		bob := f.nodes[1].labelled("bob", "a")
		f.settle()
		require.Equal(t, []string{"ada", "bob"}, f.nodes[0].names("a"))
		require.Equal(t, []string{"ada", "bob"}, f.nodes[1].names("a"))
		require.Equal(t, 2, f.nodes[2].hub.All().Len())
		bob.say(`{"type":"message","room":"a","body":"hi"}`)
		f.settle()
		ada.say(`{"type":"message","room":"a","body":"hello"}`, `{"type":"message","room":"b","body":"alone"}`, `{"type":"leave","room":"a"}`)
		f.settle()
		_, err := f.nodes[2].hub.All().Broadcast(t.Context(), []byte("to all"))
		require.NoError(t, err)
		f.settle()
		require.Equal(t, map[string][]string{
			"*": {"welcome", "<nil>: to all"},
			"a": {"welcome", "join bob", "bob: hi", "goodbye left"},
			"b": {"welcome"},
		}, ada.told())
		require.Equal(t, map[string][]string{
			"*": {"welcome", "<nil>: to all"},
			"a": {"welcome", "ada: hello", "leave ada"},
		}, bob.told())
		require.Equal(t, []string{"bob"}, f.nodes[0].names("a"))
		require.Equal(t, f.nodes[0].member("*", "bob").ID(), f.nodes[1].member("a", "bob").ID())
		require.True(t, f.nodes[0].member("a", "bob").Remote())
	})
}

// TestHubClusterLinger: a process leaves the log of a room in which it has no members. The
// last one ends the room.
func TestHubClusterLinger(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomLinger(time.Minute))
		ada, bob := f.nodes[0].labelled("ada", "a"), f.nodes[1].labelled("bob", "a")
		f.settle()
		epoch := f.nodes[0].room("a").Past(0, 0).Epoch
		require.Equal(t, epoch, f.nodes[1].room("a").Past(0, 0).Epoch)
		ada.say(`{"type":"leave","room":"a"}`)
		time.Sleep(2 * time.Minute)
		_, ok := f.nodes[0].hub.Lookup("a")
		require.False(t, ok)
		require.Equal(t, []string{"bob"}, f.nodes[1].names("a"))
		ada.say(`{"type":"enter","room":"a"}`)
		f.settle()
		require.Equal(t, epoch, f.nodes[0].room("a").Past(0, 0).Epoch)
		require.Equal(t, []string{"ada", "bob"}, f.nodes[0].names("a"))
		ada.say(`{"type":"leave","room":"a"}`)
		bob.say(`{"type":"leave","room":"a"}`)
		time.Sleep(2 * time.Minute)
		for _, s := range f.nodes {
			_, ok = s.hub.Lookup("a")
			require.False(t, ok)
		}
		bob.say(`{"type":"enter","room":"a"}`)
		f.settle()
		require.NotEqual(t, epoch, f.nodes[1].room("a").Past(0, 0).Epoch)
	})
}

// TestHubClusterOpen: a room whose log cannot be opened is not entered, and others are.
func TestHubClusterOpen(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		b := &barred{Backplane: roomtest.NewLog().Attach(), room: "b"}
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithBackplane(b))
		require.NoError(t, s.hub.Ready(t.Context()))
		ada := s.labelled("ada", "a", "b")
		time.Sleep(time.Second)
		require.Equal(t, map[string][]string{
			"*": {"welcome"}, "a": {"welcome"}, "b": {"refused unavailable"},
		}, ada.told())
		_, ok := s.hub.Lookup("b")
		require.False(t, ok)
		b.room = ""
		ada.say(`{"type":"enter","room":"b"}`)
		time.Sleep(time.Second)
		require.Equal(t, map[string][]string{"b": {"welcome"}}, ada.told())
	})
}

// A barred Backplane does not open the log of a room.
type barred struct {
	tcproom.Backplane
	room string
}

func (b *barred) Open(ctx context.Context, room string) (tcproom.Log, error) {
	if room == b.room {
		return nil, errors.New("no such log")
	}
	return b.Backplane.Open(ctx, room)
}

// TestHubClusterResume: one token resumes all memberships, at any node, whether the one
// before lives or not.
func TestHubClusterResume(t *testing.T) {
	for _, row := range []struct {
		name string
		away func(f *farm, ada *rider)
	}{
		{"vanished", func(_ *farm, ada *rider) { ada.nc.Reset() }},
		{"connected still", func(*farm, *rider) {}},
		{"node stopped", func(f *farm, _ *rider) { require.NoError(f.t, f.nodes[0].hub.Shutdown(f.t.Context())) }},
		{"node cut off", func(f *farm, _ *rider) { f.links[0].Cut() }},
	} {
		inBubble(row.name, t, func(t *testing.T) {
			f := newFarm(t, 3, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}))
			ada := f.nodes[0].labelled("ada", "a", "b", "c")
			bob := f.nodes[1].labelled("bob", "a", "b", "c")
			f.settle()
			again := resumeOf(ada.objects())
			ada.say(`{"type":"message","room":"a","id":1,"body":"mine"}`)
			f.settle()
			at := strings.Index(again, `"c":{`)
			require.Positive(t, at)
			again = strings.TrimSuffix(strings.Replace(again, again[at:at+strings.Index(again[at:], "}")+1], `"d":{"epoch":"E","seq":1}`, 1), ",")
			row.away(f, ada)
			f.settle()
			bob.say(`{"type":"message","room":"a","body":"one"}`)
			f.settle()
			bob.told()
			eve := f.nodes[2].ride(f.nodes[2].json, "10.0.0.1", again, `{"type":"message","room":"a","id":1,"body":"mine"}`, `{"type":"message","room":"a","id":2,"body":"more"}`)
			f.settle()
			require.Equal(t, map[string][]string{
				"*": {"welcome resumed"},
				"a": {"welcome resumed", "join bob", "bob: one", "ack 1", "ack 2"},
				"b": {"welcome resumed", "join bob"},
				"d": {"refused not-member"},
			}, eve.told())
			require.False(t, f.nodes[2].member("a", "ada").Remote())
			require.True(t, f.nodes[1].member("b", "ada").Remote())
			require.Equal(t, map[string][]string{"a": {"ada: more"}}, bob.told())
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			require.Equal(t, map[string][]string{"c": {"leave ada"}}, bob.told())
			for _, s := range f.nodes[1:] {
				require.Equal(t, []string{"ada", "bob"}, s.names("a"))
				require.Equal(t, []string{"ada", "bob"}, s.names("b"))
				require.Equal(t, []string{"ada", "bob"}, s.names("*"))
			}
		})
	}
}

// TestHubClusterKick: any node ends a membership, or a connection, at any other.
func TestHubClusterKick(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}))
		ada, bob := f.nodes[0].labelled("ada", "a", "b"), f.nodes[1].labelled("bob", "a", "b")
		f.settle()
		ada.told()
		bob.told()
		require.NoError(t, f.nodes[1].member("a", "ada").Kick("out"))
		f.settle()
		require.Equal(t, map[string][]string{"a": {"goodbye kicked"}}, ada.told())
		require.Equal(t, map[string][]string{"a": {"leave ada"}}, bob.told())
		ada.say(`{"type":"message","room":"b","body":"here still"}`)
		f.settle()
		require.Equal(t, map[string][]string{"b": {"ada: here still"}}, bob.told())
		require.NoError(t, f.nodes[1].member("*", "ada").Kick("and away"))
		f.settle()
		require.Equal(t, map[string][]string{"": {"goodbye kicked"}}, ada.told())
		require.True(t, ada.gone())
		require.Equal(t, map[string][]string{"b": {"leave ada"}}, bob.told())
		require.Equal(t, []string{"bob"}, f.nodes[0].names("*"))
	})
}

// TestHubClusterMove: a move is a join and then a leave. A refused one changes nothing.
func TestHubClusterMove(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		full := func(name string) []tcproom.RoomOption {
			if name == "full" {
				return []tcproom.RoomOption{tcproom.WithMaxMembers(1)}
			}
			return []tcproom.RoomOption{}
		}
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomOptions(full))
		bob := f.nodes[1].labelled("bob", "a", "b", "full")
		f.settle()
		ada, eve := f.nodes[0].labelled("ada", "a"), f.nodes[0].person("eve")
		f.settle()
		bob.told()
		ada.told()
		eve.got()
		ada.say(`{"type":"move","room":"a","to":"b","ref":1}`)
		f.settle()
		ada.say(`{"type":"move","room":"b","to":"full","ref":2}`)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"goodbye moved ref 1"}, "b": {"welcome ref 1"}, "full": {"refused full ref 2"}}, ada.told())
		require.Equal(t, map[string][]string{"a": {"leave ada"}, "b": {"join ada"}}, bob.told())
		eve.say("/join a")
		f.settle()
		bob.say(`{"type":"message","room":"a","body":"hi"}`)
		f.settle()
		eve.say("/join full", "hello")
		f.settle()
		require.Equal(t, map[string][]string{"a": {"join eve", "eve: hello"}}, bob.told())
		require.Equal(t, []string{"bob", "eve"}, f.nodes[1].names("a"))
		require.Empty(t, f.nodes[1].names("lobby"))
		t.Log(eve.got())
		_, err := f.nodes[1].hub.Move(t.Context(), f.nodes[1].member("a", "eve"), "b")
		require.ErrorIs(t, err, tcproom.ErrElsewhere)
		_, err = f.nodes[0].hub.Move(t.Context(), f.nodes[0].member("a", "eve"), "b")
		require.NoError(t, err)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"leave eve"}, "b": {"join eve"}}, bob.told())
	})
}

// TestHubClusterRename: the log of "*" decides a name, and the other rooms follow.
func TestHubClusterRename(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 3, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithUniqueNames(true))
		ada, bob := f.nodes[0].labelled("ada", "a", "b"), f.nodes[1].labelled("bob", "a")
		f.settle()
		require.Equal(t, map[string][]string{"": {"refused name-taken"}}, f.nodes[2].labelled("ada", "a").told())
		ada.told()
		bob.told()
		ada.say(`{"type":"rename","name":"bob"}`, `{"type":"rename","name":"eve"}`)
		f.settle()
		require.Equal(t, map[string][]string{"": {"refused name-taken"}, "a": {"ada is now eve"}, "b": {"ada is now eve"}}, ada.told())
		require.Equal(t, map[string][]string{"a": {"ada is now eve"}}, bob.told())
		require.ErrorIs(t, f.nodes[2].hub.Rename(f.nodes[2].member("*", "bob"), "eve"), tcproom.ErrNameTaken)
		require.NoError(t, f.nodes[2].hub.Rename(f.nodes[2].member("*", "bob"), "ada"))
		f.settle()
		require.Equal(t, map[string][]string{"a": {"bob is now ada"}}, ada.told())
		require.Equal(t, map[string][]string{"a": {"bob is now ada"}}, bob.told())
		for _, s := range f.nodes {
			require.Equal(t, []string{"ada", "eve"}, s.names("*"))
		}
		require.Equal(t, []string{"ada", "eve"}, f.nodes[0].names("a"))
	})
}

// TestHubClusterTell: a direct message reaches a connection at another node.
func TestHubClusterTell(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}))
		ada, bob, eve := f.nodes[0].labelled("ada", "a"), f.nodes[1].labelled("bob", "a"), f.nodes[1].person("eve")
		f.settle()
		ada.told()
		bob.told()
		eve.got()
		id := f.nodes[0].member("*", "bob").ID()
		ada.say(`{"type":"direct","to":"`+id+`","ref":7,"body":"psst"}`, `{"type":"direct","to":"nobody","body":"psst"}`)
		f.settle()
		require.Equal(t, map[string][]string{"": {"ack ref 7", "refused recipient"}}, ada.told())
		require.Equal(t, map[string][]string{"": {"direct ada: psst"}}, bob.told())
		require.NoError(t, f.nodes[0].hub.Tell(t.Context(), nil, f.nodes[0].member("*", "eve").ID(), []byte("you")))
		require.NoError(t, f.nodes[0].member("a", "bob").Send(t.Context(), []byte("in a")))
		f.settle()
		require.Equal(t, []string{"*: you"}, eve.got())
		require.Equal(t, map[string][]string{"a": {"direct <nil>: in a"}}, bob.told())
		bob.nc.Reset()
		f.settle()
		require.ErrorIs(t, f.nodes[0].hub.Tell(t.Context(), nil, id, []byte("you")), tcproom.ErrDetached)
	})
}

// TestHubClusterBan: all nodes keep out, and put out, whom a ban is about.
func TestHubClusterBan(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 3, tcproom.WithCodec(tcproom.JSON{}))
		ada, bob := f.nodes[0].labelled("ada", "a", "b"), f.nodes[1].labelled("bob", "a", "b")
		f.settle()
		ada.told()
		bob.told()
		put, err := f.nodes[2].hub.Ban(tcproom.Ban{Room: "a", Name: "ada", Reason: "noise"})
		require.NoError(t, err)
		require.Equal(t, 1, put)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"goodbye banned"}}, ada.told())
		require.Equal(t, map[string][]string{"a": {"leave ada"}}, bob.told())
		ada.say(`{"type":"enter","room":"a"}`)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"refused banned"}}, ada.told())
		require.ErrorIs(t, f.nodes[1].hub.Banned("a", "ada", nil), tcproom.ErrBanned)
		require.True(t, f.nodes[1].hub.Unban(tcproom.Ban{Room: "a", Name: "ada"}))
		require.False(t, f.nodes[1].hub.Unban(tcproom.Ban{Room: "a", Name: "ada"}))
		f.settle()
		ada.say(`{"type":"enter","room":"a"}`)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"welcome"}}, ada.told())
		bob.told()
		put, err = f.nodes[1].hub.Ban(tcproom.Ban{Name: "ada"})
		require.NoError(t, err)
		require.Equal(t, 1, put)
		f.settle()
		require.Equal(t, []string{"goodbye banned"}, ada.told()[""])
		require.True(t, ada.gone())
		require.Equal(t, map[string][]string{"a": {"leave ada"}, "b": {"leave ada"}}, bob.told())
		require.Equal(t, map[string][]string{"": {"refused banned"}}, f.nodes[2].labelled("ada").told())
		require.Len(t, f.start(tcproom.WithCodec(tcproom.JSON{})).hub.Bans(), 1)
	})
}

// TestHubClusterMute: a mute is of one room, at all nodes.
func TestHubClusterMute(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}))
		ada, bob := f.nodes[0].labelled("ada", "a", "b"), f.nodes[1].labelled("bob", "a", "b")
		f.settle()
		ada.told()
		bob.told()
		require.NoError(t, f.nodes[1].room("a").Mute(f.nodes[1].member("a", "ada").ID(), time.Now().Add(time.Hour)))
		f.settle()
		ada.say(`{"type":"message","room":"a","body":"one"}`, `{"type":"message","room":"b","body":"two"}`)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"refused muted"}}, ada.told())
		require.Equal(t, map[string][]string{"b": {"ada: two"}}, bob.told())
	})
}

// TestHubClusterRemove: a room that is removed ends at all nodes.
func TestHubClusterRemove(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}))
		ada, bob := f.nodes[0].labelled("ada", "a", "b"), f.nodes[1].labelled("bob", "a", "b")
		f.settle()
		ada.told()
		bob.told()
		was := f.nodes[0].room("a").Past(0, 0).Epoch
		require.NoError(t, f.nodes[1].hub.Remove("a", "over"))
		require.ErrorIs(t, f.nodes[1].hub.Remove("a", "over"), tcproom.ErrNoRoom)
		f.settle()
		for _, s := range f.nodes {
			_, ok := s.hub.Lookup("a")
			require.False(t, ok)
		}
		require.Equal(t, map[string][]string{"a": {"goodbye removed"}}, ada.told())
		require.Equal(t, map[string][]string{"a": {"goodbye removed"}}, bob.told())
		ada.say(`{"type":"enter","room":"a"}`)
		f.settle()
		bob.say(`{"type":"enter","room":"a"}`, `{"type":"message","room":"b","body":"hi"}`)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"welcome", "join bob"}, "b": {"bob: hi"}}, ada.told())
		require.NotEqual(t, was, f.nodes[0].room("a").Past(0, 0).Epoch)
	})
}

// TestHubClusterResumeWithoutRooms: a connection that names no rooms goes on in its room
// at another node, also if it was moved there.
func TestHubClusterResumeWithoutRooms(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Minute}))
		ada, bob := f.nodes[0].unlabelled("ada"), f.nodes[1].labelled("bob", "a", "lobby")
		f.settle()
		for range 20 { // so that positions differ from those of "*"
			bob.say(`{"type":"message","room":"a","body":"x"}`)
			f.settle()
		}
		bob.told()
		token := ada.objects()[0]["token"]
		ada.say(`{"type":"move","to":"a"}`)
		f.settle()
		welcomes := ada.objects()
		welcomes[0]["token"] = token
		again := resumeOf(welcomes)
		ada.nc.Reset()
		f.settle()
		bob.say(`{"type":"message","room":"a","body":"one"}`)
		f.settle()
		require.Equal(t, map[string][]string{"a": {"join ada"}, "lobby": {"leave ada"}}, bob.told())
		ada = f.nodes[1].ride(f.nodes[1].json, "10.0.0.1", again, `{"type":"message","body":"here"}`)
		f.settle()
		require.Equal(t, map[string][]string{"": {"welcome resumed", "bob: one"}}, ada.told())
		require.Equal(t, map[string][]string{"a": {"ada: here"}}, bob.told())
	})
}
