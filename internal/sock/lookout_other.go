//go:build !linux

package sock

import "time"

// A Lookout would wait for many sockets on one goroutine; there is none here.
type Lookout struct{}

// NewLookout returns a Lookout that waits for nothing.
func NewLookout(ready func(key any), due func(key any) time.Duration) *Lookout { return new(Lookout) }

// Takes reports false: nothing can be watched.
func (l *Lookout) Takes(s *Source) bool { return false }

// Watch reports false: s must be waited for by Read.
func (l *Lookout) Watch(s *Source, key any, wait time.Duration) bool { return false }

// Rouse does nothing.
func (l *Lookout) Rouse(s *Source) {}

// Wait returns at once.
func (l *Lookout) Wait() {}
