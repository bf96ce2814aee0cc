package roomnats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tcproom"
)

// A Backplane keeps the logs of rooms on NATS JetStream. All methods may be called from
// many goroutines.
type Backplane struct {
	*engine
	lives, states *place // the buckets of leases and of what rooms save

	// ctx ends with Close, and with it all that waits.
	ctx     context.Context
	close   context.CancelCauseFunc
	running sync.WaitGroup // watchLink

	attaching sync.Mutex // held while a shard is looked for
	shards    sync.Map   // int to *place: those that have been found
}

var _ tcproom.Backplane = (*Backplane)(nil)

// New returns the Backplane of a namespace, and makes the streams that are not there. nc
// stays the caller's: close it after the Backplane. [ConnOptions] has what suits it.
//
// It blocks until the servers have answered, or ctx ends, or 5 seconds have passed for
// one answer. It fails if an option cannot work, if the servers are older than 2.11 or
// have no JetStream, and if a stream is there that cannot be used.
func New(ctx context.Context, nc *nats.Conn, opts ...Option) (*Backplane, error) {
	b, err := connect(ctx, nc, opts)
	if err != nil {
		return nil, err
	}
	for i := range b.config.shards {
		if _, err := b.shard(ctx, i); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

// Open returns the log of one room, for [tcproom.WithLog], and makes the streams that are
// not there. Rooms of one name are one room in all processes that open it with the same
// namespace. It blocks and fails as [New] does, and for an empty name.
func Open(ctx context.Context, nc *nats.Conn, room string, opts ...Option) (tcproom.Log, error) {
	b, err := connect(ctx, nc, opts)
	if err != nil {
		return nil, err
	}
	l, err := b.open(ctx, room)
	if err != nil {
		b.Close()
		return nil, err
	}
	l.alone = true
	return l, nil
}

// connect makes a Backplane that has no log yet.
func connect(ctx context.Context, nc *nats.Conn, opts []Option) (*Backplane, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if nc == nil {
		return nil, errors.New("roomnats: there is no connection: nc is nil")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("roomnats: %w", err)
	}
	asking, cancel := context.WithTimeout(ctx, answerWithin)
	account, err := js.AccountInfo(asking)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("roomnats: ask for JetStream: %w", hint(err))
	}
	// Since that level buckets tell that a key has ended.
	if account.API.Level < 1 {
		return nil, fmt.Errorf("roomnats: the server, of version %q, is too old: use NATS server 2.11 or later", nc.ConnectedServerVersion())
	}
	b := &Backplane{engine: &engine{config: c, nc: nc, js: js}}
	b.ctx, b.close = context.WithCancelCause(context.Background())
	// The first shard says how many there are.
	first, err := b.shard(ctx, 0)
	if err != nil {
		return nil, err
	}
	if b.states, err = b.attach(ctx, c.stateConfig(first.config.MaxAge)); err != nil {
		return nil, err
	}
	if b.lives, err = b.attach(ctx, c.leaseConfig()); err != nil {
		return nil, err
	}
	b.relink()
	changed := nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	b.running.Go(func() { b.watchLink(b.ctx, changed) })
	return b, nil
}

// shard returns the stream of a shard.
func (b *Backplane) shard(ctx context.Context, i int) (*place, error) {
	if p, ok := b.shards.Load(i); ok {
		return p.(*place), nil
	}
	b.attaching.Lock()
	defer b.attaching.Unlock()
	if p, ok := b.shards.Load(i); ok {
		return p.(*place), nil
	}
	p, err := b.attach(ctx, b.logConfig(i))
	if err != nil {
		return nil, err
	}
	b.shards.Store(i, p)
	return p, nil
}

// Open returns the log of a room. It does not block, but for the first use of a shard. It
// fails for an empty name, and after Close.
func (b *Backplane) Open(ctx context.Context, room string) (tcproom.Log, error) {
	l, err := b.open(ctx, room)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (b *Backplane) open(ctx context.Context, room string) (*roomLog, error) {
	if room == "" {
		return nil, errors.New("roomnats: a room with a log needs a name")
	}
	if b.ctx.Err() != nil {
		return nil, fmt.Errorf("roomnats: open room %q: the Backplane is closed: %w", room, net.ErrClosed)
	}
	shard := shardOf(room, b.config.shards)
	p, err := b.shard(ctx, shard)
	if err != nil {
		return nil, err
	}
	l := &roomLog{b: b, place: p, room: room, token: token(room)}
	l.subject = b.subject(shard, l.token)
	l.caps = l.findCaps()
	l.ctx, l.close = context.WithCancelCause(b.ctx)
	return l, nil
}

// Nodes returns the leases of the namespace. It does not block.
func (b *Backplane) Nodes() tcproom.Nodes { return &nodes{b} }

// Close ends all logs of the Backplane and what waits for them. It does not block, and
// leaves nothing that runs and nothing at the servers that does not end by itself. A
// second Close does nothing. It returns nil.
func (b *Backplane) Close() error {
	b.close(net.ErrClosed)
	b.running.Wait()
	return nil
}

// during returns a context that ends with ctx, or with owner, whose cause it then has.
func during(ctx, owner context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if owner.Err() != nil { // AfterFunc would tell it later
		cancel(context.Cause(owner))
	}
	stop := context.AfterFunc(owner, func() { cancel(context.Cause(owner)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// because returns err with why ctx has ended, if it has; that alone if err was only what
// came of it.
func because(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case err == nil || ctx.Err() == nil || errors.Is(err, cause):
		return err
	case errors.Is(err, ctx.Err()):
		return cause
	default:
		return fmt.Errorf("%w: %w", cause, err)
	}
}
