package tcproom

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRenameIntoABan: a banned name is not to be had by renaming either, in the whole hub
// or in a room that one is in.
func TestRenameIntoABan(t *testing.T) {
	h := NewHub()
	defer h.Close()
	_, err := h.Ban(Ban{Name: "eve", Reason: "no spam"})
	require.NoError(t, err)
	_, err = h.Ban(Ban{Room: "kitchen", Name: "mallory"})
	require.NoError(t, err)
	a := callHub(t, h)
	a.expect("* you are guest-1 in lobby")
	a.say("/nick eve")
	a.expect("* not done: no spam")
	a.say("/nick mallory") // who may be in the lobby
	a.expect("* guest-1 is now mallory")
	a.say("/join kitchen")
	require.Contains(t, a.line(), "* not done: banned")
	a.say("/nick ada")
	a.expect("* mallory is now ada")
	a.say("/join kitchen")
	a.expect("* you are ada in kitchen")
	a.say("/nick mallory")
	require.Contains(t, a.line(), "* not done: banned")
	for m := range h.All().Members() {
		require.Equal(t, "ada", m.Name())
		require.ErrorIs(t, h.Rename(m, "eve"), ErrBanned)
	}
}

// TestSayUnderATakenName: with unique names nobody speaks in the name of somebody who is
// there, in a room of a hub as in one that stands by itself.
func TestSayUnderATakenName(t *testing.T) {
	h := NewHub(WithUniqueNames(true))
	defer h.Close()
	ctx := t.Context()
	c, err := h.Join(ctx, "lobby", Identity{Name: "ada"})
	require.NoError(t, err)
	defer c.Close()
	lobby, _ := h.Lookup("lobby")
	_, err = lobby.Say(ctx, MemberInfo{ID: "hook", Name: "ada"}, []byte("hi"))
	require.ErrorIs(t, err, ErrNameTaken)
	_, err = lobby.Say(ctx, MemberInfo{ID: "hook", Name: "hook"}, []byte("hi"))
	require.NoError(t, err)
}

// TestEnterTwice: what the program asks for in vain has a cause, as Enter and Move say.
func TestEnterTwice(t *testing.T) {
	h := NewHub()
	defer h.Close()
	a := callHub(t, h)
	a.expect("* you are guest-1 in lobby")
	for m := range h.All().Members() {
		_, err := h.Enter(t.Context(), m, "kitchen")
		require.ErrorIs(t, err, Cause("one-room"))
		_, err = h.Move(t.Context(), m, "kitchen")
		require.ErrorIs(t, err, ErrNotMember, "no room to leave")
	}
	b := callHub(t, h, WithCodec(JSON{}))
	b.say(`{"type":"hello","rooms":["attic","kitchen"]}`)
	for range 3 {
		b.line()
	}
	attic, _ := h.Lookup("attic")
	for m := range attic.Members() {
		_, err := h.Move(t.Context(), m, "kitchen")
		require.ErrorIs(t, err, ErrDenied, "it is there already")
	}
}

// TestDefaultRoomThatCannotBe: the log says at once that nobody will get in.
func TestDefaultRoomThatCannotBe(t *testing.T) {
	for _, row := range []struct {
		name string
		opts []HubOption
		want string
	}{
		{name: "default", opts: []HubOption{WithDefaultRoom("Lobby")}, want: `room=Lobby`},
		{name: "listener's", opts: []HubOption{InRoom("a b")}, want: `room="a b"`},
		{name: "of WithRoom", opts: []HubOption{WithDefaultRoom("Lobby"), WithRoom("Lobby")}},
		{name: "own rule", opts: []HubOption{WithDefaultRoom("Lobby"), WithRoomNames(func(string) error { return nil })}},
		{name: "none", opts: []HubOption{WithDefaultRoom("")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var log strings.Builder
			h := NewHub(append(row.opts, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))...)
			defer h.Close()
			if row.want == "" {
				require.Empty(t, log.String())
				return
			}
			require.Contains(t, log.String(), "level=WARN")
			require.Contains(t, log.String(), row.want)
		})
	}
}
