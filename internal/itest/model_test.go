package itest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"golang.org/x/sync/errgroup"
)

const (
	modelBody   = 64 // bytes of the largest body
	modelBuffer = 2 << 10
	modelCrowd  = 8 // members at most
)

// lean is JSON with smaller bounds, for rooms with few members: with it a backlog can
// be so small that a short script makes a member slow.
type lean struct{ tcproom.JSON }

func (lean) MaxFrame(maxBody int) (toRoom, toMember int) { return 6*maxBody + 1<<10, 6*maxBody + 2<<10 }

// A world is a room, its members, and what the model knows of it.
type world struct {
	t       failer
	seqs    testkit.Seqs // of the room; the model counts places
	policy  tcproom.SlowPolicy
	history int
	room    *tcproom.Room
	network roomtest.Network
	addr    string
	serving errgroup.Group
	rec     *recorder

	log     []tcproom.Event // the order: log[i] has place i+1
	present []*actor        // in join order; the first sees everything
	gone    []*actor
	count   int // of bodies
}

// An actor is one connection.
type actor struct {
	number int
	conn   *tcproom.Conn
	link   *roomtest.Conn
	done   chan struct{} // closed by read when the stream has ended

	mu  sync.Mutex
	got []tcproom.Event
	err error // of the end

	looked  int    // how many of got the model has seen
	at      uint64 // up to where it has everything, its own messages and gaps aside
	past    []tcproom.Event
	said    bool // goodbye
	stalled bool
	torn    bool   // nothing more is expected of it
	doomed  bool   // it may have ended while it sends something
	leave   uint64 // seq of its leave; 0: none
	whole   bool   // it left in a way in which it gets all before its leave
	cause   string // with which it must leave
	directs []direct
}

// A direct is a message to one actor alone that is on its way.
type direct struct {
	body string
	head uint64
}

func newWorld(t failer, s script) *world {
	w := &world{t: t, seqs: s.seqs, policy: s.policy, history: s.history, rec: &recorder{}}
	if s.seqs == testkit.Sparse {
		w.rec.add(record{Client: 1, Op: opSparse})
	}
	opts := append(w.rec.hooks(), s.seqs.Option(),
		tcproom.WithCodec(lean{}), tcproom.WithMaxMessage(modelBody), tcproom.WithBacklog(1),
		tcproom.WithSlowMembers(s.policy), tcproom.WithWriteTimeout(1000*time.Hour))
	if s.history > 0 {
		opts = append(opts, tcproom.WithHistory(tcproom.History{Messages: s.history, Bytes: 1 << 20}))
	}
	w.room = tcproom.New(opts...)
	l, err := w.network.Listen("")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	l.OnAccept(func(c *roomtest.Conn) { _ = c.SetWriteBuffer(modelBuffer) })
	w.addr = l.Addr().String()
	w.serving.Go(func() error { return w.room.Serve(l) })
	return w
}

// clear ends what a test that failed has left.
func (w *world) clear() {
	for _, a := range slices.Concat(w.present, w.gone) {
		a.link.Reset()
		_ = a.conn.Close()
		<-a.done
	}
	_ = w.room.Close()
	<-w.room.Done()
	_ = w.serving.Wait()
}

// who returns the actor of a step, or nil. The first, which sees everything, only
// sends.
func (w *world) who(s step) *actor {
	if len(w.present) > 0 && (s.What == stepSend || s.What == stepDirect) {
		return w.present[s.Who%len(w.present)]
	}
	if len(w.present) == 0 {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(w.present[1:]), func(a *actor) bool { return s.What == stepDrain && !a.stalled })
	if len(others) == 0 {
		return nil
	}
	return others[s.Who%len(others)]
}

// An outcome is what a step must have put into the order.
type outcome struct {
	events []tcproom.Event // Kind, From, Body
	tears  bool            // of the messages only the first, perhaps
}

func leaves(a *actor) tcproom.Event {
	return tcproom.Event{Kind: tcproom.Leave, From: tcproom.MemberInfo{ID: a.conn.ID()}}
}

// apply does one step and checks what came of it.
func (w *world) apply(s step) {
	a := w.who(s)
	var o outcome
	switch {
	case s.What == stepJoin:
		o = w.join()
	case s.What == stepBroadcast:
		o = w.broadcast(s.N)
	case s.What == stepHasty:
		o = w.hasty()
	case a == nil:
		return
	default:
		o = w.act(a, s)
	}
	w.settle(s, o)
}

// act is apply for what one actor does, or is done to.
func (w *world) act(a *actor, s step) (o outcome) {
	switch s.What {
	case stepSend:
		o.events = w.send(a, s.N)
	case stepDirect:
		w.whisper(a)
	case stepStall:
		a.stalled = true
		a.link.In(roomtest.Stall())
	case stepDrain:
		a.stalled = false
		a.link.In()
	case stepKick:
		m, ok := w.room.Member(a.conn.ID())
		if !ok {
			w.t.Fatalf("%s is no member", a.conn.ID())
		}
		if err := m.Kick("out"); err != nil {
			w.t.Fatalf("kick: %v", err)
		}
		a.whole, a.cause = !a.stalled, "kicked"
		o.events = append(o.events, leaves(a))
		for range s.N % 8 { // which it must not receive
			w.announce(context.Background(), &o)
		}
	case stepClose:
		a.link.In()
		a.torn, a.cause = true, "left"
		if err := a.conn.Close(); err != nil {
			w.t.Fatalf("close: %v", err)
		}
		o.events = append(o.events, leaves(a))
	case stepCloseWrite:
		if err := a.conn.CloseWrite(context.Background()); err != nil {
			w.t.Fatalf("close the sending half: %v", err)
		}
		a.whole, a.cause = !a.stalled, "left"
		o.events = append(o.events, leaves(a))
	case stepCut:
		a.link.Reset()
		a.torn, a.cause = true, "reset"
		o.events = append(o.events, leaves(a))
	case stepTear:
		w.rec.add(record{Op: opFault, Client: a.number})
		a.link.Out(roomtest.CutAfter(int64(s.N % 60)))
		a.doomed = true
		o = outcome{events: append(w.send(a, 2), leaves(a)), tears: true}
		a.whole = !a.stalled
	}
	return o
}

// join makes an actor join, if there is room.
func (w *world) join() outcome {
	if len(w.present) == modelCrowd {
		return outcome{}
	}
	a := &actor{number: w.rec.dial(), done: make(chan struct{})}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := w.network.Dial(ctx, network, addr)
		if err == nil {
			a.link = nc.(*roomtest.Conn)
		}
		return nc, err
	}
	var err error
	a.conn, err = tcproom.Dial(context.Background(), w.addr, tcproom.WithCodec(lean{}), tcproom.WithDialer(dial), tcproom.WithMaxMessage(modelBody))
	if err != nil {
		w.t.Fatalf("dial: %v", err)
	}
	w.present = append(w.present, a)
	go a.read(w.rec, w.seqs)
	return outcome{events: []tcproom.Event{{Kind: tcproom.Join, From: tcproom.MemberInfo{ID: a.conn.ID()}}}}
}

// read collects what a gets, with places for seqs, until the end of the stream, and then
// closes.
func (a *actor) read(rec *recorder, s testkit.Seqs) {
	defer close(a.done)
	var end error
	for ev, err := range a.conn.Events(context.Background()) {
		if err != nil {
			end = err
			break
		}
		rec.event(a.number, &ev)
		ev.Seq, ev.Gap = s.Place(ev.Seq), tcproom.Span{First: s.Place(ev.Gap.First), Last: s.Place(ev.Gap.Last)}
		a.mu.Lock()
		a.got = append(a.got, ev)
		a.mu.Unlock()
	}
	a.mu.Lock()
	if n := len(a.got); n > 0 && a.got[n-1].Kind == tcproom.Goodbye {
		rec.end(a.number, nil)
	} else {
		rec.end(a.number, end)
	}
	a.err = cmpEOF(end)
	a.mu.Unlock()
	_ = a.conn.Close()
}

// cmpEOF returns err, or io.EOF for nil.
func cmpEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

func (w *world) body() []byte {
	w.count++
	return fmt.Appendf(nil, "%d %s", w.count, strings.Repeat(".", w.count%(modelBody-8)))
}

// send makes a send n messages.
func (w *world) send(a *actor, n int) (events []tcproom.Event) {
	for range n {
		body := w.body()
		events = append(events, tcproom.Event{Kind: tcproom.Message, From: tcproom.MemberInfo{ID: a.conn.ID()}, Body: body})
		err := w.rec.send(a.number, body, func() (uint64, error) { return 0, a.conn.Send(context.Background(), body) })
		if err != nil && !a.doomed && !(a.stalled && w.policy != tcproom.Skip) { // then it may have been cut
			w.t.Fatalf("send: %v", err)
		}
	}
	return events
}

// broadcast makes the room send n messages.
func (w *world) broadcast(n int) (o outcome) {
	for range n {
		if !w.announce(context.Background(), &o) {
			w.t.Fatalf("the room could not say a message")
		}
	}
	return o
}

// hasty makes the room send one message, or not.
func (w *world) hasty() (o outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	w.announce(ctx, &o)
	return o
}

func (w *world) announce(ctx context.Context, o *outcome) (ok bool) {
	body := w.body()
	err := w.rec.send(0, body, func() (uint64, error) { return w.room.Broadcast(ctx, body) })
	if err == nil {
		o.events = append(o.events, tcproom.Event{Kind: tcproom.Message, Body: body})
	} else if !errors.Is(err, context.DeadlineExceeded) {
		w.t.Fatalf("broadcast: %v", err)
	}
	return err == nil
}

// whisper sends one message to a alone.
func (w *world) whisper(a *actor) {
	m, ok := w.room.Member(a.conn.ID())
	if !ok {
		w.t.Fatalf("%s is no member", a.conn.ID())
	}
	body := w.body()
	if err := m.Send(context.Background(), body); err != nil {
		w.t.Fatalf("direct: %v", err)
	}
	a.directs = append(a.directs, direct{string(body), uint64(len(w.log))})
}

// settle waits until nothing moves, and checks everything.
func (w *world) settle(s step, o outcome) {
	time.Sleep(20 * time.Second) // more than all timeouts of an end
	synctest.Wait()
	w.order(s, o)
	for _, a := range slices.Concat(w.present, w.gone) {
		w.follow(a)
	}
	w.complete()
	w.checkRoom()
}

// order takes from the first actor what is new in the order, and compares it with
// what the step must have put there. An actor that is stalled may have been cut.
func (w *world) order(s step, o outcome) {
	first := w.present[0]
	first.mu.Lock()
	fresh := slices.Clone(first.got[first.looked:])
	first.mu.Unlock()
	if len(w.log) == 0 {
		fresh = append(fresh, tcproom.Event{Kind: tcproom.Join, Seq: 1, From: tcproom.MemberInfo{ID: first.conn.ID()}})
	}
	own := 0
	for _, ev := range o.events {
		// The first does not see its own messages: they fill its holes.
		if ev.From.ID == first.conn.ID() {
			own++
		}
	}
	want := o.events
	put := func(ev tcproom.Event) { w.log = append(w.log, ev) }
	for _, ev := range fresh {
		if ev.Seq == 0 || ev.Kind == tcproom.Welcome {
			continue
		}
		for own > 0 && ev.Seq > uint64(len(w.log))+1 && len(want) > 0 && ev.Kind != tcproom.Message {
			put(want[0])
			want, own = want[1:], own-1
		}
		if ev.Seq != uint64(len(w.log))+1 {
			w.t.Fatalf("%v: P6: after %d the first sees %v", s, len(w.log), shown(ev))
		}
		if o.tears && ev.Kind == tcproom.Leave {
			want = want[len(want)-1:]
		}
		switch {
		case len(want) > 0 && same(want[0], ev):
			want = want[1:]
			if ev.Kind == tcproom.Leave {
				a := w.actor(ev.From.ID)
				w.leave(a, ev.Seq, a.cause)
			}
		case ev.Kind == tcproom.Leave && w.mayBeCut(ev.From.ID):
			w.leave(w.actor(ev.From.ID), ev.Seq, "slow")
			if len(want) > 0 && want[0].From.ID == ev.From.ID {
				want = nil // what it was sending ends with it
			}
		default:
			w.t.Fatalf("%v: the order has %v, which nobody asked for; still missing: %v", s, shown(ev), want)
		}
		put(ev)
	}
	for ; own > 0 && len(want) > 0; own-- {
		put(want[0])
		want = want[1:]
	}
	if len(want) > 0 {
		w.t.Fatalf("%v: P6: %v is not in the order, nor are %d others", s, shown(want[0]), len(want)-1)
	}
}

// same reports whether an event is what was asked for.
func same(want, got tcproom.Event) bool {
	return want.Kind == got.Kind && want.From.ID == got.From.ID && string(want.Body) == string(got.Body)
}

func shown(ev tcproom.Event) string {
	return fmt.Sprintf("%d:%v of %q %.12q", ev.Seq, ev.Kind, ev.From.ID, ev.Body)
}

// mayBeCut reports whether the room may cut id because it is slow.
func (w *world) mayBeCut(id string) bool {
	a := w.actor(id)
	return a != nil && a.stalled && w.policy != tcproom.Skip
}

func (w *world) actor(id string) *actor {
	for _, a := range w.present {
		if a.conn.ID() == id {
			return a
		}
	}
	return nil
}

func (w *world) leave(a *actor, seq uint64, cause string) {
	a.leave, a.cause = seq, cause
	w.present = slices.DeleteFunc(w.present, func(other *actor) bool { return other == a })
	w.gone = append(w.gone, a)
}

// follow compares what an actor got since the last step with the order.
func (w *world) follow(a *actor) {
	a.mu.Lock()
	fresh := a.got[a.looked:]
	a.looked = len(a.got)
	a.mu.Unlock()
	for _, ev := range fresh {
		if a.said {
			w.t.Fatalf("P4: %d sees %v after goodbye", a.number, shown(ev))
		}
		switch {
		case ev.Kind == tcproom.Welcome:
			w.welcomed(a, ev)
		case ev.Kind == tcproom.Goodbye:
			a.said = true
		case ev.Kind == tcproom.Direct:
			w.heard(a, ev)
		case ev.Kind == tcproom.Gap:
			w.jump(a, ev)
		case ev.History:
			a.past = append(a.past, ev)
		default:
			w.seen(a, ev)
		}
	}
}

// welcomed checks the cut at which a joined: P3.
func (w *world) welcomed(a *actor, ev tcproom.Event) {
	var ids, want []string
	for _, m := range ev.Welcome.Members {
		ids = append(ids, m.ID)
	}
	for _, past := range w.log[:ev.Seq] {
		switch past.Kind {
		case tcproom.Join:
			want = append(want, past.From.ID)
		case tcproom.Leave:
			want = slices.DeleteFunc(want, func(id string) bool { return id == past.From.ID })
		}
	}
	if !slices.Equal(ids, want) || ev.Welcome.Total != len(want) || ev.From.ID != a.conn.ID() {
		w.t.Fatalf("P3: %d is told that %v are there, and %v are", a.number, ids, want)
	}
	a.at = ev.Seq
}

// seen checks an event of the order: P1, P5, P6, P7.
func (w *world) seen(a *actor, ev tcproom.Event) {
	w.skipOwn(a, ev.Seq)
	switch {
	case ev.Seq != a.at+1 || ev.Seq > uint64(len(w.log)):
		w.t.Fatalf("P6: %d sees %v after %d of %d", a.number, shown(ev), a.at, len(w.log))
	case !same(w.log[ev.Seq-1], ev):
		w.t.Fatalf("P1: %d sees %v and the first %v", a.number, shown(ev), shown(w.log[ev.Seq-1]))
	case ev.From.ID == a.conn.ID():
		w.t.Fatalf("P5: %d sees its own %v", a.number, shown(ev))
	case a.leave != 0 && ev.Seq > a.leave:
		w.t.Fatalf("P4: %d left at %d and sees %v", a.number, a.leave, shown(ev))
	case len(a.directs) > 0 && a.directs[0].head < ev.Seq:
		w.t.Fatalf("%d sees %v before what it was told alone at %d", a.number, shown(ev), a.directs[0].head)
	}
	a.at = ev.Seq
}

// skipOwn moves a up to before seq, or to the end of its own messages.
func (w *world) skipOwn(a *actor, seq uint64) {
	for a.at+1 < seq && a.at < uint64(len(w.log)) && w.log[a.at].Kind == tcproom.Message && w.log[a.at].From.ID == a.conn.ID() {
		a.at++
	}
}

// jump checks a gap.
func (w *world) jump(a *actor, ev tcproom.Event) {
	w.skipOwn(a, ev.Gap.First)
	if w.policy != tcproom.Skip || ev.Gap.First != a.at+1 || ev.Gap.Last < ev.Gap.First || ev.Gap.Last > uint64(len(w.log)) {
		w.t.Fatalf("P6: %d is told of a gap from %d to %d, after %d of %d", a.number, ev.Gap.First, ev.Gap.Last, a.at, len(w.log))
	}
	a.at = ev.Gap.Last
	for i := range a.directs {
		a.directs[i].head = max(a.directs[i].head, a.at) // they come at the gap's end
	}
}

// heard checks a direct message: in its place, whole, and in turn.
func (w *world) heard(a *actor, ev tcproom.Event) {
	if len(a.directs) == 0 || a.directs[0].body != string(ev.Body) || a.directs[0].head < a.at {
		w.t.Fatalf("%d is told %q alone after %d; was sent: %v", a.number, ev.Body, a.at, a.directs)
	}
	a.directs = a.directs[1:]
}

// complete checks that each actor that reads has everything: P6, P8.
func (w *world) complete() {
	head := uint64(len(w.log))
	for _, a := range w.present {
		if a.stalled {
			continue
		}
		w.has(a, head)
		if a.err != nil {
			w.t.Fatalf("%d is there and its stream has ended: %v", a.number, a.err)
		}
	}
	for _, a := range w.gone {
		if a.whole && !a.torn {
			w.has(a, a.leave-1)
			want := io.EOF
			if a.cause == "kicked" {
				want = tcproom.ErrKicked
			}
			// The room may close before the last of what a doomed one sends.
			ended := errors.Is(a.err, want) || a.doomed && errors.Is(a.err, syscall.EPIPE)
			if !ended || a.said != (a.cause == "kicked") {
				w.t.Fatalf("P10: %d left (%s) and its stream ended with %v, goodbye: %v", a.number, a.cause, a.err, a.said)
			}
			a.torn = true
		}
	}
}

// has checks that a has everything up to seq, with its history and its direct
// messages.
func (w *world) has(a *actor, seq uint64) {
	w.skipOwn(a, seq+1)
	if a.at < seq || len(a.directs) > 0 {
		w.t.Fatalf("P6: %d has all up to %d, of %d, and still misses %v", a.number, a.at, seq, a.directs)
	}
	if a.past == nil {
		a.past = []tcproom.Event{}
	}
	w.checkPast(a)
}

// checkPast checks the history that a was given: the last messages before its join.
func (w *world) checkPast(a *actor) {
	at := slices.IndexFunc(w.log, func(ev tcproom.Event) bool {
		return ev.Kind == tcproom.Join && ev.From.ID == a.conn.ID()
	})
	left := w.history
	for i := at - 1; i >= 0 && left > 0; i-- {
		if w.log[i].Kind != tcproom.Message {
			continue
		}
		left--
		n := len(a.past) - (w.history - left)
		if n < 0 || !same(w.log[i], a.past[n]) || a.past[n].Seq != uint64(i+1) {
			w.t.Fatalf("P3: the history of %d, of %d events, does not have %d: %v", a.number, len(a.past), i+1, shown(w.log[i]))
		}
	}
	if len(a.past) != w.history-left {
		w.t.Fatalf("P3: the history of %d has %d events, of %d", a.number, len(a.past), w.history-left)
	}
}

// checkRoom compares the room's own figures with the model.
func (w *world) checkRoom() {
	var ids, want []string
	for m := range w.room.Members() {
		ids = append(ids, m.ID())
	}
	for _, a := range w.present {
		want = append(want, a.conn.ID())
	}
	stats := w.room.Stats()
	if !slices.Equal(ids, want) || stats.Members != len(want) || w.room.Len() != len(want) {
		w.t.Fatalf("the room says that %v are there, and %v are", ids, want)
	}
	if stats.Seq != w.seqs.At(uint64(len(w.log))) {
		w.t.Fatalf("the room says that its order ends at %d, and it does at %d", stats.Seq, len(w.log))
	}
	if left := int(stats.Joined) - stats.Members; left != len(w.gone) {
		w.t.Fatalf("P8: %d have left by the room's count, and %d have", left, len(w.gone))
	}
}

// finish stops the room, and checks what is left of it: nothing.
func (w *world) finish(end string) {
	for i := 0; end == endDrained && i < modelCrowd; i++ {
		w.apply(step{What: stepDrain})
	}
	var err error
	if end != endClose {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = w.room.Shutdown(ctx)
	} else {
		err = w.room.Close()
	}
	cut := (*tcproom.StopError)(nil)
	if err != nil && (!errors.As(err, &cut) || cut.Err != nil || len(cut.Stuck) > 0) {
		w.t.Fatalf("P9: stop: %v", err)
	}
	select {
	case <-w.room.Done():
	default:
		w.t.Fatalf("P9: the room has not stopped")
	}
	for _, a := range w.present {
		if a.stalled {
			a.link.Reset()
		}
		<-a.done
		w.follow(a)
		if end != endClose && !a.stalled {
			w.has(a, uint64(len(w.log)))
			if !a.said || !errors.Is(a.err, tcproom.ErrRoomClosed) {
				w.t.Fatalf("P10: the stream of %d ended with %v, goodbye: %v", a.number, a.err, a.said)
			}
		}
	}
	for _, a := range w.gone {
		a.link.Reset()
		<-a.done
		w.follow(a)
	}
	w.checkCauses()
	w.rec.mu.Lock()
	found := check(w.rec.history)
	w.rec.mu.Unlock()
	if len(found) > 0 {
		w.t.Fatalf("%v", found)
	}
}

// checkCauses compares OnLeave's causes with what was done.
func (w *world) checkCauses() {
	heard := map[string]string{}
	w.rec.mu.Lock()
	for _, rec := range w.rec.history {
		if rec.Op == opLeft {
			heard[rec.From] = rec.Cause
		}
	}
	w.rec.mu.Unlock()
	for _, a := range w.gone {
		if got := heard[a.conn.ID()]; got != a.cause && a.cause != "" {
			w.t.Fatalf("P8: %d left with %q, and %q is what was done", a.number, got, a.cause)
		}
	}
	for _, a := range w.present {
		if got := heard[a.conn.ID()]; got != "closed" {
			w.t.Fatalf("P8: %d was there at the end and left with %q", a.number, got)
		}
	}
}
