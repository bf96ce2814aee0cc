package roomtest

import (
	"errors"
	"syscall"
)

// isReset reports whether err says that the peer has reset a connection.
// Sockets say so in words of Windows' own, which package syscall does not take for
// its ECONNRESET.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.WSAECONNRESET) || errors.Is(err, syscall.WSAECONNABORTED)
}
