package fanout

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// TestOwnFrameBehindTheEnd: a frame that the cursor would not get anyway is none to
// leave out, for the cursor never comes to stand behind it: its sink would look for
// something to write again and again.
func TestOwnFrameBehindTheEnd(t *testing.T) {
	for _, writes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t, LogConfig{Backlog: 32 << 10})
			f := newFake(plenty)
			m := h.join(t, f, f, false)
			if writes {
				m = h.join(t, f, nil, false) // by a writer of its own
			}
			h.post(m.cur, 100)
			h.post(nil, 100)
			synctest.Wait()
			m.cur.End()
			h.post(m.cur, 100)
			h.log.mu.Lock()
			hi, n := m.cur.ownHi, m.cur.owns
			h.log.mu.Unlock()
			require.Zero(t, hi)
			require.Zero(t, n)
			require.Zero(t, m.cur.Missed())
			<-m.sink.Finish()
			m.cur.part().queue()
			synctest.Wait()
			require.False(t, m.sink.behind())
			h.idle(t)
		})
	}
}
