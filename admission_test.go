package tcproom_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestF7MaxPerAddress: one address, members and waiting ones together, never
// has one more, however many come at once; others are not concerned.
func TestF7MaxPerAddress(t *testing.T) {
	checkGoroutines(t)
	const limit, comers = 7, 300
	var inside, most atomic.Int64
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo) // also if the test fails
	rejected := newCauses()
	room := tcproom.New(
		tcproom.WithMaxPerAddress(limit), tcproom.WithMaxPending(2*comers), tcproom.WithHandshakeTimeout(within),
		tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
			n := inside.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-release
			return tcproom.Identity{}, nil
		}),
		tcproom.OnReject(rejected.Rejected),
		tcproom.OnLeave(func(*tcproom.Member, error) { inside.Add(-1) }),
	)
	addr := serveTCP(t, room)
	var wg sync.WaitGroup
	for i := range comers {
		wg.Go(func() {
			var nc net.Conn
			var err error
			if i%2 == 0 {
				nc, _ = pipeFrom(room, "[::ffff:127.0.0.1]:99") // the same address
			} else if nc, err = net.Dial("tcp", addr); err != nil {
				return
			}
			t.Cleanup(func() { nc.Close() })
		})
	}
	wg.Wait()
	for range comers - limit {
		require.ErrorIs(t, rejected.Next(t), errTooManyFromAddress)
	}
	waitPending(t, room, limit) // OnReject comes before a connection is forgotten
	other, _ := pipeFrom(room, "192.0.2.1:99")
	defer other.Close()
	waitPending(t, room, limit+1)
	letGo()
	waitLen(t, room, limit+1)
	late, served := pipeFrom(room, "127.0.0.1:99")
	require.ErrorIs(t, <-served, errTooManyFromAddress)
	said, _ := io.ReadAll(late)
	require.Empty(t, said, "closed without a word")
	require.LessOrEqual(t, most.Load(), int64(limit+1))
	require.ErrorIs(t, rejected.Next(t), errTooManyFromAddress)
	require.Empty(t, rejected.C)
}

// TestF7AddressIsFreeAgain when the conn is closed, whether it had joined,
// was refused or never said anything; and the room forgets addresses.
func TestF7AddressIsFreeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithMaxPerAddress(1), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHandshakeTimeout(time.Second))
		for range 3 {
			nc, served := pipeFrom(room, "192.0.2.1:1")
			synctest.Wait()
			_, second := pipeFrom(room, "192.0.2.1:2")
			require.ErrorIs(t, <-second, errTooManyFromAddress)
			go io.Copy(io.Discard, nc)
			require.ErrorIs(t, <-served, errHandshakeTimeout) // it said nothing
			nc, served = pipeFrom(room, "192.0.2.1:3")
			fmt.Fprintln(nc, `{"type":"hello"}`)
			go io.Copy(io.Discard, nc)
			synctest.Wait()
			require.Equal(t, 1, room.Len())
			_, second = pipeFrom(room, "192.0.2.1:4")
			require.ErrorIs(t, <-second, errTooManyFromAddress)
			nc.Close()
			require.NoError(t, <-served)
		}
		for _, addr := range []string{"", ""} { // no address, no bound
			nc, _ := pipeFrom(room, addr)
			defer nc.Close()
		}
		synctest.Wait()
		require.Equal(t, 2, room.Stats().Pending)
		require.NoError(t, room.Close())
	})
}

// TestF5AddressesThatAreWaitedFor hold up their own conn and nobody else, hold
// a slot meanwhile, and count when they are known.
func TestF5AddressesThatAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rejected := newCauses()
		room := tcproom.New(tcproom.WithMaxPerAddress(2), tcproom.WithMaxPending(10), tcproom.OnReject(rejected.Rejected))
		l := newScriptedListener()
		served := make(chan error, 1)
		go func() { served <- room.Serve(l) }()
		known := make(chan struct{})
		for range 5 {
			here, there := net.Pipe()
			defer here.Close()
			l.script <- &addrConn{there, "192.0.2.1:1", known}
		}
		here, there := net.Pipe()
		l.script <- there
		synctest.Wait()
		require.Equal(t, 1, room.Len(), "one whose address nobody waits for")
		require.Equal(t, 5, room.Stats().Pending)
		close(known)
		synctest.Wait()
		require.Equal(t, 3, room.Len())
		for range 3 {
			require.ErrorIs(t, rejected.Next(t), errTooManyFromAddress)
		}
		for c := range room.Members() {
			if c.RemoteAddr().Network() == "tcp" {
				require.Equal(t, "192.0.2.1:1", c.RemoteAddr().String())
			}
		}
		here.Close()
		require.NoError(t, room.Close())
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	})
}

// TestF7AddressMayAskTheRoom: what an address says of itself may be the user's
// code, which meets no lock.
func TestF7AddressMayAskTheRoom(t *testing.T) {
	joins := make(chan struct{})
	room := tcproom.New(tcproom.WithMaxPerAddress(1), tcproom.OnJoin(func(*tcproom.Member) error { close(joins); return nil }))
	here, there := net.Pipe()
	defer here.Close()
	go room.ServeConn(askingConn{&badConn{Conn: there}, lockedAddr{room}})
	select {
	case <-joins:
	case <-time.After(within):
		t.Fatal("the room asks an address under its lock")
	}
	require.NoError(t, room.Close())
}

// TestF1AcceptErrorsAreLoggedOnceASecond, with the number of the others.
func TestF1AcceptErrorsAreLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		room, l := tcproom.New(tcproom.WithLogger(lines.Logger())), newScriptedListener()
		served := make(chan error, 1)
		go func() { served <- room.Serve(l) }()
		for range 11 { // after 0, 5, 15, …, 1275, 2275, 3275 ms
			l.script <- syscall.EMFILE
		}
		synctest.Wait()
		require.Len(t, lines.With("accept failed"), 1)
		time.Sleep(1275 * time.Millisecond)
		synctest.Wait()
		logged := lines.With("accept failed")
		require.Len(t, logged, 2)
		require.Contains(t, logged[1], "unlogged=7")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Len(t, lines.With("accept failed"), 4)
		// Successes between them do not make more lines of it.
		for range 50 {
			here, there := net.Pipe()
			defer here.Close()
			l.script <- there
			l.script <- syscall.EMFILE
		}
		time.Sleep(1900 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, l.script)
		logged = lines.With("accept failed")
		require.Len(t, logged, 5)
		require.NotContains(t, logged[4], "unlogged")
		require.NoError(t, room.Close())
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
	})
}

// TestF69BadConnsDoNotFillTheLog: ten thousand of them, with a name and a
// cause that would forge lines.
func TestF69BadConnsDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		room := tcproom.New(tcproom.WithLogger(lines.Logger()), tcproom.WithFraming(tcproom.Netstring{}))
		for i := range 10000 {
			nc, served := pipe(room)
			fmt.Fprintf(nc, "bad\nlevel=ERROR forged %d", i)
			go io.Copy(io.Discard, nc)
			require.ErrorIs(t, <-served, tcproom.ErrMalformed)
			nc.Close()
			if i%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		logged := lines.With("")
		require.Greater(t, len(logged), 90)
		require.LessOrEqual(t, len(logged), 10+100+1)
		require.Contains(t, logged[len(logged)-1], "unlogged=99")
		for _, line := range logged {
			require.True(t, strings.HasPrefix(line, "time="), "%q", line)
		}
		// Another kind has a line at once.
		nc, served := pipe(room)
		fmt.Fprint(nc, "99999999:")
		go io.Copy(io.Discard, nc)
		require.ErrorIs(t, <-served, tcproom.ErrFrameTooLarge)
		nc.Close()
		require.Len(t, lines.With("too large"), 1)
		require.NoError(t, room.Close())
	})
}
