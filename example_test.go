package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"example.com/tcproom"
)

// A chat server and, at its other end, a plain socket, as nc would be.
func ExampleNew() {
	room := tcproom.New()
	defer room.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go room.Serve(l)

	ctx := context.Background()
	host, err := room.Join(ctx, tcproom.Identity{}) // in this process, to see who comes
	if err != nil {
		log.Fatal(err)
	}
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	ev, _ := host.Receive(ctx)
	fmt.Println(ev.Kind, ev.From.Name)

	fmt.Fprintln(nc, "hi")
	ev, _ = host.Receive(ctx)
	fmt.Printf("%s %s %q\n", ev.Kind, ev.From.Name, ev.Body)

	host.Send(ctx, []byte("hello"))
	line, _ := bufio.NewReader(nc).ReadString('\n')
	fmt.Print(line)
	// Output:
	// Join guest-2
	// Message guest-2 "hi"
	// guest-1: hello
}

// Two clients that speak JSON: they have names, and Dial returns when the room
// has welcomed them.
func ExampleDial() {
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}))
	defer room.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go room.Serve(l)

	ctx := context.Background()
	dial := func(name string) *tcproom.Conn {
		c, err := tcproom.Dial(ctx, l.Addr().String(), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName(name))
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	ada := dial("ada")
	defer ada.Close()
	bob := dial("bob")
	bob.Send(ctx, []byte("hi"))
	bob.Close()

	for ev, err := range ada.Events(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		switch ev.Kind {
		case tcproom.Welcome:
			fmt.Printf("%d: welcome, %s\n", ev.Seq, ev.From.Name)
		case tcproom.Message:
			fmt.Printf("%d: %s says %q\n", ev.Seq, ev.From.Name, ev.Body)
		default:
			fmt.Printf("%d: %s of %s\n", ev.Seq, ev.Kind, ev.From.Name)
		}
		if ev.Kind == tcproom.Leave {
			break
		}
	}
	// Output:
	// 1: welcome, ada
	// 2: Join of bob
	// 3: bob says "hi"
	// 4: Leave of bob
}

// A member in the room's own process, which answers what others say.
func ExampleRoom_Join() {
	room := tcproom.New()
	defer room.Close()
	ctx := context.Background()

	echo, err := room.Join(ctx, tcproom.Identity{Name: "echo"})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for ev := range echo.Events(ctx) {
			if ev.Kind == tcproom.Message {
				echo.Send(ctx, append([]byte("you said "), ev.Body...))
			}
		}
		echo.Close()
	}()
	ada, err := room.Join(ctx, tcproom.Identity{Name: "ada"})
	if err != nil {
		log.Fatal(err)
	}
	defer ada.Close()
	ada.Send(ctx, []byte("hi"))
	ev, _ := ada.Receive(ctx)
	fmt.Printf("%s: %s\n", ev.From.Name, ev.Body)
	// Output: echo: you said hi
}

// A hook that changes what members send. What it returns is what others receive.
func ExampleOnMessage() {
	room := tcproom.New(tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
		if string(body) == "/quit" {
			return nil, errors.New("bye, " + m.Name())
		}
		return bytes.ToUpper(body), nil
	}))
	defer room.Close()
	ctx := context.Background()
	ada, _ := room.Join(ctx, tcproom.Identity{Name: "ada"})
	bob, _ := room.Join(ctx, tcproom.Identity{Name: "bob"})

	bob.Send(ctx, []byte("hi"))
	bob.Send(ctx, []byte("/quit"))
	for range 3 {
		ev, err := ada.Receive(ctx)
		fmt.Println(ev.Kind, ev.From.Name, string(ev.Body), err)
	}
	ev, err := bob.Receive(ctx)
	fmt.Println(ev.Kind, ev.End.Text, err)
	// Output:
	// Join bob  <nil>
	// Message bob HI <nil>
	// Leave bob  <nil>
	// Goodbye bye, bob <nil>
}

// A hook that asks each newcomer for its name before it joins.
func ExampleWithHandshake() {
	room := tcproom.New(tcproom.WithHandshake(func(ctx context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
		if err := n.Send(ctx, []byte("what is your name?")); err != nil {
			return tcproom.Identity{}, err
		}
		name, err := n.Receive(ctx)
		return tcproom.Identity{Name: string(name)}, err
	}))
	defer room.Close()
	ctx := context.Background()
	host, _ := room.Join(ctx, tcproom.Identity{}) // in this process, for which the hook is not called

	client, server := net.Pipe() // any net.Conn will do
	go room.ServeConn(server)
	c := tcproom.NewConn(client)
	ev, _ := c.Receive(ctx)
	fmt.Printf("%s\n", ev.Body)
	c.Send(ctx, []byte("ada"))

	ev, _ = host.Receive(ctx)
	fmt.Println(ev.Kind, ev.From.Name)
	// Output:
	// what is your name?
	// Join ada
}

// A member that stops reading loses messages, and is told how many.
func ExampleWithSlowMembers() {
	const messages = 5000
	room := tcproom.New(
		tcproom.WithMaxMessage(64),
		tcproom.WithBacklog(1), // the least: four of the largest frames
		tcproom.WithSlowMembers(tcproom.Skip),
	)
	defer room.Close()
	ctx := context.Background()
	slow, err := room.Join(ctx, tcproom.Identity{})
	if err != nil {
		log.Fatal(err)
	}
	for i := range messages {
		if _, err := room.Broadcast(ctx, fmt.Append(nil, i)); err != nil {
			log.Fatal(err)
		}
	}

	var received, skipped uint64
	for received+skipped < messages {
		ev, err := slow.Receive(ctx)
		switch {
		case err != nil:
			log.Fatal(err)
		case ev.Kind == tcproom.Message:
			received++
		case ev.Kind == tcproom.Gap:
			skipped += ev.Skipped
		}
	}
	fmt.Println("received and skipped:", received+skipped)
	fmt.Println("some were skipped:", skipped > 0)
	fmt.Println("as the room counts them:", skipped == room.Stats().Skipped)
	// Output:
	// received and skipped: 5000
	// some were skipped: true
	// as the room counts them: true
}

// A stop in good order: members hear a goodbye, and Shutdown returns when all
// of them are gone.
func ExampleRoom_Shutdown() {
	room := tcproom.New()
	ctx := context.Background()
	c, err := room.Join(ctx, tcproom.Identity{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	room.Broadcast(ctx, []byte("the last words"))

	stopped := make(chan error, 1)
	go func() { stopped <- room.Shutdown(ctx) }()
	for ev, err := range c.Events(ctx) {
		if err != nil {
			break // the end that the goodbye tells of
		}
		if ev.Kind == tcproom.Goodbye {
			fmt.Println(ev.Kind, ev.End.Text)
		} else {
			fmt.Println(ev.Kind, string(ev.Body))
		}
	}
	fmt.Println(<-stopped)
	// Output:
	// Message the last words
	// Goodbye room closed
	// <nil>
}
