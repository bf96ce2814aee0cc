//go:build linux

package main

import (
	"log/slog"
	"sync/atomic"

	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// mochiServer is an MQTT broker for embedding, with one topic per room.
var mochiServer = &server{
	name:   "mochi",
	about:  "mochi-mqtt/server embedded, MQTT 3.1.1, QoS 0",
	speaks: mqtt,
	serve:  serveMochi,
	module: "github.com/mochi-mqtt/server/v2",
	tls:    true,
	guest:  true,
	atMost: 1000, // a window to 10,000 takes it half a minute
}

func serveMochi(c *control) error {
	l, err := c.listen()
	if err != nil {
		return err
	}
	b := broker.New(&broker.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := b.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	// By the default of 8192 messages that wait for a client it drops some to
	// readers that lag; no work has so many in flight.
	if err := b.AddListener(listeners.NewNet("bench", l)); err != nil {
		return err
	}
	c.members = func() int { return int(atomic.LoadInt64(&b.Info.ClientsConnected)) }
	if err := b.Serve(); err != nil {
		return err
	}
	defer b.Close()
	c.ready(l.Addr().String())
	return c.run()
}
