package roomhttp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/tcproom"
)

// ErrUnauthorized is what a function of [WithAuth] returns, or wraps, if it does not
// know who somebody is: 401, where another error is 403.
var ErrUnauthorized = errors.New("roomhttp: not authenticated")

// errHeldBack is why a message is given up that the room has held back for too long.
var errHeldBack = errors.New("the room holds messages back now, and has not taken this one")

// Codes of problems that no room has.
const (
	codeUnauthorized     tcproom.Cause = "unauthorized"
	codeNotFound         tcproom.Cause = "not-found"
	codeMethodNotAllowed tcproom.Cause = "method-not-allowed"
	codeNotAcceptable    tcproom.Cause = "not-acceptable"
	codeUnsupportedType  tcproom.Cause = "unsupported-type"
	codeNumberUsed       tcproom.Cause = "number-used"
	codeMisdirected      tcproom.Cause = "misdirected"
	codeTimeout          tcproom.Cause = "timeout"
	codeBusy             tcproom.Cause = "busy"
)

// statuses are those of the causes; what an error wraps first in this order is its
// cause. A zero retry means that no Retry-After is sent.
var statuses = []struct {
	cause  tcproom.Cause
	status int
	retry  time.Duration
}{
	{tcproom.ErrHook, http.StatusInternalServerError, 0},
	{tcproom.ErrUncertain, http.StatusGatewayTimeout, 0}, // before what it wraps
	{"rate-limited", http.StatusTooManyRequests, time.Second},
	{"too-many-from-address", http.StatusTooManyRequests, 5 * time.Second},
	{tcproom.ErrRoomFull, http.StatusServiceUnavailable, 5 * time.Second},
	{codeBusy, http.StatusServiceUnavailable, time.Second},
	{"too-many-lanes", http.StatusServiceUnavailable, 5 * time.Second},
	{tcproom.ErrRoomClosed, http.StatusServiceUnavailable, 5 * time.Second},
	{tcproom.ErrRestarting, http.StatusServiceUnavailable, time.Second},
	{tcproom.ErrUnavailable, http.StatusServiceUnavailable, 5 * time.Second},
	{"retry", http.StatusServiceUnavailable, time.Second},
	{"handshake-timeout", http.StatusServiceUnavailable, time.Second},
	{tcproom.ErrTooManyRooms, http.StatusServiceUnavailable, 5 * time.Second},
	{tcproom.ErrNoRoom, http.StatusNotFound, 0},
	{tcproom.ErrRoomName, http.StatusBadRequest, 0},
	{tcproom.ErrMuted, http.StatusForbidden, 0},
	{tcproom.ErrBanned, http.StatusForbidden, 0},
	{tcproom.ErrNameTaken, http.StatusConflict, 0},
	{tcproom.ErrNameInvalid, http.StatusBadRequest, 0},
	{tcproom.ErrFrameTooLarge, http.StatusRequestEntityTooLarge, 0},
	{tcproom.ErrUnframeable, http.StatusUnprocessableEntity, 0},
	{tcproom.ErrMalformed, http.StatusBadRequest, 0},
	{codeUnauthorized, http.StatusUnauthorized, 0},
}

// A problemError is an error that knows what it is in HTTP.
type problemError struct {
	status int
	code   tcproom.Cause
	detail string
	retry  time.Duration
}

func (e *problemError) Error() string { return e.detail }

func badRequest(format string, args ...any) error {
	return &problemError{status: http.StatusBadRequest, code: tcproom.ErrMalformed, detail: fmt.Sprintf(format, args...)}
}

// problemOf returns what err, of a room's or of a hook's, is in HTTP; otherwise is the
// status of an error whose cause says none.
func problemOf(err error, otherwise int) *problemError {
	if p, ok := errors.AsType[*problemError](err); ok {
		return p
	}
	p := &problemError{status: otherwise, code: tcproom.ErrDenied, detail: plain(err)}
	said, refused := errors.AsType[*tcproom.RefusedError](err)
	switch {
	case refused:
		p.code, p.detail = cmp.Or(said.Cause, p.code), said.Text
	case errors.Is(err, ErrUnauthorized), errors.Is(err, tcproom.ErrNotMember):
		p.code = codeUnauthorized
	case errors.Is(err, tcproom.ErrUncertain):
		p.code = tcproom.ErrUncertain
	case errors.Is(err, errHeldBack):
		p.code = codeBusy
	case errors.Is(err, context.DeadlineExceeded): // of a hook's own
		p.code, p.detail = "retry", "not now: try again later"
	case otherwise == http.StatusInternalServerError:
		p.code = causeOf(err, tcproom.ErrHook)
	default:
		p.code = causeOf(err, tcproom.ErrDenied)
	}
	for _, s := range statuses {
		if s.cause == p.code {
			p.status, p.retry = s.status, s.retry
		}
	}
	if refused && said.RetryAfter > 0 {
		p.retry = said.RetryAfter
	}
	if p.code == tcproom.ErrHook {
		p.detail = "a function of the server's failed"
	}
	return p
}

// causeOf returns the first of the table that err wraps.
func causeOf(err error, otherwise tcproom.Cause) tcproom.Cause {
	for _, s := range statuses {
		if errors.Is(err, s.cause) {
			return s.cause
		}
	}
	return otherwise
}

// plain is an error's text without the packages' names.
func plain(err error) string {
	return strings.NewReplacer("tcproom: ", "", "roomhttp: ", "").Replace(err.Error())
}

func (e *problemError) write(w http.ResponseWriter) {
	h := w.Header()
	if e.retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.retry+time.Second-1)/time.Second), 10))
	}
	if e.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	problem(w, e.status, e.code, e.detail)
}

// fail answers with what err is: an error of the room's.
func fail(w http.ResponseWriter, err error) { problemOf(err, http.StatusInternalServerError).write(w) }

// identityProblem answers with what an error of identify is.
func identityProblem(w http.ResponseWriter, err error) {
	p := problemOf(err, http.StatusForbidden)
	if p.status == http.StatusInternalServerError {
		w.Header().Set("Connection", "close") // as net/http does after a panic
	}
	p.write(w)
}

const maxDetail = 512 // bytes, as of a reason on the wire

// problem answers with an error as RFC 9457 has it. code is for programs, detail for
// people.
func problem(w http.ResponseWriter, status int, code tcproom.Cause, detail string) {
	if len(detail) > maxDetail {
		for detail = detail[:maxDetail]; !utf8.ValidString(detail) && detail != ""; {
			detail = detail[:len(detail)-1]
		}
	}
	b, err := json.Marshal(struct {
		Type   string        `json:"type"`
		Title  string        `json:"title"`
		Status int           `json:"status"`
		Detail string        `json:"detail,omitempty"`
		Code   tcproom.Cause `json:"code,omitempty"`
	}{"about:blank", http.StatusText(status), status, detail, code})
	if err != nil {
		panic(err) // strings and a number
	}
	w.Header().Set("Cache-Control", "no-store")
	writeBody(w, status, "application/problem+json", b)
}

// writeBody answers with JSON, to which it adds a line end.
func writeBody(w http.ResponseWriter, status int, contentType string, b []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}
