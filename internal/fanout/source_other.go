//go:build !unix

package fanout

import (
	"net"
	"syscall"
)

type rawReader struct{}

func rawOf(net.Conn) syscall.RawConn { return nil }

func newRawReader(syscall.RawConn) *rawReader { panic("unreachable") }

func (*rawReader) read([]byte) (int, error)               { panic("unreachable") }
func (*rawReader) readBorrowed(*Source, int) (int, error) { panic("unreachable") }
