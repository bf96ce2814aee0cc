package fold

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Nodes and epochs of the tests.
var (
	a, b, c, d     = Node{'a'}, Node{'b'}, Node{'c'}, Node{'d'}
	epoch1, epoch2 = Epoch{1}, Epoch{2}
	start          = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
)

func hashOf(id string) (h Hash) {
	copy(h[:], "hash of "+id)
	return h
}

// encode returns a record.
func encode(h Header, entries ...Entry) []byte {
	rec := AppendHeader(nil, h, len(entries))
	for i := range entries {
		rec = AppendEntry(rec, &entries[i])
	}
	return rec
}

// decode returns the entries of a record.
func decode(rec []byte) (h Header, entries []Entry, err error) {
	var r Reader
	if h, err = r.Reset(rec); err != nil {
		return h, nil, err
	}
	for {
		e := Entry{}
		ok, err := r.Next(&e)
		if !ok {
			return h, entries, err
		}
		entries = append(entries, e)
	}
}

// A log writes records of nodes, and folds them.
type log struct {
	testing.TB
	*State
	pos     uint64
	now     time.Time
	batches map[Node]uint64
	believe map[Node]Epoch // what a node believes in, if it is not what is in force
	members []*Member      // of the last result
	last    Result
}

func newLog(t testing.TB) *log {
	return &log{TB: t, State: New(), now: start, batches: map[Node]uint64{}, believe: map[Node]Epoch{}}
}

// newRoom is a log with the nodes a and b, and at each a member, ada and bob.
func newRoom(t testing.TB) *log {
	l := newLog(t)
	l.want(Placed, a, Entry{Kind: Open})
	l.want(Placed, b, Entry{Kind: Open})
	l.want(Placed, a, Entry{Kind: Begin, Epoch: epoch1})
	l.want(Placed, a, join("ada"))
	l.want(Placed, b, join("bob"))
	return l
}

// join is a join of a member with a session, and a name like its ID.
func join(id string) Entry {
	return Entry{
		Kind: Join, ID: id, Name: id, Hash: hashOf(id), Grace: 10 * time.Second,
		Addr: netip.AddrFrom4([4]byte{192, 0, 2, id[0]}),
	}
}

func say(from string, number uint64) Entry {
	return Entry{Kind: Message, From: from, Number: number, Body: []byte("hello")}
}

// header is that of the next record of a node.
func (l *log) header(n Node) Header {
	l.batches[n]++
	e, ok := l.believe[n]
	if !ok {
		e = l.Epoch()
	}
	return Header{Node: n, Batch: l.batches[n], Epoch: e}
}

// newLife has the node's next record be the first of its next life.
func (l *log) newLife(n Node) { l.batches[n] = (l.batches[n]>>lifeBits + 1) << lifeBits }

// put applies a record, and returns the verdicts.
func (l *log) put(h Header, entries ...Entry) (verdicts []Verdict) {
	l.Helper()
	l.pos++
	err := l.Apply(l.pos, l.now, encode(h, entries...), func(r *Result) {
		verdicts = append(verdicts, r.Verdict)
		l.members = slices.Clone(r.Members)
		l.last = *r
	})
	require.NoError(l, err)
	require.Len(l, verdicts, len(entries))
	return verdicts
}

// want puts a record of one entry of a node.
func (l *log) want(want Verdict, n Node, e Entry) {
	l.Helper()
	before := l.changeable()
	require.Equal(l, want, l.put(l.header(n), e)[0])
	if want != Placed {
		require.Equal(l, before, l.changeable(), "an entry that is not placed changes nothing")
	}
}

// changeable is the part of a state that entries alone change.
func (s *State) changeable() string {
	t, err := Load(s.Save())
	if err != nil {
		return err.Error()
	}
	t.pos, t.node, t.batch, t.now = 0, Node{}, 0, 0
	for _, n := range t.nodes {
		n.batch = 0
	}
	return string(t.Save())
}

// brief is what a result says, as text, for comparing it with those of other states.
func brief(r *Result) string {
	s := fmt.Sprintf("%d.%d %v kind %d old %x %q missing %d differs %t header %v",
		r.Seq, r.Index, r.Verdict, r.Entry.Kind, r.Old, r.OldName, r.Missing, r.Differs, r.Header)
	if r.Member != nil {
		s += fmt.Sprintf(" member %+v", *r.Member)
	}
	for _, m := range r.Members {
		s += fmt.Sprintf(" and %+v", *m)
	}
	return s
}

// ids returns the IDs of members.
func ids(members []*Member) []string {
	list := []string{}
	for _, m := range members {
		list = append(list, m.ID)
	}
	return list
}

// here returns the IDs of all members.
func (l *log) here() []string { return ids(slices.Collect(l.Members())) }
