package tcproom_test

import (
	"bytes"
	"errors"
	"fmt"

	"example.com/tcproom"
)

// A reader keeps the bytes that are no frame yet, and puts what it reads next
// behind them.
func ExampleFraming() {
	var f tcproom.Framing = tcproom.Lines{}
	var unread []byte
	for _, read := range []string{"hel", "lo\nwor", "ld\r\n", "and"} {
		unread = append(unread, read...)
		for {
			n, body, err := f.SplitFrame(unread, 1024)
			if err != nil {
				fmt.Println(err)
				return
			}
			if n == 0 {
				break
			}
			fmt.Printf("%q\n", body)
			unread = unread[n:]
		}
	}
	fmt.Printf("not a message: %q\n", unread)
	// Output:
	// "hello"
	// "world"
	// not a message: "and"
}

// blocks is a framing of one's own: every body has the same length.
type blocks int

func (b blocks) AppendFrame(dst, body []byte) ([]byte, error) {
	if len(body) != int(b) {
		return dst, fmt.Errorf("%w: %d bytes, want %d", tcproom.ErrUnframeable, len(body), b)
	}
	return append(dst, body...), nil
}

func (b blocks) SplitFrame(data []byte, max int) (n int, body []byte, err error) {
	if int(b) > max {
		return 0, nil, fmt.Errorf("%w: %d bytes, limit %d", tcproom.ErrFrameTooLarge, b, max)
	}
	if len(data) < int(b) {
		return 0, nil, nil
	}
	return int(b), data[:b:b], nil
}

func ExampleFraming_custom() {
	var f tcproom.Framing = blocks(4)
	_, err := f.AppendFrame(nil, []byte("five!"))
	fmt.Println(err)
	n, body, err := f.SplitFrame([]byte("abcdefg"), 1024)
	fmt.Printf("%d %q %v\n", n, body, err)
	// Output:
	// tcproom: body cannot be framed: 5 bytes, want 4
	// 4 "abcd" <nil>
}

func ExampleLines() {
	frame, err := tcproom.Lines{}.AppendFrame(nil, []byte("hi"))
	fmt.Printf("%q %v\n", frame, err)
	_, err = tcproom.Lines{}.AppendFrame(nil, []byte("two\nlines"))
	fmt.Println(errors.Is(err, tcproom.ErrUnframeable), err)
	// Output:
	// "hi\n" <nil>
	// true tcproom: body cannot be framed: lines: a newline at byte 3 of the body
}

func ExampleDelimiter() {
	frame, _ := tcproom.Delimiter("\x00").AppendFrame(nil, []byte("two\nlines"))
	fmt.Printf("%q\n", frame)
	// Output:
	// "two\nlines\x00"
}

func ExampleLength() {
	body := []byte("hi")
	for _, f := range []tcproom.Length{{}, {Bytes: 2}, {Bytes: 2, LittleEndian: true}} {
		frame, _ := f.AppendFrame(nil, body)
		fmt.Printf("% x\n", frame)
	}
	// The size is refused from the prefix: no byte of the body has come.
	_, _, err := tcproom.Length{}.SplitFrame([]byte("\xff\xff\xff\xff"), 1024)
	fmt.Println(err)
	// Output:
	// 00 00 00 02 68 69
	// 00 02 68 69
	// 02 00 68 69
	// tcproom: message too large: length: a body of 4294967295 bytes, limit 1024
}

func ExampleVarint() {
	frame, _ := tcproom.Varint{}.AppendFrame(nil, bytes.Repeat([]byte("x"), 300))
	fmt.Printf("% x and %d bytes\n", frame[:2], len(frame[2:]))
	// Output:
	// ac 02 and 300 bytes
}

func ExampleNetstring() {
	frame, _ := tcproom.Netstring{}.AppendFrame(nil, []byte("hi"))
	fmt.Printf("%s\n", frame)
	_, _, err := tcproom.Netstring{}.SplitFrame([]byte("GET / HTTP/1.1\r\n"), 1024)
	fmt.Println(err)
	// Output:
	// 2:hi,
	// tcproom: malformed: netstring: length starts with "GET / HTTP/1.1\r\n", want digits without leading zeros and a colon
}

func ExampleContentLength() {
	frame, _ := tcproom.ContentLength{}.AppendFrame(nil, []byte(`{"jsonrpc":"2.0"}`))
	fmt.Printf("%q\n", frame)
	// Output:
	// "Content-Length: 17\r\n\r\n{\"jsonrpc\":\"2.0\"}"
}
