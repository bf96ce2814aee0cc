//go:build linux

package main

import "strconv"

const (
	roomAlloc     = "room_heap_alloc"
	roomInUse     = "room_heap_stack_in_use"
	roomGoroutine = "goroutines_per_room"
)

var emptyRoomsWork = &work{
	name:    "emptyrooms",
	title:   "Empty rooms",
	about:   "Bytes of a room in which nobody is.",
	counted: "rooms",
	full:    []int{10_000},
	quick:   []int{10_000},
	fixed:   true,
	most:    1,
	takes:   onlyRoom,
	columns: []column{
		value("heap allocated", roomAlloc, digits(0)),
		value("heap+stack in use", roomInUse, digits(0)),
		value("goroutines", roomGoroutine, digits(2)),
	},
	measure: func(r *runner, s step) (outcome, error) {
		m, err := measureEmptyRooms(s.server.name, r.server, s.size)
		return outcome{metrics: m}, err
	},
}

func measureEmptyRooms(server string, cpus []int, n int) (metrics, error) {
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
		roomAlloc:     (float64(m[1].HeapAlloc) - float64(m[0].HeapAlloc)) / float64(n),
		roomInUse:     (m[1].inUse() - m[0].inUse()) / float64(n),
		roomGoroutine: float64(m[1].Goroutines-m[0].Goroutines) / float64(n),
	}, nil
}
