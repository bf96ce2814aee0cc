package fanout

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/tcproom/internal/scribble"
	"example.com/tcproom/internal/sock"
	"github.com/stretchr/testify/require"
)

// TestMain runs all tests twice where there is a direct path, with and without
// it, over memory that is poisoned before it is used again. Goroutines that
// are left over fail it. With the race detector, which is slow, they run once: the
// tests of rooms in memory, which have no direct path, run with it too.
func TestMain(m *testing.M) {
	flag.Parse()
	scrub = func(b []byte) {
		for i := range b {
			b[i] = poison
		}
	}
	code := run(m)
	if f := flag.Lookup("test.bench"); code == 0 && sock.Direct && !scribble.Race && f.Value.String() == "" {
		sock.Direct = false
		fmt.Println("once more, without the direct path")
		code = run(m)
	}
	os.Exit(code)
}

// run runs the tests and reports goroutines that they left.
func run(m *testing.M) int {
	before := runtime.NumGoroutine()
	code := m.Run()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			fmt.Printf("goroutines are left over:\n%s\n", buf[:runtime.Stack(buf, true)])
			return 1
		}
	}
	return code
}

const poison = 0xdb

// Frames of the tests: length, kind and number, then bytes that follow from
// the number. A gap has its end for bytes.
const (
	frameHead  = 4 + 1 + 8
	kindGap    = 'g'
	kindDirect = 'd'
	kindLog    = 'm' // and 'm'+1, … for further logs
)

func appendFrame(dst []byte, kind byte, num uint64, size int) []byte {
	size = max(size, frameHead)
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint64(dst, num)
	for i := frameHead; i < size; i++ {
		dst = append(dst, byte(num)+byte(i)&0x3f)
	}
	return dst
}

func appendGap(dst []byte, at int64, from, to, n uint64) ([]byte, error) {
	if n != to-from+1 { // seqs are dense here, and each is one of a frame
		return dst, fmt.Errorf("a gap from %d to %d of %d frames", from, to, n)
	}
	dst = binary.BigEndian.AppendUint32(dst, frameHead+8)
	dst = append(dst, kindGap)
	dst = binary.BigEndian.AppendUint64(dst, from)
	return binary.BigEndian.AppendUint64(dst, to), nil
}

// An item is a frame that was received.
type item struct {
	kind byte
	num  uint64
	to   uint64 // of a gap
	size int
}

func (it item) String() string {
	if it.kind == kindGap {
		return fmt.Sprintf("gap %d-%d", it.num, it.to)
	}
	return fmt.Sprintf("%c%d", it.kind, it.num)
}

// cutItem splits the first frame off b; n is 0 when it is not all there.
func cutItem(b []byte) (it item, n int, err error) {
	if len(b) < 4 {
		return it, 0, nil
	}
	n = int(binary.BigEndian.Uint32(b))
	if n < frameHead || n > 1<<24 {
		return it, 0, fmt.Errorf("no frame begins with %x", b[:min(len(b), 32)])
	}
	if len(b) < n {
		return it, 0, nil
	}
	it = item{kind: b[4], num: binary.BigEndian.Uint64(b[5:]), size: n}
	if it.kind == kindGap {
		it.to = binary.BigEndian.Uint64(b[frameHead:])
		return it, n, nil
	}
	for i := frameHead; i < n; i++ {
		if b[i] != byte(it.num)+byte(i)&0x3f {
			return it, 0, fmt.Errorf("%v: byte %d of %d is %#x", it, i, n, b[i])
		}
	}
	return it, n, nil
}

// items splits b into frames, and fails unless it is whole frames.
func items(t testing.TB, b []byte) (got []item) {
	t.Helper()
	for len(b) > 0 {
		it, n, err := cutItem(b)
		require.NoError(t, err)
		require.NotZero(t, n, "a frame was cut off after %d bytes", len(b))
		got, b = append(got, it), b[n:]
	}
	return got
}

// names returns what items are, for comparison with a list of words.
func names(its []item) (s []string) {
	for _, it := range its {
		s = append(s, it.String())
	}
	return s
}

// A hub is as much of a room as the engine needs: a lock around the appends.
type hub struct {
	fan     *Fan
	group   *Group
	kind    byte
	patient time.Duration // of forced appends

	mu  sync.Mutex // serialises appends and attaching
	log *Log
	seq uint64
	buf []byte

	failedMu sync.Mutex
	failed   []*Sink // overrun, in turn
}

func newHub(t testing.TB, cfg LogConfig) *hub {
	f := New()
	t.Cleanup(f.Wait)
	return f.NewGroup().hub(cfg, kindLog)
}

func (g *Group) hub(cfg LogConfig, kind byte) *hub {
	if cfg.Gap == nil {
		cfg.Gap = appendGap
	}
	return &hub{fan: g.fan, group: g, log: g.NewLog(cfg), kind: kind}
}

// try appends a frame of size bytes if it is let in.
func (h *hub) try(owner *Cursor, size int, urgent, force bool) Verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tryLocked(owner, size, urgent, force)
}

func (h *hub) tryLocked(owner *Cursor, size int, urgent, force bool) Verdict {
	h.buf = appendFrame(h.buf[:0], h.kind, h.seq+1, size)
	overrun := time.Duration(-1)
	if force {
		overrun = h.patient
	}
	if v := h.log.Admit(len(h.buf), urgent, overrun); v != Fits {
		return v
	}
	h.seq++
	h.log.Append(h.buf, h.seq, owner)
	h.group.Flush()
	return Fits
}

// post appends a frame as soon as it is let in.
func (h *hub) post(owner *Cursor, size int) uint64 {
	for {
		h.mu.Lock()
		ch := h.group.Progress()
		v := h.tryLocked(owner, size, false, false)
		seq := h.seq
		h.mu.Unlock()
		if v == Fits {
			return seq
		}
		h.group.Await(context.Background(), ch, 0)
	}
}

// quiet returns when no goroutine of the engine's is at work.
func (h *hub) quiet() { h.fan.wg.Wait() }

// lost returns the sinks that appends have overrun up to now.
func (h *hub) lost() []*Sink {
	for h.fan.isCutting() {
		runtime.Gosched()
	}
	h.failedMu.Lock()
	defer h.failedMu.Unlock()
	return slices.Clone(h.failed)
}

func (f *Fan) isCutting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cutting
}

// A member owns a sink.
type member struct {
	hub    *hub
	sink   *Sink
	cur    *Cursor
	failed chan error
}

func (h *hub) member() *member { return &member{hub: h, failed: make(chan error, 1)} }

func (m *member) SinkFailed(err error) {
	if err == ErrOverrun {
		m.hub.failedMu.Lock()
		m.hub.failed = append(m.hub.failed, m.sink)
		m.hub.failedMu.Unlock()
	}
	m.failed <- err
}

// join attaches nc; raw is nil for a transport without a direct path.
func (h *hub) join(t testing.TB, nc net.Conn, raw sock.Writer, skip bool) *member {
	m := h.member()
	m.sink = h.group.newSink(nc, raw, m, time.Minute)
	t.Cleanup(func() { nc.Close(); m.sink.Close() })
	h.mu.Lock()
	defer h.mu.Unlock()
	m.cur = h.log.Attach(m.sink, skip)
	return m
}

// A fake is a connection in memory that takes as many bytes as it is told to.
// It has both a direct path and a Write that waits.
type fake struct {
	net.Conn // nil: nothing else is called

	mu       sync.Mutex
	changed  *sync.Cond
	room     int
	got      []byte
	writes   []int // how much each write took
	direct   int   // calls of TryWrite
	closed   bool
	err      error
	deadline time.Time

	held  chan struct{} // TryWrite says that it has begun,
	letGo chan struct{} // and waits for this; nil: it does not

	onWrite func() // nil: nothing; called by TryWrite
}

func newFake(room int) *fake {
	f := &fake{room: room}
	f.changed = sync.NewCond(&f.mu)
	return f
}

const plenty = 1 << 30

// hold makes the next TryWrite wait for the release of what it returns.
func (f *fake) hold() (held <-chan struct{}, release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held, f.letGo = make(chan struct{}), make(chan struct{})
	letGo := f.letGo
	return f.held, sync.OnceFunc(func() { close(letGo) })
}

// take lets n more bytes in.
func (f *fake) take(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room += n
	f.changed.Broadcast()
}

// stop lets nothing more in.
func (f *fake) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room = 0
}

func (f *fake) received() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]byte(nil), f.got...)
}

func (f *fake) acceptLocked(b []byte) int {
	n := min(len(b), f.room)
	f.room -= n
	f.got = append(f.got, b[:n]...)
	if n > 0 {
		f.writes = append(f.writes, n)
	}
	return n
}

func (f *fake) TryWrite(_ *sock.Op, b []byte) (n int, again bool, err error) {
	if f.onWrite != nil {
		f.onWrite()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if held, letGo := f.held, f.letGo; held != nil {
		f.held, f.letGo = nil, nil
		f.mu.Unlock()
		close(held)
		<-letGo
		f.mu.Lock()
	}
	f.direct++
	if f.closed {
		return 0, false, net.ErrClosed
	}
	if f.err != nil {
		return 0, false, f.err
	}
	n = f.acceptLocked(b)
	return n, n == 0, nil
}

func (f *fake) Write(b []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.closed {
			return n, net.ErrClosed
		}
		if f.err != nil {
			return n, f.err
		}
		if n += f.acceptLocked(b[n:]); n == len(b) {
			return n, nil
		}
		f.changed.Wait()
	}
}

func (f *fake) SetWriteDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deadline = t
	return nil
}

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.changed.Broadcast()
	return nil
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t testing.TB) (here, there *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close(); s.Close() })
	return s.(*net.TCPConn), c.(*net.TCPConn)
}
