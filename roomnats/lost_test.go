package roomnats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
)

const stream = "TCPROOM_default_0"

func manage(t testing.TB, s *natstest.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(s.Conn())
	require.NoError(t, err)
	return js
}

// lostAt checks that a tail from a position is refused, and returns where the log begins.
func lostAt(t testing.TB, l tcproom.Log, from uint64) uint64 {
	t.Helper()
	texts, _, err := read(t, l, from, 1)
	var lost *tcproom.LostError
	require.ErrorAs(t, err, &lost)
	require.Empty(t, texts)
	return lost.First
}

// doubt checks that a tail from a position ends without a verdict and without a record.
func doubt(t testing.TB, l tcproom.Log, from uint64) error {
	t.Helper()
	texts, _, err := read(t, l, from, 1)
	require.Error(t, err)
	require.NotErrorAs(t, err, new(*tcproom.LostError))
	require.NotErrorIs(t, err, errGoesOn) // the server may have had no answer
	require.Empty(t, texts)
	return err
}

func TestTrimmedByRecords(t *testing.T) {
	t.Parallel()
	s, l := solo(t, roomnats.MaxRecords(100))
	js := manage(t, s)
	pos := fill(t, js, lobby, numbered("r", 0, 150)...)
	require.Equal(t, pos[50], lostAt(t, l, pos[0]))
	require.Equal(t, pos[50], lostAt(t, l, pos[49]))
	texts, _, err := read(t, l, pos[50], 100)
	require.NoError(t, err)
	require.Equal(t, numbered("r", 50, 100), texts)
	texts, _, err = read(t, l, 0, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"r50"}, texts)
}

func TestTrimmedByBytes(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	js := manage(t, s)
	b := backplane(t, dial(t, s.URL()), roomnats.MaxBytes(16<<20), roomnats.Memory())
	l := open(t, b, "lobby")
	pos := add(t, l, "a", "b")
	for range 45 {
		fill(t, js, strings.Replace(lobby, "lobby", "other", 1), strings.Repeat("x", 400<<10))
	}
	// Nothing of this room is left.
	require.Zero(t, lostAt(t, l, pos[1]))
	more := add(t, l, "c")
	require.Equal(t, more[0], lostAt(t, l, pos[1]))
	require.Greater(t, more[0], pos[1])
}

// A tail that lags so far that records go before it reads them finds out, and skips none
// in silence: not at the server, which has sent only a part, nor in its channel.
func TestTrimmedWhileTailLags(t *testing.T) {
	t.Parallel()
	s, l := solo(t, roomnats.MaxRecords(1000), roomnats.Memory())
	js := manage(t, s)
	fill(t, js, lobby, numbered("r", 0, 1000)...)
	got := 0
	err := l.Tail(t.Context(), 0, func(r tcproom.Record) error {
		if got == 10 {
			fill(t, js, lobby, numbered("r", 1000, 2000)...)
		}
		if want := fmt.Sprintf("r%d", got); string(r.Data) != want {
			return fmt.Errorf("%s came in the place of %s", r.Data, want)
		}
		got++
		return nil
	})
	require.ErrorContains(t, err, "drops records faster than they are read")
	require.Less(t, got, 1000)
}

// What an operator removes between two records is missed, too.
func TestPurgedWhileTailWaits(t *testing.T) {
	t.Parallel()
	s, l := solo(t)
	js := manage(t, s)
	logs, err := manage(t, s).Stream(t.Context(), stream)
	require.NoError(t, err)
	fill(t, js, lobby, numbered("r", 0, 400)...) // more than one pull brings
	open, began, tailed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	got := 0
	go func() {
		tailed <- l.Tail(context.Background(), 0, func(r tcproom.Record) error {
			if got == 0 {
				close(began)
				<-open
			}
			if want := fmt.Sprintf("r%d", got); string(r.Data) != want {
				return fmt.Errorf("%s came in the place of %s", r.Data, want)
			}
			got++
			return nil
		})
	}()
	<-began
	fill(t, js, lobby, numbered("r", 400, 100)...)
	require.NoError(t, logs.Purge(t.Context(), jetstream.WithPurgeKeep(10)))
	close(open)
	require.ErrorContains(t, <-tailed, "drops records faster than they are read")
	require.Less(t, got, 490)
}

// A fn that has blocked for long finds much that waits, heartbeats too. They say nothing of
// what has become of the log since.
func TestPurgedWhileFnBlocks(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half of the time for which records are kept")
	}
	s, l := solo(t, roomnats.MaxAge(10*time.Second))
	js := manage(t, s)
	logs, err := js.Stream(t.Context(), stream)
	require.NoError(t, err)
	add(t, l, "r0")
	got := 0
	err = l.Tail(t.Context(), 0, func(r tcproom.Record) error {
		if want := fmt.Sprintf("r%d", got); string(r.Data) != want {
			return fmt.Errorf("%s came in the place of %s", r.Data, want)
		}
		if got++; got > 1 {
			return nil
		}
		c := consumerOf(t, s)
		delivered := func(n int) {
			require.Eventually(t, func() bool {
				now, err := logs.Consumer(t.Context(), c.Name)
				return err == nil && now.CachedInfo().Delivered.Consumer >= uint64(n)
			}, patience, 10*time.Millisecond)
		}
		fill(t, js, lobby, "r1")
		delivered(2)
		time.Sleep(heartbeat * 3 / 2)
		fill(t, js, lobby, numbered("r", 2, 400)...) // more than was asked for
		delivered(3 * 128)
		require.NoError(t, logs.Purge(t.Context()))
		time.Sleep(11 * time.Second / 2) // more than half of what the log keeps
		fill(t, js, lobby, "r402")
		return nil
	})
	require.ErrorContains(t, err, "drops records faster than they are read")
}

// heartbeat is how often the server sends one if it sends nothing else.
const heartbeat = time.Second

// A stream whose numbers have gaps, because it has other rooms, is no reason for doubt.
func TestOtherRoomsBetween(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	js := manage(t, s)
	b := backplane(t, dial(t, s.URL()), roomnats.Memory())
	l := open(t, b, "lobby")
	r := begin(t, l)
	for i := range 100 {
		add(t, l, fmt.Sprintf("r%d", i))
		fill(t, js, strings.Replace(lobby, "lobby", "other", 1), numbered(fmt.Sprintf("o%d-", i), 0, 3)...)
	}
	require.Equal(t, numbered("r", 0, 100), r.await(t, 100))
	_, doubts, _ := r.got()
	require.Empty(t, slices.DeleteFunc(doubts, slow))
}

// A position that another room has is not there.
func TestPositionOfAnotherRoom(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	b := backplane(t, dial(t, s.URL()))
	l, other := open(t, b, "lobby"), open(t, b, "other")
	first := add(t, l, "a")[0]
	theirs := add(t, other, "x")[0]
	require.Equal(t, first, lostAt(t, l, theirs))
	add(t, l, "b")
	require.Equal(t, first, lostAt(t, l, theirs))
}

// A log that ends before a position may be that of a server that lags: no verdict.
func TestFromBehindTheEnd(t *testing.T) {
	t.Parallel()
	_, l := solo(t)
	pos := add(t, l, "a")
	require.ErrorContains(t, doubt(t, l, pos[0]+5), "ends at")
}

// A stream that was removed and made again begins anew. A tail that was at the old one
// ends, and so does one that comes with a position of the old one.
func TestStreamMadeAgain(t *testing.T) {
	t.Parallel()
	s, l := solo(t)
	js := manage(t, s)
	pos := add(t, l, "a", "b", "c")
	tailed := tailing(t, l, pos[2], 1)
	require.NoError(t, js.DeleteStream(t.Context(), stream))
	err := await(t, tailed).err
	require.Error(t, err)
	require.NotErrorAs(t, err, new(*tcproom.LostError))

	// The first append finds that the stream is gone.
	require.Equal(t, uint64(1), insist(t, l, "new"))
	doubt(t, l, pos[2])
	texts, positions, err := read(t, l, 0, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"new"}, texts)
	require.Equal(t, []uint64{1}, positions)
	// Position 3 is there again, and is another record: the room looks at it.
	insist(t, l, "new 2")
	insist(t, l, "new 3")
	texts, _, err = read(t, l, pos[2], 1)
	require.NoError(t, err)
	require.Equal(t, []string{"new 3"}, texts)
}

// What a restart of the server leaves: all on disk, nothing in memory.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	for name, storage := range map[string]roomnats.Option{"file": roomnats.File(), "memory": roomnats.Memory()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := solo(t, storage)
			require.Equal(t, name == "file", l.Caps().Durable)
			add(t, l, numbered("r", 0, 50)...)
			r := begin(t, l)
			r.await(t, 50)
			stop, stopped := make(chan struct{}), make(chan []string, 1)
			go func() { stopped <- keepAppending(l, stop) }()
			r.await(t, 60)
			s.Restart()
			if name == "file" {
				texts, _, wrong := r.got()
				require.NoError(t, wrong)
				r.await(t, len(texts)+20)
				close(stop)
				want := append(numbered("r", 0, 50), <-stopped...)
				require.Equal(t, want, r.await(t, len(want)))
				return
			}
			// The reader has a position of what is lost.
			next := begin(t, l)
			next.await(t, 20)
			close(stop)
			all := <-stopped
			texts := next.await(t, 20)
			require.Subset(t, all, texts)
			require.NotContains(t, texts, "r0")
		})
	}
}

// keepAppending appends until it is stopped, each record again while it is uncertain, and
// returns those that were answered.
func keepAppending(l tcproom.Log, stop <-chan struct{}) (done []string) {
	for i := 0; ; i++ {
		text := fmt.Sprintf("more%d", i)
		for {
			_, err := l.Append(context.Background(), text, []byte(text))
			if err == nil {
				done = append(done, text)
				break
			}
			if !errors.Is(err, tcproom.ErrUncertain) {
				return append(done, err.Error())
			}
			select {
			case <-stop:
				return done
			case <-time.After(20 * time.Millisecond):
			}
		}
		select {
		case <-stop:
			return done
		default:
		}
	}
}

// While there is no server an append ends, uncertain, within the time for one attempt.
func TestAppendWithoutServer(t *testing.T) {
	t.Parallel()
	s, l := solo(t)
	add(t, l, "a")
	s.Stop()
	began := time.Now()
	_, err := l.Append(t.Context(), "b", []byte("b"))
	require.ErrorIs(t, err, tcproom.ErrUncertain)
	require.Less(t, time.Since(began), 10*time.Second)
	require.Error(t, l.Tail(t.Context(), 0, func(tcproom.Record) error { return nil }))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, l.Tail(over, 0, nil), context.Canceled)
	require.ErrorIs(t, l.Nodes().Watch(over, nil), context.Canceled)
	require.ErrorContains(t, l.Nodes().Renew(t.Context(), "node"), "there is no connection to a server")
	s.Start()
	insist(t, l, "b")
	texts, _, err := read(t, l, 0, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, texts)
}

// A network that swallows: the append ends uncertain, the tail in doubt, within seconds.
func TestSwallowed(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	f := natstest.Forward(t, s.Addr())
	nc, near := dial(t, f.URL()), dial(t, s.URL())
	l, other := open(t, backplane(t, nc), "lobby"), open(t, backplane(t, near), "lobby")
	add(t, l, "a")
	r := begin(t, l)
	r.await(t, 1)
	f.Swallow()
	_, err := l.Append(t.Context(), "lost", []byte("lost"))
	require.ErrorIs(t, err, tcproom.ErrUncertain)
	// An attempt that is not made says nothing of the one before.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Append(over, "lost", []byte("lost"))
	require.ErrorIs(t, err, tcproom.ErrUncertain)
	require.ErrorIs(t, err, context.Canceled)
	_, err = l.Append(over, "never", []byte("never"))
	require.NotErrorIs(t, err, tcproom.ErrUncertain)
	add(t, other, "b")
	require.Eventually(t, func() bool { _, doubts, _ := r.got(); return len(doubts) > 0 }, patience, time.Millisecond)
	f.Heal()
	require.Equal(t, []string{"a", "b"}, r.await(t, 2))
	insist(t, l, "c")
	require.Equal(t, []string{"a", "b", "c"}, r.await(t, 3))
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	js := manage(t, s)
	b := backplane(t, dial(t, s.URL()), roomnats.MaxRecords(100))
	l := open(t, b, "lobby")
	load := func(at uint64, state []byte) {
		t.Helper()
		var gotAt uint64
		var got []byte
		err := again(t, func() (err error) { gotAt, got, err = l.Load(t.Context()); return err })
		require.NoError(t, err)
		require.Equal(t, at, gotAt)
		require.True(t, bytes.Equal(state, got), "%d bytes", len(got))
	}
	late := -5 // attempts that had no answer, less those that had
	save := func(at uint64, state []byte) {
		t.Helper()
		require.NoError(t, again(t, func() error { late++; return l.Save(t.Context(), at, state) }))
	}
	load(0, nil)
	require.ErrorContains(t, l.Save(t.Context(), 0, nil), "position")
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20/16)
	pos := add(t, l, numbered("r", 0, 5)...)
	save(pos[0], []byte{})
	load(pos[0], []byte{})
	save(pos[1], big)
	load(pos[0], []byte{})
	save(pos[2], []byte("two"))
	load(pos[1], big)
	save(pos[2], []byte("two, again"))
	load(pos[1], big)
	save(pos[3], append(big, 'x'))
	load(pos[2], []byte("two, again"))

	// Two are kept, and nothing else: a pointer, one chunk, and 5.
	bucket, err := manage(t, s).Stream(t.Context(), "KV_tcproom_default_state")
	require.NoError(t, err)
	if late == 0 {
		require.Equal(t, uint64(1+1+5), bucket.CachedInfo().State.Msgs)
	}

	// If the log does not reach the older one any more, it is the newer one.
	fill(t, js, lobby, numbered("s", 0, 98)...)
	load(pos[3], append(big, 'x'))

	// What is not whole is passed over.
	save(pos[4], []byte("four"))
	require.NoError(t, bucket.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.tcproom_default_state.lobby."+fmt.Sprint(pos[3])+".*.4")))
	load(pos[4], []byte("four"))
}

// Nodes that save at the same time do not mix what they save, and remove what is of no
// more use. A request that the server is too slow to answer is made again, as a room does
// it, and may leave chunks.
func TestSaveAtOnce(t *testing.T) {
	t.Parallel()
	s, notes := natstest.Solo(t), &notebook{}
	pos := add(t, open(t, backplane(t, dial(t, s.URL())), "lobby"), "a", "b")
	const nodes, rounds, chunks = 4, 5, 2
	var late atomic.Int64
	errs := make(chan error, nodes)
	for i := range nodes {
		l := open(t, backplane(t, dial(t, s.URL()), roomnats.Logger(notes.debugger())), "lobby")
		go func() {
			errs <- func() error {
				for n := range rounds {
					own := bytes.Repeat([]byte{byte('a' + i)}, 300<<10+i)
					if err := again(t, func() error { late.Add(1); return l.Save(context.Background(), pos[n%2], own) }); err != nil {
						return err
					}
					var state []byte
					err := again(t, func() (err error) { _, state, err = l.Load(context.Background()); return err })
					if err != nil || len(state) == 0 || len(state) != 300<<10+int(state[0]-'a') || len(bytes.Trim(state, string(state[:1]))) != 0 {
						return fmt.Errorf("%d bytes, %v", len(state), err)
					}
				}
				return nil
			}()
		}()
	}
	for range nodes {
		require.NoError(t, <-errs)
	}
	bucket, err := manage(t, s).Stream(t.Context(), "KV_tcproom_default_state")
	require.NoError(t, err)
	got, want := bucket.CachedInfo().State.Msgs, uint64(1+2*chunks)
	left := uint64(late.Load()-nodes*rounds) + uint64(notes.count("is not removed"))
	require.True(t, want <= got && got <= want+left*chunks, "%d messages, and %d requests had no answer", got, left)
}

// What was saved is of no account for the log itself.
func TestBucketsGone(t *testing.T) {
	t.Parallel()
	s, l := solo(t)
	js := manage(t, s)
	pos := add(t, l, "a")
	require.NoError(t, l.Save(t.Context(), pos[0], []byte("state")))
	require.NoError(t, l.Nodes().Renew(t.Context(), "node"))
	r := begin(t, l)
	watch := make(chan error, 1)
	seen := make(chan struct{})
	go func() { watch <- l.Nodes().Watch(context.Background(), func(string, bool) { close(seen) }) }()
	<-seen
	require.NoError(t, js.DeleteStream(t.Context(), "KV_tcproom_default_state"))
	require.NoError(t, js.DeleteStream(t.Context(), "KV_tcproom_default_nodes"))
	require.Error(t, <-watch)
	// No verdict while it is gone.
	_, err := l.Nodes().Alive(t.Context(), "node")
	require.Error(t, err)
	// What was saved is lost, and a room can be opened all the same.
	at, _, err := l.Load(t.Context())
	require.NoError(t, err)
	require.Zero(t, at)
	add(t, l, "b")
	require.Equal(t, []string{"a", "b"}, r.await(t, 2))
	_, doubts, _ := r.got()
	require.Empty(t, slices.DeleteFunc(doubts, slow))
	// They are made again when they are needed, with what they were.
	require.Eventually(t, func() bool { return l.Nodes().Renew(t.Context(), "node") == nil }, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return l.Save(t.Context(), pos[0], []byte("state")) == nil }, patience, 10*time.Millisecond)
	alive, err := l.Nodes().Alive(t.Context(), "node")
	require.NoError(t, err)
	require.True(t, alive)
	bucket, err := js.Stream(t.Context(), "KV_tcproom_default_nodes")
	require.NoError(t, err)
	require.Equal(t, l.Caps().Lease, bucket.CachedInfo().Config.MaxAge)
	require.Equal(t, time.Minute, bucket.CachedInfo().Config.SubjectDeleteMarkerTTL)
}

func TestNoJetStream(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t, natstest.Configure(withoutJetStream))
	_, err := roomnats.New(t.Context(), s.Conn(), usual()...)
	require.ErrorIs(t, err, jetstream.ErrJetStreamNotEnabled)
	require.ErrorContains(t, err, "roomnats: ")
	require.ErrorContains(t, err, "nats-server -js")
	_, err = roomnats.New(t.Context(), nil, usual()...)
	require.ErrorContains(t, err, "nc is nil")
}

// A stream that cannot be used is not touched.
func TestStreamThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	js := manage(t, s)
	for want, change := range map[string]func(*jetstream.StreamConfig){
		"the subjects":   func(c *jetstream.StreamConfig) { c.Subjects = []string{"tcproom.default.>"} },
		"by its limits":  func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"MaxMsgSize":     func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 },
		"tcproom-format": func(c *jetstream.StreamConfig) { c.Metadata = nil },
	} {
		cfg := jetstream.StreamConfig{
			Name: stream, Subjects: []string{"tcproom.default.0.log.*"},
			Metadata: map[string]string{"tcproom-format": "1", "tcproom-shards": "1"},
		}
		change(&cfg)
		made, err := js.CreateStream(t.Context(), cfg)
		require.NoError(t, err)
		_, err = roomnats.New(t.Context(), s.Conn(), usual()...)
		require.ErrorContains(t, err, want)
		info, err := made.Info(t.Context())
		require.NoError(t, err)
		require.Equal(t, made.CachedInfo().Config, info.Config)
		require.NoError(t, js.DeleteStream(t.Context(), stream))
	}
}

func TestOtherLimitsAreLogged(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	backplane(t, s.Conn(), roomnats.MaxAge(time.Minute))
	var out strings.Builder
	backplane(t, s.Conn(), roomnats.MaxAge(time.Minute), logTo(&out))
	require.Empty(t, out.String())
	backplane(t, s.Conn(), roomnats.MaxAge(2*time.Minute), logTo(&out))
	require.Contains(t, out.String(), stream)
	require.Contains(t, out.String(), "max_age.is=1m0s max_age.wanted=2m0s")
}
