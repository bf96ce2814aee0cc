//go:build linux

package main

import (
	"net"
	"os"
	"syscall"
)

// become replaces this process by another program that serves at a port of
// 127.0.0.1. Its process, and so its CPU clock and its CPUs, stay the same; it
// answers no questions, and ends by a signal.
func (c *control) become(program string, args func(port string) []string) error {
	path, err := findProgram(program)
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	argv := append([]string{program}, args(port)...)
	c.ready("127.0.0.1:" + port)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := syscall.Dup3(int(null.Fd()), 1, 0); err != nil { // nobody reads what it says
		return err
	}
	return syscall.Exec(path, argv, os.Environ())
}

// becomeScript is become for a program that reads questions from its standard
// input and says itself where it listens.
func (c *control) becomeScript(program string, args ...string) error {
	path, err := findProgram(program)
	if err != nil {
		return err
	}
	return syscall.Exec(path, append([]string{program}, args...), os.Environ())
}

// freePort returns a port of 127.0.0.1 at which nobody listens now.
func freePort() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
