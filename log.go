package tcproom

import (
	"context"
	"fmt"
	"time"
)

// A Log is the order of one room that lives in several processes: a list of records,
// which an engine outside keeps. Each process has a Log of its own, and all of them are
// about one list. [WithLog] gives it to a room. The room fills the records, in a format
// of its own, and all that it puts there comes back to it by Tail; roomnats has a Log on
// NATS JetStream, and roomtest one in memory. To have one on another engine, write it by
// what is said here, and have roomtest/logtest check it.
//
// All methods may be called from many goroutines, Tail too. A Log is of a type that can
// be compared, such as a pointer, for a room looks if another one has it.
type Log interface {
	// Append puts rec behind all records that are there, and returns its position. The
	// first has a position above 0, and each has one that is greater by one than that of
	// the record before, but for those of other rooms, if an engine counts the records of
	// several together. The room ends at a record whose position is 2^41 or above. Records
	// are dropped at the front alone, and their positions are not used again unless the
	// engine loses the log.
	//
	// An id is of 1 to 64 bytes, which are letters, digits, "." and "-" of ASCII. Those of
	// a room's records are unique, over all processes; those of two rooms need not be. Two
	// calls with the same id within [Caps].Window store one record, and both return its
	// position. A room appends one record at a time, and calls Append again with the same
	// id and record if that has failed, for as long as [WithMaxOutage]. If it is stored
	// twice then, because Window is shorter, it counts once.
	//
	// It blocks until the engine has stored it, or ctx ends. An error that wraps
	// [ErrUncertain] means that it is perhaps stored, now or later; any other that it is
	// not, and will not be, as if the Log was closed before. It keeps nothing of rec, and
	// does not write to it. A record of more than [Caps].MaxRecord bytes is refused.
	Append(ctx context.Context, id string, rec []byte) (pos uint64, err error)
	// Tail calls fn with the record at the position from, or the first one that is kept if
	// from is 0, and with each one after it, in order, and goes on with those that come. It
	// calls fn on one goroutine at a time, and not after it has returned. fn may block for
	// long. Tail never skips a record: if one was dropped before fn could get it, it
	// returns.
	//
	// It blocks, and its error is never nil. It returns the error of fn, after which it
	// does not call fn again; an error that wraps the cause of ctx when that has ended; one
	// when the Log was closed; a [*LostError] if the record at from is not there; and else
	// at the first doubt, such as a lost connection: the room then calls it again, from the
	// last record that it got, and looks if that is the same. So it must not go on by
	// itself after a doubt, unless nothing can have changed meanwhile. A log that ends
	// before from is no more than a doubt if the engine may have answered from the past, as
	// a server does that is cut off from the others: a wrong LostError makes all members
	// join anew.
	Tail(ctx context.Context, from uint64, fn func(Record) error) error
	// Save keeps state, which a room has made of all records up to the position at, and the
	// one saved before it, in the place of older ones. Several processes may save at the
	// same time: the one that the engine stores last is the one saved last, also if its
	// position is the lesser one. If the one saved last is of the same position, state
	// takes its place alone. A state grows with the members, and may have many MiB. It
	// blocks until the engine has stored it, or ctx ends; with an error it may be stored or
	// not. It keeps nothing of the slice. at is above 0.
	Save(ctx context.Context, at uint64, state []byte) error
	// Load returns the older one of the two that were saved last, if the record at its
	// position is still there, else the newer one, whatever has become of its record; 0 and
	// nil if there is none. It never returns a part of one, or one that was saved in
	// another room. It blocks until the engine has answered, or ctx ends. The state is the
	// caller's.
	Load(ctx context.Context) (at uint64, state []byte, err error)
	// Nodes returns where processes say that they live: the same leases for all Logs of an
	// engine. It does not block.
	Nodes() Nodes
	// Caps returns what the log can do: always the same. It does not block.
	Caps() Caps
	// Close lets go of what this process holds of the log, and leaves no goroutine. It ends
	// calls that wait, and later ones fail; an Append after it is surely not stored. Other
	// Logs go on, also of the same room. The records, what was saved and leases stay. A
	// room does not call it: the program that has opened the log does, or the [Hub] that
	// has, when the room has stopped. A second Close does nothing. It does not wait for the
	// engine.
	Close() error
}

// A Backplane gives the rooms of one name, in several processes, one log: open one there
// for each room, and give it to [WithLog], or give the Backplane to [WithBackplane], and
// a [Hub] opens one for each of its rooms. All methods may be called from many
// goroutines.
type Backplane interface {
	// Open returns the log of the room, which it makes if there is none: a Log of its own,
	// also if the room has one here. Names of rooms are of 1 to 255 bytes of any kind, of
	// which each is another one: an engine that cannot have them escapes them. That of a
	// hub's connections is "*". The caller closes the log. It may block until the engine
	// has answered, or ctx ends. It fails after Close.
	Open(ctx context.Context, room string) (Log, error)
	// Nodes returns where processes say that they live, for all logs of the Backplane: a
	// hub asks for it once, and has one lease for all of its rooms. It does not block, and
	// what it returns fails after Close.
	Nodes() Nodes
	// Close closes all logs that it has opened, and ends what waits for it, such as Watch
	// of its Nodes. A second Close does nothing.
	Close() error
}

// Nodes are the leases of processes, each of which names itself at random: one that has
// not renewed its lease for [Caps].Lease is dead. A room, or a hub for all of its rooms,
// has one lease, and now and then two for a while. A name is of 1 to 64 letters, digits
// and "-" of ASCII; rooms take 26 capital letters and digits, which are 16 random bytes
// in the base32 of RFC 4648. All methods block until the engine has answered, or ctx
// ends, and may be called from many goroutines.
type Nodes interface {
	// Renew makes or renews the lease of a node. It returns nil only if the engine has
	// confirmed that. A node whose lease has ended may have a new one. It is called
	// three times in a lease.
	Renew(ctx context.Context, node string) error
	// Release ends a lease at once. One that has ended, or never was, is no error.
	Release(ctx context.Context, node string) error
	// Watch calls fn for each lease that is there, with true, and from then on for each
	// that is made and each that has ended, once: with false, of one that it has told of,
	// from 1 to 1.5 of [Caps].Lease after the last Renew, or at once after a Release. A
	// renewal is not told. It calls fn on one goroutine at a time and not after it has
	// returned; fn does not block for long. It returns when ctx ends, when the Backplane
	// was closed, or at the first doubt, and its error is never nil: the room then calls it
	// again.
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

// Caps are what a [Log] can do. A negative value has no meaning.
type Caps struct {
	MaxRecord int           // bytes of a record at most; not below 64 KiB, and 68 KiB for messages of the default limit
	Window    time.Duration // for so long an id of Append is known at least, above 0
	Lease     time.Duration // of a node, above 0
	Age       time.Duration // records are kept for at least so long, if Records allows; 0: without end
	Records   int           // so many are kept at least, if Age allows; 0: all
	Durable   bool          // records outlive a restart of the engine, which is no concern of the room's
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
