package fake

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// A tb is the test of a stage, as roomtest sees it: what fails is kept, and nothing ends
// but the call that cannot go on.
type tb struct {
	testing.TB // for the methods that roomtest does not call
	failed     func(text string)
	logged     func(text string)

	mu       sync.Mutex // guards what follows
	hasFail  bool
	cleanups []func()
}

// fatal is what Fatalf panics with, and run recovers.
type fatal struct{ text string }

func (t *tb) Helper()      {}
func (t *tb) Name() string { return "tcproom fake" }

func (t *tb) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hasFail
}

func (t *tb) Cleanup(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, fn)
}

func (t *tb) Logf(format string, args ...any) { t.logged(said(format, args)) }

func (t *tb) Errorf(format string, args ...any) {
	t.mu.Lock()
	t.hasFail = true
	t.mu.Unlock()
	t.failed(said(format, args))
}

func (t *tb) Fatalf(format string, args ...any) { panic(fatal{said(format, args)}) }

func said(format string, args []any) string {
	return strings.TrimPrefix(fmt.Sprintf(format, args...), "roomtest: ")
}

// run calls fn and returns an error of what it calls Fatalf with.
func (t *tb) run(fn func()) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case fatal:
			err = fmt.Errorf("%s", v.text)
		default:
			panic(v)
		}
	}()
	fn()
	return nil
}

// cleanup calls what Cleanup was given, the last first.
func (t *tb) cleanup() {
	for {
		t.mu.Lock()
		n := len(t.cleanups)
		if n == 0 {
			t.mu.Unlock()
			return
		}
		last := t.cleanups[n-1]
		t.cleanups = t.cleanups[:n-1]
		t.mu.Unlock()
		last()
	}
}
