package fake

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A stage is one life of a fake: a script that is played from its beginning to the end
// of the stage. Its methods may be called from many goroutines.
type stage struct {
	script   *Script
	log      func(text string) // gets each failure, and what the room logs
	verbose  bool
	tb       *tb
	srv      *roomtest.Server
	listener *roomtest.Listener
	leaving  context.Context // ends when the fake is to end: its bots need not be waited for
	ctx      context.Context // ends with the stage
	cancel   context.CancelCauseFunc
	played   chan struct{} // closed when the expectations of the script are through
	turn     chan struct{} // holds one token: who has it looks on from cursor
	cursor   int           // how far expectations of the control endpoint have come

	life  sync.RWMutex // held for reading while srv is used that must not be afterwards
	ended bool

	mu       sync.Mutex // guards what follows
	bots     map[botKey]*roomtest.Bot
	names    map[string]bool // of bots
	conns    []*connection
	byAddr   map[string]*connection
	first    chan struct{} // closed with the first connection
	failures []failure
	states   []string // of the script's expectations
	last     *roomtest.Transcript
	doing    sync.WaitGroup // goroutines of carryOut, which begin while the stage has not ended
}

// A botKey names a bot. That of the room itself is "*".
type botKey struct{ room, name string }

// A connection is one that a client has made.
type connection struct {
	number int
	addr   string
	conn   *roomtest.Conn
}

// A failure is why the script has not held.
type failure struct {
	At   string `json:"at,omitempty"` // file and line, if it is known
	What string `json:"what"`
}

func (f failure) String() string {
	if f.At != "" {
		return f.At + ": " + f.What
	}
	return f.What
}

// The states of an expectation.
const (
	stateNext    = "next"    // its turn is to come
	stateWaiting = "waiting" // it is its turn
	stateHeld    = "held"
	stateFailed  = "failed"
	stateSkipped = "skipped" // one before it has failed
)

// newStage begins to play script for the connections of l, which it closes.
func newStage(leaving context.Context, script *Script, l net.Listener, cert *tls.Certificate, verbose bool, log func(string)) (*stage, error) {
	s := &stage{
		leaving: leaving,
		script:  script,
		log:     log,
		verbose: verbose,
		played:  make(chan struct{}),
		turn:    make(chan struct{}, 1),
		bots:    make(map[botKey]*roomtest.Bot),
		names:   make(map[string]bool),
		byAddr:  make(map[string]*connection),
		first:   make(chan struct{}),
		states:  make([]string, len(script.expect)),
	}
	s.turn <- struct{}{}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	for i := range s.states {
		s.states[i] = stateNext
	}
	s.tb = &tb{failed: func(text string) { s.fail(failure{What: text}) }, logged: s.logged}
	s.listener = roomtest.WrapListener(l)
	s.listener.OnAccept(s.accepted)
	if err := s.tb.run(func() { s.open(cert) }); err != nil {
		s.cancel(errEnded)
		close(s.played)
		s.ended = true
		s.listener.Close()
		s.tb.cleanup()
		return nil, err
	}
	go s.play()
	return s, nil
}

// open makes the room and its bots, and then lets clients in.
func (s *stage) open(cert *tls.Certificate) {
	opts := append(slices.Clone(s.script.room), tcproom.OnReject(s.rejected))
	if s.script.isHub {
		hub := make([]tcproom.HubOption, 0, len(opts)+10)
		for _, o := range opts {
			hub = append(hub, o)
		}
		for _, r := range s.script.rooms {
			hub = append(hub, tcproom.WithRoom(r.name))
		}
		hub = append(hub, tcproom.WithDefaultRoom(s.script.rooms[0].name), tcproom.WithOpenRooms(s.script.open), tcproom.OnDisconnect(s.left))
		s.srv = roomtest.NewHub(s.tb, hub...)
	} else {
		s.srv = roomtest.NewMemServer(s.tb, append(opts, tcproom.OnLeave(s.left))...)
	}
	s.srv.Within(s.script.within)
	for _, r := range s.script.rooms {
		s.addBot(botKey{r.name, "*"}, r.answer)
		for _, m := range r.members {
			s.addBot(botKey{r.name, m.name}, m.rules)
		}
	}
	conn := append(slices.Clone(s.script.conn), tcproom.WithFraming(s.script.framing), tcproom.WithCodec(s.script.codec))
	if s.script.tls {
		conn = append(conn, tcproom.WithTLS(&tls.Config{Certificates: []tls.Certificate{*cert}}))
	}
	s.srv.Serve(s.listener, conn...)
}

// addBot ends the call of tb.run if the bot cannot join.
func (s *stage) addBot(key botKey, rules []rule) {
	made := make([]roomtest.Rule, len(rules))
	for i, r := range rules {
		made[i] = r(s)
	}
	s.mu.Lock()
	s.names[key.name] = true
	s.mu.Unlock()
	var bot *roomtest.Bot
	switch {
	case key.name == "*" && key.room == "":
		bot = s.srv.Answer(made...)
	case key.name == "*":
		bot = s.srv.AnswerIn(key.room, made...)
	case key.room == "":
		bot = s.srv.Bot(key.name, made...)
	default:
		bot = s.srv.BotIn(key.room, key.name, made...)
	}
	s.mu.Lock()
	s.bots[key] = bot
	s.mu.Unlock()
	s.started(bot)
}

// started waits until a bot has done what it does at its start, so that its order with
// what comes next is always the same.
func (s *stage) started(bot *roomtest.Bot) {
	done := make(chan struct{})
	s.doing.Add(1)
	go s.carryOut(bot, nil, done)
	late := time.NewTimer(s.script.within)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	case <-s.leaving.Done():
	case <-s.ctx.Done():
	}
}

// isOwn reports whether a bot did it, or the room itself.
func (s *stage) isOwn(ev *tcproom.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ev.From == tcproom.MemberInfo{} || s.names[ev.From.Name]
}

func (s *stage) fail(f failure) {
	s.mu.Lock()
	s.failures = append(s.failures, f)
	s.mu.Unlock()
	s.log(f.String())
}

func (s *stage) logged(text string) {
	if s.verbose {
		s.log(text)
	}
}

// accepted is called with each connection before a byte of it is read.
func (s *stage) accepted(c *roomtest.Conn) {
	s.mu.Lock()
	number := len(s.conns) + 1
	own := &connection{number, c.RemoteAddr().String(), c}
	s.conns = append(s.conns, own)
	s.byAddr[own.addr] = own
	if number == 1 {
		close(s.first)
	}
	s.mu.Unlock()
	for _, r := range s.script.connections {
		if r.number != 0 && r.number != number {
			continue
		}
		c.In(r.in...)
		c.Out(r.out...)
		if r.refuse {
			c.Reset()
		}
		return
	}
}

// left is told of the end of each client and bot.
func (s *stage) left(m *tcproom.Member, cause error) {
	if addr := m.RemoteAddr(); addr != nil {
		s.broke(m.Name(), addr.String(), cause)
	}
}

func (s *stage) rejected(n *tcproom.Newcomer, cause error) {
	if addr := n.RemoteAddr(); addr != nil {
		s.broke(n.Hello().Name, addr.String(), cause)
	}
}

// broke fails the script if a client broke the protocol. It is called when the room has
// taken leave of the client, which may be at the end of the stage only.
func (s *stage) broke(name, addr string, cause error) {
	if !s.script.strict {
		return
	}
	if !errors.Is(cause, tcproom.ErrMalformed) && !errors.Is(cause, tcproom.ErrFrameTooLarge) && !errors.Is(cause, tcproom.ErrWrongDoor) {
		return
	}
	s.mu.Lock()
	c := s.byAddr[addr]
	s.mu.Unlock()
	if c == nil {
		return
	}
	who := fmt.Sprintf("connection %d", c.number)
	if name != "" {
		who += fmt.Sprintf(", of %q,", name)
	}
	s.fail(failure{What: fmt.Sprintf("%s broke the protocol (%s): %v", who, s.script.speaks, plain(cause))})
}

// play goes through the script's expectations, until the stage ends.
func (s *stage) play() {
	defer close(s.played)
	select {
	case <-s.first:
	case <-s.ctx.Done():
		return
	}
	at := 0
	for i, e := range s.script.expect {
		s.setState(i, stateWaiting)
		o := e.check(s.ctx, s, at)
		if !o.held {
			s.setState(i, stateFailed)
			for j := i + 1; j < len(s.script.expect); j++ {
				s.setState(j, stateSkipped)
			}
			s.fail(failure{At: s.at(e), What: e.kind + " " + o.String()})
			return
		}
		s.setState(i, stateHeld)
		at = o.next
	}
}

func (s *stage) at(e *expectation) string { return fmt.Sprintf("%s:%d", s.script.file, e.line) }

func (s *stage) setState(i int, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[i] = state
}

// end ends the stage, and returns when nothing of it is left. It is called once.
func (s *stage) end() {
	s.cancel(errEnded)
	<-s.played
	s.life.Lock()
	last := s.srv.Transcript()
	s.ended = true
	s.life.Unlock()
	s.mu.Lock()
	s.last = last
	var unmet []*expectation
	for i, state := range s.states {
		if state == stateNext {
			unmet = append(unmet, s.script.expect[i])
			s.states[i] = stateFailed
			if len(unmet) > 1 {
				s.states[i] = stateSkipped
			}
		}
	}
	s.mu.Unlock()
	if len(unmet) > 0 {
		s.fail(failure{At: s.at(unmet[0]), What: fmt.Sprintf("%v: no client has connected", unmet[0])})
	}
	s.tb.cleanup()
	s.doing.Wait()
}

// transcript returns the room's order so far, also after the end.
func (s *stage) transcript() *roomtest.Transcript {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.ended {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.last
	}
	return s.srv.Transcript()
}

// transcriptAfter waits until the room's order has more than n events, or ctx ends, as it
// does with the stage.
func (s *stage) transcriptAfter(ctx context.Context, n int) (*roomtest.Transcript, error) {
	s.life.RLock()
	ended := s.ended
	if !ended {
		defer s.life.RUnlock()
		return s.srv.TranscriptAfter(ctx, n)
	}
	s.life.RUnlock()
	return s.transcript(), errEnded
}

// ask is an expectation of the control endpoint, of what comes after the first since
// events or, if that is negative, after the last that held.
func (s *stage) ask(ctx context.Context, e *expectation, since int) (*outcome, error) {
	if since >= 0 {
		return e.check(ctx, s, min(since, s.transcript().Len())), nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(e.within, s.script.within), errTooLong)
	defer cancel()
	select {
	case <-s.turn:
	case <-ctx.Done():
		return nil, errors.New("another expectation is waiting: several at a time want since")
	case <-s.ctx.Done():
		return nil, errEnded
	}
	defer func() { s.turn <- struct{}{} }()
	o := e.check(ctx, s, s.cursor)
	if o.held {
		s.cursor = o.next
	}
	return o, nil
}

var errNoBot = errors.New("there is no such bot")

// do makes a bot, or the room itself, do something, and returns when it is done, or else
// an error of what has failed.
func (s *stage) do(ctx context.Context, key botKey, do []action) error {
	s.mu.Lock()
	bot := s.bots[key]
	s.mu.Unlock()
	if bot == nil {
		return fmt.Errorf("%w: %q%s; there are: %s", errNoBot, key.name, inRoom(key.room), s.botNames())
	}
	s.life.RLock()
	if s.ended {
		s.life.RUnlock()
		return errEnded
	}
	s.doing.Add(1)
	s.life.RUnlock()
	var own []failure // guarded by mu
	s.mu.Lock()
	before := len(s.failures)
	s.mu.Unlock()
	done := make(chan struct{})
	go s.carryOut(bot, perform(doer{s, func(f failure) {
		s.fail(f)
		s.mu.Lock()
		defer s.mu.Unlock()
		own = append(own, f)
	}}, do), done)
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("not done yet: %w; the bot goes on with it", context.Cause(ctx))
	}
	if s.ctx.Err() != nil {
		return errEnded
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(own) > 0 {
		return errors.New(own[0].What)
	}
	mark := fmt.Sprintf("bot %q: ", key.name)
	for _, f := range s.failures[before:] {
		if strings.HasPrefix(f.What, mark) {
			return errors.New(f.What)
		}
	}
	return nil
}

// carryOut is the goroutine of do. It ends when the bot has done it, or with the stage.
func (s *stage) carryOut(bot *roomtest.Bot, do []roomtest.Action, done chan<- struct{}) {
	defer s.doing.Done()
	defer close(done)
	defer func() {
		// Do panics if the stage has ended meanwhile; it does nothing then.
		if v := recover(); v != nil && s.ctx.Err() == nil {
			panic(v)
		}
	}()
	bot.Do(do...)
}

// add makes more bots.
func (s *stage) add(room string, members []memberScript) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.ended {
		return errEnded
	}
	for _, m := range members {
		key := botKey{room, m.name}
		s.mu.Lock()
		_, taken := s.bots[key]
		bots := len(s.bots) - len(s.script.rooms) // without those of the rooms themselves
		s.mu.Unlock()
		if bots >= maxBots {
			return fmt.Errorf("there are %d bots at most", maxBots)
		}
		if taken {
			return fmt.Errorf("there is a bot %q%s already", m.name, inRoom(room))
		}
		if err := s.tb.run(func() { s.addBot(key, m.rules) }); err != nil {
			return err
		}
	}
	return nil
}

func inRoom(room string) string {
	if room == "" {
		return ""
	}
	return fmt.Sprintf(" in room %q", room)
}

func (s *stage) botNames() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for key := range s.bots {
		if key.name != "*" {
			names = append(names, fmt.Sprintf("%q%s", key.name, inRoom(key.room)))
		}
	}
	if names == nil {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// call makes an action of a function that may fail.
func (d doer) call(what string, fn func(tcproom.Event) error) roomtest.Action {
	return roomtest.Call(func(ev tcproom.Event) {
		if err := fn(ev); err != nil && d.ctx.Err() == nil {
			d.failed(failure{What: fmt.Sprintf("%s: %v", what, err)})
		}
	})
}

// named returns the members of this name, or an error if there is none.
func (s *stage) named(name string) ([]*tcproom.Member, error) {
	var found []*tcproom.Member
	var names []string
	for m := range s.srv.Room.Members() {
		if m.Name() == name {
			found = append(found, m)
		}
		names = append(names, fmt.Sprintf("%q", m.Name()))
	}
	if found == nil {
		return nil, fmt.Errorf("no member is named %q; there are: %s", name, cmp.Or(strings.Join(names, ", "), "none"))
	}
	return found, nil
}

func (s *stage) tell(name, text string) error {
	ms, err := s.named(name)
	for _, m := range ms {
		ctx, cancel := context.WithTimeout(s.ctx, s.script.within)
		if e := m.Send(ctx, []byte(text)); !errors.Is(e, tcproom.ErrNotMember) {
			err = errors.Join(err, e)
		}
		cancel()
	}
	return err
}

func (s *stage) kick(name, reason string) error {
	ms, err := s.named(name)
	for _, m := range ms {
		if e := m.Kick(reason); !errors.Is(e, tcproom.ErrNotMember) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// fault puts faults on connections that are open. ev is what a rule matched.
func (s *stage) fault(f *faultScript, ev tcproom.Event) error {
	var on []*connection
	switch {
	case f.number != 0:
		s.mu.Lock()
		if f.number <= len(s.conns) {
			on = s.conns[f.number-1 : f.number]
		}
		n := len(s.conns)
		s.mu.Unlock()
		if on == nil {
			return fmt.Errorf("there is no connection %d yet; there have been %d", f.number, n)
		}
	case f.name != "":
		ms, err := s.named(f.name)
		if err != nil {
			return err
		}
		if on = s.connsOf(ms...); on == nil {
			return fmt.Errorf("%q is no client", f.name)
		}
	case ev.From.ID != "":
		if m, ok := s.srv.Room.Member(ev.From.ID); ok {
			on = s.connsOf(m)
		}
	default:
		s.mu.Lock()
		on = slices.Clone(s.conns)
		s.mu.Unlock()
	}
	for _, c := range on {
		if f.hasIn {
			c.conn.In(f.in...)
		}
		if f.hasOut {
			c.conn.Out(f.out...)
		}
		if f.reset {
			c.conn.Reset()
		}
	}
	return nil
}

func (s *stage) connsOf(ms ...*tcproom.Member) (conns []*connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range ms {
		if addr := m.RemoteAddr(); addr != nil && s.byAddr[addr.String()] != nil {
			conns = append(conns, s.byAddr[addr.String()])
		}
	}
	return conns
}
