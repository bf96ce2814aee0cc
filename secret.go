package tcproom

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// A Secret is a string that is not shown: package fmt, log/slog and the encoders of
// JSON and XML write [redacted] for it, also where it stands in a struct, so that an
// Event or a Hello may be logged. An empty one is shown as the empty string.
// It compares like a string, and string(s) is what it holds.
//
// What asks a value for no methods shows it: package fmt for fields whose names are
// not exported, and below a pointer for a verb that does not fit it, such as %s for a
// *[Resume]; encoding/json for the keys of a map.
type Secret string

var (
	_ fmt.Formatter  = Secret("")
	_ slog.LogValuer = Secret("")
	_ json.Marshaler = Secret("")
)

func (s Secret) shown() string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

// String returns "[redacted]", or "" for an empty s.
func (s Secret) String() string { return s.shown() }

// GoString is String in quotes.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.shown()) }

// Format implements [fmt.Formatter] for all verbs, of which some would show a
// string's bytes.
func (s Secret) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'q', verb == 'v' && f.Flag('#'):
		io.WriteString(f, s.GoString())
	default:
		io.WriteString(f, s.shown())
	}
}

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.shown()) }

// MarshalJSON implements [json.Marshaler]. What it writes cannot be read back.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.shown()) }

// MarshalText implements [encoding.TextMarshaler], as MarshalJSON does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.shown()), nil }
