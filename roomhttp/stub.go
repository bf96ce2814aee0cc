// Package roomhttp serves rooms over HTTP.
package roomhttp

import (
	"net"
	"net/http"

	"example.com/tcproom"
)

// This file stands for what handler.go will have.

// Handler is a part of the one in handler.go.
type Handler struct{ cfg config }

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

// door returns the door of a kind. That of handler.go makes each once, and must put no
// options behind opts.
func (h *Handler) door(room *tcproom.Room, kind string, opts ...tcproom.ConnOption) (*tcproom.Door, error) {
	return room.Door(opts...)
}
