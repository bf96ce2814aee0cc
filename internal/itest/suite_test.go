package itest

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A testCase is a test that users write, well or not so well.
type testCase struct {
	name string
	run  func(*testing.T)
	// Parts of the failure's text, in this order; none: it does not fail.
	says []string
}

// newServer are the two kinds of servers.
var newServer = []struct {
	kind  string
	start func(testing.TB, ...tcproom.RoomOption) *roomtest.Server
}{
	{kind: "loopback", start: roomtest.NewServer},
	{kind: "memory", start: roomtest.NewMemServer},
}

// patience is how long a test waits for what must come, on a machine with other
// things to do.
const patience = time.Minute

// good are the cases that pass.
func good() []testCase {
	var cases []testCase
	for _, s := range newServer {
		start := func(t *testing.T, opts ...tcproom.RoomOption) *roomtest.Server {
			srv := s.start(t, append(opts, tcproom.WithHandshakeTimeout(patience))...)
			srv.Within(patience)
			srv.Grace(patience)
			return srv
		}
		cases = append(cases,
			testCase{name: "service " + s.kind, run: func(t *testing.T) { testService(t, start(t, new(Poll).Options()...)) }},
			testCase{name: "client " + s.kind, run: func(t *testing.T) { testClient(t, start(t, tcproom.WithCodec(tcproom.JSON{}))) }},
			testCase{name: "forgets to close " + s.kind, run: func(t *testing.T) { forgetToClose(t, start(t)) }},
		)
	}
	return append(cases, testCase{name: "an hour", run: func(t *testing.T) { synctest.Test(t, sleepAnHour) }})
}

// testService tests the service with members and a client.
func testService(t *testing.T, srv *roomtest.Server) {
	ada, bob := srv.Join("ada"), srv.Join("bob")
	ada.Expect(roomtest.Joined("bob"))
	ada.Send("vote tea")
	bob.Send("vote tea")
	bob.Send("vote tea")
	ada.Send("I like tea")
	ada.Expect(roomtest.Message("*", "tea has 1"), roomtest.Message("*", "tea has 2"))
	bob.Expect(roomtest.Message("*", "tea has 1"), roomtest.Message("*", "tea has 2"),
		roomtest.Direct("you have voted for tea"), roomtest.Message("ada", "I like tea"))
	ada.Refute(roomtest.Direct("you have voted for tea"), roomtest.MessageLike("bob", ""))
	bob.Leave()
	ada.Expect(roomtest.Left("bob"))
}

// testClient tests the client with a fake service.
func testClient(t *testing.T, srv *roomtest.Server) {
	srv.Answer(roomtest.On(roomtest.MessageLike("cyd", `^vote (\w+)$`), roomtest.Say("milk has 3"), roomtest.Say("$1 has 42")))
	var dial Dialer
	if srv.Net != nil {
		dial = srv.Net.Dial
	}
	n, err := Vote(t.Context(), srv.Addr, "cyd", "tea", dial)
	require.NoError(t, err)
	require.Equal(t, 42, n)

	srv.Bot("rude", roomtest.On(roomtest.MessageLike("dan", ""), roomtest.Kick("no votes")))
	_, err = Vote(t.Context(), srv.Addr, "dan", "tea", dial)
	require.Error(t, err)
	srv.Listener.Refuse(true)
	_, err = Vote(t.Context(), srv.Addr, "eve", "tea", dial)
	require.Error(t, err)
}

// forgetToClose leaves open all that can be left open.
func forgetToClose(t *testing.T, srv *roomtest.Server) {
	ada := srv.Join("ada")
	srv.Bot("robo", roomtest.Start(roomtest.Flood(100, "x")), roomtest.On(roomtest.Any(), roomtest.Echo()))
	srv.Answer(roomtest.Every(time.Hour, roomtest.Say("y")))
	stalled := srv.Join("bob")
	stalled.Link.In(roomtest.Stall())
	srv.Dial()
	addr := srv.Listen(tcproom.WithFraming(tcproom.Netstring{}))
	dial := new(net.Dialer).DialContext
	if srv.Net != nil {
		dial = srv.Net.Dial
	}
	for _, addr := range []string{addr, srv.Addr} {
		_, err := dial(t.Context(), "tcp", addr)
		require.NoError(t, err)
	}
	ada.Send("hi")
}

// sleepAnHour is a test in a bubble: the bubble's clock is an hour ahead when it
// ends.
func sleepAnHour(t *testing.T) {
	srv := roomtest.NewMemServer(t, tcproom.WithIdleTimeout(time.Hour))
	began := time.Now()
	srv.Bot("robo", roomtest.Every(10*time.Minute, roomtest.Say("tick")))
	idle := srv.Join("idle").Within(2 * time.Hour)
	for range 5 {
		idle.Expect(roomtest.Message("robo", "tick"))
	}
	idle.Await(roomtest.Goodbye())
	require.Equal(t, time.Hour, time.Since(began))
	require.EqualValues(t, 1, srv.Room.Stats().Left[tcproom.Cause("idle-timeout")])
}

// bad are the cases that fail, and their errors.
func bad() []testCase {
	inHook := func(hook func(t *testing.T) tcproom.RoomOption) func(*testing.T) {
		return func(t *testing.T) {
			srv := roomtest.NewMemServer(t, hook(t))
			srv.Join("bob").Send("hi")
		}
	}
	return []testCase{
		{name: "panic in OnMessage", run: inHook(func(*testing.T) tcproom.RoomOption {
			return tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { panic("oh no") })
		}), says: []string{`roomtest: hook OnMessage of "bob" panicked: oh no`, "suite_test.go:"}},
		{name: "require in OnMessage", run: inHook(func(t *testing.T) tcproom.RoomOption {
			return tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
				require.Equal(t, "bye", string(body))
				return nil, nil
			})
		}), says: []string{"Not equal", `roomtest: hook OnMessage of "bob" ended its goroutine`}},
		{name: "panic in OnLeave", run: inHook(func(*testing.T) tcproom.RoomOption {
			return tcproom.OnLeave(func(*tcproom.Member, error) { panic("oh no") })
		}), says: []string{`roomtest: hook OnLeave of "bob" panicked: oh no`}},
		{name: "panic in OnEvent", run: func(t *testing.T) {
			srv := roomtest.NewServer(t, tcproom.WithCodec(tcproom.JSON{}))
			c := srv.Dial(tcproom.WithName("cyd"), tcproom.OnEvent(func(ev tcproom.Event) {
				if ev.Kind == tcproom.Message {
					panic("oh no")
				}
			}))
			srv.Join("bob").Send("hi")
			<-c.Context().Done()
		}, says: []string{`roomtest: hook OnEvent of "cyd" panicked: oh no`}},
		{name: "hook in a bubble", run: func(t *testing.T) {
			synctest.Test(t, inHook(func(*testing.T) tcproom.RoomOption {
				return tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { panic("oh no") })
			}))
		}, says: []string{`roomtest: hook OnMessage of "bob" panicked: oh no`}},
		{name: "hook that hangs", run: func(t *testing.T) {
			entered := make(chan struct{})
			srv := roomtest.NewServer(t, tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) {
				close(entered)
				select {}
			}))
			srv.Grace(500 * time.Millisecond)
			srv.Join("bob").SendAsync("hi")
			<-entered
		}, says: []string{`roomtest: the connection of "bob" at "127.0.0.1:1" is still in its hook OnMessage`}},
		{name: "expectation", run: func(t *testing.T) {
			srv := roomtest.NewMemServer(t)
			ada, bob := srv.Join("ada"), srv.Join("bob")
			bob.Send("hi")
			ada.Expect(roomtest.Joined("bob"), roomtest.Message("bob", "bye"))
		}, says: []string{"roomtest: ada expected:", "bob: bye", "but then came:", "bob: hi", "3  bob: hi"}},
		{name: "bot that cannot", run: func(t *testing.T) {
			srv := roomtest.NewMemServer(t)
			srv.Answer().Do(roomtest.Leave())
		}, says: []string{`roomtest: bot "*": Leave(): that is for bots`}},
		{name: "Close that does not unblock Read", run: func(t *testing.T) {
			srv := roomtest.NewServer(t)
			srv.Grace(500 * time.Millisecond)
			serveStubborn(t, srv)
		}, says: []string{`roomtest: the connection of "guest-1" at "stubborn:1" has not ended: its net.Conn, or listener, does not return from Read, Write, Accept or Close although it was closed`}},
		{name: "client whose Close does not unblock Read", run: func(t *testing.T) {
			srv := roomtest.NewServer(t)
			srv.Grace(500 * time.Millisecond)
			reading := make(chan struct{}, 1)
			srv.Watch(srv.Dial(tcproom.WithDialer(func(context.Context, string, string) (net.Conn, error) {
				nc, err := net.Dial("tcp", srv.Addr)
				return stubborn{nc, reading}, err
			})))
			<-reading // before that, Close would end the client
		}, says: []string{"roomtest: the client ", " hangs in Close"}},
	}
}

// serveStubborn has the room serve a conn whose Close does not unblock Read.
func serveStubborn(t *testing.T, srv *roomtest.Server) {
	watch := srv.Join("watch")
	here, there := roomtest.Pipe()
	t.Cleanup(func() { here.Close() })
	go srv.Room.ServeConn(stubborn{there, nil})
	watch.Expect(roomtest.Joined("guest-1"))
}

// A stubborn conn's Read returns for nothing. It sends on reading, if that is not nil,
// when it is called.
type stubborn struct {
	net.Conn
	reading chan<- struct{}
}

func (s stubborn) Read([]byte) (int, error) {
	if s.reading != nil {
		s.reading <- struct{}{}
	}
	select {}
}

func (stubborn) SetDeadline(time.Time) error      { return nil }
func (stubborn) SetReadDeadline(time.Time) error  { return nil }
func (stubborn) SetWriteDeadline(time.Time) error { return nil }
func (stubborn) RemoteAddr() net.Addr             { return stubbornAddr{} }

type stubbornAddr struct{}

func (stubbornAddr) Network() string { return "stubborn" }
func (stubbornAddr) String() string  { return "stubborn:1" }

// run runs n of the cases in parallel, one after the other in turn.
func run(t *testing.T, n int, cases []testCase) {
	for i := range n {
		c := cases[i%len(cases)]
		t.Run(fmt.Sprintf("%s %03d", c.name, i), func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}
