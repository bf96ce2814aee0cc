package tcproom

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// tlsConn is a [*tls.Conn], or a wrapper of the user's around one.
type tlsConn interface {
	net.Conn
	HandshakeContext(context.Context) error
	ConnectionState() tls.ConnectionState
}

// tlsCause makes of the error of a TLS handshake the cause of the end.
func tlsCause(err error) error {
	switch {
	case errors.As(err, new(Cause)): // of its context
		return err
	case errors.Is(err, io.EOF):
		return errCutOff
	case errors.As(err, new(syscall.Errno)):
		return fmt.Errorf("%w: TLS handshake: %w", errReset, err)
	}
	return fmt.Errorf("%w: TLS handshake: %w", ErrMalformed, err)
}

// tlsState returns the state of nc's TLS session, nil if it has none or its
// handshake is not over.
func tlsState(nc net.Conn) *tls.ConnectionState {
	tc, ok := nc.(tlsConn)
	if !ok {
		return nil
	}
	state := tc.ConnectionState()
	if !state.HandshakeComplete {
		return nil
	}
	return &state
}

// A tlsDoor is a connection on which TLS is expected. It does not wait for a whole
// record from a peer that says something else, which may never come.
type tlsDoor struct {
	net.Conn
	looked bool
	held   []byte // read from Conn before
}

// NetConn returns what lies beneath, as that of a [tls.Conn] does.
func (d *tlsDoor) NetConn() net.Conn { return d.Conn }

func (d *tlsDoor) Read(b []byte) (n int, err error) {
	if len(d.held) > 0 {
		n = copy(b, d.held)
		d.held = d.held[n:]
	} else {
		n, err = d.Conn.Read(b)
	}
	if n > 0 && !d.looked {
		if d.looked = true; b[0] != 0x16 && b[0] != 0x15 {
			return 0, errNoTLS
		}
	}
	return n, err
}
