package tcproom

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// muteHooks are the ways in which a message comes into the order.
func muteHooks() map[string][]HubOption {
	return map[string][]HubOption{
		"no hook": nil,
		"hook":    {OnMessage(func(_ *Member, body []byte) ([]byte, error) { return body, nil })},
		"Post": {OnMessage(func(m *Member, body []byte) ([]byte, error) {
			_, err := m.Post(context.Background(), body)
			return nil, err
		})},
	}
}

// Nothing that a muted member says has a seq, it is told so, and each number is
// acknowledged: it is not sent again.
func TestHubMute(t *testing.T) {
	for name, opts := range muteHooks() {
		t.Run(name, func(t *testing.T) {
			h := jsonHub(t, append(opts, WithSessions(Sessions{}))...)
			bob, ada := visitHub(t, h, "bob", "a"), visitHub(t, h, "ada", "a", "b")
			a := roomOf(t, h, "a")
			m := memberNamed(t, a, "ada")
			require.NoError(t, a.Mute(m.ID(), time.Now().Add(time.Hour)))
			var b strings.Builder
			for i := range 5 {
				fmt.Fprintf(&b, `{"type":"message","room":"a","id":%d,"body":"x"}`+"\n", i+1)
			}
			fmt.Fprint(&b, `{"type":"message","room":"a","body":"x"}`+"\n")
			fmt.Fprint(&b, `{"type":"message","room":"a","id":6,"body":"x"}`)
			ada.say("%s", b.String())
			acked, refused := 0, 0
			for acked < 6 {
				switch got := ada.said(); got["type"] {
				case "ack":
					require.Zero(t, got["seq"])
					acked++
				case "refused":
					require.Equal(t, "muted", got["code"])
					refused++
				}
			}
			if refused == 0 {
				ada.wants("refused a muted")
			}
			_, err := m.Post(t.Context(), []byte("x"))
			require.ErrorIs(t, err, ErrMuted)
			ada.say(`{"type":"message","room":"b","body":"x"}`) // not muted there
			ada.say(`{"type":"rename","name":"eve"}`)           // which ends no mute
			ada.say(`{"type":"message","room":"a","body":"x"}`)
			bob.wants("renamed a eve")
			ada.alive2() // so it was read
			require.NoError(t, a.Mute(m.ID(), time.Time{}))
			ada.say(`{"type":"message","room":"a","id":7,"body":"now"}`)
			bob.wants("message a now")
		})
	}
}

// alive2 is alive of one to whom something else is said before.
func (p *hubPeer) alive2() {
	p.t.Helper()
	p.say(`{"type":"ping"}`)
	for p.next() != "pong" {
	}
}

// A long read of muted messages, longer than what is held of a hook.
func TestHubMuteOfManyBytes(t *testing.T) {
	var called atomic.Int64
	h := jsonHub(t, WithSessions(Sessions{}), OnMessage(func(_ *Member, body []byte) ([]byte, error) { called.Add(1); return body, nil }))
	ada := visitHub(t, h, "ada", "a")
	a := roomOf(t, h, "a")
	require.NoError(t, a.Mute(memberNamed(t, a, "ada").ID(), time.Now().Add(time.Hour)))
	body := strings.Repeat("x", 2<<10)
	const n = 100
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"type":"message","room":"a","id":%d,"body":%q}`+"\n", i+1, body)
	}
	go fmt.Fprint(ada, b.String())
	for acked := 0; acked < n; {
		if ada.said()["type"] == "ack" {
			acked++
		}
	}
	require.EqualValues(t, n, called.Load())
}

// While it is muted and unmuted nothing is ordered in between, with a storm of messages.
func TestHubMuteHoldsAtOnce(t *testing.T) {
	h := jsonHub(t)
	ada := visitHub(t, h, "ada", "a")
	a := roomOf(t, h, "a")
	m := memberNamed(t, a, "ada")
	go func() {
		for {
			if _, err := ada.r.ReadString('\n'); err != nil {
				return
			}
		}
	}()
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			fmt.Fprintln(ada, `{"type":"message","room":"a","body":"x"}`)
		}
	})
	for range 20 {
		before := a.Stats().Seq
		soon(t, "it speaks", func() bool { return a.Stats().Seq > before })
		require.NoError(t, a.Mute(m.ID(), time.Now().Add(time.Hour)))
		at := a.Stats().Seq
		time.Sleep(time.Millisecond)
		require.Equal(t, at, a.Stats().Seq)
		require.NoError(t, a.Mute(m.ID(), time.Time{}))
	}
	stop.Store(true)
	wg.Wait()
}

// When a ban of the hub returns, the banned one is in no room, and nothing of it is
// ordered any more, though its own goroutine is in a hook.
func TestHubBanHoldsInEveryRoom(t *testing.T) {
	in, goOn := make(chan struct{}), make(chan struct{})
	posted := make(chan error, 1)
	h := jsonHub(t, OnMessage(func(m *Member, body []byte) ([]byte, error) {
		close(in)
		<-goOn
		_, err := m.Post(context.Background(), body)
		posted <- err
		return body, nil
	}))
	ada := visitHub(t, h, "ada", "a", "b")
	ada.say(`{"type":"message","room":"a","body":"x"}`)
	<-in
	base := memberNamed(t, h.All(), "ada")
	n, err := h.Ban(Ban{Name: "ada"})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Zero(t, h.Stats().Memberships)
	require.Zero(t, h.All().Len())
	at := roomOf(t, h, "a").Stats().Seq
	_, err = h.Enter(t.Context(), base, "c")
	require.Error(t, err)
	close(goOn)
	require.ErrorIs(t, <-posted, ErrNotMember)
	require.Equal(t, "goodbye banned", ada.ends())
	require.Equal(t, at, roomOf(t, h, "a").Stats().Seq)
	eve := callHub(t, h)
	eve.say(`{"type":"hello","name":"ada","rooms":[]}`)
	eve.wants("refused banned")
}

func TestHubBanOfANameThatSomebodyTakes(t *testing.T) {
	h := jsonHub(t)
	for _, b := range []Ban{{Name: "eve"}, {Room: "a", Name: "mal"}} {
		_, err := h.Ban(b)
		require.NoError(t, err)
	}
	ada := visitHub(t, h, "ada", "a", "b")
	ada.say(`{"type":"rename","name":"eve"}`)
	ada.say(`{"type":"rename","name":"mal"}`)
	ada.wants("refused banned", "refused banned")
	ada.say(`{"type":"leave","room":"a"}`)
	ada.say(`{"type":"rename","name":"mal"}`)
	ada.say(`{"type":"enter","room":"a"}`)
	ada.wantsAll("goodbye a left", "renamed b mal", "refused a banned")
	ada.alive()
}

// Bans and renames at once: nobody is in by a banned name.
func TestHubBanAndRenameTogether(t *testing.T) {
	for i := range 30 {
		h := jsonHub(t)
		visitHub(t, h, "ada", "a")
		base := memberNamed(t, h.All(), "ada")
		var wg sync.WaitGroup
		wg.Go(func() { h.Rename(base, "eve") })
		b := Ban{Name: "eve"}
		if i%2 == 0 {
			b.Room = "a"
		}
		wg.Go(func() { h.Ban(b) })
		wg.Wait()
		for m := range roomOf(t, h, "a").Members() {
			require.NotEqual(t, "eve", m.Name())
		}
		h.Close()
	}
}

// A ban while somebody is on the way from one room to the next.
func TestHubBanInAMove(t *testing.T) {
	in, goOn := make(chan struct{}), make(chan struct{})
	h := jsonHub(t, WithRoomLinger(-1), OnJoin(func(m *Member) error {
		if m.Room().Name() == "to" {
			close(in)
			<-goOn
		}
		return nil
	}))
	ada := visitHub(t, h, "ada", "from")
	ada.say(`{"type":"move","room":"from","to":"to"}`)
	<-in
	_, err := h.Ban(Ban{Room: "to", Name: "ada"})
	require.NoError(t, err)
	close(goOn)
	ada.wants("refused to banned")
	ada.alive()
	memberNamed(t, roomOf(t, h, "from"), "ada")
	unused(t, h, "to")
}

// One that comes back from a banned address does not resume.
func TestHubBanAndResume(t *testing.T) {
	h := jsonHub(t, WithSessions(Sessions{}))
	ada := callHub(t, h)
	ada.say(`{"type":"hello","name":"ada","rooms":["a"]}`)
	token, epoch, _, _ := ada.welcome()
	_, a, _, _ := ada.welcome()
	m := memberNamed(t, roomOf(t, h, "a"), "ada")
	ada.alive()                                                                   // so nobody looks at bans any more
	h.bans.Store(&[]Ban{{Room: "a", Addr: netip.MustParsePrefix("127.0.0.0/8")}}) // as if ada was elsewhere when it was banned
	ada.Close()
	soon(t, "it is lost", func() bool { return h.All().Stats().Detached == 1 })
	back := callHub(t, h)
	back.say(`{"type":"hello","rooms":[],"resume":{"token":%q,"epoch":%q,"seq":0,"rooms":{"a":{"epoch":%q,"seq":1}}}}`, token, epoch, a)
	back.wants("welcome * ada resumed", "refused a banned")
	require.ErrorIs(t, m.Err(), ErrBanned)
	h.bans.Store(&[]Ban{{Addr: netip.MustParsePrefix("127.0.0.0/8")}})
	again := callHub(t, h)
	again.say(`{"type":"hello","rooms":[],"resume":{"token":%q,"epoch":%q,"seq":0,"rooms":{}}}`, token, epoch)
	again.wants("refused banned")
	back.alive() // which was not taken over
}

func TestBanMatches(t *testing.T) {
	for _, tt := range []struct {
		prefix, addr string
		want         bool
	}{
		{"10.0.0.0/8", "10.1.2.3", true},
		{"10.0.0.0/8", "::ffff:10.1.2.3", true},
		{"::ffff:10.0.0.0/104", "10.1.2.3", true},
		{"::ffff:10.0.0.0/104", "11.1.2.3", false},
		{"fe80::/16", "fe80::1%eth0", true},
		{"::/0", "10.1.2.3", false},
	} {
		b := Ban{Addr: netip.MustParsePrefix(tt.prefix)}
		h := NewHub()
		_, err := h.Ban(b)
		require.NoError(t, err)
		addr := ipOf(plainAddr(tt.addr))
		require.Equal(t, tt.want, h.all.banned("x", addr) != nil, "%s %s", tt.prefix, tt.addr)
		require.True(t, h.Unban(b))
		require.Empty(t, h.Bans())
		h.Close()
	}
}

type plainAddr string

func (plainAddr) Network() string  { return "test" }
func (a plainAddr) String() string { return string(a) }
