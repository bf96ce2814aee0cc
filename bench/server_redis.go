//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// redisServer is Redis with one channel per room. RESP 3 lets a connection
// publish to what it is subscribed to; a publisher forgoes the replies.
var redisServer = &server{
	name:    "redis",
	about:   "Redis, publish and subscribe over RESP 3; publishers with CLIENT REPLY OFF",
	speaks:  resp,
	program: "redis-server",
	says:    "--version",
	mute:    true,
	guest:   true,
	serve: func(c *control) error {
		return c.become("redis-server", func(port string) []string {
			return []string{
				"--bind", "127.0.0.1", "--port", port, "--protected-mode", "no", "--save", "", "--appendonly", "no",
				"--maxclients", "15000", "--tcp-backlog", "4096", "--loglevel", "warning",
				"--client-output-buffer-limit", "pubsub 0 0 0", // the default cuts readers that lag
			}
		})
	},
}

var resp = dialect{
	hello: func(dst []byte, m membership) []byte {
		dst = append(dst, "HELLO 3\r\n"...)
		if m.receives {
			dst = append(dst, "SUBSCRIBE "+respChannel(m.room)+"\r\n"...)
		}
		dst = append(dst, "PING\r\n"...)
		if m.sends {
			dst = append(dst, "CLIENT REPLY OFF\r\n"...)
		}
		return dst
	},
	greeted: func(reply []byte, _ membership) (bool, error) {
		if bytes.Contains(reply, []byte("\r\n-")) || bytes.HasPrefix(reply, []byte("-")) {
			return false, fmt.Errorf("redis: %q", reply)
		}
		return bytes.HasSuffix(reply, []byte("+PONG\r\n")), nil
	},
	publish: func(dst []byte, room int, line []byte) []byte {
		dst = append(dst, "*3\r\n$7\r\nPUBLISH\r\n"...)
		dst = appendBulk(dst, respChannel(room))
		dst = append(dst, '$')
		dst = strconv.AppendInt(dst, int64(len(line)), 10)
		dst = append(dst, "\r\n"...)
		dst = append(dst, line...)
		return append(dst, "\r\n"...)
	},
	around: func(room, size int) (before, after string) {
		b := appendBulk([]byte(">3\r\n$7\r\nmessage\r\n"), respChannel(room))
		return fmt.Sprintf("%s$%d\r\n", b, size), "\r\n"
	},
	echo: true,
}

// respChannel has one length for all rooms.
func respChannel(room int) string { return fmt.Sprintf("room:%04d", room) }

func appendBulk(dst []byte, s string) []byte { return fmt.Appendf(dst, "$%d\r\n%s\r\n", len(s), s) }
