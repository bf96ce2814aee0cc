package roomtest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Wrap returns nc with faults: a [Conn] that is connected to nc by two
// goroutines, which carry bytes, the end of each half, resets and other errors
// both ways. nc belongs to the Conn from then on. A *Conn is returned as it is.
//
// A Conn of Wrap buffers 64 KiB each way beside what nc buffers. So a Write that
// succeeded has not reached nc, and an error of nc's Write is returned by a later
// Write. Deadlines are the Conn's own; nc has none.
//
// Close writes to nc what has been written, closes nc, and returns when both
// goroutines have ended. What does not move, be it because of a fault or of a peer
// that does not read, is given up one to two seconds later; what a latency or a
// bandwidth holds up, when it should have moved, but after six seconds at the latest.
// If then nc's Close has not made its Read and Write return within another second,
// Close returns an error about that, and a goroutine is left for as long as they
// take. An nc whose Close blocks makes Close block.
func Wrap(nc net.Conn) *Conn {
	c := wrap(nc)
	c.splice.start()
	return c
}

// wrap is Wrap of what is not to move before a first call that needs it, so that faults
// are in force from the first byte.
func wrap(nc net.Conn) *Conn {
	if c, ok := nc.(*Conn); ok {
		return c
	}
	c, far := newPair(nc.LocalAddr(), nc.RemoteAddr())
	c.splice = &splice{nc: nc, far: far, outDone: make(chan struct{}), inDone: make(chan struct{})}
	return c
}

// A splice connects the far end of a pair with a conn.
type splice struct {
	once    sync.Once // of start
	nc      net.Conn
	far     *Conn
	outDone chan struct{} // closed by pumpOut when it ends
	inDone  chan struct{} // closed by pumpIn when it ends
}

const (
	pumpSize  = 16 << 10
	closeWait = time.Second
	// mostLatency is how long Close waits for what is on its way.
	mostLatency = 5 * time.Second
)

// start makes bytes move, once. It may be called for no splice.
func (s *splice) start() {
	if s == nil {
		return
	}
	s.once.Do(func() {
		go s.pumpOut()
		go s.pumpIn()
	})
}

func (s *splice) hasHalves() bool {
	_, ok := s.nc.(interface{ CloseWrite() error })
	return ok
}

// pumpOut carries what was written to nc, until that stream ends or either side
// breaks.
func (s *splice) pumpOut() {
	defer close(s.outDone)
	b := make([]byte, pumpSize)
	for {
		n, err := s.far.Read(b)
		if n > 0 {
			_, err = s.nc.Write(b[:n])
			if err != nil {
				s.failOut(err)
				return
			}
			continue
		}
		s.endOut(err)
		return
	}
}

// endOut ends nc's stream as the Conn's has ended.
func (s *splice) endOut(err error) {
	switch {
	case isReset(err):
		s.resetNC()
	case s.far.out.closedByReader():
		// close does the rest
	default:
		nc, ok := s.nc.(interface{ CloseWrite() error })
		if !ok || nc.CloseWrite() != nil {
			s.nc.Close()
		}
	}
}

func (s *splice) resetNC() { resetNC(s.nc) }

// resetNC closes nc so that its peer gets a reset, if nc can do that.
func resetNC(nc net.Conn) {
	if nc, ok := nc.(interface{ SetLinger(int) error }); ok {
		nc.SetLinger(0)
	}
	nc.Close()
}

// failOut makes an error of nc's Write the error of the Conn's.
func (s *splice) failOut(err error) {
	p := s.far.in
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failWrite(err)
}

// pumpIn carries what nc reads to the Conn, until that ends.
func (s *splice) pumpIn() {
	defer close(s.inDone)
	b := make([]byte, pumpSize)
	for {
		n, err := s.nc.Read(b)
		if n > 0 {
			if _, werr := s.far.Write(b[:n]); werr != nil {
				return // the Conn was closed or reset
			}
		}
		if err != nil {
			s.endIn(err)
			return
		}
	}
}

// endIn makes the Conn's stream end as nc's did.
func (s *splice) endIn(err error) {
	p := s.far.out
	p.mu.Lock()
	defer p.mu.Unlock()
	if isReset(err) {
		p.reset()
		return
	}
	p.finish(err)
}

// close is called when the Conn was closed. It lets pumpOut write what it has
// still to write, closes nc, and waits for both.
func (s *splice) close() error {
	s.start()
	var err error
	if s.far.in.broken() {
		s.resetNC()
	} else {
		s.flush()
		err = s.nc.Close()
	}
	s.far.shut() // ends what waits in it
	if errors.Is(err, net.ErrClosed) {
		err = nil // because of a reset
	}
	deadline := time.Now().Add(closeWait)
	if !endsBy(s.outDone, deadline) {
		return fmt.Errorf("roomtest: Close of %T did not unblock its Write: a goroutine is left behind", s.nc)
	}
	if !endsBy(s.inDone, deadline) {
		return fmt.Errorf("roomtest: Close of %T did not unblock its Read: a goroutine is left behind", s.nc)
	}
	return err
}

// flush waits until pumpOut has ended or does not get on.
func (s *splice) flush() {
	at, next := s.far.in.progress()
	for next != lost {
		if endsBy(s.outDone, time.Now().Add(min(next, mostLatency)+closeWait)) {
			return
		}
		was := at
		if at, next = s.far.in.progress(); at == was {
			return
		}
	}
}

// endsBy reports whether done is closed before the deadline.
func endsBy(done <-chan struct{}, deadline time.Time) bool {
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
