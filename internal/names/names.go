// Package names is the rule for the names of members: what no member may be
// called, and what [Valid], the rule of a room that has none of its own, allows.
//
// Its tables are of Unicode 15, as those of package unicode.
package names

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

const (
	MaxBytes = 256 // of any name, see Check
	MaxRunes = 32  // of a name that Valid allows
)

// Valid returns what is wrong with a name that the default validator refuses,
// and "" otherwise. See ValidName of package tcproom.
func Valid(name string) (fault string) {
	if fault := Check(name); fault != "" {
		return fault
	}
	if n := utf8.RuneCountInString(name); n > MaxRunes {
		return fmt.Sprintf("%d characters, of at most %d", n, MaxRunes)
	}
	var word word
	for _, r := range name {
		if r >= utf8.RuneSelf && unicode.Is(unicode.M, r) {
			fault = word.mark(r)
		} else {
			fault = word.letter(r)
		}
		if fault != "" {
			return fault
		}
	}
	return word.end()
}

// allowed says whether Valid allows r, which is no mark.
func allowed(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		return true
	case r < utf8.RuneSelf, unicode.Is(formLetters, r):
		return false
	case unicode.Is(unicode.Lm, r):
		return unicode.Is(plainModifiers, r)
	}
	return unicode.Is(unicode.L, r) || unicode.Is(unicode.Nd, r)
}

// plainModifiers are the modifier letters (category Lm) that people spell
// names with: repetition marks of Thai, Lao, Khmer and Japanese, and the
// Japanese long vowel mark.
var plainModifiers = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x0e46, 0x0e46, 1}, {0x0ec6, 0x0ec6, 1}, {0x17d7, 0x17d7, 1},
		{0x3005, 0x3005, 1}, {0x309d, 0x309e, 1}, {0x30fc, 0x30fe, 1},
	},
}

// formLetters are the letters and digits that are forms of others: whole
// blocks of them, and, in other blocks, those that NFC or NFKC of Unicode 15
// change.
var formLetters = &unicode.RangeTable{
	LatinOffset: 3,
	R16: []unicode.Range16{
		{0x00aa, 0x00aa, 1}, {0x00b5, 0x00b5, 1}, {0x00ba, 0x00ba, 1}, // ª µ º
		{0x0132, 0x0133, 1}, {0x013f, 0x0140, 1}, {0x0149, 0x0149, 1}, // Ĳ Ŀ ŉ
		{0x017f, 0x017f, 1}, {0x01c4, 0x01cc, 1}, {0x01f1, 0x01f3, 1}, // ſ Ǆ Ǳ
		{0x03d0, 0x03d6, 1}, {0x03f0, 0x03f2, 1}, {0x03f4, 0x03f5, 1}, {0x03f9, 0x03f9, 1}, // Greek symbols
		{0x0587, 0x0587, 1}, {0x0675, 0x0678, 1}, // Armenian ligature, Arabic high hamza
		{0x0958, 0x095f, 1}, {0x09dc, 0x09dd, 1}, {0x09df, 0x09df, 1}, // letters with nukta
		{0x0a33, 0x0a36, 3}, {0x0a59, 0x0a5b, 1}, {0x0a5e, 0x0a5e, 1}, {0x0b5c, 0x0b5d, 1},
		{0x0e33, 0x0e33, 1}, {0x0eb3, 0x0eb3, 1}, {0x0edc, 0x0edd, 1}, // Thai and Lao am, Lao digraphs
		{0x0f43, 0x0f43, 1}, {0x0f4d, 0x0f4d, 1}, {0x0f52, 0x0f5c, 5}, {0x0f69, 0x0f69, 1}, // Tibetan
		{0x1100, 0x11ff, 1},                      // Hangul Jamo
		{0x1d00, 0x1dbf, 1},                      // Phonetic Extensions and their Supplement
		{0x1e9a, 0x1e9b, 1}, {0x1f71, 0x1f7d, 2}, // ẚ ẛ, Greek with oxia
		{0x1fbb, 0x1fbb, 1}, {0x1fbe, 0x1fbe, 1}, {0x1fc9, 0x1fcb, 2}, {0x1fd3, 0x1fdb, 8},
		{0x1fe3, 0x1feb, 8}, {0x1ff9, 0x1ffb, 2},
		{0x2070, 0x209f, 1},                      // Superscripts and Subscripts
		{0x2100, 0x218f, 1},                      // Letterlike Symbols, Number Forms
		{0x2460, 0x24ff, 1},                      // Enclosed Alphanumerics
		{0x309f, 0x309f, 1}, {0x30ff, 0x30ff, 1}, // kana digraphs
		{0x3130, 0x318f, 1},                      // Hangul Compatibility Jamo
		{0x3200, 0x33ff, 1},                      // Enclosed CJK, CJK Compatibility
		{0xa960, 0xa97f, 1}, {0xd7b0, 0xd7ff, 1}, // Hangul Jamo Extended
		{0xf900, 0xfdff, 1}, // compatibility ideographs, presentation forms
		{0xfe70, 0xfeff, 1}, // Arabic Presentation Forms-B
		{0xff00, 0xffef, 1}, // Halfwidth and Fullwidth Forms
	},
	R32: []unicode.Range32{
		{0x1d400, 0x1d7ff, 1}, // Mathematical Alphanumeric Symbols
		{0x1ee00, 0x1eeff, 1}, // Arabic Mathematical Alphabetic Symbols
		{0x1f100, 0x1f2ff, 1}, // Enclosed Alphanumeric and Ideographic Supplement
		{0x1fb00, 0x1fbff, 1}, // Symbols for Legacy Computing
		{0x2f800, 0x2fa1f, 1}, // compatibility ideographs
	},
}

// Check returns what is wrong with a name that no member may have, and "" for
// the others: with it the lines of Text cannot be forged by a name, and a name
// cannot play with a terminal.
func Check(name string) (fault string) {
	if i := 0; name != "*" && name != "" && len(name) <= MaxBytes {
		for i < len(name) && name[i] > ' ' && name[i] < 0x7f && name[i] != ':' {
			i++
		}
		if i == len(name) {
			return "" // ASCII, as most names are
		}
	}
	return check(name)
}

// check is Check, for all names.
func check(name string) (fault string) {
	switch {
	case name == "":
		return "empty"
	case name == "*":
		return "means the room itself"
	case len(name) > MaxBytes:
		return fmt.Sprintf("%d bytes, of at most %d", len(name), MaxBytes)
	case !utf8.ValidString(name):
		return "not UTF-8"
	}
	for _, r := range name {
		switch {
		case unicode.IsSpace(r):
			return "holds a space or line separator"
		case r == ':':
			return "holds a colon"
		case unicode.IsControl(r):
			return "holds a control character"
		case unicode.Is(unicode.Cf, r):
			return "holds an invisible format character"
		}
	}
	return ""
}
