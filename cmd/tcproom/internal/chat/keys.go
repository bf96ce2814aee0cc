package chat

import (
	"strings"

	tea "charm.land/bubbletea/v2"
)

// keyHelp says what keys do, for /help.
var keyHelp = []string{
	"Enter sends; Alt-Enter or Ctrl-J begins a new line; Tab completes",
	"Up and Down: what you have sent; PgUp and PgDn: what was said before",
	"Ctrl-N and Ctrl-P, or Alt-1 to Alt-9: other rooms; Alt-A: the next with something new",
	"Ctrl-C leaves; Ctrl-Z suspends; Ctrl-L draws the screen again",
}

// press does what a key says.
func (s *screen) press(key tea.KeyPressMsg) tea.Cmd {
	name := key.String()
	if name != "tab" && name != "shift+tab" {
		s.complete = completion{}
		s.hint = ""
	}
	switch name {
	case "ctrl+c":
		s.quitting = true
		return nil
	case "ctrl+z":
		return tea.Suspend
	case "ctrl+l":
		return tea.ClearScreen
	case "ctrl+d":
		if s.input().text == "" {
			s.quitting = true
		} else {
			s.input().remove()
		}
	case "enter":
		s.enter()
	case "alt+enter", "shift+enter", "ctrl+j":
		s.insert("\n")
	case "tab":
		s.completeNext(1)
	case "shift+tab":
		s.completeNext(-1)
	case "esc":
		if p := s.pane(); p != nil {
			s.follow(p)
		}
	case "pgup":
		s.scroll(-max(1, s.messageRows()-1))
	case "pgdown":
		s.scroll(max(1, s.messageRows()-1))
	case "ctrl+up", "shift+up":
		s.scroll(-1)
	case "ctrl+down", "shift+down":
		s.scroll(1)
	case "ctrl+n", "alt+right", "alt+down":
		s.turn(1)
	case "ctrl+p", "alt+left", "alt+up":
		s.turn(-1)
	case "alt+a":
		s.nextUnread()
	case "alt+1", "alt+2", "alt+3", "alt+4", "alt+5", "alt+6", "alt+7", "alt+8", "alt+9":
		s.show(int(name[len(name)-1] - '1'))
	default:
		s.edit(name, key.Text)
	}
	return nil
}

// edit changes the input as a key says.
func (s *screen) edit(name, text string) {
	e := s.input()
	switch name {
	case "up":
		if !e.vertical(-1, s.inputWidth(), s.method) {
			s.recall(-1)
		}
	case "down":
		if !e.vertical(1, s.inputWidth(), s.method) {
			s.recall(1)
		}
	case "left", "ctrl+b":
		e.left()
	case "right", "ctrl+f":
		e.right()
	case "ctrl+left", "alt+b":
		e.pos = e.wordLeft()
	case "ctrl+right", "alt+f":
		e.pos = e.wordRight()
	case "home", "ctrl+a":
		e.home()
	case "end", "ctrl+e":
		e.end()
	case "backspace", "ctrl+h", "shift+backspace":
		e.backspace()
	case "delete":
		e.remove()
	case "ctrl+w", "alt+backspace":
		e.cut(e.wordLeft())
	case "alt+d":
		e.cut(e.wordRight())
	case "ctrl+u":
		from := e.pos
		e.home()
		from, e.pos = e.pos, from
		e.cut(from)
	case "ctrl+k":
		from := e.pos
		e.end()
		e.cut(from)
	default:
		if text != "" {
			s.insert(text)
		}
	}
}

// maxInput bounds what is typed, in bytes: the most that a message may have by default.
const maxInput = 64 << 10

// insert puts text at the cursor, if the input does not become too long by it.
func (s *screen) insert(text string) {
	e := s.input()
	if len(e.text)+len(text) > maxInput {
		s.hint = "that is more than a message may have, 64 KiB"
		return
	}
	e.insert(text)
}

// paste puts what was pasted into the input. Nothing is sent before Enter is pressed, so
// a paste by mistake can be seen and deleted; then it is one message.
func (s *screen) paste(text string) {
	s.complete, s.hint = completion{}, ""
	s.insert(text)
	if n := strings.Count(s.input().text, "\n") + 1; n > 1 && s.hint == "" {
		s.hint = count(uint64(n), "line", "lines") + ": Enter sends one message; Ctrl-U deletes a line"
		if s.text {
			s.hint = count(uint64(n), "line", "lines") + ": Enter sends as many messages"
		}
	}
}

// input is what is being typed. Each pane has its own.
func (s *screen) input() *editor {
	if p := s.pane(); p != nil {
		return &p.draft
	}
	return &s.draft
}

// recall shows what was typed before.
func (s *screen) recall(by int) {
	e := s.input()
	if text, ok := s.past.move(by, e.text); ok {
		e.set(text)
	}
}

// turn shows the next pane, or the one before.
func (s *screen) turn(by int) {
	if n := len(s.panes); n > 0 {
		s.show((s.cur + by + n) % n)
	}
}

// nextUnread shows the next pane with something new, first those in which one is called.
func (s *screen) nextUnread() {
	n := len(s.panes)
	for _, calls := range []bool{true, false} {
		for i := 1; i < n; i++ {
			j := (s.cur + i) % n
			if p := s.panes[j]; p.unread > 0 && (p.calls > 0 || !calls) {
				s.show(j)
				return
			}
		}
	}
	s.hint = "nothing new"
}
