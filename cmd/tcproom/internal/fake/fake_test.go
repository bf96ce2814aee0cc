package fake

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/cmd/tcproom/internal/cli"
)

// A runner is a command that runs in this process, over loopback.
type runner struct {
	t      *testing.T
	stdin  *io.PipeWriter
	stderr *lockedBuffer
	ready  ready
	cancel context.CancelFunc
	ended  chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// run runs the command with a script in a file, and returns when it is ready.
func run(t *testing.T, script string, args ...string) *runner {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script.yaml")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	r := &runner{t: t, stderr: new(lockedBuffer), ended: make(chan error, 1)}
	cfg := &config{stderr: r.stderr}
	require.NoError(t, cfg.parse(append(args, file)))
	var out io.Writer
	var lines io.Reader
	cfg.stdin, r.stdin = io.Pipe()
	lines, out = io.Pipe()
	cfg.stdout = out
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	t.Cleanup(r.cancel)
	go func() { r.ended <- cfg.run(ctx) }()
	line, err := bufio.NewReader(lines).ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &r.ready))
	return r
}

func (r *runner) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("the fake has not ended")
		return nil
	}
}

func (r *runner) post(path string) string {
	r.t.Helper()
	resp, err := http.Post(r.ready.Control+path, "", nil)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	require.Equal(r.t, http.StatusOK, resp.StatusCode, "%s", b)
	return string(b)
}

func TestRunUntilStop(t *testing.T) {
	t.Parallel()
	r := run(t, "expect: [{await: {message: hi}}]")
	require.Equal(t, "ready", r.ready.Event)
	require.Equal(t, net.JoinHostPort(r.ready.Host, fmt.Sprint(r.ready.Port)), r.ready.Addr)
	require.Equal(t, os.Getpid(), r.ready.Pid)
	nc, err := net.Dial("tcp", r.ready.Addr)
	require.NoError(t, err)
	defer nc.Close()
	_, err = io.WriteString(nc, "hi\n")
	require.NoError(t, err)
	resp, err := http.Post(r.ready.Control+"/expect", "application/json", strings.NewReader(`{"await":{"message":"hi"}}`))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Contains(t, r.post("/stop"), `"held":true`)
	require.NoError(t, r.wait())
	_, err = net.Dial("tcp", r.ready.Addr)
	require.Error(t, err)
	require.Empty(t, r.stderr.String())
}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	const unmet = "expect: [{await: {message: hi}}]"
	for _, tt := range []struct {
		name, script string
		args         []string
		end          func(r *runner)
		want         error
	}{
		{"by a signal", "", nil, func(r *runner) { r.cancel() }, nil},
		{"by a signal, not held", unmet, nil, func(r *runner) { r.cancel() }, errNotHeld},
		{"by time", "", []string{"-for", "50ms"}, func(*runner) {}, nil},
		{"by time, not held", unmet, []string{"-for", "50ms"}, func(*runner) {}, errNotHeld},
		{"by the end of input", "", []string{"-until-eof"}, func(r *runner) { r.stdin.Close() }, nil},
		{"by stop, not held", unmet, nil, func(r *runner) { r.post("/stop") }, errNotHeld},
		{"after a reset that was not held", unmet, nil, func(r *runner) { r.post("/reset"); r.post("/stop") }, errNotHeld},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := run(t, tt.script, tt.args...)
			tt.end(r)
			require.ErrorIs(t, r.wait(), tt.want)
			if tt.want != nil {
				require.Contains(t, r.stderr.String(), "script.yaml:1: await message anybody: hi: no client has connected")
			}
		})
	}
}

// waits is a script that takes an hour to begin.
const waits = "within: 1h\nmembers: [{name: a, rules: [{start: true, do: {wait: 1h}}]}, {name: b}]"

// TestRunEndsWhileItBegins: nobody who stops it waits for bots.
func TestRunEndsWhileItBegins(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(stdin io.Closer, cancel func())
	}{
		{"by a signal", func(_ io.Closer, cancel func()) { cancel() }},
		{"by the end of input", func(stdin io.Closer, _ func()) { stdin.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in, stdin := io.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			cfg := &config{stdin: in, stdout: io.Discard, stderr: io.Discard}
			require.NoError(t, cfg.parse([]string{"-until-eof", "-e", waits}))
			r := &runner{t: t, ended: make(chan error, 1)}
			go func() { r.ended <- cfg.run(ctx) }()
			tt.end(stdin, cancel)
			require.NoError(t, r.wait())
			cancel()
		})
	}
}

// TestStopWhileAResetBegins: a request to stop is answered in time too.
func TestStopWhileAResetBegins(t *testing.T) {
	t.Parallel()
	r := run(t, "")
	reset := make(chan error, 1)
	go func() {
		resp, err := http.Post(r.ready.Control+"/reset", "application/yaml", strings.NewReader(waits))
		if err == nil {
			err = resp.Body.Close()
		}
		reset <- err
	}()
	nc, err := net.Dial("tcp", r.ready.Addr)
	require.NoError(t, err)
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	_, err = nc.Read(make([]byte, 1))
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the reset ends the connection")
	require.Contains(t, r.post("/stop"), `"held":true`)
	require.NoError(t, r.wait())
	require.NoError(t, <-reset)
}

// TestRunEndsAnyway: what cannot end does not keep the process.
func TestRunEndsAnyway(t *testing.T) {
	t.Parallel()
	var bots strings.Builder
	for i := range 50 {
		fmt.Fprintf(&bots, "- name: bot-%d\n", i)
	}
	cfg := &config{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	require.NoError(t, cfg.parse([]string{"-until-eof", "-e", "members:\n" + bots.String()}))
	cfg.endWithin = 1
	require.ErrorContains(t, cfg.run(t.Context()), "it has not ended within 1ns")
}

func TestRunWithTLS(t *testing.T) {
	t.Parallel()
	r := run(t, "{tls: true, members: [{name: bot, rules: [{on: {message: hi}, do: {say: ho}}]}]}")
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(r.ready.Certificate)))
	for _, name := range []string{"localhost", "127.0.0.1"} {
		c, err := tls.Dial("tcp", r.ready.Addr, &tls.Config{RootCAs: pool, ServerName: name})
		require.NoError(t, err)
		_, err = io.WriteString(c, "hi\n")
		require.NoError(t, err)
		in := bufio.NewReader(c)
		for line := ""; line != "bot: ho\n"; {
			line, err = in.ReadString('\n')
			require.NoError(t, err)
		}
		c.Close()
	}
	r.cancel()
	require.NoError(t, r.wait())
}

func TestRunUsage(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	require.NoError(t, os.WriteFile(bad, []byte("codec: json\nmember: []"), 0o600))
	for _, tt := range []struct {
		name  string
		args  []string
		stdin string
		want  string
	}{
		{"flag", []string{"-x"}, "", "-x"},
		{"two scripts", []string{"a", "b"}, "", `unexpected argument "b"`},
		{"time", []string{"-for", "-1s"}, "", "-for -1s is negative"},
		{"control of the world", []string{"-control", "0.0.0.0:0"}, "", "it listens on loopback only"},
		{"control of anybody", []string{"-control", ":0"}, "", "it listens on loopback only"},
		{"control without port", []string{"-control", "localhost"}, "", "-control: "},
		{"no address", []string{"-addr", "x"}, "", "-addr: "},
		{"taken", []string{"-addr", taken.Addr().String()}, "", "-addr: "},
		{"control taken", []string{"-control", taken.Addr().String()}, "", "-control: "},
		{"no script", []string{filepath.Join(t.TempDir(), "none.yaml")}, "", "none.yaml"},
		{"bad script", []string{bad}, "", bad + `:2: a script has no key "member"; write members`},
		{"bad script from input", []string{"-"}, "code: x", `stdin:1: a script has no key "code"; write codec`},
		{"bad script in an argument", []string{"-e", "code: x"}, "", `-e:1: a script has no key "code"; write codec`},
		{"argument and file", []string{"-e", "codec: raw", bad}, "", "-e goes without a file"},
		{"input twice", []string{"-until-eof", "-"}, "", "-until-eof goes without a script from standard input"},
		{"bots that cannot join", []string{"-"}, "maxMembers: 1\nmembers: [{name: a}, {name: b}]", `stdin: bot "b" cannot join: `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			cfg := &config{stdin: strings.NewReader(tt.stdin), stdout: &out, stderr: io.Discard}
			err := cfg.parse(tt.args)
			if err == nil {
				err = cfg.run(t.Context())
			}
			require.ErrorIs(t, err, cli.ErrUsage)
			require.ErrorContains(t, err, tt.want)
			require.Empty(t, out.String())
		})
	}
}

// TestRunWithoutReader: nobody reads the line, so nobody will stop it.
func TestRunWithoutReader(t *testing.T) {
	t.Parallel()
	_, out := io.Pipe()
	out.CloseWithError(errors.New("gone"))
	cfg := &config{stdin: strings.NewReader(""), stdout: out, stderr: io.Discard}
	require.NoError(t, cfg.parse(nil))
	require.NoError(t, cfg.run(t.Context()))
}

// TestProcess: statuses and signals of the program itself.
func TestProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the program")
	}
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	t.Parallel()
	program := filepath.Join(t.TempDir(), "tcproom")
	out, err := exec.Command("go", "build", "-o", program, "../..").CombinedOutput()
	require.NoError(t, err, "%s", out)
	const unmet = "expect: [{await: {message: hi}}]"
	for _, tt := range []struct {
		name, script string
		signal       os.Signal
		status       int
		said         string
	}{
		{"SIGTERM", "", syscall.SIGTERM, 0, ""},
		{"SIGINT", "", syscall.SIGINT, 0, ""},
		{"SIGHUP", "", syscall.SIGHUP, 0, ""},
		{"not held", unmet, syscall.SIGTERM, 1, "the script has not held"},
		{"bad script", "x", nil, 2, "stdin:1: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(program, "fake", "-")
			cmd.Stdin = strings.NewReader(tt.script)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			defer kill.Stop()
			line, _ := bufio.NewReader(stdout).ReadString('\n')
			if tt.signal != nil {
				require.Contains(t, line, `"event":"ready"`)
				require.NoError(t, cmd.Process.Signal(tt.signal))
			}
			cmd.Wait()
			require.Equal(t, tt.status, cmd.ProcessState.ExitCode(), "%s", stderr.String())
			require.Contains(t, stderr.String(), tt.said)
		})
	}
}
