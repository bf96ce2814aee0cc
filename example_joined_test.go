package tcproom_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"example.com/tcproom"
)

// A ticker: whoever joins gets all prices, and then each change. A price is set before
// it is sent, so what is not in the snapshot comes after it.
func ExampleOnJoined() {
	var mu sync.Mutex
	prices := map[string]int{"corn": 1, "rye": 1}

	room := tcproom.New(
		tcproom.WithNotices(false),
		tcproom.OnJoined(func(m *tcproom.Member, _ uint64) {
			mu.Lock()
			snapshot := fmt.Appendf(nil, "all prices: corn %d, rye %d", prices["corn"], prices["rye"])
			mu.Unlock()
			m.Send(m.Context(), snapshot)
		}),
	)
	defer room.Close()
	ctx := context.Background()
	set := func(name string, price int) {
		mu.Lock()
		prices[name] = price
		mu.Unlock()
		room.Broadcast(ctx, fmt.Appendf(nil, "%s %d", name, price))
	}

	set("rye", 2)
	c, err := room.Join(ctx, tcproom.Identity{})
	if err != nil {
		log.Fatal(err)
	}
	receive := func() {
		ev, err := c.Receive(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", ev.Body)
	}
	receive() // had corn changed before, it might be in the snapshot and come again
	set("corn", 3)
	receive()
	// Output:
	// all prices: corn 1, rye 2
	// corn 3
}
