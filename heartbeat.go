package tcproom

import (
	"errors"
	"math/rand/v2"
	"os"
	"time"
)

// maxBeats bounds the bytes that may wait for a peer, whatever they are, when
// a ping or pong is put behind them. A peer to whom more is on its way needs
// no other sign of life, and one that does not read cannot make pongs pile up.
const maxBeats = 256

// A silence is what a reader knows of its peer since the last byte. It is the
// reader's own, and its clock runs only while it waits for bytes: what holds
// the reader back is not the peer's doing.
type silence struct {
	waited time.Duration
	beat   time.Duration // the period of heartbeats, jittered; 0 until it is needed
	pinged bool
}

// next returns after how much waiting there is something to do, and whether
// that is to end the conn.
func (s *silence) next(idle, heartbeat time.Duration) (due time.Duration, last bool) {
	if heartbeat > 0 {
		if s.beat == 0 {
			s.beat = heartbeat*4/5 + rand.N(heartbeat*2/5+1)
		}
		if due = s.beat; s.pinged {
			due, last = 2*s.beat, true
		}
	}
	if idle > 0 && (due == 0 || idle <= due) {
		return idle, true
	}
	return due, last
}

// heartbeat returns how long c's reader waits before it says ping, or 0.
func (c *Conn) heartbeat() time.Duration {
	if !c.beats {
		return 0
	}
	return c.cfg.heartbeat
}

// readAlive waits for more bytes. It says ping while there are none, and fails
// with a timeout when there were none for too long.
func (c *Conn) readAlive(limit int) error {
	idle, heartbeat := c.cfg.idleTimeout, c.heartbeat()
	if idle <= 0 && heartbeat <= 0 {
		_, err := c.src.Read(limit)
		return err
	}
	s := &c.silence
	for {
		due, last := s.next(idle, heartbeat)
		start := time.Now()
		c.setReadDeadline(start.Add(due - s.waited))
		_, err := c.src.Read(limit)
		if err == nil {
			*s = silence{}
			return nil
		}
		s.waited += time.Since(start)
		if last || !errors.Is(err, os.ErrDeadlineExceeded) || c.interrupted() {
			return err
		}
		if s.pinged = c.sayBeat(Pinger.AppendPing); !s.pinged {
			*s = silence{} // there is no room for it: more than that is on its way
		}
	}
}

// interrupted reports whether the reader was to stop waiting for another
// reason than the time.
func (c *Conn) interrupted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause != nil || c.dial != nil && c.dial.expired
}

// sayBeat sends a ping or pong behind all that was sent before, if there is room.
func (c *Conn) sayBeat(appendBeat func(Pinger, []byte) []byte) bool {
	p, ok := c.cfg.codec.(Pinger)
	if !ok {
		return false
	}
	b, err := c.cfg.framing.AppendFrame(nil, appendBeat(p, nil))
	if err != nil {
		return false
	}
	if c.room != nil {
		c.room.mu.Lock()
		defer c.room.mu.Unlock()
		return c.joined && c.cur.Insert(b, maxBeats)
	}
	if !c.sink.Queue(b, maxBeats) {
		return false
	}
	c.sink.Flush()
	return true
}
