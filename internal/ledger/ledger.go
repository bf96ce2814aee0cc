// Package ledger keeps what a room knows of members that may come back: the
// tokens that name them, the order in which their grace is over, and the numbered
// messages that they need not send again. It knows no room and takes no lock: its
// caller serialises the calls.
package ledger

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"time"
)

// A Key is the hash of a token.
type Key [sha256.Size]byte

// KeyOf returns the key of a token.
func KeyOf(token string) Key { return sha256.Sum256([]byte(token)) }

// Tokens is a map by token that keeps no token, so that how long a look-up takes
// tells nothing about one. The zero Tokens is empty.
type Tokens[V any] struct{ m map[Key]V }

// Issue makes a new token for v.
func (t *Tokens[V]) Issue(v V) (token string, key Key) {
	token = rand.Text()
	key = KeyOf(token)
	if t.m == nil {
		t.m = make(map[Key]V)
	}
	t.m[key] = v
	return token, key
}

// Find returns what token was issued for.
func (t *Tokens[V]) Find(token string) (v V, ok bool) {
	v, ok = t.m[KeyOf(token)]
	return v, ok
}

// Revoke forgets a token.
func (t *Tokens[V]) Revoke(key Key) { delete(t.m, key) }

// Equal compares two secrets in a time that depends on their lengths only.
func Equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Grace is a set whose elements are waited for until a time of their own, which
// is not before that of the elements that were added earlier. The zero Grace is empty.
type Grace[V comparable] struct {
	queue []entry[V]   // oldest first; some are not waited for any more
	waits map[V]uint64 // the number of its entry that counts
	last  uint64       // number that was given
}

type entry[V comparable] struct {
	v      V
	until  time.Time
	number uint64
}

// Len returns how many elements are waited for.
func (g *Grace[V]) Len() int { return len(g.waits) }

// Add waits for v, which is not waited for, until the given time.
func (g *Grace[V]) Add(v V, until time.Time) {
	if g.waits == nil {
		g.waits = make(map[V]uint64)
	}
	g.last++
	g.waits[v] = g.last
	g.queue = append(g.queue, entry[V]{v, until, g.last})
	if len(g.queue) > 2*len(g.waits)+16 {
		g.tidy()
	}
}

// Remove says that v is not waited for any more.
func (g *Grace[V]) Remove(v V) {
	delete(g.waits, v)
	if len(g.waits) == 0 {
		g.queue, g.waits = nil, nil
	}
}

// First returns the element that was added first, and its time.
func (g *Grace[V]) First() (v V, until time.Time, ok bool) {
	for len(g.queue) > 0 {
		if e := g.queue[0]; g.counts(e) {
			return e.v, e.until, true
		}
		clear(g.queue[:1])
		g.queue = g.queue[1:]
	}
	return v, until, false
}

// counts reports whether e is waited for: an element that was removed and added again
// is so by a later entry.
func (g *Grace[V]) counts(e entry[V]) bool { return g.waits[e.v] == e.number }

// tidy drops what is not waited for any more.
func (g *Grace[V]) tidy() {
	kept := make([]entry[V], 0, len(g.waits))
	for _, e := range g.queue {
		if g.counts(e) {
			kept = append(kept, e)
		}
	}
	g.queue = kept
}
