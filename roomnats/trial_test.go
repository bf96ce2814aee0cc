package roomnats_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A trial is a run of a scenario in which time counts: a process that does not get the
// processor within a lease may rightly be taken for dead, and a member that comes after
// its grace may rightly have left. What fails there does not yet fail the test.
type trial struct {
	testing.TB

	mu       sync.Mutex // guards what follows
	failed   bool
	said     []string
	cleanups []func()
}

// slowest is how long a unit may become.
const slowest = 30 * time.Second

// timed runs a scenario whose leases and graces are units of time: short ones at first. If
// it fails, and this process was kept from the processor for a part of a unit meanwhile,
// it is run again with longer ones. So a test fails because of what is wrong, and not
// because of what else the machine has to do.
func timed(t *testing.T, unit time.Duration, scenario func(t testing.TB, unit time.Duration)) {
	t.Helper()
	for {
		late, x := stopwatch(), &trial{TB: t}
		x.run(func() { scenario(x, unit) })
		for n := 1; n > 0; { // a cleanup may add others
			x.mu.Lock()
			do := x.cleanups
			x.cleanups = nil
			x.mu.Unlock()
			n = len(do)
			for _, fn := range slices.Backward(do) {
				x.run(fn)
			}
		}
		most := late()
		if !x.Failed() {
			return
		}
		text := strings.Join(x.said, "\n")
		if most < unit/10 || 3*unit > slowest {
			t.Fatalf("with a unit of %v, and %v late at most:\n%s", unit, most, text)
		}
		t.Logf("this machine is too slow for a unit of %v:\n%s", unit, text)
		unit *= 3
	}
}

// run calls fn on a goroutine of its own, which FailNow ends.
func (x *trial) run(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
}

func (x *trial) say(failed bool, text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed = x.failed || failed
	x.said = append(x.said, strings.TrimSuffix(text, "\n"))
}

func (x *trial) Failed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed
}

func (x *trial) Cleanup(fn func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cleanups = append(x.cleanups, fn)
}

// TempDir returns one that is removed with the trial: testing's own would stay for longer.
func (x *trial) TempDir() string {
	dir, err := os.MkdirTemp(x.TB.TempDir(), "trial")
	if err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (x *trial) Helper()                           {}
func (x *trial) Log(args ...any)                   { x.say(false, fmt.Sprintln(args...)) }
func (x *trial) Logf(format string, args ...any)   { x.say(false, fmt.Sprintf(format, args...)) }
func (x *trial) Fail()                             { x.say(true, "") }
func (x *trial) Error(args ...any)                 { x.say(true, fmt.Sprintln(args...)) }
func (x *trial) Errorf(format string, args ...any) { x.say(true, fmt.Sprintf(format, args...)) }
func (x *trial) Fatal(args ...any)                 { x.Error(args...); runtime.Goexit() }
func (x *trial) Fatalf(format string, args ...any) { x.Errorf(format, args...); runtime.Goexit() }

func (x *trial) FailNow() {
	x.Fail()
	runtime.Goexit()
}

// stopwatch measures from then on how late this process gets the processor, until the
// function is called that it returns, which says how late it was at most.
func stopwatch() func() time.Duration {
	const every = 10 * time.Millisecond
	var most time.Duration
	ticker, end, done := time.NewTicker(every), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for last := time.Now(); ; {
			select {
			case <-ticker.C:
				most = max(most, time.Since(last)-every)
				last = time.Now()
			case <-end:
				return
			}
		}
	}()
	return func() time.Duration {
		close(end)
		<-done
		ticker.Stop()
		return most
	}
}

// A scenario that fails although the processor was there fails the test, see timed; this
// one does because the machine is slow, until its unit is long enough.
func TestTimed(t *testing.T) {
	t.Parallel()
	var units []time.Duration
	ended := 0
	timed(t, time.Nanosecond, func(t testing.TB, unit time.Duration) {
		units = append(units, unit)
		t.Cleanup(func() { ended++ })
		if len(units) < 3 {
			t.Fatal("too slow")
		}
	})
	if len(units) != 3 || units[2] != 9*time.Nanosecond || ended != 3 {
		t.Fatalf("units %v, %d ended", units, ended)
	}
}
