//go:build linux

package main

var noWindowWork = &work{
	name:    "nowindow",
	title:   "No window",
	about:   "One sender that never waits; passes when every receiver got every byte and none was cut. This library alone: of the others, some would need unbounded memory, some drop, and one takes hours.",
	counted: "receivers",
	full:    []int{1000},
	quick:   []int{1000},
	takes:   onlyRoom,
	most:    1,
	columns: []column{
		value("MiB sent", mebibytesSent, digits(0)),
		value("seconds", seconds, digits(1)),
		value("MiB/s received by all", mebibytesRate, digits(0)),
		value("server CPU, µs a delivery", cpuPerDelivery, digits(4)),
		value("server busy", serverBusy, percent),
		value("generator busy", generatorBusy, percent),
	},
	measure: func(r *runner, s step) (outcome, error) {
		cfg := loadConfig{size: r.lineSize(smallLine), receivers: s.size}
		return r.session(s.server, cfg, noWindow{r.mebibytes}.measure)
	},
}

// noWindow is the work in which one sender never waits: its socket always has
// more to take, until it has sent all. It passes when every receiver got every
// byte and none was cut.
type noWindow struct {
	mebibytes int
}

func (w noWindow) measure(s *session) (metrics, error) {
	l := s.load
	const ahead = 256 << 10 // what the generator keeps ready beyond its socket
	messages := uint64(w.mebibytes) << 20 / uint64(l.size)
	total := int64(messages) * int64(l.frame) * int64(l.receivers())
	from, err := s.read()
	if err != nil {
		return nil, err
	}
	since := l.now()
	for l.received < total {
		for l.streams[0].sent < messages && len(l.peers[0].out) < ahead {
			n := min(messages-l.streams[0].sent, uint64(max(32<<10/l.size, 1)))
			if err := l.send(0, int(n), l.now()); err != nil {
				return nil, err
			}
		}
		if err := l.poll(pollTimeout); err != nil {
			return nil, err
		}
		if err := l.stalled(since); err != nil {
			return nil, err
		}
	}
	m, err := s.since(from)
	if err != nil {
		return nil, err
	}
	m[mebibytesSent] = float64(w.mebibytes)
	m[mebibytesRate] = float64(total) / (1 << 20) / m[seconds]
	return m, l.finish()
}
