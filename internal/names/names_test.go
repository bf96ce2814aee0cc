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
		{"a mark alone", "\u0301", "U+0301 is a mark that does not belong on what stands before it"},
		{"a mark at the start", "\u0e31กa", "U+0E31 is a mark that"},
		{"behind a digit", "1\u0301", "U+0301 is a mark that"},
		{"behind a digit of the script", "ก๑\u0e48", "U+0E48 is a mark that"},
		{"behind a dot", "ก.\u0e48", "U+0E48 is a mark that"},
		{"behind a repetition mark", "กๆ\u0e48", "U+0E48 is a mark that"},
		{"of another script", "a\u0e31", "U+0E31 is a mark that"},
		{"Latin, of another script", "ก\u0301", "U+0301 is a mark that"},
		{"Devanagari on Bengali", "ক\u093f", "U+093F is a mark that"},
		{"Arabic on Latin", "a\u064e", "U+064E is a mark that"},
		{"Greek", "ε\u0304", "U+0304 is a mark that"},
		{"Cyrillic", "а\u0301", "U+0301 is a mark that"},
		{"Cyrillic letters above", "а\u2de0", "U+2DE0 is a mark that"},
		{"Cyrillic, enclosing", "а\u0488", "U+0488 is a mark that"},
		{"enclosing", "a\u20dd", "U+20DD is a mark that"},
		{"overlay", "o\u0338", "U+0338 is a mark that"},
		{"dot above, which i has", "i\u0307", "U+0307 is a mark that"},
		{"overline", "a\u0305", "U+0305 is a mark that"},
		{"grapheme joiner", "a\u034f", "U+034F is a mark that"},
		{"variation selector", "a\ufe0f", "U+FE0F is a mark that"},
		{"variation selector beyond the BMP", "字\U000e0100", "U+E0100 is a mark that"},
		{"Mongolian variation selector", "ᠠ\u180b", "U+180B is a mark that"},
		{"Khmer inherent vowel, invisible", "ក\u17b4", "U+17B4 is a mark that"},
		{"kana voiced in two", "か\u3099", "U+3099 is a mark that"},
		{"Hangul tone", "가\u302e", "U+302E is a mark that"},
		{"accent of the Bible", "א\u0591", "U+0591 is a mark that"},
		{"sign of the Koran", "ا\u06d6", "U+06D6 is a mark that"},
		{"hamza above", "ى\u0654", "U+0654 is a mark that"},
		{"Vedic", "क\ua8e0", "U+A8E0 is a mark that"},
		{"tone mark that is an accent", "e\u0340", "U+0340 is a mark that"},
		{"Tibetan vowel for two", "ཀ\u0f73", "U+0F73 is a mark that"},
		{"Tibetan letter for two", "ཀ\u0f93", "U+0F93 is a mark that"},

		{"decomposed e acute", "e\u0301", "not in the normal form NFC, at U+0301"},
		{"decomposed in the middle", "Zoe\u0308y", "not in the normal form NFC, at U+0308"},
		{"decomposed Vietnamese", "ê\u0303", "not in the normal form NFC, at U+0303"},
		{"accent before dot below", "é\u0323", "not in the normal form NFC, at U+0323"},
		{"accent before dot below, on a letter without either", "ɔ\u0301\u0323", "not in the normal form NFC, at U+0323"},
		{"cedilla in two", "c\u0327", "not in the normal form NFC, at U+0327"},
		{"behind a mark that does not block", "a\u0331\u0301", "not in the normal form NFC, at U+0301"},
		{"Bengali o", "ক\u09c7\u09be", "not in the normal form NFC, at U+09BE"},
		{"Tamil o", "க\u0bc6\u0bbe", "not in the normal form NFC, at U+0BBE"},
		{"Kannada oo", "ಕ\u0cca\u0cd5", "not in the normal form NFC, at U+0CD5"},
		{"Sinhala oo", "ක\u0ddc\u0dca", "not in the normal form NFC, at U+0DCA"},
		{"Burmese uu", "ဥ\u102e", "not in the normal form NFC, at U+102E"},
		{"Devanagari nnna", "न\u093c", "not in the normal form NFC, at U+093C"},
		{"nukta behind virama", "क\u094d\u093c", "not in the normal form NFC, at U+093C"},
		{"Telugu ai, whose last part moves", "క\u0c48\u0c55", "not in the normal form NFC, at U+0C55"},
		{"shadda before fatha", "م\u0651\u064e", "not in the normal form NFC, at U+064E"},
		{"shin dot before vowel", "ש\u05c1\u05b8", "not in the normal form NFC, at U+05B8"},
		{"Thai tone before vowel below", "ก\u0e48\u0e38", "not in the normal form NFC, at U+0E38"},

		{"three on Latin", "ɔ\u0323\u0301\u0302", "more than 2 marks on 'ɔ'"},
		{"three on Arabic", "م\u064e\u064f\u0651", "more than 2 marks on 'م'"},
		{"six on Burmese", "ကျြွှေါ", "more than 5 marks on 'က'"},
		{"one twice", "ก\u0e48\u0e48", `the mark U+0E48 twice on 'ก'`},
		{"one twice, not in a row", "က\u103b\u103c\u103b", `the mark U+103B twice on 'က'`},
		{"Latin twice", "ɔ\u0301\u0301", `the mark U+0301 twice on 'ɔ'`},

		{"Devanagari aa", "अ\u093e", "U+0905 and U+093E look like another character"},
		{"Thai ue", "ก\u0e34\u0e4d", "U+0E34 and U+0E4D look like"},
		{"Thai ue, the other way round", "ก\u0e4d\u0e34", "U+0E4D and U+0E34 look like"},
		{"Khmer oo", "ក\u17c1\u17b6", "U+17C1 and U+17B6 look like"},

		{"joins nothing", "က\u1039", "U+1039 joins nothing"},
		{"joins a digit", "ក\u17d2១", "U+17D2 joins nothing"},
		{"joins a letter of another script", "ក\u17d2a", "U+17D2 joins nothing"},
		{"joins a repetition mark", "ក\u17d2ៗ", "U+17D2 joins nothing"},
		{"joins a dot", "ក\u17d2.", "U+17D2 joins nothing"},
		{"joins a mark", "ក\u17d2\u17b6", "U+17D2 joins nothing"},

		{"Thai am", "คำ", `'ำ' is not a letter`},
		{"Devanagari qa in one", "\u0958", `is not a letter`},
		{"zero-width joiner", "ශ\u0dca\u200dර", "holds an invisible format character"},
		{"zero-width non-joiner", "می\u200cخ", "holds an invisible format character"},
		{"33 with marks", strings.Repeat("กิ", 16) + "ก", "33 characters, of at most 32"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Contains(t, Valid(tt.in), tt.want, "%+q", tt.in) })
	}
}
