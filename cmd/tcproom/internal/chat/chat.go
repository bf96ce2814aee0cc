// Package chat is the command "tcproom chat": a person's end of a room or hub, full
// screen, or line by line if it is no terminal that reads or types.
package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/term"

	"example.com/tcproom"
)

// Run is the command. It returns nil if the person has left, and otherwise why it ended.
func Run(ctx context.Context, args []string) error {
	cfg, err := parse(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if cfg.plain || os.Getenv("TERM") == "dumb" || !term.IsTerminal(os.Stdin.Fd()) || !term.IsTerminal(os.Stdout.Fd()) {
		return runPlain(ctx, stop, cfg, os.Stdin, os.Stdout, os.Stderr)
	}
	return runScreen(ctx, stop, cfg, func(s *screen) tea.Model { return s })
}

// patience is how long the screen has to end when a signal says so: a terminal that takes
// nothing any more must not hold up the end.
const patience = 2 * time.Second

// runScreen shows the screen until the person leaves, ctx ends or the server has ended
// it. stop lets the next signal end the program at once. model is given the screen, and
// returns what the terminal shows.
func runScreen(ctx context.Context, stop func(), cfg *config, model func(*screen) tea.Model) error {
	before, err := term.GetState(os.Stdin.Fd())
	if err != nil {
		return err
	}
	var l *line
	s := newScreen(cfg.addr, cfg.text, func(t task) error { return l.do(t) })
	s.first = cfg.rooms
	alive, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	p := tea.NewProgram(model(s), tea.WithoutSignalHandler(), tea.WithContext(alive))
	broken := make(chan string, 3) // one for each goroutine of the line
	first := make(chan any, 1)
	l = newLine(tcproom.NewClient(context.Background(), cfg.addr, cfg.opts...), func(msg any) {
		select {
		case first <- msg: // room for one, which is taken once
		default:
		}
		p.Send(msg)
	}, func(what string) {
		broken <- what
		giveUp()
	})

	ran := make(chan error, 1)
	go func() {
		if cannotJoin(ctx, first, s) {
			giveUp() // nobody takes what is sent to p
			ran <- nil
			return
		}
		ran <- show(p)
	}()
	over := true // the model is not used any more
	select {
	case err = <-ran:
	case <-ctx.Done():
		go p.Quit()
		select {
		case err = <-ran:
		case <-time.After(patience):
			over = false
			giveUp() // goroutines that hand it something go on; it ends with the process
			term.Restore(os.Stdin.Fd(), before)
		}
	}
	stop()
	slow := time.AfterFunc(patience/4, func() { fmt.Fprintln(os.Stderr, "tcproom: leaving; Ctrl-C ends at once") })
	unsent, closeErr := l.close(over && s.conn.online)
	slow.Stop()
	if !over { // a word more could wait for the terminal, too
		return nil
	}
	report(os.Stderr, unsent)
	select {
	case what := <-broken:
		return fmt.Errorf("panic: %s", what)
	default:
	}
	switch {
	case err != nil:
		return err
	case s.failed != nil:
		return explain(s.failed, cfg)
	case s.conn.end != nil:
		return s.conn.end
	case len(unsent) > 0:
		return nil // which was told
	}
	return closeErr
}

// blank is how long there is no screen yet.
const blank = time.Second

// cannotJoin waits for the first of what the line posts, for a while, and reports whether
// it is the end, which s is told, or ctx has ended. Then there is no screen: a terminal
// answers what a program asks it at its start, and would answer to the shell.
func cannotJoin(ctx context.Context, first <-chan any, s *screen) bool {
	late := time.NewTimer(blank)
	defer late.Stop()
	select {
	case msg := <-first:
		batch, _ := msg.(events)
		if _, over := msg.(ended); over || len(batch) > 0 && batch[0].Kind == tcproom.Lost {
			s.Update(msg)
			return true
		}
	case <-late.C:
	case <-ctx.Done():
		return true
	}
	return false
}

// show runs the program until it ends. A terminal that is gone is no error: the person
// has closed it.
func show(p *tea.Program) error {
	_, err := p.Run()
	if err != nil && !errors.Is(err, tea.ErrProgramPanic) && (errors.Is(err, io.EOF) || errors.Is(err, syscall.EIO)) {
		return nil
	}
	return err
}

// report prints the messages that the server may not have, so that their writer still has
// them.
func report(w io.Writer, unsent []task) {
	for _, t := range unsent {
		fmt.Fprintf(w, "tcproom: not sent, or not known to be: %q\n", t.body)
	}
}

// explain says what may be done about the end of a client that was never in a room.
func explain(err error, cfg *config) error {
	err = fmt.Errorf("cannot join %s: %w", cfg.addr, err)
	for _, d := range doors {
		if errors.Is(err, tcproom.ErrWrongDoor) && strings.Contains(err.Error(), d.says) {
			return fmt.Errorf("%w; %s", err, d.do)
		}
	}
	return err
}

// doors are what the errors of wrong doors say, and what may be done about it.
var doors = []struct{ says, do string }{
	{"the room speaks TLS", "use -tls"},
	{"the answer is TLS", "use -tls"},
	{"the peer does not speak TLS", "leave out -tls"},
	{"the answer is HTTP", "this port is for browsers"},
	{"the answer is in text", "use -codec text"},
}
