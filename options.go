package tcproom

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"example.com/tcproom/internal/probe"
)

// A RoomOption configures a [Room]; [New] accepts it, and [NewHub] for all rooms of the
// hub. The constructors of options only record what they are given; a later option of
// the same kind replaces an earlier one.
type RoomOption interface {
	HubOption
	applyRoom(*roomConfig)
}

// A ConnOption configures the room's end of connections. [Room.Serve], [Room.Door] and
// [Room.ServeConn] accept it for theirs, [New] as the default of all.
type ConnOption interface {
	RoomOption
	applyConn(*connConfig)
}

// A DialOption configures a dialling end; [Dial], [NewConn], [Room.Join] and
// [NewClient] accept it.
type DialOption interface{ applyDial(*dialConfig) }

// An Option configures a connection at either end and is accepted everywhere.
type Option interface {
	ConnOption
	DialOption
}

// SlowPolicy says what happens to a member that stops reading and lags
// further behind than the backlog allows: [Disconnect], [Skip] or [Block].
type SlowPolicy time.Duration // how long Block waits, or one of the constants

const (
	// Disconnect ends the member with [ErrSlow]. It is the default, and what
	// Skip means for a member whose codec cannot say a [Gap].
	Disconnect SlowPolicy = 0
	// Skip lets the member continue at the newest event, after a [Gap] that
	// names what it missed.
	Skip SlowPolicy = -1
)

// Block returns the policy that holds messages back, before they are ordered,
// until the member has read, for at most d. After that, the members that are
// furthest behind end as with Disconnect. Joins and leaves are never held back
// for it, and have an eighth of the backlog for themselves. Zero and negative
// values mean 5 seconds.
func Block(d time.Duration) SlowPolicy {
	setDefault(&d, defaultMaxWait)
	return SlowPolicy(d)
}

// blocks returns how long the policy holds messages back; 0 if it does not.
func (p SlowPolicy) blocks() time.Duration { return time.Duration(max(p, 0)) }

// String returns "Disconnect", "Skip" or "Block(5s)".
func (p SlowPolicy) String() string {
	switch {
	case p > 0:
		return "Block(" + time.Duration(p).String() + ")"
	case p == Skip:
		return "Skip"
	}
	return "Disconnect"
}

// Identity is what a handshake hook makes of a newcomer, or what a member of
// [Room.Join] is.
type Identity struct {
	// Name is the member's name; empty: the one that its hello asks for, or
	// guest-N. It must pass the room's validator and uniqueness like any other.
	Name string
	// Context, if not nil, lends its values, and nothing else, to
	// [Member.Context].
	Context context.Context
}

// connConfig is the room's end of one listener's connections.
type connConfig struct {
	limits
	control   ControlFrames // of codec; nil: it has none
	echo      bool
	speakHTTP bool // rule W0 is off
	handshake func(context.Context, *Newcomer) (Identity, error)
	rate      func(*Member) Limiter
	inRoom    string // of a hub, for those that name none
}

type roomConfig struct {
	conn          connConfig
	form          form // of its first lane
	backlog       int
	slow          SlowPolicy
	maxMembers    int
	maxPending    int
	maxPerAddress int
	validName     func(string) error
	unique        bool
	notices       bool
	together      time.Duration // 0: not
	hooks         hooks
	history       *History
	sessions      *Sessions
	hidden        bool
	hookTimers    hookTimers
	trace         func(Trace)
	traceEvery    uint64
	log           Log           // nil: the room orders by itself
	maxOutage     time.Duration // of the log
	drain         time.Duration // over which Shutdown sends members to other processes; 0: at once
	probe         probe.Probe   // of package roomtest
}

// hooks are those of a room, but for the handshake's.
type hooks struct {
	onJoin    func(*Member) error
	onJoined  func(*Member, uint64)
	onMessage func(*Member, []byte) ([]byte, error)
	onLeave   func(*Member, error)
	onReject  func(*Newcomer, error)
}

type dialConfig struct {
	limits
	name    string
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	onEvent func(Event)
	auth    Secret
	resume  *Resume
	replay  int
	rooms   []string    // of a hub, to be in; nil: it names none, and is in one
	probe   probe.Probe // of package roomtest

	// Of a Client.
	addrs     []string // beside the first
	backoff   backoff
	offline   int    // bytes; negative: Send waits
	forClient string // an option that only a Client can have, if one was given
}

func newRoomConfig(opts []RoomOption) roomConfig {
	cfg := roomConfig{notices: true}
	for _, o := range opts {
		if o != nil {
			o.applyRoom(&cfg)
		}
	}
	cfg.conn.setDefaults()
	setDefault(&cfg.backlog, defaultBacklog)
	setDefault(&cfg.maxPending, defaultMaxPending)
	setDefault(&cfg.maxOutage, defaultMaxOutage)
	cfg.drain = max(cfg.drain, 0)
	cfg.maxMembers = max(cfg.maxMembers, 0)
	cfg.together = max(cfg.together, 0)
	cfg.maxPerAddress = max(cfg.maxPerAddress, 0)
	if cfg.sessions != nil {
		s := *cfg.sessions
		setDefault(&s.Grace, defaultGrace)
		setDefault(&s.Detached, defaultDetached)
		cfg.sessions = &s
	}
	cfg.hooks.time(cfg.hookTimers)
	cfg.warn()
	return cfg
}

// warn logs the options that cannot work with the room's own codec. They may work
// with that of a Serve, and New does not fail.
func (c *roomConfig) warn() {
	f := c.conn.features
	for _, o := range []struct {
		option string
		given  bool
	}{
		{"WithSessions", c.sessions != nil && !f.Numbers},
		{"WithHeartbeat", c.conn.heartbeat > 0 && !f.Pings && c.conn.control == nil},
		{"WithSlowMembers(Skip)", c.slow == Skip && !f.Gaps},
	} {
		if o.given {
			c.conn.logger.Warn("tcproom: option without effect", "option", o.option, "codec", fmt.Sprintf("%T", c.conn.codec))
		}
	}
}

func (c *connConfig) setDefaults() {
	c.limits.setDefaults()
	c.control, _ = c.codec.(ControlFrames)
}

// with returns a copy of c, the room's default, changed by opts, or an error if
// one of these cannot work.
func (c connConfig) with(opts []ConnOption) (connConfig, error) {
	most := c.maxMessage
	var given connConfig
	for _, o := range opts {
		if o != nil {
			o.applyConn(&c)
			o.applyConn(&given)
		}
	}
	c.setDefaults()
	switch {
	case c.maxMessage > most:
		return c, fmt.Errorf("%w: WithMaxMessage(%d) of a Serve or ServeConn is above the room's %d: give the larger one to New", ErrOption, c.maxMessage, most)
	case given.heartbeat > 0 && !c.features.Pings && c.control == nil:
		return c, fmt.Errorf("%w: WithHeartbeat with codec %T, which has no pings", ErrOption, c.codec)
	}
	return c, nil
}

func newDialConfig(opts []DialOption) dialConfig {
	cfg := dialConfig{offline: -1}
	for _, o := range opts {
		if o != nil {
			o.applyDial(&cfg)
		}
	}
	cfg.limits.setDefaults()
	cfg.backoff.setDefaults()
	if cfg.dial == nil {
		cfg.dial = new(net.Dialer).DialContext
	}
	return cfg
}

// check returns an error for an option that cannot work, at a dialling end.
func (c *dialConfig) check() error {
	for _, o := range []struct {
		option, lacks string
		given         bool
	}{
		{"WithName", "no hello", c.name != "" && !c.features.Hello},
		{"WithAuth", "no hello", c.auth != "" && !c.features.Hello},
		{"WithReplay", "no hello", c.replay != 0 && !c.features.Hello},
		{"WithResume", "no sessions", c.resume != nil && !c.features.Numbers},
		{"WithHeartbeat", "no pings", c.heartbeat > 0 && !c.features.Pings},
		{"InRooms", "no names of rooms", c.rooms != nil && !c.features.Rooms},
	} {
		if o.given {
			return fmt.Errorf("%w: %s with codec %T, which has %s: use JSON, or leave it out", ErrOption, o.option, c.codec, o.lacks)
		}
	}
	if slices.Contains(c.addrs, "") {
		return fmt.Errorf("%w: Addresses with an empty one: want host:port, or leave it out", ErrOption)
	}
	return c.checkRooms()
}

// checkConn is check for an end that is no Client's.
func (c *dialConfig) checkConn() error {
	if c.forClient != "" {
		return fmt.Errorf("%w: %s is for NewClient", ErrOption, c.forClient)
	}
	return c.check()
}

type roomOption func(*roomConfig)

func (o roomOption) applyRoom(c *roomConfig) { o(c) }
func (o roomOption) applyHub(c *hubConfig)   { c.template = append(c.template, o) }

type connOption func(*connConfig)

func (o connOption) applyRoom(c *roomConfig) { o(&c.conn) }
func (o connOption) applyHub(c *hubConfig)   { c.template = append(c.template, o) }
func (o connOption) applyConn(c *connConfig) { o(c) }

type dialOption func(*dialConfig)

func (o dialOption) applyDial(c *dialConfig) { o(c) }

type option func(*limits)

func (o option) applyRoom(c *roomConfig) { o(&c.conn.limits) }
func (o option) applyHub(c *hubConfig)   { c.template = append(c.template, o) }
func (o option) applyConn(c *connConfig) { o(&c.limits) }
func (o option) applyDial(c *dialConfig) { o(&c.limits) }

// Options that are accepted everywhere.

// WithFraming sets the framing, which marks where one message ends on the wire.
// Both ends must use the same. The default, and nil, is [Lines].
func WithFraming(f Framing) Option {
	id := new(byte)
	return option(func(l *limits) { l.framing, l.framingID = f, id })
}

// WithCodec sets the codec, which is what is written inside a frame. Both ends must
// use the same. The default, and nil, is [Text].
func WithCodec(c Codec) Option {
	id := new(byte)
	return option(func(l *limits) { l.codec, l.codecID = c, id })
}

// WithMaxMessage bounds the body of a message, in bytes, in both directions;
// the limit of a frame follows from it by the codec's MaxFrame. A peer that
// sends more is disconnected with [ErrFrameTooLarge]; a larger body is refused
// by Send, Post and Broadcast. The default, and zero and negative values, is
// 64 KiB; more than 64 MiB means 64 MiB. What a room itself sends is bounded
// by the value given to [New].
func WithMaxMessage(n int) Option { return option(func(l *limits) { l.maxMessage = n }) }

// WithHandshakeTimeout bounds how long a connection may take, from its accept on,
// before its name is known: TLS, hello and the [WithHandshake] hook together. At the
// dialling end it bounds TLS and the wait for the welcome, from the moment that the
// transport is connected; for [NewConn], TLS alone. The default, and zero, is 10
// seconds; a negative value means no bound.
func WithHandshakeTimeout(d time.Duration) Option {
	return option(func(l *limits) { l.handshakeTimeout = d })
}

// WithWriteTimeout ends a connection with Cause("write-timeout") if its kernel took no
// byte for d while bytes waited. A transport that is no TCP or unix socket on a unix
// system, such as TLS or a pipe, must take each piece within d: at most 16 KiB or one
// frame, at a dialling end at most 64 KiB or one message. The default, and zero, is 30
// seconds; a negative value means no bound.
func WithWriteTimeout(d time.Duration) Option { return option(func(l *limits) { l.writeTimeout = d }) }

// WithIdleTimeout ends a connection with Cause("idle-timeout") if no byte came from the
// peer for d. The clock runs only while this end waits for bytes: it stands still while
// a hook, a limiter or the room holds the reader back and, at a dialling end, while
// Receive is not called. A member that only reads is idle by this measure, so the
// default is off, which zero and negative values mean too.
//
// For a member that shares a goroutine because it is quiet (docs/memory.md) the clock is
// coarse: the end comes up to a tenth of d late, or up to 100 ms if that is more.
func WithIdleTimeout(d time.Duration) Option { return option(func(l *limits) { l.idleTimeout = d }) }

// WithHeartbeat makes this end send a ping if no byte came for d, and end the
// connection with Cause("idle-timeout") if none came for as long again; d is made up to
// 20 % longer or shorter each time. The clock is that of [WithIdleTimeout], as coarse
// for a quiet member, and a ping takes its place behind what was sent before. A codec
// without pings ([Text], [Raw]) is [ErrOption].
//
// A room does so to members that ask for it in their hello, as a dialling end with this
// option does, or whose codec has [ControlFrames]. Both ends answer pings, with or
// without the option: a dialling end while it reads, and a room when it has dealt with
// what it read before. So if a limiter, a hook or Block may hold a member back for long,
// the dialling end's d should be longer. The default, and zero and negative values, mean
// off.
func WithHeartbeat(d time.Duration) Option { return option(func(l *limits) { l.heartbeat = d }) }

// WithLogger sets the logger. Its records say what happened, in the past tense, and then
// about whom, always by the keys id, name (if there are such yet), addr and, in a hub,
// room; cause says why. What a peer sent is in attributes only. The message of a record
// begins with "tcproom: ".
//
//	joined                 Debug
//	left                   Debug; Info if it was not in order, Warn by a hook's doing
//	lost                   the same; the member is detached: it may come back
//	resumed                Debug
//	refused                Info; a connection that did not join
//	request refused        Debug; with request
//	frame ignored          Info; once a connection
//	hook has not returned  Warn; with hook, after a second
//	hook failed            Error; with hook and stack
//	accept failed          Error; with delay, after which it is tried again
//
// Those about the log of [WithLog] are in docs/operation.md.
//
// A member that is lost or has left, and not in order, may have further attributes: how
// many events it had not got (missed), for how long its connection had been taking
// nothing (waited), and the hook that held it up (hook). [Member.LogValue] has the same
// of one that is there. A [Client] logs lost, and connecting failed, with the addr where
// that was and delay. An option that cannot work is logged at Warn.
//
// After ten records of one kind, such as members that leave for one cause, a room logs
// one a second, with the number of records in between as unlogged. A [WithHandshake]
// hook is named when it is a second past its deadline. The default, and nil, is silence.
func WithLogger(l *slog.Logger) Option { return option(func(c *limits) { c.logger = l }) }

// WithTLS makes connections speak TLS: as a server at the room's end, as a
// client at the dialling end. There an empty ServerName is taken from the
// address. The config is used as it is, with Go's defaults for the rest,
// and must not change afterwards. A connection that is a [*tls.Conn] already, or
// embeds one, is not wrapped again. See [Newcomer.TLS] for client certificates. The
// default, and nil, is no TLS.
func WithTLS(c *tls.Config) Option { return option(func(l *limits) { l.tls = c }) }

// WithSocketBuffers sets the sizes in bytes of the kernel's buffers of TCP and
// unix sockets, read being what the peer sends and this end has not read. Zero
// and negative values, and the default, leave them to the kernel, which on
// Linux lets each grow to megabytes while a peer does not read.
func WithSocketBuffers(read, write int) Option {
	return option(func(l *limits) { l.readBuffer, l.writeBuffer = read, write })
}

// Options of the room's end of connections.

// WithEcho sends members their own messages too, in their place in the order.
// The default is false.
func WithEcho(on bool) ConnOption { return connOption(func(c *connConfig) { c.echo = on }) }

// WithHandshake sets the hook that talks with, authenticates and names a
// newcomer before it joins.
//
// It is called after TLS and, if the codec has a hello, after that, which
// [Newcomer.Hello] returns; once for each connection, on that connection's
// goroutine; calls for different connections overlap. It may block, which
// holds up that connection alone, until [WithHandshakeTimeout] ends ctx. It may call
// Receive and Send of the newcomer, within 4 KiB each way, and anything else but
// Shutdown of the room. What it returns is the identity: nothing else that the
// peer claimed counts.
//
// An error refuses the connection, and [OnReject] is called with it. A plain error
// means [ErrDenied], for good, and its text is sent to the peer. One that is or wraps
// a [*RefusedError] means what that says. One that is or wraps
// [context.DeadlineExceeded] of a context of the hook's own means Cause("retry"): the
// peer may come back. So it may after one with which a call in a room failed because its
// log was silent or lost: that means [ErrUnavailable].
func WithHandshake(fn func(ctx context.Context, n *Newcomer) (Identity, error)) ConnOption {
	return connOption(func(c *connConfig) { c.handshake = fn })
}

// WithHTTPRefused sets whether a connection that begins like a request of HTTP ends
// with [ErrWrongDoor], before anything of it is sent to anybody. Without that a web
// page could speak in a room whose codec has no hello. The default is true.
func WithHTTPRefused(on bool) ConnOption {
	return connOption(func(c *connConfig) { c.speakHTTP = !on })
}

// WithRate bounds how fast members send, in bytes: fn returns the limiter of
// m, or nil for none.
//
//	tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter {
//		return rate.NewLimiter(64<<10, 512<<10) // of golang.org/x/time/rate
//	})
//
// Each frame of a member, whatever it says, costs its bytes on the wire and 32 more, so
// that empty ones are not free. The room waits for the limiter before it parses the
// frame, and reads nothing from that member meanwhile, so that TCP holds the sender
// back; the wait ends at once when the conn does. When the limiter returns an error,
// the member ends with Cause("rate-limited"); golang.org/x/time/rate does so for a
// frame that costs more than its burst, so the burst must be above what
// [WithMaxMessage] makes of a frame. What is said before the join costs nothing. A
// request to a [Hub] costs 512 bytes more, and one to enter a room or to move 4 KiB more,
// for its answer lists members. In a room with a log a member has the limiter of the
// process that it is connected to, and another one when it resumes in another.
//
// fn is called once for each member, when its name is known and before [OnJoin]; on
// its connection's goroutine; calls for different members overlap. It may return one
// limiter for several members, such as those of one identity or address. It may
// block, and call anything but Shutdown of the room. A panic in it, or in the
// limiter, ends that connection with a [*HookError]. The default, and nil, is no limit.
func WithRate(fn func(m *Member) Limiter) ConnOption {
	return connOption(func(c *connConfig) { c.rate = fn })
}

// Options of a room.

// WithBacklog sets how many bytes of the room's encoded events are kept for
// members that lag, for each pair of framing and codec in use. A member that
// lags further is slow, see [WithSlowMembers]. An event is charged its bytes
// and 16 more. The default, and zero and negative values, is 4 MiB; less than
// four of the largest frames means four of the largest frames. In a room with a log each
// process has a backlog of its own, for the members that are connected to it.
func WithBacklog(bytes int) RoomOption { return roomOption(func(c *roomConfig) { c.backlog = bytes }) }

// WithHistory sends the last messages to new members, messages of the room itself
// included: after the [Welcome], if the codec has one, before the live stream, and
// marked as [Event].History. The room keeps them once, and encodes them once for all
// members with one framing and codec. [JSON] and [Text] have history, [Raw] does
// not. The default is no history.
//
// In a room with a log each process keeps its own, of what it has read: one that has just
// started has what the log still has behind a checkpoint, and not all that others keep.
func WithHistory(h History) RoomOption { return roomOption(func(c *roomConfig) { c.history = &h }) }

// WithSessions lets members resume whose codec has numbers ([Features]), as [JSON] has.
//
// A member that vanished, because its connection ended without a goodbye, stays a member
// for a while: it is detached. It is in [Room.Len] and [Room.Members] and counts against
// all limits, [Member.Send] to it fails with [ErrDetached], and its leave is ordered, and
// [OnLeave] called, only when its grace is over. A hello with the token of its [Welcome]
// continues its stream: first what it missed, its own messages aside, or a [Gap] that
// names what the room does not have any more; then what is live. Direct messages are not
// sent again. No other member is told, no hook is called, and the [Member] is the same
// value. If the old connection is still open, it ends with [ErrTakenOver]. The token is
// all that is asked for, but a [WithHandshake] hook that returns another name than the
// member's refuses it.
//
// Members may number their messages. A message whose number is not above that of the last
// one is not ordered again; each is answered with an [Ack].
//
// The room keeps its last events for that, once as they are and once encoded for each
// pair of framing and codec in which a member resumed. The default is no sessions.
//
// In a room with a log a member may resume in any process. If that is another one than
// before, hooks are called, see [WithLog]. The Grace of a member is that of the process
// in which it joined; if its process died, it begins when the others have declared that.
// Events, Detached and RetryAfter are for each process: its own events, and the members
// that have lost their connections to it.
func WithSessions(s Sessions) RoomOption { return roomOption(func(c *roomConfig) { c.sessions = &s }) }

// WithSlowMembers sets the policy for members that lag behind more than the backlog. The
// default is [Disconnect], which other negative values mean too. In a room with a log
// each process does so for its own members. With [Block] they hold back what it reads of
// the log, and not what is ordered: members of other processes do not wait.
func WithSlowMembers(p SlowPolicy) RoomOption { return roomOption(func(c *roomConfig) { c.slow = p }) }

// WithMaxMembers bounds the number of members; others are refused with
// [ErrRoomFull]. Zero and negative values, and the default, mean no bound. In a room with
// a log it counts the members of all processes, strictly; each join is held to the bound
// of its own process, so all should have the same.
func WithMaxMembers(n int) RoomOption { return roomOption(func(c *roomConfig) { c.maxMembers = n }) }

// WithMaxPending bounds the number of connections that have not joined yet;
// others are closed at once. The default, and zero and negative values, is 256. In a room
// with a log it is for each process, as are all limits but [WithMaxMembers] and
// [WithUniqueNames].
func WithMaxPending(n int) RoomOption { return roomOption(func(c *roomConfig) { c.maxPending = n }) }

// WithMaxPerAddress bounds the number of connections, of members and newcomers
// together, from one IPv4 address or one /64 network of IPv6 addresses; an IPv4 address
// mapped into IPv6 counts as IPv4. Further ones are closed at once and without an
// answer, which would need a slot of [WithMaxPending]; [OnReject] is called with
// Cause("too-many-from-address"). A connection counts, before anything is read from it,
// until it is closed. One without an IP address does not count. People behind one
// address (NAT, proxies) share the bound. The default, and zero and negative values,
// mean no bound. In a room with a log it is for each process.
//
// With [WithSessions] a member counts until it leaves, detached or not. A connection
// that may resume is judged when its hello was read, for it may take the place of its
// member's last one; until then n more may wait. If it is refused then, it is told why.
func WithMaxPerAddress(n int) RoomOption {
	return roomOption(func(c *roomConfig) { c.maxPerAddress = n })
}

// WithNameValidator sets the check of members' names. It is called before a member joins,
// from many goroutines at once; an error refuses the newcomer with [ErrNameInvalid].
// Whatever it allows, a name is never empty nor "*", at most 256 bytes of valid UTF-8,
// and holds no space, colon or control character. The default, and nil, is [ValidName].
// In a room with a log the process to which somebody connects checks the name, and the
// others take it as it is: all should have one check.
func WithNameValidator(fn func(name string) error) RoomOption {
	return roomOption(func(c *roomConfig) { c.validName = fn })
}

// WithUniqueNames refuses a name that a member bears with [ErrNameTaken]. The name is
// free again when that member's leave is ordered. The default is false. In a room with a
// log it is for the members of all processes, strictly, also for those of processes that
// have died until their leaves are ordered. Each join is held to the option of its own
// process, so all should have the same.
func WithUniqueNames(on bool) RoomOption { return roomOption(func(c *roomConfig) { c.unique = on }) }

// WithNotices sets whether joins and leaves are events that members receive.
// Without them they take no place in the order. The default is true. In a room with a log
// each process says so for its own members, and joins and leaves have their places in the
// log in any case.
func WithNotices(on bool) RoomOption { return roomOption(func(c *roomConfig) { c.notices = on }) }

// OnJoin sets the hook that may refuse a member at the last moment.
//
// It is called when the member has its name and ID, before its join is ordered;
// on its connection's goroutine; calls for different members overlap. It may block,
// which holds up that member alone. It may call anything but Shutdown of the
// room. Post and Kick of the member fail with [ErrNotMember], and what is sent to it
// arrives before its welcome. An error refuses it like one of [WithHandshake]. For
// each call that returns nil, [OnLeave] is called exactly once.
func OnJoin(fn func(m *Member) error) RoomOption {
	return roomOption(func(c *roomConfig) { c.hooks.onJoin = fn })
}

// OnJoined sets the hook that is called when a join has its place in the order:
// the seq of the join, or of the last event if joins are not announced.
//
// It is called once for each member, before anything is read from it; on its
// connection's goroutine; calls for different members overlap. What it sends to m
// comes behind the welcome and the history and before all events after seq: the
// stream of m is held until it returns. So a snapshot of a state that is taken in the
// hook misses no event; events that are in the snapshot already may come again. It may
// block, which holds up m alone: when m lags behind more than the backlog, it is slow.
// It may call anything but Shutdown of the room. A panic ends m with a [*HookError].
func OnJoined(fn func(m *Member, seq uint64)) RoomOption {
	return roomOption(func(c *roomConfig) { c.hooks.onJoined = fn })
}

// OnMessage sets the hook that decides what becomes of a member's message.
//
// It is called for each message, in the order in which m sent them; on its
// connection's goroutine; one at a time for a member, overlapping for different ones.
// In a room with a log only the process to which m is connected calls it, before the
// message goes into the log: one that has to see all messages joins by [Room.Join].
// It may block, which holds up reading from m alone. It may call anything but
// Shutdown of the room. What it returns is posted as m; nil drops the message. If it
// wants to post more, it calls [Member.Post], whose events come before.
//
// body is valid until it returns and may be written to, and may be returned, in part
// too. In race builds, and under package roomtest, the bytes that were read are
// overwritten afterwards, so that keeping them shows. What it returns may be written
// to again when the hook is called again for m. An error ends m with a [*HookError]
// that wraps it. In a room with a log one of the log, with which a call of the hook's failed,
// is not its fault: it ends the connection with [ErrUnavailable], and a client comes back.
func OnMessage(fn func(m *Member, body []byte) (post []byte, err error)) RoomOption {
	return roomOption(func(c *roomConfig) { c.hooks.onMessage = fn })
}

// OnLeave sets the hook that is called for each leave, with its cause.
//
// It is called exactly once for each member that [OnJoin] let in, or would have
// if that is not set, after the last OnMessage for it returned and its leave
// was ordered; while the room stops no leaves are ordered, and there is none
// for a member whose join failed after OnJoin. It is called on a goroutine of the
// member's; calls for different members overlap. If another hook of the member is
// running when [Room.Close] is called, it may begin after Close has returned. It may
// block, which holds up the release of that member alone. It may call anything but
// Shutdown of the room.
func OnLeave(fn func(m *Member, cause error)) RoomOption {
	return roomOption(func(c *roomConfig) { c.hooks.onLeave = fn })
}

// OnReject sets the hook that is called for each connection that did not join,
// with the cause.
//
// It is called once for each, on a goroutine of its own, and calls overlap. Hello of n
// is what it claimed, if it came to that; Send and Receive of n fail. It may
// block: only when 64 calls are running for connections that found no slot
// ([WithMaxPending], [WithMaxPerAddress]) do their Serve and Admit wait until one
// returns. It is not called for connections that come when the room has begun to
// stop. It may call anything but Shutdown of the room.
func OnReject(fn func(n *Newcomer, cause error)) RoomOption {
	return roomOption(func(c *roomConfig) { c.hooks.onReject = fn })
}

// Options of a dialling end.

// WithName sets the name that a hello asks for; a codec without one ([Text],
// [Raw]) is [ErrOption]. The default, and the empty name, lets the room choose.
func WithName(name string) DialOption { return dialOption(func(c *dialConfig) { c.name = name }) }

// WithAuth puts a password or token into the hello, for the room's [WithHandshake]
// hook; the connection should be encrypted. A codec without a hello ([Text], [Raw]) is
// [ErrOption]. The default is nothing.
func WithAuth(s Secret) DialOption { return dialOption(func(c *dialConfig) { c.auth = s }) }

// WithResume continues the stream of an earlier connection, see [WithSessions]. The
// [Welcome] has the outcome. A codec without numbers ([Text], [Raw]) is [ErrOption].
func WithResume(r Resume) DialOption { return dialOption(func(c *dialConfig) { c.resume = &r }) }

// WithReplay asks for at most n messages of the room's history, see [WithHistory]. A
// codec without a hello ([Text], [Raw]) is [ErrOption], but for [Room.Join]. Zero, the
// default, asks for all, and a negative n for none.
func WithReplay(n int) DialOption { return dialOption(func(c *dialConfig) { c.replay = n }) }

// WithDialer sets how [Dial] makes its connection; network is "tcp". The
// default, and nil, is a zero [net.Dialer].
func WithDialer(dial func(ctx context.Context, network, addr string) (net.Conn, error)) DialOption {
	return dialOption(func(c *dialConfig) { c.dial = dial })
}

// OnEvent sets the hook that gets each event of a dialling end: a loop over
// Events, which [Dial], [NewConn], [Room.Join] or [NewClient] runs. Receive and
// Events return an error that wraps [errors.ErrUnsupported] then.
//
// It is called in order, one call at a time, on a goroutine that ends when the
// stream has ended and its last event was handed over; Err tells why. It may
// block, which stops reading: the room then treats this end as a slow
// member. It may call anything; Close does not wait for the hook that calls
// it. The event is the hook's to keep. A panic in it ends the connection, or the
// client, with a [*HookError].
func OnEvent(fn func(ev Event)) DialOption {
	return dialOption(func(c *dialConfig) { c.onEvent = fn })
}

// Options of a client.

// Addresses gives a [Client] addresses beside that of [NewClient]: those of other
// processes that have the same room, as by one log ([WithLog]), at all of which it is the
// same member; or of proxies before one process. Given addresses of different rooms it
// joins anew in each.
//
// The client dials that of NewClient first, and then one after the other in turn: the
// next one if one cannot be reached, refuses the client or ends the connection. It does
// not go back to the first because that is there again. Only what is final
// ([EndError].Final) ends the client, whichever process says it: a kick, or a failed
// authentication. What is wrong with one address alone, such as a certificate that is not
// trusted, ends it only when it is so of all.
//
// Within a round over all addresses nothing waits, so that one that is dead costs no more
// than the attempt to dial it, for which each has its share of the 30 seconds, but 2 at
// least. What [WithBackoff] says is waited before each round: when all have failed, and
// when a connection is lost, with which a round begins. A process that restarts
// ([ErrRestarting]) is left at once. [EndError].RetryAfter counts for coming back to the
// address that said it: this is left out for so long, and the others are not.
//
// Clients with one list are all at its first address. To spread them, shuffle the list
// once in each ([math/rand/v2.Shuffle]).
//
// An address that is given twice, here or to NewClient, is one. An empty one is
// [ErrOption]. The default is none, and a later Addresses replaces an earlier one. It is
// for [NewClient]; Dial, NewConn and Join fail with [ErrOption].
func Addresses(addrs ...string) DialOption {
	addrs = slices.Clone(addrs)
	return dialOption(func(c *dialConfig) { c.addrs, c.forClient = addrs, "Addresses" })
}

// WithBackoff says how long a [Client] waits before it dials again: a random time
// below a ceiling, so that the clients of one room do not come back together. The
// ceiling is first, and doubles with each attempt until it is most. A connection that
// lasted for 10 seconds from its [Welcome] on makes it first again. If the room says
// how long to wait ([EndError].RetryAfter), that is added, and the ceiling is at least
// as long as that, as far as most allows. With [Addresses] an attempt is a round over all
// of them, and RetryAfter counts for one.
//
// To resume, a client must be back within the room's [Sessions].Grace.
//
// Zero and negative values mean the defaults, which are 100 ms and 30 seconds. A most
// below first means first. It is for [NewClient]; Dial, NewConn and Join fail with
// [ErrOption].
func WithBackoff(first, most time.Duration) DialOption {
	return dialOption(func(c *dialConfig) {
		c.backoff, c.forClient = backoff{first: first, most: most}, "WithBackoff"
	})
}

// WithOffline sets how many bytes of messages Send of a [Client] keeps while there is
// no connection, and sends in order when there is one. All that is not acknowledged is
// counted, each message as its body and 128 bytes; what does not fit fails with
// [ErrOffline]. With zero nothing is kept: Send fails at once with [ErrOffline]. With a
// negative number, which is the default, Send waits for a connection. It is for
// [NewClient]; Dial, NewConn and Join fail with [ErrOption].
func WithOffline(bytes int) DialOption {
	return dialOption(func(c *dialConfig) { c.offline, c.forClient = bytes, "WithOffline" })
}
