package tcproom

import (
	"bytes"
	"math"
	"testing"
)

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
	sent := fed{bodies: []string{string(in.body), string(in.body)}}
	twice := append(bytes.Clone(frame), frame...)
	requireStream(t, sent, feed(t, f, twice, len(in.body)), "sent")
	requireStream(t, sent, feed(t, f, twice, len(in.body), randomCuts(in.seed, len(twice))...), "sent and cut")
	if len(in.body) > 0 {
		requireStream(t, fed{err: ErrFrameTooLarge}, feed(t, f, frame, len(in.body)-1), "sent to a smaller limit")
	}
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
