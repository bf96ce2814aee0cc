package roomtest_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func TestHookFailures(t *testing.T) {
	tests := []struct {
		name string
		hook func(f *fakeTB)
		want string
	}{
		{name: "panic", hook: func(*fakeTB) { panic("oh\nno") }, want: `roomtest: hook OnMessage of "ada" panicked: "oh\nno"` + "\ngoroutine "},
		{name: "panic of an error", hook: func(*fakeTB) { panic(errors.New("oh no")) }, want: `roomtest: hook OnMessage of "ada" panicked: oh no` + "\ngoroutine "},
		{name: "Goexit", hook: func(*fakeTB) { runtime.Goexit() }, want: `roomtest: hook OnMessage of "ada" called runtime.Goexit; return instead`},
		{name: "require", hook: func(f *fakeTB) { require.Equal(f, 1, 2) }, want: `roomtest: hook OnMessage of "ada" ended its goroutine, as a require that fails in it does`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := runTest(func(f *fakeTB) {
				srv := roomtest.NewMemServer(f, tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) {
					tt.hook(f)
					return nil, nil
				}))
				ada := srv.Join("ada")
				ada.Send("x")
				ada.Await(roomtest.Goodbye())
			})
			require.Equal(t, 1, strings.Count(f.said(), "hook OnMessage"), f.said())
			require.Contains(t, f.said(), tt.want)
			require.NotContains(t, strings.Join(f.logs, "\n"), "goroutine", "said twice")
			require.Empty(t, f.late)
		})
	}
}

func TestHookFailuresOfOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server) {
		f := runTest(func(f *fakeTB) {
			srv := make(f, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnJoin(func(m *tcproom.Member) error {
				if m.Name() == "eve" {
					panic("join")
				}
				return nil
			}))
			c := srv.Dial(tcproom.WithName("bob"), tcproom.OnEvent(func(ev tcproom.Event) {
				if ev.Kind == tcproom.Message {
					panic("event")
				}
			}))
			ada := srv.Join("ada")
			ada.Send("x")
			<-c.Context().Done()
			srv.Join("eve")
		})
		require.Contains(t, f.said(), `roomtest: hook OnEvent of "bob" panicked: event`)
		require.Contains(t, f.said(), `roomtest: hook OnJoin of "eve" panicked: join`)
		require.Contains(t, f.said(), `roomtest: eve cannot join: tcproom: refused: "internal error" (code "hook")`)
	})
}

// failings are the ways in which a function of the test's may not return.
var failings = []struct {
	name string
	fail func(f *fakeTB)
	want string
}{
	{name: "panic", fail: func(*fakeTB) { panic("oh\nno") }, want: ` panicked: "oh\nno"` + "\ngoroutine "},
	{name: "Goexit", fail: func(*fakeTB) { runtime.Goexit() }, want: ` called runtime.Goexit`},
	{name: "require", fail: func(f *fakeTB) { require.Equal(f, 1, 2) }, want: ` ended its goroutine, as a require that fails in it does`},
}

// TestOnAcceptFailures: a function of OnAccept that fails costs its test that
// conn, and the room goes on.
func TestOnAcceptFailures(t *testing.T) {
	for _, tt := range failings {
		t.Run(tt.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server) {
				f := runTest(func(f *fakeTB) {
					srv := make(f, tcproom.WithCodec(tcproom.JSON{}))
					var accepted atomic.Int32
					srv.Listener.OnAccept(func(*roomtest.Conn) {
						if accepted.Add(1) == 1 {
							tt.fail(f)
						}
					})
					ada := srv.Join("ada")
					dial := new(net.Dialer).DialContext
					if srv.Net != nil {
						dial = srv.Net.Dial
					}
					_, err := tcproom.Dial(t.Context(), srv.Addr, tcproom.WithDialer(dial), tcproom.WithCodec(tcproom.JSON{}))
					require.Error(t, err)
					srv.Dial(tcproom.WithName("eve"))
					ada.Expect(roomtest.Joined("eve"))
				})
				require.Equal(t, 1, strings.Count(f.said(), "hook OnAccept of "), f.said())
				require.Contains(t, f.said(), tt.want)
				require.Empty(t, f.late)
			})
		})
	}
}

// TestBotFailures: a function of the test's that fails on a bot's goroutine
// ends that bot, and nothing else.
func TestBotFailures(t *testing.T) {
	whats := []struct {
		name string
		rule func(fail func()) roomtest.Rule
		want string
	}{
		{name: "Call", rule: func(fail func()) roomtest.Rule {
			return roomtest.On(roomtest.Message("", "go"), roomtest.Call(func(tcproom.Event) { fail() }))
		}, want: `roomtest: bot "b" at Call`},
		{name: "Where", rule: func(fail func()) roomtest.Rule {
			return roomtest.On(roomtest.Where("odd", func(ev tcproom.Event) bool {
				if string(ev.Body) == "go" {
					fail()
				}
				return false
			}))
		}, want: `roomtest: bot "b" at matching odd`},
	}
	for _, what := range whats {
		for _, tt := range failings {
			t.Run(what.name+"/"+tt.name, func(t *testing.T) {
				f := runTest(func(f *fakeTB) {
					srv := roomtest.NewMemServer(f)
					b := srv.Bot("b", what.rule(func() { tt.fail(f) }))
					srv.Bot("c", roomtest.On(roomtest.Message("", "still"), roomtest.Echo()))
					ada := srv.Join("ada")
					ada.Send("go")
					ada.Await(roomtest.Left("b"))
					b.Do(roomtest.Say("lost"))
					ada.Send("still")
					ada.Expect(roomtest.Message("c", "still"))
				})
				require.Equal(t, 1, strings.Count(f.said(), what.want+tt.want), f.said())
				require.Equal(t, 1, strings.Count(f.said(), "roomtest: "), f.said())
				require.Empty(t, f.late)
			})
		}
	}
}

// TestHookFailureEndsWaiting: no expectation waits ten seconds for what a failed hook
// was to do.
func TestHookFailureEndsWaiting(t *testing.T) {
	began := time.Now()
	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewMemServer(f, tcproom.WithNotices(false), tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { panic("x") }))
		ada, bob := srv.Join("ada"), srv.Join("bob")
		ada.SendAsync("hi")
		bob.Expect(roomtest.Message("ada", "hi"))
	})
	require.Less(t, time.Since(began), 5*time.Second)
	require.Contains(t, f.said(), `but nothing came, and hook OnMessage of "ada" has failed`)
}

// TestHookFailureAfterTheEnd: a hook that fails when its test has ended does
// not touch the test.
func TestHookFailureAfterTheEnd(t *testing.T) {
	release, over := make(chan struct{}), make(chan struct{})
	var room *tcproom.Room
	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewMemServer(f, tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) {
			<-release
			defer close(over)
			panic("late")
		}))
		srv.Grace(50 * time.Millisecond)
		room = srv.Room
		srv.Join("ada").SendAsync("x")
		srv.Within(time.Second)
		require.Eventually(t, func() bool { return room.Stats().Members == 1 }, time.Second, time.Millisecond)
	})
	close(release)
	<-over
	<-room.Done()
	require.Contains(t, f.said(), "still in its hook OnMessage")
	require.Empty(t, f.late)
}

func TestRoomLogsToTheTest(t *testing.T) {
	fails := tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { return nil, errors.New("no such room") })
	f := runTest(func(f *fakeTB) {
		ada := roomtest.NewMemServer(f, fails).Join("ada")
		ada.Send("x")
		ada.Expect(roomtest.Goodbye())
		require.Error(t, ada.AwaitEnd())
	})
	require.Empty(t, f.said())
	require.Contains(t, strings.Join(f.logs, "\n"), "the room logs: level=WARN")
	require.Contains(t, strings.Join(f.logs, "\n"), "no such room")

	f = runTest(func(f *fakeTB) {
		ada := roomtest.NewMemServer(f, fails, tcproom.WithLogger(slog.New(slog.DiscardHandler))).Join("ada")
		ada.Send("x")
		ada.AwaitEnd()
	})
	require.Empty(t, f.logs, "the test has a logger of its own")
}

func TestHandshakeHookSeesJoin(t *testing.T) {
	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewMemServer(f, tcproom.WithHandshake(func(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
			if n.Hello().Name == "eve" {
				return tcproom.Identity{}, errors.New("not you")
			}
			return tcproom.Identity{Name: "dr-" + n.Hello().Name}, nil
		}))
		require.Equal(t, "dr-ada", srv.Join("ada").Name())
		srv.Join("eve")
	})
	require.Equal(t, `roomtest: eve cannot join: tcproom: refused: "not you" (code "denied")`, f.said())
}
