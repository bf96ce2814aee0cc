package sock

import (
	"os"
	"time"
)

const (
	// tick is the shortest of the ticks of a Lookout's clock. The others are longer by
	// powers of two, so that sources which are due at about the same time have one
	// wake-up, however long each of them waits.
	tick      = 100 * time.Millisecond
	maxCoarse = 15 // the longest tick is of almost an hour

	maxWait = 1 << 61 // nanoseconds, so that no sum of times overflows
)

// Where a watched source is not due at a place in the heap.
const (
	calling = -1 // due is being called for it
	called  = -2 // and it was roused meanwhile
)

// coarseFor returns which tick a wait has: a tenth of it at most, or the shortest.
func coarseFor(wait time.Duration) (coarse int8) {
	for coarse < maxCoarse && tick<<(coarse+1) <= wait/10 {
		coarse++
	}
	return coarse
}

// wakes returns at which tick w is due.
func (w *watched) wakes() time.Duration {
	t := tick << w.coarse
	return (w.due + t - 1) / t * t
}

// A Clock is what a Lookout knows of the time.
type Clock struct {
	Now func() time.Duration // since some instant
	// Wake makes reads of the epoll instance fail with os.ErrDeadlineExceeded from a
	// time on; 0 is never. It is called with the Lookout's lock held.
	Wake func(epoll *os.File, at time.Duration)
}

func since() time.Duration { return time.Since(began) }

var began = time.Now()

func wakeAt(epoll *os.File, at time.Duration) {
	var t time.Time
	if at != 0 {
		t = began.Add(at)
	}
	_ = epoll.SetReadDeadline(t) // fails when it is closed
}

// scheduleLocked makes the source in the slot due after wait, from now on.
func (l *Lookout) scheduleLocked(slot int32, now, wait time.Duration) {
	w := &l.watched[slot]
	wait = min(wait, maxWait)
	w.due, w.coarse = now+wait, coarseFor(wait)
	w.at = int32(len(l.heap)) + 1
	l.heap = append(l.heap, slot)
	l.upLocked(len(l.heap) - 1)
	if at := w.wakes(); l.alarm == 0 || at < l.alarm {
		l.setAlarmLocked(at)
	}
}

func (l *Lookout) setAlarmLocked(at time.Duration) {
	l.alarm = at
	l.clock.Wake(l.epoll, at)
}

// callDue calls due for all that are, and sets the alarm for the next. epoll is that
// of the goroutine.
//
// A goroutine that was woken late by more than a tick did not run, or its process did
// not: it leaves all as they are until the next tick, by which it has seen what their
// peers sent. It does so once in a row, for a machine may be that slow for long.
func (l *Lookout) callDue(epoll *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoll != epoll {
		return
	}
	now := l.clock.Now()
	if len(l.heap) > 0 && l.alarm != 0 {
		if t := tick << l.watched[l.heap[0]].coarse; now-l.alarm > t && !l.putOff {
			l.putOff = true
			l.setAlarmLocked(now + t)
			return
		}
	}
	l.putOff = false
	for l.epoll == epoll && len(l.heap) > 0 && l.watched[l.heap[0]].wakes() <= now {
		slot := l.heap[0]
		l.unscheduleLocked(slot)
		l.watched[slot].at = calling
		l.callLocked(slot, now)
	}
	if l.epoll != epoll {
		return
	}
	l.alarm = 0
	if len(l.heap) > 0 {
		l.alarm = l.watched[l.heap[0]].wakes()
	}
	l.setAlarmLocked(l.alarm)
}

// callLocked calls due, without the lock, for the source in the slot, which stays
// there meanwhile.
func (l *Lookout) callLocked(slot int32, now time.Duration) {
	key, late, again := l.watched[slot].key, now-l.watched[slot].due, time.Duration(0)
	defer func() { // also if due ends the goroutine
		l.mu.Lock()
		w := &l.watched[slot]
		if again > 0 && w.at == calling {
			// What the tick took is given back, as far as a peer does not notice.
			l.scheduleLocked(slot, now, max(again-late, again-again/10, 1))
			return
		}
		w.at = 0
		l.takeLocked(w.source)
		l.mu.Unlock()
		defer l.mu.Lock()
		l.ready(key)
	}()
	l.mu.Unlock()
	again = l.due(key)
}

// unscheduleLocked takes the source in the slot out of the heap, if it is there.
func (l *Lookout) unscheduleLocked(slot int32) {
	i := int(l.watched[slot].at) - 1
	if i < 0 {
		return
	}
	l.watched[slot].at = 0
	last := len(l.heap) - 1
	moved := l.heap[last]
	if l.heap = l.heap[:last]; i == last {
		return
	}
	l.placeLocked(i, moved)
	if l.upLocked(i) == i {
		l.downLocked(i)
	}
}

func (l *Lookout) placeLocked(i int, slot int32) {
	l.heap[i] = slot
	l.watched[slot].at = int32(i) + 1
}

func (l *Lookout) lessLocked(a, b int32) bool {
	return l.watched[a].wakes() < l.watched[b].wakes()
}

func (l *Lookout) upLocked(i int) int {
	slot := l.heap[i]
	for i > 0 && l.lessLocked(slot, l.heap[(i-1)/2]) {
		l.placeLocked(i, l.heap[(i-1)/2])
		i = (i - 1) / 2
	}
	l.placeLocked(i, slot)
	return i
}

func (l *Lookout) downLocked(i int) {
	slot := l.heap[i]
	for {
		child := 2*i + 1
		if child >= len(l.heap) {
			break
		}
		if child+1 < len(l.heap) && l.lessLocked(l.heap[child+1], l.heap[child]) {
			child++
		}
		if !l.lessLocked(l.heap[child], slot) {
			break
		}
		l.placeLocked(i, l.heap[child])
		i = child
	}
	l.placeLocked(i, slot)
}
