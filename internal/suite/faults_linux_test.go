//go:build linux

package suite_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestF1OutOfDescriptors: a process with none left goes on serving its members,
// logs little of it, and lets others in as soon as there are some again.
func TestF1OutOfDescriptors(t *testing.T) {
	const env, most = "TCPROOM_TEST_DESCRIPTORS", 60
	if os.Getenv(env) != "" {
		serveWithDescriptors(t, most)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestF1OutOfDescriptors$")
	cmd.Env = append(os.Environ(), env+"=1")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	log := new(logLines)
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	out := bufio.NewReader(stdout)
	addr, err := out.ReadString('\n')
	require.NoError(t, err)
	addr = strings.TrimSpace(addr)

	json := tcproom.WithCodec(tcproom.JSON{})
	ada, bob := dial(t, addr, json), dial(t, addr, json)
	ada2bob := func(body string) {
		send(t, ada, body)
		require.Equal(t, body, nextMessage(t, bob))
	}
	ada2bob("before")
	var crowd []net.Conn
	for range 2 * most {
		crowd = append(crowd, dialRaw(t, addr))
	}
	failures := func() (n int) {
		for _, line := range log.With("accept failed") {
			if strings.Contains(line, "too many open files") {
				n++
			}
		}
		return n
	}
	eventually(t, "accept fails", func() bool { return failures() > 0 })
	start := time.Now()
	for range 50 {
		ada2bob("meanwhile")
		time.Sleep(20 * time.Millisecond) // to see how much is logged in a second
	}
	took := time.Since(start)
	for _, nc := range crowd {
		nc.Close()
	}
	start = time.Now()
	cy := dial(t, addr, json)
	send(t, cy, "in at last")
	for nextMessage(t, bob) != "in at last" {
	}
	t.Logf("in after %v", time.Since(start))
	require.LessOrEqual(t, failures(), int(took/time.Second)+3)
	stdin.Close()
	rest, _ := io.ReadAll(out)
	require.NoError(t, cmd.Wait(), "%s", rest)
}

// serveWithDescriptors is the child: it serves until its input ends.
func serveWithDescriptors(t *testing.T, most uint64) {
	l := listen(t, "tcp")
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	served := make(chan error, 1)
	go func() { served <- room.Serve(l) }()
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: most}))
	fmt.Println(l.Addr())
	io.Copy(io.Discard, os.Stdin)
	require.NoError(t, room.Close())
	require.ErrorIs(t, <-served, tcproom.ErrRoomClosed)
}
