package chat

import (
	"hash/fnv"

	"github.com/charmbracelet/x/ansi"
)

// styles are how parts of the screen look. Without colours, as NO_COLOR wants it, what
// matters is still told apart by bold, faint and reversed text, and by words.
type styles struct{ off bool } // off: plain text, for tests

func (s styles) of(st ansi.Style, text string) string {
	if s.off || text == "" {
		return text
	}
	return st.Styled(text)
}

var (
	bar     = ansi.Style{}.Bold().ForegroundColor(ansi.BrightWhite).BackgroundColor(ansi.Blue)
	alert   = ansi.Style{}.Bold().ForegroundColor(ansi.BrightWhite).BackgroundColor(ansi.Red)
	faint   = ansi.Style{}.Faint()
	bold    = ansi.Style{}.Bold()
	chosen  = ansi.Style{}.Bold().Reverse(true)
	warning = ansi.Style{}.ForegroundColor(ansi.Yellow)
	failure = ansi.Style{}.ForegroundColor(ansi.Red)
	unread  = ansi.Style{}.Bold().ForegroundColor(ansi.Green)
	called  = ansi.Style{}.Bold().ForegroundColor(ansi.Magenta)
)

// nameColors are readable on black and on white.
var nameColors = []ansi.BasicColor{ansi.Cyan, ansi.Green, ansi.Magenta, ansi.BrightCyan, ansi.BrightMagenta, ansi.BrightBlue, ansi.BrightGreen}

// nameStyle is the style of somebody's name, the same each time.
func nameStyle(name string) ansi.Style {
	h := fnv.New32a()
	h.Write([]byte(name))
	return ansi.Style{}.ForegroundColor(nameColors[h.Sum32()%uint32(len(nameColors))])
}
