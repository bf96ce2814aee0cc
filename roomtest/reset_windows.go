package roomtest

import (
	"errors"
	"syscall"
)

// isReset reports whether err is a reset of the connection by its peer. Sockets of
// Windows return an error number of their own, which does not match
// syscall.ECONNRESET.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.WSAECONNRESET) || errors.Is(err, syscall.WSAECONNABORTED)
}
