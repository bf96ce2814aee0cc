package bench

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A checker compares what members receive with what was sent, and with each other. All
// methods may be called from many goroutines.
//
// Each sender numbers its messages, so each member by itself can tell what is lost,
// doubled or late in the messages of one sender. Whether all have one order is found
// by the reference, a member that only receives: a message's place is that at which the
// reference received it, and places must rise at every member.
type checker struct {
	reference int             // the number of that member
	begun     []atomic.Uint64 // of each sender, how many messages it has begun to send
	arrived   atomic.Int64    // how many messages came
	last      atomic.Int64    // when the last one did

	mu         sync.Mutex // guards what follows
	streams    []*stream
	tracks     []*track
	live       int    // streams that have not ended
	places     uint64 // of the reference, so far
	totals     []uint64
	unfinished int // live streams that lack something, once totals are known
	done       chan struct{}
	delivery   *hdrhistogram.Histogram // from due to each member
	all        *hdrhistogram.Histogram // from due to the last member
	faults     faults
}

// faults are what went wrong.
type faults struct {
	Lost    uint64 `json:"lost"`
	Doubled uint64 `json:"doubled"`
	Late    uint64 `json:"late"`    // behind a later one of the same sender
	Crossed uint64 `json:"crossed"` // in another order than at the reference, or with a seq that does not rise
	Damaged uint64 `json:"damaged"`
	Skipped uint64 `json:"skipped"` // announced by a gap; what of it was ours is lost too
	Ended   int    `json:"ended"`   // members whose connection ended
	Refused uint64 `json:"refused"` // requests that the room refused

	What []string `json:"what"` // the first of each kind, in words
	more map[string]int
}

// maxSame is how many faults of a kind are told in words.
const maxSame = 5

func (f *faults) any() bool {
	return f.Lost+f.Doubled+f.Late+f.Crossed+f.Damaged+f.Skipped+f.Refused > 0 || f.Ended > 0
}

// tell notes a fault of a kind in words.
func (f *faults) tell(kind, format string, args ...any) {
	if f.more[kind]++; f.more[kind] <= maxSame {
		f.What = append(f.What, fmt.Sprintf(format, args...))
	}
}

// A stream is what one member received.
type stream struct {
	member   int
	next     []uint64 // of each sender, the number that must come next
	missing  [][]span // of each sender, what was jumped over, in order
	got      uint64   // of others, each message once
	own      uint64   // of its own, which only a room with echo sends
	place    uint64   // of the last message whose place is known
	placed   note
	waiting  []waiting // messages whose place is not known yet, and those behind them
	seq      uint64
	ended    bool
	finished bool
}

// A span is a run of numbers, with both ends.
type span struct{ first, last uint64 }

// A waiting message has been received, and not compared yet.
type waiting struct {
	note
	at *tracked
}

// An arrival is a message that came.
type arrival struct {
	note
	at  int64 // nanoseconds since the run began
	seq uint64
}

// A track is where the messages of one sender are, in blocks. A block that all
// members have is forgotten.
type track struct{ blocks map[uint64]*block }

const blockSize = 1024

type block struct {
	messages [blockSize]tracked
	complete int
}

type tracked struct {
	place uint64 // at the reference; 0: it has none
	none  bool   // and will have none, for it came late there
	all   bool   // members have it
	seen  int32  // by how many, the sender aside
	worst int64  // the longest that it took
}

func newChecker(members, senders int) *checker {
	c := &checker{
		reference: members - 1,
		begun:     make([]atomic.Uint64, senders),
		live:      members,
		done:      make(chan struct{}),
		delivery:  newHistogram(),
		all:       newHistogram(),
		faults:    faults{What: []string{}, more: make(map[string]int)},
	}
	for i := range members {
		s := &stream{member: i, next: make([]uint64, senders), missing: make([][]span, senders)}
		for k := range s.next {
			s.next[k] = 1
		}
		c.streams = append(c.streams, s)
	}
	for range senders {
		c.tracks = append(c.tracks, &track{make(map[uint64]*block)})
	}
	return c
}

// newHistogram returns one for nanoseconds up to an hour, to three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 3600e9, 3) }

func record(h *hdrhistogram.Histogram, ns int64) {
	h.RecordValue(min(max(ns, 0), h.HighestTrackableValue()))
}

// receive notes a message that a member received.
func (c *checker) receive(member int, a arrival, whole bool) {
	c.last.Store(a.at)
	c.arrived.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[member]
	if a.sender >= len(s.next) || a.number > c.begun[a.sender].Load() {
		c.faults.Damaged++
		c.faults.tell("damaged", "member %d received a message that nobody sent: number %d of sender %d", member, a.number, a.sender)
		return
	}
	if !whole {
		c.faults.Damaged++
		c.faults.tell("damaged", "member %d received message %d of sender %d with another body", member, a.number, a.sender)
	}
	if a.seq != 0 && a.seq <= s.seq {
		c.faults.Crossed++
		c.faults.tell("seq", "member %d received seq %d after %d", member, a.seq, s.seq)
	}
	s.seq = max(s.seq, a.seq)
	first, late := c.countLocked(s, a.note)
	if !first || a.sender == member {
		return
	}
	record(c.delivery, a.at-a.due)
	t := c.trackedLocked(a.note)
	t.seen++
	t.worst = max(t.worst, a.at-a.due)
	switch {
	case member == c.reference && late:
		t.none = true // others that have it where it belongs are not to blame
	case member == c.reference:
		c.places++
		t.place = c.places
	case !late:
		s.waiting = append(s.waiting, waiting{a.note, t})
		c.orderLocked(s)
	}
	c.completeLocked(a.note, t)
}

// countLocked does the books of one sender at one member. It returns whether the message
// came for the first time, and whether it came after a later one.
func (c *checker) countLocked(s *stream, n note) (first, late bool) {
	next := s.next[n.sender]
	switch {
	case n.number == next:
		s.next[n.sender]++
	case n.number > next:
		s.missing[n.sender] = append(s.missing[n.sender], span{next, n.number - 1})
		s.next[n.sender] = n.number + 1
	case s.found(n):
		late = true
		c.faults.Late++
		c.faults.tell("late", "member %d received message %d of sender %d after its message %d", s.member, n.number, n.sender, next-1)
	default:
		c.faults.Doubled++
		c.faults.tell("doubled", "member %d received message %d of sender %d twice", s.member, n.number, n.sender)
		return false, false
	}
	if n.sender == s.member {
		s.own++
		return true, late
	}
	s.got++
	if c.totals != nil {
		c.finishLocked(s)
	}
	return true, late
}

// found takes a number out of those that are missing, and reports whether it was there.
func (s *stream) found(n note) bool {
	i, ok := s.search(n)
	if !ok {
		return false
	}
	sp := s.missing[n.sender][i]
	var rest []span
	if sp.first < n.number {
		rest = append(rest, span{sp.first, n.number - 1})
	}
	if sp.last > n.number {
		rest = append(rest, span{n.number + 1, sp.last})
	}
	s.missing[n.sender] = slices.Replace(s.missing[n.sender], i, i+1, rest...)
	return true
}

// isMissing reports whether a number was jumped over and has not come.
func (s *stream) isMissing(n note) bool {
	_, ok := s.search(n)
	return ok
}

// search returns where in the spans of its sender a number is.
func (s *stream) search(n note) (i int, ok bool) {
	return slices.BinarySearchFunc(s.missing[n.sender], n.number, func(sp span, number uint64) int {
		switch {
		case sp.last < number:
			return -1
		case sp.first > number:
			return 1
		}
		return 0
	})
}

func (c *checker) trackedLocked(n note) *tracked {
	blocks, i := c.tracks[n.sender].blocks, (n.number-1)/blockSize
	b := blocks[i]
	if b == nil {
		b = new(block)
		blocks[i] = b
	}
	return &b.messages[(n.number-1)%blockSize]
}

// orderLocked compares the order of a member with that of the reference, as far as that
// has come.
func (c *checker) orderLocked(s *stream) {
	ref := c.streams[c.reference]
	compared := 0
	for _, w := range s.waiting {
		without := w.at.none || ref.ended || ref.isMissing(w.note) // the reference is at fault itself
		if w.at.place == 0 && !without {
			break // it has not come there yet
		}
		compared++
		switch {
		case w.at.place == 0:
		case w.at.place < s.place:
			c.faults.Crossed++
			c.faults.tell("crossed", "member %d received message %d of sender %d after message %d of sender %d, and member %d the other way round",
				s.member, w.number, w.sender, s.placed.number, s.placed.sender, c.reference)
		default:
			s.place, s.placed = w.at.place, w.note
		}
	}
	s.waiting = s.waiting[compared:]
}

// completeLocked notes that all members may have a message. Members that have ended are
// not waited for.
func (c *checker) completeLocked(n note, t *tracked) {
	need := c.live
	if !c.streams[n.sender].ended {
		need--
	}
	if t.all || int(t.seen) < need {
		return
	}
	t.all = true
	record(c.all, t.worst)
	blocks, i := c.tracks[n.sender].blocks, (n.number-1)/blockSize
	if blocks[i].complete++; blocks[i].complete == blockSize {
		delete(blocks, i)
	}
}

// seal says how many messages each sender has sent. From then on it is known what
// is still to come.
func (c *checker) seal(totals []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals = totals
	c.unfinished = 0
	for _, s := range c.streams {
		if !s.ended && !s.finished {
			c.unfinished++
		}
	}
	for _, s := range c.streams {
		c.finishLocked(s)
	}
	c.checkDoneLocked()
}

// wantLocked returns how many messages of others a member is to receive.
func (c *checker) wantLocked(s *stream) (n uint64) {
	for sender, total := range c.totals {
		if sender != s.member {
			n += total
		}
	}
	return n
}

// finishLocked notes that a member may have all.
func (c *checker) finishLocked(s *stream) {
	if s.ended || s.finished || s.got < c.wantLocked(s) {
		return
	}
	s.finished = true
	c.unfinished--
	c.checkDoneLocked()
}

func (c *checker) checkDoneLocked() {
	if c.unfinished > 0 {
		return
	}
	select {
	case <-c.done:
	default:
		close(c.done)
	}
}

// end notes that a member's connection ended before its time.
func (c *checker) end(member int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults.Ended++
	c.faults.tell("ended", "member %d: its connection ended: %v", member, err)
	s := c.streams[member]
	s.ended = true
	c.live--
	if c.totals != nil && !s.finished {
		c.unfinished--
		c.checkDoneLocked()
	}
}

// skip notes a gap of n events; 0 if the room does not say how many, which counts as one.
func (c *checker) skip(member int, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = max(n, 1)
	c.faults.Skipped += n
	c.faults.tell("skipped", "member %d was told of a gap of %d events", member, n)
}

// refuse notes that the room refused what a member asked for.
func (c *checker) refuse(member int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults.Refused++
	c.faults.tell("refused", "member %d: a request was refused: %v", member, err)
}

// close counts what is lost, and returns all faults. Nothing may come after it.
func (c *checker) close() faults {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		c.orderLocked(s)
		for sender, total := range c.totals {
			if sender == s.member && s.own == 0 {
				continue // no echo
			}
			spans := s.missing[sender]
			if s.next[sender] <= total {
				spans = append(spans, span{s.next[sender], total})
			}
			for _, sp := range spans {
				n := sp.last - sp.first + 1
				c.faults.Lost += n
				if n == 1 {
					c.faults.tell("lost", "member %d did not receive message %d of sender %d", s.member, sp.first, sender)
				} else {
					c.faults.tell("lost", "member %d did not receive messages %d to %d of sender %d", s.member, sp.first, sp.last, sender)
				}
			}
		}
	}
	f := c.faults
	for _, kind := range slices.Sorted(maps.Keys(f.more)) {
		if n := f.more[kind] - maxSame; n > 0 {
			f.What = append(f.What, fmt.Sprintf("and %d more like it (%s)", n, kind))
		}
	}
	return f
}
