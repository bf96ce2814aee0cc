// Package roomhttp serves rooms over HTTP.
package roomhttp

import (
	"net"
	"net/http"

	"example.com/tcproom"
)

// This file stands for what the root package and handler.go will have. See ws.go for
// how it is used.

// Handler is a part of the one in handler.go.
type Handler struct {
	cfg config
	// admit stands for Room.Door and Door.Admit.
	admit func(kind string, nc net.Conn, a arrival) error
}

type config struct {
	origins    []string
	auth       func(r *http.Request) (tcproom.Identity, error)
	clientAddr func(r *http.Request) net.Addr
	conn       []tcproom.ConnOption
}

func (h *Handler) originAllowed(r *http.Request) bool { return originAllowed(r, h.cfg.origins) }

// identify is that of handler.go.
func (h *Handler) identify(r *http.Request) (*tcproom.Identity, error) {
	if h.cfg.auth == nil {
		return nil, nil
	}
	id, err := h.cfg.auth(r)
	return &id, err
}

// identityProblem answers a request whose WithAuth function failed.
func identityProblem(w http.ResponseWriter, err error) {
	problem(w, http.StatusForbidden, tcproom.ErrDenied, "not allowed")
}

// doorway stands for *tcproom.Door.
type doorway func(nc net.Conn, a arrival) error

func (h *Handler) door(room *tcproom.Room, kind string, opts ...tcproom.ConnOption) (doorway, error) {
	if room == nil {
		return nil, tcproom.ErrRoomClosed
	}
	return func(nc net.Conn, a arrival) error { return h.admit(kind, nc, a) }, nil
}

// An arrival is a tcproom.Arrival.
type arrival struct {
	read     []byte
	identity *tcproom.Identity
	addr     net.Addr
	name     string // that it wishes for, if its codec has no hello
}

// admit is door.Admit(nc, tcproom.Arrival{…}).
func admit(d doorway, nc net.Conn, a arrival) error { return d(nc, a) }

// noteResumes is req.Resumes = resumes.
func noteResumes(req *tcproom.Request, resumes bool) {}

// goodbyeCode is 1001 if req.Resumes.
func goodbyeCode(req *tcproom.Request) uint16 { return closeNormal }

// noteAnswer notes that req, a ReqSay, came with a ping, so that AppendAnswer is
// called for it too.
func noteAnswer(req *tcproom.Request) {}

// controlFrames is tcproom.ControlFrames.
type controlFrames interface {
	tcproom.Codec
	AppendPing(dst []byte) []byte
	AppendAnswer(dst, frame []byte) []byte
	AppendEnd(dst []byte, cause tcproom.Cause, err error) []byte
}

var (
	_ controlFrames = wsJSON{}
	_ controlFrames = wsText{}
)
