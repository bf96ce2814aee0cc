package browser

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
)

// loggedIn has a server know its users by a cookie. Cookies know hosts and not ports:
// pages of other ports send it too.
var loggedIn = roomhttp.WithAuth(func(r *http.Request) (tcproom.Identity, error) {
	if c, err := r.Cookie("user"); err == nil {
		return tcproom.Identity{Name: c.Value}, nil
	}
	return tcproom.Identity{}, roomhttp.ErrUnauthorized
})

// TestOtherOrigin: a page of another origin cannot join, post or read in the name of the
// user that opens it, by none of the ways that browsers have.
func TestOtherOrigin(t *testing.T) {
	s := serve(t, options{http: []roomhttp.Option{loggedIn}})
	other := origin(t)
	b := profile(t)
	b.do(chromedp.Navigate(s.url + "chat.css"))
	b.run(`document.cookie = 'user=ada; path=/; SameSite=Lax'`)
	n := dial(t, s.addr)

	attack := `
		const url = ` + js(s.url) + `
		const outcome = {}
		const ws = (path, protocols) => new Promise((done) => {
			const ws = new WebSocket(url.replace('http', 'ws') + path, protocols)
			ws.onmessage = ({ data }) => done(data)
			ws.onerror = () => done('refused')
			ws.onopen = () => { if (protocols === 'tcproom.json') ws.send('{"type":"hello"}'); ws.send('evil') }
		})
		const request = (options) => fetch(url + 'rooms/lobby/messages', { credentials: 'include', ...options })
			.then((r) => r.type === 'opaque' ? 'opaque' : r.text(), () => 'refused')
		outcome.json = await ws('ws', 'tcproom.json')
		outcome.text = await ws('rooms/lobby/ws', 'tcproom.text')
		outcome.plain = await ws('ws')
		outcome.post = await request({ method: 'POST', mode: 'no-cors', body: 'evil' })
		outcome.postJSON = await request({ method: 'POST', body: '{"body":"evil"}', headers: { 'Content-Type': 'application/json' } })
		outcome.read = await request({})
		outcome.readOpaque = await request({ mode: 'no-cors' })
		outcome.events = await new Promise((done) => {
			const events = new EventSource(url + 'rooms/lobby/events', { withCredentials: true })
			events.onopen = events.onmessage = () => done('opened')
			events.onerror = () => { events.close(); done('refused') }
		})
		outcome.image = await new Promise((done) => {
			const image = new Image()
			image.onload = image.onerror = () => done('no image')
			image.src = url + 'rooms/lobby/events'
		})
		const frame = document.createElement('iframe')
		frame.name = 'frame'
		document.body.append(frame)
		const form = document.body.appendChild(document.createElement('form'))
		Object.assign(form, { method: 'post', action: url + 'rooms/lobby/messages', enctype: 'text/plain', target: 'frame' })
		form.append(Object.assign(document.createElement('input'), { name: 'evil', value: 'evil' }))
		form.submit()
		return outcome`
	var outcome map[string]string
	b.do(chromedp.Navigate(other))
	b.evaluate(`(async () => {`+attack+`})()`, &outcome)
	require.Equal(t, map[string]string{
		"json": "refused", "text": "refused", "plain": "refused",
		"post": "opaque", "postJSON": "refused", "read": "refused", "readOpaque": "opaque",
		"events": "refused", "image": "no image",
	}, outcome)
	s.await(t, "the form is posted", func(tcproom.Stats) bool { return s.posts.Load() == 2 })
	require.EqualValues(t, 1, s.room.Stats().Joined, "members: nc alone")
	require.Zero(t, s.room.Stats().Messages)

	// The same requests do all of it from the room's own origin, so the cookie is right.
	b.do(chromedp.Navigate(s.url + "chat.css"))
	b.run(`await fetch('/rooms/lobby/messages', { method: 'POST', body: 'good' })`)
	require.Empty(t, n.expect("ada: good"))
	// Now that the other page is gone, all is told that was refused to it.
	b.excuse(`403|CORS policy|ERR_FAILED|ERR_BLOCKED|WebSocket connection|MIME|X-Frame|frame`)
}

// TestPageAtThePortOfTheRoom: a page of another origin that posts to the port of a room
// of lines of text says nothing there, and the browser's cookies are not told.
func TestPageAtThePortOfTheRoom(t *testing.T) {
	attack := func(t *testing.T, opts ...tcproom.ConnOption) (*server, *nc) {
		s := serve(t, options{text: opts})
		other := origin(t)
		n := dial(t, s.addr)
		b := profile(t)
		b.expect(`^network: Failed to load resource`)
		b.do(chromedp.Navigate(other))
		b.run(`document.cookie = 'secret=s3cr3t; path=/; SameSite=Lax'`)
		b.run(`fetch(` + js("http://"+s.addr+"/") + `, {
			method: 'POST', mode: 'no-cors', credentials: 'include', body: 'said by a web page\n/quit\n',
		}).catch(() => {})`)
		return s, n
	}
	t.Run("as it is", func(t *testing.T) {
		s, n := attack(t)
		s.await(t, "the browser was at the port", func(s tcproom.Stats) bool { return s.Refused > 0 || len(s.Left) > 0 })
		dial(t, s.addr).say("the end")
		for _, line := range n.expect("guest-3: the end") {
			require.NotContains(t, line, ":")
		}
		require.EqualValues(t, 1, s.room.Stats().Messages)
	})
	t.Run("switched off", func(t *testing.T) { // or the attack may do nothing
		_, n := attack(t, tcproom.WithHTTPRefused(false))
		require.Contains(t, n.expect("guest-2: said by a web page"), "guest-2: Cookie: secret=s3cr3t")
	})
}
