//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
)

// serverCommand is the first argument that makes this program a server that
// is measured. It is not for people: the benchmark starts its servers with it.
const serverCommand = "measured-server"

// serverMain runs a server until its standard input ends, which it does when
// the benchmark ends, in whatever way.
func serverMain(args []string) int {
	flags := flag.NewFlagSet(serverCommand, flag.ExitOnError)
	cpuList := flags.String("cpus", "", "CPUs to run on")
	c := new(control)
	flags.IntVar(&c.rooms, "rooms", 1, "rooms")
	flags.IntVar(&c.perRoom, "per-room", 0, "connections to a room; 0: there is one room")
	flags.IntVar(&c.inFlight, "in-flight", 0, "messages to keep for a member")
	flags.StringVar(&c.engine, "engine", "", "address of what it is connected to")
	secure := flags.Bool("tls", false, "speak TLS")
	profile := flags.String("profile", "", "folder for a CPU profile")
	_ = flags.Parse(args)
	cpus, err := parseCPUs(*cpuList)
	if err == nil {
		err = startOn(cpus)
	}
	if err == nil {
		err = c.secure(*secure)
	}
	if err == nil && *profile != "" {
		err = startProfile(*profile, flags.Arg(0))
		defer pprof.StopCPUProfile()
	}
	if err == nil {
		if s := serverNamed(flags.Arg(0)); s != nil {
			err = s.serve(c)
		} else {
			err = fmt.Errorf("no server %q", flags.Arg(0))
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "bench: server:", err)
		return 1
	}
	return 0
}

// startProfile starts a CPU profile of this server, in a file of its own.
func startProfile(folder, server string) error {
	f, err := os.CreateTemp(folder, server+"-*.pprof")
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

// control answers the benchmark's questions in a server: one line of standard
// input each, answered by one line of standard output.
type control struct {
	rooms    int         // the server is to have
	perRoom  int         // connections to a room, in the order in which they are accepted; 0: there is one room
	inFlight int         // messages it may have to keep for a member, for those who must say
	tls      *tls.Config // nil: no TLS

	engine string // address of what it is connected to; empty: there is none

	members   func() int
	here      func() []string        // IDs of the members that are connected to this process; nil: it has no log
	makeRooms func(n int) (keep any) // makes n idle rooms; nil where there are none
	swallowed func() uint64          // messages received and not passed on; nil where there are none

	quiet    func(n int) error                   // makes n quiet rooms with a member each; nil where there are none
	measures map[string]func(n int) (any, error) // what the server measures of itself

	kept any
}

func (c *control) roomCount() int { return max(c.rooms, 1) }

// roomOf returns the room of the nth connection.
func (c *control) roomOf(n int) int {
	if c.perRoom == 0 {
		return 0
	}
	return n / c.perRoom % c.roomCount()
}

// listen listens at a free port of 127.0.0.1, with TLS if it is asked for.
func (c *control) listen() (net.Listener, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err == nil && c.tls != nil {
		l = tls.NewListener(l, c.tls)
	}
	return l, err
}

// serveHTTP serves h, and answers the benchmark, until either ends.
func (c *control) serveHTTP(h http.Handler) error {
	l, err := c.listen()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(l, h) }()
	c.ready(l.Addr().String())
	go func() { failed <- c.run() }()
	return <-failed
}

// ready tells the benchmark where the server listens.
func (c *control) ready(addr string) {
	fmt.Println("listening", addr)
}

// run answers questions until standard input ends.
func (c *control) run() error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(c.answer(in.Text()))
	}
	if err := in.Err(); err != nil {
		return err
	}
	return io.EOF
}

// answer answers one question.
//
//	members     how many connections there are
//	swallowed   how many messages came that go to nobody
//	memory      what the runtime says after two collections, as JSON
//	release     collects, and gives free memory back to the system
//	quiet N     makes N quiet rooms with a member each, beside those that there are
//	quietrooms N, moves N
//	            what this library measures of hubs, as JSON
//	rooms N     memory before and after making N idle rooms, as JSON
func (c *control) answer(question string) string {
	verb, arg, _ := strings.Cut(question, " ")
	switch verb {
	case "members":
		return strconv.Itoa(c.members())
	case "swallowed":
		return strconv.FormatUint(c.swallowed(), 10)
	case "memory":
		return toJSON(readMemory())
	case "release":
		debug.FreeOSMemory()
		return "ok"
	case "rooms":
		n, err := strconv.Atoi(arg)
		if err != nil || c.makeRooms == nil {
			return "null"
		}
		before := readMemory()
		c.kept = c.makeRooms(n)
		return toJSON([]memory{before, readMemory()})
	}
	n, err := strconv.Atoi(arg)
	switch measure := c.measures[verb]; {
	case err != nil:
	case verb == "quiet" && c.quiet != nil:
		if err := c.quiet(n); err != nil {
			return strconv.Quote(err.Error())
		}
		return "ok"
	case measure != nil:
		v, err := measure(n)
		if err != nil {
			return strconv.Quote(err.Error())
		}
		return toJSON(v)
	}
	return "unknown question " + strconv.Quote(question)
}

// memory is what a server's runtime says of its memory, in bytes.
type memory struct {
	HeapAlloc  uint64
	HeapInuse  uint64
	StackInuse uint64
	Goroutines int
}

func (m memory) inUse() float64 { return float64(m.HeapInuse + m.StackInuse) }

func readMemory() memory {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return memory{HeapAlloc: s.HeapAlloc, HeapInuse: s.HeapInuse, StackInuse: s.StackInuse, Goroutines: runtime.NumGoroutine()}
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return strconv.Quote(err.Error())
	}
	return string(b)
}
