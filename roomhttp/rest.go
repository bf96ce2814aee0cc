package roomhttp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/tcproom"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	// maxHeldBack is how long a post waits for its place in the order.
	maxHeldBack = 5 * time.Second
	// bodyTimeout is how long the body of a post may take.
	bodyTimeout = 10 * time.Second
	// answerTimeout is how long a client may take an answer for, which is in memory
	// until then, unless the server has a WriteTimeout.
	answerTimeout = 30 * time.Second
	// maxAnswer is after how many bytes a list of messages ends.
	maxAnswer = 1 << 20
)

// anonymous is who posts without saying who it is.
var anonymous = tcproom.MemberInfo{ID: "web", Name: "web"}

// A memberJSON is a member, as in the frames of the JSON codec.
type memberJSON struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type roomJSON struct {
	Name    string `json:"name"`
	Members int    `json:"members"`
}

// getRooms lists the rooms, without those that are hidden.
func (h *Handler) getRooms(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r, "prefix", "after", "limit")
	if err != nil {
		fail(w, err)
		return
	}
	rooms, total, more := []roomJSON{}, 0, false
	for name, room := range h.rooms.Rooms(q.text["prefix"]) {
		if room.Hidden() {
			continue
		}
		switch total++; {
		case name <= q.text["after"]:
		case len(rooms) == q.limit:
			more = true
		default:
			rooms = append(rooms, roomJSON{name, room.Len()})
		}
	}
	writeJSON(w, r, http.StatusOK, struct {
		Rooms []roomJSON `json:"rooms"`
		Total int        `json:"total"`
		More  bool       `json:"more"`
	}{rooms, total, more})
}

// getRoom says how a room stands.
func (h *Handler) getRoom(w http.ResponseWriter, r *http.Request, room *tcproom.Room) {
	if _, err := parseQuery(r); err != nil {
		fail(w, err)
		return
	}
	past := room.Past(math.MaxUint64, 1)
	writeJSON(w, r, http.StatusOK, struct {
		roomJSON
		Epoch string `json:"epoch"`
		Seq   uint64 `json:"seq"`
	}{roomJSON{r.PathValue("room"), room.Len()}, past.Epoch, past.Seq})
}

// getMembers lists the members by ID: so a page goes on behind one that has left.
func (h *Handler) getMembers(w http.ResponseWriter, r *http.Request, room *tcproom.Room) {
	q, err := parseQuery(r, "after", "limit")
	if err != nil {
		fail(w, err)
		return
	}
	total, members := 0, []memberJSON{}
	for m := range room.Members() {
		if total++; m.ID() > q.text["after"] {
			members = append(members, memberJSON(m.Info()))
		}
	}
	slices.SortFunc(members, func(a, b memberJSON) int { return strings.Compare(a.ID, b.ID) })
	more := len(members) > q.limit
	writeJSON(w, r, http.StatusOK, struct {
		Members []memberJSON `json:"members"`
		Total   int          `json:"total"`
		More    bool         `json:"more"`
	}{members[:min(q.limit, len(members))], total, more})
}

// getMessages answers with what the history has behind a seq.
func (h *Handler) getMessages(w http.ResponseWriter, r *http.Request, room *tcproom.Room) {
	q, err := parseQuery(r, "after", "limit")
	after := uint64(0)
	if err == nil {
		after, err = q.number("after")
	}
	if err != nil {
		fail(w, err)
		return
	}
	head := w.Header()
	head.Set("Cache-Control", "private, no-cache")
	if tags := r.Header.Values("If-None-Match"); len(tags) > 0 {
		past := room.Past(after, 1) // the first is enough for the tag
		if etag := etagOf(&past); matches(tags, etag) {
			head.Set("ETag", etag)
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	past := room.Past(after, q.limit+1) // one more: is there more?
	head.Set("ETag", etagOf(&past))
	messages, size := []json.RawMessage{}, 0
	for i := range past.Events[:min(q.limit, len(past.Events))] {
		b, err := tcproom.JSON{}.AppendEvent(nil, &past.Events[i])
		if err != nil {
			fail(w, err)
			return
		}
		if size += len(b); size > maxAnswer && i > 0 {
			break
		}
		messages = append(messages, b)
	}
	more := len(messages) < len(past.Events)
	writeJSON(w, r, http.StatusOK, struct {
		Epoch    string            `json:"epoch"`
		Seq      uint64            `json:"seq"`
		Messages []json.RawMessage `json:"messages"`
		Gap      bool              `json:"gap"`
		More     bool              `json:"more"`
	}{past.Epoch, past.Seq, messages, past.Gap, more})
}

// etagOf names what there is to read. If messages go by themselves, as they do when
// they get too old, the seq alone does not tell: then there is a gap, and where it ends.
func etagOf(p *tcproom.Past) string {
	if !p.Gap {
		return fmt.Sprintf(`"%s-%d"`, p.Epoch, p.Seq)
	}
	first := uint64(0)
	if len(p.Events) > 0 {
		first = p.Events[0].Seq
	}
	return fmt.Sprintf(`"%s-%d-%d"`, p.Epoch, p.Seq, first)
}

// matches reports whether If-None-Match names etag, by the weak comparison. Our tags
// have no comma in them.
func matches(headers []string, etag string) bool {
	for _, line := range headers {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// getHealth says whether the room takes anybody.
func (h *Handler) getHealth(w http.ResponseWriter, r *http.Request) {
	if h.rooms.All().Stats().Stopping {
		fail(w, tcproom.ErrRoomClosed)
		return
	}
	writeJSON(w, r, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ok"})
}

// postMessage orders a message.
func (h *Handler) postMessage(w http.ResponseWriter, r *http.Request, room *tcproom.Room) {
	if !h.originAllowed(r) {
		problem(w, http.StatusForbidden, tcproom.ErrDenied, fmt.Sprintf("pages of %q may not post here", cut(r.Header.Get("Origin"))))
		return
	}
	from, err := h.speaker(r, room)
	if err == nil && from.member == nil {
		err = h.mayPost(r, room, from.guest.Name)
	}
	if err != nil {
		identityProblem(w, err)
		return
	}
	if h.cfg.onPost == nil && h.checksOf(r, room).messages {
		problem(w, http.StatusForbidden, tcproom.ErrDenied, "this room checks the messages of connections, and none is posted by a request: see roomhttp.OnPost")
		return
	}
	number, body, err := readMessage(w, r, room.MaxMessage())
	if err == nil && number != 0 && from.member == nil {
		err = badRequest("only messages of a member have a number: say which by the token of its session")
	}
	if err != nil {
		fail(w, err)
		return
	}
	if body, err = h.pass(r, from.info(), body); err != nil {
		identityProblem(w, err)
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), maxHeldBack, errHeldBack)
	defer cancel()
	seq, err := from.say(ctx, room, number, body)
	switch {
	case errors.Is(err, tcproom.ErrNotMember) && room.Hub() != nil: // not any more
		fail(w, notInRoom())
	case err != nil:
		fail(w, err)
	case seq == 0:
		problem(w, http.StatusConflict, codeNumberUsed, fmt.Sprintf("a message of the number %d, or of a greater one, was taken before, and its place is not known any more", number))
	default:
		w.Header().Set("Location", fmt.Sprintf("messages?after=%d&limit=1", seq-1))
		writeJSON(w, r, http.StatusCreated, struct {
			Epoch string `json:"epoch"`
			Seq   uint64 `json:"seq"`
		}{room.Past(math.MaxUint64, 1).Epoch, seq})
	}
}

// A speaker is who posts: a member, or one that is none.
type speaker struct {
	member *tcproom.Member
	guest  tcproom.MemberInfo
	known  bool // guest is who WithAuth says
}

func (s speaker) info() tcproom.MemberInfo {
	if s.member != nil {
		return s.member.Info()
	}
	return s.guest
}

func (s speaker) say(ctx context.Context, room *tcproom.Room, number uint64, body []byte) (uint64, error) {
	if s.member != nil {
		return s.member.PostNumbered(ctx, number, body)
	}
	seq, err := room.Say(ctx, s.guest, body)
	for i := 0; i < 3 && errors.Is(err, tcproom.ErrNameTaken); i++ { // members come and go
		seq, err = room.Say(ctx, s.instead(room), body)
	}
	return seq, err
}

// instead returns how a guest speaks whose name a member has: as this member, which the
// same user is if WithAuth says so, else by another name.
func (s speaker) instead(room *tcproom.Room) tcproom.MemberInfo {
	if !s.known {
		return tcproom.MemberInfo{ID: s.guest.ID, Name: s.guest.Name + "-" + rand.Text()[:6]}
	}
	members := room.Members()
	if hub := room.Hub(); hub != nil {
		members = hub.All().Members()
	}
	for m := range members {
		if m.Name() == s.guest.Name {
			return m.Info()
		}
	}
	return s.guest
}

// pass asks the hook of OnPost, and returns what it lets through.
func (h *Handler) pass(r *http.Request, from tcproom.MemberInfo, body []byte) (post []byte, err error) {
	if h.cfg.onPost == nil {
		return body, nil
	}
	err = call(r, "OnPost", func() error {
		post, err = h.cfg.onPost(r, from, body)
		return err
	})
	if err == nil && post == nil {
		err = fmt.Errorf("%w: the room takes no such message", tcproom.ErrDenied)
	}
	return post, err
}

// notInRoom is the error for the token of a connection that is in a hub, and not in the
// room that it is used for.
func notInRoom() error {
	return &problemError{status: http.StatusForbidden, code: tcproom.ErrNotMember, detail: "the connection of this token is not in that room"}
}

// mayPost returns why somebody of that name may not post without being a member: a ban.
func (h *Handler) mayPost(r *http.Request, room *tcproom.Room, name string) error {
	hub := room.Hub()
	if hub == nil {
		return nil
	}
	var addr net.Addr
	if h.cfg.clientAddr != nil {
		addr = h.cfg.clientAddr(r)
	}
	if addr == nil {
		addr = addrOf(r)
	}
	return hub.Banned(room.Name(), name, addr)
}

// speaker finds out who posts.
func (h *Handler) speaker(r *http.Request, room *tcproom.Room) (speaker, error) {
	token := bearer(r)
	m, known := memberOf(room, token)
	switch {
	case m != nil:
		return speaker{member: m}, nil
	case known:
		return speaker{}, notInRoom()
	}
	id, err := h.identify(r)
	switch {
	case err != nil:
		return speaker{}, err
	case id != nil && id.Name != "":
		return speaker{guest: tcproom.MemberInfo{ID: guestID(id.Name), Name: id.Name}, known: true}, nil
	case id == nil && token != "":
		return speaker{}, fmt.Errorf("%w: the token is of no member", ErrUnauthorized)
	case h.cfg.anonymousPost:
		return speaker{guest: anonymous}, nil
	}
	return speaker{}, &problemError{status: http.StatusForbidden, code: tcproom.ErrDenied, detail: "only members post here: say which by the token of its session, as Authorization: Bearer"}
}

// guestID returns the ID of the guest of that name: the same for ever.
func guestID(name string) string {
	const prefix = "web:"
	if id := prefix + url.PathEscape(name); len(id) <= 64 {
		return id
	}
	sum := sha256.Sum256([]byte(name))
	return prefix + hex.EncodeToString(sum[:16])
}

// bearer returns the token of Authorization: Bearer; "" if there is none.
func bearer(r *http.Request) tcproom.Secret {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return tcproom.Secret(strings.TrimSpace(token))
}

// readers lets those read that may read the room of One, or come into the hub.
func (h *Handler) readers(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.inChecked(w, r, h.rooms.All(), h.readersOf(func(w http.ResponseWriter, r *http.Request, _ *tcproom.Room) { next(w, r) }))
	}
}

// readersOf lets those read that WithAuth knows, and members; without WithAuth
// everybody, unless a handshake hook decides who joins the room.
func (h *Handler) readersOf(next roomHandler) roomHandler {
	return func(w http.ResponseWriter, r *http.Request, room *tcproom.Room) {
		if err := h.mayReadOf(r, room); err != nil {
			identityProblem(w, err)
			return
		}
		next(w, r, room)
	}
}

func (h *Handler) mayReadOf(r *http.Request, room *tcproom.Room) error {
	m, known := memberOf(room, bearer(r))
	if m != nil {
		return nil
	}
	id, err := h.identify(r)
	if err == nil && id == nil && h.checksOf(r, room).joins {
		if known {
			return notInRoom()
		}
		err = fmt.Errorf("%w: only members read here: say which by the token of its session", ErrUnauthorized)
	}
	return err
}

// readMessage reads what is posted, and its number; 0 if it has none.
func readMessage(w http.ResponseWriter, r *http.Request, most int) (number uint64, body []byte, err error) {
	isJSON, err := contentType(r)
	if err != nil {
		return 0, nil, err
	}
	if number, err = idempotencyKey(r); err != nil {
		return 0, nil, err
	}
	limit := int64(most)
	if isJSON {
		limit = 6*limit + 1<<10 // each byte an escape
	}
	if r.ContentLength > limit { // before it is sent, if it waits for 100 Continue
		w.Header().Set("Connection", "close")
		return 0, nil, tooLarge(most)
	}
	// With an error the deadline stays, for what the server still reads of the body.
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.Header().Set("Connection", "close")
			return 0, nil, &problemError{status: http.StatusRequestTimeout, code: codeTimeout, detail: fmt.Sprintf("the body did not come within %v", bodyTimeout)}
		}
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return 0, nil, tooLarge(most)
		}
		return 0, nil, badRequest("the body did not come whole")
	}
	rc.SetReadDeadline(time.Time{})
	if isJSON {
		if number, body, err = messageIn(body, number); err != nil {
			return 0, nil, err
		}
	}
	if len(body) > most {
		return 0, nil, tooLarge(most)
	}
	return number, body, nil
}

func tooLarge(most int) error {
	return fmt.Errorf("%w: the limit is %d bytes", tcproom.ErrFrameTooLarge, most)
}

// messageIn reads a message of the JSON codec, of which the type may be left out.
func messageIn(b []byte, number uint64) (uint64, []byte, error) {
	var req tcproom.Request
	err := tcproom.JSON{}.ParseRequest(slices.Clone(b), &req)
	if rest, ok := strings.CutPrefix(strings.TrimLeft(string(b), " \t\r\n"), "{"); ok && err != nil {
		req = tcproom.Request{}
		err = tcproom.JSON{}.ParseRequest([]byte(`{"type":"message",`+rest), &req)
	}
	switch {
	case err != nil:
		return 0, nil, badRequest("this is no message as in docs/wire.md: %v", plain(err))
	case req.Kind != tcproom.ReqSay:
		return 0, nil, badRequest("this is a %v, not a message", req.Kind)
	case number != 0 && req.Number != 0 && number != req.Number:
		return 0, nil, badRequest("its id is %d, its Idempotency-Key %d", req.Number, number)
	}
	return max(number, req.Number), req.Body, nil
}

// contentType reports whether the body is JSON, and else a message as it is.
func contentType(r *http.Request) (isJSON bool, err error) {
	unsupported := func(what, is string) error {
		return &problemError{status: http.StatusUnsupportedMediaType, code: codeUnsupportedType,
			detail: fmt.Sprintf("the %s is %q; text/plain, application/octet-stream and application/json are taken", what, cut(is))}
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return false, unsupported("Content-Encoding", e)
	}
	value := r.Header.Get("Content-Type")
	if value == "" {
		return false, nil
	}
	media, params, err := mime.ParseMediaType(value)
	if charset := params["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return false, unsupported("Content-Type", value)
	}
	switch media {
	case "text/plain", "application/octet-stream":
		return false, nil
	case "application/json":
		return true, nil
	}
	return false, unsupported("Content-Type", value)
}

// idempotencyKey returns the number of a message; 0 for none. Quotes may stand around
// it, as around the strings of RFC 8941.
func idempotencyKey(r *http.Request) (uint64, error) {
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return 0, nil
	}
	key := keys[0]
	if len(key) > 1 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	n, err := strconv.ParseUint(key, 10, 64)
	if err != nil || n == 0 || len(keys) > 1 {
		return 0, badRequest("the Idempotency-Key %q is not one number above 0", cut(strings.Join(keys, ", ")))
	}
	return n, nil
}

// A query is the parameters of a list.
type query struct {
	text  map[string]string
	limit int
}

// parseQuery reads the parameters that a route has. Others are an error: who writes
// afer=7 is not to get everything.
func parseQuery(r *http.Request, known ...string) (q query, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, badRequest("the query cannot be read: %q", cut(r.URL.RawQuery))
	}
	q = query{text: make(map[string]string), limit: defaultLimit}
	for name, v := range values {
		if !slices.Contains(known, name) || len(v) > 1 {
			return q, badRequest("the parameter %q is not known here, or there twice", cut(name))
		}
		q.text[name] = v[0]
	}
	if _, ok := q.text["limit"]; ok {
		n, err := q.number("limit")
		if err != nil || n == 0 {
			return q, badRequest("the limit %q is not a number above 0", cut(q.text["limit"]))
		}
		q.limit = int(min(n, maxLimit))
	}
	return q, nil
}

// number returns a parameter that is a number; 0 if it is not there.
func (q *query) number(name string) (uint64, error) {
	s, ok := q.text[name]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, badRequest("%s=%q is not a number", name, cut(s))
	}
	return n, nil
}

// isRoomName reports whether a room can have this name.
func isRoomName(name string) bool {
	bad := func(r rune) bool {
		return strings.ContainsRune(":,/*#", r) || !unicode.IsGraphic(r) || unicode.IsSpace(r)
	}
	return name != "" && len(name) <= 64 && utf8.ValidString(name) && !strings.ContainsFunc(name, bad)
}

// wantsJSON answers those that take no JSON by 406, before anything is done.
func wantsJSON(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if accept := r.Header.Values("Accept"); !accepts(accept, "application", "json") {
			problem(w, http.StatusNotAcceptable, codeNotAcceptable, fmt.Sprintf("the answer is application/json, and not %q", cut(strings.Join(accept, ", "))))
			return
		}
		next(w, r)
	}
}

// accepts reports whether Accept headers allow a type, by the most exact of the ranges
// that it is in.
func accepts(headers []string, major, minor string) bool {
	if strings.TrimSpace(strings.Join(headers, "")) == "" {
		return true
	}
	exact, ok := -1, false
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		how := slices.Index([]string{"*/*", major + "/*", major + "/" + minor}, media)
		if how < 0 || how < exact {
			continue
		}
		q := 1.0
		if s, there := params["q"]; there {
			if q, err = strconv.ParseFloat(s, 64); err != nil {
				continue
			}
		}
		exact, ok = how, q > 0
	}
	return ok
}

// boundAnswer sets how long the client may take what is written until the function that
// it returns is called.
func boundAnswer(w http.ResponseWriter, r *http.Request) (end func()) {
	if srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && srv.WriteTimeout > 0 {
		return func() {}
	}
	rc := http.NewResponseController(w)
	rc.SetWriteDeadline(time.Now().Add(answerTimeout)) // not all servers have any
	return func() { rc.SetWriteDeadline(time.Time{}) }
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, err)
		return
	}
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	defer boundAnswer(w, r)()
	writeBody(w, status, "application/json", b)
}
