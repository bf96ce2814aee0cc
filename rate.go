package tcproom

import (
	"context"
	"fmt"
)

// A Limiter says how fast a member may send. *rate.Limiter of
// golang.org/x/time/rate is one.
type Limiter interface {
	// WaitN waits until n more may be spent, or returns an error: that of
	// ctx, which is done when the conn has ended, or that n can never be spent
	// at once. One that serves several conns is called by all of them.
	WaitN(ctx context.Context, n int) error
}

// frameCharge is what a frame costs a [Limiter] beside its bytes on the wire,
// so that empty frames are not free.
const frameCharge = 32

// setLimiter asks for the limiter of m, if the option is set.
func (l *link) setLimiter(m *Member) error {
	if l.cfg.rate == nil {
		return nil
	}
	l.mayWait()
	return l.call(hookRate, func() error {
		m.limiter = l.cfg.rate(m)
		return nil
	})
}

// pay waits until a frame of n bytes on the wire may be dealt with.
func (l *link) pay(n int) error {
	ctx := l.Context()
	err := l.call(hookLimiter, func() error { return l.member.limiter.WaitN(ctx, n+frameCharge) })
	if err == nil {
		return nil
	}
	if cause := l.Err(); cause != nil {
		return cause
	}
	return fmt.Errorf("%w: a frame of %d bytes, charged as %d: %v", errRateLimited, n, n+frameCharge, err)
}
