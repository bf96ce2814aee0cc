package roomhttp

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"example.com/tcproom"
)

//go:embed page
var embedded embed.FS

// defaultPage returns the files of the embedded page.
func defaultPage() fs.FS {
	fsys, err := fs.Sub(embedded, "page")
	if err != nil {
		panic(err) // "page" is a valid path
	}
	return fsys
}

// pageHeaders allow a page what the embedded one needs: files of its own origin, and
// connections to it, which 'self' means for ws: and wss: too. Without images there is
// nothing to load that could tell another host who reads what.
var pageHeaders = map[string]string{
	"Cache-Control": "no-cache",
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
	"Cross-Origin-Opener-Policy": "same-origin",
	"Referrer-Policy":            "no-referrer",
	"X-Content-Type-Options":     "nosniff",
}

// A markedPage is a page that is told of its server: whether that knows the names of its
// users, so that nobody is to be asked for one, and whether it has the rooms of a hub.
type markedPage struct {
	fs.FS
	named bool
	hub   *tcproom.Hub // nil: none
}

// mark tells the script of an index.html so.
func (p markedPage) mark(body []byte) []byte {
	marks := ""
	if p.named {
		marks += "data-named=1 "
	}
	if p.hub != nil {
		marks += fmt.Sprintf("data-hub=%q ", html.EscapeString(p.hub.DefaultRoom()))
	}
	return bytes.Replace(body, []byte("<body data-tcproom="), []byte("<body "+marks+"data-tcproom="), 1)
}

// pageTypes are the content types of pages. The system's tables, which package mime
// reads, can be wrong about these, and a module of another type is not run.
var pageTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
}

// servePage answers a GET or HEAD with the file of fsys that the path names, and with
// index.html for "/". It reports false, and has answered nothing, if there is no such
// file or fsys is nil. The file is read each time, so that a page on a disk can be worked on; its ETag
// is the hash of what it holds.
//
// The path "" is what http.StripPrefix leaves of the prefix alone. It is redirected to
// the same with a slash, from which the page's relative addresses lead to its files.
func servePage(w http.ResponseWriter, r *http.Request, fsys fs.FS) bool {
	if fsys == nil {
		return false
	}
	if asked, _, _ := strings.Cut(r.RequestURI, "?"); r.URL.Path == "" && !strings.HasSuffix(asked, "/") {
		redirectInto(w, r)
		return true
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		name = "index.html"
	}
	body, ok := readFile(fsys, name)
	if !ok {
		return false
	}
	if page, ok := fsys.(markedPage); ok && name == "index.html" {
		body = page.mark(body)
	}
	header := w.Header()
	for key, value := range pageHeaders {
		header.Set(key, value)
	}
	sum := sha256.Sum256(body)
	header.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	header.Set("Content-Type", typeOf(name))
	defer boundAnswer(w, r)()
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	return true
}

// redirectInto answers a request for a directory's name with that name and a slash. The
// address is relative: nobody here knows what stands before it.
func redirectInto(w http.ResponseWriter, r *http.Request) {
	asked, query, _ := strings.Cut(r.RequestURI, "?")
	to := "./" + path.Base(asked) + "/" // "./": whatever the client sent, no other host
	if query != "" {
		to += "?" + query
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusMovedPermanently)
}

// readFile returns what the regular file of that name holds, if there is one.
func readFile(fsys fs.FS, name string) ([]byte, bool) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, false
	}
	b, err := io.ReadAll(f)
	return b, err == nil
}

func typeOf(name string) string {
	ext := path.Ext(name)
	if t, ok := pageTypes[ext]; ok {
		return t
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}
