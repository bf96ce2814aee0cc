package tcproom

import (
	"context"
	"log/slog"
	"time"
)

// slowAfter is how long a hook may run before the log names it. A Handshake
// hook has that time from its deadline on, since it is there to wait for a peer.
const slowAfter = time.Second

// A hookWatch names a hook that runs for long, while it still runs. Its timer
// is used again for the next hook of the conn.
type hookWatch struct {
	timer *time.Timer
	named chan struct{} // receives when a record that was begun has been made
}

// newHookWatch starts to watch. After d, name is called on a goroutine of its own,
// for which stop waits.
func newHookWatch(d time.Duration, name func()) *hookWatch {
	w := &hookWatch{named: make(chan struct{}, 1)}
	w.timer = time.AfterFunc(d, func() {
		defer func() { w.named <- struct{}{} }()
		defer func() { _ = recover() }() // of a log handler, which is nobody's end
		name()
	})
	return w
}

func (w *hookWatch) stop() {
	if !w.timer.Stop() {
		<-w.named
	}
}

// watchHook starts to watch a hook of c, where the log would take note. It
// returns false where there is nothing to stop.
func (c *Conn) watchHook(hook uint32) bool {
	d := slowAfter
	switch hook {
	case hookLimiter: // is there to wait
		return false
	case hookHandshake:
		d += time.Until(c.deadline)
	}
	if !c.logger().Enabled(context.Background(), slog.LevelWarn) {
		return false
	}
	if c.slowHook == nil {
		c.slowHook = newHookWatch(d, c.nameHook)
	} else {
		c.slowHook.timer.Reset(d)
	}
	return true
}

func (c *Conn) nameHook() {
	hook := hookNames[c.hook.Load()]
	c.report(slog.LevelWarn, "slow "+hook, "tcproom: a hook is still running", "hook", hook,
		"addr", addrString(c.RemoteAddr()), "id", c.ID(), "name", c.Name())
}
