//go:build !linux

package sock

// A Lookout would wait for many sockets on one goroutine; there is none here.
type Lookout struct{}

// NewLookout returns a Lookout that waits for nothing.
func NewLookout(ready func(key any)) *Lookout { return new(Lookout) }

// Watch reports false: s must be waited for by Read.
func (l *Lookout) Watch(s *Source, key any) bool { return false }

// Rouse does nothing.
func (l *Lookout) Rouse(s *Source) {}

// Wait returns at once.
func (l *Lookout) Wait() {}
