//go:build linux

package main

import (
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be its own servers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serverCommand {
		os.Exit(serverMain(os.Args[2:]))
	}
	for _, name := range usualServers() {
		s := serverNamed(name)
		if s.npm != "" {
			packages.install(s.npm)
		}
		if s.missing() == "" {
			honest = append(honest, name)
		}
	}
	status := m.Run()
	packages.remove()
	os.Exit(status)
}

const shortly = 100 * time.Millisecond

// honest are the servers that lose nothing and that there are here.
var honest []string

// honestIn are those of them that take part in a work.
func honestIn(w *work) (names []string) {
	for _, name := range honest {
		if s := serverNamed(name); s.does(w) && (w.takes == nil || w.takes(s)) {
			names = append(names, name)
		}
	}
	return names
}

// quickly skips, in short mode, a server that a test of its own kind has had.
func quickly(t *testing.T, name string) {
	t.Helper()
	if testing.Short() && serverNamed(name).guest {
		t.Skip("TestFlood measures it in short mode")
	}
}

// chats says whether those who receive from a server can send to it too.
func chats(name string) bool { return name != sseServer.name }

func oneCPU(t *testing.T) []int {
	t.Helper()
	cpus, err := affinity()
	if err != nil {
		t.Fatal(err)
	}
	return cpus[:1]
}

func openTestSession(t *testing.T, server string, cfg loadConfig) *session {
	t.Helper()
	s, err := openSession(server, oneCPU(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func TestServerRunsWhereItShould(t *testing.T) {
	for _, server := range honest {
		p, err := startServer(server, oneCPU(t), loadConfig{})
		if err != nil {
			t.Fatal(err)
		}
		allowed, err := p.status("Cpus_allowed_list")
		if err != nil || allowed != formatCPUs(oneCPU(t)) {
			t.Errorf("%s runs on %s (%v), want %s", server, allowed, err, formatCPUs(oneCPU(t)))
		}
		if p.name != server {
			t.Errorf("%s is called %s", server, p.name)
		}
		if rss, err := p.rss(); err != nil || rss < 1<<20 || rss > 1<<30 {
			t.Errorf("%s: RSS of %v bytes, %v", server, rss, err)
		}
		p.stop()
		if p.cmd.ProcessState == nil || !p.mute && (!p.cmd.ProcessState.Exited() || p.cmd.ProcessState.ExitCode() != 0) {
			t.Errorf("%s did not end by itself when its input did: %v", server, p.cmd.ProcessState)
		}
	}
}

func TestFlood(t *testing.T) {
	tests := []struct {
		name string
		cfg  loadConfig
	}{
		{name: "one sender", cfg: loadConfig{size: 64, receivers: 20}},
		{name: "long lines", cfg: loadConfig{size: 1024, receivers: 20}},
		{name: "one receiver", cfg: loadConfig{size: 64, receivers: 1}},
		{name: "chat", cfg: loadConfig{size: 64, receivers: 20, chat: true}},
	}
	for _, server := range honestIn(floodWork) {
		for i, tt := range tests {
			if i%3 > 0 && serverNamed(server).guest || tt.cfg.chat && !chats(server) { // enough for them
				continue
			}
			t.Run(server+"/"+tt.name, func(t *testing.T) {
				s := openTestSession(t, server, tt.cfg)
				m, err := flood{window: 128, duration: shortly}.measure(s)
				if err != nil {
					t.Fatal(err)
				}
				// One core cannot use more than a core's time; the clocks
				// are not read at the same instant.
				if m[serverBusy] <= 0 || m[serverBusy] > 1.05 || m[cpuPerDelivery] <= 0 {
					t.Errorf("busy %v, %v µs a delivery", m[serverBusy], m[cpuPerDelivery])
				}
				if m[deliveryRate] <= 0 || !(m[latencyP50] > 0) {
					t.Errorf("%v deliveries/s, median latency %v ms", m[deliveryRate], m[latencyP50])
				}
			})
		}
	}
}

func TestPaced(t *testing.T) {
	for _, server := range honestIn(pacedWork) {
		t.Run(server, func(t *testing.T) {
			quickly(t, server)
			s := openTestSession(t, server, loadConfig{size: 64, receivers: 20})
			m, err := paced{rate: 300, duration: shortly, patience: 10 * time.Second}.measure(s)
			if err != nil {
				t.Fatal(err)
			}
			if s.load.streams[0].sent != 30 {
				t.Errorf("%d messages sent, want 30", s.load.streams[0].sent)
			}
			if !(m[lastP50] > 0) || m[lastP50] > m[lastP99] || m[lastP99] > m[lastMax] {
				t.Errorf("times %v, %v, %v", m[lastP50], m[lastP99], m[lastMax])
			}
		})
	}
}

func TestNoWindow(t *testing.T) {
	const mebibytes = 2
	for _, server := range []string{"tcproom", "relay", "hub"} { // others drop
		t.Run(server, func(t *testing.T) {
			s := openTestSession(t, server, loadConfig{size: 64, receivers: 20})
			m, err := noWindow{mebibytes: mebibytes}.measure(s)
			if err != nil {
				t.Fatal(err)
			}
			if want := int64(20 * mebibytes << 20); s.load.received != want || m[mebibytesSent] != mebibytes {
				t.Errorf("%d bytes received, want %d", s.load.received, want)
			}
		})
	}
}

func TestIdle(t *testing.T) {
	for _, server := range honestIn(idleWork) {
		t.Run(server, func(t *testing.T) {
			m, err := idle{settle: 10 * time.Millisecond}.measure(server, oneCPU(t), loadConfig{size: 64, receivers: 200})
			if err != nil {
				t.Fatal(err)
			}
			if s := serverNamed(server); s.program != "" {
				if !math.IsNaN(m[heapIdle]) || !math.IsNaN(m[goroutines]) {
					t.Errorf("the heap of a program that is not ours is known: %v", m)
				}
				return
			}
			// A relay's connections are too small to be told from noise here.
			if m[heapIdle] <= -1024 || m[heapIdle] > 1<<20 {
				t.Errorf("%v bytes of heap and stack a connection", m[heapIdle])
			}
			want := map[string]float64{"relay": 0, "hub": 2, "gnet": 0, "nats": 2, "melody": 2, "mochi": 2, "coder": 1, "gws": 1, "gorilla": 2}
			if want, ok := want[server]; ok && m[goroutines] != want {
				t.Errorf("%v goroutines a connection, want %v", m[goroutines], want)
			} else if !ok && m[goroutines] > 0.1 { // this library's, of which a few serve all
				t.Errorf("%v goroutines a connection", m[goroutines])
			}
		})
	}
}

func TestIdleRooms(t *testing.T) {
	m, err := measureEmptyRooms("tcproom", oneCPU(t), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if m[roomAlloc] <= 0 || m[roomGoroutine] != 0 {
		t.Errorf("an idle room has %v bytes and %v goroutines", m[roomAlloc], m[roomGoroutine])
	}
}

func TestLossIsFound(t *testing.T) {
	tests := []struct {
		name    string
		server  *server
		measure func(*session) (metrics, error)
	}{
		{name: "flood", server: lossyServer, measure: flood{window: 128, duration: shortly}.measure},
		{name: "paced", server: lossyServer, measure: paced{rate: 1000, duration: shortly, patience: time.Second}.measure},
		{name: "nowindow", server: lossyServer, measure: noWindow{mebibytes: 64}.measure},
		{name: "WebSocket", server: lossyWSServer, measure: flood{window: 128, duration: shortly}.measure},
		{name: "WebSocket, paced", server: lossyWSServer, measure: paced{rate: 1000, duration: shortly, patience: time.Second}.measure},
		{name: "events", server: lossySSEServer, measure: flood{window: 128, duration: shortly}.measure},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openTestSession(t, tt.server.name, loadConfig{size: 64, receivers: 20})
			// That a receiver has other than the bytes that it should would be
			// the counting's finding, which is blind to this loss.
			if _, err := tt.measure(s); err == nil || !strings.Contains(err.Error(), "lost") || strings.Contains(err.Error(), "bytes of") {
				t.Errorf("got %v, want a probe that found a loss", err)
			}
		})
	}
}

func TestCutIsFound(t *testing.T) {
	s := openTestSession(t, "relay", loadConfig{size: 64, receivers: 20})
	kill := time.AfterFunc(shortly/3, func() { _ = s.server.cmd.Process.Kill() })
	defer kill.Stop()
	_, err := flood{window: 128, duration: 20 * time.Second}.measure(s)
	if err == nil || !(strings.Contains(err.Error(), "was cut") || strings.Contains(err.Error(), "write:")) {
		t.Errorf("got %v, want a connection that was cut", err)
	}
}

// TestRunFails runs the whole program against a server that loses lines.
func TestRunFails(t *testing.T) {
	restoreProcess(t)
	var out, progress strings.Builder
	args := []string{"-unpinned", "-work", "flood", "-servers", "relay,lossy", "-receivers", "20", "-duration", "100ms", "-reps", "1"}
	if got := run(args, &out, &progress); got != 1 {
		t.Errorf("status %d, want 1", got)
	}
	if !strings.Contains(out.String(), "FAILED: 20 lossy") || strings.Contains(out.String(), "FAILED: 20 relay") {
		t.Errorf("output:\n%s%s", &progress, &out)
	}
}

func TestRun(t *testing.T) {
	restoreProcess(t)
	if len(mustAffinity(t)) < 2 {
		t.Skip("pinning needs two CPUs")
	}
	dir := t.TempDir()
	args := []string{"-quick", "-work", "flood,chat,unpinned", "-servers", "relay,hub", "-receivers", "20", "-duration", "100ms",
		"-o", filepath.Join(dir, "r.json"), "-markdown", filepath.Join(dir, "r.md")}
	var out, progress strings.Builder
	if got := run(args, &out, &progress); got != 0 {
		t.Fatalf("status %d\n%s%s", got, &progress, &out)
	}
	var res results
	b, err := os.ReadFile(filepath.Join(dir, "r.json"))
	if err == nil {
		err = json.Unmarshal(b, &res)
	}
	if err != nil || len(res.Summaries) != 6 || res.Summaries[0].Median[cpuPerDelivery] <= 0 {
		t.Errorf("JSON: %v\n%s", err, b)
	}
	if md, err := os.ReadFile(filepath.Join(dir, "r.md")); err != nil || strings.Count(string(md), "\n## ") != 3 {
		t.Errorf("Markdown: %v\n%s", err, md)
	}
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{
		{"-work", "sleep"}, {"-servers", "nobody"}, {"-receivers", "many"}, {"-receivers", "0"},
		{"-reps", "0"}, {"-size", "8"}, {"-window", "0"}, {"-work", ""}, {"rest"}, {"-nonsense"},
	} {
		if got := run(args, io.Discard, io.Discard); got != 2 {
			t.Errorf("%q: status %d, want 2", args, got)
		}
	}
	if got := run([]string{"-h"}, io.Discard, io.Discard); got != 0 {
		t.Errorf("-h: status %d, want 0", got)
	}
}

func TestCPULists(t *testing.T) {
	for list, want := range map[string][]int{"0": {0}, "0,1": {0, 1}, "0-2,5\n": {0, 1, 2, 5}} {
		if got, err := parseCPUs(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v", list, got, err)
		}
	}
	if _, err := parseCPUs("0-x"); err == nil {
		t.Error("parsed 0-x")
	}
	cpus := []int{0, 3, 64, 1000}
	m := maskOf(cpus)
	if got := m.cpus(); !slices.Equal(got, cpus) {
		t.Errorf("got %v, want %v", got, cpus)
	}
}

func mustAffinity(t *testing.T) []int {
	t.Helper()
	cpus, err := affinity()
	if err != nil {
		t.Fatal(err)
	}
	return cpus
}

// restoreProcess undoes what run does to its process.
func restoreProcess(t *testing.T) {
	cpus, procs := mustAffinity(t), runtime.GOMAXPROCS(0)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(procs)
		if err := pinProcess(cpus); err != nil {
			t.Error(err)
		}
	})
}
