//go:build linux

package main

import (
	"net"
	"slices"
	"sync/atomic"

	"example.com/tcproom"
)

// tcproomServer is this library, as a service would use it.
var tcproomServer = &server{
	name:   "tcproom",
	about:  "this library: a room with lines, Raw and no notices, all else by default",
	speaks: plainLines,
	serve:  serveTCPRoom,
	tls:    true,
}

// tcproomJSONServer is this library as programs use it, which is what its codec
// for them and sessions cost beside [tcproomServer]. It is measured in a flood.
var tcproomJSONServer = &server{
	name:   "tcproom-json",
	about:  "this library: a room with lines, JSON, sessions and no notices, all else by default",
	speaks: jsonLines,
	only:   []string{"flood"},
	serve: func(c *control) error {
		return serveRoomsWith(c, tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}),
			tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithNotices(false))
	},
}

// tcproomHookServer is this library with a hook that lets each message through, which
// is what a hook costs beside [tcproomServer].
var tcproomHookServer = &server{
	name:   "tcproom-hook",
	about:  "this library with an OnMessage hook that returns the body",
	speaks: plainLines,
	serve: func(c *control) error {
		return serveRoomsWith(c, append(slices.Clone(roomOptions),
			tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil }))...)
	},
	special: true,
}

// swallowServer is this library with a hook that keeps each message from the
// room, so that nothing but receiving is left.
var swallowServer = &server{
	name:    "swallow",
	about:   "this library with an OnMessage hook that drops what comes",
	speaks:  plainLines,
	serve:   serveSwallow,
	special: true,
}

var roomOptions = []tcproom.RoomOption{
	tcproom.WithFraming(tcproom.Lines{}),
	tcproom.WithCodec(tcproom.Raw{}),
	tcproom.WithNotices(false),
}

func serveTCPRoom(c *control) error { return serveRoomsWith(c, roomOptions...) }

func serveRoomsWith(c *control, options ...tcproom.RoomOption) error {
	c.makeRooms = func(n int) any {
		rooms := make([]*tcproom.Room, n)
		for i := range rooms {
			rooms[i] = tcproom.New()
		}
		return rooms
	}
	if c.tls != nil {
		options = append(slices.Clone(options), tcproom.WithTLS(c.tls))
	}
	rooms := make([]*tcproom.Room, c.roomCount())
	for i := range rooms {
		rooms[i] = tcproom.New(options...)
	}
	c.members = func() (n int) {
		for _, r := range rooms {
			n += r.Len()
		}
		return n
	}
	if len(rooms) == 1 {
		return c.serveRooms(func(l net.Listener) error { return rooms[0].Serve(l) })
	}
	return c.serveRooms(func(l net.Listener) error {
		for i := 0; ; i++ {
			nc, err := l.Accept()
			if err != nil {
				return err
			}
			go rooms[c.roomOf(i)].ServeConn(nc)
		}
	})
}

func serveSwallow(c *control) error {
	var swallowed atomic.Uint64
	room := tcproom.New(append(slices.Clone(roomOptions), tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) {
		swallowed.Add(1)
		return nil, nil
	}))...)
	c.members, c.swallowed = room.Len, swallowed.Load
	return c.serveRooms(func(l net.Listener) error { return room.Serve(l) })
}

// serveRooms serves, and answers the benchmark, until either ends.
func (c *control) serveRooms(serve func(net.Listener) error) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- serve(l) }()
	c.ready(l.Addr().String())
	go func() { failed <- c.run() }()
	return <-failed
}
