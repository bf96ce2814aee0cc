package tcproom

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wireCodecs are the codecs that docs/wire.md has examples of.
var wireCodecs = map[string]Codec{"Text": Text{}, "Text with commands": Text{Commands: true}, "Raw": Raw{}, "JSON": JSON{}}

// wireSaid are what each codec must have an example of.
var wireSaid = map[string][]string{
	"Text": {"event Message", "event Join", "event Leave", "event Gap", "event Goodbye", "event Direct", "event Refused",
		"event Welcome", "event Ack", "read event Message", "read event Gap", "message", "ignore event"},
	"Text with commands": {"event Direct", "event Welcome", "event RoomList", "event Roster", "event Renamed", "event Refused", "event Goodbye", "event Help",
		"read event Welcome", "read event RoomList", "read event Roster", "read event Refused", "message", "move", "rooms", "members", "tell", "rename", "help", "other", "goodbye"},
	"Raw": {"event Message", "event Join", "event Leave", "event Gap", "event Goodbye", "event Direct", "event Refused",
		"event Welcome", "event Ack", "read event Message", "message"},
	"JSON": {"event Message", "event Join", "event Leave", "event Gap", "event Goodbye", "event Direct", "event Refused",
		"event Welcome", "event Ack", "read event Message", "message", "read message", "hello", "read hello", "ping", "pong",
		"numbered", "goodbye", "event RoomList", "event Roster", "event Renamed",
		"enter", "leave", "move", "rooms", "members", "tell", "rename", "read enter", "malformed enter",
		"ignore event", "ignore message", "ignore hello", "malformed event", "malformed message", "malformed hello"},
}

func TestWireCodecs(t *testing.T) {
	said := make(map[string]bool)
	for _, ex := range wireExamples(t, "codec") {
		c, ok := wireCodecs[ex.subject]
		require.True(t, ok, "%s: no such codec: %s", ex.where, ex.subject)
		left, err := parseWireLeft(ex.left)
		require.NoError(t, err, ex.where)
		said[ex.subject+" "+left.what] = true
		t.Run(ex.where, func(t *testing.T) { checkWireCodec(t, c, left, ex) })
	}
	for name, all := range wireSaid {
		for _, what := range all {
			require.True(t, said[name+" "+what], "%s: no example of %q", name, what)
		}
	}
}

// The greatest frames that docs/wire.md names are those of MaxFrame.
func TestWireGreatestFrames(t *testing.T) {
	doc, err := os.ReadFile("docs/wire.md")
	require.NoError(t, err)
	row := regexp.MustCompile(`(?m)^\| (Text|Text with commands|Raw|JSON) \| (?:(\d)·)?M(?: \+ ([\d,]+))?(?: bytes, or ([\d,]+) if.*)? \| (?:(\d)·)?M(?: \+ ([\d,]+))? \|$`)
	rows := row.FindAllStringSubmatch(string(doc), -1)
	require.Len(t, rows, len(wireCodecs))
	number := func(s string, absent int) int {
		if s == "" {
			return absent
		}
		n, err := strconv.Atoi(strings.ReplaceAll(s, ",", ""))
		require.NoError(t, err)
		return n
	}
	for _, row := range rows {
		for _, m := range []int{0, 1000, 100_000} {
			toRoom, toMember := wireCodecs[row[1]].(FrameBounder).MaxFrame(m)
			require.Equal(t, toMember, max(m*number(row[2], 1)+number(row[3], 0), number(row[4], 0)), row[0])
			require.Equal(t, toRoom, m*number(row[5], 1)+number(row[6], 0), row[0])
		}
	}
}

func checkWireCodec(t *testing.T, c Codec, left wireLeft, ex wireExample) {
	switch verb, what, _ := strings.Cut(left.what, " "); verb {
	case "event":
		frame, err := c.AppendEvent(nil, &left.event)
		if ex.bytes == nil {
			require.ErrorIs(t, err, ErrNoFrame)
			return
		}
		require.NoError(t, err)
		require.Equal(t, string(ex.bytes), string(frame))
		var back Event
		require.NoError(t, c.ParseEvent(ex.bytes, &back))
		if c == (JSON{}) { // what the others lose, examples of read show
			require.Equal(t, left.event, back)
		}
	case "message":
		checkWireRequest(t, c, ex, Request{Kind: ReqSay, Room: left.event.Room, Body: left.event.Body})
	case "numbered":
		checkWireRequest(t, c, ex, Request{Kind: ReqSay, Room: left.event.Room, Number: left.event.Number, Body: left.event.Body})
	case "enter", "leave", "move", "rooms", "members", "tell", "rename", "help", "other":
		checkWireRequest(t, c, ex, left.req)
	case "hello":
		checkWireRequest(t, c, ex, Request{Kind: ReqHello, Hello: &left.hello})
	case "goodbye":
		checkWireRequest(t, c, ex, Request{Kind: ReqGoodbye, Body: left.event.Body})
	case "ping", "pong":
		req, ev := Request{Kind: ReqPing}, Event{Kind: Ping}
		if verb == "pong" {
			req, ev = Request{Kind: ReqPong}, Event{Kind: Pong}
		}
		checkWireRequest(t, c, ex, req)
		frame, err := c.AppendEvent(nil, &ev)
		require.NoError(t, err)
		require.Equal(t, string(ex.bytes), string(frame))
		var back Event
		require.NoError(t, c.ParseEvent(ex.bytes, &back))
		require.Equal(t, ev, back)
	case "read":
		event, hello, req, err := readWire(t, c, what, ex.bytes)
		require.NoError(t, err)
		switch {
		case left.req.Kind != 0:
			require.Equal(t, left.req, req)
		case strings.HasPrefix(what, "event "):
			require.Equal(t, left.event, event)
		case what == "message":
			require.Equal(t, string(left.event.Body), string(req.Body))
		default:
			require.Equal(t, left.hello, hello)
		}
	case "ignore", "malformed":
		want := map[string]error{"ignore": ErrNoFrame, "malformed": ErrMalformed}[verb]
		_, _, _, err := readWire(t, c, what, ex.bytes)
		require.ErrorIs(t, err, want)
	default:
		t.Fatalf("what is %q?", ex.left)
	}
}

// checkWireRequest fails unless c says req as the example does, and reads it so.
func checkWireRequest(t *testing.T, c Codec, ex wireExample, req Request) {
	t.Helper()
	frame, err := c.AppendRequest(nil, &req)
	require.NoError(t, err)
	require.Equal(t, string(ex.bytes), string(frame))
	var back Request
	require.NoError(t, c.ParseRequest(ex.bytes, &back))
	require.Equal(t, req, back)
}

// readWire parses frame as what: an event, a message, a hello or another request.
func readWire(t *testing.T, c Codec, what string, frame []byte) (ev Event, h Hello, req Request, err error) {
	t.Helper()
	switch kind, _, _ := strings.Cut(what, " "); kind {
	case "event":
		err = c.ParseEvent(frame, &ev)
	case "message":
		req.Body, err = parseSay(c, frame)
	case "hello":
		h, err = parseHello(c, frame)
	default:
		require.Contains(t, wireAsked, kind, "what is %q?", what)
		err = c.ParseRequest(frame, &req)
	}
	return ev, h, req, err
}

// wireAsked are the words for requests of a hub.
var wireAsked = map[string]RequestKind{"enter": ReqEnter, "leave": ReqLeave, "move": ReqMove, "rooms": ReqRooms, "members": ReqMembers,
	"tell": ReqTell, "rename": ReqRename, "help": ReqHelp, "other": ReqOther}

// A wireLeft is the left side of an example: the words that say what it is,
// and the fields, as those of an event.
type wireLeft struct {
	what  string
	event Event
	hello Hello
	req   Request // of a hub
}

// parseWireLeft reads words and then fields, key=number or key="string".
func parseWireLeft(s string) (left wireLeft, err error) {
	ev := &left.event
	var words []string
	for s != "" {
		word := s
		if i := strings.IndexAny(s, ` =`); i >= 0 {
			word = s[:i]
		}
		if s = s[len(word):]; s == "" || s[0] == ' ' {
			s = strings.TrimLeft(s, " ")
			words = append(words, word)
			left.what = strings.Join(words, " ")
			if kind := wireAsked[word]; kind != 0 {
				left.req.Kind = kind
			}
			for k := Message; k <= Help; k++ {
				if word == k.String() {
					ev.Kind = k
				}
			}
			switch ev.Kind {
			case Welcome:
				ev.Welcome = new(WelcomeInfo)
			case Goodbye, Refused:
				ev.End = new(EndError)
			case RoomList, Roster:
				ev.List = new(List)
			}
			continue
		}
		value, text, err := cutWireValue(s[1:])
		if err != nil {
			return left, err
		}
		s = strings.TrimLeft(s[1+len(value):], " ")
		if err := left.set(word, text); err != nil {
			return left, err
		}
	}
	return left, nil
}

// cutWireValue returns the value at the start of s as it is written, and what it means.
func cutWireValue(s string) (value, text string, err error) {
	if strings.HasPrefix(s, `"`) {
		if value, err = strconv.QuotedPrefix(s); err == nil {
			text, err = strconv.Unquote(value)
		}
		return value, text, err
	}
	value, _, _ = strings.Cut(s, " ")
	return value, value, nil
}

func (left *wireLeft) set(key, text string) (err error) {
	ev := &left.event
	number := func(n *uint64) { *n, err = strconv.ParseUint(text, 10, 64) }
	if strings.HasSuffix(left.what, "hello") && (key == "token" || key == "epoch" || key == "seq") {
		return left.resume(key, text)
	}
	if left.req.Kind != 0 {
		return left.ask(key, text)
	}
	switch key {
	case "room":
		ev.Room = text
	case "ref":
		number(&ev.Ref)
	case "entry": // of a list of rooms
		name, n, _ := strings.Cut(text, " ")
		room := RoomInfo{Name: name}
		room.Members, err = strconv.Atoi(n)
		ev.List.Rooms = append(ev.List.Rooms, room)
	case "more":
		ev.List.More = text == "true"
	case "rooms": // of a hello
		left.hello.Rooms = strings.Fields(text)
	case "position": // in a room, of a hello that resumes
		words := strings.Fields(text)
		if left.hello.Resume.Rooms == nil {
			left.hello.Resume.Rooms = make(map[string]Position)
		}
		p := Position{Epoch: words[1]}
		p.Seq, err = strconv.ParseUint(words[2], 10, 64)
		left.hello.Resume.Rooms[words[0]] = p
	case "seq":
		number(&ev.Seq)
	case "id":
		if ev.Kind == Ack || ev.Kind == Refused || left.what == "numbered" {
			number(&ev.Number)
		} else {
			ev.From.ID = text
		}
	case "name":
		ev.From.Name, left.hello.Name = text, text
	case "time":
		ev.Time, err = time.Parse(time.RFC3339Nano, text)
	case "body":
		ev.Body = []byte(text)
	case "from":
		number(&ev.Gap.First)
	case "to":
		number(&ev.Gap.Last)
	case "skipped":
		number(&ev.Skipped)
	case "code":
		ev.End.Cause = Cause(text)
	case "text":
		if ev.Kind == Leave {
			ev.End = new(EndError)
		}
		ev.End.Text = text
	case "epoch":
		ev.Welcome.Epoch = text
	case "member":
		id, name, _ := strings.Cut(text, " ")
		if ev.List != nil {
			ev.List.Members = append(ev.List.Members, MemberInfo{ID: id, Name: name})
		} else {
			ev.Welcome.Members = append(ev.Welcome.Members, MemberInfo{ID: id, Name: name})
		}
	case "history": // true of an event, a number of a hello
		if ev.History = text == "true"; !ev.History {
			left.hello.History, err = strconv.Atoi(text)
		}
	case "sinceepoch":
		left.hello.Since = &Position{Epoch: text}
	case "sinceseq":
		number(&left.hello.Since.Seq)
	case "ping":
		left.hello.Ping = text == "true"
	case "auth":
		left.hello.Auth = Secret(text)
	case "outcome":
		ev.Welcome.Outcome = text
	case "token":
		ev.Welcome.Token = Secret(text)
	case "final":
		ev.End.Final = text == "true"
	case "retryafter": // milliseconds
		var ms int
		ms, err = strconv.Atoi(text)
		ev.End.RetryAfter = time.Duration(ms) * time.Millisecond
	case "lastid":
		number(&ev.Number)
	case "total":
		total := 0
		if total, err = strconv.Atoi(text); ev.List != nil {
			ev.List.Total = total
		} else {
			ev.Welcome.Total = total
		}
	default:
		err = fmt.Errorf("no such field: %s", key)
	}
	return err
}

// ask sets a field of a request of a hub.
func (left *wireLeft) ask(key, text string) (err error) {
	req := &left.req
	switch key {
	case "room":
		req.Room = text
	case "to":
		req.To = text
	case "ref":
		req.Ref, err = strconv.ParseUint(text, 10, 64)
	case "body":
		req.Body = []byte(text)
	default:
		if req.Query == nil {
			req.Query = new(Query)
		}
		return setQuery(req.Query, key, text)
	}
	return err
}

func setQuery(q *Query, key, text string) (err error) {
	switch key {
	case "prefix":
		q.Prefix = text
	case "after":
		q.After = text
	case "limit":
		q.Limit, err = strconv.Atoi(text)
	case "history":
		q.History, err = strconv.Atoi(text)
	default:
		err = fmt.Errorf("no such field: %s", key)
	}
	return err
}

// resume sets a field of what a hello wants to resume.
func (left *wireLeft) resume(key, text string) (err error) {
	if left.hello.Resume == nil {
		left.hello.Resume = new(Resume)
	}
	r := left.hello.Resume
	switch key {
	case "token":
		r.Token = Secret(text)
	case "epoch":
		r.Epoch = text
	case "seq":
		r.Seq, err = strconv.ParseUint(text, 10, 64)
	}
	return err
}
