package tcproom

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"
)

// A loss is the end of a client's connection, or of an attempt to make one.
type loss struct {
	err   error
	code  string // of a Goodbye or Refused
	hint  time.Duration
	final bool // it would only come again
}

// run connects c again and again. It ends when c has ended.
func (c *Client) run() {
	hook := &HookError{Hook: fmt.Sprintf("Framing %T, Codec %T or WithDialer", c.cfg.conn.framing, c.cfg.conn.codec)}
	cause := error(hook) // unless live returns: a panic or a runtime.Goexit
	defer func() {
		if v := recover(); v != nil {
			hook.Panic, hook.Stack = v, stack()
		}
		c.end(cause)
		c.cancel(cause)
		close(c.done)
	}()
	cause = c.live()
}

// live goes through one connection after the other, and returns why there is
// to be no other.
func (c *Client) live() error {
	if c.cfg.conn.onEvent != nil {
		return fmt.Errorf("%w: OnEvent does not go with NewClient; use Events", ErrReceive)
	}
	pause := backoff{Backoff: c.cfg.backoff}
	told, met, wrong := false, false, 0
	for {
		conn, l := c.connect()
		var lasted time.Duration
		if conn != nil {
			told = false
			began := time.Now()
			l = c.attend(conn)
			lasted = time.Since(began)
			met = met || conn.dial.met
		}
		if !met && errors.Is(l.err, ErrWrongDoor) {
			wrong++
		}
		switch {
		case c.ctx.Err() != nil:
			return context.Cause(c.ctx)
		case l.final, wrong == maxWrongDoors:
			return l.err
		}
		delay := pause.next(lasted, l.hint)
		c.cfg.conn.logger.Info("tcproom: no connection", "addr", c.addr, "again", delay, "error", l.err)
		if !told {
			told = true
			c.deliver(Event{Kind: Lost, Time: time.Now(), Code: l.code, Text: plain(l.err), RetryAfter: delay})
		}
		c.sleep(delay)
	}
}

// maxWrongDoors is how often a client that has met no room knocks at what does not
// speak as one. A proxy may answer for a room that is still starting.
const maxWrongDoors = 4

// sleep waits for d, or until c is to end.
func (c *Client) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

// connect makes a connection, or says why there is none.
func (c *Client) connect() (*Conn, loss) {
	ctx, cancel := context.WithTimeout(c.ctx, attemptTimeout+min(c.cfg.conn.handshakeTimeout, math.MaxInt64-attemptTimeout))
	defer cancel()
	var r *Resume
	c.mu.Lock()
	if c.resume.Token != "" {
		at := c.resume
		r = &at
	}
	c.mu.Unlock()
	conn, err := Dial(ctx, c.addr, append(c.cfg.dial[:len(c.cfg.dial):len(c.cfg.dial)], dialOption(func(d *dialConfig) { d.resume = r }))...)
	if err == nil {
		return conn, loss{}
	}
	l := lossOf(err, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = l.err
	return nil, l
}

// attend hears conn until it is lost, and closes it.
func (c *Client) attend(conn *Conn) loss {
	ctx, cancel := context.WithCancel(c.ctx)
	var written chan struct{}
	defer func() { // also where a codec ends the goroutine
		cancel()
		if written != nil {
			<-written
		}
		c.leave(conn)
	}()
	if _, greets := conn.cfg.codec.(Greeter); !greets {
		written = c.begin(ctx, conn, Event{Kind: Welcome, Time: time.Now()})
	}
	var goodbye *Event
	for {
		ev, err := conn.Receive(c.ctx)
		if err == nil && ev.Kind == Welcome && written != nil {
			err = fmt.Errorf("%w: a second Welcome", ErrMalformed)
		}
		if err != nil {
			l := lossOf(err, goodbye)
			c.goOffline(l.err)
			return l
		}
		switch {
		case ev.Kind == Welcome:
			written = c.begin(ctx, conn, ev)
			continue
		case ev.Kind == Goodbye:
			goodbye = &ev
		}
		if c.note(&ev) {
			c.deliver(ev)
		}
	}
}

// begin starts a membership, or goes on with it, and returns a channel that is
// closed when nothing more is sent over conn.
func (c *Client) begin(ctx context.Context, conn *Conn, welcome Event) (written chan struct{}) {
	unsure := c.goOnline(&welcome)
	written = make(chan struct{})
	go c.write(ctx, conn, written)
	c.deliver(welcome)
	for _, s := range unsure {
		c.deliver(Event{Kind: Uncertain, Time: time.Now(), Body: s.body})
	}
	return written
}

// leave closes conn, to which nothing more is written.
func (c *Client) leave(conn *Conn) {
	c.mu.Lock()
	c.online, c.out.handed = false, 0
	c.mu.Unlock()
	over := c.ctx.Err() != nil
	if over {
		c.end(context.Cause(c.ctx))
	}
	if err := conn.Close(); err != nil && over {
		c.mu.Lock()
		c.closeErr = err
		c.mu.Unlock()
	}
}

// goOnline notes that c is a member, and returns what it has sent as another
// one and does not know the fate of.
func (c *Client) goOnline(welcome *Event) (unsure []*sending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resumed := c.resume.Token != "" && (welcome.Outcome == Resumed || welcome.Outcome == ResumedGap)
	if !resumed {
		if c.resume.Epoch != welcome.Epoch {
			c.heard = 0
		}
		c.resume.Seq = welcome.Seq
		unsure = c.out.forget()
	}
	c.out.continueAfter(welcome.ID)
	c.resume.Token, c.resume.Epoch = welcome.Token, welcome.Epoch
	_, numbers := c.cfg.conn.codec.(Resumer)
	c.acks = numbers && welcome.Token != ""
	if !c.acks {
		c.out.refuseWaiting()
	}
	c.online = true
	c.changeLocked()
	return unsure
}

// goOffline notes that c has lost its connection.
func (c *Client) goOffline(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.online, c.lost = false, cause
	c.changeLocked()
}

// note keeps what follows from ev, and reports whether it is for the user.
func (c *Client) note(ev *Event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ev.History {
		if ev.Seq != 0 && ev.Seq <= c.heard { // 0: the codec tells none
			return false
		}
		c.heard = max(c.heard, ev.Seq)
		return true
	}
	if seq := max(ev.Seq, ev.GapTo); seq > 0 {
		// An Ack stands behind everything that comes before its seq.
		c.resume.Seq = max(c.resume.Seq, seq)
		c.heard = c.resume.Seq
	}
	if ev.Kind == Ack {
		c.out.taken(ev.ID, ev.Seq)
		c.changeLocked()
	}
	return ev.Kind != Ack
}

// deliver hands ev to those who receive, when there is room for it.
func (c *Client) deliver(ev Event) {
	c.await(c.ctx, func() (bool, error) {
		if c.closing {
			return true, nil
		}
		if c.size >= maxUnread {
			return false, nil
		}
		c.unread = append(c.unread, ev)
		c.size += chargeOf(&ev)
		c.changeLocked()
		return true, nil
	})
}

// write hands conn what there is to be sent. It ends with ctx, or when conn
// takes nothing any more.
func (c *Client) write(ctx context.Context, conn *Conn, done chan<- struct{}) {
	defer close(done)
	returned := false
	defer func() {
		if !returned { // a codec's panic or runtime.Goexit
			conn.endCodec(recover(), stack())
		}
	}()
	c.feed(ctx, conn)
	returned = true
}

func (c *Client) feed(ctx context.Context, conn *Conn) {
	for {
		var s *sending
		var numbered bool
		if c.await(ctx, func() (bool, error) {
			s, numbered = c.out.next(), c.acks
			return s != nil, nil
		}) != nil {
			return
		}
		err := c.hand(ctx, conn, s, numbered)
		if errors.Is(err, ErrUnframeable) || errors.Is(err, ErrFrameTooLarge) {
			c.cancel(err) // check let it through: not what a Framing and a Codec promise
		}
		if err != nil {
			return
		}
		c.handed(s, numbered)
	}
}

func (c *Client) hand(ctx context.Context, conn *Conn, s *sending, numbered bool) error {
	if !numbered {
		return conn.Send(ctx, s.body)
	}
	b, err := conn.cfg.frameNumbered(conn.cfg.codec.(Resumer), s.id, s.body)
	if err != nil {
		return err
	}
	return conn.putWhole(ctx, b)
}

// handed notes that the connection has taken s.
func (c *Client) handed(s *sending, numbered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.given = true
	if !numbered {
		c.out.shift().settle(0, nil)
		c.changeLocked()
	}
}

// end ends c because of cause.
func (c *Client) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = cause
	if unsure, unsent := c.out.end(cause); c.closeErr == nil && unsure+unsent > 0 {
		c.closeErr = fmt.Errorf("tcproom: close: %d messages did not reach the room, and %d may not have: %w", unsent, unsure, cause)
	}
	c.changeLocked()
}

// lossOf says what the end of a connection with err means. goodbye is what
// the room said before, if it did.
func lossOf(err error, goodbye *Event) loss {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return loss{err: err, code: refused.Code, hint: refused.RetryAfter, final: refused.Final}
	}
	if goodbye != nil {
		return loss{err: goodbyeError(goodbye), code: goodbye.Code, hint: goodbye.RetryAfter, final: goodbye.Final}
	}
	if err == io.EOF {
		err = fmt.Errorf("tcproom: the room closed the connection: %w", err)
	}
	return loss{err: err, final: hopeless(err)}
}

// goodbyeError returns what the room said as an error, which wraps that of the
// causes for which it said so.
func goodbyeError(ev *Event) error {
	for _, c := range codes {
		if ev.Code == c.code {
			return fmt.Errorf("%w: the room said: %q", c.err, ev.Text)
		}
	}
	if ev.Code == "" {
		return fmt.Errorf("tcproom: the room ended the connection: %q", ev.Text)
	}
	return fmt.Errorf("tcproom: the room ended the connection: %q (code %q)", ev.Text, ev.Code)
}

// hopeless reports whether dialling again would fail like this one.
func hopeless(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		// An alert, whose type crypto/tls keeps to itself.
		for _, alert := range finalAlerts {
			if op.Err.Error() == alert.Error() {
				return true
			}
		}
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return true
	}
	return errors.Is(err, errHello) || errors.Is(err, ErrHook)
}

// finalAlerts are those of TLS that say what would be said again: of bad,
// unsupported, revoked, expired, unknown and missing certificates and authorities,
// denied access, and versions.
var finalAlerts = []tls.AlertError{42, 43, 44, 45, 46, 48, 116, 49, 70, 71, 86}
