package tcproom

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzText: any line gives an event or is ignored, and a message that Text
// says is read as that message, whatever its name and body.
func FuzzText(f *testing.F) {
	f.Add("ada", []byte("hi"))
	for _, tt := range forgeries {
		f.Add("*", []byte(tt.body))
	}
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		for _, kind := range []Kind{Message, Join, Leave, Direct, Goodbye} {
			ev := Event{Kind: kind, From: MemberInfo{Name: name}, Body: body, End: &EndError{Text: string(body)}}
			frame, err := Text{}.AppendEvent(nil, &ev)
			if err != nil {
				require.ErrorIs(t, err, ErrNameInvalid)
				require.Error(t, checkName(name))
				continue
			}
			requireSafe(t, frame)
			_, toMember := Text{}.MaxFrame(len(body))
			require.LessOrEqual(t, len(frame), toMember)
			var back Event
			require.NoError(t, Text{}.ParseEvent(frame, &back))
			want := Event{Kind: kind}
			if kind == Direct && name == "" { // of the room itself, whose line is a message's
				want.Kind = Message
			}
			switch kind {
			case Message, Direct:
				want.From.Name, want.Body = name, append([]byte{}, appendSafe(nil, body)...)
			case Goodbye:
				want.End = &EndError{Text: string(appendSafe(nil, []byte(cutText(string(body), maxReasonBytes))))}
			default:
				want.From.Name = name
			}
			require.Equal(t, want, back)
		}

		// body as a line of a foreign room
		var ev Event
		if err := (Text{}).ParseEvent(body, &ev); err != nil {
			require.ErrorIs(t, err, ErrNoFrame)
			require.Empty(t, body)
			return
		}
		if ev.From != (MemberInfo{}) {
			require.NoError(t, checkName(ev.From.Name))
		}
		switch ev.Kind {
		case Join, Leave, Gap: // these lines have one spelling
			again, err := Text{}.AppendEvent(nil, &ev)
			require.NoError(t, err)
			require.Equal(t, string(body), string(again))
		}
	})
}

// FuzzSafeText: what Text makes of a body is one line of UTF-8 without a
// control, does not change when it is escaped once more, and keeps clean text.
func FuzzSafeText(f *testing.F) {
	for _, tt := range forgeries {
		f.Add([]byte(tt.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := appendSafe([]byte("x"), body)[1:]
		requireSafe(t, got)
		require.LessOrEqual(t, len(got), maxSafe*len(body))
		require.Equal(t, string(got), string(appendSafe(nil, got)))
		require.Equal(t, string(slowSafe(body)), string(got))
	})
}

// FuzzJSONEvent: no frame makes ParseEvent panic, its syntax is judged as
// encoding/json judges it, and an event that was read can be said again.
func FuzzJSONEvent(f *testing.F) {
	for _, tt := range jsonEvents {
		f.Add([]byte(tt.want))
	}
	for _, tt := range jsonBroken {
		f.Add([]byte(tt.frame[:min(len(tt.frame), 200)]))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		requireSyntaxLikeJSON(t, frame)
		before := bytes.Clone(frame)
		var ev Event
		err := JSON{}.ParseEvent(frame, &ev)
		require.Equal(t, string(before), string(frame))
		if err != nil {
			require.True(t, errors.Is(err, ErrMalformed) != errors.Is(err, ErrNoFrame), "%v", err)
			require.Zero(t, ev)
			return
		}
		again, err := JSON{}.AppendEvent(nil, &ev)
		if err != nil {
			return // an id or a time that no room says
		}
		require.True(t, json.Valid(again), "%q", again)
		require.NotContains(t, string(again), "\n")
		_, toMember := JSON{}.MaxFrame(len(ev.Body))
		require.LessOrEqual(t, len(again), toMember)
		var back Event
		require.NoError(t, JSON{}.ParseEvent(again, &back))
		if w := ev.Welcome; w != nil && len(w.Members) > maxWelcomeMembers {
			w.Members = w.Members[:maxWelcomeMembers]
		}
		if l := ev.List; l != nil && max(len(l.Members), len(l.Rooms)) > maxListed {
			l.Members, l.Rooms, l.More = l.Members[:min(len(l.Members), maxListed)], l.Rooms[:min(len(l.Rooms), maxListed)], true
		}
		if end := ev.End; end != nil {
			end.Text = cutText(end.Text, maxReasonBytes)
			end.Cause = Cause(cutText(string(end.Cause), maxCodeBytes))
		}
		require.Equal(t, ev, back)
		requireSameJSON(t, again, &back)
	})
}

// FuzzJSONMessage: no frame makes ParseRequest panic; a body survives the way
// to the room, to a member, and through encoding/json.
func FuzzJSONMessage(f *testing.F) {
	f.Add([]byte(`{"type":"message","body":"hi"}`), []byte("hi"))
	f.Add([]byte(`{"type":"message","data":"aGk="}`), []byte("\xff"))
	f.Add([]byte(`{"body":"\ud83d\ude00","type":"message"}`), []byte("\u2028\u0085\x00"))
	for _, tt := range forgeries {
		f.Add([]byte(`{"type":"ping"}`), []byte(tt.body))
	}
	f.Fuzz(func(t *testing.T, frame, body []byte) {
		if got, err := parseSay(JSON{}, frame); err == nil {
			require.NotNil(t, got)
			again, err := appendSay(JSON{}, got)
			require.NoError(t, err)
			back, err := parseSay(JSON{}, again)
			require.NoError(t, err)
			require.Equal(t, string(got), string(back))
			// encoding/json reads the same, where it has no freedom.
			var o jsonAny
			if err := json.Unmarshal(frame, &o); err == nil && o.Body != nil && o.Data == nil && !bytes.ContainsAny(frame, "BTDbtd\\") {
				require.Equal(t, *o.Body, string(got))
			}
		} else {
			require.True(t, errors.Is(err, ErrMalformed) != errors.Is(err, ErrNoFrame), "%v", err)
		}

		message, err := appendSay(JSON{}, body)
		require.NoError(t, err)
		got, err := parseSay(JSON{}, message)
		require.NoError(t, err)
		require.Equal(t, string(body), string(got))
		toRoom, toMember := JSON{}.MaxFrame(len(body))
		require.LessOrEqual(t, len(message), toRoom)

		ev := Event{Kind: Message, Seq: 1, From: MemberInfo{ID: "1", Name: "ada"}, Time: time.Unix(1, 0).UTC(), Body: append([]byte{}, body...)}
		event, err := JSON{}.AppendEvent(nil, &ev)
		require.NoError(t, err)
		require.LessOrEqual(t, len(event), toMember)
		requireSameJSON(t, event, &ev)
	})
}

// FuzzJSONHello: what ParseRequest makes of a frame is a hello, another request
// or an error, and can be said again; and a name that may be said arrives.
func FuzzJSONHello(f *testing.F) {
	f.Add([]byte(`{"type":"hello","name":"ada"}`), "ada")
	f.Add([]byte(`{"type":"hello"}`), `a"\`)
	f.Add([]byte(`{"name":"\u0000","type":"hello","auth":{"a":[1]}}`), "žofie")
	f.Add([]byte(`{"type":"hello","since":{"epoch":"E7","seq":57},"history":3}`), "ada")
	for _, tt := range jsonRequests {
		f.Add([]byte(tt.want), "lobby")
	}
	f.Fuzz(func(t *testing.T, frame []byte, name string) {
		var req Request
		if err := (JSON{}).ParseRequest(frame, &req); err != nil {
			require.True(t, errors.Is(err, ErrMalformed) != errors.Is(err, ErrNoFrame), "%v", err)
			require.Zero(t, req)
		}
		require.Equal(t, req.Kind == ReqHello, req.Hello != nil)
		if req.Hello != nil {
			require.True(t, utf8.ValidString(req.Hello.Name))
		}
		require.True(t, utf8.ValidString(req.Room+req.To))
		if again, err := (JSON{}).AppendRequest(nil, &req); err == nil {
			require.True(t, json.Valid(again), "%q", again)
			require.NotContains(t, string(again), "\n")
			if req.Hello == nil { // which may name any number of rooms
				toRoom, _ := JSON{}.MaxFrame(len(req.Body))
				require.LessOrEqual(t, len(again), toRoom)
			}
			var back Request
			require.NoError(t, JSON{}.ParseRequest(again, &back))
			require.Equal(t, req, back)
		}

		hello, err := JSON{}.AppendRequest(nil, &Request{Kind: ReqHello, Hello: &Hello{Name: name}})
		if err != nil {
			require.ErrorIs(t, err, ErrNameInvalid)
			require.Error(t, checkName(name))
			return
		}
		var back Request
		var plain Hello
		require.NoError(t, JSON{}.ParseRequest(hello, &back))
		require.Equal(t, Request{Kind: ReqHello, Hello: &Hello{Name: name}}, back)
		require.NoError(t, json.Unmarshal(hello, &plain))
		require.Equal(t, name, plain.Name)
	})
}

// FuzzName: a name that a validator lets pass cannot play with a terminal or
// a line, and ValidName allows letters, marks behind them, digits and -_. only.
func FuzzName(f *testing.F) {
	for _, tt := range nameCases {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, name string) {
		hard, valid := checkName(name), ValidName(name)
		for _, err := range []error{hard, valid} {
			if err != nil {
				require.ErrorIs(t, err, ErrNameInvalid)
				require.Less(t, len(err.Error()), 512)
				requireSafe(t, []byte(err.Error()))
			}
		}
		if hard == nil {
			require.NotEmpty(t, name)
			require.NotEqual(t, "*", name)
			require.LessOrEqual(t, len(name), 256)
			requireSafe(t, []byte(name))
			for _, r := range name {
				require.False(t, unicode.IsSpace(r) || unicode.IsControl(r) || r == ':' || unicode.Is(unicode.Cf, r), "%U", r)
			}
		}
		if valid == nil {
			require.NoError(t, hard)
			require.LessOrEqual(t, utf8.RuneCountInString(name), 32)
			for _, r := range name {
				require.True(t, unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || r == '-' || r == '_' || r == '.', "%U", r)
			}
			first, _ := utf8.DecodeRuneInString(name)
			require.False(t, unicode.IsMark(first), "%U", first)
		}
	})
}
