//go:build !linux

package fanout

import "net"

// Unsent returns how many bytes the kernel holds that nc's peer has not
// acknowledged; ok is false where that is not known.
func Unsent(nc net.Conn) (n int, ok bool) { return 0, false }

func tellsUnsent(net.Conn) bool { return false }
