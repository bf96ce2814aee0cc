package roomtest_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A fakeTB is a test that may fail. It keeps what it is called with.
type fakeTB struct {
	testing.TB // for the methods that nothing here calls
	name       string

	mu       sync.Mutex
	cleanups []func()
	errors   []string // of Errorf and Fatalf
	logs     []string
	late     []string // what came after its end
	failed   bool
	ended    bool
}

// runTest runs fn as a test, cleanup included, and returns when it has ended.
func runTest(fn func(t *fakeTB)) *fakeTB {
	f := &fakeTB{name: "TestFake"}
	f.run(func() { fn(f) })
	for {
		f.mu.Lock()
		n := len(f.cleanups)
		if n == 0 {
			f.ended = true
			f.mu.Unlock()
			return f
		}
		last := f.cleanups[n-1]
		f.cleanups = f.cleanups[:n-1]
		f.mu.Unlock()
		f.run(last)
	}
}

func (f *fakeTB) run(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
}

func (f *fakeTB) Helper()      {}
func (f *fakeTB) Name() string { return f.name }

func (f *fakeTB) Cleanup(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cleanups = append(f.cleanups, fn)
}

func (f *fakeTB) say(to *[]string, fails bool, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		f.late = append(f.late, fmt.Sprintf(format, args...))
		return
	}
	*to = append(*to, fmt.Sprintf(format, args...))
	f.failed = f.failed || fails
}

func (f *fakeTB) Logf(format string, args ...any)   { f.say(&f.logs, false, format, args...) }
func (f *fakeTB) Errorf(format string, args ...any) { f.say(&f.errors, true, format, args...) }

func (f *fakeTB) Fatalf(format string, args ...any) {
	f.say(&f.errors, true, format, args...)
	runtime.Goexit()
}

func (f *fakeTB) FailNow() {
	f.mu.Lock()
	f.failed = true
	f.mu.Unlock()
	runtime.Goexit()
}

func (f *fakeTB) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// said returns all errors, in one string.
func (f *fakeTB) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(slices.Concat(f.errors, f.late), "\n---\n")
}
