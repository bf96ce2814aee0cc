//go:build unix

package main

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/tcproom/examples/internal/program"
)

// expectLines reads lines and compares them.
func expectLines(t *testing.T, p *program.Process, want ...string) {
	t.Helper()
	for _, line := range want {
		require.Equal(t, line, p.Out.Line(t))
	}
}

// TestRooms: what people see and can do, by nc alone.
func TestRooms(t *testing.T) {
	t.Parallel()
	_, addr := serve(t, "-rooms")
	ada := nc(t, addr)
	expectLines(t, ada, "* you are guest-1 in lobby", "*: nobody else is here; /help lists the commands")
	ada.Say(t, "/nick ada\n")
	expectLines(t, ada, "* guest-1 is now ada")
	bob := nc(t, addr)
	expectLines(t, bob, "* you are guest-2 in lobby", "*: here: ada; /help lists the commands")
	expectLines(t, ada, "* guest-2 joined")
	bob.Say(t, "/help\n")
	require.Contains(t, bob.Out.Line(t), "* commands: /join ROOM, ")
	bob.Say(t, "/nick ada\n/nick a:b\n/nick bob\n")
	require.Equal(t, `* not done: name is taken: "ada"`, bob.Out.Line(t))
	require.Contains(t, bob.Out.Line(t), `* not done: invalid name: "a:b": `)
	expectLines(t, bob, "* guest-2 is now bob")
	expectLines(t, ada, "* guest-2 is now bob")

	bob.Say(t, "/join kitchen\n")
	expectLines(t, bob, "* you are bob in kitchen", "*: nobody else is here; /help lists the commands")
	expectLines(t, ada, "* bob left")
	ada.Say(t, "nobody reads this\n/rooms\n/rooms k\n/who kitchen\n/who\n/who cellar\n/join Kitchen\n")
	expectLines(t, ada, "* rooms: kitchen 1, lobby 1", "* rooms: kitchen 1", "* in kitchen: bob", "* in lobby: ada", `* not done: no such room: "cellar"`)
	require.Contains(t, ada.Out.Line(t), `* not done: invalid name of a room: "Kitchen": `)
	ada.Say(t, "/msg bob psst\n/msg eve psst\n/dance\n//dance\n/join kitchen\n")
	expectLines(t, bob, "ada -> you: psst", "* ada joined")
	expectLines(t, ada, `* not done: no such recipient, or more than one: "eve"`, `* not done: no command "dance"; /help lists them`,
		"* you are ada in kitchen", "*: here: bob; /help lists the commands")
	ada.Say(t, "//shrug\n/quit good night\n")
	expectLines(t, bob, "ada: /shrug", "* ada left")
	expectLines(t, ada, "* goodbye")
	bob.Say(t, "/rooms\n")
	expectLines(t, bob, "* rooms: kitchen 1, lobby 0")
}

// TestRoomsAskName: the first screen asks for a name until it gets one that can be had.
func TestRoomsAskName(t *testing.T) {
	t.Parallel()
	_, addr := serve(t, "-rooms", "-ask-name")
	ada := nc(t, addr)
	expectLines(t, ada, "*: What is your name?")
	ada.Say(t, "ada\n")
	expectLines(t, ada, "* you are ada in lobby", "*: nobody else is here; /help lists the commands")
	bob := nc(t, addr)
	expectLines(t, bob, "*: What is your name?")
	bob.Say(t, "/help\n")
	require.Contains(t, bob.Out.Line(t), "* commands: ")
	bob.Say(t, "ada\n/join kitchen\nbob the cook\n\n  bob \r\n")
	expectLines(t, bob, `*: name is taken: "ada". What is your name?`, "* not done: you have not joined yet")
	require.Regexp(t, `^\*: invalid name: "bob the cook": .*\. What is your name\?$`, bob.Out.Line(t))
	expectLines(t, bob, "* you are bob in lobby", "*: here: ada; /help lists the commands")
	expectLines(t, ada, "* bob joined")
	blank := nc(t, addr)
	expectLines(t, blank, "*: What is your name?")
	blank.Say(t, " \n")
	expectLines(t, blank, "* you are guest-1 in lobby")
	away := nc(t, addr, "-N")
	away.Say(t, "/quit\n")
	away.Out.Expect(t, "* goodbye")
}

// TestRoomsWithManyInThem: the first screen has not all names.
func TestRoomsWithManyInThem(t *testing.T) {
	t.Parallel()
	_, addr := serve(t, "-rooms")
	for range maxShown + 2 {
		nc(t, addr).Out.Expect(t, "/help")
	}
	ada := nc(t, addr)
	ada.Out.Expect(t, "in lobby\n")
	require.Regexp(t, `^\*: here: guest-1, .*guest-20 and 2 more; /help`, ada.Out.Line(t))
}

// TestRoomsOfPrograms: with JSON a connection is in several rooms, and is told no more
// than the protocol has.
func TestRoomsOfPrograms(t *testing.T) {
	t.Parallel()
	p, addr := serve(t, "-rooms", "-codec", "json", "-sessions", "-history", "5", "-max-members", "1")
	ada := nc(t, addr)
	ada.Say(t, `{"type":"hello","name":"ada","rooms":["lobby"]}`+"\n")
	require.Contains(t, ada.Out.Line(t), `{"type":"welcome","room":"*",`)
	require.Contains(t, ada.Out.Line(t), `{"type":"welcome","room":"lobby",`)
	ada.Say(t, `{"type":"enter","room":"kitchen","ref":1}`+"\n")
	require.Contains(t, ada.Out.Line(t), `{"type":"welcome","room":"kitchen","ref":1,`)
	bob := nc(t, addr)
	bob.Say(t, `{"type":"hello","name":"bob","rooms":["lobby","attic"]}`+"\n")
	require.Contains(t, bob.Out.Line(t), `{"type":"welcome","room":"*",`)
	bob.Out.Expect(t, `{"type":"refused","room":"lobby","code":"full"`)
	p.Err.Expect(t, "room=attic")
	p.Signal(t, os.Interrupt)
	bob.Out.Expect(t, `"type":"goodbye"`)
	p.Err.Expect(t, "stopped, members cut: 0\n")
	require.Zero(t, p.Status(t))
}

// TestRoomsInBrowsers: a page is in several rooms, and nc with it in one of them.
func TestRoomsInBrowsers(t *testing.T) {
	t.Parallel()
	p, addr := serve(t, "-rooms", "-http", "127.0.0.1:0")
	url := page(t, p)
	ada := browse(t, url, "ada")
	ada.say(t, `{"type":"rename","name":"eve"}`)
	for !strings.Contains(ada.event(t), `"type":"renamed"`) {
	}
	bob := nc(t, addr)
	expectLines(t, bob, "* you are guest-1 in lobby", "*: here: eve; /help lists the commands")
	bob.Say(t, "/msg eve hi\n")
	for !strings.Contains(ada.event(t), `"body":"hi"`) {
	}
	bob.Say(t, "/join kitchen\n")
	expectLines(t, bob, "* you are guest-1 in kitchen")
	_, rooms := get(t, http.DefaultClient, url+"rooms")
	require.Contains(t, rooms, `{"name":"kitchen","members":1},{"name":"lobby","members":1}`)
}

// TestDrainOfRooms: who is in which room makes no difference to a stop.
func TestDrainOfRooms(t *testing.T) {
	t.Parallel()
	p, addr := serve(t, "-rooms")
	ada, bob := nc(t, addr), nc(t, addr)
	program.Meet(t, ada, bob)
	bob.Say(t, "/join kitchen\n")
	ada.Out.Expect(t, " left\n")
	p.Signal(t, os.Interrupt)
	ada.Out.Expect(t, "* goodbye: room closed\n")
	bob.Out.Expect(t, "* goodbye: room closed\n")
	p.Err.Expect(t, "stopped, members cut: 0\n")
	require.Zero(t, p.Status(t))
}

// TestRoomsAsDocumented: the documents show what somebody called ada types and sees,
// while bob, who is there already, does his part.
func TestRoomsAsDocumented(t *testing.T) {
	for _, doc := range []string{"../../README.md", "../../docs/rooms.md"} {
		t.Run(doc, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(doc)
			require.NoError(t, err)
			block := regexp.MustCompile("(?s)```text\n(\\*: What is your name.*?)```").FindSubmatch(text)
			require.NotNil(t, block, "no session")
			_, addr := serve(t, "-rooms", "-ask-name")
			bob := nc(t, addr)
			bob.Say(t, "bob\n")
			bob.Out.Expect(t, "/help lists the commands\n")
			ada := nc(t, addr)
			for line := range strings.Lines(string(block[1])) {
				line = strings.TrimSuffix(line, "\n")
				if body, ok := strings.CutPrefix(line, "bob: "); ok {
					bob.Say(t, body+"\n")
				} else if body, ok := strings.CutPrefix(line, "bob -> you: "); ok {
					bob.Say(t, "/msg ada "+body+"\n")
				} else if line == "* bob joined" {
					bob.Say(t, "/join kitchen\n")
				} else if !strings.HasPrefix(line, "*") {
					ada.Say(t, line+"\n")
					continue
				}
				require.Equal(t, line, ada.Out.Line(t))
			}
		})
	}
}

// TestRoomsPage: pages and people are in the same rooms.
func TestRoomsPage(t *testing.T) {
	t.Parallel()
	for _, web := range [][]string{{"-http", "127.0.0.1:0"}, {"-one-port"}} {
		p, addr := serve(t, append(web, "-rooms")...)
		url := page(t, p)
		_, body := get(t, http.DefaultClient, url)
		require.Contains(t, body, `data-hub="lobby"`)
		bob := nc(t, addr)
		bob.Out.Expect(t, "* you are guest-1 in lobby\n")
		bob.Say(t, "/join kitchen\n")
		bob.Out.Expect(t, "in kitchen\n")
		_, body = get(t, http.DefaultClient, url+"rooms")
		require.Contains(t, body, `{"rooms":[{"name":"kitchen","members":1},{"name":"lobby","members":0}],"total":2,"more":false}`)
		res, err := http.Post(url+"rooms/kitchen/messages", "text/plain", strings.NewReader("hello from curl"))
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, http.StatusCreated, res.StatusCode)
		bob.Out.Expect(t, "web: hello from curl\n")
		p.Signal(t, os.Interrupt)
		p.Err.Expect(t, "stopped, members cut: 0\n")
		require.Zero(t, p.Status(t))
	}
}
