package tcproom

import (
	"slices"
	"time"
)

const (
	// dialTimeout bounds the dialling of all addresses of a client, one after the other.
	dialTimeout = 30 * time.Second
	// leastDial is what one of them has of it at least.
	leastDial = 2 * time.Second
	// maxDoubts bounds how many attempts in a row may find what is no room.
	maxDoubts = 5
)

// An address is one of those at which a client's room is.
type address struct {
	addr     string
	known    bool // it has welcomed this client before
	strain   int  // strange losses in a row
	hopeless bool // another attempt would be like the last one
	tried    bool // in this round
	// notBefore is when the room wants the client back here, at the soonest.
	notBefore time.Time
}

// A walk takes a client from one of its addresses to the next, in rounds: in each it dials
// every address at most once, and it waits before each but the first.
type walk struct {
	all   []address
	at    int // the one that is dialled, or was last
	pause backoff
}

func newWalk(first string, others []string, pause backoff) *walk {
	w := &walk{pause: pause}
	for _, addr := range slices.Concat([]string{first}, others) {
		if !slices.ContainsFunc(w.all, func(a address) bool { return a.addr == addr }) {
			w.all = append(w.all, address{addr: addr})
		}
	}
	return w
}

func (w *walk) now() *address { return &w.all[w.at] }

// dialTimeout is how long the dialling of one address may take. A process may resume only
// for so long, so a few addresses that swallow everything must not use that up.
func (w *walk) dialTimeout() time.Duration {
	return max(dialTimeout/time.Duration(len(w.all)), leastDial)
}

// isLast reports whether there is to be no attempt after one that was lost with l. Of what
// the room says it is enough that it says so once, at any address. What only shows that
// one address is no good must hold for all of them.
func (w *walk) isLast(l *loss) bool {
	a := w.now()
	a.hopeless = a.judge(l)
	if !l.strange && !l.untrusted {
		return l.end.Final
	}
	return !slices.ContainsFunc(w.all, func(a address) bool { return !a.hopeless })
}

// judge reports whether a is not worth another attempt after l. Strange bytes may come
// from a proxy while the room behind it is away; but for what has never been a room this
// comes to an end.
func (a *address) judge(l *loss) bool {
	if !l.strange {
		a.strain = 0
		return l.untrusted
	}
	a.strain++
	return a.strain >= maxDoubts && (!a.known || l.end.Cause == ErrFrameTooLarge)
}

// next goes on to the address that is to be dialled after l, and returns how long to wait
// before that, and whether it begins a new round. lasted is how long there was a
// connection; negative if there was none.
func (w *walk) next(l *loss, lasted time.Duration) (delay time.Duration, round bool) {
	now := time.Now()
	if lasted >= stableAfter {
		w.pause.ceiling = 0 // also if the wait comes later
		w.forget()
	}
	a := w.now()
	a.tried, a.notBefore = true, now.Add(max(l.end.RetryAfter, 0))

	// What ends a connection may have ended those of all other clients too, who must not
	// come to the next address together. A process that restarts sees to that itself.
	if (lasted < 0 || l.end.Cause == ErrRestarting) && w.step(now) {
		return 0, false
	}
	w.forget()
	soonest := slices.MinFunc(w.all, func(a, b address) int { return a.notBefore.Compare(b.notBefore) })
	delay = w.pause.next(lasted, soonest.notBefore.Sub(now))
	w.step(now.Add(delay))
	return delay, true
}

// forget begins a round.
func (w *walk) forget() {
	for i := range w.all {
		w.all[i].tried = false
	}
}

// step goes on to the next address that may be dialled at that time in this round. It
// reports whether there is one.
func (w *walk) step(when time.Time) bool {
	for i := range w.all {
		at := (w.at + 1 + i) % len(w.all)
		if a := &w.all[at]; !a.tried && !a.notBefore.After(when) {
			w.at = at
			return true
		}
	}
	return false
}
