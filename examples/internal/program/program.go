// Package program runs programs in tests: programs that it builds, and installed
// programs, such as nc.
package program

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. It only ends tests that have
// failed.
const patience = 30 * time.Second

// Main builds the packages into a directory, runs the tests, and removes it.
// Path names what it has built. It is for TestMain.
func Main(m *testing.M, packages ...string) {
	code := 1
	defer func() { os.Exit(code) }()
	var err error
	if dir, err = os.MkdirTemp("", "examples"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)...)
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %v\n%s", build, err, out))
	}
	code = m.Run()
}

var dir string

// Path returns the path of a program that Main has built.
func Path(name string) string { return filepath.Join(dir, name) }

// Installed returns the path of a program, or skips the test.
func Installed(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// A Process is a program that runs.
type Process struct {
	Out, Err *Output // what it has written
	cmd      *exec.Cmd
	stdin    io.WriteCloser
	exited   chan struct{} // closed when it has ended and all that it has written is there
}

// Start runs a program until it ends or the test does.
func Start(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(path, args...)
	name := filepath.Base(path)
	p := &Process{Out: newOutput(name + " stdout"), Err: newOutput(name + " stderr"), cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.Out, p.Err
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.wait()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%v\n%v\n%v", cmd.Args, p.Out, p.Err)
		}
	})
	return p
}

// wait ends when the program has.
func (p *Process) wait() {
	p.cmd.Wait()
	p.Out.end()
	p.Err.end()
	close(p.exited)
}

//go:embed peer.js
var peer string

// Peer starts a peer in Node: lines of its input go to addr as frames, and the bodies
// of frames come out as lines.
func Peer(t testing.TB, addr, framing string) *Process {
	t.Helper()
	host, port := Split(t, addr)
	return Start(t, Installed(t, "node"), "-e", peer, "peer.js", host, port, framing)
}

// Split returns the host and the port of an address.
func Split(t testing.TB, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// Meet returns when a and b are in the room, and has gone past what they sent for
// that. A member does not receive its own join, and not every codec carries others': so
// both call until each has received the other's call.
func Meet(t testing.TB, a, b *Process) {
	t.Helper()
	for began := time.Now(); !strings.Contains(a.Out.Text(), "b calls\n") || !strings.Contains(b.Out.Text(), "a calls\n"); {
		if time.Since(began) > patience {
			t.Fatal("the two do not hear each other")
		}
		a.Say(t, "a calls\n")
		b.Say(t, "b calls\n")
		time.Sleep(10 * time.Millisecond) // until the next call
	}
	a.Say(t, "met\n")
	b.Out.Expect(t, "met\n")
	b.Say(t, "met\n")
	a.Out.Expect(t, "met\n")
}

// Say writes to the program's standard input.
func (p *Process) Say(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		t.Fatalf("%v: write %q: %v", p.cmd.Args, text, err)
	}
}

// Call is Say to a program that may have ended, and may be called off the test's
// goroutine.
func (p *Process) Call(text string) { io.WriteString(p.stdin, text) }

// End closes the program's standard input.
func (p *Process) End() { p.stdin.Close() }

// Signal sends the program a signal.
func (p *Process) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// Status waits until the program ends and returns its status, -1 if a signal ended it.
func (p *Process) Status(t testing.TB) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("%v has not ended", p.cmd.Args)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Output is what a program has written so far.
type Output struct {
	name string

	mu    sync.Mutex // guards what follows
	text  []byte
	read  int // how much of text Expect and Line have gone past
	ended bool
	more  chan struct{} // closed when there is more, or the end, and replaced
}

func newOutput(name string) *Output { return &Output{name: name, more: make(chan struct{})} }

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	o.tellLocked()
	return len(b), nil
}

func (o *Output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.tellLocked()
}

func (o *Output) tellLocked() {
	close(o.more)
	o.more = make(chan struct{})
}

// Expect waits until want is written, and goes past it.
func (o *Output) Expect(t testing.TB, want string) {
	t.Helper()
	if _, err := o.until([]byte(want)); err != nil {
		t.Fatalf("%s: want %q, got %v", o.name, want, err)
	}
}

// Line waits for the next line, goes past it, and returns it without its end.
func (o *Output) Line(t testing.TB) string {
	t.Helper()
	line, err := o.until([]byte("\n"))
	if err != nil {
		t.Fatalf("%s: want a line, got %v", o.name, err)
	}
	return string(line)
}

// until waits for mark, goes past it, and returns what is before it.
func (o *Output) until(mark []byte) ([]byte, error) {
	late := time.After(patience)
	for {
		o.mu.Lock()
		rest, ended, more := o.text[o.read:], o.ended, o.more
		if i := bytes.Index(rest, mark); i >= 0 {
			o.read += i + len(mark)
			o.mu.Unlock()
			return rest[:i], nil
		}
		o.mu.Unlock()
		if ended {
			return nil, errors.New("the end")
		}
		select {
		case <-more:
		case <-late:
			return nil, errors.New("nothing like it")
		}
	}
}

// String returns all that was written, cut if it is long.
func (o *Output) String() string {
	text := o.Text()
	if len(text) > 4<<10 {
		text = text[:2<<10] + "\n…\n" + text[len(text)-2<<10:]
	}
	return fmt.Sprintf("%s:\n%s", o.name, text)
}

// Text returns all that was written so far.
func (o *Output) Text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}
