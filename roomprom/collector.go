package roomprom

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/tcproom"
	"github.com/prometheus/client_golang/prometheus"
)

// A Collector is a [prometheus.Collector] of the rooms and hubs that were added to it.
// Use [New] to make one. Two collectors can be registered at one registry if their labels
// differ, see [prometheus.WrapRegistererWith].
//
// All methods may be called from many goroutines.
type Collector struct {
	cfg   config
	hooks *prometheus.HistogramVec
	descs []*prometheus.Desc
	total []*prometheus.Desc // by the index in families
	room  []*prometheus.Desc // as total
	hub   []*prometheus.Desc // by the index in hubFamilies

	leaves, roomLeaves, disconnects *prometheus.Desc

	mu    sync.Mutex // guards what follows; held while rooms are looked at, so that no sum is older than one before
	rooms []named
	hubs  []*tcproom.Hub
	past  counts // of what was taken out
}

// A named is a room with the value of its label; empty: it has no series of its own.
type named struct {
	name string
	room *tcproom.Room
}

// counts are sums over rooms and hubs.
type counts struct {
	total, hub          []float64 // by the index in families and hubFamilies
	leaves, disconnects map[tcproom.Cause]float64
}

func newCounts() counts {
	return counts{
		total: make([]float64, len(families)), hub: make([]float64, len(hubFamilies)),
		leaves: make(map[tcproom.Cause]float64), disconnects: make(map[tcproom.Cause]float64),
	}
}

// New returns a collector of nothing.
func New(opts ...Option) *Collector {
	c := &Collector{cfg: newConfig(opts), past: newCounts()}
	c.hooks = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "tcproom_hook_seconds", Help: "How long hooks ran.", Buckets: c.cfg.buckets,
	}, []string{"hook"})
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("tcproom_"+name, help, labels, nil)
		c.descs = append(c.descs, d)
		return d
	}
	for _, f := range families {
		c.total = append(c.total, desc(f.name, f.help))
		c.room = append(c.room, desc("room_"+f.name, f.help, "room"))
	}
	for _, f := range hubFamilies {
		c.hub = append(c.hub, desc("hub_"+f.name, f.help))
	}
	c.leaves = desc("leaves_total", "Members that are gone, by cause.", "cause")
	c.roomLeaves = desc("room_leaves_total", "Members that are gone, by cause.", "room", "cause")
	c.disconnects = desc("hub_disconnects_total", "Connections of a hub that are gone for good, by cause.", "cause")
	return c
}

// HookTimer returns the option of a room or hub that has its hooks timed, for
// tcproom_hook_seconds. One collector's may be an option of several.
func (c *Collector) HookTimer() tcproom.RoomOption {
	return tcproom.WithHookTimer(func(hook, _ string, took time.Duration) {
		c.hooks.WithLabelValues(hook).Observe(took.Seconds())
	})
}

// Add adds a room of [tcproom.New]. Its name is the value of the label "room"; if there
// is a room of that name already, or it is empty, the room counts in the totals alone.
// What is not UTF-8 in it is replaced. A room that was added already is not added again.
// Rooms of a hub come with [Collector.AddHub].
func (c *Collector) Add(name string, r *tcproom.Room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.rooms, func(n named) bool { return n.room == r }) {
		c.rooms = append(c.rooms, named{strings.ToValidUTF8(name, "\uFFFD"), r})
	}
}

// AddHub adds a hub with all of its rooms, present and future. They are told apart by
// their names; see [Collector.Add] for one that is there already. The room "*" of
// connections is not one of them: its counts are in the totals and in tcproom_hub_….
func (c *Collector) AddHub(h *tcproom.Hub) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.hubs, h) {
		c.hubs = append(c.hubs, h)
	}
}

// Remove takes out a room that Add added: one that has stopped, for example. What it has
// counted so far stays in the totals, so do not add it again: that would count twice. One
// that is not there is no error.
func (c *Collector) Remove(r *tcproom.Room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms = slices.DeleteFunc(c.rooms, func(n named) bool {
		if n.room == r {
			c.past.addRoom(&c.cfg, r)
			c.past.dropGauges()
		}
		return n.room == r
	})
}

// RemoveHub takes out a hub, as Remove does a room.
func (c *Collector) RemoveHub(h *tcproom.Hub) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hubs = slices.DeleteFunc(c.hubs, func(other *tcproom.Hub) bool {
		if other == h {
			c.past.addHub(&c.cfg, h)
			c.past.dropGauges()
		}
		return other == h
	})
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
	c.hooks.Describe(ch)
}

// Collect implements [prometheus.Collector]. It looks at each room once.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.collect() {
		ch <- m
	}
	c.hooks.Collect(ch)
}

func (c *Collector) collect() (list []prometheus.Metric) {
	emit := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		list = append(list, prometheus.MustNewConstMetric(d, t, v, labels...))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.toldApartLocked() {
		s := n.room.Stats()
		for i, f := range families {
			emit(c.room[i], f.kind, f.value(&s), n.name)
		}
		leaves := make(map[tcproom.Cause]float64)
		c.cfg.addCauses(leaves, s.Left)
		for cause, v := range leaves {
			emit(c.roomLeaves, prometheus.CounterValue, v, n.name, string(cause))
		}
	}
	sum := newCounts() // later than the rooms, so that no room has more than all together
	c.cfg.addCauses(sum.leaves, nil)
	sum.add(&c.past)
	for _, n := range c.rooms {
		sum.addRoom(&c.cfg, n.room)
	}
	for _, h := range c.hubs {
		sum.addHub(&c.cfg, h)
	}
	for i, f := range families {
		emit(c.total[i], f.kind, sum.total[i])
	}
	for cause := range c.cfg.causes {
		emit(c.leaves, prometheus.CounterValue, sum.leaves[cause], string(cause))
	}
	if len(c.hubs) == 0 && sum.hub[hubMade] == 0 {
		return list
	}
	for i, f := range hubFamilies {
		emit(c.hub[i], f.kind, sum.hub[i])
	}
	for cause := range c.cfg.causes {
		emit(c.disconnects, prometheus.CounterValue, sum.disconnects[cause], string(cause))
	}
	return list
}

// toldApartLocked returns the rooms that have series of their own. It keeps nothing from
// one call to the next.
func (c *Collector) toldApartLocked() []named {
	type candidate struct {
		named
		members int
	}
	seen := make(map[string]bool)
	var list []candidate
	add := func(name string, r *tcproom.Room) {
		if name != "" && !seen[name] && c.cfg.only(name) {
			seen[name] = true
			list = append(list, candidate{named{name, r}, r.Len()})
		}
	}
	for _, n := range c.rooms {
		add(n.name, n.room)
	}
	for _, h := range c.hubs {
		for name, r := range h.Rooms("") {
			add(name, r)
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.members, a.members), cmp.Compare(a.name, b.name))
	})
	list = list[:min(len(list), c.cfg.limit)]
	rooms := make([]named, len(list))
	for i := range list {
		rooms[i] = list[i].named
	}
	return rooms
}

func (s *counts) addRoom(cfg *config, r *tcproom.Room) {
	stats := r.Stats()
	for i, f := range families {
		s.total[i] = f.plus(s.total[i], f.value(&stats))
	}
	cfg.addCauses(s.leaves, stats.Left)
}

func (s *counts) addHub(cfg *config, h *tcproom.Hub) {
	stats, rooms, all := h.Stats(), h.Totals(), h.All().Stats()
	for i, f := range families {
		s.total[i] = f.plus(s.total[i], f.value(&rooms))
		if f.links {
			s.total[i] = f.plus(s.total[i], f.value(&all))
		}
	}
	for i, f := range hubFamilies {
		s.hub[i] += f.value(&stats, &all)
	}
	cfg.addCauses(s.leaves, rooms.Left)
	cfg.addCauses(s.disconnects, all.Left)
}

func (s *counts) add(o *counts) {
	for i, f := range families {
		s.total[i] = f.plus(s.total[i], o.total[i])
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
		if f.kind == prometheus.GaugeValue {
			s.total[i] = 0
		}
	}
	for i, f := range hubFamilies {
		if f.kind == prometheus.GaugeValue {
			s.hub[i] = 0
		}
	}
}

// addCauses adds up by cause. Those that are not the library's are one.
func (c *config) addCauses(sum map[tcproom.Cause]float64, left map[tcproom.Cause]uint64) {
	for cause, n := range left {
		if _, ok := c.causes[cause]; !ok {
			cause = otherCauses
		}
		sum[cause] += float64(n)
	}
}

var _ prometheus.Collector = (*Collector)(nil)
