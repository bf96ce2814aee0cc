//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A table is what people read of one work.
type table struct {
	title string
	about string
	head  []string
	rows  [][]string
	notes []string
}

// A column of a table is a metric, or its ratio to that of another server.
type column struct {
	title  string
	metric string
	to     string // a baseline; empty: the value itself
	format func(float64) string
	spread bool // with the least and the greatest value
}

func value(title, metric string, format func(float64) string) column {
	return column{title: title, metric: metric, format: format}
}

func ratio(metric, to string) column {
	return column{title: "÷ " + to, metric: metric, to: to, format: digits(2)}
}

// A page says how a work is shown.
type page struct {
	title, about string
	columns      []column
}

var floodColumns = []column{
	{title: "server CPU, µs a delivery", metric: cpuPerDelivery, format: digits(3), spread: true},
	ratio(cpuPerDelivery, "relay"),
	ratio(cpuPerDelivery, "hub"),
	value("deliveries/s", deliveryRate, thousands),
	value("probe p50, ms", latencyP50, digits(2)),
	value("probe p99, ms", latencyP99, digits(2)),
	value("server busy", serverBusy, percent),
	value("generator busy", generatorBusy, percent),
}

var pages = map[string]page{
	workFlood:    {"Flood", "One sender, never more than the window in flight, which is what the slowest of all receivers lacks.", floodColumns},
	workChat:     {"Chat", "All members send, one message each in turn, at most as many in flight in all as there are members (the window if that is more).", floodColumns},
	workUnpinned: {"Flood, unpinned", "The same with servers and generator free to run on all cores, and so to disturb each other; once.", floodColumns},
	workNoWindow: {"No window", "One sender that never waits; passes when every receiver got every byte and none was cut.", []column{
		value("MiB sent", mebibytesSent, digits(0)),
		value("seconds", seconds, digits(1)),
		value("MiB/s received by all", mebibytesRate, digits(0)),
		value("server CPU, µs a delivery", cpuPerDelivery, digits(4)),
		value("server busy", serverBusy, percent),
		value("generator busy", generatorBusy, percent),
	}},
	workPaced: {"Paced", "Messages at fixed times; the time from when one was due until the last receiver has it.", []column{
		{title: "last has it, median ms", metric: lastP50, format: digits(2), spread: true},
		ratio(lastP50, "relay"),
		ratio(lastP50, "hub"),
		{title: "p99 ms", metric: lastP99, format: digits(2), spread: true},
		ratio(lastP99, "relay"),
		ratio(lastP99, "hub"),
		value("server CPU, µs a delivery", cpuPerDelivery, digits(2)),
		value("sent late, p99 ms", lateP99, digits(2)),
		value("server busy", serverBusy, percent),
	}},
	workIdle: {"Idle", "Bytes a connection: resident as it is, resident after free memory was given back, and heap and stack in use after two collections.", []column{
		value("RSS", rssIdle, digits(0)),
		value("RSS, freed", rssIdleFreed, digits(0)),
		value("heap+stack", heapIdle, digits(0)),
		value("goroutines", goroutines, digits(2)),
		value("after a broadcast: RSS", rssBroadcast, digits(0)),
		value("RSS, freed", rssBroadcastFree, digits(0)),
		value("heap+stack", heapBroadcast, digits(0)),
	}},
	workRooms: {"Idle rooms", "Bytes of an empty room; the first column counts rooms.", []column{
		value("heap allocated", roomAlloc, digits(0)),
		value("heap+stack in use", roomInUse, digits(0)),
		value("goroutines", goroutines, digits(2)),
	}},
}

func digits(n int) func(float64) string {
	return func(v float64) string { return strconv.FormatFloat(v, 'f', n, 64) }
}

func percent(v float64) string { return digits(0)(100*v) + " %" }

func thousands(v float64) string { return digits(0)(v/1000) + "k" }

func (r *results) tables() []table {
	var list []table
	for _, work := range r.works() {
		p := pages[work]
		t := table{title: p.title, about: p.about, head: []string{"receivers", "server"}}
		for _, c := range p.columns {
			t.head = append(t.head, c.title)
		}
		var group []summary
		for _, s := range r.Summaries {
			if s.Work == work {
				t.rows = append(t.rows, p.row(s))
				group = append(group, s)
			}
		}
		t.notes = remarks(group)
		list = append(list, t)
	}
	return list
}

func (p page) row(s summary) []string {
	row := []string{strconv.Itoa(s.Receivers), s.Server}
	for _, c := range p.columns {
		row = append(row, c.cell(s))
	}
	if len(s.Errors) > 0 && s.Samples == 0 {
		row[2] = "FAILED"
	}
	return row
}

func (c column) cell(s summary) string {
	from := s.Median
	if c.to != "" {
		from = s.Ratios[c.to]
	}
	v, ok := from[c.metric]
	if !ok || math.IsNaN(v) {
		return "–"
	}
	text := c.format(v)
	if c.spread && s.Samples > 1 {
		text += fmt.Sprintf(" (%s–%s)", c.format(s.Min[c.metric]), c.format(s.Max[c.metric]))
	}
	return text
}

// remarks says what was noted of a work, each thing once, and what failed.
func remarks(group []summary) []string {
	var texts, failures []string
	where := make(map[string][]string)
	for _, s := range group {
		for _, n := range s.Notes {
			if where[n.Text] == nil {
				texts = append(texts, n.Text)
			}
			at := fmt.Sprintf("%d %s (%d of %d)", s.Receivers, s.Server, n.Samples, s.Samples+len(s.Errors))
			where[n.Text] = append(where[n.Text], at)
		}
		for _, e := range s.Errors {
			failures = append(failures, fmt.Sprintf("FAILED: %d %s: %s", s.Receivers, s.Server, joinLines(e)))
		}
	}
	for i, text := range texts {
		texts[i] = text + ": " + strings.Join(where[text], ", ")
	}
	return append(texts, failures...)
}

// heading says where and how the figures came about.
func (r *results) heading() string {
	pinned := "each server on one core, the load generator on another"
	if r.Unpinned {
		pinned = "nothing pinned to cores"
	}
	return fmt.Sprintf("%s, %d CPUs, Linux %s, %s; %s; %s. Loopback TCP; medians (least–greatest) over repetitions; ratios within one repetition.",
		cmp.Or(r.Machine.CPU, "unknown CPU"), r.Machine.CPUs, r.Machine.Kernel, r.Machine.Go, r.Machine.Date, pinned)
}

func (r *results) writeText(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s\n", r.Command, r.heading())
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n%s: %s\n", t.title, t.about)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, strings.Join(t.head, "\t"))
		for _, row := range t.rows {
			fmt.Fprintln(tw, strings.Join(row, "\t"))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		for _, n := range t.notes {
			fmt.Fprintf(w, "note: %s\n", n)
		}
	}
	return nil
}

func (r *results) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`\n\n%s\n", r.Command, r.heading())
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| %s |\n|%s\n", t.title, t.about,
			strings.Join(t.head, " | "), strings.Repeat("---:|", len(t.head)))
		for _, row := range t.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
		if len(t.notes) > 0 {
			b.WriteString("\n")
		}
		for _, n := range t.notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
