package roomtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"example.com/tcproom"
)

// nodes are the leases of an engine, as one node reaches them.
type nodes struct{ b *Backplane }

var _ tcproom.Nodes = nodes{}

// A lease is that of a node that lives. The engine's lock guards it.
type lease struct {
	until time.Time
	timer *time.Timer
}

func (n nodes) Renew(ctx context.Context, node string) error {
	if node == "" {
		return errors.New("roomtest: cannot renew a lease: the node needs a name")
	}
	return n.b.do(ctx, nil, fmt.Sprintf("renew the lease of node %q", node), n.b.writable, func() {
		n.b.log.renewLocked(node)
	})
}

func (n nodes) Release(ctx context.Context, node string) error {
	return n.b.do(ctx, nil, fmt.Sprintf("release the lease of node %q", node), n.b.writable, func() {
		n.b.log.endLeaseLocked(node)
	})
}

func (n nodes) Alive(ctx context.Context, node string) (alive bool, err error) {
	err = n.b.do(ctx, nil, fmt.Sprintf("look for the lease of node %q", node), n.b.readable, func() {
		if n.b.state == stale {
			alive = n.b.past.alive[node]
			return
		}
		l := n.b.log.leases[node]
		alive = l != nil && time.Now().Before(l.until)
	})
	return alive, err
}

// renewLocked makes or renews a lease.
func (l *Log) renewLocked(node string) {
	now := time.Now()
	if was := l.leases[node]; was != nil {
		was.timer.Stop()
		if !now.Before(was.until) { // its timer is late
			l.endLeaseLocked(node)
		}
	}
	fresh := l.leases[node] == nil
	le := &lease{until: now.Add(l.caps.Lease)}
	le.timer = time.AfterFunc(l.caps.Lease, func() { l.expire(node, le) })
	l.leases[node] = le
	if fresh {
		l.tellLocked(node, true)
	}
}

// expire is what the timer of a lease runs.
func (l *Log) expire(node string, le *lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leases[node] == le {
		l.endLeaseLocked(node)
	}
}

// endLeaseLocked ends the lease of node, if it has one.
func (l *Log) endLeaseLocked(node string) {
	le := l.leases[node]
	if le == nil {
		return
	}
	le.timer.Stop()
	delete(l.leases, node)
	l.tellLocked(node, false)
}

func (l *Log) tellLocked(node string, alive bool) {
	for w := range l.watchers {
		w.news = append(w.news, news{node, alive})
		w.more.fire()
	}
}

// A watcher is a call of Watch. The engine's lock guards it.
type watcher struct {
	b    *Backplane
	lost int // that of the Backplane when it began
	news []news
	more signal
}

type news struct {
	node  string
	alive bool
}

// Watch calls fn on its own goroutine.
func (n nodes) Watch(ctx context.Context, fn func(node string, alive bool)) error {
	l := n.b.log
	w := &watcher{b: n.b}
	err := n.b.do(ctx, nil, "watch the nodes", n.b.writable, func() {
		w.lost = n.b.lost
		for _, node := range slices.Sorted(maps.Keys(l.leases)) {
			w.news = append(w.news, news{node, true})
		}
		l.watchers[w] = struct{}{}
	})
	if err != nil {
		return err
	}
	defer w.end()
	for {
		got, a, b, err := w.step(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("roomtest: the watch of nodes has ended: %w", err)
		case got != nil:
			fn(got.node, got.alive)
			continue
		}
		select {
		case <-a:
		case <-b:
		case <-ctx.Done():
		}
	}
}

func (w *watcher) end() {
	w.b.log.mu.Lock()
	defer w.b.log.mu.Unlock()
	delete(w.b.log.watchers, w)
}

// step returns what is to be told next, or what to wait for.
func (w *watcher) step(ctx context.Context) (got *news, a, b <-chan struct{}, err error) {
	w.b.log.mu.Lock()
	defer w.b.log.mu.Unlock()
	switch {
	case w.b.closed:
		return nil, nil, nil, net.ErrClosed
	case ctx.Err() != nil:
		return nil, nil, nil, context.Cause(ctx)
	case w.lost != w.b.lost:
		return nil, nil, nil, errCut
	case w.b.state == linked && len(w.news) > 0:
		got, w.news = &w.news[0], w.news[1:]
		return got, nil, nil, nil
	}
	return nil, w.more.next(), w.b.turned.next(), nil
}
