package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A fullRoom is a room whose queue to its log is full: the log takes nothing before it is
// let go.
type fullRoom struct {
	*tcproom.Room
	t       *testing.T
	log     *bentLog
	letGo   func()
	mu      sync.Mutex           // guards took
	took    []call               // that have returned, in that order
	cancels []context.CancelFunc // of the calls that have filled it
}

// A call is what has become of a call, and when.
type call struct {
	body string
	at   time.Duration // since it began
	err  error
}

const fullBody = 250 << 10

// newFullRoom returns one in which a message of fullBody bytes waits for room.
func newFullRoom(t *testing.T, opts ...tcproom.RoomOption) *fullRoom {
	t.Helper()
	l, _ := attach(t, roomtest.NewLog())
	r := &fullRoom{t: t, log: l, Room: openRoom(t, l, append([]tcproom.RoomOption{tcproom.WithMaxMessage(256 << 10), tcproom.WithCodec(tcproom.Raw{})}, opts...)...)}
	readyIn(t, r.Room, time.Minute)
	r.fill()
	return r
}

// fill fills the queue.
func (r *fullRoom) fill() {
	t, l := r.t, r.log
	t.Helper()
	gate := make(chan struct{})
	r.letGo = func() {
		l.bend(nil)
		close(gate)
	}
	l.bend(func(ctx context.Context, _ string, _ []byte) (uint64, error, bool) {
		select {
		case <-gate:
			return 0, nil, false
		case <-ctx.Done():
			return 0, ctx.Err(), true
		}
	})
	for before := -1; before < tcproom.OnTheWayToLog(r.Room); {
		before = tcproom.OnTheWayToLog(r.Room)
		ctx, cancel := context.WithCancel(t.Context())
		r.cancels = append(r.cancels, cancel)
		go r.Broadcast(ctx, append(make([]byte, 1, fullBody), bytes.Repeat([]byte("x"), fullBody-1)...))
		synctest.Wait()
	}
	r.cancels[len(r.cancels)-1]() // that one waits
	synctest.Wait()
}

// call has a body ordered that begins with what, and waits for that on a goroutine.
func (r *fullRoom) call(what string, size int) {
	began, body := time.Now(), make([]byte, size)
	copy(body, what)
	go func() {
		_, err := r.Broadcast(context.Background(), body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.took = append(r.took, call{what, time.Since(began), err})
	}()
	synctest.Wait()
}

// TestRoomInTheQueue: who waits for room in the queue to the log goes on at the instant at
// which there is some, whatever has made it.
func TestRoomInTheQueue(t *testing.T) {
	const later = 7 * time.Millisecond
	t.Run("a call ends that was queued", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newFullRoom(t)
			n := tcproom.OnTheWayToLog(r.Room)
			r.call("waits", fullBody)
			require.Equal(t, n, tcproom.OnTheWayToLog(r.Room))
			time.Sleep(later)
			r.cancels[len(r.cancels)-2]()
			synctest.Wait()
			require.Equal(t, n, tcproom.OnTheWayToLog(r.Room), "one has gone, and the one that waits is queued")
			r.letGo()
			synctest.Wait()
			require.Equal(t, []call{{"waits", later, nil}}, r.took)
		})
	})
	t.Run("a record comes back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newFullRoom(t)
			r.call("waits", fullBody)
			time.Sleep(later)
			r.letGo()
			synctest.Wait()
			require.Equal(t, []call{{"waits", later, nil}}, r.took)
		})
	})
	t.Run("the one in front goes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newFullRoom(t)
			ctx, cancel := context.WithCancel(t.Context())
			go r.Broadcast(ctx, make([]byte, 256<<10))
			synctest.Wait()
			n := tcproom.OnTheWayToLog(r.Room)
			r.call("small", 10)
			require.Equal(t, n, tcproom.OnTheWayToLog(r.Room), "passes one that has waited for longer")
			time.Sleep(later)
			cancel()
			synctest.Wait()
			require.Equal(t, n+1, tcproom.OnTheWayToLog(r.Room))
			r.letGo()
			synctest.Wait()
			require.Equal(t, []call{{"small", later, nil}}, r.took)
		})
	})
}

// TestNoRoomInTheQueue: who waits for room in vain is told at once.
func TestNoRoomInTheQueue(t *testing.T) {
	t.Run("the log is silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const outage = 1009 * time.Millisecond
			r := newFullRoom(t, tcproom.WithMaxOutage(outage))
			r.call("waits", fullBody)
			time.Sleep(2 * outage)
			synctest.Wait()
			require.Len(t, r.took, 1)
			require.Equal(t, outage, r.took[0].at)
			require.ErrorIs(t, r.took[0].err, tcproom.ErrUnavailable)
			r.letGo()
		})
	})
	t.Run("the room leaves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newFullRoom(t)
			r.call("waits", fullBody)
			time.Sleep(7 * time.Millisecond)
			go r.Shutdown(t.Context())
			synctest.Wait()
			require.Equal(t, []call{{"waits", 7 * time.Millisecond, tcproom.ErrRoomClosed}}, r.took)
			r.letGo()
		})
	})
	t.Run("the room closes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newFullRoom(t)
			r.call("waits", fullBody)
			time.Sleep(7 * time.Millisecond)
			go r.Close()
			synctest.Wait()
			require.Equal(t, []call{{"waits", 7 * time.Millisecond, tcproom.ErrRoomClosed}}, r.took)
		})
	})
}

// TestQueueIsFirstComeFirstServed: those that wait for room in the queue get it in the
// order in which they came, however much they need.
func TestQueueIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFullRoom(t, tcproom.WithBacklog(64<<20))
		var want []string
		for i := range 40 {
			name := fmt.Sprintf("%02d", i)
			want = append(want, name)
			r.call(name, 10+i%2*(250<<10))
		}
		require.Empty(t, r.took)
		r.letGo()
		synctest.Wait()
		require.Len(t, r.took, len(want))
		var said []string
		for _, ev := range r.Past(0, 0).Events {
			if name := string(ev.Body[:2]); name[0] != 0 {
				said = append(said, name)
			}
		}
		require.Equal(t, want[len(want)-len(said):], said)
		require.NotEmpty(t, said)
	})
}

// TestQueueHasRoomForReaders: a reader whose message waits for room in the queue may learn of
// that when the message has its place already. Its member gets the ack, and it goes on.
func TestQueueHasRoomForReaders(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that readers get the lock late
	synctest.Test(t, func(t *testing.T) {
		const members = 8
		l, _ := attach(t, roomtest.NewLog())
		s, room := newLone(t, tcproom.WithLog(l), tcproom.WithMaxMessage(256<<10), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithSessions(tcproom.Sessions{}), tcproom.WithBacklog(64<<20))
		readyIn(t, room, time.Minute)
		var acks, ended atomic.Int64
		var all []net.Conn
		for range members {
			nc, err := s.net.DialFrom(t.Context(), "10.0.0.1", s.json)
			require.NoError(t, err)
			fmt.Fprintln(nc, `{"type":"hello"}`)
			go func() {
				defer ended.Add(1)
				for lines := bufio.NewReader(nc); ; {
					line, err := lines.ReadString('\n')
					if err != nil {
						return
					}
					if strings.HasPrefix(line, `{"type":"ack","id":1,`) {
						acks.Add(1)
					}
				}
			}()
			all = append(all, nc)
		}
		time.Sleep(time.Second)
		r := &fullRoom{t: t, log: l, Room: room}
		r.fill()
		r.call("waits", fullBody) // and all others behind it
		for _, nc := range all {
			fmt.Fprintln(nc, `{"type":"message","id":1,"body":"hi"}`)
		}
		synctest.Wait()
		require.Zero(t, acks.Load())
		r.letGo()
		time.Sleep(time.Second)
		require.EqualValues(t, members, acks.Load())
		require.NoError(t, room.Shutdown(testContext(t)))
		synctest.Wait()
		require.EqualValues(t, members, ended.Load())
	})
}

// TestStopBeforeTheLogOpens: who waits for a log that was not opened is told that the hub
// stops.
func TestStopBeforeTheLogOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := tcproom.NewHub(tcproom.WithBackplane(&barred{roomtest.NewLog().Attach(), "*"}))
		said := make(chan error, 1)
		go func() {
			_, err := h.All().Broadcast(context.Background(), []byte("hello"))
			said <- err
		}()
		time.Sleep(time.Second)
		go h.Shutdown(t.Context())
		synctest.Wait()
		require.ErrorIs(t, <-said, tcproom.ErrRoomClosed)
		<-h.Done()
	})
}

// TestDrainOutlastsTheSilence: what is on its way to a log that is silent for longer than
// WithMaxOutage while the room stops is ordered when that answers, if the stop waits so long.
func TestDrainOutlastsTheSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		l, _ := attach(t, engine)
		l1, _ := attach(t, engine)
		r, other := openRoom(t, l, tcproom.WithMaxOutage(2*time.Second)), openRoom(t, l1)
		readyIn(t, r, time.Minute)
		readyIn(t, other, time.Minute)
		silent := errors.New("silent")
		l.bend(func(context.Context, string, []byte) (uint64, error, bool) { return 0, silent, true })
		said, stopped := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := r.Broadcast(t.Context(), []byte("hello"))
			said <- err
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { stopped <- r.Shutdown(ctx) }()
		time.Sleep(10 * time.Second)
		l.bend(nil)
		require.NoError(t, <-said)
		require.NoError(t, <-stopped)
		require.Equal(t, uint64(1), other.Stats().Messages)
		require.Zero(t, other.Stats().LogGaps)
	})
}

// TestNoBeatsForASilentLog: while the log takes nothing for long, the signs of life do not
// pile up that nobody needs then.
func TestNoBeatsForASilentLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := attach(t, roomtest.NewLog(func(c *tcproom.Caps) { c.Age = time.Hour }))
		r := openRoom(t, l, tcproom.WithMaxOutage(48*time.Hour))
		readyIn(t, r, time.Minute)
		l.bend(func(context.Context, string, []byte) (uint64, error, bool) { return 0, errors.New("silent"), true })
		time.Sleep(24 * time.Hour)
		require.Equal(t, 1, tcproom.OnTheWayToLog(r))
	})
}
