//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
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

// A column of a table is a metric, or this library's value of it by this server's.
type column struct {
	title  string
	metric string
	ratio  bool
	format func(float64) string
	spread bool // with the least and the greatest value
}

func value(title, metric string, format func(float64) string) column {
	return column{title: title, metric: metric, format: format}
}

func ratioOf(metric string) column {
	return column{title: "tcproom ÷ it", metric: metric, ratio: true, format: digits(2)}
}

func digits(n int) func(float64) string {
	return func(v float64) string { return strconv.FormatFloat(v, 'f', n, 64) }
}

func percent(v float64) string { return digits(0)(100*v) + " %" }

func thousands(v float64) string { return digits(0)(v/1000) + "k" }

func (r *results) tables() []table {
	var list []table
	for _, w := range r.works() {
		list = append(list, r.table(w))
	}
	return list
}

func (r *results) table(w *work) table {
	t := table{title: w.title, about: w.about, head: []string{w.counted, "server"}}
	for _, c := range w.columns {
		t.head = append(t.head, c.title)
	}
	var group []summary
	for _, s := range r.Summaries {
		if s.Work == w.name {
			group = append(group, s)
		}
	}
	slices.SortStableFunc(group, func(a, b summary) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(rankOf(a.Server), rankOf(b.Server)))
	})
	for _, s := range group {
		t.rows = append(t.rows, w.row(s))
	}
	t.notes = remarks(group)
	return t
}

func rankOf(name string) int {
	return slices.IndexFunc(servers, func(s *server) bool { return s.name == name })
}

func (w *work) row(s summary) []string {
	row := []string{strconv.Itoa(s.Size), s.Server}
	for _, c := range w.columns {
		row = append(row, c.cell(s))
	}
	if len(s.Errors) > 0 && s.Samples == 0 {
		row[2] = "FAILED"
	}
	return row
}

func (c column) cell(s summary) string {
	from := s.Median
	if c.ratio {
		from = s.Ratio
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
			where[n.Text] = append(where[n.Text], s.where(n.Samples))
		}
		for _, e := range s.Errors {
			failures = append(failures, fmt.Sprintf("FAILED: %d %s: %s", s.Size, s.Server, joinLines(e)))
		}
	}
	for i, text := range texts {
		if at := where[text]; len(at) > 2 && len(at) == len(group) {
			texts[i] = text + ": everywhere"
		} else {
			texts[i] = text + ": " + strings.Join(at, ", ")
		}
	}
	return append(texts, failures...)
}

// where names a row, and how many of its samples if not all.
func (s *summary) where(samples int) string {
	at := fmt.Sprintf("%d %s", s.Size, s.Server)
	if all := s.Samples + len(s.Errors); samples < all {
		at += fmt.Sprintf(" (%d of %d)", samples, all)
	}
	return at
}

// heading says where and how the figures came about.
func (r *results) heading() string {
	pinned := "each server on one core, the load generator on another"
	if r.Unpinned {
		pinned = "nothing pinned to cores"
	}
	built := r.Machine.Go
	if r.Machine.Build != "" {
		built += " with " + r.Machine.Build
	}
	return fmt.Sprintf("%s, %d CPUs, Linux %s, %s; %s; %s. Loopback TCP; medians (least–greatest) over repetitions; ratios are medians of those within one repetition; %.0f min.",
		cmp.Or(r.Machine.CPU, "unknown CPU"), r.Machine.CPUs, r.Machine.Kernel, built, r.Machine.Date, pinned, math.Ceil(r.Seconds/60))
}

// peerVersions is a line; empty where there is none to name.
func (r *results) peerVersions() string {
	var list []string
	for _, v := range r.Versions {
		list = append(list, v.Server+" "+v.Version)
	}
	if len(list) == 0 {
		return ""
	}
	return "Versions: " + strings.Join(list, ", ") + ".\n"
}

func (r *results) writeText(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s\n%s", r.Command, r.heading(), r.peerVersions())
	for _, m := range r.Missing {
		fmt.Fprintf(w, "missing: %s\n", m)
	}
	for _, t := range append(r.tables(), r.goalTable()...) {
		if err := t.writeText(w); err != nil {
			return err
		}
	}
	return nil
}

func (t *table) writeText(w io.Writer) error {
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
	return nil
}

// writeMarkdown writes the table alone, and its notes.
func (t *table) writeMarkdown(b *strings.Builder) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(t.head, " | "), strings.Repeat("---:|", len(t.head)))
	for _, row := range t.rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	if len(t.notes) > 0 {
		b.WriteString("\n")
	}
	for _, n := range t.notes {
		fmt.Fprintf(b, "- %s\n", n)
	}
}

func (r *results) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`\n\n%s %s\n", r.Command, r.heading(), strings.TrimSuffix(r.peerVersions(), "\n"))
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "\n- missing: %s\n", m)
	}
	for _, t := range append(r.tables(), r.goalTable()...) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", t.title, t.about)
		t.writeMarkdown(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
