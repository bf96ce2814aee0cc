package fake

// A word is a key of a script. Its example stands in the table of the documentation,
// and is parsed by the tests.
type word struct {
	key     string
	about   string
	example string
}

// A kind is a mapping of a script, or the place of one.
type kind struct {
	name  string // as errors name it
	title string // as the documentation does
	words []word
}

func (k *kind) keys() []string {
	keys := make([]string, len(k.words))
	for i, w := range k.words {
		keys[i] = w.key
	}
	return keys
}

// The kinds. The decoder takes no key that is not in one of them, and the tables of
// docs/fake.md are these.
var (
	scriptKind = &kind{"a script", "A script", []word{
		{"framing", "how messages are told apart: `lines` (default), `length1`, `length2`, `length4`, `length8`, `varint`, `netstring`, `content-length`, or one with a value", "framing: {delimiter: \"\\0\"}"},
		{"codec", "what is written in a frame: `text` (default of a room), `commands` (text with /commands; default with `rooms`), `raw`, `json`", "codec: json"},
		{"tls", "speak TLS, with a certificate that is made at the start and stands in the ready line", "tls: true"},
		{"within", "how long expectations, and actions that the room does not take at once, wait at most; default 10s", "within: 3s"},
		{"strict", "whether a client that breaks the protocol fails the script; default true", "strict: false"},
		{"echo", "whether a client receives what it sends itself; default false", "echo: true"},
		{"notices", "whether joins and leaves are announced; default true", "notices: false"},
		{"history", "how many messages a new member gets first; default none", "history: 100"},
		{"sessions", "clients that lost their connection may resume for so long (json)", "sessions: 30s"},
		{"uniqueNames", "a name that is taken is refused", "uniqueNames: true"},
		{"maxMembers", "more members are refused", "maxMembers: 10"},
		{"maxMessage", "a larger message breaks the protocol; bytes, default 65536", "maxMessage: 1000"},
		{"heartbeat", "a silent client is pinged after so long (json)", "heartbeat: 5s"},
		{"idleTimeout", "a client that sends nothing for so long is put out", "idleTimeout: 1m"},
		{"handshakeTimeout", "a client that sends no hello for so long is put out (json); default 10s", "handshakeTimeout: 2s"},
		{"backlog", "how many bytes a client may lag behind; default 4 MiB", "backlog: 100000"},
		{"slow", "what becomes of a client that lags further: `disconnect` (default), or `skip`, which sends it a gap", "slow: skip"},
		{"members", "the bots, in the order in which they join; 500 at most", "members: [{name: broker}]"},
		{"answer", "rules of the room itself, whose messages come from nobody", "answer: [{on: {message: bye}, do: {kick: as you wish}}]"},
		{"rooms", "makes it a hub of these rooms, the first of which is that of clients who name none; then `members` and `answer` stand in a room", "rooms: [{name: kitchen, members: [{name: cook}]}]"},
		{"openRooms", "with `rooms`: whether clients may make rooms of other names; default false", "rooms: [{name: kitchen}]\nopenRooms: true"},
		{"connections", "faults of connections from their first byte; of several entries the first that is for a connection holds", "connections: [{number: 1, out: {cutAfter: 100}}]"},
		{"expect", "what clients are to do, one after the other", "expect: [{await: {joined: ada}}]"},
	}}
	roomKind = &kind{"a room", "A room, in `rooms`", []word{
		{"name", "what clients enter", "name: kitchen"},
		{"members", "the bots of this room", "members: [{name: cook}]"},
		{"answer", "rules of this room itself", "answer: [{every: 1m, do: {say: tick}}]"},
	}}
	memberKind = &kind{"a member", "A member, in `members`: a bot", []word{
		{"name", "its name, which no other bot of the room has; give it to no client", "name: broker"},
		{"rules", "what it does, and when; of the `on` rules the first that matches is followed", "rules: [{on: {joined: \"\"}, do: {say: \"hi, $from\"}}]"},
		{"lines", "canned lines: it answers each message that no rule matches by the next one, and after the last begins anew", "lines: [really?, tell me more]"},
	}}
	ruleKind = &kind{"a rule", "A rule, in `rules` and `answer`: one word for when, and `do`", []word{
		{"on", "when a client, or for bots the room itself, does what the match says; what bots do is not matched", "on: {message: hi}"},
		{"start", "once, when the bot begins, and before clients are let in; what takes longer than `within` goes on then", "start: true"},
		{"after", "once, so long after the bot began", "after: 2s"},
		{"every", "again and again, each time so much later", "every: 1m"},
		{"joinAfter", "the bot begins outside of the room, and joins then", "joinAfter: 1s"},
		{"joinOn", "the bot begins outside of the room, and joins when a client does that; again each time that it is outside", "joinOn: {message: is anybody there?}"},
		{"returnOn", "a bot that has left, or was removed, comes back when a client does that", "returnOn: {message: come back}"},
		{"do", "the actions: one, or a list of them; `[]` is none", "do: [{say: one moment}, {wait: 1s}, echo]"},
	}}
	actionKind = &kind{"an action", "An action, in `do`", []word{
		{"say", "sends everyone a text, or one after the other of a list. In it $0 is the body that the rule matched, $1 to $9 are what the groups of a `messageLike` did, $from is the name of the member. Write $$ for a dollar", "say: \"a $1 is 3\""},
		{"echo", "sends everyone the body that the rule matched, byte for byte; for rules with `on`, `joinOn`, `returnOn`", "echo"},
		{"tell", "sends a text to the member that the rule matched, or to one by its name, alone. $ in the first is as in `say`", "tell: only for you"},
		{"flood", "sends a text `n` times, as fast as the room takes it; $n in it is 1, 2, 3, …", "flood: {n: 10000, text: \"message $n\"}"},
		{"wait", "waits", "wait: 500ms"},
		{"inTurn", "does the first of the actions, or lists of actions, the first time, the second one the second time, and after the last begins anew", "inTurn: [{say: first}, {say: second}]"},
		{"goSilent", "the bot stays, but reads and sends nothing, like a laptop that sleeps", "goSilent"},
		{"wakeUp", "ends goSilent", "wakeUp"},
		{"leave", "the bot leaves in good order", "leave"},
		{"vanish", "the bot leaves by a reset, like a process that was killed", "vanish"},
		{"join", "the bot joins again", "join"},
		{"kick", "the room removes the member that the rule matched, or one by its name", "kick: as you wish"},
		{"fault", "puts faults on the connection of the member that the rule matched, or on one by the member's name; without either on all connections of clients", "fault: {out: {stall: true}}"},
		{"refuse", "from now on connections are refused, by a reset; or are not", "refuse: true"},
	}}
	namedTellKind = &kind{"a tell", "`tell` by name", []word{
		{"name", "to whom", "name: ada"},
		{"text", "what", "text: only for you"},
	}}
	namedKickKind = &kind{"a kick", "`kick` by name", []word{
		{"name", "whom", "name: ada"},
		{"reason", "why, for people", "reason: as you wish"},
	}}
	floodKind = &kind{"a flood", "`flood`", []word{
		{"n", "how often", "n: 10000"},
		{"text", "what", "text: message $n"},
	}}
	faultActionKind = &kind{"a fault action", "`fault`", []word{
		{"name", "the member whose connection it is", "name: ada"},
		{"number", "or the connection's number: the first that was accepted is 1", "number: 1"},
		{"in", "faults of what the room reads; these and no others from now on, `{}` is none", "in: {stall: true}"},
		{"out", "faults of what the client reads; these and no others from now on, `{}` is none", "out: {latency: 200ms}"},
		{"reset", "breaks the connection now", "reset: true"},
	}}
	connectionKind = &kind{"a connection", "A connection, in `connections`", []word{
		{"number", "which one: the first that was accepted is 1. Without it: each", "number: 1"},
		{"in", "faults of what the room reads", "in: {chop: 1}"},
		{"out", "faults of what the client reads", "out: {cutAfter: 100}"},
		{"refuse", "it is accepted and reset at once", "refuse: true"},
	}}
	faultKind = &kind{"a fault", "Faults, in `in` and `out`", []word{
		{"latency", "all arrives so much later", "latency: 200ms"},
		{"jitter", "and at random up to `most` later than that, decided by `seed`", "jitter: {most: 50ms, seed: 1}"},
		{"bandwidth", "so many bytes a second", "bandwidth: 1000"},
		{"chop", "arrives in pieces of so many bytes", "chop: 1"},
		{"chopRandom", "in pieces of 1 to `most` bytes, decided by `seed`", "chopRandom: {most: 7, seed: 1}"},
		{"stall", "nothing arrives while it is in force, and all of it afterwards", "stall: true"},
		{"cutAfter", "after so many more bytes the stream ends in good order, even within a message; that stays when the faults change", "cutAfter: 100"},
		{"resetAfter", "after so many more bytes the connection is reset", "resetAfter: 100"},
		{"blackHole", "what is sent vanishes, and nobody is told", "blackHole: true"},
	}}
	jitterKind = &kind{"a jitter", "`jitter`", []word{
		{"most", "below this", "most: 50ms"},
		{"seed", "a number; default 0", "seed: 1"},
	}}
	chopRandomKind = &kind{"a chopRandom", "`chopRandom`", []word{
		{"most", "the largest piece", "most: 7"},
		{"seed", "a number; default 0", "seed: 1"},
	}}
	matchKind = &kind{"a match", "A match, in `on`, `joinOn`, `returnOn`, `await`, `expect`, `refute`: one word, and `inRoom` if you like", []word{
		{"message", "a message with exactly this body; `{from: NAME, body: BODY}` says whose", "message: {from: ada, body: hi}"},
		{"messageLike", "a message in whose body this pattern, of [RE2](https://github.com/google/re2/wiki/Syntax), matches somewhere; `{from: NAME, pattern: PATTERN}` says whose", "messageLike: '^!price (\\w+)$'"},
		{"joined", "the join of this member; `\"\"` is any", "joined: ada"},
		{"left", "the leave of this member; `\"\"` is any", "left: ada"},
		{"renamed", "this member has another name now; `\"\"` is any", "renamed: ada"},
		{"any", "any event: `true`, or of these kinds: `message`, `join`, `leave`, `renamed`, and for rules of bots `direct`, `gap`, `goodbye`", "any: [join, leave]"},
		{"direct", "for rules of bots: what was sent to this bot alone", "direct: psst"},
		{"gap", "for rules of bots that are too slow: a gap; `{from: N, to: N}` says which", "gap: true"},
		{"goodbye", "for rules of bots: the room ends its stay, so that it can say nothing any more", "goodbye: true"},
		{"inRoom", "with `rooms`: and that in this room", "joined: ada\ninRoom: kitchen"},
	}}
	messageKind = &kind{"a message", "`message` with a sender", []word{
		{"from", "the name; `\"*\"` is the room itself, `\"\"` is anybody", "from: ada"},
		{"body", "exactly this", "body: hi"},
	}}
	messageLikeKind = &kind{"a messageLike", "`messageLike` with a sender", []word{
		{"from", "as above", "from: ada"},
		{"pattern", "as above", "pattern: ^hi"},
	}}
	gapKind = &kind{"a gap", "`gap` with numbers", []word{
		{"from", "the first event that is missing; 0 is any", "from: 3"},
		{"to", "the last event that is missing; 0 is any", "to: 7"},
	}}
	expectKind = &kind{"an expectation", "An expectation, in `expect`: one of the first three, and `within` if you like", []word{
		{"await", "such an event comes, after any others", "await: {message: {from: ada, body: hi}}"},
		{"expect", "these events come next, and none in between; what bots and the room itself do is passed over", "expect: [{joined: ada}, {message: hi}]"},
		{"refute", "no such event has come, or comes `within` a time", "refute: {left: ada}\nwithin: 1s"},
		{"within", "how long it waits; default that of the script, for `refute` not at all", "await: {joined: ada}\nwithin: 5s"},
	}}
	askKind = &kind{"a request to expect", "The body of `POST /expect`: an expectation, and `since` if you like", []word{
		{"await", "as in a script", "await: {joined: ada}"},
		{"expect", "as in a script", "expect: [{joined: ada}]"},
		{"refute", "as in a script", "refute: {left: ada}"},
		{"within", "as in a script; 10 minutes at most", "await: {joined: ada}\nwithin: 5s"},
		{"since", "looks at what came after the event of this `n`; without it at what came after the last expectation by `POST /expect` that held", "await: {joined: ada}\nsince: 0"},
	}}
	doKind = &kind{"a request to do", "The body of `POST /do`", []word{
		{"as", "the bot that does it, which is to be in the room; without it the room itself", "as: broker"},
		{"room", "with `rooms`: where; without it the first room", "room: kitchen"},
		{"do", "the actions: one, or a list of them", "do: {say: hi}"},
		{"members", "more bots, as in a script", "members: [{name: late}]"},
		{"within", "how long to wait until it is done; 10 minutes at most", "do: {say: hi}\nwithin: 5s"},
	}}
	base64Kind = &kind{"a text", "A text that is no UTF-8, wherever a text stands", []word{
		{"base64", "its bytes", "base64: AP8="},
	}}
	delimiterKind = &kind{"a framing", "`framing` with a value", []word{
		{"delimiter", "messages end in these bytes", "delimiter: \"\\0\""},
		{"length", "messages begin with their length in 1, 2, 4 or 8 bytes", "length: 2"},
		{"littleEndian", "with `length`: the low byte comes first", "length: 2\nlittleEndian: true"},
	}}
)

// kinds are all of them, in the order of the documentation.
var kinds = []*kind{
	scriptKind, delimiterKind, roomKind, memberKind, ruleKind, matchKind, messageKind, messageLikeKind, gapKind,
	actionKind, namedTellKind, namedKickKind, floodKind, faultActionKind, connectionKind, faultKind, jitterKind, chopRandomKind,
	expectKind, base64Kind, doKind, askKind,
}
