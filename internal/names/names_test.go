package names

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// Every single character, by what unicode says of it.
func TestOneCharacter(t *testing.T) {
	forms := 0
	var want, passed []rune // want: of what is neither letter nor digit, these three only
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if r >= 0xd800 && r <= 0xdfff {
			continue
		}
		got := allowed(r)
		switch {
		case r == '-' || r == '_' || r == '.':
			want = append(want, r)
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
		case got:
			want = append(want, r)
		case !unicode.Is(unicode.Lm, r):
			forms++
		}
		if got {
			passed = append(passed, r)
		}
	}
	require.True(t, slices.Equal(want, passed))
	// Letters and digits that are refused as forms of others. More of them in
	// a later Unicode means that formLetters wants another look.
	require.InDelta(t, 3900, forms, 400)
}

// The fast path of Check is no rule of its own.
func TestCheckOfASCII(t *testing.T) {
	for _, name := range []string{"", "*", "**", "ada", "a b", "a:b", "a\x7fb", "a\x00b", "~!", strings.Repeat("a", 256), strings.Repeat("a", 257)} {
		require.Equal(t, check(name), Check(name), "%q", name)
	}
	for c := range 256 {
		name := "a" + string([]byte{byte(c)}) + "b"
		require.Equal(t, check(name), Check(name), "%q", name)
	}
}

// Names that people have, in scripts that are written with marks, in NFC.
func TestNamesOfPeople(t *testing.T) {
	for script, names := range map[string][]string{
		"Thai":            {"สมศรี", "สมชาย", "กิตติ", "ณัฐพล", "พิมพ์ชนก", "ศิริพร", "อนุชา", "น้องเล็ก", "ปิ่น", "ธีรศักดิ์", "อ\u0e4dานาจ"},
		"Lao":             {"ສົມສັກ", "ບຸນມີ", "ຄໍາແພງ", "ວິໄລ", "ແກ້ວ"},
		"Hindi":           {"अमित", "प्रिया", "राहुल", "श्रेया", "हिमांशु", "आँचल", "ज़ोया", "कृष्ण", "दुःखी", "लक्ष्मी"},
		"Marathi":         {"ज्ञानेश्वर", "अश्विनी", "ऋतुजा", "सई"},
		"Nepali":          {"सञ्जय", "बिष्णु", "दिपेन्द्र"},
		"Bengali":         {"অমিতাভ", "রবীন্দ্রনাথ", "মৌসুমী", "শ্রেয়া", "অ্যানি", "বাঁধন", "ঋতুপর্ণ", "গোপাল"},
		"Gurmukhi":        {"ਗੁਰਪ੍ਰੀਤ", "ਮਨਜੀਤ", "ਸਿੰਘ", "ਜਸਵੰਤ", "ਆਂਚਲ"},
		"Gujarati":        {"નરેન્દ્ર", "હાર્દિક", "જ્યોતિ", "ઋત્વિક"},
		"Oriya":           {"ନବୀନ", "ଜଗନ୍ନାଥ", "ସ୍ମିତା", "କୃଷ୍ଣ"},
		"Tamil":           {"கார்த்திக்", "முருகன்", "லட்சுமி", "கோபால்", "சௌந்தர்யா", "தமிழ்ச்செல்வி"},
		"Telugu":          {"శ్రీనివాస్", "లక్ష్మి", "వెంకటేశ్వర", "కృష్ణ", "పైడి"},
		"Kannada":         {"ಗಿರೀಶ", "ಲಕ್ಷ್ಮಿ", "ವಿಷ್ಣು", "ಕೋಮಲ", "ಗೌರಿ"},
		"Malayalam":       {"മോഹൻ", "ലക്ഷ്മി", "കൃഷ്ണൻ", "സൗമ്യ", "ഗീതു"},
		"Sinhala":         {"නිමල්", "සුනිල්", "කුමාරි", "ගෝපාල", "දිනේෂ්", "මහේන්ද්ර"},
		"Burmese":         {"အောင်", "စုကြည်", "မင်းအောင်လှိုင်", "ဖြိုး", "သန်းရွှေ", "ဦးနု", "ခင်မျိုးချစ်", "လျှို့ဝှက်", "ဇော်ဂျီ", "တင်္ကြန်"},
		"Shan":            {"ၸၢႆး", "ၼၢင်းမူဝ်"},
		"Khmer":           {"សុខា", "ចាន់ថា", "ស្រីមុំ", "បុប្ផា", "រតនៈ", "ដារ៉ា", "វណ្ណៈ", "គន្ធា", "កោះ"},
		"Tibetan":         {"བསྟན་འཛིན", "དོན་གྲུབ", "ལྷ་མོ", "ཚེ་རིང", "ཀརྨ"},
		"Arabic":          {"محمد", "مُحَمَّد", "عَلِيّ", "رحمٰن", "فاطِمة", "سارةُ"},
		"Hebrew":          {"דָּוִד", "שָׂרָה", "מֹשֶׁה", "רִבְקָה", "שְׁלֹמֹה"},
		"Syriac":          {"ܡܳܪܝܰܐ", "ܐܰܦܪܶܝܡ"},
		"Thaana":          {"މުޙައްމަދު", "އިބްރާހީމް"},
		"Vietnamese":      {"Nguyễn", "Trần", "Phượng", "Đặng", "Thảo", "Quỳnh", "Hiếu"},
		"Yoruba":          {"Ẹniọlá", "Fẹ́mi", "Ọlọ́run", "Tèmítọ̀pẹ́", "Àṣà", "Ǹkan", "Àm\u0300àlà"},
		"Igbo":            {"Chị\u0301nedu", "Ọ̀nwụ\u0301"},
		"Ewe":             {"Kɔ\u0301fi", "Afɛ\u0303"},
		"Guarani":         {"Mborag\u0303e", "Ñandutĩ"},
		"Marshallese":     {"Em\u0327ai", "Rujo\u0327", "N\u0304a"},
		"Navajo":          {"Hastiin", "Shą\u0301ą\u0301"},
		"Taiwanese":       {"Ia\u030dp", "Hô\u0358", "Tân"},
		"Nuer":            {"Nya\u0331l", "Gatlua\u0331k"},
		"Jarai":           {"Sơ\u0306", "Kê\u0306"},
		"N'Ko":            {"ߞߊ߬ߙߊ߲", "ߡߡߊ߬ߘߎ߫"},
		"Adlam":           {"𞤀𞤣𞤢\u1e945𞤥", "𞤃𞤢\u1e944𞤥"},
		"Balinese":        {"ᬯᬬᬦ᭄", "ᬓᬾᬢᬸᬢ᭄"},
		"Javanese":        {"ꦱꦿꦶ", "ꦮꦶꦢꦢ"},
		"Meetei":          {"ꯃꯅꯤꯄꯨꯔ", "ꯊꯣꯏꯕꯤ"},
		"Tai Tham":        {"ᨠᩮᩢ᩶ᩣ", "ᨾ᩠ᨦ"},
		"Chakma":          {"𑄌𑄋𑄴𑄟𑄳𑄦"},
		"Hanifi Rohingya": {"𐴀𐴞𐴕𐴐𐴝"},
	} {
		for _, name := range names {
			name = strings.ReplaceAll(name, "\u0f0b", "-") // Tibetan's mark between syllables is punctuation
			if fault := Valid(name); fault != "" {
				t.Errorf("%s: %q %+q: %s", script, name, name, fault)
			}
		}
	}
}

func TestRefusedMarks(t *testing.T) {
	tests := []struct {
		name, in, want string
	}{
		{name: "a mark alone", in: "\u0301", want: "U+0301 is a mark that does not belong on what stands before it"},
		{name: "a mark at the start", in: "\u0e31กa", want: "U+0E31 is a mark that"},
		{name: "behind a digit", in: "1\u0301", want: "U+0301 is a mark that"},
		{name: "behind a digit of the script", in: "ก๑\u0e48", want: "U+0E48 is a mark that"},
		{name: "behind a dot", in: "ก.\u0e48", want: "U+0E48 is a mark that"},
		{name: "behind a repetition mark", in: "กๆ\u0e48", want: "U+0E48 is a mark that"},
		{name: "of another script", in: "a\u0e31", want: "U+0E31 is a mark that"},
		{name: "Latin, of another script", in: "ก\u0301", want: "U+0301 is a mark that"},
		{name: "Devanagari on Bengali", in: "ক\u093f", want: "U+093F is a mark that"},
		{name: "Arabic on Latin", in: "a\u064e", want: "U+064E is a mark that"},
		{name: "Greek", in: "ε\u0304", want: "U+0304 is a mark that"},
		{name: "Cyrillic", in: "а\u0301", want: "U+0301 is a mark that"},
		{name: "Cyrillic letters above", in: "а\u2de0", want: "U+2DE0 is a mark that"},
		{name: "Cyrillic, enclosing", in: "а\u0488", want: "U+0488 is a mark that"},
		{name: "enclosing", in: "a\u20dd", want: "U+20DD is a mark that"},
		{name: "overlay", in: "o\u0338", want: "U+0338 is a mark that"},
		{name: "dot above, which i has", in: "i\u0307", want: "U+0307 is a mark that"},
		{name: "overline", in: "a\u0305", want: "U+0305 is a mark that"},
		{name: "grapheme joiner", in: "a\u034f", want: "U+034F is a mark that"},
		{name: "variation selector", in: "a\ufe0f", want: "U+FE0F is a mark that"},
		{name: "variation selector beyond the BMP", in: "字\U000e0100", want: "U+E0100 is a mark that"},
		{name: "Mongolian variation selector", in: "ᠠ\u180b", want: "U+180B is a mark that"},
		{name: "Khmer inherent vowel, invisible", in: "ក\u17b4", want: "U+17B4 is a mark that"},
		{name: "kana voiced in two", in: "か\u3099", want: "U+3099 is a mark that"},
		{name: "Hangul tone", in: "가\u302e", want: "U+302E is a mark that"},
		{name: "accent of the Bible", in: "א\u0591", want: "U+0591 is a mark that"},
		{name: "sign of the Koran", in: "ا\u06d6", want: "U+06D6 is a mark that"},
		{name: "hamza above", in: "ى\u0654", want: "U+0654 is a mark that"},
		{name: "Vedic", in: "क\ua8e0", want: "U+A8E0 is a mark that"},
		{name: "tone mark that is an accent", in: "e\u0340", want: "U+0340 is a mark that"},
		{name: "Tibetan vowel for two", in: "ཀ\u0f73", want: "U+0F73 is a mark that"},
		{name: "Tibetan letter for two", in: "ཀ\u0f93", want: "U+0F93 is a mark that"},

		{name: "decomposed e acute", in: "e\u0301", want: "not in the normal form NFC, at U+0301"},
		{name: "decomposed in the middle", in: "Zoe\u0308y", want: "not in the normal form NFC, at U+0308"},
		{name: "decomposed Vietnamese", in: "ê\u0303", want: "not in the normal form NFC, at U+0303"},
		{name: "accent before dot below", in: "é\u0323", want: "not in the normal form NFC, at U+0323"},
		{name: "accent before dot below, on a letter without either", in: "ɔ\u0301\u0323", want: "not in the normal form NFC, at U+0323"},
		{name: "cedilla in two", in: "c\u0327", want: "not in the normal form NFC, at U+0327"},
		{name: "behind a mark that does not block", in: "a\u0331\u0301", want: "not in the normal form NFC, at U+0301"},
		{name: "Bengali o", in: "ক\u09c7\u09be", want: "not in the normal form NFC, at U+09BE"},
		{name: "Tamil o", in: "க\u0bc6\u0bbe", want: "not in the normal form NFC, at U+0BBE"},
		{name: "Kannada oo", in: "ಕ\u0cca\u0cd5", want: "not in the normal form NFC, at U+0CD5"},
		{name: "Sinhala oo", in: "ක\u0ddc\u0dca", want: "not in the normal form NFC, at U+0DCA"},
		{name: "Burmese uu", in: "ဥ\u102e", want: "not in the normal form NFC, at U+102E"},
		{name: "Devanagari nnna", in: "न\u093c", want: "not in the normal form NFC, at U+093C"},
		{name: "nukta behind virama", in: "क\u094d\u093c", want: "not in the normal form NFC, at U+093C"},
		{name: "Telugu ai, whose last part moves", in: "క\u0c48\u0c55", want: "not in the normal form NFC, at U+0C55"},
		{name: "shadda before fatha", in: "م\u0651\u064e", want: "not in the normal form NFC, at U+064E"},
		{name: "shin dot before vowel", in: "ש\u05c1\u05b8", want: "not in the normal form NFC, at U+05B8"},
		{name: "Thai tone before vowel below", in: "ก\u0e48\u0e38", want: "not in the normal form NFC, at U+0E38"},

		{name: "three on Latin", in: "ɔ\u0323\u0301\u0302", want: "more than 2 marks on 'ɔ'"},
		{name: "three on Arabic", in: "م\u064e\u064f\u0651", want: "more than 2 marks on 'م'"},
		{name: "six on Burmese", in: "ကျြွှေါ", want: "more than 5 marks on 'က'"},
		{name: "one twice", in: "ก\u0e48\u0e48", want: `the mark U+0E48 twice on 'ก'`},
		{name: "one twice, not in a row", in: "က\u103b\u103c\u103b", want: `the mark U+103B twice on 'က'`},
		{name: "Latin twice", in: "ɔ\u0301\u0301", want: `the mark U+0301 twice on 'ɔ'`},

		{name: "Devanagari aa", in: "अ\u093e", want: "U+0905 and U+093E look like another character"},
		{name: "Thai ue", in: "ก\u0e34\u0e4d", want: "U+0E34 and U+0E4D look like"},
		{name: "Thai ue, the other way round", in: "ก\u0e4d\u0e34", want: "U+0E4D and U+0E34 look like"},
		{name: "Khmer oo", in: "ក\u17c1\u17b6", want: "U+17C1 and U+17B6 look like"},

		{name: "joins nothing", in: "က\u1039", want: "U+1039 joins nothing"},
		{name: "joins a digit", in: "ក\u17d2១", want: "U+17D2 joins nothing"},
		{name: "joins a letter of another script", in: "ក\u17d2a", want: "U+17D2 joins nothing"},
		{name: "joins a repetition mark", in: "ក\u17d2ៗ", want: "U+17D2 joins nothing"},
		{name: "joins a dot", in: "ក\u17d2.", want: "U+17D2 joins nothing"},
		{name: "joins a mark", in: "ក\u17d2\u17b6", want: "U+17D2 joins nothing"},

		{name: "Thai am", in: "คำ", want: `'ำ' is not a letter`},
		{name: "Devanagari qa in one", in: "\u0958", want: `is not a letter`},
		{name: "zero-width joiner", in: "ශ\u0dca\u200dර", want: "holds an invisible format character"},
		{name: "zero-width non-joiner", in: "می\u200cخ", want: "holds an invisible format character"},
		{name: "33 with marks", in: strings.Repeat("กิ", 16) + "ก", want: "33 characters, of at most 32"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Contains(t, Valid(tt.in), tt.want, "%+q", tt.in) })
	}
}
