package fanout

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"example.com/tcproom/internal/scribble"
	"example.com/tcproom/internal/sock"
	"github.com/stretchr/testify/require"
)

func TestEnds(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var e ends
		var at []int // the ends
		total := 0
		for range rnd.IntN(50) {
			n := 1 + rnd.IntN(1<<rnd.IntN(16))
			if total += n; rnd.IntN(4) == 0 {
				e.pass(n)
				continue
			}
			e.add(n)
			at = append(at, total)
		}
		require.LessOrEqual(t, len(e.gaps), total)
		for pos := 0; pos < total; {
			n := rnd.IntN(total - pos + 1)
			pos += n
			want := 0
			for ; len(at) > 0 && at[0] <= pos; at = at[1:] {
				want++
			}
			require.Equal(t, want, e.drop(n), "seed %d, to %d of %d", seed, pos, total)
		}
		require.Empty(t, at)
	}
}

// What a sink missed and what it has not written are exactly the frames that
// did not arrive to their last byte, by whatever path they went.
func TestMissedAndUnwrittenExactly(t *testing.T) {
	seeds := uint64(100)
	if scribble.Race {
		seeds = 20
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			h := newHub(t, LogConfig{Backlog: 1 << 20})
			f := newFake(rnd.IntN(3000))
			var raw sock.Writer = f
			if seed%2 == 0 {
				raw = nil
			}
			m := h.join(t, f, raw, false)
			posted := 0
			check := func(exactly bool) {
				t.Helper()
				synctest.Wait()
				arrived := 0
				for b := f.received(); ; arrived++ {
					it, n, err := cutItem(b)
					require.NoError(t, err)
					if n == 0 {
						break
					}
					if b = b[n:]; it.kind == kindDirect {
						arrived--
					}
				}
				told := int(m.cur.Missed() + m.sink.Unwritten())
				if exactly {
					require.Equal(t, posted-arrived, told, "seed %d", seed)
				}
				// What a write has written shows when it returns.
				require.GreaterOrEqual(t, told, posted-arrived, "seed %d", seed)
			}
			for range 50 {
				for range rnd.IntN(20) {
					switch rnd.IntN(6) {
					case 0:
						h.post(m.cur, 20+rnd.IntN(1000)) // its own
					case 1:
						require.True(t, m.cur.Insert(appendFrame(nil, kindDirect, 1, 20+rnd.IntN(100)), 1<<20))
					default:
						h.post(nil, 20+rnd.IntN(1000))
						posted++
					}
				}
				check(false)
				f.take(rnd.IntN(8000))
				check(false)
			}
			if rnd.IntN(2) == 0 {
				m.sink.Close()
				check(false)
				f.take(rnd.IntN(100)) // what is in a write still
			}
			f.Close()
			check(true)
		})
	}
}
