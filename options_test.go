package tcproom_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestDialOptionsThatCannotWork: an option that the codec cannot say is an error, at
// each of the dialling ends, and nothing is dialled or sent.
func TestDialOptionsThatCannotWork(t *testing.T) {
	for _, tt := range []struct {
		name  string
		opt   tcproom.DialOption
		codec []tcproom.Codec
		join  bool // Join can do it with any codec
	}{
		{name: "WithName", opt: tcproom.WithName("ada"), codec: []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}}, join: true},
		{name: "WithReplay", opt: tcproom.WithReplay(3), codec: []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}}, join: true},
		{name: "WithReplay", opt: tcproom.WithReplay(-1), codec: []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}}, join: true},
		{name: "WithAuth", opt: tcproom.WithAuth("secret"), codec: []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}}, join: false},
		{name: "WithResume", opt: tcproom.WithResume(tcproom.Resume{Token: "x"}), codec: []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}, numberless{}}, join: false},
		{name: "WithHeartbeat", opt: tcproom.WithHeartbeat(time.Second), codec: []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}}, join: false},
	} {
		for _, codec := range tt.codec {
			refused := func(t *testing.T, err error) {
				t.Helper()
				require.ErrorIs(t, err, tcproom.ErrOption)
				require.ErrorContains(t, err, tt.name+" with codec ")
				require.NotContains(t, err.Error(), "secret")
			}
			room := tcproom.New(tcproom.WithCodec(codec), tcproom.WithHistory(tcproom.History{}))
			opts := []tcproom.DialOption{tt.opt, tcproom.WithCodec(codec), tcproom.WithDialer(noDialer(t))}
			everyEnd(t, room, opts, tt.join, refused)
			c := tcproom.NewClient(testContext(t), "room:1", opts...)
			err := ends(t, c)
			refused(t, err)
			require.Equal(t, err, c.Send(testContext(t), []byte("x")))
			require.NoError(t, c.Close())
			require.NoError(t, room.Close())
		}
	}
}

// everyEnd checks what Dial, NewConn and Join make of options that cannot work; Join
// may be able to.
func everyEnd(t *testing.T, room *tcproom.Room, opts []tcproom.DialOption, joins bool, refused func(*testing.T, error)) {
	t.Helper()
	_, err := tcproom.Dial(testContext(t), "room:1", opts...)
	refused(t, err)

	here, there := roomtest.Pipe()
	defer there.Close()
	c := tcproom.NewConn(here, opts...)
	refused(t, c.Err())
	for range 2 {
		_, err = c.Receive(testContext(t))
		require.Equal(t, c.Err(), err)
		require.Equal(t, c.Err(), c.Send(testContext(t), []byte("x")))
	}
	require.NoError(t, c.Close())
	sent, err := io.ReadAll(there)
	require.NoError(t, err)
	require.Empty(t, sent)

	c, err = room.Join(testContext(t), tcproom.Identity{}, opts...)
	if !joins {
		refused(t, err)
		return
	}
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// noDialer fails the test if it is called.
func noDialer(t testing.TB) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		t.Error("it dials")
		return nil, errors.New("no")
	}
}

// TestDialOptionsThatWork: each of them with a codec that can.
func TestDialOptionsThatWork(t *testing.T) {
	room := jsonRoom(tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithHistory(tcproom.History{}))
	addr := serveTCP(t, room)
	c := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"), tcproom.WithReplay(3), tcproom.WithAuth("secret"),
		tcproom.WithResume(tcproom.Resume{Token: "x"}), tcproom.WithHeartbeat(time.Second))
	require.Equal(t, "ada", c.Name())
	// What asks for nothing is no option that cannot work.
	dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(""))
	room = tcproom.New()
	dial(t, serveTCP(t, room), tcproom.WithName(""), tcproom.WithAuth(""), tcproom.WithReplay(0), tcproom.WithHeartbeat(-1))
}

// TestJoinIsNamed: by its Identity, or else by WithName, whatever the codec is.
func TestJoinIsNamed(t *testing.T) {
	for _, codec := range builtIn {
		room := tcproom.New(tcproom.WithCodec(codec))
		for _, tt := range []struct{ identity, option, want string }{
			{identity: "ada", option: "", want: "ada"}, {identity: "", option: "bob", want: "bob"}, {identity: "ada", option: "bob", want: "ada"}, {identity: "", option: "", want: "guest-1"},
		} {
			c, err := room.Join(testContext(t), tcproom.Identity{Name: tt.identity}, tcproom.WithName(tt.option))
			require.NoError(t, err)
			require.Equal(t, tt.want, c.Name())
			m, ok := room.Member(c.ID())
			require.True(t, ok)
			require.Equal(t, tt.want, m.Name())
			require.NoError(t, c.Close())
			waitLen(t, room, 0)
		}
		require.NoError(t, room.Close())
	}
}

// TestClientOptionsElsewhere: options of a Client are errors at the other ends.
func TestClientOptionsElsewhere(t *testing.T) {
	room := jsonRoom()
	addr := serveTCP(t, room)
	for name, opt := range map[string]tcproom.DialOption{
		"WithBackoff": tcproom.WithBackoff(0, 0),
		"WithOffline": tcproom.WithOffline(-1),
		"Addresses":   tcproom.Addresses("room:1"),
	} {
		opts := []tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDialer(noDialer(t)), opt}
		everyEnd(t, room, opts, false, func(t *testing.T, err error) {
			t.Helper()
			require.ErrorIs(t, err, tcproom.ErrOption)
			require.ErrorContains(t, err, name+" is for NewClient")
		})
		c := tcproom.NewClient(testContext(t), addr, tcproom.WithCodec(tcproom.JSON{}), opt)
		require.Equal(t, "welcome", hear(t, c))
		require.NoError(t, c.Close())
	}
}

// TestServeOptionsThatCannotWork: Serve and ServeConn return an error, and serve
// nobody.
func TestServeOptionsThatCannotWork(t *testing.T) {
	for _, tt := range []struct {
		name string
		room []tcproom.RoomOption
		opts []tcproom.ConnOption
		want string // empty: they can
		says string // by the peer, then
	}{
		{name: "heartbeat", room: nil, opts: []tcproom.ConnOption{tcproom.WithHeartbeat(time.Second)}, want: "WithHeartbeat with codec tcproom.Text", says: ""},
		{name: "heartbeat of the Serve's codec", room: []tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{})},
			opts: []tcproom.ConnOption{tcproom.WithHeartbeat(time.Second), tcproom.WithCodec(tcproom.Raw{})}, want: "WithHeartbeat with codec tcproom.Raw", says: ""},
		{name: "a larger limit", room: []tcproom.RoomOption{tcproom.WithMaxMessage(100)}, opts: []tcproom.ConnOption{tcproom.WithMaxMessage(101)}, want: "WithMaxMessage(101)", says: ""},
		{name: "a heartbeat that its codec has", room: nil, opts: []tcproom.ConnOption{tcproom.WithHeartbeat(time.Second), tcproom.WithCodec(tcproom.JSON{})}, want: "", says: `{"type":"hello"}` + "\n"},
		{name: "the room's heartbeat", room: []tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(time.Second)},
			opts: []tcproom.ConnOption{tcproom.WithCodec(tcproom.Text{})}, want: "", says: ""},
		{name: "a smaller limit", room: []tcproom.RoomOption{tcproom.WithMaxMessage(100)}, opts: []tcproom.ConnOption{tcproom.WithMaxMessage(99), nil}, want: "", says: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			room := tcproom.New(tt.room...)
			defer room.Close()
			if tt.want == "" {
				serveTCP(t, room, tt.opts...)
				nc, _ := enter(t, room, tt.opts...)
				io.WriteString(nc, tt.says)
				waitLen(t, room, 1)
				return
			}
			l := listen(t, "tcp")
			err := room.Serve(l, tt.opts...)
			require.ErrorIs(t, err, tcproom.ErrOption)
			require.ErrorContains(t, err, tt.want)
			_, err = l.Accept()
			require.ErrorIs(t, err, net.ErrClosed, "Serve owns the listener")
			nc, served := enter(t, room, tt.opts...)
			err = <-served
			require.ErrorIs(t, err, tcproom.ErrOption)
			require.ErrorContains(t, err, tt.want)
			_, err = nc.Read(make([]byte, 1))
			require.Error(t, err)
		})
	}
}

// TestNewWarns of options that cannot work with the room's codec, and of no others:
// another codec may be that of a Serve.
func TestNewWarns(t *testing.T) {
	options := map[string]tcproom.RoomOption{
		"WithSessions":          tcproom.WithSessions(tcproom.Sessions{}),
		"WithHeartbeat":         tcproom.WithHeartbeat(time.Second),
		"WithSlowMembers(Skip)": tcproom.WithSlowMembers(tcproom.Skip),
	}
	cannot := map[string][]tcproom.Codec{
		"WithSessions":          {nil, tcproom.Text{}, tcproom.Raw{}, numberless{}},
		"WithHeartbeat":         {nil, tcproom.Text{}, tcproom.Raw{}},
		"WithSlowMembers(Skip)": {tcproom.Raw{}},
	}
	for name, opt := range options {
		for _, codec := range []tcproom.Codec{nil, tcproom.Text{}, tcproom.Raw{}, tcproom.JSON{}, numberless{}} {
			var lines logLines
			room := tcproom.New(opt, tcproom.WithCodec(codec), tcproom.WithLogger(lines.Logger()))
			require.NoError(t, room.Close())
			want := 0
			for _, c := range cannot[name] {
				if c == codec {
					want = 1
				}
			}
			warned := lines.With("option without effect")
			require.Len(t, warned, want, "%s with %T", name, codec)
			for _, line := range warned {
				require.Contains(t, line, "level=WARN")
				require.Contains(t, line, "option="+name)
			}
		}
	}
	var lines logLines
	room := tcproom.New(tcproom.WithLogger(lines.Logger()), tcproom.WithSlowMembers(tcproom.Block(0)), tcproom.WithHeartbeat(-1),
		tcproom.WithHistory(tcproom.History{}), tcproom.WithCodec(tcproom.Raw{}))
	require.NoError(t, room.Close())
	require.Empty(t, lines.With("WARN"))
}

// TestWhoseDeadline: WithHandshakeTimeout at a dialling end is os.ErrDeadlineExceeded,
// and the deadline of the caller's context is that of the context.
func TestWhoseDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := func(ctx context.Context, limit time.Duration) error {
			here, there := net.Pipe()
			defer there.Close()
			go io.Copy(io.Discard, there)
			_, err := tcproom.Dial(ctx, "room:1", tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHandshakeTimeout(limit),
				tcproom.WithDialer(func(context.Context, string, string) (net.Conn, error) { return here, nil }))
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := dial(ctx, time.Second)
		require.ErrorIs(t, err, errHandshakeTimeout)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		err = dial(ctx, time.Hour)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NotErrorIs(t, err, errHandshakeTimeout)
	})
}

// TestNoTimeout: a negative timeout is none.
func TestNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
		defer cancel()
		here, there := net.Pipe()
		defer there.Close()
		start := time.Now()
		_, err := tcproom.Dial(ctx, "room:1", tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHandshakeTimeout(-1), tcproom.WithWriteTimeout(math.MinInt64),
			tcproom.WithDialer(func(context.Context, string, string) (net.Conn, error) { return here, nil }))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 100*time.Hour, time.Since(start))
	})
	inBubble("at the room's end", t, func(t *testing.T) {
		room := jsonRoom(tcproom.WithHandshakeTimeout(-1), tcproom.WithWriteTimeout(-1), tcproom.WithIdleTimeout(-1))
		nc, _ := enter(t, room)
		time.Sleep(100 * time.Hour)
		require.Equal(t, 1, room.Stats().Pending)
		io.WriteString(nc, `{"type":"hello"}`+"\n")
		synctest.Wait()
		require.Equal(t, 1, room.Len())
		time.Sleep(100 * time.Hour)
		nc.In(roomtest.Stall())
		for range 1000 {
			announce(t, room, "0123456789")
		}
		time.Sleep(100 * time.Hour)
		require.Equal(t, 1, room.Len())
		nc.Reset()
		synctest.Wait()
		require.NoError(t, room.Close())
		<-room.Done()
	})
}
