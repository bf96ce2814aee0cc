//go:build unix

package chat

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/term"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// deadline is how long a test waits for what must come. It only ends tests that have
// failed.
const deadline = 30 * time.Second

// asProgram is the environment variable with which the test binary is the program; its
// value says which: "chat", or "panic", whose screen panics at the key "!".
const asProgram = "TCPROOM_CHAT_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "":
		// A program that is started while this one catches SIGHUP does not ignore it, as it
		// would if nohup has started this one.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
		os.Exit(m.Run())
	case "panic":
		cfg, err := parse(os.Args[1:])
		if err == nil {
			err = runScreen(context.Background(), func() {}, cfg, func(s *screen) tea.Model { return fragile{s} })
		}
		fail(err)
	default:
		fail(Run(context.Background(), os.Args[1:]))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "tcproom: chat:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// fragile is a screen that panics.
type fragile struct{ *screen }

func (f fragile) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if key, ok := msg.(tea.KeyPressMsg); ok && key.Text == "!" {
		panic("a mistake")
	}
	_, cmd := f.screen.Update(msg)
	return f, cmd
}

// A terminal is a terminal with a program in it.
type terminal struct {
	t     testing.TB
	name  string
	pty   *os.File
	tty   *os.File
	cmd   *exec.Cmd
	ended chan struct{}

	mu      sync.Mutex // guards what follows
	em      *vt.Emulator
	all     bytes.Buffer // what the program has written
	changed chan struct{}
}

// open starts the program, in a terminal of that size.
func open(t testing.TB, mode string, width, height int, args ...string) *terminal {
	t.Helper()
	return openWith(t, nil, mode, width, height, args...)
}

// openWith is open with more of an environment.
func openWith(t testing.TB, env []string, mode string, width, height int, args ...string) *terminal {
	t.Helper()
	master, tty, err := pty.Open()
	require.NoError(t, err)
	require.NoError(t, pty.Setsize(master, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)}))
	ptmx := pollable(t, master)
	term := &terminal{t: t, name: strings.Join(args, " "), pty: ptmx, tty: tty, em: vt.NewEmulator(width, height), ended: make(chan struct{}), changed: make(chan struct{})}
	exe, err := os.Executable()
	require.NoError(t, err)
	term.cmd = exec.Command(exe, args...)
	term.cmd.Env = append(os.Environ(), asProgram+"="+mode, "TERM=xterm-256color", "TZ=UTC")
	term.cmd.Env = append(term.cmd.Env, env...)
	term.cmd.Stdin, term.cmd.Stdout, term.cmd.Stderr = tty, tty, tty
	term.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, term.cmd.Start())
	var running sync.WaitGroup
	running.Go(term.read)
	running.Go(term.answer)
	go func() {
		term.cmd.Wait()
		close(term.ended)
	}()
	t.Cleanup(func() {
		term.cmd.Process.Kill()
		<-term.ended
		if t.Failed() {
			t.Logf("%s:\n%s", term.name, term.screen())
		}
		tty.Close()
		ptmx.Close()
		term.em.InputPipe().(io.Closer).Close()
		running.Wait()
	})
	return term
}

// pollable returns f so that Close ends its Read, which the kernel's way of opening it
// does not allow.
func pollable(t testing.TB, f *os.File) *os.File {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	require.NoError(t, err)
	syscall.CloseOnExec(fd)
	require.NoError(t, syscall.SetNonblock(fd, true))
	require.NoError(t, f.Close())
	return os.NewFile(uintptr(fd), f.Name())
}

// read shows what the program writes. It ends when the terminal is closed.
func (c *terminal) read() {
	b := make([]byte, 32<<10)
	for {
		n, err := c.pty.Read(b)
		c.mu.Lock()
		c.em.Write(b[:n])
		c.all.Write(b[:n])
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// answer passes on what the terminal says, such as answers to what the program asks it.
// It ends when the emulator's pipe is closed.
func (c *terminal) answer() { io.Copy(c.pty, c.em) }

// screen returns the rows of the screen.
func (c *terminal) screen() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.em.String()
}

// await waits until the screen is as wanted.
func (c *terminal) await(what string, is func(screen string) bool) {
	c.t.Helper()
	late := time.After(deadline)
	for {
		c.mu.Lock()
		ok, changed := is(c.em.String()), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			c.t.Fatalf("%s does not show %s:\n%s", c.name, what, c.screen())
		}
	}
}

// sees waits until the screen shows a text, and gone until it does not.
func (c *terminal) sees(text string) {
	c.t.Helper()
	c.await(fmt.Sprintf("%q", text), func(s string) bool { return strings.Contains(s, text) })
}

func (c *terminal) gone(text string) {
	c.t.Helper()
	c.await(fmt.Sprintf("no %q", text), func(s string) bool { return !strings.Contains(s, text) })
}

// types sends bytes as the keyboard does.
func (c *terminal) types(keys string) {
	c.t.Helper()
	_, err := io.WriteString(c.pty, keys)
	require.NoError(c.t, err)
}

func (c *terminal) line(text string) {
	c.t.Helper()
	c.types(text + "\r")
}

func (c *terminal) resize(width, height int) {
	c.t.Helper()
	c.mu.Lock()
	c.em.Resize(width, height)
	c.mu.Unlock()
	require.NoError(c.t, pty.Setsize(c.pty, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)}))
}

// status waits for the program's end and returns its status.
func (c *terminal) status() int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(deadline):
		c.t.Fatalf("%s has not ended:\n%s", c.name, c.screen())
	}
	return c.cmd.ProcessState.ExitCode()
}

// restored waits until the terminal is as it was: on its own screen, with its cursor, and
// with the line discipline of before.
func (c *terminal) restored(before *term.State) {
	c.t.Helper()
	after, err := term.GetState(c.tty.Fd())
	require.NoError(c.t, err)
	require.Equal(c.t, before, after)
	c.await("the screen of before", func(string) bool { return !c.em.IsAltScreen() })
	c.mu.Lock()
	defer c.mu.Unlock()
	// The last word for each mode. The emulator has a cursor for each screen, and cannot
	// be asked for it.
	for mode, last := range map[string]byte{"\x1b[?25": 'h', "\x1b[?2004": 'l', "\x1b[?1004": 'l', "\x1b[?1049": 'l'} {
		i := bytes.LastIndex(c.all.Bytes(), []byte(mode))
		require.Positive(c.t, i, "%q", mode)
		require.Equal(c.t, last, c.all.Bytes()[i+len(mode)], "%q", mode)
	}
}

// freshState returns how a terminal is in which nothing has run.
func freshState(t testing.TB) *term.State {
	t.Helper()
	ptmx, tty, err := pty.Open()
	require.NoError(t, err)
	defer ptmx.Close()
	defer tty.Close()
	st, err := term.GetState(tty.Fd())
	require.NoError(t, err)
	return st
}

// A place for a hub to listen, where another hub may listen after it.
type server struct {
	t    testing.TB
	addr string
	hub  *tcproom.Hub
}

// serve starts a hub, whose clients speak JSON if opts say nothing else.
func serve(t testing.TB, addr string, opts ...tcproom.HubOption) *server {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	all := []tcproom.HubOption{
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithUniqueNames(true),
		tcproom.WithHistory(tcproom.History{Messages: 100}),
	}
	s := &server{t: t, addr: l.Addr().String(), hub: tcproom.NewHub(append(all, opts...)...)}
	served := make(chan error, 1)
	go func() { served <- s.hub.Serve(l) }()
	t.Cleanup(func() {
		s.hub.Close()
		<-served
	})
	return s
}

// A cable is a way to a server that can be pulled out.
type cable struct {
	l  net.Listener
	to string

	mu    sync.Mutex // guards what follows
	conns []net.Conn
	down  bool
}

func plug(t testing.TB, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cable{l: l, to: to}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.carry()
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		c.set(true)
	})
	return c
}

// carry ends when the listener is closed.
func (c *cable) carry() {
	for {
		near, err := c.l.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		down := c.down
		c.mu.Unlock()
		if down {
			near.Close()
			continue
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			near.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, near, far)
		c.mu.Unlock()
		pass := func(from, to net.Conn) { // it ends when one of the two is closed
			io.Copy(to, from)
			to.Close()
		}
		go pass(near, far)
		go pass(far, near)
	}
}

// set pulls the cable out, or puts it in again.
func (c *cable) set(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	if down {
		for _, nc := range c.conns {
			nc.Close()
		}
		c.conns = nil
	}
}

// paste pastes a text, as the terminal does it.
func (c *terminal) paste(text string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.em.Paste(text)
}

// watched is a terminal of which is known how it was.
type watched struct {
	*terminal
	before *term.State
}

// openWatched is open for ada in the lobby, which she has entered when it returns.
func openWatched(t testing.TB, mode, addr string) watched {
	t.Helper()
	w := watched{before: freshState(t)}
	w.terminal = open(t, mode, 80, 24, "-name", "ada", addr)
	w.sees("you are ada")
	return w
}
