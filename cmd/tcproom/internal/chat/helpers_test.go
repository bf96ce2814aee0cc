package chat

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

var update = flag.Bool("update", false, "write the golden views of testdata anew")

// start is when the stories of the tests begin; the person's clock is two hours ahead of
// UTC.
var (
	start = time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	zone  = time.FixedZone("", 2*60*60)
)

var (
	ada = tcproom.MemberInfo{ID: "x-1", Name: "ada"}
	bob = tcproom.MemberInfo{ID: "x-2", Name: "bob"}
	eve = tcproom.MemberInfo{ID: "x-3", Name: "eve"}
)

// A story drives a screen without a terminal.
type story struct {
	*screen
	t     testing.TB
	tasks []task // that were not answered
	clock time.Time
	seq   map[string]uint64
}

func newStory(t testing.TB) *story {
	st := &story{t: t, clock: start, seq: make(map[string]uint64)}
	st.screen = newScreen("localhost:9000", false, func(task task) error {
		st.tasks = append(st.tasks, task)
		return nil
	})
	st.styles.off, st.zone = true, zone
	st.now = func() time.Time { return st.clock }
	return st
}

// wait lets time pass.
func (st *story) wait(d time.Duration) { st.clock = st.clock.Add(d) }

func (st *story) size(w, h int) { st.Update(tea.WindowSizeMsg{Width: w, Height: h}) }

// come lets an event come, whose time is now and whose seq is the next of its room.
func (st *story) come(ev tcproom.Event) {
	ev.Time = st.clock
	switch ev.Kind {
	case tcproom.Message, tcproom.Join, tcproom.Leave, tcproom.Renamed:
		if ev.Seq == 0 {
			st.seq[ev.Room]++
			ev.Seq = st.seq[ev.Room]
		}
	}
	st.Update(events{ev})
}

func (st *story) says(room string, m tcproom.MemberInfo, body string) {
	st.come(tcproom.Event{Kind: tcproom.Message, Room: room, From: m, Body: []byte(body)})
}

// enters welcomes ada in a room with others.
func (st *story) enters(room string, others ...tcproom.MemberInfo) {
	st.seq[room]++
	st.come(tcproom.Event{Kind: tcproom.Welcome, Room: room, From: ada, Seq: st.seq[room], Welcome: &tcproom.WelcomeInfo{
		Epoch: "E1", Members: append(others, ada), Total: len(others) + 1, Outcome: "joined", Token: "T",
	}})
}

// begins welcomes ada to a hub.
func (st *story) begins() {
	st.come(tcproom.Event{Kind: tcproom.Welcome, Room: "*", From: ada, Welcome: &tcproom.WelcomeInfo{Epoch: "E0", Outcome: "joined", Token: "T"}})
}

// press presses keys by their names; what is no name is typed.
func (st *story) press(keys ...string) {
	for _, k := range keys {
		if code, ok := named[k]; ok {
			st.Update(tea.KeyPressMsg(code))
			continue
		}
		for _, r := range k {
			st.Update(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
}

var named = map[string]tea.Key{
	"enter": {Code: tea.KeyEnter}, "tab": {Code: tea.KeyTab}, "shift+tab": {Code: tea.KeyTab, Mod: tea.ModShift},
	"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "left": {Code: tea.KeyLeft}, "right": {Code: tea.KeyRight},
	"home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd}, "pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown},
	"backspace": {Code: tea.KeyBackspace}, "delete": {Code: tea.KeyDelete}, "esc": {Code: tea.KeyEsc},
	"ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "ctrl+d": {Code: 'd', Mod: tea.ModCtrl}, "ctrl+j": {Code: 'j', Mod: tea.ModCtrl},
	"ctrl+n": {Code: 'n', Mod: tea.ModCtrl}, "ctrl+p": {Code: 'p', Mod: tea.ModCtrl}, "ctrl+w": {Code: 'w', Mod: tea.ModCtrl},
	"ctrl+u": {Code: 'u', Mod: tea.ModCtrl}, "ctrl+k": {Code: 'k', Mod: tea.ModCtrl}, "ctrl+left": {Code: tea.KeyLeft, Mod: tea.ModCtrl},
	"ctrl+right": {Code: tea.KeyRight, Mod: tea.ModCtrl}, "alt+a": {Code: 'a', Mod: tea.ModAlt}, "alt+2": {Code: '2', Mod: tea.ModAlt},
	"alt+enter": {Code: tea.KeyEnter, Mod: tea.ModAlt}, "ctrl+up": {Code: tea.KeyUp, Mod: tea.ModCtrl}, "ctrl+down": {Code: tea.KeyDown, Mod: tea.ModCtrl},
}

// enters types a line and presses Enter.
func (st *story) line(text string) { st.press(text, "enter") }

// did answers the first task with what has become of it.
func (st *story) did(seq uint64, err error) {
	st.t.Helper()
	require.NotEmpty(st.t, st.tasks)
	t := st.tasks[0]
	st.tasks = st.tasks[1:]
	st.Update(result{task: t, seq: seq, err: err})
}

// did takes the next seq of a room for a message of ada's.
func (st *story) acked(room string) {
	st.seq[room]++
	st.did(st.seq[room], nil)
}

// shown returns what the screen shows, with the cursor as "▌".
func (st *story) shown() string {
	v := st.View()
	rows := strings.Split(v.Content, "\n")
	require.Len(st.t, rows, st.height, "rows of the view")
	for i, row := range rows {
		require.LessOrEqual(st.t, widthOf(row, st.method), st.width, "row %d: %q", i, row)
	}
	require.Less(st.t, v.Cursor.X, st.width)
	require.Less(st.t, v.Cursor.Y, st.height)
	row := rows[v.Cursor.Y]
	before := ""
	for row != "" && widthOf(before, st.method) < v.Cursor.X {
		c, _, size := cluster(row, st.method)
		before, row = before+c, row[size:]
	}
	for widthOf(before, st.method) < v.Cursor.X {
		before += " "
	}
	rows[v.Cursor.Y] = before + "▌" + row
	for i := range rows {
		rows[i] = strings.TrimRight(rows[i], " ")
	}
	return strings.Join(rows, "\n") + "\n"
}

// golden compares what is shown with a file of testdata.
func (st *story) golden(name string) {
	st.t.Helper()
	path := filepath.Join("testdata", name+".txt")
	got := st.shown()
	if *update {
		require.NoError(st.t, os.MkdirAll("testdata", 0o755))
		require.NoError(st.t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(st.t, err)
	require.Equal(st.t, string(want), got, "%s; -update writes it anew", path)
}
