package testkit

import (
	"slices"
	"sync"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/internal/probe"
)

// Seqs is how the seqs of a room rise. Tests count places in the order, 1, 2, 3, …, and
// Seqs says which seqs have these.
type Seqs bool

const (
	// Dense is one by one: the seq of a lone room is the place.
	Dense Seqs = false
	// Sparse is strictly and no more, by 1 to 5000, as positions in a log do. The first
	// one needs more than 32 bits.
	Sparse Seqs = true
)

// String returns the name of the constant, in small letters.
func (s Seqs) String() string {
	if s == Sparse {
		return "sparse"
	}
	return "dense"
}

// EachSeqs runs fn as a subtest for either.
func EachSeqs(t *testing.T, fn func(t *testing.T, s Seqs)) {
	for _, s := range []Seqs{Dense, Sparse} {
		t.Run(s.String(), func(t *testing.T) { fn(t, s) })
	}
}

// BubbleEachSeqs is Bubble for either, in a bubble each.
func BubbleEachSeqs(name string, t *testing.T, fn func(t *testing.T, s Seqs)) {
	for _, s := range []Seqs{Dense, Sparse} {
		Bubble(name+", "+s.String(), t, func(t *testing.T) { fn(t, s) })
	}
}

// A SeqsOption is for a room, or for all rooms of a hub.
type SeqsOption interface {
	tcproom.RoomOption
	tcproom.HubOption
}

// Option makes the seqs of a room, or of all rooms of a hub, rise so.
func (s Seqs) Option() SeqsOption {
	var p probe.Probe
	if s == Sparse {
		p.Next = nextSparse
	}
	return probe.Option(p).(SeqsOption)
}

// nextSparse returns the seq behind seq, the same one each time.
func nextSparse(seq uint64) uint64 {
	if seq == 0 {
		return 1 << 40
	}
	x := seq * 0x9e3779b97f4a7c15
	x = (x ^ x>>29) * 0xbf58476d1ce4e5b9
	return seq + 1 + (x>>32)%5000
}

// sparse is the seqs by place, as far as somebody has asked.
var sparse = struct {
	sync.Mutex
	seqs []uint64
}{seqs: []uint64{0}}

// At returns the seq of the place-th event; of place 0 it is 0.
func (s Seqs) At(place uint64) uint64 {
	if s == Dense {
		return place
	}
	sparse.Lock()
	defer sparse.Unlock()
	growSparse(func() bool { return uint64(len(sparse.seqs)) > place })
	return sparse.seqs[place]
}

// Place returns the place of the first event whose seq is seq or above.
func (s Seqs) Place(seq uint64) uint64 {
	if s == Dense {
		return seq
	}
	sparse.Lock()
	defer sparse.Unlock()
	growSparse(func() bool { return sparse.seqs[len(sparse.seqs)-1] >= seq })
	i, _ := slices.BinarySearch(sparse.seqs, seq)
	return uint64(i)
}

func growSparse(enough func() bool) {
	for !enough() {
		sparse.seqs = append(sparse.seqs, nextSparse(sparse.seqs[len(sparse.seqs)-1]))
	}
}
