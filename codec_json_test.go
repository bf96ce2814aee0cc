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

	// of a hub
	{name: "message in a room", ev: Event{Kind: Message, Room: "lobby", Seq: 58, From: MemberInfo{ID: "x-2", Name: "bob"}, Body: []byte("yo")},
		want: `{"type":"message","room":"lobby","seq":58,"from":{"id":"x-2","name":"bob"},"body":"yo"}`},
	{name: "message to all rooms", ev: Event{Kind: Message, Room: "*", Seq: 5, Body: []byte("maintenance at noon")},
		want: `{"type":"message","room":"*","seq":5,"body":"maintenance at noon"}`},
	{name: "join in a room", ev: Event{Kind: Join, Room: "a\"b\\ž", Seq: 2, From: MemberInfo{ID: "1", Name: "ada"}},
		want: `{"type":"join","room":"a\"b\\ž","seq":2,"from":{"id":"1","name":"ada"}}`},
	{name: "leave in a room", ev: Event{Kind: Leave, Room: "lobby", Seq: 3, From: MemberInfo{ID: "1", Name: "ada"}, End: &EndError{Text: "moved"}},
		want: `{"type":"leave","room":"lobby","seq":3,"from":{"id":"1","name":"ada"},"reason":"moved"}`},
	{name: "gap with a count", ev: Event{Kind: Gap, Gap: Span{First: 5, Last: 1 << 40}, Skipped: 150}, want: `{"type":"gap","first":5,"last":1099511627776,"skipped":150}`},
	{name: "gap in a room", ev: Event{Kind: Gap, Room: "lobby", Gap: Span{First: 59, Last: 70}}, want: `{"type":"gap","room":"lobby","first":59,"last":70}`},
	{name: "welcome to a room", ev: Event{Kind: Welcome, Room: "kitchen", Ref: 7, Seq: 1, From: MemberInfo{ID: "x-1", Name: "ada"}, Welcome: &WelcomeInfo{Epoch: "E9", Members: []MemberInfo{{ID: "x-1", Name: "ada"}}, Total: 1, Outcome: "joined"}},
		want: `{"type":"welcome","room":"kitchen","ref":7,"epoch":"E9","seq":1,"id":"x-1","name":"ada","members":[{"id":"x-1","name":"ada"}],"total":1,"outcome":"joined"}`},
	{name: "ack in a room", ev: Event{Kind: Ack, Room: "kitchen", Number: 3, Seq: 2}, want: `{"type":"ack","room":"kitchen","id":3,"seq":2}`},
	{name: "ack of a request", ev: Event{Kind: Ack, Ref: 12}, want: `{"type":"ack","ref":12}`},
	{name: "ack of both", ev: Event{Kind: Ack, Ref: 12, Number: 3}, want: `{"type":"ack","ref":12,"id":3}`},
	{name: "goodbye of a room", ev: Event{Kind: Goodbye, Room: "lobby", Ref: 8, End: &EndError{Cause: "moved"}}, want: `{"type":"goodbye","room":"lobby","ref":8,"code":"moved"}`},
	{name: "refused in a room", ev: Event{Kind: Refused, Room: "vip", Ref: 14, End: &EndError{Cause: "denied", Text: "members only", Final: true}},
		want: `{"type":"refused","room":"vip","ref":14,"code":"denied","retry":false,"message":"members only"}`},
	{name: "refused with the greatest ref", ev: Event{Kind: Refused, Ref: math.MaxUint64, End: new(EndError)}, want: `{"type":"refused","ref":18446744073709551615,"code":"","message":""}`},
	{name: "rooms", ev: Event{Kind: RoomList, Ref: 10, List: &List{Rooms: []RoomInfo{{Name: "kitchen-2", Members: 3}, {Name: "lobby"}}, Total: 10000, More: true}},
		want: `{"type":"rooms","ref":10,"rooms":[{"name":"kitchen-2","members":3},{"name":"lobby","members":0}],"total":10000,"more":true}`},
	{name: "no rooms", ev: Event{Kind: RoomList, List: new(List)}, want: `{"type":"rooms","rooms":[],"total":0}`},
	{name: "members", ev: Event{Kind: Roster, Room: "kitchen", Ref: 11, Seq: 9, List: &List{Members: []MemberInfo{{ID: "x-1", Name: "ada"}}, Total: 300, More: true}},
		want: `{"type":"members","room":"kitchen","ref":11,"seq":9,"members":[{"id":"x-1","name":"ada"}],"total":300,"more":true}`},
	{name: "no members", ev: Event{Kind: Roster, Room: "kitchen", List: new(List)}, want: `{"type":"members","room":"kitchen","members":[],"total":0}`},
	{name: "renamed", ev: Event{Kind: Renamed, Room: "kitchen", Seq: 10, From: MemberInfo{ID: "x-1", Name: "ada"}, Body: []byte("eve")},
		want: `{"type":"renamed","room":"kitchen","seq":10,"from":{"id":"x-1","name":"ada"},"name":"eve"}`},
}

// jsonRequests are those of a hub, and what stands on the wire for them.
var jsonRequests = []struct {
	name string
	req  Request
	want string
}{
	{name: "message to a room", req: Request{Kind: ReqSay, Room: "kitchen", Number: 3, Body: []byte("hi")}, want: `{"type":"message","room":"kitchen","id":3,"body":"hi"}`},
	{name: "enter", req: Request{Kind: ReqEnter, Room: "kitchen", Ref: 7, Query: &Query{History: 20}}, want: `{"type":"enter","room":"kitchen","ref":7,"history":20}`},
	{name: "enter without history", req: Request{Kind: ReqEnter, Room: "a\"b\\ž", Query: &Query{History: -1}}, want: `{"type":"enter","room":"a\"b\\ž","history":0}`},
	{name: "leave", req: Request{Kind: ReqLeave, Room: "attic", Ref: 9}, want: `{"type":"leave","room":"attic","ref":9}`},
	{name: "leave the only room", req: Request{Kind: ReqLeave}, want: `{"type":"leave"}`},
	{name: "move", req: Request{Kind: ReqMove, Room: "lobby", To: "attic", Ref: 8}, want: `{"type":"move","room":"lobby","to":"attic","ref":8}`},
	{name: "move from the only room", req: Request{Kind: ReqMove, To: "attic", Query: &Query{History: 5}}, want: `{"type":"move","to":"attic","history":5}`},
	{name: "rooms", req: Request{Kind: ReqRooms, Ref: 10, Query: &Query{Prefix: "k", After: "kitchen", Limit: 50}}, want: `{"type":"rooms","ref":10,"prefix":"k","after":"kitchen","limit":50}`},
	{name: "all rooms", req: Request{Kind: ReqRooms}, want: `{"type":"rooms"}`},
	{name: "members", req: Request{Kind: ReqMembers, Room: "kitchen", Ref: 11, Query: &Query{After: "x-1"}}, want: `{"type":"members","room":"kitchen","ref":11,"after":"x-1"}`},
	{name: "members of all", req: Request{Kind: ReqMembers, Room: "*"}, want: `{"type":"members","room":"*"}`},
	{name: "direct", req: Request{Kind: ReqTell, To: "x-2", Ref: 12, Body: []byte("psst")}, want: `{"type":"direct","to":"x-2","ref":12,"body":"psst"}`},
	{name: "direct of bytes", req: Request{Kind: ReqTell, To: "x-2", Ref: math.MaxUint64, Body: []byte("\xff")}, want: `{"type":"direct","to":"x-2","ref":18446744073709551615,"data":"/w=="}`},
	{name: "rename", req: Request{Kind: ReqRename, To: "eve", Ref: 13}, want: `{"type":"rename","name":"eve","ref":13}`},
	{name: "hello with rooms", req: Request{Kind: ReqHello, Hello: &Hello{Name: "ada", Rooms: []string{"lobby", "*"}}}, want: `{"type":"hello","name":"ada","rooms":["lobby","*"]}`},
	{name: "hello with no rooms yet", req: Request{Kind: ReqHello, Hello: &Hello{Rooms: []string{}}}, want: `{"type":"hello","rooms":[]}`},
	{name: "hello that resumes in rooms", req: Request{Kind: ReqHello, Hello: &Hello{Resume: &Resume{Token: "T", Epoch: "E0", Seq: 5, Rooms: map[string]Position{"lobby": {Epoch: "E7", Seq: 70}, "kitchen": {Epoch: "E9", Seq: 2}}}}},
		want: `{"type":"hello","resume":{"token":"T","epoch":"E0","seq":5,"rooms":{"kitchen":{"epoch":"E9","seq":2},"lobby":{"epoch":"E7","seq":70}}}}`},
	{name: "hello that resumes in no room", req: Request{Kind: ReqHello, Hello: &Hello{Resume: &Resume{Token: "T", Rooms: map[string]Position{}}}}, want: `{"type":"hello","resume":{"token":"T","epoch":"","seq":0,"rooms":{}}}`},
}

func TestJSONRequests(t *testing.T) {
	for _, tt := range jsonRequests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := JSON{}.AppendRequest([]byte("x"), &tt.req)
			require.NoError(t, err)
			require.Equal(t, "x"+tt.want, string(got))
			var back Request
			require.NoError(t, JSON{}.ParseRequest(got[1:], &back))
			require.Equal(t, tt.req, back)
		})
	}
}

// What a peer lacks, or writes where a name should stand, is for the hub to judge.
func TestJSONRequestsOfOthers(t *testing.T) {
	for frame, want := range map[string]Request{
		`{"type":"enter"}`:                                        {Kind: ReqEnter},
		`{"type":"enter","room":"a b\u0000"}`:                     {Kind: ReqEnter, Room: "a b\x00"},
		`{"type":"enter","room":null,"ref":null}`:                 {Kind: ReqEnter},
		`{"history":0,"type":"move","to":"*"}`:                    {Kind: ReqMove, To: "*", Query: &Query{History: -1}},
		`{"type":"rooms","limit":0,"prefix":"","after":""}`:       {Kind: ReqRooms},
		`{"type":"rooms","limit":18446744073709551615}`:           {Kind: ReqRooms, Query: &Query{Limit: math.MaxInt}},
		`{"type":"members","prefix":5,"to":5,"name":5,"body":5}`:  {Kind: ReqMembers},
		`{"type":"direct","body":"psst","history":"no"}`:          {Kind: ReqTell, Body: []byte("psst")},
		`{"type":"rename","room":"lobby"}`:                        {Kind: ReqRename, Room: "lobby"},
		`{"type":"message","ref":"no","body":"hi"}`:               {Kind: ReqSay, Body: []byte("hi")},
		`{"type":"hello","rooms":["a b",""],"room":5,"ref":"no"}`: {Kind: ReqHello, Hello: &Hello{Rooms: []string{"a b", ""}}},
		`{"type":"hello","rooms":null}`:                           {Kind: ReqHello, Hello: &Hello{}},
		`{"type":"goodbye","room":5,"ref":0}`:                     {Kind: ReqGoodbye},
	} {
		var got Request
		require.NoError(t, JSON{}.ParseRequest([]byte(frame), &got), frame)
		require.Equal(t, want, got, frame)
	}
}

// An ack is of a message, of a request, or of both; one of nothing could not be read.
func TestJSONRefusesAckOfNothing(t *testing.T) {
	got, err := JSON{}.AppendEvent([]byte("x"), &Event{Kind: Ack, Room: "kitchen", Seq: 2})
	require.Error(t, err)
	require.Equal(t, "x", string(got))
}

// What no room can have is not said, in either direction.
func TestJSONRefusesRooms(t *testing.T) {
	for _, name := range []string{"a b", "a:b", "a,b", "a/b", "#a", "**", "..", "a\n", "\u202ea", "\xff", strings.Repeat("a", 65)} {
		for _, ev := range []Event{
			{Kind: Message, Room: name}, {Kind: Welcome, Room: name, From: MemberInfo{Name: "ada"}}, {Kind: Goodbye, Room: name}, {Kind: Refused, Room: name},
			{Kind: Gap, Room: name, Gap: Span{1, 1}}, {Kind: Ack, Room: name}, {Kind: Roster, Room: name}, {Kind: RoomList, List: &List{Rooms: []RoomInfo{{Name: name}}}},
		} {
			got, err := JSON{}.AppendEvent([]byte("x"), &ev)
			require.ErrorIs(t, err, ErrRoomName, "%v", ev)
			require.Equal(t, "x", string(got))
		}
		for _, req := range []Request{
			{Kind: ReqSay, Room: name}, {Kind: ReqEnter, Room: name}, {Kind: ReqLeave, Room: name}, {Kind: ReqMove, To: name}, {Kind: ReqMembers, Room: name},
			{Kind: ReqRooms, Query: &Query{After: name}}, {Kind: ReqHello, Hello: &Hello{Rooms: []string{"a", name}}},
			{Kind: ReqHello, Hello: &Hello{Resume: &Resume{Rooms: map[string]Position{name: {}}}}},
		} {
			got, err := JSON{}.AppendRequest([]byte("x"), &req)
			require.ErrorIs(t, err, ErrRoomName, "%v %q", req.Kind, name)
			require.Equal(t, "x", string(got))
		}
	}
	for _, req := range []Request{
		{Kind: ReqEnter}, {Kind: ReqMove}, {Kind: ReqRename}, {Kind: ReqRename, To: "a b"}, {Kind: ReqTell, To: "a b"}, {Kind: ReqTell, To: strings.Repeat("x", 65)},
		{Kind: ReqMembers, Query: &Query{After: "a b"}}, {Kind: ReqRooms, Query: &Query{Prefix: "a b"}},
		{Kind: ReqHello, Hello: &Hello{Resume: &Resume{Rooms: map[string]Position{"a": {Epoch: "a b"}}}}},
	} {
		got, err := JSON{}.AppendRequest([]byte("x"), &req)
		require.Error(t, err, "%v", req.Kind)
		require.NotErrorIs(t, err, ErrNoFrame)
		require.Equal(t, "x", string(got))
	}
	got, err := JSON{}.AppendEvent([]byte("x"), &Event{Kind: Renamed, From: MemberInfo{Name: "ada"}, Body: []byte("a b")})
	require.ErrorIs(t, err, ErrNameInvalid)
	require.Equal(t, "x", string(got))
}

// A list is cut, and then says that there is more.
func TestJSONListsAreCut(t *testing.T) {
	for _, n := range []int{100, 101, 5000} {
		l := &List{Rooms: make([]RoomInfo, n), Members: make([]MemberInfo, n), Total: n}
		for i := range n {
			l.Rooms[i], l.Members[i] = RoomInfo{Name: "a", Members: -1}, MemberInfo{Name: "ada"}
		}
		for _, kind := range []Kind{RoomList, Roster} {
			frame, err := JSON{}.AppendEvent(nil, &Event{Kind: kind, List: l})
			require.NoError(t, err)
			var back Event
			require.NoError(t, JSON{}.ParseEvent(frame, &back))
			require.Equal(t, 100, max(len(back.List.Rooms), len(back.List.Members)))
			require.Equal(t, n, back.List.Total)
			require.Equal(t, n > 100, back.List.More)
		}
	}
	got, err := JSON{}.AppendEvent(nil, &Event{Kind: RoomList})
	require.NoError(t, err)
	require.Equal(t, `{"type":"rooms","rooms":[],"total":0}`, string(got), "nil is the zero List")
	got, err = JSON{}.AppendEvent(nil, &Event{Kind: Roster, List: &List{Total: -5}})
	require.NoError(t, err)
	require.Equal(t, `{"type":"members","members":[],"total":0}`, string(got))
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
		`{"type":"message","body":"hi","room":1}`,
		`{"type":"message","body":"hi","room":"a","room":"b"}`,
		`{"type":"enter","room":["a"]}`, `{"type":"enter","room":"\ud83d"}`, `{"type":"enter","ref":0}`, `{"type":"enter","ref":"7"}`, `{"type":"enter","ref":1.5}`,
		`{"type":"enter","history":-1}`, `{"type":"move","to":1}`, `{"type":"rename","name":{}}`,
		`{"type":"rooms","prefix":1}`, `{"type":"rooms","after":1}`, `{"type":"rooms","limit":"5"}`, `{"type":"members","after":[]}`,
		`{"type":"direct","to":"x-1"}`, `{"type":"direct","to":"x-1","body":"a","data":"YQ=="}`, `{"type":"direct","to":1,"body":"a"}`,
		`{"type":"hello","rooms":"lobby"}`, `{"type":"hello","rooms":{}}`, `{"type":"hello","rooms":[1]}`, `{"type":"hello","rooms":[null]}`, `{"type":"hello","rooms":["\ud83d"]}`,
		`{"type":"hello","resume":{"rooms":[]}}`, `{"type":"hello","resume":{"rooms":{"a":5}}}`, `{"type":"hello","resume":{"rooms":{"a":null}}}`,
		`{"type":"hello","resume":{"rooms":{"a":{"seq":-1}}}}`, `{"type":"hello","resume":{"rooms":{"a":{"epoch":1}}}}`,
		`{"type":"hello","resume":{"rooms":{"a":{},"\u0061":{}}}}`, `{"type":"hello","resume":{"rooms":{"\ud83d":{}}}}`,
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
		`{"type":"message","body":"hi","room":1}`,
		`{"type":"message","body":"hi","room":""}`,
		`{"type":"message","body":"hi","room":"a b"}`,
		`{"type":"message","body":"hi","room":"**"}`,
		`{"type":"message","body":"hi","room":"a\u001b[m"}`,
		`{"type":"goodbye","room":["lobby"]}`, `{"type":"goodbye","room":"a","room":"b"}`,
		`{"type":"refused","ref":0}`, `{"type":"refused","ref":"7"}`, `{"type":"ack","ref":-1}`,
		`{"type":"rooms","rooms":{}}`, `{"type":"rooms","rooms":["lobby"]}`, `{"type":"rooms","rooms":[{}]}`, `{"type":"rooms","rooms":[{"name":"*"}]}`,
		`{"type":"rooms","rooms":[{"name":"a","members":[]}]}`, `{"type":"rooms","rooms":[{"name":"a","name":"b"}]}`,
		`{"type":"rooms","total":-1}`, `{"type":"rooms","more":1}`, `{"type":"rooms","ref":0}`,
		`{"type":"members","members":{}}`, `{"type":"members","members":[{"id":"1"}]}`, `{"type":"members","seq":"1"}`,
		`{"type":"renamed","name":"eve"}`, `{"type":"renamed","from":{"id":"1","name":"ada"}}`, `{"type":"renamed","from":{"id":"1","name":"ada"},"name":"a b"}`,
		`{"type":"renamed","from":{"id":"1","name":"ada"},"name":5}`,
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
