package tcproom_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
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

// resuming has a hello go on from the welcome w.
func resuming(w tcproom.Event) tcproom.DialOption {
	return tcproom.WithResume(tcproom.Resume{Token: w.Welcome.Token, Epoch: w.Welcome.Epoch, Seq: w.Seq})
}

func TestP16ClientResumes(t *testing.T) {
	inBubble("nothing is lost or doubled, and nobody notices", t, clientResumes)
	inBubble("a gap names what is lost", t, clientHasAGap)
	inBubble("a client that talks alone has no gap", t, clientTalksAlone)
	inBubble("a stranger after the grace, and history that it has is not given again", t, clientExpires)
	inBubble("above the numbers of another program", t, clientAboveOtherNumbers)
	inBubble("from what another client has noted", t, clientGoesOnForAnother)
	inBubble("by a room that acknowledges no more", t, clientIsNotAcknowledgedAnyMore)
}

func clientResumes(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{})
	bob := srv.Join("bob")
	ada, link := newClient(t, srv, "ada")
	hearAll(t, ada, "welcome joined")
	bob.Expect(roomtest.Joined("ada"))
	bob.Send("one")
	hearAll(t, ada, "3 one")
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	hearAll(t, ada, "lost")
	bob.Send("two")
	srv.Join("eve").Leave()
	bob.Expect(roomtest.Joined("eve"), roomtest.Left("eve"))
	link.setDown(nil)
	hearAll(t, ada, "welcome resumed", "4 two", "5 Join eve", "6 Leave eve")
	bob.Send("three")
	hearAll(t, ada, "7 three")
	require.Equal(t, uint64(8), sayAcked(t, ada, "mine"))
	bob.Expect(roomtest.Message("ada", "mine"))
	for range 3 { // with no event between
		link.now().Reset()
		hearAll(t, ada, "lost", "welcome resumed")
	}
	require.NoError(t, ada.Close())
	bob.Expect(roomtest.Left("ada"))
}

func clientHasAGap(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{Events: 100})
	bob := srv.Join("bob")
	ada, link := newClient(t, srv, "ada")
	hearAll(t, ada, "welcome joined")
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	hearAll(t, ada, "lost")
	for i := range 250 {
		bob.Send(fmt.Sprint(i))
	}
	link.setDown(nil)
	hearAll(t, ada, "welcome gap", "gap 3-152")
	for i := range 100 {
		hearAll(t, ada, fmt.Sprintf("%d %d", 153+i, 150+i))
	}
	link.now().Reset()
	hearAll(t, ada, "lost", "welcome resumed")
	bob.Send("on")
	hearAll(t, ada, "253 on")
}

func clientTalksAlone(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{Events: 10})
	ada, link := newClient(t, srv, "ada")
	hearAll(t, ada, "welcome joined")
	for range 50 {
		say(t, ada, "mine")
	}
	require.Equal(t, uint64(52), sayAcked(t, ada, "mine"))
	link.now().Reset()
	hearAll(t, ada, "lost", "welcome resumed")
}

func clientExpires(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{Grace: time.Minute}, tcproom.WithHistory(tcproom.History{}))
	bob := srv.Join("bob")
	bob.Send("before")
	ada, link := newClient(t, srv, "ada")
	hearAll(t, ada, "welcome joined", "history 2 before")
	bob.Expect(roomtest.Joined("ada"))
	bob.Send("heard")
	hearAll(t, ada, "4 heard")
	link.setDown(io.ErrNoProgress)
	link.now().Reset()
	hearAll(t, ada, "lost")
	time.Sleep(time.Minute)
	bob.Expect(roomtest.Left("ada"))
	bob.Send("missed")
	link.setDown(nil)
	hearAll(t, ada, "welcome expired", "history 6 missed")
	bob.Expect(roomtest.Joined("ada"))
	bob.Send("live")
	hearAll(t, ada, "8 live")
}

func clientAboveOtherNumbers(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{})
	bob := srv.Join("bob")
	nc, err := srv.Net.Dial(t.Context(), "tcp", srv.Addr)
	require.NoError(t, err)
	fmt.Fprintln(nc, `{"type":"hello","name":"ada"}`)
	line, err := bufio.NewReader(nc).ReadBytes('\n')
	require.NoError(t, err)
	var w tcproom.Event
	require.NoError(t, tcproom.JSON{}.ParseEvent(line, &w))
	fmt.Fprintln(nc, `{"type":"message","id":9000000000000000000,"body":"old"}`)
	bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "old"))
	for _, offline := range []int{-1, 1 << 20} {
		ada, link := newClient(t, srv, "ada", tcproom.WithOffline(offline),
			resuming(w))
		sayAcked(t, ada, "new")
		bob.Expect(roomtest.Message("ada", "new"))
		link.now().Reset()
		sayAcked(t, ada, "newer")
		bob.Expect(roomtest.Message("ada", "newer"))
	}
}

func clientGoesOnForAnother(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{})
	bob := srv.Join("bob")
	old, link := newClient(t, srv, "ada")
	w, err := old.Receive(t.Context())
	require.NoError(t, err)
	bob.Expect(roomtest.Joined("ada"))
	for range 5 {
		sayAcked(t, old, "old")
	}
	link.setDown(io.ErrNoProgress)
	link.now().Reset() // its process is gone
	bob.Send("missed")
	ada, _ := newClient(t, srv, "ada", resuming(w))
	hearAll(t, ada, "welcome resumed", "8 missed")
	require.Equal(t, uint64(9), sayAcked(t, ada, "new"), "a number that the room knows is not used again")
}

// A room that resumes a client without a token breaks the protocol: it acknowledges
// nothing, so what was on its way is uncertain, and is not sent again.
func clientIsNotAcknowledgedAnyMore(t *testing.T) {
	var network roomtest.Network
	l, err := network.Listen("")
	require.NoError(t, err)
	defer l.Close()
	c := tcproom.NewClient(t.Context(), l.Addr().String(), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDialer(network.Dial))
	accept := func(welcome string) (net.Conn, *bufio.Reader) {
		nc, err := l.Accept()
		require.NoError(t, err)
		r := bufio.NewReader(nc)
		_, err = r.ReadString('\n')
		require.NoError(t, err)
		_, err = fmt.Fprintln(nc, welcome)
		require.NoError(t, err)
		return nc, r
	}
	nc, r := accept(`{"type":"welcome","epoch":"e","seq":1,"id":"1","name":"ada","outcome":"joined","token":"t"}`)
	say(t, c, "one")
	acked := make(chan error, 1)
	go func() {
		_, err := c.SendAcked(t.Context(), []byte("two"))
		acked <- err
	}()
	for _, body := range []string{"one", "two"} {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, body)
	}
	synctest.Wait()
	nc.Close()
	nc, r = accept(`{"type":"welcome","epoch":"e","seq":1,"id":"1","name":"ada","outcome":"resumed"}`)
	defer nc.Close()
	hearAll(t, c, "welcome joined", "lost", "welcome resumed", "uncertain one")
	require.ErrorIs(t, <-acked, tcproom.ErrUncertain)
	say(t, c, "three")
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "three")
	nc.Close()
	c.Close()
}

// TestP16ClientCutAnywhere cuts the connection over which a client resumes, at
// every byte of it: what it hears in all is the same.
func TestP16ClientCutAnywhere(t *testing.T) {
	whole := 0
	for n := int64(0); whole < 3; n++ {
		require.Less(t, n, int64(2000))
		synctest.Test(t, func(t *testing.T) {
			srv := sessionServer(t, tcproom.Sessions{Events: 3})
			bob := srv.Join("bob")
			ada, link := newClient(t, srv, "ada")
			hearAll(t, ada, "welcome joined")
			link.setDown(io.ErrNoProgress)
			link.now().Reset()
			hearAll(t, ada, "lost")
			for i := range 10 {
				bob.Send(fmt.Sprint(i))
			}
			var faulty *roomtest.Conn
			link.setFault(func(nc *roomtest.Conn) {
				nc.In(roomtest.ResetAfter(n))
				faulty = nc
			})
			link.setDown(nil)
			synctest.Wait()
			time.Sleep(time.Minute)
			bob.Send("live")
			var got []string
			for len(got) == 0 || got[len(got)-1] != "13 live" {
				got = append(got, hear(t, ada))
			}
			if link.now() == faulty {
				whole++
			}
			got = slices.DeleteFunc(got, func(s string) bool { return s == "lost" || strings.HasPrefix(s, "welcome") })
			require.Equal(t, []string{"gap 3-9", "10 7", "11 8", "12 9", "13 live"}, got, "cut at %d", n)
		})
	}
}

// TestF44 checks that clients which lose their room together do not come
// back together, and each exactly when it says.
func TestF44ClientsComeBackSpreadOut(t *testing.T) {
	inBubble("10,000 clients", t, func(t *testing.T) {
		const n, buckets, window = 10_000, 20, 100 * time.Millisecond
		var mu sync.Mutex
		var hist [buckets]int
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range n {
			dials := 0
			var promised time.Duration
			var c *tcproom.Client
			dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
				if dials++; dials == 1 {
					return nil, io.ErrNoProgress
				}
				mu.Lock()
				hist[min(time.Since(start)*buckets/window, buckets-1)]++
				promised = time.Since(start)
				mu.Unlock()
				<-ctx.Done()
				return nil, ctx.Err()
			}
			c = tcproom.NewClient(ctx, "room:1", tcproom.WithDialer(dial))
			wg.Go(func() {
				ev, err := c.Receive(ctx)
				if err != nil || ev.Kind != tcproom.Lost || ev.End.RetryAfter >= window {
					t.Error(ev, err)
					return
				}
				time.Sleep(window)
				mu.Lock()
				defer mu.Unlock()
				if promised != ev.End.RetryAfter {
					t.Errorf("it dialled after %v, and said %v", promised, ev.End.RetryAfter)
				}
			})
		}
		wg.Wait()
		cancel()
		total := 0
		for _, k := range hist {
			total += k
			require.LessOrEqual(t, k, 2*n/buckets, "%v", hist)
			require.GreaterOrEqual(t, k, n/buckets/2, "%v", hist)
		}
		require.Equal(t, n, total)
	})

	inBubble("the room's word", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{RetryAfter: time.Minute})
		c, link := newClient(t, srv, "ada")
		hearAll(t, c, "welcome joined")
		require.NoError(t, srv.Room.Shutdown(t.Context()))
		hearAll(t, c, "goodbye closed")
		ev, err := c.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, tcproom.Lost, ev.Kind)
		require.Equal(t, tcproom.ErrRoomClosed, ev.End.Cause)
		require.GreaterOrEqual(t, ev.End.RetryAfter, time.Minute)
		require.Less(t, ev.End.RetryAfter, time.Minute+30*time.Second)
		require.Equal(t, 1, link.dialled())
		time.Sleep(ev.End.RetryAfter - 1)
		synctest.Wait()
		require.Equal(t, 1, link.dialled())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, 2, link.dialled())
	})
}

func TestClientDoesNotComeBack(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, srv *roomtest.Server) // of ada; nil: she is not let in
		opts []tcproom.RoomOption
		dial []tcproom.DialOption
		want func(t *testing.T, err error)
	}{
		{name: "after a kick", end: func(t *testing.T, srv *roomtest.Server) { srv.Kick("ada", "rude") },
			want: func(t *testing.T, err error) {
				require.ErrorIs(t, err, tcproom.ErrKicked)
				require.ErrorContains(t, err, `"rude"`)
			}},
		{name: "after a failed authentication",
			opts: []tcproom.RoomOption{tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
				return tcproom.Identity{}, errors.New("wrong password")
			})},
			want: func(t *testing.T, err error) {
				refused, ok := errors.AsType[*tcproom.RefusedError](err)
				require.True(t, ok)
				require.Equal(t, "wrong password", refused.Text)
			}},
		{name: "where it speaks another version", dial: []tcproom.DialOption{tcproom.WithCodec(future{})},
			want: func(t *testing.T, err error) {
				refused, ok := errors.AsType[*tcproom.RefusedError](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, tcproom.ErrMalformed, refused.Cause)
			}},
		{name: "with a name that nobody can have",
			dial: []tcproom.DialOption{tcproom.WithName("a b")},
			want: func(t *testing.T, err error) { require.ErrorIs(t, err, tcproom.ErrNameInvalid) }},
		{name: "with a token that cannot be said",
			dial: []tcproom.DialOption{tcproom.WithResume(tcproom.Resume{Token: "a b"})},
			want: func(t *testing.T, err error) {
				require.ErrorContains(t, err, "hello: tcproom: resume token: not printable ASCII")
			}},
	}
	for _, tt := range tests {
		inBubble(tt.name, t, func(t *testing.T) {
			srv := sessionServer(t, tcproom.Sessions{}, tt.opts...)
			c, link := newClient(t, srv, "ada", tt.dial...)
			if tt.end != nil {
				hearAll(t, c, "welcome joined")
				tt.end(t, srv)
			}
			tt.want(t, ends(t, c))
			dials := link.dialled()
			time.Sleep(time.Hour)
			require.Equal(t, dials, link.dialled())
			require.Equal(t, c.Err(), c.Send(t.Context(), []byte("hi")))
			_, err := c.SendAcked(t.Context(), []byte("hi"))
			require.Equal(t, c.Err(), err)
			require.Zero(t, srv.Room.Len())
		})
	}

	t.Run("where it does not trust the certificate", func(t *testing.T) {
		server, _ := testTLS()
		addr := serveTCP(t, tcproom.New(tcproom.WithTLS(server)))
		c := tcproom.NewClient(t.Context(), addr, tcproom.WithTLS(&tls.Config{}))
		require.ErrorAs(t, ends(t, c), new(*tls.CertificateVerificationError))
	})
	t.Run("where it speaks an old TLS", func(t *testing.T) {
		server, client := testTLS()
		server, client = server.Clone(), client.Clone()
		server.MinVersion, client.MaxVersion = tls.VersionTLS13, tls.VersionTLS12
		addr := serveTCP(t, tcproom.New(tcproom.WithTLS(server)))
		c := tcproom.NewClient(t.Context(), addr, tcproom.WithTLS(client))
		require.ErrorContains(t, ends(t, c), "protocol version")
	})
	t.Run("where its certificate is missing", func(t *testing.T) {
		server, client := testTLS()
		server = server.Clone()
		server.ClientAuth = tls.RequireAnyClientCert
		addr := serveTCP(t, tcproom.New(tcproom.WithTLS(server)))
		c := tcproom.NewClient(t.Context(), addr, tcproom.WithTLS(client))
		require.ErrorContains(t, ends(t, c), "certificate required")
	})
	t.Run("where the address makes no sense", func(t *testing.T) {
		require.ErrorAs(t, ends(t, tcproom.NewClient(t.Context(), "localhost")), new(*net.AddrError))
	})
}

// future is JSON with a hello of another kind.
type future struct{ tcproom.JSON }

func (c future) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	if req.Kind == tcproom.ReqHello {
		return append(dst, `{"type":"hello2"}`...), nil
	}
	return c.JSON.AppendRequest(dst, req)
}

func TestClientComesBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{name: "DNS", err: &net.DNSError{Err: "no such host", Name: "room"}},
		{name: "refused", err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}},
	} {
		inBubble("from "+tt.name, t, func(t *testing.T) {
			srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour})
			c, link := newClient(t, srv, "ada")
			hearAll(t, c, "welcome joined")
			link.setDown(tt.err)
			link.now().Reset()
			hearAll(t, c, "lost")
			time.Sleep(10 * time.Second)
			require.Greater(t, link.dialled(), 5)
			link.setDown(nil)
			hearAll(t, c, "welcome resumed")
		})
	}

	inBubble("when the room is full", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.WithMaxMembers(1))
		bob := srv.Join("bob")
		c, _ := newClient(t, srv, "ada")
		ev, err := c.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, tcproom.Lost, ev.Kind)
		require.Equal(t, tcproom.ErrRoomFull, ev.End.Cause)
		bob.Leave()
		hearAll(t, c, "welcome joined")
	})

	inBubble("to another life of the room", t, func(t *testing.T) {
		network := new(roomtest.Network)
		open := func() *tcproom.Room {
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithHistory(tcproom.History{}))
			l, err := network.Listen("room:9000")
			require.NoError(t, err)
			go room.Serve(l)
			t.Cleanup(func() { room.Close() })
			return room
		}
		l := &link{net: network}
		room := open()
		c := tcproom.NewClient(t.Context(), "room:9000", tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDialer(l.dial))
		hearAll(t, c, "welcome joined")
		for range 10 {
			sayAcked(t, c, "mine")
		}
		room.Close()
		hearAll(t, c, "lost")
		room = open()
		for i := range 3 {
			room.Broadcast(t.Context(), fmt.Append(nil, "new ", i))
		}
		hearAll(t, c, "welcome expired", "history 1 new 0", "history 2 new 1", "history 3 new 2")
		require.Equal(t, uint64(5), sayAcked(t, c, "mine"))
		require.NoError(t, c.Close())
	})
}

// TestClientComesBackAnew: without sessions each connection is a new member.
func TestClientComesBackAnew(t *testing.T) {
	inBubble("without sessions, and to the rest of the history", t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithHistory(tcproom.History{}))
		for i := range 10 {
			srv.Room.Broadcast(t.Context(), fmt.Append(nil, "past ", i))
		}
		after := int64(0)
		c, _ := newClient(t, srv, "ada", tcproom.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := srv.Net.Dial(ctx, network, addr)
			if err == nil {
				after += 100
				nc.(*roomtest.Conn).In(roomtest.ResetAfter(after))
			}
			return nc, err
		}))
		var got []string
		for len(got) < 10 {
			if s := hear(t, c); s != "lost" && s != "welcome" {
				got = append(got, s)
			}
		}
		for i, s := range got {
			require.Equal(t, fmt.Sprintf("history %d past %d", i+1, i), s)
		}
	})

	inBubble("in lines of text, which give history no number", t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithHistory(tcproom.History{}))
		srv.Room.Broadcast(t.Context(), []byte("before"))
		c, _ := newClient(t, srv, "", tcproom.WithCodec(tcproom.Text{}))
		hearAll(t, c, "welcome", "history 0 before")
	})

	inBubble("in lines of text, to a full room", t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.WithMaxMembers(1))
		srv.Join("bob")
		c, _ := newClient(t, srv, "", tcproom.WithCodec(tcproom.Text{}))
		hearAll(t, c, "welcome", "goodbye")
		ev, err := c.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, tcproom.Lost, ev.Kind)
		require.Equal(t, "room is full", ev.End.Text)
		require.Equal(t, errLeft, ev.End.Cause, "text tells no cause")
	})

	inBubble("in lines of text", t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t)
		bob := srv.Join("bob")
		c, link := newClient(t, srv, "", tcproom.WithCodec(tcproom.Text{}))
		hearAll(t, c, "welcome")
		say(t, c, "hi")
		bob.Await(roomtest.Message("guest-1", "hi"))
		link.now().Reset()
		hearAll(t, c, "lost", "welcome")
		say(t, c, "again")
		bob.Await(roomtest.Message("guest-2", "again"))
		_, err := c.SendAcked(t.Context(), []byte("hi"))
		require.ErrorIs(t, err, errors.ErrUnsupported)
	})
}

func TestClientComesBackOnce(t *testing.T) {
	inBubble("with a codec that says tokens and no numbers", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		bob := srv.Join("bob")
		c, link := newClient(t, srv, "ada", tcproom.WithCodec(numberless{}))
		hearAll(t, c, "welcome joined")
		say(t, c, "hi")
		bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "hi"))
		_, err := c.SendAcked(t.Context(), []byte("never"))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		link.now().Reset()
		hearAll(t, c, "lost", "welcome resumed")
	})

	inBubble("whatever its handshake timeout is", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		c, _ := newClient(t, srv, "ada", tcproom.WithHandshakeTimeout(math.MaxInt64))
		hearAll(t, c, "welcome joined")
	})

	inBubble("once, when an attempt that was given up is let in after all", t, func(t *testing.T) {
		var calls atomic.Int32
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
			if calls.Add(1) == 2 {
				time.Sleep(3 * time.Second)
			}
			return tcproom.Identity{}, nil
		}))
		c, link := newClient(t, srv, "ada")
		hearAll(t, c, "welcome joined")
		link.now().Reset()
		hearAll(t, c, "lost")
		time.Sleep(time.Second) // it has said its hello by now
		link.now().Reset()
		hearAll(t, c, "welcome resumed")
		time.Sleep(time.Minute)
		srv.Room.Broadcast(t.Context(), []byte("hi"))
		hearAll(t, c, "2 hi")
	})
}

func TestTwoClientsWithOneToken(t *testing.T) {
	inBubble("the later one wins, and the other does not come back", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		bob := srv.Join("bob")
		first, link := newClient(t, srv, "ada")
		w, err := first.Receive(t.Context())
		require.NoError(t, err)
		bob.Expect(roomtest.Joined("ada"))
		at := resuming(w)
		second, _ := newClient(t, srv, "ada", at)
		hearAll(t, second, "welcome resumed")
		hearAll(t, first, "goodbye taken-over")
		require.ErrorIs(t, ends(t, first), tcproom.ErrTakenOver)
		time.Sleep(time.Hour)
		require.Equal(t, 1, link.dialled())
		bob.Send("hi")
		hearAll(t, second, "3 hi")
		bob.Refute(roomtest.Any(tcproom.Join, tcproom.Leave))
	})
}

func TestOffline(t *testing.T) {
	start := func(t *testing.T, opts ...tcproom.DialOption) (*roomtest.Member, *tcproom.Client, *link) {
		srv := sessionServer(t, tcproom.Sessions{})
		bob := srv.Join("bob")
		c, link := newClient(t, srv, "ada", opts...)
		hearAll(t, c, "welcome joined")
		bob.Expect(roomtest.Joined("ada"))
		link.setDown(io.ErrNoProgress)
		link.now().Reset()
		hearAll(t, c, "lost")
		return bob, c, link
	}

	inBubble("wait", t, func(t *testing.T) {
		bob, c, link := start(t)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, io.ErrShortBuffer)
		defer cancel()
		require.Equal(t, io.ErrShortBuffer, c.Send(ctx, []byte("never")))
		_, err := c.SendAcked(ctx, []byte("never"))
		require.Equal(t, io.ErrShortBuffer, err)
		time.AfterFunc(time.Second, func() { link.setDown(nil) })
		say(t, c, "hi")
		bob.Expect(roomtest.Message("ada", "hi"))
		bob.RefuteFor(time.Minute, roomtest.Any(tcproom.Message))
	})

	inBubble("fail", t, func(t *testing.T) {
		bob, c, link := start(t, tcproom.WithOffline(0))
		err := c.Send(t.Context(), []byte("never"))
		require.ErrorIs(t, err, tcproom.ErrOffline)
		require.ErrorIs(t, err, errReset)
		time.Sleep(time.Second)
		_, err = c.SendAcked(t.Context(), []byte("never"))
		require.ErrorIs(t, err, tcproom.ErrOffline)
		require.ErrorIs(t, err, io.ErrNoProgress)
		link.setDown(nil)
		hearAll(t, c, "welcome resumed")
		say(t, c, "hi")
		bob.Expect(roomtest.Message("ada", "hi"))
	})

	inBubble("buffer", t, func(t *testing.T) {
		bob, c, link := start(t, tcproom.WithOffline(1000*(128+4)))
		var want []roomtest.Match
		for i := range 1000 {
			body := fmt.Sprintf("%04d", i)
			say(t, c, body)
			want = append(want, roomtest.Message("ada", body))
		}
		err := c.Send(t.Context(), []byte("1000"))
		require.ErrorIs(t, err, tcproom.ErrOffline)
		require.ErrorContains(t, err, "the buffer of 132000 bytes is full")
		link.setDown(nil)
		bob.Expect(want...)
		bob.RefuteFor(time.Minute, roomtest.Any(tcproom.Message))
		require.NoError(t, c.Close())
	})

	inBubble("before the first connection", t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		bob := srv.Join("bob")
		srv.Listener.Refuse(true)
		for _, p := range []int{-1, 1 << 20} {
			c, _ := newClient(t, srv, "ada", tcproom.WithOffline(p))
			time.AfterFunc(time.Second, func() { srv.Listener.Refuse(false) })
			require.NotZero(t, sayAcked(t, c, "hi"))
			bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "hi"))
			hearAll(t, c, "lost", "welcome joined")
			require.NoError(t, c.Close())
			bob.Expect(roomtest.Left("ada"))
			srv.Listener.Refuse(true)
		}
		c, _ := newClient(t, srv, "ada", tcproom.WithOffline(0))
		err := c.Send(t.Context(), []byte("hi"))
		require.ErrorIs(t, err, tcproom.ErrOffline)
		// By now the first attempt may have failed.
		require.Regexp(t, `^tcproom: no connection to the room: (there was none yet|tcproom: dial .* connection refused)$`, err.Error())
	})

	inBubble("nobody waits for a client that ends", t, func(t *testing.T) {
		_, c, _ := start(t)
		time.AfterFunc(time.Second, func() { c.Close() })
		require.ErrorIs(t, c.Send(t.Context(), []byte("hi")), net.ErrClosed)
	})
}
