package roomtest

// LeakConn makes a connection that the room is thought to have and never closes.
func (s *Server) LeakConn() {
	_, there := Pipe()
	s.serving(there, "accepted from nowhere")
}

// IsReset is for errors of real sockets.
var IsReset = isReset
