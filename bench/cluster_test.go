//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tcproom"
)

// TestCluster runs each work about rooms with a log once, small.
func TestCluster(t *testing.T) {
	small := map[*work]int{logFloodWork: 20, logLatencyWork: 1, logRateWork: 48, nodesFloodWork: 20, logJoinsWork: 60, logMemoryWork: 20}
	needs := map[string][]string{ // of all others those of the first column alone
		"tcproom-nats": {lastP50, bareP50}, "tcproom-nats-file": {lastP50, bareP50},
		"tcproom-3nats": {messageRate, bareMessages, rateRatio, perRecord}, "tcproom-3nats-file": {messageRate, rateRatio},
	}
	for _, w := range clusterWorks {
		for _, name := range honestIn(w) {
			if w == nodeDownWork {
				continue // TestNodeDown
			}
			t.Run(w.name+"/"+name, func(t *testing.T) {
				r := &runner{options: options{window: 32, duration: shortly, quick: true}, server: oneCPU(t), all: mustAffinity(t)}
				got, err := w.measure(r, step{work: w, size: small[w], rep: 1, server: serverNamed(name)})
				if err != nil {
					t.Fatal(err)
				}
				want := []string{w.columns[0].metric}
				switch {
				case w == logLatencyWork || w == logRateWork:
					want = append(want, needs[name]...)
				case w == logMemoryWork && name == tcproomNATSServer.name:
					want = []string{quietLogBytes, quietLogOurs}
				case w == nodesFloodWork && serverNamed(name).engine != nil:
					want = append(want, enginePerDelivery)
				}
				for _, metric := range want {
					if v := got.metrics[metric]; !(v > 0) {
						t.Errorf("%s is %v", metric, v)
					}
				}
			})
		}
	}
}

// TestNodeDown kills a process with a few clients. It does not wait until the others know.
func TestNodeDown(t *testing.T) {
	w := nodeDown{members: 5, rate: 50, before: shortly, after: 5 * shortly}
	m, err := w.measure(tcproom3JSONServer.name, oneCPU(t))
	if err != nil {
		t.Fatal(err)
	}
	if m[resumed] != 5 || m[notResumed] != 0 || m[leavesTold] != 0 || m[eventsMissed] != 0 || m[eventsTwice] != 0 {
		t.Errorf("%v", m)
	}
}

// TestSurvivorNotices gives a client what it would be an error to get.
func TestSurvivorNotices(t *testing.T) {
	var s survivor
	for _, body := range []string{"1", "2", "2", "5", "4"} {
		s.heed(&tcproom.Event{Kind: tcproom.Message, Body: []byte(body)}, time.Time{})
	}
	s.heed(&tcproom.Event{Kind: tcproom.Leave}, time.Time{})
	if s.missed != 2 || s.twice != 2 || s.leaves != 1 || s.messages != 5 {
		t.Errorf("%+v", s)
	}
	w := nodeDown{}
	all := []survivor{{id: "a", welcomes: 2, outcome: "resumed", messages: 9}, {id: "b", welcomes: 2, outcome: "expired", messages: 10}, {id: "c", welcomes: 1, messages: 10}}
	m, err := w.verdict(all, 10, []string{"a", "b"})
	if m[resumed] != 1 || m[notResumed] != 1 || m[eventsMissed] != 1 || err == nil || !strings.Contains(err.Error(), `cut true, 2 welcomes, the last \"expired\"`) {
		t.Errorf("%v, %v", m, err)
	}
}

// TestClusterWorks has the works about logs asked for by one name, and not done otherwise.
func TestClusterWorks(t *testing.T) {
	var o options
	if err := o.choose("flood,"+clusterName, "tcproom", ""); err != nil || len(o.works) != 1+len(clusterWorks) {
		t.Errorf("%d works, %v", len(o.works), err)
	}
	if slices.Contains(usualWorks(), logFloodWork.name) || !slices.Contains(usualWorks(), floodWork.name) {
		t.Errorf("usually %v", usualWorks())
	}
}
