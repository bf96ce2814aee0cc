package tcproom

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWalk: which address is next, and after which wait exactly.
func TestWalk(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	const failed = time.Duration(-1)
	none, restart, full := Cause("reset"), ErrRestarting, ErrRoomFull
	type step struct {
		at     string // the address, which then is lost
		cause  Cause
		lasted time.Duration // failed: there was no connection
		hint   time.Duration // of the room
		wait   time.Duration // before the next
		round  bool          // which begins one
	}
	for _, tt := range []struct {
		name  string
		addrs string
		steps []step
	}{
		{name: "one address has a round for each attempt", addrs: "a", steps: []step{
			{"a", none, failed, 0, 100 * ms, true}, {"a", none, failed, 0, 200 * ms, true}, {"a", restart, s, 0, 400 * ms, true},
			{"a", full, failed, 5 * s, 10 * s, true}, {"a", none, 10 * s, 0, 100 * ms, true}, {"a", restart, 10 * s, 3 * s, 6 * s, true}}},
		{name: "dead ones", addrs: "abc", steps: []step{
			{"a", none, failed, 0, 0, false}, {"b", none, failed, 0, 0, false}, {"c", none, failed, 0, 100 * ms, true},
			{"a", none, failed, 0, 0, false}, {"b", none, failed, 0, 0, false}, {"c", none, failed, 0, 200 * ms, true},
			{"a", none, failed, 0, 0, false}, {"b", none, 10 * s, 0, 100 * ms, true},
			{"c", none, failed, 0, 0, false}, {"a", none, failed, 0, 0, false}, {"b", none, failed, 0, 200 * ms, true},
			{"c", none, failed, 0, 0, false}}},
		{name: "a connection that is lost soon", addrs: "ab", steps: []step{
			{"a", none, 0, 0, 100 * ms, true}, {"b", none, 10*s - 1, 0, 200 * ms, true}, {"a", none, failed, 0, 0, false}, {"b", none, s, 0, 400 * ms, true}}},
		{name: "restarts", addrs: "abc", steps: []step{
			{"a", restart, time.Hour, 5 * s, 0, false}, {"b", restart, s, 0, 0, false}, {"c", restart, s, 0, 100 * ms, true},
			{"b", restart, 20 * s, 0, 0, false}, {"c", restart, 20 * s, 0, 0, false}, {"a", restart, 20 * s, 0, 0, false},
			{"b", restart, s, 0, 0, false}, {"c", restart, failed, 0, 100 * ms, true}}},
		{name: "the room's word is for one address", addrs: "ab", steps: []step{
			{"a", full, failed, 5 * s, 0, false}, {"b", none, failed, 0, 100 * ms, true}, {"b", none, failed, 0, 200 * ms, true},
			{"b", full, failed, 4 * s, 8 * s, true}, {"a", none, failed, -1, 0, false}, {"b", none, failed, 0, 800 * ms, true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var others []string
				for _, a := range tt.addrs {
					others = append(others, string(a)) // the first twice
				}
				pause := backoff{random: func(n int64) int64 { return n }}
				pause.setDefaults()
				w := newWalk(others[0], others, pause)
				require.Len(t, w.all, len(tt.addrs))
				for i, st := range tt.steps {
					require.Equal(t, st.at, w.now().addr, "step %d", i)
					time.Sleep(max(st.lasted, 0))
					l := loss{end: &EndError{Cause: st.cause, RetryAfter: st.hint}}
					wait, round := w.next(&l, st.lasted)
					require.Equal(t, []any{st.wait, st.round}, []any{wait, round}, "step %d", i)
					time.Sleep(wait)
				}
			})
		})
	}
}
