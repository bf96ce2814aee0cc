//go:build !linux

package fanout

// A Lookout would wait for many sockets on one goroutine; there is none here.
type Lookout struct{}

// NewLookout returns a Lookout that waits for nothing.
func NewLookout(f *Fan, ready func(key any)) *Lookout { return new(Lookout) }

// Watch reports false: s must be waited for by Read.
func (l *Lookout) Watch(s *Source, key any) bool { return false }

// Rouse does nothing.
func (l *Lookout) Rouse(s *Source) {}
