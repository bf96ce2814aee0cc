package chat

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// A kind says what an item is.
type kind uint8

const (
	said    kind = iota // a message
	notice              // of joins and leaves, and what the program has to say
	trouble             // what went wrong, or was missed
)

// A fate is what became of a message of one's own.
type fate uint8

const (
	settled   fate = iota // the room has it, or it is not one's own
	pending               // it has no place in the order yet
	uncertain             // nobody knows whether the room has it
	unsent                // the room does not have it
	unplaced              // the room has it, and has not given it a place
)

const (
	// maxText bounds the bytes of one item, and maxLines its lines on the screen.
	maxText  = 64 << 10
	maxLines = 200
)

// An item is one entry of a pane. Its texts are safe for a terminal.
type item struct {
	kind kind
	at   time.Time
	from string // who said it; empty: nobody
	own  bool   // I did
	call bool   // it has my name in it
	text string
	why  string // it was not sent

	// What concerns the order: id names a message of one's own until its outcome is
	// known, and seq is its place in the life of the room that is counted by life.
	id   int
	fate fate
	seq  uint64
	life int

	drawn     []string // the lines, as they were drawn last, in that width
	drawnIn   int
	drawnWith ansi.Method
}

// newItem returns an item whose text comes from anywhere.
func newItem(k kind, at time.Time, from, text string) *item {
	if len(text) > maxText {
		text = text[:maxText]
	}
	text = safe(text)
	if len(text) > maxText {
		text = text[:maxText]
		text = strings.ToValidUTF8(text, "") + " … (cut)"
	}
	return &item{kind: k, at: at, from: safeLine(from), text: text}
}

// cost is what an item is charged of the bound of its pane.
func (it *item) cost() int { return len(it.from) + len(it.text) + len(it.why) + 256 }

// changed says that it must be drawn anew.
func (it *item) changed() { it.drawn = nil }

// A look is how items are drawn.
type look struct {
	styles
	width  int
	method ansi.Method
	zone   *time.Location
}

// gutter is how wide the column of the time is. No text of a peer ever stands there, so
// nobody can forge a line by line ends in a message.
func (l *look) gutter() int {
	switch {
	case l.width < 4:
		return 0
	case l.width < 12:
		return 2
	}
	return 6
}

// draw returns the lines of it.
func (l *look) draw(it *item) []string {
	if it.drawn != nil && it.drawnIn == l.width && it.drawnWith == l.method {
		return it.drawn
	}
	head := ""
	switch {
	case it.kind != said:
		head = "* "
	case it.from != "":
		head = it.from + ": "
	}
	gutter := l.gutter()
	lines, left := wrap(head+it.text, l.width-gutter, maxLines, l.method)
	for i, line := range lines {
		if i == 0 && strings.HasPrefix(line, head) && it.kind == said && it.from != "" {
			lines[i] = l.mark(it) + l.name(it) + ": " + l.body(it, line[len(head):])
			continue
		}
		mark := strings.Repeat(" ", gutter)
		if i == 0 {
			mark = l.mark(it)
		}
		lines[i] = mark + l.body(it, line)
	}
	indent := strings.Repeat(" ", gutter)
	if left > 0 {
		more, _ := wrap(fmt.Sprintf("… and %d more lines", left), l.width-gutter, 3, l.method)
		for _, line := range more {
			lines = append(lines, indent+l.of(faint, line))
		}
	}
	if why := it.reason(); why != "" {
		more, _ := wrap(why, l.width-gutter, 10, l.method)
		for _, line := range more {
			lines = append(lines, indent+l.of(failure, line))
		}
	}
	it.drawn, it.drawnIn, it.drawnWith = lines, l.width, l.method
	return lines
}

func (it *item) reason() string {
	switch {
	case it.fate == unsent:
		return "not sent: " + it.why
	case it.fate == unplaced:
		return "the room has not given this a place in its order"
	case it.fate == uncertain:
		return "it is not known whether the room has got this"
	}
	return ""
}

// mark is what stands in the gutter: the time, or what became of a message that has none.
func (l *look) mark(it *item) string {
	switch it.fate {
	case pending:
		return l.of(faint, fit("  …", l.gutter(), l.method))
	case uncertain:
		return l.of(warning, fit("  ?", l.gutter(), l.method))
	case unsent, unplaced:
		return l.of(failure, fit("  ×", l.gutter(), l.method))
	}
	if l.gutter() < 6 {
		return l.of(faint, fit("·", l.gutter(), l.method))
	}
	return l.of(faint, it.at.In(l.zone).Format("15:04 "))
}

func (l *look) name(it *item) string {
	if it.own {
		return l.of(bold, it.from)
	}
	return l.of(nameStyle(it.from), it.from)
}

func (l *look) body(it *item, text string) string {
	switch {
	case it.kind == trouble:
		return l.of(warning, text)
	case it.kind == notice || it.fate == pending:
		return l.of(faint, text)
	case it.call:
		return l.of(called, text)
	}
	return text
}

// rule is a line across the pane with a text in it.
func (l *look) rule(st ansi.Style, text string) string {
	if text != "" {
		text = " " + text + " "
	}
	line := "──" + text
	if w := widthOf(line, l.method); w < l.width {
		line += strings.Repeat("─", l.width-w)
	}
	return l.of(st, fit(line, l.width, l.method))
}
