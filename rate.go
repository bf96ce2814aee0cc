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

// What a request to a hub costs beside that: one for a room has it say who is there, to a
// peer whose own bytes are few.
const (
	requestCharge = 512
	enterCharge   = 4 << 10
)

// setLimiter asks for the limiter of m, if the option is set.
func (l *link) setLimiter(m *Member) (err error) {
	if l.cfg.rate != nil {
		m.limiter, err = l.newLimiter(m)
	}
	return err
}

func (l *link) newLimiter(m *Member) (limiter Limiter, err error) {
	l.mayWait()
	err = l.call(hookRate, func() error {
		limiter = l.cfg.rate(m)
		return nil
	})
	return limiter, err
}

// pay waits until a frame of n bytes on the wire may be dealt with.
func (l *link) pay(n int) error {
	if err := l.spend(n + frameCharge); err != nil {
		return cmpErr(l.Err(), fmt.Errorf("%w: a frame of %d bytes, charged as %d: %v", errRateLimited, n, n+frameCharge, err))
	}
	return nil
}

// payFor waits until a request, whose frame is paid for, may be carried out.
func (l *link) payFor(kind RequestKind) error {
	if l.member.limiter == nil {
		return nil
	}
	n := requestCharge
	if kind == ReqEnter || kind == ReqMove {
		n = enterCharge
	}
	if err := l.spend(n); err != nil {
		return cmpErr(l.Err(), fmt.Errorf("%w: a request, %s, charged as %d: %v", errRateLimited, kind, n, err))
	}
	return nil
}

func (l *link) spend(n int) error {
	ctx := l.Context()
	return l.call(hookLimiter, func() error { return l.member.limiter.WaitN(ctx, n) })
}
