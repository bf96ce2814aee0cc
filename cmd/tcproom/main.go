// Tcproom serves rooms, chats in them, fakes them for tests and measures them.
//
//	tcproom serve                  # a room at localhost:9000, for nc and for programs
//	tcproom chat localhost:9000    # a member's end, full screen
//	tcproom fake script.yaml       # a chat backend for tests in any language
//	tcproom bench localhost:9000   # sends, counts, checks order, measures latency
//
// Each has -h. The program ends with status 0, with 1 if something went wrong, and with
// 2 if its arguments are wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"example.com/tcproom/cmd/tcproom/internal/bench"
	"example.com/tcproom/cmd/tcproom/internal/chat"
	"example.com/tcproom/cmd/tcproom/internal/cli"
	"example.com/tcproom/cmd/tcproom/internal/fake"
	"example.com/tcproom/cmd/tcproom/internal/serve"
)

// A command is one of the program's. run gets the arguments behind its name. It returns
// flag.ErrHelp after it has printed its help, and what wraps cli.ErrUsage if the
// arguments are wrong; the program prints its error.
type command struct {
	name, about string
	run         func(ctx context.Context, args []string) error
}

// commands are all of them, in the order of the help.
var commands = []command{
	{"serve", "serves a room, or a hub of rooms", serve.Run},
	{"chat", "is a person's end of a room, full screen", chat.Run},
	{"fake", "serves a room by a script, for tests of clients", fake.Run},
	{"bench", "drives a room, checks it and measures it", bench.Run},
}

func main() {
	os.Exit(status(run(context.Background(), os.Args[1:])))
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		usage(os.Stderr)
		return cli.Usagef("want a command")
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		if len(args) == 1 {
			usage(os.Stdout)
			return nil
		}
		args = []string{args[1], "-h"}
	}
	for _, c := range commands {
		if c.name == args[0] {
			if err := c.run(ctx, args[1:]); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			return nil
		}
	}
	return cli.Usagef("there is no command %q; see tcproom -h", args[0])
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: tcproom COMMAND [flags] [arguments]")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-6s %s\n", c.name, c.about)
	}
	fmt.Fprintln(w, "tcproom COMMAND -h lists the flags of a command.")
}

// status prints err and returns the status with which the program ends.
func status(err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "tcproom:", err)
	if errors.Is(err, cli.ErrUsage) {
		return 2
	}
	return 1
}
