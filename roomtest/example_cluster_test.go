package roomtest_test

import (
	"fmt"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A member whose node dies goes on at another one, and lacks nothing.
func ExampleNewCluster() {
	t := new(exampleTB)
	defer t.end()

	c := roomtest.NewCluster(t, 3, tcproom.WithSessions(tcproom.Sessions{}))
	ada, bob := c.Room(0).Join("ada"), c.Room(1).Join("bob")
	ada.Expect(roomtest.Joined("bob"))

	c.Crash(1)
	ada.Send("is anybody there?")

	bob = c.Room(2).Resume(bob)
	fmt.Println("bob has", bob.Welcome.Welcome.Outcome)
	bob.Expect(roomtest.Message("ada", "is anybody there?"))
	bob.Send("I am")
	ada.Expect(roomtest.Message("bob", "I am")) // and nobody has left or joined

	c.Verify()
	// Output:
	// bob has resumed
}
