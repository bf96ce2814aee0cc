package natstest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Servers are those of a [Cluster]. Its methods may not be called from several goroutines
// at once.
type Servers struct {
	t       testing.TB
	servers []*Server
	clients []*Forwarder // in front of each server
	routes  [][2]int     // the servers at the ends of each of paths
	paths   []*Forwarder // between two servers
}

// Cluster starts n servers that replicate, and stops them when the test ends. It returns
// when they have a leader and can make streams. With fewer than 3 they do not outlive the
// loss of one.
func Cluster(t testing.TB, n int, opts ...Option) *Servers {
	t.Helper()
	if n < 2 {
		t.Fatalf("natstest: a cluster of %d servers: use Solo for one", n)
	}
	c := &Servers{t: t}
	all := make([]*server.Options, n)
	for i := range all {
		o := options(t, fmt.Sprintf("server-%d", i))
		o.Cluster = server.ClusterOpts{
			Name: "natstest", Host: "127.0.0.1", Port: freePort(t), PoolSize: -1, NoAdvertise: true,
			// Servers tell each other where the others are, and would go round the
			// forwarders: nothing listens there.
			Advertise: "127.0.0.1:1",
		}
		all[i] = o
	}
	for i := range all {
		var urls []string
		for j := i + 1; j < n; j++ {
			f := Forward(t, fmt.Sprintf("127.0.0.1:%d", all[j].Cluster.Port))
			c.routes, c.paths = append(c.routes, [2]int{i, j}), append(c.paths, f)
			urls = append(urls, f.URL())
		}
		all[i].Routes = server.RoutesFromStr(strings.Join(urls, ","))
	}
	for _, o := range all {
		s := newServer(t, o, opts)
		f := Forward(t, s.Addr())
		s.url = f.URL()
		c.servers, c.clients = append(c.servers, s), append(c.clients, f)
	}
	for _, s := range c.servers {
		s.begin()
	}
	c.Ready()
	return c
}

// Len returns how many servers there are.
func (c *Servers) Len() int { return len(c.servers) }

// Server returns one of them; the first is 0.
func (c *Servers) Server(i int) *Server { return c.servers[i] }

// URL returns what nats.Connect takes, with all servers in it, each through the forwarder
// of its clients.
func (c *Servers) URL() string {
	urls := make([]string, len(c.servers))
	for i, s := range c.servers {
		urls[i] = s.url
	}
	return strings.Join(urls, ",")
}

// Conn returns a connection to one of the servers, which goes to another one if that is
// lost, and is closed when the test ends.
func (c *Servers) Conn(opts ...nats.Option) *nats.Conn {
	c.t.Helper()
	return connect(c.t, c.URL(), opts)
}

// Ready waits until all servers that run have found their leader and have caught up with
// it, and it knows that they are there. They must be able to reach each other.
func (c *Servers) Ready() {
	c.t.Helper()
	c.await("the servers have no leader that all follow", func() bool {
		running, known := 0, 0
		for _, s := range c.servers {
			if s.running == nil {
				continue
			}
			running++
			if !s.running.ReadyForConnections(time.Second) || !s.running.JetStreamIsCurrent() {
				return false
			}
			if s.running.JetStreamIsLeader() {
				known = len(s.running.JetStreamClusterPeers())
			}
		}
		return known >= running
	})
}

// Leader waits until one of the servers that run leads a stream of the account that is
// used without accounts, and returns which. For a bucket called b the stream is "KV_b".
// While servers are cut off from each other there may be two: it returns the first of
// them.
func (c *Servers) Leader(stream string) int {
	c.t.Helper()
	leader := -1
	c.await(fmt.Sprintf("stream %q has no leader", stream), func() bool {
		for i, s := range c.servers {
			if s.running != nil && s.running.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

func (c *Servers) await(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(startTimeout); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("natstest: after %v %s", startTimeout, what)
		}
	}
}

// Cut cuts the connections between server i and the other servers, see [Forwarder.Cut].
// Its clients stay.
func (c *Servers) Cut(i int) { c.each(i, (*Forwarder).Cut) }

// Swallow lets nothing through between server i and the other servers, see
// [Forwarder.Swallow]. Its clients stay.
func (c *Servers) Swallow(i int) { c.each(i, (*Forwarder).Swallow) }

// Heal undoes Cut and Swallow of server i.
func (c *Servers) Heal(i int) { c.each(i, (*Forwarder).Heal) }

func (c *Servers) each(i int, do func(*Forwarder)) {
	for n, ends := range c.routes {
		if ends[0] == i || ends[1] == i {
			do(c.paths[n])
		}
	}
}

// Clients returns the forwarder in front of server i, which breaks the connections of its
// clients.
func (c *Servers) Clients(i int) *Forwarder { return c.clients[i] }
