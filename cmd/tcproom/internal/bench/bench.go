// Package bench is the command that drives a room, checks it and measures it.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// errWrong says that the room did not do what it promises. The result says what.
var errWrong = errors.New("the room lost, doubled, damaged or reordered messages, or cut members")

// Run drives the room until all is sent and received. The first signal stops the
// sending, a second one ends the program.
func Run(ctx context.Context, args []string) error {
	cfg, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the next signal has its usual effect
	res, err := drive(ctx, cfg, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	if cfg.json {
		err = res.writeJSON(os.Stdout)
	} else {
		err = res.writeTable(os.Stdout)
	}
	if err == nil && !res.OK {
		err = errWrong
	}
	return err
}

// drive has the members enter, sends, waits for what was sent, and returns the result.
// When ctx ends, it sends no more.
func drive(ctx context.Context, cfg *config, show *progress) (*result, error) {
	r := newRun(cfg)
	defer r.close()
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	if err := r.meet(ctx); err != nil {
		return nil, err
	}
	shown := make(chan struct{})
	showing, stopShowing := context.WithCancel(context.Background())
	go show.run(showing, r.checker, shown)
	r.send(ctx)
	r.await()
	r.leave()
	stopShowing()
	<-shown
	return r.result(context.Cause(ctx) != nil), nil
}

// timeout is how long it may take to connect, and then until all are in the room.
const timeout = 30 * time.Second

// dialling is how many members connect at a time: a room bounds those that have not
// joined yet.
const dialling = 32

// enter connects all members.
func (r *run) enter(ctx context.Context) error {
	r.members = make([]*member, r.cfg.members)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(dialling)
	for i := range r.members {
		group.Go(func() (err error) {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			if r.members[i], err = r.dial(ctx, i); err != nil {
				return fmt.Errorf("member %d: %w", i, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, m := range r.members {
		r.receiving.Go(m.receive)
	}
	return nil
}
