package tcproom_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"github.com/stretchr/testify/require"
)

// pastOf returns places and bodies of what the room has behind after.
func pastOf(s testkit.Seqs, p tcproom.Past) (all []string) {
	for _, ev := range p.Events {
		all = append(all, fmt.Sprintf("%d %s", s.Place(ev.Seq), ev.Body))
	}
	return all
}

// TestPast: the messages behind a seq, what of them is missing, and where the order
// stands.
func TestPast(t *testing.T) { eachSeqs(t, testPast) }

func testPast(t *testing.T, s testkit.Seqs) {
	long := strings.Repeat("x", 500)
	three := &tcproom.History{Messages: 3}
	bytes := &tcproom.History{Bytes: 400}
	for _, tt := range []struct {
		name    string
		history *tcproom.History
		said    []string // behind the join of a member, which is 1
		after   uint64
		limit   int
		want    []string
		gap     bool
	}{
		{name: "nothing was said", history: three},
		{name: "all", history: three, said: []string{"a", "b", "c"}, want: []string{"2 a", "3 b", "4 c"}},
		{name: "the oldest of them", history: three, said: []string{"a", "b", "c"}, limit: 2, want: []string{"2 a", "3 b"}},
		{name: "one of the middle", history: three, said: []string{"a", "b", "c"}, after: 2, limit: 1, want: []string{"3 b"}},
		{name: "a negative limit", history: three, said: []string{"a"}, limit: -1, want: []string{"2 a"}},
		{name: "one is gone", history: three, said: []string{"a", "b", "c", "d"}, want: []string{"3 b", "4 c", "5 d"}, gap: true},
		{name: "what is gone was before", history: three, said: []string{"a", "b", "c", "d"}, after: 2, want: []string{"3 b", "4 c", "5 d"}},
		{name: "behind the last", history: three, said: []string{"a"}, after: 2},
		{name: "behind what is to come", history: three, said: []string{"a"}, after: 100},
		{name: "behind everything", history: three, said: []string{"a"}, after: math.MaxUint64},
		{name: "one is too large", history: bytes, said: []string{"a", long}, gap: true},
		{name: "one was too large", history: bytes, said: []string{"a", long, "b"}, after: 2, want: []string{"4 b"}, gap: true},
		{name: "behind the one that was too large", history: bytes, said: []string{"a", long, "b"}, after: 3, want: []string{"4 b"}},
		{name: "no history"},
		{name: "no history, and something was said", said: []string{"a"}, gap: true},
		{name: "no history, and nothing was said since", said: []string{"a"}, after: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := []tcproom.RoomOption{s.Option()}
			if tt.history != nil {
				opts = append(opts, tcproom.WithHistory(*tt.history))
			}
			room := tcproom.New(opts...)
			t.Cleanup(func() { room.Close() })
			join(t, room)
			for _, body := range tt.said {
				_, err := room.Broadcast(t.Context(), []byte(body))
				require.NoError(t, err)
			}
			after := tt.after
			if after < math.MaxUint64 {
				after = s.At(after)
			}
			p := room.Past(after, tt.limit)
			require.Equal(t, tt.want, pastOf(s, p))
			require.Equal(t, tt.gap, p.Gap)
			require.Equal(t, s.At(uint64(1+len(tt.said))), p.Seq)
			require.Equal(t, room.Past(0, 1).Epoch, p.Epoch)
			require.NotEmpty(t, p.Epoch)
			require.NotEqual(t, tcproom.New().Past(0, 0).Epoch, p.Epoch)
		})
	}
}

// TestPastIsTheCallers: it has all that an event has, and nobody else has its bytes.
func TestPastIsTheCallers(t *testing.T) {
	room := tcproom.New(tcproom.WithHistory(tcproom.History{}), tcproom.WithCodec(tcproom.JSON{}))
	c := join(t, room, tcproom.WithName("ada"))
	next(t, c)
	before := time.Now()
	body := []byte("hi")
	_, err := room.Say(t.Context(), tcproom.MemberInfo{ID: "ci", Name: "ci"}, body)
	require.NoError(t, err)
	live := next(t, c)
	copy(body, "xx")
	ev := room.Past(0, 0).Events[0]
	require.False(t, ev.Time.Before(before.Truncate(time.Microsecond)))
	require.True(t, ev.Time.Truncate(time.Millisecond).Equal(live.Time.Truncate(time.Millisecond)))
	ev.Time = live.Time
	require.Equal(t, live, ev)
	copy(ev.Body, "yy")
	require.Equal(t, "hi", string(room.Past(0, 0).Events[0].Body))
	require.NoError(t, room.Close())
	require.Equal(t, []string{"2 hi"}, pastOf(testkit.Dense, room.Past(0, 0)), "after Close")
}

// TestPastGetsOld: messages go by themselves, and then there is a gap.
func TestPastGetsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithHistory(tcproom.History{Age: time.Hour}))
		for range 2 {
			_, err := room.Broadcast(t.Context(), []byte("a"))
			require.NoError(t, err)
			time.Sleep(40 * time.Minute)
		}
		p := room.Past(0, 0)
		require.Equal(t, []string{"2 a"}, pastOf(testkit.Dense, p))
		require.True(t, p.Gap)
		require.False(t, room.Past(1, 0).Gap)
		time.Sleep(time.Hour)
		p = room.Past(1, 0)
		require.Empty(t, p.Events)
		require.True(t, p.Gap)
		require.Equal(t, uint64(2), p.Seq)
	})
}
