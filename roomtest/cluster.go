package roomtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"example.com/tcproom"
)

// A Cluster is one room in several nodes on one [Log] in memory. In a service each node
// is a process, and the log an engine beside them. It is for a service's test on several
// nodes:
//
//	c := roomtest.NewCluster(t, 3, politeRoom()...) // the service's options
//	ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
//	c.Crash(1)
//	bob = c.Room(2).Resume(bob)
//	ada.Send("still there?")
//	bob.Await(roomtest.Message("ada", "still there?"))
//	c.Verify()
//
// It works in a bubble of testing/synctest, where leases and graces run out at once, and
// outside. Create it inside the bubble. Its nodes end with the test, as every [Server]
// does. Methods that take the number of a node count from 0; Room, Delay, Cut, Heal,
// Uncertain and Backplane may be called from many goroutines, and all others are for the
// goroutine of the test. None may be called when the test has ended.
type Cluster struct {
	// Log is the engine, for what Cluster has no method for. Its room is [ClusterRoom].
	Log *Log

	t    testing.TB
	opts []tcproom.RoomOption

	mu    sync.Mutex // guards what follows; never held while anything waits
	nodes []*node
	lives []*node // all that there ever were, those of nodes that were restarted too
}

// ClusterRoom is the name of a [Cluster]'s room in its [Log].
const ClusterRoom = "room"

// A node is the life of one of a cluster's nodes.
type node struct {
	b    *Backplane
	s    *Server
	down bool
}

// NewCluster starts n nodes on a log of its own, as [Log.Cluster] does.
func NewCluster(t testing.TB, n int, opts ...tcproom.RoomOption) *Cluster {
	t.Helper()
	return NewLog().Cluster(t, n, opts...)
}

// Cluster starts n nodes of one room on l, one after the other, and returns when all of
// them are ready, or ends the test. Each is a server as of [NewMemServer] with opts; the
// cluster adds [tcproom.WithLog]. Use it for a log with other limits:
//
//	c := roomtest.NewLog(func(caps *tcproom.Caps) { caps.Records = 100 }).Cluster(t, 3)
//
// It has to be the only cluster on l.
func (l *Log) Cluster(t testing.TB, n int, opts ...tcproom.RoomOption) *Cluster {
	t.Helper()
	c := &Cluster{Log: l, t: t, opts: opts}
	l.keepAll(ClusterRoom)
	for range n {
		life := c.start()
		c.mu.Lock()
		c.nodes = append(c.nodes, life)
		c.mu.Unlock()
	}
	return c
}

// start starts a node, and waits until it is ready.
func (c *Cluster) start() *node {
	c.t.Helper()
	n := &node{b: c.Log.Attach()}
	log, err := n.b.Open(context.Background(), ClusterRoom)
	if err != nil {
		c.t.Fatalf("roomtest: a node cannot start: %v", err)
	}
	c.t.Cleanup(func() { n.b.Close() })
	n.s = NewMemServer(c.t, append(c.opts[:len(c.opts):len(c.opts)], tcproom.WithLog(log))...)
	c.t.Cleanup(func() { c.heal(n) }) // before the server ends
	c.mu.Lock()
	c.lives = append(c.lives, n)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), n.s.patience())
	defer cancel()
	if err := n.s.Room.Ready(ctx); err != nil {
		c.t.Fatalf("roomtest: a node does not get ready within %v: %v", n.s.patience(), err)
	}
	return n
}

// node returns the life of node i, or ends the test.
func (c *Cluster) node(i int) *node {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if i < 0 || i >= len(c.nodes) {
		c.t.Fatalf("roomtest: there is no node %d: nodes are 0 to %d", i, len(c.nodes)-1)
	}
	return c.nodes[i]
}

// Room returns the server that node i is: its members are those who are connected to that
// node, and its Room knows those of all. After [Cluster.Restart] it is another one.
// [Server.Resume] has a member of one node go on at another.
//
// [Server.Transcript] is the order as this node has read it.
func (c *Cluster) Room(i int) *Server {
	c.t.Helper()
	return c.node(i).s
}

// Backplane returns the connection of node i to the log, for faults that Cluster has no
// method for, such as [Backplane.Stall].
func (c *Cluster) Backplane(i int) *Backplane {
	c.t.Helper()
	return c.node(i).b
}

// Delay lets what goes from node i to the log, and what comes back, arrive d later, see
// [Backplane.Delay].
func (c *Cluster) Delay(i int, d time.Duration) {
	c.t.Helper()
	c.node(i).b.Delay(d)
}

// Cut cuts node i from the log, until Heal, see [Backplane.Cut]. Its members stay
// connected to it.
func (c *Cluster) Cut(i int) {
	c.t.Helper()
	c.node(i).b.Cut()
}

// Heal ends what keeps node i from the log, but for a delay, see [Backplane.Heal].
func (c *Cluster) Heal(i int) {
	c.t.Helper()
	c.node(i).b.Heal()
}

// Uncertain lets the next append of node i have no answer, see [Backplane.Uncertain].
func (c *Cluster) Uncertain(i int, f Fate) {
	c.t.Helper()
	c.node(i).b.Uncertain(f)
}

// Trim drops the n oldest records of the log, see [Log.Trim].
func (c *Cluster) Trim(n int) { c.Log.Trim(ClusterRoom, n) }

// Replace puts an empty log in the place of the one that there was, see [Log.Replace].
func (c *Cluster) Replace() { c.Log.Replace(ClusterRoom) }

// Rollback drops the n newest records of the log, see [Log.Rollback].
func (c *Cluster) Rollback(n int) { c.Log.Rollback(ClusterRoom, n) }

// Crash ends node i as the end of its process does: its connections break without a
// goodbye, nothing of it goes to the log any more, and its lease runs out. Nobody can
// connect to it until Restart. It ends the test if the node is down.
//
// In one respect it is no crash: hooks that run go on, and OnLeave is called for those who
// were in, because goroutines cannot be killed.
func (c *Cluster) Crash(i int) {
	c.t.Helper()
	n := c.bringDown(i, "Crash")
	n.b.Cut()
	n.s.die()
	n.s.Room.Close()
	n.b.Close()
}

// Shutdown ends node i in good order, see [tcproom.Room.Shutdown], and fails the test if
// that returns an error. Nobody can connect to it until Restart. It ends the test if the
// node is down.
func (c *Cluster) Shutdown(i int, opts ...tcproom.StopOption) {
	c.t.Helper()
	n := c.bringDown(i, "Shutdown")
	ctx, cancel := context.WithTimeout(context.Background(), n.s.patience())
	defer cancel()
	if err := n.s.Room.Shutdown(ctx, opts...); err != nil {
		c.t.Errorf("roomtest: Shutdown of node %d: %v", i, err)
	}
	n.s.dead.Store(true)
	n.b.Close()
}

// bringDown notes that node i, which runs, does not any more.
func (c *Cluster) bringDown(i int, method string) *node {
	c.t.Helper()
	n := c.node(i)
	if n.down {
		c.t.Fatalf("roomtest: %s: node %d is down already", method, i)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n.down = true
	return n
}

// Restart starts node i again, after Crash or Shutdown, without faults, and returns its
// server when it is ready. It ends the test if the node is not down.
func (c *Cluster) Restart(i int) *Server {
	c.t.Helper()
	if !c.node(i).down {
		c.t.Fatalf("roomtest: Restart: node %d runs; use Crash or Shutdown before", i)
	}
	life := c.start()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[i] = life
	return life.s
}

// heal ends all faults of a node's connection to the log.
func (c *Cluster) heal(n *node) {
	n.b.Delay(0)
	n.b.Heal()
}

// die breaks all connections of s, and refuses new ones.
func (s *Server) die() {
	s.dead.Store(true)
	s.Listener.Refuse(true)
	s.mu.Lock()
	var conns []*Conn
	for c := range s.served {
		conns = append(conns, c.Conn)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.Reset()
	}
}
