package roomtest

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"example.com/tcproom"
)

var (
	lawRequests = &law{"requests", "a codec with Requests says ReqMove, ReqRooms, ReqMembers, ReqTell and ReqRename, and a Welcome with a Room, a RoomList, a Roster and a Refused with a Ref or Room, each as that; a Ref that is lost is another, and not 0"}
	lawRooms    = &law{"rooms", "a codec with Rooms says ReqEnter and ReqLeave too, and keeps Room and Ref of each event and request; if it has Numbers, a Refused has that of the message that it refuses"}
)

// events returns events as rooms, and hubs if the codec is for one, make them.
func (t *codecTest) events() []tcproom.Event {
	events := roomEvents()
	if t.features.Requests {
		events = append(events, hubEvents()...)
	}
	if !t.features.Rooms {
		return events
	}
	if t.features.Numbers {
		events = append(events, tcproom.Event{Kind: tcproom.Refused, Room: "kitchen", Number: 4, End: &tcproom.EndError{Cause: tcproom.ErrNotMember}})
	}
	had := map[tcproom.Kind]bool{tcproom.Ping: true, tcproom.Pong: true}
	for i, ev := range roomEvents() {
		if had[ev.Kind] { // one of each will do
			continue
		}
		had[ev.Kind] = true
		if ev.Room = "kitchen"; i%4 == 0 {
			ev.Room = "*"
		}
		if ev.Kind == tcproom.Welcome || ev.Kind == tcproom.Goodbye || ev.Kind == tcproom.Refused {
			ev.Ref = uint64(i) + 1
		}
		events = append(events, ev)
	}
	return events
}

// hubEvents are events that a hub sends to those that are in one room too.
func hubEvents() []tcproom.Event {
	members := []tcproom.MemberInfo{testAda, testBob}
	return []tcproom.Event{
		{Kind: tcproom.Welcome, Room: "lobby", Ref: 7, Seq: 4, From: testAda, Time: testTime, Welcome: &tcproom.WelcomeInfo{Epoch: testEpoch, Total: 1, Members: []tcproom.MemberInfo{testAda}, Outcome: "joined"}},
		{Kind: tcproom.Welcome, Room: strings.Repeat("r", 64), From: testBob, Time: testTime, Welcome: &tcproom.WelcomeInfo{Epoch: testEpoch, Total: 3}},
		{Kind: tcproom.Goodbye, Room: "lobby", Ref: 8, Time: testTime, End: &tcproom.EndError{Cause: "moved"}},
		{Kind: tcproom.Refused, Room: "vip", Ref: 14, Time: testTime, End: &tcproom.EndError{Cause: tcproom.ErrDenied, Text: "members only", Final: true}},
		{Kind: tcproom.Refused, Room: "lobby", Time: testTime, End: &tcproom.EndError{Cause: tcproom.ErrMuted, Text: "muted"}},
		{Kind: tcproom.Refused, Ref: math.MaxUint64, Time: testTime, End: &tcproom.EndError{Cause: "one-room"}},
		{Kind: tcproom.RoomList, Ref: 10, List: &tcproom.List{Rooms: []tcproom.RoomInfo{{Name: "kitchen", Members: 3}, {Name: `k"\'<&>`}}, Total: 216, More: true}},
		{Kind: tcproom.RoomList, Ref: 10, List: &tcproom.List{Rooms: []tcproom.RoomInfo{{Name: "a", Members: 1}}, Total: 1}},
		{Kind: tcproom.RoomList, List: &tcproom.List{}},
		{Kind: tcproom.Roster, Room: "lobby", Ref: 11, Seq: 9, List: &tcproom.List{Members: members, Total: 42, More: true}},
		{Kind: tcproom.Roster, Room: "lobby", Seq: 9, List: &tcproom.List{Members: members[:1], Total: 1}},
		{Kind: tcproom.Roster, Room: "lobby", List: &tcproom.List{}},
		{Kind: tcproom.Renamed, Room: "lobby", Seq: 10, From: testAda, Time: testTime, Body: []byte("Zoë")},
		{Kind: tcproom.Ack, Ref: 12}, {Kind: tcproom.Help}, {Kind: tcproom.Help, Ref: 3, Body: []byte("/topic TEXT")},
	}
}

// worstHubEvents are the worst events, those of a hub, and if the codec has rooms the
// worst with a Room and a Ref.
func (t *codecTest) worstHubEvents(worst []tcproom.Event) (events []tcproom.Event) {
	if !t.features.Requests {
		return worst
	}
	events = slices.Clone(worst)
	for _, c := range []string{`"`, `\`, "r", "é", "<"} {
		room, name := strings.Repeat(c, 64/len(c)), strings.Repeat(c, 256/len(c))
		m := tcproom.MemberInfo{ID: testAda.ID, Name: name}
		info := tcproom.RoomInfo{Name: room, Members: math.MaxInt}
		events = append(events,
			tcproom.Event{Kind: tcproom.RoomList, Ref: math.MaxUint64, List: &tcproom.List{Rooms: slices.Repeat([]tcproom.RoomInfo{info}, 300), Total: math.MaxInt, More: true}},
			tcproom.Event{Kind: tcproom.Roster, Room: room, Ref: math.MaxUint64, Seq: math.MaxUint64, List: &tcproom.List{Members: slices.Repeat([]tcproom.MemberInfo{m}, 300), Total: math.MaxInt, More: true}},
			tcproom.Event{Kind: tcproom.Renamed, Room: room, Seq: math.MaxUint64, From: m, Time: testTime, Body: []byte(name)},
			tcproom.Event{Kind: tcproom.Refused, Room: room, Ref: math.MaxUint64, End: &tcproom.EndError{Cause: "denied", Text: strings.Repeat("\x00", 1000)}},
			tcproom.Event{Kind: tcproom.Help, Body: []byte(strings.Repeat("\x00", 1000))})
		for _, ev := range worst {
			if t.features.Rooms && c == `"` {
				ev.Room, ev.Ref = room, math.MaxUint64
				events = append(events, ev)
			}
		}
	}
	return events
}

// hubRequests returns what the codec says to a hub.
func (t *codecTest) hubRequests() (requests []tcproom.Request) {
	if !t.features.Requests {
		return nil
	}
	who := "bob" // without rooms it names nobody by an ID
	if t.features.Rooms {
		who = testBob.ID
	}
	requests = []tcproom.Request{
		{Kind: tcproom.ReqMove, Ref: 8, To: "attic"},
		{Kind: tcproom.ReqRooms, Ref: 10}, {Kind: tcproom.ReqRooms, Ref: 10, Query: &tcproom.Query{Prefix: "k"}},
		{Kind: tcproom.ReqMembers, Ref: 11}, {Kind: tcproom.ReqMembers, Ref: 11, Room: "kitchen"},
		{Kind: tcproom.ReqTell, Ref: 12, To: who, Body: []byte("psst")}, {Kind: tcproom.ReqTell, Ref: 12, To: who, Body: []byte(" /quit")},
		{Kind: tcproom.ReqRename, Ref: 13, To: "Zoë"}, {Kind: tcproom.ReqRename, Ref: 13, To: `d"o\'<&>`},
	}
	if !t.features.Rooms {
		return requests
	}
	return append(requests,
		tcproom.Request{Kind: tcproom.ReqEnter, Ref: math.MaxUint64, Room: "kitchen"},
		tcproom.Request{Kind: tcproom.ReqEnter, Room: `k"\'<&>`, Query: &tcproom.Query{History: 20}},
		tcproom.Request{Kind: tcproom.ReqEnter, Room: "kitchen", Query: &tcproom.Query{History: -1}},
		tcproom.Request{Kind: tcproom.ReqLeave, Ref: 9, Room: "attic"},
		tcproom.Request{Kind: tcproom.ReqMove, Ref: 8, Room: "lobby", To: "attic", Query: &tcproom.Query{History: 3}},
		tcproom.Request{Kind: tcproom.ReqRooms, Ref: 10, Query: &tcproom.Query{Prefix: "k", After: "kitchen", Limit: 50}},
		tcproom.Request{Kind: tcproom.ReqMembers, Ref: 11, Room: "kitchen", Query: &tcproom.Query{After: testAda.ID, Limit: 1}},
		tcproom.Request{Kind: tcproom.ReqSay, Number: t.anyNumber(3), Room: "kitchen", Body: []byte("hi")})
}

// testHub tests what only a hub needs.
func (t *codecTest) testHub() {
	if t.features.Rooms && !t.features.Requests {
		t.add(lawFeatures, "Features returned %+v, Rooms without Requests", t.features)
	}
	if !t.features.Requests {
		return
	}
	for _, req := range t.hubRequests() {
		frame, got, err := t.asked(req)
		want := req
		if !t.features.Rooms && got.Ref != 0 {
			want.Ref = got.Ref
		}
		if err != nil || !sameRequest(&got, &want) {
			law := lawRequests
			if req.Room != "" {
				law = lawRooms
			}
			t.add(law, "%s, encoded as %s, is parsed as %s with the error %v", describeRequest(&req), quote(frame), describeRequest(&got), err)
		}
	}
	for _, ev := range hubEvents() {
		switch ev.Kind {
		case tcproom.Welcome, tcproom.Refused, tcproom.RoomList, tcproom.Roster:
			frame, got, ok := t.said(ev)
			if !ok || got.Kind != ev.Kind || answers(&got) != answers(&ev) || ev.Kind == tcproom.Welcome && got.Room != ev.Room {
				t.add(lawRequests, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
			}
		}
	}
	if !t.features.Rooms {
		return
	}
	for _, ev := range t.events() {
		frame, got, ok := t.said(ev)
		if ok && (got.Kind != ev.Kind || got.Room != ev.Room || got.Ref != ev.Ref || ev.Kind == tcproom.Refused && got.Number != ev.Number) {
			t.add(lawRooms, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
		}
	}
}

// inOneRoom reports whether an event concerns a room of a hub, and not the connection.
func inOneRoom(ev *tcproom.Event) bool { return ev.Room != "" && ev.Room != "*" }

// answers reports whether a Refused ends nothing.
func answers(ev *tcproom.Event) bool {
	return ev.Kind == tcproom.Refused && (ev.Ref != 0 || inOneRoom(ev))
}

// wrongInHub returns the name of a field of a hub that is neither right nor left out. A
// Ref that only says that there is one may be any.
func (t *codecTest) wrongInHub(was, got *tcproom.Event) string {
	switch {
	case got.Room != "" && got.Room != was.Room:
		return "Room"
	case got.Ref != 0 && got.Ref != was.Ref && (t.features.Rooms || !answers(was)):
		return "Ref"
	}
	return wrongList(listOf(was), listOf(got))
}

func wrongList(was, got tcproom.List) string {
	names := func(m tcproom.MemberInfo) string { return m.Name }
	switch {
	case len(got.Rooms) > len(was.Rooms) || !slices.Equal(got.Rooms, was.Rooms[:len(got.Rooms)]):
		return "Rooms"
	case len(got.Members) > len(was.Members) || !slices.Equal(mapped(got.Members, names), mapped(was.Members[:len(got.Members)], names)):
		return "Members"
	case got.Total != 0 && got.Total != was.Total:
		return "Total"
	case got.More && !was.More:
		return "More"
	}
	return ""
}

func mapped[T, U any](list []T, fn func(T) U) (out []U) {
	for _, v := range list {
		out = append(out, fn(v))
	}
	return out
}

// listOf returns a copy of what ev.List points to, or the zero value.
func listOf(ev *tcproom.Event) (l tcproom.List) {
	if ev.List != nil {
		l = *ev.List
	}
	return l
}

// sameInHub reports whether the fields of a hub are the same.
func sameInHub(a, b *tcproom.Event) bool {
	x, y := listOf(a), listOf(b)
	return a.Room == b.Room && a.Ref == b.Ref && slices.Equal(x.Rooms, y.Rooms) && slices.Equal(x.Members, y.Members) && x.Total == y.Total && x.More == y.More
}

// sameQuery reports whether a and b ask for the same.
func sameQuery(a, b *tcproom.Query) bool {
	var x, y tcproom.Query
	if a != nil {
		x = *a
	}
	if b != nil {
		y = *b
	}
	x.History, y.History = max(x.History, -1), max(y.History, -1)
	return x == y
}

// sameRooms reports whether two hellos name the same rooms: nil is not the same as none.
func sameRooms(a, b *tcproom.Hello) bool { return reflect.DeepEqual(a.Rooms, b.Rooms) }

// cloneRooms copies what a request says of rooms.
func cloneRooms(req *tcproom.Request) {
	if req.Query != nil {
		q := *req.Query
		req.Query = &q
	}
	if h := req.Hello; h != nil {
		h.Rooms = slices.Clone(h.Rooms)
		if h.Resume != nil {
			h.Resume.Rooms = maps.Clone(h.Resume.Rooms)
		}
	}
}

// describeRooms adds what a request says of rooms to its description.
func describeRooms(req *tcproom.Request) (words string) {
	if req.Room != "" {
		words += " room " + quote(req.Room)
	}
	if req.To != "" {
		words += " to " + quote(req.To)
	}
	if req.Ref != 0 {
		words += fmt.Sprintf(" ref %d", req.Ref)
	}
	if q := req.Query; q != nil {
		words += fmt.Sprintf(" prefix %s after %s limit %d history %d", quote(q.Prefix), quote(q.After), q.Limit, q.History)
	}
	return words
}
