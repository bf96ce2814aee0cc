package fake

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const talk = `
members: [{name: bot, rules: [{on: {message: hi}, do: {say: ho}}]}]
`

// states are those of the script's expectations.
func (r *rig) states() []string {
	var states []string
	for _, e := range r.status().Expectations {
		states = append(states, e.State)
	}
	return states
}

func TestExpectationsHold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, talk+`
expect:
  - {await: {joined: guest-1}, within: 1s}
  - expect: [{message: hi}, {messageLike: "^b"}]
  - {refute: {left: ""}, within: 5s}
  - await: {left: guest-1}
`)
		require.Equal(t, []string{"next", "next", "next", "next"}, r.states())
		require.Equal(t, "waiting", r.status().State)
		time.Sleep(time.Hour) // the time of the first begins with a client
		c := r.dial()
		synctest.Wait()
		require.Equal(t, []string{"held", "waiting", "next", "next"}, r.states())
		c.send("hi", "bye")
		synctest.Wait()
		require.Equal(t, []string{"held", "held", "waiting", "next"}, r.states())
		time.Sleep(6 * time.Second)
		c.Close()
		synctest.Wait()
		require.Equal(t, []string{"held", "held", "held", "held"}, r.states())
		st := r.status()
		require.Equal(t, "held", st.State)
		require.True(t, st.Held)
		require.Equal(t, expectStatus{"script.yaml:6", "expect message anybody: hi; message of anybody like \"^b\"", "held"}, st.Expectations[1])
		require.False(t, r.hasFailed())
		r.end()
		require.False(t, r.hasFailed())
	})
}

func TestExpectationsFail(t *testing.T) {
	for _, tt := range []struct{ name, expect, want string }{
		{"await", "- {await: {message: hello}, within: 5s}\n  - await: {left: ada}",
			"await message anybody: hello: it did not come within 5s\n" +
				"\tthe nearest is:\n\t   3  guest-1: hell\n" +
				"\tcame and passed over:\n\t   1  * bot joined\n\t   2  * guest-1 joined\n\t   3  guest-1: hell\n\t   4  guest-1: hi\n\t   5  bot: ho"},
		{"expect", "- expect: [{joined: ''}, {message: hell}, {message: ho}]\n  - await: {left: ada}",
			"expect message anybody: ho: something else came next\n\tthe nearest is:\n\t   4  guest-1: hi"},
		{"expect no more", "- {expect: [{joined: ''}, {message: hell}, {message: hi}, {message: ho}], within: 2s}\n  - await: {left: ada}",
			"expect message anybody: ho: it did not come within 2s"},
		{"refute", "- {refute: {message: hi}, within: 1s}\n  - await: {left: ada}",
			"refute message anybody: hi: it was not to come, and did\n\tthe nearest is:\n\t   4  guest-1: hi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, talk+"expect:\n  "+tt.expect)
				c := r.dial()
				c.send("hell", "hi")
				c.expect("bot: ho")
				time.Sleep(10 * time.Second)
				st := r.status()
				require.Equal(t, []string{"failed", "skipped"}, r.states())
				require.Equal(t, []failure{{"script.yaml:4", tt.want}}, st.Failures)
				require.Equal(t, "failed", st.State)
				r.end()
				require.True(t, r.hasFailed())
				r.mu.Lock()
				defer r.mu.Unlock()
				require.Contains(t, r.logs, "script.yaml:4: "+tt.want)
			})
		})
	}
}

// TestNearestInAHub: a join in another room is nearer than a message.
func TestNearestInAHub(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "codec: json\nrooms: [{name: kitchen}, {name: attic}]")
		c := r.dial()
		c.send(`{"type":"hello","name":"ada"}`, `{"type":"message","body":"boo"}`)
		a := r.expects(`{"await":{"joined":"ada","inRoom":"attic"},"within":"1s"}`)
		require.False(t, a.Held)
		require.Equal(t, "1 join ada ", a.Nearest.String())
		a = r.expects(`{"await":{"message":{"from":"ada","body":"bo"},"inRoom":"kitchen"},"within":"1s"}`)
		require.Equal(t, "2 message ada boo", a.Nearest.String())
	})
}

// TestExpectationsAtTheEnd: what has not come when the fake is stopped has failed.
func TestExpectationsAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "expect: [{await: {joined: ''}}, {await: {joined: ''}}]")
		st := r.end()
		require.Equal(t, []failure{{"script.yaml:1", "await anybody joined: no client has connected"}}, st.Failures)
		require.Equal(t, "failed", st.Expectations[0].State)
		require.Equal(t, "skipped", st.Expectations[1].State)

		r = start(t, "expect: [{await: {message: hi}, within: 1h}]")
		r.dial()
		synctest.Wait()
		st = r.end()
		require.Len(t, st.Failures, 1)
		require.Contains(t, st.Failures[0].What, "await message anybody: hi: it did not come until the fake was stopped")

		r = start(t, "expect: [{refute: {message: hi}, within: 1h}]")
		r.dial()
		synctest.Wait()
		require.True(t, r.end().Held)
	})
}

// TestBrokenProtocol: a client that does so fails the script.
func TestBrokenProtocol(t *testing.T) {
	for _, tt := range []struct{ name, script, send, want string }{
		{"malformed", "codec: json", "{\"type\":\"hello\"}\n{\"type\":\"message\"\n", "connection 1, of \"guest-1\", broke the protocol (lines json): malformed"},
		{"wrong door", "codec: json", "hello there\n", "connection 1 broke the protocol (lines json): "},
		{"too large", "maxMessage: 5", "hello there\n", "connection 1, of \"guest-1\", broke the protocol (lines text): "},
		{"framing", "framing: netstring", "x", "connection 1, of \"guest-1\", broke the protocol (netstring text): "},
		{"in a hub", "{codec: json, rooms: [{name: a}]}", "{\"type\":\"hello\"}\n{\"type\":\"message\"\n", "connection 1, of \"guest-1\", broke the protocol (lines json): malformed"},
		{"allowed", "{codec: json, strict: false}", "hello there\n", ""},
		{"cut off", "codec: json", "{\"type\":\"hello\"}\n{\"type\":\"mess", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, tt.script)
				c := r.dial()
				_, err := c.Write([]byte(tt.send))
				require.NoError(t, err)
				synctest.Wait()
				c.Close()
				synctest.Wait()
				fs := r.end().Failures
				if tt.want == "" {
					require.Empty(t, fs)
					return
				}
				require.Len(t, fs, 1)
				require.Contains(t, fs[0].What, tt.want)
			})
		})
	}
}

// TestAsk: expectations by the control endpoint look at each event once, wait, and go on
// from where the last that held ended.
func TestAsk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, talk)
		c := r.dial()
		c.send("one", "hi", "two")
		c.expect("bot: ho")

		a := r.expects(`{"await":{"message":"one"}}`)
		require.True(t, a.Held)
		require.Equal(t, "3 message guest-1 one", a.Events[0].String())
		require.Equal(t, 3, a.Next)
		a = r.expects(`{"expect":[{"message":"hi"},{"message":{"from":"guest-1","body":"two"}}],"within":"1s"}`)
		require.True(t, a.Held, "bots are passed over: %+v", a)
		require.Len(t, a.Events, 2)

		began := time.Now()
		a = r.expects(`{"await":{"message":"one"},"within":"3s"}`)
		require.False(t, a.Held)
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Contains(t, a.Text, "message anybody: one: it did not come within 3s")
		require.True(t, r.expects(`{"await":{"message":"one"},"since":0}`).Held)
		require.True(t, r.expects(`{"await":{"message":"one"},"since":2}`).Held)
		require.False(t, r.expects(`{"await":{"message":"one"},"since":3,"within":"1ms"}`).Held)

		require.True(t, r.expects(`{"refute":{"left":""}}`).Held)
		a = r.expects(`{"refute":{"message":"hi"},"since":0}`)
		require.False(t, a.Held)
		require.Equal(t, "4 message guest-1 hi", a.Nearest.String())

		waited := make(chan *gotAnswer)
		go func() { waited <- r.expects(`{"await":{"message":"three"}}`) }()
		synctest.Wait()
		w := r.request(http.MethodPost, "/expect", `{"await":{"message":"four"},"within":"1s"}`)
		require.Equal(t, http.StatusConflict, w.Code)
		require.Contains(t, w.Body.String(), "several at a time want since")
		c.send("three")
		require.True(t, (<-waited).Held)
		require.True(t, r.status().Held, "what is asked is answered, and not the script's")
	})
}
