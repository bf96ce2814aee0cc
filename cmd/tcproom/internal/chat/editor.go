package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// An editor is a text that is being typed, and the cursor in it. The zero editor is
// empty.
type editor struct {
	text string // without control characters but line ends and tabs
	pos  int    // of the cursor, between two clusters
}

func (e *editor) set(text string) { e.text, e.pos = text, len(text) }

// insert puts what is typed or pasted at the cursor.
func (e *editor) insert(s string) {
	s = typed(s)
	e.text = e.text[:e.pos] + s + e.text[e.pos:]
	e.pos += len(s)
}

// before returns where the cluster before the cursor begins.
func (e *editor) before() int {
	if e.pos == 0 {
		return 0
	}
	i := strings.LastIndexByte(e.text[:e.pos], '\n') + 1
	if i == e.pos {
		return e.pos - 1 // a line end
	}
	for {
		next := i + e.sizeAt(i)
		if next >= e.pos {
			return i
		}
		i = next
	}
}

func (e *editor) sizeAt(i int) int {
	if c := e.text[i]; c == '\n' || c == '\t' {
		return 1
	}
	_, _, size := cluster(e.text[i:], ansi.GraphemeWidth)
	return size
}

func (e *editor) backspace() {
	at := e.before()
	e.text = e.text[:at] + e.text[e.pos:]
	e.pos = at
}

func (e *editor) remove() {
	if e.pos < len(e.text) {
		e.text = e.text[:e.pos] + e.text[e.pos+e.sizeAt(e.pos):]
	}
}

func (e *editor) left() { e.pos = e.before() }

func (e *editor) right() {
	if e.pos < len(e.text) {
		e.pos += e.sizeAt(e.pos)
	}
}

// home and end go to the ends of the line.
func (e *editor) home() { e.pos = strings.LastIndexByte(e.text[:e.pos], '\n') + 1 }

func (e *editor) end() {
	if i := strings.IndexByte(e.text[e.pos:], '\n'); i >= 0 {
		e.pos += i
	} else {
		e.pos = len(e.text)
	}
}

// wordLeft returns where the word before the cursor begins.
func (e *editor) wordLeft() int {
	s := strings.TrimRightFunc(e.text[:e.pos], unicode.IsSpace)
	if i := strings.LastIndexFunc(s, unicode.IsSpace); i >= 0 {
		_, size := utf8.DecodeRuneInString(s[i:])
		return i + size
	}
	return 0
}

// wordRight returns where the word behind the cursor ends.
func (e *editor) wordRight() int {
	s := strings.TrimLeftFunc(e.text[e.pos:], unicode.IsSpace)
	i := strings.IndexFunc(s, unicode.IsSpace)
	if i < 0 {
		i = len(s)
	}
	return len(e.text) - len(s) + i
}

// cut removes what is between a place and the cursor.
func (e *editor) cut(from int) {
	a, b := min(from, e.pos), max(from, e.pos)
	e.text = e.text[:a] + e.text[b:]
	e.pos = a
}

// A caret is where the cursor stands in the lines of an editor.
type caret struct{ row, col int }

// layout returns the lines of the text, none wider than width, and where the cursor is in
// them.
func (e *editor) layout(width int, m ansi.Method) (lines []string, at caret) {
	lines = e.walk(width, m, func(pos int, c caret) {
		if pos <= e.pos { // a mark that was typed may have joined what is before the cursor
			at = c
		}
	})
	return lines, at
}

// walk returns the lines of the text, none wider than width. It calls visit for each
// place where the cursor may be, with where that is in the lines.
func (e *editor) walk(width int, m ansi.Method, visit func(pos int, at caret)) (lines []string) {
	width = max(width, 1)
	var b strings.Builder
	used := 0
	flush := func() {
		lines = append(lines, b.String())
		b.Reset()
		used = 0
	}
	for i := 0; i < len(e.text); {
		if e.text[i] == '\n' {
			if used == width { // the cursor needs a place behind the last character
				flush()
			}
			visit(i, caret{len(lines), used})
			flush()
			i++
			continue
		}
		size := e.sizeAt(i)
		shown := safe(e.text[i : i+size])
		w := widthOf(shown, m)
		if w > width {
			shown, w = "?", 1
		}
		if used+w > width {
			flush()
		}
		visit(i, caret{len(lines), used})
		b.WriteString(shown)
		used += w
		i += size
	}
	if used == width {
		flush()
	}
	visit(len(e.text), caret{len(lines), used})
	flush()
	return lines
}

// vertical moves the cursor to the line above or below, and reports whether there is one.
func (e *editor) vertical(by, width int, m ansi.Method) bool {
	_, at := e.layout(width, m)
	best, nearest := -1, 0
	e.walk(width, m, func(pos int, c caret) {
		if d := max(c.col-at.col, at.col-c.col); c.row == at.row+by && (best < 0 || d < nearest) {
			best, nearest = pos, d
		}
	})
	if best < 0 {
		return false
	}
	e.pos = best
	return true
}

// A past is what was typed before, to be typed again. The zero past is empty.
type past struct {
	lines []string
	at    int // len(lines): what is being typed
	draft string
}

// maxPast bounds how many lines are kept.
const maxPast = 200

func (p *past) add(line string) {
	if n := len(p.lines); n == 0 || p.lines[n-1] != line {
		p.lines = append(p.lines, line)
		p.lines = p.lines[max(0, len(p.lines)-maxPast):]
	}
	p.at = len(p.lines)
}

// move returns what stands by steps from what is shown now, which is text.
func (p *past) move(by int, text string) (string, bool) {
	to := p.at + by
	if to < 0 || to > len(p.lines) {
		return "", false
	}
	if p.at == len(p.lines) {
		p.draft = text
	}
	p.at = to
	if to == len(p.lines) {
		return p.draft, true
	}
	return p.lines[to], true
}
