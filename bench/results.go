//go:build linux

package main

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// metrics is what one measurement yields, by name.
type metrics map[string]float64

// MarshalJSON leaves out what has no value.
func (m metrics) MarshalJSON() ([]byte, error) {
	finite := make(map[string]float64, len(m))
	for k, v := range m {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			finite[k] = v
		}
	}
	return json.Marshal(finite)
}

// A sample is one measurement: one work, done once by one server.
type sample struct {
	Work      string   `json:"work"`
	Receivers int      `json:"receivers"`
	Server    string   `json:"server"`
	Rep       int      `json:"rep"`
	Metrics   metrics  `json:"metrics,omitempty"`
	Notes     []string `json:"notes,omitempty"` // what disturbed or limited it
	Error     string   `json:"error,omitempty"` // it failed, and counts nowhere
}

// A summary is what the samples of one work, size and server say together.
type summary struct {
	Work      string   `json:"work"`
	Receivers int      `json:"receivers"`
	Server    string   `json:"server"`
	Samples   int      `json:"samples"`
	Median    metrics  `json:"median,omitempty"`
	Min       metrics  `json:"min,omitempty"`
	Max       metrics  `json:"max,omitempty"`
	Notes     []note   `json:"notes,omitempty"`
	Errors    []string `json:"errors,omitempty"`
	// Ratios is, by other server and metric, the median over the repetitions of
	// this server's value by the other's in the same repetition.
	Ratios map[string]metrics `json:"ratios,omitempty"`
}

// A note says what disturbed or limited how many of a group's samples.
type note struct {
	Text    string `json:"text"`
	Samples int    `json:"samples"`
}

// A results is everything that a run measured.
type results struct {
	Machine   machine   `json:"machine"`
	Command   string    `json:"command"`
	Unpinned  bool      `json:"unpinned"`
	Summaries []summary `json:"summaries"`
	Samples   []sample  `json:"samples"`
}

// baselines are the servers that others are compared with.
var baselines = []string{"relay", "hub"}

// summarize groups samples, in the order in which their groups first appear.
func summarize(samples []sample) []summary {
	var list []summary
	for _, s := range samples {
		known := slices.ContainsFunc(list, func(g summary) bool {
			return g.Work == s.Work && g.Receivers == s.Receivers && g.Server == s.Server
		})
		if !known {
			list = append(list, summarizeGroup(samples, s))
		}
	}
	return list
}

func summarizeGroup(samples []sample, of sample) summary {
	g := summary{Work: of.Work, Receivers: of.Receivers, Server: of.Server, Median: metrics{}, Min: metrics{}, Max: metrics{}}
	values := make(map[string][]float64)
	ratios := make(map[string]map[string][]float64)
	for _, s := range samples {
		if s.Work != of.Work || s.Receivers != of.Receivers || s.Server != of.Server {
			continue
		}
		for _, text := range s.Notes {
			i := slices.IndexFunc(g.Notes, func(n note) bool { return n.Text == text })
			if i < 0 {
				i, g.Notes = len(g.Notes), append(g.Notes, note{Text: text})
			}
			g.Notes[i].Samples++
		}
		if s.Error != "" {
			g.Errors = append(g.Errors, s.Error)
			continue
		}
		g.Samples++
		for name, v := range s.Metrics {
			values[name] = append(values[name], v)
		}
		for _, base := range baselines {
			addRatios(ratios, base, s, sameRep(samples, s, base))
		}
	}
	for name, v := range values {
		g.Median[name], g.Min[name], g.Max[name] = median(v), slices.Min(v), slices.Max(v)
	}
	for base, byName := range ratios {
		if g.Ratios == nil {
			g.Ratios = make(map[string]metrics)
		}
		g.Ratios[base] = metrics{}
		for name, v := range byName {
			g.Ratios[base][name] = median(v)
		}
	}
	return g
}

// sameRep returns what server did of the same work in the same repetition.
func sameRep(samples []sample, as sample, server string) metrics {
	for _, s := range samples {
		if s.Work == as.Work && s.Receivers == as.Receivers && s.Rep == as.Rep && s.Server == server && s.Error == "" {
			return s.Metrics
		}
	}
	return nil
}

func addRatios(ratios map[string]map[string][]float64, base string, s sample, other metrics) {
	if s.Server == base {
		return
	}
	for name, v := range s.Metrics {
		w, ok := other[name]
		if !ok || w == 0 || math.IsNaN(v/w) {
			continue
		}
		if ratios[base] == nil {
			ratios[base] = make(map[string][]float64)
		}
		ratios[base][name] = append(ratios[base][name], v/w)
	}
}

// failed says whether some measurement failed.
func (r *results) failed() bool {
	return slices.ContainsFunc(r.Samples, func(s sample) bool { return s.Error != "" })
}

// works lists the works that were measured, in order.
func (r *results) works() []string {
	var list []string
	for _, s := range r.Summaries {
		if !slices.Contains(list, s.Work) {
			list = append(list, s.Work)
		}
	}
	return list
}

func joinLines(s string) string { return strings.ReplaceAll(s, "\n", "; ") }
