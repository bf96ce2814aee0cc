package tcproom

import (
	"context"
	"time"
)

// A HubOption configures a [Hub]; [NewHub] accepts it. Every [RoomOption] is one, and
// so is every [ConnOption]: they hold for all rooms and connections of the hub.
//
// What concerns connections and not rooms is done once for each: [WithHandshake],
// [WithSessions], [WithMaxPending], [WithMaxPerAddress], [WithRate], [WithNameValidator]
// and [OnReject]. Names are unique in the whole hub with [WithUniqueNames]. The other
// options and hooks are those of each room by itself.
type HubOption interface{ applyHub(*hubConfig) }

type hubConfig struct {
	template     []RoomOption
	defaultRoom  string
	fixed        []fixedRoom
	roomOptions  func(name string) []RoomOption
	open         bool
	backplane    Backplane // nil: none
	maxRooms     int
	maxPerConn   int
	names        func(name string) error
	ownNames     bool // WithRoomNames has set that
	linger       time.Duration
	onEnter      func(ctx context.Context, m *Member, room string) error
	onRequest    func(m *Member, req *Request) error
	onRoom       func(r *Room, made bool)
	onConnect    func(m *Member) error
	onDisconnect func(m *Member, cause error)
}

// A fixedRoom is one of WithRoom.
type fixedRoom struct {
	name string
	opts []RoomOption
}

const (
	defaultRoomName   = "lobby"
	defaultMaxRooms   = 10_000
	defaultMaxPerConn = 100
	defaultLinger     = time.Minute
)

type hubOption func(*hubConfig)

func (o hubOption) applyHub(c *hubConfig) { o(c) }

// Hidden leaves a room out of the list of rooms that members ask for, and only its own
// members are told who is in it. It keeps nobody out: [OnEnter] does. In a room of [New]
// it has no effect.
func Hidden() RoomOption { return roomOption(func(c *roomConfig) { c.hidden = true }) }

// WithDefaultRoom sets the room of connections that name none. The default is "lobby";
// with the empty name such connections are refused with [ErrNoRoom].
func WithDefaultRoom(name string) HubOption {
	return hubOption(func(c *hubConfig) { c.defaultRoom = name })
}

// WithRoom makes a room with the hub, which is not removed when it is empty. Its
// options come after those of the hub. With a name that was given before, the options
// add up.
func WithRoom(name string, opts ...RoomOption) HubOption {
	return hubOption(func(c *hubConfig) { c.fixed = append(c.fixed, fixedRoom{name, opts}) })
}

// WithRoomOptions sets the function that returns the options of a room which is made
// because somebody enters it, or [Hub.Room] is called; they come after those of the hub.
// nil says that there shall be no such room: [ErrNoRoom]. An empty slice that is not nil
// is no options. It is called with nothing locked, from many goroutines at once, and may
// block, which holds up the connection that enters. The default, and nil, is no options.
func WithRoomOptions(fn func(name string) []RoomOption) HubOption {
	return hubOption(func(c *hubConfig) { c.roomOptions = fn })
}

// WithOpenRooms sets whether rooms are made when somebody enters them. With false only
// [WithRoom] and [Hub.Room] make rooms, and others are [ErrNoRoom]. The default is true.
func WithOpenRooms(on bool) HubOption { return hubOption(func(c *hubConfig) { c.open = on }) }

// WithMaxRooms bounds the number of rooms; entering a further one is [ErrTooManyRooms].
// The default, and zero and negative values, is 10,000. If there are so many, one more
// takes the place of that which has been empty for longest, whatever [WithRoomLinger]
// says, but not of one that [WithRoom] or [Hub.Room] made. With [WithBackplane] it bounds
// the rooms that are open in this process.
func WithMaxRooms(n int) HubOption { return hubOption(func(c *hubConfig) { c.maxRooms = n }) }

// WithMaxRoomsPerConn bounds in how many rooms a connection can be at once; a further
// one is [ErrTooManyRooms]. The default, and zero and negative values, is 100.
func WithMaxRoomsPerConn(n int) HubOption {
	return hubOption(func(c *hubConfig) { c.maxPerConn = n })
}

// WithRoomNames sets the check of names of rooms that somebody enters, or that
// [Hub.Room] makes. It is called with nothing locked, from many goroutines at once; an
// error is [ErrRoomName]. Whatever it allows, a name is never empty, at most 64 bytes of
// UTF-8, and holds no space, no control character and none of ": , / * #". The default,
// and nil, is [ValidRoom].
func WithRoomNames(fn func(name string) error) HubOption {
	return hubOption(func(c *hubConfig) { c.names = fn })
}

// WithRoomLinger sets how long a room that is empty stays, unless [WithRoom] made it.
// What it keeps of its past goes with it: the next room of that name begins a stream of
// its own. The default, and zero, is a minute; with negative values it goes at once.
func WithRoomLinger(d time.Duration) HubOption {
	return hubOption(func(c *hubConfig) { c.linger = d })
}

// InRoom sets the room of a listener's connections that name none, in place of that of
// [WithDefaultRoom]. In a room of [New] it has no effect.
func InRoom(name string) ConnOption {
	return connOption(func(c *connConfig) { c.inRoom = name })
}

// OnEnter sets the hook that decides whether a connection may enter a room.
//
// It is called when a connection asks to enter or move to a room, or names it in its
// hello, and for the room of those that name none; before the room is made, on the
// connection's goroutine; calls for different connections overlap. m is the member of
// [Hub.All]. It may block, which holds up that connection alone, until
// [WithHandshakeTimeout] ends ctx. It may call anything but Shutdown. An error refuses
// the room, and not the connection unless that names no rooms: a plain error means
// [ErrDenied], a [*RefusedError] what it says. It is not called for [Hub.Enter] and
// [Hub.Move]. The default, and nil, lets everybody in.
func OnEnter(fn func(ctx context.Context, m *Member, room string) error) HubOption {
	return hubOption(func(c *hubConfig) { c.onEnter = fn })
}

// OnRequest sets the hook that is called for what a connection asks of the hub, other
// than messages, before it is done: entering, leaving, lists, direct messages and so on.
//
// It is called on the connection's goroutine; calls for different connections overlap.
// m is the member of [Hub.All]. req is valid until it returns. An error refuses the
// request as one of [OnEnter] does. A command that is not the codec's own is a
// [ReqOther], which the hook does and answers itself, with [Member.Send]; without the
// hook it is refused, and a hook for other purposes should refuse it too. If names are
// given by the program, as by [WithHandshake], it should refuse a [ReqRename]. It may
// block, which holds up that connection alone, and call anything but Shutdown. The
// default, and nil, lets everything else pass.
func OnRequest(fn func(m *Member, req *Request) error) HubOption {
	return hubOption(func(c *hubConfig) { c.onRequest = fn })
}

// OnRoom sets the hook that is called when a room was made, with true, and when it was
// removed, with false; one call at a time for a room. It is called with nothing locked,
// before anybody is in the room, or when nobody is any more. It may block, which holds up
// the connections that enter the room, or the removal. It may call anything but Shutdown
// and, for a room that was made, what waits for that: [Hub.Room] of its name, and Enter
// and Move to it.
func OnRoom(fn func(r *Room, made bool)) HubOption {
	return hubOption(func(c *hubConfig) { c.onRoom = fn })
}

// OnConnect sets the hook that may refuse a connection at the last moment, before it
// enters a room. For connections it is what [OnJoin] is for members of a room: m is the
// member of [Hub.All].
func OnConnect(fn func(m *Member) error) HubOption {
	return hubOption(func(c *hubConfig) { c.onConnect = fn })
}

// OnDisconnect sets the hook that is called when a connection, for which [OnConnect] has
// returned nil or would have, is gone for good, after the [OnLeave] of each of its rooms.
// For connections it is what OnLeave is for members of a room.
func OnDisconnect(fn func(m *Member, cause error)) HubOption {
	return hubOption(func(c *hubConfig) { c.onDisconnect = fn })
}

func newHubConfig(opts []HubOption) hubConfig {
	cfg := hubConfig{
		defaultRoom: defaultRoomName, open: true,
		template: []RoomOption{WithCodec(Text{Commands: true})},
	}
	for _, o := range opts {
		if o != nil {
			o.applyHub(&cfg)
		}
	}
	setDefault(&cfg.maxRooms, defaultMaxRooms)
	setDefault(&cfg.maxPerConn, defaultMaxPerConn)
	if cfg.linger == 0 {
		cfg.linger = defaultLinger
	}
	if cfg.ownNames = cfg.names != nil; !cfg.ownNames {
		cfg.names = ValidRoom
	}
	return cfg
}

// room returns the configuration of a room with options of its own.
func (c *hubConfig) room(more []RoomOption) *roomConfig {
	cfg := newRoomConfig(append(c.template[:len(c.template):len(c.template)], more...))
	cfg.unique = false // the hub's names are, and a connection has one name in all rooms
	return &cfg
}

// fixedOptions returns the options of a room of WithRoom, and whether it is one.
func (c *hubConfig) fixedOptions(name string) (opts []RoomOption, ok bool) {
	for _, f := range c.fixed {
		if f.name == name {
			opts, ok = append(opts, f.opts...), true
		}
	}
	return opts, ok
}

// all returns the configuration of the room of all connections.
func (c *hubConfig) all() *roomConfig {
	cfg := newRoomConfig(c.template)
	c.timeHooks(cfg.hookTimers)
	cfg.form = formAside
	cfg.notices, cfg.history, cfg.maxMembers, cfg.slow = false, nil, 0, Disconnect
	cfg.hooks = hooks{onJoin: c.onConnect, onLeave: c.onDisconnect, onReject: cfg.hooks.onReject}
	return &cfg
}
