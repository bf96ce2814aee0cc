package fanout

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom/internal/sock"
	"github.com/stretchr/testify/require"
)

func TestE4DeadlineIsClearedWithTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, direct := range map[string]bool{"direct": true, "portable": false} {
			h := newHub(t, LogConfig{Backlog: 64 << 10})
			f := newFake(10)
			var raw sock.Writer
			if direct {
				raw = f
			}
			m := h.join(t, f, raw, false)
			h.post(nil, 100)
			synctest.Wait()
			require.Equal(t, time.Now().Add(time.Minute), f.writeDeadline(), name)
			require.True(t, m.sink.token.Load(), name)
			f.take(plenty)
			synctest.Wait()
			require.False(t, m.sink.token.Load(), name)
			require.Zero(t, f.writeDeadline(), name)
			time.Sleep(2 * time.Minute)
			h.post(nil, 100)
			synctest.Wait()
			require.Len(t, items(t, f.received()), 2, name)
			require.NoError(t, m.sink.Err(), name)
		}
	})
}

func (f *fake) writeDeadline() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deadline
}

func TestE4WriteTimeoutOnPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		here, there := net.Pipe()
		defer there.Close()
		m := h.join(t, here, nil, false)
		h.post(nil, 100)
		began := time.Now()
		require.Equal(t, ErrWriteTimeout, <-m.failed)
		require.Equal(t, time.Minute, time.Since(began))
		require.Equal(t, ErrWriteTimeout, m.sink.Err())
		h.idle(t)
	})
}

// frozenWriter is written to by a process that does not run for an hour when
// a deadline has come.
type frozenWriter struct {
	net.Conn
	done bool
}

func (w *frozenWriter) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) && !w.done {
		w.done = true
		time.Sleep(time.Hour)
	}
	return n, err
}

func (w *frozenWriter) TryWrite(*sock.Op, []byte) (n int, again bool, err error) { return 0, true, nil }

// TestE4WriteTimeoutOfFrozenProcess: what came to be free while this process
// did not run is taken, and a peer that takes nothing then ends.
func TestE4WriteTimeoutOfFrozenProcess(t *testing.T) {
	for _, reads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t, LogConfig{Backlog: 64 << 10})
			here, there := net.Pipe()
			defer there.Close()
			w := &frozenWriter{Conn: here}
			m := h.join(t, w, w, false)
			h.post(nil, 100)
			began := time.Now()
			if reads {
				time.Sleep(30 * time.Minute)
				_, err := io.ReadFull(there, make([]byte, 100))
				require.NoError(t, err)
				h.idle(t)
				require.NoError(t, m.sink.Err())
				return
			}
			require.Equal(t, ErrWriteTimeout, <-m.failed)
			require.Equal(t, time.Hour+2*time.Minute, time.Since(began))
			h.idle(t)
		})
	}
}

func TestE4WriteTimeoutOnSockets(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 20})
	join := func(nc net.Conn, timeout time.Duration) *member {
		m := h.member()
		m.sink = h.group.NewSink(nc, m, timeout)
		t.Cleanup(func() { nc.Close(); m.sink.Close() })
		h.mu.Lock()
		defer h.mu.Unlock()
		m.cur = h.log.Attach(m.sink, false)
		return m
	}
	here, there := tcpPair(t)
	require.NoError(t, here.SetWriteBuffer(8<<10))
	require.NoError(t, there.SetReadBuffer(8<<10))
	stuck := join(here, time.Second)
	var trickling *member
	var peer net.Conn
	if sock.Direct { // other transports may lose their place with a timeout
		here, there := unixPair(t)
		require.NoError(t, here.SetWriteBuffer(64<<10))
		trickling, peer = join(here, 3*time.Second), there // a busy machine may not run its reader for a second
	}
	for range 30 {
		h.post(nil, 400<<10) // takes several timeouts to get through
	}
	if !sock.Direct {
		require.Equal(t, ErrWriteTimeout, <-stuck.failed)
		return
	}
	// It reads a little and much too slowly to keep up, but within the timeout.
	b := make([]byte, 48<<10)
	require.NoError(t, peer.SetReadDeadline(time.Now().Add(time.Minute))) // nobody closes it
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 40 { // for longer than the timeout
		_, err := io.ReadFull(peer, b)
		require.NoError(t, err)
		<-tick.C
	}
	require.Equal(t, ErrWriteTimeout, <-stuck.failed)
	require.NoError(t, trickling.sink.Err())
	require.True(t, trickling.sink.Waiting())
	require.Equal(t, ErrWriteTimeout, <-trickling.failed, "it stopped reading")
}

// unixPair returns both ends of a unix stream connection.
func unixPair(t testing.TB) (here, there *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(); s.Close() })
	return s.(*net.UnixConn), c.(*net.UnixConn)
}

func TestNoWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		here, there := net.Pipe()
		m := h.member()
		m.sink = h.group.NewSink(here, m, 0)
		h.log.Attach(m.sink, false)
		h.post(nil, 100)
		time.Sleep(time.Hour)
		require.NoError(t, m.sink.Err())
		there.Close()
		require.Equal(t, io.ErrClosedPipe, <-m.failed)
		m.sink.Close()
	})
}

// drainer is a direct path whose peer reads everything between the system
// call that would block and whatever follows it.
type drainer struct {
	sock.Writer
	drain func()
}

func (d drainer) TryWrite(o *sock.Op, b []byte) (n int, again bool, err error) {
	n, again, err = d.Writer.TryWrite(o, b)
	if again || n < len(b) {
		d.drain()
	}
	return n, again, err
}

func TestE3PeerDrainsBeforeTheWait(t *testing.T) {
	if !sock.Direct {
		t.Skip("a rule of the direct path")
	}
	for range 20 {
		here, there := tcpPair(t)
		require.NoError(t, here.SetWriteBuffer(8<<10))
		h := newHub(t, LogConfig{Backlog: 64 << 20})
		var got []byte
		b := make([]byte, 1<<20)
		drains := 0
		raw := drainer{sock.NewWriter(here), func() {
			drains++
			unsent := 1
			for unsent > 0 { // the kernel's buffers are empty after this
				there.SetReadDeadline(time.Now().Add(time.Millisecond))
				n, err := there.Read(b)
				if got = append(got, b[:n]...); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				unsent, _ = sock.Unsent(here)
			}
		}}
		m := h.join(t, here, raw, false)
		for range 20 {
			h.post(nil, 60<<10)
			h.quiet() // the writer is done: it was woken, or had not to wait
		}
		require.NotZero(t, drains)
		require.NoError(t, m.sink.Err())
		<-m.sink.Finish()
		here.CloseWrite()
		there.SetReadDeadline(time.Time{})
		rest, err := io.ReadAll(there)
		require.NoError(t, err)
		require.Len(t, items(t, append(got, rest...)), 20)
	}
}

func TestE6OneWriteOfLimitedSizePerVisit(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 4 << 20})
	busy, quick := newFake(plenty), newFake(plenty)
	held, letGo := busy.hold()
	h.join(t, busy, busy, false)
	h.join(t, quick, quick, false)
	h.post(nil, 100)
	<-held
	for range 1000 {
		h.post(nil, 900)
	}
	h.post(nil, 200<<10)
	letGo()
	h.quiet()
	want := items(t, busy.received())
	require.Len(t, want, 1002)
	require.Equal(t, want, items(t, quick.received()))
	for _, f := range []*fake{busy, quick} {
		for _, n := range f.writes[:len(f.writes)-1] {
			require.LessOrEqual(t, n, maxWrite)
		}
		require.LessOrEqual(t, len(f.writes), 4+900*1000/50000, "writes must be large")
		require.Equal(t, 200<<10, f.writes[len(f.writes)-1], "a frame larger than the limit goes alone")
	}
}

func TestE6VisitsAreFair(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 4 << 20})
	a, b := newFake(plenty), newFake(plenty)
	h.join(t, a, a, false)
	h.join(t, b, b, false)
	held, letGo := a.hold()
	h.post(nil, 100)
	<-held
	for range 2000 {
		h.post(nil, 900)
	}
	for range 5 {
		next, letNextGo := b.hold() // before the flusher can be done with all
		letGo()
		<-next
		a.mu.Lock()
		ahead := len(a.got)
		a.mu.Unlock()
		require.LessOrEqual(t, ahead-len(b.received()), 2*maxWrite, "a sink got more than one write while another waited")
		letGo = letNextGo
	}
	letGo()
	h.quiet()
	require.Equal(t, a.received(), b.received())
}

func TestE6OwnFramesAreSkippedAndRunsGathered(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 4 << 20})
	f, g := newFake(plenty), newFake(plenty)
	m := h.join(t, f, f, false)
	h.join(t, g, g, false)
	held, letGo := f.hold()
	h.post(nil, 100)
	<-held
	for i := range 500 {
		owner := m.cur
		if i%2 == 1 {
			owner = nil
		}
		h.post(owner, 40)
	}
	letGo()
	h.quiet()
	got := items(t, f.received())
	require.Len(t, got, 251)
	for i, it := range got[1:] {
		require.Equal(t, uint64(2*i+3), it.num)
	}
	require.Len(t, items(t, g.received()), 501)
	require.LessOrEqual(t, f.direct, 4, "runs between own frames must be gathered")
	h.idle(t)
	h.post(nil, 40)
	h.post(m.cur, 40)
	h.idle(t)
	require.Len(t, items(t, f.received()), 252)
}

func TestPortableStalledSinkCountsAsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f, g := newFake(0), newFake(plenty)
		m := h.join(t, f, nil, false)
		h.join(t, g, g, false)
		began := time.Now()
		for range 1000 {
			h.post(nil, 1000)
		}
		require.Less(t, time.Since(began), 3*patience, "it must not hold senders back for longer")
		require.GreaterOrEqual(t, time.Since(began), patience, "it must be given that long")
		requireSinks(t, h.lost(), m.sink)
		synctest.Wait()
		require.Len(t, items(t, g.received()), 1000)
	})
}

func TestPortableSlowSinkIsNotOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f := newFake(0)
		m := h.join(t, f, nil, false)
		stop := make(chan struct{})
		go func() { // takes all there is, but only now and then
			for {
				select {
				case <-stop:
					return
				case <-time.After(patience / 2):
					f.take(2 * maxFill)
				}
			}
		}()
		for range 400 {
			h.post(nil, 1000)
		}
		<-m.sink.Finish()
		close(stop)
		require.Empty(t, h.lost())
		require.Len(t, items(t, f.received()), 400)
	})
}

// A paced is a transport without a direct path each of whose writes takes as long.
type paced struct {
	*fake
	each time.Duration
}

func (p paced) Write(b []byte) (int, error) {
	time.Sleep(p.each)
	return p.fake.Write(b)
}

// A transport that takes piece after piece, each in less than the patience,
// holds senders up no longer than it takes to find out. It is overrun then.
func TestPortableDraggingSinkCountsAsWaiting(t *testing.T) {
	for _, each := range []time.Duration{patience - 1, 2 * dragging} {
		for _, skip := range []bool{false, true} {
			t.Run(fmt.Sprint(each, " skip=", skip), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHub(t, LogConfig{Backlog: 1 << 20})
					slow, g := paced{newFake(plenty), each}, newFake(plenty)
					m := h.join(t, slow, nil, skip)
					h.join(t, g, g, false)
					began := time.Now()
					for range 20000 {
						h.post(nil, 1000)
					}
					require.Less(t, time.Since(began), dragWindow+3*patience, "it must not hold senders back for longer")
					require.GreaterOrEqual(t, time.Since(began), dragWindow, "it must be given that long")
					synctest.Wait()
					require.Len(t, items(t, g.received()), 20000)
					if !skip {
						requireSinks(t, h.lost(), m.sink)
						return
					}
					require.Empty(t, h.lost())
					for !caughtUp(m) {
						time.Sleep(time.Second)
					}
					require.False(t, m.cur.parked.Load(), "it has caught up")
					require.False(t, m.sink.drags.Load())
					h.idleButResting(t)
				})
			})
		}
	}
}

// A transport that is busy all the time, because the room's own work on its
// bytes is, does hold senders back and is not overrun.
func TestPortableBusySinkIsNotOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		busy := paced{newFake(plenty), dragging / 4}
		m := h.join(t, busy, nil, false)
		began := time.Now()
		for range 20000 {
			h.post(nil, 1000)
		}
		require.Greater(t, time.Since(began), 4*dragWindow)
		<-m.sink.Finish()
		require.Empty(t, h.lost())
		require.Len(t, items(t, busy.received()), 20000)
	})
}

// A flusher that finds a write slow, and parks the cursor only when the writer
// has caught up and gone, must not leave it parked.
func TestPortableSinkIsNotParkedBehindItsWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f := newFake(0)
		m := h.join(t, f, nil, false)
		h.post(nil, 100)
		synctest.Wait()
		began := m.sink.began.Load()
		require.NotZero(t, began)
		f.take(plenty)
		synctest.Wait()
		m.cur.parkStalled(began)
		require.False(t, m.cur.parked.Load())
		h.idleButResting(t)
	})
}

// idleButResting is idle for a fan with writers that rest.
func (h *hub) idleButResting(t testing.TB) {
	synctest.Wait()
	charge, memory := h.log.Size()
	require.Zero(t, charge)
	require.Zero(t, memory)
}

func TestPortableWriterRestsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f := newFake(plenty)
		m := h.join(t, f, nil, false)
		began := time.Now()
		h.post(nil, 100)
		h.idleButResting(t)
		require.False(t, m.sink.Waiting())
		time.Sleep(writerRest / 2)
		h.post(nil, 100)
		h.quiet()
		require.Equal(t, writerRest*3/2, time.Since(began))
		h.idle(t)
		h.post(nil, 100)
		synctest.Wait()
		m.sink.Close() // does not wait for the rest
		began = time.Now()
		h.quiet()
		require.Zero(t, time.Since(began))
		require.Len(t, items(t, f.received()), 3)
	})
}

// TestWaitBesideTheEnd: who waits for a sink before its end is noted returns, also if
// the writer rests by then. Two calls of Close may come to that.
func TestWaitBesideTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f := newFake(0)
		m := h.join(t, f, nil, false)
		h.post(nil, 100)
		synctest.Wait()
		require.True(t, m.sink.Waiting(), "the writer is in the connection")
		waited := make(chan struct{})
		go func() {
			m.sink.Wait()
			close(waited)
		}()
		synctest.Wait()
		f.take(plenty)
		synctest.Wait()
		require.False(t, m.sink.Waiting(), "it rests")
		m.sink.Close()
		synctest.Wait()
		select {
		case <-waited:
		default:
			t.Error("Wait has not returned")
		}
		h.quiet()
	})
}

// TestFinish calls Finish in several states of a sink, whose connection takes nothing
// at first.
func TestFinish(t *testing.T) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, h *hub, f *fake, raw sock.Writer)
	}{
		{name: "when all is written", test: finishWhenAllIsWritten},
		{name: "without cursors", test: finishWithoutCursors},
		{name: "with nothing at all", test: finishWithNothing},
		{name: "before a late cursor", test: finishBeforeALateCursor},
		{name: "after an overrun", test: finishAfterAnOverrun},
		{name: "on failure", test: finishOnFailure},
		{name: "on close", test: finishOnClose},
	} {
		for _, portable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, portable=%v", tt.name, portable), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake(0)
					var raw sock.Writer
					if !portable {
						raw = f
					}
					tt.test(t, newHub(t, LogConfig{Backlog: 64 << 10}), f, raw)
				})
			})
		}
	}
}

// isOpen reports whether ch is open when everybody in the bubble waits.
func isOpen(ch <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-ch:
		return false
	default:
		return true
	}
}

func finishWhenAllIsWritten(t *testing.T, h *hub, f *fake, raw sock.Writer) {
	m := h.join(t, f, raw, false)
	h.post(nil, 100)
	m.sink.Queue(appendFrame(nil, kindDirect, 1, 30), 100)
	done := m.sink.Finish()
	require.Equal(t, done, m.sink.Finish())
	require.False(t, m.sink.Queue([]byte("no"), 100))
	h.post(nil, 100)
	require.True(t, isOpen(done))
	f.take(129)
	require.True(t, isOpen(done))
	f.take(1)
	require.False(t, isOpen(done))
	f.take(plenty)
	h.post(nil, 100)
	synctest.Wait()
	require.Len(t, f.received(), 130, "nothing comes after the end")
	h.idle(t)
}

func finishWithoutCursors(t *testing.T, h *hub, f *fake, raw sock.Writer) {
	m := h.member()
	m.sink = h.group.newSink(f, raw, m, time.Minute)
	m.sink.Queue([]byte("bye"), 100)
	done := m.sink.Finish()
	require.True(t, isOpen(done))
	f.take(3)
	require.False(t, isOpen(done))
	late := h.log.Attach(m.sink, false)
	h.post(nil, 100)
	h.idle(t)
	require.Zero(t, late.Missed())
	require.Equal(t, "bye", string(f.received()))
	m.sink.Close()
}

func finishWithNothing(t *testing.T, h *hub, f *fake, raw sock.Writer) {
	m := h.join(t, f, raw, false)
	require.False(t, isOpen(m.sink.Finish()))
	h.idle(t)
}

func finishBeforeALateCursor(t *testing.T, h *hub, f *fake, raw sock.Writer) {
	m := h.member()
	m.sink = h.group.newSink(f, raw, m, time.Minute)
	m.sink.Queue([]byte("bye"), 100)
	done := m.sink.Finish()
	h.log.Attach(m.sink, false)
	h.post(nil, 100)
	require.True(t, isOpen(done))
	f.take(plenty)
	require.False(t, isOpen(done))
	h.idle(t)
	require.Equal(t, "bye", string(f.received()))
	m.sink.Close()
}

func finishAfterAnOverrun(t *testing.T, h *hub, f *fake, raw sock.Writer) {
	m := h.join(t, f, raw, false)
	for range 100 {
		h.post(nil, 1000)
	}
	done := m.sink.Finish()
	for range 100 {
		h.post(nil, 1000)
	}
	requireSinks(t, h.lost(), m.sink)
	f.take(plenty)
	require.False(t, isOpen(done))
	require.Equal(t, ErrOverrun, m.sink.Err())
	h.idle(t)
	require.NotZero(t, m.cur.Missed())
	require.Equal(t, ErrOverrun, <-m.failed)
}

func finishOnFailure(t *testing.T, h *hub, f *fake, raw sock.Writer) {
	m := h.join(t, f, raw, false)
	h.post(nil, 100)
	done := m.sink.Finish()
	require.True(t, isOpen(done))
	f.Close()
	require.False(t, isOpen(done))
	require.Equal(t, net.ErrClosed, <-m.failed)
	require.False(t, isOpen(m.sink.Finish()))
	h.idle(t)
}

func finishOnClose(t *testing.T, h *hub, f *fake, raw sock.Writer) {
	m := h.join(t, f, raw, false)
	h.post(nil, 100)
	done := m.sink.Finish()
	m.sink.Close()
	require.False(t, isOpen(done))
	require.Equal(t, ErrClosed, m.sink.Err())
	f.Close()
	h.idle(t)
}

func TestSinkFailedIsCalledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		h := newHub(t, LogConfig{Backlog: 64 << 10})
		f, g := newFake(plenty), newFake(plenty)
		f.err = broken
		m := h.join(t, f, f, false)
		h.join(t, g, g, false)
		for range 10 {
			h.post(nil, 100)
			synctest.Wait()
		}
		require.Equal(t, broken, <-m.failed)
		require.Equal(t, broken, m.sink.Err())
		require.Empty(t, m.failed)
		require.Equal(t, 1, f.direct)
		require.False(t, m.sink.Queue([]byte("x"), 10))
		require.False(t, m.cur.Insert([]byte("x"), 10))
		require.Len(t, items(t, g.received()), 10)
	})
}

func TestSinkClosedIsForgotten(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 10})
	f, g := newFake(plenty), newFake(plenty)
	m := h.join(t, f, f, false)
	h.join(t, g, g, false)
	h.post(nil, 100)
	h.quiet()
	m.sink.Close()
	m.sink.Close()
	h.quiet()
	require.Len(t, h.group.parts[0].Load().cursors, 1)
	h.post(nil, 100)
	h.idle(t)
	require.Len(t, items(t, f.received()), 1)
	require.Len(t, items(t, g.received()), 2)
	require.Empty(t, m.failed)
}

func TestQueueGoesFirstAndIsLimited(t *testing.T) {
	for _, tt := range []struct {
		name     string
		portable bool
	}{{name: "direct", portable: false}, {name: "portable", portable: true}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, LogConfig{Backlog: 64 << 10})
				f := newFake(plenty)
				m := h.member()
				var raw sock.Writer = f
				if tt.portable {
					raw = nil
				}
				m.sink = h.group.newSink(f, raw, m, time.Minute)
				d := appendFrame(nil, kindDirect, 1, 30)
				require.True(t, m.sink.Queue(d, 10), "one may be larger than the limit")
				require.False(t, m.sink.Queue(d, 59))
				require.True(t, m.sink.Queue(d, 60))
				m.sink.Flush()
				synctest.Wait()
				require.Len(t, f.received(), 60)
				require.Zero(t, cap(m.sink.queue), "a quiet sink holds nothing")
				m.sink.Queue(d, 60)
				m.cur = h.log.Attach(m.sink, false)
				h.post(nil, 50)
				synctest.Wait()
				require.Equal(t, []string{"d1", "d1", "d1", "m1"}, names(items(t, f.received())))
				m.sink.Close()
			})
		})
	}
}

func TestSinkOnRealSockets(t *testing.T) {
	h := newHub(t, LogConfig{Backlog: 64 << 20})
	here, there := tcpPair(t)
	m := h.member()
	m.sink = h.group.NewSink(here, m, time.Minute)
	h.log.Attach(m.sink, false)
	const n = 3000
	read := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(there)
		read <- b
	}()
	for range n {
		h.post(nil, 5000)
	}
	<-m.sink.Finish()
	here.CloseWrite()
	require.Len(t, items(t, <-read), n)
	m.sink.Close()
	here.Close()
	_, err := here.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
}
