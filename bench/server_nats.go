//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"time"

	nats "github.com/nats-io/nats-server/v2/server"
)

// natsServer is nats-server with one subject per room.
var natsServer = &server{
	name:   "nats",
	about:  "nats-server embedded, core NATS, clients with echo off",
	speaks: natsText,
	serve:  serveNATS,
	module: "github.com/nats-io/nats-server/v2",
	tls:    true,
}

func serveNATS(c *control) error {
	o := &nats.Options{
		Host: "127.0.0.1", Port: nats.RANDOM_PORT, NoLog: true, NoSigs: true,
		// A ping between messages would be no part of what receivers count.
		DisableShortFirstPing: true, PingInterval: time.Hour,
		// The default cuts a client that takes nothing for 10 s, which it
		// cannot tell from not having been served for 10 s by this one core.
		WriteDeadline: time.Minute,
	}
	if c.tls != nil {
		o.TLS, o.TLSConfig, o.TLSHandshakeFirst, o.TLSTimeout = true, c.tls, true, answerTimeout.Seconds()
		o.TLSConfig.MinVersion = tls.VersionTLS13
	}
	s, err := nats.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(answerTimeout) {
		return errors.New("nats-server is not ready")
	}
	c.members = s.NumClients
	c.ready(s.Addr().String())
	return c.run()
}

// natsText is the text protocol of NATS.
var natsText = dialect{
	hello: func(dst []byte, m membership) []byte {
		dst = append(dst, `CONNECT {"verbose":false,"pedantic":false,"echo":false}`+"\r\n"...)
		if m.receives {
			dst = append(dst, "SUB "+natsSubject(m.room)+" 1\r\n"...)
		}
		return append(dst, "PING\r\n"...)
	},
	greeted: func(reply []byte, _ membership) (bool, error) {
		if bytes.Contains(reply, []byte("-ERR")) {
			return false, fmt.Errorf("nats: %q", reply)
		}
		return bytes.HasSuffix(reply, []byte("PONG\r\n")), nil
	},
	publish: func(dst []byte, room int, line []byte) []byte {
		dst = append(dst, "PUB "...)
		dst = append(dst, natsSubject(room)...)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(len(line)), 10)
		dst = append(dst, "\r\n"...)
		dst = append(dst, line...)
		return append(dst, "\r\n"...)
	},
	around: func(room, size int) (before, after string) {
		return fmt.Sprintf("MSG %s 1 %d\r\n", natsSubject(room), size), "\r\n"
	},
}

// natsSubject has one length for all rooms.
func natsSubject(room int) string { return fmt.Sprintf("room.%04d", room) }
