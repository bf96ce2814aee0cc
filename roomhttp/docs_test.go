package roomhttp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the commands of docs/http.md answer into it")

const httpDoc = "../docs/http.md"

// An example is a command of a document and what it prints.
type example struct {
	start, end int // of the output, in the document
	command    string
	output     string
}

// examplesOf returns the sh blocks that an http block follows.
func examplesOf(doc string) (all []example) {
	block := regexp.MustCompile("(?s)```sh\n([^`]*?)\n```\n\n```http\n(.*?)```\n")
	for _, m := range block.FindAllStringSubmatchIndex(doc, -1) {
		all = append(all, example{m[4], m[5], doc[m[2]:m[3]], doc[m[4]:m[5]]})
	}
	return all
}

// vary are the parts of an answer that are others each time.
var vary = []struct {
	re *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`(?mi)^date: .*$`), "Date: DATE"},
	{regexp.MustCompile(`(?mi)^(content-length): \d+$`), "$1: N"},
	{regexp.MustCompile(`\b[A-Z2-7]{26}\b`), "ID"},
	{regexp.MustCompile(`"time":"[^"]*"`), `"time":"TIME"`},
}

func steady(output string) string {
	for _, v := range vary {
		output = v.re.ReplaceAllString(output, v.as)
	}
	return output
}

// TestDocsHTTP runs the commands of docs/http.md, in order, against a room as the
// page's server has it, and compares what they print, but for what differs each time.
func TestDocsHTTP(t *testing.T) {
	for _, program := range []string{"curl", "sh"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("TCPROOM_ALL_PEERS") != "" {
				t.Fatalf("%s is not installed", program)
			}
			t.Skipf("%s is not installed", program)
		}
	}
	text, err := os.ReadFile(httpDoc)
	require.NoError(t, err)
	doc := string(text)

	room := newRoom(t) // with what examples/server sets for -http
	c, err := room.Join(testContext(t), tcproom.Identity{})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	h := New(One("lobby", room), WithAnonymousPost(true))
	plain, secure := serve(t, h), serveTLS(t, h)
	hub := serve(t, New(newHub(t, tcproom.WithRoom("kitchen"), tcproom.WithRoom("lobby")), WithAnonymousPost(true)))
	dir := t.TempDir()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.TLS.Certificates[0].Certificate[0]})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600))
	addresses := []string{"localhost:8080", addressOf(plain.URL), "localhost:8443", addressOf(secure.URL), "localhost:8081", addressOf(hub.URL)}

	examples := examplesOf(doc)
	require.Greater(t, len(examples), 20)
	for i := len(examples) - 1; i >= 0; i-- {
		examples[i].command = strings.NewReplacer(addresses...).Replace(examples[i].command)
	}
	outputs := make([]string, len(examples))
	for i, e := range examples {
		outputs[i] = e.output
		outputs[i] = strings.NewReplacer(backwards(addresses)...).Replace(run(t, dir, e.command))
		if !*update {
			require.Equal(t, steady(e.output), steady(outputs[i]), "%s", e.command)
		}
	}
	if !*update {
		return
	}
	for i := len(examples) - 1; i >= 0; i-- {
		doc = doc[:examples[i].start] + outputs[i] + doc[examples[i].end:]
	}
	require.NoError(t, os.WriteFile(httpDoc, []byte(doc), 0o644))
}

// addressOf is the address of a server by its name, as its certificate has it.
func addressOf(url string) string {
	_, port, _ := strings.Cut(url[len("https://"):], ":")
	return "localhost:" + port
}

func backwards(pairs []string) (back []string) {
	for i := 0; i < len(pairs); i += 2 {
		back = append(back, pairs[i+1], pairs[i])
	}
	return back
}

// run returns what a command prints, as lines without spaces at their ends. curl fails
// if its time is over, which is how a stream ends.
func run(t *testing.T, dir, command string) string {
	t.Helper()
	cmd := exec.CommandContext(testContext(t), "sh", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "no_proxy=*", "CURL_HOME="+dir, "HOME="+dir)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	if err != nil && !strings.Contains(command, "--max-time") {
		t.Fatalf("%s: %v\n%s", command, err, out.String())
	}
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(out.String(), "\r", ""), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// serveTLS is serve with a certificate for localhost, and HTTP/2.
func serveTLS(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// TestDocsHTTPRoutes: each route that the package's documentation lists is one, and its
// methods are.
func TestDocsHTTPRoutes(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	room := newRoom(t)
	s := serve(t, New(One("lobby", room), WithAnonymousPost(true)))
	routes := regexp.MustCompile(`(?m)^//\t(GET|POST) +(/[^ ?]*)`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, routes, 10)
	for _, m := range routes {
		if m[2] == "/" {
			continue // of the page
		}
		a := s.ask("OPTIONS", strings.ReplaceAll(m[2], "{room}", "lobby"), "")
		require.Equal(t, 204, a.StatusCode, m[0])
		require.Contains(t, a.Header.Get("Allow"), m[1])
	}
}

// TestDocsCloseCodes: the table of close codes in docs/wire.md is what is sent, and each
// cause that the page lists is in it.
func TestDocsCloseCodes(t *testing.T) {
	text, err := os.ReadFile("../docs/wire.md")
	require.NoError(t, err)
	word := regexp.MustCompile("`([a-z-]+)`")
	violations := map[uint16]bool{} // that RFC 6455 has codes of its own for
	codes := map[string]uint16{}
	for _, row := range regexp.MustCompile(`(?m)^\| (1\d\d\d|none) \| (.*) \|$`).FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.ParseUint(row[1], 10, 16) // none is 0
		code := uint16(n)
		for _, cause := range word.FindAllStringSubmatch(row[2], -1) {
			if cause[1] == "malformed" {
				violations[code] = true
				require.Equal(t, code, closeCode("malformed", violated(code, "")))
				continue
			}
			codes[cause[1]] = code
			require.Equal(t, code, closeCode(tcproom.Cause(cause[1]), nil), cause[1])
		}
	}
	require.Equal(t, map[uint16]bool{1002: true, 1003: true, 1007: true, 1008: true}, violations)
	require.Equal(t, uint16(1008), closeCode("malformed", nil))
	require.Equal(t, uint16(1008), closeCode("a-room's-own", nil))

	_, table, _ := strings.Cut(string(text), "| code | meaning | final |")
	table, _, _ = strings.Cut(table, "\n\n")
	causes := 0
	for _, row := range strings.Split(table, "\n| ")[1:] {
		names, _, _ := strings.Cut(row, " |")
		for _, cause := range word.FindAllStringSubmatch(names, -1) {
			if causes++; cause[1] != "malformed" {
				require.Contains(t, codes, cause[1])
			}
		}
	}
	require.Equal(t, len(codes)+1, causes, "and no others are")
}

// TestExpectContinue: a body that is too large is refused before it is sent, if the
// client waits to be told to go on.
func TestExpectContinue(t *testing.T) {
	s := serve(t, New(One("lobby", newRoom(t)), WithAnonymousPost(true)))
	nc, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n", messages)
	require.NoError(t, nc.SetReadDeadline(time.Now().Add(within)))
	b := make([]byte, 1000)
	n, err := nc.Read(b)
	require.NoError(t, err)
	require.Contains(t, string(b[:n]), "HTTP/1.1 413 ")
}
