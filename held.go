package tcproom

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/tcproom/internal/ledger"
	"example.com/tcproom/internal/lockorder"
	"example.com/tcproom/internal/scribble"
)

// What OnMessage returns for the messages of one read is ordered in one pass when
// the last of them has been through the hook. Until then it is held. A hook must not
// notice: whoever orders a message meanwhile orders what is held first, and what has
// been held for a while does not wait for a slow hook.

// heldFor is how long a post is held while the hook is busy with those behind it.
const heldFor = time.Millisecond

// heldPosts is what the hook has returned for messages of one read, and that has no
// place in the order yet.
type heldPosts struct {
	by   *stream // of whose member they are
	late alarm   // goes off when the hook takes its time

	mu    lockorder.Mutex // guards what follows; taken under the room's lock
	posts []heldPost
	buf   []byte // of their bodies
	acks  []ledger.Taken
	of    uint64    // the stream of their seqs, see streamOf
	err   error     // the first of ordering them
	muted bool      // some were not ordered because of that
	due   bool      // late is set, and has not gone off
	read  time.Time // when the messages of the inbox were

	last uint64 // the greatest number that was held since finish; the link's goroutine's

	// Guarded by the room's lock.
	listed bool // others may order them; changed by the link's goroutine only
	busy   bool // a pass is ordering them
	away   bool // they are on their way to the log, and that pass does not wait for it
}

// A heldPost is what became of one message.
type heldPost struct {
	number uint64 // of the message; 0: it has none
	body   []byte // nil: there is nothing to order
	seq    uint64 // then, what the hook has posted by itself
	stream uint64 // of seq
	failed bool   // the hook did: there is no ack
}

// takeByHook hands the messages of an inbox to OnMessage, and orders what that
// returns.
func (l *link) takeByHook(in *inbox) error {
	if l.held == nil {
		l.held = &heldPosts{}
		l.held.late = newAlarm(l.held.order)
	}
	h := l.held
	h.by = in.by // nothing is held of another one
	h.mu.Lock()
	h.read = in.read
	h.mu.Unlock()
	defer func() { // also if the hook ends the goroutine
		h.finish()
		h.doneTaking()
		in.acks, in.stream = append(in.acks, h.acks...), h.of
		h.acks = h.acks[:0]
	}()
	h.muted = false
	for i := range in.msgs {
		msg := &in.msgs[i]
		if i > 0 {
			h.list()
		}
		err := l.takeOne(h, msg)
		if msg.frame != nil {
			scribble.Over(msg.frame)
		}
		if err != nil {
			return cmpErr(h.finish(), err)
		}
		if len(h.buf) > maxQueued {
			if err := h.finish(); err != nil {
				return err
			}
		}
	}
	if err := h.finish(); err != nil || !h.muted {
		return err
	}
	return ErrMuted
}

// takeOne calls OnMessage for a message, and holds what that returns.
func (l *link) takeOne(h *heldPosts, msg *message) (err error) {
	if err := l.Err(); err != nil {
		return err
	}
	if !h.by.isMain() && h.by.isOver() { // others put it out, or a hook has moved it
		return ErrNotMember
	}
	if again, err := h.beginTaking(msg.number); again || err != nil {
		return err
	}
	post := heldPost{number: msg.number, failed: true}
	defer func() { h.endTaking(&post) }() // also if the hook ends the goroutine
	err = l.call(hookOnMessage, func() (err error) {
		post.body, err = h.by.room.cfg.hooks.onMessage(h.by.member, msg.body)
		return err
	})
	if errors.Is(err, ErrMuted) && h.by.isMuted() { // of Post: as if it had been returned
		h.mu.Lock()
		h.muted = true
		h.mu.Unlock()
		post.body, err = nil, nil
	}
	post.failed = err != nil
	switch { // of a room, which the hook could not know
	case h.by == &l.stream:
	case errors.Is(err, ErrNotMember) && h.by.isOver():
		return ErrNotMember
	case errors.Is(err, ErrRoomClosed) && h.by.room.isStopping():
		return ErrRoomClosed
	}
	return l.hookCause(h.by.room, err)
}

// isMuted reports whether the member of s may not say anything now.
func (s *stream) isMuted() bool {
	r, who := s.room, s.member.Info()
	r.mu.Lock()
	defer r.mu.Unlock()
	if rp := r.replica; rp != nil { // at the time by which the log has judged
		return rp.state.Muted(who.ID, who.Name, rp.state.Time())
	}
	return r.isMutedLocked(who, time.Now())
}

// beginTaking says that a hook gets the message of the given number. It reports
// whether one has got it before; then it is acknowledged.
func (h *heldPosts) beginTaking(number uint64) (again bool, err error) {
	if number == 0 {
		return false, nil
	}
	if number <= h.last {
		if err := h.finish(); err != nil { // it is in this read twice
			return false, err
		}
	}
	h.by.room.mu.Lock()
	defer h.by.room.mu.Unlock()
	m := h.by.member
	if m.at.Load() != h.by {
		return true, nil // its client sends it again, on the other connection
	}
	if taken, ok := m.find(number); ok {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ackLocked(taken)
		return true, nil
	}
	s := m.session
	s.posted = 0
	if s.inHook.Last = max(s.inHook.Last, number); s.inHook.First == 0 {
		s.inHook.First = number
	}
	return false, nil
}

// doneTaking says that of the numbers of an inbox none is with the hook or held.
func (h *heldPosts) doneTaking() {
	r := h.by.room
	r.mu.Lock()
	defer r.mu.Unlock()
	s := h.by.member.session
	if s == nil {
		return
	}
	if s.inHook = (Span{}); s.queued > 0 {
		r.group.Wake()
	}
}

// endTaking holds what the hook has returned, in memory of our own. If it failed and
// has posted nothing, the message may come again, on another connection.
func (h *heldPosts) endTaking(post *heldPost) {
	if post.failed {
		post.body = nil
	}
	if post.body == nil && post.number != 0 {
		h.by.room.mu.Lock()
		post.seq, post.stream = h.by.member.session.posted, h.by.room.streamOf(h.by.member)
		h.by.room.mu.Unlock()
	}
	if post.body == nil && (post.number == 0 || post.failed && post.seq == 0) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if post.body != nil {
		if h.buf == nil {
			h.buf = make([]byte, 0, 512) // an empty body is one, too
		}
		n := len(h.buf)
		h.buf = append(h.buf, post.body...)
		post.body = h.buf[n:len(h.buf):len(h.buf)]
	}
	h.posts = append(h.posts, *post)
	h.last = max(h.last, post.number)
}

// hookCause returns why l ends after OnMessage of r, or the post of what it returned,
// failed.
func (l *link) hookCause(r *Room, err error) error {
	var he *HookError
	switch {
	case err == nil, errors.As(err, &he) && he.Hook == hookNames[hookOnMessage]:
		return err
	case errors.Is(err, ErrRoomClosed) && l.room.takesNothing():
		return l.room.stopCause()
	case l.Err() != nil:
		return l.Err()
	case r.isGivenUp(err):
		return r.awayCause()
	case r.replica != nil && isOfLog(err): // it may be said elsewhere, or later
		return ErrUnavailable
	}
	return &HookError{Hook: hookNames[hookOnMessage], Err: err}
}

// list lets others order what is held, from now on until finish, and sets the alarm
// again for what was returned after it went off.
func (h *heldPosts) list() {
	h.mu.Lock()
	wants := len(h.posts) > 0 && !h.due
	h.due = h.due || wants
	h.mu.Unlock()
	if !wants {
		return
	}
	if h.listed {
		h.late.stop()
	} else {
		r := h.by.room
		r.mu.Lock()
		h.listed = true
		r.held = append(r.held, h)
		r.mu.Unlock()
	}
	h.late.set(heldFor)
}

// order orders what is held now, when the alarm goes off.
func (h *heldPosts) order() {
	h.mu.Lock()
	h.due = false
	h.mu.Unlock()
	p := h.by.room.pass(context.Background(), nil)
	defer p.end()
	p.sayHeld(h)
}

// finish orders what is held, after which nothing is, and returns the first error of
// that.
func (h *heldPosts) finish() error {
	if !h.listed && len(h.posts) == 0 {
		return h.takeErr()
	}
	r := h.by.room
	p := r.pass(context.Background(), nil)
	for p.sayHeld(h); h.busy; p.sayHeld(h) {
		p.await(r.group.Progress(), time.Time{})
	}
	listed := h.listed
	if listed {
		h.listed = false
		r.held = without(r.held, h)
	}
	p.end()
	if listed {
		h.late.stop()
		h.due = false // nobody else looks at it now
	}
	return h.takeErr()
}

// takeErr returns the error, once, as a cause of the link's end.
func (h *heldPosts) takeErr() error {
	h.last = 0
	h.mu.Lock()
	err := h.err
	h.err, h.posts, h.buf = nil, h.posts[:0], h.buf[:0]
	if cap(h.buf) > 2*maxQueued {
		h.buf = nil
	}
	h.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case !h.by.isMain() && h.by.link.Err() == nil && (err == error(ErrRoomClosed) || h.by.hasLeft()):
		return err // its connection goes on, or the hub stops
	}
	return h.by.link.hookCause(h.by.room, err)
}

func without(list []*heldPosts, h *heldPosts) []*heldPosts {
	for i := range list {
		if list[i] == h {
			last := len(list) - 1
			copy(list[i:], list[i+1:])
			list[last] = nil
			return list[:last]
		}
	}
	return list
}

// sayAllHeld orders what hooks have returned and what is held, before the pass
// orders anything else: it waits for another pass that is doing that. It returns the
// error of the pass's context.
func (p *pass) sayAllHeld() error {
	for i := 0; i < len(p.r.held); i++ {
		h := p.r.held[i]
		for h.busy {
			if err := p.await(p.r.group.Progress(), time.Time{}); err != nil {
				return err
			}
		}
		if h.listed {
			if err := p.sayHeld(h); err != nil {
				return err
			}
		}
		if i >= len(p.r.held) || p.r.held[i] != h {
			i = -1 // the list has changed while it waited
		}
	}
	return nil
}

// sayHeld orders what h holds, unless another pass is doing that. It returns the
// error of the pass's own context, with which the rest stays held.
func (p *pass) sayHeld(h *heldPosts) error {
	if h.busy {
		return nil
	}
	h.busy, h.away = true, false
	from, via, read := p.from, p.via, p.read
	p.from, p.via = h.by.member, nil
	h.mu.Lock()
	p.readAt(h.read)
	h.mu.Unlock()
	p.nameSpeaker()
	defer func() {
		h.busy = h.away
		p.from, p.via, p.read = from, via, read
		p.nameSpeaker()
		p.owner = nil
		p.r.group.Wake() // finish may wait
	}()
	if p.r.replica != nil {
		return p.sayHeldByLog(h)
	}
	for {
		post, ok := h.next()
		if !ok {
			return nil
		}
		taken, err := p.sayPost(&post)
		if err != nil && p.ctx.Err() != nil {
			return err
		}
		h.done(&post, taken, err)
	}
}

// sayHeldByLog is sayHeld in a room with a log: what is held now goes there together. Once
// it is on its way, the end of the pass's context is not the end of that.
func (p *pass) sayHeldByLog(h *heldPosts) error {
	h.mu.Lock()
	posts := slices.Clone(h.posts)
	if h.err != nil {
		posts = nil
	}
	h.mu.Unlock()
	msgs := make([]said, 0, len(posts))
	for i := range posts {
		if posts[i].body != nil {
			msgs = append(msgs, said{number: posts[i].number, body: posts[i].body})
		}
	}
	c := newCall()
	c.read = p.read
	if p.choose(c, msgs); len(c.ends) > 0 {
		err := p.enqueue(c, false)
		switch {
		case err == nil:
			p.awaitCall(c)
		case p.ctx.Err() != nil:
			return err // they stay held
		}
		if err == nil && c.left > 0 {
			h.away = true
			p.r.wg.Add(1) // the link that has read them counts until finish
			go h.comeBack(c, posts, msgs)
			return context.Cause(p.ctx)
		}
		p.outcomes(c, msgs, err)
	}
	p.doneByLog(h, posts, msgs)
	return nil
}

// comeBack waits for what the log does with the posts, and then does what the pass would
// have done that has sent them.
func (h *heldPosts) comeBack(c *call, posts []heldPost, msgs []said) {
	r := h.by.room
	defer r.wg.Done()
	<-c.done
	p := r.pass(context.Background(), h.by.member)
	defer p.end()
	p.outcomes(c, msgs, nil)
	p.doneByLog(h, posts, msgs)
	h.busy, h.away = false, false
	r.group.Wake()
}

// doneByLog notes what has become of posts, of which msgs are those that have something to
// order.
func (p *pass) doneByLog(h *heldPosts, posts []heldPost, msgs []said) {
	for i := range posts {
		post := &posts[i]
		if post.body == nil {
			taken, err := p.sayPost(post)
			h.done(post, taken, err)
			continue
		}
		msg := msgs[0]
		msgs = msgs[1:]
		switch {
		case msg.err == error(ErrMuted) && post.number != 0:
			msg.taken = p.from.take(post.number, 0)
		case msg.err == nil:
			msg.taken.Seq = p.r.ofNow(p.from, msg.taken.Seq, msg.stream)
		case p.isLostWithTheLog(&msg):
			msg.err = nil
		}
		h.done(post, msg.taken, msg.err)
		if msg.err != nil && msg.err != error(ErrMuted) {
			return // nothing is held any more
		}
	}
}

// sayPost orders a post, if there is something to order, and notes its number.
func (p *pass) sayPost(post *heldPost) (taken ledger.Taken, err error) {
	switch {
	case post.body == nil && post.number == 0:
	case post.body == nil:
		taken = p.from.take(post.number, p.r.ofNow(p.from, post.seq, post.stream))
	case post.number == 0:
		_, err = p.say(post.body)
	default:
		if taken, err = p.sayOnce(post.number, post.body); err == error(ErrMuted) {
			taken = p.from.take(post.number, 0)
		}
	}
	return taken, err
}

// next returns the first that is held, and keeps it there.
func (h *heldPosts) next() (heldPost, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.posts) == 0 || h.err != nil {
		return heldPost{}, false
	}
	return h.posts[0], true
}

// ackLocked has a message acknowledged that was taken, with a seq of the stream in which its
// member is now. The room's lock is held, and h.mu.
func (h *heldPosts) ackLocked(taken ledger.Taken) {
	if of := h.by.room.streamOf(h.by.member); of != h.of {
		for i := range h.acks {
			h.acks[i].Seq = 0
		}
		h.of = of
	}
	h.acks = append(h.acks, taken)
}

// done takes out the first, which was ordered or refused with err. After an error
// nothing that follows is ordered.
func (h *heldPosts) done(post *heldPost, taken ledger.Taken, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == error(ErrMuted) {
		h.muted, err = true, nil
	}
	if err != nil {
		h.err = cmpErr(h.err, err)
		clear(h.posts)
		h.posts = h.posts[:0]
		return
	}
	if post.number != 0 && !post.failed {
		h.ackLocked(taken)
	}
	n := copy(h.posts, h.posts[1:])
	h.posts[n] = heldPost{}
	h.posts = h.posts[:n]
}
