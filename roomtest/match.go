package roomtest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"example.com/tcproom"
)

// A Match describes events, for expectations and for the rules of bots. It is
// immutable and may be used from many goroutines. The zero Match matches nothing.
type Match struct {
	desc string
	fn   func(ev *tcproom.Event) (groups []string, ok bool)
}

// String says in words what m matches.
func (m Match) String() string {
	if m.desc == "" {
		return "nothing"
	}
	return m.desc
}

// Matches reports whether ev is what m describes.
func (m Match) Matches(ev tcproom.Event) bool {
	_, ok := m.match(&ev)
	return ok
}

// match also returns what the groups of a [MessageLike] matched, the whole
// match first.
func (m Match) match(ev *tcproom.Event) (groups []string, ok bool) {
	if m.fn == nil {
		return nil, false
	}
	return m.fn(ev)
}

// Where matches the events for which fn returns true; desc describes them in a few
// words. fn is called on the goroutine of the expectation or bot, and must keep
// nothing of the event.
func Where(desc string, fn func(ev tcproom.Event) bool) Match {
	return Match{desc, func(ev *tcproom.Event) ([]string, bool) { return nil, fn(*ev) }}
}

// Any matches any event of one of the kinds, or without a kind any event at all.
func Any(kinds ...tcproom.Kind) Match {
	if len(kinds) == 0 {
		return Where("any event", func(tcproom.Event) bool { return true })
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.String()
	}
	return Where("any "+strings.Join(names, " or "), func(ev tcproom.Event) bool { return slices.Contains(kinds, ev.Kind) })
}

// Message matches a message with exactly this body. from is the sender's name; "*" is
// the room itself, and "" is any sender.
func Message(from, body string) Match {
	return Where("message "+who(from)+": "+safe([]byte(body)), func(ev tcproom.Event) bool {
		return ev.Kind == tcproom.Message && isFrom(&ev, from) && string(ev.Body) == body
	})
}

// MessageLike matches a message in whose body the regular expression pattern, in the
// syntax of package regexp, matches somewhere. from is as for [Message]. It panics
// when the pattern is none.
func MessageLike(from, pattern string) Match {
	re := regexp.MustCompile(pattern)
	desc := fmt.Sprintf("message of %s like %q", who(from), pattern)
	return Match{desc, func(ev *tcproom.Event) ([]string, bool) {
		if ev.Kind != tcproom.Message || !isFrom(ev, from) {
			return nil, false
		}
		groups := re.FindStringSubmatch(string(ev.Body))
		return groups, groups != nil
	}}
}

// Direct matches what was sent to this member alone, by the room or by another member,
// with exactly this body.
// With the codecs Text and Raw it cannot be told from a [Message] of "*".
func Direct(body string) Match {
	return Where("direct "+safe([]byte(body)), func(ev tcproom.Event) bool {
		return ev.Kind == tcproom.Direct && string(ev.Body) == body
	})
}

// Joined matches the join of a member of this name; "" is any member's.
func Joined(name string) Match {
	return Where(who(name)+" joined", func(ev tcproom.Event) bool {
		return ev.Kind == tcproom.Join && (name == "" || ev.From.Name == name)
	})
}

// Left matches the leave of a member of this name; "" is any member's.
func Left(name string) Match {
	return Where(who(name)+" left", func(ev tcproom.Event) bool {
		return ev.Kind == tcproom.Leave && (name == "" || ev.From.Name == name)
	})
}

// Gap matches a gap of exactly these first and last sequence numbers; a zero
// stands for any number. Of a codec that does not tell them, as [tcproom.Text], only
// Gap(0, 0) matches.
func Gap(from, to uint64) Match {
	return Where("gap "+span(from, to), func(ev tcproom.Event) bool {
		return ev.Kind == tcproom.Gap && (from == 0 || ev.Gap.First == from) && (to == 0 || ev.Gap.Last == to)
	})
}

func span(from, to uint64) string {
	number := func(n uint64) string {
		if n == 0 {
			return "anywhere"
		}
		return fmt.Sprint(n)
	}
	return "from " + number(from) + " to " + number(to)
}

// Goodbye matches the last event of a stream that the room ends, whatever the
// reason.
func Goodbye() Match {
	return Where("goodbye", func(ev tcproom.Event) bool { return ev.Kind == tcproom.Goodbye })
}

func isFrom(ev *tcproom.Event, name string) bool {
	switch name {
	case "":
		return true
	case "*":
		return ev.From == (tcproom.MemberInfo{})
	}
	return ev.From.Name == name
}

func who(name string) string {
	if name == "" {
		return "anybody"
	}
	return safe([]byte(name))
}
