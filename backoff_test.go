package tcproom

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackoff(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	type step struct{ lasted, hint, below time.Duration }
	tests := []struct {
		name  string
		given backoff
		steps []step
	}{
		{"doubles to the most", backoff{}, []step{
			{0, 0, 100 * ms}, {0, 0, 200 * ms}, {0, 0, 400 * ms}, {0, 0, 800 * ms}, {0, 0, 1600 * ms}, {0, 0, 3200 * ms},
			{0, 0, 6400 * ms}, {0, 0, 12800 * ms}, {0, 0, 25600 * ms}, {0, 0, 30 * s}, {0, 0, 30 * s}}},
		{"begins anew after a stable time only", backoff{}, []step{
			{0, 0, 100 * ms}, {10*s - 1, 0, 200 * ms}, {0, 0, 400 * ms}, {10 * s, 0, 100 * ms}, {0, 0, 200 * ms}}},
		{"the room's word counts", backoff{}, []step{
			{0, 5 * s, 5*s + 5*s}, {0, 0, 200 * ms}, {0, 50 * ms, 50*ms + 400*ms}, {0, time.Hour, time.Hour + 30*s},
			{0, -1, 1600 * ms}, {0, math.MaxInt64, math.MaxInt64}}},
		{"as given", backoff{first: s, most: 3 * s}, []step{{0, 0, s}, {0, 0, 2 * s}, {0, 0, 3 * s}, {10 * s, 0, s}}},
		{"the most is no less than the first", backoff{first: s, most: ms}, []step{{0, 0, s}, {0, 0, s}}},
		{"without overflow", backoff{first: math.MaxInt64, most: math.MaxInt64}, []step{{0, 0, math.MaxInt64}, {0, math.MaxInt64, math.MaxInt64}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, most := range []bool{false, true} {
				b := tt.given
				b.random = func(n int64) int64 {
					if most {
						return n - 1
					}
					return 0
				}
				b.setDefaults()
				for i, st := range tt.steps {
					want := max(st.hint, 0)
					if most && st.below != math.MaxInt64 {
						want = st.below - 1
					} else if most {
						want = st.below
						if st.hint == 0 {
							want--
						}
					}
					require.Equal(t, want, b.next(st.lasted, st.hint), "step %d", i)
				}
			}
		})
	}
}
