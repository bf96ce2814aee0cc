//go:build unix

package outside

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestChecker: the checker finds nothing in what is right, and finds each thing that is
// wrong.
func TestChecker(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1_000_000+int64(s), 0) }
	// ada joins at 10, bob at 20 and cy at 30; ada says two things, and leaves.
	story := func() []*life {
		say := func(id string, seq uint64, n uint64) event {
			return event{seq: seq, kind: "message", id: id, name: id, body: fmt.Sprintf("word %s %d", id, n), time: at(int(seq))}
		}
		join := func(id string, seq uint64) event {
			return event{seq: seq, kind: "join", id: id, name: id, time: at(int(seq))}
		}
		acked := func(id string, n, seq uint64) *said {
			return &said{number: n, body: fmt.Sprintf("word %s %d", id, n), first: at(int(seq) - 1), acked: at(int(seq) + 1), seq: seq}
		}
		list := func(ids ...string) (l []member) {
			for _, id := range ids {
				l = append(l, member{id, id})
			}
			return l
		}
		leave := event{seq: 60, kind: "leave", id: "ada", name: "ada", time: at(60)}
		return []*life{
			{epoch: "e", id: "ada", name: "ada", join: 10, pos: 50, events: []event{join("bob", 20), join("cy", 30)},
				rosters: []roster{{seq: 10, members: list("ada"), total: 1}}, sent: []*said{acked("ada", 1, 40), acked("ada", 2, 50)}},
			{epoch: "e", id: "bob", name: "bob", join: 20, pos: 60, events: []event{join("cy", 30), say("ada", 40, 1), say("ada", 50, 2), leave},
				rosters: []roster{{seq: 20, members: list("ada", "bob"), total: 2}}},
			{epoch: "e", id: "cy", name: "cy", join: 30, pos: 60, events: []event{say("ada", 40, 1), say("ada", 50, 2), leave},
				rosters: []roster{{seq: 30, members: list("ada", "bob", "cy"), total: 3}}},
		}
	}
	found := func(lives []*life) []string {
		w := &world{t: t, grace: grace, counts: make(map[string]int)}
		w.verify(lives)
		return w.faults
	}
	require.Empty(t, found(story()))
	gap := story()
	gap[2].events = gap[2].events[1:]
	gap[2].gaps = [][2]uint64{{31, 40}}
	require.Empty(t, found(gap), "a gap that says so")

	for _, tt := range []struct {
		name, want string
		spoil      func(l []*life)
	}{
		{"a loss", "has missed 1, the first at 40", func(l []*life) { l[2].events = l[2].events[1:] }},
		{"another order", "two events have seq 40", func(l []*life) {
			e := l[2].events
			e[0].body, e[1].body = e[1].body, e[0].body
		}},
		{"a message that is there twice", "is there twice", func(l []*life) {
			l[0].sent = nil
			l[1].events[2].body, l[2].events[1].body = l[1].events[1].body, l[2].events[0].body
		}},
		{"numbers that fall", "comes behind number", func(l []*life) {
			for _, of := range l[1:] {
				for i := range of.events {
					switch e := &of.events[i]; e.seq {
					case 40:
						e.body = "word ada 2"
					case 50:
						e.body = "word ada 1"
					}
				}
			}
			l[0].sent = nil
		}},
		{"what was acknowledged and nobody got", "nobody got it", func(l []*life) {
			l[0].sent = append(l[0].sent, &said{number: 3, body: "word ada 3", acked: at(70)})
		}},
		{"a message behind the leave", "has left at 60", func(l []*life) {
			l[1].events = append(l[1].events, event{seq: 61, kind: "message", id: "ada", name: "ada", body: "word ada 9", time: at(61)})
			l[1].pos = 61
		}},
		{"two leaves", "leave of ada at 61, which has left at 60", func(l []*life) {
			l[1].events = append(l[1].events, event{seq: 61, kind: "leave", id: "ada", name: "ada", time: at(61)})
			l[1].pos = 61
		}},
		{"time that falls", "time falls", func(l []*life) {
			l[1].events[2].time, l[2].events[1].time = at(1), at(1)
		}},
		{"a welcome that forgets somebody", "does not name ada", func(l []*life) {
			l[2].rosters[0].members, l[2].rosters[0].total = l[2].rosters[0].members[1:], 2
		}},
		{"a welcome that names who has left", "which left at 60", func(l []*life) {
			l[2].rosters[0].seq = 60
		}},
		{"an order against real time", "was sent at", func(l []*life) { l[0].sent[0].first = at(60) }},
		{"a session that expires too early", "has expired", func(l []*life) {
			l[0].lastByte, l[0].expired = at(58), &expiry{at: at(61), epoch: "e"}
		}},
		{"another epoch", "there are 2 epochs", func(l []*life) { l[2].epoch = "f" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lives := story()
			tt.spoil(lives)
			require.Contains(t, fmt.Sprint(found(lives)), tt.want)
		})
	}
}
