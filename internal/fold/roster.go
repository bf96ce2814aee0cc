package fold

import (
	"cmp"
	"hash/maphash"
	"slices"
)

// A roster is the members of a room. A large room has one on each of its nodes, so it
// costs little: maps would need as much as the members themselves.
type roster struct {
	order   []*Member // by their joins
	waiting []*Member // the detached ones, by when their grace is over
	ids     table
	hashes  table
	names   table                // of those of a name the one that joined first
	others  map[string][]*Member // the rest of them, by their joins
}

func (r *roster) byID(id string) *Member {
	return r.ids.find(maphash.String(seed, id), func(m *Member) bool { return m.ID == id })
}

// known returns the ID that a member has, for its bytes.
func (r *roster) known(id []byte) (string, bool) {
	m := r.ids.find(maphash.Bytes(seed, id), func(m *Member) bool { return m.ID == string(id) })
	if m == nil {
		return "", false
	}
	return m.ID, true
}

func (r *roster) byHash(h Hash) *Member {
	if h == (Hash{}) {
		return nil
	}
	return r.hashes.find(maphash.Bytes(seed, h[:]), func(m *Member) bool { return m.Hash == h })
}

func (r *roster) named(name string) *Member {
	return r.names.find(maphash.String(seed, name), func(m *Member) bool { return m.Name == name })
}

// add adds m, which joined after all others and whose ID and hash no other has.
func (r *roster) add(m *Member) {
	r.order = append(r.order, m)
	r.ids.add(m, hashID)
	if m.Hash != (Hash{}) {
		r.hashes.add(m, hashHash)
	}
	r.addName(m)
	if !m.Detached.IsZero() {
		r.await(m)
	}
}

func (r *roster) remove(m *Member) {
	r.order = cut(r.order, m, byJoin)
	r.ids.remove(m, hashID)
	if m.Hash != (Hash{}) {
		r.hashes.remove(m, hashHash)
	}
	r.removeName(m)
	if !m.Detached.IsZero() {
		r.waiting = cut(r.waiting, m, byDue)
	}
}

func (r *roster) rename(m *Member, name string) {
	r.removeName(m)
	m.Name = name
	r.addName(m)
}

func (r *roster) addName(m *Member) {
	first := r.named(m.Name)
	if first == nil {
		r.names.add(m, hashName)
		return
	}
	if m.Joined < first.Joined { // it was renamed
		r.names.replace(first, m, hashName)
		m = first
	}
	if r.others == nil {
		r.others = make(map[string][]*Member)
	}
	list := r.others[m.Name]
	i, _ := slices.BinarySearchFunc(list, m, byJoin)
	r.others[m.Name] = slices.Insert(list, i, m)
}

func (r *roster) removeName(m *Member) {
	list := r.others[m.Name]
	switch first := r.named(m.Name); {
	case first != m:
		list = cut(list, m, byJoin)
	case len(list) == 0:
		r.names.remove(m, hashName)
		return
	default:
		r.names.replace(m, list[0], hashName)
		list = cut(list, list[0], byJoin)
	}
	if len(list) == 0 {
		delete(r.others, m.Name)
		return
	}
	r.others[m.Name] = list
}

// detach says that m, which is attached, has lost its link at that time.
func (r *roster) detach(m *Member, at int64) {
	m.Detached = clock(at)
	r.await(m)
}

// attach says that m has a link, at that home.
func (r *roster) attach(m *Member, home Node) {
	if !m.Detached.IsZero() {
		r.waiting = cut(r.waiting, m, byDue)
		m.Detached = clock(0)
	}
	m.Home = home
}

// await adds m to those whose grace runs.
func (r *roster) await(m *Member) {
	i, _ := slices.BinarySearchFunc(r.waiting, m, byDue)
	r.waiting = slices.Insert(r.waiting, i, m)
}

func (r *roster) clear() { *r = roster{} }

func byJoin(a, b *Member) int { return cmp.Compare(a.Joined, b.Joined) }

// cut takes m out of a list that is sorted by the given order. It moves what is before m
// or what is behind, whichever is less: often the members of a list leave from its front.
func cut(list []*Member, m *Member, order func(a, b *Member) int) []*Member {
	i, _ := slices.BinarySearchFunc(list, m, order)
	if i >= len(list)/2 {
		return slices.Delete(list, i, i+1)
	}
	copy(list[1:i+1], list[:i])
	list[0] = nil
	return list[1:]
}

// seed is of all tables: their order is never seen.
var seed = maphash.MakeSeed()

func hashID(m *Member) uint64   { return maphash.String(seed, m.ID) }
func hashName(m *Member) uint64 { return maphash.String(seed, m.Name) }
func hashHash(m *Member) uint64 { return maphash.Bytes(seed, m.Hash[:]) }

// A table finds members by one of their fields, which is in the members alone. It is a
// hash table with open addressing: a member stands at its place or behind it, without a
// free slot between. The zero table is empty.
type table struct {
	slots []*Member // their number is a power of two
	n     int
}

func (t *table) find(hash uint64, is func(*Member) bool) *Member {
	if t.n == 0 {
		return nil
	}
	for i := t.place(hash); t.slots[i] != nil; i = t.next(i) {
		if is(t.slots[i]) {
			return t.slots[i]
		}
	}
	return nil
}

func (t *table) place(hash uint64) int { return int(hash & uint64(len(t.slots)-1)) }

func (t *table) next(i int) int { return (i + 1) & (len(t.slots) - 1) }

// slot returns where m is, or the first free slot for it.
func (t *table) slot(m *Member, hash func(*Member) uint64) int {
	i := t.place(hash(m))
	for t.slots[i] != nil && t.slots[i] != m {
		i = t.next(i)
	}
	return i
}

// add adds m. No member that is there has the same field.
func (t *table) add(m *Member, hash func(*Member) uint64) {
	if 4*(t.n+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]*Member, max(8, 2*len(old)))
		for _, m := range old {
			if m != nil {
				t.slots[t.slot(m, hash)] = m
			}
		}
	}
	t.slots[t.slot(m, hash)] = m
	t.n++
}

// replace puts by into the place of m, whose field is the same.
func (t *table) replace(m, by *Member, hash func(*Member) uint64) { t.slots[t.slot(m, hash)] = by }

// remove takes m out, and moves those behind it that would not be found otherwise.
func (t *table) remove(m *Member, hash func(*Member) uint64) {
	free := t.slot(m, hash)
	t.n--
	for i := t.next(free); t.slots[i] != nil; i = t.next(i) {
		place := t.place(hash(t.slots[i]))
		if mask := len(t.slots) - 1; (i-place)&mask >= (i-free)&mask {
			t.slots[free] = t.slots[i]
			free = i
		}
	}
	t.slots[free] = nil
}
