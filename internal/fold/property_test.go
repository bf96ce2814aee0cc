package fold

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// A stored is a record in a log.
type stored struct {
	pos uint64
	at  time.Time
	rec []byte
}

// A script makes the records of several nodes: some are repeated, some come late or are
// lost, and some are of nodes that do not know what has happened.
type script struct {
	*rand.Rand
	s       *State // of what is in the log
	log     []stored
	late    [][]byte // that are under way
	pos     uint64
	now     time.Time
	batches [4]uint64
	ids     int
	used    map[string]used // by ID, of members with a token
}

// A used is the greatest number of a member, and when that was in the room last.
type used struct {
	number uint64
	at     time.Time
}

// noteNumbers notes what numbers the members have used.
func (sc *script) noteNumbers() {
	for m := range sc.s.Members() {
		switch {
		case m.Hash == (Hash{}):
			delete(sc.used, m.ID)
		case m.Number > 0:
			sc.used[m.ID] = used{m.Number, sc.s.Time()}
		}
	}
}

func pick[T any](sc *script, from ...T) T { return from[sc.IntN(len(from))] }

func (sc *script) node() Node { return Node{byte('a' + sc.IntN(len(sc.batches)))} }

// id is that of a member, or of one who is none.
func (sc *script) id() string {
	if n := sc.s.Len(); n > 0 && sc.IntN(8) > 0 {
		return sc.s.members.order[sc.IntN(n)].ID
	}
	return fmt.Sprint("m", sc.IntN(sc.ids+1))
}

func (sc *script) name() string { return fmt.Sprint("n", sc.IntN(6)) }

func (sc *script) until() time.Time {
	return pick(sc, time.Time{}, sc.now.Add(-time.Second), sc.now.Add(10*time.Second), sc.now.Add(time.Hour))
}

// known is a position up to which a node knows the room.
func (sc *script) known() uint64 {
	return pick(sc, 0, sc.s.Pos()*MaxEntries+MaxEntries-1, sc.s.Pos()*MaxEntries, (sc.s.Pos()-min(sc.s.Pos(), uint64(sc.IntN(20))))*MaxEntries)
}

func (sc *script) addr() netip.Addr {
	return pick(sc, netip.Addr{}, netip.AddrFrom4([4]byte{10, 0, 0, byte(sc.IntN(8))}), netip.MustParseAddr("2001:db8::1"))
}

func (sc *script) epoch() Epoch {
	if sc.IntN(10) > 0 {
		return sc.s.Epoch()
	}
	return Epoch{byte(sc.IntN(4))}
}

// entry is one that node n may well write.
func (sc *script) entry(n Node) Entry {
	id := sc.id()
	if m := sc.s.Member(id); m != nil && m.Home != n && sc.IntN(4) > 0 { // rather one of its own
		for m := range sc.s.Members() {
			if m.Home == n {
				id = m.ID
			}
		}
	}
	service := sc.IntN(6) == 0
	// Zero is the kind that is not known; what takes members out is rare.
	switch kind := pick(sc, 0, Message, Message, Message, Join, Join, Join, Leave, Detach, Detach, Resume, Direct, Kick, Rename, Mute, Ban,
		Open, Open, Begin, NodeLeft, NodeDown, Reclaim, Beat, End); kind {
	case Message:
		e := Entry{Kind: kind, From: id, Number: uint64(sc.IntN(20)), Service: service, Body: []byte(sc.name())}
		switch sc.IntN(6) {
		case 0:
			e.From = ""
		case 1:
			e.Guest, e.Name, e.Unique = true, sc.name(), sc.IntN(2) == 0
		}
		return e
	case Join:
		switch used := slices.Sorted(maps.Keys(sc.used)); {
		case len(used) > 0 && sc.IntN(3) == 0: // perhaps it comes back
			id = used[sc.IntN(len(used))]
		case sc.IntN(4) > 0:
			sc.ids++
			id = fmt.Sprint("m", sc.ids)
		}
		e := Entry{Kind: kind, ID: id, Name: sc.name(), Grace: time.Duration(sc.IntN(3)) * 5 * time.Second, Addr: sc.addr(), Unique: sc.IntN(3) == 0}
		if sc.IntN(3) > 0 {
			e.Hash = hashOf(id)
			e.Number = uint64(pick(sc, 0, 0, sc.IntN(20)))
		}
		if sc.IntN(3) == 0 {
			e.MaxMembers = 1 + sc.IntN(10)
		}
		return e
	case Leave:
		return Entry{Kind: kind, ID: id, Service: service, Cause: "lost"}
	case Detach:
		return Entry{Kind: kind, ID: id, Service: service, Number: sc.known()}
	case Resume:
		return Entry{Kind: kind, ID: id, Hash: hashOf(pick(sc, id, id, id, sc.id())), Addr: sc.addr(), Number: sc.known()}
	case Direct:
		return Entry{Kind: kind, ID: sc.id(), From: pick(sc, id, id, ""), Service: service, Body: []byte("x")}
	case Kick:
		return Entry{Kind: kind, ID: id, Text: "why"}
	case Rename:
		return Entry{Kind: kind, ID: id, Name: sc.name(), Unique: sc.IntN(2) == 0}
	case Mute:
		return Entry{Kind: kind, ID: id, Until: sc.until()}
	case Ban:
		e := Entry{Kind: kind, Name: pick(sc, "", sc.name()), Until: sc.until(), Lift: sc.IntN(2) == 0, Text: "why"}
		if sc.IntN(2) == 0 {
			e.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(sc.IntN(8))}), 29+sc.IntN(4))
		}
		return e
	case Begin:
		return Entry{Kind: kind, Epoch: Epoch{byte(1 + sc.IntN(3))}, Replaces: pick(sc, sc.s.Epoch(), sc.s.Epoch(), Epoch{1}), Number: sc.known()}
	case NodeLeft, NodeDown, End:
		if sc.IntN(3) > 0 {
			return Entry{Kind: Open}
		}
		return Entry{Kind: kind, Node: sc.node(), Force: sc.IntN(3) == 0}
	case Reclaim:
		return Entry{Kind: kind, Replaces: sc.node(), IDs: []string{id, sc.id(), sc.id()}}
	case Beat:
		seq, sum := sc.s.LastBeat()
		return Entry{Kind: kind, Number: seq, Sum: pick(sc, sum, sum, sum+1)}
	default:
		return Entry{Kind: kind}
	}
}

// record is the next one of some node.
func (sc *script) record() []byte {
	i := sc.IntN(len(sc.batches))
	n := Node{byte('a' + i)}
	if node := sc.s.byNode[n]; node != nil && node.state == nodeDead && sc.IntN(5) > 0 {
		i = (i + 1) % len(sc.batches)
		n = Node{byte('a' + i)}
	}
	var entries []Entry
	switch sc.IntN(15) {
	case 0: // a new life
		sc.batches[i] = (sc.batches[i]>>lifeBits + 1) << lifeBits
		entries = append(entries, Entry{Kind: Open})
	case 1: // some that are lost
		sc.batches[i] += uint64(sc.IntN(3))
	}
	sc.batches[i]++
	for range 1 + sc.IntN(6) {
		entries = append(entries, sc.entry(n))
	}
	return encode(Header{Node: n, Batch: sc.batches[i], Epoch: sc.epoch()}, entries...)
}

// store puts a record behind the others.
func (sc *script) store(rec []byte) stored {
	sc.pos += 1 + uint64(sc.IntN(2))
	sc.now = sc.now.Add(time.Duration(sc.IntN(4000)-500) * time.Millisecond)
	if sc.IntN(60) == 0 {
		sc.now = sc.now.Add(20 * time.Hour)
	}
	st := stored{sc.pos, sc.now, rec}
	sc.log = append(sc.log, st)
	return st
}

// next stores a new record, an old one once more, or one that is late.
func (sc *script) next() stored {
	switch k := sc.IntN(12); {
	case k == 0 && len(sc.log) > 0:
		return sc.store(sc.log[len(sc.log)-1-sc.IntN(min(10, len(sc.log)))].rec)
	case k == 1 && len(sc.late) > 0:
		i := sc.IntN(len(sc.late))
		rec := sc.late[i]
		sc.late = slices.Delete(sc.late, i, i+1)
		return sc.store(rec)
	case k == 2:
		sc.late = append(sc.late, sc.record())
	}
	return sc.store(sc.record())
}

// apply folds a record, and returns what its results say.
func (st stored) apply(t testing.TB, s *State) string {
	t.Helper()
	var results []string
	require.NoError(t, s.Apply(st.pos, st.at, slices.Clone(st.rec), func(r *Result) { results = append(results, brief(r)) }))
	return strings.Join(results, "\n")
}

// TestReplicas: states that begin from different checkpoints of a log become the same,
// and say the same of each entry.
func TestReplicas(t *testing.T) {
	runs := 40
	if testing.Short() {
		runs = 20
	}
	verdicts, placed := map[Verdict]int{}, map[Kind]int{}
	for seed := range uint64(runs) {
		sc := &script{Rand: newRand(seed), s: New(), now: start, used: map[string]used{}}
		replicas := [3]*State{New(), New(), New()}
		reload := func(i int) {
			saved := replicas[i].Save()
			s, err := Load(saved)
			require.NoError(t, err, "seed %d", seed)
			require.Equal(t, saved, s.Save())
			require.Equal(t, replicas[i].Sum(), s.Sum())
			replicas[i] = s
		}
		at := 1 + sc.IntN(100)
		for n := range 120 {
			st := sc.next()
			want := applyChecked(t, sc, st, verdicts, placed)
			for i, s := range replicas {
				require.Equal(t, want, st.apply(t, s), "seed %d, record %d, replica %d", seed, n, i)
				require.Equal(t, sc.s.Save(), s.Save(), "seed %d, record %d, replica %d", seed, n, i)
			}
			if n == at {
				reload(1)
			}
			if sc.IntN(8) == 0 {
				reload(2)
			}
		}
	}
	for v := range Verdict(len(verdictNames)) {
		require.NotZero(t, verdicts[v], "no entry was %v", v)
	}
	for _, kind := range []Kind{Message, Join, Leave, Detach, Resume, Direct, Kick, Rename, Mute, Ban, Open, Begin, NodeLeft, NodeDown, Reclaim, Beat, End} {
		require.NotZero(t, placed[kind], "no entry of kind %d was placed", kind)
	}
}

// applyChecked folds a record into the script's own state, and checks what must be so
// whatever the rules for single kinds are.
func applyChecked(t *testing.T, sc *script, st stored, verdicts map[Verdict]int, placed map[Kind]int) string {
	s := sc.s
	h, _, _, err := ParseHeader(st.rec)
	require.NoError(t, err)
	last := uint64(0)
	dead := false
	if n := s.byNode[h.Node]; n != nil {
		last, dead = n.batch, n.state == nodeDead
	}
	numbers := map[*Member]uint64{}
	for m := range s.Members() {
		numbers[m] = m.Number
	}
	var results []string
	before := s.changeable()
	require.NoError(t, s.Apply(st.pos, st.at, st.rec, func(r *Result) {
		results = append(results, brief(r))
		verdicts[r.Verdict]++
		after := s.changeable()
		if r.Verdict != Placed {
			require.Equal(t, before, after, "an entry that is %v changes nothing", r.Verdict)
		} else {
			placed[r.Entry.Kind]++
			require.False(t, dead)
			require.Greater(t, h.Batch, last)
			if number := r.Entry.Number; r.Entry.Kind == Message && number != 0 && r.Member != nil {
				require.Greater(t, number, numbers[r.Member])
				numbers[r.Member] = number
				if u := sc.used[r.Member.ID]; s.Time().Sub(u.at) < formerAfter {
					require.Greater(t, number, u.number, "it has been here before")
				}
			}
			if r.Entry.Kind == Begin && r.Entry.Replaces != (Epoch{}) { // of a log that was lost
				clear(sc.used)
			}
			sc.noteNumbers()
		}
		before = after
		checkState(t, s)
	}))
	return strings.Join(results, "\n")
}

// checkState: what is found by an index is what a look at all members finds.
func checkState(t *testing.T, s *State) {
	now := s.Time()
	var due []*Member
	var next time.Time
	first := map[string]*Member{}
	seen := map[string]bool{}
	joined := uint64(0)
	for m := range s.Members() {
		require.Greater(t, m.Joined, joined)
		joined = m.Joined
		require.False(t, seen[m.ID])
		seen[m.ID] = true
		require.Same(t, m, s.Member(m.ID))
		if m.Hash != (Hash{}) {
			require.Same(t, m, s.ByHash(m.Hash))
		}
		if first[m.Name] == nil {
			first[m.Name] = m
		}
		if m.Detached.IsZero() {
			require.True(t, s.IsOpen(m.Home), "a member with a link is at a node that is open")
			continue
		}
		over := m.Detached.Add(m.Grace)
		if next.IsZero() || over.Before(next) {
			next = over
		}
		if !over.After(now) {
			due = append(due, m)
		}
	}
	require.Len(t, seen, s.Len())
	for name, m := range first {
		require.Same(t, m, s.Named(name))
	}
	require.True(t, next.Equal(s.NextDue()))
	slices.SortStableFunc(due, func(a, b *Member) int { return a.Detached.Add(a.Grace).Compare(b.Detached.Add(b.Grace)) })
	require.Equal(t, ids(due), ids(s.Due(now)))
	if s.Epoch() == (Epoch{}) {
		require.Zero(t, s.Len(), "there are members only in an epoch")
	}
}
