// Package roomprom makes the counts of rooms and hubs of [tcproom] a Prometheus
// collector.
//
//	metrics := roomprom.New()
//	room := tcproom.New(metrics.HookTimer())
//	metrics.Add("lobby", room)
//	prometheus.MustRegister(metrics)
//	http.Handle("/metrics", promhttp.Handler())
//
// Beside this package there are a Grafana dashboard, dashboard.json, and alerting rules,
// alerts.yaml. docs/telemetry.md of the library says what each metric means.
//
// # Totals and rooms
//
// Most metrics are there twice. The totals, such as tcproom_messages_total, have no room:
// they are of all rooms together. The others, such as tcproom_room_messages_total, have
// the label "room", and are there only for the rooms that are told apart: the 100 that
// have the most members, or as many as [WithRoomLimit] says. A room's numbers are those
// of its [tcproom.Stats].
//
// This is so because rooms come and go, and users choose their names. There is no series
// of "all other rooms": its counters would fall when a room that had been in it becomes
// one of the large ones, and Prometheus takes a counter that falls for one that has begun
// again, and adds all of it to the rate. What the others do is the total less the sum of
// the rooms, by their rates:
//
//	sum(rate(tcproom_messages_total[5m])) - sum(rate(tcproom_room_messages_total[5m]))
//
// Totals never fall. A room that is removed from its hub leaves its counts there, and so
// does what is taken out with [Collector.Remove]. A room that stops being told apart
// takes its series with it, and goes on where it was if it is told apart again: the gap
// makes no rate wrong. A room that is made again under the name of one that was removed
// begins with zeros, which Prometheus knows as a counter that has begun again, and is
// right. In a query over all rooms, use the total and not the sum of rooms.
//
// The metrics tcproom_hub_… are there if a hub was added; in them are connections, and in
// tcproom_members memberships, of which a connection can have several.
package roomprom
