package roomnats

import (
	"context"
	"errors"
	"fmt"
	"net"

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
		return ack.Sequence, nil
	}
	err = because(ctx, err)
	if !refused(err) {
		err = fmt.Errorf("%w: %w", tcproom.ErrUncertain, err)
	}
	return fail(err)
}

// maxID is the length of an id, which is in the headers of its record.
const maxID = 1024

// refused reports whether a record is surely not stored, nor will be if it is tried
// again. What is refused for the moment alone, as while there is no leader, does not
// count: the same may succeed, and an earlier attempt may have.
func refused(err error) bool {
	if failed, ok := errors.AsType[*jetstream.APIError](err); ok {
		return failed.Code >= 400 && failed.Code < 500 && failed.Code != 408 && failed.Code != 409 && failed.Code != 429
	}
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrHeadersNotSupported)
}
