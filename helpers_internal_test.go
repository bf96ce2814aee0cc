package tcproom

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// fed is what a framing makes of a stream: the bodies, and the sentinel of
// the error that ended it, if one did.
type fed struct {
	bodies []string
	err    error
}

// feed hands data to f in pieces that end at cuts and at its end, as a reader
// does, and checks what SplitFrame promises of each call.
func feed(t testing.TB, f Framing, data []byte, max int, cuts ...int) fed {
	t.Helper()
	var got fed
	data = bytes.Clone(data)
	at := 0
	for _, end := range append(cuts, len(data)) {
		for {
			rest := data[at:end:end] // reading beyond it panics
			n, body, err := f.SplitFrame(rest, max)
			if err != nil {
				require.Zero(t, n, "n with an error")
				require.Nil(t, body, "body with an error")
				got.err = sentinelOf(t, err)
				return got
			}
			if n == 0 {
				require.Nil(t, body, "body without a frame")
				break
			}
			if n < 0 || n > len(rest) || len(body) > max || len(body) != cap(body) {
				t.Fatalf("SplitFrame(%q, %d): got n = %d, a body of %d bytes, capacity %d", rest, max, n, len(body), cap(body))
			}
			requireWithin(t, rest[:n], body)
			got.bodies = append(got.bodies, string(body))
			at += n
		}
	}
	return got
}

func requireStream(t testing.TB, want, got fed, how string) {
	t.Helper()
	if !slices.Equal(want.bodies, got.bodies) || want.err != got.err {
		t.Fatalf("%s: got bodies %q, error %v; want bodies %q, error %v", how, got.bodies, got.err, want.bodies, want.err)
	}
}

// appendFrame calls f.AppendFrame and checks what it promises of dst.
func appendFrame(t testing.TB, f Framing, body []byte) ([]byte, error) {
	t.Helper()
	const before = "before"
	dst := append(make([]byte, 0, len(before)+len(body)/2), before...)
	kept := bytes.Clone(body)
	frame, err := f.AppendFrame(dst, body)
	require.True(t, bytes.Equal(kept, body), "body was written to")
	require.True(t, bytes.HasPrefix(frame, []byte(before)), "dst was written to")
	if err != nil {
		require.Equal(t, ErrUnframeable, sentinelOf(t, err))
		require.Len(t, frame, len(before), "dst was changed in spite of an error")
		require.Same(t, &dst[0], &frame[0], "dst was moved in spite of an error")
		return nil, err
	}
	return frame[len(before):], nil
}

func everyCut(n int) []int {
	cuts := make([]int, n)
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

// A reference is the slow second opinion on a framing, written from
// docs/wire.md and not from the code.
type reference struct {
	// read reads one body. It takes one byte at a time as long as it may yet
	// refuse, and returns io.EOF or io.ErrUnexpectedEOF where more is needed.
	read func(r *bufio.Reader, max int) ([]byte, error)
	// frame returns what a frame of body looks like, even where it would not
	// be read back as body; nil if there is no such frame.
	frame func(body []byte) []byte
}

// split reads all of data.
func (ref reference) split(data []byte, max int) fed {
	r := bufio.NewReader(bytes.NewReader(data))
	var got fed
	for {
		body, err := ref.read(r, max)
		switch err {
		case nil:
			got.bodies = append(got.bodies, string(body))
		case io.EOF, io.ErrUnexpectedEOF:
			return got
		default:
			got.err = err
			return got
		}
	}
}

// carries says whether a frame of body is read back as body and nothing else.
func (ref reference) carries(body []byte) bool {
	frame := ref.frame(body)
	if frame == nil {
		return false
	}
	r := bufio.NewReader(bytes.NewReader(frame))
	got, err := ref.read(r, len(body))
	_, end := r.ReadByte()
	return err == nil && bytes.Equal(got, body) && end == io.EOF
}

var refLines = reference{
	read: func(r *bufio.Reader, max int) ([]byte, error) {
		var line []byte
		for {
			b, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			body := bytes.TrimSuffix(line, []byte("\r"))
			if b == '\n' {
				return body, nil
			}
			line = append(line, b)
			if len(bytes.TrimSuffix(line, []byte("\r"))) > max {
				return nil, ErrFrameTooLarge
			}
		}
	},
	frame: func(body []byte) []byte { return fmt.Appendf(nil, "%s\n", body) },
}

func refDelimiter(d Delimiter) reference {
	delim := []byte(d)
	if len(delim) == 0 {
		delim = []byte{'\n'}
	}
	return reference{
		read: func(r *bufio.Reader, max int) ([]byte, error) {
			var got []byte
			for {
				b, err := r.ReadByte()
				if err != nil {
					return nil, err
				}
				got = append(got, b)
				if body, ok := bytes.CutSuffix(got, delim); ok {
					return body, nil
				}
				if len(got) <= max {
					continue
				}
				possible := false
				for i := 0; i <= max; i++ {
					possible = possible || bytes.HasPrefix(delim, got[i:])
				}
				if !possible {
					return nil, ErrFrameTooLarge
				}
			}
		},
		frame: func(body []byte) []byte { return append(bytes.Clone(body), delim...) },
	}
}

func refLength(size int, little bool) reference {
	width := 8
	for _, w := range []int{4, 2, 1} {
		if size <= w {
			width = w
		}
	}
	if size <= 0 {
		width = 4
	}
	return reference{
		read: func(r *bufio.Reader, max int) ([]byte, error) {
			prefix := make([]byte, width)
			if _, err := io.ReadFull(r, prefix); err != nil {
				return nil, err
			}
			if little {
				for i, j := 0, width-1; i < j; i, j = i+1, j-1 {
					prefix[i], prefix[j] = prefix[j], prefix[i]
				}
			}
			return readBody(r, new(big.Int).SetBytes(prefix), max)
		},
		frame: func(body []byte) []byte {
			var prefix [8]byte
			if width < 8 && uint64(len(body)) >= 1<<(8*width) {
				return nil
			}
			if little {
				binary.LittleEndian.PutUint64(prefix[:], uint64(len(body)))
				return append(prefix[:width:width], body...)
			}
			binary.BigEndian.PutUint64(prefix[:], uint64(len(body)))
			return append(prefix[8-width:], body...)
		},
	}
}

var refVarint = reference{
	read: func(r *bufio.Reader, max int) ([]byte, error) {
		size := new(big.Int)
		for i := range uint(10) {
			b, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			size.Or(size, new(big.Int).Lsh(big.NewInt(int64(b&0x7f)), 7*i))
			if b < 0x80 && size.BitLen() <= 64 {
				return readBody(r, size, max)
			}
		}
		return nil, ErrMalformed
	},
	frame: func(body []byte) []byte {
		var prefix []byte
		size := len(body)
		for ; size > 0x7f; size >>= 7 {
			prefix = append(prefix, 0x80|byte(size))
		}
		return append(append(prefix, byte(size)), body...)
	},
}

var refNetstring = reference{
	read: func(r *bufio.Reader, max int) ([]byte, error) {
		var digits []byte
		size := new(big.Int)
		for {
			b, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			if b == ':' && len(digits) > 0 {
				break
			}
			digits = append(digits, b)
			if !refDecimal.Match(digits) {
				return nil, ErrMalformed
			}
			if size.SetString(string(digits), 10); size.Cmp(big.NewInt(int64(max))) > 0 {
				return nil, ErrFrameTooLarge
			}
		}
		body, err := readBody(r, size, max)
		if err != nil {
			return nil, err
		}
		if b, err := r.ReadByte(); err != nil {
			return nil, err
		} else if b != ',' {
			return nil, ErrMalformed
		}
		return body, nil
	},
	frame: func(body []byte) []byte { return fmt.Appendf(nil, "%d:%s,", len(body), body) },
}

var refContentLength = reference{
	read: func(r *bufio.Reader, max int) ([]byte, error) {
		var line []byte
		var size *big.Int
		lines := 1
		for range 8192 {
			b, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			if line = append(line, b); len(line) > 64 && refLong.Match(line[len(line)-2:]) && !refKnown.Match(line) {
				continue // two letters or digits on: still good, and matching all of it again is slow
			}
			known := refKnown.Match(line)
			switch {
			case !refHeader.Match(line), known && !refSize.Match(line), known && size != nil,
				lines > 16 && b != '\r' && b != '\n', b == '\r' && len(line) == 1 && size == nil:
				return nil, ErrMalformed
			case string(line) == "\r\n":
				return readBody(r, size, max)
			}
			if digits := refSize.FindSubmatch(line); digits != nil && len(digits[2]) > 0 {
				n, _ := new(big.Int).SetString(string(digits[2]), 10)
				if n.Cmp(big.NewInt(int64(max))) > 0 {
					return nil, ErrFrameTooLarge
				}
				if b == '\n' {
					size = n
				}
			}
			if b == '\n' {
				line = nil
				lines++
			}
		}
		return nil, ErrMalformed
	},
	frame: func(body []byte) []byte {
		return fmt.Appendf(nil, "Content-Length: %d\r\n\r\n%s", len(body), body)
	},
}

// randomCuts returns some positions in a stream of n bytes, in order.
func randomCuts(seed uint64, n int) []int {
	rng := rand.New(rand.NewPCG(seed, 0))
	var cuts []int
	for at := rng.IntN(8); at < n; at += 1 + rng.IntN(1+rng.IntN(64)) {
		cuts = append(cuts, at)
	}
	return cuts
}

// requireSafe fails unless s is text that a terminal shows as one line.
func requireSafe(tb testing.TB, s []byte) {
	tb.Helper()
	require.True(tb, utf8.Valid(s), "not UTF-8: %q", s)
	for _, r := range string(s) {
		// Spelled out here, so that a hole in escaped shows.
		bad := r < 0x20 && r != '\t' || r >= 0x7f && r <= 0x9f || r == 0xfeff ||
			strings.ContainsRune("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029", r)
		require.False(tb, bad, "%U in %q", r, s)
	}
}

// appendSay returns what c makes of a message to the room.
func appendSay(c Codec, body []byte) ([]byte, error) {
	return c.AppendRequest(nil, &Request{Kind: ReqSay, Body: body})
}

// parseSay returns the body of frame, which is not to be another request than a
// message.
func parseSay(c Codec, frame []byte) ([]byte, error) {
	var req Request
	err := c.ParseRequest(frame, &req)
	if err == nil && req.Kind != ReqSay {
		return nil, fmt.Errorf("%w: a %v, want a message", ErrMalformed, req.Kind)
	}
	return req.Body, err
}

// slowSafe is appendSafe without its fast path.
func slowSafe(s []byte) (dst []byte) {
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		switch {
		case r == utf8.RuneError && size == 1, r < 0x80 && escaped(r):
			dst = append(dst, `\x`+string(hexDigits[s[0]>>4])+string(hexDigits[s[0]&15])...)
		case escaped(r):
			dst = append(dst, `\u{`...)
			for shift := 20; shift >= 0; shift -= 4 {
				if r>>shift != 0 {
					dst = append(dst, hexDigits[r>>shift&15])
				}
			}
			dst = append(dst, '}')
		default:
			dst = append(dst, s[:size]...)
		}
		s = s[size:]
	}
	return dst
}

// worstTime takes the most bytes that a time can.
var worstTime = time.Date(2026, 11, 23, 1, 2, 3, 123456789, time.FixedZone("", 3600))

// requireSameJSON fails unless encoding/json reads the event out of frame.
func requireSameJSON(tb testing.TB, frame []byte, want *Event) {
	tb.Helper()
	var o jsonAny
	decoder := json.NewDecoder(bytes.NewReader(frame))
	decoder.UseNumber()
	require.NoError(tb, decoder.Decode(&o), "%q", frame)
	got := Event{Seq: o.Seq, History: o.History}
	kinds := []string{"", "message", "join", "leave", "welcome", "gap", "goodbye", "direct", "refused", "ack", "ping", "pong", "", "", "rooms", "members", "renamed"}
	got.Room, got.Ref = o.Room, o.Ref
	got.Kind = Kind(slices.Index(kinds, o.Type))
	switch got.Kind {
	case Gap:
		require.Nil(tb, o.From)
		got.Gap, got.Skipped = Span{First: o.First, Last: o.Last}, o.Skipped
	case Welcome:
		got.From = MemberInfo{ID: o.ID.(string), Name: o.Name}
		got.Number, got.Welcome = o.LastID, o.welcome()
	case RoomList, Roster:
		got.List = o.list(tb, got.Kind)
	case Ack:
		if o.ID == nil {
			break
		}
		var err error
		got.Number, err = strconv.ParseUint(string(o.ID.(json.Number)), 10, 64)
		require.NoError(tb, err)
	case Goodbye:
		got.End = o.end(o.Reason)
	case Refused:
		got.End = o.end(o.Message)
	default:
		if o.From != nil {
			require.NoError(tb, json.Unmarshal(o.From, &got.From))
		}
		if o.Reason != "" {
			got.End = &EndError{Text: o.Reason}
		}
		if got.Kind == Renamed {
			got.Body = []byte(o.Name)
		}
	}
	if o.Time != nil {
		got.Time = *o.Time
	}
	if o.Body != nil {
		got.Body = []byte(*o.Body)
	}
	if o.Data != nil {
		var err error
		got.Body, err = base64.StdEncoding.DecodeString(*o.Data)
		require.NoError(tb, err)
	}
	require.Equal(tb, *want, got)
}

// parseHello returns the hello of frame, which is not to be another request.
func parseHello(c Codec, frame []byte) (Hello, error) {
	var req Request
	err := c.ParseRequest(frame, &req)
	switch {
	case err == nil && req.Kind != ReqHello:
		return Hello{}, fmt.Errorf("%w: a %v, want a hello", ErrMalformed, req.Kind)
	case req.Hello == nil:
		return Hello{}, err
	}
	return *req.Hello, err
}

// requireSyntaxLikeJSON fails where parseFrame and encoding/json differ about
// frame, and says whether parseFrame takes it.
func requireSyntaxLikeJSON(tb testing.TB, frame []byte) bool {
	tb.Helper()
	_, _, err := parseFrame(frame)
	if err == nil {
		require.True(tb, json.Valid(frame), "%q", frame)
		return true
	}
	if len(frame) == 0 {
		require.ErrorIs(tb, err, ErrNoFrame)
		return false
	}
	requireMalformed(tb, err)
	if !json.Valid(frame) {
		return false
	}
	// Valid JSON is refused for these reasons only.
	reasons := []string{"want an object at", "not UTF-8", "no type", "type is not a string", "type holds half", "twice", "too deeply"}
	ok := slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(err.Error(), r) })
	require.True(tb, ok, "%q: %v", frame, err)
	return false
}

// A wireExample is one line of a fenced block in docs/wire.md.
type wireExample struct {
	where   string // "docs/wire.md:17"
	subject string // of its block: "Lines" where that begins with hex framing=Lines
	left    string // what stands before the =, as it is written
	bytes   []byte // nil where there is no =
}

// wireExamples returns the examples of docs/wire.md in the blocks that begin
// with "hex kind=...", in order.
func wireExamples(t testing.TB, kind string) []wireExample {
	t.Helper()
	const file = "docs/wire.md"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var examples []wireExample
	subject, inBlock, wanted := "", false, false
	for i, line := range strings.Split(string(text), "\n") {
		where := fmt.Sprintf("%s:%d", file, i+1)
		line = strings.TrimSuffix(line, "\r") // git may have put it there
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && inBlock:
			inBlock = false
		case fence && info != "":
			info, isHex := strings.CutPrefix(info, "hex ")
			got, rest, ok := strings.Cut(info, "=")
			require.True(t, !isHex || ok, "%s: want hex KIND=SUBJECT", where)
			inBlock, wanted, subject = true, isHex && got == kind, rest
		case fence:
			inBlock, wanted = true, false
		case inBlock && wanted:
			left, right, continues, err := cutWireLine(line)
			require.NoError(t, err, where)
			switch {
			case continues:
				require.NotEmpty(t, examples, "%s: continues nothing", where)
				last := &examples[len(examples)-1]
				require.Equal(t, subject, last.subject, "%s: continues nothing", where)
				last.bytes = append(last.bytes, right...)
			case left != "":
				examples = append(examples, wireExample{where, subject, left, right})
			}
		}
	}
	require.False(t, inBlock, "%s: a block does not end", file)
	require.NotEmpty(t, examples, "%s: no blocks of %s", file, kind)
	return examples
}

// readBody reads a body of the size that a peer announced.
func readBody(r *bufio.Reader, size *big.Int, max int) ([]byte, error) {
	if size.Cmp(big.NewInt(int64(max))) > 0 {
		return nil, ErrFrameTooLarge
	}
	body, _ := io.ReadAll(io.LimitReader(r, size.Int64()))
	if int64(len(body)) < size.Int64() {
		return nil, io.ErrUnexpectedEOF
	}
	return body, nil
}

var refDecimal = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

// Each matches every beginning of a line that is allowed.
var (
	refHeader = regexp.MustCompile("^(\r\n?|[0-9A-Za-z!#$%&'*+.^_`|~-]+(:[\t -~]*(\r\n?)?)?)$")
	refSize   = regexp.MustCompile("^(?i:content-length):[\t ]?(([0-9]+)(\r\n?)?)?$")
	refKnown  = regexp.MustCompile("^(?i:content-length):")
	refLong   = regexp.MustCompile("^[0-9A-Za-z]{2}$")
)

// requireMalformed fails unless err is ErrMalformed and fit for a log.
func requireMalformed(tb testing.TB, err error) {
	tb.Helper()
	require.ErrorIs(tb, err, ErrMalformed)
	require.NotErrorIs(tb, err, ErrNoFrame)
	require.Less(tb, len(err.Error()), 512)
	requireSafe(tb, []byte(err.Error()))
}

// requireWithin checks that body lies in frame and was not copied.
func requireWithin(t testing.TB, frame, body []byte) {
	t.Helper()
	if len(body) == 0 {
		return
	}
	for i := range frame {
		if &frame[i] == &body[0] {
			require.LessOrEqual(t, i+len(body), len(frame), "body goes beyond its frame")
			return
		}
	}
	t.Fatalf("body %q does not lie in its frame", body)
}

// sentinelOf returns what err wraps, and checks that its text can be logged.
func sentinelOf(t testing.TB, err error) error {
	t.Helper()
	for _, sentinel := range []error{ErrMalformed, ErrFrameTooLarge, ErrUnframeable} {
		if errors.Is(err, sentinel) {
			text := err.Error()
			require.True(t, strings.HasPrefix(text, sentinel.Error()+": "), text)
			require.Equal(t, 1, strings.Count(text, "tcproom:"), text)
			require.LessOrEqual(t, len(text), 512)
			require.False(t, strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", text)
			return sentinel
		}
	}
	t.Fatalf("got error %v, want one that wraps a sentinel", err)
	return nil
}

// cutWireLine takes apart "left = bytes # comment", or " bytes # comment", which
// continues the line before.
func cutWireLine(line string) (left string, right []byte, continues bool, err error) {
	continues = strings.HasPrefix(line, " ")
	if !continues {
		if left, line, err = cutUnquoted(line, " = "); err != nil {
			return "", nil, false, err
		}
	}
	if line == "" {
		return left, nil, false, nil
	}
	right = []byte{}
	for {
		line = strings.TrimLeft(line, " ")
		switch {
		case line == "" || line[0] == '#':
			return left, right, continues, nil
		case line[0] == '"':
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return "", nil, false, fmt.Errorf("%w: %s", err, line)
			}
			text, _ := strconv.Unquote(quoted)
			right = append(right, text...)
			line = line[len(quoted):]
		default:
			pair, rest, _ := strings.Cut(line, " ")
			b, err := strconv.ParseUint(pair, 16, 8)
			if err != nil || len(pair) != 2 {
				return "", nil, false, fmt.Errorf("%q is not a byte in hex", pair)
			}
			right = append(right, byte(b))
			line = rest
		}
	}
}

// jsonAny is how a program that uses encoding/json reads our objects.
type jsonAny struct {
	Type       string          `json:"type"`
	Seq        uint64          `json:"seq"`
	From       json.RawMessage `json:"from"`
	First      uint64          `json:"first"`
	Last       uint64          `json:"last"`
	Skipped    uint64          `json:"skipped"`
	Time       *time.Time      `json:"time"`
	Body       *string         `json:"body"`
	Data       *string         `json:"data"`
	History    bool            `json:"history"`
	Reason     string          `json:"reason"`
	Code       string          `json:"code"`
	Message    string          `json:"message"`
	Retry      *bool           `json:"retry"`
	RetryAfter int64           `json:"retryAfter"`
	Epoch      string          `json:"epoch"`
	ID         any             `json:"id"` // of a member, or the number of a message
	Name       string          `json:"name"`
	Members    []MemberInfo    `json:"members"`
	Total      int             `json:"total"`
	Outcome    string          `json:"outcome"`
	Token      string          `json:"token"`
	LastID     uint64          `json:"lastId"`
	Room       string          `json:"room"`
	Ref        uint64          `json:"ref"`
	Rooms      json.RawMessage `json:"rooms"`
	More       bool            `json:"more"`
}

// list returns what a list says.
func (o *jsonAny) list(tb testing.TB, kind Kind) *List {
	l := &List{Total: o.Total, More: o.More}
	if kind == Roster {
		l.Members = o.welcome().Members
	} else if o.Rooms != nil {
		require.NoError(tb, json.Unmarshal(o.Rooms, &l.Rooms))
	}
	if len(l.Rooms) == 0 {
		l.Rooms = nil
	}
	return l
}

// end returns what a goodbye or refused says.
func (o *jsonAny) end(text string) *EndError {
	return &EndError{Cause: Cause(o.Code), Text: text, Final: o.Retry != nil && !*o.Retry, RetryAfter: time.Duration(o.RetryAfter) * time.Millisecond}
}

// welcome returns what a welcome says beside the member and the seq.
func (o *jsonAny) welcome() *WelcomeInfo {
	w := &WelcomeInfo{Epoch: o.Epoch, Members: o.Members, Total: o.Total, Outcome: o.Outcome, Token: Secret(o.Token)}
	if len(w.Members) == 0 {
		w.Members = nil
	}
	return w
}

// cutUnquoted cuts line at the first sep that is not in quotes, and drops a
// comment before that.
func cutUnquoted(line, sep string) (before, after string, err error) {
	for i := 0; i < len(line); {
		switch {
		case strings.HasPrefix(line[i:], sep):
			return strings.TrimSpace(line[:i]), line[i+len(sep):], nil
		case line[i] == '#':
			return strings.TrimSpace(line[:i]), "", nil
		case line[i] == '"':
			quoted, err := strconv.QuotedPrefix(line[i:])
			if err != nil {
				return "", "", fmt.Errorf("%w: %s", err, line[i:])
			}
			i += len(quoted)
		default:
			i++
		}
	}
	return strings.TrimSpace(line), "", nil
}
