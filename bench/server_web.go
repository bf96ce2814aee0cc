//go:build linux

package main

import (
	"bytes"
	"net/http"
	"sync"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
)

// webWorks are those that members by WebSocket are measured with, of this library and
// of others.
var webWorks = []string{"flood", "chat", "paced", "idle", "storm"}

// webHeartbeat is longer than any measurement: heartbeats are on, for what they cost a
// member that is idle, but none is counted as a delivery.
const webHeartbeat = 5 * time.Minute

// wsServer is this library over WebSocket, as a service would use it.
var wsServer = &server{
	name:   "ws",
	about:  "this library over WebSocket: roomhttp, tcproom.text, no notices, a heartbeat of five minutes, all else by default; all bear the name m, which stands before each line",
	speaks: webSocketText,
	serve:  serveWeb,
	only:   webWorks,
}

// wssServer is wsServer over TLS, beside [tcproomServer] over TLS.
var wssServer = &server{
	name:   "wss",
	about:  "ws over TLS",
	speaks: webSocketText,
	serve:  serveWeb,
	tls:    true,
	only:   []string{"tls"},
}

// sseServer is this library with readers of events, whose sender comes by WebSocket.
var sseServer = &server{
	name:   "sse",
	about:  "this library with readers of server-sent events, which carry JSON; the sender comes by WebSocket",
	speaks: serverSentEvents,
	serve:  serveWeb,
	only:   []string{"flood"},
}

// lossyWSServer and lossySSEServer are as lossyServer: each message that they lose has
// the one before it in its place.
var (
	lossyWSServer = &server{
		name:    "lossy-ws",
		about:   "ws that loses a line now and then and sends another twice; it is there to fail",
		speaks:  webSocketText,
		serve:   serveLossyWeb,
		special: true,
	}
	lossySSEServer = &server{
		name:    "lossy-sse",
		about:   "sse that loses a line now and then and sends another twice; it is there to fail",
		speaks:  serverSentEvents,
		serve:   serveLossyWeb,
		special: true,
	}
)

func serveLossyWeb(c *control) error {
	var mu sync.Mutex
	n, last := 0, []byte(nil)
	return serveWebWith(c, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if n++; n%37 == 0 {
			return bytes.Clone(last), nil
		}
		last = bytes.Clone(body)
		return body, nil
	}))
}

func serveWeb(c *control) error { return serveWebWith(c) }

// serveWebWith serves each room below a path of its own.
func serveWebWith(c *control, options ...tcproom.RoomOption) error {
	options = append(options, tcproom.WithNotices(false))
	rooms := make([]*tcproom.Room, c.roomCount())
	mux := http.NewServeMux()
	heartbeat := roomhttp.WithConn(tcproom.WithHeartbeat(webHeartbeat))
	for i := range rooms {
		rooms[i] = tcproom.New(options...)
		path := webSocketPath(i)
		mux.Handle(path+"/", http.StripPrefix(path, roomhttp.New(roomhttp.One("", rooms[i]), heartbeat)))
	}
	c.members = func() (n int) {
		for _, r := range rooms {
			n += r.Len()
		}
		return n
	}
	return c.serveHTTP(mux)
}
