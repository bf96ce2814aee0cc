package itest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"

	"example.com/tcproom"
)

// An op is what a record of a history is about.
type op string

const (
	// What a client did. A send, of a client or of the room, is two records:
	// one before the call and one after it.
	opDial   op = "dial"   // it is about to connect
	opInvoke op = "invoke" // it is about to send Sum
	opOK     op = "ok"     // that was taken; Seq is its place, if the call returns it
	opFail   op = "fail"   // that was refused
	opFault  op = "fault"  // its connection will lose bytes without a word
	opEnd    op = "end"    // its stream ended, with Cause; none for a clean end

	// What a client saw.
	opWelcome op = "welcome" // From is its own ID
	opRecv    op = "recv"
	opGap     op = "gap" // from Seq to To
	opGoodbye op = "goodbye"

	// Joins and leaves are told together: who leaves may not be told of the last ones.
	opTogether op = "together"
	// Seqs rise and are not dense. This client is there from the first event to the end
	// and sees all: what it does not see and did not say itself is not in the order.
	opSparse op = "sparse"

	// What the room's hooks saw of the member From.
	opJoined op = "joined"
	opLeft   op = "left" // with Cause
)

// A record is one line of a history. A history is in the order in which things
// happened: what was recorded before a call began precedes what was recorded
// after another had returned, if that was so.
type record struct {
	Client  int      `json:"client"` // one connection, counted from 1; 0: the room itself
	Op      op       `json:"op"`
	Kind    string   `json:"kind,omitempty"` // of recv: Message, Join, Leave
	Epoch   string   `json:"epoch,omitempty"`
	Seq     uint64   `json:"seq,omitempty"`
	To      uint64   `json:"to,omitempty"`
	From    string   `json:"from,omitempty"` // ID; empty: the room
	Body    string   `json:"body,omitempty"` // its beginning
	Sum     string   `json:"sum,omitempty"`  // of all of it; no two messages have one body
	Past    bool     `json:"past,omitempty"` // from before the join
	Members []string `json:"members,omitempty"`
	Total   int      `json:"total,omitempty"`
	Cause   string   `json:"cause,omitempty"`
}

// sum is a hash that keeps bodies apart.
func sum(body []byte) string {
	h := sha256.Sum256(body)
	return hex.EncodeToString(h[:8])
}

// label returns a body's first word, for people.
func label(body []byte) string {
	word, _, _ := strings.Cut(string(body[:min(len(body), 24)]), " ")
	return word
}

// seen makes the record of an event that client got. ok is false for events that a
// history does not record.
func seen(client int, ev *tcproom.Event) (rec record, ok bool) {
	rec = record{Client: client, Op: opRecv, Kind: ev.Kind.String(), Seq: ev.Seq, From: ev.From.ID}
	switch ev.Kind {
	case tcproom.Message:
		rec.Sum, rec.Body, rec.Past = sum(ev.Body), label(ev.Body), ev.History
	case tcproom.Join, tcproom.Leave:
	case tcproom.Welcome:
		rec.Op, rec.Kind, rec.Epoch, rec.Total = opWelcome, "", ev.Welcome.Epoch, ev.Welcome.Total
		for _, m := range ev.Welcome.Members {
			rec.Members = append(rec.Members, m.ID)
		}
	case tcproom.Gap:
		rec.Op, rec.Kind, rec.Seq, rec.To = opGap, "", ev.Gap.First, ev.Gap.Last
	case tcproom.Goodbye:
		rec.Op, rec.Kind, rec.Cause = opGoodbye, "", ev.End.Text
	default:
		return record{}, false
	}
	return rec, true
}

// A recorder makes the history of a run. Its methods may be called from many
// goroutines.
type recorder struct {
	forget bool // keep nothing

	mu      sync.Mutex
	history []record
	clients int
}

func (r *recorder) add(rec record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.forget {
		r.history = append(r.history, rec)
	}
}

// event records what client got.
func (r *recorder) event(client int, ev *tcproom.Event) {
	if rec, ok := seen(client, ev); ok {
		r.add(rec)
	}
}

// dial records that a new client is about to connect, and numbers it.
func (r *recorder) dial() (client int) {
	r.mu.Lock()
	r.clients++
	client = r.clients
	r.mu.Unlock()
	r.add(record{Client: client, Op: opDial})
	return client
}

// send records a send around the call that does it, which returns the seq if it knows
// that.
func (r *recorder) send(client int, body []byte, call func() (uint64, error)) error {
	rec := record{Client: client, Op: opInvoke, Sum: sum(body), Body: label(body)}
	r.add(rec)
	seq, err := call()
	if rec.Op, rec.Seq = opOK, seq; err != nil {
		rec.Op, rec.Cause = opFail, err.Error()
	}
	r.add(rec)
	return err
}

// end records how the stream of a client ended. The room's end without a word is
// a clean one.
func (r *recorder) end(client int, err error) {
	rec := record{Client: client, Op: opEnd}
	if err != nil && !errors.Is(err, io.EOF) {
		rec.Cause = codeOf(err)
	}
	r.add(rec)
}

// A cause is one with which a member may leave; docs/wire.md has all codes.
type cause struct {
	err  error
	code string
}

var causes = []cause{
	{tcproom.ErrRoomClosed, "closed"}, {tcproom.ErrKicked, "kicked"}, {tcproom.ErrSlow, "slow"},
	{tcproom.Cause("write-timeout"), "write-timeout"}, {tcproom.Cause("idle-timeout"), "idle-timeout"},
	{tcproom.Cause("reset"), "reset"}, {tcproom.ErrWrongDoor, "wrong-door"}, {tcproom.ErrMalformed, "malformed"}, {tcproom.ErrFrameTooLarge, "too-large"},
	{tcproom.ErrHook, "hook"}, {io.ErrUnexpectedEOF, "cut-off"}, {io.EOF, "left"},
}

// codeOf returns the code of a cause, or the error's text if it has none.
func codeOf(cause error) string {
	for _, c := range causes {
		if errors.Is(cause, c.err) {
			return c.code
		}
	}
	return cause.Error()
}

// hooks returns the options with which r records a room's joins and leaves.
func (r *recorder) hooks() []tcproom.RoomOption {
	return []tcproom.RoomOption{
		tcproom.OnJoin(func(m *tcproom.Member) error {
			r.add(record{Op: opJoined, From: m.ID()})
			return nil
		}),
		tcproom.OnLeave(func(m *tcproom.Member, cause error) {
			r.add(record{Op: opLeft, From: m.ID(), Cause: codeOf(cause)})
		}),
	}
}

// writeHistory writes one JSON object a line.
func writeHistory(w io.Writer, history []record) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	for i := range history {
		if err := enc.Encode(&history[i]); err != nil {
			return err
		}
	}
	return b.Flush()
}

// readHistory reads what writeHistory wrote.
func readHistory(r io.Reader) (history []record, err error) {
	dec := json.NewDecoder(r)
	for {
		var rec record
		if err := dec.Decode(&rec); errors.Is(err, io.EOF) {
			return history, nil
		} else if err != nil {
			return nil, err
		}
		history = append(history, rec)
	}
}
