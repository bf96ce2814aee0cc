// Package itest is what a user of package roomtest has: a small service, a
// small client, and tests of both, in a module of their own.
package itest

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/tcproom"
)

// A Poll is a service in a room: a member that sends "vote x" has voted for x, and
// all receive the new count. Any other message goes to all.
type Poll struct {
	mu    sync.Mutex // guards votes
	votes map[string]map[string]bool
}

// Options makes a room hold the poll.
func (p *Poll) Options() []tcproom.RoomOption {
	return []tcproom.RoomOption{tcproom.OnMessage(p.hear), tcproom.WithUniqueNames(true)}
}

func (p *Poll) hear(m *tcproom.Member, body []byte) (post []byte, err error) {
	what, ok := strings.CutPrefix(string(body), "vote ")
	if !ok {
		return body, nil
	}
	n, counted := p.count(m.ID(), what)
	if !counted {
		return nil, m.Send(m.Context(), []byte("you have voted for "+what))
	}
	_, err = m.Room().Broadcast(m.Context(), fmt.Appendf(nil, "%s has %d", what, n))
	return nil, err
}

// count counts a vote, unless it was counted before.
func (p *Poll) count(who, what string) (n int, counted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.votes == nil {
		p.votes = make(map[string]map[string]bool)
	}
	if p.votes[what] == nil {
		p.votes[what] = make(map[string]bool)
	}
	counted = !p.votes[what][who]
	p.votes[what][who] = true
	return len(p.votes[what]), counted
}

// A Dialer connects a client.
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// Vote is a client: it joins the poll at addr, votes for what, and returns the count
// that it receives. With a nil dial it uses package net.
func Vote(ctx context.Context, addr, name, what string, dial Dialer) (int, error) {
	c, err := tcproom.Dial(ctx, addr, tcproom.WithName(name), tcproom.WithCodec(tcproom.JSON{}),
		tcproom.WithDialer(dial), tcproom.WithHandshakeTimeout(time.Minute)) // ctx bounds the wait
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Send(ctx, []byte("vote "+what)); err != nil {
		return 0, err
	}
	for ev, err := range c.Events(ctx) {
		if err != nil {
			return 0, err
		}
		if n, ok := strings.CutPrefix(string(ev.Body), what+" has "); ok && ev.From == (tcproom.MemberInfo{}) {
			return strconv.Atoi(n)
		}
	}
	return 0, io.ErrUnexpectedEOF
}
