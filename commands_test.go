package tcproom

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var commands = Text{Commands: true}

// commandCases are requests and the lines for them.
var commandCases = []struct {
	name string
	req  Request
	want string
}{
	{name: "message", req: Request{Kind: ReqSay, Body: []byte("hi")}, want: "hi"},
	{name: "message like a command", req: Request{Kind: ReqSay, Body: []byte("/help")}, want: "//help"},
	{name: "message with two slashes", req: Request{Kind: ReqSay, Body: []byte("//x")}, want: "///x"},
	{name: "a slash", req: Request{Kind: ReqSay, Body: []byte("/")}, want: "//"},
	{name: "a space before a slash", req: Request{Kind: ReqSay, Body: []byte(" /help")}, want: " /help"},
	{name: "bytes", req: Request{Kind: ReqSay, Body: []byte("\xff\x00")}, want: "\xff\x00"},
	{name: "join", req: Request{Kind: ReqMove, To: "kitchen"}, want: "/join kitchen"},
	{name: "rooms", req: Request{Kind: ReqRooms}, want: "/rooms"},
	{name: "rooms with a prefix", req: Request{Kind: ReqRooms, Query: &Query{Prefix: "k"}}, want: "/rooms k"},
	{name: "who", req: Request{Kind: ReqMembers}, want: "/who"},
	{name: "who in", req: Request{Kind: ReqMembers, Room: "kuchyň"}, want: "/who kuchyň"},
	{name: "who in all", req: Request{Kind: ReqMembers, Room: "*"}, want: "/who *"},
	{name: "msg", req: Request{Kind: ReqTell, To: "bob", Body: []byte("how are  you?")}, want: "/msg bob how are  you?"},
	{name: "msg that begins with a space", req: Request{Kind: ReqTell, To: "bob", Body: []byte(" /x ")}, want: "/msg bob  /x "},
	{name: "nick", req: Request{Kind: ReqRename, To: "žofie"}, want: "/nick žofie"},
	{name: "quit", req: Request{Kind: ReqGoodbye}, want: "/quit"},
	{name: "quit with words", req: Request{Kind: ReqGoodbye, Body: []byte("see you ")}, want: "/quit see you "},
	{name: "help", req: Request{Kind: ReqHelp}, want: "/help"},
	{name: "other", req: Request{Kind: ReqOther, To: "topic"}, want: "/topic"},
	{name: "other with words", req: Request{Kind: ReqOther, To: "topic", Body: []byte("bread and butter")}, want: "/topic bread and butter"},
	{name: "other without a word", req: Request{Kind: ReqOther, Body: []byte("x")}, want: "/ x"},
	{name: "a slash alone", req: Request{Kind: ReqOther}, want: "/"},
	{name: "capitals", req: Request{Kind: ReqOther, To: "HELP"}, want: "/HELP"},
}

func TestCommands(t *testing.T) {
	for _, tt := range commandCases {
		t.Run(tt.name, func(t *testing.T) {
			got, err := commands.AppendRequest([]byte("before"), &tt.req)
			require.NoError(t, err)
			require.Equal(t, "before"+tt.want, string(got))
			want := tt.req
			if want.forHub() {
				want.Ref = commandRef
			}
			var back Request
			require.NoError(t, commands.ParseRequest(got[len("before"):], &back))
			if len(back.Body) == 0 {
				back.Body = nil
			}
			require.Equal(t, want, back)

			// Without commands the line is the message.
			back = Request{}
			require.NoError(t, Text{}.ParseRequest([]byte(tt.want), &back))
			require.Equal(t, Request{Kind: ReqSay, Body: []byte(tt.want)}, back)
		})
	}
}

// What people type otherwise.
func TestCommandsTypedOtherwise(t *testing.T) {
	for line, want := range map[string]Request{
		"/join":              {Kind: ReqMove},
		"/join  kitchen  ":   {Kind: ReqMove, To: "kitchen"},
		"/join #a b":         {Kind: ReqMove, To: "#a b"},
		"/rooms  ":           {Kind: ReqRooms},
		"/who  kitchen ":     {Kind: ReqMembers, Room: "kitchen"},
		"/msg":               {Kind: ReqTell},
		"/msg   bob":         {Kind: ReqTell, To: "bob"},
		"/msg   bob hi":      {Kind: ReqTell, To: "bob", Body: []byte("hi")},
		"/msg bob ":          {Kind: ReqTell, To: "bob"},
		"/nick":              {Kind: ReqRename},
		"/nick \x1b[31meve ": {Kind: ReqRename, To: "\x1b[31meve"},
		"/help me":           {Kind: ReqHelp},
		"/help\tme":          {Kind: ReqOther, To: "help\tme"},
		"/joinkitchen":       {Kind: ReqOther, To: "joinkitchen"},
	} {
		var got Request
		require.NoError(t, commands.ParseRequest([]byte(line), &got), line)
		want.Ref = commandRef
		if len(got.Body) == 0 {
			got.Body = nil
		}
		require.Equal(t, want, got, line)
	}
	require.ErrorIs(t, commands.ParseRequest(nil, new(Request)), ErrNoFrame)
}

// What has no place in a command is an error, and not left out.
func TestCommandsSayAllOrNothing(t *testing.T) {
	for _, req := range []Request{
		{Kind: ReqSay}, {Kind: ReqSay, Room: "kitchen", Body: []byte("hi")},
		{Kind: ReqMove, Room: "lobby", To: "kitchen"}, {Kind: ReqMove, To: "kitchen", Query: &Query{History: 5}},
		{Kind: ReqRooms, Query: &Query{After: "kitchen"}}, {Kind: ReqRooms, Query: &Query{Limit: 5}}, {Kind: ReqMembers, Query: &Query{Prefix: "a"}},
		{Kind: ReqTell, Room: "lobby", To: "bob", Body: []byte("hi")}, {Kind: ReqTell, To: "bob"},
		{Kind: ReqOther, To: "join"}, {Kind: ReqOther, To: "help"}, {Kind: ReqOther, To: "/x"}, {Kind: ReqOther, To: "a b"}, {Kind: ReqOther, To: strings.Repeat("a", 257)},
	} {
		got, err := commands.AppendRequest([]byte("x"), &req)
		require.ErrorIs(t, err, ErrUnframeable, "%v", req)
		require.Equal(t, "x", string(got))
	}
	for _, req := range []Request{{Kind: ReqMove}, {Kind: ReqMove, To: "*"}, {Kind: ReqMove, To: "a b"}, {Kind: ReqMembers, Room: "a b"}, {Kind: ReqRooms, Query: &Query{Prefix: "a b"}}} {
		_, err := commands.AppendRequest(nil, &req)
		require.ErrorIs(t, err, ErrRoomName, "%v", req)
	}
	for _, req := range []Request{{Kind: ReqRename}, {Kind: ReqRename, To: "a b"}, {Kind: ReqTell, To: "a\nb", Body: []byte("x")}} {
		_, err := commands.AppendRequest(nil, &req)
		require.ErrorIs(t, err, ErrNameInvalid, "%v", req)
	}
	for _, c := range []Codec{Text{}, Raw{}} {
		_, err := c.AppendRequest(nil, &Request{Kind: ReqSay, Room: "kitchen", Body: []byte("hi")})
		require.ErrorIs(t, err, ErrUnframeable)
	}
}

func infos(names ...string) (all []MemberInfo) {
	for _, name := range names {
		all = append(all, MemberInfo{Name: name})
	}
	return all
}

// hubLines are events and the lines for them, which Text with Commands has.
var hubLines = []struct {
	name string
	ev   Event
	want string
	back Event // if it is another
}{
	{name: "direct", ev: Event{Kind: Direct, From: MemberInfo{Name: "ada"}, Body: []byte("psst")}, want: "ada -> you: psst"},
	{name: "direct of the hub", ev: Event{Kind: Direct, Body: []byte("psst")}, want: "*: psst", back: Event{Kind: Message, Body: []byte("psst")}},
	{name: "direct that holds lines", ev: Event{Kind: Direct, From: MemberInfo{Name: "ada"}, Body: []byte("x -> you: y\n* ada is now eve")}, want: `ada -> you: x -> you: y\x0a* ada is now eve`,
		back: Event{Kind: Direct, From: MemberInfo{Name: "ada"}, Body: []byte(`x -> you: y\x0a* ada is now eve`)}},
	{name: "welcome", ev: Event{Kind: Welcome, Room: "lobby", Ref: 7, Seq: 5, From: MemberInfo{ID: "x", Name: "guest-7"}, Welcome: &WelcomeInfo{Epoch: "e", Total: 3}}, want: "* you are guest-7 in lobby",
		back: Event{Kind: Welcome, Room: "lobby", From: MemberInfo{Name: "guest-7"}, Welcome: new(WelcomeInfo)}},
	{name: "rooms", ev: Event{Kind: RoomList, List: &List{Rooms: []RoomInfo{{Name: "kitchen", Members: 3}, {Name: "lobby", Members: 12}}, Total: 2}}, want: "* rooms: kitchen 3, lobby 12"},
	{name: "rooms and more", ev: Event{Kind: RoomList, List: &List{Rooms: []RoomInfo{{Name: "kitchen", Members: 3}, {Name: "lobby", Members: 12}}, Total: 216, More: true}}, want: "* rooms: kitchen 3, lobby 12 … and 214 more"},
	{name: "rooms, and none of them listed", ev: Event{Kind: RoomList, List: &List{Total: 5, More: true}}, want: "* rooms: … and 5 more"},
	{name: "no rooms", ev: Event{Kind: RoomList, List: new(List)}, want: "* no rooms"},
	{name: "a room of that name", ev: Event{Kind: RoomList, List: &List{Rooms: []RoomInfo{{Name: "…", Members: math.MaxInt32}, {Name: "more"}}, Total: 2}}, want: "* rooms: … 2147483647, more 0"},
	{name: "roster", ev: Event{Kind: Roster, Room: "lobby", List: &List{Members: infos("ada", "bob"), Total: 2}}, want: "* in lobby: ada, bob"},
	{name: "roster and more", ev: Event{Kind: Roster, Room: "lobby", List: &List{Members: infos("ada", "bob"), Total: 42, More: true}}, want: "* in lobby: ada, bob … and 40 more"},
	{name: "roster of all", ev: Event{Kind: Roster, Room: "*", List: &List{Total: 42, More: true}}, want: "* in *: … and 42 more"},
	{name: "nobody", ev: Event{Kind: Roster, Room: "lobby", List: new(List)}, want: "* nobody in lobby"},
	{name: "odd names", ev: Event{Kind: Roster, Room: "joined", List: &List{Members: infos("…", "a,", ",", "and", "more", "joined"), Total: 6}}, want: "* in joined: …, a,, ,, and, more, joined"},
	{name: "a name like the last words", ev: Event{Kind: Roster, Room: "left", List: &List{Members: infos("more"), Total: 1}}, want: "* in left: more"},
	{name: "renamed", ev: Event{Kind: Renamed, From: MemberInfo{Name: "ada"}, Body: []byte("eve")}, want: "* ada is now eve"},
	{name: "renamed to joined", ev: Event{Kind: Renamed, From: MemberInfo{Name: "you"}, Body: []byte("joined")}, want: "* you is now joined"},
	{name: "refused", ev: Event{Kind: Refused, Ref: 1, End: &EndError{Text: "no such room"}}, want: "* not done: no such room"},
	{name: "refused in a room", ev: Event{Kind: Refused, Room: "vip", Ref: 7, End: &EndError{Cause: ErrDenied, Text: "members only\n* ada left"}}, want: `* not done: members only\x0a* ada left`,
		back: Event{Kind: Refused, Ref: 1, End: &EndError{Text: `members only\x0a* ada left`}}},
	{name: "refused without a reason", ev: Event{Kind: Refused, Room: "vip"}, want: "* not done", back: Event{Kind: Refused, Ref: 1, End: new(EndError)}},
	{name: "refused that looks like a join", ev: Event{Kind: Refused, Ref: 1, End: &EndError{Text: "ada joined"}}, want: "* not done: ada joined"},
	{name: "refused that looks like a gap", ev: Event{Kind: Refused, Ref: 1, End: &EndError{Text: "2 messages skipped"}}, want: "* not done: 2 messages skipped"},
	{name: "help", ev: Event{Kind: Help}, want: "* commands: " + helpText},
	{name: "other help", ev: Event{Kind: Help, Body: []byte("/topic, ada joined")}, want: "* commands: /topic, ada joined"},

	{name: "refused connection", ev: Event{Kind: Refused, End: &EndError{Text: "room is full"}}, want: "* goodbye: room is full", back: Event{Kind: Goodbye, End: &EndError{Text: "room is full"}}},
	{name: "refused by all", ev: Event{Kind: Refused, Room: "*", End: &EndError{Text: "banned"}}, want: "* goodbye: banned", back: Event{Kind: Goodbye, End: &EndError{Text: "banned"}}},
	{name: "goodbye of all", ev: Event{Kind: Goodbye, Room: "*", Ref: 5, End: &EndError{Text: "hub closed"}}, want: "* goodbye: hub closed", back: Event{Kind: Goodbye, End: &EndError{Text: "hub closed"}}},
	{name: "out of a room", ev: Event{Kind: Goodbye, Room: "lobby", End: &EndError{Text: "by ada"}}, want: "* you are out of lobby: by ada"},
	{name: "out of a room without a reason", ev: Event{Kind: Goodbye, Room: "in", Ref: 3}, want: "* you are out of in", back: Event{Kind: Goodbye, Room: "in", End: new(EndError)}},
	{name: "out with a reason like lines", ev: Event{Kind: Goodbye, Room: "kuchyň", End: &EndError{Cause: ErrKicked, Text: "ada in lobby: he left\n"}}, want: `* you are out of kuchyň: ada in lobby: he left\x0a`,
		back: Event{Kind: Goodbye, Room: "kuchyň", End: &EndError{Text: `ada in lobby: he left\x0a`}}},
	{name: "message in a room", ev: Event{Kind: Message, Room: "lobby", From: MemberInfo{Name: "ada"}, Body: []byte("hi")}, want: "ada: hi", back: Event{Kind: Message, From: MemberInfo{Name: "ada"}, Body: []byte("hi")}},
}

func TestHubLines(t *testing.T) {
	for _, tt := range hubLines {
		t.Run(tt.name, func(t *testing.T) {
			got, err := commands.AppendEvent([]byte("before"), &tt.ev)
			require.NoError(t, err)
			require.Equal(t, "before"+tt.want, string(got))
			requireSafe(t, got)
			if tt.back.Kind == 0 {
				tt.back = tt.ev
			}
			var back Event
			require.NoError(t, commands.ParseEvent(got[len("before"):], &back))
			require.Equal(t, tt.back, back)
		})
	}
}

// A line of a hub is a message to an old reader, and Text without commands has none of
// them.
func TestHubLinesWithoutCommands(t *testing.T) {
	for _, tt := range hubLines {
		if old, err := (Text{}).AppendEvent(nil, &tt.ev); err == nil {
			require.Contains(t, []Kind{Message, Direct, Goodbye, Refused}, tt.ev.Kind, tt.name)
			require.False(t, tt.ev.Kind == Refused && tt.ev.answers(), tt.name)
			require.Equal(t, tt.ev.From.Name != "" && tt.ev.Kind == Direct, string(old) != tt.want, tt.name)
			continue
		}
		var ev Event
		require.NoError(t, Text{}.ParseEvent([]byte(tt.want), &ev))
		require.Equal(t, Event{Kind: Message, Body: []byte(tt.want)}, ev, tt.name)
	}
	for _, c := range []Text{{}, commands} {
		_, err := c.AppendEvent(nil, &Event{Kind: Goodbye, Room: "lobby", End: &EndError{Cause: errMoved}})
		require.ErrorIs(t, err, ErrNoFrame, "the stream goes on")
	}
	for _, room := range []string{"", "*"} {
		_, err := commands.AppendEvent(nil, &Event{Kind: Welcome, Room: room, From: MemberInfo{Name: "ada"}})
		require.ErrorIs(t, err, ErrNoFrame)
	}
	var ev Event // a Direct as Text without commands says it
	require.NoError(t, commands.ParseEvent([]byte("ada (to you): hi"), &ev))
	require.Equal(t, Event{Kind: Direct, From: MemberInfo{Name: "ada"}, Body: []byte("hi")}, ev)
}

// What looks like a line of a hub and is none is a message of the room.
func TestForeignLinesOfAHub(t *testing.T) {
	for _, line := range []string{
		"* you are ada", "* you are out of", "* you are out of ", "* you are out of a b", "* you are out of *", "* you are out of lobby: ", "* you are out of lobby:", "* you are ada in", "* you are a b in lobby", "* you are ada in a b", "* you are ada in *", "* you are * in lobby",
		"* rooms:", "* rooms: ", "* rooms: a", "* rooms: a 01", "* rooms: a -1", "* rooms: a 1,b 2", "* rooms: a  1", "* rooms: a:b 1", "* rooms: * 1", "* rooms: a 18446744073709551615",
		"* rooms: a 1 … and 0 more", "* rooms: a 1… and 3 more", "* rooms: a 1 … and x more", "* rooms:  … and 3 more", "* rooms: a 1, … and 3 more", "* rooms: a 1 and 3 more", "* rooms: … and 9223372036854775807 more",
		"* in lobby", "* in lobby:", "* in lobby: ", "* in lobby: ada,bob x", "* in lobby: *", "* in a b: ada", "* in : ada", "* in lobby: ada,  bob", "* nobody in", "* nobody in a b", "* no rooms ",
		"* ada is now", "* ada is now ", "* a b is now c", "* ada is now b c", "ada is now eve", "* is now eve", "* * is now eve",
		"* not done:", "* not done.", "* not done:x", "* commands:", "* commands", "-> you: x", " -> you: x", "* -> you: x", "a b -> you: x", "ada -> you:", "ada -> you:x", "ada -> me: x",
	} {
		var got Event
		require.NoError(t, commands.ParseEvent([]byte(line), &got), "%q", line)
		require.Equal(t, Event{Kind: Message, Body: []byte(line)}, got, "%q", line)
	}
}

// A list has as many entries as a line holds, and says how many more there are.
func TestListsOfManyLines(t *testing.T) {
	l := &List{}
	for range 1000 {
		l.Rooms = append(l.Rooms, RoomInfo{Name: strings.Repeat("a", 64), Members: 123456})
		l.Members = append(l.Members, MemberInfo{Name: strings.Repeat("é", 128)})
	}
	for total, want := range map[int]int{0: 1000, 10: 1000, 5000: 5000, math.MinInt: 1000, math.MaxInt: 0} {
		l.Total = total
		for _, kind := range []Kind{RoomList, Roster} {
			line, err := commands.AppendEvent(nil, &Event{Kind: kind, Room: "lobby", List: l})
			require.NoError(t, err)
			require.Less(t, len(line), maxListLine+50)
			require.Greater(t, len(line), maxListLine-300)
			var back Event
			require.NoError(t, commands.ParseEvent(line, &back))
			n := len(back.List.Rooms) + len(back.List.Members)
			require.Greater(t, n, 5)
			require.True(t, back.List.More)
			if total == math.MaxInt { // it says as many as an int holds for sure
				want = maxMore + n
			}
			require.Equal(t, want, back.List.Total)
		}
	}
}

// FuzzCommands: no name and no body makes a line of a member look like one of the hub,
// each line of the hub is read as what it is, and any line of a foreign room or member
// gives something or is ignored.
func FuzzCommands(f *testing.F) {
	f.Add("ada", "eve", "lobby", []byte("hi"))
	for _, tt := range hubLines {
		f.Add("more", "joined", "left", []byte(tt.want))
	}
	for _, tt := range commandCases {
		f.Add("you", "…", "a", []byte(tt.want))
	}
	for _, name := range []string{"*", "**", "->", "in", "is", "now", "not", "no", "nobody", "rooms", "commands", "-", "/", "/join", "a,", "…"} {
		f.Add(name, name, name, []byte("* "+name+" is now "+name))
	}
	f.Fuzz(func(t *testing.T, name, other, room string, body []byte) {
		checkHubLines(t, name, other, room, body)
		checkForeignLine(t, body)
		checkCommandLine(t, name, room, body)
	})
}

// checkHubLines checks that lines with these names are read as what they are.
func checkHubLines(t *testing.T, name, other, room string, body []byte) {
	from := MemberInfo{Name: name}
	safe := append([]byte{}, appendSafe(nil, body)...)
	why := string(appendSafe(nil, []byte(cutText(string(body), maxReasonBytes))))
	end := &EndError{Text: string(body)}
	for _, tt := range []struct{ ev, want Event }{
		{Event{Kind: Message, From: from, Body: body}, Event{Kind: Message, From: from, Body: safe}},
		{Event{Kind: Message, Room: room, From: from, Body: body}, Event{Kind: Message, From: from, Body: safe}},
		{Event{Kind: Message, Body: body}, Event{Kind: Message, Body: safe}},
		{Event{Kind: Direct, From: from, Body: body}, Event{Kind: Direct, From: from, Body: safe}},
		{Event{Kind: Direct, Body: body}, Event{Kind: Message, Body: safe}},
		{Event{Kind: Join, From: from}, Event{Kind: Join, From: from}},
		{Event{Kind: Leave, From: from, End: end}, Event{Kind: Leave, From: from}},
		{Event{Kind: Renamed, From: from, Body: []byte(other)}, Event{Kind: Renamed, From: from, Body: []byte(other)}},
		{Event{Kind: Welcome, Room: room, From: from}, Event{Kind: Welcome, Room: room, From: from, Welcome: new(WelcomeInfo)}},
		{Event{Kind: Roster, Room: room, List: &List{Members: infos(name, other)}}, Event{Kind: Roster, Room: room, List: &List{Members: infos(name, other), Total: 2}}},
		{Event{Kind: Roster, Room: room, List: &List{Members: infos(name), Total: 9}}, Event{Kind: Roster, Room: room, List: &List{Members: infos(name), Total: 9, More: true}}},
		{Event{Kind: RoomList, List: &List{Rooms: []RoomInfo{{Name: room, Members: len(body)}}}}, Event{Kind: RoomList, List: &List{Rooms: []RoomInfo{{Name: room, Members: len(body)}}, Total: 1}}},
		{Event{Kind: Refused, Ref: 5, End: end}, Event{Kind: Refused, Ref: 1, End: &EndError{Text: why}}},
		{Event{Kind: Goodbye, End: end}, Event{Kind: Goodbye, End: &EndError{Text: why}}},
		{Event{Kind: Goodbye, Room: room, End: end}, Event{Kind: Goodbye, Room: room, End: &EndError{Text: why}}},
		{Event{Kind: Help, Body: body}, Event{Kind: Help, Body: []byte(why)}},
	} {
		frame, err := commands.AppendEvent(nil, &tt.ev)
		if err != nil {
			if tt.ev.Kind == Welcome && room == "" {
				require.ErrorIs(t, err, ErrNoFrame)
				continue
			}
			require.True(t, checkName(name) != nil || checkName(other) != nil || checkRoomName(room) != nil, "%v", err)
			continue
		}
		requireSafe(t, frame)
		_, toMember := commands.MaxFrame(len(body))
		require.LessOrEqual(t, len(frame), toMember)
		var back Event
		require.NoError(t, commands.ParseEvent(frame, &back))
		if tt.ev.Kind == Direct && name == "" { // of the hub itself, whose line is a message's
			tt.want.Kind = Message
		}
		if tt.ev.Kind == Goodbye && !tt.ev.inOneRoom() {
			tt.want.Room = ""
		}
		if tt.ev.Kind == Help && (len(body) == 0 || why == helpText) {
			tt.want.Body = nil
		}
		require.Equal(t, tt.want, back, "%q", frame)
	}
}

// checkForeignLine checks what any line is read as.
func checkForeignLine(t *testing.T, line []byte) {
	var ev Event
	if err := commands.ParseEvent(line, &ev); err != nil {
		require.ErrorIs(t, err, ErrNoFrame)
		require.Empty(t, line)
		return
	}
	if ev.From != (MemberInfo{}) {
		require.NoError(t, checkName(ev.From.Name))
	}
	switch ev.Kind {
	case Join, Leave, Gap, Welcome, RoomList, Roster, Renamed: // these lines have one spelling
		if len(line) > maxListLine {
			return
		}
		again, err := commands.AppendEvent(nil, &ev)
		require.NoError(t, err)
		require.Equal(t, string(line), string(again))
	}
	// Without commands it is the same, or a message of the room.
	var old Event
	require.NoError(t, Text{}.ParseEvent(line, &old))
	if old.Kind != Message || old.From != (MemberInfo{}) || bytes.HasPrefix(line, []byte("*: ")) {
		require.Equal(t, old, ev)
	}
}

// checkCommandLine checks the way towards the room.
func checkCommandLine(t *testing.T, name, room string, body []byte) {
	for _, req := range []Request{
		{Kind: ReqSay, Body: body}, {Kind: ReqTell, To: name, Body: body}, {Kind: ReqRename, To: name}, {Kind: ReqMove, To: room},
		{Kind: ReqMembers, Room: room}, {Kind: ReqRooms, Query: &Query{Prefix: room}}, {Kind: ReqGoodbye, Body: body}, {Kind: ReqOther, To: name, Body: body},
	} {
		frame, err := commands.AppendRequest(nil, &req)
		if err != nil {
			require.NotErrorIs(t, err, ErrNoFrame)
			continue
		}
		toRoom, _ := commands.MaxFrame(len(body))
		require.LessOrEqual(t, len(frame), toRoom)
		var back Request
		require.NoError(t, commands.ParseRequest(frame, &back))
		if req.forHub() {
			req.Ref = commandRef
		}
		if req.Query != nil && req.Query.Prefix == "" {
			req.Query = nil
		}
		require.True(t, bytes.Equal(req.Body, back.Body), "%q became %q", req.Body, back.Body)
		req.Body, back.Body = nil, nil
		require.Equal(t, req, back)
	}
	var req Request
	if err := commands.ParseRequest(body, &req); err != nil {
		require.ErrorIs(t, err, ErrNoFrame)
		require.Empty(t, body)
		return
	}
	if again, err := commands.AppendRequest(nil, &req); err == nil && utf8.Valid(again) {
		var back Request
		require.NoError(t, commands.ParseRequest(again, &back))
		require.True(t, bytes.Equal(req.Body, back.Body))
		req.Body, back.Body = nil, nil
		require.Equal(t, req, back)
	}
}
