package itest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/tcproom"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A peer is an implementation of a framing by others.
//
// The programs in testdata/interop are called as PROGRAM HOST PORT MODE COUNT LAST.
// They connect, send back each body that they receive, and print it as a line in hex.
// After COUNT bodies they send one more of LAST bytes and wait for the end of the
// connection or, if LAST is 0, leave.
type peer struct {
	name    string
	dialect dialect
	find    func(testing.TB) starter
}

// A starter starts a peer and returns a function that waits for its end and
// returns what it printed.
type starter func(ctx context.Context, addr string, count, last int) (wait func() (string, error))

var (
	length1  = upTo(1<<8-1, tcproom.Length{Bytes: 1})
	length2  = upTo(1<<16-1, tcproom.Length{Bytes: 2})
	length2l = upTo(1<<16-1, tcproom.Length{Bytes: 2, LittleEndian: true})
)

var peers = []peer{
	{name: "erlang/packet-1", dialect: length1, find: escript("1")},
	{name: "erlang/packet-2", dialect: length2, find: escript("2")},
	{name: "erlang/packet-4", dialect: dialect{framing: tcproom.Length{}}, find: escript("4")},
	{name: "erlang/packet-line", dialect: lines, find: escript("line")},
	{name: "twisted/Int8StringReceiver", dialect: length1, find: twisted("int8")},
	{name: "twisted/Int16StringReceiver", dialect: length2, find: twisted("int16")},
	{name: "twisted/Int32StringReceiver", dialect: dialect{framing: tcproom.Length{}}, find: twisted("int32")},
	{name: "twisted/NetstringReceiver", dialect: dialect{framing: tcproom.Netstring{}}, find: twisted("netstring")},
	{name: "twisted/LineReceiver", dialect: crlf, find: twisted("crlf")},
	{name: "twisted/LineReceiver-to-Lines", dialect: lines, find: twisted("line")},
	{name: "python/struct-2-little", dialect: length2l, find: python("<H")},
	{name: "python/struct-4-little", dialect: dialect{framing: tcproom.Length{LittleEndian: true}}, find: python("<I")},
	{name: "python/struct-8", dialect: dialect{framing: tcproom.Length{Bytes: 8}}, find: python(">Q")},
	{name: "python/struct-8-little", dialect: dialect{framing: tcproom.Length{Bytes: 8, LittleEndian: true}}, find: python("<Q")},
	{name: "vscode-jsonrpc/bytes", dialect: dialect{framing: tcproom.ContentLength{}}, find: jsonrpc("bytes")},
	{name: "vscode-jsonrpc/json", dialect: dialect{framing: tcproom.ContentLength{}, fit: notification}, find: jsonrpc("json")},
	{name: "protodelim", dialect: dialect{framing: tcproom.Varint{}, fit: bytesValue}, find: func(testing.TB) starter { return startProtodelim }},
	{name: "node/text", dialect: text, find: node("text")},
	{name: "node/json", dialect: dialect{framing: tcproom.Lines{}, codec: tcproom.JSON{}}, find: node("json")},
	{name: "node/nul", dialect: nul, find: node("nul")},
}

// missing ends the test of a peer that is not installed. It fails it if all peers are
// to be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("TCPROOM_ALL_PEERS") != "" {
		t.Fatalf("%s is not installed, and TCPROOM_ALL_PEERS is set", what)
	}
	t.Skipf("%s is not installed", what)
}

func escript(mode string) func(testing.TB) starter {
	return func(t testing.TB) starter {
		path, err := exec.LookPath("escript")
		if err != nil {
			missing(t, "escript (Debian: erlang-base)")
		}
		return program(path, "erlang_peer.escript", mode)
	}
}

func node(mode string) func(testing.TB) starter {
	return func(t testing.TB) starter {
		path, err := exec.LookPath("node")
		if err != nil {
			missing(t, "node")
		}
		return program(path, "node_peer.js", mode)
	}
}

func jsonrpc(mode string) func(testing.TB) starter {
	return func(t testing.TB) starter {
		path, err := exec.LookPath("node")
		if err != nil || exec.Command(path, "-e", "require.resolve('vscode-jsonrpc/node')").Run() != nil {
			missing(t, "vscode-jsonrpc (npm, found by NODE_PATH)")
		}
		return program(path, "jsonrpc_peer.js", mode)
	}
}

func python(mode string) func(testing.TB) starter {
	return func(t testing.TB) starter { return program(findPython(t, "struct"), "struct_peer.py", mode) }
}

func twisted(mode string) func(testing.TB) starter {
	return func(t testing.TB) starter {
		return program(findPython(t, "twisted.protocols.basic"), "twisted_peer.py", mode)
	}
}

// findPython returns a Python that has the module: Debian's packages are for Debian's
// Python, which need not be the first in PATH.
func findPython(t testing.TB, module string) string {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if path, err := exec.LookPath(name); err == nil && exec.Command(path, "-c", "import "+module).Run() == nil {
			return path
		}
	}
	missing(t, "Python 3 with "+module+" (Debian: python3-"+strings.Split(module, ".")[0]+")")
	return ""
}

// program starts a script in testdata/interop.
func program(interpreter, script, mode string) starter {
	return func(ctx context.Context, addr string, count, last int) func() (string, error) {
		host, port, _ := net.SplitHostPort(addr)
		args := []string{filepath.Join("testdata", "interop", script), host, port, mode, strconv.Itoa(count), strconv.Itoa(last)}
		cmd := exec.CommandContext(ctx, interpreter, args...)
		var out, problems bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &problems
		err := cmd.Start()
		return func() (string, error) {
			if err == nil {
				err = cmd.Wait()
			}
			if err != nil {
				err = fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, problems.Bytes())
			}
			return out.String(), err
		}
	}
}

// startProtodelim is the peer of Varint: Go's own reader and writer of protobuf's
// delimited streams.
func startProtodelim(ctx context.Context, addr string, count, last int) func() (string, error) {
	var out string
	var g errgroup.Group
	g.Go(func() (err error) {
		out, err = protodelimPeer(ctx, addr, count, last)
		return err
	})
	return func() (string, error) { err := g.Wait(); return out, err }
}

func protodelimPeer(ctx context.Context, addr string, count, last int) (string, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	var out strings.Builder
	r := bufio.NewReader(nc)
	for range count {
		var m wrapperspb.BytesValue
		if err := protodelim.UnmarshalFrom(r, &m); err != nil {
			return "", err
		}
		body, err := proto.Marshal(&m)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&out, hex.EncodeToString(body))
		if _, err := protodelim.MarshalTo(nc, &m); err != nil {
			return "", err
		}
	}
	if last > 0 {
		var m wrapperspb.BytesValue
		if err := proto.Unmarshal(bytesValue(make([]byte, last)), &m); err != nil {
			return "", err
		}
		protodelim.MarshalTo(nc, &m) // the room may close while this is being sent
		if _, err := r.ReadByte(); err == nil {
			return "", errors.New("there is more than an end")
		}
	}
	return out.String(), nil
}

// bytesValue returns a protobuf message as long as body, if there is one. It holds as
// much of body as fits.
func bytesValue(body []byte) []byte {
	for n := len(body); n > 0; n-- {
		m, err := proto.Marshal(wrapperspb.Bytes(body[:n]))
		if err == nil && len(m) <= len(body) {
			return m
		}
	}
	return nil
}

// notification returns a JSON-RPC notification as long as body, if that is long
// enough, with text made of body.
func notification(body []byte) []byte {
	const head, tail = `{"jsonrpc":"2.0","method":"say","params":["`, `"]}`
	text := printable(body)
	for i, b := range text {
		if b == '"' || b == '\\' {
			text[i] = 'q' // JSON would need another byte for it
		}
	}
	n := max(0, len(body)-len(head)-len(tail))
	for n > 0 && !utf8.Valid(text[:n]) {
		text[n-1] = '.' // if an é was cut in two
	}
	return []byte(head + string(text[:n]) + tail)
}
