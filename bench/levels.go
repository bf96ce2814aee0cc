//go:build linux

package main

// levels counts how many receivers have how many messages, so that what the
// slowest of all receivers has is known after every read, at a constant cost.
type levels struct {
	count []int32 // of receivers that have n messages, at n modulo its length
	low   uint64  // what the slowest receiver has
}

// newLevels is for receivers that all have base messages, of which none is ever
// more than span messages ahead of another.
func newLevels(receivers int, span, base uint64) *levels {
	size := uint64(1)
	for size <= span {
		size *= 2
	}
	l := &levels{count: make([]int32, size), low: base}
	l.count[base&(size-1)] = int32(receivers)
	return l
}

// move says that a receiver had from messages and has to now. It reports
// whether the slowest one has more than before.
func (l *levels) move(from, to uint64) bool {
	mask := uint64(len(l.count) - 1)
	l.count[from&mask]--
	l.count[to&mask]++
	if from != l.low || l.count[from&mask] > 0 {
		return false
	}
	for l.count[l.low&mask] == 0 {
		l.low++
	}
	return true
}
