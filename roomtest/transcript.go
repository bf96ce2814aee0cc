package roomtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"example.com/tcproom"
)

// A Transcript is a room's one order up to some moment: its messages, joins
// and leaves, as they got their places. Of a hub it is the orders of its rooms, each
// event with its Room. It does not change.
type Transcript struct{ events []tcproom.Event }

// Len returns the number of events.
func (tr *Transcript) Len() int { return len(tr.events) }

// After returns what comes after the first n events: with zero and negative n all of it,
// with more than Len nothing.
func (tr *Transcript) After(n int) *Transcript {
	return &Transcript{tr.events[min(max(n, 0), len(tr.events)):]}
}

// Events returns the events, which are the caller's to keep and change.
func (tr *Transcript) Events() []tcproom.Event {
	events := make([]tcproom.Event, len(tr.events))
	for i := range tr.events {
		events[i] = clone(&tr.events[i])
	}
	return events
}

// String returns a line for each event, with its sequence number:
//
//	1  * ada joined
//	2  ada: hi
//	3  *: said by the room itself
//
// In a hub the room comes first, as in "[kitchen] ada: hi".
//
// A leave has no reason in it, because the room's order has none; in the text of a
// failure, what a member received has one if its codec carries it. It holds no times
// and no IDs, so that it can be compared with a golden file. A body of printable text
// stands as it is, unless it is empty, begins with a quote, or begins or ends with a
// space; any other is a Go string literal.
func (tr *Transcript) String() string {
	var b strings.Builder
	for i := range tr.events {
		fmt.Fprintf(&b, "%4d  %s\n", tr.events[i].Seq, line(&tr.events[i]))
	}
	return b.String()
}

// A recorder keeps each event that gets its place.
type recorder struct {
	hasBots atomic.Bool // somebody may send as a bot

	mu     sync.Mutex // guards what follows; held for an append only
	events []tcproom.Event
	bots   map[place]bool // of what the room sent for a bot
	more   chan struct{}  // closed with the next event; nil while nothing waits
}

// A place names an event of a transcript.
type place struct {
	room string
	seq  uint64
}

func placeOf(ev *tcproom.Event) place { return place{ev.Room, ev.Seq} }

// ordered runs under the room's lock.
func (r *recorder) ordered(ev any) {
	kept := clone(ev.(*tcproom.Event))
	bots := kept.From == tcproom.MemberInfo{} && r.hasBots.Load() && onBotsGoroutine()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, kept)
	if bots {
		if r.bots == nil {
			r.bots = make(map[place]bool)
		}
		r.bots[placeOf(&kept)] = true
	}
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
}

// transcript shares what has been recorded, which is only appended to.
func (r *recorder) transcript() *Transcript {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Transcript{r.events[:len(r.events):len(r.events)]}
}

func clone(ev *tcproom.Event) tcproom.Event {
	c := *ev
	c.Body = append([]byte(nil), ev.Body...)
	if ev.Welcome != nil {
		w := *ev.Welcome
		w.Members = append([]tcproom.MemberInfo(nil), w.Members...)
		c.Welcome = &w
	}
	if ev.End != nil {
		end := *ev.End
		c.End = &end
	}
	if ev.List != nil {
		l := *ev.List
		l.Rooms, l.Members = slices.Clone(l.Rooms), slices.Clone(l.Members)
		c.List = &l
	}
	return c
}

// line is an event for people to read. Nothing that a peer sent can look like
// something else in it.
func line(ev *tcproom.Event) string {
	if ev.Room != "" {
		return "[" + safe([]byte(ev.Room)) + "] " + lineInRoom(ev)
	}
	return lineInRoom(ev)
}

func lineInRoom(ev *tcproom.Event) string {
	name := safe([]byte(ev.From.Name))
	switch ev.Kind {
	case tcproom.Message:
		return said(ev.From.Name, ev.Body)
	case tcproom.Direct:
		return said(ev.From.Name, ev.Body) + " (to this member alone)"
	case tcproom.Join:
		return "* " + name + " joined"
	case tcproom.Leave:
		return "* " + name + " left" + reason(ev)
	case tcproom.Renamed:
		return "* " + name + " is now " + safe(ev.Body)
	case tcproom.Welcome:
		return "* welcome " + name
	case tcproom.Gap:
		if ev.Gap == (tcproom.Span{}) { // the codec does not tell
			return "* gap"
		}
		return fmt.Sprintf("* gap from %d to %d", ev.Gap.First, ev.Gap.Last)
	case tcproom.Goodbye:
		return "* goodbye" + reason(ev)
	case tcproom.Refused:
		code := ""
		if ev.End != nil {
			code = string(ev.End.Cause)
		}
		return "* refused: " + strconv.Quote(code) + reason(ev)
	}
	return "* " + ev.Kind.String()
}

func reason(ev *tcproom.Event) string {
	if ev.End == nil || ev.End.Text == "" {
		return ""
	}
	return ": " + safe([]byte(ev.End.Text))
}

// said is a message; without a name it is the room's.
func said(name string, body []byte) string {
	if name == "" {
		return "*: " + safe(body)
	}
	return safe([]byte(name)) + ": " + safe(body)
}

// safe returns b as it is, if that is safe and exact to read, or quoted.
func safe(b []byte) string {
	s := string(b)
	plain := s != "" && s[0] != '"' && s[0] != ' ' && s[len(s)-1] != ' ' && utf8.ValidString(s)
	if plain {
		for _, r := range s {
			plain = plain && strconv.IsPrint(r)
		}
	}
	if plain {
		return s
	}
	return strconv.Quote(s)
}

// short is a line for failures: what matters comes first.
func short(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	n := most
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:n], len(s))
}
