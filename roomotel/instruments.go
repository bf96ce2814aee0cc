package roomotel

import (
	"example.com/tcproom"
	"go.opentelemetry.io/otel/metric"
)

// A kind is that of an instrument.
type kind uint8

const (
	counter kind = iota // a sum that only grows
	amount              // a sum
	most                // of all together it is the greatest, and not the sum
)

// A family is an instrument for rooms, and one for all together.
type family struct {
	name, unit, help string
	kind             kind
	links            bool // of a hub it also has that of the room "*", where there are connections and no members
	value            func(*tcproom.Stats) int64
}

// plus adds up what two rooms have.
func (k kind) plus(a, b int64) int64 {
	if k == most {
		return max(a, b)
	}
	return a + b
}

// observable makes an instrument.
func (k kind) observable(meter metric.Meter, name, unit, help string) (metric.Int64Observable, error) {
	switch k {
	case counter:
		return meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
	case most:
		return meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(help))
	}
	return meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
}

// families are the instruments of rooms, beside the leaves by cause and the wait of the
// slowest, which is not a whole number.
var families = []family{
	{name: "members", unit: "{member}", kind: amount, help: "Members that are present, the detached ones included.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Members) }},
	{name: "detached_members", unit: "{member}", kind: amount, help: "Members that have lost their connection and may resume.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Detached) }},
	{name: "pending_connections", unit: "{connection}", kind: amount, links: true, help: "Connections that have not joined yet.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Pending) }},
	{name: "waiting_members", unit: "{member}", kind: amount, help: "Members whose connections take nothing at the moment.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Waiting) }},
	{name: "backlog", unit: "By", kind: most, links: true, help: "Bytes that the waiting member furthest behind has not taken.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Backlog) }},
	{name: "joins", unit: "{member}", help: "Members that have joined.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Joined) }},
	{name: "resumes", unit: "{connection}", help: "Connections with which members came back.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Resumed) }},
	{name: "refused", unit: "{connection}", links: true, help: "Connections that did not join.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Refused) }},
	{name: "messages", unit: "{message}", links: true, help: "Messages that were ordered, of members and of the program.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Messages) }},
	{name: "message", unit: "By", links: true, help: "Bytes of the bodies of these messages, each once.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Bytes) }},
	{name: "delivered", unit: "{event}", links: true, help: "Events that connections have taken, once for each member.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Delivered) }},
	{name: "skipped", unit: "{event}", links: true, help: "Events that slow members jumped over.",
		value: func(s *tcproom.Stats) int64 { return int64(s.Skipped) }},
	{name: "in", unit: "By", links: true, help: "Bytes of the frames that members have sent, without TLS and handshakes.",
		value: func(s *tcproom.Stats) int64 { return int64(s.BytesIn) }},
	{name: "out", unit: "By", links: true, help: "Bytes that the connections of members have taken, without TLS and handshakes.",
		value: func(s *tcproom.Stats) int64 { return int64(s.BytesOut) }},
	{name: "accept_errors", unit: "{error}", links: true, help: "Times at which a listener failed to accept, and went on.",
		value: func(s *tcproom.Stats) int64 { return int64(s.AcceptErrors) }},
	{name: "log_gaps", unit: "{record}", links: true, help: "Records that logs had taken and have lost, as far as known.",
		value: func(s *tcproom.Stats) int64 { return int64(s.LogGaps) }},
}

// A hubFamily is an instrument of hubs, which add up. all is that of the room "*".
type hubFamily struct {
	name, unit, help string
	kind             kind
	value            func(s *tcproom.HubStats, all *tcproom.Stats) int64
}

// hubMade is the index of rooms_made.
const hubMade = 0

// hubFamilies are the instruments of hubs, beside the disconnects by cause.
var hubFamilies = []hubFamily{
	hubMade: {name: "rooms_made", unit: "{room}", help: "Rooms that were ever made.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) int64 { return int64(s.Made) }},
	{name: "rooms_removed", unit: "{room}", help: "Rooms that are gone.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) int64 { return int64(s.Removed) }},
	{name: "rooms", unit: "{room}", kind: amount, help: "Rooms that there are.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) int64 { return int64(s.Rooms) }},
	{name: "connections", unit: "{connection}", kind: amount, help: "Connections in the hub, the detached ones included.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) int64 { return int64(s.Connections) }},
	{name: "detached_connections", unit: "{connection}", kind: amount, help: "Connections that are lost and may resume.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) int64 { return int64(s.Detached) }},
	{name: "waiting_connections", unit: "{connection}", kind: amount, help: "Connections that take nothing at the moment.",
		value: func(_ *tcproom.HubStats, all *tcproom.Stats) int64 { return int64(all.Waiting) }},
	{name: "connects", unit: "{connection}", help: "Connections that have come into the hub.",
		value: func(_ *tcproom.HubStats, all *tcproom.Stats) int64 { return int64(all.Joined) }},
	{name: "resumes", unit: "{connection}", help: "Connections that took the place of a lost one.",
		value: func(_ *tcproom.HubStats, all *tcproom.Stats) int64 { return int64(all.Resumed) }},
	{name: "moves", unit: "{move}", help: "Moves from one room to another.",
		value: func(s *tcproom.HubStats, _ *tcproom.Stats) int64 { return int64(s.Moves) }},
}
