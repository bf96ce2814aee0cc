package tcproom_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
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

// hubRequests are requests of each kind that only a hub understands, and the room that
// the answer of a room of New names.
var hubRequests = []struct {
	request object
	room    any
}{
	{object{"type": "enter", "room": "kitchen", "history": 3}, "kitchen"},
	{object{"type": "leave", "room": "kitchen"}, "kitchen"},
	{object{"type": "leave"}, nil},
	{object{"type": "move", "room": "lobby", "to": "attic"}, "attic"},
	{object{"type": "rooms", "prefix": "k", "limit": 5}, nil},
	{object{"type": "members", "room": "*", "after": "x-1"}, "*"},
	{object{"type": "direct", "to": "x-2", "body": "psst"}, nil},
	{object{"type": "rename", "name": "eve"}, nil},
	{object{"type": "message", "room": "kitchen", "body": "for others"}, "kitchen"},
	{object{"type": "enter", "room": "a room\nthat is none"}, nil},
}

// TestOneRoomRefusesRequestsOfAHub: a room of New refuses what only a hub does, with the
// ref of the request and in the order of all answers, and the member goes on.
func TestOneRoomRefusesRequestsOfAHub(t *testing.T) {
	for _, hook := range []bool{false, true} {
		t.Run(fmt.Sprint("hook=", hook), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var opts []tcproom.RoomOption
				if hook {
					opts = append(opts, tcproom.OnMessage(func(_ *tcproom.Member, body []byte) ([]byte, error) { return body, nil }))
				}
				srv := sessionServer(t, tcproom.Sessions{}, opts...)
				bob := srv.Join("bob")
				ada := visits(t, srv, object{"name": "ada"})
				ada.welcomed("joined")
				bob.Expect(roomtest.Joined("ada"))
				seq := 2.0 // of the last event
				for i, tt := range hubRequests {
					for _, ref := range []any{nil, 7, uint64(1<<53 - 1)} {
						req := object{}
						for k, v := range tt.request {
							req[k] = v
						}
						if ref != nil {
							req["ref"] = ref
						}
						if tt.request["type"] == "message" {
							ref = nil // which a message has not
						}
						id := 10*i + int(seq)
						ada.sayNumbered(id, "before")
						ada.say(req)
						ada.sayNumbered(id+1, "behind")
						require.Equal(t, fmt.Sprintf("ack %d=%v", id, seq+1), ada.short())
						got := ada.next()
						require.Equal(t, []any{"refused", "one-room", false}, []any{got["type"], got["code"], got["retry"]}, "%v", req)
						require.NotEmpty(t, got["message"])
						require.Equal(t, tt.room, got["room"], "%v", req)
						require.EqualValues(t, ref, got["ref"], "%v", req)
						require.Equal(t, fmt.Sprintf("ack %d=%v", id+1, seq+2), ada.short())
						bob.Expect(roomtest.Message("ada", "before"), roomtest.Message("ada", "behind"))
						seq += 2
					}
				}
				bob.Refute(roomtest.Any())
				require.Equal(t, 2, srv.Room.Len())
			})
		})
	}
}

// A room of New with commands refuses each of them in a line, but for /quit.
func TestOneRoomRefusesCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := tcproom.New(tcproom.WithCodec(tcproom.Text{Commands: true}), tcproom.WithEcho(true), tcproom.WithNotices(false))
		nc, served := pipe(room)
		lines := bufio.NewScanner(nc)
		next := func() string {
			require.True(t, lines.Scan(), "%v", lines.Err())
			return lines.Text()
		}
		for _, command := range []string{"/join kitchen", "/rooms", "/who", "/msg bob hi", "/nick eve", "/help", "/frobnicate 7", "/"} {
			fmt.Fprintln(nc, command)
			require.True(t, strings.HasPrefix(next(), "* not done: there is only one room"), command)
		}
		for body, want := range map[string]string{"//help": "/help", "///": "//", " /help": " /help", "hi /help": "hi /help"} {
			fmt.Fprintln(nc, body)
			require.Equal(t, "guest-1: "+want, next())
		}
		go fmt.Fprintln(nc, "/quit and nothing else")
		require.False(t, lines.Scan(), "%q", lines.Text())
		require.NoError(t, <-served)
		require.EqualValues(t, 4, room.Stats().Messages)
		require.NoError(t, room.Close())
	})
}

// Requests of a hub cost what frames cost.
func TestRequestsOfAHubCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &bucket{perSecond: 1 << 20, burst: 1 << 20}
		room := jsonRoom(limited(l))
		nc, served := pipe(room)
		go io.Copy(io.Discard, nc)
		const frame = `{"type":"enter","room":"kitchen","ref":1}` + "\n"
		fmt.Fprint(nc, `{"type":"hello"}`+"\n"+frame+frame)
		synctest.Wait() // its end may come before what it has sent
		nc.Close()
		<-served
		require.Equal(t, []int{len(frame) + frameCharge, len(frame) + frameCharge}, l.spent)
		require.NoError(t, room.Close())
	})
}

// What a request to a hub costs is more than its few bytes.
func TestRequestsToAHubCostMore(t *testing.T) {
	inBubble("hub", t, func(t *testing.T) {
		l := &bucket{perSecond: 1 << 20, burst: 5 << 10}
		s := newStable(t, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithRate(func(*tcproom.Member) tcproom.Limiter { return l }))
		ada := s.labelled("ada", "a")
		for _, row := range []struct {
			line string
			cost []int
		}{
			{`{"type":"enter","room":"b"}`, []int{4096}},
			{`{"type":"move","room":"b","to":"c"}`, []int{4096}},
			{`{"type":"members","room":"c"}`, []int{512}},
			{`{"type":"rooms"}`, []int{512}},
			{`{"type":"leave","room":"c"}`, []int{512}},
			{`{"type":"message","room":"a","body":"hi"}`, nil},
			{`{"type":"ping"}`, nil},
		} {
			l.spent = nil
			ada.say(row.line)
			time.Sleep(time.Second) // the bucket is full again
			synctest.Wait()
			require.Equal(t, append([]int{len(row.line) + 1 + frameCharge}, row.cost...), l.spent, row.line)
		}
		l.burst = 4000
		ada.say(`{"type":"enter","room":"b"}`)
		require.True(t, ada.gone())
		require.Contains(t, fmt.Sprint(ada.got()), "rate-limited")
	})
}

// Answers that nobody reads hold the sender back, as acks do.
func TestAnswersNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour}, tcproom.WithWriteTimeout(time.Minute))
		ada := visits(t, srv, nil)
		ada.welcomed("joined")
		ada.nc.(*roomtest.Conn).In(roomtest.Stall())
		sent := 0
		for {
			ada.nc.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := fmt.Fprintf(ada.nc, `{"type":"rooms","ref":%d}`+"\n", sent+1); err != nil {
				break
			}
			sent++
		}
		require.Less(t, sent, 20000)
		time.Sleep(2 * time.Minute)
		require.Equal(t, 1, srv.Room.Stats().Detached, "the write timeout ends it")
	})
}
