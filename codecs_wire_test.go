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
			toRoom, toMember := wireCodecs[row[1]].MaxFrame(m)
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
		frame, err := c.AppendMessage(nil, left.event.Body)
		require.NoError(t, err)
		require.Equal(t, string(ex.bytes), string(frame))
		body, err := c.ParseMessage(ex.bytes)
		require.NoError(t, err)
		require.Equal(t, string(left.event.Body), string(body))
	case "hello":
		hello := left.hello
		frame, err := c.(Greeter).AppendHello(nil, &hello)
		require.NoError(t, err)
		require.Equal(t, string(ex.bytes), string(frame))
		var back Hello
		require.NoError(t, c.(Greeter).ParseHello(ex.bytes, &back))
		require.Equal(t, hello, back)
	case "numbered":
		r := c.(Resumer)
		frame, err := r.AppendNumbered(nil, left.event.ID, left.event.Body)
		require.NoError(t, err)
		require.Equal(t, string(ex.bytes), string(frame))
		id, body, err := r.ParseNumbered(ex.bytes)
		require.NoError(t, err)
		require.Equal(t, left.event.ID, id)
		require.Equal(t, string(left.event.Body), string(body))
		body, err = c.ParseMessage(ex.bytes)
		require.NoError(t, err, "where there are no sessions")
		require.Equal(t, string(left.event.Body), string(body))
	case "goodbye":
		r := c.(Resumer)
		require.Equal(t, string(ex.bytes), string(r.AppendGoodbye(nil)))
		_, _, err := r.ParseNumbered(ex.bytes)
		require.ErrorIs(t, err, ErrGoodbye)
		_, err = c.ParseMessage(ex.bytes)
		require.ErrorIs(t, err, ErrNoFrame, "where there are no sessions")
	case "ping", "pong":
		p := c.(Pinger)
		said, want := p.AppendPing(nil), ErrPing
		if verb == "pong" {
			said, want = p.AppendPong(nil), ErrPong
		}
		require.Equal(t, string(ex.bytes), string(said))
		require.ErrorIs(t, c.ParseEvent(ex.bytes, new(Event)), want)
		_, err := c.ParseMessage(ex.bytes)
		require.ErrorIs(t, err, want)
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

// readWire parses frame as what: an event, a message or a hello.
func readWire(t *testing.T, c Codec, what string, frame []byte) (ev Event, h Hello, body []byte, err error) {
	t.Helper()
	switch kind, _, _ := strings.Cut(what, " "); kind {
	case "event":
		err = c.ParseEvent(frame, &ev)
	case "message":
		body, err = c.ParseMessage(frame)
		if r, ok := c.(Resumer); ok { // reads the same where there are sessions
			_, numbered, err2 := r.ParseNumbered(frame)
			require.Equal(t, err, err2)
			require.Equal(t, body, numbered)
		}
	case "hello":
		err = c.(Greeter).ParseHello(frame, &h)
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
			number(&ev.ID)
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
		number(&ev.GapFrom)
	case "to":
		number(&ev.GapTo)
	case "code":
		ev.Code = text
	case "text":
		ev.Text = text
	case "epoch":
		ev.Epoch = text
	case "member":
		id, name, _ := strings.Cut(text, " ")
		ev.Members = append(ev.Members, Member{ID: id, Name: name})
	case "history": // true of an event, a number of a hello
		if ev.History = text == "true"; !ev.History {
			left.hello.History, err = strconv.Atoi(text)
		}
	case "ping":
		left.hello.Ping = text == "true"
	case "auth":
		left.hello.Auth = Secret(text)
	case "outcome":
		ev.Outcome = text
	case "token":
		ev.Token = Secret(text)
	case "final":
		ev.Final = text == "true"
	case "retryafter": // milliseconds
		var ms int
		ms, err = strconv.Atoi(text)
		ev.RetryAfter = time.Duration(ms) * time.Millisecond
	case "lastid":
		number(&ev.ID)
	case "total":
		ev.Total, err = strconv.Atoi(text)
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
