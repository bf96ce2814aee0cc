// Client joins a chat room over TCP: standard input goes to the room, line by line,
// and what the room sends to standard output.
//
//	go run ./examples/client localhost:9000
//	go run ./examples/client -framing length4 -codec json -name ada localhost:9000
//	echo hi | go run ./examples/client -tls-ca cert.pem localhost:9443
//	go run ./examples/client -codec json -reconnect localhost:9000
//	go run ./examples/client -codec json -rooms lobby,kitchen localhost:9000
//
// At the end of the input it closes its sending half, prints what the room still
// sends, and ends with status 0 when the room has closed too: then the room has taken
// the last line. It ends with status 1, and prints why, when it cannot join, when the
// room ends the connection first, and, at the end, when a line could not be sent. A
// bad flag is status 2.
//
// With -reconnect it comes back when it loses its connection, and notes that on
// standard error. Then it ends with status 0 when the room has taken the last line,
// as far as the room acknowledges that, and with status 1 when the room does not want
// it back.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"example.com/tcproom"
)

// dialTimeout bounds connecting and being let in.
const dialTimeout = 15 * time.Second

func main() {
	cfg, err := parseFlags(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(2)
	}
	if err := run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// run is in the room until the end of the input, or until the room ends it.
func run(cfg *config) error {
	if cfg.reconnect {
		return stay(cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	c, err := tcproom.Dial(ctx, cfg.addr, options(cfg)...)
	if err != nil {
		return fmt.Errorf("cannot join %s: %w", cfg.addr, err)
	}

	defer c.Close()
	said := make(chan error, 1)
	go func() {
		said <- say(c, cfg)
		// Then the room knows that this was all, and what it still sends comes to
		// listen. If this fails, listen gets the reason.
		c.CloseWrite(context.Background())
	}()
	if err := listen(c, cfg); err != nil {
		return err
	}
	return <-said
}

// options makes a dialling end's options of the flags.
func options(cfg *config) []tcproom.DialOption {
	opts := []tcproom.DialOption{
		tcproom.WithFraming(cfg.framing),
		tcproom.WithCodec(cfg.codec),
		tcproom.WithMaxMessage(cfg.maxMessage),
		tcproom.WithTLS(cfg.tls),
	}
	if cfg.codec.Features().Hello {
		opts = append(opts, tcproom.WithName(cfg.name))
	}
	if len(cfg.rooms) > 0 {
		opts = append(opts, tcproom.InRooms(cfg.rooms...))
	}
	return opts
}

// A speaker is a Conn or a Client.
type speaker interface {
	SendTo(ctx context.Context, room string, body []byte) error
	Err() error
}

// say sends the input to the room, line by line.
func say(c speaker, cfg *config) error {
	ctx := context.Background()
	room := "" // that in which the client is
	if len(cfg.rooms) > 0 {
		room = cfg.rooms[0]
	}
	if cfg.name != "" && !cfg.codec.Features().Hello {
		if err := c.SendTo(ctx, room, []byte(cfg.name)); err != nil {
			return err
		}
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, cfg.maxMessage+len("\r\n")+1)
	var unsent error
	_, text := cfg.codec.(tcproom.Text)
	for in.Scan() {
		if text && len(in.Bytes()) == 0 {
			continue // no message
		}
		err := c.SendTo(ctx, room, in.Bytes())
		switch {
		case err == nil:
		case c.Err() == nil && (errors.Is(err, tcproom.ErrUnframeable) || errors.Is(err, tcproom.ErrFrameTooLarge) || errors.Is(err, tcproom.ErrOffline)):
			// It concerns this line alone.
			fmt.Fprintln(os.Stderr, "client: not sent:", err)
			unsent = errors.New("not all lines were sent")
		default:
			return err
		}
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a line of the input is longer than -max-message, %d bytes; it and the rest were not sent", cfg.maxMessage)
	}
	return cmp.Or(in.Err(), unsent)
}

// listen prints what the room sends, until the end of its stream. That is an error
// if the room ends it first.
func listen(c *tcproom.Conn, cfg *config) error {
	goodbye := false
	for ev, err := range c.Events(context.Background()) {
		switch {
		case err != nil && goodbye: // which was printed
			return errors.New("the room ended the connection, as it said")
		case err != nil:
			return fmt.Errorf("the room is gone: %w", err)
		case ev.Kind == tcproom.Welcome:
			greet(&ev)
			continue
		}
		goodbye = goodbye || ev.Kind == tcproom.Goodbye && (ev.Room == "" || ev.Room == "*")
		if err := show(&ev, cfg); err != nil {
			return err
		}
	}
	return nil
}

// show prints an event: the body as it is with the codec raw, and otherwise the
// line of the codec text, which is safe for a terminal, behind the name of its room if
// it has one.
func show(ev *tcproom.Event, cfg *config) (err error) {
	line := ev.Body
	if !cfg.raw {
		line = nil
		if ev.Room != "" && ev.Room != "*" {
			line = fmt.Appendf(nil, "[%s] ", ev.Room)
		}
		shown, err := (tcproom.Text{}).AppendEvent(line, ev)
		if errors.Is(err, tcproom.ErrNoFrame) { // it is of a hub
			shown, err = (tcproom.Text{Commands: true}).AppendEvent(line, ev)
		}
		switch {
		case errors.Is(err, tcproom.ErrNoFrame):
			return nil
		case err != nil:
			return err
		}
		line = shown
	}
	_, err = os.Stdout.Write(append(line, '\n'))
	return err
}
