//go:build linux

package main

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"
)

// coderServer is a room over coder/websocket, which has nothing to share a message by.
var coderServer = &server{
	name:   "coder",
	about:  "coder/websocket; the goroutine that reads a member's message writes it to each other one by itself",
	speaks: webSocket,
	serve:  serveCoder,
	module: "github.com/coder/websocket",
	guest:  true,
	atMost: 1000, // a window to 10,000 takes it a quarter of a minute
	only:   webWorks,
}

type coderRoom struct {
	mu      sync.RWMutex
	members []*websocket.Conn // replaced, and not changed
}

func serveCoder(c *control) error {
	rooms := make([]coderRoom, c.roomCount())
	var count atomic.Int64
	c.members = func() int { return int(count.Load()) }
	return c.serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		room := &rooms[webSocketRoom(r)]
		room.join(conn)
		count.Add(1)
		room.read(conn)
		room.leave(conn)
		count.Add(-1)
		_ = conn.CloseNow()
	}))
}

func (r *coderRoom) join(conn *websocket.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = append(r.members, conn) // beyond what anybody has of it
}

func (r *coderRoom) leave(conn *websocket.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	members := slices.Clone(r.members)
	r.members = slices.DeleteFunc(members, func(m *websocket.Conn) bool { return m == conn })
}

func (r *coderRoom) read(conn *websocket.Conn) {
	ctx := context.Background()
	for {
		kind, body, err := conn.Read(ctx)
		if err != nil {
			return
		}
		r.mu.RLock()
		members := r.members
		r.mu.RUnlock()
		for _, m := range members {
			if m != conn {
				_ = m.Write(ctx, kind, body) // an error ends that connection
			}
		}
	}
}
