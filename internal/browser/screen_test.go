package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// TestScreens: on a telephone, on a desk and zoomed to 400 %, with much and with nothing
// to show, nothing is cut off at the side, and where one writes can be seen. With
// TCPROOM_SCREENS it leaves pictures in that directory.
func TestScreens(t *testing.T) {
	s := serve(t, options{})
	b := profile(t)
	sizes := []struct{ width, height int64 }{{320, 256}, {360, 640}, {1280, 800}}
	look := func(what string) {
		t.Helper()
		for _, size := range sizes {
			b.do(chromedp.EmulateViewport(size.width, size.height))
			for _, scheme := range []string{"light", "dark"} {
				b.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				}))
				b.evaluate(`new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(0))))`, new(int)) // it is laid out
				if dir := os.Getenv("TCPROOM_SCREENS"); dir != "" {
					picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
					require.NoError(t, err)
					name := fmt.Sprintf("%s-%d-%s.png", what, size.width, scheme)
					require.NoError(t, os.WriteFile(filepath.Join(dir, name), picture, 0o644))
				}
			}
			var outside []string
			b.evaluate(`[...document.querySelectorAll('body, body *')].filter((e) => e.checkVisibility()).filter((e) => {
				const box = e.getBoundingClientRect()
				return box.left < -1 || box.right > innerWidth + 1 || e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible'
			}).map((e) => e.outerHTML.slice(0, 80))`, &outside)
			require.Empty(t, outside, "%s at %d", what, size.width)
			b.until(`['#text', '#say button', '#again'].every((id) => {
				const box = document.querySelector(id).getBoundingClientRect()
				return box.top >= 0 && box.bottom <= innerHeight && box.height >= 24
			})`)
			b.until(`[...document.querySelectorAll('button')].every((e) => e.textContent || !e.checkVisibility())`)
		}
	}
	b.do(chromedp.Navigate(s.url))
	b.until(`document.querySelector('#ask').open`)
	look("ask")
	b.keys("ada", "\r")
	b.joined("ada")
	look("empty")

	long := strings.Repeat("long", 8)
	for _, name := range []string{"bob", "grace", long, "Дмитрий"} {
		_, err := s.room.Join(t.Context(), tcproom.Identity{Name: name})
		require.NoError(t, err)
		for _, text := range []string{
			"Good morning!", "A longer message, as people write them if they have something to say: it does not fit into one line of a telephone.",
			"https://example.test/" + strings.Repeat("path/", 40), "two\nlines", "שלום עולם", strings.Repeat("w", 300),
		} {
			_, err := s.member(t, name).Post(t.Context(), []byte(text))
			require.NoError(t, err)
		}
	}
	b.hears("Дмитрий", strings.Repeat("w", 300))
	b.say("And this is mine.")
	b.hears("ada", "And this is mine.")
	look("busy")
	b.offline(true)
	b.until(`document.querySelector('#state').textContent.startsWith('You are offline')`)
	b.say("written offline")
	look("offline")
	b.offline(false)
	b.joined("ada")
	b.hears("ada", "written offline")
	require.NoError(t, s.member(t, "ada").Kick("You have been away for long enough, and "+long+long))
	b.until(`document.querySelector('#state').textContent.startsWith('The end: ')`)
	look("kicked")
	b.excuse(`^network: WebSocket connection to .* failed`)
}
