package serve

import (
	"context"
	"log/slog"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
	"example.com/tcproom/roomprom"
)

// A chat is a room, or a hub of rooms.
type chat interface {
	Door(opts ...tcproom.ConnOption) (*tcproom.Door, error)
	Shutdown(ctx context.Context, opts ...tcproom.StopOption) error
	Close() error
}

// newChat returns what is to be served, which counts looks at, and its rooms as pages
// have them.
func newChat(c *config, log *slog.Logger, counts *roomprom.Collector) (chat, roomhttp.Rooms) {
	opts := c.roomOptions(log)
	if c.metrics != "" { // else nobody asks for the times
		opts = append(opts, counts.HookTimer())
	}
	if !c.rooms.on {
		room := tcproom.New(opts...)
		counts.Add("lobby", room)
		return room, roomhttp.One("lobby", room)
	}
	hub := tcproom.NewHub(c.hubOptions(opts)...)
	counts.AddHub(hub)
	return hub, hub
}

// roomOptions are those of the room, or of each room of the hub. Pages speak JSON, each
// listener what it is told to.
func (c *config) roomOptions(log *slog.Logger) []tcproom.RoomOption {
	opts := append(c.lag.options(),
		tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithLogger(log),
		tcproom.WithMaxMessage(c.maxMessage),
		tcproom.WithMaxMembers(c.maxMembers),
		tcproom.WithMaxPerAddress(c.perAddress),
		tcproom.WithUniqueNames(c.asksNames() || c.rooms.on),
	)
	if c.history > 0 {
		opts = append(opts, tcproom.WithHistory(tcproom.History{Messages: c.history}))
	}
	if c.sessions {
		opts = append(opts, tcproom.WithSessions(tcproom.Sessions{Grace: c.grace}))
	}
	return opts
}

func (l *lag) options() []tcproom.RoomOption {
	return []tcproom.RoomOption{tcproom.WithSlowMembers(l.policy()), tcproom.WithBacklog(l.backlog)}
}

// hubOptions are those of the hub with the rooms that are there from the start. each are
// those of each room.
func (c *config) hubOptions(each []tcproom.RoomOption) []tcproom.HubOption {
	opts := []tcproom.HubOption{tcproom.OnJoined(showAround), tcproom.WithMaxRooms(c.maxRooms)}
	for _, o := range each {
		opts = append(opts, o)
	}
	if c.linger > 0 {
		opts = append(opts, tcproom.WithRoomLinger(c.linger))
	} else {
		opts = append(opts, tcproom.WithRoomLinger(-1)) // at once
	}
	if len(c.rooms.described) == 0 {
		return append(opts, tcproom.WithRoom("lobby"))
	}
	opts = append(opts, tcproom.WithOpenRooms(c.rooms.open), tcproom.WithDefaultRoom(c.rooms.described[0].name))
	for _, r := range c.rooms.described {
		opts = append(opts, tcproom.WithRoom(r.name, r.options()...))
	}
	return opts
}

// options are those that differ from those of the hub.
func (r *roomConfig) options() []tcproom.RoomOption {
	var opts []tcproom.RoomOption
	if r.hidden {
		opts = append(opts, tcproom.Hidden())
	}
	if r.given("max-members") {
		opts = append(opts, tcproom.WithMaxMembers(r.maxMembers))
	}
	if r.given("history") {
		opts = append(opts, tcproom.WithHistory(tcproom.History{Messages: r.history}))
	}
	if r.given("slow") {
		opts = append(opts, tcproom.WithSlowMembers(r.lag.policy()))
	}
	if r.given("backlog") {
		opts = append(opts, tcproom.WithBacklog(r.lag.backlog))
	}
	return opts
}

// doorOptions are those of a listener. all is the room of all members.
func doorOptions(c *config, l *listener, all *tcproom.Room) []tcproom.ConnOption {
	codec := l.codec.Value()
	if _, text := codec.(tcproom.Text); text {
		codec = tcproom.Text{Commands: c.rooms.on}
	}
	opts := []tcproom.ConnOption{tcproom.WithFraming(l.framing.Value()), tcproom.WithCodec(codec), tcproom.WithTLS(l.tls)}
	if _, text := codec.(tcproom.Text); text && (l.askName || c.rooms.on) {
		opts = append(opts,
			tcproom.WithHandshake(doorman{all, l.askName}.receive),
			tcproom.WithHandshakeTimeout(time.Minute), // people type slowly
		)
	}
	return opts
}
