//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: runs on Linux only: it pins processes to cores, reads their CPU clocks and drives sockets with epoll")
	os.Exit(2)
}
