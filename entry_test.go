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
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// door returns a door of room, which stops at the end of the test.
func door(t testing.TB, room *tcproom.Room, opts ...tcproom.ConnOption) *tcproom.Door {
	t.Helper()
	d, err := room.Door(opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		room.Close()
		waitDone(t, room)
	})
	return d
}

// pairOver returns the two ends of a connection over a network; of "tls" and "pipe",
// too.
func pairOver(t testing.TB, network string) (here, there net.Conn) {
	t.Helper()
	switch network {
	case "pipe":
		here, there := roomtest.Pipe()
		t.Cleanup(func() { there.Close() })
		return here, there
	case "tls":
		server, client := testTLS()
		here, there := pairOver(t, "tcp")
		cfg := client.Clone()
		cfg.ServerName = "localhost"
		tlsHere, tlsThere := tls.Server(here, server), tls.Client(there, cfg)
		shaken := make(chan error, 1)
		go func() { shaken <- tlsThere.Handshake() }()
		require.NoError(t, tlsHere.Handshake())
		require.NoError(t, <-shaken)
		return tlsHere, tlsThere
	}
	l := listen(t, network)
	defer l.Close()
	there, err := net.Dial(l.Addr().Network(), l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { there.Close() })
	here, err = l.Accept()
	require.NoError(t, err)
	return here, there
}

var networks = []string{"tcp", "unix", "tls", "pipe"}

// TestAdmitDealsWithWhatWasRead: frames that were read before are dealt with although
// nothing more comes, and a part of one waits for its rest.
func TestAdmitDealsWithWhatWasRead(t *testing.T) {
	checkGoroutines(t)
	for _, network := range networks {
		for _, read := range []string{"one\ntwo\n", "one\ntwo\nthr", "\n", ""} {
			t.Run(fmt.Sprintf("%s %q", network, read), func(t *testing.T) {
				room := tcproom.New(tcproom.WithNotices(false))
				watcher := join(t, room)
				here, there := pairOver(t, network)
				require.NoError(t, door(t, room).Admit(here, tcproom.Arrival{Read: []byte(read)}))
				all := "one\ntwo\nthree\nfour\n"
				if read == "\n" {
					read, all = "", "one\n"
				}
				for _, line := range strings.Split(strings.TrimSuffix(read, "thr"), "\n") {
					if line != "" {
						require.Equal(t, line, nextMessage(t, watcher))
					}
				}
				_, err := io.WriteString(there, all[len(read):])
				require.NoError(t, err)
				for _, line := range strings.Split(strings.TrimSpace(all), "\n")[strings.Count(read, "\n"):] {
					require.Equal(t, line, nextMessage(t, watcher))
				}
			})
		}
	}
}

// TestAdmitLongRead: what was read may be more than a buffer, and hold frames of any
// size; it does not count against what may come before the join.
func TestAdmitLongRead(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			room := tcproom.New(tcproom.WithNotices(false))
			watcher := join(t, room)
			here, there := pairOver(t, network)
			long := strings.Repeat("x", 40<<10)
			read := long + "\n" + strings.Repeat("short\n", 5000) + long[:20<<10]
			require.NoError(t, door(t, room).Admit(here, tcproom.Arrival{Read: []byte(read)}))
			_, err := io.WriteString(there, long[20<<10:]+"\nlast\n")
			require.NoError(t, err)
			require.Equal(t, long, nextMessage(t, watcher))
			for range 5000 {
				require.Equal(t, "short", nextMessage(t, watcher))
			}
			require.Equal(t, long, nextMessage(t, watcher))
			require.Equal(t, "last", nextMessage(t, watcher))
		})
	}
}

// TestAdmitBeneathTLS: at a door with TLS, what was read of a connection that is plain
// so far is the beginning of the handshake.
func TestAdmitBeneathTLS(t *testing.T) {
	server, client := testTLS()
	room := tcproom.New(tcproom.WithNotices(false))
	watcher := join(t, room)
	d := door(t, room, tcproom.WithTLS(server))
	here, there := pairOver(t, "tcp")
	cfg := client.Clone()
	cfg.ServerName = "localhost"
	secure := tls.Client(there, cfg)
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(secure, "over TLS\n")
		sent <- err
	}()
	first := make([]byte, 3)
	_, err := io.ReadFull(here, first)
	require.NoError(t, err)
	require.NoError(t, d.Admit(here, tcproom.Arrival{Read: first}))
	require.NoError(t, <-sent)
	require.Equal(t, "over TLS", nextMessage(t, watcher))
}

// TestAdmitIdentity: it stands in place of the handshake hook; a hello is read still.
func TestAdmitIdentity(t *testing.T) {
	type key struct{}
	for _, test := range []struct {
		name   string
		codec  tcproom.Codec
		id     *tcproom.Identity
		sends  string
		member string
		called bool
	}{
		{name: "text", codec: tcproom.Text{}, id: &tcproom.Identity{Name: "ada"}, sends: "", member: "ada", called: false},
		{name: "text, no name", codec: tcproom.Text{}, id: &tcproom.Identity{}, sends: "", member: "guest-1", called: false},
		{name: "hello", codec: tcproom.JSON{}, id: &tcproom.Identity{Name: "ada"}, sends: `{"type":"hello","name":"bob"}` + "\n", member: "ada", called: false},
		{name: "hello names", codec: tcproom.JSON{}, id: &tcproom.Identity{}, sends: `{"type":"hello","name":"bob"}` + "\n", member: "bob", called: false},
		{name: "the hook", codec: tcproom.JSON{}, id: nil, sends: `{"type":"hello","name":"bob"}` + "\n", member: "hooked", called: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			joined, called := make(chan *tcproom.Member, 1), false
			room := tcproom.New(
				tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
					called = true
					return tcproom.Identity{Name: "hooked"}, nil
				}),
				tcproom.OnJoined(func(m *tcproom.Member, _ uint64) { joined <- m }))
			here, there := pairOver(t, "tcp")
			if test.id != nil {
				test.id.Context = context.WithValue(context.Background(), key{}, "value")
			}
			require.NoError(t, door(t, room, tcproom.WithCodec(test.codec)).Admit(here, tcproom.Arrival{Identity: test.id}))
			_, err := io.WriteString(there, test.sends)
			require.NoError(t, err)
			m := <-joined
			require.Equal(t, test.member, m.Name())
			require.Equal(t, test.called, called)
			if test.id != nil {
				require.Equal(t, "value", m.Context().Value(key{}))
			}
		})
	}
}

// TestAdmitAddr: the address that a proxy told is the peer's, before anything is read,
// and the bound of connections counts by it.
func TestAdmitAddr(t *testing.T) {
	rejected := newCauses()
	room := tcproom.New(tcproom.WithMaxPerAddress(1), tcproom.OnReject(rejected.Rejected))
	d := door(t, room)
	admit := func(addr string) error {
		here, _ := pairOver(t, "tcp")
		a, err := net.ResolveTCPAddr("tcp", addr)
		require.NoError(t, err)
		return d.Admit(here, tcproom.Arrival{Addr: a})
	}
	require.NoError(t, admit("192.0.2.1:1"))
	require.NoError(t, admit("192.0.2.2:1"))
	require.ErrorIs(t, admit("192.0.2.1:2"), errTooManyFromAddress)
	require.ErrorIs(t, rejected.Next(t), errTooManyFromAddress)
	waitLen(t, room, 2)
	var addrs []string
	for m := range room.Members() {
		addrs = append(addrs, m.RemoteAddr().String())
	}
	slices.Sort(addrs)
	require.Equal(t, []string{"192.0.2.1:1", "192.0.2.2:1"}, addrs)
	for m := range room.Members() {
		require.NoError(t, m.Kick("out"))
	}
	eventually(t, "the address is free again", func() bool { return admit("192.0.2.1:3") == nil })
}

// closedToTheEnd checks that the other end of there was closed, without a word.
func closedToTheEnd(t testing.TB, there net.Conn) {
	t.Helper()
	there.SetReadDeadline(time.Now().Add(within))
	said, err := io.ReadAll(there)
	require.Empty(t, said)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

// TestAdmitRefuses: with an error the connection is closed, and OnReject is told,
// unless the room stops.
func TestAdmitRefuses(t *testing.T) {
	checkGoroutines(t)
	rejected := newCauses()
	room := tcproom.New(tcproom.WithMaxPending(1), tcproom.WithCodec(tcproom.JSON{}), tcproom.OnReject(rejected.Rejected))
	d, other := door(t, room), door(t, room)
	refused := func(want error) {
		t.Helper()
		here, there := pairOver(t, "tcp")
		require.ErrorIs(t, d.Admit(here, tcproom.Arrival{}), want)
		closedToTheEnd(t, there)
	}
	require.NoError(t, other.Close())
	require.NoError(t, other.Close())
	here, waiting := pairOver(t, "tcp")
	require.NoError(t, d.Admit(here, tcproom.Arrival{}))
	require.Equal(t, 1, room.Stats().Pending, "it has its slot when Admit returns")
	refused(errTooManyPending)
	require.ErrorIs(t, rejected.Next(t), errTooManyPending)
	waiting.Close()
	require.ErrorIs(t, rejected.Next(t), io.EOF)
	require.NoError(t, d.Close())
	refused(net.ErrClosed)
	require.ErrorIs(t, rejected.Next(t), net.ErrClosed)
	require.NoError(t, room.Close())
	refused(tcproom.ErrRoomClosed)
	require.Equal(t, uint64(4), room.Stats().Refused)
	require.Empty(t, rejected.C)
	_, err := room.Door()
	require.ErrorIs(t, err, tcproom.ErrRoomClosed)
}

// TestDoorCheck: a door says beforehand what it would say to a connection, and counts
// nobody for that.
func TestDoorCheck(t *testing.T) {
	checkGoroutines(t)
	room := tcproom.New(tcproom.WithMaxPending(2), tcproom.WithMaxPerAddress(1), tcproom.WithCodec(tcproom.JSON{}))
	d := door(t, room)
	from := func(addr string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(addr), Port: 1} }
	admit := func(addr string) {
		here, there := pairOver(t, "tcp")
		t.Cleanup(func() { there.Close() })
		require.NoError(t, d.Admit(here, tcproom.Arrival{Addr: from(addr)}))
	}
	for range 3 {
		require.NoError(t, d.Check(from("192.0.2.1")))
	}
	admit("192.0.2.1")
	require.ErrorIs(t, d.Check(from("192.0.2.1")), errTooManyFromAddress)
	require.NoError(t, d.Check(from("192.0.2.2")))
	require.NoError(t, d.Check(nil))
	admit("192.0.2.2")
	require.ErrorIs(t, d.Check(nil), errTooManyPending)
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Check(nil), net.ErrClosed)
	require.NoError(t, room.Close())
	require.ErrorIs(t, d.Check(nil), tcproom.ErrRoomClosed)
	require.Equal(t, uint64(2), room.Stats().Refused, "those that were admitted")
}

// TestDoorReject: a connection that fails before it is admitted is closed, counted and
// told of.
func TestDoorReject(t *testing.T) {
	checkGoroutines(t)
	type rejected struct {
		addr  string
		cause error
	}
	told := make(chan rejected, 1)
	room := tcproom.New(tcproom.OnReject(func(n *tcproom.Newcomer, cause error) { told <- rejected{n.RemoteAddr().String(), cause} }))
	d := door(t, room)
	here, there := pairOver(t, "tcp")
	broken := fmt.Errorf("%w: on the way", errReset)
	d.Reject(here, tcproom.Arrival{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}}, broken)
	closedToTheEnd(t, there)
	require.Equal(t, rejected{"192.0.2.1:7", broken}, <-told)
	require.Equal(t, uint64(1), room.Stats().Refused)
	require.NoError(t, room.Close())
	here, there = pairOver(t, "tcp")
	d.Reject(here, tcproom.Arrival{}, broken)
	closedToTheEnd(t, there)
	require.Empty(t, told)
}

// TestAdmitFullRoom: a room that has as many members as it may tells so, as its codec
// does.
func TestAdmitFullRoom(t *testing.T) {
	rejected := newCauses()
	room := tcproom.New(tcproom.WithMaxMembers(1), tcproom.OnReject(rejected.Rejected))
	join(t, room)
	here, there := pairOver(t, "tcp")
	require.NoError(t, door(t, room).Admit(here, tcproom.Arrival{}))
	there.SetReadDeadline(time.Now().Add(within))
	said, err := io.ReadAll(there)
	require.NoError(t, err)
	require.Equal(t, "* goodbye: room is full\n", string(said))
	require.ErrorIs(t, rejected.Next(t), tcproom.ErrRoomFull)
}

func TestDoorRefusesOptions(t *testing.T) {
	room := tcproom.New()
	defer room.Close()
	_, err := room.Door(tcproom.WithHeartbeat(time.Second))
	require.ErrorIs(t, err, tcproom.ErrOption)
	for i := 0; ; i++ {
		require.Less(t, i, 17)
		if _, err = room.Door(tcproom.WithFraming(tcproom.Delimiter(rune('a' + i)))); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, errTooManyLanes)
}

// TestDoorClose: its listeners are closed, its members stay, and what members send
// need not fit its framing any more.
func TestDoorClose(t *testing.T) {
	checkGoroutines(t)
	room := tcproom.New(tcproom.WithNotices(false), tcproom.WithFraming(tcproom.Length{}), tcproom.WithCodec(tcproom.Raw{}))
	d := door(t, room, tcproom.WithFraming(tcproom.Lines{}))
	l := listen(t, "tcp")
	served := make(chan error, 1)
	go func() { served <- d.Serve(l) }()
	member := dialRaw(t, l.Addr().String())
	waitLen(t, room, 1)
	_, err := room.Broadcast(testContext(t), []byte("two\nlines"))
	require.ErrorIs(t, err, tcproom.ErrUnframeable)
	require.NoError(t, d.Close())
	require.ErrorIs(t, <-served, net.ErrClosed)
	require.ErrorIs(t, d.Serve(listen(t, "tcp")), net.ErrClosed)
	_, err = room.Broadcast(testContext(t), []byte("one line"))
	require.NoError(t, err)
	line, err := bufio.NewReader(member).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "one line\n", line)
	_, err = room.Broadcast(testContext(t), []byte("two\nlines"))
	require.NoError(t, err)
	waitLen(t, room, 0) // it cannot get that
}

// TestAdmittedQuietMembersHaveNoGoroutine: a socket that was given is watched like one
// that was accepted, if nothing of what was read is left.
func TestAdmittedQuietMembersHaveNoGoroutine(t *testing.T) {
	if !direct || runtime.GOOS != "linux" {
		t.Skip("here each has a goroutine")
	}
	room := tcproom.New(tcproom.WithNotices(false))
	d := door(t, room)
	before := runtime.NumGoroutine()
	var conns []net.Conn
	for i := range 40 {
		network := networks[i%2]
		here, there := pairOver(t, network)
		require.NoError(t, d.Admit(here, tcproom.Arrival{}))
		conns = append(conns, there)
	}
	waitLen(t, room, len(conns))
	eventually(t, "a goroutine for all of them", func() bool { return runtime.NumGoroutine() <= before+1 })
	_, err := io.WriteString(conns[0], "hi\n")
	require.NoError(t, err)
	for _, nc := range conns[1:] {
		line, err := bufio.NewReader(nc).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "guest-1: hi\n", line)
	}
}

// TestAdmitClearsDeadlines that an HTTP server has left on the connection.
func TestAdmitClearsDeadlines(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			room := tcproom.New(tcproom.WithNotices(false))
			watcher := join(t, room)
			here, there := pairOver(t, network)
			require.NoError(t, here.SetDeadline(time.Now().Add(-time.Second)))
			require.NoError(t, door(t, room).Admit(here, tcproom.Arrival{Read: []byte("first\n")}))
			require.Equal(t, "first", nextMessage(t, watcher))
			_, err := io.WriteString(there, "second\n")
			require.NoError(t, err)
			require.Equal(t, "second", nextMessage(t, watcher))
		})
	}
}

// TestAdmitDoesNotWait: hooks that block hold up neither Admit nor others.
func TestAdmitDoesNotWait(t *testing.T) {
	checkGoroutines(t)
	release := make(chan struct{})
	room := tcproom.New(tcproom.WithMaxPending(1000),
		tcproom.WithNameValidator(func(string) error { <-release; return nil }))
	d := door(t, room)
	const n = 200
	for i := range n {
		here, _ := pairOver(t, "pipe")
		require.NoError(t, d.Admit(here, tcproom.Arrival{Identity: &tcproom.Identity{Name: fmt.Sprint("m", i)}}))
	}
	require.Equal(t, n, room.Stats().Pending)
	close(release)
	waitLen(t, room, n)
}

// TestStopWhileAdmitting: whatever a stop meets, each connection that was given is
// closed, and nothing is left of it (P9).
func TestStopWhileAdmitting(t *testing.T) {
	checkGoroutines(t)
	for i := range times(60, 1000) {
		room := tcproom.New(tcproom.WithNotices(i%2 == 0))
		d, err := room.Door()
		require.NoError(t, err)
		var admitting sync.WaitGroup
		var peers []net.Conn
		for range 4 {
			here, there := pairOver(t, networks[i%2])
			piped, other := net.Pipe()
			peers = append(peers, there, other)
			for _, nc := range []net.Conn{here, piped} {
				admitting.Go(func() {
					err := d.Admit(nc, tcproom.Arrival{Read: []byte("hi\nhalf")})
					if err != nil && !errors.Is(err, tcproom.ErrRoomClosed) && !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
				})
			}
		}
		admitting.Go(func() {
			switch i % 3 {
			case 0:
				room.Close()
			case 1:
				d.Close()
			}
		})
		for _, there := range peers {
			admitting.Go(func() { io.Copy(io.Discard, there); there.Close() })
		}
		if i%3 > 0 {
			require.NoError(t, room.Shutdown(testContext(t)))
		}
		waitDone(t, room)
		admitting.Wait()
		require.Zero(t, room.Len())
		require.Zero(t, room.Stats().Pending)
	}
}

// TestChecks: what a connection has to pass, by the room's options and those of a door.
func TestChecks(t *testing.T) {
	ask := tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
		return tcproom.Identity{}, nil
	})
	rate := tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter { return nil })
	filter := tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil })
	for _, tt := range []struct {
		name            string
		room            []tcproom.RoomOption
		door            []tcproom.ConnOption
		joins, messages bool
	}{
		{name: "nothing"},
		{name: "handshake", room: []tcproom.RoomOption{ask}, joins: true},
		{name: "handshake of a door", door: []tcproom.ConnOption{ask}, joins: true},
		{name: "none of a door", room: []tcproom.RoomOption{ask, rate}, door: []tcproom.ConnOption{tcproom.WithHandshake(nil), tcproom.WithRate(nil)}},
		{name: "OnMessage", room: []tcproom.RoomOption{filter}, messages: true},
		{name: "rate", room: []tcproom.RoomOption{rate}, messages: true},
		{name: "rate of a door", door: []tcproom.ConnOption{rate}, messages: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			room := tcproom.New(tt.room...)
			for range 2 {
				joins, messages, err := room.Checks(tt.door...)
				require.NoError(t, err)
				require.Equal(t, tt.joins, joins)
				require.Equal(t, tt.messages, messages)
				require.NoError(t, room.Close())
			}
			_, _, err := room.Checks(tcproom.WithMaxMessage(1 << 30))
			require.ErrorIs(t, err, tcproom.ErrOption)
		})
	}
}
