package roomtest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// openLog opens the log of the room "lobby".
func openLog(t *testing.T, b tcproom.Backplane) tcproom.Log {
	t.Helper()
	l, err := b.Open(t.Context(), "lobby")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// put appends records whose ids are their data, and returns the position of the last.
func put(t *testing.T, l tcproom.Log, recs ...string) (pos uint64) {
	t.Helper()
	for _, rec := range recs {
		var err error
		pos, err = l.Append(t.Context(), rec, []byte(rec))
		require.NoError(t, err)
	}
	return pos
}

// A tailing is a Tail that runs until it fails or the test ends.
type tailing struct {
	mu  sync.Mutex
	got []string
	err <-chan error
}

func startTail(t *testing.T, l tcproom.Log, from uint64) *tailing {
	ctx, cancel := context.WithCancel(t.Context())
	tl := &tailing{}
	tl.err = later(func() error {
		return l.Tail(ctx, from, func(r tcproom.Record) error {
			tl.mu.Lock()
			defer tl.mu.Unlock()
			tl.got = append(tl.got, fmt.Sprintf("%d %s", r.Pos, r.Data))
			return nil
		})
	})
	t.Cleanup(cancel)
	return tl
}

// requireGot checks what a tail has got when nothing moves any more.
func (tl *tailing) requireGot(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	tl.mu.Lock()
	defer tl.mu.Unlock()
	require.Equal(t, want, tl.got)
}

// firstOf returns the First of a LostError, and fails for any other error.
func firstOf(t *testing.T, err error) uint64 {
	t.Helper()
	var lost *tcproom.LostError
	require.ErrorAs(t, err, &lost)
	return lost.First
}

// appending starts an append that has so long.
func appending(t *testing.T, l tcproom.Log, rec string, patience time.Duration) <-chan error {
	return later(func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := l.Append(ctx, rec, []byte(rec))
		return err
	})
}

// Nodes of one Log have one list; rooms have lists of their own.
func TestLogIsOneForAllNodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		own, a, b := openLog(t, log), openLog(t, log.Attach()), openLog(t, log.Attach())
		other, err := log.Open(t.Context(), "")
		require.NoError(t, err)
		defer other.Close()
		tail := startTail(t, b, 0)
		require.Equal(t, uint64(1), put(t, a, "one"))
		require.Equal(t, uint64(2), put(t, own, "two"))
		require.Equal(t, uint64(1), put(t, other, "elsewhere"))
		require.Equal(t, uint64(3), put(t, b, "three"))
		tail.requireGot(t, "1 one", "2 two", "3 three")
		startTail(t, a, 3).requireGot(t, "3 three")
	})
}

func TestLogCaps(t *testing.T) {
	require.Equal(t, tcproom.Caps{MaxRecord: 1 << 20, Window: 2 * time.Minute, Lease: 15 * time.Second, Durable: true},
		openLog(t, roomtest.NewLog()).Caps())
	require.Equal(t, tcproom.Caps{MaxRecord: 64 << 10, Window: 2 * time.Minute, Lease: 15 * time.Second},
		openLog(t, roomtest.NewLog(func(c *tcproom.Caps) {
			*c = tcproom.Caps{MaxRecord: 1, Age: -1, Records: -1, Lease: -1}
		})).Caps())
}

func TestLogRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := roomtest.NewLog().Attach()
		l := openLog(t, b)
		_, err := l.Append(t.Context(), "long", make([]byte, 1<<20+1))
		require.EqualError(t, err, `roomtest: the record for room "lobby" was not stored: the record has 1048577 bytes, and at most 1048576 are taken`)
		_, err = l.Append(t.Context(), "", []byte("x"))
		require.EqualError(t, err, `roomtest: the record for room "lobby" was not stored: a record needs an id`)
		gone, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("it is late"))
		_, err = l.Append(gone, "x", []byte("x"))
		require.EqualError(t, err, `roomtest: the record for room "lobby" was not stored: it is late`)
		require.ErrorContains(t, l.Save(t.Context(), 0, []byte("x")), "above 0")
		require.ErrorContains(t, l.Nodes().Renew(t.Context(), ""), "needs a name")
		require.Equal(t, uint64(0), firstOf(t, l.Tail(t.Context(), 1, nil)))
		require.NoError(t, b.Close())
		_, err = l.Append(t.Context(), "x", []byte("x"))
		require.ErrorIs(t, err, net.ErrClosed)
		require.NotErrorIs(t, err, tcproom.ErrUncertain)
		_, err = b.Open(t.Context(), "lobby")
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// An id is known for Window and no longer.
func TestLogForgetsIDs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := openLog(t, roomtest.NewLog(func(c *tcproom.Caps) { c.Window = time.Minute }))
		require.Equal(t, uint64(1), put(t, l, "x"))
		require.Equal(t, uint64(2), put(t, l, "y"))
		time.Sleep(time.Minute)
		require.Equal(t, uint64(1), put(t, l, "x"))
		time.Sleep(time.Nanosecond)
		require.Equal(t, uint64(3), put(t, l, "x"))
		require.Equal(t, uint64(3), put(t, l, "x"))
	})
}

func TestLogKeepsSoMuch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := openLog(t, roomtest.NewLog(func(c *tcproom.Caps) { c.Records, c.Age = 3, time.Minute }))
		put(t, l, "a", "b", "c", "d")
		require.Equal(t, uint64(2), firstOf(t, l.Tail(t.Context(), 1, nil)))
		startTail(t, l, 0).requireGot(t, "2 b", "3 c", "4 d")
		time.Sleep(30 * time.Second)
		put(t, l, "e")
		time.Sleep(30 * time.Second)
		startTail(t, l, 0).requireGot(t, "3 c", "4 d", "5 e")
		time.Sleep(time.Nanosecond)
		startTail(t, l, 0).requireGot(t, "5 e")
		time.Sleep(time.Minute)
		require.Equal(t, uint64(0), firstOf(t, l.Tail(t.Context(), 5, nil)))
		tail := startTail(t, l, 0)
		require.Equal(t, uint64(6), put(t, l, "f"))
		tail.requireGot(t, "6 f")
	})
}

// A delay holds up the way there and the way back. What its caller has given up arrives
// all the same, also behind what was sent later.
func TestLogDelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		far := log.Attach()
		slow, quick := openLog(t, far), openLog(t, log)
		far.Delay(time.Second)
		tail, near := startTail(t, slow, 0), startTail(t, quick, 0)
		c := startClock()
		answer := appending(t, slow, "a", time.Minute)
		time.Sleep(time.Second)
		near.requireGot(t, "1 a")
		blocked(t, answer)
		tail.requireGot(t)
		require.NoError(t, <-answer)
		c.shows(t, 2*time.Second)
		tail.requireGot(t, "1 a")

		far.Delay(time.Minute)
		err := <-appending(t, slow, "late", time.Second)
		require.ErrorIs(t, err, tcproom.ErrUncertain)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		far.Delay(0)
		put(t, slow, "b")
		near.requireGot(t, "1 a", "2 b")
		time.Sleep(time.Minute)
		near.requireGot(t, "1 a", "2 b", "3 late")
		tail.requireGot(t, "1 a", "2 b", "3 late")
	})
}

func TestLogCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		b := log.Attach()
		l, other := openLog(t, b), openLog(t, log)
		b.Delay(time.Second)
		tail := startTail(t, l, 0)
		watch := later(func() error { return b.Nodes().Watch(t.Context(), func(string, bool) {}) })
		there, back := appending(t, l, "lost", time.Hour), appending(t, l, "lost too", time.Hour)
		synctest.Wait()
		b.Cut()
		for _, answer := range []<-chan error{there, back} {
			require.ErrorIs(t, <-answer, tcproom.ErrUncertain)
		}
		require.ErrorContains(t, <-tail.err, "the connection to the log was lost")
		require.ErrorContains(t, <-watch, "the connection to the log was lost")
		require.ErrorIs(t, <-appending(t, l, "x", time.Hour), tcproom.ErrUncertain)
		require.Error(t, l.Tail(t.Context(), 0, nil))
		require.ErrorContains(t, b.Nodes().Renew(t.Context(), "n"), "lost")
		require.Error(t, l.Save(t.Context(), 1, nil))
		_, _, err := l.Load(t.Context())
		require.Error(t, err)
		_, err = b.Open(t.Context(), "lobby")
		require.Error(t, err)
		put(t, other, "a") // others have no fault
		b.Heal()
		b.Delay(0)
		time.Sleep(time.Minute)
		put(t, l, "b")
		startTail(t, l, 0).requireGot(t, "1 a", "2 b")
	})
}

// A tail does not miss that its connection was lost while its function ran.
func TestLogCutWhileTailIsBusy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := roomtest.NewLog().Attach()
		l := openLog(t, b)
		put(t, l, "a", "b")
		err := l.Tail(t.Context(), 0, func(r tcproom.Record) error {
			require.Equal(t, uint64(1), r.Pos)
			b.Cut()
			b.Heal()
			return nil
		})
		require.ErrorContains(t, err, "lost")
	})
}

func TestLogStall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		b := log.Attach()
		l, other := openLog(t, b), openLog(t, log)
		tail := startTail(t, l, 0)
		synctest.Wait()
		b.Stall()
		put(t, other, "a")
		patient := appending(t, l, "b", time.Hour)
		synctest.Wait()
		require.ErrorIs(t, <-appending(t, l, "c", time.Second), tcproom.ErrUncertain)
		renewed := later(func() error { return b.Nodes().Renew(t.Context(), "n") })
		opened := later(func() error { _, err := b.Open(t.Context(), "lobby"); return err })
		blocked(t, patient)
		blocked(t, renewed)
		blocked(t, opened)
		tail.requireGot(t)
		b.Heal()
		for _, ch := range []<-chan error{patient, renewed, opened} {
			require.NoError(t, <-ch)
		}
		tail.requireGot(t, "1 a", "2 b", "3 c")

		b.Stall()
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-tail.err, net.ErrClosed)
	})
}

// A part of the engine that is cut off shows what it had, and takes nothing.
func TestLogStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		b := log.Attach()
		l, other := openLog(t, b), openLog(t, log)
		put(t, l, "a", "b")
		require.NoError(t, l.Save(t.Context(), 1, []byte("old")))
		require.NoError(t, log.Nodes().Renew(t.Context(), "n"))
		running := startTail(t, l, 0)
		synctest.Wait()
		b.Stale()
		put(t, other, "c")
		log.Trim("lobby", 1)
		require.NoError(t, other.Save(t.Context(), 3, []byte("new")))
		require.NoError(t, log.Nodes().Release(t.Context(), "n"))

		fresh := startTail(t, l, 1)
		fresh.requireGot(t, "1 a", "2 b")
		running.requireGot(t, "1 a", "2 b")
		err := l.Tail(t.Context(), 3, nil)
		require.ErrorContains(t, err, "may be out of date")
		require.False(t, errors.As(err, new(*tcproom.LostError)), "a verdict: %v", err)
		at, state, err := l.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, uint64(1), at)
		require.Equal(t, "old", string(state))
		alive, err := b.Nodes().Alive(t.Context(), "n")
		require.NoError(t, err)
		require.True(t, alive)
		hangs := appending(t, l, "no", time.Hour)
		require.ErrorIs(t, <-appending(t, l, "neither", time.Second), tcproom.ErrUncertain)
		blocked(t, hangs)
		renewed := later(func() error { return b.Nodes().Renew(t.Context(), "n") })
		blocked(t, renewed)

		c := startClock()
		b.Heal()
		require.ErrorIs(t, <-hangs, tcproom.ErrUncertain)
		require.NoError(t, <-renewed)
		c.shows(t, 0)
		running.requireGot(t, "1 a", "2 b", "3 c")
		startTail(t, other, 0).requireGot(t, "2 b", "3 c")
	})
}

func TestLogUncertain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := roomtest.NewLog().Attach()
		l := openLog(t, b)
		b.Uncertain(roomtest.NotStored)
		b.Uncertain(roomtest.Stored)
		require.ErrorIs(t, <-appending(t, l, "a", time.Hour), tcproom.ErrUncertain)
		require.ErrorIs(t, <-appending(t, l, "b", time.Hour), tcproom.ErrUncertain)
		require.Equal(t, uint64(1), put(t, l, "b"))
		require.Equal(t, uint64(2), put(t, l, "a"))
	})
}

func TestLogTrim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		b := log.Attach()
		l, slow := openLog(t, log), openLog(t, b)
		b.Delay(time.Minute)
		quick, lags := startTail(t, l, 0), startTail(t, slow, 0)
		put(t, l, "a", "b", "c")
		quick.requireGot(t, "1 a", "2 b", "3 c")
		log.Trim("lobby", 2)
		log.Trim("nowhere", 2)
		require.Equal(t, uint64(3), firstOf(t, <-lags.err))
		require.Equal(t, uint64(3), firstOf(t, l.Tail(t.Context(), 2, nil)))
		require.Equal(t, uint64(3), firstOf(t, l.Tail(t.Context(), 4, nil)))
		require.Equal(t, uint64(2), put(t, l, "b"), "ids stay")
		log.Trim("lobby", 9)
		require.Equal(t, uint64(0), firstOf(t, l.Tail(t.Context(), 3, nil)))
		put(t, l, "d")
		quick.requireGot(t, "1 a", "2 b", "3 c", "4 d")
	})
}

// The older of two states counts while the record at its position is there.
func TestLogSaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		l := openLog(t, log)
		put(t, l, "a", "b", "c")
		load := func() string {
			at, state, err := l.Load(t.Context())
			require.NoError(t, err)
			return fmt.Sprint(at, " ", string(state))
		}
		save := func(at uint64, state string) { require.NoError(t, l.Save(t.Context(), at, []byte(state))) }
		require.Equal(t, "0 ", load())
		save(1, "one")
		save(2, "two")
		require.Equal(t, "1 one", load())
		save(3, "three")
		save(3, "three again") // of another node
		require.Equal(t, "2 two", load())
		log.Trim("lobby", 2)
		require.Equal(t, "3 three again", load())
		log.Replace("lobby")
		require.Equal(t, "3 three again", load())
	})
}

func TestLogReplace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		l := openLog(t, log)
		tail := startTail(t, l, 0)
		put(t, l, "a", "b")
		synctest.Wait()
		log.Replace("lobby")
		put(t, l, "x", "y", "b")
		require.ErrorContains(t, <-tail.err, "tail it anew")
		tail.requireGot(t, "1 a", "2 b")
		startTail(t, l, 2).requireGot(t, "2 y", "3 b")
	})
}

func TestLogRollback(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		l := openLog(t, log)
		put(t, l, "a", "b", "c")
		tail := startTail(t, l, 0)
		synctest.Wait()
		log.Rollback("lobby", 2)
		require.ErrorContains(t, <-tail.err, "tail it anew")
		require.Equal(t, uint64(1), put(t, l, "a"))
		require.Equal(t, uint64(2), put(t, l, "b"))
		require.Equal(t, uint64(3), put(t, l, "c"))
		startTail(t, l, 0).requireGot(t, "1 a", "2 b", "3 c")
		log.Rollback("lobby", 9)
		require.Equal(t, uint64(1), put(t, l, "a"))
	})
}

func TestLogStop(t *testing.T) {
	for _, durable := range []bool{true, false} {
		t.Run(fmt.Sprint("durable ", durable), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				log := roomtest.NewLog(func(c *tcproom.Caps) { c.Durable = durable })
				l := openLog(t, log.Attach())
				put(t, l, "a", "b")
				require.NoError(t, l.Save(t.Context(), 1, []byte("s")))
				require.NoError(t, log.Nodes().Renew(t.Context(), "n"))
				tail := startTail(t, l, 0)
				synctest.Wait()
				log.Stop()
				log.Stop()
				require.Error(t, <-tail.err)
				require.ErrorIs(t, <-appending(t, l, "x", time.Hour), tcproom.ErrUncertain)
				require.ErrorContains(t, log.Nodes().Renew(t.Context(), "n"), "has stopped")
				log.Start()
				alive, err := log.Nodes().Alive(t.Context(), "n")
				require.NoError(t, err)
				require.Equal(t, durable, alive)
				at, _, err := l.Load(t.Context())
				require.NoError(t, err)
				if durable {
					require.Equal(t, uint64(1), at)
					require.Equal(t, uint64(3), put(t, l, "c"))
					startTail(t, l, 0).requireGot(t, "1 a", "2 b", "3 c")
				} else {
					require.Zero(t, at)
					require.Equal(t, uint64(1), put(t, l, "a"))
					startTail(t, l, 0).requireGot(t, "1 a")
				}
			})
		})
	}
}

func TestLogLeases(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		a, b := log.Attach(), log.Attach()
		c := startClock()
		var mu sync.Mutex
		var seen []string
		watch := later(func() error {
			return b.Nodes().Watch(t.Context(), func(node string, alive bool) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, fmt.Sprint(time.Since(c.start), " ", node, " ", alive))
			})
		})
		renew := func(node string) { require.NoError(t, a.Nodes().Renew(t.Context(), node)) }
		requireSeen := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, want, seen)
			seen = nil
		}
		synctest.Wait()
		renew("x")
		renew("y")
		requireSeen("0s x true", "0s y true")
		time.Sleep(10 * time.Second)
		renew("x")
		requireSeen()
		time.Sleep(10 * time.Second)
		require.NoError(t, a.Nodes().Release(t.Context(), "x"))
		require.NoError(t, a.Nodes().Release(t.Context(), "x"))
		requireSeen("15s y false", "20s x false")
		renew("x")
		requireSeen("20s x true")
		a.Cut()
		require.Error(t, a.Nodes().Renew(t.Context(), "x"))
		time.Sleep(15 * time.Second)
		requireSeen("35s x false")
		b.Close()
		require.ErrorIs(t, <-watch, net.ErrClosed)
	})
}

// What Tail lends is overwritten, and what is appended is not kept: see "Bodies on loan".
func TestLogLends(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := openLog(t, roomtest.NewLog())
		rec := []byte("mine")
		_, err := l.Append(t.Context(), "x", rec)
		require.NoError(t, err)
		copy(rec, "XXXX")
		ctx, cancel := context.WithCancelCause(t.Context())
		var keeps []byte
		enough := errors.New("enough")
		err = l.Tail(ctx, 0, func(r tcproom.Record) error {
			require.Equal(t, "mine", string(r.Data))
			keeps = r.Data
			cancel(enough)
			return nil
		})
		require.ErrorIs(t, err, enough)
		require.NotEqual(t, "mine", string(keeps))
		require.True(t, strings.HasPrefix(string(keeps), "\xff"))
		startTail(t, l, 0).requireGot(t, "1 mine")
	})
}

// The time of a record is the engine's, whose clock may be set.
func TestLogTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog(func(c *tcproom.Caps) { c.Age = time.Hour })
		l := openLog(t, log)
		require.Empty(t, log.Records("lobby"))
		require.Empty(t, log.Records("nowhere"))
		put(t, l, "a")
		log.Skew(-time.Minute)
		put(t, l, "b")
		recs := log.Records("lobby")
		require.Len(t, recs, 2)
		require.Equal(t, -time.Minute, recs[1].Time.Sub(recs[0].Time))
		require.Equal(t, tcproom.Record{Pos: 2, Time: recs[1].Time, Data: []byte("b")}, recs[1])
		i := 0
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, l.Tail(ctx, 0, func(r tcproom.Record) error {
			require.Equal(t, recs[i].Time, r.Time)
			if i++; i == len(recs) {
				cancel()
			}
			return nil
		}), context.Canceled)
		time.Sleep(time.Hour + 1)
		require.Empty(t, log.Records("lobby"))
	})
}

// A watch learns of nothing while its connection stalls, and of all of it later.
func TestLogWatchStalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := roomtest.NewLog()
		b := log.Attach()
		told := make(chan string, 2)
		go b.Nodes().Watch(t.Context(), func(node string, alive bool) { told <- fmt.Sprint(node, " ", alive) })
		synctest.Wait()
		b.Stall()
		require.NoError(t, log.Nodes().Renew(t.Context(), "n"))
		require.NoError(t, log.Nodes().Release(t.Context(), "n"))
		blocked(t, told)
		b.Heal()
		require.Equal(t, "n true", <-told)
		require.Equal(t, "n false", <-told)
	})
}
