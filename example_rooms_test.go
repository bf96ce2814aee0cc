package tcproom_test

import (
	"context"
	"fmt"
	"net"

	"example.com/tcproom"
)

// A client is in several rooms of a hub, and comes back into all of them.
func ExampleInRooms() {
	ctx := context.Background()
	hub := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}))
	defer hub.Close()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go hub.Serve(l)

	var cable net.Conn // to be pulled
	c := tcproom.NewClient(ctx, l.Addr().String(),
		tcproom.WithCodec(tcproom.JSON{}),
		tcproom.InRooms("lobby"),
		tcproom.WithDialer(func(ctx context.Context, network, addr string) (nc net.Conn, err error) {
			cable, err = new(net.Dialer).DialContext(ctx, network, addr)
			return cable, err
		}))
	defer c.Close()
	if err := c.EnterRoom(ctx, "kitchen"); err != nil {
		fmt.Println(err)
		return
	}
	cable.Close()
	kitchen, _ := hub.Lookup("kitchen")
	kitchen.Broadcast(ctx, []byte("soup is ready"))

	for ev := range c.Events(ctx) {
		if ev.Room != "kitchen" {
			continue
		}
		switch ev.Kind {
		case tcproom.Welcome:
			fmt.Println(ev.Welcome.Outcome)
		case tcproom.Message:
			fmt.Printf("%d: %s\n", ev.Seq, ev.Body)
			seq, err := c.SendAckedTo(ctx, "kitchen", []byte("I come"))
			fmt.Println(seq, err)
			return
		}
	}
	// Output:
	// joined
	// resumed
	// 2: soup is ready
	// 3 <nil>
}

// A conn asks, and finds the answers among the events.
func ExampleConn_EnterRoom() {
	ctx := context.Background()
	hub := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}))
	defer hub.Close()
	c, err := hub.Join(ctx, "lobby", tcproom.Identity{Name: "ada"}, tcproom.InRooms())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	for ev := range c.Events(ctx) {
		switch ev.Kind {
		case tcproom.Welcome:
			fmt.Println("in", ev.Room)
		case tcproom.Goodbye:
			fmt.Println("left", ev.Room, string(ev.End.Cause))
		}
		switch {
		case ev.Kind == tcproom.Welcome && ev.Room == "lobby":
			c.EnterRoom(ctx, "kitchen")
		case ev.Kind == tcproom.Welcome && ev.Room == "kitchen":
			c.MoveRoom(ctx, "kitchen", "attic")
		case ev.Kind == tcproom.Welcome && ev.Room == "attic":
			return
		}
	}
	// Output:
	// in *
	// in lobby
	// in kitchen
	// left kitchen moved
	// in attic
}
