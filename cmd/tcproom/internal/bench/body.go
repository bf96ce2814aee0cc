package bench

import (
	"bytes"
	"strconv"
)

// A note is what a message says of itself. As a body it is
//
//	~RUN:SENDER:NUMBER:DUE:xxxx
//
// with as many x as make up the size, or none if it is longer without. It is ASCII without spaces, which every codec
// carries as it is.
type note struct {
	sender int
	number uint64 // 1, 2, 3, …; 0 in messages that only find out who is there
	due    int64  // when it was to be sent, in nanoseconds since the run began
}

// minSize is the least size: a note takes no more in runs of up to a billion messages and
// a quarter of an hour.
const minSize = len("~abcdefgh:9999:999999999:999999999999:")

// appendBody appends the body for a note.
func appendBody(dst []byte, run string, n note, size int) []byte {
	at := len(dst)
	dst = append(append(append(dst, '~'), run...), ':')
	dst = append(strconv.AppendInt(dst, int64(n.sender), 10), ':')
	dst = append(strconv.AppendUint(dst, n.number, 10), ':')
	dst = append(strconv.AppendInt(dst, n.due, 10), ':')
	for len(dst)-at < size {
		dst = append(dst, 'x')
	}
	return dst
}

// parseBody finds a note of the run in what a member received, which may have something
// before it, such as a name. whole reports whether the rest is as it was sent.
func parseBody(body []byte, run string, size int) (n note, whole, ok bool) {
	i := bytes.Index(body, []byte("~"+run+":"))
	if i < 0 {
		return note{}, false, false
	}
	body = body[i:]
	parts := bytes.SplitN(body, []byte(":"), 5)
	if len(parts) != 5 {
		return note{}, false, false
	}
	sender, err1 := strconv.ParseUint(string(parts[1]), 10, 31)
	number, err2 := strconv.ParseUint(string(parts[2]), 10, 63)
	due, err3 := strconv.ParseUint(string(parts[3]), 10, 63)
	if err1 != nil || err2 != nil || err3 != nil {
		return note{}, false, false
	}
	whole = len(body) == max(size, len(body)-len(parts[4])) && len(bytes.TrimLeft(parts[4], "x")) == 0
	return note{int(sender), number, int64(due)}, whole, true
}
