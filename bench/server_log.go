//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	nats "github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomtest"
)

// The servers of this file have a room whose order a log gives, in one process or in
// several, and what that is compared with.

// memoryLog is a log in this process, which keeps as many records as roomnats does.
func memoryLog() *roomtest.Log {
	return roomtest.NewLog(func(c *tcproom.Caps) { c.Records = 10_000 })
}

// tcproomLogServer is what the way through a log costs, without an engine.
var tcproomLogServer = &server{
	name:   "tcproom-log",
	about:  "this library: the same as tcproom on a log in the memory of its process",
	speaks: plainLines,
	only:   []string{"logflood", "logmemory"},
	serve: func(c *control) error {
		c.measures = map[string]func(int) (any, error){"remote": measureRemote}
		return serveOnMemory(c, roomOptions)
	},
}

func serveOnMemory(c *control, options []tcproom.RoomOption) error {
	log, err := memoryLog().Open(context.Background(), theRoom)
	if err != nil {
		return err
	}
	return c.serveOn(log, options)
}

// theRoom is the name of a room that has a log.
const theRoom = "room"

// serveOn serves a room on a log.
func (c *control) serveOn(log tcproom.Log, options []tcproom.RoomOption) error {
	room := tcproom.New(append(options[:len(options):len(options)], tcproom.WithLog(log))...)
	if err := ready(room); err != nil {
		return err
	}
	c.members = room.Len
	c.here = func() (ids []string) {
		for m := range room.Members() {
			if !m.Remote() {
				ids = append(ids, m.Info().ID)
			}
		}
		return ids
	}
	return c.serveRooms(func(l net.Listener) error { return room.Serve(l) })
}

func ready(room *tcproom.Room) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	return room.Ready(ctx)
}

// Rooms on JetStream, in one process or in three.
var (
	tcproomNATSServer      = logServer("tcproom-nats", "in memory", 1, roomnats.Memory(), roomOptions, "loglatency", "logmemory")
	tcproomNATSFileServer  = logServer("tcproom-nats-file", "in files", 1, roomnats.File(), roomOptions, "loglatency")
	tcproom3NATSServer     = logServer("tcproom-3nats", "in memory", 3, roomnats.Memory(), roomOptions, "lograte", "nodesflood")
	tcproom3NATSFileServer = logServer("tcproom-3nats-file", "in files", 3, roomnats.File(), roomOptions, "lograte")
)

func logServer(name, where string, nodes int, storage roomnats.Option, options []tcproom.RoomOption, only ...string) *server {
	processes := "one process"
	if nodes > 1 {
		processes = fmt.Sprintf("%d processes", nodes)
	}
	return &server{
		name:   name,
		about:  fmt.Sprintf("this library: one room in %s, on JetStream %s, by roomnats", processes, where),
		speaks: plainLines,
		only:   only,
		nodes:  nodes,
		engine: engineServer,
		serve: func(c *control) error {
			lease := time.Duration(0) // as usual
			if slices.Contains(only, "nodedown") {
				lease = nodeLease
			}
			return c.withBackplane(func(nc *client.Conn, b *roomnats.Backplane) error {
				log, err := b.Open(context.Background(), theRoom)
				if err != nil {
					return err
				}
				c.measures = map[string]func(int) (any, error){
					"log":       func(int) (any, error) { return logState(nc) },
					"here":      func(int) (any, error) { return c.here(), nil },
					"quietlogs": func(n int) (any, error) { return measureQuietLogs(b, n) },
				}
				return c.serveOn(log, options)
			}, storage, lease)
		},
	}
}

// nodeLease is after what time a process is dead, so that a run can wait for that.
const nodeLease = 3 * time.Second

// withBackplane connects to the engine.
func (c *control) withBackplane(do func(*client.Conn, *roomnats.Backplane) error, storage roomnats.Option, lease time.Duration) error {
	nc, err := client.Connect("nats://"+c.engine, roomnats.ConnOptions()...)
	if err != nil {
		return err
	}
	defer nc.Close()
	b, err := roomnats.New(context.Background(), nc, storage, roomnats.MaxBytes(256<<20), roomnats.Lease(lease))
	if err != nil {
		return err
	}
	defer b.Close()
	return do(nc, b)
}

// A logSize is how much was ever put into a log, and what a record has now.
type logSize struct {
	Records uint64  // that there ever were
	Each    float64 // bytes
}

// logState reads the stream that has the log.
func logState(nc *client.Conn) (any, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s, err := js.Stream(context.Background(), "TCPROOM_default_0")
	if err != nil {
		return nil, err
	}
	state := s.CachedInfo().State
	return logSize{Records: state.LastSeq, Each: float64(state.Bytes) / float64(state.Msgs)}, nil
}

// What many joins cost at once, that are told together.
var (
	joinsOptions = []tcproom.RoomOption{
		tcproom.WithFraming(tcproom.Lines{}), tcproom.WithNoticesTogether(250 * time.Millisecond), tcproom.WithMaxPending(10_000),
	}
	tcproomJoinsServer = &server{
		name:   "tcproom-joins",
		about:  "this library by default, which tells joins together every 250 ms",
		speaks: plainLines,
		only:   []string{"logjoins"},
		serve:  func(c *control) error { return serveRoomsWith(c, joinsOptions...) },
	}
	tcproomLogJoinsServer = &server{
		name:   "tcproom-log-joins",
		about:  "the same on a log in the memory of its process",
		speaks: plainLines,
		only:   []string{"logjoins"},
		serve:  func(c *control) error { return serveOnMemory(c, joinsOptions) },
	}
	tcproom3JoinsServer = logServer("tcproom-3joins", "in memory", 3, roomnats.Memory(), joinsOptions, "logjoins")
)

// tcproom3JSONServer is a room whose members can resume in another process.
var tcproom3JSONServer = logServer("tcproom-3json", "in memory", 3, roomnats.Memory(), []tcproom.RoomOption{
	tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}),
	tcproom.WithNoticesTogether(250 * time.Millisecond), tcproom.WithMaxPending(10_000),
}, "nodedown")

// engineServer is nats-server with JetStream. It is what others are connected to.
var engineServer = &server{
	name:    "jetstream-engine",
	about:   "nats-server embedded, with JetStream",
	special: true,
	serve: func(c *control) error {
		dir, err := os.MkdirTemp("", "bench-jetstream-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		s, err := nats.NewServer(&nats.Options{
			Host: "127.0.0.1", Port: nats.RANDOM_PORT, NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: dir, JetStreamMaxMemory: 2 << 30, JetStreamMaxStore: 2 << 30,
		})
		if err != nil {
			return err
		}
		s.Start()
		defer s.Shutdown()
		if !s.ReadyForConnections(answerTimeout) {
			return errors.New("nats-server is not ready")
		}
		c.members = s.NumClients
		c.ready(s.Addr().String())
		return c.run()
	},
}

// natsHubsServer is what people write who want one room in several processes, and need
// no order: each line is published, and what comes is copied to the members.
var natsHubsServer = &server{
	name:   "nats-hubs",
	about:  "hub in three processes, each of which also publishes its members' lines on core NATS, and copies what comes from the others to its members: without an order",
	speaks: plainLines,
	only:   []string{"lograte", "nodesflood"},
	nodes:  3,
	apart:  true,
	engine: engineServer,
	serve: func(c *control) error {
		nc, err := client.Connect("nats://"+c.engine, client.NoEcho())
		if err != nil {
			return err
		}
		defer nc.Close()
		l, err := c.listen()
		if err != nil {
			return err
		}
		h := newHub()
		h.publish = func(line []byte) error { return nc.Publish(theRoom, line) }
		sub, err := nc.Subscribe(theRoom, func(m *client.Msg) { h.broadcast <- hubLine{line: m.Data} })
		if err == nil {
			// The default drops what does not fit, and here nobody drops anything.
			err = sub.SetPendingLimits(-1, -1)
		}
		if err == nil {
			err = nc.Flush() // the server knows of it
		}
		if err != nil {
			return err
		}
		go h.run()
		c.members = func() int { return int(h.count.Load()) }
		failed := make(chan error, 1)
		go func() { failed <- acceptToHubs(l, c, []*hub{h}) }()
		c.ready(l.Addr().String())
		go func() { failed <- c.run() }()
		return <-failed
	},
}

// Bare JetStream, beside which a room is measured. It has no members.
var (
	jetStreamServer     = bareJetStream("jetstream", jetstream.MemoryStorage)
	jetStreamFileServer = bareJetStream("jetstream-file", jetstream.FileStorage)
)

func bareJetStream(name string, storage jetstream.StorageType) *server {
	return &server{
		name:    name,
		about:   "three clients of JetStream",
		special: true,
		nodes:   3,
		engine:  engineServer,
		serve: func(c *control) error {
			nc, err := client.Connect("nats://" + c.engine)
			if err != nil {
				return err
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				return err
			}
			_, err = js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{
				Name: "BARE", Subjects: []string{"bare"}, Storage: storage, MaxMsgsPerSubject: 10_000, MaxBytes: 256 << 20, Duplicates: time.Minute,
			})
			if err != nil {
				return err
			}
			c.members = func() int { return 0 }
			c.measures = map[string]func(int) (any, error){
				"publish": func(n int) (any, error) { return publishBare(js, n) },
				"read":    func(n int) (any, error) { return readBare(js, n) },
				"latency": func(n int) (any, error) { return latencyBare(js, n) },
			}
			c.ready("127.0.0.1:0")
			return c.run()
		},
	}
}

// bareRate is how many records a client has published, one after the other.
type bareRate struct{ Records, Seconds float64 }

// publishBare publishes records of n bytes for a while.
func publishBare(js jetstream.JetStream, n int) (any, error) {
	const length = 500 * time.Millisecond
	rec := make([]byte, n)
	began, count := time.Now(), 0
	for time.Since(began) < length {
		if _, err := js.Publish(context.Background(), "bare", rec); err != nil {
			return nil, err
		}
		count++
	}
	return bareRate{float64(count), time.Since(began).Seconds()}, nil
}

const (
	// pacedRate is how many messages a second are sent where latency is measured.
	pacedRate = 500
	// recordBytes is what a record with one line of 64 bytes takes in the stream, its
	// headers included: see "bytes a record" of lograte.
	recordBytes = 260
)

// readBare is publishBare of a client that reads all records, too, and does nothing with
// them: what a process of a room does at the least.
func readBare(js jetstream.JetStream, n int) (any, error) {
	cons, err := js.OrderedConsumer(context.Background(), "BARE", jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return nil, err
	}
	consuming, err := cons.Consume(func(jetstream.Msg) {})
	if err != nil {
		return nil, err
	}
	defer consuming.Stop()
	return publishBare(js, n)
}

// bareLatency is the time from when a record was published to when it was consumed. It
// does not begin when that was due: this process wakes later than the load generator.
type bareLatency struct{ P50, P99 float64 } // ms

// latencyBare publishes n records at fixed times and consumes them.
func latencyBare(js jetstream.JetStream, n int) (any, error) {
	ctx := context.Background()
	cons, err := js.OrderedConsumer(ctx, "BARE", jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return nil, err
	}
	sent, all := make([]time.Time, n), newHistogram()
	came, done := 0, make(chan struct{})
	consuming, err := cons.Consume(func(jetstream.Msg) {
		if came < n {
			record(all, time.Since(sent[came]))
		}
		if came++; came == n {
			close(done)
		}
	})
	if err != nil {
		return nil, err
	}
	defer consuming.Stop()
	time.Sleep(100 * time.Millisecond) // the first request for messages is on its way
	rec, start := make([]byte, recordBytes), time.Now().Add(10*time.Millisecond)
	for i := range sent {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / pacedRate)))
		sent[i] = time.Now()
		if _, err := js.Publish(ctx, "bare", rec); err != nil {
			return nil, err
		}
	}
	select {
	case <-done:
	case <-time.After(stallTimeout):
		return nil, fmt.Errorf("%d of %d records were consumed", came, n)
	}
	return bareLatency{quantileMs(all, 0.5), quantileMs(all, 0.99)}, nil
}

// remoteMemory is what members of other processes take.
type remoteMemory struct{ Member float64 }

// measureRemote has n members with sessions join a room in one node, and measures what
// another node of this process takes that reads of them.
func measureRemote(n int) (any, error) {
	options := []tcproom.RoomOption{
		tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}),
		tcproom.WithNotices(false), tcproom.WithMaxPending(n),
	}
	engine := memoryLog()
	open := func(name string) (*tcproom.Room, error) {
		log, err := engine.Attach().Open(context.Background(), name)
		if err != nil {
			return nil, err
		}
		room := tcproom.New(append(options[:len(options):len(options)], tcproom.WithLog(log))...)
		return room, ready(room)
	}
	there, err := open(theRoom)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	conns, err := connectAll(there, n)
	if err != nil {
		return nil, err
	}
	empty, err := open("other") // what a node takes without members, and what is made once
	if err != nil {
		return nil, err
	}
	defer empty.Close()
	before := readHubMemory()
	here, err := open(theRoom)
	if err != nil {
		return nil, err
	}
	defer here.Close()
	if here.Len() != n {
		return nil, fmt.Errorf("a node is ready and knows %d members of %d", here.Len(), n)
	}
	after := readHubMemory()
	runtime.KeepAlive(conns)
	return remoteMemory{(after.heap - before.heap) / float64(n)}, nil
}

// connectAll makes n members of a room by TCP, with names of one length.
func connectAll(room *tcproom.Room, n int) (list []net.Conn, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go room.Serve(l)
	for i := range n {
		nc, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return nil, err
		}
		list = append(list, nc)
		if _, err := fmt.Fprintf(nc, `{"type":"hello","name":"member-%05d"}`+"\n", i); err != nil {
			return nil, err
		}
		if i%1000 == 999 || i == n-1 {
			for end := time.Now().Add(answerTimeout); room.Len() <= i; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					return nil, fmt.Errorf("%d members of %d", room.Len(), i+1)
				}
			}
		}
	}
	return list, nil
}

// quietLogs is what a room takes that is open on a node, and in which nobody is.
type quietLogs struct{ Bytes, Ours, Others float64 }

// measureQuietLogs opens n rooms of a hub on JetStream.
func measureQuietLogs(b *roomnats.Backplane, n int) (any, error) {
	opts := []tcproom.HubOption{tcproom.WithBackplane(b), tcproom.WithRoomLinger(time.Hour)}
	for _, o := range roomOptions {
		opts = append(opts, o)
	}
	hub := tcproom.NewHub(opts...)
	defer hub.Close()
	open := func(name string) error {
		room, err := hub.Room(name)
		if err != nil {
			return err
		}
		return ready(room)
	}
	if err := open("first"); err != nil { // what is made once
		return nil, err
	}
	read := func() (bytes, ours, all float64) {
		time.Sleep(1500 * time.Millisecond) // what opening needs is done, and its goroutines have ended
		m := readMemory()
		mine, total := goroutinesOf("created by example.com/tcproom")
		return float64(m.HeapAlloc + m.StackInuse), float64(mine), float64(total)
	}
	bytesBefore, oursBefore, allBefore := read()
	for i := range n {
		if err := open(roomName(i)); err != nil {
			return nil, err
		}
	}
	bytesAfter, oursAfter, allAfter := read()
	each := func(v float64) float64 { return v / float64(n) }
	ours := each(oursAfter - oursBefore)
	return quietLogs{each(bytesAfter - bytesBefore), ours, each(allAfter-allBefore) - ours}, nil
}

// goroutinesOf counts goroutines, and those of which the stack has a line.
func goroutinesOf(line string) (some, all int) {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 2)
	for g := range strings.SplitSeq(b.String(), "\n\n") {
		all++
		if strings.Contains(g, line) {
			some++
		}
	}
	return some, all
}
