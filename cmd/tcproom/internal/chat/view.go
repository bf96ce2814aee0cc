package chat

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"example.com/tcproom"
)

// A plan says where what is on the screen.
type plan struct {
	top   bool // there is a bar at the top
	side  int  // the columns of the list at the left, without its border; 0: none
	width int  // of the messages
	rows  int  // of the messages
	rule  bool // there is a line above the input

	input []string // the lines of the input that are shown
	caret caret    // in these
}

const (
	narrow    = 64 // columns below which there is no list at the left
	mostInput = 6  // rows of the input
	border    = "│ "
)

func (s *screen) plan() plan {
	lines, at := s.input().layout(s.inputWidth(), s.method)
	most := max(1, min(mostInput, s.height/3))
	first := max(0, min(at.row-most/2, len(lines)-most))
	pl := plan{
		top: s.height >= 5, rule: s.height >= 4, width: s.width,
		input: lines[first:min(first+most, len(lines))], caret: caret{at.row - first, at.col},
	}
	if s.width >= narrow {
		pl.side = min(max(s.width/5, 14), 24)
		pl.width = s.width - pl.side - widthOf(border, s.method)
	}
	pl.rows = s.height - len(pl.input)
	if pl.top {
		pl.rows--
	}
	if pl.rule {
		pl.rows--
	}
	pl.rows = max(pl.rows, 0)
	return pl
}

func (s *screen) look(width int) look {
	return look{styles: s.styles, width: width, method: s.method, zone: s.zone}
}

func (s *screen) messageRows() int { return s.plan().rows }

// prompt stands before the input, if there is room for it.
func (s *screen) prompt() string {
	if s.width < 12 {
		return ""
	}
	return "> "
}

func (s *screen) inputWidth() int { return max(1, s.width-len(s.prompt())) }

// View implements tea.Model.
func (s *screen) View() tea.View {
	pl := s.plan()
	v := tea.NewView(strings.Join(s.draw(pl), "\n"))
	v.AltScreen, v.ReportFocus = true, true
	v.WindowTitle = s.title()
	row := s.height - len(pl.input) + pl.caret.row
	v.Cursor = tea.NewCursor(min(len(s.prompt())+pl.caret.col, s.width-1), row)
	v.Cursor.Blink = false
	return v
}

// title is that of the terminal's window.
func (s *screen) title() string {
	title := "tcproom"
	if p := s.pane(); p != nil {
		title += ": " + p.title()
	}
	n := 0
	for _, p := range s.panes {
		n += p.unread
	}
	if n > 0 {
		title = fmt.Sprintf("(%d) %s", n, title)
	}
	return title
}

// draw returns the rows of the screen, as many as it has.
func (s *screen) draw(pl plan) []string {
	var rows []string
	if pl.top {
		rows = append(rows, s.bar())
	}
	l := s.look(pl.width)
	lines := s.middle(&l, pl.rows)
	side := s.side(pl.side, pl.rows)
	for i := range pl.rows {
		row := ""
		if pl.side > 0 {
			row = side[i] + s.styles.of(faint, border)
		}
		// Few messages stand at the bottom, next to the input.
		if j := i - (pl.rows - len(lines)); j >= 0 {
			row += lines[j]
		}
		rows = append(rows, row)
	}
	if pl.rule {
		rows = append(rows, s.lineAboveInput())
	}
	for i, line := range pl.input {
		prompt := s.prompt()
		if i > 0 {
			prompt = strings.Repeat(" ", len(prompt))
		}
		rows = append(rows, s.styles.of(faint, prompt)+line)
	}
	return rows[max(0, len(rows)-s.height):]
}

// middle returns what was said, at most so many rows.
func (s *screen) middle(l *look, rows int) []string {
	p := s.pane()
	if p != nil {
		return s.messages(l, p, rows)
	}
	text := "connecting to " + safeLine(s.conn.addr) + " …"
	if s.conn.ever {
		text = "you are in no room: /join ROOM enters one, /rooms lists them"
	}
	lines, _ := wrap(text, l.width, rows, l.method)
	return lines
}

// bar is the row at the top: where one is, as whom, and how the connection is.
func (s *screen) bar() string {
	state := s.conn.state(s.now(), s.width < narrow)
	left, right := " ", state+" "
	st := bar
	if s.conn.ever && !s.conn.online {
		st = alert
	}
	switch p := s.pane(); {
	case s.width < narrow:
		left += s.tabs()
		if s.conn.online {
			right = ""
			if p != nil && p.knows && s.width >= narrow/2 {
				right = fmt.Sprintf("%d here ", p.total)
			}
		}
	default:
		if p != nil {
			left += p.title()
			if p.knows && p.entry {
				left += fmt.Sprintf(" · %d here", p.total)
			}
		}
		right = safeLine(s.conn.addr) + " · " + right
		if s.self.Name != "" {
			right = safeLine(s.self.Name) + " @ " + right
		}
	}
	return s.styles.of(st, spread(left, right, s.width, s.method))
}

// spread puts left and right at the two ends of a row. Left gives way.
func spread(left, right string, width int, m ansi.Method) string {
	w := widthOf(right, m)
	if w > width/2 && w+widthOf(left, m) > width {
		right = fit(right, max(width/2, width-widthOf(left, m)-1), m)
		w = widthOf(right, m)
	}
	if w > 0 && w+widthOf(left, m) >= width { // a space is between the two
		return fit(left, width-w-1, m) + fit(" "+right, w+1, m)
	}
	return fit(left, width-w, m) + right
}

// tabs are all panes in one row: first the one that is looked at, then what is new, then
// the others.
func (s *screen) tabs() string {
	if s.pane() == nil {
		return "tcproom"
	}
	parts := []string{s.pane().title()}
	for _, fresh := range []bool{true, false} {
		for _, p := range s.panes {
			if p != s.pane() && (p.unread > 0) == fresh {
				parts = append(parts, strings.TrimSpace(p.title()+" "+news(p)))
			}
		}
	}
	return strings.Join(parts, " · ")
}

// news says how much is new in p.
func news(p *pane) string {
	if p.unread == 0 {
		return ""
	}
	n := fmt.Sprint(p.unread)
	if p.unread > 99 {
		n = "99+"
	}
	if p.calls > 0 {
		n += "!"
	}
	return n
}

// side returns the rows of the list at the left: rooms and people, and who is here.
func (s *screen) side(width, rows int) []string {
	if width == 0 {
		return nil
	}
	m, list := s.method, []string(nil)
	most := len(s.panes)
	if p := s.pane(); p != nil && p.knows {
		most = min(most, max(rows/2, rows-2-p.total))
	}
	most = max(1, min(most, rows))
	first := max(0, min(s.cur-most/2, len(s.panes)-most))
	for i, p := range s.panes[first:min(first+most, len(s.panes))] {
		list = append(list, s.sideRow(p, first+i, width))
	}
	if p := s.pane(); p != nil && p.knows && rows-len(list) >= 3 {
		list = append(list, s.styles.of(faint, fit("", width, m)), s.styles.of(faint, fit(fmt.Sprintf(" %d here", p.total), width, m)))
		list = append(list, s.people(p, width, rows-len(list))...)
	}
	for len(list) < rows {
		list = append(list, fit("", width, m))
	}
	return list[:rows]
}

func (s *screen) sideRow(p *pane, i, width int) string {
	name, fresh := " "+p.title(), news(p)
	if !p.entry {
		name = " (" + p.title() + ")"
	}
	st := ansi.Style(nil)
	switch {
	case i == s.cur:
		st = chosen
	case p.calls > 0:
		st = called
	case p.unread > 0:
		st = unread
	case !p.entry:
		st = faint
	}
	if fresh != "" {
		fresh += " "
	}
	return s.styles.of(st, spread(name, fresh, width, s.method))
}

// people returns who is in p, in at most so many rows.
func (s *screen) people(p *pane, width, rows int) []string {
	members := slices.Clone(p.roster)
	slices.SortFunc(members, func(a, b tcproom.MemberInfo) int {
		if c := strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	var list []string
	for i, m := range members {
		if len(list) == rows-1 && (i < len(members)-1 || p.total > len(members)) {
			list = append(list, s.styles.of(faint, fit(fmt.Sprintf(" … %d more", p.total-i), width, s.method)))
			break
		}
		name := fit(" "+safeLine(m.Name), width, s.method)
		st := nameStyle(m.Name)
		if m.ID == s.self.ID {
			st = bold
		}
		list = append(list, s.styles.of(st, name))
	}
	return list
}

// lineAboveInput says what there is to say for now.
func (s *screen) lineAboveInput() string {
	l := s.look(s.width)
	p := s.pane()
	switch {
	case s.hint != "":
		return s.styles.of(bold, fit("── "+s.hint+" ", s.width, s.method))
	case p != nil && p.at != nil && p.unread > 0:
		return l.rule(unread, fmt.Sprintf("%d new below · Esc goes there", p.unread))
	case p != nil && p.at != nil:
		return l.rule(faint, "scrolled back · PgDn or Esc")
	}
	return l.rule(faint, "")
}
