//go:build unix

package chat

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// A process is the program with pipes in place of a terminal.
type process struct {
	t        testing.TB
	cmd      *exec.Cmd
	in       io.WriteCloser
	out, err *output
	ended    chan struct{}
}

// pipe starts the program.
func pipe(t testing.TB, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	p := &process{t: t, cmd: exec.Command(exe, args...), out: newOutput(), err: newOutput(), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asProgram+"=chat", "TZ=UTC")
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%v\n%s\n%s", args, p.out.text(), p.err.text())
		}
	})
	return p
}

// says writes to the program; it may have ended.
func (p *process) says(text string) { io.WriteString(p.in, text) }

func (p *process) status() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(deadline):
		p.t.Fatal("the program has not ended")
	}
	return p.cmd.ProcessState.ExitCode()
}

// An output is what a program has written.
type output struct {
	mu      sync.Mutex // guards what follows
	b       bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.b.Write(b)
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// sees waits until a text was written.
func (o *output) sees(t testing.TB, text string) {
	t.Helper()
	for late := time.After(deadline); ; {
		o.mu.Lock()
		ok, changed := strings.Contains(o.b.String(), text), o.changed
		o.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%q was not written:\n%s", text, o.text())
		}
	}
}

// times is what lines of the output begin with.
var times = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d `)

func (o *output) lines() string { return times.ReplaceAllString(o.text(), "") }

// TestPlain: the program with pipes is a client line by line.
func TestPlain(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	bob := pipe(t, "-name", "bob", "-room", "lobby,kitchen", srv.addr)
	bob.err.sees(t, "[lobby] you are bob in lobby")
	bob.err.sees(t, "[kitchen] you are bob in kitchen")

	ada := pipe(t, "-name", "ada", srv.addr)
	ada.says("one\n\n//two\n/join kitchen\nthree\n/who\n/msg bob four\n\x1b[2J\xff é\n")
	bob.out.sees(t, `\x1b[2J\xff é`)
	bob.says("answer\n")
	ada.out.sees(t, "bob: answer\n")
	ada.in.Close()
	require.Zero(t, ada.status())
	bob.out.sees(t, "[kitchen] * ada left")
	require.Regexp(t, `(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[lobby\] ada: one$`, bob.out.text())
	for room, want := range map[string][]string{
		"lobby":   {"* ada joined", "ada: one", "ada: /two", "* ada left"},
		"kitchen": {"* ada joined", "ada: three", "* ada left"},
		"@ada":    {"ada: four", `ada: \x1b[2J\xff é`},
	} {
		var got []string
		for line := range strings.Lines(bob.out.lines()) {
			if text, ok := strings.CutPrefix(line, "["+room+"] "); ok {
				got = append(got, strings.TrimSuffix(text, "\n"))
			}
		}
		require.Equal(t, want, got, room)
	}
	require.Contains(t, ada.out.lines(), "[kitchen] * in kitchen: bob, ada\n")
	require.NotContains(t, ada.out.lines(), "ada: one", "what was typed is not said again")
}

// TestPlainQuit: /quit ends it, whatever else there is in the input.
func TestPlainQuit(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	bob := pipe(t, "-name", "bob", srv.addr)
	bob.err.sees(t, "you are bob")
	ada := pipe(t, "-name", "ada", srv.addr)
	ada.says("one\n/quit\ntwo\n")
	require.Zero(t, ada.status())
	bob.out.sees(t, "* ada left")
	require.Equal(t, "[lobby] * ada joined\n[lobby] ada: one\n[lobby] * ada left\n", bob.out.lines())
}

// TestPlainLeave: what is written after /leave goes elsewhere, which is told.
func TestPlainLeave(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	ada := pipe(t, "-name", "ada", "-room", "lobby,kitchen", srv.addr)
	ada.says("/room kitchen\n/leave\n")
	ada.err.sees(t, "[lobby] you have left kitchen\n")
	ada.says("/leave\n")
	ada.err.sees(t, "\nyou have left lobby\n")
}

// TestPlainMany: a file of many lines is sent in full and in order, and the end of the
// program says that the room has it.
func TestPlainMany(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	var want strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&want, "[lobby] ada: line %d\n", i)
	}
	bob := pipe(t, "-name", "bob", srv.addr)
	bob.err.sees(t, "you are bob")
	ada := pipe(t, "-name", "ada", srv.addr)
	ada.says(strings.ReplaceAll(want.String(), "[lobby] ada: ", ""))
	ada.in.Close()
	require.Zero(t, ada.status())
	bob.out.sees(t, "* ada left")
	got := strings.TrimPrefix(strings.TrimSuffix(bob.out.lines(), "[lobby] * ada left\n"), "[lobby] * ada joined\n")
	require.Equal(t, want.String(), got)
}

// TestPlainNotSent: what cannot be done is told, and so is its status.
func TestPlainNotSent(t *testing.T) {
	srv := serve(t, "127.0.0.1:0", tcproom.WithOpenRooms(false), tcproom.WithRoom("lobby"))
	for _, tt := range []struct {
		name, input string
		args        []string
		says        string
		heard       string
	}{
		{name: "no such command", input: "/dance\nend\n", says: "there is no command /dance", heard: "end"},
		{name: "no such room", input: "/join attic\nend\n", says: "not done, attic: no such room", heard: "end"},
		{name: "literally", input: "/dance\nend\n", args: []string{"-literal"}, heard: "/dance"},
		{name: "too long", input: strings.Repeat("x", 11) + "\nend\n", args: []string{"-max-message", "10"}, says: "not sent: message too large", heard: "end"},
		{name: "far too long", input: "end\n" + strings.Repeat("x", 1<<20) + "\n", says: "has more than 65536 bytes", heard: "end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bob := pipe(t, srv.addr)
			bob.err.sees(t, "you are guest-")
			c := pipe(t, append(tt.args, "-name", "ada", srv.addr)...)
			go func() { // the program may end before it has read everything
				c.says(tt.input)
				c.in.Close()
			}()
			want := 0
			if tt.says != "" {
				want = 1
			}
			require.Equal(t, want, c.status())
			require.Contains(t, c.err.text(), tt.says)
			bob.out.sees(t, "ada: "+tt.heard+"\n")
		})
	}
}

// TestPlainEnds: whatever ends it, the room is left in good order.
func TestPlainEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, srv *server, ada *process)
		want int
		says string
	}{
		{"a signal", func(t *testing.T, _ *server, ada *process) {
			require.NoError(t, ada.cmd.Process.Signal(syscall.SIGTERM))
		}, 0, ""},
		{"the terminal of the shell is gone", func(t *testing.T, _ *server, ada *process) {
			require.NoError(t, ada.cmd.Process.Signal(syscall.SIGHUP))
		}, 0, ""},
		{"kicked", func(t *testing.T, srv *server, _ *process) {
			for m := range srv.hub.All().Members() {
				if m.Name() == "ada" {
					m.Kick("be nice")
				}
			}
		}, 1, "the server has ended this: tcproom: kicked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, "127.0.0.1:0")
			bob := pipe(t, "-name", "bob", srv.addr)
			bob.err.sees(t, "you are bob")
			ada := pipe(t, "-name", "ada", srv.addr)
			ada.err.sees(t, "you are ada")
			tt.end(t, srv, ada)
			require.Equal(t, tt.want, ada.status())
			require.Contains(t, ada.err.text(), tt.says)
			bob.out.sees(t, "* ada left")
		})
	}
}

// TestPlainBrokenPipe: nobody reads the output any more, as behind "| head".
func TestPlainBrokenPipe(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	bob := pipe(t, "-name", "bob", srv.addr)
	bob.err.sees(t, "you are bob")
	exe, err := os.Executable()
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	in, typing, err := os.Pipe()
	require.NoError(t, err)
	defer typing.Close() // and not when it is collected: that ends the chat
	ada := exec.Command(exe, "-name", "ada", srv.addr)
	ada.Env, ada.Stdin, ada.Stdout = append(os.Environ(), asProgram+"=chat"), in, w
	notes := newOutput()
	ada.Stderr = notes
	require.NoError(t, ada.Start())
	w.Close()
	notes.sees(t, "you are ada")
	r.Close()
	bob.says("hi\n")
	bob.out.sees(t, "* ada left")
	require.Error(t, ada.Wait())
	require.Equal(t, 1, ada.ProcessState.ExitCode())
	require.Contains(t, notes.text(), "write the output")
}

// TestPlainComesBack: lines that come while there is no connection wait for one.
func TestPlainComesBack(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	bob := pipe(t, "-name", "bob", srv.addr)
	bob.err.sees(t, "you are bob")
	c := plug(t, srv.addr)
	ada := pipe(t, "-name", "ada", c.l.Addr().String())
	ada.err.sees(t, "you are ada")
	c.set(true)
	ada.err.sees(t, "connection lost: ")
	ada.says("one\ntwo\n")
	ada.in.Close()
	c.set(false)
	require.Zero(t, ada.status())
	bob.out.sees(t, "* ada left")
	require.Equal(t, "[lobby] * ada joined\n[lobby] ada: one\n[lobby] ada: two\n[lobby] * ada left\n", bob.out.lines())
}

// TestCannotJoinAnything: what is said if there is no server, or another one.
func TestCannotJoinAnything(t *testing.T) {
	people := serve(t, "127.0.0.1:0", tcproom.WithCodec(tcproom.Text{Commands: true}))
	programs := serve(t, "127.0.0.1:0")
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	secret := serve(t, "127.0.0.1:0", tcproom.WithTLS(&tls.Config{Certificates: web.TLS.Certificates}))
	page := httptest.NewServer(nil)
	t.Cleanup(page.Close)
	taken := pipe(t, "-name", "ada", programs.addr)
	taken.err.sees(t, "you are ada")
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"nobody listens", []string{"127.0.0.1:1"}, "connection refused"},
		{"a server for people", []string{people.addr}, "; use -codec text"},
		{"the name is taken", []string{"-name", "ada", programs.addr}, "name is taken"},
		{"no TLS there", []string{"-tls", programs.addr}, "; leave out -tls"},
		{"TLS there", []string{secret.addr}, "; use -tls"},
		{"a page for browsers", []string{strings.TrimPrefix(page.URL, "http://")}, "; this port is for browsers"},
		{"another framing", []string{"-framing", "length4", programs.addr}, "the room speaks JSON in lines, not JSON with a length of 4 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := pipe(t, tt.args...)
			require.Equal(t, 1, p.status())
			require.Contains(t, p.err.text(), "cannot join "+tt.args[len(tt.args)-1]+": ")
			require.Contains(t, p.err.text(), tt.says)

			term := open(t, "chat", 80, 24, tt.args...)
			require.Equal(t, 1, term.status())
			term.sees(tt.says)
			term.mu.Lock()
			defer term.mu.Unlock()
			require.NotContains(t, term.all.String(), "\x1b", "the terminal would answer to the shell")
		})
	}
}

// TestWithText: a server that is for people with nc.
func TestWithText(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0", tcproom.WithCodec(tcproom.Text{Commands: true}))
	ada := open(t, "chat", 80, 24, "-codec", "text", srv.addr)
	ada.sees("in lobby")
	ada.line("/nick ada")
	ada.sees("is now ada")
	bob := pipe(t, "-codec", "text", srv.addr)
	bob.err.sees(t, "in lobby")
	bob.says("/nick bob\nhi ada\n/msg ada psst\n/rooms\n")
	ada.sees("bob: hi ada")
	ada.sees("bob -> you: psst")
	bob.out.sees(t, "rooms: lobby (2)")
	ada.line("hi bob")
	bob.out.sees(t, "ada: hi bob")
	ada.line("/join kitchen")
	ada.sees("in kitchen")
	ada.types("\x04") // Ctrl-D
	require.Zero(t, ada.status())
	bob.in.Close()
	require.Zero(t, bob.status())
}

// TestFlags: what is refused before anything is dialled.
func TestFlags(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("secret\nsecond line\n"), 0o600))
	for _, tt := range []struct {
		args []string
		says string
	}{
		{nil, "want one HOST:PORT"},
		{[]string{"a:1", "b:2"}, "want one HOST:PORT"},
		{[]string{"localhost"}, "missing port"},
		{[]string{"-codec", "raw", "a:1"}, "want one of json, text"},
		{[]string{"-codec", "text", "-name", "ada", "a:1"}, "-name goes with -codec json only"},
		{[]string{"-codec", "text", "-room", "x", "a:1"}, "-room goes with"},
		{[]string{"-max-message", "0", "a:1"}, "-max-message 0"},
		{[]string{"-name", "a b", "a:1"}, `-name: invalid name: "a b"`},
		{[]string{"-room", "a,b\x1b", "a:1"}, `-room: invalid name of a room: "b\x1b"`},
		{[]string{"-auth-file", "/nowhere", "a:1"}, "-auth-file: open /nowhere"},
		{[]string{"-auth-file", token, "-room", "a, b", "-room", "c", "a:1"}, ""},
	} {
		cfg, err := parse(tt.args)
		if tt.says != "" {
			require.ErrorContains(t, err, tt.says, "%q", tt.args)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b", "c"}, cfg.rooms)
	}
}

// TestSecrets: TLS with a certificate of one's own, and a token for the server.
func TestSecrets(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600))
	require.NoError(t, os.WriteFile(token, []byte("ada's token\n"), 0o600))
	srv := serve(t, "127.0.0.1:0", tcproom.WithTLS(&tls.Config{Certificates: web.TLS.Certificates}),
		tcproom.WithHandshake(func(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
			if n.Hello().Auth != "ada's token" {
				return tcproom.Identity{}, errors.New("unknown token")
			}
			return tcproom.Identity{Name: "ada"}, nil
		}))
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"-tls-ca", ca, "-auth-file", token, srv.addr}, "you are ada in lobby"},
		{[]string{"-tls-ca", ca, srv.addr}, "unknown token"},
		{[]string{"-tls", srv.addr}, "certificate"},
		{[]string{srv.addr}, "TLS"},
	} {
		p := pipe(t, tt.args...)
		p.err.sees(t, tt.says)
		p.in.Close()
		p.status()
		require.NotContains(t, p.err.text(), "ada's token")
	}
}
