package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tcproom"
)

// A run is one drive of a room.
type run struct {
	cfg     *config
	id      string // told in each message, so that those of others do not count
	began   time.Time
	checker *checker

	members   []*member
	receiving sync.WaitGroup
	leaving   atomic.Bool // connections may end
	failed    chan struct{}
	failOnce  sync.Once

	first, lastSent int64 // of sending; written before its end is waited for
}

func newRun(cfg *config) *run {
	return &run{
		cfg: cfg, id: strings.ToLower(rand.Text()[:8]), began: time.Now(),
		checker: newChecker(cfg.members, cfg.senders),
		failed:  make(chan struct{}),
	}
}

// now returns the nanoseconds since the run began.
func (r *run) now() int64 { return int64(time.Since(r.began)) }

// A member is one of the run's connections.
type member struct {
	run    *run
	number int
	conn   *tcproom.Conn

	met     chan struct{} // closed when a message of the run came: from now on all come
	metOnce sync.Once

	// Of a sender:
	known     chan struct{} // closed when the reference has received something of it
	knownOnce sync.Once
	passed    atomic.Uint64 // the greatest number that the reference has received
	moved     chan struct{} // has room for one: passed has risen
	held      atomic.Int64  // since when the room has held it back; 0: it does not
	taken     uint64        // how many messages the connection has taken, from 1 on
}

func (r *run) dial(ctx context.Context, number int) (*member, error) {
	opts := []tcproom.DialOption{
		tcproom.WithFraming(r.cfg.framing),
		tcproom.WithCodec(r.cfg.codec),
		tcproom.WithTLS(r.cfg.tls),
		tcproom.WithMaxMessage(max(r.cfg.size, 64<<10)),
	}
	if r.cfg.codecName == "json" {
		opts = append(opts, tcproom.WithName(r.name(number)))
		if r.cfg.room != "" {
			opts = append(opts, tcproom.InRooms(r.cfg.room))
		}
	}
	conn, err := tcproom.Dial(ctx, r.cfg.addr, opts...)
	if err != nil {
		return nil, err
	}
	m := &member{
		run: r, number: number, conn: conn,
		met: make(chan struct{}), known: make(chan struct{}), moved: make(chan struct{}, 1),
	}
	for _, line := range m.firstLines() {
		if err := conn.Send(ctx, []byte(line)); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return m, nil
}

func (r *run) name(number int) string { return fmt.Sprintf("bench-%s-%d", r.id, number) }

// firstLines are what a person types first.
func (m *member) firstLines() (lines []string) {
	if m.run.cfg.askName {
		lines = append(lines, m.run.name(m.number))
	}
	if m.run.cfg.codecName == "text" && m.run.cfg.room != "" {
		lines = append(lines, "/join "+m.run.cfg.room)
	}
	return lines
}

// send sends to the room.
func (m *member) send(ctx context.Context, n note) error {
	body := appendBody(nil, m.run.id, n, m.run.cfg.size)
	if m.run.cfg.codecName == "json" && m.run.cfg.room != "" {
		return m.conn.SendTo(ctx, m.run.cfg.room, body)
	}
	return m.conn.Send(ctx, body)
}

// receive reads until the connection ends.
func (m *member) receive() {
	r := m.run
	for {
		ev, err := m.conn.Receive(context.Background())
		if err != nil {
			if !r.leaving.Load() {
				r.checker.end(m.number, err)
				r.fail(m)
			}
			return
		}
		switch ev.Kind {
		case tcproom.Message:
			m.take(&ev, r.now())
		case tcproom.Gap:
			r.checker.skip(m.number, ev.Skipped)
		case tcproom.Refused:
			select {
			case <-m.met: // before, it may be refused because it is not in the room yet
				r.checker.refuse(m.number, ev.End)
			default:
			}
		}
	}
}

// take takes a message.
func (m *member) take(ev *tcproom.Event, at int64) {
	r := m.run
	n, whole, ok := parseBody(ev.Body, r.id, r.cfg.size)
	if !ok {
		return // somebody else's
	}
	m.metOnce.Do(func() { close(m.met) })
	isSender := n.sender < r.cfg.senders
	if m.number == r.checker.reference && isSender {
		s := r.members[n.sender]
		s.knownOnce.Do(func() { close(s.known) })
		if n.number > s.passed.Load() {
			s.passed.Store(n.number)
			select {
			case s.moved <- struct{}{}:
			default:
			}
		}
	}
	if n.number > 0 {
		r.checker.receive(m.number, arrival{n, at, ev.Seq}, whole)
	}
}

// fail ends the run if it cannot go on without m.
func (r *run) fail(m *member) {
	if m.number == r.checker.reference {
		r.failOnce.Do(func() { close(r.failed) })
	}
}

// meet returns when all are in the room: each member has received something of the run,
// and the reference something of each sender.
func (r *run) meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	first := r.members[0]
	for _, m := range r.members[1:] {
		if err := first.callUntil(ctx, m.met); err != nil {
			return r.notMet(m, err)
		}
	}
	for _, m := range r.members[:r.cfg.senders] {
		if err := m.callUntil(ctx, m.known); err != nil {
			return r.notMet(m, err)
		}
	}
	return nil
}

func (r *run) notMet(m *member, err error) error {
	if ended := m.conn.Err(); ended != nil {
		err = ended
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("member %d neither receives nor is received after %v: is it the right framing, codec and room, and does the server ask for a name (-ask-name)?", m.number, timeout)
	}
	return fmt.Errorf("member %d, before the first message: %w", m.number, err)
}

// callUntil sends a message now and then until done is closed.
func (m *member) callUntil(ctx context.Context, done <-chan struct{}) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		select {
		case <-done:
			return nil
		default:
		}
		if err := m.send(ctx, note{sender: m.number}); err != nil {
			return err
		}
		again := time.NewTimer(wait)
		select {
		case <-done:
		case <-again.C:
		case <-m.conn.Context().Done():
			return context.Cause(m.conn.Context())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		again.Stop()
	}
}

// await waits until all that was sent has come, or nothing has for the time of -wait.
func (r *run) await() {
	totals := make([]uint64, r.cfg.senders)
	for i := range totals {
		totals[i] = r.members[i].taken
	}
	r.checker.last.Store(max(r.checker.last.Load(), r.now()))
	r.checker.seal(totals)
	for {
		quiet := time.Duration(r.now() - r.checker.last.Load())
		if quiet >= r.cfg.wait {
			return
		}
		look := time.NewTimer(r.cfg.wait - quiet)
		select {
		case <-r.checker.done:
			look.Stop()
			return
		case <-look.C:
		}
	}
}

// leave has all members leave, and receives what the room still has for them: a message
// that comes twice may come after all others.
func (r *run) leave() {
	r.leaving.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), r.cfg.wait)
	defer cancel()
	for _, m := range r.members {
		m.conn.CloseWrite(ctx)
	}
	left := make(chan struct{})
	go r.waitReceived(left)
	select {
	case <-left:
	case <-ctx.Done():
	}
	r.close()
	<-left
}

// waitReceived ends when all connections have.
func (r *run) waitReceived(left chan<- struct{}) {
	defer close(left)
	r.receiving.Wait()
}

// close closes all connections.
func (r *run) close() {
	r.leaving.Store(true)
	var closing sync.WaitGroup
	for _, m := range r.members {
		if m != nil { // else it has not connected
			closing.Go(func() { m.conn.Close() })
		}
	}
	closing.Wait()
	r.receiving.Wait()
}
