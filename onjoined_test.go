package tcproom_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestOnJoinedOrder: a member gets the welcome, the history, what the hook sends, and
// then what was ordered since its join, also while the hook ran.
func TestOnJoinedOrder(t *testing.T) {
	type told struct {
		seq  uint64
		info tcproom.MemberInfo
	}
	seqs := make(chan told, 1)
	room := tcproom.New(tcproom.WithHistory(tcproom.History{Messages: 10}), tcproom.OnJoined(func(m *tcproom.Member, seq uint64) {
		broadcast(t, m.Room(), []byte("during"))
		seqs <- told{seq, m.Info()} // now "after" may be ordered
		for _, body := range []string{"one", "two"} {
			if err := m.Send(context.Background(), []byte(body)); err != nil {
				t.Error(err)
			}
		}
	}))
	addr := serveTCP(t, room, tcproom.WithCodec(tcproom.JSON{}))
	text := serveTCP(t, room)
	broadcast(t, room, []byte("past"))
	past := []string{"past"}
	for name, come := range map[string]func() *tcproom.Conn{
		"Dial": func() *tcproom.Conn { return dial(t, addr, tcproom.WithCodec(tcproom.JSON{})) },
		"Join": func() *tcproom.Conn { return join(t, room, tcproom.WithCodec(tcproom.JSON{})) },
		"Text": func() *tcproom.Conn { return dial(t, text) },
	} {
		t.Run(name, func(t *testing.T) {
			c := come()
			told := <-seqs
			broadcast(t, room, []byte("after"))
			var got, want []string
			if name != "Text" {
				w := next(t, c)
				require.Equal(t, tcproom.Welcome, w.Kind)
				require.Equal(t, told.seq, w.Seq)
				require.Equal(t, told.info, w.From)
			}
			for _, body := range past {
				want = append(want, "true "+body)
			}
			want = append(want, "false one", "false two", "false during", "false after")
			for range want {
				ev := next(t, c)
				got = append(got, fmt.Sprint(ev.History, " ", string(ev.Body)))
			}
			require.Equal(t, want, got)
			past = append(past, "during", "after")
			c.Close()
			waitLen(t, room, 0)
		})
	}
}

// TestOnJoinedSeq: it is that of the join or, if joins are not announced, of the last
// event.
func TestOnJoinedSeq(t *testing.T) {
	for _, notices := range []bool{false, true} {
		seqs := make(chan uint64, 1)
		room := tcproom.New(tcproom.WithNotices(notices), tcproom.OnJoined(func(_ *tcproom.Member, seq uint64) { seqs <- seq }))
		for range 3 {
			join(t, room)
			require.Equal(t, room.Stats().Seq, <-seqs)
			broadcast(t, room, []byte("x"))
		}
		require.NoError(t, room.Close())
	}
}

// TestOnJoinedHoldsUpOneMember: while the hook runs nothing is read from its member
// and nothing is sent to it; the others go on.
func TestOnJoinedHoldsUpOneMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var took atomic.Int64
		room := tcproom.New(tcproom.WithNotices(false),
			tcproom.OnJoined(func(m *tcproom.Member, _ uint64) {
				if m.Name() == "guest-2" {
					<-release
				}
			}),
			tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { took.Add(1); return body, nil }))
		a := join(t, room)
		nc, served := enter(t, room)
		io.WriteString(nc, "hi\n")
		synctest.Wait()
		require.Equal(t, 2, room.Len())
		require.Zero(t, took.Load(), "a message was read while OnJoined ran")
		broadcast(t, room, []byte("all"))
		require.Equal(t, "all", nextMessage(t, a))
		nc.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := nc.Read(make([]byte, 1))
		require.Error(t, err, "an event was sent while OnJoined ran")
		nc.SetReadDeadline(time.Time{})
		close(release)
		line, err := bufio.NewReader(nc).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "*: all\n", line)
		require.Equal(t, "hi", nextMessage(t, a))
		nc.Close()
		require.NoError(t, <-served)
		a.Close()
		require.NoError(t, room.Close())
	})
}

// TestOnJoinedTakesTooLong: one that lags behind more than the backlog because of the
// hook is slow, although its peer reads.
func TestOnJoinedTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := newCauses()
		room := tcproom.New(tcproom.WithBacklog(1), tcproom.WithMaxMessage(1000), tcproom.OnLeave(left.Left),
			tcproom.OnJoined(func(m *tcproom.Member, _ uint64) {
				select {
				case <-m.Context().Done():
				case <-time.After(time.Hour):
					t.Error("it is no slow member")
				}
			}))
		nc, served := enter(t, room)
		go io.Copy(io.Discard, nc)
		synctest.Wait()
		for range 100 {
			broadcast(t, room, make([]byte, 1000))
			synctest.Wait()
		}
		require.ErrorIs(t, <-served, tcproom.ErrSlow)
		require.ErrorIs(t, left.Next(t), tcproom.ErrSlow)
		require.NoError(t, room.Close())
	})
}

// hookNotes collects which hooks were called.
type hookNotes struct {
	mu    sync.Mutex
	names []string
}

func (n *hookNotes) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names = append(n.names, name)
}

func (n *hookNotes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := n.names
	n.names = nil
	return names
}

// TestOnJoinedOnce: it is called once for each member, after OnJoin and before all
// other hooks; not for a connection that resumes, nor for one that is refused.
func TestOnJoinedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var notes hookNotes
		srv := sessionServer(t, tcproom.Sessions{Grace: time.Minute},
			tcproom.OnJoin(func(m *tcproom.Member) error {
				notes.add("OnJoin")
				if m.Name() == "eve" {
					return errHook
				}
				return nil
			}),
			tcproom.OnJoined(func(m *tcproom.Member, _ uint64) {
				if _, ok := m.Room().Member(m.ID()); !ok {
					t.Error("it is no member yet")
				}
				notes.add("OnJoined")
			}),
			tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { notes.add("OnMessage"); return body, nil }),
			tcproom.OnLeave(func(*tcproom.Member, error) { notes.add("OnLeave") }),
			tcproom.OnReject(func(*tcproom.Newcomer, error) { notes.add("OnReject") }),
		)
		ada := visits(t, srv, object{"name": "ada"})
		w := ada.welcomed("joined")
		ada.say(object{"type": "message", "body": "hi"})
		synctest.Wait()
		require.Equal(t, []string{"OnJoin", "OnJoined", "OnMessage"}, notes.take())
		ada.nc.Close()
		synctest.Wait()
		ada = visits(t, srv, resume(w, 0))
		ada.welcomed("resumed")
		synctest.Wait()
		require.Empty(t, notes.take())
		ada.nc.Close()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"OnLeave"}, notes.take())
		eve := visits(t, srv, object{"name": "eve"})
		synctest.Wait()
		eve.nc.Close()
		synctest.Wait()
		require.Equal(t, []string{"OnJoin", "OnReject"}, notes.take())
	})
}

// TestOnJoinedThatEnds: a hook that fails, or ends its member, is followed by the
// leave of that member, and by nothing else.
func TestOnJoinedThatEnds(t *testing.T) {
	for name, test := range map[string]struct {
		act  func(m *tcproom.Member)
		want error
	}{
		"panics":  {act: func(*tcproom.Member) { panic("OnJoined") }, want: tcproom.ErrHook},
		"exits":   {act: func(*tcproom.Member) { runtime.Goexit() }, want: tcproom.ErrHook},
		"kicks":   {act: func(m *tcproom.Member) { m.Kick("no") }, want: tcproom.ErrKicked},
		"outlast": {act: func(m *tcproom.Member) { <-m.Context().Done() }, want: tcproom.ErrKicked},
	} {
		inBubble(name, t, func(t *testing.T) {
			left := newCauses()
			room := tcproom.New(tcproom.OnLeave(left.Left),
				tcproom.OnReject(func(*tcproom.Newcomer, error) { t.Error("OnReject was called") }),
				tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { t.Error("OnMessage was called"); return nil, nil }),
				tcproom.OnJoined(func(m *tcproom.Member, _ uint64) {
					if m.Name() == "guest-2" {
						test.act(m)
					}
				}))
			a := join(t, room)
			here, there := net.Pipe()
			go room.ServeConn(there)
			go io.WriteString(here, "hi\n")
			said := make(chan string, 1)
			go func() {
				b, _ := io.ReadAll(here)
				said <- string(b)
			}()
			if requireEvent(t, a, tcproom.Join, "guest-2", ""); name == "outlast" {
				synctest.Wait()
				require.NoError(t, memberOf(t, room, 1).Kick("no"))
			}
			requireEvent(t, a, tcproom.Leave, "guest-2", "")
			err := left.Next(t)
			require.ErrorIs(t, err, test.want)
			if he, ok := err.(*tcproom.HookError); ok {
				require.Equal(t, "OnJoined", he.Hook)
			}
			require.True(t, strings.HasPrefix(<-said, "* goodbye: "))
			here.Close()
			require.Equal(t, 1, room.Len())
			require.NoError(t, room.Close())
			require.ErrorIs(t, left.Next(t), tcproom.ErrRoomClosed)
			require.Empty(t, left.C, "P8")
			a.Close()
		})
	}
}

// A ticker is a state of which a room's members get a snapshot, and then each change.
type ticker struct {
	room *tcproom.Room
	turn sync.Mutex // of changes

	mu     sync.Mutex // guards what follows
	prices map[string]int
	joined int
	more   chan struct{} // closed when joined grows
}

// rise lets a price rise by one, first in the state and then in the stream.
func (k *ticker) rise(ctx context.Context, symbol string) error {
	k.turn.Lock()
	defer k.turn.Unlock()
	k.mu.Lock()
	k.prices[symbol]++
	body := fmt.Append(nil, symbol, " ", k.prices[symbol])
	k.mu.Unlock()
	_, err := k.room.Broadcast(ctx, body)
	return err
}

// greet is an OnJoined hook. There is a change at the worst moment.
func (k *ticker) greet(m *tcproom.Member, _ uint64) {
	k.mu.Lock()
	k.joined++
	close(k.more)
	k.more = make(chan struct{})
	snapshot, _ := json.Marshal(k.prices)
	k.mu.Unlock()
	if err := k.rise(m.Context(), "joins"); err == nil {
		m.Send(m.Context(), snapshot)
	}
}

// await waits until n have joined.
func (k *ticker) await(ctx context.Context, n int) error {
	for {
		k.mu.Lock()
		joined, more := k.joined, k.more
		k.mu.Unlock()
		if joined >= n {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow reads the stream of a ticker's room until all of the symbols have the price
// last, and returns an error if there was a change that it does not know.
func follow(ctx context.Context, c *tcproom.Conn, symbols, last int) error {
	prices := map[string]int{}
	started := false
	for ev, err := range c.Events(ctx) {
		switch {
		case err != nil:
			return err
		case ev.Kind == tcproom.Direct:
			started = true
			if err := json.Unmarshal(ev.Body, &prices); err != nil {
				return err
			}
		case ev.Kind == tcproom.Message:
			symbol, number, _ := strings.Cut(string(ev.Body), " ")
			price, err := strconv.Atoi(number)
			if err != nil || !started {
				return fmt.Errorf("%q comes before the snapshot, or is no change", ev.Body)
			}
			if price > prices[symbol]+1 {
				return fmt.Errorf("after the price %d of %s comes %d", prices[symbol], symbol, price)
			}
			prices[symbol] = max(prices[symbol], price)
		}
		done := len(prices) == symbols
		for _, p := range prices {
			done = done && p == last
		}
		if done {
			return nil
		}
	}
	return io.ErrUnexpectedEOF
}

// TestOnJoinedLosesNoUpdate: of 200 members that join while a state changes, each has
// all of it: the snapshot of OnJoined and the events that follow leave out nothing.
func TestOnJoinedLosesNoUpdate(t *testing.T) {
	const joins = 200
	symbols := []string{"corn", "rye", "joins"}
	state := &ticker{prices: map[string]int{}, more: make(chan struct{})}
	state.room = tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNotices(false), tcproom.WithMaxPending(joins),
		tcproom.WithSlowMembers(tcproom.Block(within)), tcproom.WithHandshakeTimeout(within), tcproom.OnJoined(state.greet))
	addr := serveTCP(t, state.room)
	ctx := testContext(t)
	var wg sync.WaitGroup
	for i := range joins {
		wg.Go(func() {
			var c *tcproom.Conn
			var err error
			if patient := tcproom.WithHandshakeTimeout(within); i%2 == 0 {
				c, err = tcproom.Dial(ctx, addr, tcproom.WithCodec(tcproom.JSON{}), patient)
			} else {
				c, err = state.room.Join(ctx, tcproom.Identity{}, patient)
			}
			if err == nil {
				defer c.Close()
				err = follow(ctx, c, len(symbols), joins)
			}
			if err != nil {
				t.Errorf("member %d: %v", i, err)
			}
		})
	}
	for _, symbol := range symbols[:2] {
		wg.Go(func() {
			for i := range joins {
				err := state.await(ctx, i+1) // they join all the while
				if err == nil {
					err = state.rise(ctx, symbol)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
