package roomtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"

	"example.com/tcproom"
)

// The contract of a Framing. The names stand in what TestFraming returns.
var (
	lawAppends     = &law{"appends", "AppendFrame appends to dst: what dst holds stays, and the frame does not depend on it"}
	lawUnframeable = &law{"unframeable", "an error of AppendFrame wraps ErrUnframeable and comes with dst unchanged, for a body that it cannot carry"}
	lawKeeps       = &law{"keeps nothing", "AppendFrame keeps neither dst nor body, and the frame is not part of body"}
	lawReadsOnly   = &law{"writes to no argument", "a Framing is pure: body, data and the bytes behind them are the caller's"}
	lawPure        = &law{"pure", "a Framing is stateless and pure: the same arguments give the same result, from many goroutines, whatever was called before"}
	lawRoundTrip   = &law{"round trip", "SplitFrame returns the body that AppendFrame framed, and n is the length of that frame"}
	lawCut         = &law{"cut of the stream", "n is 0, without an error, until the whole frame is there; a longer data with the same beginning gives the same frame"}
	lawLength      = &law{"length of a frame", "n is the length of the frame on the wire, which lies within data"}
	lawLimit       = &law{"limit", "a body longer than max is refused with an error that wraps ErrFrameTooLarge, one of max bytes is not"}
	lawEarly       = &law{"limit seen early", "a body longer than max is refused as soon as the bytes show it, before they have all arrived"}
	lawAnnounced   = &law{"no memory for announced bytes", "nothing is allocated for bytes that were only announced"}
	lawSplitErrors = &law{"errors", "an error of SplitFrame wraps ErrFrameTooLarge or ErrMalformed"}
	lawBodies      = &law{"bodies stay", "a body stays as it is as long as data does, also while the next frames are split"}
	lawCarries     = &law{"carries something", "a Framing carries some of the bodies that are tried here"}
)

// TestFraming tests that f does what [tcproom.Framing] asks of it. It returns nil, or
// all violations joined, each with the first input that showed it and the contract's
// words; errors begin with "roomtest: framing" and the type.
//
//	func TestMyFraming(t *testing.T) {
//		if err := roomtest.TestFraming(myFraming{}); err != nil {
//			t.Error(err)
//		}
//	}
//
// Bodies of 0 to 64 KiB and 1 byte, of all bytes and all pairs of bytes, go
// through AppendFrame and SplitFrame, in streams that are cut at every byte,
// with limits around their size, from several goroutines; so do seeded streams
// of garbage. The goroutines find data races only under the race detector. A
// body that f refuses as unframeable is no violation, if it does so each time.
//
// A body that SplitFrame copied, because it had to decode it, is none either.
//
// It tests the same for the same f, writes nothing, takes well below a second (ten
// times as long under the race detector), and returns after some ten seconds if f
// does not. It may be called from many goroutines.
func TestFraming(f tcproom.Framing) error {
	t := &framingTest{findings: findings{what: fmt.Sprintf("framing %T", f)}, f: f}
	return t.run(t.testAppend, t.testBodies, t.testStreams, t.testLimits, t.testEarly, t.testAnnounced, t.testGarbage, t.testConcurrent)
}

type framingTest struct {
	findings
	f tcproom.Framing
}

// append calls AppendFrame, and checks what holds of every call. ok is false if body
// was not framed.
func (t *framingTest) append(dst, body []byte) (out []byte, ok bool) {
	in, held := lend(body), bytes.Clone(dst)
	var err error
	if !t.call("AppendFrame", []any{held, body}, func() { out, err = t.f.AppendFrame(dst, in.b) }) {
		return nil, false
	}
	args := lazy(func() string { return quoteAll([]any{held, body}) })
	if !in.intact() {
		t.add(lawReadsOnly, "AppendFrame(%s) wrote to body, or behind it", args)
	}
	if !bytes.Equal(dst, held) {
		t.add(lawAppends, "AppendFrame(%s) changed what dst holds to %s", args, quote(dst))
	}
	if err != nil {
		if !errors.Is(err, tcproom.ErrUnframeable) {
			t.add(lawUnframeable, "AppendFrame(%s) returned the error %q", args, err)
		}
		if !bytes.Equal(out, held) {
			t.add(lawUnframeable, "AppendFrame(%s) returned %s with the error %q", args, quote(out), err)
		}
		return nil, false
	}
	if !bytes.HasPrefix(out, held) {
		t.add(lawAppends, "AppendFrame(%s) returned %s", args, quote(out))
		return nil, false
	}
	was := bytes.Clone(out)
	if in.scribble(); !bytes.Equal(out, was) {
		t.add(lawKeeps, "the frame that AppendFrame(%s) returned changed when body did", args)
	}
	return was, true
}

// frame returns the frame of body, if there is one.
func (t *framingTest) frame(body []byte) ([]byte, bool) { return t.append(nil, body) }

// split calls SplitFrame, and checks what holds of every call. The body is
// good as long as the caller keeps it.
func (t *framingTest) split(data []byte, max int) (n int, body []byte, err error) {
	in := lend(data)
	args := []any{data, max}
	if !t.call("SplitFrame", args, func() { n, body, err = t.f.SplitFrame(in.b, max) }) {
		return 0, nil, tcproom.ErrMalformed
	}
	if !in.intact() {
		t.add(lawReadsOnly, "SplitFrame(%s) wrote to data, or behind it", quoteAll(args))
	}
	if err != nil {
		if !errors.Is(err, tcproom.ErrFrameTooLarge) && !errors.Is(err, tcproom.ErrMalformed) {
			t.add(lawSplitErrors, "SplitFrame(%s) returned the error %q", quoteAll(args), err)
		}
		return 0, nil, err
	}
	if n < 0 || n > len(data) {
		t.add(lawLength, "SplitFrame(%s) returned n %d of %d bytes", quoteAll(args), n, len(data))
		return 0, nil, tcproom.ErrMalformed
	}
	if n > 0 && len(body) > max {
		t.add(lawLimit, "SplitFrame(%s) returned a body of %d bytes", quoteAll(args), len(body))
	}
	return n, body, nil
}

// outcome is split in one comparable word.
func (t *framingTest) outcome(data []byte, max int) string {
	n, body, err := t.split(data, max)
	switch {
	case errors.Is(err, tcproom.ErrFrameTooLarge):
		return "ErrFrameTooLarge"
	case err != nil:
		return "ErrMalformed"
	case n == 0:
		return "n 0"
	}
	return fmt.Sprintf("n %d and the body %s", n, quote(body))
}

// smallBodies are a few that most framings carry, with some that few do.
func smallBodies() [][]byte {
	return [][]byte{
		[]byte("a"), []byte("hello"), nil, []byte("b"), []byte("two words"), []byte("a\nb"), []byte("a\r"), []byte("\r\n"),
		{0}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 1}, []byte("3:abc,"), []byte("Content-Length: 1\r\n\r\n"), []byte("four"),
		bytes.Repeat([]byte("x"), 127), bytes.Repeat([]byte("y"), 130), []byte("\xe2\x82\xac"), []byte("last"),
	}
}

// carried returns the bodies that f carries, and their frames.
func (t *framingTest) carried(bodies [][]byte) (kept, frames [][]byte) {
	for _, body := range bodies {
		if frame, ok := t.frame(body); ok {
			kept, frames = append(kept, body), append(frames, frame)
		}
	}
	return kept, frames
}

// testAppend tests AppendFrame with different dst.
func (t *framingTest) testAppend() {
	some := false
	for _, body := range slices.Concat(smallBodies(), sizedBodies()) {
		frame, ok := t.frame(body)
		some = some || ok
		for _, dst := range [][]byte{{}, make([]byte, 0, 4), make([]byte, 0, 2*len(body)+64), []byte("before"), append(make([]byte, 0, 1<<10), "a\r\n"...)} {
			out, again := t.append(dst, body)
			if again != ok {
				t.add(lawPure, "AppendFrame(%s) carries the body with one dst and refuses it with another", quoteAll([]any{dst, body}))
			} else if ok && !bytes.Equal(out[len(dst):], frame) {
				t.add(lawAppends, "AppendFrame(%s) appended %s, and to nil %s", quoteAll([]any{dst, body}), quote(out[len(dst):]), quote(frame))
			}
		}
	}
	if !some {
		t.add(lawCarries, "AppendFrame refused all of them, %s for one", quote(smallBodies()[0]))
	}
	t.testKeeps()
}

// testKeeps tests that a frame stays as it is while others are made.
func (t *framingTest) testKeeps() {
	var frames, was [][]byte
	for _, body := range smallBodies() {
		t.call("AppendFrame", []any{"", body}, func() {
			if frame, err := t.f.AppendFrame(nil, body); err == nil {
				frames, was = append(frames, frame), append(was, bytes.Clone(frame))
			}
		})
	}
	for i := range frames {
		if !bytes.Equal(frames[i], was[i]) {
			t.add(lawKeeps, "the frame %s became %s when the next were made", quote(was[i]), quote(frames[i]))
		}
	}
}

// sizedBodies are bodies around the sizes at which a length needs one more byte or
// digit.
func sizedBodies() (bodies [][]byte) {
	for _, size := range []int{0, 1, 2, 9, 10, 99, 100, 127, 128, 253, 254, 255, 256, 257, 999, 1000, 16383, 16384, 65535, 65536, 65537} {
		bodies = append(bodies, bytes.Repeat([]byte("a"), size), randomBytes(uint64(size), size))
	}
	return bodies
}

// randomBytes returns the same bytes for the same seed.
func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// roundTrip reports whether f carries body, and checks that it does so rightly.
func (t *framingTest) roundTrip(body []byte) bool {
	frame, ok := t.frame(body)
	if !ok {
		return false
	}
	for _, data := range [][]byte{frame, slices.Concat(frame, frame)} {
		n, got, err := t.split(data, len(body))
		law := lawRoundTrip
		if len(data) > len(frame) {
			law = lawCut
		}
		if err != nil {
			t.add(law, "SplitFrame(%s), of the frame of the body %s, returned the error %q", quoteAll([]any{data, len(body)}), quote(body), err)
		} else if n != len(frame) || !bytes.Equal(got, body) {
			t.add(law, "SplitFrame(%s) returned n %d and the body %s, of the frame %s of the body %s", quoteAll([]any{data, len(body)}), n, quote(got), quote(frame), quote(body))
		}
	}
	return true
}

// testBodies tests round trips.
func (t *framingTest) testBodies() {
	for b := range 256 {
		t.roundTrip([]byte{byte(b)})
		t.roundTrip([]byte{'x', byte(b)})
		t.roundTrip([]byte{byte(b), 'x'})
		t.roundTrip([]byte{byte(b), byte(b), byte(b)})
	}
	for _, body := range slices.Concat(smallBodies(), sizedBodies()) {
		t.roundTrip(body)
	}
	t.testPieces(allPairs())
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		t.roundTrip(spiced(r, 40))
	}
}

// testPieces tests body or, if it is refused, its halves.
func (t *framingTest) testPieces(body []byte) {
	if !t.roundTrip(body) && len(body) > 3 {
		t.testPieces(body[:len(body)/2+1])
		t.testPieces(body[len(body)/2:])
	}
}

// allPairs returns bytes in which each byte stands once before each byte.
func allPairs() []byte {
	b := make([]byte, 0, 1<<16+1)
	for i := range 256 {
		b = append(b, byte(i))
		for j := i + 1; j < 256; j++ {
			b = append(b, byte(i), byte(j))
		}
	}
	return append(b, 0)
}

// spiced returns up to most bytes, of the values that framings give a meaning.
func spiced(r *rand.Rand, most int) []byte {
	const spices = "\r\n\x00\x00\x01\x7f\x80\xff\xff:,0123456789aA \t\\\"Content-Length: \r\n"
	b := make([]byte, r.IntN(most))
	for i := range b {
		b[i] = spices[r.IntN(len(spices))]
	}
	return b
}

// A reader is the reading half of a conn: it holds what is no frame yet.
type reader struct {
	t      *framingTest
	max    int
	unread []byte
	bodies [][]byte
	err    error
}

// feed reads data.
func (r *reader) feed(data []byte) {
	r.unread = append(slices.Clip(r.unread), data...)
	for r.err == nil && len(r.unread) > 0 {
		n, body, err := r.t.split(r.unread, r.max)
		if r.err = err; err != nil || n == 0 {
			return
		}
		r.bodies, r.unread = append(r.bodies, body), r.unread[n:]
	}
}

// testStreams tests that it does not matter how a stream of frames is cut.
func (t *framingTest) testStreams() {
	bodies, frames := t.carried(smallBodies())
	stream := slices.Concat(frames...)
	t.testPrefixes(bodies, frames, stream)
	for _, size := range []int{1, 2, 3, 5, 7, 16, 61, len(stream)} {
		r := &reader{t: t, max: 1 << 10}
		for piece := range slices.Chunk(stream, max(size, 1)) {
			r.feed(piece)
		}
		t.compare(lawCut, r, bodies, fmt.Sprintf("in pieces of %d bytes", size))
	}
	rng := rand.New(rand.NewPCG(2, 2))
	for range 50 {
		r, rest := &reader{t: t, max: 1 << 10}, stream
		for len(rest) > 0 {
			n := 1 + rng.IntN(min(len(rest), 40))
			r.feed(rest[:n])
			rest = rest[n:]
		}
		t.compare(lawCut, r, bodies, "in pieces of many sizes")
	}
	t.testInterleaved(stream)
	t.testBehind(bytes.Clone(stream))
	t.testBodiesStay(stream)
}

// compare checks what r has read.
func (t *framingTest) compare(l *law, r *reader, bodies [][]byte, how string) {
	switch {
	case r.err != nil:
		t.add(l, "a stream of %d frames %s: the error %q after %d of them, where SplitFrame is given %s", len(bodies), how, r.err, len(r.bodies), quote(r.unread))
	case !slices.EqualFunc(r.bodies, bodies, bytes.Equal):
		t.add(l, "a stream of %d frames %s: %d bodies, %s", len(bodies), how, len(r.bodies), difference(r.bodies, bodies))
	case len(r.unread) > 0:
		t.add(l, "a stream of %d frames %s: %s is left over", len(bodies), how, quote(r.unread))
	}
}

// difference describes the place at which got and want begin to differ.
func difference(got, want [][]byte) string {
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			return fmt.Sprintf("of which number %d is %s, want %s", i+1, quote(got[i]), quote(want[i]))
		}
	}
	return fmt.Sprintf("want %d", len(want))
}

// testPrefixes tests every prefix of every frame, alone and behind others.
func (t *framingTest) testPrefixes(bodies, frames [][]byte, stream []byte) {
	for i, frame := range frames {
		for cut := range frame {
			for _, max := range []int{len(bodies[i]), 1 << 10, math.MaxInt} {
				if got := t.outcome(frame[:cut], max); got != "n 0" {
					t.add(lawCut, "SplitFrame(%s), the first %d bytes of the frame %s, gave %s", quoteAll([]any{frame[:cut], max}), cut, quote(frame), got)
				}
			}
		}
	}
	for cut := range stream {
		r := &reader{t: t, max: 1 << 10}
		r.feed(stream[:cut])
		whole, end := 0, 0
		for whole < len(frames) && end+len(frames[whole]) <= cut {
			end += len(frames[whole])
			whole++
		}
		if r.err != nil || !slices.EqualFunc(r.bodies, bodies[:whole], bytes.Equal) {
			t.add(lawCut, "the first %d bytes of a stream of %d frames, which hold %d whole ones and then %s, gave %d bodies and the error %v", cut, len(frames), whole, quote(stream[end:cut]), len(r.bodies), r.err)
		}
	}
}

// testInterleaved reads two streams in turn, which must give what one gives alone.
func (t *framingTest) testInterleaved(stream []byte) {
	const behind = 3
	alone, a, b := &reader{t: t, max: 1 << 10}, &reader{t: t, max: 1 << 10}, &reader{t: t, max: 1 << 10}
	for i := range stream {
		alone.feed(stream[i : i+1])
	}
	for i := range len(stream) + behind {
		a.feed(stream[min(i, len(stream)):min(i+1, len(stream))])
		b.feed(stream[max(i-behind, 0):max(i+1-behind, 0)])
	}
	for _, r := range []*reader{a, b} {
		if fmt.Sprint(r.err) != fmt.Sprint(alone.err) || !slices.EqualFunc(r.bodies, alone.bodies, bytes.Equal) {
			t.add(lawPure, "a stream of %d bytes, read byte by byte in turn with another, gave %d bodies and the error %v, and alone %d and the error %v", len(stream), len(r.bodies), r.err, len(alone.bodies), alone.err)
		}
	}
}

// testBehind tests that SplitFrame does not look behind data: a buffer may hold there
// what belongs to no stream, or to the next read.
func (t *framingTest) testBehind(stream []byte) {
	for cut := range stream {
		var n, n2 int
		var body, body2 []byte
		var err, err2 error
		t.call("SplitFrame", []any{stream[:cut], 1 << 10}, func() {
			n, body, err = t.f.SplitFrame(stream[:cut], 1<<10)
			n2, body2, err2 = t.f.SplitFrame(slices.Clip(bytes.Clone(stream[:cut])), 1<<10)
		})
		if n != n2 || !bytes.Equal(body, body2) || (err == nil) != (err2 == nil) {
			t.add(lawCut, "SplitFrame(%s) gave n %d and the body %s where the rest of the stream lay behind data in memory, and otherwise n %d and the body %s", quoteAll([]any{stream[:cut], 1 << 10}), n, quote(body), n2, quote(body2))
		}
	}
}

// testBodiesStay splits a whole stream in one buffer before it looks at the
// bodies again, as a room does.
func (t *framingTest) testBodiesStay(stream []byte) {
	var bodies, was [][]byte
	t.call("SplitFrame", []any{stream, 1 << 10}, func() {
		for rest := bytes.Clone(stream); len(rest) > 0; {
			n, body, err := t.f.SplitFrame(rest, 1<<10)
			if err != nil || n <= 0 || n > len(rest) {
				return // reported elsewhere
			}
			bodies, was, rest = append(bodies, body), append(was, bytes.Clone(body)), rest[n:]
		}
	})
	if !slices.EqualFunc(bodies, was, bytes.Equal) {
		t.add(lawBodies, "after a stream was split into %d bodies, %s", len(bodies), difference(bodies, was))
	}
}

// cuts returns the places to cut a frame of n bytes at: all, if it is short.
func cuts(n int) (at []int) {
	for i := range n {
		if i <= 300 || n-i <= 20 || i&(i-1) == 0 {
			at = append(at, i)
		}
	}
	return at
}

// testLimits tests limits around the size of a body.
func (t *framingTest) testLimits() {
	for _, body := range slices.Concat(smallBodies(), sizedBodies()) {
		frame, ok := t.frame(body)
		if !ok {
			continue
		}
		size := len(body)
		for _, max := range []int{size, size + 1, 2*size + 100, math.MaxInt - 1, math.MaxInt} {
			if n, _, err := t.split(frame, max); n != len(frame) || err != nil {
				t.add(lawLimit, "SplitFrame(%s), of a body of %d bytes, returned n %d and the error %v", quoteAll([]any{frame, max}), size, n, err)
			}
		}
		for _, cut := range cuts(len(frame)) {
			if got := t.outcome(frame[:cut], size); got != "n 0" {
				t.add(lawCut, "SplitFrame(%s), the first %d bytes of a frame of %d, gave %s", quoteAll([]any{frame[:cut], size}), cut, len(frame), got)
			}
		}
		for _, max := range []int{0, size / 2, size - 1} {
			if 0 <= max && max < size {
				t.testTooLarge(frame, size, max)
			}
		}
	}
}

// testTooLarge tests frame with a limit that its body is above.
func (t *framingTest) testTooLarge(frame []byte, size, max int) {
	refused := false
	for _, cut := range append(cuts(len(frame)), len(frame)) {
		got := t.outcome(frame[:cut], max)
		switch {
		case got == "ErrFrameTooLarge":
			refused = true
		case refused:
			t.add(lawCut, "SplitFrame(%s), of a body of %d bytes that fewer bytes have shown to be too large, gave %s", quoteAll([]any{frame[:cut], max}), size, got)
			return
		case got != "n 0" || cut == len(frame):
			t.add(lawLimit, "SplitFrame(%s), of a body of %d bytes, gave %s", quoteAll([]any{frame[:cut], max}), size, got)
			return
		}
	}
}

// testEarly tests that what is far above the limit is refused by its beginning: by
// bytes that no frame within the limit begins with or, if there are none, when twice
// the bytes of the longest such frame are there.
func (t *framingTest) testEarly() {
	const most = 300
	var within [][]byte // frames of bodies of up to most bytes
	longest := 0
	add := func(body []byte) {
		if frame, ok := t.frame(body); ok {
			within, longest = append(within, frame), max(longest, len(frame))
		}
	}
	for size := range most + 1 {
		add(bytes.Repeat([]byte("a"), size))
		add(bytes.Repeat([]byte("b"), size))
		add(randomBytes(7, size))
	}
	for b := range 256 {
		add(bytes.Repeat([]byte{byte(b)}, most))
	}
	for _, size := range []int{1000, 4000, 16384, 65535, 65536, 1 << 20} {
		a, ok := t.frame(bytes.Repeat([]byte("a"), size))
		b, also := t.frame(bytes.Repeat([]byte("b"), size))
		if !ok || !also {
			continue
		}
		head := common(a, b) // announces the size, or nothing
		begins := func(frame []byte) bool { return bytes.HasPrefix(frame, head) }
		if len(head) > 0 && len(head) < len(a) && !slices.ContainsFunc(within, begins) {
			if got := t.outcome(head, most); got != "ErrFrameTooLarge" {
				t.add(lawEarly, "SplitFrame(%s), the beginning of each frame of %d bytes and of none within the limit, gave %s", quoteAll([]any{head, most}), size, got)
			}
		}
		if enough := 2*longest + 64; enough < len(a) {
			if got := t.outcome(a[:enough], most); got != "ErrFrameTooLarge" {
				t.add(lawEarly, "SplitFrame(%s), of a body of %d bytes, gave %s, where the longest frame within the limit has %d bytes", quoteAll([]any{a[:enough], most}), size, got, longest)
			}
		}
	}
}

// common returns what a and b both begin with.
func common(a, b []byte) []byte {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// testAnnounced tests that the beginning of a long frame costs no memory for
// the rest of it.
func (t *framingTest) testAnnounced() {
	const size = 1 << 20
	frame, ok := t.frame(bytes.Repeat([]byte("a"), size))
	if !ok {
		return
	}
	data := bytes.Clone(frame[:min(len(frame), 64)])
	least := uint64(math.MaxUint64) // others allocate too, though hardly each time
	for try := 0; try < 100 && least >= size/2; try++ {
		var before, after runtime.MemStats
		t.call("SplitFrame", []any{data, size}, func() {
			runtime.ReadMemStats(&before)
			t.f.SplitFrame(data, size)
			runtime.ReadMemStats(&after)
		})
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least >= size/2 {
		t.add(lawAnnounced, "SplitFrame(%s) allocated %d bytes, of a body of %d of which %d have arrived", quoteAll([]any{data, size}), least, size, len(data))
	}
}

// testGarbage tests that no bytes of a peer's do harm, and that these too give
// the same whether they come at once or one by one.
func (t *framingTest) testGarbage() {
	_, frames := t.carried(smallBodies())
	for _, data := range garbage(frames) {
		for _, max := range []int{0, 16, 1 << 16, math.MaxInt} {
			once, again := t.outcome(data, max), t.outcome(data, max)
			if once != again {
				t.add(lawPure, "SplitFrame(%s) gave %s and, called again, %s", quoteAll([]any{data, max}), once, again)
			}
		}
		for _, max := range []int{16, math.MaxInt} {
			t.testPieceByPiece(data, max)
		}
	}
}

// testPieceByPiece tests garbage at once and byte by byte.
func (t *framingTest) testPieceByPiece(data []byte, max int) {
	if len(data) > 100 {
		return
	}
	once, bytewise := &reader{t: t, max: max}, &reader{t: t, max: max}
	once.feed(data)
	for i := range data {
		bytewise.feed(data[i : i+1])
	}
	if (once.err == nil) != (bytewise.err == nil) || !slices.EqualFunc(once.bodies, bytewise.bodies, bytes.Equal) {
		t.add(lawCut, "the stream %s with max %d gave %d bodies and the error %v at once, and byte by byte %d bodies and the error %v", quote(data), max, len(once.bodies), once.err, len(bytewise.bodies), bytewise.err)
	}
}

// garbage returns streams that no good peer sends: sizes that overflow, what
// other protocols begin with, random bytes, and frames with something broken.
func garbage(frames [][]byte) (streams [][]byte) {
	for _, s := range []string{
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x7f\xff\xff\xff", "\x80\x00\x00\x00", "\x7f\xff\xff\xff\xff\xff\xff\xff",
		"\x80\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\x7f", "\xff\xff\xff\xff\xff\xff\xff\x7f", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", "\xff\xff\xff\xfc", "\xff\xff\xff\xff\xff\xff\xff\xf7",
		"2147483647:", "4294967296:", "9223372036854775807:", "18446744073709551615:", "18446744073709551617:", "-1:", "+5:hello,", "05:hello,", "0x5:", ":", "5:hello;",
		"Content-Length: 18446744073709551617\r\n\r\n", "Content-Length: -1\r\n\r\n", "Content-Length: +5\r\n\r\nhello", "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "Content-Length:\r\n\r\n", "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "SSH-2.0-x\r\n", "{\"type\":\"hello\"}\n", "\x00", "\x00\x00\x00\x00", "\n", "\r", "\r\r\n",
	} {
		streams = append(streams, []byte(s), []byte(s+"abc"), []byte(s+strings.Repeat("a", 40)))
	}
	streams = append(streams, bytes.Repeat([]byte("a"), 1<<17), bytes.Repeat([]byte{0}, 1<<17), bytes.Repeat([]byte{0xff}, 1<<17), randomBytes(5, 1<<16))
	r := rand.New(rand.NewPCG(3, 3))
	for i := range 200 {
		streams = append(streams, randomBytes(uint64(i), r.IntN(64)), spiced(r, 64))
	}
	for range 400 {
		if len(frames) > 0 {
			streams = append(streams, broken(r, frames[r.IntN(len(frames))]))
		}
	}
	return streams
}

// broken returns b with a byte changed, taken away, doubled or put in.
func broken(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			break
		}
		i := r.IntN(len(b))
		switch r.IntN(4) {
		case 0:
			b[i] ^= 1 << r.IntN(8)
		case 1:
			b = slices.Delete(b, i, i+1)
		case 2:
			b = slices.Insert(b, i, b[i])
		default:
			b = slices.Insert(b, i, byte(r.Uint32()))
		}
	}
	return b
}

// testConcurrent does the same on several goroutines. They share no lock
// between the calls, for that would hide data races from the race detector.
func (t *framingTest) testConcurrent() {
	bodies, frames := t.carried(smallBodies())
	type result struct {
		n    int
		body []byte
		err  error
	}
	alone := make([]result, len(frames))
	for i, frame := range frames {
		alone[i].n, alone[i].body, alone[i].err = t.split(frame, 1<<10)
	}
	concurrently(4, func(g int) {
		bodies, frames := cloneAll(bodies), cloneAll(frames)
		t.call("AppendFrame or SplitFrame, on one of several goroutines,", nil, func() {
			for round := range 20 * len(bodies) {
				i := (round + g*5) % len(bodies)
				if got, err := t.f.AppendFrame(nil, bodies[i]); err != nil || !bytes.Equal(got, frames[i]) {
					t.add(lawPure, "AppendFrame(%s) gave %s on one goroutine, and %s on one of several", quoteAll([]any{"", bodies[i]}), quote(frames[i]), quote(got))
				}
				n, body, err := t.f.SplitFrame(frames[i], 1<<10)
				if want := alone[i]; n != want.n || !bytes.Equal(body, want.body) || (err == nil) != (want.err == nil) {
					t.add(lawPure, "SplitFrame(%s) gave n %d and the body %s on one goroutine, and n %d and the body %s on one of several", quoteAll([]any{frames[i], 1 << 10}), want.n, quote(want.body), n, quote(body))
				}
			}
		})
	})
}

func cloneAll(bs [][]byte) [][]byte {
	clones := make([][]byte, len(bs))
	for i, b := range bs {
		clones[i] = bytes.Clone(b)
	}
	return clones
}
