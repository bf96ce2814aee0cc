//go:build linux

package main

import (
	"math"
	"strconv"
	"time"
)

// idle is the work in which members do nothing: what does each of them cost?
type idle struct {
	settle time.Duration
}

const (
	rssIdle          = "rss_per_conn_idle"
	rssIdleFreed     = "rss_per_conn_idle_freed"
	rssBroadcast     = "rss_per_conn_after_broadcast"
	rssBroadcastFree = "rss_per_conn_after_broadcast_freed"
	heapIdle         = "heap_stack_per_conn_idle"
	heapBroadcast    = "heap_stack_per_conn_after_broadcast"
	goroutines       = "goroutines_per_conn"
	roomAlloc        = "room_heap_alloc"
	roomInUse        = "room_heap_stack_in_use"
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

	quiet, err := w.settled(l, p)
	if err != nil {
		return nil, err
	}
	l.watchLevels(1)
	if err := l.send(0, 1, l.now()); err != nil {
		return nil, err
	}
	if err := l.drain(); err != nil {
		return nil, err
	}
	after, err := w.settled(l, p)
	if err != nil {
		return nil, err
	}
	return metrics{
		rssIdle:          (quiet.rss - base.freed) / n,
		rssIdleFreed:     (quiet.freed - base.freed) / n,
		rssBroadcast:     (after.rss - base.freed) / n,
		rssBroadcastFree: (after.freed - base.freed) / n,
		heapIdle:         (quiet.heapAndStack() - base.heapAndStack()) / n,
		heapBroadcast:    (after.heapAndStack() - base.heapAndStack()) / n,
		goroutines:       (quiet.goroutines() - base.goroutines()) / n,
	}, l.finish()
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

// measureRooms measures what an idle room costs.
func measureRooms(server string, cpus []int, n int) (metrics, error) {
	p, err := startServer(server, cpus, loadConfig{})
	if err != nil {
		return nil, err
	}
	defer p.stop()
	var m [2]memory
	if err := p.askJSON("rooms "+strconv.Itoa(n), &m); err != nil {
		return nil, err
	}
	return metrics{
		roomAlloc:  (float64(m[1].HeapAlloc) - float64(m[0].HeapAlloc)) / float64(n),
		roomInUse:  (m[1].inUse() - m[0].inUse()) / float64(n),
		goroutines: float64(m[1].Goroutines-m[0].Goroutines) / float64(n),
	}, nil
}
