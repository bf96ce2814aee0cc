package chat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"example.com/tcproom"
)

// A plain is a chat line by line: the input goes to the room, events go to the output,
// and what the program has to say to the notes. The screen is the model of it, too, and
// is not shown.
type plain struct {
	cfg     *config
	screen  *screen
	line    *line
	out     *bufio.Writer
	notes   io.Writer
	waiting int   // tasks that are not done
	settled int   // rooms of the flags that were entered or refused
	unsent  int   // lines that were not sent
	broken  error // of the output
}

// runPlain is in the room until the end of the input, until ctx ends, or until the server
// has ended it.
func runPlain(ctx context.Context, stop func(), cfg *config, in io.Reader, out, notes io.Writer) error {
	// A reader of the output that is gone shows as an error of a write, and the room is
	// left in good order.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	p := &plain{cfg: cfg, out: bufio.NewWriter(out), notes: notes}
	came, gone, panics := make(chan any), make(chan struct{}), make(chan string, 3)
	p.screen = newScreen(cfg.addr, cfg.text, func(t task) error {
		if err := p.line.do(t); err != nil {
			return err
		}
		p.waiting++
		return nil
	})
	p.screen.sink, p.screen.first = p.print, cfg.rooms
	p.line = newLine(tcproom.NewClient(context.Background(), cfg.addr, cfg.opts...), func(msg any) {
		select {
		case came <- msg:
		case <-gone:
		}
	}, func(what string) { panics <- what })
	p.line.streams = true

	lines, read := make(chan string), make(chan error, 1)
	go func() { read <- p.read(in, lines, gone) }()
	err := p.loop(ctx, came, lines, read, panics)
	stop()
	p.out.Flush()
	if p.unsent > 0 && err == nil {
		err = errUnsent
	}
	return errors.Join(err, p.leave(came, gone))
}

// errUnsent is the end of a chat of which lines were not sent. Each was told.
var errUnsent = errors.New("not all lines were sent")

// read hands over the lines of in. It ends at the end of in, or with gone and one more
// line.
func (p *plain) read(in io.Reader, lines chan<- string, gone <-chan struct{}) error {
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, maxInput+2)
	for sc.Scan() {
		select {
		case lines <- sc.Text():
		case <-gone:
			return nil
		}
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a line of the input has more than %d bytes; it and the rest were not sent", maxInput)
	}
	return sc.Err()
}

// loop does what comes, one thing after the other, until the end or /quit. It takes a line
// when what was before it is done.
func (p *plain) loop(ctx context.Context, came <-chan any, lines <-chan string, read <-chan error, panics <-chan string) error {
	ended := false // the input has
	for p.broken == nil {
		next, eof := lines, read
		if !p.ready() {
			next, eof = nil, nil
		} else if ended {
			return nil
		}
		select {
		case msg := <-came:
			if err := p.take(msg); err != nil {
				return err
			}
		case line := <-next:
			if p.say(line); p.screen.quitting {
				return nil
			}
		case err := <-eof:
			if err != nil {
				return err
			}
			ended = true
		case <-ctx.Done():
			return nil
		case what := <-panics:
			return fmt.Errorf("panic: %s", what)
		}
		p.flush()
	}
	return fmt.Errorf("write the output: %w", p.broken)
}

// ready reports whether the next line may be said.
func (p *plain) ready() bool {
	s := p.screen
	return s.conn.ever && (!s.hub && s.pane() != nil || s.hub && p.settled >= len(p.cfg.rooms)) && p.waiting == 0 && s.wanted == ""
}

// take heeds what the line has for the screen.
func (p *plain) take(msg any) error {
	s := p.screen
	switch msg := msg.(type) {
	case events:
		for i := range msg {
			if k := msg[i].Kind; (k == tcproom.Welcome || k == tcproom.Refused) && msg[i].Room != "*" {
				if p.settled++; k == tcproom.Refused && s.conn.ever && msg[i].Ref == 0 && p.settled > len(p.cfg.rooms) {
					p.unsent++ // a message that has no number was refused
				}
			}
		}
	case result:
		p.waiting--
		if v := msg.task.verb; msg.err != nil && (v == say || v == tell) {
			p.unsent++
			p.note("not sent: %s: %q", s.whyUnsent(&msg), msg.task.body)
		} else if msg.err != nil {
			p.unsent++
		}
	}
	s.Update(msg)
	switch {
	case s.failed != nil:
		return explain(s.failed, p.cfg)
	case s.conn.end != nil:
		return fmt.Errorf("the server has ended this: %w", s.conn.end)
	}
	p.hint()
	return nil
}

// say does with a line what Enter does with the input of the screen.
func (p *plain) say(line string) {
	s := p.screen
	if p.cfg.literal && strings.HasPrefix(line, "/") && !p.cfg.text {
		line = "/" + line
	}
	if line == "" {
		return
	}
	s.input().set(line)
	s.enter()
	p.hint()
	if s.input().text != "" {
		p.unsent++
		*s.input() = editor{}
	}
	p.screen.past = past{}
}

// hint notes what the screen would say above its input.
func (p *plain) hint() {
	if p.screen.hint != "" {
		p.note("%s", p.screen.hint)
		p.screen.hint = ""
	}
}

func (p *plain) note(format string, args ...any) {
	p.flush() // what was before it comes first, if both go to one place
	fmt.Fprintf(p.notes, format+"\n", args...)
}

func (p *plain) flush() {
	if err := p.out.Flush(); err != nil && p.broken == nil {
		p.broken = err
	}
}

// print prints what is added to a pane. Each item is one line.
func (p *plain) print(pane *pane, it *item, note bool) {
	text := strings.ReplaceAll(it.text, "\n", `\x0a`)
	switch {
	case it.own:
		return // it was typed
	case note && it.kind != said:
		p.note("%s", p.where(pane)+text)
		return
	case it.kind != said:
		text = "* " + text
	case it.from != "":
		text = it.from + ": " + text
	}
	fmt.Fprintf(p.out, "%s %s%s\n", it.at.In(p.screen.zone).Format(time.DateTime), p.where(pane), text)
}

func (p *plain) where(pane *pane) string {
	if pane == nil || pane.room == "" && !pane.isDirect() {
		return ""
	}
	return "[" + pane.title() + "] "
}

// leave sends what waits and leaves the room. It prints what comes meanwhile.
func (p *plain) leave(came <-chan any, gone chan struct{}) error {
	closed, online := make(chan error, 1), p.screen.conn.online
	go func() {
		unsent, err := p.line.close(online)
		if len(unsent) > 0 {
			err = errors.Join(errUnsent, err)
		}
		closed <- err
	}()
	defer close(gone)
	for {
		select {
		case msg := <-came:
			if batch, ok := msg.(events); ok {
				p.screen.Update(batch)
			}
		case err := <-closed:
			p.flush()
			return err
		}
	}
}
