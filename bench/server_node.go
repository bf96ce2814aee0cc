//go:build linux

package main

import (
	_ "embed"
	"strconv"
)

// nodeServer is a relay in Node, as people write it.
var nodeServer = &server{
	name:    "node",
	about:   "a relay with Node's net module, which writes each chunk that it reads to all others",
	speaks:  plainLines,
	program: "node",
	says:    "--version",
	guest:   true,
	serve: func(c *control) error {
		return c.becomeScript("node", "-e", nodeRelay, strconv.Itoa(c.perRoom))
	},
}

//go:embed relay.js
var nodeRelay string

// nodeWSServer is a room over npm's ws, as its README has it.
var nodeWSServer = &server{
	name:    "node-ws",
	about:   "npm's ws on Node, which sends each message to each other member",
	speaks:  webSocket,
	program: "node",
	npm:     "ws@8.23.0",
	guest:   true,
	atMost:  1000, // a window to 10,000 takes it a quarter of a minute
	only:    webWorks,
	serve: func(c *control) error {
		return c.becomeScript("node", "-e", nodeWSRelay)
	},
}

//go:embed relay_ws.js
var nodeWSRelay string
