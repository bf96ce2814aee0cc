package fake

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRefusals: each status other than 200, as a problem.
func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "members: [{name: bot, rules: [{on: {message: sleep}, do: {wait: 1h}}]}]")
		for _, tt := range []struct {
			name, method, path, body string
			header                   []string
			status                   int
			code, detail             string
		}{
			{"foreign origin", "POST", "/stop", "", []string{"Origin", "https://evil.example"}, 403, "denied", `pages may not drive a fake, and "https://evil.example" is the origin of one`},
			{"own origin", "GET", "/status", "", []string{"Origin", "http://127.0.0.1:1"}, 403, "denied", "pages may not drive a fake"},
			{"null origin", "GET", "/status", "", []string{"Origin", "null"}, 403, "denied", "pages may not drive a fake"},
			{"foreign host", "GET", "/status", "", []string{"Host", "evil.example:80"}, 421, "misdirected", `not by "evil.example:80"`},
			{"foreign address", "GET", "/status", "", []string{"Host", "192.0.2.1"}, 421, "misdirected", ""},
			{"no host", "GET", "/status", "", []string{"Host", ""}, 421, "misdirected", ""},
			{"path", "GET", "/statuses", "", nil, 404, "not-found", "there is no \"/statuses\"; there are: GET /status"},
			{"root", "GET", "/", "", nil, 404, "not-found", ""},
			{"method", "POST", "/status", "", nil, 405, "method-not-allowed", `/status is for GET, not "POST"`},
			{"HEAD", "HEAD", "/status", "", nil, 405, "method-not-allowed", ""},
			{"OPTIONS", "OPTIONS", "/do", "", nil, 405, "method-not-allowed", ""},
			{"parameter", "GET", "/transcript?sins=1", "", nil, 400, "malformed", `the parameter "sins" is not known here`},
			{"parameter twice", "GET", "/transcript?since=1&since=2", "", nil, 400, "malformed", "or there twice"},
			{"since", "GET", "/transcript?since=-1", "", nil, 400, "malformed", "since is the n of an event"},
			{"format", "GET", "/transcript?format=xml", "", nil, 400, "malformed", "format is json or text"},
			{"type of a form", "POST", "/do", "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported-type", "/do takes application/json"},
			{"type of text", "POST", "/expect", "{}", []string{"Content-Type", "text/plain"}, 415, "unsupported-type", ""},
			{"type of a script", "POST", "/reset", "{}", nil, 415, "unsupported-type", "/reset takes application/yaml"},
			{"body of stop", "POST", "/stop", "{}", nil, 415, "unsupported-type", "/stop takes nothing"},
			{"large", "POST", "/do", strings.Repeat("x", maxBody+1), nil, 413, "too-large", "the body has 1048576 bytes at most"},
			{"do", "POST", "/do", `{"do":{"sai":"x"}}`, nil, 400, "malformed", `request:1: an action has no key "sai"; write say`},
			{"empty", "POST", "/do", "", nil, 400, "malformed", "not JSON"},
			{"expect", "POST", "/expect", `{}`, nil, 400, "malformed", "wants one of the keys await, expect, refute"},
			{"reset", "POST", "/reset", "code: json", []string{"Content-Type", "application/yaml"}, 400, "malformed", `request:1: a script has no key "code"; write codec`},
			{"bot", "POST", "/do", `{"as":"bob","do":{"say":"a"}}`, nil, 409, "no-bot", `there is no such bot: "bob"; there are: "bot"`},
			{"taken name", "POST", "/do", `{"members":[{"name":"bot"}]}`, nil, 409, "failed", `there is a bot "bot" already`},
			{"kick of nobody", "POST", "/do", `{"do":{"kick":{"name":"bob"}}}`, nil, 409, "failed", `kick "bob": no member is named "bob"; there are: "bot"`},
			{"tell to nobody", "POST", "/do", `{"do":[{"say":"a"},{"tell":{"name":"bob","text":"a"}}]}`, nil, 409, "failed", `tell "bob": no member`},
			{"fault of nobody", "POST", "/do", `{"as":"bot","do":{"inTurn":[{"fault":{"number":7,"reset":true}}]}}`, nil, 409, "failed", "there is no connection 7 yet"},
			{"action on nobody", "POST", "/do", `{"do":{"kick":"why"}}`, nil, 400, "malformed", "kick without a name is for what a rule"},
			{"slow action", "POST", "/do", `{"as":"bot","do":{"wait":"1m"},"within":"1s"}`, nil, 409, "timeout", "not done yet: that time is over"},
		} {
			w := r.request(tt.method, tt.path, tt.body, tt.header...)
			require.Equal(t, tt.status, w.Code, "%s: %s", tt.name, w.Body)
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"), tt.name)
			var p problem
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p), tt.name)
			require.Equal(t, problem{"about:blank", http.StatusText(tt.status), tt.status, p.Detail, tt.code}, p, tt.name)
			require.Contains(t, p.Detail, tt.detail, tt.name)
			require.Equal(t, tt.status == 405, w.Header().Get("Allow") != "", tt.name)
		}
		select {
		case <-r.leaving.Done():
			t.Fatal("a refused request stopped the fake")
		default:
		}
		for _, host := range []string{"localhost", "LOCALHOST:9", "127.0.0.1:9", "[::1]:9", "127.9.9.9"} {
			require.Equal(t, http.StatusOK, r.request("GET", "/status", "", "Host", host).Code, host)
		}
		require.Equal(t, 1, r.status().Life)
	})
}

func TestDo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "members: [{name: bot}]")
		c := r.dial()
		synctest.Wait()
		r.do(`{"do":{"say":"hello"}}`)
		require.Contains(t, r.order(), "*: hello\n", "it has its place when do answers")
		r.do(`{"as":"bot","do":[{"say":"one"},"leave"]}`)
		require.Contains(t, r.order(), "bot: one\n   5  * bot left\n")
		r.do(`{"as":"bot","do":"join"}`)
		r.do(`{"members":[{"name":"late","rules":[{"on":{"message":"hi"},"do":{"say":"me too"}}]}],"as":"late","do":{"say":"sorry"}}`)
		c.expect("*: hello", "bot: one", "* bot left", "* bot joined", "* late joined", "late: sorry")
		c.send("hi")
		c.expect("late: me too")
		r.do(`{"do":{"tell":{"name":"guest-1","text":"psst"}}}`)
		c.expect("*: psst")
		r.do(`{"do":{"flood":{"n":3,"text":"$n"}}}`)
		c.expect("*: 1", "*: 2", "*: 3")
		r.do(`{"do":{"fault":{"name":"guest-1","out":{"latency":"2s"}}}}`)
		began := time.Now()
		r.do(`{"do":{"say":"late"}}`)
		c.expect("*: late")
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Equal(t, []connectionStatus{{1, c.LocalAddr().String(), "guest-1"}}, r.status().Connections)
		require.Equal(t, []string{"bot", "late"}, r.status().Bots)
		r.do(`{"do":[{"fault":{"name":"guest-1","out":{}}},{"kick":{"name":"guest-1","reason":"that is all"}}]}`)
		c.expect("* goodbye: that is all")
	})
}

var variable = regexp.MustCompile(`"(id|time)":"[^"]*"`)

// TestTranscript: it is all that was ordered, byte for byte.
func TestTranscript(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "{codec: raw, members: [{name: bot}]}")
		c := r.dial()
		_, err := c.Write([]byte("grüße 🎈\n\x00\xff\n\n"))
		require.NoError(t, err)
		synctest.Wait()
		c.Close()
		synctest.Wait()
		r.do(`{"do":{"say":"end"}}`)
		get := func(path string) string {
			w := r.request("GET", path, "")
			require.Equal(t, http.StatusOK, w.Code)
			return variable.ReplaceAllString(w.Body.String(), `"$1":"…"`)
		}
		guest := `"from":{"id":"…","name":"guest-1"},"time":"…"`
		lines := []string{
			`{"n":1,"type":"join","seq":1,"from":{"id":"…","name":"bot"},"time":"…"}`,
			`{"n":2,"type":"join","seq":2,` + guest + `}`,
			`{"n":3,"type":"message","seq":3,` + guest + `,"body":"grüße 🎈"}`,
			`{"n":4,"type":"message","seq":4,` + guest + `,"data":"AP8="}`,
			`{"n":5,"type":"message","seq":5,` + guest + `,"body":""}`,
			`{"n":6,"type":"leave","seq":6,` + guest + `}`,
			`{"n":7,"type":"message","seq":7,"time":"…","body":"end"}`,
		}
		require.Equal(t, strings.Join(lines, "\n")+"\n", get("/transcript"))
		require.Equal(t, strings.Join(lines[4:], "\n")+"\n", get("/transcript?since=4"))
		require.Empty(t, get("/transcript?since=7"))
		require.Empty(t, get("/transcript?since=99"))
		require.Equal(t, "   6  * guest-1 left\n   7  *: end\n", get("/transcript?since=5&format=text"))
		r.end()
		require.Equal(t, strings.Join(lines, "\n")+"\n", get("/transcript"), "after the end, too")
	})
}

// TestTranscriptOfAHub: events have their rooms, and numbers over all rooms.
func TestTranscriptOfAHub(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "rooms: [{name: a, members: [{name: x}]}, {name: b, members: [{name: y}]}]")
		w := r.request("GET", "/transcript", "")
		require.Equal(t, `{"n":1,"type":"join","room":"a","seq":1,"from":{"id":"…","name":"x"},"time":"…"}
{"n":2,"type":"join","room":"b","seq":1,"from":{"id":"…","name":"y"},"time":"…"}
`, variable.ReplaceAllString(w.Body.String(), `"$1":"…"`))
	})
}

// TestReset: the next life has nothing of the one before.
func TestReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, `
members: [{name: bot, rules: [{on: {messageLike: ""}, do: {inTurn: [{say: one}, {say: two}]}}]}]
connections: [{number: 1, out: {latency: 1s}}]
expect: [{await: {message: hi}}]
`)
		for life := 1; life <= 3; life++ {
			require.Equal(t, "   1  * bot joined\n", r.order())
			c := r.dial()
			began := time.Now()
			c.send("hi")
			c.expect("bot: one")
			require.Equal(t, time.Second, time.Since(began), "it is connection 1 in each life")
			require.True(t, r.expects(`{"await":{"message":"hi"}}`).Held)
			r.do(`{"do":{"refuse":true}}`)
			w := r.request("POST", "/reset", "")
			require.Equal(t, http.StatusOK, w.Code)
			var got struct {
				ready
				Was status
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
			require.Equal(t, life+1, got.Life)
			require.Equal(t, r.port.l.Addr().String(), got.Addr)
			require.True(t, got.Was.Held)
			require.Equal(t, life, got.Was.Life)
			c.rest() // it has ended
			require.Equal(t, "waiting", r.status().State)
		}
		w := r.request("POST", "/reset", "codec: json", "Content-Type", "application/yaml")
		require.Equal(t, http.StatusOK, w.Code)
		require.True(t, r.hasFailed(), "no client has come in the fourth life")
		c := r.dial()
		c.send(`{"type":"hello","name":"ada"}`)
		require.Contains(t, c.line(), `"type":"welcome"`)
		require.Equal(t, "   1  * ada joined\n", r.order())
		r.end()
		require.Equal(t, http.StatusConflict, r.request("POST", "/reset", "").Code)
	})
}

// TestResetWithFaults: what a life has done to connections does not hold up its end.
func TestResetWithFaults(t *testing.T) {
	for _, fault := range []string{"stall: true", "blackHole: true", "latency: 1h", "bandwidth: 1", "cutAfter: 0"} {
		t.Run(fault, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, "answer: [{every: 1s, do: {say: tick}}]\nconnections: [{out: {"+fault+"}, in: {"+fault+"}}]")
				for range 5 {
					r.dial().send("hi")
				}
				time.Sleep(5 * time.Second)
				began := time.Now()
				require.Equal(t, http.StatusOK, r.request("POST", "/reset", "").Code)
				require.Less(t, time.Since(began), 5*time.Second)
				require.Empty(t, r.order())
			})
		})
	}
}

// TestStop: the answer is the last status, and requests that wait end.
func TestStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "{members: [{name: bot}], expect: [{await: {joined: ada}}]}")
		type result struct {
			status int
			body   string
		}
		ask := func(path, body string) <-chan result {
			ch := make(chan result, 1)
			go func() {
				w := r.request("POST", path, body)
				ch <- result{w.Code, w.Body.String()}
			}()
			synctest.Wait()
			return ch
		}
		waits := ask("/expect", `{"await":{"joined":"ada"},"within":"1m"}`)
		queued := ask("/expect", `{"await":{"joined":"ada"},"within":"1m"}`)
		doing := ask("/do", `{"as":"bot","do":{"wait":"1h"},"within":"10m"}`)
		began := time.Now()
		w := r.request("POST", "/stop", "")
		require.Equal(t, http.StatusOK, w.Code)
		require.Contains(t, w.Body.String(), `"held":false`)
		<-r.leaving.Done()
		got := <-waits
		require.Equal(t, http.StatusOK, got.status)
		require.Contains(t, got.body, "it did not come until the fake was stopped")
		require.Equal(t, http.StatusConflict, (<-queued).status)
		got = <-doing
		require.Equal(t, http.StatusConflict, got.status)
		require.Contains(t, got.body, `"code":"ended"`)
		require.Less(t, time.Since(began), 20*time.Second)
		require.Equal(t, http.StatusConflict, r.request("POST", "/do", `{"do":{"say":"x"}}`).Code)
		require.Equal(t, "failed", r.status().State)
	})
}
