package tcproom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

// checkName applies the hard rule for names and the user's.
func (r *Room) checkName(c *Conn, name string) (err error) {
	if err := checkName(name); err != nil {
		return err
	}
	if r.cfg.validName == nil {
		return ValidName(name)
	}
	err = c.call(hookValidator, func() error { return r.cfg.validName(name) })
	if _, ok := err.(*HookError); ok {
		return err
	}
	if err != nil {
		if errors.Is(err, ErrNameInvalid) {
			return err
		}
		return fmt.Errorf("%w: %q: %w", ErrNameInvalid, name, err)
	}
	return nil
}

// A shaking is what a conn's peer says before it joins, where it says something then.
type shaking struct {
	hello   Hello
	read    int           // bytes
	wrong   error         // it is at the wrong door
	turn    chan struct{} // holds a token while Receive reads in the Handshake hook
	outcome string        // of resuming, for the welcome; empty where the hello did not ask for that
}

// handshake does what comes before the name is known: TLS, hello, hook.
func (r *Room) handshake(c *Conn, started func()) (id Identity, err error) {
	if tc, ok := c.nc.(tlsConn); ok {
		started()
		if err := c.shakeTLS(tc); err != nil {
			return id, err
		}
	}
	c.connect(r.fan)
	if r.full() && !r.mayResume(c) {
		return id, ErrRoomFull
	}
	g, greets := c.cfg.codec.(Greeter)
	if !greets && c.cfg.handshake == nil {
		return id, nil
	}
	if c.shaking == nil {
		c.shaking = new(shaking)
	}
	started()
	c.setReadDeadline(c.deadline)
	defer c.setReadDeadline(time.Time{})
	if greets {
		if err := c.readHello(g); err != nil {
			return id, err
		}
	}
	if c.cfg.handshake == nil {
		return id, nil
	}
	id, err = r.callHandshake(c)
	if _, failed := err.(*HookError); !failed && c.shaking.wrong != nil {
		err = c.shaking.wrong // whatever the hook makes of it
	}
	return id, err
}

// callHandshake calls the user's hook.
func (r *Room) callHandshake(c *Conn) (id Identity, err error) {
	ctx, cancel := context.WithDeadlineCause(c.Context(), c.deadline, ErrHandshakeTimeout)
	defer cancel()
	c.shaking.turn = make(chan struct{}, 1)
	defer c.endShaking()
	err = c.call(hookHandshake, func() (err error) {
		id, err = c.cfg.handshake(ctx, c)
		return err
	})
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		err = context.Cause(ctx)
	}
	if err != nil {
		return id, refuse(err)
	}
	if id.Context != nil {
		c.setValues(id.Context)
	}
	return id, nil
}

// endShaking waits for a Receive that outlives the hook, which is not to read
// what comes after it.
func (c *Conn) endShaking() {
	c.setReadDeadline(past)
	c.shaking.turn <- struct{}{}
	<-c.shaking.turn
}

// refuse marks the error of a hook as that.
func refuse(err error) error {
	switch {
	case err == nil, err == ErrHandshakeTimeout:
		return err
	}
	if _, ok := err.(*HookError); ok {
		return err
	}
	return &refusal{err}
}

// setValues makes the conn's context, which there is, carry ctx's values.
func (c *Conn) setValues(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx.Context = valuesFrom{c.ctx.Context, ctx}
}

// valuesFrom is a context with another's values before its own.
type valuesFrom struct {
	context.Context
	values context.Context
}

func (v valuesFrom) Value(key any) any {
	if x := v.Context.Value(key); x != nil {
		return x
	}
	return v.values.Value(key)
}

func (c *Conn) shakeTLS(tc tlsConn) error {
	ctx, cancel := context.WithDeadlineCause(c.Context(), c.deadline, ErrHandshakeTimeout)
	defer cancel()
	err := tc.HandshakeContext(ctx)
	switch {
	case err == nil:
		return nil
	case c.Err() == nil && isPlain(err):
		return c.plainPeer(err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.As(err, new(syscall.Errno)):
		return fmt.Errorf("%w: TLS handshake: %w", ErrReset, err)
	}
	return fmt.Errorf("%w: TLS handshake: %w", ErrMalformed, err)
}

// readHello reads the hello, with which the conns of some codecs begin.
func (c *Conn) readHello(g Greeter) error {
	for {
		frame, err := c.shakenFrame()
		if err != nil {
			return err
		}
		err = g.ParseHello(frame, &c.shaking.hello)
		if len(frame) == 0 && errors.Is(err, ErrNoFrame) {
			continue
		}
		if err == nil {
			break
		}
		return badInput(fmt.Errorf("tcproom: hello: %w", err))
	}
	c.setName(c.shaking.hello.Name)
	_, pings := c.cfg.codec.(Pinger)
	c.beats = pings && c.shaking.hello.Ping
	return nil
}

// shakenFrame reads a frame before c has joined, when all that it may consume
// is 4 KiB.
func (c *Conn) shakenFrame() ([]byte, error) {
	limit, _ := frameLimits(c.cfg.codec, c.cfg.maxMessage)
	limit = min(limit, maxShaken-c.shaking.read)
	for {
		if wait, err := c.knockShaken(limit); err != nil {
			return nil, err
		} else if wait {
			if err := c.readShaken(); err != nil {
				return nil, err
			}
			continue
		}
		n, frame, err := c.split(c.src.Held(), limit)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			c.shaking.read += n
			frame = append([]byte(nil), frame...)
			c.src.Consume(n)
			return frame, nil
		}
		if len(c.src.Held()) >= maxShaken-c.shaking.read {
			return nil, fmt.Errorf("%w: more than %d bytes before the join", ErrFrameTooLarge, maxShaken)
		}
		if err := c.readShaken(); err != nil {
			return nil, err
		}
	}
}

// readShaken waits for more bytes before c has joined.
func (c *Conn) readShaken() error {
	_, err := c.src.Read(maxShaken - c.shaking.read)
	if err != nil && !c.heldBack(err) {
		return c.readCause(err, ErrHandshakeTimeout)
	}
	return nil
}

// knockShaken is knock before c has joined.
func (c *Conn) knockShaken(limit int) (wait bool, err error) {
	if c.knocked {
		return false, nil
	}
	wait, err = c.knock(limit)
	c.shaking.wrong = err
	return wait, err
}
