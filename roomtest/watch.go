package roomtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/tcproom"
)

// A watch stands between a server and its test: goroutines in the background
// report through it, and nothing gets through once the test has ended.
type watch struct {
	t      testing.TB
	id     string        // labels the server's goroutines in profiles
	failed chan struct{} // closed when the first hook has failed

	mu        sync.Mutex // guards what follows; not held while t is called
	ending    bool       // the test's function has returned
	ended     bool       // so has the cleanup
	hooks     []string   // that failed
	reporting sync.WaitGroup
}

var servers atomic.Uint64

func newWatch(t testing.TB) *watch {
	return &watch{t: t, id: fmt.Sprintf("%s server %d", t.Name(), servers.Add(1)), failed: make(chan struct{})}
}

// report calls fn unless the test has ended, which waits for it.
func (w *watch) report(fn func()) {
	w.mu.Lock()
	if w.ended {
		w.mu.Unlock()
		return
	}
	w.reporting.Add(1)
	w.mu.Unlock()
	defer w.reporting.Done()
	fn()
}

func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = true
}

func (w *watch) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.reporting.Wait()
}

var packagePath = reflect.TypeFor[Server]().PkgPath() + "."

// use panics when the test has ended. Each exported method begins with it.
func (w *watch) use(method string) {
	w.mu.Lock()
	ending := w.ending
	w.mu.Unlock()
	if !ending {
		return
	}
	panic(fmt.Sprintf("roomtest: %s: %s was called after its test %s had ended; end or wait for what uses a server before the test returns",
		caller(), method, w.t.Name()))
}

// caller returns the file and line outside of this package that called it.
func caller() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, packagePath) {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return "unknown caller"
		}
	}
}

// hookFailed is called for each panic and Goexit in a hook, on the hook's goroutine.
func (w *watch) hookFailed(err error, name string) {
	var he *tcproom.HookError
	if !errors.As(err, &he) {
		return
	}
	w.fell(fmt.Sprintf("hook %s of %q", he.Hook, name), he.Panic, he.Stack)
}

// fell fails the test for a function of its own that panicked with v or, if
// that is nil, called runtime.Goexit.
func (w *watch) fell(what string, v any, stack []byte) {
	w.report(func() {
		w.noteHook(what)
		switch {
		case v != nil:
			w.t.Errorf("roomtest: %s panicked: %s\n%s", what, safe([]byte(fmt.Sprint(v))), stack)
		case w.t.Failed():
			w.t.Errorf("roomtest: %s ended its goroutine, as a require that fails in it does", what)
		default:
			w.t.Errorf("roomtest: %s called runtime.Goexit; return instead", what)
		}
	})
}

// guard calls fn, a function of the test's, on a goroutine of its own and
// reports whether it returned. If not, the test has failed.
func (w *watch) guard(what string, fn func()) bool {
	returned := make(chan bool, 1)
	go w.call(what, fn, returned)
	return <-returned
}

// call is the goroutine of guard. It ends with fn.
func (w *watch) call(what string, fn func(), returned chan<- bool) {
	ok := false
	defer func() {
		if !ok {
			w.fell(what, recover(), debug.Stack())
		}
		returned <- ok
	}()
	fn()
	ok = true
}

func (w *watch) noteHook(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.hooks) == 0 {
		close(w.failed)
	}
	w.hooks = append(w.hooks, what)
}

// firstHook returns which hook failed first.
func (w *watch) firstHook() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.hooks) == 0 {
		return ""
	}
	return w.hooks[0]
}

func (w *watch) serveEnded(err error) {
	switch {
	case errors.Is(err, tcproom.ErrRoomClosed):
	case errors.Is(err, tcproom.Cause("too-many-lanes")):
		w.report(func() { w.t.Errorf("roomtest: the room does not serve this listener: %v", err) })
	default: // a test may have asked for it
		w.report(func() { w.t.Logf("roomtest: a listener ended: %v", err) })
	}
}

const label = "roomtest"

// label marks this goroutine, and all that it starts, as the server's.
func (w *watch) label() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(label, w.id)))
}

// goroutines returns the stacks of the server's goroutines that have one of
// these functions in them.
func (w *watch) goroutines(functions ...string) string {
	var all, own strings.Builder
	pprof.Lookup("goroutine").WriteTo(&all, 1)
	mark := fmt.Sprintf("%q:%q", label, w.id)
	for _, block := range strings.Split(all.String(), "\n\n") {
		if strings.Contains(block, mark) && slices.ContainsFunc(functions, func(fn string) bool { return strings.Contains(block, fn) }) {
			own.WriteString(stackLines(block))
		}
	}
	return strings.TrimRight(own.String(), "\n")
}

// stackLines leaves out of a profile's block what is not for people.
func stackLines(block string) string {
	var b strings.Builder
	for _, l := range strings.Split(block, "\n") {
		if rest, ok := strings.CutPrefix(l, "#\t"); ok {
			_, fn, _ := strings.Cut(rest, "\t")
			fmt.Fprintf(&b, "\t%s\n", fn)
		}
	}
	return b.String() + "\n"
}

// logger returns the room's logger, unless the user sets another.
func (w *watch) logger() *slog.Logger {
	return slog.New(logHandler{slog.NewTextHandler(logWriter{w}, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})})
}

// A logHandler leaves out what hookFailed reports.
type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "tcproom: hook failed" {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

type logWriter struct{ w *watch }

func (l logWriter) Write(b []byte) (int, error) {
	l.w.report(func() { l.w.t.Logf("the room logs: %s", strings.TrimSuffix(string(b), "\n")) })
	return len(b), nil
}
