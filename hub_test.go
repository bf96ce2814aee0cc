package tcproom

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A caller speaks with a hub by a pipe.
type hubPeer struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func callHub(t testing.TB, h *Hub, opts ...ConnOption) *hubPeer {
	t.Helper()
	here, there := tcpPairOf(t)
	go h.ServeConn(there, opts...)
	t.Cleanup(func() { here.Close() })
	return &hubPeer{t: t, Conn: here, r: bufio.NewReader(here)}
}

func tcpPairOf(t testing.TB) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	return c, s
}

func (p *hubPeer) say(format string, args ...any) {
	p.t.Helper()
	_, err := fmt.Fprintf(p, format+"\n", args...)
	require.NoError(p.t, err)
}

func (p *hubPeer) line() string {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(30 * time.Second))
	defer p.SetReadDeadline(time.Time{}) // another reader comes, perhaps, and stays for longer
	s, err := p.r.ReadString('\n')
	require.NoError(p.t, err)
	return s[:len(s)-1]
}

func (p *hubPeer) expect(lines ...string) {
	p.t.Helper()
	for _, want := range lines {
		require.Equal(p.t, want, p.line())
	}
}

func TestHubText(t *testing.T) {
	h := NewHub()
	defer h.Close()
	a := callHub(t, h)
	a.expect("* you are guest-1 in lobby")
	b := callHub(t, h)
	b.expect("* you are guest-2 in lobby")
	a.expect("* guest-2 joined")
	a.say("hi")
	b.expect("guest-1: hi")
	b.say("/join kitchen")
	a.expect("* guest-2 left")
	b.expect("* you are guest-2 in kitchen")
	a.say("/rooms")
	a.expect("* rooms: kitchen 1, lobby 1")
	a.say("/who kitchen")
	a.expect("* in kitchen: guest-2")
	a.say("/msg guest-2 psst")
	b.expect("guest-1 -> you: psst")
	b.say("/nick bob")
	b.expect("* guest-2 is now bob")
	a.say("/join kitchen")
	b.expect("* guest-1 joined")
	a.expect("* you are guest-1 in kitchen")
	b.say("here")
	a.expect("bob: here")
	a.say("/dance")
	a.expect(`* not done: no command "dance"; /help lists them`)
	a.say("/help")
	require.Contains(t, a.line(), "* commands: /join ROOM")
	_, err := h.All().Broadcast(t.Context(), []byte("maintenance at noon"))
	require.NoError(t, err)
	a.expect("*: maintenance at noon")
	b.expect("*: maintenance at noon")
	a.say("/quit")
	b.expect("* guest-1 left")
}

// said is a line of JSON as a map, less what differs from run to run.
func (p *hubPeer) said() map[string]any {
	p.t.Helper()
	var m map[string]any
	require.NoError(p.t, json.Unmarshal([]byte(p.line()), &m))
	for _, k := range []string{"time", "epoch", "token"} {
		delete(m, k)
	}
	return m
}

func (p *hubPeer) expectJSON(want string) {
	p.t.Helper()
	var m map[string]any
	require.NoError(p.t, json.Unmarshal([]byte(want), &m))
	got := p.said()
	for k, v := range got {
		if k == "id" || k == "from" || k == "members" || k == "message" || k == "reason" {
			if _, asked := m[k]; !asked {
				delete(got, k)
			}
		}
		_ = v
	}
	require.Equal(p.t, m, got)
}

func TestHubJSON(t *testing.T) {
	h := NewHub(WithCodec(JSON{}), WithSessions(Sessions{}))
	defer h.Close()
	a := callHub(t, h)
	a.say(`{"type":"hello","name":"ada","rooms":["lobby"]}`)
	a.expectJSON(`{"type":"welcome","room":"*","seq":0,"name":"ada","total":1,"outcome":"joined"}`)
	a.expectJSON(`{"type":"welcome","room":"lobby","seq":1,"name":"ada","total":1,"outcome":"joined"}`)
	a.say(`{"type":"enter","room":"kitchen","ref":7,"history":20}`)
	a.expectJSON(`{"type":"welcome","room":"kitchen","ref":7,"seq":1,"name":"ada","total":1,"outcome":"joined"}`)
	b := callHub(t, h)
	b.say(`{"type":"hello","name":"bob"}`)
	b.expectJSON(`{"type":"welcome","seq":2,"name":"bob","total":2,"outcome":"joined"}`)
	a.expectJSON(`{"type":"join","room":"lobby","seq":2}`)
	a.say(`{"type":"message","room":"kitchen","id":3,"body":"hi"}`)
	a.expectJSON(`{"type":"ack","room":"kitchen","id":3,"seq":2}`)
	b.say(`{"type":"message","body":"yo"}`)
	a.expectJSON(`{"type":"message","room":"lobby","seq":3,"body":"yo"}`)
	_, err := h.All().Broadcast(t.Context(), []byte("noon"))
	require.NoError(t, err)
	a.expectJSON(`{"type":"message","room":"*","seq":1,"body":"noon"}`)
	b.expectJSON(`{"type":"direct","body":"noon"}`)
	a.say(`{"type":"move","room":"lobby","to":"attic","ref":8}`)
	a.expectJSON(`{"type":"goodbye","room":"lobby","ref":8,"code":"moved"}`)
	a.expectJSON(`{"type":"welcome","room":"attic","ref":8,"seq":1,"name":"ada","total":1,"outcome":"joined"}`)
	b.expectJSON(`{"type":"leave","seq":4}`)
	a.say(`{"type":"leave","room":"attic","ref":9}`)
	a.expectJSON(`{"type":"goodbye","room":"attic","ref":9,"code":"left"}`)
	a.say(`{"type":"rooms","ref":10,"limit":1}`)
	a.expectJSON(`{"type":"rooms","ref":10,"rooms":[{"name":"attic","members":0}],"total":3,"more":true}`)
	a.say(`{"type":"members","room":"kitchen","ref":11}`)
	a.expectJSON(`{"type":"members","room":"kitchen","ref":11,"seq":2,"total":1}`)
	a.say(`{"type":"message","room":"lobby","body":"x"}`)
	a.expectJSON(`{"type":"refused","room":"lobby","code":"not-member"}`)
	a.say(`{"type":"rename","name":"eve"}`)
	a.expectJSON(`{"type":"renamed","room":"kitchen","seq":3,"name":"eve"}`)
	a.say(`{"type":"enter","room":"no no","ref":14}`)
	a.expectJSON(`{"type":"refused","ref":14,"code":"room-name","retry":false}`)
	a.say(`{"type":"direct","to":"nobody","ref":12,"body":"psst"}`)
	a.expectJSON(`{"type":"refused","ref":12,"code":"recipient"}`)
}

// token is the token of the last welcome of its kind.
func (p *hubPeer) welcome() (token, epoch string, seq uint64, all map[string]any) {
	p.t.Helper()
	require.NoError(p.t, json.Unmarshal([]byte(p.line()), &all))
	require.Equal(p.t, "welcome", all["type"], "%v", all)
	token, _ = all["token"].(string)
	n, _ := all["seq"].(float64)
	return token, all["epoch"].(string), uint64(n), all
}

func TestHubResume(t *testing.T) {
	h := NewHub(WithCodec(JSON{}), WithSessions(Sessions{}))
	defer h.Close()
	b := callHub(t, h)
	b.say(`{"type":"hello","name":"bob","rooms":["lobby","kitchen","attic"]}`)
	for range 4 {
		b.line()
	}
	a := callHub(t, h)
	a.say(`{"type":"hello","name":"ada","rooms":["lobby","kitchen","attic"]}`)
	token, e0, _, _ := a.welcome()
	epochs := map[any]string{}
	for range 3 { // in any order
		_, epoch, _, all := a.welcome()
		epochs[all["room"]] = epoch
	}
	lobby, kitchen := epochs["lobby"], epochs["kitchen"]
	for range 3 {
		b.line()
	}
	a.Close()
	for h.All().Stats().Detached != 1 {
		time.Sleep(time.Millisecond)
	}
	b.say(`{"type":"message","room":"kitchen","body":"one"}`)
	b.say(`{"type":"message","room":"lobby","body":"two"}`)
	b.say(`{"type":"ping"}`)
	b.expectJSON(`{"type":"pong"}`)
	a = callHub(t, h)
	a.say(`{"type":"hello","resume":{"token":%q,"epoch":%q,"seq":0,"rooms":{"kitchen":{"epoch":%q,"seq":2},"lobby":{"epoch":%q,"seq":2},"cellar":{"epoch":"x","seq":1}}},"rooms":[]}`, token, e0, kitchen, lobby)
	a.expectJSON(`{"type":"welcome","room":"*","seq":0,"name":"ada","total":2,"outcome":"resumed"}`)
	got := map[string][]any{}
	for range 5 {
		m := a.said()
		room := fmt.Sprint(m["room"])
		got[room] = append(got[room], m["type"], m["outcome"], m["body"], m["code"])
	}
	require.Equal(t, map[string][]any{
		"kitchen": {"welcome", "resumed", nil, nil, "message", nil, "one", nil},
		"lobby":   {"welcome", "resumed", nil, nil, "message", nil, "two", nil},
		"cellar":  {"refused", nil, nil, "no-room"},
	}, got)
	b.expectJSON(`{"type":"leave","room":"attic","seq":3}`)
	require.Equal(t, 2, h.All().Len())
}
