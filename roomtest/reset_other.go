//go:build !windows

package roomtest

import (
	"errors"
	"syscall"
)

// isReset reports whether err is a reset of the connection by its peer.
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
