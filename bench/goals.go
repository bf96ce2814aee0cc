//go:build linux

package main

import (
	"fmt"
	"math"
)

// A goal is what this library's value may at most be, by another server's in
// the same run or, without one, as it is.
type goal struct {
	work   *work
	size   int
	metric string
	by     *server // nil: the value itself
	atMost float64
}

// goals are what was aimed at before it was measured.
var goals = func() (list []goal) {
	against := func(w *work, metric string, sizes []int, relay, gnet, nats, hub float64) {
		for _, size := range sizes {
			for _, g := range []goal{
				{w, size, metric, relayServer, relay}, {w, size, metric, gnetServer, gnet},
				{w, size, metric, natsServer, nats}, {w, size, metric, hubServer, hub},
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
	list = append(list, goal{idleWork, 10_000, rssIdle, nil, 4000})
	against(stormWork, cpuPerJoin, []int{10_000}, 1.15, 1.05, 0.25, 0.8)
	return append(list, goal{stallWork, 1000, stallRatio, nil, 1.25})
}()

// reached returns the value and whether it is as it should be; not ok where the
// run has not measured it.
func (g goal) reached(r *results) (v float64, reached, ok bool) {
	if g.by == nil {
		s := r.find(g.work.name, g.size, tcproomServer.name)
		if s == nil {
			return 0, false, false
		}
		v, ok = s.Median[g.metric]
	} else {
		s := r.find(g.work.name, g.size, g.by.name)
		if s == nil {
			return 0, false, false
		}
		v, ok = s.Ratio[g.metric]
	}
	return v, v <= g.atMost, ok && !math.IsNaN(v)
}

// goalTable is empty where a run measured none of them.
func (r *results) goalTable() []table {
	t := table{title: "Goals", about: "This library's figure by another server's in the same run, or as it is, and what it may be at most.",
		head: []string{"work", "size", "figure", "by", "is", "may be", ""}}
	missed, all := 0, 0
	for _, g := range goals {
		v, reached, ok := g.reached(r)
		if !ok {
			continue
		}
		by, mark := "–", "reached"
		if g.by != nil {
			by = g.by.name
		}
		if all++; !reached {
			mark = "missed"
			missed++
		}
		t.rows = append(t.rows, []string{g.work.name, fmt.Sprint(g.size), g.metric, by, fmt.Sprintf("%.3g", v), fmt.Sprintf("%g", g.atMost), mark})
	}
	if all == 0 {
		return nil
	}
	t.notes = []string{fmt.Sprintf("%d of %d reached", all-missed, all)}
	return []table{t}
}
