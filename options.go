package tcproom

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"net"
	"time"

	"example.com/tcproom/internal/probe"
)

// A RoomOption configures a [Room]; [New] accepts it. The constructors of
// options only record what they are given; a later option of the same kind
// replaces an earlier one.
type RoomOption interface{ applyRoom(*roomConfig) }

// A ConnOption configures the room's end of connections. [Room.Serve] and
// [Room.ServeConn] accept it for theirs, [New] as the default of all.
type ConnOption interface {
	RoomOption
	applyConn(*connConfig)
}

// A DialOption configures a dialling end; [Dial], [NewConn] and [Room.Join]
// accept it, and [NewClient] for its connections.
type DialOption interface {
	ClientOption
	applyDial(*dialConfig)
}

// A ClientOption configures a [Client]; [NewClient] accepts it.
type ClientOption interface{ applyClient(*clientConfig) }

// An Option configures a connection at either end and is accepted everywhere.
type Option interface {
	ConnOption
	DialOption
}

// SlowPolicy says what happens to a member that stops reading and lags
// further behind than the backlog allows.
type SlowPolicy uint8

const (
	// Disconnect ends the member with [ErrSlow]. It is the default, and what
	// Skip means for a member whose codec cannot say a [Gap].
	Disconnect SlowPolicy = iota
	// Skip lets the member continue at the newest event, after a [Gap] that
	// names what it missed.
	Skip
	// Block holds messages back, before they are ordered, until the member
	// has read, for at most [WithMaxWait]; then those furthest behind end as
	// with Disconnect. Joins and leaves are never held back for it, and
	// have an eighth of the backlog for themselves.
	Block
)

// String returns the name of the constant, "Disconnect" for [Disconnect].
func (p SlowPolicy) String() string {
	switch p {
	case Skip:
		return "Skip"
	case Block:
		return "Block"
	}
	return "Disconnect"
}

// Identity is what a Handshake hook makes of a connection.
type Identity struct {
	// Name is the member's name; empty: the one that its hello asks for, or
	// guest-N. It must pass the room's validator and uniqueness like any other.
	Name string
	// Context, if not nil, lends its values, and nothing else, to
	// [Conn.Context] of the member.
	Context context.Context
}

// The defaults of options, as the documentation of each option states them.
const (
	defaultMaxMessage       = 64 << 10
	defaultHandshakeTimeout = 10 * time.Second
	defaultWriteTimeout     = 30 * time.Second
	defaultBacklog          = 4 << 20
	defaultMaxWait          = 5 * time.Second
	defaultMaxPending       = 256
)

// limits is what both ends of a connection can be configured with.
type limits struct {
	framing          Framing
	framingID        *byte // of the option that set it
	codec            Codec
	codecID          *byte
	maxMessage       int
	handshakeTimeout time.Duration
	writeTimeout     time.Duration
	idleTimeout      time.Duration
	heartbeat        time.Duration
	logger           *slog.Logger
	tls              *tls.Config
	readBuffer       int
	writeBuffer      int
}

// connConfig is the room's end of one listener's connections.
type connConfig struct {
	limits
	echo      bool
	allowHTTP bool
	handshake func(context.Context, *Conn) (Identity, error)
	rate      func(*Conn) Limiter
}

type roomConfig struct {
	conn          connConfig
	backlog       int
	slow          SlowPolicy
	maxWait       time.Duration
	maxMembers    int
	maxPending    int
	maxPerAddress int
	validName     func(string) error
	unique        bool
	notices       bool
	onJoin        func(*Conn) error
	onMessage     func(*Conn, []byte) error
	onLeave       func(*Conn, error)
	onReject      func(net.Addr, error)
	history       *History
	sessions      *Sessions
	probe         probe.Probe // of package roomtest
}

type dialConfig struct {
	limits
	name    string
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	onEvent func(*Conn, Event)
	auth    Secret
	resume  *Resume
	replay  int
	probe   probe.Probe // of package roomtest
}

type clientConfig struct {
	dial    []DialOption
	conn    dialConfig // what they come to
	backoff Backoff
	offline OfflinePolicy
}

func newRoomConfig(opts []RoomOption) roomConfig {
	cfg := roomConfig{notices: true}
	for _, o := range opts {
		if o != nil {
			o.applyRoom(&cfg)
		}
	}
	cfg.conn.limits.setDefaults()
	setDefault(&cfg.backlog, defaultBacklog)
	setDefault(&cfg.maxWait, defaultMaxWait)
	setDefault(&cfg.maxPending, defaultMaxPending)
	cfg.maxMembers = max(cfg.maxMembers, 0)
	cfg.maxPerAddress = max(cfg.maxPerAddress, 0)
	if cfg.sessions != nil {
		s := *cfg.sessions
		setDefault(&s.Grace, defaultGrace)
		setDefault(&s.Detached, defaultDetached)
		cfg.sessions = &s
	}
	return cfg
}

// with returns a copy of c, the room's default, changed by opts.
func (c connConfig) with(opts []ConnOption) connConfig {
	for _, o := range opts {
		if o != nil {
			o.applyConn(&c)
		}
	}
	c.limits.setDefaults()
	return c
}

func newDialConfig(opts []DialOption) dialConfig {
	var cfg dialConfig
	for _, o := range opts {
		if o != nil {
			o.applyDial(&cfg)
		}
	}
	cfg.limits.setDefaults()
	if cfg.dial == nil {
		cfg.dial = new(net.Dialer).DialContext
	}
	return cfg
}

func newClientConfig(opts []ClientOption) clientConfig {
	var cfg clientConfig
	for _, o := range opts {
		if o != nil {
			o.applyClient(&cfg)
		}
	}
	cfg.conn = newDialConfig(cfg.dial)
	cfg.backoff.setDefaults()
	return cfg
}

// speakLike makes l speak as other does.
func (l *limits) speakLike(other *limits) {
	l.framing, l.framingID = other.framing, other.framingID
	l.codec, l.codecID = other.codec, other.codecID
}

func (l *limits) setDefaults() {
	if l.framing == nil {
		l.framing = Lines{}
	}
	if l.codec == nil {
		l.codec = Text{}
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&l.maxMessage, defaultMaxMessage)
	l.maxMessage = min(l.maxMessage, maxMaxMessage)
	setDefault(&l.handshakeTimeout, defaultHandshakeTimeout)
	setDefault(&l.writeTimeout, defaultWriteTimeout)
	l.idleTimeout = max(l.idleTimeout, 0)
	l.heartbeat = min(max(l.heartbeat, 0), maxHeartbeat)
}

// maxMaxMessage keeps frames, which codecs make larger than bodies, far from
// where 32-bit sizes overflow.
const maxMaxMessage = 64 << 20

// maxHeartbeat keeps what is computed of a period within a Duration.
const maxHeartbeat = math.MaxInt64 / 8

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

type roomOption func(*roomConfig)

func (o roomOption) applyRoom(c *roomConfig) { o(c) }

type connOption func(*connConfig)

func (o connOption) applyRoom(c *roomConfig) { o(&c.conn) }
func (o connOption) applyConn(c *connConfig) { o(c) }

type dialOption func(*dialConfig)

func (o dialOption) applyDial(c *dialConfig)     { o(c) }
func (o dialOption) applyClient(c *clientConfig) { c.dial = append(c.dial, o) }

type clientOption func(*clientConfig)

func (o clientOption) applyClient(c *clientConfig) { o(c) }

type option func(*limits)

func (o option) applyRoom(c *roomConfig) { o(&c.conn.limits) }
func (o option) applyConn(c *connConfig) { o(&c.limits) }
func (o option) applyDial(c *dialConfig) { o(&c.limits) }

func (o option) applyClient(c *clientConfig) { c.dial = append(c.dial, o) }

// Options that are accepted everywhere.

// WithFraming sets how messages are told apart on the wire. Both ends must
// agree. The default, and nil, is [Lines].
func WithFraming(f Framing) Option {
	id := new(byte)
	return option(func(l *limits) { l.framing, l.framingID = f, id })
}

// WithCodec sets what is written inside a frame. Both ends must agree. The
// default, and nil, is [Text].
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

// WithHandshakeTimeout bounds what a conn may take, from its accept on, before
// its name is known: TLS, hello and the [Handshake] hook together. At the
// dialling end it bounds, from the moment that the transport is connected, TLS
// and the wait for the welcome, beside the context; for a conn of [NewConn], TLS
// alone. The default, and zero and negative values, is 10 seconds.
func WithHandshakeTimeout(d time.Duration) Option {
	return option(func(l *limits) { l.handshakeTimeout = d })
}

// WithWriteTimeout ends a conn with [ErrWriteTimeout] whose kernel took no
// byte for d while bytes waited. Where the transport cannot tell (TLS, pipes,
// anything but TCP and unix sockets on unix) it must take each piece, of at most
// 16 KiB or one frame, at a dialling end of at most 64 KiB or one message, within
// d. The default, and zero and negative values, is 30 seconds.
func WithWriteTimeout(d time.Duration) Option { return option(func(l *limits) { l.writeTimeout = d }) }

// WithIdleTimeout ends a conn with [ErrIdleTimeout] from which no byte came
// for d. The clock runs only while this end waits for bytes: not while a hook, a
// limiter or the room holds its reader back, and at a dialling end not while
// nobody calls Receive. Whoever only reads is idle by this measure, so it is off
// by default; zero and negative values mean off.
func WithIdleTimeout(d time.Duration) Option { return option(func(l *limits) { l.idleTimeout = d }) }

// WithHeartbeat makes this end say ping when no byte came for d, and end the
// conn with [ErrIdleTimeout] when none came for as long again; d is made up to 20 %
// longer or shorter each time. The clock is that of [WithIdleTimeout], and a ping
// takes its place behind what was sent before. It needs a codec that is a [Pinger].
//
// A room does so to members that ask for it in their hello, as a dialling end
// with this option does. Both ends answer pings whether or not they have the
// option, a dialling end while it reads and a room when it has dealt with what it
// read before: where a limiter, a hook or Block may hold a member back for long, the
// dialling end's d should be longer. Zero and negative values, and the
// default, mean off.
func WithHeartbeat(d time.Duration) Option { return option(func(l *limits) { l.heartbeat = d }) }

// WithLogger sets where connections that end badly are logged, with what a
// peer sent in attributes only. After ten records of one kind, such as members
// that leave for one cause, a room logs one a second, with the number of those
// in between as "unlogged". A hook that runs for more than a second is named while
// it runs; a [Handshake] hook, when it is a second past its deadline. The default, and nil, is silence.
func WithLogger(l *slog.Logger) Option { return option(func(c *limits) { c.logger = l }) }

// WithTLS makes connections speak TLS: as a server at the room's end, as a
// client at the dialling end, where an empty ServerName is taken from the
// address. The config is used as it is, with Go's defaults where it says nothing,
// and must not change afterwards. A conn that is a [*tls.Conn] already, or embeds
// one, is not wrapped again. See [Conn.TLS] for client certificates. The default,
// and nil, is no TLS.
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

// WithHTTPRefused says whether a peer is refused, with [ErrWrongDoor], whose first
// bytes are those of a request in HTTP, where the codec has no hello. Otherwise any web
// page can have a browser send messages to the room, and with them the cookies that the
// browser has for that host. Over [Lines] and [Delimiter] it is a first line such as
// "GET / HTTP/1.1"; over other framings a method of HTTP, a space and '/', '*' or 'h', as
// they stand on the wire: bytes that begin so are held back until it is clear. False
// lets HTTP in. The default is true.
func WithHTTPRefused(on bool) ConnOption {
	return connOption(func(c *connConfig) { c.allowHTTP = !on })
}

// Handshake sets the hook that talks with, authenticates and names a conn
// before it joins.
//
// It is called after TLS and, with a codec that is a [Greeter], after the
// peer's hello, whose wish [Conn.Name] returns; once for each conn, on that
// conn's goroutine; calls for different conns overlap. It may block, which
// holds up that conn alone, until [WithHandshakeTimeout] ends ctx. It may call
// Receive and Send of the conn, within 4 KiB each way, and anything else but
// Shutdown of the room. What it returns is the identity: nothing else that the
// peer claimed counts. An error refuses the conn, with the error's text told
// to the peer and [OnReject] called with it.
func Handshake(fn func(ctx context.Context, c *Conn) (Identity, error)) ConnOption {
	return connOption(func(c *connConfig) { c.handshake = fn })
}

// WithRate bounds how fast members send, in bytes: fn returns the limiter of
// c, or nil for none.
//
//	tcproom.WithRate(func(*tcproom.Conn) tcproom.Limiter {
//		return rate.NewLimiter(64<<10, 512<<10) // of golang.org/x/time/rate
//	})
//
// Each frame of a member, whatever it says, costs its bytes on the wire and
// [FrameCharge] more. The room waits for the limiter before it parses the frame,
// and reads nothing from that member meanwhile, so that TCP holds the sender
// back; the wait ends at once when the conn does. When the limiter returns an
// error, the member ends with [ErrRateLimited]; golang.org/x/time/rate does so for a
// frame that costs more than its burst, so the burst must be above what
// [WithMaxMessage] makes of a frame. What is said before the join costs nothing.
//
// fn is called once for each conn, when its name is known and before [OnJoin]; on
// that conn's goroutine; calls for different conns overlap. It may return one
// limiter for several conns, such as those of one identity or address, which then
// outlives them. It may block, and call anything but Shutdown of the room. A
// panic in it, or in the limiter, ends that conn with a [*HookError]. The default,
// and nil, is no limit.
func WithRate(fn func(c *Conn) Limiter) ConnOption {
	return connOption(func(c *connConfig) { c.rate = fn })
}

// Options of a room.

// A probeOption is what package roomtest puts into both ends.
type probeOption struct{ probe.Probe }

func (o probeOption) applyRoom(c *roomConfig) { c.probe = o.Probe }
func (o probeOption) applyDial(c *dialConfig) { c.probe = o.Probe }

func (o probeOption) applyClient(c *clientConfig) { c.dial = append(c.dial, o) }
func init() {
	probe.Option = func(p probe.Probe) any { return probeOption{p} }
	probe.Queued = func(c any) int64 { return c.(*Conn).sink.Queued() }
	probe.Closing = func(c any) bool { return c.(*Conn).dial.closing.Load() }
	probe.Tell = func(ctx context.Context, c any, body []byte) error { return c.(*Conn).send(ctx, body) }
}

// WithBacklog sets how many bytes of the room's encoded events are kept for
// members who lag, for each pair of framing and codec in use. A member that
// lags further is slow, see [WithSlowMembers]. An event is charged its bytes
// and 16 more. The default, and zero and negative values, is 4 MiB; less than
// four of the largest frames means four of the largest frames.
func WithBacklog(bytes int) RoomOption { return roomOption(func(c *roomConfig) { c.backlog = bytes }) }

// WithHistory gives those who join the last messages, those of the room itself
// included, before their live stream: after the [Welcome], where their codec has one, and
// marked as history ([Event].History). The room keeps them once, whatever its
// members speak, and encodes them once for all who join with one framing and
// codec. [JSON] and [Text] say them, [Raw] does not. The default is no history.
func WithHistory(h History) RoomOption { return roomOption(func(c *roomConfig) { c.history = &h }) }

// WithSessions lets members resume whose codec is a [Resumer], as [JSON] is. A
// member that vanished, because its connection ended and it did not say goodbye,
// stays a member for a while: it is detached. It is in [Room.Len] and [Room.Members] and
// counts against all limits, [Conn.Send] to it fails with [ErrDetached], and its
// leave is ordered, and [OnLeave] called, only when its grace is over. A hello
// with the token of its [Welcome] continues its stream: what it missed, own
// messages aside, comes first, or a [Gap] that says what the room does not have
// any more. Direct messages are not among it. Nobody else is told, neither OnJoin nor
// OnLeave is called, and [Room.Member] is a new [Conn] with the same ID: hooks
// that keep something for a member keep it by ID. Where the old connection is still open it ends
// with [ErrTakenOver]. A token is all that is asked for, but a [Handshake] hook
// that returns another name than the member's refuses it.
//
// Members may number their messages: one whose number is not above that of the
// last is not ordered again, and each is answered with an [Ack].
//
// The room keeps its last events for that, once and once encoded for each pair
// of framing and codec in which somebody resumed. The default is no sessions.
func WithSessions(s Sessions) RoomOption { return roomOption(func(c *roomConfig) { c.sessions = &s }) }

// WithSlowMembers sets the policy for members that lag behind more than the
// backlog. The default is [Disconnect]; other values than the three mean that too.
func WithSlowMembers(p SlowPolicy) RoomOption { return roomOption(func(c *roomConfig) { c.slow = p }) }

// WithMaxWait bounds how long [Block] holds messages back. The default, and
// zero and negative values, is 5 seconds.
func WithMaxWait(d time.Duration) RoomOption {
	return roomOption(func(c *roomConfig) { c.maxWait = d })
}

// WithMaxMembers bounds the number of members; others are refused with
// [ErrRoomFull]. Zero and negative values, and the default, mean no bound.
func WithMaxMembers(n int) RoomOption { return roomOption(func(c *roomConfig) { c.maxMembers = n }) }

// WithMaxPending bounds the number of connections that have not joined yet;
// others are closed at once. The default, and zero and negative values, is 256.
func WithMaxPending(n int) RoomOption { return roomOption(func(c *roomConfig) { c.maxPending = n }) }

// WithMaxPerAddress bounds the number of connections, members and those that
// have not joined yet, from one IPv4 address or one /64 network of IPv6
// addresses; an IPv4 address mapped into IPv6 counts as IPv4. Others are closed at
// once, with [ErrTooManyFromAddress] for [OnReject] and without a word, which
// would need a slot that [WithMaxPending] keeps for all addresses. A connection
// counts, before anything is read from it, until it is closed; one without an IP
// address does not. Where many people share an address (NAT, proxies), they share
// the bound. Zero and negative values, and the default, mean no bound.
//
// With [WithSessions] a member counts until it leaves, detached or not. Conns that
// may resume are bounded when their hello was read, for one that does takes the place of its
// member's last; until then as many again may wait as n says. Those above are told.
func WithMaxPerAddress(n int) RoomOption {
	return roomOption(func(c *roomConfig) { c.maxPerAddress = n })
}

// WithNameValidator sets the check of members' names. It is called before a
// conn joins, from many goroutines at once; an error refuses the conn with
// [ErrNameInvalid]. Whatever it allows, a name is never empty nor "*", at most
// 256 bytes of valid UTF-8, and holds no space, colon or control character.
// The default, and nil, is [ValidName].
func WithNameValidator(fn func(name string) error) RoomOption {
	return roomOption(func(c *roomConfig) { c.validName = fn })
}

// WithUniqueNames refuses a name that a member bears with [ErrNameTaken]. The
// name is free again when that member's leave is ordered. The default is false.
func WithUniqueNames(on bool) RoomOption { return roomOption(func(c *roomConfig) { c.unique = on }) }

// WithNotices says whether joins and leaves are events that members are told.
// Without them they take no place in the order. The default is true.
func WithNotices(on bool) RoomOption { return roomOption(func(c *roomConfig) { c.notices = on }) }

// OnJoin sets the hook that may refuse a conn at the last moment.
//
// It is called when the conn has its name and ID, before its join is ordered;
// on that conn's goroutine; calls for different conns overlap. It may block,
// which holds up that conn alone. It may call anything but Shutdown of the
// room; the conn is not a member yet, so that Post and Kick refuse it, and
// what is sent to it arrives before its welcome. An error refuses the conn,
// with the error's text told to the peer and [OnReject] called with it. For
// each call that returns nil, [OnLeave] is called exactly once.
func OnJoin(fn func(c *Conn) error) RoomOption {
	return roomOption(func(c *roomConfig) { c.onJoin = fn })
}

// OnMessage sets the hook that replaces what happens with a message, which is
// room.Post(c.Context(), c, body).
//
// It is called for each message, in the order in which c sent them, on that
// conn's goroutine: one at a time for a conn, overlapping for different ones.
// It may block, which holds up reading from c alone. It may call anything but
// Shutdown of the room. What it posts is ordered where it calls Post: without
// a call the message is dropped, with other bytes it is changed. body is valid
// until it returns and may be written to; in race builds, and under package
// roomtest, what was read is overwritten then, so that keeping it shows. An error
// ends the conn with a [*HookError] that wraps it.
func OnMessage(fn func(c *Conn, body []byte) error) RoomOption {
	return roomOption(func(c *roomConfig) { c.onMessage = fn })
}

// OnLeave sets the hook that hears of each end, with its cause.
//
// It is called exactly once for each conn that [OnJoin] let in, or would have
// where that is not set, after the last OnMessage for it returned and its leave
// was ordered; while the room stops no leaves are ordered, and there is none
// for a conn whose join failed after OnJoin. It is called on that conn's
// goroutine; calls for different conns overlap. If another hook of the conn is
// running when [Room.Close] is called, it may begin after Close has returned. It
// may block, which holds up the release of that conn alone. It may call anything
// but Shutdown of the room; the conn is not a member any more.
func OnLeave(fn func(c *Conn, cause error)) RoomOption {
	return roomOption(func(c *roomConfig) { c.onLeave = fn })
}

// OnReject sets the hook that hears of connections that did not join, with
// the cause.
//
// It is called once for each, on a goroutine of its own, and calls overlap. It may
// block: only when 64 calls are running for connections that found no slot
// ([WithMaxPending], [WithMaxPerAddress]) does their Serve accept no more until one
// returns. It does not hear of connections that come when the room has begun to
// stop. It may call anything but Shutdown of the room.
func OnReject(fn func(addr net.Addr, cause error)) RoomOption {
	return roomOption(func(c *roomConfig) { c.onReject = fn })
}

// Options of a dialling end.

// WithName sets the name that a hello asks for. Codecs without a hello ([Text],
// [Raw]) do not send it. The default, and the empty name, lets the room choose.
func WithName(name string) DialOption { return dialOption(func(c *dialConfig) { c.name = name }) }

// WithAuth has the hello say s, for the room's [Handshake] hook: a password or
// token, which the connection should be encrypted for. The default is nothing.
func WithAuth(s Secret) DialOption { return dialOption(func(c *dialConfig) { c.auth = s }) }

// WithResume has the hello continue the stream of an earlier connection, see
// [WithSessions]. The [Welcome] says with what outcome.
func WithResume(r Resume) DialOption { return dialOption(func(c *dialConfig) { c.resume = &r }) }

// WithReplay asks for at most n messages of the room's history, see
// [WithHistory]. A hello says so, and [Room.Join] does; members with other codecs
// get all of it. Zero, the default, asks for all, and a negative n for none.
func WithReplay(n int) DialOption { return dialOption(func(c *dialConfig) { c.replay = n }) }

// WithDialer sets how [Dial] makes its connection; network is "tcp". The
// default, and nil, is a zero [net.Dialer].
func WithDialer(dial func(ctx context.Context, network, addr string) (net.Conn, error)) DialOption {
	return dialOption(func(c *dialConfig) { c.dial = dial })
}

// OnEvent sets the hook that hears each event of a dialling end. With it the
// conn reads by itself, and Receive and Events return [ErrReceive].
//
// It is called in order, one call at a time for a conn, on a goroutine of the
// conn's that ends when the conn has ended and the last event was handed over.
// It may block, which stops reading: the room then treats this end as a slow
// member. It may call anything; Close does not wait for the hook that calls
// it. The event is the hook's to keep. A panic in it ends the conn with a [*HookError].
func OnEvent(fn func(c *Conn, ev Event)) DialOption {
	return dialOption(func(c *dialConfig) { c.onEvent = fn })
}

// Options of a client.

// WithBackoff says how long a [Client] waits before it dials again. The
// default, and the zero Backoff, has ceilings from 100 ms to 30 seconds.
func WithBackoff(b Backoff) ClientOption {
	return clientOption(func(c *clientConfig) { c.backoff = b })
}

// An OfflinePolicy says what Send of a [Client] does while there is no connection.
type OfflinePolicy int

const (
	// OfflineWait waits for one. It is the default.
	OfflineWait OfflinePolicy = 0
	// OfflineFail fails with [ErrOffline]. Other negative values mean that too.
	OfflineFail OfflinePolicy = -1
)

// OfflineBuffer takes messages, which are sent in order when there is a
// connection, as long as all that is not acknowledged is at most so many bytes, each message being
// charged its body and 128 bytes; then it fails with [ErrOffline]. Zero and
// negative values mean 1 MiB.
func OfflineBuffer(bytes int) OfflinePolicy {
	setDefault(&bytes, maxOutbox)
	return OfflinePolicy(bytes)
}

// WithOffline says what Send of a [Client] does while there is no connection.
// The default is [OfflineWait].
func WithOffline(p OfflinePolicy) ClientOption {
	return clientOption(func(c *clientConfig) { c.offline = p })
}
