package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// patience bounds what a test waits for. It is long, because it only ends tests that
// have failed.
const patience = 2 * time.Minute

// chromium is the browser of all tests. It runs from the first test that wants it on.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}

// browser returns the context of Chromium. The test skips if that is not installed.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("TCPROOM_ALL_PEERS") != "" {
			t.Fatal("chromium is not installed, and TCPROOM_ALL_PEERS is set")
		}
		t.Skip("chromium is not installed")
	}
	chromium.once.Do(func() { startChromium(path) })
	require.NoError(t, chromium.err)
	return chromium.ctx
}

func startChromium(path string) {
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // root has none
		chromedp.Flag("headless", "new"),
		chromedp.Flag("hide-scrollbars", false),
		chromedp.WindowSize(1280, 800),
	)
	ctx, cancelAllocator := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(ctx)
	chromium.ctx, chromium.err = ctx, chromedp.Do(ctx)
	chromium.stop = func() {
		chromedp.Cancel(ctx)
		cancel()
		cancelAllocator()
	}
}

// A tab is a page that is open. What it complains of fails the test at its end.
type tab struct {
	expected *regexp.Regexp // complaints that are no fault; nil: none
	t        *testing.T
	ctx      context.Context

	mu         sync.Mutex // guards what follows
	complaints []string
	sockets    int // WebSockets that it has begun to open
}

// profile opens a tab with storage and cookies of its own.
func profile(t *testing.T) *tab {
	t.Helper()
	return newTab(t, browser(t), chromedp.WithNewBrowserContext())
}

// newTab attaches to a tab. parent is the context of the browser, or of another tab.
func newTab(t *testing.T, parent context.Context, opts ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, opts...)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Do(ctx)) // the tab lives as long as ctx, not as that of do
	require.NoError(t, chromedp.Listen(ctx, b.listen))
	b.do(
		command(network.Enable, network.EnableParams{}),
		command(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}),
		command(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watchPolicy}),
	)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", b.look())
		}
		for _, c := range b.heard() {
			if b.expected == nil || !b.expected.MatchString(c) {
				t.Errorf("the page complained of %s", c)
			}
		}
	})
	return b
}

// expect excuses the complaints that match, whenever they come.
func (b *tab) expect(pattern string) { b.expected = regexp.MustCompile(pattern) }

// watchPolicy tells the console of what the Content-Security-Policy forbids, also where
// the browser itself would not.
const watchPolicy = `addEventListener('securitypolicyviolation',
	(e) => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI + ' ' + e.sample))`

// listen notes what the browser tells of the tab.
func (b *tab) listen(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		switch ev.Type {
		case runtime.ConsoleAPICalledTypeError, runtime.ConsoleAPICalledTypeWarning, runtime.ConsoleAPICalledTypeAssert:
			for _, arg := range ev.Args {
				b.complaints = append(b.complaints, fmt.Sprintf("console: %s %s", arg.Value, arg.Description))
			}
		}
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if ev.ExceptionDetails.Exception != nil {
			text += " " + ev.ExceptionDetails.Exception.Description
		}
		b.complaints = append(b.complaints, "exception: "+text)
	case *cdplog.EventEntryAdded:
		if ev.Entry.Level == cdplog.EntryLevelError || ev.Entry.Level == cdplog.EntryLevelWarning {
			b.complaints = append(b.complaints, fmt.Sprintf("%s: %s %s", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL))
		}
	case *page.EventJavascriptDialogOpening:
		b.complaints = append(b.complaints, "dialog: "+ev.Message)
	case *network.EventWebSocketCreated:
		b.sockets++
	}
}

// heard returns what the page has complained of up to now, and forgets it.
func (b *tab) heard() []string {
	b.evaluate(`0`, new(int)) // what is told comes before the answer
	b.mu.Lock()
	defer b.mu.Unlock()
	complaints := b.complaints
	b.complaints = nil
	return complaints
}

// excuse forgets the complaints up to now that match; the others stay.
func (b *tab) excuse(pattern string) (excused int) {
	b.t.Helper()
	re := regexp.MustCompile(pattern)
	var rest []string
	for _, c := range b.heard() {
		if re.MatchString(c) {
			excused++
		} else {
			rest = append(rest, c)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(rest, b.complaints...)
	return excused
}

// dialled returns how many WebSockets the page has begun to open.
func (b *tab) dialled() int {
	b.evaluate(`0`, new(int))
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sockets
}

// command is an action that runs a command of the protocol.
func command[P, R any](cmd cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, cmd, params)
		return err
	})
}

// do runs actions one after the other.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, actions...))
}

// evaluate waits for what an expression is, or what its promise becomes.
func (b *tab) evaluate(expression string, value any) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, expression)
	require.NoError(b.t, json.Unmarshal(result, value), "%s is %s", expression, result)
}

// run is evaluate if the value does not matter.
func (b *tab) run(statements string) {
	b.t.Helper()
	b.evaluate(fmt.Sprintf(`(async () => { %s; return 0 })()`, statements), new(int))
}

// until waits until an expression about the document is true. For a %s in it stands the
// text as an expression.
func (b *tab) until(format string, texts ...string) {
	b.t.Helper()
	values := make([]any, len(texts))
	for i, text := range texts {
		values[i] = text
	}
	if !b.becomes(format, values...) {
		b.t.Fatalf("never: "+format, values...)
	}
}

// becomes waits until an expression about the document is true, and tells if it was in
// time. For a %s in it stands a value as an expression.
func (b *tab) becomes(format string, values ...any) (became bool) {
	b.t.Helper()
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = js(v)
	}
	condition := fmt.Sprintf(format, args...)
	b.evaluate(fmt.Sprintf(`new Promise((done) => {
		const look = () => {
			const is = Boolean(%s)
			if (!is && Date.now() < late) return
			clearInterval(timer)
			changes.disconnect()
			done(is)
		}
		const late = Date.now() + %d
		const changes = new MutationObserver(look)
		changes.observe(document, { subtree: true, childList: true, attributes: true, characterData: true })
		const timer = setInterval(look, 50) // not all that changes is in the document's tree
		look()
	})`, condition, (patience-5*time.Second).Milliseconds()), &became)
	return became
}

// js returns v as an expression of JavaScript.
func js(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// keys types, with whatever has the focus.
func (b *tab) keys(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		if k == kb.Enter {
			b.enter(0)
			continue
		}
		b.do(chromedp.KeyEvent(k))
	}
}

// enter types Enter as a keyboard does: with one event for the key and its character,
// which a page that takes the key does not get.
func (b *tab) enter(modifiers chromedp.Modifier) {
	b.t.Helper()
	event := input.DispatchKeyEventParams{Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, Modifiers: int64(modifiers)}
	down, up := event, event
	down.Type, down.Text = input.DispatchKeyEventTypeKeyDown, "\r"
	up.Type = input.DispatchKeyEventTypeKeyUp
	b.do(command(input.DispatchKeyEvent, down), command(input.DispatchKeyEvent, up))
}

// with types a key with a modifier.
func (b *tab) with(modifier chromedp.Modifier, key string) {
	b.t.Helper()
	if key == kb.Enter {
		b.enter(modifier)
		return
	}
	b.do(chromedp.KeyEvent(key, chromedp.KeyModifiers(modifier)))
}

// look returns what the page shows, for a test that has failed.
func (b *tab) look() string {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	if len(text) > 4000 {
		text = text[:2000] + "\n…\n" + text[len(text)-2000:]
	}
	return "the page shows:\n" + text
}

// What follows is about the page of roomhttp.

// join opens the page and answers its question.
func (b *tab) join(url, name string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
	b.until(`document.querySelector('#ask').open`)
	b.keys(name, kb.Enter)
	b.joined(name)
}

// joined waits until the page says that it is a member.
func (b *tab) joined(name string) {
	b.t.Helper()
	b.until(`document.querySelector('#state').textContent === %s`, "You are "+name)
}

// say types a message and sends it.
func (b *tab) say(text string) {
	b.t.Helper()
	b.do(chromedp.Focus(chromedp.CSS("#text")))
	b.keys(text, kb.Enter)
}

// A line is a message in the log.
type line struct{ Who, Text string }

const readLines = `[...document.querySelectorAll('#log > .said:not(.pending)')].map((e) =>
	({ Who: e.querySelector('.who').textContent, Text: e.querySelector('.text').textContent }))`

// lines returns the messages in the log that the room has.
func (b *tab) lines() (lines []line) {
	b.t.Helper()
	b.evaluate(readLines, &lines)
	return lines
}

// texts returns those messages without their senders.
func (b *tab) texts() []string {
	b.t.Helper()
	var texts []string
	for _, l := range b.lines() {
		texts = append(texts, l.Text)
	}
	return texts
}

// shows waits until the messages in the log that the room has are exactly want. A page
// learns the place of its own message at another moment than all others get it, so a test
// that only looks once may look too early.
func (b *tab) shows(want ...line) {
	b.t.Helper()
	if !b.becomes(`JSON.stringify(`+readLines+`) === JSON.stringify(%s)`, want) {
		require.Equal(b.t, want, b.lines())
	}
}

// lists waits until the page lists these names, which stand between commas.
func (b *tab) lists(names string) {
	b.t.Helper()
	b.until(`[...document.querySelectorAll('#members li')].map((e) => e.textContent).join(',') === %s`, names)
}

// hears waits until a message is in the log.
func (b *tab) hears(who, text string) {
	b.t.Helper()
	b.until(`(`+readLines+`).some((l) => l.Who === %s && l.Text === %s)`, who, text)
}

// notes waits until a line that is no message holds text.
func (b *tab) notes(text string) {
	b.t.Helper()
	b.until(`[...document.querySelectorAll('#log > .note')].some((e) => e.textContent.includes(%s))`, text)
}

// press clicks a button by its text.
func (b *tab) press(text string) {
	b.t.Helper()
	b.until(`[...document.querySelectorAll('button')].some((e) => e.textContent === %s && e.checkVisibility())`, text)
	b.run(fmt.Sprintf(`[...document.querySelectorAll('button')].find((e) => e.textContent === %s && e.checkVisibility()).click()`, js(text)))
}
