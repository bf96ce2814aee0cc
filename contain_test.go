package tcproom_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// nilError is what a hook returns that returns a nil of its own type.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// TestErrorsThatPanic: an error value whose methods panic ends the connection of the
// hook that returned it, and nothing else.
func TestErrorsThatPanic(t *testing.T) {
	var typedNil *nilError
	hooks := map[string]tcproom.RoomOption{
		"OnJoin": tcproom.OnJoin(func(*tcproom.Member) error { return typedNil }),
		"WithHandshake": tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
			return tcproom.Identity{}, typedNil
		}),
		"OnMessage": tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { return nil, typedNil }),
	}
	for name, hook := range hooks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends := newCauses()
				room := tcproom.New(hook, tcproom.OnLeave(ends.Left), tcproom.OnReject(ends.Rejected))
				nc, served := enter(t, room)
				fmt.Fprintln(nc, "hi")
				var he *tcproom.HookError
				require.ErrorAs(t, <-served, &he)
				require.Equal(t, name, he.Hook)
				require.NotNil(t, he.Panic)
				require.Equal(t, error(he), ends.Next(t))
				require.NoError(t, room.Close())
			})
		})
	}
}

// TestHookErrorsAreNotThisConns: what a hook returns of another connection's
// end is not taken for this one's: the peer is told why.
func TestHookErrorsAreNotThisConns(t *testing.T) {
	for _, cause := range []error{io.EOF, errReset, tcproom.ErrSlow, net.ErrClosed} {
		t.Run(cause.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := func(nc net.Conn) string {
					b, err := io.ReadAll(nc)
					require.NoError(t, err)
					return string(b)
				}
				ends := newCauses()
				why := fmt.Errorf("relay: %w", cause)
				joins := tcproom.New(tcproom.OnJoin(func(*tcproom.Member) error { return cause }), tcproom.OnReject(ends.Rejected))
				nc, _ := enter(t, joins)
				require.Contains(t, told(nc), "* goodbye: ")
				require.ErrorIs(t, ends.Next(t), cause)
				require.NoError(t, joins.Close())

				speaks := tcproom.New(tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { return nil, why }), tcproom.OnLeave(ends.Left))
				nc, _ = enter(t, speaks)
				fmt.Fprintln(nc, "hi")
				require.Contains(t, told(nc), "* goodbye: relay: ")
				end := ends.Next(t)
				require.ErrorIs(t, end, tcproom.ErrHook)
				require.ErrorIs(t, end, cause)
				require.Equal(t, map[tcproom.Cause]uint64{tcproom.ErrHook: 1}, speaks.Stats().Left)
				require.NoError(t, speaks.Close())
			})
		})
	}
}

// TestReceiveOutlivesHandshake: a Receive that still waits when the Handshake
// hook has returned ends, and takes nothing of what the member says.
func TestReceiveOutlivesHandshake(t *testing.T) {
	stragglers := make(chan error, 1)
	room := tcproom.New(tcproom.WithHandshake(func(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
		started := make(chan struct{})
		go func() {
			close(started)
			_, err := n.Receive(context.Background())
			stragglers <- err
		}()
		<-started
		return tcproom.Identity{Name: "ada"}, nil
	}))
	bob := join(t, room)
	defer room.Close()
	for range 20 {
		nc, _ := enter(t, room)
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

// TestShutdownIsTheCause: also for a member whose OnMessage passes on what Post
// returned, or returns something to post, while the room began to stop.
func TestShutdownIsTheCause(t *testing.T) {
	for name, hook := range map[string]func(*tcproom.Member, []byte) ([]byte, error){
		"Post": func(m *tcproom.Member, body []byte) ([]byte, error) {
			_, err := m.Post(context.Background(), body)
			return nil, err
		},
		"return": func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil },
	} {
		inBubble(name, t, func(t *testing.T) {
			stopped := make(chan struct{})
			ends := newCauses()
			room := tcproom.New(tcproom.OnLeave(ends.Left), tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
				<-stopped
				return hook(m, body)
			}))
			nc, served := enter(t, room)
			fmt.Fprintln(nc, "hi")
			synctest.Wait() // until the hook waits
			done := make(chan error, 1)
			go func() { done <- room.Shutdown(context.Background()) }()
			synctest.Wait() // until the room stops
			close(stopped)
			require.Equal(t, tcproom.ErrRoomClosed, <-served)
			require.Equal(t, tcproom.ErrRoomClosed, ends.Next(t))
			require.NoError(t, <-done)
			// Idempotent, whatever the context.
			ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
			defer cancel()
			for range 20 {
				require.NoError(t, room.Shutdown(ctx))
			}
		})
	}
}
