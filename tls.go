package tcproom

import (
	"context"
	"crypto/tls"
	"net"
)

// tlsConn is a [*tls.Conn], or a wrapper of the user's around one.
type tlsConn interface {
	net.Conn
	HandshakeContext(context.Context) error
	ConnectionState() tls.ConnectionState
}

// TLS returns the state of the TLS session, with the certificates of the peer,
// or nil where c speaks no TLS or its handshake is not over. At the room's end
// it is over when the first hook runs: a [Handshake] hook may take the identity
// from a client certificate that WithTLS's config, with
// tls.RequireAndVerifyClientCert, has verified. It does not block.
func (c *Conn) TLS() *tls.ConnectionState {
	tc, ok := c.nc.(tlsConn)
	if !ok {
		return nil
	}
	if c.dial != nil && c.dial.shaken != nil {
		select {
		case <-c.dial.shaken:
		default:
			return nil
		}
	}
	state := tc.ConnectionState()
	if !state.HandshakeComplete {
		return nil
	}
	return &state
}
