package roomtest

import (
	"fmt"
	"strings"

	"example.com/tcproom"
)

// shownLines is how much of the room's order a failure shows.
const shownLines = 30

// fail ends the test. The format is for what the member wanted or did.
func (m *Member) fail(format string, args ...any) {
	t := m.t
	t.Helper()
	m.s.watch.use("an expectation") // while it waited
	name := "a member"
	if n := m.Conn.Name(); n != "" {
		name = safe([]byte(n))
	}
	t.Fatalf("roomtest: %s %s\n%s", name, fmt.Sprintf(format, args...), m.room(name))
}

// room is the end of the room's order, with a mark at what this member has seen.
func (m *Member) room(name string) string {
	events := m.s.rec.transcript().events
	if len(events) == 0 {
		return "the room has ordered nothing"
	}
	seen := make(map[place]bool)
	for _, ev := range m.in.look().events {
		if ev.Kind != tcproom.Welcome && ev.Kind != tcproom.Gap && ev.Kind != tcproom.Roster {
			seen[placeOf(&ev)] = true
		}
	}
	names := m.Welcome.Room != "" // others of a hub do not know where they are
	var b strings.Builder
	fmt.Fprintf(&b, "the room's order (> is what %s has received):\n", name)
	if left := len(events) - shownLines; left > 0 {
		fmt.Fprintf(&b, "\t       … %d before that\n", left)
		events = events[left:]
	}
	for i := range events {
		mark := ' '
		if at := placeOf(&events[i]); seen[at] || !names && seen[place{"", at.seq}] {
			mark = '>'
		}
		fmt.Fprintf(&b, "\t%c %4d  %s\n", mark, events[i].Seq, short(line(&events[i])))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// wanted is the list of what was expected, with a tick for each that came.
func wanted(want []Match, got []tcproom.Event) string {
	var b strings.Builder
	b.WriteString("expected:\n")
	for i, w := range want {
		state := ""
		switch {
		case i < len(got):
			state = "  (came)"
		case i == len(got) && len(want) > 1:
			state = "  (missing)"
		}
		fmt.Fprintf(&b, "\t%s%s\n", short(w.String()), state)
	}
	return b.String()
}

func passedOver(events []tcproom.Event) string {
	if len(events) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("passed over:\n")
	if left := len(events) - shownLines; left > 0 {
		fmt.Fprintf(&b, "\t… %d before that\n", left)
		events = events[left:]
	}
	for i := range events {
		fmt.Fprintf(&b, "\t%s\n", short(line(&events[i])))
	}
	return b.String()
}

func indent(s string) string { return "\t" + short(s) }
