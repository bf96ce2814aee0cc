package ledger

// Most is how many numbered messages a Window can tell the seq of.
const Most = 256

// A Taken is a numbered message that needs not be sent again, and its seq; 0 if
// it has none, or if that is not known any more.
type Taken struct{ Number, Seq uint64 }

// A Window is the numbered messages of one member that were taken: all up to its
// last number, and of the newest of them the seq. The zero Window has taken none.
type Window struct {
	last  uint64
	taken []Taken // the newest, in order
}

// Last returns the greatest number that was taken.
func (w *Window) Last() uint64 { return w.last }

// Take notes that the message of the given number was ordered at seq, or is
// not to be ordered.
func (w *Window) Take(number, seq uint64) Taken {
	w.last = max(w.last, number)
	if len(w.taken) == Most {
		w.taken = append(w.taken[:0], w.taken[1:]...)
	}
	t := Taken{number, seq}
	w.taken = append(w.taken, t)
	return t
}

// Find returns the message of the given number, and whether it was taken.
func (w *Window) Find(number uint64) (t Taken, ok bool) {
	if number > w.last {
		return Taken{}, false
	}
	if t, ok := w.Known(number); ok {
		return t, true
	}
	return Taken{Number: number}, true
}

// Known is Find of a number that was free a while ago: what was taken since then says
// nothing about it, even if its number is greater.
func (w *Window) Known(number uint64) (t Taken, ok bool) {
	for i := len(w.taken) - 1; i >= 0; i-- {
		if w.taken[i].Number == number {
			return w.taken[i], true
		}
	}
	return Taken{}, false
}
