package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// A tlsLink is the TLS of a connection whose bytes the load generator moves
// itself. It implements [net.Conn] for crypto/tls: until the handshake is done
// it reads and writes the blocking socket, then what feed gave and take takes.
type tlsLink struct {
	fd   int
	conn *tls.Conn
	done bool // the handshake
	in   []byte
	out  []byte

	counts  bool // it only counts, and does not decrypt
	records recordCounter
}

func newTLSLink(fd int, counts bool) (*tlsLink, error) {
	t := &tlsLink{fd: fd, counts: counts}
	// The server is this program: there is nobody to mistrust.
	t.conn = tls.Client(t, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err := t.conn.Handshake(); err != nil {
		return nil, err
	}
	t.done = true
	return t, nil
}

// feed takes bytes from the socket and returns how many bytes of messages they
// complete and, unless it only counts, those; they are valid until the next call.
func (t *tlsLink) feed(data, buf []byte) (n int, plain []byte, err error) {
	if t.counts {
		n, err = t.records.feed(data)
		return n, nil, err
	}
	return t.open(data, buf)
}

// greeting is feed for what comes before any message, and is always decrypted.
func (t *tlsLink) greeting(data []byte) ([]byte, error) {
	_, plain, err := t.open(data, make([]byte, 64<<10))
	return plain, err
}

func (t *tlsLink) open(data, buf []byte) (n int, plain []byte, err error) {
	t.in = append(t.in, data...)
	for n < len(buf) {
		more, err := t.conn.Read(buf[n:])
		n += more
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return n, buf[:n], err
		}
	}
	return n, buf[:n], nil
}

// seal returns data as the socket is to have it, valid until the next call.
func (t *tlsLink) seal(data []byte) ([]byte, error) {
	t.out = t.out[:0]
	_, err := t.conn.Write(data)
	return t.out, err
}

func (t *tlsLink) Read(b []byte) (int, error) {
	if t.done {
		if len(t.in) == 0 {
			return 0, os.ErrDeadlineExceeded // which does not end a tls.Conn
		}
		n := copy(b, t.in)
		t.in = append(t.in[:0], t.in[n:]...)
		return n, nil
	}
	for {
		switch n, errno := rawRead(t.fd, b); {
		case errno == syscall.EINTR:
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (t *tlsLink) Write(b []byte) (int, error) {
	if t.done {
		t.out = append(t.out, b...)
		return len(b), nil
	}
	return len(b), writeAll(t.fd, b)
}

// writeAll writes to a socket that blocks.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, errno := rawWrite(fd, b)
		if errno != 0 && errno != syscall.EINTR {
			return errno
		}
		b = b[max(n, 0):]
	}
	return nil
}

func (t *tlsLink) Close() error                     { return nil }
func (t *tlsLink) LocalAddr() net.Addr              { return nil }
func (t *tlsLink) RemoteAddr() net.Addr             { return nil }
func (t *tlsLink) SetDeadline(time.Time) error      { return nil }
func (t *tlsLink) SetReadDeadline(time.Time) error  { return nil }
func (t *tlsLink) SetWriteDeadline(time.Time) error { return nil }

// A recordCounter counts the bytes of messages in TLS 1.3 records that it
// cannot read, for their lengths are plain: all but the header, the hidden type
// and the tag is message, as long as the server sends nothing else.
type recordCounter struct {
	head [recordHead]byte
	have int // bytes of head
	left int // bytes of the record that are still to come
}

const (
	recordHead    = 5
	recordType    = 23 // what an encrypted record claims to be
	recordBeyond  = 1 + 16
	recordLargest = 1<<14 + 256
)

var errRecord = errors.New("not a record of TLS 1.3 with messages")

// feed returns how many bytes of messages the records have that end in data.
func (r *recordCounter) feed(data []byte) (n int, err error) {
	for len(data) > 0 {
		if r.have < recordHead {
			k := copy(r.head[r.have:], data)
			r.have, data = r.have+k, data[k:]
			if r.have < recordHead {
				return n, nil
			}
			r.left = int(r.head[3])<<8 | int(r.head[4])
			if r.head[0] != recordType || r.left < recordBeyond || r.left > recordLargest {
				return n, errRecord
			}
		}
		k := min(r.left, len(data))
		r.left, data = r.left-k, data[k:]
		if r.left == 0 {
			n += int(r.head[3])<<8 | int(r.head[4]) - recordBeyond
			r.have = 0
		}
	}
	return n, nil
}
