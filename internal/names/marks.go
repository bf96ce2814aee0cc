package names

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A script is one whose letters may carry marks.
type script struct {
	letters *unicode.RangeTable
	marks   *unicode.RangeTable // nil: those of the script itself
	most    int                 // marks on one letter; Burmese needs five
}

// scripts are those in use today, of the tables of recommended and of limited
// use in UAX #31, that are written with marks. Latin, Arabic and Hebrew write
// names with few of the many that they have.
var scripts = []script{
	{unicode.Latin, latinMarks, 2},
	{unicode.Arabic, arabicMarks, 2},
	{unicode.Hebrew, hebrewMarks, 3},

	{unicode.Adlam, nil, 5}, {unicode.Balinese, nil, 5}, {unicode.Batak, nil, 5},
	{unicode.Bengali, nil, 5}, {unicode.Chakma, nil, 5}, {unicode.Cham, nil, 5},
	{unicode.Devanagari, nil, 5}, {unicode.Gujarati, nil, 5}, {unicode.Gurmukhi, nil, 5},
	{unicode.Hanifi_Rohingya, nil, 5}, {unicode.Javanese, nil, 5}, {unicode.Kannada, nil, 5},
	{unicode.Kayah_Li, nil, 5}, {unicode.Khmer, nil, 5}, {unicode.Lao, nil, 5},
	{unicode.Lepcha, nil, 5}, {unicode.Limbu, nil, 5}, {unicode.Malayalam, nil, 5},
	{unicode.Mandaic, nil, 5}, {unicode.Meetei_Mayek, nil, 5}, {unicode.Myanmar, nil, 5},
	{unicode.Newa, nil, 5}, {unicode.Nko, nil, 5}, {unicode.Nyiakeng_Puachue_Hmong, nil, 5},
	{unicode.Oriya, nil, 5}, {unicode.Saurashtra, nil, 5}, {unicode.Sinhala, nil, 5},
	{unicode.Sundanese, nil, 5}, {unicode.Syloti_Nagri, nil, 5}, {unicode.Syriac, nil, 5},
	{unicode.Tai_Tham, nil, 5}, {unicode.Tai_Viet, nil, 5}, {unicode.Tamil, nil, 5},
	{unicode.Telugu, nil, 5}, {unicode.Thaana, nil, 5}, {unicode.Thai, nil, 5},
	{unicode.Tibetan, nil, 5}, {unicode.Wancho, nil, 5},
}

// takes says whether a letter of s may carry the mark r.
func (s *script) takes(r rune) bool {
	switch {
	case s.marks != nil:
		return unicode.Is(s.marks, r)
	case unicode.In(r, refusedMarks, unicode.Me, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
		return false
	}
	return unicode.Is(s.letters, r)
}

// latinMarks are those that living orthographies, such as Yoruba, Ewe, Guarani,
// Jarai, Marshallese, Nuer and the church romanization of Taiwan, put on letters
// that have no character of their own with them.
var latinMarks = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x0300, 0x0304, 1}, {0x0306, 0x0308, 2}, {0x030c, 0x030d, 1},
		{0x0323, 0x0327, 4}, {0x0331, 0x0331, 1}, {0x0358, 0x0358, 1},
	},
}

// arabicMarks are the vowel signs, without the hamza and madda above, with which
// letters look like others, and without the signs of the Koran.
var arabicMarks = &unicode.RangeTable{
	R16: []unicode.Range16{{0x064b, 0x0652, 1}, {0x0670, 0x0670, 1}},
}

// hebrewMarks are the vowel signs and the dots in and on letters, without the
// rare ones that look like these, and without the accents of the Bible.
var hebrewMarks = &unicode.RangeTable{
	R16: []unicode.Range16{{0x05b0, 0x05b9, 1}, {0x05bb, 0x05bc, 1}, {0x05bf, 0x05bf, 1}, {0x05c1, 0x05c2, 1}},
}

// refusedMarks are marks of the other scripts that stand for two, as NFC or NFKC
// would write them, or that no name is spelled with: astrological and emphasis
// signs of Tibetan, a lunar date sign of Khmer, Vedic numbers over letters.
var refusedMarks = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x0f18, 0x0f19, 1}, {0x0f35, 0x0f37, 2}, {0x0f3e, 0x0f3f, 1},
		{0x0f73, 0x0f73, 1}, {0x0f75, 0x0f79, 1}, {0x0f81, 0x0f81, 1}, {0x0f93, 0x0f93, 1},
		{0x0f9d, 0x0fa2, 5}, {0x0fa7, 0x0fac, 5}, {0x0fb9, 0x0fb9, 1}, {0x0fc6, 0x0fc6, 1},
		{0x17d3, 0x17d3, 1}, {0xa8e0, 0xa8ff, 1},
	},
}

// joiners are invisible where they do not join the letter before them, with its
// marks, and the letter behind them.
var joiners = []rune{0x1039, 0x17d2, 0x1a60, 0x11133}

// alike are marks that, straight behind the key, give what looks like another
// character: most are in the tables of vowel letters of the Unicode Standard,
// chapters 12, 13 and 16, that say what not to use.
var alike = map[rune]string{
	// Devanagari a, aa, u, e
	0x0905: "\u093a\u093b\u093e\u0945\u0946\u0949\u094a\u094b\u094c\u094f\u0956\u0957",
	0x0906: "\u093a\u0945\u0946\u0947\u0948", 0x0909: "\u0941", 0x090f: "\u0945\u0946\u0947",
	// Bengali a, vocalic r, vocalic l
	0x0985: "\u09be", 0x098b: "\u09c3", 0x098c: "\u09e2",
	// Gurmukhi a, iri, ura
	0x0a05: "\u0a3e\u0a48\u0a4c", 0x0a72: "\u0a3f\u0a40\u0a47", 0x0a73: "\u0a41\u0a42\u0a4b",
	// Gujarati a, sign candra e
	0x0a85: "\u0abe\u0ac5\u0ac7\u0ac8\u0ac9\u0acb\u0acc", 0x0ac5: "\u0abe",
	// Oriya a, e, o
	0x0b05: "\u0b3e", 0x0b0f: "\u0b57", 0x0b13: "\u0b57",
	// Tamil a
	0x0b85: "\u0bc2",
	// Telugu o, signs i, e, o
	0x0c12: "\u0c4c\u0c55", 0x0c3f: "\u0c55", 0x0c46: "\u0c55", 0x0c4a: "\u0c55",
	// Kannada u, vocalic r, o
	0x0c89: "\u0cbe", 0x0c8b: "\u0cbe", 0x0c92: "\u0ccc",
	// Malayalam i, u, e, o
	0x0d07: "\u0d57", 0x0d09: "\u0d57", 0x0d0e: "\u0d46", 0x0d12: "\u0d3e\u0d57",
	// Sinhala a, u, vocalic r, vocalic l, e, o
	0x0d85: "\u0dcf\u0dd0\u0dd1", 0x0d8b: "\u0ddf", 0x0d8d: "\u0dd8", 0x0d8f: "\u0ddf",
	0x0d91: "\u0dca\u0dd9\u0dda\u0ddc\u0ddd\u0dde", 0x0d94: "\u0ddf",
	// Thai and Lao: i and nikhahit like ue; a tone behind nikhahit, not before it
	0x0e34: "\u0e4d", 0x0e4d: "\u0e34\u0e48\u0e49\u0e4a\u0e4b",
	0x0eb4: "\u0ecd", 0x0ecd: "\u0eb4\u0ec8\u0ec9\u0eca\u0ecb",
	// Khmer: e and aa like oo, e and ii like oe
	0x17c1: "\u17b6\u17b8",
}

// A word is what has been read of a name.
type word struct {
	last   rune    // character
	base   rune    // the last letter, 0 if a digit or punctuation mark stands behind it
	script *script // of that letter, once a mark has asked for it
	marks  [5]rune // on that letter
	n      int     // of marks

	// What normalization looks at: a mark moves before those of a higher
	// combining class that it follows, and melts into the starter, the last
	// character of class 0, unless another mark of its class or a higher
	// one stands between the two.
	starter rune
	class   uint8 // of the last character or, if it decomposes, of its last part
}

// letter reads a character that is no mark.
func (w *word) letter(r rune) (fault string) {
	if !allowed(r) {
		return fmt.Sprintf("%q is not a letter, a digit or one of %q", r, "-_.")
	}
	base := r
	if !unicode.IsLetter(r) || unicode.Is(unicode.Lm, r) {
		base = 0
	}
	if slices.Contains(joiners, w.last) && (base == 0 || !unicode.Is(w.script.letters, base)) {
		return w.end()
	}
	*w = word{last: r, base: base, starter: r}
	if r >= utf8.RuneSelf {
		w.class = classOf(trails, r)
	}
	return ""
}

// mark reads a mark.
func (w *word) mark(r rune) (fault string) {
	if w.base != 0 && w.script == nil {
		i := slices.IndexFunc(scripts, func(s script) bool { return unicode.Is(s.letters, w.base) })
		if i >= 0 {
			w.script = &scripts[i]
		}
	}
	switch {
	case w.script == nil || !w.script.takes(r):
		return fmt.Sprintf("%U is a mark that does not belong on what stands before it", r)
	case slices.Contains(joiners, w.last):
		return w.end()
	case w.n == w.script.most:
		return fmt.Sprintf("more than %d marks on %q", w.script.most, w.base)
	case slices.Contains(w.marks[:w.n], r):
		return fmt.Sprintf("the mark %U twice on %q", r, w.base)
	case strings.ContainsRune(alike[w.last], r):
		return fmt.Sprintf("%U and %U look like another character", w.last, r)
	}
	class := classOf(classes, r)
	if class != 0 && class < w.class ||
		(w.last == w.starter || w.class < class) && strings.ContainsRune(composes[r], w.starter) {
		return fmt.Sprintf("not in the normal form NFC, at %U", r)
	}
	w.marks[w.n] = r
	w.n++
	w.last, w.class = r, class
	if class == 0 {
		w.starter, w.class = r, classOf(trails, r)
	}
	return ""
}

// end returns what is missing at the end, or before what does not go on.
func (w *word) end() (fault string) {
	if slices.Contains(joiners, w.last) {
		return fmt.Sprintf("%U joins nothing", w.last)
	}
	return ""
}

// A span is a run of characters of one combining class.
type span struct {
	first, last rune
	class       uint8
}

// classOf returns the class that the sorted table has for r, 0 if it has none.
func classOf(table []span, r rune) uint8 {
	i, ok := slices.BinarySearchFunc(table, r, func(s span, r rune) int {
		switch {
		case s.last < r:
			return -1
		case s.first > r:
			return 1
		}
		return 0
	})
	if !ok {
		return 0
	}
	return table[i].class
}
