package roomnats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tcproom"
)

// A roomLog is the log of one room: the messages of one subject. A record's position is
// the number of its message in the stream, which other rooms share.
type roomLog struct {
	b       *Backplane
	place   *place
	room    string
	token   string
	subject string
	caps    tcproom.Caps
	alone   bool // the Backplane has no other log, and is closed with it

	ctx   context.Context // ends with Close, of the log or of the Backplane
	close context.CancelCauseFunc

	mu     sync.Mutex // guards what follows
	doubts []string   // ids of records that are perhaps stored, the last ones
}

var _ tcproom.Log = (*roomLog)(nil)

// findCaps says what the stream that was found can do.
func (l *roomLog) findCaps() tcproom.Caps {
	c, size := l.place.config, int(l.b.nc.MaxPayload())
	if c.MaxMsgSize > 0 {
		size = min(size, int(c.MaxMsgSize))
	}
	return tcproom.Caps{
		MaxRecord: size - headroom,
		Window:    c.Duplicates,
		Lease:     l.b.lives.config.MaxAge,
		Age:       max(c.MaxAge, 0),
		Records:   int(max(c.MaxMsgsPerSubject, 0)),
		Durable:   c.Storage == jetstream.FileStorage,
	}
}

// Caps implements [tcproom.Log].
func (l *roomLog) Caps() tcproom.Caps { return l.caps }

// Nodes implements [tcproom.Log].
func (l *roomLog) Nodes() tcproom.Nodes { return l.b.Nodes() }

// Close implements [tcproom.Log].
func (l *roomLog) Close() error {
	l.close(net.ErrClosed)
	if l.alone {
		return l.b.Close()
	}
	return nil
}

// Append makes one attempt.
func (l *roomLog) Append(ctx context.Context, id string, rec []byte) (uint64, error) {
	fail := func(err error) (uint64, error) {
		if l.isInDoubt(id) {
			err = fmt.Errorf("%w: %w", tcproom.ErrUncertain, err)
		}
		return 0, fmt.Errorf("roomnats: append to room %q: %w", l.room, err)
	}
	ctx, cancel := during(ctx, l.ctx)
	defer cancel()
	switch {
	case len(rec) > l.caps.MaxRecord:
		return fail(fmt.Errorf("a record of %d bytes, and the stream takes %d at most", len(rec), l.caps.MaxRecord))
	case id == "" || len(id) > maxID:
		return fail(fmt.Errorf("the id of a record must have from 1 to %d bytes, and has %d", maxID, len(id)))
	case ctx.Err() != nil:
		return fail(context.Cause(ctx))
	case l.b.nc.IsClosed():
		return fail(nats.ErrConnectionClosed)
	}
	m := nats.NewMsg(l.subject)
	m.Data = rec
	// The server knows ids by stream, and not by room.
	m.Header.Set(jetstream.MsgIDHeader, l.token+"/"+id)
	ack, err := l.b.publish(ctx, l.place, m)
	if err == nil {
		l.settle(id)
		return ack.Sequence, nil
	}
	err = because(ctx, err)
	if !refused(err) {
		l.doubt(id)
	}
	return fail(err)
}

// maxDoubts is how many ids are kept that are in doubt. A room has one at a time, and one
// that it has given up it does not append again.
const maxDoubts = 64

// doubt notes that it is not known what has become of a record. Then a later attempt that
// is refused, or not made, says nothing of it: this one may have stored it.
func (l *roomLog) doubt(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.doubts, id) {
		return
	}
	if len(l.doubts) == maxDoubts {
		l.doubts = slices.Delete(l.doubts, 0, 1)
	}
	l.doubts = append(l.doubts, id)
}

// settle notes that a record is stored.
func (l *roomLog) settle(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.doubts, id); i >= 0 {
		l.doubts = slices.Delete(l.doubts, i, i+1)
	}
}

func (l *roomLog) isInDoubt(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.doubts, id)
}

// maxID is the length of an id, which is in the headers of its record.
const maxID = 1024

// refused reports whether an attempt has surely not stored its record, nor will. What is
// refused for the moment alone, as while there is no leader, does not count: that which
// says so may not know what has become of it.
func refused(err error) bool {
	if failed, ok := errors.AsType[*jetstream.APIError](err); ok {
		return failed.Code >= 400 && failed.Code < 500 && failed.Code != 408 && failed.Code != 409 && failed.Code != 429
	}
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrHeadersNotSupported)
}
