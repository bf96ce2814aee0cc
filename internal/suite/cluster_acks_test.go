package suite_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// Acks that are told when another stream has begun since.

// toAck reads up to the first ack, and returns that and how many resets came before.
func (w *wire) toAck() (ack string, resets int) {
	w.t.Helper()
	for w.in.Scan() {
		var ev struct{ Type, Outcome string }
		require.NoError(w.t, json.Unmarshal(w.in.Bytes(), &ev))
		switch {
		case ev.Type == "ack":
			return w.in.Text(), resets
		case ev.Outcome == "reset":
			resets++
		}
	}
	require.NoError(w.t, w.in.Err())
	return "", resets
}

// TestClusterAckBehindAReset: an ack that a member gets behind the news that another stream
// has begun names no place in that for what was said in the one before, also if there is
// such a place.
func TestClusterAckBehindAReset(t *testing.T) {
	pass := func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil }
	for _, tt := range []struct {
		name string
		hook func(m *tcproom.Member, body []byte) ([]byte, error)
	}{
		{"no hook", nil},
		{"a hook", pass},
		{"a hook that posts", func(m *tcproom.Member, body []byte) ([]byte, error) {
			_, err := m.Post(m.Context(), body)
			return nil, err
		}},
	} {
		inBubble(tt.name, t, func(t *testing.T) {
			gate := make(chan struct{})
			c := newCluster(t, 1, tcproom.WithCodec(&failingAcks{fail: func() { <-gate }}), tcproom.WithNotices(false), tcproom.OnMessage(tt.hook))
			bob := dialWire(t, c.Room(0), "bob")
			bob.send(`{"type":"message","id":1,"body":"hi"}`)
			synctest.Wait()
			require.Equal(t, 1, said(c, 0, "hi"))
			ahead := tt.hook == nil // its reader goes on while it tells the first
			if ahead {
				bob.send(`{"type":"message","id":2,"body":"hi"}`)
				synctest.Wait()
				require.Equal(t, 2, said(c, 0, "hi"))
			}
			c.Rollback(1)
			time.Sleep(15 * time.Second)
			close(gate)
			ack, resets := bob.toAck()
			require.Equal(t, 1, resets)
			require.Equal(t, `{"type":"ack","id":1}`, ack)
			if ahead {
				bob.next(`{"type":"ack","id":2}`)
			}
			bob.send(`{"type":"message","id":3,"body":"on"}`)
			bob.next(`{"type":"ack","id":3,"seq":`)
			bob.send(`{"type":"message","id":1,"body":"again"}`)
			bob.next(`{"type":"ack","id":1}`)
		})
	}
}
