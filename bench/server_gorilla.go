//go:build linux

package main

import (
	"net/http"
	"sync/atomic"

	"github.com/gorilla/websocket"
)

// gorillaServer is the hub of gorilla/websocket's chat example, with prepared messages
// in place of bytes.
var gorillaServer = &server{
	name:   "gorilla",
	about:  "gorilla/websocket's chat example with PreparedMessage: a hub goroutine, and a channel (large enough here: the example drops who lags) and a writing goroutine per member",
	speaks: webSocket,
	serve:  serveGorilla,
	module: "github.com/gorilla/websocket",
	guest:  true,
	atMost: 1000, // a window to 10,000 takes it a quarter of a minute
	only:   webWorks,
}

type gorillaHub struct {
	join      chan *gorillaMember
	leave     chan *gorillaMember
	broadcast chan gorillaMessage
	count     *atomic.Int64
}

type gorillaMember struct {
	conn *websocket.Conn
	send chan *websocket.PreparedMessage // closed by the hub when the member leaves
}

type gorillaMessage struct {
	from *gorillaMember
	m    *websocket.PreparedMessage
}

func serveGorilla(c *control) error {
	var count atomic.Int64
	hubs := make([]*gorillaHub, c.roomCount())
	for i := range hubs {
		hubs[i] = &gorillaHub{
			join:      make(chan *gorillaMember),
			leave:     make(chan *gorillaMember),
			broadcast: make(chan gorillaMessage),
			count:     &count,
		}
		go hubs[i].run()
	}
	c.members = func() int { return int(count.Load()) }
	const usual = 256
	queue := max(usual, 2*c.inFlight)
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024} // as in the example
	return c.serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		h := hubs[webSocketRoom(r)]
		m := &gorillaMember{conn, make(chan *websocket.PreparedMessage, queue)}
		h.join <- m
		go m.write()
		go h.read(m)
	}))
}

func (h *gorillaHub) run() {
	members := make(map[*gorillaMember]struct{})
	for {
		select {
		case m := <-h.join:
			members[m] = struct{}{}
			h.count.Add(1)
		case m := <-h.leave:
			delete(members, m)
			close(m.send)
			h.count.Add(-1)
		case msg := <-h.broadcast:
			for m := range members {
				if m != msg.from {
					m.send <- msg.m
				}
			}
		}
	}
}

func (h *gorillaHub) read(m *gorillaMember) {
	for {
		kind, body, err := m.conn.ReadMessage()
		if err != nil {
			break
		}
		p, err := websocket.NewPreparedMessage(kind, body)
		if err != nil {
			break
		}
		h.broadcast <- gorillaMessage{m, p}
	}
	h.leave <- m
	m.conn.Close()
}

func (m *gorillaMember) write() {
	for p := range m.send { // until the hub closes it, which waits when it is full
		if m.conn.WritePreparedMessage(p) != nil {
			m.conn.Close()
		}
	}
}
