package suite_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
)

// evil is what a peer might send to break a log or play with a terminal.
var evil = []string{
	"a\nlevel=ERROR msg=forged", "a\r\n", "\x1b[2J", "\x1b]0;title\a", "\u009b31m", "\b\b\b", "\u202eatad", "\u2066", "\u2028", "\x00", "\x7f", "%s%n\n", "\xff\x9b",
}

// raw reports whether s has something in it that only a quoted one may have.
func raw(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
	}) || !utf8.ValidString(s)
}

// A strictLog is a slog.Handler for whose records everything but the values of
// plain strings has to be of ours, or quoted.
type strictLog struct {
	t       testing.TB
	mu      *sync.Mutex
	records *[]string
}

func newStrictLog(t testing.TB) strictLog {
	return strictLog{t, new(sync.Mutex), new([]string)}
}

func (l strictLog) Enabled(context.Context, slog.Level) bool { return true }
func (l strictLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l strictLog) WithGroup(string) slog.Handler            { return l }
func (l strictLog) Handle(_ context.Context, r slog.Record) error {
	said := r.Message
	r.Attrs(func(a slog.Attr) bool {
		said += " " + a.Key
		switch v := a.Value.Any().(type) {
		case string: // which any handler quotes, but for the stack of ours
			if a.Key == "stack" {
				v = ""
			}
		default:
			said += "=" + fmt.Sprint(v)
		}
		return true
	})
	if raw(said) {
		l.t.Errorf("raw in a record: %q", said)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.records = append(*l.records, said)
	return nil
}

// TestF57NothingRawInLogs: whatever a peer says, at either end, no message or
// key of a record, no error in one, and no error that is returned has it raw.
func TestF57NothingRawInLogs(t *testing.T) {
	for _, bad := range evil {
		require.True(t, raw(bad))
		valid, err := json.Marshal(bad)
		require.NoError(t, err)
		for _, quoted := range []string{string(valid), fmt.Sprintf("%q", bad)} { // good JSON, and often bad
			testNothingRaw(t, bad, quoted)
		}
	}
}

// testNothingRaw has peers send bad as it is, and quoted where a string is due.
func testNothingRaw(t *testing.T, bad, quoted string) {
	synctest.Test(t, func(t *testing.T) {
		log := newStrictLog(t)
		mustBeClean := func(err error) {
			if err != nil && raw(err.Error()) {
				t.Errorf("raw in an error: %q", err)
			}
		}
		room := tcproom.New(
			tcproom.WithLogger(slog.New(log)), tcproom.WithMaxMessage(1<<10), tcproom.WithHandshakeTimeout(time.Second),
			tcproom.OnMessage(func(c *tcproom.Member, body []byte) ([]byte, error) {
				switch {
				case strings.HasPrefix(string(body), "panic"):
					panic(string(body))
				case strings.HasPrefix(string(body), "fail"):
					return nil, fmt.Errorf("the hook read %q", body)
				}
				return body, nil
			}),
			tcproom.OnLeave(func(c *tcproom.Member, cause error) { mustBeClean(cause); mustBeClean(context.Cause(c.Context())) }),
			tcproom.OnReject(func(_ *tcproom.Newcomer, cause error) { mustBeClean(cause) }),
		)
		hello := `{"type":"hello","name":"eve"}`
		for _, f := range []tcproom.Framing{tcproom.Lines{}, tcproom.Netstring{}, tcproom.ContentLength{}, tcproom.Varint{}} {
			for _, frames := range [][]string{
				{bad}, {`{"type":` + quoted + `}`}, {`{"type":"hello","name":` + quoted + `}`}, {`{` + quoted + `:1}`}, {`{"type":"hello",` + bad},
				{hello, bad}, {hello, `{"type":` + quoted + `}`}, {hello, `{"type":"message","body":` + quoted + `,"data":1}`},
				{hello, `{"type":"message","body":"panic` + strings.Trim(quoted, `"`) + `"}`},
				{hello, `{"type":"message","body":"fail` + strings.Trim(quoted, `"`) + `"}`},
			} {
				nc, served := pipe(room, tcproom.WithFraming(f), tcproom.WithCodec(tcproom.JSON{}))
				go io.Copy(io.Discard, nc)
				var stream []byte
				for _, frame := range frames {
					framed, err := f.AppendFrame(nil, []byte(frame))
					if err != nil {
						framed = []byte(frame + "\n")
					}
					stream = append(stream, framed...)
				}
				nc.Write(append(stream, bad...))
				nc.Close()
				mustBeClean(<-served)
			}
		}
		// What our own end says, and what it hears from a room that is evil.
		_, err := room.Join(t.Context(), tcproom.Identity{Name: bad}, tcproom.WithCodec(tcproom.JSON{}))
		require.Error(t, err)
		mustBeClean(err)
		for _, says := range []string{
			bad + "\n", `{"type":"refused","code":` + quoted + `,"message":` + quoted + "}\n", `{"type":` + quoted + "}\n", `{"type":"welcome","seq":` + quoted + "}\n",
		} {
			here, there := net.Pipe()
			go func() {
				io.WriteString(there, says)
				there.Close()
			}()
			go io.Copy(io.Discard, there)
			c := tcproom.NewConn(here, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithLogger(slog.New(log)), tcproom.OnEvent(func(tcproom.Event) {}))
			<-c.Context().Done()
			mustBeClean(c.Err())
			mustBeClean(c.Close())
		}
		// Reasons and addresses.
		c, err := room.Join(t.Context(), tcproom.Identity{})
		require.NoError(t, err)
		require.NoError(t, only(room).Kick(bad))
		for _, err := range c.Events(t.Context()) {
			mustBeClean(err)
		}
		c.Close()
		here, there := net.Pipe()
		stuck := &evilConn{there, bad, make(chan struct{})}
		go room.ServeConn(stuck)
		synctest.Wait()
		var stop *tcproom.StopError
		require.True(t, errors.As(room.Close(), &stop))
		mustBeClean(stop)
		close(stuck.release)
		<-room.Done()
		here.Close()
		require.Greater(t, len(*log.records), 10)
	})
}

// An evilConn is one whose peer says where it comes from, and whose Read does not return
// because of Close.
type evilConn struct {
	net.Conn
	addr    string
	release chan struct{}
}

func (c *evilConn) Read(b []byte) (int, error) { <-c.release; return c.Conn.Read(b) }

func (c *evilConn) RemoteAddr() net.Addr { return &net.UnixAddr{Name: c.addr, Net: "unix"} }

// TestF61OpenSSL: another implementation of TLS is refused with a version that
// Go does not speak by default, and let in with one that it does.
func TestF61OpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	server, _ := testTLS()
	rejected := newCauses()
	room := tcproom.New(tcproom.OnReject(rejected.Rejected), tcproom.WithTLS(server))
	addr := serveTCP(t, room)
	connect := func(version string) (string, error) {
		cmd := exec.CommandContext(testContext(t), openssl, "s_client", "-connect", addr, version, "-cipher", "DEFAULT@SECLEVEL=0", "-quiet", "-no_ign_eof")
		cmd.Stdin = strings.NewReader("Q\n")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, version := range []string{"-tls1", "-tls1_1"} {
		out, err := connect(version)
		require.Error(t, err, out)
		require.Contains(t, out, "protocol version", "refused by the room")
		require.ErrorIs(t, rejected.Next(t), tcproom.ErrMalformed)
	}
	out, err := connect("-tls1_2")
	require.NoError(t, err, out)
	require.EqualValues(t, 1, room.Stats().Joined)
}
