package suite_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestClusterNumbersNotSaid: that a message was dealt with and not said is known to its node
// alone. If that dies before the client has the ack, the client sends it again elsewhere,
// where it is dealt with again: it is in the order once at most, and acknowledged.
func TestClusterNumbersNotSaid(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mute    time.Duration // of the sender, in the beginning
		swallow bool          // by OnMessage
		away    time.Duration // until it is back
		said    int
	}{
		{"swallowed by the hook", 0, true, 0, 0},
		{"muted, and is so still", time.Hour, false, 0, 0},
		{"muted, and is not any more", 20 * time.Second, false, 22 * time.Second, 1},
	} {
		inBubble(tt.name, t, func(t *testing.T) {
			var mu sync.Mutex
			var hooked []string // what OnMessage got
			c := newCluster(t, 2, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				hooked = append(hooked, string(body))
				if tt.swallow && string(body) == "not said" {
					return nil, nil
				}
				return body, nil
			}))
			bob := c.Room(1).Join("bob")
			var at atomic.Int32
			var link atomic.Pointer[roomtest.Conn]
			ada := tcproom.NewClient(t.Context(), "cluster:1", tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"),
				tcproom.WithDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
					if at.Load() == 1 {
						time.Sleep(tt.away)
					}
					srv := c.Room(int(at.Load()))
					nc, err := srv.Net.Dial(ctx, network, srv.Addr)
					if err == nil {
						link.Store(nc.(*roomtest.Conn))
					}
					return nc, err
				}))
			defer ada.Close()
			_, err := ada.SendAcked(t.Context(), []byte("one"))
			require.NoError(t, err)
			synctest.Wait() // node 1 has read that ada is in
			if tt.mute > 0 {
				require.NoError(t, c.Room(1).Room.Mute(memberAt(t, c, 1, "ada").ID(), time.Now().Add(tt.mute)))
			}
			time.Sleep(time.Second)
			link.Load().In(roomtest.Stall()) // the ack does not come
			var seq uint64
			acked := later(func() { seq, err = ada.SendAcked(t.Context(), []byte("not said")) })
			time.Sleep(time.Second)
			mu.Lock()
			require.Equal(t, []string{"one", "not said"}, hooked)
			mu.Unlock()
			at.Store(1)
			c.Crash(0)
			acked()
			require.NoError(t, err)
			require.Zero(t, seq*uint64(1-tt.said))
			time.Sleep(time.Second)
			mu.Lock()
			require.Equal(t, []string{"one", "not said", "not said"}, hooked, "the hook of the second node does not know of the first")
			mu.Unlock()
			require.Equal(t, tt.said, said(c, 1, "not said"))
			time.Sleep(tt.mute)
			_, err = ada.SendAcked(t.Context(), []byte("two"))
			require.NoError(t, err)
			bob.Await(roomtest.Message("ada", "two"))
			require.Equal(t, tt.said, said(c, 1, "not said"))
			c.Verify()
		})
	}
}
