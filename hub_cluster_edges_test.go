package tcproom_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// A laterBackplane gives a room of that name records that only a later version can read,
// once it is on.
type laterBackplane struct {
	tcproom.Backplane
	room string
	on   atomic.Bool
}

type laterLog struct {
	tcproom.Log
	b *laterBackplane
}

func (b *laterBackplane) Open(ctx context.Context, room string) (tcproom.Log, error) {
	l, err := b.Backplane.Open(ctx, room)
	if err == nil && room == b.room {
		l = &laterLog{l, b}
	}
	return l, err
}

func (l *laterLog) Tail(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
	return l.Log.Tail(ctx, from, func(rec tcproom.Record) error {
		if l.b.on.Load() {
			data := append([]byte(nil), rec.Data...)
			data[0]++
			rec.Data = data
		}
		return fn(rec)
	})
}

// TestHubClusterUnreadable: a process that cannot read the log of a room leaves it. The
// room goes on in others.
func TestHubClusterUnreadable(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
		b := &laterBackplane{Backplane: f.log.Attach(), room: "a"}
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithBackplane(b))
		require.NoError(t, s.hub.Ready(testContext(t)))
		ada, bob := s.labelled("ada", "a"), f.nodes[0].labelled("bob", "a")
		f.settle()
		epoch := f.nodes[0].room("a").Past(0, 0).Epoch
		b.on.Store(true)
		bob.say(`{"type":"message","room":"a","body":"hi"}`)
		time.Sleep(time.Minute)
		require.Equal(t, epoch, f.nodes[0].room("a").Past(0, 0).Epoch)
		require.Contains(t, f.nodes[0].names("a"), "bob")
		_, ok := s.hub.Lookup("a")
		require.False(t, ok)
		require.Contains(t, ada.told()["a"], "goodbye removed")
		require.NotContains(t, bob.told()["a"], "goodbye removed")
	})
}

// TestHubClusterCloseOfRemoved: a hub that is closed does not wait for the log of a room
// that it is about to leave.
func TestHubClusterCloseOfRemoved(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomLinger(time.Second))
		ada := f.nodes[0].labelled("ada", "a")
		f.settle()
		ada.say(`{"type":"leave","room":"a"}`)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		f.links[0].Stall()
		time.Sleep(2 * time.Second)
		_, ok := f.nodes[0].hub.Lookup("a")
		require.False(t, ok)
		began := time.Now()
		require.NoError(t, f.nodes[0].hub.Close())
		require.Less(t, time.Since(began), 3*time.Second)
	})
}

// TestHubClusterComeAndGo: a room that is opened and abandoned over and over leaves
// nothing.
func TestHubClusterComeAndGo(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRoomLinger(0))
		ada := f.nodes[0].labelled("ada")
		f.settle()
		n := 0
		for i := range 200 {
			ada.say(`{"type":"enter","room":"a"}`)
			synctest.Wait()
			ada.say(`{"type":"leave","room":"a"}`)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			ada.told()
			if i == 20 {
				n = runtime.NumGoroutine()
			}
		}
		require.InDelta(t, n, runtime.NumGoroutine(), 5)
	})
}

// TestHubClusterRemoveWhileClosed: Remove returns if the hub is closed meanwhile.
func TestHubClusterRemoveWhileClosed(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		f := newFarm(t, 2, tcproom.WithCodec(tcproom.JSON{}))
		f.nodes[0].labelled("ada", "a")
		f.nodes[1].labelled("bob", "a")
		f.settle()
		f.links[0].Stall()
		removed := make(chan struct{})
		go func() {
			defer close(removed)
			f.nodes[0].hub.Remove("a", "")
		}()
		time.Sleep(time.Second)
		f.nodes[0].hub.Close()
		time.Sleep(time.Minute)
		select {
		case <-removed:
		default:
			t.Fatal("Remove hangs")
		}
	})
}
