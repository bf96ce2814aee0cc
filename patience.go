package tcproom

import (
	"cmp"
	"math"
	"time"
)

// A StopOption configures a stop; [Room.Shutdown] accepts it.
type StopOption interface{ applyStop(*stopConfig) }

type stopConfig struct{ patience time.Duration }

type stopOption func(*stopConfig)

func (o stopOption) applyStop(c *stopConfig) { o(c) }

// WithPatience sets for how long [Room.Shutdown] lets a member go without any
// progress before it is cut, that is, without its connection taking a byte or,
// when it has everything, without closing its end. A machine that is short of
// processors needs more of it than others. Members are looked at ten times a
// second, so less than a tenth of a second means that. Of Shutdowns that run at
// once the most patient one counts. What has not joined is not waited for longer
// than half a second in any case.
//
// The default, and zero, is half a second. With a negative value nothing but the
// context of Shutdown bounds the wait.
func WithPatience(d time.Duration) StopOption {
	return stopOption(func(c *stopConfig) { c.patience = d })
}

func newStopConfig(opts []StopOption) stopConfig {
	var cfg stopConfig
	for _, o := range opts {
		if o != nil {
			o.applyStop(&cfg)
		}
	}
	switch {
	case cfg.patience == 0:
		cfg.patience = quiet
	case cfg.patience < 0:
		cfg.patience = forever
	}
	return cfg
}

const forever time.Duration = math.MaxInt64

// bePatient makes a stop at least so patient.
func (r *Room) bePatient(d time.Duration) {
	for {
		old := r.patience.Load()
		if int64(d) <= old || r.patience.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// patienceWith returns the patience with l, which has ended, and how long its
// end may take in all; 0 means that Shutdown's context bounds that.
func (r *Room) patienceWith(l *link) (p patience, limit time.Duration) {
	if !r.isStopping() {
		return always(quiet), lingers
	}
	return func() time.Duration {
		d := cmp.Or(time.Duration(r.patience.Load()), quiet)
		if l.cur == nil { // a stranger, who could hold up every stop
			d = min(d, quiet)
		}
		return d
	}, 0
}
