package roomnats_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
)

// Most of the tests wait for leases and for servers, and not for the processor: many run
// at a time, but fewer with the race detector, with which all of it takes more of that.
func TestMain(m *testing.M) {
	n := 16
	if raceEnabled {
		n = 5
	}
	flag.Set("test.parallel", strconv.Itoa(n))
	os.Exit(m.Run())
}

// patience is for what has no reason to take long, also on a machine that has much else to
// do.
const patience = time.Minute

var (
	errEnough = errors.New("enough")
	errGoesOn = errors.New("the Tail goes on")
)

// dial connects as a node does.
func dial(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	var nc *nats.Conn
	err := again(t, func() (err error) {
		nc, err = nats.Connect(url, append(roomnats.ConnOptions(), opts...)...)
		return err
	})
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// usual are the options of most tests. Others may follow.
func usual(opts ...roomnats.Option) []roomnats.Option {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	return append([]roomnats.Option{roomnats.MaxBytes(64 << 20), roomnats.Logger(quiet)}, opts...)
}

func backplane(t testing.TB, nc *nats.Conn, opts ...roomnats.Option) *roomnats.Backplane {
	t.Helper()
	b, err := roomnats.New(t.Context(), nc, usual(opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func open(t testing.TB, b tcproom.Backplane, room string) tcproom.Log {
	t.Helper()
	l, err := b.Open(t.Context(), room)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// solo is a log of one room on a server of its own.
func solo(t testing.TB, opts ...roomnats.Option) (*natstest.Server, tcproom.Log) {
	t.Helper()
	s := natstest.Solo(t)
	return s, open(t, backplane(t, dial(t, s.URL()), opts...), "lobby")
}

// add appends records, each under its text as id.
func add(t testing.TB, l tcproom.Log, recs ...string) (positions []uint64) {
	t.Helper()
	for _, rec := range recs {
		positions = append(positions, insist(t, l, rec))
	}
	return positions
}

// lobby is the subject of the room "lobby".
const lobby = "tcproom.default.0.log.lobby"

// fill puts records into a log without waiting for each, as many nodes would together.
func fill(t testing.TB, js jetstream.JetStream, subject string, recs ...string) (positions []uint64) {
	t.Helper()
	var acks []jetstream.PubAckFuture
	for _, rec := range recs {
		ack, err := js.PublishAsync(subject, []byte(rec))
		require.NoError(t, err)
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case got := <-ack.Ok():
			positions = append(positions, got.Sequence)
		case err := <-ack.Err():
			require.NoError(t, err)
		}
	}
	return positions
}

// late reports whether an answer did not come in time, as on a machine that has much to do.
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, os.ErrDeadlineExceeded)
}

// again calls do until it is not that the server was too slow.
func again(t testing.TB, do func() error) error {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		err := do()
		if !late(err) || time.Now().After(end) {
			return err
		}
	}
}

// numbered returns n texts.
func numbered(prefix string, from, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s%d", prefix, from+i)
	}
	return list
}

// read returns n records from a position on, or the error of Tail.
func read(t testing.TB, l tcproom.Log, from uint64, n int) (texts []string, positions []uint64, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errGoesOn)
	defer cancel()
	if n == 0 {
		return nil, nil, nil
	}
	for {
		texts, positions = nil, nil
		err = l.Tail(ctx, from, func(r tcproom.Record) error {
			texts, positions = append(texts, string(r.Data)), append(positions, r.Pos)
			if len(texts) == n {
				return errEnough
			}
			return nil
		})
		if !slow(err) || ctx.Err() != nil {
			break
		}
	}
	if err == errEnough {
		err = nil
	}
	return texts, positions, err
}

// slow reports whether a Tail has ended because the server was too slow, as it may be on a
// machine that has much to do.
func slow(err error) bool {
	text := err.Error()
	return strings.Contains(text, "no record came, though there is one") || strings.Contains(text, "the server has sent nothing") ||
		late(err) && strings.Contains(text, "it is not known")
}

// tailing starts a Tail, and returns when it has got n records: what its end is then.
func tailing(t testing.TB, l tcproom.Log, from uint64, n int) <-chan ending {
	t.Helper()
	for {
		began, ended := make(chan struct{}), make(chan ending, 1)
		go func() {
			var texts []string
			err := l.Tail(context.Background(), from, func(r tcproom.Record) error {
				if texts = append(texts, string(r.Data)); len(texts) == n {
					close(began)
				}
				return nil
			})
			ended <- ending{texts, err}
		}()
		select {
		case <-began:
			return ended
		case e := <-ended:
			require.True(t, slow(e.err), "%v", e.err)
		case <-time.After(patience):
			t.Fatal("a Tail gives nothing")
		}
	}
}

// An ending is that of a Tail, with the records that it gave.
type ending struct {
	texts []string
	err   error
}

// await waits for the end of a Tail.
func await(t testing.TB, ended <-chan ending) ending {
	t.Helper()
	select {
	case e := <-ended:
		return e
	case <-time.After(patience):
		t.Fatal("the Tail goes on")
		return ending{}
	}
}

// A reader tails a log as the core does: each attachment begins with the record that came
// last.
type reader struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	texts []string
	pos   uint64
	doubt []error
	wrong error
}

// begin starts a reader, which ends with the test.
func begin(t testing.TB, l tcproom.Log) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{cancel: cancel, done: make(chan struct{})}
	go r.run(ctx, l)
	t.Cleanup(func() {
		cancel()
		<-r.done
	})
	return r
}

// run ends with ctx, and with a LostError.
func (r *reader) run(ctx context.Context, l tcproom.Log) {
	defer close(r.done)
	for ctx.Err() == nil {
		again := r.pos
		err := l.Tail(ctx, r.pos, func(rec tcproom.Record) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if again == rec.Pos {
				again = 0
				return nil
			}
			r.texts, r.pos = append(r.texts, string(rec.Data)), rec.Pos
			return nil
		})
		var lost *tcproom.LostError
		r.mu.Lock()
		r.doubt = append(r.doubt, err)
		if errors.As(err, &lost) {
			r.wrong = err
		}
		r.mu.Unlock()
		if r.wrong != nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (r *reader) got() (texts []string, doubts []error, wrong error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.texts...), append([]error(nil), r.doubt...), r.wrong
}

// await waits for so many records.
func (r *reader) await(t testing.TB, n int) []string {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		texts, doubts, wrong := r.got()
		require.NoError(t, wrong)
		if len(texts) >= n {
			return texts
		}
		if time.Now().After(end) {
			doubts = append([]error{nil}, doubts...)
			t.Fatalf("%d of %d records came, with %d doubts, the last is %v", len(texts), n, len(doubts)-1, doubts[len(doubts)-1])
		}
	}
}

// insist appends as the core does: the same id again while it is uncertain.
func insist(t testing.TB, l tcproom.Log, rec string) (pos uint64) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		pos, err := l.Append(t.Context(), rec, []byte(rec))
		if err == nil {
			return pos
		}
		require.ErrorIs(t, err, tcproom.ErrUncertain)
		if time.Now().After(end) {
			t.Fatalf("append %q: %v", rec, err)
		}
	}
}
