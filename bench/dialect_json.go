//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// jsonLines is the JSON of this library, one object a line. The body of a
// message is the sender's line without its newline. A delivery has a number and a
// time too, both of which differ in length.
var jsonLines = dialect{
	hello: func(dst []byte, _ membership) []byte { return append(dst, `{"type":"hello"}`+"\n"...) },
	greeted: func(reply []byte, _ membership) (bool, error) {
		const welcome = `{"type":"welcome",`
		if n := min(len(reply), len(welcome)); string(reply[:n]) != welcome[:n] {
			return false, fmt.Errorf("json: %q instead of a welcome", reply)
		}
		whole := bytes.HasSuffix(reply, []byte("\n"))
		if whole && !bytes.Contains(reply, []byte(`"token":"`)) {
			return false, fmt.Errorf("json: %q, which gives no session", reply)
		}
		return whole, nil
	},
	publish: func(dst []byte, _ int, line []byte) []byte {
		dst = append(dst, `{"type":"message","body":"`...)
		dst = append(dst, line[:len(line)-1]...)
		return append(dst, jsonEnd...)
	},
	around:   func(int, int) (string, string) { return "", "" },
	unwrap:   unwrapJSON,
	newlines: 1,
}

// jsonInRooms is jsonLines of a connection of a hub that is in rooms r0 to r(n-1), and
// speaks in r0.
func jsonInRooms(n int) dialect {
	d := jsonLines
	d.hello = func(dst []byte, _ membership) []byte {
		dst = append(dst, `{"type":"hello","rooms":[`...)
		for i := range n {
			dst = append(append(dst, `"r`...), strconv.Itoa(i)...)
			dst = append(dst, `",`...)
		}
		return append(dst[:len(dst)-1], "]}\n"...)
	}
	d.greeted = func(reply []byte, _ membership) (bool, error) {
		const welcome = `{"type":"welcome",`
		lines := 0
		for line := range bytes.Lines(reply) {
			if n := min(len(line), len(welcome)); string(line[:n]) != welcome[:n] {
				return false, fmt.Errorf("json: %q instead of a welcome", line)
			}
			if bytes.HasSuffix(line, []byte("\n")) {
				lines++
			}
		}
		return lines == n+1, nil // one of the hub, too
	}
	d.publish = func(dst []byte, _ int, line []byte) []byte {
		dst = append(dst, `{"type":"message","room":"r0","body":"`...)
		dst = append(dst, line[:len(line)-1]...)
		return append(dst, jsonEnd...)
	}
	return d
}

const jsonEnd = "\"}\n"

// unwrapJSON appends an empty line for what is no message, so that a probe finds
// it damaged.
func unwrapJSON(dst, delivery []byte) []byte {
	const head, body = `{"type":"message",`, `"body":"`
	_, line, found := bytes.Cut(delivery, []byte(body))
	if !found || !bytes.HasPrefix(delivery, []byte(head)) || !bytes.HasSuffix(line, []byte(jsonEnd)) {
		return append(dst, '\n')
	}
	return append(append(dst, line[:len(line)-len(jsonEnd)]...), '\n')
}
