package tcproom

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"

	"example.com/tcproom/internal/jsonscan"
)

const hexDigits = "0123456789abcdef"

// Eight bytes at a time: ones has a 1, and high the top bit, in each byte.
const (
	ones = 0x0101010101010101
	high = 0x80 * ones
)

// appendSafe appends s to dst so that a terminal, and whoever reads it there,
// sees one line of text and nothing else: what [escaped] names and bytes that
// are not UTF-8 stand as an escape. All else, a backslash too, stays as it is.
// It escapes nothing in its own output.
func appendSafe(dst, s []byte) []byte {
	clean := 0 // s[clean:i] is text, not yet appended
	for i := printable(s); i < len(s); i += printable(s[i:]) {
		if s[i] == '\t' {
			i++
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		invalid := r == utf8.RuneError && size == 1
		if !invalid && !escaped(r) {
			i += size
			continue
		}
		dst = append(dst, s[clean:i]...)
		if invalid || r < utf8.RuneSelf {
			dst = append(dst, '\\', 'x', hexDigits[s[i]>>4], hexDigits[s[i]&15])
		} else {
			dst = append(dst, `\u{`...)
			dst = strconv.AppendUint(dst, uint64(r), 16)
			dst = append(dst, '}')
		}
		i += size
		clean = i
	}
	return append(dst, s[clean:]...)
}

// escaped says whether r moves, hides or reorders text instead of being text:
// a control character but tab, a line or paragraph separator, a control of the
// bidirectional algorithm, or the byte order mark, which editors swallow.
func escaped(r rune) bool {
	switch {
	case r < 0x20:
		return r != '\t'
	case r < 0x7f:
		return false
	case r <= 0x9f: // DEL and C1
		return true
	case r < 0x61c:
		return false
	}
	return r == 0x61c || r == 0x200e || r == 0x200f ||
		r >= 0x2028 && r <= 0x202e || // separators, embeddings, overrides
		r >= 0x2066 && r <= 0x2069 || // isolates
		r == 0xfeff
}

// maxSafe is how many bytes appendSafe makes of one, at most: `\x1b`. What is
// escaped by its number grows less: U+061C is two bytes and becomes seven.
const maxSafe = 4

// printable returns how many bytes at the start of s are printable ASCII.
func printable(s []byte) int {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		// A top bit that comes up says that a byte has it, is below a
		// space, or is DEL. Carries start only in bytes that are one of
		// these, so they can make no mistake about the eight together.
		if x := binary.LittleEndian.Uint64(s[i:]); (x|(x-0x20*ones)|(x+ones))&high != 0 {
			break
		}
	}
	for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f {
		i++
	}
	return i
}

// appendJSON appends s, which is valid UTF-8, as a JSON string with its
// quotes. Only what must be is escaped, and the line separators that are not
// ASCII (U+0085, U+2028, U+2029): some readers of lines split there.
func appendJSON(dst, s []byte) []byte {
	dst = append(dst, '"')
	clean := 0
	for i := jsonscan.Plain(s); i < len(s); i += jsonscan.Plain(s[i:]) {
		size := 1
		switch c := s[i]; {
		case c < utf8.RuneSelf:
			dst = append(dst, s[clean:i]...)
			dst = appendJSONByte(dst, c)
		case c == 0xc2 && s[i+1] == 0x85:
			dst = append(append(dst, s[clean:i]...), `\u0085`...)
			size = 2
		case c == 0xe2 && s[i+1] == 0x80 && s[i+2]&^1 == 0xa8:
			dst = append(append(dst, s[clean:i]...), `\u202`...)
			dst = append(dst, hexDigits[s[i+2]&15])
			size = 3
		default:
			for i++; i < len(s) && s[i] >= utf8.RuneSelf && s[i] != 0xc2 && s[i] != 0xe2; {
				i++
			}
			continue
		}
		i += size
		clean = i
	}
	dst = append(dst, s[clean:]...)
	return append(dst, '"')
}

// appendJSONByte appends the escape of an ASCII character that needs one.
func appendJSONByte(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// maxJSON is how many bytes appendJSON makes of one, at most: `\u0000`.
const maxJSON = 6

// quotePeer quotes what a peer sent for an error: at most 64
// characters, and as many bytes of it, so that no peer gets much more back than
// it sent.
func quotePeer[T []byte | string](s T) string {
	const most = 64
	for n := min(len(s), 64); ; {
		q := strconv.Quote(string(s[:n]))
		switch {
		case len(q) > most:
			n = min(n-1, n*most/len(q))
		case n < len(s):
			return q + "…"
		default:
			return q
		}
	}
}

// cutText returns the longest beginning of s that is at most limit bytes and
// does not end inside of a rune.
func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for i := limit; i > limit-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:limit] // not UTF-8 anyway
}
