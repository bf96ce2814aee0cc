package tcproom_test

import (
	"fmt"
	"slices"
	"strings"

	"example.com/tcproom"
)

// object checks an event of JSON.
func (f *follower) object(o object) {
	room, _ := o["room"].(string)
	code, _ := o["code"].(string)
	s := f.in[room]
	switch typ := o["type"]; {
	case typ == "welcome" && room == "*":
		f.id, _ = o["id"].(string)
		if o["outcome"] == "expired" || o["outcome"] == "joined" {
			f.from = nil
		}
	case typ == "welcome":
		f.welcome(o, room, s)
	case typ == "goodbye" && (room == "" || room == "*"):
		f.over = true
		if f.quiet != nil {
			f.rests()
		}
		for _, s := range f.in {
			if code != "taken-over" && code != "restarting" && code != "unavailable" && !f.stops { // then it goes on elsewhere
				f.complete(s)
			}
		}
		clear(f.in)
	case typ == "goodbye":
		if s == nil {
			f.bad("H3: a goodbye of a room that it is not in")
			return
		}
		f.complete(s)
		f.behind(s, o)
		delete(f.in, room)
	case typ == "refused", typ == "direct", typ == "rooms", typ == "members", typ == "pong", typ == "ack" && (o["ref"] != nil || o["seq"] == nil), room == "*":
	case s == nil:
		f.bad("H3: of a room that it is not in")
	case typ == "gap":
		first, last := f.seqs.Place(number(o, "first")), f.place(o, "last")
		if !s.gap || first != s.at+1 || last < first || last > uint64(len(s.co.events)) {
			f.bad("P6: a gap behind %d", s.at)
		}
		s.at, s.gap = max(s.at, last), false
	case typ == "ack":
		f.ack(s, f.place(o, "seq"))
	default:
		f.see(s, o)
	}
}

func number(o object, field string) uint64 {
	n, _ := o[field].(float64)
	return uint64(n)
}

// place returns the place of the seq in a field; 0 if there is none.
func (f *follower) place(o object, field string) uint64 {
	seq := number(o, field)
	place := f.seqs.Place(seq)
	if f.seqs.At(place) != seq {
		f.bad("P1: %d is no event", seq)
	}
	return place
}

// welcome begins a stay.
func (f *follower) welcome(o object, room string, old *stay) {
	epoch, _ := o["epoch"].(string)
	id, _ := o["id"].(string)
	if f.id == "" || o["room"] == nil {
		f.id = id
	}
	co, seq := f.find(epoch), f.place(o, "seq")
	if co == nil || room != "" && room != co.name || id != f.id || seq > uint64(len(co.events)) {
		f.bad("P3: no such room, event or member")
		return
	}
	if old != nil && room != "" {
		f.bad("H3: it is in that room already")
	}
	if old != nil && room == "" { // it was moved
		f.complete(old)
		delete(f.in, room)
	}
	s := &stay{co: co, begin: seq, at: seq}
	pos, resumes := f.from[room]
	switch outcome := o["outcome"]; {
	case resumes && (outcome == "resumed" || outcome == "gap") && pos.epoch == epoch:
		s.begin, s.at, s.gap = 0, max(f.seqs.Place(pos.seq), f.lastJoin(co, seq)), outcome == "gap"
	case outcome == "resumed" || outcome == "gap":
		f.bad("P16: it did not ask for that")
	default:
		f.begins(s, o)
	}
	f.in[room] = s
}

// lastJoin returns the seq of f's last join up to seq. It may have left and come back since
// it knew where it stood: a position before the join means the join.
func (f *follower) lastJoin(co *course, seq uint64) (join uint64) {
	for _, e := range co.events[:seq] {
		if e.ev.Kind == tcproom.Join && e.ev.From.ID == f.id {
			join = e.ev.Seq
		}
	}
	return join
}

// begins checks the welcome of a join: P3, and that all of what has ended came before.
func (f *follower) begins(s *stay, o object) {
	e := s.co.events[s.begin-1]
	if e.ev.Kind != tcproom.Join || e.ev.From.ID != f.id {
		f.bad("P3: %d of %s is %v of %v", s.begin, s.co.name, e.ev.Kind, e.ev.From)
	}
	var want, got []string
	for _, past := range s.co.events[:s.begin] {
		switch past.ev.Kind {
		case tcproom.Join:
			want = append(want, past.ev.From.ID)
		case tcproom.Leave:
			want = slices.DeleteFunc(want, func(id string) bool { return id == past.ev.From.ID })
		}
	}
	members, _ := o["members"].([]any)
	for _, m := range members {
		id, _ := m.(object)["id"].(string)
		got = append(got, id)
	}
	if !slices.Equal(want, got) || int(number(o, "total")) != len(want) {
		f.bad("P3: %v are there, it says %v", want, got)
	}
	s.joined, s.asked = e.at, o["ref"] != nil
}

// behind checks that none of the stays that began when s had ended is told of already. Only
// what the connection asked for, one thing after the other, has such an order.
func (f *follower) behind(s *stay, o object) {
	_, at := f.leave(s)
	for _, other := range f.in {
		if asked := f.alone || o["ref"] != nil && other.asked; asked && other != s && at > 0 && at < other.joined {
			f.bad("H3: it had left before it entered %s", other.co.name)
		}
	}
}

// see checks an event of a room.
func (f *follower) see(s *stay, o object) {
	seq := f.place(o, "seq")
	if seq <= s.at || seq > uint64(len(s.co.events)) {
		f.bad("P1: behind %d of %d", s.at, len(s.co.events))
		return
	}
	f.upTo(s, seq)
	s.at, s.gap = seq, false
	e := s.co.events[seq-1].ev
	from, _ := o["from"].(object)
	body, _ := o["body"].(string)
	if e.Kind == tcproom.Renamed {
		body, _ = o["name"].(string)
	}
	id, _ := from["id"].(string)
	name, _ := from["name"].(string)
	if e.Kind.String() != strings.ToUpper(fmt.Sprint(o["type"])[:1])+fmt.Sprint(o["type"])[1:] || e.From != (tcproom.MemberInfo{ID: id, Name: name}) || string(e.Body) != body {
		f.bad("P1: others have %v of %v %q there", e.Kind, e.From, e.Body)
	}
	if e.From.ID == f.id && e.Kind != tcproom.Renamed {
		f.bad("P4, P5: it sees its own %v", e.Kind)
	}
}

// ack checks that everything before the message has come.
func (f *follower) ack(s *stay, seq uint64) {
	if seq == 0 || seq <= s.at { // it is that of another connection, perhaps
		return
	}
	if seq > uint64(len(s.co.events)) || !f.isOwn(s, seq) {
		f.bad("P16: that is no message of its own")
		return
	}
	f.upTo(s, seq)
	s.at = seq
}

// shown returns the line for an event.
func shown(e *tcproom.Event) string {
	switch e.Kind {
	case tcproom.Join:
		return "* " + e.From.Name + " joined"
	case tcproom.Leave:
		return "* " + e.From.Name + " left"
	case tcproom.Renamed:
		return "* " + e.From.Name + " is now " + string(e.Body)
	case tcproom.Message:
		if e.From.Name == "" {
			return "*: " + string(e.Body)
		}
		return e.From.Name + ": " + string(e.Body)
	}
	return ""
}

// answers are how lines begin that are of no room's order.
var answers = []string{"* not done", "* rooms", "* no rooms", "* in ", "* nobody in ", "* commands", "*: all ", "*: psst", "*: your name is "}

// line checks a line of text.
func (f *follower) line(line string) {
	s := f.in[""]
	switch {
	case strings.HasPrefix(line, "* goodbye") && f.quiet != nil:
		f.rests()
		delete(f.in, "")
	case strings.HasPrefix(line, "* goodbye"), strings.HasPrefix(line, "* you are out of "):
		if s != nil && !strings.Contains(line, "goes on in others") && !strings.Contains(line, "not available") && !f.stops {
			f.complete(s)
		}
		delete(f.in, "")
	case strings.HasPrefix(line, "* you are "):
		if s != nil && !(f.stops && f.isLastRoom()) {
			f.complete(s)
		}
		f.next(line)
	case slices.ContainsFunc(answers, func(a string) bool { return strings.HasPrefix(line, a) }), strings.Contains(line, " -> you: "):
	case s == nil:
		f.bad("H3: it is in no room")
	default:
		for n := uint64(len(s.co.events)); s.at < n; {
			s.at++
			if f.isOwn(s, s.at) {
				continue
			}
			if e := s.co.events[s.at-1].ev; shown(&e) != line {
				f.bad("P6: %d of %s comes next: %s", s.at, s.co.name, shown(&e))
			}
			return
		}
		f.bad("P1: nobody said that in %s", s.co.name)
	}
}

// isLastRoom reports whether this line is of the last room of the trip. If its process stops
// meanwhile, the leave of the room before may have no place yet.
func (f *follower) isLastRoom() bool {
	return !slices.ContainsFunc(f.lines[f.index+1:], func(line string) bool { return strings.HasPrefix(line, "* you are ") })
}

// next begins the next stay of a text connection: its joins have welcomes in their order.
func (f *follower) next(line string) {
	if f.steps == nil {
		f.steps = slices.DeleteFunc(f.chronicle.steps()[f.id], func(s hubStep) bool { return s.ev.Kind != tcproom.Join })
	}
	// A join that was taken back at once, because of a ban for one, has none.
	for i, join := range f.steps {
		if line == fmt.Sprintf("* you are %s in %s", join.ev.From.Name, join.co.name) {
			f.in[""], f.steps = &stay{co: join.co, begin: join.ev.Seq, at: join.ev.Seq}, f.steps[i+1:]
			return
		}
	}
	f.bad("P3: it has not joined so")
}
