//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/examples/internal/program"
)

func TestMain(m *testing.M) { program.Main(m, ".") }

// A cluster is the program with its three processes.
type cluster struct {
	*program.Process
	people, programs []string       // addresses
	pids             map[string]int // of the processes, by the address for people
}

var startLine = regexp.MustCompile(`^process (\d+) is part of room "a room, \*" at (\S+)$`)

func start(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{pids: make(map[string]int)}
	c.Process = program.Start(t, program.Path("cluster"), "-addr", "127.0.0.1:0", "-json", "127.0.0.1:0", "-lease", "1s", "-room", "a room, *")
	for {
		switch line := c.Out.Line(t); {
		case strings.HasPrefix(line, "    nc "):
			host, port, _ := strings.Cut(strings.TrimPrefix(line, "    nc "), " ")
			c.people = append(c.people, net.JoinHostPort(host, port))
		case strings.HasPrefix(line, "Programs "):
			_, list, _ := strings.Cut(strings.TrimSuffix(line, "]"), "[")
			c.programs = strings.Fields(list)
			require.Len(t, c.people, 3)
			require.Len(t, c.programs, 3)
			for range 3 {
				c.started(t)
			}
			require.Len(t, c.pids, 3)
			return c
		}
	}
}

// started waits until a process says that it serves, and returns its address.
func (c *cluster) started(t *testing.T) (addr string) {
	t.Helper()
	for {
		line := c.Err.Line(t)
		if m := startLine.FindStringSubmatch(line); m != nil {
			pid, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			c.pids[m[2]] = pid
			return m[2]
		}
	}
}

// client connects to the addresses for programs, first to that of index first.
func (c *cluster) client(t *testing.T, name string, first int) *tcproom.Client {
	others := append(slices.Clone(c.programs[first+1:]), c.programs[:first]...)
	cl := tcproom.NewClient(t.Context(), c.programs[first], tcproom.Addresses(others...), tcproom.WithName(name), tcproom.WithCodec(tcproom.JSON{}))
	t.Cleanup(func() { cl.Close() })
	return cl
}

// until receives events until one is as want says, all that came.
func until(t *testing.T, cl *tcproom.Client, want string) (came []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		ev, err := cl.Receive(ctx)
		require.NoError(t, err, "want %q after %q", want, came)
		text := fmt.Sprintf("%v %s %s", ev.Kind, ev.From.Name, ev.Body)
		if ev.Kind == tcproom.Welcome {
			text = fmt.Sprintf("%v %s", ev.Kind, ev.Welcome.Outcome)
		}
		if came = append(came, text); text == want {
			return came
		}
	}
}

func nc(t *testing.T, addr string) *program.Process {
	t.Helper()
	host, port := program.Split(t, addr)
	return program.Start(t, program.Installed(t, "nc"), host, port)
}

func TestKilledProcess(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	c := start(t)
	ada, bob := c.client(t, "ada", 0), c.client(t, "bob", 2)
	until(t, ada, "Welcome joined")
	until(t, bob, "Welcome joined")
	seen := nc(t, c.people[1])
	gone := nc(t, c.people[2])

	program.Meet(t, seen, gone)
	name := regexp.MustCompile(`(?m)^(guest-\S+): met$`).FindStringSubmatch(gone.Out.Text())
	require.NotNil(t, name, "of the one who stays")
	leaves := regexp.MustCompile(`(?m)^(guest-\S+): met$`).FindStringSubmatch(seen.Out.Text())
	require.NotNil(t, leaves, "of the one whose process is killed")

	require.NoError(t, ada.Send(t.Context(), []byte("before")))
	seen.Out.Expect(t, "ada: before\n")
	until(t, bob, "Message ada before")

	require.NoError(t, syscall.Kill(c.pids[c.people[2]], syscall.SIGKILL))
	seen.Out.Expect(t, "* "+leaves[1]+" left\n")
	require.NoError(t, ada.Send(t.Context(), []byte("after")))
	until(t, bob, "Welcome resumed") // at another process
	until(t, bob, "Message ada after")
	seen.Out.Expect(t, "ada: after\n")

	require.Equal(t, c.people[2], c.started(t), "it is started again")
	again := nc(t, c.people[2])
	program.Meet(t, seen, again)
	require.NoError(t, bob.Send(t.Context(), []byte("last")))
	came := until(t, ada, "Message bob last")
	require.Equal(t, 1, strings.Count(strings.Join(came, "\n"), "Leave "+leaves[1]), "%q", came)
	require.NotContains(t, came, "Leave bob ", "he has resumed")
	seen.Out.Expect(t, "bob: last\n")
	require.Equal(t, 1, strings.Count(seen.Out.Text(), "* "+leaves[1]+" left\n"))
	require.NotContains(t, seen.Out.Text(), "* "+name[1]+" left\n")

	c.Signal(t, os.Interrupt)
	require.Zero(t, c.Status(t))
	require.Contains(t, seen.Out.Text(), "goodbye")
	for _, pid := range c.pids {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	}
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left, "in the directory for temporary files")
}

// TestFails: what cannot work ends the program, with what is wrong, and is not tried again.
func TestFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"port in use", []string{"-addr", l.Addr().String()}, 1, "address already in use"},
		{"port in use for programs", []string{"-addr", "127.0.0.1:0", "-json", l.Addr().String()}, 1, "address already in use"},
		{"no port", []string{"-addr", "localhost"}, 1, "missing port"},
		{"lease", []string{"-addr", "127.0.0.1:0", "-json", "", "-lease", "1ms"}, 1, "Lease(1ms) must be at least 1s"},
		{"room", []string{"-addr", "127.0.0.1:0", "-json", "", "-room", ""}, 1, "needs a name"},
		{"argument", []string{"lobby"}, 2, `"lobby"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := program.Start(t, program.Path("cluster"), tt.args...)
			require.Equal(t, tt.code, p.Status(t))
			require.Contains(t, p.Err.Text(), tt.says)
			require.NotContains(t, p.Out.Text(), "starting another one")
		})
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close()) // nothing listens there
	p := program.Start(t, program.Path("cluster"), "-nats", "nats://"+l.Addr().String())
	require.Equal(t, 1, p.Status(t))
	require.Contains(t, p.Err.Text(), "cluster: the NATS server at nats://"+l.Addr().String())
}
