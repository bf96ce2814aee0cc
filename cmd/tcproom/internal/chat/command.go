package chat

import (
	"fmt"
	"slices"
	"strings"

	"example.com/tcproom"
)

// A command is what a line that begins with "/" does.
type command struct {
	name, args, about string
	run               func(s *screen, arg string) error
	alone             bool // it is there with every codec: the server has nothing to do with it
}

// commands are all of them, in the order of /help.
func commands() []command {
	return []command{
		{"join", "ROOM", "enters a room, or shows it if you are in it", (*screen).join, false},
		{"room", "NAME", "shows a room or person of the list, by name or number", (*screen).turnTo, true},
		{"leave", "[ROOM]", "leaves a room, or closes what you wrote with a person", (*screen).leaveRoom, false},
		{"move", "ROOM", "leaves this room and enters another at one instant", (*screen).move, false},
		{"rooms", "[PREFIX]", "lists the rooms there are", (*screen).listRooms, false},
		{"who", "[ROOM]", "lists who is in a room", (*screen).listMembers, false},
		{"msg", "NAME [TEXT]", "writes to one person alone", (*screen).message1, false},
		{"nick", "NAME", "gives you another name", (*screen).nick, false},
		{"clear", "", "forgets what was said here", (*screen).clear, true},
		{"help", "", "shows this", (*screen).help, true},
		{"quit", "", "leaves", (*screen).quit, true},
	}
}

// aliases are other names of commands.
var aliases = map[string]string{"j": "join", "part": "leave", "close": "leave", "switch": "room", "query": "msg", "w": "msg", "exit": "quit", "q": "quit"}

// enter sends what was typed, or does it if it is a command. What cannot be done stays in
// the input.
func (s *screen) enter() {
	e := s.input()
	text := e.text
	if strings.TrimSpace(text) == "" {
		return
	}
	name, arg, is := parseCommand(text)
	var err error
	switch {
	case is:
		err = s.command(name, arg, text)
	case s.conn.end != nil:
		err = fmt.Errorf("the connection has ended; Ctrl-C leaves")
	default:
		if !s.text { // whose server does that
			text = unescape(text)
		}
		err = s.say(strings.TrimSuffix(text, "\n"))
	}
	if err != nil {
		s.hint = safeLine(err.Error())
		return
	}
	s.past.add(e.text)
	*e = editor{}
}

// parseCommand returns what a line is as a command: it begins with one "/".
func parseCommand(text string) (name, arg string, is bool) {
	rest, ok := strings.CutPrefix(text, "/")
	if !ok || strings.HasPrefix(rest, "/") {
		return "", "", false
	}
	name, arg, _ = strings.Cut(rest, " ")
	return name, strings.TrimLeft(arg, " "), true
}

// unescape takes one "/" from a message that begins with two.
func unescape(text string) string {
	if strings.HasPrefix(text, "//") {
		return text[1:]
	}
	return text
}

func (s *screen) command(name, arg, line string) error {
	if full, ok := aliases[name]; ok {
		name = full
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		if s.text && !c.alone {
			break
		}
		if err := c.run(s, arg); err != nil {
			return err
		}
		if s.text && name == "help" {
			s.queue(task{verb: say, body: line}) // it may have commands of its own
		}
		return nil
	}
	if s.text { // the server does the others
		return s.queue(task{verb: say, body: line})
	}
	return fmt.Errorf("there is no command /%s: see /help; // begins a message with /", name)
}

// queue hands over a task.
func (s *screen) queue(t task) error {
	if s.conn.end != nil {
		return fmt.Errorf("the connection has ended; Ctrl-C leaves")
	}
	return s.do(t)
}

// say sends a message to the pane that is looked at.
func (s *screen) say(text string) error {
	p := s.pane()
	switch {
	case p == nil:
		return fmt.Errorf("you are in no room: /join ROOM enters one, /rooms lists them")
	case !p.entry:
		return fmt.Errorf("you are not in this room: /join %s enters it", p.title())
	}
	parts := []string{text}
	if s.text { // whose lines are its messages
		parts = slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return l == "" })
	}
	for _, part := range parts {
		if err := s.sayIn(p, part); err != nil {
			return err
		}
	}
	s.follow(p)
	return nil
}

func (s *screen) sayIn(p *pane, text string) error {
	t := task{verb: say, id: s.lastID + 1, room: p.room, body: text}
	if p.isDirect() {
		t.verb, t.to = tell, p.peer.ID
	}
	if err := s.queue(t); err != nil {
		return err
	}
	s.lastID++
	from := s.self.Name
	if from == "" {
		from = "you"
	}
	it := newItem(said, s.now(), from, text)
	it.own, it.fate, it.id = true, pending, s.lastID
	s.add(p, it, false)
	return nil
}

// needs returns an error if a command lacks what it is about.
func needs(arg, usage string) error {
	if strings.TrimSpace(arg) == "" {
		return fmt.Errorf("usage: %s", usage)
	}
	return nil
}

func (s *screen) join(arg string) error {
	room := strings.TrimPrefix(strings.TrimSpace(arg), "#")
	if err := needs(room, "/join ROOM"); err != nil {
		return err
	}
	if p := s.find(room); p != nil && p.entry {
		s.showPane(p)
		return nil
	}
	s.wanted = room
	return s.queue(task{verb: enter, room: room})
}

func (s *screen) turnTo(arg string) error {
	arg = strings.TrimSpace(arg)
	if err := needs(arg, "/room NAME"); err != nil {
		return err
	}
	for i, p := range s.panes {
		if p.isCalled(arg) || fmt.Sprint(i+1) == arg {
			s.show(i)
			return nil
		}
	}
	return fmt.Errorf("%s is not in the list; /join ROOM enters a room", arg)
}

func (s *screen) leaveRoom(arg string) error {
	arg = strings.TrimSpace(arg)
	p := s.pane()
	if arg != "" {
		p = nil
		for _, q := range s.panes {
			if q.isCalled(arg) {
				p = q
			}
		}
	}
	switch {
	case p == nil:
		return fmt.Errorf("you are not in %s", arg)
	case p.isDirect() || !p.entry && p.room != "":
		s.drop(p)
		if p.isDirect() {
			return nil
		}
	case p.room == "":
		return fmt.Errorf("there is one room here; /quit leaves it")
	}
	return s.queue(task{verb: leave, room: p.room})
}

func (s *screen) move(arg string) error {
	to := strings.TrimPrefix(strings.TrimSpace(arg), "#")
	if err := needs(to, "/move ROOM"); err != nil {
		return err
	}
	p := s.pane()
	if p == nil || p.isDirect() || p.room == "" || !p.entry {
		return fmt.Errorf("this is no room that you could move from; /join %s enters that one", to)
	}
	if q := s.find(to); q != nil && q.entry {
		return fmt.Errorf("you are in %s already; /leave leaves this one", to)
	}
	s.wanted = to
	return s.queue(task{verb: move, room: p.room, to: to})
}

func (s *screen) listRooms(arg string) error {
	return s.queue(task{verb: listRooms, to: strings.TrimSpace(arg)})
}

func (s *screen) listMembers(arg string) error {
	room := strings.TrimSpace(arg)
	if room == "" {
		p := s.pane()
		switch {
		case p == nil || p.isDirect():
			return fmt.Errorf("usage: /who ROOM")
		case p.room == "": // cannot be asked
			s.tellMembers("", &tcproom.List{Members: p.roster, Total: p.total}, p)
			return nil
		}
		room = p.room
	}
	return s.queue(task{verb: listMembers, room: room})
}

func (s *screen) message1(arg string) error {
	name, text, _ := strings.Cut(arg, " ")
	name = strings.TrimPrefix(name, "@")
	if err := needs(name, "/msg NAME TEXT"); err != nil {
		return err
	}
	if !s.hub {
		return fmt.Errorf("a room by itself has no messages to one person; only a hub has")
	}
	m, err := s.lookUp(name)
	if err != nil {
		return err
	}
	p := s.openDirect(m)
	if text = strings.TrimLeft(text, " "); text != "" {
		if err := s.sayIn(p, text); err != nil {
			return err
		}
		s.follow(p)
	}
	*s.input() = editor{}
	s.showPane(p)
	return nil
}

// lookUp finds the person of that name among those that were seen in rooms, or listed.
func (s *screen) lookUp(name string) (m tcproom.MemberInfo, err error) {
	here := s.called(name)
	found := here
	gone := false
	for _, p := range s.panes {
		switch {
		case !p.isDirect() || p.peer.Name != name || slices.Contains(found, p.peer.ID):
		case p.gone:
			gone = true
		case !p.parted || len(here) == 0: // else it is most likely the one who is here now
			found = append(found, p.peer.ID)
		}
	}
	w := s.known[name]
	switch {
	case len(found) > 1 || len(found) == 0 && w.several:
		return m, fmt.Errorf("several people are called %s", name)
	case len(found) == 1:
		return tcproom.MemberInfo{ID: found[0], Name: name}, nil
	case w.id != "" && !s.isGone(w.id):
		return tcproom.MemberInfo{ID: w.id, Name: name}, nil
	case gone:
		return m, fmt.Errorf("%s is gone", name)
	}
	return m, fmt.Errorf("nobody in your rooms is called %s; /who ROOM shows who is in another", name)
}

// called returns the IDs of those of that name who are in rooms that one is in.
func (s *screen) called(name string) (ids []string) {
	for _, p := range s.panes {
		for _, o := range p.roster {
			if o.Name == name && o.ID != "" && !slices.Contains(ids, o.ID) {
				ids = append(ids, o.ID)
			}
		}
	}
	return ids
}

// isGone reports whether the server has said that there is nobody of that ID.
func (s *screen) isGone(id string) bool {
	p := s.directTo(id)
	return p != nil && p.gone
}

func (s *screen) nick(arg string) error {
	name := strings.TrimSpace(arg)
	if err := needs(name, "/nick NAME"); err != nil {
		return err
	}
	return s.queue(task{verb: rename, to: name})
}

func (s *screen) clear(string) error {
	if p := s.pane(); p != nil {
		p.clear()
	}
	return nil
}

func (s *screen) help(string) error {
	for _, c := range commands() {
		if s.text && !c.alone {
			continue
		}
		s.note(nil, notice, "%s", strings.TrimSpace("/"+c.name+" "+c.args)+": "+c.about)
	}
	s.note(nil, notice, "a message that begins with / begins with //")
	for _, line := range keyHelp {
		s.note(nil, notice, "%s", line)
	}
	if p := s.pane(); p != nil {
		s.follow(p)
	}
	return nil
}

func (s *screen) quit(string) error {
	s.quitting = true
	return nil
}
