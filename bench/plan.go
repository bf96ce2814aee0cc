//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// options is what a run is asked to do.
type options struct {
	works     []*work
	servers   []*server
	receivers []int // instead of each work's own
	reps      int
	duration  time.Duration
	window    int
	size      int // of a line, instead of each work's own; 0: that
	mebibytes int
	unpinned  bool
	quick     bool
}

// A runner carries out a run.
type runner struct {
	options
	progress io.Writer

	all       []int // CPUs
	server    []int // those of servers
	generator []int // those of this process

	missing []string
	samples []sample
}

func newRunner(o options, progress io.Writer) (*runner, error) {
	all, err := affinity()
	if err != nil {
		return nil, err
	}
	r := &runner{options: o, progress: progress, all: all, server: all, generator: all}
	r.servers = nil
	for _, s := range o.servers {
		if s.npm != "" {
			packages.install(s.npm)
		}
		if why := s.missing(); why != "" {
			r.missing = append(r.missing, s.name+": "+why)
		} else {
			r.servers = append(r.servers, s)
		}
	}
	if o.unpinned {
		return r, nil
	}
	if len(all) < 2 {
		return nil, errNoCPU
	}
	r.server, r.generator = all[:1], all[len(all)-1:]
	return r, pinProcess(r.generator)
}

// run does all works that are asked for.
func (r *runner) run() {
	for _, m := range r.missing {
		fmt.Fprintln(r.progress, "missing:", m)
	}
	var steps []step
	for _, w := range r.works {
		steps = append(steps, r.steps(w)...)
	}
	started := time.Now()
	for i, s := range steps {
		fmt.Fprintf(r.progress, "%3d/%d %5s  %-10s %6d %d %-9s ", i+1, len(steps), time.Since(started).Round(time.Second), s.work.name, s.size, s.rep, s.server.name)
		r.take(s)
	}
}

// steps lists the measurements of a work. Within a repetition the servers take
// turns, each time in another order, so that what disturbs the machine disturbs
// them alike.
func (r *runner) steps(w *work) (list []step) {
	reps := r.reps
	if w.reps > 0 && !r.quick {
		reps = w.reps
	}
	if w.most > 0 {
		reps = min(reps, w.most)
	}
	for rep := range reps {
		for _, size := range r.sizes(w) {
			for i := range r.servers {
				s := step{work: w, size: size, rep: rep + 1, server: r.servers[(i+rep)%len(r.servers)]}
				if r.does(s) {
					list = append(list, s)
				}
			}
		}
	}
	return list
}

// sizes returns the sizes to measure a work with: those asked for, or its own.
func (r *runner) sizes(w *work) []int {
	switch {
	case len(r.receivers) > 0 && !w.fixed:
		return r.receivers
	case r.quick:
		return w.quick
	}
	return w.full
}

func (r *runner) does(s step) bool {
	switch {
	case s.work.takes != nil && !s.work.takes(s.server):
		return false
	case !s.server.does(s.work):
		return false
	case s.rep > 1 && s.server.guest:
		return false
	case s.rep > 1 && s.work.reps > 0 && s.server != tcproomServer:
		return false
	case r.quick && s.server.guest && s.size > 100 && s.work != idleWork && len(r.receivers) == 0:
		return false
	case s.work.slow && s.server.atMost > 0 && s.size > s.server.atMost && len(r.receivers) == 0:
		return false
	}
	return true
}

func (r *runner) take(s step) {
	started := time.Now()
	out, err := s.work.measure(r, s)
	got := sample{Work: s.work.name, Size: s.size, Server: s.server.name, Rep: s.rep, Metrics: out.metrics, latency: out.latency}
	var behind behindError
	switch {
	case errors.As(err, &behind):
		got.Notes = append(got.Notes, err.Error())
	case err != nil:
		got.Error = err.Error()
	}
	got.Notes = append(got.Notes, r.limits(got)...)
	r.samples = append(r.samples, got)
	fmt.Fprintf(r.progress, "%s (%.1f s)\n", progressText(s.work, got), time.Since(started).Seconds())
}

func progressText(w *work, s sample) string {
	if s.Error != "" {
		return "FAILED: " + joinLines(s.Error)
	}
	var parts []string
	for i, c := range w.columns {
		if v, ok := s.Metrics[c.metric]; ok && !c.ratio && i < 4 && !math.IsNaN(v) {
			parts = append(parts, fmt.Sprintf("%s %s", c.title, c.format(v)))
		}
	}
	return strings.Join(parts, ", ")
}

// What is said of a rate that is the generator's. A server that is then busy
// all the same spends its time on smaller batches than it would have.
const (
	generatorLimit     = "the load generator was the limit of the rate"
	generatorLimitBusy = "the load generator was the limit of the rate, and so of what the server found to batch: CPU a delivery may be less with a faster one"
)

// limits says where a measurement was limited by something other than the server.
func (r *runner) limits(s sample) (notes []string) {
	m := s.Metrics
	const saturated, idle, others, late = 0.95, 0.9, 0.1, 0.2
	pinned := len(r.server) == 1 && s.Work != unpinnedWork.name
	if pinned && m[coresBusy]-m[serverBusy] > others {
		notes = append(notes, "more than a tenth of the server's core went to other processes or kernel threads")
	}
	if _, paced := m[lastP99]; !paced && m[generatorBusy] > saturated {
		if m[serverBusy] < idle {
			notes = append(notes, generatorLimit)
		} else {
			notes = append(notes, generatorLimitBusy)
		}
	}
	if m[lateP99] > late*m[lastP99] {
		notes = append(notes, "the load generator was late with messages, which counts against the server")
	}
	return notes
}

// session opens a session with the step's server for as long as measure takes.
func (r *runner) session(server *server, cfg loadConfig, measure func(*session) (metrics, error)) (outcome, error) {
	s, err := openSession(server.name, r.server, cfg)
	if err != nil {
		return outcome{}, err
	}
	defer s.close()
	m, err := measure(s)
	return outcome{m, s.last}, err
}

// lineSize is a work's own size of lines, unless another was asked for.
func (r *runner) lineSize(own int) int {
	if r.size > 0 {
		return r.size
	}
	return own
}

// shorter is d, or less in a quick run.
func (r *runner) shorter(d, quick time.Duration) time.Duration {
	if r.quick {
		return quick
	}
	return d
}
