package roomtest

import (
	"bytes"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
	"example.com/tcproom/internal/probe"
)

// Verify ends the faults of all nodes, waits until those that run have read all of the log,
// and their members have received what is theirs, and then holds what everybody has seen
// against the order that the log gives. The test fails, with the place in the order, if
//
//   - two have seen different events at one place, or one of them another than there was;
//   - a member was taken back in the order, or received something twice, or its own
//     messages, or something behind its leave;
//   - a member lacks an event that it was not told to be in a gap: between two others,
//     behind where it has resumed, up to now if it is connected, or before its leave if it
//     was kicked and no node has ever lost the log;
//   - a Welcome lists other members than those that were in;
//   - the order has joins and leaves of a member that do not alternate, or something that
//     a member said who was not in;
//   - nodes that run have made different things of the log, or know of other members.
//
// It looks at the members of [Server.Join] and [Server.Resume], and those of
// [Server.Watch] that have a Welcome, on all nodes, also if they have left. Nothing may
// join, leave or send while it does. It knows nothing of [tcproom.WithEcho] and
// [tcproom.WithNoticesTogether]: with these it finds faults that are none.
func (c *Cluster) Verify() {
	c.t.Helper()
	c.mu.Lock()
	nodes, lives := slices.Clone(c.nodes), slices.Clone(c.lives)
	c.mu.Unlock()
	nodes = slices.DeleteFunc(nodes, func(n *node) bool { return n.down })
	for _, n := range nodes {
		c.heal(n)
	}
	v := &verifier{c: c, patience: defaultWithin, lost: c.Log.wasLost()}
	if len(nodes) > 0 {
		v.patience = nodes[0].s.patience()
	}
	v.settle(nodes)
	v.read()
	for i, n := range lives {
		v.down = v.down || n.down
		v.transcript(i, n.s)
	}
	for i, n := range lives {
		for _, cl := range n.s.conns() {
			v.stream(i, n.s, cl)
		}
	}
	v.nodes(nodes)
	if len(v.found) == 0 {
		return
	}
	const most = 8
	text := strings.Join(v.found[:min(most, len(v.found))], "\n")
	if more := len(v.found) - most; more > 0 {
		text += fmt.Sprintf("\nand %d more", more)
	}
	c.t.Errorf("roomtest: the cluster does not keep its promises:\n\t%s\nthe order of the log:\n%s", strings.ReplaceAll(text, "\n", "\n\t"), v.order())
}

// conns returns the clients of s that are members.
func (s *Server) conns() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.clients), func(cl *client) bool { return cl.in == nil })
}

// A verifier is a call of Verify.
type verifier struct {
	c        *Cluster
	patience time.Duration
	books    []*book
	down     bool // a node does not run any more
	notices  bool // members are told of joins and leaves
	lost     bool // a node has lost the log: who is kicked then is told before that is ordered
	found    []string
}

func (v *verifier) fail(format string, args ...any) {
	v.found = append(v.found, fmt.Sprintf(format, args...))
}

// settle waits until all nodes have read all, and nothing more is on its way there.
func (v *verifier) settle(nodes []*node) {
	const quiet = 20 // looks in a row at which nothing was new
	deadline := time.Now().Add(v.patience)
	for calm, before := 0, uint64(0); calm < quiet; time.Sleep(5 * time.Millisecond) {
		_, last := v.c.Log.all(ClusterRoom)
		calm++
		if last != before {
			calm, before = 0, last
		}
		for i, n := range nodes {
			pos, _ := probe.Fold(n.s.Room)
			if pos == last {
				continue
			}
			if calm = 0; time.Now().After(deadline) {
				v.fail("node %d has read the log up to record %d, and not up to %d, within %v", i, pos, last, v.patience)
				return
			}
		}
		if time.Now().After(deadline) {
			v.fail("the log does not come to rest within %v", v.patience)
			return
		}
	}
}

// A book is what a log's records say, from its first one on: a log that was replaced or
// rolled back has several.
type book struct {
	state  *fold.State // at the end
	events []noted     // by seq
	joins  map[stay]uint64
	leaves map[stay]uint64
	kicked map[stay]bool
	in     map[string]bool
}

// A stay is a member in one of the streams.
type stay struct{ epoch, id string }

// A noted event is one of the order, or, with Kind 0, what else nodes had ordered.
type noted struct {
	tcproom.Event
	what fold.Kind
	text string
}

// begins reports whether it is the beginning of a stream, in which nobody is.
func (n *noted) begins() bool { return n.what == fold.Begin }

// read makes the books.
func (v *verifier) read() {
	lives, _ := v.c.Log.all(ClusterRoom)
	for _, recs := range lives {
		b := &book{state: fold.New(), joins: make(map[stay]uint64), leaves: make(map[stay]uint64), kicked: make(map[stay]bool), in: make(map[string]bool)}
		for i, rec := range recs {
			err := b.state.Apply(uint64(i)+1, rec.time, rec.data, func(res *fold.Result) {
				if res.Verdict == fold.Placed {
					v.note(b, res)
				}
			})
			if err != nil {
				v.fail("record %d cannot be read: %v", i+1, err)
			}
		}
		v.books = append(v.books, b)
	}
}

// epoch returns the one in force.
func (b *book) epoch() string {
	epoch := b.state.Epoch()
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(epoch[:])
}

// note adds what an entry has become to b.
func (v *verifier) note(b *book, res *fold.Result) {
	e := res.Entry
	ev := tcproom.Event{Seq: res.Seq, Epoch: b.epoch()}
	switch e.Kind {
	case fold.Message:
		ev.Kind, ev.Body = tcproom.Message, bytes.Clone(e.Body)
		switch {
		case e.Guest:
			ev.From = tcproom.MemberInfo{ID: e.From, Name: e.Name}
		case res.Member != nil:
			ev.From = tcproom.MemberInfo{ID: res.Member.ID, Name: res.Member.Name}
			if !b.in[ev.From.ID] {
				v.fail("%d is a message of %s, who is not in", res.Seq, ev.From.ID)
			}
		}
	case fold.Join:
		ev.Kind, ev.From = tcproom.Join, tcproom.MemberInfo{ID: e.ID, Name: e.Name}
		is := stay{ev.Epoch, e.ID}
		if b.joins[is] != 0 {
			v.fail("%s joins at %d, and has joined at %d", e.ID, res.Seq, b.joins[is])
		}
		b.joins[is], b.in[e.ID] = res.Seq, true
	case fold.Leave, fold.Kick:
		ev.Kind, ev.From = tcproom.Leave, tcproom.MemberInfo{ID: res.Member.ID, Name: res.Member.Name}
		if !b.in[ev.From.ID] {
			v.fail("%s leaves at %d, and is not in", ev.From.ID, res.Seq)
		}
		is := stay{ev.Epoch, ev.From.ID}
		b.leaves[is] = res.Seq
		delete(b.in, ev.From.ID)
		b.kicked[is] = e.Kind == fold.Kick
	case fold.Begin:
		clear(b.in)
	}
	b.events = append(b.events, noted{ev, e.Kind, aside(res, b.state)})
}

// aside says what an entry is that makes no event.
func aside(res *fold.Result, s *fold.State) string {
	e, by := res.Entry, fmt.Sprintf("node %d", s.NodeNumber(res.Header.Node))
	switch e.Kind {
	case fold.Detach:
		return fmt.Sprintf("%s: %s has lost its connection", by, e.ID)
	case fold.Resume:
		return fmt.Sprintf("%s: %s resumes here", by, e.ID)
	case fold.Reclaim:
		return fmt.Sprintf("%s: has %d members back", by, len(res.Members))
	case fold.Open:
		return fmt.Sprintf("%s: opens, for the time %d", by, res.Header.Batch>>48)
	case fold.NodeLeft:
		return fmt.Sprintf("%s: leaves", by)
	case fold.NodeDown:
		return fmt.Sprintf("%s: node %d is dead", by, s.NodeNumber(e.Node))
	case fold.Begin:
		return fmt.Sprintf("%s: a stream begins", by)
	}
	return ""
}

// at returns the event at seq, nil if there is none.
func (b *book) at(seq uint64) *noted {
	if i := b.behind(seq - 1); i < len(b.events) && b.events[i].Seq == seq && b.events[i].Kind != 0 {
		return &b.events[i]
	}
	return nil
}

// behind returns the index of the first event behind seq.
func (b *book) behind(seq uint64) int {
	i, _ := slices.BinarySearchFunc(b.events, seq+1, func(ev noted, seq uint64) int {
		switch {
		case ev.Seq < seq:
			return -1
		case ev.Seq > seq:
			return 1
		}
		return 0
	})
	return i
}

// roster returns the IDs of those who were in behind the event at seq, in the order of
// their joins.
func (b *book) roster(seq uint64) (ids []string) {
	for _, ev := range b.events[:b.behind(seq)] {
		switch {
		case ev.begins():
			ids = nil
		case ev.Kind == tcproom.Join:
			ids = append(ids, ev.From.ID)
		case ev.Kind == tcproom.Leave:
			ids = slices.DeleteFunc(ids, func(id string) bool { return id == ev.From.ID })
		}
	}
	return ids
}

// same reports whether ev is what was noted.
func (n *noted) same(ev *tcproom.Event) bool {
	return n.Kind == ev.Kind && n.From == ev.From && (ev.Kind != tcproom.Message || bytes.Equal(n.Body, ev.Body))
}

// order is the order of the log as a failure shows it.
func (v *verifier) order() string {
	var b strings.Builder
	for i, bk := range v.books {
		if len(v.books) > 1 {
			fmt.Fprintf(&b, "log %d\n", i+1)
		}
		const most = 3000
		if n := len(bk.events) - most; n > 0 {
			fmt.Fprintf(&b, "… %d events\n", n)
		}
		for _, ev := range bk.events[max(0, len(bk.events)-most):] {
			switch {
			case ev.text != "":
				fmt.Fprintf(&b, "%8d    %s\n", ev.Seq, ev.text)
				continue
			case ev.Kind == 0:
				continue
			}
			fmt.Fprintf(&b, "%8d  %s %s\n", ev.Seq, ev.From.ID, short(line(&ev.Event)))
		}
	}
	return b.String()
}

// by calls check with each book, newest first, until it returns nothing, and keeps what
// it returned for the newest one if that does not happen.
func (v *verifier) by(check func(b *book) []string) {
	var first []string
	for i := len(v.books) - 1; i >= 0; i-- {
		found := check(v.books[i])
		if len(found) == 0 {
			return
		}
		if first == nil {
			first = found
		}
	}
	v.found = append(v.found, first...)
}

// transcript compares the order as a node has read it.
func (v *verifier) transcript(i int, s *Server) {
	events := s.rec.transcript().events
	for j := range events {
		ev := &events[j]
		v.notices = v.notices || ev.Kind != tcproom.Message
		if j > 0 && ev.Seq <= events[j-1].Seq && len(v.books) == 1 {
			v.fail("life %d of a node has %d behind %d", i, ev.Seq, events[j-1].Seq)
		}
		v.by(func(b *book) []string {
			was := b.at(ev.Seq)
			switch {
			case was == nil:
				return []string{fmt.Sprintf("life %d of a node has at %d: %s, where the log has nothing", i, ev.Seq, line(ev))}
			case !was.same(ev):
				return []string{fmt.Sprintf("life %d of a node has at %d: %s, where the log has: %s", i, ev.Seq, line(ev), line(&was.Event))}
			}
			return nil
		})
	}
}

// stream follows what a client has received.
func (v *verifier) stream(i int, s *Server, cl *client) {
	v.awaitAll(cl)
	l := cl.in.look()
	if len(l.events) == 0 || l.events[0].Kind != tcproom.Welcome || l.events[0].From.ID == "" {
		return // its codec does not tell, or it was refused
	}
	who := fmt.Sprintf("%s, in life %d of a node,", safe([]byte(l.events[0].From.Name)), i)
	for from, more := 0, true; more; {
		to := nextReset(l.events, from)
		part := l
		part.events, more = l.events[from:to], to < len(l.events)
		v.by(func(b *book) []string {
			w := newWalk(v, b, cl, &part, who)
			w.all(!more)
			return w.found
		})
		from = to
	}
}

// nextReset returns the index of the next event behind the one at from with which another
// stream begins, or how many events there are.
func nextReset(events []tcproom.Event, from int) int {
	for i := from + 1; i < len(events); i++ {
		if beginsAnew(&events[i]) {
			return i
		}
	}
	return len(events)
}

func beginsAnew(ev *tcproom.Event) bool {
	return ev.Kind == tcproom.Welcome && ev.Welcome != nil && ev.Welcome.Outcome == "reset"
}

// awaitAll waits until a client that is connected has received all that is for it, as far
// as that can be known, or is slow.
func (v *verifier) awaitAll(cl *client) {
	if len(v.books) == 0 {
		return
	}
	b := v.books[len(v.books)-1]
	deadline := time.Now().Add(v.patience)
	for time.Now().Before(deadline) {
		l := cl.in.look()
		if len(l.events) == 0 || l.events[0].Kind != tcproom.Welcome || l.events[0].From.ID == "" || l.err != nil {
			return
		}
		for i := nextReset(l.events, 0); i < len(l.events); i = nextReset(l.events, 0) {
			l.events = l.events[i:]
		}
		w := newWalk(v, b, cl, &l, "")
		for i := range l.events {
			w.event(&l.events[i])
		}
		if w.epoch == b.epoch() && w.missing(w.end()) == nil {
			return
		}
		select {
		case <-l.changed:
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A walk follows one stream by a book.
type walk struct {
	v     *verifier
	b     *book
	cl    *client
	l     *look
	who   string
	id    string
	epoch string
	at    uint64 // up to where it has everything, or knows that it has not
	past  uint64 // the last message of history
	live  bool
	due   bool              // a gap: it was welcomed for that
	over  *tcproom.EndError // of a goodbye
	found []string
}

func newWalk(v *verifier, b *book, cl *client, l *look, who string) *walk {
	first := &l.events[0]
	return &walk{v: v, b: b, cl: cl, l: l, who: who, id: first.From.ID, epoch: first.Welcome.Epoch}
}

func (w *walk) fail(format string, args ...any) {
	w.found = append(w.found, w.who+" "+fmt.Sprintf(format, args...))
}

// all follows it up to where its stream was lost, or, if it is the last one, up to its end.
func (w *walk) all(last bool) {
	for i := range w.l.events {
		if w.event(&w.l.events[i]); len(w.found) > 0 {
			return // what follows would follow from it
		}
	}
	switch {
	case !last: // what was on its way is lost
		return
	case w.l.err == nil && w.epoch != w.b.epoch():
		w.fail("is connected, and in a stream that is over: %q", w.epoch)
		return
	case w.l.err == nil:
	case w.over != nil && w.over.Cause == tcproom.ErrKicked && w.b.kicked[w.stay()] && !w.v.lost:
	default:
		return // what was on its way may be lost
	}
	if ev := w.missing(w.end()); ev != nil {
		how := "is connected"
		if w.l.err != nil {
			how = fmt.Sprintf("has ended (%v)", w.l.err)
		}
		w.fail("%s and lacks %d, behind %d: %s", how, ev.Seq, w.at, line(&ev.Event))
	}
}

func (w *walk) stay() stay { return stay{w.epoch, w.id} }

// end returns up to where what is ordered is for w.
func (w *walk) end() uint64 {
	if left := w.b.leaves[w.stay()]; left != 0 {
		return left
	}
	if n := len(w.b.events); n > 0 {
		return w.b.events[n-1].Seq + 1
	}
	return 0
}

// missing returns the first event before seq that w has not received and is for it, nil
// if there is none.
func (w *walk) missing(seq uint64) *noted {
	for i := w.b.behind(w.at); i < len(w.b.events) && w.b.events[i].Seq < seq; i++ {
		ev := &w.b.events[i]
		if ev.Kind != 0 && ev.Epoch == w.epoch && ev.From.ID != w.id && (w.v.notices || ev.Kind == tcproom.Message) {
			return ev
		}
	}
	return nil
}

func (w *walk) event(ev *tcproom.Event) {
	switch {
	case w.over != nil:
		w.fail("has received %q behind a goodbye", line(ev))
	case w.due && ev.Kind != tcproom.Gap:
		w.fail("was welcomed behind a gap and has received %q", line(ev))
	case ev.Kind == tcproom.Welcome:
		w.welcome(ev)
	case ev.Kind == tcproom.Goodbye:
		if w.over = ev.End; w.over == nil {
			w.over = new(tcproom.EndError)
		}
	case ev.Kind == tcproom.Gap:
		w.gap(ev)
	case !isOrdered(ev):
	case ev.History:
		w.history(ev)
	default:
		w.ordered(ev)
	}
}

func (w *walk) welcome(ev *tcproom.Event) {
	at, again := ev.Seq, w.at != 0 || w.live
	joined := w.b.joins[w.stay()]
	w.due = ev.Welcome.Outcome == "gap"
	switch from := w.cl.from; {
	case again && (!w.due || ev.Welcome.Epoch != w.epoch):
		w.fail("was welcomed twice")
		return
	case again:
	case joined == 0:
		w.fail("was welcomed as %s, which has not joined", w.id)
		return
	case beginsAnew(ev):
		w.at = ev.Seq
	case !ev.Welcome.Resumed():
		at = joined
		w.at = joined
	case from == nil:
		w.at = ev.Seq // it is not known, so the first event counts
	default:
		w.at = max(from.Seq, joined)
	}
	if i := w.b.behind(max(at, joined)); i == 0 || w.b.events[i-1].Epoch != w.epoch {
		w.fail("was told at %d of another epoch than that of the log: %q", at, w.epoch)
		return
	}
	if ev.Welcome.Resumed() && !w.v.notices {
		return // joins and leaves have no seq then
	}
	want := w.b.roster(at)
	var got []string
	for _, m := range ev.Welcome.Members {
		got = append(got, m.ID)
	}
	if ev.Welcome.Total != len(want) || !slices.Equal(got, want[:min(len(want), len(got))]) {
		w.fail("was told at %d that %d are in: %v, and %d are: %v", at, ev.Welcome.Total, got, len(want), want)
	}
}

func (w *walk) gap(ev *tcproom.Event) {
	w.due = false
	switch g := ev.Gap; {
	case g.Last < g.First, g.Last <= w.at && w.live:
		w.fail("was told of a gap from %d to %d behind %d", g.First, g.Last, w.at)
	default:
		if ev := w.missing(g.First); ev != nil {
			w.fail("lacks %d before a gap from %d: %s", ev.Seq, g.First, line(&ev.Event))
		}
		w.at = max(w.at, g.Last)
	}
}

func (w *walk) history(ev *tcproom.Event) {
	was := w.b.at(ev.Seq)
	switch {
	case w.live:
		w.fail("has received history, %d, behind what is live", ev.Seq)
	case ev.Seq <= w.past || ev.Seq > w.at:
		w.fail("has received %d as history behind %d, and joined at %d", ev.Seq, w.past, w.at)
	case was == nil || !was.same(ev):
		w.fail("has received as history at %d: %s, where the log has something else", ev.Seq, line(ev))
	}
	w.past = ev.Seq
}

func (w *walk) ordered(ev *tcproom.Event) {
	w.live = true
	was := w.b.at(ev.Seq)
	left := w.b.leaves[w.stay()]
	switch {
	case ev.Seq <= w.at:
		w.fail("has received %d behind %d: %s", ev.Seq, w.at, line(ev))
	case was == nil:
		w.fail("has received at %d: %s, where the log has nothing", ev.Seq, line(ev))
	case was.Epoch != w.epoch:
		w.fail("has received at %d: %s, which is of another epoch than its own", ev.Seq, line(ev))
	case !was.same(ev):
		w.fail("has received at %d: %s, where the log has: %s", ev.Seq, line(ev), line(&was.Event))
	case ev.From.ID == w.id:
		w.fail("has received its own, at %d: %s", ev.Seq, line(ev))
	case left != 0 && ev.Seq > left:
		w.fail("has left at %d and received %d: %s", left, ev.Seq, line(ev))
	default:
		if lacks := w.missing(ev.Seq); lacks != nil {
			w.fail("has received %d: %s, and lacks %d before: %s", ev.Seq, line(ev), lacks.Seq, line(&lacks.Event))
		}
	}
	w.at = max(w.at, ev.Seq)
}

// nodes compares what the nodes that run know.
func (v *verifier) nodes(nodes []*node) {
	if len(v.books) == 0 {
		return
	}
	state := v.books[len(v.books)-1].state
	sum := state.Sum()
	homes := make(map[string]int) // at how many nodes a member is connected
	for i, n := range nodes {
		if pos, got := probe.Fold(n.s.Room); got != sum {
			v.fail("running node %d has made another state of the log, up to record %d", i, pos)
		}
		var got, want []tcproom.MemberInfo
		for m := range n.s.Room.Members() {
			if got = append(got, m.Info()); !m.Remote() {
				homes[m.ID()]++
			}
		}
		for m := range state.Members() {
			want = append(want, tcproom.MemberInfo{ID: m.ID, Name: m.Name})
		}
		if !slices.Equal(got, want) {
			v.fail("running node %d knows of the members %v, and in are %v", i, got, want)
		}
		if got := n.s.Room.Len(); got != len(want) {
			v.fail("running node %d says that %d are in, and %d are", i, got, len(want))
		}
	}
	for m := range state.Members() {
		switch n := homes[m.ID]; {
		case n == 0 && (!m.Detached.IsZero() || !state.IsOpen(m.Home) || v.down): // or dead, and not declared so yet
		case n == 1 && state.IsOpen(m.Home):
		default:
			v.fail("%s is connected, or was last, to %d of the nodes that run", m.ID, n)
		}
	}
}

// Transcript returns the whole order of the log, from its first record on, also of records
// that it has dropped since. Of a log that was replaced or rolled back it is the order
// since then.
func (c *Cluster) Transcript() *Transcript {
	v := &verifier{c: c}
	v.read()
	tr := new(Transcript)
	if n := len(v.books); n > 0 {
		for _, ev := range v.books[n-1].events {
			switch {
			case ev.begins():
				tr.events = nil
			case ev.Kind != 0:
				tr.events = append(tr.events, ev.Event)
			}
		}
	}
	return tr
}
