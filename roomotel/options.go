package roomotel

import "example.com/tcproom"

// An Option configures [Metrics]; [New] accepts it.
type Option func(*config)

type config struct {
	limit  int
	only   func(name string) bool
	causes map[tcproom.Cause]struct{} // those of the library, and otherCauses
}

// otherCauses is the value for all others, so that their number is bounded whatever
// becomes a cause one day.
const otherCauses tcproom.Cause = "other"

const defaultLimit = 100

// buckets begin where a hook costs what a message does; after a second the library logs a
// hook. A View of the SDK can set others.
var buckets = []float64{.00001, .0001, .0005, .001, .005, .025, .1, .5, 1, 5, 30}

// WithRoomLimit bounds the number of rooms that are told apart: the ones with the most
// members, and of those with as many the first by name. The default, and zero, is 100;
// with negative values no room is. Each of them makes about 20 series.
func WithRoomLimit(n int) Option { return func(c *config) { c.limit = n } }

// WithRooms sets which rooms may be told apart: those for which the function returns
// true, up to the limit. Where users make rooms, names that they choose then stay out of
// the metrics. It is called in each collection, must be quick and must not call the
// Metrics. The default, and nil, is all.
func WithRooms(may func(name string) bool) Option { return func(c *config) { c.only = may } }

func newConfig(opts []Option) config {
	c := config{causes: map[tcproom.Cause]struct{}{otherCauses: {}}}
	for _, cause := range tcproom.Causes() {
		c.causes[cause] = struct{}{}
	}
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	switch {
	case c.limit == 0:
		c.limit = defaultLimit
	case c.limit < 0:
		c.limit = 0
	}
	if c.only == nil {
		c.only = func(string) bool { return true }
	}
	return c
}
