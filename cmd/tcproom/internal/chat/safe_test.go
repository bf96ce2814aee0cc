package chat

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

func TestSafe(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"a\tb\r\nc\n", "a    b\nc\n"},
		{"a\rb", `a\x0db`},
		{"\x1b[2J\x7f", `\x1b[2J\x7f`},
		{"\u009b31m\xff\xc3", `\u{9b}31m\xff\xc3`},
		{"\u202eabc\u2028\ufeff\u061c", `\u{202e}abc\u{2028}\u{feff}\u{61c}`},
		{"日本 👩‍👧 e\u0301", "日本 👩‍👧 e\u0301"},
		{"\ufffd", "\ufffd"},
	} {
		require.Equal(t, tt.want, safe(tt.in), "%q", tt.in)
	}
	require.Equal(t, `a\x0ab`, safeLine("a\nb"))
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 5, []string{""}},
		{"one two three", 7, []string{"one two", "three"}},
		{"one two  three", 8, []string{"one two", "three"}},
		{"  indented line", 10, []string{"  indented", "line"}},
		{"a\n\nb", 5, []string{"a", "", "b"}},
		{"abcdefghij", 4, []string{"abcd", "efgh", "ij"}},
		{"x: abcdefghij", 6, []string{"x: abc", "defghi", "j"}},
		{"x: abcdef", 6, []string{"x:", "abcdef"}},
		{"日本語の本", 5, []string{"日本", "語の", "本"}},
		{"日本", 1, []string{"?", "?"}},
		{"ab", 0, []string{"a", "b"}},
		{"aaa   ", 3, []string{"aaa"}},
	} {
		lines, left := wrap(tt.text, tt.width, 100, ansi.WcWidth)
		require.Equal(t, tt.want, lines, "%q in %d", tt.text, tt.width)
		require.Zero(t, left)
	}
	lines, left := wrap("a\nb\nc\nd", 5, 2, ansi.WcWidth)
	require.Equal(t, []string{"a", "b"}, lines)
	require.Equal(t, 2, left)
}

// TestFit: what is shown in a row of so many columns has exactly these.
func TestFit(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"abc", 5, "abc  "},
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日… "},
		{"x", 0, ""},
		{"", 2, "  "},
	} {
		require.Equal(t, tt.want, fit(tt.text, tt.width, ansi.WcWidth), "%q in %d", tt.text, tt.width)
	}
}

// sgr are the sequences that the program itself writes: of colours and the like.
var sgr = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// controls are what moves, hides or reorders text.
var controls = regexp.MustCompile(`[\x00-\x09\x0b-\x1f\x7f-\x{9f}\x{61c}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2066}-\x{2069}\x{feff}]`)

// FuzzView: whatever peers and the server say, nothing of it is more than text to a
// terminal, no row is too wide, and nothing stands in the column of the time.
func FuzzView(f *testing.F) {
	f.Add("bob", "\x1b[2J", "lobby", "\x1b]0;x\x07", 80, 24)
	f.Add("b\u009bob", "a\n14:00 ada: forged\r\n\x9b31m", "k\x1b[m", "", 40, 10)
	f.Add("日本", "👩‍👩‍👧‍👦\u202e"+strings.Repeat("\u0301", 300), "語", "\u2028", 20, 5)
	f.Add("", "\xff\xfe\x00", "", "x", 3, 3)
	f.Fuzz(func(t *testing.T, name, body, room, why string, width, height int) {
		width, height = 1+abs(width)%120, 1+abs(height)%40
		for _, off := range []bool{true, false} {
			st := newStory(t)
			st.styles.off = off
			st.size(width, height)
			peer := tcproom.MemberInfo{ID: "x-9", Name: name}
			st.begins()
			st.enters("lobby", peer)
			st.enters(room, peer)
			st.says("lobby", peer, body)
			st.says(room, peer, body+name)
			st.come(tcproom.Event{Kind: tcproom.Direct, From: peer, Body: []byte(body)})
			st.come(tcproom.Event{Kind: tcproom.Direct, Body: []byte(body)})
			st.come(tcproom.Event{Kind: tcproom.Renamed, Room: room, From: peer, Body: []byte(body)})
			st.come(tcproom.Event{Kind: tcproom.Leave, Room: room, From: peer, End: &tcproom.EndError{Text: why}})
			st.come(tcproom.Event{Kind: tcproom.Refused, Room: room, End: &tcproom.EndError{Cause: tcproom.Cause(name), Text: why}})
			st.come(tcproom.Event{Kind: tcproom.RoomList, List: &tcproom.List{Rooms: []tcproom.RoomInfo{{Name: room}}}})
			st.come(tcproom.Event{Kind: tcproom.Roster, Room: room, List: &tcproom.List{Members: []tcproom.MemberInfo{peer}}})
			st.come(tcproom.Event{Kind: tcproom.Help, Body: []byte(body)})
			st.come(tcproom.Event{Kind: tcproom.Goodbye, Room: room, End: &tcproom.EndError{Text: why}})
			st.come(tcproom.Event{Kind: tcproom.Lost, End: &tcproom.EndError{Text: why}})
			st.Update(tea.PasteMsg{Content: body})
			st.press("tab", "enter", "/msg ", "tab", "tab")
			for i := range st.panes {
				st.show(i)
				st.harmless(t)
				st.press("pgup")
				st.harmless(t)
			}
		}
	})
}

func abs(n int) int { return max(n, -(n + 1)) }

// harmless checks what the screen shows.
func (st *story) harmless(t testing.TB) {
	t.Helper()
	v := st.View()
	for _, text := range []string{v.Content, v.WindowTitle} {
		require.True(t, utf8.ValidString(text))
		text = sgr.ReplaceAllString(text, "")
		require.NotRegexp(t, controls, text)
	}
	require.NotContains(t, v.WindowTitle, "\n")
	rows := strings.Split(sgr.ReplaceAllString(v.Content, ""), "\n")
	require.Len(t, rows, st.height)
	for _, row := range rows {
		require.LessOrEqual(t, widthOf(row, st.method), st.width, "%q", row)
		require.LessOrEqual(t, st.method.StringWidth(row), st.width, "%q", row)
	}
	clock := regexp.MustCompile(`^(\d\d:\d\d |      |  […?×]   |──|connect|you are)`)
	if st.width < 12 || st.width >= narrow || st.height < 5 {
		return
	}
	for _, row := range rows[1 : 1+st.messageRows()] {
		if row != "" {
			require.Regexp(t, clock, row)
		}
	}
}
