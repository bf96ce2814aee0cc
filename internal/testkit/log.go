package testkit

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// A Log is what a logger writes to, for a test that reads it. Its zero value is empty;
// its methods may be called from many goroutines.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write is io.Writer's.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// Logger returns a logger that writes records of level Info and above to l as text.
func (l *Log) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// With returns the lines that hold s, which are all if it is empty.
func (l *Log) With(s string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, s) {
			lines = append(lines, line)
		}
	}
	return lines
}
