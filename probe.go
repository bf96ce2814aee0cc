package tcproom

import (
	"context"

	"example.com/tcproom/internal/probe"
)

// A probeOption is what package roomtest puts into both ends.
type probeOption struct{ probe.Probe }

func (o probeOption) applyRoom(c *roomConfig) {
	if o.Next == nil {
		o.Next = c.probe.Next
	}
	c.probe = o.Probe
}
func (o probeOption) applyHub(c *hubConfig)   { c.template = append(c.template, o) }
func (o probeOption) applyDial(c *dialConfig) { c.probe = o.Probe }

func init() {
	probe.Option = func(p probe.Probe) any { return probeOption{p} }
	probe.Queued = func(c any) int64 { return c.(*Conn).sink.Queued() }
	probe.Closing = func(c any) bool { return c.(*Conn).closing.Load() }
	probe.Link = func(m any) interface{ Err() error } { return m.(*Member).conn() }
	probe.Fold = func(room any) (pos, sum uint64) { return room.(*Room).foldSum() }
	probe.Tell = func(ctx context.Context, m any, body []byte) error { return m.(*Member).send(ctx, MemberInfo{}, body) }
}

// foldSum is probe.Fold.
func (r *Room) foldSum() (pos, sum uint64) {
	if r.replica == nil {
		return 0, 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.replica.state.Pos(), r.replica.state.Sum()
}
