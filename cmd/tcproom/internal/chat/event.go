package chat

import (
	"errors"
	"slices"
	"time"

	"example.com/tcproom"
)

// event shows an event of the client's.
func (s *screen) event(ev *tcproom.Event) {
	if ev.Room == "*" && s.ofAll(ev) {
		return
	}
	if s.text && ev.Kind != tcproom.Welcome && ev.Kind != tcproom.Goodbye { // one room at a time, whose lines do not name it
		ev.Room = ""
	}
	switch ev.Kind {
	case tcproom.Welcome:
		s.welcome(ev)
	case tcproom.Message:
		s.message(ev)
	case tcproom.Direct:
		s.direct(ev)
	case tcproom.Join, tcproom.Leave, tcproom.Renamed:
		s.change(ev)
	case tcproom.Gap:
		p := s.open(ev.Room)
		it := newItem(trouble, s.now(), "", missed(ev, "message", "messages"))
		it.seq = ev.Gap.Last
		s.add(p, it, false)
	case tcproom.Goodbye:
		s.goodbye(ev)
	case tcproom.Refused:
		s.refused(ev)
	case tcproom.Lost:
		s.lost(ev)
	case tcproom.Uncertain:
		s.note(s.find(ev.Room), trouble, "it is not known whether the room has got this: %s", ev.Body)
	case tcproom.RoomList:
		s.tellRooms(ev.List, nil)
	case tcproom.Roster:
		s.tellMembers(ev.Room, ev.List, nil)
		if p := s.find(ev.Room); p != nil && ev.List != nil {
			p.setRoster(ev.List.Members, ev.List.Total, 0)
		}
	case tcproom.Help:
		s.note(nil, notice, "the server has these commands: %s", ev.Body)
	}
}

// missed says what a gap skipped.
func missed(ev *tcproom.Event, one, several string) string {
	what := several + " were"
	if ev.Skipped > 0 {
		what = count(ev.Skipped, one+" was", several+" were")
	}
	return what + " missed here, for good"
}

// ofAll shows what concerns all connections of a hub, and is in the order of no room that
// can be looked at. It reports whether there is nothing else to do.
func (s *screen) ofAll(ev *tcproom.Event) bool {
	switch ev.Kind {
	case tcproom.Message:
		s.tell(ev, ev.From.Name)
	case tcproom.Gap:
		s.note(nil, trouble, "%s", missed(ev, "message to all", "messages to all"))
	case tcproom.Join, tcproom.Leave, tcproom.Renamed: // the rooms have them
	default:
		return false
	}
	return true
}

// tell shows what somebody says to this person, where it is seen at once.
func (s *screen) tell(ev *tcproom.Event, from string) {
	if from == "" {
		from = "*"
	}
	it := newItem(said, s.at(ev), from, string(ev.Body))
	if s.pane() == nil {
		s.early = append(s.early[max(0, len(s.early)-maxEarly):], it)
		return
	}
	s.add(s.pane(), it, true)
}

// maxEarly bounds what is kept for the first pane.
const maxEarly = 20

func (s *screen) welcome(ev *tcproom.Event) {
	s.conn.ever, s.conn.online = true, true
	if ev.From.Name != "" {
		s.self = ev.From
	}
	if ev.Room == "*" {
		s.hub = true
		for _, room := range s.first { // whichever is welcomed first, this is their order
			s.open(room)
		}
		s.first = nil
		for _, p := range s.panes { // the client asks for all of them
			p.asked = p.entry
		}
		return
	}
	if s.text {
		s.textWelcome(ev)
		return
	}
	p := s.open(ev.Room)
	w := ev.Welcome
	if w == nil {
		w = new(tcproom.WelcomeInfo)
	}
	again := p.entry
	p.entry, p.asked = true, false
	if p.epoch != w.Epoch {
		p.epoch = w.Epoch
		p.life++
		for _, q := range s.panes {
			q.parted = q.parted || again && q.isDirect()
		}
	}
	p.setRoster(w.Members, w.Total, ev.Seq)
	here := count(uint64(max(p.total, 1)), "member is", "members are") + " here"
	switch {
	case w.Outcome == "resumed" && again:
		s.note(p, notice, "connected again; what was missed follows")
	case w.Outcome == "gap" && again:
		s.note(p, notice, "connected again")
	case w.Outcome == "reset":
		s.note(p, notice, "the room begins anew: something may be missing; %s", here)
	case again:
		s.note(p, notice, "connected again as a new member, %s: the server has forgotten who this was; %s", ev.From.Name, here)
	case ev.Room == "":
		s.note(p, notice, "you are %s; %s", ev.From.Name, here)
	default:
		s.note(p, notice, "you are %s in %s; %s", ev.From.Name, p.title(), here)
	}
	if (s.wanted == ev.Room || s.wanted == anyRoom) && ev.Room != "" {
		s.wanted = ""
		s.showPane(p)
	}
}

// textWelcome begins with a codec that has no welcome, or says in which room one is now.
func (s *screen) textWelcome(ev *tcproom.Event) {
	p := s.open("")
	again := p.entry
	p.entry = true
	switch {
	case ev.Room != "":
		p.setRoster(nil, 0, 0)
		p.knows = false
		s.note(p, notice, "you are %s in %s", ev.From.Name, ev.Room)
	case ev.Welcome != nil && ev.Welcome.Outcome == "reset":
		s.note(p, notice, "the room begins anew: something may be missing")
	case again:
		s.note(p, notice, "connected again")
	default:
		s.note(p, notice, "connected")
	}
}

func (s *screen) message(ev *tcproom.Event) {
	p := s.open(ev.Room)
	it := newItem(said, s.at(ev), ev.From.Name, string(ev.Body))
	if ev.From.Name == "" {
		it.from = "*"
	}
	it.seq = ev.Seq
	it.own = ev.From.ID != "" && ev.From.ID == s.self.ID
	if it.own && !ev.History && p.echoed(it.text, ev.Seq) {
		return
	}
	it.call = !it.own && mentions(it.text, s.self.Name)
	s.add(p, it, !it.own && (!ev.History || p.life > 1))
}

// at is when an event was, or now if it does not say it.
func (s *screen) at(ev *tcproom.Event) time.Time {
	if ev.Time.IsZero() {
		return s.now()
	}
	return ev.Time
}

func (s *screen) direct(ev *tcproom.Event) {
	if ev.From.ID == "" { // of the room, or of somebody whom the codec only names
		from := ""
		if ev.From.Name != "" {
			from = ev.From.Name + " -> you"
		}
		s.tell(ev, from)
		return
	}
	p := s.openDirect(ev.From)
	p.parted, p.gone = false, false
	it := newItem(said, s.at(ev), ev.From.Name, string(ev.Body))
	it.call = true
	s.add(p, it, true)
}

// change shows a join, a leave or another name.
func (s *screen) change(ev *tcproom.Event) {
	p := s.open(ev.Room)
	name := ev.From.Name
	text := name + " joined"
	switch ev.Kind {
	case tcproom.Join:
		p.joined(ev.From, ev.Seq)
		s.parted(ev.From.ID, false)
	case tcproom.Leave:
		p.left(ev.From, ev.Seq)
		s.parted(ev.From.ID, true)
		text = name + " left"
		if ev.End != nil && ev.End.Text != "" {
			text += ": " + safeLine(ev.End.Text)
		}
	case tcproom.Renamed:
		to := string(ev.Body)
		p.renamed(ev.From, to, ev.Seq)
		text = name + " is now " + to
		for _, q := range s.panes {
			if q.isDirect() && q.peer.ID == ev.From.ID {
				q.peer.Name = to
			}
		}
		if ev.From.ID != "" && ev.From.ID == s.self.ID {
			s.self.Name = to
			text = "you are now " + to
		}
	}
	it := newItem(notice, s.at(ev), "", safeLine(text))
	it.seq = ev.Seq
	s.add(p, it, false)
}

// parted notes that somebody to whom one writes has left a room, or is in one.
func (s *screen) parted(id string, parted bool) {
	if p := s.directTo(id); p != nil && id != "" {
		p.parted = parted
	}
}

// anyRoom is wanted if the next room that is entered is to be shown. It is no name of a
// room.
const anyRoom = "*"

func (s *screen) goodbye(ev *tcproom.Event) {
	why := ""
	if ev.End != nil {
		why = reasonOf(ev.End.Cause, ev.End.Text)
	}
	if ev.Room == "" || ev.Room == "*" {
		s.conn.words = why
		return
	}
	if s.text {
		s.note(s.open(""), trouble, "you are out of %s: %s", ev.Room, why)
		return
	}
	p := s.find(ev.Room)
	if p == nil {
		return
	}
	p.entry, p.knows = false, false
	if ev.End != nil && (ev.End.Cause == "left" || ev.End.Cause == "moved") {
		if ev.End.Cause == "moved" && s.pane() == p && s.wanted == "" {
			s.wanted = anyRoom // the server has moved us
		}
		s.drop(p)
		if s.sink != nil && ev.End.Cause == "left" { // where nobody sees what is shown now
			s.note(nil, notice, "you have left %s", p.title())
		}
		return
	}
	s.note(p, trouble, "you are out of %s: %s", p.title(), why)
}

// refused shows what was not done, if it is not told with the result of a task.
func (s *screen) refused(ev *tcproom.Event) {
	if ev.Number != 0 {
		return
	}
	why := "the server does not say why"
	if ev.End != nil {
		why = reasonOf(ev.End.Cause, ev.End.Text)
	}
	if ev.Room != "" && ev.Room != "*" {
		if p := s.find(ev.Room); p != nil && p.asked { // it was entered, and is not any more
			p.asked, p.entry, p.knows = false, false, false
		}
		s.note(s.find(ev.Room), trouble, "not done, %s: %s", ev.Room, why)
		return
	}
	s.note(nil, trouble, "not done: %s", why)
}

func (s *screen) lost(ev *tcproom.Event) {
	why := "no connection"
	var err error = errors.New(why)
	var delay time.Duration
	if ev.End != nil {
		why, err, delay = bare(ev.End.Text), ev.End, ev.End.RetryAfter
		if ev.End.Text == "" {
			why = reason(ev.End)
		}
	}
	if !s.conn.ever {
		s.failed = err
		return
	}
	s.conn.online = false
	s.conn.since = s.now()
	s.conn.again = s.conn.since.Add(delay)
	if s.conn.words != "" {
		why, s.conn.words = s.conn.words, ""
	}
	s.noteAll(trouble, "connection lost: %s; trying again in %s", why, seconds(delay))
}

func isUncertain(err error) bool { return errors.Is(err, tcproom.ErrUncertain) }

// names returns the names that may be meant in a pane, sorted.
func (s *screen) names(p *pane) []string {
	var names []string
	add := func(ms []tcproom.MemberInfo) {
		for _, m := range ms {
			if m.ID != s.self.ID || m.ID == "" {
				names = append(names, m.Name)
			}
		}
	}
	if p != nil {
		add(p.roster)
		if p.isDirect() {
			names = append(names, p.peer.Name)
		}
	}
	if p == nil || p.isDirect() {
		for _, q := range s.panes {
			add(q.roster)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
