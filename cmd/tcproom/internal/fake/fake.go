// Package fake is the command that serves a chat room by a script, for tests of chat
// clients in any language. What bots do, what they match and what faults there are is
// package roomtest's; here are the form of the script, a control endpoint over HTTP, and
// the verdict.
package fake

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/tcproom/cmd/tcproom/internal/cli"
)

// config is what the arguments say.
type config struct {
	addr, control string
	life          time.Duration // 0: no bound
	untilEOF      bool
	verbose       bool
	script        string // file; "-" is standard input, "" an empty room
	text          string // the script itself
	endWithin     time.Duration
	stdin         io.Reader
	stdout        io.Writer
	stderr        io.Writer
}

const usage = `usage: tcproom fake [flags] [SCRIPT]

Serves a chat room by a script, for tests of chat clients. SCRIPT is a file of YAML, or -
for standard input; without it, and without -e, the room is empty. When the fake is ready
it prints one line of JSON with its addresses. It ends with status 0 if the script has held,
1 if it has not, and 2 if the arguments or the script are wrong. docs/fake.md has the words
of a script and the requests of the control endpoint.`

// Run serves until a signal, a request or the end of its time stops it. It returns an
// error if the script has not held.
func Run(ctx context.Context, args []string) error {
	// A test runner that is gone must not keep its fake from ending in good order.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	cfg := &config{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	if err := cfg.parse(args); err != nil {
		return err
	}
	return cfg.run(ctx)
}

func (cfg *config) parse(args []string) error {
	fs := flag.NewFlagSet("fake", flag.ContinueOnError)
	cfg.register(fs)
	if err := cli.Parse(fs, args, usage); err != nil {
		return err
	}
	cfg.script = fs.Arg(0)
	cfg.endWithin = 10 * time.Second
	return cfg.check(fs)
}

func (cfg *config) register(fs *flag.FlagSet) {
	fs.StringVar(&cfg.addr, "addr", "127.0.0.1:0", "listen on `HOST:PORT`; port 0 is any free one")
	fs.StringVar(&cfg.control, "control", "127.0.0.1:0", "the control endpoint listens on `HOST:PORT`, of loopback")
	fs.DurationVar(&cfg.life, "for", 0, "stop after this `time`; 0 is no bound")
	fs.BoolVar(&cfg.untilEOF, "until-eof", false, "stop when standard input ends, as it does when the parent process is gone")
	fs.StringVar(&cfg.text, "e", "", "the `script` itself, in place of a file")
	fs.BoolVar(&cfg.verbose, "v", false, "print what the room logs")
}

func (cfg *config) check(fs *flag.FlagSet) error {
	switch {
	case fs.NArg() > 1:
		return cli.Usagef("unexpected argument %q: there is one script", fs.Arg(1))
	case cfg.text != "" && cfg.script != "":
		return cli.Usagef("-e goes without a file: there is one script")
	case cfg.life < 0:
		return cli.Usagef("-for %v is negative", cfg.life)
	case cfg.untilEOF && cfg.script == "-":
		return cli.Usagef("-until-eof goes without a script from standard input")
	}
	host, _, err := net.SplitHostPort(cfg.control)
	if err != nil {
		return cli.Usagef("-control: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return cli.Usagef("-control %s: it listens on loopback only, such as 127.0.0.1:0", cfg.control)
	}
	return nil
}

// load reads the script.
func (cfg *config) load() (*Script, error) {
	name, text := "empty", []byte(nil)
	var err error
	switch {
	case cfg.text != "":
		name, text = "-e", []byte(cfg.text)
	case cfg.script == "":
	case cfg.script == "-":
		name = "stdin"
		text, err = io.ReadAll(io.LimitReader(cfg.stdin, maxScript+1))
	default:
		name = cfg.script
		text, err = readFile(name)
	}
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	script, err := ParseScript(name, text)
	if err != nil {
		return nil, cli.Usagef("%w", err)
	}
	return script, nil
}

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxScript+1))
}

var errNotHeld = errors.New("the script has not held")

// run is the command from where its arguments are known.
func (cfg *config) run(ctx context.Context) error {
	script, err := cfg.load()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return cli.Usagef("-addr: %w", err)
	}
	control, err := net.Listen("tcp", cfg.control)
	if err != nil {
		l.Close()
		return cli.Usagef("-control: %w", err)
	}
	var printing sync.Mutex
	leaving, leave := context.WithCancel(ctx)
	defer leave()
	if cfg.untilEOF {
		go leaveAtEOF(cfg.stdin, leave)
	}
	f, err := newFake(leaving, leave, script, l, control.Addr(), cfg.verbose, func(text string) {
		printing.Lock()
		defer printing.Unlock()
		fmt.Fprintln(cfg.stderr, "tcproom fake:", text)
	})
	if err != nil {
		control.Close()
		return cli.Usagef("%s: %w", script.file, err)
	}
	web := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	served := make(chan error, 1)
	go serve(web, control, served)

	if cfg.life > 0 {
		defer time.AfterFunc(cfg.life, leave).Stop()
	}
	if _, err := cfg.stdout.Write(toJSON(f.ready())); err != nil {
		leave() // nobody waits for it
	}
	select {
	case <-leaving.Done():
	case err = <-served:
		leave()
	}
	ended := make(chan struct{})
	go f.close(web, ended)
	late := time.NewTimer(cfg.endWithin)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
		return fmt.Errorf("it has not ended within %v", cfg.endWithin)
	}
	if err != nil {
		return fmt.Errorf("control endpoint: %w", err)
	}
	if f.hasFailed() {
		return errNotHeld
	}
	return nil
}

// close ends the last life and the control endpoint, which answers a request to stop
// before.
func (f *fake) close(web *http.Server, ended chan<- struct{}) {
	defer close(ended)
	f.end()
	f.port.Close()
	if f.asked.Load() {
		<-f.stopped
	}
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if web.Shutdown(soon) != nil {
		web.Close()
	}
}

// serve ends when web does.
func serve(web *http.Server, l net.Listener, served chan<- error) {
	if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		served <- err
	}
}

// A fake is one process: lives at one address, one after the other.
type fake struct {
	port     *port
	control  net.Addr
	verbose  bool
	log      func(text string)
	leaving  context.Context // ended by leave: the fake is to end, and nothing waits
	leave    context.CancelFunc
	asked    atomic.Bool   // by a request to stop
	stopped  chan struct{} // closed when that is answered
	stopOnce sync.Once

	turn sync.Mutex // held while a life ends or begins

	mu     sync.Mutex // guards what follows; taken after turn
	stage  *stage
	life   int
	over   bool // the last life has ended
	failed bool // of some life that has ended
	cert   *tls.Certificate
	pem    string
}

// newFake begins the first life, for the connections of l, which it closes at the end.
func newFake(leaving context.Context, leave context.CancelFunc, script *Script, l net.Listener, control net.Addr, verbose bool, log func(string)) (*fake, error) {
	f := &fake{port: newPort(l), control: control, verbose: verbose, log: log, leaving: leaving, leave: leave, stopped: make(chan struct{})}
	if err := f.begin(script); err != nil {
		f.port.Close()
		return nil, err
	}
	return f, nil
}

// begin begins a life. The caller holds turn, or is the only one.
func (f *fake) begin(script *Script) error {
	cert, err := f.certificate(script)
	if err != nil {
		return err
	}
	s, err := newStage(f.leaving, script, f.port.listen(), cert, f.verbose, f.log)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stage = s
	f.life++
	return nil
}

// certificate returns the one of all lives, if the script wants it.
func (f *fake) certificate(script *Script) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if script.tls && f.cert == nil {
		host, _ := splitAddr(f.port.l.Addr())
		var err error
		if f.cert, f.pem, err = newCertificate(host); err != nil {
			return nil, err
		}
	}
	return f.cert, nil
}

// now returns the life that is played, or was the last.
func (f *fake) now() (*stage, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stage, f.life
}

// reset ends a life and begins the next one, with the same script if next is nil. A
// client that connects when it has returned is in the next one.
func (f *fake) reset(next *Script) (was *status, line *ready, err error) {
	f.turn.Lock()
	defer f.turn.Unlock()
	was, ended := f.endLife()
	if !ended {
		return nil, nil, errEnded
	}
	if next == nil {
		s, _ := f.now()
		next = s.script
	}
	if err := f.begin(next); err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.over, f.failed = true, true
		return nil, nil, err
	}
	return was, f.ready(), nil
}

// end ends the last life, once, and returns its status.
func (f *fake) end() *status {
	f.turn.Lock()
	defer f.turn.Unlock()
	st, ended := f.endLife()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	if !ended {
		return f.stage.status(f.life)
	}
	return st
}

// endLife ends the life that is played, unless that was done, and returns its status.
func (f *fake) endLife() (st *status, ended bool) {
	f.mu.Lock()
	s, life, over := f.stage, f.life, f.over
	f.mu.Unlock()
	if over {
		return nil, false
	}
	s.end()
	st = s.status(life)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = f.failed || !st.Held
	return st, true
}

func (f *fake) hasFailed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// leaveAtEOF leaves with the input, or the process that has the other end.
func leaveAtEOF(in io.Reader, leave func()) {
	io.Copy(io.Discard, in)
	leave()
}

// ready returns what clients need to know.
func (f *fake) ready() *ready {
	f.mu.Lock()
	defer f.mu.Unlock()
	host, port := splitAddr(f.port.l.Addr())
	line := &ready{Event: "ready", Addr: f.port.l.Addr().String(), Host: host, Port: port, Control: "http://" + f.control.String(),
		Rooms: []string{}, Speaks: f.stage.script.speaks, Life: f.life, Pid: os.Getpid()}
	if f.stage.script.isHub {
		for _, r := range f.stage.script.rooms {
			line.Rooms = append(line.Rooms, r.name)
		}
	}
	if f.stage.script.tls {
		line.Certificate = f.pem
	}
	return line
}
