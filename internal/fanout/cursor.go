package fanout

import (
	"math"
	"slices"
	"sync/atomic"
)

// A Cursor is one sink's position in one log, always at the beginning of a
// frame, and the few things in which its stream differs from the log: its own
// frames, which it does not get; bytes for it alone; a hole that it has to be
// told of; and where it ends.
//
// Its own frames are marked in the log's index; the cursor remembers only
// between which positions there are any. So a cursor takes the same memory
// whatever its sink has sent.
type Cursor struct {
	log  *Log
	sink *Sink
	id   uint32 // marks its own frames in the index; never 0
	skip bool
	busy bool // its part counts it as busy; the token holder's
	mute bool // it is held with its inserts; guarded by log.mu

	// pos is moved by the holder of the sink's token, with log.mu held while
	// the cursor is parked.
	pos atomic.Int64
	// parked says that the sink is waiting: its connection takes no bytes.
	// Written with log.mu held.
	parked atomic.Bool
	// over says that it was closed and has taken all: nobody serves it any more.
	over atomic.Bool
	// end is where its stream ends; it only falls. Written with log.mu held.
	end atomic.Int64
	// hold is where it is held, or math.MaxInt64. Written with log.mu held.
	hold atomic.Int64
	// What follows is guarded by log.mu.
	seg        *segment // where it is parked
	parkedAt   int64    // since when; once it is lost, for how long it was
	prev, next *Cursor  // in seg's list
	ownLo      int64    // its own frames lie in [ownLo, ownHi)
	ownHi      int64
	owns       uint32 // how many
	gapOwns    uint32 // how many of those were in the gap
	inserts    []insert
	inserted   int32 // bytes of inserts
	latest     bool  // one of inserts is of InsertLatest and beyond its limit
	closed     bool  // nothing is inserted any more
	trails     bool  // it comes last of those that have ended
	lost       bool  // overrun or detached; then pos is beyond everything
	gapAt      int64 // where it stood at the first frame of the gap
	gapFrom    uint64
	gapTo      uint64 // 0: there is no gap to tell
	untold     uint64 // frames in the gap, its own aside
	endAt      uint64 // frames before end, once that is set; before that, where it was held first
	lostAt     uint64 // frames before its position when it was lost
}

// An insert is bytes for one cursor, which stand before the frame at pos.
type insert struct {
	pos    int64
	b      []byte
	shared bool // with other cursors; it does not count in inserted
	latest bool // gives way to the next of InsertLatest
}

// Attach returns a cursor at l's head, from which s is served from now on.
// With skip an overrun cursor continues at the head, after a gap.
// No append may run at the same time.
func (l *Log) Attach(s *Sink, skip bool) *Cursor {
	f := l.group.fan
	c := &Cursor{log: l, sink: s, id: f.ids.Add(1), skip: skip && l.cfg.Gap != nil}
	c.end.Store(math.MaxInt64)
	c.hold.Store(math.MaxInt64)
	if c.id == 0 {
		c.id = f.ids.Add(1)
	}
	l.group.enter(s.shard())
	c.pos.Store(l.head.Load())
	s.attach(c)
	return c
}

// part returns the part that c is in.
func (c *Cursor) part() *part { return c.log.group.parts[c.sink.num].Load() }

// Insert puts b, which the cursor keeps, where the head is now. It reports
// false, and does nothing, when more than limit bytes would be waiting. Of an empty b
// it takes no notice.
func (c *Cursor) Insert(b []byte, limit int) bool { return c.insert(b, limit, false) }

// InsertLatest is Insert, but b waits beyond the limit too, in the place of what did so
// before. It reports false when c is lost.
func (c *Cursor) InsertLatest(b []byte, limit int) bool { return c.insert(b, limit, true) }

func (c *Cursor) insert(b []byte, limit int, latest bool) bool {
	if len(b) == 0 { // as for a member that is not welcomed: no walk for that
		return true
	}
	l := c.log
	l.mu.Lock()
	beyond := int(c.inserted)+len(b) > limit
	if c.lost || beyond && !latest {
		l.mu.Unlock()
		return false
	}
	if beyond {
		c.dropLatestLocked()
		c.latest = true
	}
	c.inserts = append(c.inserts, insert{pos: c.whereLocked(), b: b, latest: beyond})
	c.inserted += int32(len(b))
	c.sink.special.Store(true) // before an append can move the head
	l.mu.Unlock()
	c.sink.shard().want(c.sink)
	return true
}

// dropLatestLocked takes back what InsertLatest put beyond its limit, if that still
// waits. It is the last of the inserts, or few came behind it.
func (c *Cursor) dropLatestLocked() {
	for i := len(c.inserts) - 1; c.latest && i >= 0; i-- {
		if in := c.inserts[i]; in.latest {
			c.latest = false
			c.inserted -= int32(len(in.b))
			c.inserts = slices.Delete(c.inserts, i, i+1)
		}
	}
}

// InsertShared puts each of bs, whole frames, where the head is now. Cursors may
// share their memory, which must not change; no limit counts them. Each should be no
// longer than a gathered write, 16 KiB, for it is copied at once.
func (c *Cursor) InsertShared(bs [][]byte) {
	if len(bs) == 0 {
		return
	}
	l := c.log
	l.mu.Lock()
	if c.lost {
		l.mu.Unlock()
		return
	}
	c.inserts = slices.Grow(c.inserts, len(bs))
	for _, b := range bs {
		c.inserts = append(c.inserts, insert{pos: c.whereLocked(), b: b, shared: true})
	}
	c.sink.special.Store(true)
	l.mu.Unlock()
	c.sink.shard().want(c.sink)
}

// End makes the head, as it is now, the end of c's stream, inserts that
// follow aside. All of it is written before anything of a stream of the same sink that
// begins later.
func (c *Cursor) End() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.endLocked()
}

// finish is End that releases c too.
func (c *Cursor) finish() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.endLocked()
	c.releaseLocked()
}

// Trail lets c, which has ended, come last among those streams of its sink. What is
// inserted in c from now on stands behind all of what these have.
func (c *Cursor) Trail() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.trails = true
	c.sink.special.Store(true)
}

// isTrailing reports whether c has ended and trails.
func (c *Cursor) isTrailing() bool {
	if c.end.Load() == math.MaxInt64 {
		return false
	}
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.trails
}

// Close ends c and says that nothing is inserted any more. When its sink has taken all,
// it forgets c. One that is held is released, but for those of [Cursor.HoldAll]. It does not
// block.
func (c *Cursor) Close() {
	c.log.mu.Lock()
	c.endLocked()
	c.closed = true
	if !c.mute {
		c.releaseLocked() // at once: one that is closed and held would be forgotten with its rest
	}
	c.sink.special.Store(true)
	c.log.mu.Unlock()
	c.sink.shard().want(c.sink)
}

func (c *Cursor) endLocked() {
	if c.end.Load() == math.MaxInt64 {
		c.endAt = c.log.frames
		c.end.Store(c.log.head.Load())
		if c.sink.one.Load() == nil { // it comes before the others from now on
			c.sink.special.Store(true)
		}
	}
}

// bound returns the lower of c's end and pos.
func (c *Cursor) bound(pos int64) int64 { return min(pos, c.end.Load()) }

// stop returns up to where before pos c may be served now.
func (c *Cursor) stop(pos int64) int64 { return min(pos, c.end.Load(), c.hold.Load()) }

// Missed returns how many frames up to its end c has not taken yet, nor a gap
// that names them, its own aside; of those that it has taken, [Sink.Unwritten]
// are not written.
func (c *Cursor) Missed() uint64 {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	at, end := c.lostAt, l.frames
	if !c.lost {
		at = c.frameLocked()
	}
	if c.end.Load() != math.MaxInt64 {
		end = c.endAt
	}
	return end - at - uint64(c.owns) + c.untold
}

// frameLocked returns how many frames begin before c's position.
func (c *Cursor) frameLocked() uint64 {
	pos := c.pos.Load()
	if pos >= c.end.Load() {
		return c.endAt // its position may have left the window
	}
	return c.log.frameLocked(pos)
}

// loseLocked takes c, which is in no list, out of the race: it needs nothing
// of the log any more.
func (c *Cursor) loseLocked() {
	c.lostAt, c.lost = c.frameLocked(), true
	if c.parked.Load() {
		c.parkedAt = monotonic() - c.parkedAt
	} else {
		c.parkedAt = 0
	}
	c.inserts, c.inserted = nil, 0
	c.pos.Store(math.MaxInt64)
}

// ownLocked notes that the frame [lo, hi) is c's own. One behind its end is of no
// interest: c never comes to stand behind it.
func (c *Cursor) ownLocked(lo, hi int64) {
	if c.end.Load() != math.MaxInt64 {
		return
	}
	if c.ownHi == 0 {
		c.ownLo = lo
	}
	c.ownHi = hi
	c.owns++
	c.sink.special.Store(true)
}

// jumpLocked moves c, which has been overrun, to the head.
func (c *Cursor) jumpLocked() {
	l := c.log
	pos := c.pos.Load()
	head := c.bound(l.head.Load())
	if pos >= head {
		return
	}
	s := l.findLocked(pos)
	if c.gapTo == 0 {
		c.gapAt = pos
		c.gapFrom = s.index[s.frameAt(pos)].seq
	}
	last := l.findLocked(head - 1)
	c.gapTo = last.index[last.frameAt(head-1)].seq
	n := l.frameLocked(head) - l.frameLocked(pos)
	l.group.count(Traffic{Skipped: n})
	c.untold += n - uint64(c.owns)
	c.gapOwns += min(c.owns, math.MaxUint32-c.gapOwns)
	c.pos.Store(head)
	if c.IsHeld() {
		c.hold.Store(head)
	}
	c.clearOwnLocked()
	c.sink.special.Store(true)
}

func (c *Cursor) clearOwnLocked() {
	if c.pos.Load() >= c.ownHi {
		c.ownLo, c.ownHi, c.owns = 0, 0, 0
	}
}

// fill appends to dst what comes next in c's stream, whole frames of about
// limit bytes in all, and moves c behind it. The sink's token must be held.
// It notes in e where frames end, and reports whether something is left that
// plain log bytes do not say. An error says that a gap could not be announced;
// then nothing may follow. One that trails has its turn if it is the last.
func (c *Cursor) fill(dst []byte, e *ends, limit int, last bool) (_ []byte, special bool, err error) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.trails && !last {
		return dst, true, nil
	}
	if c.mute {
		return dst, false, nil
	}
	for c.gapTo != 0 && !c.IsHeld() && len(dst) < limit { // may have grown meanwhile
		if len(c.inserts) > 0 && c.inserts[0].pos <= c.gapAt {
			dst = c.takeInsert(dst, e)
			continue
		}
		n := len(dst)
		if dst, err = c.sayGapLocked(dst); err != nil {
			return dst, false, err
		}
		e.pass(len(dst) - n)
		l.group.count(Traffic{Bytes: uint64(len(dst) - n)})
	}
	if c.lost || l.dropped {
		return dst, false, nil
	}
	pos := c.pos.Load()
	for len(dst) < limit {
		stop := c.stop(l.head.Load())
		if len(c.inserts) > 0 {
			if c.inserts[0].pos <= pos {
				dst = c.takeInsert(dst, e)
				continue
			}
			stop = min(stop, c.inserts[0].pos)
		}
		if pos >= stop {
			break
		}
		dst, pos = c.copyLocked(dst, e, pos, stop, limit)
	}
	c.moveLocked(pos)
	c.clearOwnLocked()
	return dst, c.insertDueLocked() || !c.IsHeld() && (c.ownHi != 0 || c.gapTo != 0), nil
}

// sayGapLocked appends the announcement of the gap, for which it lets go of
// the lock: then appends may overrun c again.
func (c *Cursor) sayGapLocked(dst []byte) ([]byte, error) {
	l, at, from, to, n := c.log, c.gapAt, c.gapFrom, c.gapTo, c.untold+uint64(c.gapOwns)
	c.gapFrom, c.gapTo, c.untold, c.gapOwns = 0, 0, 0, 0
	l.mu.Unlock()
	defer l.mu.Lock()
	return l.cfg.Gap(dst, at, from, to, n)
}

// takeInsert appends the first of the inserts to dst.
func (c *Cursor) takeInsert(dst []byte, e *ends) []byte {
	in := c.inserts[0]
	dst = append(dst, in.b...)
	e.pass(len(in.b))
	c.log.group.count(Traffic{Bytes: uint64(len(in.b))})
	if !in.shared {
		c.inserted -= int32(len(in.b))
	}
	if in.latest {
		c.latest = false
	}
	c.inserts[0].b = nil
	if c.inserts = c.inserts[1:]; len(c.inserts) == 0 {
		c.inserts = nil
	}
	return dst
}

// copyLocked appends to dst a run of frames from one segment, c's own left
// out, and returns the position behind it.
func (c *Cursor) copyLocked(dst []byte, e *ends, pos, stop int64, limit int) ([]byte, int64) {
	s := c.seg
	if s == nil || pos >= s.end() {
		s = c.log.findLocked(pos)
	}
	stop = min(stop, s.end())
	off, to := uint32(pos-s.start), uint32(stop-s.start)
	if stop <= c.ownLo || pos >= c.ownHi {
		to = cut(s.index, off, to, limit-len(dst))
		dst = append(dst, s.buf[off:to]...)
		taken := 0
		for i := frameAt(s.index, off); off < to; i++ {
			end := s.index[i].end
			e.add(int(end - off))
			off = end
			taken++
		}
		c.sink.unwritten.Add(int64(taken))
		c.log.group.count(Traffic{Bytes: uint64(int64(to) - (pos - s.start)), Frames: uint64(taken)})
		return dst, s.start + int64(to)
	}
	run, taken, had := off, 0, len(dst)
	for i := frameAt(s.index, off); off < to && len(dst)+int(off-run) < limit; i++ {
		f := s.index[i]
		if f.owner == c.id {
			dst = append(dst, s.buf[run:off]...)
			run = f.end
			c.owns--
		} else {
			e.add(int(f.end - off))
			taken++
		}
		off = f.end
	}
	c.sink.unwritten.Add(int64(taken))
	dst = append(dst, s.buf[run:off]...)
	c.log.group.count(Traffic{Bytes: uint64(len(dst) - had), Frames: uint64(taken)})
	return dst, s.start + int64(off)
}

// moveLocked moves c to pos, in the list of another segment if it is parked.
func (c *Cursor) moveLocked(pos int64) {
	if pos == c.pos.Load() {
		return
	}
	c.pos.Store(pos)
	if s := c.seg; s != nil && pos >= s.end() && s.next != nil {
		s.unpark(c)
		c.log.findLocked(pos).park(c)
	}
}

// park hangs c into the segment where it stands: its sink is waiting. The
// caller holds the token.
func (c *Cursor) park() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.parkLocked()
}

// parkStalled is park for those who do not hold the token: it parks c unless
// the write that began at the given time has ended. The writer unparks c only
// after that, so c is not parked behind its back.
func (c *Cursor) parkStalled(began int64) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	if c.sink.began.Load() == began {
		c.parkLocked()
	}
}

// parkDragging parks c when its sink drags still and, by now, a quarter of the
// backlog is waiting for it. The writer says that it does not drag before it
// unparks c.
func (c *Cursor) parkDragging() {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	pos := c.pos.Load()
	if !c.sink.drags.Load() || c.lost || pos >= c.end.Load() { // at its end it holds up nobody
		return
	}
	if l.headLocked()-l.chargeLocked(pos) > int64(l.cfg.Backlog/4) {
		c.parkLocked()
	}
}

func (c *Cursor) parkLocked() {
	l := c.log
	if c.lost || l.dropped || c.parked.Load() {
		return
	}
	if l.first == nil {
		l.growLocked(0)
	}
	l.findLocked(c.pos.Load()).park(c)
	c.parked.Store(true)
	c.parkedAt = monotonic()
}

// unpark says that c's sink is not waiting any more, if c has reached the
// head (or its end) with nothing left to say, and reports whether it has. One that
// is held stays parked, and has if nothing can be written.
func (c *Cursor) unpark() bool {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.lost {
		return true
	}
	if c.IsHeld() {
		return !c.insertDueLocked()
	}
	if c.pos.Load() < c.bound(l.head.Load()) || c.gapTo != 0 || len(c.inserts) > 0 {
		return false
	}
	if c.seg != nil {
		c.seg.unpark(c)
	}
	c.parked.Store(false)
	return true
}

// done reports whether c has nothing more to say, ever, and whether that is
// because it was lost.
func (c *Cursor) done() (done, lost bool) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	if c.lost {
		return true, true
	}
	return c.pos.Load() >= c.end.Load() && c.gapTo == 0 && len(c.inserts) == 0, false
}

// isDone reports whether c, which has ended, has nothing more to say as things are, and
// whether it was closed too.
func (c *Cursor) isDone() (done, closed bool) {
	done, _ = c.done()
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return done || c.log.dropped, c.closed
}

// IsOver reports whether c was closed and its sink has taken all, or has ended.
func (c *Cursor) IsOver() bool { return c.over.Load() || c.sink.dead.Load() }

// detach takes c out of its log.
func (c *Cursor) detach() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.endLocked()
	if c.lost {
		return
	}
	if c.seg != nil {
		c.seg.unpark(c)
	}
	c.loseLocked()
	c.parked.Store(true) // counts for nobody any more
}
