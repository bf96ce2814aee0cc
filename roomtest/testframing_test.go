package roomtest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A brokenFraming is Varint but for what is set.
type brokenFraming struct {
	append func(dst, body []byte) ([]byte, error)
	split  func(data []byte, max int) (int, []byte, error)
}

func (f brokenFraming) AppendFrame(dst, body []byte) ([]byte, error) {
	if f.append != nil {
		return f.append(dst, body)
	}
	return tcproom.Varint{}.AppendFrame(dst, body)
}

func (f brokenFraming) SplitFrame(data []byte, max int) (int, []byte, error) {
	if f.split != nil {
		return f.split(data, max)
	}
	return tcproom.Varint{}.SplitFrame(data, max)
}

// splitLine splits at \n and has no limit.
func splitLine(data []byte, _ int) (int, []byte, error) {
	line, _, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return 0, nil, nil
	}
	return len(line) + 1, line, nil
}

func varint(dst, body []byte) []byte {
	dst, _ = tcproom.Varint{}.AppendFrame(dst, body)
	return dst
}

// A framingViolation is a framing that breaks a rule of TestFraming.
type framingViolation struct {
	name string
	f    brokenFraming
	law  string
	want string // of what shows it
	racy bool   // the race detector reports it first
}

// requireFramingViolations checks that TestFraming finds each violation. With the
// race detector it checks a sample: some are data races, and the others are slow.
func requireFramingViolations(t *testing.T, violations []framingViolation) {
	t.Helper()
	for i, tt := range violations {
		t.Run(tt.name, func(t *testing.T) {
			if raceEnabled && (tt.racy || i%24 != 0) {
				t.Skip("a data race of the framing's, or slow and without any")
			}
			requireLaw(t, roomtest.TestFraming(tt.f), "framing roomtest_test.brokenFraming", tt.law, tt.want)
		})
	}
}

func TestFramingViolationsOfCalls(t *testing.T) {
	var calls atomic.Int64
	var shared [1 << 17]byte
	requireFramingViolations(t, []framingViolation{
		{name: "index out of range", law: "no panic", want: `SplitFrame("\xff`, f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			if len(data) == 0 {
				return 0, nil, nil
			}
			if data[0] == 0xff {
				_ = data[1<<20]
			}
			return tcproom.Varint{}.SplitFrame(data, max)
		}}},
		{name: "size overflows int", law: "no panic", want: "SplitFrame(", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			size, n := binary.Uvarint(data)
			if n <= 0 {
				return 0, nil, nil
			}
			if int(size) > max {
				return 0, nil, tcproom.ErrFrameTooLarge
			}
			if len(data) < n+int(size) {
				return 0, nil, nil
			}
			return n + int(size), data[n : n+int(size)], nil
		}}},
		{name: "Goexit", law: "returns", want: `called runtime.Goexit`, f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if string(body) == "hello" {
				runtime.Goexit()
			}
			return varint(dst, body), nil
		}}},
		{name: "one buffer for all frames", law: "keeps nothing", want: "became", racy: true, f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if len(dst) == 0 && len(body) < 100 {
				return varint(shared[:0], body), nil
			}
			return varint(dst, body), nil
		}}},
		{name: "frame is body", law: "keeps nothing", want: "changed when body did", f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if len(dst) == 0 {
				return body, nil
			}
			return append(dst, body...), nil
		}}},
		{name: "appends to body", law: "writes to no argument", want: "wrote to body, or behind it", f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			return append(dst, append(body, '\n')...), nil
		}, split: splitLine}},
		{name: "unmasks in place", law: "writes to no argument", want: "wrote to data, or behind it", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			n, body, err := tcproom.Varint{}.SplitFrame(data, max)
			for i := range body {
				body[i] ^= 1
			}
			return n, body, err
		}}},
		{name: "counts frames", law: "pure", want: "carries the body with one dst", f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if calls.Add(1)%2 == 0 {
				return dst, tcproom.ErrUnframeable
			}
			return varint(dst, body), nil
		}}},
		{name: "counts calls", law: "pure", want: "called again", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			if calls.Add(1)%2 == 0 {
				return 0, nil, tcproom.ErrMalformed
			}
			return tcproom.Varint{}.SplitFrame(data, max)
		}}},
		{name: "allocates what is announced", law: "no memory for announced bytes", want: "allocated", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			n, body, err := tcproom.Varint{}.SplitFrame(data, max)
			if size, _ := binary.Uvarint(data); n == 0 && size <= uint64(max) && size < 1<<24 {
				keptBytes.Store(new(make([]byte, size)))
			}
			return n, body, err
		}}},
		{name: "another error", law: "errors", want: `the error "unexpected EOF"`, f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			n, body, err := tcproom.Varint{}.SplitFrame(data, max)
			if errors.Is(err, tcproom.ErrMalformed) {
				err = io.ErrUnexpectedEOF
			}
			return n, body, err
		}}},
	})
}

func TestFramingViolationsOfAppendFrame(t *testing.T) {
	requireFramingViolations(t, []framingViolation{
		{name: "ignores dst", law: "appends", want: `AppendFrame("before", "a") returned "\x01a"`, f: brokenFraming{append: func(_, body []byte) ([]byte, error) { return varint(nil, body), nil }}},
		{name: "writes to dst", law: "appends", want: `changed what dst holds`, f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if len(dst) > 0 {
				dst[0] = 'x'
			}
			return varint(dst, body), nil
		}}},
		{name: "frame depends on dst", law: "appends", want: "and to nil", f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if len(dst) > 0 {
				dst = append(dst, '\n')
			}
			return varint(dst, body), nil
		}}},
		{name: "refuses with another error", law: "unframeable", want: `the error "no"`, f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if len(body) == 0 {
				return dst, errors.New("no")
			}
			return varint(dst, body), nil
		}}},
		{name: "refuses and changes dst", law: "unframeable", want: `returned "" with the error`, f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if len(body) == 0 {
				return nil, tcproom.ErrUnframeable
			}
			return varint(dst, body), nil
		}}},
		{name: "refuses all", law: "carries something", want: "refused all", f: brokenFraming{append: func(dst, _ []byte) ([]byte, error) { return dst, tcproom.ErrUnframeable }}},
		{name: "does not refuse the delimiter", law: "round trip", want: `of the body "\n"`, f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			return append(append(dst, body...), '\n'), nil
		}, split: splitLine}},
		{name: "strips what it does not refuse", law: "round trip", want: `of the body "\r"`, f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if bytes.IndexByte(body, '\n') >= 0 {
				return dst, tcproom.ErrUnframeable
			}
			return append(append(dst, body...), '\n'), nil
		}, split: tcproom.Lines{}.SplitFrame}},
		{name: "one pair of bytes", law: "round trip", want: "returned n", f: brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			return varint(dst, bytes.ReplaceAll(body, []byte("\xab\xcd"), []byte("\xab\xab"))), nil
		}}},
		{name: "length of the body for that of the frame", law: "round trip", want: "returned n", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			_, body, err := tcproom.Varint{}.SplitFrame(data, max)
			return len(body), body, err
		}}},
	})
}

func TestFramingViolationsOfSplitFrame(t *testing.T) {
	requireFramingViolations(t, []framingViolation{
		{name: "takes what is there", law: "cut of the stream", want: "the first", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			size, n := binary.Uvarint(data)
			if n > 0 && size <= uint64(max) && int(size) > len(data)-n {
				return len(data), data[n:], nil
			}
			return tcproom.Varint{}.SplitFrame(data, max)
		}}},
		{name: "takes what follows", law: "cut of the stream", want: "SplitFrame(", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			n, body, err := tcproom.Varint{}.SplitFrame(data, max)
			if n > 0 && len(data) > n && len(body) > 0 {
				return n, data[n-len(body) : n-1], err
			}
			return n, body, err
		}}},
		{name: "looks behind data", law: "cut of the stream", want: "behind data in memory", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			// More than the tester puts behind other data.
			if len(data) > 0 && len(data) < 20 && cap(data)-len(data) > 100 {
				data = data[:len(data)+1]
			}
			return tcproom.Varint{}.SplitFrame(data, max)
		}}},
		{name: "an error for an incomplete frame", law: "cut of the stream", want: "gave ErrMalformed", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			n, body, err := tcproom.Varint{}.SplitFrame(data, max)
			if n == 0 && err == nil && len(data) > 0 {
				err = tcproom.ErrMalformed
			}
			return n, body, err
		}}},
		{name: "n before the frame is there", law: "length of a frame", want: "returned n", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			size, n := binary.Uvarint(data)
			if n > 0 && size < 1000 && int(size) <= max {
				return n + int(size), data[n:min(n+int(size), len(data))], nil
			}
			return tcproom.Varint{}.SplitFrame(data, max)
		}}},
		{name: "no limit", law: "limit", want: "returned a body of", f: brokenFraming{split: func(data []byte, _ int) (int, []byte, error) { return tcproom.Varint{}.SplitFrame(data, 1<<30) }}},
		{name: "limit is one too small", law: "limit", want: "ErrFrameTooLarge", f: brokenFraming{}.limited(func(size, max int) bool { return size >= max }, tcproom.ErrFrameTooLarge)},
		{name: "limit is one too large", law: "limit", want: "", f: brokenFraming{}.limited(func(size, max int) bool { return size > max+1 }, tcproom.ErrFrameTooLarge)},
		{name: "too large is malformed", law: "limit", want: "ErrMalformed", f: brokenFraming{}.limited(func(size, max int) bool { return size > max }, tcproom.ErrMalformed)},
		{name: "cuts the body to the limit", law: "limit", want: "gave n", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			n, body, err := tcproom.Varint{}.SplitFrame(data, 1<<30)
			return n, body[:min(len(body), max)], err
		}}},
		{name: "limit when all has arrived", law: "limit seen early", want: "gave n 0", f: brokenFraming{split: func(data []byte, max int) (int, []byte, error) {
			n, body, err := tcproom.Varint{}.SplitFrame(data, 1<<30)
			if len(body) > max {
				return 0, nil, tcproom.ErrFrameTooLarge
			}
			return n, body, err
		}}},
		{name: "limit when the line has ended", law: "limit seen early", want: "the longest frame within the limit has 301 bytes", f: brokenFraming{append: tcproom.Lines{}.AppendFrame, split: func(data []byte, max int) (int, []byte, error) {
			if bytes.IndexByte(data, '\n') < 0 {
				return 0, nil, nil
			}
			return tcproom.Lines{}.SplitFrame(data, max)
		}}},
	})
}

var keptBytes atomic.Pointer[[]byte]

// limited is Varint with another limit.
func (f brokenFraming) limited(tooLarge func(size, max int) bool, as error) brokenFraming {
	f.split = func(data []byte, max int) (int, []byte, error) {
		if size, n := binary.Uvarint(data); n > 0 && size < 1<<30 && tooLarge(int(size), max) {
			return 0, nil, as
		} else if n > 0 && size < 1<<30 {
			max = int(size)
		}
		return tcproom.Varint{}.SplitFrame(data, max)
	}
	return f
}

// oneBuffer is a framing whose bodies share a buffer. It is not for many goroutines.
type oneBuffer struct {
	tcproom.Varint
	buf *[1 << 17]byte
}

func (f oneBuffer) SplitFrame(data []byte, max int) (int, []byte, error) {
	n, body, err := f.Varint.SplitFrame(data, max)
	return n, f.buf[:copy(f.buf[:], body)], err
}

func TestFramingBodiesStay(t *testing.T) {
	if raceEnabled {
		t.Skip("the framing is a data race")
	}
	requireLaw(t, roomtest.TestFraming(oneBuffer{buf: new([1 << 17]byte)}), "framing roomtest_test.oneBuffer", "bodies stay", "of which number 1 is")
}

func TestFramingThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		err := roomtest.TestFraming(brokenFraming{append: func(dst, body []byte) ([]byte, error) {
			if string(body) == "hello" {
				<-release
			}
			return varint(dst, body), nil
		}})
		requireLaw(t, err, "framing roomtest_test.brokenFraming", "returns", `AppendFrame("", "hello") has not returned for 10s`)
	})
}

// A framing may decode into memory of its own, and may refuse whole sizes.
func TestFramingsOfOtherKindsConform(t *testing.T) {
	require.NoError(t, roomtest.TestFraming(stuffed{}))
	require.NoError(t, roomtest.TestFraming(brokenFraming{append: func(dst, body []byte) ([]byte, error) {
		if len(body) > 100 {
			return dst, fmt.Errorf("%w: %d bytes", tcproom.ErrUnframeable, len(body))
		}
		return varint(dst, body), nil
	}}))
}

// stuffed ends a body with a 0 byte and writes 0 and 1 in it as 1 and another byte.
type stuffed struct{}

func (stuffed) AppendFrame(dst, body []byte) ([]byte, error) {
	for _, b := range body {
		if b < 2 {
			dst = append(dst, 1)
			b += 2
		}
		dst = append(dst, b)
	}
	return append(dst, 0), nil
}

func (stuffed) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	escaped := false
	for i, b := range data {
		switch {
		case b == 0 && escaped, escaped && b != 2 && b != 3:
			return 0, nil, fmt.Errorf("%w: stuffed: %q", tcproom.ErrMalformed, data[:i+1])
		case b == 0:
			return i + 1, body, nil
		case b == 1 && !escaped:
			escaped = true
			continue
		case escaped:
			b -= 2
			escaped = false
		}
		if len(body) == max {
			return 0, nil, tcproom.ErrFrameTooLarge
		}
		body = append(body, b)
	}
	return 0, nil, nil
}
