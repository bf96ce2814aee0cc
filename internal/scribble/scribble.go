// Package scribble overwrites memory that somebody had on loan and must not
// use any more, so that keeping it shows.
package scribble

import "sync/atomic"

var on atomic.Bool

func init() { on.Store(Race) }

// Turn switches overwriting on for the process. In race builds it is on.
func Turn() { on.Store(true) }

// On reports whether loans are overwritten.
func On() bool { return on.Load() }

// pattern is no text and, by its first byte, no UTF-8.
const pattern = "\xffreturned\xff"

// Over overwrites b.
func Over(b []byte) {
	for len(b) > 0 {
		b = b[copy(b, pattern):]
	}
}
