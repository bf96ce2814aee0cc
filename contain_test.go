package tcproom_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// nilError is what a hook returns that returns a nil of its own type.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// TestErrorsThatPanic: an error value whose methods panic ends the conn of the
// hook that returned it, and nothing else.
func TestErrorsThatPanic(t *testing.T) {
	var typedNil *nilError
	hooks := map[string]tcproom.RoomOption{
		"OnJoin":    tcproom.OnJoin(func(*tcproom.Conn) error { return typedNil }),
		"Handshake": tcproom.Handshake(func(context.Context, *tcproom.Conn) (tcproom.Identity, error) { return tcproom.Identity{}, typedNil }),
		"OnMessage": tcproom.OnMessage(func(*tcproom.Conn, []byte) error { return typedNil }),
	}
	for name, hook := range hooks {
		t.Run(name, func(t *testing.T) {
			ends := newCauses()
			room := tcproom.New(hook, tcproom.OnLeave(ends.left), tcproom.OnReject(ends.rejected))
			addr := serveTCP(t, room)
			nc := dialRaw(t, addr)
			fmt.Fprintln(nc, "hi")
			var he *tcproom.HookError
			require.ErrorAs(t, ends.next(t), &he)
			require.Equal(t, name, he.Hook)
			require.NotNil(t, he.Panic)
		})
	}
}

// TestHookErrorsAreNotThisConns: what a hook returns of another connection's
// end is not taken for this one's: the peer is told why.
func TestHookErrorsAreNotThisConns(t *testing.T) {
	for _, cause := range []error{io.EOF, tcproom.ErrReset, tcproom.ErrSlow, net.ErrClosed} {
		t.Run(cause.Error(), func(t *testing.T) {
			told := func(nc net.Conn) string {
				b, err := io.ReadAll(nc)
				require.NoError(t, err)
				return string(b)
			}
			ends := newCauses()
			why := fmt.Errorf("relay: %w", cause)
			joins := tcproom.New(tcproom.OnJoin(func(*tcproom.Conn) error { return cause }), tcproom.OnReject(ends.rejected))
			require.Contains(t, told(dialRaw(t, serveTCP(t, joins))), "* goodbye: ")
			require.ErrorIs(t, ends.next(t), cause)

			speaks := tcproom.New(tcproom.OnMessage(func(*tcproom.Conn, []byte) error { return why }), tcproom.OnLeave(ends.left))
			nc := dialRaw(t, serveTCP(t, speaks))
			fmt.Fprintln(nc, "hi")
			require.Contains(t, told(nc), "* goodbye: relay: ")
			end := ends.next(t)
			require.ErrorIs(t, end, tcproom.ErrHook)
			require.ErrorIs(t, end, cause)
			require.Equal(t, map[string]uint64{"hook": 1}, speaks.Stats().Left)
		})
	}
}

// TestReceiveOutlivesHandshake: a Receive that still waits when the Handshake
// hook has returned ends, and takes nothing of what the member says.
func TestReceiveOutlivesHandshake(t *testing.T) {
	stragglers := make(chan error, 1)
	room := tcproom.New(tcproom.Handshake(func(_ context.Context, c *tcproom.Conn) (tcproom.Identity, error) {
		started := make(chan struct{})
		go func() {
			close(started)
			_, err := c.Receive(context.Background())
			stragglers <- err
		}()
		<-started
		return tcproom.Identity{Name: "ada"}, nil
	}))
	addr := serveTCP(t, room)
	bob := join(t, room)
	for range 20 {
		nc := dialRaw(t, addr)
		require.Error(t, <-stragglers)
		require.Equal(t, tcproom.Join, next(t, bob).Kind)
		fmt.Fprintln(nc, "hi")
		require.Equal(t, "hi", nextMessage(t, bob))
		nc.CloseWrite()
		_, err := bufio.NewReader(nc).ReadString('\n')
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, tcproom.Leave, next(t, bob).Kind)
	}
}

// TestShutdownIsTheCause: also for a member whose OnMessage passes on what
// Post returned while the room began to stop.
func TestShutdownIsTheCause(t *testing.T) {
	posting, stopped := make(chan struct{}), make(chan struct{})
	ends := newCauses()
	var room *tcproom.Room
	room = tcproom.New(tcproom.OnLeave(ends.left), tcproom.OnMessage(func(c *tcproom.Conn, body []byte) error {
		close(posting)
		<-stopped
		_, err := room.Post(context.Background(), c, body)
		return err
	}))
	nc := dialRaw(t, serveTCP(t, room))
	fmt.Fprintln(nc, "hi")
	<-posting
	done := make(chan error, 1)
	go func() { done <- room.Shutdown(testContext(t)) }()
	eventually(t, "the room stops", func() bool {
		_, err := room.Broadcast(context.Background(), nil)
		return errors.Is(err, tcproom.ErrRoomClosed)
	})
	close(stopped)
	require.Equal(t, tcproom.ErrRoomClosed, ends.next(t))
	require.NoError(t, <-done)
	// Idempotent, whatever the context.
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	for range 20 {
		require.NoError(t, room.Shutdown(ctx))
	}
}
