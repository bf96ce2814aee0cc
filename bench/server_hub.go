//go:build linux

package main

import (
	"bufio"
	"net"
	"sync/atomic"
)

// A hub is what people write by hand: a goroutine per connection that reads
// lines, one goroutine that knows all members and copies each line into their
// channels, and a goroutine per member that writes what its channel holds,
// flushing when it is empty.
//
// When a channel is full the hub waits for it, and everyone with it, so that
// nothing is lost here; many hubs of this kind drop the line or the member.
type hub struct {
	join      chan *hubMember
	leave     chan *hubMember
	broadcast chan hubLine
	count     atomic.Int64
	publish   func(line []byte) error // tells other processes; nil: there are none
}

func newHub() *hub {
	return &hub{join: make(chan *hubMember), leave: make(chan *hubMember), broadcast: make(chan hubLine)}
}

type hubMember struct {
	nc    net.Conn
	lines chan []byte // closed by the hub when the member leaves
}

type hubLine struct {
	from *hubMember
	line []byte
}

// hubQueue is how many lines wait for a member at most.
const hubQueue = 256

var hubServer = &server{
	name:   "hub",
	about:  "a hub as people write it by hand: a goroutine that copies each line into a channel (256) per member, and a writing goroutine per member",
	speaks: plainLines,
	serve:  serveHubs,
	tls:    true,
}

// serveHubs serves as many hubs as there are rooms.
func serveHubs(c *control) error {
	l, err := c.listen()
	if err != nil {
		return err
	}
	hubs := make([]*hub, c.roomCount())
	for i := range hubs {
		hubs[i] = newHub()
		go hubs[i].run()
	}
	c.members = func() (n int) {
		for _, h := range hubs {
			n += int(h.count.Load())
		}
		return n
	}
	failed := make(chan error, 1)
	go func() { failed <- acceptToHubs(l, c, hubs) }()
	c.ready(l.Addr().String())
	go func() { failed <- c.run() }()
	return <-failed
}

func (h *hub) run() {
	members := make(map[*hubMember]struct{})
	for {
		select {
		case m := <-h.join:
			members[m] = struct{}{}
			h.count.Store(int64(len(members)))
		case m := <-h.leave:
			delete(members, m)
			close(m.lines)
			h.count.Store(int64(len(members)))
		case l := <-h.broadcast:
			for m := range members {
				if m != l.from {
					m.lines <- l.line
				}
			}
		}
	}
}

func acceptToHubs(l net.Listener, c *control, hubs []*hub) error {
	for i := 0; ; i++ {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		h := hubs[c.roomOf(i)]
		m := &hubMember{nc: nc, lines: make(chan []byte, hubQueue)}
		go h.read(m)
		go m.write()
	}
}

func (h *hub) read(m *hubMember) {
	h.join <- m
	in := bufio.NewReader(m.nc)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		h.broadcast <- hubLine{m, line}
		if h.publish != nil && h.publish(line) != nil {
			break
		}
	}
	h.leave <- m
	m.nc.Close()
}

func (m *hubMember) write() {
	out := bufio.NewWriter(m.nc)
	for line := range m.lines {
		// Errors stick to the writer; the lines are taken until the hub
		// closes the channel, for it waits when the channel is full.
		_, _ = out.Write(line)
		if len(m.lines) == 0 && out.Flush() != nil {
			m.nc.Close()
		}
	}
}
