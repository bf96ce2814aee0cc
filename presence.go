package tcproom

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"example.com/tcproom/internal/lockorder"
)

// A presence is what the memberships of one connection of a hub have in common. It
// lasts as long as its member of "*", over all connections of a session.
type presence struct {
	base *Member       // of "*"
	most atomic.Uint64 // the greatest number of a message that any room has taken

	leaves sync.WaitGroup // calls of OnLeave, and claims, for which OnDisconnect waits

	naming lockorder.Mutex // held while a new name is ordered in its rooms; taken before all others
	far    *farPresence    // in a hub with logs; else nil

	mu     lockorder.Mutex // guards what follows; taken under rooms' locks
	link   *link           // that it may enter rooms by; nil: it is detached, or has left
	list   []*Member       // beside base, in the order in which they began
	claims []string        // rooms that it is about to enter
	here   *Member         // that of which what names no room is; nil: none
	over   []*stream       // not their members' any more; their links, which end, have still to see them out
	owed   []*stream       // of those that have left with the connection: whoever sees that out calls OnLeave
}

// The ranks of locks, see [lockorder]. All others are taken last.
const (
	rankNaming   lockorder.Rank = 1
	rankTotals   lockorder.Rank = 1 // never held together with that
	rankHub      lockorder.Rank = 2
	rankRooms    lockorder.Rank = 3 // and the number of the room
	rankPresence lockorder.Rank = math.MaxUint64 - 1
)

func newPresence(base *Member) *presence {
	p := &presence{base: base}
	if base.room.replica != nil {
		p.far = &farPresence{names: make(chan struct{}, 1), moves: make(chan struct{}, 1)}
	}
	p.naming.SetRank(rankNaming)
	p.mu.SetRank(rankPresence)
	return p
}

// errEntering is why a room cannot be entered twice at once.
var errEntering = fmt.Errorf("%w: this connection is about to enter that room", errRetry)

// claim says that its connection, by l, is about to enter a room, until unclaim, or returns
// the membership if it is in it already. Two calls of the program's, or one of these and
// a request, may come together. It may be in no more rooms than most, if that is above
// zero, and in no other one if it is to be the only one.
func (p *presence) claim(l *link, room string, most int, only bool) (m *Member, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != l {
		return nil, cmpErr(l.Err(), ErrDetached)
	}
	for _, m := range p.list {
		if m.room.name == room {
			return m, nil
		}
	}
	n := len(p.list) + len(p.claims)
	switch {
	case slices.Contains(p.claims, room):
		return nil, errEntering
	case only && n > 0:
		return nil, errNamesNone
	case most > 0 && n >= most:
		return nil, fmt.Errorf("%w: this connection is in %d", ErrTooManyRooms, most)
	}
	p.claims = append(p.claims, room)
	p.leaves.Add(1) // OnJoin may let it in, and then its join fail
	return nil, nil
}

// took notes that a message of that number was ordered, or is not to be.
func (p *presence) took(number uint64) {
	for most := p.most.Load(); number > most && !p.most.CompareAndSwap(most, number); most = p.most.Load() {
	}
}

func (p *presence) unclaim(room string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.claims, room); i >= 0 {
		p.claims = slices.Delete(p.claims, i, i+1)
	}
	if p.far != nil && p.far.freed != nil {
		close(p.far.freed)
		p.far.freed = nil
	}
	p.leaves.Done()
}

// add puts m, which joins by l, into the list, unless the connection is not l any more.
func (p *presence) add(m *Member, l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != l {
		return false
	}
	p.list = append(p.list, m)
	p.settleLocked(m, l)
	return true
}

// replace is add of m in the place of old, which is in the list.
func (p *presence) replace(old, m *Member, l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.list, old)
	if p.link != l || i < 0 {
		return false
	}
	p.list[i] = m
	p.settleLocked(m, l)
	return true
}

// settleLocked makes m the membership of which what names no room is, if l is for one
// room at a time.
func (p *presence) settleLocked(m *Member, l *link) {
	if !l.labelled {
		p.here = m
	}
}

// remove takes m, which has left, out of the list.
func (p *presence) remove(m *Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(m)
}

func (p *presence) removeLocked(m *Member) {
	if i := slices.Index(p.list, m); i >= 0 {
		p.list = slices.Delete(p.list, i, i+1)
	}
	if p.here == m {
		p.here = nil
	}
}

// removeWith is remove if the link of s, which is m's, has ended or is about to. It
// reports whether the link sees s out.
func (p *presence) removeWith(m *Member, s *stream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(m)
	return p.abandonLocked(s)
}

// abandon leaves s, in whose place another stream of its member comes, to its link, which
// ends.
func (p *presence) abandon(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.abandonLocked(s)
}

func (p *presence) abandonLocked(s *stream) bool {
	if !s.link.parted {
		p.over = append(p.over, s)
		return true
	}
	return s.parted
}

// in returns the membership in the room of that name, nil if there is none.
func (p *presence) in(room string) *Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.list {
		if m.room.name == room {
			return m
		}
	}
	return nil
}

// current returns the membership of which what names no room is; nil if there is none.
func (p *presence) current() *Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.here
}

// len returns in how many rooms it is.
func (p *presence) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.list)
}

// all returns the memberships of now, without that in "*".
func (p *presence) all() []*Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list)
}

// connect says over which link it is present from now on; nil: none.
func (p *presence) connect(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link = l
}

// isBy reports whether it is present over l. One that another process has taken over is
// not, also before l has been told.
func (p *presence) isBy(l *link) bool {
	if l.ended() == ErrTakenOver {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link == l
}

// disconnect says that it is not present over l any more, and returns the streams that l
// has to see out.
func (p *presence) disconnect(l *link) (parts []*stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == l {
		p.link = nil
	}
	l.parted = true
	add := func(s *stream) bool {
		if s.link == l && !s.parted {
			s.parted = true
			parts = append(parts, s)
		}
		return s.link == l
	}
	for _, m := range p.list {
		add(m.at.Load())
	}
	p.over = slices.DeleteFunc(p.over, add)
	return parts
}

// owe notes that s has left with the connection.
func (p *presence) owe(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed = append(p.owed, s)
}

// takeOwed returns what was owed since the last call.
func (p *presence) takeOwed() (left []*stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left, p.owed = p.owed, nil
	return left
}

// isPart reports whether m is one of the memberships of a connection, and not the
// member of the connection itself.
func (m *Member) isPart() bool {
	p := m.presenceNow()
	return p != nil && p.base != m
}

// presenceNow returns what m's memberships have in common; nil if m is not of a hub, or
// connected to another process.
func (m *Member) presenceNow() *presence {
	if m.Remote() {
		return nil
	}
	return m.presence
}

// voice returns the stream that takes what is for m alone: m's own or, if m is that of a
// connection which is in one room at a time, the room's, so that both are in one order.
func (m *Member) voice() *stream {
	s := m.at.Load()
	p := m.presenceNow()
	if p == nil || m.isPart() || s.link.labelled {
		return s
	}
	if here := p.current(); here != nil {
		if t := here.at.Load(); t.link == s.link {
			return t
		}
	}
	return s
}

// Memberships returns the members that m's connection has at this moment: that of "*"
// first, and then those of its rooms, in the order in which it entered them. m is any of
// them; if it has left, its connection may be in others. It does not block.
func (h *Hub) Memberships(m *Member) iter.Seq[*Member] {
	list := []*Member{m}
	if p := m.presenceNow(); p != nil {
		list = append([]*Member{p.base}, p.all()...)
	}
	return slices.Values(list)
}
