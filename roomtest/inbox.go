package roomtest

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"example.com/tcproom"
	"example.com/tcproom/internal/probe"
)

// An inbox is what a member has received. It is always read, so that no member
// is slow by accident, but for the time between pause and resume.
type inbox struct {
	conn *tcproom.Conn
	mark string        // what the bodies of barriers begin with
	done chan struct{} // closed when nothing is read any more

	mu      sync.Mutex // guards what follows; never held while anything waits
	events  []tcproom.Event
	taken   int           // of them, how many expectations have dealt with
	asides  []uint64      // of Sync: the barriers that came
	greeted int           // how many events there were when Join of a hub returned
	err     error         // why the stream ended
	known   bool          // the test knows of the end, or it came in good order
	changed chan struct{} // closed when one of the above changes; nil while nothing waits
	ctx     context.Context
	cancel  context.CancelCauseFunc // of ctx: pauses
	resumed chan struct{}           // closed by resume; nil: not paused
	parked  chan struct{}           // closed when nothing is read in this pause
}

var errPaused = errors.New("roomtest: paused")

func newInbox(c *tcproom.Conn, mark string) *inbox {
	in := &inbox{conn: c, mark: mark, done: make(chan struct{})}
	in.ctx, in.cancel = context.WithCancelCause(context.Background())
	return in
}

// collect ends with the connection.
func (in *inbox) collect() {
	defer close(in.done)
	for {
		ev, err := in.conn.Receive(in.turn())
		switch {
		case err == nil:
			in.put(ev)
		case !errors.Is(err, errPaused):
			in.end(err)
			return
		}
	}
}

// turn waits while there is a pause, and returns the context to read with.
func (in *inbox) turn() context.Context {
	in.mu.Lock()
	resumed := in.resumed
	if resumed != nil {
		close(in.parked)
	}
	ctx := in.ctx
	in.mu.Unlock()
	if resumed == nil {
		return ctx
	}
	select {
	case <-resumed:
	case <-in.conn.Context().Done():
		in.resume()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ctx
}

// pause returns when nothing is read any more.
func (in *inbox) pause() {
	in.mu.Lock()
	if in.resumed == nil {
		in.resumed, in.parked = make(chan struct{}), make(chan struct{})
		in.cancel(errPaused)
	}
	parked := in.parked
	in.mu.Unlock()
	select {
	case <-parked:
	case <-in.done:
	}
}

func (in *inbox) resume() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.resumed != nil {
		in.ctx, in.cancel = context.WithCancelCause(context.Background())
		close(in.resumed)
		in.resumed = nil
	}
}

func (in *inbox) put(ev tcproom.Event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if number, ok := strings.CutPrefix(string(ev.Body), in.mark); ok && (ev.Kind == tcproom.Direct || ev.Kind == tcproom.Message) {
		if n, err := strconv.ParseUint(number, 10, 64); err == nil {
			in.asides = append(in.asides, n)
			in.changedLocked()
			return
		}
	}
	in.events = append(in.events, ev)
	in.changedLocked()
}

func (in *inbox) end(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.err = err
	in.known = in.known || errors.Is(err, net.ErrClosed) || in.saidLocked() || errors.Is(err, tcproom.Cause("left")) && (probe.Closing(in.conn) || in.conn.ID() == "")
	in.changedLocked()
}

// saidLocked reports whether the room has announced the end of the stream. A codec
// that tells a member no ID may not carry that: then the end is enough.
func (in *inbox) saidLocked() bool {
	if len(in.events) == 0 {
		return false
	}
	last := &in.events[len(in.events)-1]
	return last.Kind == tcproom.Goodbye && (last.Room == "" || last.Room == "*")
}

// know notes that the test knows of the end.
func (in *inbox) know() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.known = true
}

func (in *inbox) changedLocked() {
	if in.changed != nil {
		close(in.changed)
		in.changed = nil
	}
}

// A look is what is in an inbox at one moment.
type look struct {
	events  []tcproom.Event // all that came
	fresh   []tcproom.Event // of them, the events that no expectation has dealt with
	err     error           // why the stream ended
	broke   bool            // and it did so without the test knowing
	changed <-chan struct{} // closed when this is not all any more
	greeted int             // how many of the fresh are from before Join of a hub returned
}

// counts reports whether the i-th of the fresh events is one for expectations.
func (l *look) counts(i int) bool {
	return isEvent(&l.fresh[i]) && !isGreeting(&l.fresh[i], i, l.greeted)
}

// isGreeting reports whether ev, the i-th, is a welcome of those that a member of a hub
// began with.
func isGreeting(ev *tcproom.Event, i, greeted int) bool {
	return ev.Kind == tcproom.Welcome && i < greeted
}

func (in *inbox) look() look {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.changed == nil {
		in.changed = make(chan struct{})
	}
	n := len(in.events)
	return look{in.events[:n:n], in.events[in.taken:n:n], in.err, in.err != nil && !in.known, in.changed, in.greeted - in.taken}
}

// welcome returns the Welcome, which Dial has read and hands out now.
func (in *inbox) welcome() tcproom.Event {
	for {
		l := in.look()
		for _, ev := range l.events {
			if ev.Kind == tcproom.Welcome {
				return ev
			}
		}
		if l.err != nil {
			return tcproom.Event{}
		}
		<-l.changed
	}
}

// isOrdered reports whether ev has a place in the room's order.
func isOrdered(ev *tcproom.Event) bool {
	switch ev.Kind {
	case tcproom.Message, tcproom.Join, tcproom.Leave, tcproom.Renamed:
		return true
	}
	return false
}

// came reports whether those barriers have come, and forgets them then.
func (in *inbox) came(sent []uint64) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, n := range sent {
		if !slices.Contains(in.asides, n) {
			return false
		}
	}
	in.asides = slices.DeleteFunc(in.asides, func(n uint64) bool { return slices.Contains(sent, n) })
	return true
}

// passWelcomes sees to it that no expectation gets a Welcome that has come until now.
func (in *inbox) passWelcomes() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.greeted = len(in.events)
}

// take returns the next event, if there is one for expectations: a Welcome is not, but
// that of a room of a hub that was entered later.
func (in *inbox) take() (tcproom.Event, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.taken < len(in.events) {
		ev := in.events[in.taken]
		in.taken++
		if isEvent(&ev) && !isGreeting(&ev, in.taken-1, in.greeted) {
			return ev, true
		}
	}
	return tcproom.Event{}, false
}

// isEvent reports whether ev is more than the welcome of a connection.
func isEvent(ev *tcproom.Event) bool { return ev.Kind != tcproom.Welcome || inOneRoom(ev) }
