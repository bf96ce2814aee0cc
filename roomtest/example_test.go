package roomtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// politeRoom is the service that is tested: what it gives to tcproom.New. Its room
// has no strong words and no whispering.
func politeRoom() []tcproom.RoomOption {
	return []tcproom.RoomOption{
		tcproom.WithUniqueNames(true),
		tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			if bytes.HasPrefix(body, []byte("/")) {
				return nil, m.Send(m.Context(), []byte("there are no commands here"))
			}
			return bytes.ReplaceAll(body, []byte("darn"), []byte("****")), nil
		}),
	}
}

// A service is tested through what it gives to tcproom.New. A test has its own
// *testing.T for t, and ends nothing by itself.
func ExampleNewServer() {
	t := new(exampleTB)
	defer t.end()

	srv := roomtest.NewServer(t, politeRoom()...)
	ada, bob := srv.Join("ada"), srv.Join("bob")
	ada.Expect(roomtest.Joined("bob"))

	ada.Send("darn, it rains")
	bob.Expect(roomtest.Message("ada", "****, it rains"))

	bob.Send("/whisper it does")
	bob.Expect(roomtest.Direct("there are no commands here"))
	ada.Refute(roomtest.Any(tcproom.Message))

	bob.Leave()
	fmt.Print(srv.Transcript())
	// Output:
	//    1  * ada joined
	//    2  * bob joined
	//    3  ada: ****, it rains
	//    4  * bob left
}

// A room is tested for what it refuses, too. The refusal is there for more checks.
func ExampleServer_Refuses() {
	t := new(exampleTB)
	defer t.end()

	srv := roomtest.NewMemServer(t, tcproom.WithUniqueNames(true), tcproom.WithMaxMembers(2),
		tcproom.OnJoin(func(m *tcproom.Member) error {
			if m.Name() == "mallory" {
				return errors.New("you are not on the list")
			}
			return nil
		}))
	srv.Join("ada")
	srv.Refuses(tcproom.ErrNameTaken, tcproom.WithName("ada"))
	refused := srv.Refuses(tcproom.ErrDenied, tcproom.WithName("mallory"))
	fmt.Println(refused.Text, refused.Final)

	srv.Join("bob")
	srv.Refuses(tcproom.ErrRoomFull)
	// Output:
	// you are not on the list true
}

// A room in memory needs no port. It works in a bubble of testing/synctest, too,
// which no example has: for virtual time, see the package comment.
func ExampleNewMemServer() {
	t := new(exampleTB)
	defer t.end()

	srv := roomtest.NewMemServer(t, tcproom.WithUniqueNames(true))
	srv.Bot("echo", roomtest.On(roomtest.MessageLike("", "^echo (.+)$"), roomtest.Say("$1")))
	ada, bob := srv.Join("ada"), srv.Join("bob")

	ada.Send("echo hello")
	bob.Await(roomtest.Message("echo", "hello"))
	ada.Leave()
	srv.Kick("bob", "good night")

	// What a golden file would hold.
	fmt.Print(srv.Transcript())
	// Output:
	//    1  * echo joined
	//    2  * ada joined
	//    3  * bob joined
	//    4  ada: echo hello
	//    5  echo: hello
	//    6  * ada left
	//    7  * bob left
}

// A member that does not read is slow. A room that skips sends it the gap, and it
// goes on behind that.
func ExampleMember_Pause() {
	t := new(exampleTB)
	defer t.end()

	srv := roomtest.NewMemServer(t,
		tcproom.WithSlowMembers(tcproom.Skip), tcproom.WithBacklog(1<<20), tcproom.WithMaxMessage(10_000))
	ada, bob := srv.Join("ada"), srv.Join("bob")

	bob.Pause()
	for range 200 { // 2 MB: more than the backlog and the connection hold
		ada.Send(strings.Repeat("la", 5_000))
	}
	bob.Resume()

	gap := bob.Await(roomtest.Gap(0, 0))
	next := bob.Expect(roomtest.Any(tcproom.Message))[0]
	fmt.Println("bob missed some:", gap.Skipped > 50)
	fmt.Println("and goes on behind them:", next.Seq == gap.Gap.Last+1)
	// Output:
	// bob missed some: true
	// and goes on behind them: true
}

// An exampleTB stands in for a *testing.T, which an example does not have: failures
// are printed, and so spoil the output.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (*exampleTB) Helper()              {}
func (*exampleTB) Name() string         { return "Example" }
func (*exampleTB) Failed() bool         { return false }
func (*exampleTB) Logf(string, ...any)  {}
func (t *exampleTB) Cleanup(end func()) { t.cleanups = append(t.cleanups, end) }

func (*exampleTB) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (*exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleTB) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}
