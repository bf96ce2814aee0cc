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
	from   time.Duration // of waited, when the present period of heartbeats began
	beat   time.Duration // that period, jittered; 0 until it is needed
	pinged bool          // at its beginning
}

// next returns after how much waiting there is something to do, and whether
// that is to end the conn.
func (s *silence) next(idle, heartbeat time.Duration) (due time.Duration, last bool) {
	if heartbeat > 0 {
		if s.beat == 0 {
			s.beat = heartbeat*4/5 + rand.N(heartbeat*2/5+1)
		}
		due, last = s.from+s.beat, s.pinged
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
	if c.silence == nil {
		c.silence = new(silence)
	}
	s := c.silence
	for {
		due, last := s.next(idle, heartbeat)
		late, err := c.readFor(limit, due-s.waited)
		if err == nil {
			*s = silence{}
			return nil
		}
		s.waited = due + min(late, 0)
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.interrupted() {
			return err
		}
		switch {
		case late > glance:
			// While this process did not run, the peer may have said what
			// nobody has read.
			s.waited -= min(glance, due)
		case last:
			return err
		default:
			s.beatAgain(c.sayBeat(Pinger.AppendPing))
		}
	}
}

// readFor waits for more bytes for d, and returns how much later than that it
// was when there were none.
func (c *Conn) readFor(limit int, d time.Duration) (late time.Duration, err error) {
	until := time.Now().Add(d)
	c.setReadDeadline(until)
	_, err = c.src.Read(limit)
	return time.Since(until), err
}

// beatAgain begins another period of heartbeats. Where there was no room for a
// ping, more than that is on its way, and nothing was asked of the peer.
func (s *silence) beatAgain(pinged bool) {
	if s.from, s.pinged = s.waited, pinged; !pinged {
		s.beat = 0
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
