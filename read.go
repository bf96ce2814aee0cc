package tcproom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"example.com/tcproom/internal/ledger"
	"example.com/tcproom/internal/scribble"
)

// maxHeader is more than what a framing puts before a body: the header block
// of ContentLength takes up to 8 KiB. It bounds, with the frame limit, what is
// held of a frame that is not complete.
const maxHeader = 16 << 10

// readLoop reads what a member sends until it, or the link, ends, and returns why, or
// errRests.
func (l *link) readLoop() error {
	limit, _ := frameLimits(l.cfg.codec, l.cfg.maxMessage)
	a := l.newAhead()
	if a != nil {
		defer a.finish()
	}
	for {
		beats, err := l.readFrames(limit, a)
		if err != nil {
			return err
		}
		if beats && l.mayRest() {
			return errRests
		}
		err = l.readAlive(limit+maxHeader, l)
		if err == errRests {
			return err
		}
		if err != nil && !l.heldBack(err) && (a == nil || !a.excuses(err)) {
			return l.readCause(err, errIdleTimeout)
		}
	}
}

// readFrames deals with all whole frames that have been read, and reports whether they
// were pings and pongs, and there were any.
func (l *link) readFrames(limit int, a *ahead) (beats bool, err error) {
	if !l.door.passed {
		if wait, err := l.knock(limit); wait || err != nil {
			return false, err
		}
	}
	in := inboxPool.Get().(*inbox)
	defer in.free()
	in.by, in.ahead = &l.stream, a
	if l.room.traces() {
		in.read = time.Now()
	}
	data, used, talked := l.src.Held(), 0, false
	to, got := l.room, 0 // bytes of frames for one room, which are not counted yet
	defer func() { to.countIn(got) }()
	for {
		n, frame, err := l.split(data[used:], limit)
		if err == nil && n == 0 && len(data)-used >= limit+maxHeader {
			err = ErrFrameTooLarge
		}
		if err == nil && n > 0 && l.member.limiter != nil {
			// What came before it does not wait with it.
			if err = l.take(in); err == nil {
				err = l.pay(n)
			}
		}
		if err == nil && n > 0 {
			err = l.parse(in, frame)
		}
		if err == nil && in.full() {
			err = l.take(in)
		}
		if err != nil {
			return false, cmpErr(l.take(in), err)
		}
		if used += n; n == 0 {
			break
		}
		if in.by != nil && in.by.room != to {
			to.countIn(got)
			to, got = in.by.room, 0
		}
		got += n
		beats = in.req.Kind == ReqPing || in.req.Kind == ReqPong
		talked = talked || !beats
	}
	if err := l.take(in); err != nil {
		return false, err
	}
	l.consume(used)
	if in.pinged {
		l.beat(true)
	}
	return beats && !talked, nil
}

// parse decodes a frame and puts a message into the inbox.
func (l *link) parse(in *inbox, frame []byte) error {
	req := &in.req
	*req = Request{}
	err := l.cfg.codec.ParseRequest(frame, req)
	if err == nil || errors.Is(err, ErrNoFrame) {
		if err := l.answerWithin(req, frame); err != nil {
			return err
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrNoFrame):
		if !l.ignored && len(frame) > 0 {
			l.ignored = true
			l.report(slog.LevelInfo, "ignored", l.room, "frame ignored, and more like it will be", "cause", err)
		}
		return nil
	default:
		return badInput(err)
	}
	switch req.Kind {
	case ReqSay:
		if len(req.Body) > l.cfg.maxMessage {
			return ErrFrameTooLarge
		}
		if req.Room != "" || l.room.hub != nil {
			if ok, err := l.addressed(in); !ok {
				return err
			}
		}
		msg := message{body: req.Body}
		if in.by.member.session != nil {
			msg.number = req.Number
		}
		if in.by.room.cfg.hooks.onMessage != nil && scribble.On() {
			msg.frame = frame
		}
		in.msgs = append(in.msgs, msg)
		return nil
	case ReqPing:
		if l.cfg.control != nil {
			return l.answerPing(frame)
		}
		in.pinged = true // one answer to all of them will do
		return nil
	case ReqPong:
		return nil
	case ReqGoodbye:
		return l.heedGoodbye(req, frame)
	}
	if req.forHub() && l.room.hub != nil {
		return l.room.hub.request(l, in)
	}
	if req.forHub() {
		return l.refuseRequest(in)
	}
	return fmt.Errorf("%w: a %v behind the join", ErrMalformed, req.Kind)
}

// addressed sees to which room the message in in.req is for, and reports whether it can
// be taken. What is there for another room is dealt with first.
func (l *link) addressed(in *inbox) (ok bool, err error) {
	if l.room.hub == nil {
		return false, l.refuseRequest(in)
	}
	s := l.by(in.req.Room)
	if s != in.by {
		if err := l.take(in); err != nil {
			return false, err
		}
		s = l.by(in.req.Room) // a hook may have moved it
	}
	if in.by = s; s == nil {
		return false, l.refuseMessage(in)
	}
	return true, nil
}

// refuseRequest answers the request in in.req, which asks a room for what only a hub
// does, or a message for another room. The answer stands behind those to what came
// before, and waits as an ack does.
func (l *link) refuseRequest(in *inbox) error {
	if err := l.take(in); err != nil {
		return err
	}
	if in.ahead != nil {
		in.ahead.finish()
	}
	b, err := encode(l.transport.cfg, refusalOf(&in.req, onlyRoom()))
	if err != nil || len(b) == 0 {
		return err
	}
	return l.putWhole(context.Background(), b)
}

// onlyRoom is why a room that stands by itself does not do what only a hub does.
func onlyRoom() *EndError {
	return &EndError{Cause: errOneRoom, Text: "there is only one room here: nothing can be asked of others", Final: errOneRoom.final()}
}

// refusalOf returns the event that refuses req because of end.
func refusalOf(req *Request, end *EndError) *Event {
	ev := &Event{Kind: Refused, Time: time.Now(), Room: req.Room, Ref: req.Ref, Number: req.Number, End: end}
	if req.Kind == ReqMove {
		ev.Room = req.To
	}
	if checkAnyRoom(ev.Room) != nil {
		ev.Room = "" // no codec says it
	}
	return ev
}

// maxInbox is how many messages go through the sequencer at once. It bounds
// what is held of them beside their bytes: those of a read can be many, of a byte each.
const maxInbox = 256

// maxInboxByLog is maxInbox in a room with a log, of which each time is a round trip.
const maxInboxByLog = 512

// An inbox is messages of one read.
type inbox struct {
	by     *stream // of whose member the messages are
	msgs   []message
	acks   []ledger.Taken // to be sent
	stream uint64         // of their seqs
	ahead  *ahead         // nil: its reader waits for them
	pinged bool
	read   time.Time // when the messages were read, if there may be traces
	req    Request   // of parse
}

// A message is one of a member's, on its way to the sequencer.
type message struct {
	number uint64 // 0: it has none
	body   []byte
	frame  []byte // it is overwritten when the hook has returned; nil: it is not
}

var inboxPool = sync.Pool{New: func() any { return new(inbox) }}

func (in *inbox) clear() {
	clear(in.msgs)
	in.msgs, in.acks = in.msgs[:0], in.acks[:0]
}

func (in *inbox) full() bool {
	if in.by != nil && in.by.room.replica != nil {
		return len(in.msgs) >= maxInboxByLog
	}
	return len(in.msgs) >= maxInbox
}

func (in *inbox) free() {
	in.clear()
	in.by, in.ahead, in.pinged, in.read, in.req, in.stream = nil, nil, false, time.Time{}, Request{}, 0
	inboxPool.Put(in)
}

// take does with the messages of one read what is to be done: it hands them to
// OnMessage, and orders them in one pass. The inbox is empty after that.
func (l *link) take(in *inbox) error {
	if len(in.msgs) == 0 {
		return nil
	}
	defer in.clear()
	if in.by != &l.stream { // others may put it out, and call OnLeave, meanwhile
		if !in.by.member.takeTurn(l.Context().Done()) {
			return l.Err()
		}
		defer in.by.member.giveTurn()
	}
	var err error
	if in.by.room.cfg.hooks.onMessage != nil {
		err = l.takeByHook(in)
	} else {
		err = in.by.room.orStop(l.orderAll(in))
	}
	var unsaid error
	if len(in.acks) > 0 {
		unsaid = in.by.acknowledge(in.acks, in.stream)
	}
	switch {
	case err == error(ErrMuted) && unsaid == nil:
		return l.refuse(&Request{Kind: ReqSay, Room: in.by.room.name}, err)
	case in.by != &l.stream && cmpErr(err, unsaid) != nil:
		return l.outlive(in, err, unsaid)
	}
	return cmpErr(err, unsaid)
}

// outlive answers messages for a room that their member is not in any more: by the
// stream of the connection, behind whose goodbye for that room they may come. It returns
// the error if that is for another reason: err is of ordering them, unsaid of
// acknowledging those that were.
func (l *link) outlive(in *inbox, err, unsaid error) error {
	s := in.by
	if err == error(ErrRoomClosed) && !s.hasLeft() { // the hub stops, and says so in a moment
		<-l.Context().Done()
		return l.Err()
	}
	if _, failed := err.(*HookError); failed || l.Err() != nil || !s.hasLeft() {
		return cmpErr(err, unsaid)
	}
	room := s.room.name
	if unsaid != nil {
		for _, a := range in.acks {
			ev := Event{Kind: Ack, Number: a.Number}
			// Without the seq: who has entered a room since, be it another one of the same
			// name, would take that for a place in it.
			if l.labelled {
				ev.Room = room
			}
			if err := l.reply(&ev); err != nil {
				return err
			}
		}
	}
	if err == nil {
		return nil
	}
	if err != error(ErrMuted) {
		err = fmt.Errorf("%w: %q", ErrNotMember, room)
	}
	for i, unnumbered := 0, false; i < len(in.msgs); i++ {
		number := in.msgs[i].number
		if number == 0 && unnumbered || number != 0 && in.acknowledges(number) {
			continue
		}
		unnumbered = unnumbered || number == 0
		if err := l.refuse(&Request{Kind: ReqSay, Room: room, Number: number}, err); err != nil {
			return err
		}
	}
	return nil
}

// acknowledges reports whether the message of that number is one of those that were taken.
func (in *inbox) acknowledges(number uint64) bool {
	return slices.ContainsFunc(in.acks, func(a ledger.Taken) bool { return a.Number == number })
}

// orderAll orders the messages of an inbox.
func (l *link) orderAll(in *inbox) error {
	p := in.by.room.pass(context.Background(), in.by.member)
	defer p.end()
	p.via = l
	p.readAt(in.read)
	if in.by.room.replica != nil {
		return p.orderByLog(in)
	}
	var muted error
	for i := range in.msgs {
		switch err := p.take(in, &in.msgs[i]); err {
		case nil:
		case error(ErrMuted): // those that follow have numbers to acknowledge
			muted = err
		default:
			return err
		}
	}
	return muted
}

// orderByLog is orderAll in a room with a log.
func (p *pass) orderByLog(in *inbox) (err error) {
	if in.ahead != nil {
		if ok, err := p.orderAhead(in); ok {
			return err
		}
	}
	msgs := in.said()
	p.sayAll(msgs)
	in.acks, err = p.heed(msgs, in.acks)
	in.stream = p.r.streamOf(p.from)
	return err
}

// take orders a message, unless it was taken before.
func (p *pass) take(in *inbox, msg *message) error {
	if msg.number != 0 {
		if taken, ok := p.from.find(msg.number); ok {
			in.acks = append(in.acks, taken)
			return nil
		}
	}
	if msg.number == 0 {
		_, err := p.say(msg.body)
		return err
	}
	taken, err := p.sayOnce(msg.number, msg.body)
	if err == error(ErrMuted) {
		in.acks = append(in.acks, p.from.take(msg.number, 0))
	}
	if err == nil {
		in.acks = append(in.acks, taken)
	}
	return err
}

// acknowledge tells the peer of s what was taken, at seqs of the given stream. It waits
// while too much waits for that peer, which holds up reading from it.
func (s *stream) acknowledge(acks []ledger.Taken, stream uint64) error {
	for seqs := true; ; seqs = false {
		var frames []byte
		for _, a := range acks {
			b, err := s.encode(&Event{Kind: Ack, Number: a.Number, Seq: a.Seq})
			if err != nil {
				return err
			}
			frames = append(frames, b...)
		}
		if !seqs {
			return s.putWhole(context.Background(), frames)
		}
		err := s.putOf(context.Background(), frames, &stream)
		if err != errOfBefore {
			return err
		}
		for i := range acks { // a peer would take them for places in the stream of now
			acks[i].Seq = 0
		}
	}
}
