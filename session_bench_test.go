package tcproom_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestSessionsAllocateNothing: what is kept for those who resume adds no
// allocation to a delivery.
func TestSessionsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("memory is not what it is without the race detector")
	}
	allocs := func(opts ...tcproom.RoomOption) float64 {
		room := tcproom.New(append(opts, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithBacklog(1<<20))...)
		defer room.Close()
		addr := serveTCP(t, room)
		for range 4 {
			nc := dialRaw(t, addr)
			fmt.Fprintln(nc, `{"type":"hello"}`)
			go io.Copy(io.Discard, nc)
		}
		waitLen(t, room, 4)
		body := []byte(strings.Repeat("x", 64))
		say := func() {
			if _, err := room.Broadcast(context.Background(), body); err != nil {
				t.Error(err)
			}
		}
		for range 20000 { // the window is full
			say()
		}
		return testing.AllocsPerRun(20000, say)
	}
	off := allocs()
	on := allocs(tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithHistory(tcproom.History{}))
	t.Logf("%v without, %v with sessions and history", off, on)
	require.LessOrEqual(t, on, off)
}

// listless is JSON whose welcome lists nobody.
type listless struct{ tcproom.JSON }

func (c listless) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if ev.Kind == tcproom.Welcome {
		bare, w := *ev, *ev.Welcome
		w.Members = nil
		bare.Welcome = &w
		ev = &bare
	}
	return c.JSON.AppendEvent(dst, ev)
}

// BenchmarkJoinStorm has 5,000 members join, with notices off, and reads all
// their welcomes, with the list of members in them and without.
func BenchmarkJoinStorm(b *testing.B) {
	const members = 5000
	for _, bench := range []struct {
		name  string
		codec tcproom.Codec
		opts  []tcproom.RoomOption
	}{
		{name: "list", codec: tcproom.JSON{}, opts: nil},
		{name: "no-list", codec: listless{}, opts: nil},
		{name: "list-sessions", codec: tcproom.JSON{}, opts: []tcproom.RoomOption{tcproom.WithSessions(tcproom.Sessions{})}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				room := tcproom.New(append(bench.opts, tcproom.WithCodec(bench.codec), tcproom.WithNotices(false), tcproom.WithMaxPending(members))...)
				l := listen(b, "tcp")
				go room.Serve(l)
				conns := make([]net.Conn, members)
				b.StartTimer()
				for i := range conns {
					nc, err := net.Dial("tcp", l.Addr().String())
					require.NoError(b, err)
					_, err = io.WriteString(nc, "{\"type\":\"hello\"}\n")
					require.NoError(b, err)
					conns[i] = nc
				}
				in := bufio.NewReaderSize(nil, 64<<10)
				for _, nc := range conns {
					in.Reset(nc)
					_, err := in.ReadSlice('\n')
					require.NoError(b, err)
				}
				b.StopTimer()
				require.Equal(b, members, room.Len())
				for _, nc := range conns {
					nc.Close()
				}
				room.Close()
				b.StartTimer()
			}
			b.ReportMetric(members*float64(b.N)/b.Elapsed().Seconds(), "joins/s")
		})
	}
}

// BenchmarkResumeStorm has one member resume again and again, with all that the
// backlog holds to be given to it, while others wait for the room: it reports
// how long a resume keeps them waiting.
func BenchmarkResumeStorm(b *testing.B) {
	for _, own := range []bool{false, true} {
		b.Run(fmt.Sprintf("own=%v", own), func(b *testing.B) {
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithMaxPending(1<<20), tcproom.WithSessions(tcproom.Sessions{}))
			addr := serveTCP(b, room)
			visit := func(hello string) (nc net.Conn, w tcproom.Event) {
				nc, err := net.Dial("tcp", addr)
				require.NoError(b, err)
				fmt.Fprintln(nc, hello)
				line, err := bufio.NewReaderSize(nc, 4<<10).ReadString('\n')
				require.NoError(b, err)
				require.NoError(b, tcproom.JSON{}.ParseEvent([]byte(line), &w))
				return nc, w
			}
			nc, w := visit(`{"type":"hello"}`)
			defer nc.Close()
			me, _ := room.Member(w.From.ID)
			for range 25000 { // as many as the backlog has room for
				if !own {
					announce(b, room, "x")
					continue
				}
				_, err := me.Post(context.Background(), []byte("x"))
				require.NoError(b, err)
			}
			hello := fmt.Sprintf(`{"type":"hello","resume":{"token":%q,"epoch":%q,"seq":0}}`, string(w.Welcome.Token), w.Welcome.Epoch)
			nc, _ = visit(hello) // everything is encoded
			nc.Close()
			b.ResetTimer()
			worst := time.Duration(0)
			for range b.N {
				nc, _ := visit(hello)
				start := time.Now()
				announce(b, room, "y")
				worst = max(worst, time.Since(start))
				nc.(*net.TCPConn).SetLinger(0)
				nc.Close()
			}
			b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
		})
	}
}
