//go:build !unix

package sock

import "syscall"

type rawReader struct{}

func newRawReader(syscall.RawConn) *rawReader { panic("unreachable") }

func (*rawReader) read([]byte) (int, error)               { panic("unreachable") }
func (*rawReader) readBorrowed(*Source, int) (int, error) { panic("unreachable") }
