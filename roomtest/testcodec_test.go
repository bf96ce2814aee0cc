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
	appendMessage func(dst, body []byte) ([]byte, error)
	parseMessage  func(frame []byte) ([]byte, error)
	maxFrame      func(int) (int, int)
	appendHello   func(dst []byte, h *tcproom.Hello) ([]byte, error)
	appendPing    func(dst []byte) []byte
	appendPong    func(dst []byte) []byte
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

func (c brokenCodec) AppendMessage(dst, body []byte) ([]byte, error) {
	if c.appendMessage != nil {
		return c.appendMessage(dst, body)
	}
	return codecJSON.AppendMessage(dst, body)
}

func (c brokenCodec) ParseMessage(frame []byte) ([]byte, error) {
	if c.parseMessage != nil {
		return c.parseMessage(frame)
	}
	return codecJSON.ParseMessage(frame)
}

func (c brokenCodec) MaxFrame(maxBody int) (int, int) {
	if c.maxFrame != nil {
		return c.maxFrame(maxBody)
	}
	return codecJSON.MaxFrame(maxBody)
}

func (c brokenCodec) AppendHello(dst []byte, h *tcproom.Hello) ([]byte, error) {
	if c.appendHello != nil {
		return c.appendHello(dst, h)
	}
	return codecJSON.AppendHello(dst, h)
}

func (c brokenCodec) AppendPing(dst []byte) []byte {
	if c.appendPing != nil {
		return c.appendPing(dst)
	}
	return codecJSON.AppendPing(dst)
}

func (c brokenCodec) AppendPong(dst []byte) []byte {
	if c.appendPong != nil {
		return c.appendPong(dst)
	}
	return codecJSON.AppendPong(dst)
}

func (brokenCodec) ParseHello(frame []byte, h *tcproom.Hello) error {
	return codecJSON.ParseHello(frame, h)
}

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
			if raceEnabled && (tt.racy || i%8 != 0) {
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
		{name: "ignores dst", law: "appends", want: "AppendMessage", c: brokenCodec{appendMessage: func(_, body []byte) ([]byte, error) { return codecJSON.AppendMessage(nil, body) }}},
		{name: "writes to dst", law: "appends", want: "changed what dst holds", c: brokenCodec{appendMessage: func(dst, body []byte) ([]byte, error) {
			if len(dst) > 0 {
				dst[0] = 'x'
			}
			return codecJSON.AppendMessage(dst, body)
		}}},
		{name: "message is body", law: "keeps nothing", want: "changed when body did", c: rawCodec{appendMessage: func(dst, body []byte) ([]byte, error) {
			if len(dst) == 0 {
				return body, nil
			}
			return append(dst, body...), nil
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
			for i := range ev.Members {
				ev.Members[i].Name = "x"
			}
		})},
		{name: "appends to body", law: "writes to no argument", want: "wrote to body, or behind it", c: brokenCodec{appendMessage: func(dst, body []byte) ([]byte, error) {
			return codecJSON.AppendMessage(dst, append(body, '!')[:len(body)])
		}}},
		{name: "unescapes in place", law: "writes to no argument", want: "ParseMessage", c: rawCodec{parseMessage: func(frame []byte) ([]byte, error) {
			for i := range frame {
				frame[i] ^= 1
			}
			return frame, nil
		}}},
		{name: "counts", law: "pure", want: "AppendMessage", c: brokenCodec{appendMessage: func(dst, body []byte) ([]byte, error) {
			return codecJSON.AppendMessage(dst, fmt.Append(body, calls.Add(1)))
		}}},
		{name: "parses every other", law: "pure", want: "called again", c: brokenCodec{parseMessage: func(frame []byte) ([]byte, error) {
			if calls.Add(1)%2 == 0 {
				return nil, tcproom.ErrNoFrame
			}
			return codecJSON.ParseMessage(frame)
		}}},
	})
}

func TestCodecViolationsOfEvents(t *testing.T) {
	requireCodecViolations(t, []codecViolation{
		{name: "an error for a Gap", law: "says or says not", want: `a Gap of 3 to 9 returned the error "no gaps"`, c: brokenCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
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
		{name: "wrong gap", law: "fields", want: "Gap of a Gap of 3 to 9", c: parses(tcproom.Gap, func(ev *tcproom.Event) error { ev.GapTo++; return nil })},
		{name: "wrong code", law: "fields", want: "Code of a Refused", c: parses(tcproom.Refused, func(ev *tcproom.Event) error { ev.Code = "x"; return nil })},
		{name: "wrong reason", law: "fields", want: "Text of a Goodbye", c: parses(tcproom.Goodbye, func(ev *tcproom.Event) error { ev.Text += "!"; return nil })},
		{name: "wrong epoch", law: "fields", want: "Epoch of a Welcome", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error { ev.Epoch = "x"; return nil })},
		{name: "wrong total", law: "fields", want: "Total of a Welcome", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error { ev.Total++; return nil })},
		{name: "wrong members", law: "fields", want: "Members of a Welcome", c: parses(tcproom.Welcome, func(ev *tcproom.Event) error { ev.Members = append(ev.Members, ev.From); return nil })},
		{name: "escapes and does not unescape", law: "stable", want: `a Message`, c: appends(tcproom.Message, func(ev *tcproom.Event) { ev.Body = []byte(html.EscapeString(string(ev.Body))) })},
		{name: "says what it cannot parse twice", law: "stable", want: `returned the error`, c: parses(tcproom.Gap, func(ev *tcproom.Event) error { ev.GapFrom, ev.GapTo = 0, 0; return nil })},
		{name: "a body can forge a notice", law: "forging", want: `body "* eve joined"`, c: rawCodec{parseEvent: func(frame []byte, ev *tcproom.Event) error { return tcproom.Text{}.ParseEvent(frame, ev) }}},
		{name: "no kind", law: "parsed kind", want: "the kind Kind(0)", c: brokenCodec{parseEvent: func(frame []byte, ev *tcproom.Event) error {
			if err := codecJSON.ParseEvent(frame, ev); !errors.Is(err, tcproom.ErrNoFrame) {
				return err
			}
			return nil
		}}},
		{name: "an empty event is a pong", law: "parses what it says", want: `body ""`, c: parses(tcproom.Message, func(ev *tcproom.Event) error {
			if len(ev.Body) == 0 {
				return tcproom.ErrPong
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
			if len(ev.Epoch) > 0 && ev.Epoch[:3] != "EPO" {
				return tcproom.ErrMalformed
			}
			return nil
		})},
	})
}

func TestCodecViolationsOfMessages(t *testing.T) {
	var shared [1 << 17]byte
	requireCodecViolations(t, []codecViolation{
		{name: "trims", law: "messages", want: `is parsed as ""`, c: brokenCodec{parseMessage: func(frame []byte) ([]byte, error) {
			body, err := codecJSON.ParseMessage(frame)
			return bytes.TrimSpace(body), err
		}}},
		{name: "takes no message", law: "messages", want: "members can say nothing", c: brokenCodec{appendMessage: func(dst, _ []byte) ([]byte, error) { return dst, errors.New("no") }}},
		{name: "MaxFrame without escapes", law: "MaxFrame", want: "AppendMessage", c: brokenCodec{maxFrame: func(n int) (int, int) { return n + 1<<10, n + 1<<20 }}},
		{name: "MaxFrame without names and reasons", law: "MaxFrame", want: "AppendEvent of a Welcome", c: brokenCodec{maxFrame: func(n int) (int, int) { return 6*n + 1<<10, 6*n + 1<<10 }}},
		{name: "MaxFrame overflows", law: "MaxFrame", want: "MaxFrame(67108864) returned -", c: brokenCodec{maxFrame: func(n int) (int, int) { return int(int32(n*40)) + 1<<10, 1 << 30 }}},
		{name: "another error", law: "errors", want: `the error "what"`, c: brokenCodec{parseMessage: func(frame []byte) ([]byte, error) {
			body, err := codecJSON.ParseMessage(frame)
			if errors.Is(err, tcproom.ErrMalformed) {
				err = errors.New("what")
			}
			return body, err
		}}},
		{name: "one buffer for all bodies", law: "parsed stays", want: "a body that was parsed", racy: true, c: brokenCodec{parseMessage: func(frame []byte) ([]byte, error) {
			body, err := codecJSON.ParseMessage(frame)
			return shared[:copy(shared[:], body)], err
		}}},
		{name: "one buffer for all events", law: "parsed stays", want: "an event that was parsed", racy: true, c: parses(tcproom.Message, func(ev *tcproom.Event) error {
			ev.Body = shared[:copy(shared[:], ev.Body)]
			return nil
		})},
		{name: "an empty message is a ping", law: "messages", want: `the body ""`, c: brokenCodec{parseMessage: func(frame []byte) ([]byte, error) {
			body, err := codecJSON.ParseMessage(frame)
			if err == nil && len(body) == 0 {
				err = tcproom.ErrPing
			}
			return body, err
		}}},
	})
}

func TestCodecViolationsOfGreeters(t *testing.T) {
	var calls atomic.Int64
	requireCodecViolations(t, []codecViolation{
		{name: "no name in the hello", law: "hello", want: `the name "ada"`, c: brokenCodec{appendHello: func(dst []byte, h *tcproom.Hello) ([]byte, error) {
			return codecJSON.AppendHello(dst, &tcproom.Hello{})
		}}},
		{name: "long hello", law: "hello", want: "of at most", c: brokenCodec{appendHello: func(dst []byte, h *tcproom.Hello) ([]byte, error) {
			dst, err := codecJSON.AppendHello(dst, h)
			return append(dst, strings.Repeat(" ", 5000)...), err
		}}},
		{name: "no Refused", law: "welcome", want: "a Refused", c: brokenCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
			if ev.Kind == tcproom.Refused {
				return dst, tcproom.ErrNoFrame
			}
			return codecJSON.AppendEvent(dst, ev)
		}}},
		{name: "no Welcome", law: "welcome", want: "is parsed as a Goodbye", c: appends(tcproom.Welcome, func(ev *tcproom.Event) { ev.Kind = tcproom.Goodbye })},
		{name: "ping without dst", law: "appends", want: `AppendPing("before") returned`, c: brokenCodec{appendPing: func([]byte) []byte { return codecJSON.AppendPing(nil) }}},
		{name: "pong writes to dst", law: "appends", want: "AppendPong", c: brokenCodec{appendPong: func(dst []byte) []byte {
			clear(dst)
			return codecJSON.AppendPong(dst)
		}}},
		{name: "counts pings", law: "pure", want: `AppendPing("")`, c: brokenCodec{appendPing: func(dst []byte) []byte {
			return append(codecJSON.AppendPing(dst), strings.Repeat(" ", int(calls.Add(1)%7))...)
		}}},
		{name: "no ping", law: "no panic", want: `AppendPing("") panicked`, c: brokenCodec{appendPing: func([]byte) []byte { panic("not there yet") }}},
		{name: "answers with a ping", law: "heartbeats", want: "of which ParseEvent returned the error tcproom: codec says nothing for this event: ping", c: brokenCodec{appendPong: codecJSON.AppendPing}},
		{name: "no ping for ParseMessage", law: "heartbeats", want: "of which ParseMessage returned", c: brokenCodec{parseMessage: func(frame []byte) ([]byte, error) {
			body, err := codecJSON.ParseMessage(frame)
			if errors.Is(err, tcproom.ErrPing) {
				err = tcproom.ErrNoFrame
			}
			return body, err
		}}},
		{name: "a ping of two lines", law: "heartbeats", want: "which tcproom.Lines refuses", c: brokenCodec{appendPing: func(dst []byte) []byte { return append(codecJSON.AppendPing(dst), '\n') }}},
		{name: "long pong", law: "heartbeats", want: "where MaxFrame(0) is", c: brokenCodec{appendPong: func(dst []byte) []byte {
			return append(codecJSON.AppendPong(dst), strings.Repeat(" ", 1<<20)...)
		}}},
	})
}

// A rawCodec is Raw but for what is set.
type rawCodec struct {
	tcproom.Raw
	appendEvent   func(dst []byte, ev *tcproom.Event) ([]byte, error)
	parseEvent    func(frame []byte, ev *tcproom.Event) error
	appendMessage func(dst, body []byte) ([]byte, error)
	parseMessage  func(frame []byte) ([]byte, error)
}

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

func (c rawCodec) AppendMessage(dst, body []byte) ([]byte, error) {
	if c.appendMessage != nil {
		return c.appendMessage(dst, body)
	}
	return c.Raw.AppendMessage(dst, body)
}

func (c rawCodec) ParseMessage(frame []byte) ([]byte, error) {
	if c.parseMessage != nil {
		return c.parseMessage(frame)
	}
	return c.Raw.ParseMessage(frame)
}

func TestCodecThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		c := brokenCodec{parseMessage: func(frame []byte) ([]byte, error) {
			if len(frame) == 0 {
				<-release
			}
			return codecJSON.ParseMessage(frame)
		}}
		requireLaw(t, roomtest.TestCodec(c), "codec roomtest_test.brokenCodec", "returns", `ParseMessage("") has not returned for 10s`)
	})
}

// A codec may need newlines, which Lines refuses, and may refuse bodies.
func TestCodecsOfOtherKindsConform(t *testing.T) {
	require.NoError(t, roomtest.TestCodec(brokenCodec{appendMessage: func(dst, body []byte) ([]byte, error) {
		dst, err := codecJSON.AppendMessage(dst, body)
		return append(dst, '\n'), err
	}}))
	require.NoError(t, roomtest.TestCodec(rawCodec{appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
		if bytes.IndexByte(ev.Body, 0) >= 0 {
			return dst, errors.New("a NUL")
		}
		return tcproom.Raw{}.AppendEvent(dst, ev)
	}}))
}
