//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"
)

// gnetServer is a room in the event-loop framework gnet.
var gnetServer = &server{
	name:   "gnet",
	about:  "panjf2000/gnet, one event loop, which writes the whole lines of each read to all others",
	speaks: plainLines,
	serve:  serveGnet,
	module: "github.com/panjf2000/gnet/v2",
}

type gnetServe struct {
	gnet.BuiltinEventEngine
	control *control
	addr    string
	rooms   [][]gnet.Conn
	opened  int
	count   atomic.Int64
	failed  chan error
}

// A gnetMember is a connection's context.
type gnetMember struct{ room, at int }

func serveGnet(c *control) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	g := &gnetServe{control: c, addr: "127.0.0.1:" + port, rooms: make([][]gnet.Conn, c.roomCount()), failed: make(chan error, 2)}
	c.members = func() int { return int(g.count.Load()) }
	go func() {
		g.failed <- gnet.Run(g, "tcp://"+g.addr, gnet.WithNumEventLoop(1), gnet.WithTCPNoDelay(gnet.TCPNoDelay), gnet.WithLogger(gnetLogger{}))
	}()
	return <-g.failed
}

func (g *gnetServe) OnBoot(gnet.Engine) gnet.Action {
	g.control.ready(g.addr)
	go func() { g.failed <- g.control.run() }()
	return gnet.None
}

func (g *gnetServe) OnOpen(nc gnet.Conn) ([]byte, gnet.Action) {
	m := &gnetMember{room: g.control.roomOf(g.opened)}
	g.opened++
	m.at = len(g.rooms[m.room])
	g.rooms[m.room] = append(g.rooms[m.room], nc)
	nc.SetContext(m)
	g.count.Add(1)
	return nil, gnet.None
}

func (g *gnetServe) OnClose(nc gnet.Conn, _ error) gnet.Action {
	m := nc.Context().(*gnetMember)
	room := g.rooms[m.room]
	last := room[len(room)-1]
	room[m.at] = last
	last.Context().(*gnetMember).at = m.at
	g.rooms[m.room] = room[:len(room)-1]
	g.count.Add(-1)
	return gnet.None
}

func (g *gnetServe) OnTraffic(nc gnet.Conn) gnet.Action {
	data, err := nc.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	lines := data[:bytes.LastIndexByte(data, '\n')+1]
	if len(lines) == 0 {
		return gnet.None
	}
	for _, other := range g.rooms[nc.Context().(*gnetMember).room] {
		if other != nc {
			_, _ = other.Write(lines) // an error ends that connection
		}
	}
	_, _ = nc.Discard(len(lines))
	return gnet.None
}

// A gnetLogger says what went wrong, and not on standard output, where the
// benchmark reads answers.
type gnetLogger struct{}

func (gnetLogger) Debugf(string, ...any) {}
func (gnetLogger) Infof(string, ...any)  {}
func (gnetLogger) Warnf(string, ...any)  {}

func (gnetLogger) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: gnet: "+format+"\n", args...)
}

func (l gnetLogger) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	os.Exit(1)
}
