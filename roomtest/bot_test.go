package roomtest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	. "example.com/tcproom/roomtest"
)

// line reads a line of a plain client.
func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	require.NoError(t, err, "after %q", s)
	return strings.TrimSuffix(s, "\n")
}

// dialPlain is a client that knows nothing of package tcproom.
func dialPlain(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(30*time.Second))) // only says that the test has failed
	return nc, bufio.NewReader(nc)
}

func TestBotAnswersAPlainClient(t *testing.T) {
	t.Parallel()
	srv := NewServer(t)
	srv.Bot("echo",
		On(MessageLike("", `^my name is (\w+)$`), Say("hello $1, $from; $$0 is $0")),
		On(Joined(""), Say("welcome, $from")),
		On(Any(tcproom.Message), Echo()))
	nc, in := dialPlain(t, srv.Addr)
	require.Equal(t, "echo: welcome, guest-1", line(t, in))
	fmt.Fprint(nc, "hi\nmy name is ada\n")
	require.Equal(t, "echo: hi", line(t, in))
	require.Equal(t, "echo: hello ada, guest-1; $0 is my name is ada", line(t, in))
}

// TestBotDoIsOrdered: what Do sends has its place when Do returns, and so has what the bot
// sent before.
func TestBotDoIsOrdered(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			srv := NewMemServer(t)
			bot := srv.Bot("bot", Start(Say("one")))
			bot.Do()
			require.Equal(t, 2, srv.Transcript().Len())
			bot.Do(Flood(10, "two"))
			require.Equal(t, 12, srv.Transcript().Len())
		})
	}
}

// TestBotDoIsBlocked: Do says so if the room does not get on.
func TestBotDoIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := runTest(func(f *fakeTB) {
			release := make(chan struct{})
			srv := NewMemServer(f, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
				<-release
				return body, nil
			}))
			srv.Bot("bot").Do(Say("one"))
			close(release)
		})
		require.Contains(t, f.said(), `bot "bot": Do: the room has not dealt with what the bot sent within 10s`)
	})
}

func TestBotInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewMemServer(t)
		inTurn := InTurn(AllOf(Say("one"), Action{}, Wait(time.Second), Say("and a half")), Action{}, Say("three, $from"))
		srv.Bot("bot", On(Message("", "go"), inTurn), On(Message("", "none"), InTurn()), On(Message("", "also"), inTurn))
		ada := srv.Join("ada")
		for _, body := range []string{"go", "go", "none", "also", "go"} {
			ada.Send(body)
		}
		ada.Expect(Message("bot", "one"), Message("bot", "and a half"), Message("bot", "three, ada"))
		ada.Expect(Message("bot", "one"), Message("bot", "and a half"))
		ada.RefuteFor(time.Second, Any())
	})
}

func TestBotAnswersEveryFramingAndCodec(t *testing.T) {
	for _, framing := range []tcproom.Framing{tcproom.Lines{}, tcproom.Length{Bytes: 4}, tcproom.Netstring{}} {
		for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}, tcproom.JSON{}} {
			for _, in := range []struct {
				name string
				new  func(testing.TB, ...tcproom.RoomOption) *Server
			}{{name: "TCP", new: NewServer}, {name: "memory", new: NewMemServer}} {
				t.Run(fmt.Sprintf("%T/%T/%s", framing, codec, in.name), func(t *testing.T) {
					t.Parallel()
					srv := in.new(t, tcproom.WithFraming(framing), tcproom.WithCodec(codec))
					srv.Bot("echo", On(Any(tcproom.Message), Echo()))
					ada := srv.Watch(srv.Dial())
					ada.Send("hi")
					ada.Expect(Message("", "hi"))
				})
			}
		}
	}
}

func TestFirstRuleThatMatchesCounts(t *testing.T) {
	t.Parallel()
	srv := NewMemServer(t)
	srv.Bot("b",
		Rule{}, On(Match{}, Say("never")),
		On(Message("ada", "x"), Say("1"), Action{}, Say("2")),
		On(Any(), Say("other")))
	ada := srv.Join("ada")
	ada.Expect(Message("b", "other")) // to the join
	ada.Send("x")
	ada.Expect(Message("b", "1"), Message("b", "2"))
	ada.Send("y")
	ada.Expect(Message("b", "other"))
	ada.Refute(Any())
}

func TestBotsDoNotHearEachOther(t *testing.T) {
	t.Parallel()
	srv := NewMemServer(t)
	ada := srv.Join("ada")
	loud := On(Any(), Say("and $from"))
	srv.Answer(loud)
	srv.Bot("b", loud)
	srv.Bot("c", loud)
	ada.Expect(Joined("b"), Joined("c"))
	ada.Send("hi")
	got := ada.Expect(MessageLike("", "^and ada$"), MessageLike("", "^and "), MessageLike("", "^and "), MessageLike("", "^and "), MessageLike("", "^and "))
	var room int
	for _, ev := range got {
		if ev.From.Name == "" {
			room++
			require.Equal(t, "and ada", string(ev.Body))
		}
	}
	require.Equal(t, 1, room, "the room hears members alone; bots hear the room, once each, beside ada")
	ada.Refute(Any())
}

// What a hook broadcasts for a bot's message is the bot's doing too, so that no bot
// echoes itself for ever; what it broadcasts for others is matched.
func TestBotsDoNotHearThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewMemServer(t, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			_, err := m.Room().Broadcast(m.Context(), append([]byte("x: "), body[:min(len(body), 9)]...))
			return nil, err
		}))
		srv.Bot("b", On(Any(tcproom.Message), Echo()))
		srv.Bot("c", On(MessageLike("", "b|hi"), Say("c heard $0")))
		ada := srv.Join("ada")
		ada.Send("hi")
		ada.Await(MessageLike("*", "c heard"))
		time.Sleep(time.Second)
		require.Equal(t, 6, srv.Transcript().Len(), "%v", srv.Transcript())
	})
}

func TestBotComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewMemServer(t)
		began := time.Now()
		at := func(d time.Duration) { t.Helper(); require.Equal(t, d, time.Since(began)) }
		ada := srv.Join("ada")
		b := srv.Bot("b",
			JoinAfter(time.Minute, Say("late")),
			JoinOn(Message("ada", "come"), Say("here"), Wait(time.Minute), Leave(), Say("lost"), Wait(time.Minute), Join(), Say("again")),
			On(Message("ada", "go"), Leave()))
		require.Equal(t, "b", b.Name())
		patient := ada.Within(time.Hour)
		patient.Expect(Joined("b"), Message("b", "late"))
		at(time.Minute)
		ada.Send("come") // it is there
		ada.Send("go")
		ada.Expect(Left("b"))
		ada.Send("go")
		ada.Refute(Any())
		ada.Send("come")
		patient.Expect(Joined("b"), Message("b", "here"), Left("b"))
		at(2 * time.Minute)
		patient.Expect(Joined("b"), Message("b", "again"))
		at(3 * time.Minute)
		b.Do(Vanish(), Say("lost"))
		ada.Expect(Left("b"))
		b.Do(Leave(), Join(), Join())
		ada.Expect(Joined("b"))
		at(3 * time.Minute)
	})
}

func TestBotKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewMemServer(t)
		began := time.Now()
		ada := srv.Join("ada")
		b := srv.Bot("b",
			Start(Say("start")),
			Every(time.Hour, Say("hour")),
			Every(0, Say("never")),
			After(30*time.Minute, Say("half")),
			After(-1, Say("now")))
		patient := ada.Within(24 * time.Hour)
		patient.Expect(Joined("b"), Message("b", "start"), Message("b", "now"), Message("b", "half"))
		require.Equal(t, 30*time.Minute, time.Since(began))
		patient.Expect(Message("b", "hour"), Message("b", "hour"))
		require.Equal(t, 2*time.Hour, time.Since(began))
		b.Do(Wait(150 * time.Minute)) // busy at 3h and 4h
		patient.Expect(Message("b", "hour"))
		require.Equal(t, 4*time.Hour+30*time.Minute, time.Since(began))
		patient.Expect(Message("b", "hour"))
		require.Equal(t, 5*time.Hour, time.Since(began))
	})
}

func TestFlood(t *testing.T) {
	t.Parallel()
	const n = 5000
	srv := NewMemServer(t)
	srv.Bot("b", On(Message("ada", "go"), Flood(n, "$n of $from"), Flood(0, "never"), Say("done")))
	ada := srv.Join("ada")
	ada.Send("go")
	for i := range n {
		ada.Expect(Message("b", fmt.Sprintf("%d of ada", i+1)))
	}
	ada.Expect(Message("b", "done"))
}

// A bot that sleeps is slow, like any member: the room ends its stay, which it learns
// when it wakes up.
func TestSilentBotIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewMemServer(t, tcproom.WithMaxMessage(1<<10), tcproom.WithBacklog(1))
		ada := srv.Join("ada")
		b := srv.Bot("b", On(Any(tcproom.Message), Say("heard")), ReturnOn(Message("ada", "come")))
		b.Do(GoSilent())
		ada.Send("hi")
		b.Do(Say("lost"))
		ada.RefuteFor(time.Second, Message("b", ""), Message("b", "lost"), Message("b", "heard"), Left("b"))
		for range 2000 {
			ada.Send(strings.Repeat("x", 1<<10))
		}
		ada.Await(Left("b"))
		require.EqualValues(t, 1, srv.Room.Stats().Left["slow"])
		b.Do(WakeUp())
		synctest.Wait()
		ada.Send("come")
		ada.Await(Joined("b"))
	})
}

func TestSleepingBotHearsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewMemServer(t)
		ada := srv.Join("ada")
		b := srv.Bot("b", On(MessageLike("", "."), Echo()))
		ada.Expect(Joined("b"))
		b.Do(GoSilent(), WakeUp(), WakeUp(), GoSilent(), GoSilent())
		ada.Send("hi")
		time.Sleep(time.Hour)
		ada.Refute(Any())
		b.Do(WakeUp())
		ada.Expect(Message("b", "hi"))
		b.Do(GoSilent(), Leave())
		ada.Expect(Left("b"))
	})
}

// A bot attends, when it wakes up, to what came before it fell asleep; nothing is
// lost, and nothing is done meanwhile.
func TestSleepingBotLosesNothing(t *testing.T) {
	for _, nap := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			srv := NewMemServer(t)
			b := srv.Bot("b",
				On(Message("", "sleep"), Wait(nap), GoSilent(), Tell("lost"), Kick("lost")),
				On(Message("", "ping"), Say("pong")),
				On(Message("", "tell"), Tell("told")))
			ada := srv.Join("ada")
			ada.Send("sleep")
			ada.Send("ping")
			ada.Send("tell")
			ada.RefuteFor(time.Minute, Any())
			b.Do(WakeUp())
			synctest.Wait()
			var heard []string
			for _, ev := range ada.Events()[1:] {
				heard = append(heard, string(ev.Body))
			}
			require.ElementsMatch(t, []string{"pong", "told"}, heard)
		})
	}
}

func TestRoomAnswers(t *testing.T) {
	t.Parallel()
	srv := NewServer(t)
	room := srv.Answer(
		On(MessageLike("", `^!secret (.*)$`), Tell("you said $1")),
		On(Message("", "!all"), Say("heard by $from, who asks for $0")),
		On(Message("", "!out"), Kick("as you wish")),
		On(Left("ada"), Tell("lost"), Kick("lost"), Say("bye $from")))
	require.Equal(t, "*", room.Name())
	ada, bob := srv.Join("ada"), srv.Join("bob")
	ada.Expect(Joined("bob"))
	ada.Send("!secret x")
	ada.Expect(Direct("you said x"))
	bob.Expect(Message("ada", "!secret x"))
	ada.Send("!all")
	ada.Expect(Message("*", "heard by ada, who asks for !all"))
	ada.Send("!out")
	ada.Expect(Goodbye())
	require.ErrorIs(t, ada.AwaitEnd(), tcproom.ErrKicked)
	bob.Await(Message("ada", "!out"))
	bob.Expect(Left("ada"), Message("*", "bye ada"))
	room.Do(Say("$from$1 end"))
	bob.Expect(Message("*", " end"))
}

func TestCallRunsOnTheBot(t *testing.T) {
	t.Parallel()
	srv := NewMemServer(t)
	heard := make(chan tcproom.Event, 1)
	srv.Bot("b", On(Any(tcproom.Message), Call(func(ev tcproom.Event) { heard <- ev })))
	ada := srv.Join("ada")
	ada.Send("hi")
	ev := <-heard
	require.Equal(t, "hi", string(ev.Body))
	require.Equal(t, "ada", ev.From.Name)
}

func TestKickedBotIsOutside(t *testing.T) {
	t.Parallel()
	srv := NewMemServer(t)
	srv.Bot("b", On(Any(), Echo()), ReturnOn(Message("ada", "come"), Say("back")))
	ada := srv.Join("ada")
	ada.Send("hi")
	ada.Await(Message("b", "hi"))
	srv.Kick("b", "enough")
	ada.Expect(Left("b"))
	ada.Send("come")
	ada.Expect(Joined("b"), Message("b", "back"))
}

func TestKickAndLinkOfAClient(t *testing.T) {
	t.Parallel()
	srv := NewServer(t)
	watch := srv.Join("watch")
	for i := range 3 { // which are left alone
		dialPlain(t, srv.Addr)
		watch.Expect(Joined(fmt.Sprintf("guest-%d", i+1)))
	}
	nc, in := dialPlain(t, srv.Addr)
	watch.Expect(Joined("guest-4"))
	srv.Kick("guest-4", "rude")
	require.Contains(t, line(t, in), "* goodbye: ")
	_, err := in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	nc.Close()
	watch.Expect(Left("guest-4"))

	nc, in = dialPlain(t, srv.Addr)
	watch.Expect(Joined("guest-5"))
	srv.Link("guest-5").Out(CutAfter(9))
	watch.Send("hello there")
	cut, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, "watch: he", string(cut), "in the middle of a frame")
	nc.Close()
	watch.Expect(Left("guest-5"))

	_, in = dialPlain(t, srv.Addr)
	watch.Expect(Joined("guest-6"))
	srv.Link("guest-6").Out(ResetAfter(0))
	_, err = io.ReadAll(in)
	require.True(t, IsReset(err), "%v", err)
	watch.Expect(Left("guest-6"))
	require.Equal(t, 4, srv.Room.Len())
}

func TestWhatABotCannotDoFailsTheTest(t *testing.T) {
	t.Parallel()
	fatal := []func(*Server){
		func(s *Server) { s.Bot("c") },
		func(s *Server) { s.Bot("") },
		func(s *Server) { s.Kick("zoe", "") },
		func(s *Server) { s.Link("ada") },
	}
	f := runTest(func(f *fakeTB) {
		srv := NewMemServer(f, tcproom.WithMaxMembers(2))
		b := srv.Bot("b")
		srv.Join("ada")
		b.Do(Tell("x"), Say("not done"))
		b.Do(Kick("x"))
		room := srv.Answer()
		for _, a := range []Action{Join(), Leave(), Vanish(), GoSilent(), WakeUp()} {
			room.Do(a)
		}
		room.Do(Flood(3, strings.Repeat("x", 1<<20)))
		b.Do(Leave())
		srv.Join("eve")
		b.Do(Join())
		for _, do := range fatal {
			f.run(func() { do(srv) })
		}
	})
	want := []string{
		`bot "b": Tell("x"): the rule matched nothing that a member did: there is nobody to do that to`,
		`bot "b": Kick("x"): the rule matched nothing that a member did`,
		`bot "*": Join(): that is for bots, and this is the room itself`,
		`bot "*": Leave(): that is for bots`,
		`bot "*": Vanish(): that is for bots`,
		`bot "*": GoSilent(): that is for bots`,
		`bot "*": WakeUp(): that is for bots`,
		`bot "*": Flood(3, "xxx`,
		`bot "b": Join(): tcproom: refused: "room is full"`,
		`bot "c" cannot join: tcproom: refused: "room is full"`,
		`a bot wants a name`,
		`Kick: no member is named "zoe"; there are: ada, eve`,
		`Link: no member that came through a listener is named "ada"; members are: ada, eve`,
	}
	require.Len(t, f.errors, len(want), f.said())
	for i, text := range f.errors {
		require.True(t, strings.HasPrefix(text, "roomtest: "+want[i]), "%.200s", text)
	}
	require.Contains(t, f.errors[7], "message 1: tcproom: message too large")
	require.Less(t, len(f.errors[7]), 500)
	require.Empty(t, f.late)
}

func TestRoomThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		f := runTest(func(f *fakeTB) {
			stuck := make(chan struct{})
			srv := NewMemServer(f, tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { <-stuck; return nil, nil }))
			srv.Within(20 * time.Second)
			b := srv.Bot("b")
			began := time.Now()
			b.Do(Flood(1_000_000, "$n"), Say("not done"))
			took = time.Since(began)
			close(stuck)
		})
		require.Equal(t, 20*time.Second, took)
		require.Len(t, f.errors, 1, f.said())
		require.Regexp(t, `^roomtest: bot "b": Flood\(1000000, "\$n"\): message \d+: the room has not taken it for 20s$`, f.errors[0])
	})
}

func TestBotThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	f := runTest(func(f *fakeTB) {
		srv := NewMemServer(f)
		srv.Grace(10 * time.Millisecond)
		called := make(chan struct{})
		srv.Bot("b", Start(Call(func(tcproom.Event) { close(called); <-stuck })))
		<-called
	})
	require.Equal(t, []string{`roomtest: bot "b" has not ended: it is still at Call`}, f.errors)
	close(stuck)
}

// How long expectations wait does not bound how long a bot may take to end.
func TestBotEndsInItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := NewMemServer(t)
		srv.Within(time.Second)
		srv.Bot("b", On(Message("", "go"), Call(func(tcproom.Event) { time.Sleep(10 * time.Second) })))
		srv.Join("ada").Send("go")
		synctest.Wait()
	})
}

func TestBotOfAnEndedTest(t *testing.T) {
	var b *Bot
	var srv *Server
	t.Run("ended", func(t *testing.T) {
		srv = NewMemServer(t)
		b = srv.Bot("b")
	})
	for _, use := range []func(){
		func() { b.Do() }, func() { srv.Bot("c") }, func() { srv.Answer() }, func() { srv.Kick("b", "") }, func() { srv.Link("b") },
	} {
		require.Panics(t, use)
	}
}

func TestBotSurvivesTheRoom(t *testing.T) {
	t.Parallel()
	srv := NewMemServer(t)
	b := srv.Bot("b")
	room := srv.Answer()
	require.NoError(t, srv.Room.Shutdown(context.Background()))
	b.Do(Say("lost"), Flood(1000, "lost"), Leave())
	room.Do(Say("lost"))
}

// TestBotWhoseRoomCloses: a bot that learns of the end because it cannot send any more does
// not fail the test.
func TestBotWhoseRoomCloses(t *testing.T) {
	for i := range 50 {
		srv := NewMemServer(t)
		srv.Bot("bot", Start(Flood(10_000, "x")))
		time.Sleep(time.Duration(i%5) * time.Millisecond) // or it closes before anything is said
		require.NoError(t, srv.Room.Close())
	}
}
