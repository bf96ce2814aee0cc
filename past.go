package tcproom

import (
	"bytes"
	"slices"
	"time"
)

// Past is what a room still has of its messages, and where its order stood at the same
// instant. See [Room.Past].
type Past struct {
	// Epoch names this life of the room; (Epoch, seq) names an event for ever.
	Epoch string
	// Seq is that of the room's last event, of any kind; 0 if there was none.
	Seq uint64
	// Events are Messages, oldest first.
	Events []Event
	// Gap says that there were messages behind the seq that was asked for and before
	// Events which the room does not have any more.
	Gap bool
	// Log says that the room has one, see [WithLog]: events behind Seq may have their
	// places already, and this process has still to read them.
	Log bool
}

// Past returns what [WithHistory] keeps of the messages with a seq above after: the
// oldest of them, at most limit. Zero and negative limits mean all. Without WithHistory
// there are none, and Gap says whether there were any.
//
// It does not block, and works in a room that was shut down or closed. The caller owns
// what it returns.
func (r *Room) Past(after uint64, limit int) Past {
	p, records := r.past(after, limit)
	// What an arena holds never changes, so the bodies need no lock.
	p.Events = make([]Event, len(records))
	for i := range records {
		rec := &records[i]
		p.Events[i] = Event{Kind: rec.kind, Seq: rec.seq, From: rec.from, Time: rec.time, Body: bytes.Clone(rec.body)}
	}
	return p
}

// past is Past, with the records in place of the events.
func (r *Room) past(after uint64, limit int) (Past, []record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := Past{Epoch: r.epoch.get(), Seq: r.seq, Gap: after < r.said, Log: r.replica != nil}
	if r.history == nil {
		return p, nil
	}
	r.history.expire(time.Now())
	p.Gap = after < r.history.gone
	if after >= r.seq {
		return p, nil
	}
	records := r.history.since(after + 1)
	if limit > 0 {
		records = records[:min(limit, len(records))]
	}
	return p, slices.Clone(records)
}
