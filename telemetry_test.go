package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestStatsOfBytes: they are exactly those on the wire.
func TestStatsOfBytes(t *testing.T) {
	for _, f := range []tcproom.Framing{tcproom.Lines{}, tcproom.Length{Bytes: 4}, tcproom.ContentLength{}} {
		t.Run(fmt.Sprintf("%T", f), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := tcproom.New(tcproom.WithFraming(f), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHistory(tcproom.History{}))
				var heard [3]bytes.Buffer
				var ends [3]net.Conn
				var served [3]<-chan error
				sent := 0
				for i := range ends {
					ends[i], served[i] = pipe(room)
					hello, err := f.AppendFrame(nil, []byte(`{"type":"hello"}`))
					require.NoError(t, err)
					go io.Copy(&heard[i], ends[i])
					ends[i].Write(hello)
					synctest.Wait()
				}
				for _, said := range []string{`{"type":"message","body":"hi"}`, `{"type":"ping"}`, `{"type":"what?"}`, `{"type":"message","body":"all"}`} {
					frame, err := f.AppendFrame(nil, []byte(said))
					require.NoError(t, err)
					ends[0].Write(frame)
					sent += len(frame)
					synctest.Wait()
				}
				s := room.Stats()
				require.EqualValues(t, sent, s.BytesIn, "frames of members; hellos are those of newcomers")
				require.EqualValues(t, heard[0].Len()+heard[1].Len()+heard[2].Len(), s.BytesOut)
				require.EqualValues(t, 2+1+4, s.Delivered, "joins of the later ones, and two messages to two members")
				for i := range ends {
					ends[i].Close()
					<-served[i]
					synctest.Wait() // the next one takes its leave before it goes
				}
				require.EqualValues(t, 7+2+1, room.Stats().Delivered, "and leaves")
				require.NoError(t, room.Close())
				require.EqualValues(t, sent, room.Stats().BytesIn)
			})
		})
	}
}

// TestStatsOfBytesInAHub: each room has what was for it.
func TestStatsOfBytesInAHub(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}))
		ada, bob := s.labelled("ada", "a", "b"), s.labelled("bob", "b")
		inA, inB := `{"type":"message","room":"a","body":"x"}`, `{"type":"message","room":"b","body":"in b"}`
		fmt.Fprint(ada.nc, inA+"\n"+inB+"\n"+inA+"\n")
		synctest.Wait()
		_ = bob
		a, _ := s.hub.Lookup("a")
		b, _ := s.hub.Lookup("b")
		require.EqualValues(t, 2*(len(inA)+1), a.Stats().BytesIn)
		require.EqualValues(t, len(inB)+1, b.Stats().BytesIn)
		require.NotZero(t, b.Stats().BytesOut)
	})
}

// TestStatsOfASlowMember: it is counted while its connection takes nothing, and no longer.
func TestStatsOfASlowMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithWriteTimeout(-1), tcproom.WithBacklog(1<<20))
		quick, served := pipe(room)
		go io.Copy(io.Discard, quick)
		slow, slowServed := pipe(room)
		first := bufio.NewReader(slow)
		require.Zero(t, room.Stats().Waiting)
		line := strings.Repeat("x", 999) + "\n"
		for range 40 {
			quick.Write([]byte(line))
			time.Sleep(time.Second) // what it does not take shows by the clock
		}
		s := room.Stats()
		require.Equal(t, 1, s.Waiting)
		require.Greater(t, s.Backlog, 10_000)
		require.LessOrEqual(t, s.Backlog, 41_000)
		require.Greater(t, s.SlowestFor, 30*time.Second)
		require.LessOrEqual(t, s.SlowestFor, 41*time.Second)
		go io.Copy(io.Discard, first)
		synctest.Wait()
		s = room.Stats()
		require.Zero(t, s.Waiting)
		require.Zero(t, s.Backlog)
		require.Zero(t, s.SlowestFor)
		quick.Close()
		slow.Close()
		<-served
		<-slowServed
		require.NoError(t, room.Close())
	})
}

// TestStatsOfAccepting: each failure counts, also those that are not logged.
func TestStatsOfAccepting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := tcproom.NewHub()
		room := tcproom.New()
		for _, serve := range []func(net.Listener) error{
			func(l net.Listener) error { return room.Serve(l) }, func(l net.Listener) error { return hub.Serve(l) },
		} {
			l := newScriptedListener()
			for range 20 {
				l.script <- syscall.EMFILE
			}
			go serve(l)
		}
		time.Sleep(time.Minute)
		require.EqualValues(t, 20, room.Stats().AcceptErrors)
		require.EqualValues(t, 20, hub.Stats().AcceptErrors)
		require.NoError(t, room.Close())
		require.NoError(t, hub.Close())
		<-room.Done()
		<-hub.Done()
	})
}

// timed collects what hook timers are told.
type timed struct {
	mu   sync.Mutex
	runs []string
}

func (x *timed) option() tcproom.RoomOption {
	return tcproom.WithHookTimer(func(hook, room string, took time.Duration) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.runs = append(x.runs, fmt.Sprintf("%s %q %v", hook, room, took))
	})
}

func (x *timed) take() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	runs := x.runs
	x.runs = nil
	return runs
}

// TestHookTimer: each hook is timed, also one that fails or panics, and by each timer.
func TestHookTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var one, two timed
		takes := func(n int) { time.Sleep(time.Duration(n) * time.Second) }
		room := tcproom.New(
			one.option(), tcproom.WithHookTimer(nil), two.option(),
			tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
				takes(1)
				return tcproom.Identity{}, nil
			}),
			tcproom.OnJoin(func(*tcproom.Member) error { takes(2); return nil }),
			tcproom.OnJoined(func(*tcproom.Member, uint64) { takes(3) }),
			tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
				takes(4)
				if string(body) == "panic" {
					panic("as told")
				}
				return body, nil
			}),
			tcproom.OnLeave(func(*tcproom.Member, error) { takes(5) }),
			tcproom.OnReject(func(*tcproom.Newcomer, error) { takes(6) }),
			tcproom.WithMaxMembers(1),
		)
		nc, served := pipe(room)
		fmt.Fprint(nc, "hi\n")
		go io.Copy(io.Discard, nc)
		time.Sleep(11 * time.Second)
		require.Equal(t, []string{`WithHandshake "" 1s`, `OnJoin "" 2s`, `OnJoined "" 3s`, `OnMessage "" 4s`}, one.take())
		require.Len(t, two.take(), 4)
		other, refused := pipe(room)
		go io.Copy(io.Discard, other)
		<-refused
		require.Equal(t, []string{`OnReject "" 6s`}, one.take())
		fmt.Fprint(nc, "panic\n")
		<-served
		require.Equal(t, []string{`OnMessage "" 4s`, `OnLeave "" 5s`}, one.take())
		require.NoError(t, room.Close())
	})
}

// TestHookTimerOfAHub has the names of the rooms.
func TestHookTimerOfAHub(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		var all timed
		takes := func(n int) { time.Sleep(time.Duration(n) * time.Second) }
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), all.option(),
			tcproom.OnConnect(func(*tcproom.Member) error { takes(1); return nil }),
			tcproom.OnEnter(func(context.Context, *tcproom.Member, string) error { takes(2); return nil }),
			tcproom.OnRoom(func(_ *tcproom.Room, made bool) { takes(3) }),
			tcproom.OnJoin(func(*tcproom.Member) error { takes(4); return nil }),
			tcproom.OnLeave(func(*tcproom.Member, error) { takes(5) }),
			tcproom.OnDisconnect(func(*tcproom.Member, error) { takes(6) }),
			tcproom.OnRequest(func(*tcproom.Member, *tcproom.Request) error { takes(7); return nil }),
			tcproom.WithRoomLinger(-1),
		)
		ada := s.labelled("ada", "a")
		time.Sleep(20 * time.Second)
		require.Equal(t, []string{`OnConnect "" 1s`, `OnEnter "" 2s`, `OnRoom "a" 3s`, `OnJoin "a" 4s`}, all.take())
		fmt.Fprint(ada.nc, `{"type":"leave","room":"a"}`+"\n")
		time.Sleep(20 * time.Second)
		require.ElementsMatch(t, []string{`OnRequest "" 7s`, `OnLeave "a" 5s`, `OnRoom "a" 3s`}, all.take())
		ada.nc.Close()
		time.Sleep(20 * time.Second)
		require.Equal(t, []string{`OnDisconnect "" 6s`}, all.take())
	})
}

// TestTrace: the way of a message has its times in order, and one of so many is traced.
func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var traces []tcproom.Trace
		room := tcproom.New(
			tcproom.WithTrace(3, func(tr tcproom.Trace) {
				mu.Lock()
				defer mu.Unlock()
				traces = append(traces, tr)
			}),
			tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
				time.Sleep(time.Second)
				return body, nil
			}),
		)
		_, err := room.Broadcast(t.Context(), []byte("nobody is there"))
		require.NoError(t, err)
		ada, served := pipe(room)
		bob, bobServed := pipe(room)
		go io.Copy(io.Discard, bob)
		began := time.Now()
		go io.Copy(io.Discard, ada)
		for i := range 6 {
			fmt.Fprintf(ada, "%d\n", i)
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		mu.Lock()
		require.Len(t, traces, 2)
		for i, tr := range traces {
			sent := began.Add(time.Duration(2+3*i) * 2 * time.Second)
			require.Equal(t, tcproom.Trace{
				Seq: uint64(6 + 3*i), From: tr.From, Size: 1, Members: 2,
				Read: sent, Ordered: sent.Add(time.Second), Written: sent.Add(time.Second),
			}, tr)
			require.NotEmpty(t, tr.From.ID)
		}
		traces = nil
		mu.Unlock()
		ada.Close()
		bob.Close()
		<-served
		<-bobServed
		require.NoError(t, room.Close())
		<-room.Done()
	})
}

// TestTraceThatPanics is logged, and is nobody's end.
func TestTraceThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		called := 0
		room := tcproom.New(tcproom.WithLogger(lines.Logger()), tcproom.WithTrace(0, func(tcproom.Trace) {
			called++
			panic("as told")
		}))
		ada, served := pipe(room)
		bob, bobServed := pipe(room)
		go io.Copy(io.Discard, ada)
		go io.Copy(io.Discard, bob)
		fmt.Fprint(ada, "one\n")
		synctest.Wait()
		fmt.Fprint(ada, "two\n")
		synctest.Wait()
		require.Equal(t, 2, called)
		require.Len(t, lines.With("hook failed"), 2)
		require.Len(t, lines.With("hook=WithTrace"), 2)
		require.Equal(t, 2, room.Len())
		ada.Close()
		bob.Close()
		<-served
		<-bobServed
		require.NoError(t, room.Close())
	})
}

// TestRecords: all records of a connection have one form, which names it and its room.
func TestRecords(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				switch a.Key {
				case slog.TimeKey:
					return slog.Attr{}
				case "id", "addr":
					return slog.String(a.Key, "…")
				}
				return a
			},
		}))
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithLogger(logger), tcproom.WithSessions(tcproom.Sessions{}))
		records := func() (got []string) {
			synctest.Wait()
			for line := range strings.Lines(log.String()) {
				got = append(got, strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "id=… ", ""))
			}
			log.Reset()
			return got
		}
		ada := s.labelled("ada", "a")
		require.Equal(t, []string{
			`level=DEBUG msg="tcproom: joined" name=ada addr=…`,
			`level=DEBUG msg="tcproom: joined" name=ada addr=… room=a`,
		}, records())
		ada.say(`{"type":"move","room":"a","to":"b"}`)
		require.ElementsMatch(t, []string{
			`level=DEBUG msg="tcproom: left" name=ada addr=… room=a cause="tcproom: gone to another room"`,
			`level=DEBUG msg="tcproom: joined" name=ada addr=… room=b`,
		}, records())
		ada.say(`{"type":"move","room":"b","to":"a"}`)
		records()
		fmt.Fprint(ada.nc, `{"type":"enter","room":"a b"}`+"\n"+`{"type":"leave","room":"a"}`+"\n"+`{"type":"what?"}`+"\n")
		require.Equal(t, []string{
			`level=DEBUG msg="tcproom: request refused" name=ada addr=… request=ReqEnter cause="tcproom: invalid name of a room: \"a b\": holds a space or line separator"`,
			`level=DEBUG msg="tcproom: left" name=ada addr=… room=a cause="tcproom: the peer left"`,
			`level=INFO msg="tcproom: frame ignored, and more like it will be" name=ada addr=… cause="tcproom: codec says nothing for this: unknown type \"what?\""`,
		}, records())
		ada.nc.Close()
		require.Equal(t, []string{`level=DEBUG msg="tcproom: lost" name=ada addr=… cause="tcproom: the peer left"`}, records())
		nc, err := s.net.Dial(t.Context(), "tcp", s.json)
		require.NoError(t, err)
		fmt.Fprint(nc, `{"type":"hello","name":"bad name"}`+"\n")
		synctest.Wait() // it is told, and heard out before that is logged
		nc.Close()
		require.Equal(t, []string{
			`level=INFO msg="tcproom: refused" name="bad name" addr=… cause="tcproom: invalid name: \"bad name\": holds a space or line separator"`,
		}, records())
	})
}

// TestMemberLogValue says what is wrong with it.
func TestMemberLogValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inside, release := make(chan struct{}), make(chan struct{})
		room := tcproom.New(tcproom.WithWriteTimeout(-1), tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
			if string(body) == "hang" {
				close(inside)
				<-release
			}
			return body, nil
		}))
		ada, served := pipe(room)
		synctest.Wait() // who comes first is first in the list
		bob, bobServed := pipe(room)
		go io.Copy(io.Discard, bob)
		synctest.Wait()
		members := slices.Collect(room.Members())
		value := func(i int) string {
			var log bytes.Buffer
			slog.New(slog.NewTextHandler(&log, nil)).Info("", "m", members[i])
			_, attrs, _ := strings.Cut(strings.TrimSpace(log.String()), " m.id=")
			_, attrs, _ = strings.Cut(attrs, " ")
			return attrs
		}
		require.Equal(t, "m.name=guest-2 m.addr=pipe m.state=present", value(1))
		for range 3 {
			fmt.Fprint(bob, "hi\n")
			time.Sleep(time.Second)
		}
		require.Regexp(t, `^m\.name=guest-1 m\.addr=pipe m\.state=present m\.missed=\d m\.waited=\S+s$`, value(0))
		fmt.Fprint(bob, "hang\n")
		<-inside
		require.Equal(t, "m.name=guest-2 m.addr=pipe m.state=present m.hook=OnMessage", value(1))
		gone := members[0]
		close(release)
		ada.Close()
		bob.Close()
		<-served
		<-bobServed
		require.Contains(t, gone.LogValue().String(), "state=gone")
		require.NoError(t, room.Close())
	})
}

// TestMemberLogValueWhileItJoins: whoever has a member may log it at any time. It is the
// race detector that fails.
func TestMemberLogValueWhileItJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.OnJoin(func(m *tcproom.Member) error {
			go m.LogValue()
			time.Sleep(time.Second) // which orders nothing: the join comes next
			return nil
		}))
		nc, served := pipe(room)
		go io.Copy(io.Discard, nc)
		time.Sleep(time.Minute)
		require.Equal(t, 1, room.Len())
		nc.Close()
		<-served
		require.NoError(t, room.Close())
	})
}

// TestTraceOfABlockedCall: what held it back shows between the call and the order.
func TestTraceOfABlockedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		traces := make(chan tcproom.Trace, 200)
		room := tcproom.New(tcproom.WithSlowMembers(tcproom.Block(20*time.Second)), tcproom.WithWriteTimeout(-1), tcproom.WithTrace(1, func(tr tcproom.Trace) { traces <- tr }))
		nc, served := pipe(room)
		synctest.Wait()
		longest := time.Duration(0)
		for i := 0; i < 100 && room.Len() > 0; i++ {
			began := time.Now()
			_, err := room.Broadcast(t.Context(), bytes.Repeat([]byte("x"), 50_000))
			require.NoError(t, err)
			longest = max(longest, time.Since(began))
		}
		require.Greater(t, longest, 15*time.Second, "or nothing was held back")
		nc.Close()
		<-served
		require.NoError(t, room.Close())
		<-room.Done()
		close(traces)
		shown := time.Duration(0)
		for tr := range traces {
			shown = max(shown, tr.Ordered.Sub(tr.Read))
		}
		require.Equal(t, longest, shown)
	})
}

// TestTraceOfOneRoom: it begins with the read too if the hub as a whole has no traces.
func TestTraceOfOneRoom(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		traces := make(chan tcproom.Trace, 1)
		s := newStable(t,
			tcproom.WithRoom("a", tcproom.WithTrace(1, func(tr tcproom.Trace) { traces <- tr })),
			tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
				time.Sleep(time.Second)
				return body, nil
			}))
		s.labelled("ada", "a").say(`{"type":"message","room":"a","body":"x"}`)
		tr := <-traces
		require.Equal(t, time.Second, tr.Ordered.Sub(tr.Read))
		require.Equal(t, "a", tr.Room)
	})
}

// TestTraceThatCloses: the function may stop what called it, as a hook may.
func TestTraceThatCloses(t *testing.T) {
	inBubble("room", t, func(t *testing.T) {
		closed := make(chan time.Duration, 1)
		var room *tcproom.Room
		room = tcproom.New(tcproom.WithTrace(1, func(tcproom.Trace) {
			began := time.Now()
			require.NoError(t, room.Close())
			closed <- time.Since(began)
		}))
		nc, served := pipe(room)
		go io.Copy(io.Discard, nc)
		synctest.Wait()
		_, err := room.Broadcast(t.Context(), []byte("x"))
		require.NoError(t, err)
		require.Zero(t, <-closed)
		<-served
		<-room.Done()
	})
	inBubble("hub", t, func(t *testing.T) {
		closed := make(chan time.Duration, 1)
		var hub *tcproom.Hub
		hub = tcproom.NewHub(tcproom.WithTrace(1, func(tcproom.Trace) {
			began := time.Now()
			require.NoError(t, hub.Close())
			closed <- time.Since(began)
		}))
		conn, err := hub.Join(t.Context(), "a", tcproom.Identity{Name: "ada"}, tcproom.OnEvent(func(tcproom.Event) {}))
		require.NoError(t, err)
		synctest.Wait()
		a, _ := hub.Lookup("a")
		_, err = a.Broadcast(t.Context(), []byte("x"))
		require.NoError(t, err)
		require.Less(t, <-closed, time.Second)
		<-hub.Done()
		conn.Close()
	})
}

// TestTraceThatBlocks holds no more goroutines than it may, and is named when the room
// cannot stop for it.
func TestTraceThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var calls atomic.Int32
		room := tcproom.New(tcproom.WithTrace(1, func(tcproom.Trace) {
			calls.Add(1)
			<-release
		}))
		nc, served := pipe(room)
		go io.Copy(io.Discard, nc)
		synctest.Wait()
		say := func(n int) {
			for range n {
				_, err := room.Broadcast(t.Context(), []byte("x"))
				require.NoError(t, err)
				synctest.Wait()
			}
		}
		say(1100)
		require.EqualValues(t, 1000, calls.Load())
		nc.Close()
		<-served
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var stop *tcproom.StopError
		require.ErrorAs(t, room.Shutdown(ctx), &stop)
		require.Equal(t, []tcproom.StuckConn{{Hook: "WithTrace"}}, stop.Stuck)
		close(release)
		<-room.Done()
		require.NoError(t, room.Shutdown(t.Context()))
	})
}

// TestTraceThatEndsItsGoroutine: others follow it, more than can be under way at once.
func TestTraceThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		room := tcproom.New(tcproom.WithTrace(1, func(tcproom.Trace) {
			calls.Add(1)
			runtime.Goexit()
		}))
		nc, served := pipe(room)
		go io.Copy(io.Discard, nc)
		synctest.Wait()
		for range 11 {
			for range 100 {
				_, err := room.Broadcast(t.Context(), []byte("x"))
				require.NoError(t, err)
			}
			synctest.Wait()
		}
		require.EqualValues(t, 1100, calls.Load())
		nc.Close()
		<-served
		require.NoError(t, room.Close())
		<-room.Done()
	})
}

// TestRecordsOfOneThatIsNotLetIn: who has not joined has not left.
func TestRecordsOfOneThatIsNotLetIn(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		var lines logLines
		s := newStable(t, tcproom.WithLogger(slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))), tcproom.OnLeave(func(*tcproom.Member, error) {}),
			tcproom.OnJoin(func(m *tcproom.Member) error {
				if m.Room().Name() == "b" {
					return m.Room().Close()
				}
				return nil
			}))
		ada := s.labelled("ada", "a")
		ada.say(`{"type":"enter","room":"b","ref":1}`)
		require.Equal(t, "refused closed ref 1", inBrief(ada.objects()[2]))
		require.Len(t, lines.With("tcproom: joined"), 2)
		require.Len(t, lines.With("tcproom: request refused"), 1)
		require.Empty(t, lines.With("tcproom: left"))
	})
}
