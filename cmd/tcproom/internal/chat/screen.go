package chat

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"example.com/tcproom"
)

// A screen is the model of the full screen: events and keys come in, and a view and tasks
// go out. It knows no terminal, no connection and no clock but now.
type screen struct {
	do     func(task) error // queues a task; returns at once
	now    func() time.Time
	zone   *time.Location
	styles styles
	text   bool     // the codec is for people: the server does the commands
	first  []string // the rooms of a hub to begin with, the first to be shown

	conn   conn
	hub    bool // there are several rooms
	self   tcproom.MemberInfo
	panes  []*pane
	cur    int // which of the panes is looked at; -1: there is none yet
	width  int
	height int
	method ansi.Method
	blur   bool // another window has the focus

	past     past
	complete completion
	early    []*item        // what came before there was a pane
	draft    editor         // what is typed if there is no pane
	hint     string         // what the line above the input says, until the next key
	wanted   string         // the room to be shown when it is entered
	rooms    []string       // names that a list of rooms has told, for completion
	known    map[string]who // IDs of people in rooms that one is not in
	lastID   int            // of messages
	quitting bool           // the person leaves
	failed   error          // why the program ends, if it is not the person who ends it
	ticking  bool           // a tick is on its way

	// sink is told of each item, and whether it is a word of the program's; nil: nobody.
	sink func(p *pane, it *item, note bool)
}

// who is somebody whom a list has named.
type who struct {
	id      string
	several bool // are called so
}

// maxKnown bounds how many people of other rooms are remembered.
const maxKnown = 1000

// tick says that time has passed.
type tick struct{}

func newScreen(addr string, text bool, do func(task) error) *screen {
	return &screen{
		do: do, now: time.Now, zone: time.Local, text: text,
		conn: conn{addr: addr}, cur: -1, width: 80, height: 24, known: make(map[string]who),
	}
}

// Init implements tea.Model.
func (s *screen) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = max(msg.Width, 1), max(msg.Height, 1)
	case tea.ModeReportMsg: // as the renderer does
		if msg.Mode == ansi.ModeUnicodeCore && (msg.Value == ansi.ModeReset || msg.Value == ansi.ModeSet || msg.Value == ansi.ModePermanentlySet) {
			s.method = ansi.GraphemeWidth
		}
	case tea.KeyPressMsg:
		cmd = s.press(msg)
	case tea.PasteMsg:
		s.paste(msg.Content)
	case tea.BlurMsg:
		s.blur = true
		if p := s.pane(); p != nil {
			p.leave()
		}
	case tea.FocusMsg:
		s.blur = false
		if p := s.pane(); p != nil {
			p.enter()
		}
	case events:
		for i := range msg {
			s.event(&msg[i])
		}
	case result:
		s.result(&msg)
	case ended:
		s.end(msg.err)
	case tick:
		s.ticking = false
	}
	if s.quitting || s.failed != nil {
		return s, tea.Quit
	}
	if !s.ticking && s.conn.ever && !s.conn.online && s.conn.end == nil {
		s.ticking = true
		cmd = tea.Batch(cmd, tea.Tick(time.Second, func(time.Time) tea.Msg { return tick{} }))
	}
	return s, cmd
}

// pane returns the pane that is looked at, or nil.
func (s *screen) pane() *pane {
	if s.cur < 0 {
		return nil
	}
	return s.panes[s.cur]
}

// find returns the pane of a room, or nil.
func (s *screen) find(room string) *pane {
	for _, p := range s.panes {
		if !p.isDirect() && p.room == room {
			return p
		}
	}
	return nil
}

// open returns the pane of a room, which it makes if there is none.
func (s *screen) open(room string) *pane {
	if p := s.find(room); p != nil {
		return p
	}
	return s.append(&pane{room: room, away: true})
}

// openDirect returns the pane of somebody, which it makes if there is none.
func (s *screen) openDirect(m tcproom.MemberInfo) *pane {
	if p := s.directTo(m.ID); p != nil {
		p.peer.Name = m.Name
		return p
	}
	return s.append(&pane{peer: m, away: true, entry: true})
}

// directTo returns the pane of the person of that ID, or nil.
func (s *screen) directTo(id string) *pane {
	for _, p := range s.panes {
		if p.isDirect() && p.peer.ID == id {
			return p
		}
	}
	return nil
}

// append adds a pane, rooms before people. The first is looked at.
func (s *screen) append(p *pane) *pane {
	i := len(s.panes)
	for !p.isDirect() && i > 0 && s.panes[i-1].isDirect() {
		i--
	}
	s.panes = slices.Insert(s.panes, i, p)
	switch {
	case s.cur < 0:
		s.show(i)
		for _, it := range s.early {
			s.add(p, it, false)
		}
		s.early = nil
	case s.cur >= i:
		s.cur++
	}
	return p
}

// show looks at the i-th pane.
func (s *screen) show(i int) {
	if i == s.cur || i < 0 || i >= len(s.panes) {
		return
	}
	if p := s.pane(); p != nil {
		p.leave()
	}
	s.cur = i
	if !s.blur {
		s.pane().enter()
	}
}

// showPane looks at p.
func (s *screen) showPane(p *pane) { s.show(slices.Index(s.panes, p)) }

// drop removes a pane.
func (s *screen) drop(p *pane) {
	i := slices.Index(s.panes, p)
	if i < 0 {
		return
	}
	s.panes = slices.Delete(s.panes, i, i+1)
	switch {
	case len(s.panes) == 0:
		s.cur = -1
	case s.cur > i, s.cur == len(s.panes):
		s.cur--
	}
	if p := s.pane(); p != nil && !s.blur {
		p.enter()
	}
}

// note tells something in a pane, or, if that is nil, in the one that is looked at.
func (s *screen) note(p *pane, k kind, format string, args ...any) {
	if p == nil {
		p = s.pane()
	}
	if p == nil {
		s.hint = safeLine(fmt.Sprintf(format, args...))
		return
	}
	it := newItem(k, s.now(), "", fmt.Sprintf(format, args...))
	p.add(it, false)
	if s.sink != nil {
		s.sink(p, it, true)
	}
}

// add adds what somebody said or did.
func (s *screen) add(p *pane, it *item, counts bool) {
	p.add(it, counts)
	if s.sink != nil {
		s.sink(p, it, false)
	}
}

// answer tells in p, or in the pane that is looked at, what was asked for.
func (s *screen) answer(p *pane, text string) {
	if p == nil {
		p = s.pane()
	}
	if p == nil {
		s.hint = safeLine(text)
		return
	}
	s.add(p, newItem(notice, s.now(), "", text), false)
}

// noteAll tells something in all rooms.
func (s *screen) noteAll(k kind, format string, args ...any) {
	told := false
	for _, p := range s.panes {
		if p.entry {
			s.note(p, k, format, args...)
			told = true
		}
	}
	if !told {
		s.note(nil, k, format, args...)
	}
}

// end notes that the client has ended.
func (s *screen) end(err error) {
	s.conn.end, s.conn.online = err, false
	if s.quitting {
		return
	}
	if !s.conn.ever {
		s.failed = err
		return
	}
	why := reason(err)
	if s.conn.words != "" {
		why = s.conn.words
	}
	s.noteAll(trouble, "the server has ended this: %s", why)
	s.noteAll(notice, "Ctrl-C leaves")
}

// result shows what became of a task.
func (s *screen) result(r *result) {
	t := &r.task
	switch t.verb {
	case say, tell:
		s.outcome(r)
		return
	case listRooms:
		if r.err == nil {
			s.tellRooms(r.ev.List, nil)
			return
		}
	case listMembers:
		if r.err == nil {
			s.tellMembers(t.room, r.ev.List, nil)
			return
		}
	case enter, leave, move:
		if r.err != nil && s.wanted == t.room+t.to {
			s.wanted = ""
		}
		if _, told := r.err.(*tcproom.RefusedError); told {
			return // by an event
		}
		if p := s.find(t.room); r.err == nil && t.verb == enter && p != nil && s.wanted == t.room {
			s.wanted = ""
			s.showPane(p)
		}
	case rename:
		if r.err == nil && !s.hub {
			return
		}
		if r.err == nil {
			s.self.Name = t.to
			s.note(nil, notice, "you are %s now", t.to)
			return
		}
	}
	if r.err != nil && s.conn.end == nil {
		s.note(nil, trouble, "not done: %s", reason(r.err))
	}
}

// outcome shows what became of a message.
func (s *screen) outcome(r *result) {
	for _, p := range s.panes {
		it := p.own(r.task.id)
		if it == nil {
			continue
		}
		switch {
		case it.fate != pending: // it came back already
			it.id = 0
		case r.err == nil:
			it.at = s.now()
			p.place(it, r.seq)
			if r.told && r.seq == 0 {
				it.fate = unplaced
			}
		case isUncertain(r.err):
			it.fate, it.at = uncertain, s.now()
		default:
			it.fate, it.why = unsent, s.whyUnsent(r)
		}
		it.changed()
		return
	}
}

// whyUnsent says why a message was not sent, and notes that its recipient is gone.
func (s *screen) whyUnsent(r *result) string {
	e, ok := errors.AsType[*tcproom.RefusedError](r.err)
	p := s.directTo(r.task.to)
	if !ok || e.Cause != noRecipient || r.task.verb != tell || p == nil {
		return reason(r.err)
	}
	p.gone = true
	why := p.peer.Name + " is gone"
	if _, err := s.lookUp(p.peer.Name); err == nil {
		why += "; /msg " + p.peer.Name + " writes to the one who is here now"
	}
	return safeLine(why)
}

// noRecipient is the cause with which a room refuses a message to an ID that it does not
// know.
const noRecipient tcproom.Cause = "recipient"

// tellRooms shows a list of rooms in p.
func (s *screen) tellRooms(list *tcproom.List, p *pane) {
	if list == nil {
		return
	}
	s.rooms = s.rooms[:0]
	var names []string
	for _, r := range list.Rooms {
		s.rooms = append(s.rooms, r.Name)
		names = append(names, fmt.Sprintf("%s (%d)", r.Name, max(r.Members, 0)))
	}
	text := "there are no rooms"
	if len(names) > 0 {
		text = "rooms: " + strings.Join(names, ", ")
	}
	if more := list.Total - len(names); list.More && more > 0 {
		text += fmt.Sprintf(" … and %d more; /rooms PREFIX lists fewer", more)
	}
	s.answer(p, text)
}

// tellMembers shows a list of members in p.
func (s *screen) tellMembers(room string, list *tcproom.List, p *pane) {
	if list == nil {
		return
	}
	var names []string
	for _, m := range list.Members {
		names = append(names, m.Name)
		s.remember(m)
	}
	in := "here"
	if room != "" {
		in = "in " + room
	}
	text := "nobody is " + in
	if len(names) > 0 {
		text = in + ": " + strings.Join(names, ", ")
	}
	if more := list.Total - len(names); more > 0 {
		text += fmt.Sprintf(" … and %d more", more)
	}
	s.answer(p, text)
}

// remember keeps the ID of somebody for /msg.
func (s *screen) remember(m tcproom.MemberInfo) {
	if m.ID == "" || len(s.known) >= maxKnown {
		return
	}
	if w, ok := s.known[m.Name]; ok && w.id != m.ID {
		s.known[m.Name] = who{several: true}
		return
	}
	s.known[m.Name] = who{id: m.ID}
}
