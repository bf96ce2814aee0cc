package roomhttp

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"log"
	"net"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"example.com/tcproom"
)

// Rooms are the rooms of a [Handler]: a [*tcproom.Hub], or a single room, of which [One]
// makes them. Their methods are called from many goroutines at once, and make no room.
type Rooms interface {
	// Lookup returns the room of that name.
	Lookup(name string) (*tcproom.Room, bool)
	// Rooms returns the rooms whose names begin with prefix, by name.
	Rooms(prefix string) iter.Seq2[string, *tcproom.Room]
	// All returns the room of /ws. If it is [tcproom.Hub.All], connections enter the
	// rooms of that hub, also those that Lookup does not have yet.
	All() *tcproom.Room
}

var _ Rooms = (*tcproom.Hub)(nil)

// One is a single room. Empty means "lobby".
func One(name string, r *tcproom.Room) Rooms {
	if name == "" {
		name = "lobby"
	}
	return oneRoom{name, r}
}

type oneRoom struct {
	name string
	r    *tcproom.Room
}

func (o oneRoom) Lookup(name string) (*tcproom.Room, bool) { return o.r, name == o.name }

func (o oneRoom) Rooms(prefix string) iter.Seq2[string, *tcproom.Room] {
	return func(yield func(string, *tcproom.Room) bool) {
		if strings.HasPrefix(o.name, prefix) {
			yield(o.name, o.r)
		}
	}
}

func (o oneRoom) All() *tcproom.Room { return o.r }

// An Option changes how a [Handler] works.
type Option func(*config)

type config struct {
	origins       []string
	hosts         []string
	auth          func(*http.Request) (tcproom.Identity, error)
	clientAddr    func(*http.Request) net.Addr
	onPost        func(r *http.Request, from tcproom.MemberInfo, body []byte) ([]byte, error)
	anonymousPost bool
	page          fs.FS
	conn          []tcproom.ConnOption
}

// WithHosts allows names by which a server that listens on loopback is asked beside
// localhost, those below it, and IP addresses: hosts without a port, as
// "chat.example.com". A request for another name is answered by 421, for it may be of a
// page whose name was pointed at this machine: to its browser that page is of the
// server's own origin. A proxy on the same machine that passes on the Host of its
// clients needs this option. If it is set, it counts at all addresses; else requests
// that come by another address than loopback, or by TLS, for which the page would need
// the certificate, may be for any name. "*" is any name, everywhere. Several WithHosts
// add up. The default is none.
func WithHosts(hosts ...string) Option {
	return func(c *config) { c.hosts = append(c.hosts, hosts...) }
}

// WithOrigins allows pages of other origins than the server's own: an origin with its
// scheme, as "https://chat.example.com"; or a host with its port, if that is not the
// scheme's, as "chat.example.com" or "localhost:3000", which is https, or for loopback
// http too. Case, the scheme's own port and what stands behind the host do not count.
// The others are compared whole, and may read with cookies. "*" is any: then every page
// that its user opens may post and join as that user, if [WithAuth] goes by cookies or
// by the client's address. The origin "null" is never allowed. Several WithOrigins add
// up. The default is none.
func WithOrigins(hosts ...string) Option {
	return func(c *config) { c.origins = append(c.origins, hosts...) }
}

// WithAuth sets the function that says who somebody is. It is called for each request
// but those of the page, of /healthz and OPTIONS, and those that do not join and bring
// the token of a session of the room as Authorization: Bearer; from many goroutines at
// once. It may block, which holds up that request alone. r is valid until it returns;
// its body is not to be read.
//
// What it returns is the identity of a member that joins by WebSocket or as a reader of
// events, in place of the room's handshake hook, and the name of what is posted; if the
// room has unique names, and this one is in it, that member is who posts. An error that
// wraps [ErrUnauthorized] is answered by 401, a [*tcproom.RefusedError] by what it says,
// another one by 403 with its text, and a panic by 500: it is logged by the server's
// ErrorLog. The page asks for no name then. The default, and nil, is that everybody may
// read and join, unless the room has a handshake hook, also by [WithConn]: it decides
// who joins, and only members read.
func WithAuth(fn func(r *http.Request) (tcproom.Identity, error)) Option {
	return func(c *config) { c.auth = fn }
}

// WithClientAddr sets the function that says from which address a request is, for a
// server behind a proxy that tells it in a header. It is called for those that join,
// from many goroutines at once, and must not block; nil is the address of the
// connection, and so is a panic, which is logged by the server's ErrorLog. The default,
// and nil, is that no header is trusted.
func WithClientAddr(fn func(r *http.Request) net.Addr) Option {
	return func(c *config) { c.clientAddr = fn }
}

// OnPost sets the hook that every message passes that is posted by a request, for the
// room's OnMessage and WithRate are not asked about these: in a room that has one of
// them, also by [WithConn], nobody may post by a request without OnPost. Those of a
// [tcproom.Room.Door] alone are not known here. It is called when it is known who posts,
// from many goroutines at once; a request that is repeated with its number is passed
// again. It may block, which holds up that request alone. What it returns is posted. An
// error refuses the message: a [*tcproom.RefusedError] by what it says, such as the
// cause "rate-limited" with a RetryAfter, another one by 403 with its text; nil in place
// of a body by 403, and a panic as in [WithAuth]. It owns body. The default, and nil,
// lets everything pass, but in such a room.
func OnPost(fn func(r *http.Request, from tcproom.MemberInfo, body []byte) ([]byte, error)) Option {
	return func(c *config) { c.onPost = fn }
}

// WithAnonymousPost sets whether a request that does not say who it is from may post,
// by the name of "web", or one that begins so if a member has taken that. How fast is
// for [OnPost] to bound. The default is false.
func WithAnonymousPost(on bool) Option { return func(c *config) { c.anonymousPost = on } }

// WithPage sets the files that are served where no route is; index.html is /. The
// default is a chat client for browsers, nil none. They are called from many goroutines
// at once.
//
// All files are for everybody, those whose names begin with a dot too, and each is read
// whole into memory for each request: it is for a page, not for large files. A client
// has 30 seconds to take one, or the WriteTimeout of the server. They are served with a
// Content-Security-Policy that allows scripts, styles and connections of the page's own
// origin only, no images and no inline scripts, and that requires Trusted Types: a
// script that sets innerHTML to a string fails.
func WithPage(fsys fs.FS) Option { return func(c *config) { c.page = fsys } }

// WithConn sets options of the connections that come by WebSocket and events, such as
// [tcproom.WithHeartbeat]. Those of framing, codec and TLS have no effect. Several
// WithConn add up.
func WithConn(opts ...tcproom.ConnOption) Option {
	return func(c *config) { c.conn = append(c.conn, opts...) }
}

// A Handler serves rooms over HTTP. It is mounted below a path by [http.StripPrefix].
// [New] makes one.
type Handler struct {
	rooms Rooms
	cfg   config
	mux   *http.ServeMux

	mu     sync.Mutex // guards what follows; not held during a request
	doors  map[doorKey]*tcproom.Door
	checks map[*tcproom.Room]checks
	closed bool
	relays int           // streams of events that are being relayed
	idle   chan struct{} // closed when there are none; nil if nobody waits for that
}

// New returns a Handler of these rooms. It holds no goroutine. Closing it is up to its
// user. An option of [WithConn] that cannot work shows at the first request for a room:
// these are answered by 500, and the [tcproom.ErrOption] is logged by the server's
// ErrorLog.
func New(rooms Rooms, opts ...Option) *Handler {
	h := &Handler{rooms: rooms, cfg: config{page: defaultPage()}, mux: http.NewServeMux()}
	for _, opt := range opts {
		opt(&h.cfg)
	}
	h.cfg.clientAddr = contained(h.cfg.clientAddr)
	if h.cfg.page != nil {
		h.cfg.page = markedPage{h.cfg.page, h.cfg.auth != nil, h.hub()}
	}
	h.mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) { h.inChecked(w, r, h.rooms.All(), h.serveWS) })
	h.mux.HandleFunc("GET /rooms/{room}/ws", h.entering(h.serveWS))
	h.mux.HandleFunc("GET /rooms/{room}/events", h.entering(h.serveEvents))
	h.mux.HandleFunc("GET /rooms", wantsJSON(h.readers(h.getRooms)))
	h.mux.HandleFunc("GET /rooms/{room}", wantsJSON(h.inRoom(h.readersOf(h.getRoom))))
	h.mux.HandleFunc("GET /rooms/{room}/members", wantsJSON(h.inRoom(h.readersOf(h.getMembers))))
	h.mux.HandleFunc("GET /rooms/{room}/messages", wantsJSON(h.inRoom(h.readersOf(h.getMessages))))
	h.mux.HandleFunc("POST /rooms/{room}/messages", wantsJSON(h.inRoom(h.postMessage)))
	h.mux.HandleFunc("GET /healthz", wantsJSON(h.getHealth))
	return h
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.hostAllowed(r) {
		problem(w, http.StatusMisdirectedRequest, codeMisdirected, fmt.Sprintf("this server is not known by the name %q: see roomhttp.WithHosts", cut(r.Host)))
		return
	}
	h.shareWithOrigin(w, r)
	if h.isClosed() {
		fail(w, tcproom.ErrRoomClosed)
		return
	}
	if r.URL.Path != "" && (r.URL.Path[0] != '/' || path.Clean(r.URL.Path) != r.URL.Path) {
		// ServeMux would redirect it to a path that says nothing of StripPrefix.
		h.unrouted(w, r, "")
		return
	}
	if _, pattern := h.mux.Handler(r); pattern != "" {
		h.mux.ServeHTTP(w, r)
		return
	}
	no := &onlyHeader{header: make(http.Header)}
	if r.URL.Path != "" {
		h.mux.ServeHTTP(no, r) // it knows which methods the path has
	}
	h.unrouted(w, r, no.header.Get("Allow"))
}

// onlyHeader is a ResponseWriter that sends nothing.
type onlyHeader struct{ header http.Header }

func (o *onlyHeader) Header() http.Header         { return o.header }
func (o *onlyHeader) Write(b []byte) (int, error) { return len(b), nil }
func (o *onlyHeader) WriteHeader(int)             {}

// unrouted answers a request for which there is no route; allow says of which methods
// there are.
func (h *Handler) unrouted(w http.ResponseWriter, r *http.Request, allow string) {
	if allow == "" {
		if reads(r) && servePage(w, r, h.cfg.page) {
			return
		}
		if !h.hasFile(r.URL.Path) {
			problem(w, http.StatusNotFound, codeNotFound, fmt.Sprintf("there is nothing at %q", cut(r.URL.Path)))
			return
		}
		allow = "GET, HEAD"
	}
	allow += ", OPTIONS"
	w.Header().Set("Allow", allow)
	if r.Method != http.MethodOptions {
		problem(w, http.StatusMethodNotAllowed, codeMethodNotAllowed, fmt.Sprintf("the methods here are %s, not %q", allow, cut(r.Method)))
		return
	}
	if r.Header.Get("Access-Control-Request-Method") != "" && w.Header().Get("Access-Control-Allow-Origin") != "" {
		w.Header().Set("Access-Control-Allow-Methods", allow)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID")
		w.Header().Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// hasFile reports whether the page has a file for this path.
func (h *Handler) hasFile(urlPath string) bool {
	if h.cfg.page == nil {
		return false
	}
	name := strings.TrimPrefix(urlPath, "/")
	if name == "" {
		name = "index.html"
	}
	if !fs.ValidPath(name) {
		return false
	}
	info, err := fs.Stat(h.cfg.page, name)
	return err == nil && info.Mode().IsRegular()
}

// cut keeps what a peer sent short enough to be quoted.
func cut(s string) string { return s[:min(len(s), 128)] }

// A roomHandler answers a request for a room.
type roomHandler func(w http.ResponseWriter, r *http.Request, room *tcproom.Room)

// hub returns the hub whose rooms these are; nil if they are of none.
func (h *Handler) hub() *tcproom.Hub {
	if h.rooms == nil {
		return nil
	}
	all := h.rooms.All()
	if hub := all.Hub(); hub != nil && hub.All() == all {
		return hub
	}
	return nil
}

// inRoom finds the room that the path names. A hidden one is there for its members alone.
func (h *Handler) inRoom(next roomHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("room")
		var room *tcproom.Room
		ok := isRoomName(name)
		if !ok {
			fail(w, &problemError{status: http.StatusBadRequest, code: tcproom.ErrRoomName, detail: fmt.Sprintf("no room can be called %q", cut(name))})
			return
		}
		if room, ok = h.rooms.Lookup(name); ok && room.Hidden() {
			m, _ := memberOf(room, bearer(r))
			ok = m != nil
		}
		if !ok {
			problem(w, http.StatusNotFound, tcproom.ErrNoRoom, fmt.Sprintf("there is no room %q", name))
			return
		}
		h.inChecked(w, r, room, next)
	}
}

// entering is inRoom for those that enter the room, which in a hub makes it. next gets
// the room by whose door they come.
func (h *Handler) entering(next roomHandler) http.HandlerFunc {
	hub := h.hub()
	if hub == nil {
		return h.inRoom(next)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if err := hub.Check(r.PathValue("room")); err != nil {
			fail(w, err)
			return
		}
		h.inChecked(w, r, hub.All(), next)
	}
}

// memberOf returns the member of room that has the session with this token. In a hub it
// is one of several of its connection; then known says that there is a connection.
func memberOf(room *tcproom.Room, token tcproom.Secret) (m *tcproom.Member, known bool) {
	hub := room.Hub()
	if hub == nil {
		return room.MemberByToken(token)
	}
	base, known := hub.All().MemberByToken(token)
	if !known {
		return nil, false
	}
	for m := range hub.Memberships(base) {
		if m.Room() == room {
			return m, true
		}
	}
	return nil, true
}

// inChecked answers by 500 if the options of WithConn cannot work in this room.
func (h *Handler) inChecked(w http.ResponseWriter, r *http.Request, room *tcproom.Room, next roomHandler) {
	if err := h.checksOf(r, room).err; err != nil {
		problem(w, http.StatusInternalServerError, tcproom.ErrHook, "an option of this server's cannot work")
		return
	}
	next(w, r, room)
}

// checks are what a connection has to pass, see [tcproom.Room.Checks].
type checks struct {
	joins, messages bool
	err             error // an option that cannot work
}

// checksOf asks the room once, and logs an option that cannot work. A named room of a
// hub, which may go, it asks each time.
func (h *Handler) checksOf(r *http.Request, room *tcproom.Room) checks {
	if hub := room.Hub(); hub != nil && room != hub.All() {
		return h.askChecks(r, room)
	}
	h.mu.Lock()
	c, ok := h.checks[room]
	h.mu.Unlock()
	if ok {
		return c
	}
	c = h.askChecks(r, room)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = make(map[*tcproom.Room]checks)
	}
	h.checks[room] = c
	return c
}

func (h *Handler) askChecks(r *http.Request, room *tcproom.Room) (c checks) {
	opts := append(slices.Clone(h.cfg.conn), tcproom.WithTLS(nil), tcproom.WithFraming(wire{}), tcproom.WithCodec(wsJSON{}))
	if c.joins, c.messages, c.err = room.Checks(opts...); c.err != nil {
		logf(r.Context(), "roomhttp: WithConn: %v", c.err)
	}
	return c
}

// identify asks the function of WithAuth who r is from; nil if there is none. A panic
// becomes a *tcproom.HookError.
func (h *Handler) identify(r *http.Request) (id *tcproom.Identity, err error) {
	if h.cfg.auth == nil {
		return nil, nil
	}
	err = call(r, "WithAuth", func() error {
		who, err := h.cfg.auth(r)
		id = &who
		return err
	})
	if err != nil {
		return nil, err
	}
	return id, nil
}

// call calls a hook of the user's.
func call(r *http.Request, hook string, fn func() error) (err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v)
		}
		err = &tcproom.HookError{Hook: hook, Panic: v, Stack: debug.Stack()}
		logf(r.Context(), "roomhttp: hook %s panicked, for %q: %q\n%s", hook, r.RemoteAddr, fmt.Sprint(v), debug.Stack())
	}()
	if err = fn(); err != nil {
		_ = err.Error() // which may panic too
	}
	return err
}

// contained returns a function of WithClientAddr whose panics are nil.
func contained(fn func(*http.Request) net.Addr) func(*http.Request) net.Addr {
	if fn == nil {
		return nil
	}
	return func(r *http.Request) (addr net.Addr) {
		call(r, "WithClientAddr", func() error {
			addr = fn(r)
			return nil
		})
		return addr
	}
}

// logf logs where the server that serves the request does.
func logf(ctx context.Context, format string, args ...any) {
	if srv, ok := ctx.Value(http.ServerContextKey).(*http.Server); ok && srv.ErrorLog != nil {
		srv.ErrorLog.Printf(format, args...)
		return
	}
	log.Printf(format, args...)
}

// hostAllowed reports whether the server may be meant by the name that r is for. See
// [WithHosts].
func (h *Handler) hostAllowed(r *http.Request) bool {
	if r.Host == "" { // browsers always send one
		return true
	}
	here, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if len(h.cfg.hosts) == 0 && (r.TLS != nil || !isLocal(here)) {
		return true
	}
	host := hostOf(r.Host)
	// An address is no name that could be pointed at another machine.
	return isLoopback(host) || net.ParseIP(host) != nil ||
		slices.ContainsFunc(h.cfg.hosts, func(name string) bool { return name == "*" || strings.EqualFold(hostOf(name), host) })
}

// isLocal reports whether an address is of this machine alone; nil is none.
func isLocal(a net.Addr) bool {
	if tcp, ok := a.(*net.TCPAddr); ok { // as nearly always: it need not be written and read again
		return tcp.IP.IsLoopback()
	}
	return a != nil && isLoopback(a.String())
}

// hostOf returns a host without its port, brackets and the dot of the root.
func hostOf(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return strings.TrimSuffix(host, ".")
}

// isLoopback reports whether a host, with its port or without, is this machine: the
// names below localhost lead nowhere else, by RFC 6761.
func isLoopback(hostport string) bool {
	host := strings.ToLower(hostOf(hostport))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(host).IsLoopback()
}

// originAllowed reports whether r may do something: it is of no page, or of one of this
// origin or of one that is listed.
func (h *Handler) originAllowed(r *http.Request) bool {
	if len(r.Header.Values("Origin")) == 0 {
		return true
	}
	origin, ok := originOf(r)
	return ok && (isOwn(r, origin) || h.listed(origin) != "")
}

// isOwn reports whether a page of this origin is of the server that r is for. What came
// by TLS is of https alone: a page that came without may have been changed on its way.
// What came without TLS may have come by it to a proxy.
func isOwn(r *http.Request, origin *url.URL) bool {
	return (r.TLS == nil || origin.Scheme == "https") &&
		normalHost(origin.Scheme, origin.Host) == normalHost(origin.Scheme, r.Host)
}

// normalHost returns a host in lower case, and its port if that is not the scheme's.
func normalHost(scheme, hostport string) string {
	hostport = strings.ToLower(hostport)
	switch scheme {
	case "https":
		return strings.TrimSuffix(hostport, ":443")
	case "http":
		return strings.TrimSuffix(hostport, ":80")
	}
	return hostport
}

// originOf returns the origin of r; false for none, for "null" and for several.
func originOf(r *http.Request) (*url.URL, bool) {
	origins := r.Header.Values("Origin")
	if len(origins) != 1 {
		return nil, false
	}
	u, err := url.Parse(origins[0]) // which puts the scheme in lower case
	return u, err == nil && u.Scheme != "" && u.Host != ""
}

// listed returns the entry of WithOrigins that allows an origin; "" if none does.
func (h *Handler) listed(origin *url.URL) string {
	if i := slices.IndexFunc(h.cfg.origins, func(entry string) bool { return allows(entry, origin) }); i >= 0 {
		return h.cfg.origins[i]
	}
	if slices.Contains(h.cfg.origins, "*") {
		return "*"
	}
	return ""
}

// allows reports whether an entry of WithOrigins is for this origin.
func allows(entry string, origin *url.URL) bool {
	whole, isWhole := entry, strings.Contains(entry, "://")
	if !isWhole {
		whole = "https://" + entry
	}
	u, err := url.Parse(whole)
	if err != nil || u.Host == "" {
		return false
	}
	if !isWhole && origin.Scheme == "http" && isLoopback(u.Host) {
		u.Scheme = "http"
	}
	return u.Scheme == origin.Scheme && normalHost(u.Scheme, u.Host) == normalHost(origin.Scheme, origin.Host)
}

// shareWithOrigin allows pages of a listed origin to read the answer.
func (h *Handler) shareWithOrigin(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Origin")
	origin, ok := originOf(r)
	if !ok {
		return
	}
	entry := h.listed(origin)
	if entry == "" {
		return
	}
	head := w.Header()
	head.Set("Access-Control-Expose-Headers", "Allow, ETag, Location, Retry-After, WWW-Authenticate")
	if entry == "*" {
		head.Set("Access-Control-Allow-Origin", "*")
		return
	}
	head.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	head.Set("Access-Control-Allow-Credentials", "true")
}

// A doorKey names a door of the Handler's.
type doorKey struct {
	room *tcproom.Room
	kind string
}

// door returns the way into a room for one kind of connections, which it makes when it
// is first asked for. The options of a kind are always the same.
func (h *Handler) door(room *tcproom.Room, kind string, opts ...tcproom.ConnOption) (*tcproom.Door, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, tcproom.ErrRoomClosed
	}
	key := doorKey{room, kind}
	if d := h.doors[key]; d != nil {
		return d, nil
	}
	d, err := room.Door(opts...)
	if err != nil {
		return nil, err
	}
	if h.doors == nil {
		h.doors = make(map[doorKey]*tcproom.Door)
	}
	h.doors[key] = d
	return d, nil
}

func (h *Handler) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// Close closes the ways into the rooms: from now on each request is answered by 503.
// Members that have come by them stay; [tcproom.Room.Shutdown] ends these. It does not
// wait for requests that are being answered, and returns nil. A second Close does
// nothing.
func (h *Handler) Close() error {
	h.mu.Lock()
	doors := h.doors
	h.doors, h.closed = nil, true
	h.mu.Unlock()
	for _, d := range doors {
		d.Close()
	}
	return nil
}

// Shutdown is Close, and waits for the streams of events of which the room has ended its
// part and their server has still to send the rest: over HTTP/2, where
// [tcproom.Room.Shutdown] cannot wait for that. It ends none, so call it when that has
// returned, and then [http.Server.Shutdown], for which they count as requests. It
// returns nil, or the cause of ctx if that ends first, and may be called again.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.Close()
	h.mu.Lock()
	if h.relays == 0 {
		h.mu.Unlock()
		return nil
	}
	if h.idle == nil {
		h.idle = make(chan struct{})
	}
	idle := h.idle
	h.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// beginRelay counts a relay until the function that it returns is called.
func (h *Handler) beginRelay() (end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.relays++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.relays--; h.relays == 0 && h.idle != nil {
			close(h.idle)
			h.idle = nil
		}
	}
}
