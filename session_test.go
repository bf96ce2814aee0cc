package tcproom_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func TestP16Resume(t *testing.T) {
	inBubbleEach("what was missed comes once, in order, and then what is live", t, resumeInOrder)
	inBubbleEach("before anything was seen, after an hour of quiet, twice in a row", t, resumeAgainAndAgain)
	inBubbleEach("a gap has exact numbers", t, resumeBehindAGap)
	inBubbleEach("own messages are not missed, but for an echo", t, resumeWithoutOwnMessages)
	inBubbleEach("what cannot be resumed", t, resumeImpossible)
	inBubbleEach("a token is its member's", t, resumeOfAnotherMember)
	inBubbleEach("a room without sessions knows none", t, resumeWithoutSessions)
}

func resumeInOrder(t *testing.T, s testkit.Seqs) {
	srv := sessionServer(t, tcproom.Sessions{}, s.Option())
	bob := srv.Join("bob")
	ada := visitsAs(t, srv, s, object{"name": "ada"})
	w := ada.welcomed("joined")
	bob.Expect(roomtest.Joined("ada"))
	bob.Send("one")
	require.Equal(t, "3 bob: one", ada.short())
	ada.nc.Close()
	synctest.Wait()
	bob.Send("two")
	eve := srv.Join("eve")
	eve.Leave()
	bob.Expect(roomtest.Joined("eve"), roomtest.Left("eve"))

	ada = visitsAs(t, srv, s, resume(w, s.At(3)))
	w2 := ada.welcomed("resumed")
	require.Equal(t, w["id"], w2["id"])
	require.Equal(t, "ada", w2["name"])
	require.EqualValues(t, 6, ada.place(w2["seq"]))
	for _, want := range []string{"4 bob: two", "5 join eve", "6 leave eve"} {
		require.Equal(t, want, ada.short())
	}
	bob.Send("three")
	require.Equal(t, "7 bob: three", ada.short())
	bob.Refute(roomtest.Any(tcproom.Join, tcproom.Leave))
	require.Equal(t, 2, srv.Room.Len())
}

func resumeAgainAndAgain(t *testing.T, s testkit.Seqs) {
	srv := sessionServer(t, tcproom.Sessions{Grace: 2 * time.Hour}, s.Option())
	bob := srv.Join("bob")
	ada := visitsAs(t, srv, s, object{"name": "ada"})
	w := ada.welcomed("joined")
	for i := range 3 {
		ada.nc.Close()
		time.Sleep(time.Hour)
		ada = visitsAs(t, srv, s, resume(w, s.At(uint64(2+i))))
		ada.welcomed("resumed")
		bob.Send("hi")
		require.Equal(t, fmt.Sprintf("%d bob: hi", 3+i), ada.short())
	}
	require.EqualValues(t, 3, srv.Room.Stats().Resumed)
}

func resumeBehindAGap(t *testing.T, s testkit.Seqs) {
	srv := sessionServer(t, tcproom.Sessions{Events: 100}, s.Option())
	bob := srv.Join("bob")
	ada := visitsAs(t, srv, s, nil)
	w := ada.welcomed("joined")
	ada.nc.Close()
	synctest.Wait()
	for i := range 250 {
		bob.Send(fmt.Sprint(i))
	}
	ada = visitsAs(t, srv, s, resume(w, s.At(2)))
	ada.welcomed("gap")
	require.Equal(t, "gap 3-152", ada.short())
	for i := range 100 {
		require.Equal(t, fmt.Sprintf("%d bob: %d", 153+i, 150+i), ada.short())
	}
	for seq, want := range map[uint64]string{s.At(152): "resumed", s.At(152) - 1: "gap"} { // the last that has gone
		ada = visitsAs(t, srv, s, resume(w, seq))
		ada.welcomed(want)
		if want == "gap" {
			require.Equal(t, "gap 152-152", ada.short())
		}
		require.Equal(t, "153 bob: 150", ada.short())
	}
}

func resumeWithoutOwnMessages(t *testing.T, s testkit.Seqs) {
	for _, echo := range []bool{false, true} {
		srv := sessionServer(t, tcproom.Sessions{}, s.Option(), tcproom.WithEcho(echo))
		ada := visitsAs(t, srv, s, nil)
		w := ada.welcomed("joined")
		ada.say(object{"type": "message", "body": "mine"})
		synctest.Wait()
		ada.nc.Close()
		synctest.Wait()
		_, err := srv.Room.Broadcast(t.Context(), []byte("theirs"))
		require.NoError(t, err)
		ada = visitsAs(t, srv, s, resume(w, s.At(1)))
		ada.welcomed("resumed")
		if echo {
			require.Equal(t, "2 guest-1: mine", ada.short())
		}
		require.Equal(t, "3 <nil>: theirs", ada.short())
	}
}

func resumeImpossible(t *testing.T, s testkit.Seqs) {
	srv := sessionServer(t, tcproom.Sessions{Grace: time.Minute}, s.Option())
	ada := visitsAs(t, srv, s, object{"name": "ada"})
	w := ada.welcomed("joined")
	ada.nc.Close()

	v := visitsAs(t, srv, s, resume(w, s.At(2)))
	require.Equal(t, "refused"+"future"+"false", v.short())
	v = visitsAs(t, srv, s, resume(object{"token": w["token"], "epoch": "another"}, 1))
	require.NotEqual(t, w["id"], v.welcomed("expired")["id"])
	v = visitsAs(t, srv, s, resume(object{"token": strings.Repeat("A", 26), "epoch": w["epoch"]}, 1))
	require.NotEqual(t, w["id"], v.welcomed("expired")["id"])
	time.Sleep(time.Minute)
	synctest.Wait()
	v = visitsAs(t, srv, s, resume(w, s.At(1)))
	require.NotEqual(t, w["id"], v.welcomed("expired")["id"])
}

func resumeOfAnotherMember(t *testing.T, s testkit.Seqs) {
	srv := sessionServer(t, tcproom.Sessions{}, s.Option(), tcproom.WithHandshake(func(_ context.Context, c *tcproom.Newcomer) (tcproom.Identity, error) {
		return tcproom.Identity{Name: string(c.Hello().Auth)}, nil
	}))
	ada := visitsAs(t, srv, s, object{"auth": "ada"})
	w := ada.welcomed("joined")
	require.Equal(t, "ada", w["name"])
	thief := resume(w, w["seq"])
	thief["auth"] = "eve"
	require.Equal(t, "refused"+"denied"+"false", visitsAs(t, srv, s, thief).short())
	back := resume(w, w["seq"])
	back["auth"] = "ada"
	visitsAs(t, srv, s, back).welcomed("resumed")
}

func resumeWithoutSessions(t *testing.T, s testkit.Seqs) {
	srv := roomtest.NewMemServer(t, s.Option(), tcproom.WithCodec(tcproom.JSON{}))
	v := visitsAs(t, srv, s, resume(object{"token": "x", "epoch": "y"}, 1))
	o := v.next()
	require.Nil(t, o["outcome"])
	require.Nil(t, o["token"])
}

// TestTakeOver: the newest connection wins, and the old one is told not to
// come back; nobody else notices.
func TestTakeOver(t *testing.T) {
	inBubble("one after the other", t, func(t *testing.T) {
		var joins, leaves atomic.Int32
		srv := sessionServer(t, tcproom.Sessions{},
			tcproom.OnJoin(func(c *tcproom.Member) error { joins.Add(1); return nil }),
			tcproom.OnLeave(func(c *tcproom.Member, err error) { leaves.Add(1) }))
		bob := srv.Join("bob")
		old := visits(t, srv, object{"name": "ada"})
		w := old.welcomed("joined")
		bob.Expect(roomtest.Joined("ada"))
		for range 100 {
			v := visits(t, srv, resume(w, w["seq"]))
			v.welcomed("resumed")
			require.Equal(t, "goodbye"+"taken-over"+"false", old.short())
			_, err := old.in.ReadByte()
			require.ErrorIs(t, err, io.EOF)
			old = v
		}
		bob.Refute(roomtest.Any())
		require.Equal(t, 2, srv.Room.Len())
		require.EqualValues(t, 2, joins.Load())
		require.Zero(t, leaves.Load())
		old.say(object{"type": "goodbye"})
		bob.Expect(roomtest.Left("ada"))
		synctest.Wait()
		require.EqualValues(t, 1, leaves.Load())
	})

	t.Run("all at once", func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		bob := srv.Join("bob")
		ada := visits(t, srv, object{"name": "ada"})
		w := ada.welcomed("joined")
		bob.Expect(roomtest.Joined("ada"))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				c, err := tcproom.Dial(context.Background(), srv.Addr, tcproom.WithCodec(tcproom.JSON{}),
					tcproom.WithDialer(srv.Net.Dial), tcproom.WithResume(tcproom.Resume{
						Token: tcproom.Secret(w["token"].(string)), Epoch: w["epoch"].(string), Seq: uint64(w["seq"].(float64)),
					}))
				if err != nil {
					return // taken over before its welcome
				}
				if ev, err := c.Receive(context.Background()); err != nil || ev.Welcome.Outcome != "resumed" {
					t.Error(ev, err)
				}
				t.Cleanup(func() { c.Close() })
			})
		}
		wg.Wait()
		bob.Refute(roomtest.Any())
		require.Equal(t, 2, srv.Room.Len())
	})
}

func TestGrace(t *testing.T) {
	inBubble("a member that vanished leaves when it is over", t, graceIsOver)
	inBubble("a member that says goodbye, is kicked or breaks a rule leaves at once", t, leavesAtOnce)
	inBubble("no more than so many", t, tooManyDetached)
	inBubble("they count against the limits", t, detachedCount)
	inBubble("a stop ends it", t, stopEndsGrace)
}

func graceIsOver(t *testing.T) {
	type left struct {
		after time.Duration
		cause error
	}
	start := time.Now()
	leaves := make(chan left, 10)
	srv := sessionServer(t, tcproom.Sessions{Grace: time.Minute},
		tcproom.OnLeave(func(c *tcproom.Member, err error) { leaves <- left{time.Since(start), err} }))
	bob := srv.Join("bob")
	ada := visits(t, srv, object{"name": "ada"})
	ada.welcomed("joined")
	bob.Expect(roomtest.Joined("ada"))
	ada.nc.Close()
	synctest.Wait()
	var end *tcproom.Member
	for c := range srv.Room.Members() {
		if c.Name() == "ada" {
			end = c
		}
	}
	require.Equal(t, 2, srv.Room.Len())
	require.Equal(t, 1, srv.Room.Stats().Detached)
	require.ErrorIs(t, end.Send(t.Context(), []byte("hi")), tcproom.ErrDetached)
	time.Sleep(time.Minute - 1)
	bob.Refute(roomtest.Left("ada"))
	time.Sleep(time.Nanosecond)
	bob.Expect(roomtest.Left("ada"))
	leave := <-leaves
	require.Equal(t, time.Minute, leave.after)
	require.ErrorIs(t, leave.cause, io.EOF)
	require.Equal(t, map[tcproom.Cause]uint64{errLeft: 1}, srv.Room.Stats().Left)
}

func leavesAtOnce(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour})
	bob := srv.Join("bob")
	for _, end := range []func(*visit, *tcproom.Member){
		func(v *visit, _ *tcproom.Member) { v.say(object{"type": "goodbye"}) },
		func(_ *visit, c *tcproom.Member) { require.NoError(t, c.Kick("rude")) },
		func(v *visit, _ *tcproom.Member) { io.WriteString(v.nc, "nonsense\n") },
		func(v *visit, c *tcproom.Member) { // kicked while it is away
			v.nc.Close()
			synctest.Wait()
			require.NoError(t, c.Kick("rude"))
			require.ErrorIs(t, c.Kick("rude"), tcproom.ErrNotMember)
		},
	} {
		v := visits(t, srv, object{"name": "ada"})
		w := v.welcomed("joined")
		bob.Expect(roomtest.Joined("ada"))
		c, ok := srv.Room.Member(w["id"].(string))
		require.True(t, ok)
		end(v, c)
		bob.Expect(roomtest.Left("ada"))
		require.Equal(t, 1, srv.Room.Len())
		v = visits(t, srv, resume(w, w["seq"]))
		v.welcomed("expired")
		bob.Expect(roomtest.Any(tcproom.Join))
		v.say(object{"type": "goodbye"})
		bob.Await(roomtest.Any(tcproom.Leave))
	}
	require.EqualValues(t, 2, srv.Room.Stats().Left[tcproom.ErrKicked])
}

func tooManyDetached(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{Detached: 2})
	bob := srv.Join("bob")
	for i := range 4 {
		v := visits(t, srv, object{"name": fmt.Sprint("n", i)})
		v.welcomed("joined")
		bob.Expect(roomtest.Joined(fmt.Sprint("n", i)))
		v.nc.Close()
		synctest.Wait()
		if i >= 2 {
			bob.Expect(roomtest.Left(fmt.Sprint("n", i-2)))
		}
	}
	require.Equal(t, 2, srv.Room.Stats().Detached)
}

func detachedCount(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{Grace: time.Minute}, tcproom.WithMaxMembers(2), tcproom.WithMaxPerAddress(1), tcproom.WithUniqueNames(true))
	from := func(source string, hello object) *visit {
		nc, err := srv.Net.DialFrom(t.Context(), source, srv.Addr)
		require.NoError(t, err)
		v := &visit{t: t, nc: nc, in: bufio.NewReader(nc)}
		t.Cleanup(func() { nc.Close() })
		o := object{"type": "hello"}
		for k, x := range hello {
			o[k] = x
		}
		v.say(o)
		return v
	}
	ada := from("10.0.0.1", object{"name": "ada"})
	w := ada.welcomed("joined")
	ada.nc.Close()
	synctest.Wait()
	require.Contains(t, from("10.0.0.5", object{"name": "ada"}).short(), "name-taken")
	require.Contains(t, from("10.0.0.1", nil).short(), "too-many-from-address")
	bob := from("10.0.0.2", object{"name": "bob"})
	bob.welcomed("joined")
	require.Contains(t, from("10.0.0.3", nil).short(), "full")

	back := from("10.0.0.4", resume(w, w["seq"]))
	back.welcomed("resumed")
	require.Equal(t, "2 join bob", back.short())
	back.nc.Close()
	time.Sleep(time.Minute)
	require.Equal(t, "3 leave ada", bob.short())
	from("10.0.0.1", object{"name": "ada"}).welcomed("joined")
}

func stopEndsGrace(t *testing.T) {
	var causes []error
	srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour}, tcproom.OnLeave(func(_ *tcproom.Member, err error) { causes = append(causes, err) }))
	visits(t, srv, nil).nc.Close()
	synctest.Wait()
	require.Equal(t, 1, srv.Room.Stats().Detached)
	require.NoError(t, srv.Room.Shutdown(t.Context()))
	require.Equal(t, []error{tcproom.ErrRoomClosed}, causes)
	require.Zero(t, srv.Room.Len())
}

// posts are the two ways in which a hook posts a message: by itself, and by what it
// returns.
var posts = []func(*tcproom.Member, []byte) ([]byte, error){
	func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil },
	func(m *tcproom.Member, body []byte) ([]byte, error) {
		_, err := m.Post(context.Background(), body)
		return nil, err
	},
}

func TestNumberedMessages(t *testing.T) {
	inBubble("each is acknowledged, and taken once", t, ackOfEach)
	inBubble("a hook decides what they become", t, ackOfHook)
	inBubble("a hook that outlives its connection posts for the member", t, hookOutlivesOne)
	inBubble("a hook that outlives two connections posts once", t, hookOutlivesTwo)
	inBubble("what a hook could not post comes again", t, hookFailsAndMessageComesAgain)
	inBubble("acks that nobody reads hold the sender back", t, acksNobodyReads)
}

func ackOfEach(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{})
	bob := srv.Join("bob")
	ada := visits(t, srv, object{"name": "ada"})
	w := ada.welcomed("joined")
	bob.Expect(roomtest.Joined("ada"))
	ada.sayNumbered(1, "one")
	require.Equal(t, "ack 1=3", ada.short())
	ada.sayNumbered(5, "five")
	ada.nc.Close() // before it has seen the ack
	synctest.Wait()
	ada = visits(t, srv, resume(w, 2))
	ada.welcomed("resumed")
	ada.sayNumbered(5, "five")
	ada.sayNumbered(1, "one")
	ada.sayNumbered(6, "six")
	for _, want := range []string{"ack 5=4", "ack 1=3", "ack 6=5"} {
		require.Equal(t, want, ada.short())
	}
	bob.Expect(roomtest.Message("ada", "one"), roomtest.Message("ada", "five"), roomtest.Message("ada", "six"))
	bob.Refute(roomtest.Any())
}

func ackOfHook(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
		so := append([]byte("so "), body...)
		switch string(body) {
		case "drop":
			return nil, nil
		case "post":
			_, err := m.Post(m.Context(), so)
			return nil, err
		case "both":
			_, err := m.Post(m.Context(), so)
			return body, err
		}
		return so, nil
	}))
	bob := srv.Join("bob")
	ada := visits(t, srv, object{"name": "ada"})
	ada.welcomed("joined")
	ada.sayNumbered(1, "drop")
	ada.sayNumbered(2, "it")
	ada.sayNumbered(2, "it")
	ada.sayNumbered(3, "post")
	ada.sayNumbered(3, "post")
	ada.sayNumbered(4, "both")
	ada.sayNumbered(4, "both")
	for _, want := range []string{"ack 1=<nil>", "ack 2=3", "ack 2=3", "ack 3=4", "ack 3=4", "ack 4=6", "ack 4=6"} {
		require.Equal(t, want, ada.short())
	}
	bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "so it"), roomtest.Message("ada", "so post"),
		roomtest.Message("ada", "so both"), roomtest.Message("ada", "both"))
	bob.Refute(roomtest.Any())
}

func hookOutlivesOne(t *testing.T) {
	for _, post := range posts {
		entered, release := make(chan bool), make(chan bool)
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			entered <- true
			<-release
			return post(m, body)
		}))
		bob := srv.Join("bob")
		ada := visits(t, srv, object{"name": "ada"})
		w := ada.welcomed("joined")
		ada.sayNumbered(1, "slow")
		<-entered
		v := visits(t, srv, resume(w, 2))
		v.welcomed("resumed")
		v.sayNumbered(1, "slow")
		synctest.Wait()
		release <- true
		require.Equal(t, "ack 1=3", v.short())
		bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "slow"))
		bob.Refute(roomtest.Any())
	}
}

func hookOutlivesTwo(t *testing.T) {
	for _, post := range posts {
		entered, release := make(chan bool, 2), make(chan bool)
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			entered <- true
			<-release
			return post(m, body)
		}))
		bob := srv.Join("bob")
		ada := visits(t, srv, object{"name": "ada"})
		w := ada.welcomed("joined")
		ada.sayNumbered(1, "slow")
		<-entered
		for range 2 {
			ada = visits(t, srv, resume(w, 2))
			ada.welcomed("resumed")
			ada.sayNumbered(1, "slow")
			synctest.Wait()
		}
		require.Empty(t, entered, "hooks of one member do not overlap")
		close(release)
		require.Equal(t, "ack 1=3", ada.short())
		bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "slow"))
		bob.Refute(roomtest.Any())
	}
}

func hookFailsAndMessageComesAgain(t *testing.T) {
	entered, release := make(chan bool, 1), make(chan bool)
	calls := 0 // by the hooks of one member, which do not overlap
	srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
		calls++
		ctx, cancel := context.WithCancel(m.Context())
		defer cancel()
		entered <- true
		<-release
		if calls == 1 {
			cancel()
		}
		_, err := m.Post(ctx, body)
		return nil, err
	}))
	bob := srv.Join("bob")
	ada := visits(t, srv, object{"name": "ada"})
	w := ada.welcomed("joined")
	ada.sayNumbered(1, "slow")
	<-entered
	v := visits(t, srv, resume(w, 2))
	v.welcomed("resumed")
	v.sayNumbered(1, "slow")
	release <- true // the hook of a connection that was taken over
	<-entered
	release <- true
	require.Equal(t, "ack 1=3", v.short())
	bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "slow"))
	bob.Refute(roomtest.Any())
}

func acksNobodyReads(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour}, tcproom.WithWriteTimeout(time.Minute))
	ada := visits(t, srv, nil)
	ada.welcomed("joined")
	ada.nc.(*roomtest.Conn).In(roomtest.Stall())
	sent := 0
	for {
		ada.nc.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := fmt.Fprintf(ada.nc, `{"type":"message","id":%d,"body":""}`+"\n", sent+1); err != nil {
			break
		}
		sent++
	}
	// What is acknowledged stands in the kernel's buffer and 64 KiB of the
	// room's, and what is not read in buffers too.
	require.Less(t, sent, 20000)
	time.Sleep(2 * time.Minute)
	require.Equal(t, 1, srv.Room.Stats().Detached, "the write timeout ends it")
}

// TestP16GuessedTokens: nothing but the token will do.
func TestP16GuessedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour}, tcproom.WithNotices(false))
		ada := visits(t, srv, object{"name": "ada"})
		w := ada.welcomed("joined")
		token, id := w["token"].(string), w["id"].(string)
		require.Len(t, token, 26, "130 bits, in base32")
		gone := visits(t, srv, nil)
		old := gone.welcomed("joined")["token"].(string)
		gone.say(object{"type": "goodbye"})
		synctest.Wait()
		require.NotEqual(t, token, old)

		guesses := []string{"", " ", "A", id, old, token[:25], token + "A", token + " ", "A" + token, strings.ToLower(token),
			token[1:] + token[:1], w["epoch"].(string), strings.Repeat("A", 26), strings.Repeat("A", 3000), token + "\x00", "*", "%00", "\u0130" + token[1:]}
		for i := range 26 { // each character counts
			guesses = append(guesses, token[:i]+string('A'+(token[i]-'A'+1)%26)+token[i+1:])
		}
		for _, guess := range guesses {
			v := visits(t, srv, resume(object{"token": guess, "epoch": w["epoch"]}, 0))
			got := v.welcomed("expired")
			require.NotEqual(t, id, got["id"], "%q", guess)
			require.NotEqual(t, token, got["token"], "%q", guess)
			v.say(object{"type": "goodbye"})
			synctest.Wait()
		}
		for _, wrong := range []any{"x", 5, []int{1}, object{"token": 5}, object{"token": token, "epoch": w["epoch"], "seq": "0"}, object{"token": token, "epoch": w["epoch"], "seq": -1}} {
			require.Contains(t, visits(t, srv, object{"resume": wrong}).short(), "refusedmalformed", "%v", wrong)
		}
		ada.say(object{"type": "message", "id": 1, "body": "still here"})
		require.Equal(t, "ack 1=1", ada.short())
		visits(t, srv, resume(w, 0)).welcomed("resumed")
	})
}
