package fake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// An expectation is what clients are to do, or not to do.
type expectation struct {
	line   int
	kind   string // await, expect or refute
	want   []roomtest.Match
	rooms  []string      // that the matches name
	within time.Duration // 0: the default
}

// expectation decodes one from its fields, f.
func (n node) expectation(f fields) *expectation {
	kind, v := f.one("await", "expect", "refute")
	e := &expectation{line: max(n.y.Line, 1), kind: kind}
	for _, part := range v.list() {
		m := part.match(false)
		e.want = append(e.want, m.Match)
		if m.room != "" {
			e.rooms = append(e.rooms, m.room)
		}
	}
	if len(e.want) == 0 {
		v.fail("%s wants a match at least", kind)
	}
	if kind == "await" && len(e.want) > 1 {
		v.fail("await wants one match; for several in a row write expect, for one after the other several awaits")
	}
	f.with("within", func(n node) { e.within = n.duration() })
	return e
}

// checkRooms fails if a match names a room that is not there and cannot be made.
func (e *expectation) checkRooms(n node, s *Script) {
	for _, room := range e.rooms {
		found := s.open
		for _, r := range s.rooms {
			found = found || r.name == room
		}
		if !s.isHub {
			n.fail("inRoom goes with rooms")
		}
		if !found {
			n.fail("inRoom: there is no room %q", short(room))
		}
	}
}

func (e *expectation) String() string {
	names := make([]string, len(e.want))
	for i, w := range e.want {
		names[i] = w.String()
	}
	return e.kind + " " + strings.Join(names, "; ")
}

// An entry is an event of the room's order.
type entry struct {
	n    int // 1, 2, 3, … in this life, over all rooms
	ev   tcproom.Event
	text string // for people
}

// entries returns what comes after the first n events of tr.
func entries(tr *roomtest.Transcript, n int) []entry {
	rest := tr.After(n)
	events := rest.Events()
	lines := strings.Split(strings.TrimSuffix(rest.String(), "\n"), "\n")
	es := make([]entry, len(events))
	for i, ev := range events {
		es[i] = entry{n + i + 1, ev, lines[i]}
	}
	return es
}

// An outcome is what became of an expectation.
type outcome struct {
	held    bool
	came    []entry // what matched
	missing string  // what did not come, or was not to come
	nearest *entry  // of what came, what is most like it
	passed  []entry // what came and was passed over
	why     string
	next    int // how many events have been dealt with
}

// shownEntries is how much of what was passed over an outcome shows.
const shownEntries = 30

// String is the text of one that has not held.
func (o *outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", o.missing, o.why)
	if o.nearest != nil {
		fmt.Fprintf(&b, "\n\tthe nearest is:\n\t%s", o.nearest.text)
	}
	if len(o.passed) > 0 {
		fmt.Fprint(&b, "\n\tcame and passed over:")
		for i, e := range o.passed {
			if i == shownEntries {
				fmt.Fprintf(&b, "\n\t… %d more", len(o.passed)-i)
				break
			}
			fmt.Fprintf(&b, "\n\t%s", e.text)
		}
	}
	return b.String()
}

var (
	errEnded   = errors.New("the fake was stopped")
	errTooLong = errors.New("that time is over")
)

// check waits until e has held or not, looking at what comes after the first n events.
// It waits for the time of e, or for less if ctx ends.
func (e *expectation) check(ctx context.Context, s *stage, n int) *outcome {
	within := e.within
	if within == 0 && e.kind != "refute" {
		within = s.script.within
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, errTooLong)
	defer cancel()
	stop := context.AfterFunc(s.ctx, cancel)
	defer stop()
	w := &watcher{s: s, ctx: ctx, at: n, within: within}
	switch e.kind {
	case "await":
		return w.await(e.want[0])
	case "expect":
		return w.expect(e.want)
	}
	return w.refute(e.want)
}

// A watcher goes through the room's order.
type watcher struct {
	s       *stage
	ctx     context.Context
	within  time.Duration
	at      int // events dealt with
	waiting []entry
}

// next waits for the next event.
func (w *watcher) next() (e entry, ok bool) {
	if len(w.waiting) == 0 {
		tr, err := w.s.transcriptAfter(w.ctx, w.at)
		if err != nil && tr.Len() <= w.at {
			return e, false
		}
		w.waiting = entries(tr, w.at)
	}
	e, w.waiting = w.waiting[0], w.waiting[1:]
	w.at = e.n
	return e, true
}

// why says why nothing comes any more.
func (w *watcher) why() string {
	if w.s.ctx.Err() != nil {
		return "it did not come until the fake was stopped"
	}
	return fmt.Sprintf("it did not come within %v", w.within)
}

func (w *watcher) await(want roomtest.Match) *outcome {
	began := w.at
	var passed []entry
	for {
		e, ok := w.next()
		if !ok {
			return &outcome{missing: want.String(), nearest: nearest(want, passed), passed: passed, why: w.why(), next: began}
		}
		if want.Matches(e.ev) {
			return &outcome{held: true, came: []entry{e}, passed: passed, next: w.at}
		}
		passed = append(passed, e)
	}
}

func (w *watcher) expect(want []roomtest.Match) *outcome {
	began := w.at
	var came []entry
	for len(came) < len(want) {
		e, ok := w.next()
		switch {
		case !ok:
			return &outcome{came: came, missing: want[len(came)].String(), why: w.why(), next: began}
		case w.s.isOwn(&e.ev):
		case !want[len(came)].Matches(e.ev):
			return &outcome{came: came, missing: want[len(came)].String(), nearest: &e, why: "something else came next", next: began}
		default:
			came = append(came, e)
		}
	}
	return &outcome{held: true, came: came, next: w.at}
}

// refute leaves the events for the expectations that follow.
func (w *watcher) refute(not []roomtest.Match) *outcome {
	began := w.at
	for {
		e, ok := w.next()
		if !ok {
			return &outcome{held: true, next: began}
		}
		for _, m := range not {
			if m.Matches(e.ev) {
				return &outcome{came: []entry{e}, missing: m.String(), nearest: &e, why: "it was not to come, and did", next: began}
			}
		}
	}
}

// nearest returns the entry whose text is most like what was wanted, nil if none is like
// it.
func nearest(want roomtest.Match, passed []entry) *entry {
	text, anybody := strings.CutPrefix(strings.TrimPrefix(want.String(), "message "), "anybody: ")
	best, least := -1, 1<<30
	for i := range passed {
		_, line, _ := strings.Cut(strings.TrimSpace(passed[i].text), "  ")
		if room, rest, ok := strings.Cut(line, "] "); ok && passed[i].ev.Room != "" {
			line = rest
			if strings.Contains(text, ", in ") { // as a match names its room
				line += ", in " + strings.TrimPrefix(room, "[")
			}
		}
		line = strings.TrimPrefix(line, "* ")
		if _, body, ok := strings.Cut(line, ": "); ok && anybody {
			line = body
		}
		if d := distance(short(text), short(line)); d <= least && d < max(len(short(text)), len(short(line))) {
			best, least = i, d
		}
	}
	if best < 0 {
		return nil
	}
	return &passed[best]
}
