package tcproom

import (
	"context"
	"fmt"
	"time"
)

// A Log is the order of one room that lives in several processes: a list of records,
// which an engine outside keeps. Each process has a Log of its own, and all of them are
// about one list. [WithLog] gives it to a room. The room fills the records, and reads no
// meaning into anything else; roomnats has a Log on NATS JetStream, and roomtest one in
// memory. Package roomtest/logtest checks one.
//
// All methods may be called from many goroutines.
type Log interface {
	// Append puts rec behind all records that are there, and returns its position: the first
	// has a position above 0, and of two records the later one has the greater. They need
	// not follow on each other: an engine may count the records of several rooms together.
	// Records are dropped at the front alone. Two calls with the same id within
	// [Caps].Window store one record, and both return its position; the ids of a room's
	// records are unique.
	//
	// It blocks until the engine has stored it, or ctx ends. An error that wraps
	// [ErrUncertain] means that it is perhaps stored, now or later; any other that it is
	// not, and will not be. It keeps nothing of rec. A record of more than [Caps].MaxRecord
	// bytes is refused.
	Append(ctx context.Context, id string, rec []byte) (pos uint64, err error)
	// Tail calls fn with the record at the position from, or the first one that is kept
	// if from is 0, and with each one after it, in order, and goes on with those that
	// come. It calls fn on one goroutine at a time, and not after it has returned.
	//
	// It blocks. It returns at the first doubt, such as a lost connection, when ctx ends, or
	// after Close, with the
	// error of fn, and with a [*LostError] if the record at from is not there. A log that
	// ends before from is in doubt only, if the engine may have answered from the past, as
	// a server that is cut off from the others does. It never skips a record.
	Tail(ctx context.Context, from uint64, fn func(Record) error) error
	// Save keeps state, which a room has made of all records up to the position at, and
	// the one saved before it, in the place of older ones. Several processes may save at
	// the same time. It blocks until the engine has stored it, or ctx ends; with an error
	// it may be stored or not. It keeps nothing of the slice.
	Save(ctx context.Context, at uint64, state []byte) error
	// Load returns the older one of the two that were saved last, if the record at its
	// position is still there, else the newer one; 0 and nil if there is none. It blocks
	// until the engine has answered, or ctx ends. The state is the caller's.
	Load(ctx context.Context) (at uint64, state []byte, err error)
	// Nodes returns where processes say that they live. It does not block.
	Nodes() Nodes
	// Caps returns what the log can do. It does not block.
	Caps() Caps
	// Close lets go of what this process holds of the log, and ends calls that wait; later
	// ones fail. The records stay. A room does not call it: who has opened the log closes
	// it, when the room has stopped. A second Close does nothing.
	Close() error
}

// A Backplane gives the rooms of one name, in several processes, one log. Open a log
// there for each room, and give it to [WithLog], or give a [Hub] the whole by
// [WithBackplane]. All methods may be called from many goroutines.
type Backplane interface {
	// Open returns the log of the room, which it makes if there is none. The caller closes
	// it. It may block until the engine has answered, or ctx ends. It fails after Close.
	Open(ctx context.Context, room string) (Log, error)
	// Nodes returns where processes say that they live, for all logs of the Backplane: a
	// hub asks for it once, and has one lease for all of its rooms. It does not block.
	Nodes() Nodes
	// Close closes all logs that it has opened. A second Close does nothing.
	Close() error
}

// Nodes are the leases of processes, each of which names itself at random: one that has
// not renewed its lease for [Caps].Lease is dead. All methods block until the engine has
// answered, or ctx ends, and may be called from many goroutines. A room, or a hub for all of
// its rooms, has one lease, and now and then two for a while.
type Nodes interface {
	// Renew makes or renews the lease of a node. It returns nil only if the engine has
	// confirmed that. A node whose lease has ended may have a new one. It is called
	// three times in a lease.
	Renew(ctx context.Context, node string) error
	// Release ends a lease at once. One that has ended is no error.
	Release(ctx context.Context, node string) error
	// Watch calls fn for each lease that is there, and from then on for each that is made
	// and each that has ended, on one goroutine at a time and not after it has returned. It
	// returns when ctx ends, or at the first doubt.
	Watch(ctx context.Context, fn func(node string, alive bool)) error
	// Alive reports whether the node has a lease now. With an error it is not known: a
	// server that may lag behind the others gives no answer.
	Alive(ctx context.Context, node string) (bool, error)
}

// A Record is one that a [Log] keeps.
type Record struct {
	Pos  uint64    // its position
	Time time.Time // when the engine stored it, by the engine's clock, which may step back
	Data []byte    // valid until the function that got it has returned
}

// Caps are what a [Log] can do.
type Caps struct {
	MaxRecord int           // bytes of a record at most; not below 64 KiB
	Window    time.Duration // for so long an id of Append is known at least
	Lease     time.Duration // of a node, above 0
	Age       time.Duration // records are kept for at least so long, if Records allows; 0: without end
	Records   int           // so many are kept at least, if Age allows; 0: all
	Durable   bool          // records outlive a restart of the engine
}

// A LostError is what [Log.Tail] returns if the record from which it was to go on is not
// there: it was dropped, or the log is another one than it was.
type LostError struct {
	First uint64 // the position of the first record that is there; 0: none is
}

// Error says from where on the log has records.
func (e *LostError) Error() string {
	if e.First == 0 {
		return "tcproom: the log has lost the record to go on from, and has none"
	}
	return fmt.Sprintf("tcproom: the log has lost the record to go on from: it begins at %d", e.First)
}
