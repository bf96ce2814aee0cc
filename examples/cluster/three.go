package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// serveThree starts a NATS server in this process, and three processes of the room, each
// again if it is killed, until ctx ends or one of them fails.
func serveThree(ctx context.Context, cfg config) error {
	addrs, err := three(cfg.addr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tcproom-nats-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ns, err := startNATS(dir)
	if err != nil {
		return err
	}
	defer ns.WaitForShutdown()
	defer ns.Shutdown()
	cfg.nats = ns.ClientURL()

	fmt.Println("One room, three processes. Type, each in a terminal of its own:")
	for _, addr := range addrs {
		host, port, _ := net.SplitHostPort(addr)
		fmt.Println("    nc", host, port)
	}
	fmt.Println("and, when they talk, kill one of the processes: kill -9 and its number from below.")
	programs := make([]string, len(addrs))
	if cfg.json != "" {
		if programs, err = three(cfg.json); err != nil {
			return err
		}
		fmt.Println("Programs speak JSON, and may resume at any of", programs)
	}

	program, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(addrs))
	var all sync.WaitGroup
	for i := range addrs {
		one := cfg
		one.addr, one.json = addrs[i], programs[i]
		all.Go(func() {
			errs[i] = keep(ctx, program, one)
			stop()
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// three returns addr and those with the next two ports, on all of which it is possible to
// listen; for port 0, any that are free.
func three(addr string) (addrs []string, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("address %q: the port must be a number", addr)
	}
	for i := range 3 {
		one := addr
		if first > 0 {
			one = net.JoinHostPort(host, strconv.Itoa(first+i))
		}
		l, err := net.Listen("tcp", one)
		if err != nil {
			return nil, err
		}
		defer l.Close() // together, so that they differ
		if first == 0 {
			one = l.Addr().String()
		}
		addrs = append(addrs, one)
	}
	return addrs, nil
}

// keep has one process of the room running, until ctx ends: then it has shut down. It
// starts another one if that is killed, and not if it fails, as others would.
func keep(ctx context.Context, program string, cfg config) error {
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, program, "-stdin", "-nats", cfg.nats, "-room", cfg.room,
			"-addr", cfg.addr, "-json", cfg.json, "-lease", cfg.lease.String())
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.WaitDelay = 15 * time.Second
		stdin, err := cmd.StdinPipe() // which ends if this process is killed
		if err == nil {
			cmd.Cancel = stdin.Close
			err = cmd.Run()
		}
		if ctx.Err() != nil {
			return nil
		}
		if failed, ok := errors.AsType[*exec.ExitError](err); ok && failed.Exited() {
			return fmt.Errorf("the process at %s has failed, as it says above", cfg.addr)
		}
		fmt.Printf("the process at %s has ended (%v): starting another one\n", cfg.addr, err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}

// startNATS starts a server at any free port of this machine, which keeps what it has in
// dir.
func startNATS(dir string) (*server.Server, error) {
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err == nil {
		ns.Start()
		if !ns.ReadyForConnections(10 * time.Second) {
			err = fmt.Errorf("it does not listen")
			ns.Shutdown()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the NATS server: %w", err)
	}
	return ns, nil
}
