package testkit

import (
	"testing"
	"time"

	"example.com/tcproom"
)

// Causes collects the ends that OnLeave or OnReject receives. Its methods may be
// called from many goroutines.
type Causes struct {
	C chan error // those that no one has taken yet
}

// NewCauses returns an empty one.
func NewCauses() *Causes { return &Causes{C: make(chan error, 10000)} }

// Left is for OnLeave.
func (cs *Causes) Left(_ *tcproom.Member, err error) { cs.Add(err) }

// Rejected is for OnReject.
func (cs *Causes) Rejected(_ *tcproom.Newcomer, err error) { cs.Add(err) }

// Add adds an end.
func (cs *Causes) Add(err error) { cs.C <- err }

// Next waits for an end, and takes it.
func (cs *Causes) Next(t testing.TB) error {
	t.Helper()
	select {
	case err := <-cs.C:
		return err
	case <-time.After(Within):
		t.Fatal("no end was reported")
		return nil
	}
}
