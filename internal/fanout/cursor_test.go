package fanout

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestSkipContinuesAfterOneGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1000
		h := newHub(t, LogConfig{Backlog: 32 << 10})
		f := newFake(5*size + 1)
		m := h.join(t, f, f, true)
		for range 5 {
			h.post(nil, size)
			synctest.Wait()
		}
		h.post(nil, size) // is begun
		synctest.Wait()
		require.True(t, m.cur.Insert(appendFrame(nil, kindDirect, 1, 20), 1000))
		for range 100 {
			h.post(nil, size)
		}
		require.True(t, m.cur.Insert(appendFrame(nil, kindDirect, 2, 20), 1000))
		for range 100 { // the hole grows while it stalls
			h.post(nil, size)
		}
		require.Empty(t, h.lost())
		f.take(plenty)
		synctest.Wait()
		h.post(nil, size)
		synctest.Wait()
		got := items(t, f.received())
		require.Equal(t, []string{"m1", "m2", "m3", "m4", "m5", "m6"}, names(got[:6]))
		require.Equal(t, "d1", got[6].String(), "it stands before the hole")
		rest := got[7:]
		require.Equal(t, byte(kindGap), rest[0].kind)
		require.Equal(t, uint64(7), rest[0].num)
		hole := rest[0].to - rest[0].num + 1
		require.Equal(t, []string{"d2"}, names(rest[1:2]), "inserts are not skipped")
		next := rest[0].to
		for _, it := range rest[2:] {
			next++
			require.Equal(t, next, it.num)
		}
		require.Equal(t, uint64(207), next)
		require.Equal(t, hole, h.group.Traffic().Skipped)
		require.Zero(t, m.cur.Missed())
		h.idle(t)
	})
}

func TestInsertsStandWhereTheHeadWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f := newFake(10)
		m := h.join(t, f, f, false)
		h.post(nil, 100)
		synctest.Wait()
		h.post(nil, 100)
		require.True(t, m.cur.Insert(appendFrame(nil, kindDirect, 1, 20), 30))
		require.False(t, m.cur.Insert(appendFrame(nil, kindDirect, 9, 20), 30), "beyond the limit")
		h.post(nil, 100)
		require.True(t, m.cur.Insert(appendFrame(nil, kindDirect, 2, 20), 40))
		m.cur.End()
		h.post(nil, 100)
		require.True(t, m.cur.Insert(appendFrame(nil, kindDirect, 3, 20), 60), "the goodbye")
		require.Equal(t, uint64(2), m.cur.Missed())
		f.take(plenty)
		synctest.Wait()
		require.Equal(t, []string{"m1", "m2", "d1", "m3", "d2", "d3"}, names(items(t, f.received())))
		require.True(t, m.cur.Insert(appendFrame(nil, kindDirect, 4, 20), 20))
		h.idle(t)
		require.Len(t, items(t, f.received()), 7)
	})
}

// An insert of nothing is no reason to visit every member.
func TestInsertOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f := newFake(plenty)
		m := h.join(t, f, f, false)
		h.post(nil, 100)
		synctest.Wait()
		m.sink.token.Store(true) // nobody visits it
		require.True(t, m.cur.Insert(nil, 0))
		require.False(t, m.sink.special.Load())
		m.sink.token.Store(false)
		h.idle(t)
	})
}

// TestInsertLatest: what there is no room for waits in one place, where the last of it
// was put.
func TestInsertLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f := newFake(10)
		m := h.join(t, f, f, false)
		direct := func(num uint64) []byte { return appendFrame(nil, kindDirect, num, 20) }
		h.post(nil, 100)
		synctest.Wait()
		require.True(t, m.cur.InsertLatest(direct(1), 30))
		require.True(t, m.cur.InsertLatest(direct(2), 30), "it is put behind the limit")
		h.post(nil, 100)
		require.True(t, m.cur.InsertLatest(direct(3), 30), "in the place of the last")
		require.True(t, m.cur.Insert(direct(4), 60))
		h.post(nil, 100)
		require.True(t, m.cur.InsertLatest(direct(5), 30))
		require.True(t, m.cur.Insert(direct(6), 80))
		require.False(t, m.cur.Insert(direct(7), 80))
		f.take(plenty)
		h.idle(t)
		require.Equal(t, []string{"m1", "d1", "m2", "d4", "m3", "d5", "d6"}, names(items(t, f.received())))
		require.True(t, m.cur.InsertLatest(direct(8), 20))
		require.False(t, m.cur.Insert(direct(9), 0))
		h.idle(t)
		m.sink.Close()
		require.False(t, m.cur.InsertLatest(direct(10), 20))
	})
}

// A cursor that has ended needs nothing of the log, and is not lost with it.
func TestEndedCursorIsNotOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 32 << 10, Block: true})
		f := newFake(10)
		m := h.join(t, f, f, false)
		h.post(nil, 100)
		synctest.Wait()
		m.cur.End()
		require.True(t, m.cur.Insert(appendFrame(nil, kindDirect, 1, 20), 100))
		for range 200 {
			h.post(nil, 1000)
		}
		require.Empty(t, h.lost())
		require.Zero(t, m.cur.Missed())
		f.take(plenty)
		<-m.sink.Finish()
		require.Equal(t, []string{"m1", "d1"}, names(items(t, f.received())))
		h.idle(t)
	})
}

func TestOneSinkWithCursorsInTwoLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHub(t, LogConfig{Backlog: 256 << 10})
		b := a.group.hub(LogConfig{Backlog: 256 << 10}, kindLog+1)
		f, other := newFake(30000), newFake(plenty)
		m := a.join(t, f, f, false)
		mb := &member{sink: m.sink}
		mb.cur = b.log.Attach(m.sink, false)
		a.join(t, other, other, false)
		for i := range 60 {
			a.post(nil, 20000) // each of them more than a share
			b.post(nil, 100+i)
			if i%10 == 9 {
				f.take(250000)
				synctest.Wait()
			}
		}
		f.take(plenty)
		<-m.sink.Finish()
		var na, nb uint64
		for _, it := range items(t, f.received()) {
			if it.kind == a.kind {
				na++
				require.Equal(t, na, it.num)
			} else {
				nb++
				require.Equal(t, nb, it.num)
			}
			if na < 60 {
				require.LessOrEqual(t, na, nb+3, "one log must not starve the other")
			}
		}
		require.Equal(t, uint64(60), na)
		require.Equal(t, uint64(60), nb)
		a.idle(t)
		b.idle(t)
	})
}

// While one of a sink's cursors is behind a stalled connection, the other
// waits as well, and must not hold its log back.
func TestCursorsOfOneSinkWaitTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHub(t, LogConfig{Backlog: 64 << 10})
		b := a.group.hub(LogConfig{Backlog: 64 << 10}, kindLog+1)
		f := newFake(10)
		m := a.join(t, f, f, true)
		b.log.Attach(m.sink, true)
		for range 30 {
			b.post(nil, 1000)
			synctest.Wait()
		}
		f.take(1) // the first frame's rest and what comes next are on their way
		synctest.Wait()
		for range 500 {
			require.NotEqual(t, Unserved, postOnce(a))
			require.NotEqual(t, Unserved, postOnce(b))
		}
	})
}

func postOnce(h *hub) Verdict {
	v := h.try(nil, 1000, false, false)
	synctest.Wait()
	return v
}
