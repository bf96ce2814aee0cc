//go:build !unix

package fanout

import "net"

type rawReader struct{}

func rawReaderOf(net.Conn) *rawReader { return nil }

func (*rawReader) read([]byte) (int, error)               { panic("unreachable") }
func (*rawReader) readBorrowed(*Source, int) (int, error) { panic("unreachable") }
