package tcproom

import (
	"errors"
	"fmt"
	"math"
	"reflect"

	"example.com/tcproom/internal/fanout"
)

// maxLanes bounds how many encodings of its stream a room makes.
const maxLanes = 16

// A lane is the encoded form of a room's stream for one pair of framing and
// codec. Its fields are guarded by the room's lock.
type lane struct {
	framing    Framing
	codec      Codec
	framingID  *byte // of the options, see same
	codecID    *byte
	log        *fanout.Log
	members    int // those who get its events
	conns      int // those with a cursor: members, and some that have left and still read
	configured int // New and running Serves that named it: their framings bind all senders
	maxFrame   int // of an event
	saysGap    bool
	history    *replay // nil until somebody joins who gets history
	events     *replay // nil until somebody resumes
	exits      bool    // its framing or codec has ended a goroutine: it gets one of its own
}

func (r *Room) newLane(cfg *limits) *lane {
	_, toMember := frameLimits(cfg.codec, r.cfg.conn.maxMessage)
	l := &lane{
		framing: cfg.framing, framingID: cfg.framingID,
		codec: cfg.codec, codecID: cfg.codecID,
		maxFrame: toMember + frameOverhead,
	}
	b, err := encode(cfg, &Event{Kind: Gap, GapFrom: 1, GapTo: 2})
	l.saysGap = err == nil && len(b) > 0
	l.log = r.fan.NewLog(fanout.LogConfig{
		Backlog: max(r.cfg.backlog, 4*(l.maxFrame+eventCharge)),
		Block:   r.cfg.slow == Block,
		Gap: func(dst []byte, from, to uint64) ([]byte, error) {
			b, err := encodeApart(cfg, &Event{Kind: Gap, GapFrom: from, GapTo: to})
			if err == nil && len(b) == 0 {
				err = ErrNoFrame
			}
			if err != nil {
				err = fmt.Errorf("%w: the gap %d-%d: %w", ErrUnframeable, from, to, err)
			}
			return append(dst, b...), err
		},
	})
	return l
}

const (
	// frameOverhead is more than what a framing adds to a body: a header
	// block of ContentLength takes the most, about 30 bytes.
	frameOverhead = 256
	// eventCharge is what a log charges for a frame beside its bytes.
	eventCharge = 16
)

// frameLimits returns what the codec's MaxFrame says, as far as it is a size
// and sums with it do not overflow.
func frameLimits(c Codec, maxMessage int) (toRoom, toMember int) {
	defer func() {
		if recover() != nil {
			toRoom, toMember = 0, 0
		}
	}()
	toRoom, toMember = c.MaxFrame(maxMessage)
	const most = math.MaxInt/4 - 64<<10
	return min(max(toRoom, 0), most), min(max(toMember, 0), most)
}

// laneLocked returns the lane for cfg, a new one if there is none yet.
func (r *Room) laneLocked(cfg *limits) (*lane, error) {
	for _, l := range r.lanes {
		if same(l.framing, cfg.framing, l.framingID, cfg.framingID) && same(l.codec, cfg.codec, l.codecID, cfg.codecID) {
			return l, nil
		}
	}
	if len(r.lanes) >= maxLanes {
		return nil, ErrTooManyLanes
	}
	l := r.newLane(cfg)
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

// leaveLane says that c needs nothing more of its lane.
func (r *Room) leaveLane(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.lane != nil {
		c.lane.conns--
		r.tidyLanesLocked()
	}
}

// tidyLanesLocked forgets lanes that nobody uses nor has configured.
func (r *Room) tidyLanesLocked() {
	kept := r.lanes[:0]
	for _, l := range r.lanes {
		if l.members > 0 || l.conns > 0 || l.configured > 0 {
			kept = append(kept, l)
		} else {
			r.stats.Skipped += l.log.Skipped()
			l.log.Drop()
		}
	}
	clear(r.lanes[len(kept):])
	r.lanes = kept
}

// An encoder holds the frames of one event, by lane.
type encoder struct {
	payload []byte
	frames  []encoded
	past    []byte // a frame of the past
	exited  bool   // a framing or codec has ended the goroutine that encoded
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
// configured lane cannot carry.
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
		b, err := e.encodeContained(l, f.b, ev)
		if err == nil {
			f.b = b
			continue
		}
		if l.configured > 0 && ev.Kind == Message {
			return err
		}
		f.failed = true
	}
	return nil
}

// encodeContained makes the frame for one lane. Where its framing or codec
// calls runtime.Goexit, that ends the caller the first time, since nothing can
// stop it; from then on the lane's are called on goroutines of their own.
func (e *encoder) encodeContained(l *lane, dst []byte, ev *Event) ([]byte, error) {
	if l.exits {
		return e.encodeApart(l, dst, ev)
	}
	return e.encodeLane(l, dst, ev)
}

func (e *encoder) encodeApart(l *lane, dst []byte, ev *Event) (b []byte, err error) {
	err = exited(l.framing, l.codec)
	apart(func() { b, err = e.encodeLane(l, dst, ev) })
	return b, err
}

func (e *encoder) encodeLane(l *lane, dst []byte, ev *Event) (_ []byte, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = panicked(l.framing, l.codec, v)
			return
		}
		if !l.exits {
			l.exits, e.exited = true, true
		}
	}()
	dst, err = e.encodeFrame(l, dst, ev)
	returned = true
	return dst, err
}

func (e *encoder) encodeFrame(l *lane, dst []byte, ev *Event) (_ []byte, err error) {
	payload, err := l.codec.AppendEvent(e.payload[:0], ev)
	if err != nil {
		if errors.Is(err, ErrNoFrame) {
			err = nil
		}
		return dst, err
	}
	e.payload = owned(e.payload, payload)
	frame, err := l.framing.AppendFrame(dst, e.payload)
	if err != nil {
		return dst, err
	}
	dst = owned(dst, frame)
	if len(dst) > l.maxFrame {
		err = fmt.Errorf("%w: a frame of %d bytes, but MaxFrame of codec %T allows %d", ErrUnframeable, len(dst), l.codec, l.maxFrame)
	}
	return dst, err
}

// owned returns got in memory of its own. A user's codec or framing appends
// to dst, or should: if it returns its argument instead, that is the caller's
// body or a buffer of ours.
func owned(dst, got []byte) []byte {
	if cap(dst) > 0 && cap(got) > 0 && &dst[:1][0] == &got[:1][0] {
		return got
	}
	return append(dst[:0], got...)
}

// encode returns the frame of an event for one conn, or nil where its codec
// says nothing.
func encode(cfg *limits, ev *Event) (b []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			b, err = nil, panicked(cfg.framing, cfg.codec, v)
		}
	}()
	payload, err := cfg.codec.AppendEvent(nil, ev)
	if errors.Is(err, ErrNoFrame) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dst := make([]byte, 0, len(payload)+16)
	if b, err = cfg.framing.AppendFrame(dst, payload); err != nil {
		return nil, err
	}
	return owned(dst, b), nil
}

// encodeApart is encode for callers that a runtime.Goexit of the user's must
// not end.
func encodeApart(cfg *limits, ev *Event) (b []byte, err error) {
	err = exited(cfg.framing, cfg.codec)
	apart(func() { b, err = encode(cfg, ev) })
	return b, err
}

// apart calls fn on a goroutine of its own and waits for its end.
func apart(fn func()) {
	done := make(chan struct{})
	go callAndClose(fn, done)
	<-done
}

// callAndClose is the goroutine of apart. It ends with fn.
func callAndClose(fn func(), done chan<- struct{}) {
	defer close(done)
	fn()
}

func panicked(f Framing, c Codec, v any) error {
	return fmt.Errorf("%w: framing %T or codec %T panicked: %q", ErrUnframeable, f, c, fmt.Sprint(v))
}

func exited(f Framing, c Codec) error {
	return fmt.Errorf("%w: framing %T or codec %T called runtime.Goexit", ErrUnframeable, f, c)
}
