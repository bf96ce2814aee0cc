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
			"*": {"welcome 0", "<nil>: to all"},
			"a": {"welcome", "join bob", "bob: hi", "goodbye left"},
			"b": {"welcome"},
		}, ada.told())
		require.Equal(t, map[string][]string{
			"*": {"welcome 0", "<nil>: to all"},
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
			"*": {"welcome 0"}, "a": {"welcome"}, "b": {"refused unavailable"},
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
				"*": {"welcome 0 resumed"},
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
