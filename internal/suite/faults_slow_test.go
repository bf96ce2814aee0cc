package suite_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestF26HalfClose: who ends its half, as `printf hi | nc` does, still gets all
// that was said before its leave, and then the end of the stream.
func TestF26HalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMemRoom(t)
		w := r.dial(t)
		nc := r.connect(t)
		synctest.Wait()
		nc.SetReadBuffer(4 << 10)
		nc.In(roomtest.Stall())
		var want strings.Builder
		for i := range 50 {
			broadcast(t, r.Room, kib(i))
			fmt.Fprintf(&want, "*: %s\n", kib(i))
		}
		fmt.Fprint(nc, "hi\n")
		require.NoError(t, nc.CloseWrite())
		time.Sleep(400 * time.Millisecond)
		nc.In() // it reads again, just before it would be given up
		got, err := io.ReadAll(nc)
		require.NoError(t, err, "a FIN and not a RST")
		require.Equal(t, want.String(), string(got))
		require.ErrorIs(t, r.left.Next(t), io.EOF)
		for i := range 50 {
			require.Equal(t, string(kib(i)), nextMessage(t, w))
		}
		r.hears(t, w, "hi")
	})
}

// A failingConn takes so many bytes, and then fails in the middle of a write;
// where the error is nil, it takes nothing from then on and does not say so.
type failingConn struct {
	net.Conn
	takes int
	err   error

	mu     sync.Mutex
	took   []byte
	failed bool
	late   int // writes after the one that failed
}

func (c *failingConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed && c.err != nil {
		c.late++
		return 0, net.ErrClosed
	}
	n := min(len(b), c.takes-len(c.took))
	c.took = append(c.took, b[:n]...)
	if n < len(b) {
		c.failed = true
		return n, c.err
	}
	return n, nil
}

// TestF28ShortWrites: a stream that broke in the middle of a frame is over,
// whatever the byte and the error: nothing is written again or left out.
func TestF28ShortWrites(t *testing.T) {
	for _, fault := range []struct {
		name  string
		err   error
		cause error
	}{
		{name: "deadline", err: os.ErrDeadlineExceeded, cause: errWriteTimeout},
		{name: "reset", err: &net.OpError{Op: "write", Err: syscall.EPIPE}, cause: errReset},
		{name: "no error", err: nil, cause: io.ErrShortWrite},
	} {
		t.Run(fault.name, func(t *testing.T) {
			const want = "*: first\n*: second\n*: third\n"
			for takes := range len(want) {
				synctest.Test(t, func(t *testing.T) {
					left := newCauses()
					room := tcproom.New(tcproom.OnLeave(left.Left), tcproom.WithWriteTimeout(time.Minute))
					here, there := net.Pipe()
					bad := &failingConn{Conn: there, takes: takes, err: fault.err}
					served := make(chan error, 1)
					go func() { served <- room.ServeConn(bad) }()
					synctest.Wait()
					for _, body := range []string{"first", "second", "third", "fourth"} {
						broadcast(t, room, []byte(body))
						synctest.Wait()
					}
					require.ErrorIs(t, <-served, fault.cause)
					require.ErrorIs(t, left.Next(t), fault.cause)
					require.Empty(t, left.C)
					require.Equal(t, want[:takes], string(bad.took))
					require.Zero(t, bad.late)
					here.Close()
					require.NoError(t, room.Close())
				})
			}
		})
	}
}

// TestF29CloseWithStalledTLS: Close does not wait for each to take the end of
// its TLS session, whether or not a write to it is under way.
func TestF29CloseWithStalledTLS(t *testing.T) {
	n := times(100, 500)
	server, client := testTLS()
	server, client = server.Clone(), client.Clone()
	server.SessionTicketsDisabled, client.ServerName = true, "localhost"
	for _, writing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			left := newCauses()
			room := tcproom.New(tcproom.WithTLS(server), tcproom.WithMaxPending(n), tcproom.WithNotices(false), tcproom.OnLeave(left.Left))
			for range n {
				nc, _ := pipe(room)
				defer nc.Close()
				require.NoError(t, tls.Client(nc, client).Handshake()) // and reads no more
			}
			synctest.Wait()
			require.Equal(t, n, room.Len())
			if writing {
				broadcast(t, room, kib(0))
				synctest.Wait()
			}
			start := time.Now()
			require.NoError(t, room.Close())
			<-room.Done()
			require.LessOrEqual(t, time.Since(start), 2*time.Second)
			for range n {
				require.ErrorIs(t, left.Next(t), tcproom.ErrRoomClosed)
			}
		})
	}
}

// TestF40WelcomeCannotBeWritten: wherever the first write fails, a conn that
// OnJoin let in has its OnLeave, and for the others a leave follows the join.
func TestF40WelcomeCannotBeWritten(t *testing.T) {
	for takes := range 200 {
		synctest.Test(t, func(t *testing.T) {
			var joined atomic.Int64
			r := newMemRoom(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(true),
				tcproom.OnJoin(func(*tcproom.Member) error { joined.Add(1); return nil }))
			w := r.dial(t, tcproom.WithCodec(tcproom.JSON{}))
			here, there := net.Pipe()
			defer here.Close()
			served := make(chan error, 1)
			go func() {
				served <- r.ServeConn(&failingConn{Conn: there, takes: takes, err: syscall.ECONNRESET})
			}()
			fmt.Fprintln(here, `{"type":"hello","name":"eve"}`)
			require.ErrorIs(t, <-served, errReset)
			require.EqualValues(t, 2, joined.Load())
			require.ErrorIs(t, r.left.Next(t), errReset)
			require.Empty(t, r.refused.C)
			require.Equal(t, tcproom.Welcome, next(t, w).Kind)
			for _, kind := range []tcproom.Kind{tcproom.Join, tcproom.Leave} {
				ev := next(t, w)
				require.Equal(t, kind, ev.Kind)
				require.Equal(t, "eve", ev.From.Name)
			}
			require.Equal(t, 1, r.Len())
			w.Close()
		})
	}
}

// TestF41AllAreSlowAtOnce: one message overruns every member; each ends once,
// and their hooks, which speak and kick, block nobody.
func TestF41AllAreSlowAtOnce(t *testing.T) {
	const n = 30
	synctest.Test(t, func(t *testing.T) {
		ends := newCauses()
		var room *tcproom.Room
		room = tcproom.New(tcproom.WithMaxMessage(4<<10), tcproom.WithBacklog(64<<10), tcproom.OnLeave(func(c *tcproom.Member, cause error) {
			room.Broadcast(context.Background(), kib(0))
			for m := range room.Members() {
				m.Kick("by another's leave")
			}
			ends.Add(cause)
		}))
		for range n {
			nc, _ := pipe(room) // does not read
			defer nc.Close()
		}
		synctest.Wait()
		time.Sleep(time.Second) // for all to count as waiting
		start := time.Now()
		slow, kicked := 0, 0
		for i := 0; room.Len() > 0; i++ {
			broadcast(t, room, kib(i))
			synctest.Wait()
			if i > 1000 {
				t.Fatal("they are not slow")
			}
			time.Sleep(time.Millisecond)
		}
		for range n {
			switch cause := ends.Next(t); {
			case errors.Is(cause, tcproom.ErrSlow):
				slow++
			case errors.Is(cause, tcproom.ErrKicked):
				kicked++
			default:
				t.Error(cause)
			}
		}
		require.NotZero(t, slow)
		t.Logf("%d slow, %d kicked in %v", slow, kicked, time.Since(start))
		require.NoError(t, room.Close())
		require.Empty(t, ends.C)
	})
}

// TestF65MutualBlock: under Block two members that write and never read do not
// wait for each other for ever: one ends, or both do, as the clock says.
func TestF65MutualBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxWait = 5 * time.Second
		r := newMemRoom(t, tcproom.WithSlowMembers(tcproom.Block(maxWait)),
			tcproom.WithBacklog(1), tcproom.WithMaxMessage(1<<10), tcproom.WithWriteTimeout(time.Hour))
		const lines = 4 << 10
		var writing sync.WaitGroup
		var wrote [2]atomic.Int64
		start := time.Now()
		for i := range 2 {
			nc := r.connect(t)
			writing.Go(func() {
				for range lines {
					if _, err := nc.Write(append(kib(0), '\n')); err != nil {
						return
					}
					wrote[i].Add(1)
				}
			})
		}
		require.ErrorIs(t, r.left.Next(t), tcproom.ErrSlow)
		first := time.Since(start)
		require.GreaterOrEqual(t, first, maxWait)
		require.LessOrEqual(t, first, 2*maxWait+time.Second) // one wait after another, and what patience adds
		writing.Wait()
		require.LessOrEqual(t, time.Since(start), 3*maxWait)
		if r.Len() == 0 { // each had waited for all its time when the other's message came
			require.ErrorIs(t, r.left.Next(t), tcproom.ErrSlow)
			return
		}
		require.EqualValues(t, lines, max(wrote[0].Load(), wrote[1].Load()), "nobody is left to hold it back")
	})
}

// TestF66LastWordsBehindAFullWindow: a member that lags as far as it may, and
// has direct messages waiting too, is kicked: the reason comes after all that.
func TestF66LastWordsBehindAFullWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMemRoom(t, tcproom.WithMaxMessage(1<<10), tcproom.WithBacklog(64<<10))
		nc := r.connect(t)
		synctest.Wait()
		nc.SetReadBuffer(4 << 10)
		nc.In(roomtest.Stall())
		m := only(r.Room)
		var want strings.Builder
		for i := range 40 { // the backlog is let go of in pieces
			broadcast(t, r.Room, kib(i))
			fmt.Fprintf(&want, "*: %s\n", kib(i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		directs := 0
		for m.Send(ctx, kib(directs)) == nil {
			fmt.Fprintf(&want, "*: %s\n", kib(directs))
			directs++
		}
		require.Greater(t, directs, 32, "%v", m.Err())
		require.NoError(t, m.Kick("too slow for us"))
		time.Sleep(400 * time.Millisecond)
		nc.In()
		got, err := io.ReadAll(nc)
		require.NoError(t, err)
		require.Equal(t, want.String()+"* goodbye: too slow for us\n", string(got))
		nc.Close()
		require.ErrorIs(t, r.left.Next(t), tcproom.ErrKicked)
	})
}

// TestF68WelcomeOfALargeRoom: what a join costs does not grow with the room.
func TestF68WelcomeOfALargeRoom(t *testing.T) {
	members := 9500
	if raceEnabled {
		members /= 10
	}
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithMaxPending(members),
			tcproom.WithNameValidator(func(string) error { return nil }))
		name := strings.Repeat("\U0001f600", 64) // the longest there is
		for range members {
			nc, _ := pipe(room, tcproom.WithCodec(tcproom.Raw{}), tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
				return tcproom.Identity{Name: name}, nil
			}))
			defer nc.Close()
		}
		synctest.Wait()
		require.Equal(t, members, room.Len())
		nc, _ := pipe(room)
		defer nc.Close()
		fmt.Fprintln(nc, `{"type":"hello"}`)
		line, err := bufio.NewReaderSize(nc, 1<<20).ReadBytes('\n')
		require.NoError(t, err)
		require.Less(t, len(line), 256*(len(name)+100)+1<<10)
		var ev tcproom.Event
		require.NoError(t, tcproom.JSON{}.ParseEvent(bytes.TrimSpace(line), &ev))
		require.Len(t, ev.Welcome.Members, 256)
		require.Equal(t, members+1, ev.Welcome.Total)
		t.Logf("%d bytes", len(line))
		require.NoError(t, room.Close())
	})
}
