package roomnats

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestToken(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"lobby": "lobby", "A-b_9": "A-b_9", "a.b": "a=2Eb", "*": "=2A", ">": "=3E", " ": "=20", "=2A": "=3D2A", "ä": "=C3=A4", "": "",
		strings.Repeat("x", 128): strings.Repeat("x", 128), strings.Repeat(".", 42): strings.Repeat("=2E", 42),
	} {
		require.Equal(t, want, token(name))
	}
	for _, long := range []string{strings.Repeat("x", 129), strings.Repeat(".", 43), strings.Repeat("ü", 127)} {
		require.Regexp(t, `^==[A-Z2-7]{52}$`, token(long))
	}
}

// Where the log of a room is must not change: it is FNV-1a, of which these are vectors.
func TestShardOf(t *testing.T) {
	t.Parallel()
	for name, sum := range map[string]uint32{"": 0x811c9dc5, "a": 0xe40c292c, "foobar": 0xbf9cf968} {
		for _, n := range []int{1, 2, 3, 1000} {
			require.Equal(t, int(sum%uint32(n)), shardOf(name, n))
		}
	}
}

// The documentation lists what is needed.
func TestPermissionsInDoc(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	publish, subscribe, err := Permissions()
	require.NoError(t, err)
	streams := regexp.MustCompile(`(INFO|CREATE|GET|NEXT|DELETE)\.(TCPROOM_default_0|KV_tcproom_default_(state|nodes))`)
	for _, subject := range publish {
		require.Contains(t, string(doc), "\n//\t"+streams.ReplaceAllString(subject, "$1.S")+"\n")
	}
	for _, subject := range subscribe {
		require.Contains(t, string(doc), "subscribe to "+subject)
	}
}

// Different names have different tokens, which are words of a subject.
func FuzzToken(f *testing.F) {
	f.Add("a", "a.b")
	f.Add("=", "=3D")
	f.Add("==", strings.Repeat("x", 200))
	word := regexp.MustCompile(`^[A-Za-z0-9_=-]*$`)
	f.Fuzz(func(t *testing.T, a, b string) {
		require.Regexp(t, word, token(a))
		require.LessOrEqual(t, len(token(a)), maxToken)
		require.Equal(t, a == b, token(a) == token(b))
	})
}
