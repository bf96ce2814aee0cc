package fanout

import (
	"sort"
	"sync"
)

// A segment is a piece of a log: whole frames and their index. It is guarded
// by its log's lock; what a view has captured of it does not change until the
// view is released.
type segment struct {
	start       int64  // position of buf[0]
	startCharge int64  // the log's charge up to start
	startFrame  uint64 // number of frames before start
	buf         []byte
	index       []frame
	next        *segment

	pins   int     // views that read it
	dead   bool    // dropped by the log, to be reused when pins is 0
	parked *Cursor // list of the waiting cursors that stand here
}

// A frame is an entry of the index.
type frame struct {
	end   uint32 // offset in the segment
	owner uint32 // id of the cursor that does not get this frame, or 0
	seq   uint64
}

// frameCharge is what an index entry costs.
const frameCharge = 16

// Segments come in three sizes, so that quiet logs hold little.
var (
	segmentSizes = [...]int{4 << 10, 16 << 10, 64 << 10}
	segmentPools [len(segmentSizes)]sync.Pool
)

// newSegment returns an empty segment of the given class.
func newSegment(class int) *segment {
	if s, _ := segmentPools[class].Get().(*segment); s != nil {
		return s
	}
	return &segment{buf: make([]byte, 0, segmentSizes[class])}
}

// scrub is given all memory that is about to be used again, so that the tests
// can poison it.
var scrub = func([]byte) {}

// recycle gives s, which nobody reads any more, to be used by any log.
func (s *segment) recycle() {
	scrub(s.buf[:cap(s.buf)])
	for class, size := range segmentSizes {
		if cap(s.buf) == size {
			*s = segment{buf: s.buf[:0], index: s.index[:0]}
			segmentPools[class].Put(s)
			return
		}
	}
}

func (s *segment) end() int64 { return s.start + int64(len(s.buf)) }

// charge is what s costs up to its present end.
func (s *segment) charge() int64 { return int64(len(s.buf)) + frameCharge*int64(len(s.index)) }

// memory is what s costs altogether.
func (s *segment) memory() int64 { return int64(cap(s.buf)) + frameCharge*int64(cap(s.index)) }

// fits reports whether a frame of n bytes fits, by size and by charge.
func (s *segment) fits(n int) bool {
	return n <= cap(s.buf)-len(s.buf) && s.charge() < int64(cap(s.buf))
}

// frameAt returns the number in s of the frame that begins at position pos.
func (s *segment) frameAt(pos int64) int { return frameAt(s.index, uint32(pos-s.start)) }

// frameAt returns the number of the first frame in index that ends after off.
func frameAt(index []frame, off uint32) int {
	if len(index) > 0 && off >= index[len(index)-1].end {
		return len(index)
	}
	return sort.Search(len(index), func(i int) bool { return index[i].end > off })
}

// cut returns the greatest frame end in (off, off+limit], or that of the frame
// at off where that one is longer, but never more than stop.
func cut(index []frame, off, stop uint32, limit int) uint32 {
	if int(stop-off) <= limit {
		return stop
	}
	i := sort.Search(len(index), func(i int) bool { return index[i].end > off+uint32(limit) })
	if i > 0 && index[i-1].end > off {
		return index[i-1].end
	}
	return min(index[i].end, stop)
}

func (s *segment) park(c *Cursor) {
	c.seg, c.prev, c.next = s, nil, s.parked
	if s.parked != nil {
		s.parked.prev = c
	}
	s.parked = c
}

func (s *segment) unpark(c *Cursor) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		s.parked = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.seg, c.prev, c.next = nil, nil, nil
}
