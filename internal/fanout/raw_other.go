//go:build !unix

package fanout

import "net"

// direct would switch the direct path on; there is none here.
var direct = false

type op struct{}

func (o *op) init() {}

func rawWriter(net.Conn) nonblocking { return nil }
