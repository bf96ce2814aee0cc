package roomtest

import (
	"bytes"
	"fmt"

	"example.com/tcproom"
)

// testControl tests the methods of ControlFrames, if the codec has them: each appends
// to dst, keeps and changes nothing that it is given, and always appends the same.
func (t *codecTest) testControl() {
	c, ok := t.c.(tcproom.ControlFrames)
	if !ok {
		return
	}
	t.controls("AppendPing", nil, c.AppendPing)
	for _, kind := range []tcproom.RequestKind{tcproom.ReqPing, tcproom.ReqGoodbye} {
		frame, err := t.request(tcproom.Request{Kind: kind})
		if err != nil {
			continue
		}
		t.controls("AppendAnswer", lazy(func() string { return quote(frame) }), func(dst []byte) []byte {
			in := lend(frame)
			out := c.AppendAnswer(dst, in.b)
			if !in.intact() {
				t.add(lawCodecWrites, "AppendAnswer(%s, %s) wrote to frame, or behind it", quote(dst), quote(frame))
			}
			was := bytes.Clone(out)
			in.scribble()
			if !bytes.Equal(out, was) {
				t.add(lawCodecKeeps, "what AppendAnswer(%s, %s) returned changed when the frame did", quote(dst), quote(frame))
			}
			return was
		})
	}
	for _, cause := range []tcproom.Cause{tcproom.ErrRoomClosed, tcproom.ErrKicked, tcproom.ErrMalformed, tcproom.ErrDenied, "busy", "one's own"} {
		for _, err := range []error{cause, fmt.Errorf("%w: %q", cause, "why\n")} {
			t.controls("AppendEnd", lazy(func() string { return fmt.Sprintf("%q, %q", string(cause), err) }), func(dst []byte) []byte {
				return c.AppendEnd(dst, cause, err)
			})
		}
	}
}

// controls checks what holds of every call of one of these methods.
func (t *codecTest) controls(name string, arg lazy, fn func(dst []byte) []byte) {
	_, toMember := t.maxFrame(0)
	frame, err := t.encodes(name, arg, func(dst []byte) ([]byte, error) { return fn(dst), nil })
	if err == nil && len(frame) > toMember {
		t.add(lawControl, "%s appended %s of %d bytes, where MaxFrame(0) is %d", name, quote(frame), len(frame), toMember)
	}
}
