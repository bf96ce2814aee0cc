package main

import (
	"fmt"
	"time"
)

const (
	stallP99   = "stalled_p99_ms"
	noStallP99 = "reading_p99_ms"
	stallRatio = "stalled_by_reading_p99"
	stallP50   = "stalled_p50_ms"
)

var stallWork = &work{
	name:    "stall",
	title:   "One stalled reader",
	about:   "100 lines of 1 KiB a second; the time until the last receiver has one, when all read, and when one has stopped reading and 4.5 MiB beyond that have been sent, so that its socket is full. The stalled one is not waited for; afterwards it reads again, and must get everything.",
	counted: "receivers",
	full:    []int{1000},
	quick:   []int{100},
	reps:    7,
	takes:   func(s *server) bool { return !s.guest },
	columns: []column{
		{title: "p99 of the others, ms", metric: stallP99, format: digits(2), spread: true},
		{title: "p99 when all read, ms", metric: noStallP99, format: digits(2), spread: true},
		{title: "the one by the other", metric: stallRatio, format: digits(2), spread: true},
		value("median of the others, ms", stallP50, digits(2)),
	},
	measure: func(r *runner, s step) (outcome, error) {
		w := stall{
			paced: paced{rate: 100, duration: r.shorter(1500*time.Millisecond, 300*time.Millisecond), patience: r.shorter(3*time.Second, time.Second)},
			fill:  4<<20 + 512<<10,
			first: s.rep%2 == 0,
		}
		return r.session(s.server, loadConfig{size: r.lineSize(largeLine), receivers: s.size}, w.measure)
	},
}

// stall is the work in which one of the receivers does not read.
type stall struct {
	paced paced
	fill  int  // bytes that are sent to fill its socket
	first bool // it is measured before the measurement without
}

func (w stall) measure(s *session) (metrics, error) {
	reading := paces{last: newHistogram()}
	var stalled paces
	var err error
	if !w.first {
		if reading, err = w.paced.run(s.load); err != nil {
			return nil, err
		}
	}
	if stalled, err = w.stalled(s); err != nil {
		return metrics{noStallP99: quantileMs(reading.last, 0.99)}, err
	}
	if w.first {
		if reading, err = w.paced.run(s.load); err != nil {
			return nil, err
		}
	}
	s.last = stalled.last
	with, without := quantileMs(stalled.last, 0.99), quantileMs(reading.last, 0.99)
	return metrics{
		stallP99: with, noStallP99: without, stallRatio: with / without, stallP50: quantileMs(stalled.last, 0.5),
	}, s.load.finish()
}

// stalled stops the last receiver, fills its socket, measures the others, and
// lets it read again.
func (w stall) stalled(s *session) (got paces, err error) {
	l := s.load
	i := len(l.peers) - 1
	if err := l.stall(i); err != nil {
		return got, err
	}
	if err := w.fillUp(l); err != nil {
		return got, err
	}
	if got, err = w.paced.run(l); err != nil {
		return got, err
	}
	return got, l.resume(i)
}

// fillUp sends to all; those who read must get it.
func (w stall) fillUp(l *load) error {
	const burst = 64
	l.watchLevels(burst)
	for range w.fill / l.size / burst {
		if err := l.send(l.streams[0].senders[0], burst, l.now()); err != nil {
			return err
		}
		for since := l.now(); l.inFlight(); {
			if err := l.poll(pollTimeout); err != nil {
				return err
			}
			if quiet := l.now() - max(l.progress, since); quiet > w.paced.patience {
				return behindError(fmt.Sprintf("stands still: the others get nothing for %v because one does not read", w.paced.patience))
			}
		}
	}
	return nil
}
