package natstest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startTimeout bounds the start of a server, and of a cluster, on a busy machine.
const startTimeout = 20 * time.Second

// An Option configures the servers of [Solo] and [Cluster].
type Option func(*server.Options)

// Configure lets f change a server's options before its first start: users and their
// permissions, limits, TLS. Addresses, the store and what a cluster needs are set before
// that, and are best left alone. In a cluster it is called for each server.
func Configure(f func(*server.Options)) Option { return f }

// A Server is one NATS server of a test. Its methods may not be called from several
// goroutines at once, but for URL and Addr.
type Server struct {
	t    testing.TB
	opts *server.Options // with pinned ports; the running server has a copy of its own
	url  string

	running *server.Server // nil while it is stopped
}

// Solo starts a server, and stops it when the test ends.
func Solo(t testing.TB, opts ...Option) *Server {
	t.Helper()
	o := options(t, "solo")
	s := newServer(t, o, opts)
	s.Start()
	return s
}

// options are those that all servers have in common.
func options(t testing.TB, name string) *server.Options {
	t.Helper()
	return &server.Options{
		ServerName: name, Host: "127.0.0.1", Port: freePort(t),
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxMemory: 1 << 30, JetStreamMaxStore: 8 << 30,
		NoLog: true, NoSigs: true,
	}
}

func newServer(t testing.TB, o *server.Options, opts []Option) *Server {
	for _, f := range opts {
		if f != nil {
			f(o)
		}
	}
	s := &Server{t: t, opts: o, url: fmt.Sprintf("nats://%s:%d", o.Host, o.Port)}
	t.Cleanup(s.Stop)
	return s
}

// freePort returns a port that nothing listens on, and that systems do not give to
// connections: one that was would be taken while a server is stopped. A server that chose
// its own would choose another one after a restart.
func freePort(t testing.TB) int {
	t.Helper()
	var last error
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		if _, taken := ports.LoadOrStore(port, nil); taken {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
		last = err
	}
	t.Fatalf("natstest: no free port: %v", last)
	return 0
}

// ports are those of all servers of this process.
var ports sync.Map

// Addr returns the address of the server itself, such as "127.0.0.1:4222". It stays the
// same over restarts.
func (s *Server) Addr() string { return fmt.Sprintf("%s:%d", s.opts.Host, s.opts.Port) }

// URL returns what nats.Connect takes. In a cluster it leads through the forwarder of
// this server's clients.
func (s *Server) URL() string { return s.url }

// Conn returns a connection to the server, which is closed when the test ends.
func (s *Server) Conn(opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	return connect(s.t, s.url, opts)
}

func connect(t testing.TB, url string, opts []nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatalf("natstest: connect to %s: %v", url, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Server returns the server that runs, nil if it is stopped.
func (s *Server) Server() *server.Server { return s.running }

// Start starts a server that was stopped, with the port and the store that it had. It
// returns when clients can connect; nothing happens if the server runs.
func (s *Server) Start() {
	s.t.Helper()
	s.begin()
	if !s.running.ReadyForConnections(startTimeout) {
		s.t.Fatalf("natstest: server %q does not listen at %s after %v", s.opts.ServerName, s.Addr(), startTimeout)
	}
}

func (s *Server) begin() {
	s.t.Helper()
	if s.running != nil {
		return
	}
	running, err := server.NewServer(s.opts.Clone())
	if err != nil {
		s.t.Fatalf("natstest: server %q: %v", s.opts.ServerName, err)
	}
	s.running = running
	running.Start()
}

// Stop stops the server as its own stop does: it writes what it has to disk, and streams
// in memory are lost. It returns when the server is gone; a second Stop does nothing.
func (s *Server) Stop() {
	if s.running == nil {
		return
	}
	s.running.Shutdown()
	s.running.WaitForShutdown()
	s.running = nil
}

// Restart is Stop and Start.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// Wipe removes what a stopped server has stored.
func (s *Server) Wipe() {
	s.t.Helper()
	if s.running != nil {
		s.t.Fatalf("natstest: Wipe of server %q, which runs: stop it first", s.opts.ServerName)
	}
	if err := os.RemoveAll(s.opts.StoreDir); err != nil {
		s.t.Fatalf("natstest: wipe the store of server %q: %v", s.opts.ServerName, err)
	}
}
