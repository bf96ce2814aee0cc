package tcproom_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"example.com/tcproom"
	"example.com/tcproom/internal/probe"
	"example.com/tcproom/internal/testkit"
)

// What happened in the rooms of a hub, and what its connections got of that: the tests
// hold the second against the first.

// An instant is an event of a room's order, and its place among those of all rooms.
type instant struct {
	at int
	ev tcproom.Event
}

// A course is the order of one room, from its making to its end.
type course struct {
	name, epoch string
	events      []instant // events[i] has the place i+1, which is its Seq here
}

// A chronicle is the orders of all rooms of a hub.
type chronicle struct {
	seqs    testkit.Seqs // of all rooms
	mu      sync.Mutex
	at      int
	courses []*course
	stays   map[*tcproom.Member]*pairing
	faults  []string
}

// A pairing is what the hooks heard of a member.
type pairing struct {
	joined, left int
	cause        error
}

// options are those of a room that c is to know; for WithRoomOptions.
func (c *chronicle) options(name string) []tcproom.RoomOption {
	co := &course{name: name}
	c.mu.Lock()
	c.courses = append(c.courses, co)
	c.mu.Unlock()
	ordered := func(ev any) {
		e := *ev.(*tcproom.Event)
		e.Body = slices.Clone(e.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.at++
		place := uint64(len(co.events) + 1)
		if want := c.seqs.At(place); e.Seq != want {
			c.failLocked("P1: %s has %d where %d is due", co.name, e.Seq, want)
		}
		e.Seq = place
		co.events = append(co.events, instant{c.at, e})
	}
	return []tcproom.RoomOption{
		c.seqs.Option(),
		probe.Option(probe.Probe{Ordered: ordered}).(tcproom.RoomOption),
		tcproom.OnJoin(func(m *tcproom.Member) error { c.joined(co, m); return nil }),
		tcproom.OnLeave(c.left),
	}
}

func (c *chronicle) failLocked(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *chronicle) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(format, args...)
}

func (c *chronicle) joined(co *course, m *tcproom.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	co.epoch = tcproom.EpochOf(m.Room())
	if c.stays == nil {
		c.stays = map[*tcproom.Member]*pairing{}
	}
	if c.stays[m] != nil {
		c.failLocked("P8: OnJoin twice for %v", m.Info())
		return
	}
	c.stays[m] = &pairing{joined: 1}
}

func (c *chronicle) left(m *tcproom.Member, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.stays[m]
	if p == nil || p.left > 0 {
		c.failLocked("P8: OnLeave without OnJoin, or twice, for %v", m.Info())
		return
	}
	p.left, p.cause = 1, cause
	if m.Err() != cause {
		c.failLocked("P8: OnLeave of %v with %v, which left because of %v", m.Info(), cause, m.Err())
	}
}

// find returns the course of an epoch.
func (c *chronicle) find(epoch string) *course {
	for _, co := range c.courses {
		if co.epoch == epoch && epoch != "" {
			return co
		}
	}
	return nil
}

// A hubStep is an event of one of a hub's rooms.
type hubStep struct {
	instant
	co *course
}

// steps returns the joins and leaves of each connection, by ID.
func (c *chronicle) steps() map[string][]hubStep {
	steps := map[string][]hubStep{}
	for _, co := range c.courses {
		for _, in := range co.events {
			if in.ev.Kind == tcproom.Join || in.ev.Kind == tcproom.Leave {
				steps[in.ev.From.ID] = append(steps[in.ev.From.ID], hubStep{in, co})
			}
		}
	}
	for _, s := range steps {
		slices.SortFunc(s, func(a, b hubStep) int { return cmp.Compare(a.at, b.at) })
	}
	return steps
}

// checkOrders checks the orders by themselves: P4, P8, H8.
func (c *chronicle) checkOrders() {
	said := map[string]string{} // the rooms of messages
	for _, co := range c.courses {
		in := map[string]string{} // names by ID
		for _, e := range co.events {
			name, there := in[e.ev.From.ID]
			switch {
			case e.ev.Kind == tcproom.Join && there, e.ev.Kind == tcproom.Leave && !there:
				c.fail("P8: %s at %d: %v of %v", co.name, e.ev.Seq, e.ev.Kind, e.ev.From)
			case e.ev.Kind == tcproom.Join:
				in[e.ev.From.ID] = e.ev.From.Name
			case !there && e.ev.From.ID != "":
				c.fail("P4: %s at %d: %v of %v, which is not there", co.name, e.ev.Seq, e.ev.Kind, e.ev.From)
			case there && name != e.ev.From.Name:
				c.fail("H1: %s at %d: %v of %v, which is called %s", co.name, e.ev.Seq, e.ev.Kind, e.ev.From, name)
			case e.ev.Kind == tcproom.Leave:
				delete(in, e.ev.From.ID)
			case e.ev.Kind == tcproom.Renamed:
				in[e.ev.From.ID] = string(e.ev.Body)
			case e.ev.Kind == tcproom.Message:
				if was, twice := said[string(e.ev.Body)]; twice {
					c.fail("H8: %q is in %s and in %s", e.ev.Body, was, co.name)
				}
				said[string(e.ev.Body)] = co.name
			}
		}
	}
}

// checkMoves checks H4: of each leave and join that have one time, which are those of a
// move, there is no event of either room in between. It returns how many moves there are.
func (c *chronicle) checkMoves() (moves uint64) {
	for _, steps := range c.steps() {
		for i, join := range steps {
			if i == 0 || join.ev.Kind != tcproom.Join {
				continue
			}
			at := i - 1 // but for what befalls it in a third room meanwhile
			for at > 0 && !(steps[at].ev.Kind == tcproom.Leave && steps[at].ev.Time.Equal(join.ev.Time)) {
				at--
			}
			leave := steps[at]
			if leave.ev.Kind != tcproom.Leave || !leave.ev.Time.Equal(join.ev.Time) || leave.co == join.co {
				continue
			}
			moves++
			for _, co := range []*course{leave.co, join.co} {
				for _, e := range co.events {
					if e.at > leave.at && e.at < join.at {
						c.fail("H4: %v of %v is ordered in %s while %v moves from %s to %s", e.ev.Kind, e.ev.From, co.name, leave.ev.From, leave.co.name, join.co.name)
					}
				}
			}
		}
	}
	return moves
}

// checkSpoken checks H2: what one connection said has its order over all rooms. Bodies
// are "SPEAKER-NUMBER".
func (c *chronicle) checkSpoken() {
	var all []hubStep
	for _, co := range c.courses {
		for _, e := range co.events {
			all = append(all, hubStep{e, co})
		}
	}
	slices.SortFunc(all, func(a, b hubStep) int { return cmp.Compare(a.at, b.at) })
	type speech struct {
		number int
		hubStep
	}
	last := map[string]speech{}
	for _, e := range all {
		speaker, number, ok := strings.Cut(string(e.ev.Body), "-")
		if e.ev.Kind != tcproom.Message || !ok {
			continue
		}
		n, _ := strconv.Atoi(number)
		if was := last[speaker]; n <= was.number {
			c.fail("H2: %s said %d in %s before %d in %s, which are there at %v and %v", speaker, n, e.co.name, was.number, was.co.name, e.ev.Time, was.ev.Time)
		}
		last[speaker] = speech{n, e}
	}
}

// checkHooks checks P8, when nobody is there any more.
func (c *chronicle) checkHooks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for m, p := range c.stays {
		if p.left != 1 {
			c.failLocked("P8: no OnLeave of %v", m.Info())
		}
	}
}

// A trip is what one connection got.
type trip struct {
	name  string
	text  bool
	id    string              // of a text connection
	from  map[string]position // where a resume begins, by room; "" for a connection without
	lines []string
	alone bool   // nobody else has it come and go
	alive bool   // it has all that there is: nothing was on its way when it was looked at
	stops bool   // it ended while its process stopped, and others went on
	quiet *quiet // it lasted until all had come to rest; nil: it did not
}

// A quiet is a moment at which nothing was on its way.
type quiet struct {
	at    int                 // the last instant before it
	rooms map[string][]string // of each connection, by ID
}

type position struct {
	epoch string
	seq   uint64
}

// A stay is a trip's time in a room.
type stay struct {
	co    *course
	begin uint64 // seq of its join; 0 if it began on another trip
	at    uint64 // up to where it has everything
	gap   bool   // one may come

	joined int  // the instant of its join; 0 if it began on another trip
	asked  bool // by a request with a ref
}

// A follower holds a trip against the chronicle.
type follower struct {
	*chronicle
	*trip
	in    map[string]*stay // by room
	index int
	where string
	over  bool
	steps []hubStep
}

func (f *follower) bad(format string, args ...any) {
	f.fail("%s, line %d %s: %s", f.name, f.index, f.where, fmt.Sprintf(format, args...))
}

// follow checks a trip: P1, P3, P5, P6, P7, H3, G1.
func (c *chronicle) follow(t *trip) {
	f := &follower{chronicle: c, trip: t, in: map[string]*stay{}}
	for f.index, f.where = range t.lines {
		if f.over {
			f.bad("P4: behind the goodbye of the connection")
			return
		}
		if t.text {
			f.line(f.where)
			continue
		}
		var o object
		if err := json.Unmarshal([]byte(f.where), &o); err != nil {
			f.bad("P7: %v", err)
			return
		}
		f.object(o)
	}
	f.where = "(end)"
	for _, s := range f.in {
		if t.alive {
			f.complete(s)
		}
	}
}

// isOwn reports whether the event at seq is the connection's own message, which it does
// not get.
func (f *follower) isOwn(s *stay, seq uint64) bool {
	e := s.co.events[seq-1].ev
	return e.Kind == tcproom.Message && e.From.ID == f.id
}

// upTo moves s to just before seq, over own messages only.
func (f *follower) upTo(s *stay, seq uint64) {
	for s.at+1 < seq {
		s.at++
		if !f.isOwn(s, s.at) {
			e := s.co.events[s.at-1].ev
			f.bad("P6: %s %d is missing: %v of %v %q", s.co.name, s.at, e.Kind, e.From, e.Body)
		}
	}
}

// leave returns the seq of f's leave in s, or that behind the last of its room.
func (f *follower) leave(s *stay) (seq uint64, at int) {
	for _, e := range s.co.events[min(s.at, uint64(len(s.co.events))):] {
		if e.ev.Kind == tcproom.Leave && e.ev.From.ID == f.id {
			return e.ev.Seq, e.at
		}
	}
	return uint64(len(s.co.events)) + 1, 0
}

// complete checks that s has everything before its end.
func (f *follower) complete(s *stay) {
	end, _ := f.leave(s)
	f.upTo(s, end)
}

// rests checks that f, which lasted until all had come to rest, had everything by then, and
// was told of the rooms in which it is.
func (f *follower) rests() {
	var told []string
	for _, s := range f.in {
		told = append(told, s.co.name)
		n, _ := slices.BinarySearchFunc(s.co.events, f.quiet.at+1, func(e instant, at int) int { return cmp.Compare(e.at, at) })
		f.upTo(s, uint64(n)+1)
	}
	slices.Sort(told)
	if in := f.quiet.rooms[f.id]; !slices.Equal(told, in) {
		f.bad("H6: it is in %q, and was told that it is in %q", in, told)
	}
}
