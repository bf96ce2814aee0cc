package roomnats_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	_, l := solo(t)
	before := time.Now().Add(-time.Second)
	pos := add(t, l, "a", "b", "c")
	for _, from := range []uint64{0, pos[0]} {
		texts, positions, err := read(t, l, from, 3)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b", "c"}, texts)
		require.Equal(t, pos, positions)
	}
	texts, _, err := read(t, l, pos[2], 1)
	require.NoError(t, err)
	require.Equal(t, []string{"c"}, texts)

	var rec tcproom.Record
	require.Equal(t, errEnough, l.Tail(t.Context(), 0, func(r tcproom.Record) error { rec = r; return errEnough }))
	require.WithinRange(t, rec.Time, before, time.Now().Add(time.Second))
}

func TestTailGoesOn(t *testing.T) {
	t.Parallel()
	s, l := solo(t)
	js := manage(t, s)
	r := begin(t, l)
	for from := 0; from < 1000; from += 100 { // more than the pulls that are under way
		add(t, l, fmt.Sprint("r", from))
		fill(t, js, lobby, numbered("r", from+1, 99)...)
		r.await(t, from+1)
	}
	require.Equal(t, numbered("r", 0, 1000), r.await(t, 1000))
}

// More than all pulls together, and larger than them.
func TestTailReadsMuch(t *testing.T) {
	t.Parallel()
	s, l := solo(t)
	js := manage(t, s)
	texts := numbered("small", 0, 2000)
	fill(t, js, lobby, texts...)
	big := strings.Repeat("x", 400<<10)
	for range 30 {
		fill(t, js, lobby, big)
		texts = append(texts, big)
	}
	got, _, err := read(t, l, 0, len(texts))
	require.NoError(t, err)
	require.True(t, strings.Join(texts, " ") == strings.Join(got, " "), "the records are not those that were appended")
}

// A fn that blocks for longer than the server waits for anything is no reason to stop.
func TestTailWaitsForFn(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes longer than a pull")
	}
	s, l := solo(t)
	js := manage(t, s)
	texts := numbered("r", 0, 2000)
	fill(t, js, lobby, texts...)
	var got []string
	err := l.Tail(t.Context(), 0, func(r tcproom.Record) error {
		if len(got) == 100 {
			time.Sleep(12 * time.Second)
		}
		if got = append(got, string(r.Data)); len(got) == len(texts) {
			return errEnough
		}
		return nil
	})
	require.Equal(t, errEnough, err)
	require.Equal(t, texts, got)
}

func TestRoomNamesThatHurt(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	b := backplane(t, dial(t, s.URL()))
	long := strings.Repeat("x", 254)
	rooms := []string{
		"a", "A", "a.b", "a.*", "a.>", "*", ">", ".", "a b", " ", "a=2Eb", "=2A", "=", "==", "a\x00b", "a\r\nb", "ä", "a\xcc\x88", "\xff", "名前",
		long + "a", long + "b", strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("ü", 127), "$KV.x", "_INBOX.x", "a/b", `a\b`,
	}
	logs := make([]tcproom.Log, len(rooms))
	for i, room := range rooms {
		logs[i] = open(t, b, room)
		add(t, logs[i], "only "+room)
		require.NoError(t, logs[i].Save(t.Context(), 1, []byte(room)))
	}
	for i, room := range rooms {
		add(t, logs[i], "end")
		texts, _, err := read(t, logs[i], 0, 2)
		require.NoError(t, err)
		require.Equal(t, []string{"only " + room, "end"}, texts)
		_, state, err := logs[i].Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, room, string(state))
	}
	_, err := b.Open(t.Context(), "")
	require.ErrorContains(t, err, "needs a name")
}

func TestSameIDOnce(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	b := backplane(t, dial(t, s.URL()))
	l, other := open(t, b, "lobby"), open(t, b, "other")
	first := add(t, l, "a")[0]
	again, err := l.Append(t.Context(), "a", []byte("another"))
	require.NoError(t, err)
	require.Equal(t, first, again)
	// Ids are those of a room.
	require.NotEqual(t, first, add(t, other, "a")[0])
	add(t, l, "b")
	texts, _, err := read(t, l, 0, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, texts)
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	_, l := solo(t)
	_, err := l.Append(t.Context(), "id", make([]byte, l.Caps().MaxRecord+1))
	require.ErrorContains(t, err, "bytes")
	require.NotErrorIs(t, err, tcproom.ErrUncertain)
	_, err = l.Append(t.Context(), "id", make([]byte, l.Caps().MaxRecord))
	require.NoError(t, err)
	_, err = l.Append(t.Context(), "", []byte("a"))
	require.ErrorContains(t, err, "id of a record")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Append(ctx, "b", []byte("a"))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, tcproom.ErrUncertain)
}

// The server refuses what the log would have taken: it surely is not stored.
func TestAppendRefusedByServer(t *testing.T) {
	t.Parallel()
	s, l := solo(t)
	js, err := jetstream.New(s.Conn())
	require.NoError(t, err)
	stream, err := js.Stream(t.Context(), "TCPROOM_default_0")
	require.NoError(t, err)
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgSize = 100 << 10
	_, err = js.UpdateStream(t.Context(), cfg)
	require.NoError(t, err)
	_, err = l.Append(t.Context(), "id", make([]byte, 200<<10))
	require.Error(t, err)
	require.NotErrorIs(t, err, tcproom.ErrUncertain)
}

// A refusal says nothing of an attempt before, whose record may be stored: the server looks
// at some limits first.
func TestAppendRefusedAfterDoubt(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	way := natstest.Forward(t, s.Addr())
	l := open(t, backplane(t, dial(t, way.URL())), "lobby")
	big := make([]byte, 200<<10)
	way.SwallowAnswers()
	_, err := l.Append(t.Context(), "id", big)
	require.ErrorIs(t, err, tcproom.ErrUncertain)
	way.Heal()
	logs, err := manage(t, s).Stream(t.Context(), stream)
	require.NoError(t, err)
	require.Equal(t, uint64(1), logs.CachedInfo().State.Msgs)
	cfg := logs.CachedInfo().Config
	cfg.MaxMsgSize = 100 << 10
	_, err = manage(t, s).UpdateStream(t.Context(), cfg)
	require.NoError(t, err)
	for end := time.Now().Add(patience); ; {
		_, err = l.Append(t.Context(), "id", big)
		require.Error(t, err)
		if _, ok := errors.AsType[*jetstream.APIError](err); ok || time.Now().After(end) {
			break
		}
	}
	require.ErrorContains(t, err, "message size exceeds maximum allowed")
	require.ErrorIs(t, err, tcproom.ErrUncertain)
}

func TestCaps(t *testing.T) {
	t.Parallel()
	s, l := solo(t, roomnats.MaxAge(2*time.Hour), roomnats.MaxRecords(500), roomnats.Lease(3*time.Second))
	require.Equal(t, tcproom.Caps{
		MaxRecord: 508 << 10, Window: time.Minute, Lease: 3 * time.Second, Age: 2 * time.Hour, Records: 500, Durable: true,
	}, l.Caps())
	_, err := roomnats.New(t.Context(), s.Conn(), usual(roomnats.Shards(2))...)
	require.ErrorContains(t, err, "shards")
	// Limits of what is there count, and nothing is changed.
	again := open(t, backplane(t, s.Conn(), roomnats.MaxRecords(700), roomnats.Memory()), "lobby")
	require.Equal(t, l.Caps(), again.Caps())
}

func TestOptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]roomnats.Option{
		"Namespace": roomnats.Namespace("a.b"), "16 bytes": roomnats.Namespace("abcdefghijklmnopq"),
		"Shards": roomnats.Shards(-1), "Replicas": roomnats.Replicas(2), "MaxBytes": roomnats.MaxBytes(1 << 20),
		"MaxAge": roomnats.MaxAge(time.Second), "MaxRecords": roomnats.MaxRecords(1), "Lease": roomnats.Lease(time.Millisecond),
	} {
		_, err := roomnats.New(t.Context(), nil, usual(o)...)
		require.ErrorContains(t, err, want)
		_, _, err = roomnats.Permissions(o)
		require.ErrorContains(t, err, want)
	}
}

func TestMaxBytesIsNeededToMakeStreams(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	_, err := roomnats.Open(t.Context(), s.Conn(), "lobby")
	require.ErrorContains(t, err, "roomnats.MaxBytes")
	backplane(t, s.Conn())
	l, err := roomnats.Open(t.Context(), s.Conn(), "lobby")
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestShards(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	b := backplane(t, dial(t, s.URL()), roomnats.Shards(3), roomnats.Namespace("ns"))
	for _, room := range numbered("room", 0, 30) {
		add(t, open(t, b, room), "a", "b")
	}
	for _, room := range numbered("room", 0, 30) {
		texts, _, err := read(t, open(t, b, room), 0, 2)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, texts)
	}
	js, err := jetstream.New(s.Conn())
	require.NoError(t, err)
	for _, name := range numbered("TCPROOM_ns_", 0, 3) {
		stream, err := js.Stream(t.Context(), name)
		require.NoError(t, err)
		require.NotZero(t, stream.CachedInfo().State.Msgs, name)
	}
}

// Namespaces have nothing in common.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	a := open(t, backplane(t, dial(t, s.URL()), roomnats.Namespace("a")), "lobby")
	b := open(t, backplane(t, dial(t, s.URL()), roomnats.Namespace("b")), "lobby")
	add(t, a, "of a")
	add(t, b, "of b")
	texts, _, err := read(t, b, 0, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"of b"}, texts)
}

// Whatever waits ends with Close, and nothing is left: no goroutine, subscription or
// consumer.
func TestClose(t *testing.T) {
	s := natstest.Solo(t)
	nc := dial(t, s.URL())
	b, err := roomnats.New(t.Context(), nc, usual()...)
	require.NoError(t, err)
	_, err = nc.Request("$JS.API.INFO", nil, time.Second) // makes what the client keeps
	require.NoError(t, err)
	subs := nc.NumSubscriptions()
	for _, last := range []func(tcproom.Log) error{tcproom.Log.Close, func(tcproom.Log) error { return b.Close() }} {
		l, err := b.Open(t.Context(), "lobby")
		require.NoError(t, err)
		add(t, l, "a")
		ended, began := make(chan error, 2), make(chan struct{}, 2)
		for range 2 {
			go func() {
				ended <- l.Tail(context.Background(), 0, func(tcproom.Record) error { began <- struct{}{}; return nil })
			}()
			<-began
		}
		watched := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { watched <- l.Nodes().Watch(ctx, func(string, bool) {}) }()
		require.NoError(t, last(l))
		require.NoError(t, last(l))
		require.NoError(t, l.Close())
		for range 2 {
			require.ErrorIs(t, <-ended, net.ErrClosed)
		}
		cancel()
		<-watched
		_, err = l.Append(t.Context(), "b", nil)
		require.ErrorIs(t, err, net.ErrClosed)
		require.NotErrorIs(t, err, tcproom.ErrUncertain)
		require.ErrorIs(t, l.Tail(t.Context(), 0, nil), net.ErrClosed)
		require.ErrorIs(t, l.Save(t.Context(), 1, nil), net.ErrClosed)
		_, _, err = l.Load(t.Context())
		require.ErrorIs(t, err, net.ErrClosed)
	}
	_, err = b.Open(t.Context(), "lobby")
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, b.Nodes().Renew(t.Context(), "a"), net.ErrClosed)

	require.Equal(t, subs, nc.NumSubscriptions())
	js, err := jetstream.New(s.Conn())
	require.NoError(t, err)
	for _, name := range []string{"TCPROOM_default_0", "KV_tcproom_default_nodes"} {
		require.Eventually(t, func() bool {
			stream, err := js.Stream(t.Context(), name)
			return err == nil && stream.CachedInfo().State.Consumers == 0
		}, patience, 5*time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	require.NotContains(t, string(stacks), "roomnats.(*")
}

func TestClosedConnection(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	nc := dial(t, s.URL())
	l := open(t, backplane(t, nc), "lobby")
	r := begin(t, l)
	add(t, l, "a")
	r.await(t, 1)
	nc.Close()
	_, err := l.Append(t.Context(), "b", nil)
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
	require.NotErrorIs(t, err, tcproom.ErrUncertain)
	require.Eventually(t, func() bool { _, doubts, _ := r.got(); return len(doubts) > 1 }, patience, time.Millisecond)
}

// fn is not called again, and its error is returned as it is.
func TestErrorOfFn(t *testing.T) {
	t.Parallel()
	_, l := solo(t)
	add(t, l, "a", "b")
	own, calls := errors.New("own"), 0
	err := l.Tail(t.Context(), 0, func(tcproom.Record) error { calls++; return own })
	require.Equal(t, own, err)
	require.Equal(t, 1, calls)
}

// New waits for no answer for long, whatever its context allows.
func TestNewWithoutAnswer(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	way := natstest.Forward(t, s.Addr())
	nc := dial(t, way.URL())
	way.SwallowAnswers()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := roomnats.New(ctx, nc, usual()...)
	require.ErrorContains(t, err, "no answer")
	require.NoError(t, ctx.Err())
}
