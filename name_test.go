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
	{"ada", "ada", "valid"},
	{"guest", "guest-7", "valid"},
	{"all that ASCII has", "Ada.Lovelace_1815-", "valid"},
	{"Czech", "Žofie", "valid"},
	{"German", "Weiß", "valid"},
	{"Greek", "Ελένη", "valid"},
	{"Cyrillic", "Лев", "valid"},
	{"Hebrew", "עדה", "valid"},
	{"Arabic", "علي", "valid"},
	{"Arabic digits", "علي٧", "valid"},
	{"Hangul", "홍길동", "valid"},
	{"Chinese", "王小明", "valid"},
	{"Japanese with a long vowel", "スーパー", "valid"},
	{"Japanese with an iteration mark", "佐々木", "valid"},
	{"Georgian", "ნინო", "valid"},
	{"Cherokee", "ᏣᎳᎩ", "valid"},
	{"beyond the BMP", "𠮷田", "valid"},
	{"32 runes", strings.Repeat("ž", 32), "valid"},
	{"33 runes", strings.Repeat("ž", 33), "hard"},
	{"256 bytes", strings.Repeat("a", 256), "hard"},
	{"257 bytes", strings.Repeat("a", 257), "no"},
	{"257 bytes of runes", "a" + strings.Repeat("ž", 128), "no"},

	{"empty", "", "no"},
	{"the room", "*", "no"},
	{"two stars", "**", "hard"},
	{"star first", "*ada", "hard"},
	{"space", "a b", "no"},
	{"leading space", " ada", "no"},
	{"tab", "a\tb", "no"},
	{"newline", "a\nb", "no"},
	{"return", "a\rb", "no"},
	{"no-break space", "a\u00a0b", "no"},
	{"ogham space", "a\u1680b", "no"},
	{"thin space", "a\u2009b", "no"},
	{"narrow no-break space", "a\u202fb", "no"},
	{"ideographic space", "a\u3000b", "no"},
	{"line separator", "a\u2028b", "no"},
	{"paragraph separator", "a\u2029b", "no"},
	{"next line", "a\u0085b", "no"},
	{"colon", "a:b", "no"},
	{"colon last", "ada:", "no"},
	{"NUL", "a\x00", "no"},
	{"ESC", "\x1b[31mada", "no"},
	{"DEL", "a\x7f", "no"},
	{"CSI", "a\u009b", "no"},
	{"override", "\u202eada", "no"},
	{"isolate", "\u2066ada", "no"},
	{"Arabic letter mark", "\u061cada", "no"},
	{"left-to-right mark", "ada\u200e", "no"},
	{"zero-width space", "a\u200bda", "no"},
	{"zero-width joiner", "a\u200dda", "no"},
	{"word joiner", "a\u2060da", "no"},
	{"byte order mark", "\ufeffada", "no"},
	{"soft hyphen", "a\u00adda", "no"},
	{"tag letters", "ada\U000e0061", "no"},
	{"not UTF-8", "a\xffb", "no"},
	{"cut rune", "a\xc5", "no"},
	{"surrogate", "\xed\xa0\x80", "no"},

	{"Thai", "สมศรี", "valid"},
	{"Hindi", "हिमांशु", "valid"},
	{"Yoruba", "Fẹ́mi", "valid"},
	{"combining acute", "e\u0301", "hard"},
	{"enclosing circle", "a\u20dd", "hard"},
	{"mark first", "\u093fह", "hard"},
	{"at", "a@b", "hard"},
	{"slash", "a/b", "hard"},
	{"quote", `a"b`, "hard"},
	{"percent", "a%sb", "hard"},
	{"emoji", "👩", "hard"},
	{"middle dot", "a·b", "hard"},
	{"dash that is not ASCII", "a–b", "hard"},
	{"full stop that is not ASCII", "a。b", "hard"},
	{"superscript two", "a²", "hard"},
	{"roman numeral", "Ⅷ", "hard"},
	{"circled digit", "①", "hard"},
	{"full-width letters", "ａｄａ", "hard"},
	{"full-width digits", "１２", "hard"},
	{"half-width katakana", "ｱﾀﾞ", "hard"},
	{"bold letters", "𝐚𝐝𝐚", "hard"},
	{"script letters", "𝒜", "hard"},
	{"bold digits", "𝟏", "hard"},
	{"segmented digits", "🯱", "hard"},
	{"Kelvin", "\u212a", "hard"},
	{"Ångström", "\u212b", "hard"},
	{"real numbers", "ℝ", "hard"},
	{"ligature", "ﬁ", "hard"},
	{"long s", "ſ", "hard"},
	{"feminine ordinal", "ª", "hard"},
	{"micro", "µ", "hard"},
	{"digraph", "Ǆ", "hard"},
	{"Arabic ligature", "ﷲ", "hard"},
	{"Arabic presentation form", "ﺍ", "hard"},
	{"Arabic mathematical", "𞸀", "hard"},
	{"compatibility ideograph", "\uf900", "hard"},
	{"compatibility ideograph beyond the BMP", "\U0002f800", "hard"},
	{"Hangul filler", "\u3164", "hard"},
	{"half-width Hangul filler", "\uffa0", "hard"},
	{"Hangul in parts", "\u1100\u1161", "hard"},
	{"small capital", "ᴀᴅᴀ", "hard"},
	{"modifier apostrophe", "aʼb", "hard"},
	{"modifier colon of Lisu", "ada\ua4fd", "hard"},
	{"tatweel", "ـ", "hard"},
	{"Greek with oxia", "\u1f71", "hard"},
	{"Greek symbol", "ϐ", "hard"},
	{"Devanagari with nukta in one", "\u0958", "hard"},
	{"private use", "\ue000", "hard"},
	{"not assigned", "\u0378", "hard"},
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
		{"empty", "", `tcproom: invalid name: "": empty`},
		{"room", "*", `tcproom: invalid name: "*": means the room itself`},
		{"colon", "a:b", `tcproom: invalid name: "a:b": holds a colon`},
		{"escape", "a\x1b", `tcproom: invalid name: "a\x1b": holds a control character`},
		{"override", "\u202ea", `tcproom: invalid name: "\u202ea": holds an invisible format character`},
		{"emoji", "a👩", `tcproom: invalid name: "a👩": '👩' is not a letter, a digit or one of "-_."`},
		{"decomposed", "Zoe\u0308", "tcproom: invalid name: \"Zoe\u0308\": not in the normal form NFC, at U+0308"},
		{"long", strings.Repeat("a", 300), `tcproom: invalid name: "` + strings.Repeat("a", 62) + `"…: 300 bytes, of at most 256`},
		{"33", strings.Repeat("a", 33), `tcproom: invalid name: "` + strings.Repeat("a", 33) + `": 33 characters, of at most 32`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.EqualError(t, ValidName(tt.in), tt.want) })
	}
}
