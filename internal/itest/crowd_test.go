package itest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// crowdEnv makes of this test binary the other end of a crowd's connections.
const crowdEnv = "TCPROOM_CROWD"

// A crowd is clients in child processes, so that they share neither descriptors nor
// memory with the room. It follows commands, one a line:
//
//	dial 100 tcp 127.0.0.1:9000   or tls; they read what comes
//	stall 50                      all but the last 50 stop reading
//	resume                        all read
//	await *: hi                   until all that read have seen a line that begins so;
//	                              counts the clients that got a gap on the way
//	say 8192                      each sends so many bytes, without the end of a line
//	close                         all
type crowd struct {
	t        *testing.T
	children []*child
}

type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newCrowd(t *testing.T, children int) *crowd {
	t.Helper()
	c := &crowd{t: t}
	for range children {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crowdEnv+"=1")
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		c.children = append(c.children, &child{cmd, in, bufio.NewReader(out)})
	}
	t.Cleanup(c.end)
	return c
}

// end ends the processes.
func (c *crowd) end() {
	for _, ch := range c.children {
		ch.in.Close()
		if err := ch.cmd.Wait(); err != nil {
			c.t.Errorf("a child: %v", err)
		}
	}
	c.children = nil
}

// dial has n clients connect, in all.
func (c *crowd) dial(n int, how, addr string) {
	c.t.Helper()
	c.each(func(i int) string {
		return fmt.Sprintf("dial %d %s %s", c.share(n, i), how, addr)
	})
}

// stall has all but reading clients stop reading.
func (c *crowd) stall(reading int) {
	c.t.Helper()
	c.each(func(i int) string { return fmt.Sprintf("stall %d", c.share(reading, i)) })
}

// share is how much of n the child i has.
func (c *crowd) share(n, i int) int { return (n + i) / len(c.children) }

// tell sends all children a command, and returns the sum of what they count.
func (c *crowd) tell(format string, args ...any) int {
	c.t.Helper()
	return c.each(func(int) string { return fmt.Sprintf(format, args...) })
}

func (c *crowd) each(command func(i int) string) (count int) {
	c.t.Helper()
	counts := make([]int, len(c.children))
	var g errgroup.Group
	for i, ch := range c.children {
		g.Go(func() (err error) {
			counts[i], err = ch.do(command(i))
			return err
		})
	}
	require.NoError(c.t, g.Wait())
	for _, n := range counts {
		count += n
	}
	return count
}

// do sends the child a command, and returns what it counts.
func (ch *child) do(command string) (count int, err error) {
	fmt.Fprintln(ch.in, command)
	answer, err := ch.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("%s: %w", command, err)
	}
	answer = strings.TrimSpace(answer)
	n, done := strings.CutPrefix(answer, "done ")
	if !done {
		return 0, fmt.Errorf("%s: %s", command, answer)
	}
	return strconv.Atoi(n)
}

// attendCrowd is the process of a child: it follows commands until its input ends.
func attendCrowd(in io.Reader, out io.Writer) {
	var clients []*quiet
	for lines := bufio.NewScanner(in); lines.Scan(); {
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		var err error
		var n, count int
		switch verb {
		case "dial":
			var how, addr string
			if _, err = fmt.Sscan(rest, &n, &how, &addr); err == nil {
				clients, err = dialQuiet(clients, n, how, addr)
			}
		case "stall":
			_, err = fmt.Sscan(rest, &n)
			for _, q := range clients[:max(len(clients)-n, 0)] {
				q.stall()
			}
		case "resume":
			for _, q := range clients {
				q.resume()
			}
		case "await":
			count, err = awaitAll(clients, rest)
		case "say":
			_, err = fmt.Sscan(rest, &n)
			body := bytes.Repeat([]byte("x"), n)
			for _, q := range clients {
				if err == nil {
					_, err = q.nc.Write(body)
				}
			}
		case "close":
			for _, q := range clients {
				q.nc.Close()
				q.resume()
				<-q.done
			}
			clients = nil
		}
		if err != nil {
			fmt.Fprintf(out, "%s: %v\n", lines.Text(), err)
			continue
		}
		fmt.Fprintln(out, "done", count)
	}
}

// dialQuiet connects n clients, eight at a time.
func dialQuiet(clients []*quiet, n int, how, addr string) ([]*quiet, error) {
	dialled := make([]*quiet, n)
	g, ctx := errgroup.WithContext(context.Background())
	g.SetLimit(8)
	for i := range dialled {
		g.Go(func() error {
			nc, err := (&net.Dialer{Control: smallBuffers}).DialContext(ctx, "tcp", addr)
			if err == nil && how == "tls" {
				tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
				nc, err = tc, tc.HandshakeContext(ctx)
			}
			if err != nil {
				return err
			}
			dialled[i] = &quiet{nc: nc, wake: make(chan struct{}), done: make(chan struct{})}
			go dialled[i].read()
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return clients, err
	}
	return append(clients, dialled...), nil
}

// A quiet client reads, or does not, and remembers the beginning of the last
// line.
type quiet struct {
	nc   net.Conn
	done chan struct{} // closed by read when it ends

	mu      sync.Mutex
	stalled bool
	wake    chan struct{} // closed when it reads again
	line    []byte
	last    string
	gap     bool // received one
}

const remembered = 32 // bytes of a line

var longAgo = time.Unix(1, 0)

// read reads until the connection ends.
func (q *quiet) read() {
	defer close(q.done)
	b := make([]byte, 4<<10)
	for {
		q.mu.Lock()
		wake := q.wake
		if !q.stalled {
			wake = nil
		}
		q.mu.Unlock()
		if wake != nil {
			<-wake
			continue
		}
		n, err := q.nc.Read(b)
		q.take(b[:n])
		if timeout, ok := err.(net.Error); err != nil && !(ok && timeout.Timeout()) {
			return
		}
	}
}

func (q *quiet) take(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		q.line = append(q.line, line[:min(len(line), remembered-len(q.line))]...)
		if whole {
			q.gap = q.gap || bytes.HasPrefix(q.line, []byte("* ")) && bytes.Contains(q.line, []byte(" skipped"))
			q.last, q.line = string(q.line), q.line[:0]
		}
		b = rest
	}
}

func (q *quiet) stall() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stalled = true
	q.nc.SetReadDeadline(longAgo)
}

func (q *quiet) resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stalled {
		q.stalled = false
		q.nc.SetReadDeadline(time.Time{})
		close(q.wake)
		q.wake = make(chan struct{})
	}
}

// awaitAll waits until all that read have seen a line that begins with what, and
// returns how many of them received a gap.
func awaitAll(clients []*quiet, what string) (gaps int, err error) {
	deadline := time.Now().Add(10 * within)
	for _, q := range clients {
		for {
			q.mu.Lock()
			ok := q.stalled || strings.HasPrefix(q.last, what)
			last := q.last
			if ok && !q.stalled && q.gap {
				q.gap = false
				gaps++
			}
			q.mu.Unlock()
			if ok {
				break
			}
			if time.Now().After(deadline) {
				return gaps, fmt.Errorf("the last line of one is %q", last)
			}
			time.Sleep(time.Millisecond) // polls; nothing depends on how long
		}
	}
	return gaps, nil
}
