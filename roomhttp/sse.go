package roomhttp

import (
	"net/http"

	"example.com/tcproom"
)

func (h *Handler) serveEvents(w http.ResponseWriter, _ *http.Request, _ *tcproom.Room) {
	problem(w, http.StatusNotFound, codeNotFound, "no events yet")
}
