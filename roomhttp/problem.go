package roomhttp

import (
	"encoding/json"
	"net/http"

	"example.com/tcproom"
)

// problem answers with an error in the form of RFC 9457. code is for programs.
func problem(w http.ResponseWriter, status int, code tcproom.Cause, detail string) {
	b, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
		Code   string `json:"code,omitempty"`
	}{"about:blank", http.StatusText(status), status, detail, string(code)})
	if err != nil {
		panic(err) // strings and a number
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}
