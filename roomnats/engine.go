package roomnats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// attempt bounds one request to the servers.
	attempt = 2 * time.Second
	// answerWithin bounds one at the beginning, when streams may have to be made.
	answerWithin = 5 * time.Second
	// badFor is how long requests may fail on a connection that seems healthy: the
	// server at its other end may be cut off from the others. Those elect a leader in
	// less than that, and their clients stay.
	badFor = 8 * time.Second
)

// inProcess is the code of the error for an id whose record is not yet stored.
const inProcess jetstream.ErrorCode = 10158

// api is the prefix of JetStream's subjects.
const api = "$JS.API."

// An engine is what a Backplane has of the servers.
type engine struct {
	*config
	nc *nats.Conn
	js jetstream.JetStream

	// restoring is held by what makes streams again.
	restoring sync.Mutex

	mu       sync.Mutex // guards what follows
	badSince time.Time  // zero: the last request was answered, or nothing is known
	// link ends when the connection is lost: what was asked for is not answered then.
	link   context.Context
	unlink context.CancelCauseFunc
}

var errLost = errors.New("the connection to the server was lost")

// watchLink ends links. It ends with ctx.
func (e *engine) watchLink(ctx context.Context, changed chan nats.Status) {
	defer e.nc.RemoveStatusListener(changed)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			e.relink()
		}
	}
}

// relink ends the link, if there is one, and makes the next.
func (e *engine) relink() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unlink != nil {
		e.unlink(errLost)
	}
	e.link, e.unlink = context.WithCancelCause(context.Background())
}

// linked returns ctx for requests: it ends with the connection, too.
func (e *engine) linked(ctx context.Context) (context.Context, context.CancelFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return during(ctx, e.link)
}

// attempted is linked, for one attempt.
func (e *engine) attempted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, unlink := e.linked(ctx)
	ctx, cancel := context.WithTimeout(ctx, attempt)
	return ctx, func() {
		cancel()
		unlink()
	}
}

// A place is a stream, of a log or of a bucket.
type place struct {
	stream jetstream.Stream
	config jetstream.StreamConfig // as it was found
}

// fixedBy names what must be the same for all nodes: the streams' metadata have it.
const (
	formatKey = "tcproom-format"
	shardsKey = "tcproom-shards"
	format    = "1"
)

// logConfig is the stream of a shard.
func (c *config) logConfig(shard int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        c.stream(shard),
		Description: "what was said in the rooms of tcproom, in order",
		Subjects:    []string{c.subject(shard, "*")},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     c.storage, Replicas: c.replicas,
		MaxAge: c.maxAge, MaxMsgsPerSubject: int64(c.maxRecords), MaxBytes: c.maxBytes,
		MaxMsgs: -1, MaxConsumers: -1,
		MaxMsgSize: maxMessage, Duplicates: min(window, c.maxAge), AllowDirect: true, DenyDelete: true,
		Metadata: map[string]string{formatKey: format, shardsKey: strconv.Itoa(c.shards)},
	}
}

// bucketConfig is the stream of a bucket, as clients of key-value buckets expect it.
func (c *config) bucketConfig(bucket, about string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        bucketStream(bucket),
		Description: about,
		Subjects:    []string{bucketSubject(bucket, ">")},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     c.storage, Replicas: c.replicas,
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxConsumers: -1, MaxMsgSize: -1,
		AllowRollup: true, DenyDelete: true, AllowDirect: true,
		Metadata: map[string]string{formatKey: format},
	}
}

// stateConfig is the bucket of what rooms save, whose logs keep records for age, or
// without end if that is 0. What is of no use any more, because the log has no record of
// it, goes by itself.
func (c *config) stateConfig(age time.Duration) jetstream.StreamConfig {
	s := c.bucketConfig(c.states(), "what the rooms of tcproom have saved")
	s.MaxAge, s.Duplicates = 2*age, window
	if age > 0 {
		s.Duplicates = min(window, 2*age)
	}
	s.MaxBytes = max(c.maxBytes/4, minBytes)
	return s
}

// leaseConfig is the bucket of leases.
func (c *config) leaseConfig() jetstream.StreamConfig {
	s := c.bucketConfig(c.leases(), "which nodes of tcproom live")
	s.MaxAge, s.Duplicates = c.lease, min(window, c.lease)
	s.AllowMsgTTL, s.SubjectDeleteMarkerTTL = true, markerTTL
	s.MaxBytes = leaseBytes
	return s
}

// attach finds a stream, and makes it if there is none.
func (e *engine) attach(ctx context.Context, want jetstream.StreamConfig) (*place, error) {
	s, err := e.look(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if s, err = e.create(ctx, want); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("roomnats: look for stream %q: %w", want.Name, hint(err))
	}
	got := s.CachedInfo().Config
	if err := e.compare(got, want); err != nil {
		return nil, err
	}
	return &place{stream: s, config: got}, nil
}

// look looks for a stream.
func (e *engine) look(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return e.js.Stream(ctx, name)
}

func (e *engine) create(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	if e.maxBytes == 0 {
		return nil, fmt.Errorf("roomnats: there is no stream %q, and it cannot be made: say with roomnats.MaxBytes how much it may take", want.Name)
	}
	asking, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	s, err := e.js.CreateStream(asking, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // by another node just now
		s, err = e.look(ctx, want.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("roomnats: make stream %q: %w", want.Name, hint(err))
	}
	return s, nil
}

// hint adds what is often wrong where the servers say nothing.
func hint(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) {
		return fmt.Errorf("no answer, which may be for want of the permissions that package roomnats lists: %w", err)
	}
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		return fmt.Errorf("%w: start the server with JetStream, as by nats-server -js", err)
	}
	return err
}

// compare refuses a stream that cannot be used, and logs what is otherwise than it was to
// be.
func (e *engine) compare(got, want jetstream.StreamConfig) error {
	for _, key := range []string{formatKey, shardsKey} {
		if g, w := got.Metadata[key], want.Metadata[key]; w != "" && g != w {
			return fmt.Errorf("roomnats: stream %q has %q as its %s, and %q is needed: use the number of shards that it was made with, another namespace, or another version of roomnats",
				want.Name, g, key, w)
		}
	}
	if len(got.Subjects) != 1 || got.Subjects[0] != want.Subjects[0] {
		return fmt.Errorf("roomnats: stream %q has the subjects %q, and %q is needed: remove it, or use another namespace", want.Name, got.Subjects, want.Subjects)
	}
	if got.Retention != jetstream.LimitsPolicy {
		return fmt.Errorf("roomnats: stream %q keeps messages by %v, and must do so by its limits alone: remove it, or use another namespace", want.Name, got.Retention)
	}
	if got.MaxMsgSize > 0 && got.MaxMsgSize < 64<<10+headroom {
		return fmt.Errorf("roomnats: stream %q takes messages of %d bytes at most, and at least %d are needed: change its MaxMsgSize", want.Name, got.MaxMsgSize, 64<<10+headroom)
	}
	if want.AllowMsgTTL && (got.MaxAge < minLease || got.SubjectDeleteMarkerTTL == 0) {
		return fmt.Errorf("roomnats: bucket stream %q has an age of %v and markers for %v: leases need at least %v, and markers: remove it", want.Name, got.MaxAge, got.SubjectDeleteMarkerTTL, minLease)
	}
	var differs []any
	note := func(name string, g, w any) {
		if g != w {
			differs = append(differs, slog.Group(name, "is", g, "wanted", w))
		}
	}
	note("storage", got.Storage.String(), want.Storage.String())
	note("replicas", got.Replicas, want.Replicas)
	note("max_age", got.MaxAge, want.MaxAge)
	note("max_msgs_per_subject", got.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	if e.maxBytes != 0 {
		note("max_bytes", got.MaxBytes, want.MaxBytes)
	}
	note("max_msg_size", got.MaxMsgSize, want.MaxMsgSize)
	note("duplicates", got.Duplicates, want.Duplicates)
	note("discard", got.Discard.String(), want.Discard.String())
	note("allow_direct", got.AllowDirect, want.AllowDirect)
	note("deny_delete", got.DenyDelete, want.DenyDelete)
	if len(differs) > 0 {
		e.logger.Warn("roomnats: a stream is used that has other limits", append([]any{"stream", want.Name}, differs...)...)
	}
	return nil
}

// restore makes a stream again that the servers do not have any more, as one in memory
// after a restart. It blocks for as long as one attempt. If another call is at it, or the
// servers do not say that it is gone, it does nothing.
func (e *engine) restore(ctx context.Context, p *place) {
	if !e.restoring.TryLock() {
		return
	}
	defer e.restoring.Unlock()
	ctx, cancel := e.attempted(ctx)
	defer cancel()
	if _, err := e.js.Stream(ctx, p.config.Name); !errors.Is(err, jetstream.ErrStreamNotFound) {
		return
	}
	c := p.config
	c.Metadata = map[string]string{}
	for _, key := range []string{formatKey, shardsKey} {
		if v := p.config.Metadata[key]; v != "" {
			c.Metadata[key] = v
		}
	}
	if _, err := e.js.CreateStream(ctx, c); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		e.logger.Warn("roomnats: a stream is gone, and cannot be made again", "stream", c.Name, "err", err)
		return
	}
	e.logger.Warn("roomnats: a stream was gone, and is made again: what it had is lost", "stream", c.Name)
}

// publish sends a message to a stream and waits for the answer, once and not longer than
// an attempt.
func (e *engine) publish(ctx context.Context, p *place, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ctx, cancel := e.attempted(ctx)
	defer cancel()
	// Retries of the client's own could store what has been given up.
	opts = append(opts, jetstream.WithRetryAttempts(0), jetstream.WithExpectStream(p.config.Name))
	ack, err := e.js.PublishMsg(ctx, m, opts...)
	e.health(err)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		e.restore(ctx, p)
	}
	return ack, because(ctx, offline(err))
}

// offline says what the client means by a buffer that is full: [ConnOptions] have none.
func offline(err error) error {
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		return fmt.Errorf("there is no connection to a server: %w", err)
	}
	return err
}

// An answer of JetStream, of which requests here need these parts.
type answer struct {
	Error   *jetstream.APIError `json:"error"`
	Message *stored             `json:"message"`
	State   struct {
		LastSeq uint64 `json:"last_seq"`
	} `json:"state"`
}

// ask sends a request to JetStream, once and not longer than an attempt. It is the leader
// of a stream that answers, and not whichever server is next.
func (e *engine) ask(ctx context.Context, subject string, request any) (answer, error) {
	ctx, cancel := e.attempted(ctx)
	defer cancel()
	a, err := e.request(ctx, subject, request)
	e.health(err)
	return a, because(ctx, offline(err))
}

func (e *engine) request(ctx context.Context, subject string, request any) (a answer, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	m, err := e.nc.RequestWithContext(ctx, api+subject, body)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return a, fmt.Errorf("answer to %s: %w", subject, err)
	}
	if a.Error != nil {
		return a, a.Error
	}
	return a, nil
}

// A stored message, as the leader has it.
type stored struct {
	Subject string `json:"subject"`
	Seq     uint64 `json:"seq"`
	Header  []byte `json:"hdrs"`
	Data    []byte `json:"data"`
}

// A wanted message is one by its number, the last of a subject, or the first of a subject
// from a number on.
type wanted struct {
	Seq   uint64 `json:"seq,omitempty"`
	Last  string `json:"last_by_subj,omitempty"`
	First string `json:"next_by_subj,omitempty"`
}

// message asks the leader of a stream for a message; it is nil if there is none.
func (e *engine) message(ctx context.Context, stream string, w wanted) (*stored, error) {
	a, err := e.ask(ctx, "STREAM.MSG.GET."+stream, w)
	if failed, ok := errors.AsType[*jetstream.APIError](err); ok && failed.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return nil, nil
	}
	return a.Message, err
}

// health takes note of how a request went. If all fail for a while on a connection that
// is there, it makes a new one, perhaps to another server.
func (e *engine) health(err error) {
	bad := err != nil && !errors.Is(err, context.Canceled)
	if failed, ok := errors.AsType[*jetstream.APIError](err); ok {
		// As by a server that does not find a leader, or by one that leads nobody.
		bad = failed.Code >= 500 || failed.ErrorCode == inProcess
	}
	if !e.giveUp(bad) {
		return
	}
	e.logger.Warn("roomnats: the server does not answer, and is given up", "server", e.nc.ConnectedUrlRedacted(), "err", err)
	if err := e.nc.ForceReconnect(); err != nil {
		e.logger.Warn("roomnats: cannot connect anew", "err", err)
	}
}

// giveUp reports whether requests have failed for long enough.
func (e *engine) giveUp(bad bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	switch {
	case !bad || !e.nc.IsConnected():
		e.badSince = time.Time{}
	case e.badSince.IsZero():
		e.badSince = now
	case now.Sub(e.badSince) >= badFor:
		e.badSince = time.Time{}
		return true
	}
	return false
}
