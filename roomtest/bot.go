package roomtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/probe"
)

// A Bot follows the rules that [Server.Bot] or [Server.Answer] gave it, one at a
// time, on a goroutine of its own that ends with the test. While it is busy, what it
// receives and what falls due waits.
//
// The same rules and the same events make it do the same. If several bots, or a bot
// and a client, do something at the same time, the room orders it.
type Bot struct {
	s        *Server
	name     string
	rules    []Rule
	matching []string // that a rule is being matched, for texts
	isRoom   bool     // of Answer
	room     string   // of a hub; empty: there is one room, or it does not matter
	ctx      context.Context
	cancel   context.CancelFunc
	orders   chan order
	done     chan struct{}          // closed when run has ended
	doing    atomic.Pointer[string] // the action that it is at, or was at last

	// What follows belongs to run, once that has begun.
	due    []time.Time // of each rule; zero: never
	stay   *Member     // nil: outside of the room
	silent bool
	ear    int // how far it has seen the room's order, while it is not inside
}

// An order is a call of Do.
type order struct {
	do   []Action
	done chan struct{} // closed when it is done
}

// Bot makes a member that follows rules, over a connection in memory as [Server.Join]
// does, so that it works with any listener, framing and codec, and in a
// testing/synctest bubble. When Bot returns, it has joined, unless a rule makes it
// begin outside ([JoinOn], [JoinAfter]). Bot calls t.Fatal when the room refuses it,
// so it must be called from the test's goroutine.
//
// A bot needs a name. By their names bots recognise and ignore each other: give no
// client the name of a bot.
//
// When the room ends the bot's stay, by a kick for example, it is outside, and
// goes on following its rules there.
func (s *Server) Bot(name string, rules ...Rule) *Bot {
	s.watch.use("Server.Bot")
	s.watch.t.Helper()
	return s.bot("", name, rules)
}

// bot is Bot, in a hub in the named room.
func (s *Server) bot(room, name string, rules []Rule) *Bot {
	s.watch.t.Helper()
	if name == "" {
		s.watch.t.Fatalf("roomtest: a bot wants a name")
	}
	b := s.newBot(room, name, rules)
	s.bots.add(name)
	s.rec.hasBots.Store(true)
	if !beginsOutside(rules) {
		if err := b.join(); err != nil {
			s.watch.t.Fatalf("roomtest: bot %q cannot join: %v", name, err)
		}
	}
	b.start()
	return b
}

// Answer makes the room itself follow rules: they see each message, join and leave,
// in the room's order, and what they send are messages of the room, "*". It is no
// member, and has no join or leave. Its rules do not see what bots and the room
// itself do. Other messages may come between one and its answer.
func (s *Server) Answer(rules ...Rule) *Bot {
	s.watch.use("Server.Answer")
	s.watch.t.Helper()
	return s.answer("", rules)
}

// answer is Answer, in a hub of the named room.
func (s *Server) answer(room string, rules []Rule) *Bot {
	b := s.newBot(room, "*", rules)
	b.isRoom = true
	b.start()
	return b
}

func (s *Server) newBot(room, name string, rules []Rule) *Bot {
	b := &Bot{
		s:      s,
		room:   room,
		name:   name,
		rules:  slices.Clone(rules),
		orders: make(chan order),
		done:   make(chan struct{}),
		ear:    s.rec.transcript().Len(),
	}
	for _, r := range rules {
		b.matching = append(b.matching, "matching "+r.match.String())
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// start makes the bot run until the test ends.
func (b *Bot) start() {
	began := time.Now()
	b.due = make([]time.Time, len(b.rules))
	for i, r := range b.rules {
		switch r.kind {
		case afterRule, everyRule:
			b.due[i] = began.Add(max(r.delay, 0))
		}
	}
	go b.run()
	b.s.watch.t.Cleanup(b.end)
}

// end ends the bot with the test.
func (b *Bot) end() {
	b.cancel()
	b.s.mu.Lock()
	grace := b.s.grace
	b.s.mu.Unlock()
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-b.done:
	case <-late.C:
		b.s.watch.t.Errorf("roomtest: bot %q has not ended: it is still at %s", b.name, b.at())
	}
}

// at returns what the bot is doing, or did last.
func (b *Bot) at() string {
	if doing := b.doing.Load(); doing != nil {
		return *doing
	}
	return "waiting"
}

// Name returns the name under which the bot joins, or "*".
func (b *Bot) Name() string { return b.name }

// Do makes the bot do something, after what it is doing, and returns when that is done,
// and when the room has dealt with all that the bot has sent until then: it is ordered,
// or OnMessage has returned. Without actions Do waits for that alone. If an action fails,
// Do does not wait for the room; if the room takes longer than [Server.Within], the test
// fails. Do may be called from any goroutine but the bot's own, see [Call], and not in a
// hook that the bot's messages wait for.
func (b *Bot) Do(do ...Action) {
	b.s.watch.use("Bot.Do")
	o := order{do, make(chan struct{})}
	select {
	case b.orders <- o:
	case <-b.done:
		return
	}
	select {
	case <-o.done:
	case <-b.done:
	}
}

// run is the bot's goroutine. It ends with the test.
func (b *Bot) run() {
	defer close(b.done)
	defer b.hangUp()
	returned := false
	defer func() {
		if !returned {
			b.s.watch.fell(fmt.Sprintf("bot %q at %s", b.name, b.at()), recover(), debug.Stack())
		}
	}()
	for _, r := range b.rules {
		if r.kind == startRule {
			b.act(r.do, &turn{bot: b})
		}
	}
	for b.ctx.Err() == nil {
		if !b.obey() && !b.attendClock() && !b.attendRoom() {
			b.await()
		}
	}
	returned = true
}

// obey does what a Do that waits wants.
func (b *Bot) obey() bool {
	select {
	case o := <-b.orders:
		b.carryOut(o)
		return true
	default:
		return false
	}
}

func (b *Bot) carryOut(o order) {
	defer close(o.done)
	if b.act(o.do, &turn{bot: b}) {
		b.settle()
	}
}

// settle waits until the room has dealt with what the bot has sent.
func (b *Bot) settle() {
	if b.isRoom || !b.isHeard() {
		return
	}
	m := b.stay
	upTo := probe.Queued(m.Conn) - m.there.in.lost()
	late := time.NewTimer(b.s.patience())
	defer late.Stop()
	for {
		ok, changed := m.there.dealtWith(upTo)
		if ok {
			return
		}
		select {
		case <-changed:
		case <-m.in.done:
			return
		case <-b.ctx.Done():
			return
		case <-late.C:
			b.s.watch.report(func() {
				b.s.watch.t.Errorf("roomtest: bot %q: Do: the room has not dealt with what the bot sent within %v: is a hook busy, or the room blocked?", b.name, b.s.patience())
			})
			return
		}
	}
}

// attendClock follows the rule that has been due longest, if there is one.
func (b *Bot) attendClock() bool {
	i := b.nextDue()
	now := time.Now()
	if i < 0 || b.due[i].After(now) {
		return false
	}
	r := b.rules[i]
	if r.kind == everyRule {
		late := now.Sub(b.due[i])
		b.due[i] = b.due[i].Add(late - late%r.delay + r.delay)
	} else {
		b.due[i] = time.Time{}
	}
	b.act(r.do, &turn{bot: b})
	return true
}

// nextDue returns the index of the rule that is due next, or -1.
func (b *Bot) nextDue() int {
	next := -1
	for i, t := range b.due {
		if !t.IsZero() && (next < 0 || t.Before(b.due[next])) {
			next = i
		}
	}
	return next
}

// attendRoom looks at the next event, if there is one: of its stay or, if there is
// none, of the room's order. While the bot is silent it does not look.
func (b *Bot) attendRoom() bool {
	if b.silent {
		return false
	}
	if b.stay == nil {
		ev, ok := b.s.rec.at(b.ear)
		if !ok {
			return false
		}
		b.ear++
		if b.room != "" && ev.Room != b.room {
			return true
		}
		kind := returnRule
		if b.isRoom {
			kind = onRule
		}
		b.hear(kind, &ev)
		return true
	}
	ended := b.stay.ended()
	ev, ok := b.stay.in.take()
	switch {
	case ok:
		if ev.Seq != 0 { // it is in one room, which is not named
			ev.Room = b.room
		}
		b.hear(onRule, &ev)
	case ended:
		cause := b.stay.Conn.Err()
		b.s.watch.report(func() { b.s.watch.t.Logf("roomtest: the room ended the stay of bot %q: %v", b.name, cause) })
		b.goOut()
	}
	return ok || ended
}

// hear follows the first rule of a kind that matches ev.
func (b *Bot) hear(kind ruleKind, ev *tcproom.Event) {
	switch {
	case b.isRoom && ev.From == tcproom.MemberInfo{}, b.s.bots.has(ev.From.Name), b.s.rec.isBots(ev):
		return
	}
	for i, r := range b.rules {
		if r.kind != kind {
			continue
		}
		b.doing.Store(&b.matching[i])
		if groups, ok := r.match.match(ev); ok {
			if groups == nil {
				groups = []string{string(ev.Body)}
			}
			b.act(r.do, &turn{bot: b, ev: *ev, groups: groups})
			return
		}
	}
}

// act does one thing after the other, until one fails or the test ends, and reports
// whether it has done all.
func (b *Bot) act(do []Action, t *turn) bool {
	for _, a := range do {
		if a.do == nil {
			continue
		}
		b.doing.Store(&a.what)
		err := a.do(t)
		if b.ctx.Err() != nil {
			return false
		}
		if err != nil {
			b.s.watch.report(func() { b.s.watch.t.Errorf("roomtest: bot %q: %s: %v", b.name, a.what, err) })
			return false
		}
	}
	return true
}

// await waits until there is something to do.
func (b *Bot) await() {
	var clock <-chan time.Time
	if i := b.nextDue(); i >= 0 {
		t := time.NewTimer(time.Until(b.due[i]))
		defer t.Stop()
		clock = t.C
	}
	var more <-chan struct{}
	switch {
	case b.silent:
	case b.stay == nil:
		more = b.s.rec.after(b.ear)
	default:
		l := b.stay.in.look()
		if len(l.fresh) > 0 || l.err != nil {
			return
		}
		more = l.changed
	}
	select {
	case <-b.ctx.Done():
	case <-clock:
	case <-more:
	case o := <-b.orders:
		b.carryOut(o)
	}
}

// isHeard reports whether what the bot sends reaches the room.
func (b *Bot) isHeard() bool {
	return b.isRoom || b.stay != nil && !b.silent && b.stay.Conn.Err() == nil
}

// say sends body to everyone, if the bot is heard.
func (b *Bot) say(body []byte) (err error) {
	if !b.isHeard() {
		return nil
	}
	ctx, cancel := b.patiently()
	defer cancel()
	if b.isRoom {
		r := b.s.roomNamed(b.room)
		if r == nil {
			return nil
		}
		_, err = r.Broadcast(ctx, body)
	} else {
		err = b.stay.Conn.Send(ctx, body)
	}
	if _, ended := errors.AsType[*tcproom.EndError](err); ended || !b.isHeard() {
		return nil
	}
	return b.undelivered(ctx, err)
}

// tell sends body from the room to one member alone, if it is still there.
func (b *Bot) tell(to tcproom.MemberInfo, body []byte) error {
	m, ok, err := b.matched(to)
	if !ok {
		return err
	}
	ctx, cancel := b.patiently()
	defer cancel()
	conn := probe.Link(m)
	err = m.Send(ctx, body)
	if conn.Err() != nil {
		return nil
	}
	return b.undelivered(ctx, err)
}

func (b *Bot) kick(who tcproom.MemberInfo, reason string) error {
	m, ok, err := b.matched(who)
	if !ok {
		return err
	}
	if err := m.Kick(reason); !errors.Is(err, tcproom.ErrNotMember) {
		return err
	}
	return nil
}

// matched returns the member that a rule has matched, if it is still there and the
// bot does not sleep.
func (b *Bot) matched(info tcproom.MemberInfo) (m *tcproom.Member, ok bool, err error) {
	if info.ID == "" {
		return nil, false, errors.New("the rule matched nothing that a member did: there is nobody to do that to")
	}
	r := b.s.roomNamed(b.room)
	if r == nil {
		return nil, false, nil
	}
	m, ok = r.Member(info.ID)
	return m, ok && !b.silent, nil
}

// patiently returns a context for what the room may not take at once.
func (b *Bot) patiently() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, b.s.patience())
}

// undelivered makes an action's error of a sender's.
func (b *Bot) undelivered(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, tcproom.ErrRoomClosed):
		return nil
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("the room has not taken it for %v", b.s.patience())
	}
	return err
}

func (b *Bot) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.ctx.Done():
	}
	return nil
}

func (b *Bot) goSilent() error {
	if b.stay != nil {
		b.silent = true
		b.stay.in.pause()
	}
	return nil
}

func (b *Bot) wakeUp() error {
	if b.silent {
		b.silent = false
		b.stay.in.resume()
	}
	return nil
}

func (b *Bot) join() error {
	if b.stay != nil {
		return nil
	}
	m, err := b.s.join(b.name, b.serveConn, nil)
	if err != nil {
		return err
	}
	b.s.bots.add(m.Conn.Name()) // which a hook may have changed
	b.stay = m
	return nil
}

// serveConn is Server.serveConn, on whose stack it shows whose doing it is
// what the hooks do.
func (b *Bot) serveConn(nc *served) { b.s.serveConn(nc, tcproom.InRoom(b.room)) }

var botsGoroutine = packagePath + "(*Bot).serveConn"

// onBotsGoroutine reports whether its caller is called by a hook, on the
// goroutine of a bot's connection.
func onBotsGoroutine() bool {
	for pcs, skip := make([]uintptr, 64), 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs)
		frames := runtime.CallersFrames(pcs[:n])
		for more := n > 0; more; {
			var f runtime.Frame
			if f, more = frames.Next(); f.Function == botsGoroutine {
				return true
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}

func (b *Bot) leave() error {
	if b.stay == nil {
		return nil
	}
	b.wakeUp()
	err := b.stay.leave(b.ctx)
	b.goOut()
	if err != nil {
		return fmt.Errorf("it %w", err)
	}
	return nil
}

func (b *Bot) vanish() error {
	if b.stay == nil {
		return nil
	}
	b.stay.Link.Reset()
	b.stay.Conn.Close()
	b.goOut()
	return nil
}

// goOut is what comes after each stay.
func (b *Bot) goOut() {
	m := b.stay
	m.Conn.Close()
	<-m.in.done
	b.stay, b.silent = nil, false
	b.ear = b.s.rec.pastLeave(m.Conn.ID())
}

// hangUp ends what stay there is at the end of the test.
func (b *Bot) hangUp() {
	if b.stay != nil {
		b.stay.Link.Close() // at once, whatever state the room is in
		b.goOut()
	}
}

// botNames are the names under which the bots of a server have joined.
type botNames struct {
	mu    sync.Mutex
	names map[string]bool
}

func (b *botNames) add(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.names == nil {
		b.names = make(map[string]bool)
	}
	b.names[name] = true
}

func (b *botNames) has(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names[name]
}
