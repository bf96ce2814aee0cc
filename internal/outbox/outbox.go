// Package outbox keeps the messages of a client that comes back: those that it has
// taken from its user and that the room has not acknowledged or, if the room does not do
// that, that no connection has taken. It knows no connection and takes no lock: its
// caller serialises the calls.
package outbox

import (
	"slices"

	"example.com/tcproom/internal/ledger"
)

// A Message is what a client has taken from its user.
type Message struct {
	Body  []byte // not to be changed after Add
	Waits bool   // somebody waits for the acknowledgement

	number uint64
	given  bool // a connection has taken it: the room may have it
	over   bool // its outcome is known
	seq    uint64
	err    error
}

// overhead is what a message is charged beside its body.
const overhead = 128

func (m *Message) charge() int { return len(m.Body) + overhead }

func (m *Message) settle(seq uint64, err error) {
	m.over, m.seq, m.err = true, seq, err
}

// Number returns the number that m has in its box, which stays once a connection has
// taken m.
func (m *Message) Number() uint64 { return m.number }

// Outcome returns what has become of m: over says whether that is known. Without an
// error the room has taken it, at seq; 0 if that is not known.
func (m *Message) Outcome() (seq uint64, over bool, err error) { return m.seq, m.over, m.err }

// A Box holds messages until their outcome is known. The zero Box is empty.
type Box struct {
	list   []*Message // in the order of their numbers; what a connection has taken comes first
	handed int        // how many of them were handed to the present connection
	size   int        // of their charge
	last   uint64
}

// Len returns how many messages are in the box.
func (b *Box) Len() int { return len(b.list) }

// Fits reports whether the box, with m, is charged no more than limit bytes.
func (b *Box) Fits(m *Message, limit int) bool { return b.size+m.charge() <= limit }

// Add puts m, which the box keeps, at the end, and numbers it.
func (b *Box) Add(m *Message) {
	b.last++
	m.number = b.last
	b.list = append(b.list, m)
	b.size += m.charge()
}

// ContinueAfter sees to it that what no connection has taken has numbers above
// number, which an earlier client of the same member may have given. It is called
// before Next has returned anything for a connection.
func (b *Box) ContinueAfter(number uint64) {
	if number <= b.last && (len(b.list) == 0 || b.list[0].given || number < b.list[0].number) {
		return // this box gave it
	}
	for _, m := range b.list {
		if m.given {
			number = max(number, m.number)
			continue
		}
		number++
		m.number = number
	}
	b.last = max(b.last, number)
}

// Next returns what to hand to the connection next; nil if that has to wait, for
// another message or for an acknowledgement.
func (b *Box) Next() *Message {
	if b.handed == len(b.list) || b.handed == ledger.Most {
		return nil
	}
	b.handed++
	return b.list[b.handed-1]
}

// Given notes that the connection has taken m, the last that Next returned. If the
// room does not acknowledge, nothing more becomes known of m.
func (b *Box) Given(m *Message, acks bool) {
	m.given = true
	if !acks && len(b.list) > 0 && b.list[0] == m { // or the room has acknowledged it unasked
		b.shift().settle(0, nil)
	}
}

// Rewind notes that the connection is lost: Next begins again with the first.
func (b *Box) Rewind() { b.handed = 0 }

// shift takes the first out.
func (b *Box) shift() *Message {
	m := b.list[0]
	b.list[0] = nil
	if b.list = b.list[1:]; len(b.list) == 0 {
		b.list = nil
	}
	b.size -= m.charge()
	b.handed = max(b.handed-1, 0)
	return m
}

// Acknowledge settles what the room has taken, of which it knows the seq of the last:
// all up to the given number, for it takes messages in their order. What no connection
// was handed stays, whatever the room says.
func (b *Box) Acknowledge(number, seq uint64) {
	for len(b.list) > 0 && b.list[0].number <= number && (b.handed > 0 || b.list[0].given) {
		m := b.shift()
		if m.number == number {
			m.settle(seq, nil)
		} else {
			m.settle(0, nil)
		}
	}
}

// Forget takes out what a room may have taken, which is another one by now or has
// forgotten the member, and settles it with err. It returns the messages that nobody
// waits for.
func (b *Box) Forget(err error) (unsure []*Message) {
	for len(b.list) > 0 && b.list[0].given {
		m := b.shift()
		m.settle(0, err)
		if !m.Waits {
			unsure = append(unsure, m)
		}
	}
	return unsure
}

// RefuseWaiting takes out the messages whose acknowledgement somebody waits for, and
// settles them with err: none is going to come. Like ContinueAfter it is called before
// Next, and after Forget.
func (b *Box) RefuseWaiting(err error) {
	b.list = slices.DeleteFunc(b.list, func(m *Message) bool {
		if m.Waits {
			b.size -= m.charge()
			m.settle(0, err)
		}
		return m.Waits
	})
}

// Withdraw takes m out, if no connection has or is being given it, and reports
// whether it did. Its outcome is its caller's to know.
func (b *Box) Withdraw(m *Message) bool {
	i := slices.Index(b.list, m)
	if i < b.handed || m.given { // also if it is not here
		return false
	}
	b.list = append(b.list[:i:i], b.list[i+1:]...)
	b.size -= m.charge()
	return true
}

// End takes everything out. It settles what the room may have taken with the error
// unsure, and the rest with unsent, and counts both.
func (b *Box) End(unsure, unsent error) (nUnsure, nUnsent int) {
	for len(b.list) > 0 {
		given := b.list[0].given || b.handed > 0
		m := b.shift()
		if given {
			m.settle(0, unsure)
			nUnsure++
		} else {
			m.settle(0, unsent)
			nUnsent++
		}
	}
	return nUnsure, nUnsent
}
