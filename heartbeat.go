package tcproom

import (
	"errors"
	"math/rand/v2"
	"os"
	"time"
)

// maxBeats bounds the bytes that may wait for a peer, whatever they are, when
// a ping or pong is put behind them. A peer to which more is on its way needs no
// other sign of life, and one that does not read cannot make pongs pile up.
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

// A beater is the end of a connection that sends heartbeats.
type beater interface {
	// beat sends a ping, or a pong, behind all that was sent before, and reports
	// whether there was room for it. Only the reader calls it.
	beat(pong bool) bool
}

// heartbeat returns how long t's reader waits before it sends a ping, or 0.
func (t *transport) heartbeat() time.Duration {
	if !t.beats {
		return 0
	}
	return t.cfg.heartbeat
}

// readAlive waits for more bytes. While there are none it has b send pings, and it
// fails with a timeout if there were none for too long.
func (t *transport) readAlive(limit int, b beater) error {
	idle, heartbeat := t.cfg.idleTimeout, t.heartbeat()
	if idle <= 0 && heartbeat <= 0 {
		_, err := t.src.Read(limit)
		return err
	}
	if t.silence == nil {
		t.silence = new(silence)
	}
	s := t.silence
	for {
		due, last := s.next(idle, heartbeat)
		late, err := t.readFor(limit, due-s.waited)
		if err == nil {
			*s = silence{}
			return nil
		}
		s.waited = due + min(late, 0)
		if !errors.Is(err, os.ErrDeadlineExceeded) || t.interrupted() {
			return err
		}
		switch {
		case late > glance:
			// While this process did not run, the peer may have sent what
			// nobody has read.
			s.waited -= min(glance, due)
		case last:
			return err
		default:
			s.beatAgain(b.beat(false) && t.cfg.features.Pings)
		}
	}
}

// readFor waits for more bytes for d, and returns how much later than that it
// was if there were none.
func (t *transport) readFor(limit int, d time.Duration) (late time.Duration, err error) {
	until := time.Now().Add(d)
	t.setReadDeadline(until)
	_, err = t.src.Read(limit)
	return time.Since(until), err
}

// beatAgain begins another period of heartbeats. If there was no room for a ping,
// more than that is on its way, and nothing was asked of the peer; nor was it if the
// codec has none that are answered.
func (s *silence) beatAgain(pinged bool) {
	if s.from, s.pinged = s.waited, pinged; !pinged {
		s.beat = 0
	}
}
