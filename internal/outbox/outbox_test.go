package outbox

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"example.com/tcproom/internal/ledger"
	"github.com/stretchr/testify/require"
)

var (
	errUnsure = errors.New("unsure")
	errUnsent = errors.New("unsent")
)

// put adds n messages, and returns them.
func put(b *Box, n int) []*Message {
	ms := make([]*Message, n)
	for i := range ms {
		ms[i] = &Message{Body: []byte{byte(i)}}
		b.Add(ms[i])
	}
	return ms
}

// give hands n messages to a connection that takes them, of a room that acknowledges.
func give(t *testing.T, b *Box, n int) {
	t.Helper()
	for range n {
		m := b.Next()
		require.NotNil(t, m)
		b.Given(m, true)
	}
}

// left returns the numbers of what is in the box.
func left(b *Box) (numbers []uint64) {
	for _, m := range b.list {
		numbers = append(numbers, m.number)
	}
	return numbers
}

func requireOutcome(t *testing.T, m *Message, seq uint64, err error) {
	t.Helper()
	gotSeq, over, gotErr := m.Outcome()
	require.True(t, over)
	require.Equal(t, seq, gotSeq)
	require.Equal(t, err, gotErr)
}

func requireOpen(t *testing.T, ms ...*Message) {
	t.Helper()
	for _, m := range ms {
		_, over, _ := m.Outcome()
		require.False(t, over, "%d", m.number)
	}
}

func TestAcknowledge(t *testing.T) {
	var b Box
	require.Nil(t, b.Next())
	b.Acknowledge("", 7, 100) // of nothing
	ms := put(&b, 5)
	for i, m := range ms {
		require.Equal(t, uint64(i+1), m.Number())
	}
	b.Acknowledge("", math.MaxUint64, 100)
	require.Equal(t, 5, b.Len(), "no connection was handed any")

	give(t, &b, 3)
	b.Acknowledge("", 0, 100)
	requireOpen(t, ms...)
	b.Acknowledge("", 2, 101) // and with it the first, whose seq is not told
	requireOutcome(t, ms[0], 0, nil)
	requireOutcome(t, ms[1], 101, nil)
	b.Acknowledge("", 2, 102) // again
	requireOpen(t, ms[2:]...)
	b.Acknowledge("", math.MaxUint64, 103)
	requireOutcome(t, ms[2], 0, nil)
	require.Equal(t, []uint64{4, 5}, left(&b))

	m := b.Next() // its acknowledgement comes before its connection has said that it has it
	require.Same(t, ms[3], m)
	b.Acknowledge("", 4, 104)
	b.Given(m, true)
	requireOutcome(t, m, 104, nil)
	give(t, &b, 1)
	require.Nil(t, b.Next())
	b.Acknowledge("", 5, 105)
	require.Equal(t, Box{last: 5}, b)
}

// TestNextIsBounded: a connection is handed no more than the room can tell the seq of.
func TestNextIsBounded(t *testing.T) {
	var b Box
	put(&b, ledger.Most+2)
	give(t, &b, ledger.Most)
	require.Nil(t, b.Next())
	b.Acknowledge("", 1, 1)
	give(t, &b, 1)
	require.Nil(t, b.Next())
}

// TestRewind: the next connection is handed all again that was not acknowledged, in
// order, and an acknowledgement counts before that.
func TestRewind(t *testing.T) {
	var b Box
	ms := put(&b, 3)
	give(t, &b, 2)
	b.Rewind()
	b.Acknowledge("", 1, 100)
	requireOutcome(t, ms[0], 100, nil)
	b.Acknowledge("", 3, 100) // of which the third was not sent
	requireOutcome(t, ms[1], 0, nil)
	require.Same(t, ms[2], b.Next())
	b.Rewind()
	require.Same(t, ms[2], b.Next())
}

func TestWithoutAcknowledgements(t *testing.T) {
	var b Box
	ms := put(&b, 2)
	for _, m := range ms {
		require.Same(t, m, b.Next())
		requireOpen(t, m)
		b.Given(m, false)
		requireOutcome(t, m, 0, nil)
	}
	require.Nil(t, b.Next())
	require.Equal(t, Box{last: 2}, b)
}

// TestAcknowledgedWithoutBeingAsked: a room that acknowledges, but does not say so, does
// not make the box lose another message.
func TestAcknowledgedWithoutBeingAsked(t *testing.T) {
	var b Box
	ms := put(&b, 2)
	m := b.Next()
	b.Acknowledge("", math.MaxUint64, 100)
	b.Given(m, false)
	requireOpen(t, ms[1])
	require.Same(t, ms[1], b.Next())
	b.Acknowledge("", math.MaxUint64, 101)
	b.Given(ms[1], false)
	require.Zero(t, b.Len())
}

func TestContinueAfter(t *testing.T) {
	for _, tt := range []struct {
		name         string
		added, given int
		number       uint64
		want         []uint64
		next         uint64
	}{
		{name: "of nothing", added: 0, given: 0, number: 0, want: nil, next: 1},
		{name: "of an empty box", added: 0, given: 0, number: 7, want: nil, next: 8},
		{name: "above all", added: 3, given: 0, number: 7, want: []uint64{8, 9, 10}, next: 11},
		{name: "among what was not given", added: 3, given: 0, number: 2, want: []uint64{3, 4, 5}, next: 6},
		{name: "below all", added: 3, given: 0, number: 0, want: []uint64{1, 2, 3}, next: 4},
		{name: "of what was given", added: 3, given: 2, number: 2, want: []uint64{1, 2, 3}, next: 4},
		{name: "above what was given", added: 3, given: 2, number: 7, want: []uint64{1, 2, 8}, next: 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b Box
			put(&b, tt.added)
			give(t, &b, tt.given)
			b.Rewind()
			b.ContinueAfter(tt.number)
			require.Equal(t, tt.want, left(&b))
			require.Equal(t, tt.next, put(&b, 1)[0].Number())
		})
	}
}

func TestForget(t *testing.T) {
	var b Box
	ms := put(&b, 4)
	ms[1].Waits = true
	give(t, &b, 3)
	b.Next() // is being handed
	b.Rewind()
	require.Equal(t, []*Message{ms[0], ms[2]}, b.Forget(errUnsure), "nobody waits for these")
	for _, m := range ms[:3] {
		requireOutcome(t, m, 0, errUnsure)
	}
	requireOpen(t, ms[3])
	require.Equal(t, []uint64{4}, left(&b))
	require.Empty(t, b.Forget(errUnsure))
}

func TestRefuseWaiting(t *testing.T) {
	var b Box
	ms := put(&b, 4)
	ms[0].Waits, ms[3].Waits = true, true
	b.RefuseWaiting(errUnsent)
	requireOutcome(t, ms[0], 0, errUnsent)
	requireOutcome(t, ms[3], 0, errUnsent)
	requireOpen(t, ms[1:3]...)
	require.Equal(t, []uint64{2, 3}, left(&b))
	require.Equal(t, 2*(overhead+1), b.size)
}

func TestWithdraw(t *testing.T) {
	var b Box
	require.False(t, b.Withdraw(&Message{}), "it is not here")
	ms := put(&b, 4)
	give(t, &b, 1)
	b.Next() // is being handed
	require.False(t, b.Withdraw(ms[0]))
	require.False(t, b.Withdraw(ms[1]))
	require.False(t, b.Withdraw(&Message{}))
	require.True(t, b.Withdraw(ms[2]))
	require.False(t, b.Withdraw(ms[2]))
	require.Equal(t, []uint64{1, 2, 4}, left(&b))
	b.Rewind()
	require.False(t, b.Withdraw(ms[0]), "a connection had it")
	require.True(t, b.Withdraw(ms[1]))
	require.Equal(t, 2*(overhead+1), b.size)
}

func TestEnd(t *testing.T) {
	var b Box
	ms := put(&b, 5)
	give(t, &b, 2)
	b.Next() // is being handed
	unsure, unsent := b.End(errUnsure, errUnsent)
	require.Equal(t, 3, unsure)
	require.Equal(t, 2, unsent)
	for i, m := range ms {
		want := errUnsure
		if i >= 3 {
			want = errUnsent
		}
		requireOutcome(t, m, 0, want)
	}
	require.Equal(t, Box{last: 5}, b)

	put(&b, 2)
	give(t, &b, 1)
	b.Rewind() // what a connection had stays unsure
	unsure, unsent = b.End(errUnsure, errUnsent)
	require.Equal(t, 1, unsure)
	require.Equal(t, 1, unsent)
}

func TestFits(t *testing.T) {
	var b Box
	m := &Message{Body: make([]byte, 100)}
	require.True(t, b.Fits(m, 100+overhead))
	require.False(t, b.Fits(m, 99+overhead))
	b.Add(m)
	require.True(t, b.Fits(m, 2*(100+overhead)))
	require.False(t, b.Fits(m, 2*(100+overhead)-1))
	require.False(t, b.Fits(&Message{}, 0), "an empty message is charged too")
}

// TestAnyOrder has connections, a room and a user do anything, and checks what always
// holds: the box is in order, and charged what is in it, each message has an outcome
// or is in the box, and one that no connection was handed is never said to be taken.
func TestAnyOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var b Box
	var all []*Message
	handed := make(map[*Message]bool)
	withdrawn := make(map[*Message]bool)
	var handing *Message
	acks := true
	for step := range 20_000 {
		switch rnd.IntN(12) {
		case 0, 1, 2, 3:
			m := &Message{Body: make([]byte, rnd.IntN(100)), Waits: acks && rnd.IntN(2) == 0}
			all = append(all, m)
			b.Add(m)
		case 4, 5, 6:
			if handing != nil {
				b.Given(handing, acks)
				handing = nil
			} else if handing = b.Next(); handing != nil {
				handed[handing] = true
			}
		case 7, 8:
			if len(all) > 0 {
				b.Acknowledge("", all[rnd.IntN(len(all))].number, uint64(step))
			}
		case 9:
			if len(all) > 0 {
				if m := all[max(0, len(all)-1-rnd.IntN(5))]; b.Withdraw(m) {
					withdrawn[m] = true
				}
			}
		case 10: // another connection
			b.Rewind()
			handing = nil
			if acks = rnd.IntN(3) > 0; !acks || rnd.IntN(2) == 0 {
				b.Forget(errUnsure)
			}
			b.ContinueAfter(b.last - min(b.last, uint64(rnd.IntN(3))) + uint64(rnd.IntN(3)))
			if !acks {
				b.RefuseWaiting(errUnsent)
			}
		default:
			if rnd.IntN(50) == 0 {
				handing = nil
				b.End(errUnsure, errUnsent)
			}
		}
		here := make(map[*Message]bool)
		size := 0
		for i, m := range b.list {
			here[m] = true
			size += m.charge()
			if i > 0 && (b.list[i-1].number >= m.number || m.given && !b.list[i-1].given) {
				t.Fatalf("step %d: the box is not in order", step)
			}
		}
		require.Equal(t, size, b.size, "step %d", step)
		require.LessOrEqual(t, b.handed, len(b.list), "step %d", step)
		for _, m := range all {
			_, over, err := m.Outcome()
			if count(over, here[m], withdrawn[m]) != 1 {
				t.Fatalf("step %d: over=%v, in the box=%v, withdrawn=%v", step, over, here[m], withdrawn[m])
			}
			if over && !handed[m] && err != errUnsent {
				t.Fatalf("step %d: what no connection was handed ends with %v", step, err)
			}
		}
		if len(all) > 200 && len(b.list) == 0 {
			all = nil
		}
	}
}

func count(bs ...bool) (n int) {
	for _, b := range bs {
		if b {
			n++
		}
	}
	return n
}

// TestRooms: of a named room each message is settled by itself, and those of one room
// can be forgotten while others stay.
func TestRooms(t *testing.T) {
	var b Box
	var all []*Message
	for i, room := range []string{"a", "b", "a", "b", "a"} {
		m := &Message{Room: room, Body: []byte{byte(i)}, Waits: i == 0}
		all = append(all, m)
		b.Add(m)
	}
	require.Nil(t, b.Refuse(1, errUnsent), "no connection was handed it")
	for range 4 {
		b.Given(b.Next(), true)
	}
	require.True(t, b.Waits(all[4]))
	require.False(t, b.Waits(all[3]))
	require.Equal(t, all[4], b.Last())
	b.Acknowledge("b", 3, 9) // which is of another room
	b.Acknowledge("a", 3, 9)
	require.Equal(t, 4, b.Len())
	seq, over, err := all[2].Outcome()
	require.Equal(t, []any{uint64(9), true, nil}, []any{seq, over, err})
	_, over, _ = all[0].Outcome()
	require.False(t, over, "one before it may have been refused")
	require.Equal(t, all[3], b.Refuse(4, errUnsent))
	_, _, err = all[3].Outcome()
	require.Equal(t, errUnsent, err)
	require.Nil(t, b.Refuse(4, errUnsent), "again")
	require.Equal(t, all[4], b.Next(), "what was handed is counted still")
	b.Given(all[4], true)
	b.Rewind()
	require.True(t, b.Waits(all[0]))
	require.Equal(t, []*Message{all[4]}, b.ForgetRooms(func(room string) bool { return room == "a" }, errUnsent), "nobody waits for it")
	_, over, err = all[0].Outcome()
	require.True(t, over)
	require.Equal(t, errUnsent, err)
	require.Equal(t, []*Message{all[1]}, b.list)
	require.Equal(t, all[1].charge(), b.size)
	require.Equal(t, all[1], b.Next())
	b.Acknowledge("b", 2, 1)
	require.Equal(t, Box{last: 5}, b)
	require.Nil(t, b.Last())
	require.False(t, b.Waits(all[0]))
}
