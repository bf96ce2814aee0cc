package roomtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/tcproom"
)

// A Log is an engine in memory that keeps the logs of rooms, so that a test can have one
// room in several nodes, each of which would be a process of its own in a service.
// [Log.Attach] gives each node its [Backplane], with faults of its own. A Log is a
// [tcproom.Backplane] itself, for a test with one node.
//
// It keeps the contract of [tcproom.Log] exactly: a lease ends to the nanosecond, and the
// id of a record is known for [tcproom.Caps].Window and not longer. It has no goroutine
// of its own, and may be used in a bubble of testing/synctest, where it goes by the
// bubble's clock.
//
// Its other methods are faults of the engine. They concern all nodes, and one room by
// name; they do nothing if nobody has opened that. All methods may be called from many
// goroutines.
type Log struct {
	caps tcproom.Caps
	own  *Backplane

	mu       sync.Mutex // guards what follows, and all nodes, lists and leases; never held while waiting
	lists    map[string]*list
	leases   map[string]*lease
	nodes    map[*Backplane]struct{}
	watchers map[*watcher]struct{}
	stopped  bool
	lost     bool          // a node has been without the log, or the log without its records
	skewed   time.Duration // how far the engine's clock is ahead
}

var _ tcproom.Backplane = (*Log)(nil)

// minRecord is the lowest value of Caps.MaxRecord.
const minRecord = 64 << 10

// NewLog returns an engine without rooms. Each of caps may change what it can do, which
// is otherwise MaxRecord 1 MiB, Window 2 minutes, Lease 15 seconds, all records kept,
// Durable:
//
//	log := roomtest.NewLog(func(c *tcproom.Caps) { c.Records = 100 })
//
// A MaxRecord below 64 KiB is 64 KiB. A Window or Lease of zero or less has its default,
// and negative values of Age and Records are zero: no limit. If both have a limit, a
// record is dropped by the one that is reached first.
func NewLog(caps ...func(*tcproom.Caps)) *Log {
	usual := tcproom.Caps{MaxRecord: 1 << 20, Window: 2 * time.Minute, Lease: 15 * time.Second, Durable: true}
	c := usual
	for _, change := range caps {
		change(&c)
	}
	c.MaxRecord = max(c.MaxRecord, minRecord)
	if c.Window <= 0 {
		c.Window = usual.Window
	}
	if c.Lease <= 0 {
		c.Lease = usual.Lease
	}
	c.Age, c.Records = max(c.Age, 0), max(c.Records, 0)
	l := &Log{
		caps:     c,
		lists:    make(map[string]*list),
		leases:   make(map[string]*lease),
		nodes:    make(map[*Backplane]struct{}),
		watchers: make(map[*watcher]struct{}),
	}
	l.own = l.Attach()
	return l
}

// Attach returns the Backplane of another node. It does not block.
func (l *Log) Attach() *Backplane {
	b := &Backplane{log: l, logs: make(map[*nodeLog]struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[b] = struct{}{}
	return b
}

// Open implements [tcproom.Backplane].
func (l *Log) Open(ctx context.Context, room string) (tcproom.Log, error) {
	return l.own.Open(ctx, room)
}

// Nodes implements [tcproom.Backplane].
func (l *Log) Nodes() tcproom.Nodes { return l.own.Nodes() }

// Close implements [tcproom.Backplane]. It closes what Open has opened, and not what
// other nodes have.
func (l *Log) Close() error { return l.own.Close() }

// Trim drops the n oldest records of the room, or all if it has fewer.
func (l *Log) Trim(room string, n int) {
	l.change(room, func(s *list) { s.dropOldest(n) })
}

// Rollback drops the n newest records of the room, or all if it has fewer, as a disk does
// that has lost what was not synced. New records have the positions again, and the ids
// are not known any more. What was saved stays. All that tail the log lose their
// connection.
func (l *Log) Rollback(room string, n int) {
	l.change(room, func(s *list) { s.dropNewest(n) })
}

// Replace puts a list without records in the place of the room's: positions begin at 1
// again, and no id is known. What was saved stays, though it is of the other list. All
// that tail the log lose their connection.
func (l *Log) Replace(room string) {
	l.change(room, (*list).empty)
}

func (l *Log) change(room string, how func(*list)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
	if s := l.lists[room]; s != nil {
		how(s)
		s.changed.fire()
	}
}

// Stop stops the engine, until [Log.Start]: all nodes lose their connections, as if by
// [Backplane.Cut]. If the engine is not Durable, all that it had is lost: records, what
// was saved, and leases. The time of leases goes on. A second Stop does nothing.
func (l *Log) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped, l.lost = true, true
	for b := range l.nodes {
		b.loseLocked()
	}
	if l.caps.Durable {
		return
	}
	for _, s := range l.lists {
		s.empty()
		s.saved = nil
	}
	for node := range l.leases {
		l.endLeaseLocked(node)
	}
}

// Start starts an engine that was stopped. It does nothing if it runs.
func (l *Log) Start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = false
}

// skew sets how far the engine's clock is ahead of the time, or behind if d is negative.
func (l *Log) skew(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skewed = d
}

// records returns all records of the room that are kept.
func (l *Log) records(room string) []tcproom.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.lists[room]
	if s == nil {
		return nil
	}
	s.dropAged(time.Now())
	recs := make([]tcproom.Record, len(s.kept))
	for i, r := range s.kept {
		recs[i] = tcproom.Record{Pos: s.first + uint64(i), Time: r.time, Data: slices.Clone(r.data)}
	}
	return recs
}

// keepAll has the room's list keep all that is stored from now on, for all.
func (l *Log) keepAll(room string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.listLocked(room)
	s.all = [][]kept{slices.Clone(s.kept)}
}

// all returns what keepAll has the list keep, and the position of the last record.
func (l *Log) all(room string) (lives [][]kept, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.listLocked(room)
	for _, recs := range s.all {
		lives = append(lives, recs[:len(recs):len(recs)])
	}
	return lives, s.end() - 1
}

// wasLost reports whether a node has ever been without the log.
func (l *Log) wasLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// listLocked returns the list of the room, which it makes if there is none.
func (l *Log) listLocked(room string) *list {
	s := l.lists[room]
	if s == nil {
		s = &list{caps: &l.caps, first: 1, ids: make(map[string]uint64)}
		l.lists[room] = s
	}
	return s
}

// A list is the records of a room, and what was saved. The Log's lock guards it.
type list struct {
	caps  *tcproom.Caps
	first uint64 // position of kept[0]
	kept  []kept
	ids   map[string]uint64
	known []knownID // those of ids, in the order of their times
	saved []saved   // two at most, the one saved last behind
	// lives counts how often positions began to be used again: what has tailed the list
	// before must not go on.
	lives   int
	changed signal // a record was added, or some were dropped
	// all is, for each of these lives, every record that was stored from position 1 on,
	// also those that were dropped at the front. It is for [Cluster.Verify]; nil: nobody
	// asks.
	all [][]kept
}

// A kept record is in a list.
type kept struct {
	at   time.Time // when it was stored
	time time.Time // the same by the engine's clock
	data []byte
}

type knownID struct {
	id string
	at time.Time
}

type saved struct {
	at    uint64
	state []byte
}

// end is the position of the next record.
func (s *list) end() uint64 { return s.first + uint64(len(s.kept)) }

func (s *list) has(pos uint64) bool { return pos >= s.first && pos < s.end() }

// store adds a record, whose data the list keeps, unless its id is known, and returns its
// position.
func (s *list) store(id string, r kept) uint64 {
	for len(s.known) > 0 && r.at.Sub(s.known[0].at) > s.caps.Window {
		delete(s.ids, s.known[0].id)
		s.known = s.known[1:]
	}
	if pos, known := s.ids[id]; known {
		return pos
	}
	pos := s.end()
	s.ids[id] = pos
	s.known = append(s.known, knownID{id, r.at})
	s.kept = append(s.kept, r)
	if n := len(s.all); n > 0 {
		s.all[n-1] = append(s.all[n-1], r)
	}
	if most := s.caps.Records; most > 0 && len(s.kept) > most {
		s.dropOldest(len(s.kept) - most)
	}
	s.changed.fire()
	return pos
}

// dropAged drops what is older than Caps.Age.
func (s *list) dropAged(now time.Time) {
	if s.caps.Age == 0 {
		return
	}
	n := 0
	for n < len(s.kept) && now.Sub(s.kept[n].at) > s.caps.Age {
		n++
	}
	s.dropOldest(n)
}

func (s *list) dropOldest(n int) {
	n = min(max(n, 0), len(s.kept))
	clear(s.kept[:n])
	s.kept = s.kept[n:]
	s.first += uint64(n)
}

func (s *list) dropNewest(n int) {
	left := len(s.kept) - min(max(n, 0), len(s.kept))
	clear(s.kept[left:])
	s.kept = s.kept[:left]
	s.known = slices.DeleteFunc(s.known, func(k knownID) bool {
		lost := s.ids[k.id] >= s.end()
		if lost {
			delete(s.ids, k.id)
		}
		return lost
	})
	s.nextLife(left + int(s.first) - 1)
}

// empty makes it another list, but for what was saved.
func (s *list) empty() {
	s.first, s.kept, s.known = 1, nil, nil
	clear(s.ids)
	s.nextLife(0)
}

// nextLife says that positions behind the first n are used again.
func (s *list) nextLife(n int) {
	s.lives++
	if last := len(s.all) - 1; last >= 0 {
		s.all = append(s.all, slices.Clone(s.all[last][:n]))
	}
}

// save keeps the newest two. One of the same position as the last replaces that.
func (s *list) save(v saved) {
	switch n := len(s.saved); {
	case n > 0 && s.saved[n-1].at == v.at:
		s.saved[n-1] = v
	case n == 2:
		s.saved = []saved{s.saved[1], v}
	default:
		s.saved = append(s.saved, v)
	}
}

// A signal wakes what waits for a change. Its owner's lock guards it; its zero value is
// ready.
type signal struct{ ch chan struct{} }

// next returns a channel that is closed with the next fire.
func (s *signal) next() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
