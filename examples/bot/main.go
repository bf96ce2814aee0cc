// Bot joins a chat room over TCP, greets new members, and answers commands: !help,
// !time and !echo.
//
//	go run ./examples/bot localhost:9000
//	go run ./examples/bot -json -name robo localhost:9000 # with -codec json there
//	go run ./examples/bot -name robo localhost:9000       # with -ask-name there
//
// It ends with status 0 on Ctrl-C, after the room has taken what it has sent, and
// with status 1 and a reason when it cannot join or the room ends the connection. A
// bad flag is status 2.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/tcproom"
)

// dialTimeout bounds connecting and being let in.
const dialTimeout = 15 * time.Second

// config is what the flags set.
type config struct {
	addr string
	name string
	json bool
}

func main() {
	cfg, err := parseFlags(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bot:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, "bot:", err)
		os.Exit(1)
	}
}

// parseFlags returns what args set, or an error of one line. It has printed the help
// if the error is flag.ErrHelp.
func parseFlags(args []string) (*config, error) {
	cfg := &config{}
	fs := flag.NewFlagSet("bot", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // main prints what is wrong
	fs.StringVar(&cfg.name, "name", "", "the `name` to join with; without -json, the first line to the room,\nas a server with -ask-name wants it")
	fs.BoolVar(&cfg.json, "json", false, "speak JSON, as a server with -codec json does")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "usage: bot [flags] HOST:PORT")
			fs.SetOutput(os.Stderr)
			fs.PrintDefaults()
		}
		return nil, err
	}
	if fs.NArg() != 1 {
		return nil, fmt.Errorf("want one HOST:PORT, after the flags, got %q; see -help", fs.Args())
	}
	cfg.addr = fs.Arg(0)
	if _, _, err := net.SplitHostPort(cfg.addr); err != nil {
		return nil, fmt.Errorf("want HOST:PORT: %w", err)
	}
	return cfg, nil
}

// run is in the room until ctx ends, which is no error, or the room ends it.
func run(ctx context.Context, cfg *config) error {
	var opts []tcproom.DialOption
	if cfg.json {
		opts = append(opts, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(cfg.name))
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := tcproom.Dial(dialCtx, cfg.addr, opts...)
	if err != nil {
		return fmt.Errorf("cannot join %s: %w", cfg.addr, err)
	}
	if !cfg.json && cfg.name != "" {
		if err := c.Send(ctx, []byte(cfg.name)); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	if err := attend(ctx, c); err != nil {
		c.Close()
		return err
	}
	return c.Close()
}
