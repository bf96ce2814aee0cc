package tcproom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"example.com/tcproom/internal/probe"
)

// Receive returns the next event. It blocks until there is one or ctx ends,
// which costs nothing but the wait: the conn goes on. At the end of the stream
// it returns [io.EOF]; when the room said that it refuses the conn, a
// [*RefusedError]; otherwise why the conn has ended, the same at every call.
//
// At the room's end it works inside the [Handshake] hook, where it returns a
// [Message] event with what the peer sent, and returns [ErrReceive] elsewhere;
// so it does at a dialling end with [OnEvent].
func (c *Conn) Receive(ctx context.Context) (Event, error) {
	if c.room != nil {
		return c.receiveShaking(ctx)
	}
	if c.dial.cfg.onEvent != nil {
		return Event{}, ErrReceive
	}
	return c.receive(ctx)
}

// Events returns the events that Receive would, until an error, which it
// yields as the last; the end of the stream is not an error.
func (c *Conn) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			ev, err := c.Receive(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// receiveShaking is Receive inside the handshake.
func (c *Conn) receiveShaking(ctx context.Context) (Event, error) {
	if c.hook.Load() != hookHandshake {
		return Event{}, ErrReceive
	}
	select {
	case c.shaking.turn <- struct{}{}:
		defer func() { <-c.shaking.turn }()
	case <-ctx.Done():
		return Event{}, context.Cause(ctx)
	}
	if c.hook.Load() != hookHandshake {
		return Event{}, ErrReceive // while it waited for its turn
	}
	for {
		frame, err := c.shakenFrameUntil(ctx)
		if err != nil {
			return Event{}, err
		}
		body, err := c.cfg.codec.ParseMessage(frame)
		if errors.Is(err, ErrNoFrame) {
			continue
		}
		if err != nil {
			return Event{}, err
		}
		return Event{Kind: Message, From: c.member(), Time: time.Now(), Body: body}, nil
	}
}

// shakenFrameUntil is shakenFrame until ctx ends, which leaves c as it is.
func (c *Conn) shakenFrameUntil(ctx context.Context) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		c.setReadDeadline(past)
	})
	frame, err := c.shakenFrame()
	if stop() {
		return frame, err
	}
	<-fired
	c.setReadDeadline(c.deadline)
	if errors.Is(err, ErrHandshakeTimeout) {
		err = context.Cause(ctx)
	}
	return frame, err
}

// receive reads the next event, whoever asks.
func (c *Conn) receive(ctx context.Context) (Event, error) {
	d := c.dial
	if err := d.lock(ctx); err != nil {
		return Event{}, err
	}
	defer d.unlock()
	if len(d.first) > 0 {
		ev := d.first[0]
		d.first = d.first[1:]
		return ev, nil
	}
	if d.ended {
		return Event{}, c.Err()
	}
	_, limit := frameLimits(c.cfg.codec, c.cfg.maxMessage)
	for {
		ev, err := c.nextOrStrange(limit)
		if err == nil && ev.Kind == Refused {
			err = &RefusedError{Code: ev.Code, Message: ev.Text, Final: ev.Final, RetryAfter: ev.RetryAfter}
		}
		switch {
		case err == nil && ev.Kind != 0:
			return ev, nil
		case err != nil:
			c.end(err)
			d.ended = true
			return Event{}, c.Err()
		}
		if err := c.readMore(ctx, limit); err != nil {
			d.ended = c.Err() != nil
			return Event{}, err
		}
	}
}

// lock waits to be the one who reads.
func (d *dialer) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case d.reading <- struct{}{}:
		return nil
	default:
	}
	select {
	case d.reading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *dialer) unlock() { <-d.reading }

// nextEvent takes the next event from what has been read; its Kind is 0 where
// there is none.
func (c *Conn) nextEvent(limit int) (Event, error) {
	for {
		n, frame, err := c.split(c.src.Held(), limit)
		if c.dial.cfg.probe.Aside != "" && errors.Is(err, ErrFrameTooLarge) {
			n, frame, err = c.splitAside(err)
		}
		if err != nil {
			return Event{}, err
		}
		if n == 0 {
			if len(c.src.Held()) >= limit+maxHeader {
				return Event{}, ErrFrameTooLarge
			}
			return Event{}, nil
		}
		ev, err := c.parseEvent(frame)
		c.src.Consume(n)
		if errors.Is(err, ErrPing) {
			c.sayBeat(Pinger.AppendPong)
		}
		if errors.Is(err, ErrNoFrame) {
			continue
		}
		return ev, err
	}
}

// splitAside is split for a frame that is too large, unless package roomtest
// has the room say it.
func (c *Conn) splitAside(tooLarge error) (n int, frame []byte, err error) {
	_, limit := frameLimits(c.cfg.codec, c.cfg.maxMessage+probe.MaxAside)
	n, frame, err = c.split(c.src.Held(), limit)
	if n > 0 && !bytes.Contains(frame, []byte(c.dial.cfg.probe.Aside)) {
		return 0, nil, tooLarge
	}
	return n, frame, err
}

// parseEvent decodes a frame into an event that owns its bytes.
func (c *Conn) parseEvent(frame []byte) (Event, error) {
	d := c.dial
	d.parsed = Event{}
	if err := c.cfg.codec.ParseEvent(append(make([]byte, 0, len(frame)), frame...), &d.parsed); errors.Is(err, ErrNoFrame) {
		return Event{}, err
	} else if err != nil {
		return Event{}, badInput(err)
	}
	ev := d.parsed
	if ev.Kind == 0 { // which is said where there is no frame
		return Event{}, fmt.Errorf("%w: ParseEvent of %T set no Kind", ErrMalformed, c.cfg.codec)
	}
	if ev.Kind == Welcome {
		c.mu.Lock()
		c.id, c.name = ev.From.ID, ev.From.Name
		c.dial.resumable = ev.Token != ""
		c.mu.Unlock()
		_, c.beats = c.cfg.codec.(Pinger)
	}
	return ev, nil
}

// readMore waits for more bytes. A ctx that ends while it waits ends the wait
// and nothing else.
func (c *Conn) readMore(ctx context.Context, limit int) error {
	if c.dial.shaken != nil {
		select {
		case <-c.dial.shaken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	c.watch(ctx)
	err := c.readAlive(limit + maxHeader)
	if err == nil {
		return nil
	}
	if cause := c.Err(); cause != nil {
		return cause
	}
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	c.end(c.endOfAnswer(c.readCause(err, ErrIdleTimeout)))
	return c.Err()
}

// watch sees to it that the end of ctx ends reading, instead of that of the
// context that was watched before. Contexts with one Done channel are watched
// as one, so that a loop over Receive costs nothing.
func (c *Conn) watch(ctx context.Context) {
	d := c.dial
	done := ctx.Done()
	if done == d.watched {
		return
	}
	if d.unwatch != nil && !d.unwatch() {
		<-d.fired
	}
	c.mu.Lock()
	if d.expired = false; c.cause == nil {
		c.nc.SetReadDeadline(time.Time{})
	}
	c.mu.Unlock()
	d.watched, d.unwatch = done, nil
	if done == nil {
		return
	}
	fired := make(chan struct{})
	d.fired = fired
	d.unwatch = context.AfterFunc(ctx, func() {
		defer close(fired)
		c.mu.Lock()
		defer c.mu.Unlock()
		d.expired = true
		c.nc.SetReadDeadline(past)
	})
}
