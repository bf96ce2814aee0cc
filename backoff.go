package tcproom

import (
	"math"
	"math/rand/v2"
	"time"
)

// stableAfter is how long a connection must have lasted, from its Welcome on, for the
// next one to be tried as soon as the first.
const stableAfter = 10 * time.Second

// backoff is what [WithBackoff] says, and the state of a client that waits.
type backoff struct {
	first, most time.Duration
	ceiling     time.Duration       // of the last attempt; 0: there was none
	random      func(n int64) int64 // a number of at least 0 and less than n; nil: math/rand's
}

func (b *backoff) setDefaults() {
	setDefault(&b.first, 100*time.Millisecond)
	setDefault(&b.most, 30*time.Second)
	b.most = max(b.most, b.first)
}

// next returns how long to wait before the next attempt, after a connection
// that lasted so long. hint is what the room says.
func (b *backoff) next(lasted, hint time.Duration) time.Duration {
	switch {
	case b.ceiling == 0 || lasted >= stableAfter:
		b.ceiling = b.first
	case b.ceiling > b.most/2:
		b.ceiling = b.most
	default:
		b.ceiling *= 2
	}
	random := b.random
	if random == nil {
		random = rand.Int64N
	}
	hint = max(hint, 0)
	d := time.Duration(random(int64(max(b.ceiling, min(hint, b.most)))))
	return d + min(hint, math.MaxInt64-d)
}
