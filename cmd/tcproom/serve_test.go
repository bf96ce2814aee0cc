//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// enter has somebody enter a hub, which says so, unlike a room without names.
func enter(t *testing.T, addr string) *peer {
	t.Helper()
	p := dial(t, addr)
	p.expect("/help lists the commands")
	return p
}

// meet has two members be in the lobby.
func meet(t *testing.T, addr string) (ada, bob *peer) {
	t.Helper()
	ada, bob = enter(t, addr), enter(t, addr)
	ada.expect(" joined")
	return ada, bob
}

// file writes a file of settings.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tcproom.yaml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// TestServeSignals: each signal that ends the server gives the members what was sent.
func TestServeSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p, addr := serving(t, "-rooms", "-log", "off")
			ada, bob := meet(t, addr)
			ada.say(strings.Repeat("x", 60_000))
			ada.say("the last")
			bob.expect("the last")
			p.signal(sig)
			ada.expect("* goodbye: room closed")
			bob.expect("* goodbye: room closed")
			ada.Close()
			bob.Close()
			require.Equal(t, "stopping ("+sig.String()+"), for at most 10s; a second signal ends at once", p.errLine())
			require.Equal(t, "stopped, members cut: 0", p.errLine())
			require.Zero(t, p.status())
		})
	}
}

// lagging starts a server that will wait for half a second, when it stops, for a member
// that has read nothing.
func lagging(t *testing.T) *process {
	t.Helper()
	p, addr := serving(t, "-rooms", "-log", "off", "-backlog", "67108864")
	ada, bob := meet(t, addr)
	dial(t, addr).say("silent") // and reads nothing
	bob.expect("silent")
	for range 300 {
		ada.say(strings.Repeat("x", 60_000))
	}
	ada.say("the last")
	bob.expect("the last")
	return p
}

func TestServeSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := lagging(t)
	p.signal(syscall.SIGTERM)
	p.signal(os.Interrupt)
	require.Equal(t, 1, p.status())
	require.NotContains(t, rest(t, p.err), "stopped")
}

// TestServeSecondHangup: a terminal that is closed sends SIGHUP twice, and members get
// their time all the same.
func TestServeSecondHangup(t *testing.T) {
	t.Parallel()
	p := lagging(t)
	p.signal(syscall.SIGHUP)
	p.expectErr("stopping (hangup)")
	p.cmd.Process.Signal(syscall.SIGHUP)
	require.Equal(t, "stopped, members cut: 1", p.errLine())
	require.Zero(t, p.status())
}

// TestServeUnderNohup: a signal that was ignored stays so.
func TestServeUnderNohup(t *testing.T) {
	t.Parallel()
	nohup, err := exec.LookPath("nohup")
	if err != nil {
		t.Skip("nohup is not installed")
	}
	cmd := program("serve", "-addr", "127.0.0.1:0", "-rooms", "-log", "off")
	cmd.Path, cmd.Args = nohup, append([]string{"nohup"}, cmd.Args...)
	p, addr := servingCmd(t, cmd)
	p.signal(syscall.SIGHUP)
	meet(t, addr)
	p.signal(syscall.SIGTERM)
	require.Contains(t, p.errLine(), "stopping (terminated)")
}

// TestServeBrokenPipe: a log that nobody reads ends the server in good order, not at
// once, as SIGPIPE does otherwise.
func TestServeBrokenPipe(t *testing.T) {
	t.Parallel()
	p, addr := serving(t, "-rooms")
	ada, bob := meet(t, addr)
	p.errPipe.Close()
	eve := dial(t, addr) // is logged
	ada.expect("* goodbye: room closed")
	bob.expect("* goodbye: room closed")
	for _, c := range []*peer{ada, bob, eve} {
		c.Close()
	}
	require.Zero(t, p.status())
}

// TestServeGonePeers: a peer that is gone raises SIGPIPE in the server too, which ends
// nothing.
func TestServeGonePeers(t *testing.T) {
	t.Parallel()
	p, addr := serving(t, "-rooms")
	ada, bob := meet(t, addr)
	for range 20 {
		gone := dial(t, addr)
		gone.say("gone soon")
		ada.expect("gone soon")
		require.NoError(t, gone.Conn.(*net.TCPConn).SetLinger(0)) // a reset
		gone.Close()
		bob.say("are you there?")
		ada.expect("are you there?")
	}
	p.signal(os.Interrupt)
	p.expectErr("stopping (interrupt)")
}

// TestServeByFile: a file describes listeners and rooms, and a flag wins over it.
func TestServeByFile(t *testing.T) {
	t.Parallel()
	name := file(t, `
addr: 127.0.0.1:1          # a flag wins
ask-name: true
http: 127.0.0.1:0
log: "off"
rooms:
  - name: hall
    history: 2
  - name: cellar
    hidden: true
    max-members: 1
listeners:
  - addr: 127.0.0.1:0
    codec: json
`)
	p, addr := serving(t, "-config", name, "-log", "json")
	programs, ok := strings.CutPrefix(p.errLine(), "listening on ")
	require.True(t, ok)
	url, ok := strings.CutPrefix(p.errLine(), "open ")
	require.True(t, ok)

	ada := dial(t, addr)
	require.Equal(t, "*: What is your name?", ada.line())
	ada.say("a b")
	require.Regexp(t, `^\*: invalid name: "a b": .*\. What is your name\?$`, ada.line())
	ada.say("ada")
	require.Equal(t, "* you are ada in hall", ada.line())
	require.Equal(t, "*: nobody else is here; /help lists the commands", ada.line())
	var record map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.expectErr(`"room":"hall"`)), &record))
	require.Equal(t, "hall", record["room"])
	ada.say("one")
	ada.say("two")
	ada.say("three")
	ada.say("/join attic")
	require.Equal(t, `* not done: no such room: "attic"`, ada.line())
	ada.say("/rooms")
	require.Equal(t, "* rooms: hall 1", ada.line(), "the cellar is hidden")
	ada.say("/join cellar")
	require.Equal(t, "* you are ada in cellar", ada.line())
	ada.line()

	bob := dial(t, programs)
	bob.say(`{"type":"hello","name":"bob"}`)
	require.Contains(t, bob.line(), `"type":"welcome"`)
	require.Contains(t, bob.line(), `"two"`, "the hall keeps two messages")
	require.Contains(t, bob.line(), `"three"`)
	eve := dial(t, addr)
	eve.say("ada")
	eve.line()
	require.Equal(t, `*: name is taken: "ada". What is your name?`, eve.line())
	eve.say("eve")
	eve.expect("/help")
	eve.say("/join cellar")
	require.Contains(t, eve.line(), "* not done: room is full")

	res, err := http.Get(url + "rooms/hall/messages")
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), "three")
}

// TestServeOnePort: nc and HTTP at one port.
func TestServeOnePort(t *testing.T) {
	t.Parallel()
	p, addr := serving(t, "-rooms", "-one-port")
	require.Equal(t, "open http://"+addr+"/", p.errLine())
	res, err := http.Get("http://" + addr + "/healthz")
	require.NoError(t, err)
	res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	meet(t, addr)
}

// TestServePrintedIsRead: what -print-config prints are the same settings.
func TestServePrintedIsRead(t *testing.T) {
	t.Parallel()
	printed := func(args ...string) string {
		p := start(t, append([]string{"serve", "-print-config"}, args...)...)
		out, errs := rest(t, p.out), rest(t, p.err)
		require.Zero(t, p.status(), errs)
		return out
	}
	for _, args := range [][]string{
		nil,
		{"-http", "localhost:8080", "-hosts", "a.example, b.example", "-grace", "1m", "-metrics", "localhost:9464"},
		{"-rooms", "-slow", "block", "-max-wait", "2s", "-log", "off"},
		{"-config", file(t, "rooms: [{name: a, slow: skip}, {name: b, history: 5}]\nlisteners: [{addr: ':0', codec: json}]\nhosts: [x]\none-port: true\n")},
	} {
		want := printed(args...)
		require.Equal(t, want, printed("-config", file(t, want)))
	}
}

func TestServeWrongSettings(t *testing.T) {
	for _, tt := range []struct {
		name, text, args string
		want             string // with FILE for the file's name
	}{
		{name: "unknown key", text: "addr: :0\nhystory: 5\n", want: `FILE:2:1: there is no setting "hystory"`},
		{name: "unknown key of a room", text: "rooms:\n  - name: a\n    codec: json\n", want: `FILE:3:5: there is no setting "codec"`},
		{name: "unknown key of a listener", text: "listeners:\n  - addr: :0\n    history: 1\n", want: `FILE:3:5: there is no setting "history"`},
		{name: "no key of a file", text: "config: other.yaml\n", want: `FILE:1:1: there is no setting "config"`},
		{name: "twice", text: "history: 1\nhistory: 2\n", want: "FILE:2:1: history is set twice, first at FILE:1:1"},
		{name: "bad number", text: "history: many\n", want: `FILE:1:10: history: "many": want a number from 0 to `},
		{name: "bad truth", text: "sessions: yes\n", want: `FILE:1:11: sessions: "yes": want true or false`},
		{name: "bad choice", text: "codec: xml\n", want: `FILE:1:8: codec: "xml": want one of json, raw, text`},
		{name: "no value", text: "addr:\n", want: "FILE:1:6: addr: there is no value"},
		{name: "a list", text: "addr: [a, b]\n", want: "FILE:1:7: addr: want one value"},
		{name: "no list", text: "listeners: :0\n", want: "FILE:1:12: want a list"},
		{name: "no room", text: "rooms: [lobby]\n", want: "FILE:1:9: want settings"},
		{name: "room without a name", text: "rooms:\n  - history: 1\n", want: "FILE:2:5: there is no name"},
		{name: "room twice", text: "rooms: [{name: a}, {name: a}]\n", want: `FILE:1:21: name: "a" is described twice`},
		{name: "bad room", text: "rooms: [{name: A}]\n", want: `FILE:1:10: name: tcproom: invalid name of a room: "A"`},
		{name: "not together", text: "codec: raw\nhistory: 5\n", want: "FILE:2:1: history: goes with codec text or json"},
		{name: "not together, by a flag", text: "codec: raw\n", args: "-history 5", want: "-history: goes with codec text or json"},
		{name: "not together, by a flag in place of the file", text: "history: 4\n", args: "-codec raw -history 5", want: "-history: goes with codec text or json"},
		{name: "no settings", text: "- addr\n", want: "FILE:1:1: want settings"},
		{name: "no YAML", text: "addr: [1\nb: 2", want: "FILE:2:2: did not find expected"},
		{name: "two documents", text: "addr: :0\n---\naddr: :1\n", want: "FILE:3:1: a second document"},
		{name: "merge", text: "x: &x {addr: a}\n<<: *x\n", want: `FILE:1:1: there is no setting "x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			name := file(t, tt.text)
			p := start(t, append([]string{"serve", "-config", name}, strings.Fields(tt.args)...)...)
			got := strings.ReplaceAll(rest(t, p.err), name, "FILE")
			require.Equal(t, 2, p.status(), got)
			require.Contains(t, got, "tcproom: serve: "+tt.want)
			require.Equal(t, 1, strings.Count(got, "\n"), "one line: %q", got)
		})
	}
}

func TestServeWrongFlags(t *testing.T) {
	for _, tt := range []struct{ name, args, want string }{
		{name: "unknown", args: "-port 9000", want: "flag provided but not defined: -port"},
		{name: "argument", args: "localhost:9000", want: `unexpected argument "localhost:9000"`},
		{name: "no file", args: "-config nosuch.yaml", want: "-config: open nosuch.yaml: no such file"},
		{name: "address", args: "-addr localhost", want: "-addr: address localhost: missing port in address"},
		{name: "page", args: "-http localhost", want: "-http: address localhost: missing port"},
		{name: "metrics", args: "-metrics localhost", want: "-metrics: address localhost: missing port"},
		{name: "names in json", args: "-codec json -ask-name", want: "-ask-name: goes with codec text only"},
		{name: "rooms in raw", args: "-codec raw -rooms", want: "-rooms: go with codec text or json"},
		{name: "sessions of text", args: "-sessions", want: "-sessions: goes with codec json, http or one-port only"},
		{name: "grace alone", args: "-grace 1s", want: "-grace: goes with sessions only"},
		{name: "no grace", args: "-codec json -sessions -grace 0s", want: "-grace: 0s is not positive"},
		{name: "skip in raw", args: "-codec raw -slow skip", want: "-slow: skip goes with codec text or json"},
		{name: "wait alone", args: "-max-wait 1s", want: "-max-wait: goes with slow block only"},
		{name: "no wait", args: "-slow block -max-wait 0s", want: "-max-wait: 0s is not positive"},
		{name: "hosts without page", args: "-hosts chat.example", want: "-hosts: goes with http or one-port only"},
		{name: "one port and two", args: "-one-port -http localhost:0", want: "-one-port: goes without http"},
		{name: "one port with TLS", args: "-one-port -tls-cert a -tls-key b", want: "-one-port: goes without TLS"},
		{name: "key alone", args: "-tls-key b", want: "-tls-key: tls-cert and tls-key go together"},
		{name: "no certificate", args: "-tls-cert nosuch.pem -tls-key b", want: "-tls-cert: open nosuch.pem: no such file"},
		{name: "rooms' number alone", args: "-max-rooms 5", want: "-max-rooms: goes with rooms only"},
		{name: "open rooms without others", args: "-rooms -open-rooms", want: "-open-rooms: goes with rooms that the file describes"},
		{name: "negative linger", args: "-rooms -room-linger -1s", want: "-room-linger: -1s is negative"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, append([]string{"serve"}, strings.Fields(tt.args)...)...)
			got := rest(t, p.err)
			require.Equal(t, 2, p.status(), got)
			require.Contains(t, got, "tcproom: serve: "+tt.want)
			require.Equal(t, 1, strings.Count(got, "\n"), "one line: %q", got)
		})
	}
}

func TestServePortInUse(t *testing.T) {
	t.Parallel()
	_, addr := serving(t)
	for _, args := range [][]string{{"-addr", addr}, {"-addr", "127.0.0.1:0", "-http", addr}} {
		p := start(t, append([]string{"serve"}, args...)...)
		require.Equal(t, "tcproom: serve: listen tcp "+addr+": bind: address already in use\n", rest(t, p.err))
		require.Equal(t, 1, p.status())
	}
}

// TestServeLogLevel: with "info" the log has what was not in order, and nothing else.
func TestServeLogLevel(t *testing.T) {
	t.Parallel()
	p, addr := serving(t, "-log-level", "info")
	ada := dial(t, addr)
	ada.say("hi")
	require.NoError(t, ada.Conn.(*net.TCPConn).CloseWrite())
	io.Copy(io.Discard, ada) // it has left
	web := dial(t, addr)
	web.say("GET / HTTP/1.1\r\n\r")
	require.Regexp(t, `level=INFO .* cause="tcproom: wrong door: HTTP at the chat port"$`, p.errLine())
}

// TestServeNetcat: two people with nc.
func TestServeNetcat(t *testing.T) {
	t.Parallel()
	nc, err := exec.LookPath("nc")
	if err != nil {
		t.Skip("nc is not installed")
	}
	_, addr := serving(t, "-rooms")
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	watch := enter(t, addr)
	cmd := exec.Command(nc, host, port)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	_, err = io.WriteString(in, "from nc\n")
	require.NoError(t, err)
	watch.expect(": from nc") // which has joined, then
	watch.say("from ada")
	br := bufio.NewReader(out)
	for !strings.HasSuffix(line(t, br), ": from ada") {
	}
}
