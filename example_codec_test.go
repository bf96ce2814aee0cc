package tcproom_test

import (
	"errors"
	"fmt"

	"example.com/tcproom"
)

func ExampleText() {
	ada := tcproom.MemberInfo{ID: "x-1", Name: "ada"}
	for _, ev := range []tcproom.Event{
		{Kind: tcproom.Join, From: ada},
		{Kind: tcproom.Message, From: ada, Body: []byte("hi\n* bob left")},
		{Kind: tcproom.Message, Body: []byte("restart in 5 minutes")},
		{Kind: tcproom.Gap, Gap: tcproom.Span{First: 5, Last: 16}, Skipped: 12},
		{Kind: tcproom.Goodbye, End: &tcproom.EndError{Text: "room closed"}},
	} {
		line, err := tcproom.Text{}.AppendEvent(nil, &ev)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%s\n", line)
	}
	// Output:
	// * ada joined
	// ada: hi\x0a* bob left
	// *: restart in 5 minutes
	// * 12 messages skipped
	// * goodbye: room closed
}

func ExampleRaw() {
	ada := tcproom.MemberInfo{ID: "x-1", Name: "ada"}
	frame, _ := tcproom.Raw{}.AppendEvent(nil, &tcproom.Event{Kind: tcproom.Message, From: ada, Body: []byte{1, 2, 3}})
	_, err := tcproom.Raw{}.AppendEvent(nil, &tcproom.Event{Kind: tcproom.Join, From: ada})
	fmt.Println(frame, errors.Is(err, tcproom.ErrNoFrame))
	// Output: [1 2 3] true
}

func ExampleJSON() {
	var ev tcproom.Event
	frame := `{"type":"message","seq":58,"from":{"id":"x-1","name":"ada"},"body":"hi"}`
	if err := (tcproom.JSON{}).ParseEvent([]byte(frame), &ev); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %d: %s says %q\n", ev.Kind, ev.Seq, ev.From.Name, ev.Body)

	message, _ := tcproom.JSON{}.AppendRequest(nil, &tcproom.Request{Kind: tcproom.ReqSay, Body: []byte("hello, ada")})
	fmt.Printf("%s\n", message)
	// Output:
	// Message 58: ada says "hi"
	// {"type":"message","body":"hello, ada"}
}

func ExampleValidName() {
	for _, name := range []string{"ada", "Žofie_2", "a b", "ａｄａ"} {
		fmt.Println(tcproom.ValidName(name))
	}
	// Output:
	// <nil>
	// <nil>
	// tcproom: invalid name: "a b": holds a space or line separator
	// tcproom: invalid name: "ａｄａ": 'ａ' is not a letter, a digit or one of "-_."
}
