package tcproom

import (
	"math"
	"math/rand/v2"
	"time"
)

// Backoff says how long a [Client] waits before it dials again: a random time
// below a ceiling, so that the clients of one room do not come back together. The
// ceiling is First, and doubles with each attempt until it is Most. A
// connection that lasted for Stable makes it First again.
//
// If the room says how long to wait ([EndError].RetryAfter), that is added, and
// the ceiling is at least as long as that, as far as Most allows.
//
// To resume, a client must be back within the room's [Sessions].Grace.
type Backoff struct {
	// First is the first ceiling. Zero and negative values mean 100 ms.
	First time.Duration
	// Most is the highest one. Zero and negative values mean 30 seconds; less
	// than First means First.
	Most time.Duration
	// Stable is how long a connection must have lasted, from its [Welcome] on.
	// Zero and negative values mean 10 seconds.
	Stable time.Duration
}

func (b *Backoff) setDefaults() {
	setDefault(&b.First, 100*time.Millisecond)
	setDefault(&b.Most, 30*time.Second)
	setDefault(&b.Stable, 10*time.Second)
	b.Most = max(b.Most, b.First)
}

// backoff is the state of a Backoff.
type backoff struct {
	Backoff
	ceiling time.Duration       // of the last attempt; 0: there was none
	random  func(n int64) int64 // a number of at least 0 and less than n; nil: math/rand's
}

// next returns how long to wait before the next attempt, after a connection
// that lasted so long. hint is what the room says.
func (b *backoff) next(lasted, hint time.Duration) time.Duration {
	switch {
	case b.ceiling == 0 || lasted >= b.Stable:
		b.ceiling = b.First
	case b.ceiling > b.Most/2:
		b.ceiling = b.Most
	default:
		b.ceiling *= 2
	}
	random := b.random
	if random == nil {
		random = rand.Int64N
	}
	hint = max(hint, 0)
	d := time.Duration(random(int64(max(b.ceiling, min(hint, b.Most)))))
	return d + min(hint, math.MaxInt64-d)
}
