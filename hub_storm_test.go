package tcproom_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"github.com/stretchr/testify/require"
)

// A storm is a hub in which everybody does anything at any time.
type storm struct {
	*chronicle
	t     *testing.T
	hub   *tcproom.Hub
	dial  func(addr string) (net.Conn, error)
	json  string // addresses
	text  string
	names atomic.Int64
	ended func(tr *trip, addr string) // a connection from there; nil: nobody wants to know

	idsMu sync.Mutex
	ids   map[string]string // by address
}

var stormRooms = []string{"a", "b", "c", "d", "lobby"}

func pickOf[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func newStorm(t *testing.T, s testkit.Seqs, r *rand.Rand, listen func() net.Listener, dial func(addr string) (net.Conn, error)) *storm {
	w := &storm{chronicle: &chronicle{seqs: s}, t: t, dial: dial, ids: map[string]string{}}
	opts := []tcproom.HubOption{
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithRoomOptions(w.options),
		tcproom.WithRoomLinger(pickOf(r, []time.Duration{-1, time.Millisecond, time.Minute})),
		tcproom.OnConnect(func(m *tcproom.Member) error {
			w.idsMu.Lock()
			defer w.idsMu.Unlock()
			if m.Hello().Name == "" { // of text: one of JSON may come from the same port, to another
				w.ids[m.RemoteAddr().String()] = m.ID()
			}
			return nil
		}),
	}
	if r.IntN(2) == 0 {
		opts = append(opts, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil }))
	}
	if r.IntN(2) == 0 {
		opts = append(opts, tcproom.OnJoined(func(m *tcproom.Member, _ uint64) {}))
	}
	w.hub = tcproom.NewHub(opts...)
	serve := func(codec tcproom.Codec) string {
		l := listen()
		go w.hub.Serve(l, tcproom.WithCodec(codec))
		return l.Addr().String()
	}
	w.json, w.text = serve(tcproom.JSON{}), serve(tcproom.Text{Commands: true})
	return w
}

// A traveller is a client that goes from room to room, over one connection after the
// other.
type traveller struct {
	*storm
	*rand.Rand
	name     string
	text     bool
	labelled bool
	called   string   // in its first words
	asked    []string // rooms, in its first words
	number   int
	session  int      // how often it came anew
	unacked  []string // lines, from that of number acked+1 on
	acked    int
	refused  map[int]bool // numbers; what was refused is answered, and not said again
	token    string
	at       map[string]position
	nc       net.Conn
	mu       sync.Mutex // guards the lines of the last trip
	trips    []*trip
	reading  sync.WaitGroup
}

// call begins a trip; hello is its first line, empty for none.
func (v *traveller) call(hello string, from map[string]position) {
	addr := v.json
	if v.text {
		addr = v.storm.text
	}
	nc, err := v.dial(addr)
	if err != nil {
		v.fail("dial: %v", err)
		return
	}
	v.nc = nc
	tr := &trip{name: fmt.Sprintf("%s, connection %d", v.name, len(v.trips)+1), text: v.text, from: from}
	v.trips = append(v.trips, tr)
	if hello != "" {
		v.write(hello)
	}
	answered := make(chan struct{})
	answer := sync.OnceFunc(func() { close(answered) })
	v.reading.Go(func() {
		in := bufio.NewReader(nc)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				break // what is left is no whole line
			}
			v.mu.Lock()
			tr.lines = append(tr.lines, line[:len(line)-1])
			v.mu.Unlock()
			answer()
		}
		answer()
		v.idsMu.Lock()
		tr.id = v.ids[nc.LocalAddr().String()]
		v.idsMu.Unlock()
		if v.ended != nil {
			v.ended(tr, nc.LocalAddr().String())
		}
		nc.Close()
	})
	<-answered
}

func (v *traveller) write(line string) { v.nc.Write([]byte(line + "\n")) }

// hang up ends the connection, without a word or with some.
func (v *traveller) hangUp() {
	if v.nc == nil {
		return
	}
	if v.IntN(2) == 0 {
		v.nc.(interface{ SetLinger(int) error }).SetLinger(0)
	}
	v.nc.Close()
	v.reading.Wait()
}

// begin comes anew.
func (v *traveller) begin() {
	v.at, v.token, v.unacked, v.acked = nil, "", nil, v.number
	v.refused = make(map[int]bool)
	v.session++
	switch {
	case v.text:
		v.call("", nil)
	case v.labelled:
		rooms := []string{}
		for range v.IntN(3) {
			if room := pickOf(v.Rand, stormRooms); !slices.Contains(rooms, room) {
				rooms = append(rooms, room)
			}
		}
		v.called, v.asked = v.fresh(), rooms
		v.call(helloOf(object{"name": v.called, "rooms": rooms}), nil)
	default:
		v.called = v.fresh()
		v.call(helloOf(object{"name": v.called}), nil)
	}
}

func (v *traveller) fresh() string { return fmt.Sprintf("n%d", v.names.Add(1)) }

// resume goes on by another connection, while the last one is there still, perhaps.
func (v *traveller) resume(takeOver bool) {
	if !takeOver {
		v.hangUp()
	}
	v.learn()
	if v.text || v.token == "" {
		v.hangUp()
		v.begin()
		return
	}
	old := v.nc
	first := v.at["*"]
	if !v.labelled {
		first = v.at[""]
	}
	res := object{"token": v.token, "epoch": first.epoch, "seq": first.seq}
	fields := object{"resume": res}
	from := map[string]position{}
	if v.labelled {
		rooms := object{}
		for room, p := range v.at {
			if room != "*" && v.IntN(8) > 0 {
				rooms[room] = object{"epoch": p.epoch, "seq": p.seq}
				from[room] = p
			}
		}
		res["rooms"], fields["rooms"] = rooms, []string{}
	} else {
		from[""] = first
	}
	v.call(helloOf(fields), from)
	if takeOver {
		old.Close()
	}
	v.mu.Lock()
	var welcome object
	if lines := v.trips[len(v.trips)-1].lines; len(lines) > 0 {
		json.Unmarshal([]byte(lines[0]), &welcome)
	}
	v.mu.Unlock()
	if outcome := welcome["outcome"]; outcome != "resumed" && outcome != "gap" { // it cannot know what became of them
		v.unacked, v.acked = nil, v.number
		v.session++
	}
	for i, line := range v.unacked {
		if !v.refused[v.acked+1+i] {
			v.write(line)
		}
	}
}

// learn takes from the last trip where it stands in each room.
func (v *traveller) learn() {
	v.mu.Lock()
	tr := v.trips[len(v.trips)-1]
	lines := slices.Clone(tr.lines)
	v.mu.Unlock()
	if v.text {
		return
	}
	at := map[string]position{}
	for room, p := range tr.from {
		at[room] = p
	}
	last := v.acked
	for _, line := range lines {
		var o object
		json.Unmarshal([]byte(line), &o)
		room, _ := o["room"].(string)
		p := at[room]
		switch o["type"] {
		case "welcome":
			if token, _ := o["token"].(string); token != "" {
				v.token = token
			}
			if outcome := o["outcome"]; outcome != "resumed" && outcome != "gap" || room == "*" {
				if outcome == "expired" {
					clear(at)
				}
				p.epoch, _ = o["epoch"].(string)
				p.seq = number(o, "seq")
			}
		case "goodbye":
			delete(at, room)
			continue
		case "refused":
			if o["id"] != nil {
				v.refused[int(number(o, "id"))] = true
			}
			continue
		case "rooms", "members":
			continue
		case "ack":
			last = max(last, int(number(o, "id")))
			p.seq = max(p.seq, number(o, "seq"))
		}
		p.seq = max(p.seq, number(o, "last"))
		if o["type"] != "welcome" {
			p.seq = max(p.seq, number(o, "seq"))
		}
		if p.epoch != "" {
			at[room] = p
		}
	}
	v.unacked = v.unacked[min(last-v.acked, len(v.unacked)):]
	v.acked, v.at = last, at
}

func (v *traveller) say() {
	v.number++
	body := fmt.Sprintf("%s.%d-%d", v.name, v.session, v.number)
	if v.text {
		v.write(body)
		return
	}
	o := object{"type": "message", "id": v.number, "body": body}
	if v.labelled {
		o["room"] = pickOf(v.Rand, stormRooms)
	}
	b, _ := json.Marshal(o)
	v.unacked = append(v.unacked, string(b))
	v.write(string(b))
}

func (v *traveller) ask() {
	room, to := pickOf(v.Rand, stormRooms), pickOf(v.Rand, stormRooms)
	var line string
	switch n := v.IntN(12); {
	case v.text:
		line = []string{"/rooms", "/who", "/who " + room, "/nick " + v.fresh(), "/dance", "/msg nobody x"}[n%6]
		if n < 8 {
			line = "/join " + room
		}
	case n < 2 && !v.labelled, n < 4 && v.labelled:
		line = `{"type":"move","ref":1,"to":"` + to + `"}`
		if v.labelled {
			line = `{"type":"move","ref":1,"room":"` + room + `","to":"` + to + `"}`
		}
	case n < 8:
		line = `{"type":"enter","ref":1,"room":"` + room + `"}`
	case n < 10:
		line = `{"type":"leave","ref":1,"room":"` + room + `"}`
	case n == 10:
		line = `{"type":"rename","name":"` + v.fresh() + `"}`
	default:
		line = `{"type":"members","room":"` + room + `"}`
	}
	v.write(line)
}

// travel does so many things.
func (v *traveller) travel(steps int) {
	v.begin()
	for range steps {
		switch n := v.IntN(40); {
		case n < 20:
			v.say()
		case n < 36:
			v.ask()
		case n == 36:
			v.resume(false)
		case n == 37:
			v.resume(true)
		case n == 38:
			v.write(map[bool]string{true: "/quit", false: `{"type":"goodbye"}`}[v.text])
			v.hangUp()
			v.begin()
		default:
			time.Sleep(time.Duration(v.IntN(1000)) * time.Microsecond) // so that all do not run in step
		}
	}
	v.learn()
}

// rule is what the program does meanwhile.
func (w *storm) rule(r *rand.Rand, done <-chan struct{}) {
	said := 0
	ctx := context.Background()
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		name, to := pickOf(r, stormRooms), pickOf(r, stormRooms)
		room, ok := w.hub.Lookup(name)
		base := pickMember(r, w.hub.All())
		if !ok || base == nil {
			continue
		}
		m := pickMember(r, room)
		switch n := r.IntN(24); {
		case n < 8:
			said++
			room.Broadcast(ctx, fmt.Appendf(nil, "hub-%d", said))
		case n == 8:
			w.hub.All().Broadcast(ctx, fmt.Appendf(nil, "all %d", i))
		case n == 9:
			w.hub.Remove(name, "swept")
		case n == 10:
			w.hub.Enter(ctx, base, name)
		case n == 11:
			w.hub.Tell(ctx, nil, base.ID(), []byte("psst"))
		case m == nil:
		case n < 15:
			w.hub.Move(ctx, m, to)
		case n == 15:
			m.Kick("out")
		case n == 16:
			w.hub.Leave(m, "gone")
		case n == 17:
			w.hub.Rename(m, fmt.Sprintf("n%d", w.names.Add(1)))
		case n == 18:
			w.ban(tcproom.Ban{Room: name, Name: m.Name()}, room)
		case n == 19 && i%4 == 0:
			w.ban(tcproom.Ban{Name: m.Name()}, room)
		}
		time.Sleep(time.Duration(r.IntN(500)) * time.Microsecond) // it is one of many
	}
}

func pickMember(r *rand.Rand, room *tcproom.Room) *tcproom.Member {
	members := slices.Collect(room.Members())
	if len(members) == 0 {
		return nil
	}
	return pickOf(r, members)
}

// ban bans for a moment, and looks.
func (w *storm) ban(b tcproom.Ban, room *tcproom.Room) {
	w.hub.Ban(b)
	for m := range room.Members() {
		if m.Name() == b.Name {
			w.fail("H7: %s is in %s, and %v", m.Name(), room.Name(), b)
		}
	}
	w.hub.Unban(b)
}

// TestHubStorm has 8 connections of all kinds, and the program, do what they can in 5
// rooms at once, and holds what each connection got against the orders of the rooms.
func TestHubStorm(t *testing.T) { eachSeqs(t, testHubStorm) }

func testHubStorm(t *testing.T, s testkit.Seqs) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	w := newStorm(t, s, r, func() net.Listener { return listen(t, "tcp") }, func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) })
	var travellers []*traveller
	var travelling, ruling sync.WaitGroup
	done := make(chan struct{})
	for i := range 8 {
		v := &traveller{storm: w, Rand: rand.New(rand.NewPCG(seed, uint64(i)+2)), name: fmt.Sprintf("t%d", i), text: i%4 == 3, labelled: i%2 == 0}
		travellers = append(travellers, v)
		travelling.Go(func() { v.travel(100) })
	}
	ruling.Go(func() { w.rule(rand.New(rand.NewPCG(seed, 100)), done) })
	travelling.Wait()
	close(done)
	ruling.Wait()

	// Who had gone without a word is cut.
	if err := w.hub.Shutdown(testContext(t)); err != nil {
		var stop *tcproom.StopError
		require.ErrorAs(t, err, &stop)
		require.Empty(t, stop.Stuck)
		require.NoError(t, stop.Err)
	}
	moves := w.hub.Stats().Moves
	w.checkOrders()
	w.checkSpoken()
	w.checkHooks()
	if n := w.checkMoves(); n != moves {
		w.fail("H4: %d moves in the orders, and %d in the counts", n, moves)
	}
	for _, v := range travellers {
		v.reading.Wait()
		for i, tr := range v.trips {
			before := len(w.faults)
			w.follow(tr)
			if len(w.faults) > before {
				t.Logf("%s from %v (id %q):\n%s", tr.name, tr.from, tr.id, strings.Join(tr.lines, "\n"))
				if i > 0 {
					t.Logf("before that, from %v:\n%s", v.trips[i-1].from, strings.Join(v.trips[i-1].lines, "\n"))
				}
			}
		}
	}
	require.NotZero(t, moves)
	require.Empty(t, w.faults[:min(len(w.faults), 10)], "%s", strings.Repeat("!", min(len(w.faults), 50)))
}
