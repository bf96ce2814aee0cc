//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must come. It only ends tests that have
// failed.
const patience = 30 * time.Second

// asProgram says that a process is the program and runs no tests.
const asProgram = "TCPROOM_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	// A program that is started while this one catches SIGHUP does not ignore it, as it
	// would if nohup has started this one.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

// A process is the program.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *bufio.Reader // ends of pipes
	outPipe  *os.File
	errPipe  *os.File
	ended    chan struct{}
}

// program returns the program with the arguments.
func program(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// start starts the program.
func start(t *testing.T, args ...string) *process { return startCmd(t, program(args...)) }

func startCmd(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	var ends [2]*os.File
	p.out, p.outPipe, ends[0] = pipe(t)
	p.err, p.errPipe, ends[1] = pipe(t)
	p.cmd.Stdout, p.cmd.Stderr = ends[0], ends[1]
	require.NoError(t, p.cmd.Start())
	ends[0].Close()
	ends[1].Close()
	go p.wait()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// pipe returns a pipe whose reader gives up when patience ends.
func pipe(t *testing.T) (*bufio.Reader, *os.File, *os.File) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.SetReadDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { r.Close() })
	return bufio.NewReader(r), r, w
}

// wait ends when the process has.
func (p *process) wait() {
	defer close(p.ended)
	p.cmd.Wait()
}

// status waits for the end and returns the status, -1 if a signal ended the process.
func (p *process) status() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%v has not ended", p.cmd.Args)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(sig))
}

// errLine returns the next line of standard error.
func (p *process) errLine() string {
	p.t.Helper()
	return line(p.t, p.err)
}

// expectErr reads standard error up to a line that contains want, and returns that.
func (p *process) expectErr(want string) string {
	p.t.Helper()
	for {
		if l := p.errLine(); strings.Contains(l, want) {
			return l
		}
	}
}

// rest reads a stream to its end.
func rest(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(b)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	l, err := r.ReadString('\n')
	require.NoError(t, err, "got %q", l)
	return strings.TrimSuffix(l, "\n")
}

// serving starts a server and returns its address.
func serving(t *testing.T, args ...string) (*process, string) {
	t.Helper()
	return servingCmd(t, program(append([]string{"serve", "-addr", "127.0.0.1:0"}, args...)...))
}

func servingCmd(t *testing.T, cmd *exec.Cmd) (*process, string) {
	t.Helper()
	p := startCmd(t, cmd)
	addr, ok := strings.CutPrefix(p.errLine(), "listening on ")
	require.True(t, ok)
	return p, addr
}

// A peer is a member that speaks lines.
type peer struct {
	t *testing.T
	net.Conn
	br *bufio.Reader
}

func dial(t *testing.T, addr string) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	return &peer{t, nc, bufio.NewReader(nc)}
}

func (p *peer) say(text string) {
	p.t.Helper()
	_, err := fmt.Fprintln(p, text)
	require.NoError(p.t, err)
}

func (p *peer) line() string {
	p.t.Helper()
	return line(p.t, p.br)
}

// expect reads up to a line that contains want.
func (p *peer) expect(want string) {
	p.t.Helper()
	for !strings.Contains(p.line(), want) {
	}
}

func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		name, args, out, err string
		status               int
	}{
		{name: "none", err: "tcproom: want a command\n", status: 2},
		{name: "unknown", args: "dance", err: `tcproom: there is no command "dance"; see tcproom -h`, status: 2},
		{name: "help", args: "-h", out: "  bench  "},
		{name: "help of serve", args: "serve -h", out: "usage: tcproom serve [flags]"},
		{name: "help about serve", args: "help serve", out: "usage: tcproom serve [flags]"},
		{name: "help about nothing", args: "help dance", err: `tcproom: there is no command "dance"; see tcproom -h`, status: 2},
		{name: "no unit", args: "serve -grace 10", err: `invalid value "10" for flag -grace: want a time with its unit, such as 30s`, status: 2},
		{name: "no number", args: "bench -members many x:1", err: `invalid value "many" for flag -members: want a number`, status: 2},
		{name: "help of bench", args: "bench -help", out: "usage: tcproom bench [flags] HOST:PORT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, strings.Fields(tt.args)...)
			out, err := rest(t, p.out), rest(t, p.err)
			require.Equal(t, tt.status, p.status())
			require.Contains(t, out, tt.out)
			require.Contains(t, err, tt.err)
			if tt.status == 0 {
				require.Empty(t, err)
			}
		})
	}
}
