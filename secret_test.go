package tcproom_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"text/template"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// TestSecretIsNotShown: whatever writes it, alone or in a struct.
func TestSecretIsNotShown(t *testing.T) {
	const secret = "hunter2"
	s := tcproom.Secret(secret)
	hello := tcproom.Hello{Name: "ada", Auth: s, Resume: &tcproom.Resume{Token: s, Epoch: "e", Seq: 4}}
	values := map[string]any{
		"alone": s, "pointer": &s, "hello": hello, "pointer to hello": &hello, "resume": *hello.Resume,
		"welcome": tcproom.Event{Kind: tcproom.Welcome, Welcome: &tcproom.WelcomeInfo{Token: s}}, "info": tcproom.WelcomeInfo{Token: s},
		"request": tcproom.Request{Kind: tcproom.ReqHello, Hello: &hello},
		"slice":   []tcproom.Secret{s}, "map": map[string]tcproom.Secret{"x": s}, "any": []any{s},
		"error": fmt.Errorf("it is %v, %s, %q and %x", s, s, s, s),
	}
	shown := []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint([]byte(secret)), "hunter", "68 75 6e"}
	for name, v := range values {
		var outs []string
		verbs := []string{"%v", "%+v", "%#v", "%10v", "%d", "%o", "%x", "%X", "% x", "%# x", "%T"}
		if !slices.Contains([]string{"hello", "pointer to hello", "welcome", "request"}, name) { // with pointers, which these do not fit
			verbs = append(verbs, "%s", "%q", "%#q", "%+q", "%U", "%c", "%-3s", "%.2s")
		}
		for _, verb := range verbs {
			outs = append(outs, fmt.Sprintf(verb, v))
		}
		outs = append(outs, fmt.Sprint(v), fmt.Sprintln(v))
		b, err := json.Marshal(v)
		require.NoError(t, err, name)
		outs = append(outs, string(b))
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(handler(&b)).Info("x", "v", v, slog.Group("g", "v", v))
			outs = append(outs, b.String())
		}
		var tmpl bytes.Buffer
		require.NoError(t, template.Must(template.New("").Parse("{{.}}")).Execute(&tmpl, v))
		outs = append(outs, tmpl.String())
		for _, out := range outs {
			for _, secret := range shown {
				require.NotContains(t, out, secret, name)
			}
		}
	}
	b, err := xml.Marshal(hello)
	require.NoError(t, err)
	require.NotContains(t, string(b), secret)
	require.Contains(t, string(b), "<Auth>[redacted]</Auth>")
}

func TestSecretIsRedacted(t *testing.T) {
	for verb, want := range map[string]string{"%v": "[redacted]", "%s": "[redacted]", "%q": `"[redacted]"`, "%#v": `"[redacted]"`, "%x": "[redacted]"} {
		require.Equal(t, want, fmt.Sprintf(verb, tcproom.Secret("x")), verb)
	}
	for verb, want := range map[string]string{"%v": "", "%s": "", "%q": `""`, "%#v": `""`, "%x": ""} {
		require.Equal(t, want, fmt.Sprintf(verb, tcproom.Secret("")), verb)
	}
	b, err := json.Marshal(tcproom.Resume{Token: "x", Epoch: "e", Seq: 4})
	require.NoError(t, err)
	require.JSONEq(t, `{"Token":"[redacted]","Epoch":"e","Seq":4}`, string(b))
	b, err = json.Marshal(tcproom.Resume{})
	require.NoError(t, err)
	require.JSONEq(t, `{"Token":"","Epoch":"","Seq":0}`, string(b))
	require.Equal(t, "x", string(tcproom.Secret("x")))
	require.True(t, tcproom.Secret("x") == "x")
}

// TestSecretTravels: the hello says what it holds, to the hook, and no log does.
func TestSecretTravels(t *testing.T) {
	var lines logLines
	got := make(chan tcproom.Hello, 1)
	room := jsonRoom(tcproom.WithLogger(lines.Logger()), tcproom.OnJoin(func(m *tcproom.Member) error {
		got <- m.Hello()
		return fmt.Errorf("not with %v", m.Hello())
	}))
	_, err := tcproom.Dial(testContext(t), serveTCP(t, room), tcproom.WithCodec(tcproom.JSON{}), tcproom.WithAuth("hunter2"))
	require.ErrorIs(t, err, tcproom.ErrDenied)
	require.Equal(t, tcproom.Secret("hunter2"), (<-got).Auth)
	require.NotContains(t, err.Error(), "hunter2")
	require.Empty(t, lines.With("hunter2"))
}
