package fake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxBody bounds the body of a request, in bytes.
	maxBody = maxScript
	// maxWithin bounds how long a request may wait.
	maxWithin = 10 * time.Minute
)

// A problem is an answer of another status than 200, see RFC 9457.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

func refuse(w http.ResponseWriter, status int, code, format string, args ...any) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	w.Write(toJSON(problem{"about:blank", http.StatusText(status), status, fmt.Sprintf(format, args...), code}))
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(toJSON(v))
}

// A route is a path of the control endpoint, with its one method.
type route struct {
	method string
	query  []string // parameters that it knows
	types  []string // of its body; nil: it has none
	serve  func(f *fake, w http.ResponseWriter, r *http.Request, body []byte)
}

const (
	typeJSON = "application/json"
	typeYAML = "application/yaml"
)

var routes = map[string]route{
	"/status":     {http.MethodGet, nil, nil, (*fake).serveStatus},
	"/transcript": {http.MethodGet, []string{"since", "format"}, nil, (*fake).serveTranscript},
	"/do":         {http.MethodPost, nil, []string{typeJSON}, (*fake).serveDo},
	"/expect":     {http.MethodPost, nil, []string{typeJSON}, (*fake).serveExpect},
	"/reset":      {http.MethodPost, nil, []string{typeYAML}, (*fake).serveReset},
	"/stop":       {http.MethodPost, nil, []string{}, (*fake).serveStop},
}

// ServeHTTP is the control endpoint.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !isLoopbackName(r.Host) {
		refuse(w, http.StatusMisdirectedRequest, "misdirected", "ask by 127.0.0.1 or localhost, not by %q", short(r.Host))
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		refuse(w, http.StatusForbidden, "denied", "pages may not drive a fake, and %q is the origin of one", short(origin))
		return
	}
	to, ok := routes[r.URL.Path]
	if !ok {
		refuse(w, http.StatusNotFound, "not-found", "there is no %q; there are: GET /status, GET /transcript, POST /do, POST /expect, POST /reset, POST /stop", short(r.URL.Path))
		return
	}
	if r.Method != to.method {
		w.Header().Set("Allow", to.method)
		refuse(w, http.StatusMethodNotAllowed, "method-not-allowed", "%s is for %s, not %q", r.URL.Path, to.method, short(r.Method))
		return
	}
	for key, values := range r.URL.Query() {
		if !slices.Contains(to.query, key) || len(values) > 1 {
			refuse(w, http.StatusBadRequest, "malformed", "the parameter %q is not known here, or there twice", short(key))
			return
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			refuse(w, http.StatusRequestEntityTooLarge, "too-large", "the body has %d bytes at most", maxBody)
		} else {
			refuse(w, http.StatusBadRequest, "malformed", "the body: %v", err)
		}
		return
	}
	if len(body) > 0 {
		given, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if !slices.Contains(to.types, given) {
			want := strings.Join(to.types, " or ")
			if want == "" {
				want = "nothing"
			}
			refuse(w, http.StatusUnsupportedMediaType, "unsupported-type", "the Content-Type is %q; %s takes %s", short(given), r.URL.Path, want)
			return
		}
	}
	to.serve(f, w, r, body)
}

// isLoopbackName reports whether a Host header names this machine to itself.
func isLoopbackName(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

func (f *fake) serveStatus(w http.ResponseWriter, _ *http.Request, _ []byte) {
	s, life := f.now()
	answerJSON(w, s.status(life))
}

func (f *fake) serveTranscript(w http.ResponseWriter, r *http.Request, _ []byte) {
	since := 0
	if text := r.URL.Query().Get("since"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			refuse(w, http.StatusBadRequest, "malformed", "since is the n of an event, or 0, not %q", short(text))
			return
		}
		since = n
	}
	s, _ := f.now()
	tr := s.transcript()
	switch format := r.URL.Query().Get("format"); format {
	case "", "json":
		b, err := jsonLines(tr, since)
		if err != nil {
			refuse(w, http.StatusInternalServerError, "failed", "%v", err)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Write(b)
	case "text":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, tr.After(since).String())
	default:
		refuse(w, http.StatusBadRequest, "malformed", "format is json or text, not %q", short(format))
	}
}

// A doing is a request to do.
type doing struct {
	key     botKey
	do      []action
	members []memberScript
	within  time.Duration
}

// parseDo decodes the body of a request for a script.
func parseDo(script *Script, body []byte) (d *doing, err error) {
	root, err := parseJSON("request", body)
	if err != nil {
		return nil, err
	}
	err = decoded(func() {
		f := node{"request", "a request", root}.fields(doKind)
		d = &doing{within: script.within, key: botKey{script.rooms[0].name, "*"}}
		f.with("as", func(n node) { d.key.name = n.scalar("the name of a bot") })
		f.with("room", func(n node) {
			d.key.room = n.scalar("the name of a room")
			if !script.isHub {
				n.fail("room goes with a script that has rooms")
			}
			if !slices.ContainsFunc(script.rooms, func(r roomScript) bool { return r.name == d.key.room }) {
				n.fail("the script has no room %q", short(d.key.room))
			}
		})
		f.with("do", func(n node) { d.do = n.actions(actor{isRoom: d.key.name == "*"}) })
		f.with("members", func(n node) { d.members = n.members() })
		f.with("within", func(n node) { d.within = n.patience() })
		if d.do == nil && d.members == nil {
			f.fail("a request to do wants do or members")
		}
	})
	return d, err
}

// patience decodes how long a request waits.
func (n node) patience() time.Duration {
	d := n.duration()
	if d > maxWithin {
		n.fail("within: %v is the most", maxWithin)
	}
	return d
}

func (f *fake) serveDo(w http.ResponseWriter, r *http.Request, body []byte) {
	s, _ := f.now()
	d, err := parseDo(s.script, body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "malformed", "%v", err)
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), d.within, errTooLong)
	defer cancel()
	err = s.add(d.key.room, d.members)
	if err == nil && d.do != nil {
		err = s.do(ctx, d.key, d.do)
	}
	switch {
	case err == nil:
		answerJSON(w, map[string]any{"done": true, "events": s.transcript().Len()})
	case errors.Is(err, errNoBot):
		refuse(w, http.StatusConflict, "no-bot", "%v", err)
	case errors.Is(err, errTooLong):
		refuse(w, http.StatusConflict, "timeout", "%v", err)
	case errors.Is(err, errEnded):
		refuse(w, http.StatusConflict, "ended", "%v", err)
	default:
		refuse(w, http.StatusConflict, "failed", "%v", err)
	}
}

// parseExpect decodes the body of a request for a script. since is -1 if it is not there.
func parseExpect(script *Script, body []byte) (e *expectation, since int, err error) {
	root, err := parseJSON("request", body)
	if err != nil {
		return nil, 0, err
	}
	since = -1
	err = decoded(func() {
		n := node{"request", "a request", root}
		f := n.fields(askKind)
		f.with("within", func(n node) { n.patience() })
		f.with("since", func(n node) { since = int(n.number(0, 1<<30)) })
		e = n.expectation(f)
		e.checkRooms(n, script)
	})
	return e, since, err
}

func (f *fake) serveExpect(w http.ResponseWriter, r *http.Request, body []byte) {
	s, _ := f.now()
	e, since, err := parseExpect(s.script, body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "malformed", "%v", err)
		return
	}
	o, err := s.ask(r.Context(), e, since)
	if err != nil {
		code := "timeout"
		if errors.Is(err, errEnded) {
			code = "ended"
		}
		refuse(w, http.StatusConflict, code, "%v", err)
		return
	}
	answerJSON(w, o.answer())
}

func (f *fake) serveReset(w http.ResponseWriter, _ *http.Request, body []byte) {
	var next *Script
	if len(body) > 0 {
		var err error
		if next, err = ParseScript("request", body); err != nil {
			refuse(w, http.StatusBadRequest, "malformed", "%v", err)
			return
		}
	}
	was, line, err := f.reset(next)
	switch {
	case errors.Is(err, errEnded):
		refuse(w, http.StatusConflict, "ended", "%v", err)
	case err != nil:
		refuse(w, http.StatusConflict, "failed", "the next life cannot begin, and the fake stops: %v", err)
		f.leave()
	default:
		answerJSON(w, struct {
			*ready
			Was *status `json:"was"`
		}{line, was})
	}
}

func (f *fake) serveStop(w http.ResponseWriter, _ *http.Request, _ []byte) {
	f.asked.Store(true)
	f.leave()
	answerJSON(w, f.end())
	f.stopOnce.Do(func() { close(f.stopped) })
}

var _ json.Marshaler = entry{}
