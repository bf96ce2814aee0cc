package natstest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"example.com/tcproom/roomnats/natstest"
)

func stream(t *testing.T, nc *nats.Conn, cfg jetstream.StreamConfig) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	cfg.Name, cfg.Subjects = "S", []string{"s"}
	s, err := js.CreateStream(t.Context(), cfg)
	require.NoError(t, err)
	return js, s
}

func TestSoloKeepsItsPortAndStore(t *testing.T) {
	s := natstest.Solo(t)
	js, _ := stream(t, s.Conn(nats.ReconnectWait(10*time.Millisecond)), jetstream.StreamConfig{})
	_, err := js.Publish(t.Context(), "s", []byte("a"))
	require.NoError(t, err)
	url := s.URL()
	s.Restart()
	require.Equal(t, url, s.URL())
	js, err = jetstream.New(s.Conn())
	require.NoError(t, err)
	again, err := js.Stream(t.Context(), "S")
	require.NoError(t, err)
	require.Equal(t, uint64(1), again.CachedInfo().State.Msgs)

	s.Stop()
	s.Stop()
	require.Nil(t, s.Server())
	s.Wipe()
	s.Start()
	js, err = jetstream.New(s.Conn())
	require.NoError(t, err)
	_, err = js.Stream(t.Context(), "S")
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
}

func TestConfigure(t *testing.T) {
	s := natstest.Solo(t, natstest.Configure(func(o *server.Options) { o.Username, o.Password = "ada", "secret" }))
	_, err := nats.Connect(s.URL())
	require.ErrorIs(t, err, nats.ErrAuthorization)
	require.True(t, s.Conn(nats.UserInfo("ada", "secret")).IsConnected())
}

func TestForwarder(t *testing.T) {
	s := natstest.Solo(t)
	f := natstest.Forward(t, s.Addr())
	nc, err := nats.Connect(f.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.FlushTimeout(10*time.Second))

	status := nc.StatusChanged(nats.RECONNECTING)
	f.Cut()
	<-status
	_, err = nats.Connect(f.URL(), nats.Timeout(time.Second))
	require.Error(t, err)
	f.Heal()
	require.NoError(t, nc.FlushTimeout(10*time.Second))

	f.Swallow()
	require.ErrorIs(t, nc.FlushTimeout(50*time.Millisecond), nats.ErrTimeout)
	require.True(t, nc.IsConnected(), "a swallowed connection is open")
	f.Heal()
	<-status
	require.NoError(t, nc.FlushTimeout(10*time.Second))

	listener := s.Conn()
	heard, err := listener.SubscribeSync("said")
	require.NoError(t, err)
	require.NoError(t, listener.FlushTimeout(10*time.Second))
	f.SwallowAnswers()
	require.NoError(t, nc.Publish("said", nil))
	require.ErrorIs(t, nc.FlushTimeout(50*time.Millisecond), nats.ErrTimeout)
	_, err = heard.NextMsg(10 * time.Second)
	require.NoError(t, err)
	f.Heal()
	<-status
	require.NoError(t, nc.FlushTimeout(10*time.Second))
}

func TestClusterOutlivesOne(t *testing.T) {
	c := natstest.Cluster(t, 3)
	js, _ := stream(t, c.Conn(), jetstream.StreamConfig{Replicas: 3})
	_, err := js.Publish(t.Context(), "s", []byte("a"))
	require.NoError(t, err)
	leader := c.Leader("S")
	c.Server(leader).Stop()
	require.NotEqual(t, leader, c.Leader("S"))
	js, err = jetstream.New(c.Conn())
	require.NoError(t, err)
	again, err := js.Stream(t.Context(), "S")
	require.NoError(t, err)
	require.Equal(t, uint64(1), again.CachedInfo().State.Msgs)
	c.Server(leader).Start()
	c.Ready()
}

// No way leads round the forwarders: a server that is cut off stays so.
func TestClusterCutAndHeal(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for elections")
	}
	c := natstest.Cluster(t, 3)
	js, _ := stream(t, c.Conn(), jetstream.StreamConfig{Replicas: 3})
	_, err := js.Publish(t.Context(), "s", []byte("a"))
	require.NoError(t, err)
	for _, how := range []func(int){c.Cut, c.Swallow} {
		leader := c.Leader("S")
		how(leader)
		require.Eventually(t, func() bool {
			for i := range c.Len() {
				if i != leader && c.Server(i).Server().JetStreamIsStreamLeader("$G", "S") {
					return true
				}
			}
			return false
		}, 30*time.Second, 10*time.Millisecond)
		require.Eventually(t, func() bool {
			return !c.Server(leader).Server().JetStreamIsStreamLeader("$G", "S")
		}, 30*time.Second, 10*time.Millisecond)
		c.Heal(leader)
		c.Ready()
	}
}
