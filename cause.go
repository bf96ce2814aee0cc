package tcproom

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// A Cause is why a connection ended or was refused. It is all three: an error for
// [errors.Is], the code on the wire, and a key of [Stats].Left. The library has these; a
// hook may refuse with one of its own, see [RefusedError]. [errors.Is] finds the
// standard library's error as well if there is one, also for a code that the peer sent:
// a [RefusedError] of "handshake-timeout" is [os.ErrDeadlineExceeded].
//
//	code                   meaning                                  standard error
//	left                   the peer closed its end or said goodbye  io.EOF
//	cut-off                the peer left in the middle of a frame   io.ErrUnexpectedEOF
//	reset                  the transport broke; the error that is
//	                       returned wraps the transport's, too
//	ended                  this end closed it by itself             net.ErrClosed
//	closed                 ErrRoomClosed: the room stopped
//	kicked                 ErrKicked: Member.Kick removed it
//	taken-over             ErrTakenOver: resumed on another one
//	slow                   ErrSlow: lags too far behind
//	write-timeout          WithWriteTimeout: it took no byte        os.ErrDeadlineExceeded
//	idle-timeout           WithIdleTimeout, WithHeartbeat           os.ErrDeadlineExceeded
//	handshake-timeout      WithHandshakeTimeout                     os.ErrDeadlineExceeded
//	rate-limited           WithRate: its limiter failed
//	malformed              ErrMalformed: not what was agreed on
//	wrong-door             ErrWrongDoor: another protocol
//	too-large              ErrFrameTooLarge: above the limit
//	unframeable            ErrUnframeable: of a body to be sent
//	hook                   ErrHook: a hook failed
//	denied                 ErrDenied: a hook refused
//	retry                  a hook's own deadline passed: come back
//	future                 the hello names a seq that is not there yet
//	full                   ErrRoomFull: WithMaxMembers
//	busy                   WithMaxPending; Hub.Tell: too much waits for one
//	too-many-from-address  WithMaxPerAddress
//	too-many-lanes         over 16 pairs of framing and codec;
//	                       returned by Serve, too
//	name-invalid           ErrNameInvalid: WithNameValidator
//	name-taken             ErrNameTaken: WithUniqueNames
//	not-member             ErrNotMember: has not joined, or has left
//	room-name              ErrRoomName: no room may be called so
//	no-room                ErrNoRoom: there is none, and none is made
//	too-many-rooms         ErrTooManyRooms: of a hub, or of a connection
//	one-room               this connection is in one room, and names none
//	moved                  the member went to another room
//	removed                the room was removed from its hub
//	muted                  ErrMuted: may not say anything for now
//	banned                 ErrBanned: may not come in
//	recipient              nobody has that ID or name, or several do
//	restarting             ErrRestarting: this node stops, others go on
//	elsewhere              ErrElsewhere: the member went on at another node
//	unavailable            ErrUnavailable: the room's log does not answer
//	uncertain              ErrUncertain: it is not known if it was ordered
//
// A cause that has no constant is compared as
//
//	errors.Is(err, tcproom.Cause("busy"))
type Cause string

// The causes that have a name in Go.
const (
	// ErrRoomClosed is returned by Serve, Door, Admit, ServeConn, Join, Broadcast
	// and Post of a room that was shut down or closed, by Serve when that happens, and is
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
	// ErrRoomFull is the cause of a refusal because of [WithMaxMembers].
	ErrRoomFull Cause = "full"
	// ErrNameInvalid is the cause of a refusal because of [WithNameValidator].
	ErrNameInvalid Cause = "name-invalid"
	// ErrNameTaken is the cause of a refusal because of [WithUniqueNames].
	ErrNameTaken Cause = "name-taken"
	// ErrNotMember is returned by Post, Send and Kick of a [Member] that has not
	// joined yet or has left, and is the cause of a refusal of what only a member of
	// the room may ask for.
	ErrNotMember Cause = "not-member"
	// ErrRoomName is the cause of a refusal of a name that no room may have, and is
	// returned, wrapped, by [ValidRoom] and by a [Codec] for such a name.
	ErrRoomName Cause = "room-name"
	// ErrNoRoom is the cause of a refusal because there is no room of that name, and
	// none is made.
	ErrNoRoom Cause = "no-room"
	// ErrTooManyRooms is the cause of a refusal because there are, or the connection is
	// in, as many rooms as may be.
	ErrTooManyRooms Cause = "too-many-rooms"
	// ErrMuted is the cause of a refusal of what a member says while it is muted.
	ErrMuted Cause = "muted"
	// ErrBanned is the cause of a member that was put out for good or for a time, and
	// of a refusal because of that.
	ErrBanned Cause = "banned"

	// The following are of a room with a log, see [WithLog], but for ErrUncertain.

	// ErrRestarting is the cause of a connection whose process stops while the room goes
	// on in others.
	ErrRestarting Cause = "restarting"
	// ErrElsewhere is what [OnLeave] gets if the member has resumed at another process.
	ErrElsewhere Cause = "elsewhere"
	// ErrUnavailable is the cause of a refusal, and of the end of a connection, because the
	// room's log does not answer, or was lost and the member cannot be told of that, and is
	// returned by calls for what is surely not ordered.
	ErrUnavailable Cause = "unavailable"
	// ErrUncertain is returned by a call that ended while what it wants ordered was on its
	// way: the room may have taken it, or may still take it. SendAcked of a [Client] returns
	// it, and Append of a [Log] for a record that is perhaps stored.
	ErrUncertain Cause = "uncertain"
)

// The others, which the table of [Cause] explains.
const (
	errLeft               Cause = "left"
	errCutOff             Cause = "cut-off"
	errReset              Cause = "reset"
	errEnded              Cause = "ended"
	errWriteTimeout       Cause = "write-timeout"
	errIdleTimeout        Cause = "idle-timeout"
	errHandshakeTimeout   Cause = "handshake-timeout"
	errRateLimited        Cause = "rate-limited"
	errRetry              Cause = "retry"
	errFutureSeq          Cause = "future"
	errTooManyPending     Cause = "busy"
	errTooManyFromAddress Cause = "too-many-from-address"
	errTooManyLanes       Cause = "too-many-lanes"
	errOneRoom            Cause = "one-room"
	errMoved              Cause = "moved"
	errRemoved            Cause = "removed"
	errRecipient          Cause = "recipient"
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
	{errFutureSeq, "cannot go on from a seq that is not there yet", true},
	{errRateLimited, "rate limit", false},
	{ErrSlow, "reads too slowly: lags behind more than the backlog", false},
	{errWriteTimeout, "write timeout: the peer's connection takes no more bytes", false},
	{errIdleTimeout, "idle timeout: the peer sent nothing", false},
	{errHandshakeTimeout, "handshake timeout", false},
	{ErrRoomClosed, "room closed", false},
	{ErrRoomFull, "room is full", false},
	{errTooManyPending, "too many connections wait to join", false},
	{errTooManyFromAddress, "too many connections from one address", false},
	{errTooManyLanes, "more than 16 pairs of framing and codec in one room; use comparable Framing and Codec values, or fewer of them", false},
	{ErrNameTaken, "name is taken", false},
	{ErrNameInvalid, "invalid name", true},
	{ErrFrameTooLarge, "message too large", true},
	{ErrMalformed, "malformed", true},
	{ErrUnframeable, "body cannot be framed", true},
	{ErrDenied, "denied", true},
	{errRetry, "not now: try again later", false},
	{errReset, "connection broke", false},
	{errCutOff, "the peer left in the middle of a frame", false},
	{errLeft, "the peer left", false},
	{errEnded, "closed by this end", false},
	{ErrNotMember, "not a member of this room", false},
	{ErrRoomName, "invalid name of a room", true},
	{ErrNoRoom, "no such room", false},
	{ErrTooManyRooms, "too many rooms", false},
	{errOneRoom, "there is one room for this connection", true},
	{errMoved, "gone to another room", false},
	{errRemoved, "room removed", false},
	{ErrMuted, "muted", false},
	{ErrBanned, "banned", true},
	{errRecipient, "no such recipient, or more than one", false},
	{ErrRestarting, "the process stops, and the room goes on in others", false},
	{ErrElsewhere, "gone on at another process", false},
	{ErrUncertain, "the room may have taken it, or may still take it", false},
	{ErrUnavailable, "the room's log does not answer", false},
}

// Causes returns the causes of the library, which are all but those that a hook, a codec
// or a peer makes up. The slice is the caller's.
func Causes() []Cause {
	list := make([]Cause, len(causes))
	for i := range causes {
		list[i] = causes[i].cause
	}
	return list
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

// Is reports whether target is the standard library's error for c, as the table of
// [Cause] has it.
func (c Cause) Is(target error) bool {
	switch c {
	case errLeft:
		return target == io.EOF
	case errCutOff:
		return target == io.ErrUnexpectedEOF
	case errEnded:
		return target == net.ErrClosed
	case errWriteTimeout, errIdleTimeout, errHandshakeTimeout:
		return target == os.ErrDeadlineExceeded
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
		return errLeft
	case err == net.ErrClosed:
		return errEnded
	}
	for i := range causes {
		if errors.Is(err, causes[i].cause) {
			return causes[i].cause
		}
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCutOff
	case errors.Is(err, io.EOF):
		return errLeft
	case errors.Is(err, net.ErrClosed):
		return errEnded
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
	case e.Text == "", "tcproom: "+e.Text == e.Cause.Error(): // it says the same
		return e.Cause.Error()
	case e.Cause == errLeft: // a goodbye of a codec that carries no codes
		return fmt.Sprintf("tcproom: the room said goodbye: %q", e.Text)
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
	if _, ok := errors.AsType[*RefusedError](err); ok || err == nil || err == error(errEnded) {
		return err
	}
	cause := causeOf(err)
	return &EndError{Cause: cause, Final: cause.final(), err: err}
}

// A RefusedError is returned by Dial, Join and Receive if the room did not
// let the connection in and its codec says so; by EnterRoom, LeaveRoom and MoveRoom of a
// [Client] if the hub did not do what was asked, and by SendAcked and SendAckedTo if the
// message was not taken: then the connection goes on. A hook that returns one, or wraps
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
	return fmt.Sprintf("tcproom: refused: %q (code %q)", e.Text, string(e.Cause))
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
