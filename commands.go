package tcproom

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// What Text says and reads with Commands, beside what it does without.

// commandRef is the Ref of each command, for no line has one.
const commandRef = 1

const (
	toYouToo  = " -> you: "    // between the name and the body of a Direct
	isNow     = " is now "     // between the two names of a Renamed
	notDone   = "* not done"   // of a Refused that ends nothing
	helpLine  = "* commands: " // of a Help
	youAre    = "* you are "   // of a Welcome
	youAreOut = "* you are out of "
	noRooms   = "* no rooms"   // of a RoomList without rooms
	rooms     = "* rooms: "    // of another
	nobodyIn  = "* nobody in " // of a Roster without members
	membersIn = "* in "        // of another
)

// maxListLine is how long the line of a list is, its last words not counted.
const maxListLine = 2000

// moreWords stand before how many entries more there are than the line has.
const moreWords = "… and "

// maxMore is how many more there are at most. With those of the line an int holds them.
const maxMore = math.MaxInt - maxListLine

// helpText is what a Help says that says nothing of its own.
const helpText = "/join ROOM, /rooms [PREFIX], /who [ROOM], /msg NAME TEXT, /nick NAME, /quit [TEXT], /help; begin a line with // to send one that begins with /"

// appendNotice appends the line of an event that only Text with Commands has.
func appendNotice(dst []byte, ev *Event) ([]byte, error) {
	var out []byte
	var err error
	switch ev.Kind {
	case Welcome:
		if ev.Room == "" || ev.Room == allRooms {
			return dst, ErrNoFrame
		}
		if err = checkRoomName(ev.Room); err == nil {
			err = checkName(ev.From.Name)
		}
		out = append(append(append(append(dst, youAre...), ev.From.Name...), " in "...), ev.Room...)
	case Goodbye:
		if ev.End != nil && ev.End.Cause == errMoved {
			return dst, ErrNoFrame
		}
		err = checkRoomName(ev.Room)
		out = appendWhy(append(append(dst, youAreOut...), ev.Room...), ev.End)
	case RoomList:
		out, err = appendRoomLine(dst, ev.List)
	case Roster:
		out, err = appendRosterLine(dst, ev)
	case Renamed:
		if err = checkName(ev.From.Name); err == nil {
			err = checkName(string(ev.Body))
		}
		out = append(append(append(append(dst, "* "...), ev.From.Name...), isNow...), ev.Body...)
	case Refused:
		out = appendWhy(append(dst, notDone...), ev.End)
	case Help:
		out = append(dst, helpLine...)
		if len(ev.Body) == 0 {
			return append(out, helpText...), nil
		}
		out = appendSafe(out, []byte(cutText(string(ev.Body), maxReasonBytes)))
	default:
		err = ErrNoFrame
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// appendWhy appends a reason behind what there is a reason for.
func appendWhy(dst []byte, end *EndError) []byte {
	if end == nil || end.Text == "" {
		return dst
	}
	return appendSafe(append(dst, ": "...), []byte(cutText(end.Text, maxReasonBytes)))
}

func appendRoomLine(dst []byte, l *List) ([]byte, error) {
	if l == nil || len(l.Rooms) == 0 && l.Total <= 0 {
		return append(dst, noRooms...), nil
	}
	return appendEntries(append(dst, rooms...), len(dst), l.Total, len(l.Rooms), func(dst []byte, i int) ([]byte, error) {
		room := &l.Rooms[i]
		if err := checkRoomName(room.Name); err != nil {
			return nil, err
		}
		return strconv.AppendInt(append(append(dst, room.Name...), ' '), int64(max(room.Members, 0)), 10), nil
	})
}

func appendRosterLine(dst []byte, ev *Event) ([]byte, error) {
	if err := checkAnyRoom(ev.Room); err != nil {
		return nil, err
	}
	l := ev.List
	if l == nil || len(l.Members) == 0 && l.Total <= 0 {
		return append(append(dst, nobodyIn...), ev.Room...), nil
	}
	out := append(append(append(dst, membersIn...), ev.Room...), ": "...)
	return appendEntries(out, len(dst), l.Total, len(l.Members), func(dst []byte, i int) ([]byte, error) {
		if err := checkName(l.Members[i].Name); err != nil {
			return nil, err
		}
		return append(dst, l.Members[i].Name...), nil
	})
}

// appendEntries appends as many of n entries as a line holds that begins at start, and
// how many more there are.
func appendEntries(dst []byte, start, total, n int, entry func(dst []byte, i int) ([]byte, error)) ([]byte, error) {
	shown := 0
	for ; shown < n; shown++ {
		end := len(dst)
		if shown > 0 {
			dst = append(dst, ", "...)
		}
		var err error
		if dst, err = entry(dst, shown); err != nil {
			return nil, err
		}
		if len(dst)-start > maxListLine {
			dst = dst[:end]
			break
		}
	}
	if more := min(max(total, n)-shown, maxMore); more > 0 {
		if shown > 0 {
			dst = append(dst, ' ')
		}
		dst = append(strconv.AppendInt(append(dst, moreWords...), int64(more), 10), " more"...)
	}
	return dst, nil
}

// parseHubLine decodes a line that only Text with Commands has, and reports whether it
// is one.
func parseHubLine(line []byte, ev *Event) bool {
	if i := bytes.Index(line[:min(len(line), maxNameBytes+len(toYouToo))], []byte(toYouToo)); i > 0 && checkName(string(line[:i])) == nil {
		*ev = Event{Kind: Direct, From: MemberInfo{Name: string(line[:i])}, Body: line[i+len(toYouToo):]}
		return true
	}
	if why, ok := bytes.CutPrefix(line, []byte(notDone)); ok {
		text, ok := bytes.CutPrefix(why, []byte(": "))
		if ok || len(why) == 0 {
			*ev = Event{Kind: Refused, Ref: commandRef, End: &EndError{Text: string(text)}}
			return true
		}
	}
	if text, ok := bytes.CutPrefix(line, []byte(helpLine)); ok {
		if *ev = (Event{Kind: Help, Body: text}); string(text) == helpText {
			ev.Body = nil
		}
		return true
	}
	if rest, ok := bytes.CutPrefix(line, []byte(youAreOut)); ok {
		room, text, said := bytes.Cut(rest, []byte(": "))
		if checkRoomName(string(room)) == nil && (!said || len(text) > 0) {
			*ev = Event{Kind: Goodbye, Room: string(room), End: &EndError{Text: string(text)}}
			return true
		}
	}
	if who, ok := bytes.CutPrefix(line, []byte(youAre)); ok && parseWelcomeLine(string(who), ev) {
		return true
	}
	if parseListLine(string(line), ev) {
		return true
	}
	if names, ok := bytes.CutPrefix(line, []byte("* ")); ok {
		was, is, ok := strings.Cut(string(names), isNow)
		if ok && checkName(was) == nil && checkName(is) == nil {
			*ev = Event{Kind: Renamed, From: MemberInfo{Name: was}, Body: []byte(is)}
			return true
		}
	}
	return false
}

func parseWelcomeLine(who string, ev *Event) bool {
	name, room, ok := strings.Cut(who, " in ")
	if !ok || checkName(name) != nil || checkRoomName(room) != nil {
		return false
	}
	*ev = Event{Kind: Welcome, Room: room, From: MemberInfo{Name: name}, Welcome: new(WelcomeInfo)}
	return true
}

// parseListLine decodes the line of a list, and reports whether it is one.
func parseListLine(line string, ev *Event) bool {
	if line == noRooms {
		*ev = Event{Kind: RoomList, List: new(List)}
		return true
	}
	if room, ok := strings.CutPrefix(line, nobodyIn); ok && checkAnyRoom(room) == nil {
		*ev = Event{Kind: Roster, Room: room, List: new(List)}
		return true
	}
	l := new(List)
	if entries, ok := strings.CutPrefix(line, rooms); ok {
		*ev = Event{Kind: RoomList, List: l}
		return parseEntries(entries, l, func(entry string) bool {
			name, digits, _ := strings.Cut(entry, " ")
			n, ok := parseUint([]byte(digits))
			l.Rooms = append(l.Rooms, RoomInfo{Name: name, Members: int(n)})
			return ok && n <= math.MaxInt && checkRoomName(name) == nil
		})
	}
	if rest, ok := strings.CutPrefix(line, membersIn); ok {
		room, entries, ok := strings.Cut(rest, ": ")
		*ev = Event{Kind: Roster, Room: room, List: l}
		return ok && checkAnyRoom(room) == nil && parseEntries(entries, l, func(name string) bool {
			l.Members = append(l.Members, MemberInfo{Name: name})
			return checkName(name) == nil
		})
	}
	return false
}

// parseEntries decodes the entries of a list, and how many more there are, and reports
// whether all of it is right.
func parseEntries(line string, l *List, entry func(string) bool) bool {
	entries, more := cutMore(line)
	if more > 0 {
		line, l.More = entries, true
	}
	n := 0
	if line != "" || more == 0 {
		for one := range strings.SplitSeq(line, ", ") {
			if n++; !entry(one) {
				return false
			}
		}
	}
	l.Total = n + more
	return true
}

// cutMore takes the last words from the line of a list, which say how many entries more
// there are; 0 if it has none. No entry looks like them: it has a space at most before
// digits.
func cutMore(line string) (entries string, more int) {
	rest, ok := strings.CutSuffix(line, " more")
	i := strings.LastIndex(rest, moreWords)
	if !ok || i < 0 {
		return line, 0
	}
	n, ok := parseUint([]byte(rest[i+len(moreWords):]))
	if entries, ok2 := strings.CutSuffix(rest[:i], " "); ok && n <= maxMore && (ok2 && entries != "" || i == 0) {
		return entries, int(n)
	}
	return line, 0
}

// appendCommand appends the line of a request other than a ReqSay.
func appendCommand(dst []byte, req *Request) ([]byte, error) {
	line, err := commandOf(req)
	if err != nil {
		return dst, err
	}
	dst = append(append(dst, '/'), line...)
	if body := req.Body; len(body) > 0 && (req.Kind == ReqTell || req.Kind == ReqGoodbye || req.Kind == ReqOther) {
		dst = append(append(dst, ' '), body...)
	}
	return dst, nil
}

// commandOf returns the command for req, without its "/" and without what Body says.
func commandOf(req *Request) (line string, err error) {
	switch req.Kind {
	case ReqMove:
		line, err = "join "+req.To, checkRoomName(req.To)
	case ReqRooms:
		line = "rooms"
		if req.Query != nil && req.Query.Prefix != "" {
			line, err = "rooms "+req.Query.Prefix, checkRoomPrefix(req.Query.Prefix)
		}
	case ReqMembers:
		line = "who"
		if req.Room != "" {
			line, err = "who "+req.Room, checkAnyRoom(req.Room)
		}
	case ReqTell:
		if line, err = "msg "+req.To, checkName(req.To); len(req.Body) == 0 {
			err = errEmptyLine
		}
	case ReqRename:
		line, err = "nick "+req.To, checkName(req.To)
	case ReqGoodbye:
		line = "quit"
	case ReqHelp:
		line = "help"
	case ReqOther:
		line, err = req.To, checkCommand(req.To)
	default:
		return "", ErrNoFrame
	}
	if q := req.Query; q != nil && (q.After != "" || q.Limit > 0 || q.History != 0 || q.Prefix != "" && req.Kind != ReqRooms) {
		return "", fmt.Errorf("%w: text: no command has what the Query says", ErrUnframeable)
	}
	if req.Room != "" && req.Kind != ReqMembers {
		return "", errNamesNoRoom
	}
	return line, err
}

// usageOf returns how the command of req is written, if it lacks what it needs.
func usageOf(req *Request) string {
	switch {
	case req.Kind == ReqMove && req.To == "":
		return "/join ROOM"
	case req.Kind == ReqTell && (req.To == "" || len(req.Body) == 0):
		return "/msg NAME TEXT"
	case req.Kind == ReqRename && req.To == "":
		return "/nick NAME"
	}
	return ""
}

// checkCommand returns an error for a word that is no command which Text does not know.
func checkCommand(word string) error {
	switch word {
	case "join", "rooms", "who", "msg", "nick", "quit", "help":
		return fmt.Errorf("%w: text: %q is a command of the codec's own", ErrUnframeable, word)
	}
	if strings.HasPrefix(word, "/") || strings.Contains(word, " ") || len(word) > maxNameBytes {
		return fmt.Errorf("%w: text: not a command: %s", ErrUnframeable, quotePeer(word))
	}
	return nil
}

// parseCommand decodes a line behind its "/". What stands behind a command is taken
// without the spaces around it, but for a text, of which a space is a part.
func parseCommand(line []byte, req *Request) {
	word, rest, _ := bytes.Cut(line, []byte(" "))
	arg := string(bytes.Trim(rest, " "))
	*req = Request{Ref: commandRef}
	switch string(word) {
	case "join":
		req.Kind, req.To = ReqMove, arg
	case "rooms":
		if req.Kind = ReqRooms; arg != "" {
			req.Query = &Query{Prefix: arg}
		}
	case "who":
		req.Kind, req.Room = ReqMembers, arg
	case "msg":
		to, text, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
		req.Kind, req.To, req.Body = ReqTell, string(to), text
	case "nick":
		req.Kind, req.To = ReqRename, arg
	case "quit":
		*req = Request{Kind: ReqGoodbye, Body: rest}
	case "help":
		req.Kind = ReqHelp
	default:
		req.Kind, req.To, req.Body = ReqOther, string(word), rest
	}
}
