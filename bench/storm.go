//go:build linux

package main

import "time"

const (
	cpuPerJoin = "server_cpu_us_per_join"
	joinRate   = "joins_per_s"
)

var stormWork = &work{
	name:    "storm",
	title:   "Join storm",
	about:   "Connections made as fast as they are taken until all are members; then one line to all. At most 100 wait for the answer to what they say first or, where a server says nothing to who joins, 2,000 for being counted.",
	counted: "connections",
	full:    []int{10_000},
	quick:   []int{2000},
	fixed:   true,
	columns: []column{
		{title: "server CPU, µs a join", metric: cpuPerJoin, format: digits(1), spread: true},
		ratioOf(cpuPerJoin),
		value("joins/s", joinRate, thousands),
		value("server busy", serverBusy, percent),
		value("generator busy", generatorBusy, percent),
	},
	measure: func(r *runner, s step) (outcome, error) {
		m, err := measureStorm(s.server.name, r.server, loadConfig{size: r.lineSize(smallLine), receivers: s.size - 1})
		return outcome{metrics: m}, err
	},
}

func measureStorm(server string, cpus []int, cfg loadConfig) (metrics, error) {
	p, err := startServer(server, cpus, cfg)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	s := &session{server: p, load: &load{start: time.Now()}}
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	l, err := newLoad(p, cfg)
	if err != nil {
		return nil, err
	}
	defer l.close()
	m, err := s.since(from)
	if err != nil {
		return nil, err
	}
	delete(m, cpuPerDelivery) // there were none
	delete(m, deliveryRate)
	joins := float64(len(l.peers))
	m[cpuPerJoin] = m[serverBusy] * m[seconds] * 1e6 / joins
	m[joinRate] = joins / m[seconds]

	l.watchLevels(1)
	if err := l.send(l.streams[0].senders[0], 1, l.now()); err != nil {
		return nil, err
	}
	if err := l.drain(); err != nil {
		return nil, err
	}
	return m, l.finish()
}
