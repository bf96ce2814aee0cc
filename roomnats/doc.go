// Package roomnats keeps the order of rooms of [tcproom] on NATS JetStream, so that one
// room can live in several processes.
//
//	nc, err := nats.Connect(url, roomnats.ConnOptions()...)
//	order, err := roomnats.Open(ctx, nc, "lobby", roomnats.MaxBytes(1<<30)) // one room
//	room := tcproom.New(tcproom.WithLog(order))
//
//	// or a hub, with a log for each of its rooms
//	bp, err := roomnats.New(ctx, nc, roomnats.MaxBytes(1<<30), roomnats.Replicas(3))
//	hub := tcproom.NewHub(tcproom.WithBackplane(bp))
//
// Close the room, then its log, then the connection; or the hub, the Backplane, and the
// connection. docs/operation.md says how to run it.
//
// It needs NATS server 2.11 or later. Package roomnats/natstest runs servers in tests.
//
// # What is at the servers
//
// A namespace, see [Namespace], has a stream for each of its [Shards], and two key-value
// buckets. With the default namespace these are
//
//	TCPROOM_default_0        what was said, with a subject for each room:
//	                         tcproom.default.0.log.<room>
//	tcproom_default_state    what rooms save, so as not to be read as a whole
//	tcproom_default_nodes    a key for each process that lives
//
// In <room> bytes other than letters, digits, "_" and "-" are written as "=" and two
// hexadecimal digits; a hash stands for a room whose name is long.
//
// What is missing is made when it is first used, and again if the servers have lost it. A
// stream that is there is used with the limits that it has; if they are not those of the
// options this is logged, and nothing is changed: an operator may have a reason. Change
// them with the tools of NATS.
//
// Append makes one attempt, of two seconds at most; the room makes the next one. Save and
// Load, which are many requests, make three of each that has no answer in that time. If the
// server at the other end of a connection answers nothing for eight seconds, as one does
// that is cut off from the others, the connection is made anew, for all that use it.
//
// The position of a record is its number in the stream. Rooms of one shard share these,
// so that a room has some of them. A stream ends after 2^41 records, which at 10,000 a
// second takes seven years; rooms that were in it go on in another namespace.
//
// Servers acknowledge a record before their disks have it, unless their configuration says
// sync_interval: always. A power failure of all that store a stream may lose what was
// acknowledged last; the rooms notice that, and end their members, who join anew.
//
// # Permissions
//
// What may publish to a room's subject speaks as any member of it, and what may change
// the buckets can end a process for the others. So give these permissions to the
// processes of the service alone. [Permissions] returns what they need: with the default
// namespace and one shard they publish to
//
//	tcproom.default.0.log.*
//	$KV.tcproom_default_state.>
//	$KV.tcproom_default_nodes.>
//	$JS.API.INFO
//	$JS.API.STREAM.PURGE.KV_tcproom_default_state
//
// with each of the streams TCPROOM_default_0, KV_tcproom_default_state and
// KV_tcproom_default_nodes for S, to
//
//	$JS.API.STREAM.INFO.S
//	$JS.API.STREAM.CREATE.S
//	$JS.API.STREAM.MSG.GET.S
//
// with the first and the last of these for S, to
//
//	$JS.API.CONSUMER.CREATE.S.>
//	$JS.API.CONSUMER.MSG.NEXT.S.*
//	$JS.API.CONSUMER.DELETE.S.*
//
// and subscribe to _INBOX.>, or to the prefix that nats.CustomInboxPrefix sets, which
// keeps other users of the account from reading along. Without STREAM.CREATE an operator
// has to make the streams, and to make those in memory again after a restart.
package roomnats
