package roomtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// The contract of a net.Conn. The names stand in what TestConn returns.
var (
	lawConnBytes       = &law{"bytes", "the bytes of Write come out of Read at the other end, all of them, unchanged and in order"}
	lawWriteKeeps      = &law{"Write keeps nothing", "Write neither keeps nor changes its argument: the room uses the buffer again"}
	lawReadSoon        = &law{"Read returns what is there", "Read waits for one byte, not until its buffer is full, and returns bytes or an error"}
	lawCloseRead       = &law{"Close unblocks Read", "Close makes a Read that has begun return with an error; without it a room cannot stop"}
	lawCloseWrite      = &law{"Close unblocks Write", "Close makes a Write that has begun return with an error, and does not wait for the peer; without it a room cannot stop"}
	lawAfterClose      = &law{"after Close", "Read and Write return an error at once, and no method panics"}
	lawCloseTwice      = &law{"Close again", "Close may be called again, and from many goroutines, and returns"}
	lawEOF             = &law{"end of the stream", "when the peer has closed, Read returns all that it wrote and then io.EOF"}
	lawPeerClosed      = &law{"Write to a closed peer", "when the peer has closed, Write returns an error in the end, and so does one that has begun"}
	lawReadDeadline    = &law{"read deadline", "SetReadDeadline makes Read return an error that is os.ErrDeadlineExceeded, once the time is there and not before, also a Read that has begun"}
	lawWriteDeadline   = &law{"write deadline", "SetWriteDeadline makes Write return an error that is os.ErrDeadlineExceeded, also a Write that has begun"}
	lawDeadlineLoss    = &law{"deadline loses nothing", "after a Read that timed out, and a new deadline, Read goes on where the stream is"}
	lawDeadlineCleared = &law{"deadline cleared", "the zero time takes a deadline back"}
	lawDeadlineApart   = &law{"deadlines apart", "a read deadline does not concern Write, nor a write deadline Read; SetDeadline sets both"}
	lawConcurrent      = &law{"concurrent use", "all methods may be called at once from several goroutines, and return when the conn is closed"}
	lawHalfClose       = &law{"CloseWrite", "where there is a CloseWrite, the peer reads what was written and then io.EOF, and the other direction goes on"}
	lawAddrs           = &law{"addresses", "RemoteAddr and LocalAddr do not panic, not after Close either; they may return nil"}
)

const (
	// hangs is how long a call may take that has to return. crypto/tls waits for up
	// to five seconds in Close.
	hangs = 8 * time.Second
	// settles is what a call gets to block before the other end, or Close,
	// interferes. A call that has not begun by then makes a check weaker and
	// never fails it.
	settles = 30 * time.Millisecond
	// mostBuffered ends the attempts to make a Write block.
	mostBuffered = 16 << 20
)

// past is a deadline that has expired.
var past = time.Unix(1, 0)

// TestConn tests that the ends of a connection do what [tcproom.Room.ServeConn] and
// [tcproom.NewConn] need of a [net.Conn]. mk makes a connected pair, which has
// negotiated what it has to. TestConn returns nil, the error of mk, or all violations
// joined, each with the call that showed it and the contract's words.
//
// Bytes, ends of the stream, deadlines, half-close if the type has a CloseWrite,
// concurrent use and, above all, that Close unblocks Read and Write: what is tested
// with one end is tested with the other too. If 16 MiB do not make a Write block, the
// rules for a blocked Write are not tested.
//
// It calls mk some thirty times, one after the other, uses the pairs at the same
// time, and closes both ends of each. A call that has not returned after eight
// seconds is a violation, which names it; the goroutine that made it stays behind,
// and no other. With a conn that keeps all rules it takes about half a second.
//
// [net.Pipe], TCP and unix sockets and TLS over them pass. It works in a bubble of
// testing/synctest, with conns that do.
func TestConn(mk func() (a, b net.Conn, err error)) error {
	all := &findings{what: "conn"}
	var tests []*connTest
	for _, rule := range connRules {
		for _, swap := range []bool{false, true} {
			t, err := newConnTest(all, mk, swap)
			if err != nil || t == nil {
				closeAll(tests)
				return errors.Join(all.err(), err)
			}
			t.rule = rule
			tests = append(tests, t)
		}
	}
	all.what = tests[0].what
	var wg sync.WaitGroup
	for _, t := range tests {
		wg.Go(t.test)
	}
	wg.Wait()
	for _, t := range tests {
		for _, f := range t.list {
			all.add(f.law, "%s", f.seen)
		}
	}
	return all.err()
}

var connRules = []func(*connTest){
	(*connTest).testBytes, (*connTest).testReadSoon, (*connTest).testCloseRead, (*connTest).testCloseWrite,
	(*connTest).testAfterClose, (*connTest).testCloseTwice, (*connTest).testEOF, (*connTest).testPeerClosed, (*connTest).testPeerClosedWhileWriting,
	(*connTest).testReadDeadline, (*connTest).testReadDeadlineWhileReading, (*connTest).testWriteDeadline, (*connTest).testWriteDeadlineWhileWriting,
	(*connTest).testDeadlinesApart, (*connTest).testConcurrent, (*connTest).testHalfClose, (*connTest).testAddrs,
}

// A connTest is one rule with a pair of its own.
type connTest struct {
	findings
	rule      func(*connTest)
	near, far *end
}

// An end is one of the two.
type end struct {
	net.Conn
	name string
	t    *connTest
}

// newConnTest makes the pair. It returns nil if mk hangs or panics.
func newConnTest(all *findings, mk func() (a, b net.Conn, err error), swap bool) (*connTest, error) {
	t := &connTest{}
	var a, b net.Conn
	var err error
	p := t.begin("mk()", func() (int, error) { a, b, err = mk(); return 0, nil })
	if !p.ended(lawConcurrent, "") || p.panicked {
		for _, f := range t.list {
			all.add(f.law, "%s", f.seen)
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("roomtest: conn: mk: %w", err)
	}
	if a == nil || b == nil {
		return nil, errors.New("roomtest: conn: mk returned a nil net.Conn and no error")
	}
	t.what = fmt.Sprintf("conn %T", a)
	if other := fmt.Sprintf("conn %T", b); other != t.what {
		t.what += " and " + other
	}
	t.near, t.far = &end{a, "a", t}, &end{b, "b", t}
	if swap {
		t.near, t.far = t.far, t.near
	}
	return t, nil
}

// closeAll closes pairs that will not be used.
func closeAll(tests []*connTest) {
	for _, t := range tests {
		t.close()
	}
}

// test applies the rule and closes the pair.
func (t *connTest) test() {
	t.rule(t)
	t.close()
}

// close closes both ends at once: one with unsent bytes may wait for the other.
func (t *connTest) close() {
	far, near := t.far.close(), t.near.close()
	far.ended(lawCloseTwice, "at the end of the test")
	near.ended(lawCloseTwice, "at the end of the test")
}

// A pending call is one that may block.
type pending struct {
	t        *connTest
	what     string
	done     chan struct{} // closed when it has returned; then the rest is set
	n        int
	err      error
	panicked bool
}

// begin starts fn, which calls what, on a goroutine that ends with it.
func (t *connTest) begin(what string, fn func() (int, error)) *pending {
	p := &pending{t: t, what: what, done: make(chan struct{})}
	go p.run(fn)
	return p
}

func (p *pending) run(fn func() (int, error)) {
	defer close(p.done)
	p.panicked = true
	p.panicked = !p.t.call(p.what, nil, func() { p.n, p.err = fn() })
}

// ended waits for the call, and reports that it broke l if it hangs.
func (p *pending) ended(l *law, when string) bool {
	timer := time.NewTimer(hangs)
	defer timer.Stop()
	select {
	case <-p.done:
		return !p.panicked
	case <-timer.C:
		p.t.add(l, "%s has not returned for %v %s", p.what, hangs, when)
		return false
	}
}

// blocks reports whether the call has not returned.
func (p *pending) blocks() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (e *end) read(b []byte) *pending {
	return e.t.begin(e.name+".Read", func() (int, error) { return e.Read(b) })
}

func (e *end) write(b []byte) *pending {
	return e.t.begin(e.name+".Write", func() (int, error) { return e.Write(b) })
}

func (e *end) close() *pending {
	return e.t.begin(e.name+".Close", func() (int, error) { return 0, e.Close() })
}

// readAll reads to the end.
func (e *end) readAll() (*pending, *[]byte) {
	var all []byte
	return e.t.begin(e.name+".Read, until io.EOF,", func() (n int, err error) {
		all, err = io.ReadAll(e)
		return len(all), err
	}), &all
}

// deadline sets one, and reports whether that worked.
func (e *end) deadline(l *law, name string, at time.Time) bool {
	set := map[string]func(time.Time) error{"SetDeadline": e.SetDeadline, "SetReadDeadline": e.SetReadDeadline, "SetWriteDeadline": e.SetWriteDeadline}[name]
	p := e.t.begin(e.name+"."+name, func() (int, error) { return 0, set(at) })
	if !p.ended(l, "") {
		return false
	}
	if p.err != nil {
		e.t.add(l, "%s returned the error %q", p.what, p.err)
	}
	return p.err == nil
}

// timedOut checks that p has timed out.
func (t *connTest) timedOut(l *law, p *pending, when string) {
	if !errors.Is(p.err, os.ErrDeadlineExceeded) {
		t.add(l, "%s %s returned %d and the error %v", p.what, when, p.n, p.err)
	}
}

// passes checks that word comes from one end to the other.
func (t *connTest) passes(l *law, from, to *end, word, when string) bool {
	got := make([]byte, len(word))
	w := from.write([]byte(word))
	r := t.begin(to.name+".Read", func() (int, error) { return io.ReadFull(to, got) })
	if !r.ended(l, when) || !w.ended(l, when) {
		return false
	}
	if r.err != nil || string(got) != word || w.err != nil || w.n != len(word) {
		t.add(l, "%s of %q %s returned %d and the error %v, and %s %q and the error %v", w.what, word, when, w.n, w.err, r.what, got[:r.n], r.err)
		return false
	}
	return true
}

// blockWrite writes until Write blocks. ok is false if it does not.
func (e *end) blockWrite() (p *pending, ok bool) {
	var written atomic.Int64
	p = e.t.begin(e.name+".Write", func() (n int, err error) {
		block := make([]byte, 64<<10)
		for err == nil && written.Load() < mostBuffered {
			n, err = e.Write(block)
			written.Add(int64(n))
		}
		return n, err
	})
	tick := time.NewTicker(settles)
	defer tick.Stop()
	for last, same := int64(-1), 0; same < 3; same++ {
		select {
		case <-p.done:
			return p, false
		case <-tick.C:
		}
		if now := written.Load(); now != last {
			last, same = now, -1
		}
	}
	return p, true
}

// testBytes sends other bytes each way at once, in pieces of many sizes.
func (t *connTest) testBytes() {
	const size = 100 << 10
	there, back := randomBytes(1, size), randomBytes(2, size)
	calls := []*pending{t.near.send(there), t.far.send(back), t.far.receive(there), t.near.receive(back)}
	for _, p := range calls {
		p.ended(lawConnBytes, fmt.Sprintf("while %d bytes went each way", size))
	}
}

// send writes data in pieces, from a buffer that it uses again.
func (e *end) send(data []byte) *pending {
	return e.t.begin(e.name+".Write", func() (int, error) {
		buf := make([]byte, 5000)
		for i := 0; len(data) > 0; i++ {
			n := copy(buf[:1+i*977%len(buf)], data)
			wrote, err := e.Write(buf[:n])
			if wrote != n || err != nil {
				e.t.add(lawConnBytes, "%s.Write of %d bytes returned %d and the error %v", e.name, n, wrote, err)
				return 0, nil
			}
			if !bytes.Equal(buf[:n], data[:n]) {
				e.t.add(lawWriteKeeps, "%s.Write changed the %d bytes that it was given", e.name, n)
			}
			for j := range buf {
				buf[j] = 0xa5
			}
			data = data[n:]
		}
		return 0, nil
	})
}

// receive reads want in pieces.
func (e *end) receive(want []byte) *pending {
	return e.t.begin(e.name+".Read", func() (int, error) {
		buf := make([]byte, 7000)
		for at, i := 0, 0; at < len(want); i++ {
			piece := buf[:1+i*1777%len(buf)]
			n, err := e.Read(piece)
			if n < 0 || n > len(piece) || n == 0 && err == nil {
				e.t.add(lawReadSoon, "%s.Read into %d bytes returned %d and the error %v", e.name, len(piece), n, err)
				return 0, nil
			}
			if got, exp := piece[:n], want[at:min(at+n, len(want))]; !bytes.Equal(got, exp) {
				law := lawConnBytes
				if bytes.Count(got, []byte{0xa5}) > len(got)/2 {
					law = lawWriteKeeps // that is what the writer put there afterwards
				}
				e.t.add(law, "%s.Read returned %s at byte %d of the stream, want %s", e.name, quote(got), at, quote(exp))
				return 0, nil
			}
			if at += n; err != nil {
				e.t.add(lawConnBytes, "%s.Read returned the error %v after %d of %d bytes", e.name, err, at, len(want))
				return 0, nil
			}
		}
		return 0, nil
	})
}

// testReadSoon reads one byte into a large buffer.
func (t *connTest) testReadSoon() {
	buf := make([]byte, 64<<10)
	r := t.near.read(buf)
	w := t.far.write([]byte("x"))
	if r.ended(lawReadSoon, fmt.Sprintf("into %d bytes, where 1 was written", len(buf))) && (r.n != 1 || r.err != nil || buf[0] != 'x') {
		t.add(lawReadSoon, "%s returned %d and the error %v, where 1 byte was written", r.what, r.n, r.err)
	}
	w.ended(lawConnBytes, "of 1 byte that was read")
}

func (t *connTest) testCloseRead() {
	r := t.near.read(make([]byte, 1))
	time.Sleep(settles)
	c := t.near.close()
	if !c.ended(lawCloseRead, "while "+r.what+" was blocked") {
		return
	}
	if r.ended(lawCloseRead, "after "+c.what) && (r.err == nil || r.n != 0) {
		t.add(lawCloseRead, "%s returned %d and the error %v after %s", r.what, r.n, r.err, c.what)
	}
	f := t.far.read(make([]byte, 1))
	if f.ended(lawEOF, "after "+c.what) && f.err != io.EOF {
		t.add(lawEOF, "%s returned %d and the error %v after %s", f.what, f.n, f.err, c.what)
	}
}

func (t *connTest) testCloseWrite() {
	w, ok := t.near.blockWrite()
	if !ok {
		return
	}
	c := t.near.close()
	if c.ended(lawCloseWrite, "while "+w.what+" was blocked") && w.ended(lawCloseWrite, "after "+c.what) && w.err == nil {
		t.add(lawCloseWrite, "%s returned no error after %s", w.what, c.what)
	}
}

func (t *connTest) testAfterClose() {
	c := t.near.close()
	if !c.ended(lawAfterClose, "") {
		return
	}
	if r := t.near.read(make([]byte, 1)); r.ended(lawAfterClose, "after "+c.what) && (r.err == nil || r.n != 0) {
		t.add(lawAfterClose, "%s returned %d and the error %v after %s", r.what, r.n, r.err, c.what)
	}
	if w := t.near.write([]byte("x")); w.ended(lawAfterClose, "after "+c.what) && w.err == nil {
		t.add(lawAfterClose, "%s returned %d and no error after %s", w.what, w.n, c.what)
	}
	for _, at := range []time.Time{past, {}} {
		t.begin(t.near.name+".SetDeadline", func() (int, error) { return 0, t.near.SetDeadline(at) }).ended(lawAfterClose, "after "+c.what)
	}
}

func (t *connTest) testCloseTwice() {
	var calls []*pending
	for range 4 {
		calls = append(calls, t.near.close())
	}
	calls = append(calls, t.far.close(), t.far.close())
	for _, c := range calls {
		c.ended(lawCloseTwice, "where several were called at once")
	}
	t.near.close().ended(lawCloseTwice, "where it was called again")
}

func (t *connTest) testEOF() {
	words := randomBytes(3, 10<<10)
	r, got := t.far.readAll()
	w := t.near.write(words)
	if !w.ended(lawEOF, "while the peer read") || !t.near.close().ended(lawEOF, "") || !r.ended(lawEOF, "after "+t.near.name+".Close") {
		return
	}
	if r.err != nil || !bytes.Equal(*got, words) {
		t.add(lawEOF, "%s returned %d of the %d bytes that were written before %s.Close, and the error %v", r.what, r.n, len(words), t.near.name, r.err)
	}
}

// testPeerClosed writes until that fails: the first bytes may be on their way
// when the peer's answer comes.
func (t *connTest) testPeerClosed() {
	if !t.far.close().ended(lawPeerClosed, "") {
		return
	}
	for i := range 200 {
		w := t.near.write(make([]byte, 1<<10))
		if !w.ended(lawPeerClosed, "after "+t.far.name+".Close") || w.err != nil {
			return
		}
		if i > 10 {
			time.Sleep(settles / 3)
		}
	}
	t.add(lawPeerClosed, "200 calls of %s.Write after %s.Close returned no error", t.near.name, t.far.name)
}

func (t *connTest) testPeerClosedWhileWriting() {
	w, ok := t.near.blockWrite()
	if !ok {
		return
	}
	c := t.far.close()
	if c.ended(lawPeerClosed, "while "+w.what+" was blocked") && w.ended(lawPeerClosed, "after "+c.what) && w.err == nil {
		t.add(lawPeerClosed, "%s returned no error after %s", w.what, c.what)
	}
}

func (t *connTest) testReadDeadline() {
	const name = "SetReadDeadline"
	if !t.near.deadline(lawReadDeadline, name, past) {
		return
	}
	r := t.near.read(make([]byte, 1))
	if !r.ended(lawReadDeadline, "after a deadline in the past was set") {
		return
	}
	t.timedOut(lawReadDeadline, r, "after a deadline in the past was set")
	if !t.near.deadline(lawDeadlineCleared, name, time.Time{}) || !t.passes(lawDeadlineLoss, t.far, t.near, "one", "after a Read had timed out and its deadline was cleared") {
		return
	}
	begun := time.Now()
	if !t.near.deadline(lawReadDeadline, name, begun.Add(2*settles)) {
		return
	}
	if r = t.near.read(make([]byte, 1)); !r.ended(lawReadDeadline, "after its deadline was set") {
		return
	}
	t.timedOut(lawReadDeadline, r, "after its deadline was set")
	if took := time.Since(begun); took < 2*settles {
		t.add(lawReadDeadline, "%s returned %v after its deadline was set to %v", r.what, took, 2*settles)
	}
	if !t.near.deadline(lawReadDeadline, name, time.Now().Add(2*settles)) || !t.near.deadline(lawDeadlineCleared, name, time.Time{}) {
		return
	}
	time.Sleep(3 * settles)
	t.passes(lawDeadlineCleared, t.far, t.near, "two", "after a read deadline was set, cleared, and would have passed")
}

func (t *connTest) testReadDeadlineWhileReading() {
	r := t.near.read(make([]byte, 3))
	time.Sleep(settles)
	if !r.blocks() {
		<-r.done
		t.add(lawReadSoon, "%s returned %d and the error %v, where nothing was written", r.what, r.n, r.err)
		return
	}
	if !t.near.deadline(lawReadDeadline, "SetReadDeadline", past) || !r.ended(lawReadDeadline, "after its deadline was set to the past while it was blocked") {
		return
	}
	t.timedOut(lawReadDeadline, r, "whose deadline was set to the past while it was blocked")
	if t.near.deadline(lawDeadlineCleared, "SetReadDeadline", time.Time{}) {
		t.passes(lawDeadlineLoss, t.far, t.near, "one", "after a Read had timed out while it was blocked")
	}
}

func (t *connTest) testWriteDeadline() {
	const name = "SetWriteDeadline"
	if !t.near.deadline(lawWriteDeadline, name, time.Now().Add(2*settles)) || !t.near.deadline(lawDeadlineCleared, name, time.Time{}) {
		return
	}
	time.Sleep(3 * settles)
	if !t.passes(lawDeadlineCleared, t.near, t.far, "one", "after a write deadline was set, cleared, and would have passed") || !t.near.deadline(lawWriteDeadline, name, past) {
		return
	}
	w := t.near.write([]byte("x"))
	if w.ended(lawWriteDeadline, "after a deadline in the past was set") {
		t.timedOut(lawWriteDeadline, w, "after a deadline in the past was set")
	}
}

func (t *connTest) testWriteDeadlineWhileWriting() {
	w, ok := t.near.blockWrite()
	if ok && t.near.deadline(lawWriteDeadline, "SetWriteDeadline", past) && w.ended(lawWriteDeadline, "after its deadline was set to the past while it was blocked") {
		t.timedOut(lawWriteDeadline, w, "whose deadline was set to the past while it was blocked")
	}
}

func (t *connTest) testDeadlinesApart() {
	// What may negotiate first, as TLS does, needs both directions for it.
	const l = "while the other direction's deadline had passed"
	if !t.passes(lawConnBytes, t.near, t.far, "one", "at first") || !t.passes(lawConnBytes, t.far, t.near, "two", "at first") ||
		!t.near.deadline(lawDeadlineApart, "SetReadDeadline", past) || !t.passes(lawDeadlineApart, t.near, t.far, "one", l) ||
		!t.near.deadline(lawDeadlineApart, "SetReadDeadline", time.Time{}) ||
		!t.near.deadline(lawDeadlineApart, "SetWriteDeadline", past) || !t.passes(lawDeadlineApart, t.far, t.near, "two", l) ||
		!t.near.deadline(lawDeadlineApart, "SetDeadline", past) {
		return
	}
	const when = "after SetDeadline to the past"
	if r := t.near.read(make([]byte, 1)); r.ended(lawDeadlineApart, when) {
		t.timedOut(lawDeadlineApart, r, when)
	}
	if w := t.near.write([]byte("x")); w.ended(lawDeadlineApart, when) {
		t.timedOut(lawDeadlineApart, w, when)
	}
}

// testConcurrent does everything at once and closes in the middle of it. Data races
// show under the race detector. Writers end by themselves: in a bubble no time passes
// while a goroutine is at work.
func (t *connTest) testConcurrent() {
	const writes = 1000
	middle := make(chan struct{})
	var wrote atomic.Int64
	read := func(e *end) (n int, err error) {
		for b := make([]byte, 1000); err == nil; {
			_, err = e.Read(b)
		}
		return 0, err
	}
	write := func(e *end) (n int, err error) {
		b := make([]byte, 1000)
		for i := 0; i < writes && err == nil; i++ {
			_, err = e.Write(b)
			if wrote.Add(1) == writes {
				close(middle)
			}
		}
		return 0, err
	}
	set := func(e *end) (int, error) {
		for range 100 {
			e.SetDeadline(time.Now().Add(time.Hour))
			e.SetReadDeadline(time.Time{})
			e.SetWriteDeadline(time.Time{})
		}
		return 0, nil
	}
	var calls []*pending
	for _, e := range []*end{t.near, t.far} {
		for range 2 {
			calls = append(calls, t.begin(e.name+".Read", func() (int, error) { return read(e) }), t.begin(e.name+".Write", func() (int, error) { return write(e) }))
		}
		calls = append(calls, t.begin(e.name+".SetDeadline", func() (int, error) { return set(e) }))
	}
	timer := time.NewTimer(10 * settles)
	defer timer.Stop()
	select {
	case <-middle:
	case <-timer.C: // a slow one
	}
	calls = append(calls, t.near.close(), t.far.close(), t.near.close())
	for _, p := range calls {
		if !p.ended(lawConcurrent, "after Close of both ends") {
			return
		}
	}
}

func (t *connTest) testHalfClose() {
	half, ok := t.near.Conn.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	if !t.passes(lawConnBytes, t.near, t.far, "one", "at first") {
		return
	}
	r, got := t.far.readAll()
	w := t.near.write([]byte("last"))
	if !w.ended(lawHalfClose, "while the peer read") {
		return
	}
	c := t.begin(t.near.name+".CloseWrite", func() (int, error) { return 0, half.CloseWrite() })
	if !c.ended(lawHalfClose, "") {
		return
	}
	if c.err != nil {
		t.add(lawHalfClose, "%s returned the error %q; a conn that cannot close one half needs no such method", c.what, c.err)
		return
	}
	if !r.ended(lawHalfClose, "after "+c.what) {
		return
	}
	if r.err != nil || string(*got) != "last" {
		t.add(lawHalfClose, "%s returned %s and the error %v after %q and %s", r.what, quote(*got), r.err, "last", c.what)
	}
	if w := t.near.write([]byte("x")); w.ended(lawHalfClose, "after "+c.what) && w.err == nil {
		t.add(lawHalfClose, "%s returned no error after %s", w.what, c.what)
	}
	if !t.passes(lawHalfClose, t.far, t.near, "answer", "after "+c.what) || !t.far.close().ended(lawHalfClose, "") {
		return
	}
	if r := t.near.read(make([]byte, 1)); r.ended(lawHalfClose, "after "+c.what+" and the peer's Close") && r.err != io.EOF {
		t.add(lawHalfClose, "%s returned %d and the error %v after %s and the peer's Close", r.what, r.n, r.err, c.what)
	}
}

func (t *connTest) testAddrs() {
	addrs := func() (int, error) {
		for _, addr := range []net.Addr{t.near.RemoteAddr(), t.near.LocalAddr()} {
			if addr != nil {
				_, _ = addr.Network(), addr.String()
			}
		}
		return 0, nil
	}
	what := t.near.name + ".RemoteAddr or LocalAddr"
	if t.begin(what, addrs).ended(lawAddrs, "") && t.near.close().ended(lawAddrs, "") {
		t.begin(what, addrs).ended(lawAddrs, "after Close")
	}
}
