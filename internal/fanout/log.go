package fanout

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// LogConfig configures a [Log].
type LogConfig struct {
	// Backlog bounds what the log keeps, in bytes, an index entry of 16 bytes
	// a frame included. It must be at least four times the largest frame.
	Backlog int
	// Block makes Admit answer [Blocked] rather than let an append overrun
	// a waiting cursor.
	Block bool
	// Gap appends to dst the frame that announces the hole from..to, of n frames, to a
	// cursor that skips: from and to are the sequence numbers of the first and the last of
	// them, and at the position of the first. It is called with no lock held, by whoever
	// writes, so it must be quick and return. An error ends the sink.
	Gap func(dst []byte, at int64, from, to, n uint64) ([]byte, error)
}

// A Log is a stream of frames, of which a window [tail, head) is kept.
//
// Positions count bytes since the log began; they are what cursors hold, and
// bytes are looked up when they are written. Beside its position the log
// counts a charge, what all frames up to there have cost in memory, and it is
// charge that the backlog bounds.
type Log struct {
	group *Group
	cfg   LogConfig
	slot  int // in group.logs

	head    atomic.Int64 // written with mu held
	watched atomic.Bool  // there are watches; written with mu held

	mu          sync.Mutex // guards what follows, and what cursors say it guards
	first, last *segment   // the window; nil when nothing is kept
	base        int64      // charge at head when nothing is kept
	burst       int64      // charge at head when the window was last empty
	limit       int64      // of the charge kept, for the append that was admitted
	class       int        // of the next first segment: what the last burst needed
	frames      uint64
	served      []served    // by shard
	watches     []watch     // in the order of their positions
	look        *time.Timer // of lookAgain; nil: it is not set
	dropped     bool
}

// served is what the flusher of one shard has brought to all its sinks, the
// waiting ones aside.
type served struct{ pos, charge int64 }

// NewLog returns an empty log.
func (g *Group) NewLog(cfg LogConfig) *Log {
	l := &Log{group: g, cfg: cfg, limit: int64(cfg.Backlog), served: make([]served, len(g.parts))}
	g.addLog(l)
	return l
}

// Head returns the position of the next frame.
func (l *Log) Head() int64 { return l.head.Load() }

// Drop takes l out of its group. Its cursors are those of sinks that have been
// closed; if one of them is not detached yet, it says nothing more.
func (l *Log) Drop() {
	l.group.dropLog(l)
	l.mu.Lock()
	l.dropped = true
	for l.first != nil {
		for c := l.first.parked; c != nil; c = l.first.parked {
			l.first.unpark(c) // another log may have the segment when it is detached
		}
		l.dropFirst()
	}
	due := l.dueLocked()
	l.mu.Unlock()
	l.group.fan.notify(due)
}

// A Verdict is what [Log.Admit] says of an append.
type Verdict uint8

const (
	// Fits: append now.
	Fits Verdict = iota
	// Unserved: sinks that nobody has visited yet would be overrun. Flushers
	// never block, so this passes by itself.
	Unserved
	// Blocked: a waiting cursor would be overrun, in a log with Block.
	Blocked
)

// Admit says whether a frame of n bytes may be appended now. It and the
// append that follows must be under one lock of the caller's.
//
// Ordinary frames leave half of the backlog free between the sinks that are
// served and the head, and an eighth between waiting cursors that block and the
// head; urgent ones use that as well, and are not held back by waiting cursors.
// An ordinary one is not held back either, if force is zero or more, by those
// that have waited for as long.
func (l *Log) Admit(n int, urgent bool, force time.Duration) Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	head, next, fits := l.headLocked(), int64(n+frameCharge), true
	if l.last != nil && !l.last.fits(n) {
		next, fits = l.sealedLocked()+next, false
	} else {
		next += head
	}
	pos, charge := l.servedLocked()
	if pos == l.head.Load() {
		charge = head
	}
	backlog := int64(l.cfg.Backlog)
	if !urgent && next-charge > backlog/2 && pos != l.head.Load() {
		return Unserved
	}
	l.limit = backlog
	if l.cfg.Block && !urgent {
		l.limit -= backlog / 8
	}
	since := int64(math.MinInt64)
	if force >= 0 {
		since = monotonic() - int64(force)
	}
	for s := l.first; s != nil && next-s.startCharge > l.limit && (s != l.last || !fits); s = s.next {
		if s.end() > pos {
			return Unserved
		}
		if l.cfg.Block && !urgent && s.overruns(since) {
			return Blocked
		}
	}
	return Fits
}

// overruns reports whether dropping s would overrun a cursor that has not
// waited since then.
func (s *segment) overruns(since int64) bool {
	for c := s.parked; c != nil; c = c.next {
		if c.parkedAt > since && c.pos.Load() < c.bound(s.end()) {
			return true
		}
	}
	return false
}

// Append adds a frame, which [Log.Admit] has let in, with its sequence number.
// The cursor owner, if not nil, does not get it. Cursors that it overruns
// continue at the head if they skip, or are lost: then their sinks fail with
// [ErrOverrun], which Append does not wait for. Call [Group.Flush] after it.
func (l *Log) Append(b []byte, seq uint64, owner *Cursor) {
	if len(b) == 0 {
		return
	}
	if lost := l.append(b, seq, owner); len(lost) > 0 {
		l.group.fan.lose(lost)
	}
}

// append is Append, and returns the sinks that were lost by it.
func (l *Log) append(b []byte, seq uint64, owner *Cursor) (lost []*Sink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, lost := l.makeRoomLocked(len(b))
	start := s.end()
	s.buf = append(s.buf, b...)
	f := frame{end: uint32(len(s.buf)), seq: seq}
	if owner != nil {
		f.owner = owner.id
		owner.ownLocked(start, s.end())
	}
	s.index = append(s.index, f)
	l.frames++
	l.publishLocked()
	return lost
}

// makeRoomLocked returns the segment for n bytes, and drops what has no place beside them.
// It returns the sinks that are lost by that.
func (l *Log) makeRoomLocked(n int) (s *segment, lost []*Sink) {
	if l.last == nil || !l.last.fits(n) {
		l.growLocked(n)
	}
	next := l.headLocked() + int64(n+frameCharge)
	for l.first != l.last && next-l.first.startCharge > l.limit {
		lost = l.evictLocked(lost)
	}
	return l.last, lost
}

// publishLocked makes what was added to the last segment the end of the log.
func (l *Log) publishLocked() {
	l.head.Store(l.last.end())
	if !l.group.flushes() {
		l.trimLocked()
	}
}

// headLocked is the charge at the head.
func (l *Log) headLocked() int64 {
	if l.last == nil {
		return l.base
	}
	return l.last.startCharge + l.last.charge()
}

// sealedLocked is the charge at which a segment after the last would begin:
// the room that is left in the last one is paid for as well.
func (l *Log) sealedLocked() int64 {
	return l.last.startCharge + int64(cap(l.last.buf)) + frameCharge*int64(len(l.last.index))
}

// servedLocked is the lowest position, and its charge, that a shard has served.
func (l *Log) servedLocked() (pos, charge int64) {
	pos, charge = math.MaxInt64, math.MaxInt64
	for i := range l.served {
		if l.group.open(i) && l.served[i].pos < pos {
			pos, charge = l.served[i].pos, l.served[i].charge
		}
	}
	if pos == math.MaxInt64 {
		return l.head.Load(), l.headLocked()
	}
	return pos, charge
}

// growLocked adds a segment with room for n bytes.
func (l *Log) growLocked(n int) {
	if l.last == nil {
		l.burst = l.base
		l.first = l.newSegmentLocked(l.class, n)
		l.last = l.first
		l.last.startCharge = l.base
	} else {
		s := l.newSegmentLocked(len(segmentSizes)-1, n)
		s.startCharge = l.sealedLocked()
		l.last.next = s
		l.last = s
	}
	l.last.start, l.last.startFrame = l.head.Load(), l.frames
}

// newSegmentLocked returns an empty segment with room for n bytes, of the
// given class or a larger one. A segment that is larger than its frame takes no
// more than an eighth of the backlog, so that the last one, which is never
// evicted, cannot exceed it.
func (l *Log) newSegmentLocked(class, n int) *segment {
	limit := l.cfg.Backlog / 8
	for class < len(segmentSizes)-1 && segmentSizes[class] < n {
		class++
	}
	for class > 0 && segmentSizes[class] > limit {
		class--
	}
	size := segmentSizes[class]
	if n > size || size > limit {
		return &segment{buf: make([]byte, 0, max(n, min(size, limit)))}
	}
	return newSegment(class)
}

// evictLocked drops the first of several segments, and moves or loses the
// cursors that wait in it. It appends the sinks of these to lost.
func (l *Log) evictLocked(lost []*Sink) []*Sink {
	s := l.first
	for c := s.parked; c != nil; c = s.parked {
		s.unpark(c)
		switch {
		case c.pos.Load() >= c.bound(s.end()):
			s.next.park(c)
		case c.skip:
			c.jumpLocked()
			l.last.park(c)
		default:
			c.loseLocked()
			lost = append(lost, c.sink)
		}
	}
	l.dropFirst()
	return lost
}

func (l *Log) dropFirst() {
	s := l.first
	if l.first = s.next; l.first == nil {
		l.base = l.headLocked()
		l.last = nil
	}
	s.next = nil
	if s.pins == 0 {
		s.recycle()
	} else {
		s.dead = true
	}
}

// Size returns the charge of what is kept, which never exceeds the backlog,
// and the memory that its segments take.
func (l *Log) Size() (charge, memory int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := l.first; s != nil; s = s.next {
		memory += s.memory()
	}
	if l.first == nil {
		return 0, 0
	}
	return l.headLocked() - l.first.startCharge, memory
}

// findLocked returns the segment that holds the byte at pos, which is in the window.
func (l *Log) findLocked(pos int64) *segment {
	s := l.first
	for s.next != nil && pos >= s.end() {
		s = s.next
	}
	return s
}

// frameLocked returns how many frames begin before pos.
func (l *Log) frameLocked(pos int64) uint64 {
	if l.first == nil || pos >= l.head.Load() {
		return l.frames
	}
	s := l.findLocked(pos)
	return s.startFrame + uint64(s.frameAt(pos))
}

// A view is what a walk sees of a log: the bytes from lo to hi, pinned.
type view struct {
	log    *Log
	lo, hi int64
	min    int64 // lowest position of a sink after its visit
	spans  []span

	taken Traffic                            // what sinks have been written to by the walk
	last  struct{ pos, bytes, frames int64 } // of taken: most take the same
}

type span struct {
	start, end int64
	buf        []byte
	index      []frame
	seg        *segment
}

// open makes v a view of what l has for the sinks of a shard.
func (v *view) open(l *Log, shard int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v.log, v.lo, v.hi = l, l.served[shard].pos, l.head.Load()
	v.min, v.last.pos, v.last.bytes, v.last.frames = v.hi, 0, 0, 0
	v.extendLocked(v.lo)
}

// refresh moves v.hi to the head as it is now, for the sinks that are yet to be
// visited. Those that have been stand at the hi that v began with, or behind it,
// and so does v.min.
func (v *view) refresh() {
	if v.log.head.Load() == v.hi {
		return
	}
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	from := v.hi
	v.hi = v.log.head.Load()
	v.extendLocked(from)
}

// extendLocked adds what the log has after from, up to where v is complete.
func (v *view) extendLocked(from int64) {
	for s := v.log.first; s != nil; s = s.next {
		if s.end() <= from {
			continue
		}
		if last := len(v.spans) - 1; last < 0 || v.spans[last].seg != s {
			s.pins++
			v.spans = append(v.spans, span{})
		}
		v.spans[len(v.spans)-1] = span{s.start, s.end(), s.buf, s.index, s}
	}
}

// at returns the span that holds pos, or nil.
func (v *view) at(pos int64) *span {
	for i := range v.spans {
		if s := &v.spans[i]; pos < s.end {
			if pos >= s.start {
				return s
			}
			return nil
		}
	}
	return nil
}

// reckon counts c, which stands at pos, in what the walk has served. A cursor
// at its end needs nothing more.
func (v *view) reckon(c *Cursor, pos int64) {
	if pos < c.end.Load() {
		v.min = min(v.min, pos)
	}
}

// took counts that a sink has taken what span has from one offset to another.
func (v *view) took(span *span, from, to uint32) {
	if pos, bytes := span.start+int64(from), int64(to-from); v.last.pos != pos || v.last.bytes != bytes {
		v.last.pos, v.last.bytes = pos, bytes
		v.last.frames = int64(frameAt(span.index, to) - frameAt(span.index, from))
	}
	v.taken.Bytes += uint64(v.last.bytes)
	v.taken.Frames += uint64(v.last.frames)
}

// close says that the sinks of a shard are served up to v.min, and lets go of
// what nobody needs any more. It reports whether that made room in the log.
func (v *view) close(shard int) (progress bool) {
	l := v.log
	l.mu.Lock()
	progress = v.closeLocked(shard)
	due := l.dueLocked()
	l.mu.Unlock()
	l.group.fan.notify(due)
	return progress
}

func (v *view) closeLocked(shard int) (progress bool) {
	l := v.log
	l.group.count(v.taken)
	v.taken = Traffic{}
	for i := range v.spans {
		s := v.spans[i].seg
		if s.pins--; s.pins == 0 && s.dead {
			s.recycle()
		}
		v.spans[i] = span{}
	}
	v.spans, v.log = v.spans[:0], nil
	if v.min >= l.served[shard].pos {
		progress = v.min > l.served[shard].pos
		l.served[shard] = served{v.min, l.chargeLocked(v.min)}
	}
	return l.trimLocked() || progress
}

// serveNew notes that a shard which had no sinks is served up to the head.
func (l *Log) serveNew(shard int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served[shard] = served{l.head.Load(), l.headLocked()}
}

// trimLocked lets go of what is served and nobody waits for, and reports
// whether there was any.
func (l *Log) trimLocked() (trimmed bool) {
	pos, _ := l.servedLocked()
	for l.first != nil && l.first.parked == nil && (l.first.end() < pos || l.first.end() == pos && l.first != l.last) {
		l.dropFirst()
		trimmed = true
	}
	if l.first != nil && l.first == l.last && l.first.parked == nil && pos == l.head.Load() {
		l.emptyLocked()
		trimmed = true
	}
	return trimmed
}

// emptyLocked lets go of the only segment, and remembers what size the burst
// that has ended would have liked it.
func (l *Log) emptyLocked() {
	need := l.headLocked() - l.burst
	for l.class = 0; l.class < len(segmentSizes)-1 && int64(segmentSizes[l.class]) < need; {
		l.class++
	}
	l.dropFirst()
}

// chargeLocked returns the charge at pos.
func (l *Log) chargeLocked(pos int64) int64 {
	if l.first == nil || pos >= l.head.Load() {
		return l.headLocked()
	}
	s := l.findLocked(pos)
	return s.startCharge + (pos - s.start) + frameCharge*int64(s.frameAt(pos))
}
