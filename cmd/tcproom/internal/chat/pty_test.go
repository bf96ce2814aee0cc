//go:build unix

package chat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// TestTwoPeople: ada and bob talk in two rooms of a hub, each in a terminal.
func TestTwoPeople(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	ada := open(t, "chat", 80, 24, "-name", "ada", "-room", "lobby,kitchen", srv.addr)
	ada.sees("you are ada in lobby; 1 member is here")
	before := freshState(t)
	bob := open(t, "chat", 40, 10, "-name", "bob", srv.addr)
	bob.sees("you are bob in lobby; 2 members")
	ada.sees("bob joined")

	bob.line("hi ada")
	ada.sees("bob: hi ada")
	ada.line("hi bob")
	bob.sees("ada: hi bob")
	ada.sees("ada: hi bob")
	ada.gone("  …   ada")

	// Another room, in which something is new.
	bob.line("/join kitchen")
	bob.sees("you are bob in kitchen")
	bob.line("the kettle is on")
	ada.sees("kitchen      1")
	ada.line("/room kitchen")
	ada.sees("bob: the kettle is on")
	ada.sees("── new ──")
	ada.gone("kitchen      1")

	// Words for one person alone.
	ada.line("/msg bob there is cake")
	bob.sees("@ada 1!")
	bob.types("\x1ba") // Alt-A
	bob.sees("ada: there is cake")
	bob.line("coming")
	ada.sees("bob: coming")

	// A paste of several lines waits for Enter, and is one message.
	ada.line("/room kitchen")
	ada.await("the kitchen", func(s string) bool { return strings.Contains(s, " kitchen · 2 here") })
	ada.paste("one\ntwo\x1b[31m\nthree")
	ada.sees("3 lines: Enter sends one message")
	ada.types("\r")
	bob.line("/room kitchen")
	bob.sees("ada: one")
	bob.sees("      three")

	// The terminal becomes smaller, and larger again.
	ada.resize(40, 10)
	ada.await("no list at the left", func(s string) bool { return !strings.Contains(s, "│") && strings.Contains(s, "three") })
	ada.resize(100, 30)
	ada.await("a list at the left", func(s string) bool { return strings.Contains(s, "│") && strings.Contains(s, "three") })
	ada.resize(1, 1)
	ada.resize(20, 5)
	ada.sees("three")
	ada.resize(80, 24)
	ada.sees("three")

	ada.types("\x03") // Ctrl-C
	require.Zero(t, ada.status())
	ada.restored(before)
	bob.sees("ada left")
}

// TestComeBack: the connection is lost and the person goes on; then the server starts
// anew.
func TestComeBack(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	c := plug(t, srv.addr)
	ada := open(t, "chat", 80, 24, "-name", "ada", c.l.Addr().String())
	bob := open(t, "chat", 80, 24, "-name", "bob", srv.addr)
	bob.sees("you are bob in lobby")
	ada.sees("2 here")
	ada.line("one")
	bob.sees("ada: one")

	c.set(true)
	ada.sees("connection lost: ")
	ada.sees("offline")
	bob.line("while you were away")
	bob.await("what he said in its place", func(s string) bool {
		return strings.Contains(s, "bob: while you were away") && !strings.Contains(s, "  …")
	})
	ada.line("typed without a connection")
	ada.sees("  …   ada: typed without a connection")
	c.set(false)
	ada.sees("connected again; what was missed follows")
	ada.sees("bob: while you were away")
	bob.sees("ada: typed without a connection")
	ada.gone("  …   ada")
	require.Less(t, strings.Index(ada.screen(), "while you were away"), strings.Index(ada.screen(), "typed without"), "its place is where the room has put it")
	require.NotContains(t, bob.screen(), "ada left", "nobody was told")

	// Another hub at the same address knows nobody.
	srv.hub.Close()
	bob.sees("connection lost: ")
	serve(t, srv.addr)
	bob.sees("connected again as a new member, bob")
	ada.sees("connected again as a new member, ada")
	bob.sees("2 here")
	bob.line("all new")
	ada.sees("bob: all new")
}

// TestSignals: whatever ends the program, the terminal is as it was, and the others are
// told.
func TestSignals(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			srv := serve(t, "127.0.0.1:0")
			bob := open(t, "chat", 80, 24, "-name", "bob", srv.addr)
			bob.sees("you are bob")
			ada := openWatched(t, "chat", srv.addr)
			require.NoError(t, ada.cmd.Process.Signal(sig))
			require.Zero(t, ada.status())
			ada.restored(ada.before)
			bob.sees("ada left")
		})
	}
}

// TestPanic: a mistake in the program leaves the terminal as it was, too.
func TestPanic(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	ada := openWatched(t, "panic", srv.addr)
	ada.types("!")
	require.Equal(t, 1, ada.status())
	ada.restored(ada.before)
	ada.mu.Lock()
	defer ada.mu.Unlock()
	require.Contains(t, ada.all.String(), "a mistake")
}

// TestTerminalIsClosed: the window is closed without a word.
func TestTerminalIsClosed(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	bob := open(t, "chat", 80, 24, "-name", "bob", srv.addr)
	bob.sees("you are bob")
	ada := openWatched(t, "chat", srv.addr)
	ada.tty.Close()
	ada.pty.Close()
	ada.status()
	bob.sees("ada left")
}

// TestTerminalTakesNothing: a terminal that takes no output any more, such as that of a
// connection that hangs, does not hold up the end.
func TestTerminalTakesNothing(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	bob := pipe(t, "-name", "bob", srv.addr)
	bob.err.sees(t, "you are bob")
	master, tty, err := pty.Open()
	require.NoError(t, err)
	defer master.Close()
	defer tty.Close()
	exe, err := os.Executable()
	require.NoError(t, err)
	ada := exec.Command(exe, "-name", "ada", srv.addr)
	ada.Env = append(os.Environ(), asProgram+"=chat", "TERM=xterm-256color")
	notes := newOutput()
	ada.Stdin, ada.Stdout, ada.Stderr = tty, tty, notes
	ada.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, ada.Start())
	var shown []byte
	for b := make([]byte, 4096); !bytes.Contains(shown, []byte("you are ada")); {
		n, err := master.Read(b)
		require.NoError(t, err)
		shown = append(shown, b[:n]...)
	}
	fill, err := syscall.Open(tty.Name(), syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	for err == nil { // nobody reads from it, and soon it is full
		_, err = syscall.Write(fill, make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.EAGAIN)
	require.NoError(t, syscall.Close(fill))
	for i := range 200 { // one after the other, so that there is more than one frame to draw
		bob.says(fmt.Sprintf("hi\n/rooms x%d\n/join r%d\n/leave r%d\n/room lobby\n", i, i, i))
		bob.err.sees(t, fmt.Sprintf("you are bob in r%d;", i))
	}
	require.NoError(t, ada.Process.Signal(syscall.SIGTERM))
	err = ada.Wait()
	require.NoError(t, err, notes.text())
	bob.out.sees(t, "* ada left")
}

// TestLeaveWithoutConnection: what could not be sent is not lost to its writer.
func TestLeaveWithoutConnection(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0")
	c := plug(t, srv.addr)
	ada := open(t, "chat", 80, 24, "-name", "ada", c.l.Addr().String())
	ada.sees("you are ada")
	c.set(true)
	ada.sees("offline")
	ada.line("a long thought")
	ada.sees("  …   ada: a long thought")
	ada.types("\x03")
	require.Zero(t, ada.status())
	ada.sees(`tcproom: not sent, or not known to be: "a long thought"`)
}

// TestRoomThatAcknowledgesNothing: a room by itself, without sessions.
func TestRoomThatAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	srv := roomtest.NewServer(t, tcproom.WithCodec(tcproom.JSON{}))
	ada := open(t, "chat", 80, 24, "-name", "ada", srv.Addr)
	ada.sees("you are ada; 1 member is here")
	bob := pipe(t, "-name", "bob", srv.Addr)
	bob.err.sees(t, "you are bob; 2 members")
	ada.sees("bob joined")
	ada.line("hi bob")
	bob.out.sees(t, "ada: hi bob\n")
	ada.gone("  …   ada")
	ada.line("/rooms")
	ada.sees("not done: ")
	bob.in.Close()
	require.Zero(t, bob.status())
	ada.sees("bob left")
}

// TestRoomsOfAHub: what a person asks a hub for, and what the hub does with a person.
func TestRoomsOfAHub(t *testing.T) {
	t.Parallel()
	srv := serve(t, "127.0.0.1:0", tcproom.OnEnter(func(_ context.Context, _ *tcproom.Member, room string) error {
		if room == "vip" {
			return errors.New("members only")
		}
		return nil
	}))
	ada := open(t, "chat", 80, 24, "-name", "ada", srv.addr)
	ada.sees("you are ada in lobby")
	member := func(room string) *tcproom.Member {
		for m := range srv.hub.All().Members() {
			for in := range srv.hub.Memberships(m) {
				if in.Room().Name() == room {
					return in
				}
			}
		}
		t.Fatalf("ada is not in %s", room)
		return nil
	}
	ada.line("/join vip")
	ada.sees("not done, vip: members only")
	ada.line("/nick eva")
	ada.sees("you are now eva")
	ada.line("/move attic")
	ada.sees("you are eva in attic")
	ada.gone(" lobby")
	ada.line("/rooms")
	ada.sees("rooms: attic (1)")
	ada.line("/join cellar")
	ada.sees("you are eva in cellar")
	ada.line("/leave")
	ada.await("the attic", func(s string) bool { return strings.HasPrefix(s, " attic · 1 here") })

	_, err := srv.hub.Move(t.Context(), member("attic"), "garden")
	require.NoError(t, err)
	ada.sees("you are eva in garden")
	ada.await("the garden", func(s string) bool { return strings.HasPrefix(s, " garden · 1 here") })
	_, err = srv.hub.All().Broadcast(t.Context(), []byte("tea at five"))
	require.NoError(t, err)
	ada.sees("*: tea at five")
	garden, _ := srv.hub.Lookup("garden")
	require.NoError(t, garden.Mute(member("garden").ID(), time.Now().Add(time.Hour)))
	ada.line("rude words")
	ada.sees("not done, garden: muted")
	ada.sees("  ×   eva: rude words")
	member("garden").Kick("be nice")
	ada.sees("you are out of garden: kicked: be nice")
	ada.line("hello?")
	ada.sees("you are not in this room")
	member("*").Kick("enough")
	ada.sees("the server has ended this: kicked: enough")
	ada.types("\x03")
	require.Equal(t, 1, ada.status())
	ada.sees("tcproom: chat: tcproom: kicked: the room's reason is \"enough\"")
}

// TestDumbTerminal: a terminal that moves no cursor is written to line by line.
func TestDumbTerminal(t *testing.T) {
	srv := serve(t, "127.0.0.1:0")
	ada := openWith(t, []string{"TERM=dumb"}, "chat", 80, 24, "-name", "ada", srv.addr)
	ada.sees("you are ada in lobby")
	bob := pipe(t, "-name", "bob", srv.addr)
	bob.says("hi ada\n")
	ada.sees("bob: hi ada")
	ada.line("/quit")
	require.Zero(t, ada.status())
	ada.mu.Lock()
	defer ada.mu.Unlock()
	require.NotContains(t, ada.all.String(), "\x1b")
}

// TestNoColor: with NO_COLOR there are none, and all is said.
func TestNoColor(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	srv := serve(t, "127.0.0.1:0")
	ada := open(t, "chat", 80, 24, "-name", "ada", srv.addr)
	ada.sees("you are ada in lobby")
	bob := open(t, "chat", 80, 24, "-name", "bob", srv.addr)
	bob.sees("2 here")
	bob.line("hi ada")
	ada.sees("bob: hi ada")
	ada.mu.Lock()
	defer ada.mu.Unlock()
	colors := regexp.MustCompile(`\x1b\[(\d+;)*([349]\d|10[0-7])(;\d+)*m`)
	require.NotRegexp(t, colors, ada.all.String())
	require.Contains(t, ada.all.String(), "\x1b[1;7m", "the room that is shown is reversed")
}
