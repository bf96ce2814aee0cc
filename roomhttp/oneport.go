package roomhttp

import (
	"bytes"
	"container/list"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"example.com/tcproom"
)

const (
	lookTime   = 300 * time.Millisecond // after accept
	maxLooks   = 1024                   // connections that are looked at
	lookBuffer = 512                    // bytes of one
)

// Serve serves HTTP and a room at one port, until l, srv, the door or the room is
// closed. It reads the first bytes of each connection. Those of a request of HTTP go to
// srv, with whose Handler browsers reach the same room by a [Handler]. TLS goes to srv
// too if its TLSConfig has a certificate, as for HTTPS; it is HTTP/2 then if NextProtos
// of that has "h2", as with [http.Server.Serve]. Everything else goes to door, as
// [tcproom.Door.Admit] has it: what looks like no request at once, and who sends nothing
// 300 ms after it was accepted, so that people with nc join that much later. A browser
// that connects in advance and sends nothing for longer counts as one of them: without a
// hello it joins, and when its request comes it leaves and sends that again on another
// connection. To avoid both, use two ports.
//
// Of TLS the first byte tells no more than that it is TLS. So srv and a door with
// [tcproom.WithTLS] exclude each other: with a certificate of srv's no TLS reaches the
// door, without one HTTP is not encrypted. HTTP without TLS is served at the port in any
// case, so a Handler to which it must not get has to ask for the TLS of each request.
// l must not speak TLS itself.
//
// At most 1024 connections are looked at. If one more comes, the one that has waited
// longest goes to the door at once, so nobody has to wait for silent peers, and these
// are counted by the limits of the room, such as [tcproom.WithMaxPerAddress]. Requests
// are bounded by srv alone: set its ReadHeaderTimeout. If 1024 wait until calls of
// [tcproom.OnReject] return, those that the room would get are closed without a word.
//
// Serve returns [http.ErrServerClosed] after a Shutdown or Close of srv, otherwise what
// [tcproom.Door.Serve] does. It waits out errors of accepting as that does. When it
// returns, l and all connections that nobody has are closed. The others stay: stop srv,
// which has no part in upgraded connections, and then the room. srv and door must not be
// nil, and may serve other listeners at the same time.
func Serve(l net.Listener, srv *http.Server, door *tcproom.Door) error {
	p := &port{Listener: l, door: door, slots: make(chan struct{}, maxLooks), admitting: make(chan struct{}, maxLooks), done: make(chan struct{})}
	p.web = &webListener{p, make(chan net.Conn)}
	if hasCertificate(srv.TLSConfig) {
		p.tls = srv.TLSConfig.Clone()
	}
	webErr := make(chan error, 1)
	go p.serveWeb(srv, webErr)
	err := door.Serve(p) // and closes p
	if webErr := <-webErr; !errors.Is(webErr, net.ErrClosed) {
		err = webErr // srv was closed, and p after it
	}
	p.looking.Wait()
	return err
}

// hasCertificate reports whether c is enough for TLS. A Server that has served
// something has a TLSConfig in any case.
func hasCertificate(c *tls.Config) bool {
	return c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)
}

// A port is a listener from which the room gets nothing by Accept: there the
// connections are looked at, and who they are for gets them later.
type port struct {
	net.Listener
	door    *tcproom.Door
	web     *webListener
	tls     *tls.Config   // nil if TLS is not for the server
	slots   chan struct{} // a token for each connection that is looked at
	done    chan struct{} // closed by the first Close
	looking sync.WaitGroup

	admitting chan struct{} // a token for each that the room is being given

	mu     sync.Mutex // guards what follows
	silent list.List  // net.Conn, of which too little has been read; the oldest first
	closed bool
}

// serveWeb runs srv, whose end is that of the port, and ends with it.
func (p *port) serveWeb(srv *http.Server, ended chan<- error) {
	err := srv.Serve(p.web)
	p.Close()
	ended <- err
}

// Accept returns an error only.
func (p *port) Accept() (net.Conn, error) {
	for {
		nc, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p.take(nc)
	}
}

// Close closes the listener, and all connections that it has not given away.
func (p *port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.done)
	for e := p.silent.Front(); e != nil; e = e.Next() {
		e.Value.(net.Conn).SetReadDeadline(past)
	}
	p.mu.Unlock()
	return p.Listener.Close()
}

// past is a deadline that has expired.
var past = time.Unix(1, 0)

// take has nc looked at. If there are too many it is the turn of the one that has
// waited longest.
func (p *port) take(nc net.Conn) {
	select {
	case p.slots <- struct{}{}:
	default:
		p.hurry()
		select {
		case p.slots <- struct{}{}:
		case <-p.done:
			nc.Close()
			return
		}
	}
	nc.SetReadDeadline(time.Now().Add(lookTime))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		nc.Close()
		return
	}
	p.looking.Add(1)
	go p.look(nc, p.silent.PushBack(nc))
}

// hurry ends the wait for the oldest.
func (p *port) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.silent.Front(); e != nil {
		e.Value.(net.Conn).SetReadDeadline(past)
	}
}

// look gives nc to who it is for. It ends then, lookTime after the accept unless a hook
// or the server holds it up, or when the port is closed.
func (p *port) look(nc net.Conn, e *list.Element) {
	defer p.looking.Done()
	read, dest := p.firstBytes(nc)
	p.mu.Lock()
	p.silent.Remove(e)
	closed := p.closed
	p.mu.Unlock()
	nc.SetReadDeadline(time.Time{})
	switch {
	case closed, dest == nowhere:
		nc.Close()
	case dest == toHTTP:
		p.web.give(&begun{nc, read})
	case dest == toTLS:
		p.web.give(tls.Server(&begun{nc, read}, p.tls))
	default:
		p.admit(nc, read)
		return
	}
	<-p.slots
}

// admit gives nc to the room, and its slot back before: HTTP does not wait for hooks of
// the room's that do not return.
func (p *port) admit(nc net.Conn, read []byte) {
	patience := time.NewTimer(lookTime)
	defer patience.Stop()
	select {
	case p.admitting <- struct{}{}:
		<-p.slots
		p.door.Admit(nc, tcproom.Arrival{Read: read, BesideHTTP: true}) // with an error the room has closed it and told OnReject
		<-p.admitting
	case <-patience.C:
		nc.Close()
		<-p.slots
	}
}

// A destination is who gets a connection.
type destination uint8

const (
	unknown    destination = iota // the room, unless more is read
	likelyHTTP                    // HTTP, unless more is read that says something else
	toHTTP
	toTLS
	toRoom
	nowhere
)

// firstBytes reads until it is clear, or time, where nc is to go. It returns what it
// has read.
func (p *port) firstBytes(nc net.Conn) (read []byte, dest destination) {
	buf := make([]byte, lookBuffer)
	for {
		n, err := nc.Read(buf[len(read):])
		read = buf[:len(read)+n]
		dest = p.destinationOf(read)
		switch {
		case dest > likelyHTTP:
		case err == nil && len(read) < len(buf):
			continue
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
			if dest == likelyHTTP {
				dest = toHTTP // of which the rest is late, or long
			}
		case !errors.Is(err, io.EOF):
			dest = nowhere // it is broken
		}
		return read[:len(read):len(read)], dest
	}
}

// destinationOf says to whom a connection goes that begins with data.
func (p *port) destinationOf(data []byte) destination {
	if len(data) > 0 && data[0] == 0x16 && p.tls != nil {
		return toTLS // a record of its handshake
	}
	return requestIn(data)
}

// requestIn says whether data begins a request of HTTP. The whole of the line counts,
// as far as it is there: members too begin a message with a word in capitals.
func requestIn(data []byte) destination {
	method := 0
	for method < len(data) && data[method] >= 'A' && data[method] <= 'Z' {
		method++
	}
	switch {
	case method > 16:
		return toRoom
	case method == len(data):
		return unknown
	case method < 3, data[method] != ' ':
		return toRoom
	}
	rest := data[method+1:]
	target := bytes.IndexFunc(rest, func(r rune) bool { return r < '!' || r > '~' })
	if target < 0 {
		return likelyHTTP
	}
	if target == 0 || rest[target] != ' ' {
		return toRoom
	}
	const protocol = "HTTP/"
	switch version := rest[target+1:]; {
	case bytes.HasPrefix(version, []byte(protocol)):
		return toHTTP
	case bytes.HasPrefix([]byte(protocol), version):
		return likelyHTTP
	}
	return toRoom
}

// A webListener is where the server accepts what is for it.
type webListener struct {
	*port
	conns chan net.Conn
}

func (l *webListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// give waits until the server takes nc, or closes it with the port.
func (l *webListener) give(nc net.Conn) {
	select {
	case l.conns <- nc:
	case <-l.done:
		nc.Close()
	}
}

// A begun is a connection of which read has been read already. What a server, TLS or a
// room does to the connection beneath, it does to that.
type begun struct {
	net.Conn
	read []byte // what Read returns first
}

// beneath returns the connection that nc is, if it is a begun, and what is to be read
// before it. nc is not to be used any more.
func beneath(nc net.Conn) (net.Conn, []byte) {
	if b, ok := nc.(*begun); ok {
		return b.Conn, b.read
	}
	return nc, nil
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.read) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.read)
	if b.read = b.read[n:]; len(b.read) == 0 {
		b.read = nil
	}
	return n, nil
}

func (b *begun) CloseWrite() error {
	if nc, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return nc.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (b *begun) SetLinger(sec int) error {
	if nc, ok := b.Conn.(interface{ SetLinger(sec int) error }); ok {
		return nc.SetLinger(sec)
	}
	return errors.ErrUnsupported
}

func (b *begun) SetReadBuffer(bytes int) error {
	if nc, ok := b.Conn.(interface{ SetReadBuffer(bytes int) error }); ok {
		return nc.SetReadBuffer(bytes)
	}
	return errors.ErrUnsupported
}

func (b *begun) SetWriteBuffer(bytes int) error {
	if nc, ok := b.Conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		return nc.SetWriteBuffer(bytes)
	}
	return errors.ErrUnsupported
}
