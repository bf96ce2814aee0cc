//go:build linux

package main

// A dialect is what the load generator says to a server, and what it gets
// back. All deliveries of one room and one size of line are equally long and
// differ in the line only, so that a receiver needs only count bytes, unless
// unwrap is set.
type dialect struct {
	// hello appends what a connection says first; nil: nothing.
	hello func(dst []byte, m membership) []byte
	// greeted says whether reply, all that came so far, is the whole answer;
	// nil: there is none.
	greeted func(reply []byte, m membership) (bool, error)
	// publish appends a message to a room.
	publish func(dst []byte, room int, line []byte) []byte
	// around is what stands before and after the line in a delivery.
	around func(room, size int) (before, after string)
	// bare says that deliveries have the line without its newline.
	bare bool
	// unwrap is for deliveries of unequal length, each of so many newlines, which
	// receivers count: of each line in one it appends what is the sender's, or
	// nothing. Then nothing stands around the sender's line. nil: they are equally
	// long.
	unwrap   func(dst, line []byte) []byte
	newlines int
	// echo is set where who receives gets its own messages too.
	echo bool
}

// frame is how many bytes a delivery of a line of size bytes counts as.
func (d *dialect) frame(size int) int {
	if d.unwrap != nil {
		return d.newlines * size // each newline counts as a line
	}
	before, after := d.around(0, size)
	if d.bare {
		size--
	}
	return len(before) + size + len(after)
}

// A membership says what a connection is for.
type membership struct {
	conn     int // its number
	room     int
	receives bool
	sends    bool
}

// plainLines is spoken by servers of the kind that this library is: what a
// member writes is what the others read, and nothing is said before.
var plainLines = dialect{
	publish: func(dst []byte, _ int, line []byte) []byte { return append(dst, line...) },
	around:  func(int, int) (string, string) { return "", "" },
}
