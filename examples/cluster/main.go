// Cluster runs one chat room in three processes: what a member of one says, the members
// of all get, in one order.
//
//	go run .                                         # a NATS server, and three processes
//	go run . -nats nats://10.0.0.1:4222 -addr :9001  # one process, with a server of yours
//
// The first prints what to type next. With the second, start the same program on other
// machines: processes with the same -nats and -room are one room. Ctrl-C ends all in good
// order: members are sent to other processes before theirs stops.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
)

type config struct {
	nats, room string
	addr       string // for people: text
	json       string // for programs: JSON, with sessions; empty: none
	lease      time.Duration
	stdin      bool
}

func main() {
	var cfg config
	flag.StringVar(&cfg.nats, "nats", "", "`URL` of a NATS server with JetStream; without it, one is started, with three processes of the room")
	flag.StringVar(&cfg.room, "room", "lobby", "`name` of the room")
	flag.StringVar(&cfg.addr, "addr", "localhost:9001", "`address` for nc; the next two ports are those of the other processes")
	flag.StringVar(&cfg.json, "json", "localhost:9101", "`address` for programs that speak JSON; likewise")
	flag.DurationVar(&cfg.lease, "lease", 3*time.Second, "after what `time` without a sign of life a process is dead; a service should take longer")
	flag.BoolVar(&cfg.stdin, "stdin", false, "end with standard input, as the three processes do")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "cluster: what is %q for? There are flags only: -help lists them\n", flag.Args())
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if cfg.stdin {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	run := serve
	if cfg.nats == "" {
		run = serveThree
	}
	if err := run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// serve is one process of the room, until ctx ends.
func serve(ctx context.Context, cfg config) error {
	nc, err := nats.Connect(cfg.nats, roomnats.ConnOptions()...)
	if err != nil {
		return fmt.Errorf("the NATS server at %s: %w", cfg.nats, err)
	}
	defer nc.Close()
	order, err := roomnats.Open(ctx, nc, cfg.room, roomnats.MaxBytes(64<<20), roomnats.Lease(cfg.lease))
	if err != nil {
		return err
	}
	defer order.Close()

	room := tcproom.New(
		tcproom.WithLog(order), // all that one room in many processes takes
		tcproom.WithDrain(time.Second),
		tcproom.WithCodec(tcproom.JSON{}), // but at the door for people
		tcproom.WithHistory(tcproom.History{Messages: 20}),
		tcproom.WithSessions(tcproom.Sessions{Grace: 5 * time.Second}), // for who speaks JSON
		tcproom.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
	)
	defer room.Close()
	// A process that has not caught up would let members wait at the door.
	if err := room.Ready(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}

	served := make(chan error, 2)
	if err := listen(room, cfg.addr, tcproom.Text{}, served); err != nil {
		return err
	}
	if err := listen(room, cfg.json, tcproom.JSON{}, served); cfg.json != "" && err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "process %d is part of room %q at %s\n", os.Getpid(), cfg.room, cfg.addr)

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := room.Shutdown(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cluster: not all members got everything:", err)
	}
	return nil
}

// listen opens a door of the room. When that breaks, served gets the reason.
func listen(room *tcproom.Room, addr string, codec tcproom.Codec, served chan<- error) error {
	if addr == "" {
		return nil
	}
	door, err := room.Door(tcproom.WithCodec(codec))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go func() {
		if err := door.Serve(l); !errors.Is(err, tcproom.ErrRoomClosed) {
			served <- err
		}
	}()
	return nil
}
