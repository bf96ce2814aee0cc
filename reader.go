package tcproom

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"example.com/tcproom/internal/probe"
)

// A reader is what a dialling end needs to receive.
type reader struct {
	limit   int           // of a frame
	turn    chan struct{} // holds a token while somebody reads; guards what follows
	first   []Event       // read by greet
	any     bool          // there was an event
	welcome bool          // there was a Welcome
	token   Secret        // of the last one that had one
	suspect error         // of the first bytes, if the stream ends with them
	ended   bool          // Receive has handed out all
	parsed  Event         // of parseEvent: one that a Codec is given escapes
	watched <-chan struct{}
	unwatch func() bool
	fired   chan struct{} // closed when the context that is watched has ended and was heeded
}

// lock waits for the turn to read.
func (r *reader) lock(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case r.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *reader) unlock() { <-r.turn }

// close drops what was not received, when the connection is closed.
func (r *reader) close() {
	r.turn <- struct{}{}
	defer r.unlock()
	r.first, r.ended = nil, true
	if r.unwatch != nil {
		r.unwatch()
	}
}

// Receive returns the next event. It blocks until there is one or ctx ends, which
// costs nothing but the wait: the connection goes on. Many goroutines may call it; each
// event goes to one of them.
//
// At the end of the stream it returns why c has ended, the same at every call: an
// [*EndError], which wraps [io.EOF] if the room closed the connection, and which has the
// words of the [Goodbye] that was the last event, if there was one; a [*RefusedError]
// if the room refused the connection with an event, which is no answer to a request;
// or [net.ErrClosed] after one's own Close. With [OnEvent] it returns an error that wraps [errors.ErrUnsupported].
func (c *Conn) Receive(ctx context.Context) (Event, error) {
	if c.events != nil {
		return Event{}, errReceive
	}
	return c.receive(ctx)
}

// receive is Receive, also for the loop of OnEvent.
func (c *Conn) receive(ctx context.Context) (Event, error) {
	r := &c.reader
	if err := r.lock(ctx); err != nil {
		return Event{}, err
	}
	defer r.unlock()
	if len(r.first) > 0 {
		ev := r.first[0]
		r.first = r.first[1:]
		return ev, nil
	}
	for !r.ended {
		ev, err := c.nextOrStrange()
		switch {
		case err != nil:
			c.end(err)
			r.ended = true
		case ev.Kind != 0:
			return ev, nil
		default:
			if err := c.readMore(ctx); err != nil {
				r.ended = c.Err() != nil
				return Event{}, err
			}
		}
	}
	return Event{}, c.Err()
}

// nextEvent takes the next event from what has been read; its Kind is 0 if there is
// none.
func (c *Conn) nextEvent() (Event, error) {
	for {
		n, frame, err := c.split(c.src.Held(), c.reader.limit)
		if c.opts.probe.Aside != "" && errors.Is(err, ErrFrameTooLarge) {
			n, frame, err = c.splitAside(err)
		}
		if err != nil {
			return Event{}, err
		}
		if n == 0 {
			if len(c.src.Held()) >= c.reader.limit+maxHeader {
				return Event{}, ErrFrameTooLarge
			}
			return Event{}, nil
		}
		ev, err := c.parseEvent(frame)
		c.src.Consume(n)
		c.reader.any = c.reader.any || err == nil
		switch {
		case errors.Is(err, ErrNoFrame):
			continue
		case err != nil:
			return Event{}, err
		case ev.Kind == Ping:
			c.beat(true)
			continue
		case ev.Kind == Pong:
			continue
		}
		return ev, c.heed(&ev)
	}
}

// heed does what follows from ev for the connection. An error is why it ends
// without handing ev out.
func (c *Conn) heed(ev *Event) error {
	switch ev.Kind {
	case Welcome:
		// One that follows is that of another room of a hub. It says nothing of the session,
		// which is the connection's.
		w, r := ev.Welcome, &c.reader
		if w != nil && w.Token == "" && r.welcome && !ev.inOneRoom() && (w.Outcome == outcomeReset || w.Outcome == outcomeGap) {
			w.Token = r.token
		}
		has := w != nil && w.Token != ""
		if has {
			r.token = w.Token
		}
		if ev.From != (MemberInfo{}) || w == nil || w.Outcome != outcomeReset { // else the codec does not say who it is
			c.setMember(ev.From, has || (r.welcome || ev.inOneRoom()) && c.mayResume())
		}
		r.welcome = true
		c.beats = c.cfg.features.Pings
	case Refused:
		if ev.answers() || c.reader.welcome {
			return nil
		}
		end := endOf(ev, ErrDenied)
		return end.refused()
	case Goodbye:
		if ev.inOneRoom() {
			return nil
		}
		// Nothing comes behind it, and what still happens to the transport is of no
		// interest.
		var end error = endOf(ev, errLeft)
		if broken := c.sendErr(); broken != nil && closedToo(end) {
			end = broken // the goodbye gives no reason
		}
		c.end(end)
		c.reader.ended = true
	}
	return nil
}

// endOf returns a copy of ev.End. Its cause is otherwise if the codec told none.
func endOf(ev *Event, otherwise Cause) *EndError {
	if ev.End == nil {
		return &EndError{Cause: otherwise}
	}
	end := *ev.End
	end.Cause = cmp.Or(end.Cause, otherwise)
	return &end
}

// splitAside is split for a frame that is too large, unless package roomtest
// has the room send it.
func (c *Conn) splitAside(tooLarge error) (n int, frame []byte, err error) {
	_, limit := frameLimits(c.cfg.codec, c.cfg.maxMessage+probe.MaxAside)
	n, frame, err = c.split(c.src.Held(), limit)
	if n > 0 && !bytes.Contains(frame, []byte(c.opts.probe.Aside)) {
		return 0, nil, tooLarge
	}
	return n, frame, err
}

// parseEvent decodes a frame into an event that owns its bytes.
func (c *Conn) parseEvent(frame []byte) (Event, error) {
	parsed := &c.reader.parsed
	*parsed = Event{}
	err := c.cfg.codec.ParseEvent(append(make([]byte, 0, len(frame)), frame...), parsed)
	switch {
	case errors.Is(err, ErrNoFrame):
		return Event{}, err
	case err != nil:
		return Event{}, badInput(err)
	case parsed.Kind == 0: // which means that there is no frame
		return Event{}, fmt.Errorf("%w: ParseEvent of %T set no Kind", ErrMalformed, c.cfg.codec)
	}
	ev := *parsed
	*parsed = Event{}
	return ev, nil
}

// readMore waits for more bytes. A ctx that ends while it waits ends the wait
// and nothing else.
func (c *Conn) readMore(ctx context.Context) error {
	if c.shaken != nil {
		select {
		case <-c.shaken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	c.watch(ctx)
	err := c.readAlive(c.reader.limit+maxHeader, c)
	if err == nil {
		return nil
	}
	if cause := c.Err(); cause != nil {
		return cause
	}
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	c.end(c.endOfRead(c.readCause(err, errIdleTimeout)))
	return c.Err()
}

// endOfRead makes of the cause for which nothing more can be read that of the end.
func (c *Conn) endOfRead(cause error) error {
	suspect, broken, held := c.reader.suspect, c.sendErr(), c.src.Held()
	switch {
	case suspect != nil && (cause == error(errLeft) || cause == error(errCutOff)):
		return suspect // what its only frame shows
	case broken != nil && !hopeless(cause): // which came first
		return broken
	case cause == error(errCutOff) && len(held) > 0 && !c.reader.any:
		return fmt.Errorf("%w: %w: %s", errCutOff, errFragment, quotePeer(held))
	}
	return cause
}

// errFragment is in the error of a peer that sent less than one frame, as one does
// that speaks another protocol.
var errFragment = errors.New("less than one frame came")

// watch sees to it that the end of ctx ends reading, instead of that of the
// context that was watched before. Contexts with one Done channel are watched
// as one, so that a loop over Receive costs nothing.
func (c *Conn) watch(ctx context.Context) {
	r := &c.reader
	done := ctx.Done()
	if done == r.watched {
		return
	}
	if r.unwatch != nil && !r.unwatch() {
		<-r.fired
	}
	c.mu.Lock()
	if c.expired = false; c.ending == nil {
		c.nc.SetReadDeadline(time.Time{})
	}
	c.mu.Unlock()
	r.watched, r.unwatch = done, nil
	if done == nil {
		return
	}
	fired := make(chan struct{})
	r.fired = fired
	r.unwatch = context.AfterFunc(ctx, func() {
		defer close(fired)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.expired = true
		c.nc.SetReadDeadline(past)
	})
}
