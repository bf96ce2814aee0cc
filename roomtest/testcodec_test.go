package roomtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A brokenCodec is JSON but for what is set.
type brokenCodec struct {
	appendEvent   func(dst []byte, ev *tcproom.Event) ([]byte, error)
	parseEvent    func(frame []byte, ev *tcproom.Event) error
	appendRequest func(dst []byte, req *tcproom.Request) ([]byte, error)
	parseRequest  func(frame []byte, req *tcproom.Request) error
	maxFrame      func(int) (int, int)
	features      func() tcproom.Features
}

var codecJSON tcproom.JSON

func (c brokenCodec) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if c.appendEvent != nil {
		return c.appendEvent(dst, ev)
	}
	return codecJSON.AppendEvent(dst, ev)
}

func (c brokenCodec) ParseEvent(frame []byte, ev *tcproom.Event) error {
	if c.parseEvent != nil {
		return c.parseEvent(frame, ev)
	}
	return codecJSON.ParseEvent(frame, ev)
}

func (c brokenCodec) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	if c.appendRequest != nil {
		return c.appendRequest(dst, req)
	}
	return codecJSON.AppendRequest(dst, req)
}

func (c brokenCodec) ParseRequest(frame []byte, req *tcproom.Request) error {
	if c.parseRequest != nil {
		return c.parseRequest(frame, req)
	}
	return codecJSON.ParseRequest(frame, req)
}

func (c brokenCodec) MaxFrame(maxBody int) (int, int) {
	if c.maxFrame != nil {
		return c.maxFrame(maxBody)
	}
	return codecJSON.MaxFrame(maxBody)
}

func (c brokenCodec) Features() tcproom.Features {
	if c.features != nil {
		return c.features()
	}
	return codecJSON.Features()
}

// An unboundedCodec has no MaxFrame.
type unboundedCodec struct{ tcproom.Codec }

// appends is a brokenCodec that changes a copy of each event of kind first.
func appends(kind tcproom.Kind, change func(ev *tcproom.Event)) brokenCodec {
	return brokenCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
		if ev.Kind == kind {
			changed := *ev
			change(&changed)
			ev = &changed
		}
		return codecJSON.AppendEvent(dst, ev)
	}}
}

// parses is a brokenCodec that changes each event of kind that it has parsed.
func parses(kind tcproom.Kind, change func(ev *tcproom.Event) error) brokenCodec {
	return brokenCodec{parseEvent: func(frame []byte, ev *tcproom.Event) error {
		err := codecJSON.ParseEvent(frame, ev)
		if err == nil && ev.Kind == kind {
			err = change(ev)
		}
		return err
	}}
}

// asks is a brokenCodec that encodes requests of kind with fn.
func asks(kind tcproom.RequestKind, fn func(dst []byte, req *tcproom.Request) ([]byte, error)) brokenCodec {
	return brokenCodec{appendRequest: func(dst []byte, req *tcproom.Request) ([]byte, error) {
		if req.Kind == kind {
			return fn(dst, req)
		}
		return codecJSON.AppendRequest(dst, req)
	}}
}

// hears is a brokenCodec that changes each request of kind that it has parsed.
func hears(kind tcproom.RequestKind, change func(req *tcproom.Request) error) brokenCodec {
	return brokenCodec{parseRequest: func(frame []byte, req *tcproom.Request) error {
		err := codecJSON.ParseRequest(frame, req)
		if err == nil && req.Kind == kind {
			err = change(req)
		}
		return err
	}}
}

// A codecViolation is a codec that breaks a rule of TestCodec.
type codecViolation struct {
	name string
	c    tcproom.Codec
	law  string
	want string // of what shows it
	racy bool   // the race detector reports it first
}

// requireCodecViolations checks that TestCodec finds each violation. With the race
// detector it checks a sample: some are data races, and the others are slow.
func requireCodecViolations(t *testing.T, violations []codecViolation) {
	t.Helper()
	for i, tt := range violations {
		t.Run(tt.name, func(t *testing.T) {
			if raceEnabled && (tt.racy || i%24 != 0) {
				t.Skip("a data race of the codec's, or slow and without any")
			}
			requireLaw(t, roomtest.TestCodec(tt.c), fmt.Sprintf("codec %T", tt.c), tt.law, tt.want)
		})
	}
}

func TestCodecViolationsOfCalls(t *testing.T) {
	var calls atomic.Int64
	requireCodecViolations(t, []codecViolation{
		{name: "panics on an empty frame", law: "no panic", want: `ParseEvent("") panicked: runtime error: index out of range`, c: brokenCodec{parseEvent: func(frame []byte, ev *tcproom.Event) error {
			_ = frame[0]
			return codecJSON.ParseEvent(frame, ev)
		}}},
		{name: "Goexit for a Gap", law: "returns", want: "called runtime.Goexit", c: appends(tcproom.Gap, func(*tcproom.Event) { runtime.Goexit() })},
		{name: "ignores dst", law: "appends", want: "AppendRequest", c: asks(tcproom.ReqSay, func(_ []byte, req *tcproom.Request) ([]byte, error) {
			return codecJSON.AppendRequest(nil, req)
		})},
		{name: "writes to dst", law: "appends", want: "changed what dst holds", c: asks(tcproom.ReqSay, func(dst []byte, req *tcproom.Request) ([]byte, error) {
			if len(dst) > 0 {
				dst[0] = 'x'
			}
			return codecJSON.AppendRequest(dst, req)
		})},
		{name: "message is body", law: "keeps nothing", want: "changed when the body did", c: rawCodec{appendRequest: func(dst []byte, req *tcproom.Request) ([]byte, error) {
			if req.Kind == tcproom.ReqSay && len(dst) == 0 {
				return req.Body, nil
			}
			return tcproom.Raw{}.AppendRequest(dst, req)
		}}},
		{name: "event is body", law: "keeps nothing", want: "changed when the body did", c: rawCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			if ev.Kind == tcproom.Message && len(dst) == 0 {
				return ev.Body, nil
			}
			return tcproom.Raw{}.AppendEvent(dst, ev)
		}}},
		{name: "changes the event", law: "writes to no argument", want: "AppendEvent", c: brokenCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			ev.Seq++
			return codecJSON.AppendEvent(dst, ev)
		}}},
		{name: "changes the members", law: "writes to no argument", want: "AppendEvent", c: appends(tcproom.Welcome, func(ev *tcproom.Event) {
			for i := range ev.Welcome.Members {
				ev.Welcome.Members[i].Name = "x"
			}
		})},
		{name: "changes the reason", law: "writes to no argument", want: "AppendEvent", c: appends(tcproom.Goodbye, func(ev *tcproom.Event) {
			if ev.End != nil {
				ev.End.Text = ""
			}
		})},
		{name: "appends to body", law: "writes to no argument", want: "or what lies behind its body", c: asks(tcproom.ReqSay, func(dst []byte, req *tcproom.Request) ([]byte, error) {
			_ = append(req.Body, '!')
			return codecJSON.AppendRequest(dst, req)
		})},
		{name: "changes the hello", law: "writes to no argument", want: "AppendRequest", c: asks(tcproom.ReqHello, func(dst []byte, req *tcproom.Request) ([]byte, error) {
			dst, err := codecJSON.AppendRequest(dst, req)
			req.Hello.Auth = ""
			return dst, err
		})},
		{name: "unescapes in place", law: "writes to no argument", want: "ParseRequest", c: rawCodec{parseRequest: func(frame []byte, req *tcproom.Request) error {
			for i := range frame {
				frame[i] ^= 1
			}
			return tcproom.Raw{}.ParseRequest(frame, req)
		}}},
		{name: "counts", law: "pure", want: "AppendRequest", c: asks(tcproom.ReqSay, func(dst []byte, req *tcproom.Request) ([]byte, error) {
			return codecJSON.AppendRequest(dst, &tcproom.Request{Kind: tcproom.ReqSay, Body: fmt.Append(req.Body, calls.Add(1))})
		})},
		{name: "parses every other", law: "pure", want: "called again", c: brokenCodec{parseRequest: func(frame []byte, req *tcproom.Request) error {
			if calls.Add(1)%2 == 0 {
				return tcproom.ErrNoFrame
			}
			return codecJSON.ParseRequest(frame, req)
		}}},
	})
}

func TestCodecViolationsOfEvents(t *testing.T) {
	requireCodecViolations(t, []codecViolation{
		{name: "an error for a Gap", law: "says or says not", want: `a Gap of 3 to 9 of 7 events returned the error "no gaps"`, c: brokenCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			if ev.Kind == tcproom.Gap {
				return dst, errors.New("no gaps")
			}
			return codecJSON.AppendEvent(dst, ev)
		}}},
		{name: "an error for no kind", law: "says or says not", want: "the kind 0, which is none", c: brokenCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			if ev.Kind == 0 {
				return dst, errors.New("what is that")
			}
			return codecJSON.AppendEvent(dst, ev)
		}}},
		{name: "no messages", law: "says or says not", want: "members hear nothing", c: rawCodec{appendEvent: func(dst []byte, _ *tcproom.Event) ([]byte, error) { return dst, tcproom.ErrNoFrame }}},
		{name: "does not parse a Leave", law: "parses what it says", want: "a Leave", c: parses(tcproom.Leave, func(*tcproom.Event) error { return tcproom.ErrMalformed })},
		{name: "a Leave is a Join", law: "kind", want: "a Leave", c: parses(tcproom.Leave, func(ev *tcproom.Event) error { ev.Kind = tcproom.Join; return nil })},
		{name: "wrong seq", law: "fields", want: "Seq of a Message", c: parses(tcproom.Message, func(ev *tcproom.Event) error { ev.Seq--; return nil })},
		{name: "wrong name", law: "fields", want: "From of a Join", c: parses(tcproom.Join, func(ev *tcproom.Event) error { ev.From.Name = "x"; return nil })},
		{name: "wrong time zone", law: "fields", want: "Time of a Message", c: appends(tcproom.Message, func(ev *tcproom.Event) { ev.Time = ev.Time.Add(7200e9) })},
		{name: "wrong body", law: "fields", want: "Body of a Message", c: appends(tcproom.Message, func(ev *tcproom.Event) { ev.Body = bytes.ToUpper(ev.Body) })},
		{name: "wrong count of a gap", law: "fields", want: "Skipped of a Gap of 3 to 9", c: parses(tcproom.Gap, func(ev *tcproom.Event) error { ev.Skipped--; return nil })},
		{name: "wrong gap", law: "fields", want: "Gap of a Gap of 3 to 9", c: parses(tcproom.Gap, func(ev *tcproom.Event) error { ev.Gap.Last++; return nil })},
		{name: "wrong cause", law: "fields", want: "Cause of a Refused", c: parses(tcproom.Refused, func(ev *tcproom.Event) error { ev.End.Cause = "x"; return nil })},
		{name: "wrong reason", law: "fields", want: "Text of a Goodbye", c: parses(tcproom.Goodbye, func(ev *tcproom.Event) error { ev.End.Text += "!"; return nil })},
		{name: "always for good", law: "fields", want: "Final of a Goodbye", c: parses(tcproom.Goodbye, func(ev *tcproom.Event) error { ev.End.Final = true; return nil })},
		{name: "wrong wait", law: "fields", want: "RetryAfter of a Goodbye", c: parses(tcproom.Goodbye, func(ev *tcproom.Event) error { ev.End.RetryAfter *= 1000; return nil })},
		{name: "all is history", law: "fields", want: "History of a Message", c: parses(tcproom.Message, func(ev *tcproom.Event) error { ev.History = true; return nil })},
		{name: "wrong outcome", law: "fields", want: "Outcome of a Welcome", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error { ev.Welcome.Outcome = "joined"; return nil })},
		{name: "an Ack is a Message", law: "kind", want: "an Ack", c: parses(tcproom.Ack, func(ev *tcproom.Event) error { ev.Kind = tcproom.Message; return nil })},
		{name: "wrong epoch", law: "fields", want: "Epoch of a Welcome", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error { ev.Welcome.Epoch = "x"; return nil })},
		{name: "wrong total", law: "fields", want: "Total of a Welcome", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error { ev.Welcome.Total++; return nil })},
		{name: "wrong members", law: "fields", want: "Members of a Welcome", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error { ev.Welcome.Members = append(ev.Welcome.Members, ev.From); return nil })},
		{name: "escapes and does not unescape", law: "stable", want: `a Message`, c: appends(tcproom.Message, func(ev *tcproom.Event) { ev.Body = []byte(html.EscapeString(string(ev.Body))) })},
		{name: "says what it cannot parse twice", law: "stable", want: `returned the error`, c: parses(tcproom.Gap, func(ev *tcproom.Event) error { ev.Gap.First, ev.Gap.Last = 0, 0; return nil })},
		{name: "a body can forge a notice", law: "forging", want: `body "* eve joined"`, c: rawCodec{parseEvent: func(frame []byte, ev *tcproom.Event) error { return tcproom.Text{}.ParseEvent(frame, ev) }}},
		{name: "no kind", law: "parsed kind", want: "the kind Kind(0)", c: brokenCodec{parseEvent: func(frame []byte, ev *tcproom.Event) error {
			if err := codecJSON.ParseEvent(frame, ev); !errors.Is(err, tcproom.ErrNoFrame) {
				return err
			}
			return nil
		}}},
		{name: "an empty event is a pong", law: "forging", want: `body ""`, c: parses(tcproom.Message, func(ev *tcproom.Event) error {
			if len(ev.Body) == 0 {
				ev.Kind = tcproom.Pong
			}
			return nil
		})},
		{name: "only some fractions of a second", law: "in a room", want: "0 of ", c: parses(tcproom.Message, func(ev *tcproom.Event) error {
			if ns := ev.Time.Nanosecond(); ns != 0 && ns != 123456789 {
				return tcproom.ErrMalformed
			}
			return nil
		})},
		{name: "welcomes nobody of a new room", law: "in a room", want: "ada cannot join", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error {
			if epoch := ev.Welcome.Epoch; len(epoch) > 0 && epoch[:3] != "EPO" {
				return tcproom.ErrMalformed
			}
			return nil
		})},
	})
}

func TestCodecViolationsOfMessages(t *testing.T) {
	var shared [1 << 17]byte
	requireCodecViolations(t, []codecViolation{
		{name: "trims", law: "messages", want: `is parsed as a ReqSay body ""`, c: hears(tcproom.ReqSay, func(req *tcproom.Request) error {
			req.Body = bytes.TrimSpace(req.Body)
			return nil
		})},
		{name: "takes no message", law: "messages", want: "members can send nothing", c: asks(tcproom.ReqSay, func(dst []byte, _ *tcproom.Request) ([]byte, error) {
			return dst, errors.New("no")
		})},
		{name: "an error for no kind", law: "says or says not", want: "AppendRequest of the kind 0", c: asks(0, func(dst []byte, _ *tcproom.Request) ([]byte, error) {
			return dst, errors.New("what is that")
		})},
		{name: "small numbers", law: "messages", want: "a ReqSay number 9007199254740993", c: hears(tcproom.ReqSay, func(req *tcproom.Request) error {
			req.Number = uint64(float64(req.Number))
			return nil
		})},
		{name: "MaxFrame without escapes", law: "MaxFrame", want: "AppendRequest of a ReqSay", c: brokenCodec{maxFrame: func(n int) (int, int) { return n + 1<<10, n + 1<<20 }}},
		{name: "MaxFrame without names and reasons", law: "MaxFrame", want: "AppendEvent of a Welcome", c: brokenCodec{maxFrame: func(n int) (int, int) { return 6*n + 1<<10, 6*n + 1<<10 }}},
		{name: "MaxFrame overflows", law: "MaxFrame", want: "MaxFrame(67108864) returned -", c: brokenCodec{maxFrame: func(n int) (int, int) { return int(int32(n*40)) + 1<<10, 1 << 30 }}},
		{name: "no MaxFrame", law: "MaxFrame", want: "in a codec that is no FrameBounder is taken to need 1024", c: unboundedCodec{codecJSON}},
		{name: "another error", law: "errors", want: `the error "what"`, c: brokenCodec{parseRequest: func(frame []byte, req *tcproom.Request) error {
			err := codecJSON.ParseRequest(frame, req)
			if errors.Is(err, tcproom.ErrMalformed) {
				err = errors.New("what")
			}
			return err
		}}},
		{name: "one buffer for all bodies", law: "parsed stays", want: "a request that was parsed", racy: true, c: hears(tcproom.ReqSay, func(req *tcproom.Request) error {
			req.Body = shared[:copy(shared[:], req.Body)]
			return nil
		})},
		{name: "one buffer for all events", law: "parsed stays", want: "an event that was parsed", racy: true, c: parses(tcproom.Message, func(ev *tcproom.Event) error {
			ev.Body = shared[:copy(shared[:], ev.Body)]
			return nil
		})},
		{name: "an empty message is a ping", law: "messages", want: `a ReqSay body ""`, c: hears(tcproom.ReqSay, func(req *tcproom.Request) error {
			if len(req.Body) == 0 {
				req.Kind = tcproom.ReqPing
			}
			return nil
		})},
		{name: "no kind of request", law: "parsed kind", want: "the kind RequestKind(0)", c: brokenCodec{parseRequest: func(frame []byte, req *tcproom.Request) error {
			if err := codecJSON.ParseRequest(frame, req); !errors.Is(err, tcproom.ErrNoFrame) {
				return err
			}
			return nil
		}}},
		{name: "every message has a hello", law: "parsed kind", want: "the kind ReqSay and the Hello", c: hears(tcproom.ReqSay, func(req *tcproom.Request) error {
			req.Hello = new(tcproom.Hello)
			return nil
		})},
	})
}

// plain is JSON without a hello and what needs one.
var plain = brokenCodec{features: func() tcproom.Features { return tcproom.Features{} }}

func TestCodecViolationsOfFeatures(t *testing.T) {
	var calls atomic.Int64
	requireCodecViolations(t, []codecViolation{
		{name: "other features each time", law: "features", want: "and called again", c: brokenCodec{features: func() tcproom.Features {
			return tcproom.Features{Pings: calls.Add(1)%2 == 0}
		}}},
		{name: "numbers without a hello", law: "features", want: "Numbers without Hello", c: brokenCodec{features: func() tcproom.Features {
			return tcproom.Features{Numbers: true}
		}}},
		{name: "no gaps", law: "features", want: "although Features has Gaps", c: rawCodec{features: tcproom.Features{Gaps: true}}},
		{name: "no pings", law: "heartbeats", want: "a Ping, encoded as", c: rawCodec{features: tcproom.Features{Pings: true}}},
		{name: "no hello", law: "hello", want: "AppendRequest of a ReqHello", c: rawCodec{features: tcproom.Features{Hello: true}}},
		{name: "panics", law: "no panic", want: "Features panicked", c: brokenCodec{features: func() tcproom.Features { panic("not there yet") }}},
	})
}

func TestCodecViolationsOfHellos(t *testing.T) {
	requireCodecViolations(t, []codecViolation{
		{name: "no name in the hello", law: "hello", want: `name "ada"`, c: hears(tcproom.ReqHello, func(req *tcproom.Request) error { req.Hello.Name = ""; return nil })},
		{name: "no secret in the hello", law: "hello", want: "auth", c: hears(tcproom.ReqHello, func(req *tcproom.Request) error { req.Hello.Auth = ""; return nil })},
		{name: "no ping in the hello", law: "hello", want: "ping", c: hears(tcproom.ReqHello, func(req *tcproom.Request) error { req.Hello.Ping = false; return nil })},
		{name: "no since in the hello", law: "hello", want: "since", c: hears(tcproom.ReqHello, func(req *tcproom.Request) error { req.Hello.Since = nil; return nil })},
		{name: "no resume in the hello", law: "hello", want: "resume", c: hears(tcproom.ReqHello, func(req *tcproom.Request) error { req.Hello.Resume = nil; return nil })},
		{name: "no history is all of it", law: "hello", want: "history -1", c: hears(tcproom.ReqHello, func(req *tcproom.Request) error { req.Hello.History = max(req.Hello.History, 0); return nil })},
		{name: "long hello", law: "hello", want: "of at most", c: asks(tcproom.ReqHello, func(dst []byte, req *tcproom.Request) ([]byte, error) {
			dst, err := codecJSON.AppendRequest(dst, req)
			return append(dst, strings.Repeat(" ", 5000)...), err
		})},
		{name: "no Refused", law: "welcome", want: "a Refused", c: brokenCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			if ev.Kind == tcproom.Refused {
				return dst, tcproom.ErrNoFrame
			}
			return codecJSON.AppendEvent(dst, ev)
		}}},
		{name: "no Welcome", law: "welcome", want: "is parsed as a Goodbye", c: appends(tcproom.Welcome, func(ev *tcproom.Event) { ev.Kind = tcproom.Goodbye })},
		{name: "no token", law: "numbers", want: "a Welcome", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error { ev.Welcome.Token = ""; return nil })},
		{name: "no last number", law: "numbers", want: "a Welcome", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error { ev.Number = 0; return nil })},
		{name: "no seq", law: "numbers", want: "a Message", c: parses(tcproom.Message, func(ev *tcproom.Event) error { ev.Seq = 0; return nil })},
		{name: "an Ack of nothing", law: "numbers", want: "an Ack", c: parses(tcproom.Ack, func(ev *tcproom.Event) error { ev.Number = 0; return nil })},
		{name: "no goodbye", law: "numbers", want: "a ReqGoodbye", c: asks(tcproom.ReqGoodbye, func(dst []byte, _ *tcproom.Request) ([]byte, error) {
			return dst, tcproom.ErrNoFrame
		})},
	})
}

func TestCodecViolationsOfBeats(t *testing.T) {
	var calls atomic.Int64
	requireCodecViolations(t, []codecViolation{
		{name: "ping without dst", law: "appends", want: `AppendRequest("before", a ReqPing) returned`, c: asks(tcproom.ReqPing, func(_ []byte, req *tcproom.Request) ([]byte, error) {
			return codecJSON.AppendRequest(nil, req)
		})},
		{name: "pong writes to dst", law: "appends", want: "a ReqPong) changed what dst holds", c: asks(tcproom.ReqPong, func(dst []byte, req *tcproom.Request) ([]byte, error) {
			clear(dst)
			return codecJSON.AppendRequest(dst, req)
		})},
		{name: "counts pings", law: "pure", want: "a ReqPing)", c: asks(tcproom.ReqPing, func(dst []byte, req *tcproom.Request) ([]byte, error) {
			dst, err := codecJSON.AppendRequest(dst, req)
			return append(dst, strings.Repeat(" ", int(calls.Add(1)%7))...), err
		})},
		{name: "no ping", law: "no panic", want: `AppendRequest("", a ReqPing) panicked`, c: asks(tcproom.ReqPing, func([]byte, *tcproom.Request) ([]byte, error) { panic("not there yet") })},
		{name: "the room answers with a ping", law: "heartbeats", want: "a Pong, encoded as", c: appends(tcproom.Pong, func(ev *tcproom.Event) { ev.Kind = tcproom.Ping })},
		{name: "answers with a ping", law: "heartbeats", want: "is parsed as a ReqPing", c: asks(tcproom.ReqPong, func(dst []byte, _ *tcproom.Request) ([]byte, error) {
			return codecJSON.AppendRequest(dst, &tcproom.Request{Kind: tcproom.ReqPing})
		})},
		{name: "no ping for ParseRequest", law: "heartbeats", want: "a ReqPing, encoded as", c: hears(tcproom.ReqPing, func(*tcproom.Request) error { return tcproom.ErrNoFrame })},
		{name: "no ping for ParseEvent", law: "heartbeats", want: "a Ping, encoded as", c: parses(tcproom.Ping, func(*tcproom.Event) error { return tcproom.ErrNoFrame })},
		{name: "a ping of two lines", law: "heartbeats", want: "which tcproom.Lines refuses", c: asks(tcproom.ReqPing, func(dst []byte, req *tcproom.Request) ([]byte, error) {
			dst, err := codecJSON.AppendRequest(dst, req)
			return append(dst, '\n'), err
		})},
		{name: "long pong", law: "heartbeats", want: "where MaxFrame(0) is", c: asks(tcproom.ReqPong, func(dst []byte, req *tcproom.Request) ([]byte, error) {
			dst, err := codecJSON.AppendRequest(dst, req)
			return append(dst, strings.Repeat(" ", 1<<20)...), err
		})},
	})
}

// A textCodec is Text with commands but for what is set.
type textCodec struct {
	tcproom.Text
	appendEvent   func(dst []byte, ev *tcproom.Event) ([]byte, error)
	parseRequest  func(frame []byte, req *tcproom.Request) error
	appendRequest func(dst []byte, req *tcproom.Request) ([]byte, error)
}

func (c textCodec) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if c.appendEvent != nil {
		return c.appendEvent(dst, ev)
	}
	return c.Text.AppendEvent(dst, ev)
}

func (c textCodec) ParseRequest(frame []byte, req *tcproom.Request) error {
	if c.parseRequest != nil {
		return c.parseRequest(frame, req)
	}
	return c.Text.ParseRequest(frame, req)
}

func (c textCodec) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	if c.appendRequest != nil {
		return c.appendRequest(dst, req)
	}
	return c.Text.AppendRequest(dst, req)
}

func TestCodecViolationsOfHubs(t *testing.T) {
	commands := tcproom.Text{Commands: true}
	requireCodecViolations(t, []codecViolation{
		{name: "rooms without requests", law: "features", want: "Rooms without Requests", c: brokenCodec{features: func() tcproom.Features {
			return tcproom.Features{Hello: true, Rooms: true}
		}}},
		{name: "no requests", law: "requests", want: "a ReqMove to \"attic\" ref 8", c: rawCodec{features: tcproom.Features{Requests: true}}},
		{name: "no room in a message", law: "rooms", want: `a Message in "*"`, c: parses(tcproom.Message, func(ev *tcproom.Event) error { ev.Room = ""; return nil })},
		{name: "a refused of no message", law: "rooms", want: `a Refused in "kitchen" number 4`, c: parses(tcproom.Refused, func(ev *tcproom.Event) error { ev.Number = 0; return nil })},
		{name: "no ref in a goodbye", law: "rooms", want: `a Goodbye in "lobby" ref 8`, c: parses(tcproom.Goodbye, func(ev *tcproom.Event) error { ev.Ref = 0; return nil })},
		{name: "no room in a goodbye", law: "kind", want: `a Goodbye in "lobby" ref 8`, c: parses(tcproom.Goodbye, func(ev *tcproom.Event) error { ev.Room = ""; return nil })},
		{name: "another room", law: "fields", want: `Room of a Message in "*"`, c: parses(tcproom.Message, func(ev *tcproom.Event) error {
			if ev.Room != "" {
				ev.Room = "attic"
			}
			return nil
		})},
		{name: "the refusal of a request ends the connection", law: "kind", want: `a Refused in "vip" ref 14`, c: parses(tcproom.Refused, func(ev *tcproom.Event) error { ev.Room, ev.Ref = "", 0; return nil })},
		{name: "the refusal of a command is a goodbye", law: "kind", want: `a Refused in "vip"`, c: textCodec{Text: commands, appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			if ev.Kind == tcproom.Refused {
				ev = &tcproom.Event{Kind: tcproom.Goodbye, End: ev.End}
			}
			return commands.AppendEvent(dst, ev)
		}}},
		{name: "loses a room of a list", law: "requests", want: "a RoomList", c: parses(tcproom.RoomList, func(*tcproom.Event) error { return tcproom.ErrNoFrame })},
		{name: "another total", law: "fields", want: "Total of a Roster", c: parses(tcproom.Roster, func(ev *tcproom.Event) error { ev.List.Total++; return nil })},
		{name: "another room in a list", law: "fields", want: "Rooms of a RoomList", c: parses(tcproom.RoomList, func(ev *tcproom.Event) error {
			ev.List.Rooms = append(ev.List.Rooms, tcproom.RoomInfo{Name: "more"})
			return nil
		})},
		{name: "long lists", law: "MaxFrame", want: "a RoomList", c: appends(tcproom.RoomList, func(ev *tcproom.Event) {
			ev.Kind, ev.Body = tcproom.Message, bytes.Repeat([]byte("long "), 1<<16)
		})},
		{name: "moves nowhere", law: "requests", want: "a ReqMove", c: hears(tcproom.ReqMove, func(req *tcproom.Request) error { req.To = ""; return nil })},
		{name: "a message for any room", law: "rooms", want: `a ReqSay number 3 body "hi" room "kitchen"`, c: hears(tcproom.ReqSay, func(req *tcproom.Request) error { req.Room = ""; return nil })},
		{name: "tells without words", law: "requests", want: "a ReqTell", c: textCodec{Text: commands, parseRequest: func(frame []byte, req *tcproom.Request) error {
			err := commands.ParseRequest(frame, req)
			if req.Kind == tcproom.ReqTell {
				req.Body = nil
			}
			return err
		}}},
		{name: "says commands", law: "messages", want: `a ReqSay body "/`, c: textCodec{Text: commands, appendRequest: func(dst []byte, req *tcproom.Request) ([]byte, error) {
			if req.Kind == tcproom.ReqSay {
				return append(dst, req.Body...), nil
			}
			return commands.AppendRequest(dst, req)
		}}},
		{name: "no rooms in the hello", law: "hello", want: `rooms ["lobby" "kitchen"]`, c: hears(tcproom.ReqHello, func(req *tcproom.Request) error { req.Hello.Rooms = nil; return nil })},
		{name: "rooms in each hello", law: "hello", want: `is parsed as a ReqHello name "" rooms []`, c: hears(tcproom.ReqHello, func(req *tcproom.Request) error { req.Hello.Rooms = append([]string{}, req.Hello.Rooms...); return nil })},
		{name: "no positions of rooms", law: "hello", want: "resume", c: hears(tcproom.ReqHello, func(req *tcproom.Request) error {
			if req.Hello.Resume != nil {
				req.Hello.Resume.Rooms = nil
			}
			return nil
		})},
	})
}

// A controlCodec is JSON with control frames.
type controlCodec struct {
	brokenCodec
	ping   func(dst []byte) []byte
	answer func(dst, frame []byte) []byte
	end    func(dst []byte, cause tcproom.Cause, err error) []byte
}

func (c controlCodec) AppendPing(dst []byte) []byte {
	if c.ping != nil {
		return c.ping(dst)
	}
	return append(dst, "ping"...)
}

func (c controlCodec) AppendAnswer(dst, frame []byte) []byte {
	if c.answer != nil {
		return c.answer(dst, frame)
	}
	return append(append(dst, "to "...), frame...)
}

func (c controlCodec) AppendEnd(dst []byte, cause tcproom.Cause, err error) []byte {
	if c.end != nil {
		return c.end(dst, cause, err)
	}
	return append(dst, cause...)
}

func TestCodecWithControlFrames(t *testing.T) {
	require.NoError(t, roomtest.TestCodec(controlCodec{}))
	noPings := controlCodec{brokenCodec: asks(tcproom.ReqPing, func(dst []byte, _ *tcproom.Request) ([]byte, error) { return dst, tcproom.ErrNoFrame })}
	require.NoError(t, roomtest.TestCodec(noPings), "its pings are no requests")
}

func TestCodecViolationsOfControlFrames(t *testing.T) {
	var calls atomic.Int64
	requireCodecViolations(t, []codecViolation{
		{name: "no dst", law: "appends", want: `AppendPing("before") returned`, c: controlCodec{ping: func([]byte) []byte { return []byte("ping") }}},
		{name: "writes to the frame", law: "writes to no argument", want: "AppendAnswer", c: controlCodec{answer: func(dst, frame []byte) []byte {
			frame[0] = 'x'
			return append(dst, frame...)
		}}},
		{name: "returns the frame", law: "keeps nothing", want: "AppendAnswer", c: controlCodec{answer: func(dst, frame []byte) []byte {
			if len(dst) == 0 {
				return frame
			}
			return append(dst, frame...)
		}}},
		{name: "counts", law: "pure", want: "AppendEnd", c: controlCodec{end: func(dst []byte, _ tcproom.Cause, _ error) []byte {
			return append(dst, byte(calls.Add(1)))
		}}},
		{name: "panics", law: "no panic", want: "AppendEnd", c: controlCodec{end: func([]byte, tcproom.Cause, error) []byte { panic("not there yet") }}},
		{name: "long", law: "control frames", want: "AppendPing appended", c: controlCodec{ping: func(dst []byte) []byte {
			return append(dst, strings.Repeat("x", 1<<20)...)
		}}},
	})
}

// A rawCodec is Raw but for what is set, and its features.
type rawCodec struct {
	tcproom.Raw
	features      tcproom.Features
	appendEvent   func(dst []byte, ev *tcproom.Event) ([]byte, error)
	parseEvent    func(frame []byte, ev *tcproom.Event) error
	appendRequest func(dst []byte, req *tcproom.Request) ([]byte, error)
	parseRequest  func(frame []byte, req *tcproom.Request) error
}

func (c rawCodec) Features() tcproom.Features { return c.features }

func (c rawCodec) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	if c.appendEvent != nil {
		return c.appendEvent(dst, ev)
	}
	return c.Raw.AppendEvent(dst, ev)
}

func (c rawCodec) ParseEvent(frame []byte, ev *tcproom.Event) error {
	if c.parseEvent != nil {
		return c.parseEvent(frame, ev)
	}
	return c.Raw.ParseEvent(frame, ev)
}

func (c rawCodec) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	if c.appendRequest != nil {
		return c.appendRequest(dst, req)
	}
	return c.Raw.AppendRequest(dst, req)
}

func (c rawCodec) ParseRequest(frame []byte, req *tcproom.Request) error {
	if c.parseRequest != nil {
		return c.parseRequest(frame, req)
	}
	return c.Raw.ParseRequest(frame, req)
}

func TestCodecThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		c := brokenCodec{parseRequest: func(frame []byte, req *tcproom.Request) error {
			if len(frame) == 0 {
				<-release
			}
			return codecJSON.ParseRequest(frame, req)
		}}
		requireLaw(t, roomtest.TestCodec(c), "codec roomtest_test.brokenCodec", "returns", `ParseRequest("") has not returned for 10s`)
	})
}

// A codec may need newlines, which Lines refuses, may refuse bodies, and may say more
// than its features.
func TestCodecsOfOtherKindsConform(t *testing.T) {
	require.NoError(t, roomtest.TestCodec(asks(tcproom.ReqSay, func(dst []byte, req *tcproom.Request) ([]byte, error) {
		dst, err := codecJSON.AppendRequest(dst, req)
		return append(dst, '\n'), err
	})))
	require.NoError(t, roomtest.TestCodec(rawCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
		if bytes.IndexByte(ev.Body, 0) >= 0 {
			return dst, errors.New("a NUL")
		}
		return tcproom.Raw{}.AppendEvent(dst, ev)
	}}))
	require.NoError(t, roomtest.TestCodec(plain))
}
