//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A goal is what this library's value may at most be: by another server's in
// the same run; by its own at a smaller size, and then so may those between;
// or as it is.
type goal struct {
	of     *server // tcproomServer, or another one that is this library
	work   *work
	size   int
	metric string
	by     *server // nil: no other server's
	from   int     // the smaller size; 0: none
	atMost float64
}

// growthBound is how many times as much something may cost at a greater size.
const growthBound = 1.5

// goals are what was aimed at before it was measured.
var goals = func() (list []goal) {
	against := func(w *work, metric string, sizes []int, relay, gnet, nats, hub float64) {
		for _, size := range sizes {
			for _, g := range []goal{
				{tcproomServer, w, size, metric, relayServer, 0, relay}, {tcproomServer, w, size, metric, gnetServer, 0, gnet},
				{tcproomServer, w, size, metric, natsServer, 0, nats}, {tcproomServer, w, size, metric, hubServer, 0, hub},
			} {
				if g.atMost > 0 {
					list = append(list, g)
				}
			}
		}
	}
	against(floodWork, cpuPerDelivery, []int{10, 100}, 1.15, 1, 0.4, 0.5)
	against(floodWork, cpuPerDelivery, []int{1000}, 1.15, 0.9, 0.2, 0.45)
	against(floodWork, cpuPerDelivery, []int{10_000}, 1.15, 0.6, 0.03, 0.05)
	against(flood1kWork, cpuPerDelivery, []int{100}, 1.1, 1, 0.5, 0.3)
	against(flood1kWork, cpuPerDelivery, []int{10_000}, 1.1, 1, 0.05, 0.1)
	against(chatWork, cpuPerDelivery, []int{10, 100, 1000}, 1.2, 0.9, 0.7, 0.8)
	against(paced10Work, lastP99, []int{10_000}, 1.15, 0.6, 0.2, 0.55)
	against(overloadWork, lastP50, []int{10_000}, 1.1, 0.6, 0, 0)
	against(idleWork, rssIdle, []int{10_000}, 0, 0, 0.08, 0.3)
	list = append(list, goal{tcproomServer, idleWork, 10_000, rssIdle, nil, 0, 4000})
	against(stormWork, cpuPerJoin, []int{10_000}, 1.15, 1.05, 0.25, 0.8)
	list = append(list, webGoals()...)
	list = append(list, hubGoals()...)
	list = append(list, clusterGoals()...)
	return append(list,
		goal{tcproomJSONServer, floodWork, 1000, cpuPerDelivery, tcproomServer, 0, 1.6},
		goal{tcproomServer, stallWork, 1000, stallRatio, nil, 0, 1.25},
		goal{tcproomServer, floodWork, 10_000, cpuPerDelivery, nil, 10, growthBound},
		goal{tcproomServer, flood1kWork, 10_000, cpuPerDelivery, nil, 10, growthBound},
		goal{tcproomServer, roomsWork, 1000, cpuPerDelivery, nil, 1, growthBound},
		goal{tcproomServer, receiveWork, 10_000, cpuPerMessage, nil, 10, growthBound},
	)
}()

// hubGoals are those of named rooms.
func hubGoals() (list []goal) {
	for _, size := range []int{10, 100, 1000} {
		list = append(list,
			goal{tcproomHubServer, floodWork, size, cpuPerDelivery, tcproomServer, 0, 1.05},
			goal{tcproomHubServer, chatWork, size, cpuPerDelivery, tcproomServer, 0, 1.05})
	}
	return append(list,
		goal{tcproomHubServer, roomsWork, 1000, cpuPerDelivery, tcproomServer, 0, 0.8},
		goal{tcproomHubServer, besideWork, 10_000, cpuPerDelivery, nil, 1, 1.1},
		goal{tcproomHubServer, quietRoomsWork, 2000, quietRoomBytes, nil, 0, 1200},
		goal{tcproomHubServer, quietRoomsWork, 2000, roomGoroutines, nil, 0, 0.001},
		goal{tcproomHubServer, quietRoomsWork, 2000, roomDescriptors, nil, 0, 0.001},
		goal{tcproomHubServer, quietRoomsWork, 2000, membershipBytes, nil, 0, 600},
		goal{tcproomIn10Server, inRoomsWork, 1000, cpuPerDelivery, tcproomIn1Server, 0, 1.3},
		goal{tcproomHubServer, mixedWork, 10_000, mixedRatio, nil, 0, 2},
		goal{tcproomHubServer, moveWork, 20_000, moveRatio, nil, 0, 1.3},
		goal{tcproomTogetherServer, noticesWork, 1000, cpuPerJoin, tcproomNoticesServer, 0, 0.1},
	)
}

// webGoals are those of the servers by which members come over HTTP.
func webGoals() (list []goal) {
	add := func(of *server, w *work, size int, metric string, by *server, atMost float64) {
		list = append(list, goal{of, w, size, metric, by, 0, atMost})
	}
	add(wsServer, floodWork, 1000, cpuPerDelivery, tcproomServer, 1.15)
	for _, peer := range []*server{coderServer, gwsServer, gorillaServer, melodyServer, nodeWSServer} {
		add(wsServer, floodWork, 1000, cpuPerDelivery, peer, 0.03)
	}
	add(sseServer, floodWork, 1000, cpuPerDelivery, wsServer, 1.2)
	add(wsServer, chatWork, 1000, cpuPerDelivery, tcproomServer, 1.3)
	add(wsServer, pacedWork, 1000, lastP50, tcproomServer, 1.15)
	add(wsServer, idleWork, 10_000, rssIdleFreed, nil, 3000)
	add(wsServer, idleWork, 10_000, rssIdleFreed, tcproomServer, 1.25)
	add(wsServer, idleWork, 10_000, goroutines, nil, 0.001) // a few serve them all
	add(wsServer, stormWork, 10_000, cpuPerJoin, tcproomServer, 2.2)
	add(wssServer, tlsWork, 100, cpuPerDelivery, tcproomServer, 1.1)
	return list
}

// reached returns the value and whether it is as it should be; not ok where the
// run has not measured it.
func (g goal) reached(r *results) (v float64, reached, ok bool) {
	switch {
	case g.by != nil:
		v, ok = r.ratio(g)
	case g.from > 0:
		v, ok = g.growth(r)
	default:
		v, ok = r.own(g.of, g.work, g.size, g.metric)
	}
	return v, v <= g.atMost, ok && !math.IsNaN(v)
}

// ratio is the median of the ratios within each repetition.
func (r *results) ratio(g goal) (v float64, ok bool) {
	var list []float64
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Work != g.work.name || s.Size != g.size || s.Server != g.of.name || s.Error != "" {
			continue
		}
		if by := sameRep(r.Samples, s, g.by.name)[g.metric]; by != 0 {
			list = append(list, s.Metrics[g.metric]/by)
		}
	}
	return median(list), len(list) > 0
}

// growth is the most at any of the sizes beyond from, up to size, by what it is
// at from.
func (g goal) growth(r *results) (v float64, ok bool) {
	least, ok := r.own(g.of, g.work, g.from, g.metric)
	if _, full := r.own(g.of, g.work, g.size, g.metric); !ok || !full || least <= 0 {
		return 0, false
	}
	for _, size := range r.sizesOf(g.work) {
		if here, ok := r.own(g.of, g.work, size, g.metric); ok && g.from < size && size <= g.size {
			v = max(v, here/least)
		}
	}
	return v, true
}

// own is the server's median.
func (r *results) own(s *server, w *work, size int, metric string) (v float64, ok bool) {
	if s := r.find(w.name, size, s.name); s != nil {
		v, ok = s.Median[metric]
	}
	return v, ok
}

// due says whether a run should have measured what the goal is about.
func (g goal) due(r *results) bool {
	has := func(s *server) bool {
		return slices.ContainsFunc(r.Samples, func(m sample) bool { return m.Work == g.work.name && m.Size == g.size && m.Server == s.name })
	}
	return has(g.of) && (g.by == nil || has(g.by)) && g.from == 0
}

// limited says whether the load generator was the limit of either side.
func (g goal) limited(r *results) bool {
	return slices.ContainsFunc(r.Samples, func(m sample) bool {
		return m.Work == g.work.name && m.Size == g.size && (m.Server == g.of.name || g.by != nil && m.Server == g.by.name) &&
			(slices.Contains(m.Notes, generatorLimit) || slices.Contains(m.Notes, generatorLimitBusy))
	})
}

// sizes names those at which it is judged.
func (g goal) sizes() string {
	if g.from > 0 {
		return fmt.Sprintf("to %d", g.size)
	}
	return strconv.Itoa(g.size)
}

// figure names what is judged.
func (g goal) figure() string {
	if g.of != tcproomServer {
		return g.metric + " of " + g.of.name
	}
	return g.metric
}

// against names what the value is by.
func (g goal) against() string {
	switch {
	case g.by != nil:
		return g.by.name
	case g.from > 0:
		return fmt.Sprintf("itself at %d", g.from)
	}
	return "–"
}

// goalTable is empty where a run measured none of them.
func (r *results) goalTable() []table {
	t := table{title: "Goals", about: "This library's figure (tcproom's, unless another is named) by another server's in the same run, as it is, or by its own at the smallest size (the greatest of all larger sizes), and what it may be at most.",
		head: []string{"work", "size", "figure", "by", "is", "may be", ""}}
	missed, all := 0, 0
	var limited []string
	for _, g := range goals {
		v, reached, ok := g.reached(r)
		if !ok && !g.due(r) {
			continue
		}
		is, mark := strconv.FormatFloat(v, 'g', 3, 64), "reached"
		if v >= 100 {
			is = digits(0)(v)
		}
		if all++; !reached || !ok {
			mark = "missed"
			missed++
		}
		if !ok {
			is, mark = "–", "not measured"
		}
		if at := fmt.Sprintf("%s %d", g.work.name, g.size); g.limited(r) && !slices.Contains(limited, at) {
			limited = append(limited, at)
		}
		t.rows = append(t.rows, []string{g.work.name, g.sizes(), g.figure(), g.against(), is, fmt.Sprintf("%g", g.atMost), mark})
	}
	if all == 0 {
		return nil
	}
	t.notes = []string{fmt.Sprintf("%d of %d reached", all-missed, all)}
	if len(limited) > 0 {
		t.notes = append(t.notes, "the load generator was the limit of one side or both: "+strings.Join(limited, ", "))
	}
	return []table{t}
}
