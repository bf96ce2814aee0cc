package tcproom_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strings"

	"example.com/tcproom"
)

// A person with a plain socket, as nc would be, and a member in this process.
func ExampleNewHub() {
	hub := tcproom.NewHub(tcproom.WithUniqueNames(true))
	defer hub.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go hub.Serve(l)

	ctx := context.Background()
	cook, err := hub.Join(ctx, "kitchen", tcproom.Identity{Name: "cook"})
	if err != nil {
		log.Fatal(err)
	}
	defer cook.Close()
	go func() { // answers
		for ev := range cook.Events(ctx) {
			if ev.Kind == tcproom.Message {
				cook.Send(ctx, []byte("you said "+string(ev.Body)))
			}
		}
	}()

	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	lines := bufio.NewScanner(nc)
	for _, say := range []string{"", "/rooms", "/join kitchen", "hi", "/who", "/nick cook"} {
		if say != "" {
			fmt.Fprintln(nc, say)
		}
		lines.Scan()
		fmt.Println(lines.Text())
	}
	// Output:
	// * you are guest-1 in lobby
	// * rooms: kitchen 1, lobby 1
	// * you are guest-1 in kitchen
	// cook: you said hi
	// * in kitchen: cook, guest-1
	// * not done: name is taken: "cook"
}

// A client that names rooms in its hello can be in several. The program enters it into
// one more.
func ExampleHub_Enter() {
	hub := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}))
	defer hub.Close()
	ctx := context.Background()
	client, server := net.Pipe()
	go hub.ServeConn(server)
	ada := tcproom.NewConn(client, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"), tcproom.InRooms("lobby"))
	defer ada.Close()
	receive := func() {
		ev, err := ada.Receive(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s %q\n", ev.Kind, ev.Room, ev.Body)
	}
	receive()
	receive()

	for m := range hub.All().Members() {
		news, err := hub.Enter(ctx, m, "news")
		if err != nil {
			log.Fatal(err)
		}
		news.Room().Broadcast(ctx, []byte("to all who read the news"))
		for membership := range hub.Memberships(m) {
			fmt.Println(membership.Name(), "is in", membership.Room().Name())
		}
	}
	receive()
	receive()
	// Output:
	// Welcome * ""
	// Welcome lobby ""
	// ada is in *
	// ada is in lobby
	// ada is in news
	// Welcome news ""
	// Message news "to all who read the news"
}

// A lobby whose members are put into games of two.
func ExampleHub_Move() {
	hub := tcproom.NewHub(tcproom.WithRoom("lobby", tcproom.WithNotices(false)))
	defer hub.Close()
	ctx := context.Background()
	var conns []*tcproom.Conn
	for _, name := range []string{"ada", "bob"} {
		c, err := hub.Join(ctx, "lobby", tcproom.Identity{Name: name})
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}

	lobby, _ := hub.Lookup("lobby")
	for m := range lobby.Members() {
		if _, err := hub.Move(ctx, m, "game-1"); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("in the lobby:", lobby.Len())
	for _, c := range conns {
		for ev, err := range c.Events(ctx) {
			if err != nil {
				log.Fatal(err)
			}
			if ev.Room == "game-1" {
				fmt.Println(ev.From.Name, "is in", ev.Room)
				break
			}
		}
	}
	// Output:
	// in the lobby: 0
	// ada is in game-1
	// bob is in game-1
}

// A ban puts out and keeps out. Names must be unique, and given by the program, or
// whoever is banned comes back by another one.
func ExampleHub_Ban() {
	hub := tcproom.NewHub(tcproom.WithUniqueNames(true))
	defer hub.Close()
	ctx := context.Background()
	eve, err := hub.Join(ctx, "lobby", tcproom.Identity{Name: "eve"})
	if err != nil {
		log.Fatal(err)
	}

	put, err := hub.Ban(tcproom.Ban{Name: "eve", Reason: "no spam"})
	fmt.Println("put out:", put, err)
	for ev, err := range eve.Events(ctx) {
		if err != nil {
			break
		}
		if ev.Kind == tcproom.Goodbye {
			fmt.Println("eve is told:", ev.End.Text)
		}
	}
	_, err = hub.Join(ctx, "lobby", tcproom.Identity{Name: "eve"})
	fmt.Println("banned:", errors.Is(err, tcproom.ErrBanned))
	fmt.Println("unbanned:", hub.Unban(tcproom.Ban{Name: "eve"}))
	_, err = hub.Join(ctx, "lobby", tcproom.Identity{Name: "eve"})
	fmt.Println(err)
	// Output:
	// put out: 1 <nil>
	// eve is told: no spam
	// banned: true
	// unbanned: true
	// <nil>
}

// isStaff is the key of a value in the contexts of members.
type isStaff struct{}

// A hook that keeps rooms for some members, by what their identity carries. It is
// returned by a WithHandshake hook or, as here, given to Join. Names would not do, since
// members may change theirs. No room is made for a connection that is refused.
func ExampleOnEnter() {
	hub := tcproom.NewHub(tcproom.OnEnter(func(_ context.Context, m *tcproom.Member, room string) error {
		if strings.HasPrefix(room, "staff-") && m.Context().Value(isStaff{}) == nil {
			return errors.New("for the staff only")
		}
		return nil
	}))
	defer hub.Close()
	ctx := context.Background()
	ada := tcproom.Identity{Name: "ada", Context: context.WithValue(ctx, isStaff{}, true)}
	for _, id := range []tcproom.Identity{{Name: "bob"}, ada} {
		c, err := hub.Join(ctx, "staff-kitchen", id)
		fmt.Println(id.Name, err, hub.Stats().Rooms)
		if err == nil {
			c.Close()
		}
	}
	// Output:
	// bob for the staff only 0
	// ada <nil> 1
}
