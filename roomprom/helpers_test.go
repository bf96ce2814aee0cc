package roomprom_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// An endpoint is a server of metrics, as a program has one.
type endpoint struct{ url string }

func serve(t testing.TB, collectors ...prometheus.Collector) endpoint {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		require.NoError(t, reg.Register(c))
	}
	srv := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
	t.Cleanup(srv.Close)
	return endpoint{srv.URL}
}

// A sample is what a scrape has for one series; of a histogram the count.
type samples map[string]float64

// scrape gets the text and parses it. A series is called as it is in PromQL, with its
// labels in order.
func (e endpoint) scrape(t testing.TB) samples {
	t.Helper()
	resp, err := http.Get(e.url)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	require.NoError(t, err)
	got := make(samples)
	for name, f := range families {
		for _, m := range f.Metric {
			got[seriesName(name, m)] = value(m)
		}
	}
	return got
}

func seriesName(name string, m *dto.Metric) string {
	var labels []string
	for _, l := range m.Label {
		labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	if len(labels) == 0 {
		return name
	}
	slices.Sort(labels)
	return name + "{" + strings.Join(labels, ",") + "}"
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount())
	}
	return -1
}

// await scrapes until ok returns true.
func (e endpoint) await(t testing.TB, what string, ok func(samples) bool) (got samples) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if got = e.scrape(t); ok(got) {
			return got
		}
		if time.Now().After(end) {
			t.Fatalf("not so: %s: %v", what, got)
		}
	}
}

// has checks those series, and no others.
func (s samples) has(t testing.TB, want samples) {
	t.Helper()
	got := make(samples)
	for name := range want {
		v, ok := s[name]
		require.True(t, ok, "there is no %s", name)
		got[name] = v
	}
	require.Equal(t, want, got)
}

// A peer speaks JSON over lines, and counts its bytes from the room's welcome and from
// its hello on.
type peer struct {
	nc       *net.TCPConn
	r        *bufio.Reader
	in, sent atomic.Int64
}

// dial connects without the library, and joins.
func dial(t testing.TB, addr, name string) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	p := &peer{nc: nc.(*net.TCPConn)}
	p.r = bufio.NewReader(countedReader{nc, &p.in})
	_, err = fmt.Fprintf(nc, "{\"type\":\"hello\",\"name\":%q}\n", name)
	require.NoError(t, err)
	return p
}

type countedReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c countedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (p *peer) say(t testing.TB, body string) {
	t.Helper()
	n, err := fmt.Fprintf(p.nc, "{\"type\":\"message\",\"body\":%q}\n", body)
	require.NoError(t, err)
	p.sent.Add(int64(n))
}

// await reads up to an event of a type whose from or member has that name and body.
func (p *peer) await(t testing.TB, typ, body string) {
	t.Helper()
	require.NoError(t, p.nc.SetReadDeadline(time.Now().Add(10*time.Second)))
	for {
		line, err := p.r.ReadBytes('\n')
		require.NoError(t, err)
		var ev struct{ Type, Body string }
		require.NoError(t, json.Unmarshal(line, &ev))
		if ev.Type == typ && ev.Body == body {
			return
		}
	}
}

// failing is a listener whose Accept fails at first.
type failing struct {
	net.Listener
	fails atomic.Int64
}

func (l *failing) Accept() (net.Conn, error) {
	if l.fails.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// listen serves r on loopback, by a listener that fails so many times first.
func listen(t testing.TB, r interface {
	Serve(net.Listener, ...tcproom.ConnOption) error
	Close() error
}, fails int) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &failing{Listener: l}
	f.fails.Store(int64(fails))
	served := make(chan error, 1)
	go func() { served <- r.Serve(f) }()
	t.Cleanup(func() { r.Close(); <-served })
	return l.Addr().String()
}
