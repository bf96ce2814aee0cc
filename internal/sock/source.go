package sock

import (
	"io"
	"net"
	"sync"
	"syscall"
)

const (
	readBuffer    = 16 << 10 // borrowed by a source with a direct path
	bigReadBuffer = 64 << 10 // borrowed after one that was filled
	ownBuffer     = 4 << 10  // of a source without a direct path
)

// A Source is the reading half of one connection, for one goroutine at a
// time. While the connection is quiet, a source on a socket holds no buffer
// but for bytes that were not consumed.
type Source struct {
	nc   net.Conn
	rc   syscall.RawConn // nil: nc.Read, into a buffer of its own
	raw  *rawReader      // over rc; nil until the first Read
	held []byte          // bytes not consumed: in part, or in the borrowed buffer
	part []byte          // a buffer of its own
	lent *[]byte         // borrowed
	big  bool
	slot int32 // in a Lookout, guarded by its lock; 0: in none
}

// NewSource returns the source of nc, from which nothing else may read from now on.
// The source need not be closed; nc is its caller's to close, which ends a Read.
func NewSource(nc net.Conn) *Source { return &Source{nc: nc, rc: rawOf(nc)} }

// Prime gives s, before its first Read, bytes that were read from its connection
// before. It keeps them, and Held returns them.
func (s *Source) Prime(b []byte) {
	s.part = b[:len(b):len(b)]
	s.held = s.part
}

// Read waits until there are more bytes and returns all that are not consumed,
// valid until the next Read, or until all of them are consumed. Its errors are those of
// the connection's Read: io.EOF at the end, a timeout at the read deadline, after
// which it can be called again. At most limit bytes are held, which must be more than
// are held now.
func (s *Source) Read(limit int) ([]byte, error) {
	s.own()
	if s.raw == nil && s.rc != nil {
		s.raw = newRawReader(s.rc)
	}
	if s.raw == nil || len(s.held) >= readBuffer/2 {
		return s.readOwn(limit)
	}
	return s.readLent(limit)
}

// Held returns the bytes that have been read and not consumed, valid as those of Read.
func (s *Source) Held() []byte { return s.held }

// Consume says that the first n bytes held are not needed any more; n is at most
// their number.
func (s *Source) Consume(n int) {
	s.held = s.held[n:]
	if len(s.held) == 0 {
		s.held = nil
		s.giveBack()
		if s.rc != nil || len(s.part) > readBuffer {
			s.part = nil
		}
	}
}

// own moves what is held out of a borrowed buffer, or out of one that a big
// frame has left.
func (s *Source) own() {
	if s.lent != nil || len(s.part) > readBuffer && len(s.held) < readBuffer/2 {
		s.held = append([]byte(nil), s.held...)
		s.part = s.held
		s.giveBack()
	}
}

func (s *Source) giveBack() {
	if s.lent != nil {
		scrub(*s.lent)
		returnBuffer(s.lent)
		s.lent = nil
	}
}

// readOwn reads into the source's own buffer, which grows with what arrives.
func (s *Source) readOwn(limit int) ([]byte, error) {
	n, err := s.readInto(s.room(limit))
	s.held = s.part[:len(s.held)+n]
	if n > 0 {
		err = nil
	}
	return s.held, err
}

// room moves what is held to the beginning of part and returns what is free
// behind it.
func (s *Source) room(limit int) []byte {
	n := len(s.held)
	if n == len(s.part) {
		grown := make([]byte, min(max(2*n, min(ownBuffer, limit)), limit))
		copy(grown, s.held)
		s.part = grown
	} else {
		copy(s.part, s.held)
	}
	s.held = s.part[:n]
	return s.part[n:min(len(s.part), limit)]
}

func (s *Source) readInto(b []byte) (n int, err error) {
	if s.raw != nil {
		return s.raw.read(b)
	}
	n, err = s.nc.Read(b)
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	return n, err
}

// readLent waits with no buffer, and borrows one when there are bytes.
func (s *Source) readLent(limit int) ([]byte, error) {
	held := s.held
	n, err := s.raw.readBorrowed(s, limit)
	if n <= 0 {
		return held, err
	}
	s.big = len(held)+n == min(len(*s.lent), limit)
	s.held = (*s.lent)[:len(held)+n]
	s.part = nil
	return s.held, nil
}

// borrow gets a buffer that begins with what is held.
func (s *Source) borrow(limit int) []byte {
	if s.lent == nil {
		s.lent = borrowBuffer(s.big)
		copy(*s.lent, s.held)
	}
	return (*s.lent)[len(s.held):min(len(*s.lent), limit)]
}

var bufferPools = [2]sync.Pool{
	{New: func() any { b := make([]byte, readBuffer); return &b }},
	{New: func() any { b := make([]byte, bigReadBuffer); return &b }},
}

func borrowBuffer(big bool) *[]byte {
	if big {
		return bufferPools[1].Get().(*[]byte)
	}
	return bufferPools[0].Get().(*[]byte)
}

func returnBuffer(b *[]byte) {
	if len(*b) == bigReadBuffer {
		bufferPools[1].Put(b)
	} else {
		bufferPools[0].Put(b)
	}
}
