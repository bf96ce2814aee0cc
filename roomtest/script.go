package roomtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tcproom"
)

// A Rule is what a [Bot] does, and when. [On], [Start], [After], [Every],
// [JoinAfter], [JoinOn] and [ReturnOn] make one; the zero Rule does nothing.
type Rule struct {
	kind    ruleKind
	match   Match
	delay   time.Duration
	do      []Action
	outside bool // the bot does not join at once
}

type ruleKind uint8

const (
	noRule ruleKind = iota
	onRule
	startRule
	afterRule
	everyRule
	returnRule
)

// On is followed when the bot receives an event that m matches: a message, a join, a
// leave, a gap, a goodbye or a direct message. Of several such rules the first that
// matches is followed, and no other. What bots do is not matched, and neither is what
// a hook broadcasts for it: so bots do not answer each other or themselves for ever.
// A hook that answers each direct message, or broadcasts on a goroutine of its own,
// needs rules that match less than [Any].
func On(m Match, do ...Action) Rule { return Rule{kind: onRule, match: m, do: do} }

// Start is followed once, when the bot begins.
func Start(do ...Action) Rule { return Rule{kind: startRule, do: do} }

// After is followed once, d after the bot began. Zero and negative values mean
// at once.
func After(d time.Duration, do ...Action) Rule { return Rule{kind: afterRule, delay: d, do: do} }

// Every is followed d after the bot began and each d from then on. What falls
// due while the bot is busy is followed once, when it is not. With zero and
// negative values it is never followed.
func Every(d time.Duration, do ...Action) Rule {
	if d <= 0 {
		return Rule{}
	}
	return Rule{kind: everyRule, delay: d, do: do}
}

// JoinAfter makes the bot begin outside of the room. It joins d later, and does
// the rest. Zero and negative values mean at once.
func JoinAfter(d time.Duration, do ...Action) Rule {
	return Rule{kind: afterRule, delay: d, do: joining(do), outside: true}
}

// JoinOn makes the bot begin outside of the room, and is a [ReturnOn].
func JoinOn(m Match, do ...Action) Rule {
	return Rule{kind: returnRule, match: m, do: joining(do), outside: true}
}

// ReturnOn is followed when an event that m matches is ordered while the bot is
// outside of the room: it joins, and does the rest. What bots do is not matched.
func ReturnOn(m Match, do ...Action) Rule {
	return Rule{kind: returnRule, match: m, do: joining(do)}
}

func joining(do []Action) []Action { return append([]Action{Join()}, do...) }

// beginsOutside reports whether a bot with these rules is not to join at once.
func beginsOutside(rules []Rule) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.outside })
}

// An Action is what a [Bot] does. The zero Action does nothing.
//
// What a bot sends while it is silent or outside of the room is lost. What the room
// does not allow, because it is too large or because a framing in use cannot carry
// it, ends the bot's stay, as it would end a client's. An action that fails, or waits
// for longer than [Server.Within], fails the test, and the actions after it in its
// list are not done.
type Action struct {
	what string // for texts
	do   func(*turn) error
}

// A turn is one run of a list of actions.
type turn struct {
	bot    *Bot
	ev     tcproom.Event // what the rule matched; zero if it matched nothing
	groups []string      // of the match, the whole body first
	count  int           // of Flood
}

// Say sends text to everyone. In it $1 to $9 stand for what the groups of a
// [MessageLike] matched, $0 for all that it matched, or with other matches the body,
// $from for the name of the member that the rule matched, and $$ for a dollar.
func Say(text string) Action {
	return Action{fmt.Sprintf("Say(%q)", short(text)), func(t *turn) error { return t.bot.say([]byte(t.expand(text))) }}
}

// Echo sends everyone the body that the rule matched, byte for byte.
func Echo() Action {
	return Action{"Echo()", func(t *turn) error { return t.bot.say(t.ev.Body) }}
}

// Tell sends text to the member that the rule matched, alone: a direct message, which
// comes from the room. Text is as with [Say]. If the member has left it is lost.
func Tell(text string) Action {
	return Action{fmt.Sprintf("Tell(%q)", short(text)), func(t *turn) error { return t.bot.tell(t.ev.From, []byte(t.expand(text))) }}
}

// Flood sends text n times, as fast as the room takes it. Text is as with [Say], and
// $n in it is 1, 2, 3, … With zero and negative n it sends nothing.
func Flood(n int, text string) Action {
	return Action{fmt.Sprintf("Flood(%d, %q)", n, short(text)), func(t *turn) error {
		for t.count = 1; t.count <= n && t.bot.isHeard(); t.count++ {
			if err := t.bot.say([]byte(t.expand(text))); err != nil {
				return fmt.Errorf("message %d: %w", t.count, err)
			}
		}
		return nil
	}}
}

// Wait waits for d; zero and negative values do not wait. The bot attends afterwards
// to what it receives meanwhile.
func Wait(d time.Duration) Action {
	return Action{fmt.Sprintf("Wait(%v)", d), func(t *turn) error { return t.bot.pause(d) }}
}

// InTurn does the first of the actions the first time, the second one the second time,
// and so on, and after the last begins anew: for answers that change. Each value of
// InTurn counts for itself, whatever rules and bots it is given to. Without actions it
// does nothing. A turn of several actions is [AllOf].
func InTurn(do ...Action) Action {
	do = slices.Clone(do)
	var times atomic.Uint64
	return Action{"InTurn" + listed(do), func(t *turn) error {
		if len(do) == 0 {
			return nil
		}
		return do[(times.Add(1)-1)%uint64(len(do))].run(t)
	}}
}

// AllOf does the actions one after the other, until one fails or the test ends.
func AllOf(do ...Action) Action {
	do = slices.Clone(do)
	return Action{"AllOf" + listed(do), func(t *turn) error {
		for _, a := range do {
			if err := a.run(t); err != nil || t.bot.ctx.Err() != nil {
				return err
			}
		}
		return nil
	}}
}

func (a Action) run(t *turn) error {
	if a.do == nil {
		return nil
	}
	return a.do(t)
}

func listed(do []Action) string {
	names := make([]string, len(do))
	for i, a := range do {
		names[i] = a.what
	}
	return "(" + strings.Join(names, ", ") + ")"
}

// GoSilent makes the bot a laptop that sleeps: it stays connected, but reads nothing
// and sends nothing, [Tell] and [Kick] included, until [WakeUp] or [Leave].
func GoSilent() Action { return Action{"GoSilent()", memberOnly((*Bot).goSilent)} }

// WakeUp ends [GoSilent]. The bot then attends to what it had not attended to, and to
// what its connection has kept for it, or finds that the room has ended it meanwhile.
func WakeUp() Action { return Action{"WakeUp()", memberOnly((*Bot).wakeUp)} }

// Leave leaves the room in good order: when it is done, the leave is ordered.
// Outside of the room it does nothing.
func Leave() Action { return Action{"Leave()", memberOnly((*Bot).leave)} }

// Vanish leaves by a reset of the connection, like a process that was killed. It does
// not wait until the room has noticed. Outside of the room it does nothing.
func Vanish() Action { return Action{"Vanish()", memberOnly((*Bot).vanish)} }

// Join joins the room, or joins it again. Inside of it, it does nothing. A
// refusal fails the test. Whatever the bot was, it is not silent then.
func Join() Action { return Action{"Join()", memberOnly((*Bot).join)} }

// Kick makes the room remove the member that the rule matched, see
// [tcproom.Member.Kick]. If the member has left it does nothing.
func Kick(reason string) Action {
	return Action{fmt.Sprintf("Kick(%q)", reason), func(t *turn) error { return t.bot.kick(t.ev.From, reason) }}
}

// Call calls fn with the event that the rule matched, or a zero one, on the
// bot's goroutine: fn may block, which holds up the bot, and may call anything
// but t.FailNow and what calls it, such as Member.Expect: these, and a panic, fail the
// test and end the bot. The bot ends with the test only when fn has returned.
func Call(fn func(ev tcproom.Event)) Action {
	return Action{"Call", func(t *turn) error { fn(t.ev); return nil }}
}

// memberOnly makes an action of what the room itself cannot do.
func memberOnly(do func(*Bot) error) func(*turn) error {
	return func(t *turn) error {
		if t.bot.isRoom {
			return fmt.Errorf("that is for bots, and this is the room itself")
		}
		return do(t.bot)
	}
}

// expand fills in what $ stands for.
func (t *turn) expand(text string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "from"):
			b.WriteString(t.ev.From.Name)
			text = after[len("from"):]
		case strings.HasPrefix(after, "n"):
			b.WriteString(strconv.Itoa(t.count))
			text = after[1:]
		case after != "" && after[0] >= '0' && after[0] <= '9':
			if i := int(after[0] - '0'); i < len(t.groups) {
				b.WriteString(t.groups[i])
			}
			text = after[1:]
		default:
			b.WriteByte('$')
			text = after
		}
	}
}
