package tcproom

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"example.com/tcproom/internal/fold"
)

// Names, bans and direct messages in a hub whose rooms have logs.

// renameByLog is Rename. The log of "*" decides the name, and the process to which the
// connection is made has the other rooms follow.
func (h *Hub) renameByLog(m *Member, name string) error {
	if m.room.hub != h {
		return fmt.Errorf("%w: of no room of this hub", ErrNotMember)
	}
	if err := h.all.checkName(h.all.callPlain, name); err != nil {
		return err
	}
	pr := m.presenceNow()
	if pr != nil {
		addr := pr.base.addr()
		for _, m := range pr.all() {
			if err := m.room.banned(name, addr); err != nil {
				return err
			}
		}
	}
	if err := h.all.orderName(m.Info().ID, name); err != nil {
		return err
	}
	if pr != nil {
		pr.followNames()
	}
	return nil
}

// followNames has all memberships take the name of their connection.
func (pr *presence) followNames() {
	for _, m := range pr.all() {
		m.followName()
	}
}

// orderName has it ordered in "*" that the member has that name.
func (r *Room) orderName(id, name string) error {
	p := r.pass(context.Background(), nil)
	defer p.end()
	m := r.memberLocked(id)
	switch {
	case m == nil || !m.state.in():
		return ErrNotMember
	case m.Name() == name:
		return nil
	}
	_, err := p.submitOne(&fold.Entry{Kind: fold.Rename, ID: id, Name: name, Unique: r.cfg.unique}, false)
	switch err {
	case error(ErrNameTaken):
		return fmt.Errorf("%w: %q", ErrNameTaken, name)
	case error(ErrBanned):
		return cmpErr(r.banned(name, m.addr()), err)
	}
	return err
}

// followNameByLog is followName for a member that has not the name of its connection.
func (m *Member) followNameByLog() {
	m.presence.far.names <- struct{}{} // no mutex, for it is held while the log answers
	defer func() { <-m.presence.far.names }()
	if banned := m.orderNamesByLog(m.addr()); banned != nil {
		m.kickPart(banned, ErrBanned)
	}
}

// orderNamesByLog is orderNames.
func (m *Member) orderNamesByLog(addr netip.Addr) (banned error) {
	p := m.room.pass(context.Background(), nil)
	defer p.end()
	for m.state.in() && !m.Remote() {
		was, is := m.Info(), m.presence.base.Info()
		if was == is {
			return nil
		}
		if err := m.room.banned(is.Name, addr); err != nil {
			return err
		}
		_, err := p.submitOne(&fold.Entry{Kind: fold.Rename, ID: was.ID, Name: is.Name}, false)
		switch {
		case err == error(ErrBanned):
			return err
		case err != nil || m.Info() == was: // it has left, or the room stops
			return nil
		}
	}
	return nil
}

// renamed gives a member another name.
func (p *pass) renamed(res *fold.Result) {
	r, e := p.r, res.Entry
	if r.hub == nil || r.isNamed() {
		p.place(&Event{Kind: Renamed, From: MemberInfo{ID: e.ID, Name: res.OldName}, Body: []byte(e.Name)}, res.Seq)
	}
	who := infoOf(res.Member)
	m := r.members.byID(e.ID)
	if m == nil {
		if m = r.replica.far[e.ID]; m != nil {
			m.who.Store(&who)
		}
		return
	}
	r.freeNameLocked(m)
	m.who.Store(&who)
	r.takeNameLocked(m)
	pr := m.presenceNow()
	if pr == nil || pr.base != m {
		return
	}
	r.hub.all.wg.Add(1)
	go pr.followNamesSoon() // who had it ordered may be another process, or not have known of this connection
}

// followNamesSoon is followNames as a goroutine of the hub's. It ends with it.
func (pr *presence) followNamesSoon() {
	defer pr.base.room.wg.Done()
	pr.followNames()
}

// tellByLog is Tell to a connection that is made to another process.
func (h *Hub) tellByLog(ctx context.Context, from, to *Member, body []byte) error {
	if most := h.all.cfg.conn.maxMessage; len(body) > most {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrFrameTooLarge, len(body), most)
	}
	e := &fold.Entry{Kind: fold.Direct, ID: to.Info().ID, Body: body, Service: true}
	if from != nil {
		e.From, e.Service = from.Info().ID, from.Remote()
	}
	p := h.all.pass(ctx, nil)
	defer p.end()
	_, err := p.submitOne(e, false)
	if err == error(ErrNotMember) {
		return fmt.Errorf("%w: %s", errRecipient, quotePeer(to.Info().ID))
	}
	return err
}

// noteBansLocked has the room's bans, which its log has, known to who has not its lock.
func (r *Room) noteBansLocked() {
	rp := r.replica
	list := []Ban{}
	for _, b := range rp.state.Bans(rp.state.Time()) {
		list = append(list, Ban{Room: r.banRoom(), Name: b.Name, Addr: b.Prefix, Until: b.Until, Reason: b.Reason})
	}
	rp.ofHub.bans.Store(&list)
}

// banRoom returns the Room of a Ban in r's log.
func (r *Room) banRoom() string {
	if r.isNamed() {
		return r.name
	}
	return ""
}

// bansNow returns the bans that are in the room's log.
func (r *Room) bansNow() []Ban {
	if list := r.replica.ofHub.bans.Load(); list != nil {
		return *list
	}
	return nil
}

// bannedByLog is banned by what is in the room's own log.
func (r *Room) bannedByLog(name string, addr netip.Addr) error {
	for _, b := range r.bansNow() {
		if b.matches(r.name, name, addr, time.Now()) {
			return &banError{b.Reason}
		}
	}
	return nil
}

// bansByLog is Bans.
func (h *Hub) bansByLog(now time.Time) (list []Ban) {
	rooms := []*Room{h.all}
	for _, r := range h.Rooms("") {
		rooms = append(rooms, r)
	}
	for _, r := range rooms {
		for _, b := range r.bansNow() {
			if b.Until.IsZero() || now.Before(b.Until) {
				list = append(list, b)
			}
		}
	}
	return list
}

// kickCause returns why a member leaves that is kicked: perhaps it is so because of a ban.
func (p *pass) kickCause(res *fold.Result) error {
	if p.r.hub != nil {
		if err := p.r.banned(res.Member.Name, res.Member.Addr); err != nil {
			return err
		}
	}
	return &kickError{res.Entry.Text}
}

// banByLog is Ban.
func (h *Hub) banByLog(b *Ban) (put int, err error) {
	ctx := context.Background()
	r, done, err := h.openFor(ctx, b.Room)
	if err != nil {
		return 0, err
	}
	defer done()
	if put, err = r.orderBan(ctx, b, false); err != nil || b.Room != "" {
		return put, err
	}
	for _, r := range h.Rooms("") { // of those that are about to leave with their connections
		if _, err := r.putOutByLog(ctx, b); err != nil && !r.isStopping() {
			return put, err
		}
	}
	return put, nil
}

// unbanByLog is Unban.
func (h *Hub) unbanByLog(b *Ban) bool {
	ctx := context.Background()
	r, done, err := h.openFor(ctx, b.Room)
	if err != nil {
		return false
	}
	defer done()
	was := false
	for _, o := range r.bansNow() {
		was = was || o.isSame(b) && (o.Until.IsZero() || time.Now().Before(o.Until))
	}
	_, err = r.orderBan(ctx, b, true)
	return was && err == nil
}

// openFor returns the room of that name, or that of all connections if it is empty, when
// its log is known to the end. It is not removed before done.
func (h *Hub) openFor(ctx context.Context, name string) (r *Room, done func(), err error) {
	r, done = h.all, func() {}
	if name != "" {
		hr, err := h.acquire(ctx, nil, name, true)
		if err != nil {
			return nil, nil, err
		}
		r, done = hr.room, func() { h.unpin(hr) }
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.maxOutage, ErrUnavailable)
	defer cancel()
	if err := r.replica.becomeReady(ctx, true); err != nil {
		done()
		return nil, nil, err
	}
	return r, done, nil
}

// orderBan has a ban ordered, or its end, and then the leaves of the members whom it
// matches: of those that come later none is let in.
func (r *Room) orderBan(ctx context.Context, b *Ban, lift bool) (put int, err error) {
	p := r.pass(ctx, nil)
	_, err = p.submitOne(&fold.Entry{Kind: fold.Ban, Name: b.Name, Prefix: b.Addr, Until: b.Until, Text: b.Reason, Lift: lift}, false)
	p.end()
	if err != nil || lift {
		return 0, err
	}
	return r.putOutByLog(ctx, b)
}

// putOutByLog has the leaves ordered of the members whom b matches, and returns how many
// there were.
func (r *Room) putOutByLog(ctx context.Context, b *Ban) (put int, err error) {
	p := r.pass(ctx, nil)
	defer p.end()
	for {
		c := newCall()
		for m := range r.replica.state.Members() {
			if b.matches(r.name, m.Name, m.Addr, p.now) && len(c.ends) < fold.MaxEntries {
				c.add(&fold.Entry{Kind: fold.Kick, ID: m.ID, Text: b.Reason})
			}
		}
		if len(c.ends) == 0 {
			return put, nil
		}
		if err := p.submit(c, false); err != nil {
			return put, err
		}
		for _, o := range c.outcomes {
			if o.err == nil {
				put++
			} else if o.err != error(ErrNotMember) {
				return put, o.err
			}
		}
	}
}
