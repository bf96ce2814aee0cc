package tcproom

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"
)

// A presence is what the memberships of one connection of a hub have in common. It
// lasts as long as its member of "*", over all connections of a session.
type presence struct {
	base *Member       // of "*"
	most atomic.Uint64 // the greatest number of a message that any room has taken

	naming sync.Mutex // held while a new name is ordered in its rooms; taken before all others

	mu   sync.Mutex // guards what follows; taken under rooms' locks
	link *link      // that it may enter rooms by; nil: it is detached, or has left
	list []*Member  // beside base, in the order in which they began
	here *Member    // that of which what names no room is; nil: none
}

// add puts m, which joins by l, into the list, unless the connection is not l any more.
func (p *presence) add(m *Member, l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != l {
		return false
	}
	p.list = append(p.list, m)
	return true
}

// replace is add of m in the place of old.
func (p *presence) replace(old, m *Member, l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != l {
		return false
	}
	if i := slices.Index(p.list, old); i >= 0 {
		p.list[i] = m
	} else {
		p.list = append(p.list, m)
	}
	if p.here == old {
		p.here = m
	}
	return true
}

// remove takes m, which has left, out of the list.
func (p *presence) remove(m *Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.list, m); i >= 0 {
		p.list = slices.Delete(p.list, i, i+1)
	}
	if p.here == m {
		p.here = nil
	}
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

// settle makes m the membership of which what names no room is.
func (p *presence) settle(m *Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.here = m
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

// disconnect says that it is not present over l any more, and returns the memberships
// of now.
func (p *presence) disconnect(l *link) []*Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == l {
		p.link = nil
	}
	return slices.Clone(p.list)
}

// isPart reports whether m is one of the memberships of a connection, and not the
// member of the connection itself.
func (m *Member) isPart() bool { return m.presence != nil && m.presence.base != m }

// Memberships returns the members that m's connection has at this moment: that of "*"
// first, and then those of its rooms, in the order in which it entered them. m is any of
// them.
func (h *Hub) Memberships(m *Member) iter.Seq[*Member] {
	list := []*Member{m}
	if p := m.presence; p != nil {
		list = append([]*Member{p.base}, p.all()...)
	}
	return slices.Values(list)
}
