//go:build linux

package main

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
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
	Work    string   `json:"work"`
	Size    int      `json:"size"`
	Server  string   `json:"server"`
	Rep     int      `json:"rep"`
	Metrics metrics  `json:"metrics,omitempty"`
	Notes   []string `json:"notes,omitempty"` // what disturbed or limited it
	Error   string   `json:"error,omitempty"` // it failed, and counts nowhere

	latency *hdr.Histogram // nil: none
}

// A summary is what the samples of one work, size and server say together.
type summary struct {
	Work    string   `json:"work"`
	Size    int      `json:"size"`
	Server  string   `json:"server"`
	Samples int      `json:"samples"`
	Median  metrics  `json:"median,omitempty"`
	Min     metrics  `json:"min,omitempty"`
	Max     metrics  `json:"max,omitempty"`
	Notes   []note   `json:"notes,omitempty"`
	Errors  []string `json:"errors,omitempty"`
	// Ratio is, by metric, the median over the repetitions of this library's
	// value by this server's in the same repetition.
	Ratio metrics `json:"tcproom_by_this,omitempty"`
	// Latency is of all samples together: nanoseconds, as an HDR histogram in
	// its compressed form, in base64.
	Latency string `json:"latency_hdr,omitempty"`

	latency *hdr.Histogram
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
	Seconds   float64   `json:"seconds"`
	Unpinned  bool      `json:"unpinned"`
	Missing   []string  `json:"missing,omitempty"`
	Versions  []version `json:"versions,omitempty"`
	Summaries []summary `json:"summaries"`
	Samples   []sample  `json:"samples"`
}

// A version says which version of a server was measured.
type version struct {
	Server  string `json:"server"`
	Version string `json:"version"`
}

// of says whether s is of the same work, size and server.
func (s *sample) of(as *sample) bool {
	return s.Work == as.Work && s.Size == as.Size && s.Server == as.Server
}

// summarize groups samples, in the order in which their groups first appear.
func summarize(samples []sample) []summary {
	var list []summary
	for i := range samples {
		s := &samples[i]
		if !slices.ContainsFunc(samples[:i], func(earlier sample) bool { return earlier.of(s) }) {
			list = append(list, summarizeGroup(samples, s))
		}
	}
	return list
}

func summarizeGroup(samples []sample, of *sample) summary {
	g := summary{Work: of.Work, Size: of.Size, Server: of.Server}
	values, ratios := make(map[string][]float64), make(map[string][]float64)
	for i := range samples {
		s := &samples[i]
		if !s.of(of) {
			continue
		}
		g.note(s.Notes)
		if s.Error != "" {
			g.Errors = append(g.Errors, s.Error)
			continue
		}
		g.Samples++
		g.merge(s.latency)
		room := sameRep(samples, s, tcproomServer.name)
		for name, v := range s.Metrics {
			values[name] = append(values[name], v)
			if w, ok := room[name]; ok && s.Server != tcproomServer.name && v != 0 {
				ratios[name] = append(ratios[name], w/v)
			}
		}
	}
	g.Median, g.Ratio = overall(values, median), overall(ratios, median)
	g.Min, g.Max = overall(values, slices.Min), overall(values, slices.Max)
	g.Latency = encodeHistogram(g.latency)
	return g
}

func (g *summary) note(texts []string) {
	for _, text := range texts {
		i := slices.IndexFunc(g.Notes, func(n note) bool { return n.Text == text })
		if i < 0 {
			i, g.Notes = len(g.Notes), append(g.Notes, note{Text: text})
		}
		g.Notes[i].Samples++
	}
}

func (g *summary) merge(h *hdr.Histogram) {
	if h == nil {
		return
	}
	if g.latency == nil {
		g.latency = newHistogram()
	}
	g.latency.Merge(h)
}

func overall(values map[string][]float64, one func([]float64) float64) metrics {
	m := make(metrics, len(values))
	for name, v := range values {
		m[name] = one(v)
	}
	return m
}

func encodeHistogram(h *hdr.Histogram) string {
	if h == nil {
		return ""
	}
	b, err := h.Encode(hdr.V2CompressedEncodingCookieBase)
	if err != nil {
		return ""
	}
	return string(b) // Encode has made it base64
}

// sameRep returns what server did of the same work in the same repetition.
func sameRep(samples []sample, as *sample, server string) metrics {
	for _, s := range samples {
		if s.Work == as.Work && s.Size == as.Size && s.Rep == as.Rep && s.Server == server && s.Error == "" {
			return s.Metrics
		}
	}
	return nil
}

// find returns nil where nothing was measured.
func (r *results) find(work string, size int, server string) *summary {
	for i := range r.Summaries {
		if s := &r.Summaries[i]; s.Work == work && s.Size == size && s.Server == server && s.Samples > 0 {
			return s
		}
	}
	return nil
}

// failed says whether some measurement failed.
func (r *results) failed() bool {
	return slices.ContainsFunc(r.Samples, func(s sample) bool { return s.Error != "" })
}

// works lists the works that were measured, in order.
func (r *results) works() []*work {
	var list []*work
	for _, s := range r.Summaries {
		if w := workNamed(s.Work); w != nil && !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

// servers lists the servers that were measured, in the order of the report.
func (r *results) servers() []*server {
	var list []*server
	for _, s := range servers {
		if slices.ContainsFunc(r.Samples, func(m sample) bool { return m.Server == s.name }) {
			list = append(list, s)
		}
	}
	return list
}

// versionOf returns "–" where there is none.
func (r *results) versionOf(server string) string {
	for _, v := range r.Versions {
		if v.Server == server {
			return v.Version
		}
	}
	return "–"
}

// versions are those of servers that have one.
func versions(list []*server) (vs []version) {
	for _, s := range list {
		if v := s.version(); v != "" {
			vs = append(vs, version{s.name, v})
		}
	}
	return vs
}

func joinLines(s string) string { return strings.ReplaceAll(s, "\n", "; ") }
