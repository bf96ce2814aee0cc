package tcproom_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"github.com/stretchr/testify/require"
)

// history joins room, which is quiet, and returns what is replayed to it.
func history(t testing.TB, room *tcproom.Room, opts ...tcproom.DialOption) (bodies []string) {
	t.Helper()
	c := join(t, room, append([]tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{})}, opts...)...)
	defer c.Close()
	require.Equal(t, tcproom.Welcome, next(t, c).Kind)
	end := announce(t, room, "end")
	for {
		ev, err := c.Receive(t.Context())
		require.NoError(t, err)
		if ev.Kind != tcproom.Message {
			continue // the leave of the one before
		}
		require.Equal(t, ev.Seq < end, ev.History)
		if ev.Seq == end {
			return bodies
		}
		bodies = append(bodies, string(ev.Body))
	}
}

func TestHistoryBounds(t *testing.T) {
	const charge = 128
	for _, tt := range []struct {
		name string
		h    tcproom.History
		say  []string
		ask  int
		want []string
	}{
		{name: "all", h: tcproom.History{}, say: []string{"a", "b", "c"}, ask: 0, want: []string{"a", "b", "c"}},
		{name: "negative bounds are none", h: tcproom.History{Messages: -1, Bytes: -1, Age: -1}, say: []string{"a", "b", "c"}, ask: 0, want: []string{"a", "b", "c"}},
		{name: "messages", h: tcproom.History{Messages: 2}, say: []string{"a", "b", "c"}, ask: 0, want: []string{"b", "c"}},
		{name: "bytes", h: tcproom.History{Bytes: 2*charge + 2}, say: []string{"a", "b", "c"}, ask: 0, want: []string{"b", "c"}},
		{name: "one byte less", h: tcproom.History{Bytes: 2*charge + 1}, say: []string{"a", "b", "c"}, ask: 0, want: []string{"c"}},
		{name: "too large to be kept", h: tcproom.History{Bytes: charge + 1}, say: []string{"a", "bb"}, ask: 0, want: nil},
		{name: "fewer asked for", h: tcproom.History{}, say: []string{"a", "b", "c"}, ask: 2, want: []string{"b", "c"}},
		{name: "more asked for", h: tcproom.History{}, say: []string{"a", "b", "c"}, ask: 9, want: []string{"a", "b", "c"}},
		{name: "none asked for", h: tcproom.History{}, say: []string{"a", "b", "c"}, ask: -1, want: nil},
		{name: "nothing said", h: tcproom.History{}, say: nil, ask: 0, want: nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			room := tcproom.New(tcproom.WithHistory(tt.h))
			defer room.Close()
			for _, body := range tt.say {
				announce(t, room, "%s", body)
			}
			require.Equal(t, tt.want, history(t, room, tcproom.WithReplay(tt.ask)))
		})
	}
}

// TestHistoryGoesOn: what was encoded for some is continued for the next.
func TestHistoryGoesOn(t *testing.T) {
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithHistory(tcproom.History{Messages: 3}))
	defer room.Close()
	announce(t, room, "a")
	require.Equal(t, []string{"a"}, history(t, room))
	require.Equal(t, []string{"a", "end"}, history(t, room))
	announce(t, room, "b")
	require.Equal(t, []string{"end", "end", "b"}, history(t, room))
}

func TestHistoryAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithHistory(tcproom.History{Age: time.Hour}))
		defer room.Close()
		announce(t, room, "a")
		time.Sleep(time.Second)
		announce(t, room, "b")
		time.Sleep(time.Hour - time.Second)
		require.Equal(t, []string{"a", "b"}, history(t, room))
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{"b", "end"}, history(t, room))
	})
}

// TestHistoryOfAllThatIsSaid: messages of members and of the room, by those who
// have left too, in lanes that appear later; joins and leaves are no history.
func TestHistoryOfAllThatIsSaid(t *testing.T) {
	room := tcproom.New(tcproom.WithHistory(tcproom.History{}))
	addr := serveTCP(t, room)
	ada := join(t, room, tcproom.WithName("ada"))
	send(t, ada, "\x1b[31mhi")
	require.NoError(t, ada.Close())
	waitLen(t, room, 0)
	announce(t, room, "there")

	nc := bufio.NewReader(dialRaw(t, addr))
	for _, want := range []string{`ada: \x1b[31mhi`, `*: there`} {
		line, err := nc.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "- "+time.Now().UTC().Format("2006-01-02"), line[:12])
		require.Equal(t, want+"\n", line[19:])
		var ev tcproom.Event
		require.NoError(t, tcproom.Text{}.ParseEvent([]byte(strings.TrimSuffix(line, "\n")), &ev))
		require.True(t, ev.History)
		require.WithinDuration(t, time.Now(), ev.Time, 2*time.Minute)
	}

	require.Equal(t, []string{"\x1b[31mhi", "there"}, history(t, room, tcproom.WithFraming(tcproom.Varint{})))

	raw := join(t, room, tcproom.WithCodec(tcproom.Raw{}))
	announce(t, room, "now")
	require.Equal(t, "now", string(next(t, raw).Body), "Raw gets no history")
}

// TestP3HistoryCut: what is replayed and what is live neither overlap nor miss
// a message, while many join and others talk.
func TestP3HistoryCut(t *testing.T) { eachSeqs(t, historyCut) }

func historyCut(t *testing.T, s testkit.Seqs) {
	checkGoroutines(t)
	room := tcproom.New(s.Option(), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHistory(tcproom.History{Messages: 500}),
		tcproom.WithSlowMembers(tcproom.Block(within))) // who is slow here is the machine
	addr := serveTCP(t, room)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rounds := 20
	if raceEnabled {
		rounds = 5
	}
	var talkers, joiners sync.WaitGroup
	for talker := range 2 {
		talkers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := room.Broadcast(ctx, fmt.Append(nil, talker, n)); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	for i := range 20 {
		joiners.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 5))
			for range rounds {
				if err := checkCut(room, s, addr, rng); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	joiners.Wait()
	cancel()
	talkers.Wait()
}

// checkCut joins, reads on for a while, and looks for holes: in the live
// stream by the numbers of events, in history, which holds messages only, by
// what the talkers count.
func checkCut(room *tcproom.Room, s testkit.Seqs, addr string, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	ask := rng.IntN(600)
	opts := []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithReplay(ask)}
	dialer := func() (*tcproom.Conn, error) { return tcproom.Dial(ctx, addr, opts...) }
	if rng.IntN(2) == 0 {
		dialer = func() (*tcproom.Conn, error) { return room.Join(ctx, tcproom.Identity{}, opts...) }
	}
	c, err := dialer()
	if err != nil {
		return err
	}
	defer c.Close()
	welcome, err := c.Receive(ctx)
	if err != nil {
		return err
	}
	past, last := 0, uint64(0)
	said := map[int]int{} // the last number of each talker
	for live := uint64(0); live < 50; {
		ev, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		switch {
		case ev.History && (live > 0 || ev.Seq <= last || ev.Seq > welcome.Seq):
			return fmt.Errorf("history %d after %d, %d live, welcome at %d", ev.Seq, last, live, welcome.Seq)
		case ev.History:
			past++
		default:
			live++
			if want := s.At(s.Place(welcome.Seq) + live); ev.Seq != want {
				return fmt.Errorf("live %d, want %d", ev.Seq, want)
			}
		}
		last = ev.Seq
		if ev.Kind != tcproom.Message {
			continue
		}
		var talker, n int
		if _, err := fmt.Sscan(string(ev.Body), &talker, &n); err != nil {
			return err
		}
		if before, ok := said[talker]; ok && n != before+1 {
			return fmt.Errorf("%d says %d after %d, at %d", talker, n, before, ev.Seq)
		}
		said[talker] = n
	}
	if want := min(500, ask); ask > 0 && past > want {
		return fmt.Errorf("%d messages of history, asked for %d", past, want)
	}
	return nil
}

// TestHistoryIsShared: those who join and do not read hold the room's bytes,
// not copies of them.
func TestHistoryIsShared(t *testing.T) {
	const newcomers, size = 1000, 1 << 20
	room := tcproom.New(tcproom.WithMaxPending(newcomers), tcproom.WithHistory(tcproom.History{Bytes: 2 * size}))
	defer room.Close()
	body := make([]byte, 4<<10)
	for range size / len(body) {
		announce(t, room, "%x", body[:len(body)/2])
	}
	before := memory()
	for range newcomers {
		here, there := net.Pipe()
		go room.ServeConn(there)
		t.Cleanup(func() { here.Close() })
	}
	waitLen(t, room, newcomers)
	each := (memory() - before) / newcomers
	t.Logf("%d bytes each, of %d that they are given", each, size)
	require.Less(t, each, int64(64<<10))
}

// TestP14History: what is kept and what was encoded of it stays within the
// bound, however much was said and however often somebody joined.
func TestP14History(t *testing.T) {
	const size = 1 << 20
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHistory(tcproom.History{Bytes: size}))
	defer room.Close()
	before := memory()
	body := strings.Repeat("x", 1<<10)
	for range 16 {
		for range size / len(body) {
			announce(t, room, "%s", body)
		}
		require.NotEmpty(t, history(t, room))
	}
	grown := memory() - before
	t.Logf("%d bytes, for a history of %d in one lane", grown, size)
	require.Less(t, grown, int64(4*size))
	require.NoError(t, room.Close())
}

// TestHistoryThatACodecCannotSay: a codec that fails for an event of
// the past refuses that conn, and nobody else.
func TestHistoryThatACodecCannotSay(t *testing.T) {
	room := tcproom.New(tcproom.WithHistory(tcproom.History{}))
	defer room.Close()
	announce(t, room, "a\\b")
	for _, how := range []string{"error", "panic", "panic"} {
		_, err := room.Join(testContext(t), tcproom.Identity{}, tcproom.WithCodec(noHistory{how: how}))
		require.Error(t, err, how)
	}
	require.Zero(t, room.Len())
	seq := room.Stats().Seq
	require.EqualValues(t, 1+2*3, seq, "each join has its leave")
	require.Equal(t, []string{"a\\b"}, history(t, room))
}

type noHistory struct {
	tcproom.Text
	how string
}

func (c noHistory) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.History {
		if c.how == "panic" {
			panic("no history")
		}
		return dst, tcproom.ErrUnframeable
	}
	return c.Text.AppendEvent(dst, ev)
}

// BenchmarkHistory replays 10,000 messages to a newcomer over loopback, who
// counts bytes.
func BenchmarkHistory(b *testing.B) {
	const messages = 10000
	for _, bench := range []struct {
		name  string
		codec tcproom.Codec
		hello string
	}{
		{name: "Text", codec: tcproom.Text{}, hello: ""},
		{name: "JSON", codec: tcproom.JSON{}, hello: "{\"type\":\"hello\"}\n"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			room := tcproom.New(tcproom.WithCodec(bench.codec), tcproom.WithHistory(tcproom.History{}), tcproom.WithNotices(false))
			addr := serveTCP(b, room)
			for range messages {
				announce(b, room, "%s", strings.Repeat("x", 50))
			}
			want := 0 // bytes
			buf := make([]byte, 1<<20)
			b.ResetTimer()
			for range b.N {
				nc, err := net.Dial("tcp", addr)
				require.NoError(b, err)
				_, err = io.WriteString(nc, bench.hello)
				require.NoError(b, err)
				got := 0
				for lines := 0; want > 0 && got < want || want == 0 && lines < messages; {
					n, err := nc.Read(buf)
					require.NoError(b, err)
					got += n
					if want == 0 {
						lines += strings.Count(string(buf[:n]), "xx\n") + strings.Count(string(buf[:n]), "xx\"}\n")
					}
				}
				if want == 0 {
					want = got - 100 // a welcome varies by the digits of numbers
				}
				nc.Close()
			}
			b.ReportMetric(float64(messages)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
