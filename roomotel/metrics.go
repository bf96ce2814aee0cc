package roomotel

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/tcproom"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// The keys of attributes, of measurements and of spans.
const (
	roomKey  = attribute.Key("tcproom.room")
	causeKey = attribute.Key("tcproom.cause")
	hookKey  = attribute.Key("tcproom.hook")
)

// Metrics are the instruments of the rooms and hubs that were added. Use [New] to make
// them. All methods may be called from many goroutines.
type Metrics struct {
	cfg          config
	hooks        metric.Float64Histogram
	registration metric.Registration

	total, room []metric.Int64Observable // by the index in families
	hub         []metric.Int64Observable // by the index in hubFamilies

	leaves, roomLeaves, disconnects metric.Int64Observable
	slowest, roomSlowest            metric.Float64Observable

	mu    sync.Mutex // guards what follows; held while rooms are looked at, so that no sum is older than one before
	rooms []named
	hubs  []*tcproom.Hub
	past  counts // of what was taken out
}

// A named is a room with the value of its attribute; empty: it is not told apart.
type named struct {
	name string
	room *tcproom.Room
}

// counts are sums over rooms and hubs.
type counts struct {
	total, hub          []int64 // by the index in families and hubFamilies
	slowest             time.Duration
	leaves, disconnects map[tcproom.Cause]int64
}

func newCounts() counts {
	return counts{
		total: make([]int64, len(families)), hub: make([]int64, len(hubFamilies)),
		leaves: make(map[tcproom.Cause]int64), disconnects: make(map[tcproom.Cause]int64),
	}
}

// New makes the instruments, with nothing in them, and has meter call back to observe
// them, which looks at each room once. The error is meter's.
func New(meter metric.Meter, opts ...Option) (*Metrics, error) {
	m := &Metrics{cfg: newConfig(opts), past: newCounts()}
	var errs []error
	var all []metric.Observable
	note := func(o metric.Observable, err error) {
		all = append(all, o)
		errs = append(errs, err)
	}
	observable := func(k kind, name, unit, help string) metric.Int64Observable {
		o, err := k.observable(meter, "tcproom."+name, unit, help)
		note(o, err)
		return o
	}
	for _, f := range families {
		m.total = append(m.total, observable(f.kind, f.name, f.unit, f.help))
		m.room = append(m.room, observable(f.kind, "room."+f.name, f.unit, f.help))
	}
	for _, f := range hubFamilies {
		m.hub = append(m.hub, observable(f.kind, "hub."+f.name, f.unit, f.help))
	}
	const gone = "Members that are gone, by cause."
	m.leaves = observable(counter, "leaves", "{member}", gone)
	m.roomLeaves = observable(counter, "room.leaves", "{member}", gone)
	m.disconnects = observable(counter, "hub.disconnects", "{connection}", "Connections of a hub that are gone for good, by cause.")
	slowest := func(name string) metric.Float64Observable {
		o, err := meter.Float64ObservableGauge("tcproom."+name, metric.WithUnit("s"),
			metric.WithDescription("For how long the member that has waited longest has been waiting; 0: nobody waits."))
		note(o, err)
		return o
	}
	m.slowest, m.roomSlowest = slowest("slowest"), slowest("room.slowest")
	var err error
	m.hooks, err = meter.Float64Histogram("tcproom.hook", metric.WithUnit("s"),
		metric.WithDescription("How long hooks ran."), metric.WithExplicitBucketBoundaries(buckets...))
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	if m.registration, err = meter.RegisterCallback(m.observe, all...); err != nil {
		return nil, err
	}
	return m, nil
}

// Close ends the observation. A second Close does nothing. The error is the SDK's.
func (m *Metrics) Close() error { return m.registration.Unregister() }

// HookTimer returns the option of a room or hub that has its hooks timed, for
// tcproom.hook. It may be an option of several.
func (m *Metrics) HookTimer() tcproom.RoomOption {
	return tcproom.WithHookTimer(func(hook, _ string, took time.Duration) {
		m.hooks.Record(context.Background(), took.Seconds(), metric.WithAttributeSet(attribute.NewSet(hookKey.String(hook))))
	})
}

// Add adds a room of [tcproom.New]. Its name is the value of the attribute tcproom.room;
// if there is a room of that name already, or it is empty, the room counts in the totals
// alone. What is not UTF-8 in it is replaced. A room that was added already is not added
// again. Rooms of a hub come with [Metrics.AddHub].
func (m *Metrics) Add(name string, r *tcproom.Room) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.ContainsFunc(m.rooms, func(n named) bool { return n.room == r }) {
		m.rooms = append(m.rooms, named{strings.ToValidUTF8(name, "\uFFFD"), r})
	}
}

// AddHub adds a hub with all of its rooms, present and future. They are told apart by
// their names; see [Metrics.Add] for one that is there already. The room "*" of
// connections is not one of them: its counts are in the totals and in tcproom.hub.….
func (m *Metrics) AddHub(h *tcproom.Hub) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.hubs, h) {
		m.hubs = append(m.hubs, h)
	}
}

// Remove takes out a room that Add added: one that has stopped, for example. What it has
// counted so far stays in the totals, so do not add it again: that would count twice. One
// that is not there is no error.
func (m *Metrics) Remove(r *tcproom.Room) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rooms = slices.DeleteFunc(m.rooms, func(n named) bool {
		if n.room == r {
			m.past.addRoom(&m.cfg, r)
			m.past.dropGauges()
		}
		return n.room == r
	})
}

// RemoveHub takes out a hub, as Remove does a room.
func (m *Metrics) RemoveHub(h *tcproom.Hub) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hubs = slices.DeleteFunc(m.hubs, func(other *tcproom.Hub) bool {
		if other == h {
			m.past.addHub(&m.cfg, h)
			m.past.dropGauges()
		}
		return other == h
	})
}

// observe is what meter calls.
func (m *Metrics) observe(_ context.Context, o metric.Observer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.toldApartLocked() {
		s := n.room.Stats()
		room := roomKey.String(n.name)
		set := metric.WithAttributeSet(attribute.NewSet(room))
		for i, f := range families {
			o.ObserveInt64(m.room[i], f.value(&s), set)
		}
		o.ObserveFloat64(m.roomSlowest, s.SlowestFor.Seconds(), set)
		leaves := make(map[tcproom.Cause]int64)
		m.cfg.addCauses(leaves, s.Left)
		for cause, v := range leaves {
			o.ObserveInt64(m.roomLeaves, v, metric.WithAttributes(room, causeKey.String(string(cause))))
		}
	}
	sum := newCounts() // later than the rooms, so that no room has more than all together
	sum.add(&m.past)
	for _, n := range m.rooms {
		sum.addRoom(&m.cfg, n.room)
	}
	for _, h := range m.hubs {
		sum.addHub(&m.cfg, h)
	}
	for i := range families {
		o.ObserveInt64(m.total[i], sum.total[i])
	}
	o.ObserveFloat64(m.slowest, sum.slowest.Seconds())
	byCause := func(of metric.Int64Observable, counts map[tcproom.Cause]int64) {
		for cause := range m.cfg.causes {
			o.ObserveInt64(of, counts[cause], metric.WithAttributes(causeKey.String(string(cause))))
		}
	}
	byCause(m.leaves, sum.leaves)
	if len(m.hubs) == 0 && sum.hub[hubMade] == 0 {
		return nil
	}
	for i := range hubFamilies {
		o.ObserveInt64(m.hub[i], sum.hub[i])
	}
	byCause(m.disconnects, sum.disconnects)
	return nil
}

// toldApartLocked returns the rooms that are told apart. It keeps nothing from one call
// to the next.
func (m *Metrics) toldApartLocked() []named {
	type candidate struct {
		named
		members int
	}
	seen := make(map[string]bool)
	var list []candidate
	add := func(name string, r *tcproom.Room) {
		if name != "" && !seen[name] && m.cfg.only(name) {
			seen[name] = true
			list = append(list, candidate{named{name, r}, r.Len()})
		}
	}
	for _, n := range m.rooms {
		add(n.name, n.room)
	}
	for _, h := range m.hubs {
		for name, r := range h.Rooms("") {
			add(name, r)
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.members, a.members), cmp.Compare(a.name, b.name))
	})
	list = list[:min(len(list), m.cfg.limit)]
	rooms := make([]named, len(list))
	for i := range list {
		rooms[i] = list[i].named
	}
	return rooms
}

func (s *counts) addRoom(cfg *config, r *tcproom.Room) {
	stats := r.Stats()
	for i, f := range families {
		s.total[i] = f.kind.plus(s.total[i], f.value(&stats))
	}
	s.slowest = max(s.slowest, stats.SlowestFor)
	cfg.addCauses(s.leaves, stats.Left)
}

func (s *counts) addHub(cfg *config, h *tcproom.Hub) {
	stats, rooms, all := h.Stats(), h.Totals(), h.All().Stats()
	for i, f := range families {
		s.total[i] = f.kind.plus(s.total[i], f.value(&rooms))
		if f.links {
			s.total[i] = f.kind.plus(s.total[i], f.value(&all))
		}
	}
	for i, f := range hubFamilies {
		s.hub[i] += f.value(&stats, &all)
	}
	s.slowest = max(s.slowest, rooms.SlowestFor, all.SlowestFor)
	cfg.addCauses(s.leaves, rooms.Left)
	cfg.addCauses(s.disconnects, all.Left)
}

func (s *counts) add(o *counts) {
	for i, f := range families {
		s.total[i] = f.kind.plus(s.total[i], o.total[i])
	}
	for i, v := range o.hub {
		s.hub[i] += v
	}
	for cause, v := range o.leaves {
		s.leaves[cause] += v
	}
	for cause, v := range o.disconnects {
		s.disconnects[cause] += v
	}
}

// dropGauges leaves what only grows.
func (s *counts) dropGauges() {
	for i, f := range families {
		if f.kind != counter {
			s.total[i] = 0
		}
	}
	for i, f := range hubFamilies {
		if f.kind != counter {
			s.hub[i] = 0
		}
	}
	s.slowest = 0
}

// addCauses adds up by cause. Those that are not the library's are one.
func (c *config) addCauses(sum map[tcproom.Cause]int64, left map[tcproom.Cause]uint64) {
	for cause, n := range left {
		if _, ok := c.causes[cause]; !ok {
			cause = otherCauses
		}
		sum[cause] += int64(n)
	}
}
