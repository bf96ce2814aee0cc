package browser

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
)

// A server has a room, with the page at url and members by lines of text at addr.
type server struct {
	room      *tcproom.Room
	url, addr string
	posts     atomic.Int64 // requests by POST that are answered
}

type options struct {
	room []tcproom.RoomOption
	http []roomhttp.Option
	text []tcproom.ConnOption
}

// serve serves until the end of the test.
func serve(t *testing.T, o options) *server {
	t.Helper()
	room := tcproom.New(append([]tcproom.RoomOption{
		tcproom.WithHistory(tcproom.History{Messages: 1000}),
		tcproom.WithSessions(tcproom.Sessions{}),
	}, o.room...)...)
	text, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		room.Serve(text, append([]tcproom.ConnOption{tcproom.WithCodec(tcproom.Text{})}, o.text...)...)
	})
	h := roomhttp.New(roomhttp.One("lobby", room), o.http...)
	t.Cleanup(func() {
		h.Close()
		room.Close()
		served.Wait()
		select {
		case <-room.Done():
		case <-time.After(patience):
			t.Error("the room has not stopped")
		}
	})
	s := &server{room: room, addr: text.Addr().String()}
	s.url = serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if r.Method == http.MethodPost {
			s.posts.Add(1)
		}
	}))
	return s
}

// serveHTTP serves a handler until the end of the test, and returns the address of its
// root.
func serveHTTP(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: h}
	var served sync.WaitGroup
	served.Go(func() { srv.Serve(l) })
	t.Cleanup(func() {
		srv.Close()
		served.Wait()
	})
	return "http://" + l.Addr().String() + "/"
}

// origin serves an empty page of another origin, and returns its address.
func origin(t *testing.T) (url string) {
	t.Helper()
	return serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, `<!doctype html><link rel="icon" href="data:,"><title>Elsewhere</title>`)
	}))
}

// member returns the member of that name.
func (s *server) member(t *testing.T, name string) *tcproom.Member {
	t.Helper()
	for m := range s.room.Members() {
		if m.Name() == name {
			return m
		}
	}
	t.Fatalf("there is no member %q", name)
	return nil
}

// await waits until cond holds for what the room has counted.
func (s *server) await(t *testing.T, what string, cond func(tcproom.Stats) bool) {
	t.Helper()
	for late := time.Now().Add(patience); !cond(s.room.Stats()); time.Sleep(time.Millisecond) { // polls; nothing depends on how long
		require.True(t, time.Now().Before(late), "never: %s: %+v", what, s.room.Stats())
	}
}

// nc is a member that has a socket and nothing else, as that program.
type nc struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Scanner
}

// dial joins by lines of text.
func dial(t *testing.T, addr string) *nc {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &nc{t, conn, bufio.NewScanner(conn)}
}

func (n *nc) say(format string, args ...any) {
	n.t.Helper()
	_, err := fmt.Fprintf(n.conn, format+"\n", args...)
	require.NoError(n.t, err)
}

// expect reads up to the line, and returns what stands before it.
func (n *nc) expect(line string) (before []string) {
	n.t.Helper()
	n.conn.SetReadDeadline(time.Now().Add(patience))
	for n.lines.Scan() {
		if n.lines.Text() == line {
			return before
		}
		before = append(before, n.lines.Text())
	}
	n.t.Fatalf("want the line %q, got %v after %q", line, n.lines.Err(), before)
	return nil
}

// A proxy passes bytes between browsers and a server until it is told to cut them.
type proxy struct {
	url string

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

// through returns a proxy before the server at url.
func through(t *testing.T, url string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{url: "http://" + l.Addr().String() + "/", conns: make(map[net.Conn]bool)}
	var g sync.WaitGroup
	g.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(url, "http://"), "/"))
			if err != nil {
				a.Close()
				continue
			}
			p.mu.Lock()
			p.conns[a], p.conns[b] = true, true
			p.mu.Unlock()
			g.Go(func() { p.pass(a, b) })
			g.Go(func() { p.pass(b, a) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.cut()
		g.Wait()
	})
	return p
}

// pass ends when one of the two does.
func (p *proxy) pass(dst, src net.Conn) {
	io.Copy(dst, src)
	dst.Close()
	src.Close()
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}
