package roomnats_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
	"example.com/tcproom/roomtest"
)

// A trio is a log on three servers, with a node at each of them at first, and a room in
// another log there with a member at each node.
type trio struct {
	servers *natstest.Servers
	logs    []tcproom.Log
	readers []*reader
	rooms   []*roomtest.Server
	members []*roomtest.Member
}

func newTrio(t testing.TB, opts ...roomnats.Option) *trio {
	t.Helper()
	c := natstest.Cluster(t, 3)
	x := &trio{servers: c}
	for i := range 3 {
		var urls []string
		for j := range 3 {
			urls = append(urls, c.Server((i+j)%3).URL())
		}
		nc := dial(t, strings.Join(urls, ","), nats.DontRandomize())
		b := backplane(t, nc, append(opts[:len(opts):len(opts)], roomnats.Replicas(3))...)
		l := open(t, b, "lobby")
		x.logs, x.readers = append(x.logs, l), append(x.readers, begin(t, l))
		srv := roomtest.NewMemServer(t, tcproom.WithLog(open(t, b, "hall")))
		srv.Within(patience)
		ready(t, srv)
		x.rooms, x.members = append(x.rooms, srv), append(x.members, srv.Join(fmt.Sprint("member", i)))
	}
	for _, m := range x.members[:2] {
		m.Await(roomtest.Joined("member2"))
	}
	return x
}

// chat has the members say numbers until stop is closed, and returns how many each has
// said.
func (x *trio) chat(stop <-chan struct{}) (said []int) {
	said = make([]int, len(x.members))
	var all sync.WaitGroup
	for i, m := range x.members {
		all.Go(func() {
			for ; ; said[i]++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
					m.SendAsync(fmt.Sprint(said[i]))
				}
			}
		})
	}
	all.Wait()
	return said
}

// chatted checks that all members got what each has said, in one order, and nothing else:
// that they had to wait is all that they know of.
func (x *trio) chatted(t testing.TB, said []int) {
	t.Helper()
	var orders [][]string
	for i, srv := range x.rooms {
		var order []string
		require.Eventually(t, func() bool {
			order = nil
			for _, ev := range srv.Transcript().Events() {
				if ev.Kind == tcproom.Message {
					order = append(order, fmt.Sprintf("%d %s %s", ev.Seq, ev.From.Name, ev.Body))
				}
			}
			return len(order) >= said[0]+said[1]+said[2]
		}, patience, 10*time.Millisecond)
		orders = append(orders, order)
		require.True(t, slices.Equal(orders[0], order), "nodes 0 and %d have another order", i)
	}
	for i, m := range x.members {
		m.Sync()
		m.Refute(roomtest.Any(tcproom.Leave, tcproom.Gap, tcproom.Goodbye))
		var got []string
		for _, ev := range m.Events() {
			if ev.Kind == tcproom.Message {
				got = append(got, fmt.Sprintf("%d %s %s", ev.Seq, ev.From.Name, ev.Body))
			}
		}
		var others, own []string
		for _, line := range orders[0] {
			if strings.Contains(line, " "+m.Name()+" ") {
				own = append(own, line[strings.LastIndex(line, " ")+1:])
			} else {
				others = append(others, line)
			}
		}
		require.True(t, slices.Equal(others, got), "%s got %d messages of %d", m.Name(), len(got), len(others))
		require.Equal(t, numbered("", 0, said[i]), own)
	}
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

// during runs do while all nodes and members speak, and checks that all read the same
// then: what was answered, once, and of each node in its order.
func (x *trio) during(t testing.TB, do func()) {
	t.Helper()
	stop, done, chatted := make(chan struct{}), make(chan []string, 1), make(chan []int, 1)
	go func() { done <- x.speak(stop) }()
	go func() { chatted <- x.chat(stop) }()
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
	x.chatted(t, <-chatted)
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
	if testing.Short() {
		t.Skip("waits for elections")
	}
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

// A node that is cut off from all servers is taken for dead. Its members wait. When it is
// back it takes them back, but for one that has gone meanwhile: that leaves when grace is
// over, and not before.
func TestNodeIsCutOff(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for leases")
	}
	const lease, grace = 2 * time.Second, 3 * time.Second
	for name, how := range map[string]func(*natstest.Forwarder){"cut": (*natstest.Forwarder).Cut, "swallow": (*natstest.Forwarder).Swallow} {
		t.Run(name, func(t *testing.T) {
			c := natstest.Cluster(t, 3)
			var ways []*natstest.Forwarder // those of node 1
			var at []*roomtest.Server
			for i := range 3 {
				var urls []string
				for j := range 3 {
					way := natstest.Forward(t, c.Server(j).Addr())
					if urls = append(urls, way.URL()); i == 1 {
						ways = append(ways, way)
					}
				}
				at = append(at, newNode(t, dial(t, strings.Join(urls, ",")), settings{
					log:  []roomnats.Option{roomnats.Replicas(3), roomnats.Lease(lease)},
					room: []tcproom.RoomOption{tcproom.WithSessions(tcproom.Sessions{Grace: grace}), tcproom.WithMaxOutage(25 * time.Second)},
				}))
			}
			was := nodeOf(t, at[1])
			ada, bob, cy := at[0].Join("ada"), at[1].Join("bob"), at[1].Join("cy")
			ada.Await(roomtest.Joined("cy"))
			bob.Await(roomtest.Joined("cy"))
			for _, way := range ways {
				how(way)
			}
			cy.Link.Reset()
			ada.Send("are you there?")
			remote, ok := at[0].Room.Member(bob.Welcome.From.ID)
			require.True(t, ok)
			var alive time.Time // the others have not yet taken it for dead
			require.Eventually(t, func() bool {
				now, err := time.Now(), remote.Send(t.Context(), []byte("psst"))
				if err == nil {
					alive = now
				}
				return errors.Is(err, tcproom.ErrDetached)
			}, patience, 50*time.Millisecond)
			for _, way := range ways {
				way.Heal()
			}
			bob.Await(roomtest.Message("ada", "are you there?"))
			bob.Send("I am")
			ada.Await(roomtest.Message("bob", "I am"))
			left := ada.Await(roomtest.Left("cy"))
			require.GreaterOrEqual(t, left.Time.Sub(alive), grace)
			require.NotEqual(t, was, nodeOf(t, at[1]))
			ada.RefuteFor(3*grace/2, roomtest.Left("bob"))
			for _, srv := range at {
				require.Equal(t, 1, leaves(srv, "cy"))
				require.Equal(t, 2, srv.Room.Len())
			}
		})
	}
}

// A server that is cut off from the others answers from the past. That is no verdict: a
// tail from what it does not know ends in doubt, and a member there is told nothing.
func TestStaleServer(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for elections")
	}
	const long = 2 * time.Minute // than all that is waited for here: nobody is taken for dead
	x := newTrio(t, roomnats.Lease(long))
	old := x.servers.Leader(stream)
	lonely := backplane(t, dial(t, x.servers.Server(old).URL()), roomnats.Replicas(3), roomnats.Lease(long))
	l, srv := open(t, lonely, "lobby"), roomtest.NewMemServer(t, tcproom.WithLog(open(t, lonely, "hall")), tcproom.WithMaxOutage(long))
	srv.Within(patience)
	ready(t, srv)
	dan := srv.Join("dan")
	for _, m := range x.members {
		m.Await(roomtest.Joined("dan"))
	}
	before := insist(t, x.logs[0], "before")
	texts, _, err := read(t, l, before, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"before"}, texts)
	x.servers.Cut(old)
	away := (old + 1) % 3
	doubts := 0
	for range 3 {
		pos := insist(t, x.logs[away], fmt.Sprint("news ", doubts))
		doubt(t, l, pos)
		doubts++
	}
	x.members[away].Send("news")
	dan.RefuteFor(0, roomtest.Any(tcproom.Message))
	x.servers.Heal(old)
	dan.Expect(roomtest.Message(x.members[away].Name(), "news"))
	dan.Send("old news")
	x.members[away].Await(roomtest.Message("dan", "old news"))
}
