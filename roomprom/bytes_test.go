package roomprom_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomprom"
	"github.com/stretchr/testify/require"
)

// TestBytesOfOneThatCatchesUp: what a member did not take at first counts when it takes
// it, once, also behind messages of its own, which it does not get.
func TestBytesOfOneThatCatchesUp(t *testing.T) {
	metrics := roomprom.New()
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSocketBuffers(0, 32<<10))
	metrics.Add("lobby", room)
	at := serve(t, metrics)
	addr := listen(t, room, 0)
	ada, bob := dial(t, addr, "ada"), dial(t, addr, "bob")
	require.NoError(t, bob.nc.SetReadBuffer(32<<10))
	ada.await(t, "welcome", "")
	bob.await(t, "welcome", "")
	n := 0
	for ; room.Stats().Waiting == 0; n++ {
		_, err := room.Broadcast(context.Background(), []byte(fmt.Sprint(n, strings.Repeat("x", n*7%3000))))
		require.NoError(t, err)
		ada.await(t, "message", fmt.Sprint(n, strings.Repeat("x", n*7%3000)))
		if n%3 == 0 && n < 30 { // later the full buffer of bob's end would hold up acknowledgements of TCP
			bob.say(t, "mine")
			ada.await(t, "message", "mine")
		}
	}
	said := room.Stats().Messages
	_, err := room.Broadcast(context.Background(), []byte("last"))
	require.NoError(t, err)
	ada.await(t, "message", "last")
	waiting := at.scrape(t)
	require.Less(t, waiting["tcproom_out_bytes_total"], float64(ada.in.Load())*2)
	bob.await(t, "message", "last")
	require.Zero(t, ada.r.Buffered()+bob.r.Buffered())
	got := at.await(t, "all is counted", func(s samples) bool {
		return s["tcproom_out_bytes_total"] >= float64(ada.in.Load()+bob.in.Load()) && s["tcproom_waiting_members"] == 0
	})
	mine := float64(said) - float64(n)
	got.has(t, samples{
		"tcproom_in_bytes_total":  float64(bob.sent.Load()),
		"tcproom_out_bytes_total": float64(ada.in.Load() + bob.in.Load()),
		"tcproom_delivered_total": 1 + 2*float64(n+1) + mine, // bob's join, to ada; what the room said, to both; bob's, to ada
	})
}
