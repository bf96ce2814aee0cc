package roomtest_test

import (
	"fmt"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func TestMatch(t *testing.T) {
	ada, bob := tcproom.MemberInfo{ID: "1", Name: "ada"}, tcproom.MemberInfo{ID: "2", Name: "bob"}
	message := func(from tcproom.MemberInfo, body string) tcproom.Event {
		return tcproom.Event{Kind: tcproom.Message, From: from, Body: []byte(body)}
	}
	gap := tcproom.Event{Kind: tcproom.Gap, Gap: tcproom.Span{First: 3, Last: 9}}
	tests := []struct {
		name  string
		match roomtest.Match
		words string
		yes   []tcproom.Event
		no    []tcproom.Event
	}{
		{name: "zero", match: roomtest.Match{}, words: "nothing", no: []tcproom.Event{{}, message(ada, "")}},
		{name: "message", match: roomtest.Message("ada", "hi"), words: "message ada: hi",
			yes: []tcproom.Event{message(ada, "hi")},
			no:  []tcproom.Event{message(ada, "hi "), message(bob, "hi"), message(tcproom.MemberInfo{}, "hi"), {Kind: tcproom.Direct, Body: []byte("hi"), From: ada}}},
		{name: "message of the room", match: roomtest.Message("*", "hi"), words: "message *: hi",
			yes: []tcproom.Event{message(tcproom.MemberInfo{}, "hi")}, no: []tcproom.Event{message(ada, "hi")}},
		{name: "message of anybody", match: roomtest.Message("", "h\ni"), words: `message anybody: "h\ni"`,
			yes: []tcproom.Event{message(tcproom.MemberInfo{}, "h\ni"), message(ada, "h\ni")}, no: []tcproom.Event{message(ada, "hi")}},
		{name: "like", match: roomtest.MessageLike("ada", "^h(.)$"), words: `message of ada like "^h(.)$"`,
			yes: []tcproom.Event{message(ada, "hi"), message(ada, "ho")}, no: []tcproom.Event{message(ada, "hii"), message(bob, "hi"), {Kind: tcproom.Join, From: ada}}},
		{name: "direct", match: roomtest.Direct("psst"), words: "direct psst",
			yes: []tcproom.Event{{Kind: tcproom.Direct, Body: []byte("psst")}, {Kind: tcproom.Direct, From: ada, Body: []byte("psst")}}, no: []tcproom.Event{message(tcproom.MemberInfo{}, "psst"), {Kind: tcproom.Direct}}},
		{name: "joined", match: roomtest.Joined("ada"), words: "ada joined",
			yes: []tcproom.Event{{Kind: tcproom.Join, From: ada}}, no: []tcproom.Event{{Kind: tcproom.Join, From: bob}, {Kind: tcproom.Leave, From: ada}}},
		{name: "left", match: roomtest.Left(""), words: "anybody left",
			yes: []tcproom.Event{{Kind: tcproom.Leave, From: ada}}, no: []tcproom.Event{{Kind: tcproom.Join, From: ada}}},
		{name: "gap", match: roomtest.Gap(3, 9), words: "gap from 3 to 9", yes: []tcproom.Event{gap}, no: []tcproom.Event{{Kind: tcproom.Gap, Gap: tcproom.Span{First: 3, Last: 8}}, {Kind: tcproom.Gap, Gap: tcproom.Span{First: 2, Last: 9}}}},
		{name: "gap to", match: roomtest.Gap(0, 9), words: "gap from anywhere to 9", yes: []tcproom.Event{gap}, no: []tcproom.Event{{Kind: tcproom.Gap, Gap: tcproom.Span{First: 3, Last: 8}}}},
		{name: "goodbye", match: roomtest.Goodbye(), words: "goodbye", yes: []tcproom.Event{{Kind: tcproom.Goodbye, End: &tcproom.EndError{Text: "x"}}}, no: []tcproom.Event{gap}},
		{name: "any", match: roomtest.Any(), words: "any event", yes: []tcproom.Event{gap, message(ada, "")}},
		{name: "any of", match: roomtest.Any(tcproom.Gap, tcproom.Join), words: "any Gap or Join", yes: []tcproom.Event{gap, {Kind: tcproom.Join}}, no: []tcproom.Event{message(ada, "")}},
		{name: "where", match: roomtest.Where("a late one", func(ev tcproom.Event) bool { return ev.Seq > 10 }), words: "a late one",
			yes: []tcproom.Event{{Seq: 11}}, no: []tcproom.Event{{Seq: 10}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.words, tt.match.String())
			for _, ev := range tt.yes {
				require.True(t, tt.match.Matches(ev), "%v", ev)
			}
			for _, ev := range tt.no {
				require.False(t, tt.match.Matches(ev), "%v", ev)
			}
		})
	}
	require.Panics(t, func() { roomtest.MessageLike("", "(") })
}

func TestTranscript(t *testing.T) {
	srv := roomtest.NewMemServer(t)
	require.Empty(t, srv.Transcript().String())
	ada := srv.Join("ада")
	bodies := []struct{ body, shown string }{
		{body: "hi", shown: "hi"},
		{body: "grüße 🎈", shown: "grüße 🎈"},
		{body: `a "quoted" \ word`, shown: `a "quoted" \ word`},
		{body: "", shown: `""`},
		{body: " hi", shown: `" hi"`},
		{body: "hi ", shown: `"hi "`},
		{body: `"hi"`, shown: `"\"hi\""`},
		{body: "hi\n   9  * bob joined", shown: `"hi\n   9  * bob joined"`},
		{body: "a\x1b[31m", shown: `"a\x1b[31m"`},
		{body: "\u202egnp.exe", shown: `"\u202egnp.exe"`},
		{body: "\xff", shown: `"\xff"`},
	}
	want := "   1  * ада joined\n"
	for i, b := range bodies {
		ada.Send(b.body)
		want += transcriptLine(i+2, "ада: "+b.shown)
	}
	before := srv.Transcript()
	_, err := srv.Room.Broadcast(t.Context(), []byte("hi"))
	require.NoError(t, err)
	require.Equal(t, want, before.String(), "does not change")
	require.Equal(t, want+transcriptLine(len(bodies)+2, "*: hi"), srv.Transcript().String())

	evs := before.Events()
	require.Len(t, evs, before.Len())
	require.Equal(t, ada.Conn.ID(), evs[1].From.ID)
	evs[1].Body[0] = 'H'
	require.Equal(t, want, before.String(), "Events are the caller's")
}

func transcriptLine(seq int, text string) string { return fmt.Sprintf("%4d  %s\n", seq, text) }
