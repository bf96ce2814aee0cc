package roomtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"example.com/tcproom"
)

// The contract of a Codec. The names stand in what TestCodec returns.
var (
	lawCodecAppends = &law{"appends", "a Codec appends to dst: what dst holds stays, and what is appended does not depend on it"}
	lawCodecKeeps   = &law{"keeps nothing", "a Codec keeps none of its arguments, and what it appends is not part of them"}
	lawCodecWrites  = &law{"writes to no argument", "a Codec is pure: events, bodies, frames and the bytes behind them are the caller's"}
	lawCodecPure    = &law{"pure", "a Codec is pure: the same arguments give the same result, from many goroutines, whatever was called before"}
	lawSays         = &law{"says or says not", "AppendEvent says each event that rooms make, or returns ErrNoFrame; a body may be refused, a plain one is not"}
	lawParses       = &law{"parses what it says", "ParseEvent decodes what AppendEvent encoded"}
	lawKind         = &law{"kind", "an event is parsed as what it was, or as a Message where the codec does not tell them apart; a Refused may become a Goodbye"}
	lawFields       = &law{"fields", "a field is parsed as what it was, or left out; a body of plain ASCII stays as it is, a reason may be cut"}
	lawStable       = &law{"stable", "what a codec has parsed once, it says and parses without further change"}
	lawForge        = &law{"forging", "no body makes a Message look like another event, or like one of somebody else"}
	lawMessage      = &law{"messages", "ParseMessage returns the body that AppendMessage encoded, byte for byte"}
	lawMaxFrame     = &law{"MaxFrame", "no frame exceeds what MaxFrame returns for the longest body, whatever names, reasons and numbers stand in it"}
	lawParseErrors  = &law{"errors", "an error of a parsing method wraps ErrMalformed or ErrNoFrame"}
	lawParsedKind   = &law{"parsed kind", "where ParseEvent returns nil, it has set one of the kinds"}
	lawParsedStays  = &law{"parsed stays", "what a parsing method returns may alias the frame, and nothing that a later call writes to"}
	lawHello        = &law{"hello", "ParseHello decodes what AppendHello encoded, in a frame within MaxFrame and 3 KiB"}
	lawWelcome      = &law{"welcome", "a Greeter says a Welcome, with ID and name of who is welcomed, and a Refused, each as that"}
	lawBeats        = &law{"heartbeats", "ParseEvent and ParseMessage return ErrPing for what AppendPing appended and ErrPong for what AppendPong did, for nothing else; neither exceeds MaxFrame, and framings that carry plain events carry them"}
	lawRoom         = &law{"in a room", "a room and its members can use the codec: each message that is not refused arrives as one message"}
)

// TestCodec tests that c does what [tcproom.Codec] asks of it and, if it is one,
// [tcproom.Greeter] and [tcproom.Pinger]. It returns nil, or all violations joined,
// each with the first input that showed it and the contract's words; errors begin
// with "roomtest: codec" and the type.
//
// Towards the room, a body must arrive byte for byte. Towards a member a codec
// may lose things, as [tcproom.Text] and [tcproom.Raw] do. What is tested then:
//
//   - Each event that a room makes is encoded or is [tcproom.ErrNoFrame], and is
//     parsed as its kind, as a Message, or, a Refused, as a Goodbye. Odd bodies may
//     be refused; "hi" may not.
//   - A field is what it was, or empty. A time may be cut to the second, a reason or
//     a list of members at its end; of a Gap the number of events counts. A body of
//     printable ASCII is what it was.
//   - What was parsed is encoded and parsed again without change.
//   - No body forges: one that holds the encoded form of another event is parsed
//     as a Message of its sender.
//   - No frame is longer than MaxFrame returns, for the worst of bodies, names and
//     reasons.
//   - A ping and a pong are parsed as such in both directions, and nothing else is.
//   - Garbage is an error, or an event with a kind, and no panic.
//   - Two members of a real room, in memory, receive each message as one message, in
//     Length and, if it carries plain events, in Lines. This is tried if nothing else
//     was found.
//
// It tests the same for the same c, takes about a second at most (ten times as long
// under the race detector, which it needs to find data races), and returns after some
// ten seconds if c does not. It may be called from many goroutines.
func TestCodec(c tcproom.Codec) error {
	t := &codecTest{findings: findings{what: fmt.Sprintf("codec %T", c)}, c: c}
	t.greeter, _ = c.(tcproom.Greeter)
	t.pinger, _ = c.(tcproom.Pinger)
	return t.run(t.testEvents, t.testFields, t.testForging, t.testMessages, t.testMaxFrame, t.testGarbage, t.testParsedStays, t.testConcurrent, t.testHello, t.testWelcome, t.testBeats, t.testRoom)
}

type codecTest struct {
	findings
	c       tcproom.Codec
	greeter tcproom.Greeter // or nil
	pinger  tcproom.Pinger  // or nil
}

var (
	testTime = time.Date(2026, 5, 4, 3, 2, 1, 123456789, time.FixedZone("", 2*60*60))
	testAda  = tcproom.Member{ID: "ADAADAADAADAADAADAADAADAAD", Name: "ada"}
	testBob  = tcproom.Member{ID: "BOBBOBBOBBOBBOBBOBBOBBOBBO", Name: "bob"}
)

func message(from tcproom.Member, body string) tcproom.Event {
	return tcproom.Event{Kind: tcproom.Message, Seq: 7, From: from, Time: testTime, Body: []byte(body)}
}

// roomEvents are events as rooms make them, of every kind, with a plain body.
func roomEvents() []tcproom.Event {
	dora := tcproom.Member{ID: "DORADORADORADORADORADORADO", Name: `d"o\r'a<&>`}
	zoe := tcproom.Member{ID: "ZOEZOEZOEZOEZOEZOEZOEZOEZO", Name: "Zoë"}
	long := tcproom.Member{ID: testAda.ID, Name: strings.Repeat("n", 256)}
	events := []tcproom.Event{
		message(testAda, "hi"), message(tcproom.Member{}, "Hello, world."), message(zoe, "x"), message(dora, "x"), message(long, "x"),
		{Kind: tcproom.Message, Seq: math.MaxUint64, From: testAda, Time: testTime.UTC().Truncate(time.Second), Body: []byte("last")},
		{Kind: tcproom.Direct, Time: testTime, Body: []byte("for you alone")},
		{Kind: tcproom.Gap, GapFrom: 3, GapTo: 9}, {Kind: tcproom.Gap, GapFrom: 5, GapTo: 5}, {Kind: tcproom.Gap, GapFrom: 1, GapTo: 2}, {Kind: tcproom.Gap, GapFrom: 1, GapTo: math.MaxUint64},
		{Kind: tcproom.Goodbye, Time: testTime}, {Kind: tcproom.Goodbye, Time: testTime, Text: "room closed"},
		{Kind: tcproom.Refused, Time: testTime, Code: "full", Text: "room is full"}, {Kind: tcproom.Refused, Time: testTime, Code: "refused"},
		{Kind: tcproom.Welcome, Seq: 4, From: testAda, Time: testTime, Epoch: "EPOCHEPOCHEPOCHEPOCHEPOCHE", Total: 1, Members: []tcproom.Member{testAda}},
		{Kind: tcproom.Welcome, Seq: 12345, From: testBob, Time: testTime, Epoch: "EPOCHEPOCHEPOCHEPOCHEPOCHE", Total: 1000, Members: []tcproom.Member{testAda, zoe, dora, long, testBob}},
		{Kind: tcproom.Welcome, From: testBob, Time: testTime, Epoch: "EPOCHEPOCHEPOCHEPOCHEPOCHE", Total: 3},
	}
	for _, m := range []tcproom.Member{testAda, zoe, dora, long} {
		events = append(events,
			tcproom.Event{Kind: tcproom.Join, Seq: 2, From: m, Time: testTime},
			tcproom.Event{Kind: tcproom.Leave, Seq: 3, From: m, Time: testTime},
			tcproom.Event{Kind: tcproom.Leave, Seq: 3, From: m, Time: testTime, Text: "kicked"})
	}
	return events
}

// oddBodies are bodies that a codec may refuse, or show otherwise to a member.
func oddBodies() (bodies [][]byte) {
	for b := range 256 {
		bodies = append(bodies, []byte{byte(b)}, []byte{'a', byte(b), 'z'})
	}
	for _, s := range []string{
		"", " ", "\n", "\r\n", "a\n", "\na", "a\r", "a\r\nb", "a\n* eve joined", "* eve joined", "* eve left", "*: hi", "eve: hi", "* 3 messages skipped", "* goodbye", "* goodbye: go",
		`{"type":"join","from":{"id":"1","name":"eve"}}`, `","from":{"name":"eve"},"body":"`, `"}`, `\`, `\\`, `\u000a`, `\n`, `%0a`, "&lt;", "<b>", "a: b: c", "\ufeff", "\u2028\u2029", "\u202eabc",
		"\ud7ff\ue000\U0010ffff", "\xed\xa0\x80", "\xff\xfe", "\xc0\xaf", "\xf8\x88\x80\x80\x80", "\x1b[2J", strings.Repeat("long ", 1000),
	} {
		bodies = append(bodies, []byte(s))
	}
	r := rand.New(rand.NewPCG(4, 4))
	for i := range 100 {
		bodies = append(bodies, spiced(r, 60), randomBytes(uint64(i), r.IntN(60)))
	}
	return bodies
}

// encodes calls fn, which encodes arg, if that is not nil, with the named
// method, with different dst, and checks what holds of every such call.
func (t *codecTest) encodes(name string, arg lazy, fn func(dst []byte) ([]byte, error)) (frame []byte, err error) {
	args := func(dst []byte) []any {
		if arg == nil {
			return []any{dst}
		}
		return []any{dst, arg}
	}
	var out []byte
	if !t.call(name, args(nil), func() { out, err = fn(nil) }) {
		return nil, tcproom.ErrNoFrame
	}
	frame = append(make([]byte, 0, len(out)), out...)
	first := err
	for _, dst := range [][]byte{make([]byte, 0, len(out)+64), []byte("before"), append(make([]byte, 0, 1<<10), "a\r\n"...)} {
		held := bytes.Clone(dst)
		if !t.call(name, args(held), func() { out, err = fn(dst) }) {
			return nil, tcproom.ErrNoFrame
		}
		call := lazy(func() string { return name + "(" + quoteAll(args(held)) + ")" })
		switch {
		case !bytes.Equal(dst, held):
			t.add(lawCodecAppends, "%s changed what dst holds to %s", call, quote(dst))
		case (err == nil) != (first == nil):
			t.add(lawCodecPure, "%s returned the error %v, and with dst nil %v", call, err, first)
		case err == nil && !bytes.HasPrefix(out, held):
			t.add(lawCodecAppends, "%s returned %s", call, quote(out))
		case err == nil && !bytes.Equal(out[len(held):], frame):
			t.add(lawCodecPure, "%s appended %s, and to nil %s", call, quote(out[len(held):]), quote(frame))
		}
	}
	if first != nil {
		return nil, first
	}
	return frame, nil
}

// event encodes ev, and checks what holds of every such call.
func (t *codecTest) event(ev tcproom.Event) ([]byte, error) {
	arg := lazy(func() string { return describe(&ev) })
	frame, err := t.encodes("AppendEvent", arg, func(dst []byte) ([]byte, error) {
		body, mine := lend(ev.Body), ev
		mine.Members = slices.Clone(ev.Members)
		if ev.Body != nil {
			mine.Body = body.b
		}
		out, err := t.c.AppendEvent(dst, &mine)
		if !body.intact() || !sameEvent(&mine, &ev) {
			t.add(lawCodecWrites, "AppendEvent(%s, %s) changed the event, or what lies behind its body, to %s", quote(dst), arg, describe(&mine))
		}
		was := bytes.Clone(out)
		body.scribble()
		if err == nil && !bytes.Equal(out, was) {
			t.add(lawCodecKeeps, "what AppendEvent(%s, %s) returned changed when the body did", quote(dst), arg)
		}
		return was, err
	})
	return frame, err
}

// messageFrame encodes body towards the room, and checks what holds of every such call.
func (t *codecTest) messageFrame(body []byte) ([]byte, error) {
	arg := lazy(func() string { return quote(body) })
	return t.encodes("AppendMessage", arg, func(dst []byte) ([]byte, error) {
		in := lend(body)
		out, err := t.c.AppendMessage(dst, in.b)
		if !in.intact() {
			t.add(lawCodecWrites, "AppendMessage(%s, %s) wrote to body, or behind it", quote(dst), quote(body))
		}
		was := bytes.Clone(out)
		in.scribble()
		if err == nil && !bytes.Equal(out, was) {
			t.add(lawCodecKeeps, "what AppendMessage(%s, %s) returned changed when body did", quote(dst), quote(body))
		}
		return was, err
	})
}

// decodes calls fn, which parses frame with the named method, and checks what
// holds of every such call.
func (t *codecTest) decodes(name string, frame []byte, fn func(frame []byte) error) (err error) {
	in := lend(frame)
	if !t.call(name, []any{frame}, func() { err = fn(in.b) }) {
		return tcproom.ErrMalformed
	}
	if !in.intact() {
		t.add(lawCodecWrites, "%s(%s) wrote to frame, or behind it", name, quote(frame))
	}
	if err != nil && !errors.Is(err, tcproom.ErrMalformed) && !errors.Is(err, tcproom.ErrNoFrame) {
		t.add(lawParseErrors, "%s(%s) returned the error %q", name, quote(frame), err)
	}
	return err
}

// parse parses an event.
func (t *codecTest) parse(frame []byte) (ev tcproom.Event, err error) {
	err = t.decodes("ParseEvent", frame, func(frame []byte) error { return t.c.ParseEvent(frame, &ev) })
	if err != nil {
		return tcproom.Event{}, err
	}
	if ev.Kind < tcproom.Message || ev.Kind > tcproom.Refused {
		t.add(lawParsedKind, "ParseEvent(%s) returned nil and the kind %v", quote(frame), ev.Kind)
	}
	return ev, nil
}

// parseMessage parses a message.
func (t *codecTest) parseMessage(frame []byte) (body []byte, err error) {
	err = t.decodes("ParseMessage", frame, func(frame []byte) (err error) {
		body, err = t.c.ParseMessage(frame)
		return err
	})
	return body, err
}

// said encodes ev and parses that, and reports whether there is anything.
func (t *codecTest) said(ev tcproom.Event) (frame []byte, got tcproom.Event, ok bool) {
	frame, err := t.event(ev)
	if err != nil {
		return nil, got, false
	}
	got, err = t.parse(frame)
	if err != nil {
		if len(ev.Body) > 0 || isBeat(err) || ev.Kind != tcproom.Message && ev.Kind != tcproom.Direct {
			t.add(lawParses, "ParseEvent(%s), of %s, returned the error %q", quote(frame), describe(&ev), err)
		}
		return nil, got, false
	}
	return frame, got, true
}

// testEvents tests that events are encoded and parsed as what they are.
func (t *codecTest) testEvents() {
	for _, ev := range roomEvents() {
		_, err := t.event(ev)
		if err != nil && !errors.Is(err, tcproom.ErrNoFrame) {
			t.add(lawSays, "AppendEvent of %s returned the error %q", describe(&ev), err)
		}
		if err != nil && ev.Kind == tcproom.Message {
			t.add(lawSays, "AppendEvent of %s returned the error %q, so members hear nothing", describe(&ev), err)
		}
		t.testStable(ev)
	}
	for _, kind := range []tcproom.Kind{0, 99, 255} {
		if _, err := t.event(tcproom.Event{Kind: kind, Seq: 1, From: testAda, Time: testTime}); err != nil && !errors.Is(err, tcproom.ErrNoFrame) {
			t.add(lawSays, "AppendEvent of the kind %d, which is none, returned the error %q, want ErrNoFrame", kind, err)
		}
	}
	for _, body := range oddBodies() {
		t.testStable(message(testAda, string(body)))
		t.testStable(message(tcproom.Member{}, string(body)))
		t.testStable(tcproom.Event{Kind: tcproom.Direct, Time: testTime, Body: body})
		t.testStable(tcproom.Event{Kind: tcproom.Goodbye, Time: testTime, Text: string(body)})
	}
}

// testStable tests that what was parsed is encoded as the same.
func (t *codecTest) testStable(ev tcproom.Event) {
	_, once, ok := t.said(ev)
	if !ok {
		return
	}
	frame, err := t.event(once)
	if err != nil {
		t.add(lawStable, "%s is parsed as %s, of which AppendEvent returned the error %q", describe(&ev), describe(&once), err)
		return
	}
	if twice, err := t.parse(frame); err != nil || !sameEvent(&once, &twice) {
		t.add(lawStable, "%s is parsed as %s, and that as %s with the error %v", describe(&ev), describe(&once), describe(&twice), err)
	}
}

// testFields tests that what is carried is right.
func (t *codecTest) testFields() {
	for _, ev := range roomEvents() {
		frame, got, ok := t.said(ev)
		if !ok {
			continue
		}
		if !kindFits(ev.Kind, got.Kind) {
			t.add(lawKind, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
		} else if got.Kind == ev.Kind || ev.Kind == tcproom.Direct {
			if field := wrongField(&ev, &got); field != "" {
				t.add(lawFields, "%s of %s, encoded as %s, is parsed as %s", field, describe(&ev), quote(frame), describe(&got))
			}
		}
	}
}

func kindFits(was, got tcproom.Kind) bool {
	return got == was || got == tcproom.Message || was == tcproom.Refused && got == tcproom.Goodbye
}

// wrongField returns the name of a field that is neither right nor left out.
func wrongField(was, got *tcproom.Event) string {
	gap := func(ev *tcproom.Event) uint64 { return ev.GapTo - ev.GapFrom }
	cutTime := got.Time.Truncate(time.Second).Equal(was.Time.Truncate(time.Second))
	switch {
	case got.Seq != 0 && got.Seq != was.Seq:
		return "Seq"
	case got.From.ID != "" && got.From.ID != was.From.ID, got.From.Name != "" && got.From.Name != was.From.Name:
		return "From"
	case !got.Time.IsZero() && !cutTime:
		return "Time"
	case !bytes.Equal(got.Body, was.Body):
		return "Body"
	case was.Kind == tcproom.Gap && (got.GapFrom != 0 || got.GapTo != 0) && gap(got) != gap(was):
		return "Gap"
	case was.Kind != tcproom.Gap && (got.GapFrom != 0 || got.GapTo != 0):
		return "Gap"
	case got.Code != "" && got.Code != was.Code:
		return "Code"
	case !strings.HasPrefix(was.Text, got.Text):
		return "Text"
	case got.Epoch != "" && got.Epoch != was.Epoch:
		return "Epoch"
	case got.Total != 0 && got.Total != was.Total:
		return "Total"
	case len(got.Members) > len(was.Members) || !slices.Equal(got.Members, was.Members[:len(got.Members)]):
		return "Members"
	}
	return ""
}

// testForging tests bodies that look like something else to this very codec.
func (t *codecTest) testForging() {
	bodies := oddBodies()
	for _, ev := range roomEvents() {
		ev.From.Name = "eve"
		if frame, err := t.event(ev); err == nil && len(frame) < 4<<10 {
			bodies = append(bodies, frame, append([]byte("x\n"), frame...), append([]byte("x\r\n"), frame...), append([]byte("x\x00"), frame...))
		}
	}
	for _, body := range bodies {
		for _, from := range []tcproom.Member{testAda, {}} {
			ev := message(from, string(body))
			frame, got, ok := t.said(ev)
			if ok && (got.Kind != tcproom.Message || got.From.Name != "" && got.From.Name != from.Name || got.From.ID != "" && got.From.ID != from.ID) {
				t.add(lawForge, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
			}
		}
	}
}

// testMessages tests the way towards the room.
func (t *codecTest) testMessages() {
	if _, err := t.messageFrame([]byte("hi")); err != nil {
		t.add(lawMessage, `AppendMessage of "hi" returned the error %q, so members can say nothing`, err)
	}
	for _, body := range slices.Concat(oddBodies(), sizedBodies()) {
		frame, err := t.messageFrame(body)
		if err != nil {
			continue
		}
		got, err := t.parseMessage(frame)
		if errors.Is(err, tcproom.ErrNoFrame) && len(body) == 0 && !isBeat(err) {
			continue
		}
		if err != nil || !bytes.Equal(got, body) {
			t.add(lawMessage, "the body %s, encoded as %s, is parsed as %s with the error %v", quote(body), quote(frame), quote(got), err)
		}
	}
}

// worstBodies are bodies of n bytes that codecs make the most of.
func worstBodies(n int) (bodies [][]byte) {
	for b := range 256 {
		if n <= 100 || b == 0 || b == 0x1b || b == '"' || b == 'a' || b == 0xff {
			bodies = append(bodies, bytes.Repeat([]byte{byte(b)}, n))
		}
	}
	for _, s := range []string{"\u2028", "\u202e", "é", "\U0001f600", "\xff\"", "<&>"} {
		b := bytes.Repeat([]byte(s), n/len(s)+1)
		bodies = append(bodies, b[:n/len(s)*len(s)], b[:n])
	}
	return append(bodies, randomBytes(uint64(n), n))
}

// worstEvents are events that need the most bytes beside a body.
func worstEvents() (events []tcproom.Event) {
	late := time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.FixedZone("", -11*60*60-30*60)).Add(-24 * time.Hour)
	for _, name := range []string{strings.Repeat(`"`, 256), strings.Repeat(`\`, 256), strings.Repeat("n", 256), strings.Repeat("é", 128), strings.Repeat("<", 256)} {
		m := tcproom.Member{ID: testAda.ID, Name: name}
		welcome := tcproom.Event{Kind: tcproom.Welcome, Seq: math.MaxUint64, From: m, Time: late, Epoch: testAda.ID, Total: math.MaxInt}
		for range 256 {
			welcome.Members = append(welcome.Members, m)
		}
		events = append(events, welcome,
			tcproom.Event{Kind: tcproom.Join, Seq: math.MaxUint64, From: m, Time: late},
			tcproom.Event{Kind: tcproom.Message, Seq: math.MaxUint64, From: m, Time: late})
		for _, text := range []string{strings.Repeat("\x00", 10000), strings.Repeat("\xff", 10000), strings.Repeat("\u202e", 10000), strings.Repeat(`"`, 10000), strings.Repeat("\n", 10000), strings.Repeat("a", 1<<17)} {
			events = append(events,
				tcproom.Event{Kind: tcproom.Leave, Seq: math.MaxUint64, From: m, Time: late, Text: text},
				tcproom.Event{Kind: tcproom.Goodbye, Time: late, Text: text},
				tcproom.Event{Kind: tcproom.Refused, Time: late, Code: "refused", Text: text})
		}
	}
	return append(events, tcproom.Event{Kind: tcproom.Gap, GapFrom: 1e19, GapTo: math.MaxUint64})
}

// testMaxFrame tests the bound on frames.
func (t *codecTest) testMaxFrame() {
	worst := worstEvents()
	sizes := []int{0, 1, 2, 3, 4, 10, 100, 1000, 1 << 16}
	for _, size := range append(sizes, 1<<20, 64<<20) {
		toRoom, toMember := 0, 0
		t.call("MaxFrame", []any{size}, func() { toRoom, toMember = t.c.MaxFrame(size) })
		if toRoom < 0 || toMember < 0 {
			t.add(lawMaxFrame, "MaxFrame(%d) returned %d towards the room and %d towards a member", size, toRoom, toMember)
		}
		if size > 1<<16 {
			continue
		}
		if size <= 1 {
			for _, ev := range worst {
				t.testFits("AppendEvent", func() string { return describe(&ev) }, size, toMember, func() ([]byte, error) { return t.c.AppendEvent(nil, &ev) })
			}
		}
		for _, body := range worstBodies(size) {
			t.testFits("AppendMessage", func() string { return quote(body) }, size, toRoom, func() ([]byte, error) { return t.c.AppendMessage(nil, body) })
			ev := message(tcproom.Member{ID: testAda.ID, Name: strings.Repeat(`"`, 256)}, "")
			ev.Seq, ev.Body = math.MaxUint64, body
			t.testFits("AppendEvent", func() string { return describe(&ev) }, size, toMember, func() ([]byte, error) { return t.c.AppendEvent(nil, &ev) })
		}
	}
}

// testFits tests that what fn encodes is no longer than limit.
func (t *codecTest) testFits(name string, arg lazy, size, limit int, fn func() ([]byte, error)) {
	var frame []byte
	var err error
	t.call(name, []any{"", arg}, func() { frame, err = fn() })
	if err == nil && len(frame) > limit {
		t.add(lawMaxFrame, "%s of %s made %d bytes, where MaxFrame(%d) is %d", name, arg, len(frame), size, limit)
	}
}

// frames returns frames of all kinds, in both directions.
func (t *codecTest) frames() (frames [][]byte) {
	for _, ev := range roomEvents() {
		if frame, err := t.event(ev); err == nil {
			frames = append(frames, frame)
		}
	}
	for _, body := range oddBodies()[:40] {
		if frame, err := t.messageFrame(body); err == nil {
			frames = append(frames, frame)
		}
	}
	return frames
}

// testGarbage tests frames that no good peer sends.
func (t *codecTest) testGarbage() {
	frames := t.frames()
	streams := slices.Concat([][]byte{nil}, oddBodies(), garbage(frames), frames)
	for _, frame := range frames {
		for _, cut := range []int{1, len(frame) / 2, len(frame) - 1} {
			if 0 < cut && cut < len(frame) {
				streams = append(streams, frame[:cut], frame[cut:])
			}
		}
	}
	streams = append(streams, bytes.Repeat([]byte("["), 1<<16), bytes.Repeat([]byte(`{"a":`), 1<<14))
	for _, frame := range streams {
		ev, err := t.parse(frame)
		if ev2, err2 := t.parse(frame); (err == nil) != (err2 == nil) || !sameEvent(&ev, &ev2) {
			t.add(lawCodecPure, "ParseEvent(%s) gave %s and the error %v, and called again %s and the error %v", quote(frame), describe(&ev), err, describe(&ev2), err2)
		}
		body, err := t.parseMessage(frame)
		if body2, err2 := t.parseMessage(frame); (err == nil) != (err2 == nil) || !bytes.Equal(body, body2) {
			t.add(lawCodecPure, "ParseMessage(%s) gave %s and the error %v, and called again %s and the error %v", quote(frame), quote(body), err, quote(body2), err2)
		}
		if t.greeter != nil {
			t.decodes("ParseHello", frame, func(frame []byte) error { return t.greeter.ParseHello(frame, new(tcproom.Hello)) })
		}
	}
}

// testParsedStays parses all before it looks at what came out, as a room does.
func (t *codecTest) testParsedStays() {
	var was, events []tcproom.Event
	var wasBodies, bodies [][]byte
	for _, frame := range t.frames() {
		t.call("ParseEvent", []any{frame}, func() {
			var ev tcproom.Event
			if t.c.ParseEvent(bytes.Clone(frame), &ev) == nil {
				events = append(events, ev)
				ev.Body, ev.Members = bytes.Clone(ev.Body), slices.Clone(ev.Members)
				was = append(was, ev)
			}
		})
		t.call("ParseMessage", []any{frame}, func() {
			if body, err := t.c.ParseMessage(bytes.Clone(frame)); err == nil {
				bodies, wasBodies = append(bodies, body), append(wasBodies, bytes.Clone(body))
			}
		})
	}
	for i := range events {
		if !sameEvent(&events[i], &was[i]) {
			t.add(lawParsedStays, "an event that was parsed as %s became %s when the next frames were", describe(&was[i]), describe(&events[i]))
		}
	}
	for i := range bodies {
		if !bytes.Equal(bodies[i], wasBodies[i]) {
			t.add(lawParsedStays, "a body that was parsed as %s became %s when the next frames were", quote(wasBodies[i]), quote(bodies[i]))
		}
	}
}

// testConcurrent does the same on several goroutines. They share no lock
// between the calls, for that would hide data races from the race detector.
func (t *codecTest) testConcurrent() {
	events := roomEvents()
	want := make([][]byte, len(events))
	parsed := make([]tcproom.Event, len(events))
	said := make([]bool, len(events))
	for i, ev := range events {
		want[i], parsed[i], said[i] = t.said(ev)
	}
	concurrently(4, func(g int) {
		t.call("a method, on one of several goroutines,", nil, func() {
			for round := range 20 * len(events) {
				if i := (round + 5*g) % len(events); said[i] {
					t.repeat(events[i], want[i], parsed[i])
				}
				t.repeatMessage(fmt.Appendf(nil, "message %d of %d", round, g))
			}
		})
	})
}

// repeat encodes ev as it was encoded before.
func (t *codecTest) repeat(ev tcproom.Event, want []byte, parsed tcproom.Event) {
	ev.Body, ev.Members = bytes.Clone(ev.Body), slices.Clone(ev.Members)
	frame, err := t.c.AppendEvent(nil, &ev)
	var got tcproom.Event
	if err == nil {
		err = t.c.ParseEvent(frame, &got)
	}
	if err != nil || !bytes.Equal(frame, want) || !sameEvent(&got, &parsed) {
		t.add(lawCodecPure, "%s gives %s on one goroutine, and %s and the error %v on one of several", describe(&ev), quote(want), quote(frame), err)
	}
}

// repeatMessage encodes what is encoded nowhere else.
func (t *codecTest) repeatMessage(body []byte) {
	frame, err := t.c.AppendMessage(nil, body)
	if err != nil {
		return
	}
	if got, err := t.c.ParseMessage(frame); err != nil || !bytes.Equal(got, body) {
		t.add(lawCodecPure, "the body %s is parsed on one of several goroutines as %s with the error %v", quote(body), quote(got), err)
	}
}

// testHello tests what a conn begins with.
func (t *codecTest) testHello() {
	if t.greeter == nil {
		return
	}
	toRoom := 0
	t.call("MaxFrame", []any{0}, func() { toRoom, _ = t.c.MaxFrame(0) })
	for _, name := range []string{"", "ada", "Zoë", `"\'<&>`, strings.Repeat("n", 256), strings.Repeat(`"`, 256), strings.Repeat("é", 128)} {
		frame, err := t.encodes("AppendHello", func() string { return quote(name) }, func(dst []byte) ([]byte, error) {
			h := tcproom.Hello{Name: name}
			out, err := t.greeter.AppendHello(dst, &h)
			if h != (tcproom.Hello{Name: name}) {
				t.add(lawCodecWrites, "AppendHello changed the hello of %s", quote(name))
			}
			return out, err
		})
		if err != nil {
			t.add(lawHello, "AppendHello of the name %s returned the error %q", quote(name), err)
			continue
		}
		if limit := min(toRoom, 3<<10); len(frame) > limit {
			t.add(lawHello, "the hello of a name of %d bytes, %s, has %d bytes, of at most %d", len(name), quote(frame), len(frame), limit)
		}
		var h tcproom.Hello
		err = t.decodes("ParseHello", frame, func(frame []byte) error { return t.greeter.ParseHello(frame, &h) })
		if err != nil || h.Name != name {
			t.add(lawHello, "the hello of the name %s, encoded as %s, is parsed as %s with the error %v", quote(name), quote(frame), quote(h.Name), err)
		}
	}
}

// testWelcome tests the answers to a hello.
func (t *codecTest) testWelcome() {
	if t.greeter == nil {
		return
	}
	for _, ev := range roomEvents() {
		if ev.Kind != tcproom.Welcome && ev.Kind != tcproom.Refused {
			continue
		}
		frame, got, ok := t.said(ev)
		if !ok || got.Kind != ev.Kind || ev.Kind == tcproom.Welcome && got.From != ev.From {
			t.add(lawWelcome, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
		}
	}
}

// isBeat reports whether err means that a frame is a ping or a pong.
func isBeat(err error) bool {
	return errors.Is(err, tcproom.ErrPing) || errors.Is(err, tcproom.ErrPong)
}

// testBeats tests pings and pongs. That nothing else looks like one, the tests
// of events and messages see.
func (t *codecTest) testBeats() {
	if t.pinger == nil {
		return
	}
	t.testBeat("AppendPing", t.pinger.AppendPing, tcproom.ErrPing)
	t.testBeat("AppendPong", t.pinger.AppendPong, tcproom.ErrPong)
}

// testBeat tests what the named method appends, and that it is parsed as want.
func (t *codecTest) testBeat(name string, appendBeat func(dst []byte) []byte, want error) {
	frame, err := t.encodes(name, nil, func(dst []byte) ([]byte, error) { return appendBeat(dst), nil })
	if err != nil {
		return // it panicked
	}
	toRoom, toMember := 0, 0
	t.call("MaxFrame", []any{0}, func() { toRoom, toMember = t.c.MaxFrame(0) })
	if limit := min(toRoom, toMember); len(frame) > limit {
		t.add(lawBeats, "%s appends %s of %d bytes, where MaxFrame(0) is %d", name, quote(frame), len(frame), limit)
	}
	if _, err := t.parse(frame); !errors.Is(err, want) {
		t.add(lawBeats, "%s appends %s, of which ParseEvent returned the error %v, want %q", name, quote(frame), err, want)
	}
	if _, err := t.parseMessage(frame); !errors.Is(err, want) {
		t.add(lawBeats, "%s appends %s, of which ParseMessage returned the error %v, want %q", name, quote(frame), err, want)
	}
	for _, f := range roomFramings {
		if _, err := f.AppendFrame(nil, frame); err != nil && t.fits(f) {
			t.add(lawBeats, "%s appends %s, which %T refuses although it carries events: %q", name, quote(frame), f, err)
		}
	}
}

// roomFramings are the framings with which a codec is tried.
var roomFramings = []tcproom.Framing{tcproom.Lines{}, tcproom.Length{}}

// testRoom tests two members in a room. What has been found already would only
// show there again, by a message that does not come.
func (t *codecTest) testRoom() {
	if t.err() != nil {
		return
	}
	for _, f := range roomFramings {
		if !t.fits(f) {
			continue
		}
		t.call("a room", []any{lazy(func() string { return fmt.Sprintf("%T", f) })}, func() {
			if err := t.converse(f); err != nil {
				t.add(lawRoom, "with the framing %T: %v", f, err)
			}
		})
	}
}

// fits reports whether f carries the frames of plain events: some codecs need
// newlines.
func (t *codecTest) fits(f tcproom.Framing) bool {
	hi, _ := t.messageFrame([]byte("hi"))
	frames := [][]byte{hi}
	for _, ev := range roomEvents() {
		frame, _ := t.event(ev)
		frames = append(frames, frame)
	}
	if t.greeter != nil {
		t.call("AppendHello", []any{"", "ada"}, func() {
			frame, _ := t.greeter.AppendHello(nil, &tcproom.Hello{Name: "ada"})
			frames = append(frames, frame)
		})
	}
	return !slices.ContainsFunc(frames, func(frame []byte) bool {
		_, err := f.AppendFrame(nil, frame)
		return err != nil
	})
}

// converse returns what does not work in a room.
func (t *codecTest) converse(f tcproom.Framing) error {
	const patience = tooLong / 2
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	room := tcproom.New(tcproom.WithFraming(f), tcproom.WithCodec(t.c), tcproom.WithHandshakeTimeout(patience))
	defer func() {
		room.Close()
		<-room.Done()
	}()
	ada, err := room.Join(tcproom.WithName("ada"))
	if err != nil {
		return fmt.Errorf("ada cannot join: %w", err)
	}
	defer ada.Close()
	bob, err := room.Join(tcproom.WithName("bob"))
	if err != nil {
		return fmt.Errorf("bob cannot join: %w", err)
	}
	defer bob.Close()
	const end = "that was all"
	var want []string // bodies as the codec shows them
	for _, body := range append(oddBodies(), []byte(end)) {
		if _, err := room.Broadcast(ctx, body); err != nil {
			continue // refused
		}
		if _, ev, ok := t.said(message(tcproom.Member{}, string(body))); ok {
			want = append(want, string(ev.Body))
		}
	}
	if err := hearAll(ctx, bob, want); err != nil {
		return fmt.Errorf("bob: %w", err)
	}
	if err := ada.Send(ctx, []byte("hi")); err != nil {
		return fmt.Errorf("ada cannot say %q: %w", "hi", err)
	}
	if err := hearAll(ctx, bob, []string{"hi"}); err != nil {
		return fmt.Errorf("bob: what ada says: %w", err)
	}
	return nil
}

// hearAll returns an error unless the next messages to c have these bodies.
func hearAll(ctx context.Context, c *tcproom.Conn, bodies []string) error {
	for i := 0; i < len(bodies); {
		ev, err := c.Receive(ctx)
		if err != nil {
			return fmt.Errorf("%d of %d messages came, then: %w", i, len(bodies), err)
		}
		if ev.Kind != tcproom.Message && i == 0 {
			continue // the welcome, or a join
		}
		if ev.Kind != tcproom.Message || string(ev.Body) != bodies[i] {
			return fmt.Errorf("message %d of %d came as %s, want the body %s", i+1, len(bodies), describe(&ev), quote(bodies[i]))
		}
		i++
	}
	return nil
}

// sameEvent reports whether a and b are the same.
func sameEvent(a, b *tcproom.Event) bool {
	return a.Kind == b.Kind && a.Seq == b.Seq && a.From == b.From && a.Time.Equal(b.Time) && bytes.Equal(a.Body, b.Body) &&
		a.GapFrom == b.GapFrom && a.GapTo == b.GapTo && a.Code == b.Code && a.Text == b.Text &&
		a.Epoch == b.Epoch && slices.Equal(a.Members, b.Members) && a.Total == b.Total
}

// describe returns an event in a line.
func describe(ev *tcproom.Event) string {
	var b strings.Builder
	b.WriteString("a " + ev.Kind.String())
	if ev.Seq != 0 {
		fmt.Fprintf(&b, " seq %d", ev.Seq)
	}
	if ev.From != (tcproom.Member{}) {
		fmt.Fprintf(&b, " from %s", quote(ev.From.Name))
	}
	if ev.From.ID != "" {
		fmt.Fprintf(&b, " (%s)", ev.From.ID[:min(len(ev.From.ID), 3)])
	}
	if ev.Kind == tcproom.Message || ev.Kind == tcproom.Direct || len(ev.Body) > 0 {
		fmt.Fprintf(&b, " body %s", quote(ev.Body))
	}
	if ev.GapFrom != 0 || ev.GapTo != 0 {
		fmt.Fprintf(&b, " of %d to %d", ev.GapFrom, ev.GapTo)
	}
	if ev.Code != "" {
		fmt.Fprintf(&b, " code %s", quote(ev.Code))
	}
	if ev.Text != "" {
		fmt.Fprintf(&b, " text %s", quote(ev.Text))
	}
	if ev.Epoch != "" {
		fmt.Fprintf(&b, " epoch %s", quote(ev.Epoch))
	}
	if len(ev.Members) > 0 || ev.Total > 0 {
		fmt.Fprintf(&b, " with %d of %d members", len(ev.Members), ev.Total)
	}
	if !ev.Time.IsZero() {
		fmt.Fprintf(&b, " at %s", ev.Time.UTC().Format(time.RFC3339Nano))
	}
	return b.String()
}
