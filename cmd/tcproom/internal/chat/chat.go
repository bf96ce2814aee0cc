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
	l = newLine(tcproom.NewClient(context.Background(), cfg.addr, cfg.opts...), func(msg any) { p.Send(msg) }, func(what string) {
		broken <- what
		giveUp()
	})

	ran := make(chan error, 1)
	go func() { ran <- show(p) }()
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
