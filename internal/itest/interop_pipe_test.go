package itest

import (
	"bytes"
	"context"
	"io"
	"net"
	"os/exec"
	"testing"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// Programs that pass bytes on and know no frames: what is written to them are
// frames, and what they print are frames.
func TestInteropPipes(t *testing.T) {
	programs := []struct {
		name    string
		command func(host, port string) []string
	}{
		{name: "nc", command: func(host, port string) []string { return []string{"nc", "-N", host, port} }},
		{name: "socat", command: func(host, port string) []string { return []string{"socat", "-t30", "-", "TCP:" + host + ":" + port} }},
	}
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(p.name); err != nil {
				missing(t, p.name)
			}
			var said [][]byte
			for _, body := range payloads() {
				said = append(said, append(lines.fit(body), '\n'))
			}
			meetPipe(t, p.command, said)
		})
	}
}

// meetPipe lets a witness say to a program, and the program to the witness, what
// is said, lines with their ends.
func meetPipe(t *testing.T, command func(host, port string) []string, said [][]byte) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	left := make(chan error, 10)
	room := tcproom.New(
		tcproom.WithCodec(tcproom.Raw{}), tcproom.WithMaxMessage(limit),
		tcproom.OnLeave(func(_ *tcproom.Member, cause error) { left <- cause }),
	)
	host, port, _ := net.SplitHostPort(serve(t, room))
	witness, err := room.Join(ctx, tcproom.Identity{}, tcproom.WithFraming(tcproom.Length{}))
	require.NoError(t, err)
	defer witness.Close()

	args := command(host, port)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { cancel(); cmd.Wait() }()
	waitLen(t, ctx, room, 2)

	all := bytes.Join(said, nil)
	for _, body := range said {
		require.NoError(t, witness.Send(ctx, bytes.TrimSuffix(body, []byte("\n"))))
	}
	heard := make([]byte, len(all))
	_, err = io.ReadFull(stdout, heard)
	require.NoError(t, err)
	requireSame(t, all, heard, "what the program heard")

	_, err = stdin.Write(all)
	require.NoError(t, err)
	for heard = heard[:0]; len(heard) < len(all); {
		ev, err := witness.Receive(ctx)
		require.NoError(t, err)
		heard = append(append(heard, ev.Body...), '\n')
	}
	requireSame(t, all, heard, "what the program said")

	require.NoError(t, stdin.Close())
	rest, err := io.ReadAll(stdout)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.NoError(t, cmd.Wait())
	select {
	case cause := <-left:
		require.ErrorIs(t, cause, io.EOF)
	case <-ctx.Done():
		t.Fatal("the program has not left")
	}
}
