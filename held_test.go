package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// The tests here are about messages of one read: what OnMessage returns for them is
// ordered in one pass, which no hook may notice.

type onMessage func(m *tcproom.Member, body []byte) ([]byte, error)

// A reading is a room in which bob and eve listen, while ada sends many messages at
// once. Events are noted in few words.
type reading struct {
	*tcproom.Room
	bob, eve *tcproom.Conn
	ada      net.Conn
	welcome  string      // hers
	lines    chan string // that she receives behind it
}

// newReading lets hook decide on what ada sends.
func newReading(t *testing.T, hook onMessage, opts ...tcproom.RoomOption) *reading {
	r := new(reading)
	r.Room = tcproom.New(append([]tcproom.RoomOption{
		tcproom.WithCodec(tcproom.JSON{}), tcproom.WithWriteTimeout(24 * time.Hour), // eve need not read
		tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			if m.Name() != "ada" {
				return body, nil
			}
			return hook(m, body)
		}),
	}, opts...)...)
	t.Cleanup(func() { r.Close() })
	r.bob, r.eve = r.enter(t, "bob"), r.enter(t, "eve")
	r.visit(t, `{"type":"hello","name":"ada"}`)
	require.Equal(t, []string{"+bob", "+eve", "+ada"}, r.hears(t, r.bob, 3))
	require.Equal(t, []string{"+eve", "+ada"}, r.hears(t, r.eve, 2))
	return r
}

func (r *reading) enter(t *testing.T, name string) *tcproom.Conn {
	c, err := r.Join(testContext(t), tcproom.Identity{Name: name})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// visit connects ada, and waits for her welcome.
func (r *reading) visit(t *testing.T, hello string) {
	nc, _ := pipe(r.Room, tcproom.WithEcho(true))
	t.Cleanup(func() { nc.Close() })
	lines := make(chan string, 10000)
	r.ada, r.lines = nc, lines
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(nc); in.Scan(); {
			lines <- in.Text()
		}
	}()
	fmt.Fprintln(nc, hello)
	r.welcome = <-lines
}

// say has ada send messages that the room gets in one read.
func (r *reading) say(bodies ...string) {
	var b bytes.Buffer
	for _, body := range bodies {
		fmt.Fprintf(&b, `{"type":"message","body":%q}`+"\n", body)
	}
	r.ada.Write(b.Bytes())
}

// hears returns the next n events of c.
func (r *reading) hears(t *testing.T, c *tcproom.Conn, n int) (all []string) {
	t.Helper()
	for range n {
		all = append(all, brief(next(t, c)))
	}
	return all
}

// end checks that nothing else was to be received by bob.
func (r *reading) end(t *testing.T) {
	t.Helper()
	synctest.Wait()
	_, err := r.Broadcast(t.Context(), []byte("the end"))
	require.NoError(t, err)
	require.Equal(t, []string{"the end"}, r.hears(t, r.bob, 1))
	require.NoError(t, r.Close())
}

func brief(ev tcproom.Event) string {
	switch ev.Kind {
	case tcproom.Message:
		return string(ev.Body)
	case tcproom.Direct:
		return "direct " + string(ev.Body)
	case tcproom.Join, tcproom.Welcome:
		return "+" + ev.From.Name
	case tcproom.Leave:
		return "-" + ev.From.Name
	}
	return ev.Kind.String()
}

// TestHeldIsOrderedFirst: what a hook has returned comes before all that a later call
// of it does.
func TestHeldIsOrderedFirst(t *testing.T) {
	member := func(r *reading, name string) *tcproom.Member {
		for m := range r.Members() {
			if m.Name() == name {
				return m
			}
		}
		return nil
	}
	ctx := context.Background()
	for _, test := range []struct {
		name string
		act  func(r *reading, m *tcproom.Member) error
		want []string // that bob receives
	}{
		{name: "nothing", act: func(*reading, *tcproom.Member) error { return nil }, want: []string{"one", "two", "three"}},
		{name: "Post", act: func(_ *reading, m *tcproom.Member) error {
			_, err := m.Post(ctx, []byte("post"))
			return err
		}, want: []string{"one", "post", "two", "three"}},
		{name: "Post of another", act: func(r *reading, _ *tcproom.Member) error {
			_, err := member(r, "eve").Post(ctx, []byte("post"))
			return err
		}, want: []string{"one", "post", "two", "three"}},
		{name: "Broadcast", act: func(r *reading, _ *tcproom.Member) error {
			_, err := r.Broadcast(ctx, []byte("post"))
			return err
		}, want: []string{"one", "post", "two", "three"}},
		{name: "Send to another", act: func(r *reading, _ *tcproom.Member) error {
			return member(r, "bob").Send(ctx, []byte("hi"))
		}, want: []string{"one", "direct hi", "two", "three"}},
		{name: "SendFrom to another", act: func(r *reading, m *tcproom.Member) error {
			return member(r, "bob").SendFrom(ctx, m, []byte("hi"))
		}, want: []string{"one", "direct hi", "two", "three"}},
		{name: "Kick of another", act: func(r *reading, _ *tcproom.Member) error {
			return member(r, "eve").Kick("enough")
		}, want: []string{"one", "-eve", "two", "three"}},
		{name: "Kick", act: func(_ *reading, m *tcproom.Member) error { return m.Kick("enough") }, want: []string{"one", "-ada"}},
		{name: "Join", act: func(r *reading, m *tcproom.Member) error {
			dan, err := r.Join(ctx, tcproom.Identity{Name: "dan"})
			if err == nil {
				context.AfterFunc(m.Context(), func() { dan.Close() })
			}
			return err
		}, want: []string{"one", "+dan", "two", "three"}},
	} {
		inBubble(test.name, t, func(t *testing.T) {
			var r *reading
			r = newReading(t, func(m *tcproom.Member, body []byte) ([]byte, error) {
				if string(body) == "two" {
					if n := r.Stats().Messages; n != 0 {
						t.Errorf("%d messages are ordered: these are not of one read, or not held", n)
					}
					if err := test.act(r, m); err != nil {
						t.Error(err)
					}
				}
				return body, nil
			})
			r.say("one", "two", "three")
			require.Equal(t, test.want, r.hears(t, r.bob, len(test.want)))
			r.end(t)
		})
	}
}

// TestHeldAndDirect: what is sent to the member itself stands behind what was returned.
func TestHeldAndDirect(t *testing.T) {
	inBubble("Send", t, func(t *testing.T) {
		r := newReading(t, func(m *tcproom.Member, body []byte) ([]byte, error) {
			return body, m.Send(context.Background(), append([]byte("about "), body...))
		})
		r.say("one", "two")
		for _, want := range []string{`"about one"`, `"one"`, `"about two"`, `"two"`} {
			require.Contains(t, <-r.lines, `"body":`+want)
		}
		require.Equal(t, []string{"one", "two"}, r.hears(t, r.bob, 2))
		r.end(t)
	})
}

// TestHeldIsNotHeldBack: a hook that takes its time does not hold back what was
// returned before, whichever call of it that is.
func TestHeldIsNotHeldBack(t *testing.T) {
	const soon = 2 * time.Millisecond
	inBubble("two slow calls", t, func(t *testing.T) {
		r := newReading(t, func(_ *tcproom.Member, body []byte) ([]byte, error) {
			switch string(body) {
			case "three":
				time.Sleep(time.Second)
			case "five":
				time.Sleep(time.Hour)
			}
			return body, nil
		})
		start := time.Now()
		r.say("one", "two", "three", "four", "five")
		require.Equal(t, []string{"one", "two"}, r.hears(t, r.bob, 2))
		require.LessOrEqual(t, time.Since(start), soon)
		require.Equal(t, []string{"three", "four"}, r.hears(t, r.bob, 2))
		require.GreaterOrEqual(t, time.Since(start), time.Second)
		require.LessOrEqual(t, time.Since(start), time.Second+soon)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		ev, err := r.bob.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, "five", brief(ev))
		require.Equal(t, time.Hour+time.Second, time.Since(start).Truncate(time.Second))
		r.end(t)
	})
	inBubble("a call that ends others' patience", t, func(t *testing.T) {
		release := make(chan struct{})
		r := newReading(t, func(_ *tcproom.Member, body []byte) ([]byte, error) {
			if string(body) == "two" {
				<-release
			}
			return body, nil
		})
		r.say("one", "two")
		synctest.Wait() // no time passes: it is held
		_, err := r.Broadcast(t.Context(), []byte("by another"))
		require.NoError(t, err)
		require.Equal(t, []string{"one", "by another"}, r.hears(t, r.bob, 2))
		close(release)
		require.Equal(t, []string{"two"}, r.hears(t, r.bob, 1))
		r.end(t)
	})
}

// TestHeldBehindASlowMember: while what was returned is held back, nothing of a later
// call overtakes it.
func TestHeldBehindASlowMember(t *testing.T) {
	large := strings.Repeat("x", 1000)
	for _, test := range []struct {
		name string
		act  func(m *tcproom.Member) error
		want []string
	}{
		{name: "Post", act: func(m *tcproom.Member) error {
			_, err := m.Post(context.Background(), []byte("small"))
			return err
		}, want: []string{large, "small", "two"}},
		{name: "Broadcast", act: func(m *tcproom.Member) error {
			_, err := m.Room().Broadcast(context.Background(), []byte("small"))
			return err
		}, want: []string{large, "small", "two"}},
		{name: "Send", act: func(m *tcproom.Member) error {
			for bob := range m.Room().Members() {
				if bob.Name() == "bob" {
					return bob.Send(context.Background(), []byte("small"))
				}
			}
			return errors.New("no bob")
		}, want: []string{large, "direct small", "two"}},
	} {
		inBubble(test.name, t, func(t *testing.T) {
			r := newReading(t, func(m *tcproom.Member, body []byte) ([]byte, error) {
				if string(body) == "two" {
					time.Sleep(time.Minute) // the other is not held any more, but held back
					if err := test.act(m); err != nil {
						t.Error(err)
					}
				}
				return body, nil
			}, tcproom.WithBacklog(1), tcproom.WithMaxMessage(1<<10), tcproom.WithSlowMembers(tcproom.Block(10*time.Hour)))
			n := fill(t, r, large)
			r.say(large, "two")
			time.Sleep(2 * time.Minute)
			go drain(r.eve)
			r.hears(t, r.bob, n)
			require.Equal(t, test.want, r.hears(t, r.bob, len(test.want)))
			r.end(t)
		})
	}
}

// fill orders bodies until eve, who reads nothing, holds others back, and returns how
// many bob is to receive.
func fill(t *testing.T, r *reading, body string) (n int) {
	for ; ; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := r.Broadcast(ctx, []byte(body))
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return n
		}
	}
}

func drain(c *tcproom.Conn) {
	for range c.Events(context.Background()) {
	}
}

// TestKickWaitsForNobody: a kick of the member that holds others back helps at once,
// although what a hook has returned is held back by it.
func TestKickWaitsForNobody(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Minute} {
		inBubble(fmt.Sprint("after ", wait), t, func(t *testing.T) {
			large := strings.Repeat("x", 1000)
			took := make(chan time.Duration, 1)
			r := newReading(t, func(m *tcproom.Member, body []byte) ([]byte, error) {
				if string(body) == "two" {
					time.Sleep(wait)
					start := time.Now()
					for eve := range m.Room().Members() {
						if eve.Name() == "eve" {
							eve.Kick("reads nothing")
						}
					}
					took <- time.Since(start)
				}
				return body, nil
			}, tcproom.WithBacklog(1), tcproom.WithMaxMessage(1<<10), tcproom.WithSlowMembers(tcproom.Block(10*time.Hour)))
			n := fill(t, r, large)
			r.say(large, "two")
			require.Zero(t, <-took)
			r.hears(t, r.bob, n)
			require.ElementsMatch(t, []string{large, "-eve", "two"}, r.hears(t, r.bob, 3))
			r.end(t)
		})
	}
}

// TestHeldAndFailures: however a later call ends, what was returned before is ordered,
// and what comes behind it is not.
func TestHeldAndFailures(t *testing.T) {
	for _, test := range []struct {
		name string
		fail func() ([]byte, error)
		want error
	}{
		{name: "error", fail: func() ([]byte, error) { return []byte("with an error"), errHook }, want: errHook},
		{name: "panic", fail: func() ([]byte, error) { panic("hook") }, want: tcproom.ErrHook},
		{name: "Goexit", fail: func() ([]byte, error) { runtime.Goexit(); return nil, nil }, want: tcproom.ErrHook},
		{name: "too large", fail: func() ([]byte, error) { return make([]byte, 2000), nil }, want: tcproom.ErrFrameTooLarge},
	} {
		for _, slow := range []time.Duration{0, time.Second} {
			inBubble(fmt.Sprint(test.name, " after ", slow), t, func(t *testing.T) {
				left := newCauses()
				r := newReading(t, func(_ *tcproom.Member, body []byte) ([]byte, error) {
					if string(body) == "bad" {
						time.Sleep(slow)
						return test.fail()
					}
					return body, nil
				}, tcproom.WithMaxMessage(1<<10), tcproom.OnLeave(left.Left))
				r.say("one", "two", "bad", "late")
				require.Equal(t, []string{"one", "two", "-ada"}, r.hears(t, r.bob, 3))
				cause := left.Next(t)
				require.ErrorIs(t, cause, test.want)
				var he *tcproom.HookError
				require.ErrorAs(t, cause, &he)
				require.Equal(t, "OnMessage", he.Hook)
				r.end(t)
			})
		}
	}
}

// TestHeldIsCopied: a hook may use its buffer again, and return what it was given.
func TestHeldIsCopied(t *testing.T) {
	var buf []byte
	for _, test := range []struct {
		name string
		hook onMessage
		want func(body string) string
	}{
		{name: "its own buffer", hook: func(_ *tcproom.Member, body []byte) ([]byte, error) {
			buf = append(buf[:0], body...)
			return buf, nil
		}, want: func(body string) string { return body }},
		{name: "body", hook: func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil },
			want: func(body string) string { return body }},
		{name: "the end of body", hook: func(_ *tcproom.Member, body []byte) ([]byte, error) { return body[3:], nil },
			want: func(body string) string { return body[3:] }},
		{name: "the beginning of body", hook: func(_ *tcproom.Member, body []byte) ([]byte, error) { return body[:3], nil },
			want: func(body string) string { return body[:3] }},
		{name: "body with more", hook: func(_ *tcproom.Member, body []byte) ([]byte, error) { return append(body, " and more"...), nil },
			want: func(body string) string { return body + " and more" }},
		{name: "body, changed", hook: func(_ *tcproom.Member, body []byte) ([]byte, error) { return bytes.ToUpper(body), nil },
			want: strings.ToUpper},
		{name: "nothing of body", hook: func(_ *tcproom.Member, body []byte) ([]byte, error) { return body[:0], nil },
			want: func(string) string { return "" }},
	} {
		inBubble(test.name, t, func(t *testing.T) {
			r := newReading(t, test.hook)
			var all, want []string
			for i := range 30 {
				body := fmt.Sprintf("%03d and %s", i, strings.Repeat("y", i))
				all, want = append(all, body), append(want, test.want(body))
			}
			r.say(all...)
			require.Equal(t, want, r.hears(t, r.bob, len(want)))
			r.end(t)
		})
	}
}

// TestHeldAndSessions: numbered messages of one read are given to the hook once, and
// each is acknowledged with the place of what came of it.
func TestHeldAndSessions(t *testing.T) {
	numbered := func(from, to int) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintf(&b, `{"type":"message","id":%d,"body":"%d"}`+"\n", i, i)
		}
		return b.String()
	}
	acks := func(r *reading, n int) (all []string) {
		for len(all) < n {
			if line := <-r.lines; strings.Contains(line, `"ack"`) {
				all = append(all, line)
			}
		}
		return all
	}

	inBubble("what comes of a message", t, func(t *testing.T) {
		calls := make(map[string]int)
		r := newReading(t, func(m *tcproom.Member, body []byte) ([]byte, error) {
			calls[string(body)]++
			switch string(body) {
			case "2":
				return nil, nil
			case "3":
				_, err := m.Post(t.Context(), []byte("three"))
				return nil, err
			case "4":
				_, err := m.Post(t.Context(), []byte("before 4"))
				return body, err
			}
			return body, nil
		}, tcproom.WithSessions(tcproom.Sessions{}))
		io.WriteString(r.ada, numbered(1, 5)+numbered(4, 6)) // some of them twice
		require.Equal(t, []string{"1", "three", "before 4", "4", "5", "6"}, r.hears(t, r.bob, 6))
		want := []string{
			`{"type":"ack","id":1,"seq":4}`, `{"type":"ack","id":2}`, `{"type":"ack","id":3,"seq":5}`, `{"type":"ack","id":4,"seq":7}`,
			`{"type":"ack","id":5,"seq":8}`, `{"type":"ack","id":4,"seq":7}`, `{"type":"ack","id":5,"seq":8}`, `{"type":"ack","id":6,"seq":9}`,
		}
		require.Equal(t, want, acks(r, len(want)))
		require.Len(t, calls, 6)
		for body, n := range calls {
			require.Equal(t, 1, n, body)
		}
		r.end(t)
	})

	for _, when := range []string{"1", "2", "3"} {
		inBubble("the connection is lost in the call for "+when, t, func(t *testing.T) {
			calls := make(map[string]int)
			inside, release := make(chan struct{}), make(chan struct{})
			r := newReading(t, func(_ *tcproom.Member, body []byte) ([]byte, error) {
				calls[string(body)]++
				if string(body) == when {
					close(inside)
					<-release
				}
				return body, nil
			}, tcproom.WithSessions(tcproom.Sessions{}))
			io.WriteString(r.ada, numbered(1, 5))
			<-inside
			r.ada.Close()
			var w struct{ Token, Epoch string }
			require.NoError(t, json.Unmarshal([]byte(r.welcome), &w))
			r.visit(t, fmt.Sprintf(`{"type":"hello","resume":{"token":%q,"epoch":%q,"seq":3}}`, w.Token, w.Epoch))
			require.Contains(t, r.welcome, `"resumed"`)
			go io.WriteString(r.ada, numbered(1, 5))
			close(release)
			require.Equal(t, []string{"1", "2", "3", "4", "5"}, r.hears(t, r.bob, 5))
			want := []string{
				`{"type":"ack","id":1,"seq":4}`, `{"type":"ack","id":2,"seq":5}`, `{"type":"ack","id":3,"seq":6}`,
				`{"type":"ack","id":4,"seq":7}`, `{"type":"ack","id":5,"seq":8}`,
			}
			require.Equal(t, want, acks(r, 5))
			require.Len(t, calls, 5)
			for body, n := range calls {
				require.Equal(t, 1, n, body)
			}
			r.end(t)
		})
	}
}

// TestHeldInOrder: with many members, whose hooks do all of that at once while a slow
// member holds them back, what each sends arrives whole and in order. It is for -race.
func TestHeldInOrder(t *testing.T) {
	checkGoroutines(t)
	const members, messages = 8, 300
	room := tcproom.New(tcproom.WithBacklog(1), tcproom.WithMaxMessage(200), tcproom.WithSlowMembers(tcproom.Block(time.Minute)), tcproom.WithNotices(false),
		tcproom.OnMessage(func(m *tcproom.Member, body []byte) ([]byte, error) {
			ctx := context.Background()
			switch rand.IntN(6) {
			case 0:
				_, err := m.Post(ctx, body)
				return nil, err
			case 1:
				_, err := m.Room().Broadcast(ctx, bytes.Clone(body))
				return nil, err
			case 2:
				time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			}
			return body, nil
		}))
	addr := serveTCP(t, room)
	slow, err := room.Join(testContext(t), tcproom.Identity{}, tcproom.WithCodec(tcproom.JSON{}))
	require.NoError(t, err)
	defer slow.Close()
	var senders sync.WaitGroup
	defer senders.Wait()
	defer room.Close()
	for i := range members {
		nc := dialRaw(t, addr)
		var all bytes.Buffer
		for n := range messages {
			fmt.Fprintf(&all, "%d %d %s\n", i, n, strings.Repeat("z", 100))
		}
		senders.Go(func() { io.Copy(io.Discard, nc) })
		senders.Go(func() { nc.Write(all.Bytes()) })
	}
	var next [members]int
	for n := 0; n < members*messages; {
		ev, err := slow.Receive(testContext(t))
		require.NoError(t, err)
		if ev.Kind != tcproom.Message {
			continue
		}
		if n++; n%100 == 0 {
			time.Sleep(5 * time.Millisecond) // this is the slow member
		}
		var who, at int
		_, err = fmt.Sscanf(string(ev.Body), "%d %d", &who, &at)
		require.NoError(t, err)
		require.Equal(t, next[who], at, "member %d", who)
		next[who]++
	}
	require.NoError(t, room.Close())
}

// TestHeldWhileOthersFinish: it makes no difference which of many members' hooks return
// while one waits for what another's has returned.
func TestHeldWhileOthersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := strings.Repeat("x", 1000)
		release := make(chan struct{})
		r := newReading(t, func(m *tcproom.Member, body []byte) ([]byte, error) {
			switch string(body) {
			case "a2":
				<-release
				return nil, nil // so that nothing holds up its end
			case "b2":
				time.Sleep(5 * time.Hour)
			case "c2":
				if _, err := m.Post(context.Background(), []byte("c posts")); err != nil {
					t.Error(err)
				}
			}
			return body, nil
		}, tcproom.WithBacklog(1), tcproom.WithMaxMessage(1<<10), tcproom.WithSlowMembers(tcproom.Block(10*time.Hour)))
		r.say("a1", "a2")
		require.Equal(t, []string{"a1"}, r.hears(t, r.bob, 1))
		n := fill(t, r, large)
		r.hears(t, r.bob, n)
		r.visit(t, `{"type":"hello","name":"ada"}`)
		r.say(large, "b2")
		time.Sleep(time.Minute) // that is held back
		r.visit(t, `{"type":"hello","name":"ada"}`)
		r.say("c1", "c2")
		synctest.Wait()
		close(release)
		synctest.Wait()
		go drain(r.eve)
		time.Sleep(6 * time.Hour)
		var order []string
		for body := ""; body != "b2"; {
			if body = brief(next(t, r.bob)); strings.HasPrefix(body, "c") {
				order = append(order, body)
			}
		}
		require.Equal(t, []string{"c1", "c posts", "c2"}, order)
		r.end(t)
	})
}
