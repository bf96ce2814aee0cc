package fake

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/roomtest"
)

// patience only ends tests that have failed.
const patience = 30 * time.Second

// A rig is a fake under test, with a network: in memory, so that it works in a bubble, or
// loopback.
type rig struct {
	*fake
	t   *testing.T
	net *roomtest.Network // nil: loopback

	mu   sync.Mutex // guards logs
	logs []string
}

// start plays a script in memory.
func start(t *testing.T, script string) *rig {
	t.Helper()
	return startOn(t, new(roomtest.Network), script)
}

func startOn(t *testing.T, n *roomtest.Network, script string) *rig {
	t.Helper()
	parsed, err := ParseScript("script.yaml", []byte(script))
	require.NoError(t, err)
	var l net.Listener
	if n != nil {
		l, err = n.Listen("")
	} else {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	require.NoError(t, err)
	r := &rig{t: t, net: n}
	leaving, leave := context.WithCancel(context.Background())
	r.fake, err = newFake(leaving, leave, parsed, l, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, true, func(text string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.logs = append(r.logs, text)
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		r.end()
		r.port.Close()
	})
	return r
}

// A client is one that knows nothing of package tcproom.
type client struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (r *rig) dial() *client {
	r.t.Helper()
	c, err := r.tryDial()
	require.NoError(r.t, err)
	return c
}

func (r *rig) tryDial() (*client, error) {
	var nc net.Conn
	var err error
	if r.net != nil {
		nc, err = r.net.Dial(r.t.Context(), "tcp", r.port.l.Addr().String())
	} else {
		nc, err = net.Dial("tcp", r.port.l.Addr().String())
	}
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { nc.Close() })
	if r.net == nil {
		nc.SetDeadline(time.Now().Add(patience))
	}
	return &client{nc, r.t, bufio.NewReader(nc)}, nil
}

func (c *client) send(lines ...string) {
	c.t.Helper()
	for _, l := range lines {
		_, err := io.WriteString(c, l+"\n")
		require.NoError(c.t, err)
	}
}

// line reads a line.
func (c *client) line() string {
	c.t.Helper()
	s, err := c.in.ReadString('\n')
	require.NoError(c.t, err, "after %q", s)
	return strings.TrimSuffix(s, "\n")
}

// expect reads these lines.
func (c *client) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		require.Equal(c.t, w, c.line())
	}
}

// rest reads until the connection ends.
func (c *client) rest() (string, error) {
	b, err := io.ReadAll(c.in)
	return string(b), err
}

// request asks the control endpoint.
func (r *rig) request(method, path, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	req.Host = "127.0.0.1:1"
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

// do makes a request to do that works.
func (r *rig) do(body string) {
	r.t.Helper()
	w := r.request(http.MethodPost, "/do", body)
	require.Equal(r.t, http.StatusOK, w.Code, "%s", w.Body)
}

// expects makes a request to expect that is understood.
func (r *rig) expects(body string) *gotAnswer {
	r.t.Helper()
	w := r.request(http.MethodPost, "/expect", body)
	require.Equal(r.t, http.StatusOK, w.Code, "%s", w.Body)
	a := new(gotAnswer)
	require.NoError(r.t, json.Unmarshal(w.Body.Bytes(), a))
	return a
}

// A gotAnswer is an answer as a client of the endpoint sees it.
type gotAnswer struct {
	Held    bool
	Events  []gotEvent
	Missing string
	Why     string
	Nearest *gotEvent
	Passed  []gotEvent
	Text    string
	Next    int
}

type gotEvent struct {
	N    int
	Type string
	Room string
	From struct{ Name string }
	Body string
	Data []byte
}

func (e gotEvent) String() string {
	return fmt.Sprintf("%d %s %s %s", e.N, e.Type, e.From.Name, e.Body)
}

// status asks for the status.
func (r *rig) status() *status {
	r.t.Helper()
	w := r.request(http.MethodGet, "/status", "")
	require.Equal(r.t, http.StatusOK, w.Code, "%s", w.Body)
	st := new(status)
	require.NoError(r.t, json.Unmarshal(w.Body.Bytes(), st))
	return st
}

// order is the transcript for people.
func (r *rig) order() string {
	r.t.Helper()
	w := r.request(http.MethodGet, "/transcript?format=text", "")
	require.Equal(r.t, http.StatusOK, w.Code, "%s", w.Body)
	return w.Body.String()
}

func itoa(n int) string { return fmt.Sprint(n) }

func readFull(c *client, b []byte) (int, error) { return io.ReadFull(c.in, b) }
