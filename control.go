package tcproom

import "fmt"

// ControlFrames is a [Codec] whose protocol has control frames of its own, beside
// events and requests, as WebSocket has. It is optional, and the room's end alone calls
// its methods; the dialling end takes the codec as one without. They are pure as
// Codec's are, append what is the body of one frame to dst, and return the extended
// slice. A method that returns dst as it was sends nothing. For a member of [Room.Join],
// which is in this process, they are not called.
//
// Heartbeats ([WithHeartbeat]) need no hello that asks for them. If the codec's
// [Features] have Pings, the peer answers, and its silence ends the connection; if they
// do not, pings are sent, so that nothing on the way takes the connection for dead, and
// silence ends nothing.
//
// Its AppendEvent is asked for a [Welcome] when a member joins, also if the codec has no
// hello, and may return [ErrNoFrame].
type ControlFrames interface {
	Codec
	// AppendPing appends a ping, in place of a [Ping] event.
	AppendPing(dst []byte) []byte
	// AppendAnswer appends what is sent in answer to frame, which ParseRequest took
	// as a [ReqPing], as a [ReqGoodbye] or as anything that is Pinged.
	//
	// The answer to a ping is sent at once, in place of a [Pong] event. If more than 256
	// bytes for the peer alone would be waiting then, it waits behind them, and gives way
	// to that of the next ping. The answer to a goodbye stands behind all that was ordered
	// before, as the last bytes of the connection, whose sending half is closed behind it.
	AppendAnswer(dst, frame []byte) []byte
	// AppendEnd appends the last bytes of a connection that the room ends, or to
	// which it refuses the join: they stand behind its [Goodbye] or [Refused], if the
	// codec says that, and go with it into one write. cause is what the connection
	// ends with, and err the whole error, which may wrap a hook's own. It is not
	// called for a peer that said goodbye, nor if nothing can be written any more.
	AppendEnd(dst []byte, cause Cause, err error) []byte
}

// frameControl returns the frame of what appendTo, a method of l's ControlFrames,
// appends; nil for nothing. If the method or the framing fails, l ends.
func (l *link) frameControl(appendTo func(dst []byte) []byte) (b []byte) {
	defer l.contain()
	payload := appendTo(nil)
	if len(payload) == 0 {
		return nil
	}
	dst := make([]byte, 0, len(payload)+16)
	b, err := l.cfg.framing.AppendFrame(dst, payload)
	if err != nil {
		l.end(fmt.Errorf("%w: a control frame: %w", ErrUnframeable, err))
		return nil
	}
	return owned(dst, b)
}

// answer returns the frame that answers frame, if l's codec has one.
func (l *link) answer(frame []byte) []byte {
	c := l.cfg.control
	if c == nil {
		return nil
	}
	return l.frameControl(func(dst []byte) []byte { return c.AppendAnswer(dst, frame) })
}

// answerPing answers a ping in frame. Of those for which there is no room the last is
// answered, as RFC 6455 5.5.3 asks for.
func (l *link) answerPing(frame []byte) error {
	b := l.answer(frame)
	if b == nil {
		return l.Err() // of a codec that failed
	}
	l.room.mu.Lock()
	entered := l.cur != nil
	if l.state == streamJoined { // else a goodbye may be there already
		l.cur.InsertLatest(b, maxBeats)
	}
	l.room.mu.Unlock()
	if !entered && l.sink.Queue(b, maxShaken) { // what its peer sends before the join is bounded
		l.sink.Flush()
	}
	return nil
}

// answerWithin answers the ping that came within frame, if there is one. AppendAnswer is
// asked for what answers a ping or goodbye in any case, and answers that with it.
func (l *link) answerWithin(req *Request, frame []byte) error {
	if !req.Pinged || req.Kind == ReqPing || req.Kind == ReqGoodbye {
		return nil
	}
	return l.answerPing(frame)
}

// heedGoodbye takes note of a goodbye in frame, and returns why l ends.
func (l *link) heedGoodbye(req *Request, frame []byte) error {
	if !req.Resumes {
		l.goodbye.Store(true)
	}
	if l.cfg.control != nil {
		l.door.bytes().answer = &partingWords{l.answer(frame)}
	}
	return errLeft
}

// partingWords are the answer to a goodbye, with control frames; there may be none.
type partingWords struct{ frame []byte }

// endFrame returns the bytes that follow the last event of l, which ends with cause.
func (l *link) endFrame(cause error) []byte {
	c := l.cfg.control
	if c == nil {
		return nil
	}
	return l.frameControl(func(dst []byte) []byte { return c.AppendEnd(dst, l.ended(), cause) })
}
