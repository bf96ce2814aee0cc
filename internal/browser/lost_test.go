package browser

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// offline takes a tab's network away, or gives it back.
func (b *tab) offline(is bool) {
	b.t.Helper()
	b.do(
		command(network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{{Offline: is, DownloadThroughput: -1, UploadThroughput: -1}},
		}),
		command(network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: is, DownloadThroughput: -1, UploadThroughput: -1}),
	)
}

// TestOffline: a browser that has no network for five seconds is the same member
// afterwards. Nothing that was said meanwhile is lost or shown twice, and what its user
// wrote is in the room once.
func TestOffline(t *testing.T) {
	s := serve(t, options{})
	ada := profile(t)
	n := dial(t, s.addr)
	ada.join(s.url, "ada")
	n.expect("* ada joined")
	ada.say("mine before")
	ada.hears("ada", "mine before")
	n.expect("ada: mine before")
	n.say("before") // last: what a member itself said is not sent again
	ada.hears("guest-1", "before")

	ada.offline(true)
	ada.until(`document.querySelector('#state').textContent.startsWith('You are offline')`)
	s.await(t, "the member is detached", func(s tcproom.Stats) bool { return s.Detached == 1 })
	ada.say("mine meanwhile")
	want := []string{"mine before", "before"}
	tick := time.NewTicker(100 * time.Millisecond) // what is said is spread over the five seconds
	defer tick.Stop()
	for i := range 50 {
		<-tick.C
		want = append(want, fmt.Sprintf("message %d", i))
		n.say("message %d", i)
	}
	s.await(t, "all is said", func(s tcproom.Stats) bool { return s.Messages == 52 })
	require.Equal(t, 1, s.room.Stats().Detached)
	require.Equal(t, want[:2], ada.texts())
	require.Equal(t, 1, ada.count("#log > .pending"))
	require.Greater(t, ada.dialled(), 1, "the page tries again")
	ada.until(`document.querySelector('#state').textContent.startsWith('You are offline')`)

	ada.offline(false)
	ada.joined("ada")
	ada.hears("ada", "mine meanwhile")
	n.say("after")
	ada.hears("guest-1", "after")
	require.Equal(t, append(want, "mine meanwhile", "after"), ada.texts())
	require.Empty(t, n.expect("ada: mine meanwhile"), "joins and leaves of what is one member")
	require.EqualValues(t, 1, s.room.Stats().Resumed)
	require.EqualValues(t, 54, s.room.Stats().Messages)
	require.Positive(t, ada.excuse(`^network: WebSocket connection to .* failed`))
}

// exampleServer builds examples/server.
func exampleServer(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "server")
	build := exec.Command("go", "build", "-o", path, "./examples/server")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// freeAddr returns an address that nobody has at the moment, and that no outgoing connection,
// and no test of another module, gets while a server is away.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 5000+rand.IntN(5000)))
		if err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// start runs a server until the test ends or kill is called, and returns when it serves
// its page.
func start(t *testing.T, path string, args ...string) (kill func()) {
	t.Helper()
	cmd := exec.Command(path, append(args, "-log", "off")...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(kill)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "open ") {
			return kill
		}
	}
	t.Fatal("the server does not start")
	return nil
}

// TestServerKilled: a page whose server is killed says so and tries again. When another
// server is there it joins anew, says that messages may be missing, and sends what was
// written meanwhile.
func TestServerKilled(t *testing.T) {
	browser(t) // or skip before anything is built
	path, addr, http := exampleServer(t), freeAddr(t), freeAddr(t)
	args := []string{"-addr", addr, "-http", http, "-sessions", "-history", "50"}
	kill := start(t, path, args...)
	ada, bob := profile(t), profile(t)
	for _, b := range []*tab{ada, bob} { // the browser may tell of it late, or never have to
		b.expect(`^network: WebSocket connection to .* failed: .*net::ERR_CONNECTION_REFUSED`)
	}
	ada.join("http://"+http+"/", "ada")
	bob.join("http://"+http+"/", "bob")
	ada.say("before")
	bob.hears("ada", "before")
	ada.hears("ada", "before")

	kill()
	for _, b := range []*tab{ada, bob} {
		b.until(`document.querySelector('#state').textContent === 'Connection lost. Trying again\u00a0…'`)
		b.notes("Connection lost")
	}
	ada.say("meanwhile")
	ada.until(`document.querySelectorAll('#log > .pending').length === 1`)
	start(t, path, args...)
	n := dial(t, addr)
	for _, b := range []*tab{ada, bob} {
		b.until(`(() => { // the page may be quicker than the button
			const again = document.querySelector('#again')
			if (again.textContent === 'Try now') again.click()
			return document.querySelector('#state').textContent.startsWith('You are ')
		})()`)
		b.notes("Joined anew: messages may be missing")
	}
	bob.hears("ada", "meanwhile")
	bob.say("after")
	ada.hears("bob", "after")
	n.say("end")
	ada.hears("guest-1", "end")
	bob.hears("guest-1", "end")
	n.expect("bob: after")
	want := []line{{"ada", "before"}, {"ada", "meanwhile"}, {"bob", "after"}, {"guest-1", "end"}}
	ada.shows(want...)
	bob.shows(want...)
}

// TestEventSource: a browser that reads events comes back by itself when its connection
// is cut, and receives each message once.
func TestEventSource(t *testing.T) {
	s := serve(t, options{})
	p := through(t, s.url)
	b := profile(t)
	b.do(chromedp.Navigate(p.url + "chat.css"))
	b.run(`
		window.read = []
		window.opened = 0
		window.source = new EventSource('/rooms/lobby/events?name=reader')
		source.onopen = () => opened++
		source.onmessage = ({ data, lastEventId }) => {
			const e = JSON.parse(data)
			if (e.type === 'message' || e.type === 'gap') read.push(e.body ?? e.type)
		}`)
	b.until(`opened === 1`)
	n := dial(t, s.addr)
	var want []string
	say := func(text string) {
		want = append(want, text)
		n.say("%s", text)
	}
	say("before")
	b.until(`read.length === 1`)
	for i := range 2 {
		p.cut()
		say(fmt.Sprintf("meanwhile %d", i))
		say(fmt.Sprintf("and %d", i))
		b.until(fmt.Sprintf("opened === %d", i+2) + ` && read.at(-1) === ` + js(want[len(want)-1]))
	}
	say("after")
	b.until(`read.at(-1) === 'after'`)
	var read []string
	b.evaluate(`read`, &read)
	require.Equal(t, want, read)
	b.run(`source.close()`)
	s.await(t, "the reader has left", func(s tcproom.Stats) bool { return s.Members == 1 })
}
