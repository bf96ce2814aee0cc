//go:build linux

package main

import (
	"strconv"
	"time"
)

const cpuPerMessage = "server_cpu_us_per_message"

var receiveWork = &work{
	name:    "receive",
	title:   "Receiving alone",
	about:   "Members that send 16 lines of 64 bytes each in turn to a room whose OnMessage hook drops them: what a message costs before anybody gets it.",
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
	for since := l.now(); l.now()-since < d; {
		for range turns {
			if err := l.send(room.nextSender(), burst, l.now()); err != nil {
				return err
			}
		}
		if err := w.await(s, room.sent, since); err != nil {
			return err
		}
	}
	return nil
}

func (w receive) await(s *session, n uint64, since time.Duration) error {
	for {
		if err := s.load.poll(0); err != nil { // sends what a socket did not take
			return err
		}
		answer, err := s.server.ask("swallowed")
		if err != nil {
			return err
		}
		if got, err := strconv.ParseUint(answer, 10, 64); err != nil || got == n {
			return err
		}
		if err := s.load.stalled(max(since, s.load.now()-stallTimeout)); err != nil {
			return err
		}
	}
}
