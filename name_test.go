package tcproom

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nameCases say which rule lets each name pass: "no" none, "hard" the rule for
// every name, "valid" ValidName too.
var nameCases = []struct {
	name string
	in   string
	want string
}{
	{name: "ada", in: "ada", want: "valid"},
	{name: "guest", in: "guest-7", want: "valid"},
	{name: "all that ASCII has", in: "Ada.Lovelace_1815-", want: "valid"},
	{name: "Czech", in: "Žofie", want: "valid"},
	{name: "German", in: "Weiß", want: "valid"},
	{name: "Greek", in: "Ελένη", want: "valid"},
	{name: "Cyrillic", in: "Лев", want: "valid"},
	{name: "Hebrew", in: "עדה", want: "valid"},
	{name: "Arabic", in: "علي", want: "valid"},
	{name: "Arabic digits", in: "علي٧", want: "valid"},
	{name: "Hangul", in: "홍길동", want: "valid"},
	{name: "Chinese", in: "王小明", want: "valid"},
	{name: "Japanese with a long vowel", in: "スーパー", want: "valid"},
	{name: "Japanese with an iteration mark", in: "佐々木", want: "valid"},
	{name: "Georgian", in: "ნინო", want: "valid"},
	{name: "Cherokee", in: "ᏣᎳᎩ", want: "valid"},
	{name: "beyond the BMP", in: "𠮷田", want: "valid"},
	{name: "32 runes", in: strings.Repeat("ž", 32), want: "valid"},
	{name: "33 runes", in: strings.Repeat("ž", 33), want: "hard"},
	{name: "256 bytes", in: strings.Repeat("a", 256), want: "hard"},
	{name: "257 bytes", in: strings.Repeat("a", 257), want: "no"},
	{name: "257 bytes of runes", in: "a" + strings.Repeat("ž", 128), want: "no"},

	{name: "empty", in: "", want: "no"},
	{name: "the room", in: "*", want: "no"},
	{name: "two stars", in: "**", want: "hard"},
	{name: "star first", in: "*ada", want: "hard"},
	{name: "space", in: "a b", want: "no"},
	{name: "leading space", in: " ada", want: "no"},
	{name: "tab", in: "a\tb", want: "no"},
	{name: "newline", in: "a\nb", want: "no"},
	{name: "return", in: "a\rb", want: "no"},
	{name: "no-break space", in: "a\u00a0b", want: "no"},
	{name: "ogham space", in: "a\u1680b", want: "no"},
	{name: "thin space", in: "a\u2009b", want: "no"},
	{name: "narrow no-break space", in: "a\u202fb", want: "no"},
	{name: "ideographic space", in: "a\u3000b", want: "no"},
	{name: "line separator", in: "a\u2028b", want: "no"},
	{name: "paragraph separator", in: "a\u2029b", want: "no"},
	{name: "next line", in: "a\u0085b", want: "no"},
	{name: "colon", in: "a:b", want: "no"},
	{name: "colon last", in: "ada:", want: "no"},
	{name: "NUL", in: "a\x00", want: "no"},
	{name: "ESC", in: "\x1b[31mada", want: "no"},
	{name: "DEL", in: "a\x7f", want: "no"},
	{name: "CSI", in: "a\u009b", want: "no"},
	{name: "override", in: "\u202eada", want: "no"},
	{name: "isolate", in: "\u2066ada", want: "no"},
	{name: "Arabic letter mark", in: "\u061cada", want: "no"},
	{name: "left-to-right mark", in: "ada\u200e", want: "no"},
	{name: "zero-width space", in: "a\u200bda", want: "no"},
	{name: "zero-width joiner", in: "a\u200dda", want: "no"},
	{name: "word joiner", in: "a\u2060da", want: "no"},
	{name: "byte order mark", in: "\ufeffada", want: "no"},
	{name: "soft hyphen", in: "a\u00adda", want: "no"},
	{name: "tag letters", in: "ada\U000e0061", want: "no"},
	{name: "not UTF-8", in: "a\xffb", want: "no"},
	{name: "cut rune", in: "a\xc5", want: "no"},
	{name: "surrogate", in: "\xed\xa0\x80", want: "no"},

	{name: "Thai", in: "สมศรี", want: "valid"},
	{name: "Hindi", in: "हिमांशु", want: "valid"},
	{name: "Yoruba", in: "Fẹ́mi", want: "valid"},
	{name: "combining acute", in: "e\u0301", want: "hard"},
	{name: "enclosing circle", in: "a\u20dd", want: "hard"},
	{name: "mark first", in: "\u093fह", want: "hard"},
	{name: "at", in: "a@b", want: "hard"},
	{name: "slash", in: "a/b", want: "hard"},
	{name: "quote", in: `a"b`, want: "hard"},
	{name: "percent", in: "a%sb", want: "hard"},
	{name: "emoji", in: "👩", want: "hard"},
	{name: "middle dot", in: "a·b", want: "hard"},
	{name: "dash that is not ASCII", in: "a–b", want: "hard"},
	{name: "full stop that is not ASCII", in: "a。b", want: "hard"},
	{name: "superscript two", in: "a²", want: "hard"},
	{name: "roman numeral", in: "Ⅷ", want: "hard"},
	{name: "circled digit", in: "①", want: "hard"},
	{name: "full-width letters", in: "ａｄａ", want: "hard"},
	{name: "full-width digits", in: "１２", want: "hard"},
	{name: "half-width katakana", in: "ｱﾀﾞ", want: "hard"},
	{name: "bold letters", in: "𝐚𝐝𝐚", want: "hard"},
	{name: "script letters", in: "𝒜", want: "hard"},
	{name: "bold digits", in: "𝟏", want: "hard"},
	{name: "segmented digits", in: "🯱", want: "hard"},
	{name: "Kelvin", in: "\u212a", want: "hard"},
	{name: "Ångström", in: "\u212b", want: "hard"},
	{name: "real numbers", in: "ℝ", want: "hard"},
	{name: "ligature", in: "ﬁ", want: "hard"},
	{name: "long s", in: "ſ", want: "hard"},
	{name: "feminine ordinal", in: "ª", want: "hard"},
	{name: "micro", in: "µ", want: "hard"},
	{name: "digraph", in: "Ǆ", want: "hard"},
	{name: "Arabic ligature", in: "ﷲ", want: "hard"},
	{name: "Arabic presentation form", in: "ﺍ", want: "hard"},
	{name: "Arabic mathematical", in: "𞸀", want: "hard"},
	{name: "compatibility ideograph", in: "\uf900", want: "hard"},
	{name: "compatibility ideograph beyond the BMP", in: "\U0002f800", want: "hard"},
	{name: "Hangul filler", in: "\u3164", want: "hard"},
	{name: "half-width Hangul filler", in: "\uffa0", want: "hard"},
	{name: "Hangul in parts", in: "\u1100\u1161", want: "hard"},
	{name: "small capital", in: "ᴀᴅᴀ", want: "hard"},
	{name: "modifier apostrophe", in: "aʼb", want: "hard"},
	{name: "modifier colon of Lisu", in: "ada\ua4fd", want: "hard"},
	{name: "tatweel", in: "ـ", want: "hard"},
	{name: "Greek with oxia", in: "\u1f71", want: "hard"},
	{name: "Greek symbol", in: "ϐ", want: "hard"},
	{name: "Devanagari with nukta in one", in: "\u0958", want: "hard"},
	{name: "private use", in: "\ue000", want: "hard"},
	{name: "not assigned", in: "\u0378", want: "hard"},
}

func TestNames(t *testing.T) {
	for _, tt := range nameCases {
		t.Run(tt.name, func(t *testing.T) {
			hard, valid := checkName(tt.in), ValidName(tt.in)
			require.Equal(t, tt.want != "no", hard == nil, "%v", hard)
			require.Equal(t, tt.want == "valid", valid == nil, "%v", valid)
			for _, err := range []error{hard, valid} {
				if err == nil {
					continue
				}
				require.ErrorIs(t, err, ErrNameInvalid)
				require.Contains(t, err.Error(), quotePeer(tt.in))
				requireSafe(t, []byte(err.Error()))
			}
		})
	}
}

func TestNameErrors(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want string
	}{
		{name: "empty", in: "", want: `tcproom: invalid name: "": empty`},
		{name: "room", in: "*", want: `tcproom: invalid name: "*": means the room itself`},
		{name: "colon", in: "a:b", want: `tcproom: invalid name: "a:b": holds a colon`},
		{name: "escape", in: "a\x1b", want: `tcproom: invalid name: "a\x1b": holds a control character`},
		{name: "override", in: "\u202ea", want: `tcproom: invalid name: "\u202ea": holds an invisible format character`},
		{name: "emoji", in: "a👩", want: `tcproom: invalid name: "a👩": '👩' is not a letter, a digit or one of "-_."`},
		{name: "decomposed", in: "Zoe\u0308", want: "tcproom: invalid name: \"Zoe\u0308\": not in the normal form NFC, at U+0308"},
		{name: "long", in: strings.Repeat("a", 300), want: `tcproom: invalid name: "` + strings.Repeat("a", 62) + `"…: 300 bytes, of at most 256`},
		{name: "33", in: strings.Repeat("a", 33), want: `tcproom: invalid name: "` + strings.Repeat("a", 33) + `": 33 characters, of at most 32`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.EqualError(t, ValidName(tt.in), tt.want) })
	}
}
