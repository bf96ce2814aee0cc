package tcproom

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lose connects ada, in rooms, and breaks the connection. It returns a hello that
// resumes in them.
func lose(t testing.TB, h *Hub, rooms ...string) (hello string) {
	t.Helper()
	ada := callHub(t, h)
	list, at := "", ""
	for i, name := range rooms {
		if i > 0 {
			list += ","
		}
		list += `"` + name + `"`
	}
	ada.say(`{"type":"hello","name":"ada","rooms":[%s]}`, list)
	token, epoch, _, _ := ada.welcome()
	for i := range rooms {
		_, e, _, w := ada.welcome()
		if i > 0 {
			at += ","
		}
		at += `"` + w["room"].(string) + `":{"epoch":"` + e + `","seq":1}`
	}
	ada.Close()
	soon(t, "it is lost", func() bool { return h.All().Stats().Detached == 1 })
	for _, name := range rooms {
		soon(t, "it is lost in its rooms", func() bool { return roomOf(t, h, name).Stats().Detached == 1 })
	}
	return `{"type":"hello","rooms":[],"resume":{"token":"` + token + `","epoch":"` + epoch + `","seq":0,"rooms":{` + at + `}}}`
}

func TestHubRoomRemovedWhileAMemberIsDetached(t *testing.T) {
	left := make(chan error, 4)
	h := jsonHub(t, WithSessions(Sessions{}), OnLeave(func(m *Member, err error) { left <- err }))
	hello := lose(t, h, "a", "b")
	require.NoError(t, h.Remove("a", "old"))
	require.ErrorIs(t, <-left, Cause("removed"))
	ada := callHub(t, h)
	ada.say("%s", hello)
	ada.wants("welcome * ada resumed")
	ada.wantsAll("welcome b ada resumed", "refused a no-room")
	ada.alive()
	require.Equal(t, 1, h.Stats().Memberships)
}

func TestHubEnterAndMoveOfADetachedMember(t *testing.T) {
	h := jsonHub(t, WithSessions(Sessions{}))
	hello := lose(t, h, "a", "b")
	base, m := memberNamed(t, h.All(), "ada"), memberNamed(t, roomOf(t, h, "a"), "ada")
	ctx := t.Context()
	for _, any := range []*Member{base, m} {
		_, err := h.Enter(ctx, any, "c")
		require.ErrorIs(t, err, ErrDetached)
	}
	_, err := h.Move(ctx, m, "c")
	require.ErrorIs(t, err, ErrDetached)
	require.ErrorIs(t, h.Tell(ctx, nil, base.ID(), []byte("x")), ErrDetached)
	require.NoError(t, h.Rename(m, "eve"))
	require.NoError(t, h.Leave(m, "out"))
	require.ErrorIs(t, h.Leave(m, "out"), ErrNotMember)
	ada := callHub(t, h)
	ada.say("%s", hello)
	ada.wants("welcome * eve resumed")
	ada.wantsAll("welcome b eve resumed", "renamed b eve", "refused a not-member")
	_, ok := h.Lookup("c")
	require.False(t, ok)
	ada.alive()
}

// One that is lost for good leaves every room, with OnLeave, and the hub at last.
func TestHubDetachedIsOver(t *testing.T) {
	all := &roll{}
	h := jsonHub(t, append(all.options(), WithSessions(Sessions{Grace: 30 * time.Millisecond}), WithRoomLinger(-1),
		OnDisconnect(func(m *Member, _ error) { all.note(m, "disconnect") }))...)
	lose(t, h, "a", "b")
	soon(t, "all is gone", func() bool { s := h.Stats(); return s.Rooms == 0 && s.Connections == 0 })
	soon(t, "OnDisconnect is called", func() bool {
		all.mu.Lock()
		defer all.mu.Unlock()
		return len(all.order) > 0 && all.order[len(all.order)-1] == "disconnect *" && len(all.order) == 7
	})
}

// One that names no rooms, and whose room is gone, comes into its first room, and may resume
// again.
func TestHubResumeOfOneThatNamesNoRoomsAndHasNone(t *testing.T) {
	h := jsonHub(t, WithSessions(Sessions{}))
	ada := callHub(t, h)
	ada.say(`{"type":"hello","name":"ada"}`)
	token, epoch, seq, _ := ada.welcome()
	ada.Close()
	soon(t, "it is lost", func() bool { return h.All().Stats().Detached == 1 })
	require.NoError(t, h.Remove("lobby", ""))
	ada = callHub(t, h)
	ada.say(`{"type":"hello","resume":{"token":%q,"epoch":%q,"seq":%d},"name":"ada"}`, token, epoch, seq)
	again, _, _, w := ada.welcome()
	require.Equal(t, "expired", w["outcome"])
	require.NotEmpty(t, again)
	ada.alive()
}

// One that named its rooms and names none when it comes back leaves them, and comes into
// its first room.
func TestHubResumeOfOneThatNamesNoRoomsAnyMore(t *testing.T) {
	for _, first := range []string{"lobby", "a"} {
		t.Run(first, func(t *testing.T) {
			all := &roll{}
			h := jsonHub(t, append(all.options(), WithSessions(Sessions{}), WithRoomLinger(-1))...)
			ada := callHub(t, h)
			ada.say(`{"type":"hello","name":"ada","rooms":[%q,"b"]}`, first)
			token, epoch, _, _ := ada.welcome()
			ada.wantsAll("welcome "+first+" ada joined", "welcome b ada joined")
			ada.Close()
			soon(t, "it is lost", func() bool { return h.All().Stats().Detached == 1 })
			ada = callHub(t, h)
			ada.say(`{"type":"hello","resume":{"token":%q,"epoch":%q,"seq":0}}`, token, epoch)
			_, _, _, w := ada.welcome()
			require.Equal(t, "expired", w["outcome"])
			unused(t, h, "a")
			unused(t, h, "b")
			_, err := roomOf(t, h, "lobby").Broadcast(t.Context(), []byte("hi"))
			require.NoError(t, err)
			ada.wants("message hi")
			ada.alive()
			require.Equal(t, 1, h.Stats().Memberships)
			ada.say(`{"type":"goodbye"}`)
			all.paired(t)
		})
	}
}

// A new link takes a member over while a hook of its move runs: it resumes the room that
// the session holds then.
func TestHubTakenOverInAMove(t *testing.T) {
	in, goOn := make(chan struct{}), make(chan struct{})
	all := &roll{}
	h := jsonHub(t, append(all.options(), WithSessions(Sessions{}), WithRoomLinger(-1), OnJoin(func(m *Member) error {
		all.note(m, "join")
		if m.Room().Name() == "to" {
			close(in)
			<-goOn
		}
		return nil
	}))...)
	ada := callHub(t, h)
	ada.say(`{"type":"hello","name":"ada","rooms":["from"]}`)
	token, epoch, _, _ := ada.welcome()
	_, at, _, _ := ada.welcome()
	ada.say(`{"type":"move","room":"from","to":"to"}`)
	<-in
	again := callHub(t, h)
	again.say(`{"type":"hello","rooms":[],"resume":{"token":%q,"epoch":%q,"seq":0,"rooms":{"from":{"epoch":%q,"seq":1}}}}`, token, epoch, at)
	again.wants("welcome * ada resumed", "welcome from ada resumed")
	close(goOn)
	unused(t, h, "to")
	require.Equal(t, 1, roomOf(t, h, "from").Len())
	again.say(`{"type":"move","room":"from","to":"b"}`)
	again.wants("goodbye from moved", "welcome b ada joined")
	require.Contains(t, ada.ends(), "taken-over")
	again.alive()
	again.say(`{"type":"goodbye"}`)
	all.paired(t)
}

// One that names no rooms has its token before OnJoined has returned, and may come back
// meanwhile: it goes on in its room.
func TestHubTakenOverInOnJoined(t *testing.T) {
	in, goOn := make(chan struct{}), make(chan struct{})
	all := &roll{}
	h := jsonHub(t, append(all.options(), WithSessions(Sessions{}), OnJoined(func(m *Member, _ uint64) {
		all.note(m, "joined")
		close(in)
		<-goOn
	}))...)
	ada := callHub(t, h)
	ada.say(`{"type":"hello","name":"ada"}`)
	token, epoch, seq, _ := ada.welcome()
	<-in
	again := callHub(t, h)
	again.say(`{"type":"hello","resume":{"token":%q,"epoch":%q,"seq":%d}}`, token, epoch, seq)
	_, _, _, w := again.welcome()
	require.Equal(t, "resumed", w["outcome"])
	close(goOn)
	require.Contains(t, ada.ends(), "taken-over")
	_, err := roomOf(t, h, "lobby").Broadcast(t.Context(), []byte("hi"))
	require.NoError(t, err)
	again.wants("message hi")
	again.alive()
	require.Equal(t, 1, h.Stats().Memberships)
	again.say(`{"type":"goodbye"}`)
	all.paired(t)
}

// resumesAndWaits waits until a connection resumes its rooms, and waits for the lock of one.
func resumesAndWaits(t testing.TB) {
	t.Helper()
	soon(t, "it waits for the room", func() bool {
		buf := make([]byte, 1<<20)
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "resumeParts") && strings.Contains(g, "Mutex).Lock") {
				return true
			}
		}
		return false
	})
}

// A membership that its connection, which is back, has not resumed yet is detached still.
func TestHubMoveWhileItResumes(t *testing.T) {
	h := jsonHub(t, WithSessions(Sessions{}))
	hello := lose(t, h, "a", "b")
	list := memberNamed(t, h.All(), "ada").presence.all()
	first := list[0].room
	first.mu.Lock()
	ada := callHub(t, h)
	ada.say("%s", hello)
	resumesAndWaits(t)
	moved := make(chan error)
	go func() { _, err := h.Move(context.Background(), list[1], "c"); moved <- err }()
	require.ErrorIs(t, <-moved, ErrDetached)
	first.mu.Unlock()
	ada.wants("welcome * ada resumed")
	ada.wantsAll("welcome a ada resumed", "welcome b ada resumed")
	ada.alive()
	_, err := h.Move(t.Context(), list[1], "c")
	require.NoError(t, err)
}

// A link that was taken over while it resumed takes no membership out of its room: the
// next one, which names that, goes on with it.
func TestHubTakenOverInAResume(t *testing.T) {
	for _, labelled := range []bool{true, false} {
		h := jsonHub(t, WithSessions(Sessions{}))
		hello := lose(t, h, "a", "b")
		other := hello[:strings.Index(hello, `"rooms":{`)] + `"rooms":{}}}`
		if !labelled {
			other = strings.NewReplacer(`"rooms":[],`, "", `,"rooms":{}`, "").Replace(other)
		}
		a := roomOf(t, h, "a")
		a.mu.Lock()
		ada := callHub(t, h)
		ada.say("%s", other)
		resumesAndWaits(t)
		again := callHub(t, h)
		again.say("%s", hello)
		again.wants("welcome * ada resumed")
		a.mu.Unlock()
		again.wantsAll("welcome a ada resumed", "welcome b ada resumed")
		again.alive()
	}
}

// Resumes and moves of one connection together, with what the program does: at the end
// the lists of the rooms and of the connection agree.
func TestHubResumeStorm(t *testing.T) {
	for range 5 {
		all := &roll{}
		h := jsonHub(t, append(all.options(), WithSessions(Sessions{}), WithRoomLinger(-1))...)
		hello := lose(t, h, "a", "b")
		base := memberNamed(t, h.All(), "ada")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 200 {
				for m := range h.Memberships(base) {
					if m.isPart() && i%3 == 0 {
						h.Move(context.Background(), m, "c")
					}
				}
				h.Enter(context.Background(), base, "b")
			}
		}()
		for range 10 {
			p := callHub(t, h)
			p.say("%s", hello)
			p.said()
			p.say(`{"type":"enter","room":"a"}`)
			p.say(`{"type":"move","room":"a","to":"c"}`)
			p.Close()
		}
		<-done
		soon(t, "lists agree", func() bool {
			n := 0
			for range h.Memberships(base) {
				n++
			}
			return h.Stats().Memberships == n-1
		})
		require.NoError(t, base.Kick(""), "%v", base.Err())
		soon(t, "all is gone", func() bool { s := h.Stats(); return s.Memberships == 0 && s.Connections == 0 && s.Rooms == 0 })
		all.paired(t)
		require.NoError(t, h.Close())
	}
}
