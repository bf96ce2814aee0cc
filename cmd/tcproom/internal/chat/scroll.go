package chat

import (
	"slices"
	"time"
)

// entry returns all lines of the i-th item of p, with the rules above it.
func (s *screen) entry(l *look, p *pane, i int) []string {
	it := p.items[i]
	var above []string
	if i == 0 && p.older {
		above = append(above, l.rule(faint, "what is older is not kept"))
	}
	day := it.at.In(l.zone).Format(time.DateOnly)
	before := s.now().In(l.zone).Format(time.DateOnly)
	if i > 0 {
		before = p.items[i-1].at.In(l.zone).Format(time.DateOnly)
	}
	if day != before {
		above = append(above, l.rule(faint, it.at.In(l.zone).Format("Monday, 2 January 2006")))
	}
	if it == p.mark {
		above = append(above, l.rule(unread, "new"))
	}
	return append(above, l.draw(it)...)
}

// A place is a line of a pane: of which item, and which of its lines.
type place struct{ item, line int }

// bottom returns the last line that is shown of p, which has items.
func (s *screen) bottom(l *look, p *pane) place {
	last := len(p.items) - 1
	if p.at != nil {
		if i := slices.Index(p.items, p.at.item); i >= 0 {
			return place{i, min(p.at.line, len(s.entry(l, p, i))-1)}
		}
		return place{0, 0} // it is not kept any more
	}
	return place{last, len(s.entry(l, p, last)) - 1}
}

// up and down return the line above or below; ok is false if there is none.
func (s *screen) up(l *look, p *pane, at place) (place, bool) {
	switch {
	case at.line > 0:
		return place{at.item, at.line - 1}, true
	case at.item > 0:
		return place{at.item - 1, len(s.entry(l, p, at.item-1)) - 1}, true
	}
	return at, false
}

func (s *screen) down(l *look, p *pane, at place) (place, bool) {
	switch {
	case at.line < len(s.entry(l, p, at.item))-1:
		return place{at.item, at.line + 1}, true
	case at.item < len(p.items)-1:
		return place{at.item + 1, 0}, true
	}
	return at, false
}

// messages returns the lines of p that are shown in so many rows; fewer if there are no
// more.
func (s *screen) messages(l *look, p *pane, rows int) []string {
	if len(p.items) == 0 || rows <= 0 {
		return nil
	}
	end := s.bottom(l, p)
	at, n := end, 1
	for n < rows {
		next, ok := s.up(l, p, at)
		if !ok {
			break
		}
		at, n = next, n+1
	}
	for n < rows { // it was made larger while it was scrolled to the top
		next, ok := s.down(l, p, end)
		if !ok {
			break
		}
		end, n = next, n+1
	}
	lines := make([]string, 0, n)
	for i := at.item; i <= end.item; i++ {
		all := s.entry(l, p, i)
		if i == end.item {
			all = all[:end.line+1]
		}
		if i == at.item {
			all = all[at.line:]
		}
		lines = append(lines, all...)
	}
	return lines
}

// scroll shows what is so many lines below, or above if by is negative.
func (s *screen) scroll(by int) {
	p := s.pane()
	if p == nil || len(p.items) == 0 {
		return
	}
	pl := s.plan()
	l := s.look(pl.width)
	end := s.bottom(&l, p)
	top, ok := end, true
	for range pl.rows - 1 {
		top, ok = s.up(&l, p, top)
	}
	for ; by < 0 && ok; by++ {
		if top, ok = s.up(&l, p, top); ok {
			end, _ = s.up(&l, p, end)
		}
	}
	for ; by > 0; by-- {
		if end, ok = s.down(&l, p, end); !ok {
			break
		}
	}
	if _, more := s.down(&l, p, end); !more {
		s.follow(p)
		return
	}
	p.at = &spot{p.items[end.item], end.line}
}

// follow shows the end of p, and what comes from then on.
func (s *screen) follow(p *pane) {
	p.at = nil
	if !p.away {
		p.unread, p.calls = 0, 0
	}
}
