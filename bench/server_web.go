//go:build linux

package main

import (
	"net/http"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
)

// webWorks are those that members by WebSocket are measured with, of this library and
// of others.
var webWorks = []string{"flood", "chat", "paced", "idle", "storm"}

// wsServer is this library over WebSocket, as a service would use it. Heartbeats are on,
// which a member is first sent after half a minute: no work takes so long.
var wsServer = &server{
	name:   "ws",
	about:  "this library over WebSocket: roomhttp, tcproom.text, no notices, all else by default, so with heartbeats; all bear the name m, which stands before each line",
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

// serveWeb serves each room below a path of its own.
func serveWeb(c *control) error {
	rooms := make([]*tcproom.Room, c.roomCount())
	mux := http.NewServeMux()
	for i := range rooms {
		rooms[i] = tcproom.New(tcproom.WithNotices(false))
		path := webSocketPath(i)
		mux.Handle(path+"/", http.StripPrefix(path, roomhttp.New(roomhttp.One("", rooms[i]))))
	}
	c.members = func() (n int) {
		for _, r := range rooms {
			n += r.Len()
		}
		return n
	}
	return c.serveHTTP(mux)
}
