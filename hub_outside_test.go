package tcproom

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHubCheck: what is known before somebody enters a room, which makes none.
func TestHubCheck(t *testing.T) {
	t.Parallel()
	h := NewHub(WithRoom("kitchen"), WithRoom("lobby"), WithMaxRooms(2), WithMaxMembers(1))
	_, err := h.Join(t.Context(), "kitchen", Identity{Name: "ada"})
	require.NoError(t, err)
	for name, want := range map[string]error{
		"lobby": nil, "kitchen": ErrRoomFull, "attic": ErrTooManyRooms, "Attic": ErrRoomName, "*": ErrRoomName, "": ErrRoomName, "a b": ErrRoomName,
	} {
		require.ErrorIs(t, h.Check(name), want, name)
	}
	require.Equal(t, 2, h.Stats().Rooms)
	require.NoError(t, h.Close())
	require.ErrorIs(t, h.Check("lobby"), ErrRoomClosed)
	shut := NewHub(WithOpenRooms(false))
	defer shut.Close()
	require.ErrorIs(t, shut.Check("attic"), ErrNoRoom)
	open := NewHub()
	defer open.Close()
	require.NoError(t, open.Check("attic"))
	require.Zero(t, open.Stats().Rooms)
}

// TestHubChecks: who decides about connections decides about the rooms of a hub too.
func TestHubChecks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		opts            []HubOption
		joins, messages bool
	}{
		{name: "nobody"},
		{name: "OnEnter", opts: []HubOption{OnEnter(nil)}},
		{name: "a handshake", opts: []HubOption{WithHandshake(func(ctx context.Context, n *Newcomer) (Identity, error) { return Identity{}, nil })}, joins: true},
		{name: "an OnEnter that is one", opts: []HubOption{OnEnter(func(context.Context, *Member, string) error { return nil })}, joins: true},
		{name: "OnMessage", opts: []HubOption{OnMessage(func(_ *Member, b []byte) ([]byte, error) { return b, nil })}, messages: true},
		{name: "OnMessage of the room", opts: []HubOption{WithRoom("kitchen", OnMessage(func(_ *Member, b []byte) ([]byte, error) { return b, nil }))}, messages: true},
		{name: "WithRate", opts: []HubOption{WithRate(func(*Member) Limiter { return nil })}, messages: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := NewHub(tt.opts...)
			defer h.Close()
			r, err := h.Room("kitchen")
			require.NoError(t, err)
			joins, messages, err := r.Checks()
			require.NoError(t, err)
			require.Equal(t, []bool{tt.joins, tt.messages}, []bool{joins, messages})
		})
	}
}

// TestSayOfMutedAndBanned: who may not speak as a member does not by Say.
func TestSayOfMutedAndBanned(t *testing.T) {
	t.Parallel()
	h := NewHub()
	defer h.Close()
	c, err := h.Join(t.Context(), "kitchen", Identity{Name: "ada"})
	require.NoError(t, err)
	defer c.Close()
	r, ok := h.Lookup("kitchen")
	require.True(t, ok)
	say := func(id, name string) error {
		_, err := r.Say(t.Context(), MemberInfo{ID: id, Name: name}, []byte("hi"))
		return err
	}
	var ada *Member
	for ada = range r.Members() {
	}
	require.NoError(t, say(ada.ID(), "ada"))
	require.NoError(t, say("web:ada", "ada"))
	require.NoError(t, r.Mute(ada.ID(), time.Now().Add(time.Hour)))
	require.ErrorIs(t, say(ada.ID(), "ada"), ErrMuted)
	require.ErrorIs(t, say("web:ada", "ada"), ErrMuted)
	require.NoError(t, r.Mute(ada.ID(), time.Time{}))
	require.NoError(t, say("web:ada", "ada"))

	_, err = h.Ban(Ban{Room: "kitchen", Name: "mallory", Reason: "too loud"})
	require.NoError(t, err)
	require.ErrorIs(t, say("web:mallory", "mallory"), ErrBanned)
}

// TestHubBanned: whom a ban is about who is no member.
func TestHubBanned(t *testing.T) {
	t.Parallel()
	h := NewHub()
	defer h.Close()
	_, err := h.Ban(Ban{Room: "kitchen", Name: "mallory", Reason: "too loud"})
	require.NoError(t, err)
	_, err = h.Ban(Ban{Addr: netip.MustParsePrefix("192.0.2.0/24")})
	require.NoError(t, err)
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 7}
	for _, tt := range []struct {
		room, name string
		addr       net.Addr
		banned     bool
	}{
		{"kitchen", "mallory", nil, true}, {"lobby", "mallory", nil, false}, {"", "mallory", nil, false},
		{"", "", addr, true}, {"kitchen", "ada", addr, true}, {"kitchen", "ada", nil, false},
	} {
		require.Equal(t, tt.banned, h.Banned(tt.room, tt.name, tt.addr) != nil, "%v", tt)
	}
	require.ErrorIs(t, h.Banned("kitchen", "mallory", nil), ErrBanned)
	require.ErrorContains(t, h.Banned("kitchen", "mallory", nil), "too loud")
}

// TestHubHidden: a room of a hub says that it is hidden.
func TestHubHidden(t *testing.T) {
	t.Parallel()
	h := NewHub(WithRoom("vault", Hidden()), WithRoom("lobby"), WithDefaultRoom("attic"))
	defer h.Close()
	require.Equal(t, "attic", h.DefaultRoom())
	for name, want := range map[string]bool{"vault": true, "lobby": false, "*": false} {
		r, ok := h.Lookup(name)
		require.True(t, ok)
		require.Equal(t, want, r.Hidden(), name)
	}
	alone := New(Hidden())
	defer alone.Close()
	require.False(t, alone.Hidden())
}

// TestSayInHub: names that are unique in a hub are not for guests of any of its rooms.
func TestSayInHub(t *testing.T) {
	t.Parallel()
	h := NewHub(WithUniqueNames(true))
	defer h.Close()
	c, err := h.Join(t.Context(), "lobby", Identity{Name: "ada"})
	require.NoError(t, err)
	defer c.Close()
	kitchen, err := h.Room("kitchen")
	require.NoError(t, err)
	_, err = kitchen.Say(t.Context(), MemberInfo{ID: "web:ada", Name: "ada"}, []byte("hi"))
	require.ErrorIs(t, err, ErrNameTaken)
	_, err = kitchen.Say(t.Context(), MemberInfo{ID: c.ID(), Name: "bob"}, []byte("hi"))
	require.ErrorIs(t, err, ErrNameTaken)
	_, err = kitchen.Say(t.Context(), MemberInfo{ID: c.ID(), Name: "ada"}, []byte("hi"))
	require.NoError(t, err)
}
