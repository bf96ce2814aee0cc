package roomtest_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestCleanupForgives: nothing has to be closed, and faults do not matter.
func TestCleanupForgives(t *testing.T) {
	onBoth(t, func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server) {
		var nc net.Conn
		var clients []*tcproom.Conn
		began := time.Now()
		f := runTest(func(f *fakeTB) {
			srv := make(f)
			clients = append(clients, srv.Dial(), srv.Dial(tcproom.WithCodec(tcproom.Text{})), srv.Join("ada").Conn)
			stalled := srv.Join("bob")
			stalled.Link.In(roomtest.Stall())
			stalled.Link.Out(roomtest.BlackHole())
			srv.Join("cyd").Pause()
			clients = append(clients, stalled.Conn)
			if srv.Net == nil {
				nc, _ = net.Dial("tcp", srv.Addr)
			} else {
				nc, _ = srv.Net.Dial(context.Background(), "tcp", srv.Addr)
			}
		})
		require.Empty(t, f.said())
		require.Less(t, time.Since(began), 3*time.Second)
		for _, c := range clients {
			require.Error(t, c.Err(), "was not closed")
		}
		nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		for b := []byte{0}; ; {
			if _, err := nc.Read(b); err != nil {
				require.NotErrorIs(t, err, context.DeadlineExceeded)
				break
			}
		}
		nc.Close()
	})
}

// TestCleanupIsQuick: what was stalled or does not read is not waited for.
func TestCleanupIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended time.Time
		f := runTest(func(f *fakeTB) {
			srv := roomtest.NewMemServer(f)
			ada, bob := srv.Join("ada"), srv.Join("bob")
			srv.Join("cyd").Pause()
			bob.Link.In(roomtest.Stall())
			bob.Link.Out(roomtest.Stall())
			srv.Listener.OnAccept(func(c *roomtest.Conn) { c.In(roomtest.Stall()) })
			srv.Dial()
			for range 20 {
				ada.Send(strings.Repeat("x", 10_000))
			}
			ended = time.Now()
		})
		require.Empty(t, f.said())
		require.Less(t, time.Since(ended), 500*time.Millisecond)
	})
}

// TestCleanupForgivesHoles: a client that did not receive its end, because a black
// hole has swallowed it, does not hang.
func TestCleanupForgivesHoles(t *testing.T) {
	in := func(c *roomtest.Conn) { c.In(roomtest.BlackHole()) }
	both := func(c *roomtest.Conn) { in(c); c.Out(roomtest.BlackHole()) }
	tests := []struct {
		name string
		hole func(*roomtest.Conn)
	}{{name: "in", hole: in}, {name: "both", hole: both}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended time.Time
				f := runTest(func(f *fakeTB) {
					srv := roomtest.NewMemServer(f, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithIdleTimeout(time.Hour))
					ada := srv.Join("ada", tcproom.WithHeartbeat(time.Minute))
					tt.hole(srv.Join("bob").Link)
					srv.Dial(tcproom.WithName("eve"))
					ada.Await(roomtest.Joined("eve"))
					srv.Link("eve").Out(roomtest.BlackHole())
					patient := ada.Within(2 * time.Hour)
					patient.Await(roomtest.Left(""))
					patient.Await(roomtest.Left(""))
					ended = time.Now()
				})
				require.Empty(t, f.said())
				require.Less(t, time.Since(ended), 2*time.Second)
			})
		})
	}
}

// TestCleanupAccusesNoOther: one that hangs for all of the grace is named, and
// nothing else is.
func TestCleanupAccusesNoOther(t *testing.T) {
	for range 20 {
		release := make(chan struct{})
		f := runTest(func(f *fakeTB) {
			srv := roomtest.NewMemServer(f)
			srv.Grace(time.Nanosecond)
			srv.Dial()
			here, _ := roomtest.Pipe()
			srv.Watch(tcproom.NewConn(sticky{here, release}))
		})
		close(release)
		require.Len(t, f.errors, 1, f.said())
		require.Contains(t, f.said(), "given to Watch")
	}
}

func TestCleanupNamesOpenConns(t *testing.T) {
	f := runTest(func(f *fakeTB) { roomtest.NewMemServer(f).LeakConn() })
	require.Equal(t, "roomtest: the room has ended and not closed a connection, accepted from nowhere", f.said())
}

func TestCleanupNamesHooks(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 2)
	hang := func() { entered <- struct{}{}; <-release }
	var room *tcproom.Room
	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewMemServer(f,
			tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { hang(); return nil, nil }),
			tcproom.OnLeave(func(m *tcproom.Member, _ error) {
				if m.Name() == "bob" {
					hang()
				}
			}))
		srv.Grace(300 * time.Millisecond)
		room = srv.Room
		srv.Join("ada").SendAsync("x")
		<-entered
		srv.Join("bob")
	})
	close(release)
	<-room.Done()
	require.Empty(t, f.late)
	require.Contains(t, f.said(), `roomtest: the connection of "ada" at "127.0.0.1:1" is still in its hook OnMessage: make the hook return before the test ends`)
	require.Contains(t, f.said(), `still in its hook OnLeave`)
	require.Contains(t, f.said(), "roomtest: goroutines of the room have not ended:\n")
	require.Contains(t, f.said(), "tcproom.(*link).call")
	require.NotContains(t, f.said(), "testing.tRunner")
}

// stubborn is a conn whose Close does not unblock Read.
type stubborn struct {
	net.Conn
	release chan struct{}
}

func (s stubborn) Close() error { return nil }

func (s stubborn) SetReadDeadline(time.Time) error { return nil }

func (s stubborn) Read([]byte) (int, error) {
	<-s.release
	return 0, net.ErrClosed
}

func (s stubborn) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "/stubborn", Net: "unix"} }

func TestCleanupNamesConns(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{})
	var far net.Conn
	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewServer(f)
		srv.Grace(200 * time.Millisecond)
		ada := srv.Join("ada")
		here, there := net.Pipe()
		far = there
		go func() {
			defer close(ended)
			srv.Room.ServeConn(stubborn{here, release})
		}()
		ada.Expect(roomtest.Joined("guest-1"))
	})
	close(release)
	far.Close()
	<-ended
	require.Contains(t, f.said(), `roomtest: the connection of "guest-1" at "/stubborn" has not ended: its net.Conn, or listener, does not return`)
	require.NotContains(t, f.said(), `"ada"`)
}

func TestCleanupNamesHooksOfClients(t *testing.T) {
	release := make(chan struct{})
	heard := make(chan struct{})
	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewMemServer(f, tcproom.WithCodec(tcproom.JSON{}))
		srv.Grace(200 * time.Millisecond)
		srv.Dial(tcproom.WithName("eve"), tcproom.OnEvent(func(tcproom.Event) {
			close(heard)
			<-release
		}))
		<-heard
	})
	close(release)
	require.Contains(t, f.said(), "roomtest: a client is still in its hook OnEvent: make the hook return before the test ends\n")
	require.Contains(t, f.said(), "TestCleanupNamesHooksOfClients.func1.1")
}

// sticky is a conn whose Close hangs.
type sticky struct {
	net.Conn
	release chan struct{}
}

func (s sticky) Close() error {
	<-s.release
	return s.Conn.Close()
}

func TestCleanupNamesClients(t *testing.T) {
	release := make(chan struct{})
	var c *tcproom.Conn
	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewMemServer(f, tcproom.WithCodec(tcproom.JSON{}))
		srv.Grace(200 * time.Millisecond)
		c = srv.Dial(tcproom.WithName("eve"), tcproom.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := srv.Net.Dial(ctx, network, addr)
			return sticky{nc, release}, err
		}))
	})
	close(release)
	<-c.Context().Done()
	require.Regexp(t, `^roomtest: the client "eve", of Dial to 127\.0\.0\.1:\d+, hangs in Close: its net.Conn does not return`, f.said())
}

// TestCleanupEndsHooksOfClients: an OnEvent hook that returns is no complaint.
func TestCleanupEndsHooksOfClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard atomic.Int32
		f := runTest(func(f *fakeTB) {
			srv := roomtest.NewMemServer(f, tcproom.WithCodec(tcproom.JSON{}))
			began := make(chan struct{}, 10)
			srv.Dial(tcproom.OnEvent(func(tcproom.Event) {
				began <- struct{}{}
				time.Sleep(time.Second) // of the bubble: the cleanup waits already
				heard.Add(1)
			}))
			<-began
			require.Zero(t, heard.Load())
		})
		require.Empty(t, f.said())
		require.NotZero(t, heard.Load())
	})
}

func TestUseAfterTheEnd(t *testing.T) {
	var srv *roomtest.Server
	var ada *roomtest.Member
	f := runTest(func(f *fakeTB) {
		srv = roomtest.NewMemServer(f)
		ada = srv.Join("ada")
	})
	require.Empty(t, f.said())
	uses := []struct {
		name string
		use  func()
	}{
		{name: "Server.Join", use: func() { srv.Join("bob") }},
		{name: "Server.Dial", use: func() { srv.Dial() }},
		{name: "Server.DialAddr", use: func() { srv.DialAddr(srv.Addr) }},
		{name: "Server.TryDial", use: func() { srv.TryDial() }},
		{name: "Server.TryJoin", use: func() { srv.TryJoin("bob") }},
		{name: "Server.Refuses", use: func() { srv.Refuses("full") }},
		{name: "Server.Watch", use: func() { srv.Watch(ada.Conn) }},
		{name: "Server.Listen", use: func() { srv.Listen() }},
		{name: "Server.Serve", use: func() { srv.Serve(srv.Listener) }},
		{name: "Server.Transcript", use: func() { srv.Transcript() }},
		{name: "Server.TranscriptAfter", use: func() { srv.TranscriptAfter(t.Context(), 0) }},
		{name: "Server.Within", use: func() { srv.Within(0) }},
		{name: "Server.Grace", use: func() { srv.Grace(0) }},
		{name: "Member.Name", use: func() { ada.Name() }},
		{name: "Member.In", use: func() { ada.In(t) }},
		{name: "Member.Within", use: func() { ada.Within(0) }},
		{name: "Member.Send", use: func() { ada.Send("x") }},
		{name: "Member.SendAsync", use: func() { ada.SendAsync("x") }},
		{name: "Member.Pause", use: func() { ada.Pause() }},
		{name: "Member.Resume", use: func() { ada.Resume() }},
		{name: "Member.Leave", use: func() { ada.Leave() }},
		{name: "Member.Events", use: func() { ada.Events() }},
		{name: "Member.Expect", use: func() { ada.Expect() }},
		{name: "Member.Await", use: func() { ada.Await(roomtest.Any()) }},
		{name: "Member.AwaitEnd", use: func() { ada.AwaitEnd() }},
		{name: "Member.Sync", use: func() { ada.Sync() }},
		{name: "Member.Refute", use: func() { ada.Refute() }},
		{name: "Member.RefuteFor", use: func() { ada.RefuteFor(0) }},
	}
	for _, tt := range uses {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				said, _ := recover().(string)
				require.Contains(t, said, "cleanup_test.go:", "the caller's line")
				require.Contains(t, said, tt.name+" was called after its test TestFake had ended")
			}()
			tt.use()
		})
	}
}

// TestUseWhileTheTestEnds: what waits in the background when the test ends
// panics on its own goroutine, rather than fail a test that has ended.
func TestUseWhileTheTestEnds(t *testing.T) {
	said := make(chan any, 1)
	f := runTest(func(f *fakeTB) {
		srv := roomtest.NewMemServer(f)
		ada := srv.Join("ada")
		waits := make(chan struct{})
		go func() {
			defer func() { said <- recover() }()
			close(waits)
			ada.Expect(roomtest.Any())
		}()
		<-waits
		runtime.Gosched()
	})
	require.Empty(t, f.said())
	require.Contains(t, <-said, "after its test TestFake had ended")
}

func TestParallelServers(t *testing.T) {
	for i := range 200 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			srv := servers[i%2].make(t)
			ada, bob := srv.Join("ada"), srv.Join("bob")
			c := srv.Dial()
			ada.Expect(roomtest.Joined("bob"), roomtest.Joined("guest-1"))
			bob.Expect(roomtest.Joined("guest-1"))
			want := strings.Repeat("x", i+1)
			bob.Send(want)
			ada.Expect(roomtest.Message("bob", want))
			require.NoError(t, c.Send(t.Context(), []byte("hi")))
			bob.Expect(roomtest.Message("guest-1", "hi"))
			bob.Refute(roomtest.Any())
			require.Equal(t, 5, srv.Transcript().Len())
		})
	}
}
