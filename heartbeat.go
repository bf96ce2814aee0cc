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
// reader's own, or that of the Lookout which has the reader's place, and its clock runs
// only while one of them waits for bytes: what holds the reader back is not the peer's
// doing.
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
			s.beat = max(heartbeat*4/5+rand.N(heartbeat*2/5+1), 1)
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
	// whether there was room for it. Only the reader, or the Lookout that has its
	// place, calls it.
	beat(pong bool) bool
	// mayRest reports whether a Lookout can have the reader's place.
	mayRest() bool
}

// errRests is returned in the place of a cause when a Lookout is to wait for the peer.
var errRests = errors.New("tcproom: the reader rests")

// heartbeat returns how long t's reader waits before it sends a ping, or 0.
func (t *transport) heartbeat() time.Duration {
	if !t.beats {
		return 0
	}
	return t.cfg.heartbeat
}

// nextBeat returns how long t's peer may be silent, from its last byte on, before there
// is something to do, and whether that is to end the connection; 0 if it may be for ever.
func (t *transport) nextBeat() (due time.Duration, last bool) {
	idle, heartbeat := t.cfg.idleTimeout, t.heartbeat()
	if idle <= 0 && heartbeat <= 0 {
		return 0, false
	}
	if t.silence == nil {
		t.silence = new(silence)
	}
	return t.silence.next(idle, heartbeat)
}

// untilBeat returns in how much more silence that is; 0 for never.
func (t *transport) untilBeat() time.Duration {
	due, _ := t.nextBeat()
	if due == 0 {
		return 0
	}
	return max(due-t.silence.waited, 1)
}

// readAlive waits for more bytes. While there are none it has b send pings, and it
// fails with a timeout if there were none for too long. When it has pinged it fails with
// errRests if b may do that.
func (t *transport) readAlive(limit int, b beater) error {
	for {
		due, last := t.nextBeat()
		if due == 0 {
			_, err := t.src.Read(limit)
			return err
		}
		s := t.silence
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
			t.ask(b)
			if b.mayRest() {
				return errRests
			}
		}
	}
}

// ask has b send a ping, and begins another period of heartbeats. A peer that does not
// answer pings was not asked for anything.
func (t *transport) ask(b beater) { t.silence.beatAgain(b.beat(false) && t.cfg.features.Pings) }

// overdue does what the silence of a link's peer asks for, for the Lookout that has the
// link. It returns in how much more silence there is something to do again, or 0 for
// a goroutine to read, and to end the link. If a codec ends the goroutine it does not
// return, which is 0 too; the link's own then notes whose doing that is.
func overdue(key any) (again time.Duration) {
	l := key.(*link)
	due, last := l.nextBeat()
	l.silence.waited = due
	if last {
		return 0
	}
	l.ask(l)
	return l.untilBeat()
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
