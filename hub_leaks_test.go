package tcproom

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/tcproom/internal/scribble"
	"github.com/stretchr/testify/require"
)

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// 100,000 names entered and left: memory and goroutines are as before.
func TestHubLeaksNothing(t *testing.T) {
	n := 100_000
	if scribble.Race || testing.Short() {
		n = 5_000
	}
	h := jsonHub(t, WithRoomLinger(-1))
	ada, bob := visitHub(t, h, "ada", "stays"), visitHub(t, h, "bob", "stays")
	go func() {
		for {
			if _, err := bob.r.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	go func() {
		for {
			if _, err := ada.r.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	base := memberNamed(t, h.All(), "ada")
	round := func(i int) {
		part, err := h.Enter(context.Background(), base, fmt.Sprint("r", i))
		require.NoError(t, err)
		if i%2 == 0 {
			part, err = h.Move(context.Background(), part, fmt.Sprint("m", i))
			require.NoError(t, err)
		}
		require.NoError(t, h.Leave(part, ""))
	}
	rest := func() {
		soon(t, "the rooms are gone", func() bool { return h.Stats().Rooms == 1 })
		soon(t, "what they had for ada is written", func() bool { return base.conn().sink.Streams() == 2 })
	}
	for i := range 2000 {
		round(i)
	}
	rest()
	memory, goroutines := heap(), runtime.NumGoroutine()
	for i := range n {
		round(i)
	}
	rest()
	soon(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	require.Less(t, heap()-memory, int64(n)*8+512<<10, "bytes")
}

// Who comes to a room and leaves it again and again leaves nothing in its lane.
func TestHubLaneForgetsWhoLeft(t *testing.T) {
	h := jsonHub(t)
	ada, _ := visitHub(t, h, "ada"), visitHub(t, h, "bob", "a")
	go func() {
		for {
			if _, err := ada.r.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	base, a := memberNamed(t, h.All(), "ada"), roomOf(t, h, "a")
	for range 3000 {
		part, err := h.Enter(context.Background(), base, "a")
		require.NoError(t, err)
		require.NoError(t, h.Leave(part, ""))
		for base.conn().sink.Streams() > 100 { // this is faster than any peer
			runtime.Gosched()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.lanes {
		require.Less(t, len(l.closing), 1500)
	}
}

// The program cannot have a connection that does not read leave rooms without a bound: it
// waits, as long as its context allows and the connection lasts.
func TestHubEnterAndMoveWaitForAReader(t *testing.T) {
	h := jsonHub(t)
	ada := visitHub(t, h, "ada", "a")
	base, part := memberNamed(t, h.All(), "ada"), memberNamed(t, roomOf(t, h, "a"), "ada")
	fill := func(room string) { // what the windows have no room for
		for range 30 {
			_, err := roomOf(t, h, room).Broadcast(t.Context(), bytes.Repeat([]byte("x"), 8<<10))
			require.NoError(t, err)
		}
	}
	ada.stall(base)
	fill("a")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	gone, giveUp := context.WithCancel(t.Context())
	giveUp()
	until := func(step func(i int) error) {
		var err error
		for i := 0; err == nil && i < 10*maxEnded; i++ { // the windows may have had room for some
			err = step(i)
		}
		require.ErrorIs(t, err, context.Canceled)
	}
	until(func(int) error {
		b, err := h.Enter(gone, base, "b")
		if err == nil {
			require.NoError(t, h.Leave(b, ""))
		}
		return err
	})
	until(func(i int) error {
		next, err := h.Move(gone, part, []string{"b", "a"}[i%2])
		if err == nil {
			part = next
		}
		return err
	})
	moved := make(chan error)
	go func() { _, err := h.Move(ctx, part, "c"); moved <- err }()
	go io.Copy(io.Discard, ada)
	require.NoError(t, <-moved)

	bob := visitHub(t, h, "bob", "d")
	base = memberNamed(t, h.All(), "bob")
	bob.stall(base)
	fill("d")
	entered := make(chan error)
	go func() {
		for {
			c, err := h.Enter(ctx, base, "c")
			if err != nil {
				entered <- err
				return
			}
			h.Leave(c, "")
		}
	}()
	soon(t, "it waits", func() bool { return base.conn().sink.Streams() > maxEnded+1 })
	require.NoError(t, base.Kick("asleep"))
	require.ErrorIs(t, <-entered, ErrKicked)
}

// Lanes of doors that are closed go, also if the last that used them left the room and
// went on, and if its connection ended at that moment.
func TestHubLanesGo(t *testing.T) {
	h := NewHub(WithCodec(JSON{}), WithRoom("a"))
	defer h.Close()
	a := roomOf(t, h, "a")
	for i := range 3 * maxLanes {
		p := callHub(t, h, WithFraming(Delimiter(fmt.Sprintf("<%d>", i))))
		end := fmt.Sprintf("<%d>", i)
		fmt.Fprint(p, `{"type":"hello","name":"ada","rooms":["a"]}`, end)
		m := memberNamed(t, a, "ada")
		switch i % 3 {
		case 0: // it goes on, and then ends
			fmt.Fprint(p, `{"type":"leave","room":"a"}`, end)
			soon(t, "it has left", func() bool { return a.Len() == 0 })
		case 1:
			base := memberNamed(t, h.All(), "ada")
			h.All().mu.Lock()
			base.conn().setCause(errReset) // and its goroutine has not seen it
			h.All().mu.Unlock()
			require.NoError(t, m.Kick(""))
			base.conn().unblock()
		}
		p.Close()
		soon(t, "it is gone", func() bool { return h.All().Len() == 0 && a.Len() == 0 })
	}
	soon(t, "all links are released", func() bool { h.all.mu.Lock(); defer h.all.mu.Unlock(); return len(h.all.links) == 0 })
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tidyLanesLocked()
	require.LessOrEqual(t, len(a.lanes), 1)
	for _, l := range a.lanes {
		require.Zero(t, l.conns)
	}
}

// One that enters and leaves without reading is not read from, at some time.
func TestHubEnterAndLeaveWithoutReadingIsBounded(t *testing.T) {
	h := jsonHub(t)
	ada := visitHub(t, h, "ada")
	base := memberNamed(t, h.All(), "ada")
	ada.stall(base)
	ask := strings.Repeat(`{"type":"enter","room":"a"}`+"\n"+`{"type":"leave","room":"a"}`+"\n", 100)
	ada.SetWriteDeadline(time.Now().Add(20 * time.Second))
	var cycles int
	for {
		ada.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := fmt.Fprint(ada, ask); err != nil {
			break
		}
		if cycles += 100; cycles > 200_000 {
			t.Fatal("all of it was taken")
		}
	}
	require.Less(t, base.conn().sink.Streams(), 300)
	go func() {
		for {
			if _, err := ada.r.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	soon(t, "it is read from again", func() bool { return base.conn().sink.Streams() < 5 })
}

// A reader that lags in one busy room of five.
func TestHubLagsInOneRoomOfFive(t *testing.T) {
	for _, tt := range []struct {
		name string
		slow RoomOption
	}{{"skip", WithSlowMembers(Skip)}, {"disconnect", WithSlowMembers(Disconnect)}} {
		t.Run(tt.name, func(t *testing.T) {
			h := jsonHub(t, tt.slow, WithBacklog(256<<10), WithSessions(Sessions{}))
			ada := callHub(t, h)
			ada.say(`{"type":"hello","name":"ada","rooms":["a","b","c","d","e"]}`)
			token, epoch, _, _ := ada.welcome()
			at := map[string]string{}
			for range 5 {
				_, e, _, w := ada.welcome()
				at[w["room"].(string)] = e
			}
			ada.stall(memberNamed(t, h.All(), "ada"))
			for _, quiet := range []string{"b", "c", "d", "e"} {
				_, err := roomOf(t, h, quiet).Broadcast(t.Context(), []byte("first"))
				require.NoError(t, err)
			}
			a := roomOf(t, h, "a")
			body := []byte(strings.Repeat("x", 16<<10))
			lost := func() bool { return h.All().Stats().Detached == 1 }
			for range 2000 {
				_, err := a.Broadcast(t.Context(), body)
				require.NoError(t, err)
				if a.Stats().Skipped > 0 || lost() {
					break
				}
				time.Sleep(100 * time.Microsecond)
			}
			for _, quiet := range []string{"b", "c", "d", "e"} {
				_, err := roomOf(t, h, quiet).Broadcast(t.Context(), []byte("last"))
				require.NoError(t, err)
			}
			if tt.name == "disconnect" {
				soon(t, "it is lost", lost)
				ada.Close()
				ada = callHub(t, h)
				ada.say(`{"type":"hello","rooms":[],"resume":{"token":%q,"epoch":%q,"seq":0,"rooms":{"a":{"epoch":%q,"seq":1},"b":{"epoch":%q,"seq":2}}}}`,
					token, epoch, at["a"], at["b"])
				ada.wants("welcome * ada resumed")
				got := map[string]bool{}
				for !got["welcome a ada gap"] || !got["message b last"] {
					got[ada.next()] = true
				}
				require.True(t, got["welcome b ada resumed"], "%v", got)
				return
			}
			ada.catchUp()
			lasts := 0
			gaps := map[any]int{}
			for lasts < 4 || gaps["a"] == 0 {
				m := ada.said()
				switch {
				case m["type"] == "gap":
					gaps[m["room"]]++
				case m["type"] == "message" && m["body"] == "last":
					lasts++
				}
			}
			require.Equal(t, map[any]int{"a": 1}, gaps)
			ada.alive2()
		})
	}
}
