// Package tcproom makes TCP broadcast rooms: what one member of a room sends goes to
// all others, in one order for all, joins and leaves included.
//
// Use [New] to make a room and [Room.ListenAndServe], [Room.Serve] or [Room.ServeConn]
// to let connections in. Use [NewHub] for many named rooms behind the same listeners.
// Use [Dial] to connect to a room, [NewConn] to do so over any
// [net.Conn], [NewClient] to stay connected, and [Room.Join] to be a member in the
// room's own process. Package roomhttp lets browsers in. A chat server, for which nc is
// a full client:
//
//	room := tcproom.New()
//	log.Fatal(room.ListenAndServe("localhost:9000"))
//
// A client that prints what it receives:
//
//	conn, err := tcproom.Dial(ctx, "localhost:9000")
//	if err != nil {
//		log.Fatal(err)
//	}
//	conn.Send(ctx, []byte("hi"))
//	for ev, err := range conn.Events(ctx) {
//		if err != nil {
//			log.Fatal(err)
//		}
//		fmt.Println(ev.Kind, ev.From.Name, string(ev.Body))
//	}
//
// # Framing and codecs
//
// A [Framing] marks where one message ends on the wire: [Lines], the default,
// [Delimiter], [Length], [Varint], [Netstring] or [ContentLength]. A [Codec] is what is
// written inside a frame: [Text], the default, is for people; [Raw] is bodies and
// nothing else; [JSON] is for programs and carries every field of an [Event]. Both
// ends must agree on both. A peer that does not is told so at once, and ends with
// [ErrWrongDoor]. docs/wire.md fixes the bytes. A value of any other type that has the
// methods works too. The members of one room may use up to 16 different pairs; the
// stream is encoded once for each pair, not for each member.
//
// # Slow members
//
// No member has a queue of its own: it has a position in the stream, of which the room
// keeps a window, the backlog ([WithBacklog]). A member that lags further behind is
// slow, and [WithSlowMembers] decides: [Disconnect], [Skip] with an exact [Gap], or
// [Block]. Except under Block it delays nobody. All that a room holds is bounded;
// docs/memory.md has the formula.
//
// # History and sessions
//
// With [WithHistory] a new member gets the last messages first. With [WithSessions], and
// with JSON, a member outlives its connection: for a while it can resume by the token of
// its [Welcome], gets exactly what it missed, or a Gap that names what is gone, and
// nobody else notices. A [Client] does that by itself; messages that the room had not
// acknowledged are sent again, and ordered once.
//
// # Many rooms
//
// A [Hub] has named rooms, which are made when somebody enters them and removed when
// they are empty. Each has its own order. A connection is in one room, or, if it speaks
// JSON and says so in its hello, in several; in each it is a Member of its own, and one
// more stands for the connection in [Hub.All]. [Hub.Enter], [Hub.Leave] and [Hub.Move]
// change where it is, as it may ask itself unless [OnEnter] refuses. docs/rooms.md has
// the rest. People use commands, such as /join, by Text with Commands, which is the
// codec of a hub if no other is set.
//
// # One room in many processes
//
// A room lives in one process, unless it has a log: with [WithLog] the rooms of several
// processes that read one log are one room. The log gives the order, so that all members
// see the same events in the same order with the same numbers, whichever process they are
// connected to, and a member may resume in any of them. Package roomnats keeps such logs
// on NATS JetStream, and package roomtest in memory, for tests. [Room.Ready] says when a
// process has caught up, [WithDrain] lets it stop without a leave, and [Addresses] has a
// [Client] go on to the next one. With [WithBackplane] each room of a [Hub] has a log.
// PROMISES.md says what holds then and what does not, and docs/operation.md how to run
// it.
//
// # Hooks
//
// [WithHandshake] talks with and names a [Newcomer], [OnJoin] may refuse a [Member],
// [OnJoined] may send it a snapshot first, [OnMessage] decides what becomes of its
// messages, and [OnLeave] and [OnReject] are told of ends. Hooks run under no lock.
// They may block, which holds up that member alone, and may call anything but
// [Room.Shutdown]. The hooks of one member run one at a time. A panic in one ends that
// connection alone.
//
// # Concurrency
//
// All methods of [Room], [Member], [Conn] and [Client] may be called from many
// goroutines. The methods of a Framing or Codec run under the room's lock: they must be
// pure and quick. A room without members and without a log has no goroutine but those in
// Serve; docs/memory.md counts the others.
//
// # Stopping
//
// [Room.Shutdown] writes to each member what was ordered before the call, sends goodbye
// and waits until all are gone; [Room.Close] cuts them. Serve returns [ErrRoomClosed]
// when a stop begins, so wait for Shutdown, or [Room.Done], before main returns. At the
// dialling end, [Conn.Close] writes what Send has taken and waits for the room to close
// too.
//
// # Options
//
// The column "for" says which functions accept an option. all: New, NewHub, Serve, Door,
// ServeConn and the dialling functions; conn: New, NewHub, Serve, Door and ServeConn;
// room: New, NewHub and [WithRoom]; hub: NewHub; dial: Dial, NewConn, Join and
// NewClient; client: NewClient; stop: Shutdown. A nil option is ignored, and of several
// of one kind the last counts, but for WithRoom. An option that cannot work, such as
// WithName with Text, is [ErrOption]; New and NewHub log it.
//
//	option                for    default       zero or nil   negative
//	WithFraming           all    Lines{}       the default
//	WithCodec             all    Text{}        the default
//	                             of NewHub: Text{Commands: true}
//	WithMaxMessage        all    64 KiB        the default   the default
//	WithHandshakeTimeout  all    10 s          the default   none
//	WithWriteTimeout      all    30 s          the default   none
//	WithIdleTimeout       all    off           off           off
//	WithHeartbeat         all    off           off           off
//	WithLogger            all    silent        silent
//	WithTLS               all    no TLS        no TLS
//	WithSocketBuffers     all    the kernel's  the kernel's  the kernel's
//	WithEcho              conn   false
//	WithHTTPRefused       conn   true
//	WithHandshake         conn   none          none
//	WithRate              conn   none          none
//	InRoom                conn   of the hub    of the hub
//	WithBacklog           room   4 MiB         the default   the default
//	WithSlowMembers       room   Disconnect    Disconnect
//	WithMaxMembers        room   no bound      no bound      no bound
//	WithMaxPending        room   256           the default   the default
//	WithMaxPerAddress     room   no bound      no bound      no bound
//	WithHistory           room   none          the backlog
//	WithSessions          room   none          30 s, 1,000
//	WithNameValidator     room   ValidName     the default
//	WithUniqueNames       room   false
//	WithNotices           room   true
//	WithNoticesTogether   room   at once       at once       at once
//	WithHookTimer         room   none          none
//	WithTrace             room   none          none          each
//	WithLog               room   none          none
//	WithMaxOutage         room   15 s          the default   the default
//	WithDrain             room   at once       at once       at once
//	Hidden                room   not hidden
//	OnJoin, OnJoined, OnMessage, OnLeave, OnReject
//	                      room   none          none
//	WithBackplane         hub    none          none
//	WithRoom              hub    none
//	WithRoomOptions       hub    none          none
//	WithDefaultRoom       hub    "lobby"       refused
//	WithOpenRooms         hub    true
//	WithMaxRooms          hub    10,000        the default   the default
//	WithMaxRoomsPerConn   hub    100           the default   the default
//	WithRoomNames         hub    ValidRoom     the default
//	WithRoomLinger        hub    1 minute      the default   at once
//	OnEnter, OnRequest, OnRoom, OnConnect, OnDisconnect
//	                      hub    none          none
//	WithName, WithAuth, WithResume, WithReplay, WithDialer, OnEvent
//	                      dial   none          none
//	Addresses             client none          none
//	WithBackoff           client 100 ms, 30 s  the default   the default
//	WithOffline           client Send waits    Send fails    Send waits
//	WithPatience          stop   0.5 s         the default   no bound
package tcproom
