package tcproom_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// A stable is a hub on a network in memory, with a listener for each codec. It is made
// in a bubble, and ends with the test.
type stable struct {
	t    testing.TB
	hub  *tcproom.Hub
	net  roomtest.Network
	json string // addresses
	text string

	serving sync.WaitGroup
}

func newStable(t testing.TB, opts ...tcproom.HubOption) *stable {
	t.Helper()
	s := &stable{t: t, hub: tcproom.NewHub(opts...)}
	s.json, s.text = s.listen(tcproom.JSON{}), s.listen(tcproom.Text{Commands: true})
	t.Cleanup(func() {
		s.hub.Close()
		s.serving.Wait()
		<-s.hub.Done()
	})
	return s
}

// listen returns the address of one more listener.
func (s *stable) listen(codec tcproom.Codec) string {
	s.t.Helper()
	l, err := s.net.Listen("")
	require.NoError(s.t, err)
	s.serving.Go(func() { s.hub.Serve(l, tcproom.WithCodec(codec)) })
	return l.Addr().String()
}

// newLone makes a room of New with a listener for JSON, for riders too.
func newLone(t testing.TB, opts ...tcproom.RoomOption) (*stable, *tcproom.Room) {
	t.Helper()
	s, room := &stable{t: t}, tcproom.New(opts...)
	l, err := s.net.Listen("")
	require.NoError(t, err)
	s.json = serve(t, room, l)
	return s, room
}

// A rider is a peer that speaks bytes, and keeps the lines that it gets.
type rider struct {
	t    testing.TB
	nc   *roomtest.Conn
	room string        // for what it says; empty: it names none
	done chan struct{} // closed when it gets no more

	mu    sync.Mutex
	lines []string
}

// ride connects to addr from a host, and says the first lines.
func (s *stable) ride(addr, host string, first ...string) *rider {
	s.t.Helper()
	nc, err := s.net.DialFrom(s.t.Context(), host, addr)
	require.NoError(s.t, err)
	r := &rider{t: s.t, nc: nc.(*roomtest.Conn), done: make(chan struct{})}
	go r.read()
	s.t.Cleanup(func() { r.nc.Reset(); <-r.done })
	r.say(first...)
	synctest.Wait() // whoever rides next comes after it
	return r
}

// labelled connects a JSON client that names its rooms.
func (s *stable) labelled(name string, rooms ...string) *rider {
	s.t.Helper()
	return s.ride(s.json, "10.0.0.1", helloOf(object{"name": name, "rooms": append([]string{}, rooms...)}))
}

// unlabelled connects a JSON client that does not.
func (s *stable) unlabelled(name string) *rider {
	s.t.Helper()
	return s.ride(s.json, "10.0.0.1", helloOf(object{"name": name}))
}

// person connects somebody with commands.
func (s *stable) person(name string) *rider {
	s.t.Helper()
	return s.ride(s.text, "10.0.0.1", "/nick "+name)
}

func helloOf(fields object) string {
	o := object{"type": "hello"}
	for k, v := range fields {
		o[k] = v
	}
	b, _ := json.Marshal(o)
	return string(b)
}

func (r *rider) read() {
	defer close(r.done)
	in := bufio.NewScanner(r.nc)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		r.mu.Lock()
		r.lines = append(r.lines, in.Text())
		r.mu.Unlock()
	}
}

// say sends lines, in one write.
func (r *rider) say(lines ...string) {
	if len(lines) > 0 {
		r.nc.Write([]byte(strings.Join(lines, "\n") + "\n")) // or the hub has closed it: the test sees that by what it gets
	}
}

// got returns the lines since the last call, when nothing moves any more.
func (r *rider) got() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

// objects is got for JSON.
func (r *rider) objects() (all []object) {
	r.t.Helper()
	for _, line := range r.got() {
		var o object
		require.NoError(r.t, json.Unmarshal([]byte(line), &o), "%q", line)
		all = append(all, o)
	}
	return all
}

// heard is objects in few words, by room: there is no order across rooms.
func (r *rider) heard() map[string][]string {
	r.t.Helper()
	all := map[string][]string{}
	for _, o := range r.objects() {
		room, _ := o["room"].(string)
		all[room] = append(all[room], inBrief(o))
	}
	return all
}

// gone reports whether the hub has closed the connection.
func (r *rider) gone() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// inBrief is an object in few words.
func inBrief(o object) string {
	from, _ := o["from"].(object)
	s := ""
	switch o["type"] {
	case "message":
		s = fmt.Sprintf("%v %v: %v", o["seq"], from["name"], o["body"])
	case "direct":
		s = fmt.Sprintf("direct %v: %v", from["name"], o["body"])
	case "join", "leave":
		s = fmt.Sprintf("%v %v %v", o["seq"], o["type"], from["name"])
	case "renamed":
		s = fmt.Sprintf("%v %v is now %v", o["seq"], from["name"], o["name"])
	case "gap":
		s = fmt.Sprintf("gap %v-%v", o["first"], o["last"])
	case "ack":
		if s = "ack"; o["id"] != nil {
			s = fmt.Sprintf("ack %v=%v", o["id"], o["seq"])
		}
	case "welcome":
		s = fmt.Sprintf("welcome %v", o["seq"])
		if outcome, _ := o["outcome"].(string); outcome != "" && outcome != "joined" {
			s += " " + outcome
		}
	case "rooms", "members":
		s = fmt.Sprint(o["type"])
	default:
		s = strings.TrimSpace(fmt.Sprintf("%v %v", o["type"], orEmpty(o["code"])))
	}
	if o["ref"] != nil {
		s += fmt.Sprintf(" ref %v", o["ref"])
	}
	return s
}

func orEmpty(x any) any {
	if x == nil {
		return ""
	}
	return x
}

// room returns a room that there is.
func (s *stable) room(name string) *tcproom.Room {
	s.t.Helper()
	r, ok := s.hub.Lookup(name)
	require.True(s.t, ok, "there is no room %q", name)
	return r
}

// names returns who is in a room, by name; nobody is in one that there is not.
func (s *stable) names(name string) []string {
	names := []string{}
	if r, ok := s.hub.Lookup(name); ok {
		for m := range r.Members() {
			names = append(names, m.Name())
		}
	}
	slices.Sort(names)
	return names
}

// member returns the member of that name in a room; "*" is any room.
func (s *stable) member(room, name string) *tcproom.Member {
	s.t.Helper()
	for m := range s.room(room).Members() {
		if m.Name() == name {
			return m
		}
	}
	s.t.Fatalf("no %q is in %q, but %v", name, room, s.names(room))
	return nil
}
