// Package jsonscan reads JSON texts strictly and without allocating: it checks
// the syntax of RFC 8259 and says where values stand. What they mean is for its
// caller.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays may stand in each other.
const maxDepth = 32

// A Scanner walks over a JSON text, which must be valid UTF-8. Its zero value
// with a Text is at the start of it.
type Scanner struct {
	Text []byte
	At   int // the next byte
}

// An Error says what is wrong with a text, and where.
type Error struct {
	What string
	At   int // the byte
}

func (e *Error) Error() string { return fmt.Sprintf("%s at byte %d", e.What, e.At) }

// Fail returns the error that What is wrong here.
func (s *Scanner) Fail(what string) error { return &Error{what, s.At} }

// Space passes over white space.
func (s *Scanner) Space() {
	for s.At < len(s.Text) && (s.Text[s.At] == ' ' || s.Text[s.At] == '\t' || s.Text[s.At] == '\n' || s.Text[s.At] == '\r') {
		s.At++
	}
}

// Next passes over white space and then c, and says whether c was there.
func (s *Scanner) Next(c byte) bool {
	s.Space()
	if s.At < len(s.Text) && s.Text[s.At] == c {
		s.At++
		return true
	}
	return false
}

// Field reads the field of number n of an object, behind its brace or field n-1,
// and returns key and value as they stand, or that there is none more. The object
// stands in depth objects and arrays, itself included.
func (s *Scanner) Field(n, depth int) (key, value []byte, ok bool, err error) {
	if s.Next('}') {
		return nil, nil, false, nil
	}
	if n > 0 && !s.Next(',') {
		return nil, nil, false, s.Fail("want a comma or the end of the object")
	}
	s.Space()
	if key, err = s.string(); err != nil {
		return nil, nil, false, err
	}
	if !s.Next(':') {
		return nil, nil, false, s.Fail("want a colon")
	}
	value, err = s.Value(depth)
	return key, value, err == nil, err
}

// Value reads any value, depth being the number of objects and arrays that it
// stands in, and returns it as it stands.
func (s *Scanner) Value(depth int) ([]byte, error) {
	s.Space()
	if s.At == len(s.Text) {
		return nil, s.Fail("want a value")
	}
	start := s.At
	var err error
	switch c := s.Text[s.At]; c {
	case '"':
		return s.string()
	case '{', '[':
		s.At++
		if depth == maxDepth {
			return nil, s.Fail("nested too deeply")
		}
		if c == '{' {
			err = s.object(depth + 1)
		} else {
			err = s.array(depth + 1)
		}
	case 't':
		err = s.literal("true")
	case 'f':
		err = s.literal("false")
	case 'n':
		err = s.literal("null")
	default:
		err = s.number()
	}
	return s.Text[start:s.At], err
}

// object reads an object after its brace.
func (s *Scanner) object(depth int) error {
	for n := 0; ; n++ {
		if _, _, ok, err := s.Field(n, depth); !ok {
			return err
		}
	}
}

// array reads an array after its bracket.
func (s *Scanner) array(depth int) error {
	if s.Next(']') {
		return nil
	}
	for {
		if _, err := s.Value(depth); err != nil {
			return err
		}
		if s.Next(']') {
			return nil
		}
		if !s.Next(',') {
			return s.Fail("want a comma or the end of the array")
		}
	}
}

func (s *Scanner) literal(word string) error {
	if !bytes.HasPrefix(s.Text[s.At:], []byte(word)) {
		return s.Fail("want a value")
	}
	s.At += len(word)
	return nil
}

// string reads a string and returns it with its quotes.
func (s *Scanner) string() ([]byte, error) {
	if s.At == len(s.Text) || s.Text[s.At] != '"' {
		return nil, s.Fail("want a string")
	}
	start := s.At
	s.At++
	for {
		s.At += Plain(s.Text[s.At:])
		for s.At < len(s.Text) && s.Text[s.At] >= utf8.RuneSelf {
			s.At++
		}
		if s.At == len(s.Text) {
			return nil, s.Fail("want the end of the string")
		}
		switch c := s.Text[s.At]; {
		case c == '"':
			s.At++
			return s.Text[start:s.At], nil
		case c == '\\':
			if !s.escape() {
				return nil, s.Fail("not an escape")
			}
		case c < 0x20:
			return nil, s.Fail("a bare control character")
		}
	}
}

// escape reads a backslash and what it escapes.
func (s *Scanner) escape() bool {
	rest := s.Text[s.At+1:]
	if len(rest) == 0 {
		return false
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.At += 2
		return true
	case 'u':
		if len(rest) < 5 {
			return false
		}
		for _, c := range rest[1:5] {
			if !digit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return false
			}
		}
		s.At += 6
		return true
	}
	return false
}

func (s *Scanner) number() error {
	if s.At < len(s.Text) && s.Text[s.At] == '-' {
		s.At++
	}
	if s.At < len(s.Text) && s.Text[s.At] == '0' {
		s.At++
	} else if !s.digits() {
		return s.Fail("want a value")
	}
	if s.At < len(s.Text) && s.Text[s.At] == '.' {
		if s.At++; !s.digits() {
			return s.Fail("want a digit")
		}
	}
	if s.At < len(s.Text) && s.Text[s.At]|0x20 == 'e' {
		s.At++
		if s.At < len(s.Text) && (s.Text[s.At] == '+' || s.Text[s.At] == '-') {
			s.At++
		}
		if !s.digits() {
			return s.Fail("want a digit")
		}
	}
	return nil
}

// digits passes over digits and says whether there were any.
func (s *Scanner) digits() bool {
	start := s.At
	for s.At < len(s.Text) && digit(s.Text[s.At]) {
		s.At++
	}
	return s.At > start
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// Unescape appends what s, a JSON string of right syntax without its quotes,
// stands for. It is not ok where an escape is half a surrogate pair.
func Unescape(dst, s []byte) (_ []byte, ok bool) {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...), true
		}
		dst = append(dst, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(s)
			s = s[4:]
			if utf16.IsSurrogate(r) {
				if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
					return dst, false
				}
				if r = utf16.DecodeRune(r, hex4(s[2:])); r == utf8.RuneError {
					return dst, false
				}
				s = s[6:]
			}
			dst = utf8.AppendRune(dst, r)
		default: // quote, backslash, slash
			dst = append(dst, c)
		}
	}
}

// hex4 returns the number that the first four bytes of s write.
func hex4(s []byte) (r rune) {
	for _, c := range s[:4] {
		if c > '9' {
			c = c&^0x20 - 'A' + '0' + 10
		}
		r = r<<4 | rune(c-'0')
	}
	return r
}

// Eight bytes at a time: ones has a 1, and high the top bit, in each byte.
const (
	ones = 0x0101010101010101
	high = 0x80 * ones
)

// Plain returns how many bytes at the start of s are ASCII that stands for
// itself in a JSON string.
func Plain(s []byte) int {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		x := binary.LittleEndian.Uint64(s[i:])
		quote, slash := x^'"'*ones, x^'\\'*ones // zero where it is one
		if (x|(x-0x20*ones)|(quote-ones)|(slash-ones))&high != 0 {
			break
		}
	}
	for i < len(s) && s[i] >= 0x20 && s[i] < utf8.RuneSelf && s[i] != '"' && s[i] != '\\' {
		i++
	}
	return i
}
