//go:build linux

package main

import "errors"

// A stream is what is said in one room.
type stream struct {
	sent      uint64  // messages, by all of its senders
	receivers int     // that must get them
	senders   []int   // connections
	turn      int     // of the sender that comes next
	levels    *levels // what the slowest receiver has; nil: nobody asks
}

// inFlight is the number of messages that the slowest receiver lacks.
func (s *stream) inFlight() uint64 { return s.sent - s.levels.low }

// nextSender takes the senders in turn.
func (s *stream) nextSender() int {
	i := s.senders[s.turn]
	s.turn = (s.turn + 1) % len(s.senders)
	return i
}

// watchLevels keeps count from now on of what the slowest receiver of each
// room has, while at most span messages are in flight there.
func (l *load) watchLevels(span uint64) {
	for i := range l.streams {
		s := &l.streams[i]
		base := uint64(0)
		if s.levels != nil {
			base = s.levels.low
		}
		s.levels = newLevels(s.receivers, span, base)
	}
}

// inFlight says whether any receiver of any room lacks a message.
func (l *load) inFlight() bool {
	for i := range l.streams {
		if l.streams[i].inFlight() > 0 {
			return true
		}
	}
	return false
}

// stall makes receiver i, which must have everything, stop reading; nobody
// waits for it from now on.
func (l *load) stall(i int) error {
	p := &l.peers[i]
	p.stalled, p.paused = true, true
	l.streams[p.room].receivers--
	return l.watch(p, i)
}

// resume makes it read again, and returns when it has everything. It is an
// error if the server has cut it.
func (l *load) resume(i int) error {
	p := &l.peers[i]
	if !p.cut {
		p.paused = false
		if err := l.watch(p, i); err != nil {
			return err
		}
	}
	for since := l.now(); !p.cut && p.got < l.want(p); {
		if err := l.poll(pollTimeout); err != nil {
			return err
		}
		if err := l.stalled(since); err != nil {
			return err
		}
	}
	if p.cut {
		return errStalledCut
	}
	p.stalled = false
	p.level = l.has(p)
	l.streams[p.room].receivers++
	return nil
}

var errStalledCut = errors.New("the reader that had stalled was cut")
