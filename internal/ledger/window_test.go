package ledger

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWindow(t *testing.T) {
	var w Window
	require.Zero(t, w.Last())
	_, ok := w.Find(1)
	require.False(t, ok, "nothing was taken")

	require.Equal(t, Taken{5, 100}, w.Take(5, 100))
	require.Equal(t, Taken{9, 0}, w.Take(9, 0)) // not to be ordered
	require.Equal(t, uint64(9), w.Last())
	for number, want := range map[uint64]Taken{5: {Number: 5, Seq: 100}, 9: {Number: 9, Seq: 0}, 7: {Number: 7, Seq: 0}, 1: {Number: 1, Seq: 0}} {
		got, ok := w.Find(number)
		require.True(t, ok, "%d is not above the last", number)
		require.Equal(t, want, got)
	}
	got, ok := w.Find(10)
	require.False(t, ok)
	require.Zero(t, got)

	w.Take(math.MaxUint64, 101)
	require.Equal(t, uint64(math.MaxUint64), w.Last())
	_, ok = w.Find(math.MaxUint64 - 1)
	require.True(t, ok)
}

// TestWindowOfMost: of the newest 256 messages the seq is known, of older ones that
// they were taken, and no more memory is used for them.
func TestWindowOfMost(t *testing.T) {
	require.Equal(t, 256, Most)
	var w Window
	const n = 3*Most + 7
	for i := uint64(1); i <= n; i++ {
		w.Take(2*i, 1000+i)
		require.LessOrEqual(t, len(w.taken), Most)
		require.LessOrEqual(t, cap(w.taken), 2*Most)
	}
	require.Equal(t, uint64(2*n), w.Last())
	for i := uint64(1); i <= n; i++ {
		want := Taken{Number: 2 * i}
		if i > n-Most {
			want.Seq = 1000 + i
		}
		got, ok := w.Find(2 * i)
		require.True(t, ok)
		require.Equal(t, want, got)
		got, ok = w.Find(2*i - 1) // of no message
		require.True(t, ok)
		require.Equal(t, Taken{Number: 2*i - 1}, got)
	}
	_, ok := w.Find(2*n + 1)
	require.False(t, ok)
}
