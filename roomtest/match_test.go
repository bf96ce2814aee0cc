package roomtest_test

import (
	"fmt"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func TestMatch(t *testing.T) {
	ada, bob := tcproom.Member{ID: "1", Name: "ada"}, tcproom.Member{ID: "2", Name: "bob"}
	message := func(from tcproom.Member, body string) tcproom.Event {
		return tcproom.Event{Kind: tcproom.Message, From: from, Body: []byte(body)}
	}
	gap := tcproom.Event{Kind: tcproom.Gap, GapFrom: 3, GapTo: 9}
	tests := []struct {
		name  string
		match roomtest.Match
		words string
		yes   []tcproom.Event
		no    []tcproom.Event
	}{
		{"zero", roomtest.Match{}, "nothing", nil, []tcproom.Event{{}, message(ada, "")}},
		{"message", roomtest.Message("ada", "hi"), "message ada: hi",
			[]tcproom.Event{message(ada, "hi")},
			[]tcproom.Event{message(ada, "hi "), message(bob, "hi"), message(tcproom.Member{}, "hi"), {Kind: tcproom.Direct, Body: []byte("hi"), From: ada}}},
		{"message of the room", roomtest.Message("*", "hi"), "message *: hi",
			[]tcproom.Event{message(tcproom.Member{}, "hi")}, []tcproom.Event{message(ada, "hi")}},
		{"message of anybody", roomtest.Message("", "h\ni"), `message anybody: "h\ni"`,
			[]tcproom.Event{message(tcproom.Member{}, "h\ni"), message(ada, "h\ni")}, []tcproom.Event{message(ada, "hi")}},
		{"like", roomtest.MessageLike("ada", "^h(.)$"), `message of ada like "^h(.)$"`,
			[]tcproom.Event{message(ada, "hi"), message(ada, "ho")}, []tcproom.Event{message(ada, "hii"), message(bob, "hi"), {Kind: tcproom.Join, From: ada}}},
		{"direct", roomtest.Direct("psst"), "direct psst",
			[]tcproom.Event{{Kind: tcproom.Direct, Body: []byte("psst")}}, []tcproom.Event{message(tcproom.Member{}, "psst"), {Kind: tcproom.Direct}}},
		{"joined", roomtest.Joined("ada"), "ada joined",
			[]tcproom.Event{{Kind: tcproom.Join, From: ada}}, []tcproom.Event{{Kind: tcproom.Join, From: bob}, {Kind: tcproom.Leave, From: ada}}},
		{"left", roomtest.Left(""), "anybody left",
			[]tcproom.Event{{Kind: tcproom.Leave, From: ada}}, []tcproom.Event{{Kind: tcproom.Join, From: ada}}},
		{"gap", roomtest.Gap(3, 9), "gap from 3 to 9", []tcproom.Event{gap}, []tcproom.Event{{Kind: tcproom.Gap, GapFrom: 3, GapTo: 8}, {Kind: tcproom.Gap, GapFrom: 2, GapTo: 9}}},
		{"gap to", roomtest.Gap(0, 9), "gap from anywhere to 9", []tcproom.Event{gap}, []tcproom.Event{{Kind: tcproom.Gap, GapFrom: 3, GapTo: 8}}},
		{"goodbye", roomtest.Goodbye(), "goodbye", []tcproom.Event{{Kind: tcproom.Goodbye, Text: "x"}}, []tcproom.Event{gap}},
		{"any", roomtest.Any(), "any event", []tcproom.Event{gap, message(ada, "")}, nil},
		{"any of", roomtest.Any(tcproom.Gap, tcproom.Join), "any Gap or Join", []tcproom.Event{gap, {Kind: tcproom.Join}}, []tcproom.Event{message(ada, "")}},
		{"where", roomtest.Where("a late one", func(ev tcproom.Event) bool { return ev.Seq > 10 }), "a late one",
			[]tcproom.Event{{Seq: 11}}, []tcproom.Event{{Seq: 10}}},
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
		{"hi", "hi"},
		{"grüße 🎈", "grüße 🎈"},
		{`a "quoted" \ word`, `a "quoted" \ word`},
		{"", `""`},
		{" hi", `" hi"`},
		{"hi ", `"hi "`},
		{`"hi"`, `"\"hi\""`},
		{"hi\n   9  * bob joined", `"hi\n   9  * bob joined"`},
		{"a\x1b[31m", `"a\x1b[31m"`},
		{"\u202egnp.exe", `"\u202egnp.exe"`},
		{"\xff", `"\xff"`},
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
