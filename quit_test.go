package tcproom_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// picky is JSON that rejects some events.
type picky struct {
	tcproom.JSON
	reject func(ev *tcproom.Event) error
}

func (p picky) ParseEvent(frame []byte, ev *tcproom.Event) error {
	if err := p.JSON.ParseEvent(frame, ev); err != nil {
		return err
	}
	return p.reject(ev)
}

// rejects returns the codec option of an end that rejects an event of the kind in one
// of the ways in which a codec can.
func rejects(kind tcproom.Kind, panics bool) tcproom.Option {
	return tcproom.WithCodec(&picky{reject: func(ev *tcproom.Event) error {
		switch {
		case ev.Kind != kind:
			return nil
		case panics:
			panic("picky")
		}
		return fmt.Errorf("%w: picky", tcproom.ErrMalformed)
	}})
}

// TestRejectingEndLeaves: a member that ends for good because of what it received
// leaves a room with sessions at once.
func TestRejectingEndLeaves(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []tcproom.DialOption
		want tcproom.Cause
	}{
		{name: "malformed", opts: []tcproom.DialOption{rejects(tcproom.Message, false)}, want: tcproom.ErrMalformed},
		{name: "panic of the codec", opts: []tcproom.DialOption{rejects(tcproom.Message, true)}, want: tcproom.ErrHook},
		{name: "too large", opts: []tcproom.DialOption{tcproom.WithMaxMessage(10)}, want: tcproom.ErrFrameTooLarge},
		{name: "panic of OnEvent", opts: []tcproom.DialOption{tcproom.OnEvent(func(ev tcproom.Event) {
			if ev.Kind == tcproom.Message {
				panic("picky")
			}
		})}, want: tcproom.ErrHook},
	} {
		ends := func(t *testing.T, srv *roomtest.Server, bob *roomtest.Member, err func() error) {
			began := time.Now()
			_, sendErr := srv.Room.Broadcast(t.Context(), make([]byte, 60<<10))
			require.NoError(t, sendErr)
			bob.Await(roomtest.Left("ada"))
			require.Less(t, time.Since(began), time.Minute)
			synctest.Wait()
			require.ErrorIs(t, err(), tt.want)
			require.Equal(t, map[tcproom.Cause]uint64{errLeft: 1}, srv.Room.Stats().Left)
		}
		inBubble(tt.name+"/client", t, func(t *testing.T) {
			srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour})
			bob := srv.Join("bob")
			c, _ := newClient(t, srv, "ada", tt.opts...)
			go receiveAll(c)
			bob.Expect(roomtest.Joined("ada"))
			ends(t, srv, bob, c.Err)
			c.Close()
		})
		if tt.name == "panic of the codec" {
			continue // at a Conn it is the caller's of Receive
		}
		inBubble(tt.name+"/conn", t, func(t *testing.T) {
			srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour})
			bob := srv.Join("bob")
			opts := append([]tcproom.DialOption{tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"), tcproom.WithDialer(srv.Net.Dial)}, tt.opts...)
			c, err := tcproom.Dial(t.Context(), srv.Addr, opts...)
			require.NoError(t, err)
			go func() {
				receiveAll(c)
				<-c.Context().Done()
				c.Close()
			}()
			bob.Expect(roomtest.Joined("ada"))
			ends(t, srv, bob, c.Err)
		})
	}
}

// receiveAll receives until the end.
func receiveAll(c interface {
	Receive(ctx context.Context) (tcproom.Event, error)
}) {
	for {
		if _, err := c.Receive(context.Background()); err != nil {
			return
		}
	}
}
