package tcproom

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// requireGrown checks that no count of a total is below that of an earlier one.
func requireGrown(t testing.TB, before, after Stats) {
	t.Helper()
	counts := func(s Stats) map[string]uint64 {
		m := map[string]uint64{
			"Joined": s.Joined, "Resumed": s.Resumed, "Refused": s.Refused, "Messages": s.Messages, "Bytes": s.Bytes,
			"BytesIn": s.BytesIn, "BytesOut": s.BytesOut, "Delivered": s.Delivered, "Skipped": s.Skipped,
		}
		for cause, n := range s.Left {
			m[string(cause)] = n
		}
		return m
	}
	for name, n := range counts(before) {
		if got := counts(after)[name]; got < n {
			t.Errorf("%s went from %d to %d", name, n, got)
		}
	}
}

// TestTotalsOfRemovedRooms: a room that is removed leaves its counts, also while OnRoom
// holds up its end, and so does the next one of that name.
func TestTotalsOfRemovedRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		h := NewHub(WithCodec(JSON{}), WithRoomLinger(-1), WithRoom("lobby"), OnLeave(func(*Member, error) { <-held }))
		defer func() { h.Close(); <-h.Done() }()
		conn, err := h.Join(t.Context(), "", Identity{Name: "ada"}, InRooms("lobby"))
		require.NoError(t, err)
		defer conn.Close()
		go func() {
			for range conn.Events(context.Background()) {
			}
		}()
		base := memberNamed(t, h.All(), "ada")
		for i := range 2 {
			part, err := h.Enter(t.Context(), base, "attic")
			require.NoError(t, err)
			_, err = part.Room().Broadcast(t.Context(), []byte("12345"))
			require.NoError(t, err)
			before := h.Totals()
			require.Equal(t, 2, before.Members)
			require.NoError(t, h.Remove("attic", ""))
			for range 2 {
				synctest.Wait() // the first time its end waits for OnLeave
				after := h.Totals()
				requireGrown(t, before, after)
				require.Equal(t, 1, after.Members)
				require.Equal(t, uint64(i+2), after.Joined)
				require.Equal(t, uint64(i+1), after.Messages)
				require.Equal(t, uint64(5*(i+1)), after.Bytes)
				require.Equal(t, map[Cause]uint64{errRemoved: uint64(i + 1)}, after.Left)
				if i == 0 {
					select {
					case <-held:
					default:
						close(held)
					}
				}
			}
			require.Equal(t, uint64(i+1), h.Stats().Removed)
		}
	})
}

// TestTotalsNeverGoDown: whoever looks while rooms are made and removed sees no count
// that is lower than before.
func TestTotalsNeverGoDown(t *testing.T) {
	h := jsonHub(t, WithRoomLinger(-1))
	const peers, rounds = 4, 200
	stop := make(chan struct{})
	var looking, moving sync.WaitGroup
	for range 2 {
		looking.Go(func() {
			var last Stats
			for {
				s := h.Totals()
				requireGrown(t, last, s)
				last = s
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range peers {
		p := visitHub(t, h, fmt.Sprint("p", i), "stays")
		go func() {
			for {
				if _, err := p.r.ReadString('\n'); err != nil {
					return
				}
			}
		}()
		base := memberNamed(t, h.All(), fmt.Sprint("p", i))
		moving.Go(func() {
			for n := range rounds {
				part, err := h.Enter(context.Background(), base, fmt.Sprint("r", n%3))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := part.Room().Broadcast(context.Background(), []byte("hi")); err != nil {
					t.Error(err)
				}
				if err := h.Leave(part, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	moving.Wait()
	close(stop)
	looking.Wait()
	soon(t, "the rooms are gone", func() bool { return h.Stats().Rooms == 1 })
	s := h.Totals()
	require.Equal(t, uint64(peers*(rounds+1)), s.Joined)
	require.Equal(t, uint64(peers*rounds), s.Messages)
	require.Equal(t, peers, s.Members)
	left := uint64(0)
	for _, n := range s.Left {
		left += n
	}
	require.Equal(t, uint64(peers*rounds), left, "%v", s.Left)
}

// TestTotalsOfWhatComesLate: what a removed room had still to give to a connection that
// took nothing counts when that takes it.
func TestTotalsOfWhatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(WithCodec(JSON{}), WithRoomLinger(-1), WithWriteTimeout(-1), WithRoom("lobby"))
		defer func() { h.Close(); <-h.Done() }()
		conn, err := h.Join(t.Context(), "", Identity{Name: "ada"}, InRooms("lobby", "attic"))
		require.NoError(t, err)
		defer conn.Close()
		attic, _ := h.Lookup("attic")
		const messages = 60
		for range messages {
			_, err := attic.Broadcast(t.Context(), make([]byte, 1000))
			require.NoError(t, err)
		}
		require.NoError(t, h.Remove("attic", ""))
		<-attic.Done()
		before := h.Totals()
		require.Less(t, before.Delivered, uint64(messages), "or the test shows nothing")
		go func() {
			for range conn.Events(context.Background()) {
			}
		}()
		time.Sleep(time.Second)
		after := h.Totals()
		requireGrown(t, before, after)
		require.EqualValues(t, messages, after.Delivered)
		require.Greater(t, after.BytesOut, uint64(1000*messages))
	})
}
