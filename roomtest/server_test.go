package roomtest_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func TestServerIsARoom(t *testing.T) {
	onBoth(t, func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server) {
		srv := make(t)
		ada := srv.Join("ada")
		bob := srv.Join("bob")
		bob.Send("hi")
		ada.Expect(roomtest.Joined("bob"), roomtest.Message("bob", "hi"))
		c := srv.Dial()
		bob.Expect(roomtest.Joined("guest-1"))
		require.NoError(t, c.Send(t.Context(), []byte("hello")))
		bob.Expect(roomtest.Message("guest-1", "hello"))
		_, err := srv.Room.Broadcast(t.Context(), []byte("all"))
		require.NoError(t, err)
		bob.Refute(roomtest.Left(""), roomtest.Message("ada", ""))
		bob.Leave()
		require.Equal(t, "   1  * ada joined\n"+
			"   2  * bob joined\n"+
			"   3  bob: hi\n"+
			"   4  * guest-1 joined\n"+
			"   5  guest-1: hello\n"+
			"   6  *: all\n"+
			"   7  * bob left\n", srv.Transcript().String())
	})
}

// TestDialSpeaksLikeTheServer, and takes nothing else from its options.
func TestDialSpeaksLikeTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithFraming(tcproom.Length{}), tcproom.WithIdleTimeout(time.Minute))
		eve := srv.Watch(srv.Dial(tcproom.WithName("eve")))
		for range 10 {
			time.Sleep(50 * time.Second)
			eve.Send("still here")
		}
		require.Equal(t, "eve", eve.Name())
		require.NoError(t, eve.Conn.Err(), "is not to find the room idle")
	})
}

// TestDialIsLetIn, whatever it speaks: it receives the joins after its own.
func TestDialIsLetIn(t *testing.T) {
	onBoth(t, func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server) {
		for range 20 {
			srv := make(t, tcproom.OnJoin(func(*tcproom.Member) error {
				for range 100 {
					runtime.Gosched()
				}
				return nil
			}))
			w := srv.Watch(srv.Dial())
			ada := srv.Join("ada")
			w.Expect(roomtest.Joined("ada"))
			ada.Send("hi")
			w.Expect(roomtest.Message("ada", "hi"))
		}
	})
}

// TestDialBesidesJoining: it waits for no join that does not come by itself, and
// costs no time.
func TestDialBesidesJoining(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	tests := []struct {
		name   string
		opts   []tcproom.RoomOption
		do     func(srv *roomtest.Server)
		dial   []tcproom.DialOption
		joined bool
	}{
		{name: "refused", opts: []tcproom.RoomOption{tcproom.WithMaxMembers(1)}, do: func(srv *roomtest.Server) { srv.Join("ada") }},
		{name: "a handshake that asks", opts: []tcproom.RoomOption{tcproom.WithHandshake(func(ctx context.Context, c *tcproom.Newcomer) (tcproom.Identity, error) {
			_, err := c.Receive(ctx)
			return tcproom.Identity{}, err
		})}},
		{name: "TLS", opts: []tcproom.RoomOption{tcproom.WithTLS(&tls.Config{Certificates: web.TLS.Certificates})},
			dial: []tcproom.DialOption{tcproom.WithTLS(&tls.Config{InsecureSkipVerify: true})}, joined: true},
		{name: "accepted late", do: func(srv *roomtest.Server) { srv.Listener.FailAccept(syscall.EMFILE, 2) }, joined: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := roomtest.NewMemServer(t, tt.opts...)
				if tt.do != nil {
					tt.do(srv)
				}
				before, began := srv.Room.Len(), time.Now()
				c := srv.Dial(tt.dial...)
				require.Less(t, time.Since(began), time.Second)
				require.Equal(t, tt.joined, srv.Room.Len() > before)
				require.NoError(t, c.Err())
			})
		})
	}
	t.Run("refused by the listener", func(t *testing.T) {
		began := time.Now()
		runTest(func(f *fakeTB) { // which fails if the kernel is so quick that the dialling does
			srv := roomtest.NewServer(f)
			srv.Listener.Refuse(true)
			srv.Dial()
		})
		require.Less(t, time.Since(began), 5*time.Second)
	})
	t.Run("a hook that blocks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := runTest(func(f *fakeTB) {
				srv := roomtest.NewMemServer(f, tcproom.OnJoin(func(*tcproom.Member) error { time.Sleep(12 * time.Second); return nil }))
				srv.Dial()
			})
			require.Contains(t, f.said(), "the room has not let it in within 10s: is a hook busy?")
		})
	})
}

// TestDialHasNoHeartbeatOfItsOwn: the one of a server's options is the room's.
func TestDialHasNoHeartbeatOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(time.Minute))
		ada := srv.Watch(srv.Dial(tcproom.WithName("ada")))
		srv.Link("ada").Out(roomtest.BlackHole())
		time.Sleep(10 * time.Minute)
		require.NoError(t, ada.Conn.Err())
	})
}

// TestDialKnowsEveryOption: Dial shares the server's options of how to speak, and
// resets all others that are for both ends.
func TestDialKnowsEveryOption(t *testing.T) {
	source, err := os.ReadFile("../options.go")
	require.NoError(t, err)
	own, err := os.ReadFile("server.go")
	require.NoError(t, err)
	options := regexp.MustCompile(`(?m)^func (\w+)\(.*\) Option \{`).FindAllSubmatch(source, -1)
	require.NotEmpty(t, options)
	for _, o := range options {
		switch name := string(o[1]); name {
		case "WithFraming", "WithCodec", "WithMaxMessage":
		default:
			require.Contains(t, string(own), "tcproom."+name+"(", "is it to be shared?")
		}
	}
}

// TestJoinWithoutTLS: a member in memory joins whatever listeners ask for.
func TestJoinWithoutTLS(t *testing.T) {
	srv := roomtest.NewServer(t, tcproom.WithTLS(&tls.Config{MinVersion: tls.VersionTLS13}))
	require.Equal(t, "ada", srv.Join("ada").Name())
}

// TestListenBinds: from when Listen returns, all are bound by its framing.
func TestListenBinds(t *testing.T) {
	for range 50 {
		srv := roomtest.NewMemServer(t, tcproom.WithFraming(tcproom.Netstring{}), tcproom.WithCodec(tcproom.Raw{}))
		_, err := srv.Room.Broadcast(t.Context(), []byte("two\nlines"))
		require.NoError(t, err)
		srv.Listen(tcproom.WithFraming(tcproom.Lines{}))
		_, err = srv.Room.Broadcast(t.Context(), []byte("two\nlines"))
		require.ErrorIs(t, err, tcproom.ErrUnframeable)
	}
}

// TestServe: a listener of the test's own, for clients of a hub by TCP, and its faults.
func TestServe(t *testing.T) {
	t.Parallel()
	srv := roomtest.NewHub(t)
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := srv.Serve(nl, tcproom.WithCodec(tcproom.Text{}))
	require.Equal(t, nl.Addr(), l.Addr())
	srv.BotIn("lobby", "broker", roomtest.On(roomtest.Message("", "hi"), roomtest.Say("hello $from")))

	nc, in := dialPlain(t, l.Addr().String())
	_, err = io.WriteString(nc, "hi\n")
	require.NoError(t, err)
	require.Equal(t, "broker: hello guest-1", line(t, in))
	srv.Link("guest-1").Reset()
	_, err = in.ReadString('\n')
	require.Error(t, err)

	l.Refuse(true)
	nc, err = net.Dial("tcp", l.Addr().String())
	if err == nil { // else it was refused before that returned
		defer nc.Close()
		err = readErr(nc)
	}
	require.Error(t, err)
}

// TestServeTheSameListener: a Listener is served as it is, so that what is known of it
// holds.
func TestServeTheSameListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t)
		own := mustListen(t, srv.Net, "chat.example:1")
		require.Same(t, own, srv.Serve(own, tcproom.WithCodec(tcproom.JSON{})))
		require.Equal(t, "ada", srv.DialAddr(own.Addr().String(), tcproom.WithName("ada")).Name())
		own.Refuse(true)
		_, err := srv.Net.Dial(t.Context(), "tcp", "chat.example:1")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}

func TestTranscriptAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t)
		srv.Join("ada")
		tr, err := srv.TranscriptAfter(t.Context(), 0)
		require.NoError(t, err)
		require.Equal(t, 1, tr.Len())

		waited := later(func() error {
			_, err := srv.TranscriptAfter(t.Context(), 2)
			return err
		})
		srv.Join("bob")
		blocked(t, waited)
		srv.Join("eve")
		require.NoError(t, <-waited)

		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, io.ErrNoProgress)
		defer cancel()
		tr, err = srv.TranscriptAfter(ctx, 3)
		require.ErrorIs(t, err, io.ErrNoProgress)
		require.Equal(t, 3, tr.Len())

		require.Equal(t, tr.String(), tr.After(-1).String())
		require.Equal(t, transcriptLine(3, "* eve joined"), tr.After(2).String())
		require.Zero(t, tr.After(3).Len())
		require.Zero(t, tr.After(4).Len())
	})
}

// TestProgram: a program that is no test may link the package in, and is not changed by
// that: it has no flags of tests, and what its hooks keep is not overwritten.
func TestProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles a program")
	}
	out, err := exec.Command("go", "run", "./testdata/program").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "flags: 0, overwritten: false, heard: hello, hello, hello, hello\n", string(out))
}

func TestServerInABubble(t *testing.T) {
	start := time.Now()
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithIdleTimeout(time.Hour))
		ada := srv.Join("ada")
		began := time.Now()
		ada.Within(2 * time.Hour).Await(roomtest.Goodbye())
		require.Equal(t, time.Hour, time.Since(began))
		bob := srv.Join("bob")
		bob.RefuteFor(time.Minute, roomtest.Any())
		srv.Room.Broadcast(context.Background(), []byte("x"))
		bob.Expect(roomtest.Message("*", "x"))
	})
	require.Less(t, time.Since(start), 10*time.Second)
}
