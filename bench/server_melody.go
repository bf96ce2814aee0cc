//go:build linux

package main

import (
	"net/http"
	"time"

	"github.com/olahol/melody"
)

// melodyServer is the WebSocket hub melody; a room is one of its instances.
var melodyServer = &server{
	name:   "melody",
	about:  "olahol/melody, a WebSocket hub with a channel (large enough here: it drops what does not fit) and a writing goroutine per session",
	speaks: webSocket,
	serve:  serveMelody,
	module: "github.com/olahol/melody",
	tls:    true,
	guest:  true,
	atMost: 1000, // a window to 10,000 takes it a quarter of a minute or more
}

func serveMelody(c *control) error {
	rooms := make(map[string]*melody.Melody)
	for i := range c.roomCount() {
		rooms[webSocketPath(i)] = newMelody(c.inFlight)
	}
	c.members = func() (n int) {
		for _, m := range rooms {
			n += m.Len()
		}
		return n
	}
	return c.serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m := rooms[r.URL.Path]; m != nil {
			_ = m.HandleRequest(w, r) // it has answered and ended the connection
		}
	}))
}

func newMelody(inFlight int) *melody.Melody {
	m := melody.New()
	m.Config.MaxMessageSize = 64 << 10
	m.Config.MessageBufferSize = max(m.Config.MessageBufferSize, 2*inFlight)
	m.Config.WriteWait = time.Minute
	m.Config.PingPeriod, m.Config.PongWait = time.Hour, 2*time.Hour
	m.HandleMessageBinary(func(s *melody.Session, b []byte) { _ = m.BroadcastBinaryOthers(b, s) })
	return m
}
