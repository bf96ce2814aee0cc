//go:build unix

package outside

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
)

// The test's program is also that of the servers and of the nodes: roleEnv says which.
const roleEnv = "TCPROOM_OUTSIDE_ROLE"

// A role is what a process is to be.
type role struct {
	NATS  *natsRole
	Rooms *roomsRole
}

type natsRole struct {
	Port  int
	Store string
}

type roomsRole struct {
	URL    string
	Names  [][]byte // of rooms, each of which has a port
	Addrs  []string
	Lease  time.Duration
	Grace  time.Duration
	Outage time.Duration
	Drain  time.Duration
	Events int
}

func TestMain(m *testing.M) {
	text := os.Getenv(roleEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var r role
	err := json.Unmarshal([]byte(text), &r)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	go func() { // the test's process has ended, however
		io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	switch {
	case err != nil:
	case r.NATS != nil:
		err = r.NATS.run(ctx)
	case r.Rooms != nil:
		err = r.Rooms.run(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "role:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (n *natsRole) run(ctx context.Context) error {
	s, err := server.NewServer(&server.Options{
		ServerName: "outside", Host: "127.0.0.1", Port: n.Port,
		JetStream: true, StoreDir: n.Store, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		return fmt.Errorf("the server does not listen at port %d", n.Port)
	}
	fmt.Println("ready")
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// run serves rooms, until ctx ends.
func (n *roomsRole) run(ctx context.Context) error {
	nc, err := nats.Connect(n.URL, roomnats.ConnOptions()...)
	if err != nil {
		return err
	}
	defer nc.Close()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	bp, err := roomnats.New(ctx, nc, roomnats.MaxBytes(256<<20), roomnats.Lease(n.Lease), roomnats.Logger(logger))
	if err != nil {
		return err
	}
	var rooms []*tcproom.Room
	for i, name := range n.Names {
		order, err := bp.Open(ctx, string(name))
		if err != nil {
			return err
		}
		room := tcproom.New(
			tcproom.WithLog(order), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithLogger(logger),
			tcproom.WithMaxOutage(n.Outage), tcproom.WithDrain(n.Drain),
			tcproom.WithSessions(tcproom.Sessions{Grace: n.Grace, Events: n.Events}),
		)
		if err := room.Ready(ctx); err != nil {
			return err
		}
		l, err := net.Listen("tcp", n.Addrs[i])
		if err != nil {
			return err
		}
		go room.Serve(l)
		rooms = append(rooms, room)
	}
	fmt.Println("ready")
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for _, r := range rooms {
		all.Go(func() {
			if err := r.Shutdown(ctx); err != nil {
				fmt.Fprintln(os.Stderr, "shutdown:", err)
			}
		})
	}
	all.Wait()
	return bp.Close()
}

// A process is one in a role, which can be started again.
type process struct {
	t    testing.TB
	name string
	role role
	log  *os.File // what all of its lives have written

	mu     sync.Mutex // guards what follows
	cmd    *exec.Cmd  // nil: it does not run
	exited chan struct{}
	stdin  io.Closer
}

func newProcess(t testing.TB, name string, r role) *process {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/" + name + ".log")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, role: r, log: f}
	t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		f.Close()
		if t.Failed() {
			text, _ := os.ReadFile(f.Name())
			dump(t, name, text)
		}
	})
	return p
}

// dump logs what a process has written, or keeps it where the flag says.
func dump(t testing.TB, name string, text []byte) {
	if *keep != "" {
		os.WriteFile(*keep+"/"+name+".log", text, 0o666)
		return
	}
	if len(text) > 8<<10 {
		text = append(append(text[:2<<10:2<<10], "\n…\n"...), text[len(text)-6<<10:]...)
	}
	t.Logf("%s wrote:\n%s", name, text)
}

// start starts the process, and returns when it is ready: false if it is not within that
// time, or has ended.
func (p *process) start(within time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return true
	}
	text, err := json.Marshal(p.role)
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+string(text))
	cmd.Stderr = p.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(p.log, "--- %v start\n", time.Now().Format(clock))
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	exited, ready := make(chan struct{}), make(chan bool, 1)
	go func() {
		defer close(exited)
		line, _ := bufio.NewReader(out).ReadString('\n')
		ready <- strings.TrimSpace(line) == "ready"
		cmd.Wait()
		fmt.Fprintf(p.log, "--- %v %v\n", time.Now().Format(clock), cmd.ProcessState)
	}()
	p.cmd, p.exited, p.stdin = cmd, exited, stdin
	select {
	case is := <-ready:
		return is
	case <-time.After(within):
		return false
	}
}

const clock = "15:04:05.000"

// signal sends the process a signal, if it runs.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		fmt.Fprintf(p.log, "--- %v %v\n", time.Now().Format(clock), s)
		p.cmd.Process.Signal(s)
	}
}

// end ends the process by a signal, and returns when it has ended.
func (p *process) end(s syscall.Signal) {
	p.signal(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.t.Errorf("%s has not ended 20 seconds after %v", p.name, s)
		p.cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(time.Second)
		p.cmd.Process.Kill()
		<-p.exited
	}
	p.stdin.Close()
	p.cmd = nil
}

// freeAddr returns an address that nothing listens on, that no outgoing connection gets
// while nothing does, and that it has not returned before.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		if _, given := addrs.LoadOrStore(addr, nil); given {
			continue
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// addrs are those that freeAddr has returned, or found in use.
var addrs sync.Map
