package roomtest

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// A law is one sentence of a contract, which a conformance tester checks.
type law struct{ name, says string }

// findings are the laws that were seen broken, in the order of the checks.
type findings struct {
	what string // what is tested

	mu   sync.Mutex // guards what follows; not held while tested code runs
	list []*finding
	busy map[*inCall]struct{}
}

// A finding is the first input that shows how a law is broken.
type finding struct {
	law  *law
	seen string
	more int // inputs that show it too
}

// add notes that l is broken.
func (fs *findings) add(l *law, format string, args ...any) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.list {
		if f.law == l {
			f.more++
			return
		}
	}
	fs.list = append(fs.list, &finding{law: l, seen: fmt.Sprintf(format, args...)})
}

// err joins what was found; nil if that is nothing.
func (fs *findings) err() error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	errs := make([]error, len(fs.list))
	for i, f := range fs.list {
		var b strings.Builder
		fmt.Fprintf(&b, "roomtest: %s: %s: %s", fs.what, f.law.name, f.seen)
		if f.more > 0 {
			fmt.Fprintf(&b, " (and %d more)", f.more)
		}
		fmt.Fprintf(&b, "; the contract: %s", f.law.says)
		errs[i] = errors.New(b.String())
	}
	return errors.Join(errs...)
}

// tooLong is how long a call of pure code may take. None takes a thousandth of it.
const tooLong = 10 * time.Second

var (
	lawNoPanic = &law{"no panic", "a method returns an error for what it cannot deal with"}
	lawReturns = &law{"returns", "a method is quick, does not block and does not end its goroutine"}
)

// An inCall is a call of tested code that has not returned.
type inCall struct {
	name  string
	args  []any
	since time.Time
}

func (c *inCall) String() string {
	if c.args == nil {
		return c.name
	}
	return c.name + "(" + quoteAll(c.args) + ")"
}

// call runs fn, which calls the named method with args, and reports whether it
// returned, rather than panicked.
func (fs *findings) call(name string, args []any, fn func()) (ok bool) {
	c := &inCall{name: name, args: args, since: time.Now()}
	fs.mu.Lock()
	if fs.busy == nil {
		fs.busy = make(map[*inCall]struct{})
	}
	fs.busy[c] = struct{}{}
	fs.mu.Unlock()
	defer func() {
		fs.mu.Lock()
		delete(fs.busy, c)
		fs.mu.Unlock()
		if ok {
			return
		}
		if v := recover(); v != nil {
			fs.add(lawNoPanic, "%v panicked: %v, at %s", c, v, panicSite())
		} else {
			fs.add(lawReturns, "%v called runtime.Goexit", c)
		}
	}()
	fn()
	return true
}

// panicSite returns the place of the panic that is being recovered.
func panicSite() string {
	_, stack, _ := strings.Cut(string(debug.Stack()), "panic(")
	for line := range strings.Lines(stack) {
		file, ok := strings.CutPrefix(line, "\t")
		if ok && !strings.Contains(file, "/src/runtime/") {
			file, _, _ = strings.Cut(file, " +0x")
			return file[strings.LastIndexByte(file, '/')+1:]
		}
	}
	return "an unknown place"
}

// run runs the checks and returns what they found. If tested code does not return, it
// returns without them, and with the call.
func (fs *findings) run(checks ...func()) error {
	done := make(chan struct{})
	go fs.runAll(checks, done)
	t := time.NewTicker(tooLong / 4)
	defer t.Stop()
	for {
		select {
		case <-done:
			return fs.err()
		case <-t.C:
			if c := fs.stuck(); c != nil {
				fs.add(lawReturns, "%v has not returned for %v", c, tooLong)
				return fs.err()
			}
		}
	}
}

// runAll ends with the last check, or with tested code that ends its goroutine.
func (fs *findings) runAll(checks []func(), done chan<- struct{}) {
	defer close(done)
	for _, check := range checks {
		check()
	}
}

// stuck returns a call that takes too long.
func (fs *findings) stuck() *inCall {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for c := range fs.busy {
		if time.Since(c.since) >= tooLong {
			return c
		}
	}
	return nil
}

// concurrently runs fn on n goroutines at once and waits for all.
func concurrently(n int, fn func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}

// quote returns b as it can stand in a message.
func quote[T string | []byte](b T) string {
	const most = 40
	if len(b) <= most {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
}

func quoteAll(args []any) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		switch arg := arg.(type) {
		case []byte:
			quoted[i] = quote(arg)
		case string:
			quoted[i] = quote(arg)
		default:
			quoted[i] = fmt.Sprint(arg)
		}
	}
	return strings.Join(quoted, ", ")
}

// lazy is a part of a message that is made when it is needed.
type lazy func() string

func (l lazy) String() string { return l() }

// A lent slice is one that tested code gets and must not write to, with bytes
// behind it that it could reach by append.
type lent struct{ whole, b, was []byte }

const spare = 16

func lend(b []byte) lent {
	whole := make([]byte, len(b)+spare)
	copy(whole, b)
	for i := len(b); i < len(whole); i++ {
		whole[i] = 0xa5
	}
	return lent{whole: whole, b: whole[:len(b)], was: append([]byte(nil), whole...)}
}

// intact reports whether it is unchanged.
func (l lent) intact() bool { return string(l.whole) == string(l.was) }

// scribble does what an owner may do once the call has returned.
func (l lent) scribble() {
	for i := range l.whole {
		l.whole[i] ^= 0xff
	}
}
