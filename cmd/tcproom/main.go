// Tcproom serves rooms, chats in them, fakes them for tests and measures them.
//
//	tcproom serve                  # a room at :9000, for nc and for programs
//	tcproom chat localhost:9000    # a member's end, full screen
//	tcproom fake script.yaml       # a chat backend for tests in any language
//	tcproom bench localhost:9000   # sends, counts, checks order, measures latency
//
// Each has -h.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
)

// A command is one of the program's. It returns flag.ErrHelp if help was asked for, and
// a usageError if its arguments are wrong.
type command struct {
	name, about string
	run         func(ctx context.Context, args []string) error
}

// commands are all of them, in the order of the help.
var commands = []command{}

// errUsage is wrapped by errors that are the caller's arguments. The program ends with
// status 2 for them, and with 1 for others.
var errUsage = errors.New("see tcproom -h")

func main() {
	os.Exit(status(run(context.Background(), os.Args[1:])))
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		usage()
		return errUsage
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, args[1:])
		}
	}
	if args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
		usage()
		return nil
	}
	return fmt.Errorf("no command %q: %w", args[0], errUsage)
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: tcproom COMMAND [flags] [arguments]")
	for _, c := range commands {
		fmt.Fprintf(os.Stderr, "  %-6s %s\n", c.name, c.about)
	}
}

// status prints an error and returns the status with which the program ends.
func status(err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	}
	fmt.Fprintln(os.Stderr, "tcproom:", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}
