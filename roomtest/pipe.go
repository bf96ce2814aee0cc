package roomtest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// bufferSize is how many bytes a direction holds by default.
	bufferSize = 64 << 10
	// maxTransit bounds the bytes that latency keeps on their way.
	maxTransit = 16 << 20
	// keptSize is the largest buffer that an empty pipe keeps.
	keptSize = 4 << 10
)

// A pipe is one direction of a connection: bytes, the end of the stream, and the
// faults. The positions in its stream show how far it has come:
//
//	read ≤ arrived ≤ departed ≤ written
//
// What was written waits for the link, if that has a bandwidth; departs; arrives when
// its latency is over; and is read. Nothing moves by itself: each call moves
// everything to its place at that moment, and a timer wakes waiting calls at the next
// moment at which something will move.
type pipe struct {
	back *pipe // the other direction

	mu       *sync.Mutex // of both directions; guards what follows
	readable sync.Cond
	writable sync.Cond
	writing  bool  // one Write at a time
	begun    int64 // position in the stream at which the last one began
	limit    int   // of the bytes not departed and the bytes arrived, together
	faults   faults

	data     []byte // [read, written)
	held     []byte // the same, and free room before it
	read     int64
	arrived  int64
	departed int64
	written  int64
	marks    []mark // of [arrived, departed), in order
	vanished int64  // bytes that were taken from the writer and have no position

	link struct {
		began time.Time // when the first piece since it rested did; zero: it rests
		bytes int64     // that have passed, or are passing, since
		piece int64     // is passing; 0: none
		free  time.Time // when the last piece has passed
	}

	finished   time.Time // when the writer closed its half; zero: it has not
	finSent    bool
	finLost    bool
	finArrived bool
	finErr     error // what the reader gets at the end
	cut        bool  // the reader has got the end of the stream; what comes vanishes

	readErr   error // instead of anything else
	writeErr  error
	abandoned bool // the reading end was closed

	readBy, writeBy deadline
	timer           *time.Timer
	timerAt         time.Time
}

// A mark is for the bytes before a position: they arrive when it is due and the
// earlier marks have arrived.
type mark struct {
	pos int64
	due time.Time
	fin bool
}

// newPipes returns the two directions of a connection.
func newPipes() (*pipe, *pipe) {
	mu := new(sync.Mutex)
	half := func() *pipe {
		p := &pipe{mu: mu, limit: bufferSize, faults: newFaults(nil), finErr: io.EOF}
		p.readable.L, p.writable.L = mu, mu
		p.readBy.wake, p.writeBy.wake = &p.readable, &p.writable
		return p
	}
	p, q := half(), half()
	p.back, q.back = q, p
	return p, q
}

// Read reads what has arrived. len(b) is not 0.
func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.abandoned {
			return 0, net.ErrClosed
		}
		now := time.Now()
		if p.readBy.expired(now) {
			return 0, os.ErrDeadlineExceeded
		}
		if p.readErr != nil {
			return 0, p.readErr
		}
		p.advance(now)
		if n := p.take(b); n > 0 {
			return n, nil
		}
		if p.ended() {
			return 0, p.finErr
		}
		p.wait(&p.readable, now)
	}
}

// take moves to b what may be read.
func (p *pipe) take(b []byte) int {
	n := int(min(int64(len(b)), p.arrived-p.read))
	if p.faults.stalled || n == 0 {
		return 0
	}
	n = copy(b, p.data[:p.faults.most(n)])
	p.data = p.data[n:]
	p.read += int64(n)
	if len(p.data) == 0 {
		p.data = p.held[:0]
		if cap(p.held) > keptSize {
			p.data, p.held = nil, nil
		}
	}
	p.faults.count(n)
	p.trip()
	p.writable.Broadcast()
	return n
}

// ended reports whether the reader has come to the end of the stream.
func (p *pipe) ended() bool {
	return p.cut || p.finArrived && p.read == p.written && !p.faults.stalled
}

// trip cuts or resets if enough bytes were read.
func (p *pipe) trip() {
	if p.faults.reset == 0 {
		p.reset()
		return
	}
	if p.faults.cut == 0 && !p.cut {
		p.cut = true
		p.drop()
		p.wakeAll()
	}
}

// Write hands over all of b, waiting for room, and keeps nothing of it.
func (p *pipe) Write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.writing {
		if err := p.mayWrite(); err != nil {
			return 0, err
		}
		p.writable.Wait()
	}
	p.writing, p.begun = true, p.written
	defer func() {
		p.writing = false
		p.writable.Broadcast()
	}()
	for {
		if err := p.mayWrite(); err != nil {
			return n, err
		}
		now := time.Now()
		p.advance(now)
		took := p.put(b[n:], now)
		if n += took; n == len(b) {
			return n, nil
		}
		if took == 0 {
			p.wait(&p.writable, now)
		}
	}
}

// mayWrite returns why nothing can be written, or nil.
func (p *pipe) mayWrite() error {
	switch {
	case p.closed():
		return net.ErrClosed
	case p.writeBy.expired(time.Now()):
		return os.ErrDeadlineExceeded
	case p.writeErr != nil:
		return p.writeErr
	case !p.finished.IsZero():
		return syscall.EPIPE
	case p.abandoned && !p.back.faults.blackHole:
		return syscall.EPIPE // a black hole keeps it from the writer
	}
	return nil
}

// closed reports whether the writing end was closed, which is that which
// reads the other direction.
func (p *pipe) closed() bool { return p.back.abandoned }

// put takes as much of b as there is room for.
func (p *pipe) put(b []byte, now time.Time) int {
	if p.faults.blackHole || p.cut || p.abandoned {
		p.vanished += int64(len(b))
		return len(b)
	}
	transit := p.departed - p.arrived
	room := min(int64(p.limit)-(p.written-p.read-transit), maxTransit-transit, int64(len(b)))
	if room <= 0 {
		return 0
	}
	if len(p.data)+int(room) > cap(p.data) {
		// Moved to the front if that leaves half of the buffer free, and else to a
		// larger one.
		held := p.held[:0]
		if 2*(len(p.data)+int(room)) > cap(held) {
			held = make([]byte, 0, 2*(len(p.data)+int(room)))
		}
		p.data = append(held, p.data...)
		p.held = p.data[:0]
	}
	p.data = append(p.data, b[:room]...)
	p.written += room
	p.advance(now)
	p.readable.Broadcast()
	return int(room)
}

// advance moves everything to its place at now. It is called before a byte is added
// and before the faults change, so that what it does later, at once, is what would
// have happened at each moment between.
func (p *pipe) advance(now time.Time) {
	for p.written > p.departed {
		if p.link.piece == 0 {
			p.enterLink(now)
		}
		if p.link.free.After(now) {
			break
		}
		from := min(p.departed, p.begun) // also if a Write goes in several pieces
		p.departed += p.link.piece
		p.link.piece = 0
		if p.departed == p.written {
			p.link.began = time.Time{}
		}
		p.send(mark{pos: p.departed, due: p.link.free}, from)
	}
	if !p.finished.IsZero() && !p.finSent && !p.finLost && p.written == p.departed {
		p.finSent = true
		p.send(mark{pos: p.departed, due: later(p.finished, p.link.free), fin: true}, p.departed)
	}
	n := 0
	for n < len(p.marks) && !p.marks[n].due.After(now) {
		p.arrived, p.finArrived = p.marks[n].pos, p.marks[n].fin
		n++
	}
	if p.marks = p.marks[n:]; len(p.marks) == 0 {
		p.marks = nil
	}
}

// enterLink begins to pass the next piece: behind the last, or now if the link has
// rested. Times are counted from its rest, so that rounding does not add up.
func (p *pipe) enterLink(now time.Time) {
	l := &p.link
	if l.began.IsZero() {
		l.began, l.bytes = now, 0
	}
	l.piece = p.faults.piece(p.written - p.departed)
	l.bytes += l.piece
	l.free = l.began.Add(p.faults.passing(l.bytes))
}

// send puts m on its way. m departs when it is due, and is of the write that began at
// this position.
func (p *pipe) send(m mark, from int64) {
	m.due = m.due.Add(p.faults.delay(from))
	p.marks = append(p.marks, m)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// next returns when something moves next; zero: not by itself.
func (p *pipe) next() time.Time {
	if len(p.marks) > 0 && (p.link.piece == 0 || p.marks[0].due.Before(p.link.free)) {
		return p.marks[0].due
	}
	if p.link.piece > 0 {
		return p.link.free
	}
	return time.Time{}
}

// wait waits until something may have changed.
func (p *pipe) wait(c *sync.Cond, now time.Time) {
	if at := p.next(); !at.IsZero() && !at.Equal(p.timerAt) {
		p.timerAt = at
		if p.timer == nil {
			p.timer = time.AfterFunc(at.Sub(now), p.tick)
		} else {
			p.timer.Reset(at.Sub(now))
		}
	}
	c.Wait()
}

func (p *pipe) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timerAt = time.Time{}
	p.wakeAll()
}

func (p *pipe) wakeAll() {
	p.readable.Broadcast()
	p.writable.Broadcast()
}

// setFaults replaces the faults. The piece on the link begins anew.
func (p *pipe) setFaults(fs []Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.advance(now)
	p.faults = newFaults(fs)
	p.link.piece, p.link.began = 0, time.Time{}
	latest := now.Add(p.faults.latency)
	for i := range p.marks {
		p.marks[i].due = earlier(p.marks[i].due, latest)
	}
	p.advance(now)
	p.trip()
	p.wakeAll()
}

func earlier(a, b time.Time) time.Time {
	if a.After(b) {
		return b
	}
	return a
}

func (p *pipe) setLimit(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n < 1 {
		n = bufferSize
	}
	p.limit = n
	p.writable.Broadcast()
}

// finish ends the stream: after what was written, the reader gets err.
func (p *pipe) finish(err error) {
	if !p.finished.IsZero() {
		return
	}
	now := time.Now()
	p.advance(now)
	p.finished, p.finErr = now, err
	p.finLost = p.faults.blackHole
	p.advance(now)
	p.wakeAll()
}

// reset breaks both directions, for both ends.
func (p *pipe) reset() {
	p.breakOff()
	p.back.breakOff()
}

func (p *pipe) breakOff() {
	p.readErr = syscall.ECONNRESET
	p.failWrite(syscall.ECONNRESET)
}

// failWrite drops what was not read and makes writing fail with err.
func (p *pipe) failWrite(err error) {
	if p.writeErr == nil {
		p.writeErr = err
	}
	p.drop()
	p.wakeAll()
}

// drop forgets what was written and not read.
func (p *pipe) drop() {
	p.data, p.held, p.marks = nil, nil, nil
	p.link.piece, p.link.began = 0, time.Time{}
	p.departed, p.arrived, p.read = p.written, p.written, p.written
}

// unread reports whether bytes have arrived that were not read.
func (p *pipe) unread() bool {
	p.advance(time.Now())
	return p.arrived > p.read
}

// abandon notes that the reading end was closed.
func (p *pipe) abandon() {
	p.abandoned = true
	p.drop()
	p.wakeAll()
}

// broken reports whether the direction was reset.
func (p *pipe) broken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readErr != nil
}

// lost returns how many bytes a black hole has swallowed.
func (p *pipe) lost() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.vanished
}

// closedByReader reports whether the reading end was closed.
func (p *pipe) closedByReader() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.abandoned
}

// lost is what progress returns if nothing will follow.
const lost time.Duration = -1

// progress returns the reader's position and in how long something moves by itself: 0
// if it waits for the reader.
func (p *pipe) progress() (read int64, next time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.advance(now)
	if p.finLost && p.read == p.written {
		return p.read, lost
	}
	if at := p.next(); !at.IsZero() {
		return p.read, at.Sub(now)
	}
	return p.read, 0
}

// A deadline is one of a direction's. It has expired by its timer or by the clock,
// which do not agree to the nanosecond.
type deadline struct {
	wake  *sync.Cond // whose lock guards what follows
	at    time.Time
	timer *time.Timer
	set   int // how often it was
	past  bool
}

func (d *deadline) expired(now time.Time) bool {
	return d.past || !d.at.IsZero() && !d.at.After(now)
}

// setTo replaces the deadline; a zero t is none.
func (d *deadline) setTo(t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at, d.past = t, false
	d.set++
	if in := time.Until(t); !t.IsZero() && in > 0 {
		set := d.set
		d.timer = time.AfterFunc(in, func() { d.expire(set) })
	}
	d.wake.Broadcast()
}

// expire is the timer's of the deadline that was set as the set-th.
func (d *deadline) expire(set int) {
	d.wake.L.Lock()
	defer d.wake.L.Unlock()
	if d.set == set {
		d.past = true
		d.wake.Broadcast()
	}
}
