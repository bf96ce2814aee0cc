package tcproom_test

import (
	"context"
	"fmt"
	"net"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A client loses its connection, and comes back as the same member.
func ExampleNewClient() {
	ctx := context.Background()
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}))
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go room.Serve(l)
	defer room.Close()

	var cable net.Conn // to be pulled
	c := tcproom.NewClient(ctx, l.Addr().String(),
		tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithName("ada"),
		tcproom.WithDialer(func(ctx context.Context, network, addr string) (nc net.Conn, err error) {
			cable, err = new(net.Dialer).DialContext(ctx, network, addr)
			return cable, err
		}))
	defer c.Close()

	for ev, err := range c.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch ev.Kind {
		case tcproom.Welcome:
			fmt.Println(ev.Welcome.Outcome, "as", ev.From.Name)
			if !ev.Welcome.Resumed() {
				cable.Close()
			}
		case tcproom.Lost:
			fmt.Println("lost")
			room.Broadcast(ctx, []byte("said meanwhile"))
		case tcproom.Message:
			fmt.Printf("%d: %s\n", ev.Seq, ev.Body)
			seq, err := c.SendAcked(ctx, []byte("got it"))
			fmt.Println(seq, err)
			return
		}
	}
	// Output:
	// joined as ada
	// lost
	// resumed as ada
	// 2: said meanwhile
	// 3 <nil>
}

// A room is in two processes. One of them restarts, and the client goes on in the other.
func ExampleAddresses() {
	ctx := context.Background()
	log := roomtest.NewLog() // in memory, in place of one of package roomnats
	var rooms []*tcproom.Room
	var addrs []string
	for range 2 {
		order, err := log.Attach().Open(ctx, "lobby")
		if err != nil {
			fmt.Println(err)
			return
		}
		room := tcproom.New(tcproom.WithLog(order), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}))
		defer room.Close()
		l, err := net.Listen("tcp", "localhost:0")
		if err != nil {
			fmt.Println(err)
			return
		}
		go room.Serve(l)
		rooms, addrs = append(rooms, room), append(addrs, l.Addr().String())
	}

	c := tcproom.NewClient(ctx, addrs[0], tcproom.Addresses(addrs[1]),
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"))
	defer c.Close()
	for ev, err := range c.Events(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch {
		case ev.Kind == tcproom.Lost:
			fmt.Println("lost:", ev.End.Cause.Error())
		case ev.Kind == tcproom.Welcome && !ev.Welcome.Resumed():
			fmt.Println("joined as", ev.From.Name)
			rooms[0].Shutdown(ctx)
		case ev.Kind == tcproom.Welcome:
			fmt.Println("resumed as", ev.From.Name)
			return
		}
	}
	// Output:
	// joined as ada
	// lost: tcproom: the process stops, and the room goes on in others
	// resumed as ada
}

// A program that only sends has no use for what comes back, but must read it: a
// room cuts members that do not read. An OnEvent hook that does nothing reads it.
func ExampleOnEvent_discard() {
	ctx := context.Background()
	room := tcproom.New()
	defer room.Close()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go room.Serve(l)
	host, err := room.Join(ctx, tcproom.Identity{})
	if err != nil {
		fmt.Println(err)
		return
	}

	gauge, err := tcproom.Dial(ctx, l.Addr().String(),
		tcproom.OnEvent(func(tcproom.Event) {}))
	if err != nil {
		fmt.Println(err)
		return
	}
	gauge.Send(ctx, []byte("it is 21 °C"))
	gauge.Close()

	for ev := range host.Events(ctx) {
		fmt.Printf("%s %q\n", ev.Kind, ev.Body)
		if ev.Kind == tcproom.Leave {
			break
		}
	}
	// Output:
	// Join ""
	// Message "it is 21 °C"
	// Leave ""
}
