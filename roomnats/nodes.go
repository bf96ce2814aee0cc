package roomnats

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tcproom"
)

// nodes are the leases of a namespace: a bucket with a key for each node, whose value is
// the node's name. A key that is not put again for a lease ends, and the server says so
// in its place.
type nodes struct{ b *Backplane }

var _ tcproom.Nodes = (*nodes)(nil)

const (
	operationHeader = "KV-Operation" // of what ends a key by request
	reasonHeader    = "Nats-Marker-Reason"
)

func (n *nodes) subject(node string) string {
	return bucketSubject(n.b.config.leases(), token(node))
}

// Renew implements [tcproom.Nodes].
func (n *nodes) Renew(ctx context.Context, node string) error {
	return n.put(ctx, "renew", node, nil)
}

// Release implements [tcproom.Nodes].
func (n *nodes) Release(ctx context.Context, node string) error {
	return n.put(ctx, "release", node, nats.Header{operationHeader: {"DEL"}})
}

func (n *nodes) put(ctx context.Context, what, node string, h nats.Header) error {
	ctx, cancel := during(ctx, n.b.ctx)
	defer cancel()
	err := context.Cause(ctx)
	if node == "" {
		err = errors.New("a node needs a name")
	}
	if err == nil {
		m := &nats.Msg{Subject: n.subject(node), Header: h}
		if h == nil {
			m.Data = []byte(node)
		}
		_, err = n.b.publish(ctx, n.b.lives, m)
	}
	if err != nil {
		err = because(ctx, err)
		return fmt.Errorf("roomnats: %s the lease of node %q: %w", what, node, err)
	}
	return nil
}

// Alive asks the leader of the bucket: another server may lag behind.
func (n *nodes) Alive(ctx context.Context, node string) (bool, error) {
	ctx, cancel := during(ctx, n.b.ctx)
	defer cancel()
	m, err := n.b.message(ctx, n.b.lives.config.Name, wanted{Last: n.subject(node)})
	if err != nil {
		return false, fmt.Errorf("roomnats: look for the lease of node %q: %w", node, because(ctx, err))
	}
	return m != nil && !ended(m.header()), nil
}

// Watch implements [tcproom.Nodes].
func (n *nodes) Watch(ctx context.Context, fn func(node string, alive bool)) error {
	ctx, cancel := during(ctx, n.b.ctx)
	defer cancel()
	prefix := bucketSubject(n.b.config.leases(), "")
	cfg := jetstream.ConsumerConfig{FilterSubject: prefix + ">", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy}
	alive := make(map[string]string) // key to the node's name
	err := n.b.follow(ctx, n.b.lives, cfg, nil, func(_ *follower, d delivery) error {
		key := strings.TrimPrefix(d.Subject, prefix)
		node, was := alive[key]
		switch gone := ended(d.Header); {
		case gone && was:
			delete(alive, key)
			fn(node, false)
		case !gone && !was:
			alive[key] = string(d.Data)
			fn(alive[key], true)
		}
		return nil
	})
	return fmt.Errorf("roomnats: watch of the nodes: %w", because(ctx, err))
}

// ended reports whether a message says that its key has ended.
func ended(h nats.Header) bool {
	return h.Get(operationHeader) != "" || h.Get(reasonHeader) != ""
}

// header parses the headers of a stored message.
func (m *stored) header() nats.Header {
	if len(m.Header) == 0 {
		return nil
	}
	h, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		return nil
	}
	return h
}
