// Package fold makes the state of a room of the records of its log. It is pure: it has
// no lock, no clock and no I/O, so that all processes that read the same records have the
// same state, and know of each entry whether it counts.
//
// A record is a batch of entries of one node, in the format of record.go. The position of
// an entry is that of its record times [MaxEntries] plus its index there. It is the seq
// of the event that the entry makes, if it makes one.
package fold

import (
	"fmt"
	"net/netip"
	"time"
)

// MaxEntries is how many entries a record has at most.
const MaxEntries = 4096

// A Node names the stay of a process in a cluster.
type Node [16]byte

// An Epoch names a stream: the room from a begin to its end.
type Epoch [16]byte

// A Hash is the SHA-256 of the token of a session; zero: the member has none.
type Hash [32]byte

// A Kind says what an entry is. Kinds from 128 on stop a room that does not know them.
type Kind uint8

// The kinds, as they are in records.
const (
	Message  Kind = 1  // From (and Name, if Guest), Unique (of a guest), Number, Body, Service
	Join     Kind = 2  // ID, Name, Hash, Grace, Addr, Unique, MaxMembers, Number
	Leave    Kind = 3  // ID, Cause, Text, Service; by its home or, if it is detached and its grace is over, by any node
	Detach   Kind = 4  // ID, Number: as of a resume; Service
	Resume   Kind = 5  // ID, Hash, Addr, Number: up to what position its node knew the room
	Direct   Kind = 6  // ID (to), From, Body, Service
	Kick     Kind = 7  // ID, Text: the reason
	Rename   Kind = 8  // ID, Name, Unique
	Mute     Kind = 9  // ID, Until
	Ban      Kind = 10 // Name, Prefix, Until, Text: the reason; Lift
	Open     Kind = 16 // nothing: the node that wrote the record opens, and has another life
	Begin    Kind = 17 // Epoch: the new one; Replaces; Number: up to what position its node knew the room
	NodeLeft Kind = 18 // nothing: of the node that wrote it
	NodeDown Kind = 19 // Node
	Reclaim  Kind = 20 // IDs, Replaces: the node that its members had as home
	Beat     Kind = 21 // Number: the position of a beat before; Sum: of the state before that
	End      Kind = 22 // Force: also while somebody is in
)

// An Entry is one thing that a node wants ordered. Which fields count depends on Kind.
type Entry struct {
	Kind Kind
	// Service says that the program speaks, so that an entry of a member counts from a
	// node that is not its home.
	Service bool
	// Guest says that From and Name are not those of a member.
	Guest bool
	// Unique is the condition that nobody else has the name.
	Unique bool
	Force  bool
	Lift   bool // ends the ban of the same Name and Prefix

	ID         string // of the member that the entry is about
	From       string // ID of who speaks; empty: the room
	Name       string // of a join, a rename or a guest
	Number     uint64 // of a numbered message, 0: it has none; of a join, the greatest of its connection; of a resume, detach or begin, 0: it does not count
	Body       []byte // within the record, after parsing
	Cause      string
	Text       string
	Hash       Hash
	Grace      time.Duration // for how long a detached member stays
	Addr       netip.Addr    // of its peer; invalid: none
	MaxMembers int           // the condition that there are fewer than that; 0: none
	Until      time.Time     // of a mute, zero ends it; of a ban, zero means without end
	Prefix     netip.Prefix
	Epoch      Epoch
	Node       Node
	Replaces   [16]byte
	IDs        []string
	Sum        uint64
}

// A Verdict is what becomes of an entry.
type Verdict uint8

// The verdicts. All but Placed mean that the entry changes nothing.
const (
	Placed    Verdict = iota
	NotMember         // no such member, or not from its home
	NameTaken
	Full
	Banned
	Muted
	Duplicate // its number was taken
	Fenced    // its node is dead, has left or has not opened
	Stale     // the whole record was in the log before, or is of an older life
	Elsewhen  // its epoch is not in force
	Needless  // it says what is so already, or what is not the case
	Unknown   // its kind is not known
	Away      // the member that a direct message is for is detached
	Overtaken // the member has resumed, and who wrote that did not know it
)

var verdictNames = [...]string{"placed", "not-member", "name-taken", "full", "banned", "muted", "duplicate", "fenced", "stale", "elsewhen", "needless", "unknown", "away", "overtaken"}

// String returns the verdict as logs have it.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict-%d", uint8(v))
}

// A Result is what an entry has become.
type Result struct {
	Entry   *Entry // valid until the function that got it has returned
	Seq     uint64 // its position
	Index   int    // in its record
	Verdict Verdict
	Header  Header // of its record
	// Member is the member that the entry is about, or that speaks, as it is after the
	// entry, also if that has taken it out; nil if there is none, and for an entry that is
	// Fenced, Stale, Elsewhen or Unknown. Of a direct message it is the one that it is for.
	Member *Member
	// Members are those that a reclaim has brought home, in the order of its IDs, or that
	// the end of a node has detached, in the order of their joins. The slice is valid
	// until the function that got the Result has returned.
	Members []*Member
	// Old is the home that it had before a resume or reclaim, and the name that it had
	// before a rename.
	Old     Node
	OldName string
	// Missing is, in the Result of the first entry, how many records of the node's life
	// should be before this one and are not: the log has lost them.
	Missing uint64
	// Differs says that this state is not the one that the writer has made of the same
	// records. A beat shows that by its Sum. A begin that is Needless shows it if its writer
	// knew the room up to behind the begin of the epoch in force, and did not have that: the
	// log had dropped it before the writer began to read.
	Differs bool
}

// A Member is one that is in the room, as all nodes know it.
type Member struct {
	ID, Name string
	Hash     Hash
	Home     Node
	Addr     netip.Addr
	Grace    time.Duration
	Number   uint64    // the greatest that it has used, also elsewhere before its join
	Joined   uint64    // the position of its join
	Resumed  uint64    // the position of its last resume; 0: it has not resumed
	Detached time.Time // when it lost its link, by the log's clock; zero: it has one
}

// A Header is the beginning of a record.
type Header struct {
	Node  Node
	Batch uint64 // of the node: its life << 48 | 1, 2, 3 …
	Epoch Epoch  // that its writer believed in; zero: none
}
