//go:build unix

package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// metered starts a server with metrics and returns where they are, up to the port.
func metered(t *testing.T, args ...string) (p *process, addr, url string) {
	t.Helper()
	p, addr = serving(t, append([]string{"-metrics", "127.0.0.1:0", "-log", "off"}, args...)...)
	said := regexp.MustCompile(`^metrics at (http://127\.0\.0\.1:\d+)/metrics$`).FindStringSubmatch(p.errLine())
	require.NotNil(t, said)
	return p, addr, said[1]
}

// get returns the status and the text of an answer.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: patience}
	res, err := client.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	return res.StatusCode, rest(t, res.Body)
}

// scrape returns the values of all series, by their names with labels.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	status, text := get(t, url+"/metrics")
	require.Equal(t, http.StatusOK, status, text)
	values := make(map[string]float64)
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "#") {
			continue
		}
		at := strings.LastIndexByte(l, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(l[at+1:]), 64)
		require.NoError(t, err, l)
		values[l[:at]] = v
	}
	return values
}

// requireSeries fails the test unless the scrape has these values among its own.
func requireSeries(t *testing.T, url string, want map[string]float64) {
	t.Helper()
	all, got := scrape(t, url), make(map[string]float64)
	for name := range want {
		if v, ok := all[name]; ok {
			got[name] = v
		}
	}
	require.Equal(t, want, got)
	for _, name := range []string{"go_goroutines", "process_start_time_seconds"} {
		require.Contains(t, all, name)
	}
}

// TestServeMetricsOfARoom: what a room has counted when a member has got what another
// one sent.
func TestServeMetricsOfARoom(t *testing.T) {
	t.Parallel()
	_, addr, url := metered(t, "-history", "1") // which tells bob that ada is there
	ada, bob := dial(t, addr), dial(t, addr)
	ada.say("first")
	bob.expect(": first")
	bob.say("hello")
	ada.expect(": hello")
	requireSeries(t, url, map[string]float64{
		"tcproom_members":                           2,
		"tcproom_joins_total":                       2,
		"tcproom_messages_total":                    2,
		"tcproom_message_bytes_total":               10,
		`tcproom_room_messages_total{room="lobby"}`: 2,
	})
	status, text := get(t, url+"/healthz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ok\n", text)
	status, _ = get(t, url+"/")
	require.Equal(t, http.StatusNotFound, status)
}

// TestServeMetricsOfAHub: its rooms, its connections and the times of its hooks.
func TestServeMetricsOfAHub(t *testing.T) {
	t.Parallel()
	_, addr, url := metered(t, "-rooms")
	ada, bob := meet(t, addr)
	ada.say("/join attic")
	ada.expect("/help lists the commands")
	bob.expect(" left")
	ada.say("to nobody")
	ada.say("/rooms")
	ada.expect("* rooms: ")
	requireSeries(t, url, map[string]float64{
		"tcproom_hub_connections":                          2,
		"tcproom_hub_rooms":                                2,
		"tcproom_hub_moves_total":                          1,
		"tcproom_messages_total":                           1,
		`tcproom_room_messages_total{room="attic"}`:        1,
		`tcproom_room_members{room="lobby"}`:               1,
		`tcproom_hook_seconds_count{hook="OnJoined"}`:      3,
		`tcproom_hook_seconds_count{hook="WithHandshake"}`: 2,
	})
}

// TestServeMetricsWhileItStops: as long as members take their last messages the metrics
// are there, and the health says that nobody should come.
func TestServeMetricsWhileItStops(t *testing.T) {
	t.Parallel()
	p, addr, url := metered(t, "-rooms", "-backlog", "67108864")
	ada, bob := meet(t, addr)
	eve := enter(t, addr)
	bob.expect(" joined")
	for range 600 {
		ada.say(strings.Repeat("x", 60_000))
	}
	ada.say("the last")
	bob.expect("the last")
	scraped, got := make(chan struct{}), make(chan error, 1)
	go eve.readSlowly(scraped, got)
	p.signal(syscall.SIGTERM)
	p.expectErr("stopping (terminated)")
	status, text := get(t, url+"/healthz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "stopping\n", text)
	requireSeries(t, url, map[string]float64{"tcproom_messages_total": 601})
	close(scraped)
	require.NoError(t, <-got)
	for _, c := range []*peer{ada, bob, eve} {
		c.Close()
	}
	require.Equal(t, "stopped, members cut: 0", p.errLine())
	require.Zero(t, p.status())
	_, err := http.Get(url + "/metrics")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// readSlowly takes a little at a time, which holds up a server that stops, and all the
// rest once hurry is closed. It ends with the stream, or if it cannot read.
func (p *peer) readSlowly(hurry <-chan struct{}, ended chan<- error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := io.CopyN(io.Discard, p.br, 64<<10); err != nil {
				ended <- err
				return
			}
		case <-hurry:
			_, err := io.Copy(io.Discard, p.br)
			ended <- err
			return
		}
	}
}

// TestServeMetricsAddress: nothing is served if there can be no metrics.
func TestServeMetricsAddress(t *testing.T) {
	t.Parallel()
	_, _, url := metered(t)
	taken := strings.TrimPrefix(url, "http://")
	p := start(t, "serve", "-addr", "127.0.0.1:0", "-metrics", taken)
	require.Equal(t, "tcproom: serve: listen tcp "+taken+": bind: address already in use\n", rest(t, p.err))
	require.Equal(t, 1, p.status())
}

// TestServeMetricsLine: it comes after those of all listeners, and the setting may be in
// a file.
func TestServeMetricsLine(t *testing.T) {
	t.Parallel()
	name := file(t, "metrics: 127.0.0.1:0\nhttp: 127.0.0.1:0\nlisteners: [{addr: '127.0.0.1:0'}]\n")
	p, _ := serving(t, "-config", name)
	require.Regexp(t, "^listening on ", p.errLine())
	require.Regexp(t, "^open http://", p.errLine())
	require.Regexp(t, "^metrics at http://127.0.0.1:[0-9]+/metrics$", p.errLine())
	p.signal(os.Interrupt)
	require.Zero(t, p.status())
}
