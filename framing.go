package tcproom

// A Framing says where one message ends on the wire: it turns bodies into
// frames and a stream of bytes back into bodies.
//
// A Framing is stateless and pure, so that one value serves all connections
// of a room, from many goroutines. Its methods run under the room's lock and
// must not block or call back. Two comparable Framing values that are equal
// share one encoded stream (a lane).
type Framing interface {
	// AppendFrame appends to dst the frame that carries body and returns the
	// extended slice. It keeps neither. It returns an error that wraps
	// [ErrUnframeable], and dst unchanged, for a body that it cannot carry.
	AppendFrame(dst, body []byte) ([]byte, error)

	// SplitFrame finds the first frame in data, the unread bytes of a stream.
	// n is the length of that frame on the wire and body what it carries, a
	// subslice of data. n == 0 without an error says that more bytes are
	// needed. A body longer than max is refused with an error that wraps
	// [ErrFrameTooLarge] as soon as the bytes show it, before they have all
	// arrived; other bytes that no frame starts with, with one that wraps
	// [ErrMalformed]. After an error the stream is not usable.
	//
	// How the stream was cut into data must not matter (except to [Chunks]):
	// a longer data with the same beginning gives the same frame.
	SplitFrame(data []byte, max int) (n int, body []byte, err error)
}
