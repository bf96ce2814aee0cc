//go:build lockorder

package lockorder

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
)

// A Mutex is a mutual exclusion lock. Its zero value is unlocked, and of rank Last.
type Mutex struct {
	mu   sync.Mutex
	rank Rank
}

// SetRank gives m its rank, before anybody uses it.
func (m *Mutex) SetRank(r Rank) { m.rank = r }

// Lock locks m. The process ends if the goroutine holds a lock that may not be held then.
func (m *Mutex) Lock() {
	id := goroutine()
	for _, h := range held.of(id) {
		if h.order() >= m.order() {
			fail(fmt.Sprintf("a lock of rank %d is taken under one of rank %d", m.rank, h.rank))
		}
	}
	m.mu.Lock()
	held.add(id, m)
}

// Unlock unlocks m.
func (m *Mutex) Unlock() {
	held.remove(goroutine(), m)
	m.mu.Unlock()
}

// fail ends the process. A panic might be recovered, as those of hooks are.
var fail = func(what string) {
	fmt.Fprintf(os.Stderr, "lockorder: %s\n%s", what, debug.Stack())
	os.Exit(2)
}

func (m *Mutex) order() uint64 {
	if m.rank == Last {
		return math.MaxUint64
	}
	return uint64(m.rank)
}

// held is which locks a goroutine holds, by its number.
var held = ledger{locks: map[uint64][]*Mutex{}}

type ledger struct {
	mu    sync.Mutex // guards locks
	locks map[uint64][]*Mutex
}

// of returns what a goroutine holds. Only that goroutine changes it.
func (l *ledger) of(id uint64) []*Mutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.locks[id]
}

func (l *ledger) add(id uint64, m *Mutex) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locks[id] = append(l.locks[id], m)
}

func (l *ledger) remove(id uint64, m *Mutex) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.locks[id], m)
	if i < 0 {
		fail(fmt.Sprintf("a lock of rank %d is unlocked by a goroutine that does not hold it", m.rank))
	}
	if l.locks[id] = slices.Delete(l.locks[id], i, i+1); len(l.locks[id]) == 0 {
		delete(l.locks, id)
	}
}

// goroutine returns the number of the goroutine, which the first line of its stack says:
// "goroutine 7 [running]:".
func goroutine() uint64 {
	var buf [64]byte
	line := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	number, _, _ := bytes.Cut(line, []byte(" "))
	id, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("lockorder: a stack that begins with %q", line))
	}
	return id
}
