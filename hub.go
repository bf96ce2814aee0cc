package tcproom

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tcproom/internal/fanout"
	"example.com/tcproom/internal/lockorder"
	"example.com/tcproom/internal/sock"
)

// A Hub is a set of named rooms behind the same listeners. A connection can be in
// several of them: in each it is a [Member] of its own, with the same ID and name. One
// more member stands for the connection itself, in the room named "*" ([Hub.All]).
//
// A connection can be in several rooms if it names its rooms: it speaks [JSON], or another
// codec with Features.Rooms, and its hello has [Hello].Rooms, as [InRooms] sets them. One
// of [Text] with Commands is in one room at a time, or in none. All others name no rooms:
// they are in one, and end with it. If they speak JSON they may ask to move; [Raw] and
// Text without Commands are moved by the program alone.
//
// Each room has an order of its own, which is the same for all of its members. There is
// none across rooms, but what one connection asks for is done in the order in which it
// asks.
//
// All methods may be called from many goroutines and from hooks, Shutdown excepted.
type Hub struct {
	cfg   hubConfig
	ofAny *roomConfig // of rooms without options of their own
	all   *Room
	fan   *fanout.Fan
	quiet *sock.Lookout
	bans  atomic.Pointer[[]Ban] // not changed once it is there; set with mu held
	// attendance is that of all rooms; nil without logs.
	attendance *attendance

	mu    lockorder.Mutex // guards what follows; taken before a room's lock
	rooms map[string]*hubRoom
	spare list.List // of *hubRoom: those that linger and that nobody asked for, the first to be empty first
	nums  uint64
	made  uint64
	gone  uint64
	moves uint64
	stops bool

	totals totals
	traces atomic.Bool // a room has, or had, WithTrace

	unsaid  atomic.Int64    // what was on its way to the logs of rooms when the hub stopped
	left    atomic.Int64    // calls of OnLeave and OnRoom that are owed, beside those of links
	asideMu lockorder.Mutex // guards asides; taken last
	asides  map[*aside]struct{}
}

// A hubRoom is a room as its hub knows it. It is guarded by the hub's lock.
type hubRoom struct {
	room  *Room
	ready chan struct{} // closed when OnRoom has returned; closed without that
	fixed bool          // it stays when it is empty
	kept  bool          // the program asked for it
	pins  int           // those who are about to enter
	empty *time.Timer   // nil: it is not known to be empty
	spare *list.Element // in the hub's list; nil: it is not there
	turn  uint64        // timers that there were
}

// NewHub returns an open hub. It listens nowhere and holds no goroutine until somebody
// connects. Its default codec is [Text] with Commands. It never fails: an option that
// cannot work, such as a [WithRoom] or [WithDefaultRoom] with a name that no room can
// have, is logged at Warn; no logger is set by default.
func NewHub(opts ...HubOption) *Hub {
	h := &Hub{cfg: newHubConfig(opts), fan: fanout.New(), quiet: sock.NewLookout(attendTo, overdue), rooms: make(map[string]*hubRoom)}
	h.mu.SetRank(rankHub)
	h.totals.mu.SetRank(rankTotals)
	h.totals.going = make(map[*Room]struct{})
	h.ofAny = h.cfg.room(nil)
	h.all = newRoom(h.cfg.all(), h.fan, h.quiet, h, allRooms, 0)
	if h.all.replica != nil {
		h.all.replica.start()
	}
	var fixed []*hubRoom
	for _, f := range h.cfg.fixed {
		if hr := h.makeFixed(f.name); hr != nil {
			fixed = append(fixed, hr)
		}
	}
	h.checkFirstRooms()
	if h.ofAny.log != nil {
		h.ofAny.conn.logger.Warn("tcproom: option without effect", "option", "WithLog", "cause", "a log is one room's: use WithBackplane")
	}
	for _, hr := range fixed { // and none that OnRoom makes
		h.announce(nil, hr)
	}
	return h
}

// checkFirstRooms logs names of first rooms that no room can have. It does not call a
// hook, which may wait for what NewHub returns.
func (h *Hub) checkFirstRooms() {
	for _, name := range []string{h.cfg.defaultRoom, h.ofAny.conn.inRoom} {
		if name == "" || h.has(name) {
			continue
		}
		err := checkRoomName(name)
		if err == nil && !h.cfg.ownNames {
			err = ValidRoom(name)
		}
		if err != nil {
			h.ofAny.conn.logger.Warn("tcproom: connections that name no room are refused", "room", name, "cause", err)
		}
	}
}

// has reports whether there is a room of that name.
func (h *Hub) has(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[name] != nil
}

// makeFixed makes a room of WithRoom; nil if there is one, or cannot be. The logs of those
// that were made before may end them already.
func (h *Hub) makeFixed(name string) *hubRoom {
	if h.has(name) {
		return nil
	}
	err := checkRoomName(name)
	opts, _ := h.cfg.fixedOptions(name)
	cfg := h.cfg.room(opts)
	h.mu.Lock()
	if err == nil && len(h.rooms) >= h.cfg.maxRooms {
		err = ErrTooManyRooms
	}
	if err != nil {
		h.mu.Unlock()
		h.ofAny.conn.logger.Warn("tcproom: room not made", "room", name, "cause", err)
		return nil
	}
	defer h.mu.Unlock()
	hr := h.addLocked(name, cfg)
	hr.fixed = true
	return hr
}

// addLocked adds a room, which nobody can enter before announce.
func (h *Hub) addLocked(name string, cfg *roomConfig) *hubRoom {
	h.nums++
	h.made++
	hr := &hubRoom{room: newRoom(cfg, h.fan, h.quiet, h, name, h.nums), ready: closed}
	if h.cfg.onRoom != nil {
		hr.ready = make(chan struct{})
	}
	h.rooms[name] = hr
	if hr.room.replica != nil {
		hr.room.replica.start()
	}
	return hr
}

// closed is a channel that is.
var closed = func() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

// announce calls OnRoom for a room that was made, and lets in who waits for that.
func (h *Hub) announce(l *link, hr *hubRoom) {
	if h.cfg.onRoom != nil {
		defer close(hr.ready)
		hr.room.callAside(l, nil, hookOnRoom, func() error { h.cfg.onRoom(hr.room, true); return nil })
	}
}

// ListenAndServe listens on the TCP address addr and serves it, as
// [Room.ListenAndServe] does.
func (h *Hub) ListenAndServe(addr string) error { return h.all.ListenAndServe(addr) }

// Serve accepts connections from l until the hub is closed, as [Room.Serve] does.
func (h *Hub) Serve(l net.Listener, opts ...ConnOption) error { return h.all.Serve(l, opts...) }

// ServeConn serves nc as one connection of the hub, as [Room.ServeConn] does.
func (h *Hub) ServeConn(nc net.Conn, opts ...ConnOption) error { return h.all.ServeConn(nc, opts...) }

// Door returns a way into the hub, as [Room.Door] does into a room.
func (h *Hub) Door(opts ...ConnOption) (*Door, error) { return h.all.Door(opts...) }

// Join returns the dialling end of a new connection in this process, which is a member
// of the named room; empty means the one of [WithDefaultRoom]. With [InRooms] it names
// its rooms, and is in those too: then a room that refuses it is an event and no error,
// and an empty name means those alone. It is [Room.Join] in all else.
func (h *Hub) Join(ctx context.Context, room string, id Identity, opts ...DialOption) (*Conn, error) {
	return h.all.joinRoom(ctx, room, id, opts)
}

// Room returns the room of that name, which it makes if there is none. Errors are those
// of a name or of the number of rooms: [ErrRoomName], [ErrTooManyRooms], [ErrNoRoom] if
// [WithRoomOptions] says so, and [ErrRoomClosed] if the hub has stopped. It waits for
// [OnRoom], so it must not be called in that hook for the same name, nor for a room of
// [WithRoom] while NewHub runs.
//
// A room that is empty may be removed after [WithRoomLinger]: its methods return
// ErrRoomClosed then. With [WithBackplane] it does not wait for the room's log, but
// [Room.Ready] does.
func (h *Hub) Room(name string) (*Room, error) {
	hr, err := h.acquire(context.Background(), nil, name, true)
	if err != nil {
		return nil, err
	}
	defer h.unpin(hr)
	h.mu.Lock()
	hr.kept = true
	h.mu.Unlock()
	return hr.room, nil
}

// Lookup returns the room of that name, if there is one; with [WithBackplane], if it is
// open in this process. "*" is [Hub.All].
func (h *Hub) Lookup(name string) (*Room, bool) {
	if name == allRooms {
		return h.all, true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if hr := h.rooms[name]; hr != nil {
		return hr.room, true
	}
	return nil, false
}

// Check returns why nobody could enter a room of that name now, so that a connection can
// be refused in another protocol than the hub's: [ErrRoomName], [ErrNoRoom],
// [ErrTooManyRooms], [ErrRoomFull] and [ErrRoomClosed]; nil if there is such a room, or
// would be one as soon as somebody entered it. It makes none, and asks the function of
// [WithRoomNames] alone: other hooks, and bans, may still refuse a connection.
func (h *Hub) Check(name string) error {
	if err := h.checkRoom(nil, name); err != nil {
		return err
	}
	h.mu.Lock()
	hr, count, stops := h.rooms[name], len(h.rooms)-min(h.spare.Len(), 1), h.stops
	h.mu.Unlock()
	switch {
	case stops:
		return ErrRoomClosed
	case hr == nil && !h.cfg.open:
		return fmt.Errorf("%w: %q", ErrNoRoom, name)
	case hr == nil && count >= h.cfg.maxRooms:
		return fmt.Errorf("%w: there are %d", ErrTooManyRooms, h.cfg.maxRooms)
	case hr != nil && hr.room.full():
		return ErrRoomFull
	}
	return nil
}

// Rooms returns the rooms of this moment whose names begin with prefix, by name, without
// "*"; with [WithBackplane], those that are open in this process.
func (h *Hub) Rooms(prefix string) iter.Seq2[string, *Room] {
	h.mu.Lock()
	var list []*Room
	for name, hr := range h.rooms {
		if strings.HasPrefix(name, prefix) {
			list = append(list, hr.room)
		}
	}
	h.mu.Unlock()
	slices.SortFunc(list, func(a, b *Room) int { return cmp.Compare(a.name, b.name) })
	return func(yield func(string, *Room) bool) {
		for _, r := range list {
			if !yield(r.name, r) {
				return
			}
		}
	}
}

// DefaultRoom returns the name that [WithDefaultRoom] has set.
func (h *Hub) DefaultRoom() string { return h.cfg.defaultRoom }

// All returns the room named "*", in which a member stands for each connection. What is
// broadcast there reaches each connection once, in however many rooms it is; Len counts
// connections, Kick ends one, and Close and Shutdown are those of the hub. Joins and
// leaves of that room are no events, and it has no history. [OnJoin] to [OnLeave] are not
// called for it, but [OnConnect] and [OnDisconnect] are.
func (h *Hub) All() *Room { return h.all }

// acquire returns the room of that name, pinned: it is not removed before unpin. It
// makes one if there is none and may be. l is that whose goroutine this is, if it is one.
func (h *Hub) acquire(ctx context.Context, l *link, name string, make bool) (*hubRoom, error) {
	if err := h.checkRoom(l, name); err != nil {
		return nil, err
	}
	hr, err := h.pin(name)
	if err == nil && hr == nil && make {
		hr, err = h.makeRoom(l, name)
	}
	switch {
	case err != nil:
		return nil, err
	case hr == nil:
		return nil, fmt.Errorf("%w: %q", ErrNoRoom, name)
	}
	select {
	case <-hr.ready:
		return hr, nil
	case <-ctx.Done():
		h.unpin(hr)
		return nil, context.Cause(ctx)
	}
}

// checkRoom applies the hard rule for names of rooms, and the user's.
func (h *Hub) checkRoom(l *link, name string) error {
	if err := checkRoomName(name); err != nil {
		return err
	}
	h.mu.Lock()
	hr := h.rooms[name]
	h.mu.Unlock()
	if hr != nil { // one of WithRoom may have any name
		return nil
	}
	err := h.all.callAside(l, nil, hookRoomNames, func() error { return h.cfg.names(name) })
	if _, failed := err.(*HookError); failed || err == nil || causeOf(err) == ErrRoomName {
		return err
	}
	return fmt.Errorf("%w: %q: %w", ErrRoomName, name, err)
}

// pin returns the room of that name, if there is one, which is not removed before unpin.
func (h *Hub) pin(name string) (*hubRoom, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stops {
		return nil, ErrRoomClosed
	}
	hr := h.rooms[name]
	if hr != nil {
		h.pinLocked(hr)
	}
	return hr, nil
}

// pinLocked pins hr. The end of the room, and that of the hub, waits for unpin: hooks of
// who is about to enter are called until then, also on goroutines of the program's.
func (h *Hub) pinLocked(hr *hubRoom) {
	hr.pins++
	hr.room.wg.Add(1)
	h.all.wg.Add(1)
	h.occupiedLocked(hr)
}

// makeRoom makes a room, unless there is one by now, and pins it.
func (h *Hub) makeRoom(l *link, name string) (*hubRoom, error) {
	cfg := h.ofAny
	opts, fixed := h.cfg.fixedOptions(name) // of one that was removed: who may be in it has not changed
	if fixed {
		cfg = h.cfg.room(opts)
	} else if fn := h.cfg.roomOptions; fn != nil {
		var opts []RoomOption
		if err := h.all.callAside(l, nil, hookRoomOptions, func() error { opts = fn(name); return nil }); err != nil {
			return nil, err
		}
		if opts == nil {
			return nil, fmt.Errorf("%w: %q", ErrNoRoom, name)
		}
		if len(opts) > 0 {
			cfg = h.cfg.room(opts)
		}
	}
	h.mu.Lock()
	hr, mine := h.rooms[name], false
	switch {
	case h.stops:
		h.mu.Unlock()
		return nil, ErrRoomClosed
	case hr == nil && len(h.rooms) >= h.cfg.maxRooms && !h.makePlaceLocked():
		h.mu.Unlock()
		return nil, fmt.Errorf("%w: there are %d", ErrTooManyRooms, h.cfg.maxRooms)
	case hr == nil:
		hr, mine = h.addLocked(name, cfg), true
		hr.fixed = fixed
	}
	h.pinLocked(hr)
	h.mu.Unlock()
	if mine {
		returned := false
		defer func() {
			if !returned { // but OnRoom has ended the goroutine
				h.unpin(hr)
			}
		}()
		h.announce(l, hr)
		returned = true
	}
	return hr, nil
}

// makePlaceLocked removes the room that has been empty for longest, if there is one, so
// that those which one connection enters and leaves keep nobody from making rooms.
func (h *Hub) makePlaceLocked() bool {
	for e := h.spare.Front(); e != nil; e = h.spare.Front() {
		hr := e.Value.(*hubRoom)
		h.occupiedLocked(hr)
		if hr.room.closeIfEmpty() {
			h.takeOutLocked(hr)
			go h.removed(hr)
			return true
		}
	}
	return false
}

// occupiedLocked says that hr is not to be removed for now.
func (h *Hub) occupiedLocked(hr *hubRoom) {
	if hr.empty != nil {
		hr.empty.Stop()
		hr.empty = nil
	}
	if hr.spare != nil {
		h.spare.Remove(hr.spare)
		hr.spare = nil
	}
}

// unpin undoes acquire.
func (h *Hub) unpin(hr *hubRoom) {
	h.mu.Lock()
	hr.pins--
	h.mu.Unlock()
	h.checkEmpty(hr.room)
	hr.room.wg.Done()
	h.all.wg.Done()
}

// checkEmpty sees to it that r is removed after a while, if it is empty now: at once if
// nobody was ever let in. It is called when r may have become so, without its lock.
func (h *Hub) checkEmpty(r *Room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	hr := h.rooms[r.name]
	if hr == nil || hr.room != r || hr.fixed || hr.empty != nil || h.stops || hr.pins > 0 {
		return
	}
	empty, fresh := r.isEmpty()
	if !empty {
		return
	}
	d := max(h.cfg.linger, 0)
	if fresh && !hr.kept {
		d = 0
	}
	hr.turn++
	turn := hr.turn
	hr.empty = time.AfterFunc(d, func() { h.removeEmpty(hr, turn) })
	if !hr.kept {
		hr.spare = h.spare.PushBack(hr)
	}
}

// removeEmpty removes a room, if it is empty still.
func (h *Hub) removeEmpty(hr *hubRoom, turn uint64) {
	h.mu.Lock()
	if h.rooms[hr.room.name] != hr || hr.empty == nil || hr.turn != turn || hr.pins > 0 || h.stops {
		h.mu.Unlock()
		return
	}
	h.occupiedLocked(hr)
	if !hr.room.closeIfEmpty() {
		h.mu.Unlock()
		return
	}
	h.takeOutLocked(hr)
	h.mu.Unlock()
	h.removed(hr)
}

// takeOutLocked takes a room out of the hub, whose end waits for removed.
func (h *Hub) takeOutLocked(hr *hubRoom) {
	delete(h.rooms, hr.room.name)
	h.totals.going[hr.room] = struct{}{}
	h.gone++
	h.left.Add(1)
	h.all.wg.Add(1)
}

// removed does what is left to do for a room that is closed and not in the hub any more.
// It is the last that a goroutine does.
func (h *Hub) removed(hr *hubRoom) {
	r := hr.room
	defer h.all.wg.Done()
	defer h.left.Add(-1)
	<-hr.ready // one call of OnRoom at a time
	r.leaveLog()
	r.wg.Wait()
	r.closeLog()
	h.totals.leave(h, r)
	r.closeDone()
	if h.cfg.onRoom != nil {
		h.all.callAside(nil, nil, hookOnRoom, func() error { h.cfg.onRoom(r, false); return nil })
	}
}

// Remove closes a room and takes it out of the hub: its members leave, are told goodbye
// with the reason, and their connections go on. Nobody is in it when Remove returns, but
// calls of [OnLeave], on goroutines of their own, may not have returned. It returns
// [ErrNoRoom] if there is no room of that name, for "*", and if the hub has stopped. A
// room of [WithRoom] goes too, and is made again, with its options, when somebody enters
// it, if the hub makes rooms then.
//
// With [WithBackplane] the room ends in all processes. It has to be open in this one:
// [Hub.Room] opens it. Further errors are [ErrUnavailable] and [ErrUncertain].
func (h *Hub) Remove(name, reason string) error {
	return h.remove(context.Background(), name, nil, reason)
}

// remove is Remove, if r is nil, or of r if that has the name still. ctx bounds the wait for
// the log.
func (h *Hub) remove(ctx context.Context, name string, r *Room, reason string) error {
	if h.cfg.backplane != nil {
		return h.removeByLog(ctx, name, r, reason)
	}
	return h.takeOut(name, r, reason)
}

// takeOut is remove in this process.
func (h *Hub) takeOut(name string, r *Room, reason string) error {
	hr, err := h.unlist(name, r)
	if err != nil {
		return err
	}
	h.putOut(hr, reason)
	return nil
}

// unlist is takeOut of the room alone. Close of the hub may come between that and putOut.
func (h *Hub) unlist(name string, r *Room) (*hubRoom, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	hr := h.rooms[name]
	if hr == nil || h.stops || r != nil && r != hr.room {
		return nil, fmt.Errorf("%w: %q", ErrNoRoom, name)
	}
	h.occupiedLocked(hr)
	h.takeOutLocked(hr)
	return hr, nil
}

// putOut puts out the members of a room that is not in the hub any more.
func (h *Hub) putOut(hr *hubRoom, reason string) {
	hr.room.putOut(&removedError{reason}, errRemoved)
	go h.removed(hr)
}

// isNamed reports whether r is a room of a hub, and not that of all connections.
func (r *Room) isNamed() bool { return r.hub != nil && r != r.hub.all }

// Name returns the name of the room in its hub; empty for a room of [New].
func (r *Room) Name() string { return r.name }

// Hidden reports whether the room has the option [Hidden], and is one of a hub.
func (r *Room) Hidden() bool { return r.isNamed() && r.cfg.hidden }

// Hub returns the hub of the room; nil for a room of [New].
func (r *Room) Hub() *Hub { return r.hub }

// close is Close of a room of a hub.
func (h *Hub) close(r *Room) error {
	if r == h.all {
		return h.Close()
	}
	return h.end(context.Background(), r)
}

// end removes r, unless it is removed already, or h stops.
func (h *Hub) end(ctx context.Context, r *Room) error {
	if err := h.remove(ctx, r.name, r, ""); !errors.Is(err, ErrNoRoom) {
		return err
	}
	return nil
}

// shutdown is Shutdown of a room of a hub.
func (h *Hub) shutdown(ctx context.Context, r *Room, opts []StopOption) error {
	if r == h.all {
		return h.Shutdown(ctx, opts...)
	}
	if err := h.end(ctx, r); err != nil { // it goes on
		return &StopError{Err: err}
	}
	select {
	case <-r.Done():
		return nil
	case <-ctx.Done():
		return &StopError{Err: context.Cause(ctx)}
	}
}

// removedError is errRemoved with the reason.
type removedError struct{ reason string }

func (e *removedError) Error() string {
	if e.reason == "" {
		return errRemoved.Error()
	}
	return fmt.Sprintf("%v: %q", errRemoved, e.reason)
}

func (e *removedError) Unwrap() error { return errRemoved }

// HubStats are counts of what a hub has seen, taken at one moment.
type HubStats struct {
	Rooms       int    // that there are, without "*"
	Made        uint64 // rooms that were ever made
	Removed     uint64 // of these, the ones that are gone
	Connections int    // in the hub, with those that are lost and may resume
	Memberships int    // in all rooms together, without "*"
	Moves       uint64 // that were done, of the program and of connections
	// Refused counts the connections that did not get in.
	Refused uint64

	Detached     int    // of Connections, those that are lost and may resume
	Pending      int    // connections that are not in the hub yet
	AcceptErrors uint64 // times at which a listener failed to accept, and went on
}

// Stats returns the counts of this moment. Those of each room are [Room.Stats].
func (h *Hub) Stats() HubStats {
	h.mu.Lock()
	s := HubStats{Rooms: len(h.rooms), Made: h.made, Removed: h.gone, Moves: h.moves}
	for _, hr := range h.rooms {
		s.Memberships += hr.room.Len()
	}
	h.mu.Unlock()
	all := h.all.Stats()
	s.Connections, s.Detached, s.Pending = all.Members, all.Detached, all.Pending
	s.Refused, s.AcceptErrors = all.Refused, all.AcceptErrors
	return s
}

// Shutdown stops the hub in good order, as [Room.Shutdown] stops a room: nobody comes
// in any more, each connection gets what was ordered in its rooms before the call and a
// goodbye. A [*StopError] names connections, and how many events they missed in all
// rooms together.
func (h *Hub) Shutdown(ctx context.Context, opts ...StopOption) error {
	h.drainLogs(ctx)
	h.stopRooms(roomDraining)
	return h.all.shutdown(ctx, opts)
}

// Close stops the hub at once, as [Room.Close] stops a room.
func (h *Hub) Close() error {
	h.stopRooms(roomClosed)
	return h.all.close()
}

// Done returns a channel that is closed when the hub has stopped, as [Room.Done] does.
func (h *Hub) Done() <-chan struct{} { return h.all.Done() }

// stopRooms has nothing ordered in any room from now on, and nobody enter.
func (h *Hub) stopRooms(state roomState) {
	h.mu.Lock()
	h.stops = true
	rooms := make([]*Room, 0, len(h.rooms))
	for _, hr := range h.rooms {
		h.occupiedLocked(hr)
		rooms = append(rooms, hr.room)
	}
	if state == roomClosed { // then none waits for its log
		for r := range h.totals.going {
			rooms = append(rooms, r)
		}
	}
	h.mu.Unlock()
	for _, r := range rooms {
		r.closeTo(state)
	}
}

// reapRooms says that the rooms have stopped, when nothing of the hub is left.
func (h *Hub) reapRooms() {
	h.all.closeLog()
	for _, r := range h.openRooms(false) { // without the lock: the Close of a log may take long
		r.wg.Wait() // which has nothing to wait for
		r.closeLog()
		r.closeDone()
	}
}
