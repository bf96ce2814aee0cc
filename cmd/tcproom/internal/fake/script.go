package fake

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A Script is what a fake does. It does not change, and can be played again and again.
type Script struct {
	file    string
	tls     bool
	strict  bool
	within  time.Duration
	speaks  string               // for the ready line: framing and codec
	room    []tcproom.RoomOption // of the room, or of each of a hub
	conn    []tcproom.ConnOption // of clients, and not of bots
	framing tcproom.Framing
	codec   tcproom.Codec

	isHub bool
	open  bool
	rooms []roomScript // of a room that stands by itself one, without a name

	connections []connRule
	expect      []*expectation
}

// A roomScript is who is in a room.
type roomScript struct {
	name    string
	members []memberScript
	answer  []rule
}

// A memberScript is a bot.
type memberScript struct {
	name  string
	rules []rule
}

// A rule makes one of roomtest's for a stage. So does an action, since some concern the
// stage, or count.
type (
	rule   func(*stage) roomtest.Rule
	action func(doer) roomtest.Action
)

// A doer is the stage of an action, and who is told of its failure.
type doer struct {
	*stage
	failed func(failure)
}

// A connRule is the faults of a connection from its first byte.
type connRule struct {
	number  int // 0: each
	in, out []roomtest.Fault
	refuse  bool
}

// maxBots bounds the bots of a fake. Each receives what all others do, their joins first.
const maxBots = 500

const defaultWithin = 10 * time.Second

// ParseScript returns the script in text, which errors name file. They are a
// *ScriptError. An empty text is an empty room.
func ParseScript(file string, text []byte) (s *Script, err error) {
	root, err := parseYAML(file, text)
	if err != nil {
		return nil, err
	}
	err = decoded(func() { s = node{file, "a script", root}.script() })
	return s, err
}

func (n node) script() *Script {
	f := n.fields(scriptKind)
	s := &Script{file: n.file, strict: true, within: defaultWithin, framing: tcproom.Lines{}, codec: tcproom.Text{}}
	rooms, isHub := f.get("rooms")
	s.isHub = isHub
	framing, codec := "lines", "text"
	if isHub {
		s.codec, codec = tcproom.Text{Commands: true}, "commands"
	}
	f.with("framing", func(n node) { s.framing, framing = n.framing() })
	f.with("codec", func(n node) {
		codec = n.choice("text", "commands", "raw", "json")
		s.codec = map[string]tcproom.Codec{"text": tcproom.Text{}, "commands": tcproom.Text{Commands: true}, "raw": tcproom.Raw{}, "json": tcproom.JSON{}}[codec]
		if codec == "commands" && !isHub {
			n.fail("codec: commands go with rooms; write text")
		}
	})
	s.speaks = framing + " " + codec
	f.with("tls", func(n node) { s.tls = n.yes() })
	f.with("strict", func(n node) { s.strict = n.yes() })
	f.with("within", func(n node) { s.within = n.duration() })
	s.options(f, codec)
	f.with("openRooms", func(n node) {
		if s.open = n.yes(); !isHub {
			n.fail("openRooms goes with rooms")
		}
	})
	if isHub {
		for _, key := range []string{"members", "answer"} {
			f.with(key, func(n node) {
				n.fail("with rooms, %s stand in one of the rooms: rooms: [{name: lobby, %s: …}]", key, key)
			})
		}
		s.rooms = rooms.rooms()
	} else {
		s.rooms = []roomScript{n.room(f)}
	}
	bots := 0
	for _, r := range s.rooms {
		if bots += len(r.members); bots > maxBots {
			n.fail("a script has %d bots at most", maxBots)
		}
	}
	if unique, ok := f.get("uniqueNames"); ok && unique.yes() {
		f.oneOfEachName(s.rooms)
	}
	f.with("connections", func(n node) {
		for _, c := range n.list() {
			s.connections = append(s.connections, c.connection())
		}
	})
	f.with("expect", func(n node) {
		for _, e := range n.list() {
			x := e.expectation(e.fields(expectKind))
			x.checkRooms(e, s)
			s.expect = append(s.expect, x)
		}
	})
	return s
}

func (n node) framing() (tcproom.Framing, string) {
	if n.y.Kind != yaml.MappingNode {
		name := n.choice("lines", "length1", "length2", "length4", "length8", "varint", "netstring", "content-length")
		return map[string]tcproom.Framing{
			"lines": tcproom.Lines{}, "length1": tcproom.Length{Bytes: 1}, "length2": tcproom.Length{Bytes: 2},
			"length4": tcproom.Length{Bytes: 4}, "length8": tcproom.Length{Bytes: 8}, "varint": tcproom.Varint{},
			"netstring": tcproom.Netstring{}, "content-length": tcproom.ContentLength{},
		}[name], name
	}
	f := n.fields(delimiterKind)
	key, value := f.one("delimiter", "length")
	if key == "delimiter" {
		f.with("littleEndian", func(n node) { n.fail("littleEndian goes with length") })
		mark := value.text()
		if mark == "" || len(mark) > 64 {
			value.fail("delimiter: want 1 to 64 bytes")
		}
		return tcproom.Delimiter(mark), "delimiter"
	}
	size := value.choice("1", "2", "4", "8")
	l := tcproom.Length{Bytes: int(size[0] - '0')}
	f.with("littleEndian", func(n node) { l.LittleEndian = n.yes() })
	return l, "length" + size
}

// options decodes what is an option of tcproom.
func (s *Script) options(f fields, codec string) {
	room := func(o tcproom.RoomOption) { s.room = append(s.room, o) }
	conn := func(o tcproom.ConnOption) { s.conn = append(s.conn, o) }
	const most = 1 << 30
	f.with("echo", func(n node) { conn(tcproom.WithEcho(n.yes())) })
	f.with("notices", func(n node) { room(tcproom.WithNotices(n.yes())) })
	f.with("history", func(n node) {
		if codec == "raw" {
			n.fail("history goes with codec text or json: raw cannot tell the past from the present")
		}
		room(tcproom.WithHistory(tcproom.History{Messages: int(n.number(1, 1_000_000))}))
	})
	onlyJSON := func(n node, why string) {
		if codec != "json" {
			n.fail("%s goes with codec: json; %s has no %s", n.what, codec, why)
		}
	}
	f.with("sessions", func(n node) {
		onlyJSON(n, "sessions")
		room(tcproom.WithSessions(tcproom.Sessions{Grace: n.duration()}))
	})
	f.with("uniqueNames", func(n node) { room(tcproom.WithUniqueNames(n.yes())) })
	f.with("maxMembers", func(n node) { room(tcproom.WithMaxMembers(int(n.number(1, most)))) })
	f.with("maxMessage", func(n node) { room(tcproom.WithMaxMessage(int(n.number(1, 64<<20)))) })
	f.with("backlog", func(n node) { room(tcproom.WithBacklog(int(n.number(1, most)))) })
	f.with("slow", func(n node) {
		if n.choice("disconnect", "skip") == "skip" {
			if codec == "raw" {
				n.fail("slow: skip goes with codec text or json: raw cannot tell what was skipped")
			}
			room(tcproom.WithSlowMembers(tcproom.Skip))
		}
	})
	f.with("heartbeat", func(n node) {
		onlyJSON(n, "pings")
		conn(tcproom.WithHeartbeat(n.duration()))
	})
	f.with("idleTimeout", func(n node) { conn(tcproom.WithIdleTimeout(n.duration())) })
	f.with("handshakeTimeout", func(n node) {
		onlyJSON(n, "hello")
		conn(tcproom.WithHandshakeTimeout(n.duration()))
	})
}

func (n node) rooms() (rooms []roomScript) {
	seen := make(map[string]bool)
	for _, part := range n.list() {
		f := part.fields(roomKind)
		r := part.room(f)
		name := f.must("name")
		r.name = name.scalar("the name of a room")
		if err := tcproom.ValidRoom(r.name); err != nil {
			name.fail("name: %s", plain(err))
		}
		if seen[r.name] {
			name.fail("there are two rooms %q", r.name)
		}
		seen[r.name] = true
		rooms = append(rooms, r)
	}
	if len(rooms) == 0 {
		n.fail("rooms wants a room at least: [{name: lobby}]")
	}
	return rooms
}

// plain is an error of tcproom for people who have not heard of it.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "tcproom: ") }

// room decodes who is in a room; f are its fields, or those of the script.
func (n node) room(f fields) (r roomScript) {
	f.with("members", func(n node) { r.members = n.members() })
	f.with("answer", func(n node) { r.answer = n.rules(true) })
	return r
}

func (n node) members() (members []memberScript) {
	seen := make(map[string]bool)
	for _, part := range n.list() {
		f := part.fields(memberKind)
		name := f.must("name")
		m := memberScript{name: name.scalar("the name of a member")}
		if err := tcproom.ValidName(m.name); err != nil {
			name.fail("name: %s", plain(err))
		}
		if seen[m.name] {
			name.fail("name: there are two members %q", m.name)
		}
		seen[m.name] = true
		f.with("rules", func(n node) { m.rules = n.rules(false) })
		f.with("lines", func(n node) {
			var lines []string
			for _, l := range n.list() {
				lines = append(lines, l.template(actor{matched: true}))
			}
			m.rules = append(m.rules, func(*stage) roomtest.Rule {
				say := make([]roomtest.Action, len(lines))
				for i, l := range lines {
					say[i] = roomtest.Say(l)
				}
				return roomtest.On(roomtest.Any(tcproom.Message), roomtest.InTurn(say...))
			})
		})
		members = append(members, m)
	}
	return members
}

// oneOfEachName fails if two bots have the same name.
func (f fields) oneOfEachName(rooms []roomScript) {
	seen := make(map[string]bool)
	for _, r := range rooms {
		for _, m := range r.members {
			if seen[m.name] {
				f.must("uniqueNames").fail("with uniqueNames, two members are named %q", m.name)
			}
			seen[m.name] = true
		}
	}
}

// rules decodes rules, of the room itself or of a bot.
func (n node) rules(ofRoom bool) (rules []rule) {
	for _, part := range n.list() {
		rules = append(rules, part.rule(ofRoom))
	}
	return rules
}

func (n node) rule(ofRoom bool) rule {
	f := n.fields(ruleKind)
	when, v := f.one("on", "start", "after", "every", "joinAfter", "joinOn", "returnOn")
	if ofRoom && strings.Contains(when, "oin") || ofRoom && when == "returnOn" {
		v.fail("%s is for members: the room itself does not join", when)
	}
	var m match
	var d time.Duration
	by := actor{isRoom: ofRoom}
	switch when {
	case "on", "joinOn", "returnOn":
		m = v.match(!ofRoom)
		by.matched, by.groups = true, m.groups
	case "start":
		v.true()
	default:
		d = v.duration()
	}
	var do []action
	todo, ok := f.get("do")
	if ok {
		do = todo.actions(by)
	} else if !strings.HasPrefix(when, "join") && when != "returnOn" {
		f.fail(`a rule wants the key "do"; do: [] is nothing`)
	}
	return func(s *stage) roomtest.Rule {
		do := perform(doer{s, s.fail}, do)
		switch when {
		case "on":
			return roomtest.On(m.Match, do...)
		case "start":
			return roomtest.Start(do...)
		case "after":
			return roomtest.After(d, do...)
		case "every":
			return roomtest.Every(d, do...)
		case "joinAfter":
			return roomtest.JoinAfter(d, do...)
		case "joinOn":
			return roomtest.JoinOn(m.Match, do...)
		}
		return roomtest.ReturnOn(m.Match, do...)
	}
}

// perform makes roomtest's actions for a stage.
func perform(d doer, do []action) []roomtest.Action {
	made := make([]roomtest.Action, len(do))
	for i, a := range do {
		made[i] = a(d)
	}
	return made
}

// An actor is who does an action, and when.
type actor struct {
	isRoom  bool // the room itself
	matched bool // a rule has matched something
	groups  int  // of the pattern that did
}

const ofMatch = "what a rule with on, joinOn or returnOn has matched"

// needsMatch fails unless there is something that the action what is for.
func (n node) needsMatch(by actor, what string) {
	if !by.matched {
		n.fail("%s is for %s", what, ofMatch)
	}
}

func (n node) actions(by actor) (do []action) {
	for _, part := range n.list() {
		do = append(do, part.action(by))
	}
	return do
}

// bare are the actions that a word says all of.
var bare = map[string]func() roomtest.Action{
	"echo": roomtest.Echo, "goSilent": roomtest.GoSilent, "wakeUp": roomtest.WakeUp,
	"leave": roomtest.Leave, "vanish": roomtest.Vanish, "join": roomtest.Join,
}

func (n node) action(by actor) action {
	n.what = "an action"
	key, v := "", n
	if n.isScalar() {
		key = n.y.Value
		if !contains(actionKind.keys(), key) {
			n.fail("there is no action %q%s", short(key), instead(key, actionKind))
		}
		if bare[key] == nil {
			n.fail("%s wants a value: {%s}", key, exampleOf(actionKind, key))
		}
	} else {
		f := n.fields(actionKind)
		key, v = f.one(actionKind.keys()...)
		if bare[key] != nil {
			v.true()
		}
	}
	if made := bare[key]; made != nil {
		if key == "echo" {
			v.needsMatch(by, key)
		} else if by.isRoom {
			v.fail("%s is for members: the room itself cannot do that", key)
		}
		return fixed(made())
	}
	switch key {
	case "say":
		var all []roomtest.Action
		for _, t := range v.list() {
			all = append(all, roomtest.Say(t.template(by)))
		}
		return fixed(roomtest.AllOf(all...))
	case "tell":
		return v.tell(by)
	case "flood":
		f := v.fields(floodKind)
		return fixed(roomtest.Flood(int(f.must("n").number(1, 100_000_000)), f.must("text").counted(by)))
	case "wait":
		return fixed(roomtest.Wait(v.duration()))
	case "inTurn":
		var turns []action
		for _, part := range v.list() {
			do := part.actions(by)
			turns = append(turns, func(d doer) roomtest.Action { return roomtest.AllOf(perform(d, do)...) })
		}
		if len(turns) == 0 {
			v.fail("inTurn wants an action at least")
		}
		return func(d doer) roomtest.Action { return roomtest.InTurn(perform(d, turns)...) }
	case "kick":
		return v.kick(by)
	case "fault":
		return v.fault()
	default: // refuse
		on := v.yes()
		return func(d doer) roomtest.Action {
			return roomtest.Call(func(tcproom.Event) { d.listener.Refuse(on) })
		}
	}
}

func exampleOf(k *kind, key string) string {
	for _, w := range k.words {
		if w.key == key {
			return w.example
		}
	}
	return key
}

func fixed(a roomtest.Action) action { return func(doer) roomtest.Action { return a } }

// template decodes a text in which $ stands for something, unless it is base64.
func (n node) template(by actor) string { return n.fill(by, false) }

// counted is a template in which $n counts.
func (n node) counted(by actor) string { return n.fill(by, true) }

func (n node) fill(by actor, counts bool) string {
	text := n.text()
	if n.y.Kind == yaml.MappingNode {
		return strings.ReplaceAll(text, "$", "$$")
	}
	for _, mark := range templateMark.FindAllString(text, -1) {
		group, err := strconv.Atoi(mark[1:])
		switch {
		case mark == "$$":
		case mark == "$n":
			if !counts {
				n.fail("%s: %q goes with flood; write $%s for a dollar", n.what, mark, mark)
			}
		case !by.matched:
			n.fail("%s: %q stands for %s; write $%s for a dollar", n.what, mark, ofMatch, mark)
		case err == nil && group > by.groups:
			n.fail("%s: %q is a group that the pattern has not; write $%s for a dollar", n.what, mark, mark)
		}
	}
	return text
}

// templateMark is what roomtest fills in.
var templateMark = regexp.MustCompile(`\$(\$|from|n|[0-9])`)

func (n node) tell(by actor) action {
	if n.y.Kind != yaml.MappingNode || len(n.y.Content) > 0 && n.y.Content[0].Value == "base64" {
		n.needsMatch(by, "tell without a name")
		return fixed(roomtest.Tell(n.template(by)))
	}
	f := n.fields(namedTellKind)
	name, text := f.must("name").scalar("a name"), f.must("text").text()
	return func(d doer) roomtest.Action {
		return d.call(fmt.Sprintf("tell %q", name), func(tcproom.Event) error { return d.tell(name, text) })
	}
}

func (n node) kick(by actor) action {
	if n.y.Kind != yaml.MappingNode {
		n.needsMatch(by, "kick without a name")
		return fixed(roomtest.Kick(n.scalar("a reason")))
	}
	f := n.fields(namedKickKind)
	name, reason := f.must("name").scalar("a name"), ""
	f.with("reason", func(n node) { reason = n.scalar("a reason") })
	return func(d doer) roomtest.Action {
		return d.call(fmt.Sprintf("kick %q", name), func(tcproom.Event) error { return d.kick(name, reason) })
	}
}

// A faultScript is faults for connections that are open.
type faultScript struct {
	name         string
	number       int
	hasIn        bool
	hasOut       bool
	in, out      []roomtest.Fault
	reset        bool
	whereMatched bool // neither name nor number: that of the member that a rule matched
}

func (n node) fault() action {
	f := n.fields(faultActionKind)
	var fs faultScript
	f.with("name", func(n node) { fs.name = n.scalar("a name") })
	f.with("number", func(n node) { fs.number = int(n.number(1, 1<<30)) })
	f.with("in", func(n node) { fs.hasIn, fs.in = true, n.faults() })
	f.with("out", func(n node) { fs.hasOut, fs.out = true, n.faults() })
	f.with("reset", func(n node) { n.true(); fs.reset = true })
	if fs.name != "" && fs.number != 0 {
		f.fail("fault has name and number: it wants one of them, or neither")
	}
	if !fs.hasIn && !fs.hasOut && !fs.reset {
		f.fail("fault wants in, out or reset; in: {} takes all faults away")
	}
	fs.whereMatched = fs.name == "" && fs.number == 0
	return func(d doer) roomtest.Action {
		return d.call("fault", func(ev tcproom.Event) error { return d.fault(&fs, ev) })
	}
}

func (n node) connection() (c connRule) {
	f := n.fields(connectionKind)
	f.with("number", func(n node) { c.number = int(n.number(1, 1<<30)) })
	f.with("in", func(n node) { c.in = n.faults() })
	f.with("out", func(n node) { c.out = n.faults() })
	f.with("refuse", func(n node) { c.refuse = n.yes() })
	return c
}

func (n node) faults() (fs []roomtest.Fault) {
	f := n.fields(faultKind)
	add := func(fault roomtest.Fault) { fs = append(fs, fault) }
	f.with("latency", func(n node) { add(roomtest.Latency(n.duration())) })
	f.with("jitter", func(n node) {
		j := n.fields(jitterKind)
		add(roomtest.Jitter(j.must("most").duration(), j.seed()))
	})
	f.with("bandwidth", func(n node) { add(roomtest.Bandwidth(int(n.number(1, 1<<30)))) })
	_, chop := f.get("chop")
	f.with("chop", func(n node) { add(roomtest.Chop(int(n.number(1, 1<<30)))) })
	f.with("chopRandom", func(n node) {
		if chop {
			n.fail("chop and chopRandom do not go together")
		}
		c := n.fields(chopRandomKind)
		add(roomtest.ChopRandom(int(c.must("most").number(1, 1<<30)), c.seed()))
	})
	f.with("stall", func(n node) { n.true(); add(roomtest.Stall()) })
	f.with("cutAfter", func(n node) { add(roomtest.CutAfter(int64(n.number(0, 1<<40)))) })
	f.with("resetAfter", func(n node) { add(roomtest.ResetAfter(int64(n.number(0, 1<<40)))) })
	f.with("blackHole", func(n node) { n.true(); add(roomtest.BlackHole()) })
	return fs
}

func (f fields) seed() (seed uint64) {
	f.with("seed", func(n node) { seed = n.number(0, 1<<63) })
	return seed
}

// A match is one of roomtest's.
type match struct {
	roomtest.Match
	room   string // that it names
	groups int    // of its pattern
}

// match decodes one, which ofBot is for a rule of a bot.
func (n node) match(ofBot bool) (m match) {
	f := n.fields(matchKind)
	key, v := f.one("message", "messageLike", "joined", "left", "renamed", "any", "direct", "gap", "goodbye")
	if !ofBot {
		v.forClients(key)
	}
	switch key {
	case "message":
		if v.isScalar() || v.y.Kind == yaml.MappingNode && len(v.y.Content) > 0 && v.y.Content[0].Value == "base64" {
			m.Match = roomtest.Message("", v.text())
			break
		}
		f := v.fields(messageKind)
		m.Match = roomtest.Message(f.name("from"), f.must("body").text())
	case "messageLike":
		from, pattern := "", v
		if !v.isScalar() {
			f := v.fields(messageLikeKind)
			from, pattern = f.name("from"), f.must("pattern")
		}
		re := pattern.scalar("a pattern")
		compiled, err := regexp.Compile(re)
		if err != nil {
			pattern.fail("messageLike: %v", err)
		}
		m.groups = compiled.NumSubexp()
		m.Match = roomtest.MessageLike(from, re)
	case "joined":
		m.Match = roomtest.Joined(v.scalar(`a name, or "" for any`))
	case "left":
		m.Match = roomtest.Left(v.scalar(`a name, or "" for any`))
	case "renamed":
		name := v.scalar(`a name, or "" for any`)
		m.Match = roomtest.Where(cmp.Or(name, "anybody")+" is renamed", func(ev tcproom.Event) bool {
			return ev.Kind == tcproom.Renamed && (name == "" || ev.From.Name == name)
		})
	case "any":
		m.Match = v.any(ofBot)
	case "direct":
		m.Match = roomtest.Direct(v.text())
	case "gap":
		var from, to uint64
		if v.isScalar() {
			v.true()
		} else {
			f := v.fields(gapKind)
			f.with("from", func(n node) { from = n.number(0, 1<<63) })
			f.with("to", func(n node) { to = n.number(0, 1<<63) })
		}
		m.Match = roomtest.Gap(from, to)
	case "goodbye":
		v.true()
		m.Match = roomtest.Goodbye()
	}
	f.with("inRoom", func(n node) {
		m.room = n.scalar("the name of a room")
		m.Match = roomtest.InRoom(m.room, m.Match)
	})
	return m
}

// name decodes a name that may be missing.
func (f fields) name(key string) (name string) {
	f.with(key, func(n node) { name = n.scalar("a name") })
	return name
}

// eventKinds are the kinds of "any" by their names.
var eventKinds = map[string]tcproom.Kind{
	"message": tcproom.Message, "join": tcproom.Join, "leave": tcproom.Leave, "renamed": tcproom.Renamed,
	"direct": tcproom.Direct, "gap": tcproom.Gap, "goodbye": tcproom.Goodbye,
}

// forClients fails if only a rule of a bot can match this kind of event.
func (n node) forClients(kind string) {
	switch kind {
	case "direct", "gap", "goodbye":
		n.fail("%s is for rules of bots", kind)
	}
}

func (n node) any(ofBot bool) roomtest.Match {
	if n.isScalar() && n.y.Value == "true" {
		return roomtest.Any()
	}
	var kinds []tcproom.Kind
	for _, part := range n.list() {
		kind := part.choice("message", "join", "leave", "renamed", "direct", "gap", "goodbye")
		if !ofBot {
			part.forClients(kind)
		}
		kinds = append(kinds, eventKinds[kind])
	}
	if len(kinds) == 0 {
		n.fail("any wants true, or kinds of events")
	}
	return roomtest.Any(kinds...)
}
