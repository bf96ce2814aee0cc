package chat

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"example.com/tcproom"
)

// texts returns what is in the pane of a room, a line for each item.
func (st *story) texts(room string) []string {
	st.t.Helper()
	p := st.find(room)
	require.NotNil(st.t, p)
	var all []string
	for _, it := range p.items {
		text := it.text
		if it.from != "" {
			text = it.from + ": " + text
		}
		all = append(all, text)
	}
	return all
}

// TestOwnMessages: each is shown at once, and at its place in the order when that is
// known, whichever of the acknowledgement and the events comes first.
func TestOwnMessages(t *testing.T) {
	here := func(t *testing.T) *story {
		st := newStory(t)
		st.begins()
		st.enters("lobby", bob)
		return st
	}
	t.Run("placed before what came later", func(t *testing.T) {
		st := here(t)
		st.line("one")
		st.line("two")
		require.Equal(t, []task{{verb: say, id: 1, room: "lobby", body: "one"}, {verb: say, id: 2, room: "lobby", body: "two"}}, st.tasks)
		st.come(tcproom.Event{Kind: tcproom.Message, Room: "lobby", From: bob, Body: []byte("a"), Seq: 3})
		st.come(tcproom.Event{Kind: tcproom.Message, Room: "lobby", From: bob, Body: []byte("b"), Seq: 5})
		require.Equal(t, []string{"bob: a", "bob: b", "ada: one", "ada: two"}, st.texts("lobby")[1:])
		st.did(2, nil)
		require.Equal(t, []string{"ada: one", "bob: a", "bob: b", "ada: two"}, st.texts("lobby")[1:])
		st.did(4, nil)
		require.Equal(t, []string{"ada: one", "bob: a", "ada: two", "bob: b"}, st.texts("lobby")[1:])
	})
	t.Run("acknowledged before what came first", func(t *testing.T) {
		st := here(t)
		st.line("one")
		st.did(4, nil)
		st.come(tcproom.Event{Kind: tcproom.Message, Room: "lobby", From: bob, Body: []byte("a"), Seq: 3})
		require.Equal(t, []string{"bob: a", "ada: one"}, st.texts("lobby")[1:])
	})
	t.Run("without a place", func(t *testing.T) {
		st := here(t)
		st.line("one")
		st.says("lobby", bob, "a")
		st.did(0, nil)
		require.Equal(t, []string{"bob: a", "ada: one"}, st.texts("lobby")[1:])
		require.NotContains(t, st.shown(), "  …")
		st.line("two") // a room that says so
		st.Update(result{task: st.tasks[0], told: true})
		require.Contains(t, st.shown(), "  ×   ada: two")
		require.Contains(t, st.shown(), "the room has not given this a place")
	})
	t.Run("in another life of the room", func(t *testing.T) {
		st := here(t)
		st.come(tcproom.Event{Kind: tcproom.Message, Room: "lobby", From: bob, Body: []byte("old"), Seq: 90})
		st.come(tcproom.Event{Kind: tcproom.Welcome, Room: "lobby", From: ada, Seq: 1, Welcome: &tcproom.WelcomeInfo{Epoch: "E2", Outcome: "expired"}})
		st.line("one")
		st.did(2, nil)
		all := st.texts("lobby")
		require.Equal(t, "ada: one", all[len(all)-1])
	})
	for _, first := range []string{"echo", "ack"} {
		t.Run("sent back by the room, first the "+first, func(t *testing.T) {
			st := here(t)
			st.line("one")
			echo := tcproom.Event{Kind: tcproom.Message, Room: "lobby", From: ada, Body: []byte("one"), Seq: 2}
			if first == "echo" {
				st.come(echo)
				st.did(2, nil)
			} else {
				st.did(2, nil)
				st.come(echo)
			}
			require.Equal(t, []string{"ada: one"}, st.texts("lobby")[1:])
			require.NotContains(t, st.shown(), "  …")
		})
	}
	t.Run("too much waits", func(t *testing.T) {
		st := here(t)
		st.do = func(task) error { return errTooMuch }
		st.line("one")
		require.Contains(t, st.shown(), "too much waits")
		require.Equal(t, "one", st.input().text, "it is not lost")
		require.Len(t, st.texts("lobby"), 1)
	})
}

// TestCommands: what each command asks for, or why it does not.
func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []task
		says string
	}{
		{line: "//usr/bin", want: []task{{verb: say, id: 2, room: "lobby", body: "/usr/bin"}}},
		{line: "/join ops", want: []task{{verb: enter, room: "ops"}}},
		{line: "/j #ops", want: []task{{verb: enter, room: "ops"}}},
		{line: "/join kitchen"},
		{line: "/join", says: "usage: /join ROOM"},
		{line: "/leave", want: []task{{verb: leave, room: "lobby"}}},
		{line: "/leave kitchen", want: []task{{verb: leave, room: "kitchen"}}},
		{line: "/leave ops", says: "you are not in ops"},
		{line: "/move ops", want: []task{{verb: move, room: "lobby", to: "ops"}}},
		{line: "/move kitchen", says: "you are in kitchen already"},
		{line: "/rooms k", want: []task{{verb: listRooms, to: "k"}}},
		{line: "/who", want: []task{{verb: listMembers, room: "lobby"}}},
		{line: "/who ops", want: []task{{verb: listMembers, room: "ops"}}},
		{line: "/msg bob how are  you?", want: []task{{verb: tell, id: 2, to: "x-2", body: "how are  you?"}}},
		{line: "/msg nobody hi", says: "nobody in your rooms is called nobody"},
		{line: "/msg", says: "usage: /msg"},
		{line: "/nick eva", want: []task{{verb: rename, to: "eva"}}},
		{line: "/room 2"},
		{line: "/room attic", says: "attic is not in the list"},
		{line: "/dance", says: "there is no command /dance"},
		{line: "/transmogrify", says: "there is no command /transmogrify: see /help; // begins a message with /"},
		{line: "/", says: "there is no command /"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			st := newStory(t)
			talk(st)
			st.tasks = nil
			st.line(tt.line)
			require.Equal(t, tt.want, st.tasks)
			if tt.says != "" {
				require.Contains(t, st.shown(), tt.says)
				require.Equal(t, tt.line, st.input().text, "what cannot be done stays")
			} else {
				require.Empty(t, st.input().text)
			}
		})
	}
	for _, keys := range [][]string{{"/quit", "enter"}, {"ctrl+c"}, {"ctrl+d"}} {
		st := newStory(t)
		talk(st)
		st.press(keys...)
		require.True(t, st.quitting, "%v", keys)
	}
}

// TestPeerIsGone: somebody to whom one writes leaves, and another comes by that name.
func TestPeerIsGone(t *testing.T) {
	again := tcproom.MemberInfo{ID: "x-9", Name: "bob"}
	noRecipient := &tcproom.RefusedError{Cause: "recipient", Text: `no such recipient, or more than one: "x-2"`}
	begin := func() *story {
		st := newStory(t)
		st.begins()
		st.enters("lobby", bob)
		st.line("/msg bob hi")
		st.did(0, nil)
		return st
	}

	st := begin()
	st.come(tcproom.Event{Kind: tcproom.Leave, Room: "lobby", From: bob})
	st.line("are you there?")
	st.did(0, noRecipient)
	require.Contains(t, st.shown(), "not sent: bob is gone")
	require.NotContains(t, st.shown(), "x-2")
	st.line("/msg bob hello?")
	require.Contains(t, st.shown(), "bob is gone")
	require.Empty(t, st.tasks)

	st = begin()
	st.come(tcproom.Event{Kind: tcproom.Leave, Room: "lobby", From: bob})
	st.come(tcproom.Event{Kind: tcproom.Join, Room: "lobby", From: again})
	st.line("what I said")
	require.Equal(t, "x-2", st.tasks[0].to, "it is not known that this is the same person")
	st.did(0, noRecipient)
	require.Contains(t, st.shown(), "bob is gone; /msg bob writes")
	st.line("/msg bob back so soon?")
	require.Equal(t, "x-9", st.tasks[0].to)
	require.Equal(t, "@bob", st.pane().title())
	st.line("/room @bob")
	require.Equal(t, "x-9", st.pane().peer.ID)
	st.line("/leave @bob (gone)")
	require.Len(t, st.panes, 2)

	st = begin() // a server that was started anew knows nobody of before
	st.come(tcproom.Event{Kind: tcproom.Welcome, Room: "lobby", From: ada, Seq: 1, Welcome: &tcproom.WelcomeInfo{
		Epoch: "E2", Members: []tcproom.MemberInfo{again, ada}, Total: 2, Outcome: "new",
	}})
	st.line("/msg bob hi again")
	require.Equal(t, "x-9", st.tasks[0].to)

	st = begin() // two at a time are told apart by nobody
	st.come(tcproom.Event{Kind: tcproom.Join, Room: "lobby", From: again})
	st.line("/msg bob hi")
	require.Contains(t, st.shown(), "several people are called bob")
}

// TestRoomsComeAndGo: which room is shown when rooms are entered, left and taken away.
func TestRoomsComeAndGo(t *testing.T) {
	st := newStory(t)
	st.first = []string{"lobby", "kitchen"}
	st.begins()
	st.enters("kitchen")
	st.enters("lobby")
	require.Equal(t, "lobby", st.pane().title(), "the first that was asked for")
	st.line("/join ops")
	st.enters("attic")
	require.Equal(t, "lobby", st.pane().title(), "the server has put us there")
	st.enters("ops")
	require.Equal(t, "ops", st.pane().title())

	st.line("/join vip")
	st.tasks = st.tasks[1:]
	st.come(tcproom.Event{Kind: tcproom.Refused, Room: "vip", Ref: 7, End: &tcproom.EndError{Cause: tcproom.ErrDenied, Text: "members only"}})
	st.did(0, &tcproom.RefusedError{Cause: tcproom.ErrDenied, Text: "members only"})
	require.Equal(t, 1, strings.Count(st.shown(), "members only"), "told once")
	st.enters("vip")
	require.Equal(t, "ops", st.pane().title(), "nobody waits for it any more")

	st.come(tcproom.Event{Kind: tcproom.Goodbye, Room: "ops", End: &tcproom.EndError{Cause: "moved"}})
	st.enters("cellar")
	require.Equal(t, "cellar", st.pane().title(), "the server has moved us")
	for _, room := range []string{"cellar", "vip", "attic", "kitchen", "lobby"} {
		st.come(tcproom.Event{Kind: tcproom.Goodbye, Room: room, End: &tcproom.EndError{Cause: "left"}})
	}
	require.Nil(t, st.pane())
	require.Contains(t, st.shown(), "you are in no room")
	st.line("hello?")
	require.Contains(t, st.shown(), "you are in no room: /join")
	require.Equal(t, "hello?", st.input().text)
}

// TestRoster: who is here, whatever was told when.
func TestRoster(t *testing.T) {
	st := newStory(t)
	st.begins()
	st.enters("lobby", bob)
	names := func() []string { return st.names(st.find("lobby")) }
	require.Equal(t, []string{"bob"}, names())
	st.come(tcproom.Event{Kind: tcproom.Join, Room: "lobby", From: eve})
	st.come(tcproom.Event{Kind: tcproom.Renamed, Room: "lobby", From: bob, Body: []byte("rob")})
	require.Equal(t, []string{"eve", "rob"}, names())
	st.come(tcproom.Event{Kind: tcproom.Leave, Room: "lobby", From: eve, End: &tcproom.EndError{Text: "kicked"}})
	require.Equal(t, []string{"rob"}, names())
	require.Contains(t, st.shown(), "eve left: kicked")

	// A resume tells who is here now, and then what was missed until now.
	st.come(tcproom.Event{Kind: tcproom.Welcome, Room: "lobby", From: ada, Seq: 9, Welcome: &tcproom.WelcomeInfo{Epoch: "E1", Outcome: "resumed", Members: []tcproom.MemberInfo{ada, eve}, Total: 2}})
	st.come(tcproom.Event{Kind: tcproom.Join, Room: "lobby", From: eve, Seq: 8})
	st.come(tcproom.Event{Kind: tcproom.Leave, Room: "lobby", From: bob, Seq: 9})
	require.Equal(t, []string{"eve"}, names())
	require.Equal(t, 2, st.find("lobby").total)
	st.come(tcproom.Event{Kind: tcproom.Renamed, Room: "lobby", From: ada, Body: []byte("ada-2"), Seq: 10})
	require.Equal(t, "ada-2", st.self.Name)
	require.Contains(t, st.shown(), "ada-2 @ ")
}

// TestUnread: what counts as new, and where one left off.
func TestUnread(t *testing.T) {
	st := newStory(t)
	talk(st)
	kitchen := st.find("kitchen")
	require.Equal(t, 2, kitchen.unread)
	require.Equal(t, 1, kitchen.calls, "with her name")
	require.Equal(t, "(2) tcproom: lobby", st.title())
	st.come(tcproom.Event{Kind: tcproom.Join, Room: "kitchen", From: eve})
	require.Equal(t, 2, kitchen.unread, "a join is nothing to read")
	st.press("alt+a")
	require.Equal(t, kitchen, st.pane())
	require.Zero(t, kitchen.unread)
	require.Contains(t, st.shown(), "── new ─")
	st.press("alt+a")
	require.Contains(t, st.shown(), "nothing new")
	st.press("ctrl+n")
	st.press("ctrl+p")
	require.NotContains(t, st.shown(), "── new ─", "it was read")

	st.Update(tea.BlurMsg{})
	st.says("kitchen", bob, "psst")
	require.Equal(t, 1, kitchen.unread, "another window is looked at")
	st.Update(tea.FocusMsg{})
	require.Zero(t, kitchen.unread)
	require.Contains(t, st.shown(), "── new ─")
}

// TestScroll: what is shown stays while somebody speaks, and all that is kept can be
// reached.
func TestScroll(t *testing.T) {
	st := newStory(t)
	st.begins()
	st.enters("lobby", bob)
	for i := range 100 {
		st.says("lobby", bob, fmt.Sprint("line ", i))
	}
	st.press("pgup")
	before := st.middleRows()
	st.says("lobby", bob, "new")
	require.Equal(t, before, st.middleRows())
	require.Equal(t, 1, st.pane().unread)
	for range 20 {
		st.press("pgup")
	}
	require.Contains(t, st.shown(), "you are ada in lobby")
	require.Len(t, st.middleRows(), st.plan().rows, "not beyond the top")
	st.press("ctrl+down", "ctrl+up")
	require.Contains(t, st.shown(), "you are ada in lobby")
	for range 20 {
		st.press("pgdown")
	}
	require.Nil(t, st.pane().at)
	require.Contains(t, st.shown(), "new")
	require.Zero(t, st.pane().unread)

	st.press("pgup", "pgup", "pgup", "pgup", "pgup", "pgup")
	st.size(100, 60)
	require.Len(t, st.middleRows(), st.plan().rows, "a larger screen is filled")
	st.press("esc")
	require.Contains(t, st.shown(), "new")
}

func (st *story) middleRows() []string {
	pl := st.plan()
	l := st.look(pl.width)
	return st.middle(&l, pl.rows)
}

// TestBounds: what is kept is bounded, in items and in bytes, and the oldest goes.
func TestBounds(t *testing.T) {
	st := newStory(t)
	st.begins()
	st.enters("lobby", bob)
	st.press("pgup")
	for i := range 3 * maxItems {
		st.says("lobby", bob, fmt.Sprint("line ", i))
		if i == 100 {
			st.press("pgup")
		}
	}
	p := st.pane()
	require.Len(t, p.items, maxItems)
	st.shown() // what it was scrolled to is gone
	st.press("pgup", "pgdown", "esc")
	for range 100 {
		st.says("lobby", bob, strings.Repeat("\x1b", 60<<10))
	}
	require.LessOrEqual(t, p.bytes, maxBytes)
	require.Less(t, len(p.items), 20)
	bytes := 0
	for _, it := range p.items {
		bytes += it.cost()
	}
	require.Equal(t, bytes, p.bytes)
	require.LessOrEqual(t, len(p.items[0].drawn), maxLines+3)
	require.Contains(t, st.shown(), "more lines")
	for range 300 {
		st.press("pgup")
	}
	require.Contains(t, st.shown(), "what is older is not kept")
}

// TestInput: keys that change what is being typed.
func TestInput(t *testing.T) {
	for _, tt := range []struct {
		name string
		keys []string
		want string // with the cursor as "|"
	}{
		{"typing", []string{"ab", "left", "x"}, "ax|b"},
		{"clusters", []string{"e\u0301日", "👩‍👧", "left", "backspace"}, "e\u0301|👩‍👧"},
		{"delete", []string{"abc", "home", "delete", "right", "delete"}, "b|"},
		{"words", []string{"one two  three", "ctrl+left", "ctrl+left", "x", "ctrl+right", "y"}, "one xtwoy|  three"},
		{"cut", []string{"one two three", "ctrl+w", "ctrl+w"}, "one |"},
		{"cut the line", []string{"one", "ctrl+j", "two", "left", "ctrl+u"}, "one\n|o"},
		{"cut the rest", []string{"one two", "ctrl+left", "ctrl+k"}, "one |"},
		{"lines", []string{"one", "alt+enter", "two", "up", "x"}, "onex|\ntwo"},
		{"joining lines", []string{"one", "alt+enter", "backspace"}, "one|"},
		{"backspace at the start", []string{"backspace", "left", "delete", "x"}, "x|"},
		{"what was sent", []string{"one", "enter", "two", "enter", "draft", "up", "up"}, "one|"},
		{"and back", []string{"one", "enter", "draft", "up", "down", "down"}, "draft|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := newStory(t)
			st.begins()
			st.enters("lobby", bob)
			for _, k := range tt.keys {
				st.press(k)
			}
			e := st.input()
			require.Equal(t, tt.want, e.text[:e.pos]+"|"+e.text[e.pos:])
			st.shown()
		})
	}
}

// TestPaste: nothing that is pasted is sent by itself, and nothing of it is harmful.
func TestPaste(t *testing.T) {
	st := newStory(t)
	talk(st)
	st.tasks = nil
	st.Update(tea.PasteMsg{Content: "one\r\ntwo\r\x1b[31mthree\x00\u009b\n"})
	require.Empty(t, st.tasks)
	require.Equal(t, "one\ntwo\n[31mthree\n", st.input().text)
	st.press("enter")
	require.Equal(t, []task{{verb: say, id: 2, room: "lobby", body: "one\ntwo\n[31mthree"}}, st.tasks)
	st.Update(tea.PasteMsg{Content: strings.Repeat("x", maxInput+1)})
	require.Empty(t, st.input().text)
	require.Contains(t, st.shown(), "more than a message may have")
	st.Update(tea.PasteMsg{Content: strings.Repeat("x\n", 1000)})
	st.shown()
	for range 30 {
		st.press("up")
		st.shown()
	}
}

// TestComplete: what Tab makes of the last word.
func TestComplete(t *testing.T) {
	for _, tt := range []struct{ typed, want string }{
		{"/jo", "/join "},
		{"/lea", "/leave "},
		{"b", "bob: "},
		{"hi E", "hi eve "},
		{"/msg b", "/msg bob "},
		{"/join ki", "/join kitchen "},
		{"/who l", "/who lobby "},
		{"/msg bob hi e", "/msg bob hi eve "},
		{"xyz", "xyz"},
		{"", ""},
		{"/r", "/room"}, // or /rooms
	} {
		st := newStory(t)
		talk(st)
		st.press(tt.typed, "tab")
		require.Equal(t, tt.want, st.input().text, "%q", tt.typed)
	}
	st := newStory(t)
	talk(st)
	st.press("/r", "tab", "tab")
	require.Equal(t, "/room ", st.input().text)
	st.press("tab")
	require.Equal(t, "/rooms ", st.input().text)
	st.press("shift+tab")
	require.Equal(t, "/room ", st.input().text)
	st.press("k", "tab")
	require.Equal(t, "/room kitchen ", st.input().text, "anew behind a key")
}

// TestLost: the person sees that there is no connection, and since when.
func TestLost(t *testing.T) {
	st := newStory(t)
	talk(st)
	st.come(tcproom.Event{Kind: tcproom.Goodbye, Room: "*", End: &tcproom.EndError{Cause: tcproom.ErrRoomClosed, Text: "room closed"}})
	_, cmd := st.Update(events{{Kind: tcproom.Lost, End: &tcproom.EndError{Cause: "closed", Text: "x", RetryAfter: 5 * time.Second}}})
	require.NotNil(t, cmd, "time goes on on the screen")
	require.Contains(t, st.shown(), "connection lost: room closed; trying again in 5 s", "the words of the server")
	require.Contains(t, st.shown(), "offline, again in 5 s")
	st.wait(70 * time.Second)
	_, cmd = st.Update(tick{})
	require.NotNil(t, cmd)
	require.Contains(t, st.shown(), "offline for 1 min, trying")
	st.begins()
	_, cmd = st.Update(tick{})
	require.Nil(t, cmd)
	require.Contains(t, st.shown(), "connected")
}

// TestCannotJoin: what ends before it began ends the program.
func TestCannotJoin(t *testing.T) {
	st := newStory(t)
	_, cmd := st.Update(events{{Kind: tcproom.Lost, End: &tcproom.EndError{Cause: tcproom.ErrWrongDoor}}})
	require.NotNil(t, cmd)
	require.Equal(t, tea.QuitMsg{}, cmd())
	require.ErrorIs(t, st.failed, tcproom.ErrWrongDoor)
	require.NotContains(t, explain(st.failed, &config{addr: "x:1"}).Error(), "use -", "it is not known what helps")

	st = newStory(t)
	st.Update(ended{errors.New("no")})
	require.EqualError(t, st.failed, "no")
}

// TestRoomByItself: a server that has one room and knows nothing of others.
func TestRoomByItself(t *testing.T) {
	st := newStory(t)
	st.first = []string{"lobby"}
	st.enters("", bob)
	require.Len(t, st.panes, 1)
	st.says("", bob, "hi")
	st.line("hello")
	require.Equal(t, []task{{verb: say, id: 1, body: "hello"}}, st.tasks)
	st.line("/msg bob hi")
	require.Contains(t, st.shown(), "only a hub has")
	st.press("ctrl+u")
	st.line("/leave")
	require.Contains(t, st.shown(), "/quit leaves it")
	st.press("ctrl+u")
	st.line("/who")
	require.Contains(t, st.shown(), "here: bob, ada")
}

// TestText: with the codec for people the server does the commands, and a line is a
// message.
func TestText(t *testing.T) {
	st := newStory(t)
	st.text = true
	st.come(tcproom.Event{Kind: tcproom.Welcome})
	st.come(tcproom.Event{Kind: tcproom.Welcome, Room: "lobby", From: tcproom.MemberInfo{Name: "guest-7"}})
	require.Contains(t, st.shown(), "you are guest-7 in lobby")
	st.come(tcproom.Event{Kind: tcproom.Message, From: tcproom.MemberInfo{Name: "bob"}, Body: []byte("hi")})
	st.come(tcproom.Event{Kind: tcproom.Direct, From: tcproom.MemberInfo{Name: "bob"}, Body: []byte("psst")})
	require.Contains(t, st.shown(), "bob -> you: psst")
	st.Update(tea.PasteMsg{Content: "one\n\ntwo"})
	require.Contains(t, st.shown(), "Enter sends as many messages")
	st.press("enter")
	st.line("/join kitchen")
	st.line("//slash")
	var bodies []string
	for _, task := range st.tasks {
		require.Equal(t, say, task.verb)
		bodies = append(bodies, task.body)
	}
	require.Equal(t, []string{"one", "two", "/join kitchen", "//slash"}, bodies)
	st.come(tcproom.Event{Kind: tcproom.Roster, Room: "lobby", List: &tcproom.List{Members: []tcproom.MemberInfo{{Name: "bob"}, {Name: "guest-7"}}, Total: 2}})
	require.Contains(t, st.shown(), "here: bob, guest-7")
	require.Contains(t, st.shown(), "2 here")
	st.come(tcproom.Event{Kind: tcproom.Leave, From: tcproom.MemberInfo{Name: "bob"}})
	require.Contains(t, st.shown(), "1 here")
}

// TestEverySize: no size of the terminal, however small, is a panic or a row too long.
func TestEverySize(t *testing.T) {
	st := newStory(t)
	morning(st)
	st.Update(tea.PasteMsg{Content: "日本\nsecond line that is long enough to be broken"})
	for w := 1; w <= 90; w += 1 + w/16 {
		for h := 1; h <= 30; h += 1 + h/8 {
			st.size(w, h)
			st.press("pgup")
			st.shown()
			st.press("esc")
			st.shown()
		}
	}
}

// TestToAll: what the server says to this person or to all connections is seen in the
// pane that is looked at, or in the first if there is none yet, and makes none.
func TestToAll(t *testing.T) {
	st := newStory(t)
	st.first = []string{"lobby", "kitchen"}
	st.come(tcproom.Event{Kind: tcproom.Direct, Body: []byte("before all")})
	require.Empty(t, st.panes)
	st.begins()
	st.enters("lobby", bob)
	st.enters("kitchen")
	st.come(tcproom.Event{Kind: tcproom.Message, Room: "*", Body: []byte("to all"), Seq: 7})
	st.come(tcproom.Event{Kind: tcproom.Gap, Room: "*", Gap: tcproom.Span{First: 8, Last: 9}, Skipped: 2})
	st.come(tcproom.Event{Kind: tcproom.Gap, Room: "*", Gap: tcproom.Span{First: 10, Last: 1 << 40}})
	st.come(tcproom.Event{Kind: tcproom.Direct, Body: []byte("to you")})
	require.Len(t, st.panes, 2)
	all := st.texts("lobby")
	require.Equal(t, []string{"*: before all", "*: to all", "2 messages to all were missed here, for good", "messages to all were missed here, for good", "*: to you"}, append(all[:1:1], all[2:]...))
}

// TestComeBackToRooms: a room that does not let one in again after a break is none that
// one is in, and one that is entered anew is told as that.
func TestComeBackToRooms(t *testing.T) {
	st := newStory(t)
	talk(st)
	st.come(tcproom.Event{Kind: tcproom.Lost, End: &tcproom.EndError{Cause: "cut-off"}})
	st.begins()
	st.come(tcproom.Event{Kind: tcproom.Refused, Room: "lobby", End: &tcproom.EndError{Cause: tcproom.ErrRoomFull}})
	st.enters("kitchen")
	require.Contains(t, st.texts("kitchen"), "connected again as a new member, ada: the server has forgotten who this was; 1 member is here")
	st.line("hello?")
	require.Contains(t, st.shown(), "you are not in this room: /join lobby enters it")
	st.press("ctrl+u")
	st.come(tcproom.Event{Kind: tcproom.Refused, Room: "kitchen", End: &tcproom.EndError{Cause: tcproom.ErrMuted}})
	require.True(t, st.find("kitchen").entry, "that was a message")
	st.line("/join lobby")
	st.enters("lobby", bob)
	all := st.texts("lobby")
	require.Equal(t, "you are ada in lobby; 2 members are here", all[len(all)-1])
}
