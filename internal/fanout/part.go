package fanout

import (
	"sync"
	"sync/atomic"

	"example.com/tcproom/internal/sock"
)

// A part is the cursors of one group whose sinks are of one shard: what a flusher
// walks when the group has news. A long walk lets other parts of the shard go between,
// and goes on after them.
type part struct {
	group  *Group
	shard  *shard
	open   atomic.Int32 // cursors that count; changes with group.mu held
	busy   atomic.Int32 // cursors of sinks whose writer is at work
	queued atomic.Bool  // it is, or will be, in shard.news for a walk that has not begun

	mu    sync.Mutex // guards added
	added []*Cursor

	// The running flusher's.
	cursors []*Cursor
	walk    *walk // that was interrupted; nil: none
	next    int   // whom it visits next
	more    bool  // it has seen somebody who could take more at once
}

// queue makes sure that a walk over p begins after this call.
func (p *part) queue() {
	if !p.queued.Swap(true) {
		p.shard.push(p)
	}
	p.shard.kick()
}

func (p *part) add(c *Cursor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.added = append(p.added, c)
}

// adopt takes over the cursors that were added since the last walk.
func (p *part) adopt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cursors = append(p.cursors, p.added...)
	clear(p.added)
	p.added = p.added[:0]
	if cap(p.added) > yieldEvery { // it was a crowd
		p.added = nil
	}
	if len(p.cursors) == 0 {
		p.added, p.cursors = nil, nil
	}
}

// begin begins a walk, unless p has one that was interrupted.
func (p *part) begin() {
	if p.walk != nil {
		p.walk.refresh()
		return
	}
	p.queued.Store(false) // before the heads are read
	p.walk = walkPool.Get().(*walk)
	p.walk.open(p)
	p.adopt() // after the views: who is missed here stands at their heads or behind
	p.next, p.more = 0, false
}

// visit visits the next yieldEvery cursors, and reports whether there were so many.
func (p *part) visit(pad *pad) (others bool) {
	p.walk.pad = pad
	for i := 0; i < yieldEvery; i++ {
		if p.next == len(p.cursors) {
			return false
		}
		c := p.cursors[p.next]
		if c.over.Load() || c.sink.dead.Load() {
			last := len(p.cursors) - 1
			p.cursors[p.next], p.cursors[last] = p.cursors[last], nil
			p.cursors = p.cursors[:last]
			i--
			continue
		}
		if c.sink.visit(p.walk, c) {
			p.more = true
		}
		p.next++
	}
	return true
}

// end ends the walk, and reports whether somebody could take more at once.
func (p *part) end() (more bool) {
	w := p.walk
	p.walk = nil
	if w.close(p.shard.num) {
		p.group.progress.wake()
	}
	w.pad = nil
	walkPool.Put(w)
	return p.more
}

// A walk is what a flusher sees of the logs of a group while it visits a part of that.
type walk struct {
	*pad
	views []view // by the slot of their log
}

// A pad is where a flusher puts together what it writes.
type pad struct {
	op      sock.Op
	scratch []byte
	ends    ends // of what is in scratch
}

var (
	walkPool = sync.Pool{New: func() any { return new(walk) }}
	padPool  = sync.Pool{New: func() any { return &pad{scratch: make([]byte, 0, maxFill+4<<10)} }}
)

// open makes the views. Heads are read before anything of the cursors.
func (w *walk) open(p *part) {
	g := p.group
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, l := range g.logs {
		if i == len(w.views) {
			w.views = append(w.views, view{})
		}
		if l != nil {
			w.views[i].open(l, p.shard.num)
		}
	}
}

// refresh shows who is visited from now on what was appended meanwhile.
func (w *walk) refresh() {
	for i := range w.views {
		if w.views[i].log != nil {
			w.views[i].refresh()
		}
	}
}

// close says what was served, and reports whether that made room in a log.
func (w *walk) close(shard int) (progress bool) {
	for i := range w.views {
		if w.views[i].log != nil {
			progress = w.views[i].close(shard) || progress
		}
	}
	return progress
}

// of returns the view of c's log, or nil for a log that is newer than the walk, or of
// another group.
func (w *walk) of(c *Cursor) *view {
	if i := c.log.slot; i < len(w.views) && w.views[i].log == c.log {
		return &w.views[i]
	}
	return nil
}
