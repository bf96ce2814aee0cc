//go:build unix

package outside

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// A frame is what the room sends, as docs/wire.md has it.
type frame struct {
	Type    string
	Seq     uint64
	From    *member
	Time    time.Time
	Body    string
	Epoch   string
	ID      any // of the member in a welcome, of the message in an ack
	Name    string
	Members []member
	Total   int
	Outcome string
	Token   string
	LastID  uint64 `json:"lastId"`
	First   uint64
	Last    uint64
	Code    string
	Reason  string
	Message string
	Retry   *bool
}

type member struct{ ID, Name string }

// An event is one that has a place in the order.
type event struct {
	seq      uint64
	kind     string
	id, name string // from whom
	body     string
	time     time.Time // zero: not known
}

// A life is what a client was told as one member.
type life struct {
	epoch, id, name, token string
	join                   uint64
	pos                    uint64
	events                 []event
	gaps                   [][2]uint64
	rosters                []roster
	sent                   []*said // all, by number from 1 on
	unacked                []*said
	lastByte               time.Time
	expired                *expiry // nil: it has not
}

// An expiry is what a life was told when it was to go on.
type expiry struct {
	at    time.Time
	node  int
	epoch string // of the welcome
}

// A roster is who a welcome says is there.
type roster struct {
	seq     uint64
	members []member
	total   int
	outcome string
	node    int
}

// A said is a numbered message of a life.
type said struct {
	number  uint64
	body    string
	first   time.Time // when it was sent first
	acked   time.Time // zero: it was not
	seq     uint64    // of the ack; 0: it had none
	sentNow bool      // over the present connection
}

// A client is a member after the other, over one connection after the other.
type client struct {
	name string
	w    *world
	rng  *rand.Rand

	lives  []*life
	life   *life // nil: it has no token
	conn   net.Conn
	lines  chan []byte
	node   int
	joined bool

	quiet atomic.Bool  // it says nothing of its own accord, and breaks nothing
	calm  atomic.Bool  // quiet, connected, and all is acknowledged
	last  atomic.Bool  // it is to say its last word
	over  atomic.Bool  // it is to leave
	heard atomic.Int64 // last words of others
}

const (
	patience  = 4 * time.Second // without a byte, after which a client goes elsewhere
	pingEvery = time.Second
)

var errBroken = errors.New("broken off")

// run ends when the client is over, or ended has closed.
func (c *client) run(ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		default:
		}
		err := c.visit(ended)
		c.calm.Store(false)
		if c.conn != nil {
			c.conn.Close()
			for range c.lines { // the reader ends
			}
			c.conn = nil
		}
		if c.over.Load() && err == nil {
			return
		}
		c.w.logf("%s: node %d: %v", c.name, c.node, err)
		time.Sleep(time.Duration(20+c.rng.IntN(200)) * time.Millisecond)
	}
}

// dial connects to some node and says hello.
func (c *client) dial() (err error) {
	c.node = c.rng.IntN(len(c.w.addrs))
	if c.conn, err = net.DialTimeout("tcp", c.w.addrs[c.node], time.Second); err != nil {
		c.conn = nil
		return err
	}
	lines := make(chan []byte, 64)
	c.lines = lines
	go read(c.conn, lines)
	hello := map[string]any{"type": "hello", "name": fmt.Sprintf("%s-%d", c.name, len(c.lives)+1)}
	if l := c.life; l != nil {
		hello["name"] = l.name
		hello["resume"] = map[string]any{"token": l.token, "epoch": l.epoch, "seq": l.pos}
	}
	return c.write(hello)
}

// read ends when the connection does.
func read(conn net.Conn, lines chan<- []byte) {
	defer close(lines)
	r := bufio.NewReaderSize(conn, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		lines <- line
	}
}

func (c *client) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err = c.conn.Write(append(b, '\n'))
	return err
}

// visit is one connection.
func (c *client) visit(ended <-chan struct{}) error {
	if err := c.dial(); err != nil {
		return err
	}
	c.joined = false
	if c.life != nil {
		for _, s := range c.life.unacked {
			s.sentNow = false
		}
	}
	lastByte, began := time.Now(), time.Now()
	tick := time.NewTimer(0)
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ended:
			return nil
		case line, ok := <-c.lines:
			if !ok {
				return errors.New("the connection has ended")
			}
			lastByte = time.Now()
			if err := c.take(line); err != nil {
				return err
			}
			if c.life != nil && c.joined {
				c.life.lastByte = lastByte
			}
		case <-ping.C:
			if time.Since(lastByte) > patience {
				return fmt.Errorf("nothing came for %v", patience)
			}
			if !c.joined && time.Since(began) > 3*patience {
				return errors.New("no welcome comes")
			}
			if c.joined {
				if err := c.write(map[string]any{"type": "ping"}); err != nil {
					return err
				}
			}
		case <-tick.C:
			tick.Reset(time.Duration(20+c.rng.IntN(100)) * time.Millisecond)
			if !c.joined {
				continue
			}
			if err := c.act(); err != nil || c.over.Load() && c.joined {
				return err
			}
		}
	}
}

// act does what a client does now and then, once it is welcome.
func (c *client) act() error {
	l := c.life
	for _, s := range l.unacked {
		if !s.sentNow {
			s.sentNow = true
			if err := c.write(map[string]any{"type": "message", "id": s.number, "body": s.body}); err != nil {
				return err
			}
		}
	}
	switch {
	case c.over.Load():
		c.calm.Store(false)
		c.life = nil
		return c.write(map[string]any{"type": "goodbye"})
	case c.last.CompareAndSwap(true, false):
		return c.say("last")
	case c.quiet.Load():
		c.calm.Store(len(l.unacked) == 0)
		return nil
	}
	switch n := c.rng.IntN(1000); {
	case n < 4:
		return errBroken
	case n < 6:
		c.conn.(*net.TCPConn).SetLinger(0)
		return errBroken
	case n < 8:
		err := c.write(map[string]any{"type": "goodbye"})
		c.life = nil
		if err == nil {
			err = errors.New("left")
		}
		return err
	case n < 10: // takes itself over
		old := c.conn
		time.AfterFunc(time.Duration(c.rng.IntN(300))*time.Millisecond, func() { old.Close() })
		go func(lines chan []byte) {
			for range lines {
			}
		}(c.lines)
		c.conn = nil
		return errors.New("comes again over another connection")
	}
	if len(l.unacked) < 40 {
		return c.say("word")
	}
	return nil
}

func (c *client) say(kind string) error {
	l := c.life
	s := &said{number: uint64(len(l.sent) + 1), first: time.Now(), sentNow: true}
	s.body = fmt.Sprintf("%s %s %d", kind, l.id, s.number)
	l.sent = append(l.sent, s)
	l.unacked = append(l.unacked, s)
	return c.write(map[string]any{"type": "message", "id": s.number, "body": s.body})
}

func decode(line []byte, f *frame) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	return d.Decode(f)
}

// take looks at what came.
func (c *client) take(line []byte) error {
	var f frame
	if err := decode(line, &f); err != nil {
		c.w.fail("%s: %q is not JSON: %v", c.name, line, err)
		return err
	}
	l := c.life
	switch f.Type {
	case "pong":
	case "ping":
		return c.write(map[string]any{"type": "pong"})
	case "refused", "goodbye":
		return c.ended(&f)
	case "welcome":
		return c.welcome(&f)
	case "message", "join", "leave":
		if !c.joined {
			c.w.fail("%s: %s before the welcome", c.name, line)
			return errBroken
		}
		e := event{seq: f.Seq, kind: f.Type, body: f.Body, time: f.Time}
		if f.From != nil {
			e.id, e.name = f.From.ID, f.From.Name
		}
		if e.seq <= l.pos {
			c.w.fail("%s (%s, at node %d): %s %q of %s has seq %d, and it was at %d", l.name, l.id, c.node, e.kind, e.body, e.name, e.seq, l.pos)
		}
		if e.id == l.id {
			c.w.fail("%s (%s) gets its own: %s", l.name, l.id, line)
		}
		l.pos = max(l.pos, e.seq)
		l.events = append(l.events, e)
		if len(e.body) > 4 && e.body[:4] == "last" {
			c.heard.Add(1)
		}
	case "gap":
		c.w.gaps.Add(1)
		if f.First <= l.pos || f.Last < f.First {
			c.w.fail("%s: %s, and it was at %d", l.name, line, l.pos)
		}
		// From its position on: nothing was between.
		l.gaps = append(l.gaps, [2]uint64{l.pos + 1, f.Last})
		l.pos = max(l.pos, f.Last)
	case "ack":
		return c.acked(&f, line)
	default:
		c.w.fail("%s: unexpected %s", c.name, line)
	}
	return nil
}

func (c *client) welcome(f *frame) error {
	id, _ := f.ID.(string)
	l := c.life
	if c.joined && f.Outcome == "gap" && l != nil && l.id == id && l.epoch == f.Epoch { // its node was away from the log
		l.rosters = append(l.rosters, roster{f.Seq, f.Members, f.Total, f.Outcome, c.node})
		return nil
	}
	if c.joined {
		c.w.fail("%s: a second welcome", c.name)
	}
	c.joined = true
	switch f.Outcome {
	case "joined", "expired":
		if (f.Outcome == "expired") != (l != nil) {
			c.w.fail("%s: the outcome is %q", c.name, f.Outcome)
		}
		if l != nil {
			c.w.expired.Add(1)
			l.expired = &expiry{time.Now(), c.node, f.Epoch}
			c.w.logf("%s (%s) has expired, at %d", l.name, l.id, l.pos)
		}
		name := fmt.Sprintf("%s-%d", c.name, len(c.lives)+1)
		if l != nil {
			name = l.name // as the hello said
		}
		if f.Name != name {
			c.w.fail("%s: the welcome is for %q", name, f.Name)
		}
		l = &life{epoch: f.Epoch, id: id, name: f.Name, join: f.Seq, pos: f.Seq}
		c.life = l
		c.lives = append(c.lives, l)
	case "resumed", "gap":
		if l == nil || l.id != id || l.epoch != f.Epoch {
			c.w.fail("%s: resumes as %q in %q: %+v", c.name, id, f.Epoch, l)
			c.life = nil
			return errBroken
		}
		c.w.resumed.Add(1)
		if f.Seq < l.pos {
			c.w.fail("%s (%s): resumed at node %d at %d, and it was at %d", l.name, id, c.node, f.Seq, l.pos)
		}
		last := uint64(len(l.sent))
		if f.LastID > last || len(l.unacked) > 0 && f.LastID+1 < l.unacked[0].number {
			c.w.fail("%s (%s): lastId is %d at node %d, of %d sent, with unacked %d", l.name, id, f.LastID, c.node, last, len(l.unacked))
		}
	default:
		c.w.fail("%s: outcome %q", c.name, f.Outcome)
	}
	l.token = f.Token
	l.lastByte = time.Now()
	l.rosters = append(l.rosters, roster{f.Seq, f.Members, f.Total, f.Outcome, c.node})
	return nil
}

func (c *client) acked(f *frame, line []byte) error {
	l := c.life
	number, err := f.ID.(json.Number).Int64()
	if err != nil || len(l.unacked) == 0 || l.unacked[0].number != uint64(number) {
		c.w.fail("%s (%s): %s, and it waits for %v", l.name, l.id, line, l.unacked)
		return errBroken
	}
	s := l.unacked[0]
	l.unacked = l.unacked[1:]
	s.acked, s.seq = time.Now(), f.Seq
	l.pos = max(l.pos, f.Seq)
	return nil
}

// passing are the causes for which a client comes back.
var passing = []string{"unavailable", "restarting", "busy", "retry", "handshake-timeout", "closed"}

func (c *client) ended(f *frame) error {
	why := fmt.Errorf("%s %s: %s%s", f.Type, f.Code, f.Message, f.Reason)
	c.w.count(f.Type + " " + f.Code)
	if !slices.Contains(passing, f.Code) {
		c.w.fail("%s: node %d: %v; life %s", c.name, c.node, why, c.where())
		c.life = nil // as it could not know better
	}
	return why
}

func (c *client) where() string {
	if c.life == nil {
		return "none"
	}
	return fmt.Sprintf("%s at %d", c.life.id, c.life.pos)
}
