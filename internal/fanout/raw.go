package fanout

// nonblocking is a connection that can be written to without ever waiting.
type nonblocking interface {
	// tryWrite makes one attempt. again says that the connection would
	// block; then n is 0.
	tryWrite(o *op, b []byte) (n int, again bool, err error)
}
