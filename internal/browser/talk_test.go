package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomhttp"
)

// TestTalk: two browsers and a member by TCP receive each other's messages, in one
// order, and see who is there.
func TestTalk(t *testing.T) {
	s := serve(t, options{})
	ada, bob := profile(t), profile(t)
	n := dial(t, s.addr)
	ada.join(s.url, "ada")
	n.expect("* ada joined")
	bob.join(s.url, "bob")
	ada.notes("bob\u2069 joined")

	n.say("hi from nc")
	ada.hears("guest-1", "hi from nc")
	bob.hears("guest-1", "hi from nc")
	ada.say("hi from ada")
	n.expect("ada: hi from ada")
	bob.hears("ada", "hi from ada")
	bob.say("hi from bob")
	n.expect("bob: hi from bob")
	ada.hears("bob", "hi from bob")

	want := []line{{"guest-1", "hi from nc"}, {"ada", "hi from ada"}, {"bob", "hi from bob"}}
	ada.shows(want...)
	bob.shows(want...)
	for _, b := range []*tab{ada, bob} {
		b.until(`document.querySelector('#here').textContent === '3 here'`)
		b.lists("ada,bob,guest-1")
	}
	n.conn.Close()
	ada.notes("guest-1\u2069 left")
	ada.until(`document.querySelector('#here').textContent === '2 here'`)
}

// TestReload: a page that is loaded again is the same member, and shows what was said
// before, in between and after, each once.
func TestReload(t *testing.T) {
	s := serve(t, options{})
	ada := profile(t)
	n := dial(t, s.addr)
	ada.join(s.url, "ada")
	id := s.member(t, "ada").ID()
	n.expect("* ada joined")
	ada.say("before")
	n.expect("ada: before")
	ada.hears("ada", "before")

	ada.do(chromedp.Navigate("about:blank"))
	s.await(t, "the member is detached", func(s tcproom.Stats) bool { return s.Detached == 1 })
	n.say("in between")
	ada.do(chromedp.Navigate(s.url))
	ada.joined("ada")
	ada.hears("guest-1", "in between")
	ada.do(chromedp.Reload())
	ada.joined("ada")
	ada.say("after")
	require.Empty(t, n.expect("ada: after"), "joins and leaves of what is one member")
	ada.hears("ada", "after")
	ada.shows(line{"ada", "before"}, line{"guest-1", "in between"}, line{"ada", "after"})
	require.Equal(t, id, s.member(t, "ada").ID())
	require.EqualValues(t, 2, s.room.Stats().Resumed)
	ada.lists("ada,guest-1")
}

// TestDuplicatedTab: a copy of a tab, which begins with a copy of its storage, is a
// member of its own.
func TestDuplicatedTab(t *testing.T) {
	s := serve(t, options{})
	ada := profile(t)
	ada.join(s.url, "ada")
	id := s.member(t, "ada").ID()
	ids := chromedp.WaitNewTarget(ada.ctx, func(i *target.Info) bool { return i.URL != "" })
	ada.run(`window.open(location.href)`)
	other := newTab(t, ada.ctx, chromedp.WithTargetID(<-ids))
	other.until(`document.querySelector('#state')?.textContent.startsWith('You are ')`)
	require.Equal(t, 2, s.room.Len())
	require.Zero(t, s.room.Stats().Resumed)

	ada.say("from the first")
	other.hears("ada", "from the first")
	other.say("from the second")
	var name string
	other.evaluate(`document.querySelector('#state').textContent`, &name)
	want := []line{{"ada", "from the first"}, {strings.TrimPrefix(name, "You are "), "from the second"}}
	ada.shows(want...)
	other.shows(want...)
	for _, b := range []*tab{ada, other} {
		b.do(chromedp.Reload()) // each keeps its own
		b.until(`document.querySelector('#state').textContent.startsWith('You are ')`)
	}
	require.Equal(t, 2, s.room.Len())
	require.EqualValues(t, 2, s.room.Stats().Resumed)
	_, ok := s.room.Member(id)
	require.True(t, ok)
}

// TestSameTokenTwice: if two browsers have the same session, the later one has the
// member, and the other says so and does not fight for it.
func TestSameTokenTwice(t *testing.T) {
	s := serve(t, options{})
	ada, thief := profile(t), profile(t)
	ada.join(s.url, "ada")
	ada.do(chromedp.Reload()) // stores it
	ada.joined("ada")
	var storage map[string]string
	ada.evaluate(`({ ...sessionStorage })`, &storage)
	require.NotEmpty(t, storage)

	thief.do(chromedp.Navigate(s.url + "chat.css")) // the origin, without its script
	thief.run(`Object.assign(sessionStorage, ` + js(storage) + `); localStorage.setItem('tcproom name', '"ada"')`)
	thief.do(chromedp.Navigate(s.url))
	thief.joined("ada")
	ada.until(`document.querySelector('#state').textContent.startsWith('The end: ')`)
	ada.staysOut()
	require.Equal(t, 1, s.room.Len())
	thief.say("it is me")
	thief.hears("ada", "it is me")
	require.Empty(t, ada.lines())
}

// staysOut tells a page whose member has ended that it is online, which is when pages
// dial at once, and requires that it does not.
func (b *tab) staysOut() {
	b.t.Helper()
	before := b.dialled()
	b.run(`dispatchEvent(new Event('online'))`)
	require.Equal(b.t, before, b.dialled(), "the page dials")
}

// TestKicked: a page whose member was kicked says why, does not come back by itself, and
// does if its user wants to.
func TestKicked(t *testing.T) {
	s := serve(t, options{})
	ada, bob := profile(t), profile(t)
	ada.join(s.url, "ada")
	bob.join(s.url, "bob")
	require.NoError(t, s.member(t, "ada").Kick("too loud"))
	ada.until(`document.querySelector('#state').textContent === 'The end: too loud'`)
	ada.until(`document.querySelector('#people').textContent === '0 here' && document.querySelector('#members').children.length === 0`)
	bob.notes("ada\u2069 left")
	ada.staysOut()
	bob.say("is ada here?")
	bob.hears("bob", "is ada here?")
	require.Equal(t, 1, s.room.Len())
	require.Empty(t, ada.lines())
	ada.press("Join again")
	ada.joined("ada")
	ada.hears("bob", "is ada here?")
	require.EqualValues(t, 3, s.room.Stats().Joined)
}

// TestNameOfTheServer: a user whose name the server gives is asked for none, and offered
// no other.
func TestNameOfTheServer(t *testing.T) {
	s := serve(t, options{http: []roomhttp.Option{loggedIn}})
	b := profile(t)
	b.do(chromedp.Navigate(s.url + "chat.css"))
	b.run(`document.cookie = 'user=ada; path=/; SameSite=Lax'`)
	b.do(chromedp.Navigate(s.url))
	b.until(`document.querySelector('#state').textContent === 'You are ada'`)
	b.until(`document.querySelector('#again').hidden && !document.querySelector('#ask').open`)
}

// TestTenThousand: a page keeps up with a rush, shows the end of it in order, and can be
// used; its module receives all of it.
func TestTenThousand(t *testing.T) {
	const all, kept = 10_000, 2000
	s := serve(t, options{room: []tcproom.RoomOption{tcproom.WithBacklog(16 << 20)}}) // a slow machine is no slow member
	ada := profile(t)
	n := dial(t, s.addr)
	ada.join(s.url, "ada")
	n.expect("* ada joined")
	ada.run(`
		const { Room } = await import('./chat.js')
		window.counted = 0
		window.wrong = 0
		const room = new Room('ws', { name: 'counter', storage: null })
		room.addEventListener('message', ({ detail }) => detail.body === 'message ' + counted ? counted++ : wrong++)
		const welcome = new Promise((done) => room.addEventListener('welcome', done))
		await room.connect()
		await welcome`)
	var b strings.Builder
	for i := range all {
		fmt.Fprintf(&b, "message %d\n", i)
	}
	n.say("%s", strings.TrimSuffix(b.String(), "\n"))
	ada.until(`document.querySelector('#log').lastElementChild?.textContent?.endsWith('message 9999')`)
	ada.until(`counted === 10_000`)
	ada.until(`wrong === 0`)

	texts := ada.texts()
	require.Len(t, texts, kept-ada.count("#log > .note"))
	for i, text := range texts {
		require.Equal(t, fmt.Sprintf("message %d", all-len(texts)+i), text)
	}
	ada.say("still here")
	n.expect("ada: still here")
	ada.hears("ada", "still here")
}

// count returns how many elements match.
func (b *tab) count(selector string) (n int) {
	b.t.Helper()
	b.evaluate(`document.querySelectorAll(`+js(selector)+`).length`, &n)
	return n
}

// TestKeyboard: everything can be done without a mouse, and the focus is where it is
// expected.
func TestKeyboard(t *testing.T) {
	s := serve(t, options{})
	b := profile(t)
	focus := func(id string) {
		t.Helper()
		b.until(`document.activeElement.id === %s`, id)
	}
	n := dial(t, s.addr)
	b.do(chromedp.EmulateViewport(360, 640), chromedp.Navigate(s.url))
	focus("name")
	b.keys("no spaces, please", kb.Enter) // refused by the room
	b.until(`document.querySelector('#ask').open && document.querySelector('#why').textContent !== ''`)
	focus("name")
	b.with(chromedp.ModifierCtrl, "a")
	b.keys("ada", kb.Enter)
	b.joined("ada")
	focus("text")
	b.keys("two")
	b.with(chromedp.ModifierShift, kb.Enter)
	b.keys("lines", kb.Enter)
	b.hears("ada", "two\nlines")
	focus("text")
	b.until(`document.querySelector('#text').value === ''`)

	b.with(chromedp.ModifierShift, kb.Tab)
	focus("log")
	for i := range 40 {
		n.say("message %d", i)
	}
	b.hears("guest-1", "message 39")
	b.until(`document.querySelector('#log').scrollTop > 300`)
	b.keys(kb.Home)
	b.until(`document.querySelector('#log').scrollTop === 0`)
	n.say("news")
	b.until(`document.querySelector('#news').checkVisibility()`)
	b.until(`document.querySelector('#log').scrollTop === 0`) // what is read stays where it is
	b.keys(kb.Tab)
	focus("news")
	b.keys(kb.Enter)
	focus("text")
	b.until(`!document.querySelector('#news').checkVisibility()`)

	b.with(chromedp.ModifierShift, kb.Tab)
	b.with(chromedp.ModifierShift, kb.Tab)
	focus("people")
	b.keys(kb.Enter)
	b.until(`document.querySelector('#people').ariaExpanded === 'true' && document.querySelector('#members').checkVisibility()`)
	b.keys(kb.Enter)
	b.until(`document.querySelector('#people').ariaExpanded === 'false' && !document.querySelector('#members').checkVisibility()`)
	b.with(chromedp.ModifierShift, kb.Tab)
	focus("again")
	b.keys(kb.Enter)
	focus("name")
	b.keys(kb.Escape)
	focus("again")
	b.keys(kb.Enter)
	focus("name")
	b.keys("lovelace", kb.Enter) // what was there is marked, and replaced
	b.joined("lovelace")
	focus("text")
}

// TestForeignText: what peers send as names, bodies and reasons is shown as it is and
// never taken as markup.
func TestForeignText(t *testing.T) {
	s := serve(t, options{room: []tcproom.RoomOption{
		tcproom.WithNameValidator(func(string) error { return nil }),
		tcproom.OnJoin(func(m *tcproom.Member) error {
			if m.Name() == "refused" {
				return &tcproom.RefusedError{Text: `<img src=x onerror="alert(9)">`, Final: true}
			}
			return nil
		}),
	}})
	ada := profile(t)
	ada.join(s.url, "ada")
	const name = `<img/src=x/onerror=alert(1)>`
	bodies := []string{
		`<script>alert(2)</script>`,
		`<img src=x onerror=alert(3)>`,
		`"><svg onload=alert(4)>`,
		`&lt;b&gt; &amp; \u003cb\u003e`,
		`javascript:alert(5)`,
		`https://example.test/"onmouseover="alert(6)`,
		`https://example.test/<script>alert(7)</script>`,
		"\u202ebackwards\x00\x1b[31m",
		`{{7*7}} ${7*7} </textarea></title>`,
	}
	conn, err := s.room.Join(t.Context(), tcproom.Identity{Name: name})
	require.NoError(t, err)
	for _, body := range bodies {
		require.NoError(t, conn.Send(t.Context(), []byte(body)))
	}
	ada.hears(name, bodies[len(bodies)-1])
	require.Equal(t, bodies, ada.texts())
	ada.lists(name + ",ada")
	var links []string
	ada.evaluate(`[...document.querySelectorAll('#log a')].map((a) => a.href + ' ' + a.rel + ' ' + a.target)`, &links)
	require.Equal(t, []string{`https://example.test/ noopener noreferrer _blank`, `https://example.test/ noopener noreferrer _blank`}, links)

	require.NoError(t, s.member(t, name).Kick("bye"))
	ada.notes(name + "\u2069 left")
	require.NoError(t, s.member(t, "ada").Kick(`<b onclick="alert(8)">out</b>`))
	ada.until(`document.querySelector('#state').textContent === %s`, `The end: <b onclick="alert(8)">out</b>`)

	refused := profile(t)
	refused.do(chromedp.Navigate(s.url))
	refused.until(`document.querySelector('#ask').open`)
	refused.keys("refused", kb.Enter)
	refused.until(`document.querySelector('#state').textContent.includes(%s)`, `<img src=x onerror="alert(9)">`)
	for _, b := range []*tab{ada, refused} {
		require.Zero(t, b.count("body img, body svg, body b, #log script, #state > *, [onerror], [onload], [onclick], [onmouseover]"))
	}
}
