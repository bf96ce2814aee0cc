package tcproom

import "slices"

// A hookRun is one run of a hook of c: the one that begins with the given
// count of [Conn.hookRuns].
type hookRun struct {
	c *Conn
	n uint64
}

// running returns the run of the hook that c is in, if it is in one.
func (c *Conn) running() (run hookRun, ok bool) {
	run = hookRun{c, c.hookRuns.Load()}
	return run, run.n%2 == 1
}

// over reports whether the hook has returned.
func (run hookRun) over() bool { return run.c.hookRuns.Load() != run.n }

// beginHook notes that c is in a hook. Once c has ended, at the room's end, it
// returns the cause instead, but for the hooks that tell of it: so whoever has
// ended c knows that no other hook begins.
func (c *Conn) beginHook(hook uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room != nil && c.cause != nil && hook != hookOnLeave && hook != hookOnReject {
		return c.cause
	}
	c.hook.Store(hook)
	c.hookRuns.Add(1)
	return nil
}

func (c *Conn) endHook() {
	c.hookRuns.Add(1)
	c.hook.Store(noHook)
}

// A hooksAtOnce is the hooks that run at one moment, for a Close that does not
// wait for them: a hook may have called it.
type hooksAtOnce struct {
	conns    map[*Conn]hookRun
	sessions map[*session][]hookRun // of all connections of a member
	rejects  map[*reject]bool
}

// hooksNow returns those that run now.
func (r *Room) hooksNow() hooksAtOnce {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := hooksAtOnce{make(map[*Conn]hookRun), make(map[*session][]hookRun), make(map[*reject]bool)}
	for c := range r.conns {
		if run, ok := c.running(); ok {
			now.conns[c] = run
			if c.session != nil {
				now.sessions[c.session] = append(now.sessions[c.session], run)
			}
		}
	}
	for rej := range r.rejects {
		now.rejects[rej] = true
	}
	return now
}

// holdLocked reports whether one of those hooks still runs and c cannot end
// before it has returned: a hook of its own or, for OnLeave waits for that, of an
// earlier connection of its member.
func (now hooksAtOnce) holdLocked(c *Conn) bool {
	if c.keepers > 1 { // of whom one is in no hook
		return false
	}
	if run, ok := now.conns[c]; ok && !run.over() {
		return true
	}
	return c.session != nil && c.session.conn == c &&
		slices.ContainsFunc(now.sessions[c.session], func(run hookRun) bool { return !run.over() })
}

// onlyLocked reports whether nothing is left but what waits for those hooks, and
// something does. If nothing is left at all, done says so, flushers included.
func (r *Room) onlyLocked(now hooksAtOnce) bool {
	for c := range r.conns {
		if !now.holdLocked(c) {
			return false
		}
	}
	for rej := range r.rejects {
		if !now.rejects[rej] {
			return false
		}
	}
	return len(r.acceptors) == 0 && len(r.conns)+len(r.rejects) > 0
}
