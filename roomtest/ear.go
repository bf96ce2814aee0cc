package roomtest

import "example.com/tcproom"

// at returns the i-th event of the room's order, if it is there already.
func (r *recorder) at(i int) (ev tcproom.Event, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i >= len(r.events) {
		return ev, false
	}
	return r.events[i], true
}

// isBots reports whether ev is what the room sent in a hook for a bot.
func (r *recorder) isBots(ev *tcproom.Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return ev.Kind == tcproom.Message && r.bots[placeOf(ev)]
}

// after returns a channel that is closed when there are more than n events.
func (r *recorder) after(n int) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.more == nil {
		r.more = make(chan struct{})
	}
	more := r.more
	if len(r.events) > n {
		close(r.more)
		r.more = nil
	}
	return more
}

// pastLeave returns how many events there are up to the leave of a member, or so far,
// if there is none.
func (r *recorder) pastLeave(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.events) - 1; i >= 0; i-- {
		if ev := &r.events[i]; ev.Kind == tcproom.Leave && ev.From.ID == id {
			return i + 1
		}
	}
	return len(r.events)
}
