package roomhttp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"example.com/tcproom"
)

// The opcodes of RFC 6455 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

const (
	fin      = 0x80 // in the first byte of a frame
	rsv      = 0x70
	opcode   = 0x0f
	masked   = 0x80 // in the second
	withPing = 0x10 // in the first byte of a body, one of rsv; see wire

	maxWireHeader = 10  // of a server's frame, which has no mask
	maxControl    = 125 // bytes of a control frame's payload

	// fragmentCharge is what a frame of a fragmented message counts against the
	// limit beside its payload, so that empty ones cannot pile up.
	fragmentCharge = 16
	// fragmentRoom is how much of that a message of the largest size may need.
	fragmentRoom = 4 << 10
)

// wire is the server's end of the framing of RFC 6455.
//
// The two directions differ. Towards a member a body is whole frames already, which
// the codec made, so that all members share them. Towards the room a body is one
// message or control frame: the first byte of a frame that carries it whole, then the
// payload, unmasked, in memory of its own.
//
// A message may come in fragments, with control frames between them, and none of it
// can be taken from the stream before its last byte. The last ping among them goes
// with the message, whose first byte then has withPing; a byte with the ping's length
// and its payload stand before that of the message. A pong says nothing. A Close
// makes the message void.
type wire struct{}

var _ tcproom.Framing = wire{}

// AppendFrame implements [tcproom.Framing] for a body of whole frames.
func (wire) AppendFrame(dst, body []byte) ([]byte, error) { return append(dst, body...), nil }

// SplitFrame implements [tcproom.Framing].
func (wire) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	var m message
	left := max - 1 // the first byte takes one
	for {
		if m.op != opContinuation {
			n, left = m.passOver(data, n, left)
		}
		h, err := parseHeader(data[n:], m.op != opContinuation, left)
		if err != nil || h.length == 0 || h.size > len(data)-n-h.length {
			return 0, nil, err
		}
		begin, op, inside := n, h.first&opcode, m.op != opContinuation
		n += h.length + h.size
		left -= h.size + charge(h.first, inside)
		switch {
		case op >= opClose:
			m = message{op: op, frames: data[begin:n], size: h.size}
		case !inside:
			m = message{op: op, frames: data, size: h.size}
		default:
			m.size += h.size
		}
		if h.first&fin != 0 {
			body, err := m.join()
			if err != nil {
				return 0, nil, err
			}
			return n, body, nil
		}
	}
}

// A message is what SplitFrame has found so far.
type message struct {
	op     byte // 0: it has not begun
	frames []byte
	size   int    // of the payloads
	ping   []byte // the frame of the last ping inside
}

// passOver takes in what is whole and in the middle of a message, at data[n:]: pings,
// pongs and short fragments. All of these are looked at again each time, and a peer may
// send tens of thousands one by one, so it does without the cost of the general case.
func (m *message) passOver(data []byte, n, left int) (int, int) {
	for len(data)-n >= 6 {
		first, size := data[n], int(data[n+1])-masked
		end := n + 6 + size
		if size < 0 || size > maxControl || size > left-fragmentCharge || end > len(data) {
			break
		}
		switch first {
		case opContinuation:
			m.size += size
		case fin | opPing:
			m.ping = data[n:end]
		case fin | opPong:
		default:
			return n, left
		}
		n, left = end, left-fragmentCharge-size
	}
	return n, left
}

// join returns the body of a message that is whole.
func (m *message) join() ([]byte, error) {
	body := make([]byte, 0, 1+1+len(m.ping)+m.size)
	body = append(body, fin|m.op)
	if m.ping != nil {
		h, _ := parseHeader(m.ping, true, math.MaxInt)
		body[0] |= withPing
		body = appendUnmasked(append(body, byte(h.size)), h, m.ping)
	}
	begin := len(body)
	for at, last := 0, false; !last; {
		h, _ := parseHeader(m.frames[at:], at > 0, math.MaxInt)
		if h.first&opcode < opClose || m.op >= opClose {
			body, last = appendUnmasked(body, h, m.frames[at:]), h.first&fin != 0
		}
		at += h.length + h.size
	}
	switch payload := body[begin:]; m.op {
	case opText:
		if !utf8.Valid(payload) {
			return nil, violated(closeInvalidData, "a text message that is not UTF-8")
		}
	case opClose:
		if err := checkClose(payload); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// A header is that of a client's frame. It has no more fields than fit in registers:
// that of each fragment is looked at again with all that come after it.
type header struct {
	first  byte
	mask   uint32 // its first byte is the lowest
	size   int    // of the payload
	length int    // of the header; 0: it is not all there
}

// charge returns what a frame that begins with first counts beside its payload.
func charge(first byte, inside bool) int {
	if inside || first&fin == 0 {
		return fragmentCharge
	}
	return 0
}

// parseHeader returns the header that data starts with. inside says that the frame
// stands in a message that has begun. left is what the frame may still count against
// the limit, and may be negative. It judges each byte as soon as it is there.
func parseHeader(data []byte, inside bool, left int) (h header, err error) {
	if len(data) == 0 {
		return h, nil
	}
	first := data[0]
	if wrong := wrongFirst(first, inside); wrong != "" {
		return h, violated(closeProtocolError, wrong)
	}
	if len(data) == 1 {
		return h, nil
	}
	if data[1]&masked == 0 {
		return h, violated(closeProtocolError, "a client's frame without a mask")
	}
	size, length := uint64(data[1]&^masked), 2
	if size > maxControl {
		if first&opcode >= opClose {
			return h, violated(closeProtocolError, "a control frame of more than 125 bytes")
		}
		if size, length, err = longSize(data); length == 0 || err != nil {
			return h, err
		}
	}
	if left -= charge(first, inside); left < 0 || size > uint64(left) {
		return h, fmt.Errorf("%w: websocket: a frame of %d bytes, of which the limit of a message leaves %d", tcproom.ErrFrameTooLarge, size, max(left, 0))
	}
	if length += 4; len(data) < length {
		return h, nil
	}
	return header{first, binary.LittleEndian.Uint32(data[length-4:]), int(size), length}, nil
}

// wrongFirst returns what is wrong with the first byte of a frame.
func wrongFirst(first byte, inside bool) string {
	op := first & opcode
	switch {
	case first&rsv != 0:
		return "a reserved bit without an extension"
	case op > opPong || op > opBinary && op < opClose:
		return "a reserved opcode"
	case op >= opClose:
		if first&fin == 0 {
			return "a control frame in fragments"
		}
	case inside && op != opContinuation:
		return "a message inside a message"
	case !inside && op == opContinuation:
		return "a continuation of no message"
	}
	return ""
}

// longSize returns a size of 16 or 64 bits, and the length of the header up to there;
// 0 if it is not all there.
func longSize(data []byte) (size uint64, length int, err error) {
	switch data[1] &^ masked {
	case 126:
		if length = 4; len(data) < length {
			return 0, 0, nil
		}
		if size = uint64(binary.BigEndian.Uint16(data[2:])); size > maxControl {
			return size, length, nil
		}
	default:
		if length = 10; len(data) < length {
			return 0, 0, nil
		}
		if size = binary.BigEndian.Uint64(data[2:]); size > math.MaxUint16 {
			return size, length, nil
		}
	}
	return 0, 0, violated(closeProtocolError, "a length that is not the shortest")
}

// appendUnmasked appends the payload of the frame with the header h.
func appendUnmasked(dst []byte, h header, frame []byte) []byte {
	begin := len(dst)
	dst = append(dst, frame[h.length:h.length+h.size]...)
	b, key := dst[begin:], uint64(h.mask)<<32|uint64(h.mask)
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^key)
	}
	for i := range b {
		b[i] ^= byte(key >> (8 * i))
	}
	return dst
}

// appendWireHeader appends the header of a server's frame with size bytes.
func appendWireHeader(dst []byte, op byte, size int) []byte {
	switch {
	case size <= maxControl:
		return append(dst, fin|op, byte(size))
	case size <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, fin|op, 126), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(dst, fin|op, 127), uint64(size))
}

func appendWireFrame(dst []byte, op byte, payload []byte) []byte {
	return append(appendWireHeader(dst, op, len(payload)), payload...)
}

// The codes of RFC 6455 7.4.1 and of its registry that are sent here.
const (
	closeNormal        = 1000
	closeGoingAway     = 1001
	closeProtocolError = 1002
	closeUnsupported   = 1003
	closeInvalidData   = 1007
	closePolicy        = 1008
	closeTooBig        = 1009
	closeInternal      = 1011
	closeTryAgain      = 1013
)

// A violation is malformed input for which RFC 6455 has a close code of its own.
type violation struct {
	code uint16
	text string
}

func violated(code uint16, text string) error { return &violation{code, text} }

func (v *violation) Error() string {
	return fmt.Sprintf("%v: websocket: %s", tcproom.ErrMalformed, v.text)
}

func (v *violation) Unwrap() error { return tcproom.ErrMalformed }

// checkClose returns what is wrong with the payload of a Close.
func checkClose(payload []byte) error {
	code, ok := codeOf(payload)
	switch {
	case len(payload) == 0:
		return nil
	case !ok:
		return violated(closeProtocolError, "a Close of one byte")
	case code >= 3000 && code <= 4999, code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
	default:
		return violated(closeProtocolError, fmt.Sprintf("a Close with the code %d", code))
	}
	if !utf8.Valid(payload[2:]) {
		return violated(closeInvalidData, "a Close with a reason that is not UTF-8")
	}
	return nil
}

// codeOf returns the code that the payload of a Close begins with.
func codeOf(payload []byte) (code uint16, ok bool) {
	if len(payload) < 2 {
		return closeNormal, false
	}
	return binary.BigEndian.Uint16(payload), true
}

func appendClose(dst []byte, code uint16, reason string) []byte {
	dst = appendWireHeader(dst, opClose, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}

// closeCode returns the code of the Close for a link that ends with cause; err is the
// whole error. It is 0 if nothing can be written, or if the peer left first.
func closeCode(cause tcproom.Cause, err error) uint16 {
	var v *violation
	switch cause {
	case "left", "cut-off", "reset", "slow", "write-timeout":
		return 0
	case "closed", "ended", "removed", "idle-timeout", "restarting":
		return closeGoingAway
	case "malformed":
		if errors.As(err, &v) {
			return v.code
		}
	case "too-large":
		return closeTooBig
	case "hook", "unframeable":
		return closeInternal
	case "full", "busy", "too-many-from-address", "too-many-lanes", "too-many-rooms", "retry", "unavailable":
		return closeTryAgain
	}
	return closePolicy
}

// overWS is the codec C over WebSocket: text messages hold C's frames, and there are
// WebSocket's own control frames. Its requests are bodies of [wire]. A dialling end
// could not use it, for it would have to mask what it sends.
type overWS[C tcproom.FrameBounder] struct{}

// The codecs of the subprotocols.
type (
	wsJSON = overWS[tcproom.JSON]
	wsText = overWS[tcproom.Text]
)

var (
	_ tcproom.FrameBounder  = wsJSON{}
	_ tcproom.ControlFrames = wsJSON{}
	_ tcproom.ControlFrames = wsText{}
)

// Features implements [tcproom.Codec]. All peers answer pings.
func (overWS[C]) Features() tcproom.Features {
	var inner C
	f := inner.Features()
	f.Pings = true
	return f
}

// AppendEvent implements [tcproom.Codec].
func (overWS[C]) AppendEvent(dst []byte, ev *tcproom.Event) ([]byte, error) {
	switch ev.Kind {
	case tcproom.Ping:
		return appendWireHeader(dst, opPing, 0), nil
	case tcproom.Pong:
		return appendWireHeader(dst, opPong, 0), nil
	}
	return appendText[C](dst, ev)
}

// appendText appends a text message with what the codec C says for ev.
func appendText[C tcproom.FrameBounder](dst []byte, ev *tcproom.Event) ([]byte, error) {
	var inner C
	var room [maxWireHeader]byte
	out, err := inner.AppendEvent(append(dst, room[:]...), ev)
	if err != nil {
		return dst, err
	}
	payload := out[len(dst)+maxWireHeader:]
	return append(appendWireHeader(out[:len(dst)], opText, len(payload)), payload...), nil
}

// ParseEvent implements [tcproom.Codec].
func (overWS[C]) ParseEvent(frame []byte, ev *tcproom.Event) error {
	op, payload, ok := openFrame(frame)
	var inner C
	switch {
	case len(frame) == 0:
		return tcproom.ErrNoFrame
	case ok && op == opText:
		return inner.ParseEvent(payload, ev)
	case ok && op == opPing:
		ev.Kind = tcproom.Ping
		return nil
	case ok && op == opPong:
		ev.Kind = tcproom.Pong
		return nil
	case ok && op == opClose: // the goodbye before it has said more
		return tcproom.ErrNoFrame
	}
	return violated(closeProtocolError, "no server's frame")
}

// openFrame returns what is in one whole frame of a server.
func openFrame(frame []byte) (op byte, payload []byte, ok bool) {
	if len(frame) < 2 {
		return 0, nil, false
	}
	op = frame[0] &^ fin
	begin := 2
	switch frame[1] {
	case 126:
		begin += 2
	case 127:
		begin += 8
	}
	if len(frame) < begin {
		return 0, nil, false
	}
	payload = frame[begin:]
	return op, payload, bytes.HasPrefix(frame, appendWireHeader(nil, op, len(payload)))
}

// AppendRequest implements [tcproom.Codec].
func (overWS[C]) AppendRequest(dst []byte, req *tcproom.Request) ([]byte, error) {
	var inner C
	switch req.Kind {
	case tcproom.ReqPing:
		return append(dst, fin|opPing), nil
	case tcproom.ReqPong:
		return append(dst, fin|opPong), nil
	case tcproom.ReqGoodbye:
		code := uint16(closeNormal)
		if req.Resumes {
			code = closeGoingAway
		}
		return binary.BigEndian.AppendUint16(append(dst, fin|opClose), code), nil
	}
	out, err := inner.AppendRequest(append(dst, fin|opText), req)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// ParseRequest implements [tcproom.Codec] for a body of [wire].
//
// A Close without a code, as of a page that calls close(), and one with 1000 is a
// goodbye for good. Any other is that of a peer that may come back: a browser sends
// 1001 if the page is reloaded.
func (overWS[C]) ParseRequest(frame []byte, req *tcproom.Request) error {
	if len(frame) == 0 {
		return tcproom.ErrNoFrame
	}
	op, ping, payload := openBody(frame)
	var inner C
	switch op {
	case opText:
		err := inner.ParseRequest(payload, req)
		req.Pinged = ping != nil
		return err
	case opBinary:
		return violated(closeUnsupported, "a binary message, where text is spoken")
	case opPing:
		req.Kind = tcproom.ReqPing
		return nil
	case opPong:
		req.Kind = tcproom.ReqPong
		return nil
	case opClose:
		if err := checkClose(payload); err != nil {
			return err
		}
		code, _ := codeOf(payload)
		req.Kind, req.Resumes = tcproom.ReqGoodbye, code != closeNormal
		return nil
	}
	return violated(closeProtocolError, "no body of a message")
}

// openBody takes a body of [wire] apart. ping is nil if none came with it; op is 0
// for what is no body.
func openBody(body []byte) (op byte, ping, payload []byte) {
	op, payload = body[0]&^(fin|withPing), body[1:]
	switch {
	case body[0]&fin == 0:
		return 0, nil, nil
	case body[0]&withPing == 0:
		return op, nil, payload
	case op >= opClose || len(payload) == 0 || int(payload[0]) > len(payload)-1:
		return 0, nil, nil
	}
	end := 1 + int(payload[0])
	return op, payload[1:end:end], payload[end:]
}

// AppendPing implements [tcproom.ControlFrames].
func (overWS[C]) AppendPing(dst []byte) []byte { return appendWireHeader(dst, opPing, 0) }

// AppendAnswer implements [tcproom.ControlFrames]: a pong with the payload of the
// ping, a Close with the code of the Close. What C itself calls a ping or goodbye gets
// what C answers, and a Close.
func (overWS[C]) AppendAnswer(dst, frame []byte) []byte {
	if len(frame) == 0 {
		return dst
	}
	op, ping, payload := openBody(frame)
	switch op {
	case opPing:
		return appendWireFrame(dst, opPong, payload)
	case opClose:
		code, _ := codeOf(payload)
		return appendClose(dst, code, "")
	}
	if ping != nil {
		dst = appendWireFrame(dst, opPong, ping)
	}
	var inner C
	var req tcproom.Request
	if op != opText || inner.ParseRequest(payload, &req) != nil {
		return dst
	}
	switch req.Kind {
	case tcproom.ReqPing:
		if out, err := appendText[C](dst, &tcproom.Event{Kind: tcproom.Pong}); err == nil {
			return out
		}
	case tcproom.ReqGoodbye:
		return appendClose(dst, closeNormal, "")
	}
	return dst
}

// AppendEnd implements [tcproom.ControlFrames]: a Close, whose reason is the word of
// the cause.
func (overWS[C]) AppendEnd(dst []byte, cause tcproom.Cause, err error) []byte {
	code := closeCode(cause, err)
	if code == 0 {
		return dst
	}
	reason := bytes.ToValidUTF8([]byte(cause[:min(len(cause), maxControl-2)]), nil)
	return appendClose(dst, code, string(reason))
}

// MaxFrame implements [tcproom.FrameBounder].
func (overWS[C]) MaxFrame(maxBody int) (toRoom, toMember int) {
	var inner C
	toRoom, toMember = inner.MaxFrame(maxBody)
	const extra = 1 + 1 + maxControl + fragmentRoom
	return min(toRoom, math.MaxInt-extra) + extra, max(min(toMember, math.MaxInt-maxWireHeader), maxControl) + maxWireHeader
}
