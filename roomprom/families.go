package roomprom

import (
	"example.com/tcproom"
	"github.com/prometheus/client_golang/prometheus"
)

// A family is a metric that is there for a room, and for all together.
type family struct {
	name, help string
	kind       prometheus.ValueType
	max        bool // of all together it is the greatest, and not the sum
	links      bool // of a hub it also has that of the room "*", where there are connections and no members
	value      func(*tcproom.Stats) float64
}

// plus adds up what two rooms have.
func (f *family) plus(a, b float64) float64 {
	if f.max {
		return max(a, b)
	}
	return a + b
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// families are the metrics of rooms, beside the leaves by cause.
var families = []family{
	{name: "members", kind: gauge, help: "Members that are present, the detached ones included.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Members) }},
	{name: "detached_members", kind: gauge, help: "Members that have lost their connection and may resume.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Detached) }},
	{name: "pending_connections", kind: gauge, links: true, help: "Connections that have not joined yet.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Pending) }},
	{name: "waiting_members", kind: gauge, help: "Members whose connections take nothing at the moment.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Waiting) }},
	{name: "backlog_bytes", kind: gauge, max: true, links: true, help: "Bytes that the waiting member furthest behind has not taken.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Backlog) }},
	{name: "slowest_seconds", kind: gauge, max: true, links: true, help: "For how long the member that has waited longest has been waiting; 0: nobody waits.",
		value: func(s *tcproom.Stats) float64 { return s.SlowestFor.Seconds() }},
	{name: "joins_total", kind: counter, help: "Members that have joined.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Joined) }},
	{name: "resumes_total", kind: counter, help: "Connections with which members came back.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Resumed) }},
	{name: "refused_total", kind: counter, links: true, help: "Connections that did not join.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Refused) }},
	{name: "messages_total", kind: counter, links: true, help: "Messages that were ordered, of members and of the program.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Messages) }},
	{name: "message_bytes_total", kind: counter, links: true, help: "Bytes of the bodies of these messages, each once.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Bytes) }},
	{name: "delivered_total", kind: counter, links: true, help: "Events that connections have taken, once for each member.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Delivered) }},
	{name: "skipped_total", kind: counter, links: true, help: "Events that slow members jumped over.",
		value: func(s *tcproom.Stats) float64 { return float64(s.Skipped) }},
	{name: "in_bytes_total", kind: counter, links: true, help: "Bytes of the frames that members have sent, without TLS and handshakes.",
		value: func(s *tcproom.Stats) float64 { return float64(s.BytesIn) }},
	{name: "out_bytes_total", kind: counter, links: true, help: "Bytes that the connections of members have taken, without TLS and handshakes.",
		value: func(s *tcproom.Stats) float64 { return float64(s.BytesOut) }},
	{name: "accept_errors_total", kind: counter, links: true, help: "Times at which a listener failed to accept, and went on.",
		value: func(s *tcproom.Stats) float64 { return float64(s.AcceptErrors) }},
	{name: "log_gaps_total", kind: counter, links: true, help: "Records that logs had taken and have lost, as far as known.",
		value: func(s *tcproom.Stats) float64 { return float64(s.LogGaps) }},
}

// A hubFamily is a metric of hubs, which add up. all is that of the room "*".
type hubFamily struct {
	name, help string
	kind       prometheus.ValueType
	value      func(s *tcproom.HubStats, all *tcproom.Stats) float64
}

// hubMade is the index of rooms_made_total.
const hubMade = 0

// hubFamilies are the metrics of hubs, beside the disconnects by cause.
var hubFamilies = []hubFamily{
	hubMade: {name: "rooms_made_total", kind: counter, help: "Rooms that were ever made.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) float64 { return float64(s.Made) }},
	{name: "rooms_removed_total", kind: counter, help: "Rooms that are gone.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) float64 { return float64(s.Removed) }},
	{name: "rooms", kind: gauge, help: "Rooms that there are.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) float64 { return float64(s.Rooms) }},
	{name: "connections", kind: gauge, help: "Connections in the hub, the detached ones included.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) float64 { return float64(s.Connections) }},
	{name: "detached_connections", kind: gauge, help: "Connections that are lost and may resume.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) float64 { return float64(s.Detached) }},
	{name: "waiting_connections", kind: gauge, help: "Connections that take nothing at the moment.",
		value: func(_ *tcproom.HubStats, all *tcproom.Stats) float64 { return float64(all.Waiting) }},
	{name: "connects_total", kind: counter, help: "Connections that have come into the hub.",
		value: func(_ *tcproom.HubStats, all *tcproom.Stats) float64 { return float64(all.Joined) }},
	{name: "resumes_total", kind: counter, help: "Connections that took the place of a lost one.",
		value: func(_ *tcproom.HubStats, all *tcproom.Stats) float64 { return float64(all.Resumed) }},
	{name: "moves_total", kind: counter, help: "Moves from one room to another.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) float64 { return float64(s.Moves) }},
}
