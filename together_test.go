package tcproom_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// An audience reads all that a member is sent, and keeps it in few words.
type audience struct {
	conn *tcproom.Conn
	name string

	mu  sync.Mutex
	got []string
}

// readAll has all of conn's events read, until its end.
func readAll(conn *tcproom.Conn, name string) *audience {
	rd := &audience{conn: conn, name: name}
	go func() {
		for ev, err := range conn.Events(context.Background()) {
			word := fmt.Sprint("end ", errors.Is(err, tcproom.ErrKicked))
			if err == nil {
				word = fullWord(ev)
			}
			rd.mu.Lock()
			rd.got = append(rd.got, word)
			rd.mu.Unlock()
		}
	}()
	return rd
}

// fullWord is inShort, with what a Welcome says.
func fullWord(ev tcproom.Event) string {
	if ev.Kind == tcproom.Direct {
		return "direct " + string(ev.Body)
	}
	switch ev.Kind {
	case tcproom.Join, tcproom.Leave:
		return strings.ToLower(inShort(ev))
	case tcproom.Welcome:
	default:
		return inShort(ev)
	}
	var names []string
	for _, m := range ev.Welcome.Members {
		names = append(names, m.Name)
	}
	return fmt.Sprintf("welcome %d %s of %d: %s", ev.Seq, ev.From.Name, ev.Welcome.Total, strings.Join(names, " "))
}

func (rd *audience) now() []string {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return slices.Clone(rd.got)
}

// reads joins as the member of that name, and reads all from then on.
func reads(t testing.TB, room *tcproom.Room, name string, opts ...tcproom.DialOption) *audience {
	t.Helper()
	c, err := room.Join(t.Context(), tcproom.Identity{Name: name}, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return readAll(c, name)
}

// member is it in the room.
func (rd *audience) member(t testing.TB, room *tcproom.Room) *tcproom.Member {
	t.Helper()
	for m := range room.Members() {
		if m.Name() == rd.name {
			return m
		}
	}
	t.Fatalf("no member is called %s", rd.name)
	return nil
}

const together = time.Second

func TestNoticesTogether(t *testing.T) {
	inBubble("after a while", t, togetherInTime)
	inBubble("before a message", t, togetherBeforeAMessage)
	inBubble("the welcome counts what waits", t, togetherAndWelcome)
	inBubble("who leaves is not told", t, togetherAndLeave)
	inBubble("before the room stops", t, togetherAndStop)
	inBubble("a stop does not wait for them", t, togetherAndClose)
	inBubble("not more than so many", t, togetherUpToANumber)
	inBubble("not more than so many bytes", t, togetherUpToSoManyBytes)
	inBubble("before a direct message of another member", t, togetherAndDirect)
	inBubble("with OnJoined", t, togetherAndOnJoined)
	inBubble("before a resume", t, togetherAndResume)
	inBubble("in a hub", t, togetherInAHub)
	inBubble("before a room of a hub goes", t, togetherAndRemove)
}

func togetherInTime(t *testing.T) {
	room := jsonRoom(tcproom.WithNoticesTogether(together))
	defer room.Close()
	ada := reads(t, room, "ada")
	time.Sleep(10 * together)
	bob := reads(t, room, "bob")
	time.Sleep(together - time.Millisecond)
	reads(t, room, "cy")
	synctest.Wait()
	require.Equal(t, 3, room.Len())
	require.EqualValues(t, 3, room.Stats().Seq, "they have their places")
	require.Len(t, ada.now(), 1)
	require.Len(t, bob.now(), 1)
	time.Sleep(time.Millisecond)
	synctest.Wait()
	require.Equal(t, []string{"welcome 1 ada of 1: ada", "2 join bob", "3 join cy"}, ada.now())
	require.Equal(t, []string{"welcome 2 bob of 2: ada bob", "3 join cy"}, bob.now())
	dan := reads(t, room, "dan") // a second list, with a time of its own
	time.Sleep(together - time.Millisecond)
	synctest.Wait()
	require.Len(t, ada.now(), 3)
	dan.conn.Close()
	time.Sleep(time.Millisecond)
	synctest.Wait()
	require.Equal(t, []string{"4 join dan", "5 leave dan"}, ada.now()[3:])
}

func togetherBeforeAMessage(t *testing.T) {
	room := jsonRoom(tcproom.WithNoticesTogether(time.Hour))
	defer room.Close()
	here, there := net.Pipe()
	counted := &countedConn{Conn: there}
	go room.ServeConn(counted)
	defer here.Close()
	v := newVisit(t, here)
	require.Equal(t, "welcome", v.next()["type"])
	bob := reads(t, room, "bob")
	reads(t, room, "cy")
	synctest.Wait()
	before := counted.writes.Load()
	go func() { bob.conn.Send(context.Background(), []byte("hi")) }()
	require.Equal(t, "2 join bob", v.short())
	require.Equal(t, "3 join cy", v.short())
	require.Equal(t, "4 bob: hi", v.short())
	synctest.Wait()
	require.EqualValues(t, 1, counted.writes.Load()-before, "all in one write")
	require.Equal(t, []string{"welcome 2 bob of 2: guest-1 bob", "3 join cy"}, bob.now())
	_, err := room.Broadcast(t.Context(), []byte("at once"))
	require.NoError(t, err)
	require.Equal(t, "5 <nil>: at once", v.short())
}

// countedConn counts what the room writes to it.
type countedConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func togetherAndWelcome(t *testing.T) {
	room := jsonRoom(tcproom.WithNoticesTogether(time.Hour), tcproom.WithHistory(tcproom.History{}))
	defer room.Close()
	ada := reads(t, room, "ada")
	announce(t, room, "old")
	bob := reads(t, room, "bob")
	bob.conn.Close()
	synctest.Wait()
	cy := reads(t, room, "cy", tcproom.WithFraming(tcproom.Length{}))
	dan := reads(t, room, "dan")
	require.NoError(t, cy.member(t, room).Send(t.Context(), []byte("psst")))
	synctest.Wait()
	require.Equal(t, []string{"welcome 1 ada of 1: ada", "2 old"}, ada.now())
	require.Equal(t, []string{"welcome 5 cy of 2: ada cy", "history 2 old", "direct psst"}, cy.now())
	announce(t, room, "new")
	synctest.Wait()
	require.Equal(t, []string{"3 join bob", "4 leave bob", "5 join cy", "6 join dan", "7 new"}, ada.now()[2:])
	require.Equal(t, []string{"6 join dan", "7 new"}, cy.now()[3:])
	require.Equal(t, []string{"welcome 6 dan of 3: ada cy dan", "history 2 old", "7 new"}, dan.now())
}

func togetherAndLeave(t *testing.T) {
	room := jsonRoom(tcproom.WithNoticesTogether(time.Hour))
	defer room.Close()
	ada, bob := reads(t, room, "ada"), reads(t, room, "bob")
	cy := reads(t, room, "cy")
	require.NoError(t, bob.member(t, room).Kick("out"))
	require.NoError(t, cy.member(t, room).Kick("out"))
	synctest.Wait()
	require.Equal(t, []string{"welcome 2 bob of 2: ada bob", "goodbye kicked", "end true"}, bob.now())
	require.Equal(t, []string{"welcome 3 cy of 3: ada bob cy", "goodbye kicked", "end true"}, cy.now())
	announce(t, room, "now")
	synctest.Wait()
	require.Equal(t, []string{"welcome 1 ada of 1: ada", "2 join bob", "3 join cy", "4 leave bob", "5 leave cy", "6 now"}, ada.now())
}

func togetherAndStop(t *testing.T) {
	room := jsonRoom(tcproom.WithNoticesTogether(time.Hour))
	ada := reads(t, room, "ada")
	bob := reads(t, room, "bob")
	reads(t, room, "cy")
	began := time.Now()
	require.NoError(t, room.Shutdown(t.Context()))
	require.Zero(t, time.Since(began))
	synctest.Wait()
	require.Equal(t, []string{"welcome 1 ada of 1: ada", "2 join bob", "3 join cy", "goodbye closed"}, ada.now()[:4])
	require.Equal(t, []string{"welcome 2 bob of 2: ada bob", "3 join cy", "goodbye closed"}, bob.now()[:3])
}

func togetherAndClose(t *testing.T) {
	room := jsonRoom(tcproom.WithNoticesTogether(time.Hour))
	reads(t, room, "ada")
	reads(t, room, "bob")
	began := time.Now()
	require.NoError(t, room.Close())
	<-room.Done()
	require.Zero(t, time.Since(began))
}

func togetherUpToANumber(t *testing.T) {
	room := tcproom.New(tcproom.WithNoticesTogether(time.Hour))
	defer room.Close()
	ada := reads(t, room, "ada")
	for i := range 511 { // a join and a leave each, and ada's
		c, err := room.Join(t.Context(), tcproom.Identity{Name: fmt.Sprint("n", i)})
		require.NoError(t, err)
		c.Close()
		synctest.Wait()
	}
	bob := reads(t, room, "bob")
	synctest.Wait()
	require.Zero(t, len(ada.now()), "1,024 wait")
	require.NoError(t, bob.member(t, room).Kick(""))
	synctest.Wait()
	require.Len(t, ada.now(), 1023, "all but its own, and the last")
	announce(t, room, "now")
	synctest.Wait()
	require.Equal(t, []string{"0 join bob", "0 leave bob", "0 now"}, ada.now()[1022:])
	require.NotContains(t, strings.Join(bob.now(), "\n"), "bob")
}

// A member whose own leave is one too many is not told of it.
func togetherUpToSoManyBytes(t *testing.T) {
	const most = 40
	seen := 0
	for n := 1; n < most; n++ {
		room := tcproom.New(tcproom.WithNoticesTogether(time.Hour), tcproom.WithMaxMessage(1), tcproom.WithBacklog(1))
		ada := reads(t, room, "ada")
		last := ada
		for i := range n {
			last = reads(t, room, fmt.Sprint("n", i))
		}
		synctest.Wait()
		waited := len(ada.now())
		require.NoError(t, last.member(t, room).Kick(""))
		synctest.Wait()
		if len(ada.now()) > waited {
			require.Len(t, ada.now(), waited+n-waited, "all but the leave")
			seen++
		}
		for _, word := range last.now() {
			require.NotContains(t, word, "n"+fmt.Sprint(n-1))
		}
		room.Close()
		<-room.Done()
	}
	require.NotZero(t, seen)
	require.Less(t, seen, most/2)
}

func togetherAndDirect(t *testing.T) {
	room := jsonRoom(tcproom.WithNoticesTogether(time.Hour))
	defer room.Close()
	ada, bob := reads(t, room, "ada"), reads(t, room, "bob")
	m := ada.member(t, room)
	require.NoError(t, m.Send(t.Context(), []byte("from the room")))
	synctest.Wait()
	require.Equal(t, []string{"direct from the room"}, ada.now()[1:])
	require.NoError(t, m.SendFrom(t.Context(), bob.member(t, room), []byte("from bob")))
	synctest.Wait()
	require.Equal(t, []string{"2 join bob", "direct from bob"}, ada.now()[2:])
}

func togetherAndOnJoined(t *testing.T) {
	let := make(chan struct{})
	room := jsonRoom(tcproom.WithNoticesTogether(time.Hour), tcproom.OnJoined(func(m *tcproom.Member, seq uint64) {
		if m.Name() == "cy" {
			<-let
		}
		m.Send(context.Background(), fmt.Appendf(nil, "state at %d", seq))
	}))
	defer room.Close()
	reads(t, room, "ada")
	reads(t, room, "bob")
	cy := reads(t, room, "cy")
	reads(t, room, "dan")
	synctest.Wait()
	announce(t, room, "now")
	synctest.Wait()
	require.Equal(t, []string{"welcome 3 cy of 3: ada bob cy"}, cy.now())
	close(let)
	synctest.Wait()
	require.Equal(t, []string{"direct state at 3", "4 join dan", "5 now"}, cy.now()[1:])
}

func togetherAndResume(t *testing.T) {
	srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour}, tcproom.WithNoticesTogether(time.Hour))
	ada := visits(t, srv, object{"name": "ada"})
	w := ada.welcomed("joined")
	bob := visits(t, srv, object{"name": "bob"})
	bob.welcomed("joined")
	announce(t, srv.Room, "one")
	require.Equal(t, "2 join bob", ada.short())
	require.Equal(t, "3 <nil>: one", ada.short())
	require.Equal(t, "3 <nil>: one", bob.short())
	ada.nc.Close()
	synctest.Wait()
	cy := visits(t, srv, object{"name": "cy"})
	cy.welcomed("joined")
	ada = visits(t, srv, resume(w, 3))
	w2 := ada.welcomed("resumed")
	require.EqualValues(t, 4, w2["seq"])
	require.Equal(t, "4 join cy", ada.short(), "once, as what was missed")
	require.Equal(t, "4 join cy", bob.short(), "with the resume")
	announce(t, srv.Room, "two")
	for _, v := range []*visit{ada, bob, cy} {
		require.Equal(t, "5 <nil>: two", v.short())
	}
}

func togetherInAHub(t *testing.T) {
	h := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNoticesTogether(together))
	defer h.Close()
	enter := func(room, name string) *audience {
		c, err := h.Join(t.Context(), room, tcproom.Identity{Name: name})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return readAll(c, name)
	}
	ada, bob := enter("a", "ada"), enter("b", "bob")
	cy := enter("a", "cy")
	synctest.Wait()
	a, _ := h.Lookup("a")
	_, err := h.Move(t.Context(), cy.member(t, a), "b")
	require.NoError(t, err)
	synctest.Wait()
	require.Equal(t, []string{"welcome 1 ada of 1: ada"}, ada.now())
	require.Equal(t, []string{"welcome 1 bob of 1: bob"}, bob.now())
	require.Equal(t, []string{"welcome 2 cy of 2: ada cy", "welcome 2 cy of 2: bob cy"}, cy.now())
	time.Sleep(together)
	synctest.Wait()
	require.Equal(t, []string{"2 join cy", "3 leave cy"}, ada.now()[1:])
	require.Equal(t, []string{"2 join cy"}, bob.now()[1:])
	require.Len(t, cy.now(), 2)
	enter("a", "dan")
	enter("b", "eve")
	began := time.Now()
	require.NoError(t, h.Shutdown(t.Context()))
	require.Zero(t, time.Since(began))
	synctest.Wait()
	require.Equal(t, "4 join dan", ada.now()[3])
	require.Equal(t, "3 join eve", cy.now()[2])
}

func togetherAndRemove(t *testing.T) {
	h := tcproom.NewHub(tcproom.WithCodec(tcproom.JSON{}), tcproom.WithNoticesTogether(time.Hour), tcproom.WithRoomLinger(-1))
	defer h.Close()
	ada, err := h.Join(t.Context(), "a", tcproom.Identity{Name: "ada"})
	require.NoError(t, err)
	defer ada.Close()
	bob, err := h.Join(t.Context(), "a", tcproom.Identity{Name: "bob"})
	require.NoError(t, err)
	defer bob.Close()
	rd := readAll(ada, "ada")
	readAll(bob, "bob")
	require.NoError(t, h.Remove("a", "over"))
	synctest.Wait()
	require.Equal(t, []string{"welcome 1 ada of 1: ada", "2 join bob", "goodbye removed"}, rd.now()[:3])
	cy, err := h.Join(t.Context(), "b", tcproom.Identity{Name: "cy"})
	require.NoError(t, err)
	defer cy.Close()
	readAll(cy, "cy")
	b, ok := h.Lookup("b")
	require.True(t, ok)
	cy.Close() // and the room goes with what waits for nobody
	began := time.Now()
	<-b.Done()
	require.Less(t, time.Since(began), time.Minute)
	require.NoError(t, h.Close())
	<-h.Done()
	require.Less(t, time.Since(began), time.Minute)
}

// What members receive is the same, whether notices are told at once or together.
func TestNoticesTogetherChangeNoStream(t *testing.T) {
	seeds := uint64(times(30, 1000))
	if raceEnabled {
		seeds /= 3
	}
	for seed := range seeds {
		inBubble(fmt.Sprint("seed ", seed), t, func(t *testing.T) {
			atOnce, _, _ := livesOf(t, seed, 0)
			later, gone, waited := livesOf(t, seed, together)
			require.Len(t, later, len(atOnce))
			for name, want := range atOnce {
				got := later[name]
				if len(got) < len(want) { // it left before it was told: of notices alone
					tail := 0
					for tail < len(got) && (strings.HasPrefix(got[len(got)-1-tail], "goodbye") || strings.HasPrefix(got[len(got)-1-tail], "end")) {
						tail++
					}
					cut := len(got) - tail
					untold := want[cut : len(want)-tail]
					for _, word := range untold {
						require.Regexp(t, `^\d+ (join|leave) `, word, name)
					}
					want = slices.Concat(want[:cut], want[len(want)-tail:])
					require.True(t, gone[name], "%s, which stays, lacks %v", name, untold)
				}
				require.Equal(t, want, got, name)
			}
			require.Positive(t, waited)
		})
	}
}

// livesOf lets members come, go and speak at random, and returns what each received, and
// how long the first lacked something.
func livesOf(t *testing.T, seed uint64, d time.Duration) (streams map[string][]string, gone map[string]bool, waited int) {
	gone = make(map[string]bool)
	rnd := rand.New(rand.NewPCG(seed, 3))
	room := jsonRoom(tcproom.WithNoticesTogether(d), tcproom.WithHistory(tcproom.History{Messages: 3}))
	readers := map[string]*audience{"first": reads(t, room, "first")}
	var here []string
	lacks := func() bool {
		got := readers["first"].now()
		return !strings.HasPrefix(got[len(got)-1], fmt.Sprint(room.Stats().Seq, " ")) && room.Stats().Seq > 1
	}
	for step := range 120 {
		switch kind := rnd.IntN(10); {
		case kind < 4:
			name := fmt.Sprint("m", step)
			var opts []tcproom.DialOption
			if rnd.IntN(2) == 0 {
				opts = append(opts, tcproom.WithFraming(tcproom.Length{}))
			}
			readers[name] = reads(t, room, name, opts...)
			here = append(here, name)
		case kind < 7 && len(here) > 0:
			i := rnd.IntN(len(here))
			rd := readers[here[i]]
			gone[rd.name] = true
			here = slices.Delete(here, i, i+1)
			if rnd.IntN(2) == 0 {
				require.NoError(t, rd.member(t, room).Kick("out"))
			} else {
				rd.conn.Close()
			}
		case kind == 7:
			announce(t, room, "step %d", step)
		case kind == 8 && len(here) > 0:
			require.NoError(t, readers[here[rnd.IntN(len(here))]].conn.Send(t.Context(), fmt.Appendf(nil, "step %d", step)))
		default:
			time.Sleep(time.Duration(rnd.Int64N(int64(2 * together))))
		}
		synctest.Wait()
		if lacks() {
			waited++
		}
	}
	time.Sleep(together)
	synctest.Wait()
	require.False(t, lacks())
	streams = make(map[string][]string)
	for name, rd := range readers {
		streams[name] = rd.now()
	}
	for _, rd := range readers {
		rd.conn.Close()
	}
	room.Close()
	<-room.Done()
	if d == 0 {
		require.Zero(t, waited)
	}
	return streams, gone, waited
}

// A storm of joins and leaves is a few writes for each member, and not one for each.
func TestNoticesTogetherInAStorm(t *testing.T) {
	writes := func(d time.Duration) (writes int64, lines int) {
		synctest.Test(t, func(t *testing.T) {
			room := tcproom.New(tcproom.WithNoticesTogether(d))
			here, there := net.Pipe()
			counted := &countedConn{Conn: there}
			served := make(chan error, 1)
			go func() { served <- room.ServeConn(counted) }()
			synctest.Wait()
			read := make(chan int)
			go func() {
				b, _ := io.ReadAll(here)
				read <- strings.Count(string(b), "\n")
			}()
			for i := range 500 {
				c, err := room.Join(t.Context(), tcproom.Identity{Name: fmt.Sprint("n", i)})
				require.NoError(t, err)
				time.Sleep(5 * time.Millisecond)
				c.Close()
				synctest.Wait()
				time.Sleep(5 * time.Millisecond)
			}
			time.Sleep(together)
			writes = counted.writes.Load()
			room.Close()
			<-served
			lines = <-read
			here.Close()
		})
		return writes, lines
	}
	const lasts = 5 * time.Second
	n, lines := writes(0)
	require.Equal(t, 1000, lines)
	require.EqualValues(t, 1000, n)
	n, lines = writes(250 * time.Millisecond)
	require.Equal(t, 1000, lines)
	require.LessOrEqual(t, n, int64(lasts/(250*time.Millisecond)+1))
	require.GreaterOrEqual(t, n, int64(lasts/(250*time.Millisecond)/2))
}

// What is told because no more can wait is written at once, over sockets too.
func TestNoticesTogetherAreWrittenWhenTold(t *testing.T) {
	room := tcproom.New(tcproom.WithNoticesTogether(time.Hour), tcproom.WithMaxMessage(1), tcproom.WithBacklog(1))
	addr := serveTCP(t, room)
	observer := dialRaw(t, addr)
	waitLen(t, room, 1)
	for i := range 100 {
		dialRaw(t, addr)
		waitLen(t, room, i+2)
	}
	require.NoError(t, observer.SetReadDeadline(time.Now().Add(within)))
	line, err := bufio.NewReader(observer).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "* guest-2 joined\n", line)
}
