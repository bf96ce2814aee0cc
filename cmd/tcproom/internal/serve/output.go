package serve

import (
	"errors"
	"io"
	"sync"
	"syscall"
)

// An output is standard error, with the log and what is told to people. All methods may
// be called from many goroutines.
type output struct {
	w      io.Writer
	broken chan struct{} // closed when nobody reads it any more
	once   sync.Once
}

func newOutput(w io.Writer) *output { return &output{w: w, broken: make(chan struct{})} }

// Write writes b, and notes that its pipe is broken. A server without a log is no reason
// for errors elsewhere, so there are none.
func (o *output) Write(b []byte) (int, error) {
	if _, err := o.w.Write(b); errors.Is(err, syscall.EPIPE) {
		o.once.Do(func() { close(o.broken) })
	}
	return len(b), nil
}
