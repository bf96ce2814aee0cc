package tcproom

import (
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"

	"example.com/tcproom/internal/fanout"
)

// maxLanes bounds how many encodings of its stream a room makes.
const maxLanes = 16

// A lane is the encoded form of a room's stream for one pair of framing and
// codec. Its fields are guarded by the room's lock.
type lane struct {
	cfg        *limits // its framing and codec
	form       form
	room       string // for the form
	epochs     epochs
	log        *fanout.Log
	run        *fanout.Run      // of what waits to be told; nil: nothing does
	members    int              // those who get its events
	conns      int              // those with a cursor: members, and some that have left and still read
	closing    []*fanout.Cursor // of members that have left, and whose links go on
	configured int              // New and open doors that named it: their framings bind all senders
	binds      bool             // as if it were configured, while it has members: the doors of a hub name no room
	maxFrame   int              // of an event
	saysGap    bool
	history    *replay // nil until somebody joins who gets history
	events     *replay // nil until somebody resumes
}

func (r *Room) newLane(cfg *limits, f form) *lane {
	_, toMember := frameLimits(cfg.codec, r.cfg.conn.maxMessage)
	l := &lane{
		cfg:  cfg,
		form: f, room: r.name, binds: r.hub != nil && r.name != allRooms,
		maxFrame: toMember + frameOverhead,
	}
	l.epochs.begin(r.epoch.get(), 0)
	b, err := l.gap(0, 1, 2, 2)
	l.saysGap = err == nil && len(b) > 0
	l.log = r.group.NewLog(fanout.LogConfig{
		Backlog: max(r.cfg.backlog, 4*(l.maxFrame+eventCharge)),
		Block:   r.cfg.slow.blocks() > 0,
		Gap:     l.appendGap,
	})
	return l
}

// An epoch is the name of a room's stream. It may be read without a lock: in a room with a
// log there may come another one.
type epoch struct{ name atomic.Pointer[string] }

func (e *epoch) get() string     { return *e.name.Load() }
func (e *epoch) set(name string) { e.name.Store(&name) }

// epochs are the names of the streams of a lane, the oldest first. They may be read without
// a lock. A member of one that is lost may read on when there is another one, and be told a
// gap then.
type epochs struct {
	list atomic.Pointer[[]epochFrom] // what it points to does not change
}

// An epochFrom is a stream that begins at a position in the log of a lane.
type epochFrom struct {
	name string
	from int64
}

// now returns the name of the stream of now.
func (e *epochs) now() string { return (*e.list.Load())[len(*e.list.Load())-1].name }

// at returns the name of the stream to which the position belongs.
func (e *epochs) at(pos int64) string {
	list := *e.list.Load()
	i := len(list) - 1
	for i > 0 && pos < list[i].from {
		i--
	}
	return list[i].name
}

// begin says that a stream begins at a position, unless it is that of now. Of the oldest of
// many nobody knows the name any more: then a member is told one that means nothing.
func (e *epochs) begin(name string, from int64) {
	var list []epochFrom
	if old := e.list.Load(); old != nil {
		if e.now() == name {
			return
		}
		list = slices.Clone(*old)
	}
	if len(list) > maxLost {
		list = slices.Delete(list, 0, 1)
		list[0] = epochFrom{name: rand.Text()}
	}
	list = append(list, epochFrom{name, from})
	e.list.Store(&list)
}

// gap returns the frame of a gap of n events that begins at a position in the lane's log;
// nil if there is none.
func (l *lane) gap(at int64, from, to, n uint64) ([]byte, error) {
	ev := Event{Kind: Gap, Epoch: l.epochs.at(at), Gap: Span{from, to}, Skipped: n}
	if !l.form.shape(&ev, l.room) {
		return nil, nil
	}
	return encode(l.cfg, &ev)
}

// appendGap is the Gap of the lane's log.
func (l *lane) appendGap(dst []byte, at int64, from, to, n uint64) ([]byte, error) {
	b, err := l.gap(at, from, to, n)
	if err == nil && len(b) == 0 {
		err = ErrNoFrame
	}
	if err != nil {
		err = fmt.Errorf("%w: the gap %d-%d: %w", ErrUnframeable, from, to, err)
	}
	return append(dst, b...), err
}

const (
	// frameOverhead is more than what a framing adds to a body: a header
	// block of ContentLength takes the most, about 30 bytes.
	frameOverhead = 256
	// eventCharge is what a log charges for a frame beside its bytes.
	eventCharge = 16
)

// laneLocked returns the lane for cfg, a new one if there is none yet.
func (r *Room) laneLocked(cfg *limits, f form) (*lane, error) {
	for _, l := range r.lanes {
		if o := l.cfg; l.form == f && same(o.framing, cfg.framing, o.framingID, cfg.framingID) && same(o.codec, cfg.codec, o.codecID, cfg.codecID) {
			return l, nil
		}
	}
	if len(r.lanes) >= maxLanes {
		r.tidyLanesLocked() // some may have been written out since
	}
	if len(r.lanes) >= maxLanes {
		return nil, errTooManyLanes
	}
	l := r.newLane(cfg, f)
	r.lanes = append(r.lanes, l)
	return l, nil
}

// same reports whether a and b are one value, so that their conns can share a
// lane: of one option, or of none, which is the default, or equal.
func same(a, b any, optionA, optionB *byte) bool {
	if optionA == optionB {
		return true
	}
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// leaveLane says that s needs nothing more of its lane.
func (r *Room) leaveLane(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.lane != nil {
		s.lane.conns--
	}
	r.tidyLanesLocked() // s may have been among those that were closing
}

// tidyLanesLocked forgets lanes that nobody uses nor has configured.
func (r *Room) tidyLanesLocked() {
	kept := r.lanes[:0]
	for _, l := range r.lanes {
		if l.members > 0 || l.conns > 0 || l.configured > 0 || l.isClosing() {
			kept = append(kept, l)
		} else {
			l.log.Drop()
		}
	}
	clear(r.lanes[len(kept):])
	r.lanes = kept
}

// addClosing notes a cursor of one that has left. Others are forgotten now and then: as
// many as may be added before the next time.
func (l *lane) addClosing(c *fanout.Cursor) {
	if len(l.closing) == cap(l.closing) {
		l.isClosing()
	}
	l.closing = append(l.closing, c)
}

// isClosing reports whether there is something to write still to who has left.
func (l *lane) isClosing() bool {
	l.closing = slices.DeleteFunc(l.closing, (*fanout.Cursor).IsOver)
	return len(l.closing) > 0
}

// An encoder holds the frames of one event, by lane.
type encoder struct {
	payload []byte
	frames  []encoded
	past    []byte // a frame of the past
}

type encoded struct {
	b      []byte
	failed bool // in a lane that cannot say it, and whose members end for that
}

func (e *encoder) frame(lane int) []byte { return e.frames[lane].b }
func (e *encoder) failed(lane int) bool  { return e.frames[lane].failed }

// trim lets go of buffers that an unusually large event needed.
func (e *encoder) trim() {
	const keep = 64 << 10
	if cap(e.payload) > keep {
		e.payload = nil
	}
	if cap(e.past) > keep {
		e.past = nil
	}
	for i := range e.frames {
		if cap(e.frames[i].b) > keep {
			e.frames[i].b = nil
		}
	}
}

// encode makes the frames of ev. An error says that ev is a message which a
// lane cannot carry that binds who speaks.
func (e *encoder) encode(lanes []*lane, ev *Event) (err error) {
	for len(e.frames) < len(lanes) {
		e.frames = append(e.frames, encoded{})
	}
	for i, l := range lanes {
		f := &e.frames[i]
		f.b, f.failed = f.b[:0], false
		if l.members == 0 && (l.configured == 0 || ev.Kind != Message) {
			continue
		}
		b, err := e.encodeLane(l, f.b, ev)
		if err == nil {
			f.b = b
			continue
		}
		if (l.configured > 0 || l.binds) && ev.Kind == Message {
			return err
		}
		f.failed = true
	}
	return nil
}

// encodeOrdered makes the frames of an event that has its place: a lane that cannot carry
// it has failed, whoever it binds.
func (e *encoder) encodeOrdered(lanes []*lane, ev *Event) {
	for len(e.frames) < len(lanes) {
		e.frames = append(e.frames, encoded{})
	}
	for i, l := range lanes {
		f := &e.frames[i]
		f.b, f.failed = f.b[:0], false
		if l.members == 0 {
			continue
		}
		b, err := e.encodeLane(l, f.b, ev)
		if f.failed = err != nil; err == nil {
			f.b = b
		}
	}
}

// encodeLane makes the frame for one lane. A panic of its framing or codec becomes
// the error.
func (e *encoder) encodeLane(l *lane, dst []byte, ev *Event) (_ []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(l.cfg.framing, l.cfg.codec, v)
		}
	}()
	return e.encodeFrame(l, dst, ev)
}

func (e *encoder) encodeFrame(l *lane, dst []byte, ev *Event) (_ []byte, err error) {
	ev.Epoch = l.epochs.now()
	if l.form != formPlain {
		kind, room, seq := ev.Kind, ev.Room, ev.Seq
		defer func() { ev.Kind, ev.Room, ev.Seq = kind, room, seq }()
		if !l.form.shape(ev, l.room) {
			return dst, nil
		}
	}
	payload, err := l.cfg.codec.AppendEvent(e.payload[:0], ev)
	if err != nil {
		if errors.Is(err, ErrNoFrame) {
			err = nil
		}
		return dst, err
	}
	e.payload = owned(e.payload, payload)
	frame, err := l.cfg.framing.AppendFrame(dst, e.payload)
	if err != nil {
		return dst, err
	}
	dst = owned(dst, frame)
	if len(dst) > l.maxFrame {
		err = fmt.Errorf("%w: a frame of %d bytes, but MaxFrame of codec %T allows %d", ErrUnframeable, len(dst), l.cfg.codec, l.maxFrame)
	}
	return dst, err
}
