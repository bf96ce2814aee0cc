package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/tcproom"
)

// heartbeat is how long the room may be silent before it is asked whether it
// is there, with a codec that can ask.
const heartbeat = 20 * time.Second

// stay is run with -reconnect: whenever the connection is lost it comes back.
func stay(cfg *config) error {
	opts := append(options(cfg), tcproom.WithOffline(cfg.offline))
	if cfg.codec.Features().Pings {
		opts = append(opts, tcproom.WithHeartbeat(heartbeat))
	}
	// Ctrl-C sends goodbye: otherwise a room with sessions would wait. The second one
	// ends at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	c := tcproom.NewClient(ctx, cfg.addr, opts...)
	said := make(chan error, 1)
	go func() {
		err := say(c, cfg)
		said <- cmp.Or(err, c.Close()) // which waits until the room has the last line
	}()
	if err := follow(c, cfg); err != nil {
		return cmp.Or(c.Close(), err) // its error is about what the room did not get
	}
	return <-said
}

// follow prints what the room sends and what becomes of the connection, until the
// client ends, which is an error unless Close was called.
func follow(c *tcproom.Client, cfg *config) error {
	for ev, err := range c.Events(context.Background()) {
		if err != nil {
			return err
		}
		switch ev.Kind {
		case tcproom.Welcome:
			greet(&ev)
		case tcproom.Lost:
			fmt.Fprintf(os.Stderr, "no connection: %s; trying again\n", ev.End.Text)
		case tcproom.Uncertain:
			fmt.Fprintf(os.Stderr, "client: the room may have heard this or not: %q\n", ev.Body)
		default:
			if err := show(&ev, cfg); err != nil {
				return err
			}
		}
	}
	return nil
}

// greet notes how the client has come into the room. That of all connections of a hub is
// none to be in.
func greet(ev *tcproom.Event) {
	if ev.Room != "*" {
		fmt.Fprintln(os.Stderr, greeting(ev))
	}
}

func greeting(ev *tcproom.Event) string {
	if ev.Welcome == nil {
		return "connected" // the codec carries no more
	}
	how := "joined"
	switch {
	case ev.Welcome.Resumed():
		how = "resumed" // what was missed follows, or a Gap that names it
	case ev.Welcome.Outcome == "expired":
		how = "joined anew, for the room has forgotten who this was,"
	}
	if ev.Room != "" {
		how += " " + ev.Room
	}
	return fmt.Sprintf("%s as %s, members: %d", how, ev.From.Name, ev.Welcome.Total)
}
