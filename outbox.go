package tcproom

import (
	"fmt"
	"slices"

	"example.com/tcproom/internal/ledger"
)

// A sending is a message that a [Client] has taken from its user.
type sending struct {
	number uint64
	body   []byte
	given  bool // a connection has taken it: the room may have it
	waits  bool // somebody waits for the acknowledgement
	over   bool // what follows is known
	seq    uint64
	err    error
}

// sendingCharge is what a sending is charged beside its body.
const sendingCharge = 128

func (s *sending) charge() int { return len(s.body) + sendingCharge }

func (s *sending) settle(seq uint64, err error) {
	s.over, s.seq, s.err = true, seq, err
}

// An outbox is what a [Client] has taken and the room has not acknowledged or, if it
// does not do that, no connection has taken. It is guarded by the client's lock.
type outbox struct {
	list   []*sending // in the order of their numbers; what a connection has taken comes first
	handed int        // how many of them were handed to the present connection
	size   int        // of their charge
	last   uint64
}

// fits reports whether s is within limit.
func (o *outbox) fits(s *sending, limit int) bool { return o.size+s.charge() <= limit }

// add puts s at the end, and numbers it.
func (o *outbox) add(s *sending) {
	o.last++
	s.number = o.last
	o.list = append(o.list, s)
	o.size += s.charge()
}

// continueAfter sees to it that what no connection has taken has numbers above
// number, which an earlier client of this member may have given.
func (o *outbox) continueAfter(number uint64) {
	if number <= o.last && (len(o.list) == 0 || o.list[0].given || number < o.list[0].number) {
		return // this client gave it
	}
	for _, s := range o.list {
		if s.given {
			number = max(number, s.number)
			continue
		}
		number++
		s.number = number
	}
	o.last = max(o.last, number)
}

// next returns what to hand to the connection next; nil if that has to wait.
func (o *outbox) next() *sending {
	if o.handed == len(o.list) || o.handed == ledger.Most {
		return nil
	}
	o.handed++
	return o.list[o.handed-1]
}

// shift takes the first out.
func (o *outbox) shift() *sending {
	s := o.list[0]
	o.list[0] = nil
	if o.list = o.list[1:]; len(o.list) == 0 {
		o.list = nil
	}
	o.size -= s.charge()
	o.handed = max(o.handed-1, 0)
	return s
}

// taken settles what the room has acknowledged: all up to the given
// number, for it takes messages in their order.
func (o *outbox) taken(number, seq uint64) {
	for len(o.list) > 0 && o.list[0].number <= number && (o.handed > 0 || o.list[0].given) {
		s := o.shift()
		if s.number == number {
			s.settle(seq, nil)
		} else {
			s.settle(0, nil)
		}
	}
}

// forget takes out what a room may have taken, which is another one by now or
// has forgotten the member, and returns the messages that nobody waits for.
func (o *outbox) forget() (unsure []*sending) {
	for len(o.list) > 0 && o.list[0].given {
		s := o.shift()
		s.settle(0, ErrUncertain)
		if !s.waits {
			unsure = append(unsure, s)
		}
	}
	return unsure
}

// refuseWaiting takes out the messages whose acknowledgement somebody waits for: none
// is going to come.
func (o *outbox) refuseWaiting() {
	o.list = slices.DeleteFunc(o.list, func(s *sending) bool {
		if s.waits {
			o.size -= s.charge()
			s.settle(0, errNoAcks)
		}
		return s.waits
	})
}

// withdraw takes s out, if no connection has or is being given it, and reports
// whether it did.
func (o *outbox) withdraw(s *sending) bool {
	for i := o.handed; i < len(o.list); i++ {
		if o.list[i] == s && !s.given {
			o.list = append(o.list[:i:i], o.list[i+1:]...)
			o.size -= s.charge()
			return true
		}
	}
	return false
}

// end settles everything, because of cause, and counts what nobody waits for:
// what the room may have taken, and what it has not.
func (o *outbox) end(cause error) (unsure, unsent int) {
	for len(o.list) > 0 {
		given := o.list[0].given || o.handed > 0
		s := o.shift()
		switch {
		case given:
			s.settle(0, fmt.Errorf("%w: %w", ErrUncertain, cause))
			unsure++
		default:
			s.settle(0, cause)
			unsent++
		}
	}
	return unsure, unsent
}
