package tcproom

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// roomNameCases say which rule lets each name pass: "no" none, "hard" the rule for
// every room, "valid" ValidRoom too.
var roomNameCases = []struct {
	name string
	in   string
	want string
}{
	{name: "lobby", in: "lobby", want: "valid"},
	{name: "one letter", in: "a", want: "valid"},
	{name: "one digit", in: "7", want: "valid"},
	{name: "all that is allowed", in: "0kitchen.2_b-", want: "valid"},
	{name: "two points inside", in: "a..b", want: "valid"},
	{name: "32 bytes", in: strings.Repeat("a", 32), want: "valid"},
	{name: "33 bytes", in: strings.Repeat("a", 33), want: "hard"},
	{name: "64 bytes", in: strings.Repeat("a", 64), want: "hard"},
	{name: "64 bytes of runes", in: strings.Repeat("ž", 32), want: "hard"},
	{name: "65 bytes", in: strings.Repeat("a", 65), want: "no"},
	{name: "65 bytes of runes", in: "a" + strings.Repeat("ž", 32), want: "no"},
	{name: "capital", in: "Lobby", want: "hard"},
	{name: "capital inside", in: "loBby", want: "hard"},
	{name: "point first", in: ".lobby", want: "hard"},
	{name: "dash first", in: "-lobby", want: "hard"},
	{name: "underscore first", in: "_lobby", want: "hard"},
	{name: "three points", in: "...", want: "hard"},
	{name: "at", in: "@lobby", want: "hard"},
	{name: "quote", in: `lo"bby`, want: "hard"},
	{name: "backslash", in: `lo\bby`, want: "hard"},
	{name: "percent", in: "%2e%2e", want: "hard"},
	{name: "question mark", in: "a?b", want: "hard"},
	{name: "less than", in: "<b>", want: "hard"},
	{name: "semicolon", in: "a;b", want: "hard"},
	{name: "Czech", in: "kuchyň", want: "hard"},
	{name: "Japanese", in: "台所", want: "hard"},
	{name: "dotless i", in: "kıtchen", want: "hard"},
	{name: "kelvin sign", in: "\u212aitchen", want: "hard"},
	{name: "ellipsis", in: "…", want: "hard"},

	{name: "empty", in: "", want: "no"},
	{name: "point", in: ".", want: "no"},
	{name: "two points", in: "..", want: "no"},
	{name: "all rooms", in: "*", want: "no"},
	{name: "star inside", in: "a*", want: "no"},
	{name: "hash", in: "#lobby", want: "no"},
	{name: "slash", in: "a/b", want: "no"},
	{name: "colon", in: "a:b", want: "no"},
	{name: "colon last", in: "lobby:", want: "no"},
	{name: "comma", in: "a,b", want: "no"},
	{name: "space", in: "a b", want: "no"},
	{name: "leading space", in: " a", want: "no"},
	{name: "tab", in: "a\tb", want: "no"},
	{name: "newline", in: "a\n", want: "no"},
	{name: "return", in: "a\r", want: "no"},
	{name: "no-break space", in: "a\u00a0b", want: "no"},
	{name: "ideographic space", in: "a\u3000b", want: "no"},
	{name: "line separator", in: "a\u2028b", want: "no"},
	{name: "next line", in: "a\u0085b", want: "no"},
	{name: "NUL", in: "a\x00", want: "no"},
	{name: "ESC", in: "\x1b[31mlobby", want: "no"},
	{name: "DEL", in: "a\x7f", want: "no"},
	{name: "CSI", in: "a\u009b", want: "no"},
	{name: "override", in: "\u202elobby", want: "no"},
	{name: "isolate", in: "\u2066lobby", want: "no"},
	{name: "zero-width space", in: "a\u200bb", want: "no"},
	{name: "zero-width joiner", in: "a\u200db", want: "no"},
	{name: "byte order mark", in: "\ufefflobby", want: "no"},
	{name: "soft hyphen", in: "a\u00adb", want: "no"},
	{name: "not UTF-8", in: "a\xffb", want: "no"},
	{name: "cut rune", in: "a\xc5", want: "no"},
	{name: "surrogate", in: "\xed\xa0\x80", want: "no"},
}

func TestRoomNames(t *testing.T) {
	for _, tt := range roomNameCases {
		t.Run(tt.name, func(t *testing.T) {
			hard, valid := checkRoomName(tt.in), ValidRoom(tt.in)
			require.Equal(t, tt.want != "no", hard == nil, "%v", hard)
			require.Equal(t, tt.want == "valid", valid == nil, "%v", valid)
			for _, err := range []error{hard, valid} {
				if err != nil {
					require.ErrorIs(t, err, ErrRoomName)
					require.Contains(t, err.Error(), quotePeer(tt.in))
				}
			}
		})
	}
	require.NoError(t, checkAnyRoom("*"))
	require.Error(t, checkAnyRoom("**"))
	require.NoError(t, checkRoomPrefix(""))
	require.NoError(t, checkRoomPrefix("."), "a room may be called .lobby")
	require.ErrorIs(t, checkRoomPrefix("a b"), ErrRoomName)
}

// validRoom is the rule of ValidRoom in another language.
var validRoom = regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]{0,31}\z`)

// FuzzRoomName: a name that the hard rule lets pass cannot play with a terminal, a line
// or a URL, and ValidRoom allows what it says and nothing else.
func FuzzRoomName(f *testing.F) {
	for _, tt := range roomNameCases {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, name string) {
		hard, valid := checkRoomName(name), ValidRoom(name)
		require.Equal(t, validRoom.MatchString(name), valid == nil, "%v", valid)
		for _, err := range []error{hard, valid} {
			if err != nil {
				require.ErrorIs(t, err, ErrRoomName)
				require.Less(t, len(err.Error()), 512)
				requireSafe(t, []byte(err.Error()))
			}
		}
		if valid == nil {
			require.NoError(t, hard)
		}
		if hard != nil {
			return
		}
		require.NotContains(t, []string{"", ".", ".."}, name)
		require.LessOrEqual(t, len(name), 64)
		require.True(t, utf8.ValidString(name))
		requireSafe(t, []byte(name))
		for i, r := range name {
			require.False(t, unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(":,/*#", r), "%U", r)
			require.NoError(t, checkRoomPrefix(name[:i]), "a prefix of a name")
		}
	})
}
