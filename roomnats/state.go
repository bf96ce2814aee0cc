package roomnats

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// chunk is how much of a state is in one message.
const chunk = 256 << 10

// A pointer is the value of a room's key: what was saved, the last one first. It is
// written after the chunks, and only over the one that its writer has read.
type pointer struct {
	Format int      `json:"format"`
	Saves  []saving `json:"saves"`
}

// A saving says where the chunks of a state are: at <room>.<position>.<id>.<i>. The id
// keeps apart what two nodes save of one position.
type saving struct {
	At     uint64 `json:"at"`
	ID     string `json:"id"`
	Chunks int    `json:"chunks"`
	Sum    string `json:"sum"` // SHA-256 of the state
}

const pointerFormat = 1

// maxRaces is how often nodes that save at the same time may come first.
const maxRaces = 16

func (l *roomLog) key(s saving, rest string) string {
	return bucketSubject(l.b.config.states(), fmt.Sprintf("%s.%d.%s.%s", l.token, s.At, s.ID, rest))
}

func (l *roomLog) pointerSubject() string { return bucketSubject(l.b.config.states(), l.token) }

// Save implements [tcproom.Log].
func (l *roomLog) Save(ctx context.Context, at uint64, state []byte) error {
	ctx, cancel := during(ctx, l.ctx)
	defer cancel()
	if err := l.save(ctx, at, state); err != nil {
		return fmt.Errorf("roomnats: save the state of room %q: %w", l.room, because(ctx, err))
	}
	return nil
}

func (l *roomLog) save(ctx context.Context, at uint64, state []byte) error {
	switch {
	case at == 0:
		return errors.New("it must be of a position above 0")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	sum := sha256.Sum256(state)
	s := saving{At: at, ID: rand.Text(), Sum: hex.EncodeToString(sum[:])}
	for rest := state; len(rest) > 0; s.Chunks++ {
		n := min(len(rest), chunk)
		_, err := insist(ctx, func() (*jetstream.PubAck, error) {
			m := &nats.Msg{Subject: l.key(s, fmt.Sprint(s.Chunks)), Data: rest[:n]}
			return l.b.publish(ctx, l.b.states, m)
		})
		if err != nil {
			l.forget(ctx, s)
			return err
		}
		rest = rest[n:]
	}
	for range maxRaces {
		old, revision, err := l.pointer(ctx)
		if err != nil {
			return err
		}
		kept, gone := old.with(s)
		value, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		m := &nats.Msg{Subject: l.pointerSubject(), Data: value}
		_, err = l.b.publish(ctx, l.b.states, m, jetstream.WithExpectLastSequencePerSubject(revision))
		switch {
		case err == nil:
			for _, g := range gone {
				l.forget(ctx, g)
			}
			return nil
		case !changed(err):
			return err // the pointer may be stored: its chunks stay
		}
	}
	l.forget(ctx, s)
	return errors.New("other nodes save without end")
}

// tries is how often a request is made whose answer is late.
const tries = 3

// insist makes a request that may be made twice, again if its answer is late. A state is
// many requests, and one of them is easily late on a machine that has much to do.
func insist[T any](ctx context.Context, request func() (T, error)) (answer T, err error) {
	for range tries {
		answer, err = request()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			break
		}
	}
	return answer, err
}

// read asks for the last message of a subject of the bucket of states.
func (l *roomLog) read(ctx context.Context, subject string) (*stored, error) {
	return insist(ctx, func() (*stored, error) {
		return l.b.message(ctx, l.b.states.config.Name, wanted{Last: subject})
	})
}

// with returns p with s as the last one, and what is to be removed: all but two, and what
// s replaces.
func (p pointer) with(s saving) (kept pointer, gone []saving) {
	kept = pointer{Format: pointerFormat, Saves: []saving{s}}
	for i, old := range p.Saves {
		if i == 0 && old.At == s.At || len(kept.Saves) == 2 {
			gone = append(gone, old)
		} else {
			kept.Saves = append(kept.Saves, old)
		}
	}
	return kept, gone
}

// changed reports whether another value was written meanwhile.
func changed(err error) bool {
	failed, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (failed.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || failed.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// pointer returns what was saved, and the revision of that.
func (l *roomLog) pointer(ctx context.Context) (p pointer, revision uint64, err error) {
	m, err := l.read(ctx, l.pointerSubject())
	if errors.Is(err, jetstream.ErrStreamNotFound) { // with all that was saved
		l.b.restore(ctx, l.b.states)
		m, err = l.read(ctx, l.pointerSubject())
	}
	if err != nil || m == nil {
		return p, 0, err
	}
	if ended(m.header()) {
		return p, m.Seq, nil
	}
	if err := json.Unmarshal(m.Data, &p); err != nil {
		return p, 0, fmt.Errorf("what was saved is not readable, remove its key %q: %w", m.Subject, err)
	}
	if p.Format != pointerFormat {
		return p, 0, fmt.Errorf("what was saved has format %d, and this version of roomnats knows %d", p.Format, pointerFormat)
	}
	return p, m.Seq, nil
}

// forget removes chunks. If that fails they go with the bucket's age.
func (l *roomLog) forget(ctx context.Context, s saving) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	if err := l.b.states.stream.Purge(ctx, jetstream.WithPurgeSubject(l.key(s, ">"))); err != nil {
		l.b.logger.Debug("roomnats: what a room had saved is not removed", "room", l.room, "at", s.At, "err", err)
	}
}

// Load implements [tcproom.Log].
func (l *roomLog) Load(ctx context.Context) (uint64, []byte, error) {
	ctx, cancel := during(ctx, l.ctx)
	defer cancel()
	at, state, err := l.load(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("roomnats: load the state of room %q: %w", l.room, because(ctx, err))
	}
	return at, state, nil
}

func (l *roomLog) load(ctx context.Context) (uint64, []byte, error) {
	var last uint64
	for range maxRaces {
		if ctx.Err() != nil {
			return 0, nil, context.Cause(ctx)
		}
		p, revision, err := l.pointer(ctx)
		if err != nil || len(p.Saves) == 0 {
			return 0, nil, err
		}
		best, rest := p.Saves[len(p.Saves)-1], p.Saves[0]
		if there, err := insist(ctx, func() (bool, error) { return l.has(ctx, best.At) }); err != nil {
			return 0, nil, err
		} else if !there {
			best, rest = rest, best
		}
		state, err := l.chunks(ctx, best)
		if err == nil && state == nil && revision == last {
			// Nobody has saved meanwhile: that one is spoilt.
			l.b.logger.Warn("roomnats: what a room has saved is not whole, and is passed over", "room", l.room, "at", best.At)
			best = rest
			state, err = l.chunks(ctx, best)
		}
		if err != nil {
			return 0, nil, err
		}
		if state != nil {
			return best.At, state, nil
		}
		if revision == last {
			return 0, nil, nil
		}
		last = revision
	}
	return 0, nil, errors.New("other nodes save faster than this one can read")
}

// chunks returns a state, nil if it is not whole.
func (l *roomLog) chunks(ctx context.Context, s saving) ([]byte, error) {
	state := make([]byte, 0, min(s.Chunks, 64)*chunk)
	for i := range s.Chunks {
		m, err := l.read(ctx, l.key(s, fmt.Sprint(i)))
		if err != nil {
			return nil, err
		}
		if m == nil {
			return nil, nil
		}
		state = append(state, m.Data...)
	}
	if sum := sha256.Sum256(state); hex.EncodeToString(sum[:]) != s.Sum {
		return nil, nil
	}
	return state, nil
}
