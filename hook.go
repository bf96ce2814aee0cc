package tcproom

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

// The hooks. A new one is added here and in type hooks.
const (
	noHook uint64 = iota
	hookHandshake
	hookOnJoin
	hookOnJoined
	hookOnMessage
	hookOnLeave
	hookOnReject
	hookValidator
	hookRate
	hookLimiter
	hookOnEnter
	hookOnRequest
	hookOnRoom
	hookRoomNames
	hookRoomOptions
	hookTrace
)

// hookNames name hooks to the user, by the options that set them: in errors, in
// the log and in [StuckConn].
var hookNames = [...]string{
	hookHandshake:   "WithHandshake",
	hookOnJoin:      "OnJoin",
	hookOnJoined:    "OnJoined",
	hookOnMessage:   "OnMessage",
	hookOnLeave:     "OnLeave",
	hookOnReject:    "OnReject",
	hookValidator:   "WithNameValidator",
	hookRate:        "WithRate",
	hookLimiter:     "Limiter of WithRate",
	hookOnEnter:     "OnEnter",
	hookOnRequest:   "OnRequest",
	hookOnRoom:      "OnRoom",
	hookRoomNames:   "WithRoomNames",
	hookRoomOptions: "WithRoomOptions",
	hookTrace:       "WithTrace",
}

// slowAfter is how long a hook may run before the log names it. A handshake
// hook has that time from its deadline on, since it is there to wait for a peer.
const slowAfter = time.Second

// A hookCall is the hook that a goroutine of a link's is in, for others to see.
type hookCall struct {
	// run is the hook in its lowest byte, and above that how many there have been: so
	// two runs of one hook differ.
	run   atomic.Uint64
	watch *alarm // its goroutine's; nil until it has called one
}

const hookMask = 0xff

// hook returns the hook that runs, or noHook.
func (h *hookCall) hook() uint64 { return h.run.Load() & hookMask }

// beginHook notes that l is in a hook. Once l has ended it returns the cause
// instead, but for the hooks that tell of it: so the one that ended l knows that no
// other hook begins.
func (l *link) beginHook(hook uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending != nil && hook != hookOnLeave && hook != hookOnReject {
		return l.ending.cause
	}
	l.running.run.Store((l.running.run.Load() | hookMask) + 1 + hook)
	return nil
}

func (l *link) endHook() { l.running.run.Store(l.running.run.Load() &^ hookMask) }

// call calls a hook of the user's. A panic becomes the error; a
// runtime.Goexit cannot be stopped, so it ends l and then runs on. If l has
// ended and the hook is not to tell of that, it returns the cause instead.
func (l *link) call(hook uint64, fn func() error) (err error) {
	if err := l.beginHook(hook); err != nil {
		return err
	}
	returned, watched := false, l.watchHook(hook)
	defer func() {
		if watched {
			l.running.watch.stop()
		}
		l.endHook()
		if returned {
			return
		}
		e := &HookError{Hook: hookNames[hook]}
		if v := recover(); v != nil {
			e.Panic, e.Stack = v, stack()
		}
		err = e
		l.report(slog.LevelError, e.Hook, l.room, "hook failed", "hook", e.Hook, "cause", e, "stack", string(e.Stack))
		l.room.cfg.probe.Failed(e, l.name())
		l.end(e)
	}()
	if err = fn(); err != nil {
		// An error whose methods panic does so here, as the hook's doing.
		_, _ = err.Error(), causeOf(err)
	}
	returned = true
	return err
}

// refuse marks the error of a hook as that.
func refuse(err error) error {
	switch {
	case err == nil, err == error(errHandshakeTimeout):
		return err
	}
	if _, ok := err.(*HookError); ok {
		return err
	}
	return &refusal{err, refusalCause(err)}
}

// refusalCause returns what a hook's error means. What happened to another
// connection of the hook's is not this one's end.
func refusalCause(err error) Cause {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		if r.Cause == "" {
			return ErrDenied
		}
		return r.Cause
	}
	switch cause := causeOf(err); cause {
	case ErrRoomFull, errTooManyPending, errTooManyFromAddress, ErrNameTaken, ErrNameInvalid, errTooManyLanes, ErrRoomClosed, errHandshakeTimeout, errRetry,
		ErrRoomName, ErrNoRoom, ErrTooManyRooms, errOneRoom, ErrMuted, ErrBanned, errRecipient:
		return cause
	}
	switch {
	case isOfLog(err):
		return ErrUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		return errRetry
	}
	return ErrDenied
}

// An alarm calls a function after a while, unless it is stopped before. It is set
// again and again.
type alarm struct {
	timer *time.Timer
	rung  chan struct{} // receives when a call that was begun has returned
}

// newAlarm returns an alarm that is not set. fn runs on a goroutine of its own, for
// which stop waits.
func newAlarm(fn func()) alarm {
	a := alarm{rung: make(chan struct{}, 1)}
	a.timer = time.AfterFunc(time.Hour, func() {
		defer func() { a.rung <- struct{}{} }()
		fn()
	})
	a.timer.Stop()
	return a
}

func (a *alarm) set(d time.Duration) { a.timer.Reset(d) }

// stop stops an alarm that was set. When it returns, fn does not run.
func (a *alarm) stop() {
	if !a.timer.Stop() {
		<-a.rung
	}
}

// watchHook starts to watch a hook of l, if the log takes note. It returns
// false if there is nothing to stop.
func (l *link) watchHook(hook uint64) bool {
	d := slowAfter
	switch hook {
	case hookLimiter: // is there to wait
		return false
	case hookHandshake:
		if l.newcomer.deadline.IsZero() {
			return false
		}
		d += time.Until(l.newcomer.deadline)
	}
	if !l.cfg.logger.Enabled(context.Background(), slog.LevelWarn) {
		return false
	}
	if l.running.watch == nil {
		a := newAlarm(l.nameHook)
		l.running.watch = &a
	}
	l.running.watch.set(d)
	return true
}

// nameHook logs the hook that runs for long.
func (l *link) nameHook() {
	defer func() { _ = recover() }() // of a log handler, which is nobody's end
	hook := hookNames[l.running.hook()]
	l.report(slog.LevelWarn, "slow "+hook, l.room, "hook has not returned", "hook", hook)
}

// A hooksAtOnce is the hooks that run at one moment, for a Close that does not
// wait for them: a hook may have called it.
type hooksAtOnce struct {
	links   map[*link]uint64
	members map[*Member][]*link // those of them over which a member came
	asides  []*aside
	traces  []*tracing
}

// An aside is a hook of a hub that runs now, and not as one of a link's own.
type aside struct {
	on   *link     // that whose goroutine runs it; nil: none
	of   *presence // whose end waits for it; nil: of none
	over atomic.Bool
}

// holds reports whether l cannot end before a has returned, and waits for that.
func (a *aside) holds(l *link) bool {
	return !a.over.Load() && (a.on == l || a.of != nil && l.waits.Load() && l.member.presence == a.of)
}

// callAside is callPlain of a hook of a hub that on's goroutine runs or, if that is nil,
// another one. of is the connection that it is about, if it belongs to one of its rooms.
func (r *Room) callAside(on *link, of *presence, hook uint64, fn func() error) error {
	h, a := r.hub, &aside{on: on, of: of}
	h.asideMu.Lock()
	if h.asides == nil {
		h.asides = make(map[*aside]struct{})
	}
	h.asides[a] = struct{}{}
	h.asideMu.Unlock()
	defer func() { // also if the hook ends the goroutine
		a.over.Store(true)
		h.asideMu.Lock()
		delete(h.asides, a)
		h.asideMu.Unlock()
		h.all.mu.Lock()
		h.all.releasedLocked()
		h.all.mu.Unlock()
	}()
	return r.callPlain(hook, fn)
}

// asidesNow returns those that run now.
func (h *Hub) asidesNow() (list []*aside) {
	h.asideMu.Lock()
	defer h.asideMu.Unlock()
	for a := range h.asides {
		list = append(list, a)
	}
	return list
}

// hooksNow returns those that run now.
func (r *Room) hooksNow() hooksAtOnce {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := hooksAtOnce{links: make(map[*link]uint64), members: make(map[*Member][]*link)}
	if r.hub != nil {
		now.asides = r.hub.asidesNow()
	}
	for t := range r.inTrace {
		now.traces = append(now.traces, t)
	}
	for l := range r.links {
		run := l.running.run.Load()
		if run&hookMask == noHook {
			continue
		}
		now.links[l] = run
		if l.member != nil {
			now.members[l.member] = append(now.members[l.member], l)
		}
	}
	return now
}

// runs reports whether the hook of l is not over yet.
func (now hooksAtOnce) runs(l *link) bool {
	run, ok := now.links[l]
	return ok && l.running.run.Load() == run
}

// holdLocked reports whether one of those hooks still runs and l cannot end
// before it has returned: a hook of its own or, for OnLeave waits for that, of an
// earlier link of its member.
func (now hooksAtOnce) holdLocked(l *link) bool {
	if slices.ContainsFunc(now.asides, func(a *aside) bool { return a.holds(l) }) {
		return true
	}
	if l.keepers > 1 { // the other waits for the hook with OnLeave, unless this is that
		return now.runs(l) && now.links[l]&hookMask != hookOnLeave
	}
	if now.runs(l) {
		return true
	}
	return l.member != nil && l.member.conn() == l && slices.ContainsFunc(now.members[l.member], now.runs)
}

// onlyLocked reports whether nothing is left but what waits for those hooks, and
// something does. If nothing is left at all, done says so, flushers included.
func (r *Room) onlyLocked(now hooksAtOnce) bool {
	for l := range r.links {
		if !now.holdLocked(l) {
			return false
		}
	}
	if len(r.acceptors) > 0 || len(r.links) > 0 {
		return len(r.acceptors) == 0
	}
	n := int64(0)
	for _, a := range now.asides {
		if !a.over.Load() {
			n++
		}
	}
	traces := slices.ContainsFunc(now.traces, func(t *tracing) bool { _, runs := r.inTrace[t]; return runs })
	return (n > 0 || traces) && (r.hub == nil || r.hub.left.Load() <= n)
}
