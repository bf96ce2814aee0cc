package roomhttp

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// pageOf serves fsys as a Handler's routes do.
func pageOf(fsys fs.FS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !servePage(w, r, fsys) {
			http.NotFound(w, r)
		}
	})
}

// ask returns the answer of h, with the body read.
func ask(t *testing.T, h http.Handler, method, target string, header http.Header) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for key, values := range header {
		r.Header[key] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	return w.Result(), string(body)
}

func TestPageFiles(t *testing.T) {
	tests := []struct {
		name, path, file, contentType string
	}{
		{name: "the page", path: "/", file: "index.html", contentType: "text/html; charset=utf-8"},
		{name: "the page by its name", path: "/index.html", file: "index.html", contentType: "text/html; charset=utf-8"},
		{name: "module", path: "/chat.js", file: "chat.js", contentType: "text/javascript; charset=utf-8"},
		{name: "style", path: "/chat.css", file: "chat.css", contentType: "text/css; charset=utf-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, err := os.ReadFile("page/" + tt.file)
			require.NoError(t, err)
			for _, method := range []string{"GET", "HEAD"} {
				resp, body := ask(t, pageOf(defaultPage()), method, tt.path, nil)
				require.Equal(t, 200, resp.StatusCode)
				require.Equal(t, tt.contentType, resp.Header.Get("Content-Type"))
				require.EqualValues(t, len(want), resp.ContentLength)
				if method == "GET" {
					require.Equal(t, string(want), body)
				} else {
					require.Empty(t, body)
				}
			}
		})
	}
}

// TestPageSecurityHeaders: each answer with a file, and each 304, has them all.
func TestPageSecurityHeaders(t *testing.T) {
	want := map[string]string{
		"Cache-Control": "no-cache",
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; " +
			"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Referrer-Policy":            "no-referrer",
		"X-Content-Type-Options":     "nosniff",
	}
	for _, target := range []string{"/", "/chat.js", "/chat.css"} {
		resp, _ := ask(t, pageOf(defaultPage()), "GET", target, nil)
		unchanged, _ := ask(t, pageOf(defaultPage()), "GET", target, http.Header{"If-None-Match": {resp.Header.Get("ETag")}})
		require.Equal(t, 304, unchanged.StatusCode)
		for key, value := range want {
			require.Equal(t, value, resp.Header.Get(key), target)
			require.Equal(t, value, unchanged.Header.Get(key), target)
		}
	}
}

func TestPageETag(t *testing.T) {
	h := pageOf(defaultPage())
	resp, _ := ask(t, h, "GET", "/chat.js", nil)
	tag := resp.Header.Get("ETag")
	require.Regexp(t, `^"[0-9a-f]{32}"$`, tag) // strong: no W/
	other, _ := ask(t, h, "GET", "/chat.css", nil)
	require.NotEqual(t, tag, other.Header.Get("ETag"))

	tests := []struct {
		name, match string
		want        int
	}{
		{name: "the same", match: tag, want: 304},
		{name: "one of several", match: `"x", ` + tag, want: 304},
		{name: "made weak on the way", match: "W/" + tag, want: 304},
		{name: "any", match: "*", want: 304},
		{name: "another", match: `"x"`, want: 200},
		{name: "that of another file", match: other.Header.Get("ETag"), want: 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				resp, body := ask(t, h, method, "/chat.js", http.Header{"If-None-Match": {tt.match}})
				require.Equal(t, tt.want, resp.StatusCode)
				require.Equal(t, tag, resp.Header.Get("ETag"))
				if tt.want == 304 {
					require.Empty(t, body)
				}
			}
		})
	}
}

// TestPageOfAnotherFS: a page of the user's own, with files that the embedded one does
// not have, and which may change.
func TestPageOfAnotherFS(t *testing.T) {
	fsys := fstest.MapFS{
		"index.html":   {Data: []byte("mine")},
		"sub/logo.svg": {Data: []byte("<svg/>")},
		"data.xyz123":  {Data: []byte("<html>")},
	}
	h := pageOf(fsys)
	resp, body := ask(t, h, "GET", "/", nil)
	require.Equal(t, "mine", body)
	tag := resp.Header.Get("ETag")
	fsys["index.html"] = &fstest.MapFile{Data: []byte("new")}
	resp, body = ask(t, h, "GET", "/", http.Header{"If-None-Match": {tag}})
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "new", body)

	resp, _ = ask(t, h, "GET", "/sub/logo.svg", nil)
	require.Equal(t, "image/svg+xml", resp.Header.Get("Content-Type"))
	resp, _ = ask(t, h, "GET", "/data.xyz123", nil)
	require.Equal(t, "application/octet-stream", resp.Header.Get("Content-Type"))
	for _, target := range []string{"/chat.js", "/sub", "/sub/", "/../page.go", "//index.html", "/%2e%2e/page.go"} {
		resp, _ := ask(t, h, "GET", target, nil)
		require.Equal(t, 404, resp.StatusCode, target)
		require.Empty(t, resp.Header.Get("ETag"), target)
		require.Empty(t, resp.Header.Get("Content-Security-Policy"), target)
	}
	resp, _ = ask(t, pageOf(nil), "GET", "/", nil)
	require.Equal(t, 404, resp.StatusCode)
}

// TestPageAsksForNoName: if the server says who somebody is, the page need not ask.
func TestPageAsksForNoName(t *testing.T) {
	rooms := One("lobby", tcproom.New())
	who := WithAuth(func(*http.Request) (tcproom.Identity, error) { return tcproom.Identity{Name: "ada"}, nil })
	resp, asking := ask(t, New(rooms), "GET", "/", nil)
	require.Contains(t, asking, `<body data-tcproom="ws">`)
	named, body := ask(t, New(rooms, who), "GET", "/", nil)
	require.Contains(t, body, `<body data-named=1 data-tcproom="ws">`)
	require.NotEqual(t, resp.Header.Get("ETag"), named.Header.Get("ETag"))
	mine := WithPage(fstest.MapFS{"index.html": {Data: []byte("mine")}})
	_, body = ask(t, New(rooms, mine, who), "GET", "/", nil)
	require.Equal(t, "mine", body)
	resp, _ = ask(t, New(rooms, WithPage(nil), who), "GET", "/", nil)
	require.Equal(t, 404, resp.StatusCode)
}

// TestPageUnderPrefix: the page names its files relative to itself, and the prefix
// without a slash leads to the one with it.
func TestPageUnderPrefix(t *testing.T) {
	h := http.StripPrefix("/team/chat", pageOf(defaultPage()))
	resp, _ := ask(t, h, "GET", "/team/chat/chat.js", nil)
	require.Equal(t, 200, resp.StatusCode)
	resp, body := ask(t, h, "GET", "/team/chat/", nil)
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, body, `src="chat.js"`)
	require.Contains(t, body, `href="chat.css"`)
	require.NotRegexp(t, `(?:src|href|action)="/`, body)

	tests := []struct {
		name, prefix, target, want string
	}{
		{name: "prefix", prefix: "/team/chat", target: "/team/chat", want: "./chat/"},
		{name: "query", prefix: "/team/chat", target: "/team/chat?x=1", want: "./chat/?x=1"},
		{name: "like a host", prefix: "//evil.test", target: "//evil.test", want: "./evil.test/"},
		{name: "like a scheme", prefix: "/x:y", target: "/x:y", want: "./x:y/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RequestURI = tt.target
			r.URL.Path = ""
			w := httptest.NewRecorder()
			pageOf(defaultPage()).ServeHTTP(w, r)
			require.Equal(t, http.StatusMovedPermanently, w.Code)
			require.Equal(t, tt.want, w.Header().Get("Location"))
		})
	}
	resp, _ = ask(t, http.StripPrefix("/team/chat/", pageOf(defaultPage())), "GET", "/team/chat/", nil)
	require.Equal(t, 200, resp.StatusCode, "a prefix that has the slash")
}

// TestPageIsSmallAndPlain: 33.2 KB at most in all, and nothing that the policy would not
// run. Without the rooms of a hub it is 24.6 KB. They are 3 KB in the client, which has a
// position, members and messages under way for each room and resumes all by one
// connection, and 5 KB in the page: a log for each room, tabs, unread marks, direct
// messages. Both are in the same classes and functions as one room, so that nothing is
// there twice.
func TestPageIsSmallAndPlain(t *testing.T) {
	size := 0
	require.NoError(t, fs.WalkDir(defaultPage(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		require.Contains(t, []string{"index.html", "chat.js", "chat.css"}, name)
		b, err := fs.ReadFile(defaultPage(), name)
		size += len(b)
		return err
	}))
	require.LessOrEqual(t, size, 33_200)

	html, err := fs.ReadFile(defaultPage(), "index.html")
	require.NoError(t, err)
	require.NotRegexp(t, `(?i)<style|\sstyle=|\son[a-z]+=|<script[^>]*>[^<]|javascript:|https?:`, string(html))
	js, err := fs.ReadFile(defaultPage(), "chat.js")
	require.NoError(t, err)
	require.NotRegexp(t, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|^import `, string(js))
}

// TestPageClient runs the tests of chat.js, with a server that they play themselves.
func TestPageClient(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("TCPROOM_ALL_PEERS") != "" {
			t.Fatal("node is not installed")
		}
		t.Skip("node is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, "--test", "testdata/chat.test.mjs").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, strings.ReplaceAll(string(out), "ℹ", "#"), "# fail 0")
}
