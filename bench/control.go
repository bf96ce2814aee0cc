//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

// serverCommand is the first argument that makes this program a server that
// is measured. It is not for people: the benchmark starts its servers with it.
const serverCommand = "measured-server"

// servers are what can be measured, by name.
var servers = map[string]func(*control) error{
	"tcproom": serveTCPRoom,
	"relay":   serveRelay,
	"hub":     serveHub,
	"lossy":   serveLossy,
}

func serverNames() []string {
	var names []string
	for n := range servers {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// serverMain runs a server until its standard input ends, which it does when
// the benchmark ends, in whatever way.
func serverMain(args []string) int {
	flags := flag.NewFlagSet(serverCommand, flag.ExitOnError)
	cpuList := flags.String("cpus", "", "CPUs to run on")
	_ = flags.Parse(args)
	cpus, err := parseCPUs(*cpuList)
	if err == nil {
		err = startOn(cpus)
	}
	if err == nil {
		serve := servers[flags.Arg(0)]
		if serve == nil {
			err = fmt.Errorf("no server %q", flags.Arg(0))
		} else {
			err = serve(&control{})
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "bench: server:", err)
		return 1
	}
	return 0
}

// control answers the benchmark's questions in a server: one line of standard
// input each, answered by one line of standard output.
type control struct {
	members func() int
	rooms   func(n int) (keep any) // makes n idle rooms; nil where there are none

	kept any
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
//	memory      what the runtime says after two collections, as JSON
//	release     collects, and gives free memory back to the system
//	rooms N     memory before and after making N idle rooms, as JSON
func (c *control) answer(question string) string {
	verb, arg, _ := strings.Cut(question, " ")
	switch verb {
	case "members":
		return strconv.Itoa(c.members())
	case "memory":
		return toJSON(readMemory())
	case "release":
		debug.FreeOSMemory()
		return "ok"
	case "rooms":
		n, err := strconv.Atoi(arg)
		if err != nil || c.rooms == nil {
			return "null"
		}
		before := readMemory()
		c.kept = c.rooms(n)
		return toJSON([]memory{before, readMemory()})
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
