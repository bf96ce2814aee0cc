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
		{"still", 0, []look{{100 * ms, false, false}, {100 * ms, false, false}, {100 * ms, false, false}, {100 * ms, false, false}, {100 * ms, false, true}}},
		{"looked at often", 0, []look{{1 * ms, false, false}, {99 * ms, false, false}, {100 * ms, false, false}, {100 * ms, false, false}, {100 * ms, false, false}, {99 * ms, false, false}, {1 * ms, false, true}}},
		{"moves at the last moment", 0, []look{{100 * ms, false, false}, {100 * ms, false, false}, {100 * ms, false, false}, {100 * ms, false, false}, {100 * ms, true, false}, {100 * ms, false, false}}},
		{"the process was stopped", 0, []look{{900 * ms, false, false}, {900 * ms, false, false}, {900 * ms, false, false}, {900 * ms, false, false}, {900 * ms, false, true}}},
		{"the process was stopped, and c moves on", 0, []look{{100 * ms, false, false}, {5 * time.Second, false, false}, {100 * ms, true, false}, {400 * ms, false, false}}},
		{"limit", 300 * ms, []look{{100 * ms, true, false}, {100 * ms, true, false}, {100 * ms, true, true}}},
		{"limit, and the process was stopped", 300 * ms, []look{{900 * ms, true, true}}},
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
