package tcproom_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// A model is what a hub must be like, after each thing that is done to it.
type model struct {
	*storm
	*rand.Rand
	actors []*actor
	banned map[tcproom.Ban]bool
}

// An actor is a traveller, and what the model knows of it.
type actor struct {
	*traveller
	known string   // its name
	rooms []string // in which it must be
	away  bool     // it has lost its connection, and may resume
	dead  bool     // it has no session any more
}

// may reports whether a may be in a room.
func (m *model) may(a *actor, room string) bool {
	return !m.banned[tcproom.Ban{Room: room, Name: a.known}]
}

// one reports whether a is in one room at a time.
func (a *actor) one() bool { return !a.labelled }

// enters notes that a has entered a room, if it may.
func (m *model) enters(a *actor, room string) {
	if m.may(a, room) && !slices.Contains(a.rooms, room) {
		a.rooms = append(a.rooms, room)
	}
}

// moves notes that a has moved.
func (m *model) moves(a *actor, from, to string) {
	i := slices.Index(a.rooms, from)
	if i >= 0 && m.may(a, to) && !slices.Contains(a.rooms, to) {
		a.rooms[i] = to
	}
}

// leaves notes that a has left a room. One that names none has no connection then.
func (a *actor) leaves(room string) {
	i := slices.Index(a.rooms, room)
	if i < 0 {
		return
	}
	a.rooms = slices.Delete(a.rooms, i, i+1)
	a.dead = a.dead || a.one() && !a.text && !a.away
}

// anew has a come, or come back, as somebody new.
func (m *model) anew(a *actor) {
	a.begin()
	a.known, a.rooms, a.away, a.dead = a.called, nil, false, false
	if a.text {
		synctest.Wait()
		a.known = a.fresh()
		a.write("/nick " + a.known)
	}
	if a.one() {
		m.enters(a, "lobby")
		return
	}
	for _, room := range a.asked {
		m.enters(a, room)
	}
}

// resumes has a come back.
func (m *model) resumes(a *actor) {
	a.resume(false)
	a.away = false
	switch {
	case a.one() && len(a.rooms) == 0: // it comes anew, by the same name
		m.enters(a, "lobby")
		a.dead = len(a.rooms) == 0
	case !a.one():
		from := a.trips[len(a.trips)-1].from
		a.rooms = slices.DeleteFunc(a.rooms, func(room string) bool { _, named := from[room]; return !named })
	}
}

// does has an actor do something.
func (m *model) does(a *actor) string {
	room, to := pickOf(m.Rand, stormRooms), pickOf(m.Rand, stormRooms)
	switch n := m.IntN(20); {
	case a.dead:
		m.anew(a)
		return "comes anew"
	case a.away && n < 10:
		m.resumes(a)
		return "resumes"
	case a.away:
		return "is away"
	case n < 8:
		for range 1 + m.IntN(5) {
			a.say()
		}
		return "speaks"
	case n == 8:
		a.hangUp()
		a.learn()
		if a.away = !a.text; a.text {
			a.rooms, a.dead = nil, true
		}
		return "is lost"
	case n == 9:
		a.known = a.fresh()
		a.write(map[bool]string{true: "/nick " + a.known, false: `{"type":"rename","name":"` + a.known + `"}`}[a.text])
		return "is renamed"
	case a.text:
		a.write("/join " + to)
		if len(a.rooms) == 0 {
			m.enters(a, to)
		} else {
			m.moves(a, a.rooms[0], to)
		}
	case !a.labelled:
		a.write(`{"type":"move","to":"` + to + `"}`)
		m.moves(a, a.rooms[0], to)
	case n < 14:
		a.write(`{"type":"enter","room":"` + to + `"}`)
		m.enters(a, to)
	case n < 16:
		a.write(`{"type":"leave","room":"` + room + `"}`)
		a.leaves(room)
	default:
		a.write(`{"type":"move","room":"` + room + `","to":"` + to + `"}`)
		m.moves(a, room, to)
	}
	return "goes from " + room + " to " + to
}

// happens has the program do something to an actor.
func (m *model) happens(a *actor) string {
	ctx, name, to := context.Background(), pickOf(m.Rand, stormRooms), pickOf(m.Rand, stormRooms)
	if len(a.rooms) > 0 {
		name = pickOf(m.Rand, a.rooms)
	}
	room, ok := m.hub.Lookup(name)
	if !ok || len(a.rooms) == 0 {
		return "stays"
	}
	i := slices.IndexFunc(slices.Collect(room.Members()), func(mem *tcproom.Member) bool { return mem.Name() == a.known })
	if i < 0 {
		return "is missing"
	}
	mem := slices.Collect(room.Members())[i]
	switch m.IntN(7) {
	case 0:
		mem.Kick("out")
		a.leaves(name)
		return "is kicked from " + name
	case 1:
		m.hub.Remove(name, "swept")
		for _, other := range m.actors {
			other.leaves(name)
		}
		return "sees " + name + " removed"
	case 2:
		b := tcproom.Ban{Room: name, Name: a.known}
		m.banned[b] = true
		m.hub.Ban(b)
		a.leaves(name)
		return "is banned from " + name
	case 3:
		a.known = a.fresh()
		m.hub.Rename(mem, a.known)
		return "is called " + a.known
	case 4:
		if _, err := m.hub.Move(ctx, mem, to); err == nil {
			m.moves(a, name, to)
		}
		return "is moved from " + name + " to " + to
	case 5:
		if _, err := m.hub.Enter(ctx, mem, to); err == nil {
			m.enters(a, to)
		}
		return "is let into " + to
	}
	m.hub.All().Broadcast(ctx, []byte("all x"))
	return "is told something"
}

// check compares who is where.
func (m *model) check(what string) {
	synctest.Wait()
	want, got := map[string][]string{}, map[string][]string{}
	for _, a := range m.actors {
		for _, room := range a.rooms {
			want[room] = append(want[room], a.known)
		}
	}
	for name, r := range m.hub.Rooms("") {
		for mem := range r.Members() {
			got[name] = append(got[name], mem.Name())
		}
		slices.Sort(got[name])
	}
	for name := range want {
		slices.Sort(want[name])
	}
	require.Equal(m.t, want, got, "after %s", what)
}

// TestHubModel does one thing after the other to a hub of 5 rooms and 8 connections, and
// compares it with a model after each.
func TestHubModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for i := range uint64(8) {
		s := testkit.Seqs(i%2 == 1)
		inBubble(fmt.Sprintf("seed %d, %v", seed+i, s), t, func(t *testing.T) { runModel(t, s, rand.New(rand.NewPCG(seed+i, 1))) })
	}
}

func runModel(t *testing.T, s testkit.Seqs, r *rand.Rand) {
	var network roomtest.Network
	m := &model{Rand: r, banned: map[tcproom.Ban]bool{}}
	m.storm = newStorm(t, s, r, func() net.Listener {
		l, err := network.Listen("")
		require.NoError(t, err)
		return l
	}, func(addr string) (net.Conn, error) { return network.Dial(t.Context(), "tcp", addr) })
	defer m.hub.Close()
	for i := range 8 {
		v := &traveller{storm: m.storm, Rand: r, name: fmt.Sprintf("t%d", i), text: i%4 == 3, labelled: i%2 == 0}
		m.actors = append(m.actors, &actor{traveller: v, dead: true})
		defer v.hangUp()
	}
	for n := range 200 {
		a := pickOf(r, m.actors)
		what := m.does
		if !a.dead && m.IntN(4) == 0 {
			what = m.happens
		}
		before := a.known
		done := fmt.Sprintf("step %d: %s (%s) %s", n, a.name, before, what(a))
		m.check(done)
		time.Sleep(time.Second / 100) // so that only a move has one time for its leave and join
	}
	for _, a := range m.actors {
		for i, tr := range a.trips {
			tr.alone, tr.alive = true, i == len(a.trips)-1 && !a.away && !a.dead
			if tr.text && tr.alive {
				m.idsMu.Lock()
				tr.id = m.ids[a.nc.LocalAddr().String()]
				m.idsMu.Unlock()
			}
			m.follow(tr)
		}
	}
	m.checkOrders()
	m.checkSpoken()
	require.Equal(t, m.hub.Stats().Moves, m.checkMoves())
	require.NotZero(t, m.hub.Stats().Moves)
	require.Empty(t, m.faults[:min(len(m.faults), 10)])
}
