package tcproom

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
)

// A Secret is a password or token. Packages fmt, log/slog, encoding/json and
// encoding/xml write "[redacted]" for it, or nothing if it is empty, also if it stands
// in a struct. But package fmt shows what stands in a field whose name is not exported
// and, with a verb that no pointer has, such as %s, what is behind a pointer in a
// struct; encoding/json shows a key of a map, and encoding/gob everything. string(s)
// is what it holds; it compares like a string.
type Secret string

var (
	_ fmt.Formatter  = Secret("")
	_ slog.LogValuer = Secret("")
)

const redacted = "[redacted]"

// String returns "[redacted]", or "" for an empty Secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString returns what String does, as a Go string.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// Format implements [fmt.Formatter] for all verbs, of which some would show the
// bytes of a string.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		io.WriteString(f, s.GoString())
		return
	}
	io.WriteString(f, s.String())
}

// LogValue returns what String does.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns what String does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns what String does, as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(s.GoString()), nil }
