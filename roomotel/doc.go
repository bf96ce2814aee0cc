// Package roomotel gives the counts of rooms and hubs of [tcproom] to OpenTelemetry, and
// the way of single messages as traces. It uses the API of OpenTelemetry alone: which SDK
// there is, and where it sends what it has, is the program's.
//
//	metrics, err := roomotel.New(otel.Meter("chat"))
//	room := tcproom.New(metrics.HookTimer(), roomotel.Trace(otel.Tracer("chat"), 1000))
//	metrics.Add("lobby", room)
//
// docs/telemetry.md of the library says what each metric means.
//
// # Totals and rooms
//
// Most instruments are there twice. The totals, such as tcproom.messages, are of all
// rooms together. The others, such as tcproom.room.messages, have the attribute
// tcproom.room, and are observed only for the rooms that are told apart: the 100 that
// have the most members, or as many as [WithRoomLimit] says. A room's numbers are those
// of its [tcproom.Stats].
//
// This is so because rooms come and go, and users choose their names. There is no sum of
// "all other rooms": a counter of these would fall when a room that had been in it
// becomes one of the large ones, which backends take for a counter that has begun again.
// Totals never fall: a room that is removed from its hub leaves its counts there, and so
// does what [Metrics.Remove] takes out. In a query over all rooms, use the total and not
// the sum of rooms.
//
// The instruments tcproom.hub.… are observed if a hub was added; in them are connections,
// and in tcproom.members memberships, of which a connection can have several.
//
// The names are those of package roomprom if the rules for Prometheus are applied to
// them: tcproom.joins is tcproom_joins_total. The attributes tcproom.room, tcproom.cause
// and tcproom.hook are the labels tcproom_room, tcproom_cause and tcproom_hook, where
// roomprom has room, cause and hook.
package roomotel
