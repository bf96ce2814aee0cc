package suite_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestF8JoinChurn: thousands of joins and leaves, as fast as they go, with the
// smallest backlog and the strictest policy, cost no healthy reader its place,
// and each sees every join before its leave.
func TestF8JoinChurn(t *testing.T) {
	checkGoroutines(t)
	const readers, churners, rounds = 30, 4, 250
	left := newCauses()
	room := tcproom.New(tcproom.WithMaxMessage(1), tcproom.WithBacklog(1), tcproom.WithMaxPending(2*churners), tcproom.OnLeave(left.Left))
	addr := serveTCP(t, room)
	var reading sync.WaitGroup
	heard := make([]string, readers)
	for i := range readers {
		nc := dialRaw(t, addr)
		waitLen(t, room, i+1)
		reading.Go(func() {
			b, err := io.ReadAll(nc)
			if err != nil {
				t.Error(err)
			}
			heard[i] = string(b)
		})
	}
	var churn sync.WaitGroup
	for range churners {
		churn.Go(func() {
			for i := range rounds {
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 {
					nc.(*net.TCPConn).SetLinger(0) // leaves by a reset
				}
				nc.Close()
			}
		})
	}
	churn.Wait()
	eventually(t, "the churn is over", func() bool {
		s := room.Stats()
		return s.Joined+s.Refused == readers+churners*rounds && s.Members == readers && s.Pending == 0
	})
	for range room.Stats().Joined - readers {
		require.NotErrorIs(t, left.Next(t), tcproom.ErrSlow)
	}
	require.Empty(t, left.C, "the readers stayed")
	require.NoError(t, room.Shutdown(testContext(t)))
	reading.Wait()

	// All heard the same of those who came after the last reader.
	_, last, ok := strings.Cut(heard[0], fmt.Sprintf("* guest-%d joined\n", readers))
	require.True(t, ok)
	require.Equal(t, last, heard[readers-1])
	for _, h := range heard {
		require.True(t, strings.HasSuffix(h, last))
	}
	present := make(map[string]bool)
	for line := range strings.Lines(last) {
		who, joined := strings.CutSuffix(line, " joined\n")
		if joined {
			require.False(t, present[who], "%q", line)
			present[who] = true
		} else if who, ok := strings.CutSuffix(line, " left\n"); ok {
			require.True(t, present[who], "%q", line)
			delete(present, who)
		} else {
			require.Contains(t, line, "goodbye")
		}
	}
	require.Empty(t, present)
}

// TestF8JoinsCanBeLimited by a WithHandshake hook: whoever it holds back is not
// told to anybody, and whom it refuses neither.
func TestF8JoinsCanBeLimited(t *testing.T) {
	var joins sync.Mutex
	budget := 3
	room := tcproom.New(tcproom.WithHandshake(func(context.Context, *tcproom.Newcomer) (tcproom.Identity, error) {
		joins.Lock()
		defer joins.Unlock()
		if budget--; budget < 0 {
			return tcproom.Identity{}, fmt.Errorf("too many joins")
		}
		return tcproom.Identity{}, nil
	}))
	for i := range 10 {
		nc, served := pipe(room)
		go io.Copy(io.Discard, nc)
		if i >= 3 {
			require.ErrorContains(t, <-served, "too many joins")
			nc.Close()
			continue
		}
		waitLen(t, room, 1)
		nc.Close()
		require.NoError(t, <-served)
	}
	require.EqualValues(t, 6, room.Stats().Seq)
	require.NoError(t, room.Close())
}
