package tcproom

import (
	"context"
	"sync"
	"time"
)

// WithHookTimer sets a function that is called after each run of a hook with the name of
// the option that set the hook, as it is in [HookError], the name of the room, which is
// empty for a room that stands by itself and for what concerns a hub as a whole, and how
// long the hook ran. It is for metrics; [WithLogger] names slow hooks by itself. Options
// of this kind add up: each function is called.
//
// The function is called on the goroutine of the hook and holds up what the hook would,
// so it must be quick; it must be safe to call from several goroutines at once, and it
// must not panic: that is a failure of the hook. A hook that panics or ends its goroutine
// counts too. The functions of [OnEvent], [WithNameValidator], [WithRate], [WithTrace] and
// of a hub's [WithRoomNames] and [WithRoomOptions] are not timed. By default, and with nil,
// nothing is timed, which costs nothing.
func WithHookTimer(fn func(hook, room string, took time.Duration)) RoomOption {
	return roomOption(func(c *roomConfig) {
		if fn != nil {
			c.hookTimers = append(c.hookTimers, fn)
		}
	})
}

// hookTimers are the functions of [WithHookTimer].
type hookTimers []func(hook, room string, took time.Duration)

// end says that a hook that began at start has ended, in r; nil: in none.
func (t hookTimers) end(hook string, r *Room, start time.Time) {
	room := ""
	if r != nil && r.name != allRooms {
		room = r.name
	}
	took := time.Since(start)
	for _, fn := range t {
		fn(hook, room, took)
	}
}

// time has the hooks timed.
func (h *hooks) time(t hookTimers) {
	if len(t) == 0 {
		return
	}
	if fn := h.onJoin; fn != nil {
		h.onJoin = func(m *Member) error {
			defer t.end("OnJoin", m.room, time.Now())
			return fn(m)
		}
	}
	if fn := h.onJoined; fn != nil {
		h.onJoined = func(m *Member, seq uint64) {
			defer t.end("OnJoined", m.room, time.Now())
			fn(m, seq)
		}
	}
	if fn := h.onMessage; fn != nil {
		h.onMessage = func(m *Member, body []byte) ([]byte, error) {
			defer t.end("OnMessage", m.room, time.Now())
			return fn(m, body)
		}
	}
	if fn := h.onLeave; fn != nil {
		h.onLeave = func(m *Member, cause error) {
			defer t.end("OnLeave", m.room, time.Now())
			fn(m, cause)
		}
	}
	if fn := h.onReject; fn != nil {
		h.onReject = func(n *Newcomer, cause error) {
			defer t.end("OnReject", nil, time.Now())
			fn(n, cause)
		}
	}
}

// timeHooks has the hooks of a hub timed that are not those of its rooms.
func (c *hubConfig) timeHooks(t hookTimers) {
	if len(t) == 0 {
		return
	}
	if fn := c.onEnter; fn != nil {
		c.onEnter = func(ctx context.Context, m *Member, room string) error {
			defer t.end("OnEnter", nil, time.Now())
			return fn(ctx, m, room)
		}
	}
	if fn := c.onRequest; fn != nil {
		c.onRequest = func(m *Member, req *Request) error {
			defer t.end("OnRequest", nil, time.Now())
			return fn(m, req)
		}
	}
	if fn := c.onRoom; fn != nil {
		c.onRoom = func(r *Room, made bool) {
			defer t.end("OnRoom", r, time.Now())
			fn(r, made)
		}
	}
	if fn := c.onConnect; fn != nil {
		c.onConnect = func(m *Member) error {
			defer t.end("OnConnect", nil, time.Now())
			return fn(m)
		}
	}
	if fn := c.onDisconnect; fn != nil {
		c.onDisconnect = func(m *Member, cause error) {
			defer t.end("OnDisconnect", nil, time.Now())
			fn(m, cause)
		}
	}
}

// A Trace is the way of one message through a room, for [WithTrace].
type Trace struct {
	Room string     // its name; empty for a room that stands by itself
	Seq  uint64     // of the message
	From MemberInfo // zero for the room itself
	Size int        // of its body, in bytes

	// Read is when the read began to be processed that brought its last byte, before
	// OnMessage and the limiter of WithRate; for a message of the program, when the call
	// was made.
	Read time.Time
	// Ordered is when it had its place in the order.
	Ordered time.Time
	// Written is when the last of the members that were not waiting had been written to:
	// the operating system had taken the bytes. For TLS and other connections without the
	// direct path it is when the bytes were handed to the goroutine that writes them; if
	// one of these begins to block, that shows some 20 ms late.
	Written time.Time
	// Members is how many were in the room when it was ordered.
	Members int
	// Waiting is how many of them had not got it at Written, for their connections took
	// nothing. They get it later, or never.
	Waiting int
}

// WithTrace has one of so many messages traced, the first included, from the read to the
// last write. The function is called when the message has been written, on a goroutine of
// its own, which [Room.Done], and in a hub [Hub.Done], waits for, but Close does not;
// calls can overlap, and come in another order than the messages. A panic is logged.
//
// A message is not traced if nobody is there to get it, or if it is still being written
// when the room stops. Nor is it while 1,000 traces of the room are under way: messages
// that are still being written, or calls that have not returned. So a function that blocks
// holds a bounded number of goroutines. One or less traces each message; then and with
// every small number, traces cost more than messages. By default, and with nil, nothing
// is traced.
func WithTrace(every int, fn func(Trace)) RoomOption {
	return roomOption(func(c *roomConfig) { c.trace, c.traceEvery = fn, uint64(max(every, 1)) })
}

// maxTraces bounds the traces of a room that are under way.
const maxTraces = 1000

// A tracing is a trace under way: it is not complete, or its call has not returned.
type tracing struct {
	room *Room

	mu    sync.Mutex // guards what follows; not held while the user's function runs
	trace Trace
	left  int // lanes in which it is not written yet
}

// traces reports whether members' messages may be traced, in a hub those for any room.
func (r *Room) traces() bool {
	return r.cfg.trace != nil || r.hub != nil && r.hub.traces.Load()
}

// readAt says when the messages were read that are ordered next, if somebody noted that.
func (p *pass) readAt(at time.Time) {
	if !at.IsZero() {
		p.read = at
	}
}

// traceLocked has ev traced, a message that has just been appended, if it is the turn of
// that.
func (p *pass) traceLocked(ev *Event) {
	r := p.r
	n := r.traced
	if r.traced++; n%r.cfg.traceEvery != 0 || r.tracings.Load() >= maxTraces {
		return
	}
	t := &tracing{room: r, trace: Trace{
		Seq: ev.Seq, From: ev.From, Size: len(ev.Body), Read: p.read, Ordered: time.Now(), Members: r.lenLocked(),
	}}
	if r.name != allRooms {
		t.trace.Room = r.name
	}
	for _, l := range r.lanes {
		if l.members > 0 {
			t.left++
		}
	}
	if t.left > 0 {
		r.tracings.Add(1)
	}
	for _, l := range r.lanes {
		if l.members > 0 {
			l.log.Watch(t.written)
		}
	}
}

// written says that t's message was written in one lane, and how many members of that
// have not got it.
func (t *tracing) written(at time.Time, waiting int) {
	t.mu.Lock()
	if at.After(t.trace.Written) {
		t.trace.Written = at
	}
	t.trace.Waiting += waiting
	t.left--
	whole := t.left == 0
	t.mu.Unlock()
	if whole {
		t.call()
	}
}

// call calls the user's function. A Close in the meantime, from there perhaps, does not
// wait for it.
func (t *tracing) call() {
	r, of := t.room, t.room
	if r.hub != nil {
		of = r.hub.all
	}
	of.mu.Lock()
	if of.inTrace == nil {
		of.inTrace = make(map[*tracing]struct{})
	}
	of.inTrace[t] = struct{}{}
	of.mu.Unlock()
	defer func() { // also if the function ends the goroutine
		of.mu.Lock()
		delete(of.inTrace, t)
		of.mu.Unlock()
		r.tracings.Add(-1)
	}()
	r.callPlain(hookTrace, func() error { r.cfg.trace(t.trace); return nil })
}
