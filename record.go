package tcproom

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"example.com/tcproom/internal/fanout"
)

// Records have one form: what happened, in the past tense, then whom it happened to, by
// the keys of about, then what is special.

// report logs a record of the kind, unless there were too many of it.
func (r *Room) report(l *slog.Logger, level slog.Level, kind string, burst int, msg string, args ...any) {
	ctx := context.Background()
	if !l.Enabled(ctx, level) {
		return
	}
	unlogged, ok := r.logs.allow(kind, burst)
	if !ok {
		return
	}
	if unlogged > 0 {
		args = append(args, "unlogged", unlogged)
	}
	l.Log(ctx, level, "tcproom: "+msg, args...)
}

// report logs a record of l's: about its member in the room in.
func (l *link) report(level slog.Level, kind string, in *Room, msg string, args ...any) {
	if l.cfg.logger.Enabled(context.Background(), level) {
		l.room.report(l.cfg.logger, level, kind, logBurst, msg, append(l.about(in), args...)...)
	}
}

// about returns the attributes by which records name the member of l in the room in.
func (l *link) about(in *Room) []any {
	args := make([]any, 0, 16)
	if id := l.id(); id != "" {
		args = append(args, "id", id)
	}
	if name := l.name(); name != "" {
		args = append(args, "name", name)
	}
	args = append(args, "addr", addrString(l.RemoteAddr()))
	if in.isNamed() {
		args = append(args, "room", in.name)
	}
	return args
}

func addrString(a net.Addr) string {
	if a != nil {
		return a.String()
	}
	return ""
}

// endLevel is that of the record of an end; only one in order is for debugging.
func endLevel(cause error) slog.Level {
	switch {
	case cause == error(errLeft), cause == error(errMoved), errors.Is(cause, ErrRoomClosed), errors.Is(cause, net.ErrClosed):
		return slog.LevelDebug
	case errors.Is(cause, ErrHook):
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// logEnd logs how l ended.
func (l *link) logEnd(cause error, code Cause, joined, stays bool) {
	msg := "left"
	switch {
	case !joined:
		msg = "refused"
	case stays:
		msg = "lost"
	}
	level := endLevel(cause)
	args := []any{"cause", cause}
	if joined && level > slog.LevelDebug {
		args = append(args, l.stream.behind(l.cur)...)
	}
	l.report(level, msg+" "+string(code), l.room, msg, args...)
}

// logBegin logs that the member of s has joined, or resumed.
func (s *stream) logBegin(msg string) {
	s.link.report(slog.LevelDebug, msg, s.room, msg)
}

// logLeft logs that the member of s, which belongs to a connection of a hub, has left
// its room.
func (s *stream) logLeft() {
	cause := s.member.Err()
	s.link.report(endLevel(cause), "left "+string(s.member.leftBy()), s.room, "left", "cause", cause)
}

// behind returns attributes that say what the connection of s, whose cursor is cur, has
// not taken, and what holds it up: none if nothing does.
func (s *stream) behind(cur *fanout.Cursor) (args []any) {
	if cur != nil {
		missed, waited := cur.Missed()+s.link.sink.Unwritten(), cur.Waited()
		if missed > 0 {
			args = append(args, "missed", missed)
		}
		if waited > 0 {
			args = append(args, "waited", waited/time.Millisecond*time.Millisecond)
		}
	}
	if hook := s.link.running.hook(); hook != noHook {
		args = append(args, "hook", hookNames[hook])
	}
	return args
}

// LogValue returns what is to be known of m if something is wrong with it, as a group of
// attributes: its id and name, the address of its connection, its room in a hub and its
// state, which is "joining", "present", "detached" or "gone". If they are not zero these
// follow: how many events its connection has not taken ("missed"), for how long that has
// been taking nothing ("waited"), and the hook that runs for it ("hook"). It does not
// block.
func (m *Member) LogValue() slog.Value {
	m.room.mu.Lock()
	s, state := m.at.Load(), m.state
	cur := s.cur
	m.room.mu.Unlock()
	args := append(s.link.about(m.room), "state", state.String())
	args = append(args, s.behind(cur)...)
	group := slog.Group("", args...)
	return slog.GroupValue(group.Value.Group()...)
}
