package fanout

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Group is the logs of one room and the cursors that read them. What is appended to
// it makes flushers visit its own cursors and no others, so a Fan may have thousands
// of groups of which few have news.
type Group struct {
	fan   *Fan
	parts []atomic.Pointer[part] // by shard; nil until a sink of that has a cursor

	mu   sync.Mutex // guards logs, and parts and their count open when they change
	logs []*Log     // by slot; nil where a log was dropped

	progress progress
	tally    Tally
	all      *Tally // nil: none; see CountIn
}

// NewGroup returns a Group without logs.
func (f *Fan) NewGroup() *Group {
	return &Group{fan: f, parts: make([]atomic.Pointer[part], len(f.shards))}
}

// Fan returns the Fan of g.
func (g *Group) Fan() *Fan { return g.fan }

// Flush makes sure that a flusher visits every cursor of g after this call. It is
// called after an append, and does not block.
func (g *Group) Flush() {
	for i := range g.parts {
		if p := g.parts[i].Load(); p != nil && p.open.Load() > 0 {
			p.queue()
		}
	}
}

// flushes reports whether a flusher will come after an append.
func (g *Group) flushes() bool {
	for i := range g.parts {
		if g.open(i) {
			return true
		}
	}
	return false
}

// open reports whether a shard has cursors that count.
func (g *Group) open(shard int) bool {
	p := g.parts[shard].Load()
	return p != nil && p.open.Load() > 0
}

// Progress returns a channel that is closed when flushers or readers of the sinks have
// made room in a log of g, or [Group.Wake] was called. Take it before the check that
// may fail, and pass it to Await after that.
func (g *Group) Progress() <-chan struct{} { return g.progress.wait() }

// Wake wakes everybody who awaits progress of g.
func (g *Group) Wake() { g.progress.wake() }

// Await returns when there was progress since ch was taken, or with ctx's error. A
// limit above zero bounds the wait, which is no error. While it waits, transports that
// cannot tell whether they would block are looked at again, so that a stalled one
// counts as waiting in time.
func (g *Group) Await(ctx context.Context, ch <-chan struct{}, limit time.Duration) error {
	g.Flush()
	tick := patience
	if limit > 0 {
		tick = min(tick, limit)
	}
	t := time.NewTimer(tick)
	defer t.Stop()
	select {
	case <-ch:
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// enter counts a new cursor of a sink of that shard. No append to g's logs may run at
// the same time.
func (g *Group) enter(sh *shard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.parts[sh.num].Load()
	if p == nil {
		p = &part{group: g, shard: sh}
		g.parts[sh.num].Store(p)
	}
	if p.open.Load() == 0 {
		// Nobody kept count of what this shard was served.
		for _, l := range g.logs {
			if l != nil {
				l.serveNew(sh.num)
			}
		}
	}
	p.open.Add(1)
}

// leave counts a cursor of p no more.
func (g *Group) leave(p *part) {
	var due []func()
	g.mu.Lock()
	if p.open.Add(-1) == 0 { // no walk ends for them any more
		for _, l := range g.logs {
			if l != nil {
				due = append(due, l.due()...)
			}
		}
	}
	g.mu.Unlock()
	g.fan.notify(due)
}

func (g *Group) addLog(l *Log) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.slot = slices.Index(g.logs, nil); l.slot < 0 {
		l.slot = len(g.logs)
		g.logs = append(g.logs, nil)
	}
	g.logs[l.slot] = l
}

func (g *Group) dropLog(l *Log) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.logs[l.slot] == l {
		g.logs[l.slot] = nil
	}
}

// progress is a broadcast: everybody who took the channel is woken at once.
type progress struct {
	wanted atomic.Bool // somebody took ch; spares flushers the lock
	mu     sync.Mutex  // guards ch
	ch     chan struct{}
}

func (p *progress) wait() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch == nil {
		p.ch = make(chan struct{})
		p.wanted.Store(true)
	}
	return p.ch
}

func (p *progress) wake() {
	if !p.wanted.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch != nil {
		close(p.ch)
		p.ch = nil
		p.wanted.Store(false)
	}
}
