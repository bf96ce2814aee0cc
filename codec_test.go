package tcproom

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// forgeries are bodies that try to look like a line of the room or of another
// member, or to play with a terminal; want is what Text makes of them.
var forgeries = []struct {
	name string
	body string
	want string
}{
	{name: "plain", body: "hi", want: "hi"},
	{name: "empty", body: "", want: ""},
	{name: "tab", body: "a\tb", want: "a\tb"},
	{name: "newline and notice", body: "hi\n* ada left", want: `hi\x0a* ada left`},
	{name: "newline and message", body: "hi\nbob: I quit", want: `hi\x0abob: I quit`},
	{name: "return", body: "hi\r* ada left", want: `hi\x0d* ada left`},
	{name: "return and newline", body: "hi\r\n*: bye", want: `hi\x0d\x0a*: bye`},
	{name: "notice", body: "* ada left", want: "* ada left"},
	{name: "join", body: "* root joined", want: "* root joined"},
	{name: "message of bob", body: "bob: hi", want: "bob: hi"},
	{name: "the room", body: "*: restart in 5 minutes", want: "*: restart in 5 minutes"},
	{name: "goodbye", body: "* goodbye: full", want: "* goodbye: full"},
	{name: "gap", body: "* 12 messages skipped", want: "* 12 messages skipped"},
	{name: "NUL", body: "a\x00b", want: `a\x00b`},
	{name: "bell", body: "\a", want: `\x07`},
	{name: "backspaces", body: "hi\b\b\b\b\b\bbob: hi", want: `hi\x08\x08\x08\x08\x08\x08bob: hi`},
	{name: "vertical tab and form feed", body: "a\v\fb", want: `a\x0b\x0cb`},
	{name: "shift out", body: "\x0e", want: `\x0e`},
	{name: "colour", body: "\x1b[31mred", want: `\x1b[31mred`},
	{name: "erase line", body: "\x1b[2K\rbob: hi", want: `\x1b[2K\x0dbob: hi`},
	{name: "title by OSC", body: "\x1b]0;owned\x07", want: `\x1b]0;owned\x07`},
	{name: "clipboard by OSC 52", body: "\x1b]52;c;aGk=\x1b\\", want: `\x1b]52;c;aGk=\x1b\`},
	{name: "DEL", body: "a\x7fb", want: `a\x7fb`},
	{name: "CSI as U+009B", body: "\u009b2J", want: `\u{9b}2J`},
	{name: "CSI as a byte", body: "\x9b2J", want: `\x9b2J`},
	{name: "OSC as U+009D", body: "\u009d0;x\u009c", want: `\u{9d}0;x\u{9c}`},
	{name: "next line U+0085", body: "a\u0085b", want: `a\u{85}b`},
	{name: "override", body: "\u202ebob", want: `\u{202e}bob`},
	{name: "embeddings", body: "\u202a\u202b\u202c\u202d", want: `\u{202a}\u{202b}\u{202c}\u{202d}`},
	{name: "isolates", body: "\u2066\u2067\u2068\u2069", want: `\u{2066}\u{2067}\u{2068}\u{2069}`},
	{name: "marks", body: "\u061c\u200e\u200f", want: `\u{61c}\u{200e}\u{200f}`},
	{name: "separators", body: "a\u2028b\u2029c", want: `a\u{2028}b\u{2029}c`},
	{name: "byte order mark", body: "\ufeffhi", want: `\u{feff}hi`},
	{name: "byte that starts nothing", body: "a\xffb", want: `a\xffb`},
	{name: "overlong newline", body: "\xc0\x8a", want: `\xc0\x8a`},
	{name: "overlong ESC of three", body: "\xe0\x80\x9b", want: `\xe0\x80\x9b`},
	{name: "surrogate", body: "\xed\xa0\x80", want: `\xed\xa0\x80`},
	{name: "above Unicode", body: "\xf4\x90\x80\x80", want: `\xf4\x90\x80\x80`},
	{name: "cut rune", body: "h\xe2\x80", want: `h\xe2\x80`},
	{name: "cut rune, then a control", body: "\xe2\x80\x1b[m", want: `\xe2\x80\x1b[m`},
	{name: "replacement character itself", body: "\ufffd", want: "\ufffd"},
	{name: "escape in letters", body: `\x1b \u{202e} \\`, want: `\x1b \u{202e} \\`},
	{name: "words of the world", body: "žluťoučký 日本語 עברית हिन्दी 👩‍👩‍👧", want: "žluťoučký 日本語 עברית हिन्दी 👩‍👩‍👧"},
	{name: "control after eight", body: "12345678\x1b", want: `12345678\x1b`},
	{name: "control after seven", body: "1234567\x1b9", want: `1234567\x1b9`},
}

func TestTextCannotBeForged(t *testing.T) {
	for _, tt := range forgeries {
		t.Run(tt.name, func(t *testing.T) {
			for _, from := range []MemberInfo{{}, {ID: "1", Name: "ada"}} {
				ev := Event{Kind: Message, From: from, Body: []byte(tt.body)}
				got, err := Text{}.AppendEvent(nil, &ev)
				require.NoError(t, err)
				prefix := "*: "
				if from.Name != "" {
					prefix = from.Name + ": "
				}
				require.Equal(t, prefix+tt.want, string(got))
				requireSafe(t, got)

				var back Event
				require.NoError(t, Text{}.ParseEvent(got, &back))
				require.Equal(t, Event{Kind: Message, From: MemberInfo{Name: from.Name}, Body: []byte(tt.want)}, back)
			}

			goodbye := Event{Kind: Goodbye, End: &EndError{Text: tt.body}}
			got, err := Text{}.AppendEvent(nil, &goodbye)
			require.NoError(t, err)
			requireSafe(t, got)
			var back Event
			require.NoError(t, Text{}.ParseEvent(got, &back))
			require.Equal(t, Event{Kind: Goodbye, End: &EndError{Text: tt.want}}, back)
		})
	}
}

// Each byte at each place, because escaping reads eight at a time.
func TestEscapingOfEight(t *testing.T) {
	for b := range 256 {
		for i := range 17 {
			body := []byte("0123456789abcdefg")
			body[i] = byte(b)
			require.Equal(t, string(slowSafe(body)), string(appendSafe(nil, body)))
			if b < utf8.RuneSelf {
				var back string
				require.NoError(t, json.Unmarshal(appendJSON(nil, body), &back))
				require.Equal(t, string(body), back)
			}
		}
	}
}

func TestTextEvents(t *testing.T) {
	ada := MemberInfo{ID: "1", Name: "ada"}
	tests := []struct {
		name string
		ev   Event
		want string
		back Event // what the client sees
	}{
		{name: "message", ev: Event{Kind: Message, Seq: 7, From: ada, Body: []byte("hi")}, want: "ada: hi",
			back: Event{Kind: Message, From: MemberInfo{Name: "ada"}, Body: []byte("hi")}},
		{name: "empty message", ev: Event{Kind: Message, From: ada}, want: "ada: ",
			back: Event{Kind: Message, From: MemberInfo{Name: "ada"}, Body: []byte("")}},
		{name: "room", ev: Event{Kind: Message, Seq: 7, Body: []byte("hi")}, want: "*: hi",
			back: Event{Kind: Message, Body: []byte("hi")}},
		{name: "direct", ev: Event{Kind: Direct, Body: []byte("hi")}, want: "*: hi",
			back: Event{Kind: Message, Body: []byte("hi")}},
		{name: "direct of a member", ev: Event{Kind: Direct, From: ada, Body: []byte("hi")}, want: "ada (to you): hi",
			back: Event{Kind: Direct, From: MemberInfo{Name: "ada"}, Body: []byte("hi")}},
		{name: "join", ev: Event{Kind: Join, Seq: 7, From: ada}, want: "* ada joined",
			back: Event{Kind: Join, From: MemberInfo{Name: "ada"}}},
		{name: "leave", ev: Event{Kind: Leave, Seq: 7, From: ada, End: &EndError{Text: "kicked"}}, want: "* ada left",
			back: Event{Kind: Leave, From: MemberInfo{Name: "ada"}}},
		{name: "join of a member named goodbye", ev: Event{Kind: Join, From: MemberInfo{Name: "goodbye"}}, want: "* goodbye joined",
			back: Event{Kind: Join, From: MemberInfo{Name: "goodbye"}}},
		{name: "leave of a member named 12", ev: Event{Kind: Leave, From: MemberInfo{Name: "12"}}, want: "* 12 left",
			back: Event{Kind: Leave, From: MemberInfo{Name: "12"}}},
		{name: "message of a member named **", ev: Event{Kind: Message, From: MemberInfo{Name: "**"}, Body: []byte("hi")}, want: "**: hi",
			back: Event{Kind: Message, From: MemberInfo{Name: "**"}, Body: []byte("hi")}},
		{name: "gap of one", ev: Event{Kind: Gap, Gap: Span{First: 5, Last: 5}, Skipped: 1}, want: "* 1 message skipped",
			back: Event{Kind: Gap, Skipped: 1}},
		{name: "gap", ev: Event{Kind: Gap, Gap: Span{First: 5, Last: 1 << 40}, Skipped: 12}, want: "* 12 messages skipped",
			back: Event{Kind: Gap, Skipped: 12}},
		{name: "gap of nobody knows how many", ev: Event{Kind: Gap, Gap: Span{First: 5, Last: 1 << 40}}, want: "* messages skipped",
			back: Event{Kind: Gap}},
		{name: "gap of all", ev: Event{Kind: Gap, Gap: Span{First: 1, Last: math.MaxUint64}, Skipped: math.MaxUint64}, want: "* 18446744073709551615 messages skipped",
			back: Event{Kind: Gap, Skipped: math.MaxUint64}},
		{name: "goodbye", ev: Event{Kind: Goodbye, End: &EndError{Text: "room closed"}}, want: "* goodbye: room closed",
			back: Event{Kind: Goodbye, End: &EndError{Text: "room closed"}}},
		{name: "goodbye without a reason", ev: Event{Kind: Goodbye}, want: "* goodbye", back: Event{Kind: Goodbye, End: new(EndError)}},
		{name: "goodbye that looks like a leave", ev: Event{Kind: Goodbye, End: &EndError{Text: "ada left"}}, want: "* goodbye: ada left",
			back: Event{Kind: Goodbye, End: &EndError{Text: "ada left"}}},
		{name: "refused", ev: Event{Kind: Refused, End: &EndError{Cause: "full", Text: "room is full"}}, want: "* goodbye: room is full",
			back: Event{Kind: Goodbye, End: &EndError{Text: "room is full"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Text{}.AppendEvent([]byte("before"), &tt.ev)
			require.NoError(t, err)
			require.Equal(t, "before"+tt.want, string(got))
			var back Event
			require.NoError(t, Text{}.ParseEvent(got[len("before"):], &back))
			require.Equal(t, tt.back, back)
		})
	}
}

// What no room says, other programs that speak in lines may.
func TestTextForeignLines(t *testing.T) {
	for _, line := range []string{
		"welcome to the chat", "ada:hi", "ada:", "ada lovelace: hi", ": hi", "*:", "*", "* ", "* ada", "* ada danced",
		"* ada b joined", "*  joined", "* joined", "* * joined", "* a:b left", "** ada left",
		"* 0 messages skipped", "* 1 messages skipped", "* 2 message skipped", "* 012 messages skipped",
		"* -1 messages skipped", "* 18446744073709551616 messages skipped", "*  messages skipped",
		"* goodbye:", "\x1b: hi", "a\u202eb: hi", "a\xffb: hi", strings.Repeat("a", 257) + ": hi",
		"* " + strings.Repeat("a", 257) + " joined",
	} {
		var got Event
		require.NoError(t, Text{}.ParseEvent([]byte(line), &got), "%q", line)
		require.Equal(t, Event{Kind: Message, Body: []byte(line)}, got, "%q", line)
	}
	require.ErrorIs(t, Text{}.ParseEvent(nil, new(Event)), ErrNoFrame)
}

// An empty line is no message, in either direction.
func TestTextEmptyLines(t *testing.T) {
	for _, empty := range [][]byte{nil, {}} {
		var req Request
		require.ErrorIs(t, Text{}.ParseRequest(empty, &req), ErrNoFrame)
		require.Zero(t, req)
		got, err := Text{}.AppendRequest([]byte("x"), &Request{Kind: ReqSay, Body: empty})
		require.EqualError(t, err, "tcproom: body cannot be framed: text: an empty line is no message")
		require.ErrorIs(t, err, ErrUnframeable)
		require.Equal(t, "x", string(got))
	}
}

func TestTextRefusesNames(t *testing.T) {
	for _, c := range []Codec{Text{}, Text{Commands: true}, JSON{}} {
		for _, name := range []string{"", "*", "a b", "a:b", "a\nb", "\u202eadb", "\xff", strings.Repeat("a", 257)} {
			for _, kind := range []Kind{Message, Join, Leave} {
				ev := Event{Kind: kind, From: MemberInfo{ID: "1", Name: name}}
				got, err := c.AppendEvent([]byte("x"), &ev)
				require.ErrorIs(t, err, ErrNameInvalid, "%T %s %q", c, kind, name)
				require.Equal(t, "x", string(got))
			}
		}
	}
}

func TestCodecsSayNothing(t *testing.T) {
	tests := []struct {
		name  string
		codec Codec
		kinds []Kind
		reqs  []RequestKind
	}{
		{name: "text", codec: Text{}, kinds: []Kind{0, Welcome, Ack, Ping, Pong, Lost, Uncertain, RoomList, Roster, Renamed, Help, Help + 1, 255},
			reqs: []RequestKind{0, ReqHello, ReqPing, ReqPong, ReqGoodbye, ReqEnter, ReqLeave, ReqMove, ReqRooms, ReqMembers, ReqTell, ReqRename, ReqHelp, ReqOther, ReqOther + 1, 255}},
		{name: "text with commands", codec: Text{Commands: true}, kinds: []Kind{0, Welcome, Ack, Ping, Pong, Lost, Uncertain, Help + 1, 255},
			reqs: []RequestKind{0, ReqHello, ReqPing, ReqPong, ReqEnter, ReqLeave, ReqOther + 1, 255}},
		{name: "raw", codec: Raw{}, kinds: []Kind{0, Join, Leave, Welcome, Gap, Goodbye, Refused, Ack, Ping, Pong, Lost, Uncertain, RoomList, Roster, Renamed, Help, Help + 1, 255},
			reqs: []RequestKind{0, ReqHello, ReqPing, ReqPong, ReqGoodbye, ReqEnter, ReqLeave, ReqMove, ReqRooms, ReqMembers, ReqTell, ReqRename, ReqHelp, ReqOther, ReqOther + 1, 255}},
		{name: "json", codec: JSON{}, kinds: []Kind{0, Lost, Uncertain, Help, Help + 1, 255}, reqs: []RequestKind{0, ReqHelp, ReqOther, ReqOther + 1, 255}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, kind := range tt.kinds {
				got, err := tt.codec.AppendEvent([]byte("x"), &Event{Kind: kind, From: MemberInfo{Name: "ada"}})
				require.ErrorIs(t, err, ErrNoFrame, "%d", kind)
				require.Equal(t, "x", string(got))
			}
			for _, kind := range tt.reqs {
				got, err := tt.codec.AppendRequest([]byte("x"), &Request{Kind: kind, Body: []byte("hi"), Hello: new(Hello)})
				require.ErrorIs(t, err, ErrNoFrame, "%d", kind)
				require.Equal(t, "x", string(got))
			}
		})
	}
}

func TestGapsThatSkipNothing(t *testing.T) {
	for _, ev := range []Event{{Kind: Gap}, {Kind: Gap, Gap: Span{Last: 5}}, {Kind: Gap, Gap: Span{First: 6, Last: 5}}, {Kind: Gap, Gap: Span{Last: math.MaxUint64}}} {
		_, err := JSON{}.AppendEvent(nil, &ev)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrNoFrame)
	}
}

// TestCodecsIntegrity is P7: Raw and JSON bring every body byte for byte, and
// Text does towards the room.
func TestCodecsIntegrity(t *testing.T) {
	var bodies [][]byte
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
		bodies = append(bodies, []byte{byte(i)}, []byte{'a', byte(i), 'b'}, []byte{0xc2, byte(i)}, []byte{0xe2, 0x80, byte(i)})
	}
	bodies = append(bodies, all, []byte{})
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		body := make([]byte, rnd.IntN(300))
		for i := range body {
			body[i] = byte(rnd.Uint32())
		}
		bodies = append(bodies, body)
	}
	for _, tt := range forgeries {
		bodies = append(bodies, []byte(tt.body))
	}
	for _, c := range []Codec{Text{}, Text{Commands: true}, Raw{}, JSON{}} {
		_, text := c.(Text)
		for _, body := range bodies {
			frame, err := appendSay(c, body)
			if text && len(body) == 0 {
				require.ErrorIs(t, err, ErrUnframeable)
				continue
			}
			require.NoError(t, err)
			got, err := parseSay(c, frame)
			require.NoError(t, err, "%q", frame)
			require.True(t, bytes.Equal(body, got), "%T: %q became %q", c, body, got)
			if text {
				continue
			}
			for _, kind := range []Kind{Message, Direct} {
				frame, err = c.AppendEvent(nil, &Event{Kind: kind, Body: body})
				require.NoError(t, err)
				var ev Event
				require.NoError(t, c.ParseEvent(frame, &ev), "%q", frame)
				require.True(t, bytes.Equal(body, ev.Body), "%T: %q became %q", c, body, ev.Body)
				if c == (JSON{}) {
					require.Equal(t, kind, ev.Kind)
					require.NotContains(t, string(frame), "\n")
				} else {
					require.Equal(t, Message, ev.Kind)
				}
			}
		}
	}
}

// worstMember has the longest name and ID, of characters that grow most.
func worstMember() MemberInfo {
	return MemberInfo{ID: strings.Repeat(`"`, maxIDBytes), Name: strings.Repeat(`"`, maxNameBytes)}
}

// worstRoom is the longest name of a room, of characters that grow most.
var worstRoom = strings.Repeat(`"`, maxRoomBytes)

// worstAsked returns requests of a hub that need the most bytes in a codec that has rooms
// and IDs, or in one that has none.
func worstAsked(body []byte, rooms bool) []Request {
	id := strings.Repeat(`"`, maxIDBytes)
	var all []Request
	for kind := ReqEnter; kind <= ReqOther; kind++ {
		req := Request{Kind: kind, Ref: math.MaxUint64, Room: worstRoom, Body: body}
		switch kind {
		case ReqEnter:
			req.Query = &Query{History: math.MaxInt}
		case ReqMove:
			req.To, req.Query = worstRoom, &Query{History: math.MaxInt}
		case ReqRooms:
			req.Query = &Query{Prefix: worstRoom, After: worstRoom, Limit: math.MaxInt}
		case ReqMembers:
			req.Query = &Query{After: id, Limit: math.MaxInt}
		case ReqTell:
			req.To = id
		case ReqRename:
			req.To = worstMember().Name
		}
		if rooms {
			all = append(all, req)
			continue
		}
		req.Ref, req.Room, req.Query = 0, "", nil
		switch kind {
		case ReqRooms:
			req.Query = &Query{Prefix: worstRoom}
		case ReqMembers:
			req.Room = worstRoom
		case ReqTell, ReqRename, ReqOther:
			req.To = worstMember().Name
		}
		all = append(all, req)
	}
	return all
}

// worstLists gives lists that need the most bytes to fn.
func worstLists(members []MemberInfo, fn func(ev Event)) {
	rooms := make([]RoomInfo, 300)
	for i := range rooms {
		rooms[i] = RoomInfo{Name: worstRoom, Members: math.MaxInt}
	}
	fn(Event{Kind: RoomList, List: &List{Rooms: rooms, Total: math.MaxInt, More: true}})
	fn(Event{Kind: Roster, Room: worstRoom, Seq: math.MaxUint64, List: &List{Members: members, Total: math.MaxInt, More: true}})
	for n := range 40 { // a line ends where the next entry does not fit
		short := []MemberInfo{{Name: strings.Repeat("n", n+1)}}
		for range 300 {
			short = append(short, MemberInfo{Name: "bob"})
		}
		fn(Event{Kind: Roster, Room: "a", List: &List{Members: short, Total: math.MaxInt}})
	}
	fn(Event{Kind: Renamed, Seq: math.MaxUint64, From: worstMember(), Time: worstTime, Body: []byte(worstMember().Name)})
}

func TestMaxFrame(t *testing.T) {
	worstBytes := []string{"\x00", "\xff", "\x7f", "\u0085", "\u061c", "\u202e", "\u2028", "\ufeff", "é", "a", `"`}
	for _, c := range []FrameBounder{Text{}, Text{Commands: true}, Raw{}, JSON{}} {
		for _, maxBody := range []int{0, 1, 2, 3, 100, 64 << 10} {
			toRoom, toMember := c.MaxFrame(maxBody)
			var longRoom, longMember int
			room := func(req Request) {
				frame, err := c.AppendRequest(nil, &req)
				if errors.Is(err, ErrNoFrame) || errors.Is(err, ErrUnframeable) {
					return
				}
				require.NoError(t, err)
				require.LessOrEqual(t, len(frame), toRoom, "%T %s", c, req.Kind)
				longRoom = max(longRoom, len(frame))
			}
			member := func(ev Event) {
				if c.Features().Rooms {
					ev.Room, ev.Ref = worstRoom, math.MaxUint64
				}
				frame, err := c.AppendEvent(nil, &ev)
				if errors.Is(err, ErrNoFrame) {
					return
				}
				require.NoError(t, err)
				require.LessOrEqual(t, len(frame), toMember, "%T %s", c, ev.Kind)
				longMember = max(longMember, len(frame))
			}
			for _, b := range worstBytes {
				body := []byte(strings.Repeat(b, maxBody/len(b)))
				frame, err := c.AppendRequest(nil, &Request{Kind: ReqSay, Number: math.MaxUint64, Body: body})
				if _, text := c.(Text); !text || len(body) > 0 {
					require.NoError(t, err)
				}
				require.LessOrEqual(t, len(frame), toRoom)
				longRoom = max(longRoom, len(frame))
				for _, req := range worstAsked(body, c.Features().Rooms) {
					room(req)
				}
				for _, kind := range []Kind{Message, Direct} {
					member(Event{Kind: kind, Seq: math.MaxUint64, From: worstMember(), Time: worstTime, Body: body, History: c != FrameBounder(Raw{})})
				}
				reason := strings.Repeat(b, 2000)
				member(Event{Kind: Leave, Seq: math.MaxUint64, From: worstMember(), Time: worstTime, End: &EndError{Text: reason}})
				member(Event{Kind: Goodbye, End: &EndError{Text: reason}})
				member(Event{Kind: Goodbye, Room: strings.Repeat("a", maxRoomBytes), End: &EndError{Text: reason}})
				member(Event{Kind: Refused, End: &EndError{Cause: Cause(reason), Text: reason}})
			}
			member(Event{Kind: Join, Seq: math.MaxUint64, From: worstMember(), Time: worstTime})
			member(Event{Kind: Gap, Gap: Span{First: math.MaxUint64, Last: math.MaxUint64}})
			member(Event{Kind: Gap, Gap: Span{First: 1, Last: math.MaxUint64}})
			id := strings.Repeat(`"`, maxIDBytes)
			welcome := &WelcomeInfo{Epoch: id, Total: math.MaxInt, Outcome: id, Token: Secret(id)}
			for range 300 {
				welcome.Members = append(welcome.Members, worstMember())
			}
			member(Event{Kind: Welcome, Seq: math.MaxUint64, From: worstMember(), Number: math.MaxUint64, Welcome: welcome})
			worstLists(welcome.Members, member)
			member(Event{Kind: Refused, Ref: 1, End: &EndError{Text: strings.Repeat("\x00", 2000)}})
			member(Event{Kind: Help, Body: []byte(strings.Repeat("\x00", 2000))})
			if c.Features().Hello {
				frame, err := c.AppendRequest(nil, &Request{Kind: ReqHello, Hello: &Hello{Name: worstMember().Name, History: math.MaxInt}})
				require.NoError(t, err)
				require.LessOrEqual(t, len(frame), toRoom)
				longRoom = max(longRoom, len(frame))
			}
			// The bounds are reached, but for the digits that an int of 32 or
			// 64 bits has fewer than a uint64, and for the room that JSON
			// leaves to fields that are not read.
			require.LessOrEqual(t, toMember-longMember, 10, "%T %d", c, maxBody)
			require.LessOrEqual(t, toRoom-longRoom, 1<<10, "%T %d", c, maxBody)
		}
	}
}

func TestMaxFrameOfAnyNumber(t *testing.T) {
	for _, c := range []FrameBounder{Text{}, Text{Commands: true}, Raw{}, JSON{}} {
		lastRoom, lastMember := 0, 0
		for _, n := range []int{math.MinInt, -1, 0, 1, maxMaxMessage, math.MaxInt / 6, math.MaxInt / 4, math.MaxInt - 1, math.MaxInt} {
			toRoom, toMember := c.MaxFrame(n)
			require.GreaterOrEqual(t, toRoom, max(n, lastRoom))
			require.GreaterOrEqual(t, toMember, max(n, lastMember))
			lastRoom, lastMember = toRoom, toMember
		}
	}
	// 64 MiB stay far below what an int of 32 bits holds.
	_, toMember := JSON{}.MaxFrame(maxMaxMessage)
	require.Less(t, toMember, 1<<29)
}

// unbounded hides MaxFrame.
type unbounded struct{ Codec }

// A codec that does not bound its frames is given what the documentation says.
func TestFramesOfACodecWithoutBounds(t *testing.T) {
	for _, c := range []Codec{unbounded{Text{}}, unbounded{Raw{}}, unbounded{JSON{}}} {
		for _, maxBody := range []int{1, 100, maxMaxMessage} {
			toRoom, toMember := frameLimits(c, maxBody)
			require.Equal(t, 6*maxBody+1<<10, toRoom)
			require.Equal(t, 6*maxBody+1<<10, toMember)
		}
	}
	toRoom, toMember := frameLimits(Raw{}, 100)
	require.Equal(t, []int{100, 100}, []int{toRoom, toMember})
}

func TestReasonsAreCut(t *testing.T) {
	long := strings.Repeat("é", 600) // 1,200 bytes
	for _, c := range []Codec{Text{}, JSON{}} {
		frame, err := c.AppendEvent(nil, &Event{Kind: Goodbye, End: &EndError{Text: "x" + long}})
		require.NoError(t, err)
		var ev Event
		require.NoError(t, c.ParseEvent(frame, &ev))
		require.Equal(t, "x"+strings.Repeat("é", 255), ev.End.Text) // whole characters
	}
	require.Equal(t, strings.Repeat("\x80", 512), cutText(strings.Repeat("\x80", 600), 512))
}

// chatLine is what people type.
var chatLine = []byte("did anybody see the build fail — again? žluťoučký kůň")

func TestEncodingDoesNotAllocate(t *testing.T) {
	bodies := map[string][]byte{
		"clean": chatLine, "ascii": bytes.Repeat([]byte("x"), 64), "dirty": []byte("a\x1b\u202e\xff\n\"\\"),
	}
	for _, c := range []Codec{Text{}, Text{Commands: true}, Raw{}, JSON{}} {
		for name, body := range bodies {
			ev := &Event{Kind: Message, Seq: 123456, From: MemberInfo{ID: "0123456789abcdef-42", Name: "ada"}, Time: worstTime, Body: body}
			join := &Event{Kind: Join, Seq: 123456, From: ev.From, Time: worstTime}
			say := &Request{Kind: ReqSay, Body: body}
			dst := make([]byte, 0, 4096)
			got := testing.AllocsPerRun(100, func() {
				_, _ = c.AppendEvent(dst, ev)
				_, _ = c.AppendEvent(dst, join)
				_, _ = c.AppendRequest(dst, say)
			})
			require.Zero(t, got, "%T %s", c, name)
		}
	}
}

func TestDecodingAllocatesLittle(t *testing.T) {
	clean := Event{Kind: Message, Seq: 5, From: MemberInfo{ID: "0123456789abcdef-42", Name: "ada"}, Time: worstTime, Body: chatLine}
	dirty := clean
	dirty.Body = []byte("a \"quoted\" line")
	binary := clean
	binary.Body = []byte("\xff\xfe")
	tests := []struct {
		name    string
		codec   Codec
		ev      Event
		event   float64
		message float64
	}{
		{name: "text", codec: Text{}, ev: clean, event: 1, message: 0},
		{name: "raw", codec: Raw{}, ev: clean, event: 0, message: 0},
		{name: "json", codec: JSON{}, ev: clean, event: 1, message: 0},
		{name: "json with escapes", codec: JSON{}, ev: dirty, event: 2, message: 1},
		{name: "json with data", codec: JSON{}, ev: binary, event: 2, message: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame, err := tt.codec.AppendEvent(nil, &tt.ev)
			require.NoError(t, err)
			message, err := appendSay(tt.codec, tt.ev.Body)
			require.NoError(t, err)
			var ev Event
			var req Request
			require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
				ev = Event{}
				_ = tt.codec.ParseEvent(frame, &ev)
			}), tt.event)
			require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
				req = Request{}
				_ = tt.codec.ParseRequest(message, &req)
			}), tt.message)
		})
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	for _, bm := range []struct {
		name  string
		codec Codec
		body  []byte
	}{
		{name: "text/64", codec: Text{}, body: bytes.Repeat([]byte("x"), 64)},
		{name: "text/64KiB", codec: Text{}, body: bytes.Repeat([]byte("x"), 64<<10)},
		{name: "text/64KiB of Czech", codec: Text{}, body: bytes.Repeat([]byte("kůň "), 64<<10/6)},
		{name: "json/64", codec: JSON{}, body: bytes.Repeat([]byte("x"), 64)},
		{name: "json/64KiB", codec: JSON{}, body: bytes.Repeat([]byte("x"), 64<<10)},
		{name: "json/64KiB of Czech", codec: JSON{}, body: bytes.Repeat([]byte("kůň "), 64<<10/6)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			ev := &Event{Kind: Message, Seq: 1, From: MemberInfo{ID: "0123456789abcdef-42", Name: "ada"}, Time: worstTime, Body: bm.body}
			dst := make([]byte, 0, 1<<20)
			b.SetBytes(int64(len(bm.body)))
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = bm.codec.AppendEvent(dst[:0], ev)
			}
		})
	}
}

func BenchmarkParseRequest(b *testing.B) {
	for _, bm := range []struct {
		name string
		body []byte
	}{
		{name: "json/64", body: bytes.Repeat([]byte("x"), 64)},
		{name: "json/64 with escapes", body: bytes.Repeat([]byte("\"xxx"), 16)},
		{name: "json/64KiB", body: bytes.Repeat([]byte("x"), 64<<10)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			frame, _ := appendSay(JSON{}, bm.body)
			var req Request
			b.SetBytes(int64(len(bm.body)))
			b.ReportAllocs()
			for b.Loop() {
				req = Request{}
				_ = JSON{}.ParseRequest(frame, &req)
			}
		})
	}
}
