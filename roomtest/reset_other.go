//go:build !windows

package roomtest

import (
	"errors"
	"syscall"
)

// isReset reports whether err says that the peer has reset a connection.
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
