package fake

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

const docs = "../../../../docs/fake.md"

var update = flag.Bool("update", false, "write the tables of docs/fake.md")

// table is the words of a kind as the documentation shows them.
func table(k *kind) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n| word | what it is | example |\n|---|---|---|\n", k.title)
	for _, w := range k.words {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` |\n", w.key, escapeCell(w.about), escapeCell(oneLine(w.example)))
	}
	return b.String()
}

func oneLine(example string) string {
	if !strings.Contains(example, "\n") {
		return example
	}
	return "{" + strings.ReplaceAll(example, "\n", ", ") + "}"
}

func escapeCell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// TestDocsHaveTheWords: the tables of the documentation are those of the decoder.
func TestDocsHaveTheWords(t *testing.T) {
	var want strings.Builder
	for _, k := range kinds {
		want.WriteString("\n" + table(k))
	}
	text, err := os.ReadFile(docs)
	require.NoError(t, err)
	const begin, end = "<!-- The tables are made of the words of the decoder: go test ./internal/fake -run TestDocs -update -->\n", "\n<!-- end of the tables -->"
	before, rest, ok := strings.Cut(string(text), begin)
	require.True(t, ok)
	got, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	if *update {
		require.NoError(t, os.WriteFile(docs, []byte(before+begin+want.String()+end+after), 0o644))
		return
	}
	require.Equal(t, want.String(), got, "run it with -update")
}

// inContext is a script around the example of a word.
func inContext(k *kind, w word) string {
	flow := "{" + strings.ReplaceAll(w.example, "\n", ", ") + "}"
	rule := func(do string) string {
		return "members: [{name: x, rules: [{on: {messageLike: (.)}, do: " + do + "}]}]"
	}
	matching := func(m string) string {
		return "rooms: [{name: kitchen, members: [{name: x, rules: [{on: " + m + ", do: []}]}]}]"
	}
	fault := func(f string) string { return "connections: [{out: " + f + "}]" }
	switch k {
	case scriptKind:
		if w.key == "sessions" || w.key == "heartbeat" || w.key == "handshakeTimeout" {
			return "codec: json\n" + w.example
		}
		return w.example
	case delimiterKind:
		return "framing: " + flow
	case roomKind:
		if w.key != "name" {
			flow = "{name: x, " + flow[1:]
		}
		return "rooms: [" + flow + "]"
	case memberKind:
		if w.key != "name" {
			flow = "{name: x, " + flow[1:]
		}
		return "members: [" + flow + "]"
	case ruleKind:
		if w.key == "do" {
			flow = "{on: {message: hi}, " + flow[1:]
		} else {
			flow = "{do: [], " + flow[1:]
		}
		return "members: [{name: x, rules: [" + flow + "]}]"
	case matchKind:
		return matching(flow)
	case messageKind:
		if w.key == "from" {
			flow = "{body: x, " + flow[1:]
		}
		return matching("{message: " + flow + "}")
	case messageLikeKind:
		if w.key == "from" {
			flow = "{pattern: x, " + flow[1:]
		}
		return matching("{messageLike: " + flow + "}")
	case gapKind:
		return matching("{gap: " + flow + "}")
	case actionKind:
		if !strings.Contains(w.example, ":") {
			flow = w.example
		}
		return rule(flow)
	case namedTellKind:
		return rule("{tell: {name: a, text: b}}")
	case namedKickKind:
		if w.key != "name" {
			flow = "{name: x, " + flow[1:]
		}
		return rule("{kick: " + flow + "}")
	case floodKind:
		return rule("{flood: {n: 10000, text: message $n}}")
	case faultActionKind:
		if w.key == "name" || w.key == "number" {
			flow = "{in: {}, " + flow[1:]
		}
		return rule("{fault: " + flow + "}")
	case connectionKind:
		return "connections: [" + flow + "]"
	case faultKind:
		return fault(flow)
	case jitterKind:
		return fault("{jitter: {most: 50ms, seed: 1}}")
	case chopRandomKind:
		return fault("{chopRandom: {most: 7, seed: 1}}")
	case expectKind:
		return "expect: [" + flow + "]"
	case base64Kind:
		return rule("{say: " + flow + "}")
	}
	return ""
}

// TestExamplesOfWords: each example of a word is one, and has its word.
func TestExamplesOfWords(t *testing.T) {
	hub, err := ParseScript("s.yaml", []byte("rooms: [{name: kitchen}]"))
	require.NoError(t, err)
	lone, err := ParseScript("s.yaml", nil)
	require.NoError(t, err)
	for _, k := range kinds {
		for _, w := range k.words {
			t.Run(k.name+"/"+w.key, func(t *testing.T) {
				require.Regexp(t, `(^|\n)`+w.key+`(:|$)`, w.example)
				switch k {
				case doKind:
					script := lone
					if w.key == "room" {
						script = hub
					}
					_, err := parseDo(script, requestOf(t, w))
					require.NoError(t, err)
				case askKind:
					_, _, err := parseExpect(lone, requestOf(t, w))
					require.NoError(t, err)
				default:
					_, err := ParseScript("s.yaml", []byte(inContext(k, w)))
					require.NoError(t, err, inContext(k, w))
				}
			})
		}
	}
}

// requestOf is the example of a word as the body of a request.
func requestOf(t *testing.T, w word) []byte {
	t.Helper()
	var v map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(w.example), &v))
	if w.key == "as" || w.key == "room" {
		v["do"] = map[string]string{"say": "hi"}
	}
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// TestDocsExamples: each script of the documentation is one.
func TestDocsExamples(t *testing.T) {
	text, err := os.ReadFile(docs)
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(blocks), 3)
	for _, b := range blocks {
		_, err := ParseScript("fake.md", []byte(b[1]))
		require.NoError(t, err, b[1])
	}
}

// TestDocsFiles: the files that the documentation shows are those of the examples.
func TestDocsFiles(t *testing.T) {
	text, err := os.ReadFile(docs)
	require.NoError(t, err)
	languages := map[string]string{".mjs": "js", ".py": "python"}
	mark := regexp.MustCompile("(?s)<!-- file: (\\S+) -->\n(\n```\\w+\n.*?\n```\n)?")
	shown := 0
	got := mark.ReplaceAllStringFunc(string(text), func(block string) string {
		name := mark.FindStringSubmatch(block)[1]
		source, err := os.ReadFile("../../../../" + name)
		require.NoError(t, err)
		require.NotContains(t, string(source), "```")
		shown++
		return fmt.Sprintf("<!-- file: %s -->\n\n```%s\n%s```\n", name, languages[filepath.Ext(name)], source)
	})
	require.Equal(t, 6, shown)
	if *update {
		require.NoError(t, os.WriteFile(docs, []byte(got), 0o644))
		return
	}
	require.Equal(t, got, string(text), "run it with -update")
}

// TestDocsFlags: the table of flags has all of them.
func TestDocsFlags(t *testing.T) {
	text, err := os.ReadFile(docs)
	require.NoError(t, err)
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	new(config).register(fs)
	fs.VisitAll(func(f *flag.Flag) {
		require.Regexp(t, "(?m)^\\| `-"+f.Name+"[ `]", string(text))
	})
	for path, r := range routes {
		require.Contains(t, string(text), "\n### "+r.method+" "+path+"\n")
	}
}
