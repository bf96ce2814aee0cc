//go:build linux

package main

import (
	"bytes"
	"errors"
)

// A line is what a sender sends: a number and the time of sending, in hex, the
// sender, padding up to a fixed size, and a newline.
//
//	0000000000000001 00000000075bcd15 0000 xxxxxxxxxxxxxxxxxxxxxxxx\n
const (
	seqAt    = 0
	timeAt   = 17
	senderAt = 34
	padAt    = 39

	minLine = padAt + 1
	maxLine = 32 << 10
)

var padding = bytes.Repeat([]byte("x"), maxLine)

const hexDigits = "0123456789abcdef"

// appendLine appends a line of size bytes to dst.
func appendLine(dst []byte, size, sender int, seq uint64, nanos int64) []byte {
	at := len(dst)
	dst = append(dst, padding[:size]...)
	line := dst[at:]
	putHex(line[seqAt:seqAt+16], seq)
	putHex(line[timeAt:timeAt+16], uint64(nanos))
	putHex(line[senderAt:senderAt+4], uint64(sender))
	line[seqAt+16], line[timeAt+16], line[senderAt+4] = ' ', ' ', ' '
	line[size-1] = '\n'
	return dst
}

func putHex(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = hexDigits[v&15]
		v >>= 4
	}
}

var errHex = errors.New("not hexadecimal")

var hexValue = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range len(hexDigits) {
		t[hexDigits[i]] = int8(i)
	}
	return t
}()

func parseHex(src []byte) (uint64, error) {
	var v uint64
	for _, c := range src {
		d := hexValue[c]
		if d < 0 {
			return 0, errHex
		}
		v = v<<4 | uint64(d)
	}
	return v, nil
}
