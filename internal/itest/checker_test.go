package itest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"example.com/tcproom/internal/testkit"
	"github.com/stretchr/testify/require"
)

// goodHistory is one of three clients and the room in which nothing is wrong:
//
//	1 a joins, 2 b joins, 3 a: one, 4 the room: two, 5 b: three, 6 c joins,
//	7 the room: four, 8 a: five, 9 c leaves
//
// b skips 7 and 8, and c receives 3, 4 and 5 as history.
func goodHistory() []record {
	r := &recorder{}
	recv := func(client int, kind string, seq uint64, from, body string) {
		rec := record{Client: client, Op: opRecv, Kind: kind, Seq: seq, From: from, Body: body}
		if body != "" {
			rec.Sum = sum([]byte(body))
		}
		r.add(rec)
	}
	said := func(client int, body string, seq uint64) {
		_ = r.send(client, []byte(body), func() (uint64, error) { return seq, nil })
	}
	joins := func(client int, id string, seq uint64, members ...string) {
		r.add(record{Op: opJoined, From: id})
		r.add(record{Client: client, Op: opWelcome, Epoch: "e", Seq: seq, From: id, Members: members, Total: len(members)})
	}
	joins(r.dial(), "a", 1, "a")
	joins(r.dial(), "b", 2, "a", "b")
	recv(1, "Join", 2, "b", "")
	said(1, "one", 0)
	recv(2, "Message", 3, "a", "one")
	said(0, "two", 4)
	recv(1, "Message", 4, "", "two")
	said(2, "three", 0)
	recv(2, "Message", 4, "", "two")
	recv(1, "Message", 5, "b", "three")
	joins(r.dial(), "c", 6, "a", "b", "c")
	for seq, body := range []string{"one", "two", "three"} {
		recv(3, "Message", uint64(3+seq), []string{"a", "", "b"}[seq], body)
		r.history[len(r.history)-1].Past = true
	}
	recv(1, "Join", 6, "c", "")
	recv(2, "Join", 6, "c", "")
	said(0, "four", 7)
	recv(1, "Message", 7, "", "four")
	said(1, "five", 0)
	recv(3, "Message", 7, "", "four")
	recv(3, "Message", 8, "a", "five")
	r.add(record{Client: 2, Op: opGap, Seq: 7, To: 8})
	r.add(record{Op: opLeft, From: "c", Cause: "left"})
	r.end(3, nil)
	recv(1, "Leave", 9, "c", "")
	recv(2, "Leave", 9, "c", "")
	_ = r.send(1, []byte("six"), func() (uint64, error) { return 0, fmt.Errorf("too large") })
	for client, id := range []string{"a", "b"} {
		r.add(record{Client: client + 1, Op: opGoodbye})
		r.add(record{Op: opLeft, From: id, Cause: "closed"})
		r.end(client+1, nil)
	}
	return r.history
}

// at returns the index in h of client's op at seq; a negative seq is any.
func at(h []record, client int, what op, seq int) int {
	i := slices.IndexFunc(h, func(rec record) bool {
		return rec.Client == client && rec.Op == what && (seq < 0 || rec.Seq == uint64(seq))
	})
	if i < 0 {
		panic(fmt.Sprintf("no %s of %d at %d", what, client, seq))
	}
	return i
}

// drop removes a record.
func drop(h []record, i int) []record { return slices.Delete(h, i, i+1) }

// move takes a record to another place.
func move(h []record, from, to int) []record {
	rec := h[from]
	return slices.Insert(drop(h, from), to, rec)
}

// A corruption is something wrong with a good history.
type corruption struct {
	name    string
	corrupt func(h []record) []record
	want    []string // names of the anomalies
	dense   bool     // not seen if seqs are sparse
}

// stretch makes the seqs of a history sparse. Its first client sees all.
func stretch(h []record) []record {
	h = slices.Clone(h)
	for i := range h {
		h[i].Seq, h[i].To = testkit.Sparse.At(h[i].Seq), testkit.Sparse.At(h[i].To)
	}
	return append([]record{{Client: 1, Op: opSparse}}, h...)
}

// requireFound checks that the checker rejects each by its name and by no other,
// and finds the same in a history that was written and read again.
func requireFound(t *testing.T, corruptions []corruption) {
	t.Helper()
	for _, tt := range corruptions {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.corrupt(goodHistory())
			found := check(h)
			var names []string
			for _, a := range found {
				if !slices.Contains(names, a.name) {
					names = append(names, a.name)
				}
			}
			require.ElementsMatch(t, tt.want, names, "%v", found)
			if !tt.dense {
				far := check(stretch(h))
				require.Len(t, far, len(found), "%v", far)
				for i := range far {
					require.Equal(t, found[i].name, far[i].name)
				}
			}

			var file bytes.Buffer
			require.NoError(t, writeHistory(&file, h))
			read, err := readHistory(&file)
			require.NoError(t, err)
			require.Equal(t, found, check(read))
		})
	}
}

func TestCheckerOfOrder(t *testing.T) {
	requireFound(t, []corruption{
		{name: "good", corrupt: func(h []record) []record { return h }},
		{name: "two events in one place", corrupt: func(h []record) []record {
			// One client sees b's message at 4, where the others see the room's.
			h[at(h, 2, opRecv, 4)].Body, h[at(h, 2, opRecv, 4)].Sum = "three", sum([]byte("three"))
			return h
		}, want: []string{inconsistent}},
		{name: "two swapped", corrupt: func(h []record) []record {
			return move(h, at(h, 3, opRecv, 8), at(h, 3, opRecv, 7))
		}, want: []string{skip, nonMonotonic}},
		{name: "an event again after others", corrupt: func(h []record) []record {
			again := h[at(h, 1, opRecv, 4)]
			return slices.Insert(h, at(h, 1, opRecv, 7), again)
		}, want: []string{duplicate}},
		{name: "an event late", corrupt: func(h []record) []record {
			// c receives the live 7 only after a gap that has it.
			return slices.Insert(h, at(h, 3, opRecv, 7), record{Client: 3, Op: opGap, Seq: 7, To: 7})
		}, want: []string{nonMonotonic}},
		{name: "a message in two places", corrupt: func(h []record) []record {
			i := at(h, 1, opRecv, 9)
			again := h[at(h, 1, opRecv, 7)]
			again.Seq = 10
			return slices.Insert(h, i+2, again, record{Client: 2, Op: opRecv, Kind: "Message", Seq: 10, Body: again.Body, Sum: again.Sum})
		}, want: []string{duplicate}},
		{name: "handed in when what comes behind it was seen", corrupt: func(h []record) []record {
			i := slices.IndexFunc(h, func(rec record) bool { return rec.Op == opInvoke && rec.Body == "five" })
			return move(h, at(h, 1, opRecv, 9), i)
		}, want: []string{realTime}},
		{name: "one socket, two orders", corrupt: func(h []record) []record {
			for i := range h {
				if h[i].Body == "one" && h[i].Op != opInvoke && h[i].Op != opOK {
					h[i].Body, h[i].Sum = "five", sum([]byte("five"))
				} else if h[i].Body == "five" && h[i].Op != opInvoke && h[i].Op != opOK {
					h[i].Body, h[i].Sum = "one", sum([]byte("one"))
				}
			}
			// Both were handed in before either was seen.
			i := slices.IndexFunc(h, func(rec record) bool { return rec.Op == opInvoke && rec.Body == "five" })
			return move(h, i, at(h, 2, opRecv, 3))
		}, want: []string{realTime}},
		{name: "a join before the dial", corrupt: func(h []record) []record {
			return move(h, at(h, 3, opDial, -1), at(h, 1, opRecv, 6))
		}, want: []string{realTime}},
	})
}

func TestCheckerOfMembers(t *testing.T) {
	requireFound(t, []corruption{
		{name: "a member too few", corrupt: func(h []record) []record {
			w := &h[at(h, 3, opWelcome, -1)]
			w.Members, w.Total = []string{"a", "c"}, 2
			return h
		}, want: []string{wrongMembers}},
		{name: "members in another order", corrupt: func(h []record) []record {
			h[at(h, 3, opWelcome, -1)].Members = []string{"b", "a", "c"}
			return h
		}, want: []string{wrongMembers}},
		{name: "members of another number", corrupt: func(h []record) []record {
			h[at(h, 3, opWelcome, -1)].Total = 4
			return h
		}, want: []string{wrongMembers}},
		{name: "another epoch", corrupt: func(h []record) []record {
			h[at(h, 2, opWelcome, -1)].Epoch = "f"
			return h
		}, want: []string{wrongEpoch}},
		{name: "an event after the own leave", corrupt: func(h []record) []record {
			i := at(h, 3, opEnd, -1)
			for _, client := range []int{1, 3} {
				h = slices.Insert(h, i, record{Client: client, Op: opRecv, Kind: "Join", Seq: 10, From: "d"})
			}
			return move(h, i+1, at(h, 1, opRecv, 9)+1)
		}, want: []string{afterLeave, skip, lost}},
		{name: "a message of one who has left", corrupt: func(h []record) []record {
			i := at(h, 2, opRecv, 9)
			return slices.Insert(h, i+1,
				record{Client: 3, Op: opInvoke, Body: "seven", Sum: sum([]byte("seven"))},
				record{Client: 1, Op: opRecv, Kind: "Message", Seq: 10, From: "c", Body: "seven", Sum: sum([]byte("seven"))},
				record{Client: 2, Op: opRecv, Kind: "Message", Seq: 10, From: "c", Body: "seven", Sum: sum([]byte("seven"))},
			)
		}, want: []string{afterLeave}},
		{name: "an event after goodbye", corrupt: func(h []record) []record {
			return move(h, at(h, 1, opRecv, 9), at(h, 1, opGoodbye, -1)+1)
		}, want: []string{afterLeave, lost}},
		{name: "two joins", corrupt: func(h []record) []record {
			i := at(h, 2, opRecv, 9)
			join := record{Client: 1, Op: opRecv, Kind: "Join", Seq: 10, From: "b"}
			return slices.Insert(h, i+1, join, record{Client: 2, Op: opGap, Seq: 10, To: 10})
		}, want: []string{alternation}},
		{name: "two leaves", corrupt: func(h []record) []record {
			i := at(h, 2, opRecv, 9)
			leave := record{Client: 1, Op: opRecv, Kind: "Leave", Seq: 10, From: "c"}
			other := leave
			other.Client = 2
			return slices.Insert(h, i+1, leave, other)
		}, want: []string{alternation}},
		{name: "OnLeave not called", corrupt: func(h []record) []record { return drop(h, at(h, 0, opLeft, -1)) }, want: []string{pairing}},
		{name: "OnLeave called twice", corrupt: func(h []record) []record {
			i := at(h, 0, opLeft, -1)
			return slices.Insert(h, i, h[i])
		}, want: []string{pairing}},
		{name: "OnLeave without OnJoin", corrupt: func(h []record) []record { return drop(h, at(h, 0, opJoined, -1)) }, want: []string{pairing}},
		{name: "a cause of one's own", corrupt: func(h []record) []record {
			h[at(h, 0, opLeft, -1)].Cause = "because"
			return h
		}, want: []string{wrongCause}},
	})
}

func TestCheckerOfMessages(t *testing.T) {
	requireFound(t, []corruption{
		{name: "its own message", corrupt: func(h []record) []record {
			own := h[at(h, 2, opRecv, 3)]
			own.Client = 1
			return slices.Insert(h, at(h, 1, opRecv, 4), own)
		}, want: []string{echo}},
		{name: "a hole without a gap", corrupt: func(h []record) []record { return drop(h, at(h, 1, opRecv, 4)) }, want: []string{skip}},
		{name: "a gap that is not told", corrupt: func(h []record) []record { return drop(h, at(h, 2, opGap, -1)) }, want: []string{skip}},
		{name: "a gap too short", corrupt: func(h []record) []record {
			h[at(h, 2, opGap, -1)].To = 7
			return h
		}, want: []string{skip}},
		{name: "a hole of what nobody saw", corrupt: func(h []record) []record {
			return slices.DeleteFunc(h, func(rec record) bool { return rec.Seq == 4 })
		}, want: []string{skip}, dense: true},
		{name: "a hole in what came before the join", corrupt: func(h []record) []record {
			return drop(h, at(h, 3, opRecv, 4))
		}, want: []string{skip}},
		{name: "the last before the join missing", corrupt: func(h []record) []record {
			return drop(h, at(h, 3, opRecv, 5))
		}, want: []string{skip}},
		{name: "the last event missing, of one that stays, in a room that tells joins and leaves together", corrupt: func(h []record) []record {
			return append([]record{{Op: opTogether}}, drop(h, at(h, 2, opRecv, 9))...)
		}, want: []string{lost}},
		{name: "the last event missing", corrupt: func(h []record) []record { return drop(h, at(h, 2, opRecv, 9)) }, want: []string{lost}},
		{name: "a message that was taken and has no place", corrupt: func(h []record) []record {
			return slices.Insert(h, at(h, 3, opRecv, 8)+1,
				record{Client: 3, Op: opInvoke, Body: "seven", Sum: sum([]byte("seven"))},
				record{Client: 3, Op: opOK, Body: "seven", Sum: sum([]byte("seven"))})
		}, want: []string{lost}},
		{name: "a message that nobody sent", corrupt: func(h []record) []record {
			for i := range h {
				if h[i].Seq == 7 && h[i].Op == opRecv {
					h[i].Sum = sum([]byte("fuor"))
				}
			}
			return drop(h, at(h, 0, opOK, 7))
		}, want: []string{unexpected}},
		{name: "a message under another's name", corrupt: func(h []record) []record {
			for i := range h {
				if h[i].Op == opRecv && h[i].Seq == 3 {
					h[i].From = ""
				}
			}
			return h
		}, want: []string{unexpected, skip}},
		{name: "a message that was refused", corrupt: func(h []record) []record {
			i := slices.IndexFunc(h, func(rec record) bool { return rec.Op == opOK && rec.Body == "five" })
			h[i].Op = opFail
			return h
		}, want: []string{aborted}},
		{name: "bytes that are no frame", corrupt: func(h []record) []record {
			h[at(h, 1, opEnd, -1)].Cause = "malformed"
			return h
		}, want: []string{garbled}},
	})
}
