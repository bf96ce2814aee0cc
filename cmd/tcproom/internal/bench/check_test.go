package bench

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// begin returns a checker for messages that have been sent.
func begin(members, senders, each int) *checker {
	c := newChecker(members, senders)
	for i := range senders {
		c.begun[i].Store(uint64(each))
	}
	return c
}

// order returns all messages in an order in which a room might have them.
func order(rnd *rand.Rand, senders, each int) (all []note) {
	next := make([]int, senders)
	for len(all) < senders*each {
		if s := rnd.IntN(senders); next[s] < each {
			next[s]++
			all = append(all, note{sender: s, number: uint64(next[s])})
		}
	}
	return all
}

// deliver gives each member its stream, with the members in any order, and returns the
// faults.
func deliver(rnd *rand.Rand, c *checker, streams [][]note, each int) faults {
	var pick []int
	for m, s := range streams {
		for range s {
			pick = append(pick, m)
		}
	}
	rnd.Shuffle(len(pick), func(i, j int) { pick[i], pick[j] = pick[j], pick[i] })
	for i, m := range pick {
		n := streams[m][0]
		streams[m] = streams[m][1:]
		c.receive(m, arrival{note: n, at: int64(i)}, true)
	}
	totals := make([]uint64, len(c.begun))
	for i := range totals {
		totals[i] = uint64(each)
	}
	c.seal(totals)
	return c.close()
}

// streamsOf returns what each member receives of a room in good order.
func streamsOf(all []note, members int) [][]note {
	streams := make([][]note, members)
	for m := range streams {
		for _, n := range all {
			if n.sender != m {
				streams[m] = append(streams[m], n)
			}
		}
	}
	return streams
}

func TestCheckerTrustsGoodRooms(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		members := 2 + rnd.IntN(5)
		senders, each := 1+rnd.IntN(members-1), 1+rnd.IntN(2*blockSize)
		c := begin(members, senders, each)
		f := deliver(rnd, c, streamsOf(order(rnd, senders, each), members), each)
		require.False(t, f.any(), "seed %d: %v", seed, f.What)
		require.EqualValues(t, senders*each, c.all.TotalCount())
		require.EqualValues(t, senders*each*(members-1), c.delivery.TotalCount())
		for _, track := range c.tracks {
			require.LessOrEqual(t, len(track.blocks), 1, "what all have is forgotten")
		}
		select {
		case <-c.done:
		default:
			t.Fatal("it is not done")
		}
	}
}

// TestCheckerCounts: whatever a room does to streams, the books are exact.
func TestCheckerCounts(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		members := 3 + rnd.IntN(4)
		senders, each := 1+rnd.IntN(members-1), 20+rnd.IntN(200)
		streams := streamsOf(order(rnd, senders, each), members)
		var want faults
		for m, s := range streams {
			if len(s) == 0 || rnd.IntN(2) == 0 {
				continue
			}
			for range 1 + rnd.IntN(3) {
				i := rnd.IntN(len(s))
				if rnd.IntN(2) == 0 {
					s = append(s[:i:i], s[i+1:]...)
				} else {
					s = append(s[:i+1:i+1], s[i:]...)
				}
			}
			streams[m] = s
			count := make(map[note]int)
			for _, n := range s {
				if count[n]++; count[n] > 1 {
					want.Doubled++
				}
			}
			others := senders
			if m < senders {
				others--
			}
			want.Lost += uint64(others*each - len(count))
		}
		f := deliver(rnd, begin(members, senders, each), streams, each)
		require.Equal(t, want.Lost, f.Lost, "seed %d: %v", seed, f.What)
		require.Equal(t, want.Doubled, f.Doubled, "seed %d: %v", seed, f.What)
		require.Zero(t, f.Late+f.Crossed+f.Damaged, "seed %d: %v", seed, f.What)
	}
}

// TestCheckerOrder: two neighbours in a member's stream, the other way round, are late or
// in another order.
func TestCheckerOrder(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		streams := streamsOf(order(rnd, 3, 50), 5)
		m := rnd.IntN(4) // the reference is the 5th
		i := rnd.IntN(len(streams[m]) - 1)
		a, b := streams[m][i], streams[m][i+1]
		streams[m][i], streams[m][i+1] = b, a
		f := deliver(rnd, begin(5, 3, 50), streams, 50)
		want := faults{Crossed: 1}
		if a.sender == b.sender {
			want = faults{Late: 1}
		}
		require.Equal(t, want.Late, f.Late, "seed %d: %v", seed, f.What)
		require.Equal(t, want.Crossed, f.Crossed, "seed %d: %v", seed, f.What)
		require.Zero(t, f.Lost+f.Doubled)
	}
}

// TestCheckerOrderGoesOn: what is late or lost at the reference ends no comparison.
func TestCheckerOrderGoesOn(t *testing.T) {
	a := func(n uint64) note { return note{sender: 0, number: n} }
	b := func(n uint64) note { return note{sender: 1, number: n} }
	c := begin(4, 2, 4)
	for _, n := range []note{a(2), a(1), b(2), a(3), b(3), a(4), b(4)} { // a(1) late, b(1) lost
		c.receive(3, arrival{note: n}, true)
	}
	for _, n := range []note{b(1), a(1), a(2), b(2), b(3), a(3), a(4), b(4)} { // a(3) and b(3)
		c.receive(2, arrival{note: n}, true)
	}
	c.seal([]uint64{4, 4})
	f := c.close()
	require.Equal(t, uint64(1), f.Late, "%v", f.What)
	require.Equal(t, uint64(1), f.Crossed, "%v", f.What)
}

func TestCheckerSeq(t *testing.T) {
	c := begin(2, 1, 3)
	for i, seq := range []uint64{4, 6, 6} {
		c.receive(1, arrival{note: note{number: uint64(i + 1)}, seq: seq}, true)
	}
	c.seal([]uint64{3})
	f := c.close()
	require.Equal(t, uint64(1), f.Crossed)
	require.Equal(t, []string{"member 1 received seq 6 after 6"}, f.What)
}

// TestCheckerEnds: the run does not wait for a member that has ended, and what that did
// not receive is lost.
func TestCheckerEnds(t *testing.T) {
	c := begin(3, 1, 2)
	c.receive(1, arrival{note: note{number: 1}}, true)
	c.end(1, fmt.Errorf("slow"))
	for n := uint64(1); n <= 2; n++ {
		c.receive(2, arrival{note: note{number: n}}, true)
	}
	c.seal([]uint64{2})
	<-c.done
	f := c.close()
	require.Equal(t, uint64(1), f.Lost)
	require.Equal(t, 1, f.Ended)
	require.Equal(t, []string{"member 1: its connection ended: slow", "member 1 did not receive message 2 of sender 0"}, f.What)
}

func TestFaultsInWords(t *testing.T) {
	c := begin(2, 1, 100)
	for range maxSame + 4 {
		c.receive(1, arrival{note: note{number: 1}}, true)
	}
	f := c.close()
	require.Len(t, f.What, maxSame+1)
	require.Equal(t, "and 3 more like it (doubled)", f.What[maxSame])
}

// FuzzBody: what is appended is parsed, and what is parsed is what would be appended.
func FuzzBody(f *testing.F) {
	f.Add([]byte("guest-1: ~abcdefgh:1:2:3:xxx"), 3, uint64(4), int64(5), 64)
	f.Add([]byte("~abcdefgh:1:2:3"), 0, uint64(0), int64(-1), 0)
	f.Add([]byte("~abcdefgh:-1:+2:3:y"), 1<<30, uint64(1<<62), int64(1<<62), 100)
	f.Fuzz(func(t *testing.T, body []byte, sender int, number uint64, due int64, size int) {
		const run = "abcdefgh"
		if n, whole, ok := parseBody(body, run, len(body)); ok && whole {
			require.Len(t, appendBody(nil, run, n, len(body)), len(body))
		}
		if sender < 0 || int64(sender) >= 1<<31 || number >= 1<<63 || due < 0 || size < 0 || size > 1<<16 {
			return
		}
		want := note{sender, number, due}
		b := appendBody([]byte("ada: "), run, want, size)
		got, whole, ok := parseBody(b, run, size)
		require.True(t, ok)
		require.True(t, whole)
		require.Equal(t, want, got)
		_, _, ok = parseBody(b, "hgfedcba", size)
		require.False(t, ok, "of another run")
	})
}
