//go:build linux

package main

import "time"

// flood is the work in which senders send as fast as they may: never more than
// window messages that some receiver lacks, sent half a window at a time.
type flood struct {
	window   int
	duration time.Duration
	chat     bool // all members send, one message each in turn
}

func (f flood) measure(s *session) (metrics, error) {
	s.load.watchLevels(uint64(f.window))
	if err := f.run(s.load, min(f.duration/3, time.Second)); err != nil {
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

// run sends for d, and then waits until every receiver has everything.
func (f flood) run(l *load, d time.Duration) error {
	since := l.now()
	batch := uint64(max(f.window/2, 1))
	for turn := 0; ; {
		now := l.now()
		if now-since >= d {
			return l.drain()
		}
		if l.inFlight()+batch <= uint64(f.window) {
			if err := f.send(l, int(batch), now, &turn); err != nil {
				return err
			}
		}
		if err := l.poll(pollTimeout); err != nil {
			return err
		}
		if err := l.stalled(since); err != nil {
			return err
		}
	}
}

func (f flood) send(l *load, n int, now time.Duration, turn *int) error {
	if !f.chat {
		return l.send(0, n, now)
	}
	for range n {
		if err := l.send(*turn, 1, now); err != nil {
			return err
		}
		*turn = (*turn + 1) % len(l.peers)
	}
	return nil
}
