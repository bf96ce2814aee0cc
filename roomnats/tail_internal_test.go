package roomnats

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// A message that was lost on the way leaves a hole in the consumer's own numbers.
func TestFollowerCounts(t *testing.T) {
	number := func(n int) *nats.Msg {
		return &nats.Msg{Sub: new(nats.Subscription), Reply: fmt.Sprintf("$JS.ACK.S.C.1.%d.%d.1700000000000000000.0", 10*n, n)}
	}
	got := 0
	fn := func(_ *follower, d delivery) error {
		got++
		require.Equal(t, uint64(10*got), d.seq)
		return nil
	}
	f := &follower{}
	require.NoError(t, f.take(number(1), fn))
	require.NoError(t, f.take(number(2), fn))
	require.ErrorContains(t, f.take(number(4), fn), "message 4 of the consumer came after 2")
	require.ErrorContains(t, f.take(number(2), fn), "message 2 of the consumer came after 2")
	require.ErrorContains(t, f.take(&nats.Msg{Sub: new(nats.Subscription), Reply: "_INBOX.x"}, fn), "without number")
	require.Equal(t, 2, got)
	own := errors.New("own")
	require.Equal(t, own, f.take(number(3), func(*follower, delivery) error { return own }))
}

// A heartbeat that has waited says what the server knew when it was sent, and not now.
func TestOldHeartbeat(t *testing.T) {
	heartbeat := &nats.Msg{Header: nats.Header{"Status": {"100"}}}
	ago := time.Now().Add(-time.Minute)
	f := &follower{waiting: make(chan *nats.Msg, 1), drained: ago, caughtUp: ago}
	f.waiting <- heartbeat
	require.NoError(t, f.take(<-f.waiting, nil))
	require.Equal(t, ago, f.caughtUp)
}
