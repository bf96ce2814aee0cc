// Server runs a chat room over TCP, or many: what one member sends goes to all others
// in its room.
//
//	go run ./examples/server              # then, in two terminals: nc localhost 9000
//	go run ./examples/server -ask-name    # asks members for their names
//	go run ./examples/server -rooms       # many rooms: /help lists the commands
//	go run ./examples/server -rooms -ask-name -http localhost:8080
//	go run ./examples/server -framing length4 -codec json # for programs
//	go run ./examples/server -codec json -sessions -history 50
//	go run ./examples/server -addr :9443 -tls-cert cert.pem -tls-key key.pem
//	go run ./examples/server -http localhost:8080 # and open the address that it prints; with -rooms too
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

// A chat is a room, or a hub of rooms.
type chat interface {
	Door(opts ...tcproom.ConnOption) (*tcproom.Door, error)
	Shutdown(ctx context.Context, opts ...tcproom.StopOption) error
	Close() error
}

// newChat returns what the flags ask for, and its rooms as a page has them.
func newChat(cfg *config) (chat, roomhttp.Rooms) {
	if cfg.rooms {
		hub := tcproom.NewHub(hubOptions(cfg)...)
		return hub, hub
	}
	room := tcproom.New(roomOptions(cfg)...)
	return room, roomhttp.One("lobby", room)
}

// run serves until a signal stops it.
func run(cfg *config) error {
	l, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return err
	}
	defer l.Close()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)

	chat, rooms := newChat(cfg)
	defer chat.Close()
	door, err := chat.Door(doorOptions(cfg, rooms.All())...)
	if err != nil {
		return err
	}
	web := webServer(cfg, rooms)
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
	err = chat.Shutdown(ctx)
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
		tcproom.WithUniqueNames(cfg.askName || cfg.rooms),
		tcproom.WithLogger(cfg.logger),
	}
	if cfg.history > 0 {
		opts = append(opts, tcproom.WithHistory(tcproom.History{Messages: cfg.history}))
	}
	if cfg.sessions {
		opts = append(opts, tcproom.WithSessions(tcproom.Sessions{Grace: cfg.grace}))
	}
	return opts
}

// hubOptions makes a hub's options of the flags. Its lobby stays when it is empty.
func hubOptions(cfg *config) []tcproom.HubOption {
	opts := []tcproom.HubOption{tcproom.WithRoom("lobby"), tcproom.OnJoined(showAround)}
	for _, o := range roomOptions(cfg) {
		opts = append(opts, o)
	}
	return opts
}

// doorOptions makes the options for -addr of the flags.
func doorOptions(cfg *config, all *tcproom.Room) []tcproom.ConnOption {
	opts := []tcproom.ConnOption{
		tcproom.WithFraming(cfg.framing),
		tcproom.WithCodec(cfg.codec),
		tcproom.WithTLS(cfg.tls),
	}
	if _, text := cfg.codec.(tcproom.Text); text && (cfg.askName || cfg.rooms) {
		opts = append(opts, tcproom.WithHandshake(receive(cfg, all)), tcproom.WithHandshakeTimeout(time.Minute)) // people type slowly
	}
	return opts
}
