package fake

import (
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// bubble runs fn in a bubble, in parallel with other tests.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, fn)
}

func TestSay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
members:
  - name: broker
    rules:
      - on: {messageLike: '^!price (\w+)$'}
        do: {say: "a $1 is 3, $from; $$ $0"}
      - on: {message: list}
        do: [{say: [one, two]}, {say: 3}]
      - on: {joined: ""}
        do: {say: "hi, $from"}
      - on: {message: bytes}
        do: {say: {base64: JDEg/w==}}
`)
		c := r.dial()
		c.expect("broker: hi, guest-1")
		c.send("!price pear", "list")
		c.expect("broker: a pear is 3, guest-1; $ !price pear", "broker: one", "broker: two", "broker: 3")
		c.send("bytes")
		c.expect(`broker: $1 \xff`)
	})
}

func TestEchoTellKick(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
members:
  - name: parrot
    rules: [{on: {messageLike: ^echo}, do: echo}]
answer:
  - {on: {message: secret}, do: {tell: "only for $from"}}
  - {on: {message: other}, do: {tell: {name: guest-1, text: "$from was here"}}}
  - {on: {message: bye}, do: {kick: as you wish}}
  - {on: {message: out}, do: {kick: {name: guest-2, reason: sorry}}}
  - {on: {messageLike: nobody}, do: [{kick: {name: nemo}}, {tell: {name: nemo, text: x}}]}
`)
		a := r.dial()
		synctest.Wait()
		b := r.dial()
		synctest.Wait()
		a.expect("* guest-2 joined")
		a.send("echo this")
		a.expect("parrot: echo this")
		a.send("secret")
		a.expect("*: only for guest-1")
		b.expect("guest-1: echo this", "parrot: echo this", "guest-1: secret")
		b.send("other")
		a.expect("guest-2: other", "*: $from was here")
		a.send("nobody", "out")
		b.expect("guest-1: nobody", "guest-1: out", "* goodbye: sorry")
		a.send("bye")
		a.expect("* guest-2 left", "* goodbye: as you wish")
		require.Equal(t, []failure{
			{What: `kick "nemo": no member is named "nemo"; there are: "parrot", "guest-1", "guest-2"`},
			{What: `tell "nemo": no member is named "nemo"; there are: "parrot", "guest-1", "guest-2"`},
		}, r.status().Failures)
	})
}

// TestWhoAnswersWhom: bots answer clients and the room itself, and not each other; the
// room answers clients alone.
func TestWhoAnswersWhom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
members:
  - {name: a, lines: [from a]}
  - {name: b, lines: [from b]}
answer:
  - {on: {any: message}, do: {say: from the room}}
`)
		r.dial().send("hi")
		time.Sleep(time.Hour)
		order := r.order()
		require.Equal(t, 1, strings.Count(order, "*: from the room"), order)
		require.Equal(t, 2, strings.Count(order, "a: from a"), order)
		require.Equal(t, 2, strings.Count(order, "b: from b"), order)
	})
}

func TestFloodInTurnLines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
members:
  - name: crowd
    rules:
      - {on: {message: flood}, do: {flood: {n: 1000, text: message $n}}}
      - {on: {message: turn}, do: {inTurn: [{say: first}, [{say: second}, {wait: 1s}, {say: and more}]]}}
    lines: [really?, tell me more]
`)
		c := r.dial()
		c.send("flood")
		for i := range 1000 {
			c.expect("crowd: message " + itoa(i+1))
		}
		c.send("turn", "turn", "turn")
		c.expect("crowd: first", "crowd: second", "crowd: and more", "crowd: first")
		c.send("a", "b", "c")
		c.expect("crowd: really?", "crowd: tell me more", "crowd: really?")
	})
}

func TestRulesOfTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		began := time.Now()
		r := start(t, `
history: 10
members:
  - name: early
    rules: [{start: true, do: {say: first}}]
  - name: clock
    rules:
      - {after: 2500ms, do: {say: after}}
      - {every: 1s, do: {say: tick}}
  - name: late
    rules: [{joinAfter: 10s, do: {say: sorry}}, {after: 11s, do: leave}]
`)
		c := r.dial()
		require.Contains(t, c.line(), " early: first")
		synctest.Wait()
		time.Sleep(11*time.Second + 500*time.Millisecond)
		want := `   1  * early joined
   2  early: first
   3  * clock joined
   4  * guest-1 joined
   5  clock: tick
   6  clock: tick
   7  clock: after
   8  clock: tick
`
		require.Equal(t, want, r.order()[:len(want)])
		require.Contains(t, r.order(), "  * late joined\n")
		require.Contains(t, r.order(), "  late: sorry\n")
		require.Contains(t, r.order(), "  * late left\n")
		require.Equal(t, 11*time.Second+500*time.Millisecond, time.Since(began))
	})
}

func TestRulesOfBeingOutside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
members:
  - name: help
    rules:
      - {joinOn: {message: help}, do: {say: I come}}
      - {on: {message: leave}, do: leave}
      - {on: {message: vanish}, do: vanish}
      - {on: {message: away}, do: [leave, {wait: 1s}, join, {say: back}]}
      - {returnOn: {message: return}, do: {say: again}}
`)
		c := r.dial()
		c.send("help")
		c.expect("* help joined", "help: I come")
		c.send("leave")
		c.expect("* help left")
		c.send("return")
		c.expect("* help joined", "help: again")
		c.send("vanish")
		c.expect("* help left")
		c.send("help")
		c.expect("* help joined", "help: I come")
		c.send("away")
		c.expect("* help left", "* help joined", "help: back")
	})
}

func TestSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
members:
  - name: laptop
    rules:
      - {on: {message: sleep}, do: [goSilent, {say: lost}]}
      - {after: 1h, do: wakeUp}
      - {on: {messageLike: ""}, do: {say: awake}}
`)
		c := r.dial()
		c.send("sleep")
		synctest.Wait()
		c.send("are you there?")
		began := time.Now()
		c.expect("laptop: awake")
		require.Equal(t, time.Hour, time.Since(began))
	})
}

// TestMatches: each match, by the rule of a bot that says which one it was. The last ones
// are of events that are sent to one member, which a client in JSON sends to a bot.
func TestMatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
codec: json
rooms:
  - name: kitchen
    members:
      - name: bot
        rules:
          - {on: {direct: psst}, do: {say: direct}}
          - {on: {message: hi, inRoom: attic}, do: {say: wrong}}
          - {on: {message: hi, inRoom: kitchen}, do: {say: message}}
          - {on: {message: {from: ada, body: ho}}, do: {say: message from}}
          - {on: {message: {base64: AP8=}}, do: {say: bytes}}
          - {on: {messageLike: {from: ada, pattern: "^x+$"}}, do: {say: like}}
          - {on: {joined: ada}, do: {say: joined}}
          - {on: {renamed: ada}, do: {say: renamed}}
          - {on: {left: eve}, do: {say: left}}
          - {on: {goodbye: true}, do: {refuse: true}}
          - {on: {any: [message]}, do: {say: any}}
`)
		c := r.dial()
		said := func(want string) {
			t.Helper()
			for {
				l := c.line()
				if strings.Contains(l, `"name":"bot"},"time"`) && strings.Contains(l, `"type":"message"`) {
					require.Contains(t, l, `"body":"`+want+`"`)
					return
				}
			}
		}
		c.send(`{"type":"hello","name":"ada"}`)
		said("joined")
		for body, want := range map[string]string{"hi": "message", "ho": "message from", "xxx": "like", "else": "any"} {
			c.send(`{"type":"message","body":"` + body + `"}`)
			said(want)
		}
		c.send(`{"type":"message","data":"AP8="}`)
		said("bytes")
		c.send(`{"type":"rename","name":"eve"}`)
		said("renamed")
		var bot string
		for m := range r.stage.srv.Room.Members() {
			if m.Name() == "bot" {
				bot = m.ID()
			}
		}
		c.send(`{"type":"direct","to":"` + bot + `","body":"psst"}`)
		said("direct")
		r.do(`{"do":{"kick":{"name":"bot"}}}`)
		synctest.Wait()
		_, err := r.dial().rest()
		require.ErrorIs(t, err, syscall.ECONNRESET)
		r.do(`{"do":{"refuse":false}}`)
		d := r.dial()
		d.send(`{"type":"hello","name":"dan"}`)
		d.line()
		c.send(`{"type":"goodbye"}`)
		c.Close()
		require.Contains(t, d.line(), `"type":"leave"`)
		r.do(`{"as":"bot","do":"join"}`)
		require.Contains(t, d.line(), `"type":"join"`)
		d.send(`{"type":"rename","name":"eve"}`)
		require.Contains(t, d.line(), `"type":"renamed"`)
		d.Close()
		r.dial().send(`{"type":"hello","name":"fay"}`)
		require.True(t, r.expects(`{"await":{"message":{"from":"bot","body":"left"}}}`).Held)
	})
}

// TestGap: a bot that is slow in a room that skips.
func TestGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
slow: skip
backlog: 100000
members:
  - name: slow
    rules:
      - {on: {message: sleep}, do: goSilent}
      - {after: 10s, do: wakeUp}
      - {on: {gap: true}, do: {say: I missed something}}
  - name: crowd
    rules: [{on: {message: sleep}, do: [{wait: 1s}, {flood: {n: 20000, text: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa $n"}}]}]
`)
		c := r.dial()
		c.send("sleep")
		for c.line() != "slow: I missed something" {
		}
	})
}

func TestOptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "{echo: true, notices: false, maxMembers: 1, idleTimeout: 1m}")
		c := r.dial()
		c.send("hi")
		c.expect("guest-1: hi")
		d := r.dial()
		require.Contains(t, first(d.rest()), "room is full")
		began := time.Now()
		require.Contains(t, first(c.rest()), "idle")
		require.Less(t, time.Since(began), 2*time.Minute)
		require.Equal(t, "   1  guest-1: hi\n", r.order())
	})
}

func TestOptionsOfJSON(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "{codec: json, uniqueNames: true, sessions: 10s, heartbeat: 5s, handshakeTimeout: 2s, maxMessage: 10, members: [{name: ada}]}")
		c := r.dial()
		c.send(`{"type":"hello","name":"ada"}`)
		require.Contains(t, first(c.rest()), `"code":"name-taken"`)
		began := time.Now()
		require.Contains(t, first(r.dial().rest()), `"code":"handshake-timeout"`)
		require.Equal(t, 2*time.Second, time.Since(began))
		c = r.dial()
		c.send(`{"type":"hello","name":"bob","ping":true}`)
		require.Contains(t, c.line(), `"token":`)
		require.Contains(t, c.line(), `"ping"`)
		c.Close()
		synctest.Wait()
		require.NotContains(t, r.order(), "bob left")
		time.Sleep(11 * time.Second)
		require.Contains(t, r.order(), "bob left")
		c = r.dial()
		c.send(`{"type":"hello","name":"cat"}`, `{"type":"message","body":"12345678901"}`)
		require.Contains(t, first(c.rest()), `"code":"too-large"`)
		require.Equal(t, []failure{{What: `connection 4, of "cat", broke the protocol (lines json): message too large`}}, r.end().Failures)
	})
}

func first[A, B any](a A, _ B) A { return a }

// TestFramingsAndCodecs: a conversation over each framing and codec.
func TestFramingsAndCodecs(t *testing.T) {
	for _, tt := range []struct{ name, script, send, want string }{
		{"lines", "framing: lines", "hi\n", "bot: ho\n"},
		{"length1", "framing: length1", "\x02hi", "\x07bot: ho"},
		{"length2", "framing: length2", "\x00\x02hi", "\x00\x07bot: ho"},
		{"length4", "framing: length4", "\x00\x00\x00\x02hi", "\x00\x00\x00\x07bot: ho"},
		{"length8", "framing: length8", "\x00\x00\x00\x00\x00\x00\x00\x02hi", "\x00\x00\x00\x00\x00\x00\x00\x07bot: ho"},
		{"low byte first", "framing: {length: 2, littleEndian: true}", "\x02\x00hi", "\x07\x00bot: ho"},
		{"varint", "framing: varint", "\x02hi", "\x07bot: ho"},
		{"netstring", "framing: netstring", "2:hi,", "7:bot: ho,"},
		{"content-length", "framing: content-length", "Content-Length: 2\r\n\r\nhi", "Content-Length: 7\r\n\r\nbot: ho"},
		{"delimiter", `framing: {delimiter: "\0"}`, "hi\x00", "bot: ho\x00"},
		{"delimiter of bytes", "framing: {delimiter: {base64: /w==}}", "hi\xff", "bot: ho\xff"},
		{"raw", "codec: raw", "hi\n", "ho\n"},
		{"text", "codec: text", "hi\n", "bot: ho\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, tt.script+"\nmembers: [{name: bot, rules: [{on: {message: hi}, do: {say: ho}}]}]")
				c := r.dial()
				_, err := c.Write([]byte(tt.send))
				require.NoError(t, err)
				got := make([]byte, len(tt.want))
				_, err = readFull(c, got)
				require.NoError(t, err)
				require.Equal(t, tt.want, string(got))
			})
		})
	}
}

func TestHub(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
rooms:
  - name: kitchen
    members: [{name: cook, rules: [{on: {joined: ""}, do: {say: "mind your head, $from"}}]}]
  - name: attic
    answer: [{on: {message: hi}, do: {say: nobody lives here}}]
expect:
  - await: {message: hi, inRoom: attic}
`)
		c := r.dial()
		c.expect("* you are guest-1 in kitchen", "cook: mind your head, guest-1")
		c.send("/join attic", "hi")
		for c.line() != "*: nobody lives here" {
		}
		c.send("/join cellar")
		require.Contains(t, c.line(), "cellar")
		synctest.Wait()
		require.True(t, r.status().Held)
		require.Equal(t, []string{"kitchen", "attic"}, r.ready().Rooms)
		r.do(`{"room":"attic","do":{"say":"boo"}}`)
		c.expect("*: boo")
		r.do(`{"room":"attic","members":[{"name":"ghost"}]}`)
		c.expect("* ghost joined")
		r.do(`{"room":"attic","as":"ghost","do":{"say":"huh"}}`)
		c.expect("ghost: huh")
	})
}
