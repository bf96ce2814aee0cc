package roomtest_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"

	"example.com/tcproom/roomtest"
)

// price is the chat client that is tested: it asks in a room what something
// costs, and the broker answers.
func price(addr, what string) (string, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	if _, err := fmt.Fprintf(nc, "!price %s\n", what); err != nil {
		return "", err
	}
	for in := bufio.NewReader(nc); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("no answer: %w", err)
		}
		if answer, ok := strings.CutPrefix(line, "broker: "); ok {
			return strings.TrimSpace(answer), nil
		}
	}
}

// A chat client is tested against a room on loopback, in which a bot plays the
// other side, well and then badly. A test has its own *testing.T for t.
func ExampleServer_Bot() {
	t := new(exampleTB)
	defer t.end()

	srv := roomtest.NewServer(t)
	srv.Bot("broker",
		roomtest.On(roomtest.MessageLike("", `^!price (\w+)$`), roomtest.Say("a $1 is 3")))

	fmt.Println(price(srv.Addr, "pear"))

	// A room that breaks off in the middle of the answer.
	srv.Listener.OnAccept(func(c *roomtest.Conn) { c.Out(roomtest.CutAfter(10)) })
	_, err := price(srv.Addr, "pear")
	fmt.Println(err)

	// A room that cannot be reached.
	srv.Listener.Refuse(true)
	_, err = price(srv.Addr, "pear")
	fmt.Println("refused:", err != nil)

	// Output:
	// a pear is 3 <nil>
	// no answer: EOF
	// refused: true
}
