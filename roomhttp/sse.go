package roomhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/tcproom"
)

const (
	eventsType = "text/event-stream"
	// eventsHeartbeat is shorter than what proxies wait for bytes, unless WithConn says
	// something else.
	eventsHeartbeat = 15 * time.Second
	// eventsRetry is after how long a browser comes back, in milliseconds, and
	// eventsNoRetry after how long if coming back does not help. An EventSource can only
	// be ended by its page, and there are pages that do not.
	eventsRetry, eventsNoRetry = 2000, 3600 * 1000
	// lastWrite bounds how long the last bytes to a relay's client may take.
	lastWrite = 5 * time.Second
)

// serveEvents answers a request with the events of a room, whose member the client is
// from then on. It returns as soon as the room has the connection, or, if that cannot be
// taken from the server, as with HTTP/2, when the client has left.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request, room *tcproom.Room) {
	past := h.pastOf(r, room)
	since, ok := h.mayRead(w, r)
	if !ok {
		return
	}
	a := tcproom.Arrival{Hello: &tcproom.Hello{Name: nameOf(r), Since: since}}
	var err error
	if a.Identity, err = h.identify(r); err != nil {
		identityProblem(w, err)
		return
	}
	// For those alone who may know, and not if this process may have still to read that event.
	if since != nil && since.Epoch == past.Epoch && since.Seq > past.Seq && !past.Log {
		problem(w, http.StatusBadRequest, "future", fmt.Sprintf("there is no event %d yet, the last is %d", since.Seq, past.Seq))
		return
	}
	head := w.Header()
	if r.Method == http.MethodHead {
		setEventsHeader(head)
		w.WriteHeader(http.StatusOK)
		return
	}
	if h.cfg.clientAddr != nil {
		a.Addr = h.cfg.clientAddr(r)
	}
	if a.Room, err = h.roomToEnter(r, a.Identity, a.Addr); err != nil {
		fail(w, err)
		return
	}
	opts := append([]tcproom.ConnOption{tcproom.WithHeartbeat(eventsHeartbeat)}, h.cfg.conn...)
	opts = append(opts, tcproom.WithFraming(events{}), tcproom.WithCodec(eventsCodec{}), tcproom.WithTLS(nil),
		tcproom.WithIdleTimeout(0)) // a reader is always silent
	door, err := h.door(room, "sse", opts...)
	if err != nil {
		fail(w, err)
		return
	}
	if !mayCome(w, r, door, a) {
		return
	}
	first := preface(past, since)
	nc, buf, err := http.NewResponseController(w).Hijack()
	switch {
	case err == nil:
		setEventsHeader(head)
		if nc, a.Read, err = speakFirst(nc, buf, eventsHead(r, head, first)); err != nil {
			door.Reject(nc, a, err)
			return
		}
		door.Admit(nc, a) // with an error the room has closed it and told OnReject
	case errors.Is(err, http.ErrNotSupported):
		defer h.beginRelay()()
		relayEvents(w, r, door, a, first)
	default:
		problem(w, http.StatusInternalServerError, tcproom.ErrHook, "this server cannot give a connection away")
	}
}

// pastOf returns where the order of the room stands that r is to read. In a hub that is
// nothing if the room is yet to be made, or if it may turn out that its reader must not
// enter it: the events tell.
func (h *Handler) pastOf(r *http.Request, room *tcproom.Room) tcproom.Past {
	if h.hub() != nil {
		var ok bool
		if room, ok = h.rooms.Lookup(r.PathValue("room")); !ok || room.Hidden() || h.checksOf(r, room).joins {
			return tcproom.Past{}
		}
	}
	return room.Past(0, 1)
}

// mayRead returns since when the client of r wants to read. With false the request is
// answered: it may not, or asks for what there cannot be.
func (h *Handler) mayRead(w http.ResponseWriter, r *http.Request) (since *tcproom.Position, ok bool) {
	if accept := r.Header.Values("Accept"); !asksForEvents(accept) {
		problem(w, http.StatusNotAcceptable, codeNotAcceptable, fmt.Sprintf("the answer is %s, and not %q", eventsType, cut(strings.Join(accept, ", "))))
		return nil, false
	}
	if r.ContentLength != 0 {
		problem(w, http.StatusBadRequest, tcproom.ErrMalformed, "a request for events must have no body")
		return nil, false
	}
	if !h.originAllowed(r) || ofOtherSite(r) {
		problem(w, http.StatusForbidden, tcproom.ErrDenied, "pages of this origin are not allowed here")
		return nil, false
	}
	said := r.Header.Get("Last-Event-ID") // of one that comes back, by the address of its first request
	if said == "" {
		said = r.URL.Query().Get("after")
	}
	if said == "" {
		return nil, true
	}
	if since, ok = parsePosition(said); !ok {
		problem(w, http.StatusBadRequest, tcproom.ErrMalformed, fmt.Sprintf("%q is no EPOCH:SEQ", cut(said)))
		return nil, false
	}
	return since, true
}

// asksForEvents reports whether an Accept is one of a client that means events: it names
// them, or says nothing but "*/*". Images and frames of any page accept */* among others,
// and over plain HTTP nothing else tells of them: they would join.
func asksForEvents(accept []string) bool {
	if !accepts(accept, "text", "event-stream") {
		return false
	}
	all := strings.ToLower(strings.Join(accept, ","))
	return len(accept) == 0 || strings.TrimSpace(all) == "*/*" || strings.Contains(all, eventsType)
}

// ofOtherSite reports whether r comes of a page of another site which does not say of
// which, such as that of an image: it would join as the user of that browser.
func ofOtherSite(r *http.Request) bool {
	if len(r.Header.Values("Origin")) > 0 {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return true
	}
	return false
}

func parsePosition(s string) (*tcproom.Position, bool) {
	epoch, digits, ok := strings.Cut(s, ":")
	if !ok || epoch == "" || len(epoch) > 64 || strings.ContainsFunc(epoch, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return nil, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return &tcproom.Position{Epoch: epoch, Seq: seq}, err == nil
}

func setEventsHeader(h http.Header) {
	h.Set("Content-Type", eventsType+"; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events until it has many
	h.Set("X-Content-Type-Options", "nosniff")
}

// notForEvents are headers that say something else of the body, or that eventsHead sets.
var notForEvents = map[string]bool{
	"Connection": true, "Content-Encoding": true, "Content-Length": true, "Date": true,
	"Keep-Alive": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// eventsHead returns the answer up to the first event. The body ends with the
// connection.
func eventsHead(r *http.Request, head http.Header, first string) []byte {
	var b bytes.Buffer
	version := "HTTP/1.1"
	if !r.ProtoAtLeast(1, 1) {
		version = "HTTP/1.0"
	}
	fmt.Fprintf(&b, "%s 200 OK\r\nDate: %s\r\nConnection: close\r\n", version, time.Now().UTC().Format(http.TimeFormat))
	head.WriteSubset(&b, notForEvents) // those of CORS, for one
	b.WriteString("\r\n" + first)
	return b.Bytes()
}

// preface is what stands before all events: when a client is to come back, and the
// position before what it is told. So one that is cut before its first event with an id
// misses nothing without knowing, once it has come back.
func preface(past tcproom.Past, since *tcproom.Position) string {
	if past.Epoch == "" {
		return fmt.Sprintf("retry: %d\n\n", eventsRetry)
	}
	seq := past.Seq
	switch {
	case since != nil && since.Epoch == past.Epoch:
		seq = since.Seq
	case len(past.Events) > 0:
		seq = past.Events[0].Seq - 1
	}
	return fmt.Sprintf("retry: %d\nid: %s:%d\n\n", eventsRetry, past.Epoch, seq)
}

// relayEvents passes on what the room sends to a client whose connection has to stay
// with its server.
func relayEvents(w http.ResponseWriter, r *http.Request, door *tcproom.Door, a tcproom.Arrival, first string) {
	rc := http.NewResponseController(w)
	// Those of the server are for answers that come to an end. Not all servers have any.
	rc.SetReadDeadline(time.Time{})
	rc.SetWriteDeadline(time.Time{})
	head := w.Header()
	before := head.Clone()
	setEventsHeader(head)
	if r.ProtoMajor == 1 {
		head.Set("Connection", "close")
	}
	if err := rc.Flush(); errors.Is(err, http.ErrNotSupported) { // before the status is sent
		clear(head)
		for k, v := range before {
			head[k] = v
		}
		problem(w, http.StatusInternalServerError, tcproom.ErrHook, "this server cannot send events as they come")
		return
	}
	if a.Addr == nil {
		a.Addr = addrOf(r)
	}
	room, here := net.Pipe()
	nc := &relay{Conn: room, rc: rc}
	defer nc.release()
	defer here.Close()
	stop := context.AfterFunc(r.Context(), func() { here.Close() })
	defer stop()
	if door.Admit(nc, a) != nil {
		return
	}
	b := append(make([]byte, 0, 8<<10), first...)
	for {
		if _, err := w.Write(b); err != nil || rc.Flush() != nil {
			return
		}
		n, err := here.Read(b[:cap(b)])
		if err != nil {
			return
		}
		b = b[:n]
	}
}

// A relay is the room's end of a pipe to a request that is being answered.
type relay struct {
	net.Conn
	mu sync.Mutex
	rc *http.ResponseController // nil: the request is answered, and nothing more may be done with it
}

// Close ends what is written to the client too, if that does not take it: nobody else
// would.
func (n *relay) Close() error {
	n.mu.Lock()
	if n.rc != nil {
		n.rc.SetWriteDeadline(time.Now().Add(lastWrite))
	}
	n.mu.Unlock()
	return n.Conn.Close()
}

func (n *relay) release() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rc = nil
}

// events is the framing of an event stream: a body is whole events already. Nothing
// comes the other way.
type events struct{}

var _ tcproom.Framing = events{}

// AppendFrame implements [tcproom.Framing].
func (events) AppendFrame(dst, body []byte) ([]byte, error) { return append(dst, body...), nil }

var errReaderSpoke = fmt.Errorf("%w: events: a client sends nothing behind its request", tcproom.ErrMalformed)

// SplitFrame implements [tcproom.Framing].
func (events) SplitFrame(data []byte, _ int) (int, []byte, error) {
	if len(data) > 0 {
		return 0, nil, errReaderSpoke
	}
	return 0, nil, nil
}

// eventsCodec says events as an event stream of the HTML standard does: what JSON says
// is the data. The id of one that has a place in the order is EPOCH:SEQ.
type eventsCodec struct{}

var (
	_ tcproom.FrameBounder  = eventsCodec{}
	_ tcproom.ControlFrames = eventsCodec{}
)

// Features implements [tcproom.Codec].
func (eventsCodec) Features() tcproom.Features { return tcproom.Features{Gaps: true} }

// What stands around the data of an event.
const (
	idField    = "id: "
	retryField = "retry: "
	dataField  = "data: "
	eventEnd   = "\n\n"
)

// AppendEvent implements [tcproom.Codec]. JSON has no line end within an object.
//
// A Welcome has no id, though it has a Seq: history comes behind it, and a client that
// is cut in between must not take that as read.
func (eventsCodec) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	out, seq := dst, uint64(0)
	switch ev.Kind {
	case tcproom.Message, tcproom.Join, tcproom.Leave, tcproom.Renamed:
		seq = ev.Seq
	case tcproom.Gap:
		seq = ev.Gap.Last
	case tcproom.Goodbye, tcproom.Refused:
		if ms := retryOf(ev.End); ms > 0 {
			out = append(strconv.AppendInt(append(out, retryField...), ms, 10), '\n')
		}
	case tcproom.Ack, tcproom.Ping, tcproom.Pong:
		return dst, tcproom.ErrNoFrame
	}
	if seq != 0 {
		out = append(append(append(out, idField...), ev.Epoch...), ':')
		out = append(strconv.AppendUint(out, seq, 10), '\n')
	}
	out, err := tcproom.JSON{}.AppendEvent(append(out, dataField...), ev)
	if err != nil {
		return dst, err
	}
	return append(out, eventEnd...), nil
}

// retryOf returns after how many milliseconds a browser is to come back; 0: as it was
// told before.
func retryOf(end *tcproom.EndError) int64 {
	switch {
	case end == nil:
		return 0
	case end.Final:
		return eventsNoRetry
	}
	return end.RetryAfter.Milliseconds()
}

// ParseEvent implements [tcproom.Codec] for what AppendEvent says; it is no parser of
// all that an event stream may have.
func (eventsCodec) ParseEvent(frame []byte, ev *tcproom.Event) error {
	if len(frame) == 0 || frame[0] == ':' {
		return tcproom.ErrNoFrame
	}
	rest, ok := bytes.CutSuffix(frame, []byte(eventEnd))
	if i := bytes.LastIndexByte(rest, '\n'); ok && i >= 0 {
		ok = bytes.HasPrefix(rest, []byte(idField)) || bytes.HasPrefix(rest, []byte(retryField))
		ok = ok && bytes.IndexByte(rest, '\n') == i
		rest = rest[i+1:]
	}
	data, isData := bytes.CutPrefix(rest, []byte(dataField))
	if !ok || !isData {
		return fmt.Errorf("%w: events: no event", tcproom.ErrMalformed)
	}
	return tcproom.JSON{}.ParseEvent(data, ev)
}

// AppendRequest implements [tcproom.Codec]: a client sends nothing.
func (eventsCodec) AppendRequest(dst []byte, _ *tcproom.Request) ([]byte, error) {
	return dst, tcproom.ErrNoFrame
}

// ParseRequest implements [tcproom.Codec].
func (eventsCodec) ParseRequest([]byte, *tcproom.Request) error { return errReaderSpoke }

// MaxFrame implements [tcproom.FrameBounder].
func (eventsCodec) MaxFrame(maxBody int) (toRoom, toMember int) {
	_, toMember = tcproom.JSON{}.MaxFrame(maxBody)
	const epoch, digits = 64, 20
	extra := max(len(idField)+epoch+len(":"), len(retryField)) + digits + len("\n") + len(dataField) + len(eventEnd)
	return 0, min(toMember, math.MaxInt-extra) + extra
}

// AppendPing implements [tcproom.ControlFrames]: a comment, which no client answers.
func (eventsCodec) AppendPing(dst []byte) []byte { return append(dst, ": \n\n"...) }

// AppendAnswer implements [tcproom.ControlFrames].
func (eventsCodec) AppendAnswer(dst, _ []byte) []byte { return dst }

// AppendEnd implements [tcproom.ControlFrames]: the end is that of the connection.
func (eventsCodec) AppendEnd(dst []byte, _ tcproom.Cause, _ error) []byte { return dst }
