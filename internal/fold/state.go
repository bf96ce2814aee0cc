package fold

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"
)

// MaxPosition is the greatest position that a record may have: those of its entries fit
// into 53 bits, as JavaScript needs.
const MaxPosition = 1<<41 - 1

// lifeBits is how far the life of a node stands to the left in a batch number.
const lifeBits = 48

// forgetAfter is how long a node is known after it has left or died, or longer if it is
// the home of a member. What comes from it later is Fenced all the same, but for an open.
// A room that is opened and left all the time must not grow by that.
const forgetAfter = time.Hour

// A State is what a room is after some records of its log. Its methods are not to be
// called at once. What they return belongs to the State, and only Apply changes it: a
// [*Member] stays the same one while it is in the room.
type State struct {
	pos   uint64 // of the last record
	node  Node   // that wrote it
	batch uint64 // its number
	now   int64  // the greatest time of a record
	epoch Epoch
	began uint64 // the position of its begin

	beat    uint64 // the position of the last beat
	beatSum uint64 // of the state before that

	opened  uint64  // how many nodes have
	nodes   []*node // in the order of their numbers
	byNode  map[Node]*node
	members roster
	mutes   []mute    // in the order in which they were said, one for an ID
	bans    []BanRule // in the order in which they were said, one for Name and Prefix
	former  []former  // in the order in which they left

	// What Apply works with.
	reader Reader
	entry  Entry
	result Result
	moved  []*Member
}

// A node is one that has opened.
type node struct {
	id    Node
	k     uint64
	state nodeState
	batch uint64 // the greatest number that it has used
	life  uint64 // that it has opened
	since int64  // when it left or died
}

type nodeState uint8

const (
	nodeOpen nodeState = iota
	nodeLeft
	nodeDead
)

type mute struct {
	id, name string
	until    int64
}

// A former is a member that has left and may come back, with the number that it had then:
// its connection may be in other rooms still.
type former struct {
	id     string
	number uint64
	left   int64
}

// How many former members are known, and for how long. What was sent again is there soon
// after its connection has come back.
const (
	maxFormer   = 1000
	formerAfter = time.Hour
)

// A BanRule says which joins, resumes, renames and guests are void: those with the name,
// those of the addresses or, if it has both, those with both.
type BanRule struct {
	Name   string
	Prefix netip.Prefix // invalid: any
	Until  time.Time    // zero: without end
	Reason string
}

// New returns the state of a room before the first record of its log.
func New() *State {
	s := &State{byNode: make(map[Node]*node)}
	s.reader.d.known = s.members.known
	return s
}

// Apply folds the record at pos, which the log stored at the time at, and calls fn, if it
// is not nil, after each entry, also one that changes nothing. fn may look at the State,
// which is then as the entry has left it. A time before that of an earlier record counts
// as that.
//
// It keeps nothing of rec. With an error, which wraps [ErrFormat], [ErrNewer] or
// [ErrPosition], the State is as before, and fn was not called.
func (s *State) Apply(pos uint64, at time.Time, rec []byte, fn func(*Result)) error {
	if err := s.check(pos, rec); err != nil {
		return err
	}
	r := &s.reader
	h, _ := r.Reset(rec)
	s.pos, s.node, s.batch = pos, h.Node, h.Batch
	s.now = max(s.now, nanos(at), 1) // 0 is no time
	w := s.writer(h)
	e, res := &s.entry, &s.result
	for i := 0; ; i++ {
		if ok, err := r.Next(e); !ok {
			*res, *e = Result{}, Entry{IDs: e.IDs[:0]}
			r.d.b = nil
			return err // which check would have found
		}
		*res = Result{Entry: e, Seq: pos*MaxEntries + uint64(i), Index: i, Header: h}
		res.Verdict = s.fold(&w, e, res)
		if i == 0 && res.Verdict != Fenced && res.Verdict != Stale {
			res.Missing = w.missing
		}
		if fn != nil {
			fn(res)
		}
	}
}

// check reads a record as a whole, so that Apply does not fail half-way.
func (s *State) check(pos uint64, rec []byte) error {
	switch {
	case pos <= s.pos:
		return fmt.Errorf("%w: %d is not behind %d, the last one: the log repeats itself, or is another one than it was", ErrPosition, pos, s.pos)
	case pos > MaxPosition:
		return fmt.Errorf("%w: %d is above %d, where a room ends: begin a new log", ErrPosition, pos, uint64(MaxPosition))
	}
	r := &s.reader
	r.d.check = true
	defer func() { r.d.check, r.d.b, s.entry.Body = false, nil, nil }()
	if _, err := r.Reset(rec); err != nil {
		return err
	}
	for {
		if ok, err := r.Next(&s.entry); !ok {
			return err
		}
	}
}

// A writer is the node of a record.
type writer struct {
	Header
	node    *node // nil: it has never opened
	stale   bool  // the number of the record is not above the node's last
	missing uint64
}

func (h *Header) life() uint64 { return h.Batch >> lifeBits }

func (s *State) writer(h Header) writer {
	w := writer{Header: h, node: s.byNode[h.Node]}
	before := h.life() << lifeBits
	if n := w.node; n != nil {
		before = max(before, n.batch)
		w.stale = h.Batch <= n.batch
		if !w.stale && n.state != nodeDead && h.life() == n.life {
			n.batch = h.Batch
		}
	}
	if h.Batch > before {
		w.missing = h.Batch - before - 1
	}
	return w
}

// fenced reports whether an entry of w is void because of what w is. Only what it opens
// is not, and then only if it has not died.
func (w *writer) fenced(kind Kind) bool {
	switch n := w.node; {
	case n == nil:
		return kind != Open
	case n.state == nodeDead:
		return true
	case kind == Open:
		return false
	default:
		return n.state != nodeOpen || w.life() > n.life
	}
}

// fold changes s by e, and returns the verdict. The first rule that matches counts.
func (s *State) fold(w *writer, e *Entry, res *Result) Verdict {
	switch {
	case w.fenced(e.Kind):
		return Fenced
	case w.stale:
		return Stale
	case e.Kind == Open:
		return s.open(w)
	case e.Kind == Begin:
		return s.begin(e, res)
	case w.Epoch != s.epoch, s.epoch == (Epoch{}) && ofStream(e.Kind):
		return Elsewhen
	}
	switch e.Kind {
	case Message:
		return s.message(w, e, res)
	case Join:
		return s.join(w, e, res)
	case NodeLeft:
		s.endNode(w.node, nodeLeft, res)
		return Placed
	case NodeDown:
		n := s.byNode[e.Node]
		if n == nil || n.state != nodeOpen {
			return Needless
		}
		s.endNode(n, nodeDead, res)
		return Placed
	case Reclaim:
		return s.reclaim(w, e, res)
	case Ban:
		return s.ban(e)
	case Beat:
		sum := s.Sum()
		res.Differs = e.Number != 0 && e.Number == s.beat && e.Sum != s.beatSum
		s.beat, s.beatSum = res.Seq, sum
		return Placed
	case End:
		return s.end(w, e)
	case Leave, Detach, Resume, Direct, Kick, Rename, Mute:
		m := s.Member(e.ID)
		if m == nil {
			return NotMember
		}
		res.Member = m
		return s.about(m, w, e, res)
	}
	return Unknown
}

// ofStream reports whether an entry is of a stream, so that it is void if there is none.
func ofStream(k Kind) bool { return k <= Ban && k > 0 || k == Reclaim || k == End }

// about folds an entry that is about a member.
func (s *State) about(m *Member, w *writer, e *Entry, res *Result) Verdict {
	switch e.Kind {
	case Leave:
		if !w.speaksFor(m, e) && (m.Detached.IsZero() || dueOf(m) > s.now) {
			return NotMember
		}
		s.remove(m)
	case Kick:
		s.remove(m)
	case Detach:
		switch {
		case !w.speaksFor(m, e):
			return NotMember
		case m.overtakes(e):
			return Overtaken
		case !m.Detached.IsZero():
			return Needless
		}
		s.members.detach(m, s.now)
	case Resume:
		switch {
		case m.Hash == (Hash{}) || m.Hash != e.Hash:
			res.Member = nil
			return NotMember
		case s.isBanned(m.Name, e.Addr, s.now):
			return Banned
		case m.overtakes(e):
			return Overtaken
		}
		res.Old = m.Home
		s.members.attach(m, w.Node)
		m.Resumed = res.Seq
		m.Addr = e.Addr
	case Direct:
		if e.From != "" {
			if from := s.Member(e.From); from == nil || !w.speaksFor(from, e) {
				return NotMember
			}
		}
		if !m.Detached.IsZero() {
			return Away
		}
	case Rename:
		return s.rename(m, e, res)
	case Mute:
		return s.mute(m, e)
	}
	return Placed
}

func (s *State) remove(m *Member) {
	s.members.remove(m)
	s.keepNumber(m)
}

// keepNumber has the number of m known when that comes back. A member without a token has
// a connection that cannot be resumed: that knows its numbers itself.
func (s *State) keepNumber(m *Member) {
	if m.Number == 0 || m.Hash == (Hash{}) {
		return
	}
	s.former = append(s.former, former{m.ID, m.Number, s.now})
	old := max(0, len(s.former)-maxFormer)
	for s.former[old].left <= s.now-int64(formerAfter) {
		old++
	}
	s.former = s.former[old:]
}

// takeNumber returns the number that a former member had, 0 if it is not known, and
// forgets it.
func (s *State) takeNumber(id string) uint64 {
	i := slices.IndexFunc(s.former, func(f former) bool { return f.id == id })
	if i < 0 {
		return 0
	}
	f := s.former[i]
	s.former = slices.Delete(s.former, i, i+1)
	if f.left <= s.now-int64(formerAfter) {
		return 0
	}
	return f.number
}

// overtakes reports whether m has resumed behind what the writer of e knew.
func (m *Member) overtakes(e *Entry) bool { return e.Number != 0 && m.Resumed > e.Number }

// speaksFor reports whether w may say something in m's name.
func (w *writer) speaksFor(m *Member, e *Entry) bool { return e.Service || m.Home == w.Node }

func (s *State) message(w *writer, e *Entry, res *Result) Verdict {
	if e.From == "" && !e.Guest { // the room
		return Placed
	}
	m := s.Member(e.From)
	if e.Guest {
		switch bearer := s.Named(e.Name); {
		case m != nil && m.Name != e.Name, e.Unique && bearer != nil && bearer != m:
			return NameTaken
		case s.isMuted(e.From, e.Name, s.now):
			return Muted
		case s.isBanned(e.Name, netip.Addr{}, s.now):
			return Banned
		}
		return Placed
	}
	if m == nil {
		return NotMember
	}
	res.Member = m
	switch {
	case !w.speaksFor(m, e):
		return NotMember
	case e.Number != 0 && e.Number <= m.Number:
		return Duplicate
	case s.isMuted(m.ID, m.Name, s.now):
		return Muted
	}
	m.Number = max(m.Number, e.Number)
	return Placed
}

func (s *State) join(w *writer, e *Entry, res *Result) Verdict {
	there := s.Member(e.ID)
	switch {
	case there != nil:
		res.Member = there
		return Needless
	case e.ID == "", s.ByHash(e.Hash) != nil: // no room asks for that
		return Needless
	case e.MaxMembers > 0 && s.Len() >= e.MaxMembers:
		return Full
	case e.Unique && s.Named(e.Name) != nil:
		return NameTaken
	case s.isBanned(e.Name, e.Addr, s.now):
		return Banned
	}
	res.Member = &Member{ID: e.ID, Name: e.Name, Hash: e.Hash, Home: w.Node, Addr: e.Addr, Grace: e.Grace, Number: max(e.Number, s.takeNumber(e.ID)), Joined: res.Seq}
	s.members.add(res.Member)
	return Placed
}

func (s *State) rename(m *Member, e *Entry, res *Result) Verdict {
	switch {
	case m.Name == e.Name:
		return Needless
	case s.isBanned(e.Name, m.Addr, s.now):
		return Banned
	case e.Unique && s.Named(e.Name) != nil:
		return NameTaken
	}
	res.OldName = m.Name
	s.members.rename(m, e.Name)
	return Placed
}

// mute is of a member, and of whoever comes back with its name.
func (s *State) mute(m *Member, e *Entry) Verdict {
	until := nanos(e.Until)
	over := until == 0 || until <= s.now
	if over && !slices.ContainsFunc(s.mutes, func(mu mute) bool {
		return (mu.id == m.ID || mu.name == m.Name) && s.now < mu.until
	}) {
		return Needless
	}
	s.mutes = slices.DeleteFunc(s.mutes, func(mu mute) bool {
		return mu.id == m.ID || mu.name == m.Name || mu.until <= s.now
	})
	if !over {
		s.mutes = append(s.mutes, mute{m.ID, m.Name, until})
	}
	return Placed
}

func (s *State) ban(e *Entry) Verdict {
	b := BanRule{Name: e.Name, Prefix: plainPrefix(e.Prefix), Until: e.Until, Reason: e.Text}
	lift := e.Lift || b.over(s.now)
	isSame := func(o BanRule) bool { return o.Name == b.Name && o.Prefix == b.Prefix }
	switch {
	case b.Name == "" && !b.Prefix.IsValid(): // about nobody
		return Needless
	case lift && !slices.ContainsFunc(s.bans, func(o BanRule) bool { return isSame(o) && !o.over(s.now) }):
		return Needless
	}
	s.bans = slices.DeleteFunc(s.bans, func(o BanRule) bool { return isSame(o) || o.over(s.now) })
	if !lift {
		s.bans = append(s.bans, b)
	}
	return Placed
}

func (b *BanRule) over(now int64) bool { return !b.Until.IsZero() && nanos(b.Until) <= now }

// plainPrefix returns p as addresses are compared with it.
func plainPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

func (s *State) open(w *writer) Verdict {
	n := w.node
	switch {
	case n == nil:
		s.forget()
		s.opened++
		n = &node{id: w.Node, k: s.opened}
		s.nodes = append(s.nodes, n)
		s.byNode[n.id] = n
		w.node = n
	case n.state == nodeOpen && n.life == w.life():
		return Needless
	}
	n.state, n.batch, n.life, n.since = nodeOpen, w.Batch, w.life(), 0
	return Placed
}

// forget drops the nodes that ended long ago.
func (s *State) forget() {
	old := func(n *node) bool { return n.state != nodeOpen && s.now-n.since >= int64(forgetAfter) }
	if !slices.ContainsFunc(s.nodes, old) {
		return
	}
	homes := make(map[Node]bool)
	for _, m := range s.members.order {
		homes[m.Home] = true
	}
	s.nodes = slices.DeleteFunc(s.nodes, func(n *node) bool {
		gone := old(n) && !homes[n.id]
		if gone {
			delete(s.byNode, n.id)
		}
		return gone
	})
}

func (s *State) begin(e *Entry, res *Result) Verdict {
	switch {
	case Epoch(e.Replaces) != s.epoch:
		res.Differs = s.began != 0 && s.began <= e.Number
		return Needless
	case e.Epoch == s.epoch, e.Epoch == (Epoch{}):
		return Needless
	}
	s.epoch, s.began = e.Epoch, res.Seq
	s.members.clear()
	return Placed
}

// end ends the stream. The node that says so may still be open, for what it writes
// behind its node-left is void.
func (s *State) end(w *writer, e *Entry) Verdict {
	if !e.Force {
		if s.Len() > 0 {
			return Needless
		}
		for id := range s.Alive() {
			if id != w.Node {
				return Needless
			}
		}
	}
	s.epoch, s.began = Epoch{}, 0
	for m := range s.Members() {
		s.keepNumber(m)
	}
	s.members.clear()
	s.mutes = nil
	return Placed
}

// endNode says that a node is no longer open, and detaches its members.
func (s *State) endNode(n *node, as nodeState, res *Result) {
	n.state, n.since = as, s.now
	s.moved = s.moved[:0]
	for _, m := range s.members.order {
		if m.Home == n.id && m.Detached.IsZero() {
			s.members.detach(m, s.now)
			s.moved = append(s.moved, m)
		}
	}
	res.Members = s.moved
}

// reclaim brings members home whose links a node has kept although their home has ended:
// it was declared dead, and goes on under another name.
func (s *State) reclaim(w *writer, e *Entry, res *Result) Verdict {
	res.Old = e.Replaces
	if Node(e.Replaces) != w.Node && s.IsOpen(e.Replaces) {
		return Needless
	}
	s.moved = s.moved[:0]
	for _, id := range e.IDs {
		if m := s.Member(id); m != nil && m.Home == e.Replaces && !m.Detached.IsZero() {
			s.members.attach(m, w.Node)
			s.moved = append(s.moved, m)
		}
	}
	if len(s.moved) == 0 {
		return Needless
	}
	res.Members = s.moved
	return Placed
}

// Pos returns the position of the last record that was applied; 0: none was.
func (s *State) Pos() uint64 { return s.pos }

// LastID returns which node wrote the last record that was applied, and its number.
func (s *State) LastID() (Node, uint64) { return s.node, s.batch }

// Time returns the greatest time of the records that were applied, zero before the first.
func (s *State) Time() time.Time { return clock(s.now) }

// Epoch returns the one in force; zero: there is none.
func (s *State) Epoch() Epoch { return s.epoch }

// Member returns the member with that ID, nil if there is none.
func (s *State) Member(id string) *Member { return s.members.byID(id) }

// ByHash returns the member whose token has that hash, nil if there is none. Nobody has
// the zero hash.
func (s *State) ByHash(h Hash) *Member { return s.members.byHash(h) }

// Named returns the member with that name, of several the one that joined first; nil if
// there is none.
func (s *State) Named(name string) *Member { return s.members.named(name) }

// Members returns the members in the order of their joins.
func (s *State) Members() iter.Seq[*Member] { return slices.Values(s.members.order) }

// Behind returns the members that joined behind m, all if m is nil, in that order.
func (s *State) Behind(m *Member) iter.Seq[*Member] {
	list := s.members.order
	if m != nil {
		i, _ := slices.BinarySearchFunc(list, m, byJoin)
		list = list[i+1:]
	}
	return slices.Values(list)
}

// Len returns how many members there are.
func (s *State) Len() int { return len(s.members.order) }

// NodeNumber returns the number of a node: the first that has opened has 1, the next one
// 2. It is 0 if the node is not known: it has not opened, or ended an hour ago or earlier.
func (s *State) NodeNumber(id Node) uint64 {
	if n := s.byNode[id]; n != nil {
		return n.k
	}
	return 0
}

// IsOpen reports whether the node has opened and neither left nor died since.
func (s *State) IsOpen(id Node) bool {
	n := s.byNode[id]
	return n != nil && n.state == nodeOpen
}

// Life returns the life that the node has opened last; 0 if it is not known.
func (s *State) Life(id Node) uint64 {
	if n := s.byNode[id]; n != nil {
		return n.life
	}
	return 0
}

// Alive returns the nodes that are open, in the order of their numbers.
func (s *State) Alive() iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for _, n := range s.nodes {
			if n.state == nodeOpen && !yield(n.id) {
				return
			}
		}
	}
}

// Lowest returns the open node of the lowest number, false if no node is open.
func (s *State) Lowest() (id Node, ok bool) {
	for id := range s.Alive() {
		return id, true
	}
	return Node{}, false
}

// Due returns the detached members whose grace is over at now, first the one for which it
// was over first.
func (s *State) Due(now time.Time) []*Member {
	ns := nanos(now)
	n, _ := slices.BinarySearchFunc(s.members.waiting, ns, func(m *Member, ns int64) int {
		if dueOf(m) <= ns {
			return -1
		}
		return 1
	})
	return slices.Clone(s.members.waiting[:n])
}

// NextDue returns when the grace of a detached member is over next, zero if nobody is
// detached.
func (s *State) NextDue() time.Time {
	if len(s.members.waiting) == 0 {
		return time.Time{}
	}
	return clock(dueOf(s.members.waiting[0]))
}

// Muted reports whether messages of somebody with that ID or name are void at now.
func (s *State) Muted(id, name string, now time.Time) bool { return s.isMuted(id, name, nanos(now)) }

func (s *State) isMuted(id, name string, now int64) bool {
	for i := range s.mutes {
		if mu := &s.mutes[i]; (mu.id == id || mu.name == name) && now < mu.until {
			return true
		}
	}
	return false
}

// Banned returns the ban that keeps somebody of that name and address out at now, nil if
// there is none. No ban by name is of an empty name, and none of addresses is of an
// invalid one.
func (s *State) Banned(name string, addr netip.Addr, now time.Time) *BanRule {
	return s.banned(name, addr, nanos(now))
}

func (s *State) isBanned(name string, addr netip.Addr, now int64) bool {
	return len(s.bans) > 0 && s.banned(name, addr, now) != nil
}

func (s *State) banned(name string, addr netip.Addr, now int64) *BanRule {
	addr = addr.Unmap().WithZone("")
	for i := range s.bans {
		b := &s.bans[i]
		if !b.over(now) && (b.Name == "" || b.Name == name) && (!b.Prefix.IsValid() || b.Prefix.Contains(addr)) {
			return b
		}
	}
	return nil
}

// Bans returns the bans of that moment, oldest first.
func (s *State) Bans(now time.Time) []BanRule {
	return slices.DeleteFunc(slices.Clone(s.bans), func(b BanRule) bool { return b.over(nanos(now)) })
}

// LastBeat returns the position of the last beat, 0 if there was none, and the sum of the
// state before it. The next beat is to carry both.
func (s *State) LastBeat() (seq, sum uint64) { return s.beat, s.beatSum }

// dueOf returns when the grace of a detached member is over.
func dueOf(m *Member) int64 {
	at := nanos(m.Detached)
	if at > math.MaxInt64-int64(m.Grace) {
		return math.MaxInt64
	}
	return at + int64(m.Grace)
}

func byDue(a, b *Member) int {
	return cmp.Or(cmp.Compare(dueOf(a), dueOf(b)), cmp.Compare(a.Joined, b.Joined))
}
