package tcproom

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"time"
)

// The defaults of options, as the documentation of each option states them.
const (
	defaultMaxMessage       = 64 << 10
	defaultHandshakeTimeout = 10 * time.Second
	defaultWriteTimeout     = 30 * time.Second
	defaultBacklog          = 4 << 20
	defaultMaxWait          = 5 * time.Second
	defaultMaxPending       = 256
)

// limits is what both ends of a connection can be configured with.
type limits struct {
	framing          Framing
	framingID        *byte // of the option that set it
	codec            Codec
	codecID          *byte
	features         Features // of codec
	maxMessage       int
	handshakeTimeout time.Duration
	writeTimeout     time.Duration
	idleTimeout      time.Duration
	heartbeat        time.Duration
	logger           *slog.Logger
	tls              *tls.Config
	readBuffer       int
	writeBuffer      int
}

// speakLike makes l speak as other does.
func (l *limits) speakLike(other *limits) {
	l.framing, l.framingID = other.framing, other.framingID
	l.codec, l.codecID = other.codec, other.codecID
}

func (l *limits) setDefaults() {
	if l.framing == nil {
		l.framing = Lines{}
	}
	if l.codec == nil {
		l.codec = Text{}
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	l.features = featuresOf(l.codec)
	setDefault(&l.maxMessage, defaultMaxMessage)
	l.maxMessage = min(l.maxMessage, maxMaxMessage)
	setTimeout(&l.handshakeTimeout, defaultHandshakeTimeout)
	setTimeout(&l.writeTimeout, defaultWriteTimeout)
	l.idleTimeout = max(l.idleTimeout, 0)
	l.heartbeat = min(max(l.heartbeat, 0), maxHeartbeat)
}

// featuresOf returns c's Features; none if it panics.
func featuresOf(c Codec) (f Features) {
	defer func() { _ = recover() }()
	return c.Features()
}

// setTimeout sets the default for zero, and one value, noTimeout, for no timeout.
func setTimeout(d *time.Duration, def time.Duration) {
	switch {
	case *d == 0:
		*d = def
	case *d < 0:
		*d = noTimeout
	}
}

const noTimeout time.Duration = -1

// until returns when a timeout of d that begins now is over; zero for none.
func until(d time.Duration) time.Time {
	if d < 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// withDeadline is context.WithDeadlineCause, for which a zero deadline is none.
func withDeadline(ctx context.Context, deadline time.Time, cause error) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, deadline, cause)
}

// maxMaxMessage keeps frames, which codecs make larger than bodies, far from
// where 32-bit sizes overflow.
const maxMaxMessage = 64 << 20

// maxHeartbeat keeps what is computed of a period within a Duration.
const maxHeartbeat = math.MaxInt64 / 8

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}
