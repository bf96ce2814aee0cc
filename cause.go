package tcproom

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A Cause is why a connection ended or was refused: an error for [errors.Is],
// the code on the wire, and a key of [Stats].Left at once. The room uses those
// below; a hook may refuse with one of its own, see [RefusedError].
type Cause string

// The causes.
const (
	// ErrLeft is the cause if the peer left in good order: it closed its
	// connection, or said goodbye. errors.Is(ErrLeft, io.EOF) is true.
	ErrLeft Cause = "left"
	// ErrCutOff is the cause if the peer left in the middle of a frame.
	// errors.Is(ErrCutOff, io.ErrUnexpectedEOF) is true.
	ErrCutOff Cause = "cut-off"
	// ErrReset is the cause if the transport broke, by a reset or another error,
	// which is wrapped as well.
	ErrReset Cause = "reset"
	// ErrEnded is the cause if this end closed the connection by itself.
	// errors.Is(ErrEnded, net.ErrClosed) is true.
	ErrEnded Cause = "ended"
	// ErrRoomClosed is returned by Serve, ServeConn, Join, Broadcast and Post
	// of a room that was shut down or closed, by Serve when that happens, and is
	// the cause with which its members leave.
	ErrRoomClosed Cause = "closed"
	// ErrKicked is the cause of a member that [Member.Kick] removed.
	ErrKicked Cause = "kicked"
	// ErrTakenOver is the cause of a member's connection if the member resumed
	// on another one.
	ErrTakenOver Cause = "taken-over"
	// ErrSlow is the cause of a member that stopped reading and lagged
	// further behind than the backlog allows.
	ErrSlow Cause = "slow"
	// ErrWriteTimeout is the cause if a connection took no byte for the write
	// timeout while bytes waited.
	ErrWriteTimeout Cause = "write-timeout"
	// ErrIdleTimeout is the cause if the peer sent nothing for the idle timeout,
	// or did not answer a heartbeat.
	ErrIdleTimeout Cause = "idle-timeout"
	// ErrRateLimited is the cause of a member whose [Limiter] returned an
	// error for a frame, such as one that is larger than the limiter's burst.
	ErrRateLimited Cause = "rate-limited"
	// ErrMalformed is the cause if the peer sent bytes that its framing or codec
	// does not allow. A Framing or Codec returns it, wrapped, for such bytes.
	ErrMalformed Cause = "malformed"
	// ErrWrongDoor is the cause if the peer speaks another protocol: HTTP, TLS or
	// another codec.
	ErrWrongDoor Cause = "wrong-door"
	// ErrFrameTooLarge is the cause if the peer sent a frame above the limit, and
	// is returned by Send, Post and Broadcast for a body above [WithMaxMessage].
	ErrFrameTooLarge Cause = "too-large"
	// ErrUnframeable is returned by Send, Post and Broadcast for a body that
	// a framing in use cannot carry, such as one with a newline in [Lines].
	// A Framing returns it, wrapped, from AppendFrame.
	ErrUnframeable Cause = "unframeable"
	// ErrHook is the cause if a hook panicked, called runtime.Goexit or, being
	// OnMessage or OnEvent, failed; a [*HookError] says which.
	ErrHook Cause = "hook"
	// ErrDenied is the cause of a refusal by a hook that returned an error of its own.
	ErrDenied Cause = "denied"
	// ErrRetry is the cause of a refusal by a hook whose own deadline has passed:
	// the peer may try again.
	ErrRetry Cause = "retry"
	// ErrFutureSeq is the cause of a refusal because a hello wants to resume
	// behind an event that there has not been.
	ErrFutureSeq Cause = "future"
	// ErrRoomFull is the cause of a refusal because of [WithMaxMembers].
	ErrRoomFull Cause = "full"
	// ErrTooManyPending is the cause of a refusal because of [WithMaxPending].
	ErrTooManyPending Cause = "busy"
	// ErrTooManyFromAddress is the cause of a refusal because of [WithMaxPerAddress].
	ErrTooManyFromAddress Cause = "too-many-from-address"
	// ErrTooManyLanes is the cause of a refusal, and is returned by Serve,
	// when a room would have to speak more than 16 pairs of framing and codec.
	ErrTooManyLanes Cause = "too-many-lanes"
	// ErrHandshakeTimeout is the cause of a refusal because TLS, hello and
	// the handshake hook together took longer than [WithHandshakeTimeout].
	ErrHandshakeTimeout Cause = "handshake-timeout"
	// ErrNameInvalid is the cause of a refusal because of [WithNameValidator].
	ErrNameInvalid Cause = "name-invalid"
	// ErrNameTaken is the cause of a refusal because of [WithUniqueNames].
	ErrNameTaken Cause = "name-taken"
)

// causes are those of the library. What an error wraps first in this order is
// its cause.
var causes = []struct {
	cause Cause
	text  string
	final bool // it would only come again if the client did
}{
	{ErrHook, "hook", true},
	{ErrWrongDoor, "wrong door", true},
	{ErrKicked, "kicked", true},
	{ErrTakenOver, "taken over by another connection", true},
	{ErrFutureSeq, "cannot resume from a seq that is not there yet", true},
	{ErrRateLimited, "rate limit", false},
	{ErrSlow, "reads too slowly: lags behind more than the backlog", false},
	{ErrWriteTimeout, "write timeout: the peer's connection takes no more bytes", false},
	{ErrIdleTimeout, "idle timeout: the peer sent nothing", false},
	{ErrHandshakeTimeout, "handshake timeout", false},
	{ErrRoomClosed, "room closed", false},
	{ErrRoomFull, "room is full", false},
	{ErrTooManyPending, "too many connections wait to join", false},
	{ErrTooManyFromAddress, "too many connections from one address", false},
	{ErrTooManyLanes, "more than 16 pairs of framing and codec in one room; use comparable Framing and Codec values, or fewer of them", false},
	{ErrNameTaken, "name is taken", false},
	{ErrNameInvalid, "invalid name", true},
	{ErrFrameTooLarge, "message too large", true},
	{ErrMalformed, "malformed", true},
	{ErrUnframeable, "body cannot be framed", true},
	{ErrDenied, "denied", true},
	{ErrRetry, "not now: try again later", false},
	{ErrReset, "connection broke", false},
	{ErrCutOff, "the peer left in the middle of a frame", false},
	{ErrLeft, "the peer left", false},
	{ErrEnded, "closed by this end", false},
}

// Error returns what the cause means, for people.
func (c Cause) Error() string {
	for i := range causes {
		if causes[i].cause == c {
			return "tcproom: " + causes[i].text
		}
	}
	return fmt.Sprintf("tcproom: %q", string(c))
}

// Is reports whether target is the standard library's error for c: [io.EOF] for
// ErrLeft, [io.ErrUnexpectedEOF] for ErrCutOff and [net.ErrClosed] for ErrEnded.
func (c Cause) Is(target error) bool {
	switch c {
	case ErrLeft:
		return target == io.EOF
	case ErrCutOff:
		return target == io.ErrUnexpectedEOF
	case ErrEnded:
		return target == net.ErrClosed
	}
	return false
}

// final reports whether the same would come again if a client came back.
func (c Cause) final() bool {
	for i := range causes {
		if causes[i].cause == c {
			return causes[i].final
		}
	}
	return false
}

// causeOf returns the cause that err is or wraps; ErrDenied for an error of a
// hook's own.
func causeOf(err error) Cause {
	switch e := err.(type) {
	case Cause:
		return e
	case *refusal:
		return e.cause()
	case *EndError:
		return e.Cause
	}
	switch {
	case err == io.EOF:
		return ErrLeft
	case err == net.ErrClosed:
		return ErrEnded
	}
	for i := range causes {
		if errors.Is(err, causes[i].cause) {
			return causes[i].cause
		}
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return ErrCutOff
	case errors.Is(err, io.EOF):
		return ErrLeft
	case errors.Is(err, net.ErrClosed):
		return ErrEnded
	}
	return ErrDenied
}

// An EndError is how a stream ended, at the dialling end: Receive, Events and
// Err of a [Conn] and of a [Client] return it. It wraps its Cause.
type EndError struct {
	Cause Cause
	// Text is the reason for people: the peer's words if the room said goodbye.
	Text string
	// Final says that coming back would not help, RetryAfter how long to wait at
	// least before that; 0 if the room does not say.
	Final      bool
	RetryAfter time.Duration

	err error // what it wraps beside the cause, or nil
}

func (e *EndError) Error() string {
	switch {
	case e.err != nil:
		return e.err.Error()
	case e.Text == "":
		return e.Cause.Error()
	}
	return fmt.Sprintf("%v: the room's reason is %q", e.Cause, e.Text)
}

// Unwrap returns the cause, and the transport's or codec's error if there is one.
func (e *EndError) Unwrap() []error {
	if e.err != nil {
		return []error{e.Cause, e.err}
	}
	return []error{e.Cause}
}

// endError returns how a stream ended with err, an *EndError if it is none yet.
// An end by this end itself stays as it is.
func endError(err error) error {
	if end, ok := errors.AsType[*EndError](err); ok {
		return end
	}
	if _, ok := errors.AsType[*RefusedError](err); ok || err == nil || err == net.ErrClosed {
		return err
	}
	cause := causeOf(err)
	return &EndError{Cause: cause, Final: cause.final(), err: err}
}

// A RefusedError is returned by Dial, Join and Receive if the room did not
// let the connection in and its codec says so. A hook that returns one, or wraps
// it, refuses with exactly what it says. It wraps its Cause.
type RefusedError struct {
	// Cause is the code for programs; a hook's own is at most 64 bytes on the wire.
	// Empty means [ErrDenied].
	Cause Cause
	// Text is the reason for people, at most 512 bytes on the wire.
	Text string
	// Final says that coming back would not help, RetryAfter how long to wait at
	// least before that; 0 if the room does not say.
	Final      bool
	RetryAfter time.Duration
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("tcproom: the connection was refused: %q (code %q)", e.Text, string(e.Cause))
}

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Cause }

// refused returns the error for a Refused event.
func (e *EndError) refused() *RefusedError {
	return &RefusedError{Cause: e.Cause, Text: e.Text, Final: e.Final, RetryAfter: e.RetryAfter}
}

// A refusal is the error with which a hook refused a connection.
type refusal struct {
	error
	code Cause
}

func (r *refusal) Unwrap() error { return r.error }

func (r *refusal) cause() Cause { return r.code }
