package roomhttp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
)

// bothWays is eventsCodec with requests, which a test of codecs needs.
type bothWays struct{ eventsCodec }

func (bothWays) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	return tcproom.Text{}.AppendRequest(dst, req)
}

func (bothWays) ParseRequest(frame []byte, req *tcproom.Request) error {
	return tcproom.Text{}.ParseRequest(frame, req)
}

func (c bothWays) MaxFrame(maxBody int) (toRoom, toMember int) {
	_, toMember = c.eventsCodec.MaxFrame(maxBody)
	return maxBody, toMember
}

// TestEventsCodecConforms: events are said as the contract of a Codec asks for.
func TestEventsCodecConforms(t *testing.T) {
	t.Parallel()
	require.NoError(t, roomtest.TestCodec(bothWays{}))
	require.True(t, any(eventsCodec{}) == any(eventsCodec{}) && any(events{}) == any(events{}), "one lane for all readers")
}

// TestEventsOneWay: no byte of a client's is anything.
func TestEventsOneWay(t *testing.T) {
	t.Parallel()
	n, body, err := events{}.SplitFrame(nil, 0)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Nil(t, body)
	_, _, err = events{}.SplitFrame([]byte("\n"), 100)
	require.ErrorIs(t, err, tcproom.ErrMalformed)
	require.ErrorIs(t, eventsCodec{}.ParseRequest([]byte("x"), new(tcproom.Request)), tcproom.ErrMalformed)
	_, err = eventsCodec{}.AppendRequest(nil, &tcproom.Request{Kind: tcproom.ReqSay, Body: []byte("x")})
	require.ErrorIs(t, err, tcproom.ErrNoFrame)
	framed, err := events{}.AppendFrame([]byte("before"), []byte("body"))
	require.NoError(t, err)
	require.Equal(t, "beforebody", string(framed))
	require.Equal(t, "x", string(eventsCodec{}.AppendAnswer([]byte("x"), nil)))
	require.Equal(t, "x", string(eventsCodec{}.AppendEnd([]byte("x"), tcproom.ErrKicked, tcproom.ErrKicked)))
	for _, bad := range []string{"data: {}", "x\n\n", "id: a:1\n\n", "data: {}\ndata: {}\n\n", "id: a:1\nid: a:2\ndata: {\"type\":\"ping\"}\n\n"} {
		require.ErrorIs(t, eventsCodec{}.ParseEvent([]byte(bad), new(tcproom.Event)), tcproom.ErrMalformed, "%q", bad)
	}
	require.ErrorIs(t, eventsCodec{}.ParseEvent([]byte(": \n\n"), new(tcproom.Event)), tcproom.ErrNoFrame)
}

// TestEventsBytes: the stream of docs/wire.md, byte for byte.
func TestEventsBytes(t *testing.T) {
	t.Parallel()
	const epoch = "K3J5PQ2X7YWM4NRT6VZB1CDFGH"
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ada, bob := tcproom.MemberInfo{ID: "x-1", Name: "ada"}, tcproom.MemberInfo{ID: "x-2", Name: "guest-1"}
	got := []byte(preface(tcproom.Past{Epoch: epoch, Seq: 9, Events: []tcproom.Event{{Seq: 7}}}, nil))
	codec := eventsCodec{}
	for _, ev := range []tcproom.Event{
		{Kind: tcproom.Welcome, Seq: 9, From: bob, Welcome: &tcproom.WelcomeInfo{Epoch: epoch, Members: []tcproom.MemberInfo{ada, bob}, Total: 2}},
		{Kind: tcproom.Message, Seq: 7, From: ada, Time: at, Body: []byte("two\nlines"), History: true},
		{Kind: tcproom.Message, Seq: 10, From: ada, Time: at.Add(time.Minute), Body: []byte("hi")},
		{Kind: tcproom.Ping},
		{Kind: tcproom.Gap, Gap: tcproom.Span{First: 11, Last: 19}},
		{Kind: tcproom.Direct, Time: at.Add(time.Hour), Body: []byte("for you alone")},
		{Kind: tcproom.Leave, Seq: 20, From: ada, Time: at.Add(time.Hour)},
		{Kind: tcproom.Goodbye, End: &tcproom.EndError{Cause: tcproom.ErrRoomClosed, Text: "room closed", RetryAfter: 5 * time.Second}},
	} {
		if ev.Kind == tcproom.Ping {
			got = codec.AppendPing(got)
			continue
		}
		ev.Epoch = epoch
		var err error
		got, err = codec.AppendEvent(got, &ev)
		require.NoError(t, err)
	}
	doc, err := os.ReadFile("../docs/wire.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(doc), "\n# Server-sent events\n")
	require.True(t, ok)
	_, block, ok := strings.Cut(section, "\n```text\n")
	require.True(t, ok)
	block, _, ok = strings.Cut(block, "```\n")
	require.True(t, ok)
	require.Equal(t, block, string(got))

	var none []byte
	for _, kind := range []tcproom.Kind{tcproom.Ping, tcproom.Pong, tcproom.Ack, tcproom.Lost} {
		none, err = codec.AppendEvent(nil, &tcproom.Event{Kind: kind, Number: 1})
		require.ErrorIs(t, err, tcproom.ErrNoFrame)
		require.Empty(t, none)
	}
	final, err := codec.AppendEvent(nil, &tcproom.Event{Kind: tcproom.Refused, End: &tcproom.EndError{Cause: tcproom.ErrDenied, Final: true}})
	require.NoError(t, err)
	require.Equal(t, "retry: 3600000\ndata: {\"type\":\"refused\",\"code\":\"denied\",\"retry\":false,\"message\":\"\"}\n\n", string(final))
}

// TestPreface: the position from which on a client that is cut at once has to read.
func TestPreface(t *testing.T) {
	t.Parallel()
	kept := tcproom.Past{Epoch: "e", Seq: 9, Events: []tcproom.Event{{Seq: 4}}}
	for _, tt := range []struct {
		name  string
		past  tcproom.Past
		since *tcproom.Position
		want  string
	}{
		{name: "a new room", past: tcproom.Past{Epoch: "e"}, want: "e:0"},
		{name: "no history", past: tcproom.Past{Epoch: "e", Seq: 9}, want: "e:9"},
		{name: "before the history", past: kept, want: "e:3"},
		{name: "of another epoch", past: kept, since: &tcproom.Position{Epoch: "d", Seq: 100}, want: "e:3"},
		{name: "after what was read", past: kept, since: &tcproom.Position{Epoch: "e", Seq: 7}, want: "e:7"},
		{name: "after what is missing", past: kept, since: &tcproom.Position{Epoch: "e", Seq: 1}, want: "e:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, "retry: 2000\nid: "+tt.want+"\n\n", preface(tt.past, tt.since))
		})
	}
}

// An eventReader reads a stream as an EventSource does.
type eventReader struct {
	t     *testing.T
	body  io.ReadCloser
	br    *bufio.Reader
	id    string // of the last event
	retry string
	pings int
}

func newEventReader(t *testing.T, body io.ReadCloser) *eventReader {
	t.Cleanup(func() { body.Close() })
	return &eventReader{t: t, body: body, br: bufio.NewReader(body)}
}

// block returns the data of the next block, which is empty if it has none; false at the
// end.
func (e *eventReader) block() (data string, err error) {
	id := e.id
	for {
		line, err := e.br.ReadString('\n')
		if err != nil {
			return "", err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "":
			if line == "\n" {
				e.id = id
				return data, nil
			}
			e.pings++
		case "id":
			id = value
		case "retry":
			e.retry = value
		case "data":
			data += value
		default:
			return "", fmt.Errorf("a line %q", line)
		}
	}
}

// next returns the data of the next event, without what is different in each run, or
// "FIN".
func (e *eventReader) next() string {
	e.t.Helper()
	for {
		data, err := e.block()
		if errors.Is(err, io.EOF) {
			return "FIN"
		}
		require.NoError(e.t, err)
		if data != "" {
			return volatile.ReplaceAllString(data, `"$1":"?"`)
		}
	}
}

func (e *eventReader) expect(want ...string) {
	e.t.Helper()
	for _, w := range want {
		require.Equal(e.t, w, e.next())
	}
}

// seq returns the position of the last event.
func (e *eventReader) seq() uint64 {
	e.t.Helper()
	_, digits, _ := strings.Cut(e.id, ":")
	seq, err := strconv.ParseUint(digits, 10, 64)
	require.NoError(e.t, err)
	return seq
}

// withEvents serves the events of a room.
func withEvents(t *testing.T, room *tcproom.Room, cfg config) *httptest.Server {
	srv := httptest.NewUnstartedServer(eventsOf(&Handler{cfg: cfg}, room))
	srv.Start()
	t.Cleanup(func() {
		room.Close()
		srv.Close()
	})
	return srv
}

func eventsOf(h *Handler, room *tcproom.Room) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "https://other.example") // as the routes do
		h.serveEvents(w, r, room)
	}
}

// read begins to read events; header is a list of names and values.
func read(t *testing.T, srv *httptest.Server, query string, header ...string) *eventReader {
	t.Helper()
	return readAt(t, srv, "/rooms/lobby/events"+query, header...)
}

func readAt(t *testing.T, srv *httptest.Server, path string, header ...string) *eventReader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", srv.URL+path, nil)
	require.NoError(t, err)
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	e := newEventReader(t, res.Body)
	data, err := e.block()
	require.NoError(t, err)
	require.Empty(t, data, "the preface")
	require.Equal(t, "2000", e.retry)
	return e
}

func tell(t *testing.T, room *tcproom.Room, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		_, err := room.Broadcast(t.Context(), []byte(body))
		require.NoError(t, err)
	}
}

func told(seq int, body string) string {
	return fmt.Sprintf(`{"type":"message","seq":%d,"time":"?","body":%q}`, seq, body)
}

func toldBefore(seq int, body string) string {
	return fmt.Sprintf(`{"type":"message","seq":%d,"time":"?","history":true,"body":%q}`, seq, body)
}

func welcomed(seq any, name string) string {
	return fmt.Sprintf(`{"type":"welcome","epoch":"?","seq":%d,"id":"?","name":%q,"members":[{"id":"?","name":%[2]q}],"total":1}`, seq, name)
}

// TestEventsOverTCP: history, what is live, and what a client gets that comes back.
func TestEventsOverTCP(t *testing.T) {
	t.Parallel()
	room := tcproom.New(tcproom.WithNotices(false), tcproom.WithHistory(tcproom.History{Messages: 3}))
	srv := withEvents(t, room, config{})
	tell(t, room, "a", "b")
	epoch := room.Past(0, 1).Epoch
	e := read(t, srv, "?name=ada")
	require.Equal(t, epoch+":0", e.id)
	e.expect(welcomed(2, "ada"))
	require.Equal(t, epoch+":0", e.id, "the history is still to come")
	e.expect(toldBefore(1, "a"))
	require.Equal(t, epoch+":1", e.id)
	e.expect(toldBefore(2, "b"))
	tell(t, room, "two\r\nlines")
	e.expect(told(3, "two\r\nlines"))
	require.Equal(t, epoch+":3", e.id)
	m := testkit.Only(room)
	require.NoError(t, m.Send(t.Context(), []byte("psst")))
	e.expect(`{"type":"direct","time":"?","body":"psst"}`)
	require.Equal(t, epoch+":3", e.id, "what has no place has no id")
	leave := func() {
		e.body.Close() // with its FIN
		testkit.WaitLen(t, room, 0)
	}
	leave()

	tell(t, room, "d", "e") // 4 and 5; 3 is in the history too
	last := e.id
	e = read(t, srv, "?after="+epoch+":1", "Last-Event-ID", last)
	require.Equal(t, last, e.id)
	e.expect(welcomed(5, "guest-1"), toldBefore(4, "d"), toldBefore(5, "e"))
	leave()

	e = read(t, srv, "?after="+epoch+":1") // 2 is gone
	e.expect(welcomed(5, "guest-2"), `{"type":"gap","first":2,"last":2}`)
	require.Equal(t, epoch+":2", e.id)
	e.expect(toldBefore(3, "two\r\nlines"), toldBefore(4, "d"), toldBefore(5, "e"))
	leave()

	e = read(t, srv, "", "Last-Event-ID", "ANOTHERLIFE:77")
	require.Equal(t, epoch+":2", e.id)
	e.expect(welcomed(5, "guest-3"), toldBefore(3, "two\r\nlines"), toldBefore(4, "d"), toldBefore(5, "e"))
	leave()
}

// TestEventsHead: what stands before the events, and what HEAD gets of it.
func TestEventsHead(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	srv := withEvents(t, room, config{})
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	fmt.Fprintf(nc, "GET /rooms/lobby/events HTTP/1.1\r\nHost: chat.example\r\n\r\n")
	br := bufio.NewReader(nc)
	res, err := http.ReadResponse(br, nil)
	require.NoError(t, err)
	defer res.Body.Close()
	requireEventsHead(t, res)
	require.Equal(t, "HTTP/1.1", res.Proto)
	require.True(t, res.Close)
	require.Empty(t, res.TransferEncoding)
	require.EqualValues(t, -1, res.ContentLength)
	_, err = http.ParseTime(res.Header.Get("Date"))
	require.NoError(t, err)
	testkit.WaitLen(t, room, 1)
	testkit.Only(room).Kick("go")
	rest, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Regexp(t, `^retry: 2000\nid: [A-Z0-9]+:0\n\ndata: \{"type":"welcome",`, string(rest))

	room = tcproom.New()
	srv = withEvents(t, room, config{})
	res, err = http.Head(srv.URL)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	requireEventsHead(t, res)
	require.Zero(t, room.Past(0, 1).Seq, "somebody has joined")
}

func requireEventsHead(t *testing.T, res *http.Response) {
	t.Helper()
	require.Equal(t, http.StatusOK, res.StatusCode)
	for k, v := range map[string]string{
		"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
		"X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": "https://other.example",
	} {
		require.Equal(t, []string{v}, res.Header.Values(k), k)
	}
}

// TestEventsHTTP10: as old proxies ask.
func TestEventsHTTP10(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	srv := withEvents(t, room, config{})
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	fmt.Fprintf(nc, "GET /rooms/lobby/events HTTP/1.0\r\n\r\n")
	e := newEventReader(t, nc)
	line, err := e.br.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.0 200 OK\r\n", line)
}

// TestEventsNotServed: requests that get no events, and let nobody join.
func TestEventsNotServed(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	t.Cleanup(func() { room.Close() })
	tell(t, room, "a")
	epoch := room.Past(0, 1).Epoch
	denied := config{auth: func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{}, errors.New("no") }}
	wrong := config{conn: []tcproom.ConnOption{tcproom.WithMaxMessage(1 << 30)}}
	listed := config{origins: []string{"other.example"}}
	for _, tt := range []struct {
		name   string
		cfg    config
		query  string
		header []string
		body   io.Reader
		status int
		code   string
	}{
		{name: "JSON only", header: []string{"Accept", "application/json"}, status: 406, code: "not-acceptable"},
		{name: "no event stream", header: []string{"Accept", "*/*, text/event-stream;q=0"}, status: 406, code: "not-acceptable"},
		{name: "a body", body: strings.NewReader("x"), status: 400, code: "malformed"},
		{name: "no seq", header: []string{"Last-Event-ID", epoch}, status: 400, code: "malformed"},
		{name: "no number", header: []string{"Last-Event-ID", epoch + ":x"}, status: 400, code: "malformed"},
		{name: "below zero", header: []string{"Last-Event-ID", epoch + ":-1"}, status: 400, code: "malformed"},
		{name: "no epoch", header: []string{"Last-Event-ID", ":1"}, status: 400, code: "malformed"},
		{name: "a long epoch", header: []string{"Last-Event-ID", strings.Repeat("e", 65) + ":1"}, status: 400, code: "malformed"},
		{name: "after nothing", query: "?after=1", status: 400, code: "malformed"},
		{name: "the future", query: "?after=" + epoch + ":2", status: 400, code: "future"},
		{name: "another origin", header: []string{"Origin", "https://evil.example"}, status: 403, code: "denied"},
		{name: "not a listed origin", cfg: listed, header: []string{"Origin", "https://evil.example"}, status: 403, code: "denied"},
		{name: "an image of another site", header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, code: "denied"},
		{name: "an image, over plain HTTP", header: []string{"Accept", "image/avif,image/webp,image/*,*/*;q=0.8"}, status: 406, code: "not-acceptable"},
		{name: "a page in a frame", header: []string{"Accept", "text/html,application/xml;q=0.9,*/*;q=0.8"}, status: 406, code: "not-acceptable"},
		{name: "an image of another host", header: []string{"Sec-Fetch-Site", "same-site"}, status: 403, code: "denied"},
		{name: "auth", cfg: denied, status: 403, code: "denied"},
		{name: "auth before the future", cfg: denied, query: "?after=" + epoch + ":2", status: 403, code: "denied"},
		{name: "an option that cannot work", cfg: wrong, status: 500, code: "hook"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				if method == "HEAD" && tt.status == 500 {
					continue // which asks for no door
				}
				r := httptest.NewRequest(method, "http://chat.example/events"+tt.query, tt.body)
				for pair := range slices.Chunk(tt.header, 2) {
					r.Header.Set(pair[0], pair[1])
				}
				rec := httptest.NewRecorder()
				(&Handler{cfg: tt.cfg}).serveEvents(rec, r, room)
				res := rec.Result()
				require.Equal(t, tt.status, res.StatusCode)
				var p struct{ Code string }
				require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
				require.Equal(t, tt.code, p.Code)
				requireProblem(t, res)
			}
			require.Equal(t, uint64(1), room.Past(0, 1).Seq, "somebody has joined")
		})
	}
	closed := tcproom.New()
	closed.Close()
	rec := httptest.NewRecorder()
	new(Handler).serveEvents(rec, httptest.NewRequest("GET", "/events", nil), closed)
	require.Equal(t, 503, rec.Code)
	rec = httptest.NewRecorder()
	new(Handler).serveEvents(&fakeHijack{ResponseRecorder: rec, err: http.ErrHijacked}, httptest.NewRequest("GET", "/events", nil), room)
	require.Equal(t, 500, rec.Code)
}

// TestEventsServed: requests that look odd and get events.
func TestEventsServed(t *testing.T) {
	t.Parallel()
	for _, header := range [][]string{
		{"Accept", "text/event-stream"}, {"Accept", "text/html, text/event-stream;q=0.1"}, {"Accept", "*/*"}, {"Last-Event-ID", ""},
		{"Origin", "https://other.example"}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"},
		{"Origin", "https://other.example", "Sec-Fetch-Site", "cross-site"}, {"Last-Event-ID", "a:18446744073709551615"},
	} {
		srv := withEvents(t, tcproom.New(), config{origins: []string{"other.example"}})
		read(t, srv, "", header...).expect(welcomed(1, "guest-1"))
	}
}

// TestEventsWho: who a reader is, and how one is told that it cannot join.
func TestEventsWho(t *testing.T) {
	t.Parallel()
	room := tcproom.New(tcproom.WithUniqueNames(true))
	srv := withEvents(t, room, config{})
	first := read(t, srv, "?name=ada")
	first.expect(welcomed(1, "ada"))
	e := read(t, srv, "?name=ada")
	require.Regexp(t, `^\{"type":"refused","code":"name-taken","message":`, e.next())
	require.Equal(t, "2000", e.retry, "it may be free soon")
	e.expect("FIN")
	e = read(t, srv, "?name=a%20b")
	require.Regexp(t, `^\{"type":"refused","code":"name-invalid","retry":false,"message":`, e.next())
	require.Equal(t, "3600000", e.retry)
	e.expect("FIN")

	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 9}
	came := make(chan net.Addr, 1)
	room = tcproom.New(tcproom.OnJoin(func(m *tcproom.Member) error { came <- m.RemoteAddr(); return nil }))
	srv = withEvents(t, room, config{
		auth: func(r *http.Request) (tcproom.Identity, error) {
			return tcproom.Identity{Name: r.Header.Get("X-User")}, nil
		},
		clientAddr: func(*http.Request) net.Addr { return addr },
	})
	read(t, srv, "?name=mallory", "X-User", "eve").expect(welcomed(1, "eve"))
	require.Equal(t, addr, <-came)

	room = tcproom.New(tcproom.WithHandshake(func(_ context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
		return tcproom.Identity{}, &tcproom.RefusedError{Text: "not you, " + n.Hello().Name, RetryAfter: time.Minute}
	}))
	e = read(t, withEvents(t, room, config{}), "?name=bob")
	e.expect(`{"type":"refused","code":"denied","retryAfter":60000,"message":"not you, bob"}`)
	require.Equal(t, "60000", e.retry)
	e.expect("FIN")
}

// TestEventsEnds: how a stream ends.
func TestEventsEnds(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	srv := withEvents(t, room, config{})
	e := read(t, srv, "")
	e.expect(welcomed(1, "guest-1"))
	testkit.Only(room).Kick("go")
	e.expect(`{"type":"goodbye","code":"kicked","retry":false,"reason":"go"}`, "FIN")
	require.Equal(t, "3600000", e.retry)

	for _, early := range []string{"", "x"} {
		causes := testkit.NewCauses()
		room = tcproom.New(tcproom.OnLeave(causes.Left))
		srv = withEvents(t, room, config{})
		nc, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(nc, "GET /events HTTP/1.1\r\nHost: chat.example\r\n\r\n"+early)
		require.NoError(t, err)
		br := bufio.NewReader(nc)
		res, err := http.ReadResponse(br, nil)
		require.NoError(t, err)
		e = newEventReader(t, res.Body)
		e.expect(welcomed(1, "guest-1"))
		if early == "" {
			_, err = io.WriteString(nc, "GET /more HTTP/1.1\r\n")
			require.NoError(t, err)
		}
		e.expect(`{"type":"goodbye","code":"malformed","retry":false,"reason":"read frame: malformed: events: a client sends nothing behind its request"}`, "FIN")
		nc.Close()
		require.ErrorIs(t, causes.Next(t), tcproom.ErrMalformed)
	}

	room = tcproom.New(tcproom.WithNotices(false))
	srv = withEvents(t, room, config{})
	e = read(t, srv, "")
	e.expect(welcomed(0, "guest-1"))
	tell(t, room, "last")
	stopped := make(chan error, 1)
	go func() { stopped <- room.Shutdown(context.Background()) }()
	e.expect(told(1, "last"))
	require.Contains(t, e.next(), `{"type":"goodbye","code":"closed"`)
	e.expect("FIN")
	e.body.Close()
	require.NoError(t, <-stopped)
}

// A pipeRequest is a request that was served over a pipe, in a bubble.
func pipeRequest(t *testing.T, cfg config, room *tcproom.Room, query ...string) *eventReader {
	there, here := net.Pipe()
	rec := &fakeHijack{ResponseRecorder: httptest.NewRecorder(), nc: there}
	e := newEventReader(t, here)
	r := httptest.NewRequest("GET", "/events?"+strings.Join(append(query, "name=ada"), "&"), nil)
	go func() {
		(&Handler{cfg: cfg}).serveEvents(rec, r, room)
		if rec.Body.Len() > 0 { // it was answered there
			there.Close()
		}
	}()
	for {
		line, err := e.br.ReadString('\n')
		require.NoError(t, err)
		if line == "\r\n" {
			return e
		}
	}
}

// TestEventsPings: a silent stream has a comment every 15 seconds or so, to which nobody
// answers, and no idle timeout ends it.
func TestEventsPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithIdleTimeout(time.Second))
		defer room.Close()
		e := pipeRequest(t, config{conn: []tcproom.ConnOption{tcproom.WithIdleTimeout(time.Second)}}, room)
		_, err := e.block() // the preface
		require.NoError(t, err)
		e.expect(welcomed(1, "ada"))
		begun := time.Now()
		for i := range 40 {
			data, err := e.block()
			require.NoError(t, err)
			require.Empty(t, data)
			require.Equal(t, i+1, e.pings)
		}
		require.InDelta(t, 600, time.Since(begun).Seconds(), 120)
		require.Equal(t, 1, room.Len())
		e.body.Close()
	})
}

// TestEventsSlow: what a reader misses that does not read is a gap, whose id is the last
// that it has missed.
func TestEventsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithNotices(false), tcproom.WithSlowMembers(tcproom.Skip), tcproom.WithBacklog(1), tcproom.WithMaxMessage(1000))
		defer room.Close()
		e := pipeRequest(t, config{}, room)
		synctest.Wait()
		const last = 2000 // more than the least backlog
		for range last {
			tell(t, room, strings.Repeat("x", 1000))
		}
		gaps := 0
		for seen := uint64(0); seen < last; {
			data, err := e.block()
			require.NoError(t, err)
			var ev struct {
				Type        string
				Seq         uint64
				First, Last uint64
			}
			if data == "" || strings.Contains(data, `"type":"welcome"`) {
				require.Zero(t, e.seq())
				continue
			}
			require.NoError(t, json.Unmarshal([]byte(data), &ev))
			if ev.Type == "gap" {
				gaps++
				require.Equal(t, seen+1, ev.First)
				ev.Seq = ev.Last
			}
			require.Equal(t, max(seen+1, ev.Last), ev.Seq)
			require.Equal(t, ev.Seq, e.seq())
			seen = ev.Seq
		}
		require.NotZero(t, gaps)
		e.body.Close()
	})
}

// TestEventsSlowWhenTheLogIsLost: what a reader has missed of a stream that is lost is named
// after that stream, also if another one is in force when it reads on: else it would come
// back with a position that it has not reached.
func TestEventsSlowWhenTheLogIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		log, err := engine.Attach().Open(t.Context(), "lobby")
		require.NoError(t, err)
		room := tcproom.New(tcproom.WithLog(log), tcproom.WithNotices(false), tcproom.WithSlowMembers(tcproom.Skip),
			tcproom.WithBacklog(1), tcproom.WithMaxMessage(1000))
		defer room.Close()
		require.NoError(t, room.Ready(t.Context()))
		epoch := room.Past(0, 1).Epoch
		e := pipeRequest(t, config{}, room)
		_, err = e.block() // the preface
		require.NoError(t, err)
		for range 2000 { // more than the least backlog
			tell(t, room, strings.Repeat("x", 1000))
		}
		engine.Replace("lobby")
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, room.Ready(t.Context()))
		require.NotEqual(t, epoch, room.Past(0, 1).Epoch)
		gaps := 0
		for {
			data, err := e.block()
			if err != nil {
				break
			}
			if strings.Contains(data, `"type":"gap"`) {
				gaps++
			}
			require.True(t, strings.HasPrefix(e.id, epoch+":"), "%s of %s: %.200s", e.id, epoch, data)
		}
		require.NotZero(t, gaps)
	})
}

// TestEventsAtALaggingNode: a reader that comes back to a process which has not read as far
// as it has seen waits for that, and gets what follows.
func TestEventsAtALaggingNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := roomtest.NewCluster(t, 2, tcproom.WithHistory(tcproom.History{}), tcproom.WithNotices(false))
		here, there := cluster.Room(0).Room, cluster.Room(1).Room
		cluster.Delay(1, time.Second)
		tell(t, here, "seen")
		past := here.Past(0, 0)
		come := func(seq uint64) *eventReader {
			return pipeRequest(t, config{}, there, fmt.Sprintf("after=%s:%d", past.Epoch, seq))
		}
		e := come(past.Seq)
		_, err := e.block() // the preface
		require.NoError(t, err)
		require.Equal(t, past.Seq, e.seq())
		require.Contains(t, e.next(), `"type":"welcome"`)
		tell(t, here, "new")
		require.Contains(t, e.next(), `"body":"new"`)
		e.body.Close()
		future := come(past.Seq + 1<<30)
		require.Contains(t, future.next(), `"code":"future"`)
		require.Equal(t, "3600000", future.retry)
		future.expect("FIN")
	})
}

// TestEventsComeBack: a reader whose connections break anywhere has every message once,
// or a gap for it.
func TestEventsComeBack(t *testing.T) {
	t.Parallel()
	for _, kept := range []int{1000, 3, 0} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			var opts []tcproom.RoomOption
			if kept > 0 {
				opts = append(opts, tcproom.WithHistory(tcproom.History{Messages: kept}))
			}
			room := tcproom.New(opts...)
			srv := withEvents(t, room, config{})
			const last = 300
			var ordered []uint64 // by number
			comeBack := &comingBack{t: t, srv: srv, rnd: rand.New(rand.NewPCG(1, uint64(kept)))}
			for comeBack.first == "" { // until it has a position
				comeBack.live(func() bool { return false })
			}
			var saying sync.WaitGroup
			saying.Go(func() {
				for i := range last {
					seq, _ := room.Broadcast(context.Background(), fmt.Append(nil, i))
					ordered = append(ordered, seq)
				}
			})
			done := func() bool {
				if room.Stats().Messages < last {
					return false
				}
				saying.Wait()
				return comeBack.at() >= ordered[last-1]
			}
			for !done() && comeBack.lives < 3000 {
				comeBack.live(done)
			}
			saying.Wait()
			require.Len(t, ordered, last)
			require.True(t, slices.IsSorted(comeBack.got))
			require.Equal(t, len(slices.Compact(slices.Clone(comeBack.got))), len(comeBack.got), "some came twice")
			for n, seq := range ordered {
				missed := slices.ContainsFunc(comeBack.gaps, func(g [2]uint64) bool { return g[0] <= seq && seq <= g[1] })
				require.NotEqual(t, missed, slices.Contains(comeBack.got, n), "%d, missed: %v", n, missed)
			}
			require.Equal(t, kept < last, len(comeBack.gaps) > 0)
		})
	}
}

// A comingBack reader is one whose connections break.
type comingBack struct {
	t     *testing.T
	srv   *httptest.Server
	rnd   *rand.Rand
	lives int
	id    string
	first string      // id
	got   []int       // messages
	gaps  [][2]uint64 // first and last seq
}

// at returns the position.
func (c *comingBack) at() uint64 { return (&eventReader{t: c.t, id: c.id}).seq() }

// live lives one connection, or less if done says so.
func (c *comingBack) live(done func() bool) {
	c.lives++
	r, err := http.NewRequestWithContext(c.t.Context(), "GET", c.srv.URL, nil)
	require.NoError(c.t, err)
	if c.id != "" {
		r.Header.Set("Last-Event-ID", c.id)
	}
	res, err := c.srv.Client().Do(r)
	require.NoError(c.t, err)
	defer res.Body.Close()
	e := &eventReader{t: c.t, br: bufio.NewReader(io.LimitReader(res.Body, 30+c.rnd.Int64N(1500))), id: c.id}
	for !done() {
		data, err := e.block()
		if err != nil {
			return
		}
		if c.id = e.id; c.first == "" {
			c.first = c.id
			return
		}
		var ev struct {
			Type, Body  string
			First, Last uint64
		}
		if data != "" {
			require.NoError(c.t, json.Unmarshal([]byte(data), &ev))
		}
		switch ev.Type {
		case "message":
			n, err := strconv.Atoi(ev.Body)
			require.NoError(c.t, err)
			c.got = append(c.got, n)
		case "gap":
			c.gaps = append(c.gaps, [2]uint64{ev.First, ev.Last})
		}
	}
}

// TestEventsCurl: curl reads a room.
func TestEventsCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("TCPROOM_ALL_PEERS") != "" {
			t.Fatal("curl is not installed, and TCPROOM_ALL_PEERS is set")
		}
		t.Skip("curl is not installed")
	}
	room := tcproom.New(tcproom.WithNotices(false))
	srv := withEvents(t, room, config{})
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Within)
	defer cancel()
	cmd := exec.CommandContext(ctx, curl, "-sSN", srv.URL+"/rooms/lobby/events?name=curl")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	e := newEventReader(t, out)
	e.expect(welcomed(0, "curl"))
	tell(t, room, "hi")
	e.expect(told(1, "hi"))
	testkit.Only(room).Kick("enough")
	e.expect(`{"type":"goodbye","code":"kicked","retry":false,"reason":"enough"}`, "FIN")
	require.NoError(t, cmd.Wait(), "the body has ended in good order")
}

// TestEventsOverHTTP2: the same by way of a server that keeps its connections.
func TestEventsOverHTTP2(t *testing.T) {
	room := tcproom.New(tcproom.WithNotices(false), tcproom.WithHistory(tcproom.History{}))
	testkit.CheckGoroutines(t)
	addrs := make(chan net.Addr, 3)
	h := &Handler{cfg: config{clientAddr: func(r *http.Request) net.Addr { return nil }}}
	served := make(chan struct{}, 3)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { served <- struct{}{} }()
		a, _ := net.ResolveTCPAddr("tcp", r.RemoteAddr)
		addrs <- a
		eventsOf(h, room)(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.Config.WriteTimeout = time.Minute
	srv.StartTLS()
	defer srv.Close()
	defer room.Close()
	tell(t, room, "before")

	res, err := srv.Client().Get(srv.URL + "?name=ada")
	require.NoError(t, err)
	require.Equal(t, 2, res.ProtoMajor)
	requireEventsHead(t, res)
	require.Empty(t, res.Header.Values("Connection"))
	e := newEventReader(t, res.Body)
	e.expect(welcomed(1, "ada"), toldBefore(1, "before"))
	require.Equal(t, (<-addrs).String(), testkit.Only(room).RemoteAddr().String())
	big := strings.Repeat("x", 60_000)
	tell(t, room, "hi", big)
	e.expect(told(2, "hi"), told(3, big))
	e.body.Close()
	<-served
	testkit.WaitLen(t, room, 0)

	e = read(t, srv, "?name=bob", "Last-Event-ID", e.id)
	e.expect(welcomed(3, "bob"))
	testkit.Only(room).Kick("go")
	e.expect(`{"type":"goodbye","code":"kicked","retry":false,"reason":"go"}`, "FIN")
	<-served

	e = read(t, srv, "?name=zoe")
	tell(t, room, "last")
	stopped := make(chan error, 1)
	go func() { stopped <- room.Shutdown(context.Background()) }()
	for got := ""; got != "FIN"; got = e.next() {
		if strings.Contains(got, `"body":"last"`) {
			require.Contains(t, e.next(), `"code":"closed"`)
		}
	}
	require.NoError(t, <-stopped)
	<-served
	srv.Client().CloseIdleConnections()
}

// A stuckWriter is an answer that its client does not take.
type stuckWriter struct {
	header http.Header
	timer  chan struct{} // closed when the write deadline passes
	once   sync.Once
}

func (s *stuckWriter) Header() http.Header { return s.header }
func (s *stuckWriter) WriteHeader(int)     {}
func (s *stuckWriter) Flush()              {}

func (s *stuckWriter) Write([]byte) (int, error) {
	<-s.timer
	return 0, os.ErrDeadlineExceeded
}

func (s *stuckWriter) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() {
		time.AfterFunc(time.Until(at), func() { s.once.Do(func() { close(s.timer) }) })
	}
	return nil
}

// TestEventsRelayStuck: a client that takes nothing ends by the room's write timeout, and
// with it the answer.
func TestEventsRelayStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := testkit.NewCauses()
		room := tcproom.New(tcproom.OnLeave(causes.Left), tcproom.WithWriteTimeout(10*time.Second))
		defer room.Close()
		begun := time.Now()
		w := &stuckWriter{header: make(http.Header), timer: make(chan struct{})}
		new(Handler).serveEvents(w, httptest.NewRequest("GET", "/events", nil), room)
		require.Equal(t, 10*time.Second+lastWrite, time.Since(begun))
		require.ErrorIs(t, causes.Next(t), tcproom.Cause("write-timeout"))
		require.Equal(t, "close", w.header.Get("Connection"))
	})
}

// countsDeadlines is a ResponseWriter that counts those for writing.
type countsDeadlines struct {
	http.ResponseWriter
	n int
}

func (c *countsDeadlines) SetWriteDeadline(time.Time) error {
	c.n++
	return nil
}

// TestEventsRelayLater: what the room does to a request that is answered touches it no
// more.
func TestEventsRelayLater(t *testing.T) {
	t.Parallel()
	for answered, want := range map[bool]int{false: 1, true: 0} {
		w := new(countsDeadlines)
		room, here := net.Pipe()
		nc := &relay{Conn: room, rc: http.NewResponseController(w)}
		if answered {
			nc.release()
		}
		require.NoError(t, nc.Close())
		require.Equal(t, want, w.n)
		_, err := here.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	}
}

// plainWriter is a ResponseWriter and nothing more.
type plainWriter struct{ rec *httptest.ResponseRecorder }

func (p plainWriter) Header() http.Header         { return p.rec.Header() }
func (p plainWriter) WriteHeader(status int)      { p.rec.WriteHeader(status) }
func (p plainWriter) Write(b []byte) (int, error) { return p.rec.Write(b) }

// TestEventsWithoutFlush: a server that keeps what it is given cannot send events.
func TestEventsWithoutFlush(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	defer room.Close()
	rec := httptest.NewRecorder()
	rec.Header().Set("Vary", "Origin")
	new(Handler).serveEvents(plainWriter{rec}, httptest.NewRequest("GET", "/events", nil), room)
	res := rec.Result()
	require.Equal(t, 500, res.StatusCode)
	require.Equal(t, []string{"Cache-Control", "Content-Length", "Content-Type", "Vary", "X-Content-Type-Options"}, slices.Sorted(maps.Keys(res.Header)))
	requireProblem(t, res)
	require.Zero(t, room.Past(0, 1).Seq)
}

// TestEventsDeadClient: a connection that takes no head is closed, and nobody joins.
func TestEventsDeadClient(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	defer room.Close()
	there, here := net.Pipe()
	here.Close()
	new(Handler).serveEvents(&fakeHijack{ResponseRecorder: httptest.NewRecorder(), nc: there}, httptest.NewRequest("GET", "/events", nil), room)
	_, err := there.Write(nil)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.Zero(t, room.Past(0, 1).Seq)
}

// TestEventsRoute: the way to events of a Handler, and that its Close lets nobody in.
func TestEventsRoute(t *testing.T) {
	t.Parallel()
	room := tcproom.New()
	h := New(One("lobby", room), WithOrigins("other.example"))
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		room.Close()
		srv.Close()
	})
	r, err := http.NewRequest("GET", srv.URL+"/rooms/lobby/events", nil)
	require.NoError(t, err)
	r.Header.Set("Origin", "https://other.example")
	res, err := srv.Client().Do(r)
	require.NoError(t, err)
	requireEventsHead(t, res)
	require.Equal(t, "true", res.Header.Get("Access-Control-Allow-Credentials"))
	require.Equal(t, "Origin", res.Header.Get("Vary"))
	e := newEventReader(t, res.Body)
	e.expect(welcomed(1, "guest-1"))
	require.NoError(t, h.Close())
	res, err = srv.Client().Do(r)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 503, res.StatusCode)
	tell(t, room, "still there")
	e.expect(told(2, "still there"))
}

// TestEventsOptions: options of TLS, framing and codec change nothing.
func TestEventsOptions(t *testing.T) {
	t.Parallel()
	server, _ := testkit.TLS()
	srv := withEvents(t, tcproom.New(tcproom.WithTLS(server)), config{conn: []tcproom.ConnOption{tcproom.WithFraming(tcproom.Netstring{}), tcproom.WithCodec(tcproom.Raw{})}})
	read(t, srv, "").expect(welcomed(1, "guest-1"))
}
