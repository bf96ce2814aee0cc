package chat

import (
	"fmt"
	"html"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// gallery is where the pictures of the documentation are.
const gallery = "../../../../docs/tcproom"

// TestPictures: the pictures of docs/chat.md show what the program does. They are what an
// emulator of a terminal shows of stories; -update makes them anew.
func TestPictures(t *testing.T) {
	for _, tt := range []struct {
		name          string
		width, height int
		tell          func(*story)
	}{
		{"chat", 80, 24, func(st *story) {
			morning(st)
			st.line("you must have the other version; I shall send it")
			st.press("eve: the bread is rea")
		}},
		{"offline", 80, 18, func(st *story) {
			morning(st)
			st.come(tcproom.Event{Kind: tcproom.Lost, End: &tcproom.EndError{Cause: "cut-off", Text: "connection reset by peer", RetryAfter: 4 * time.Second}})
			st.wait(time.Second)
			st.line("does anybody read this?")
			st.press("I shall wait, th")
		}},
		{"back", 80, 18, func(st *story) {
			morning(st)
			st.come(tcproom.Event{Kind: tcproom.Lost, End: &tcproom.EndError{Cause: "cut-off", Text: "connection reset by peer", RetryAfter: 4 * time.Second}})
			st.line("does anybody read this?")
			st.wait(time.Minute)
			st.come(tcproom.Event{Kind: tcproom.Welcome, Room: "*", From: ada, Welcome: &tcproom.WelcomeInfo{Outcome: "resumed"}})
			st.come(tcproom.Event{Kind: tcproom.Welcome, Room: "lobby", From: ada, Welcome: &tcproom.WelcomeInfo{Epoch: "E1", Outcome: "resumed", Members: []tcproom.MemberInfo{bob, eve, ada}, Total: 3}})
			st.says("lobby", bob, "it has 500 g of flour, not 50")
			st.says("lobby", eve, "that explains it 😀")
			st.acked("lobby")
		}},
		{"small", 40, 12, func(st *story) {
			morning(st)
			st.press("/m", "tab", "tab")
		}},
		{"paste", 80, 14, func(st *story) {
			morning(st)
			st.Update(tea.PasteMsg{Content: "500 g flour\n350 g water\n10 g salt"})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := newStory(t)
			st.styles.off = false
			st.size(tt.width, tt.height)
			tt.tell(st)
			got := picture(st)
			path := filepath.Join(gallery, tt.name+".svg")
			if *update {
				require.NoError(t, os.MkdirAll(gallery, 0o755))
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), got, "%s; -update makes it anew", path)
		})
	}
}

// morning is a talk in the lobby, while something is new elsewhere.
func morning(st *story) {
	st.begins()
	st.enters("lobby", bob, eve)
	st.enters("kitchen", bob)
	st.enters("ops")
	st.wait(time.Minute)
	st.says("lobby", bob, "good morning ada")
	st.wait(time.Minute)
	st.line("hi bob, I am here for the bread. The recipe that you sent has a mistake in it, or my oven has")
	st.acked("lobby")
	st.come(tcproom.Event{Kind: tcproom.Message, Room: "lobby", From: eve, Body: []byte("which recipe?\n  the one with rye,\n  or the one with figs?")})
	st.says("kitchen", bob, "the oven is warm")
	st.says("ops", tcproom.MemberInfo{ID: "x-7", Name: "deploy-bot"}, "build 1207 is green")
	st.says("ops", tcproom.MemberInfo{ID: "x-7", Name: "deploy-bot"}, "ada: it is yours to release")
	st.come(tcproom.Event{Kind: tcproom.Direct, From: bob, Body: []byte("there is cake")})
	st.come(tcproom.Event{Kind: tcproom.Join, Room: "lobby", From: tcproom.MemberInfo{ID: "x-8", Name: "アンナ"}})
	st.says("lobby", tcproom.MemberInfo{ID: "x-8", Name: "アンナ"}, "おはよう、みんな 👋")
}

const (
	cellWidth, cellHeight = 8, 17
	ink, paper            = "#d8dee9", "#1d2129"
)

// palette is that of the sixteen colours.
var palette = [16]string{
	"#3b4252", "#c2444f", "#98c379", "#e5c07b", "#4179b5", "#c678dd", "#56b6c2", "#d8dee9",
	"#5c6370", "#ff7b86", "#b5e890", "#ffd98f", "#7cc3ff", "#dd91f3", "#6fd3df", "#ffffff",
}

// picture draws what an emulator shows of the story as SVG.
func picture(st *story) string {
	v := st.View()
	em := vt.NewEmulator(st.width, st.height)
	em.WriteString(strings.ReplaceAll(v.Content, "\n", "\r\n"))

	var b strings.Builder
	w, h := st.width*cellWidth, st.height*cellHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="-8 -8 %d %d" font-family="ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace" font-size="13">`+"\n", w+16, h+16, w+16, h+16)
	fmt.Fprintf(&b, `<rect x="-8" y="-8" width="%d" height="%d" rx="6" fill="%s"/>`+"\n", w+16, h+16, paper)
	for y := range st.height {
		for x := 0; x < st.width; {
			x += run(&b, em, x, y, st.width)
		}
	}
	fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s" opacity="0.8"/>`+"\n", v.Cursor.X*cellWidth, v.Cursor.Y*cellHeight, cellWidth, cellHeight, ink)
	b.WriteString("</svg>\n")
	return b.String()
}

// run draws cells of one style, from x on, and returns how many. What is wide is drawn
// alone, so that no font moves what is behind it.
func run(b *strings.Builder, em *vt.Emulator, x, y, width int) int {
	first := em.CellAt(x, y)
	text, n := first.Content, max(first.Width, 1)
	if first.Width < 2 {
		for x+n < width {
			c := em.CellAt(x+n, y)
			if c.Width > 1 || !c.Style.Equal(&first.Style) {
				break
			}
			text += c.Content
			n++
		}
	}
	fg, bg := shade(first.Style.Fg, ink), shade(first.Style.Bg, paper)
	if first.Style.Attrs&uv.AttrReverse != 0 {
		fg, bg = bg, fg
	}
	if bg != paper {
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", x*cellWidth, y*cellHeight, n*cellWidth, cellHeight, bg)
	}
	shown := strings.TrimRight(text, " ")
	if shown == "" {
		return n
	}
	attrs := ""
	if first.Style.Attrs&uv.AttrBold != 0 {
		attrs += ` font-weight="bold"`
	}
	if first.Style.Attrs&uv.AttrFaint != 0 {
		attrs += ` opacity="0.55"`
	}
	columns := n - (len(text) - len(shown))
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s"%s textLength="%d" lengthAdjust="spacingAndGlyphs" xml:space="preserve">%s</text>`+"\n",
		x*cellWidth, y*cellHeight+13, fg, attrs, columns*cellWidth, html.EscapeString(shown))
	return n
}

// shade returns a colour as SVG has it.
func shade(c color.Color, none string) string {
	if c == nil {
		return none
	}
	if basic, ok := c.(ansi.BasicColor); ok {
		return palette[basic%16]
	}
	r, g, bl, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, bl>>8)
}
