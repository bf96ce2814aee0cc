package roomnats

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An Option configures [New] and [Open]. Those of limits and storage say how streams are
// made that are not there yet. A stream that is there is used as it is, and a difference
// is logged.
type Option func(*config)

type config struct {
	namespace  string
	shards     int
	replicas   int
	storage    jetstream.StorageType
	maxBytes   int64
	maxAge     time.Duration
	maxRecords int
	lease      time.Duration
	logger     *slog.Logger
}

const (
	defaultMaxAge     = time.Hour
	defaultMaxRecords = 10_000
	defaultLease      = 15 * time.Second

	// minBytes is how much must be written before bytes alone push a record out. Tail
	// relies on that it takes longer than reading a record that has just been stored.
	minBytes = 16 << 20
	// maxMessage is the size of a record with what its headers need.
	maxMessage = 512 << 10
	// headroom is what the headers of a record need at most.
	headroom = 4 << 10
	// window is for how long the server knows the id of a record.
	window = time.Minute
	// markerTTL is for how long a bucket shows that a lease has ended.
	markerTTL = time.Minute
	// leaseBytes is far above what leases need.
	leaseBytes = 16 << 20

	minAge   = 10 * time.Second
	minLease = time.Second
)

// Namespace sets which processes have rooms in common: those with the same namespace, in
// one account of the servers. It is of letters, digits and "-", 16 bytes at most. The
// default, and an empty one, is "default".
func Namespace(name string) Option { return func(c *config) { c.namespace = name } }

// Shards sets over how many streams the logs of rooms are spread. It is fixed when the
// first stream is made: New fails with another number. One stream has one leader, which
// orders all that is said in its rooms; take more if that is too busy. The default, and
// zero, is 1; New fails with negative values, and with more than 1024.
func Shards(n int) Option { return func(c *config) { c.shards = n } }

// Replicas sets how many servers store each stream: 1, which is the default and what zero
// is, or 3, which outlives the loss of one server. New fails with other values.
func Replicas(n int) Option { return func(c *config) { c.replicas = n } }

// Memory keeps streams in the memory of the servers. With one replica they are lost when
// the server stops; members then end with [tcproom.ErrUnavailable], and join anew.
func Memory() Option { return func(c *config) { c.storage = jetstream.MemoryStorage } }

// File keeps streams on the servers' disks, which is the default.
func File() Option { return func(c *config) { c.storage = jetstream.FileStorage } }

// MaxBytes sets how much a stream may take, on each server that stores it. If it is full,
// the oldest records go, of whichever room. There is no default: a stream cannot be made
// without, because servers without a limit fill their disks. Zero is as if it were not
// given; New fails with less than 16 MiB. A quarter as much, and not below 16 MiB, is the
// limit of what rooms save, and 16 MiB that of leases.
func MaxBytes(n int64) Option { return func(c *config) { c.maxBytes = n } }

// MaxAge sets for how long records are kept: for so long a node, or a member, may be away
// and go on without a gap. The default, and zero, is an hour; New fails with less than 10
// seconds.
func MaxAge(d time.Duration) Option { return func(c *config) { c.maxAge = d } }

// MaxRecords sets how many records of one room are kept. A record holds what a node had
// to say at one moment, often several messages. The default, and zero, is 10,000; New
// fails with less than 100.
func MaxRecords(n int) Option { return func(c *config) { c.maxRecords = n } }

// Lease sets after what time without a sign of life a process is dead. The default, and
// zero, is 15 seconds; New fails with less than one second.
func Lease(d time.Duration) Option { return func(c *config) { c.lease = d } }

// Logger sets where it is logged that a stream has other limits than it was to have, that
// one was made again, and that a connection was given up. The default, and nil, is
// [slog.Default].
func Logger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }

func newConfig(opts []Option) (*config, error) {
	c := &config{storage: jetstream.FileStorage}
	for _, o := range opts {
		if o != nil {
			o(c)
		}
	}
	if c.namespace == "" {
		c.namespace = "default"
	}
	c.shards = or(c.shards, 1)
	c.replicas = or(c.replicas, 1)
	c.maxAge = or(c.maxAge, defaultMaxAge)
	c.maxRecords = or(c.maxRecords, defaultMaxRecords)
	c.lease = or(c.lease, defaultLease)
	if c.logger == nil {
		c.logger = slog.Default()
	}
	return c, c.check()
}

func or[T int | time.Duration](v, usual T) T {
	if v == 0 {
		return usual
	}
	return v
}

func (c *config) check() error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf("roomnats: "+format, args...)) }
	if !validNamespace(c.namespace) {
		say("Namespace(%q) must be of letters, digits and -, 16 bytes at most", c.namespace)
	}
	if c.shards < 1 || c.shards > 1024 {
		say("Shards(%d) must be from 1 to 1024", c.shards)
	}
	if c.replicas != 1 && c.replicas != 3 {
		say("Replicas(%d) must be 1 or 3", c.replicas)
	}
	if c.maxBytes != 0 && c.maxBytes < minBytes {
		say("MaxBytes(%d) must be at least %d", c.maxBytes, minBytes)
	}
	if c.maxAge < minAge {
		say("MaxAge(%v) must be at least %v", c.maxAge, minAge)
	}
	if c.maxRecords < 100 {
		say("MaxRecords(%d) must be at least 100", c.maxRecords)
	}
	if c.lease < minLease {
		say("Lease(%v) must be at least %v", c.lease, minLease)
	}
	return errors.Join(wrong...)
}

func validNamespace(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return len(s) <= 16
}

// ConnOptions are options for nats.Connect that suit a room: a lost connection is made
// again for as long as it takes, and soon; one that does not answer is noticed within
// seconds; and what was to be sent while there is none fails, for the room to decide
// about. Options of the caller's own may follow:
//
//	opts := append(roomnats.ConnOptions(), nats.UserCredentials("room.creds"))
//	nc, err := nats.Connect(url, opts...)
func ConnOptions() []nats.Option {
	return []nats.Option{
		nats.Name("tcproom"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(2 * time.Second),
	}
}
