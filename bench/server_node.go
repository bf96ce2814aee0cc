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
