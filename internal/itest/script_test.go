package itest

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tcproom"
	"example.com/tcproom/internal/testkit"
	"pgregory.net/rapid"
)

// A script is what is done to a room, one step after the other.
type script struct {
	seqs    testkit.Seqs
	policy  tcproom.SlowPolicy
	history int // messages
	steps   []step
	end     string // of the room
}

func (s script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v, %v, history %d:", s.seqs, s.policy, s.history)
	for _, st := range s.steps {
		fmt.Fprintf(&b, " %v", st)
	}
	return b.String() + " " + s.end
}

// The ends.
const (
	endDrained  = "drained" // Shutdown when all have read what there is
	endShutdown = "shutdown"
	endClose    = "close"
)

// A step is done by or to one of the actors that are there, number Who modulo their
// number.
type step struct {
	What string
	Who  int
	N    int // messages, or bytes
}

func (s step) String() string { return fmt.Sprintf("%s(%d,%d)", s.What, s.Who, s.N) }

// The steps. A step that needs an actor does nothing if there is none.
const (
	stepJoin       = "join"
	stepSend       = "send"      // N messages, one after the other
	stepBroadcast  = "broadcast" // N messages of the room's
	stepHasty      = "hasty"     // one more, with a context that ends soon
	stepDirect     = "direct"    // one to Who alone
	stepStall      = "stall"     // Who reads no more
	stepDrain      = "drain"     // Who reads again
	stepKick       = "kick"
	stepClose      = "close"
	stepCloseWrite = "closewrite" // and reads on
	stepCut        = "cut"        // its connection is reset
	stepTear       = "tear"       // its stream ends within the first 60 bytes of what it sends
)

var (
	// Sends and stalls are what makes the others interesting.
	stepKinds = []string{
		stepSend, stepStall, stepBroadcast, stepJoin, stepSend, stepDirect, stepJoin, stepDrain, stepHasty, stepStall,
		stepSend, stepBroadcast, stepKick, stepClose, stepCloseWrite, stepCut, stepTear,
	}
	policies  = []tcproom.SlowPolicy{tcproom.Disconnect, tcproom.Skip, tcproom.Block(300 * time.Millisecond)}
	histories = []int{0, 5, 50}
	ends      = []string{endDrained, endShutdown, endClose}
	bursts    = []int{1, 2, 7, 50, 400, 400}

	stepGen = rapid.Custom(func(t *rapid.T) step {
		return step{
			What: rapid.SampledFrom(stepKinds).Draw(t, "what"),
			Who:  rapid.IntRange(0, modelCrowd-1).Draw(t, "who"),
			N:    rapid.SampledFrom(bursts).Draw(t, "n"),
		}
	})
	scriptGen = rapid.Custom(func(t *rapid.T) script {
		return script{
			seqs:    testkit.Seqs(rapid.Bool().Draw(t, "sparse")),
			policy:  rapid.SampledFrom(policies).Draw(t, "policy"),
			history: rapid.SampledFrom(histories).Draw(t, "history"),
			end:     rapid.SampledFrom(ends).Draw(t, "end"),
			steps:   rapid.SliceOfN(stepGen, 1, mostSteps).Draw(t, "steps"),
		}
	})
)

const mostSteps = 60

// parseScript makes a script of any bytes: three for the room, and three for
// each step.
func parseScript(b []byte) (s script, ok bool) {
	if len(b) < 6 || len(b) > 3+3*mostSteps {
		return script{}, false
	}
	s.policy, s.history, s.end = pick(policies, b[0]), pick(histories, b[1]), pick(ends, b[2])
	s.seqs = testkit.Seqs(int(b[2])/len(ends)%2 == 1)
	for b = b[3:]; len(b) >= 3; b = b[3:] {
		s.steps = append(s.steps, step{pick(stepKinds, b[0]), int(b[1]) % modelCrowd, pick(bursts, b[2])})
	}
	return s, true
}

func pick[T any](from []T, b byte) T { return from[int(b)%len(from)] }

// TestModel drives a room through scripts and holds it, after each step, against
// a slice of events. A script that fails is made as short as it can be.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := scriptGen.Draw(t, "script")
		rapid.SyncTest(t, func(t *rapid.T) { s.run(t) })
	})
}

// FuzzRoomScript looks for scripts that TestModel does not come to.
func FuzzRoomScript(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseScript(b); ok {
			t.Log(s)
			synctest.Test(t, func(t *testing.T) { s.run(t) })
		}
	})
}

// run plays the script, in a bubble.
func (s script) run(t failer) {
	w := newWorld(t, s)
	defer w.clear()
	for range modelCrowd / 2 {
		w.apply(step{What: stepJoin})
	}
	for _, st := range s.steps {
		w.apply(st)
	}
	w.finish(s.end)
}

// A failer is a *testing.T or a *rapid.T.
type failer interface {
	Fatalf(format string, args ...any)
}
