package bench

import (
	"context"
	"fmt"
	"os"
	"time"
)

// A progress shows each second how far the run is. On a terminal it writes the line
// anew, elsewhere one line after the other.
type progress struct {
	w        *os.File
	terminal bool
}

func newProgress(w *os.File) *progress {
	info, err := w.Stat()
	return &progress{w, err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// run shows c. It ends with ctx, and then closes done.
func (p *progress) run(ctx context.Context, c *checker, done chan<- struct{}) {
	defer close(done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	began, before := time.Now(), int64(0)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if p.terminal && before > 0 {
				fmt.Fprintln(p.w)
			}
			return
		}
		arrived := c.arrived.Load()
		var sent uint64
		for i := range c.begun {
			sent += c.begun[i].Load()
		}
		text := fmt.Sprintf("%4.0f s  sent %s  received %s (%s/s)  99 %% in %s  %s",
			time.Since(began).Seconds(), thousands(sent), thousands(uint64(arrived)), thousands(uint64(arrived-before)), c.soFar(), c.health())
		before = arrived
		if p.terminal {
			fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		} else {
			fmt.Fprintln(p.w, text)
		}
	}
}

// soFar returns the 99th percentile until now.
func (c *checker) soFar() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return milliseconds(c.delivery.ValueAtQuantile(99)) + " ms"
}

// health says in a word whether anything has gone wrong.
func (c *checker) health() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults.any() {
		return "FAULTS"
	}
	return "ok"
}

// thousands returns a number with commas.
func thousands(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
