//go:build !linux

package sock

import "net"

// Unsent returns how many bytes the kernel holds that nc's peer has not
// acknowledged; ok is false if that is not known. It
// does not block, and may be called at any time.
func Unsent(nc net.Conn) (n int, ok bool) { return 0, false }

// TellsUnsent reports whether Unsent knows that of nc.
func TellsUnsent(nc net.Conn) bool { return false }
