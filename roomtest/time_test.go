package roomtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// A timedRoom serves on a network in memory, in a bubble, and notes how conns
// end, and after how long.
type timedRoom struct {
	*tcproom.Room
	net   roomtest.Network
	l     *roomtest.Listener
	ended chan end
	clock clock
}

// An end is what OnLeave or OnReject was called with.
type end struct {
	cause error
	after time.Duration // since the room was made
}

func startRoom(t *testing.T, opts ...tcproom.RoomOption) *timedRoom {
	t.Helper()
	r := &timedRoom{ended: make(chan end, 100), clock: startClock()}
	note := func(err error) { r.ended <- end{err, time.Since(r.clock.start)} }
	r.Room = tcproom.New(append(opts,
		tcproom.OnLeave(func(_ *tcproom.Member, err error) { note(err) }),
		tcproom.OnReject(func(_ *tcproom.Newcomer, err error) { note(err) }),
	)...)
	r.l = mustListen(t, &r.net, "room:9000")
	var g errgroup.Group
	g.Go(func() error { return r.Serve(r.l) })
	t.Cleanup(func() {
		r.Close()
		require.ErrorIs(t, g.Wait(), tcproom.ErrRoomClosed)
		<-r.Done()
	})
	return r
}

// dial connects without the library, and waits until the room has done what it
// does about that.
func (r *timedRoom) dial(t *testing.T) *roomtest.Conn {
	t.Helper()
	c := mustDial(t, &r.net, "room:9000")
	synctest.Wait()
	return c
}

// endsWith waits until a conn has ended, and checks why and exactly when.
func (r *timedRoom) endsWith(t *testing.T, cause error, after time.Duration) {
	t.Helper()
	got := <-r.ended
	require.ErrorIs(t, got.cause, cause)
	require.Equal(t, after, got.after)
}

func TestTimeIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRoom(t, tcproom.WithIdleTimeout(time.Hour))
		c := r.dial(t)
		go io.Copy(io.Discard, c)
		time.Sleep(30 * time.Minute)
		mustWrite(t, c, "half a line ") // any byte counts
		time.Sleep(59 * time.Minute)
		mustWrite(t, c, "and the rest\n")
		time.Sleep(time.Hour - 1)
		require.Equal(t, 1, r.Len())
		// The goodbye is written and the half is closed at once; then the room
		// waits for the peer to close too.
		got := later(func() end { return <-r.ended })
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Zero(t, r.Len())
		c.Close()
		e := <-got
		require.ErrorIs(t, e.cause, tcproom.Cause("idle-timeout"))
		require.Equal(t, 149*time.Minute, e.after)
	})
}

// A conn that is not a socket of the kernel's is written to in pieces of 4 KiB, each
// with a deadline of its own. So the timeout counts from the moment at which the
// first piece that did not fit began: here the one of the broadcast.
func TestTimeWriteStalledReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRoom(t, tcproom.WithWriteTimeout(30*time.Second), tcproom.WithBacklog(8<<20))
		c := r.dial(t)
		c.In(roomtest.Stall())
		time.Sleep(time.Minute)
		body := []byte(strings.Repeat("x", 60<<10))
		broadcast := func() {
			_, err := r.Broadcast(t.Context(), body)
			require.NoError(t, err)
			synctest.Wait()
		}
		broadcast() // fits
		time.Sleep(time.Hour)
		require.Equal(t, 1, r.Len())
		broadcast() // does not
		time.Sleep(10 * time.Second)
		broadcast() // waits behind it
		r.endsWith(t, tcproom.Cause("write-timeout"), time.Minute+time.Hour+30*time.Second)
		c.In()
		io.Copy(io.Discard, c) // which ends: the room has closed it
	})
}

// A reader that takes a piece within each timeout is not cut, however slow.
func TestTimeWriteSlowReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRoom(t, tcproom.WithWriteTimeout(30*time.Second))
		c := r.dial(t)
		c.SetReadBuffer(4 << 10)
		c.In(roomtest.Bandwidth(200)) // 4 KiB in 20.48 s
		const size = 60_000
		_, err := r.Broadcast(t.Context(), []byte(strings.Repeat("x", size)))
		require.NoError(t, err)
		clock := startClock()
		mustRead(t, c, "*: "+strings.Repeat("x", size)+"\n")
		clock.shows(t, (size+4)*time.Second/200)
		require.Equal(t, 1, r.Len())
	})
}

// One that takes less than a piece is, for what it took of it does not count.
func TestTimeWriteTooSlowReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRoom(t, tcproom.WithWriteTimeout(30*time.Second))
		c := r.dial(t)
		c.SetReadBuffer(4 << 10)
		c.In(roomtest.Bandwidth(100)) // 4 KiB in 40.96 s
		go io.Copy(io.Discard, c)
		time.Sleep(time.Minute)
		_, err := r.Broadcast(t.Context(), []byte(strings.Repeat("x", 60_000)))
		require.NoError(t, err)
		r.endsWith(t, tcproom.Cause("write-timeout"), time.Minute+30*time.Second)
	})
}

func TestTimeHandshake(t *testing.T) {
	tests := []struct {
		name string
		opts []tcproom.RoomOption
		say  string // in the meantime
	}{
		{name: "hook", opts: []tcproom.RoomOption{tcproom.WithHandshake(func(ctx context.Context, c *tcproom.Newcomer) (tcproom.Identity, error) {
			_, err := c.Receive(ctx)
			return tcproom.Identity{Name: "ada"}, err
		})}, say: "half a line"},
		{name: "hook that waits for ctx", opts: []tcproom.RoomOption{tcproom.WithHandshake(func(ctx context.Context, c *tcproom.Newcomer) (tcproom.Identity, error) {
			<-ctx.Done()
			return tcproom.Identity{}, ctx.Err()
		})}, say: "a line\n"},
		{name: "no hello", opts: []tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{})}, say: ""},
		{name: "half a hello", opts: []tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{})}, say: `{"type":`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := startRoom(t, append(tt.opts, tcproom.WithHandshakeTimeout(time.Minute))...)
				time.Sleep(time.Second)
				c := r.dial(t)
				go func() {
					io.Copy(io.Discard, c)
					c.Close()
				}()
				time.Sleep(59 * time.Second)
				mustWrite(t, c, tt.say)
				require.Equal(t, 1, r.Stats().Pending)
				r.endsWith(t, tcproom.Cause("handshake-timeout"), time.Second+time.Minute)
				synctest.Wait()
				require.Zero(t, r.Stats().Pending)
			})
		})
	}
}

// Dialling a room that never welcomes ends at the timeout of the dialling end.
func TestTimeDialHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n roomtest.Network
		mustListen(t, &n, "room:9000")
		clock := startClock()
		_, err := tcproom.Dial(t.Context(), "room:9000", tcproom.WithDialer(n.Dial),
			tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHandshakeTimeout(time.Minute))
		require.ErrorIs(t, err, tcproom.Cause("handshake-timeout"))
		clock.shows(t, time.Minute)
	})
}

// shutdown calls Shutdown with a deadline and checks when it returned.
func (r *timedRoom) shutdown(t *testing.T, deadline, want time.Duration) *tcproom.StopError {
	t.Helper()
	synctest.Wait()
	clock := startClock()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	err := r.Shutdown(ctx)
	clock.shows(t, want)
	if want == deadline {
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	var stop *tcproom.StopError
	if errors.As(err, &stop) {
		require.Empty(t, stop.Stuck)
	} else {
		require.NoError(t, err)
	}
	return stop
}

// A member that reads and never closes is waited for as long as something
// moves, and half a second more.
func TestTimeShutdownNeverCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRoom(t)
		c := r.dial(t)
		got := later(func() string { b, _ := io.ReadAll(c); return string(b) })
		_, err := r.Broadcast(t.Context(), []byte("last words"))
		require.NoError(t, err)
		require.Nil(t, r.shutdown(t, time.Hour, 500*time.Millisecond))
		require.Contains(t, <-got, "*: last words\n")
	})
}

func TestTimeShutdownDeadlineNeverCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRoom(t)
		c := r.dial(t)
		go io.Copy(io.Discard, c)
		stop := r.shutdown(t, 300*time.Millisecond, 300*time.Millisecond)
		require.Empty(t, stop.Cut) // it has everything
	})
}

// stallFull makes a room with a member that has stopped reading and for which
// more waits than its buffer takes.
func stallFull(t *testing.T) *timedRoom {
	r := startRoom(t)
	c := r.dial(t)
	c.In(roomtest.Stall())
	for range 4 {
		_, err := r.Broadcast(t.Context(), []byte(strings.Repeat("x", 60<<10)))
		require.NoError(t, err)
	}
	return r
}

// A member that takes nothing is cut when that has lasted half a second.
func TestTimeShutdownNeverReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stop := stallFull(t).shutdown(t, time.Hour, 500*time.Millisecond)
		require.Len(t, stop.Cut, 1)
		require.NoError(t, stop.Err)
	})
}

func TestTimeShutdownDeadlineNeverReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stop := stallFull(t).shutdown(t, 250*time.Millisecond, 250*time.Millisecond)
		require.Len(t, stop.Cut, 1)
	})
}

// A member that reads slowly gets everything, however long it takes.
func TestTimeShutdownSlowReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRoom(t)
		c := r.dial(t)
		c.SetReadBuffer(4 << 10)
		c.In(roomtest.Bandwidth(20 << 10))
		const lines, size = 100, 10_000
		for range lines {
			_, err := r.Broadcast(t.Context(), []byte(strings.Repeat("x", size)))
			require.NoError(t, err)
		}
		got := later(func() string { b, _ := io.ReadAll(c); c.Close(); return string(b) })
		clock := startClock()
		require.NoError(t, r.Shutdown(t.Context()))
		heard := <-got
		require.Equal(t, lines, strings.Count(heard, "*: "))
		require.Equal(t, time.Duration(len(heard))*time.Second/(20<<10), time.Since(clock.start))
	})
}

// attempts is a listener that notes when Accept was called.
type attempts struct {
	net.Listener
	clock clock
	mu    sync.Mutex
	at    []time.Duration
}

func (a *attempts) Accept() (net.Conn, error) {
	a.mu.Lock()
	a.at = append(a.at, time.Since(a.clock.start))
	a.mu.Unlock()
	return a.Listener.Accept()
}

func (a *attempts) times() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at
}

func TestTimeAcceptBacksOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n roomtest.Network
		l := mustListen(t, &n, "room:9000")
		a := &attempts{Listener: l, clock: startClock()}
		l.FailAccept(syscall.EMFILE, 12)
		joined := make(chan struct{})
		room := tcproom.New(tcproom.OnJoin(func(*tcproom.Member) error { close(joined); return nil }))
		served := later(func() error { return room.Serve(a) })
		mustDial(t, &n, "room:9000")
		<-joined
		want := []time.Duration{0}
		for _, ms := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000} {
			want = append(want, want[len(want)-1]+ms*time.Millisecond)
		}
		a.clock.shows(t, want[12])
		require.Equal(t, append(want, want[12]), a.times()) // and then it accepts at once

		// After a success the pauses begin again.
		start := time.Since(a.clock.start)
		l.FailAccept(syscall.EMFILE, 2)
		time.Sleep(time.Minute)
		require.Equal(t, []time.Duration{start + 5*time.Millisecond, start + 15*time.Millisecond}, a.times()[14:])
		require.NoError(t, room.Close())
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	})
}

// Close does not wait for the pause.
func TestTimeAcceptBackOffEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n roomtest.Network
		l := mustListen(t, &n, "room:9000")
		l.FailAccept(syscall.ENFILE, 1000)
		room := tcproom.New()
		clock := startClock()
		served := later(func() error { return room.Serve(l) })
		time.Sleep(10*time.Second + 123*time.Millisecond)
		blocked(t, served)
		require.NoError(t, room.Close())
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
		clock.shows(t, 10*time.Second+123*time.Millisecond)
	})
}

// An error that does not pass ends Serve at once.
func TestTimeAcceptGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startRoom(t)
		l := mustListen(t, &r.net, "hall:9000")
		served := later(func() error { return r.Serve(l) })
		blocked(t, served)
		l.FailAccept(syscall.EBADF, 1)
		require.ErrorIs(t, <-served, syscall.EBADF)
		r.clock.shows(t, 0)
	})
}
