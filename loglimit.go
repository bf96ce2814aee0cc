package tcproom

import (
	"time"

	"example.com/tcproom/internal/lockorder"
)

// logBurst is how many records of one kind are logged at once; then there is
// one a second, which says how many were not. So bad peers cannot fill a disk.
const logBurst = 10

// A logLimit thins out the records of a room. Its kinds are words of ours,
// never of a peer: there are few of them.
type logLimit struct {
	mu    lockorder.Mutex // guards kinds; not held while a record is handled
	kinds map[string]*logKind
}

type logKind struct {
	next     time.Time // when a record would be logged if there were no burst
	unlogged int       // since the last one that was logged
}

// allow reports whether a record of the kind is to be logged now, and how many
// before it were not.
func (l *logLimit) allow(kind string, burst int) (unlogged int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[kind]
	if k == nil {
		if l.kinds == nil {
			l.kinds = make(map[string]*logKind)
		}
		k = &logKind{next: now}
		l.kinds[kind] = k
	}
	if k.next.Sub(now) > time.Duration(burst-1)*time.Second {
		k.unlogged++
		return 0, false
	}
	if k.next.Before(now) {
		k.next = now
	}
	k.next = k.next.Add(time.Second)
	unlogged, k.unlogged = k.unlogged, 0
	return unlogged, true
}
