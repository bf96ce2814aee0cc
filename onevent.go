package tcproom

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/probe"
)

const hookOnEvent = "OnEvent"

// An eventLoop is what hands the events of a dialling end to its OnEvent hook, on
// one goroutine.
type eventLoop struct {
	hook    func(Event)
	end     func(error) // ends the dialling end
	name    func() string
	addr    func() string
	logger  *slog.Logger
	probe   *probe.Probe
	running atomic.Bool   // the hook is
	done    chan struct{} // closed by the goroutine at its end
	watch   *alarm        // the goroutine's; nil until it is needed
}

func (o *dialConfig) newEventLoop(end func(error), name func() string, addr func() string) *eventLoop {
	return &eventLoop{hook: o.onEvent, end: end, name: name, addr: addr, logger: o.logger, probe: &o.probe, done: make(chan struct{})}
}

// call calls the hook, and reports whether it returned. A panic ends the
// dialling end; so does a runtime.Goexit, which then runs on.
func (e *eventLoop) call(ev Event) (returned bool) {
	e.running.Store(true)
	watched := e.startWatch()
	defer func() {
		if watched {
			e.watch.stop()
		}
		e.running.Store(false)
		if returned {
			return
		}
		err := &HookError{Hook: hookOnEvent}
		if v := recover(); v != nil {
			err.Panic, err.Stack = v, stack()
		}
		e.logger.Error("tcproom: hook failed", "name", e.name(), "addr", e.addr(), "hook", err.Hook, "cause", err, "stack", string(err.Stack))
		e.probe.Failed(err, e.name())
		e.end(err)
	}()
	e.hook(ev)
	return true
}

// startWatch sees to it that the log names the hook if it runs for long. It returns
// false if there is nothing to stop.
func (e *eventLoop) startWatch() bool {
	if !e.logger.Enabled(context.Background(), slog.LevelWarn) {
		return false
	}
	if e.watch == nil {
		a := newAlarm(e.nameHook)
		e.watch = &a
	}
	e.watch.set(slowAfter)
	return true
}

// nameHook logs that the hook runs for long.
func (e *eventLoop) nameHook() {
	defer func() { _ = recover() }() // of a log handler, which is nobody's end
	e.logger.Warn("tcproom: hook has not returned", "name", e.name(), "addr", e.addr(), "hook", hookOnEvent)
}

// wait waits, not for ever, until the last event was handed over.
func (e *eventLoop) wait() {
	t := time.NewTimer(lingers)
	defer t.Stop()
	select {
	case <-e.done:
	case <-t.C:
	}
}
