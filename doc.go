// Package tcproom makes TCP broadcast rooms: what one member of a room sends
// goes to all others, in one order for all, joins and leaves included.
//
// Use [New] to make a room and [Room.ListenAndServe], [Room.Serve] or
// [Room.ServeConn] to let connections in. Use [Dial] to connect to one,
// [NewConn] to do so over any [net.Conn], [NewClient] to stay connected, and
// [Room.Join] to be a member in the room's own process. A chat server:
//
//	package main
//
//	import "example.com/tcproom"
//
//	func main() {
//		room := tcproom.New()
//		panic(room.ListenAndServe("localhost:9000"))
//	}
//
// Whoever connects to it, with nc for example, is a member: each line that they
// send is a message.
//
// # Framing
//
// A [Framing] says where one message ends on the wire. Both ends must use the
// same; the default is [Lines]. With it a message ends at its \n: an
// unterminated last line is not a message. A peer that leaves in the middle of a
// frame has said nothing with it, and leaves with [io.ErrUnexpectedEOF].
//
// [Lines], [Delimiter], [Length], [Varint], [Netstring] and [ContentLength] are
// there; any other value with the two methods will do. A body that a framing cannot carry, such as one with a newline in Lines, is refused with
// [ErrUnframeable] to whoever wants to say it. In a room of several framings
// those named to [New] and to each running [Room.Serve] bind everybody, whether
// or not a member uses them at the moment.
//
// # Codecs
//
// A [Codec] says what is written inside a frame. [Text], the default, is for
// people: "ada: hi", "* ada joined". [Raw] is bodies and nothing else. [JSON] is
// for programs: it carries every field of an [Event], it begins with a hello and
// a [Welcome], and a client may ask for a name, and for heartbeats ([WithHeartbeat]). With Text and Raw there is no
// hello: the room names its members guest-1, guest-2 and so on, unless a
// [Handshake] hook does, [WithName] has no effect but in [Room.Join], and [Dial]
// returns before the room has let the conn in. docs/wire.md fixes the bytes.
//
// The members of one room may use different framings and codecs. Its stream is
// encoded once for each pair in use, which is a lane, and not for each member.
// At most 16 lanes are possible. Equal values share a lane; values that Go cannot
// compare never do.
//
// # Slow members
//
// No member has a queue of its own: it has a position in its lane, of which the
// room keeps a window, the backlog ([WithBacklog]). A member whose connection
// takes no bytes waits there. When it lags further behind than the backlog it is
// slow, and [WithSlowMembers] says what happens: [Disconnect] ends it with
// [ErrSlow], [Skip] lets it continue at the newest event after a [Gap] that says
// what it missed, and [Block] holds the messages of all back for at most
// [WithMaxWait] and then ends it with ErrSlow. So but for Block it delays nobody.
// A codec that cannot say a Gap, such as Raw, gets Disconnect instead of Skip.
//
// Whatever the policy, a connection that takes no byte for [WithWriteTimeout]
// while bytes wait for it ends with [ErrWriteTimeout]. And whatever the policy,
// the room holds messages back, and so their senders, while its own goroutines
// have not come round to its members; that passes by itself, and no member is cut
// for it.
//
// # History
//
// With [WithHistory] a room keeps the last messages, and those who join get them
// first, marked as [Event].History. Member list, history and live stream are cut
// at one instant: no message is in two of them or in none. Joins and leaves are
// not history, and direct messages neither.
//
// # Sessions
//
// With [WithSessions] a member is more than its connection, where its codec is a
// [Resumer] as [JSON] is. When its connection breaks it is detached: a member still, for
// [Sessions].Grace, and nobody is told. Whoever comes back with the Token of its [Welcome] ([WithResume])
// and the number of the last event that it has is that member again, and gets what it missed, once and
// in order, and then what is live; the Outcome in its Welcome is [Resumed]. What the room
// does not keep any more is named in one [Gap] before that ([ResumedGap]). When the
// grace is over, or the room is another one, as after a restart, it joins anew
// ([Expired]).
//
// A member that says goodbye, as [Conn.Close] and [Conn.CloseWrite] do, that is kicked or that breaks a
// rule leaves at once. Of two connections with one token the newest wins, and the
// other ends with [ErrTakenOver].
//
// A hook gets the [Conn] of the moment. [Room.Post] and [Room.Kick] with an older one of the
// same member do what they would with the present one; [Conn.Send], Context and Err are those of
// the connection alone. While an OnMessage outlives its connection, nothing is read from
// the next one; OnLeave comes when all have returned.
//
// Messages may be numbered, so that one that is sent again, because nobody knows
// whether it had arrived, is ordered once; each is answered with an [Ack].
//
// # Coming back
//
// A [Client] dials again when it has lost its connection, after a pause that
// grows and is random. In a room with [WithSessions], and with JSON, it is the same member then and
// gets what it missed; messages that the room has not acknowledged are sent again, and
// ordered once. Its events tell what happens: a [Welcome] for each connection,
// [Lost] for each loss, a [Gap] for what the room has forgotten, [Uncertain] for a
// message of which nobody knows whether the room has it.
//
// # Memory
//
// What a room holds is bounded, whatever senders and readers do. It is at most
//
//	lanes × (backlog + segment)  +  connections × (constant + reading + writing + private)
//	  + (history + events) × (1 + lanes)  +  sessions × numbers  +  detached × constant
//
// beside what pools keep until the next garbage collection, and what Go's append
// adds when a slice grows.
//
//   - backlog is that of [WithBacklog], by default 4 MiB. An event is charged its
//     encoded bytes and 16 more, for its entry in an index. Four of the largest
//     frames of the lane are the least: at the default message limit 257 KiB with
//     Raw, 1.0 MiB with Text and 1.5 MiB with JSON, whose bodies may become six
//     times as long; they grow with [WithMaxMessage]. With JSON the least is never
//     below 664 KiB, because of the Welcome.
//   - segment is 64 KiB, or one frame where that is longer: the part of the
//     window that is being filled. A lane whose members have everything holds none.
//   - history is that of [WithHistory]: bodies and 128 bytes each, once as they
//     are and, in each lane that somebody joined who was given it, once encoded. Those who
//     are still being given it share these bytes, and keep what they have not read
//     of them until they have read it or have ended.
//   - events: with sessions, all events of the last bytes that the backlog says, or fewer, see
//     [Sessions].Events: bodies and 128 bytes each, once as they are and, in each lane in
//     which somebody resumed, once encoded. Those who resume share these bytes as with history, and
//     hold 64 bytes or so for each run of them that their own messages leave.
//   - numbers: 4 KiB for a member that numbers its messages, for the last 256 of them.
//   - detached: a member without a connection has no buffer and takes about 3 KiB, and what its
//     net.Conn still holds when it is closed; crypto/tls holds some. There are at most
//     [Sessions].Detached of them, by default 1,000.
//   - reading: a TCP or unix socket on a unix system holds no buffer while it is
//     quiet. It borrows one of 16 KiB, or of 64 KiB after one that was filled,
//     until the messages in it have been dealt with. A frame that is longer, or has
//     not arrived whole, has a buffer of its own that grows with what arrives, to
//     the limit of a frame and 16 KiB at most. Other transports keep a buffer like
//     that, of 4 KiB at first, until they end. While messages are dealt with, at
//     most 256 of them cost 24 bytes each beside their bodies, and one that is held
//     back its encoded form for each lane.
//   - writing: nothing while a socket keeps up. A connection that has stalled, and
//     one that is no such socket while it is written to, holds the rest of the
//     frame that it has begun, and up to 16 KiB or one frame that follows it, and
//     a byte or two for each event in that.
//   - private: what [Conn.Send] has taken, which is for this conn alone: at most
//     64 KiB or one message, at the room's end with 40 bytes more for each, at the
//     dialling end with as much again that is being written. At the room's end the
//     Welcome and the [Goodbye] of a member are added to this.
//
// A [Client] holds, beside its connection, at most 4 MiB and one event that wait to be
// received, and 1 MiB, one message or what [OfflineBuffer] says of messages that
// are not acknowledged.
//
// Before it has joined, at most 4 KiB are read of what a conn sends, and
// [WithMaxPending] bounds how many there are. The number of members is not
// bounded by default, see [WithMaxMembers] and [WithMaxPerAddress]. The kernel's socket buffers, which
// [WithSocketBuffers] sets, and those of crypto/tls come on top.
//
// # Concurrency
//
// All methods of [Room], [Conn] and [Client] may be called from many goroutines. Hooks
// run on the goroutine of the conn that they are about, one at a time for a conn
// and overlapping for different ones, and under no lock: they may block, which
// holds up that conn, and call anything but [Room.Shutdown]. [OnReject] has a
// goroutine of its own where the conn has none yet. A panic, or a
// runtime.Goexit, ends that conn alone. The methods of Framing and Codec run
// under the room's lock: they must be pure and quick.
//
// A connection has one goroutine at the room's end, which reads. On Linux, those that Serve
// accepted from a *[net.TCPListener] or *[net.UnixListener] get it
// with their first byte: until then they share one, and a descriptor of the
// room's, unless TLS, [WithIdleTimeout] or heartbeats need more than that. The room writes from goroutines
// that run only while there is something to write: one, and one more for each 256
// members, up to GOMAXPROCS and eight. A connection that has stalled has a second
// goroutine until it has caught up; one that is not a TCP or unix socket on a unix
// system has it for each write, and a second longer. A dialling end
// reads on the goroutine that calls Receive, or on one of its own where [OnEvent]
// is set, and writes like a room. A Client has two goroutines, one of them only while
// it is connected. A room that nobody
// has joined has no goroutine, beside those in Serve.
//
// # Stopping
//
// [Room.Shutdown] writes to each member what was ordered before the call, says
// goodbye and waits until all are gone, but for those that make no progress for half
// a second, or as long as [WithPatience] says; [Room.Close] cuts all. Both call
// [OnLeave] for each member, with [ErrRoomClosed], and return a [*StopError]
// about what did not go well. ListenAndServe and Serve return [ErrRoomClosed] when
// a stop begins, not when it is over: a program that then returns from main
// cuts its members off. Wait for Shutdown, or [Room.Done], before that.
//
// [Conn.Close] at the dialling end writes what Send has taken and waits a while
// for the room to read it and to close too; [Conn.CloseWrite] does the first half
// of that and lets you hear the room out. At the room's end use [Room.Kick] to remove a member with a
// reason.
//
// # Options
//
// Every option with its default, and what zero and negative values mean. Where
// says which functions accept it: all is New, Serve, ServeConn, Dial, NewConn and
// Join; conn is New, Serve and ServeConn; room is New; dial is Dial, NewConn and
// Join; client is NewClient, which accepts those of Dial too, but for OnEvent; stop is
// Shutdown. A nil option is ignored, and of several of one kind the last counts.
//
//	option                where  default      zero or nil  negative
//	WithFraming           all    Lines{}      the default
//	WithCodec             all    Text{}       the default
//	WithMaxMessage        all    64 KiB (1)   the default  the default
//	WithHandshakeTimeout  all    10 s         the default  the default
//	WithWriteTimeout      all    30 s         the default  the default
//	WithIdleTimeout       all    off          off          off
//	WithHeartbeat         all    off          off          off
//	WithLogger            all    silent       silent
//	WithTLS               all    no TLS       no TLS
//	WithSocketBuffers     all    the kernel's the kernel's the kernel's
//	WithEcho              conn   false
//	WithHTTPRefused       conn   true
//	Handshake             conn   none         none
//	WithRate              conn   none         none
//	WithBacklog           room   4 MiB (2)    the default  the default
//	WithSlowMembers       room   Disconnect   Disconnect
//	WithMaxWait           room   5 s          the default  the default
//	WithMaxMembers        room   no bound     no bound     no bound
//	WithMaxPending        room   256          the default  the default
//	WithHistory           room   none         the backlog (3)
//	WithSessions          room   none         30 s, 1,000 (4)
//	WithMaxPerAddress     room   no bound     no bound     no bound
//	WithNameValidator     room   ValidName    the default
//	WithUniqueNames       room   false
//	WithNotices           room   true
//	OnJoin                room   none         none
//	OnMessage             room   Room.Post    the default
//	OnLeave               room   none         none
//	OnReject              room   none         none
//	WithName              dial   the room's   the room's
//	WithReplay            dial   all          all          no history
//	WithAuth              dial   none         none
//	WithResume            dial   a new member
//	WithDialer            dial   net.Dialer   the default
//	OnEvent               dial   none         none
//	WithBackoff           client 100 ms–30 s  the default
//	WithOffline           client OfflineWait  the default  OfflineFail
//	WithPatience          stop   0.5 s        the default  no bound
//
//	(1) More than 64 MiB means 64 MiB. One above New's, at a Serve or ServeConn,
//	    means New's. Join has the room's framing, codec and message limit as its
//	    defaults.
//	(2) Less than four of the largest frames means four of the largest frames.
//	(3) The zero History: of its bounds, zero and negative ones do not bind, but Bytes
//	    are then those of WithBacklog.
//	(4) The zero Sessions: a grace of 30 s, at most 1,000 detached members, and
//	    events as far as WithBacklog says.
package tcproom
