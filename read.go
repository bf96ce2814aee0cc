package tcproom

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	"example.com/tcproom/internal/scribble"
)

// maxHeader is more than what a framing puts before a body: the header block
// of ContentLength takes up to 8 KiB. It bounds, with the frame limit, what is
// held of a frame that is not complete.
const maxHeader = 16 << 10

// readLoop reads what a member says until it, or the conn, ends, and returns why.
func (c *Conn) readLoop() error {
	limit, _ := frameLimits(c.cfg.codec, c.cfg.maxMessage)
	for {
		if err := c.hear(limit); err != nil {
			return err
		}
		if err := c.readAlive(limit + maxHeader); err != nil && !c.heldBack(err) {
			return c.readCause(err, ErrIdleTimeout)
		}
	}
}

// hear deals with all whole frames that have been read.
func (c *Conn) hear(limit int) error {
	if !c.knocked {
		if wait, err := c.knock(limit); wait || err != nil {
			return err
		}
	}
	in := inboxPool.Get().(*inbox)
	defer in.free()
	data, used := c.src.Held(), 0
	for {
		n, frame, err := c.split(data[used:], limit)
		if err == nil && n == 0 && len(data)-used >= limit+maxHeader {
			err = ErrFrameTooLarge
		}
		if err == nil && n > 0 && c.limiter != nil {
			// What came before it does not wait with it.
			err = c.say(in)
			in.clear() // it is not said again
			if err == nil {
				err = c.pay(n)
			}
		}
		if err == nil && n > 0 {
			err = c.accept(in, frame)
		}
		if err == nil && len(in.bodies) == maxInbox {
			if err := c.say(in); err != nil {
				return err
			}
			in.clear()
		}
		if err != nil {
			return cmpErr(c.say(in), err)
		}
		if used += n; n == 0 {
			break
		}
	}
	if err := c.say(in); err != nil {
		return err
	}
	c.src.Consume(used)
	if in.pinged {
		c.sayBeat(Pinger.AppendPong)
	}
	return nil
}

// accept parses a frame and puts what it says into the inbox.
func (c *Conn) accept(in *inbox, frame []byte) error {
	id, body, err := c.parse(frame)
	switch {
	case err == nil:
		if len(body) > c.cfg.maxMessage {
			return ErrFrameTooLarge
		}
	case errors.Is(err, ErrGoodbye):
		c.goodbye = true
		return io.EOF
	case errors.Is(err, ErrPing):
		in.pinged = true // one answer to all of them will do
		return nil
	case errors.Is(err, ErrPong):
		return nil
	case errors.Is(err, ErrNoFrame):
		if len(frame) > 0 && !c.unknown {
			c.unknown = true
			c.report(slog.LevelInfo, "ignored", "tcproom: a frame was ignored, and more like it will be", "name", c.Name(), "why", err)
		}
		return nil
	default:
		return badInput(err)
	}
	in.bodies = append(in.bodies, body)
	if c.session != nil {
		in.ids = append(in.ids, id)
	}
	if c.room.cfg.onMessage != nil && scribble.On() {
		in.frames = append(in.frames, frame)
	}
	return nil
}

// parse decodes what c says, and its number, 0 where it has none.
func (c *Conn) parse(frame []byte) (id uint64, body []byte, err error) {
	if c.session != nil {
		return c.cfg.codec.(Resumer).ParseNumbered(frame)
	}
	body, err = c.cfg.codec.ParseMessage(frame)
	return 0, body, err
}

// maxInbox is how many messages go through the sequencer at once. It bounds
// what is held of them beside their bytes: those of a read can be many, of a byte each.
const maxInbox = 256

// An inbox is messages of one read.
type inbox struct {
	bodies [][]byte
	frames [][]byte // those of bodies, where what a hook has returned is overwritten
	ids    []uint64 // those of bodies, where the conn has a session
	acks   []taken  // to be said
	pinged bool
}

// id returns the number of a body, 0 where it has none.
func (in *inbox) id(i int) uint64 {
	if i < len(in.ids) {
		return in.ids[i]
	}
	return 0
}

var inboxPool = sync.Pool{New: func() any { return new(inbox) }}

func (in *inbox) clear() {
	clear(in.bodies)
	clear(in.frames)
	in.bodies, in.frames = in.bodies[:0], in.frames[:0]
	in.ids, in.acks = in.ids[:0], in.acks[:0]
}

func (in *inbox) free() {
	in.clear()
	in.pinged = false
	inboxPool.Put(in)
}

// say does with the messages of one read what is to be done: it hands them to
// OnMessage one by one, or orders them in one pass.
func (c *Conn) say(in *inbox) error {
	if len(in.bodies) == 0 {
		return nil
	}
	say := c.sayInOrder
	if c.room.cfg.onMessage != nil {
		say = c.sayToHook
	}
	err := say(in)
	if len(in.acks) > 0 {
		return cmpErr(err, c.acknowledge(in.acks))
	}
	return err
}

func (c *Conn) sayInOrder(in *inbox) error {
	p := c.room.pass(context.Background(), c)
	defer p.end()
	for i, body := range in.bodies {
		id := in.id(i)
		if id != 0 && id <= c.session.lastID {
			in.acks = append(in.acks, taken{id, c.session.seqOf(id)})
			continue
		}
		seq, err := p.say(body)
		if err != nil {
			return err
		}
		if id != 0 {
			c.session.take(id, seq)
			in.acks = append(in.acks, taken{id, seq})
		}
	}
	return nil
}

func (c *Conn) sayToHook(in *inbox) error {
	for i, body := range in.bodies {
		if err := c.Err(); err != nil {
			return err
		}
		id := in.id(i)
		if id != 0 && !c.beginTaking(id, in) {
			continue
		}
		err := c.sayOneToHook(in, id, body)
		if i < len(in.frames) {
			scribble.Over(in.frames[i])
		}
		if err != nil {
			var he *HookError
			if errors.As(err, &he) && he.Hook == hookNames[hookOnMessage] {
				return err
			}
			if errors.Is(err, ErrRoomClosed) && c.room.isStopping() {
				return ErrRoomClosed // what Post said is why c ends as well
			}
			return &HookError{Hook: hookNames[hookOnMessage], Err: err}
		}
	}
	return nil
}

// sayOneToHook calls OnMessage, and notes what became of a message that has a number.
func (c *Conn) sayOneToHook(in *inbox, id uint64, body []byte) (err error) {
	failed := true
	if id != 0 {
		defer func() { // also where the hook ends the goroutine
			if ack := c.endTaking(id, failed); !failed {
				in.acks = append(in.acks, ack)
			}
		}()
	}
	err = c.call(hookOnMessage, func() error { return c.room.cfg.onMessage(c, body) })
	failed = err != nil
	return err
}
