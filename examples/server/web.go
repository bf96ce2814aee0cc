package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"example.com/tcproom/roomhttp"
)

// requestTimeout is how long requests may take when the server stops. What streams
// ends with the room.
const requestTimeout = time.Second

// webServer returns the HTTP server for rooms.
func webServer(cfg *config, rooms roomhttp.Rooms) *http.Server {
	// Anybody may post, as anybody may who connects to -addr.
	var h http.Handler = roomhttp.New(rooms, roomhttp.WithAnonymousPost(true), roomhttp.WithHosts(cfg.hosts...))
	if cfg.tls != nil {
		h = strictTransport(h)
	}
	return &http.Server{
		Handler:           h,
		TLSConfig:         cfg.tls.Clone(), // which the server changes
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second, // of a request; a member's connection is the room's
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(cfg.logger.Handler(), slog.LevelWarn),
	}
}

// strictTransport tells browsers not to come without TLS for a year.
func strictTransport(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		next.ServeHTTP(w, r)
	})
}

// listenWeb begins to serve web at -http.
func listenWeb(cfg *config, web *http.Server, served chan<- error) error {
	l, err := net.Listen("tcp", cfg.http)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "open", pageURL(cfg, l))
	if cfg.tls != nil {
		go func() { served <- web.ServeTLS(l, "", "") }()
	} else {
		go func() { served <- web.Serve(l) }()
	}
	return nil
}

// pageURL returns the address of the page for a browser on this machine.
func pageURL(cfg *config, l net.Listener) string {
	addr := l.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if cfg.tls != nil {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s/", scheme, net.JoinHostPort(host, fmt.Sprint(addr.Port)))
}

// stopWeb ends web, except for connections that are the room's.
func stopWeb(ctx context.Context, web *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	web.Shutdown(ctx)
}
