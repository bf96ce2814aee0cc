//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

var pacedColumns = []column{
	{title: "last has it, median ms", metric: lastP50, format: digits(2), spread: true},
	ratioOf(lastP50),
	{title: "p99 ms", metric: lastP99, format: digits(2), spread: true},
	ratioOf(lastP99),
	value("server CPU, µs a delivery", cpuPerDelivery, digits(2)),
	value("sent late, p99 ms", lateP99, digits(2)),
	value("server busy", serverBusy, percent),
}

var pacedWork = &work{
	name:    "paced",
	title:   "Paced",
	about:   "100 lines of 64 bytes a second, at fixed times; the time from when one was due until the last receiver has it.",
	counted: "receivers",
	full:    []int{1000},
	quick:   []int{1000},
	columns: pacedColumns,
	measure: func(r *runner, s step) (outcome, error) { return r.paced(s, 100, 3*time.Second) },
}

var paced10Work = &work{
	name:    "paced10",
	title:   "Paced, many receivers",
	about:   "The same with 10 lines a second to more receivers.",
	counted: "receivers",
	full:    []int{10_000},
	slow:    true,
	columns: pacedColumns,
	measure: func(r *runner, s step) (outcome, error) { return r.paced(s, 10, 4*time.Second) },
}

var overloadWork = &work{
	name:    "overload",
	title:   "Overload",
	about:   "100 lines a second to 10,000, for two seconds: a million deliveries a second, more than a core makes one by one; whoever falls behind would do so the further, the longer it went on.",
	counted: "receivers",
	full:    []int{10_000},
	slow:    true,
	columns: pacedColumns,
	measure: func(r *runner, s step) (outcome, error) { return r.paced(s, 100, 2*time.Second) },
}

func (r *runner) paced(s step, rate int, d time.Duration) (outcome, error) {
	w := paced{rate: rate, duration: r.shorter(d, 500*time.Millisecond), patience: 4 * time.Second}
	cfg := loadConfig{size: r.lineSize(smallLine), receivers: s.size, inFlight: w.total()}
	return r.session(s.server, cfg, w.measure)
}

// paced is the work in which one sender sends at fixed times, whatever became
// of the messages before. Each message's time counts from when it was due to
// when the last receiver has it.
type paced struct {
	rate     int // messages a second
	duration time.Duration
	patience time.Duration // after the last message; then the server has fallen behind
	beside   func() error  // done again and again meanwhile, without a wait; nil: nothing is
}

func (w paced) measure(s *session) (metrics, error) {
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	got, err := w.run(s.load)
	if err != nil {
		return nil, err
	}
	m, err := s.since(from)
	if err != nil {
		return nil, err
	}
	s.last = got.last
	m[lastP50], m[lastP99], m[lastMax] = quantileMs(got.last, 0.5), quantileMs(got.last, 0.99), quantileMs(got.last, 1)
	m[lateP99] = quantileMs(got.late, 0.99)
	s.addLatency(m)
	if err := s.load.verdict(); err != nil {
		return m, err
	}
	if got.missing > 0 {
		return m, behindError(fmt.Sprintf("fell behind: the last receiver lacked messages %v after the last was due; times are lower bounds", w.patience))
	}
	return m, s.load.finish()
}

func (w paced) total() int { return max(int(w.duration*time.Duration(w.rate)/time.Second), 1) }

// paces is what became of messages that were sent at fixed times.
type paces struct {
	last    *hdr.Histogram // when the last receiver had them
	late    *hdr.Histogram // when they were sent
	missing int            // that the last receiver had not got when patience ended
}

// run sends, and returns when all have arrived or patience has ended; what is
// missing then counts as arrived.
func (w paced) run(l *load) (paces, error) {
	got := paces{last: newHistogram(), late: newHistogram()}
	interval := time.Second / time.Duration(w.rate)
	total := w.total()
	l.watchLevels(uint64(total))
	base, sender := l.streams[0].sent, l.streams[0].senders[0]
	start := l.now() + 100*time.Millisecond
	due := func(k int) time.Duration { return start + time.Duration(k)*interval }

	arrived := 0
	reach := func(n int) {
		for now := l.now(); arrived < n; arrived++ {
			record(got.last, now-due(arrived))
		}
	}
	l.onLow = func(s *stream) { reach(int(s.levels.low - base)) }
	defer func() { l.onLow = nil }()

	giveUp := due(total) + w.patience
	for sent := 0; arrived < total && l.now() < giveUp; {
		for ; sent < total && l.now() >= due(sent); sent++ {
			record(got.late, l.now()-due(sent))
			if err := l.send(sender, 1, due(sent)); err != nil {
				return got, err
			}
		}
		timeout := pollTimeout
		if sent < total {
			timeout = max(min(timeout, due(sent)-l.now()), 0)
		}
		if w.beside != nil {
			if err := w.beside(); err != nil {
				return got, err
			}
			timeout = 0
		}
		if err := l.poll(timeout); err != nil {
			return got, err
		}
		if err := l.stalled(start); err != nil {
			return got, err
		}
	}
	got.missing = total - arrived
	if quiet := l.now() - l.progress; got.missing > 0 && quiet > w.patience/2 {
		return got, fmt.Errorf("nothing arrived for %v: %w", quiet, errors.Join(l.verdict(), l.complete()))
	}
	reach(total)
	return got, nil
}
