package tcproom_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"github.com/stretchr/testify/require"
)

// sinceRoom returns a room whose stream is 1 "a", 2 a join, 3 "b", 4 a leave, 5 "c", 6
// a join, 7 a leave, and its epoch.
func sinceRoom(t *testing.T, opts ...tcproom.RoomOption) (*tcproom.Room, string) {
	t.Helper()
	room := tcproom.New(append(opts, tcproom.WithCodec(tcproom.JSON{}))...)
	visit := func(while func()) (epoch string) {
		c, err := room.Join(testContext(t), tcproom.Identity{})
		require.NoError(t, err)
		epoch = next(t, c).Welcome.Epoch
		while()
		require.NoError(t, c.Close())
		waitLen(t, room, 0)
		return epoch
	}
	announce(t, room, "a")
	visit(func() { announce(t, room, "b") })
	announce(t, room, "c")
	return room, visit(func() {})
}

// TestSince: history after a position only, behind a gap that is exact if messages are
// missing; joins and leaves are none.
func TestSince(t *testing.T) { eachSeqs(t, testSince) }

func testSince(t *testing.T, s testkit.Seqs) {
	kept := func(n int) tcproom.RoomOption { return tcproom.WithHistory(tcproom.History{Messages: n}) }
	none := tcproom.WithNotices(true) // no history
	for _, test := range []struct {
		name string
		opt  tcproom.RoomOption
		seq  uint64
		ask  int
		want string
	}{
		{name: "from the beginning", opt: kept(3), seq: 0, ask: 0, want: "a b c"},
		{name: "behind a message", opt: kept(3), seq: 1, ask: 0, want: "b c"},
		{name: "behind a join", opt: kept(3), seq: 2, ask: 0, want: "b c"},
		{name: "behind a leave", opt: kept(3), seq: 4, ask: 0, want: "c"},
		{name: "behind the last message", opt: kept(3), seq: 5, ask: 0, want: ""},
		{name: "behind the last event", opt: kept(3), seq: 7, ask: 0, want: ""},
		{name: "the first has gone", opt: kept(2), seq: 0, ask: 0, want: "gap 1-1 b c"},
		{name: "and was seen", opt: kept(2), seq: 1, ask: 0, want: "b c"},
		{name: "two have gone", opt: kept(1), seq: 0, ask: 0, want: "gap 1-3 c"},
		{name: "one of them was seen", opt: kept(1), seq: 1, ask: 0, want: "gap 2-3 c"},
		{name: "and the join", opt: kept(1), seq: 2, ask: 0, want: "gap 3-3 c"},
		{name: "both were seen", opt: kept(1), seq: 3, ask: 0, want: "c"},
		{name: "and the leave", opt: kept(1), seq: 4, ask: 0, want: "c"},
		{name: "none was ever kept", opt: none, seq: 0, ask: 0, want: "gap 1-5"},
		{name: "one was missed", opt: none, seq: 4, ask: 0, want: "gap 5-5"},
		{name: "nothing but notices was missed", opt: none, seq: 5, ask: 0, want: ""},
		{name: "too large to be kept", opt: tcproom.WithHistory(tcproom.History{Bytes: 1}), seq: 2, ask: 0, want: "gap 3-5"},
		{name: "fewer asked for", opt: kept(3), seq: 0, ask: 1, want: "gap 1-3 c"},
		{name: "as many asked for", opt: kept(3), seq: 1, ask: 2, want: "b c"},
		{name: "none asked for", opt: kept(3), seq: 1, ask: -1, want: "gap 2-5"},
	} {
		for _, how := range []string{"hello", "arrival"} {
			t.Run(test.name+", "+how, func(t *testing.T) {
				room, epoch := sinceRoom(t, test.opt, s.Option())
				since := &tcproom.Position{Epoch: epoch, Seq: s.At(test.seq)}
				here, there := pairOver(t, "tcp")
				in := bufio.NewReader(there)
				codec, arrival := tcproom.Codec(tcproom.JSON{}), tcproom.Arrival{}
				if how == "arrival" {
					codec, arrival = gapText{}, tcproom.Arrival{Hello: &tcproom.Hello{Since: since, History: test.ask}}
				} else {
					hello, err := tcproom.JSON{}.AppendRequest(nil, &tcproom.Request{
						Kind: tcproom.ReqHello, Hello: &tcproom.Hello{Since: since, History: test.ask}})
					require.NoError(t, err)
					arrival.Read = append(hello, '\n')
				}
				require.NoError(t, door(t, room, tcproom.WithCodec(codec)).Admit(here, arrival))
				waitLen(t, room, 1)
				announce(t, room, "live")
				var got []string
				for {
					line, err := in.ReadBytes('\n')
					require.NoError(t, err)
					var ev tcproom.Event
					require.NoError(t, codec.ParseEvent(line[:len(line)-1], &ev))
					if ev.Kind == tcproom.Message && string(ev.Body) == "live" {
						break
					}
					switch ev.Kind {
					case tcproom.Welcome:
						require.Empty(t, got)
					case tcproom.Gap:
						require.Equal(t, s.At(s.Place(ev.Gap.Last)), ev.Gap.Last, "an event")
						got = append(got, fmt.Sprintf("gap %d-%d", s.Place(ev.Gap.First), s.Place(ev.Gap.Last)))
					case tcproom.Message:
						require.True(t, ev.History)
						got = append(got, string(ev.Body))
					default:
						t.Fatal("an event that is no history: ", ev.Kind)
					}
				}
				require.Equal(t, test.want, strings.Join(got, " "))
			})
		}
	}
}

// gapText is Text that says the numbers of a gap.
type gapText struct{ tcproom.Text }

func (gapText) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind == tcproom.Gap {
		return fmt.Appendf(dst, "gap %d %d", ev.Gap.First, ev.Gap.Last), nil
	}
	return tcproom.Text{}.AppendEvent(dst, ev)
}

func (gapText) ParseEvent(frame []byte, ev *tcproom.Event) error {
	if _, err := fmt.Sscanf(string(frame), "gap %d %d", &ev.Gap.First, &ev.Gap.Last); err == nil {
		ev.Kind = tcproom.Gap
		return nil
	}
	return tcproom.Text{}.ParseEvent(frame, ev)
}

// TestSinceOtherStreams: a position in another epoch is none, and one that is not
// there yet is refused.
func TestSinceOtherStreams(t *testing.T) {
	rejected := newCauses()
	room, epoch := sinceRoom(t, tcproom.WithHistory(tcproom.History{Messages: 2}), tcproom.OnReject(rejected.Rejected))
	d := door(t, room)
	come := func(hello string) string {
		here, there := pairOver(t, "tcp")
		require.NoError(t, d.Admit(here, tcproom.Arrival{Read: []byte(hello + "\n" + `{"type":"goodbye"}` + "\n")}))
		b, _ := io.ReadAll(there)
		return string(b)
	}
	said := come(`{"type":"hello","since":{"epoch":"another","seq":1000}}`)
	require.NotContains(t, said, "gap")
	require.Contains(t, said, `"body":"b"`)
	require.Contains(t, said, `"body":"c"`)
	waitLen(t, room, 0)
	last := room.Stats().Seq
	require.NotContains(t, come(fmt.Sprintf(`{"type":"hello","since":{"epoch":%q,"seq":%d}}`, epoch, last)), "history")
	waitLen(t, room, 0)
	last = room.Stats().Seq
	require.Contains(t, come(fmt.Sprintf(`{"type":"hello","since":{"epoch":%q,"seq":%d}}`, epoch, last+1)), `{"type":"refused","code":"future","retry":false,`)
	require.ErrorIs(t, rejected.Next(t), errFutureSeq)
	require.Equal(t, last, room.Stats().Seq, "nobody was told of it")
}

// TestSinceAfterAnExpiredResume: who cannot resume any more still gets what it has
// not seen, or is told what it missed.
func TestSinceAfterAnExpiredResume(t *testing.T) {
	room, epoch := sinceRoom(t, tcproom.WithHistory(tcproom.History{}), tcproom.WithSessions(tcproom.Sessions{}))
	here, there := pairOver(t, "tcp")
	hello := fmt.Sprintf(`{"type":"hello","resume":{"token":"old","epoch":%[1]q,"seq":3},"since":{"epoch":%[1]q,"seq":3}}`, epoch)
	require.NoError(t, door(t, room).Admit(here, tcproom.Arrival{Read: []byte(hello + "\n" + `{"type":"goodbye"}` + "\n")}))
	said, _ := io.ReadAll(there)
	require.Contains(t, string(said), `"outcome":"expired"`)
	require.NotContains(t, string(said), `"body":"b"`)
	require.Contains(t, string(said), `"body":"c"`)
}

// TestP6SinceIsExact: whatever is said and forgotten while members come, each gets
// every message behind its position once and in order, or a gap that ends at the next
// that it gets.
func TestP6SinceIsExact(t *testing.T) { eachSeqs(t, sinceIsExact) }

func sinceIsExact(t *testing.T, s testkit.Seqs) {
	checkGoroutines(t)
	room := tcproom.New(s.Option(), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithHistory(tcproom.History{Messages: 20}))
	d := door(t, room)
	watcher := join(t, room)
	epoch := next(t, watcher).Welcome.Epoch
	require.NoError(t, watcher.Close())
	ctx, cancel := context.WithCancel(context.Background())
	var talk, come sync.WaitGroup
	defer talk.Wait()
	defer cancel()
	announce(t, room, "first")
	for range 2 {
		talk.Go(func() {
			for ctx.Err() == nil {
				room.Broadcast(context.Background(), []byte("x"))
			}
		})
	}
	pairs := make(chan [2]net.Conn)
	for range 4 {
		come.Go(func() {
			for pair := range pairs {
				seq := room.Stats().Seq
				seq = s.At(s.Place(seq) - min(s.Place(seq), uint64(rand.N(40))))
				here, there := pair[0], pair[1]
				hello := fmt.Appendf(nil, `{"type":"hello","since":{"epoch":%q,"seq":%d}}`+"\n", epoch, seq)
				if err := d.Admit(here, tcproom.Arrival{Read: hello}); err != nil {
					t.Error(err)
				}
				in := bufio.NewReader(there)
				for range 60 {
					line, err := in.ReadBytes('\n')
					var ev tcproom.Event
					if err == nil {
						err = tcproom.JSON{}.ParseEvent(line[:len(line)-1], &ev)
					}
					first, last := ev.Seq, ev.Seq
					if ev.Kind == tcproom.Gap {
						first, last = ev.Gap.First, ev.Gap.Last
					}
					begin := s.At(s.Place(seq) + 1) // of an event; a gap names all numbers behind the last
					if ev.Kind == tcproom.Gap {
						begin = seq + 1
					}
					if err != nil || ev.Kind != tcproom.Welcome && first != begin || s.At(s.Place(last)) != last {
						t.Errorf("behind %d comes %v %d-%d, %v", seq, ev.Kind, first, last, err)
						break
					}
					if ev.Kind != tcproom.Welcome {
						seq = last
					}
				}
				there.Close()
			}
		})
	}
	for range times(30, 600) {
		here, there := pairOver(t, "tcp")
		pairs <- [2]net.Conn{here, there}
	}
	close(pairs)
	come.Wait()
}

// TestSinceOverWhatWasTooLarge: a message that could not be kept is missing, too.
func TestSinceOverWhatWasTooLarge(t *testing.T) {
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithHistory(tcproom.History{Bytes: 128 + 1}))
	watcher := join(t, room)
	epoch := next(t, watcher).Welcome.Epoch
	for _, body := range []string{"a", "too large", "c"} {
		announce(t, room, "%s", body)
	}
	here, there := pairOver(t, "tcp")
	since := &tcproom.Position{Epoch: epoch, Seq: 1}
	require.NoError(t, door(t, room, tcproom.WithCodec(gapText{})).Admit(here, tcproom.Arrival{Hello: &tcproom.Hello{Since: since}, Read: []byte("\n")}))
	in := bufio.NewReader(there)
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "gap 2 2\n", line)
	line, err = in.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "*: c\n")
}
