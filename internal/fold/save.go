package fold

import (
	"encoding/binary"
	"hash/crc64"
	"math"
	"slices"
	"time"
)

// saved is how a checkpoint begins, and savedVersion which form it has.
const (
	saved        = 0xB2
	savedVersion = 1
)

// The bits of the first byte of a member in a checkpoint.
const (
	hasHash = 1 << iota
	isDetached
)

var crcTable = crc64.MakeTable(crc64.ECMA)

// Sum returns a sum of the state: equal states have equal sums. It costs as much as Save.
func (s *State) Sum() uint64 { return crc64.Checksum(s.Save(), crcTable) }

// Save returns a checkpoint of the state, for [Load]. Equal states make equal bytes.
func (s *State) Save() []byte {
	b := make([]byte, 0, 128+64*len(s.nodes)+112*len(s.members.order))
	b = append(b, saved, savedVersion)
	b = binary.AppendUvarint(b, s.pos)
	b = append(b, s.node[:]...)
	b = binary.BigEndian.AppendUint64(b, s.batch)
	b = appendTime(b, s.now)
	b = append(b, s.epoch[:]...)
	b = binary.AppendUvarint(b, s.began)
	b = binary.AppendUvarint(b, s.beat)
	b = binary.BigEndian.AppendUint64(b, s.beatSum)

	b = binary.AppendUvarint(b, s.opened)
	b = binary.AppendUvarint(b, uint64(len(s.nodes)))
	index := make(map[Node]int, len(s.nodes)) // a home is named once, not for each member
	for i, n := range s.nodes {
		index[n.id] = i
		b = append(b, n.id[:]...)
		b = binary.AppendUvarint(b, n.k)
		b = append(b, byte(n.state))
		b = binary.BigEndian.AppendUint64(b, n.batch)
		b = binary.AppendUvarint(b, n.life)
		b = appendTime(b, n.since)
	}

	b = binary.AppendUvarint(b, uint64(len(s.members.order)))
	joined := uint64(0)
	for _, m := range s.members.order {
		var bits byte
		if m.Hash != (Hash{}) {
			bits |= hasHash
		}
		if !m.Detached.IsZero() {
			bits |= isDetached
		}
		b = append(b, bits)
		b = appendString(b, m.ID)
		b = appendString(b, m.Name)
		b = binary.AppendUvarint(b, uint64(index[m.Home]))
		b = binary.AppendUvarint(b, m.Joined-joined)
		joined = m.Joined
		b = binary.AppendUvarint(b, m.Number)
		b = binary.AppendUvarint(b, m.Resumed)
		b = binary.AppendUvarint(b, uint64(m.Grace))
		b = appendAddr(b, m.Addr)
		if bits&hasHash != 0 {
			b = append(b, m.Hash[:]...)
		}
		if bits&isDetached != 0 {
			b = appendTime(b, nanos(m.Detached))
		}
	}

	b = binary.AppendUvarint(b, uint64(len(s.mutes)))
	for _, mu := range s.mutes {
		b = appendString(b, mu.id)
		b = appendString(b, mu.name)
		b = appendTime(b, mu.until)
	}
	b = binary.AppendUvarint(b, uint64(len(s.bans)))
	for i := range s.bans {
		ban := &s.bans[i]
		b = appendString(b, ban.Name)
		b = appendPrefix(b, ban.Prefix)
		b = appendTime(b, nanos(ban.Until))
		b = appendString(b, ban.Reason)
	}
	b = binary.AppendUvarint(b, uint64(len(s.former)))
	for _, f := range s.former {
		b = appendString(b, f.id)
		b = binary.AppendUvarint(b, f.number)
		b = appendTime(b, f.left)
	}
	return b
}

// Load returns the state of a checkpoint, of which it keeps nothing. Errors are
// [*FormatError].
func Load(checkpoint []byte) (*State, error) {
	d := &decoder{of: "checkpoint", b: checkpoint}
	s := New()
	if b := d.byte("the format"); d.fault == nil && b != saved {
		d.at = 0
		d.fail("it begins with %#x, a checkpoint begins with %#x", b, saved)
	}
	if b := d.byte("the version"); d.fault == nil && b != savedVersion {
		d.at--
		d.failNewer("version %d, this one knows %d", b, savedVersion)
	}
	s.pos = d.uvarint(MaxPosition, "the position")
	s.node = d.id16("the node")
	s.batch = d.u64("the batch number")
	s.now = d.time("the time", 0)
	s.epoch = d.id16("the epoch")
	s.began = d.uvarint(s.pos*MaxEntries+MaxEntries-1, "the position of its begin")
	d.refuse((s.began == 0) != (s.epoch == Epoch{}), "the begin of the epoch is at %d", s.began)
	s.beat = d.uvarint(math.MaxUint64, "the position of the beat")
	s.beatSum = d.u64("the sum of the beat")
	s.loadNodes(d)
	s.loadMembers(d)
	s.loadMutes(d)
	s.loadBans(d)
	s.loadFormer(d)
	if d.fault == nil && d.left() > 0 {
		d.fail("%d bytes behind the end", d.left())
	}
	if d.fault != nil {
		return nil, d.fault
	}
	return s, nil
}

// time is a time that is not before the given one.
func (d *decoder) time(what string, least int64) int64 {
	ns := int64(d.u64(what))
	if d.fault == nil && ns < least {
		d.at -= 8
		d.fail("%s is %d, before %d", what, ns, least)
	}
	return ns
}

// refuse is fail with a reason that is about what was read before.
func (d *decoder) refuse(is bool, format string, args ...any) {
	if is {
		d.fail(format, args...)
	}
}

// count reads how many things follow, each of which has a size of least bytes or more.
func (d *decoder) count(least int, what string) uint64 {
	return d.uvarint(uint64(max(0, d.left())/least), what)
}

func (s *State) loadNodes(d *decoder) {
	s.opened = d.uvarint(math.MaxUint64, "the number of nodes that have opened")
	k := uint64(0)
	for range d.count(35, "the number of nodes") {
		n := &node{id: d.id16("the node")}
		n.k = d.uvarint(s.opened, "the node's number")
		d.refuse(n.k <= k, "the node's number is %d, behind %d", n.k, k)
		k = n.k
		n.state = nodeState(d.byte("the node's state"))
		d.refuse(n.state > nodeDead, "the node's state is %d", n.state)
		n.batch = d.u64("the node's batch number")
		n.life = d.uvarint(n.batch>>lifeBits, "the node's life")
		n.since = d.time("the node's end", 0)
		d.refuse(s.byNode[n.id] != nil, "a node that was there before")
		if d.fault != nil {
			return
		}
		s.nodes = append(s.nodes, n)
		s.byNode[n.id] = n
	}
}

func (s *State) loadMembers(d *decoder) {
	limit := s.pos*MaxEntries + MaxEntries - 1
	joined := uint64(0)
	n := d.count(7, "the number of members")
	d.refuse(n > 0 && len(s.nodes) == 0, "members, but no nodes")
	if d.fault != nil {
		return
	}
	s.members.order = make([]*Member, 0, n)
	for range n {
		m := &Member{}
		b := d.flags(hasHash | isDetached)
		m.ID, m.Name = d.idAndName()
		home := d.uvarint(uint64(len(s.nodes)-1), "the member's home")
		m.Joined = joined + d.uvarint(limit-joined, "the member's join")
		d.refuse(m.Joined == joined, "a join at the position of the one before")
		joined = m.Joined
		m.Number = d.uvarint(math.MaxUint64, "the member's number")
		m.Resumed = d.uvarint(limit, "the member's resume")
		d.refuse(m.Resumed != 0 && m.Resumed <= m.Joined, "a resume at %d, before the join at %d", m.Resumed, m.Joined)
		m.Grace = time.Duration(d.uvarint(math.MaxInt64, "the grace"))
		m.Addr = d.addr()
		if b&hasHash != 0 {
			m.Hash = d.joinHash()
		}
		if b&isDetached != 0 {
			m.Detached = clock(d.time("when the member was detached", 1))
		}
		if d.fault != nil {
			return
		}
		m.Home = s.nodes[home].id
		d.refuse(m.ID == "" || s.Member(m.ID) != nil, "two members with the ID %q, or one without", m.ID)
		d.refuse(s.ByHash(m.Hash) != nil, "two members with one hash")
		d.refuse(b&isDetached == 0 && !s.IsOpen(m.Home), "a member with a link, whose home is not open")
		if d.fault != nil {
			return
		}
		s.members.add(m)
	}
}

func (s *State) loadMutes(d *decoder) {
	for range d.count(10, "the number of mutes") {
		mu := mute{id: d.string("the ID"), name: d.string("the name"), until: d.time("the end", 1)}
		d.refuse(slices.ContainsFunc(s.mutes, func(o mute) bool { return o.id == mu.id }), "two mutes of %q", mu.id)
		if d.fault != nil {
			return
		}
		s.mutes = append(s.mutes, mu)
	}
}

func (s *State) loadBans(d *decoder) {
	for range d.count(11, "the number of bans") {
		b := BanRule{Name: d.string("the name"), Prefix: d.prefix()}
		b.Until, b.Reason = clock(int64(d.u64("the end"))), d.string("the reason")
		d.refuse(b.Prefix != plainPrefix(b.Prefix), "a prefix that is not in its plain form: %v", b.Prefix)
		d.refuse(b.Name == "" && !b.Prefix.IsValid(), "a ban of nobody")
		d.refuse(slices.ContainsFunc(s.bans, func(o BanRule) bool { return o.Name == b.Name && o.Prefix == b.Prefix }), "two bans of one name and prefix")
		if d.fault != nil {
			return
		}
		s.bans = append(s.bans, b)
	}
}

func (s *State) loadFormer(d *decoder) {
	left := int64(1)
	there := make(map[string]bool)
	n := d.count(10, "the number of former members")
	d.refuse(n > maxFormer, "%d former members", n)
	for range n {
		f := former{id: d.string("the ID"), number: d.uvarint(math.MaxUint64, "the number"), left: d.time("when it left", left)}
		left = f.left
		d.refuse(left > s.now, "a member that left at %d, the last record is of %d", left, s.now)
		d.refuse(f.id == "" || f.number == 0, "a former member without an ID or a number")
		d.refuse(there[f.id] || s.Member(f.id) != nil, "%q is there more than once", f.id)
		if d.fault != nil {
			return
		}
		there[f.id] = true
		s.former = append(s.former, f)
	}
}
