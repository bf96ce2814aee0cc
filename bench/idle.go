//go:build linux

package main

import (
	"math"
	"time"
)

var idleWork = &work{
	name:    "idle",
	title:   "Idle",
	about:   "Bytes a connection that does nothing: resident as it is, resident after free memory was given back, and heap and stack in use after two collections; before, straight after one line to all, and when it is quiet again.",
	counted: "connections",
	full:    []int{10_000},
	quick:   []int{1000},
	fixed:   true,
	most:    1,
	columns: []column{
		value("RSS", rssIdle, digits(0)),
		ratioOf(rssIdle),
		value("RSS, freed", rssIdleFreed, digits(0)),
		value("heap+stack", heapIdle, digits(0)),
		value("goroutines", goroutines, digits(2)),
		value("after a line: RSS", rssBroadcast, digits(0)),
		value("quiet again: RSS", rssQuiet, digits(0)),
		value("RSS, freed", rssQuietFreed, digits(0)),
		value("heap+stack", heapQuiet, digits(0)),
	},
	measure: func(r *runner, s step) (outcome, error) {
		w := idle{settle: r.shorter(1500*time.Millisecond, 200*time.Millisecond)}
		m, err := w.measure(s.server.name, r.server, loadConfig{size: r.lineSize(smallLine), receivers: s.size - 1})
		return outcome{metrics: m}, err
	},
}

// idle is the work in which members do nothing: what does each of them cost?
type idle struct {
	settle time.Duration
}

const (
	rssIdle       = "rss_per_conn_idle"
	rssIdleFreed  = "rss_per_conn_idle_freed"
	heapIdle      = "heap_stack_per_conn_idle"
	rssBroadcast  = "rss_per_conn_after_broadcast"
	rssQuiet      = "rss_per_conn_quiet_again"
	rssQuietFreed = "rss_per_conn_quiet_again_freed"
	heapQuiet     = "heap_stack_per_conn_quiet_again"
	goroutines    = "goroutines_per_conn"
)

// memoryReading is a server's memory: resident as it is, what its runtime says after
// two collections, and resident after free memory was given back.
type memoryReading struct {
	rss, freed float64
	runtime    memory // zero from a server that is no Go program of ours
}

// heapAndStack is NaN where it is not known.
func (r *memoryReading) heapAndStack() float64 {
	if r.runtime == (memory{}) {
		return math.NaN()
	}
	return r.runtime.inUse()
}

func (r *memoryReading) goroutines() float64 {
	if r.runtime == (memory{}) {
		return math.NaN()
	}
	return float64(r.runtime.Goroutines)
}

func readServerMemory(p *process) (r memoryReading, err error) {
	if r.rss, err = p.rss(); err != nil {
		return r, err
	}
	if err := p.askJSON("memory", &r.runtime); err != nil {
		return r, err
	}
	if _, err = p.ask("release"); err != nil {
		return r, err
	}
	r.freed, err = p.rss()
	return r, err
}

func (w idle) measure(server string, cpus []int, cfg loadConfig) (metrics, error) {
	p, err := startServer(server, cpus, cfg)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	base, err := readServerMemory(p)
	if err != nil {
		return nil, err
	}
	l, err := newLoad(p, cfg)
	if err != nil {
		return nil, err
	}
	defer l.close()
	n := float64(len(l.peers))
	m := make(metrics)

	idle, err := w.settled(l, p)
	if err != nil {
		return nil, err
	}
	m[rssIdle], m[rssIdleFreed] = (idle.rss-base.freed)/n, (idle.freed-base.freed)/n
	m[heapIdle] = (idle.heapAndStack() - base.heapAndStack()) / n
	m[goroutines] = (idle.goroutines() - base.goroutines()) / n

	l.watchLevels(1)
	if err := l.send(l.streams[0].senders[0], 1, l.now()); err != nil {
		return nil, err
	}
	if err := l.drain(); err != nil {
		return nil, err
	}
	after, err := p.rss()
	if err != nil {
		return nil, err
	}
	quiet, err := w.settled(l, p)
	if err != nil {
		return nil, err
	}
	m[rssBroadcast], m[rssQuiet], m[rssQuietFreed] = (after-base.freed)/n, (quiet.rss-base.freed)/n, (quiet.freed-base.freed)/n
	m[heapQuiet] = (quiet.heapAndStack() - base.heapAndStack()) / n
	return m, l.finish()
}

// settled lets the server come to rest and reads its memory.
func (w idle) settled(l *load, p *process) (memoryReading, error) {
	for end := l.now() + w.settle; l.now() < end; {
		if err := l.poll(pollTimeout); err != nil {
			return memoryReading{}, err
		}
	}
	return readServerMemory(p)
}
