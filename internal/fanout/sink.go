package fanout

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/sock"
)

// Errors that a sink reports to its owner.
var (
	// ErrWriteTimeout: the connection took no bytes for the write timeout.
	ErrWriteTimeout = errors.New("fanout: write timeout")
	// ErrClosed: the sink was closed.
	ErrClosed = errors.New("fanout: sink closed")
	// ErrOverrun: appends overran a cursor that does not skip.
	ErrOverrun = errors.New("fanout: cursor overrun")
	// ErrExited: a method of the connection's called runtime.Goexit.
	ErrExited = errors.New("fanout: a method of the net.Conn called runtime.Goexit")
)

// An Owner hears of the end of its sink.
type Owner interface {
	// SinkFailed is called once when a write failed or a cursor was overrun, on
	// a goroutine of the engine's or that which called [Sink.Flush], with no lock
	// held. It must not block: others are waiting for the same goroutine.
	SinkFailed(err error)
}

// A Sink is the writing half of one connection. One goroutine at a time
// writes to it, the holder of its token: a flusher on its walk or, once the
// connection would block, a writer of the sink's own, until it has caught up.
//
// It sends first what [Sink.Queue] was given, then the streams of its cursors that have
// ended, one after the other, and then, in turn, the others.
type Sink struct {
	nc      net.Conn
	raw     sock.Writer // nil: only nc.Write, by a writer of its own
	owner   Owner
	timeout time.Duration
	group   *Group
	num     uint8 // of its shard
	blind   bool  // what nc has taken shows only when a write returns
	turn    uint8 // which of the cursors comes first; the token holder's

	// token is taken by whoever writes, by a try that is never repeated in
	// a loop. Whoever could not take it relies on the holder: the holder
	// looks again after it has let go.
	token   atomic.Bool
	special atomic.Bool // there is more to say than plain log bytes
	dead    atomic.Bool // failed or closed, and its cursors detached
	wanted  atomic.Bool // it is, or will be, in shard.wanted for a visit that has not begun
	one     atomic.Pointer[Cursor]
	began   atomic.Int64 // when the writer's present write began; 0: none
	drags   atomic.Bool  // its writes take long; only without raw
	written atomic.Int64 // bytes, by writers
	// unwritten counts the frames that were taken from logs and not written
	// whole. It rises under the log's lock, with the cursor's position.
	unwritten atomic.Int64

	// The token holder's: bytes taken, which must be written next.
	out     []byte
	outEnds ends
	drag    *drag // the writer's; nil where it does not measure

	mu      sync.Mutex // guards what follows
	queue   []byte
	queued  int64 // bytes that Queue took
	cursors []*Cursor
	err     error
	closed  bool
	ending  bool          // Finish was called
	done    chan struct{} // closed when all is written after Finish, or none will be; made by Finish
	isDone  bool
	writer  writerState
	wake    chan struct{} // to the resting writer; closed by nobody
	ended   chan struct{} // closed when the writer is not at work any more; made by Wait
}

// writerState is that of the goroutine that writes where a flusher cannot.
type writerState uint8

const (
	noWriter writerState = iota
	writing
	resting // has caught up, and waits a while for more (only without raw)
)

// writerRest is how long a writer waits for more before it ends.
const writerRest = time.Second

// NewSink returns the sink for nc, to be closed by the caller. Nobody else may
// write to nc or set its write deadline. It fails when nc takes no bytes for
// writeTimeout; zero or less is no timeout. Cursors of any group of g's Fan may read
// for it; that it has taken bytes is progress of g, and of the groups of its cursors.
func (g *Group) NewSink(nc net.Conn, owner Owner, writeTimeout time.Duration) *Sink {
	return g.newSink(nc, sock.NewWriter(nc), owner, writeTimeout)
}

func (g *Group) newSink(nc net.Conn, raw sock.Writer, owner Owner, writeTimeout time.Duration) *Sink {
	s := &Sink{nc: nc, raw: raw, owner: owner, timeout: writeTimeout, group: g, num: g.fan.place()}
	s.blind = !sock.TellsUnsent(nc)
	return s
}

func (s *Sink) shard() *shard { return &s.group.fan.shards[s.num] }

// attach gives s another cursor, which counts in its part already.
func (s *Sink) attach(c *Cursor) {
	s.mu.Lock()
	s.setCursorsLocked(append(s.cursors[:len(s.cursors):len(s.cursors)], c))
	if len(s.cursors) > 1 {
		s.special.Store(true) // one of the others may have ended, and comes first
	}
	ended, ending, closed := s.err != nil, s.ending, s.closed
	s.mu.Unlock()
	if ended {
		c.detach()
	} else if ending {
		c.End()
	}
	if closed {
		c.log.group.leave(c.part())
	} else {
		c.part().add(c)
	}
}

// setCursorsLocked sets the cursors, in the order in which they began. The slice is
// not changed any more: others read it without the lock.
func (s *Sink) setCursorsLocked(cursors []*Cursor) {
	s.cursors = cursors
	if s.one.Store(nil); len(cursors) == 1 {
		s.one.Store(cursors[0])
	}
}

// forget takes away c, which was closed and has nothing more to say.
func (s *Sink) forget(c *Cursor) {
	s.mu.Lock()
	i := slices.Index(s.cursors, c)
	if i < 0 || s.closed {
		s.mu.Unlock()
		return
	}
	s.setCursorsLocked(slices.Concat(s.cursors[:i], s.cursors[i+1:]))
	s.mu.Unlock()
	c.detach()
	c.over.Store(true)
	p := c.part()
	if c.busy {
		c.busy = false
		p.busy.Add(-1)
	}
	c.log.group.leave(p)
	p.queue() // so that it forgets c too
}

// Queue adds b to what is sent before anything of the cursors. It reports
// false, and does nothing, when more than limit bytes would be waiting or the
// sink has ended.
func (s *Sink) Queue(b []byte, limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.ending || len(s.queue) > 0 && len(s.queue)+len(b) > limit {
		return false
	}
	s.queue = append(s.queue, b...)
	s.queued += int64(len(b))
	s.special.Store(true)
	return true
}

// Queued returns how many bytes Queue has taken.
func (s *Sink) Queued() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued
}

// Flush sees to it that what was queued is written, by the caller where that
// does not block.
func (s *Sink) Flush() {
	if s.raw == nil || !s.token.CompareAndSwap(false, true) {
		s.shard().want(s)
		return
	}
	pad := padPool.Get().(*pad)
	if _, held := s.gather(pad); held {
		s.token.Store(false)
		s.lookAgain()
	}
	padPool.Put(pad)
}

// lookAgain has flushers see to what came while the token was held by another than the
// flusher.
func (s *Sink) lookAgain() {
	if s.dead.Load() {
		return
	}
	if s.special.Load() {
		s.shard().want(s)
	}
	s.each(func(c *Cursor) {
		if c.pos.Load() < c.stop(c.log.head.Load()) {
			c.part().queue()
		}
	})
}

// Finish ends all cursors, releases them and says that nothing follows what has been
// queued and inserted. The channel is closed when all of it was written, or the sink has
// ended.
func (s *Sink) Finish() <-chan struct{} {
	s.each((*Cursor).finish)
	s.mu.Lock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.isDone = s.err != nil; s.isDone {
			close(s.done)
		}
	}
	s.ending = true
	done := s.done
	s.special.Store(true)
	s.mu.Unlock()
	s.shard().want(s)
	return done
}

// Written returns a number that rises while a connection that would block
// takes bytes.
func (s *Sink) Written() int64 { return s.written.Load() }

// Unwritten returns how many frames were taken from the logs and have not been
// written to their last byte. After Close it only falls.
func (s *Sink) Unwritten() uint64 { return uint64(s.unwritten.Load()) }

// Err returns why the sink ended, or nil.
func (s *Sink) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Waiting reports whether the sink holds bytes that its connection did not take.
func (s *Sink) Waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writer == writing
}

// Close ends the sink and detaches its cursors. It does not close the
// connection: that is the caller's to do at once, and it ends a write under way.
func (s *Sink) Close() {
	s.mu.Lock()
	closed, cursors := s.closed, s.cursors
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	s.end(ErrClosed)
	for _, c := range cursors {
		c.part().queue() // so that it forgets c
		c.log.group.leave(c.part())
	}
	f := s.group.fan
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sinks--
	s.shard().open.Add(-1)
}

// Wait returns when no writer of a sink that was closed is in its connection
// any more.
func (s *Sink) Wait() {
	s.mu.Lock()
	if s.writer != writing {
		s.mu.Unlock()
		return
	}
	if s.ended == nil {
		s.ended = make(chan struct{})
	}
	ended := s.ended
	s.mu.Unlock()
	<-ended
}

// fail ends the sink because of err and tells its owner.
func (s *Sink) fail(err error) {
	if s.end(err) {
		s.owner.SinkFailed(err)
	}
}

// end marks the sink as ended and frees what it holds; the first call counts.
func (s *Sink) end(err error) bool {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return false
	}
	s.err = err
	s.queue = nil
	if s.done != nil && !s.isDone {
		s.isDone = true
		close(s.done)
	}
	cursors := s.cursors
	if s.writer == resting {
		s.noWriterLocked()
		s.wake <- struct{}{}
	}
	s.mu.Unlock()
	// Detached first: the walk that forgets a dead sink no longer protects
	// the bytes at its cursors.
	for _, c := range cursors {
		c.detach()
	}
	s.dead.Store(true)
	return true
}

// visit is a flusher's: it writes to s, once and without blocking, what lies
// between c, which is a cursor of s, and the head of the walk. It reports whether s
// would take more at once.
func (s *Sink) visit(w *walk, c *Cursor) (more bool) {
	if !s.token.CompareAndSwap(false, true) {
		w.reckon(c)
		return false
	}
	if s.dead.Load() { // its cursors stand nowhere
		s.token.Store(false)
		return false
	}
	if s.special.Load() || s.raw == nil {
		return s.visitSpecial(w, c)
	}
	v := w.of(c)
	pos := c.pos.Load()
	if v == nil || pos >= c.stop(v.hi) {
		s.token.Store(false)
		return false
	}
	if c.parked.Load() { // released just now
		return s.visitSpecial(w, c)
	}
	span := v.at(pos)
	if span == nil { // detached, and passed over since
		s.token.Store(false)
		return false
	}
	off := uint32(pos - span.start)
	to := cut(span.index, off, uint32(min(span.end, c.stop(v.hi))-span.start), maxWrite)
	n, again, err := s.raw.TryWrite(&w.op, span.buf[off:to])
	switch {
	case err != nil:
		s.fail(err)
		w.reckon(c) // if Close was first, it may not have detached c yet
		s.token.Store(false)
		return false
	case again || n < int(to-off):
		v.took(span, off, s.stall(c, span, off+uint32(n)))
		return false
	}
	v.took(span, off, to)
	pos = span.start + int64(to)
	c.pos.Store(pos)
	v.reckon(c, pos)
	s.token.Store(false)
	return pos < c.stop(v.hi)
}

// stall takes s, whose connection would block at offset off of span, out of
// the walk: the rest of the begun frame becomes the sink's own, so that the
// cursor stands between frames, and a writer waits for the connection. It returns the
// offset where the cursor stands.
func (s *Sink) stall(c *Cursor, span *span, off uint32) (at uint32) {
	i := frameAt(span.index, off)
	begin := uint32(0)
	if i > 0 {
		begin = span.index[i-1].end
	}
	if off > begin {
		end := span.index[i].end
		s.out = append(s.out[:0], span.buf[off:end]...)
		s.outEnds.reset()
		s.outEnds.add(int(end - off))
		s.unwritten.Add(1)
		off = end
	}
	c.pos.Store(span.start + int64(off))
	s.each((*Cursor).park)
	s.startWriter()
	return off
}

// visitSpecial serves a sink with more to say than plain log bytes, or one
// whose writes must be made by a writer.
func (s *Sink) visitSpecial(w *walk, c *Cursor) (more bool) {
	if s.raw == nil {
		w.reckon(c)
		s.startWriterIfBehind()
		return false
	}
	wrote, held := s.gather(w.pad)
	more = w.reckon(c) || wrote && s.special.Load()
	if !held {
		return false
	}
	s.token.Store(false)
	return more
}

func (s *Sink) startWriterIfBehind() {
	if s.behind() {
		s.startWriter()
	} else {
		s.token.Store(false)
	}
}

// look is a flusher's: it visits s because of what only s gets.
func (s *Sink) look(pad *pad) {
	if s.dead.Load() || !s.token.CompareAndSwap(false, true) {
		return // who has the token looks again
	}
	switch {
	case s.dead.Load() || !s.special.Load():
		s.token.Store(false)
		return
	case s.raw == nil:
		s.startWriterIfBehind()
		return
	}
	wrote, held := s.gather(pad)
	if !held {
		return
	}
	s.token.Store(false)
	if wrote && s.special.Load() {
		s.shard().want(s)
	}
}

// gather writes once what is next, copied together, or hands that to a writer if
// a cursor was released. It reports whether there was anything, and whether the
// token is still the caller's.
func (s *Sink) gather(w *pad) (wrote, held bool) {
	w.ends.reset()
	b, err := s.take(w.scratch[:0], &w.ends)
	if err != nil {
		s.fail(err)
		s.token.Store(false)
		return true, false
	}
	if cap(b) <= 2*maxWrite {
		w.scratch = b[:0]
	}
	released := s.released() // after take: one that comes later leaves special set
	if len(b) == 0 && !released {
		s.settle()
		return false, true
	}
	n, again := 0, true
	if !released {
		n, again, err = s.raw.TryWrite(&w.op, b)
	}
	s.unwritten.Add(-int64(w.ends.drop(n)))
	switch {
	case err != nil:
		s.fail(err)
		s.token.Store(false)
		return true, false
	case again || n < len(b):
		s.out = append(s.out[:0], b[n:]...)
		s.outEnds = w.ends
		s.outEnds.gaps = append([]byte(nil), w.ends.gaps...)
		s.each((*Cursor).park)
		s.startWriter()
		return true, false
	}
	if s.special.Load() {
		s.settle()
	}
	return true, true
}

// take appends to b the next bytes to be written, and to e where they end
// frames: what was queued, then about maxFill bytes of the cursors. The token must be
// held. After an error what was taken is not written.
//
// A cursor that has ended is taken to its last byte before any that comes behind it or
// has not ended.
func (s *Sink) take(b []byte, e *ends) (_ []byte, err error) {
	s.special.Store(false)
	s.mu.Lock()
	b = append(b, s.queue...)
	e.pass(len(s.queue))
	s.queue = nil // it is seldom used again
	special := s.ending && !s.isDone
	cursors := s.cursors
	s.mu.Unlock()
	trails := slices.ContainsFunc(cursors, (*Cursor).isTrailing)
	if trails {
		cursors = s.streams() // all that ended before that
	}
	b, ended, err := s.takeEnded(b, e, cursors, false)
	if ended && trails && err == nil {
		b, ended, err = s.takeEnded(b, e, cursors, true)
	}
	if err == nil && ended {
		var more bool
		b, more, err = s.takeTurns(b, e, cursors)
		special = special || more
	}
	if err != nil {
		return nil, err
	}
	if special || !ended {
		s.special.Store(true)
	}
	if len(b) > 0 {
		s.group.progress.wake()
		for _, c := range cursors {
			if c.log.group != s.group {
				c.log.group.progress.wake()
			}
		}
	}
	return b, nil
}

// takeEnded is take for the cursors that have ended, either for those that trail or for
// the others, and reports whether it has taken all of them.
func (s *Sink) takeEnded(b []byte, e *ends, cursors []*Cursor, trailing bool) (_ []byte, all bool, err error) {
	for _, c := range cursors {
		if c.end.Load() == math.MaxInt64 || c.isTrailing() != trailing {
			continue
		}
		if b, _, err = c.fill(b, e, max(maxFill, len(b)+1), trailing); err != nil {
			return nil, false, err
		}
		done, closed := c.isDone()
		if !done && !c.IsHeld() && c.isTrailing() == trailing {
			return b, false, nil
		}
		if done && closed {
			s.forget(c)
		}
	}
	return b, true, nil
}

// takeTurns is take for the cursors that have not ended, and reports whether more is
// left of them than plain log bytes.
func (s *Sink) takeTurns(b []byte, e *ends, cursors []*Cursor) (_ []byte, special bool, err error) {
	s.turn++
	for i := range cursors {
		c := cursors[(int(s.turn)+i)%len(cursors)]
		if c.end.Load() != math.MaxInt64 {
			continue
		}
		var more bool
		// Each has its share, one frame at least, so that none starves the next.
		share := len(b) + max((maxFill-len(b))/(len(cursors)-i), 1)
		if b, more, err = c.fill(b, e, share, false); err != nil {
			return nil, false, err
		}
		special = special || more
	}
	return b, special, nil
}

// settle closes done if Finish was called and nothing is left. What was taken
// has been written.
func (s *Sink) settle() {
	s.mu.Lock()
	open := s.ending && !s.isDone && len(s.queue) == 0
	cursors := s.cursors
	s.mu.Unlock()
	if !open {
		return
	}
	overrun := false
	for _, c := range cursors {
		done, lost := c.done()
		if !done {
			return
		}
		overrun = overrun || lost
	}
	if overrun {
		s.fail(ErrOverrun) // not all was written
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isDone {
		s.isDone = true
		close(s.done)
	}
}

// reckon counts the position of c in the walk, unless its sink is waiting, and reports
// whether it is behind.
func (w *walk) reckon(c *Cursor) (behind bool) {
	v, s := w.of(c), c.sink
	if v == nil || c.parked.Load() {
		return false
	}
	// With raw, a writer is at work only because the connection would block;
	// c is not parked if it came since.
	if at := s.began.Load(); at != 0 && (s.raw != nil || monotonic()-at > int64(patience)) {
		c.parkStalled(at)
		if c.parked.Load() {
			return false
		}
	}
	if s.drags.Load() {
		c.parkDragging()
		if c.parked.Load() {
			return false
		}
	}
	pos := c.pos.Load()
	v.reckon(c, pos)
	return pos < c.stop(v.hi)
}

func (s *Sink) each(f func(*Cursor)) {
	if c := s.one.Load(); c != nil {
		f(c)
		return
	}
	s.mu.Lock()
	cursors := s.cursors
	s.mu.Unlock()
	for _, c := range cursors {
		f(c)
	}
}

// startWriter hands the token to a writer.
func (s *Sink) startWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil { // nothing may start after Close
		s.token.Store(false)
		return
	}
	for _, c := range s.cursors {
		c.busy = true
		c.part().busy.Add(1)
	}
	if s.writer == resting {
		s.writer = writing
		s.wake <- struct{}{}
		return
	}
	s.writer = writing
	s.group.fan.wg.Add(1)
	go s.write()
}

// write is the writer: it holds the token and writes, waiting for the
// connection, until the sink has caught up, and then ends; one that is needed
// for every write rests first, in case there is more.
func (s *Sink) write() {
	defer s.group.fan.wg.Done()
	working := true
	defer func() {
		if working { // a method of the connection's has ended the goroutine
			s.caughtUp(ErrExited)
		}
	}()
	for {
		err := s.catchUp()
		working = false
		if !s.caughtUp(err) || !s.rest() {
			return
		}
		working = true
	}
}

// caughtUp gives the token back after catchUp, and reports whether the writer
// rests.
func (s *Sink) caughtUp(err error) (rests bool) {
	s.out, s.outEnds = nil, ends{}
	rests = s.nextWriterState(err)
	if err != nil {
		s.fail(err)
	}
	s.each(func(c *Cursor) {
		if c.busy {
			c.busy = false
			c.part().busy.Add(-1)
		}
	})
	s.token.Store(false)
	s.each(func(c *Cursor) {
		if p := c.part(); p.busy.Load() == 0 || c.log.group.progress.wanted.Load() || c.log.watched.Load() {
			p.queue() // to let go of what it held in the log, and to say so
		}
	})
	s.lookAgain()
	return rests
}

func (s *Sink) nextWriterState(err error) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raw != nil || err != nil || s.err != nil {
		s.noWriterLocked()
		return false
	}
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	s.writer = resting
	return true
}

// noWriterLocked says that the writer is in the connection no more. Wait may have come
// before the sink's end was noted: of two that close it, one does not wait for the other.
func (s *Sink) noWriterLocked() {
	s.writer = noWriter
	if s.ended != nil {
		close(s.ended)
		s.ended = nil
	}
}

// rest waits for the next task and reports whether there is one.
func (s *Sink) rest() bool {
	t := time.NewTimer(writerRest)
	defer t.Stop()
	select {
	case <-s.wake:
	case <-t.C:
		s.mu.Lock()
		if s.writer == resting {
			s.noWriterLocked()
			s.mu.Unlock()
			return false
		}
		s.mu.Unlock()
		<-s.wake // sent with the change of state
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writer == writing
}

// catchUp writes until nothing is left.
func (s *Sink) catchUp() error {
	var buf *batch // borrowed when needed: what stalls at once holds none
	defer func() {
		if buf != nil {
			fillPool.Put(buf)
		}
	}()
	defer s.nc.SetWriteDeadline(time.Time{})
	defer s.began.Store(0)
	for {
		if s.dead.Load() {
			return nil
		}
		if len(s.out) == 0 {
			if buf == nil {
				buf = fillPool.Get().(*batch)
			}
			if err := s.takeInto(buf); err != nil {
				return err
			}
		}
		if len(s.out) == 0 {
			s.settle()
			if s.drag != nil {
				*s.drag = drag{}
				s.drags.Store(false)
			}
			caught := true
			s.each(func(c *Cursor) { caught = c.unpark() && caught })
			if caught {
				return nil
			}
			continue
		}
		if err := s.writeOut(); err != nil {
			return err
		}
	}
}

// takeInto takes what is to be written next into buf, which it may grow.
func (s *Sink) takeInto(buf *batch) (err error) {
	s.outEnds = ends{gaps: buf.gaps[:0]}
	if s.out, err = s.take(buf.b[:0], &s.outEnds); err != nil {
		return err
	}
	if cap(s.out) <= 2*maxWrite {
		buf.b = s.out[:0]
	}
	buf.gaps = s.outEnds.gaps[:0]
	return nil
}

// writeOut writes s.out, and gives up when the connection took nothing for
// the write timeout.
func (s *Sink) writeOut() error {
	for len(s.out) > 0 {
		until := time.Now().Add(s.timeout)
		if s.timeout > 0 {
			s.nc.SetWriteDeadline(until)
		}
		began := monotonic()
		s.began.Store(began)
		n, err := s.nc.Write(s.piece())
		s.began.Store(0)
		if s.raw == nil {
			s.measure(began, monotonic())
		}
		n = min(max(n, 0), len(s.out))
		s.out = s.out[n:]
		s.unwritten.Add(-int64(s.outEnds.drop(n)))
		s.written.Add(int64(n))
		if err == nil && n == 0 {
			return io.ErrShortWrite // or this would go on for ever
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// After a timeout only a socket of the kernel's says how much it
		// took; other transports may have broken the stream. It is tried again
		// where this process did not run for a while: it may have room by now.
		if s.raw == nil || n <= 0 && time.Since(until) < frozen {
			return ErrWriteTimeout
		}
	}
	return nil
}

// frozen is how long after a deadline nobody is late who runs.
const frozen = 100 * time.Millisecond

// drag measures the writes of a transport that cannot say "would block".
type drag struct {
	since  int64 // the window's first write; 0: none
	writes int64
	inside int64 // nanoseconds in writes
}

// measure counts a write, and says at the end of a window whether s drags.
func (s *Sink) measure(began, ended int64) {
	if s.drag == nil {
		s.drag = new(drag)
	}
	d := s.drag
	if d.since == 0 {
		d.since = began
	}
	d.writes++
	d.inside += ended - began
	if window := ended - d.since; window >= int64(dragWindow) {
		s.drags.Store(d.inside >= window/2 && d.inside >= d.writes*int64(dragging))
		*d = drag{since: ended}
	}
}

// piece returns what is written next. Whoever waits for an end looks whether
// the connection still takes bytes, so where that shows only when a write
// returns, writes are small.
func (s *Sink) piece() []byte {
	if s.blind {
		return s.out[:min(len(s.out), blindWrite)]
	}
	return s.out
}

const blindWrite = 4 << 10

// A batch is the memory of what a writer takes at once.
type batch struct{ b, gaps []byte }

var fillPool = sync.Pool{New: func() any { return &batch{b: make([]byte, 0, maxFill)} }}

// behind reports whether there is something to write.
func (s *Sink) behind() (behind bool) {
	if s.dead.Load() {
		return false
	}
	if s.special.Load() {
		return true
	}
	s.each(func(c *Cursor) { behind = behind || c.pos.Load() < c.stop(c.log.head.Load()) })
	return behind
}

var processStart = time.Now()

// monotonic is a clock that does not jump.
func monotonic() int64 { return int64(time.Since(processStart)) + 1 }

// streams returns the cursors of s.
func (s *Sink) streams() []*Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors
}

// Streams returns how many cursors s has, those that have ended and of which not all
// was taken included.
func (s *Sink) Streams() int { return len(s.streams()) }
