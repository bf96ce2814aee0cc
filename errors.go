package tcproom

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of calls, which end no connection. The causes of ends are [Cause]s.
var (
	// ErrDetached is returned by [Member.Send] for a member that has lost its
	// connection and may still resume.
	ErrDetached = errors.New("tcproom: the member has lost its connection")
	// ErrOption is returned by Dial, Join, Serve and Door, and is the end of a Client and
	// of a Conn of NewConn, for an option that cannot work.
	ErrOption = errors.New("tcproom: option cannot work")
	// ErrNoFrame is returned by a Codec that says nothing for an event or a request,
	// or for a frame that says nothing.
	ErrNoFrame = errors.New("tcproom: codec says nothing for this")

	// ErrOffline is returned by Send of a [Client] that has no connection, if
	// [WithOffline] says so.
	ErrOffline = errors.New("tcproom: no connection to the room")
)

// errReceive is returned by Receive and Events if the loop of [OnEvent] reads.
var errReceive = fmt.Errorf("tcproom: this connection is read by its OnEvent hook: %w", errors.ErrUnsupported)

// errUnread is returned by Send and SendAcked of a [Client] that would have to
// wait for the room while too many events wait to be received.
var errUnread = errors.New("tcproom: too many events wait to be received: receive them, in another goroutine than the one that sends")

// A HookError wraps [ErrHook]: the named hook panicked, ended its goroutine
// with runtime.Goexit, or returned an error.
type HookError struct {
	Hook  string // as in StuckConn; or the types of a Framing and Codec that failed
	Err   error  // what it returned, or nil
	Panic any    // what it panicked with, or nil; both nil: runtime.Goexit
	Stack []byte // of the panic
}

func (e *HookError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("tcproom: hook %s: %v", e.Hook, e.Err)
	case e.Panic != nil:
		return fmt.Sprintf("tcproom: hook %s panicked: %q", e.Hook, fmt.Sprint(e.Panic))
	}
	return fmt.Sprintf("tcproom: hook %s called runtime.Goexit", e.Hook)
}

// Unwrap returns ErrHook and, where the hook failed with an error, that error.
func (e *HookError) Unwrap() []error {
	if e.Err != nil {
		return []error{ErrHook, e.Err}
	}
	return []error{ErrHook}
}

// A StopError says what [Room.Shutdown] or [Room.Close] had to cut, and what
// did not end although it was cut. It wraps Err.
type StopError struct {
	Cut   []CutMember // of Shutdown: members that did not get all that was ordered before it
	Stuck []StuckConn // conns that are still there
	// Unordered counts, in a room with a log, what was on its way to the log or queued for
	// it, and of which it is not known if it was ordered.
	Unordered int
	// Err is the context's error if it ended first; of a room of a hub that could not be
	// removed, why. Else it is nil.
	Err error
}

// A CutMember is a member that was cut while the room stopped.
type CutMember struct {
	Member MemberInfo
	// Missed counts the events ordered before the stop of which not every byte
	// was handed to its transport. What the transport had taken, and the member may not
	// have read, is not among them, and neither are direct messages and the goodbye,
	// which are not ordered: 0 means that the member lacks at most these.
	Missed uint64
}

// A StuckConn is a connection, a listener, or calls of the function of [WithTrace], that
// did not end when its room stopped.
type StuckConn struct {
	Member MemberInfo // zero if it had not joined
	Addr   string
	// Hook names the hook of this conn that has not returned, by the option that
	// set it: "OnMessage", "WithNameValidator", or "Limiter of WithRate" for what the
	// function of that option returned. Empty: its net.Conn did not return from Read,
	// Write or Close although it was closed.
	Hook string
}

func (e *StopError) Error() string {
	var b strings.Builder
	b.WriteString("tcproom: stop")
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if n := len(e.Cut); n > 0 {
		var missed uint64
		for _, m := range e.Cut {
			missed += m.Missed
		}
		fmt.Fprintf(&b, ": %d members were cut; together they missed %d events", n, missed)
	}
	if e.Unordered > 0 {
		fmt.Fprintf(&b, "; it is not known of %d entries if the log has ordered them", e.Unordered)
	}
	for i, s := range e.Stuck {
		if i == 8 {
			fmt.Fprintf(&b, "; and %d more", len(e.Stuck)-i)
			break
		}
		if s.Hook != "" {
			fmt.Fprintf(&b, "; conn %q of %q is still in hook %s: make it return", s.Addr, s.Member.Name, s.Hook)
		} else {
			fmt.Fprintf(&b, "; conn %q of %q is still in its net.Conn or net.Listener: make Close unblock its other methods", s.Addr, s.Member.Name)
		}
	}
	return b.String()
}

// Unwrap returns the context's error, if that is why the stop was cut short.
func (e *StopError) Unwrap() error { return e.Err }
