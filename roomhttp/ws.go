package roomhttp

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"example.com/tcproom"
)

const errReset tcproom.Cause = "reset"

const (
	upgradeTimeout = 5 * time.Second  // for the answer to be written
	wsHeartbeat    = 30 * time.Second // unless WithConn says something else
)

// A subprotocol is what is spoken in a WebSocket.
type subprotocol struct {
	name  string
	codec tcproom.Codec
	kind  string // of door
}

// subprotocols are those that a client may ask for; the first is for a client that
// asks for none.
var subprotocols = []subprotocol{
	{"tcproom.json", wsJSON{}, "ws.json"},
	{"tcproom.text", wsText{}, "ws.text"},
}

// serveWS upgrades a request to WebSocket by RFC 6455 4.2 and gives the connection to
// the room. It returns as soon as that has it.
//
// Its steps come one after the other, and not one within the other: the stack of the
// server's goroutine has little left, and to grow it costs as much as all of them.
func (h *Handler) serveWS(w http.ResponseWriter, r *http.Request, room *tcproom.Room) {
	if u := h.mayUpgrade(w, r, room); u != nil && u.take(w) && u.answer() {
		u.door.Admit(u.nc, u.arrival) // with an error the room has closed it and told OnReject
	}
}

// An upgrade is a request that may be upgraded, and its connection, which may go to its
// door in the end.
type upgrade struct {
	offer   upgradeOffer
	door    *tcproom.Door
	arrival tcproom.Arrival

	// Once it was taken.
	nc   net.Conn
	buf  *bufio.ReadWriter // until it is answered
	head []byte            // of the answer
}

// mayUpgrade returns nil for a request that is not to be upgraded, which it has answered.
func (h *Handler) mayUpgrade(w http.ResponseWriter, r *http.Request, room *tcproom.Room) *upgrade {
	offer, no := upgradable(r)
	if no != nil {
		no.answer(w)
		return nil
	}
	if !h.originAllowed(r) {
		problem(w, http.StatusForbidden, tcproom.ErrDenied, "pages of this origin are not allowed here")
		return nil
	}
	u := &upgrade{offer: offer}
	var err error
	if u.arrival.Identity, err = h.identify(r); err != nil {
		identityProblem(w, err)
		return nil
	}
	u.arrival.Hello = &tcproom.Hello{Name: nameOf(r)} // JSON says its own
	if h.cfg.clientAddr != nil {
		u.arrival.Addr = h.cfg.clientAddr(r)
	}
	if u.arrival.Room, err = h.roomToEnter(r, u.arrival.Identity, u.arrival.Addr); err != nil {
		fail(w, err)
		return nil
	}
	if u.door, err = h.doorWS(room, offer.sub); err != nil {
		fail(w, err)
		return nil
	}
	if !mayCome(w, r, u.door, u.arrival) {
		return nil
	}
	return u
}

// roomToEnter returns the room of a hub that the address of r names; "" if it names none,
// or there is no hub. Memory as of nameOf. An error says that who asks is banned there.
func (h *Handler) roomToEnter(r *http.Request, id *tcproom.Identity, addr net.Addr) (string, error) {
	hub := h.hub()
	if hub == nil {
		return "", nil
	}
	name, room := "", strings.Clone(r.PathValue("room"))
	if id != nil {
		name = id.Name
	}
	if addr == nil {
		addr = addrOf(r)
	}
	return room, hub.Banned(room, name, addr)
}

// nameOf returns the name that the address of r asks for. Its memory is its own: else a
// member would keep the whole address, which may be as long as the server allows.
func nameOf(r *http.Request) string { return strings.Clone(r.URL.Query().Get("name")) }

// doorWS returns the way into a room for those who speak sub.
func (h *Handler) doorWS(room *tcproom.Room, sub *subprotocol) (*tcproom.Door, error) {
	opts := append([]tcproom.ConnOption{tcproom.WithHeartbeat(wsHeartbeat)}, h.cfg.conn...)
	// TLS is the server's: that of the room's listeners does not stand within HTTP.
	opts = append(opts, tcproom.WithTLS(nil), tcproom.WithFraming(wire{}), tcproom.WithCodec(sub.codec))
	return h.door(room, sub.kind, opts...)
}

// mayCome reports whether a door would take the connection of r. With false the request
// is answered: later there is nothing that its client would understand.
func mayCome(w http.ResponseWriter, r *http.Request, door *tcproom.Door, a tcproom.Arrival) bool {
	if a.Addr == nil {
		a.Addr = addrOf(r)
	}
	err := door.Check(a.Addr)
	if errors.Is(err, net.ErrClosed) { // by Close, meanwhile
		err = tcproom.ErrRoomClosed
	}
	if err != nil {
		fail(w, err)
	}
	return err == nil
}

// addrOf returns the address that r is from; nil if it is none of IP.
func addrOf(r *http.Request) net.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil
	}
	return net.TCPAddrFromAddrPort(addr)
}

// An upgradeOffer is a request that can be upgraded.
type upgradeOffer struct {
	key   string // Sec-WebSocket-Key
	sub   *subprotocol
	named bool // the client asked for sub by its name
}

// A refusedUpgrade is why a request is not upgraded.
type refusedUpgrade struct {
	status int
	header http.Header
	code   tcproom.Cause
	detail string
}

func noUpgrade(status int, detail string) *refusedUpgrade {
	return &refusedUpgrade{status: status, code: tcproom.ErrMalformed, detail: detail}
}

func (u *refusedUpgrade) with(key, value string) *refusedUpgrade {
	if u.header == nil {
		u.header = make(http.Header)
	}
	u.header.Set(key, value)
	return u
}

// withUpgrade says what to upgrade to, unless r is of HTTP/2, which knows no upgrade and
// forbids these headers.
func (u *refusedUpgrade) withUpgrade(r *http.Request) *refusedUpgrade {
	if r.ProtoMajor != 1 {
		return u
	}
	return u.with("Upgrade", "websocket").with("Connection", "Upgrade")
}

func (u *refusedUpgrade) answer(w http.ResponseWriter) {
	for k, v := range u.header {
		w.Header()[k] = v
	}
	problem(w, u.status, u.code, u.detail)
}

// upgradable returns what r offers, or why it cannot be upgraded.
func upgradable(r *http.Request) (offer upgradeOffer, no *refusedUpgrade) {
	keys := r.Header.Values("Sec-Websocket-Key") // as Go writes it
	version := r.Header.Values("Sec-Websocket-Version")
	switch {
	case !reads(r):
		no = noUpgrade(http.StatusMethodNotAllowed, "a WebSocket begins with GET").with("Allow", "GET")
	case r.Method != http.MethodGet, r.ProtoMajor != 1 || r.ProtoMinor < 1, !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"):
		no = noUpgrade(http.StatusUpgradeRequired, "this is the address of a WebSocket: a client has to ask for an upgrade, and a proxy between must pass it on, in HTTP/1.1").
			withUpgrade(r)
	case len(version) != 1 || version[0] != "13":
		no = noUpgrade(http.StatusUpgradeRequired, "the version of WebSocket must be 13").
			withUpgrade(r).with("Sec-WebSocket-Version", "13")
	case len(keys) != 1 || !validKey(keys[0]):
		no = noUpgrade(http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64")
	case r.ContentLength != 0:
		no = noUpgrade(http.StatusBadRequest, "a request for an upgrade must have no body")
	default:
		offer.key = keys[0]
		if offer.sub, offer.named = subprotocolOf(r.Header); offer.sub == nil {
			no = noUpgrade(http.StatusBadRequest, "none of the subprotocols is spoken here: tcproom.json and tcproom.text are")
		}
	}
	return offer, no
}

// cutToken takes the first element off a header that is a list. It may be empty.
func cutToken(list string) (token, rest string) {
	token, rest, _ = strings.Cut(list, ",")
	return strings.Trim(token, " \t"), rest
}

// hasToken reports whether a list has token, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, list := range h.Values(name) {
		for list != "" {
			var t string
			if t, list = cutToken(list); strings.EqualFold(t, token) {
				return true
			}
		}
	}
	return false
}

// subprotocolOf returns the first subprotocol that the client offers and that is
// spoken here; nil if there is none. named is false if it offers nothing.
func subprotocolOf(h http.Header) (sub *subprotocol, named bool) {
	for _, list := range h.Values("Sec-Websocket-Protocol") {
		for list != "" {
			var name string
			name, list = cutToken(list)
			named = named || name != ""
			for i := range subprotocols {
				if subprotocols[i].name == name {
					return &subprotocols[i], true
				}
			}
		}
	}
	if named {
		return nil, true
	}
	return &subprotocols[0], false
}

func validKey(key string) bool {
	b, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(b) == 16
}

// acceptOf proves that the key was read, by RFC 6455 4.2.2. SHA-1 keeps no secret here.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// notForUpgrade are headers that say something of a body, or that upgrade sets.
var notForUpgrade = map[string]bool{
	"Connection": true, "Content-Encoding": true, "Content-Length": true, "Content-Type": true,
	"Sec-Websocket-Accept": true, "Sec-Websocket-Extensions": true, "Sec-Websocket-Protocol": true,
	"Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// take takes the connection of w from its server. If it cannot, it has answered with a
// problem.
func (u *upgrade) take(w http.ResponseWriter) bool {
	var err error
	if u.nc, u.buf, err = http.NewResponseController(w).Hijack(); err != nil {
		problem(w, http.StatusInternalServerError, tcproom.ErrHook, "this server cannot upgrade a connection")
		return false
	}
	var b bytes.Buffer
	io.WriteString(&b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+acceptOf(u.offer.key)+"\r\n")
	if u.offer.named {
		io.WriteString(&b, "Sec-WebSocket-Protocol: "+u.offer.sub.name+"\r\n")
	}
	w.Header().WriteSubset(&b, notForUpgrade) // a cookie of a middleware's, for one
	io.WriteString(&b, "\r\n")
	u.head = b.Bytes()
	return true
}

// answer answers the request of a connection that was taken. If it cannot, it has closed
// that.
func (u *upgrade) answer() bool {
	var err error
	u.nc, u.arrival.Read, err = speakFirst(u.nc, u.buf, u.head)
	u.buf, u.head = nil, nil
	if err != nil {
		u.door.Reject(u.nc, u.arrival, err)
	}
	return err == nil
}

// speakFirst writes the first bytes to a connection that was taken from its server. It
// returns the connection that the room is to have, and what was read from it already.
func speakFirst(nc net.Conn, buf *bufio.ReadWriter, first []byte) (_ net.Conn, read []byte, err error) {
	nc.SetDeadline(time.Now().Add(upgradeTimeout))
	if _, err := nc.Write(first); err != nil {
		return nc, nil, fmt.Errorf("%w: roomhttp: answer a request: %w", errReset, err)
	}
	nc.SetDeadline(time.Time{})
	held, _ := buf.Reader.Peek(buf.Reader.Buffered())
	nc, rest := beneath(nc)                   // of Serve's the room is to have the socket
	return nc, slices.Concat(held, rest), nil // a copy: the buffer is large, and would stay as long
}
