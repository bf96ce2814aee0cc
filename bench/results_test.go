//go:build linux

package main

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestMedianAndQuantile(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		median float64
		p99    float64
	}{
		{name: "one", values: []float64{3}, median: 3, p99: 3},
		{name: "odd", values: []float64{9, 1, 2}, median: 2, p99: 9},
		{name: "even", values: []float64{4, 1, 3, 2}, median: 2.5, p99: 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.values)
			if got := median(tt.values); got != tt.median {
				t.Errorf("median %v, want %v", got, tt.median)
			}
			if got := quantile(tt.values, 0.99); got != tt.p99 {
				t.Errorf("p99 %v, want %v", got, tt.p99)
			}
			if !slices.Equal(tt.values, before) {
				t.Error("the values were sorted in place")
			}
		})
	}
	if !math.IsNaN(median(nil)) || !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("none has a median")
	}
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	if got := quantile(hundred, 0.99); got != 99 {
		t.Errorf("p99 of 1 to 100 is %v", got)
	}
}

// testSamples has one disturbed repetition, which the ratios must survive.
func testSamples() []sample {
	cpu := func(server string, rep int, v float64) sample {
		return sample{Work: floodWork.name, Size: 10, Server: server, Rep: rep, Metrics: metrics{cpuPerDelivery: v, latencyP50: math.NaN()}}
	}
	failed := cpu("hub", 3, 99)
	failed.Error = "lost\na line"
	disturbed := cpu("tcproom", 2, 10)
	disturbed.Notes = []string{"disturbed"}
	return []sample{
		cpu("tcproom", 1, 2), cpu("relay", 1, 1), cpu("hub", 1, 8),
		disturbed, cpu("relay", 2, 5), cpu("hub", 2, 40),
		cpu("tcproom", 3, 2.2), cpu("relay", 3, 1), failed,
	}
}

func TestSummarize(t *testing.T) {
	got := summarize(testSamples())
	if len(got) != 3 {
		t.Fatalf("%d groups, want 3", len(got))
	}
	room, hub := got[0], got[2]
	if room.Server != "tcproom" || room.Median[cpuPerDelivery] != 2.2 || room.Min[cpuPerDelivery] != 2 || room.Max[cpuPerDelivery] != 10 {
		t.Errorf("tcproom: %+v", room)
	}
	if r := got[1].Ratio[cpuPerDelivery]; r != 2 {
		t.Errorf("median of the ratios to relay is %v, want 2", r)
	}
	if r := hub.Ratio[cpuPerDelivery]; r != 0.25 {
		t.Errorf("median of the ratios to hub is %v, want 0.25", r)
	}
	if !slices.Equal(room.Notes, []note{{Text: "disturbed", Samples: 1}}) {
		t.Errorf("notes %v", room.Notes)
	}
	if hub.Samples != 2 || len(hub.Errors) != 1 || hub.Max[cpuPerDelivery] != 40 {
		t.Errorf("a failed measurement counts: %+v", hub)
	}
}

func TestReports(t *testing.T) {
	r := &results{Command: "bench", Samples: testSamples(), Summaries: summarize(testSamples())}
	if !r.failed() {
		t.Error("a failed measurement does not fail the run")
	}
	var text, markdown strings.Builder
	if err := r.writeText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.writeMarkdown(&markdown); err != nil {
		t.Fatal(err)
	}
	if want := "| 10 | relay | 1.000 (1.000–5.000) | 2.00 |"; !strings.Contains(markdown.String(), want) {
		t.Errorf("no %q in\n%s", want, &markdown)
	}
	for _, want := range []string{"2.200 (2.000–10.000)       –", "note: disturbed: 10 tcproom (1 of 3)", "note: FAILED: 10 hub: lost; a line"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	if b, err := json.Marshal(r); err != nil || strings.Contains(string(b), latencyP50) {
		t.Errorf("what has no value is not left out of the JSON: %v\n%s", err, b)
	}
}

func TestLimits(t *testing.T) {
	busy := func(server, generator, cores float64) metrics {
		return metrics{serverBusy: server, generatorBusy: generator, coresBusy: cores}
	}
	const disturbed = "more than a tenth of the server's core went to other processes or kernel threads"
	tests := []struct {
		name string
		work *work
		m    metrics
		want []string
	}{
		{name: "server", work: floodWork, m: busy(0.99, 0.9, 1), want: nil},
		{name: "generator", work: floodWork, m: busy(0.8, 0.98, 0.8), want: []string{generatorLimit}},
		{name: "both", work: chatWork, m: busy(0.99, 0.98, 1), want: []string{generatorLimitBusy}},
		{name: "others", work: floodWork, m: busy(0.6, 0.5, 0.8), want: []string{disturbed}},
		{name: "others, where nothing is pinned", work: unpinnedWork, m: busy(1, 0.5, 1.6), want: nil},
		{name: "paced", work: pacedWork, m: metrics{serverBusy: 0.5, generatorBusy: 0.99, lastP99: 10, lateP99: 1}, want: nil},
		{name: "late", work: pacedWork, m: metrics{lastP99: 10, lateP99: 3}, want: []string{"the load generator was late with messages, which counts against the server"}},
	}
	r := &runner{server: []int{0}}
	for _, tt := range tests {
		if got := r.limits(sample{Work: tt.work.name, Metrics: tt.m}); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestGoals(t *testing.T) {
	var samples []sample
	add := func(w *work, size int, server, metric string, v float64) *sample {
		samples = append(samples, sample{Work: w.name, Size: size, Server: server, Rep: 1, Metrics: metrics{metric: v}})
		return &samples[len(samples)-1]
	}
	for i, size := range []int{10, 100, 1000, 10_000} {
		add(floodWork, size, "tcproom", cpuPerDelivery, []float64{0.1, 0.1, 0.2, 0.14}[i])
		add(flood1kWork, size, "tcproom", cpuPerDelivery, []float64{0.4, 0.3, 0.3, 0.5}[i])
	}
	add(floodWork, 10, "relay", cpuPerDelivery, 0.1)
	add(floodWork, 10, "gnet", cpuPerDelivery, 0.2).Notes = []string{generatorLimitBusy}
	add(floodWork, 10, "hub", cpuPerDelivery, 1).Error = "lost"
	add(floodWork, 1000, "tcproom-json", cpuPerDelivery, 0.3)
	add(floodWork, 1000, "ws", cpuPerDelivery, 0.22)
	add(floodWork, 1000, "sse", cpuPerDelivery, 0.33)
	add(floodWork, 1000, "gws", cpuPerDelivery, 11)
	add(idleWork, 10_000, "ws", goroutines, 1)
	r := &results{Samples: samples, Summaries: summarize(samples)}
	list := r.goalTable()
	if len(list) != 1 {
		t.Fatalf("%d tables", len(list))
	}
	var got []string
	for _, row := range list[0].rows {
		got = append(got, strings.Join(slices.Delete(slices.Clone(row), 2, 3), " "))
	}
	want := []string{
		"flood 10 relay 1 1.15 reached", "flood 10 gnet 0.5 1 reached", "flood 10 hub – 0.5 not measured",
		"flood 1000 tcproom 1.1 1.15 reached", "flood 1000 gws 0.02 0.03 reached", "flood 1000 ws 1.5 1.2 missed", "idle 10000 – – 3000 not measured", "idle 10000 – 1 0.001 missed",
		"flood 1000 tcproom 1.5 1.6 reached",
		// What lies between counts too.
		"flood to 10000 itself at 10 2 1.5 missed", "flood1k to 10000 itself at 10 1.25 1.5 reached",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	notes := []string{"6 of 11 reached", "the load generator was the limit of one side or both: flood 10"}
	if !slices.Equal(list[0].notes, notes) {
		t.Errorf("notes %q, want %q", list[0].notes, notes)
	}
}

// TestSteps counts measurements: what a full run takes is their number.
func TestSteps(t *testing.T) {
	r := &runner{options: options{servers: []*server{tcproomServer, tcproomJSONServer, relayServer, nodeServer}, reps: 3}}
	for _, tt := range []struct {
		work        *work
		full, quick int
	}{
		{work: floodWork, full: 4 * (3 + 3 + 3 + 1), quick: 11},
		{work: roomsWork, full: 4 * (2 + 2), quick: 2},
		{work: stallWork, full: 7 + 1, quick: 2},
		{work: idleWork, full: 3, quick: 3},
		{work: tlsWork, full: 2, quick: 1},
		{work: paced10Work, full: 7, quick: 0},
		{work: noWindowWork, full: 1, quick: 1},
	} {
		r.quick, r.reps = false, 3
		if got := len(r.steps(tt.work)); got != tt.full {
			t.Errorf("%s: %d steps, want %d", tt.work.name, got, tt.full)
		}
		r.quick, r.reps = true, 1
		if got := len(r.steps(tt.work)); got != tt.quick {
			t.Errorf("quick %s: %d steps, want %d", tt.work.name, got, tt.quick)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, s := range servers {
		if s.missing() != "" {
			continue
		}
		if got := s.version(); (got != "") != (s.module != "" || s.program != "") {
			t.Errorf("%s has version %q", s.name, got)
		}
	}
	if got, want := gnetServer.version(), "2.9.1"; got != want {
		t.Errorf("gnet %s, want %s", got, want)
	}
}

// TestWorks finds works that lack something because of a slip.
func TestWorks(t *testing.T) {
	seen := make(map[string]bool)
	for _, w := range works {
		if w.name == "" || w.title == "" || w.about == "" || w.counted == "" || len(w.full) == 0 || len(w.columns) < 2 || w.measure == nil {
			t.Errorf("work %q lacks something", w.name)
		}
		if seen[w.name] {
			t.Errorf("there are two works %s", w.name)
		}
		seen[w.name] = true
	}
	for _, g := range goals {
		if !slices.Contains(g.work.full, g.size) {
			t.Errorf("goal for %s of %d, which is not measured", g.work.name, g.size)
		}
		if !slices.ContainsFunc(g.work.columns, func(c column) bool { return c.metric == g.metric }) {
			t.Errorf("goal for %s of %s, which is not shown", g.metric, g.work.name)
		}
	}
}
