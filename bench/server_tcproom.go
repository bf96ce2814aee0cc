//go:build linux

package main

import (
	"net"

	"example.com/tcproom"
)

// serveTCPRoom is this library, as a service would use it.
func serveTCPRoom(c *control) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	room := tcproom.New(
		tcproom.WithFraming(tcproom.Lines{}),
		tcproom.WithCodec(tcproom.Raw{}),
		tcproom.WithNotices(false),
	)
	c.members = room.Len
	c.rooms = func(n int) any {
		rooms := make([]*tcproom.Room, n)
		for i := range rooms {
			rooms[i] = tcproom.New()
		}
		return rooms
	}
	failed := make(chan error, 1)
	go func() { failed <- room.Serve(l) }()
	c.ready(l.Addr().String())
	go func() { failed <- c.run() }()
	return <-failed
}
