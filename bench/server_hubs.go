//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"example.com/tcproom"
)

// tcproomHubServer is named rooms of this library behind one listener.
var tcproomHubServer = &server{
	name:   "tcproom-hub",
	about:  "this library: a hub with lines, Raw and no notices, all else by default; its rooms are rooms of the hub",
	speaks: plainLines,
	only:   []string{"flood", "chat", "rooms", "beside", "mixed", "quietrooms", "move"},
	serve:  serveHub,
}

// What being in ten rooms costs in one of them: the same connections in one, and in ten.
var (
	tcproomIn1Server  = hubJSONServer("tcproom-in1", "one room", 1)
	tcproomIn10Server = hubJSONServer("tcproom-in10", "ten rooms", 10)
)

func hubJSONServer(name, rooms string, n int) *server {
	return &server{
		name:   name,
		about:  "this library: a hub with lines, JSON and no notices, and connections that are in " + rooms,
		speaks: jsonInRooms(n),
		only:   []string{"inrooms"},
		serve: func(c *control) error {
			h := tcproom.NewHub(tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false))
			c.members = func() int { return h.Stats().Memberships / n }
			return c.serveRooms(func(l net.Listener) error { return h.Serve(l) })
		},
	}
}

// What notices cost that are told together.
var (
	tcproomNoticesServer  = noticesServer("tcproom-notices", "each at once", 0)
	tcproomTogetherServer = noticesServer("tcproom-together", "together every 250 ms", 250*time.Millisecond)
)

func noticesServer(name, how string, d time.Duration) *server {
	return &server{
		name:   name,
		about:  "this library by default, which tells joins and leaves " + how,
		speaks: plainLines,
		only:   []string{"notices"},
		serve: func(c *control) error {
			room := tcproom.New(tcproom.WithNoticesTogether(d))
			c.members = room.Len
			return c.serveRooms(func(l net.Listener) error { return room.Serve(l) })
		},
	}
}

func roomName(i int) string { return "r" + strconv.Itoa(i) }

func serveHub(c *control) error {
	options := make([]tcproom.HubOption, 0, len(roomOptions)+1)
	for _, o := range roomOptions {
		options = append(options, o)
	}
	h := tcproom.NewHub(append(options, tcproom.WithMaxRooms(1_000_000), tcproom.WithDefaultRoom(roomName(0)))...)
	c.members = func() int { return h.Stats().Memberships }
	c.quiet = func(n int) error {
		conns, err := quietRooms(h, n)
		c.kept = conns // or the collector closes them
		return err
	}
	c.measures = map[string]func(n int) (any, error){"quietrooms": measureHubMemory, "moves": measureMoves}
	if c.roomCount() == 1 {
		return c.serveRooms(func(l net.Listener) error { return h.Serve(l) })
	}
	return c.serveRooms(func(l net.Listener) error {
		for i := 0; ; i++ {
			nc, err := l.Accept()
			if err != nil {
				return err
			}
			go h.ServeConn(nc, tcproom.InRoom(roomName(c.roomOf(i))))
		}
	})
}

// quietRooms makes n rooms, each with one member that does nothing. A hundred of these
// are one connection's.
func quietRooms(h *tcproom.Hub, n int) (*hubConns, error) {
	const each = 100
	d, err := h.Door(tcproom.WithCodec(tcproom.JSON{}))
	if err != nil {
		return nil, err
	}
	conns := &hubConns{door: d}
	if err := conns.connect(h, (n+each-1)/each); err != nil {
		return nil, err
	}
	i := 0
	for m := range h.All().Members() {
		if len(m.Hello().Rooms) != 0 || m.Hello().Rooms == nil {
			continue
		}
		for range each {
			if i == n {
				return conns, nil
			}
			if _, err := h.Enter(context.Background(), m, "quiet-"+roomName(i)); err != nil {
				return nil, err
			}
			i++
		}
	}
	return conns, nil
}

// hubConns are connections of this process to a hub in it.
type hubConns struct {
	door   *tcproom.Door
	listen net.Listener
	list   []net.Conn
}

// connect makes n connections that are in no room.
func (c *hubConns) connect(h *tcproom.Hub, n int) (err error) {
	if c.listen, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return err
	}
	go c.door.Serve(c.listen)
	before := h.All().Len()
	for range n {
		nc, err := net.Dial("tcp4", c.listen.Addr().String())
		if err != nil {
			return err
		}
		c.list = append(c.list, nc)
		if _, err := io.WriteString(nc, `{"type":"hello","rooms":[]}`+"\n"); err != nil {
			return err
		}
	}
	for h.All().Len() < before+n {
		time.Sleep(time.Millisecond)
	}
	return nil
}

// hubMemory is what hubs cost, a piece.
type hubMemory struct {
	Membership  float64 // bytes of a further one, in a room that is there
	Room        float64 // bytes of one with one member, beside the membership
	Goroutines  float64 // of such a room
	Descriptors float64
}

// measureHubMemory has n connections that do nothing enter one room, and then each one of
// its own.
func measureHubMemory(n int) (any, error) {
	h := tcproom.NewHub(tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithMaxRooms(n+1))
	d, err := h.Door()
	if err != nil {
		return nil, err
	}
	conns := &hubConns{door: d}
	if err := conns.connect(h, n); err != nil {
		return nil, err
	}
	defer h.Close()
	members := slices.Collect(h.All().Members())
	enter := func(room func(i int) string) error {
		for i, m := range members {
			if _, err := h.Enter(context.Background(), m, room(i)); err != nil {
				return err
			}
		}
		return nil
	}
	before := readHubMemory()
	if err := enter(func(int) string { return "all" }); err != nil {
		return nil, err
	}
	shared := readHubMemory()
	if err := enter(roomName); err != nil {
		return nil, err
	}
	own := readHubMemory()
	runtime.KeepAlive(conns)
	each := func(v float64) float64 { return v / float64(n) }
	membership := each(shared.heap - before.heap)
	return hubMemory{
		Membership:  membership,
		Room:        each(own.heap-shared.heap) - membership,
		Goroutines:  each(own.goroutines - shared.goroutines),
		Descriptors: each(own.descriptors - shared.descriptors),
	}, nil
}

type hubReading struct{ heap, goroutines, descriptors float64 }

func readHubMemory() (r hubReading) {
	time.Sleep(300 * time.Millisecond) // flushers end, and goroutines that read
	m := readMemory()
	r.heap, r.goroutines = float64(m.HeapAlloc), float64(m.Goroutines)
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		r.descriptors = float64(len(fds))
	}
	return r
}

// hubMoves is what it costs, in microseconds of CPU, to go from one room to another.
type hubMoves struct{ Move, LeaveAndEnter float64 }

// measureMoves has one connection go from one room of ten to another n times, in both
// ways, which take turns. Nobody is notified, so nothing is measured but the going.
func measureMoves(n int) (any, error) {
	h := tcproom.NewHub(tcproom.WithFraming(tcproom.Lines{}), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false))
	defer h.Close()
	d, err := h.Door()
	if err != nil {
		return nil, err
	}
	conns := &hubConns{door: d}
	if err := conns.connect(h, 21); err != nil {
		return nil, err
	}
	for _, nc := range conns.list {
		go io.Copy(io.Discard, bufio.NewReader(nc))
	}
	ctx := context.Background()
	rooms := []string{roomName(0), roomName(1)}
	members := slices.Collect(h.All().Members())
	for i, m := range members[1:] {
		if _, err := h.Enter(ctx, m, rooms[i%2]); err != nil {
			return nil, err
		}
	}
	at, err := h.Enter(ctx, members[0], rooms[0])
	if err != nil {
		return nil, err
	}
	ways := [2]func(to string) error{
		func(to string) (err error) { at, err = h.Move(ctx, at, to); return err },
		func(to string) (err error) {
			if err = h.Leave(at, ""); err == nil {
				at, err = h.Enter(ctx, members[0], to)
			}
			return err
		},
	}
	var spent [2]time.Duration
	const turns = 10
	for turn := range turns + 1 { // of which the first is a warm-up
		for way, goTo := range ways {
			runtime.GC()
			from := cpuNow()
			for i := range n / turns {
				if err := goTo(rooms[(i+1)%2]); err != nil {
					return nil, fmt.Errorf("move %d, way %d: %w", i, way, err)
				}
			}
			time.Sleep(50 * time.Millisecond)
			if turn > 0 {
				spent[way] += cpuNow() - from
			}
			if at.Room().Name() != rooms[0] {
				if err := goTo(rooms[0]); err != nil {
					return nil, err
				}
			}
		}
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n/turns*turns) }
	return hubMoves{each(spent[0]), each(spent[1])}, nil
}

// cpuNow is the CPU time of this process.
func cpuNow() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
