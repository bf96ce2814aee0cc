package tcproom

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The causes for which a connection ends, and what else can be told apart with
// [errors.Is]. A conn's end has exactly one cause, which [OnLeave] or
// [OnReject] and [context.Cause] of [Conn.Context] report: one of the causes
// below, [io.EOF] (the peer left), [io.ErrUnexpectedEOF] (it left in the middle
// of a frame) or [net.ErrClosed] ([Conn.Close] was called at this end).
var (
	// ErrRoomClosed is returned by Serve, ServeConn, Join, Broadcast and Post
	// of a room that was shut down or closed, by Serve when that happens, and is
	// the cause with which its members leave.
	ErrRoomClosed = errors.New("tcproom: room closed")

	// ErrKicked is the cause of a member that [Room.Kick] removed; the reason
	// follows in the text.
	ErrKicked = errors.New("tcproom: kicked")
	// ErrSlow is the cause of a member that stopped reading and lagged
	// further behind than the backlog allows.
	ErrSlow = errors.New("tcproom: reads too slowly: lags behind more than the backlog")
	// ErrWriteTimeout is the cause of a member whose connection took no byte
	// for the write timeout while bytes waited.
	ErrWriteTimeout = errors.New("tcproom: write timeout: the peer's connection takes no more bytes")
	// ErrIdleTimeout is the cause of a conn that sent nothing for the idle
	// timeout, or did not answer a heartbeat.
	ErrIdleTimeout = errors.New("tcproom: idle timeout: the peer sent nothing")
	// ErrRateLimited is the cause of a member whose [Limiter] returned an
	// error for a frame, such as one that is larger than the limiter's burst.
	ErrRateLimited = errors.New("tcproom: rate limit")
	// ErrReset is the cause of a conn whose transport broke, by a reset or
	// another error, which is wrapped as well.
	ErrReset = errors.New("tcproom: connection broke")
	// ErrMalformed is the cause of a conn that sent bytes which its framing
	// or codec does not allow. A Framing or Codec returns it, wrapped, for such bytes.
	ErrMalformed = errors.New("tcproom: malformed")
	// ErrWrongDoor is the cause of a conn whose first bytes are of somebody who is at
	// the wrong door: HTTP, TLS at a plain port or the reverse, another codec or another
	// framing. At a dialling end it is what Dial, Receive and a [Client] return for
	// what answers there. The likely mistake follows in the text. Nothing of these
	// bytes is a message.
	ErrWrongDoor = errors.New("tcproom: wrong door")
	// ErrFrameTooLarge is the cause of a conn that sent a frame above its
	// limit, and is returned by Send, Post and Broadcast for a body above [WithMaxMessage].
	ErrFrameTooLarge = errors.New("tcproom: message too large")
	// ErrHook is the cause of a conn whose hook panicked, called
	// runtime.Goexit or, being OnMessage or OnEvent, failed; a [*HookError] says which.
	ErrHook = errors.New("tcproom: hook")

	// ErrTakenOver is the cause of a member's connection when the member resumed
	// on another one.
	ErrTakenOver = errors.New("tcproom: taken over by another connection")
	// ErrDetached is returned by [Conn.Send], at the room's end, for a member whose
	// connection is lost and that may still resume.
	ErrDetached = errors.New("tcproom: the member has lost its connection")
	// ErrFutureSeq is the cause of a refusal because a hello wants to resume
	// behind an event that there has not been.
	ErrFutureSeq = errors.New("tcproom: cannot resume from a seq that is not there yet")
	// ErrGoodbye is returned by a [Resumer]'s ParseNumbered for a goodbye.
	ErrGoodbye = errors.New("tcproom: goodbye")

	// ErrOffline is returned by Send of a [Client] that has no connection, where
	// [WithOffline] says so.
	ErrOffline = errors.New("tcproom: no connection to the room")
	// ErrUncertain is returned by SendAcked of a [Client] for a message that the
	// room may have taken, or may still take.
	ErrUncertain = errors.New("tcproom: the room may have taken the message, and has not acknowledged it")
	// ErrUnread is returned by Send and SendAcked of a [Client] that would have to
	// wait for the room, which is not read from because too many events wait to be received.
	ErrUnread = errors.New("tcproom: too many events wait to be received: receive them, in another goroutine than the one that sends")

	// ErrRoomFull is the cause of a refusal because of [WithMaxMembers].
	ErrRoomFull = errors.New("tcproom: room is full")
	// ErrTooManyPending is the cause of a refusal because of [WithMaxPending].
	ErrTooManyPending = errors.New("tcproom: too many connections wait to join")
	// ErrTooManyFromAddress is the cause of a refusal because of [WithMaxPerAddress].
	ErrTooManyFromAddress = errors.New("tcproom: too many connections from one address")
	// ErrHandshakeTimeout is the cause of a refusal because TLS, hello and
	// the Handshake hook together took longer than [WithHandshakeTimeout].
	ErrHandshakeTimeout = errors.New("tcproom: handshake timeout")
	// ErrNameInvalid is the cause of a refusal because of [WithNameValidator].
	ErrNameInvalid = errors.New("tcproom: invalid name")
	// ErrNameTaken is the cause of a refusal because of [WithUniqueNames].
	ErrNameTaken = errors.New("tcproom: name is taken")
	// ErrTooManyLanes is the cause of a refusal, and is returned by Serve,
	// when a room would have to speak more than 16 pairs of framing and codec.
	ErrTooManyLanes = errors.New("tcproom: more than 16 pairs of framing and codec in one room; use comparable Framing and Codec values, or fewer of them")

	// ErrUnframeable is returned by Send, Post and Broadcast for a body that
	// a framing in use cannot carry, such as one with a newline in [Lines].
	// A Framing returns it, wrapped, from AppendFrame.
	ErrUnframeable = errors.New("tcproom: body cannot be framed")
	// ErrNoFrame is returned by a Codec that has nothing to say for an event.
	ErrNoFrame = errors.New("tcproom: codec says nothing for this event")
	// ErrPing and ErrPong, which wrap ErrNoFrame, are returned by a [Pinger]
	// for a ping and a pong.
	ErrPing = fmt.Errorf("%w: ping", ErrNoFrame)
	ErrPong = fmt.Errorf("%w: pong", ErrNoFrame)
	// ErrNotMember is returned by Post and Kick for a conn that is not, or no
	// longer, a member of the room.
	ErrNotMember = errors.New("tcproom: not a member of this room")
	// ErrReceive is returned by Receive and Events where somebody else reads:
	// at the room's end outside of the Handshake hook, and at a dialling end with [OnEvent].
	ErrReceive = errors.New("tcproom: this conn is read by its room or its OnEvent hook")
)

// A RefusedError is returned by Dial, Join and Receive when the room did not
// let the conn in and its codec says so.
type RefusedError struct {
	Code    string // for programs, as docs/wire.md lists them
	Message string // for people; the peer's words
	// Final says that coming back would not help, and RetryAfter how long to
	// wait at least before that, 0 where the room does not say.
	Final      bool
	RetryAfter time.Duration
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("tcproom: the room refused the connection: %q (code %q)", e.Message, e.Code)
}

// Is reports whether target is [ErrWrongDoor] and the room said so.
func (e *RefusedError) Is(target error) bool { return target == ErrWrongDoor && e.Code == "wrong-door" }

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
// did not end although it was cut. It wraps the context's error, if that is why.
type StopError struct {
	Cut   []CutMember // of Shutdown: members that did not get all that was ordered before it
	Stuck []StuckConn // conns that are still there
	Err   error       // the context's error, or nil
}

// A CutMember is a member that was cut while the room stopped.
type CutMember struct {
	Member Member
	// Missed counts the events ordered before the stop of which not every byte
	// was handed to its transport. What the transport had taken, and the member
	// may not have read, is not among them.
	Missed uint64
}

// A StuckConn is a connection, or a listener, that did not end when its room stopped.
type StuckConn struct {
	Member Member // zero where it had not joined
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
		fmt.Fprintf(&b, ": %d members were cut, who missed %d events in all", n, missed)
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
