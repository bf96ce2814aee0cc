//go:build linux

package main

import (
	"errors"
	"time"
)

var floodColumns = []column{
	{title: "server CPU, µs a delivery", metric: cpuPerDelivery, format: digits(3), spread: true},
	ratioOf(cpuPerDelivery),
	value("lines a read", linesPerRead, digits(1)),
	value("deliveries/s", deliveryRate, thousands),
	value("probe p50, ms", latencyP50, digits(2)),
	value("probe p99, ms", latencyP99, digits(2)),
	value("server busy", serverBusy, percent),
	value("generator busy", generatorBusy, percent),
}

const (
	smallLine = 64
	largeLine = 1024
)

var floodWork = &work{
	name:    "flood",
	title:   "Flood",
	about:   "One sender of lines of 64 bytes, never more than the window in flight, which is what the slowest of all receivers lacks.",
	counted: "receivers",
	full:    []int{10, 100, 1000, 10_000},
	quick:   []int{10, 100, 1000},
	slow:    true,
	columns: floodColumns,
	measure: func(r *runner, s step) (outcome, error) {
		return r.flood(s, loadConfig{size: r.lineSize(smallLine), receivers: s.size})
	},
}

var flood1kWork = &work{
	name:    "flood1k",
	title:   "Flood of larger lines",
	about:   "The same with lines of 1 KiB.",
	counted: "receivers",
	full:    []int{10, 100, 1000, 10_000},
	quick:   []int{100},
	slow:    true,
	columns: floodColumns,
	measure: func(r *runner, s step) (outcome, error) {
		return r.flood(s, loadConfig{size: r.lineSize(largeLine), receivers: s.size})
	},
}

var chatWork = &work{
	name:    "chat",
	title:   "Chat",
	about:   "All members send lines of 64 bytes, one each in turn, at most as many in flight in all as there are members (the window if that is more).",
	counted: "members",
	full:    []int{10, 100, 1000},
	quick:   []int{100},
	columns: floodColumns,
	measure: func(r *runner, s step) (outcome, error) {
		return r.flood(s, loadConfig{size: r.lineSize(smallLine), receivers: s.size, chat: true})
	},
}

var tlsWork = &work{
	name:    "tls",
	title:   "Flood over TLS",
	about:   "Flood of lines of 64 bytes over TLS 1.3, by the servers that speak it.",
	counted: "receivers",
	full:    []int{100, 1000},
	quick:   []int{100},
	columns: floodColumns,
	most:    1,
	takes:   func(s *server) bool { return s.tls },
	measure: func(r *runner, s step) (outcome, error) {
		return r.flood(s, loadConfig{size: r.lineSize(smallLine), receivers: s.size, tls: true})
	},
}

var unpinnedWork = &work{
	name:    "unpinned",
	title:   "Flood, unpinned",
	about:   "Flood of lines of 64 bytes with servers and generator free to run on all cores, and so to disturb each other; once.",
	counted: "receivers",
	full:    []int{1000},
	quick:   []int{100},
	most:    1,
	columns: floodColumns,
	measure: func(r *runner, s step) (out outcome, err error) {
		server, generator := r.server, r.generator
		r.server, r.generator = r.all, r.all
		defer func() { r.server, r.generator = server, generator }()
		if err := pinProcess(r.all); err != nil {
			return out, err
		}
		out, err = r.flood(s, loadConfig{size: r.lineSize(smallLine), receivers: s.size})
		return out, errors.Join(err, pinProcess(generator))
	},
}

func (r *runner) flood(s step, cfg loadConfig) (outcome, error) {
	f := flood{window: r.window, duration: r.duration}
	if cfg.chat {
		f.window = max(r.window, cfg.receivers)
	}
	cfg.inFlight = f.window
	return r.session(s.server, cfg, f.measure)
}

// flood is the work in which senders send as fast as they may: never more than
// window messages that some receiver lacks, sent half a window at a time.
type flood struct {
	window   int
	duration time.Duration
	burst    int // lines that one of several senders sends at once; 0: one
}

func (f flood) measure(s *session) (metrics, error) {
	s.load.watchLevels(uint64(f.window))
	if err := f.warmUp(s.load, f.duration/3); err != nil {
		return nil, err
	}
	s.load.resetLatency()
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	if err := f.run(s.load, f.duration); err != nil {
		return nil, err
	}
	m, err := s.since(from)
	if err != nil {
		return nil, err
	}
	s.addLatency(m)
	return m, s.load.finish()
}

// warmUp sends for about d in bursts that double up to the window, so that a
// slow server is not busy for long.
func (f flood) warmUp(l *load, d time.Duration) error {
	for since, burst := l.now(), 1; l.now()-since < d; burst = min(2*burst, f.window) {
		for i := range l.streams {
			if err := f.send(l, &l.streams[i], burst); err != nil {
				return err
			}
		}
		if err := l.drain(); err != nil {
			return err
		}
	}
	return nil
}

// run sends for d, and then waits until every receiver has everything.
func (f flood) run(l *load, d time.Duration) error {
	since := l.now()
	for l.now()-since < d {
		if err := f.step(l, pollTimeout); err != nil {
			return err
		}
		if err := l.stalled(since); err != nil {
			return err
		}
	}
	return l.drain()
}

// step sends to each room that has taken half of the window, and moves bytes once.
func (f flood) step(l *load, timeout time.Duration) error {
	batch := max(f.window/2, 1)
	for i := range l.streams {
		if s := &l.streams[i]; s.inFlight()+uint64(batch) <= uint64(f.window) {
			if err := f.send(l, s, batch); err != nil {
				return err
			}
		}
	}
	return l.poll(timeout)
}

// send makes the senders of a room send n messages: one all of them, or all
// one each in turn.
func (f flood) send(l *load, s *stream, n int) error {
	now := l.now()
	if len(s.senders) == 1 {
		return l.send(s.senders[0], n, now)
	}
	for burst := max(f.burst, 1); n > 0; n -= burst {
		if err := l.send(s.nextSender(), min(burst, n), now); err != nil {
			return err
		}
	}
	return nil
}
