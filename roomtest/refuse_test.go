package roomtest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

func TestRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server) {
		srv := make(t, tcproom.WithUniqueNames(true), tcproom.WithMaxMembers(2))
		srv.Join("ada")
		refused := srv.Refuses(tcproom.ErrNameTaken, tcproom.WithName("ada"))
		require.NotEmpty(t, refused.Text)
		require.False(t, refused.Final)
		srv.Join("bob")
		srv.Refuses(tcproom.ErrRoomFull)
		require.Equal(t, 2, srv.Room.Len())
	})
}

// TestRefusesFails for all that is no refusal with this code.
func TestRefusesFails(t *testing.T) {
	tests := []struct {
		name string
		join func(*tcproom.Member) error
		want string
	}{
		{name: "let in", join: func(*tcproom.Member) error { return nil },
			want: `roomtest: the room was to refuse a connection with code "full", but let eve in`},
		{name: "another code", join: func(*tcproom.Member) error { return errors.New("not you") },
			want: `roomtest: the room was to refuse a connection with code "full", but refused it with code "denied": "not you"`},
		{name: "no answer", join: func(*tcproom.Member) error { time.Sleep(12 * time.Second); return nil },
			want: `roomtest: the room was to refuse a connection with code "full", but joining failed: `},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := runTest(func(f *fakeTB) {
					roomtest.NewMemServer(f, tcproom.OnJoin(tt.join)).Refuses(tcproom.ErrRoomFull, tcproom.WithName("eve"))
					f.Errorf("Refuses has returned")
				})
				require.Contains(t, f.said(), tt.want)
				require.NotContains(t, f.said(), "Refuses has returned")
			})
		})
	}
}

func TestTryJoin(t *testing.T) {
	srv := roomtest.NewMemServer(t, tcproom.WithMaxMembers(1))
	ada, err := srv.TryJoin("ada")
	require.NoError(t, err)
	require.Equal(t, "ada", ada.Name())
	ada.Send("hi")
	_, err = srv.TryJoin("bob")
	var refused *tcproom.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, tcproom.ErrRoomFull, refused.Cause)
	ada.Leave()
	_, err = srv.TryJoin("bob")
	require.NoError(t, err)
}

// TestTryDial speaks the server's codec: only a codec with a hello returns the refusal.
func TestTryDial(t *testing.T) {
	onBoth(t, func(t *testing.T, make func(testing.TB, ...tcproom.RoomOption) *roomtest.Server) {
		for _, codec := range []tcproom.Codec{tcproom.JSON{}, tcproom.Text{}} {
			srv := make(t, tcproom.WithCodec(codec), tcproom.WithMaxMembers(1))
			ada, err := srv.TryDial()
			require.NoError(t, err)
			require.NoError(t, ada.Err())
			c, err := srv.TryDial()
			if codec.Features().Hello {
				var refused *tcproom.RefusedError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, tcproom.ErrRoomFull, refused.Cause)
				continue
			}
			require.NoError(t, err)
			var end *tcproom.EndError
			require.ErrorAs(t, srv.Watch(c).AwaitEnd(), &end)
			require.Equal(t, tcproom.Cause("left"), end.Cause)
			require.Equal(t, "room is full", end.Text)
		}
	})
}

// TestTryDialLeavesNothing: a client that the room lets in too late does not
// become a member that stays.
func TestTryDialLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := roomtest.NewMemServer(t, tcproom.OnJoin(func(*tcproom.Member) error { time.Sleep(12 * time.Second); return nil }))
		_, err := srv.TryDial()
		require.ErrorContains(t, err, "the room has not let it in within 10s")
		time.Sleep(time.Minute)
		require.Zero(t, srv.Room.Len())
	})
}
