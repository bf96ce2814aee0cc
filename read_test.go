package tcproom_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestManyMessagesOfOneRead: what a read holds is dealt with in pieces, so that
// tiny messages cost no more than their bytes (P14); the pieces are not small.
func TestManyMessagesOfOneRead(t *testing.T) {
	for _, hook := range []bool{false, true} {
		t.Run(fmt.Sprint("hook=", hook), func(t *testing.T) {
			const n, most = 10000, 256
			var parsed, said, ahead, pieces atomic.Int64
			count := func() { // that one more is said
				if d := parsed.Load() - said.Add(1) + 1; d > ahead.Load() {
					ahead.Store(d)
				}
			}
			codec := &odd{
				parseRequest: func(frame []byte, req *tcproom.Request) error {
					if parsed.Add(1) == said.Load()+1 {
						pieces.Add(1)
					}
					return tcproom.Raw{}.ParseRequest(frame, req)
				},
				appendEvent: func(dst []byte, ev *tcproom.Event) ([]byte, error) {
					if ev.Kind == tcproom.Message && !hook {
						count()
					}
					return tcproom.Raw{}.AppendEvent(dst, ev)
				},
			}
			opts := []tcproom.RoomOption{tcproom.WithCodec(codec)}
			if hook {
				opts = append(opts, tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { count(); return nil, nil }))
			}
			room := tcproom.New(opts...)
			nc := dialRaw(t, serveTCP(t, room))
			waitLen(t, room, 1)
			_, err := nc.Write(bytes.Repeat([]byte("\n"), n))
			require.NoError(t, err)
			eventually(t, "all are said", func() bool { return said.Load() == n })
			require.LessOrEqual(t, ahead.Load(), int64(most))
			require.Greater(t, ahead.Load(), int64(most/2))
			require.Less(t, pieces.Load(), int64(n/most*2))
		})
	}
}
