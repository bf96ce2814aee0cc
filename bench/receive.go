//go:build linux

package main

import (
	"fmt"
	"strconv"
	"time"
)

const cpuPerMessage = "server_cpu_us_per_message"

var receiveWork = &work{
	name:    "receive",
	title:   "Receiving alone",
	about:   "Members that send 16 lines of 64 bytes each in turn to a room whose OnMessage hook drops them: what a message costs before anybody gets it. At most 256 members, or all, send before the server has taken everything, so that no read has more of them than 16.",
	counted: "members",
	full:    []int{10, 100, 1000, 10_000},
	quick:   []int{100},
	takes:   onlyRoom,
	columns: []column{
		{title: "server CPU, µs a message", metric: cpuPerMessage, format: digits(3), spread: true},
		value("server busy", serverBusy, percent),
		value("generator busy", generatorBusy, percent),
	},
	measure: func(r *runner, s step) (outcome, error) {
		cfg := loadConfig{size: r.lineSize(smallLine), receivers: s.size, chat: true}
		return r.session(swallowServer, cfg, receive{r.duration}.measure)
	},
}

// receive is the work in which messages go to nobody.
type receive struct {
	duration time.Duration
}

func (w receive) measure(s *session) (metrics, error) {
	if err := w.run(s, w.duration/3); err != nil {
		return nil, err
	}
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	before := s.load.streams[0].sent
	if err := w.run(s, w.duration); err != nil {
		return nil, err
	}
	m, err := s.since(from)
	if err != nil {
		return nil, err
	}
	delete(m, cpuPerDelivery) // there were none
	delete(m, deliveryRate)
	m[cpuPerMessage] = m[serverBusy] * m[seconds] * 1e6 / float64(s.load.streams[0].sent-before)
	return m, nil
}

// run sends for d, and returns when the server has taken everything.
func (w receive) run(s *session, d time.Duration) error {
	const burst, turns = 16, 256
	l := s.load
	room := &l.streams[0]
	since := l.now()
	for l.now()-since < d {
		// No more than once each, so that few members have no more lines in
		// one read than many.
		for range min(turns, len(room.senders)) {
			if err := l.send(room.nextSender(), burst, l.now()); err != nil {
				return err
			}
		}
		if err := w.rest(s); err != nil {
			return err
		}
	}
	return w.await(s, room.sent)
}

// rest waits until the server does nothing, or for a while. Its clock says so:
// to ask it would cost it CPU, which is what is measured.
func (w receive) rest(s *session) error {
	const pause = 100 * time.Microsecond
	var before time.Duration
	for end := s.load.now() + pollTimeout; s.load.now() < end; {
		if err := s.load.poll(pause); err != nil { // sends what a socket did not take
			return err
		}
		now, err := s.server.cpu()
		if err != nil || now == before {
			return err
		}
		before = now
	}
	return nil
}

// await waits until the server has taken n messages in all.
func (w receive) await(s *session, n uint64) error {
	since := s.load.now()
	for {
		answer, err := s.server.ask("swallowed")
		if err != nil {
			return err
		}
		got, err := strconv.ParseUint(answer, 10, 64)
		switch {
		case err != nil || got == n:
			return err
		case got > n:
			return fmt.Errorf("the server has taken %d messages of %d", got, n)
		case s.load.now()-since > stallTimeout:
			return fmt.Errorf("the server has taken %d messages of %d in %v", got, n, stallTimeout)
		}
		if err := s.load.poll(time.Millisecond); err != nil {
			return err
		}
	}
}
