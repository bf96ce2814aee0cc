//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// The works, by the names under which they are chosen and reported.
const (
	workFlood    = "flood"
	workChat     = "chat"
	workUnpinned = "unpinned"
	workNoWindow = "nowindow"
	workPaced    = "paced"
	workIdle     = "idle"
	workRooms    = "rooms"
)

var allWorks = []string{workFlood, workNoWindow, workPaced, workIdle, workRooms, workChat, workUnpinned}

// options is what a run is asked to do.
type options struct {
	works     []string
	servers   []string
	receivers []int // instead of each work's own
	reps      int
	duration  time.Duration
	window    int
	size      int
	mebibytes int
	idleConns int
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

	samples []sample
}

func newRunner(o options, progress io.Writer) (*runner, error) {
	all, err := affinity()
	if err != nil {
		return nil, err
	}
	r := &runner{options: o, progress: progress, all: all, server: all, generator: all}
	if o.unpinned {
		return r, nil
	}
	if len(all) < 2 {
		return nil, errors.New("there is one CPU only, and server and load generator need one each; use -unpinned to measure all the same")
	}
	r.server, r.generator = all[:1], all[len(all)-1:]
	return r, pinProcess(r.generator)
}

// run does all works that are asked for.
func (r *runner) run() {
	for _, work := range r.works {
		switch work {
		case workFlood:
			r.repeat(work, r.sizes([]int{10, 100, 1000, 10_000}, []int{10, 1000}), r.reps, r.flood(false))
		case workChat:
			r.repeat(work, r.sizes([]int{10, 100, 1000}, []int{10, 100}), min(r.reps, 3), r.flood(true))
		case workUnpinned:
			r.runUnpinned()
		case workNoWindow:
			r.repeat(work, r.sizes([]int{1000}, []int{1000}), 1, r.noWindow)
		case workPaced:
			r.repeat(work, r.sizes([]int{1000, 10_000}, []int{1000}), min(r.reps, 3), r.paced)
		case workIdle:
			r.repeat(work, []int{r.idleConns}, 1, r.idle)
		case workRooms:
			r.repeat(work, []int{10_000}, 1, r.rooms)
		}
	}
}

// sizes returns the numbers of receivers to measure a work with: those asked
// for, or the work's own.
func (r *runner) sizes(full, quick []int) []int {
	switch {
	case len(r.receivers) > 0:
		return r.receivers
	case r.quick:
		return quick
	}
	return full
}

// errNotMeasured says that a server is not measured with a work.
var errNotMeasured = errors.New("not measured")

type measurement func(server string, receivers int) (metrics, error)

// repeat takes a measurement of all servers at all sizes, several times.
// Within a repetition the servers take turns, each time in another order, so
// that what disturbs the machine disturbs them alike.
func (r *runner) repeat(work string, sizes []int, reps int, measure measurement) {
	for rep := range reps {
		for _, receivers := range sizes {
			for i := range r.servers {
				server := r.servers[(i+rep)%len(r.servers)]
				r.take(sample{Work: work, Receivers: receivers, Server: server, Rep: rep + 1}, reps, measure)
			}
		}
	}
}

func (r *runner) take(s sample, reps int, measure measurement) {
	started := time.Now()
	var (
		err    error
		behind behindError
	)
	s.Metrics, err = measure(s.Server, s.Receivers)
	switch {
	case errors.Is(err, errNotMeasured):
		return
	case errors.As(err, &behind):
		s.Notes = append(s.Notes, err.Error())
	case err != nil:
		s.Error = err.Error()
	}
	s.Notes = append(s.Notes, r.limits(s)...)
	r.samples = append(r.samples, s)
	fmt.Fprintf(r.progress, "%-9s %6d  %d/%d  %-8s %s  (%.1f s)\n", s.Work, s.Receivers, s.Rep, reps, s.Server, progressText(s), time.Since(started).Seconds())
}

func progressText(s sample) string {
	if s.Error != "" {
		return "FAILED: " + joinLines(s.Error)
	}
	var parts []string
	for i, c := range pages[s.Work].columns {
		if c.to == "" && i < 4 {
			parts = append(parts, fmt.Sprintf("%s %s", c.title, c.format(s.Metrics[c.metric])))
		}
	}
	return strings.Join(parts, ", ")
}

// limits says where a measurement was limited by something other than the server.
func (r *runner) limits(s sample) (notes []string) {
	m := s.Metrics
	const saturated, idle, others, late = 0.95, 0.9, 0.1, 0.2
	if len(r.server) == 1 && m[coresBusy]-m[serverBusy] > others {
		notes = append(notes, "more than a tenth of the server's core went to other processes or kernel threads")
	}
	if s.Work != workPaced && m[generatorBusy] > saturated && m[serverBusy] < idle*float64(len(r.server)) {
		notes = append(notes, "the load generator was the limit of the rate")
	}
	if m[lateP99] > late*m[lastP99] {
		notes = append(notes, "the load generator was late with messages, which counts against the server")
	}
	return notes
}

func (r *runner) flood(chat bool) measurement {
	return func(server string, receivers int) (metrics, error) {
		f := flood{window: r.window, duration: r.duration}
		if chat {
			f.window = max(r.window, receivers)
		}
		return r.session(server, loadConfig{size: r.size, receivers: receivers, chat: chat}, f.measure)
	}
}

func (r *runner) session(server string, cfg loadConfig, measure func(*session) (metrics, error)) (metrics, error) {
	s, err := openSession(server, r.server, cfg)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return measure(s)
}

// runUnpinned is flood at one size, once, free of cores.
func (r *runner) runUnpinned() {
	server, generator := r.server, r.generator
	defer func() {
		r.server, r.generator = server, generator
		_ = pinProcess(generator)
	}()
	r.server, r.generator = r.all, r.all
	if err := pinProcess(r.all); err != nil {
		fmt.Fprintln(r.progress, "bench:", err)
		return
	}
	r.repeat(workUnpinned, r.sizes([]int{1000}, []int{1000}), 1, r.flood(false))
}

// noWindow measures tcproom alone: of the others, one would need unbounded
// memory, and one hours.
func (r *runner) noWindow(server string, receivers int) (metrics, error) {
	if server != "tcproom" {
		return nil, errNotMeasured
	}
	return r.session(server, loadConfig{size: r.size, receivers: receivers}, noWindow{r.mebibytes}.measure)
}

func (r *runner) paced(server string, receivers int) (metrics, error) {
	w := paced{rate: 100, duration: 5 * time.Second, patience: 15 * time.Second}
	if r.quick {
		w.duration = time.Second
	}
	return r.session(server, loadConfig{size: r.size, receivers: receivers}, w.measure)
}

func (r *runner) idle(server string, conns int) (metrics, error) {
	w := idle{settle: 3 * time.Second}
	if r.quick {
		w.settle = time.Second
	}
	return w.measure(server, r.server, loadConfig{size: r.size, receivers: conns - 1})
}

func (r *runner) rooms(server string, n int) (metrics, error) {
	if server != "tcproom" {
		return nil, errNotMeasured
	}
	return measureRooms(server, r.server, n)
}
