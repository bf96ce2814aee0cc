// Server runs a chat room over TCP: what one member sends goes to all others.
//
//	go run ./examples/server              # then, in two terminals: nc localhost 9000
//	go run ./examples/server -ask-name    # asks members for their names
//	go run ./examples/server -framing length4 -codec json # for programs
//	go run ./examples/server -codec json -sessions -history 50
//	go run ./examples/server -addr :9443 -tls-cert cert.pem -tls-key key.pem
//	go run ./examples/server -http localhost:8080 # and open the address that it prints
//
// The first line on standard error is "listening on HOST:PORT". Ctrl-C gives the
// members up to ten seconds to take what was sent before it, prints how many were
// cut, and ends with status 0; a second Ctrl-C ends at once with status 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
)

// drainTimeout is how long members have to take their last messages.
const drainTimeout = 10 * time.Second

func main() {
	cfg, err := parseFlags(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(2)
	}
	if err := run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// run serves a room until a signal stops it.
func run(cfg *config) error {
	l, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return err
	}
	defer l.Close()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)

	room := tcproom.New(roomOptions(cfg)...)
	defer room.Close()
	door, err := room.Door(doorOptions(cfg)...)
	if err != nil {
		return err
	}
	web := webServer(cfg, room)
	defer web.Close()
	fmt.Fprintln(os.Stderr, "listening on", l.Addr())
	served := make(chan error, 2)
	serve := door.Serve
	if cfg.onePort {
		fmt.Fprintln(os.Stderr, "open", pageURL(cfg, l))
		serve = func(l net.Listener) error { return roomhttp.Serve(l, web, door) }
	}
	go func() { served <- serve(l) }()
	if cfg.http != "" {
		if err := listenWeb(cfg, web, served); err != nil {
			return err
		}
	}

	select {
	case err := <-served: // a listener broke; nothing else closes the room or web
		return err
	case <-signals:
	}
	fmt.Fprintf(os.Stderr, "stopping, for at most %v; Ctrl-C again ends at once\n", drainTimeout)
	go func() {
		<-signals
		os.Exit(1)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	go web.Shutdown(ctx) // nobody comes any more; it ends with ctx, or when all requests have
	err = room.Shutdown(ctx)
	stopWeb(ctx, web) // last, for streams over HTTP/2 are requests that end with the room
	cut := 0
	if stop, ok := errors.AsType[*tcproom.StopError](err); ok {
		cut = len(stop.Cut)
		cfg.logger.Warn("not all members got everything", "error", err)
	}
	fmt.Fprintf(os.Stderr, "stopped, members cut: %d\n", cut)
	return nil
}

// roomOptions makes a room's options of the flags. Pages speak JSON; the door for -addr
// speaks what it is told to.
func roomOptions(cfg *config) []tcproom.RoomOption {
	opts := []tcproom.RoomOption{
		tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithSlowMembers(cfg.slow),
		tcproom.WithBacklog(cfg.backlog),
		tcproom.WithMaxMessage(cfg.maxMessage),
		tcproom.WithMaxMembers(cfg.maxMembers),
		tcproom.WithLogger(cfg.logger), // the room logs how each connection ends
		tcproom.OnJoin(func(m *tcproom.Member) error {
			cfg.logger.Info("joining", "addr", m.RemoteAddr(), "id", m.ID(), "name", m.Name())
			return nil
		}),
	}
	if cfg.history > 0 {
		opts = append(opts, tcproom.WithHistory(tcproom.History{Messages: cfg.history}))
	}
	if cfg.sessions {
		opts = append(opts, tcproom.WithSessions(tcproom.Sessions{Grace: cfg.grace}))
	}
	return opts
}

// doorOptions makes the options for -addr of the flags.
func doorOptions(cfg *config) []tcproom.ConnOption {
	opts := []tcproom.ConnOption{
		tcproom.WithFraming(cfg.framing),
		tcproom.WithCodec(cfg.codec),
		tcproom.WithTLS(cfg.tls),
	}
	if cfg.askName {
		opts = append(opts, tcproom.WithHandshake(askName), tcproom.WithHandshakeTimeout(time.Minute)) // people type slowly
	}
	return opts
}

// askName is the WithHandshake hook of -ask-name: it talks with a newcomer before it
// joins, and what it returns names the member. The room checks the name, and sends
// the reason if it refuses it.
func askName(ctx context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
	if err := n.Send(ctx, []byte("What is your name?")); err != nil {
		return tcproom.Identity{}, err
	}
	name, err := n.Receive(ctx)
	if err != nil {
		return tcproom.Identity{}, err
	}
	return tcproom.Identity{Name: strings.TrimSpace(string(name))}, nil
}
