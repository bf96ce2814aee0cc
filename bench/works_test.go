//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot"
)

func TestTLS(t *testing.T) {
	for _, name := range honest {
		if !serverNamed(name).tls {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := openTestSession(t, name, loadConfig{size: 1024, receivers: 20, tls: true})
			m, err := flood{window: 128, duration: shortly}.measure(s)
			if err != nil {
				t.Fatal(err)
			}
			counting := 0
			for _, p := range s.load.peers {
				if p.tls == nil {
					t.Fatal("a connection without TLS")
				}
				if p.tls.counts {
					counting++
				}
			}
			if counting != 20-probes || !(m[latencyP50] > 0) {
				t.Errorf("%d receivers only count, want %d; median latency %v", counting, 20-probes, m[latencyP50])
			}
		})
	}
}

// TestRecordCounter counts what crypto/tls would have sent, cut anywhere.
func TestRecordCounter(t *testing.T) {
	record := func(kind byte, n int) []byte {
		return append([]byte{kind, 3, 3, byte((n + recordBeyond) >> 8), byte(n + recordBeyond)}, make([]byte, n+recordBeyond)...)
	}
	var data []byte
	for _, n := range []int{0, 1, 64, 1 << 14} {
		data = append(data, record(recordType, n)...)
	}
	for _, cut := range []int{1, 3, 7, 100, len(data)} {
		var r recordCounter
		got := 0
		for at := 0; at < len(data); at += cut {
			n, err := r.feed(data[at:min(at+cut, len(data))])
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		if want := 1 + 64 + 1<<14; got != want {
			t.Errorf("cut every %d bytes: %d, want %d", cut, got, want)
		}
	}
	var r recordCounter
	if _, err := r.feed(record(21, 2)); err == nil {
		t.Error("an alert counts as messages")
	}
}

func TestRooms(t *testing.T) {
	for _, name := range honestIn(roomsWork) {
		if !chats(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			quickly(t, name)
			s := openTestSession(t, name, loadConfig{size: 64, receivers: 5, chat: true, rooms: 12})
			if _, err := (flood{window: 32, duration: shortly}).measure(s); err != nil {
				t.Fatal(err)
			}
			watching := 0
			for i := range s.load.peers {
				if pr := s.load.peers[i].probe; pr != nil && pr.lines > 0 {
					watching++
				}
			}
			if watching != probes {
				t.Errorf("%d probes got something, want %d", watching, probes)
			}
		})
	}
}

func TestStorm(t *testing.T) {
	for _, name := range honestIn(stormWork) {
		t.Run(name, func(t *testing.T) {
			quickly(t, name)
			m, err := measureStorm(name, oneCPU(t), loadConfig{size: 64, receivers: 150})
			if err != nil || m[cpuPerJoin] <= 0 || m[joinRate] <= 0 {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
}

// TestNamedRooms runs each work about named rooms once, small.
func TestNamedRooms(t *testing.T) {
	for _, w := range []*work{inRoomsWork, besideWork, mixedWork, quietRoomsWork, moveWork, noticesWork} {
		for _, name := range honestIn(w) {
			t.Run(w.name+"/"+name, func(t *testing.T) {
				r := &runner{options: options{window: 32, duration: shortly, quick: true}, server: oneCPU(t)}
				got, err := w.measure(r, step{work: w, size: 50, rep: 1, server: serverNamed(name)})
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range w.columns {
					if v, ok := got.metrics[c.metric]; c.metric != roomGoroutines && c.metric != roomDescriptors && (!ok || !(v > 0)) {
						t.Errorf("%s is %v", c.metric, v)
					}
				}
			})
		}
	}
}

func TestStall(t *testing.T) {
	w := stall{paced: paced{rate: 200, duration: shortly, patience: 2 * time.Second}, fill: 4<<20 + 512<<10}
	for _, name := range []string{"tcproom", "relay", "gnet", "nats"} {
		for _, first := range []bool{false, true} {
			t.Run(fmt.Sprint(name, first), func(t *testing.T) {
				w.first = first
				s := openTestSession(t, name, loadConfig{size: 1024, receivers: 20})
				m, err := w.measure(s)
				if err != nil || !(m[stallP99] > 0) || !(m[noStallP99] > 0) {
					t.Errorf("%v, %v", m, err)
				}
			})
		}
	}
	t.Run("hub", func(t *testing.T) {
		w.paced.patience = 500 * time.Millisecond
		_, err := w.measure(openTestSession(t, "hub", loadConfig{size: 1024, receivers: 20}))
		var behind behindError
		if !errors.As(err, &behind) || !strings.Contains(err.Error(), "stands still") {
			t.Errorf("got %v, want that it stands still", err)
		}
	})
}

func TestReceive(t *testing.T) {
	s := openTestSession(t, "swallow", loadConfig{size: 64, receivers: 20, chat: true})
	m, err := receive{shortly}.measure(s)
	if err != nil || m[cpuPerMessage] <= 0 || s.load.received != 0 {
		t.Errorf("%v, %v, %d bytes received", m, err, s.load.received)
	}
}

// TestFrames has the bytes of each dialect, written down from its specification.
func TestFrames(t *testing.T) {
	const line = "ab\n"
	tests := []struct {
		name      string
		d         dialect
		published string
		delivered string
	}{
		{name: "lines", d: plainLines, published: "ab\n", delivered: "ab\n"},
		{name: "json", d: jsonLines, published: `{"type":"message","body":"ab"}` + "\n", delivered: "ab\n"},
		{name: "nats", d: natsText, published: "PUB room.0007 3\r\nab\n\r\n", delivered: "MSG room.0007 1 3\r\nab\n\r\n"},
		{name: "redis", d: resp, published: "*3\r\n$7\r\nPUBLISH\r\n$9\r\nroom:0007\r\n$3\r\nab\n\r\n", delivered: ">3\r\n$7\r\nmessage\r\n$9\r\nroom:0007\r\n$3\r\nab\n\r\n"},
		{name: "mqtt", d: mqtt, published: "\x30\x0e\x00\x09room/0007ab\n", delivered: "\x30\x0e\x00\x09room/0007ab\n"},
		{name: "websocket", d: webSocket, published: "\x82\x83\x5a\xc3\x17\x9e\x3b\xa1\x1d", delivered: "\x82\x03ab\n"},
		{name: "websocket text", d: webSocketText, published: "\x81\x82\x5a\xc3\x17\x9e\x3b\xa1", delivered: "\x81\x05m: ab\n"},
		{name: "events", d: serverSentEvents, published: "\x81\x82\x5a\xc3\x17\x9e\x3b\xa1", delivered: "ab\n"},
	}
	for _, tt := range tests {
		if got := string(tt.d.publish(nil, 7, []byte(line))); got != tt.published {
			t.Errorf("%s: published as %q, want %q", tt.name, got, tt.published)
		}
		before, after := tt.d.around(7, len(line))
		if got := before + line + after; got != tt.delivered {
			t.Errorf("%s: delivered as %q, want %q", tt.name, got, tt.delivered)
		}
	}
	if got, _ := webSocket.around(0, 1024); got != "\x82\x7e\x04\x00" {
		t.Errorf("websocket: %q before 1,024 bytes", got)
	}
	if got, _ := mqtt.around(0, 1024); got[:3] != "\x30\x8b\x08" {
		t.Errorf("mqtt: % x before 1,024 bytes", got)
	}
}

func TestDocument(t *testing.T) {
	r := &results{Command: "bench", Missing: []string{"redis: redis-server is not installed"}}
	h := newHistogram()
	for i := range 200 {
		record(h, time.Duration(i+1)*time.Millisecond)
	}
	for _, w := range works {
		for _, size := range []int{10, 100, 1000, 10_000} {
			for i, s := range []*server{tcproomServer, relayServer} {
				m := metrics{}
				for _, c := range w.columns {
					m[c.metric] = float64(i + 1)
				}
				r.Samples = append(r.Samples, sample{Work: w.name, Size: size, Server: s.name, Rep: 1, Metrics: m, latency: h})
			}
		}
	}
	r.Summaries = summarize(r.Samples)
	dir := t.TempDir()
	name, plots := filepath.Join(dir, "B.md"), filepath.Join(dir, "some", "plots")
	if err := r.writeDocument(name, plots); err != nil {
		t.Fatal(err)
	}
	text := readText(t, name)
	for _, want := range []string{"Missing here: redis: redis-server is not installed.", "| flood | 10 | " + cpuPerDelivery + " | relay | 0.5 | 1.15 | reached |",
		"(some/plots/flood.svg)", "(some/plots/idle.svg)", "(some/plots/growth.svg)", "(some/plots/paced10.svg)", "tcproom ÷ it", byHand} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	files, err := filepath.Glob(filepath.Join(plots, "*.svg"))
	if err != nil || len(files) != strings.Count(text, ".svg)") {
		t.Errorf("plots %v, %v", files, err)
	}
	for _, f := range files {
		if svg := readText(t, f); !strings.Contains(svg, "tcproom") {
			t.Errorf("%s does not show this library", f)
		}
	}

	if err := os.WriteFile(name, []byte(text+"\nBecause of the kernel.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.writeDocument(name, plots); err != nil || !strings.HasSuffix(readText(t, name), "\nBecause of the kernel.\n") {
		t.Errorf("%v, or what was written by hand is lost", err)
	}
	foreign := filepath.Join(dir, "README.md")
	if err := os.WriteFile(foreign, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.writeDocument(foreign, plots); err == nil || readText(t, foreign) != "mine" {
		t.Errorf("overwrote a file of somebody else: %v", err)
	}
}

func TestDecades(t *testing.T) {
	label := func(ticks []plot.Tick) (s string) {
		for _, tick := range ticks {
			if tick.Label != "" {
				s += tick.Label + ","
			}
		}
		return s
	}
	for _, tt := range []struct {
		least, most float64
		want        string
	}{
		{least: 0.001, most: 10, want: "0.001,0.01,0.1,1,10,"},
		{least: 1000, most: 1e7, want: "1000,10 k,100 k,1 M,10 M,"},
		{least: 5, most: 5, want: ""},
	} {
		if got := label(decades(tt.least, tt.most)); got != tt.want {
			t.Errorf("from %v to %v: %s, want %s", tt.least, tt.most, got, tt.want)
		}
	}
	for _, v := range []float64{0.3, 1, 7, 1000} {
		a := plot.Axis{Min: v, Max: v}
		if logAxis(&a, nil); !(0 < a.Min && a.Min < a.Max && a.Min <= v && v <= a.Max) {
			t.Errorf("an axis for %v alone goes from %v to %v", v, a.Min, a.Max)
		}
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMissingServer(t *testing.T) {
	restoreProcess(t)
	t.Setenv("PATH", t.TempDir())
	var out, progress strings.Builder
	args := []string{"-unpinned", "-work", "flood", "-servers", "relay,node", "-receivers", "5", "-duration", "50ms", "-reps", "1"}
	if got := run(args, &out, &progress); got != 0 {
		t.Errorf("status %d", got)
	}
	if want := "missing: node: node is not installed"; !strings.Contains(out.String(), want) || !strings.Contains(progress.String(), want) {
		t.Errorf("no %q in\n%s%s", want, &progress, &out)
	}
}
