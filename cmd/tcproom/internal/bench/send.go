package bench

import (
	"context"
	"sync"
	"time"
)

// send has all senders send, until all is sent, ctx ends or the run fails.
func (r *run) send(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.cancelIfFailed(ctx, cancel)
	r.first = r.now()
	start := time.Now()
	if r.cfg.duration > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, start.Add(r.cfg.duration))
		defer stop()
	}
	var all sync.WaitGroup
	for _, m := range r.members[:r.cfg.senders] {
		all.Go(func() { m.sendAll(ctx, start) })
	}
	all.Wait()
	r.lastSent = r.now()
}

// cancelIfFailed ends with ctx.
func (r *run) cancelIfFailed(ctx context.Context, cancel context.CancelFunc) {
	select {
	case <-r.failed:
		cancel()
	case <-ctx.Done():
	}
}

// sendAll sends the messages of one sender. A connection that ends is reported by its
// receiver.
func (m *member) sendAll(ctx context.Context, start time.Time) {
	cfg := m.run.cfg
	quota := uint64(1<<63 - 1)
	if cfg.duration == 0 {
		quota = uint64(cfg.messages / cfg.senders)
		if m.number < cfg.messages%cfg.senders {
			quota++
		}
	}
	for n := uint64(1); n <= quota; n++ {
		due, ok := m.due(ctx, start, n)
		if !ok {
			return
		}
		m.run.checker.begun[m.number].Store(n)
		if m.send(ctx, note{m.number, n, due}) != nil {
			return
		}
		m.taken = n
	}
}

// due waits until message n is to be sent, and returns when that was: with a rate the
// time that the rate says, however late it is, so that a room that holds a sender back
// does not hide how long messages take. It reports whether there is anything to send.
func (m *member) due(ctx context.Context, start time.Time, n uint64) (int64, bool) {
	cfg := m.run.cfg
	if cfg.rate == 0 {
		for n > m.passed.Load()+uint64(cfg.window) {
			select {
			case <-m.moved:
			case <-ctx.Done():
				return 0, false
			}
		}
		return m.run.now(), ctx.Err() == nil
	}
	place := float64(n-1)*float64(cfg.senders) + float64(m.number) // senders take turns
	at := start.Add(time.Duration(place / cfg.rate * float64(time.Second)))
	if wait := time.Until(at); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return 0, false
		}
	}
	return int64(at.Sub(m.run.began)), ctx.Err() == nil
}
