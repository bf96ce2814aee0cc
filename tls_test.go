package tcproom_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// certNames is a Handshake hook that takes the name from the client's certificate.
func certNames(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
	return tcproom.Identity{Name: n.TLS().VerifiedChains[0][0].Subject.CommonName}, nil
}

// TestF61ClientCertificates: who shows none, or one of another authority, never
// gets as far as the hook; the name is the certificate's.
func TestF61ClientCertificates(t *testing.T) {
	ca, other := newAuthority(), newAuthority()
	rejected := newCauses()
	room := tcproom.New(tcproom.OnReject(rejected.Rejected), tcproom.WithHandshake(certNames), tcproom.WithTLS(&tls.Config{
		Certificates: []tls.Certificate{ca.issue("localhost")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
	}))
	addr := serveTCP(t, room)
	for _, test := range []struct {
		name  string
		certs []tls.Certificate
		want  string // "": refused
	}{
		{name: "its own", certs: []tls.Certificate{ca.issue("ada")}, want: "ada"},
		{name: "none", certs: nil, want: ""},
		{name: "of another authority", certs: []tls.Certificate{other.issue("ada")}, want: ""},
		{name: "a name that is none", certs: []tls.Certificate{ca.issue("*: evil\n")}, want: ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			nc := tls.Client(dialRaw(t, addr), &tls.Config{ServerName: "localhost", RootCAs: ca.pool, Certificates: test.certs})
			defer nc.Close()
			if test.want != "" {
				require.NoError(t, nc.Handshake())
				waitLen(t, room, 1)
				require.Equal(t, test.want, only(room).Name())
				require.Len(t, only(room).TLS().PeerCertificates, 1)
				return
			}
			io.Copy(io.Discard, nc)
			err := rejected.Next(t)
			if test.certs != nil && test.certs[0].Leaf == nil && strings.Contains(test.name, "name") {
				require.ErrorIs(t, err, tcproom.ErrNameInvalid)
				return
			}
			require.ErrorIs(t, err, tcproom.ErrMalformed)
		})
	}
}

// TestF61DefaultsStay: what Go refuses, a room refuses.
func TestF61DefaultsStay(t *testing.T) {
	server, client := testTLS()
	rejected := newCauses()
	room := tcproom.New(tcproom.OnReject(rejected.Rejected), tcproom.WithTLS(server))
	addr := serveTCP(t, room)
	old := client.Clone()
	old.ServerName, old.MinVersion, old.MaxVersion = "localhost", tls.VersionTLS10, tls.VersionTLS11
	require.ErrorContains(t, tls.Client(dialRaw(t, addr), old).Handshake(), "protocol version")
	require.ErrorIs(t, rejected.Next(t), tcproom.ErrMalformed)
	require.Zero(t, server.MinVersion, "the config is the user's")
	_, err := tcproom.Dial(testContext(t), addr, tcproom.WithTLS(&tls.Config{RootCAs: client.RootCAs, ServerName: "elsewhere"}))
	require.ErrorContains(t, err, "certificate")
	_, err = tcproom.Dial(testContext(t), addr, tcproom.WithTLS(&tls.Config{}))
	require.ErrorContains(t, err, "certificate")
	c := dial(t, addr, tcproom.WithTLS(client))
	require.EqualValues(t, tls.VersionTLS13, c.TLS().Version)
	require.Nil(t, join(t, room).TLS())
}

// embedsTLS is a user's wrapper, which counts.
type embedsTLS struct {
	*tls.Conn
	wrote chan int
}

func (c *embedsTLS) Write(b []byte) (int, error) {
	c.wrote <- len(b)
	return c.Conn.Write(b)
}

type wrappingListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l *wrappingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(nc), nil
}

// TestTLSIsNotWrappedAgain: a listener whose conns are TLS already, or embed
// it, in a room with TLS and in one without.
func TestTLSIsNotWrappedAgain(t *testing.T) {
	server, client := testTLS()
	wrote := make(chan int, 100)
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"tls.NewListener": func(nc net.Conn) net.Conn { return nc },
		"a wrapper":       func(nc net.Conn) net.Conn { return &embedsTLS{nc.(*tls.Conn), wrote} },
	} {
		for _, opts := range [][]tcproom.ConnOption{nil, {tcproom.WithTLS(server)}} {
			t.Run(fmt.Sprint(name, len(opts)), func(t *testing.T) {
				checkGoroutines(t)
				room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}))
				addr := serve(t, room, &wrappingListener{tls.NewListener(listen(t, "tcp"), server), wrap}, opts...)
				c := dial(t, addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithTLS(client))
				waitLen(t, room, 1)
				require.True(t, only(room).TLS().HandshakeComplete)
				_, err := room.Broadcast(testContext(t), []byte("hi"))
				require.NoError(t, err)
				require.Equal(t, "hi", nextMessage(t, c))
				require.NoError(t, c.Close())
				waitLen(t, room, 0)
			})
		}
	}
	require.NotEmpty(t, wrote, "its Write is not passed by")
}

// recordsTLS notes the type of the last TLS record that it has read whole.
type recordsTLS struct {
	net.Conn
	rest []byte
	last byte
}

func (c *recordsTLS) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.rest = append(c.rest, b[:n]...)
	for len(c.rest) >= 5 {
		size := 5 + int(c.rest[3])<<8 + int(c.rest[4])
		if len(c.rest) < size {
			break
		}
		c.last, c.rest = c.rest[0], c.rest[size:]
	}
	return n, err
}

// TestTLSEndsCleanly: a peer reads a close_notify and io.EOF, however the room
// ends the conn, Close of the room apart.
func TestTLSEndsCleanly(t *testing.T) {
	server, client := testTLS()
	cfg := client.Clone()
	cfg.ServerName = "localhost"
	cfg.MaxVersion = tls.VersionTLS12 // whose alerts can be told from data
	const alert = 21
	for _, test := range []struct {
		name string
		opts []tcproom.RoomOption
		end  func(t *testing.T, room *tcproom.Room, nc *tls.Conn)
		want error
	}{
		{name: "kick", opts: nil, end: func(t *testing.T, room *tcproom.Room, _ *tls.Conn) { only(room).Kick("bye") }, want: tcproom.ErrKicked},
		{name: "shutdown", opts: nil, end: func(t *testing.T, room *tcproom.Room, _ *tls.Conn) { go room.Shutdown(testContext(t)) }, want: tcproom.ErrRoomClosed},
		{name: "half-close", opts: nil, end: func(t *testing.T, _ *tcproom.Room, nc *tls.Conn) { nc.CloseWrite() }, want: nil},
		{name: "bad input", opts: []tcproom.RoomOption{tcproom.WithMaxMessage(10)}, end: func(t *testing.T, _ *tcproom.Room, nc *tls.Conn) {
			io.WriteString(nc, strings.Repeat("x", 1000))
		}, want: tcproom.ErrFrameTooLarge},
		{name: "idle", opts: []tcproom.RoomOption{tcproom.WithIdleTimeout(50 * time.Millisecond)}, end: func(*testing.T, *tcproom.Room, *tls.Conn) {}, want: errIdleTimeout},
		{name: "refused", opts: []tcproom.RoomOption{tcproom.OnJoin(func(*tcproom.Member) error { return fmt.Errorf("no") })}, end: nil, want: nil},
		{name: "half-close without a close_notify", opts: nil, end: func(t *testing.T, _ *tcproom.Room, nc *tls.Conn) {
			nc.NetConn().(*recordsTLS).Conn.(*net.TCPConn).CloseWrite() // which crypto/tls takes for one between two records
		}, want: nil},
		{name: "half-close in a record", opts: nil, end: func(t *testing.T, _ *tcproom.Room, nc *tls.Conn) {
			nc.NetConn().Write([]byte{23, 3, 3, 0, 100, 0})
			nc.NetConn().(*recordsTLS).Conn.(*net.TCPConn).CloseWrite()
		}, want: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			gone := newCauses()
			room := tcproom.New(append(test.opts, tcproom.OnLeave(gone.Left), tcproom.OnReject(gone.Rejected), tcproom.WithTLS(server))...)
			raw := &recordsTLS{Conn: dialRaw(t, serveTCP(t, room))}
			nc := tls.Client(raw, cfg)
			require.NoError(t, nc.Handshake())
			if test.end != nil && test.want != errIdleTimeout {
				waitLen(t, room, 1)
				test.end(t, room, nc)
			}
			nc.SetReadDeadline(time.Now().Add(within))
			for r := bufio.NewReader(nc); ; {
				if _, err := r.ReadString('\n'); err != nil {
					require.Equal(t, io.EOF, err)
					break
				}
			}
			require.EqualValues(t, alert, raw.last, "the close_notify")
			require.Empty(t, raw.rest)
			nc.Close()
			if err := gone.Next(t); test.end == nil {
				require.ErrorContains(t, err, "no")
			} else if test.want == nil {
				require.ErrorIs(t, err, io.EOF)
			} else {
				require.ErrorIs(t, err, test.want)
			}
		})
	}
}

type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *peekedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// TestTLSBeforeItsHandshake: asking early does not wait.
func TestTLSBeforeItsHandshake(t *testing.T) {
	server, client := testTLS()
	cfg := client.Clone()
	cfg.ServerName = "localhost"
	here, there := net.Pipe()
	c := tcproom.NewConn(here, tcproom.WithTLS(cfg))
	hello := bufio.NewReader(there)
	_, err := hello.Peek(1)
	require.NoError(t, err, "the handshake runs")
	require.Nil(t, c.TLS())
	require.NoError(t, tls.Server(&peekedConn{there, hello}, server).Handshake())
	eventually(t, "the handshake is over", func() bool { return c.TLS() != nil })
	there.Close()
	c.Close()
}

// TestTLSAlertBehindAFailedWrite: a room refuses the certificate of a client that sends at
// once, which learns why, and not only that it could not send.
func TestTLSAlertBehindAFailedWrite(t *testing.T) {
	ca := newAuthority()
	addr := serveTCP(t, tcproom.New(tcproom.WithTLS(&tls.Config{
		Certificates: []tls.Certificate{ca.issue("localhost")}, ClientAuth: tls.RequireAnyClientCert,
	})))
	nc := &breakable{Conn: dialRaw(t, addr)}
	tc := tls.Client(nc, &tls.Config{ServerName: "localhost", RootCAs: ca.pool})
	require.NoError(t, tc.Handshake())
	nc.broken.Store(true)
	c := tcproom.NewConn(tc, tcproom.WithCodec(tcproom.Text{}))
	defer c.Close()
	var err error
	for err == nil {
		err = c.Send(testContext(t), []byte("x"))
	}
	require.ErrorIs(t, err, syscall.EPIPE)
	_, err = c.Receive(testContext(t))
	require.ErrorContains(t, err, "certificate required")
}

// A breakable is a net.Conn to which nothing can be written once it is broken.
type breakable struct {
	net.Conn
	broken atomic.Bool
}

func (b *breakable) Write(p []byte) (int, error) {
	if b.broken.Load() {
		return 0, syscall.EPIPE
	}
	return b.Conn.Write(p)
}
