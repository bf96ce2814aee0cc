package tcproom

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"regexp"
	"testing"
)

// A reference is the slow second opinion on a framing, written from
// docs/wire.md and not from the code.
type reference struct {
	// read reads one body. It takes one byte at a time as long as it may yet
	// refuse, and returns io.EOF or io.ErrUnexpectedEOF where more is needed.
	read func(r *bufio.Reader, max int) ([]byte, error)
	// frame returns what a frame of body looks like, even where it would not
	// be read back as body; nil if there is no such frame.
	frame func(body []byte) []byte
}

// split reads all of data.
func (ref reference) split(data []byte, max int) stream {
	r := bufio.NewReader(bytes.NewReader(data))
	var got stream
	for {
		body, err := ref.read(r, max)
		switch err {
		case nil:
			got.bodies = append(got.bodies, string(body))
		case io.EOF, io.ErrUnexpectedEOF:
			return got
		default:
			got.err = err
			return got
		}
	}
}

// carries says whether a frame of body is read back as body and nothing else.
func (ref reference) carries(body []byte) bool {
	frame := ref.frame(body)
	if frame == nil {
		return false
	}
	r := bufio.NewReader(bytes.NewReader(frame))
	got, err := ref.read(r, len(body))
	_, end := r.ReadByte()
	return err == nil && bytes.Equal(got, body) && end == io.EOF
}

var refLines = reference{
	read: func(r *bufio.Reader, max int) ([]byte, error) {
		var line []byte
		for {
			b, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			body := bytes.TrimSuffix(line, []byte("\r"))
			if b == '\n' {
				return body, nil
			}
			line = append(line, b)
			if len(bytes.TrimSuffix(line, []byte("\r"))) > max {
				return nil, ErrFrameTooLarge
			}
		}
	},
	frame: func(body []byte) []byte { return fmt.Appendf(nil, "%s\n", body) },
}

func refDelimiter(d Delimiter) reference {
	delim := []byte(d)
	if len(delim) == 0 {
		delim = []byte{'\n'}
	}
	return reference{
		read: func(r *bufio.Reader, max int) ([]byte, error) {
			var got []byte
			for {
				b, err := r.ReadByte()
				if err != nil {
					return nil, err
				}
				got = append(got, b)
				if body, ok := bytes.CutSuffix(got, delim); ok {
					return body, nil
				}
				if len(got) <= max {
					continue
				}
				possible := false
				for i := 0; i <= max; i++ {
					possible = possible || bytes.HasPrefix(delim, got[i:])
				}
				if !possible {
					return nil, ErrFrameTooLarge
				}
			}
		},
		frame: func(body []byte) []byte { return append(bytes.Clone(body), delim...) },
	}
}

// readBody reads a body of the size that a peer announced.
func readBody(r *bufio.Reader, size *big.Int, max int) ([]byte, error) {
	if size.Cmp(big.NewInt(int64(max))) > 0 {
		return nil, ErrFrameTooLarge
	}
	body, _ := io.ReadAll(io.LimitReader(r, size.Int64()))
	if int64(len(body)) < size.Int64() {
		return nil, io.ErrUnexpectedEOF
	}
	return body, nil
}

func refLength(size int, little bool) reference {
	width := 8
	for _, w := range []int{4, 2, 1} {
		if size <= w {
			width = w
		}
	}
	if size <= 0 {
		width = 4
	}
	return reference{
		read: func(r *bufio.Reader, max int) ([]byte, error) {
			prefix := make([]byte, width)
			if _, err := io.ReadFull(r, prefix); err != nil {
				return nil, err
			}
			if little {
				for i, j := 0, width-1; i < j; i, j = i+1, j-1 {
					prefix[i], prefix[j] = prefix[j], prefix[i]
				}
			}
			return readBody(r, new(big.Int).SetBytes(prefix), max)
		},
		frame: func(body []byte) []byte {
			var prefix [8]byte
			if width < 8 && uint64(len(body)) >= 1<<(8*width) {
				return nil
			}
			if little {
				binary.LittleEndian.PutUint64(prefix[:], uint64(len(body)))
				return append(prefix[:width:width], body...)
			}
			binary.BigEndian.PutUint64(prefix[:], uint64(len(body)))
			return append(prefix[8-width:], body...)
		},
	}
}

var refVarint = reference{
	read: func(r *bufio.Reader, max int) ([]byte, error) {
		size := new(big.Int)
		for i := range uint(10) {
			b, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			size.Or(size, new(big.Int).Lsh(big.NewInt(int64(b&0x7f)), 7*i))
			if b < 0x80 && size.BitLen() <= 64 {
				return readBody(r, size, max)
			}
		}
		return nil, ErrMalformed
	},
	frame: func(body []byte) []byte {
		var prefix []byte
		size := len(body)
		for ; size > 0x7f; size >>= 7 {
			prefix = append(prefix, 0x80|byte(size))
		}
		return append(append(prefix, byte(size)), body...)
	},
}

var refDecimal = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

var refNetstring = reference{
	read: func(r *bufio.Reader, max int) ([]byte, error) {
		var digits []byte
		size := new(big.Int)
		for {
			b, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			if b == ':' && len(digits) > 0 {
				break
			}
			digits = append(digits, b)
			if !refDecimal.Match(digits) {
				return nil, ErrMalformed
			}
			if size.SetString(string(digits), 10); size.Cmp(big.NewInt(int64(max))) > 0 {
				return nil, ErrFrameTooLarge
			}
		}
		body, err := readBody(r, size, max)
		if err != nil {
			return nil, err
		}
		if b, err := r.ReadByte(); err != nil {
			return nil, err
		} else if b != ',' {
			return nil, ErrMalformed
		}
		return body, nil
	},
	frame: func(body []byte) []byte { return fmt.Appendf(nil, "%d:%s,", len(body), body) },
}

// Each matches every beginning of a line that is allowed.
var (
	refHeader = regexp.MustCompile("^(\r\n?|[0-9A-Za-z!#$%&'*+.^_`|~-]+(:[\t -~]*(\r\n?)?)?)$")
	refSize   = regexp.MustCompile("^(?i:content-length):[\t ]?(([0-9]+)(\r\n?)?)?$")
	refKnown  = regexp.MustCompile("^(?i:content-length):")
	refLong   = regexp.MustCompile("^[0-9A-Za-z]{2}$")
)

var refContentLength = reference{
	read: func(r *bufio.Reader, max int) ([]byte, error) {
		var line []byte
		var size *big.Int
		lines := 1
		for range 8192 {
			b, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			if line = append(line, b); len(line) > 64 && refLong.Match(line[len(line)-2:]) && !refKnown.Match(line) {
				continue // two letters or digits on: still good, and matching all of it again is slow
			}
			known := refKnown.Match(line)
			switch {
			case !refHeader.Match(line), known && !refSize.Match(line), known && size != nil,
				lines > 16 && b != '\r' && b != '\n', b == '\r' && len(line) == 1 && size == nil:
				return nil, ErrMalformed
			case string(line) == "\r\n":
				return readBody(r, size, max)
			}
			if digits := refSize.FindSubmatch(line); digits != nil && len(digits[2]) > 0 {
				n, _ := new(big.Int).SetString(string(digits[2]), 10)
				if n.Cmp(big.NewInt(int64(max))) > 0 {
					return nil, ErrFrameTooLarge
				}
				if b == '\n' {
					size = n
				}
			}
			if b == '\n' {
				line = nil
				lines++
			}
		}
		return nil, ErrMalformed
	},
	frame: func(body []byte) []byte {
		return fmt.Appendf(nil, "Content-Length: %d\r\n\r\n%s", len(body), body)
	},
}

// fuzzInput is what all fuzz targets share.
type fuzzInput struct {
	data []byte // a stream from a stranger
	body []byte // what we send
	max  int    // the limit; negative: the largest there is
	seed uint64 // of how the streams are cut
}

// fuzzFraming checks f against ref: that both read in.data alike, however it
// is cut, and that both carry the same bodies, with the same bytes.
func fuzzFraming(t *testing.T, f Framing, ref reference, in fuzzInput) {
	if in.max < 0 {
		in.max = math.MaxInt
	}
	want := ref.split(in.data, in.max)
	requireStream(t, want, feed(t, f, in.data, in.max), "whole")
	requireStream(t, want, feed(t, f, in.data, in.max, randomCuts(in.seed, len(in.data))...), "cut at random")
	if len(in.data) <= 256 {
		requireStream(t, want, feed(t, f, in.data, in.max, everyCut(len(in.data))...), "byte by byte")
	}

	frame, err := appendFrame(t, f, in.body)
	if carries := ref.carries(in.body); carries != (err == nil) {
		t.Fatalf("a frame of %q: got error %v, want one: %v", in.body, err, !carries)
	}
	if err != nil {
		return
	}
	if want := ref.frame(in.body); !bytes.Equal(frame, want) {
		t.Fatalf("a frame of %q: got %q, want %q", in.body, frame, want)
	}
	sent := stream{bodies: []string{string(in.body), string(in.body)}}
	twice := append(bytes.Clone(frame), frame...)
	requireStream(t, sent, feed(t, f, twice, len(in.body)), "sent")
	requireStream(t, sent, feed(t, f, twice, len(in.body), randomCuts(in.seed, len(twice))...), "sent and cut")
	if len(in.body) > 0 {
		requireStream(t, stream{err: ErrFrameTooLarge}, feed(t, f, frame, len(in.body)-1), "sent to a smaller limit")
	}
}

// randomCuts returns some positions in a stream of n bytes, in order.
func randomCuts(seed uint64, n int) []int {
	rng := rand.New(rand.NewPCG(seed, 0))
	var cuts []int
	for at := rng.IntN(8); at < n; at += 1 + rng.IntN(1+rng.IntN(64)) {
		cuts = append(cuts, at)
	}
	return cuts
}

func FuzzLines(f *testing.F) {
	f.Fuzz(func(t *testing.T, data, body []byte, max int, seed uint64) {
		fuzzFraming(t, Lines{}, refLines, fuzzInput{data, body, max, seed})
	})
}

func FuzzDelimiter(f *testing.F) {
	f.Fuzz(func(t *testing.T, delim string, data, body []byte, max int, seed uint64) {
		if len(delim) > 64 || len(data) > 4096 {
			return // the reference is quadratic
		}
		fuzzFraming(t, Delimiter(delim), refDelimiter(Delimiter(delim)), fuzzInput{data, body, max, seed})
	})
}

func FuzzLength(f *testing.F) {
	f.Fuzz(func(t *testing.T, size int, little bool, data, body []byte, max int, seed uint64) {
		fuzzFraming(t, Length{Bytes: size, LittleEndian: little}, refLength(size, little), fuzzInput{data, body, max, seed})
	})
}

func FuzzVarint(f *testing.F) {
	f.Fuzz(func(t *testing.T, data, body []byte, max int, seed uint64) {
		fuzzFraming(t, Varint{}, refVarint, fuzzInput{data, body, max, seed})
	})
}

func FuzzNetstring(f *testing.F) {
	f.Fuzz(func(t *testing.T, data, body []byte, max int, seed uint64) {
		fuzzFraming(t, Netstring{}, refNetstring, fuzzInput{data, body, max, seed})
	})
}

func FuzzContentLength(f *testing.F) {
	f.Fuzz(func(t *testing.T, data, body []byte, max int, seed uint64) {
		if len(data) > 16<<10 {
			return // the reference is slow
		}
		fuzzFraming(t, ContentLength{}, refContentLength, fuzzInput{data, body, max, seed})
	})
}
