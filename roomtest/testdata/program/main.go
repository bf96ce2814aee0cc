// Program uses roomtest outside of a test.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"runtime"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A tb is the least that a server wants.
type tb struct {
	testing.TB
	cleanups []func()
}

func (*tb) Helper()                   {}
func (*tb) Name() string              { return "program" }
func (*tb) Failed() bool              { return false }
func (*tb) Logf(string, ...any)       {}
func (*tb) Errorf(f string, a ...any) { fmt.Printf(f+"\n", a...) }
func (t *tb) Cleanup(fn func())       { t.cleanups = append(t.cleanups, fn) }

func (*tb) Fatalf(f string, a ...any) {
	fmt.Printf(f+"\n", a...)
	runtime.Goexit()
}

func main() {
	t := new(tb)
	var kept []byte
	srv := roomtest.NewServer(t, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
		kept = body
		return append([]byte(nil), body...), nil
	}))
	bob := srv.Join("bob")
	srv.Join("ada").Send("hello, hello, hello, hello")
	heard := bob.Await(roomtest.Message("ada", "hello, hello, hello, hello")).Body
	flags := 0
	flag.VisitAll(func(*flag.Flag) { flags++ })
	fmt.Printf("flags: %d, overwritten: %t, heard: %s\n", flags, bytes.Contains(kept, []byte("returned")), heard)
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}
