package tcproom_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
)

// TestHubClusterDirectsInAMove: what others send a member that is being moved waits for it
// as what waits for any other: 64 KiB or one message, and no more.
func TestHubClusterDirectsInAMove(t *testing.T) {
	for _, row := range []struct{ size, want int }{{size: 1000, want: 60}, {size: 60_000, want: 1}, {size: 1 << 16, want: 1}, {size: 1, want: 200}} {
		inBubble(fmt.Sprint(row.size), t, func(t *testing.T) {
			f := newFarm(t, 1)
			let := make(chan struct{})
			s := f.startBent(func(_ context.Context, room string, rec []byte) (uint64, error, bool) {
				if room == "lobby" && slices.Contains(kinds(t, rec), fold.Leave) {
					<-let
				}
				return 0, nil, false
			})
			eve := s.person("eve")
			f.nodes[0].hub.Room("c")
			f.settle()
			eve.got()
			moved := make(chan error, 1)
			go func() {
				_, err := s.hub.Move(testContext(t), s.member("lobby", "eve"), "c")
				moved <- err
			}()
			f.settle()
			m := f.nodes[0].member("c", "eve")
			require.True(t, m.Remote())
			for range 200 {
				require.NoError(t, m.Send(t.Context(), []byte(strings.Repeat("x", row.size))))
			}
			f.settle()
			close(let)
			require.NoError(t, <-moved)
			f.settle()
			got := eve.got()
			require.Equal(t, "* you are eve in c", got[0])
			require.InDelta(t, row.want, len(got)-1, float64(row.want)/10)
			require.NoError(t, m.Send(t.Context(), []byte("on")))
			f.settle()
			require.Len(t, eve.got(), 1)
		})
	}
}

// TestHubClusterPutOutInAMove: a connection that is being moved is put out of the room that it
// enters, before its leave of the other one has its place. It hears of the new room, and of
// its end there, when it has all of the old one.
func TestHubClusterPutOutInAMove(t *testing.T) {
	for _, row := range []struct {
		name string
		out  func(f *farm) error
		told string
	}{
		{"kicked", func(f *farm) error { return f.nodes[0].member("c", "eve").Kick("") }, "goodbye kicked"},
		{"kicked here", func(f *farm) error { return f.nodes[1].member("c", "eve").Kick("") }, "goodbye kicked"},
		{"removed", func(f *farm) error { return f.nodes[0].hub.Remove("c", "") }, "goodbye removed"},
	} {
		for _, labelled := range []bool{false, true} {
			inBubble(fmt.Sprint(row.name, " labelled ", labelled), t, func(t *testing.T) {
				f := newFarm(t, 1, tcproom.WithCodec(tcproom.JSON{}))
				s, let := f.startHeld("lobby", fold.Leave, tcproom.WithCodec(tcproom.JSON{}))
				bob := f.nodes[0].labelled("bob", "lobby", "c")
				want := []string{"bob: the rest", "welcome", row.told}
				join := s.unlabelled
				if labelled {
					join = func(name string) *rider { return s.labelled(name, "lobby") }
					want = []string{"bob: the rest", "goodbye moved", "welcome", row.told}
				}
				eve := join("eve")
				f.settle()
				eve.got()
				m, moved := s.member("lobby", "eve"), make(chan error, 1)
				go func() {
					_, err := s.hub.Move(testContext(t), m, "c")
					moved <- err
				}()
				f.settle()
				require.NoError(t, row.out(f))
				f.settle()
				bob.say(`{"type":"message","room":"lobby","body":"the rest"}`)
				f.settle()
				let()
				require.NoError(t, <-moved)
				f.settle()
				var told []string
				for _, o := range eve.objects() {
					told = append(told, strings.TrimSpace(positions.ReplaceAllString(inBrief(o), "")))
				}
				require.Equal(t, want, told)
			})
		}
	}
}
