package suite_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// The tests of faults*_test.go show rows of docs/faults.md: F3 is that row.

// closingListener accepts one conn, while its room closes.
type closingListener struct {
	nc     net.Conn
	room   *tcproom.Room
	yields int // of the accepting goroutine, in favour of the closing one
	closed chan struct{}
	once   sync.Once
}

func (l *closingListener) Accept() (net.Conn, error) {
	if nc := l.nc; nc != nil {
		l.nc = nil
		go l.room.Close()
		for range l.yields {
			runtime.Gosched()
		}
		return nc, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}
func (l *closingListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *closingListener) Addr() net.Addr { return &net.UnixAddr{Name: "closing", Net: "unix"} }

// TestF3CloseDuringAccept: a conn that is accepted while the room closes is
// closed, and has either joined and left or has not been heard of.
func TestF3CloseDuringAccept(t *testing.T) {
	joins := 0
	for i := range times(3000, 10000) {
		synctest.Test(t, func(t *testing.T) { // fails when a goroutine is left
			var joined, left, refused atomic.Int64
			room := tcproom.New(
				tcproom.OnJoin(func(*tcproom.Member) error { joined.Add(1); return nil }),
				tcproom.OnLeave(func(*tcproom.Member, error) { left.Add(1) }),
				tcproom.OnReject(func(*tcproom.Newcomer, error) { refused.Add(1) }),
			)
			here, there := net.Pipe()
			l := &closingListener{nc: there, room: room, yields: i % 8, closed: make(chan struct{})}
			require.ErrorIs(t, room.Serve(l), tcproom.ErrRoomClosed)
			_, err := io.ReadAll(here)
			require.NoError(t, err, "closed")
			<-room.Done()
			require.Equal(t, joined.Load(), left.Load())
			require.LessOrEqual(t, joined.Load()+refused.Load(), int64(1))
			joins += int(joined.Load())
		})
	}
	t.Logf("%d of them joined", joins)
}

// TestF4SilentConns: a thousand that connect and say nothing are all gone
// when the handshake timeout is over, and OnReject heard of each once.
func TestF4SilentConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := times(1000, 5000)
		r := newMemRoom(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxPending(n), tcproom.WithHandshakeTimeout(10*time.Second),
			tcproom.OnJoin(func(*tcproom.Member) error { t.Error("OnJoin was called"); return nil }))
		start := time.Now()
		for range n {
			r.connect(t)
		}
		synctest.Wait()
		require.Zero(t, time.Since(start))
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		require.Equal(t, n, r.Stats().Pending)
		time.Sleep(time.Second) // for the words of refusal, which nobody reads
		synctest.Wait()
		require.Zero(t, r.Stats().Pending)
		require.Len(t, r.refused.C, n)
		for range n {
			require.ErrorIs(t, <-r.refused.C, errHandshakeTimeout)
		}
		require.Empty(t, r.left.C)
		require.NoError(t, r.Close())
	})
}

// TestF6DrippedTLS: a handshake has one deadline, also where its bytes come
// one by one, each well before it.
func TestF6DrippedTLS(t *testing.T) {
	hello := clientHello(t)
	server, _ := testTLS()
	synctest.Test(t, func(t *testing.T) {
		r := newMemRoom(t, tcproom.WithTLS(server), tcproom.WithHandshakeTimeout(10*time.Second))
		nc := r.connect(t)
		start := time.Now()
		go func() {
			for _, b := range hello {
				if _, err := nc.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(900 * time.Millisecond)
			}
		}()
		require.ErrorIs(t, r.refused.Next(t), errHandshakeTimeout)
		require.Equal(t, 10*time.Second, time.Since(start))
		time.Sleep(time.Second) // the dripping ends
	})
}

// clientHello returns the first bytes of a client's TLS handshake.
func clientHello(t testing.TB) []byte {
	_, client := testTLS()
	client = client.Clone()
	client.ServerName = "localhost"
	here, there := net.Pipe()
	defer here.Close()
	go tls.Client(there, client).Handshake()
	b := make([]byte, 4<<10)
	n, err := here.Read(b)
	require.NoError(t, err)
	return b[:n]
}

// TestF6DripInARoom: a member may take its time over a frame, for any byte is
// a sign of life; it holds up nobody, and ends when it stops.
func TestF6DripInARoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMemRoom(t, tcproom.WithIdleTimeout(10*time.Second), tcproom.WithHandshakeTimeout(10*time.Second))
		w := r.dial(t)
		var beats sync.WaitGroup
		defer beats.Wait()
		defer w.Close()
		beats.Go(func() { // its signs of life
			for w.Send(context.Background(), []byte("alive")) == nil {
				time.Sleep(5 * time.Second)
			}
		})
		nc := r.connect(t)
		for _, b := range []byte("slow\nand half") {
			_, err := nc.Write([]byte{b})
			require.NoError(t, err)
			time.Sleep(9 * time.Second)
			r.Broadcast(context.Background(), []byte("meanwhile"))
		}
		start := time.Now()
		require.ErrorIs(t, r.left.Next(t), errIdleTimeout)
		require.LessOrEqual(t, time.Since(start), time.Second+tcpEnd)
		heard := 0
		for range 13 {
			switch body := nextMessage(t, w); body {
			case "slow":
				heard++
			default:
				require.Equal(t, "meanwhile", body)
			}
		}
		require.Equal(t, 1, heard)
	})
}

// tcpEnd is how long a conn may end in order, when its peer does nothing.
const tcpEnd = 600 * time.Millisecond

// TestF8Churn: members who read are not cut because others come and go,
// whatever the backlog, and see a join and a leave of each, in turn.
func TestF8Churn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const readers, comers, rounds = 20, 10, 50
		r := newMemRoom(t, tcproom.WithNotices(true), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithBacklog(1), tcproom.WithMaxMessage(64))
		var all []*tcproom.Conn
		for range readers {
			all = append(all, r.dial(t, tcproom.WithCodec(tcproom.JSON{})))
		}
		var reading, churn sync.WaitGroup
		for _, c := range all {
			reading.Go(func() {
				present, joins := map[string]bool{}, 0
				for ev, err := range c.Events(context.Background()) {
					if err != nil || ev.Kind == tcproom.Message {
						break
					}
					switch ev.Kind {
					case tcproom.Join:
						joins++
						if present[ev.From.ID] {
							t.Error("joined twice")
						}
						present[ev.From.ID] = true
					case tcproom.Leave:
						if !present[ev.From.ID] {
							t.Error("left without having joined")
						}
						delete(present, ev.From.ID)
					}
				}
				if joins < comers*rounds || len(present) > readers {
					t.Errorf("%d joins were heard, %d have not left", joins, len(present))
				}
			})
		}
		for range comers {
			churn.Go(func() {
				for range rounds {
					c, err := r.Join(context.Background(), tcproom.Identity{})
					if err != nil {
						t.Error(err)
						return
					}
					c.Close()
				}
			})
		}
		churn.Wait()
		eventually(t, "only readers are left", func() bool { return r.Len() == readers })
		for range comers * rounds {
			if err := <-r.left.C; !errors.Is(err, io.EOF) && !errors.Is(err, errReset) {
				t.Errorf("one who came and went, or a reader, ended with: %v", err)
			}
		}
		require.Empty(t, r.left.C, "a reader was cut")
		broadcast(t, r.Room, []byte("end"))
		reading.Wait()
	})
}

// TestF9LengthsCostNothing: a thousand conns announce the longest message that
// the room takes, and send none of it.
func TestF9LengthsCostNothing(t *testing.T) {
	const n, most = 1000, 64 << 20
	for _, test := range []struct {
		name    string
		framing tcproom.Framing
		prefix  string
	}{
		{name: "length", framing: tcproom.Length{}, prefix: "\x04\x00\x00\x00."},
		{name: "length8", framing: tcproom.Length{Bytes: 8}, prefix: "\x00\x00\x00\x00\x04\x00\x00\x00."},
		{name: "varint", framing: tcproom.Varint{}, prefix: "\x80\x80\x80\x20."},
		{name: "netstring", framing: tcproom.Netstring{}, prefix: "67108864:."},
		{name: "content-length", framing: tcproom.ContentLength{}, prefix: "Content-Length: 67108864\r\n\r\n."},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := tcproom.New(tcproom.WithFraming(test.framing), tcproom.WithCodec(tcproom.Raw{}), tcproom.WithMaxMessage(most), tcproom.WithNotices(false))
				before := memory()
				for range n {
					nc, _ := pipe(room)
					defer nc.Close()
					_, err := io.WriteString(nc, test.prefix)
					require.NoError(t, err)
				}
				synctest.Wait()
				require.Equal(t, n, room.Len(), "the frame is allowed")
				if grown := memory() - before; grown > 32<<20 && !raceEnabled {
					t.Fatalf("memory grew by %d bytes a conn", grown/n)
				}
				require.NoError(t, room.Close())
			})
		})
	}
}

// TestF16MillionEmptyFrames: each is heard, and nothing is left of them.
func TestF16MillionEmptyFrames(t *testing.T) {
	n := 1_000_000
	if raceEnabled {
		n /= 10
	}
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithCodec(tcproom.Raw{}), tcproom.WithNotices(false), tcproom.WithBacklog(1))
		listener, _ := pipe(room)
		heard := make(chan int64, 1)
		go func() {
			n, _ := io.Copy(io.Discard, listener)
			heard <- n
		}()
		nc, served := pipe(room)
		synctest.Wait()
		before := memory()
		for chunk := bytes.Repeat([]byte("\n"), 10_000); n > 0; n -= len(chunk) {
			_, err := nc.Write(chunk)
			require.NoError(t, err)
		}
		nc.Close()
		require.NoError(t, <-served)
		synctest.Wait()
		if grown := memory() - before; grown > 4<<20 && !raceEnabled {
			t.Fatalf("memory grew by %d bytes", grown)
		}
		messages := room.Stats().Messages
		require.NoError(t, room.Shutdown(t.Context()))
		require.EqualValues(t, messages, <-heard)
	})
}

// TestF18MixedFramings: whatever a member says in a room of many framings and
// codecs is one event for each of the others, or is refused and none for any.
func TestF18MixedFramings(t *testing.T) {
	odd := []string{
		"", "\r", "\n", "\r\n", "a\n", "\na", "a\r", "\ra", "a\nb", "a\r\nb", "\x00", "a\x00b", "\x00\x00", ",", "0:,", "1:a,", ":",
		"Content-Length: 1\r\n\r\na", "\r\n\r\n", "\xff\xff\xff\xff", "\x00\x00\x00\x01a", "\x1b[2J", "* ada joined", "*: hi", `{"type":"goodbye"}`, "\xc3\x28",
	}
	for b := range 256 {
		odd = append(odd, "x"+string([]byte{byte(b)})+"y")
	}
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithNotices(false), tcproom.WithMaxMessage(256))
		defer room.Close()
		var cs []*tcproom.Conn
		for _, f := range []tcproom.Framing{tcproom.Lines{}, tcproom.Delimiter("\x00"), tcproom.Length{}, tcproom.Netstring{}, tcproom.ContentLength{}} {
			for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}, tcproom.JSON{}} {
				var n roomtest.Network
				l, err := n.Listen("room:9000")
				require.NoError(t, err)
				serve(t, room, l, tcproom.WithFraming(f), tcproom.WithCodec(codec))
				cs = append(cs, dial(t, "room:9000", tcproom.WithDialer(n.Dial), tcproom.WithFraming(f), tcproom.WithCodec(codec)))
				synctest.Wait() // so that they join in this order
			}
		}
		require.Equal(t, len(cs), room.Len())
		refused := 0
		for i, body := range odd {
			seq, err := memberOf(t, room, i%len(cs)).Post(t.Context(), []byte(body))
			if err != nil {
				require.ErrorIs(t, err, tcproom.ErrUnframeable)
				require.Zero(t, seq)
				refused++
			}
			marker := fmt.Sprint("marker ", i)
			broadcast(t, room, []byte(marker))
			for j, c := range cs {
				if err == nil && j != i%len(cs) {
					got := nextMessage(t, c)
					if j%3 != 0 { // Text escapes
						require.Equal(t, body, got)
					}
				}
				require.Equal(t, marker, nextMessage(t, c), "after %q", body)
			}
		}
		require.Greater(t, refused, 5)
		require.Less(t, refused, len(odd)/2)
	})
}

// TestF19CutAtEveryByte: whole frames before the cut are heard, part of one
// never is, and there is one leave with the right cause.
func TestF19CutAtEveryByte(t *testing.T) {
	for _, f := range []tcproom.Framing{
		tcproom.Lines{}, tcproom.Delimiter("\r\n\x00"), tcproom.Length{Bytes: 1}, tcproom.Length{Bytes: 8}, tcproom.Varint{}, tcproom.Netstring{}, tcproom.ContentLength{},
	} {
		t.Run(fmt.Sprintf("%T", f), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newMemRoom(t, tcproom.WithFraming(f), tcproom.WithCodec(tcproom.Raw{}))
				w := r.dial(t, tcproom.WithFraming(f), tcproom.WithCodec(tcproom.Raw{}))
				synctest.Wait()
				bodies := []string{"one", "", "three,3:"}
				var stream []byte
				ends := []int{0}
				for _, body := range bodies {
					var err error
					stream, err = f.AppendFrame(stream, []byte(body))
					require.NoError(t, err)
					ends = append(ends, len(stream))
				}
				for at := range len(stream) + 1 {
					whole := 0
					for whole+1 < len(ends) && ends[whole+1] <= at {
						whole++
					}
					cut := io.ErrUnexpectedEOF
					if ends[whole] == at {
						cut = io.EOF
					}
					for _, fault := range []struct {
						fault roomtest.Fault
						cause error
					}{{fault: roomtest.CutAfter(int64(at)), cause: cut}, {fault: roomtest.ResetAfter(int64(at)), cause: errReset}} {
						nc := r.connect(t)
						nc.Out(fault.fault)
						nc.Write(stream)
						require.ErrorIs(t, r.left.Next(t), fault.cause, "cut at %d", at)
						r.hears(t, w, bodies[:whole]...)
						nc.Close()
					}
				}
				synctest.Wait()
				require.Empty(t, r.left.C)
				require.Empty(t, r.refused.C)
			})
		})
	}
}

// TestF20BehindARefusal: of what a conn sends in one write with what it is
// refused or removed for, nothing that follows is heard.
func TestF20BehindARefusal(t *testing.T) {
	no := errors.New("no")
	messages := strings.Repeat(`{"type":"message","body":"late"}`+"\n", 100)
	const hello = `{"type":"hello","name":"eve"}` + "\n"
	for _, test := range []struct {
		name, before string
		opt          tcproom.RoomOption
		joins        bool
		cause        error
	}{
		{name: "bad hello", before: "nonsense\n", opt: nil, joins: false, cause: tcproom.ErrWrongDoor},
		{name: "bad name", before: `{"type":"hello","name":"a b"}` + "\n", opt: nil, joins: false, cause: tcproom.ErrNameInvalid},
		{name: "name taken", before: `{"type":"hello","name":"ada"}` + "\n", opt: tcproom.WithUniqueNames(true), joins: false, cause: tcproom.ErrNameTaken},
		{name: "full", before: hello, opt: tcproom.WithMaxMembers(1), joins: false, cause: tcproom.ErrRoomFull},
		{name: "Handshake refuses", before: hello, opt: tcproom.WithHandshake(func(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
			if n.Hello().Name == "eve" {
				return tcproom.Identity{}, no
			}
			return tcproom.Identity{}, nil
		}), joins: false, cause: no},
		{name: "OnJoin refuses", before: hello, opt: tcproom.OnJoin(func(c *tcproom.Member) error {
			if c.Name() == "eve" {
				return no
			}
			return nil
		}), joins: false, cause: no},
		{name: "kicked", before: hello + `{"type":"message","body":"kick"}` + "\n", opt: nil, joins: true, cause: tcproom.ErrKicked},
		{name: "hook fails", before: hello + `{"type":"message","body":"fail"}` + "\n", opt: nil, joins: true, cause: no},
		{name: "malformed", before: hello + "nonsense\n", opt: nil, joins: true, cause: tcproom.ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := []tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
					switch string(body) {
					case "kick":
						return nil, m.Kick("no")
					case "fail":
						return nil, no
					}
					t.Errorf("%q was heard", body)
					return nil, nil
				}), test.opt}
				r := newMemRoom(t, opts...)
				w := r.dial(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"))
				nc := r.connect(t)
				_, err := io.WriteString(nc, test.before+messages)
				require.NoError(t, err)
				io.Copy(io.Discard, nc)
				nc.Close()
				if test.joins {
					require.ErrorIs(t, r.left.Next(t), test.cause)
				} else {
					require.ErrorIs(t, r.refused.Next(t), test.cause)
				}
				r.hears(t, w)
				synctest.Wait()
				require.Empty(t, r.left.C)
				require.Empty(t, r.refused.C)
			})
		})
	}
}

// TestF32RejectsLeaveNothing: after thousands of refusals of all kinds there
// are as many descriptors and goroutines as before.
func TestF32RejectsLeaveNothing(t *testing.T) {
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	server, _ := testTLS()
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithMaxPending(4), tcproom.WithHandshakeTimeout(10*time.Millisecond))
	plain, secure := listen(t, "tcp"), listen(t, "tcp")
	var serving, peers sync.WaitGroup
	serving.Go(func() { room.Serve(plain) })
	serving.Go(func() { room.Serve(secure, tcproom.WithTLS(server)) })
	kinds := []struct {
		l    net.Listener
		says string
	}{
		{l: plain, says: ""}, {l: plain, says: "nonsense\n"}, {l: plain, says: `{"type":"hello","name":"a b"}` + "\n"}, {l: plain, says: strings.Repeat("x", 5000)},
		{l: secure, says: ""}, {l: secure, says: "nonsense\n"},
	}
	const dialers = 8
	for i := range dialers {
		peers.Go(func() {
			for j := range times(200, 10000/dialers) {
				kind := kinds[(i+j)%len(kinds)]
				nc, err := net.Dial("tcp", kind.l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(nc, kind.says)
				io.Copy(io.Discard, nc)
				nc.Close()
			}
		})
	}
	peers.Wait()
	stats := room.Stats() // one moment's: each is in one of the two
	require.EqualValues(t, dialers*times(200, 10000/dialers), stats.Refused+uint64(stats.Pending))
	eventually(t, "descriptors back to where they were", func() bool { return descriptors(t) <= fds+2 })
	require.NoError(t, room.Close())
	serving.Wait()
	waitDone(t, room)
	eventually(t, "descriptors back to where they were", func() bool { return descriptors(t) <= fds })
	eventually(t, "goroutines back to where they were", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// closeCounts is a conn that notes what its room counts when it is closed.
type closeCounts struct {
	net.Conn
	room   *tcproom.Room
	counts chan tcproom.Stats
}

func (c *closeCounts) Close() error {
	c.counts <- c.room.Stats()
	return c.Conn.Close()
}

// TestRefusedIsCountedBeforeItIsClosed: a connection is pending, joined or
// refused at any moment that its peer may know of.
func TestRefusedIsCountedBeforeItIsClosed(t *testing.T) {
	for name, opt := range map[string]tcproom.RoomOption{
		"without a slot": tcproom.WithMaxPending(1), "in a slot": tcproom.WithMaxMembers(1),
	} {
		inBubble(name, t, func(t *testing.T) {
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), opt)
			first, _ := enter(t, room)
			if name == "in a slot" {
				io.WriteString(first, `{"type":"hello"}`+"\n")
			}
			synctest.Wait()
			here, there := net.Pipe()
			go func() { io.Copy(io.Discard, here); here.Close() }()
			second := &closeCounts{there, room, make(chan tcproom.Stats, 1)}
			require.Error(t, room.ServeConn(second))
			s := <-second.counts
			require.EqualValues(t, 2, uint64(s.Pending)+s.Joined+s.Refused)
			require.NoError(t, room.Close())
		})
	}
}

// TestF33RestartOnOnePort: a room listens where one ended a moment ago.
func TestF33RestartOnOnePort(t *testing.T) {
	l := listen(t, "tcp")
	addr := l.Addr().String()
	for i := range 50 {
		room := tcproom.New()
		served := make(chan error, 1)
		go func() { served <- room.Serve(l) }()
		a, b := dial(t, addr), dial(t, addr)
		waitLen(t, room, 2)
		send(t, a, "hi")
		require.Equal(t, "hi", nextMessage(t, b))
		if i%2 == 0 {
			require.NoError(t, room.Close())
		} else {
			go a.Close()
			go b.Close()
			require.NoError(t, room.Shutdown(testContext(t)))
		}
		require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
		a.Close()
		b.Close()
		var err error
		l, err = net.Listen("tcp", addr)
		require.NoError(t, err)
	}
	require.NoError(t, l.Close())
}
