package roomtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func TestJoin(t *testing.T) {
	srv := roomtest.NewMemServer(t, tcproom.WithFraming(tcproom.Length{}), tcproom.WithCodec(tcproom.Raw{}), tcproom.WithMaxMessage(1<<20))
	ada := srv.Join("ada")
	bob := srv.Join("bob")
	require.Equal(t, "bob", bob.Name())
	require.Equal(t, bob.Conn.ID(), bob.Welcome.From.ID)
	require.Len(t, bob.Welcome.Welcome.Members, 2)
	require.NotNil(t, bob.Link)
	for _, body := range []string{"", "two\nlines", "\x00\xff", strings.Repeat("x", 1<<20)} {
		ada.Send(body)
		evs := bob.Expect(roomtest.Message("ada", body))
		require.Equal(t, ada.Conn.ID(), evs[0].From.ID)
	}
	ada.Expect(roomtest.Joined("bob"))
	bob.Leave()
	require.Equal(t, 1, srv.Room.Len(), "the room has let bob go when Leave returns")
	ada.Expect(roomtest.Left("bob"))
}

// TestSendIsOrdered: what members send one after another is ordered so, whatever the
// links do.
func TestSendIsOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t)
		members := []*roomtest.Member{srv.Join("ada"), srv.Join("bob"), srv.Join("cyd")}
		members[0].Link.Out(roomtest.Chop(3), roomtest.Latency(time.Second))
		members[1].Link.Out(roomtest.Bandwidth(100))
		var want strings.Builder
		for i := range 60 {
			m := members[i%3]
			if i%7 == 0 {
				fmt.Fprintf(&want, "%4d  %s: %da\n", srv.Transcript().Len()+1, m.Name(), i)
				m.SendAsync(fmt.Sprint(i, "a"))
				m.Send(fmt.Sprint(i))
				fmt.Fprintf(&want, "%4d  %s: %d\n", srv.Transcript().Len(), m.Name(), i)
				continue
			}
			m.Send(fmt.Sprint(i))
			fmt.Fprintf(&want, "%4d  %s: %d\n", srv.Transcript().Len(), m.Name(), i)
		}
		got := srv.Transcript().String()
		require.Equal(t, want.String(), got[strings.Index(got, "   4  "):])
	})
}

// TestSendWaitsForTheHook: Send returns when OnMessage has.
func TestSendWaitsForTheHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dropped := 0
		srv := roomtest.NewMemServer(t, tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) {
			time.Sleep(time.Second)
			dropped++
			return nil, nil
		}))
		ada := srv.Join("ada")
		for i := range 50 {
			ada.SendAsync("x")
			ada.Send("x")
			require.Equal(t, 2*(i+1), dropped)
		}
	})
}

// TestSendWaitsForItsOwnMessage, whatever else the client sends by itself, or sent
// through Conn, or a black hole has swallowed.
func TestSendWaitsForItsOwnMessage(t *testing.T) {
	tests := []struct {
		name string
		say  func(srv *roomtest.Server, ada *roomtest.Member)
		want int
	}{
		{name: "heartbeats", say: func(*roomtest.Server, *roomtest.Member) {}, want: 1},
		{name: "Conn.Send", say: func(_ *roomtest.Server, ada *roomtest.Member) {
			for range 10 {
				ada.Conn.Send(t.Context(), []byte("x"))
			}
		}, want: 11},
		{name: "black hole", say: func(srv *roomtest.Server, ada *roomtest.Member) {
			// Both ends have a byte of the other's, so that no heartbeat falls into the hole.
			_, err := srv.Room.Broadcast(t.Context(), []byte("here"))
			require.NoError(t, err)
			require.NoError(t, ada.Conn.Send(t.Context(), []byte("x")))
			time.Sleep(2 * time.Second)
			ada.Link.Out(roomtest.BlackHole())
			ada.SendAsync("lost\n")
			time.Sleep(time.Second)
			ada.Link.Out(roomtest.Chop(7))
		}, want: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := 0
				srv := roomtest.NewMemServer(t, tcproom.WithHeartbeat(time.Minute), tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) {
					time.Sleep(time.Second)
					done++
					return nil, nil
				}))
				srv.Within(time.Minute)
				ada := srv.Join("ada", tcproom.WithHeartbeat(50*time.Second))
				ada.Link.Out(roomtest.Chop(7))
				time.Sleep(time.Hour)
				tt.say(srv, ada)
				time.Sleep(time.Hour)
				ada.Send("x")
				require.Equal(t, tt.want, done)
				ada.Send("x")
				require.Equal(t, tt.want+1, done)
			})
		})
	}
}

// TestSendEndsWithTheConnection, even if the member does not read.
func TestSendEndsWithTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.OnMessage(func(m *tcproom.Member, _ []byte) ([]byte, error) {
			m.Room().Close() // so that the room's end does not even read on
			return nil, errors.New("over")
		}))
		ada := srv.Join("ada")
		ada.Pause()
		ada.Send("x")
		require.Empty(t, ada.Conn.Err(), "has not read the end")
	})
}

func TestExpectAndAwait(t *testing.T) {
	srv := roomtest.NewMemServer(t)
	ada, bob := srv.Join("ada"), srv.Join("bob")
	bob.Send("one")
	bob.Send("two 2")
	_, err := srv.Room.Broadcast(t.Context(), []byte("all"))
	require.NoError(t, err)
	m, ok := srv.Room.Member(ada.Conn.ID())
	require.True(t, ok)
	require.NoError(t, m.Send(t.Context(), []byte("psst")))
	bob.Leave()
	evs := ada.Expect(roomtest.Joined("bob"), roomtest.Message("bob", "one"))
	require.Len(t, evs, 2)
	require.Equal(t, uint64(3), evs[1].Seq)
	ada.Expect(roomtest.MessageLike("", `two (\d)$`), roomtest.Message("*", "all"), roomtest.Direct("psst"))
	ada.Await(roomtest.Left(""))
	require.NoError(t, m.Kick("enough"))
	ada.Expect(roomtest.Goodbye())
	require.ErrorIs(t, ada.AwaitEnd(), tcproom.ErrKicked)
	require.Equal(t, tcproom.Welcome, ada.Events()[0].Kind)
	require.Len(t, ada.Events(), 8)
}

// TestRefuteIsExact: no message that the hook lets through gets past Refute,
// and none that it drops is waited for.
func TestRefuteIsExact(t *testing.T) {
	for _, leaks := range []bool{false, true} {
		for range 100 {
			f := runTest(func(f *fakeTB) {
				srv := roomtest.NewMemServer(f, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
					for range 10 {
						runtime.Gosched()
					}
					if !leaks {
						return nil, nil
					}
					return body, nil
				}))
				ada, bob := srv.Join("ada"), srv.Join("bob")
				bob.Link.In(roomtest.Latency(time.Millisecond))
				ada.Send("secret")
				bob.Refute(roomtest.Message("ada", "secret"))
			})
			require.Equal(t, leaks, f.Failed(), f.said())
		}
	}
}

// TestRefuteIsPrivate: that Refute asks the room does not show.
func TestRefuteIsPrivate(t *testing.T) {
	srv := roomtest.NewMemServer(t)
	ada, bob := srv.Join("ada"), srv.Join("bob")
	for range 10 {
		ada.Sync()
		ada.Refute(roomtest.Left(""))
	}
	require.Equal(t, 2, srv.Transcript().Len())
	require.Len(t, ada.Events(), 2)
	require.Len(t, bob.Events(), 1)
	ada.Expect(roomtest.Joined("bob")) // Refute took nothing
	ada.Leave()
	ada.Refute(roomtest.Joined("")) // was dealt with; and nothing hangs
}

// TestRefuteWithinAnyLimit: that Refute asks the room takes no message limit.
func TestRefuteWithinAnyLimit(t *testing.T) {
	pairs := []struct {
		name    string
		framing tcproom.Framing
		codec   tcproom.Codec
	}{
		{name: "Lines of Text", framing: tcproom.Lines{}, codec: tcproom.Text{}},
		{name: "Lines of Raw", framing: tcproom.Lines{}, codec: tcproom.Raw{}},
		{name: "Length of Raw", framing: tcproom.Length{}, codec: tcproom.Raw{}},
		{name: "Varint of Raw", framing: tcproom.Varint{}, codec: tcproom.Raw{}},
		{name: "Netstring of Text", framing: tcproom.Netstring{}, codec: tcproom.Text{}},
		{name: "ContentLength of Raw", framing: tcproom.ContentLength{}, codec: tcproom.Raw{}},
		{name: "Lines of JSON", framing: tcproom.Lines{}, codec: tcproom.JSON{}},
	}
	for _, tt := range pairs {
		t.Run(tt.name, func(t *testing.T) {
			srv := roomtest.NewMemServer(t, tcproom.WithMaxMessage(1), tcproom.WithFraming(tt.framing), tcproom.WithCodec(tt.codec))
			ada, eve := srv.Join("ada"), srv.Watch(srv.Dial())
			ada.Refute(roomtest.Any(tcproom.Message))
			eve.Refute(roomtest.Any(tcproom.Message))
			ada.Send("x")
			ada.Refute(roomtest.Any(tcproom.Message))
			eve.Expect(roomtest.MessageLike("", "^x$"))
			eve.Refute(roomtest.Any())
			require.NoError(t, eve.Conn.Err())
		})
	}
}

// TestDialKeepsItsLimit: what is no barrier is too large for a client as it
// would be without this package.
func TestDialKeepsItsLimit(t *testing.T) {
	srv := roomtest.NewMemServer(t, tcproom.WithFraming(tcproom.Length{}), tcproom.WithCodec(tcproom.Raw{}))
	eve := srv.Watch(srv.Dial(tcproom.WithMaxMessage(10)))
	ada := srv.Join("ada")
	ada.Send("ten bytes.")
	eve.Await(roomtest.Message("", "ten bytes."))
	ada.Send("eleven byte")
	require.ErrorIs(t, eve.AwaitEnd(), tcproom.ErrFrameTooLarge)
}

// TestRefuteOfABrokenStream: of what a broken connection would have brought,
// nothing is refuted, unless the test knows of the end.
func TestRefuteOfABrokenStream(t *testing.T) {
	reset := func(_ *roomtest.Server, _, bob *roomtest.Member) { bob.Link.Reset() }
	tests := []struct {
		name  string
		end   func(srv *roomtest.Server, ada, bob *roomtest.Member)
		fails bool
	}{
		{name: "reset", end: reset, fails: true},
		{name: "cut", end: func(_ *roomtest.Server, _, bob *roomtest.Member) {
			bob.Link.In(roomtest.CutAfter(0))
			bob.Link.Out(roomtest.CutAfter(0))
		}, fails: true},
		{name: "slow", end: func(_ *roomtest.Server, ada, bob *roomtest.Member) {
			bob.Pause()
			for range 100 {
				ada.Send(strings.Repeat("x", 10_000))
			}
			bob.Resume()
		}, fails: true},
		{name: "seen", end: func(srv *roomtest.Server, ada, bob *roomtest.Member) {
			reset(srv, ada, bob)
			bob.AwaitEnd()
		}, fails: false},
		{name: "left", end: func(_ *roomtest.Server, _, bob *roomtest.Member) { bob.Leave() }, fails: false},
		{name: "closed", end: func(_ *roomtest.Server, _, bob *roomtest.Member) { bob.Conn.Close() }, fails: false},
		{name: "kicked", end: func(srv *roomtest.Server, ada, bob *roomtest.Member) { srv.Kick("bob", "enough") }, fails: false},
	}
	refutes := []func(bob *roomtest.Member){
		func(bob *roomtest.Member) { bob.Refute(roomtest.Message("ada", "secret")) },
		func(bob *roomtest.Member) { bob.RefuteFor(time.Hour, roomtest.Message("ada", "secret")) },
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, refute := range refutes {
				f := runTest(func(f *fakeTB) {
					srv := roomtest.NewMemServer(f, tcproom.WithMaxMessage(10_000), tcproom.WithBacklog(1))
					ada, bob := srv.Join("ada"), srv.Join("bob")
					tt.end(srv, ada, bob)
					ada.Await(roomtest.Left("bob"))
					ada.Send("secret")
					refute(bob)
				})
				require.Equal(t, tt.fails, f.Failed(), f.said())
				if tt.fails {
					require.Contains(t, f.said(), "roomtest: bob may have missed what was not to come: its connection has ended: ")
				}
			}
		})
	}
}

func TestRefuteFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed time.Duration
		f := runTest(func(f *fakeTB) {
			srv := roomtest.NewMemServer(f)
			ada, bob := srv.Join("ada"), srv.Join("bob")
			time.AfterFunc(time.Minute, func() { ada.SendAsync("hi") })
			began := time.Now()
			defer func() { failed = time.Since(began) }()
			bob.RefuteFor(time.Minute-1, roomtest.Any())
			bob.RefuteFor(time.Hour, roomtest.Left("ada"), roomtest.Message("ada", "hi"))
		})
		require.Contains(t, f.said(), "roomtest: bob was not to receive:\n\tmessage ada: hi\nbut did:\n\tada: hi\n")
		require.Equal(t, time.Minute, failed)
	})
}

// TestPause: a member that does not read is slow, and sees the gap.
func TestPause(t *testing.T) {
	onBoth(t, func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server) {
		srv := make(t, tcproom.WithSlowMembers(tcproom.Skip), tcproom.WithBacklog(1), tcproom.WithMaxMessage(4<<10))
		ada, bob := srv.Join("ada"), srv.Join("bob")
		bob.Pause()
		bob.Pause()
		body := strings.Repeat("x", 4<<10)
		for range 500 {
			ada.Send(body)
		}
		require.NotZero(t, srv.Room.Stats().Skipped)
		bob.Resume()
		bob.Resume()
		gap := bob.Await(roomtest.Gap(0, 0))
		next := bob.Expect(roomtest.Message("ada", body))
		require.Equal(t, gap.Gap.Last+1, next[0].Seq)
		bob.Sync()
		bob.Pause()
		bob.Resume()
		ada.Send("over")
		bob.Await(roomtest.Message("ada", "over"))
	})
}

// TestStalledLink: so is one whose link is stalled.
func TestStalledLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithWriteTimeout(time.Minute))
		ada, bob := srv.Join("ada"), srv.Join("bob")
		bob.Link.In(roomtest.Stall())
		for range 20 {
			ada.Send(strings.Repeat("x", 10<<10))
		}
		ada.Within(time.Hour).Expect(roomtest.Joined("bob"), roomtest.Left("bob"))
		bob.Link.In()
		err := bob.AwaitEnd()
		require.True(t, errors.Is(err, tcproom.Cause("reset")) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
	})
}

func TestWatch(t *testing.T) {
	codecs := []struct {
		name  string
		codec tcproom.Codec
	}{{name: "Text", codec: tcproom.Text{}}, {name: "Raw", codec: tcproom.Raw{}}, {name: "JSON", codec: tcproom.JSON{}}}
	onBoth(t, func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server) {
		for _, tt := range codecs {
			t.Run(tt.name, func(t *testing.T) {
				srv := make(t, tcproom.WithFraming(tcproom.Netstring{}), tcproom.WithCodec(tt.codec))
				ada := srv.Join("ada")
				eve := srv.Watch(srv.Dial())
				ada.Await(roomtest.Any(tcproom.Join))
				ada.Send("hi")
				eve.Expect(roomtest.MessageLike("", "^hi$"))
				eve.Send("ho")
				ada.Expect(roomtest.MessageLike("", "^ho$"))
				eve.Refute(roomtest.Any())
				require.Same(t, eve.Conn, srv.Watch(eve.Conn).Conn)
				eve.Leave()
				ada.Expect(roomtest.Left(""))
			})
		}
	})
}

// TestWatchForeign: a client that the server did not dial.
func TestWatchForeign(t *testing.T) {
	srv := roomtest.NewMemServer(t)
	addr := srv.Listen(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithFraming(tcproom.Varint{}))
	c, err := tcproom.Dial(t.Context(), addr, tcproom.WithDialer(srv.Net.Dial), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithFraming(tcproom.Varint{}))
	require.NoError(t, err)
	m := srv.Watch(c)
	m.Refute(roomtest.Any())
	d := srv.DialAddr(addr, tcproom.WithName("dan"))
	require.Equal(t, "dan", d.Name())
	m.Expect(roomtest.Joined("dan"))

	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewMemServer(f)
		srv.Within(50 * time.Millisecond)
		c, err := tcproom.Dial(t.Context(), srv.Addr, tcproom.WithDialer(srv.Net.Dial))
		require.NoError(t, err)
		srv.Watch(c).Refute(roomtest.Any())
	})
	require.Contains(t, f.said(), "roomtest: a member is not in the room, and its stream has not ended: a Member of Watch must have an ID, or come from Server.Dial\n")
}

// TestLeaveIsOrdered when Leave returns, however busy the room is with what the
// member has sent before.
func TestLeaveIsOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
			time.Sleep(time.Minute)
			return body, nil
		}))
		srv.Within(time.Hour)
		ada, bob, eve := srv.Join("ada"), srv.Join("bob"), srv.Watch(srv.Dial(tcproom.WithName("eve")))
		bot := srv.Bot("bot")
		for _, leave := range []struct {
			name string
			fn   func()
		}{
			{name: "bob", fn: func() { bob.SendAsync("x"); bob.Leave() }},
			{name: "eve", fn: func() { eve.SendAsync("x"); eve.Leave() }},
			{name: "bot", fn: func() { bot.Do(roomtest.Say("x"), roomtest.Leave()) }},
		} {
			began := time.Now()
			leave.fn()
			require.InDelta(t, time.Minute, time.Since(began), float64(time.Second))
			require.Regexp(t, leave.name+" left\n$", srv.Transcript())
		}
		bob.Leave() // again
		eve.Leave()
		srv.Kick("ada", "enough")
		ada.Leave()
	})
}

// TestLeaveThatDoesNotCome fails the test, and no later test.
func TestLeaveThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		f := runTest(func(f *fakeTB) {
			srv := roomtest.NewMemServer(f, tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { time.Sleep(time.Minute); return nil, nil }))
			srv.Grace(time.Hour)
			srv.Within(20 * time.Second)
			bot, ada := srv.Bot("bot"), srv.Join("ada")
			began := time.Now()
			note := func() { took = append(took, time.Since(began)) }
			bot.Do(roomtest.Say("x"), roomtest.Leave(), roomtest.Say("not done"))
			note()
			defer note()
			ada.Link.Out(roomtest.Latency(time.Minute))
			ada.Leave()
		})
		require.Equal(t, []time.Duration{20 * time.Second, 40 * time.Second}, took)
		require.Len(t, f.errors, 2, f.said())
		const why = "has closed its end, and the room has not let it go within 20s: is a hook busy, or a fault on the link?"
		require.Equal(t, `roomtest: bot "bot": Leave(): it `+why, f.errors[0])
		require.Contains(t, f.errors[1], "roomtest: ada "+why+"\n")
	})
}

// A failure is what ends a test in which ada and bob are in the room.
type failure struct {
	name string
	fail func(srv *roomtest.Server, ada, bob *roomtest.Member)
	want string // part of the test's error
}

// requireFailures checks that each ends its test, with one error.
func requireFailures(t *testing.T, failures []failure) {
	t.Helper()
	for _, tt := range failures {
		t.Run(tt.name, func(t *testing.T) {
			var f *fakeTB
			synctest.Test(t, func(t *testing.T) { // in a bubble no machine is too slow
				f = runTest(func(f *fakeTB) {
					srv := roomtest.NewMemServer(f)
					ada, bob := srv.Join("ada"), srv.Join("bob")
					bob.Sync()
					ada.Sync()
					srv.Within(50 * time.Millisecond)
					tt.fail(srv, ada, bob)
					f.Logf("went on")
				})
			})
			require.Len(t, f.errors, 1)
			require.Contains(t, f.said(), tt.want)
			require.Empty(t, f.logs)
			require.Less(t, len(f.said()), 10000)
		})
	}
}

func TestFailuresOfExpectations(t *testing.T) {
	requireFailures(t, []failure{
		{
			name: "other event",
			fail: func(_ *roomtest.Server, ada, bob *roomtest.Member) {
				bob.Send("x\ny")
				ada.Sync()
				ada.Expect(roomtest.Joined("bob"), roomtest.Message("bob", "x"), roomtest.Left("bob"))
			},
			want: "roomtest: ada expected:\n\tbob joined  (came)\n\tmessage bob: x  (missing)\n\tbob left\n" +
				"but then came:\n\tbob: \"x\\ny\"\n" +
				"the room's order (> is what ada has received):\n\t     1  * ada joined\n\t>    2  * bob joined\n\t>    3  bob: \"x\\ny\"",
		},
		{
			name: "nothing",
			fail: func(_ *roomtest.Server, ada, bob *roomtest.Member) { bob.Expect(roomtest.Direct("hi")) },
			want: "roomtest: bob expected:\n\tdirect hi\nbut nothing came within 50ms\n" +
				"the room's order (> is what bob has received):\n\t     1  * ada joined\n\t     2  * bob joined",
		},
		{
			name: "ended",
			fail: func(srv *roomtest.Server, ada, bob *roomtest.Member) {
				m, _ := srv.Room.Member(bob.Conn.ID())
				m.Kick("go")
				bob.Expect(roomtest.Goodbye(), roomtest.Message("", "hi"))
			},
			want: "roomtest: bob expected:\n\tgoodbye  (came)\n\tmessage anybody: hi  (missing)\nbut its connection has ended: tcproom: kicked: the room's reason is \"go\"\n",
		},
		{
			name: "await",
			fail: func(_ *roomtest.Server, ada, bob *roomtest.Member) {
				bob.Send("1")
				ada.Await(roomtest.MessageLike("bob", "^2+"))
			},
			want: "roomtest: ada waited for:\n\tmessage of bob like \"^2+\"\npassed over:\n\t* bob joined\n\tbob: 1\nbut nothing came within 50ms\n",
		},
		{
			name: "refute",
			fail: func(_ *roomtest.Server, ada, bob *roomtest.Member) {
				ada.Refute(roomtest.Left(""), roomtest.Joined(""))
			},
			want: "roomtest: ada was not to receive:\n\tanybody joined\nbut did:\n\t* bob joined\n",
		},
		{
			name: "refute of one who does not read",
			fail: func(_ *roomtest.Server, ada, bob *roomtest.Member) {
				ada.Pause()
				ada.Refute(roomtest.Left(""))
			},
			want: "roomtest: ada has not received everything within 50ms: it does not read, or the link is slow\n",
		},
		{
			name: "no end",
			fail: func(_ *roomtest.Server, ada, bob *roomtest.Member) { ada.AwaitEnd() },
			want: "roomtest: ada waited for the end of its stream, which did not come within 50ms\n",
		},
		{
			name: "long",
			fail: func(_ *roomtest.Server, ada, bob *roomtest.Member) {
				for i := range 40 {
					bob.Send(fmt.Sprint(i, strings.Repeat("é", 1000)))
				}
				ada.Sync()
				ada.Expect(roomtest.Left(""))
			},
			want: ":\n\t       … 12 before that\n\t>   13  bob: 10é",
		},
	})
}

func TestFailuresOfSend(t *testing.T) {
	requireFailures(t, []failure{
		{
			name: "send to a busy room",
			fail: func(_ *roomtest.Server, ada, bob *roomtest.Member) {
				ada.Link.Out(roomtest.Stall())
				ada.Send("hi")
			},
			want: "roomtest: ada sent hi, which the room has not dealt with within 50ms: is a hook busy, a fault on the link, or the room blocked? To go on without waiting, use SendAsync\n",
		},
		{
			name: "send after the end",
			fail: func(_ *roomtest.Server, ada, bob *roomtest.Member) {
				ada.Leave()
				ada.Send("hi")
			},
			want: "roomtest: ada cannot Send hi: its connection has ended: ",
		},
	})
}

// TestIn: a subtest's expectations end that, and nothing else.
func TestIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sub *fakeTB
		f := runTest(func(f *fakeTB) {
			srv := roomtest.NewMemServer(f)
			ada, bob := srv.Join("ada"), srv.Join("bob")
			bob.Send("hi")
			sub = runTest(func(f *fakeTB) {
				m := ada.In(f)
				m.Expect(roomtest.Joined("bob"))
				m.Expect(roomtest.Message("bob", "ho"))
			})
			ada.Refute(roomtest.Any())
		})
		require.Contains(t, sub.said(), "roomtest: ada expected:\n\tmessage bob: ho\nbut then came:\n\tbob: hi\n")
		require.Empty(t, f.said())
	})
}

func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runTest(func(f *fakeTB) {
			srv := roomtest.NewMemServer(f)
			ada := srv.Join("ada")
			time.AfterFunc(time.Hour, func() { srv.Room.Broadcast(context.Background(), []byte("hi")) })
			began := time.Now()
			ada.Within(2 * time.Hour).Expect(roomtest.Message("*", "hi"))
			require.Equal(t, time.Hour, time.Since(began))
			began = time.Now()
			defer func() { require.Equal(t, 10*time.Second, time.Since(began)) }()
			ada.Expect(roomtest.Any())
		})
		require.Contains(t, f.said(), "but nothing came within 10s")
	})
}

// TestPauseIsAtOnce: nothing is read any more when Pause returns.
func TestPauseIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t)
		ada, bob := srv.Join("ada"), srv.Join("bob")
		for range 50 {
			for range 20 {
				ada.SendAsync("x")
			}
			ada.Send("x")
			bob.Pause()
			n := len(bob.Events())
			synctest.Wait()
			require.Len(t, bob.Events(), n)
			bob.Resume()
		}
	})
}

// TestPauseAndResume at any moment lose nothing.
func TestPauseAndResume(t *testing.T) {
	srv := roomtest.NewMemServer(t)
	ada, bob := srv.Join("ada"), srv.Join("bob")
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 500 {
			bob.Pause()
			bob.Resume()
		}
	})
	for i := range 500 {
		ada.SendAsync(fmt.Sprint(i))
	}
	wg.Wait()
	for i := range 500 {
		bob.Expect(roomtest.Message("ada", fmt.Sprint(i)))
	}
}

// TestDetachedMember: a member that has lost its connection, and may resume, gets
// nothing; neither Sync nor a bot takes that for a fault.
func TestDetachedMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{Grace: time.Hour}))
		ada, bob := srv.Join("ada"), srv.Join("bob")
		srv.Answer(roomtest.On(roomtest.Message("ada", "x"),
			roomtest.Call(func(tcproom.Event) { ada.Link.Reset(); time.Sleep(time.Second) }),
			roomtest.Tell("lost"), roomtest.Say("told")))
		ada.Send("x")
		bob.Expect(roomtest.Message("ada", "x"), roomtest.Message("*", "told"))
		require.Equal(t, 2, srv.Room.Len(), "ada may resume")
		ada.Sync()
	})
}
