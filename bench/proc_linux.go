package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// A process is a server under measurement: a child of this one.
type process struct {
	*server
	addr string
	cpus []int

	others []*process // further nodes of the same room
	engine *process   // has the room's log, or what it is compared with; nil: there is none

	cmd *exec.Cmd
	in  io.WriteCloser
	out *os.File
	buf *bufio.Reader
}

// profiles is the folder in which servers leave CPU profiles; empty: they do not.
var profiles string

// answerTimeout bounds how long a server may take to start or to answer.
const answerTimeout = 30 * time.Second

// startServer starts the named server on cpus, with the rooms that cfg asks for and in
// as many processes as it consists of, and waits until it listens.
func startServer(name string, cpus []int, cfg loadConfig) (p *process, err error) {
	server, engine := serverNamed(name), (*process)(nil)
	defer func() {
		if err != nil && engine != nil && p == nil {
			engine.stop()
		}
	}()
	if server.engine != nil {
		if engine, err = startProcess(server.engine, cpus, loadConfig{}, nil); err != nil {
			return nil, err
		}
	}
	if p, err = startProcess(server, cpus, cfg, engine); err != nil {
		return nil, err
	}
	p.engine = engine
	for len(p.nodes()) < server.nodes {
		other, err := startProcess(server, cpus, cfg, engine)
		if err != nil {
			p.stop()
			return nil, err
		}
		p.others = append(p.others, other)
	}
	return p, nil
}

// nodes are the processes that take connections.
func (p *process) nodes() []*process { return append([]*process{p}, p.others...) }

// startProcess starts one process of a server.
func startProcess(server *server, cpus []int, cfg loadConfig, engine *process) (*process, error) {
	name := server.name
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	args := []string{serverCommand, "-cpus", formatCPUs(cpus)}
	if n := cfg.roomCount(); n > 1 {
		args = append(args, "-rooms", strconv.Itoa(n), "-per-room", strconv.Itoa(cfg.perRoom()))
	}
	if cfg.inFlight > 0 {
		args = append(args, "-in-flight", strconv.Itoa(cfg.inFlight))
	}
	if engine != nil {
		args = append(args, "-engine", engine.addr)
	}
	if cfg.tls {
		args = append(args, "-tls")
	}
	if profiles != "" && !server.mute {
		args = append(args, "-profile", profiles)
	}
	cmd := exec.Command(exe, append(args, name)...)
	// A server that reads no questions would not notice the end of this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
		k, _, _ := strings.Cut(kv, "=")
		return k == "GOMAXPROCS" || k == "GOGC" || k == "GOMEMLIMIT" || k == "GODEBUG" || k == "NODE_OPTIONS"
	})
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if server.mute { // some complain of things that do not matter here
		cmd.Stderr = &complaints
	}
	p := &process{server: server, cpus: cpus, cmd: cmd, out: r, buf: bufio.NewReader(r)}
	if p.in, err = cmd.StdinPipe(); err != nil {
		r.Close()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		r.Close()
		return nil, err
	}
	w.Close() // so that its end is seen
	if err := p.awaitListening(); err != nil {
		p.end()
		return nil, fmt.Errorf("start server %s: %w %s", name, err, complaints.Bytes())
	}
	return p, nil
}

func (p *process) awaitListening() error {
	line, err := p.readLine()
	if err != nil {
		return err
	}
	addr, ok := strings.CutPrefix(line, "listening ")
	if !ok {
		return fmt.Errorf("said %q instead of where it listens", line)
	}
	p.addr = addr
	if p.mute {
		if err := p.awaitAccept(); err != nil {
			return err
		}
	}
	allowed, err := p.status("Cpus_allowed_list")
	if err != nil {
		return err
	}
	got, err := parseCPUs(allowed)
	if err != nil || !slices.Equal(got, p.cpus) {
		return fmt.Errorf("runs on CPUs %s, not on %s as it should", allowed, formatCPUs(p.cpus))
	}
	return nil
}

// awaitAccept waits until the program that a server became takes connections.
func (p *process) awaitAccept() error {
	for deadline := time.Now().Add(answerTimeout); ; {
		nc, err := net.Dial("tcp4", p.addr)
		if err == nil {
			return nc.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) readLine() (string, error) {
	if err := p.out.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return "", err
	}
	line, err := p.buf.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// ask sends the server a question, see [control.answer], and returns the
// answer: null from a server that answers none.
func (p *process) ask(question string) (string, error) {
	if p.mute {
		return "null", nil
	}
	if _, err := io.WriteString(p.in, question+"\n"); err != nil {
		return "", fmt.Errorf("ask server %s for %s: %w", p.name, question, err)
	}
	line, err := p.readLine()
	if err != nil {
		return "", fmt.Errorf("ask server %s for %s: %w", p.name, question, err)
	}
	return line, nil
}

// askJSON is ask for an answer in JSON.
func (p *process) askJSON(question string, v any) error {
	answer, err := p.ask(question)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(answer), v); err != nil {
		return fmt.Errorf("server %s answers %q with %q: %w", p.name, question, answer, err)
	}
	return nil
}

// memberCount is how many members there are. Each node of a room counts all of them:
// there are as many as the last one knows of. Others count those of their own.
func (p *process) memberCount() (count int, err error) {
	for i, node := range p.nodes() {
		answer, err := node.ask("members")
		if err != nil {
			return 0, err
		}
		n, err := strconv.Atoi(answer)
		switch {
		case err != nil:
			return 0, err
		case p.apart:
			count += n
		case i == 0:
			count = n
		default:
			count = min(count, n)
		}
	}
	return count, nil
}

// addrs are where the nodes listen.
func (p *process) addrs() (list []netip.AddrPort, err error) {
	for _, n := range p.nodes() {
		addr, err := netip.ParseAddrPort(n.addr)
		if err != nil {
			return nil, err
		}
		list = append(list, addr)
	}
	return list, nil
}

// awaitMembers waits until the server has n members or more. What a mute server
// has is known from its greetings alone.
func (p *process) awaitMembers(n int) error {
	if p.mute || n <= 0 {
		return nil
	}
	for deadline := time.Now().Add(answerTimeout); ; {
		got, err := p.memberCount()
		if err != nil || got >= n {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("server %s has %d members, not %d, after %v", p.name, got, n, answerTimeout)
		}
		time.Sleep(time.Millisecond)
	}
}

// stop ends the server, in all of its processes, and waits for them.
func (p *process) stop() {
	for _, n := range p.nodes() {
		n.in.Close()
	}
	for _, n := range p.nodes() {
		n.end()
	}
	if p.engine != nil {
		p.engine.end()
	}
}

// end ends one process and waits for it.
func (p *process) end() {
	p.in.Close()
	if p.mute { // it does not see that, and has nothing to lose
		_ = p.cmd.Process.Kill()
	}
	kill := time.AfterFunc(3*time.Second, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	kill.Stop()
	p.out.Close()
}

// cpu returns the CPU time, user and system, that the server has used in all of its
// processes, but for the engine.
func (p *process) cpu() (sum time.Duration, err error) {
	for _, n := range p.nodes() {
		used, err := n.ownClock()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

func (p *process) ownClock() (time.Duration, error) {
	// The kernel's clock of another process: CPUCLOCK_SCHED of its pid.
	return readClock(int32(^p.pid()<<3 | 2))
}

// ownCPU returns the CPU time that this process has used.
func ownCPU() (time.Duration, error) {
	const clockProcessCPUTime = 2
	return readClock(clockProcessCPUTime)
}

func readClock(id int32) (time.Duration, error) {
	var ts syscall.Timespec
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&ts)), 0); e != 0 {
		return 0, fmt.Errorf("clock_gettime of a process: %w", e)
	}
	return time.Duration(ts.Nano()), nil
}

// rss returns the server's resident memory in bytes, counted page by page.
func (p *process) rss() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid()))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "Rss:" {
			kb, err := strconv.ParseFloat(string(f[1]), 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("no Rss in smaps_rollup of server %s", p.name)
}

// status returns a field of the server's /proc/PID/status.
func (p *process) status(field string) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte(field+":")); ok {
			return string(bytes.TrimSpace(v)), nil
		}
	}
	return "", fmt.Errorf("no %s in the status of server %s", field, p.name)
}

// busyTime returns for how long cpus have not been idle since the machine
// started, whoever used them.
func busyTime(cpus []int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
	var busy time.Duration
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) < 9 || !bytes.HasPrefix(f[0], []byte("cpu")) {
			continue
		}
		cpu, err := strconv.Atoi(string(f[0][3:]))
		if err != nil || !slices.Contains(cpus, cpu) {
			continue
		}
		for i, v := range f[1:9] { // user nice system idle iowait irq softirq steal
			n, err := strconv.ParseInt(string(v), 10, 64)
			if err != nil {
				return 0, err
			}
			if i != 3 && i != 4 {
				busy += time.Duration(n) * tick
			}
		}
	}
	return busy, nil
}
