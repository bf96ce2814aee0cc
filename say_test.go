package tcproom_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// TestSay: all members receive what a guest says, in the one order, and no hook does.
func TestSay(t *testing.T) {
	room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.OnMessage(func(m *tcproom.Member, _ []byte) ([]byte, error) {
		return nil, errors.New("a hook was asked about a guest")
	}))
	t.Cleanup(func() { room.Close() })
	ada, bob := join(t, room, tcproom.WithName("ada")), join(t, room, tcproom.WithName("bob"))
	ci := tcproom.MemberInfo{ID: "ci-1", Name: "ci"}
	seq, err := room.Say(t.Context(), ci, []byte("built"))
	require.NoError(t, err)
	require.Equal(t, uint64(3), seq)
	hers, err := room.Say(t.Context(), tcproom.MemberInfo{ID: ada.ID(), Name: "ada"}, nil)
	require.NoError(t, err)
	for _, c := range []*tcproom.Conn{ada, bob} {
		ev := next(t, c)
		for ev.Kind != tcproom.Message {
			ev = next(t, c)
		}
		require.Equal(t, ci, ev.From)
		require.Equal(t, seq, ev.Seq)
		require.Equal(t, "built", string(ev.Body))
		ev = next(t, c)
		require.Equal(t, hers, ev.Seq, "nobody is left out, not even the one who bears that name")
		require.Equal(t, ada.ID(), ev.From.ID)
		require.Empty(t, ev.Body)
	}
	require.Equal(t, 2, room.Len())
	require.Equal(t, uint64(2), room.Stats().Messages)
}

// TestSayRefused: what a guest may not be, or say, is not in the order.
func TestSayRefused(t *testing.T) {
	guest := tcproom.MemberInfo{ID: "g", Name: "guest"}
	ended, cancel := context.WithCancelCause(t.Context())
	theEnd := errors.New("the end")
	cancel(theEnd)
	for _, tt := range []struct {
		name string
		opts []tcproom.RoomOption
		ctx  context.Context
		from tcproom.MemberInfo
		body string
		want error
	}{
		{name: "no name", from: tcproom.MemberInfo{ID: "g"}, want: tcproom.ErrNameInvalid},
		{name: "no ID", from: tcproom.MemberInfo{Name: "guest"}, want: tcproom.ErrNameInvalid},
		{name: "nobody", want: tcproom.ErrNameInvalid},
		{name: "a name that could forge", from: tcproom.MemberInfo{ID: "g", Name: "ada:\r\n*"}, want: tcproom.ErrNameInvalid},
		{name: "an ID with a line end", from: tcproom.MemberInfo{ID: "g\n", Name: "guest"}, want: tcproom.ErrNameInvalid},
		{name: "an ID of letters that JSON escapes", from: tcproom.MemberInfo{ID: "ä", Name: "guest"}, want: tcproom.ErrNameInvalid},
		{name: "an ID that is too long", from: tcproom.MemberInfo{ID: strings.Repeat("g", 65), Name: "guest"}, want: tcproom.ErrNameInvalid},
		{name: "the validator says so", opts: []tcproom.RoomOption{
			tcproom.WithNameValidator(func(string) error { return errors.New("no") }),
		}, from: guest, want: tcproom.ErrNameInvalid},
		{name: "the validator panics", opts: []tcproom.RoomOption{
			tcproom.WithNameValidator(func(string) error { panic("no") }),
		}, from: guest, want: tcproom.ErrHook},
		{name: "too large", opts: []tcproom.RoomOption{tcproom.WithMaxMessage(3)}, from: guest, body: "long", want: tcproom.ErrFrameTooLarge},
		{name: "a line end in lines of Raw", opts: []tcproom.RoomOption{tcproom.WithCodec(tcproom.Raw{})}, from: guest, body: "a\nb", want: tcproom.ErrUnframeable},
		{name: "the context has ended", ctx: ended, from: guest, want: theEnd},
	} {
		t.Run(tt.name, func(t *testing.T) {
			room := tcproom.New(tt.opts...)
			t.Cleanup(func() { room.Close() })
			ctx := t.Context()
			if tt.ctx != nil {
				ctx = tt.ctx
			}
			seq, err := room.Say(ctx, tt.from, []byte(tt.body))
			require.ErrorIs(t, err, tt.want)
			require.Zero(t, seq)
			require.Zero(t, room.Past(0, 0).Seq)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	room := tcproom.New()
	require.NoError(t, room.Close())
	_, err := room.Say(t.Context(), guest, nil)
	require.ErrorIs(t, err, tcproom.ErrRoomClosed)
	require.True(t, room.Stats().Stopping)
}

// TestSayNameTaken: a member's name is its own from before its OnJoin to its leave, in
// a room with unique names; its ID is its own in any.
func TestSayNameTaken(t *testing.T) {
	for _, unique := range []bool{true, false} {
		t.Run(fmt.Sprint("unique names: ", unique), func(t *testing.T) {
			var room *tcproom.Room
			say := func(id, name string) error {
				_, err := room.Say(t.Context(), tcproom.MemberInfo{ID: id, Name: name}, []byte("hi"))
				return err
			}
			var reserved error
			room = tcproom.New(tcproom.WithUniqueNames(unique), tcproom.WithCodec(tcproom.JSON{}), tcproom.OnJoin(func(m *tcproom.Member) error {
				reserved = say("web", m.Name())
				if err := say(m.ID(), m.Name()); err != nil {
					return err
				}
				return nil
			}))
			t.Cleanup(func() { room.Close() })
			require.NoError(t, say("web", "ada"))
			c := join(t, room, tcproom.WithName("ada"))
			require.NoError(t, say(c.ID(), "ada"))
			require.NoError(t, say("web", "bob"))
			require.ErrorIs(t, say(c.ID(), "bob"), tcproom.ErrNameTaken)
			present := say("web", "ada")
			require.Equal(t, unique, errors.Is(present, tcproom.ErrNameTaken), "%v", present)
			require.Equal(t, unique, errors.Is(reserved, tcproom.ErrNameTaken), "%v", reserved)
			require.NoError(t, c.Close())
			waitLen(t, room, 0)
			require.NoError(t, say("web", "ada"))
			require.NoError(t, say(c.ID(), "bob"))
		})
	}
}

// heldBack is a room in which a member that reads nothing holds back what is said.
func heldBack(t *testing.T, opts ...tcproom.RoomOption) (room *tcproom.Room, stalled *roomtest.Conn, said uint64) {
	room = tcproom.New(append([]tcproom.RoomOption{
		tcproom.WithBacklog(1), tcproom.WithMaxMessage(1 << 10), tcproom.WithWriteTimeout(24 * time.Hour),
		tcproom.WithSlowMembers(tcproom.Block(10 * time.Hour)),
	}, opts...)...)
	t.Cleanup(func() { room.Close() })
	stalled, _ = enter(t, room, tcproom.WithCodec(tcproom.Text{}))
	synctest.Wait()
	for _, size := range []int{1000, 0} {
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			seq, err := room.Broadcast(ctx, make([]byte, size))
			cancel()
			if err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
				break
			}
			said = seq
		}
	}
	return room, stalled, said
}

func read(stalled *roomtest.Conn) {
	for b := make([]byte, 4096); ; {
		if _, err := stalled.Read(b); err != nil {
			return
		}
	}
}

// TestSayHeldBack: it waits until its context ends, and is not ordered then; a name
// that a member has taken meanwhile is not its own any more.
func TestSayHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room, stalled, said := heldBack(t, tcproom.WithUniqueNames(true), tcproom.WithNotices(false))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err := room.Say(ctx, tcproom.MemberInfo{ID: "web", Name: "web"}, []byte("too late"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(start))

		taken := make(chan error, 1)
		go func() {
			_, err := room.Say(t.Context(), tcproom.MemberInfo{ID: "web", Name: "ada"}, []byte("not hers"))
			taken <- err
		}()
		synctest.Wait()
		c, err := room.Join(t.Context(), tcproom.Identity{Name: "ada"})
		require.NoError(t, err)
		defer c.Close()
		go drain(c)
		go read(stalled)
		require.ErrorIs(t, <-taken, tcproom.ErrNameTaken)
		synctest.Wait()
		require.Equal(t, said, room.Past(0, 0).Seq)
	})
}

// TestSayInTheNameOfOneThatResumes: a resumed stream has what a guest said in the name
// of its member, as a live one has.
func TestSayInTheNameOfOneThatResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{})
		ada := visits(t, srv, object{"name": "ada"})
		w := ada.welcomed("joined")
		m := sessionMember(t, srv.Room, w)
		ada.nc.Close()
		synctest.Wait()
		_, err := srv.Room.Say(t.Context(), m.Info(), []byte("by another way"))
		require.NoError(t, err)
		_, err = m.Post(t.Context(), []byte("her own"))
		require.NoError(t, err)
		_, err = srv.Room.Broadcast(t.Context(), []byte("the end"))
		require.NoError(t, err)
		ada = visits(t, srv, resume(w, 1))
		ada.welcomed("resumed")
		require.Equal(t, "2 ada: by another way", ada.short())
		require.Equal(t, "4 <nil>: the end", ada.short())
	})
}

// TestMemberByToken: a token names its member while that could resume.
func TestMemberByToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{Grace: time.Minute})
		ada := visits(t, srv, object{"name": "ada"})
		token := tcproom.Secret(ada.welcomed("joined")["token"].(string))
		m, ok := srv.Room.MemberByToken(token)
		require.True(t, ok)
		require.Equal(t, "ada", m.Name())
		for _, wrong := range []tcproom.Secret{"", token + "x", tcproom.Secret(m.ID())} {
			_, ok := srv.Room.MemberByToken(wrong)
			require.False(t, ok)
		}
		ada.nc.Close()
		synctest.Wait()
		again, ok := srv.Room.MemberByToken(token)
		require.True(t, ok, "it may come back")
		require.Same(t, m, again)
		_, err := m.Post(t.Context(), []byte("from afar"))
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		_, ok = srv.Room.MemberByToken(token)
		require.False(t, ok, "its grace is over")

		bob := visits(t, srv, object{"name": "bob"})
		token = tcproom.Secret(bob.welcomed("joined")["token"].(string))
		m, ok = srv.Room.MemberByToken(token)
		require.True(t, ok)
		require.NoError(t, m.Kick("out"))
		_, ok = srv.Room.MemberByToken(token)
		require.False(t, ok)
	})
}

// sessionMember returns the member of a welcome.
func sessionMember(t testing.TB, room *tcproom.Room, w object) *tcproom.Member {
	t.Helper()
	m, ok := room.MemberByToken(tcproom.Secret(w["token"].(string)))
	require.True(t, ok)
	return m
}

func TestPostNumbered(t *testing.T) {
	inBubble("a number is taken once, by a call or by a connection", t, numberTakenOnce)
	inBubble("errors", t, numberErrors)
	inBubble("a hook has a message of that number", t, numberInHook)
	inBubble("a hook has a message of that number and fails", t, numberInHookThatFails)
	inBubble("both are held back", t, numberHeldBack)
	inBubble("a greater one comes first", t, numberOvertaken)
}

func numberTakenOnce(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{})
	bob := srv.Join("bob")
	ada := visits(t, srv, object{"name": "ada"})
	w := ada.welcomed("joined")
	m := sessionMember(t, srv.Room, w)
	post := func(number uint64) uint64 {
		seq, err := m.PostNumbered(t.Context(), number, fmt.Append(nil, number))
		require.NoError(t, err)
		return seq
	}
	require.Equal(t, uint64(3), post(1))
	require.Equal(t, uint64(3), post(1))
	ada.sayNumbered(1, "1")
	require.Equal(t, "ack 1=3", ada.short())
	ada.sayNumbered(5, "5")
	require.Equal(t, "ack 5=4", ada.short())
	require.Equal(t, uint64(4), post(5))
	require.Zero(t, post(4), "it is not greater than those before")
	ada.nc.Close()
	synctest.Wait()
	require.Equal(t, uint64(5), post(6), "while it is detached")
	ada = visits(t, srv, resume(w, 2))
	require.EqualValues(t, 6, ada.welcomed("resumed")["lastId"])
	require.Equal(t, uint64(6), post(0), "no number")
	require.Equal(t, uint64(7), post(0))
	bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "1"), roomtest.Message("ada", "5"), roomtest.Message("ada", "6"),
		roomtest.Message("ada", "0"), roomtest.Message("ada", "0"))
	bob.Refute(roomtest.Any())
}

func numberErrors(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{}, tcproom.WithMaxMessage(10))
	m := sessionMember(t, srv.Room, visits(t, srv, object{"name": "ada"}).welcomed("joined"))
	ctx, cancel := context.WithCancelCause(t.Context())
	theEnd := errors.New("the end")
	cancel(theEnd)
	_, err := m.PostNumbered(ctx, 1, []byte("a"))
	require.ErrorIs(t, err, theEnd)
	_, err = m.PostNumbered(t.Context(), 1, []byte("longer than that"))
	require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
	seq, err := m.PostNumbered(t.Context(), 1, []byte("a"))
	require.NoError(t, err)
	require.Equal(t, uint64(2), seq, "after an error the number is free")
	require.NoError(t, m.Kick(""))
	_, err = m.PostNumbered(t.Context(), 1, []byte("a"))
	require.ErrorIs(t, err, tcproom.ErrNotMember)
	require.NoError(t, srv.Room.Close())
	_, err = m.PostNumbered(t.Context(), 1, []byte("a"))
	require.ErrorIs(t, err, tcproom.ErrRoomClosed)

	plain := tcproom.New()
	defer plain.Close()
	join(t, plain)
	for m := range plain.Members() {
		_, err = m.PostNumbered(t.Context(), 1, []byte("a"))
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
}

// numberInHook: OnMessage has the message from the connection when the call comes, and
// posts it in one of two ways.
func numberInHook(t *testing.T) {
	for _, post := range posts {
		entered, release := make(chan bool), make(chan bool)
		srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			entered <- true
			<-release
			return post(m, body)
		}))
		bob := srv.Join("bob")
		ada := visits(t, srv, object{"name": "ada"})
		m := sessionMember(t, srv.Room, ada.welcomed("joined"))
		ada.sayNumbered(7, "hi")
		<-entered

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := m.PostNumbered(ctx, 7, []byte("hi"))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, "it is not known yet")

		seqs := make(chan uint64)
		go func() {
			seq, err := m.PostNumbered(t.Context(), 7, []byte("hi"))
			if err != nil {
				t.Error(err)
			}
			seqs <- seq
		}()
		synctest.Wait()
		release <- true
		require.Equal(t, uint64(3), <-seqs)
		require.Equal(t, "ack 7=3", ada.short())
		bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "hi"))
		bob.Refute(roomtest.Any())
	}
}

// numberInHookThatFails: what the hook of a connection that was taken over could not
// post is free again.
func numberInHookThatFails(t *testing.T) {
	entered, release := make(chan bool), make(chan bool)
	srv := sessionServer(t, tcproom.Sessions{}, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
		entered <- true
		<-release
		return nil, errors.New("no")
	}))
	bob := srv.Join("bob")
	ada := visits(t, srv, object{"name": "ada"})
	w := ada.welcomed("joined")
	m := sessionMember(t, srv.Room, w)
	ada.sayNumbered(7, "hi")
	<-entered
	visits(t, srv, resume(w, 2)).welcomed("resumed")
	seqs := make(chan uint64)
	go func() {
		seq, err := m.PostNumbered(t.Context(), 7, []byte("hi"))
		if err != nil {
			t.Error(err)
		}
		seqs <- seq
	}()
	synctest.Wait()
	release <- true
	require.Equal(t, uint64(3), <-seqs)
	bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "hi"))
	bob.Refute(roomtest.Any())
}

// numberHeldBack: the connection's message and the call's both wait for a place.
func numberHeldBack(t *testing.T) {
	for _, hook := range []bool{false, true} {
		opts := []tcproom.RoomOption{tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithNotices(false)}
		if hook {
			opts = append(opts, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil }))
		}
		room, stalled, said := heldBack(t, opts...)
		ada, _ := enter(t, room, tcproom.WithCodec(tcproom.JSON{}))
		v := newVisit(t, ada)
		m := sessionMember(t, room, v.welcomed("joined"))
		seqs := make(chan uint64)
		post := func() {
			seq, err := m.PostNumbered(t.Context(), 1, []byte("one"))
			if err != nil {
				t.Error(err)
			}
			seqs <- seq
		}
		go post()
		synctest.Wait()
		v.sayNumbered(1, "one")
		synctest.Wait()
		go post()
		synctest.Wait()
		go read(stalled)
		require.Equal(t, said+1, <-seqs)
		require.Equal(t, said+1, <-seqs)
		require.Equal(t, fmt.Sprintf("ack 1=%d", said+1), v.short())
		require.Equal(t, said+1, room.Past(0, 0).Seq)
	}
}

// numberOvertaken: a message that has begun to wait for its place is not lost because
// a greater number gets one first.
func numberOvertaken(t *testing.T) {
	for _, hook := range []bool{false, true} {
		entered, release := make(chan bool, 1), make(chan bool)
		opts := []tcproom.RoomOption{}
		if hook {
			opts = append(opts, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) {
				entered <- true
				<-release
				return body, nil
			}))
		}
		srv := sessionServer(t, tcproom.Sessions{}, opts...)
		bob := srv.Join("bob")
		ada := visits(t, srv, object{"name": "ada"})
		m := sessionMember(t, srv.Room, ada.welcomed("joined"))
		ada.sayNumbered(1, "one")
		if hook {
			<-entered
		} else {
			require.Equal(t, "ack 1=3", ada.short())
		}
		seq, err := m.PostNumbered(t.Context(), 9, []byte("nine"))
		require.NoError(t, err)
		if !hook {
			require.Equal(t, uint64(4), seq)
			continue
		}
		require.Equal(t, uint64(3), seq)
		close(release)
		require.Equal(t, "ack 1=4", ada.short())
		bob.Expect(roomtest.Joined("ada"), roomtest.Message("ada", "nine"), roomtest.Message("ada", "one"))
		bob.Refute(roomtest.Any())
	}
}

// TestPostNumberedRace: a member's connection and calls give the same numbers at once,
// with and without a hook, and each gets one place. It is for -race.
func TestPostNumberedRace(t *testing.T) {
	for _, hook := range []bool{false, true} {
		t.Run(fmt.Sprint("hook: ", hook), func(t *testing.T) {
			opts := []tcproom.RoomOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithHistory(tcproom.History{})}
			if hook {
				opts = append(opts, tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
					if body[len(body)-1]%2 == 0 {
						_, err := m.Post(context.Background(), body)
						return nil, err
					}
					return body, nil
				}))
			}
			room := tcproom.New(opts...)
			t.Cleanup(func() { room.Close() })
			ada, _ := enter(t, room)
			v := newVisit(t, ada)
			m := sessionMember(t, room, v.welcomed("joined"))
			const n, calls = 200, 4
			seqs := make([][n + 1]uint64, calls+1)
			var wg sync.WaitGroup
			for i := range calls {
				wg.Go(func() {
					for number := uint64(1); number <= n; number++ {
						seq, err := m.PostNumbered(t.Context(), number, fmt.Append(nil, number))
						if err != nil {
							t.Error(err)
							return
						}
						seqs[i][number] = seq
					}
				})
			}
			wg.Go(func() {
				for number := 1; number <= n; number++ {
					fmt.Fprintf(ada, `{"type":"message","id":%d,"body":"%d"}`+"\n", number, number)
				}
			})
			for range n {
				o := v.next()
				require.Equal(t, "ack", o["type"])
				if seq, ok := o["seq"].(float64); ok {
					seqs[calls][int(o["id"].(float64))] = uint64(seq)
				}
			}
			wg.Wait()
			got := make(map[string]uint64)
			for _, ev := range room.Past(0, 0).Events {
				require.NotContains(t, got, string(ev.Body), "ordered twice")
				got[string(ev.Body)] = ev.Seq
			}
			require.Len(t, got, n)
			for number := 1; number <= n; number++ {
				want := got[fmt.Sprint(number)]
				for i := range seqs {
					if seqs[i][number] != 0 {
						require.Equal(t, want, seqs[i][number], "%d", number)
					}
				}
			}
		})
	}
}
