package itest

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"example.com/tcproom"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

const (
	limit  = 64 << 10 // of messages, in the rooms of these tests
	random = 200      // payloads of random bytes and lengths
)

// sizes are sizes at which a length needs another byte, another digit or another
// read, and the limit.
var sizes = []int{0, 1, 127, 128, 255, 256, 16383, 16384, 65535, limit}

// odd are bodies that look like a part of some frame.
var odd = []string{"\n", "\r", "hi\r", "\r\n", "hi\n", "\x00", "0", "2:hi,", "Content-Length: 2\r\n\r\nhi", "* ada joined", `{"type":"goodbye"}`}

// payloads returns what every peer is to receive: random bytes of each size, and of
// random lengths, and odd bodies. It is the same at every call.
func payloads() [][]byte {
	rnd := rand.New(rand.NewPCG(4, 36))
	all := make([][]byte, 0, len(sizes)+random+len(odd))
	for i := range len(sizes) + random {
		size := rnd.IntN(1000)
		if i < len(sizes) {
			size = sizes[i]
		}
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(rnd.Uint32())
		}
		all = append(all, body)
	}
	for _, body := range odd {
		all = append(all, []byte(body))
	}
	return all
}

func TestPayloadsHoldEveryByte(t *testing.T) {
	all := payloads()
	joined := bytes.Join(all[len(sizes):len(sizes)+random], nil)
	for b := range 256 {
		require.Contains(t, string(joined), string([]byte{byte(b)}))
	}
	require.Equal(t, all, payloads())
}

// A dialect is what a peer speaks, and which bodies that can carry.
type dialect struct {
	framing tcproom.Framing
	codec   tcproom.Codec // nil: Raw
	// carries reports whether the framing can carry body; nil: any. It is the test's
	// own judgement.
	carries func(body []byte) bool
	// fit makes of body one that it can carry, of the same size if there is one.
	fit func(body []byte) []byte
	// most is the largest body that it can carry, 0: any.
	most int
}

func replace(old, with string) func([]byte) []byte {
	return func(body []byte) []byte { return bytes.ReplaceAll(body, []byte(old), []byte(with)) }
}

func without(what string) func([]byte) bool {
	return func(body []byte) bool { return !bytes.Contains(body, []byte(what)) }
}

// upTo is a dialect that cannot carry bodies of more than most bytes.
func upTo(most int, framing tcproom.Framing) dialect {
	return dialect{
		framing: framing,
		carries: func(body []byte) bool { return len(body) <= most },
		fit:     func(body []byte) []byte { return body[:min(len(body), most)] },
		most:    most,
	}
}

var (
	lines = dialect{
		framing: tcproom.Lines{},
		carries: func(body []byte) bool { return !bytes.ContainsRune(body, '\n') && !bytes.HasSuffix(body, []byte("\r")) },
		fit: func(body []byte) []byte {
			body = replace("\n", "\v")(body)
			if bytes.HasSuffix(body, []byte("\r")) {
				body[len(body)-1] = '.'
			}
			return body
		},
	}
	crlf = dialect{framing: tcproom.Delimiter("\r\n"), carries: without("\r\n"), fit: replace("\r\n", "..")}
	nul  = dialect{framing: tcproom.Delimiter("\x00"), carries: without("\x00"), fit: replace("\x00", "0")}
	// What is written in lines for people, and is no forgery, is theirs as it is.
	text = dialect{framing: tcproom.Lines{}, codec: tcproom.Text{}, fit: printable}
)

func printable(body []byte) []byte {
	if len(body) == 0 {
		return []byte("-") // an empty line is no message
	}
	out := make([]byte, 0, len(body))
	for _, b := range body {
		if b < 32 && len(out)+2 <= len(body) {
			out = append(out, "é"...)
		} else if len(out) < len(body) {
			out = append(out, ' '+b%95)
		}
	}
	return out
}

// A meeting is one peer in one room: it receives bodies, sends each of them back and
// then, if last is not 0, a body of last bytes.
type meeting struct {
	limit  int
	bodies [][]byte
	last   int
}

// meetings returns what a peer that speaks d is to go through: all payloads,
// and a body one byte above the limit.
func (d *dialect) meetings() []meeting {
	all := payloads()
	for i, body := range all {
		if d.fit != nil {
			all[i] = d.fit(body)
		}
	}
	if d.most == 0 {
		return []meeting{{limit: limit, bodies: all, last: limit + 1}}
	}
	// No peer can send more than the limit here, unless that is lower.
	return []meeting{
		{limit: limit, bodies: all},
		{limit: d.most - 1, bodies: [][]byte{bytes.Repeat([]byte("y"), d.most-1)}, last: d.most},
	}
}

func TestInterop(t *testing.T) {
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			start := p.find(t)
			for _, m := range p.dialect.meetings() {
				t.Run(fmt.Sprintf("limit=%d", m.limit), func(t *testing.T) { meet(t, &p.dialect, start, m) })
			}
		})
	}
}

// meet brings a peer and a witness, a member in the room's own process, into one
// room. What the witness sends must come to the peer, and what the peer sends to the
// witness.
func meet(t *testing.T, d *dialect, start starter, m meeting) {
	codec := d.codec
	if codec == nil {
		codec = tcproom.Raw{}
	}
	ctx, stop := context.WithTimeout(t.Context(), within)
	defer stop()
	g, ctx := errgroup.WithContext(ctx) // ends when the peer fails, so that nothing waits for it in vain
	left := make(chan error, 10)
	room := tcproom.New(
		tcproom.WithFraming(d.framing), tcproom.WithCodec(codec), tcproom.WithMaxMessage(m.limit),
		tcproom.OnLeave(func(_ *tcproom.Member, cause error) { left <- cause }),
	)
	addr := serve(t, room)
	witness, err := room.Join(ctx, tcproom.Identity{}, tcproom.WithFraming(tcproom.Length{}), tcproom.WithCodec(tcproom.Raw{}))
	require.NoError(t, err)
	defer witness.Close()

	refusals(t, ctx, room, d, m.limit)
	peer := sync.OnceValues(start(ctx, addr, len(m.bodies), m.last))
	defer func() { stop(); g.Wait() }()
	g.Go(func() error { _, err := peer(); return err })
	waitLen(t, ctx, room, 2)
	for _, body := range m.bodies {
		require.NoError(t, witness.Send(ctx, body))
	}
	for i, want := range m.bodies {
		ev, err := witness.Receive(ctx)
		require.NoError(t, err, "message %d of %d", i, len(m.bodies))
		requireSame(t, want, ev.Body, "what the peer said, message %d", i)
	}

	type received struct {
		ev  tcproom.Event
		err error
	}
	next := make(chan received, 1)
	go func() {
		ev, err := witness.Receive(ctx)
		next <- received{ev, err}
	}()
	select {
	case r := <-next:
		t.Fatalf("the witness heard more than was said: %d bytes, error %v", len(r.ev.Body), r.err)
	case cause := <-left:
		if m.last == 0 {
			require.ErrorIs(t, cause, io.EOF)
		} else {
			require.ErrorIs(t, cause, tcproom.ErrFrameTooLarge)
		}
	case <-ctx.Done():
		t.Fatalf("the peer has not left: %v", context.Cause(ctx))
	}
	out, err := peer()
	require.NoError(t, err)
	heard := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, heard, len(m.bodies), "what the peer heard")
	for i, want := range m.bodies {
		got, err := hex.DecodeString(heard[i])
		require.NoError(t, err)
		requireSame(t, want, got, "what the peer heard, message %d", i)
	}

	// That was the peer's end, and no other member's.
	_, err = room.Broadcast(ctx, []byte("on we go"))
	require.NoError(t, err)
	r := <-next
	require.NoError(t, r.err)
	require.Equal(t, "on we go", string(r.ev.Body))
	require.Empty(t, left)
}

// refusals checks that a sender is refused what the framing cannot carry, and what is
// above the limit.
func refusals(t *testing.T, ctx context.Context, room *tcproom.Room, d *dialect, limit int) {
	t.Helper()
	unframeable := 0
	for _, body := range payloads() {
		if len(body) > limit || d.carries == nil || d.carries(body) {
			continue
		}
		unframeable++
		_, err := room.Broadcast(ctx, body)
		require.ErrorIs(t, err, tcproom.ErrUnframeable)
	}
	require.Equal(t, d.carries != nil && d.most <= limit, unframeable > 0, "bodies that cannot be carried")
	_, err := room.Broadcast(ctx, make([]byte, limit+1))
	require.ErrorIs(t, err, tcproom.ErrFrameTooLarge)
}
