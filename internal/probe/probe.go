// Package probe lets package roomtest hear what happens in a room without a
// name in the exported API.
package probe

import "context"

// A Probe hears what a room does. Its functions must not block and not call
// the room; each may be nil.
type Probe struct {
	// Ordered hears each event that gets a place in the room's order, a
	// *tcproom.Event that is valid until it returns. It is called under the
	// room's lock, before anybody is told of the event.
	Ordered func(ev any)
	// Next returns the seq of the event that follows that of seq last, 0 for the first one:
	// a greater one. It is called under the lock of a room, of several rooms at once, and
	// more than once for an event that is held back. Nil: seqs are dense. A Probe without
	// one keeps that of a Probe before it.
	Next func(last uint64) uint64
	// HookFailed hears of each panic and runtime.Goexit in a hook, with the
	// *tcproom.HookError and the name of the connection, on the hook's goroutine.
	HookFailed func(err error, name string)
	// Aside is part of what Tell says to this dialling end: frames with it may
	// be longer than its message limit allows, by MaxAside bytes.
	Aside string
}

// An Ahead is a connection at the room's end that wants to know whether what the room has
// read from it is on its way to the room's log: then the room reads on all the same.
type Ahead interface {
	// Ahead is called under the room's lock when something is, and when nothing is any
	// more. It must not block and not call the room.
	Ahead(is bool)
}

// MaxAside bounds what Tell may say, in bytes.
const MaxAside = 64

// Failed calls HookFailed, if it is there.
func (p *Probe) Failed(err error, name string) {
	if p.HookFailed != nil {
		p.HookFailed(err, name)
	}
}

// Option returns what is a tcproom.RoomOption and a tcproom.DialOption and
// sets the probe. Package tcproom sets it when it is initialized.
var Option func(Probe) any

// Queued returns how many bytes a *tcproom.Conn at the dialling end has taken
// to be written. Package tcproom sets it when it is initialized.
var Queued func(c any) int64

// Closing reports whether Close or CloseWrite of a *tcproom.Conn at the
// dialling end was called. Package tcproom sets it when it is initialized.
var Closing func(c any) bool

// Tell is Member.Send of a *tcproom.Member, whatever its message limit is. Package
// tcproom sets it when it is initialized.
var Tell func(ctx context.Context, m any, body []byte) error

// Link returns the connection of a *tcproom.Member, or its last one. Package tcproom
// sets it when it is initialized.
var Link func(m any) interface {
	// Err returns why the connection has ended, or nil while it has not.
	Err() error
}

// Fold returns how far a *tcproom.Room with a log has read that, as the position of the
// last record, and a sum of what it has made of it; 0 and 0 of a room without one.
// Package tcproom sets it when it is initialized.
var Fold func(room any) (pos, sum uint64)
