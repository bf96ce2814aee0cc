package chat

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"example.com/tcproom"
)

// A task is what the person wants of the server: to say something, or something else of
// a hub. Tasks are done one after the other, in the order in which they were typed.
type task struct {
	verb verb
	id   int    // of a message
	room string // that it concerns; in a move the one to leave
	to   string // the room of a move, the recipient's ID, the new name, or a prefix
	body string
}

// A verb is what a task is to do.
type verb uint8

const (
	say verb = iota
	tell
	enter
	leave
	move
	rename
	listRooms
	listMembers
)

// A result is what became of a task, for the screen.
type result struct {
	task task
	seq  uint64        // of a message that was acknowledged; 0: it has no place
	told bool          // it was acknowledged: the room says of each message what its place is
	ev   tcproom.Event // the answer to a list
	err  error
}

// events are for the screen, in their order. ended is behind the last of them.
type (
	events []tcproom.Event
	ended  struct{ err error }
)

const (
	// maxTasks and maxTaskBytes bound the tasks that wait.
	maxTasks     = 256
	maxTaskBytes = 1 << 20
	// maxBatch bounds how many events are shown at once, and how many wait for that.
	maxBatch = 256
	// farewell bounds how long messages that wait are sent when the person leaves.
	farewell = 5 * time.Second
)

var errTooMuch = errors.New("too much waits to be sent already")

// A line is the connection of a screen to the server: a client, and what goes to and fro.
type line struct {
	client  *tcproom.Client
	streams bool         // a message is sent without waiting for its place; set at once
	post    func(any)    // hands something to the screen; it may block until the screen ends
	failed  func(string) // is called if a goroutine panics

	stop    context.CancelFunc // of what follows
	ctx     context.Context    // done when no task is to wait any more
	queue   chan struct{}      // holds one value when tasks may have come
	running sync.WaitGroup
	idle    chan struct{} // closed by work when it ends

	mu      sync.Mutex // guards what follows
	tasks   []task     // the first is being done
	size    int
	closing bool
}

// newLine returns a line of the client, which it owns.
func newLine(c *tcproom.Client, post func(any), failed func(string)) *line {
	l := &line{client: c, post: post, failed: failed, queue: make(chan struct{}, 1), idle: make(chan struct{})}
	l.ctx, l.stop = context.WithCancel(context.Background())
	came := make(chan tcproom.Event, maxBatch)
	l.running.Add(3)
	go l.receive(came)
	go l.show(came)
	go l.work()
	return l
}

// guard reports a panic of a goroutine of the line's.
func (l *line) guard() {
	if v := recover(); v != nil {
		l.failed(fmt.Sprintf("%v\n%s", v, debug.Stack()))
	}
}

// receive reads from the client. It ends when the client has ended, and all is read that
// had come before: perhaps that something was not done.
func (l *line) receive(came chan<- tcproom.Event) {
	defer l.running.Done()
	defer l.guard()
	defer close(came)
	for {
		ev, err := l.client.Receive(context.Background())
		if err != nil {
			return
		}
		came <- ev
	}
}

// show hands events to the screen, as many at once as there are, and the end behind them.
// It ends when receive does.
func (l *line) show(came <-chan tcproom.Event) {
	defer l.running.Done()
	defer l.guard()
	for ev := range came {
		batch := events{ev}
		for more := true; more && len(batch) < maxBatch; {
			select {
			case next, ok := <-came:
				if more = ok; ok {
					batch = append(batch, next)
				}
			default:
				more = false
			}
		}
		l.post(batch)
	}
	if err := l.client.Err(); err != nil {
		l.post(ended{err})
	}
}

// do puts a task into the queue, or says why it cannot.
func (l *line) do(t task) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing || len(l.tasks) >= maxTasks || l.size > 0 && l.size+len(t.body) > maxTaskBytes {
		return errTooMuch
	}
	l.tasks = append(l.tasks, t)
	l.size += len(t.body)
	l.wake()
	return nil
}

func (l *line) wake() {
	select {
	case l.queue <- struct{}{}:
	default:
	}
}

// next returns the next task; none says that there is none now, over that none will come.
func (l *line) next() (t task, none, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tasks) == 0 {
		return task{}, true, l.closing
	}
	return l.tasks[0], false, false
}

// done takes the first task out of the queue.
func (l *line) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size -= len(l.tasks[0].body)
	l.tasks = l.tasks[1:]
}

// work does the tasks. It ends when it is closing and nothing is left, or with ctx.
func (l *line) work() {
	defer l.running.Done()
	defer close(l.idle)
	defer l.guard()
	for {
		t, none, over := l.next()
		switch {
		case l.ctx.Err() != nil || over:
			return
		case none:
			select {
			case <-l.queue:
			case <-l.ctx.Done():
			}
			continue
		}
		r := l.carryOut(t)
		if l.ctx.Err() != nil && r.err != nil {
			return // it is not done, which close reports
		}
		l.done()
		l.post(r)
	}
}

func (l *line) carryOut(t task) result {
	r := result{task: t}
	ask := func(req tcproom.Request) { r.ev, r.err = l.client.Ask(l.ctx, &req) }
	switch t.verb {
	case say:
		r.seq, r.told, r.err = l.say(t)
	case tell:
		ask(tcproom.Request{Kind: tcproom.ReqTell, To: t.to, Body: []byte(t.body)})
	case enter:
		r.err = l.client.EnterRoom(l.ctx, t.room)
	case leave:
		r.err = l.client.LeaveRoom(l.ctx, t.room)
	case move:
		r.err = l.client.MoveRoom(l.ctx, t.room, t.to)
	case rename:
		ask(tcproom.Request{Kind: tcproom.ReqRename, To: t.to})
	case listRooms:
		ask(tcproom.Request{Kind: tcproom.ReqRooms, Query: &tcproom.Query{Prefix: t.to}})
	case listMembers:
		ask(tcproom.Request{Kind: tcproom.ReqMembers, Room: t.room})
	}
	return r
}

// say sends a message and waits for its place in the order, if the room tells it.
func (l *line) say(t task) (seq uint64, told bool, err error) {
	if !l.streams {
		seq, err = l.client.SendAckedTo(l.ctx, t.room, []byte(t.body))
		if !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, tcproom.ErrUncertain) {
			return seq, err == nil, err
		}
	}
	return 0, false, l.client.SendTo(l.ctx, t.room, []byte(t.body))
}

// close sends what waits, for a while if there is a connection, and leaves. It returns
// the messages that the server does not have, or may not have.
func (l *line) close(online bool) (unsent []task, err error) {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.wake()
	if online {
		t := time.NewTimer(farewell)
		select {
		case <-l.idle:
		case <-t.C:
		}
		t.Stop()
	}
	l.stop()
	<-l.idle
	err = l.client.Close()
	l.running.Wait()
	for _, t := range l.tasks {
		if t.verb == say || t.verb == tell {
			unsent = append(unsent, t)
		}
	}
	return unsent, err
}
