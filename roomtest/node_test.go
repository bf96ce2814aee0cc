package roomtest_test

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	. "example.com/tcproom/roomtest"
)

// nodeClient is a chat client in another language, the thing that is tested here: it
// sends hi, greets back each member that greets it, and shows its user how a
// connection ended. It joins again for each line of input.
const nodeClient = `
const net = require('net')
const [host, port] = process.argv.slice(-2)
let stays = 0

function join() {
  stays++
  let received = '', bye = false
  const room = net.connect(Number(port), host, () => room.write('hi, stay ' + stays + '\n'))
  room.on('data', (data) => {
    received += data
    const lines = received.split('\n')
    received = lines.pop()
    for (const line of lines) {
      const [, from, body] = /^([^:]+): (.*)$/.exec(line) || []
      if (body === 'hello') room.write('hello ' + from + '\n')
      if (line.startsWith('* goodbye')) bye = true
    }
  })
  room.on('error', () => {})
  room.on('close', () => {
    console.log('closed, bye ' + bye + ', half a line ' + JSON.stringify(received))
  })
}
join()
process.stdin.on('data', join)
`

func TestNodeClient(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	srv := NewServer(t)
	srv.Within(30 * time.Second)
	watch := srv.Join("watch")
	srv.Bot("robo", On(MessageLike("", "^hi, stay"), Say("hello")))
	watch.Expect(Joined("robo"))

	host, port, err := net.SplitHostPort(srv.Addr)
	require.NoError(t, err)
	cmd := exec.Command(node, "-e", nodeClient, "client.js", host, port)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	again, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	said := bufio.NewReader(out)

	for i, tt := range []struct {
		name string
		bad  func(client string)
		want string
	}{
		{name: "the end in the middle of a line", bad: func(client string) {
			srv.Link(client).Out(CutAfter(int64(len("watch: ha"))))
			watch.SendAsync("half a line")
		}, want: `closed, bye false, half a line "watch: ha"`},
		{name: "a reset", bad: func(client string) { srv.Link(client).Out(ResetAfter(0)) }, want: `closed, bye false, half a line ""`},
		{name: "a kick", bad: func(client string) { srv.Kick(client, "enough") }, want: `closed, bye true, half a line ""`},
	} {
		if i > 0 {
			fmt.Fprintln(again, "again")
		}
		client := fmt.Sprintf("guest-%d", i+1)
		watch.Expect(Joined(client), Message(client, fmt.Sprintf("hi, stay %d", i+1)), Message("robo", "hello"), Message(client, "hello robo"))
		tt.bad(client)
		require.Equal(t, tt.want, line(t, said), tt.name)
		watch.Expect(Left(client))
	}
	again.Close()
	require.NoError(t, cmd.Wait())
}
