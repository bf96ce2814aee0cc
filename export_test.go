package tcproom

// LinkErr returns why the connection of m, or its last one, has ended; nil if it has not.
func LinkErr(m *Member) error { return m.conn().Err() }

// EpochOf returns the name of the order of r.
func EpochOf(r *Room) string { return r.epoch }
