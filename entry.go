package tcproom

import (
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
)

// A Door is a way into a room with options of its own: for listeners, as
// [Room.Serve] is, and for connections that somebody else has accepted, such as an
// HTTP server that has upgraded them. [Room.Door] makes one, and it lasts until its
// Close or the room's stop. All methods may be called from many goroutines and from
// hooks.
type Door struct {
	room *Room
	cfg  *connConfig

	accepted  chan *link    // that nobody has begun to admit
	admits    atomic.Bool   // a goroutine admits them
	rejecting chan struct{} // a token for each OnReject that runs for it

	// Guarded by the room's lock.
	lane   *lane
	closed bool
}

// An Arrival is what is known of a connection that is given to [Door.Admit].
type Arrival struct {
	// Read is what has been read from the connection already and is still to be
	// dealt with: the first bytes of the stream, beneath TLS if that is the door's
	// ([WithTLS]), else within it. The room owns it, and copies nothing.
	Read []byte
	// Identity, if it is not nil, stands in place of the [WithHandshake] hook, which
	// is not called. A hello, if the codec has one, is still read; of it the name does
	// not count if Identity has one.
	Identity *Identity
	// Addr is the address of the peer, if it is another than the RemoteAddr of the
	// connection, as behind a proxy; nil: that. [WithMaxPerAddress] counts by it.
	Addr net.Addr
	// BesideHTTP says that somebody else serves HTTP at the same port and has found none in
	// what was read. A request that comes nevertheless is a browser's that had connected
	// in advance. If nothing was sent to it, its connection is closed without a word, and
	// it sends the request again on another one.
	BesideHTTP bool
	// Room is the room of a [Hub] that a connection enters which names none, in place
	// of that of [InRoom]; empty: that one.
	Room string
	// Hello, for a codec without a hello, is what the peer is taken to have said
	// first: its Name, History, Since and Auth. A [WithHandshake] hook sees it.
	Hello *Hello
}

// Door returns a way into the room, whose options change those of [New] for its
// connections. It holds no goroutine, but it is to be closed: until then what members
// send must fit its framing and codec, as with a running [Room.Serve].
//
// It returns [ErrOption] for an option that cannot work, such as a message limit above
// the room's, Cause("too-many-lanes") and [ErrRoomClosed].
func (r *Room) Door(opts ...ConnOption) (*Door, error) {
	if r.isNamed() {
		return r.hub.all.Door(append(opts[:len(opts):len(opts)], InRoom(r.name))...)
	}
	cfg, err := r.connConfig(opts)
	if err != nil {
		return nil, err
	}
	d := &Door{room: r, cfg: cfg, accepted: make(chan *link, maxAccepted), rejecting: make(chan struct{}, maxRejects)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != roomOpen {
		return nil, ErrRoomClosed
	}
	if d.lane, err = r.laneLocked(&cfg.limits, r.cfg.form); err != nil {
		return nil, err
	}
	d.lane.configured++
	if r.doors == nil {
		r.doors = make(map[*Door]struct{})
	}
	r.doors[d] = struct{}{}
	return d, nil
}

// Checks says what a connection has to pass that comes by a [Room.Door] with these
// options: joins, that a [WithHandshake] hook decides which peers join, or in a room of
// a hub [OnEnter], and messages, that an [OnMessage] hook or [WithRate] decides what becomes of messages. It is for
// programs that show or post what is in the room without such a connection, as those
// that call [Room.Past] or [Room.Say] for others do. It does not block, works in a room
// that was shut down or closed, and returns [ErrOption] as Door does.
func (r *Room) Checks(opts ...ConnOption) (joins, messages bool, err error) {
	door := r
	if r.isNamed() {
		door = r.hub.all
		joins = r.hub.cfg.onEnter != nil
	}
	cfg, err := door.connConfig(opts)
	if err != nil {
		return false, false, err
	}
	return joins || cfg.handshake != nil, cfg.rate != nil || r.cfg.hooks.onMessage != nil, nil
}

// Serve is [Room.Serve] with the options of the door. It returns [net.ErrClosed] when
// the door is closed.
func (d *Door) Serve(l net.Listener) error {
	a := &acceptor{door: d, l: l}
	if err := d.room.addAcceptor(a); err != nil {
		l.Close()
		return err
	}
	defer d.room.removeAcceptor(a)
	defer l.Close() // which may block: a stop names it then
	return a.run()
}

// Admit gives nc to the room, which from now on alone reads from it, writes to it and
// closes it, whatever Admit returns. Deadlines that were set on nc are cleared. What
// follows happens as for a connection that Serve has accepted: one that the room does
// not let in, because it is full for one, is told so, and [OnReject] is called.
//
// It waits for no peer and no hook, except that when 64 calls of OnReject are running
// for connections of this door that found no slot, one more waits until one returns.
//
// With an error nc is closed: [net.ErrClosed] if the door is closed, [ErrRoomClosed],
// Cause("busy") and Cause("too-many-from-address").
func (d *Door) Admit(nc net.Conn, a Arrival) error {
	r := d.room
	nc.SetDeadline(time.Time{})
	l := r.newLink(nc, d.cfg, &a)
	l.given = true
	l.door.passed = d.cfg.control != nil // as what came before it has shown
	if err := r.open(l, d); err != nil {
		r.turnAway(d, l, err)
		return err
	}
	r.wg.Add(1) // while nobody can have released l
	defer r.wg.Done()
	select {
	case d.accepted <- l:
		d.startAdmitting()
	default:
		r.wg.Add(1)
		go d.admitAlone(l)
	}
	return nil
}

// Check returns what [Door.Admit] would return now for a connection from addr, so that
// it can be refused in the protocol that it still speaks; nil if it would be taken. It
// does not block, and counts nobody: Admit may say something else a moment later. nil is
// an address that is not known.
func (d *Door) Check(addr net.Addr) error {
	r := d.room
	var p netip.Prefix
	if r.cfg.maxPerAddress > 0 {
		p, _ = addressOf(addr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mayOpenLocked(d, d.cfg, p)
}

// Reject closes nc, which was to be given to [Door.Admit] and is not, because err
// happened on the way: that its peer has gone, for one. It counts as refused, and
// [OnReject] is called with err, unless the room has stopped. For waiting Reject is as
// Admit. err must not be nil, and wraps the [Cause] by which it is counted.
func (d *Door) Reject(nc net.Conn, a Arrival, err error) {
	r := d.room
	l := r.newLink(nc, d.cfg, &a)
	r.mu.Lock()
	r.stats.Refused++
	r.mu.Unlock()
	r.turnAway(d, l, err)
}

// Close closes the door: its listeners too, whose Serve returns, and nobody is admitted
// any more. What was admitted stays. It waits for the Close of the listeners and for
// nothing else, and returns nil. A second Close does nothing.
func (d *Door) Close() error {
	r := d.room
	r.mu.Lock()
	var listeners []net.Listener
	if !d.closed {
		for a := range r.acceptors {
			if a.door == d {
				listeners = append(listeners, a.l)
			}
		}
		d.closeLocked()
		r.releasedLocked() // what sleeps in Serve
	}
	r.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	return nil
}

func (d *Door) closeLocked() {
	d.closed = true
	delete(d.room.doors, d)
	d.lane.configured--
	d.room.tidyLanesLocked()
}

// shut returns why nobody comes in by d any more; nil while that is not so. A nil d is
// none that could be closed.
func (r *Room) shut(d *Door) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shutLocked(d)
}

func (r *Room) shutLocked(d *Door) error {
	switch {
	case r.state != roomOpen:
		return ErrRoomClosed
	case d != nil && d.closed:
		return net.ErrClosed
	}
	return nil
}

// maxAccepted bounds how many accepted links a door runs ahead of. They do not wait
// for their peers, so this passes by itself.
const maxAccepted = 64

// take makes a link of nc, which was accepted, and sees to it that it is admitted. It
// is given if nobody else can use it.
func (d *Door) take(nc net.Conn, given bool) {
	l := d.room.newLink(nc, d.cfg, nil)
	l.given = given
	if err := d.room.open(l, d); err != nil {
		d.room.turnAway(d, l, err)
		return
	}
	d.accepted <- l
	d.startAdmitting()
}

// startAdmitting starts admitAll, unless it runs. The room's count of what runs is
// not zero.
func (d *Door) startAdmitting() {
	if d.admits.CompareAndSwap(false, true) {
		d.room.wg.Add(1)
		go d.admitAll()
	}
}

// admitAll admits the links that were accepted, one after the other, so that a
// crowd grows one stack and not many. It ends when there is none, though others had
// their turn, or after one that waits: another goroutine admits the others then.
func (d *Door) admitAll() {
	defer d.room.wg.Done()
	alone := true
	handOver := func() {
		if !alone {
			return
		}
		alone = false
		d.admits.Store(false)
		if len(d.accepted) > 0 {
			d.startAdmitting()
		}
	}
	defer handOver() // also if a hook ends the goroutine
	for waited := false; alone; {
		select {
		case l := <-d.accepted:
			l.newcomer.waits = handOver
			d.room.bringIn(l)
			waited = false
		default:
			if waited {
				return
			}
			runtime.Gosched() // who is about to give it one does so now
			waited = true
		}
	}
}

// admitAlone admits one link, on a goroutine of its own. It ends then.
func (d *Door) admitAlone(l *link) {
	defer d.room.wg.Done()
	d.room.bringIn(l)
}

// bringIn admits l. What follows has a goroutine of its own, whose stack has not
// grown. If nobody else can use the connection, that starts only when there is
// something to read.
func (r *Room) bringIn(l *link) {
	defer func() {
		if l.mayRest() {
			l.newcomer = nil // it has joined; nothing more of that is needed
			if r.rest(l) {
				return
			}
		}
		go r.attend(l)
	}()
	r.enter(l)
}

// maxRejects bounds how many calls of OnReject a door does not wait for.
const maxRejects = 64

// turnAway closes l, which found no slot, and calls OnReject.
func (r *Room) turnAway(d *Door, l *link, cause error) {
	l.setCause(cause)
	l.drop()
	l.newcomer = nil
	if l.addr == nil {
		l.addr = l.nc.RemoteAddr()
	}
	l.logEnd(cause, l.ended(), false, false)
	r.mu.Lock()
	notify := r.cfg.hooks.onReject != nil && r.state == roomOpen
	if notify {
		r.keepLocked(l)
	}
	r.mu.Unlock()
	switch {
	case !notify:
	case d == nil:
		done := make(chan struct{})
		go r.reject(l, nil, done)
		<-done
	case d.mayReject():
		go r.reject(l, d, nil)
	default:
		r.forget(l, nil)
	}
}

// mayReject waits until less than maxRejects calls are running, or the room stops.
func (d *Door) mayReject() bool {
	r := d.room
	for {
		r.mu.Lock()
		stopping, ch := r.state != roomOpen, r.releaseLocked()
		r.mu.Unlock()
		if stopping {
			return false
		}
		select {
		case d.rejecting <- struct{}{}:
			return true
		case <-ch:
		}
	}
}

// reject calls OnReject for a link that found no slot. It is a goroutine of its own
// because of runtime.Goexit in the hook, and ends with it.
func (r *Room) reject(l *link, d *Door, done chan<- struct{}) {
	defer func() {
		if d != nil {
			<-d.rejecting
		}
		r.forget(l, nil)
		if done != nil {
			close(done)
		}
	}()
	r.notifyReject(l, l.Err())
}
