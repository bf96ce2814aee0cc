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
var wireCodecs = map[string]Codec{"Text": Text{}, "Raw": Raw{}, "JSON": JSON{}}

// wireSaid are what each codec must have an example of.
var wireSaid = map[string][]string{
	"Text": {"event Message", "event Join", "event Leave", "event Gap", "event Goodbye", "event Direct", "event Refused",
		"event Welcome", "event Ack", "read event Message", "read event Gap", "message", "ignore event"},
	"Raw": {"event Message", "event Join", "event Leave", "event Gap", "event Goodbye", "event Direct", "event Refused",
		"event Welcome", "event Ack", "read event Message", "message"},
	"JSON": {"event Message", "event Join", "event Leave", "event Gap", "event Goodbye", "event Direct", "event Refused",
		"event Welcome", "event Ack", "read event Message", "message", "read message", "hello", "read hello", "ping", "pong",
		"numbered", "goodbye",
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
	row := regexp.MustCompile(`(?m)^\| (Text|Raw|JSON) \| (?:(\d)·)?M(?: \+ ([\d,]+))?(?: bytes, or ([\d,]+) if.*)? \| (?:(\d)·)?M(?: \+ ([\d,]+))? \|$`)
	rows := row.FindAllStringSubmatch(string(doc), -1)
	require.Len(t, rows, 3)
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
		checkWireRequest(t, c, ex, Request{Kind: ReqSay, Body: left.event.Body})
	case "numbered":
		checkWireRequest(t, c, ex, Request{Kind: ReqSay, Number: left.event.Number, Body: left.event.Body})
	case "hello":
		checkWireRequest(t, c, ex, Request{Kind: ReqHello, Hello: &left.hello})
	case "goodbye":
		checkWireRequest(t, c, ex, Request{Kind: ReqGoodbye})
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
		event, hello, body, err := readWire(t, c, what, ex.bytes)
		require.NoError(t, err)
		switch {
		case strings.HasPrefix(what, "event "):
			require.Equal(t, left.event, event)
		case what == "message":
			require.Equal(t, string(left.event.Body), string(body))
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

// readWire parses frame as what: an event, a message or a hello.
func readWire(t *testing.T, c Codec, what string, frame []byte) (ev Event, h Hello, body []byte, err error) {
	t.Helper()
	switch kind, _, _ := strings.Cut(what, " "); kind {
	case "event":
		err = c.ParseEvent(frame, &ev)
	case "message":
		body, err = parseSay(c, frame)
	case "hello":
		h, err = parseHello(c, frame)
	default:
		t.Fatalf("what is %q?", what)
	}
	return ev, h, body, err
}

// A wireLeft is the left side of an example: the words that say what it is,
// and the fields, as those of an event.
type wireLeft struct {
	what  string
	event Event
	hello Hello
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
			for k := Message; k <= Ack; k++ {
				if word == k.String() {
					ev.Kind = k
				}
			}
			switch ev.Kind {
			case Welcome:
				ev.Welcome = new(WelcomeInfo)
			case Goodbye, Refused:
				ev.End = new(EndError)
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
	switch key {
	case "seq":
		number(&ev.Seq)
	case "id":
		if ev.Kind == Ack || left.what == "numbered" {
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
		ev.Welcome.Members = append(ev.Welcome.Members, MemberInfo{ID: id, Name: name})
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
		ev.Welcome.Total, err = strconv.Atoi(text)
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
