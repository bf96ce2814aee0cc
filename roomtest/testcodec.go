package roomtest

import (
	"bytes"
	"cmp"
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
	lawSays         = &law{"says or says not", "AppendEvent says each event that rooms make, and AppendRequest each request, or they return ErrNoFrame; a body may be refused, a plain one is not"}
	lawParses       = &law{"parses what it says", "ParseEvent decodes what AppendEvent encoded"}
	lawKind         = &law{"kind", "an event is parsed as what it was, or as a Message where the codec does not tell them apart; a Refused may become a Goodbye"}
	lawFields       = &law{"fields", "a field is parsed as what it was, or left out; a body of plain ASCII stays as it is, a reason may be cut"}
	lawStable       = &law{"stable", "what a codec has parsed once, it says and parses without further change"}
	lawForge        = &law{"forging", "no body makes a Message look like another event, or like one of somebody else"}
	lawMessage      = &law{"messages", "ParseRequest returns the ReqSay that AppendRequest encoded, its body byte for byte, and its number if the codec has Numbers"}
	lawMaxFrame     = &law{"MaxFrame", "no frame exceeds what MaxFrame returns for the longest body, whatever names, reasons and numbers stand in it; without MaxFrame, six bytes for each of the body and 1 KiB"}
	lawFeatures     = &law{"features", "Features returns the same at each call, Numbers come with a Hello, and what Features has, the codec says"}
	lawParseErrors  = &law{"errors", "an error of a parsing method wraps ErrMalformed or ErrNoFrame"}
	lawParsedKind   = &law{"parsed kind", "where ParseEvent or ParseRequest returns nil, it has set one of the kinds, and a Hello for a ReqHello only"}
	lawParsedStays  = &law{"parsed stays", "what a parsing method returns may alias the frame, and nothing that a later call writes to"}
	lawHello        = &law{"hello", "ParseRequest decodes the ReqHello that AppendRequest encoded, in a frame within MaxFrame and 3 KiB; Ping concerns codecs with Pings only, and Resume and Since codecs with Numbers"}
	lawWelcome      = &law{"welcome", "a codec with Hello says a Welcome, with ID and name of the member that is welcomed, and a Refused, each as that"}
	lawNumbers      = &law{"numbers", "a codec with Numbers says an Ack, a ReqGoodbye, and in a Welcome all that a client needs to resume"}
	lawControl      = &law{"control frames", "what the methods of ControlFrames append is no longer than MaxFrame"}
	lawBeats        = &law{"heartbeats", "a codec with Pings, and without ControlFrames, says Ping, Pong, ReqPing and ReqPong, each as that; none exceeds MaxFrame, and framings that carry plain events carry them"}
	lawRoom         = &law{"in a room", "a room and its members can use the codec: each message that is not refused arrives as one message"}
)

// TestCodec tests that c does what [tcproom.Codec] asks of it, and says all that its
// [tcproom.Features] promise. It returns nil, or all violations joined, each with the
// first input that showed it and the contract's words; errors begin with "roomtest:
// codec" and the type.
//
// Towards the room, a body must arrive byte for byte. Towards a member a codec
// may lose things, as [tcproom.Text] and [tcproom.Raw] do. What is tested then:
//
//   - Each event that a room makes is encoded or is [tcproom.ErrNoFrame], and is
//     parsed as its kind, as a Message, or, a Refused, as a Goodbye. Odd bodies may
//     be refused; "hi" may not.
//   - A field is what it was, or empty. A time may be cut to the second, or in history
//     to the minute, a reason or a list of members at its end; of a Gap the number of
//     events counts. A body of printable ASCII is what it was.
//   - What was parsed is encoded and parsed again without change.
//   - No body forges: one that holds the encoded form of another event is parsed
//     as a Message of its sender.
//   - No frame is longer than MaxFrame of a [tcproom.FrameBounder] returns, or than
//     what any other codec is taken to need, for the worst of bodies, names and reasons.
//   - What Features has is said, and parsed as what it was: a hello with all that the
//     features need, a Welcome and a Refused, numbers and an Ack, a Gap, a ping and a
//     pong in both directions, what the members of a hub ask for and what answers it.
//   - The methods of [tcproom.ControlFrames], if it has them, append to dst, and keep
//     and change nothing. Its pings need not be events and requests.
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
	return t.run(t.testFeatures, t.testEvents, t.testFields, t.testForging, t.testMessages, t.testMaxFrame, t.testGarbage, t.testParsedStays, t.testConcurrent, t.testHello, t.testWelcome, t.testNumbers, t.testBeats, t.testControl, t.testHub, t.testRoom)
}

type codecTest struct {
	findings
	c        tcproom.Codec
	features tcproom.Features // once testFeatures has run
}

var (
	testTime = time.Date(2026, 5, 4, 3, 2, 1, 123456789, time.FixedZone("", 2*60*60))
	testAda  = tcproom.MemberInfo{ID: "ADAADAADAADAADAADAADAADAAD", Name: "ada"}
	testBob  = tcproom.MemberInfo{ID: "BOBBOBBOBBOBBOBBOBBOBBOBBO", Name: "bob"}
)

const (
	testEpoch = "EPOCHEPOCHEPOCHEPOCHEPOCHE"
	testToken = "TOKENTOKENTOKENTOKENTOKENT"
)

func message(from tcproom.MemberInfo, body string) tcproom.Event {
	return tcproom.Event{Kind: tcproom.Message, Seq: 7, From: from, Time: testTime, Body: []byte(body)}
}

// roomEvents are events as rooms make them, of every kind, with a plain body.
func roomEvents() []tcproom.Event {
	dora := tcproom.MemberInfo{ID: "DORADORADORADORADORADORADO", Name: `d"o\r'a<&>`}
	zoe := tcproom.MemberInfo{ID: "ZOEZOEZOEZOEZOEZOEZOEZOEZO", Name: "Zoë"}
	long := tcproom.MemberInfo{ID: testAda.ID, Name: strings.Repeat("n", 256)}
	events := []tcproom.Event{
		message(testAda, "hi"), message(tcproom.MemberInfo{}, "Hello, world."), message(zoe, "x"), message(dora, "x"), message(long, "x"),
		{Kind: tcproom.Message, Seq: math.MaxUint64, From: testAda, Time: testTime.UTC().Truncate(time.Second), Body: []byte("last")},
		{Kind: tcproom.Message, Seq: 6, From: testAda, Time: testTime, Body: []byte("long ago"), History: true},
		{Kind: tcproom.Direct, Time: testTime, Body: []byte("for you alone")}, {Kind: tcproom.Direct, From: testBob, Time: testTime, Body: []byte("of bob, for you alone")},
		{Kind: tcproom.Gap, Gap: tcproom.Span{First: 3, Last: 9}, Skipped: 7}, {Kind: tcproom.Gap, Gap: tcproom.Span{First: 5, Last: 5}, Skipped: 1}, {Kind: tcproom.Gap, Gap: tcproom.Span{First: 1, Last: 2}}, {Kind: tcproom.Gap, Gap: tcproom.Span{First: 1, Last: math.MaxUint64}, Skipped: math.MaxUint64},
		{Kind: tcproom.Goodbye, Time: testTime}, {Kind: tcproom.Goodbye, Time: testTime, End: &tcproom.EndError{Text: "room closed"}},
		{Kind: tcproom.Goodbye, Time: testTime, End: &tcproom.EndError{Cause: tcproom.ErrKicked, Text: "go", Final: true}},
		{Kind: tcproom.Goodbye, Time: testTime, End: &tcproom.EndError{Cause: tcproom.ErrRoomClosed, RetryAfter: 1500 * time.Millisecond}},
		{Kind: tcproom.Refused, Time: testTime, End: &tcproom.EndError{Cause: tcproom.ErrRoomFull, Text: "room is full", RetryAfter: time.Minute}},
		{Kind: tcproom.Refused, Time: testTime, End: &tcproom.EndError{Cause: "a-hook-s-own"}},
		{Kind: tcproom.Refused, Time: testTime, End: &tcproom.EndError{Cause: tcproom.ErrDenied, Text: "no", Final: true}},
		{Kind: tcproom.Welcome, Seq: 4, From: testAda, Time: testTime, Welcome: &tcproom.WelcomeInfo{Epoch: testEpoch, Total: 1, Members: []tcproom.MemberInfo{testAda}}},
		{Kind: tcproom.Welcome, Seq: 12345, From: testBob, Time: testTime, Welcome: &tcproom.WelcomeInfo{Epoch: testEpoch, Total: 1000, Members: []tcproom.MemberInfo{testAda, zoe, dora, long, testBob}}},
		{Kind: tcproom.Welcome, From: testBob, Time: testTime, Welcome: &tcproom.WelcomeInfo{Epoch: testEpoch, Total: 3}},
		{Kind: tcproom.Welcome, Seq: 9, From: testBob, Time: testTime, Number: 17, Welcome: &tcproom.WelcomeInfo{Epoch: testEpoch, Total: 3, Outcome: "resumed", Token: testToken}},
		{Kind: tcproom.Ack, Number: 5, Seq: 8}, {Kind: tcproom.Ack, Number: math.MaxUint64}, {Kind: tcproom.Ping}, {Kind: tcproom.Pong},
	}
	for _, m := range []tcproom.MemberInfo{testAda, zoe, dora, long} {
		events = append(events,
			tcproom.Event{Kind: tcproom.Join, Seq: 2, From: m, Time: testTime},
			tcproom.Event{Kind: tcproom.Leave, Seq: 3, From: m, Time: testTime},
			tcproom.Event{Kind: tcproom.Leave, Seq: 3, From: m, Time: testTime, End: &tcproom.EndError{Text: "kicked"}})
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
		body, mine := lend(ev.Body), clone(&ev)
		mine.Body = nil
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
	if ev.Kind < tcproom.Message || ev.Kind > tcproom.Pong && ev.Kind < tcproom.RoomList || ev.Kind > tcproom.Help {
		t.add(lawParsedKind, "ParseEvent(%s) returned nil and the kind %v", quote(frame), ev.Kind)
	}
	return ev, nil
}

// said encodes ev and parses that, and reports whether there is anything.
func (t *codecTest) said(ev tcproom.Event) (frame []byte, got tcproom.Event, ok bool) {
	frame, err := t.event(ev)
	if err != nil {
		return nil, got, false
	}
	got, err = t.parse(frame)
	if err != nil {
		if len(ev.Body) > 0 || ev.Kind != tcproom.Message && ev.Kind != tcproom.Direct {
			t.add(lawParses, "ParseEvent(%s), of %s, returned the error %q", quote(frame), describe(&ev), err)
		}
		return nil, got, false
	}
	return frame, got, true
}

// testEvents tests that events are encoded and parsed as what they are.
func (t *codecTest) testEvents() {
	for _, ev := range t.events() {
		_, err := t.event(ev)
		if err != nil && !errors.Is(err, tcproom.ErrNoFrame) {
			t.add(lawSays, "AppendEvent of %s returned the error %q", describe(&ev), err)
		}
		if err != nil && ev.Kind == tcproom.Message && !ev.History {
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
		t.testStable(message(tcproom.MemberInfo{}, string(body)))
		t.testStable(tcproom.Event{Kind: tcproom.Direct, Time: testTime, Body: body})
		t.testStable(tcproom.Event{Kind: tcproom.Goodbye, Time: testTime, End: &tcproom.EndError{Text: string(body)}})
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
	for _, ev := range t.events() {
		frame, got, ok := t.said(ev)
		if !ok {
			continue
		}
		if !kindFits(&ev, &got) {
			t.add(lawKind, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
		} else if got.Kind == ev.Kind || ev.Kind == tcproom.Direct {
			if field := cmp.Or(wrongField(&ev, &got), t.wrongInHub(&ev, &got)); field != "" {
				t.add(lawFields, "%s of %s, encoded as %s, is parsed as %s", field, describe(&ev), quote(frame), describe(&got))
			}
		}
	}
}

// kindFits reports whether an event may be parsed as got. What concerns no reader must
// not look like something to read, nor what ends nothing like an end.
func kindFits(was, got *tcproom.Event) bool {
	read := was.Kind != tcproom.Ack && was.Kind != tcproom.Ping && was.Kind != tcproom.Pong
	ends := got.Kind == tcproom.Goodbye && !inOneRoom(got) || got.Kind == tcproom.Refused && !answers(got)
	if ends && (inOneRoom(was) || answers(was)) {
		return false
	}
	return got.Kind == was.Kind || got.Kind == tcproom.Message && read || was.Kind == tcproom.Refused && got.Kind == tcproom.Goodbye
}

// wrongField returns the name of a field that is neither right nor left out.
func wrongField(was, got *tcproom.Event) string {
	exact := time.Second
	if was.History {
		exact = time.Minute
	}
	cutTime := got.Time.Truncate(exact).Equal(was.Time.Truncate(exact))
	switch {
	case got.Seq != 0 && got.Seq != was.Seq:
		return "Seq"
	case got.From.ID != "" && got.From.ID != was.From.ID, got.From.Name != "" && got.From.Name != was.From.Name:
		return "From"
	case !got.Time.IsZero() && !cutTime:
		return "Time"
	case !bytes.Equal(got.Body, was.Body) && was.Kind != tcproom.Help: // which may be the codec's own
		return "Body"
	case got.History && !was.History:
		return "History"
	case got.Number != 0 && got.Number != was.Number:
		return "Number"
	case got.Gap != (tcproom.Span{}) && got.Gap != was.Gap:
		return "Gap"
	case got.Skipped != 0 && got.Skipped != was.Skipped:
		return "Skipped"
	}
	if field := wrongEnd(endOf(was), endOf(got)); field != "" {
		return field
	}
	return wrongWelcome(welcomeOf(was), welcomeOf(got))
}

func wrongEnd(was, got tcproom.EndError) string {
	switch {
	case got.Cause != "" && got.Cause != was.Cause:
		return "Cause"
	case !strings.HasPrefix(was.Text, got.Text):
		return "Text"
	case got.Final && !was.Final:
		return "Final"
	case got.RetryAfter != 0 && got.RetryAfter.Truncate(time.Second) != was.RetryAfter.Truncate(time.Second):
		return "RetryAfter"
	}
	return ""
}

func wrongWelcome(was, got tcproom.WelcomeInfo) string {
	switch {
	case got.Epoch != "" && got.Epoch != was.Epoch:
		return "Epoch"
	case got.Total != 0 && got.Total != was.Total:
		return "Total"
	case len(got.Members) > len(was.Members) || !slices.Equal(got.Members, was.Members[:len(got.Members)]):
		return "Members"
	case got.Outcome != "" && got.Outcome != was.Outcome:
		return "Outcome"
	case got.Token != "" && got.Token != was.Token:
		return "Token"
	}
	return ""
}

// endOf returns a copy of what ev.End points to, or the zero value.
func endOf(ev *tcproom.Event) (end tcproom.EndError) {
	if ev.End != nil {
		end = *ev.End
	}
	return end
}

// welcomeOf returns a copy of what ev.Welcome points to, or the zero value.
func welcomeOf(ev *tcproom.Event) (w tcproom.WelcomeInfo) {
	if ev.Welcome != nil {
		w = *ev.Welcome
	}
	return w
}

// testForging tests bodies that look like something else to this very codec.
func (t *codecTest) testForging() {
	bodies := oddBodies()
	for _, ev := range t.events() {
		ev.From.Name = "eve"
		if frame, err := t.event(ev); err == nil && len(frame) < 4<<10 {
			bodies = append(bodies, frame, append([]byte("x\n"), frame...), append([]byte("x\r\n"), frame...), append([]byte("x\x00"), frame...))
		}
	}
	for _, body := range bodies {
		for _, from := range []tcproom.MemberInfo{testAda, {}} {
			ev := message(from, string(body))
			frame, got, ok := t.said(ev)
			if ok && (got.Kind != tcproom.Message || got.From.Name != "" && got.From.Name != from.Name || got.From.ID != "" && got.From.ID != from.ID) {
				t.add(lawForge, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
			}
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
		m := tcproom.MemberInfo{ID: testAda.ID, Name: name}
		welcome := tcproom.Event{Kind: tcproom.Welcome, Seq: math.MaxUint64, From: m, Time: late, Number: math.MaxUint64,
			Welcome: &tcproom.WelcomeInfo{Epoch: testEpoch, Total: math.MaxInt, Members: slices.Repeat([]tcproom.MemberInfo{m}, 256), Outcome: "expired", Token: testToken}}
		events = append(events, welcome,
			tcproom.Event{Kind: tcproom.Join, Seq: math.MaxUint64, From: m, Time: late},
			tcproom.Event{Kind: tcproom.Message, Seq: math.MaxUint64, From: m, Time: late})
		for _, text := range []string{strings.Repeat("\x00", 10000), strings.Repeat("\xff", 10000), strings.Repeat("\u202e", 10000), strings.Repeat(`"`, 10000), strings.Repeat("\n", 10000), strings.Repeat("a", 1<<17)} {
			events = append(events,
				tcproom.Event{Kind: tcproom.Leave, Seq: math.MaxUint64, From: m, Time: late, End: &tcproom.EndError{Text: text}},
				tcproom.Event{Kind: tcproom.Goodbye, Time: late, End: &tcproom.EndError{Cause: tcproom.Cause(text), Text: text, Final: true, RetryAfter: math.MaxInt64}},
				tcproom.Event{Kind: tcproom.Refused, Time: late, End: &tcproom.EndError{Cause: tcproom.Cause(text), Text: text, Final: true, RetryAfter: math.MaxInt64}})
		}
	}
	return append(events, tcproom.Event{Kind: tcproom.Gap, Gap: tcproom.Span{First: 1e19, Last: math.MaxUint64}, Skipped: math.MaxUint64}, tcproom.Event{Kind: tcproom.Ack, Number: math.MaxUint64, Seq: math.MaxUint64})
}

// testMaxFrame tests the bound on frames.
func (t *codecTest) testMaxFrame() {
	worst := t.worstHubEvents(worstEvents())
	sizes := []int{0, 1, 2, 3, 4, 10, 100, 1000, 1 << 16}
	for _, size := range append(sizes, 1<<20, 64<<20) {
		toRoom, toMember := t.maxFrame(size)
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
			req := &tcproom.Request{Kind: tcproom.ReqSay, Number: t.anyNumber(math.MaxUint64), Body: body}
			t.testFits("AppendRequest", func() string { return describeRequest(req) }, size, toRoom, func() ([]byte, error) { return t.c.AppendRequest(nil, req) })
			ev := message(tcproom.MemberInfo{ID: testAda.ID, Name: strings.Repeat(`"`, 256)}, "")
			ev.Seq, ev.Body, ev.History = math.MaxUint64, body, true
			t.testFits("AppendEvent", func() string { return describe(&ev) }, size, toMember, func() ([]byte, error) { return t.c.AppendEvent(nil, &ev) })
		}
	}
}

// maxFrame returns the bounds of frames with a body of n bytes.
func (t *codecTest) maxFrame(n int) (toRoom, toMember int) {
	b, ok := t.c.(tcproom.FrameBounder)
	if !ok {
		return 6*n + 1<<10, 6*n + 1<<10
	}
	t.call("MaxFrame", []any{n}, func() { toRoom, toMember = b.MaxFrame(n) })
	return toRoom, toMember
}

// testFits tests that what fn encodes is no longer than limit.
func (t *codecTest) testFits(name string, arg lazy, size, limit int, fn func() ([]byte, error)) {
	var frame []byte
	var err error
	t.call(name, []any{"", arg}, func() { frame, err = fn() })
	if err != nil || len(frame) <= limit {
		return
	}
	bound := fmt.Sprintf("MaxFrame(%d) is", size)
	if _, ok := t.c.(tcproom.FrameBounder); !ok {
		bound = fmt.Sprintf("a body of %d bytes in a codec that is no FrameBounder is taken to need", size)
	}
	t.add(lawMaxFrame, "%s of %s made %d bytes, where %s %d", name, arg, len(frame), bound, limit)
}

// frames returns frames of all kinds, in both directions.
func (t *codecTest) frames() (frames [][]byte) {
	for _, ev := range t.events() {
		if frame, err := t.event(ev); err == nil {
			frames = append(frames, frame)
		}
	}
	for _, body := range oddBodies()[:40] {
		if frame, err := t.request(tcproom.Request{Kind: tcproom.ReqSay, Body: body}); err == nil {
			frames = append(frames, frame)
		}
	}
	return append(frames, t.requestFrames()...)
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
		req, err := t.parseRequest(frame)
		if req2, err2 := t.parseRequest(frame); (err == nil) != (err2 == nil) || !sameRequest(&req, &req2) {
			t.add(lawCodecPure, "ParseRequest(%s) gave %s and the error %v, and called again %s and the error %v", quote(frame), describeRequest(&req), err, describeRequest(&req2), err2)
		}
	}
}

// testParsedStays parses all before it looks at what came out, as a room does.
func (t *codecTest) testParsedStays() {
	var was, events []tcproom.Event
	var wasRequests, requests []tcproom.Request
	for _, frame := range t.frames() {
		t.call("ParseEvent", []any{frame}, func() {
			var ev tcproom.Event
			if t.c.ParseEvent(bytes.Clone(frame), &ev) == nil {
				events, was = append(events, ev), append(was, clone(&ev))
			}
		})
		t.call("ParseRequest", []any{frame}, func() {
			var req tcproom.Request
			if t.c.ParseRequest(bytes.Clone(frame), &req) == nil {
				requests, wasRequests = append(requests, req), append(wasRequests, cloneRequest(&req))
			}
		})
	}
	for i := range events {
		if !sameEvent(&events[i], &was[i]) {
			t.add(lawParsedStays, "an event that was parsed as %s became %s when the next frames were", describe(&was[i]), describe(&events[i]))
		}
	}
	for i := range requests {
		if !sameRequest(&requests[i], &wasRequests[i]) {
			t.add(lawParsedStays, "a request that was parsed as %s became %s when the next frames were", describeRequest(&wasRequests[i]), describeRequest(&requests[i]))
		}
	}
}

// testConcurrent does the same on several goroutines. They share no lock
// between the calls, for that would hide data races from the race detector.
func (t *codecTest) testConcurrent() {
	events := t.events()
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
				t.repeatRequest(fmt.Appendf(nil, "message %d of %d", round, g))
			}
		})
	})
}

// repeat encodes ev as it was encoded before.
func (t *codecTest) repeat(ev tcproom.Event, want []byte, parsed tcproom.Event) {
	ev = clone(&ev)
	frame, err := t.c.AppendEvent(nil, &ev)
	var got tcproom.Event
	if err == nil {
		err = t.c.ParseEvent(frame, &got)
	}
	if err != nil || !bytes.Equal(frame, want) || !sameEvent(&got, &parsed) {
		t.add(lawCodecPure, "%s gives %s on one goroutine, and %s and the error %v on one of several", describe(&ev), quote(want), quote(frame), err)
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
	frames := t.requestFrames(tcproom.ReqPing, tcproom.ReqPong)
	for _, ev := range t.events() {
		if ev.Kind == tcproom.Ping || ev.Kind == tcproom.Pong {
			continue // testBeats is about these
		}
		frame, _ := t.event(ev)
		frames = append(frames, frame)
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
	ada, err := room.Join(ctx, tcproom.Identity{Name: "ada"})
	if err != nil {
		return fmt.Errorf("ada cannot join: %w", err)
	}
	defer ada.Close()
	bob, err := room.Join(ctx, tcproom.Identity{Name: "bob"})
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
		if _, ev, ok := t.said(message(tcproom.MemberInfo{}, string(body))); ok {
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
	aEnd, bEnd, aWelcome, bWelcome := endOf(a), endOf(b), welcomeOf(a), welcomeOf(b)
	return a.Kind == b.Kind && a.Seq == b.Seq && a.From == b.From && a.Time.Equal(b.Time) && bytes.Equal(a.Body, b.Body) &&
		a.History == b.History && a.Number == b.Number && a.Gap == b.Gap && a.Skipped == b.Skipped && sameInHub(a, b) &&
		aEnd.Cause == bEnd.Cause && aEnd.Text == bEnd.Text && aEnd.Final == bEnd.Final && aEnd.RetryAfter == bEnd.RetryAfter &&
		aWelcome.Epoch == bWelcome.Epoch && slices.Equal(aWelcome.Members, bWelcome.Members) && aWelcome.Total == bWelcome.Total &&
		aWelcome.Outcome == bWelcome.Outcome && aWelcome.Token == bWelcome.Token
}

// describe returns an event in a line.
func describe(ev *tcproom.Event) string {
	var b strings.Builder
	b.WriteString("a " + ev.Kind.String())
	if ev.Kind == tcproom.Ack {
		b.Reset()
		b.WriteString("an Ack")
	}
	if ev.Room != "" {
		fmt.Fprintf(&b, " in %s", quote(ev.Room))
	}
	if ev.Ref != 0 {
		fmt.Fprintf(&b, " ref %d", ev.Ref)
	}
	if l := ev.List; l != nil {
		fmt.Fprintf(&b, " of %d rooms and %d members of %d", len(l.Rooms), len(l.Members), l.Total)
	}
	if ev.Seq != 0 {
		fmt.Fprintf(&b, " seq %d", ev.Seq)
	}
	if ev.From != (tcproom.MemberInfo{}) {
		fmt.Fprintf(&b, " from %s", quote(ev.From.Name))
	}
	if ev.From.ID != "" {
		fmt.Fprintf(&b, " (%s)", ev.From.ID[:min(len(ev.From.ID), 3)])
	}
	if ev.Kind == tcproom.Message || ev.Kind == tcproom.Direct || len(ev.Body) > 0 {
		fmt.Fprintf(&b, " body %s", quote(ev.Body))
	}
	if ev.History {
		b.WriteString(" of the past")
	}
	if ev.Gap != (tcproom.Span{}) {
		fmt.Fprintf(&b, " of %d to %d", ev.Gap.First, ev.Gap.Last)
	}
	if ev.Skipped != 0 {
		fmt.Fprintf(&b, " of %d events", ev.Skipped)
	}
	if ev.Number != 0 {
		fmt.Fprintf(&b, " number %d", ev.Number)
	}
	describeEnd(&b, endOf(ev))
	describeWelcome(&b, welcomeOf(ev))
	if !ev.Time.IsZero() {
		fmt.Fprintf(&b, " at %s", ev.Time.UTC().Format(time.RFC3339Nano))
	}
	return b.String()
}

func describeEnd(b *strings.Builder, end tcproom.EndError) {
	if end.Cause != "" {
		fmt.Fprintf(b, " cause %s", quote(string(end.Cause)))
	}
	if end.Text != "" {
		fmt.Fprintf(b, " text %s", quote(end.Text))
	}
	if end.Final {
		b.WriteString(" for good")
	}
	if end.RetryAfter != 0 {
		fmt.Fprintf(b, " retry after %v", end.RetryAfter)
	}
}

func describeWelcome(b *strings.Builder, w tcproom.WelcomeInfo) {
	if w.Epoch != "" {
		fmt.Fprintf(b, " epoch %s", quote(w.Epoch))
	}
	if len(w.Members) > 0 || w.Total > 0 {
		fmt.Fprintf(b, " with %d of %d members", len(w.Members), w.Total)
	}
	if w.Outcome != "" {
		fmt.Fprintf(b, " outcome %s", quote(w.Outcome))
	}
	if w.Token != "" { // of a test, and no secret
		fmt.Fprintf(b, " token %s", quote(string(w.Token)))
	}
}
