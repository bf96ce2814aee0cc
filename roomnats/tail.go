package roomnats

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tcproom"
)

const (
	// A pull asks for so many messages and bytes. Two are under way, and the channel
	// takes all that they bring and what the server says meanwhile.
	pullMessages = 256
	pullBytes    = 4 << 20
	pulls        = 2
	pullFor      = 10 * time.Second
	heartbeat    = time.Second
	remarks      = pulls * 2 * int(pullFor/heartbeat)

	// silence is how long nothing may come, not even a heartbeat.
	silence = 2500 * time.Millisecond
	// inactive is after what time the server forgets a consumer that nobody asks.
	inactive = 30 * time.Second
	// firstLate is how late the first record may be that is there: the server with the
	// consumer may lag behind the leader, or the machine have much to do.
	firstLate = 5 * time.Second
)

// errThere says that the first record does not come, though it is there.
var errThere = errors.New("no record came, though there is one")

// firstWithin is how soon a record that is there comes, mostly. Tests wait for less.
var firstWithin = 2 * time.Second

// A follower is one consumer of a stream, of this process alone: it reads what the
// server sends, in order, and stops at the first doubt.
type follower struct {
	e       *engine
	stream  string
	name    string // of the consumer
	inbox   string
	began   time.Time
	came    uint64 // messages: the consumer's number of the last one
	taken   int    // from waiting
	waiting chan *nats.Msg
	// drained is when nothing waited: what comes out of waiting was sent after that.
	drained time.Time
	// caughtUp is from when it is known that the server had nothing more to send then.
	caughtUp time.Time
}

// A delivery is a message with what the server says of it.
type delivery struct {
	*nats.Msg
	seq     uint64 // in the stream
	pending uint64 // how many come after it, as of when it was sent
	time    time.Time
}

// follow makes a consumer, and calls fn with each of its messages until fn fails, ctx
// ends or something is in doubt. If nothing has come for firstWithin, it calls none, whose
// error ends it, unless that is nil.
func (e *engine) follow(ctx context.Context, p *place, cfg jetstream.ConsumerConfig, none func() error, fn func(*follower, delivery) error) error {
	ctx, cancel := e.linked(ctx)
	defer cancel()
	if !e.nc.IsConnected() {
		return nats.ErrDisconnected
	}
	f := &follower{
		e: e, stream: p.config.Name, name: "tcproom-" + rand.Text(), inbox: e.nc.NewInbox(), began: time.Now(),
		waiting: make(chan *nats.Msg, pulls*pullMessages+remarks), drained: time.Now(), caughtUp: time.Now(),
	}
	sub, err := e.nc.ChanSubscribe(f.inbox, f.waiting)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	defer f.end()
	if err := f.begin(ctx, p, cfg); err != nil {
		return because(ctx, err)
	}
	return f.run(ctx, none, fn)
}

// begin makes the consumer, and asks for the first messages.
func (f *follower) begin(ctx context.Context, p *place, cfg jetstream.ConsumerConfig) error {
	cfg.Name = f.name
	cfg.AckPolicy, cfg.MemoryStorage, cfg.Replicas, cfg.InactiveThreshold = jetstream.AckNonePolicy, true, 1, inactive
	ctx, cancel := context.WithTimeout(ctx, 2*attempt)
	defer cancel()
	_, err := f.e.js.CreateConsumer(ctx, f.stream, cfg)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		f.e.restore(ctx, p)
		_, err = f.e.js.CreateConsumer(ctx, f.stream, cfg)
	}
	f.e.health(err)
	if err != nil {
		return hint(err)
	}
	// One of the pulls is smaller, so that they do not end at the same time.
	if err := f.pull(pullMessages / 2); err != nil {
		return err
	}
	return f.pull(pullMessages)
}

// end lets the server forget the consumer, which it does by itself if this is lost.
func (f *follower) end() {
	f.e.nc.Publish(api+"CONSUMER.DELETE."+f.stream+"."+f.name, nil)
}

func (f *follower) pull(n int) error {
	request, err := json.Marshal(map[string]any{
		"batch": n, "max_bytes": pullBytes, "expires": pullFor, "idle_heartbeat": heartbeat,
	})
	if err != nil {
		return err
	}
	return f.e.nc.PublishRequest(api+"CONSUMER.MSG.NEXT."+f.stream+"."+f.name, f.inbox, request)
}

var errSilent = fmt.Errorf("the server has sent nothing for %v", silence)

func (f *follower) run(ctx context.Context, none func() error, fn func(*follower, delivery) error) error {
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	nothing := time.NewTimer(firstWithin)
	defer nothing.Stop()
	for {
		if ctx.Err() != nil { // select takes any of what is ready
			return context.Cause(ctx)
		}
		if err := f.look(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-quiet.C:
			if len(f.waiting) == 0 { // this process may have been asleep
				return errSilent
			}
		case <-nothing.C:
			if err := f.nothing(nothing, none); err != nil {
				return err
			}
		case m, ok := <-f.waiting:
			if !ok {
				return nats.ErrConnectionClosed
			}
			if err := f.take(m, fn); err != nil {
				return err
			}
			// fn may have blocked, and what came meanwhile waits.
			quiet.Reset(silence)
		}
	}
}

// look notes if nothing waits. After a pause, as of a process that was asleep, what was
// sent meanwhile may be on its way still: it has come when the server has answered.
func (f *follower) look(ctx context.Context) error {
	if len(f.waiting) > 0 {
		return nil
	}
	now := time.Now()
	if now.Sub(f.drained) >= silence {
		ctx, cancel := context.WithTimeout(ctx, attempt)
		defer cancel()
		if err := f.e.nc.FlushWithContext(ctx); err != nil {
			return fmt.Errorf("it is not known whether all has come: %w", err)
		}
		if len(f.waiting) > 0 {
			return nil
		}
	}
	f.drained = now
	return nil
}

// nothing calls none if nothing has come, and looks again if something waits, which may
// be a heartbeat, or if the record is there and late.
func (f *follower) nothing(again *time.Timer, none func() error) error {
	switch {
	case f.came > 0 || none == nil:
		return nil
	case len(f.waiting) > 0:
		again.Reset(time.Millisecond)
		return nil
	}
	err := none()
	if err == errThere && time.Since(f.began) < firstLate {
		again.Reset(firstWithin)
		return nil
	}
	return err
}

// take passes a message on, or reads what the server says between them.
func (f *follower) take(m *nats.Msg, fn func(*follower, delivery) error) error {
	f.taken++
	if m.Reply == "" {
		return f.remark(m)
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("a message without number: %w", err)
	}
	if meta.Sequence.Consumer != f.came+1 {
		return fmt.Errorf("message %d of the consumer came after %d: what is between is lost on the way", meta.Sequence.Consumer, f.came)
	}
	f.came++
	if err := fn(f, delivery{m, meta.Sequence.Stream, meta.NumPending, meta.Timestamp}); err != nil {
		return err
	}
	if meta.NumPending == 0 {
		f.upToDate(f.drained)
	}
	return nil
}

// upToDate notes that the server had nothing more to send at a time, or later.
func (f *follower) upToDate(then time.Time) {
	if then.After(f.caughtUp) {
		f.caughtUp = then
	}
}

// remark reads what the server says of a pull.
func (f *follower) remark(m *nats.Msg) error {
	switch status, text := m.Header.Get("Status"), m.Header.Get("Description"); {
	case status == "100":
		if n, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64); err == nil && n != f.came {
			return fmt.Errorf("the consumer is at %d, and %d messages came: some are lost on the way", n, f.came)
		}
		f.upToDate(f.drained)
		return nil
	case status == "408", status == "409" && (strings.EqualFold(text, "Batch Completed") || strings.EqualFold(text, "Message Size Exceeds MaxBytes")):
		return f.pull(pullMessages)
	case status == "503":
		return errors.New("the consumer is gone")
	default:
		return fmt.Errorf("the consumer has ended: %s %q", status, text)
	}
}

// A skipCheck finds out whether the server has dropped records between two that it has
// sent: a consumer that lags goes on with the first one that is left, and says nothing.
// Records go from the front. So nothing is missing between them if the earlier one was
// still there when the later one was sent. The server is asked for it if there may be a
// reason to drop it already, and where numbers are missing, which may also be those of
// other rooms: then not more often than once in gapEvery.
type skipCheck struct {
	l       *roomLog
	last    uint64 // position of the record that was passed on last
	time    time.Time
	sure    int // messages that the follower had got when that was there
	checked time.Time
}

const gapEvery = time.Second

func (s *skipCheck) next(ctx context.Context, f *follower, d delivery) error {
	if s.last == 0 || f.taken <= s.sure || !s.doubtful(f, d) {
		return nil
	}
	got, now := f.taken+len(f.waiting), time.Now()
	there, err := s.l.has(ctx, s.last)
	if err != nil {
		return fmt.Errorf("it is not known whether records were dropped before they were read: %w", err)
	}
	if !there {
		return errors.New("the log drops records faster than they are read")
	}
	s.sure, s.checked = got, now
	f.upToDate(now)
	return nil
}

func (s *skipCheck) doubtful(f *follower, d delivery) bool {
	caps := s.l.caps
	switch {
	case time.Since(f.caughtUp) >= silence: // the server is behind
		return true
	case caps.Records > 0 && d.pending >= uint64(caps.Records/2): // soon there are too many
		return true
	case caps.Age > 0 && d.time.Sub(s.time) > caps.Age/2: // the earlier one may be too old by now
		return false
	}
	return d.seq != s.last+1 && time.Since(s.checked) >= gapEvery
}

// Tail implements [tcproom.Log].
func (l *roomLog) Tail(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
	ctx, cancel := during(ctx, l.ctx)
	defer cancel()
	cfg := jetstream.ConsumerConfig{FilterSubject: l.subject, DeliverPolicy: jetstream.DeliverAllPolicy}
	var none func() error
	if from > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
		none = func() error { return l.missing(ctx, from) }
	}
	var own error // that of fn
	check := &skipCheck{l: l}
	err := l.b.follow(ctx, l.place, cfg, none, func(f *follower, d delivery) error {
		if f.came == 1 && from > 0 && d.seq != from {
			return l.elsewhere(ctx, from, d.seq)
		}
		if d.seq <= check.last {
			return fmt.Errorf("record %d came after %d", d.seq, check.last)
		}
		if err := check.next(ctx, f, d); err != nil {
			return err
		}
		check.last, check.time = d.seq, d.time
		own = fn(tcproom.Record{Pos: d.seq, Time: d.time, Data: d.Data})
		return own
	})
	if own != nil {
		return own
	}
	return fmt.Errorf("roomnats: tail of room %q: %w", l.room, because(ctx, err))
}

// has reports whether the room has a record at a position.
func (l *roomLog) has(ctx context.Context, pos uint64) (bool, error) {
	m, err := l.b.message(ctx, l.place.config.Name, wanted{Seq: pos})
	return m != nil && m.Subject == l.subject, err
}

// elsewhere says what it means that the first record is not at from.
func (l *roomLog) elsewhere(ctx context.Context, from, first uint64) error {
	if first < from {
		// The server may only be behind.
		return fmt.Errorf("the log goes on at %d, before %d", first, from)
	}
	return l.lost(ctx, first)
}

// lost returns a LostError. The first record is asked for: if the log is another one,
// there may be some before from.
func (l *roomLog) lost(ctx context.Context, first uint64) error {
	m, err := l.b.message(ctx, l.place.config.Name, wanted{Seq: 1, First: l.subject})
	switch {
	case err != nil && first == 0:
		return err
	case err == nil && m == nil:
		first = 0
	case err == nil:
		first = m.Seq
	}
	return &tcproom.LostError{First: first}
}

// missing says what it means that no record comes. A server that is behind, or cut off,
// answers from the past, so only one that has had the position, and has not got it any
// more, gives a verdict.
func (l *roomLog) missing(ctx context.Context, from uint64) error {
	info, err := l.b.ask(ctx, "STREAM.INFO."+l.place.config.Name, struct{}{})
	if err != nil {
		return fmt.Errorf("no record came, and it is not known why: %w", err)
	}
	if info.State.LastSeq < from {
		return fmt.Errorf("the log ends at %d, before %d", info.State.LastSeq, from)
	}
	there, err := l.has(ctx, from)
	switch {
	case err != nil:
		return fmt.Errorf("no record came, and it is not known why: %w", err)
	case there:
		return errThere
	}
	return l.lost(ctx, 0)
}
