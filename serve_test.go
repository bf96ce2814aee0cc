package tcproom_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestListenersOfAllKinds: one room and one order, whatever its members speak.
func TestListenersOfAllKinds(t *testing.T) {
	checkGoroutines(t)
	server, client := testTLS()
	room := tcproom.New()
	type speaks struct {
		network string
		options []tcproom.Option
		tls     bool
	}
	length := []tcproom.Option{tcproom.WithFraming(tcproom.Length{Bytes: 4}), tcproom.WithCodec(tcproom.Raw{})}
	json := []tcproom.Option{tcproom.WithCodec(tcproom.JSON{})}
	var conns []*tcproom.Conn
	for _, s := range []speaks{
		{network: "tcp4", options: nil, tls: false}, {network: "tcp4", options: json, tls: false}, {network: "tcp4", options: length, tls: true},
		{network: "tcp6", options: json, tls: true}, {network: "unix", options: length, tls: false}, {network: "pipe", options: nil, tls: true}, {network: "pipe", options: json, tls: false},
	} {
		var opts []tcproom.ConnOption
		var dialOpts []tcproom.DialOption
		for _, o := range s.options {
			opts, dialOpts = append(opts, o), append(dialOpts, o)
		}
		if s.tls {
			opts = append(opts, tcproom.WithTLS(server))
			cfg := client.Clone()
			cfg.ServerName = "localhost"
			dialOpts = append(dialOpts, tcproom.WithTLS(cfg))
		}
		var c *tcproom.Conn
		if s.network == "pipe" {
			nc, _ := pipe(room, opts...)
			c = tcproom.NewConn(nc, dialOpts...)
			if s.tls {
				go c.Receive(canceled(t)) // nothing moves before somebody reads or writes
				send(t, c, "hello over TLS")
			}
		} else {
			l := listen(t, s.network)
			addr := serve(t, room, l, opts...)
			nc, err := net.Dial(l.Addr().Network(), addr)
			require.NoError(t, err)
			c = tcproom.NewConn(nc, dialOpts...)
			if s.tls {
				send(t, c, "hello over TLS")
			}
		}
		t.Cleanup(func() { c.Close() })
		conns = append(conns, c)
		waitLen(t, room, len(conns))
	}
	const n = 50
	eventually(t, "the greetings are ordered", func() bool { return room.Stats().Messages == 3 })
	var talk sync.WaitGroup
	for i, c := range conns {
		talk.Go(func() {
			for j := range n {
				if err := c.Send(context.Background(), fmt.Appendf(nil, "%d from %d", j, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	heard := make([][]string, len(conns))
	for i, c := range conns {
		talk.Go(func() {
			for ev, err := range c.Events(context.Background()) {
				if err != nil {
					t.Error(err)
				}
				if body := string(ev.Body); ev.Kind == tcproom.Message && body != "hello over TLS" {
					if heard[i] = append(heard[i], body); len(heard[i]) == n*(len(conns)-1) {
						return
					}
				}
			}
		})
	}
	talk.Wait()
	// All heard the same, what each said itself left out.
	place := map[string]map[string]int{}
	for i, bodies := range heard {
		require.Len(t, bodies, n*(len(conns)-1), "member %d", i)
		for at, body := range bodies {
			if place[body] == nil {
				place[body] = map[string]int{}
			}
			place[body][fmt.Sprint(i)] = at
		}
	}
	for i := range heard {
		for k := range heard {
			last := -1
			for _, body := range heard[i] {
				if at, ok := place[body][fmt.Sprint(k)]; ok {
					require.Greater(t, at, last, "P1: members %d and %d saw two orders", i, k)
					last = at
				}
			}
		}
	}
}

func canceled(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	return ctx
}

// TestAcceptErrorsThatPass are waited out, for longer and longer, and members
// notice nothing.
func TestAcceptErrorsThatPass(t *testing.T) {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC, syscall.ECONNABORTED,
		syscall.EINTR, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN,
	} {
		t.Run(errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room, l := tcproom.New(), newScriptedListener()
				served := make(chan error, 1)
				go func() { served <- room.Serve(l) }()
				member, _ := pipe(room)
				synctest.Wait()
				start := time.Now()
				for range 12 {
					l.script <- os.NewSyscallError("accept4", errno)
				}
				_, err := room.Broadcast(t.Context(), []byte("still here"))
				require.NoError(t, err)
				line, err := bufio.NewReader(member).ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, "*: still here\n", line)
				go io.Copy(io.Discard, member)
				here, there := net.Pipe()
				l.script <- there
				for room.Len() < 2 {
					time.Sleep(time.Millisecond)
				}
				// 5 ms and twice as much each time, up to a second.
				require.InDelta(t, 1275+4*1000, time.Since(start).Milliseconds(), 2)
				l.script <- errno // and it begins anew after a success
				synctest.Wait()
				time.Sleep(6 * time.Millisecond)
				require.Empty(t, l.script)
				l.script <- errno
				l.script <- errno
				l.script <- errno
				synctest.Wait()
				start = time.Now()
				require.NoError(t, room.Close()) // does not wait for the delay
				require.Zero(t, time.Since(start))
				require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
				here.Close()
				member.Close()
			})
		})
	}
}

// TestAcceptErrorsThatStay are returned, wrapped; the members stay.
func TestAcceptErrorsThatStay(t *testing.T) {
	for _, want := range []error{syscall.EINVAL, syscall.EBADF, errors.New("some other"), net.ErrClosed} {
		room, l := tcproom.New(), newScriptedListener()
		here, there := net.Pipe()
		l.script <- there
		served := make(chan error, 1)
		go func() { served <- room.Serve(l) }()
		waitLen(t, room, 1)
		l.script <- want
		err := <-served
		require.ErrorIs(t, err, want)
		require.Contains(t, err.Error(), "tcproom: accept: ")
		<-l.closed
		_, err = room.Broadcast(testContext(t), []byte("still here"))
		require.NoError(t, err)
		line, err := bufio.NewReader(here).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "*: still here\n", line)
		require.NoError(t, room.Close())
		here.Close()
	}
}

// TestTooManyLanes: the 17th pair of framing and codec is refused, by Serve at
// once and by ServeConn, and a pair that is gone makes room for another.
func TestTooManyLanes(t *testing.T) {
	checkGoroutines(t)
	rejected := newCauses()
	room := tcproom.New(tcproom.OnReject(rejected.Rejected)) // the first
	framing := func(i int) tcproom.Option { return tcproom.WithFraming(tcproom.Delimiter(fmt.Sprint("<", i, ">"))) }
	for i := 2; i <= 16; i++ {
		dialRaw(t, serveTCP(t, room, framing(i)))
		waitLen(t, room, i-1) // Serve has begun
	}
	dialRaw(t, serveTCP(t, room, framing(16))) // is there already
	waitLen(t, room, 16)
	nc, served := pipe(room, framing(17))
	go io.Copy(io.Discard, nc)
	require.ErrorIs(t, <-served, errTooManyLanes)
	require.ErrorIs(t, rejected.Next(t), errTooManyLanes)
	l := listen(t, "tcp")
	require.ErrorIs(t, room.Serve(l, framing(17)), errTooManyLanes)
	_, err := l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = room.Join(testContext(t), tcproom.Identity{}, framing(17))
	require.ErrorIs(t, err, errTooManyLanes)
	require.ErrorIs(t, rejected.Next(t), errTooManyLanes)
	join(t, room)
}

// TestLanesAreFreed: hundreds of pairs, one after the other.
func TestLanesAreFreed(t *testing.T) {
	gone := newCauses()
	room := tcproom.New(tcproom.OnLeave(gone.Left))
	for i := range 100 {
		framing := tcproom.WithFraming(tcproom.Delimiter(fmt.Sprint("<", i, ">")))
		c := join(t, room, framing)
		if i%2 == 0 {
			require.NoError(t, only(room).Kick("next"))
		}
		c.Close()
		gone.Next(t) // it has no more use for its lane
	}
	require.NoError(t, room.Close())
}

// TestMaxPending: never one more, however many come at once.
func TestMaxPending(t *testing.T) {
	checkGoroutines(t)
	const limit, comers = 5, 200
	var inside, most atomic.Int64
	release := make(chan struct{})
	rejected := newCauses()
	room := tcproom.New(
		tcproom.WithMaxPending(limit), tcproom.WithHandshakeTimeout(within),
		tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
			n := inside.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-release
			inside.Add(-1)
			return tcproom.Identity{}, nil
		}),
		tcproom.OnReject(rejected.Rejected),
	)
	addr := serveTCP(t, room)
	var wg sync.WaitGroup
	for i := range comers {
		if i%2 == 0 {
			wg.Go(func() {
				if nc, err := net.Dial("tcp", addr); err == nil {
					t.Cleanup(func() { nc.Close() })
				}
			})
			continue
		}
		wg.Go(func() {
			here, there := net.Pipe()
			t.Cleanup(func() { here.Close() })
			go room.ServeConn(there)
		})
	}
	wg.Wait()
	for range comers - limit {
		require.ErrorIs(t, rejected.Next(t), errTooManyPending)
	}
	waitPending(t, room, limit) // OnReject comes before a connection is forgotten
	require.EqualValues(t, comers-limit, room.Stats().Refused)
	close(release)
	waitLen(t, room, limit)
	require.Zero(t, room.Stats().Pending)
	require.LessOrEqual(t, most.Load(), int64(limit))
	require.Empty(t, rejected.C)
	c := dial(t, addr) // there is room again
	waitLen(t, room, limit+1)
	c.Close()
}

// TestMaxMembers: never one more, and who comes too late is told so.
func TestMaxMembers(t *testing.T) {
	checkGoroutines(t)
	const limit, comers = 7, 100
	var most, present atomic.Int64
	room := tcproom.New(
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxMembers(limit), tcproom.WithMaxPending(2*comers),
		tcproom.OnJoin(func(*tcproom.Member) error {
			n := present.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return nil
		}),
		tcproom.OnLeave(func(*tcproom.Member, error) { present.Add(-1) }),
	)
	addr := serveTCP(t, room)
	var wg sync.WaitGroup
	var in, full atomic.Int64
	ctx := testContext(t)
	for range comers {
		wg.Go(func() {
			c, err := tcproom.Dial(ctx, addr, tcproom.WithCodec(tcproom.JSON{}))
			var refused *tcproom.RefusedError
			switch {
			case err == nil:
				in.Add(1)
				t.Cleanup(func() { c.Close() })
			case errors.As(err, &refused) && refused.Cause == tcproom.ErrRoomFull:
				full.Add(1)
			default:
				t.Errorf("refused with %v", err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, limit, in.Load())
	require.EqualValues(t, comers-limit, full.Load())
	require.Equal(t, limit, room.Len())
	require.LessOrEqual(t, most.Load(), int64(limit))
	_, err := room.Join(testContext(t), tcproom.Identity{})
	require.ErrorIs(t, err, tcproom.ErrRoomFull)
	require.NoError(t, only(room).Kick("make room"))
	join(t, room) // at once: the leave is ordered
	require.Equal(t, limit, room.Len())

	text := tcproom.New(tcproom.WithMaxMembers(1))
	addr = serveTCP(t, text)
	dialRaw(t, addr)
	waitLen(t, text, 1)
	b, err := io.ReadAll(dialRaw(t, addr))
	require.NoError(t, err)
	require.Equal(t, "* goodbye: room is full\n", string(b))
}

// TestUniqueNames: of many who want one name exactly one gets it, and it is
// free again when Kick has returned.
func TestUniqueNames(t *testing.T) {
	checkGoroutines(t)
	refuse := errors.New("not you")
	var refusing atomic.Bool
	room := tcproom.New(
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithUniqueNames(true), tcproom.WithMaxPending(1000),
		tcproom.OnJoin(func(*tcproom.Member) error {
			if refusing.Load() {
				return refuse
			}
			return nil
		}),
	)
	addr := serveTCP(t, room)
	ada := tcproom.WithName("ada")
	for range 5 {
		var wg sync.WaitGroup
		var taken atomic.Int64
		var won atomic.Pointer[tcproom.Conn]
		ctx := testContext(t)
		for i := range 100 {
			wg.Go(func() {
				var c *tcproom.Conn
				var err error
				if i%2 == 0 {
					c, err = room.Join(ctx, tcproom.Identity{}, ada)
				} else {
					c, err = tcproom.Dial(ctx, addr, tcproom.WithCodec(tcproom.JSON{}), ada)
				}
				var refused *tcproom.RefusedError
				switch {
				case err == nil:
					if won.Swap(c) != nil {
						t.Error("two got the name")
					}
				case errors.Is(err, tcproom.ErrNameTaken), errors.As(err, &refused) && refused.Cause == tcproom.ErrNameTaken:
					taken.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 99, taken.Load())
		require.NoError(t, only(room).Kick("next"))
		c, err := room.Join(testContext(t), tcproom.Identity{}, ada)
		require.NoError(t, err, "free again when the leave is ordered")
		require.NoError(t, only(room).Kick("next"))
		c.Close()
		won.Load().Close()
	}
	// Who was refused does not hold the name, even if it does not hang up.
	refusing.Store(true)
	nc := dialRaw(t, addr)
	fmt.Fprint(nc, `{"type":"hello","name":"ada"}`+"\n")
	_, err := bufio.NewReader(nc).ReadString('\n')
	require.NoError(t, err)
	refusing.Store(false)
	join(t, room, ada)
	nc.Close()
}

func TestGuestNames(t *testing.T) {
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithUniqueNames(true))
	var names []string
	for _, wish := range []string{"", "guest-3", "", "", "guest-1"} {
		c, err := room.Join(testContext(t), tcproom.Identity{}, tcproom.WithName(wish))
		if err != nil {
			require.ErrorIs(t, err, tcproom.ErrNameTaken)
			continue
		}
		t.Cleanup(func() { c.Close() })
		names = append(names, c.Name())
	}
	require.Equal(t, []string{"guest-1", "guest-3", "guest-2", "guest-4"}, names)
	require.NoError(t, room.Close())
}

func TestNameValidation(t *testing.T) {
	own := errors.New("only a names here")
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNameValidator(func(name string) error {
		if name[0] != 'a' {
			return own
		}
		return nil
	}))
	addr := serveTCP(t, room)
	join(t, room, tcproom.WithName("a!strange~name"))
	_, err := room.Join(testContext(t), tcproom.Identity{}, tcproom.WithName("bob"))
	require.ErrorIs(t, err, tcproom.ErrNameInvalid)
	require.ErrorIs(t, err, own)
	for _, name := range []string{"*", "a b", "a:b", "a\nb", "a\x00b", "a\u202eb", "a\xff"} {
		_, err := room.Join(testContext(t), tcproom.Identity{}, tcproom.WithName(name))
		require.Error(t, err, "%q", name)
		require.Equal(t, 1, room.Len())
	}
	_, err = tcproom.Dial(testContext(t), addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("bob"))
	var refused *tcproom.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, tcproom.ErrNameInvalid, refused.Cause)
	for _, id := range []tcproom.Identity{{Name: "a b"}, {Name: "*"}} {
		room := tcproom.New(tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) { return id, nil }))
		here, served := pipe(room)
		go io.Copy(io.Discard, here)
		require.ErrorIs(t, <-served, tcproom.ErrNameInvalid)
		here.Close()
		require.NoError(t, room.Close())
	}
}

// TestF5TLSStallsHoldUpNobody: hundreds of peers that never shake hands, and one
// that does.
func TestF5TLSStallsHoldUpNobody(t *testing.T) {
	checkGoroutines(t)
	server, client := testTLS()
	room := tcproom.New(tcproom.WithMaxPending(1000))
	addr := serveTCP(t, room, tcproom.WithTLS(server))
	for i := range 500 {
		nc := dialRaw(t, addr)
		if i%2 == 0 {
			nc.Write([]byte{22, 3, 1, 2, 0}) // the beginning of a record
		}
	}
	waitPending(t, room, 500)
	start := time.Now()
	c := dial(t, addr, tcproom.WithTLS(client))
	waitLen(t, room, 1)
	_, err := room.Broadcast(testContext(t), []byte("hi"))
	require.NoError(t, err)
	require.Equal(t, "hi", nextMessage(t, c))
	require.Less(t, time.Since(start), 5*time.Second, "half of what one of the stalled has")
	start = time.Now()
	require.NoError(t, room.Close())
	require.Less(t, time.Since(start), 4*time.Second)
}

// TestTLSCauses: what a bad TLS handshake is called.
func TestTLSCauses(t *testing.T) {
	server, client := testTLS()
	rejected := newCauses()
	room := tcproom.New(tcproom.OnReject(rejected.Rejected))
	addr := serveTCP(t, room, tcproom.WithTLS(server))

	nc := dialRaw(t, addr)
	nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.ErrorIs(t, rejected.Next(t), tcproom.ErrWrongDoor)

	nc = dialRaw(t, addr)
	nc.Write([]byte{22, 3, 1, 2, 0})
	nc.Close()
	require.ErrorIs(t, rejected.Next(t), io.ErrUnexpectedEOF)

	nc = dialRaw(t, addr)
	nc.Write([]byte{22, 3, 1, 2, 0})
	nc.SetLinger(0)
	waitPending(t, room, 1)
	nc.Close()
	err := rejected.Next(t)
	require.ErrorIs(t, err, errReset)
	require.ErrorIs(t, err, syscall.ECONNRESET)

	tc := tls.Client(dialRaw(t, addr), &tls.Config{RootCAs: client.RootCAs, ServerName: "elsewhere"})
	require.Error(t, tc.Handshake())
	require.ErrorIs(t, rejected.Next(t), tcproom.ErrMalformed)
}

// TestCloseDuringTLS ends rooms at every moment of a handshake.
func TestCloseDuringTLS(t *testing.T) {
	checkGoroutines(t)
	server, client := testTLS()
	for round := range 50 {
		room := tcproom.New()
		l := listen(t, "tcp")
		served := make(chan error, 1)
		go func() { served <- room.Serve(l, tcproom.WithTLS(server)) }()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), within)
				defer cancel()
				if c, err := tcproom.Dial(ctx, l.Addr().String(), tcproom.WithTLS(client)); err == nil {
					for range c.Events(ctx) {
					}
					c.Close()
				}
			})
		}
		for room.Stats().Pending+room.Len() < round%4 {
			time.Sleep(time.Microsecond) // polls; nothing depends on how long
		}
		require.NoError(t, room.Close())
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
		waitDone(t, room)
		wg.Wait()
	}
}

// TestPortInUse: an error that says so, and no panic.
func TestPortInUse(t *testing.T) {
	l := listen(t, "tcp")
	defer l.Close()
	room := tcproom.New()
	require.ErrorContains(t, room.ListenAndServe(l.Addr().String()), "in use")
	require.NoError(t, room.Close())
	require.NoError(t, room.Close())
	waitDone(t, room)
}
