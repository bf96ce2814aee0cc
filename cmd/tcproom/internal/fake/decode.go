package fake

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxScript bounds a script, in bytes.
const maxScript = 1 << 20

// maxTime bounds each duration of a script.
const maxTime = 24 * time.Hour

// A ScriptError is what is wrong with a script, and where.
type ScriptError struct {
	File string
	Line int
	Text string
}

func (e *ScriptError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// A node is a part of a script that is being decoded. Its methods panic with a
// *ScriptError if it is not what is wanted, which decoded recovers.
type node struct {
	file string
	what string // what is decoded, for errors
	y    *yaml.Node
}

// fail panics. The line is that of n.
func (n node) fail(format string, args ...any) {
	panic(&ScriptError{n.file, max(n.y.Line, 1), fmt.Sprintf(format, args...)})
}

// decoded calls fn and returns the *ScriptError with which it panics.
func decoded(fn func()) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case *ScriptError:
			err = v
		default:
			panic(v)
		}
	}()
	fn()
	return nil
}

var (
	yamlLine   = regexp.MustCompile(`line (\d+)`)
	yamlPrefix = regexp.MustCompile(`^(yaml: )?(line \d+(, column \d+)?: )?`)
	lineEnd    = regexp.MustCompile("[\n\r\u0085\u2028\u2029]") // as the parser counts
)

// parseYAML returns the one document of text.
func parseYAML(file string, text []byte) (*yaml.Node, error) {
	wrong := func(line int, format string, args ...any) error {
		return &ScriptError{file, max(line, 1), fmt.Sprintf(format, args...)}
	}
	if len(text) > maxScript {
		return nil, wrong(1, "a script has %d bytes at most, this one has %d", maxScript, len(text))
	}
	if !utf8.Valid(text) {
		return nil, wrong(1, "a script is UTF-8; write other bytes as {base64: …}")
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := decodeYAML(dec, &doc); {
	case errors.Is(err, io.EOF):
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1}, nil
	case err != nil:
		line := 1
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		what := yamlPrefix.ReplaceAllString(strings.ReplaceAll(err.Error(), "\n", " "), "")
		return nil, wrong(min(line, 1+len(lineEnd.FindAll(text, -1))), "not YAML: %s%s", what, hint(what))
	}
	if err := decodeYAML(dec, &more); !errors.Is(err, io.EOF) {
		return nil, wrong(more.Line, "a script is one document: take the second --- out")
	}
	root := &doc
	if root.Kind == yaml.DocumentNode {
		if len(root.Content) == 0 {
			return &yaml.Node{Kind: yaml.MappingNode, Line: 1}, nil
		}
		root = root.Content[0]
	}
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1}, nil
	}
	return root, nil
}

// hint says what most often makes the parser say what.
func hint(what string) string {
	for _, h := range []struct{ of, hint string }{
		{"did not find expected '-' indicator", "is the indentation that of the lines above?"},
		{"did not find expected key", "is the indentation that of the lines above?"},
		{"mapping values are not allowed", "has each key a colon, and the indentation of the lines above? A text with : # , [ ] { } stands in quotes"},
		{"could not find expected ':'", "is the indentation that of the lines above?"},
		{"did not find expected ',' or", "a text with : # , [ ] { } stands in quotes"},
		{"unknown escape character", `in double quotes write \\ for \, or use single quotes`},
		{"cannot start any token", "indent by spaces, and put a text that begins with @ ` % in quotes"},
		{"tab character", "indent by spaces"},
		{"unknown anchor", "put a text that begins with * in quotes"},
	} {
		if strings.Contains(what, h.of) {
			return "; " + h.hint
		}
	}
	return ""
}

// decodeYAML makes an error of a panic of the parser's, which gets bytes of strangers.
func decodeYAML(dec *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("yaml: %v", v)
		}
	}()
	return dec.Decode(into)
}

// parseJSON returns the one value of text in the form that scripts have.
func parseJSON(file string, text []byte) (*yaml.Node, error) {
	if !utf8.Valid(text) { // the decoder would put other runes in
		return nil, &ScriptError{file, 1, `not JSON: it is not UTF-8; write other bytes as {"base64": …}`}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	j := jsonParser{text, dec}
	n, err := j.value(0)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more behind the object")
		}
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, &ScriptError{file, j.line(), "not JSON: " + err.Error()}
	}
	return n, nil
}

type jsonParser struct {
	text []byte
	dec  *json.Decoder
}

func (j *jsonParser) line() int {
	return 1 + bytes.Count(j.text[:min(int(j.dec.InputOffset()), len(j.text))], []byte("\n"))
}

// maxDepth is how deep the values of a request may nest.
const maxDepth = 50

func (j *jsonParser) value(depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, errors.New("it nests too deep")
	}
	tok, err := j.dec.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: j.line()}
	switch tok := tok.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if tok == '{' {
			n.Kind = yaml.MappingNode
		}
		for j.dec.More() {
			part, err := j.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, part)
		}
		_, err = j.dec.Token()
		return n, err
	case string:
		n.Tag, n.Value = "!!str", tok
	case json.Number:
		n.Tag, n.Value = "!!int", tok.String()
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(tok)
	default:
		n.Tag = "!!null"
	}
	return n, nil
}

// fields are the keys of a mapping with their values.
type fields struct {
	node
	of map[string]node
}

// get returns the value of a key, if it is there.
func (f fields) get(key string) (node, bool) {
	n, ok := f.of[key]
	return n, ok
}

// with calls fn with the value of key if it is there.
func (f fields) with(key string, fn func(node)) {
	if n, ok := f.of[key]; ok {
		fn(n)
	}
}

// must returns the value of a key.
func (f fields) must(key string) node {
	n, ok := f.of[key]
	if !ok {
		f.fail("%s wants the key %q", f.what, key)
	}
	return n
}

// one returns the one key of these that is there.
func (f fields) one(keys ...string) (string, node) {
	var found []string
	for _, k := range keys {
		if _, ok := f.of[k]; ok {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		f.fail("%s wants one of the keys %s", f.what, strings.Join(keys, ", "))
	case 1:
	default:
		f.fail("%s has %s: it wants one of them; put the others in entries of their own", f.what, strings.Join(found, " and "))
	}
	return found[0], f.of[found[0]]
}

// fields decodes a mapping of this kind.
func (n node) fields(k *kind) fields {
	n.what = k.name
	n.is(yaml.MappingNode, "a mapping with some of the keys "+strings.Join(k.keys(), ", "))
	f := fields{n, make(map[string]node)}
	for i := 0; i+1 < len(n.y.Content); i += 2 {
		key := node{n.file, n.what, n.y.Content[i]}
		if key.y.Kind != yaml.ScalarNode {
			key.fail("a key of %s is a word, one of %s", k.name, strings.Join(k.keys(), ", "))
		}
		name := key.y.Value
		if !contains(k.keys(), name) {
			key.fail("%s has no key %q%s", k.name, short(name), instead(name, k))
		}
		if _, twice := f.of[name]; twice {
			key.fail("%s has the key %q twice", k.name, name)
		}
		f.of[name] = node{n.file, name, n.y.Content[i+1]}
	}
	return f
}

// instead says what to write in place of a key that is none.
func instead(name string, k *kind) string {
	best, least := "", len(name)/2+1
	for _, key := range k.keys() {
		if d := distance(strings.ToLower(name), strings.ToLower(key)); d < least {
			best, least = key, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; write %s", best)
	}
	for _, other := range kinds {
		if other != k && contains(other.keys(), name) {
			return fmt.Sprintf("; it is one of %s. Here it is one of %s", other.name, strings.Join(k.keys(), ", "))
		}
	}
	return "; it is one of " + strings.Join(k.keys(), ", ")
}

func contains(keys []string, key string) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
}

// is fails unless n is of this kind.
func (n node) is(k yaml.Kind, want string) {
	if n.y.Kind == yaml.AliasNode {
		n.fail("a script has no aliases (*%s): write it out", short(n.y.Value))
	}
	if tag := n.y.ShortTag(); tag != "" && !strings.HasPrefix(tag, "!!") {
		n.fail("%s: %s is a tag of YAML; put a text that begins with ! in quotes", n.what, short(tag))
	}
	if n.y.Kind != k {
		n.fail("%s wants %s, not %s", n.what, want, n.describe())
	}
}

func (n node) describe() string {
	switch n.y.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.y.Tag == "!!null" {
			return "nothing"
		}
		return strconv.Quote(short(n.y.Value))
	}
	return "that"
}

// list decodes a list, or one element in place of it.
func (n node) list() []node {
	if n.y.Kind != yaml.SequenceNode {
		return []node{n}
	}
	parts := make([]node, len(n.y.Content))
	for i, y := range n.y.Content {
		parts[i] = node{n.file, n.what, y}
	}
	return parts
}

func (n node) isScalar() bool { return n.y.Kind == yaml.ScalarNode && n.y.Tag != "!!null" }

// scalar returns the text of a scalar, quoted or not.
func (n node) scalar(want string) string {
	n.is(yaml.ScalarNode, want)
	if !n.isScalar() {
		n.fail("%s wants %s, not nothing", n.what, want)
	}
	if n.y.Tag == "!!binary" {
		n.fail("%s: write bytes as {base64: %s}", n.what, short(n.y.Value))
	}
	return n.y.Value
}

// text decodes a text, which may be a mapping of base64.
func (n node) text() string {
	if n.y.Kind == yaml.MappingNode {
		enc := n.fields(base64Kind).must("base64")
		b, err := base64.StdEncoding.DecodeString(enc.scalar("the bytes in base64"))
		if err != nil {
			enc.fail("%q is no base64: %v", short(enc.y.Value), err)
		}
		return string(b)
	}
	return n.scalar("a text")
}

// duration decodes a positive duration.
func (n node) duration() time.Duration {
	s := n.scalar("a duration such as 500ms, 5s or 1m30s")
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		if _, numErr := strconv.ParseFloat(s, 64); numErr == nil {
			n.fail("%s: %q has no unit; write %ss for seconds, or %sms", n.what, short(s), short(s), short(s))
		}
		n.fail("%s: %q is no duration; write one such as 500ms, 5s or 1m30s", n.what, short(s))
	case d <= 0:
		n.fail("%s: %q is not positive", n.what, short(s))
	case d > maxTime:
		n.fail("%s: %q is too long; %v is the most", n.what, short(s), maxTime)
	}
	return d
}

// number decodes a whole number from least to most.
func (n node) number(least, most uint64) uint64 {
	want := fmt.Sprintf("a whole number from %d to %d", least, most)
	s := n.scalar(want)
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || v < least || v > most {
		n.fail("%s: %q is not %s", n.what, short(s), want)
	}
	return v
}

// yes decodes true or false.
func (n node) yes() bool {
	switch s := n.scalar("true or false"); s {
	case "true":
		return true
	case "false":
		return false
	default:
		n.fail("%s: %q is neither true nor false", n.what, short(s))
		return false
	}
}

// true fails unless it is true.
func (n node) true() {
	if !n.yes() {
		n.fail("%s: leave it out in place of false", n.what)
	}
}

// choice decodes one of some words.
func (n node) choice(words ...string) string {
	s := n.scalar("one of " + strings.Join(words, ", "))
	if !contains(words, s) {
		n.fail("%s: there is no %q; it is one of %s", n.what, short(s), strings.Join(words, ", "))
	}
	return s
}

// short cuts what stands in an error.
func short(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	n := most
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// distance is how many bytes differ between a and b, by the count of Levenshtein.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			before, row[j+1] = row[j+1], min(before+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
