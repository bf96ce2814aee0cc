package tcproom_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestSecretsAreNotShown: no verb, logger or encoder writes a token or password, by
// itself or in what holds it.
func TestSecretsAreNotShown(t *testing.T) {
	const secret = "s3cr3t"
	values := map[string]any{
		"secret":  tcproom.Secret(secret),
		"pointer": new(tcproom.Secret(secret)),
		"slice":   []tcproom.Secret{secret},
		"map":     map[tcproom.Secret]tcproom.Secret{secret: secret},
		"event":   tcproom.Event{Kind: tcproom.Welcome, Token: secret},
		"hello":   tcproom.Hello{Auth: secret},
		"resume":  tcproom.Resume{Token: secret},
		"in a field": struct {
			Ev *tcproom.Event
			H  tcproom.Hello
		}{&tcproom.Event{Token: secret}, tcproom.Hello{Auth: secret, Resume: &tcproom.Resume{Token: secret}}},
	}
	hexed := []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("% x", secret), fmt.Sprintf("%v", []byte(secret)), fmt.Sprintf("%# x", secret)}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			var shown []string
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%#q", "%+q", "%x", "%X", "% x", "%# x", "%d", "%U", "%10.3s"} {
				if name == "in a field" && strings.ContainsAny(verb, "sqU") {
					continue // no verbs for what else is in it, which package fmt shows as they are
				}
				shown = append(shown, fmt.Sprintf(verb, v))
			}
			shown = append(shown, fmt.Sprint(v))
			var b bytes.Buffer
			for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
				slog.New(h).Info("it is", "v", v, slog.Group("g", "v", v))
			}
			if name == "map" {
				b.Reset() // JSON asks no key that is a string
			} else if encoded, err := json.Marshal(v); err == nil {
				b.Write(encoded)
			}
			if encoded, err := xml.Marshal(v); err == nil {
				b.Write(encoded)
			}
			shown = append(shown, b.String())
			for _, s := range shown {
				for _, h := range hexed {
					require.NotContains(t, s, h)
				}
			}
		})
	}
	s := tcproom.Secret(secret)
	require.Equal(t, "[redacted]", fmt.Sprint(s))
	require.Equal(t, `"[redacted]"`, fmt.Sprintf("%q", s))
	require.Equal(t, secret, string(s))
	require.True(t, s == secret)
	require.Equal(t, "", fmt.Sprint(tcproom.Secret("")))
}
