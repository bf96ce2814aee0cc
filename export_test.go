package tcproom

import "example.com/tcproom/internal/fold"

// LinkErr returns why the connection of m, or its last one, has ended; nil if it has not.
func LinkErr(m *Member) error { return m.conn().Err() }

// EpochOf returns the name of the order of r.
func EpochOf(r *Room) string { return r.epoch.get() }

// OnTheWayToLog is how many entries of r have not come back from its log.
func OnTheWayToLog(r *Room) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.replica.queue)
	for _, f := range r.replica.flights {
		n += len(f.items)
	}
	return n
}

// RemoteValues is for how many members of other processes r has a *Member.
func RemoteValues(r *Room) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.replica.far)
}

// EpochText returns the name of a stream as clients know it.
func EpochText(e fold.Epoch) string { return textOf(e[:]) }
