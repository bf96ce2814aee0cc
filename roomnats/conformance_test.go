package roomnats_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomnats"
	"example.com/tcproom/roomnats/natstest"
	"example.com/tcproom/roomtest/logtest"
)

// One server, with a forwarder in front of it for each node.
func TestConformance(t *testing.T) {
	for name, storage := range storages {
		t.Run(name, func(t *testing.T) {
			if name == "memory" && testing.Short() {
				t.Skip("the tests of a restart are those of a file")
			}
			t.Parallel()
			var s *natstest.Server
			var links []*natstest.Forwarder
			logtest.Run(t, logtest.Factory{
				Lease: time.Second,
				Open: func(t testing.TB) func() tcproom.Backplane {
					s, links = natstest.Solo(t), nil
					return func() tcproom.Backplane {
						link := natstest.Forward(t, s.Addr())
						links = append(links, link)
						return backplane(t, dial(t, link.URL()), storage, roomnats.Lease(time.Second))
					}
				},
				Restart: func(testing.TB) { s.Restart() },
				Cut: func(_ testing.TB, node int) (heal func()) {
					links[node].Cut()
					return links[node].Heal
				},
				Trim: func(t testing.TB, room string, n int) {
					subject := "tcproom.default.0.log." + room
					logs, err := manage(t, s).Stream(t.Context(), stream)
					require.NoError(t, err)
					info, err := logs.Info(t.Context(), jetstream.WithSubjectFilter(subject))
					require.NoError(t, err)
					opts := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSubject(subject)}
					if rest := info.State.Subjects[subject] - uint64(n); rest > 0 {
						opts = append(opts, jetstream.WithPurgeKeep(rest))
					}
					require.NoError(t, logs.Purge(t.Context(), opts...))
				},
				Wipe: func(t testing.TB, room string) {
					require.NoError(t, manage(t, s).DeleteStream(t.Context(), stream))
				},
			})
		})
	}
}
