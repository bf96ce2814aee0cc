//go:build linux

package main

import (
	"os/exec"
	"slices"
)

// A server is one of those that are measured, as the benchmark sees it.
type server struct {
	name   string
	about  string // what it is, in the report
	speaks dialect
	serve  func(*control) error // is it, in a process of its own

	module  string // of which it is; empty: none but this one
	program string // what must be installed; empty: nothing
	npm     string // a package for Node that it needs besides, as NAME@VERSION
	says    string // what makes the program say its version
	mute    bool   // it is another program, which answers no questions
	tls     bool   // it can speak TLS
	special bool   // it is not compared with the others
	guest   bool   // measured once, where the others are repeated
	atMost  int    // receivers of some works, unless asked for by number; 0: any

	only []string // names of the works that it takes part in; nil: all

	nodes  int     // processes that it consists of; 0: one
	apart  bool    // each of them counts members of its own alone
	engine *server // what they are all connected to; nil: nothing
}

// servers are what can be measured, in the order of the report.
var servers = []*server{
	tcproomServer, relayServer, hubServer, gnetServer, natsServer,
	melodyServer, mochiServer, mosquittoServer, redisServer, nodeServer,
	tcproomJSONServer, tcproomHubServer, tcproomIn1Server, tcproomIn10Server, tcproomNoticesServer, tcproomTogetherServer,
	wsServer, wssServer, sseServer, coderServer, gwsServer, gorillaServer, nodeWSServer,
	tcproomLogServer, tcproomNATSServer, tcproomNATSFileServer, tcproom3NATSServer, tcproom3NATSFileServer, tcproom3JSONServer,
	tcproomJoinsServer, tcproomLogJoinsServer, tcproom3JoinsServer, natsHubsServer, jetStreamServer, jetStreamFileServer, engineServer,
	tcproomHookServer, swallowServer, lossyServer, lossyWSServer, lossySSEServer,
}

// serverNamed returns nil where there is none.
func serverNamed(name string) *server {
	i := slices.IndexFunc(servers, func(s *server) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return servers[i]
}

// usualServers are those that are compared.
func usualServers() (names []string) {
	for _, s := range servers {
		if !s.special {
			names = append(names, s.name)
		}
	}
	return names
}

// missing says what keeps the server from being measured here; empty: nothing.
func (s *server) missing() string {
	if s.program == "" {
		return ""
	}
	if _, err := findProgram(s.program); err != nil {
		return s.program + " is not installed"
	}
	if s.npm != "" {
		return packages.missing(s.npm)
	}
	return ""
}

// does says whether it takes part in a work.
func (s *server) does(w *work) bool { return s.only == nil || slices.Contains(s.only, w.name) }

// findProgram also looks where daemons are, which is not in every user's PATH.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		if path, other := exec.LookPath("/usr/sbin/" + name); other == nil {
			return path, nil
		}
	}
	return path, err
}
