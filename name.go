package tcproom

import (
	"fmt"

	"example.com/tcproom/internal/names"
)

const maxNameBytes = names.MaxBytes // of any name, see checkName

// ValidName is the default of [WithNameValidator]: it returns nil for a name of
// 1 to 32 letters, marks on them, decimal digits and the three characters "-",
// "_" and ".", and otherwise an error that wraps [ErrNameInvalid], quotes the
// name and says what is wrong with it.
//
// Letters and digits are those of Unicode, in any script, apart from what makes
// two names look alike or one name have two spellings:
//
//   - modifier letters, which look like quotes, colons and accents, but for the
//     long vowel and repetition marks that Japanese, Thai, Lao and Khmer write;
//   - compatibility and letter-like forms: letterlike symbols, number forms,
//     superscripts, enclosed, mathematical, full-width and half-width letters
//     and digits, ligatures, presentation forms, compatibility ideographs,
//     phonetic extensions, Hangul in loose parts, and single letters of this
//     kind in other blocks, such as "ª", "ſ" and "ŉ".
//
// Combining marks are allowed on letters of their own script, in the scripts
// that are written with them today, such as Devanagari, Thai and Burmese; in
// Arabic and Hebrew the vowel signs, and in Latin thirteen common accents on
// letters that have no character of their own with them, as in "ẹ́" and "m̀".
// Refused is what could be confused or forged with marks:
//
//   - one behind a digit, a punctuation mark, a letter of another script or
//     nothing; the same one twice on a letter; more than 5 on a letter (Hebrew
//     3, Latin and Arabic 2);
//   - an invisible one, one that encloses or strikes out its letter, and an
//     invisible sign for joining two letters that does not stand between two;
//   - the common sequences that look like another letter, such as Devanagari
//     "अ" and "ा" for "आ".
//
// The joiners U+200C and U+200D are refused in any name, since most fonts show
// no difference; so Persian and Sinhala names are written without them.
//
// A name that it allows is stable under the normal forms NFC and NFKC of
// Unicode 15. What is not, is refused and not converted: a client brings a name
// into the form NFKC first, if it wants all spellings of it to be taken. People
// need this for Thai and Lao "ำ", and for Arabic and Hebrew vowel signs in the
// order in which they are typed.
//
// It does not judge whether letters of different scripts look the same, as "а"
// (Cyrillic) and "a" do, nor whether names differ in case alone: a room that
// must tell such names apart sets a validator of its own, which may call this
// one first.
//
// It is pure: safe from many goroutines at once.
func ValidName(name string) error { return nameError(name, names.Valid(name)) }

// checkName is the rule for every name, whatever the room's validator. Its
// error wraps ErrNameInvalid.
func checkName(name string) error { return nameError(name, names.Check(name)) }

// nameError is the error for a name with this fault, nil where that is "".
func nameError(name, fault string) error {
	if fault == "" {
		return nil
	}
	return fmt.Errorf("%w: %s: %s", ErrNameInvalid, quotePeer(name), fault)
}
