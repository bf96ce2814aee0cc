package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
	"example.com/tcproom/roomprom"
)

// drainTimeout is how long members have to take their last messages.
const drainTimeout = 10 * time.Second

// A server is what is served, and where.
type server struct {
	cfg     *config
	out     *output
	log     *slog.Logger
	counts  *roomprom.Collector // of the chat
	chat    chat
	rooms   roomhttp.Rooms
	web     *http.Server
	metrics *http.Server

	ports    []port
	stopping atomic.Bool
}

// A port is a listener and what serves it until the stop.
type port struct {
	net.Listener
	says  string // before its address
	path  string // of the URL that its address is; "" if it is none
	tls   bool
	serve func(l net.Listener) error
}

// serve serves until there is a reason to stop, and stops.
func serve(ctx context.Context, cfg *config) error {
	sig := catchSignals()
	defer sig.stop()
	out := newOutput(os.Stderr)
	s := &server{cfg: cfg, out: out, log: cfg.logger(out), counts: roomprom.New()}
	s.chat, s.rooms = newChat(cfg, s.log, s.counts)
	defer s.chat.Close()
	s.web = s.newWeb()
	defer s.web.Close()
	s.metrics = s.newMetrics()
	defer s.metrics.Close()
	defer s.closePorts()
	if err := s.open(); err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)
	for _, p := range s.ports {
		fmt.Fprintln(out, p.says, p.address())
		if p.serve != nil {
			group.Go(func() error { return unlessStopped(p.serve(p.Listener)) })
		}
	}
	why := sig.wait(ctx, out)
	if why == "" {
		why = "a listener broke"
	}
	s.stopping.Store(true)
	fmt.Fprintf(out, "stopping (%s), for at most %v; a second signal ends at once\n", why, drainTimeout)
	done := make(chan struct{})
	defer close(done)
	go sig.exitAtNext(done)
	s.stop()
	s.closePorts()
	return group.Wait()
}

// unlessStopped returns the error of a listener, nil if it ended with the room.
func unlessStopped(err error) error {
	for _, orderly := range []error{tcproom.ErrRoomClosed, http.ErrServerClosed} {
		if errors.Is(err, orderly) {
			return nil
		}
	}
	return err
}

// open listens at all addresses before anything is served at one.
func (s *server) open() error {
	for _, l := range s.cfg.listeners() {
		door, err := s.chat.Door(doorOptions(s.cfg, l, s.rooms.All())...)
		if err != nil {
			return err
		}
		p := port{says: "listening on", serve: door.Serve}
		if l.onePort {
			p.serve = func(nl net.Listener) error { return roomhttp.Serve(nl, s.web, door) }
		}
		if err := s.listen(l.addr, p); err != nil {
			return err
		}
		if l.onePort {
			open := s.ports[len(s.ports)-1]
			s.ports = append(s.ports, port{Listener: open.Listener, says: "open", path: "/"})
		}
	}
	if s.cfg.http != "" {
		p := port{says: "open", path: "/", serve: s.web.Serve}
		if s.web.TLSConfig != nil {
			p.tls, p.serve = true, func(l net.Listener) error { return s.web.ServeTLS(l, "", "") }
		}
		if err := s.listen(s.cfg.http, p); err != nil {
			return err
		}
	}
	if s.cfg.metrics == "" {
		return nil
	}
	return s.listen(s.cfg.metrics, port{says: "metrics at", path: "/metrics", serve: s.metrics.Serve})
}

func (s *server) listen(addr string, p port) (err error) {
	if p.Listener, err = net.Listen("tcp", addr); err != nil {
		return err
	}
	s.ports = append(s.ports, p)
	return nil
}

func (s *server) closePorts() {
	for _, p := range s.ports {
		p.Close()
	}
}

// address returns where the port is, for people on this machine.
func (p port) address() string {
	addr := p.Addr()
	if p.path == "" {
		return addr.String()
	}
	host, number, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if p.tls {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, number) + p.path
}

// stop ends the room in good order, and then what is left of HTTP. The metrics come last:
// until then it can be seen how far the rest is.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var web errgroup.Group
	web.Go(func() error { return s.web.Shutdown(ctx) }) // from now on nobody comes by it
	err := s.chat.Shutdown(ctx)
	stopHTTP(ctx, s.web) // now streams over HTTP/2, which are requests, can end
	web.Wait()
	stopHTTP(ctx, s.metrics)
	cut := 0
	if stop, ok := errors.AsType[*tcproom.StopError](err); ok {
		cut = len(stop.Cut)
		s.log.Warn("not all members got everything", "error", err)
	}
	fmt.Fprintf(s.out, "stopped, members cut: %d\n", cut)
}
