package tcproom

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTide: an ending conn is over when it was seen not to move for as long as
// it may, and not because nobody looked.
func TestTide(t *testing.T) {
	const ms = time.Millisecond
	type look struct {
		after time.Duration // since the last one
		moved bool
		over  bool
	}
	tests := []struct {
		name  string
		limit time.Duration
		looks []look
	}{
		{name: "still", limit: 0, looks: []look{{after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: true}}},
		{name: "looked at often", limit: 0, looks: []look{{after: 1 * ms, moved: false, over: false}, {after: 99 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: false}, {after: 99 * ms, moved: false, over: false}, {after: 1 * ms, moved: false, over: true}}},
		{name: "moves at the last moment", limit: 0, looks: []look{{after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: false, over: false}, {after: 100 * ms, moved: true, over: false}, {after: 100 * ms, moved: false, over: false}}},
		{name: "the process was stopped", limit: 0, looks: []look{{after: 900 * ms, moved: false, over: false}, {after: 900 * ms, moved: false, over: false}, {after: 900 * ms, moved: false, over: false}, {after: 900 * ms, moved: false, over: false}, {after: 900 * ms, moved: false, over: true}}},
		{name: "the process was stopped, and c moves on", limit: 0, looks: []look{{after: 100 * ms, moved: false, over: false}, {after: 5 * time.Second, moved: false, over: false}, {after: 100 * ms, moved: true, over: false}, {after: 400 * ms, moved: false, over: false}}},
		{name: "limit", limit: 300 * ms, looks: []look{{after: 100 * ms, moved: true, over: false}, {after: 100 * ms, moved: true, over: false}, {after: 100 * ms, moved: true, over: true}}},
		{name: "limit, and the process was stopped", limit: 300 * ms, looks: []look{{after: 900 * ms, moved: true, over: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, mark := time.Now(), [3]int64{1, 2, 3}
			tide := &tide{patience: always(quiet), limit: tt.limit, started: now, seen: now, mark: mark}
			for i, l := range tt.looks {
				if now = now.Add(l.after); l.moved {
					mark[i%3]++
				}
				require.Equal(t, l.over, tide.look(now, mark), "look %d", i)
			}
		})
	}
}
