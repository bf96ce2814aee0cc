//go:build !unix

package sock

import (
	"net"
	"syscall"
)

// Direct would switch the direct path on; there is none here.
var Direct = false

func rawOf(net.Conn) syscall.RawConn { return nil }

// NewWriter returns nil: there is no direct path here.
func NewWriter(net.Conn) Writer { return nil }

// An Op is the memory of a system call, of which there is none here.
type Op struct{}
