package tcproom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
	"github.com/stretchr/testify/require"
)

// reversed is Raw, as somebody's own codec without a hello.
type reversed struct{ tcproom.Raw }

// anyBytes is a framing without boundaries: each read is a body.
type anyBytes struct{}

func (anyBytes) AppendFrame(dst, body []byte) ([]byte, error) { return append(dst, body...), nil }
func (anyBytes) SplitFrame(data []byte, max int) (int, []byte, error) {
	n := min(len(data), max)
	return n, data[:n:n], nil
}

// semicolons is somebody's own framing.
type semicolons struct{ tcproom.Delimiter }

func doorFramings() []tcproom.Framing {
	return []tcproom.Framing{
		tcproom.Lines{}, tcproom.Delimiter(""), tcproom.Delimiter("\r\n"), tcproom.Delimiter("\x00"), tcproom.Delimiter(" "), tcproom.Delimiter("TP"),
		tcproom.Length{Bytes: 1}, tcproom.Length{Bytes: 2}, tcproom.Length{}, tcproom.Length{Bytes: 8},
		tcproom.Length{Bytes: 2, LittleEndian: true}, tcproom.Length{Bytes: 4, LittleEndian: true}, tcproom.Length{Bytes: 8, LittleEndian: true},
		tcproom.Varint{}, tcproom.Netstring{}, tcproom.ContentLength{}, anyBytes{}, semicolons{";"},
	}
}

// A doorRoom is a room with a witness, in a bubble.
type doorRoom struct {
	*tcproom.Room
	witness *tcproom.Conn
	gone    *causes
}

// cutEvery is how many bytes lie between two places at which what a peer says first is cut.
// With the race detector these tests find no more and take a minute longer.
var cutEvery = 1

func init() {
	if raceEnabled {
		cutEvery = 7
	}
}

func newDoorRoom(t *testing.T, opts ...tcproom.RoomOption) *doorRoom {
	gone := newCauses()
	r := &doorRoom{gone: gone, Room: tcproom.New(append([]tcproom.RoomOption{
		tcproom.OnLeave(gone.Left), tcproom.OnReject(gone.Rejected)}, opts...)...)}
	c, err := r.Join(t.Context(), tcproom.Identity{Name: "witness"}, tcproom.WithFraming(tcproom.Length{}), tcproom.WithCodec(tcproom.JSON{}))
	require.NoError(t, err)
	r.witness = c
	t.Cleanup(func() { c.Close(); r.Close() })
	require.Equal(t, tcproom.Welcome, next(t, c).Kind)
	return r
}

// silent ends the room, and requires that the witness has received no message.
func (r *doorRoom) silent(t *testing.T) {
	t.Helper()
	require.Empty(t, r.heard(t))
}

// heard ends the room, and returns the messages that the witness has received.
func (r *doorRoom) heard(t *testing.T) (bodies []string) {
	t.Helper()
	synctest.Wait()
	go r.Shutdown(t.Context())
	for ev := range r.witness.Events(t.Context()) {
		if ev.Kind == tcproom.Message {
			bodies = append(bodies, string(ev.Body))
		}
	}
	require.NoError(t, r.witness.Close())
	<-r.Done()
	return bodies
}

// sayAll writes the pieces, each of which has been dealt with before the next, and
// returns what came back.
func sayAll(nc *roomtest.Conn, pieces ...string) string {
	for _, p := range pieces {
		io.WriteString(nc, p)
		synctest.Wait()
	}
	said, _ := io.ReadAll(nc)
	nc.Close()
	return string(said)
}

const doorBody = "Host: localhost:9000\r\nCookie: secret=s3cr3t\r\nContent-Length: 400\r\n\r\n"

// TestF70HTTPAtTheDoor: nothing of a request is said, however it is cut, and the
// answer is in the room's own codec.
func TestF70HTTPAtTheDoor(t *testing.T) {
	methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"}
	for _, framing := range doorFramings() {
		for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}, reversed{}, tcproom.JSON{}} {
			for _, method := range methods {
				t.Run(fmt.Sprintf("%T %v %T %s", framing, framing, codec, method), func(t *testing.T) {
					line := method + " / HTTP/1.1\r\n"
					body := strings.Repeat("\x01a", 200) + "hi\n" + strings.Repeat("\x00", 100) + "; ;\x00"
					for at := 0; at <= len(line); at += cutEvery {
						synctest.Test(t, func(t *testing.T) {
							r := newDoorRoom(t, tcproom.WithFraming(framing), tcproom.WithCodec(codec))
							nc, served := enter(t, r.Room)
							start := time.Now()
							said := sayAll(nc, line[:at], line[at:]+doorBody+body)
							err := <-served
							require.ErrorIs(t, err, tcproom.ErrWrongDoor)
							require.ErrorContains(t, err, "HTTP at the chat port")
							require.Zero(t, time.Since(start))
							require.NotContains(t, said, "HTTP/1")
							if _, cut := framing.(tcproom.Delimiter); codec == (tcproom.Text{}) && !cut { // which may not carry it
								require.Contains(t, said, "* goodbye: wrong door: HTTP at the chat port")
							}
							r.silent(t)
						})
					}
				})
			}
		}
	}
}

// TestF70RequestLines: the forms of a request's line and target.
func TestF70RequestLines(t *testing.T) {
	for _, tt := range []struct {
		line  string
		lines bool // refused over lines
		raw   bool // and over others
	}{
		{line: "GET / HTTP/1.1", lines: true, raw: true},
		{line: "GET /a?b=%20#c HTTP/1.0", lines: true, raw: true},
		{line: "OPTIONS * HTTP/1.1", lines: true, raw: true},
		{line: "GET http://x/ HTTP/1.1", lines: true, raw: true},
		{line: "CONNECT example.com:443 HTTP/1.1", lines: true, raw: false},
		{line: "PRI * HTTP/2.0", lines: true, raw: false},
		{line: "GET / HTTP/3", lines: true, raw: true},
		{line: "PROPFIND / HTTP/1.1", lines: true, raw: false},
		{line: "ABCDEFGHIJKLMNOP / HTTP/1.1", lines: true, raw: false},
		{line: "ABCDEFGHIJKLMNOPQ / HTTP/1.1", lines: false, raw: false},
		{line: "GO / HTTP/1.1", lines: false, raw: false},
		{line: "get / HTTP/1.1", lines: false, raw: false},
		{line: "GET /", lines: false, raw: true},
		{line: "GET / HTTP/1.", lines: false, raw: true},
		{line: "GET / HTTP/1.12", lines: false, raw: true},
		{line: "GET / HTTP/x", lines: false, raw: true},
		{line: "GET / HTTP/1.1 ", lines: false, raw: true},
		{line: "GET  HTTP/1.1", lines: false, raw: false},
		{line: "GET a b HTTP/1.1", lines: false, raw: false},
		{line: " GET / HTTP/1.1", lines: false, raw: false},
		{line: "GETTING / HTTP/1.1", lines: true, raw: false},
		{line: "GET it", lines: false, raw: false},
	} {
		for _, f := range []tcproom.Framing{tcproom.Lines{}, tcproom.Delimiter("\x00"), anyBytes{}} {
			t.Run(fmt.Sprintf("%s %T", tt.line, f), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newDoorRoom(t, tcproom.WithFraming(f), tcproom.WithCodec(tcproom.Raw{}))
					nc, served := enter(t, r.Room)
					_, chunks := f.(anyBytes)
					end := map[bool]string{true: "", false: "\n"}[chunks]
					if d, ok := f.(tcproom.Delimiter); ok {
						end = string(d)
					}
					io.WriteString(nc, tt.line+end)
					synctest.Wait()
					require.NoError(t, nc.CloseWrite())
					err := <-served
					nc.Close()
					if tt.raw && chunks || tt.lines && !chunks {
						require.ErrorIs(t, err, tcproom.ErrWrongDoor)
						r.silent(t)
						return
					}
					require.NoError(t, err)
					require.Equal(t, []string{tt.line}, r.heard(t))
				})
			})
		}
	}
}

// TestF70LaterLines: only the first frame is looked at, and nothing where the rule is off.
func TestF70LaterLines(t *testing.T) {
	request := "GET / HTTP/1.1"
	for _, f := range doorFramings() {
		if d, ok := f.(tcproom.Delimiter); ok && (d == " " || d == "TP") {
			continue // which are in the line
		}
		for _, off := range []bool{false, true} {
			t.Run(fmt.Sprintf("%T %v off=%v", f, f, off), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newDoorRoom(t, tcproom.WithFraming(f), tcproom.WithCodec(tcproom.Raw{}))
					nc, served := enter(t, r.Room, tcproom.WithHTTPRefused(!off))
					want := []string{"hi", request}
					if off {
						want = []string{request, request}
					}
					for _, body := range want {
						b, err := f.AppendFrame(nil, []byte(body))
						require.NoError(t, err)
						for i := range b { // byte by byte
							nc.Write(b[i : i+1])
							if _, chunks := f.(anyBytes); !chunks {
								synctest.Wait()
							}
						}
						synctest.Wait()
					}
					nc.CloseWrite()
					require.NoError(t, <-served)
					nc.Close()
					require.Equal(t, strings.Join(want, ""), strings.Join(r.heard(t), ""))
				})
			})
		}
	}
}

// TestF70HeldBack: what may yet become a request is said when the peer has ended, or
// says on what it is not.
func TestF70HeldBack(t *testing.T) {
	for _, pieces := range [][]string{{"G"}, {"G", "o"}, {"GET"}, {"GET ", "it"}, {"\x16"}, {"\x16\x03"}, {"\x16\x03\x01", "abc"}, {"POST "}} {
		t.Run(fmt.Sprintf("%q", pieces), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newDoorRoom(t, tcproom.WithFraming(anyBytes{}), tcproom.WithCodec(tcproom.Raw{}))
				nc, served := enter(t, r.Room)
				for _, p := range pieces {
					io.WriteString(nc, p)
					synctest.Wait()
				}
				nc.CloseWrite()
				require.NoError(t, <-served)
				nc.Close()
				require.Equal(t, strings.Join(pieces, ""), strings.Join(r.heard(t), ""))
			})
		})
	}
}

// TestF70HandshakeHook: Receive gets the error, and what the hook makes of it does
// not count.
func TestF70HandshakeHook(t *testing.T) {
	for _, f := range doorFramings() {
		for _, ignore := range []bool{false, true} {
			t.Run(fmt.Sprintf("%T %v ignore=%v", f, f, ignore), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newDoorRoom(t, tcproom.WithFraming(f), tcproom.WithCodec(tcproom.Raw{}))
					got := make(chan error, 1)
					nc, served := enter(t, r.Room, tcproom.WithHandshake(func(ctx context.Context, n *tcproom.Newcomer) (tcproom.Identity, error) {
						_, err := n.Receive(ctx)
						got <- err
						if ignore {
							err = nil
						}
						return tcproom.Identity{}, err
					}))
					sayAll(nc, "POST / HTT", "P/1.1\r\n"+doorBody+"hi\n;\x00")
					require.ErrorIs(t, <-got, tcproom.ErrWrongDoor)
					require.ErrorIs(t, <-served, tcproom.ErrWrongDoor)
					require.Len(t, r.gone.C, 1)
					require.Zero(t, r.Stats().Left["wrong-door"])
					r.silent(t)
				})
			})
		}
	}
}

// TestF71WrongDoors: each pair of what a room and a dialling end speak that cannot
// understand each other, at both ends: no member receives a byte of it, and both know
// at once.
func TestF71WrongDoors(t *testing.T) {
	type speaks struct {
		f tcproom.Framing
		c tcproom.Codec
	}
	text, raw, json := tcproom.Text{}, tcproom.Raw{}, tcproom.JSON{}
	lines := tcproom.Lines{}
	for _, tt := range []struct {
		room, peer speaks
		says       string // of a peer without a hello
		text       string // of the room's cause
		dialled    string // of the other
		attempts   int
	}{
		{room: speaks{lines, text}, peer: speaks{lines, json}, says: "", text: "the room speaks text in lines, not JSON in lines", dialled: "the answer is in text, not JSON in lines", attempts: 5},
		{room: speaks{lines, raw}, peer: speaks{lines, json}, says: "", text: "the room speaks raw bodies in lines, not JSON in lines", dialled: "the room speaks raw bodies in lines", attempts: 1},
		{room: speaks{tcproom.Length{}, raw}, peer: speaks{lines, json}, says: "", text: "the room speaks raw bodies with a length of 4 bytes, not JSON in lines", dialled: "the room speaks raw", attempts: 1},
		{room: speaks{tcproom.Length{Bytes: 1}, raw}, peer: speaks{lines, json}, says: "", text: "with a length of 1 bytes, not JSON in lines", dialled: "the room speaks raw", attempts: 1},
		{room: speaks{tcproom.Varint{}, raw}, peer: speaks{lines, json}, says: "", text: "with a varint, not JSON in lines", dialled: "the room speaks raw", attempts: 1},
		{room: speaks{tcproom.Length{Bytes: 2}, raw}, peer: speaks{tcproom.Length{}, json}, says: "", text: "not JSON with a length of 4 bytes", dialled: "the room speaks raw", attempts: 1},
		{room: speaks{anyBytes{}, raw}, peer: speaks{lines, json}, says: "", text: "not JSON in lines", dialled: "the room speaks raw", attempts: 1},
		{room: speaks{lines, text}, peer: speaks{tcproom.Length{}, json}, says: "", text: "text in lines, not JSON with a length of 4 bytes", dialled: "the answer is in text, not JSON with a length", attempts: 5},
		{room: speaks{lines, text}, peer: speaks{tcproom.Netstring{}, json}, says: "", text: "text in lines, not JSON in netstrings", dialled: "the answer is in text, not JSON in netstrings", attempts: 5},
		{room: speaks{lines, text}, peer: speaks{tcproom.ContentLength{}, json}, says: "", text: "text in lines, not JSON with a Content-Length", dialled: "the answer is in text, not JSON with a Content-Length", attempts: 5},
		{room: speaks{tcproom.Netstring{}, text}, peer: speaks{lines, json}, says: "", text: "not JSON in lines", dialled: "", attempts: 5},
		{room: speaks{lines, json}, peer: speaks{tcproom.Length{}, json}, says: "", text: "not JSON with a length of 4 bytes", dialled: "the room speaks JSON in lines", attempts: 1},
		{room: speaks{lines, json}, peer: speaks{tcproom.Varint{}, json}, says: "", text: "not JSON with a varint", dialled: "the room speaks JSON in lines", attempts: 1},
		{room: speaks{lines, json}, peer: speaks{tcproom.ContentLength{}, json}, says: "", text: "not JSON with a Content-Length", dialled: "the room speaks JSON in lines", attempts: 1},
		{room: speaks{tcproom.Length{}, json}, peer: speaks{lines, json}, says: "", text: "not JSON in lines", dialled: "the room speaks JSON with a length", attempts: 1},
		{room: speaks{tcproom.Length{Bytes: 2}, json}, peer: speaks{lines, json}, says: "", text: "not JSON in lines", dialled: "the room speaks JSON with a length of 2", attempts: 1},
		{room: speaks{tcproom.Netstring{}, json}, peer: speaks{tcproom.Length{}, json}, says: "", text: "not JSON with a length of 4 bytes", dialled: "the room speaks JSON in netstrings", attempts: 1},
		{room: speaks{tcproom.Length{}, json}, peer: speaks{tcproom.Length{LittleEndian: true}, json}, says: "", text: "the low one first", dialled: "the room speaks JSON with a length of 4", attempts: 1},
		{room: speaks{lines, json}, peer: speaks{lines, text}, says: "hi there", text: "the room speaks JSON in lines, not text", dialled: "the room speaks JSON in lines, not text", attempts: 1},
		{room: speaks{lines, json}, peer: speaks{lines, raw}, says: "hi there", text: "the room speaks JSON in lines, not text", dialled: "the room speaks JSON in lines, not text", attempts: 1},
		{room: speaks{tcproom.Length{}, json}, peer: speaks{lines, text}, says: "hi there", text: "not text", dialled: "the room speaks JSON with a length", attempts: 1},
		{room: speaks{tcproom.Netstring{}, json}, peer: speaks{lines, text}, says: "hi there", text: "not text", dialled: "the room speaks JSON in netstrings", attempts: 1},
	} {
		inBubble(fmt.Sprintf("%T %T, %T %T", tt.room.c, tt.room.f, tt.peer.c, tt.peer.f), t, func(t *testing.T) {
			gone := newCauses()
			srv := roomtest.NewMemServer(t, tcproom.WithFraming(tt.room.f), tcproom.WithCodec(tt.room.c),
				tcproom.OnLeave(gone.Left), tcproom.OnReject(gone.Rejected))
			var heard []string
			witness, err := srv.Room.Join(t.Context(), tcproom.Identity{}, tcproom.WithFraming(tcproom.Varint{}), tcproom.WithCodec(tcproom.JSON{}),
				tcproom.OnEvent(func(ev tcproom.Event) {
					if ev.Kind == tcproom.Message {
						heard = append(heard, string(ev.Body))
					}
				}))
			require.NoError(t, err)
			opts := []tcproom.DialOption{tcproom.WithFraming(tt.peer.f), tcproom.WithCodec(tt.peer.c), tcproom.WithDialer(srv.Net.Dial)}
			if tt.peer.c == json {
				opts = append(opts, tcproom.WithAuth("s3cr3t"), tcproom.WithName("eve"))
			}
			start := time.Now()
			c, err := tcproom.Dial(t.Context(), srv.Addr, opts...)
			if tt.says != "" {
				require.NoError(t, err)
				send(t, c, tt.says)
				for err == nil {
					_, err = c.Receive(t.Context())
				}
				c.Close()
			}
			require.ErrorIs(t, err, tcproom.ErrWrongDoor)
			require.ErrorContains(t, err, tt.dialled)
			require.Zero(t, time.Since(start), "within a round trip")
			cause := gone.Next(t)
			require.ErrorIs(t, cause, tcproom.ErrWrongDoor)
			require.ErrorContains(t, cause, tt.text)
			require.NotContains(t, cause.Error(), "s3cr3t")

			l := &link{net: srv.Net}
			client := tcproom.NewClient(t.Context(), srv.Addr, append(opts, tcproom.WithOffline(1<<20), tcproom.WithDialer(l.dial))...)
			if tt.says != "" {
				require.NoError(t, client.Send(t.Context(), []byte(tt.says)))
			}
			require.ErrorIs(t, ends(t, client), tcproom.ErrWrongDoor)
			require.Equal(t, tt.attempts, l.dialled())
			time.Sleep(time.Hour)
			require.Equal(t, tt.attempts, l.dialled())
			client.Close()
			for len(gone.C) > 0 {
				require.ErrorIs(t, gone.Next(t), tcproom.ErrWrongDoor)
			}
			require.NoError(t, witness.Close()) // the hook has returned
			require.Empty(t, heard)
		})
	}
}

// TestF71TLS: a client of TLS at a plain port, and a plain one at a port of TLS.
func TestF71TLS(t *testing.T) {
	server, client := testTLS()
	for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}, tcproom.JSON{}} {
		for _, f := range []tcproom.Framing{tcproom.Lines{}, tcproom.Length{}, tcproom.Length{Bytes: 1}, tcproom.Varint{}, tcproom.Netstring{}} {
			if (f == tcproom.Length{Bytes: 1}) && codec == (tcproom.JSON{}) {
				continue // its objects are longer than that
			}
			speak := []tcproom.Option{tcproom.WithFraming(f), tcproom.WithCodec(codec)}
			t.Run(fmt.Sprintf("%T %T", codec, f), func(t *testing.T) {
				gone := newCauses()
				room := tcproom.New(speak[0], speak[1], tcproom.OnLeave(gone.Left), tcproom.OnReject(gone.Rejected))
				witness := join(t, room)
				plain, secure := serveTCP(t, room), serveTCP(t, room, tcproom.WithTLS(server))

				start := time.Now()
				_, err := tcproom.Dial(testContext(t), plain, speak[0], speak[1], tcproom.WithTLS(client))
				require.ErrorIs(t, err, tcproom.ErrWrongDoor)
				require.ErrorContains(t, gone.Next(t), "TLS at a plain port")

				c, err := tcproom.Dial(testContext(t), secure, speak[0], speak[1])
				if err == nil {
					send(t, c, "hi")
					for err == nil {
						_, err = c.Receive(testContext(t))
					}
					c.Close()
				}
				require.ErrorIs(t, err, tcproom.ErrWrongDoor)
				cause := gone.Next(t)
				require.ErrorIs(t, cause, tcproom.ErrWrongDoor)
				require.ErrorContains(t, cause, "the room speaks TLS")
				require.Less(t, time.Since(start), 5*time.Second, "no handshake timed out")

				l := dialRaw(t, secure)
				_, err = io.WriteString(l, "h") // not even a record's header
				require.NoError(t, err)
				_, err = io.ReadAll(l)
				require.NoError(t, err)
				l.Close()
				require.ErrorIs(t, gone.Next(t), tcproom.ErrWrongDoor)
				room.Broadcast(testContext(t), []byte("over"))
				for {
					if ev := next(t, witness); ev.Kind == tcproom.Message {
						require.Equal(t, "over", string(ev.Body))
						break
					}
				}
			})
		}
	}
}

// TestF71TLSAtEveryByte: a ClientHello in two pieces, a line's end among its first bytes.
func TestF71TLSAtEveryByte(t *testing.T) {
	hello := "\x16\x03\x01\x02\x0a\x01\x00\x02\x06\x03\x03" + strings.Repeat("\n\x00a;", 130)
	for _, f := range doorFramings() {
		t.Run(fmt.Sprintf("%T %v", f, f), func(t *testing.T) {
			for at := range 13 {
				synctest.Test(t, func(t *testing.T) {
					r := newDoorRoom(t, tcproom.WithFraming(f), tcproom.WithCodec(tcproom.Raw{}))
					nc, served := enter(t, r.Room)
					said := sayAll(nc, hello[:at], hello[at:])
					require.ErrorIs(t, <-served, tcproom.ErrWrongDoor)
					require.Equal(t, "\x15\x03\x01\x00\x02\x02\x0a", said)
					r.silent(t)
				})
			}
		})
	}
}

// TestF71HelloAtEveryByte: a hello in JSON at a room of text, in pieces.
func TestF71HelloAtEveryByte(t *testing.T) {
	hello := `{"type":"hello","name":"ada","auth":"s3cr3t"}` + "\n"
	for _, f := range []tcproom.Framing{tcproom.Lines{}, tcproom.Delimiter("\n"), tcproom.Length{Bytes: 1}, tcproom.Length{}, tcproom.Varint{}, tcproom.Netstring{}, tcproom.ContentLength{}} {
		for at := range len(hello) {
			synctest.Test(t, func(t *testing.T) {
				r := newDoorRoom(t, tcproom.WithFraming(f), tcproom.WithCodec(tcproom.Text{}))
				nc, served := enter(t, r.Room)
				said := sayAll(nc, hello[:at], hello[at:]+hello)
				err := <-served
				require.Error(t, err)
				if f == (tcproom.Lines{}) {
					require.ErrorIs(t, err, tcproom.ErrWrongDoor)
				}
				require.NotContains(t, said, "s3cr3t")
				r.silent(t)
			})
		}
	}
}

// paragraphs is somebody's own framing, in whose bodies there are lines.
type paragraphs struct{ tcproom.Delimiter }

// TestF71OwnFramingOfJSON: a line is no whole object if the framing is somebody's own.
func TestF71OwnFramingOfJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newDoorRoom(t, tcproom.WithFraming(paragraphs{"\n\n"}), tcproom.WithCodec(tcproom.JSON{}))
		nc, served := enter(t, r.Room)
		for _, piece := range []string{`{"type":"hello"}` + "\n", "\n", `{"type":"message","body":"hi"}` + "\n\n"} {
			io.WriteString(nc, piece)
			synctest.Wait()
		}
		nc.CloseWrite()
		require.NoError(t, <-served)
		nc.Close()
		require.Equal(t, []string{"hi"}, r.heard(t))
	})
}

// TestF71AlertAtTLS: a peer that sends an alert speaks TLS.
func TestF71AlertAtTLS(t *testing.T) {
	server, _ := testTLS()
	gone := newCauses()
	nc := dialRaw(t, serveTCP(t, tcproom.New(tcproom.OnReject(gone.Rejected)), tcproom.WithTLS(server)))
	_, err := io.WriteString(nc, "\x15\x03\x01\x00\x02\x02\x0a")
	require.NoError(t, err)
	cause := gone.Next(t)
	require.ErrorIs(t, cause, tcproom.ErrMalformed)
	require.NotErrorIs(t, cause, tcproom.ErrWrongDoor)
}

// TestF71HelloBehindALength: a hello of which only the header, or a part, is there when
// that is a frame of the room's own framing.
func TestF71HelloBehindALength(t *testing.T) {
	four, two := tcproom.Length{}, tcproom.Length{Bytes: 2}
	for _, tt := range []struct {
		room, peer tcproom.Framing
		size       int // of the hello
		leaks      int // at most so many bytes of the header are messages
	}{
		{room: tcproom.Lines{}, peer: four, size: 0x10a, leaks: 0},
		{room: tcproom.Lines{}, peer: four, size: 0xa20, leaks: 0},
		{room: tcproom.Lines{}, peer: tcproom.Length{Bytes: 8}, size: 0x10a, leaks: 0},
		{room: tcproom.Lines{}, peer: tcproom.Length{LittleEndian: true}, size: 0x10a, leaks: 0},
		{room: tcproom.Lines{}, peer: tcproom.Length{LittleEndian: true}, size: 0xa10, leaks: 1},
		{room: tcproom.Length{Bytes: 1}, peer: two, size: 48, leaks: 0},
		{room: tcproom.Length{Bytes: 1}, peer: two, size: 300, leaks: 1},
		{room: tcproom.Length{Bytes: 1}, peer: tcproom.Length{Bytes: 8}, size: 300, leaks: 1},
		{room: tcproom.Length{Bytes: 1}, peer: four, size: 48, leaks: 0},
		{room: tcproom.Length{Bytes: 1}, peer: tcproom.Netstring{}, size: 300, leaks: 0},
		{room: tcproom.Length{Bytes: 1}, peer: tcproom.ContentLength{}, size: 300, leaks: 0},
		{room: two, peer: four, size: 48, leaks: 0},
		{room: two, peer: tcproom.Length{Bytes: 8}, size: 300, leaks: 0},
		{room: four, peer: tcproom.Length{Bytes: 8}, size: 300, leaks: 0},
		{room: tcproom.Varint{}, peer: two, size: 48, leaks: 0},
		{room: tcproom.Varint{}, peer: four, size: 300, leaks: 1},
		{room: tcproom.Delimiter("\x00"), peer: four, size: 300, leaks: 0},
		{room: anyBytes{}, peer: four, size: 300, leaks: 4},
	} {
		for _, codec := range []tcproom.Codec{tcproom.Text{}, tcproom.Raw{}} {
			t.Run(fmt.Sprintf("%T %v %T %v of %d at %T", tt.room, tt.room, tt.peer, tt.peer, tt.size, codec), func(t *testing.T) {
				body := `{"type": "hello","auth":"s3cr3t"`
				body += strings.Repeat(" ", tt.size-len(body)-1) + "}"
				hello, err := tt.peer.AppendFrame(nil, []byte(body))
				require.NoError(t, err)
				header := string(hello[:bytes.IndexByte(hello, '{')])
				for at := 0; at < min(len(hello), 60); at += cutEvery {
					for _, ends := range []bool{false, true} {
						synctest.Test(t, func(t *testing.T) {
							r := newDoorRoom(t, tcproom.WithFraming(tt.room), tcproom.WithCodec(codec))
							nc, served := enter(t, r.Room)
							nc.Write(hello[:at])
							synctest.Wait()
							if ends { // in the middle of it
								nc.CloseWrite()
								<-served
								nc.Close()
								if at > len(header)+4 {
									require.LessOrEqual(t, len(strings.Join(r.heard(t), "")), tt.leaks)
								}
								return
							}
							io.WriteString(nc, string(hello[at:])+string(hello))
							synctest.Wait()
							nc.CloseWrite()
							said := sayAll(nc)
							require.ErrorIs(t, <-served, tcproom.ErrWrongDoor, "at %d", at)
							require.NotContains(t, said, "s3cr3t")
							heard := strings.Join(r.heard(t), "")
							require.LessOrEqual(t, len(heard), tt.leaks, "at %d: %q", at, heard)
							require.Contains(t, header, heard)
						})
					}
				}
			})
		}
	}
}

// TestF71FirstMessagesAreNotHeldBack: what may be the length of another framing and
// is a message, is sent at once, and the hello of no other framing follows.
func TestF71FirstMessagesAreNotHeldBack(t *testing.T) {
	for _, f := range doorFramings() {
		for _, first := range []string{"", "y", "\x10", "ab", "300", "{", `{"type":"x"}`, "\x01\x02"} {
			_, chunks := f.(anyBytes)
			_, lines := f.(tcproom.Lines)
			if chunks && first == "" || lines && strings.Contains(first, "\x01") {
				continue
			}
			t.Run(fmt.Sprintf("%T %v %q", f, f, first), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newDoorRoom(t, tcproom.WithFraming(f), tcproom.WithCodec(tcproom.Raw{}))
					nc, _ := enter(t, r.Room)
					require.Equal(t, tcproom.Join, next(t, r.witness).Kind)
					for _, body := range []string{first, "and", first, `{"type":"hello"}`} {
						if chunks && body == "" {
							continue
						}
						b, err := f.AppendFrame(nil, []byte(body))
						require.NoError(t, err)
						nc.Write(b)
						require.Equal(t, body, string(next(t, r.witness).Body))
					}
					nc.Close()
				})
			})
		}
	}
}

// TestF71Answers: what a dialling end makes of the first bytes of what is no room of its.
func TestF71Answers(t *testing.T) {
	refused := `{"type":"refused","code":"full","message":"room is full"}`
	for _, tt := range []struct {
		name   string
		f      tcproom.Framing
		c      tcproom.Codec
		answer string
		wrong  bool // even if the stream goes on
		ends   bool // if it ends
	}{
		{name: "HTTP", f: tcproom.Lines{}, c: tcproom.JSON{}, answer: "HTTP/1.1 400 Bad Request\r\n", wrong: true, ends: true},
		{name: "HTTP without a line", f: tcproom.Lines{}, c: tcproom.JSON{}, answer: "HTTP/1.1 4", wrong: true, ends: true},
		{name: "HTTP", f: tcproom.Length{}, c: tcproom.JSON{}, answer: "HTTP/1.1 400 Bad Request\r\n", wrong: true, ends: true},
		{name: "HTTP", f: tcproom.Varint{}, c: tcproom.JSON{}, answer: "HTTP/1.1 400 Bad Request\r\n", wrong: true, ends: true},
		{name: "HTTP", f: tcproom.Lines{}, c: tcproom.Text{}, answer: "HTTP/1.1 400 Bad Request\r\n", wrong: true, ends: true},
		{name: "HTTP", f: tcproom.Lines{}, c: tcproom.Raw{}, answer: "HTTP/1.1 400 Bad Request\r\n", wrong: false, ends: true},
		{name: "an alert", f: tcproom.Lines{}, c: tcproom.JSON{}, answer: "\x15\x03\x01\x00\x02\x02\x0a", wrong: true, ends: true},
		{name: "an alert", f: tcproom.Length{}, c: tcproom.JSON{}, answer: "\x15\x03\x01\x00\x02\x02\x0a", wrong: true, ends: true},
		{name: "an alert", f: tcproom.Lines{}, c: tcproom.Text{}, answer: "\x15\x03\x01\x00\x02\x02\x0a", wrong: true, ends: true},
		{name: "an alert", f: tcproom.Netstring{}, c: tcproom.Raw{}, answer: "\x15\x03\x01\x00\x02\x02\x0a", wrong: true, ends: true}, // which is malformed
		{name: "text", f: tcproom.Lines{}, c: tcproom.JSON{}, answer: "* ada joined\n", wrong: true, ends: true},
		{name: "text without a line", f: tcproom.Lines{}, c: tcproom.JSON{}, answer: "220 mail.exam", wrong: true, ends: true},
		{name: "a refusal", f: tcproom.Lines{}, c: tcproom.Text{}, answer: refused + "\n", wrong: true, ends: true},
		{name: "a refusal", f: tcproom.Lines{}, c: tcproom.Raw{}, answer: refused + "\n", wrong: false, ends: true},
		{name: "a goodbye", f: tcproom.Lines{}, c: tcproom.Text{}, answer: "* goodbye: wrong door: the room speaks TLS\n", wrong: true, ends: true},
		{name: "another goodbye", f: tcproom.Lines{}, c: tcproom.Text{}, answer: "* goodbye: room is full\n", wrong: false, ends: false},
		{name: "a message about it", f: tcproom.Lines{}, c: tcproom.Text{}, answer: "ada: " + refused + "\n", wrong: false, ends: false},
		{name: "a broadcast about it", f: tcproom.Lines{}, c: tcproom.Text{}, answer: "*: " + refused + "\n", wrong: false, ends: false},
		{name: "other JSON", f: tcproom.Lines{}, c: tcproom.Text{}, answer: `{"type":"refused"}` + "\n", wrong: false, ends: false},
		{name: "other JSON", f: tcproom.Lines{}, c: tcproom.Raw{}, answer: `{"type":"refused"}` + "\n", wrong: false, ends: false},
		{name: "an unknown type", f: tcproom.Lines{}, c: tcproom.JSON{}, answer: `{"type":"x"}` + "\n", wrong: false, ends: false},
		{name: "malformed", f: tcproom.Lines{}, c: tcproom.JSON{}, answer: `{"type":` + "\n", wrong: true, ends: true},
		{name: "nothing", f: tcproom.Lines{}, c: tcproom.JSON{}, answer: "", wrong: false, ends: false},
	} {
		for _, end := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %T %T end=%v", tt.name, tt.f, tt.c, end), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					here, there := roomtest.Pipe()
					c := tcproom.NewConn(here, tcproom.WithFraming(tt.f), tcproom.WithCodec(tt.c))
					io.WriteString(there, tt.answer)
					if end {
						there.CloseWrite()
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					var err error
					for err == nil {
						_, err = c.Receive(ctx)
					}
					require.Equal(t, tt.wrong || tt.ends && end, errors.Is(err, tcproom.ErrWrongDoor), "%v", err)
					there.Close()
					c.Close()
				})
			})
		}
	}
}

// TestF71ClientKnocksAgain: a proxy may answer for a room that is starting.
func TestF71ClientKnocksAgain(t *testing.T) {
	for _, bad := range []int{4, 5} {
		inBubble(fmt.Sprint(bad, " bad answers"), t, func(t *testing.T) {
			srv := sessionServer(t, tcproom.Sessions{Grace: time.Hour})
			l := &link{net: srv.Net}
			proxy, err := l.net.Listen("proxy.example:80")
			require.NoError(t, err)
			defer proxy.Close()
			go func() {
				for {
					nc, err := proxy.Accept()
					if err != nil {
						return
					}
					nc.Read(make([]byte, 4<<10)) // or the close resets it
					io.WriteString(nc, "HTTP/1.1 503 Service Unavailable\r\n\r\n")
					nc.Close()
				}
			}()
			from, dials := 0, 0
			var now *roomtest.Conn
			c := tcproom.NewClient(t.Context(), srv.Addr, tcproom.WithCodec(tcproom.JSON{}), tcproom.WithDialer(
				func(ctx context.Context, network, addr string) (net.Conn, error) {
					if dials++; dials <= bad || dials > from && from > 0 {
						addr = "proxy.example:80"
					}
					nc, err := l.net.Dial(ctx, network, addr)
					if err == nil {
						now = nc.(*roomtest.Conn)
					}
					return nc, err
				}))
			defer c.Close()
			if bad == 5 {
				require.ErrorIs(t, ends(t, c), tcproom.ErrWrongDoor)
				require.Equal(t, 5, dials)
				return
			}
			hearAll(t, c, "lost", "welcome joined")
			synctest.Wait()
			from = dials // from now on it is the proxy again
			now.Reset()
			hearAll(t, c, "lost")
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			require.Greater(t, dials, from+5)
			require.NoError(t, c.Err())
			from = 0
			hearAll(t, c, "welcome resumed")
		})
	}
}

// TestF71NothingIsKept: a name and a place are free again, and no goroutine is left.
func TestF71NothingIsKept(t *testing.T) {
	checkGoroutines(t)
	gone := newCauses()
	room := tcproom.New(tcproom.OnLeave(gone.Left), tcproom.WithMaxMembers(1))
	addr := serveTCP(t, room)
	for range 20 {
		nc := dialRaw(t, addr)
		waitLen(t, room, 1)
		_, err := io.WriteString(nc, "POST / HTTP/1.1\r\n\r\n")
		require.NoError(t, err)
		said, err := io.ReadAll(nc)
		require.NoError(t, err, "a FIN and not a RST")
		require.True(t, bytes.HasSuffix(said, []byte("* goodbye: wrong door: HTTP at the chat port\n")), "%q", said)
		nc.Close()
		require.ErrorIs(t, gone.Next(t), tcproom.ErrWrongDoor)
		waitLen(t, room, 0)
	}
	require.EqualValues(t, 20, room.Stats().Left["wrong-door"])
}
