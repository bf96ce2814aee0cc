package roomnats_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
)

// A trio is a log on three servers, with a node at each of them at first.
type trio struct {
	servers *natstest.Servers
	logs    []tcproom.Log
	readers []*reader
}

func newTrio(t testing.TB) *trio {
	t.Helper()
	c := natstest.Cluster(t, 3)
	x := &trio{servers: c}
	for i := range 3 {
		var urls []string
		for j := range 3 {
			urls = append(urls, c.Server((i+j)%3).URL())
		}
		nc := dial(t, strings.Join(urls, ","), nats.DontRandomize())
		l := open(t, backplane(t, nc, roomnats.Replicas(3)), "lobby")
		x.logs, x.readers = append(x.logs, l), append(x.readers, begin(t, l))
	}
	return x
}

// speak appends without end at all nodes, until stop is closed. It returns what was
// answered, by node.
func (x *trio) speak(stop <-chan struct{}) []string {
	all := make(chan []string)
	for i, l := range x.logs {
		go func() {
			var done []string
			for n := 0; ; n++ {
				text := fmt.Sprintf("node %d: %d", i, n)
				if !persist(l, text, stop) {
					all <- done
					return
				}
				done = append(done, text)
				time.Sleep(2 * time.Millisecond) // a pace, so that the limits are far
			}
		}()
	}
	var done []string
	for range x.logs {
		done = append(done, <-all...)
	}
	return done
}

// persist appends, again while it is uncertain, and reports whether it was answered.
func persist(l tcproom.Log, text string, stop <-chan struct{}) bool {
	for {
		select {
		case <-stop:
			return false
		default:
		}
		if _, err := l.Append(context.Background(), text, []byte(text)); err == nil {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// during runs do while all nodes speak, and checks that all read the same then: what was
// answered, once, and of each node in its order.
func (x *trio) during(t testing.TB, do func()) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan []string, 1)
	go func() { done <- x.speak(stop) }()
	for _, r := range x.readers {
		r.await(t, 50)
	}
	do()
	var most int
	for _, r := range x.readers {
		texts, _, _ := r.got()
		most = max(most, len(texts))
	}
	for _, r := range x.readers {
		r.await(t, most+50)
	}
	close(stop)
	answered := <-done
	last := insist(t, x.logs[0], "last")
	var all []string
	for i, r := range x.readers {
		require.Eventually(t, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.pos >= last }, patience, time.Millisecond)
		texts, _, wrong := r.got()
		require.NoError(t, wrong)
		if i == 0 {
			all = texts
		}
		require.True(t, strings.Join(all, "\n") == strings.Join(texts, "\n"), "nodes 0 and %d read another order", i)
	}
	count := make(map[string]int)
	next := make(map[string]int)
	for _, text := range all {
		count[text]++
		if node, n, ok := strings.Cut(text, ": "); ok {
			require.Equal(t, fmt.Sprint(next[node]), n, "%s in its order", node)
			next[node]++
		}
	}
	for _, text := range answered {
		require.Equal(t, 1, count[text], text)
	}
}

// The server that orders the log restarts: a stall, and nothing is lost, doubled or in
// another order.
func TestLeaderRestarts(t *testing.T) {
	x := newTrio(t)
	x.during(t, func() { x.servers.Server(x.servers.Leader(stream)).Restart() })
}

// The server that orders the log is cut off from the others, and its clients go to those.
func TestLeaderIsCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for elections")
	}
	for name, how := range map[string]func(*natstest.Servers, int){"cut": (*natstest.Servers).Cut, "swallow": (*natstest.Servers).Swallow} {
		t.Run(name, func(t *testing.T) {
			x := newTrio(t)
			x.during(t, func() {
				old := x.servers.Leader(stream)
				how(x.servers, old)
				// The node at the lonely server goes on elsewhere while that is so.
				before, _, _ := x.readers[old].got()
				x.readers[old].await(t, len(before)+100)
				x.servers.Heal(old)
			})
		})
	}
}

// Clients lose one server after the other.
func TestClientsAreCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	x := newTrio(t)
	x.during(t, func() {
		for i := range 3 {
			x.servers.Clients(i).Swallow()
			before, _, _ := x.readers[i].got()
			x.readers[i].await(t, len(before)+100)
			x.servers.Clients(i).Heal()
		}
	})
}
