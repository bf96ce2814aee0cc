package chat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"example.com/tcproom"
)

// talk is what most stories begin with: ada is in two rooms, and bob and eve talk.
func talk(st *story) {
	st.begins()
	st.enters("lobby", bob, eve)
	st.enters("kitchen", bob)
	st.wait(time.Minute)
	st.says("lobby", bob, "hi ada, good to see you")
	st.wait(time.Minute)
	st.line("hi bob, I am here for the bread; the recipe that you sent has a mistake in it, or my oven has")
	st.acked("lobby")
	st.wait(time.Minute)
	st.says("lobby", eve, "which?")
	st.says("kitchen", bob, "the oven is warm")
	st.says("kitchen", bob, "and ada is late")
}

// TestGolden: what the screen shows, at three sizes.
func TestGolden(t *testing.T) {
	stories := []struct {
		name string
		tell func(*story)
	}{
		{"connecting", func(st *story) {}},
		{"talk", talk},
		{"pending", func(st *story) {
			talk(st)
			st.line("first")
			st.line("second")
			st.says("lobby", bob, "before the first")
			st.press("half a thou")
		}},
		{"unread", func(st *story) {
			talk(st)
			st.line("/room kitchen")
			st.says("lobby", eve, "still here?")
			st.wait(time.Minute)
			st.says("lobby", bob, "ada?")
			st.press("ctrl+p")
		}},
		{"direct", func(st *story) {
			talk(st)
			st.come(tcproom.Event{Kind: tcproom.Direct, From: bob, Body: []byte("psst, there is cake")})
			st.line("/room bob")
			st.line("where?")
			st.did(0, nil)
			st.line("hello?")
		}},
		{"offline", func(st *story) {
			talk(st)
			st.come(tcproom.Event{Kind: tcproom.Lost, End: &tcproom.EndError{Cause: "cut-off", Text: "the peer left in the middle of a frame", RetryAfter: 3 * time.Second}})
			st.line("are you there?")
			st.wait(time.Second)
		}},
		{"resumed with a gap", func(st *story) {
			talk(st)
			st.come(tcproom.Event{Kind: tcproom.Lost, End: &tcproom.EndError{Cause: "cut-off", Text: "cut off"}})
			st.line("are you there?")
			st.wait(time.Minute)
			st.come(tcproom.Event{Kind: tcproom.Welcome, Room: "*", From: ada, Welcome: &tcproom.WelcomeInfo{Outcome: "resumed"}})
			st.come(tcproom.Event{Kind: tcproom.Welcome, Room: "lobby", From: ada, Welcome: &tcproom.WelcomeInfo{Epoch: "E1", Outcome: "gap", Members: []tcproom.MemberInfo{ada, bob}, Total: 2}})
			st.come(tcproom.Event{Kind: tcproom.Gap, Room: "lobby", Gap: tcproom.Span{First: 5, Last: 16}, Skipped: 12})
			st.seq["lobby"] = 16
			st.says("lobby", bob, "that was fun")
			st.did(0, fmt.Errorf("lost: %w", tcproom.ErrUncertain))
		}},
		{"not sent", func(st *story) {
			talk(st)
			st.line("rude words")
			st.did(0, &tcproom.RefusedError{Cause: tcproom.ErrMuted, Text: "muted by eve for a minute"})
		}},
		{"kicked", func(st *story) {
			talk(st)
			st.come(tcproom.Event{Kind: tcproom.Goodbye, Room: "kitchen", End: &tcproom.EndError{Cause: tcproom.ErrKicked, Text: "be nice"}})
			st.press("ctrl+n")
		}},
		{"ended", func(st *story) {
			talk(st)
			st.come(tcproom.Event{Kind: tcproom.Goodbye, Room: "*", End: &tcproom.EndError{Cause: tcproom.ErrBanned, Text: "for a week", Final: true}})
			st.Update(ended{&tcproom.EndError{Cause: tcproom.ErrBanned, Text: "for a week", Final: true}})
		}},
		{"scrolled back", func(st *story) {
			talk(st)
			for i := range 60 {
				st.says("lobby", bob, fmt.Sprint("line ", i))
			}
			st.press("pgup", "pgup")
			st.says("lobby", eve, "news")
		}},
		{"harm", func(st *story) {
			talk(st)
			st.says("lobby", bob, "\x1b[2J\x1b]0;owned\x07 \u009b31m \u202eabc\u202c \xff tab\there\nforged\n14:00 ada: I owe bob 10\r\nend")
			st.says("lobby", tcproom.MemberInfo{ID: "x-9", Name: "e\x1b[1mvil"}, "hi")
		}},
		{"wide", func(st *story) {
			talk(st)
			st.says("lobby", tcproom.MemberInfo{ID: "x-8", Name: "日本語の名前"}, "こんにちは、世界。これはとても長い行です、折り返されるはずです。")
			st.says("lobby", bob, "👩‍👩‍👧‍👦 👍🏽 e\u0301 नमस्ते ok")
			st.press("日本 x")
		}},
		{"completion", func(st *story) {
			talk(st)
			st.press("/r", "tab", "tab")
		}},
		{"pasted", func(st *story) {
			talk(st)
			st.Update(tea.PasteMsg{Content: "func main() {\r\n\tprintln(\"hi\")\r\n}"})
		}},
		{"no room", func(st *story) {
			st.first = []string{"lobby"}
			st.begins()
			st.come(tcproom.Event{Kind: tcproom.Refused, Room: "lobby", End: &tcproom.EndError{Cause: tcproom.ErrRoomFull, Text: "room is full"}})
		}},
		{"many rooms", func(st *story) {
			st.begins()
			st.enters("lobby", bob)
			for i := range 30 {
				room := fmt.Sprintf("room-%02d", i)
				st.enters(room)
				if i%3 == 0 {
					st.says(room, bob, strings.Repeat("x", i))
				}
			}
		}},
		{"another day", func(st *story) {
			talk(st)
			st.wait(30 * time.Hour)
			st.says("lobby", bob, "good evening")
		}},
	}
	for _, size := range [][2]int{{80, 24}, {40, 10}, {20, 5}} {
		for _, tt := range stories {
			t.Run(fmt.Sprintf("%s/%dx%d", tt.name, size[0], size[1]), func(t *testing.T) {
				st := newStory(t)
				st.size(size[0], size[1])
				tt.tell(st)
				st.golden(fmt.Sprintf("%s.%dx%d", strings.ReplaceAll(tt.name, " ", "-"), size[0], size[1]))
			})
		}
	}
}
