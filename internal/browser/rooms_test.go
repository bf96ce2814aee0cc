package browser

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
)

// serveHub serves a hub until the end of the test: the page at url, lines of text at addr.
func serveHub(t *testing.T, opts ...tcproom.HubOption) (hub *tcproom.Hub, url, addr string) {
	t.Helper()
	hub = tcproom.NewHub(append([]tcproom.HubOption{
		tcproom.WithHistory(tcproom.History{Messages: 1000}),
		tcproom.WithSessions(tcproom.Sessions{}),
	}, opts...)...)
	text, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	served.Go(func() { hub.Serve(text) })
	h := roomhttp.New(hub)
	t.Cleanup(func() {
		h.Close()
		hub.Close()
		served.Wait()
		select {
		case <-hub.Done():
		case <-time.After(patience):
			t.Error("the hub has not stopped")
		}
	})
	return hub, serveHTTP(t, h), text.Addr().String()
}

// tabs waits until the page has these tabs, the first of which is shown.
func (b *tab) tabs(want ...string) {
	b.t.Helper()
	b.until(`[...document.querySelectorAll('#tabs a')].map((a) => a.textContent).sort().join() === `+js(want[1:])+`.sort().join() &&
		document.querySelector('#tabs [aria-current]')?.textContent === %s`, want[0])
}

// TestRooms: two browsers in two rooms of a hub, by one connection each. A room is made
// by a link, what is unread is marked, and back leads to the room before.
func TestRooms(t *testing.T) {
	hub, url, addr := serveHub(t)
	ada, bob := profile(t), profile(t)
	n := dial(t, addr)
	n.expect("* you are guest-1 in lobby")
	ada.join(url, "ada")
	n.expect("* ada joined")
	ada.tabs("lobby", "lobby")
	bob.join(url, "bob")
	ada.notes("bob\u2069 joined")

	bob.do(chromedp.Navigate(url + "#kitchen")) // a link within the page
	bob.tabs("kitchen", "kitchen", "lobby")
	bob.until(`document.querySelector('#here').textContent === '1 here'`)
	_, made := hub.Lookup("kitchen")
	require.True(t, made)
	bob.say("anybody in the kitchen?")
	bob.hears("bob", "anybody in the kitchen?")
	n.say("only in the lobby")
	ada.hears("guest-1", "only in the lobby")
	bob.tabs("kitchen", "kitchen", "lobby (1)")
	bob.until(`document.title === '(1) Chat'`)
	bob.shows(line{"bob", "anybody in the kitchen?"})

	ada.until(`document.querySelector('#rooms option')`)
	ada.run(`document.querySelector('#room').focus()`)
	ada.until(`document.querySelector('#rooms option[value=kitchen]')?.label === 'kitchen (1)'`)
	ada.keys("kitchen", kb.Enter)
	ada.tabs("kitchen", "kitchen", "lobby")
	ada.hears("bob", "anybody in the kitchen?") // its history
	ada.until(`document.activeElement.id === 'text'`)
	ada.say("ada is")
	bob.hears("ada", "ada is")
	bob.lists("ada,bob")
	require.Equal(t, 3, hub.All().Len())

	bob.run(`history.back()`)
	bob.tabs("lobby", "lobby", "kitchen")
	bob.hears("guest-1", "only in the lobby")
	bob.until(`document.title === 'Chat'`)
	bob.shows(line{"guest-1", "only in the lobby"})
	bob.until(`document.querySelector('#here').textContent === '3 here'`)
	ada.say("where is bob?")
	bob.tabs("lobby", "lobby", "kitchen (1)")

	// To one alone, wherever that is.
	ada.run(`[...document.querySelectorAll('#members button')].find((e) => e.textContent === 'bob').click()`)
	ada.say("psst")
	ada.hears("ada (to bob only)", "psst")
	bob.hears("ada (to you only)", "psst")
	ada.say("to all again")
	bob.tabs("lobby", "lobby", "kitchen (2)")

	// A page that is loaded again is in the same rooms, as the same member.
	ada.do(chromedp.Reload())
	ada.joined("ada")
	ada.tabs("kitchen", "kitchen", "lobby")
	ada.hears("ada", "to all again")
	require.EqualValues(t, 1, hub.All().Stats().Resumed)
	n.say("while ada looks elsewhere")
	ada.tabs("kitchen", "kitchen", "lobby (1)")

	ada.press("Leave")
	ada.tabs("lobby", "lobby")
	ada.hears("guest-1", "while ada looks elsewhere")
	bob.run(`document.querySelector('#tabs a[href="#kitchen"]').click()`)
	bob.tabs("kitchen", "kitchen", "lobby")
	bob.notes("ada\u2069 left")
	bob.lists("bob")
	ada.until(`document.querySelector('#leave').hidden`) // one stays
}

// TestRoomRefused: a room that cannot be entered says why, and the others go on. Who is
// put out of one stays out until its tab is chosen again.
func TestRoomRefused(t *testing.T) {
	hub, url, _ := serveHub(t)
	ada := profile(t)
	ada.join(url, "ada")
	ada.do(chromedp.Navigate(url + "#No%20such%3Cb%3E"))
	ada.notes("Not done: ")
	ada.tabs("No such<b>", "No such<b>", "lobby")
	require.Zero(t, ada.count("#tabs b"))
	ada.say("nobody gets this")
	ada.until(`document.querySelector('#log').textContent.includes('This was not sent')`)
	ada.press("Leave")
	ada.tabs("lobby", "lobby")
	ada.say("still here")
	ada.hears("ada", "still here")

	lobby, _ := hub.Lookup("lobby")
	for m := range lobby.Members() {
		require.NoError(t, m.Kick("too loud"))
	}
	ada.notes("The end: ")
	ada.until(`document.querySelector('#here').textContent === '0 here'`)
	require.Equal(t, 1, hub.All().Len())
	ada.until(`document.querySelector('#state').textContent === 'You are ada'`)
	ada.run(`document.querySelector('#tabs a').click()`)
	ada.until(`document.querySelector('#here').textContent === '1 here'`)
	ada.say("back again")
	ada.hears("ada", "back again")
}

// TestRoomsLost: a connection that breaks is resumed in all of its rooms: nothing is lost
// or shown twice, and what its user wrote meanwhile is in its room once.
func TestRoomsLost(t *testing.T) {
	hub, url, addr := serveHub(t)
	p := through(t, url)
	ada := profile(t)
	lobby, kitchen := dial(t, addr), dial(t, addr)
	kitchen.say("/join kitchen")
	kitchen.expect("* you are guest-2 in kitchen")
	ada.join(p.url, "ada")
	ada.do(chromedp.Navigate(p.url + "#kitchen"))
	kitchen.expect("* ada joined")
	ada.say("before")
	kitchen.expect("ada: before")
	ada.hears("ada", "before")

	ada.offline(true)
	p.cut()
	ada.until(`document.querySelector('#state').textContent.startsWith('You are offline')`)
	for late := time.Now().Add(patience); hub.All().Stats().Detached != 1; time.Sleep(time.Millisecond) { // polls
		require.True(t, time.Now().Before(late))
	}
	kitchen.say("in the kitchen")
	lobby.say("in the lobby")
	ada.say("written offline")
	ada.run(`location.hash = 'attic'`) // entered as soon as that works
	ada.offline(false)
	ada.joined("ada")
	kitchen.expect("ada: written offline")
	ada.tabs("attic", "attic", "kitchen (1)", "lobby (1)")
	ada.until(`document.querySelector('#here').textContent === '1 here'`)
	ada.run(`history.back()`)
	ada.hears("ada", "written offline")
	ada.shows(line{"ada", "before"}, line{"guest-2", "in the kitchen"}, line{"ada", "written offline"})
	ada.run(`document.querySelector('#tabs a[href="#lobby"]').click()`)
	ada.hears("guest-1", "in the lobby")
	ada.shows(line{"guest-1", "in the lobby"})
	require.EqualValues(t, 1, hub.All().Stats().Resumed)
	require.EqualValues(t, 3, hub.All().Stats().Joined)
	ada.excuse(`^network: WebSocket connection to .* failed`)
}

// TestRoomsScreen: with many tabs, and long ones, nothing is outside of a small screen, and
// the messages have a part of it.
func TestRoomsScreen(t *testing.T) {
	hub, url, _ := serveHub(t)
	ada := profile(t)
	ada.join(url, "ada")
	for i := range 12 {
		name := strings.Repeat("long-name-", i%3+1) + string(rune('a'+i))
		ada.do(chromedp.Navigate(url + "#" + name))
		ada.until(`document.querySelector('#here').textContent === '1 here'`)
	}
	require.Equal(t, 13, hub.Stats().Rooms)
	for _, size := range [][2]int64{{320, 256}, {360, 640}, {1280, 800}} {
		ada.do(chromedp.EmulateViewport(size[0], size[1]))
		ada.evaluate(`new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(0))))`, new(int)) // it is laid out
		var outside []string
		ada.evaluate(`[...document.querySelectorAll('body, body *')].filter((e) => e.checkVisibility()).filter((e) => {
			const box = e.getBoundingClientRect()
			return box.left < -1 || box.right > innerWidth + 1
		}).map((e) => e.outerHTML.slice(0, 80))`, &outside)
		require.Empty(t, outside, "at %v", size)
		ada.until(`document.querySelector('#log').clientHeight > innerHeight / 5`)
		ada.run(`document.querySelector('#tabs a:last-child').click()`)
		ada.until(`document.querySelector('#tabs [aria-current]').getBoundingClientRect().top < document.querySelector('#tabs').getBoundingClientRect().bottom`)
		ada.until(`document.querySelector('#say').getBoundingClientRect().bottom <= innerHeight + 1`)
	}
}
