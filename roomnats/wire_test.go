package roomnats_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
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

// What is at the server, and what goes there.

// Streams are made as it is documented, and one with other limits is not changed.
func TestStreams(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	backplane(t, dial(t, s.URL()))
	js := manage(t, s)
	found := func(name string) jetstream.StreamConfig {
		got, err := js.Stream(t.Context(), name)
		require.NoError(t, err)
		c := got.CachedInfo().Config
		for key := range c.Metadata {
			if strings.HasPrefix(key, "_nats.") { // the server's own
				delete(c.Metadata, key)
			}
		}
		c.Description, c.ConsumerLimits = "", jetstream.StreamConsumerLimits{}
		return c
	}
	log := jetstream.StreamConfig{
		Name: stream, Subjects: []string{"tcproom.default.0.log.*"}, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		Storage: jetstream.FileStorage, Replicas: 1, MaxAge: time.Hour, MaxMsgsPerSubject: 10_000, MaxBytes: 64 << 20, MaxMsgs: -1, MaxConsumers: -1,
		MaxMsgSize: 512 << 10, Duplicates: time.Minute, AllowDirect: true, DenyDelete: true,
		Metadata: map[string]string{"tcproom-format": "1", "tcproom-shards": "1"},
	}
	require.Equal(t, log, found(stream))
	bucket := jetstream.StreamConfig{
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Replicas: 1,
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxConsumers: -1, MaxMsgSize: -1, AllowRollup: true, DenyDelete: true, AllowDirect: true,
		MaxBytes: 16 << 20, Metadata: map[string]string{"tcproom-format": "1"},
	}
	states, leases := bucket, bucket
	states.Name, states.Subjects = "KV_tcproom_default_state", []string{"$KV.tcproom_default_state.>"}
	states.MaxAge, states.Duplicates = 2*time.Hour, time.Minute
	require.Equal(t, states, found(states.Name))
	leases.Name, leases.Subjects = "KV_tcproom_default_nodes", []string{"$KV.tcproom_default_nodes.>"}
	leases.MaxAge, leases.Duplicates = 15*time.Second, 15*time.Second
	leases.AllowMsgTTL, leases.SubjectDeleteMarkerTTL = true, time.Minute
	require.Equal(t, leases, found(leases.Name))

	backplane(t, dial(t, s.URL()), roomnats.Memory(), roomnats.MaxAge(time.Minute), roomnats.MaxRecords(300), roomnats.MaxBytes(1<<30), roomnats.Lease(time.Second))
	require.Equal(t, log, found(stream))
	require.Equal(t, states, found(states.Name))
	require.Equal(t, leases, found(leases.Name))
}

// consumerOf waits for the one consumer of a stream.
func consumerOf(t testing.TB, s *natstest.Server) *jetstream.ConsumerInfo {
	t.Helper()
	logs, err := manage(t, s).Stream(t.Context(), stream)
	require.NoError(t, err)
	var list []*jetstream.ConsumerInfo
	require.Eventually(t, func() bool {
		list = nil
		for c := range logs.ListConsumers(t.Context()).Info() {
			list = append(list, c)
		}
		return len(list) == 1
	}, patience, 5*time.Millisecond)
	return list[0]
}

// A Tail has a consumer of its own, which costs the servers little and goes by itself. It
// ends if that is removed, and if the server says that something was lost.
func TestConsumers(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	l := open(t, backplane(t, dial(t, s.URL(), nats.CustomInboxPrefix("_INBOX.tail"))), "lobby")
	pos := add(t, l, "a", "b", "c")
	listener := s.Conn()
	pulls, err := listener.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.>")
	require.NoError(t, err)
	require.NoError(t, listener.FlushTimeout(patience))
	over := func(e ending, why string) {
		t.Helper()
		require.ErrorContains(t, e.err, why)
		require.Equal(t, []string{"b", "c"}, e.texts)
		require.NotErrorAs(t, e.err, new(*tcproom.LostError))
	}

	ended := tailing(t, l, pos[1], 2)
	c := consumerOf(t, s)
	require.Equal(t, jetstream.ConsumerConfig{
		Name: c.Name, Durable: c.Config.Durable, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: pos[1],
		AckPolicy: jetstream.AckNonePolicy, FilterSubject: "tcproom.default.0.log.lobby", InactiveThreshold: 30 * time.Second, Replicas: 1, MemoryStorage: true,
		// The server's defaults.
		MaxDeliver: c.Config.MaxDeliver, MaxWaiting: c.Config.MaxWaiting, ReplayPolicy: c.Config.ReplayPolicy, Metadata: c.Config.Metadata,
	}, c.Config)
	pull, err := pulls.NextMsg(patience)
	require.NoError(t, err)
	var asked map[string]any
	require.NoError(t, json.Unmarshal(pull.Data, &asked))
	require.Equal(t, map[string]any{"batch": 128., "max_bytes": float64(4 << 20), "expires": 10e9, "idle_heartbeat": 1e9}, asked)

	logs, err := manage(t, s).Stream(t.Context(), stream)
	require.NoError(t, err)
	require.NoError(t, logs.DeleteConsumer(t.Context(), c.Name))
	over(await(t, ended), "")
	for _, forged := range []struct {
		why  string
		make func(inbox string) *nats.Msg
	}{
		{"the consumer is at 3, and 2 messages came", func(inbox string) *nats.Msg {
			return &nats.Msg{Subject: inbox, Header: nats.Header{"Status": {"100"}, "Nats-Last-Consumer": {"3"}}}
		}},
		{"the consumer has ended: 409", func(inbox string) *nats.Msg {
			return &nats.Msg{Subject: inbox, Header: nats.Header{"Status": {"409"}, "Description": {"Leadership Change"}}}
		}},
		{"the consumer is gone", func(inbox string) *nats.Msg {
			return &nats.Msg{Subject: inbox, Header: nats.Header{"Status": {"503"}}}
		}},
	} {
		e := ending{err: errors.New("the server has sent nothing yet")}
		for slow(e.err) {
			ended := tailing(t, l, pos[1], 2)
			c := consumerOf(t, s)
			var inbox string
			for !strings.HasPrefix(inbox, "_INBOX.tail.") || !strings.Contains(pull.Subject, c.Name) {
				pull, err = pulls.NextMsg(patience)
				require.NoError(t, err)
				inbox = pull.Reply
			}
			require.NoError(t, listener.PublishMsg(forged.make(inbox)))
			e = await(t, ended)
		}
		over(e, forged.why)
	}
}

// An older server than 2.11 is refused. It says so by its level.
func TestOldServer(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t, natstest.Configure(withoutJetStream))
	old := s.Conn()
	_, err := old.Subscribe("$JS.API.INFO", func(m *nats.Msg) {
		m.Respond([]byte(`{"type":"io.nats.jetstream.api.v1.account_info_response","api":{"total":1,"errors":0}}`))
	})
	require.NoError(t, err)
	require.NoError(t, old.FlushTimeout(patience))
	_, err = roomnats.New(t.Context(), s.Conn(), usual()...)
	require.ErrorContains(t, err, "use NATS server 2.11 or later")
	_, err = roomnats.Open(t.Context(), s.Conn(), "lobby", usual()...)
	require.ErrorContains(t, err, "use NATS server 2.11 or later")
}

// A connection is made again for ever, soon, not by all at once, and nothing is kept back
// to be sent then.
func TestConnOptions(t *testing.T) {
	t.Parallel()
	o := nats.GetDefaultOptions()
	for _, set := range roomnats.ConnOptions() {
		require.NoError(t, set(&o))
	}
	require.True(t, o.AllowReconnect)
	require.Equal(t, -1, o.MaxReconnect)
	require.Equal(t, 250*time.Millisecond, o.ReconnectWait)
	require.Positive(t, o.ReconnectJitter)
	require.Positive(t, o.ReconnectJitterTLS)
	require.Equal(t, -1, o.ReconnectBufSize)
	// So soon one that does not answer is noticed.
	require.LessOrEqual(t, o.PingInterval*time.Duration(o.MaxPingsOut+1), 6*time.Second)
}

// A tap keeps what a connection sends, and holds back what it receives.
type tap struct {
	net.Conn
	*tapper
}

func (c tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.late.Lock()
	defer c.late.Unlock()
	return n, err
}

func (c tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.sent.Write(b)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// A tapper dials connections with taps.
type tapper struct {
	mu   sync.Mutex
	sent bytes.Buffer
	late sync.Mutex // held while nothing is to be received
}

func (d *tapper) Dial(network, addr string) (net.Conn, error) {
	nc, err := net.Dial(network, addr)
	return tap{nc, d}, err
}

// count returns how many messages were sent to a subject.
func (d *tapper) count(subject string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(regexp.MustCompile(`(?m)^H?PUB `+regexp.QuoteMeta(subject)+`[ .]`).FindAllIndex(d.sent.Bytes(), -1))
}

// An Append is one attempt, also if nobody answers for the stream: the client's own
// attempts could store what the room has given up.
func TestOneAttempt(t *testing.T) {
	t.Parallel()
	s, d := natstest.Solo(t), &tapper{}
	l := open(t, backplane(t, dial(t, s.URL(), nats.SetCustomDialer(d))), "lobby")
	add(t, l, "a")
	require.NoError(t, manage(t, s).DeleteStream(t.Context(), stream))
	_, err := l.Append(t.Context(), "b", []byte("b"))
	require.ErrorIs(t, err, tcproom.ErrUncertain)
	require.Equal(t, 2, d.count("tcproom.default.0.log.lobby"))
}

// What only reads, and what may be done twice, is asked for again if the answer is late: a
// state is many requests.
func TestLateAnswers(t *testing.T) {
	t.Parallel()
	s := natstest.Solo(t)
	pos := add(t, open(t, backplane(t, dial(t, s.URL())), "lobby"), "a")[0]
	for subject, do := range map[string]func(context.Context, tcproom.Log) error{
		"$KV.tcproom_default_state.lobby." + fmt.Sprint(pos): func(ctx context.Context, l tcproom.Log) error {
			return l.Save(ctx, pos, []byte("state"))
		},
		"$JS.API.STREAM.MSG.GET.KV_tcproom_default_state": func(ctx context.Context, l tcproom.Log) error {
			_, _, err := l.Load(ctx)
			return err
		},
	} {
		t.Run(subject, func(t *testing.T) {
			t.Parallel()
			d := &tapper{}
			l := open(t, backplane(t, dial(t, s.URL(), nats.SetCustomDialer(d))), "lobby")
			done := make(chan error, 1)
			d.late.Lock()
			go func() { done <- do(t.Context(), l) }()
			require.Eventually(t, func() bool { return d.count(subject) == 2 || len(done) > 0 }, patience, time.Millisecond)
			d.late.Unlock()
			require.NoError(t, <-done)
		})
	}
}
