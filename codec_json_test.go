package tcproom

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// jsonEvents are one of each kind and more, and what stands on the wire for them.
var jsonEvents = []struct {
	name string
	ev   Event
	want string
}{
	{name: "message", ev: Event{Kind: Message, Seq: 58, From: MemberInfo{ID: "x-1", Name: "ada"}, Time: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), Body: []byte("hi")},
		want: `{"type":"message","seq":58,"from":{"id":"x-1","name":"ada"},"time":"2026-05-01T12:00:00Z","body":"hi"}`},
	{name: "message with escapes", ev: Event{Kind: Message, Seq: 1, From: MemberInfo{ID: "1", Name: "ada"}, Body: []byte("\"\\/\b\f\n\r\t\x00\x1f\x7f<&>\u0085\u2028\u2029\u202aé日👩")},
		want: "{\"type\":\"message\",\"seq\":1,\"from\":{\"id\":\"1\",\"name\":\"ada\"},\"body\":\"\\\"\\\\/\\u0008\\u000c\\n\\r\\t\\u0000\\u001f\x7f<&>\\u0085\\u2028\\u2029\u202aé日👩\"}"},
	{name: "message of bytes", ev: Event{Kind: Message, Seq: 1, Body: []byte{0xff, 0, 0xfe}}, want: `{"type":"message","seq":1,"data":"/wD+"}`},
	{name: "empty message of the room", ev: Event{Kind: Message, Seq: math.MaxUint64, Body: []byte{}}, want: `{"type":"message","seq":18446744073709551615,"body":""}`},
	{name: "direct", ev: Event{Kind: Direct, Time: time.Date(2026, 5, 1, 12, 0, 0, 120e6, time.UTC), Body: []byte("psst")},
		want: `{"type":"direct","time":"2026-05-01T12:00:00.12Z","body":"psst"}`},
	{name: "join", ev: Event{Kind: Join, Seq: 2, From: MemberInfo{ID: "1", Name: `a"\é`}}, want: `{"type":"join","seq":2,"from":{"id":"1","name":"a\"\\é"}}`},
	{name: "leave", ev: Event{Kind: Leave, Seq: 3, From: MemberInfo{ID: "1", Name: "ada"}}, want: `{"type":"leave","seq":3,"from":{"id":"1","name":"ada"}}`},
	{name: "leave with a reason", ev: Event{Kind: Leave, Seq: 3, From: MemberInfo{ID: "1", Name: "ada"}, End: &EndError{Text: "kicked"}},
		want: `{"type":"leave","seq":3,"from":{"id":"1","name":"ada"},"reason":"kicked"}`},
	{name: "gap", ev: Event{Kind: Gap, Gap: Span{First: 5, Last: 154}}, want: `{"type":"gap","first":5,"last":154}`},
	{name: "goodbye", ev: Event{Kind: Goodbye, End: &EndError{Text: "room closed"}}, want: `{"type":"goodbye","reason":"room closed"}`},
	{name: "goodbye without a reason", ev: Event{Kind: Goodbye, End: new(EndError)}, want: `{"type":"goodbye"}`},
	{name: "refused", ev: Event{Kind: Refused, End: &EndError{Cause: "full", Text: "room is full"}}, want: `{"type":"refused","code":"full","message":"room is full"}`},
	{name: "welcome", ev: Event{Kind: Welcome, Seq: 57, From: MemberInfo{ID: "2", Name: "ada"},
		Welcome: &WelcomeInfo{Epoch: "e", Members: []MemberInfo{{ID: "1", Name: "bob"}, {ID: "2", Name: "ada"}}, Total: 3}},
		want: `{"type":"welcome","epoch":"e","seq":57,"id":"2","name":"ada","members":[{"id":"1","name":"bob"},{"id":"2","name":"ada"}],"total":3}`},
	{name: "welcome to an empty room", ev: Event{Kind: Welcome, From: MemberInfo{Name: "ada"}, Welcome: new(WelcomeInfo)}, want: `{"type":"welcome","epoch":"","seq":0,"id":"","name":"ada","members":[],"total":0}`},
}

func TestJSONEvents(t *testing.T) {
	for _, tt := range jsonEvents {
		t.Run(tt.name, func(t *testing.T) {
			got, err := JSON{}.AppendEvent([]byte("x"), &tt.ev)
			require.NoError(t, err)
			require.Equal(t, "x"+tt.want, string(got))
			var back Event
			require.NoError(t, JSON{}.ParseEvent(got[1:], &back))
			require.Equal(t, tt.ev, back)
			requireSameJSON(t, got[1:], &tt.ev)
		})
	}
}

func TestJSONTime(t *testing.T) {
	ev := Event{Kind: Message, Time: time.Now(), Body: []byte{}} // local, with a monotonic reading
	frame, err := JSON{}.AppendEvent(nil, &ev)
	require.NoError(t, err)
	var back Event
	require.NoError(t, JSON{}.ParseEvent(frame, &back))
	require.True(t, ev.Time.Equal(back.Time))
	require.Equal(t, time.UTC, back.Time.Location())

	require.NoError(t, JSON{}.ParseEvent([]byte(`{"type":"message","body":"","time":"2026-05-01T12:00:00.5+02:00"}`), &back))
	require.Equal(t, time.Date(2026, 5, 1, 10, 0, 0, 5e8, time.UTC), back.Time)

	for _, year := range []int{-1, 10000} {
		_, err := JSON{}.AppendEvent(nil, &Event{Kind: Message, Time: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)})
		require.Error(t, err)
	}
}

func TestJSONTexts(t *testing.T) {
	frame, err := JSON{}.AppendEvent(nil, &Event{Kind: Refused, End: &EndError{Cause: Cause(strings.Repeat("c", 100)), Text: "a\xff\xfeb"}})
	require.NoError(t, err)
	require.Equal(t, `{"type":"refused","code":"`+strings.Repeat("c", 64)+`","message":"a`+"\ufffd"+`b"}`, string(frame))
}

func TestJSONIDs(t *testing.T) {
	for _, id := range []string{strings.Repeat("x", 65), "a b", "é", "\n", "\x7f"} {
		for _, ev := range []Event{
			{Kind: Message, From: MemberInfo{ID: id, Name: "ada"}},
			{Kind: Welcome, From: MemberInfo{ID: id, Name: "ada"}},
			{Kind: Welcome, From: MemberInfo{Name: "ada"}, Welcome: &WelcomeInfo{Epoch: id}},
			{Kind: Welcome, From: MemberInfo{Name: "ada"}, Welcome: &WelcomeInfo{Members: []MemberInfo{{ID: id, Name: "ada"}}}},
			{Kind: Welcome, From: MemberInfo{Name: "ada"}, Welcome: &WelcomeInfo{Outcome: id}},
			{Kind: Welcome, From: MemberInfo{Name: "ada"}, Welcome: &WelcomeInfo{Token: Secret(id)}},
		} {
			got, err := JSON{}.AppendEvent([]byte("x"), &ev)
			require.Error(t, err)
			require.NotErrorIs(t, err, ErrNoFrame)
			require.Equal(t, "x", string(got))
		}
	}
}

func TestJSONHello(t *testing.T) {
	tests := []struct {
		name  string
		hello Hello
		want  string
	}{
		{name: "no name", hello: Hello{}, want: `{"type":"hello"}`},
		{name: "name", hello: Hello{Name: "ada"}, want: `{"type":"hello","name":"ada"}`},
		{name: "quotes", hello: Hello{Name: `a"\é`}, want: `{"type":"hello","name":"a\"\\é"}`},
		{name: "ping", hello: Hello{Ping: true}, want: `{"type":"hello","ping":true}`},
		{name: "both", hello: Hello{Name: "ada", Ping: true}, want: `{"type":"hello","name":"ada","ping":true}`},
		{name: "since", hello: Hello{Since: &Position{Epoch: "E7", Seq: 57}}, want: `{"type":"hello","since":{"epoch":"E7","seq":57}}`},
		{name: "since the beginning", hello: Hello{History: -1, Since: &Position{}}, want: `{"type":"hello","history":0,"since":{"epoch":"","seq":0}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := JSON{}.AppendRequest([]byte("x"), &Request{Kind: ReqHello, Hello: &tt.hello})
			require.NoError(t, err)
			require.Equal(t, "x"+tt.want, string(got))
			var back Request
			require.NoError(t, JSON{}.ParseRequest(got[1:], &back))
			require.Equal(t, Request{Kind: ReqHello, Hello: &tt.hello}, back)
		})
	}
	got, err := JSON{}.AppendRequest(nil, &Request{Kind: ReqHello})
	require.NoError(t, err)
	require.Equal(t, `{"type":"hello"}`, string(got), "nil is the zero Hello")
	got, err = JSON{}.AppendRequest([]byte("x"), &Request{Kind: ReqHello, Hello: &Hello{Name: "a b"}})
	require.ErrorIs(t, err, ErrNameInvalid)
	require.Equal(t, "x", string(got))

	// The room judges names, and says so in words.
	h, err := parseHello(JSON{}, []byte(`{"type":"hello","name":"a b\n"}`))
	require.NoError(t, err)
	require.Equal(t, Hello{Name: "a b\n"}, h)
	h, err = parseHello(JSON{}, []byte(`{"name":null,"type":"hello"}`))
	require.NoError(t, err)
	require.Empty(t, h.Name)
	for _, ping := range []string{`1`, `"true"`, `[true]`, `{}`} {
		h, err = parseHello(JSON{}, []byte(`{"type":"hello","name":"ada","ping":`+ping+`}`))
		requireMalformed(t, err)
		require.Zero(t, h)
	}
	for _, ping := range []string{`false`, `null`} {
		h, err = parseHello(JSON{}, []byte(`{"ping":`+ping+`,"type":"hello","name":"ada"}`))
		require.NoError(t, err)
		require.Equal(t, Hello{Name: "ada"}, h)
	}
}

// Frames that other programs write and that mean a message "hi".
func TestJSONAccepts(t *testing.T) {
	for _, frame := range []string{
		`{"type":"message","body":"hi"}`,
		" \t\r\n{ \"body\" : \"hi\" , \"type\" : \"message\" } \r\n",
		`{"type":"message","body":"\u0068i","data":null}`,
		`{"type":"message","data":"aGk="}`,
		`{"type":"message","data":"aGk\u003d"}`,
		`{"type":"mess\u0061ge","b\u006fdy":"hi"}`,
		`{"type":"message","body":"hi","Body":"no","BODY":1,"body ":2,"":3}`,
		`{"x":{"body":"no","type":"no"},"type":"message","y":[{"body":"no"}],"body":"hi"}`,
		`{"type":"message","body":"hi","x":1,"x":2,"n":[0,-0,1.5,-1e9,1E+2,0.0e-0,1e999999],"t":true,"f":false,"z":null,"e":{},"l":[]}`,
		`{"type":"message","body":"hi","x":"\ud800","\udc00":1,"` + strings.Repeat(`\u0061`, 50) + `":1}`,
		`{"type":"message","body":"hi","seq":"no","from":[],"time":5,"name":{},"members":"x"}`, // fields that a message to the room does not have
		`{"type":"message","body":"hi","x":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`,
		`{"type":"message","body":"hi","x":` + strings.Repeat(`{"a":`, 30) + "[]" + strings.Repeat("}", 30) + `}`,
	} {
		got, err := parseSay(JSON{}, []byte(frame))
		require.NoError(t, err, "%s", frame)
		require.Equal(t, "hi", string(got), "%s", frame)
	}
	got, err := parseSay(JSON{}, []byte(`{"type":"message","body":"\"\\\/\b\f\n\r\t\u00e9\u65E5\ud83d\udE00\u0000"}`))
	require.NoError(t, err)
	require.Equal(t, "\"\\/\b\f\n\r\té日😀\x00", string(got))
	// null is absent, and a field that is absent is zero.
	var ev Event
	require.NoError(t, JSON{}.ParseEvent([]byte(`{"type":"message","seq":null,"from":null,"time":null,"data":null,"body":"","reason":null}`), &ev))
	require.Equal(t, Event{Kind: Message, Body: []byte{}}, ev)
	require.NoError(t, JSON{}.ParseEvent([]byte(`{"type":"welcome","name":"ada","members":[ ]}`), &ev))
	require.Equal(t, Event{Kind: Welcome, From: MemberInfo{Name: "ada"}, Welcome: new(WelcomeInfo)}, ev)
}

// Frames that no parser of this codec takes, whatever the direction.
var jsonBroken = []struct {
	name  string
	frame string
}{
	{name: "white space", frame: " \n"},
	{name: "text", frame: "hello"},
	{name: "http", frame: "GET / HTTP/1.1\r\n"},
	{name: "null", frame: "null"},
	{name: "number", frame: "1"},
	{name: "string", frame: `"message"`},
	{name: "array", frame: `[{"type":"message","body":"hi"}]`},
	{name: "byte order mark", frame: "\ufeff" + `{"type":"message","body":"hi"}`},
	{name: "byte order mark alone", frame: "\ufeff"},
	{name: "two byte order marks", frame: "\ufeff\ufeff" + `{"type":"message","body":"hi"}`},
	{name: "white space and a byte order mark", frame: " \ufeff" + `{"type":"message","body":"hi"}`},
	{name: "half a byte order mark", frame: "\xef\xbb" + `{"type":"message","body":"hi"}`},
	{name: "no type", frame: `{"body":"hi"}`},
	{name: "empty object", frame: `{}`},
	{name: "null type", frame: `{"type":null,"body":"hi"}`},
	{name: "number type", frame: `{"type":1,"body":"hi"}`},
	{name: "object type", frame: `{"type":{"type":"message"},"body":"hi"}`},
	{name: "type in capitals", frame: `{"Type":"message","body":"hi"}`},
	{name: "type twice", frame: `{"type":"message","type":"message","body":"hi"}`},
	{name: "body twice", frame: `{"type":"message","body":"hi","body":"ho"}`},
	{name: "body twice by an escape", frame: `{"type":"message","body":"hi","bod\u0079":"ho"}`},
	{name: "body twice, once null", frame: `{"type":"message","body":null,"body":"ho"}`},
	{name: "trailing brace", frame: `{"type":"message","body":"hi"}}`},
	{name: "two objects", frame: `{"type":"message","body":"hi"}{"type":"message","body":"ho"}`},
	{name: "trailing NUL", frame: `{"type":"message","body":"hi"}` + "\x00"},
	{name: "not closed", frame: `{"type":"message","body":"hi"`},
	{name: "string not closed", frame: `{"type":"message","body":"hi`},
	{name: "ends in an escape", frame: `{"type":"message","body":"hi\`},
	{name: "ends in a \\u", frame: `{"type":"message","body":"hi\u00`},
	{name: "comma before the end", frame: `{"type":"message","body":"hi",}`},
	{name: "two commas", frame: `{"type":"message",,"body":"hi"}`},
	{name: "no comma", frame: `{"type":"message" "body":"hi"}`},
	{name: "no colon", frame: `{"type" "message"}`},
	{name: "no value", frame: `{"type":}`},
	{name: "no key", frame: `{:"message"}`},
	{name: "key without quotes", frame: `{type:"message"}`},
	{name: "single quotes", frame: `{'type':'message'}`},
	{name: "comment", frame: `{"type":"message",/**/"body":"hi"}`},
	{name: "bare newline in a string", frame: "{\"type\":\"message\",\"body\":\"h\ni\"}"},
	{name: "bare NUL in a string", frame: "{\"type\":\"message\",\"body\":\"h\x00i\"}"},
	{name: "bare tab in a string", frame: "{\"type\":\"message\",\"body\":\"h\ti\"}"},
	{name: "escape that is none", frame: `{"type":"message","body":"\x41"}`},
	{name: "escape of a quote that is none", frame: `{"type":"message","body":"\'"}`},
	{name: "four digits that are none", frame: `{"type":"message","body":"\u00g0"}`},
	{name: "four digits below", frame: `{"type":"message","body":"\u00/0"}`},
	{name: "not UTF-8", frame: "{\"type\":\"message\",\"body\":\"h\xffi\"}"},
	{name: "not UTF-8 in an unknown field", frame: "{\"type\":\"message\",\"body\":\"hi\",\"x\":\"\xed\xa0\x80\"}"},
	{name: "control as a space", frame: "{\"type\":\"message\",\v\"body\":\"hi\"}"},
	{name: "number with a zero", frame: `{"type":"message","body":"hi","x":01}`},
	{name: "number with a plus", frame: `{"type":"message","body":"hi","x":+1}`},
	{name: "number with a point", frame: `{"type":"message","body":"hi","x":1.}`},
	{name: "number without a digit", frame: `{"type":"message","body":"hi","x":.5}`},
	{name: "minus", frame: `{"type":"message","body":"hi","x":-}`},
	{name: "exponent without a digit", frame: `{"type":"message","body":"hi","x":1e+}`},
	{name: "hexadecimal", frame: `{"type":"message","body":"hi","x":0x10}`},
	{name: "NaN", frame: `{"type":"message","body":"hi","x":NaN}`},
	{name: "True", frame: `{"type":"message","body":"hi","x":True}`},
	{name: "cut true", frame: `{"type":"message","body":"hi","x":tru}`},
	{name: "nullnull", frame: `{"type":"message","body":"hi","x":nullnull}`},
	{name: "array not closed", frame: `{"type":"message","body":"hi","x":[1}`},
	{name: "array with a comma at its end", frame: `{"type":"message","body":"hi","x":[1,]}`},
	{name: "too deep", frame: `{"type":"message","body":"hi","x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`},
	{name: "much too deep", frame: `{"x":` + strings.Repeat("[", 100000)},
}

func TestJSONBroken(t *testing.T) {
	for _, tt := range jsonBroken {
		t.Run(tt.name, func(t *testing.T) {
			var ev Event
			var req Request
			requireMalformed(t, JSON{}.ParseRequest([]byte(tt.frame), &req))
			requireMalformed(t, JSON{}.ParseEvent([]byte(tt.frame), &ev))
			if tt.name != "byte order mark" { // a hello may have one
				requireMalformed(t, JSON{}.ParseRequest([]byte(strings.Replace(tt.frame, `"message"`, `"hello"`, 1)), &req))
			}
			require.Zero(t, ev)
			require.Zero(t, req)
		})
	}
}

// Frames that are JSON, but not what their type or place asks for.
func TestJSONMalformedMessages(t *testing.T) {
	for _, frame := range []string{
		`{"type":"message"}`,
		`{"type":"message","body":null}`,
		`{"type":"message","body":1}`,
		`{"type":"message","body":["hi"]}`,
		`{"type":"message","body":"hi","data":"aGk="}`,
		`{"type":"message","data":1}`,
		`{"type":"message","data":"aGk"}`,
		`{"type":"message","data":"aGl="}`,
		`{"type":"message","data":"aGk=\n"}`,
		`{"type":"message","data":"aG\r\nk="}`,
		`{"type":"message","data":"a-_="}`,
		`{"type":"message","data":"=aGk"}`,
		`{"type":"message","body":"\ud83d"}`,
		`{"type":"message","body":"\ude00"}`,
		`{"type":"message","body":"\ud83d\u0041"}`,
		`{"type":"message","body":"\ud83dx\ude00"}`,
		`{"type":"message","body":"\ud83d\n\ude00"}`,
		`{"type":"message","body":"\ude00\ud83d"}`,
		`{"type":"message","body":"\ud83d\ud83d\ude00"}`,
		`{"type":"mess\ud83dage","body":"hi"}`,
		`{"type":"message","body":"hi","id":0}`,
		`{"type":"message","body":"hi","id":"1"}`,
		`{"type":"hello","name":1}`, `{"type":"hello","name":"\ud83d"}`,
	} {
		var req Request
		requireMalformed(t, JSON{}.ParseRequest([]byte(frame), &req))
		require.Zero(t, req, "%s", frame)
	}
}

func TestJSONMalformedEvents(t *testing.T) {
	for _, frame := range []string{
		`{"type":"message","seq":1}`,
		`{"type":"message","body":"hi","seq":-1}`,
		`{"type":"message","body":"hi","seq":1.0}`,
		`{"type":"message","body":"hi","seq":1e3}`,
		`{"type":"message","body":"hi","seq":"1"}`,
		`{"type":"message","body":"hi","seq":18446744073709551616}`,
		`{"type":"message","body":"hi","seq":` + strings.Repeat("9", 1000) + `}`,
		`{"type":"message","body":"hi","from":"ada"}`,
		`{"type":"message","body":"hi","from":{}}`,
		`{"type":"message","body":"hi","from":{"id":"1"}}`,
		`{"type":"message","body":"hi","from":{"id":1,"name":"ada"}}`,
		`{"type":"message","body":"hi","from":{"id":"1","name":"*"}}`,
		`{"type":"message","body":"hi","from":{"id":"1","name":"a\u001b[m"}}`,
		`{"type":"message","body":"hi","from":{"id":"1","name":"ada","name":"bob"}}`,
		`{"type":"message","body":"hi","time":5}`,
		`{"type":"message","body":"hi","time":"now"}`,
		`{"type":"message","body":"hi","time":"2026-05-01 12:00:00Z"}`,
		`{"type":"message","body":"hi","time":"2026-13-01T12:00:00Z"}`,
		`{"type":"message","body":"hi","time":""}`,
		`{"type":"direct"}`,
		`{"type":"join"}`,
		`{"type":"leave","from":null}`,
		`{"type":"leave","from":{"name":"ada"},"reason":1}`,
		`{"type":"gap"}`,
		`{"type":"gap","first":5}`,
		`{"type":"gap","first":0,"last":5}`,
		`{"type":"gap","first":6,"last":5}`,
		`{"type":"gap","from":5,"to":6}`,
		`{"type":"gap","first":{"id":"1","name":"ada"},"last":5}`,
		`{"type":"goodbye","reason":{}}`,
		`{"type":"refused","code":1}`,
		`{"type":"refused","message":[]}`,
		`{"type":"welcome"}`,
		`{"type":"welcome","name":"a b"}`,
		`{"type":"welcome","name":"ada","epoch":1}`,
		`{"type":"welcome","name":"ada","seq":true}`,
		`{"type":"welcome","name":"ada","members":{}}`,
		`{"type":"welcome","name":"ada","members":["ada"]}`,
		`{"type":"welcome","name":"ada","members":[null]}`,
		`{"type":"welcome","name":"ada","members":[{"id":"1"}]}`,
		`{"type":"welcome","name":"ada","total":-1}`,
		`{"type":"welcome","name":"ada","total":18446744073709551615}`,
	} {
		var ev Event
		err := JSON{}.ParseEvent([]byte(frame), &ev)
		require.Error(t, err, "%s", frame)
		requireMalformed(t, err)
		require.Zero(t, ev, "%s", frame)
	}
}

func TestJSONEmptyFrames(t *testing.T) {
	for _, frame := range [][]byte{nil, {}} {
		require.ErrorIs(t, JSON{}.ParseEvent(frame, new(Event)), ErrNoFrame)
		require.ErrorIs(t, JSON{}.ParseRequest(frame, new(Request)), ErrNoFrame)
	}
}

// One byte order mark may stand before what an end begins with.
func TestJSONByteOrderMark(t *testing.T) {
	const mark = "\ufeff"
	for _, first := range []string{
		`{"type":"hello","name":"ada"}`, ` {"type":"hello"}`,
		`{"type":"welcome","name":"ada"}`, `{"type":"refused","code":"full"}`,
	} {
		parse := func(frame string) error {
			if strings.Contains(frame, "hello") {
				return JSON{}.ParseRequest([]byte(frame), new(Request))
			}
			return JSON{}.ParseEvent([]byte(frame), new(Event))
		}
		require.NoError(t, parse(mark+first), first)
		requireMalformed(t, parse(mark+mark+first))
		requireMalformed(t, parse(first+mark))
		requireMalformed(t, parse(" "+mark+first))
	}
	for _, later := range []string{
		`{"type":"message","body":"hi"}`, `{"type":"direct","body":"hi"}`, `{"type":"join","from":{"name":"ada"}}`, `{"type":"ack","id":1}`,
		`{"type":"gap","first":1,"last":1}`, `{"type":"goodbye"}`, `{"type":"ping"}`, `{"type":"pong"}`, `{"type":"typing"}`,
	} {
		requireMalformed(t, JSON{}.ParseEvent([]byte(mark+later), new(Event)))
		requireMalformed(t, JSON{}.ParseRequest([]byte(mark+later), new(Request)))
	}
}

func TestJSONUnknownTypes(t *testing.T) {
	parsers := map[string]func([]byte) error{
		"event":   func(b []byte) error { return JSON{}.ParseEvent(b, new(Event)) },
		"request": func(b []byte) error { return JSON{}.ParseRequest(b, new(Request)) },
	}
	for name, parse := range parsers {
		for _, frame := range []string{
			`{"type":"Ping"}`, `{"type":""}`, `{"type":"Message","body":"hi"}`, `{"type":"message ","body":"hi"}`,
			`{"type":"typing\u001b[2J","seq":"x","from":[1],"body":{"a":"b"}}`,
			`{"type":"` + strings.Repeat("x", 5000) + `"}`,
		} {
			err := parse([]byte(frame))
			require.ErrorIs(t, err, ErrNoFrame, "%s %s", name, frame)
			require.NotErrorIs(t, err, ErrMalformed)
			require.Less(t, len(err.Error()), 512)
			requireSafe(t, []byte(err.Error()))
		}
	}
	require.ErrorContains(t, parsers["request"]([]byte(`{"type":"Ping"}`)), `"Ping"`)
	// What only the room says means nothing towards it, and the other way round.
	require.ErrorIs(t, parsers["request"]([]byte(`{"type":"join"}`)), ErrNoFrame)
	require.ErrorIs(t, parsers["request"]([]byte(`{"type":"welcome"}`)), ErrNoFrame)
	require.ErrorIs(t, parsers["event"]([]byte(`{"type":"hello"}`)), ErrNoFrame)
}

// TestJSONSyntax compares the scanner with encoding/json on random edits of
// frames: what both are strict about, both must judge alike.
func TestJSONSyntax(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	alphabet := []byte("{}[]\",:\\u0123456789eE+-.truefalsnul \t\n\rabx\x00\x7f\x80\xc3\xa9")
	var seeds [][]byte
	for _, tt := range jsonEvents {
		seeds = append(seeds, []byte(tt.want))
	}
	seeds = append(seeds, []byte(`{"type":"x","n":[0,-1.5e+3,true,false,null,{"a":"\u00e9\n"}]}`))
	accepted := 0
	for range 10_000 {
		frame := slices.Clone(seeds[rnd.IntN(len(seeds))])
		for range 1 + rnd.IntN(3) {
			i := rnd.IntN(len(frame))
			c := alphabet[rnd.IntN(len(alphabet))]
			switch rnd.IntN(3) {
			case 0:
				frame[i] = c
			case 1:
				frame = slices.Insert(frame, i, c)
			default:
				frame = slices.Delete(frame, i, i+1)
			}
		}
		if requireSyntaxLikeJSON(t, frame) {
			accepted++
		}
	}
	require.Greater(t, accepted, 500)
}

func TestErrorsAreApart(t *testing.T) {
	err := JSON{}.ParseRequest([]byte("{"), new(Request))
	require.True(t, errors.Is(err, ErrMalformed))
	require.Contains(t, err.Error(), "tcproom: malformed: JSON: ")
}
