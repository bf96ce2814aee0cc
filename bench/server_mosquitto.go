//go:build linux

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mosquittoServer is Mosquitto with one topic per room.
var mosquittoServer = &server{
	name:    "mosquitto",
	about:   "Mosquitto, MQTT 3.1.1, QoS 0, queues unbounded",
	speaks:  mqtt,
	program: "mosquitto",
	says:    "-h",
	mute:    true,
	guest:   true,
	atMost:  1000, // a window to 10,000 takes it a quarter of a minute or more
	serve: func(c *control) error {
		return c.become("mosquitto", func(port string) []string {
			return []string{"-c", memoryFile("mosquitto.conf", fmt.Sprintf(mosquittoConfig, port))}
		})
	},
}

// By default it drops messages to readers that lag.
const mosquittoConfig = `listener %s 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_queued_bytes 0
set_tcp_nodelay true
log_dest none
user root
`

// memoryFile returns the path of a file that this process, and what it
// becomes, can read and that is gone when it ends; empty if there is none.
func memoryFile(name, text string) string {
	fd, err := unix.MemfdCreate(name, 0)
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteString(text); err != nil {
		return ""
	}
	kept = append(kept, f)
	return fmt.Sprintf("/proc/self/fd/%d", fd)
}

var kept []*os.File // until this process ends
