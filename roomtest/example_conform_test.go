package roomtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// semicolons is a framing that forgot a rule: a body that holds a semicolon
// would arrive as two.
type semicolons struct{}

func (semicolons) AppendFrame(dst, body []byte) ([]byte, error) {
	return append(append(dst, body...), ';'), nil
}

func (semicolons) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	return tcproom.Delimiter(";").SplitFrame(data, max)
}

func ExampleTestFraming() {
	fmt.Println(roomtest.TestFraming(tcproom.Delimiter(";")))
	err := roomtest.TestFraming(semicolons{})
	first, _, _ := strings.Cut(err.Error(), "\n")
	fmt.Println(strings.ReplaceAll(first, ": ", ":\n  "))
	// Output:
	// <nil>
	// roomtest:
	//   framing roomtest_test.semicolons:
	//   round trip:
	//   SplitFrame(";;", 1) returned n 1 and the body "", of the frame ";;" of the body ";" (and 15 more); the contract:
	//   SplitFrame returns the body that AppendFrame framed, and n is the length of that frame
}

// shout is a codec that is not the same both ways.
type shout struct{ tcproom.Raw }

func (shout) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	loud := *req
	loud.Body = bytes.ToUpper(req.Body)
	return tcproom.Raw{}.AppendRequest(dst, &loud)
}

func ExampleTestCodec() {
	fmt.Println(roomtest.TestCodec(tcproom.JSON{}))
	err := roomtest.TestCodec(shout{})
	first, _, _ := strings.Cut(err.Error(), " (and")
	fmt.Println(strings.ReplaceAll(first, ": ", ":\n  "))
	// Output:
	// <nil>
	// roomtest:
	//   codec roomtest_test.shout:
	//   messages:
	//   a ReqSay body "a\x00z", encoded as "A\x00Z", is parsed as a ReqSay body "A\x00Z" with the error <nil>
}

// timeless is a conn without read deadlines.
type timeless struct{ net.Conn }

func (timeless) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }

func ExampleTestConn() {
	err := roomtest.TestConn(func() (a, b net.Conn, err error) {
		a, b = net.Pipe()
		return a, b, nil
	})
	fmt.Println(err)

	err = roomtest.TestConn(func() (a, b net.Conn, err error) {
		a, b = net.Pipe()
		return timeless{a}, timeless{b}, nil
	})
	first, _, _ := strings.Cut(err.Error(), "\n")
	fmt.Println(strings.ReplaceAll(first, ": ", ":\n  "))
	// Output:
	// <nil>
	// roomtest:
	//   conn roomtest_test.timeless:
	//   read deadline:
	//   a.SetReadDeadline returned the error "unsupported operation" (and 3 more); the contract:
	//   SetReadDeadline makes Read return an error that is os.ErrDeadlineExceeded, once the time is there and not before, also a Read that has begun
}
