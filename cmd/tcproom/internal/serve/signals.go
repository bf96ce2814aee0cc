package serve

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signals are what ends the server.
type signals struct{ ch chan os.Signal }

// catchSignals begins to catch them. One that was ignored when the program began, as
// nohup and shells do it, stays ignored.
//
// SIGPIPE must not end the program: the log then fails with EPIPE, of which output
// takes note. A handler is no way to know, for each write to a socket whose peer is gone
// raises the signal too.
func catchSignals() *signals {
	s := &signals{make(chan os.Signal, 4)}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(s.ch, sig)
		}
	}
	signal.Ignore(syscall.SIGPIPE)
	return s
}

func (s *signals) stop() { signal.Stop(s.ch) }

// wait waits until there is a reason to stop, and returns it. It is empty if ctx ended.
func (s *signals) wait(ctx context.Context, out *output) string {
	select {
	case sig := <-s.ch:
		return sig.String()
	case <-out.broken:
		return "broken pipe of the log"
	case <-ctx.Done():
		return ""
	}
}

// exitAtNext ends the program at the next signal. SIGHUP is none: a terminal that is
// closed sends more than one. It ends with the done channel.
func (s *signals) exitAtNext(done <-chan struct{}) {
	for {
		select {
		case sig := <-s.ch:
			if sig != syscall.SIGHUP {
				os.Exit(1)
			}
		case <-done:
			return
		}
	}
}
