package fanout

import "encoding/binary"

// ends says where, in bytes that were taken to be written, frames of the logs
// end, so that it is known how many of them have not been written. It is the
// distances between the ends, as uvarints: no more memory than the frames.
type ends struct {
	gaps []byte
	tail int // bytes behind the last end
	done int // bytes before the first end that are not there any more
}

// pass says that n bytes follow which end no frame.
func (e *ends) pass(n int) { e.tail += n }

// add says that n bytes follow, of which the last ends a frame.
func (e *ends) add(n int) {
	e.gaps = binary.AppendUvarint(e.gaps, uint64(e.tail+n))
	e.tail = 0
}

// drop takes n bytes away at the front, and returns how many frames ended in them.
func (e *ends) drop(n int) (frames int) {
	for n += e.done; ; frames++ {
		gap, size := binary.Uvarint(e.gaps)
		if size <= 0 || n < int(gap) {
			break
		}
		n -= int(gap)
		e.gaps = e.gaps[size:]
	}
	e.done = n
	return frames
}

// reset forgets all.
func (e *ends) reset() { *e = ends{gaps: e.gaps[:0]} }
