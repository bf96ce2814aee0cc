package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/tcproom"
	"example.com/tcproom/roomtest"
)

// A broken Backplane is one in memory but for what is set.
type broken struct {
	tcproom.Backplane
	node   int
	room   func(room string) string
	log    func(*brokenLog)
	nodes  func(*brokenNodes)
	opened func()
	close  func(b tcproom.Backplane) error
}

func (b *broken) Open(ctx context.Context, room string) (tcproom.Log, error) {
	if b.room != nil {
		room = b.room(room)
	}
	l, err := b.Backplane.Open(ctx, room)
	if err != nil {
		return nil, err
	}
	if b.opened != nil {
		b.opened()
	}
	bl := &brokenLog{Log: l, b: b}
	if b.log != nil {
		b.log(bl)
	}
	return bl, nil
}

func (b *broken) Nodes() tcproom.Nodes {
	n := &brokenNodes{Nodes: b.Backplane.Nodes()}
	if b.nodes != nil {
		b.nodes(n)
	}
	return n
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close(b.Backplane)
	}
	return b.Backplane.Close()
}

type brokenLog struct {
	tcproom.Log
	b      *broken
	append func(ctx context.Context, id string, rec []byte) (uint64, error)
	tail   func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error
	save   func(ctx context.Context, at uint64, state []byte) error
	load   func(ctx context.Context) (uint64, []byte, error)
	caps   func(*tcproom.Caps)
	close  func() error
	nodes  tcproom.Nodes
}

func (l *brokenLog) Nodes() tcproom.Nodes {
	if l.nodes != nil {
		return l.nodes
	}
	return l.b.Nodes()
}

func (l *brokenLog) Append(ctx context.Context, id string, rec []byte) (uint64, error) {
	if l.append != nil {
		return l.append(ctx, id, rec)
	}
	return l.Log.Append(ctx, id, rec)
}

func (l *brokenLog) Tail(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
	if l.tail != nil {
		return l.tail(ctx, from, fn)
	}
	return l.Log.Tail(ctx, from, fn)
}

func (l *brokenLog) Save(ctx context.Context, at uint64, state []byte) error {
	if l.save != nil {
		return l.save(ctx, at, state)
	}
	return l.Log.Save(ctx, at, state)
}

func (l *brokenLog) Load(ctx context.Context) (uint64, []byte, error) {
	if l.load != nil {
		return l.load(ctx)
	}
	return l.Log.Load(ctx)
}

func (l *brokenLog) Caps() tcproom.Caps {
	c := l.Log.Caps()
	if l.caps != nil {
		l.caps(&c)
	}
	return c
}

func (l *brokenLog) Close() error {
	if l.close != nil {
		return l.close()
	}
	return l.Log.Close()
}

type brokenNodes struct {
	tcproom.Nodes
	renew   func(ctx context.Context, node string) error
	release func(ctx context.Context, node string) error
	watch   func(ctx context.Context, fn func(string, bool)) error
	alive   func(ctx context.Context, node string) (bool, error)
}

func (n *brokenNodes) Renew(ctx context.Context, node string) error {
	if n.renew != nil {
		return n.renew(ctx, node)
	}
	return n.Nodes.Renew(ctx, node)
}

func (n *brokenNodes) Release(ctx context.Context, node string) error {
	if n.release != nil {
		return n.release(ctx, node)
	}
	return n.Nodes.Release(ctx, node)
}

func (n *brokenNodes) Watch(ctx context.Context, fn func(string, bool)) error {
	if n.watch != nil {
		return n.watch(ctx, fn)
	}
	return n.Nodes.Watch(ctx, fn)
}

func (n *brokenNodes) Alive(ctx context.Context, node string) (bool, error) {
	if n.alive != nil {
		return n.alive(ctx, node)
	}
	return n.Nodes.Alive(ctx, node)
}

// A violation is an engine that breaks the contract.
type violation struct {
	name string
	row  string // that finds it
	law  string
	want string // of what shows it
	racy bool   // the race detector reports it first

	log   func(*brokenLog)
	nodes func(*brokenNodes)
	make  func(*broken) // what log and nodes cannot do
	caps  func(*tcproom.Caps)
	// factory changes the Factory, which may have a fault of its own.
	factory func(*Factory)
}

func (v *violation) Factory() Factory {
	caps := v.caps
	if caps == nil {
		caps = usual
	}
	f := memory(caps, func(node int, b tcproom.Backplane) tcproom.Backplane {
		br := &broken{Backplane: b, node: node, log: v.log, nodes: v.nodes}
		if v.make != nil {
			v.make(br)
		}
		return br
	})
	if v.factory != nil {
		v.factory(&f)
	}
	return f
}

func rowOf(t *testing.T, name string) *row {
	t.Helper()
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	require.GreaterOrEqual(t, i, 0, "there is no row %q", name)
	return &rows[i]
}

// found is what the row finds wrong.
func (v *violation) found(t *testing.T) (err error) {
	synctest.Test(t, func(t *testing.T) {
		err = rowOf(t, v.row).run(t, v.Factory())
		time.Sleep(2 * time.Hour) // until what the engine left running has ended
	})
	return err
}

func violations() []violation {
	return slices.Concat(brokenAppends(), brokenTails(), brokenLeases(), brokenStates(), brokenCloses())
}

// Run finds each violation. With the race detector a sample is tried.
func TestViolations(t *testing.T) {
	for i, v := range violations() {
		t.Run(v.row+"/"+v.name, func(t *testing.T) {
			if raceEnabled && (v.racy || i%4 != 0) {
				t.Skip("a data race of the engine's, or slow and without any")
			}
			err := v.found(t)
			require.Error(t, err)
			prefix := "logtest: " + v.law + ": "
			for line := range strings.Lines(err.Error()) {
				if strings.HasPrefix(line, prefix) && strings.Contains(line, v.want) {
					return
				}
			}
			t.Fatalf("no %q with %q in:\n%v", prefix, v.want, err)
		})
	}
}

// Each row finds something.
func TestRowsCanFail(t *testing.T) {
	for _, r := range rows {
		require.True(t, slices.ContainsFunc(violations(),
			func(v violation) bool { return v.row == r.name }), "no broken engine is for the row %q", r.name)
	}
}

// The changed one runs a Tail in which each record passes change.
func changed(l *brokenLog, change func(*tcproom.Record)) {
	l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
		return l.Log.Tail(ctx, from, func(r tcproom.Record) error {
			change(&r)
			return fn(r)
		})
	}
}

func brokenAppends() []violation {
	return []violation{
		{name: "positions from 0", row: "C1 order", law: "C1", want: "at the position 0", log: func(l *brokenLog) {
			changed(l, func(r *tcproom.Record) { r.Pos-- })
		}},
		{name: "positions with gaps", row: "C1 order", law: "C5", want: "gave the record at 4 after the one at 2", log: func(l *brokenLog) {
			changed(l, func(r *tcproom.Record) { r.Pos *= 2 })
		}},
		{name: "positions fall", row: "C1 order", law: "C1", want: "gave the record at 1 after the one at 1", log: func(l *brokenLog) {
			changed(l, func(r *tcproom.Record) { r.Pos = 1 })
		}},
		{name: "other records at each node", row: "C1 order", law: "C1", want: "where the Tail of node 0 from 0 gave", make: func(b *broken) {
			b.log = func(l *brokenLog) {
				changed(l, func(r *tcproom.Record) { r.Data = fmt.Append(slices.Clip(r.Data), b.node) })
			}
		}},
		{name: "time of the reader", row: "C1 order", law: "C1", want: "where the Tail of node 0", log: func(l *brokenLog) {
			changed(l, func(r *tcproom.Record) { r.Time = r.Time.Add(time.Duration(orders.Add(1))) })
		}},
		{name: "no time", row: "C1 order", law: "C1", want: "has no time", log: func(l *brokenLog) {
			changed(l, func(r *tcproom.Record) { r.Time = time.Time{} })
		}},
		{name: "Append answers a wrong position", row: "C1 order", law: "C1", want: "where the record", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				pos, err := l.Log.Append(ctx, id, rec)
				return pos + 1, err
			}
		}},
		{name: "Append answers 0", row: "C1 order", law: "C1", want: "returned the position 0", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				_, err := l.Log.Append(ctx, id, rec)
				return 0, err
			}
		}},
		{name: "Append fails", row: "C1 order", law: "works", want: `returned the error "too hot"`, log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				if strings.HasSuffix(id, "record-9") {
					return 0, errors.New("too hot")
				}
				return l.Log.Append(ctx, id, rec)
			}
		}},
		{name: "rooms in lower case", row: "C1 rooms", law: "C1", want: `the room "A" has the records`, make: func(b *broken) {
			b.room = strings.ToLower
		}},
		{name: "room names are cut", row: "C1 rooms", law: "C1", want: "has the records", make: func(b *broken) {
			b.room = func(room string) string { return room[:min(len(room), 200)] }
		}},
		{name: "room names are refused", row: "C1 rooms", law: "works", want: `Open of room "a.b" at node 0 returned the error`, make: func(b *broken) {
			b.room = func(room string) string {
				if room == "a.b" {
					b.Backplane.(*roomtest.Backplane).Cut()
				}
				return room
			}
		}},
		{name: "MaxRecord too low", row: "C1 order", law: "caps", want: "MaxRecord:1000", log: func(l *brokenLog) {
			l.caps = func(c *tcproom.Caps) { c.MaxRecord = 1000 }
		}},
		{name: "another Lease", row: "C1 order", law: "caps", want: "the Factory's Lease is 1s", factory: func(f *Factory) { f.Lease = time.Second }},
		{name: "keeps rec", row: "C2 answers", law: "C2", want: `is "\x00\x00`, log: func() func(*brokenLog) {
			var borrowed sync.Map
			return func(l *brokenLog) {
				l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
					pos, err := l.Log.Append(ctx, id, rec)
					borrowed.Store(pos, rec)
					return pos, err
				}
				changed(l, func(r *tcproom.Record) {
					if rec, ok := borrowed.Load(r.Pos); ok {
						r.Data = rec.([]byte)
					}
				})
			}
		}()},
		{name: "writes to rec", row: "C2 answers", law: "C2", want: "changed the record", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				defer func() { rec[0]++ }()
				return l.Log.Append(ctx, id, rec)
			}
		}},
		{name: "an error though stored", row: "C2 answers", law: "C2", want: `returned the error "no luck", and Tail gave its record`, log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				pos, err := l.Log.Append(ctx, id, rec)
				if id == "one-byte" {
					return 0, errors.New("no luck")
				}
				return pos, err
			}
		}},
		{name: "an answer though not stored", row: "C2 answers", law: "C2", want: "whose Append returned 2, is", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				if id == "one-byte" {
					return 2, nil
				}
				return l.Log.Append(ctx, id, rec)
			}
		}},
		{name: "takes less than MaxRecord", row: "C2 answers", law: "C2", want: "Append of MaxRecord bytes", log: func(l *brokenLog) {
			l.caps = func(c *tcproom.Caps) { c.MaxRecord++ }
		}},
		{name: "takes more than MaxRecord", row: "C2 answers", law: "C2", want: "one more than MaxRecord", log: func(l *brokenLog) {
			l.caps = func(c *tcproom.Caps) { c.MaxRecord-- }
		}},
		{name: "too long is uncertain", row: "C2 answers", law: "C2", want: "one more than MaxRecord", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				pos, err := l.Log.Append(ctx, id, rec)
				if err != nil {
					err = fmt.Errorf("%w: %w", tcproom.ErrUncertain, err)
				}
				return pos, err
			}
		}},
		{name: "no look at the context", row: "C2 answers", law: "C2", want: "Append returned nil", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				return l.Log.Append(context.WithoutCancel(ctx), id, rec)
			}
		}},
		{name: "goes on after its context", row: "C2 answers", law: "returns", want: "Append has not returned", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				time.Sleep(time.Hour)
				return l.Log.Append(ctx, id, rec)
			}
		}},
		{name: "certain while cut", row: "C2 cut", law: "C2", want: `returned the error "no answer", and Tail gave its record`, log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				pos, err := l.Log.Append(ctx, id, rec)
				if err != nil {
					err = errors.New("no answer")
				}
				return pos, err
			}
		}, factory: stalls},
		{name: "all depend on one", row: "C2 cut", law: "works", want: "while another one was cut off", factory: func(f *Factory) {
			cut := f.Cut
			f.Cut = func(t testing.TB, node int) func() {
				heal, other := cut(t, node), cut(t, 1-node)
				return func() {
					heal()
					other()
				}
			}
		}},
		{name: "does not come back", row: "C2 cut", law: "works", want: "after the fault", factory: func(f *Factory) {
			cut := f.Cut
			f.Cut = func(t testing.TB, node int) func() {
				cut(t, node)
				return func() {}
			}
		}},
		{name: "not durable", row: "C2 restart", law: "C2", want: "Append returned 1 after a restart", caps: func(c *tcproom.Caps) { c.Durable = false }, log: saysDurable},
		{name: "stores an id twice", row: "C3 ids", law: "C3", want: "Append of an id returned 1, then 2 at node 0", log: storesTwice},
		{name: "ids of a node", row: "C3 ids", law: "C3", want: "then 2 at node 1", make: func(b *broken) {
			b.log = func(l *brokenLog) {
				l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
					return l.Log.Append(ctx, fmt.Sprint(id, b.node), rec)
				}
			}
		}},
		{name: "looks first and stores then", row: "C3 ids", law: "C3", want: "is there twice", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				pos, err := l.Log.Append(ctx, id, rec)
				if strings.HasPrefix(id, "at-once") && err == nil {
					l.Log.Append(ctx, fmt.Sprint(id, orders.Add(1)), rec)
				}
				return pos, err
			}
		}},
		{name: "not durable", row: "C3 restart", law: "C3", want: "then 3 after a restart", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				return l.Log.Append(ctx, fmt.Sprint(id, restarts.Load()), rec)
			}
		}, factory: func(f *Factory) {
			f.Restart = func(testing.TB) { restarts.Add(1) }
		}},
		{name: "each node has numbers of its own", row: "C4 one after the other", law: "C4", want: "Append at node 1 returned", make: func(b *broken) {
			b.log = func(l *brokenLog) {
				l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
					pos, err := l.Log.Append(ctx, id, rec)
					return pos + uint64(1000*(2-b.node)), err
				}
			}
		}},
	}
}

var (
	orders   atomic.Int64
	restarts atomic.Int64
)

// backplanes returns those of the engine that f has opened last.
func backplanes(f *Factory) func() []*roomtest.Backplane {
	open := f.Open
	var nodes []*roomtest.Backplane
	f.Open = func(t testing.TB) func() tcproom.Backplane {
		attach := open(t)
		nodes = nil
		return func() tcproom.Backplane {
			b := attach()
			nodes = append(nodes, b.(*broken).Backplane.(*roomtest.Backplane))
			return b
		}
	}
	return func() []*roomtest.Backplane { return nodes }
}

// stalls has a Cut that the node does not see.
func stalls(f *Factory) {
	nodes := backplanes(f)
	f.Cut = func(_ testing.TB, node int) func() {
		nodes()[node].Stall()
		return nodes()[node].Heal
	}
}

func storesTwice(l *brokenLog) {
	l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
		return l.Log.Append(ctx, fmt.Sprint(id, orders.Add(1)), rec)
	}
}

func saysDurable(l *brokenLog) {
	l.caps = func(c *tcproom.Caps) { c.Durable = true }
}

// given runs a Tail with another from, and fn as call says.
func given(l *brokenLog, from func(uint64) uint64, call func(ctx context.Context, r tcproom.Record, fn func(tcproom.Record) error) error) {
	l.tail = func(ctx context.Context, at uint64, fn func(tcproom.Record) error) error {
		return l.Log.Tail(ctx, from(at), func(r tcproom.Record) error { return call(ctx, r, fn) })
	}
}

func same(from uint64) uint64 { return from }

func straight(_ context.Context, r tcproom.Record, fn func(tcproom.Record) error) error { return fn(r) }

func brokenTails() []violation {
	return []violation{
		{name: "skips a record", row: "C5 from", law: "C5", want: "gave the record at 4 after the one at 2", log: func(l *brokenLog) {
			given(l, same, func(_ context.Context, r tcproom.Record, fn func(tcproom.Record) error) error {
				if r.Pos == 3 {
					return nil
				}
				return fn(r)
			})
		}},
		{name: "swaps two", row: "C5 from", law: "C1", want: "gave the record at 2 after the one at 3", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				var held *tcproom.Record
				return l.Log.Tail(ctx, from, func(r tcproom.Record) error {
					if r.Pos == 2 {
						held = &tcproom.Record{Pos: r.Pos, Time: r.Time, Data: slices.Clone(r.Data)}
						return nil
					}
					err := fn(r)
					if held != nil && err == nil {
						err = fn(*held)
						held = nil
					}
					return err
				})
			}
		}},
		{name: "begins behind from", row: "C5 from", law: "C5", want: "began with the record at", log: func(l *brokenLog) {
			given(l, func(from uint64) uint64 { return max(from, 1) + 1 }, straight)
		}},
		{name: "begins with what comes", row: "C1 order", law: "C5", want: "gave 0 records of 60, and no more", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				began := time.Now()
				return l.Log.Tail(ctx, from, func(r tcproom.Record) error {
					if from == 0 && !r.Time.After(began) {
						return nil
					}
					return fn(r)
				})
			}
		}},
		{name: "begins anew where the record is lost", row: "C5 from", law: "C5", want: "has not returned in 1m0s, though the log ends before its record", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				err := l.Log.Tail(ctx, from, fn)
				if errors.As(err, new(*tcproom.LostError)) {
					return l.Log.Tail(ctx, 0, fn)
				}
				return err
			}
		}},
		{name: "another First", row: "C5 from", law: "C5", want: "returned the First 2, not 1", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				err := l.Log.Tail(ctx, from, fn)
				if lost := new(*tcproom.LostError); errors.As(err, lost) {
					return &tcproom.LostError{First: (*lost).First + 1}
				}
				return err
			}
		}},
		{name: "another error than LostError", row: "C5 trim", law: "C5", want: `returned the error "gone"`, log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				err := l.Log.Tail(ctx, from, fn)
				if errors.As(err, new(*tcproom.LostError)) {
					return errors.New("gone")
				}
				return err
			}
		}},
		{name: "hides the error of fn", row: "C5 from", law: "C5", want: "not fn's", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				return fmt.Errorf("the Tail has ended: %v", l.Log.Tail(ctx, from, fn))
			}
		}},
		{name: "goes on after an error of fn", row: "C5 from", law: "C5", want: "called fn", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				var failed error
				return l.Log.Tail(ctx, from, func(r tcproom.Record) error {
					err := fn(r)
					if failed == nil {
						failed = err
						return nil
					}
					return failed
				})
			}
		}},
		{name: "returns nil", row: "C5 from", law: "C5", want: "returned nil", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				err := l.Log.Tail(ctx, from, fn)
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}},
		{name: "nil for a context that has ended before", row: "C5 from", law: "C5", want: "Tail, whose context had ended, returned nil", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				if ctx.Err() != nil {
					return nil
				}
				return l.Log.Tail(ctx, from, fn)
			}
		}},
		{name: "gives something else where the record is lost", row: "C5 from", law: "C5", want: `gave ["?" at`, log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				err := l.Log.Tail(ctx, from, fn)
				if errors.As(err, new(*tcproom.LostError)) {
					fn(tcproom.Record{Pos: from, Data: []byte("?")})
				}
				return err
			}
		}},
		{name: "returns late", row: "C5 from", law: "returns", want: "has not returned in 1m0s, though its context has ended", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				err := l.Log.Tail(ctx, from, fn)
				if ctx.Err() != nil && from > 0 {
					time.Sleep(time.Minute)
				}
				return err
			}
		}},
		{name: "has a short queue", row: "C5 lag", law: "C5", want: "the Tail of a slow fn from 0 gave", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				return queued(ctx, l.Log, from, 32, true, fn)
			}
		}},
		{name: "cuts records", row: "C5 lag", law: "C2", want: "of 65536 bytes", log: func(l *brokenLog) {
			changed(l, func(r *tcproom.Record) { r.Data = r.Data[:min(len(r.Data), 1000)] })
		}},
		{name: "begins anew where the record was dropped", row: "C5 trim", law: "C5", want: "though its record is not there", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				err := l.Log.Tail(ctx, from, fn)
				if lost := new(*tcproom.LostError); errors.As(err, lost) {
					return l.Log.Tail(ctx, (*lost).First, fn)
				}
				return err
			}
		}},
		{name: "skips what was dropped", row: "C5 trim", law: "C5", want: "after the one at 1", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				err := l.Log.Tail(ctx, from, fn)
				if errors.As(err, new(*tcproom.LostError)) && from == 0 {
					return l.Log.Tail(ctx, from, fn)
				}
				return err
			}
		}},
		{name: "0 is not the first one", row: "C5 trim", law: "C5", want: "a Tail from 0 began at 9, where the first record is at 8", make: func(b *broken) {
			b.log = func(l *brokenLog) {
				given(l, func(from uint64) uint64 {
					if from == 0 && b.node == 0 {
						return 9
					}
					return from
				}, straight)
			}
		}},
		{name: "positions begin again when all was dropped", row: "C5 trim", law: "C5", want: "Append returned 1 after records to 10", factory: func(f *Factory) {
			trim := f.Trim
			f.Trim = func(t testing.TB, room string, n int) {
				if n == 3 {
					f.Wipe(t, room)
					return
				}
				trim(t, room, n)
			}
		}},
		{name: "loses the first record of another list", row: "C5 wipe", law: "C5", want: "a Tail of a list of 8 new records from 1 gave", make: func(b *broken) {
			n := 0
			b.log = func(l *brokenLog) {
				given(l, func(from uint64) uint64 {
					if n++; n > 1 && from == 0 {
						return 2
					}
					return from
				}, straight)
			}
		}},
		{name: "attaches again by itself", row: "C5 wipe", law: "C5", want: "has not returned in 1m0s, though its list was replaced", log: attachesAgain},
		{name: "goes on at the old number", row: "C5 wipe", law: "C5", want: `gave "new 6" at 6 of another list`, log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				given := 0
				next := from
				take := func(r tcproom.Record) error {
					given++
					next = r.Pos + 1
					return fn(r)
				}
				err := l.Log.Tail(ctx, from, take)
				if given > 0 && ctx.Err() == nil && strings.Contains(err.Error(), "anew") {
					time.Sleep(time.Second)
					short, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					l.Log.Tail(short, next, take)
					return err
				}
				return err
			}
		}},
		{name: "hangs after a cut", row: "C5 cut", law: "C5", want: "neither returned nor went on", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				err := l.Log.Tail(ctx, from, fn)
				<-ctx.Done()
				return err
			}
		}},
		{name: "does not come back", row: "C5 cut", law: "works", want: "after the fault", factory: func(f *Factory) {
			cut := f.Cut
			f.Cut = func(t testing.TB, node int) func() {
				cut(t, node)
				return func() {}
			}
		}},
		{name: "skips what came while cut", row: "C5 cut", law: "C5", want: "after the one at 1", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				var hi uint64
				for {
					err := l.Log.Tail(ctx, from, func(r tcproom.Record) error {
						if hi > 0 && r.Pos < 7 {
							return nil
						}
						err := fn(r)
						return err
					})
					if ctx.Err() != nil {
						return err
					}
					hi = 1
					time.Sleep(time.Millisecond)
				}
			}
		}},
		{name: "calls fn after its return", row: "C6 calls", law: "C6", want: "after it had returned", log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				return queued(ctx, l.Log, from, 1000, false, fn)
			}
		}},
		{name: "calls of fn overlap", row: "C6 calls", law: "C6", want: "while it ran", racy: true, log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				var calls sync.WaitGroup
				defer calls.Wait()
				return l.Log.Tail(ctx, from, func(r tcproom.Record) error {
					r.Data = slices.Clone(r.Data)
					calls.Go(func() { fn(r) })
					return nil
				})
			}
		}},
		{name: "one buffer", row: "C6 calls", law: "C6", want: "changed the record at 1 while fn ran", racy: true, log: func(l *brokenLog) {
			l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
				return l.Log.Tail(ctx, from, func(r tcproom.Record) error {
					t := time.AfterFunc(0, func() { r.Data[0]++ })
					defer t.Stop()
					return fn(r)
				})
			}
		}},
	}
}

// attachesAgain hides that connections were lost.
func attachesAgain(l *brokenLog) {
	l.tail = func(ctx context.Context, from uint64, fn func(tcproom.Record) error) error {
		for {
			err := l.Log.Tail(ctx, from, func(r tcproom.Record) error {
				from = r.Pos + 1
				return fn(r)
			})
			if ctx.Err() != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// queued is a Tail with a queue, which drops records if it is full and drops is set, and
// is not emptied before Tail returns otherwise.
func queued(ctx context.Context, l tcproom.Log, from uint64, n int, drops bool, fn func(tcproom.Record) error) error {
	queue := make(chan tcproom.Record, n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := range queue {
			fn(r)
		}
	}()
	err := l.Tail(ctx, from, func(r tcproom.Record) error {
		r.Data = slices.Clone(r.Data)
		select {
		case queue <- r:
		default:
		}
		return nil
	})
	close(queue)
	if drops {
		<-done
	}
	return err
}

// watched runs a Watch whose calls of fn are those of tell.
func watched(n *brokenNodes, tell func(fn func(string, bool), node string, alive bool)) {
	n.watch = func(ctx context.Context, fn func(string, bool)) error {
		return n.Nodes.Watch(ctx, func(node string, alive bool) { tell(fn, node, alive) })
	}
}

func brokenLeases() []violation {
	return []violation{
		{name: "a lease never ends", row: "C7 leases", law: "C7", want: `has not told in 1m22.5s that "dies" is alive: false`, nodes: func(n *brokenNodes) {
			watched(n, func(fn func(string, bool), node string, alive bool) {
				if alive || node != "dies" {
					fn(node, alive)
				}
			})
		}},
		{name: "a lease ends early", row: "C7 leases", law: "C7", want: "too early", nodes: func(n *brokenNodes) {
			n.renew = func(ctx context.Context, node string) error {
				if node == "dies" {
					time.AfterFunc(10*time.Second, func() { n.Nodes.Release(context.Background(), node) })
				}
				return n.Nodes.Renew(ctx, node)
			}
		}},
		{name: "a lease ends late", row: "C7 leases", law: "C7", want: "too late", nodes: func(n *brokenNodes) {
			watched(n, func(fn func(string, bool), node string, alive bool) {
				if node == "dies" && !alive {
					time.Sleep(8 * time.Second)
				}
				fn(node, alive)
			})
		}},
		{name: "a renewal does not count", row: "C7 leases", law: "C7", want: "which renewed its lease every 5s", nodes: func(n *brokenNodes) {
			n.renew = func(ctx context.Context, node string) error {
				if alive, _ := n.Nodes.Alive(ctx, node); alive && node == "keeps" {
					time.AfterFunc(4*time.Second, func() { n.Nodes.Release(context.Background(), node) })
				}
				return n.Nodes.Renew(ctx, node)
			}
			// The last of what was told must be that it is dead.
			watched(n, func(fn func(string, bool), node string, alive bool) {
				if node == "keeps" && alive {
					if time.Now().After(bubbleStart.Add(time.Second)) {
						return
					}
				}
				fn(node, alive)
			})
		}},
		{name: "does not tell who is there", row: "C7 leases", law: "C7", want: "the Watch at node 2 has not told in 1m0s", make: func(b *broken) {
			if b.node != 2 {
				return
			}
			b.nodes = func(n *brokenNodes) {
				n.watch = func(ctx context.Context, fn func(string, bool)) error {
					began := time.Now()
					return n.Nodes.Watch(ctx, func(node string, alive bool) {
						if time.Since(began) > 0 {
							fn(node, alive)
						}
					})
				}
			}
		}},
		{name: "tells each renewal", row: "C7 leases", law: "C7", want: `told twice that "keeps" is alive: true`, nodes: func(n *brokenNodes) {
			watched(n, func(fn func(string, bool), node string, alive bool) {
				fn(node, alive)
				if node == "keeps" && alive {
					fn(node, alive)
				}
			})
		}},
		{name: "tells what has ended long ago", row: "C7 leases", law: "C7", want: "and not that it was alive", nodes: func(n *brokenNodes) {
			n.watch = func(ctx context.Context, fn func(string, bool)) error {
				fn("released", false)
				return n.Nodes.Watch(ctx, fn)
			}
		}},
		{name: "a Log has Nodes of its own", row: "C7 leases", law: "C7", want: "the Watch at node 2 has not told in 1m0s", log: func(l *brokenLog) {
			l.nodes = roomtest.NewLog().Nodes()
		}},
		{name: "Watch returns", row: "C7 leases", law: "C7", want: `returned the error "enough" before`, nodes: func(n *brokenNodes) {
			n.watch = func(ctx context.Context, fn func(string, bool)) error { return errors.New("enough") }
		}},
		{name: "Renew fails", row: "C7 leases", law: "works", want: `Renew of "released" returned the error "no"`, nodes: func(n *brokenNodes) {
			n.renew = func(context.Context, string) error { return errors.New("no") }
		}},
		{name: "Alive fails", row: "C7 leases", law: "works", want: `Alive of "keeps" returned the error "no"`, nodes: func(n *brokenNodes) {
			n.alive = func(context.Context, string) (bool, error) { return true, errors.New("no") }
		}},
		{name: "Watch returns nil", row: "C7 leases", law: "returns", want: "returned nil", nodes: func(n *brokenNodes) {
			n.watch = func(ctx context.Context, fn func(string, bool)) error {
				n.Nodes.Watch(ctx, fn)
				return nil
			}
		}},
		{name: "Watch hangs", row: "C7 leases", law: "returns", want: "the Watch at node 1 has not returned", nodes: func(n *brokenNodes) {
			n.watch = func(ctx context.Context, fn func(string, bool)) error {
				err := n.Nodes.Watch(ctx, fn)
				time.Sleep(time.Minute)
				return err
			}
		}},
		{name: "Release does nothing", row: "C7 leases", law: "C7", want: "after Release that the node had ended", nodes: func(n *brokenNodes) {
			n.release = func(context.Context, string) error { return nil }
		}},
		{name: "a second Release fails", row: "C7 leases", law: "C7", want: `Release of "released" returned the error "no such lease"`, nodes: func(n *brokenNodes) {
			n.release = func(ctx context.Context, node string) error {
				if alive, _ := n.Nodes.Alive(ctx, node); !alive {
					return errors.New("no such lease")
				}
				return n.Nodes.Release(ctx, node)
			}
		}},
		{name: "Alive of all", row: "C7 leases", law: "C7", want: `Alive of "released" returned true at node 0`, nodes: func(n *brokenNodes) {
			n.alive = func(context.Context, string) (bool, error) { return true, nil }
		}},
		{name: "a Watch that goes on", row: "C6 calls", law: "C6", want: `called fn with "second", true after it had returned`, nodes: func(n *brokenNodes) {
			n.watch = func(ctx context.Context, fn func(string, bool)) error {
				soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
				done := make(chan error, 1)
				go func() {
					defer cancel()
					done <- n.Nodes.Watch(soon, fn)
				}()
				select {
				case <-ctx.Done():
					return ctx.Err()
				case err := <-done:
					return err
				}
			}
		}},
		{name: "calls of a Watch overlap", row: "C7 leases", law: "C6", want: "while it ran", nodes: func(n *brokenNodes) {
			watched(n, func(fn func(string, bool), node string, alive bool) { go fn(node, alive) })
		}},
		{name: "renews without a connection", row: "C7 cut", law: "C7", want: "Renew returned nil", nodes: func(n *brokenNodes) {
			n.renew = func(ctx context.Context, node string) error {
				n.Nodes.Renew(ctx, node)
				return nil
			}
		}},
		{name: "never renews again", row: "C7 cut", law: "works", want: "after the fault", factory: func(f *Factory) {
			cut := f.Cut
			f.Cut = func(t testing.TB, node int) func() {
				cut(t, node)
				return func() {}
			}
		}},
	}
}

// bubbleStart is when the time of bubbles begins.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// A lastState is a state, for all nodes of an engine.
type lastState struct {
	mu    sync.Mutex
	at    uint64
	state []byte
}

// newestOnly has a Load that returns what was saved last.
func newestOnly(keeps, gives func([]byte) []byte) func(*brokenLog) {
	var last lastState
	return func(l *brokenLog) {
		l.save = func(ctx context.Context, at uint64, b []byte) error {
			last.mu.Lock()
			defer last.mu.Unlock()
			last.at, last.state = at, keeps(b)
			return l.Log.Save(ctx, at, b)
		}
		l.load = func(ctx context.Context) (uint64, []byte, error) {
			last.mu.Lock()
			defer last.mu.Unlock()
			return last.at, gives(last.state), nil
		}
	}
}

func uncopied(b []byte) []byte { return b }

type savedState struct {
	at    uint64
	state []byte
}

// savesBy has a Save that keeps two states by what add makes of the list of all.
func savesBy(add func(saved []savedState, at uint64, state []byte) []savedState) func(*brokenLog) {
	var mu sync.Mutex
	var saved []savedState
	return func(l *brokenLog) {
		l.save = func(_ context.Context, at uint64, b []byte) error {
			mu.Lock()
			defer mu.Unlock()
			saved = add(saved, at, slices.Clone(b))
			saved = saved[max(len(saved)-2, 0):]
			return nil
		}
		l.load = func(context.Context) (uint64, []byte, error) {
			mu.Lock()
			defer mu.Unlock()
			if len(saved) == 0 {
				return 0, nil, nil
			}
			return saved[0].at, slices.Clone(saved[0].state), nil
		}
	}
}

// loads has a Load that changes what it returns.
func loads(l *brokenLog, change func(at uint64, state []byte) (uint64, []byte, error)) {
	l.load = func(ctx context.Context) (uint64, []byte, error) {
		at, state, err := l.Log.Load(ctx)
		if err != nil {
			return 0, nil, err
		}
		return change(at, state)
	}
}

func brokenStates() []violation {
	return []violation{
		{name: "Load of none is an error", row: "C8 states", law: "works", want: `Load returned the error "none"`, log: func(l *brokenLog) {
			loads(l, func(at uint64, state []byte) (uint64, []byte, error) {
				if at == 0 {
					return 0, nil, errors.New("none")
				}
				return at, state, nil
			})
		}},
		{name: "Load of none is not nil", row: "C8 states", law: "C8", want: "Load returned 0 and 3 bytes", log: func(l *brokenLog) {
			loads(l, func(at uint64, state []byte) (uint64, []byte, error) {
				if at == 0 {
					return 0, []byte("old"), nil
				}
				return at, state, nil
			})
		}},
		{name: "the newest only", row: "C8 states", law: "C8", want: "Load returned the state at 2, not the one at 1", log: newestOnly(slices.Clone, slices.Clone)},
		{name: "keeps state", row: "C8 states", law: "C8", want: "which are not the 4194304 that were saved", log: newestOnly(uncopied, slices.Clone)},
		{name: "lends one state to all", row: "C8 states", law: "C8", want: "another state after the first one was changed", log: newestOnly(slices.Clone, uncopied)},
		{name: "cuts a state", row: "C8 states", law: "C8", want: "Load returned 1048576 bytes", log: func(l *brokenLog) {
			l.save = func(ctx context.Context, at uint64, b []byte) error {
				return l.Log.Save(ctx, at, b[:min(len(b), 1<<20)])
			}
		}},
		{name: "refuses 4 MiB", row: "C8 states", law: "works", want: "Save of 4194304 bytes at 1 returned the error", log: func(l *brokenLog) {
			l.save = func(ctx context.Context, at uint64, b []byte) error {
				if len(b) > 1<<20 {
					return errors.New("too much")
				}
				return l.Log.Save(ctx, at, b)
			}
		}},
		{name: "writes to state", row: "C8 states", law: "C8", want: "Save changed the state", log: func(l *brokenLog) {
			l.save = func(ctx context.Context, at uint64, b []byte) error {
				err := l.Log.Save(ctx, at, b)
				b[0]++
				return err
			}
		}},
		{name: "keeps one state", row: "C8 states", law: "C8", want: "Load returned the state at 1, not the one at 2", log: func(l *brokenLog) {
			l.save = func(ctx context.Context, at uint64, b []byte) error {
				if at > 2 {
					return nil
				}
				return l.Log.Save(ctx, at, b)
			}
		}},
		{name: "passes over what is saved of an older position", row: "C8 states", law: "C8", want: "Load returned the state at 3, not the one at 4", log: savesBy(func(saved []savedState, at uint64, state []byte) []savedState {
			switch n := len(saved); {
			case n > 0 && at < saved[n-1].at:
				return saved
			case n > 0 && at == saved[n-1].at:
				saved = saved[:n-1]
			}
			return append(saved, savedState{at, state})
		})},
		{name: "keeps two states of one position", row: "C8 states", law: "C8", want: "Load returned the state at 4, not the one at 3", log: savesBy(func(saved []savedState, at uint64, state []byte) []savedState {
			return append(saved, savedState{at, state})
		})},
		{name: "mixes states up that are saved at once", row: "C8 states", law: "C8", want: "another one was saved at once", log: func(l *brokenLog) {
			loads(l, func(at uint64, state []byte) (uint64, []byte, error) {
				if len(state) == 600<<10 || len(state) == 700<<10 {
					state[0]++
				}
				return at, state, nil
			})
		}},
		{name: "loses both of two that are saved at once", row: "C8 states", law: "C8", want: "after those at 5 and 6 were saved at once", log: func(l *brokenLog) {
			l.save = func(ctx context.Context, at uint64, b []byte) error {
				if at > 4 {
					return nil
				}
				return l.Log.Save(ctx, at, b)
			}
		}},
		{name: "one for all rooms", row: "C8 states", law: "C8", want: "in another room", make: func(b *broken) {
			b.room = func(string) string { return "all" }
		}},
		{name: "the older though its record was dropped", row: "C8 trim", law: "C8", want: "Load returned the state at 2, not the one at 4", log: func() func(*brokenLog) {
			var first lastState
			return func(l *brokenLog) {
				loads(l, func(at uint64, state []byte) (uint64, []byte, error) {
					first.mu.Lock()
					defer first.mu.Unlock()
					if first.at == 0 {
						first.at, first.state = at, slices.Clone(state)
					}
					return first.at, slices.Clone(first.state), nil
				})
			}
		}()},
		{name: "not durable", row: "C8 restart", law: "C8", want: `Load returned the state "" at 0 after a restart`, caps: func(c *tcproom.Caps) { c.Durable = false }, log: saysDurable},
		{name: "no connection after a restart", row: "C8 restart", law: "works", want: "after the fault", factory: func(f *Factory) {
			nodes := backplanes(f)
			f.Restart = func(testing.TB) { nodes()[0].Cut() }
		}},
	}
}

func brokenCloses() []violation {
	return []violation{
		{name: "a second Close fails", row: "C9 close", law: "C9", want: `the second Close of a Log returned the error "closed"`, log: func(l *brokenLog) {
			var n atomic.Int64
			l.close = func() error {
				if n.Add(1) > 1 {
					return errors.New("closed")
				}
				return l.Log.Close()
			}
		}},
		{name: "Close leaves Tail", row: "C9 close", law: "C9", want: "though its log was closed", log: func(l *brokenLog) {
			l.close = func() error { return nil }
		}},
		{name: "Close of a Backplane leaves its Logs", row: "C9 close", law: "C9", want: "though its Backplane was closed", make: func(b *broken) {
			b.close = func(tcproom.Backplane) error { return nil }
		}},
		{name: "Close ends the other Logs of the room", row: "C9 close", law: "C9", want: "another Log of the room was closed", make: func(b *broken) {
			var all []tcproom.Log
			var mu sync.Mutex
			b.log = func(l *brokenLog) {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, l.Log)
				l.close = func() error {
					for _, l := range all {
						l.Close()
					}
					return nil
				}
			}
		}},
		{name: "appends when it is closed", row: "C9 close", law: "C9", want: "Append of a closed Log returned nil", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				if pos, err := l.Log.Append(ctx, id, rec); err == nil {
					return pos, nil
				}
				return 1, nil
			}
		}},
		{name: "waits when it is closed", row: "C9 close", law: "C9", want: "Load of a closed Log returned after 1m0s", log: func(l *brokenLog) {
			l.load = func(ctx context.Context) (uint64, []byte, error) {
				<-ctx.Done()
				return 0, nil, ctx.Err()
			}
		}},
		{name: "Close releases the lease", row: "C9 close", law: "C9", want: "Alive returned false", make: func(b *broken) {
			b.close = func(in tcproom.Backplane) error {
				in.Nodes().Release(context.Background(), "n")
				return in.Close()
			}
		}},
		{name: "Close leaves a goroutine", row: "C9 close", law: "C9", want: "1m0s after Close there are", make: func(b *broken) {
			b.opened = func() { go func() { time.Sleep(time.Hour) }() }
		}},
		{name: "a closed Backplane opens", row: "C9 close", law: "C9", want: "Open of a closed Backplane returned nil", make: func(b *broken) {
			var logs []*brokenLog
			b.log = func(l *brokenLog) { logs = append(logs, l) }
			b.close = func(tcproom.Backplane) error {
				for _, l := range logs {
					l.Log.Close()
				}
				return nil
			}
			b.nodes = func(n *brokenNodes) {
				n.watch = func(ctx context.Context, fn func(string, bool)) error {
					fn("n", true)
					return errors.New("it is no longer needed")
				}
			}
		}},
		{name: "a goroutine waits for an engine that is cut off", row: "C9 cut", law: "C9", want: "1m0s after Close there are", make: func(b *broken) {
			b.opened = func() { go func() { time.Sleep(time.Hour) }() }
		}},
		{name: "Close leaves Append", row: "C9 cut", law: "C9", want: "on a node that is cut off returned 59.8s after Close", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				pos, err := l.Log.Append(ctx, id, rec)
				if err != nil {
					<-ctx.Done()
				}
				return pos, err
			}
		}},
		{name: "answers while cut", row: "C9 cut", law: "C2", want: "Append was answered on a node that is cut off", log: func(l *brokenLog) {
			l.append = func(ctx context.Context, id string, rec []byte) (uint64, error) {
				if pos, err := l.Log.Append(ctx, id, rec); err == nil {
					return pos, nil
				}
				return 2, nil
			}
		}},
	}
}
