package tcproom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"example.com/tcproom/internal/ledger"
)

// Say orders body as a message of from, which is no member, such as a webhook or a
// user of another protocol, and returns its place in the order. Every member receives
// it. [OnMessage] is not called for it, as for Post and Broadcast.
//
// from needs an ID of 1 to 64 visible ASCII characters, which should be its own for
// ever, and a name that a member could have. They may be those of a member, in whose
// name it then speaks: that member receives the message too.
//
// It blocks like [Room.Broadcast], and keeps nothing of body. Beside the errors of
// Broadcast it returns [ErrNameInvalid] for the name and for the ID; [ErrNameTaken] if
// the ID is that of a member with another name or, in a room with [WithUniqueNames],
// the name that of a member with another ID, in a hub of any connection; [ErrMuted] and
// [ErrBanned] if that is so of somebody with that ID or name; and a [*HookError] if the
// function of [WithNameValidator] panics. A member's name is taken from before its OnJoin
// to its leave. With an error, but one that wraps [ErrUncertain], the message is not in
// the order.
func (r *Room) Say(ctx context.Context, from MemberInfo, body []byte) (seq uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	if err := r.checkGuest(from); err != nil {
		return 0, err
	}
	if r.isNamed() { // whose names are the hub's
		if err := r.hub.all.mayBe(from); err != nil {
			return 0, err
		}
	}
	p := r.pass(ctx, nil)
	defer p.end()
	if err := p.sayAllHeld(); err != nil {
		return 0, err
	}
	p.guest = from
	p.nameSpeaker()
	return p.say(body)
}

// checkGuest applies the rules for IDs and names that do not depend on who is there.
func (r *Room) checkGuest(from MemberInfo) error {
	if !isID(from.ID) {
		return fmt.Errorf("%w: the ID is not 1 to %d visible ASCII characters: %s", ErrNameInvalid, maxIDBytes, quotePeer(from.ID))
	}
	return r.checkName(r.callPlain, from.Name)
}

func isID(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return id != "" && len(id) <= maxIDBytes
}

func (r *Room) mayBe(guest MemberInfo) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mayBeLocked(guest)
}

// mayBeLocked says whether guest, if it is not zero, may speak while the members are
// those of now.
func (r *Room) mayBeLocked(guest MemberInfo) error {
	if guest == (MemberInfo{}) {
		return nil
	}
	if m := r.memberLocked(guest.ID); m != nil && m.Info() != guest {
		return fmt.Errorf("%w: the ID %q is that of %q", ErrNameTaken, guest.ID, m.Info().Name)
	}
	if who, ok := r.bearerLocked(guest.Name); ok && who != guest {
		return fmt.Errorf("%w: %q", ErrNameTaken, guest.Name)
	}
	if r.isMutedLocked(guest, time.Now()) {
		return ErrMuted
	}
	return r.banned(guest.Name, netip.Addr{})
}

// bearerLocked returns the member with that name, if names are unique. The names of a
// hub are those of connections, whose lock is not to be taken under r's.
func (r *Room) bearerLocked(name string) (who MemberInfo, ok bool) {
	s := r.listed()
	switch m := r.names[name]; {
	case m != nil:
		return m.Info(), true
	case !r.cfg.unique && !(r.isNamed() && r.hub.all.cfg.unique):
	case s != nil:
		if of := s.Named(name); of != nil {
			return infoOf(of), true
		}
	case r.isNamed():
		for m := r.members.first; m != nil; m = m.next {
			if m.Name() == name {
				return m.Info(), true
			}
		}
	}
	return MemberInfo{}, false
}

// callPlain calls a hook of the user's that no connection's goroutine waits for. A
// panic becomes the error.
func (r *Room) callPlain(hook uint64, fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			e := &HookError{Hook: hookNames[hook], Panic: v, Stack: stack()}
			err = e
			r.report(r.cfg.conn.logger, slog.LevelError, e.Hook, logBurst, "hook failed", "hook", e.Hook, "cause", e, "stack", string(e.Stack))
		}
	}()
	if err = fn(); err != nil {
		_ = err.Error() // which may panic too
	}
	return err
}

// MemberByToken returns the member that token, the Token of its welcome, would resume,
// see [WithSessions]: it has a connection or may come back. A token that names none, or
// not any more, is no error. In a room with a log the member may be [Member.Remote]. It
// does not block.
func (r *Room) MemberByToken(token Secret) (*Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.byTokenLocked(token)
	return m, m != nil
}

// PostNumbered is Post of a message that has a number among those that m's client gives,
// see docs/wire.md: numbers rise, over all connections and calls. A number that was
// taken is not ordered again: the seq is that of its message, or 0 if this has none or
// the room does not know it any more. So a call whose answer was lost can be repeated,
// also over m's own connection. Zero means that it has no number.
//
// While [OnMessage] has the message of the same number from m's own connection, or one
// of a smaller number and one of a greater that were read with it, it waits until that
// is settled; in that hook it may therefore wait until ctx ends.
//
// Beside the errors of Post it returns one that wraps [errors.ErrUnsupported] if m has
// no session here, because its room or its codec has none, or because it is
// [Member.Remote].
func (m *Member) PostNumbered(ctx context.Context, number uint64, body []byte) (seq uint64, err error) {
	if number == 0 {
		return m.Post(ctx, body)
	}
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	p := m.room.pass(ctx, m)
	defer p.end()
	if taken, ok, err := p.awaitNumber(number); ok || err != nil {
		return taken.Seq, err
	}
	taken, err := p.sayOnce(number, body)
	return taken.Seq, err
}

// awaitNumber waits until it is known whether a number of p.from is free, and returns
// what it was taken for if it is not.
func (p *pass) awaitNumber(number uint64) (taken ledger.Taken, ok bool, err error) {
	for {
		if err := p.sayAllHeld(); err != nil {
			return taken, false, err
		}
		if err := p.may(); err != nil {
			return taken, false, err
		}
		s := p.from.session
		if s == nil {
			return taken, false, fmt.Errorf("tcproom: messages of %q have no numbers: it has no session: %w", p.from.Info().Name, errors.ErrUnsupported)
		}
		if taken, ok := p.from.find(number); ok {
			return taken, true, nil
		}
		if number < s.inHook.First || number > s.inHook.Last {
			return taken, false, nil
		}
		s.queued++
		err := p.await(p.r.group.Progress(), time.Time{})
		if s.queued--; err != nil {
			return taken, false, err
		}
	}
}
