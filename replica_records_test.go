package tcproom_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/internal/fold"
	"example.com/tcproom/roomtest"
)

// What a room makes of records that it would not write itself: those of a later version,
// of something that is no room, and of an engine whose clock steps back.

// A laterNode writes records by hand, as a node of a later version does.
type laterNode struct {
	t   *testing.T
	log tcproom.Log
	h   fold.Header
}

// newLaterNode returns one that believes in the epoch of the room of like's record.
func newLaterNode(t *testing.T, log tcproom.Log, like []byte) *laterNode {
	t.Helper()
	h, _, _, err := fold.ParseHeader(like)
	require.NoError(t, err)
	return &laterNode{t: t, log: log, h: fold.Header{Node: fold.Node{7}, Batch: 1 << 48, Epoch: h.Epoch}}
}

// write stores a record, and returns the seq of its first entry.
func (n *laterNode) write(entries ...*fold.Entry) (seq uint64) {
	n.t.Helper()
	n.h.Batch++
	rec := fold.AppendHeader(nil, n.h, len(entries))
	for _, e := range entries {
		rec = fold.AppendEntry(rec, e)
	}
	return n.raw(rec)
}

func (n *laterNode) raw(rec []byte) (seq uint64) {
	n.t.Helper()
	n.h.Batch++
	pos, err := n.log.Append(n.t.Context(), fmt.Sprint("later ", n.h.Batch), rec)
	require.NoError(n.t, err)
	return pos * fold.MaxEntries
}

// lastRecord has r say something, and returns the record of that.
func lastRecord(t *testing.T, r *tcproom.Room, l *bentLog) (rec []byte) {
	t.Helper()
	l.bend(func(_ context.Context, _ string, b []byte) (uint64, error, bool) {
		l.bend(nil)
		rec = append(rec, b...)
		return 0, nil, false
	})
	_, err := r.Broadcast(t.Context(), []byte("known before"))
	require.NoError(t, err)
	return rec
}

// messages returns the bodies of what r has ordered, with their places.
func messages(r *tcproom.Room) (list []string) {
	for _, ev := range r.Past(0, 0).Events {
		list = append(list, fmt.Sprint(ev.Seq, " ", string(ev.Body)))
	}
	return list
}

// TestUnknownEntriesArePassedOver: what a later version writes and this one need not know
// has a place, in which nothing happens. It is counted.
func TestUnknownEntriesArePassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := roomtest.NewLog()
		l0, _ := attach(t, engine)
		l1, _ := attach(t, engine)
		var told logLines
		r0, r1 := openRoom(t, l0, tcproom.WithLogger(told.Logger())), openRoom(t, l1)
		readyIn(t, r0, time.Minute)
		readyIn(t, r1, time.Minute)
		later := newLaterNode(t, l1, lastRecord(t, r0, l0))
		body := []byte("what it means is not known")
		before := messages(r0)
		first := later.write(&fold.Entry{Kind: fold.Open}, &fold.Entry{Kind: 100, Body: body}, &fold.Entry{Kind: fold.Message, Body: []byte("known")}, &fold.Entry{Kind: 127})
		synctest.Wait()
		want := append(before, fmt.Sprint(first+2, " known"))
		require.Equal(t, want, messages(r0))
		require.Equal(t, want, messages(r1))
		require.Len(t, told.With("does not know"), 1)
		require.Len(t, told.With("entries=2"), 1)
		later.write(&fold.Entry{Kind: 50, Body: body})
		synctest.Wait()
		require.Len(t, told.With("entries=3"), 1)
		seq, err := r1.Broadcast(t.Context(), []byte("on"))
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, seq, r0.Past(0, 0).Seq)
		// One that begins with a checkpoint that was made of them.
		require.NoError(t, r1.Shutdown(t.Context()))
		l2, _ := attach(t, engine)
		r2 := openRoom(t, l2)
		readyIn(t, r2, time.Minute)
		seq, err = r2.Broadcast(t.Context(), []byte("and on"))
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, seq, r0.Past(0, 0).Seq)
	})
}

// TestUnreadableRecordsEndTheRoom: what a room cannot pass over ends it at every node, with
// an error that says what to do. Nothing of the record is shown.
func TestUnreadableRecordsEndTheRoom(t *testing.T) {
	const upgrade, strange = "upgrade this process to the version that writes it", "something else than a room has written it, or it was damaged"
	said := &fold.Entry{Kind: fold.Message, Body: []byte("not to be shown")}
	for _, tt := range []struct {
		name  string
		write func(n *laterNode)
		want  string
	}{
		{"kind 128", func(n *laterNode) { n.write(&fold.Entry{Kind: fold.Open}, said, &fold.Entry{Kind: 128}) }, upgrade},
		{"kind 255 of a node that is not open", func(n *laterNode) { n.write(&fold.Entry{Kind: 255}) }, upgrade},
		{"another format", func(n *laterNode) { n.raw([]byte("\xb2and all that follows is of another version")) }, upgrade},
		{"flags of the record", func(n *laterNode) {
			rec := fold.AppendEntry(fold.AppendHeader(nil, n.h, 1), said)
			rec[1] = 1
			n.raw(rec)
		}, upgrade},
		{"text", func(n *laterNode) { n.raw([]byte("hello")) }, upgrade},
		{"nothing", func(n *laterNode) { n.raw([]byte{}) }, strange},
		{"cut off", func(n *laterNode) {
			rec := fold.AppendEntry(fold.AppendEntry(fold.AppendHeader(nil, n.h, 2), &fold.Entry{Kind: fold.Open}), said)
			n.raw(rec[:len(rec)-1])
		}, strange},
		{"one entry too many", func(n *laterNode) {
			rec := fold.AppendEntry(fold.AppendHeader(nil, n.h, 1), &fold.Entry{Kind: fold.Open})
			n.raw(fold.AppendEntry(rec, said))
		}, strange},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := roomtest.NewLog()
				var told [3]logLines
				var rooms []*tcproom.Room
				l0, _ := attach(t, engine)
				open := func(l tcproom.Log) *tcproom.Room {
					r := openRoom(t, l, tcproom.WithLogger(told[len(rooms)].Logger()))
					rooms = append(rooms, r)
					return r
				}
				l1, _ := attach(t, engine)
				r0, r1 := open(l0), open(l1)
				readyIn(t, r0, time.Minute)
				readyIn(t, r1, time.Minute)
				c, err := r0.Join(t.Context(), tcproom.Identity{Name: "ada"})
				require.NoError(t, err)
				tt.write(newLaterNode(t, l1, lastRecord(t, r0, l0)))
				synctest.Wait()
				l2, _ := attach(t, engine)
				open(l2) // it comes to the same record
				for i, r := range rooms {
					<-r.Done()
					require.ErrorIs(t, r.Ready(t.Context()), tcproom.ErrRoomClosed)
					lines := told[i].With("its log has a record that this version cannot read")
					require.Len(t, lines, 1)
					require.Contains(t, lines[0], "level=ERROR")
					require.Contains(t, lines[0], tt.want)
					require.NotContains(t, fmt.Sprint(messages(r)), "not to be shown")
				}
				for err == nil {
					_, err = c.Receive(t.Context())
				}
				require.Error(t, err)
				time.Sleep(time.Minute) // until writers have gone
			})
		})
	}
}

// A lastingConn is not closed, and does not say of whom it is, before a test allows it.
type lastingConn struct {
	net.Conn
	closes, says chan struct{}
	asked        atomic.Int32 // calls of String that wait
}

func (c *lastingConn) Close() error {
	<-c.closes
	return c.Conn.Close()
}

func (c *lastingConn) RemoteAddr() net.Addr { return c }
func (c *lastingConn) Network() string      { return "lasting" }

func (c *lastingConn) String() string {
	c.asked.Add(1)
	defer c.asked.Add(-1)
	<-c.says
	return "lasting"
}

// TestUnreadableRecordLeavesNothing: when a room that has ended because of its log is done,
// nothing is left of what has ended it, although that took long. So it is with a hub.
func TestUnreadableRecordLeavesNothing(t *testing.T) {
	quiet := tcproom.WithLogger(slog.New(slog.DiscardHandler))
	for _, of := range []struct {
		name, room string
		make       func(b tcproom.Backplane, l tcproom.Log) *tcproom.Room
	}{
		{"a room", "room", func(_ tcproom.Backplane, l tcproom.Log) *tcproom.Room {
			return tcproom.New(tcproom.WithLog(l), tcproom.WithCodec(tcproom.JSON{}), quiet)
		}},
		{"a hub", "*", func(b tcproom.Backplane, _ tcproom.Log) *tcproom.Room {
			return tcproom.NewHub(tcproom.WithBackplane(b), tcproom.WithCodec(tcproom.JSON{}), quiet).All()
		}},
	} {
		inBubble(of.name, t, func(t *testing.T) {
			engine := roomtest.NewLog()
			l, b := attach(t, engine)
			r := of.make(b, l)
			readyIn(t, r, time.Minute)
			here, there := net.Pipe()
			nc := &lastingConn{Conn: there, closes: make(chan struct{}), says: make(chan struct{})}
			serving := make(chan struct{})
			go func() {
				defer close(serving)
				r.ServeConn(nc)
			}()
			time.Sleep(time.Second)
			other, err := b.Open(t.Context(), of.room)
			require.NoError(t, err)
			_, err = other.Append(t.Context(), "later", []byte("hello"))
			require.NoError(t, err)
			time.Sleep(time.Minute)
			close(nc.closes)
			<-r.Done()
			left := nc.asked.Load()
			close(nc.says)
			<-serving
			here.Close()
			require.Zero(t, left)
		})
	}
}

// A clockLog is a log of an engine whose clock a test sets.
type clockLog struct {
	tcproom.Log
	ahead *atomic.Int64
}

func (l *clockLog) Tail(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
	return l.Log.Tail(ctx, from, func(rec tcproom.Record) error {
		rec.Time = rec.Time.Add(time.Duration(l.ahead.Load()))
		return fn(rec)
	})
}

// TestTimeOfRecordsFalls: when the engine's clock steps back, the time of events stands
// still until it is there again, and graces are not cut short.
func TestTimeOfRecordsFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const back, grace = time.Hour, time.Minute
		engine := roomtest.NewLog()
		var ahead atomic.Int64
		ahead.Store(int64(back))
		l0, _ := attach(t, engine)
		l1, _ := attach(t, engine)
		sessions := tcproom.WithSessions(tcproom.Sessions{Grace: grace})
		r0 := openRoom(t, &clockLog{l0, &ahead}, sessions)
		r1 := openRoom(t, &clockLog{l1, &ahead}, sessions)
		readyIn(t, r0, time.Minute)
		readyIn(t, r1, time.Minute)
		say := func(r *tcproom.Room) time.Time {
			_, err := r.Broadcast(t.Context(), []byte("x"))
			require.NoError(t, err)
			synctest.Wait()
			p0, p1 := r0.Past(0, 0).Events, r1.Past(0, 0).Events
			require.Equal(t, p0[len(p0)-1].Time.UnixNano(), p1[len(p1)-1].Time.UnixNano())
			return p0[len(p0)-1].Time
		}
		first := say(r0)
		ahead.Store(0)
		time.Sleep(time.Second)
		require.Equal(t, first, say(r1))
		require.NoError(t, r0.Ready(t.Context()))
		time.Sleep(back / 2)
		require.Equal(t, first, say(r0))
		// What lasts for a time by the log's clock.
		var nets roomtest.Network
		ln, err := nets.Listen("")
		require.NoError(t, err)
		serve(t, r0, ln)
		nc, err := nets.Dial(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		c := tcproom.NewConn(nc, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithName("ada"))
		_, err = c.Receive(t.Context())
		require.NoError(t, err)
		nc.(*roomtest.Conn).Reset()
		time.Sleep(grace - time.Second)
		require.Equal(t, 1, r1.Len())
		time.Sleep(back)
		require.Zero(t, r1.Len())
		require.True(t, say(r0).After(first))
	})
}
