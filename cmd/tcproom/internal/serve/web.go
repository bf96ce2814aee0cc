package serve

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"example.com/tcproom/roomhttp"
)

// newWeb returns the HTTP server for the rooms: at http, at the listeners with one-port,
// or nowhere. Anybody may post, as anybody may who connects to a listener.
func (s *server) newWeb() *http.Server {
	pages := roomhttp.New(s.rooms, roomhttp.WithAnonymousPost(true), roomhttp.WithHosts(s.cfg.hosts...))
	web := &http.Server{
		Handler:           pages,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second, // of a request; a member's connection is the room's
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	if tls := s.cfg.listener.tls; tls != nil && s.cfg.http != "" {
		web.TLSConfig = tls.Clone() // which the server changes
		web.Handler = onlyTLS(pages)
	}
	return web
}

// onlyTLS tells browsers not to come without TLS for a year.
func onlyTLS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		next.ServeHTTP(w, r)
	})
}

// stopHTTP ends a web server for good. Requests have a second; connections of members
// are the room's.
func stopHTTP(ctx context.Context, web *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if web.Shutdown(ctx) != nil {
		web.Close()
	}
}
