package itest

import (
	"container/list"
	"fmt"
	"maps"
	"slices"
)

// An anomaly is one thing in a history that a promise forbids.
type anomaly struct {
	name string // one of the constants below
	what string
}

func (a anomaly) String() string { return a.name + ": " + a.what }

// The names of anomalies, with the promises that they break.
const (
	inconsistent = "inconsistent" // P1: one place in the order, two events
	nonMonotonic = "nonmonotonic" // P1: a member was taken back in the order
	realTime     = "realtime"     // P2: before what had its place when it was handed in
	wrongMembers = "members"      // P3: a list that is not what joins and leaves make
	wrongEpoch   = "epoch"        // P3: two streams in one room
	afterLeave   = "after-leave"  // P4: an event after a member's own leave, or a message of a member that is not there
	echo         = "echo"         // P5: a member's own message, join or leave
	skip         = "skip"         // P6: a hole without a gap
	lost         = "lost"         // P6: the end of the stream, or a message, is missing
	duplicate    = "duplicate"    // P7: an event twice
	unexpected   = "unexpected"   // P7: a message that was not sent, or whose bytes or sender changed
	garbled      = "garbled"      // P7: a frame in the middle of another
	aborted      = "aborted-read" // P7: a message that was refused
	alternation  = "alternation"  // P8: joined or left twice
	pairing      = "pairing"      // P8: hooks that do not come in pairs
	wrongCause   = "cause"        // P8: an end for another reason than the known ones
)

// maxWelcome is how many members a Welcome names.
const maxWelcome = 256

// check holds a history of one room, from its first member to its end, against
// P1 to P8 and returns what does not fit. For n records it takes O(n log n).
//
// It knows of the room's order what any client saw of it. So it knows all if one
// client was there all the time and read everything; otherwise it judges what it can.
func check(history []record) []anomaly {
	c := &checker{
		order:   map[uint64]*entry{},
		sent:    map[string]*sending{},
		clients: map[int]*client{},
		members: map[string]*client{},
		hooks:   map[string]*pair{},
		causes:  map[string]string{},
	}
	for i := range history {
		c.take(&history[i])
	}
	c.checkOrder()
	c.checkRealTime()
	for id := range c.last + 1 {
		if cl := c.clients[id]; cl != nil {
			c.checkStream(cl)
			c.checkSends(cl)
		}
	}
	for _, p := range c.pairs {
		if p.left != 1 {
			c.fail(pairing, "%s joined, and left %d times", p.id, p.left)
		}
	}
	return c.found
}

// An entry is an event of the room's order.
type entry struct {
	kind, from, sum, body string
}

func (e entry) String() string { return fmt.Sprintf("%s of %q %s", e.kind, e.from, e.body) }

// A sending is a message that a client, or the room, wanted to send.
type sending struct {
	client int
	body   string
	state  op     // opInvoke: it is not known what came of it
	floor  uint64 // of the places that were taken when it was handed in
	seq    uint64 // 0: not known to have one
}

// A client is one connection.
type client struct {
	number  int
	id      string
	floor   uint64 // of its dial
	welcome *record
	stream  []*record // recv, gap, goodbye
	sends   []*sending
	clean   bool // it read its stream to a clean end
	faulty  bool
	leave   uint64 // seq of its leave, 0: none is known
}

// A pair is what the hooks saw of a member.
type pair struct {
	id   string
	left int
}

type checker struct {
	order   map[uint64]*entry
	sent    map[string]*sending
	clients map[int]*client
	members map[string]*client // by ID
	hooks   map[string]*pair
	pairs   []*pair  // in the order of joins
	last    int      // the highest number of a client
	head    uint64   // the highest place that is taken
	places  []uint64 // the places that are taken, rising
	said    []int    // for each of them, how many messages there are before it
	epoch   string
	causes  map[string]string // of members that left, by ID
	found   []anomaly

	together bool
	sparse   bool
}

func (c *checker) fail(name, format string, args ...any) {
	c.found = append(c.found, anomaly{name, fmt.Sprintf(format, args...)})
}

func (c *checker) client(number int) *client {
	cl := c.clients[number]
	if cl == nil {
		cl = &client{number: number}
		c.clients[number] = cl
		c.last = max(c.last, number)
	}
	return cl
}

// take sorts one record into what the checks look at.
func (c *checker) take(rec *record) {
	cl := c.client(rec.Client)
	switch rec.Op {
	case opDial:
		cl.floor = c.head
	case opFault:
		cl.faulty = true
	case opTogether:
		c.together = true
	case opSparse:
		c.sparse = true
	case opEnd:
		cl.clean = rec.Cause == ""
		if rec.Cause == "malformed" || rec.Cause == "too-large" || rec.Cause == "wrong-door" {
			c.fail(garbled, "client %d got bytes that are no frame (%s)", cl.number, rec.Cause)
		}
	case opInvoke, opOK, opFail:
		c.takeSend(cl, rec)
	case opWelcome:
		c.takeWelcome(cl, rec)
	case opRecv:
		cl.stream = append(cl.stream, rec)
		c.place(rec.Seq, entry{rec.Kind, rec.From, rec.Sum, rec.Body})
	case opGap, opGoodbye:
		cl.stream = append(cl.stream, rec)
	case opJoined, opLeft:
		c.takeHook(rec)
	}
}

func (c *checker) takeSend(cl *client, rec *record) {
	if rec.Op == opInvoke {
		s := &sending{client: cl.number, body: rec.Body, state: opInvoke, floor: c.head}
		if c.sent[rec.Sum] != nil {
			panic("itest: a body was sent twice: " + rec.Body)
		}
		c.sent[rec.Sum] = s
		cl.sends = append(cl.sends, s)
		return
	}
	s := c.sent[rec.Sum]
	if s == nil {
		c.fail(unexpected, "%s was %s and not handed in", rec.Body, rec.Op)
		return
	}
	s.state = rec.Op
	if rec.Seq != 0 {
		c.place(rec.Seq, entry{"Message", cl.id, rec.Sum, rec.Body})
	}
}

func (c *checker) takeWelcome(cl *client, rec *record) {
	if cl.welcome != nil {
		c.fail(duplicate, "client %d was welcomed twice", cl.number)
		return
	}
	cl.welcome, cl.id = rec, rec.From
	if c.epoch == "" {
		c.epoch = rec.Epoch
	}
	if rec.Epoch != c.epoch || rec.Epoch == "" {
		c.fail(wrongEpoch, "client %d was told %q, others %q", cl.number, rec.Epoch, c.epoch)
	}
	if other := c.members[cl.id]; other != nil {
		c.fail(alternation, "clients %d and %d both are %s", other.number, cl.number, cl.id)
	}
	c.members[cl.id] = cl
	c.place(rec.Seq, entry{kind: "Join", from: rec.From})
}

func (c *checker) takeHook(rec *record) {
	p := c.hooks[rec.From]
	switch {
	case rec.Op == opJoined && p == nil:
		p = &pair{id: rec.From}
		c.hooks[rec.From] = p
		c.pairs = append(c.pairs, p)
	case rec.Op == opJoined:
		c.fail(pairing, "%s joined twice", rec.From)
	case p == nil:
		c.fail(pairing, "%s left and had not joined", rec.From)
	default:
		p.left++
		if !slices.ContainsFunc(causes, func(known cause) bool { return known.code == rec.Cause }) {
			c.fail(wrongCause, "%s left for %q", rec.From, rec.Cause)
		}
		c.causes[rec.From] = rec.Cause
	}
}

// place notes what a client saw at seq.
func (c *checker) place(seq uint64, e entry) {
	if seq == 0 {
		c.fail(nonMonotonic, "%v without a place in the order", e)
		return
	}
	c.head = max(c.head, seq)
	switch was := c.order[seq]; {
	case was == nil:
		c.order[seq] = &e
		c.placeFirst(seq, e)
	case *was != e:
		c.fail(inconsistent, "%d is %v for one and %v for another", seq, *was, e)
	}
}

func (c *checker) placeFirst(seq uint64, e entry) {
	if e.kind != "Message" {
		return
	}
	s := c.sent[e.sum]
	switch {
	case s == nil:
		c.fail(unexpected, "nobody sent what is %d: %v", seq, e)
	case s.seq != 0:
		c.fail(duplicate, "%v is %d and %d", e, s.seq, seq)
	default:
		s.seq = seq
	}
}

// checkOrder plays the order through: which members are there, and what the welcomes
// listed.
func (c *checker) checkOrder() {
	present, byID := list.New(), map[string]*list.Element{}
	known, before, said := true, uint64(0), 0 // known: which members are there; not after an event that no client saw
	c.places = slices.Sorted(maps.Keys(c.order))
	for _, seq := range c.places {
		e := c.order[seq]
		known = known && (c.sparse || seq == before+1)
		before = seq
		c.said = append(c.said, said)
		there := byID[e.from] != nil
		switch e.kind {
		case "Join":
			if there {
				c.fail(alternation, "%s joins at %d and is there", e.from, seq)
				break
			}
			byID[e.from] = present.PushBack(e.from)
			if cl := c.members[e.from]; cl != nil && cl.welcome.Seq == seq {
				known = c.checkWelcome(cl, present, byID, known)
			}
		case "Leave":
			if !there {
				if known {
					c.fail(alternation, "%s leaves at %d and is not there", e.from, seq)
				}
				break
			}
			present.Remove(byID[e.from])
			delete(byID, e.from)
			if cl := c.members[e.from]; cl != nil {
				cl.leave = seq
			}
		case "Message":
			said++
			if !there && e.from != "" && known {
				c.fail(afterLeave, "%d is a message of %s, which is not there", seq, e.from)
			}
		}
	}
	c.said = append(c.said, said)
}

// checkWelcome compares a member list with the members that are there. If they are
// not known they are taken from the list, and known from then on if the list is
// whole.
func (c *checker) checkWelcome(cl *client, present *list.List, byID map[string]*list.Element, known bool) bool {
	w := cl.welcome
	if !known {
		present.Init()
		clear(byID)
		for _, id := range w.Members {
			byID[id] = present.PushBack(id)
		}
		return len(w.Members) == w.Total
	}
	var want []string
	for e := present.Front(); e != nil && len(want) < maxWelcome; e = e.Next() {
		want = append(want, e.Value.(string))
	}
	if !slices.Equal(want, w.Members) || w.Total != present.Len() {
		c.fail(wrongMembers, "client %d was told at %d that %v are there (%d), and %v are (%d)",
			cl.number, w.Seq, w.Members, w.Total, want, present.Len())
	}
	return true
}

// checkRealTime compares places with what was taken when the call began.
func (c *checker) checkRealTime() {
	for id := range c.last + 1 {
		cl := c.clients[id]
		if cl == nil {
			continue
		}
		if w := cl.welcome; w != nil && w.Seq <= cl.floor {
			c.fail(realTime, "client %d joined at %d, and dialled when %d was taken", cl.number, w.Seq, cl.floor)
		}
		before := uint64(0) // what the same client had sent
		for _, s := range cl.sends {
			if s.seq == 0 {
				continue
			}
			if s.seq <= s.floor {
				c.fail(realTime, "%s is %d, and was sent when %d was taken", s.body, s.seq, s.floor)
			}
			if cl.number != 0 && s.seq <= before {
				c.fail(realTime, "%s is %d, and was sent after what is %d", s.body, s.seq, before)
			}
			before = max(before, s.seq)
		}
	}
}

// checkSends looks at what became of what a client sent.
func (c *checker) checkSends(cl *client) {
	clean := cl.clean && c.causes[cl.id] == "left" && !cl.faulty // the room read all of it
	for _, s := range cl.sends {
		switch {
		case s.state == opFail && s.seq != 0:
			c.fail(aborted, "%s was refused, and is %d", s.body, s.seq)
		case s.state == opOK && s.seq == 0 && clean:
			c.fail(lost, "%s was taken and its connection read to the end, and nobody has it", s.body)
		case s.seq != 0 && c.order[s.seq].from != cl.id && (cl.number == 0 || cl.id != ""):
			c.fail(unexpected, "%s was sent by %q, and is said by %q", s.body, cl.id, c.order[s.seq].from)
		}
	}
}

// A walk is one client's way through its stream.
type walk struct {
	*checker
	cl      *client
	at      uint64   // up to where it has everything, or knows that it has not
	got     []uint64 // what it received
	past    uint64   // the last message from before the join
	unknown int      // places in holes that no client saw: its own messages, perhaps
	live    bool     // what comes is from after the join
	over    bool     // it received goodbye
}

// checkStream follows what one client saw.
func (c *checker) checkStream(cl *client) {
	if cl.welcome == nil {
		if len(cl.stream) > 0 && cl.stream[0].Op != opGoodbye {
			c.fail(wrongMembers, "client %d was not welcomed and sees %+v", cl.number, *cl.stream[0])
		}
		return
	}
	w := &walk{checker: c, cl: cl, at: cl.welcome.Seq}
	for _, rec := range cl.stream {
		if w.over {
			c.fail(afterLeave, "client %d sees %+v after goodbye", cl.number, *rec)
			return
		}
		switch {
		case rec.Op == opGoodbye:
			w.goodbye()
		case rec.Op == opGap:
			w.gap(rec)
		case rec.Past:
			w.history(rec)
		default:
			w.event(rec)
		}
	}
	unseen := 0
	for _, s := range cl.sends {
		if s.seq == 0 && s.state != opFail {
			unseen++
		}
	}
	if w.unknown > unseen {
		c.fail(skip, "client %d misses %d events that nobody saw, and has sent %d messages that nobody saw", cl.number, w.unknown, unseen)
	}
}

// endLive ends what came from before the join: after its last message there was
// no other before the join.
func (w *walk) endLive() {
	if w.live {
		return
	}
	w.live = true
	if w.past != 0 {
		w.pastHole(w.cl.welcome.Seq)
	}
}

func (w *walk) history(rec *record) {
	switch {
	case w.live:
		w.fail(nonMonotonic, "client %d is told history at %d, among what is live", w.cl.number, rec.Seq)
		return
	case rec.Seq > w.cl.welcome.Seq:
		w.fail(duplicate, "client %d, which joined at %d, is told %d as history", w.cl.number, w.cl.welcome.Seq, rec.Seq)
		return
	case rec.Seq == w.past:
		w.fail(duplicate, "client %d is told %d twice as history", w.cl.number, rec.Seq)
		return
	case rec.Seq < w.past:
		w.fail(nonMonotonic, "client %d is told %d as history after %d", w.cl.number, rec.Seq, w.past)
		return
	}
	if w.past != 0 {
		w.pastHole(rec.Seq)
	}
	w.past = rec.Seq
}

// pastHole looks for messages between the last of the history and seq.
func (w *walk) pastHole(seq uint64) {
	from, to := w.between(w.past, seq)
	if from < to && w.messages(from, to) > 0 {
		w.fail(skip, "client %d is told %d as history, and not all that follows before %d", w.cl.number, w.past, seq)
	}
}

func (w *walk) event(rec *record) {
	w.endLive()
	cl := w.cl
	if rec.From == cl.id {
		w.fail(echo, "client %d sees its own %s at %d", cl.number, rec.Kind, rec.Seq)
	}
	if cl.leave != 0 && rec.Seq > cl.leave {
		w.fail(afterLeave, "client %d left at %d and sees %d", cl.number, cl.leave, rec.Seq)
	}
	if rec.Seq <= w.at {
		if _, ok := slices.BinarySearch(w.got, rec.Seq); ok {
			w.fail(duplicate, "client %d sees %d twice", cl.number, rec.Seq)
		} else {
			w.fail(nonMonotonic, "client %d sees %d after %d", cl.number, rec.Seq, w.at)
		}
		return
	}
	w.hole(rec.Seq, skip)
	w.got = append(w.got, rec.Seq)
	w.at = rec.Seq
}

func (w *walk) gap(rec *record) {
	w.endLive()
	if rec.Seq <= w.at || rec.To < rec.Seq {
		w.fail(nonMonotonic, "client %d is told of a gap from %d to %d after %d", w.cl.number, rec.Seq, rec.To, w.at)
		return
	}
	if rec.To > w.head {
		w.fail(skip, "client %d is told of a gap up to %d, and the order ends at %d", w.cl.number, rec.To, w.head)
	}
	w.hole(rec.Seq, skip)
	w.at = rec.To
}

// goodbye checks that the client has everything, up to its leave or the end.
func (w *walk) goodbye() {
	w.endLive()
	w.over = true
	end := w.head + 1
	if w.cl.leave != 0 {
		end = w.cl.leave
		if w.together {
			end = w.lastMessage(w.cl.leave) + 1
		}
	}
	if end > w.at {
		w.hole(end, lost)
	}
}

// lastMessage returns the place of the last message before seq, where a client is that
// saw all that others were told of joins and leaves; 0 if there is none.
func (w *walk) lastMessage(seq uint64) uint64 {
	for _, to := w.between(0, seq); to > 0; to-- {
		if at := w.places[to-1]; w.order[at].kind == "Message" {
			return at
		}
	}
	return 0
}

// hole looks at what the client did not see between where it is and seq: only
// its own messages may be there.
func (w *walk) hole(seq uint64, name string) {
	from, to := w.between(w.at, seq)
	for _, s := range w.places[from:to] {
		if e := w.order[s]; e.kind != "Message" || e.from != w.cl.id {
			w.fail(name, "client %d does not see %d, %v", w.cl.number, s, *e)
		}
	}
	if !w.sparse { // else nothing is missing that nobody saw
		w.unknown += int(seq-w.at-1) - (to - from)
	}
}

// messages counts the messages among places[from:to].
func (c *checker) messages(from, to int) int {
	return c.said[to] - c.said[from]
}

// between returns which of the places lie between two, without them.
func (c *checker) between(a, b uint64) (from, to int) {
	from, _ = slices.BinarySearch(c.places, a+1)
	to, _ = slices.BinarySearch(c.places, b)
	return from, to
}
