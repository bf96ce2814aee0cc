package bench

import (
	"context"
	"sync"
	"time"
)

// send has all senders send, until all is sent, ctx ends, the run fails or the room
// stands still.
func (r *run) send(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.first = r.now()
	go r.cancelIfHopeless(ctx, cancel)
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

// cancelIfHopeless cancels when the run has failed, or when nothing has arrived for the
// time of -wait and a sender has waited for the room as long: it would wait for ever. It
// ends with ctx.
func (r *run) cancelIfHopeless(ctx context.Context, cancel context.CancelFunc) {
	look := time.NewTicker(max(r.cfg.wait/8, time.Millisecond))
	defer look.Stop()
	for {
		select {
		case <-r.failed:
			cancel()
			return
		case <-look.C:
			if r.standsStill() {
				cancel()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (r *run) standsStill() bool {
	before := r.now() - int64(r.cfg.wait)
	if r.checker.last.Load() > before {
		return false
	}
	for _, m := range r.members[:r.cfg.senders] {
		if since := m.held.Load(); since > 0 && since <= before {
			return true
		}
	}
	return false
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
		m.held.Store(m.run.now())
		if m.send(ctx, note{m.number, n, due}) != nil {
			return
		}
		m.held.Store(0)
		m.taken = n
	}
}

// due waits until message n is to be sent, and returns when that was: with a rate the
// time that the rate says, however late it is, so that a room that holds a sender back
// does not hide how long messages take. It reports whether there is anything to send.
func (m *member) due(ctx context.Context, start time.Time, n uint64) (int64, bool) {
	cfg := m.run.cfg
	if cfg.rate == 0 {
		if n > m.passed.Load()+uint64(cfg.window) {
			m.held.Store(m.run.now())
		}
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
