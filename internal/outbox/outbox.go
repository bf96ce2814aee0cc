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
	Room  string // of a hub; empty: that of the connection
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
	if acks {
		return
	}
	if i := slices.Index(b.list, m); i >= 0 { // or the room has acknowledged it unasked
		b.take(i).settle(0, nil)
	}
}

// Last returns the message that was put into the box last, of those that are in it; nil
// if there is none.
func (b *Box) Last() *Message {
	if len(b.list) == 0 {
		return nil
	}
	return b.list[len(b.list)-1]
}

// Waits reports whether m is in the box, and the present connection has not taken it.
func (b *Box) Waits(m *Message) bool { return slices.Index(b.list, m) >= b.handed }

// Rewind notes that the connection is lost: Next begins again with the first.
func (b *Box) Rewind() { b.handed = 0 }

// take takes out the message at i.
func (b *Box) take(i int) *Message {
	m := b.list[i]
	if i == 0 {
		b.list[0] = nil
		b.list = b.list[1:]
	} else {
		b.list = slices.Delete(b.list, i, i+1)
	}
	if len(b.list) == 0 {
		b.list = nil
	}
	b.size -= m.charge()
	if i < b.handed {
		b.handed--
	}
	return m
}

// isOut reports whether a connection has, or is being given, the message at i.
func (b *Box) isOut(i int) bool { return i < b.handed || b.list[i].given }

// Acknowledge settles what the room has taken, of which it knows the seq of the last:
// all up to the given number, for it takes messages in their order. Of a named room it is
// that message alone: others may have been refused, or wait for their own. What no
// connection was handed stays, whatever the room says.
func (b *Box) Acknowledge(room string, number, seq uint64) {
	for i := 0; i < len(b.list) && b.list[i].number <= number; {
		m := b.list[i]
		if m.Room != room || room != "" && m.number != number || !b.isOut(i) {
			i++
			continue
		}
		b.take(i)
		if m.number == number {
			m.settle(seq, nil)
		} else {
			m.settle(0, nil)
		}
	}
}

// Refuse settles with err the message of that number, which is not going to be taken, and
// returns it; nil if no connection was handed one.
func (b *Box) Refuse(number uint64, err error) *Message {
	for i, m := range b.list {
		if m.number == number && b.isOut(i) {
			b.take(i).settle(0, err)
			return m
		}
	}
	return nil
}

// Forget takes out what a room may have taken, which is another one by now or has
// forgotten the member, and settles it with err. It returns the messages that nobody
// waits for.
func (b *Box) Forget(err error) (unsure []*Message) {
	return b.ForgetRooms(func(string) bool { return true }, err)
}

// ForgetRooms is Forget of what was for some rooms of a hub.
func (b *Box) ForgetRooms(which func(room string) bool, err error) (unsure []*Message) {
	for i := 0; i < len(b.list); {
		m := b.list[i]
		if !m.given || !which(m.Room) {
			i++
			continue
		}
		b.take(i)
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
		given := b.isOut(0)
		m := b.take(0)
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
