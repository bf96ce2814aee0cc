//go:build unix && !portable

package tcproom_test

// direct says that sockets are written to without a goroutine for each.
const direct = true
