//go:build linux

package main

import (
	"bytes"
	"fmt"
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
