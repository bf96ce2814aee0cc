//go:build linux

package main

// roomsWork has many rooms at once, as small as most are. The window of each
// is its own, so that what is batched in one does not depend on the others.
var roomsWork = &work{
	name:    "rooms",
	title:   "Many rooms",
	about:   "Rooms of 10 members that all send lines of 64 bytes, at most 32 in flight in each room.",
	counted: "rooms",
	full:    []int{1, 10, 100, 1000},
	quick:   []int{100},
	fixed:   true,
	most:    2,
	takes:   func(s *server) bool { return !s.guest },
	columns: floodColumns,
	measure: func(r *runner, s step) (outcome, error) {
		f := flood{window: 32, duration: r.duration}
		cfg := loadConfig{size: r.lineSize(smallLine), receivers: 10, chat: true, rooms: s.size}
		return r.session(s.server, cfg, f.measure)
	},
}
