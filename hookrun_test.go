package tcproom_test

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestCloseBeginsNoOtherHook: of a connection whose hook runs when Close is called,
// nothing but its end is told once Close has returned, after that hook, and once.
func TestCloseBeginsNoOtherHook(t *testing.T) {
	for _, test := range []struct{ running, then string }{
		{running: "WithNameValidator", then: "OnReject"},
		{running: "WithRate", then: "OnReject"},
		{running: "OnJoin", then: "OnLeave"},
		{running: "OnJoined", then: "OnLeave"},
		{running: "OnMessage", then: "OnLeave"},
	} {
		t.Run(test.running, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var closed atomic.Bool
				inside, release, begun := make(chan struct{}, 10), make(chan struct{}), make(chan string, 10)
				hook := func(name string) {
					if closed.Load() {
						begun <- name
					} else if name == test.running {
						inside <- struct{}{}
						<-release
					}
				}
				room := tcproom.New(
					tcproom.WithNameValidator(func(string) error { hook("WithNameValidator"); return nil }),
					tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter { hook("WithRate"); return nil }),
					tcproom.OnJoin(func(*tcproom.Member) error { hook("OnJoin"); return nil }),
					tcproom.OnJoined(func(*tcproom.Member, uint64) { hook("OnJoined") }),
					tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { hook("OnMessage"); return nil, nil }),
					tcproom.OnLeave(func(*tcproom.Member, error) { hook("OnLeave") }),
					tcproom.OnReject(func(*tcproom.Newcomer, error) { hook("OnReject") }),
					tcproom.WithCodec(tcproom.JSON{}),
				)
				nc, served := pipe(room)
				go io.Copy(io.Discard, nc)
				go io.WriteString(nc, `{"type":"hello","name":"ada"}`+"\n"+`{"type":"message","body":"1"}`+"\n"+`{"type":"message","body":"2"}`+"\n")
				<-inside
				require.NoError(t, room.Close())
				closed.Store(true)
				synctest.Wait()
				require.Empty(t, begun, "P9")
				close(release)
				require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
				<-room.Done()
				require.Equal(t, test.then, <-begun, "P8")
				require.Empty(t, begun, "P9")
			})
		})
	}
}

// TestCloseWaitsForLaterHooks: Close leaves alone the hooks that ran when it was
// called. What the same conn calls after that it waits for.
func TestCloseWaitsForLaterHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type held struct {
			*heldConn
			goOn chan struct{}
		}
		conns := map[string]held{}
		inside := make(chan string, 10)
		room := tcproom.New(tcproom.OnMessage(func(m *tcproom.Member, _ []byte) ([]byte, error) {
			inside <- m.Name()
			<-conns[m.Name()].goOn
			return nil, nil
		}))
		var peers []net.Conn
		for _, name := range []string{"guest-1", "guest-2"} {
			here, there := net.Pipe()
			peers = append(peers, here)
			conns[name] = held{&heldConn{there, make(chan struct{}, 10), make(chan struct{})}, make(chan struct{})}
		}
		for i, peer := range peers {
			go room.ServeConn(conns[fmt.Sprint("guest-", i+1)])
			go io.Copy(io.Discard, peer)
			go io.WriteString(peer, "one\ntwo\n")
			<-inside
		}
		closed := make(chan error)
		go func() { closed <- room.Close() }()
		// The stop ends one of them first, and waits there.
		first, second := conns["guest-1"], conns["guest-2"]
		select {
		case <-first.stopped:
		case <-second.stopped:
			first, second = second, first
		}
		second.goOn <- struct{}{}
		<-inside
		close(first.release)
		close(second.release)
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("P9: Close has returned, and a hook runs that began after its call")
		default:
		}
		second.goOn <- struct{}{}
		require.NoError(t, <-closed)
		first.goOn <- struct{}{}
		<-room.Done()
	})
}
