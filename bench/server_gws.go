//go:build linux

package main

import (
	"bytes"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lxzan/gws"
)

// gwsServer is a room over lxzan/gws.
var gwsServer = &server{
	name:   "gws",
	about:  "lxzan/gws with its Broadcaster, which makes the frame once and writes it to each member",
	speaks: webSocket,
	serve:  serveGWS,
	module: "github.com/lxzan/gws",
	guest:  true,
	atMost: 1000, // a window to 10,000 takes it a quarter of a minute
	only:   webWorks,
}

// A gwsRoom handles the events of its members' connections.
type gwsRoom struct {
	gws.BuiltinEventHandler
	count   *atomic.Int64
	mu      sync.RWMutex
	members []*gws.Conn // replaced, and not changed
}

func serveGWS(c *control) error {
	var count atomic.Int64
	upgraders := make([]*gws.Upgrader, c.roomCount())
	for i := range upgraders {
		upgraders[i] = gws.NewUpgrader(&gwsRoom{count: &count}, nil)
	}
	c.members = func() int { return int(count.Load()) }
	return c.serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgraders[webSocketRoom(r)].Upgrade(w, r)
		if err != nil {
			return
		}
		go conn.ReadLoop() // so that the request can be collected, as gws advises
	}))
}

// OnOpen implements [gws.Event].
func (r *gwsRoom) OnOpen(conn *gws.Conn) {
	r.mu.Lock()
	r.members = append(r.members, conn) // beyond what anybody has of it
	r.mu.Unlock()
	r.count.Add(1)
}

// OnClose implements [gws.Event].
func (r *gwsRoom) OnClose(conn *gws.Conn, _ error) {
	r.mu.Lock()
	members := slices.Clone(r.members)
	r.members = slices.DeleteFunc(members, func(m *gws.Conn) bool { return m == conn })
	r.mu.Unlock()
	r.count.Add(-1)
}

// OnMessage implements [gws.Event].
func (r *gwsRoom) OnMessage(conn *gws.Conn, message *gws.Message) {
	b := gws.NewBroadcaster(message.Opcode, bytes.Clone(message.Bytes()))
	_ = message.Close()
	r.mu.RLock()
	members := r.members
	r.mu.RUnlock()
	for _, m := range members {
		if m != conn {
			_ = b.Broadcast(m) // an error ends that connection
		}
	}
	_ = b.Close()
}
