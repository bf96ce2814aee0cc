package tcproom

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWireExampleParser(t *testing.T) {
	tests := []struct {
		name      string
		line      string
		left      string
		right     string
		none      bool // no bytes
		continues bool
	}{
		{name: "hex", line: `"hi" = 68 69 0a`, left: `"hi"`, right: "hi\n"},
		{name: "text", line: `x = "a = b" 00 "\"#\x01"`, left: "x", right: "a = b\x00\"#\x01"},
		{name: "quotes on the left", line: `say "a = b # c" k=1 = 01 # = 02`, left: `say "a = b # c" k=1`, right: "\x01"},
		{name: "no bytes", line: `refuse "a = b"   # x = y`, left: `refuse "a = b"`, none: true},
		{name: "empty bytes", line: `x = # nothing`, left: "x"},
		{name: "continues", line: `   0d "a" # b`, right: "\ra", continues: true},
		{name: "comment", line: `# a = 01`, none: true},
		{name: "empty", line: ``, none: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			left, right, continues, err := cutWireLine(tt.line)
			require.NoError(t, err)
			require.Equal(t, tt.left, left)
			require.Equal(t, tt.right, string(right))
			require.Equal(t, tt.none, right == nil)
			require.Equal(t, tt.continues, continues)
		})
	}
	for _, bad := range []string{`x = 0`, `x = 001`, `x = 0g`, `x = "a`, `"a = 01`, `x = 01"a`} {
		_, _, _, err := cutWireLine(bad)
		require.Error(t, err, bad)
	}
}

// wireFramings are the framings that docs/wire.md has examples of.
var wireFramings = map[string]Framing{
	`Lines`:                             Lines{},
	`Delimiter("\x00")`:                 Delimiter("\x00"),
	`Delimiter("")`:                     Delimiter(""),
	`Delimiter("aa")`:                   Delimiter("aa"),
	`Delimiter("aab")`:                  Delimiter("aab"),
	`Length{Bytes:1}`:                   Length{Bytes: 1},
	`Length{Bytes:2}`:                   Length{Bytes: 2},
	`Length{Bytes:4}`:                   Length{Bytes: 4},
	`Length{Bytes:8}`:                   Length{Bytes: 8},
	`Length{Bytes:2,LittleEndian:true}`: Length{Bytes: 2, LittleEndian: true},
	`Length{Bytes:4,LittleEndian:true}`: Length{Bytes: 4, LittleEndian: true},
	`Length{Bytes:8,LittleEndian:true}`: Length{Bytes: 8, LittleEndian: true},
	`Varint`:                            Varint{},
	`Netstring`:                         Netstring{},
	`ContentLength`:                     ContentLength{},
}

func TestWireFramings(t *testing.T) {
	count := make(map[string]int)
	for _, ex := range wireExamples(t, "framing") {
		f, ok := wireFramings[ex.subject]
		require.True(t, ok, "%s: no such framing: %s", ex.where, ex.subject)
		count[ex.subject]++
		count[fmt.Sprintf("%T", f)]++
		t.Run(ex.where, func(t *testing.T) { checkWireFraming(t, f, ex) })
	}
	for name, f := range wireFramings {
		require.NotZero(t, count[name], "%s: no example", name)
		require.GreaterOrEqual(t, count[fmt.Sprintf("%T", f)], 3, "%T: too few examples", f)
	}
}

func checkWireFraming(t *testing.T, f Framing, ex wireExample) {
	verb, quoted := ex.left, ""
	if i := strings.IndexByte(ex.left, '"'); i >= 0 {
		verb, quoted = strings.TrimSpace(ex.left[:i]), ex.left[i:]
	}
	text := ""
	if quoted != "" {
		var err error
		text, err = strconv.Unquote(quoted)
		require.NoError(t, err, ex.left)
	}
	body := []byte(text)
	limit := math.MaxInt
	if before, n, ok := strings.Cut(verb, " limit="); ok {
		var err error
		limit, err = strconv.Atoi(n)
		require.NoError(t, err)
		verb = before
	}
	require.Equal(t, verb == "refuse unframeable", ex.bytes == nil, "bytes")
	require.Equal(t, verb == "more" || strings.HasPrefix(verb, "refuse ") && verb != "refuse unframeable", quoted == "", "body")

	frame, err := appendFrame(t, f, body)
	switch verb {
	case "":
		require.NoError(t, err)
		require.Equal(t, ex.bytes, frame)
		requireStream(t, fed{bodies: []string{text}}, feed(t, f, ex.bytes, len(body)), "read")
	case "read":
		require.True(t, err != nil || !bytes.Equal(ex.bytes, frame), "this is what is sent as well")
		requireStream(t, fed{bodies: []string{text}}, feed(t, f, ex.bytes, len(body)), "read")
	case "more":
		requireStream(t, fed{}, feed(t, f, ex.bytes, limit), "read")
	case "refuse malformed":
		requireStream(t, fed{err: ErrMalformed}, feed(t, f, ex.bytes, limit), "read")
	case "refuse too-large":
		require.Less(t, limit, math.MaxInt, "want limit=N")
		requireStream(t, fed{err: ErrFrameTooLarge}, feed(t, f, ex.bytes, limit), "read")
	case "refuse unframeable":
		require.ErrorIs(t, err, ErrUnframeable)
	default:
		t.Fatalf("what is %q?", ex.left)
	}

	// The last byte is what ends a frame, or shows a fault.
	for i := range ex.bytes {
		n, _, err := f.SplitFrame(ex.bytes[:i:i], min(limit, max(len(body), 65536)))
		require.NoError(t, err, "the first %d bytes", i)
		require.Zero(t, n, "the first %d bytes", i)
	}
}
