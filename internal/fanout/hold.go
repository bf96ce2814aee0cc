package fanout

import "math"

// A cursor can be held where its stream begins. While it is, its sink gets only
// what is inserted for it, which so stands before everything of the log; then
// the stream goes on, and nothing of it is missing. One can be held with its inserts, too.
//
// A cursor that is held is parked, as one whose connection takes no bytes: it
// holds up nobody, and can be overrun. Once it is released it may lag, so that a
// writer brings it to the head and unparks it there, as after a stall.

// Hold holds c until [Cursor.Release], or [Sink.Finish]. It is called straight
// after [Log.Attach], under the same lock of the caller's, and does nothing
// if c has ended. One that is overrun meanwhile is lost or, if it skips, told of
// the gap behind all inserts.
func (c *Cursor) Hold() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.holdLocked()
}

func (c *Cursor) holdLocked() {
	if c.lost || c.end.Load() != math.MaxInt64 {
		return
	}
	c.endAt = uint64(c.pos.Load())
	c.hold.Store(c.pos.Load())
	c.parkLocked()
}

// HoldAll is Hold, but that the sink gets nothing of c, what is inserted neither, until
// [Cursor.Show], or until c is released, by Release or with its sink.
func (c *Cursor) HoldAll() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.holdLocked()
	c.mute = c.IsHeld()
}

// Show lets the sink have what is inserted in c, which is held on as by Hold; if it was
// closed meanwhile it is released. It does not block, and does nothing without HoldAll.
func (c *Cursor) Show() {
	c.log.mu.Lock()
	shown := c.mute
	if shown {
		if c.mute = false; c.closed {
			c.releaseLocked()
		}
		c.sink.special.Store(true)
	}
	c.log.mu.Unlock()
	if shown {
		c.sink.shard().want(c.sink)
	}
}

// Release lets c's stream go on. It does not block, may be called at any time,
// and does nothing if c is not held.
func (c *Cursor) Release() {
	c.log.mu.Lock()
	released := c.releaseLocked()
	c.log.mu.Unlock()
	if released {
		c.sink.shard().want(c.sink)
	}
}

// Release releases all cursors of s that are held.
func (s *Sink) Release() { s.each((*Cursor).Release) }

func (c *Cursor) releaseLocked() bool {
	if c.hold.Load() == math.MaxInt64 || c.lost {
		return false
	}
	c.hold.Store(math.MaxInt64)
	c.mute = false
	c.parkedAt = monotonic()   // only from now on it can keep up
	c.sink.special.Store(true) // after hold: whoever clears it sees that c is not held
	return true
}

// IsHeld reports whether c is held. It does not block.
func (c *Cursor) IsHeld() bool { return c.hold.Load() != math.MaxInt64 }

// whereLocked returns where an insert of now stands.
func (c *Cursor) whereLocked() int64 {
	if c.IsHeld() && c.end.Load() == math.MaxInt64 {
		return int64(c.endAt) // before a gap, too
	}
	return c.bound(c.log.head.Load())
}

// insertDueLocked reports whether there is an insert to write: while c is held,
// one that stands at its end, behind log bytes, is not, nor any by HoldAll.
func (c *Cursor) insertDueLocked() bool {
	return len(c.inserts) > 0 && (!c.IsHeld() || !c.mute && c.inserts[0].pos <= c.pos.Load())
}

// released reports whether s has a cursor that was released and that no writer
// has brought to the head since: whoever has the token, and is no writer, finds
// none parked but these and those that are held.
func (s *Sink) released() (released bool) {
	s.each(func(c *Cursor) { released = released || c.parked.Load() && !c.IsHeld() })
	return released
}
