package tcproom

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"example.com/tcproom/internal/fold"
)

// outbound is what a replica has on its way to the log. It is guarded by the room's lock.
type outbound struct {
	life      uint64             // of the node: it begins another one if it does not know what became of a batch
	batch     uint64             // the last one of this life
	control   []queued           // of the node itself, to be ready: it goes before all that is queued
	queue     []queued           // waits until the node is ready
	waiting   int                // bytes of it
	line      list.List          // of *inLine, which wait until there is room in the queue
	flown     int                // bytes of flights
	flights   map[uint64]*flight // batches that the tail has not told of, by number
	appending bool               // a goroutine takes from the queue, or waits for more
	more      chan struct{}      // wakes it
	unready   time.Time          // since when the node is not ready, if it was before
}

const (
	maxWaiting   = 4 << 20   // bytes of a room's queue and flights
	maxBatch     = 256 << 10 // bytes of a record, if the log allows
	maxLife      = 1<<16 - 1
	appendWithin = 5 * time.Second // what one Append may take
)

// A call is entries that were queued together, and what becomes of them.
type call struct {
	buf      []byte    // the entries
	ends     []int     // of each in buf
	read     time.Time // for traces: when the messages were read
	outcomes []outcome
	left     int           // that have none yet; guarded by the room's lock
	done     chan struct{} // closed when none is left; nil: nobody waits for that
	ahead    *ahead        // of the reader that has read them, and does not wait; nil: none
	keep     bool          // it is queued again if its batch is given up
	upkeep   bool          // nobody waits for it, and another node, or life, does not need it
	numbered bool          // messages with numbers, which the log takes once: they may be queued again too
	flew     bool          // the log may have taken it before it was queued again
	comes    *coming       // it is for one that comes in, and waits; nil: it is not
}

// An outcome is what has become of an entry.
type outcome struct {
	seq    uint64
	stream uint64 // of the seq, see streamOf
	number uint64 // the last that the member had taken which has left; 0: there is none
	err    error
}

func newCall() *call { return &call{done: make(chan struct{})} }

func (c *call) add(e *fold.Entry) {
	c.buf = fold.AppendEntry(c.buf, e)
	c.ends = append(c.ends, len(c.buf))
}

// longest returns how long the longest of the entries is.
func (c *call) longest() (n int) {
	start := 0
	for _, end := range c.ends {
		n, start = max(n, end-start), end
	}
	return n
}

// A queued is an entry on its way.
type queued struct {
	call *call
	i    int // its place there
}

func (q queued) bytes() []byte {
	start := 0
	if q.i > 0 {
		start = q.call.ends[q.i-1]
	}
	return q.call.buf[start:q.call.ends[q.i]]
}

// settle notes what has become of an entry.
func (q queued) settle(o outcome) {
	c := q.call
	c.outcomes[q.i] = o
	if c.left--; c.left > 0 {
		return
	}
	if c.done != nil {
		close(c.done)
	}
	if c.ahead != nil {
		c.ahead.settledLocked()
	}
}

// A flight is a batch that was handed to the log.
type flight struct {
	batch uint64
	id    string
	rec   []byte
	items []queued
	began time.Time
	ctx   context.Context // ends when the tail has told of it, or nobody wants it any more
	told  context.CancelFunc
}

// queueLocked puts the entries of c behind all that wait.
func (rp *replica) queueLocked(c *call) {
	c.left = len(c.ends)
	c.outcomes = make([]outcome, c.left)
	for i := range c.ends {
		rp.queue = append(rp.queue, queued{c, i})
	}
	rp.waiting += len(c.buf)
	rp.startAppendingLocked()
}

// queueAloneLocked queues an entry for which nobody waits.
func (rp *replica) queueAloneLocked(e *fold.Entry) {
	c := newCall()
	c.keep = e.Kind == fold.Leave || e.Kind == fold.Detach
	c.upkeep = !c.keep
	c.add(e)
	rp.queueLocked(c)
}

// detachLocked has it ordered that m has lost the connection that it has as far as this
// node knows: if it has resumed since, it has another one.
func (rp *replica) detachLocked(m *Member) {
	rp.queueAloneLocked(&fold.Entry{Kind: fold.Detach, ID: m.Info().ID, Number: rp.known})
}

// controlLocked queues an entry that the node needs to be ready.
func (rp *replica) controlLocked(e *fold.Entry) {
	c := newCall()
	c.upkeep = true
	c.add(e)
	c.left, c.outcomes = 1, make([]outcome, 1)
	rp.control = append(rp.control, queued{c, 0})
	rp.startAppendingLocked()
}

// nextLocked returns the queue from which the next batch is taken.
func (rp *replica) nextLocked() *[]queued {
	if len(rp.control) > 0 || rp.phase < phaseReady {
		return &rp.control
	}
	return &rp.queue
}

func (rp *replica) startAppendingLocked() {
	switch {
	case len(*rp.nextLocked()) == 0 || rp.ctx.Err() != nil:
	case rp.appending:
		select {
		case rp.more <- struct{}{}:
		default:
		}
	default:
		rp.appending = true
		rp.room.wg.Add(1) // the goroutine that reads the log counts until ctx has ended
		go rp.appendAll()
	}
}

// appenderRests is how long the goroutine that appends waits for more. One for each batch
// would spend a tenth of what a busy room takes on making its stack grow.
const appenderRests = time.Second

// appendAll brings what is queued into the log, a batch at a time. It ends when nothing
// has been queued for a while.
func (rp *replica) appendAll() {
	r := rp.room
	defer r.wg.Done()
	idle := time.NewTimer(appenderRests)
	defer idle.Stop()
	for late := false; ; {
		r.mu.Lock()
		f := rp.nextFlightLocked()
		if f == nil && (late || rp.ctx.Err() != nil) {
			rp.appending = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		if f != nil {
			rp.fly(f)
			late = false
			continue
		}
		idle.Reset(appenderRests)
		select {
		case <-rp.more:
		case <-idle.C:
			late = true
		case <-rp.ctx.Done():
		}
	}
}

// nextFlightLocked makes a batch of what is queued; nil if nothing is.
func (rp *replica) nextFlightLocked() *flight {
	from := rp.nextLocked()
	if len(*from) == 0 || rp.ctx.Err() != nil {
		return nil
	}
	most, n, size := min(maxBatch, rp.caps.MaxRecord-1<<10), 0, 0
	for n < len(*from) && n < fold.MaxEntries {
		b := len((*from)[n].bytes())
		if n > 0 && size+b > most {
			break
		}
		size += b
		n++
	}
	rp.batch++
	rp.written = true
	f := &flight{batch: rp.life<<48 | rp.batch, items: slices.Clone((*from)[:n]), began: time.Now()}
	f.ctx, f.told = context.WithCancel(rp.ctx)
	if *from = slices.Delete(*from, 0, n); from == &rp.queue {
		rp.waiting -= size
	}
	rec := make([]byte, 0, size+64)
	rec = fold.AppendHeader(rec, fold.Header{Node: rp.node, Batch: f.batch, Epoch: rp.state.Epoch()}, n)
	for _, q := range f.items {
		rec = append(rec, q.bytes()...)
	}
	f.rec, f.id = rec, rp.name+"."+strconv.FormatUint(f.batch, 10)
	rp.flights[f.batch] = f
	rp.flown += len(f.rec)
	return f
}

// fly brings a batch into the log: when it returns, that has answered, or its tail has
// told of the batch, or the batch was given up.
func (rp *replica) fly(f *flight) {
	r, wait := rp.room, backoff{first: 50 * time.Millisecond, most: 2 * time.Second}
	for f.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(f.ctx, appendWithin)
		pos, err := rp.log.Append(ctx, f.id, f.rec)
		cancel()
		if err == nil {
			rp.stored(f, pos)
		}
		if err == nil || f.ctx.Err() != nil {
			return
		}
		silent := time.Since(f.began)
		r.report(r.cfg.conn.logger, slog.LevelWarn, "append", logBurst, "log does not take a record", "cause", err, "since", silent)
		if silent >= r.cfg.maxOutage && rp.giveUp(f, err) {
			return
		}
		pause(f.ctx, wait.next(0, 0))
	}
}

// stored is for the log's answer that f is at pos. If what was read is beyond that, and f
// was not in it, the log has lost what was read, and goes on without it.
func (rp *replica) stored(f *flight, pos uint64) {
	r := rp.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if rp.flights[f.batch] == f && pos <= rp.state.Pos() {
		rp.other = true
		rp.cutTail()
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// giveUp begins another life of the node, after which the batch f does not count if it
// is not in the log yet. It may be: who waits for it is told so. What is queued was not
// said. f is nil if there is none. It reports false if nothing was given up: a node that is
// about to leave tries on until it has, for no other life follows.
func (rp *replica) giveUp(f *flight, cause error) bool {
	r := rp.room
	p := r.pass(rp.ctx, nil)
	defer p.end()
	if f != nil && rp.flights[f.batch] != f || rp.phase > phaseReady {
		return false // the tail has told of it, or nothing more is taken
	}
	kept := rp.failLocked(&givenUpError{rp, ErrUncertain, cause}, &givenUpError{rp, ErrUnavailable, cause})
	rp.requeueLocked(kept)
	rp.reopenLocked()
	rp.sendAwayLocked()
	return true
}

// reopenLocked begins another life of the node.
func (rp *replica) reopenLocked() {
	if rp.life == maxLife {
		if rp.fenced == (fold.Node{}) {
			rp.fenced = rp.node
		}
		rp.anewLocked()
		return
	}
	if rp.phase == phaseReady {
		rp.ready = make(chan struct{})
	}
	rp.phase, rp.unready = phaseOpening, time.Now()
	rp.lookLocked()
	rp.life++
	rp.batch = 0
	if rp.asked = !rp.blocked; rp.asked {
		rp.controlLocked(&fold.Entry{Kind: fold.Open})
	}
}

// requeueLocked puts what was on its way into the queue, in which nothing is. If the stream
// for which it was has ended, it is not for the next one.
func (rp *replica) requeueLocked(items []queued) {
	for _, q := range items {
		if rp.ofHub.ended {
			q.settle(outcome{err: ErrRoomClosed})
			continue
		}
		rp.queue = append(rp.queue, q)
		rp.waiting += len(q.bytes())
	}
}

// failLocked gives up what is on its way because of underWay, and what is queued because
// of notSent, and returns what is to be queued again.
func (rp *replica) failLocked(underWay, notSent error) (kept []queued) {
	flown, waits := rp.takeAllLocked()
	for i, q := range append(flown, waits...) {
		switch {
		case q.call.keep:
			kept = append(kept, q)
		case i < len(flown) || q.call.flew:
			q.settle(outcome{err: underWay})
		default:
			q.settle(outcome{err: notSent})
		}
	}
	return kept
}

// takeAllLocked takes back what is on its way, and what is queued, in order. It settles
// what is of no more use.
func (rp *replica) takeAllLocked() (flown, waits []queued) {
	for _, n := range slices.Sorted(maps.Keys(rp.flights)) {
		f := rp.flights[n]
		flown = append(flown, f.items...)
		f.told()
	}
	clear(rp.flights)
	rp.flown = 0
	waits = rp.queue
	for _, q := range rp.control {
		q.settle(outcome{})
	}
	rp.control, rp.queue, rp.waiting = nil, nil, 0
	rp.moves = false
	useless := func(q queued) bool {
		if q.call.upkeep {
			q.settle(outcome{})
		}
		return q.call.upkeep
	}
	rp.room.group.Wake()
	return slices.DeleteFunc(flown, useless), slices.DeleteFunc(waits, useless)
}

// withdrawLocked takes out of the queue what of c is there, because of cause, and returns
// what a call returns that has to end now.
func (rp *replica) withdrawLocked(c *call, cause error) error {
	if c.keep || c.flew {
		return fmt.Errorf("%w: %w", ErrUncertain, cause)
	}
	// Its entries stand behind one another, and those of the call that waits for longest
	// stand in front: of many that end together none looks through, or moves, them all.
	first := slices.IndexFunc(rp.queue, func(q queued) bool { return q.call == c })
	n := 0
	for ; first >= 0 && first+n < len(rp.queue) && rp.queue[first+n].call == c; n++ {
		q := rp.queue[first+n]
		rp.waiting -= len(q.bytes())
		q.settle(outcome{err: cause})
	}
	switch {
	case first == 0:
		clear(rp.queue[:n])
		rp.queue = rp.queue[n:]
	case n > 0:
		rp.queue = slices.Delete(rp.queue, first, first+n)
	}
	rp.lineLocked()
	if c.left > 0 {
		return fmt.Errorf("%w: %w", ErrUncertain, cause)
	}
	return nil
}

// enqueue queues the entries of c, when there is room for them. The lock is let go of
// meanwhile. What has to be ordered for good, as a leave, does not wait for room.
func (p *pass) enqueue(c *call, urgent bool) error {
	rp := p.r.replica
	if err := rp.mayQueueLocked(); err != nil {
		return err
	}
	if !urgent && (rp.line.Len() > 0 || !rp.hasRoomLocked(c)) {
		return p.standInLine(c)
	}
	return rp.takeLocked(c)
}

// hasRoomLocked reports whether c can be queued now. One that is larger than all may be
// has to be alone.
func (rp *replica) hasRoomLocked(c *call) bool {
	under := rp.waiting + rp.flown
	return (rp.phase == phaseReady || rp.phase == phaseDraining) && (under == 0 || under+len(c.buf) <= maxWaiting)
}

// takeLocked queues c, unless the log would never take it.
func (rp *replica) takeLocked(c *call) error {
	if rp.log == nil { // of a room of a hub that stops, and has not opened it
		return ErrRoomClosed
	}
	if n, most := c.longest(), rp.maxEntry(); n > most {
		return fmt.Errorf("%w: an entry of %d bytes, a record of the log holds %d", ErrFrameTooLarge, n, most)
	}
	rp.queueLocked(c)
	return nil
}

// An inLine is a call that waits for room in the queue. Its fields are guarded by the
// room's lock.
type inLine struct {
	call *call
	wake chan struct{} // holds one: something has changed for it
	over bool          // it was taken from the line, and is queued
	err  error         // or why it never will be
}

// standInLine waits until there is room for c, and for all that wait already. Whoever makes
// room queues it.
func (p *pass) standInLine(c *call) error {
	rp, since := p.r.replica, time.Now()
	w := &inLine{call: c, wake: make(chan struct{}, 1)}
	place := rp.line.PushBack(w)
	defer func() {
		if !w.over {
			rp.line.Remove(place)
			rp.lineLocked() // it may have been the one for which there was no room
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		left := p.r.cfg.maxOutage - rp.silentSince(since)
		if left <= 0 || rp.phase < phaseReady && p.wasCut() {
			return &givenUpError{rp, ErrUnavailable, nil}
		}
		timer.Reset(left)
		cut := p.cutLocked()
		p.letGo()
		select {
		case <-w.wake:
		case <-cut:
		case <-timer.C:
		case <-p.ctx.Done():
		}
		p.r.mu.Lock()
		p.now = time.Now()
		if w.over {
			return w.err
		}
		if err := cmpErr(rp.mayQueueLocked(), context.Cause(p.ctx)); err != nil {
			return err
		}
	}
}

// cutLocked returns a channel that is closed when the connection ends of the member that the
// pass is about; nil if there is none.
func (p *pass) cutLocked() <-chan struct{} {
	if p.from == nil || p.from.Remote() || p.wasCut() {
		return nil
	}
	return p.from.conn().Context().Done()
}

// lineLocked queues what there is room for of those that stand in line, when there may be
// some.
func (rp *replica) lineLocked() {
	for place := rp.line.Front(); place != nil; place = rp.line.Front() {
		w := place.Value.(*inLine)
		if rp.mayQueueLocked() != nil || !rp.hasRoomLocked(w.call) {
			return
		}
		rp.line.Remove(place)
		w.over, w.err = true, rp.takeLocked(w.call)
		w.look()
	}
}

// lookLocked lets those that stand in line look whether they wait in vain, when the node is
// in another phase, or its log cannot be used.
func (rp *replica) lookLocked() {
	for place := rp.line.Front(); place != nil; place = place.Next() {
		place.Value.(*inLine).look()
	}
}

func (w *inLine) look() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// submit is enqueue, and waits for what becomes of the entries. An error says that it does
// not know of all.
func (p *pass) submit(c *call, urgent bool) error {
	if err := p.enqueue(c, urgent); err != nil {
		return err
	}
	p.awaitCall(c)
	if c.left > 0 {
		return p.r.replica.withdrawLocked(c, context.Cause(p.ctx))
	}
	return nil
}

// awaitCall lets go of the lock until it is known what has become of all entries of c, or
// the pass's context ends.
func (p *pass) awaitCall(c *call) {
	p.letGo()
	select {
	case <-c.done:
	case <-p.ctx.Done():
	}
	p.r.mu.Lock()
	p.now = time.Now()
}

// silentSince returns for how long the log may have been silent for somebody who waits
// since then: not while its tail waited for this room's members.
func (rp *replica) silentSince(then time.Time) time.Duration {
	if rp.heldBack.After(then) {
		then = rp.heldBack
	}
	return time.Since(then)
}

// mayQueueLocked says why nothing is taken for the log any more.
func (rp *replica) mayQueueLocked() error {
	switch {
	case rp.err != nil:
		return rp.err
	case rp.phase > phaseDraining, rp.ofHub.ended:
		return ErrRoomClosed
	}
	return nil
}

// submitOne is submit of a single entry.
func (p *pass) submitOne(e *fold.Entry, urgent bool) (seq uint64, err error) {
	c := newCall()
	c.add(e)
	if err := p.submit(c, urgent); err != nil {
		return 0, err
	}
	return c.outcomes[0].seq, c.outcomes[0].err
}

// errDuplicate is the outcome of a numbered message whose number was taken.
var errDuplicate = errors.New("duplicate")

// errOvertaken is why a resume gets no place behind another one that it did not know of.
var errOvertaken = fmt.Errorf("%w: another connection has resumed the member since", ErrUnavailable)

// verdictError returns what a call returns whose entry does not count.
func (rp *replica) verdictError(v fold.Verdict) error {
	switch v {
	case fold.Elsewhen:
		if rp.ofHub.ended {
			return ErrRoomClosed
		}
	case fold.NotMember:
		return ErrNotMember
	case fold.NameTaken:
		return ErrNameTaken
	case fold.Full:
		return ErrRoomFull
	case fold.Banned:
		return ErrBanned
	case fold.Muted:
		return ErrMuted
	case fold.Duplicate:
		return errDuplicate
	case fold.Overtaken:
		return errOvertaken
	case fold.Away:
		return ErrDetached
	case fold.Needless:
		return nil
	}
	return ErrUnavailable
}
