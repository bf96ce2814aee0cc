package roomtest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"example.com/tcproom"
)

// testFeatures tests what Features returns, which the other tests go by.
func (t *codecTest) testFeatures() {
	var again tcproom.Features
	t.call("Features", nil, func() { t.features = t.c.Features() })
	t.call("Features", nil, func() { again = t.c.Features() })
	f := t.features
	switch {
	case f != again:
		t.add(lawFeatures, "Features returned %+v, and called again %+v", f, again)
	case f.Numbers && !f.Hello:
		t.add(lawFeatures, "Features returned %+v, Numbers without Hello", f)
	}
	if !f.Gaps {
		return
	}
	gap := tcproom.Event{Kind: tcproom.Gap, Gap: tcproom.Span{First: 3, Last: 9}, Skipped: 7}
	if frame, got, ok := t.said(gap); !ok || got.Kind != tcproom.Gap || got.Gap != gap.Gap && got.Skipped != gap.Skipped {
		t.add(lawFeatures, "%s, encoded as %s, is parsed as %s, although Features has Gaps", describe(&gap), quote(frame), describe(&got))
	}
}

// anyNumber returns n if the codec has numbers, and otherwise the number of a
// message that has none.
func (t *codecTest) anyNumber(n uint64) uint64 {
	if !t.features.Numbers {
		return 0
	}
	return n
}

// hello returns a hello with all that the codec's features need.
func (t *codecTest) hello(name string) tcproom.Hello {
	h := tcproom.Hello{Name: name, Ping: t.features.Pings, History: 50, Auth: `open "sesame" & <\>`}
	if t.features.Numbers {
		h.Resume = &tcproom.Resume{Token: testToken, Epoch: testEpoch, Seq: 42}
		h.Since = &tcproom.Position{Epoch: testEpoch, Seq: 41}
	}
	if t.features.Rooms {
		h.Rooms = []string{"lobby", "kitchen"}
		if h.Resume != nil {
			h.Resume.Rooms = map[string]tcproom.Position{"kitchen": {Epoch: testEpoch, Seq: 40}}
		}
	}
	return h
}

// requests returns a request of each kind that the codec's features have.
func (t *codecTest) requests() []tcproom.Request {
	requests := []tcproom.Request{{Kind: tcproom.ReqSay, Number: t.anyNumber(5), Body: []byte("hi")}}
	if t.features.Hello {
		h := t.hello("ada")
		requests = append(requests, tcproom.Request{Kind: tcproom.ReqHello, Hello: &h})
	}
	if t.features.Numbers {
		requests = append(requests, tcproom.Request{Kind: tcproom.ReqGoodbye})
	}
	if t.features.Pings {
		requests = append(requests, tcproom.Request{Kind: tcproom.ReqPing}, tcproom.Request{Kind: tcproom.ReqPong})
	}
	return append(requests, t.hubRequests()...)
}

// requestFrames returns the frames of all requests but of the kinds without.
func (t *codecTest) requestFrames(without ...tcproom.RequestKind) (frames [][]byte) {
	for _, req := range t.requests() {
		if slices.Contains(without, req.Kind) {
			continue
		}
		if frame, err := t.request(req); err == nil {
			frames = append(frames, frame)
		}
	}
	return frames
}

// request encodes req, and checks what holds of every such call.
func (t *codecTest) request(req tcproom.Request) ([]byte, error) {
	arg := lazy(func() string { return describeRequest(&req) })
	return t.encodes("AppendRequest", arg, func(dst []byte) ([]byte, error) {
		body, mine := lend(req.Body), cloneRequest(&req)
		mine.Body = nil
		if req.Body != nil {
			mine.Body = body.b
		}
		out, err := t.c.AppendRequest(dst, &mine)
		if !body.intact() || !sameRequest(&mine, &req) {
			t.add(lawCodecWrites, "AppendRequest(%s, %s) changed the request, or what lies behind its body, to %s", quote(dst), arg, describeRequest(&mine))
		}
		was := bytes.Clone(out)
		body.scribble()
		if err == nil && !bytes.Equal(out, was) {
			t.add(lawCodecKeeps, "what AppendRequest(%s, %s) returned changed when the body did", quote(dst), arg)
		}
		return was, err
	})
}

// parseRequest parses a request.
func (t *codecTest) parseRequest(frame []byte) (req tcproom.Request, err error) {
	err = t.decodes("ParseRequest", frame, func(frame []byte) error { return t.c.ParseRequest(frame, &req) })
	if err != nil {
		return tcproom.Request{}, err
	}
	switch {
	case req.Kind < tcproom.ReqSay || req.Kind > tcproom.ReqOther:
		t.add(lawParsedKind, "ParseRequest(%s) returned nil and the kind %v", quote(frame), req.Kind)
	case (req.Kind == tcproom.ReqHello) != (req.Hello != nil):
		t.add(lawParsedKind, "ParseRequest(%s) returned nil, the kind %v and the Hello %v", quote(frame), req.Kind, req.Hello)
	}
	return req, nil
}

// asked encodes req and parses that. It returns the error of either.
func (t *codecTest) asked(req tcproom.Request) (frame []byte, got tcproom.Request, err error) {
	if frame, err = t.request(req); err != nil {
		return nil, got, err
	}
	got, err = t.parseRequest(frame)
	return frame, got, err
}

// testMessages tests the way towards the room.
func (t *codecTest) testMessages() {
	if _, err := t.request(tcproom.Request{Kind: tcproom.ReqSay, Body: []byte("hi")}); err != nil {
		t.add(lawMessage, `AppendRequest of a ReqSay "hi" returned the error %q, so members can send nothing`, err)
	}
	for _, body := range slices.Concat(oddBodies(), sizedBodies(), t.requestFrames()) {
		t.testMessage(tcproom.Request{Kind: tcproom.ReqSay, Body: body})
	}
	for _, n := range []uint64{1, 9007199254740993, math.MaxUint64} {
		if n := t.anyNumber(n); n != 0 {
			t.testMessage(tcproom.Request{Kind: tcproom.ReqSay, Number: n, Body: []byte("hi")})
		}
	}
	for _, kind := range []tcproom.RequestKind{0, tcproom.ReqPing, tcproom.ReqPong, tcproom.ReqGoodbye, 99, 255} {
		if _, err := t.request(tcproom.Request{Kind: kind}); err != nil && !errors.Is(err, tcproom.ErrNoFrame) {
			t.add(lawSays, "AppendRequest of the kind %d returned the error %q, want ErrNoFrame if it is not said", kind, err)
		}
	}
}

// testMessage tests a ReqSay, which the codec may refuse.
func (t *codecTest) testMessage(req tcproom.Request) {
	frame, err := t.request(req)
	if err != nil {
		return
	}
	got, err := t.parseRequest(frame)
	if errors.Is(err, tcproom.ErrNoFrame) && len(req.Body) == 0 {
		return
	}
	if err != nil || !sameRequest(&got, &req) {
		t.add(lawMessage, "%s, encoded as %s, is parsed as %s with the error %v", describeRequest(&req), quote(frame), describeRequest(&got), err)
	}
}

// repeatRequest encodes what is encoded nowhere else.
func (t *codecTest) repeatRequest(body []byte) {
	req := tcproom.Request{Kind: tcproom.ReqSay, Body: body}
	frame, err := t.c.AppendRequest(nil, &req)
	if err != nil {
		return
	}
	var got tcproom.Request
	if err := t.c.ParseRequest(frame, &got); err != nil || !sameRequest(&got, &req) {
		t.add(lawCodecPure, "%s is parsed on one of several goroutines as %s with the error %v", describeRequest(&req), describeRequest(&got), err)
	}
}

// testHello tests what a connection begins with.
func (t *codecTest) testHello() {
	if !t.features.Hello {
		return
	}
	for _, name := range []string{"", "ada", "Zoë", `"\'<&>`, strings.Repeat("n", 256), strings.Repeat(`"`, 256), strings.Repeat("é", 128)} {
		t.testOneHello(tcproom.Hello{Name: name})
		t.testOneHello(t.hello(name))
	}
	for _, n := range []int{1, math.MaxInt32, -1} {
		t.testOneHello(tcproom.Hello{History: n})
	}
	if t.features.Rooms {
		t.testOneHello(tcproom.Hello{Rooms: []string{}})
	}
}

func (t *codecTest) testOneHello(h tcproom.Hello) {
	toRoom, _ := t.maxFrame(0)
	req := tcproom.Request{Kind: tcproom.ReqHello, Hello: &h}
	frame, err := t.request(req)
	if err != nil {
		t.add(lawHello, "AppendRequest of %s returned the error %q", describeRequest(&req), err)
		return
	}
	if limit := min(toRoom, 3<<10); len(frame) > limit {
		t.add(lawHello, "%s, encoded as %s, has %d bytes, of at most %d", describeRequest(&req), quote(frame), len(frame), limit)
	}
	got, err := t.parseRequest(frame)
	if err != nil || got.Kind != tcproom.ReqHello || !sameHello(got.Hello, &h) {
		t.add(lawHello, "%s, encoded as %s, is parsed as %s with the error %v", describeRequest(&req), quote(frame), describeRequest(&got), err)
	}
}

// testWelcome tests the answers to a hello.
func (t *codecTest) testWelcome() {
	if !t.features.Hello {
		return
	}
	for _, ev := range t.events() {
		if ev.Kind != tcproom.Welcome && ev.Kind != tcproom.Refused {
			continue
		}
		frame, got, ok := t.said(ev)
		if !ok || got.Kind != ev.Kind || ev.Kind == tcproom.Welcome && got.From != ev.From {
			t.add(lawWelcome, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
		}
	}
}

// testNumbers tests what members need that resume.
func (t *codecTest) testNumbers() {
	if !t.features.Numbers {
		return
	}
	for _, ev := range t.events() {
		switch ev.Kind {
		case tcproom.Message, tcproom.Join, tcproom.Leave, tcproom.Gap, tcproom.Ack, tcproom.Welcome:
		default:
			continue
		}
		frame, got, ok := t.said(ev)
		was, is := welcomeOf(&ev), welcomeOf(&got)
		if !ok || got.Kind != ev.Kind || got.Seq != ev.Seq || got.Number != ev.Number || got.Gap != ev.Gap || got.Skipped != ev.Skipped ||
			is.Epoch != was.Epoch || is.Outcome != was.Outcome || is.Token != was.Token {
			t.add(lawNumbers, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
		}
	}
	frame, got, err := t.asked(tcproom.Request{Kind: tcproom.ReqGoodbye})
	if err != nil || got.Kind != tcproom.ReqGoodbye {
		t.add(lawNumbers, "a ReqGoodbye, encoded as %s, is parsed as %s with the error %v", quote(frame), describeRequest(&got), err)
	}
}

// testBeats tests pings and pongs. That nothing else looks like one, the tests
// of events and messages see.
func (t *codecTest) testBeats() {
	if _, control := t.c.(tcproom.ControlFrames); control || !t.features.Pings {
		return
	}
	toRoom, toMember := t.maxFrame(0)
	for _, kind := range []tcproom.Kind{tcproom.Ping, tcproom.Pong} {
		ev := tcproom.Event{Kind: kind}
		frame, got, ok := t.said(ev)
		if !ok || got.Kind != kind {
			t.add(lawBeats, "%s, encoded as %s, is parsed as %s", describe(&ev), quote(frame), describe(&got))
		}
		t.testBeat(describe(&ev), frame, toMember)
	}
	for _, kind := range []tcproom.RequestKind{tcproom.ReqPing, tcproom.ReqPong} {
		req := tcproom.Request{Kind: kind}
		frame, got, err := t.asked(req)
		if err != nil || got.Kind != kind {
			t.add(lawBeats, "%s, encoded as %s, is parsed as %s with the error %v", describeRequest(&req), quote(frame), describeRequest(&got), err)
		}
		t.testBeat(describeRequest(&req), frame, toRoom)
	}
}

// testBeat tests the frame of a heartbeat.
func (t *codecTest) testBeat(what string, frame []byte, limit int) {
	if len(frame) > limit {
		t.add(lawBeats, "%s is encoded as %s of %d bytes, where MaxFrame(0) is %d", what, quote(frame), len(frame), limit)
	}
	for _, f := range roomFramings {
		if _, err := f.AppendFrame(nil, frame); err != nil && t.fits(f) {
			t.add(lawBeats, "%s is encoded as %s, which %T refuses although it carries events: %q", what, quote(frame), f, err)
		}
	}
}

// cloneRequest returns a copy that shares nothing with req.
func cloneRequest(req *tcproom.Request) tcproom.Request {
	c := *req
	c.Body = bytes.Clone(req.Body)
	if req.Hello != nil {
		h := *req.Hello
		if h.Resume != nil {
			r := *h.Resume
			h.Resume = &r
		}
		if h.Since != nil {
			p := *h.Since
			h.Since = &p
		}
		c.Hello = &h
	}
	cloneRooms(&c)
	return c
}

// sameRequest reports whether a and b are the same.
func sameRequest(a, b *tcproom.Request) bool {
	return a.Kind == b.Kind && a.Number == b.Number && a.Resumes == b.Resumes && a.Pinged == b.Pinged && bytes.Equal(a.Body, b.Body) && sameHello(a.Hello, b.Hello) &&
		a.Ref == b.Ref && a.Room == b.Room && a.To == b.To && sameQuery(a.Query, b.Query)
}

// sameHello reports whether a and b say the same: any negative History is none.
func sameHello(a, b *tcproom.Hello) bool {
	if a == nil || b == nil {
		return a == b
	}
	history := a.History == b.History || a.History < 0 && b.History < 0
	resume := a.Resume == b.Resume || a.Resume != nil && b.Resume != nil && reflect.DeepEqual(a.Resume, b.Resume)
	since := a.Since == b.Since || a.Since != nil && b.Since != nil && *a.Since == *b.Since
	return a.Name == b.Name && a.Ping == b.Ping && history && a.Auth == b.Auth && resume && since && sameRooms(a, b)
}

// describeRequest returns a request in a line.
func describeRequest(req *tcproom.Request) string {
	var b strings.Builder
	b.WriteString("a " + req.Kind.String())
	if req.Number != 0 {
		fmt.Fprintf(&b, " number %d", req.Number)
	}
	if req.Kind == tcproom.ReqSay || len(req.Body) > 0 {
		fmt.Fprintf(&b, " body %s", quote(req.Body))
	}
	b.WriteString(describeRooms(req))
	h := req.Hello
	if h == nil {
		return b.String()
	}
	fmt.Fprintf(&b, " name %s", quote(h.Name))
	if h.Ping {
		b.WriteString(" ping")
	}
	if h.History != 0 {
		fmt.Fprintf(&b, " history %d", h.History)
	}
	if h.Auth != "" { // of a test, and no secret
		fmt.Fprintf(&b, " auth %s", quote(string(h.Auth)))
	}
	if r := h.Resume; r != nil {
		fmt.Fprintf(&b, " resume %s of %s at %d", quote(string(r.Token)), quote(r.Epoch), r.Seq)
	}
	if h.Rooms != nil {
		fmt.Fprintf(&b, " rooms %q", h.Rooms)
	}
	if p := h.Since; p != nil {
		fmt.Fprintf(&b, " since %d of %s", p.Seq, quote(p.Epoch))
	}
	return b.String()
}
