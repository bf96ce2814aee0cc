//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"
)

// paced is the work in which one sender sends at fixed times, whatever became
// of the messages before. Each message's time counts from when it was due to
// when the last receiver has it.
type paced struct {
	rate     int // messages a second
	duration time.Duration
	patience time.Duration // after the last message; then the server has fallen behind
}

func (w paced) measure(s *session) (metrics, error) {
	l := s.load
	interval := time.Second / time.Duration(w.rate)
	total := max(int(w.duration/interval), 1)
	last := make([]float64, 0, total) // milliseconds, by message
	late := make([]float64, 0, total)

	l.watchLevels(uint64(total))
	start := l.now() + 100*time.Millisecond
	due := func(k int) time.Duration { return start + time.Duration(k)*interval }
	reach := func(low uint64) {
		for now := l.now(); len(last) < int(low); {
			last = append(last, ms(now-due(len(last))))
		}
	}
	l.onLow = func(s *stream) { reach(s.levels.low) }
	defer func() { l.onLow = nil }()

	from, err := s.read()
	if err != nil {
		return nil, err
	}
	giveUp := due(total) + w.patience
	for sent := 0; len(last) < total && l.now() < giveUp; {
		for ; sent < total && l.now() >= due(sent); sent++ {
			late = append(late, ms(l.now()-due(sent)))
			if err := l.send(0, 1, due(sent)); err != nil {
				return nil, err
			}
		}
		timeout := pollTimeout
		if sent < total {
			timeout = max(min(timeout, due(sent)-l.now()), 0)
		}
		if err := l.poll(timeout); err != nil {
			return nil, err
		}
		if err := l.stalled(start); err != nil {
			return nil, err
		}
	}
	m, err := s.since(from)
	if err != nil {
		return nil, err
	}
	missing := total - len(last)
	if quiet := l.now() - l.progress; missing > 0 && quiet > w.patience/2 {
		return nil, fmt.Errorf("nothing arrived for %v: %w", quiet, errors.Join(l.verdict(), l.complete()))
	}
	reach(uint64(total)) // what has not arrived takes longer than until now
	m[lastP50], m[lastP99], m[lastMax] = quantile(last, 0.5), quantile(last, 0.99), quantile(last, 1)
	m[lateP99] = quantile(late, 0.99)
	s.addLatency(m)
	if missing > 0 {
		return m, behindError(fmt.Sprintf("fell behind: the last receiver lacked %d of %d messages %v after the last was due; times are lower bounds",
			missing, total, w.patience))
	}
	return m, l.finish()
}

// A behindError says that a server did not keep up, which is a result and not
// a failure.
type behindError string

func (e behindError) Error() string { return string(e) }
