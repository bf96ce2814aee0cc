//go:build linux

package main

import "time"

// flood is the work in which senders send as fast as they may: never more than
// window messages that some receiver lacks, sent half a window at a time.
type flood struct {
	window   int
	duration time.Duration
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
	batch := max(f.window/2, 1)
	for l.now()-since < d {
		for i := range l.streams {
			if s := &l.streams[i]; s.inFlight()+uint64(batch) <= uint64(f.window) {
				if err := f.send(l, s, batch); err != nil {
					return err
				}
			}
		}
		if err := l.poll(pollTimeout); err != nil {
			return err
		}
		if err := l.stalled(since); err != nil {
			return err
		}
	}
	return l.drain()
}

// send makes the senders of a room send n messages: one all of them, or all
// one each in turn.
func (f flood) send(l *load, s *stream, n int) error {
	now := l.now()
	if len(s.senders) == 1 {
		return l.send(s.senders[0], n, now)
	}
	for range n {
		if err := l.send(s.nextSender(), 1, now); err != nil {
			return err
		}
	}
	return nil
}
