package tcproom

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"example.com/tcproom/internal/outbox"
)

// A loss is the end of a client's connection, or of an attempt to make one.
type loss struct {
	end       *EndError // for the user; Final and RetryAfter are the room's words, or our own
	err       error     // end, or the same as a *RefusedError
	strange   bool      // before anything else, what was read is nothing that a room sends
	untrusted bool      // this address would fail like this again; others may be better
	last      bool      // there is to be no other attempt
}

// run connects c again and again. It ends when c has ended.
func (c *Client) run() {
	hook := &HookError{Hook: codecHook(&c.opts.limits) + " or WithDialer"}
	cause := error(hook) // unless live returns: a panic or a runtime.Goexit
	defer func() {
		if v := recover(); v != nil {
			hook.Panic, hook.Stack = v, stack()
		}
		if cause == error(hook) {
			cause = endError(hook)
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
	if err := c.opts.check(); err != nil {
		return err
	}
	w := newWalk(c.addr, c.opts.addrs, c.opts.backoff)
	for told := false; c.ctx.Err() == nil; {
		addr := w.now().addr
		conn, l := c.connect(w)
		lasted := time.Duration(-1)
		if conn != nil {
			told = false
			began := time.Now()
			l = c.attend(conn, w)
			lasted = time.Since(began)
		} else if c.ctx.Err() == nil {
			l.last = w.isLast(&l)
		}
		switch {
		case l.last:
			return l.err
		case c.ctx.Err() != nil:
			return context.Cause(c.ctx)
		}
		delay, round := w.next(&l, lasted)
		msg := "tcproom: connecting failed"
		if conn != nil {
			msg = "tcproom: lost"
		}
		c.opts.logger.Info(msg, "addr", addr, "cause", l.err, "delay", delay)
		if !told && (conn != nil || round) {
			told = true
			c.deliver(lostEvent(&l, delay))
		}
		c.sleep(delay)
	}
	return context.Cause(c.ctx)
}

// lostEvent tells the user of l, after which the client waits for delay.
func lostEvent(l *loss, delay time.Duration) Event {
	end := *l.end
	if end.Text == "" {
		end.Text = plain(l.err)
	}
	end.Final, end.RetryAfter = false, delay
	return Event{Kind: Lost, Time: time.Now(), End: &end}
}

// sleep waits for d, or until c is to end.
func (c *Client) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

// connect makes a connection to the address where w is, or says why there is none.
func (c *Client) connect(w *walk) (*Conn, loss) {
	opts := c.opts
	opts.onEvent, opts.resume = nil, nil
	c.mu.Lock()
	c.addr = w.now().addr
	if c.resume.Token != "" {
		at := c.resume
		opts.resume = &at
	}
	c.helloRoomsLocked(&opts)
	c.mu.Unlock()
	conn, err := c.attempt(&opts, w)
	if err == nil {
		return conn, loss{}
	}
	l := lossOf(err, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = l.err
	return nil, l
}

func (c *Client) attempt(opts *dialConfig, w *walk) (*Conn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, w.dialTimeout())
	defer cancel()
	addr := w.now().addr
	nc, err := opts.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("tcproom: %w", err)
	}
	return opts.open(c.ctx, nc, addr)
}

// attend receives from conn until it is lost, and closes it.
func (c *Client) attend(conn *Conn, w *walk) (l loss) {
	ctx, cancel := context.WithCancel(c.ctx)
	var written chan struct{}
	returned := false
	defer func() {
		cancel()
		if written != nil {
			<-written
		}
		if !returned { // a codec's panic or runtime.Goexit
			l = lossOf(endError(conn.endCodec(recover())), true)
		}
		// Without an end of the connection it is that of c's context.
		l.last = conn.Err() != nil && w.isLast(&l)
		c.leave(conn, &l)
	}()
	if !conn.cfg.features.Hello {
		written = c.begin(ctx, conn, Event{Kind: Welcome, Time: time.Now()})
	}
	for received := false; ; received = true {
		ev, err := conn.Receive(c.ctx)
		reset := err == nil && written != nil && c.noteReset(&ev)
		if err == nil && ev.Kind == Welcome && written != nil && !ev.inOneRoom() && !reset && !c.noteOtherWelcome(&ev) {
			conn.end(fmt.Errorf("%w: a second Welcome", ErrMalformed))
			err = conn.Err()
		}
		if err != nil {
			l = lossOf(err, received)
			c.goOffline(l.err)
			returned = true
			return l
		}
		w.now().known = true
		if ev.Kind == Welcome && written == nil {
			written = c.begin(ctx, conn, ev)
			continue
		}
		if reset {
			c.deliver(ev)
			continue
		}
		waits, unsure := c.note(&ev)
		if waits {
			c.deliver(ev)
		}
		c.deliverUncertain(unsure)
	}
}

// begin starts a membership, or goes on with it, and returns a channel that is
// closed when nothing more is sent over conn.
func (c *Client) begin(ctx context.Context, conn *Conn, welcome Event) (written chan struct{}) {
	unsure := c.goOnline(&welcome)
	written = make(chan struct{})
	go c.write(ctx, conn, written)
	c.deliver(welcome)
	c.deliverUncertain(unsure)
	return written
}

// deliverUncertain tells the user of messages whose fate is not known.
func (c *Client) deliverUncertain(unsure []*outbox.Message) {
	for _, m := range unsure {
		c.deliver(Event{Kind: Uncertain, Room: m.Room, Time: time.Now(), Body: m.Body})
	}
}

// leave closes conn, which was lost with l and to which nothing more is written. If that
// is c's end too, c ends first: a room that is slow to let go must not delay it.
func (c *Client) leave(conn *Conn, l *loss) {
	c.mu.Lock()
	c.online = false
	c.out.Rewind()
	c.loseAsksLocked()
	c.changeLocked()
	c.mu.Unlock()
	over := c.ctx.Err() != nil
	switch {
	case l.last:
		c.end(l.err)
	case over:
		c.end(context.Cause(c.ctx))
	}
	if err := conn.close(c.ctx); err != nil && over {
		c.mu.Lock()
		c.closeErr = err
		c.mu.Unlock()
	}
}

// goOnline notes that c is a member, and returns what it has sent as another
// one and does not know the fate of.
func (c *Client) goOnline(welcome *Event) (unsure []*outbox.Message) {
	w := welcome.Welcome
	if w == nil {
		w = new(WelcomeInfo)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	tried := c.resume.Token != ""
	resumed := tried && w.Resumed()
	if !resumed {
		if c.resume.Epoch != w.Epoch {
			c.received = 0
		}
		c.resume.Seq = welcome.Seq
	}
	c.acks = c.opts.features.Numbers && w.Token != ""
	if !resumed || !c.acks {
		unsure = c.out.Forget(ErrUncertain)
	}
	unsure = append(unsure, c.comeBackLocked(welcome, tried, resumed)...)
	c.out.ContinueAfter(welcome.Number)
	c.resume.Token, c.resume.Epoch = w.Token, w.Epoch
	if !c.acks {
		c.out.RefuseWaiting(errNoAcks)
	}
	c.online = true
	c.changeLocked()
	return unsure
}

// noteReset takes over what a Welcome in the middle of a stream says, and reports whether
// ev is one: of the same member, in the same stream behind a gap, or in another one. What
// was sent is still on its way, or is acknowledged already.
func (c *Client) noteReset(ev *Event) bool {
	w := ev.Welcome
	if ev.Kind != Welcome || ev.inOneRoom() || w == nil || w.Outcome != outcomeGap && w.Outcome != outcomeReset {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.Outcome == outcomeGap {
		return w.Epoch == c.resume.Epoch
	}
	c.resume.Epoch, c.resume.Seq, c.received = w.Epoch, ev.Seq, 0
	if w.Token != "" && c.resume.Token != "" {
		c.resume.Token = w.Token
	}
	return true
}

// goOffline notes that c has lost its connection.
func (c *Client) goOffline(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.online, c.lost = false, cause
	c.changeLocked()
}

// note keeps what follows from ev, and puts it where Receive takes it, before a call returns
// of which it is the answer. It reports whether it has to wait to be put there, and returns
// what has become uncertain by it.
func (c *Client) note(ev *Event) (waits bool, unsure []*outbox.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	forUser, unsure := c.noteLocked(ev)
	return forUser && !c.deliverLocked(ev), unsure
}

// noteLocked keeps what follows from ev. It reports whether it is for the user, and returns
// what has become uncertain by it.
func (c *Client) noteLocked(ev *Event) (forUser bool, unsure []*outbox.Message) {
	if ev.Kind == Refused && ev.Number != 0 {
		if m := c.out.Refuse(ev.Number, endOf(ev, ErrDenied).refused()); m != nil {
			ev.Body = m.Body
			c.changeLocked()
		}
		return true, nil
	}
	if forUser, unsure = c.noteRoomLocked(ev); !forUser {
		return false, unsure
	}
	if ev.Kind == Ack && ev.Number == 0 && ev.Ref != 0 {
		return true, unsure // it answers a request, and acknowledges no message
	}
	if ev.Kind == Ack {
		c.out.Acknowledge(ev.Room, ev.Number, ev.Seq)
		c.changeLocked()
	}
	if !ev.inOneRoom() && !c.noteSeqLocked(ev) { // else its seq is of that room's order
		return false, nil
	}
	return ev.Kind != Ack, unsure
}

// noteSeqLocked keeps how far the connection's own stream was received. It reports
// whether ev is not of a history that was.
func (c *Client) noteSeqLocked(ev *Event) (fresh bool) {
	if ev.History {
		if ev.Seq != 0 && ev.Seq <= c.received { // 0: the codec tells none
			return false
		}
		c.received = max(c.received, ev.Seq)
		return true
	}
	if seq := max(ev.Seq, ev.Gap.Last); seq > 0 && ev.Kind != Welcome {
		// An Ack stands behind everything that comes before its seq.
		c.resume.Seq = max(c.resume.Seq, seq)
		c.received = c.resume.Seq
	}
	return true
}

// deliver puts ev where Receive takes it, when there is room for it.
func (c *Client) deliver(ev Event) {
	c.await(c.ctx, func() (bool, error) { return c.deliverLocked(&ev), nil })
}

// deliverLocked is deliver if that need not wait, which it reports.
func (c *Client) deliverLocked(ev *Event) bool {
	switch {
	case c.closed.Load():
	case c.size >= maxUnread:
		return false
	default:
		c.unread = append(c.unread, *ev)
		c.size += chargeOf(ev)
		c.changeLocked()
	}
	return true
}

// write hands conn what there is to be sent. It ends with ctx, or when conn
// takes nothing any more.
func (c *Client) write(ctx context.Context, conn *Conn, done chan<- struct{}) {
	defer close(done)
	returned := false
	defer func() {
		if !returned { // a codec's panic or runtime.Goexit
			conn.endCodec(recover())
		}
	}()
	c.feed(ctx, conn)
	returned = true
}

func (c *Client) feed(ctx context.Context, conn *Conn) {
	for {
		var a *clientAsk
		var m *outbox.Message
		var numbered bool
		if c.await(ctx, func() (bool, error) {
			if a = c.nextAskLocked(); a == nil && c.unsettled == 0 { // else it is not in its rooms yet
				m, numbered = c.out.Next(), c.acks
			}
			return a != nil || m != nil, nil
		}) != nil {
			return
		}
		if a != nil {
			if conn.putWhole(ctx, a.b) != nil {
				return
			}
			continue
		}
		err := c.hand(ctx, conn, m, numbered)
		if errors.Is(err, ErrUnframeable) || errors.Is(err, ErrFrameTooLarge) {
			c.fail(err) // check let it through: not what a Framing and a Codec promise
		}
		if err != nil {
			return
		}
		c.handed(m, numbered)
	}
}

func (c *Client) hand(ctx context.Context, conn *Conn, m *outbox.Message, numbered bool) error {
	number := uint64(0)
	if numbered {
		number = m.Number()
	}
	b, err := conn.cfg.encodeMessageTo(m.Room, number, m.Body)
	if err != nil {
		return err
	}
	return conn.putWhole(ctx, b)
}

// handed notes that the connection has taken m.
func (c *Client) handed(m *outbox.Message, numbered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Given(m, numbered)
	if !numbered || len(c.asks) > 0 {
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
	if unsure, unsent := c.out.End(fmt.Errorf("%w: %w", ErrUncertain, cause), cause); c.closeErr == nil && unsure+unsent > 0 {
		c.closeErr = fmt.Errorf("tcproom: close: %d messages did not reach the room, and %d may not have: %w", unsent, unsure, cause)
	}
	c.changeLocked()
}

// lossOf returns what the end of a connection with err means. received is whether
// there was an event before it.
func lossOf(err error, received bool) loss {
	end, ended := errors.AsType[*EndError](err)
	refused, told := errors.AsType[*RefusedError](err)
	switch {
	case told && !ended:
		return loss{err: refused, end: &EndError{
			Cause: refused.Cause, Text: refused.Text, Final: refused.Final, RetryAfter: refused.RetryAfter, err: refused,
		}}
	case !ended: // of dialling
		end = &EndError{Cause: dialCause(err), err: err}
	}
	l := loss{untrusted: hopeless(err)}
	if l.untrusted {
		same := *end
		end, same.Final = &same, true
	}
	l.end, l.err = end, end
	switch end.Cause {
	case ErrWrongDoor:
		l.strange = !told // by a room
	case ErrMalformed, ErrFrameTooLarge:
		l.strange = !received && !errors.Is(err, errHello)
	case errCutOff:
		l.strange = errors.Is(err, errFragment)
	}
	return l
}

// dialCause returns the cause of an error of dialling.
func dialCause(err error) Cause {
	switch {
	case errors.Is(err, ErrWrongDoor):
		return ErrWrongDoor
	case errors.Is(err, errHandshakeTimeout):
		return errHandshakeTimeout
	}
	return errReset
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
	_, ok := errors.AsType[*net.AddrError](err)
	return ok
}

// finalAlerts are those of TLS that would come again: of bad, unsupported, revoked,
// expired, unknown and missing certificates and authorities, denied access, and
// versions.
var finalAlerts = []tls.AlertError{42, 43, 44, 45, 46, 48, 116, 49, 70, 71, 86}
