package tcproom_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

const (
	pingLine = `{"type":"ping"}` + "\n"
	pongLine = `{"type":"pong"}` + "\n"
)

// pinger is a JSON member by hand, whose lines a goroutine collects.
type pinger struct {
	net.Conn
	served <-chan error
	lines  chan string
}

func newPinger(t *testing.T, room *tcproom.Room, hello string) *pinger {
	nc, served := pipe(room)
	p := &pinger{nc, served, make(chan string, 1000)}
	go func() {
		defer close(p.lines)
		for r := bufio.NewReader(nc); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			p.lines <- line
		}
	}()
	fmt.Fprintln(p, hello)
	require.Contains(t, <-p.lines, `"welcome"`)
	return p
}

func (p *pinger) say(line string) { io.WriteString(p, line) }

const askForPings = `{"type":"hello","ping":true}`

// jittered fails the test unless got is within a fifth of want.
func jittered(t *testing.T, want, got time.Duration) {
	t.Helper()
	require.GreaterOrEqual(t, got, want*4/5)
	require.LessOrEqual(t, got, want*6/5)
}

// TestF30HeartbeatEndsTheSilent: a ping after the period, the end after as long again.
func TestF30HeartbeatEndsTheSilent(t *testing.T) {
	var periods []time.Duration
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(10*time.Second))
			start := time.Now()
			p := newPinger(t, room, askForPings)
			require.Equal(t, pingLine, <-p.lines)
			d := time.Since(start)
			jittered(t, 10*time.Second, d)
			require.Equal(t, `{"type":"goodbye","code":"idle-timeout","reason":"idle timeout: the peer sent nothing"}`+"\n", <-p.lines, "and no second ping")
			require.Equal(t, 2*d, time.Since(start))
			require.ErrorIs(t, <-p.served, errIdleTimeout)
			periods = append(periods, d)
			p.Close()
			require.NoError(t, room.Close())
		})
	}
	for _, d := range periods {
		if d != periods[0] {
			return
		}
	}
	t.Fatal("no jitter")
}

// TestF30AnyByteIsALifeSign: half a frame will do, and a message; and the
// pongs of a peer keep it for ever.
func TestF30AnyByteIsALifeSign(t *testing.T) {
	for _, answer := range []string{pongLine, " ", `{"type":"message","body":"hi"}` + "\n", pingLine} {
		synctest.Test(t, func(t *testing.T) {
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(10*time.Second))
			p := newPinger(t, room, askForPings)
			for range 10 {
				start := time.Now()
				require.Equal(t, pingLine, <-p.lines)
				jittered(t, 10*time.Second, time.Since(start))
				time.Sleep(time.Second)
				p.say(answer)
				if answer == pingLine {
					require.Equal(t, pongLine, <-p.lines)
				}
			}
			require.Equal(t, 1, room.Len())
			p.Close()
			<-p.served
			require.NoError(t, room.Close())
		})
	}
}

// TestHeartbeatsAreAskedFor: without the hello's wish, or the room's option, there are
// none.
func TestHeartbeatsAreAskedFor(t *testing.T) {
	for _, test := range []struct {
		name, hello string
		opts        []tcproom.RoomOption
	}{
		{name: "not asked for", hello: `{"type":"hello"}`, opts: []tcproom.RoomOption{tcproom.WithHeartbeat(time.Second)}},
		{name: "asked not to", hello: `{"type":"hello","ping":false}`, opts: []tcproom.RoomOption{tcproom.WithHeartbeat(time.Second)}},
		{name: "off", hello: askForPings, opts: nil},
		{name: "off by zero", hello: askForPings, opts: []tcproom.RoomOption{tcproom.WithHeartbeat(0)}},
		{name: "off by less", hello: askForPings, opts: []tcproom.RoomOption{tcproom.WithHeartbeat(-time.Second)}},
		{name: "so long", hello: askForPings, opts: []tcproom.RoomOption{tcproom.WithHeartbeat(1<<63 - 1)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := tcproom.New(append(test.opts, tcproom.WithCodec(tcproom.JSON{}))...)
				p := newPinger(t, room, test.hello)
				time.Sleep(time.Hour)
				synctest.Wait()
				require.Empty(t, p.lines)
				p.say(pingLine) // is answered all the same
				require.Equal(t, pongLine, <-p.lines)
				require.Zero(t, room.Stats().Messages)
				p.Close()
				require.NoError(t, <-p.served)
				require.NoError(t, room.Close())
			})
		})
	}
}

// TestHeartbeatAndIdleTimeout: whichever is first.
func TestHeartbeatAndIdleTimeout(t *testing.T) {
	for _, test := range []struct {
		idle  time.Duration
		pings int
	}{{idle: 5 * time.Second, pings: 0}, {idle: 14 * time.Second, pings: 1}} {
		synctest.Test(t, func(t *testing.T) {
			room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(10*time.Second), tcproom.WithIdleTimeout(test.idle))
			start := time.Now()
			p := newPinger(t, room, askForPings)
			require.ErrorIs(t, <-p.served, errIdleTimeout)
			require.Equal(t, test.idle, time.Since(start))
			for range test.pings {
				require.Equal(t, pingLine, <-p.lines)
			}
			require.Contains(t, <-p.lines, "goodbye")
			p.Close()
			require.NoError(t, room.Close())
		})
	}
}

// TestHeldBackIsNotIdle: while a hook or a limiter holds a member back, its clock stands
// still.
func TestHeldBackIsNotIdle(t *testing.T) {
	for _, test := range []struct {
		name string
		opt  func(*tcproom.Room) tcproom.RoomOption
	}{
		{name: "hook", opt: func(*tcproom.Room) tcproom.RoomOption {
			return tcproom.OnMessage(func(*tcproom.Member, []byte) ([]byte, error) { time.Sleep(time.Hour); return nil, nil })
		}},
		{name: "limiter", opt: func(*tcproom.Room) tcproom.RoomOption {
			return limited(waitFunc(func(context.Context, int) error { time.Sleep(time.Hour); return nil }))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var room *tcproom.Room
				room = tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(10*time.Second),
					tcproom.WithIdleTimeout(time.Minute), test.opt(room))
				p := newPinger(t, room, askForPings)
				time.Sleep(5 * time.Second)
				start := time.Now()
				p.say(`{"type":"message","body":"hi"}` + "\n")
				require.Equal(t, pingLine, <-p.lines)
				jittered(t, 10*time.Second, time.Since(start)-time.Hour)
				p.Close()
				<-p.served
				require.NoError(t, room.Close())
			})
		})
	}
}

// TestHeartbeatOfBothEnds: two of this library keep each other for an hour, in
// which nobody says anything, and the dialling end need not do more than read.
func TestHeartbeatOfBothEnds(t *testing.T) {
	for _, test := range []struct {
		name       string
		room, dial time.Duration
		hook       bool
	}{
		{name: "both", room: 30 * time.Second, dial: 30 * time.Second, hook: false},
		{name: "OnEvent", room: 30 * time.Second, dial: 40 * time.Second, hook: true},
		{name: "the room answers", room: 0, dial: 30 * time.Second, hook: false},
		{name: "the dialling end answers", room: 10 * time.Second, dial: time.Hour, hook: false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(test.room))
				opts := []tcproom.DialOption{tcproom.WithHeartbeat(test.dial)}
				heard := make(chan tcproom.Event, 100)
				if test.hook {
					opts = append(opts, tcproom.OnEvent(func(ev tcproom.Event) { heard <- ev }))
				}
				c, err := room.Join(t.Context(), tcproom.Identity{}, opts...)
				require.NoError(t, err)
				if !test.hook {
					go func() {
						for { // a reader that asks again and again does not begin its silence anew
							ctx, cancel := context.WithTimeout(context.Background(), time.Second)
							ev, err := c.Receive(ctx)
							cancel()
							if err == nil {
								heard <- ev
							} else if c.Err() != nil {
								return
							}
						}
					}()
				}
				require.Equal(t, tcproom.Welcome, (<-heard).Kind)
				time.Sleep(time.Hour)
				require.NoError(t, c.Err())
				require.Equal(t, 1, room.Len())
				require.Empty(t, heard, "pings are no events")
				room.Broadcast(t.Context(), []byte("good morning"))
				require.Equal(t, "good morning", string((<-heard).Body))
				require.NoError(t, c.Close())
				require.NoError(t, room.Close())
			})
		})
	}
}

// TestHeartbeatFindsADeadRoom: a dialling end pings too, however it reads.
func TestHeartbeatFindsADeadRoom(t *testing.T) {
	for _, poll := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			lines := make(chan string, 100)
			var last time.Time
			go func() {
				r := bufio.NewReader(there)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					last = time.Now()
					lines <- line
				}
			}()
			c := tcproom.NewConn(here, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(10*time.Second))
			require.Equal(t, askForPings+"\n", <-lines)
			go fmt.Fprintln(there, `{"type":"welcome","epoch":"E","seq":1,"id":"x","name":"ada","members":[],"total":1}`)
			ev, err := c.Receive(t.Context())
			require.NoError(t, err)
			require.Equal(t, tcproom.Welcome, ev.Kind)
			time.Sleep(time.Hour) // nobody reads: nobody waits
			synctest.Wait()
			require.Empty(t, lines)
			start := time.Now()
			for c.Err() == nil {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if poll > 0 {
					ctx, cancel = context.WithTimeout(ctx, poll)
				}
				_, err = c.Receive(ctx)
				cancel()
			}
			require.ErrorIs(t, err, errIdleTimeout)
			jittered(t, 20*time.Second, time.Since(start))
			require.Equal(t, pingLine, <-lines)
			require.Empty(t, lines)
			require.Equal(t, time.Since(start), 2*last.Sub(start))
			there.Close()
			c.Close()
		})
	}
}

// TestF30PingsKeepTheirPlace: a ping stands behind what was said before it, and
// is not skipped with it.
func TestF30PingsKeepTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithHeartbeat(10*time.Second), tcproom.WithMaxMessage(1024),
			tcproom.WithBacklog(1), tcproom.WithSlowMembers(tcproom.Skip), tcproom.WithWriteTimeout(time.Hour))
		nc, served := pipe(room)
		fmt.Fprintln(nc, askForPings)
		r := bufio.NewReader(nc)
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "welcome")
		_, err = room.Broadcast(t.Context(), []byte("early"))
		require.NoError(t, err)
		time.Sleep(13 * time.Second) // it has not read that, and its ping waits
		body := []byte(strings.Repeat("x", 1000))
		for range 2000 {
			_, err := room.Broadcast(t.Context(), body)
			require.NoError(t, err)
			synctest.Wait()
		}
		seen := ""
		go func() {
			synctest.Wait()
			_, err := room.Broadcast(context.Background(), []byte("newest"))
			if err != nil {
				t.Error(err)
			}
		}()
		for !strings.Contains(seen, "newest") {
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			for _, what := range []string{"early", "ping", "gap", "newest"} {
				if strings.Contains(line, what) {
					seen += " " + what
				}
			}
		}
		require.Equal(t, " early ping gap newest", seen, "what was skipped stood behind the ping")
		nc.Close()
		<-served
		require.NoError(t, room.Close())
	})
}

// TestF66PongsAreBounded: a peer that floods a room, or a dialling end, with pings and
// never reads has few answers waiting.
func TestF66PongsAreBounded(t *testing.T) {
	const flood = 20000
	countPongs := func(r io.Reader) (n int) {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "pong") {
				n++
			}
		}
		return n
	}
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}))
		nc, served := pipe(room)
		fmt.Fprintln(nc, askForPings)
		r := bufio.NewReader(nc)
		_, err := r.ReadString('\n')
		require.NoError(t, err)
		for range flood {
			io.WriteString(nc, pingLine)
		}
		go func() {
			synctest.Wait()
			only(room).Kick("flood")
		}()
		n := countPongs(r)
		require.Greater(t, n, 0)
		require.Less(t, n, 2*256/len(pongLine)+2)
		require.ErrorIs(t, <-served, tcproom.ErrKicked)
		nc.Close()
		require.NoError(t, room.Close())
	})
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		c := tcproom.NewConn(here, tcproom.WithCodec(tcproom.JSON{}), tcproom.OnEvent(func(tcproom.Event) {}))
		r := bufio.NewReader(there)
		_, err := r.ReadString('\n')
		require.NoError(t, err)
		for range flood {
			io.WriteString(there, pingLine)
		}
		go func() {
			synctest.Wait()
			c.Close()
			there.Close()
		}()
		n := countPongs(r)
		require.Greater(t, n, 0)
		require.Less(t, n, 2*256/len(pongLine)+2)
	})
}

// frozenConn is read by a process that does not run for a while, whenever a
// deadline has come: what its peer says then is there only afterwards.
type frozenConn struct {
	net.Conn
	frozen time.Duration
}

func (c *frozenConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) && c.frozen > 0 {
		time.Sleep(c.frozen)
		c.frozen = 0
	}
	return n, err
}

// TestF63FrozenProcessBlamesNobody: while this process did not run, a peer was
// neither asked for a sign of life nor, if it gave one, heard.
func TestF63FrozenProcessBlamesNobody(t *testing.T) {
	for _, opts := range [][]tcproom.RoomOption{
		{tcproom.WithHeartbeat(10 * time.Second)},
		{tcproom.WithIdleTimeout(10 * time.Second)},
		{tcproom.WithHeartbeat(7 * time.Second), tcproom.WithIdleTimeout(10 * time.Second)},
	} {
		synctest.Test(t, func(t *testing.T) {
			room := tcproom.New(append(opts, tcproom.WithCodec(tcproom.JSON{}))...)
			here, there := net.Pipe()
			served := make(chan error, 1)
			go func() { served <- room.ServeConn(&frozenConn{there, time.Hour}) }()
			go io.Copy(io.Discard, here)
			fmt.Fprintln(here, askForPings)
			synctest.Wait()
			said := make(chan error, 1)
			go func() { // as soon as the deadline has come, which is too late for the read that it ends
				time.Sleep(15 * time.Second)
				_, err := fmt.Fprintln(here, `{"type":"message","body":"hi"}`)
				said <- err
			}()
			require.NoError(t, <-said)
			synctest.Wait()
			require.Equal(t, 1, room.Len())
			require.ErrorIs(t, <-served, errIdleTimeout, "it says no more")
			here.Close()
			require.NoError(t, room.Close())
		})
	}
}

// TestIdleTimeoutBehindOtherBytes: where there is no room for a ping, the
// clock of the idle timeout runs on.
func TestIdleTimeoutBehindOtherBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithWriteTimeout(time.Hour),
			tcproom.WithHeartbeat(10*time.Second), tcproom.WithIdleTimeout(time.Minute))
		here, served := pipe(room)
		fmt.Fprintln(here, askForPings)
		r := bufio.NewReader(here)
		_, err := r.ReadString('\n')
		require.NoError(t, err)
		synctest.Wait()
		start := time.Now()
		for c := range room.Members() {
			for range 3 { // one that is being written, and those behind it
				require.NoError(t, c.Send(t.Context(), bytes.Repeat([]byte("x"), 20<<10)))
				synctest.Wait()
			}
		}
		for room.Len() == 1 && time.Since(start) < time.Hour {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		require.Equal(t, time.Minute, time.Since(start))
		here.Close()
		require.ErrorIs(t, <-served, errIdleTimeout)
		require.NoError(t, room.Close())
	})
}
