package tcproom

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Shutdown of a hub with many rooms under load: what was ordered is read by all, the
// goodbye of the connection is the last event, and every hook has returned.
func TestHubShutdownUnderLoad(t *testing.T) {
	const rooms, peers = 40, 8
	var running atomic.Int64
	all := &roll{}
	h := NewHub(append(all.options(), WithCodec(JSON{}), WithEcho(true), OnLeave(func(m *Member, _ error) {
		running.Add(1)
		defer running.Add(-1)
		runtime.Gosched()
		all.note(m, "leave")
	}))...)
	var names []string
	for i := range rooms {
		names = append(names, fmt.Sprint("r", i))
	}
	var wg sync.WaitGroup
	seqs := make([]map[string]float64, peers)
	var visitors []*hubPeer
	for i := range peers {
		visitors = append(visitors, visitHub(t, h, fmt.Sprint("p", i), names...))
	}
	for i, p := range visitors {
		seqs[i] = make(map[string]float64)
		wg.Go(func() {
			last := ""
			for {
				s, err := p.r.ReadString('\n')
				if err != nil {
					if last != "goodbye closed" {
						t.Errorf("the last event is %q", last)
					}
					return
				}
				m := parsed(t, s)
				last = short(m)
				if room, ok := m["room"].(string); ok && m["seq"] != nil {
					if before := seqs[i][room]; before != 0 && before+1 != m["seq"] {
						t.Errorf("a hole in %s: %v, then %v", room, before, m["seq"])
					}
					seqs[i][room] = m["seq"].(float64)
				}
			}
		})
		go func() {
			for j := 0; ; j++ {
				if _, err := fmt.Fprintf(p, `{"type":"message","room":"r%d","body":"x"}`+"\n", j%rooms); err != nil {
					return
				}
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	handles := make([]*Room, 0, rooms)
	for _, r := range h.Rooms("") {
		handles = append(handles, r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, h.Shutdown(ctx, WithPatience(10*time.Second)))
	require.Zero(t, running.Load())
	<-h.Done()
	wg.Wait()
	for i := range peers {
		for _, r := range handles {
			if at := seqs[i][r.Name()]; at != 0 || r.Stats().Seq > peers { // else there were joins, before it read
				require.EqualValues(t, r.Stats().Seq, at, "peer %d in %s: %v", i, r.Name(), r.Stats())
			}
		}
	}
	all.paired(t)
	for _, r := range handles {
		select {
		case <-r.Done():
		case <-time.After(5 * time.Second):
			t.Fatal("a room of the hub is not done")
		}
		require.NoError(t, r.Shutdown(ctx))
		require.NoError(t, r.Close())
	}
}

// What one that does not read misses is counted over all rooms.
func TestHubStopErrorCountsAllRooms(t *testing.T) {
	h := jsonHub(t)
	ada := visitHub(t, h, "ada", "a", "b")
	ada.stall(memberNamed(t, h.All(), "ada"))
	const n = 300
	body := []byte(strings.Repeat("x", 8<<10))
	for range n / 10 { // so that the windows are full
		for _, name := range []string{"a", "b"} {
			_, err := roomOf(t, h, name).Broadcast(t.Context(), body)
			require.NoError(t, err)
		}
	}
	for range n {
		for _, name := range []string{"a", "b"} {
			_, err := roomOf(t, h, name).Broadcast(t.Context(), []byte("x"))
			require.NoError(t, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := h.Shutdown(ctx)
	stop, ok := errors.AsType[*StopError](err)
	require.True(t, ok, "%v", err)
	require.Len(t, stop.Cut, 1)
	require.Equal(t, "ada", stop.Cut[0].Member.Name)
	require.GreaterOrEqual(t, stop.Cut[0].Missed, uint64(n+1))
	<-h.Done()
}

// Close while rooms are entered, left, made, removed and moved between.
func TestHubCloseInAStorm(t *testing.T) {
	for i := range 12 {
		all := &roll{}
		opts := append(all.options(), WithCodec(JSON{}), WithRoomLinger(-1), WithSessions(Sessions{}), OnRoom(func(*Room, bool) { runtime.Gosched() }))
		h := NewHub(opts...)
		var stop atomic.Bool
		var wg sync.WaitGroup
		for j := range 4 {
			p := visitHub(t, h, fmt.Sprint("p", j), "a", "b")
			m := memberNamed(t, h.All(), fmt.Sprint("p", j))
			wg.Go(func() {
				for {
					if _, err := p.r.ReadString('\n'); err != nil {
						return
					}
				}
			})
			wg.Go(func() {
				for k := 0; !stop.Load(); k++ {
					fmt.Fprintf(p, `{"type":"enter","room":"c%d"}`+"\n"+`{"type":"move","room":"c%d","to":"d"}`+"\n"+`{"type":"leave","room":"d"}`+"\n", k%3, k%3)
					time.Sleep(100 * time.Microsecond)
				}
			})
			wg.Go(func() {
				for k := 0; !stop.Load(); k++ {
					part, err := h.Enter(context.Background(), m, fmt.Sprint("e", k%3))
					if err == nil {
						h.Move(context.Background(), part, "f")
					}
					h.Remove(fmt.Sprint("c", k%3), "")
					h.Remove("f", "")
				}
			})
		}
		time.Sleep(time.Duration(i) * time.Millisecond)
		var err error
		if i%2 == 0 {
			err = h.Close()
		} else {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			err = h.Shutdown(ctx)
			cancel()
		}
		require.NoError(t, err)
		<-h.Done()
		stop.Store(true)
		wg.Wait()
		require.Zero(t, h.Stats().Memberships)
		require.Zero(t, h.All().Len())
		all.paired(t)
	}
}

// Remove of a room that Close of the hub overtakes: nobody is in the room when it returns,
// and the room waits for the calls of OnLeave of all that were in it.
func TestHubCloseOvertakesRemove(t *testing.T) {
	all := &roll{}
	h := NewHub(append(all.options(), WithCodec(JSON{}))...)
	for i := range 4 {
		visitHub(t, h, fmt.Sprint("p", i), "a")
	}
	a := roomOf(t, h, "a")
	require.Equal(t, 4, a.Len())
	hr, err := h.unlist("a", nil)
	require.NoError(t, err)
	h.stopRooms(roomClosed) // as Close does first
	h.putOut(hr, "")
	require.Zero(t, a.Len(), "members of a room that is removed")
	<-a.Done()
	require.NoError(t, h.Close())
	<-h.Done()
	all.paired(t)
}

// Done of a hub waits for the OnRoom of a room that was removed before.
func TestHubDoneWaitsForOnRoom(t *testing.T) {
	in, goOn := make(chan struct{}), make(chan struct{})
	h := NewHub(OnRoom(func(_ *Room, made bool) {
		if !made {
			close(in)
			<-goOn
		}
	}))
	_, err := h.Room("a")
	require.NoError(t, err)
	require.NoError(t, h.Remove("a", ""))
	<-in
	closed := make(chan error)
	go func() { closed <- h.Close() }()
	select {
	case <-h.Done():
		t.Fatal("done while a hook runs")
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	require.NoError(t, <-closed)
	<-h.Done()
}

// Done of a hub waits for hooks that the program's own calls have called, and Close for
// none of them that runs.
func TestHubDoneWaitsForHooksOfCalls(t *testing.T) {
	for _, hook := range []string{"OnJoin", "OnJoined", "OnRoom"} {
		t.Run(hook, func(t *testing.T) {
			in, goOn := make(chan struct{}), make(chan struct{})
			var running atomic.Int64
			run := func(is, room string) {
				running.Add(1)
				defer running.Add(-1)
				if is == hook && room == "b" {
					close(in)
					<-goOn
				}
			}
			h := NewHub(WithCodec(JSON{}),
				OnJoin(func(m *Member) error { run("OnJoin", m.Room().Name()); return nil }),
				OnJoined(func(m *Member, _ uint64) { run("OnJoined", m.Room().Name()) }),
				OnLeave(func(m *Member, _ error) { run("OnLeave", m.Room().Name()) }),
				OnRoom(func(r *Room, made bool) {
					if made {
						run("OnRoom", r.Name())
					}
				}),
				OnDisconnect(func(m *Member, _ error) { run("OnDisconnect", "") }))
			visitHub(t, h, "ada", "a")
			m := memberNamed(t, h.All(), "ada")
			called := make(chan struct{})
			go func() {
				defer close(called)
				if hook == "OnRoom" {
					h.Room("b")
				} else {
					h.Enter(context.Background(), m, "b")
				}
			}()
			<-in
			require.NoError(t, h.Close())
			select {
			case <-h.Done():
				t.Error("done while a hook runs")
			case <-time.After(20 * time.Millisecond):
			}
			close(goOn)
			<-h.Done()
			require.Zero(t, running.Load())
			<-called
		})
	}
}

// Close waits for no hook that runs, but for all others of the same connection.
func TestHubCloseWaitsForOtherHooks(t *testing.T) {
	for _, last := range []bool{false, true} { // with OnDisconnect, which the running one holds up
		in, goOn := make(chan struct{}), make(chan struct{})
		var left atomic.Int64
		opts := []HubOption{WithCodec(JSON{}), OnLeave(func(m *Member, _ error) {
			if m.Room().Name() == "a" {
				close(in)
				<-goOn
			}
			left.Add(1)
		})}
		if last {
			opts = append(opts, OnDisconnect(func(*Member, error) {}))
		}
		h := NewHub(opts...)
		ada := visitHub(t, h, "ada", "a", "b", "c")
		require.NoError(t, memberNamed(t, roomOf(t, h, "a"), "ada").Kick(""))
		<-in
		ada.wants("goodbye a kicked")
		require.NoError(t, h.Close())
		require.EqualValues(t, 2, left.Load())
		close(goOn)
		<-h.Done()
		require.EqualValues(t, 3, left.Load())
	}
}

// A hook may call Close also if it tells of a room in which a connection does not go on.
func TestHubCloseInOnLeaveOfAResume(t *testing.T) {
	for _, labelled := range []bool{true, false} {
		var h *Hub
		closed := make(chan error, 1)
		h = NewHub(WithCodec(JSON{}), WithSessions(Sessions{}), OnLeave(func(m *Member, _ error) {
			if m.Room().Name() == "a" {
				closed <- h.Close()
			}
		}))
		hello := lose(t, h, "a", "b")
		hello = hello[:strings.Index(hello, `"rooms":{`)] + `"rooms":{}}}`
		if !labelled {
			hello = strings.NewReplacer(`"rooms":[],`, "", `,"rooms":{}`, "").Replace(hello)
		}
		ada := callHub(t, h)
		ada.say("%s", hello)
		require.NoError(t, <-closed)
		<-h.Done()
	}
}

// A room that was removed is done, and OnRoom says so, when no hook of it runs.
func TestHubRoomDoneWaitsForItsHooks(t *testing.T) {
	for _, hook := range []string{"OnJoin", "OnJoined", "OnMessage"} {
		t.Run(hook, func(t *testing.T) {
			in, goOn, removed := make(chan struct{}), make(chan struct{}), make(chan struct{})
			run := func(is string) {
				if is == hook {
					close(in)
					<-goOn
				}
			}
			h := jsonHub(t,
				OnJoin(func(*Member) error { run("OnJoin"); return nil }),
				OnJoined(func(*Member, uint64) { run("OnJoined") }),
				OnMessage(func(_ *Member, b []byte) ([]byte, error) { run("OnMessage"); return b, nil }),
				OnRoom(func(_ *Room, made bool) {
					if !made {
						close(removed)
					}
				}))
			ada := callHub(t, h)
			ada.say(`{"type":"hello","name":"ada","rooms":["a"]}`)
			ada.say(`{"type":"message","room":"a","body":"x"}`)
			<-in
			a := roomOf(t, h, "a")
			require.NoError(t, h.Remove("a", ""))
			select {
			case <-a.Done():
				t.Error("done while a hook runs")
			case <-removed:
				t.Error("OnRoom is called while a hook runs")
			case <-time.After(20 * time.Millisecond):
			}
			close(goOn)
			<-a.Done()
			<-removed
		})
	}
}

// What the first calls of OnRoom do, while NewHub runs: each room is told of once, and one
// that is removed before that ends.
func TestHubRoomsInFirstOnRoom(t *testing.T) {
	var mu sync.Mutex
	made, gone := make(map[string]int), make(map[string]int)
	tell := func(r *Room, is bool) {
		mu.Lock()
		defer mu.Unlock()
		if is {
			made[r.Name()]++
		} else {
			gone[r.Name()]++
		}
	}
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	opts := []HubOption{OnRoom(func(r *Room, is bool) {
		if tell(r, is); !is || len(r.Name()) > 1 {
			return
		}
		h := r.Hub()
		for _, name := range names {
			if name != r.Name() {
				h.Remove(name, "")
			}
			_, err := h.Room(r.Name() + name)
			require.NoError(t, err)
		}
	})}
	for _, name := range names {
		opts = append(opts, WithRoom(name))
	}
	h := NewHub(opts...)
	require.NoError(t, h.Close())
	<-h.Done()
	for name, n := range made {
		require.Equal(t, 1, n, name)
	}
	for name, n := range gone {
		require.Equal(t, n, made[name], name)
	}
}
