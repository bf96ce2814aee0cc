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
		{name: "doubles to the most", given: backoff{}, steps: []step{
			{lasted: 0, hint: 0, below: 100 * ms}, {lasted: 0, hint: 0, below: 200 * ms}, {lasted: 0, hint: 0, below: 400 * ms}, {lasted: 0, hint: 0, below: 800 * ms}, {lasted: 0, hint: 0, below: 1600 * ms}, {lasted: 0, hint: 0, below: 3200 * ms},
			{lasted: 0, hint: 0, below: 6400 * ms}, {lasted: 0, hint: 0, below: 12800 * ms}, {lasted: 0, hint: 0, below: 25600 * ms}, {lasted: 0, hint: 0, below: 30 * s}, {lasted: 0, hint: 0, below: 30 * s}}},
		{name: "begins anew after a stable time only", given: backoff{}, steps: []step{
			{lasted: 0, hint: 0, below: 100 * ms}, {lasted: 10*s - 1, hint: 0, below: 200 * ms}, {lasted: 0, hint: 0, below: 400 * ms}, {lasted: 10 * s, hint: 0, below: 100 * ms}, {lasted: 0, hint: 0, below: 200 * ms}}},
		{name: "the room's word counts", given: backoff{}, steps: []step{
			{lasted: 0, hint: 5 * s, below: 5*s + 5*s}, {lasted: 0, hint: 0, below: 200 * ms}, {lasted: 0, hint: 50 * ms, below: 50*ms + 400*ms}, {lasted: 0, hint: time.Hour, below: time.Hour + 30*s},
			{lasted: 0, hint: -1, below: 1600 * ms}, {lasted: 0, hint: math.MaxInt64, below: math.MaxInt64}}},
		{name: "as given", given: backoff{first: s, most: 3 * s}, steps: []step{{lasted: 0, hint: 0, below: s}, {lasted: 0, hint: 0, below: 2 * s}, {lasted: 0, hint: 0, below: 3 * s}, {lasted: 10 * s, hint: 0, below: s}}},
		{name: "the most is no less than the first", given: backoff{first: s, most: ms}, steps: []step{{lasted: 0, hint: 0, below: s}, {lasted: 0, hint: 0, below: s}}},
		{name: "without overflow", given: backoff{first: math.MaxInt64, most: math.MaxInt64}, steps: []step{{lasted: 0, hint: 0, below: math.MaxInt64}, {lasted: 0, hint: math.MaxInt64, below: math.MaxInt64}}},
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
