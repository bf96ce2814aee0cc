package main

import (
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// A session is one server with a load connected to it.
type session struct {
	server *process
	load   *load
	last   *hdr.Histogram // times until the last receiver had a message, if they were measured
}

func openSession(server string, cpus []int, cfg loadConfig) (*session, error) {
	p, err := startServer(server, cpus, cfg)
	if err != nil {
		return nil, err
	}
	l, err := newLoad(p, cfg)
	if err != nil {
		p.stop()
		return nil, err
	}
	return &session{server: p, load: l}, nil
}

func (s *session) close() {
	s.load.close()
	s.server.stop()
}

// A reading is what the clocks and counters say at one moment.
type reading struct {
	wall      time.Duration
	server    time.Duration // CPU time of the server
	generator time.Duration // CPU time of this process
	cores     time.Duration // time for which the server's CPUs were busy
	received  int64         // bytes
	reads     int64
}

func (s *session) read() (r reading, err error) {
	if r.server, err = s.server.cpu(); err != nil {
		return r, err
	}
	if r.generator, err = ownCPU(); err != nil {
		return r, err
	}
	if r.cores, err = busyTime(s.server.cpus); err != nil {
		return r, err
	}
	r.wall, r.received, r.reads = s.load.now(), s.load.received, s.load.reads
	return r, nil
}

// The names of what is measured, as they stand in the JSON.
const (
	cpuPerDelivery = "server_cpu_us_per_delivery"
	deliveryRate   = "deliveries_per_s"
	serverBusy     = "server_busy"    // CPU time by wall time
	generatorBusy  = "generator_busy" // the same
	coresBusy      = "server_cores_busy"
	seconds        = "seconds"
	linesPerRead   = "lines_per_read" // of a receiver: about those of a write of the server's
	latencyP50     = "latency_p50_ms" // as probes see it
	latencyP99     = "latency_p99_ms"
	lastP50        = "last_receiver_p50_ms"
	lastP99        = "last_receiver_p99_ms"
	lastMax        = "last_receiver_max_ms"
	lateP99        = "sent_late_p99_ms"
	mebibytesSent  = "mib_sent"
	mebibytesRate  = "mib_received_per_s"
)

// since measures what happened between two readings, at both of which nothing
// was in flight, so that all CPU time belongs to the deliveries counted.
func (s *session) since(from reading) (metrics, error) {
	to, err := s.read()
	if err != nil {
		return nil, err
	}
	wall := (to.wall - from.wall).Seconds()
	deliveries := float64(to.received-from.received) / float64(s.load.frame)
	m := metrics{
		seconds:        wall,
		cpuPerDelivery: (to.server - from.server).Seconds() * 1e6 / deliveries,
		deliveryRate:   deliveries / wall,
		serverBusy:     (to.server - from.server).Seconds() / wall,
		generatorBusy:  (to.generator - from.generator).Seconds() / wall,
		linesPerRead:   deliveries / float64(to.reads-from.reads),
		coresBusy:      (to.cores - from.cores).Seconds() / wall,
	}
	return m, nil
}

// addLatency adds what the probes saw.
func (s *session) addLatency(m metrics) {
	h := s.load.latency()
	m[latencyP50], m[latencyP99] = quantileMs(h, 0.5), quantileMs(h, 0.99)
}
