package chat

import (
	"slices"
	"strings"

	"example.com/tcproom"
)

const (
	// maxItems and maxBytes bound what is kept of a pane to scroll back in.
	maxItems = 2000
	maxBytes = 1 << 20
	// maxRoster bounds how many members of a room are kept.
	maxRoster = 2000
)

// A pane is what the person can look at: a room, or what was written to and fro with one
// other person.
type pane struct {
	room  string             // its name; empty: a room by itself, which has none
	peer  tcproom.MemberInfo // with whom one writes; zero in a room
	gone  bool               // the server knows nobody of the peer's ID
	entry bool               // the room is entered
	asked bool               // the present connection has asked for it, and has no answer yet

	parted bool // the peer has left a room, or the room has begun anew

	items  []*item
	bytes  int
	older  bool // there were items before the first
	life   int  // counts the lives of the room
	epoch  string
	roster []tcproom.MemberInfo
	total  int
	listed uint64 // the seq at which the roster was told
	knows  bool   // there is a roster

	away   bool  // it is not looked at
	unread int   // messages that nobody has looked at
	calls  int   // of these, those with one's name
	mark   *item // the first of them, or nil
	at     *spot // how far it is scrolled back, or nil
	draft  editor
}

// A spot is a place in a pane: the line-th line of an item, which is the last on the
// screen.
type spot struct {
	item *item
	line int
}

// isDirect reports whether the pane is of one other person.
func (p *pane) isDirect() bool { return p.peer.ID != "" }

// title is the name of the pane, safe for a terminal.
func (p *pane) title() string {
	switch {
	case p.gone:
		return "@" + safeLine(p.peer.Name) + " (gone)"
	case p.isDirect():
		return "@" + safeLine(p.peer.Name)
	case p.room == "":
		return "room"
	}
	return safeLine(p.room)
}

// isCalled reports whether somebody who types that means the pane.
func (p *pane) isCalled(arg string) bool { return p.title() == arg || p.title() == "@"+arg }

// add puts an item in its place. counts says that somebody wants to read it.
func (p *pane) add(it *item, counts bool) {
	it.life = p.life
	p.put(it)
	p.bytes += it.cost()
	if counts && (p.away || p.at != nil) {
		p.unread++
		if it.call {
			p.calls++
		}
		if p.mark == nil {
			p.mark = it
		}
	}
	p.trim()
}

// trim drops the oldest items above the bounds, but never the last.
func (p *pane) trim() {
	n := 0
	for len(p.items)-n > 1 && (len(p.items)-n > maxItems || p.bytes > maxBytes) {
		p.bytes -= p.items[n].cost()
		p.items[n] = nil
		n++
	}
	if n > 0 {
		p.items = p.items[n:]
		p.older = true
	}
}

// clear drops all items that are not pending.
func (p *pane) clear() {
	p.items = slices.DeleteFunc(p.items, func(it *item) bool { return it.fate != pending })
	p.bytes = 0
	for _, it := range p.items {
		p.bytes += it.cost()
	}
	p.older, p.mark, p.at = false, nil, nil
}

// own returns the message of one's own with that id, or nil.
func (p *pane) own(id int) *item {
	for _, it := range slices.Backward(p.items) {
		if it.id == id {
			return it
		}
	}
	return nil
}

// put puts an item where it is in the order: before what has a greater seq, which may
// have come first, as an acknowledgement and an event come by two ways; or else at the end,
// before the messages that have no place yet.
func (p *pane) put(it *item) {
	i := len(p.items)
	for it.fate != pending && i > 0 && p.items[i-1].fate == pending {
		i--
	}
	if it.seq > 0 {
		for j := i; j > 0; j-- {
			before := p.items[j-1]
			if before.life != it.life || before.seq > 0 && before.seq < it.seq {
				break
			}
			if before.seq > it.seq {
				i = j - 1
			}
		}
	}
	p.items = slices.Insert(p.items, i, it)
}

// place puts a message of one's own, which the room has taken, in its place. A seq of 0
// is none: then it stands behind all others.
func (p *pane) place(it *item, seq uint64) {
	i := slices.Index(p.items, it)
	if i < 0 {
		return
	}
	it.fate, it.seq, it.id = settled, seq, 0
	it.changed()
	p.items = slices.Delete(p.items, i, i+1)
	p.put(it)
}

// echoed reports whether a message of one's own, which the room has sent back, is there
// already, and puts it in its place if it is.
func (p *pane) echoed(text string, seq uint64) bool {
	for _, it := range slices.Backward(p.items) {
		if it.own && it.fate == settled && seq > 0 && it.seq == seq && it.life == p.life {
			return true
		}
	}
	for _, it := range p.items {
		if it.own && it.fate == pending && it.text == text {
			id := it.id
			p.place(it, seq)
			it.id = id // its outcome is still to come
			return true
		}
	}
	return false
}

// leave notes that the pane is not looked at any more.
func (p *pane) leave() { p.away, p.mark = true, nil }

// enter notes that it is looked at.
func (p *pane) enter() {
	p.away = false
	if p.at == nil {
		p.unread, p.calls = 0, 0
	}
}

// setRoster sets who is in the room at seq.
func (p *pane) setRoster(members []tcproom.MemberInfo, total int, seq uint64) {
	p.roster = slices.Clone(members[:min(len(members), maxRoster)])
	p.total, p.listed, p.knows = max(total, len(members)), seq, true
}

// joined, left and renamed change the roster, unless it is newer than what happened.
func (p *pane) joined(m tcproom.MemberInfo, seq uint64) {
	if seq != 0 && seq <= p.listed {
		return
	}
	if i := p.indexOf(m); i < 0 && len(p.roster) < maxRoster {
		p.roster = append(p.roster, m)
	}
	p.total++
}

func (p *pane) left(m tcproom.MemberInfo, seq uint64) {
	if seq != 0 && seq <= p.listed {
		return
	}
	if i := p.indexOf(m); i >= 0 {
		p.roster = slices.Delete(p.roster, i, i+1)
	}
	p.total = max(p.total-1, len(p.roster))
}

func (p *pane) renamed(m tcproom.MemberInfo, name string, seq uint64) {
	if seq != 0 && seq <= p.listed {
		return
	}
	if i := p.indexOf(m); i >= 0 {
		p.roster[i].Name = name
	}
}

func (p *pane) indexOf(m tcproom.MemberInfo) int {
	return slices.IndexFunc(p.roster, func(o tcproom.MemberInfo) bool {
		return o.ID == m.ID && (m.ID != "" || o.Name == m.Name)
	})
}

// mentions reports whether text has name in it as a word.
func mentions(text, name string) bool {
	if name == "" {
		return false
	}
	text, name = strings.ToLower(text), strings.ToLower(name)
	for i := 0; ; {
		j := strings.Index(text[i:], name)
		if j < 0 {
			return false
		}
		i += j
		end := i + len(name)
		if (i == 0 || !isWord(text[i-1])) && (end == len(text) || !isWord(text[end])) {
			return true
		}
		i = end
	}
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '_' || c >= 0x80
}
