package itest

import (
	"slices"
	"testing"
	"unicode"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
)

// TestNamesAreStable: a name that ValidName allows is stable under NFC and NFKC.
// It tries all characters, all pairs of a letter and a mark of one script, and
// such pairs with each mark of the script behind them. More marks add nothing
// new: whether one moves or melts depends on the starter, on the mark before it
// and on itself.
func TestNamesAreStable(t *testing.T) {
	require.Equal(t, unicode.Version, norm.Version)
	// valid says whether the characters are allowed, some with one more behind.
	valid := func(name ...rune) bool {
		if tcproom.ValidName(string(name)) != nil {
			name = append(name, name[0]) // a mark may join two letters
			if !unicode.Is(unicode.M, name[len(name)-2]) || tcproom.ValidName(string(name)) != nil {
				return false
			}
		}
		if s := string(name); !norm.NFC.IsNormalString(s) || !norm.NFKC.IsNormalString(s) {
			t.Errorf("allowed, but NFC makes %+q of it and NFKC %+q: %+q", norm.NFC.String(s), norm.NFKC.String(s), s)
		}
		return true
	}
	letters, marks := make(map[string][]rune), make(map[string][]rune)
	for script, table := range unicode.Scripts {
		for _, r16 := range table.R16 {
			for r := rune(r16.Lo); r <= rune(r16.Hi); r += rune(r16.Stride) {
				sort(r, script, letters, marks, valid)
			}
		}
		for _, r32 := range table.R32 {
			for r := rune(r32.Lo); r <= rune(r32.Hi); r += rune(r32.Stride) {
				sort(r, script, letters, marks, valid)
			}
		}
	}
	accents := slices.DeleteFunc(slices.Clone(marks["Inherited"]), func(r rune) bool { return r > 0x0670 })
	pairs, triples := 0, 0
	for script := range letters {
		every := 1
		if n := len(letters[script]); n > 300 && script != "Latin" && script != "Arabic" {
			every = n / 100 // of the many of a script that carry nothing
		}
		taken := make(map[rune]bool)
		var behind [][2]rune
		for i, r := range letters[script] {
			if i%every != 0 {
				continue
			}
			tried := marks[script]
			if i%4 == 0 || script == "Latin" || script == "Arabic" {
				tried = slices.Concat(tried, accents)
			}
			for _, m := range tried {
				if !valid(r, m) {
					continue
				}
				pairs++
				taken[m] = true
				if i%8 == 0 || norm.NFD.String(string(r)) != string(r) {
					behind = append(behind, [2]rune{r, m})
				}
			}
		}
		for _, pair := range behind {
			for m := range taken {
				if valid(pair[0], pair[1], m) {
					triples++
				}
			}
		}
	}
	require.Greater(t, pairs, 50_000)
	require.Greater(t, triples, 200_000)
}

// sort puts r to the letters or marks of its script, if it may stand in a name.
func sort(r rune, script string, letters, marks map[string][]rune, valid func(...rune) bool) {
	if unicode.Is(unicode.M, r) {
		marks[script] = append(marks[script], r)
	} else if valid(r) && unicode.IsLetter(r) {
		letters[script] = append(letters[script], r)
	}
}

// TestMarksOfOtherScripts: no mark is allowed on a letter of another script,
// those that Unicode says are inherited aside, on Latin and Arabic.
func TestMarksOfOtherScripts(t *testing.T) {
	var marks []rune
	for r := range rune(unicode.MaxRune) {
		if unicode.Is(unicode.M, r) {
			marks = append(marks, r)
		}
	}
	for _, letter := range "aßяΩא\u0639ကกက한字かꀀकকก๑Ქ" {
		for _, m := range marks {
			if tcproom.ValidName(string([]rune{letter, m, letter})) != nil {
				continue
			}
			own := sameScript(letter, m) || unicode.Is(unicode.Inherited, m) && unicode.In(letter, unicode.Latin, unicode.Arabic)
			require.True(t, own, "%U behind %q", m, letter)
		}
	}
}

func sameScript(a, b rune) bool {
	for _, table := range unicode.Scripts {
		if unicode.Is(table, a) {
			return unicode.Is(table, b)
		}
	}
	return false
}
