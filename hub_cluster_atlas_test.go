package tcproom_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
	"example.com/tcproom/internal/probe"
)

// An atlas is the chronicle of a hub that lives in several nodes: each of them tells of
// each event, and all have to tell the same. A name has one room after the other, whose
// streams are in one log.
type atlas struct {
	*chronicle
	seqs    map[string][]uint64 // of the events of a name, in order
	rooms   map[string]*course  // by name: the events of all streams
	streams map[string][]*lifetime
	hooks   map[*tcproom.Member]int
	removed map[string]int //  by epoch: the instant at which a Remove had returned
	posts   []post
}

// A lifetime is one of the streams of a name, from its begin to its end.
type lifetime struct {
	*course
	seqs       []uint64 // of its events, in order
	begin, end uint64   // places of these in the log; end is the greatest if there is none
	forced     bool     // it was ended whoever was in
}

// place returns how many events there are up to seq.
func (lt *lifetime) place(seq uint64) uint64 {
	i, known := slices.BinarySearch(lt.seqs, seq)
	if known {
		i++
	}
	return uint64(i)
}

// node returns the options of a room as one node has it.
func (a *atlas) node(dead func() bool) func(name string) []tcproom.RoomOption {
	return func(name string) []tcproom.RoomOption {
		return []tcproom.RoomOption{
			probe.Option(probe.Probe{Ordered: func(ev any) { a.ordered(name, *ev.(*tcproom.Event)) }}).(tcproom.RoomOption),
			tcproom.OnJoin(func(m *tcproom.Member) error { a.hook(m, 1, dead); return nil }),
			tcproom.OnLeave(func(m *tcproom.Member, _ error) { a.hook(m, -1, dead) }),
		}
	}
}

func (a *atlas) hook(m *tcproom.Member, d int, dead func() bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hooks[m] += d; !dead() && (a.hooks[m] < 0 || a.hooks[m] > 1) {
		a.failLocked("P8: OnJoin and OnLeave of %v do not alternate: %d", m.Info(), a.hooks[m])
	}
	if dead() {
		delete(a.hooks, m)
	}
}

func (a *atlas) ordered(name string, ev tcproom.Event) {
	ev.Body = slices.Clone(ev.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	co := a.rooms[name]
	if co == nil {
		co = &course{name: name}
		a.rooms[name] = co
	}
	seqs := a.seqs[name]
	i, known := slices.BinarySearch(seqs, ev.Seq)
	switch {
	case known:
		if was := co.events[i].ev; was.Kind != ev.Kind || was.From != ev.From || string(was.Body) != string(ev.Body) {
			a.failLocked("P1: %s %d is %v of %v %q at a node, and %v of %v %q at another", name, ev.Seq, was.Kind, was.From, was.Body, ev.Kind, ev.From, ev.Body)
		}
	case i < len(seqs):
		a.failLocked("P1: %s %d is there at one node, and not at another: %v of %v %q", name, ev.Seq, ev.Kind, ev.From, ev.Body)
	default:
		a.at++
		a.seqs[name] = append(seqs, ev.Seq)
		co.events = append(co.events, instant{a.at, ev})
	}
}

// A post is what a program said in a room, and what became of that.
type post struct {
	room, body    string
	before, after string // epochs of the room
	seq           uint64
	err           error
}

// broadcasts says something in a room.
func (a *atlas) broadcasts(room *tcproom.Room, body string) {
	p := post{room: room.Name(), body: body, before: tcproom.EpochOf(room)}
	p.seq, p.err = room.Broadcast(context.Background(), []byte(body))
	p.after = tcproom.EpochOf(room)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.posts = append(a.posts, p)
}

// ends ends a room at a node, in one of three ways, and looks. Then it may make the next
// one of the name.
func (w *hubWorld) ends(n *hubNode, room *tcproom.Room, how int, again bool) {
	name, was := room.Name(), tcproom.EpochOf(room)
	parts := w.parts(name, was)
	soon := time.Second
	if w.lags {
		soon = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.grace)
	defer cancel()
	began := time.Now()
	err := []func() error{
		func() error { return n.hub.Remove(name, "swept") }, room.Close, func() error { return room.Shutdown(ctx) },
	}[how]()
	if err != nil || w.stopsAt(n) {
		return
	}
	if took := time.Since(began); took > soon {
		w.atlas.fail("H6: the end of %s (%d) has taken %v", name, how, took)
	}
	if in, _ := n.hub.Lookup(name); in == room {
		w.atlas.fail("H6: %s is ended (%d), and still in its hub", name, how)
	}
	if m := slices.Collect(room.Members()); len(m) > 0 && how != 1 { // Close may have found that somebody else ends it
		w.atlas.fail("H6: %s is ended (%d), and %v is in", name, how, m[0].Info())
	}
	if how == 0 {
		w.atlas.mu.Lock()
		if _, ok := w.removed[was]; !ok {
			w.removed[was] = w.atlas.at
		}
		w.atlas.mu.Unlock()
	}
	if again {
		next, err := n.hub.Room(name)
		if err == nil && next.Ready(ctx) == nil && how == 0 && tcproom.EpochOf(next) == was {
			w.atlas.fail("H1: %s is removed, and the next room of the name has its stream %s", name, was)
		}
	}
	if how == 0 {
		time.Sleep(soon)
		for n, r := range parts {
			select {
			case <-r.Done():
			default:
				if !w.stopsAt(n) {
					w.atlas.fail("H6: %s is removed, and goes on at a node, with %d members", name, r.Len())
				}
			}
		}
	}
}

// parts returns the rooms of that name and stream at all nodes.
func (w *hubWorld) parts(name, epoch string) map[*hubNode]*tcproom.Room {
	parts := map[*hubNode]*tcproom.Room{}
	w.nodesMu.Lock()
	defer w.nodesMu.Unlock()
	for _, n := range w.nodes {
		if r, ok := n.hub.Lookup(name); ok && tcproom.EpochOf(r) == epoch {
			parts[n] = r
		}
	}
	return parts
}

func (w *hubWorld) stopsAt(n *hubNode) bool {
	w.nodesMu.Lock()
	defer w.nodesMu.Unlock()
	return n.leaves
}

// settles checks, when nothing happens any more, that all nodes agree, with each other and
// with the logs.
func (w *hubWorld) settles() {
	synctest.Wait()
	q := &quiet{w.atlas.at, map[string][]string{}}
	for _, name := range stormRooms {
		state := w.read(name, func(*fold.Result) {})
		open := false
		for i, n := range w.nodes {
			if r, ok := n.hub.Lookup(name); ok {
				w.knows(i, r, state)
				open = true
			}
		}
		for m := range state.Members() {
			if open { // else it is one of a process that is gone, and leaves when somebody opens the room
				q.rooms[m.ID] = append(q.rooms[m.ID], name)
			}
		}
	}
	w.agree()
	w.nodesMu.Lock()
	w.quiet = q
	w.nodesMu.Unlock()
	w.atlas.mu.Lock()
	defer w.atlas.mu.Unlock()
	for m, n := range w.hooks {
		if now, ok := m.Room().Member(m.ID()); n > 0 && (!ok || now != m) {
			w.atlas.failLocked("P8: %v is not in %s any more, and OnLeave was not called", m.Info(), m.Room().Name())
		}
	}
}

// read reads the log of a name, calls fn with each entry, and returns what there is at the
// end.
func (w *hubWorld) read(name string, fn func(*fold.Result)) *fold.State {
	t := w.storm.t
	l, err := w.log.Open(t.Context(), name)
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	state := fold.New()
	end := make(chan error)
	go func() {
		end <- l.Tail(ctx, 0, func(rec tcproom.Record) error {
			return state.Apply(rec.Pos, rec.Time, rec.Data, fn)
		})
	}()
	synctest.Wait()
	cancel()
	if err := <-end; !errors.Is(err, context.Canceled) {
		w.atlas.fail("the log of %s: %v", name, err)
	}
	return state
}

// noteStream notes where streams begin and end.
func (a *atlas) noteStream(name string, res *fold.Result) {
	switch e := res.Entry; {
	case res.Verdict != fold.Placed:
	case e.Kind == fold.Begin:
		a.streams[name] = append(a.streams[name], &lifetime{
			course: &course{name: name, epoch: tcproom.EpochText(e.Epoch)}, begin: res.Seq, end: math.MaxUint64,
		})
	case e.Kind == fold.End:
		last := a.streams[name][len(a.streams[name])-1]
		last.end, last.forced = res.Seq, e.Force
	}
}

// knows checks that a node has of a room what its log says.
func (w *hubWorld) knows(node int, r *tcproom.Room, state *fold.State) {
	if want, got := tcproom.EpochText(state.Epoch()), tcproom.EpochOf(r); want != got {
		w.atlas.fail("H1: node %d has the stream %s of %s, whose log has %s", node, got, r.Name(), want)
	}
	var want, got []string
	for m := range state.Members() {
		want = append(want, m.ID)
	}
	for m := range r.Members() {
		got = append(got, m.ID())
	}
	if !slices.Equal(want, got) {
		w.atlas.fail("H6: node %d has %v in %s, whose log has %v", node, got, r.Name(), want)
	}
}

// split reads the logs when all nodes have stopped, and makes a course of each stream.
func (w *hubWorld) split() {
	a := w.atlas
	for _, name := range stormRooms {
		w.read(name, func(res *fold.Result) { a.noteStream(name, res) })
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, all := range a.rooms {
		for i, seq := range a.seqs[name] {
			in := all.events[i]
			lt := a.stream(name, seq)
			if lt == nil {
				a.failLocked("P1: %s %d is of no stream: %v of %v %q", name, seq, in.ev.Kind, in.ev.From, in.ev.Body)
				continue
			}
			lt.seqs = append(lt.seqs, seq)
			in.ev.Seq = uint64(len(lt.seqs))
			lt.events = append(lt.events, in)
		}
	}
	for _, streams := range a.streams {
		for _, lt := range streams {
			a.courses = append(a.courses, lt.course)
		}
	}
}

// stream returns that of a name which has seq; nil if there is none.
func (a *atlas) stream(name string, seq uint64) *lifetime {
	for _, lt := range a.streams[name] {
		if seq > lt.begin && seq < lt.end {
			return lt
		}
	}
	return nil
}

// named returns the stream of an epoch; nil if there is none.
func (a *atlas) named(name, epoch string) *lifetime {
	for _, lt := range a.streams[name] {
		if lt.epoch == epoch {
			return lt
		}
	}
	return nil
}

// said returns the body of the message at seq; empty if there is none.
func (a *atlas) said(name string, seq uint64) string {
	i, ok := slices.BinarySearch(a.seqs[name], seq)
	if !ok || a.rooms[name].events[i].ev.Kind != tcproom.Message {
		return ""
	}
	return string(a.rooms[name].events[i].ev.Body)
}

// checkEnds checks that what was removed is over, that else nobody was in what has ended,
// and that what a program was told of its messages is so.
func (a *atlas) checkEnds() {
	bodies := map[string]bool{}
	for name, streams := range a.streams {
		for _, lt := range streams {
			in := map[string]bool{}
			at, removed := a.removed[lt.epoch]
			for _, e := range lt.events {
				switch bodies[string(e.ev.Body)] = true; e.ev.Kind {
				case tcproom.Join:
					in[e.ev.From.ID] = true
				case tcproom.Leave:
					delete(in, e.ev.From.ID)
				}
				if removed && e.at > at {
					a.fail("H6: %v of %v is ordered in %s after that was removed", e.ev.Kind, e.ev.From, name)
				}
			}
			if over := lt.end < math.MaxUint64; removed && !over {
				a.fail("H6: %s is removed, and its stream %s has not ended", name, lt.epoch)
			} else if over && !lt.forced && len(in) > 0 {
				a.fail("H6: %s has ended by itself, and %v is in", name, in)
			}
		}
	}
	for _, p := range a.posts {
		switch {
		case p.err == nil:
			lt := a.stream(p.room, p.seq)
			if a.said(p.room, p.seq) != p.body || lt == nil || lt.epoch != p.before && lt.epoch != p.after {
				a.fail("P6: %s was told that it is at %d of %s", p.body, p.seq, p.room)
			}
		case !errors.Is(p.err, tcproom.ErrUncertain) && bodies[p.body]:
			a.fail("P6: %s failed with %v, and is ordered in %s", p.body, p.err, p.room)
		}
	}
}

// dense makes of what a connection got what it would have got of rooms that count their
// events.
func (a *atlas) dense(tr *trip) {
	in := map[string]*lifetime{}
	from := map[string]position{}
	for room, p := range tr.from {
		if in[room] = a.named(room, p.epoch); in[room] != nil {
			p.seq = in[room].place(p.seq)
		}
		from[room] = p
	}
	tr.from = from
	if tr.text {
		return
	}
	lines := tr.lines[:0]
	for _, line := range tr.lines {
		var o object
		if json.Unmarshal([]byte(line), &o) != nil {
			lines = append(lines, line)
			continue
		}
		room, _ := o["room"].(string)
		if o["type"] == "welcome" {
			epoch, _ := o["epoch"].(string)
			in[room] = a.named(room, epoch)
		}
		a.isAcked(tr, room, o)
		lt := in[room]
		if lt == nil || o["type"] == "members" { // who is in may ask too
			lines = append(lines, line)
			continue
		}
		for _, field := range []string{"seq", "last"} {
			if o[field] != nil {
				seq := number(o, field)
				if seq <= lt.begin || seq >= lt.end {
					a.fail("H1: %s has %s in the stream %s of %s", tr.name, line, lt.epoch, room)
				}
				o[field] = lt.place(seq)
			}
		}
		if o["first"] != nil {
			o["first"] = lt.place(number(o, "first")-1) + 1
			if o["first"].(uint64) > o["last"].(uint64) {
				continue // it is of places at which nothing was told
			}
		}
		b, _ := json.Marshal(o)
		lines = append(lines, string(b))
	}
	tr.lines = lines
}

// isAcked checks, if o is the ack for a message, that this is where it says.
func (a *atlas) isAcked(tr *trip, room string, o object) {
	if o["type"] != "ack" || o["id"] == nil || o["seq"] == nil {
		return
	}
	who, _, _ := strings.Cut(tr.name, ",")
	said := a.said(room, number(o, "seq"))
	if !strings.HasPrefix(said, who+".") || !strings.HasSuffix(said, fmt.Sprintf("-%d", number(o, "id"))) {
		a.fail("P16: %s was told %v, where there is %q", tr.name, o, said)
	}
}
