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

// FrameCharge is what a frame costs a [Limiter] beside its bytes on the wire,
// so that empty frames are not free.
const FrameCharge = 32

// setLimiter asks for the limiter of c, where the option is set.
func (c *Conn) setLimiter() error {
	if c.cfg.rate == nil {
		return nil
	}
	return c.call(hookRate, func() error {
		c.limiter = c.cfg.rate(c)
		return nil
	})
}

// pay waits until a frame of n bytes on the wire may be dealt with.
func (c *Conn) pay(n int) error {
	ctx := c.Context()
	err := c.call(hookLimiter, func() error { return c.limiter.WaitN(ctx, n+FrameCharge) })
	if err == nil {
		return nil
	}
	if cause := c.Err(); cause != nil {
		return cause
	}
	return fmt.Errorf("%w: a frame of %d bytes, charged as %d: %v", ErrRateLimited, n, n+FrameCharge, err)
}
