package tcproom

import (
	"errors"
	"fmt"
	"math"
)

// frameLimits returns what the codec's MaxFrame says, as far as it is a size
// and sums with it do not overflow; a bound that most codecs keep if it has none.
func frameLimits(c Codec, maxMessage int) (toRoom, toMember int) {
	const most = math.MaxInt/4 - 64<<10
	b, ok := c.(FrameBounder)
	if !ok {
		n := min(grown(maxMessage, maxJSON, 1<<10), most)
		return n, n
	}
	defer func() {
		if recover() != nil {
			toRoom, toMember = 0, 0
		}
	}()
	toRoom, toMember = b.MaxFrame(maxMessage)
	return min(max(toRoom, 0), most), min(max(toMember, 0), most)
}

// owned returns got in memory of its own. A user's codec or framing appends
// to dst, or should: if it returns its argument instead, that is the caller's
// body or a buffer of ours.
func owned(dst, got []byte) []byte {
	if cap(dst) > 0 && cap(got) > 0 && &dst[:1][0] == &got[:1][0] {
		return got
	}
	return append(dst[:0], got...)
}

// encode returns the frame of an event for one conn, or nil where its codec
// says nothing.
func encode(cfg *limits, ev *Event) (b []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			b, err = nil, panicked(cfg.framing, cfg.codec, v)
		}
	}()
	payload, err := cfg.codec.AppendEvent(nil, ev)
	if errors.Is(err, ErrNoFrame) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	dst := make([]byte, 0, len(payload)+16)
	if b, err = cfg.framing.AppendFrame(dst, payload); err != nil {
		return nil, err
	}
	return owned(dst, b), nil
}

func panicked(f Framing, c Codec, v any) error {
	return fmt.Errorf("%w: framing %T or codec %T panicked: %q", ErrUnframeable, f, c, fmt.Sprint(v))
}
