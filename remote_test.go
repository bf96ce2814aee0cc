package tcproom_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// enterRoom has a member join r by a connection in process, of which all events are read.
func enterRoom(t *testing.T, r *tcproom.Room, name string, events ...func(tcproom.Event)) *tcproom.Conn {
	t.Helper()
	c, err := r.Join(t.Context(), tcproom.Identity{Name: name})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		for ev, err := range c.Events(context.Background()) {
			if err != nil {
				return
			}
			for _, fn := range events {
				fn(ev)
			}
		}
	}()
	synctest.Wait()
	return c
}

func namesIn(r *tcproom.Room) (names []string) {
	for m := range r.Members() {
		names = append(names, m.Name())
	}
	return names
}

// TestRemoteMembersAreMadeWhenAskedFor: what joins, speaks and leaves in another process
// costs no *Member here. One that is asked for is the same from then on, and learns of its
// leave.
func TestRemoteMembersAreMadeWhenAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		var rooms []*tcproom.Room
		for range 2 {
			l, _ := attach(t, engine)
			r := openRoom(t, l, tcproom.WithUniqueNames(true), tcproom.WithMaxMembers(6))
			readyIn(t, r, time.Minute)
			rooms = append(rooms, r)
		}
		here, there := rooms[0], rooms[1]
		var got []string
		note := func(ev tcproom.Event) {
			if ev.Kind == tcproom.Welcome {
				got = append(got, fmt.Sprintf("welcome %v", len(ev.Welcome.Members)))
				return
			}
			got = append(got, fmt.Sprintf("%v %s %s", ev.Kind, ev.From.Name, ev.Body))
		}
		enterRoom(t, there, "a")
		enterRoom(t, here, "b", note)
		c := enterRoom(t, there, "c")
		d := enterRoom(t, there, "d")
		enterRoom(t, here, "e")
		require.NoError(t, c.Send(t.Context(), []byte("hi")))
		synctest.Wait()
		require.NoError(t, c.Close())
		synctest.Wait()
		require.Equal(t, []string{"welcome 2", "Join c ", "Join d ", "Join e ", "Message c hi", "Leave c "}, got)
		_, err := here.Join(t.Context(), tcproom.Identity{Name: "a"})
		require.ErrorIs(t, err, tcproom.ErrNameTaken)
		_, err = here.Say(t.Context(), tcproom.MemberInfo{ID: "x", Name: "a"}, nil)
		require.ErrorIs(t, err, tcproom.ErrNameTaken)
		require.Equal(t, 4, here.Len())
		require.Zero(t, tcproom.RemoteValues(here))

		require.Equal(t, []string{"a", "b", "d", "e"}, namesIn(here))
		require.Equal(t, namesIn(here), namesIn(there))
		require.Equal(t, 2, tcproom.RemoteValues(here))
		first, second := slices.Collect(here.Members()), slices.Collect(here.Members())
		require.Len(t, first, 4)
		for i, m := range first {
			require.Same(t, m, second[i])
			same, ok := here.Member(m.ID())
			require.True(t, ok)
			require.Same(t, m, same)
			require.Equal(t, strings.Contains("ad", m.Name()), m.Remote())
		}
		left := first[2].Context()
		require.NoError(t, left.Err())
		require.NoError(t, d.Close())
		synctest.Wait()
		require.Error(t, context.Cause(left))
		require.Error(t, first[2].Err())
		_, ok := here.Member(first[2].ID())
		require.False(t, ok)
		require.Equal(t, 1, tcproom.RemoteValues(here))

		// What this process knew is of a room in which it has no part any more.
		require.NoError(t, here.Close())
		require.Zero(t, here.Len())
		require.Empty(t, namesIn(here))
		require.Equal(t, 3, there.Len())
	})
}
