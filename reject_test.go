package tcproom_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

const (
	// leaves bounds how long an end that has rejected what it received takes to leave.
	leaves = 700 * time.Millisecond

	sessionWelcome = `{"type":"welcome","epoch":"e","seq":1,"id":"x","name":"ada","outcome":"joined","token":"t"}` + "\n"
	goodbyeLine    = `{"type":"goodbye"}` + "\n"
)

// A clinger is a room that says something and does not close the connection.
type clinger struct {
	says  string
	deaf  time.Duration // how long it does not read; less than 0: for ever
	heard chan string   // what it has read after the hello, when its peer has closed
}

func (cl *clinger) dial(context.Context, string, string) (net.Conn, error) {
	here, there := roomtest.Pipe()
	here.SetWriteBuffer(1)
	go func() {
		r := bufio.NewReader(there)
		r.ReadString('\n')
		io.WriteString(there, cl.says)
		if cl.deaf < 0 {
			return
		}
		time.Sleep(cl.deaf)
		b, _ := io.ReadAll(r)
		// It goes on until nothing can be written any more.
		for err := error(nil); err == nil; time.Sleep(50 * time.Millisecond) {
			_, err = io.WriteString(there, "\n")
		}
		cl.heard <- string(b)
	}()
	return here, nil
}

func (cl *clinger) options(codec tcproom.Codec) []tcproom.DialOption {
	cl.heard = make(chan string, 1)
	return []tcproom.DialOption{tcproom.WithCodec(codec), tcproom.WithName("ada"), tcproom.WithDialer(cl.dial)}
}

// took returns how long f takes.
func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

// TestRejectingEndDoesNotWait: the room that sent what was rejected delays neither
// the error nor the end, and does not change the error.
func TestRejectingEndDoesNotWait(t *testing.T) {
	const message = `{"type":"message","seq":2,"body":"hi"}` + "\n"
	panics := &picky{reject: func(ev *tcproom.Event) error {
		if ev.Kind == tcproom.Message {
			panic("picky")
		}
		return nil
	}}
	for _, tt := range []struct {
		name  string
		codec tcproom.Codec
		says  string
		want  tcproom.Cause
	}{
		{name: "malformed", codec: tcproom.JSON{}, says: "what?\n", want: tcproom.ErrMalformed},
		{name: "a second welcome", codec: tcproom.JSON{}, says: sessionWelcome, want: tcproom.ErrMalformed},
		{name: "panic of the codec", codec: panics, says: message, want: tcproom.ErrHook},
	} {
		for _, deaf := range []time.Duration{0, -1} {
			// rejects returns a client that has rejected what the room said.
			rejects := func(t *testing.T) (*tcproom.Client, *clinger, func()) {
				cl := &clinger{says: sessionWelcome + tt.says, deaf: deaf}
				ctx, cancel := context.WithCancel(context.Background())
				c := tcproom.NewClient(ctx, "room:1", cl.options(tt.codec)...)
				t.Cleanup(func() { cancel(); c.Close() })
				require.Zero(t, took(func() { require.ErrorIs(t, ends(t, c), tt.want) }))
				return c, cl, cancel
			}
			name := fmt.Sprintf("%s/reads for %v", tt.name, deaf)
			inBubble(name+"/by itself", t, func(t *testing.T) {
				c, cl, _ := rejects(t)
				if deaf == 0 {
					require.Less(t, took(func() { require.Equal(t, goodbyeLine, <-cl.heard) }), leaves)
				}
				time.Sleep(leaves)
				require.Zero(t, took(func() { require.NoError(t, c.Close()) }))
				require.ErrorIs(t, c.Err(), tt.want)
			})
			inBubble(name+"/Close", t, func(t *testing.T) {
				c, cl, _ := rejects(t)
				require.Less(t, took(func() { require.NoError(t, c.Close()) }), leaves)
				require.ErrorIs(t, c.Err(), tt.want)
				if deaf == 0 {
					require.Equal(t, goodbyeLine, <-cl.heard)
				}
			})
			inBubble(name+"/cancel", t, func(t *testing.T) {
				c, cl, cancel := rejects(t)
				cancel()
				require.LessOrEqual(t, took(func() { require.NoError(t, c.Close()) }), 200*time.Millisecond)
				require.ErrorIs(t, c.Err(), tt.want)
				if deaf == 0 {
					require.Equal(t, goodbyeLine, <-cl.heard)
				}
			})
		}
	}
	for _, deaf := range []time.Duration{0, -1} {
		inBubble(fmt.Sprintf("conn/reads for %v", deaf), t, func(t *testing.T) {
			cl := &clinger{says: sessionWelcome + "what?\n", deaf: deaf}
			c, err := tcproom.Dial(t.Context(), "room:1", cl.options(tcproom.JSON{})...)
			require.NoError(t, err)
			_, err = lastEvent(t, c)
			require.ErrorIs(t, err, tcproom.ErrMalformed)
			require.Less(t, took(func() { require.NoError(t, c.Close()) }), leaves)
			require.ErrorIs(t, c.Err(), tcproom.ErrMalformed)
			if deaf == 0 {
				require.Equal(t, goodbyeLine, <-cl.heard)
			}
		})
	}
}

// TestRejectingAfterCloseWrite: a CloseWrite whose context ended may have left the
// goodbye unwritten.
func TestRejectingAfterCloseWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := &clinger{says: sessionWelcome + "what?\n", deaf: 100 * time.Millisecond}
		c, err := tcproom.Dial(t.Context(), "room:1", cl.options(tcproom.JSON{})...)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, c.CloseWrite(ctx), context.Canceled)
		_, err = lastEvent(t, c)
		require.ErrorIs(t, err, tcproom.ErrMalformed)
		require.Less(t, took(func() { require.NoError(t, c.Close()) }), leaves)
		require.Equal(t, goodbyeLine, <-cl.heard)
	})
}

// noGoodbye is JSON that fails at a goodbye.
type noGoodbye struct {
	tcproom.JSON
	fail func()
}

func (n noGoodbye) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	if req.Kind == tcproom.ReqGoodbye {
		n.fail()
	}
	return n.JSON.AppendRequest(dst, req)
}

// TestGoodbyeThatFails: the connection is closed whatever the codec does instead of
// encoding the goodbye, and a panic keeps back nothing that Send has taken.
func TestGoodbyeThatFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func()
	}{
		{name: "panic", fail: func() { panic("no goodbye") }},
		{name: "Goexit", fail: runtime.Goexit},
	} {
		codec := &noGoodbye{fail: tt.fail}
		for _, says := range []string{"", "what?\n"} {
			want := tcproom.ErrHook
			if says != "" {
				want = tcproom.ErrMalformed
			}
			name := fmt.Sprintf("%s/%s", tt.name, want)
			inBubble(name+"/conn", t, func(t *testing.T) {
				cl := &clinger{says: sessionWelcome + says}
				c, err := tcproom.Dial(t.Context(), "room:1", cl.options(codec)...)
				require.NoError(t, err)
				if says != "" {
					_, err = lastEvent(t, c)
					require.ErrorIs(t, err, want)
				} else {
					require.NoError(t, c.Send(t.Context(), []byte("hi")))
				}
				closed := make(chan error, 1)
				go func() {
					defer close(closed)
					closed <- c.Close()
				}()
				require.NoError(t, <-closed)
				if heard := <-cl.heard; says == "" && tt.name == "panic" {
					require.Contains(t, heard, `"body":"hi"`)
				}
				require.ErrorIs(t, c.Err(), want)
				_, err = c.Receive(t.Context())
				require.ErrorIs(t, err, want)
			})
			inBubble(name+"/client", t, func(t *testing.T) {
				cl := &clinger{says: sessionWelcome + says}
				c := tcproom.NewClient(t.Context(), "room:1", cl.options(codec)...)
				hearAll(t, c, "welcome joined")
				want := want
				if says == "" {
					require.NoError(t, c.Close())
					want = errEnded
				}
				require.ErrorIs(t, ends(t, c), want)
				<-cl.heard
				require.NoError(t, c.Close())
				require.ErrorIs(t, c.Err(), want)
			})
		}
	}
}

// TestOrdinaryEndsAreCauses: what ended in order matches the code and the standard
// library's error, at both ends.
func TestOrdinaryEndsAreCauses(t *testing.T) {
	both := func(t *testing.T, err error, cause tcproom.Cause, standard error) {
		t.Helper()
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, err, standard)
	}
	inBubble("closed by this end", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		d := srv.Dial(tcproom.WithName("eve"))
		c, _ := newClient(t, srv, "ada")
		hearAll(t, c, "welcome joined")
		for _, end := range []interface {
			Close() error
			Err() error
			Send(context.Context, []byte) error
			Receive(context.Context) (tcproom.Event, error)
		}{c, d} {
			require.NoError(t, end.Close())
			both(t, end.Err(), errEnded, net.ErrClosed)
			both(t, end.Send(t.Context(), nil), errEnded, net.ErrClosed)
			_, err := end.Receive(t.Context())
			both(t, err, errEnded, net.ErrClosed)
		}
	})
	inBubble("closed below the room", t, func(t *testing.T) {
		ends := newCauses()
		for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.JSON{}} { // JSON waits for a hello
			room := tcproom.New(tcproom.WithCodec(codec), tcproom.OnLeave(ends.Left), tcproom.OnReject(ends.Rejected))
			_, there := roomtest.Pipe()
			served := make(chan error, 1)
			go func() { served <- room.ServeConn(there) }()
			synctest.Wait()
			there.Close()
			both(t, <-served, errEnded, net.ErrClosed)
			both(t, ends.Next(t), errEnded, net.ErrClosed)
			require.NoError(t, room.Close())
			if codec == (tcproom.Text{}) {
				require.Equal(t, map[tcproom.Cause]uint64{errEnded: 1}, room.Stats().Left)
			}
		}
	})
	inBubble("left by the room", t, func(t *testing.T) {
		for _, codec := range builtIn {
			c, there := connOf(t, codec)
			greeted(t, codec, c, there)
			there.Close()
			_, err := lastEvent(t, c)
			both(t, err, errLeft, io.EOF)
			both(t, c.Err(), errLeft, io.EOF)
		}
		_, err := tcproom.Dial(t.Context(), "room:1", tcproom.WithCodec(tcproom.JSON{}), serveRaw(new(int), always("")))
		both(t, err, errLeft, io.EOF)
	})
}
