package fake

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

// TestBadScripts: what is wrong, and where, and what to write in its place.
func TestBadScripts(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"no mapping", "hello", `s.yaml:1: a script wants a mapping with some of the keys framing, `},
		{"a list", "- a", "s.yaml:1: a script wants a mapping"},
		{"not YAML", "members:\n  - {name: x\nanswer: ]", "s.yaml:3: not YAML: "},
		{"tab", "members:\n\t- a", "s.yaml:2: not YAML: "},
		{"two documents", "codec: json\n---\ncodec: raw", "s.yaml:2: a script is one document"},
		{"not UTF-8", "codec: \xff", "s.yaml:1: a script is UTF-8"},
		{"alias", "members: [&a {name: x}, *a]", "s.yaml:1: a script has no aliases (*a): write it out"},
		{"merge", "members:\n- &a {name: x}\n- <<: *a", `s.yaml:3: a member has no key "<<"`},
		{"misspelt key", "codec: json\nmember: []", `s.yaml:2: a script has no key "member"; write members`},
		{"capitals", "Codec: json", `s.yaml:1: a script has no key "Codec"; write codec`},
		{"key of another mapping", "say: hi", `s.yaml:1: a script has no key "say"; it is one of an action. Here it is one of framing, `},
		{"key twice", "codec: json\ncodec: raw", `s.yaml:2: a script has the key "codec" twice`},
		{"no key", "[a]: b", "s.yaml:1: a key of a script is a word"},
		{"framing", "framing: line", `s.yaml:1: framing: there is no "line"; it is one of lines, length1, `},
		{"length", "framing: {length: 3}", `s.yaml:1: length: there is no "3"; it is one of 1, 2, 4, 8`},
		{"delimiter", "framing: {delimiter: ''}", "s.yaml:1: delimiter: want 1 to 64 bytes"},
		{"both framings", "framing: {delimiter: a, length: 2}", "s.yaml:1: a framing has delimiter and length: it wants one of them"},
		{"byte order of a delimiter", "framing: {delimiter: a, littleEndian: true}", "littleEndian goes with length"},
		{"codec", "codec: xml", `codec: there is no "xml"; it is one of text, commands, raw, json`},
		{"commands", "codec: commands", "codec: commands go with rooms; write text"},
		{"duration without unit", "within: 5", `s.yaml:1: within: "5" has no unit; write 5s for seconds, or 5ms`},
		{"no duration", "within: soon", `within: "soon" is no duration; write one such as 500ms, 5s or 1m30s`},
		{"zero duration", "within: 0s", `within: "0s" is not positive`},
		{"negative duration", "within: -1s", `within: "-1s" is not positive`},
		{"long duration", "within: 100h", `within: "100h" is too long; 24h0m0s is the most`},
		{"nothing", "within:", "within wants a duration such as 500ms, 5s or 1m30s, not nothing"},
		{"list for a duration", "within: [5s]", "within wants a duration such as 500ms, 5s or 1m30s, not a list"},
		{"number", "maxMembers: many", `maxMembers: "many" is not a whole number from 1 to `},
		{"negative number", "history: -1", `history: "-1" is not a whole number from 1 to `},
		{"bool", "tls: maybe", `tls: "maybe" is neither true nor false`},
		{"history of raw", "codec: raw\nhistory: 5", "s.yaml:2: history goes with codec text or json"},
		{"sessions of text", "sessions: 30s", "sessions goes with codec: json; text has no sessions"},
		{"heartbeat of text", "heartbeat: 3s", "heartbeat goes with codec: json; text has no pings"},
		{"hello of raw", "{codec: raw, handshakeTimeout: 3s}", "handshakeTimeout goes with codec: json; raw has no hello"},
		{"skip of raw", "{codec: raw, slow: skip}", "slow: skip goes with codec text or json"},
		{"nameless", "members: [{rules: []}]", `s.yaml:1: a member wants the key "name"`},
		{"bad name", "members:\n  - name: a b", "s.yaml:2: name: "},
		{"name of the room", "members: [{name: '*'}]", "s.yaml:1: name: "},
		{"two of a name", "uniqueNames: true\nrooms: [{name: x, members: [{name: a}]}, {name: y, members: [{name: a}]}]", `with uniqueNames, two members are named "a"`},
		{"no room", "rooms: []", "rooms wants a room at least"},
		{"bad room", "rooms: [{name: A b}]", "s.yaml:1: name: "},
		{"two rooms", "rooms: [{name: a}, {name: a}]", `there are two rooms "a"`},
		{"members beside rooms", "rooms: [{name: a}]\nmembers: []", "s.yaml:2: with rooms, members stand in one of the rooms"},
		{"openRooms", "openRooms: true", "openRooms goes with rooms"},
		{"rule without when", "answer:\n  - do: echo", "s.yaml:2: a rule wants one of the keys on, start, "},
		{"rule of two", "answer: [{start: true, after: 1s}]", "a rule has start and after: it wants one of them"},
		{"start: false", "answer: [{start: false}]", "start: leave it out in place of false"},
		{"room that joins", "answer: [{joinAfter: 1s}]", "joinAfter is for members: the room itself does not join"},
		{"room that returns", "answer: [{returnOn: {joined: a}}]", "returnOn is for members"},
		{"room that leaves", "answer: [{start: true, do: leave}]", "leave is for members: the room itself cannot do that"},
		{"unknown action", "answer:\n  - start: true\n    do: [ehco]", `s.yaml:3: there is no action "ehco"; write echo`},
		{"action without value", "answer: [{start: true, do: kick}]", "kick wants a value: {kick: as you wish}"},
		{"two actions in one", "answer: [{start: true, do: {say: a, wait: 1s}}]", "an action has say and wait: it wants one of them; put the others in entries of their own"},
		{"flood", "answer: [{start: true, do: {flood: 100}}]", `flood wants a mapping with some of the keys n, text, not "100"`},
		{"flood of none", "answer: [{start: true, do: {flood: {n: 0, text: a}}}]", `n: "0" is not a whole number from 1 to `},
		{"say nothing", "answer: [{start: true, do: {say: }}]", "say wants a text, not nothing"},
		{"base64", "answer: [{start: true, do: {say: {base64: '!'}}}]", `"!" is no base64`},
		{"binary", "answer: [{start: true, do: {say: !!binary AAE=}}]", "say: write bytes as {base64: AAE=}"},
		{"fault of nothing", "answer: [{start: true, do: {fault: {name: a}}}]", "fault wants in, out or reset; in: {} takes all faults away"},
		{"fault of two", "answer: [{start: true, do: {fault: {name: a, number: 1, reset: true}}}]", "fault has name and number"},
		{"unknown fault", "connections: [{out: {lag: 3s}}]", `a fault has no key "lag"; it is one of latency, `},
		{"chop twice", "connections: [{out: {chop: 3, chopRandom: {most: 2}}}]", "chop and chopRandom do not go together"},
		{"stall: false", "connections: [{out: {stall: false}}]", "stall: leave it out in place of false"},
		{"number of a connection", "connections: [{number: 0}]", `number: "0" is not a whole number from 1 to `},
		{"match without", "expect:\n- await: {}", "s.yaml:2: a match wants one of the keys message, "},
		{"match of two", "expect: [{await: {joined: a, left: b}}]", "a match has joined and left"},
		{"pattern", "expect: [{await: {messageLike: '('}}]", "messageLike: error parsing regexp: missing closing ): `(`"},
		{"any", "expect: [{await: {any: joins}}]", `any: there is no "joins"; it is one of message, join, `},
		{"any of none", "expect: [{await: {any: []}}]", "any wants true, or kinds of events"},
		{"room of no hub", "expect: [{await: {joined: a, inRoom: x}}]", "inRoom goes with rooms"},
		{"room that is not there", "rooms: [{name: a}]\nexpect: [{await: {joined: a, inRoom: x}}]", `s.yaml:2: inRoom: there is no room "x"`},
		{"two awaits", "expect: [{await: [{joined: a}, {joined: b}]}]", "await wants one match; for several in a row write expect"},
		{"expect nothing", "expect: [{expect: []}]", "expect wants a match at least"},
		{"indentation", "members:\n  - name: bob\n   lines: [a]", "s.yaml:3: not YAML: did not find expected '-' indicator; is the indentation"},
		{"colon in a text", "answer: [{start: true, do: {say: a: b}}]", "did not find expected ',' or '}'; a text with : # , [ ] { } stands in quotes"},
		{"escape", `answer: [{on: {messageLike: "\w+"}, do: echo}]`, `found unknown escape character; in double quotes write \\ for \, or use single quotes`},
		{"tag in place of a text", "answer:\n  - on: {message: !price}\n    do: echo", "s.yaml:2: message: !price is a tag of YAML; put a text that begins with ! in quotes"},
		{"tag on a mapping", "answer: [{on: !price {message: a}, do: echo}]", "!price is a tag of YAML"},
		{"alias in place of a text", "answer: [{on: {message: *hi}, do: echo}]", "unknown anchor 'hi' referenced; put a text that begins with * in quotes"},
		{"two bots of a name", "members:\n  - name: bob\n  - name: bob", `s.yaml:3: name: there are two members "bob"`},
		{"two bots of a name in a room", "rooms: [{name: a, members: [{name: bob}, {name: bob}]}]", `there are two members "bob"`},
		{"rule that does nothing", "answer:\n  - on: {message: hi}", `s.yaml:2: a rule wants the key "do"; do: [] is nothing`},
		{"echo of nothing", "answer: [{every: 1s, do: echo}]", "echo is for what a rule with on, joinOn or returnOn has matched"},
		{"echo of nothing in turn", "answer: [{after: 1s, do: {inTurn: [echo]}}]", "echo is for what a rule with"},
		{"nobody to tell", "answer: [{after: 1s, do: {tell: hi}}]", "tell without a name is for what a rule with"},
		{"nobody to kick", "answer: [{start: true, do: {kick: away}}]", "kick without a name is for what a rule with"},
		{"nobody's name", "answer: [{every: 1s, do: {say: hi $from}}]", `say: "$from" stands for what a rule with on, joinOn or returnOn has matched; write $$from for a dollar`},
		{"group of nothing", "answer: [{every: 1s, do: {say: that is $5}}]", `say: "$5" stands for what a rule with`},
		{"group that is not there", "answer: [{on: {messageLike: '(a)(b)'}, do: {say: '$2 $3'}}]", `say: "$3" is a group that the pattern has not; write $$3 for a dollar`},
		{"group of a message", "answer: [{on: {message: price}, do: {say: that is $5}}]", `say: "$5" is a group`},
		{"group in a canned line", "members: [{name: a, lines: [that is $5]}]", `lines: "$5" is a group`},
		{"count without a flood", "answer: [{on: {message: a}, do: {say: hi $name}}]", `say: "$n" goes with flood; write $$n for a dollar`},
		{"direct message to the room", "answer: [{on: {direct: a}, do: echo}]", "direct is for rules of bots"},
		{"gap of clients", "expect: [{await: {gap: true}}]", "gap is for rules of bots"},
		{"goodbye of clients", "expect: [{refute: {any: [message, goodbye]}}]", "goodbye is for rules of bots"},
		{"turns of nothing", "answer: [{start: true, do: {inTurn: []}}]", "inTurn wants an action at least"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseScript("s.yaml", []byte(tt.script))
			require.ErrorContains(t, err, tt.want)
			require.Regexp(t, `^s\.yaml:\d+: `, err.Error())
		})
	}
}

// TestScriptsWithDollars: what stands for something, or for itself, is taken.
func TestScriptsWithDollars(t *testing.T) {
	for _, script := range []string{
		"answer: [{every: 1s, do: {say: '$$5 $x $'}}]",
		"answer: [{on: {message: a}, do: {say: '$0 $from'}}]",
		"answer: [{on: {messageLike: {pattern: '(a)'}}, do: {inTurn: [{tell: '$1'}]}}]",
		"members: [{name: a, rules: [{joinOn: {messageLike: '(a)'}, do: {say: '$1'}}]}]",
		"answer: [{on: {messageLike: '(a)'}, do: {flood: {n: 2, text: '$n $1'}}}]",
		"answer: [{every: 1s, do: {say: {base64: JDE=}}}]",
		"answer: [{every: 1s, do: {tell: {name: a, text: $1}}}]",
		"members: [{name: a, lines: ['$0, $from']}]",
		"members: [{name: a, rules: [{joinAfter: 1s}]}, {name: b, rules: [{joinOn: {joined: a}}, {returnOn: {joined: a}}, {on: {left: a}, do: []}]}]",
	} {
		_, err := ParseScript("s.yaml", []byte(script))
		require.NoError(t, err, script)
	}
}

// TestBotsAreBounded: each bot receives of all others, so that a thousand take minutes.
func TestBotsAreBounded(t *testing.T) {
	var members strings.Builder
	for i := range maxBots {
		fmt.Fprintf(&members, "- name: bot-%d\n", i)
	}
	_, err := ParseScript("s.yaml", []byte("members:\n"+members.String()))
	require.NoError(t, err)
	_, err = ParseScript("s.yaml", []byte("members:\n"+members.String()+"- name: more"))
	require.EqualError(t, err, "s.yaml:1: a script has 500 bots at most")
	hub := "rooms: [{name: a, members: [" + strings.ReplaceAll(strings.ReplaceAll(members.String(), "- ", "{"), "\n", "},") + "]}, {name: b, members: [{name: more}]}]"
	_, err = ParseScript("s.yaml", []byte(hub))
	require.EqualError(t, err, "s.yaml:1: a script has 500 bots at most")
	bubble(t, func(t *testing.T) {
		r := start(t, "")
		for i := range maxBots {
			r.stage.bots[botKey{"", fmt.Sprint(i)}] = nil
		}
		w := r.request("POST", "/do", `{"members":[{"name":"more"}]}`)
		require.Equal(t, 409, w.Code)
		require.Contains(t, w.Body.String(), "there are 500 bots at most")
	})
}

func TestScriptIsBounded(t *testing.T) {
	_, err := ParseScript("s.yaml", []byte("# "+strings.Repeat("x", maxScript)))
	require.ErrorContains(t, err, "s.yaml:1: a script has 1048576 bytes at most")
}

func TestEmptyScripts(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing", "---\n", "{}", "null"} {
		s, err := ParseScript("s.yaml", []byte(text))
		require.NoError(t, err, "%q", text)
		require.Equal(t, "lines text", s.speaks)
	}
}

// TestBadRequests: the same words in JSON.
func TestBadRequests(t *testing.T) {
	script, err := ParseScript("s.yaml", nil)
	require.NoError(t, err)
	for _, tt := range []struct{ name, body, want string }{
		{"no JSON", `do: echo`, "request:1: not JSON: "},
		{"cut", `{"do":`, "request:1: not JSON: unexpected EOF"},
		{"empty", ``, "request:1: not JSON: unexpected EOF"},
		{"two", `{"do":"echo"} {}`, "request:1: not JSON: there is more behind the object"},
		{"key twice", "{\"do\":\"echo\",\n\"do\":\"echo\"}", `request:2: a request to do has the key "do" twice`},
		{"deep", strings.Repeat("[", 100), "it nests too deep"},
		{"null", `{"do":null}`, "request:1: an action wants a mapping"},
		{"nothing to do", `{}`, "a request to do wants do or members"},
		{"room of no hub", `{"room":"x","do":{"say":"a"}}`, "room goes with a script that has rooms"},
		{"echo", `{"do":"echo"}`, "echo is for what a rule with"},
		{"name of nobody", `{"do":{"say":"$from"}}`, `say: "$from" stands for what a rule with`},
		{"not UTF-8", "{\"do\":{\"say\":\"a\xff\"}}", "request:1: not JSON: it is not UTF-8; write other bytes as {\"base64\": …}"},
		{"long", `{"do":{"say":"a"},"within":"11m"}`, "within: 10m0s is the most"},
		{"room that leaves", `{"do":"leave"}`, "leave is for members: the room itself cannot do that"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseDo(script, []byte(tt.body))
			require.ErrorContains(t, err, tt.want)
		})
	}
	d, err := parseDo(script, []byte("\n\t{\"as\":\"a\",\"do\":[\"leave\",{\"say\":\"\\ud83d\\ude00 \\/\"}]}"))
	require.NoError(t, err)
	require.Equal(t, botKey{"", "a"}, d.key)
	require.Len(t, d.do, 2)
	_, _, err = parseExpect(script, []byte(`{"await":{"joined":"a"},"since":-1}`))
	require.ErrorContains(t, err, `since: "-1" is not a whole number from 0 to`)
	_, since, err := parseExpect(script, []byte(`{"await":{"joined":"a"}}`))
	require.NoError(t, err)
	require.Equal(t, -1, since)
}

// TestJSONIsTheSame: a value in JSON and the same in YAML are one.
func TestJSONIsTheSame(t *testing.T) {
	const text = `{"a":["x",1,true,null,{"b":"\n"}],"c":""}`
	j, err := parseJSON("j", []byte(text))
	require.NoError(t, err)
	y, err := parseYAML("y", []byte(text))
	require.NoError(t, err)
	require.Equal(t, plainTree(y), plainTree(j))
}

func plainTree(n *yaml.Node) any {
	if n.Kind == yaml.ScalarNode {
		return [2]string{strings.TrimPrefix(n.Tag, "tag:yaml.org,2002:"), strings.Replace(n.Value, "null", "", 1)}
	}
	var parts []any
	for _, c := range n.Content {
		parts = append(parts, plainTree(c))
	}
	return parts
}

var hasLine = regexp.MustCompile(`^s\.yaml:[1-9]\d*: \S`)

// FuzzScript: the decoder never panics, and each error is one line that says where. What
// it takes, it takes again.
func FuzzScript(f *testing.F) {
	for _, k := range kinds {
		for _, w := range k.words {
			f.Add([]byte(inContext(k, w)))
		}
	}
	f.Add([]byte("members: [&a {name: x}, *a]"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("%YAML 1.1\n---\n!!map {? a : b}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := ParseScript("s.yaml", text)
		if err != nil {
			se, ok := errors.AsType[*ScriptError](err)
			require.True(t, ok, "%T", err)
			require.Regexp(t, hasLine, err.Error())
			require.NotContains(t, se.Text, "\n")
			require.LessOrEqual(t, se.Line, 1+len(lineEnd.FindAll(text, -1)), err)
		}
		_, again := ParseScript("s.yaml", text)
		require.Equal(t, err, again)
	})
}

// FuzzRequest: the same for the bodies of requests.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"as":"a","do":[{"say":"hi"}],"within":"1s"}`))
	f.Add([]byte(`{"await":{"message":{"from":"a","body":"b"}},"since":3}`))
	f.Add([]byte(`{"expect":[{"joined":"a"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		script := &Script{rooms: []roomScript{{}}}
		if _, err := parseDo(script, body); err != nil {
			require.Regexp(t, `^request:[1-9]\d*: \S`, err.Error())
		}
		if _, _, err := parseExpect(script, body); err != nil {
			require.Regexp(t, `^request:[1-9]\d*: \S`, err.Error())
		}
	})
}
