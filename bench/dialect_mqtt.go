//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// mqtt is MQTT 3.1.1 at quality of service 0, with one topic per room. That
// version cannot ask to be spared one's own messages.
var mqtt = dialect{
	hello: func(dst []byte, m membership) []byte {
		dst = appendConnect(dst, fmt.Sprintf("bench%d", m.conn))
		if m.receives {
			dst = appendSubscribe(dst, mqttTopic(m.room))
		}
		return dst
	},
	greeted: func(reply []byte, m membership) (bool, error) {
		want := []byte{0x20, 2, 0, 0} // CONNACK: accepted, no session
		if m.receives {
			want = append(want, 0x90, 3, 0, 1, 0) // SUBACK of packet 1, for QoS 0
		}
		if !bytes.HasPrefix(want, reply) {
			return false, fmt.Errorf("mqtt: % x instead of % x", reply, want)
		}
		return len(reply) == len(want), nil
	},
	publish: func(dst []byte, room int, line []byte) []byte {
		dst = appendPublishHead(dst, room, len(line))
		return append(dst, line...)
	},
	around: func(room, size int) (before, after string) {
		return string(appendPublishHead(nil, room, size)), ""
	},
	echo: true,
}

// mqttTopic has one length for all rooms.
func mqttTopic(room int) string { return fmt.Sprintf("room/%04d", room) }

func appendConnect(dst []byte, id string) []byte {
	const cleanSession = 2
	body := appendMQTTString(nil, "MQTT")
	body = append(body, 4, cleanSession, 0, 0) // level 3.1.1; no keep-alive
	body = appendMQTTString(body, id)
	dst = binary.AppendUvarint(append(dst, 0x10), uint64(len(body)))
	return append(dst, body...)
}

func appendSubscribe(dst []byte, topic string) []byte {
	body := appendMQTTString([]byte{0, 1}, topic) // packet 1
	body = append(body, 0)                        // QoS 0
	dst = binary.AppendUvarint(append(dst, 0x82), uint64(len(body)))
	return append(dst, body...)
}

// appendPublishHead appends all of a message but its payload of n bytes. MQTT's
// lengths are written as Go's varints are.
func appendPublishHead(dst []byte, room, n int) []byte {
	topic := mqttTopic(room)
	dst = binary.AppendUvarint(append(dst, 0x30), uint64(2+len(topic)+n))
	return appendMQTTString(dst, topic)
}

func appendMQTTString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}
