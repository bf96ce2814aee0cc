package tcproom_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// Causes without a constant.
const (
	errLeft               = tcproom.Cause("left")
	errCutOff             = tcproom.Cause("cut-off")
	errReset              = tcproom.Cause("reset")
	errEnded              = tcproom.Cause("ended")
	errWriteTimeout       = tcproom.Cause("write-timeout")
	errIdleTimeout        = tcproom.Cause("idle-timeout")
	errHandshakeTimeout   = tcproom.Cause("handshake-timeout")
	errRateLimited        = tcproom.Cause("rate-limited")
	errRetry              = tcproom.Cause("retry")
	errFutureSeq          = tcproom.Cause("future")
	errTooManyPending     = tcproom.Cause("busy")
	errTooManyFromAddress = tcproom.Cause("too-many-from-address")
	errTooManyLanes       = tcproom.Cause("too-many-lanes")
)

// frameCharge is what a frame costs a limiter beside its bytes.
const frameCharge = 32

// within bounds what a test waits for: long, for it only says that a test has failed.
const within = 30 * time.Second

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return ctx
}

// serve starts room on a listener of the network and returns its address.
func serve(t testing.TB, room *tcproom.Room, l net.Listener, opts ...tcproom.ConnOption) string {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- room.Serve(l, opts...) }()
	t.Cleanup(func() {
		room.Close()
		require.ErrorIs(t, <-done, tcproom.ErrRoomClosed)
		waitDone(t, room)
	})
	return l.Addr().String()
}

func serveTCP(t testing.TB, room *tcproom.Room, opts ...tcproom.ConnOption) string {
	t.Helper()
	return serve(t, room, listen(t, "tcp"), opts...)
}

func listen(t testing.TB, network string) net.Listener {
	t.Helper()
	addr := "127.0.0.1:0"
	switch network {
	case "tcp6":
		addr = "[::1]:0"
	case "unix":
		addr = filepath.Join(t.TempDir(), "room")
	}
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	return l
}

// enter has room serve one end of a connection in memory, and returns the
// other and what ServeConn will return.
func enter(t testing.TB, room *tcproom.Room, opts ...tcproom.ConnOption) (*roomtest.Conn, <-chan error) {
	t.Helper()
	here, there := roomtest.Pipe()
	served := make(chan error, 1)
	go func() { served <- room.ServeConn(there, opts...) }()
	t.Cleanup(func() { here.Close() })
	return here, served
}

func waitDone(t testing.TB, room *tcproom.Room) {
	t.Helper()
	select {
	case <-room.Done():
	case <-time.After(within):
		var b bytes.Buffer
		pprof.Lookup("goroutine").WriteTo(&b, 1)
		t.Fatalf("the room has not stopped:\n%s", b.String())
	}
}

func dial(t testing.TB, addr string, opts ...tcproom.DialOption) *tcproom.Conn {
	t.Helper()
	c, err := tcproom.Dial(testContext(t), addr, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func join(t testing.TB, room *tcproom.Room, opts ...tcproom.DialOption) *tcproom.Conn {
	t.Helper()
	c, err := room.Join(testContext(t), tcproom.Identity{}, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// dialRaw connects without the library and closes at the end of the test.
func dialRaw(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return nc.(*net.TCPConn)
}

func next(t testing.TB, c *tcproom.Conn) tcproom.Event {
	t.Helper()
	ev, err := c.Receive(testContext(t))
	require.NoError(t, err)
	return ev
}

// nextMessage returns the body of the next message, whatever comes before it.
func nextMessage(t testing.TB, c *tcproom.Conn) string {
	t.Helper()
	for {
		if ev := next(t, c); ev.Kind == tcproom.Message {
			return string(ev.Body)
		}
	}
}

func send(t testing.TB, c *tcproom.Conn, body string) {
	t.Helper()
	require.NoError(t, c.Send(testContext(t), []byte(body)))
}

// eventually waits until ok, looking again and again.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(time.Millisecond) // polls; nothing depends on how long
	}
}

func waitLen(t testing.TB, room *tcproom.Room, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d members", n), func() bool { return room.Len() == n })
}

// checkGoroutines fails the test when at its end there are more goroutines
// than at the call.
func checkGoroutines(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		eventually(t, "goroutines back to where they were", func() bool { return runtime.NumGoroutine() <= before })
	})
}

// causes collects the ends that OnLeave or OnReject hears of.
type causes struct {
	mu  sync.Mutex
	all []error
	ch  chan error
}

func newCauses() *causes { return &causes{ch: make(chan error, 10000)} }

func (cs *causes) left(_ *tcproom.Member, err error)       { cs.add(err) }
func (cs *causes) rejected(_ *tcproom.Newcomer, err error) { cs.add(err) }
func (cs *causes) add(err error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.all = append(cs.all, err)
	cs.ch <- err
}

func (cs *causes) next(t testing.TB) error {
	t.Helper()
	select {
	case err := <-cs.ch:
		return err
	case <-time.After(within):
		t.Fatal("no end was reported")
		return nil
	}
}

var testTLS = sync.OnceValues(func() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	cert, _ := x509.ParseCertificate(der)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
})
