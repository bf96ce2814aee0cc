package roomtest

import (
	"time"

	"example.com/tcproom"
)

// LeakConn makes a connection that the room is thought to have and never closes.
func (s *Server) LeakConn() {
	_, there := Pipe()
	s.serving(there, "accepted from nowhere")
}

// IsReset is for errors of real sockets.
var IsReset = isReset

// Records returns all records of a room.
func (l *Log) Records(room string) []tcproom.Record { return l.records(room) }

// Skew sets how far the engine's clock is ahead.
func (l *Log) Skew(d time.Duration) { l.skew(d) }
