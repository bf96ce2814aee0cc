// Package lockorder has a mutex that knows its place in the order of locks. Under the
// build tag lockorder, which is for tests, the process ends if a goroutine takes it while
// it holds one that comes later, as it would have to for a deadlock of two. Without the tag
// it is a [sync.Mutex] and nothing else.
//
// The tag is not that of race builds: the book that is kept of the locks would order
// goroutines that nothing else does, and so hide races.
package lockorder

// A Rank is the place of a lock in the order: a goroutine takes locks of rising ranks.
// Last, which is the zero value, comes behind all others: nothing is taken under it.
type Rank uint64

// Last is the rank of a lock under which no other is taken.
const Last Rank = 0
