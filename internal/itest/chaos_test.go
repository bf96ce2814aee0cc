package itest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

var historyDir = flag.String("history", "", "where to write the histories of runs; without it those of runs that fail go to the system's directory for temporary files")

// TestChaos has 80 clients, or 200 in a long run, join, talk, stall, leave and be
// kicked, over TCP, TLS, a network in memory and pipes, in two framings, while their
// links lag, chop, stall, lose and break, under each policy in turn, and holds what
// all of them saw against P1 to P8.
func TestChaos(t *testing.T) {
	for _, policy := range []tcproom.SlowPolicy{tcproom.Disconnect, tcproom.Skip, tcproom.Block(100 * time.Millisecond)} {
		t.Run(policy.String(), func(t *testing.T) {
			if long() {
				runChaos(t, testkit.Dense, policy, 200, 20*time.Second, 600*time.Millisecond)
			} else {
				runChaos(t, testkit.Dense, policy, 80, time.Second, 100*time.Millisecond)
			}
		})
	}
	t.Run("notices together", func(t *testing.T) {
		runChaos(t, testkit.Dense, tcproom.Skip, 80, time.Second, 100*time.Millisecond, tcproom.WithNoticesTogether(50*time.Millisecond))
	})
	t.Run("sparse", func(t *testing.T) {
		runChaos(t, testkit.Sparse, tcproom.Skip, 80, time.Second, 100*time.Millisecond)
	})
}

const (
	chaosBody   = 4 << 10 // bytes of the largest body
	chaosBuffer = 32 << 10
)

// A chaos is one room and what is done to it.
type chaos struct {
	room    *tcproom.Room
	rec     *recorder
	window  *window
	network roomtest.Network
	places  []place
	stop    chan struct{} // closed when no new life shall begin
	pause   time.Duration // about the longest that a client thinks before it speaks
	mortal  bool          // nobody stays until the stop
	clients sync.WaitGroup
	watched chan struct{} // closed when the observer has ended
	ended   error         // then: why
}

// A place is an address of a room, and how it speaks there.
type place struct {
	addr string
	mem  bool
	opts []tcproom.DialOption
}

func runChaos(t *testing.T, s testkit.Seqs, policy tcproom.SlowPolicy, people int, lasts, pause time.Duration, opts ...tcproom.RoomOption) {
	requireNoneLeft(t)
	c := newChaos(t, s, policy, pause, opts...)
	c.begin(t, people)
	select {
	case <-time.After(lasts): // how long they do it
	case <-c.watched:
		t.Error("the observer ended too early")
	}
	c.finish(t)
	stats := c.room.Stats()
	t.Logf("%d connections, %d records; %d messages, %d skipped, left: %v",
		c.rec.clients, len(c.rec.history), stats.Messages, stats.Skipped, stats.Left)
	requireSound(t, c.rec.history)
	require.NotZero(t, stats.Messages)
	if long() {
		for _, cause := range []tcproom.Cause{tcproom.Cause("left"), tcproom.ErrKicked, tcproom.Cause("reset"), tcproom.Cause("cut-off"), tcproom.ErrRoomClosed} {
			require.NotZero(t, stats.Left[cause], cause)
		}
		require.NotZero(t, stats.Left[tcproom.ErrSlow]+stats.Skipped, "nobody was ever slow")
	}
}

func newChaos(t *testing.T, s testkit.Seqs, policy tcproom.SlowPolicy, pause time.Duration, opts ...tcproom.RoomOption) *chaos {
	t.Helper()
	stop := make(chan struct{})
	c := &chaos{rec: &recorder{}, window: newWindow(64, stop), stop: stop, watched: make(chan struct{}), pause: pause}
	c.open(t, policy, append(slices.Clone(opts), s.Option()))
	if len(opts) > 0 {
		c.rec.add(record{Op: opTogether})
	}
	if s == testkit.Sparse {
		c.rec.add(record{Client: 1, Op: opSparse})
	}
	return c
}

// begin starts the observer, and people that live.
func (c *chaos) begin(t *testing.T, people int) {
	t.Helper()
	number := c.rec.dial()
	observer, err := c.room.Join(t.Context(), tcproom.Identity{})
	require.NoError(t, err)
	go func() {
		defer close(c.watched)
		c.ended = c.watch(observer, number, c.window.seen)
		_ = observer.Close()
	}()
	for i := range people {
		c.clients.Go(func() { c.live(uint64(i)) })
	}
	c.clients.Go(c.announce)
}

// finish stops everything in good order. It fails the test and goes on, so that
// the history can be looked at.
func (c *chaos) finish(t *testing.T) {
	t.Helper()
	close(c.stop)
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	err := c.room.Shutdown(ctx)
	c.clients.Wait()
	<-c.watched
	if c.ended != nil {
		t.Errorf("the observer, who was to see everything, ended with: %v", c.ended)
	}
	if stopped := (*tcproom.StopError)(nil); err != nil && (!errors.As(err, &stopped) || stopped.Err != nil || len(stopped.Stuck) > 0) {
		t.Errorf("Shutdown: %v", err)
	}
}

// open makes the room and lets people in by four doors.
func (c *chaos) open(t *testing.T, policy tcproom.SlowPolicy, opts []tcproom.RoomOption) {
	c.room = tcproom.New(append(append(c.rec.hooks(), opts...),
		tcproom.WithCodec(lean{}), tcproom.WithMaxMessage(chaosBody), tcproom.WithBacklog(384<<10),
		tcproom.WithHistory(tcproom.History{Messages: 20}), tcproom.WithSlowMembers(policy),
		tcproom.WithWriteTimeout(5*time.Second),
		tcproom.WithSocketBuffers(chaosBuffer, chaosBuffer))...)
	web := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	json := tcproom.WithCodec(lean{})
	length := tcproom.WithFraming(tcproom.Length{})
	mem, err := c.network.Listen("")
	require.NoError(t, err)
	c.places = []place{
		{opts: []tcproom.DialOption{json}},
		{opts: []tcproom.DialOption{json, length}},
		{opts: []tcproom.DialOption{json, tcproom.WithTLS(&tls.Config{RootCAs: roots})}},
		{opts: []tcproom.DialOption{json}, mem: true, addr: mem.Addr().String()},
	}
	c.places[0].addr = serve(t, c.room)
	c.places[1].addr = serve(t, c.room, length)
	c.places[2].addr = serve(t, c.room, tcproom.WithTLS(&tls.Config{Certificates: web.TLS.Certificates}))
	serveOn(t, c.room, mem)
}

// announce has the room itself send much at once now and then, until the stop: more
// than a member that does not read may lag behind.
func (c *chaos) announce() {
	rnd := rand.New(rand.NewPCG(0, 0))
	for n := 0; c.wait(rnd, c.pause); n++ {
		for i := range 20 {
			c.announceOnce(rnd, chaosText(rnd, fmt.Sprintf("room.%d.%d", n, i)))
		}
	}
}

func (c *chaos) announceOnce(rnd *rand.Rand, body []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.Int64N(int64(c.pause))))
	defer cancel()
	if !c.window.take(ctx, "") {
		return
	}
	err := c.rec.send(0, body, func() (uint64, error) { return c.room.Broadcast(ctx, body) })
	if err != nil {
		c.window.giveBack("")
	}
}

// wait waits for up to most; it reports false when the stop came.
func (c *chaos) wait(rnd *rand.Rand, most time.Duration) bool {
	timer := time.NewTimer(time.Duration(rnd.Int64N(int64(most))))
	defer timer.Stop()
	select {
	case <-c.stop:
		return false
	case <-timer.C:
		return true
	}
}

// chaosText returns a body that begins with the label and is unlike all others.
func chaosText(rnd *rand.Rand, label string) []byte {
	body := append(make([]byte, 0, chaosBody), label+" "...)
	for range rnd.IntN(chaosBody/2) + rnd.IntN(chaosBody/2-len(body)) {
		body = append(body, byte(' '+rnd.IntN(95)))
	}
	return body
}

// live is one life after another, until the stop.
func (c *chaos) live(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	for c.wait(rnd, 100*time.Millisecond) {
		c.liveOnce(rnd)
	}
}

// liveOnce is one connection's life.
func (c *chaos) liveOnce(rnd *rand.Rand) {
	number := c.rec.dial()
	conn, link, err := c.connect(rnd)
	if err != nil {
		c.rec.end(number, err)
		return
	}
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		c.rec.end(number, c.watch(conn, number, nil))
	}()
	life, stays := time.Duration(rnd.IntN(2000))*time.Millisecond, rnd.IntN(4) == 0
	if stays && c.mortal {
		life, stays = 10*life, false
	} else if stays {
		life = time.Hour // until the stop
	}
	defer c.window.forget(conn.ID())
	hurt := c.talk(rnd, conn, link, number, life)
	if stays && !hurt {
		if link != nil {
			link.In()
		}
		<-reading // to the last word
	}
	c.leave(rnd, conn, link, number, reading, hurt)
}

// connect dials one of the doors, or joins without one.
func (c *chaos) connect(rnd *rand.Rand) (*tcproom.Conn, *roomtest.Conn, error) {
	i := rnd.IntN(len(c.places) + 1)
	if i == len(c.places) {
		conn, err := c.room.Join(context.Background(), tcproom.Identity{})
		return conn, nil, err
	}
	p := c.places[i]
	var link *roomtest.Conn
	lag := rnd.IntN(3) == 0
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		via := (&net.Dialer{Control: smallBuffers}).DialContext
		if p.mem {
			via = c.network.Dial
		}
		nc, err := via(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		link = roomtest.Wrap(nc)
		if lag {
			link.In(roomtest.Latency(2*time.Millisecond), roomtest.Jitter(5*time.Millisecond, 1))
			link.Out(roomtest.Latency(2*time.Millisecond), roomtest.ChopRandom(100, 2))
		}
		return link, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := tcproom.Dial(ctx, p.addr, append([]tcproom.DialOption{tcproom.WithDialer(dial)}, p.opts...)...)
	return conn, link, err
}

// watch records what conn gets until its end, which it returns; nil if the room has
// said goodbye, or closed the connection in good order.
func (c *chaos) watch(conn *tcproom.Conn, number int, tell func(*tcproom.Event)) error {
	var last tcproom.Kind
	for ev, err := range conn.Events(context.Background()) {
		if err != nil {
			if last == tcproom.Goodbye || errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		last = ev.Kind
		c.rec.event(number, &ev)
		if tell != nil {
			tell(&ev)
		}
	}
	return nil
}

// talk speaks, and has things happen to the link, until the life or the conn
// ends. It reports whether the link does not carry what it should any more.
func (c *chaos) talk(rnd *rand.Rand, conn *tcproom.Conn, link *roomtest.Conn, number int, life time.Duration) (hurt bool) {
	ctx, cancel := context.WithTimeout(conn.Context(), life)
	defer cancel()
	talkative := rnd.IntN(2) == 0
	for n := 0; ctx.Err() == nil && c.wait(rnd, 2*c.pause); n++ {
		if link != nil && rnd.IntN(6) == 0 {
			hurt = c.hurt(rnd, link, number) || hurt
		}
		if rnd.IntN(100) == 0 {
			if m, ok := c.room.Member(conn.ID()); ok {
				_ = m.Kick("chaos")
			}
		}
		if !talkative || !c.window.take(ctx, conn.ID()) {
			continue
		}
		body := chaosText(rnd, fmt.Sprintf("%d.%d", number, n))
		err := c.rec.send(number, body, func() (uint64, error) { return 0, conn.Send(ctx, body) })
		if err != nil {
			c.window.giveBack(conn.ID())
		}
	}
	return hurt
}

// hurt does something to a link, and reports whether it is beyond repair.
func (c *chaos) hurt(rnd *rand.Rand, link *roomtest.Conn, number int) bool {
	bytes := rnd.Int64N(20 << 10)
	what := rnd.IntN(12)
	if what <= 5 {
		// What is on its way is thrown away, and both ends may take that for a clean end: a
		// cut at the end of a frame looks like one, and a system tells of a reset once, to
		// whoever reads or writes first; then the other one, which reads, has an end.
		c.rec.add(record{Op: opFault, Client: number})
	}
	switch what {
	case 0:
		link.In(roomtest.CutAfter(bytes))
	case 1:
		link.Out(roomtest.CutAfter(bytes))
	case 2:
		link.In(roomtest.ResetAfter(bytes))
	case 3:
		link.Out(roomtest.ResetAfter(bytes))
	case 4:
		link.Reset()
	case 5:
		link.Out(roomtest.BlackHole())
	case 6, 7, 8:
		link.In(roomtest.Stall()) // until something else, or its end
		return false
	case 9:
		link.In(roomtest.Chop(7))
		return false
	case 10:
		link.In(roomtest.Bandwidth(200 << 10))
		return false
	default:
		link.In()
		return false
	}
	return true
}

// leave ends a life in one of the ways in which lives end.
func (c *chaos) leave(rnd *rand.Rand, conn *tcproom.Conn, link *roomtest.Conn, number int, reading <-chan struct{}, hurt bool) {
	if hurt {
		link.Reset()
	} else if link != nil {
		link.In()
		link.Out()
		if rnd.IntN(2) == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			if conn.CloseWrite(ctx) == nil {
				<-reading // to the end, which the room makes
			}
			cancel()
		}
	}
	if err := conn.Close(); err != nil {
		c.rec.add(record{Op: opFault, Client: number})
	}
	<-reading
}

// requireSound fails the test when there is something wrong with the history, and
// leaves it in a file.
func requireSound(t *testing.T, history []record) {
	t.Helper()
	found := check(history)
	if *historyDir != "" || len(found) > 0 || t.Failed() {
		f, err := os.CreateTemp(*historyDir, "history-"+filepath.Base(t.Name())+"-*.jsonl")
		require.NoError(t, err)
		require.NoError(t, errors.Join(writeHistory(f, history), f.Close()))
		t.Logf("the history is in %s", f.Name())
	}
	require.Empty(t, found[:min(len(found), 20)], "%d anomalies", len(found))
}

// A window keeps senders from running ahead of the observer, so that it is never slow
// and sees everything. What the room never ordered is given back when the observer
// sees the sender leave.
type window struct {
	slots chan struct{}
	stop  <-chan struct{} // when it is closed, no sender waits any more

	mu   sync.Mutex
	held map[string]*holding // by ID; until its leave was seen and it is forgotten
}

// A holding is what one sender has of a window.
type holding struct {
	slots           int
	left, forgotten bool
}

func newWindow(n int, stop <-chan struct{}) *window {
	return &window{slots: make(chan struct{}, n), stop: stop, held: map[string]*holding{}}
}

// take takes a slot for a message of id; false when ctx or all ended or id has left.
func (w *window) take(ctx context.Context, id string) bool {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	case <-w.stop:
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.of(id)
	if h.left {
		<-w.slots
		return false
	}
	h.slots++
	return true
}

func (w *window) of(id string) *holding {
	h := w.held[id]
	if h == nil {
		h = new(holding)
		w.held[id] = h
	}
	return h
}

func (w *window) giveBack(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.held[id]; h != nil && h.slots > 0 {
		h.slots--
		<-w.slots
	}
}

// forget ends what id may take: it takes nothing any more.
func (w *window) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.of(id); h.left {
		delete(w.held, id)
	} else {
		h.forgotten = true
	}
}

func (w *window) seen(ev *tcproom.Event) {
	switch ev.Kind {
	case tcproom.Message:
		w.giveBack(ev.From.ID)
	case tcproom.Leave:
		w.mu.Lock()
		defer w.mu.Unlock()
		h := w.of(ev.From.ID)
		for range h.slots {
			<-w.slots
		}
		if h.slots = 0; h.forgotten {
			delete(w.held, ev.From.ID)
		} else {
			h.left = true
		}
	}
}
